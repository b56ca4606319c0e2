# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Streams, the inside: the class, vectors, and the operations below the public functions.

What C does with a request for each layer is done here with one request in all and plain calls between the layers:

* a public ``_send`` function makes the request (`new_operation`), and starts the operation (`start_readv` ...);
* a *transport* moves the bytes and says so (`readv_over` ...): the BSD sockets are one, `tsocket.stream_backend` makes
  another out of the operations of a backend that somebody wrote in the C style;
* what comes next is the request's ``op_done``: finishing the request, or the next vector of a PDU.

When callbacks run, which errno is seen by whom, and when bytes leave the kernel is as in C.

Cost: a read or a write is one request and its header; vectors are copied, never bytes.
"""

from __future__ import annotations

import errno

from talloc_py._abort import abort
from talloc_py._chunk import birthplaces, caller_outside, shared, talloc_buffer
from talloc_py.core import (
    TALLOC_CTX,
    attach,
    bad_chunk,
    caller,
    free_chunk,
    library_destructors,
    location_text,
)
from talloc_py.names import talloc_get_name
from tevent import trace
from tevent._request import (
    DONE,
    NO_MEMORY,
    RECEIVED,
    TIMED_OUT,
    USER_ERROR,
    conclude,
    drop_step,
    error_of,
    farewell,
    finish,
    finish_again,
    is_request,
    operation,
    receive,
    schedule,
    tevent_req,
)
from tevent.req import tevent_req_received

from .address import iovec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType
    from typing import Any, Final, NoReturn, Protocol

    from typing_extensions import Buffer

    from .stream_backend import tstream_context_ops

    Vector = Sequence[iovec | Buffer] | None

    class Transport(Protocol):
        """
        What a stream needs below it.

        The start functions begin what ``req`` asks for on ``req.op_ev`` and return True; the end is told later, never
        inside the call: they call its ``op_done`` from the loop, with the result in ``op_ret`` and ``op_err``.  False
        is lack of memory, BadVector a refusal.  The ``stop`` functions forget a request whose end nobody wants to hear
        of any more.
        """

        def start_readv(
            self, req: tevent_req, vector: Vector, done: Callable[[tevent_req], None], at_once: bool
        ) -> bool:
            """
            Read until *vector* is full; *done* becomes the request's ``op_done``, which does what `readv_over` does.

            *at_once*: look whether the bytes are there before waiting for them.
            """
            ...

        def start_writev(self, req: tevent_req, vector: Vector) -> bool:
            """Write the whole of *vector*; the end is `writev_over`."""
            ...

        def disconnect(self, req: tevent_req) -> bool: ...
        def monitor(self, req: tevent_req) -> bool: ...
        def pending_bytes(self) -> int: ...
        def stop_readv(self, req: tevent_req) -> None: ...
        def stop_writev(self, req: tevent_req) -> None: ...
        def stop_disconnect(self, req: tevent_req) -> None: ...
        def stop_monitor(self, req: tevent_req) -> None: ...


IOV_MAX: Final = 1024
_SSIZE_MAX: Final = 2**63 - 1
_allocate = object.__new__


class tstream_context(TALLOC_CTX):
    """
    A stream of bytes, whatever carries it; made by a connect function or by a backend.

    C: ``struct tstream_context``

    At most one read, one write, one disconnect and one monitor are outstanding at a time.
    """

    __slots__ = (
        "__weakref__",
        "created",
        "disconnect_req",
        "monitor_req",
        "ops",
        "private_data",
        "read_req",
        "transport",
        "write_req",
    )

    #: Where it was made, for messages.
    created: tuple[CodeType, int]
    ops: tstream_context_ops
    private_data: TALLOC_CTX  # the backend's state chunk
    transport: Transport
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
    stream.created = shared(caller_outside("tsocket", "tevent", "talloc_py"))
    stream.ops = ops
    stream.read_req = stream.write_req = stream.disconnect_req = stream.monitor_req = None
    return stream


def is_stream(stream: object) -> bool:
    """Whether *stream* is a live stream; TypeError for anything else, abort function for a freed one."""
    if type(stream) is not tstream_context:
        raise TypeError(f"a tstream_context is needed, not {type(stream).__name__}")
    try:
        if stream._talloc_chunk.obj is stream:
            return True
    except AttributeError:  # a copy of a stream was never a chunk
        pass
    bad_chunk(stream)
    return False


def _destroy(stream: tstream_context) -> int:
    """The destructor of a stream; the backend's state is freed after this, as a child."""
    silence(stream)
    return 0


