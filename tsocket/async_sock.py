# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Requests on plain descriptors: connect, wait, accept.

Mirrors part of ``lib/async_req/async_sock.c``; what moves bytes is in `async_io`.  **None of these owns, closes or (but
for a connect in progress) reconfigures the descriptor**; a descriptor is a plain integer.

Every request may be finished when its ``_send`` function returns; its callback comes from the loop even so.

Cost: one request with its state and one fd event each.
"""

from __future__ import annotations

from errno import (
    EINPROGRESS,
    EINVAL,
    EPIPE,
)

from talloc_py.core import TALLOC_CTX, talloc_set_destructor
from tevent._base import check_context
from tevent._request import tevent_req
from tevent.errno import get_errno
from tevent.fd import tevent_fd
from tevent.req import (
    tevent_req_create,
    tevent_req_data,
    tevent_req_done,
    tevent_req_error,
    tevent_req_post,
    tevent_req_received,
    tevent_req_set_cleanup_fn,
)
from tevent.unix import tevent_req_is_unix_error, tevent_req_simple_recv_unix

from . import _sys
from ._async import (
    ERROR,
    READ,
    WRITE,
    begin_wait,
    check_callable,
    discard,
    drop_event,
    is_live,
    wait_for,
    waiting_state,
)
from .address import sockaddr
from .bsd_address import split_sockaddr
from .bsd_socket import errno_of
from .socket_error import check_fd, samba_socket_poll_or_sock_error, samba_socket_sock_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tevent.context import tevent_context
    from tevent.enumerations import tevent_req_state

    connect_hook = Callable[[int, Any], object]
    more_fn = Callable[[memoryview, Any], int]

__all__ = [
    "accept_recv",
    "accept_send",
    "async_connect_recv",
    "async_connect_send",
    "wait_for_error_recv",
    "wait_for_error_send",
    "wait_for_read_recv",
    "wait_for_read_send",
]


# -- connect ----------------------------------------------------------------------------------------------------------


class async_connect_state(waiting_state):
    """
    A connection in the making.

    C: ``struct async_connect_state``
    """

    __slots__ = ("old_flags",)

    old_flags: int


def async_connect_send(
    mem_ctx: TALLOC_CTX | None,
    ev: tevent_context,
    fd: int,
    address: sockaddr,
    before_connect: connect_hook | None,
    after_connect: connect_hook | None,
    private_data: object,
) -> tevent_req | None:
    """
    Connect a socket that the caller has made.

    C: ``struct tevent_req *async_connect_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev, int fd,
    const struct sockaddr *address, socklen_t address_len, void (*before_connect)(int fd, void *private_data),
    void (*after_connect)(int fd, void *private_data), void *private_data)``

    Args:
        mem_ctx: The owner of the request.

        ev: The event context.

        fd: The socket; non-blocking until the request is finished or freed, then as it was before.

        address: The peer, with a numeric host.

        before_connect: Called with *fd* and *private_data* just before ``connect(2)``; None for nothing.

        after_connect: The same just after it, also when it failed.

        private_data: For the two.

    Errors of `async_connect_recv`: EINVAL for an address that cannot be used, and those of ``connect(2)``.

    Raises:
        Whatever the two functions raise; the request is freed then.
    """
    check_fd(fd)
    check_callable("before_connect", before_connect)
    check_callable("after_connect", after_connect)
    if not check_context(ev):
        return None
    peer = _peer_of(address)
    req, state = tevent_req_create(mem_ctx, async_connect_state)
    if req is None:
        return None
    try:
        err = _connect(req, state, fd, peer, before_connect, after_connect, private_data)
    except BaseException:
        discard(req)
        raise
    if not is_live(req):
        return None  # one of the functions has freed its owner
    if err != EINPROGRESS:
        _connect_over(req, err)
    elif wait_for(req, state, ev, WRITE | ERROR, _connected):
        return req
    return tevent_req_post(req, ev)


def _peer_of(address: object) -> tuple[int, Any] | None:
    """Family and address for the system; None for an address that no socket can have."""
    try:
        found = split_sockaddr(address)
    except ValueError:
        return None
    if found is not None:
        return found
    assert isinstance(address, sockaddr)
    if address.sa_family in (_sys.AF_UNIX, _sys.AF_INET, _sys.AF_INET6):
        return None
    return address.sa_family, address.address


def _connect(
    req: tevent_req,
    state: async_connect_state,
    fd: int,
    peer: tuple[int, Any] | None,
    before_connect: connect_hook | None,
    after_connect: connect_hook | None,
    private_data: object,
) -> int:
    """Start to connect: 0, EINPROGRESS or another errno."""
    try:
        state.old_flags = _sys.get_status_flags(fd)
    except OSError as error:
        return errno_of(error)
    state.fd = fd
    tevent_req_set_cleanup_fn(req, _connect_cleanup)
    if peer is None:
        return EINVAL
    try:
        _sys.set_blocking(fd, False)
    except OSError as error:
        return errno_of(error)
    if before_connect is not None:
        before_connect(fd, private_data)
        if not is_live(req):
            return EINVAL
    try:
        err = _sys.connect(fd, *peer)
    except OSError as error:
        err = errno_of(error)
    if after_connect is not None:
        after_connect(fd, private_data)
    return err


def _connect_cleanup(req: tevent_req, req_state: tevent_req_state) -> None:
    state = tevent_req_data(req, async_connect_state)
    drop_event(state)
    if state.fd != -1:
        fd, state.fd = state.fd, -1
        try:
            _sys.set_status_flags(fd, state.old_flags)
        except OSError:
            pass  # the caller has closed it: nothing is left to be restored


def _connected(ev: tevent_context, fde: tevent_fd, flags: int, req: tevent_req) -> None:
    state = tevent_req_data(req, async_connect_state)
    _connect_over(req, 0 if samba_socket_sock_error(state.fd) == 0 else get_errno())


def _connect_over(req: tevent_req, err: int) -> None:
    if err:
        tevent_req_error(req, err)
    else:
        tevent_req_done(req)


def async_connect_recv(req: tevent_req) -> tuple[int, int]:
    """
    The result of `async_connect_send`.

    C: ``int async_connect_recv(struct tevent_req *req, int *perrno)``

    Returns:
        ``(0, 0)``, or ``(-1, errno)``.
    """
    err = tevent_req_simple_recv_unix(req)
    return (-1, err) if err else (0, 0)


# -- wait -------------------------------------------------------------------------------------------------------------


class wait_for_read_state(waiting_state):
    """
    Somebody who waits for something to read.

    C: ``struct wait_for_read_state``
    """

    __slots__ = ("check_errors",)

    check_errors: bool


def wait_for_read_send(
    mem_ctx: TALLOC_CTX | None, ev: tevent_context, fd: int, check_errors: bool
) -> tevent_req | None:
    """
    Wait until a descriptor is readable; nothing is read.

    C: ``struct tevent_req *wait_for_read_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev, int fd,
    bool check_errors)``

    Args:
        mem_ctx: The owner of the request.

        ev: The event context.

        fd: The descriptor.

        check_errors: Fail with EPIPE if there are no bytes, at the end of a stream. Otherwise the end is readable too.
    """
    req, state = begin_wait(mem_ctx, ev, fd, wait_for_read_state)
    if req is None:
        return None
    state.check_errors = bool(check_errors)
    return req if wait_for(req, state, ev, READ, _wait_for_read_ready) else tevent_req_post(req, ev)


def _wait_for_read_ready(ev: tevent_context, fde: tevent_fd, flags: int, req: tevent_req) -> None:
    state = tevent_req_data(req, wait_for_read_state)
    if state.check_errors:
        try:
            available = _sys.bytes_readable(state.fd)
        except OSError as error:
            tevent_req_error(req, errno_of(error))
            return
        if available == 0:
            tevent_req_error(req, EPIPE)
            return
    tevent_req_done(req)


def wait_for_read_recv(req: tevent_req) -> tuple[bool, int]:
    """
    The result of `wait_for_read_send`.

    C: ``bool wait_for_read_recv(struct tevent_req *req, int *perr)``

    Returns:
        ``(True, 0)``, or ``(False, errno)``.
    """
    err = tevent_req_simple_recv_unix(req)
    return err == 0, err


class wait_for_error_state(waiting_state):
    """
    Somebody who waits for the end of a connection.

    C: ``struct wait_for_error_state``
    """

    __slots__ = ()


def wait_for_error_send(mem_ctx: TALLOC_CTX | None, ev: tevent_context, fd: int) -> tevent_req | None:
    """
    Wait until a descriptor is in an error condition; data does not matter.

    C: ``struct tevent_req *wait_for_error_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev, int fd)``
    """
    req, state = begin_wait(mem_ctx, ev, fd, wait_for_error_state)
    if req is None:
        return None
    return req if wait_for(req, state, ev, ERROR, _wait_for_error_ready) else tevent_req_post(req, ev)


def _wait_for_error_ready(ev: tevent_context, fde: tevent_fd, flags: int, req: tevent_req) -> None:
    state = tevent_req_data(req, wait_for_error_state)
    err = get_errno() if samba_socket_poll_or_sock_error(state.fd) == -1 else EPIPE
    tevent_req_error(req, err)


def wait_for_error_recv(req: tevent_req) -> int:
    """
    The result of `wait_for_error_send`.

    C: ``int wait_for_error_recv(struct tevent_req *req)``

    Returns:
        EPIPE if the peer has closed the connection, ECONNRESET if it has closed its half or reset it, another errno.
    """
    return tevent_req_simple_recv_unix(req)


# -- accept -----------------------------------------------------------------------------------------------------------


class accept_state(waiting_state):
    """
    A listener that waits for a connection.

    C: ``struct accept_state``
    """

    __slots__ = ("peer", "sock")

    peer: sockaddr | None
    sock: int

    def __init__(self) -> None:
        super().__init__()
        self.peer = None
        self.sock = -1


def accept_send(mem_ctx: TALLOC_CTX | None, ev: tevent_context, listen_sock: int) -> tevent_req | None:
    """
    Wait for one connection on a listening socket.

    C: ``struct tevent_req *accept_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev, int listen_sock)``

    Errors of `accept_recv`: EINVAL for a socket that does not listen, EAGAIN if somebody else took the connection, and
    the others of ``accept(2)``.

    Ownership: a connection that nobody has received is closed with the request.
    """
    req, state = begin_wait(mem_ctx, ev, listen_sock, accept_state)
    if req is None:
        return None
    talloc_set_destructor(state, _close_accepted)
    return req if wait_for(req, state, ev, READ, _accept_ready) else tevent_req_post(req, ev)


def _close_accepted(state: accept_state) -> int:
    sock, state.sock = state.sock, -1
    if sock != -1:
        _sys.close_quietly(sock)
    return 0


def _accept_ready(ev: tevent_context, fde: tevent_fd, flags: int, req: tevent_req) -> None:
    state = tevent_req_data(req, accept_state)
    try:
        state.sock, family, address = _sys.accept(state.fd)
    except OSError as error:
        tevent_req_error(req, errno_of(error))
        return
    state.peer = sockaddr(family, address)
    tevent_req_done(req)


def accept_recv(req: tevent_req) -> tuple[int, int | None, sockaddr | None, int]:
    """
    The result of `accept_send`.

    C: ``int accept_recv(struct tevent_req *req, int *listen_sock, struct samba_sockaddr *paddr, int *perr)``

    Returns:
        ``(sock, listen_sock, paddr, 0)``: the new descriptor, blocking, closed on exec, the caller's to close; the
        listener; the peer's address. Or ``(-1, None, None, errno)``.
    """
    state = tevent_req_data(req, accept_state)
    if state is None:
        return -1, None, None, EINVAL
    failed, err = tevent_req_is_unix_error(req)
    if failed:
        tevent_req_received(req)
        return -1, None, None, err
    sock, state.sock = state.sock, -1
    listener, peer = state.fd, state.peer
    tevent_req_received(req)
    return sock, listener, peer, 0
