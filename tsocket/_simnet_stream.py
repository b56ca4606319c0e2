# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Streams of a simulated network, over the public interface for backends.

A `stream_end` is what a socket is to the system; it may be there before anybody has a `tstream_context` on it, as a
connection is before it is accepted.  Errors are those of a socket: the first one stays, what arrived before the end can
be read, a stream that was disconnected is ENOTCONN.
"""

from __future__ import annotations

from errno import ENOTCONN, EPIPE

from talloc_py import TALLOC_CTX, talloc_set_destructor
from tevent import set_errno, tevent_req_create

from ._simnet_op import begin, operation, operation_recv, refused, start
from ._simnet_way import channel, size_of_part
from ._vector import advance, views
from .bsd_socket import RETRY
from .stream_backend import tstream_context_create, tstream_context_data, tstream_context_ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tevent import tevent_context, tevent_req

    from ._simnet import network
    from ._simnet_way import way
    from .stream import tstream_context

__all__ = ["SIMULATED_STREAM", "new_stream", "stream_end", "stream_ends"]


class stream_end:
    """
    One end of a connection.

    Attributes:
        error: The first errno that an operation failed with, ENOTCONN once closed; 0 while all is well.

        other: The other end.

        come: What comes from there.

        gone: What goes there.
    """

    __slots__ = ("come", "error", "gone", "name", "net", "operations", "other")

    other: stream_end

    def __init__(self, net: network, name: str, come: channel, gone: channel) -> None:
        self.net: network = net
        self.name: str = name
        self.come: channel = come
        self.gone: channel = gone
        self.error: int = 0
        self.operations: dict[str, operation] = {}
        net.opened(self, f"stream {name}")

    def arm(self) -> None:
        """Say for each operation when it can go on."""
        now = self.net.world.elapsed_us
        reader, writer = self.operations.get("readv"), self.operations.get("writev")
        if reader is not None:
            reader.wait(now if self.error else self.come.readable_us())
        if writer is not None:
            writer.wait(now if self.error else _first(self.gone.writable_us(), self.come.end_us()))
        watcher = self.operations.get("monitor")
        if watcher is not None:
            # Whoever waits for more than the end hears of it first.
            busy = reader is not None or writer is not None
            watcher.wait(None if busy else now if self.error else self.come.end_us())
        closing = self.operations.get("disconnect")
        if closing is not None:
            closing.wait(now)

    def close(self) -> None:
        """Be gone; the other one hears of it when everything before has arrived."""
        if self.net.closed(self):
            self.error = ENOTCONN
            self.gone.finish(EPIPE)
            self.come.deaf = True
            self.other.arm()

    def failed(self, op: operation) -> None:
        """The first error stays; a descriptor is closed also where close(2) fails."""
        if op.what == "disconnect":
            self.close()
        self.error = self.error or op.err

    # -- attempts -----------------------------------------------------------------------------------------------------

    def read(self, op: operation) -> bool:
        """Take what has arrived; True if the vector is full or the stream at its end."""
        come = self.come
        come.settle()
        count = come.take(op.buffers, op.limit or op.left)
        op.left -= count
        advance(op.buffers, count)
        if count:
            self.net.world.tell(f"{self.name} reads {count}" + (f", {op.left} to come" if op.left else ""))
            self.other.arm()
        if not op.left:
            return True
        return not come.inbox and not come.flight and self._over(op)

    def write(self, op: operation) -> bool:
        """Send what there is room for; True if that was all, or the stream is at its end."""
        if self._over(op):
            return True
        gone = self.gone
        size = min(op.left, gone.room)
        if size and gone.way.link.partial_writes:
            size = size_of_part(self.net, size, f"{self.name}: take part of {size} bytes")
        size = min(size, op.limit or size)
        if size:
            data = b"".join(op.buffers)[:size]
            advance(op.buffers, size)
            op.left -= size
            self.net.world.tell(f"{self.name} writes {size}" + (f", {op.left} to go" if op.left else ""))
            gone.send(data)
            self.other.arm()
        return not op.left

    def watch(self, op: operation) -> bool:
        """True if the stream is at its end."""
        return self._over(op)

    def disconnect(self, op: operation) -> bool:
        """Close this end."""
        self.close()
        return True

    def _over(self, op: operation) -> bool:
        """Whether the end has arrived; *op* fails with it then."""
        err = self.come.over()
        if err:
            op.ret, op.err = -1, err
        return bool(err)

    def pending(self, owner: TALLOC_CTX) -> int:
        """How much could be read; -1 with errno."""
        plan = None if self.error else self.net.ask(self.name, "pending_bytes", owner)
        err = self.error or (plan.errno if plan is not None and plan.errno not in RETRY else 0)
        if not err:
            self.come.settle()
            if self.come.inbox:
                return len(self.come.inbox)
            err = 0 if self.come.flight else self.come.over()
        if err:
            self.error = self.error or err
            set_errno(err)
            return -1
        return 0


def _first(*times: int | None) -> int | None:
    """The earliest of *times*."""
    return min((time for time in times if time is not None), default=None)


def stream_ends(net: network, along: way, one: str, two: str) -> tuple[stream_end, stream_end]:
    """Two ends that are connected along a way, called *one* and *two*."""
    there, back = channel(along, two), channel(along, one)
    there.back, back.back = back, there
    first, second = stream_end(net, one, back, there), stream_end(net, two, there, back)
    first.other, second.other = second, first
    there.begin()
    back.begin()
    return first, second


# -- the backend ------------------------------------------------------------------------------------------------------


class simulated_stream(TALLOC_CTX):
    """The state of a stream: the end that it owns."""

    __slots__ = ("end",)

    end: stream_end


def _destroy(state: simulated_stream) -> int:
    state.end.close()
    return 0


def _end_of(stream: tstream_context) -> stream_end:
    return tstream_context_data(stream, simulated_stream).end


def _begin_transfer(op: operation, buffers: list[memoryview], at_once: bool) -> tevent_req:
    op.buffers = buffers
    op.ret = op.left = sum(map(len, buffers))
    return begin(op, at_once)


# As over a socket a read waits to be told that there is something, and a write tries at once.


def _readv_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, vector: Any) -> tevent_req | None:
    buffers, end = views(vector, True), _end_of(stream)
    req, op = tevent_req_create(mem_ctx, operation)
    if req is None:
        return None
    start(op, req, ev, end, "readv", end.read)
    return _begin_transfer(op, buffers, False)


def _writev_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, vector: Any) -> tevent_req | None:
    buffers, end = views(vector, False), _end_of(stream)
    req, op = tevent_req_create(mem_ctx, operation)
    if req is None:
        return None
    start(op, req, ev, end, "writev", end.write)
    return _begin_transfer(op, buffers, True)


def _disconnect_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context) -> tevent_req | None:
    end = _end_of(stream)
    if end.error == ENOTCONN:
        return refused(mem_ctx, ev, ENOTCONN)
    end.error = 0  # closing needs no connection that works
    req, op = tevent_req_create(mem_ctx, operation)
    if req is None:
        return None
    start(op, req, ev, end, "disconnect", end.disconnect)
    return begin(op, True)


def _monitor_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context) -> tevent_req | None:
    end = _end_of(stream)
    req, op = tevent_req_create(mem_ctx, operation)
    if req is None:
        return None
    start(op, req, ev, end, "monitor", end.watch)
    return begin(op, False)


def _pending_bytes(stream: tstream_context) -> int:
    return _end_of(stream).pending(stream)


SIMULATED_STREAM = tstream_context_ops(
    "simulated",
    _pending_bytes,
    _readv_send,
    operation_recv,
    _writev_send,
    operation_recv,
    _disconnect_send,
    operation_recv,
    _monitor_send,
    operation_recv,
)


def new_stream(mem_ctx: TALLOC_CTX | None, end: stream_end) -> tstream_context | None:
    """A stream that owns *end*; None where a memory limit forbids it, *end* is the caller's then."""
    stream, state = tstream_context_create(mem_ctx, SIMULATED_STREAM, simulated_stream)
    if stream is None:
        return None
    state.end = end
    talloc_set_destructor(state, _destroy)
    return stream
