# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Every system call of the package, in one place.

Each call goes through an attribute of this module (``_sys.readv(fd, [buf])``), so that a test or a simulated world
replaces the whole of it.  Descriptors are plain integers here, as in C; an address is a family and what Python's
``socket`` module calls an address of that family.  Errors are `OSError`s with the errno of the call.

``import socket`` costs nine milliseconds, most of them for turning constants into enums.  The C module underneath,
``_socket``, costs a third of one and is all that is needed.

A call on a descriptor that is not known to be a socket borrows it: a `_socket.socket` is put around the number for the
length of the call, which costs one ``getsockname(2)``, so that a closed or foreign descriptor is found out with the
right errno.  Who transfers datagrams keeps such an object (`socket_around`).
"""

from __future__ import annotations

import _socket
import os
import select
from _socket import (
    AF_INET,
    AF_INET6,
    AF_NETLINK,
    AF_UNIX,
    AI_NUMERICHOST,
    AI_NUMERICSERV,
    EAI_ADDRFAMILY,
    EAI_FAIL,
    EAI_NONAME,
    IPPROTO_IPV6,
    IPV6_V6ONLY,
    MSG_DONTWAIT,
    MSG_PEEK,
    MSG_TRUNC,
    SO_BROADCAST,
    SO_ERROR,
    SO_REUSEADDR,
    SO_SNDBUF,
    SOCK_DGRAM,
    SOCK_STREAM,
    SOL_SOCKET,
    gaierror,
    getaddrinfo,
    inet_ntop,
    inet_pton,
)
from errno import EBADF
from os import close, geteuid, listdir, readv, set_blocking, unlink, writev
from os.path import isdir, isfile, realpath
from select import POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLRDHUP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Final

    from _typeshed import ReadableBuffer, WriteableBuffer

    #: What Python's ``socket`` takes and returns as an address; its shape depends on the family.
    Address = Any

__all__ = [
    "AF_INET",
    "AF_INET6",
    "AF_NETLINK",
    "AF_UNIX",
    "AI_NUMERICHOST",
    "AI_NUMERICSERV",
    "EAI_ADDRFAMILY",
    "EAI_FAIL",
    "EAI_NONAME",
    "IPPROTO_IPV6",
    "IPV6_V6ONLY",
    "MSG_DONTWAIT",
    "MSG_PEEK",
    "MSG_TRUNC",
    "POLLERR",
    "POLLHUP",
    "POLLIN",
    "POLLNVAL",
    "POLLRDHUP",
    "SOCK_DGRAM",
    "SOCK_STREAM",
    "SOL_SOCKET",
    "SO_BROADCAST",
    "SO_ERROR",
    "SO_REUSEADDR",
    "SO_SNDBUF",
    "above_stdio",
    "accept",
    "bind",
    "bytes_readable",
    "close",
    "close_quietly",
    "connect",
    "create_file",
    "create_socket",
    "gaierror",
    "get_option",
    "get_status_flags",
    "getaddrinfo",
    "geteuid",
    "inet_ntop",
    "inet_pton",
    "int_room",
    "isdir",
    "isfile",
    "listdir",
    "local_address",
    "memory_file",
    "owner_and_mode",
    "poll",
    "read_file",
    "readv",
    "realpath",
    "recvmsg_into",
    "sendmsg",
    "set_blocking",
    "set_option",
    "set_status_flags",
    "socket_around",
    "socket_error",
    "socketpair",
    "unlink",
    "writev",
]


#: `fcntl.ioctl` and ``FIONREAD``, once somebody needs them: the import of those modules is a twentieth of all.
_ioctl: Any = None
_fionread: int = 0

# The only way to a bare descriptor; socket.accept() is built on it.
_accept: Final[Callable[[_socket.socket], tuple[int, Address]]] = vars(_socket.socket)["_accept"]


def _wrap(family: int, kind: int, protocol: int, fd: int | None) -> _socket.socket:
    """A socket object that never waits for a timeout, whatever ``socket.setdefaulttimeout`` was told."""
    timeout = _socket.getdefaulttimeout()
    if timeout is None:
        return _socket.socket(family, kind, protocol, fd)
    # With a default timeout Python would poll(2) before each call and make new descriptors non-blocking.
    _socket.setdefaulttimeout(None)
    try:
        return _socket.socket(family, kind, protocol, fd)
    finally:
        _socket.setdefaulttimeout(timeout)


def _require(fd: int) -> None:
    """Give a negative number the answer that the system would give; Python has a ValueError of its own."""
    if fd < 0:
        raise OSError(EBADF, os.strerror(EBADF))


def socket_around(fd: int, family: int = -1) -> _socket.socket:
    """
    A socket object around the descriptor *fd*, which stays the caller's: `detach` the object before it is dropped.

    Its *family* says how addresses are read; -1 asks the kernel.
    """
    _require(fd)
    return _wrap(family, SOCK_DGRAM, 0, fd)


# -- making sockets ---------------------------------------------------------------------------------------------------


def create_socket(family: int, kind: int) -> int:
    """``socket(2)``: a blocking descriptor that is closed on exec."""
    return _wrap(family, kind, 0, None).detach()


def socketpair(family: int, kind: int) -> tuple[int, int]:
    """``socketpair(2)``: two connected descriptors that are closed on exec."""
    one, two = _socket.socketpair(family, kind)
    return one.detach(), two.detach()


def close_quietly(fd: int) -> None:
    """``close(2)`` where nobody can be told what it says; the descriptor is gone in any case."""
    try:
        close(fd)
    except OSError:
        pass


def above_stdio(fd: int) -> int:
    """
    *fd*, or a duplicate of it that is none of the three standard descriptors; the original is closed then.

    A socket that is taken for standard error would be written to by whatever prints a message.
    """
    if fd > 2:
        return fd
    try:
        from fcntl import F_DUPFD_CLOEXEC, fcntl

        return fcntl(fd, F_DUPFD_CLOEXEC, 3)
    finally:
        close_quietly(fd)


def accept(fd: int) -> tuple[int, int, Address]:
    """``accept4(2)``: the new descriptor, blocking and closed on exec, and the family and address of the peer."""
    sock = socket_around(fd)
    try:
        new, address = _accept(sock)
        return new, sock.family, address
    finally:
        sock.detach()


# -- names and connections --------------------------------------------------------------------------------------------


def bind(fd: int, family: int, address: Address) -> None:
    """``bind(2)``."""
    sock = socket_around(fd, family)
    try:
        sock.bind(address)
    finally:
        sock.detach()


def connect(fd: int, family: int, address: Address) -> int:
    """``connect(2)``: 0 or an errno, EINPROGRESS among them."""
    sock = socket_around(fd, family)
    try:
        return sock.connect_ex(address)
    finally:
        sock.detach()


def local_address(fd: int) -> tuple[int, Address]:
    """``getsockname(2)``: the family and the address that *fd* is bound to."""
    sock = socket_around(fd)
    try:
        return sock.family, sock.getsockname()
    finally:
        sock.detach()


# -- options and state ------------------------------------------------------------------------------------------------


def set_option(fd: int, level: int, option: int, value: int) -> None:
    """``setsockopt(2)`` of a number."""
    sock = socket_around(fd, AF_UNIX)
    try:
        sock.setsockopt(level, option, value)
    finally:
        sock.detach()


def get_option(fd: int, level: int, option: int) -> int:
    """``getsockopt(2)`` of a number."""
    sock = socket_around(fd, AF_UNIX)
    try:
        return sock.getsockopt(level, option)
    finally:
        sock.detach()


def socket_error(fd: int) -> int:
    """The pending error of a socket, which this takes off it; 0 if there is none."""
    return get_option(fd, SOL_SOCKET, SO_ERROR)


def get_status_flags(fd: int) -> int:
    """``fcntl(F_GETFL)``."""
    _require(fd)
    from fcntl import F_GETFL, fcntl

    return fcntl(fd, F_GETFL)


def set_status_flags(fd: int, flags: int) -> None:
    """``fcntl(F_SETFL)``."""
    from fcntl import F_SETFL, fcntl

    fcntl(fd, F_SETFL, flags)


def bytes_readable(fd: int, room: memoryview | None = None) -> int:
    """
    ``ioctl(FIONREAD)``: the bytes waiting on a stream, the size of the next datagram.

    *room* is for who asks often: a place for one C ``int``, used by one thread only, takes half of the time.
    """
    global _ioctl, _fionread
    if _ioctl is None:
        import fcntl
        import termios

        _ioctl, _fionread = fcntl.ioctl, termios.FIONREAD
    if fd < 0:
        _require(fd)
    if room is None:
        room = int_room()
    _ioctl(fd, _fionread, room)  # the form that returns bytes takes twice as long
    count: int = room[0]
    return count


def int_room() -> memoryview:
    """A place for one C ``int``."""
    return memoryview(bytearray(4)).cast("i")


def poll(fd: int, events: int) -> int:
    """
    ``poll(2)`` without waiting: which of *events* hold for *fd*, with errors; 0 for a negative *fd*.

    POLLNVAL also where the system call fails, as it does for lack of memory or when no descriptor at all is allowed.
    """
    if fd < 0:
        return 0
    poller = select.poll()
    poller.register(fd, events)
    try:
        ready = poller.poll(0)
    except OSError:
        return POLLNVAL
    return ready[0][1] if ready else 0


# -- transfer ---------------------------------------------------------------------------------------------------------


def sendmsg(fd: int, buffers: Sequence[ReadableBuffer]) -> int:
    """``sendmsg(2)`` without address, control data and flags: the number of bytes taken."""
    sock = socket_around(fd, AF_UNIX)
    try:
        return sock.sendmsg(buffers)
    finally:
        sock.detach()


def recvmsg_into(fd: int, buffer: WriteableBuffer, flags: int) -> int:
    """``recvmsg(2)`` into *buffer*, without address and control data: the number of bytes received."""
    sock = socket_around(fd, AF_UNIX)
    try:
        # Not recv_into(), which does not ask the system when the buffer is empty.
        return sock.recvmsg_into([buffer], 0, flags)[0]
    finally:
        sock.detach()


# -- files ------------------------------------------------------------------------------------------------------------


def read_file(path: str) -> bytes:
    """The whole content of a file."""
    with open(path, "rb") as file:
        return file.read()


def create_file(path: str, content: bytes, mode: int) -> None:
    """Make a file that is not there yet, with exactly the permissions *mode* from its beginning."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode & 0o600)
    try:
        with open(fd, "wb") as file:
            os.fchmod(fd, mode)
            file.write(content)
    except OSError:
        os.unlink(path)
        raise


def memory_file(content: bytes) -> int:
    """A descriptor of a file that has no name anywhere."""
    fd = os.memfd_create("tsocket", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(content)
    except OSError:
        close_quietly(fd)
        raise
    return fd


def owner_and_mode(path: str) -> tuple[int, int]:
    """The user that a file belongs to, and its permissions."""
    status = os.stat(path)
    return status.st_uid, status.st_mode & 0o7777
