# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Streams: one interface over every kind of byte stream.

Mirrors the stream half of ``lib/tsocket/tsocket.c``.  What C does with a request for each layer is done here with one
request in all and plain calls between the layers:

* a public ``_send`` function makes the request, checks its arguments and starts the operation (`start_readv` ...);
* a *transport* moves the bytes and says so (`readv_over` ...): the BSD sockets are one, `_OpsTransport` makes another out
  of the operations of a backend that somebody wrote in the C style;
* what comes next is the request's ``op_done``: finishing the request, or the next vector of a PDU.

When callbacks run, which errno is seen by whom, and when bytes leave the kernel is as in C.

Cost: a read or a write is one request and its header; vectors are copied, never bytes.
"""

from __future__ import annotations

import errno

from talloc_py.core import TALLOC_CTX, attach, bad_chunk, free_chunk, library_destructors, talloc_zero
from talloc_py.names import talloc_get_type_abort
from tevent import get_errno
from tevent.context import tevent_context
from tevent.req import (
    DONE,
    NO_MEMORY,
    TIMED_OUT,
    USER_ERROR,
    conclude,
    finish,
    is_context,
    is_request,
    new_request,
    operation,
    rare_of,
    receive,
    schedule,
    tevent_req,
    tevent_req_callback_data,
    tevent_req_received,
    tevent_req_set_callback,
    unschedule,
)

from .address import iovec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Final, Protocol, TypeVar

    from typing_extensions import Buffer

    S = TypeVar("S", bound=TALLOC_CTX)
    Vector = Sequence[iovec | Buffer] | None
    ReadDone = Callable[[tevent_req, int, int], None]

    class Transport(Protocol):
        """
        What a stream needs below it.

        ``readv``, ``writev``, ``disconnect`` and ``monitor`` start what ``req`` asks for on ``req.op_ev`` and return True;
        the end is told later, never inside the call, through `readv_over` and its like.  False is lack of memory.
        The ``stop`` functions forget a request whose end nobody wants to hear of any more.
        """

        def readv(self, req: tevent_req, at_once: bool) -> bool: ...
        def writev(self, req: tevent_req) -> bool: ...
        def disconnect(self, req: tevent_req) -> bool: ...
        def monitor(self, req: tevent_req) -> bool: ...
        def pending_bytes(self) -> int: ...
        def stop_readv(self, req: tevent_req) -> None: ...
        def stop_writev(self, req: tevent_req) -> None: ...
        def stop_disconnect(self, req: tevent_req) -> None: ...
        def stop_monitor(self, req: tevent_req) -> None: ...


__all__ = [
    "tsocket_simple_int_recv",
    "tstream_context",
    "tstream_context_create",
    "tstream_context_data",
    "tstream_context_ops",
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

IOV_MAX: Final = 1024
_SSIZE_MAX: Final = 2**63 - 1
_allocate = object.__new__


class tstream_context_ops:
    """
    The operations of a backend, as `tstream_context_create` takes them.

    C: ``struct tstream_context_ops``

    Each ``_send`` takes ``(mem_ctx, ev, stream[, vector])`` and returns a request; a request that is finished already must
    have been posted with `tevent_req_post`. Each ``_recv`` takes that request and returns ``(ret, perrno)``. ``monitor_send``
    and ``monitor_recv`` may be left out.
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
        self.name = name
        self.pending_bytes = pending_bytes
        self.readv_send = readv_send
        self.readv_recv = readv_recv
        self.writev_send = writev_send
        self.writev_recv = writev_recv
        self.disconnect_send = disconnect_send
        self.disconnect_recv = disconnect_recv
        self.monitor_send = monitor_send
        self.monitor_recv = monitor_recv


