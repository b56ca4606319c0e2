# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Requests on plain descriptors: write a vector, read a packet.

Mirrors part of ``lib/async_req/async_sock.c``; what moves no bytes is in `async_sock`.  **None of these owns, closes or
reconfigures the descriptor**; a descriptor is a plain integer.

Every request may be finished when its ``_send`` function returns; its callback comes from the loop even so.

Cost: one request with its state and one fd event each; a packet is copied once if it grows.
"""

from __future__ import annotations

from errno import (
    EAGAIN,
    ECANCELED,
    EINVAL,
    EIO,
    EMSGSIZE,
    ENOMEM,
    ENOTSOCK,
    EPIPE,
)

from talloc_py._chunk import talloc_buffer
from talloc_py.core import TALLOC_CTX, attach, chunk_of, talloc_free
from talloc_py.types import uint8_t
from tevent._base import check_context
from tevent._request import tevent_req
from tevent.fd import tevent_fd
from tevent.queue import tevent_queue, tevent_queue_add_optimize_empty, tevent_queue_entry
from tevent.req import (
    tevent_req_create,
    tevent_req_data,
    tevent_req_defer_callback,
    tevent_req_done,
    tevent_req_error,
    tevent_req_is_in_progress,
    tevent_req_nomem,
    tevent_req_oom,
    tevent_req_post,
    tevent_req_received,
    tevent_req_set_cancel_fn,
    tevent_req_set_cleanup_fn,
)
from tevent.unix import tevent_req_is_unix_error

from . import _sys
from ._async import (
    AGAIN,
    ERROR,
    MAX_TALLOC_SIZE,
    READ,
    WRITE,
    check_callable,
    discard,
    drop_event,
    is_live,
    still_alive,
    wait_for,
    waiting_state,
)
from ._stream import _buffer, advance
from .address import require
from .bsd_socket import errno_of
from .socket_error import check_fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from _typeshed import ReadableBuffer

    from tevent.context import tevent_context
    from tevent.enumerations import tevent_req_state

    from .address import iovec

    connect_hook = Callable[[int, Any], object]
    more_fn = Callable[[memoryview, Any], int]

__all__ = [
    "read_packet_recv",
    "read_packet_send",
    "writev_recv",
    "writev_send",
]


# -- write ------------------------------------------------------------------------------------------------------------


class writev_state(waiting_state):
    """
    A vector on its way to a descriptor.

    C: ``struct writev_state``
    """

    __slots__ = ("ev", "flags", "is_socket", "queue_entry", "total", "vector")

    ev: tevent_context
    flags: int
    is_socket: bool
    queue_entry: tevent_queue_entry | None
    total: int
    vector: list[Any]

    def __init__(self) -> None:
        super().__init__()
        self.flags = WRITE | ERROR
        self.is_socket = True
        self.queue_entry = None
        self.total = 0
        self.vector = []


def writev_send(
    mem_ctx: TALLOC_CTX | None,
    ev: tevent_context,
    queue: tevent_queue | None,
    fd: int,
    err_on_readability: bool,
    iov: Sequence[iovec | ReadableBuffer],
) -> tevent_req | None:
    """
    Write a whole vector to a descriptor.

    C: ``struct tevent_req *writev_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev, struct tevent_queue *queue,
    int fd, bool err_on_readability, struct iovec *iov, int count)``

    Args:
        mem_ctx: The owner of the request.

        ev: The event context.

        queue: Where to wait for the turn; on an empty, running queue the first write happens inside this call. None for
            no queue, and no write before the descriptor is known to be writable.

        fd: A descriptor, best a non-blocking one.

        err_on_readability: Fail with EPIPE as soon as there is something to read (or the end).

        iov: `iovec` objects or bytes-like objects. The list may be changed at once; the buffers are borrowed until the
            request ends.

    Errors of `writev_recv`: EPIPE for an error condition of the descriptor and for a vector without bytes, ECANCELED
    after `tevent_req_cancel` (which works until the first byte was written), and those of the system.
    """
    check_fd(fd)
    if queue is not None and type(queue) is not tevent_queue:
        raise TypeError(f"a tevent_queue or None is needed, not {type(queue).__name__}")
    if not check_context(ev) or (queue is not None and chunk_of(queue) is None):
        return None
    vector = [_buffer(item, False) for item in iov]
    req, state = tevent_req_create(mem_ctx, writev_state)
    if req is None:
        return None
    state.ev = ev
    state.fd = fd
    state.vector = vector
    if err_on_readability:
        state.flags |= READ
    tevent_req_set_cleanup_fn(req, _writev_cleanup)
    tevent_req_set_cancel_fn(req, _writev_cancel)
    if queue is None:
        return req if wait_for(req, state, ev, state.flags, _writev_ready) else tevent_req_post(req, ev)
    # A write that goes through inside this call must not call back before the caller knows the request.
    tevent_req_defer_callback(req, ev)
    state.queue_entry = tevent_queue_add_optimize_empty(queue, ev, req, _writev_trigger, None)
    if tevent_req_nomem(state.queue_entry, req) or not tevent_req_is_in_progress(req):
        return tevent_req_post(req, ev)
    return req


def _writev_cleanup(req: tevent_req, req_state: tevent_req_state) -> None:
    state = tevent_req_data(req, writev_state)
    entry, state.queue_entry = state.queue_entry, None
    if entry is not None and entry._talloc_chunk.obj is entry:  # the queue may be gone, and the entry with it
        talloc_free(entry)
    drop_event(state)
    state.vector = []


def _writev_cancel(req: tevent_req) -> bool:
    state = tevent_req_data(req, writev_state)
    if state.total:
        return False
    tevent_req_defer_callback(req, state.ev)
    tevent_req_error(req, ECANCELED)
    return True


def _writev_trigger(req: tevent_req, private_data: object) -> None:
    state = tevent_req_data(req, writev_state)
    # The entry stays in the queue, but is not this request's to free any more, as in C: it goes with the request.
    state.queue_entry = None
    _writev_do(req, state)
    if tevent_req_is_in_progress(req):
        wait_for(req, state, state.ev, state.flags, _writev_ready)


def _writev_ready(ev: tevent_context, fde: tevent_fd, flags: int, req: tevent_req) -> None:
    if flags & (ERROR | READ):
        tevent_req_error(req, EPIPE)
    else:
        _writev_do(req, tevent_req_data(req, writev_state))


def _writev_do(req: tevent_req, state: writev_state) -> None:
    try:
        count = _write(state)
    except OSError as error:
        if error.errno not in AGAIN:
            tevent_req_error(req, errno_of(error))
        return
    if count == 0:
        tevent_req_error(req, EPIPE)
        return
    state.total += count
    advance(state.vector, count)  # and what is empty behind it
    if not state.vector:
        tevent_req_done(req)


def _write(state: writev_state) -> int:
    """One ``sendmsg``, or one ``writev`` to what is no socket: the number of bytes taken."""
    if state.is_socket:
        try:
            return _sys.sendmsg(state.fd, state.vector)
        except OSError as error:
            if error.errno != ENOTSOCK:
                raise
        state.is_socket = False
    return _sys.writev(state.fd, state.vector)


def writev_recv(req: tevent_req) -> tuple[int, int]:
    """
    The result of `writev_send`.

    C: ``ssize_t writev_recv(struct tevent_req *req, int *perrno)``

    Returns:
        ``(bytes, 0)``, or ``(-1, errno)``. A request that waited for its turn holds its place in the queue until it is
        freed.
    """
    state = tevent_req_data(req, writev_state)
    if state is None:
        return -1, EINVAL
    failed, err = tevent_req_is_unix_error(req)
    total = -1 if failed else state.total
    tevent_req_received(req)
    return total, err


# -- read a packet ----------------------------------------------------------------------------------------------------


class read_packet_state(waiting_state):
    """
    A packet that arrives.

    C: ``struct read_packet_state``
    """

    __slots__ = ("buf", "more", "nread", "private_data")

    buf: talloc_buffer
    more: more_fn | None
    nread: int
    private_data: object

    def __init__(self) -> None:
        super().__init__()
        self.nread = 0


def read_packet_send(
    mem_ctx: TALLOC_CTX | None,
    ev: tevent_context,
    fd: int,
    initial: int,
    more: more_fn | None,
    private_data: object,
) -> tevent_req | None:
    """
    Read a packet whose length is known only from its beginning.

    C: ``struct tevent_req *read_packet_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev, int fd, size_t initial,
    ssize_t (*more)(uint8_t *buf, size_t buflen, void *private_data), void *private_data)``

    Args:
        mem_ctx: The owner of the request.

        ev: The event context.

        fd: A descriptor, non-blocking or not. What is there is read at once if it is a socket.

        initial: The number of bytes to begin with.

        more: Called with a read-only view of all that has arrived and *private_data*: how many more bytes to read, 0 if
            that was all, -1 to fail with EIO. The view ends with the call. None: the first bytes are all.

        private_data: For *more*.

    Errors of `read_packet_recv`: EPIPE at the end of the stream, EIO from *more*, EMSGSIZE for another negative number,
    and those of the system.

    Raises:
        Whatever *more* raises when it is called inside this function; the request is freed then. What it raises later
        leaves the loop; the request stays in progress, and reads no more.
    """
    check_fd(fd)
    check_callable("more", more)
    require("initial", initial, int)
    if not check_context(ev):
        return None
    req, state = tevent_req_create(mem_ctx, read_packet_state)
    if req is None:
        return None
    state.fd = fd
    state.more = more
    state.private_data = private_data
    tevent_req_set_cleanup_fn(req, _read_packet_cleanup)
    if not 0 <= initial < MAX_TALLOC_SIZE:
        tevent_req_oom(req)
        return tevent_req_post(req, ev)
    state.buf = talloc_buffer(initial)
    try:
        _read_packet_do(req, state, False)
    except BaseException:
        discard(req)
        raise
    if not is_live(req):
        return None  # the function has freed its owner
    if tevent_req_is_in_progress(req) and wait_for(req, state, ev, READ, _read_packet_ready):
        return req
    return tevent_req_post(req, ev)


def _read_packet_cleanup(req: tevent_req, req_state: tevent_req_state) -> None:
    drop_event(tevent_req_data(req, read_packet_state))


def _read_packet_ready(ev: tevent_context, fde: tevent_fd, flags: int, req: tevent_req) -> None:
    state = tevent_req_data(req, read_packet_state)
    try:
        _read_packet_do(req, state, True)
    except BaseException:
        if still_alive(req, state):
            drop_event(state)
        raise


def _read_packet_do(req: tevent_req, state: read_packet_state, readable: bool) -> None:
    """Read until the buffer is full and nothing is to follow, or nothing is there; *readable*: an event said so."""
    while True:
        room = len(state.buf) - state.nread
        try:
            count, again = _read_some(state, readable)
        except OSError as error:
            if error.errno not in AGAIN:
                tevent_req_error(req, errno_of(error))
            return
        if count == 0:
            tevent_req_error(req, EPIPE)
            return
        state.nread += count
        if count < room or not _read_packet_grow(req, state) or not again:
            return


def _read_some(state: read_packet_state, readable: bool) -> tuple[int, bool]:
    """Fill what is left of the buffer: the number of bytes, and whether asking once more cannot block."""
    with memoryview(state.buf)[state.nread :] as room:
        try:
            return _sys.recvmsg_into(state.fd, room, _sys.MSG_DONTWAIT), True
        except OSError as error:
            if error.errno != ENOTSOCK:
                raise
        if not readable:
            # Only the event says that reading from this will not block, and only for one time.
            raise OSError(EAGAIN, "not known to be readable")
        return _sys.readv(state.fd, [room]), False


def _read_packet_grow(req: tevent_req, state: read_packet_state) -> bool:
    """The buffer is full: ask how many bytes are to follow. False if there is nothing to be read any more."""
    if state.more is None:
        tevent_req_done(req)
        return False
    view = memoryview(state.buf).toreadonly()
    wanted = state.more(view, state.private_data)
    try:
        view.release()
    except BufferError:
        pass  # somebody keeps it: the bytes it shows will be those of now
    if not still_alive(req, state):
        return False
    require("what more returns", wanted, int)
    if wanted == 0:
        tevent_req_done(req)
    elif wanted == -1:
        tevent_req_error(req, EIO)
    elif wanted < 0:
        tevent_req_error(req, EMSGSIZE)
    elif len(state.buf) + wanted >= MAX_TALLOC_SIZE:
        tevent_req_oom(req)
    else:
        _grow(state, wanted)
        return True
    return False


def _grow(state: read_packet_state, wanted: int) -> None:
    """Make room for *wanted* more bytes, whoever looks at those that are there."""
    try:
        state.buf.extend(bytes(wanted))
    except BufferError:
        buf = talloc_buffer(len(state.buf) + wanted)
        buf[: len(state.buf)] = state.buf
        state.buf = buf


def read_packet_recv(req: tevent_req, mem_ctx: TALLOC_CTX | None) -> tuple[int, talloc_buffer | None, int]:
    """
    The result of `read_packet_send`.

    C: ``ssize_t read_packet_recv(struct tevent_req *req, TALLOC_CTX *mem_ctx, uint8_t **pbuf, int *perrno)``

    Returns:
        ``(length, buf, 0)``, the buffer owned by *mem_ctx*, or ``(-1, None, errno)``.
    """
    state = tevent_req_data(req, read_packet_state)
    if state is None:
        return -1, None, EINVAL
    failed, err = tevent_req_is_unix_error(req)
    if not failed and attach(state.buf, mem_ctx, uint8_t) is None:
        failed, err = True, ENOMEM
    buf = None if failed else state.buf
    tevent_req_received(req)
    return (-1, None, err) if buf is None else (len(buf), buf, 0)
