# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Datagrams over the operating system's sockets: UDP, unix, netlink.

Mirrors the datagram part of ``lib/tsocket/tsocket_bsd.c``.  `tdgram_bsd` is the transport below such a context: it
knows one receive and one send that wait, keeps one fd event for both, and makes no requests of its own.

Cost: a receive is one wake-up, one ``ioctl(FIONREAD)`` and one ``recvfrom`` straight into the buffer that the caller
gets; interest in reading is left on afterwards.  A send is one ``sendto``, without the event loop, as long as the
system takes it.
"""

from __future__ import annotations

from _warnings import warn  # what warnings.warn is, also while the interpreter shuts down
from errno import EINVAL, EMSGSIZE, ENOMEM, ENOTCONN

from talloc_py._chunk import talloc_buffer
from talloc_py.core import TALLOC_CTX, attach, free_chunk, library_destructors, location_text
from tevent._request import schedule
from tevent.errno import get_errno, set_errno
from tevent.fd import (
    TEVENT_FD_ERROR,
    TEVENT_FD_READ,
    TEVENT_FD_WRITE,
    context_of,
    tevent_add_fd,
    tevent_fd,
    tevent_fd_get_flags,
    tevent_fd_set_flags,
)

from . import _sys
from ._stream import later, over
from ._sys import AF_INET, AF_INET6, AF_NETLINK, AF_UNIX
from .bsd_address import bsd_address_abort
from .bsd_socket import RETRY, connect_socket, errno_of, open_socket
from .dgram import (
    is_dgram,
    new_dgram,
    recvfrom_at_once,
    recvfrom_over,
    sendto_over,
    tdgram_context,
    tdgram_context_ops,
)
from .socket_error import check_fd, samba_socket_poll_or_sock_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Final

    from _typeshed import ReadableBuffer

    from tevent._request import tevent_req
    from tevent.context import tevent_context

    from .address import tsocket_address
    from .bsd_address import bsd_address

__all__ = [
    "tdgram_bsd_existing_socket",
    "tdgram_bsd_optimize_recvfrom",
    "tdgram_inet_udp_broadcast_socket",
    "tdgram_inet_udp_socket",
    "tdgram_unix_socket",
]

_READ: Final = int(TEVENT_FD_READ)
_WRITE: Final = int(TEVENT_FD_WRITE)
_ERROR: Final = int(TEVENT_FD_ERROR)

# SO_SNDBUF is raised in steps of this many bytes for a datagram that does not fit.
_SEND_BUFFER_STEP: Final = 1024

_allocate = object.__new__

BSD_DGRAM_OPS: Final = tdgram_context_ops("bsd")


class tdgram_bsd(TALLOC_CTX):
    """
    The descriptor below a datagram context: its transport, and the chunk whose end closes it.

    C: ``struct tdgram_bsd``
    """

    __slots__ = (
        "__weakref__",
        "_others",
        "_room",
        "_sock",
        "family",
        "fd",
        "fde",
        "optimize",
        "reader",
        "writer",
    )

    fd: int  # -1 once disconnected
    optimize: bool
    fde: tevent_fd | None
    reader: tevent_req | None  # the receive that waits for the descriptor
    writer: tevent_req | None
    _sock: socket | None  # around fd, made on first use; does not own it
    family: int  # that of _sock
    _room: memoryview  # where the system puts the size of the next datagram
    _others: dict[int, socket] | None  # the same, for addresses of a family that is not the socket's

    def __init__(self) -> None:
        raise TypeError("a tdgram_bsd is made together with its context")

    def __repr__(self) -> str:
        return f"<tdgram_bsd fd {self.fd}>"

    def __del__(self) -> None:
        fd = getattr(self, "fd", -1)
        if fd != -1:
            self._close_descriptor()  # first: the warning may be an exception
            above = self._talloc_chunk.parent
            made = None if above is None else getattr(above.obj, "created", None)
            warn(
                f"unfreed datagram socket on descriptor {fd}, made at {location_text(made)}: it was dropped without "
                f"tdgram_disconnect_send() and without talloc_free(); do one of these, or give it an owner that is "
                f"freed",
                ResourceWarning,
                1,
                self,
            )

    # -- the descriptor -----------------------------------------------------------------------------------------------

    def _socket(self) -> socket:
        """The socket object around the descriptor; OSError if that is none or closed."""
        sock = self._sock
        if sock is None:
            if self.fd == -1:
                raise OSError(ENOTCONN, "the socket was closed")
            sock = self._sock = _sys.socket_around(self.fd)
            self.family = sock.family
        return sock

    def _socket_for(self, family: int) -> socket:
        """A socket object that takes addresses of *family*, so that the system says what it thinks of them."""
        if family == self.family:
            return self._socket()
        if self._others is None:
            self._others = {}
        other = self._others.get(family)
        if other is None:
            other = self._others[family] = _sys.socket_around(self.fd, family)
        return other

    def _close(self) -> int:
        """Close the descriptor: 0 or an errno. The fd event goes first, as a number may be used again at once."""
        self._forget_event()
        return self._close_descriptor()

    def _close_descriptor(self) -> int:
        if self._sock is not None:
            self._sock.detach()
            self._sock = None
        if self._others is not None:
            for sock in self._others.values():
                sock.detach()
            self._others = None
        fd, self.fd = self.fd, -1
        if fd == -1:
            return 0
        try:
            _sys.close(fd)
        except OSError as error:
            return errno_of(error)
        return 0

    # -- waiting ------------------------------------------------------------------------------------------------------

    def _wait(self, ev: tevent_context, flags: int) -> int:
        """See to it that the descriptor is watched for *flags* on *ev*; 0 or an errno."""
        for waiting in (self.reader, self.writer):
            if waiting is not None and waiting.op_ev is not ev:
                return EINVAL  # all that wait must wait on the same context
        fde = self.fde
        if fde is not None and context_of(fde) is ev:
            have = tevent_fd_get_flags(fde)
            if have:
                if have & flags != flags:
                    tevent_fd_set_flags(fde, have | flags)
                return 0
        self._forget_event()
        fde = tevent_add_fd(ev, self, self.fd, flags, _ready, self)
        if fde is None:
            return ENOMEM
        self.fde = fde
        return 0

    def _forget_event(self) -> None:
        fde, self.fde = self.fde, None
        if fde is not None:
            free_chunk(fde._talloc_chunk, _HERE)

    def _stop_writing(self) -> None:
        fde = self.fde
        assert fde is not None, "a send can only wait for an event"
        self.writer = None
        tevent_fd_set_flags(fde, tevent_fd_get_flags(fde) & ~(_WRITE | _ERROR))

    # -- the transport ------------------------------------------------------------------------------------------------

    def recvfrom(self, req: tevent_req) -> bool:
        """Start a receive; it ends in `recvfrom_over`, or at once in `recvfrom_at_once`."""
        # An empty datagram and "nothing there" look the same at first sight; a receive looks twice.
        req.op_left = 2
        fde = self.fde
        # An event that was added through a wrapper is looked at more closely.
        plain = fde is not None and fde.event_ctx is req.op_ev and fde.wrapper is None
        if plain and fde.flags & _READ and not self.optimize:  # type: ignore[union-attr]  # there is one: see above
            self.reader = req
            return True
        err = 0
        if self.fd == -1:
            err = ENOTCONN
        elif self.optimize and self._receive(req):
            recvfrom_at_once(req)
            return True
        err = err or self._wait(req.op_ev, _READ)
        if err:
            req.op_ret, req.op_err = -1, err
            recvfrom_at_once(req)
        else:
            self.reader = req
        return True

    def _receive(self, req: tevent_req) -> bool:
        """Look for a datagram. True if that ended the receive, with the result in the request."""
        try:
            sock = self._sock or self._socket()
            size = _sys.bytes_readable(self.fd, self._room) if self.family != AF_NETLINK else _netlink_size(sock)
            if size == 0 and not self._look_again(req):
                return False
            req.op_left = 1
            buf = talloc_buffer(size)
            count, name = sock.recvfrom_into(buf)
        except OSError as error:
            req.op_ret = -1
            req.op_err = errno_of(error)
            return req.op_err not in RETRY
        if count == 0:
            # An empty datagram is gone with this; C fails to allocate no bytes for it, and callers know it so.
            req.op_ret, req.op_err = -1, ENOMEM
            return True
        if count != size:
            del buf[count:]
        req.op_vector = buf
        req.op_more = self.family, name
        req.op_ret = count
        return True

    def _look_again(self, req: tevent_req) -> bool:
        """Whether this is not the first look that found no bytes; OSError with the socket's pending error."""
        if self.family != AF_NETLINK and samba_socket_poll_or_sock_error(self.fd) == -1:
            raise OSError(get_errno(), "the socket reports an error")
        left = req.op_left
        req.op_left = 1
        return left == 1

    def sendto(self, req: tevent_req, buf: ReadableBuffer, dst: tsocket_address | None) -> bool:
        """Start a send; it ends in `sendto_over`."""
        err = 0
        if dst is not None and self.fd != -1 and bsd_address_abort(dst) is None:
            err = EINVAL
        elif self._send(req, buf, dst):  # type: ignore[arg-type]  # of a closed one it is not looked at
            schedule(req, req.op_ev, sendto_over)
            return True
        # Errors are asked for beside writability: waiting for that alone, nobody would be told of them.
        err = err or self._wait(req.op_ev, _WRITE | _ERROR)
        if err:
            later(req, sendto_over, -1, err)
        else:
            req.op_vector = buf
            req.op_more = dst
            self.writer = req
        return True

    def _send(self, req: tevent_req, buf: ReadableBuffer, addr: bsd_address | None) -> bool:
        """Try to send. True if that ended the send, with the result in the request."""
        try:
            sock = self._sock or self._socket()
            if addr is None:
                req.op_ret = sock.send(buf)
            elif addr.family == self.family:
                req.op_ret = sock.sendto(buf, addr.name)
            else:
                req.op_ret = self._send_elsewhere(sock, buf, addr)
        except OSError as error:
            if error.errno == EMSGSIZE and self._make_room(buf):
                try:
                    req.op_ret = self._send_elsewhere(self._socket(), buf, addr)
                    return True
                except OSError as final:
                    error = final
            req.op_ret = -1
            req.op_err = errno_of(error)
            return req.op_err not in RETRY
        return True

    def _send_elsewhere(self, sock: socket, buf: ReadableBuffer, addr: bsd_address | None) -> int:
        """``sendto(2)`` to whatever there can be."""
        if addr is None:
            return sock.send(buf)
        if addr.length:
            return self._socket_for(addr.family).sendto(buf, addr.name)
        # The address of a sender without a name: no address at all for a unix socket, a bad one for any other.
        if self.family != AF_UNIX:
            raise OSError(EINVAL, "an address without a family")
        return sock.send(buf)

    def _make_room(self, buf: ReadableBuffer) -> bool:
        """Make the send buffer big enough for a datagram that was too big; whether that went well."""
        size = memoryview(buf).nbytes
        try:
            _sys.set_option(self.fd, _sys.SOL_SOCKET, _sys.SO_SNDBUF, -(-size // _SEND_BUFFER_STEP) * _SEND_BUFFER_STEP)
        except OSError:
            return False
        return True

    def disconnect(self, req: tevent_req) -> bool:
        """Close the descriptor at once; the request ends from the loop."""
        err = ENOTCONN if self.fd == -1 else self._close()
        later(req, over, -1 if err else 0, err)
        return True

    def stop_recvfrom(self, req: tevent_req) -> None:
        """Forget the receive; the descriptor stays watched, as the next receive is likely to come soon."""
        if self.reader is req:
            self.reader = None

    def stop_sendto(self, req: tevent_req) -> None:
        """Forget the send."""
        if self.writer is req:
            self._stop_writing()
            req.op_vector = req.op_more = None


def _netlink_size(sock: socket) -> int:
    """The size of the next message on a netlink socket, which does not know ``FIONREAD``."""
    return sock.recv_into(bytearray(1), 1, _sys.MSG_PEEK | _sys.MSG_TRUNC)


def _ready(ev: tevent_context, fde: tevent_fd, flags: int, bsd: tdgram_bsd) -> None:
    """The handler of the fd event: one operation goes on at a time, a send before a receive."""
    writer = bsd.writer
    reader = bsd.reader
    if writer is not None and flags & (_WRITE | _ERROR):
        if bsd._send(writer, writer.op_vector, writer.op_more):
            bsd._stop_writing()
            writer.op_vector = writer.op_more = None
            sendto_over(writer)
        elif not flags & _WRITE:
            # An error condition that does not fail the send: do not spin on it.
            tevent_fd_set_flags(fde, tevent_fd_get_flags(fde) & ~_ERROR)
    elif reader is None:
        # Datagrams that nobody asked for: do not spin on them, the next receive asks again.
        tevent_fd_set_flags(fde, tevent_fd_get_flags(fde) & ~_READ)
    elif bsd._receive(reader):
        bsd.reader = None
        recvfrom_over(reader)


def _destroy(bsd: tdgram_bsd) -> int:
    bsd.reader = bsd.writer = None
    bsd._close()
    return 0


library_destructors.add(_destroy)


def _new_bsd_dgram(mem_ctx: TALLOC_CTX | None, fd: int) -> tdgram_context | None:
    """A datagram context that owns *fd* from now on; None with ENOMEM where a memory limit forbids it."""
    dgram = new_dgram(mem_ctx, BSD_DGRAM_OPS)
    if dgram is not None:
        bsd: tdgram_bsd = _allocate(tdgram_bsd)
        bsd.fd = -1
        if attach(bsd, dgram, tdgram_bsd, _destroy) is not None:
            bsd.optimize = False
            bsd.fde = bsd.reader = bsd.writer = bsd._sock = bsd._others = None
            bsd.family = 0
            bsd._room = _sys.int_room()
            bsd.fd = fd
            dgram.private_data = dgram.transport = bsd
            return dgram
        free_chunk(dgram._talloc_chunk, _HERE)
    set_errno(ENOMEM)
    return None


def tdgram_bsd_existing_socket(mem_ctx: TALLOC_CTX | None, fd: int) -> tuple[int, tdgram_context | None]:
    """
    Make a datagram context on a descriptor that exists already.

    C: ``int tdgram_bsd_existing_socket(TALLOC_CTX *mem_ctx, int fd, struct tdgram_context **dgram)``

    Args:
        mem_ctx: The owner of the context.

        fd: A datagram socket of any family, non-blocking already. It belongs to the context from now on. Nothing is
            checked here.

    Returns:
        ``(0, dgram)``; ``(-1, None)`` with errno ENOMEM where a memory limit forbids it.
    """
    check_fd(fd)
    dgram = _new_bsd_dgram(mem_ctx, fd)
    return (-1, None) if dgram is None else (0, dgram)


def tdgram_bsd_optimize_recvfrom(dgram: tdgram_context, on: bool) -> bool:
    """
    Let receives on *dgram* look for a datagram at once instead of waiting for the loop to announce it.

    C: ``bool tdgram_bsd_optimize_recvfrom(struct tdgram_context *dgram, bool on)``

    Faster where datagrams are usually there; output that waits is then no longer sent before input is read.

    Returns:
        The setting before, at first False; False for a context that is not over a BSD socket, which stays as it is.
    """
    if not is_dgram(dgram):
        return False
    bsd = dgram.transport
    if not isinstance(bsd, tdgram_bsd):
        return False
    old, bsd.optimize = bsd.optimize, bool(on)
    return old


def tdgram_inet_udp_socket(
    local: tsocket_address, remote: tsocket_address | None, mem_ctx: TALLOC_CTX | None
) -> tuple[int, tdgram_context | None]:
    """
    Make a UDP socket.

    C: ``int tdgram_inet_udp_socket(const struct tsocket_address *local_address,
    const struct tsocket_address *remote_address, TALLOC_CTX *mem_ctx, struct tdgram_context **dgram)``

    Args:
        local: The internet address to bind to. One without host and port is not bound and takes the family of *remote*.

        remote: The peer to connect to, so that only its datagrams arrive; None for none.

        mem_ctx: The owner of the context.

    Returns:
        ``(0, dgram)``; ``(-1, None)`` with errno: EINVAL for a *local* that is no internet address or a *remote* of
        another family, else that of ``bind(2)`` or ``connect(2)``.
    """
    return _make_socket((AF_INET, AF_INET6), local, remote, False, mem_ctx)


def tdgram_inet_udp_broadcast_socket(
    local: tsocket_address, mem_ctx: TALLOC_CTX | None
) -> tuple[int, tdgram_context | None]:
    """
    Make a UDP socket that may send to broadcast addresses.

    C: ``int tdgram_inet_udp_broadcast_socket(const struct tsocket_address *local_address, TALLOC_CTX *mem_ctx,
    struct tdgram_context **dgram)``

    Returns:
        ``(0, dgram)``; ``(-1, None)`` with errno: EINVAL for a *local* that is no IPv4 address, else that of
        ``bind(2)``.
    """
    return _make_socket((AF_INET,), local, None, True, mem_ctx)


def tdgram_unix_socket(
    local: tsocket_address, remote: tsocket_address | None, mem_ctx: TALLOC_CTX | None
) -> tuple[int, tdgram_context | None]:
    """
    Make a unix datagram socket.

    C: ``int tdgram_unix_socket(const struct tsocket_address *local, const struct tsocket_address *remote,
    TALLOC_CTX *mem_ctx, struct tdgram_context **dgram)``

    Args:
        local: The unix address to bind to; one with an empty path is not bound. The path is never removed from disk.

        remote: The peer to connect to; None for none.

        mem_ctx: The owner of the context.

    Returns:
        ``(0, dgram)``; ``(-1, None)`` with errno: EINVAL for an address that is no unix address, EADDRINUSE for a
        *local* path that exists, ENOENT for a directory or a peer that is missing, ECONNREFUSED for a peer that is no
        socket.
    """
    return _make_socket((AF_UNIX,), local, remote, False, mem_ctx)


def _make_socket(
    families: tuple[int, ...],
    local: tsocket_address,
    remote: tsocket_address | None,
    broadcast: bool,
    mem_ctx: TALLOC_CTX | None,
) -> tuple[int, tdgram_context | None]:
    mine = bsd_address_abort(local)
    peer = None if remote is None else bsd_address_abort(remote)
    if mine is None or (peer is None and remote is not None) or mine.family not in families:
        set_errno(EINVAL)
        return -1, None
    fd = open_socket(mine, peer, _sys.SOCK_DGRAM, broadcast)
    if fd == -1:
        return -1, None
    err = 0 if peer is None else connect_socket(fd, peer)
    if err:
        _sys.close_quietly(fd)
        set_errno(err)
        return -1, None
    dgram = _new_bsd_dgram(mem_ctx, fd)
    if dgram is None:
        _sys.close_quietly(fd)
        return -1, None
    return 0, dgram


_HERE: Final = (_destroy.__code__, 0)
