# SPDX-License-Identifier: LGPL-3.0-or-later
"""
How a socket is made for a pair of addresses: family, options, bind, connect.

Mirrors what ``tdgram_bsd_dgram_socket`` and ``tstream_bsd_connect_send`` in ``lib/tsocket/tsocket_bsd.c`` have in
common.  Errors come back as errno values, never as exceptions.

For a connection, in this order: `open_socket`, `connect_socket`, and, once connected, `socket_name`.
"""

from __future__ import annotations

from errno import EAGAIN, EINPROGRESS, EINTR, EINVAL, EIO, ENOMEM, EWOULDBLOCK

from tevent.errno import set_errno

from . import _sys
from ._sys import AF_INET, AF_INET6, AF_UNIX
from .bsd_address import address_from_kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from talloc_py.core import TALLOC_CTX

    from .address import Location
    from .bsd_address import bsd_address

__all__ = ["RETRY", "connect_socket", "errno_of", "open_socket", "socket_name"]

#: "Wait for the next event and try again": what a system call may say without the operation having failed.
RETRY: Final = frozenset((EINTR, EAGAIN, EWOULDBLOCK, EINPROGRESS, ENOMEM))

_ANY: Final = {AF_INET: "0.0.0.0", AF_INET6: "::"}


def errno_of(error: OSError) -> int:
    """The errno of *error*, never 0: an error without a number would be taken for a success."""
    return error.errno or EIO


def open_socket(local: bsd_address, remote: bsd_address | None, kind: int, broadcast: bool) -> int:
    """
    Make a non-blocking socket that is bound as *local* says and fit to be connected to *remote*.

    Args:
        local: Where to bind to. A port or a path asks for ``SO_REUSEADDR`` too; an unspecific internet address (no
            host, no port) is not bound and leaves the family to *remote*; nor is an empty or abstract unix path bound.

        remote: The peer, whose family must be that of the socket; it is not connected to here.

        kind: ``SOCK_STREAM`` or ``SOCK_DGRAM``.

        broadcast: Allow datagrams to broadcast addresses; IPv4 only.

    Returns:
        A descriptor above 2 that is closed on exec; -1 with errno, and nothing is left open. A path that was bound
        before *remote* was found not to fit stays on disk, as in C.
    """
    family = local.family
    if family not in (AF_UNIX, AF_INET, AF_INET6) or (broadcast and family != AF_INET):
        set_errno(EINVAL)
        return -1
    fixed, bound = _wishes(local)
    ipv6_only = family == AF_INET6
    if remote is not None and not bound and family != AF_UNIX:
        family = remote.family
        if family in (AF_INET, AF_INET6):
            ipv6_only = family == AF_INET6
    try:
        fd = _sys.above_stdio(_sys.create_socket(family, kind))
    except OSError as error:
        set_errno(errno_of(error))
        return -1
    try:
        _sys.set_blocking(fd, False)
        if broadcast:
            _sys.set_option(fd, _sys.SOL_SOCKET, _sys.SO_BROADCAST, 1)
        if ipv6_only:
            _sys.set_option(fd, _sys.IPPROTO_IPV6, _sys.IPV6_V6ONLY, 1)
        if fixed:
            _sys.set_option(fd, _sys.SOL_SOCKET, _sys.SO_REUSEADDR, 1)
        if bound:
            _sys.bind(fd, local.family, local.name)
        if remote is not None and remote.family != family:
            raise OSError(EINVAL, "the addresses are of different families")
    except OSError as error:
        # Closing must not hide why it had to be closed.
        _sys.close_quietly(fd)
        set_errno(errno_of(error))
        return -1
    return fd


def _wishes(local: bsd_address) -> tuple[bool, bool]:
    """Whether *local* asks for a name that others may hold on to (a port, a path), and whether to bind at all."""
    if local.family == AF_UNIX:
        named = local.name[:1] not in (b"", b"\0")
        return named, named
    host, port = local.name[:2]
    return port != 0, port != 0 or host != _ANY[local.family]


def connect_socket(fd: int, remote: bsd_address) -> int:
    """``connect(2)`` to *remote*: 0, EINPROGRESS where it has only begun, or the errno it failed with."""
    try:
        return _sys.connect(fd, remote.family, remote.name)
    except OSError as error:
        return errno_of(error)


def socket_name(mem_ctx: TALLOC_CTX | None, fd: int, where: Location) -> bsd_address | None:
    """The address that *fd* is bound to, as a child of *mem_ctx*; None with errno."""
    try:
        family, name = _sys.local_address(fd)
    except OSError as error:
        set_errno(errno_of(error))
        return None
    return address_from_kernel(mem_ctx, family, name, where)
