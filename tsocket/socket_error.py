# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What is wrong with a socket, as an errno.

Mirrors ``samba_socket_poll_error`` and its like in ``lib/async_req/async_sock.c``.

Cost: one ``poll(2)`` that does not wait, and one ``getsockopt(2)`` where the socket has an error of its own.
"""

from __future__ import annotations

from errno import ECONNRESET, EPIPE

from tevent.errno import set_errno

from . import _sys
from .bsd_socket import errno_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = [
    "samba_socket_poll_error",
    "samba_socket_poll_or_sock_error",
    "samba_socket_sock_error",
]


_INT_MAX: Final = 0x7FFFFFFF


def check_fd(fd: object) -> None:
    """Raise TypeError or ValueError for what C's ``int fd`` cannot hold; whether it is open is not asked."""
    if not isinstance(fd, int):
        raise TypeError(f"a file descriptor is an int, not {type(fd).__name__}")
    if not -_INT_MAX <= fd <= _INT_MAX:
        raise ValueError(f"a file descriptor is a C int, not {fd}")


def samba_socket_poll_error(fd: int) -> int:
    """
    Which error condition a descriptor is in; nothing is changed by asking.

    C: ``int samba_socket_poll_error(int fd)``

    Returns:
        0 for none, and for a negative *fd*; else the first of `select.POLLERR`, `select.POLLHUP` and
        `select.POLLRDHUP` that holds, or `select.POLLNVAL` for a descriptor that is not open.
    """
    check_fd(fd)
    found = _sys.poll(fd, _sys.POLLERR | _sys.POLLHUP | _sys.POLLRDHUP)
    for condition in (_sys.POLLERR, _sys.POLLHUP, _sys.POLLRDHUP, _sys.POLLNVAL):
        if found & condition:
            return condition
    return 0


def samba_socket_sock_error(fd: int) -> int:
    """
    Take the pending error off a socket.

    C: ``int samba_socket_sock_error(int fd)``

    Returns:
        0 for none; -1 with that error as errno, or with the errno of ``getsockopt(2)``.
    """
    check_fd(fd)
    try:
        error = _sys.socket_error(fd)
    except OSError as failure:
        error = errno_of(failure)
    if error:
        set_errno(error)
        return -1
    return 0


def samba_socket_poll_or_sock_error(fd: int) -> int:
    """
    The error condition of a descriptor as an errno.

    C: ``int samba_socket_poll_or_sock_error(int fd)``

    Returns:
        0 for none; -1 with errno: ECONNRESET if the peer has closed its half only, EPIPE if it has closed the
        connection, the socket's pending error if there is one, else EPIPE.
    """
    condition = samba_socket_poll_error(fd)
    if condition == 0:
        return 0
    if condition == _sys.POLLRDHUP:
        set_errno(ECONNRESET)
    elif condition == _sys.POLLHUP or samba_socket_sock_error(fd) == 0:
        set_errno(EPIPE)
    return -1