def silence(stream: tstream_context) -> None:
    """Let what is outstanding never be heard of."""
    for req in (stream.read_req, stream.write_req, stream.disconnect_req, stream.monitor_req):
        if req is None:
            continue
        if type(req.op) is stream_operation and req.op.direct:
            tevent_req_received(req)
        else:
            # The rest of a PDU, or a queued operation: in C only the request inside it ends.
            stop_operation(req)


birthplaces[tstream_context] = "created"
library_destructors.add(_destroy)


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
        return bytearray()
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
    # Nearly always a short list of these few types, which need no closer look.
    items: Any = vector
    kind: object = type(vector)  # a name of its own, or checkers make a list of unknowns out of it
    if kind is list:
        plain = _WRITABLE if writable else _READABLE
        total = 0
        for item in items:
            if type(item) not in plain:
                break
            total += len(item)
        else:
            if total and len(items) <= IOV_MAX:
                req.op_vector = items[:]
                req.op_ret = req.op_left = total
                return
    total = check_vector(vector)
    assert vector is not None
    req.op_vector = [_buffer(item, writable) for item in vector]
    req.op_ret = req.op_left = total


_WRITABLE: Final = frozenset((bytearray, talloc_buffer))
_READABLE: Final = frozenset((bytes, bytearray, talloc_buffer))


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


class stream_operation(operation):
    """
    A kind of request on a stream.

    Attributes:
        direct: The stream's own request (readv, writev, disconnect, monitor) and not one that is built on those.
    """

    __slots__ = ("direct",)

    def __init__(
        self,
        name: str,
        stop: Callable[[tevent_req], None],
        direct: bool,
        start: Callable[[tevent_req], None] | None = None,
    ) -> None:
        super().__init__(name, stop, tstream_context, is_stream, start)
        self.direct: bool = direct


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
    drop_step(req)
    drop_sub(req)


def drop_sub(req: tevent_req) -> None:
    """Free the request of a backend that works with requests of its own."""
    sub = getattr(req, "op_sub", None)
    if sub is not None:
        req.op_sub = None
        header = sub._talloc_chunk
        if header.obj is sub:
            free_chunk(header, _HERE)


READV: Final = stream_operation("struct tstream_readv_state", stop_operation, True)
WRITEV: Final = stream_operation("struct tstream_writev_state", stop_operation, True)
DISCONNECT: Final = stream_operation("struct tstream_disconnect_state", stop_operation, True)
MONITOR: Final = stream_operation("struct tstream_monitor_state", stop_operation, True)


def later(req: tevent_req, step: Callable[[tevent_req], None], ret: int, err: int) -> None:
    """Let *step* run from the loop, with a result that is known already."""
    req.op_ret = ret
    req.op_err = err
    schedule(req, req.op_ev, step)


def over(req: tevent_req) -> None:
    """The end of an operation: the request is finished with the result of its transport."""
    if req.op_ret == -1:
        req.error = req.op_err or errno.EIO
        conclude(req, USER_ERROR)
    else:
        conclude(req, DONE)


def end(req: tevent_req, ret: int, err: int) -> None:
    """`over` with this result."""
    req.op_ret = ret
    req.op_err = err
    over(req)


def refuse(req: tevent_req, err: int) -> tevent_req:
    """Finish *req* inside its ``_send`` function; the callback comes from the loop."""
    req.error = err
    req.op_vector = None
    finish(req, USER_ERROR, _HERE)
    schedule(req, req.op_ev, finish_again)
    return req


