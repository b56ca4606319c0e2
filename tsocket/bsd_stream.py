# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Streams over BSD sockets: TCP, unix, and whatever descriptor ``readv(2)`` and ``writev(2)`` take.

Mirrors the stream part of ``lib/tsocket/tsocket_bsd.c``.  `tstream_bsd` is the transport below such a stream: it knows
one read and one write that wait, keeps one fd event for both, and makes no requests of its own.

Cost: a read that waits is one wake-up and one ``readv``; interest in reading is left on afterwards, so that the next
read changes nothing.  A write is one ``writev``, without the event loop, as long as the system takes everything.
"""

from __future__ import annotations

import errno
from _warnings import warn  # what warnings.warn is, also while the interpreter shuts down
from errno import EAGAIN, EINPROGRESS, EINTR, EINVAL, ENOMEM, ENOTCONN, EPIPE

from talloc_py.core import (
    TALLOC_CTX,
    attach,
    attach_oldest,
    destructor_guards,
    free_chunk,
    guarded_by,
    lazy_children,
    library_destructors,
    location_text,
)
from tevent import get_errno, set_errno
from tevent._ownfd import attach_own, detach_own, init_own, stand_in
from tevent._request import made_late, schedule
from tevent.context import tevent_context
from tevent.fd import TEVENT_FD_ERROR, TEVENT_FD_READ, TEVENT_FD_WRITE, context_of, tevent_add_fd, tevent_fd

from . import _sys
from ._stream import (
    advance,
    is_stream,
    later,
    new_stream,
    prepare,
    refuse_busy,
    silence,
    tstream_context,
    writev_over,
)
from ._sys import POLLIN, POLLNVAL, POLLRDHUP
from .socket_error import samba_socket_poll_or_sock_error
from .stream_backend import tstream_context_ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar, Final

    from tevent.req import tevent_req

    from ._stream import Vector

__all__ = [
    "tstream_bsd_existing_socket",
    "tstream_bsd_fail_readv_first_error",
    "tstream_bsd_optimize_readv",
    "tstream_unix_socketpair",
]

# "Try again when the descriptor is ready": what a system call may say without the stream being broken.
RETRY: Final = frozenset((EINTR, EAGAIN, errno.EWOULDBLOCK, EINPROGRESS, ENOMEM))

_READ: Final = int(TEVENT_FD_READ)
_WRITE: Final = int(TEVENT_FD_WRITE)
_ERROR: Final = int(TEVENT_FD_ERROR)
_allocate = object.__new__

BSD_OPS: Final = tstream_context_ops(name="bsd")


class tstream_bsd(tevent_fd):
    """
    The descriptor below a stream: its transport, and what closes it in the end.

    It is its own fd event (see `tevent._ownfd`), and no chunk, as long as nobody looks: 15 % of the memory of an idle
    connection. The chunks that C has here, a child of the stream and the fd event below that, are made for a report,
    for a trace callback, and where memory is limited.

    C: ``struct tstream_bsd``
    """

    __talloc_size__: ClassVar[int] = 96  # the fd event is a struct of its own in C

    __slots__ = (
        "error",
        "fail_first",
        "fde",
        "optimize",
        "quiet",
        "reader",
        "stream",
        "watcher",
        "writer",
    )

    fd: int  # -1 once disconnected
    error: int  # the first errno that the stream failed with, ENOTCONN once disconnected: what any operation fails with
    quiet: bool  # the error came from a system call: perhaps no event of the descriptor tells of it
    optimize: bool
    fail_first: bool
    fde: tevent_fd | None  # itself, or one made by tevent_add_fd()
    reader: tevent_req | None  # the read that waits for the descriptor
    writer: tevent_req | None
    watcher: tevent_req | None  # the monitor
    stream: tstream_context

    def __init__(self) -> None:
        raise TypeError("a tstream_bsd is made together with its stream")

    def __repr__(self) -> str:
        return f"<tstream_bsd fd {self.fd}>"

    def __del__(self) -> None:
        fd = getattr(self, "fd", -1)
        if fd != -1:
            self.fd = -1
            _sys.close_quietly(fd)  # first: the warning may be an exception
            made = location_text(self.stream.created)
            warn(
                f"unfreed stream on descriptor {fd}, made at {made}: it was dropped without tstream_disconnect_send() "
                f"and without talloc_free(); do one of these, or give it an owner that is freed",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    # -- what others get to see ----------------------------------------------------------------------------------------

    def is_chunk(self) -> bool:
        """Whether it is a chunk below its stream by now."""
        return hasattr(self, "_talloc_chunk")

    def become_chunk(self) -> None:
        """Be a chunk, the oldest child of the stream: somebody looks, or is to be below it."""
        if not self.is_chunk():
            made_late(self.stream, lambda: attach_oldest(self, self.stream, tstream_bsd, _destroy))

    def shown(self) -> tevent_fd:
        """Let a real fd event take the place of this."""
        fde = self.fde
        if fde is self:
            self.become_chunk()
            self.fde = fde = stand_in(self, self)
        assert fde is not None
        return fde

    # -- waiting ------------------------------------------------------------------------------------------------------

    def _wait(self, ev: tevent_context, flag: int) -> int:
        """See to it that the descriptor is watched for *flag* and errors on *ev*; 0 or an errno."""
        for waiting in (self.reader, self.writer, self.watcher):
            if waiting is not None and waiting.op_ev is not ev:
                return EINVAL  # all that wait must wait on the same context
        fde = self.fde
        if fde is None or context_of(fde) is not ev:
            self._forget_event()
            return self._add_event(ev, flag | _ERROR)
        # Not the operations of *ev*: a wrapper leaves the waiting to its main context.
        fde.event_ctx.ops.set_fd_flags(fde, fde.flags | flag | _ERROR)  # type: ignore[union-attr]  # is there: see above
        return 0

    def _add_event(self, ev: tevent_context, flags: int) -> int:
        """Have an fd event; 0 or an errno."""
        if self.stream._talloc_chunk.extra is None:
            self.fde = self  # already, as it may have to be replaced at once
            try:
                if attach_own(ev, self, flags):
                    return 0
            except BaseException:
                self._forget_event()
                raise
        self.become_chunk()
        self.fde = tevent_add_fd(ev, self, self.fd, flags, _ready, self)
        return ENOMEM if self.fde is None else 0

    def _forget_event(self) -> None:
        fde, self.fde = self.fde, None
        if fde is self:
            detach_own(self)
        elif fde is not None:
            header = fde._talloc_chunk
            if header.obj is fde:
                free_chunk(header, _HERE)

    def _stop_reading(self) -> None:
        """Data that nobody asked for: do not spin on it, the next read asks again."""
        self._drop_flag(_READ)

    def _stop_writing(self) -> None:
        self.writer = None
        self._drop_flag(_WRITE)

    def _drop_flag(self, flag: int) -> None:
        fde = self.fde
        if fde is not None and fde.event_ctx is not None:
            fde.event_ctx.ops.set_fd_flags(fde, fde.flags & ~flag)

    def _remember(self, err: int) -> int:
        """The first errno stays that of the stream; gives *err* back."""
        if self.error == 0:
            self.error = err
        return err

    # -- the transport ------------------------------------------------------------------------------------------------

    def start_readv(self, req: tevent_req, vector: Vector, done: Callable[[tevent_req], None], at_once: bool) -> bool:
        """Start a read."""
        stream = self.stream
        items: Any = vector
        kind: object = type(vector)  # a name of its own, or checkers make a list of unknowns out of it
        buffer: Any = items[0] if kind is list and len(items) == 1 else None
        if type(buffer) is bytearray and buffer:  # what a read is given nearly always
            req.op_vector = (buffer,)
            req.op_ret = req.op_left = len(buffer)
        else:
            prepare(req, vector, True)
        if stream.read_req is not None or stream.disconnect_req is not None:
            refuse_busy(stream)
        stream.read_req = req
        if self.error and (at_once or self.optimize or not self._will_tell(POLLIN)):
            later(req, done, -1, self.error)
            return True
        ev = req.op_ev
        if at_once or self.optimize:
            # _read(), spelled out
            try:
                count = _sys.readv(self.fd, req.op_vector)
            except OSError as error:
                over = self._stuck(req, error)
            else:
                over = count == req.op_left or self._moved(req, count)
            if over:
                schedule(req, ev, done)
                return True
        fde = self.fde
        # An event that was added through a wrapper is looked at more closely.
        if fde is None or fde.event_ctx is not ev or fde.wrapper is not None or not fde.flags & _READ:
            err = self._wait(ev, _READ)
            if err:
                later(req, done, -1, err)
                return True
        req.op_done = done
        self.reader = req
        return True

    def start_writev(self, req: tevent_req, vector: Vector) -> bool:
        """Start a write."""
        stream = self.stream
        prepare(req, vector, False)
        if stream.write_req is not None or stream.disconnect_req is not None:
            refuse_busy(stream)
        stream.write_req = req
        if self.error:
            later(req, writev_over, -1, self.error)
            return True
        # _write(), spelled out
        try:
            count = _sys.writev(self.fd, req.op_vector)
        except OSError as error:
            over = self._stuck(req, error)
        else:
            over = count == req.op_left or self._moved(req, count)
        if over:
            schedule(req, req.op_ev, writev_over)
            return True
        req.op_done = writev_over
        err = self._wait(req.op_ev, _WRITE)
        if err:
            later(req, writev_over, -1, err)
        else:
            self.writer = req
        return True

    def _will_tell(self, events: int) -> bool:
        """
        Whether the loop will call for the failed stream, for *events* or for an error.

        C leaves it to that call to end an operation that waits, so that it comes in its turn; where no call will ever
        come the operation would hang.
        """
        return not self.quiet or _sys.poll(self.fd, events | POLLRDHUP) not in (0, POLLNVAL)

    def _read(self, req: tevent_req) -> bool:
        """One ``readv``. True if the vector is full now, or the stream has failed (``op_ret``)."""
        try:
            count = _sys.readv(self.fd, req.op_vector)
        except OSError as error:
            return self._stuck(req, error)
        return count == req.op_left or self._moved(req, count)

    def _write(self, req: tevent_req) -> bool:
        """One ``writev``; the result is like that of `_read`."""
        try:
            count = _sys.writev(self.fd, req.op_vector)
        except OSError as error:
            return self._stuck(req, error)
        return count == req.op_left or self._moved(req, count)

    def _moved(self, req: tevent_req, count: int) -> bool:
        """Some bytes of the vector were moved, but not all: True if there were none, which is the end of the stream."""
        if count == 0:
            return self._failed(req, EPIPE)
        req.op_left -= count
        req.op_vector = rest = list(req.op_vector)
        advance(rest, count)
        return False

    def _stuck(self, req: tevent_req, error: OSError) -> bool:
        """Whether *error* ends the operation; if not, it goes on when the descriptor is ready."""
        err = error.errno or errno.EIO
        if err in RETRY:
            return False
        self.quiet = True
        return self._failed(req, err)

    def _failed(self, req: tevent_req, err: int) -> bool:
        """The operation has failed, and with it the stream."""
        req.op_ret = -1
        req.op_err = self._remember(err)
        return True

    def disconnect(self, req: tevent_req) -> bool:
        """Close the descriptor at once; the request ends from the loop."""
        err = ENOTCONN if self.fd == -1 else self._close()
        later(req, req.op_done, -1 if err else 0, err)
        return True

    def _close(self) -> int:
        """The fd event goes first: a number may be used again as soon as it is closed."""
        self._forget_event()
        fd = self.fd
        self.fd = -1
        self.error = ENOTCONN
        self.quiet = True
        if fd == -1:
            return 0
        try:
            _sys.close(fd)
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def monitor(self, req: tevent_req) -> bool:
        """Watch for the end of the stream."""
        err = self.error
        if not err or self._will_tell(0):
            err = self._wait(req.op_ev, 0)
        if err:
            later(req, req.op_done, -1, err)
        else:
            self.watcher = req
        return True

    def pending_bytes(self) -> int:
        """Bytes that a read would find; -1 with errno."""
        if self.error:
            set_errno(self.error)
            return -1
        try:
            count = _sys.bytes_readable(self.fd)
        except OSError as error:
            self.quiet = True
            set_errno(self._remember(error.errno or errno.EIO))
            return -1
        if count == 0 and samba_socket_poll_or_sock_error(self.fd) == -1:
            self._remember(get_errno())
            return -1
        return count

    def stop_readv(self, req: tevent_req) -> None:
        """Forget the read; the descriptor stays watched, as the next read is likely to come soon."""
        self.reader = None

    def stop_writev(self, req: tevent_req) -> None:
        """Forget the write."""
        if self.writer is not None:
            self._stop_writing()

    def stop_disconnect(self, req: tevent_req) -> None:
        """The descriptor is closed already, whether or not anybody wants to know."""

    def stop_monitor(self, req: tevent_req) -> None:
        """Forget the monitor."""
        self.watcher = None


def _ready(ev: tevent_context, fde: tevent_fd, flags: int, bsd: tstream_bsd) -> None:
    """The handler of the fd event: at most one operation goes on at a time, a write before a read."""
    reader = bsd.reader
    if flags == _READ and reader is not None and not bsd.error:
        # _read(), spelled out
        try:
            count = _sys.readv(bsd.fd, reader.op_vector)
        except OSError as error:
            over = bsd._stuck(reader, error)
        else:
            over = count == reader.op_left or bsd._moved(reader, count)
        if over:
            bsd.reader = None
            done = reader.op_done
            done(reader)
    elif flags & _ERROR or bsd.error:
        _broken(bsd, flags)
    elif flags & _WRITE and bsd.writer is not None:
        writer = bsd.writer
        if bsd._write(writer):
            bsd._stop_writing()
            done = writer.op_done
            done(writer)
    elif reader is not None:
        if bsd._read(reader):
            bsd.reader = None
            done = reader.op_done
            done(reader)
    else:
        bsd._stop_reading()


def _broken(bsd: tstream_bsd, flags: int) -> None:
    """The descriptor reports an error or its peer's end, or the stream has failed before."""
    reader, writer = bsd.reader, bsd.writer
    if flags & _READ and reader is not None and not (flags & _ERROR and bsd.fail_first):
        # What has arrived before the end is still good.
        if bsd._failed(reader, bsd.error) if bsd.error else bsd._read(reader):
            bsd.reader = None
            done = reader.op_done
            done(reader)
        return
    if not flags & (_ERROR | _WRITE):
        bsd._stop_reading()
        return
    if reader is None and writer is None and bsd.watcher is None:
        # Nobody waits to be told. The error is not remembered, for bytes may still be there to be read; the next
        # operation finds out by itself.
        bsd._forget_event()
        return
    if bsd.error == 0:
        bsd.error = get_errno() if samba_socket_poll_or_sock_error(bsd.fd) == -1 else EPIPE
    if (flags & _WRITE and writer is not None) or (reader is None and writer is not None):
        bsd._stop_writing()
        bsd._failed(writer, bsd.error)
        done = writer.op_done
        done(writer)
    elif reader is not None:
        bsd.reader = None
        bsd._failed(reader, bsd.error)
        done = reader.op_done
        done(reader)
    else:
        monitor = bsd.watcher
        assert monitor is not None
        bsd.watcher = None
        bsd._failed(monitor, bsd.error)
        done = monitor.op_done
        done(monitor)


