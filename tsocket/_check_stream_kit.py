# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the conformance checks of streams are made of: the traits of a backend, and a bench with two streams on it."""

from __future__ import annotations

from talloc_py import TALLOC_CTX, talloc_free

from ._check_kit import equal, fail, outcome, stepped_loop
from .address import iovec
from .stream import (
    tstream_context,
    tstream_disconnect_recv,
    tstream_disconnect_send,
    tstream_monitor_recv,
    tstream_monitor_send,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_writev_recv,
    tstream_writev_send,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from tevent import tevent_req

__all__ = ["stream_traits"]

MIB: Final = 1 << 20
# More than any connection buffers: a stream that takes so much while nobody reads has no back-pressure.
_CLOG_MAX: Final = 64 * MIB


class stream_traits:
    """
    What streams may do in one way or in another; the defaults are those of a socket.

    Args:
        write_max: The most bytes that one write takes, 0 where there is no limit. More is EMSGSIZE.

        pending_before_read: `tstream_pending_bytes` counts what has come although nobody has read yet. False where only
            a read looks into the connection, as with TLS: then it counts what the last read has left over.

        write_abortable: A write that is freed half-way leaves the stream usable: what it had sent stays sent, and the
            next write follows. False where the other side would wait for the rest of a message for ever.

        disconnect_heard: The other side of a disconnected stream reads EPIPE. False where nothing is sent.

        half_closed: A disconnect ends writing alone, with EIO; reading goes on until the other side ends too. False:
            every later operation is ENOTCONN.
    """

    __slots__ = ("disconnect_heard", "half_closed", "pending_before_read", "write_abortable", "write_max")

    def __init__(
        self,
        *,
        write_max: int = 0,
        pending_before_read: bool = True,
        write_abortable: bool = True,
        disconnect_heard: bool = True,
        half_closed: bool = False,
    ) -> None:
        self.write_max: int = write_max
        self.pending_before_read: bool = pending_before_read
        self.write_abortable: bool = write_abortable
        self.disconnect_heard: bool = disconnect_heard
        self.half_closed: bool = half_closed


class stream_bench:
    """Two connected streams, their owner, their loop and their traits."""

    def __init__(
        self, top: TALLOC_CTX, loop: stepped_loop, one: tstream_context, two: tstream_context, traits: stream_traits
    ) -> None:
        self.top: TALLOC_CTX = top
        self.loop: stepped_loop = loop
        self.one: tstream_context = one
        self.two: tstream_context = two
        self.traits: stream_traits = traits

    # -- requests ---------------------------------------------------------------------------------------------------

    def readv(self, stream: tstream_context, *vector: Any, owner: TALLOC_CTX | None = None) -> tevent_req:
        """A read below *owner*, or the owner of all."""
        req = tstream_readv_send(self.top if owner is None else owner, self.loop.ev, stream, list(vector))
        return fail("tstream_readv_send() returned None") if req is None else req

    def writev(self, stream: tstream_context, *vector: Any, owner: TALLOC_CTX | None = None) -> tevent_req:
        """A write."""
        req = tstream_writev_send(self.top if owner is None else owner, self.loop.ev, stream, list(vector))
        return fail("tstream_writev_send() returned None") if req is None else req

    def disconnect(self, stream: tstream_context) -> tevent_req:
        """A disconnect."""
        req = tstream_disconnect_send(self.top, self.loop.ev, stream)
        return fail("tstream_disconnect_send() returned None") if req is None else req

    def monitor(self, stream: tstream_context, owner: TALLOC_CTX | None = None) -> tevent_req:
        """A monitor."""
        req = tstream_monitor_send(self.top if owner is None else owner, self.loop.ev, stream)
        return fail("tstream_monitor_send() returned None") if req is None else req

    # -- requests that are watched ----------------------------------------------------------------------------------

    def reading(
        self,
        stream: tstream_context,
        *vector: Any,
        owner: TALLOC_CTX | None = None,
        then: Callable[[], object] | None = None,
    ) -> outcome:
        """A read whose end is recorded."""
        return self.loop.watch(self.readv(stream, *vector, owner=owner), "read", tstream_readv_recv, then=then)

    def writing(self, stream: tstream_context, *vector: Any, then: Callable[[], object] | None = None) -> outcome:
        """A write whose end is recorded."""
        return self.loop.watch(self.writev(stream, *vector), "write", tstream_writev_recv, then=then)

    def closing(self, stream: tstream_context) -> outcome:
        """A disconnect whose end is recorded."""
        return self.loop.watch(self.disconnect(stream), "disconnect", tstream_disconnect_recv)

    def monitoring(self, stream: tstream_context, owner: TALLOC_CTX | None = None) -> outcome:
        """A monitor whose end is recorded."""
        return self.loop.watch(self.monitor(stream, owner), "monitor", tstream_monitor_recv)

    # -- requests from their begin to their end ---------------------------------------------------------------------

    def read(self, stream: tstream_context, size: int) -> tuple[tuple[int, int], bytes]:
        """Read *size* bytes: what ``_recv`` says, and the buffer."""
        buf = bytearray(size)
        return self.loop.result_of(self.readv(stream, buf), "read", tstream_readv_recv), bytes(buf)

    def write(self, stream: tstream_context, data: bytes) -> None:
        """Write *data*, a few bytes, which nobody need read for that."""
        result = self.loop.result_of(self.writev(stream, data), "write", tstream_writev_recv)
        equal(result, (len(data), 0), "result of a write")

    def transfer(self, source: tstream_context, target: tstream_context, data: bytes) -> None:
        """Write *data*, a few bytes, at one end while the other reads as many, which must be the same."""
        buf = bytearray(len(data))
        reading = self.loop.watch(self.readv(target, buf), "read", tstream_readv_recv, free=True)
        writing = self.loop.watch(self.writev(source, data), "write", tstream_writev_recv, free=True)
        self.loop.until(lambda: reading.calls and writing.calls, "the transfer of some bytes")
        equal((reading.result, writing.result), ((len(data), 0),) * 2, "results of a read and a write")
        equal(bytes(buf), data, "bytes read")

    def failure(self, req: tevent_req, what: str, recv: Callable[[tevent_req], tuple[int, int]]) -> int:
        """The errno that *req* fails with."""
        ret, err = self.loop.result_of(req, what, recv)
        equal(ret, -1, f"return value of a {what} that should fail")
        return int(err)

    def clog(self, stream: tstream_context, owner: TALLOC_CTX | None = None) -> tuple[tevent_req, outcome, int]:
        """Write until nothing more is taken: the write that waits, what it sees, and the bytes of all, its own too."""
        chunk = bytes(self.traits.write_max or MIB)
        total = 0
        while total < _CLOG_MAX:
            total += len(chunk)
            req = self.writev(stream, chunk, owner=owner)
            seen = self.loop.watch(req, "write", tstream_writev_recv)
            self.loop.settle()
            if not seen.calls:
                return req, seen, total
            equal(seen.result, (len(chunk), 0), "result of a write")
            talloc_free(req)
        return fail(f"{total} bytes were written although nobody reads: there is no back-pressure")


class writer:
    """Writes *data* in pieces that the backend takes, one after the other."""

    def __init__(self, bench: stream_bench, stream: tstream_context, data: bytes) -> None:
        self.bench: stream_bench = bench
        self.stream: tstream_context = stream
        self.left: memoryview = memoryview(data)
        self._next()

    @property
    def done(self) -> bool:
        """Everything is written."""
        return not self.left

    def _next(self) -> None:
        part = self.left[: self.bench.traits.write_max or len(self.left)]
        seen = self.bench.writing(self.stream, part, then=lambda: over())

        def over() -> None:
            equal(seen.result, (len(part), 0), "result of a write")
            self.left = self.left[len(part) :]
            if self.left:
                self._next()


class pdu_reader:
    """A PDU reader: four bytes of big-endian length, then that many bytes."""

    def __init__(self) -> None:
        self.length: bytearray = bytearray(4)
        self.body: bytearray | None = None
        self.asked: int = 0

    def next_vector(self, stream: tstream_context, private_data: object, mem_ctx: TALLOC_CTX) -> tuple[int, Any]:
        """The `tstream_readv_pdu_next_vector_t` of this reader."""
        self.asked += 1
        if self.asked == 1:
            return 0, [self.length]
        size = int.from_bytes(self.length, "big")
        if self.body is None and size:
            self.body = bytearray(size)
            return 0, [iovec(self.body, size)]
        return 0, None


def framed(data: bytes) -> bytes:
    """*data* with its length in front, as `pdu_reader` reads it."""
    return len(data).to_bytes(4, "big") + data