def refuse_oom(req: tevent_req) -> tevent_req:
    """As `refuse`, for a backend that could not make its request."""
    finish(req, NO_MEMORY, _HERE)
    schedule(req, req.op_ev, finish_again)
    return req


# A transport's start_readv() and start_writev() do what the core of C does first: they look at the vector, refuse what
# cannot be done now, and put the request into the busy slot of its kind. When the transport has done its part it sets
# op_ret and op_err and calls op_done, from the loop: one of the functions below, which empty the slot before anybody
# hears of the end.


def refuse_busy(stream: tstream_context) -> NoReturn:
    """Raise the BadVector for an operation that another one is in the way of."""
    raise BadVector(errno.EBUSY if stream.disconnect_req is None else errno.ECONNABORTED)


def readv_over(req: tevent_req) -> None:
    """The read of *req* has ended."""
    stream: tstream_context = req.op_target
    # The stream is free for the next read before anybody hears of this one, and no buffer is held any longer.
    stream.read_req = None
    req.op_vector = None
    if req.op_ret == -1:
        if stream.monitor_req is not None:
            fail_monitor(stream, req.op_err)
        over(req)
    elif req.rare is None and not trace.request_watchers:
        # conclude(), spelled out
        req.status = DONE
        fn = req.fn
        if fn is not None:
            fn(req)
    else:
        conclude(req, DONE)


def writev_over(req: tevent_req) -> None:
    """The write of *req* has ended."""
    stream: tstream_context = req.op_target
    stream.write_req = None
    req.op_vector = None
    if req.op_ret == -1:
        if stream.monitor_req is not None:
            fail_monitor(stream, req.op_err)
        over(req)
    elif req.rare is None and not trace.request_watchers:
        # conclude(), spelled out
        req.status = DONE
        fn = req.fn
        if fn is not None:
            fn(req)
    else:
        conclude(req, DONE)


def disconnect_over(req: tevent_req) -> None:
    """The disconnect of *req* has ended."""
    stream: tstream_context = req.op_target
    stream.disconnect_req = None
    if stream.monitor_req is not None:
        fail_monitor(stream, req.op_err if req.op_ret == -1 else errno.ECONNABORTED)
    over(req)


def monitor_over(req: tevent_req) -> None:
    """The monitor *req* has seen the end of the stream."""
    req.op_target.monitor_req = None
    over(req)


def fail_monitor(stream: tstream_context, err: int) -> None:
    req = stream.monitor_req
    assert req is not None
    stop_operation(req)
    end(req, -1, err)


_EIO: Final = (-1, errno.EIO)


def failure_of(req: tevent_req) -> tuple[int, int]:
    """-1 and the errno of a request that has not succeeded; EIO for one in progress or received."""
    status = req.status
    if status == USER_ERROR:
        return -1, _int32(error_of(req))
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
    try:
        header = req._talloc_chunk
        if (
            req.op is op
            and req.status == DONE
            and req.rare is None
            and req.im_ev is None
            and header.child is None
            and header.obj is req
            and not trace.request_watchers
        ):
            # What receive() comes to for a request that has nothing left.
            req.op = None
            req.kind = op
            req.status = RECEIVED
            header.destructor = op.farewell
            return req.op_ret, 0
    except AttributeError:  # no request, or a copy of one
        pass
    if not is_request(req):
        return _EIO
    if req.op is not op:
        mismatch(req, op)
        return _EIO
    header = req._talloc_chunk
    result = (req.op_ret, 0) if req.status == DONE else failure_of(req)
    receive(req)
    header.destructor = farewell(req)
    return result


def mismatch(req: tevent_req, op: operation) -> None:
    """*req* is not what its ``_recv`` function expects: the abort that C's type check gives there."""
    have = None if req.op is None else req.op.name
    if req.data is not None:
        have = talloc_get_name(req.data)
    abort(f"{location_text(caller(2))}: Type mismatch: name[{have or 'NULL'}] expected[{op.name}]", repr(req))


_HERE: Final = (drop_sub.__code__, 0)