class tstream_context(TALLOC_CTX):
    """
    A stream of bytes, whatever carries it; made by a connect function or by a backend.

    C: ``struct tstream_context``

    At most one read, one write, one disconnect and one monitor are outstanding at a time.
    """

    __slots__ = (
        "__weakref__",
        "copies_vectors",
        "disconnect_req",
        "monitor_req",
        "ops",
        "private_data",
        "read_req",
        "transport",
        "write_req",
    )

    ops: tstream_context_ops
    private_data: TALLOC_CTX  # the backend's state chunk
    transport: Transport
    copies_vectors: bool  # False: a backend gets the very vector that the caller gave
    read_req: tevent_req | None
    write_req: tevent_req | None
    disconnect_req: tevent_req | None
    monitor_req: tevent_req | None

    def __init__(self) -> None:
        raise TypeError("a tstream_context is made by a connect function or tstream_context_create()")

    def __repr__(self) -> str:
        if self._talloc_chunk.obj is not self:
            return "<tstream_context, freed>"
        names = ("read_req", "write_req", "disconnect_req", "monitor_req")
        busy = [name[:-4] for name in names if getattr(self, name) is not None]
        return f"<tstream_context {self.ops.name} {'+'.join(busy) or 'idle'}>"


def new_stream(mem_ctx: TALLOC_CTX | None, ops: tstream_context_ops) -> tstream_context | None:
    """A stream that still lacks ``private_data`` and ``transport``."""
    stream: tstream_context = _allocate(tstream_context)
    if attach(stream, mem_ctx, tstream_context, _destroy) is None:
        return None
    stream.ops = ops
    stream.copies_vectors = True
    stream.read_req = stream.write_req = stream.disconnect_req = stream.monitor_req = None
    return stream


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

        type: The class of the backend's state, derived from `TALLOC_CTX`. Put destructors on the state, not on the stream.

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
    stream.copies_vectors = False
    return stream, state


def tstream_context_data(stream: tstream_context, type: type[S]) -> S:
    """
    The state of the backend of *stream*.

    C: ``void *tstream_context_data(struct tstream_context *stream, #type)``

    Another type than the backend's goes to talloc's abort function.
    """
    if not is_stream(stream):
        return None  # type: ignore[return-value]  # only where an abort function returns
    return talloc_get_type_abort(stream.private_data, type)


def is_stream(stream: object) -> bool:
    """Whether *stream* is a live stream; TypeError for anything else, abort function for a freed one."""
    if type(stream) is not tstream_context:
        raise TypeError(f"a tstream_context is needed, not {type(stream).__name__}")
    if stream._talloc_chunk.obj is not stream:
        bad_chunk(stream)
        return False
    return True


def _destroy(stream: tstream_context) -> int:
    """Silence what is outstanding; the backend's state is freed after this, as a child."""
    for req in (stream.read_req, stream.write_req, stream.disconnect_req, stream.monitor_req):
        if req is None:
            continue
        if type(req.op) is stream_operation and req.op.direct:
            tevent_req_received(req)
        else:
            # The rest of a PDU, or a queued operation: in C only the request inside it ends.
            stop_operation(req)
    return 0


library_destructors.add(_destroy)


# -- vectors ----------------------------------------------------------------------------------------------------------


class BadVector(Exception):
    """A vector that a request refuses with the errno ``args[0]``."""


def _length(item: iovec | Buffer) -> int:
    if type(item) is iovec:
        return item.iov_len
    return memoryview(item).nbytes  # type: ignore[arg-type]


def _buffer(item: iovec | Buffer, writable: bool) -> Any:
    """The bytes of one element, in a form that os.readv() and os.writev() take; TypeError if they cannot be used."""
    base: Any = item.iov_base if type(item) is iovec else item
    if base is None:
        if item.iov_len:  # type: ignore[union-attr]
            raise ValueError(f"an iovec without a buffer has iov_len {item.iov_len}")  # type: ignore[union-attr]
        return b""
    view = memoryview(base)
    if not view.c_contiguous:
        raise TypeError("a buffer of a vector must be contiguous")
    if writable and view.readonly:
        raise TypeError(f"a vector to read into needs writable buffers, not {type(base).__name__}")
    if type(item) is not iovec:
        return base if view.itemsize == 1 and view.ndim == 1 else view.cast("B")
    if not 0 <= item.iov_len <= view.nbytes:
        raise ValueError(f"iov_len {item.iov_len} does not fit a buffer of {view.nbytes} bytes")
    return base if item.iov_len == view.nbytes and view.itemsize == 1 else view.cast("B")[: item.iov_len]


