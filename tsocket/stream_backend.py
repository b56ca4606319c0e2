# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Streams on a backend of one's own.

Mirrors the part of ``lib/tsocket/tsocket_internal.h`` that is about streams.  A backend brings its operations as pairs
of ``_send`` and ``_recv`` functions and a state; `_OpsTransport` drives them for the layer in `tsocket._stream`.
"""

from __future__ import annotations

import errno

from talloc_py._walk import look_into
from talloc_py.core import TALLOC_CTX, free_chunk, talloc_zero
from talloc_py.names import talloc_get_type_abort
from tevent import get_errno
from tevent._request import tevent_req
from tevent.context import tevent_context
from tevent.req import tevent_req_callback_data, tevent_req_set_callback

from ._stream import (
    WRITEV,
    BadVector,
    check_vector,
    drop_sub,
    is_stream,
    new_stream,
    refuse_busy,
    stop_operation,
    tstream_context,
    writev_over,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final, TypeVar

    from ._stream import Vector

    S = TypeVar("S", bound=TALLOC_CTX)

__all__ = ["tstream_context_create", "tstream_context_data", "tstream_context_ops"]


class tstream_context_ops:
    """
    The operations of a backend, as `tstream_context_create` takes them.

    C: ``struct tstream_context_ops``

    Each ``_send`` takes ``(mem_ctx, ev, stream[, vector])`` and returns a request; a request that is finished already
    must have been posted with `tevent_req_post`. Each ``_recv`` takes that request and returns ``(ret, perrno)``.
    ``monitor_send`` and ``monitor_recv`` may be left out.
    """

    __slots__ = (
        "disconnect_recv",
        "disconnect_send",
        "monitor_recv",
        "monitor_send",
        "name",
        "pending_bytes",
        "readv_recv",
        "readv_send",
        "writev_recv",
        "writev_send",
    )

    def __init__(
        self,
        name: str | None = None,
        pending_bytes: Callable[[tstream_context], int] | None = None,
        readv_send: Callable[[TALLOC_CTX, tevent_context, tstream_context, Any], tevent_req | None] | None = None,
        readv_recv: Callable[[tevent_req], tuple[int, int]] | None = None,
        writev_send: Callable[[TALLOC_CTX, tevent_context, tstream_context, Any], tevent_req | None] | None = None,
        writev_recv: Callable[[tevent_req], tuple[int, int]] | None = None,
        disconnect_send: Callable[[TALLOC_CTX, tevent_context, tstream_context], tevent_req | None] | None = None,
        disconnect_recv: Callable[[tevent_req], tuple[int, int]] | None = None,
        monitor_send: Callable[[TALLOC_CTX, tevent_context, tstream_context], tevent_req | None] | None = None,
        monitor_recv: Callable[[tevent_req], tuple[int, int]] | None = None,
    ) -> None:
        self.name: str | None = name
        self.pending_bytes: Callable[[tstream_context], int] | None = pending_bytes
        self.readv_send: Callable[[TALLOC_CTX, tevent_context, tstream_context, Any], tevent_req | None] | None = (
            readv_send
        )
        self.readv_recv: Callable[[tevent_req], tuple[int, int]] | None = readv_recv
        self.writev_send: Callable[[TALLOC_CTX, tevent_context, tstream_context, Any], tevent_req | None] | None = (
            writev_send
        )
        self.writev_recv: Callable[[tevent_req], tuple[int, int]] | None = writev_recv
        self.disconnect_send: Callable[[TALLOC_CTX, tevent_context, tstream_context], tevent_req | None] | None = (
            disconnect_send
        )
        self.disconnect_recv: Callable[[tevent_req], tuple[int, int]] | None = disconnect_recv
        self.monitor_send: Callable[[TALLOC_CTX, tevent_context, tstream_context], tevent_req | None] | None = (
            monitor_send
        )
        self.monitor_recv: Callable[[tevent_req], tuple[int, int]] | None = monitor_recv


def tstream_context_create(
    mem_ctx: TALLOC_CTX | None, ops: tstream_context_ops, type: type[S]
) -> tuple[tstream_context | None, S]:
    """
    Make a stream on a backend of one's own.

    C: ``struct tstream_context *tstream_context_create(TALLOC_CTX *mem_ctx, const struct tstream_context_ops *ops,
    void *pstate, #type)``

    Args:
        mem_ctx: The owner.

        ops: The backend's operations.

        type: The class of the backend's state, derived from `TALLOC_CTX`. Put destructors on the state, not on the
            stream.

    Returns:
        The stream and the state, its child; ``(None, None)`` where a memory limit forbids it.
    """
    if not isinstance(ops, tstream_context_ops):
        raise TypeError(f"ops must be a tstream_context_ops, not {ops.__class__.__name__}")
    stream = new_stream(mem_ctx, ops)
    if stream is None:
        return None, None  # type: ignore[return-value]  # one check, of the stream, has to do as in C
    try:
        state = talloc_zero(stream, type)
    except BaseException:
        free_chunk(stream._talloc_chunk, _HERE)
        raise
    if state is None:
        free_chunk(stream._talloc_chunk, _HERE)
        return None, None  # type: ignore[return-value]
    stream.private_data = state
    stream.transport = _OpsTransport(stream, ops)
    return stream, state


def tstream_context_data(stream: tstream_context, type: type[S]) -> S:
    """
    The state of the backend of *stream*.

    C: ``void *tstream_context_data(struct tstream_context *stream, #type)``

    Another type than the backend's goes to talloc's abort function.
    """
    if not is_stream(stream):
        return None  # type: ignore[return-value]  # only where an abort function returns
    look_into(stream._talloc_chunk)  # below a stream of the library's there may be no chunk yet
    return talloc_get_type_abort(stream.private_data, type)


class _OpsTransport:
    """The operations of a backend, which come as pairs of ``_send`` and ``_recv``, as a transport."""

    __slots__ = ("ops", "stream")

    def __init__(self, stream: tstream_context, ops: tstream_context_ops) -> None:
        self.stream = stream
        self.ops = ops

    def _op(self, name: str) -> Callable[..., Any]:
        op: Callable[..., Any] | None = getattr(self.ops, name)
        if op is None:
            raise TypeError(f"the stream backend {self.ops.name!r} has no operation {name}")
        return op

    def _begin(self, req: tevent_req, name: str, done: Callable[[tevent_req], None], *vector: object) -> bool:
        try:
            sub: tevent_req | None = self._op(name + "_send")(req, req.op_ev, self.stream, *vector)
        except BaseException:
            stop_operation(req)
            raise
        if sub is None:
            stop_operation(req)
            return False
        req.op_sub = sub
        tevent_req_set_callback(sub, done, req)
        return True

    def _end(self, sub: tevent_req, name: str) -> tevent_req:
        req = tevent_req_callback_data(sub, tevent_req)
        req.op_ret, req.op_err = self._op(name + "_recv")(sub)
        if req.op_ret == -1 and not req.op_err:
            req.op_err = errno.EIO  # a failure without a reason must not leave the request hanging
        return req

    def start_readv(self, req: tevent_req, vector: Vector, done: Callable[[tevent_req], None], at_once: bool) -> bool:
        # Bytes that are there already are the backend's own business; only BSD sockets know how to look.
        stream = self.stream
        check_vector(vector)
        if stream.read_req is not None or stream.disconnect_req is not None:
            refuse_busy(stream)
        stream.read_req = req
        req.op_done = done
        # The backend gets the very vector that the caller gave.
        return self._begin(req, "readv", self._readv_done, vector)

    def _readv_done(self, sub: tevent_req) -> None:
        req = self._end(sub, "readv")
        drop_sub(req)
        req.op_done(req)

    def start_writev(self, req: tevent_req, vector: Vector) -> bool:
        stream = self.stream
        check_vector(vector)
        if stream.write_req is not None or stream.disconnect_req is not None:
            refuse_busy(stream)
        stream.write_req = req
        req.op_done = writev_over
        return self._begin(req, "writev", self._writev_done, vector)

    def _writev_done(self, sub: tevent_req) -> None:
        req = self._end(sub, "writev")
        if req.op is not WRITEV:
            drop_sub(req)  # in C that of a helper hangs on a request between, which goes first
        req.op_done(req)

    def disconnect(self, req: tevent_req) -> bool:
        return self._begin(req, "disconnect", self._disconnect_done)

    def _disconnect_done(self, sub: tevent_req) -> None:
        req = self._end(sub, "disconnect")
        req.op_done(req)

    def monitor(self, req: tevent_req) -> bool:
        if self.ops.monitor_send is not None:
            return self._begin(req, "monitor", self._monitor_done)
        # Such a backend can only be asked once; after that the failure of any operation ends the monitor.
        if self.pending_bytes() < 0:
            self.stream.monitor_req = None
            raise BadVector(get_errno() or errno.EIO)
        return True

    def _monitor_done(self, sub: tevent_req) -> None:
        req = self._end(sub, "monitor")
        drop_sub(req)
        req.op_done(req)

    def pending_bytes(self) -> int:
        ret: int = self._op("pending_bytes")(self.stream)
        return ret

    def stop_readv(self, req: tevent_req) -> None:
        drop_sub(req)

    stop_writev = stop_disconnect = stop_monitor = stop_readv


_HERE: Final = (tstream_context_create.__code__, 0)
