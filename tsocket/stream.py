# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Streams: one interface over every kind of byte stream.

Mirrors the stream half of ``lib/tsocket/tsocket.c``; what the functions here have in common, and the layer below them,
is in `tsocket._stream`, backends of one's own in `tsocket.stream_backend`.
"""

from __future__ import annotations

import errno

from talloc_py.core import TALLOC_CTX, free_chunk
from tevent import get_errno
from tevent._request import DONE, is_request, new_operation, rare_of, tevent_req
from tevent.context import tevent_context
from tevent.req import tevent_req_received

from ._stream import (
    DISCONNECT,
    MONITOR,
    READV,
    WRITEV,
    BadVector,
    disconnect_over,
    fail_monitor,
    failure_of,
    int_recv,
    is_stream,
    monitor_over,
    readv_over,
    refuse,
    refuse_oom,
    tstream_context,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from ._stream import Vector

__all__ = [
    "tsocket_simple_int_recv",
    "tstream_context",
    "tstream_disconnect_recv",
    "tstream_disconnect_send",
    "tstream_monitor_recv",
    "tstream_monitor_send",
    "tstream_pending_bytes",
    "tstream_readv_recv",
    "tstream_readv_send",
    "tstream_writev_recv",
    "tstream_writev_send",
]


def tstream_pending_bytes(stream: tstream_context) -> int:
    """
    How many bytes can be read without waiting.

    C: ``ssize_t tstream_pending_bytes(struct tstream_context *stream)``

    Returns:
        The number of bytes, 0 included; -1 with errno set: ENOTCONN for a disconnected stream, else the errno that
        reads and writes will give.
    """
    if not is_stream(stream):
        return -1
    ret = stream.transport.pending_bytes()
    if ret == -1 and stream.monitor_req is not None:
        fail_monitor(stream, get_errno())
    return ret


def tstream_readv_send(
    mem_ctx: TALLOC_CTX | None, ev: tevent_context, stream: tstream_context, vector: Vector
) -> tevent_req | None:
    """
    Read until the whole of *vector* is full.

    C: ``struct tevent_req *tstream_readv_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
    struct tstream_context *stream, struct iovec *vector, size_t count)``

    Args:
        mem_ctx: The owner of the request.

        ev: The event context; the same for all operations that are outstanding on *stream*.

        stream: The stream.

        vector: `iovec` objects or writable bytes-like objects, at most 1024, some of them not empty. The list may be
            changed at once; the buffers are borrowed until the request ends.

    Returns:
        The request; None where a memory limit forbids it.

    Errors of `tstream_readv_recv`: EINVAL and EMSGSIZE for a *vector* of no or too many bytes or elements, EBUSY while
    another read is outstanding, ECONNABORTED while a disconnect is, EPIPE at the end of the stream, ENOTCONN after a
    disconnect, and those of the system.

    Raises:
        TypeError: A buffer cannot be written to.
    """
    req = new_operation(mem_ctx, ev, stream, READV)
    if req is None:
        return None
    try:  # _run(), spelled out here and below, where a start takes more than the request: 8 % of a write's instructions
        if stream.transport.start_readv(req, vector, readv_over, False):
            return req
    except BadVector as bad:
        return refuse(req, bad.args[0])
    except BaseException:
        free_chunk(req._talloc_chunk, _HERE)
        raise
    return refuse_oom(req)


def _run(req: tevent_req, start: Callable[[tevent_req], bool]) -> tevent_req:
    """Start a direct operation; what it refuses is finished when ``_send`` returns."""
    try:
        if start(req):
            return req
    except BadVector as bad:
        return refuse(req, bad.args[0])
    except BaseException:
        free_chunk(req._talloc_chunk, _HERE)
        raise
    return refuse_oom(req)


def tstream_readv_recv(req: tevent_req) -> tuple[int, int]:
    """
    The result of `tstream_readv_send`.

    C: ``int tstream_readv_recv(struct tevent_req *req, int *perrno)``

    Returns:
        ``(bytes, 0)``, the sum of the vector's lengths, or ``(-1, errno)``; EIO while *req* is in progress, which ends
        it.
    """
    return int_recv(req, READV)


def tstream_writev_send(
    mem_ctx: TALLOC_CTX | None, ev: tevent_context, stream: tstream_context, vector: Vector
) -> tevent_req | None:
    """
    Write the whole of *vector*.

    C: ``struct tevent_req *tstream_writev_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
    struct tstream_context *stream, const struct iovec *vector, size_t count)``

    Arguments, result and errors are those of `tstream_readv_send`, but that any bytes-like object will do.
    """
    req = new_operation(mem_ctx, ev, stream, WRITEV)
    if req is None:
        return None
    try:
        if stream.transport.start_writev(req, vector):
            return req
    except BadVector as bad:
        return refuse(req, bad.args[0])
    except BaseException:
        free_chunk(req._talloc_chunk, _HERE)
        raise
    return refuse_oom(req)


def tstream_writev_recv(req: tevent_req) -> tuple[int, int]:
    """
    The result of `tstream_writev_send`.

    C: ``int tstream_writev_recv(struct tevent_req *req, int *perrno)``

    Returns:
        ``(bytes, 0)`` once everything was handed to the system, or ``(-1, errno)``.
    """
    return int_recv(req, WRITEV)


def tstream_disconnect_send(
    mem_ctx: TALLOC_CTX | None, ev: tevent_context, stream: tstream_context
) -> tevent_req | None:
    """
    Close the connection.

    C: ``struct tevent_req *tstream_disconnect_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
    struct tstream_context *stream)``

    Errors of `tstream_disconnect_recv`: EBUSY while a read or write is outstanding, EALREADY while another disconnect
    is, ENOTCONN if the stream is disconnected already.
    """
    req = new_operation(mem_ctx, ev, stream, DISCONNECT)
    return None if req is None else _run(req, _start_disconnect)


def _start_disconnect(req: tevent_req) -> bool:
    stream: tstream_context = req.op_target
    if stream.disconnect_req is not None:
        raise BadVector(errno.EALREADY)
    if stream.read_req is not None or stream.write_req is not None:
        raise BadVector(errno.EBUSY)
    stream.disconnect_req = req
    req.op_done = disconnect_over
    return stream.transport.disconnect(req)


def tstream_disconnect_recv(req: tevent_req) -> tuple[int, int]:
    """
    The result of `tstream_disconnect_send`.

    C: ``int tstream_disconnect_recv(struct tevent_req *req, int *perrno)``

    Returns:
        ``(0, 0)`` or ``(-1, errno)``.
    """
    result = tsocket_simple_int_recv(req)
    if is_request(req):
        tevent_req_received(req)
    return result


def tstream_monitor_send(mem_ctx: TALLOC_CTX | None, ev: tevent_context, stream: tstream_context) -> tevent_req | None:
    """
    Wait until *stream* fails, without reading from it.

    C: ``struct tevent_req *tstream_monitor_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
    struct tstream_context *stream)``

    Errors of `tstream_monitor_recv`: EALREADY while another monitor is outstanding, ECONNABORTED while a disconnect is
    and after one, else what any operation of the backend has failed with.

    Callbacks: always one turn of the loop after the error was found.
    """
    req = new_operation(mem_ctx, ev, stream, MONITOR)
    if req is None:
        return None
    rare_of(req).defer_ev = ev
    return _run(req, _start_monitor)


def _start_monitor(req: tevent_req) -> bool:
    stream: tstream_context = req.op_target
    if stream.disconnect_req is not None:
        raise BadVector(errno.ECONNABORTED)
    if stream.monitor_req is not None:
        raise BadVector(errno.EALREADY)
    stream.monitor_req = req
    req.op_done = monitor_over
    return stream.transport.monitor(req)


def tstream_monitor_recv(req: tevent_req) -> tuple[int, int]:
    """
    The result of `tstream_monitor_send`.

    C: ``int tstream_monitor_recv(struct tevent_req *req, int *perrno)``

    Returns:
        ``(-1, errno)``; a backend may define another result.
    """
    return int_recv(req, MONITOR)


def tsocket_simple_int_recv(req: tevent_req) -> tuple[int, int]:
    """
    The result of a request that has nothing but success or an errno; the request is not received by this.

    C: ``int tsocket_simple_int_recv(struct tevent_req *req, int *perrno)``

    Returns:
        ``(0, 0)``, or -1 with the error, ETIMEDOUT, ENOMEM, or EIO for a request in progress or received.
    """
    if not is_request(req):
        return -1, errno.EIO
    return (0, 0) if req.status == DONE else failure_of(req)


_HERE: Final = (_run.__code__, 0)
