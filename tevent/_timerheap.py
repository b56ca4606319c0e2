# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The timers of one context, in the order of C's list.

Prior art: tevent_common_insert_timer() of lib/tevent/tevent_timed.c keeps a sorted linked list, with one shortcut: zero
timers go behind the last zero timer, or to the head.  That list always consists of two parts: the **front**, up to and
including what C calls last_zero_timer, and a sorted **rest**.  The front is a linked list here, the rest a heap:

- The front holds zero timers in order of adding, and now and then a timer with a negative time in between.
- **A timer that is not a zero timer belongs into the front only if it is earlier than everything in the rest and than
  the last of the front.**  Nothing later than (0, 0) is.
- The heap holds plain integers: they compare fast and are nothing the garbage collector looks at.  A timer that is
  cancelled leaves its integer behind; it is live while ``live`` knows its integer.

The integer of a timer is its **key**: its time in microseconds, shifted by `KEY_SHIFT`, and a serial number.  Times
compare as pairs of seconds and microseconds, also where the microseconds are none of 0 to 999999: see `_odd_key`.

Cost: insert O(log n), cancel O(1), first O(1); removals that pile up are swept in O(n) when they outnumber the timers.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .timed import tevent_timer

__all__ = ["KEY_SHIFT", "timer_queue"]

_SERIAL_BITS = 48
#: tv_usec may be any 64-bit number, also a negative one.
_USEC_BITS = 64
_KIND_SHIFT = _SERIAL_BITS + _USEC_BITS
KEY_SHIFT = _KIND_SHIFT + 2
#: Below this many entries the heap is never swept.
_SWEEP_MIN = 64


def _odd_key(sec: int, usec: int) -> int:
    """The key, but for the serial number, of a time whose microseconds are none of 0 to 999999."""
    # Just before a second there are first the times of the second before it with too many microseconds, then those with
    # negative ones.
    place = (sec * 1000000 << 2) - 1 if usec < 0 else ((sec + 1) * 1000000 << 2) - 2
    return (place << _KIND_SHIFT) + (usec + (1 << _USEC_BITS - 1) << _SERIAL_BITS)


class timer_queue:
    """Timers in firing order.  A timer's own ``key`` says where it is: 0 in the front, else its integer in the heap."""

    __slots__ = ("front_first", "front_last", "heap", "live", "odd", "serial")

    front_first: tevent_timer | None
    front_last: tevent_timer | None
    #: Whether there ever was an odd time.
    odd: bool

    def __init__(self) -> None:
        self.front_first = self.front_last = None
        self.heap: list[int] = []
        self.live: dict[int, tevent_timer] = {}
        self.odd = False
        self.serial: int = 0

    def first(self) -> tevent_timer | None:
        """The timer that fires next."""
        te = self.front_first
        return te if te is not None else self._first_of_rest()

    def _first_of_rest(self) -> tevent_timer | None:
        heap = self.heap
        live = self.live
        while heap:
            te = live.get(heap[0])
            if te is not None:
                return te
            heappop(heap)
        return None

    def add(self, te: tevent_timer, sec: int, usec: int, zero_rule: bool) -> None:
        """Insert *te*, whose ``key`` is 0, by its time; where *zero_rule*, zero timers go behind the last such."""
        if sec <= 0:
            if zero_rule and sec == 0 and usec == 0:
                self._link_behind(te, self.front_last)
                return
            if self.front_last is not None and self._add_to_front(te):
                return
        self.serial = serial = self.serial + 1
        if 0 <= usec < 1000000:
            key = (sec * 1000000 + usec << KEY_SHIFT) + serial
        else:
            self.odd = True
            key = _odd_key(sec, usec) + serial
        te.key = key
        self.live[key] = te
        heappush(self.heap, key)

    def remove(self, te: tevent_timer) -> None:
        """Take *te* out, wherever it stands."""
        key = te.key
        if key:
            del self.live[key]
            if len(self.heap) > 2 * len(self.live):
                self.sweep()
            return
        before, after = te.front_prev, te.front_next
        if before is None:
            self.front_first = after
        else:
            before.front_next = after
        if after is None:
            self.front_last = before
        else:
            after.front_prev = before
        te.front_prev = te.front_next = None

    def sweep(self) -> None:
        """Take what removed timers have left out of the heap, if that is worth while."""
        if len(self.heap) > _SWEEP_MIN:
            self.heap[:] = self.live
            heapify(self.heap)

    def in_order(self) -> list[tevent_timer]:
        """All timers, the next one to fire first."""
        found: list[tevent_timer] = []
        te = self.front_first
        while te is not None:
            found.append(te)
            te = te.front_next
        found += [self.live[key] for key in sorted(self.live)]
        return found

    def __bool__(self) -> bool:
        return self.front_first is not None or bool(self.live)

    def __len__(self) -> int:
        return len(self.in_order())

    def _add_to_front(self, te: tevent_timer) -> bool:
        """Insert *te* before a later timer of the front, if C's walk from the end of its list would get that far."""
        rest = self._first_of_rest()
        if rest is not None and rest.next_event <= te.next_event:
            return False
        later = None
        cur = self.front_last
        while cur is not None and te.next_event < cur.next_event:
            later = cur
            cur = cur.front_prev
        if later is None:
            return False
        self._link_behind(te, cur)
        return True

    def _link_behind(self, te: tevent_timer, before: tevent_timer | None) -> None:
        after = self.front_first if before is None else before.front_next
        te.front_prev = before
        te.front_next = after
        if before is None:
            self.front_first = te
        else:
            before.front_next = te
        if after is None:
            self.front_last = te
        else:
            after.front_prev = te

    def _check_invariants(self) -> None:
        """Assert what must hold; for tests."""
        before = None
        te = self.front_first
        while te is not None:
            assert te.key == 0
            assert te.front_prev is before
            before, te = te, te.front_next
        assert self.front_last is before
        assert set(self.live) <= set(self.heap)
        assert len(self.heap) <= max(_SWEEP_MIN, 2 * len(self.live)) + 1
        assert all(te.key == key for key, te in self.live.items())