def check_vector(vector: Vector) -> int:
    """
    The sum of the lengths of *vector*.

    Raises:
        BadVector: EMSGSIZE for too many elements or bytes, EINVAL for none.
    """
    if vector is None:
        raise BadVector(errno.EINVAL)
    if len(vector) > IOV_MAX:
        raise BadVector(errno.EMSGSIZE)
    total = 0
    for item in vector:
        total += _length(item)
    if total > _SSIZE_MAX:
        raise BadVector(errno.EMSGSIZE)
    if total == 0:
        raise BadVector(errno.EINVAL)
    return total


def check_buffers(vector: Sequence[iovec | Buffer]) -> None:
    """TypeError or ValueError for a vector with elements that cannot be written."""
    for item in vector:
        _buffer(item, False)


def prepare(req: tevent_req, vector: Vector, writable: bool) -> None:
    """
    Take *vector* over into *req*: the list is copied, the bytes are not.

    Raises:
        BadVector: As `check_vector`.
        TypeError, ValueError: An element is no buffer, or not one to be read into.
    """
    copies = req.op_target.copies_vectors
    if copies and type(vector) is list and len(vector) == 1 and type(vector[0]) is bytearray:
        total = len(vector[0])
        if total == 0:
            raise BadVector(errno.EINVAL)
        req.op_vector = [vector[0]]
    else:
        total = check_vector(vector)
        assert vector is not None
        req.op_vector = [_buffer(item, writable) for item in vector] if copies else vector
    req.op_ret = req.op_left = total


def advance(vector: list[Any], count: int) -> None:
    """Drop the first *count* bytes, fewer than there are, from *vector*."""
    done = 0
    for item in vector:
        size = len(item)
        if count < size:
            break
        count -= size
        done += 1
    del vector[:done]
    if count:
        vector[0] = memoryview(vector[0])[count:]


# -- operations -------------------------------------------------------------------------------------------------------


class stream_operation(operation):
    """
    A kind of request on a stream.

    Attributes:
        direct: The stream's own request (readv, writev, disconnect, monitor) and not one that is built on those.
    """

    __slots__ = ("direct",)

    def __init__(self, name: str, stop: Callable[[tevent_req], None], direct: bool) -> None:
        super().__init__(name, stop)
        self.direct = direct


def stop_operation(req: tevent_req) -> None:
    """Take *req* away from its stream, whatever it is doing there."""
    stream: tstream_context = req.op_target
    transport = stream.transport
    if stream.read_req is req:
        stream.read_req = None
        transport.stop_readv(req)
    elif stream.write_req is req:
        stream.write_req = None
        transport.stop_writev(req)
    elif stream.disconnect_req is req:
        stream.disconnect_req = None
        transport.stop_disconnect(req)
    elif stream.monitor_req is req:
        stream.monitor_req = None
        transport.stop_monitor(req)
    req.op_vector = None
    if req.op_step is not None:
        req.op_step = None
        unschedule(req)
    _drop_sub(req)


def _drop_sub(req: tevent_req) -> None:
    sub = req.op_sub
    if sub is not None:
        req.op_sub = None
        header = sub._talloc_chunk
        if header.obj is sub:
            free_chunk(header, _HERE)


READV: Final = stream_operation("struct tstream_readv_state", stop_operation, True)
WRITEV: Final = stream_operation("struct tstream_writev_state", stop_operation, True)
DISCONNECT: Final = stream_operation("struct tstream_disconnect_state", stop_operation, True)
MONITOR: Final = stream_operation("struct tstream_monitor_state", stop_operation, True)