def _destroy(bsd: tstream_bsd) -> int:
    bsd.reader = bsd.writer = bsd.watcher = None
    bsd._close()
    return 0


def _destroy_stream(stream: tstream_context) -> int:
    """The destructor of a stream over a socket."""
    silence(stream)
    _end_below(stream)
    return 0


def _end_below(stream: tstream_context) -> None:
    """Close the descriptor when the time has come at which a child would do that: behind all the others."""
    bsd = stream.transport
    if type(bsd) is tstream_bsd and not bsd.is_chunk():
        if stream._talloc_chunk.child is None:
            _destroy(bsd)
        else:
            bsd.become_chunk()


def _materialise(stream: tstream_context) -> None:
    """Make the chunk below a stream, which exists only for somebody who looks."""
    bsd = stream.transport
    if type(bsd) is tstream_bsd:
        bsd.become_chunk()


def _show_event(bsd: tstream_bsd) -> None:
    """Make the fd event below that."""
    if bsd.fde is bsd:
        bsd.shown()


lazy_children[tstream_context] = _materialise
lazy_children[tstream_bsd] = _show_event
library_destructors.add(_destroy)
library_destructors.add(_destroy_stream)
# A destructor of the user's takes the place of ours; what would be a child ends all the same.
destructor_guards[tstream_context] = guarded_by(_end_below)


