# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Stream backends as a user writes them: C-style operations handed to `tstream_context_create`.

`memory_pair` connects two streams through buffers in memory. `forward` puts a stream on top of another one. `scripted`
answers as a test tells it to. None of them uses anything but the public functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from errno import ENOTCONN, EPIPE
from typing import Any

from talloc_py import TALLOC_CTX, talloc_free, talloc_new, talloc_set_destructor, talloc_steal
from tevent import (
    set_errno,
    tevent_context,
    tevent_req,
    tevent_req_create,
    tevent_req_data,
    tevent_req_defer_callback,
    tevent_req_done,
    tevent_req_error,
    tevent_req_is_in_progress,
    tevent_req_nomem,
    tevent_req_post,
    tevent_req_received,
    tevent_req_set_callback,
    tevent_req_set_cleanup_fn,
)
from tsocket import (
    iovec,
    tsocket_simple_int_recv,
    tstream_context,
    tstream_context_create,
    tstream_context_data,
    tstream_context_ops,
    tstream_disconnect_recv,
    tstream_disconnect_send,
    tstream_monitor_recv,
    tstream_monitor_send,
    tstream_pending_bytes,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_writev_recv,
    tstream_writev_send,
)

#: What one direction of a memory pair holds before writes wait.
MEMORY_BUFFER = 64 * 1024


def flat(vector: Sequence[Any]) -> list[memoryview]:
    """The elements of a vector as views of bytes."""
    views = []
    for item in vector:
        base, size = (item.iov_base, item.iov_len) if isinstance(item, iovec) else (item, None)
        if base is not None:
            view = memoryview(base).cast("B")
            views.append(view if size is None else view[:size])
    return views


# -- streams in memory ------------------------------------------------------------------------------------------------


class memory_state(TALLOC_CTX):
    """One end of a pair: the bytes that came for it, and who waits."""

    other: memory_state | None = None
    inbox: bytearray
    ended: bool = False  # the other end is gone
    closed: bool = False
    reader: tevent_req | None = None
    writer: tevent_req | None = None


class memory_io_state(TALLOC_CTX):
    """The state of a read or write."""

    ev: tevent_context
    end: memory_state
    vector: Any
    data: memoryview  # a write: all of its bytes
    offset: int = 0
    ret: int = 0


def _memory_io(
    mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, vector: Any
) -> tuple[tevent_req | None, memory_io_state]:
    req, state = tevent_req_create(mem_ctx, memory_io_state)
    if req is None:
        return None, state
    state.ev = ev
    state.end = tstream_context_data(stream, memory_state)
    state.vector = vector
    return req, state


def memory_readv_send(
    mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, vector: Any
) -> tevent_req | None:
    req, state = _memory_io(mem_ctx, ev, stream, vector)
    if req is None:
        return None
    if state.end.closed:
        tevent_req_error(req, ENOTCONN)
        return tevent_req_post(req, ev)
    state.end.reader = req
    tevent_req_set_cleanup_fn(req, _memory_reader_gone)
    _memory_read_on(state.end, now=True)
    return req


def _memory_reader_gone(req: tevent_req, req_state: int) -> None:
    end = tevent_req_data(req, memory_io_state).end
    if end.reader is req:
        end.reader = None


def _memory_read_on(end: memory_state, now: bool = False) -> None:
    """Hand what has arrived to the waiting read, and let the other end's write go on."""
    req = end.reader
    if req is None:
        return
    state = tevent_req_data(req, memory_io_state)
    views = flat(state.vector)
    total = sum(map(len, views))
    skip = state.offset
    for view in views:
        if skip >= len(view):
            skip -= len(view)
            continue
        part = end.inbox[: len(view) - skip]
        view[skip : skip + len(part)] = part
        del end.inbox[: len(part)]
        state.offset += len(part)
        skip = 0
        if not end.inbox:
            break
    if not now:
        tevent_req_defer_callback(req, state.ev)
    if state.offset == total:
        state.ret = total
        tevent_req_done(req)
    elif end.ended:
        tevent_req_error(req, EPIPE)
    else:
        tevent_req_defer_callback(req, None)
    if now and not tevent_req_is_in_progress(req):
        tevent_req_post(req, state.ev)
    if end.other is not None:
        _memory_write_on(end.other)


def memory_writev_send(
    mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, vector: Any
) -> tevent_req | None:
    req, state = _memory_io(mem_ctx, ev, stream, vector)
    if req is None:
        return None
    if state.end.closed or state.end.other is None:
        tevent_req_error(req, ENOTCONN if state.end.closed else EPIPE)
        return tevent_req_post(req, ev)
    state.data = memoryview(b"".join(flat(vector)))
    state.end.writer = req
    tevent_req_set_cleanup_fn(req, _memory_writer_gone)
    _memory_write_on(state.end, now=True)
    return req