def new_operation(
    mem_ctx: TALLOC_CTX | None, ev: tevent_context, stream: tstream_context, op: operation, depth: int
) -> tevent_req | None:
    """The request of an operation on *stream*; its location is that of the frame *depth* levels up."""
    raise_unless_usable(ev, stream)
    req = new_request(mem_ctx, depth)
    if req is None:
        return None
    req.op = op
    req.op_ev = ev
    req.op_target = stream
    req.op_vector = req.op_sub = None
    req.op_total = 0
    return req


def raise_unless_usable(ev: tevent_context, stream: tstream_context) -> None:
    """TypeError or the abort function for a context or stream that cannot be used."""
    if type(ev) is not tevent_context or ev._talloc_chunk.obj is not ev:
        is_context(ev)
    if type(stream) is not tstream_context or stream._talloc_chunk.obj is not stream:
        is_stream(stream)


def later(req: tevent_req, step: Callable[[tevent_req], None], ret: int, err: int) -> None:
    """Let *step* run from the loop, with what the transport has found out already."""
    req.op_ret = ret
    req.op_err = err
    req.op_step = step
    schedule(req, req.op_ev)


def over(req: tevent_req, ret: int, err: int) -> None:
    """The end of an operation: the request is finished with the result of its transport."""
    if ret == -1:
        req.error = err or errno.EIO
        conclude(req, USER_ERROR)
    else:
        req.op_total = ret
        conclude(req, DONE)


def refuse(req: tevent_req, err: int) -> tevent_req:
    """Finish *req* inside its ``_send`` function; the callback comes from the loop."""
    req.error = err
    req.op_vector = None
    finish(req, USER_ERROR, _HERE)
    schedule(req, req.op_ev)
    return req


def refuse_oom(req: tevent_req) -> tevent_req:
    """As `refuse`, for a backend that could not make its request."""
    finish(req, NO_MEMORY, _HERE)
    schedule(req, req.op_ev)
    return req


def start_readv(req: tevent_req, vector: Vector, done: ReadDone, at_once: bool) -> bool:
    """
    Read until *vector* is full, then call *done* from the loop.

    Args:
        req: The request that owns the operation.

        vector: Where to read to.

        done: Called with the request, the number of bytes or -1, and the errno.

        at_once: Look whether the bytes are there before waiting for them.

    Raises:
        BadVector: The errno says why nothing was started.

    Returns:
        False for lack of memory.
    """
    stream: tstream_context = req.op_target
    prepare(req, vector, True)
    if stream.disconnect_req is not None:
        raise BadVector(errno.ECONNABORTED)
    if stream.read_req is not None:
        raise BadVector(errno.EBUSY)
    stream.read_req = req
    req.op_done = done
    return stream.transport.readv(req, at_once)


def start_writev(req: tevent_req, vector: Vector, done: ReadDone) -> bool:
    """As `start_readv`, for writing."""
    stream: tstream_context = req.op_target
    prepare(req, vector, False)
    if stream.disconnect_req is not None:
        raise BadVector(errno.ECONNABORTED)
    if stream.write_req is not None:
        raise BadVector(errno.EBUSY)
    stream.write_req = req
    req.op_done = done
    return stream.transport.writev(req)


def readv_over(req: tevent_req, ret: int, err: int) -> None:
    """For transports: the read of *req* has ended."""
    stream: tstream_context = req.op_target
    # The stream is free for the next read before anybody hears of this one, and no buffer is held any longer.
    stream.read_req = None
    req.op_vector = None
    if ret == -1 and stream.monitor_req is not None:
        _fail_monitor(stream, err)
    req.op_done(req, ret, err)


def readv_step(req: tevent_req) -> None:
    """`readv_over` as an immediate event, for a read that ended before it had to wait."""
    readv_over(req, req.op_ret, req.op_err)


def writev_over(req: tevent_req, ret: int, err: int) -> None:
    """For transports: the write of *req* has ended."""
    stream: tstream_context = req.op_target
    stream.write_req = None
    req.op_vector = None
    if ret == -1 and stream.monitor_req is not None:
        _fail_monitor(stream, err)
    req.op_done(req, ret, err)


def writev_step(req: tevent_req) -> None:
    """`writev_over` as an immediate event."""
    writev_over(req, req.op_ret, req.op_err)


