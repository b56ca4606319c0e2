# SPDX-License-Identifier: LGPL-3.0-or-later
"""
How bytes travel in a simulated network: the way between two hosts, and one direction of a stream.

What is on its way is a list of pieces with the time when each arrives; nothing happens by itself.  Whoever looks first
lets arrive what is due (`channel.settle`), so that the state is a function of the virtual clock, whichever event
context runs.  Who waits asks for the time of the next change, and is woken by a delivery of the world.
"""

from __future__ import annotations

from collections import deque
from errno import ECONNRESET, EPIPE

from ._simnet_plan import odds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._simnet import network
    from ._simnet_plan import fault, link

__all__ = ["channel", "way"]

# Between two pieces of what was cut: enough to be two events, nothing that anybody would wait for.
_GAP_US = 1
_SECOND_US = 1_000_000


class way:
    """The way between the hosts *one* and *two*, both directions alike."""

    __slots__ = ("link", "net", "one", "two")

    def __init__(self, net: network, one: str, two: str, properties: link) -> None:
        self.net: network = net
        self.one: str = one
        self.two: str = two
        self.link: link = properties

    def passes(self, time_us: int) -> int | None:
        """When that arrives which would arrive at *time_us*: later if an outage hits it, None if that has no end."""
        latency_us = self.link.latency_us
        moved = True
        while moved:
            moved = False
            for begin, end, plan in self.net.outages:
                on_its_way = begin <= time_us and (end is None or time_us - latency_us < end)
                if on_its_way and plan.concerns(self.one, self.two):
                    if end is None:
                        return None
                    # It is sent again as soon as the way is free.
                    time_us = end + latency_us
                    moved = True
        return time_us

    def chance(self, probability: float, label: str) -> bool:
        """Whether what happens with *probability* happens now; a choice of the world."""
        if probability <= 0:
            return False
        some, of = odds(probability)
        # The first outcome is the ordinary one, but for what always happens.
        return self.net.world.choose(of, label) >= of - some if some < of else True

    def jitter_us(self, label: str) -> int:
        """How much longer than the latency something takes: nothing, all of the jitter, or a part of it."""
        most = self.link.jitter_us
        return most * self.net.world.choose(4, label) // 3 if most else 0


