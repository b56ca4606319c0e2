# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Times, and events that fire when one has come.

Mirrors lib/tevent/tevent_timed.c.  Times are those of the wall clock, as in C.  A timer fires once and is freed after
its handler, whoever owns it.
Cost: add O(log n), cancel O(1), fire O(log n) in the number of pending timers; one look at the clock per iteration
where the first timer is not a zero timer.
"""

from __future__ import annotations

from heapq import heappop, heappush
from sys import _getframe  # pyright: ignore[reportPrivateUsage]  # documented, and 40 times faster than inspect

from talloc_py._chunk import birthplaces, caller, chunk
from talloc_py.core import TALLOC_CTX, attach, bad_chunk, free_chunk, library_destructors, location_text

from . import _sys
from ._base import NEVER_ENDING, TAG_MASK, check_context, check_handler, handler_name_of, tevent_context, wrong_type
from ._timerheap import KEY_SHIFT
from .abort import abort_about, free_later, freed_in_handler, tevent_abort, tevent_common_check_double_free
from .debug import TEVENT_DEBUG_TRACE, tevent_debug
from .trace import (
    TEVENT_EVENT_TRACE_ATTACH,
    TEVENT_EVENT_TRACE_BEFORE_HANDLER,
    TEVENT_EVENT_TRACE_DETACH,
    tevent_trace_timer_callback,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import Any, NamedTuple

    from ._base import wrapper_glue

    tevent_timer_handler_t = Callable[[tevent_context, "tevent_timer", "timeval", Any], object]

    class timeval(NamedTuple):
        """
        A time of the wall clock or a span: seconds and microseconds.

        C: ``struct timeval``
        """

        tv_sec: int
        tv_usec: int

else:
    from talloc_py._typing import field, named_tuple

    class timeval(named_tuple):
        """
        A time of the wall clock or a span: seconds and microseconds.

        C: ``struct timeval``
        """

        __slots__ = ()
        _fields = __match_args__ = ("tv_sec", "tv_usec")

        tv_sec: int = field(0, "Seconds.")
        tv_usec: int = field(1, "Microseconds.")

        def __new__(cls, tv_sec, tv_usec):
            """Make one of two numbers, as they are."""
            return _tuple_new(cls, (tv_sec, tv_usec))


__all__ = [
    "tevent_add_timer",
    "tevent_common_add_timer",
    "tevent_common_add_timer_v2",
    "tevent_common_invoke_timer_handler",
    "tevent_common_loop_timer_delay",
    "tevent_common_no_timeout",
    "tevent_common_timeout_msec",
    "tevent_timer",
    "tevent_timer_get_tag",
    "tevent_timer_set_tag",
    "tevent_timeval_add",
    "tevent_timeval_compare",
    "tevent_timeval_current",
    "tevent_timeval_current_ofs",
    "tevent_timeval_is_zero",
    "tevent_timeval_set",
    "tevent_timeval_until",
    "tevent_timeval_zero",
    "tevent_update_timer",
    "timeval",
]

_allocate = object.__new__
# Half the cost of timeval(...).
_tuple_new: Any = tuple.__new__  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # of what?
_UINT32 = 2**32 - 1
_ZERO = timeval(0, 0)

#: What `run_first_timer` returns where it ran one; else it returns how long to wait.
SERVED = -2
#: The longest wait that the system calls take, in microseconds: 2**31-1 milliseconds.
WAIT_US_MAX = NEVER_ENDING * 1000


# -- times ------------------------------------------------------------------------------------------------------------


def _check_timeval(tv: object, what: str) -> None:
    if not isinstance(tv, timeval):
        wrong_type(what, "timeval", tv)


def from_us(us: int) -> timeval:
    """A number of microseconds as a timeval."""
    tv: timeval = _tuple_new(timeval, divmod(us, 1000000))
    return tv


def tevent_timeval_compare(tv1: timeval, tv2: timeval) -> int:
    """
    Compare two times by seconds, then microseconds.

    C: ``int tevent_timeval_compare(const struct timeval *tv1, const struct timeval *tv2)``

    Returns:
        -1, 0 or 1: *tv1* is earlier, the same, later.
    """
    _check_timeval(tv1, "tv1")
    _check_timeval(tv2, "tv2")
    return (tv1 > tv2) - (tv1 < tv2)


def tevent_timeval_zero() -> timeval:
    """
    The zero time, ``timeval(0, 0)``.

    C: ``struct timeval tevent_timeval_zero(void)``
    """
    return _ZERO


def tevent_timeval_current() -> timeval:
    """
    The time of the wall clock since the epoch.

    C: ``struct timeval tevent_timeval_current(void)``
    """
    return from_us(_sys.time_ns() // 1000)


def tevent_timeval_set(secs: int, usecs: int) -> timeval:
    """
    A timeval of two numbers, each taken modulo 2**32; not normalised.

    C: ``struct timeval tevent_timeval_set(uint32_t secs, uint32_t usecs)``
    """
    return timeval(secs & _UINT32, usecs & _UINT32)


def tevent_timeval_until(tv1: timeval, tv2: timeval) -> timeval:
    """
    The span from *tv1* to *tv2*; zero where *tv2* is not later.

    C: ``struct timeval tevent_timeval_until(const struct timeval *tv1, const struct timeval *tv2)``
    """
    if tevent_timeval_compare(tv1, tv2) >= 0:
        return _ZERO
    sec = tv2.tv_sec - tv1.tv_sec
    if tv1.tv_usec > tv2.tv_usec:
        return timeval(sec - 1, 1000000 - (tv1.tv_usec - tv2.tv_usec))
    return timeval(sec, tv2.tv_usec - tv1.tv_usec)


def tevent_timeval_is_zero(tv: timeval) -> bool:
    """
    Whether *tv* is zero.

    C: ``bool tevent_timeval_is_zero(const struct timeval *tv)``
    """
    _check_timeval(tv, "tv")
    return tv == _ZERO


def tevent_timeval_add(tv: timeval, secs: int, usecs: int) -> timeval:
    """
    A time later than *tv*, normalised.

    C: ``struct timeval tevent_timeval_add(const struct timeval *tv, uint32_t secs, uint32_t usecs)``

    Args:
        tv: A time or span.

        secs: Seconds, taken modulo 2**32.

        usecs: Microseconds, taken modulo 2**32; may be more than a second.
    """
    _check_timeval(tv, "tv")
    sec = tv[0] + (secs & _UINT32)
    usec = tv[1] + (usecs & _UINT32)
    if not 0 <= usec < 1000000:
        # C's division rounds towards zero.
        carry = usec // 1000000 if usec >= 0 else -(-usec // 1000000)
        sec += carry
        usec -= carry * 1000000
    later: timeval = _tuple_new(timeval, (sec, usec))
    return later


def tevent_timeval_current_ofs(secs: int, usecs: int) -> timeval:
    """
    The time *secs* seconds and *usecs* microseconds from now.

    C: ``struct timeval tevent_timeval_current_ofs(uint32_t secs, uint32_t usecs)``
    """
    if (secs | usecs) >> 32:
        secs &= _UINT32
        usecs &= _UINT32
    later: timeval = _tuple_new(timeval, divmod(_sys.time_ns() // 1000 + secs * 1000000 + usecs, 1000000))
    return later


# -- timers -----------------------------------------------------------------------------------------------------------


class rare_timer:
    """What few timers have; one attribute of the timer, tested once on each path."""

    __slots__ = ("name", "tag", "time", "wrapper")

    def __init__(self) -> None:
        #: The name that a backend was given for the handler; None: the handler's own.
        self.name: str | None = None
        self.tag: int = 0
        #: When it is to fire, where the key does not say that.
        self.time: timeval | None = None
        #: What the timer was added through, if that was a wrapper context.
        self.wrapper: wrapper_glue | None = None


class tevent_timer(TALLOC_CTX):
    """
    An event that fires once, when its time has come.

    C: ``struct tevent_timer``

    Made by `tevent_add_timer`.  The attributes are for authors of backends.
    """

    __slots__ = (
        "code",
        "event_ctx",
        "front_next",
        "front_prev",
        "handler",
        "key",
        "lasti",
        "private_data",
        "rare",
        "state",
    )

    #: None when the timer is detached: fired, freed, or its context is gone.
    event_ctx: tevent_context | None
    handler: tevent_timer_handler_t | None
    private_data: Any
    #: Flags `_RUNNING` and `_FREED`.
    state: int
    rare: rare_timer | None
    #: Its place in the queue of timers, see _timerheap.py.
    key: int
    front_next: tevent_timer | None
    front_prev: tevent_timer | None
    #: Where it was made, see `created`: no tuple, for the garbage collector would have to look at it.
    code: CodeType
    lasti: int

    def __init__(self) -> None:
        raise TypeError("a tevent_timer is made by tevent_add_timer(), not by calling the class")

    @property
    def created(self) -> tuple[CodeType, int]:
        """Where it was made, for messages."""
        return self.code, self.lasti

    @property
    def next_event(self) -> timeval:
        """When it is to fire."""
        rare = self.rare
        if rare is not None and rare.time is not None:
            return rare.time
        return from_us(self.key >> KEY_SHIFT)

    @property
    def handler_name(self) -> str:
        """The name of the handler."""
        rare = self.rare
        return (None if rare is None else rare.name) or handler_name_of(self.handler)

    @property
    def wrapper(self) -> wrapper_glue | None:
        """What it was added through, if that was a wrapper context."""
        return None if self.rare is None else self.rare.wrapper

    @property
    def busy(self) -> bool:
        """Whether its handler runs."""
        return self.state & _RUNNING != 0

    def __repr__(self) -> str:
        if self.state & _FREED:
            return f"<tevent_timer at {id(self):#x}, freed>"
        state = "running" if self.busy else "detached" if self.event_ctx is None else f"due {tuple(self.next_event)}"
        return f"<tevent_timer {self.handler_name} at {id(self):#x}, {state}>"


#: Its handler runs; it was freed, maybe by its running handler.
_RUNNING, _FREED = 1, 2


def rare_of(te: tevent_timer) -> rare_timer:
    """The record of what few timers have, made on first use."""
    rare = te.rare
    if rare is None:
        rare = te.rare = rare_timer()
    return rare


def tevent_add_timer(
    ev: tevent_context,
    mem_ctx: TALLOC_CTX | None,
    next_event: timeval,
    handler: tevent_timer_handler_t | None,
    private_data: object,
) -> tevent_timer | None:
    """
    Let the loop of *ev* call *handler* once the time *next_event* has come.

    C: ``struct tevent_timer *tevent_add_timer(struct tevent_context *ev, TALLOC_CTX *mem_ctx, struct timeval
    next_event, tevent_timer_handler_t handler, void *private_data)``

    Args:
        ev: The context.

        mem_ctx: The owner, None for *ev*.

        next_event: Absolute time since the epoch, not a duration. ``timeval(0, 0)`` is ahead of everything else.

        handler: Called as ``handler(ev, te, current_time, private_data)``, where *current_time* is when the loop found
            the timer due, zero for a zero timer. None for a timer that must not fire.

        private_data: Any object.

    Returns:
        The timer; None where a memory limit forbids it.

    Ownership: freeing the timer cancels it. It is freed by the library after *handler*.
    """
    parent: Any
    try:
        owner = ev if mem_ctx is None else mem_ctx
        parent = owner._talloc_chunk
        if (
            parent.obj is not owner
            or parent.extra is not None
            or ev.tm_plain is not True  # only a living context has that
            or ev.ops.add_timer is not tevent_common_add_timer_v2
            or type(next_event) is not timeval
            or not callable(handler)
        ):
            raise AttributeError
        sec = next_event[0]
        usec = next_event[1]
        key = sec * 1000000 + usec << KEY_SHIFT
    except Exception:  # one of them is not what it should be, or somebody looks on
        parent, sec, usec, key = None, 0, 0, 0
    if parent is None:
        return _add_by_backend(ev, mem_ctx, next_event, handler, private_data)
    # tevent_common_add_timer_v2(), attach() and timer_queue.add() in one piece, where nobody looks on: 1.1 us instead
    # of 2.2.
    te: tevent_timer = _allocate(tevent_timer)
    te._talloc_chunk = c = chunk()  # type: ignore[misc]  # the slot is that of the base class
    c.obj = te
    c.name = tevent_timer
    c.destructor = _destroy_timer
    c.child = None
    c.prev = None
    c.extra = None
    c.parent = parent
    c.next = first = parent.child
    if first is not None:
        first.prev = c
    parent.child = c
    frame = _getframe(1)
    te.code = frame.f_code
    te.lasti = frame.f_lasti
    te.event_ctx = ev
    te.handler = handler
    te.private_data = private_data
    te.rare = None
    te.state = 0
    timers = ev.timers
    if sec <= 0 or not 0 <= usec < 1000000:
        _note_time(te, next_event)
        timers.add(te, sec, usec, True)
        return te
    timers.serial = serial = timers.serial + 1
    te.key = key = key + serial
    timers.live[key] = te
    heappush(timers.heap, key)
    return te


def _add_by_backend(
    ev: tevent_context,
    mem_ctx: TALLOC_CTX | None,
    next_event: timeval,
    handler: tevent_timer_handler_t | None,
    private_data: object,
) -> tevent_timer | None:
    """`tevent_add_timer` with every check, and everything that may be looked at."""
    if not check_context(ev):
        return None
    _check_timeval(next_event, "next_event")
    check_handler(handler)
    te: tevent_timer | None = ev.ops.add_timer(ev, mem_ctx, next_event, handler, private_data, handler_name_of(handler))
    if te is not None:
        te.code, te.lasti = caller(2)
    return te


def tevent_common_add_timer(
    ev: tevent_context,
    mem_ctx: TALLOC_CTX | None,
    next_event: timeval,
    handler: tevent_timer_handler_t | None,
    private_data: object,
    handler_name: str,
) -> tevent_timer | None:
    """
    Add a timer by its time alone, without the rule for zero timers.

    C: ``struct tevent_timer *tevent_common_add_timer(struct tevent_context *ev, TALLOC_CTX *mem_ctx, struct timeval
    next_event, tevent_timer_handler_t handler, void *private_data, const char *handler_name, const char *location)``
    """
    return _add(ev, mem_ctx, next_event, handler, private_data, handler_name, False)


def tevent_common_add_timer_v2(
    ev: tevent_context,
    mem_ctx: TALLOC_CTX | None,
    next_event: timeval,
    handler: tevent_timer_handler_t | None,
    private_data: object,
    handler_name: str,
) -> tevent_timer | None:
    """
    Add a timer; a zero timer goes behind the last zero timer, ahead of everything else. What all backends use.

    C: ``struct tevent_timer *tevent_common_add_timer_v2(struct tevent_context *ev, TALLOC_CTX *mem_ctx, struct timeval
    next_event, tevent_timer_handler_t handler, void *private_data, const char *handler_name, const char *location)``
    """
    return _add(ev, mem_ctx, next_event, handler, private_data, handler_name, True)


def _add(
    ev: tevent_context,
    mem_ctx: TALLOC_CTX | None,
    next_event: timeval,
    handler: tevent_timer_handler_t | None,
    private_data: object,
    handler_name: str,
    zero_rule: bool,
) -> tevent_timer | None:
    te: tevent_timer = _allocate(tevent_timer)
    c = attach(te, ev if mem_ctx is None else mem_ctx, tevent_timer, _destroy_timer)
    if c is None:
        return None
    te.state = 0
    te.event_ctx = te.rare = None
    te.handler = handler
    te.private_data = private_data
    if handler_name != handler_name_of(handler):
        rare_of(te).name = handler_name
    try:
        _insert(ev, te, next_event, zero_rule)
    except BaseException:  # from the trace callback
        free_chunk(c, (_add.__code__, 0))
        raise
    if ev.verbose:
        tevent_debug(ev, TEVENT_DEBUG_TRACE, 'Added timed event "%s": %s\n', handler_name, te)
    return te


def _insert(ev: tevent_context, te: tevent_timer, next_event: timeval, zero_rule: bool) -> None:
    _note_time(te, next_event)
    if ev.trace_timer is not None:
        tevent_trace_timer_callback(ev, te, TEVENT_EVENT_TRACE_ATTACH)
    ev.timers.add(te, next_event[0], next_event[1], zero_rule)
    te.event_ctx = ev


def _note_time(te: tevent_timer, next_event: timeval) -> None:
    """Let *te*, which is in no queue yet, show its time."""
    te.key = 0
    if te.rare is not None or next_event != _ZERO:
        rare_of(te).time = next_event


def _check_timer(te: object) -> bool:
    if type(te) is not tevent_timer:
        wrong_type("te", "tevent_timer", te)
    return te._talloc_chunk.obj is te or bad_chunk(te) is not None


def tevent_update_timer(te: tevent_timer, next_event: timeval) -> None:
    """
    Let a pending timer fire at another time.

    C: ``void tevent_update_timer(struct tevent_timer *te, struct timeval next_event)``

    Args:
        te: The timer. One that runs, has been freed, or whose context is gone, goes to the abort function.

        next_event: Absolute time since the epoch. The timer goes behind others of the same time; for ``timeval(0, 0)``
            the rule of `tevent_add_timer` does not hold.
    """
    if not _check_timer(te):
        return
    _check_timeval(next_event, "next_event")
    ev = te.event_ctx
    if ev is None or te.state:
        abort_about(ev, "tevent_timer use after free", _why_dead(te))
        return
    _detach(ev, te)
    _insert(ev, te, next_event, False)
    for told in when_moved:
        told(ev)


def _why_dead(te: tevent_timer) -> str:
    """What has become of a timer that cannot be moved any more."""
    if te.busy and te.state & _FREED:
        return freed_in_handler(te)
    what = "its handler runs, and it goes when that returns" if te.busy else "its context is gone"
    return f"{te!r}, made at {location_text(te.created)}: {what}; add a new one with tevent_add_timer()"


#: Backends whose waiting is done elsewhere: what to call with a context of which a timer was moved.
when_moved: list[Callable[[tevent_context], None]] = []


def _destroy_timer(te: tevent_timer) -> int:
    ev = te.event_ctx
    if te.state == 0:
        te.state = _FREED
        key = te.key
        if key and ev is not None and ev.tm_plain:
            # It waits in the heap and nobody looks on.
            te.event_ctx = None
            timers = ev.timers
            live = timers.live
            del live[key]
            if len(timers.heap) > 2 * len(live):
                timers.sweep()
            return 0
    elif te.state & _FREED:
        tevent_common_check_double_free(te, "tevent_timer double free")
    else:
        te.state |= _FREED
    if ev is not None and not ev.gone:
        if ev.verbose:
            tevent_debug(ev, TEVENT_DEBUG_TRACE, 'Destroying timer event %s "%s"\n', te, te.handler_name)
        _detach(ev, te)
    return free_later(te) if te.busy else 0


birthplaces[tevent_timer] = "created"
library_destructors.add(_destroy_timer)


def detach_timers(ev: tevent_context) -> None:
    """Take all timers, in firing order, off a context that goes away."""
    while (te := ev.timers.first()) is not None:
        _detach(ev, te)
        if te.rare is not None:
            te.rare.wrapper = None


def _detach(ev: tevent_context, te: tevent_timer) -> None:
    """Take a timer out of its queue, unless it runs and is out already, and say so."""
    try:
        tevent_trace_timer_callback(ev, te, TEVENT_EVENT_TRACE_DETACH)
    finally:
        if te.event_ctx is ev:
            te.event_ctx = None
            if not te.busy:
                ev.timers.remove(te)


def tevent_common_invoke_timer_handler(te: tevent_timer, current_time: timeval) -> tuple[int, bool]:
    """
    Take *te* off its list, run its handler and free it.

    C: ``int tevent_common_invoke_timer_handler(struct tevent_timer *te, struct timeval current_time, bool *removed)``

    Returns:
        0, and whether the timer is gone: False only where it is detached and nothing was run.
    """
    ev = te.event_ctx
    if ev is None:
        return 0, False
    ev.timers.remove(te)
    run_timer(ev, te, current_time)
    return 0, True


def run_timer(ev: tevent_context, te: tevent_timer, current_time: timeval) -> None:
    """Run the handler of a timer that is in no queue any more, and free it."""
    te.state = _RUNNING
    handler = te.handler
    try:
        if te.rare is None and ev.tm_plain and handler is not None:
            handler(ev, te, current_time, te.private_data)
        else:
            _run_watched(ev, te, handler, current_time)
    finally:
        try:
            # Asked again: the handler may be the one who has begun to look on.
            if not ev.tm_plain:
                _see_off(ev, te)
        finally:
            te.state = _FREED
            te.event_ctx = te.handler = te.private_data = None
            c = te._talloc_chunk
            if c.obj is te:
                c.destructor = None
                free_chunk(c, _HERE)


_HERE = (run_timer.__code__, 0)


def _run_watched(
    ev: tevent_context, te: tevent_timer, handler: tevent_timer_handler_t | None, current_time: timeval
) -> None:
    """Run *handler* where there is more to it: trace, debug, a wrapper, or nothing to run."""
    if handler is None:
        tevent_abort(ev, "event without a handler")
        return
    glue, name = te.wrapper, te.handler_name
    handler_ev = ev
    if ev.verbose:
        tevent_debug(ev, TEVENT_DEBUG_TRACE, 'Running timer event %s "%s"\n', te, name)
    if glue is not None:
        handler_ev = glue.wrap_ev
        glue.before("timer", te, te.next_event, current_time, name)
    try:
        tevent_trace_timer_callback(ev, te, TEVENT_EVENT_TRACE_BEFORE_HANDLER)
        handler(handler_ev, te, current_time, te.private_data)
    finally:
        if glue is not None:
            glue.after("timer", te, te.next_event, current_time, name)


def _see_off(ev: tevent_context, te: tevent_timer) -> None:
    """Tell who looks on that the handler of *te* is over."""
    if not ev.gone and not te.state & _FREED:
        if ev.verbose:
            tevent_debug(ev, TEVENT_DEBUG_TRACE, 'Ending timer event %s "%s"\n', te, te.handler_name)
        tevent_trace_timer_callback(ev, te, TEVENT_EVENT_TRACE_DETACH)


def run_first_timer(ev: tevent_context) -> int:
    """
    Run the first timer if it is due.

    `SERVED` if one ran; else how long to wait, in microseconds: until the first timer, or `wait_us` where there is
    none. The clock is not looked at for a zero timer.
    """
    timers = ev.timers
    heap = timers.heap
    if timers.front_first is not None:
        return _run_first_of_front(ev, timers.front_first)
    if not heap:
        return ev.wait_us
    live = timers.live
    key = heap[0]
    if key not in live:  # cancelled
        if timers.first() is None:
            return ev.wait_us
        key = heap[0]
    due = key >> KEY_SHIFT
    if due <= 0 and live[key].next_event == _ZERO:
        current_time = _ZERO
    else:
        now_us = _sys.time_ns() // 1000
        if due > now_us or timers.odd:
            delay = _delay_us(live[key], now_us) if timers.odd else due - now_us
            if delay > 0:
                return min(delay, WAIT_US_MAX) if ev.wait_us else 0
        current_time = _tuple_new(timeval, divmod(now_us, 1000000))
    te = live.pop(heappop(heap))
    if len(heap) > 2 * len(live):
        timers.sweep()
    run_timer(ev, te, current_time)
    return SERVED


def _run_first_of_front(ev: tevent_context, te: tevent_timer) -> int:
    """`run_first_timer` for zero timers and what stands between them: they are due."""
    ev.timers.remove(te)
    run_timer(ev, te, _ZERO if te.next_event == _ZERO else tevent_timeval_current())
    return SERVED


def _delay_us(te: tevent_timer, now_us: int) -> int:
    """How long until a timer is due; not more than 0 where it is."""
    sec, usec = tevent_timeval_until(from_us(now_us), te.next_event)
    return sec * 1000000 + usec


def tevent_common_loop_timer_delay(ev: tevent_context) -> timeval:
    """
    Run the first timer of *ev* if it is due.

    C: ``struct timeval tevent_common_loop_timer_delay(struct tevent_context *ev)``

    Returns:
        Zero if one ran, else the time until the first one; ``ev.wait_timeout`` where there is no timer, or where that
        says not to wait at all.
    """
    te = ev.timers.first()
    if te is not None:
        if run_first_timer(ev) == SERVED:
            return _ZERO
        if ev.wait_us:
            left = tevent_timeval_until(from_us(_sys.time_ns() // 1000), te.next_event)
            # It was not due a moment ago: zero would say that it has run.
            return left if left != _ZERO else timeval(0, 1)
    return ev.wait_timeout


def tevent_common_no_timeout(tv: timeval) -> bool:
    """
    Whether *tv* is the marker that says not to wait at all.

    C: ``bool tevent_common_no_timeout(const struct timeval *tv)``
    """
    _check_timeval(tv, "tv")
    return tv == (0, NEVER_ENDING)


def tevent_common_timeout_msec(tv: timeval) -> int:
    """
    *tv* in milliseconds as poll() takes them, rounded up; -1 for ever, 0 for the marker of `tevent_common_no_timeout`.

    C: ``int tevent_common_timeout_msec(const struct timeval *tv)``
    """
    if tevent_common_no_timeout(tv):
        return 0
    if tv.tv_sec == NEVER_ENDING:
        return -1
    return tv.tv_sec * 1000 + (tv.tv_usec + 999) // 1000


def tevent_timer_set_tag(te: tevent_timer | None, tag: int) -> None:
    """
    Keep a number, modulo 2**64, for the caller; nothing for None.

    C: ``void tevent_timer_set_tag(struct tevent_timer *te, uint64_t tag)``
    """
    if te is not None and _check_timer(te):
        rare_of(te).tag = tag & TAG_MASK


def tevent_timer_get_tag(te: tevent_timer | None) -> int:
    """
    The number kept by `tevent_timer_set_tag`, at first 0; 0 for None.

    C: ``uint64_t tevent_timer_get_tag(const struct tevent_timer *te)``
    """
    return te.rare.tag if te is not None and _check_timer(te) and te.rare is not None else 0