def disconnect_over(req: tevent_req, ret: int, err: int) -> None:
    """For transports: the disconnect of *req* has ended."""
    stream: tstream_context = req.op_target
    stream.disconnect_req = None
    if stream.monitor_req is not None:
        _fail_monitor(stream, err if ret == -1 else errno.ECONNABORTED)
    over(req, ret, err)


def disconnect_step(req: tevent_req) -> None:
    """`disconnect_over` as an immediate event."""
    disconnect_over(req, req.op_ret, req.op_err)


def monitor_over(req: tevent_req, ret: int, err: int) -> None:
    """For transports: the monitor *req* has seen the end of the stream."""
    req.op_target.monitor_req = None
    over(req, ret, err)


def monitor_step(req: tevent_req) -> None:
    """`monitor_over` as an immediate event."""
    monitor_over(req, req.op_ret, req.op_err)


def _fail_monitor(stream: tstream_context, err: int) -> None:
    req = stream.monitor_req
    assert req is not None
    stop_operation(req)
    over(req, -1, err)


# -- public functions -------------------------------------------------------------------------------------------------


def tstream_pending_bytes(stream: tstream_context) -> int:
    """
    How many bytes can be read without waiting.

    C: ``ssize_t tstream_pending_bytes(struct tstream_context *stream)``

    Returns:
        The number of bytes, 0 included; -1 with errno set: ENOTCONN for a disconnected stream, else the errno that reads
        and writes will give.
    """
    if not is_stream(stream):
        return -1
    ret = stream.transport.pending_bytes()
    if ret == -1 and stream.monitor_req is not None:
        _fail_monitor(stream, get_errno())
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
    req = new_operation(mem_ctx, ev, stream, READV, 3)
    return None if req is None else _run(req, start_readv, vector, over, False)


def _run(req: tevent_req, start: Callable[..., bool], *arguments: object) -> tevent_req:
    """Start a direct operation; what it refuses is finished when ``_send`` returns."""
    try:
        if start(req, *arguments):
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
        ``(bytes, 0)``, the sum of the vector's lengths, or ``(-1, errno)``; EIO while *req* is in progress, which ends it.
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
    req = new_operation(mem_ctx, ev, stream, WRITEV, 3)
    return None if req is None else _run(req, start_writev, vector, over)


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

    Errors of `tstream_disconnect_recv`: EBUSY while a read or write is outstanding, EALREADY while another disconnect is,
    ENOTCONN if the stream is disconnected already.
    """
    req = new_operation(mem_ctx, ev, stream, DISCONNECT, 3)
    return None if req is None else _run(req, _start_disconnect)


def _start_disconnect(req: tevent_req) -> bool:
    stream: tstream_context = req.op_target
    if stream.disconnect_req is not None:
        raise BadVector(errno.EALREADY)
    if stream.read_req is not None or stream.write_req is not None:
        raise BadVector(errno.EBUSY)
    stream.disconnect_req = req
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


def tstream_monitor_send(
    mem_ctx: TALLOC_CTX | None, ev: tevent_context, stream: tstream_context
) -> tevent_req | None:
    """
    Wait until *stream* fails, without reading from it.

    C: ``struct tevent_req *tstream_monitor_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
    struct tstream_context *stream)``

    Errors of `tstream_monitor_recv`: EALREADY while another monitor is outstanding, ECONNABORTED while a disconnect is and
    after one, else what any operation of the backend has failed with.

    Callbacks: always one turn of the loop after the error was found.
    """
    req = new_operation(mem_ctx, ev, stream, MONITOR, 3)
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
    return stream.transport.monitor(req)


def tstream_monitor_recv(req: tevent_req) -> tuple[int, int]:
    """
    The result of `tstream_monitor_send`.

    C: ``int tstream_monitor_recv(struct tevent_req *req, int *perrno)``

    Returns:
        ``(-1, errno)``; a backend may define another result.
    """
    return int_recv(req, MONITOR)


_EIO: Final = (-1, errno.EIO)


def tsocket_simple_int_recv(req: tevent_req) -> tuple[int, int]:
    """
    The result of a request that has nothing but success or an errno; the request is not received by this.

    C: ``int tsocket_simple_int_recv(struct tevent_req *req, int *perrno)``

    Returns:
        ``(0, 0)``, or -1 with the error, ETIMEDOUT, ENOMEM, or EIO for a request in progress or received.
    """
    if not is_request(req):
        return _EIO
    return _result(req, 0)


def _result(req: tevent_req, success: int) -> tuple[int, int]:
    status = req.status
    if status == DONE:
        return success, 0
    if status == USER_ERROR:
        return -1, _int32(req.error)
    if status == TIMED_OUT:
        return -1, errno.ETIMEDOUT
    if status == NO_MEMORY:
        return -1, errno.ENOMEM
    return _EIO


def _int32(error: int) -> int:
    """The error as C's ``int`` keeps it."""
    error &= 0xFFFFFFFF
    return error - 2**32 if error & 0x80000000 else error