def new_bsd_stream(mem_ctx: TALLOC_CTX | None, fd: int) -> tstream_context | None:
    """A stream that owns *fd* from now on."""
    stream = new_stream(mem_ctx, BSD_OPS)
    if stream is None:
        return None
    bsd: tstream_bsd = _allocate(tstream_bsd)
    bsd.fd = -1
    header = stream._talloc_chunk
    # A limit may forbid what is below a stream.
    if header.extra is not None and attach(bsd, stream, tstream_bsd, _destroy) is None:
        free_chunk(header, _HERE)
        return None
    init_own(bsd, fd, _ready)
    bsd.error = 0 if fd != -1 else ENOTCONN
    bsd.quiet = fd == -1
    bsd.optimize = bsd.fail_first = False
    bsd.fde = bsd.reader = bsd.writer = bsd.watcher = None
    bsd.stream = stream
    stream.private_data = stream.transport = bsd
    header.destructor = _destroy_stream
    return stream


def tstream_bsd_existing_socket(mem_ctx: TALLOC_CTX | None, fd: int) -> tuple[int, tstream_context | None]:
    """
    Make a stream on a descriptor that exists already.

    C: ``int tstream_bsd_existing_socket(TALLOC_CTX *mem_ctx, int fd, struct tstream_context **stream)``

    Args:
        mem_ctx: The owner of the stream.

        fd: A connected socket, a pipe, or whatever can be read and written by vectors. It must be non-blocking already,
            and belongs to the stream from now on. Nothing is checked here.

    Returns:
        ``(0, stream)``; ``(-1, None)`` with errno ENOMEM where a memory limit forbids it.
    """
    if type(fd) is not int:
        raise TypeError(f"fd must be an int, not {type(fd).__name__}")
    stream = new_bsd_stream(mem_ctx, fd)
    if stream is None:
        set_errno(ENOMEM)
        return -1, None
    return 0, stream