def _memory_writer_gone(req: tevent_req, req_state: int) -> None:
    end = tevent_req_data(req, memory_io_state).end
    if end.writer is req:
        end.writer = None


def _memory_write_on(end: memory_state, now: bool = False) -> None:
    """Move what fits from the waiting write to the other end."""
    req = end.writer
    if req is None:
        return
    state = tevent_req_data(req, memory_io_state)
    if end.other is None:
        tevent_req_defer_callback(req, state.ev)
        tevent_req_error(req, EPIPE)
        return
    data = state.data
    room = MEMORY_BUFFER - len(end.other.inbox)
    part = data[state.offset : state.offset + room]
    state.offset += len(part)
    end.other.inbox += part
    if state.offset == len(data):
        state.ret = len(data)
        if not now:
            tevent_req_defer_callback(req, state.ev)
        tevent_req_done(req)
        if now:
            tevent_req_post(req, state.ev)
    if part:
        _memory_read_on(end.other)


def memory_io_recv(req: tevent_req) -> tuple[int, int]:
    ret, err = tsocket_simple_int_recv(req)
    if ret == 0:
        ret = tevent_req_data(req, memory_io_state).ret
    tevent_req_received(req)
    return ret, err


def memory_pending_bytes(stream: tstream_context) -> int:
    end = tstream_context_data(stream, memory_state)
    if end.closed or (end.ended and not end.inbox):
        set_errno(ENOTCONN if end.closed else EPIPE)
        return -1
    return len(end.inbox)


def memory_disconnect_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context) -> tevent_req | None:
    req, state = _memory_io(mem_ctx, ev, stream, None)
    if req is None:
        return None
    if state.end.closed:
        tevent_req_error(req, ENOTCONN)
    else:
        state.end.closed = True
        _memory_destructor(state.end)
        tevent_req_done(req)
    return tevent_req_post(req, ev)


def _memory_destructor(end: memory_state) -> int:
    """Tell the other end that this one is gone."""
    other, end.other = end.other, None
    if other is not None:
        other.other = None
        other.ended = True
        _memory_read_on(other)
        _memory_write_on(other)
    return 0


MEMORY_OPS = tstream_context_ops(
    name="memory",
    pending_bytes=memory_pending_bytes,
    readv_send=memory_readv_send,
    readv_recv=memory_io_recv,
    writev_send=memory_writev_send,
    writev_recv=memory_io_recv,
    disconnect_send=memory_disconnect_send,
    disconnect_recv=memory_io_recv,
)


def memory_pair(mem_ctx: TALLOC_CTX | None) -> tuple[tstream_context, tstream_context]:
    """Two streams connected in memory."""
    one, end1 = tstream_context_create(mem_ctx, MEMORY_OPS, memory_state)
    two, end2 = tstream_context_create(mem_ctx, MEMORY_OPS, memory_state)
    assert one is not None
    assert two is not None
    for end, other in ((end1, end2), (end2, end1)):
        end.inbox = bytearray()
        end.other = other
        talloc_set_destructor(end, _memory_destructor)
    return one, two


# -- a stream on top of another one -----------------------------------------------------------------------------------


class forward_state(TALLOC_CTX):
    """The stream underneath, owned by this one."""

    inner: tstream_context


class forward_io_state(TALLOC_CTX):
    ret: int


def _forward_send(
    mem_ctx: TALLOC_CTX,
    ev: tevent_context,
    stream: tstream_context,
    send: Callable[..., tevent_req | None],
    recv: Callable[[tevent_req], tuple[int, int]],
    *vector: Any,
) -> tevent_req | None:
    req, state = tevent_req_create(mem_ctx, forward_io_state)
    if req is None:
        return None

    def done(subreq: tevent_req) -> None:
        ret, err = recv(subreq)
        talloc_free(subreq)
        if ret == -1:
            tevent_req_error(req, err)
            return
        state.ret = ret
        tevent_req_done(req)

    subreq = send(state, ev, tstream_context_data(stream, forward_state).inner, *vector)
    if tevent_req_nomem(subreq, req):
        return tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, done, req)
    return req


def forward_readv_send(
    mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, vector: Any
) -> tevent_req | None:
    return _forward_send(mem_ctx, ev, stream, tstream_readv_send, tstream_readv_recv, vector)


def forward_writev_send(
    mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, vector: Any
) -> tevent_req | None:
    return _forward_send(mem_ctx, ev, stream, tstream_writev_send, tstream_writev_recv, vector)


def forward_disconnect_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context) -> tevent_req | None:
    return _forward_send(mem_ctx, ev, stream, tstream_disconnect_send, tstream_disconnect_recv)