def int_recv(req: tevent_req, op: operation) -> tuple[int, int]:
    """The result of *req*, a request of the kind *op*, which is received by this."""
    if type(req) is not tevent_req or req._talloc_chunk.obj is not req:
        if not is_request(req):
            return _EIO
    if req.op is not op:
        mismatch(req, op)
        return _EIO
    if req.status == DONE and req.rare is None:
        result = req.op_total, 0
    else:
        result = _result(req, req.op_total)
    if req.q_queue is None:
        req._talloc_chunk.destructor = None
    receive(req)
    return result


def mismatch(req: tevent_req, op: operation) -> None:
    """*req* is not what its ``_recv`` function expects: the abort that a C type check would give."""
    from talloc_py.debug import type_mismatch

    have = None if req.op is None else req.op.name
    if req.data is not None:
        from talloc_py.names import talloc_get_name

        have = talloc_get_name(req.data)
    type_mismatch(have, op.name)


# -- backends in the C style ------------------------------------------------------------------------------------------


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

    def _end(self, sub: tevent_req, name: str) -> tuple[tevent_req, int, int]:
        req = tevent_req_callback_data(sub, tevent_req)
        ret, err = self._op(name + "_recv")(sub)
        if ret == -1 and not err:
            err = errno.EIO  # a failure without a reason must not leave the request hanging
        return req, ret, err

    def readv(self, req: tevent_req, at_once: bool) -> bool:
        # Bytes that are there already are the backend's own business; only BSD sockets know how to look.
        return self._begin(req, "readv", self._readv_done, req.op_vector)

    def _readv_done(self, sub: tevent_req) -> None:
        req, ret, err = self._end(sub, "readv")
        _drop_sub(req)
        readv_over(req, ret, err)

    def writev(self, req: tevent_req) -> bool:
        return self._begin(req, "writev", self._writev_done, req.op_vector)

    def _writev_done(self, sub: tevent_req) -> None:
        writev_over(*self._end(sub, "writev"))

    def disconnect(self, req: tevent_req) -> bool:
        return self._begin(req, "disconnect", self._disconnect_done)

    def _disconnect_done(self, sub: tevent_req) -> None:
        disconnect_over(*self._end(sub, "disconnect"))

    def monitor(self, req: tevent_req) -> bool:
        if self.ops.monitor_send is not None:
            return self._begin(req, "monitor", self._monitor_done)
        # Such a backend can only be asked once; after that the failure of any operation ends the monitor.
        if self.pending_bytes() < 0:
                self.stream.monitor_req = None
            raise BadVector(get_errno() or errno.EIO)
        return True

    def _monitor_done(self, sub: tevent_req) -> None:
        monitor_over(*self._end(sub, "monitor"))

    def pending_bytes(self) -> int:
        ret: int = self._op("pending_bytes")(self.stream)
        return ret

    def stop_readv(self, req: tevent_req) -> None:
        _drop_sub(req)

    stop_writev = stop_disconnect = stop_monitor = stop_readv


_HERE: Final = (_drop_sub.__code__, 0)