def tstream_unix_socketpair(
    mem_ctx1: TALLOC_CTX | None, mem_ctx2: TALLOC_CTX | None
) -> tuple[int, tstream_context | None, tstream_context | None]:
    """
    Make two connected streams.

    C: ``int tstream_unix_socketpair(TALLOC_CTX *mem_ctx1, struct tstream_context **stream1, TALLOC_CTX *mem_ctx2,
    struct tstream_context **stream2)``

    Returns:
        ``(0, stream1, stream2)``, each a child of its own context and independent of the other; ``(-1, None, None)``
        with errno.
    """
    try:
        fds = list(_sys.socketpair(_sys.AF_UNIX, _sys.SOCK_STREAM))
    except OSError as error:
        set_errno(error.errno or errno.EIO)
        return -1, None, None
    stream1 = stream2 = None
    try:
        for n, fd in enumerate(fds):
            fds[n] = -1  # above_stdio() closes what it does not return
            fds[n] = _sys.above_stdio(fd)
            _sys.set_blocking(fds[n], False)
        stream1 = new_bsd_stream(mem_ctx1, fds[0])
        if stream1 is not None:
            fds[0] = -1
            stream2 = new_bsd_stream(mem_ctx2, fds[1])
            if stream2 is not None:
                fds[1] = -1
                return 0, stream1, stream2
        set_errno(ENOMEM)
    except OSError as error:
        set_errno(error.errno or errno.EIO)
    finally:
        # Whatever went wrong, a context that is none at all included, leaves neither a stream nor a descriptor.
        if stream2 is None:
            if stream1 is not None:
                free_chunk(stream1._talloc_chunk, _HERE)
            for fd in fds:
                if fd != -1:
                    _sys.close_quietly(fd)
    return -1, None, None