def forward_monitor_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context) -> tevent_req | None:
    return _forward_send(mem_ctx, ev, stream, tstream_monitor_send, tstream_monitor_recv)


def forward_recv(req: tevent_req) -> tuple[int, int]:
    ret, err = tsocket_simple_int_recv(req)
    if ret == 0:
        ret = tevent_req_data(req, forward_io_state).ret
    tevent_req_received(req)
    return ret, err


def forward_pending_bytes(stream: tstream_context) -> int:
    return tstream_pending_bytes(tstream_context_data(stream, forward_state).inner)


FORWARD_OPS = tstream_context_ops(
    name="forward",
    pending_bytes=forward_pending_bytes,
    readv_send=forward_readv_send,
    readv_recv=forward_recv,
    writev_send=forward_writev_send,
    writev_recv=forward_recv,
    disconnect_send=forward_disconnect_send,
    disconnect_recv=forward_recv,
    monitor_send=forward_monitor_send,
    monitor_recv=forward_recv,
)


def forward(mem_ctx: TALLOC_CTX | None, inner: tstream_context) -> tstream_context:
    """A stream that hands every operation on to *inner*, which it owns from now on."""
    stream, state = tstream_context_create(mem_ctx, FORWARD_OPS, forward_state)
    assert stream is not None
    state.inner = inner
    talloc_steal(state, inner)
    return stream


# -- a backend told what to answer ------------------------------------------------------------------------------------


class scripted_state(TALLOC_CTX):
    """What was asked of the backend, and the requests that wait for `ScriptedStream.answer`."""

    script: ScriptedStream


class scripted_io_state(TALLOC_CTX):
    ret: int
    result: tuple[int, int] | None


class ScriptedStream:
    """
    A stream whose operations wait until a test answers them.

    Attributes:
        asked: The name of each operation asked for, in order.

        vectors: The vectors given to readv and writev, the objects themselves.

        waiting: The request of each operation that was not answered.

        pending: What pending_bytes answers: the value, and the errno to set with -1.

        refuse: Names of operations whose ``_send`` returns None.
    """

    def __init__(self, mem_ctx: TALLOC_CTX | None, *, monitored: bool = True) -> None:
        self.asked: list[str] = []
        self.vectors: list[Any] = []
        self.parents: list[TALLOC_CTX] = []
        self.received: list[str] = []
        self.freed: list[str] = []
        self.waiting: dict[str, tevent_req] = {}
        self.pending: tuple[int, int] = (0, 0)
        self.refuse: set[str] = set()
        self.at_once: dict[str, tuple[int, int]] = {}
        names = ["readv", "writev", "disconnect"] + ["monitor"] * monitored
        ops = {f"{name}_send": self._send(name) for name in names}
        ops |= {f"{name}_recv": self._recv(name) for name in names}
        self.ops = tstream_context_ops(name="scripted", pending_bytes=self._pending, **ops)
        stream, state = tstream_context_create(mem_ctx, self.ops, scripted_state)
        assert stream is not None
        state.script = self
        self.stream: tstream_context = stream

    def _send(self, name: str) -> Any:
        def send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, *vector: Any) -> tevent_req | None:
            assert tstream_context_data(stream, scripted_state).script is self
            self.asked.append(name)
            self.vectors.extend(vector)
            self.parents.append(mem_ctx)
            if name in self.refuse:
                return None
            req, _ = tevent_req_create(mem_ctx, scripted_io_state)
            assert req is not None
            self.waiting[name] = req
            # On the request, not on its state: it goes when the request goes, not when that is received.
            talloc_set_destructor(talloc_new(req), lambda _: self.freed.append(name))
            if name in self.at_once:
                self.answer(name, *self.at_once[name])
                tevent_req_post(req, ev)
            return req

        return send

    def _recv(self, name: str) -> Any:
        def recv(req: tevent_req) -> tuple[int, int]:
            self.received.append(name)
            state = tevent_req_data(req, scripted_io_state)
            result = state.result or (state.ret, 0)
            tevent_req_received(req)
            return result

        return recv

    def _pending(self, stream: tstream_context) -> int:
        self.asked.append("pending_bytes")
        if self.pending[0] == -1:
            set_errno(self.pending[1])
        return self.pending[0]

    def stream_is_busy(self) -> bool:
        """Whether any operation of the stream is outstanding."""
        return any(
            getattr(self.stream, f"{name}_req") is not None for name in ("read", "write", "disconnect", "monitor")
        )

    def answer(self, name: str, ret: int, err: int = 0) -> None:
        """Let the waiting operation *name* end; its ``_recv`` will return ``(ret, err)``."""
        req = self.waiting.pop(name)
        tevent_req_data(req, scripted_io_state).result = (ret, err)
        tevent_req_done(req)