class channel:
    """
    One direction of a stream: what is on its way, what has arrived, and how it ends.

    Attributes:
        inbox: What has arrived and is not read yet.

        unread: The bytes that were sent and not read.

        freed_us: When the sender hears that there is room again.

        ended: When the end arrives, and the errno that a read beyond it gives; None while there is none in sight.

        deaf: What is sent vanishes: the stream has ended for its receiver.

        back: The other direction.
    """

    __slots__ = (
        "_busy_us",
        "_faults",
        "_last_us",
        "_sent",
        "back",
        "deaf",
        "ended",
        "flight",
        "freed_us",
        "inbox",
        "name",
        "unread",
        "way",
    )

    back: channel

    def __init__(self, along: way, name: str) -> None:
        self.way: way = along
        self.name: str = name
        self.flight: deque[tuple[int, bytes]] = deque()
        self.inbox: bytearray = bytearray()
        self.unread: int = 0
        self.freed_us: int = 0
        self.ended: tuple[int, int] | None = None
        self.deaf: bool = False
        self._sent: int = 0
        self._last_us: int = 0
        self._busy_us: int = 0
        found = along.net.faults_of(name, "byte")
        self._faults: deque[fault] = deque(sorted(found, key=lambda each: each.nth))

    # -- the sender's side --------------------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many bytes can be sent now."""
        return max(0, self.way.link.buffer - self.unread)

    def begin(self) -> None:
        """Both directions are there; what happens before the first byte does so now."""
        self._plan_before(0)

    def send(self, data: bytes) -> None:
        """Put *data* on its way; it is cut as the link cuts."""
        for piece in self._cut(data):
            self._send_piece(piece)

    def finish(self, err: int) -> None:
        """The stream ends after what was sent, with *err* for who reads on."""
        if self.ended is None:
            now = self.way.net.world.elapsed_us
            self.ended = max(now + self.way.link.latency_us, self._last_us), err
        self.deaf = True

    def _cut(self, data: bytes) -> Iterator[bytes]:
        properties = self.way.link
        most = properties.segment_max if properties.bandwidth else len(data)
        while data:
            size = min(most, len(data))
            if properties.cut and not self.deaf:
                size = self._size(size)
            yield data[:size]
            data = data[size:]

    def _size(self, size: int) -> int:
        """Where to cut *size* bytes: not at all, the first or the last one off, or anywhere."""
        return size_of_part(self.way.net, size, f"{self.name}: cut {size} bytes")

    def _send_piece(self, piece: bytes) -> None:
        while piece and not self.deaf:
            before = self._faults[0].nth - self._sent if self._faults else len(piece)
            head, piece = piece[:before], piece[before:]
            self._fly(head)
            self._plan_before(self._sent)

    def _fly(self, data: bytes) -> None:
        """Let *data* arrive together."""
        properties = self.way.link
        start = max(self.way.net.world.elapsed_us, self._busy_us)
        if properties.bandwidth:
            start += -(-len(data) * _SECOND_US // properties.bandwidth)
        self._busy_us = start
        arrives = start + properties.latency_us + self.way.jitter_us(f"{self.name}: jitter")
        # Bytes do not overtake each other, and what was cut does not grow together again.
        if properties.cut or properties.bandwidth:
            arrives = max(arrives, self._last_us + _GAP_US)
        self._last_us = max(arrives, self._last_us)
        self.flight.append((self._last_us, data))
        self._sent += len(data)
        self.unread += len(data)

    def _plan_before(self, position: int) -> None:
        """What the plan wants after *position* bytes."""
        while self._faults and self._faults[0].nth <= position and not self.deaf:
            plan = self._faults.popleft()
            self.way.net.happened(plan)
            now = self.way.net.world.elapsed_us
            self._last_us = max(self._last_us, now + self.way.link.latency_us) + plan.delay_us
            if plan.end:
                self.finish(EPIPE if plan.end == "eof" else ECONNRESET)
                if plan.end == "reset":
                    self.back.finish(ECONNRESET)

    # -- the receiver's side ------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Let arrive what is due."""
        now = self.way.net.world.elapsed_us
        while self.flight:
            due = self.way.passes(self.flight[0][0])
            if due is None or due > now:
                return
            self.inbox += self.flight.popleft()[1]

    def take(self, buffers: list[memoryview], most: int) -> int:
        """Move at most *most* of what has arrived into *buffers*; the number of bytes."""
        done = 0
        for view in buffers:
            size = min(len(view), len(self.inbox), most - done)
            view[:size] = self.inbox[:size]
            del self.inbox[:size]
            done += size
        self.unread -= done
        self.freed_us = self.way.net.world.elapsed_us + self.way.link.latency_us
        return done

    def over(self) -> int:
        """The errno of a stream whose end has arrived; 0 before that."""
        end = self.end_us()
        return self.ended[1] if self.ended and end is not None and end <= self.way.net.world.elapsed_us else 0

    def end_us(self) -> int | None:
        """When the end arrives; None where none is in sight."""
        return None if self.ended is None else self.way.passes(self.ended[0])

    def readable_us(self) -> int | None:
        """When there is something to read, be it the end; None where nothing is on its way."""
        if self.inbox:
            return self.way.net.world.elapsed_us
        return self.way.passes(self.flight[0][0]) if self.flight else self.end_us()

    def writable_us(self) -> int | None:
        """When the sender may send on; None while the receiver has to read first: half of the buffer, as in Linux."""
        return self.way.passes(self.freed_us) if self.room > self.way.link.buffer // 2 else None


def size_of_part(net: network, size: int, label: str) -> int:
    """
    How much of *size* bytes goes at once: all of it, one, all but one, or any number; at least one.

    In two steps, so that an explorer meets the interesting cases first and Hypothesis shrinks to "all".
    """
    if size == 1:
        return 1
    kind = net.world.choose(min(4, size), label)
    if kind == 3:
        return 1 + net.world.choose(size - 1, label)
    return (size, 1, size - 1)[kind]
