# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Connecting streams: TCP and unix.

Mirrors the connect part of ``lib/tsocket/tsocket_bsd.c``.  The state of the request owns the descriptor until the
result is received: freeing the request closes it.
"""

from __future__ import annotations

from errno import EINPROGRESS, EINVAL, EIO, ENOMEM

from talloc_py.core import TALLOC_CTX, caller, talloc_free, talloc_move, talloc_set_destructor
from tevent import get_errno
from tevent._base import check_context
from tevent._request import tevent_req
from tevent.context import tevent_context
from tevent.fd import TEVENT_FD_ERROR, TEVENT_FD_WRITE, tevent_add_fd, tevent_fd
from tevent.req import (
    tevent_req_create,
    tevent_req_data,
    tevent_req_done,
    tevent_req_error,
    tevent_req_post,
    tevent_req_received,
)

from . import _sys
from .bsd_address import bsd_address, bsd_address_abort
from .bsd_socket import connect_socket, errno_of, open_socket, socket_name
from .bsd_stream import new_bsd_stream
from .stream import tsocket_simple_int_recv

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ._stream import tstream_context
    from .address import tsocket_address

__all__ = [
    "tstream_inet_tcp_connect_recv",
    "tstream_inet_tcp_connect_send",
    "tstream_unix_connect_recv",
    "tstream_unix_connect_send",
]

_INET: Final = (_sys.AF_INET, _sys.AF_INET6)
_UNIX: Final = (_sys.AF_UNIX,)


class tstream_bsd_connect_state(TALLOC_CTX):
    """
    What a connection in the making holds.

    C: ``struct tstream_bsd_connect_state``
    """

    __slots__ = ("fd", "fde", "local")

    fd: int
    fde: tevent_fd | None
    local: bsd_address | None

    def __init__(self) -> None:
        self.fd = -1
        self.fde = None
        self.local = None


def _close(state: tstream_bsd_connect_state) -> int:
    """The fd event goes first: a number may be used again as soon as it is closed."""
    if state.fde is not None:
        talloc_free(state.fde)
        state.fde = None
    if state.fd != -1:
        fd, state.fd = state.fd, -1
        _sys.close_quietly(fd)
    return 0


def _connect_send(
    mem_ctx: TALLOC_CTX | None,
    ev: tevent_context,
    local: tsocket_address,
    remote: tsocket_address,
    families: tuple[int, ...],
) -> tevent_req | None:
    if not check_context(ev):
        return None
    mine, peer = bsd_address_abort(local), bsd_address_abort(remote)
    if mine is None or peer is None:
        return None
    req, state = tevent_req_create(mem_ctx, tstream_bsd_connect_state)
    if req is None:
        return None
    req.created = caller(2)
    talloc_set_destructor(state, _close)
    err = EINVAL if mine.family not in families else _start(req, state, ev, mine, peer)
    if err == EINPROGRESS:
        return req
    _finish(req, state, err)
    return tevent_req_post(req, ev)


def _start(
    req: tevent_req, state: tstream_bsd_connect_state, ev: tevent_context, local: bsd_address, remote: bsd_address
) -> int:
    """Make the socket and connect it: 0, EINPROGRESS when there is something to wait for, or another errno."""
    state.fd = open_socket(local, remote, _sys.SOCK_STREAM, False)
    if state.fd == -1:
        return get_errno()
    err = connect_socket(state.fd, remote)
    if err == EINPROGRESS:
        state.fde = tevent_add_fd(ev, state, state.fd, TEVENT_FD_WRITE | TEVENT_FD_ERROR, _connected, req)
        if state.fde is None:
            return ENOMEM
    return err


def _connected(ev: tevent_context, fde: tevent_fd, flags: int, req: tevent_req) -> None:
    state = tevent_req_data(req, tstream_bsd_connect_state)
    talloc_free(fde)
    state.fde = None
    try:
        err = _sys.socket_error(state.fd)
    except OSError as error:
        err = errno_of(error)
    _finish(req, state, err)


def _finish(req: tevent_req, state: tstream_bsd_connect_state, err: int) -> None:
    """The socket is connected (*err* 0) or not; nothing may touch *req* afterwards."""
    if err == 0:
        state.local = socket_name(state, state.fd, req.created)
        if state.local is None:
            err = get_errno() or EIO
    if err == 0:
        tevent_req_done(req)
    else:
        _close(state)
        tevent_req_error(req, err)


def _connect_recv(
    req: tevent_req, mem_ctx: TALLOC_CTX | None
) -> tuple[int, int, tstream_context | None, tsocket_address | None]:
    state = tevent_req_data(req, tstream_bsd_connect_state)
    if state is None:
        return -1, EIO, None, None
    ret, err = tsocket_simple_int_recv(req)
    stream = local = None
    if ret == 0:
        stream = new_bsd_stream(mem_ctx, state.fd)
        if stream is None:
            ret, err = -1, ENOMEM
        else:
            state.fd = -1
            local = talloc_move(mem_ctx, state.local)
    tevent_req_received(req)
    return ret, err, stream, local


def tstream_inet_tcp_connect_send(
    mem_ctx: TALLOC_CTX | None, ev: tevent_context, local: tsocket_address, remote: tsocket_address
) -> tevent_req | None:
    """
    Connect over TCP.

    C: ``struct tevent_req *tstream_inet_tcp_connect_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
    const struct tsocket_address *local_address, const struct tsocket_address *remote_address)``

    Args:
        mem_ctx: The owner of the request.

        ev: The event context to wait on.

        local: The address to bind to. Without host and port it is not bound, and takes the family of *remote*.

        remote: The peer.

    Errors of `tstream_inet_tcp_connect_recv`: EINVAL for addresses of different or wrong families, and those of
    ``bind(2)`` and ``connect(2)``: EADDRINUSE, EADDRNOTAVAIL, ECONNREFUSED, ENETUNREACH ...
    """
    return _connect_send(mem_ctx, ev, local, remote, _INET)


def tstream_inet_tcp_connect_recv(
    req: tevent_req, mem_ctx: TALLOC_CTX | None
) -> tuple[int, int, tstream_context | None, tsocket_address | None]:
    """
    The stream that `tstream_inet_tcp_connect_send` has connected.

    C: ``int tstream_inet_tcp_connect_recv(struct tevent_req *req, int *perrno, TALLOC_CTX *mem_ctx,
    struct tstream_context **stream, struct tsocket_address **local)``

    Returns:
        ``(0, 0, stream, local)``, the last two owned by *mem_ctx*; *local* is the address and port of this side. Or
        ``(-1, errno, None, None)``.
    """
    return _connect_recv(req, mem_ctx)


def tstream_unix_connect_send(
    mem_ctx: TALLOC_CTX | None, ev: tevent_context, local: tsocket_address, remote: tsocket_address
) -> tevent_req | None:
    """
    Connect to a unix stream socket.

    C: ``struct tevent_req *tstream_unix_connect_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
    const struct tsocket_address *local, const struct tsocket_address *remote)``

    Args:
        mem_ctx: The owner of the request.

        ev: The event context.

        local: The address to bind to; one with an empty path is not bound. The path stays on disk, whatever happens.

        remote: The peer.

    Errors of `tstream_unix_connect_recv`: EINVAL for addresses of the wrong family, EADDRINUSE for a path that exists,
    ENOENT and ECONNREFUSED for a peer that is not there, EAGAIN for one whose backlog is full, EPROTOTYPE for a
    datagram socket.
    """
    return _connect_send(mem_ctx, ev, local, remote, _UNIX)


def tstream_unix_connect_recv(req: tevent_req, mem_ctx: TALLOC_CTX | None) -> tuple[int, int, tstream_context | None]:
    """
    The stream that `tstream_unix_connect_send` has connected.

    C: ``int tstream_unix_connect_recv(struct tevent_req *req, int *perrno, TALLOC_CTX *mem_ctx,
    struct tstream_context **stream)``

    Returns:
        ``(0, 0, stream)``, the stream owned by *mem_ctx*, or ``(-1, errno, None)``.
    """
    ret, err, stream, local = _connect_recv(req, mem_ctx)
    talloc_free(local)
    return ret, err, stream