def tstream_bsd_optimize_readv(stream: tstream_context, on: bool) -> bool:
    """
    Let reads on *stream* look for data at once instead of waiting for the loop to announce it.

    C: ``bool tstream_bsd_optimize_readv(struct tstream_context *stream, bool on)``

    Faster where the data is usually there; output that waits is then no longer sent before input is read.

    Returns:
        The setting before, at first False; False for a stream that is not over a BSD socket, which stays as it is.
    """
    bsd = _bsd_of(stream)
    if bsd is None:
        return False
    old, bsd.optimize = bsd.optimize, bool(on)
    return old


def tstream_bsd_fail_readv_first_error(stream: tstream_context, on: bool) -> bool:
    """
    Let a read that waits fail as soon as the connection does, even if there are bytes left to be read.

    C: ``bool tstream_bsd_fail_readv_first_error(struct tstream_context *stream, bool on)``

    Returns:
        The setting before, at first False; False for a stream that is not over a BSD socket.
    """
    bsd = _bsd_of(stream)
    if bsd is None:
        return False
    old, bsd.fail_first = bsd.fail_first, bool(on)
    return old


def _bsd_of(stream: tstream_context) -> tstream_bsd | None:
    if not is_stream(stream):
        return None
    transport = stream.transport
    return transport if type(transport) is tstream_bsd else None


_HERE: Final = (_destroy.__code__, 0)
