# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Datagrams: one interface over every kind of datagram socket.

Mirrors the datagram part of ``lib/tsocket/tsocket.c``, with one request where C has one for each layer.  A public
``_send`` function makes the request and starts the operation; a *transport* does the work and says so through
`recvfrom_over` and its like: the BSD sockets are one transport, `_OpsTransport` makes another out of the operations of
a backend in the C style.

Cost: an operation is one request and its header; a received buffer is not copied.
"""

from __future__ import annotations

from errno import EBUSY, EINVAL, EIO, ENOMEM

from talloc_py._chunk import birthplaces, caller_outside, chunk, talloc_buffer
from talloc_py.core import (
    TALLOC_CTX,
    attach,
    bad_chunk,
    free_chunk,
    library_destructors,
    talloc_move,
    talloc_zero,
)
from talloc_py.names import talloc_get_type_abort
from talloc_py.types import uint8_t
from tevent import trace
from tevent._request import (
    DONE,
    IN_PROGRESS,
    RECEIVED,
    conclude,
    drop_step,
    finish_again,
    is_request,
    new_operation,
    operation,
    schedule,
    tevent_req,
)
from tevent.context import tevent_context
from tevent.req import tevent_req_callback_data, tevent_req_received, tevent_req_set_callback

from ._stream import drop_sub, failure_of, int_recv, mismatch, over, refuse, refuse_oom
from .address import is_address, require, tsocket_address
from .bsd_address import kernel_address
from .stream import tsocket_simple_int_recv

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import Any, Final, Protocol, TypeVar

    from _typeshed import ReadableBuffer

    S = TypeVar("S", bound=TALLOC_CTX)
    Received = tuple[int, int, bytearray | None, tsocket_address | None]

    class Transport(Protocol):
        """
        What a datagram context needs below it.

        Each start function begins what it is asked for and returns True; the end is told through
        `recvfrom_over`, `sendto_over` or `over` from the loop, or through `recvfrom_at_once` inside the call.
        False is lack of memory. The ``stop`` functions forget a request whose end nobody wants to hear of any more.
        """

        def recvfrom(self, req: tevent_req) -> bool: ...
        def sendto(self, req: tevent_req, buf: ReadableBuffer, dst: tsocket_address | None) -> bool: ...
        def disconnect(self, req: tevent_req) -> bool: ...
        def stop_recvfrom(self, req: tevent_req) -> None: ...
        def stop_sendto(self, req: tevent_req) -> None: ...


__all__ = [
    "tdgram_context",
    "tdgram_context_create",
    "tdgram_context_data",
    "tdgram_context_ops",
    "tdgram_disconnect_recv",
    "tdgram_disconnect_send",
    "tdgram_recvfrom_recv",
    "tdgram_recvfrom_send",
    "tdgram_sendto_recv",
    "tdgram_sendto_send",
]

_allocate = object.__new__


class tdgram_context_ops:
    """
    The operations of a datagram backend, as `tdgram_context_create` takes them.

    C: ``struct tdgram_context_ops``

    Each ``_send`` returns a request made on the *mem_ctx* that it is given; one that is finished already must have been
    posted with `tevent_req_post`. Each ``_recv`` takes that request.

    Attributes:
        name: What the backend is called.

        recvfrom_send: ``(mem_ctx, ev, dgram)``.

        recvfrom_recv: ``(req, mem_ctx) -> (ret, perrno, buf, src)``, the last two owned by *mem_ctx*.

        sendto_send: ``(mem_ctx, ev, dgram, buf, dst)``; *buf* is what the caller gave, at least one byte.

        sendto_recv: ``(req) -> (ret, perrno)``.

        disconnect_send: ``(mem_ctx, ev, dgram)``.

        disconnect_recv: ``(req) -> (ret, perrno)``.
    """

    __slots__ = (
        "disconnect_recv",
        "disconnect_send",
        "name",
        "recvfrom_recv",
        "recvfrom_send",
        "sendto_recv",
        "sendto_send",
    )

    def __init__(
        self,
        name: str | None = None,
        recvfrom_send: Callable[[TALLOC_CTX, tevent_context, tdgram_context], tevent_req | None] | None = None,
        recvfrom_recv: Callable[[tevent_req, TALLOC_CTX], Received] | None = None,
        sendto_send: Callable[
            [TALLOC_CTX, tevent_context, tdgram_context, Any, tsocket_address | None], tevent_req | None
        ]
        | None = None,
        sendto_recv: Callable[[tevent_req], tuple[int, int]] | None = None,
        disconnect_send: Callable[[TALLOC_CTX, tevent_context, tdgram_context], tevent_req | None] | None = None,
        disconnect_recv: Callable[[tevent_req], tuple[int, int]] | None = None,
    ) -> None:
        self.name: str | None = name
        self.recvfrom_send: Callable[[TALLOC_CTX, tevent_context, tdgram_context], tevent_req | None] | None = (
            recvfrom_send
        )
        self.recvfrom_recv: Callable[[tevent_req, TALLOC_CTX], Received] | None = recvfrom_recv
        self.sendto_send: (
            Callable[[TALLOC_CTX, tevent_context, tdgram_context, Any, tsocket_address | None], tevent_req | None]
            | None
        ) = sendto_send
        self.sendto_recv: Callable[[tevent_req], tuple[int, int]] | None = sendto_recv
        self.disconnect_send: Callable[[TALLOC_CTX, tevent_context, tdgram_context], tevent_req | None] | None = (
            disconnect_send
        )
        self.disconnect_recv: Callable[[tevent_req], tuple[int, int]] | None = disconnect_recv

    def __repr__(self) -> str:
        return f"tdgram_context_ops(name={self.name!r})"


class tdgram_context(TALLOC_CTX):
    """
    A datagram socket, whatever carries the datagrams.

    C: ``struct tdgram_context``

    At most one receive and one send are outstanding at a time.
    """

    __slots__ = ("__weakref__", "created", "ops", "private_data", "recvfrom_req", "sendto_req", "transport")

    #: Where it was made, for messages.
    created: tuple[CodeType, int]
    ops: tdgram_context_ops
    private_data: TALLOC_CTX  # the backend's state chunk
    transport: Transport
    recvfrom_req: tevent_req | None
    sendto_req: tevent_req | None

    def __init__(self) -> None:
        raise TypeError("a tdgram_context is made by a tdgram_* function, not by calling the class")

    def __repr__(self) -> str:
        header = getattr(self, "_talloc_chunk", None)
        if header is None or header.obj is not self:
            return "<tdgram_context, freed>"
        names = ("recvfrom_req", "sendto_req")
        busy = [name[:-4] for name in names if getattr(self, name) is not None]
        return f"<tdgram_context {self.ops.name} {'+'.join(busy) or 'idle'}>"


def new_dgram(mem_ctx: TALLOC_CTX | None, ops: tdgram_context_ops) -> tdgram_context | None:
    """A datagram context that still lacks ``private_data`` and ``transport``."""
    dgram: tdgram_context = _allocate(tdgram_context)
    if attach(dgram, mem_ctx, tdgram_context, _destroy) is None:
        return None
    dgram.created = caller_outside("tsocket", "tevent", "talloc_py")
    dgram.ops = ops
    dgram.recvfrom_req = dgram.sendto_req = None
    return dgram


def tdgram_context_create(
    mem_ctx: TALLOC_CTX | None, ops: tdgram_context_ops, type: type[S]
) -> tuple[tdgram_context, S]:
    """
    Make a datagram context on a backend of one's own.

    C: ``struct tdgram_context *tdgram_context_create(TALLOC_CTX *mem_ctx, const struct tdgram_context_ops *ops,
    void *pstate, #type, const char *location)``

    Args:
        mem_ctx: The owner.

        ops: The backend's operations; kept, not copied.

        type: The class of the backend's state, derived from `TALLOC_CTX`. Put destructors on the state; that of the
            context belongs to the library and runs first.

    Returns:
        The context and the state, its child; ``(None, None)`` where a memory limit forbids it.
    """
    require("ops", ops, tdgram_context_ops)
    dgram = new_dgram(mem_ctx, ops)
    if dgram is None:
        return None, None  # type: ignore[return-value]  # one check, of the context, has to do as in C
    try:
        state = talloc_zero(dgram, type)
    except BaseException:
        free_chunk(dgram._talloc_chunk, _HERE)
        raise
    if state is None:
        free_chunk(dgram._talloc_chunk, _HERE)
        return None, None  # type: ignore[return-value]
    dgram.private_data = state
    dgram.transport = _OpsTransport(dgram, ops)
    return dgram, state


def tdgram_context_data(dgram: tdgram_context, type: type[S]) -> S:
    """
    The state of the backend of *dgram*.

    C: ``void *tdgram_context_data(struct tdgram_context *dgram, #type)``

    Another type than the backend's goes to talloc's abort function.
    """
    if not is_dgram(dgram):
        return None  # type: ignore[return-value]  # only where an abort function returns
    return talloc_get_type_abort(dgram.private_data, type)


def is_dgram(dgram: object) -> bool:
    """Whether *dgram* is a live datagram context; TypeError for anything else, abort function for a freed one."""
    if type(dgram) is not tdgram_context:
        raise TypeError(f"a tdgram_context is needed, not {type(dgram).__name__}")
    header = getattr(dgram, "_talloc_chunk", None)
    if header is None or header.obj is not dgram:
        bad_chunk(dgram)
        return False
    return True


def _destroy(dgram: tdgram_context) -> int:
    """
    Silence what is outstanding; the backend's state is freed after this, as a child.

    A disconnect is not known to the context, as in C: whoever waits for its end still hears of it.
    """
    for req in (dgram.recvfrom_req, dgram.sendto_req):
        if req is None:
            continue
        if req.op is DGRAM_RECVFROM or req.op is DGRAM_SENDTO:
            tevent_req_received(req)
        else:
            # A queued send: in C only the request inside it ends.
            stop_dgram_operation(req)
    return 0


birthplaces[tdgram_context] = "created"
library_destructors.add(_destroy)


# -- operations -------------------------------------------------------------------------------------------------------


def stop_dgram_operation(req: tevent_req) -> None:
    """Take *req* away from its datagram context, whatever it is doing there; what it has received stays with it."""
    dgram: tdgram_context = req.op_target
    if dgram.recvfrom_req is req:
        dgram.recvfrom_req = None
        dgram.transport.stop_recvfrom(req)
    elif dgram.sendto_req is req:
        dgram.sendto_req = None
        dgram.transport.stop_sendto(req)
    drop_step(req)
    drop_sub(req)


DGRAM_RECVFROM: Final = operation("struct tdgram_recvfrom_state", stop_dgram_operation, tdgram_context, is_dgram)
DGRAM_SENDTO: Final = operation("struct tdgram_sendto_state", stop_dgram_operation, tdgram_context, is_dgram)
DGRAM_DISCONNECT: Final = operation("struct tdgram_disconnect_state", stop_dgram_operation, tdgram_context, is_dgram)


def recvfrom_over(req: tevent_req) -> None:
    """For transports: the receive of *req* has ended; a datagram is in ``op_vector``, its source in ``op_more``."""
    req.op_target.recvfrom_req = None
    if req.op_ret == -1 or req.rare is not None or trace.request_watchers:
        over(req)
        return
    # conclude(), spelled out here and below: 3 % of a round trip of UDP.
    req.status = DONE
    fn = req.fn
    if fn is not None:
        fn(req)


def recvfrom_at_once(req: tevent_req) -> None:
    """As `recvfrom_over`, inside the ``_send`` function: the request is finished, its callback comes from the loop."""
    if req.op_ret == -1:
        refuse(req, req.op_err)
        return
    stop_dgram_operation(req)
    conclude(req, DONE)
    schedule(req, req.op_ev, finish_again)


def sendto_over(req: tevent_req) -> None:
    """For transports: the send of *req* has ended."""
    req.op_target.sendto_req = None
    if req.op_ret == -1 or req.rare is not None or trace.request_watchers:
        over(req)
        return
    req.status = DONE
    fn = req.fn
    if fn is not None:
        fn(req)


# -- public functions -------------------------------------------------------------------------------------------------


def tdgram_recvfrom_send(mem_ctx: TALLOC_CTX | None, ev: tevent_context, dgram: tdgram_context) -> tevent_req | None:
    """
    Wait for a datagram.

    C: ``struct tevent_req *tdgram_recvfrom_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
    struct tdgram_context *dgram)``

    Args:
        mem_ctx: The owner of the request.

        ev: The event context; the same for all operations that wait on *dgram*.

        dgram: The datagram socket.

    Returns:
        The request, finished already if the datagram was there and the backend looked; None where a memory limit
        forbids it.

    Errors of `tdgram_recvfrom_recv`: EBUSY while another receive is outstanding, ENOTCONN after a disconnect, EINVAL if
    another operation waits on another *ev*, and those of the system.
    """
    req = new_operation(mem_ctx, ev, dgram, DGRAM_RECVFROM)
    if req is None:
        return None
    if dgram.recvfrom_req is not None:
        return refuse(req, EBUSY)
    dgram.recvfrom_req = req
    try:
        if dgram.transport.recvfrom(req):
            return req
    except BaseException:
        free_chunk(req._talloc_chunk, _HERE)
        raise
    return refuse_oom(req)


def tdgram_recvfrom_recv(
    req: tevent_req, mem_ctx: TALLOC_CTX | None
) -> tuple[int, int, talloc_buffer | None, tsocket_address | None]:
    """
    The result of `tdgram_recvfrom_send`.

    C: ``ssize_t tdgram_recvfrom_recv(struct tevent_req *req, int *perrno, TALLOC_CTX *mem_ctx, uint8_t **buf,
    struct tsocket_address **src)``

    Args:
        req: The request.

        mem_ctx: The owner of the buffer and of the source's address.

    Returns:
        ``(bytes, 0, buf, src)``, or ``(-1, errno, None, None)``. The number is never 0: an empty datagram is taken off
        the socket and reported as ENOMEM.
    """
    header: Any
    try:
        header = req._talloc_chunk
        plain = (
            req.op is DGRAM_RECVFROM
            and req.status == DONE
            and req.rare is None
            and req.im_ev is None
            and header.child is None
            and header.obj is req
            and not trace.request_watchers
        )
    except AttributeError:  # no request, or a copy of one
        plain, header = False, None
    if not plain:
        return _receive_rare(req, mem_ctx)
    ret, err = req.op_ret, 0
    try:
        buf, src = _hand_over(req, mem_ctx)
    except MemoryError:
        ret, err, buf, src = -1, ENOMEM, None, None
    # What tevent_req_received() comes to for a request that has nothing left.
    req.op = None
    req.kind = DGRAM_RECVFROM
    req.status = RECEIVED
    header.destructor = None
    return ret, err, buf, src


def _receive_rare(
    req: tevent_req, mem_ctx: TALLOC_CTX | None
) -> tuple[int, int, talloc_buffer | None, tsocket_address | None]:
    """`tdgram_recvfrom_recv` of a request that has failed, has something of its own, or is none."""
    if not is_request(req):
        return _FAILED
    if req.op is not DGRAM_RECVFROM:
        mismatch(req, DGRAM_RECVFROM)
        return _FAILED
    buf = src = None
    if req.status == DONE:
        ret, err = req.op_ret, 0
        try:
            buf, src = _hand_over(req, mem_ctx)
        except MemoryError:
            ret, err = -1, ENOMEM
    else:
        ret, err = failure_of(req)
    tevent_req_received(req)
    return ret, err, buf, src


_FAILED: Final = (-1, EIO, None, None)


def _hand_over(req: tevent_req, mem_ctx: TALLOC_CTX | None) -> tuple[talloc_buffer | None, tsocket_address | None]:
    """Buffer and source of a finished receive as children of *mem_ctx*; MemoryError where a limit forbids them."""
    buf: Any = req.op_vector
    src: Any = req.op_more
    req.op_vector = None
    req.op_more = None
    if src.__class__ is not tuple:
        # Another backend's: chunks already, and its own business what they are.
        return talloc_move(mem_ctx, buf), talloc_move(mem_ctx, src)
    addr = kernel_address(src[0], src[1], _HERE)
    parent: Any
    try:
        parent = mem_ctx._talloc_chunk  # type: ignore[union-attr]  # None has none: below
        if parent.obj is not mem_ctx or parent.extra is not None:
            parent = None
    except Exception:  # None, or whatever a user's __getattr__ raises
        parent = None
    if parent is None:
        header = attach(buf, mem_ctx, uint8_t)
        if header is None:
            raise MemoryError
        if attach(addr, mem_ctx, tsocket_address) is None:
            free_chunk(header, _HERE)
            raise MemoryError
        return buf, addr
    # attach(), twice, in one piece: 4 % of a round trip of UDP.
    buf._talloc_chunk = c = chunk()
    c.obj = buf
    c.name = uint8_t
    c.destructor = None
    c.child = None
    c.extra = None
    c.parent = parent
    c.next = first = parent.child
    if first is not None:
        first.prev = c
    addr._talloc_chunk = newest = chunk()  # type: ignore[misc]
    newest.obj = addr
    newest.name = tsocket_address
    newest.destructor = None
    newest.child = None
    newest.prev = None
    newest.extra = None
    newest.parent = parent
    newest.next = c
    c.prev = newest
    parent.child = newest
    return buf, addr


def check_datagram(buf: ReadableBuffer | None, dst: tsocket_address | None) -> None:
    """
    Look at the arguments of a send before anything is done.

    Raises:
        TypeError: *buf* is no contiguous bytes-like object, or *dst* no address.
    """
    if type(buf) not in _PLAIN and buf is not None and not memoryview(buf).c_contiguous:
        raise TypeError("a datagram must be contiguous in memory")
    if dst is not None:
        is_address(dst)


_PLAIN: Final = frozenset((bytes, bytearray, talloc_buffer))


def is_empty(buf: ReadableBuffer | None) -> bool:
    """Whether there is no byte in *buf*."""
    return not buf or memoryview(buf).nbytes == 0


def tdgram_sendto_send(
    mem_ctx: TALLOC_CTX | None,
    ev: tevent_context,
    dgram: tdgram_context,
    buf: ReadableBuffer | None,
    dst: tsocket_address | None,
) -> tevent_req | None:
    """
    Send a datagram.

    C: ``struct tevent_req *tdgram_sendto_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
    struct tdgram_context *dgram, const uint8_t *buf, size_t len, const struct tsocket_address *dst)``

    Args:
        mem_ctx: The owner of the request.

        ev: The event context; the same for all operations that wait on *dgram*.

        dgram: The datagram socket.

        buf: The datagram, at least one byte; borrowed until the request ends.

        dst: Where to; None for the peer that the socket is connected to. Borrowed too.

    Returns:
        The request; None where a memory limit forbids it.

    Errors of `tdgram_sendto_recv`: EINVAL for an empty *buf*, EBUSY while another send is outstanding, ENOTCONN after a
    disconnect, EMSGSIZE, and the others of ``sendto(2)``.
    """
    if type(buf) not in _PLAIN:
        check_datagram(buf, dst)
    elif dst is not None:
        is_address(dst)
    req = new_operation(mem_ctx, ev, dgram, DGRAM_SENDTO)
    if req is None:
        return None
    if not buf or (type(buf) not in _PLAIN and is_empty(buf)):
        return refuse(req, EINVAL)
    if dgram.sendto_req is not None:
        return refuse(req, EBUSY)
    dgram.sendto_req = req
    try:
        if dgram.transport.sendto(req, buf, dst):
            return req
    except BaseException:
        free_chunk(req._talloc_chunk, _HERE)
        raise
    return refuse_oom(req)


def tdgram_sendto_recv(req: tevent_req) -> tuple[int, int]:
    """
    The result of `tdgram_sendto_send`.

    C: ``ssize_t tdgram_sendto_recv(struct tevent_req *req, int *perrno)``

    Returns:
        ``(bytes, 0)``, or ``(-1, errno)``.
    """
    return int_recv(req, DGRAM_SENDTO)


def tdgram_disconnect_send(mem_ctx: TALLOC_CTX | None, ev: tevent_context, dgram: tdgram_context) -> tevent_req | None:
    """
    Close the socket.

    C: ``struct tevent_req *tdgram_disconnect_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
    struct tdgram_context *dgram)``

    Errors of `tdgram_disconnect_recv`: EBUSY while a receive or a send is outstanding, ENOTCONN if it is closed
    already.
    """
    req = new_operation(mem_ctx, ev, dgram, DGRAM_DISCONNECT)
    if req is None:
        return None
    if dgram.recvfrom_req is not None or dgram.sendto_req is not None:
        return refuse(req, EBUSY)
    try:
        if dgram.transport.disconnect(req):
            return req
    except BaseException:
        free_chunk(req._talloc_chunk, _HERE)
        raise
    return refuse_oom(req)


def tdgram_disconnect_recv(req: tevent_req) -> tuple[int, int]:
    """
    The result of `tdgram_disconnect_send`.

    C: ``int tdgram_disconnect_recv(struct tevent_req *req, int *perrno)``

    Returns:
        ``(0, 0)``, or ``(-1, errno)``.
    """
    result = tsocket_simple_int_recv(req)
    tevent_req_received(req)
    return result


# -- backends in the C style ------------------------------------------------------------------------------------------


class _OpsTransport:
    """The operations of a backend, which come as pairs of ``_send`` and ``_recv``, as a transport."""

    __slots__ = ("dgram", "ops")

    def __init__(self, dgram: tdgram_context, ops: tdgram_context_ops) -> None:
        self.dgram = dgram
        self.ops = ops

    def _op(self, name: str) -> Callable[..., Any]:
        op: Callable[..., Any] | None = getattr(self.ops, name)
        if op is None:
            raise TypeError(f"the datagram backend {self.ops.name!r} has no operation {name}")
        return op

    def _begin(self, req: tevent_req, name: str, done: Callable[[tevent_req], None], *arguments: object) -> bool:
        try:
            sub: tevent_req | None = self._op(name)(req, req.op_ev, self.dgram, *arguments)
        except BaseException:
            stop_dgram_operation(req)
            raise
        if sub is None:
            stop_dgram_operation(req)
            return False
        req.op_sub = sub
        tevent_req_set_callback(sub, done, req)
        return True

    def recvfrom(self, req: tevent_req) -> bool:
        if not self._begin(req, "recvfrom_send", self._recvfrom_done):
            return False
        # The one operation whose backend may have finished already: its datagram is taken now.
        sub = req.op_sub
        assert sub is not None
        if sub.status != IN_PROGRESS:
            self._recvfrom_end(sub)
            # The operation is over, but what it was made of stays until it is received.
            req.op_sub = None
            recvfrom_at_once(req)
            req.op_sub = sub
        return True

    def _recvfrom_done(self, sub: tevent_req) -> None:
        recvfrom_over(self._recvfrom_end(sub))

    def _recvfrom_end(self, sub: tevent_req) -> tevent_req:
        req = tevent_req_callback_data(sub, tevent_req)
        ret, err, req.op_vector, req.op_more = self._op("recvfrom_recv")(sub, req)
        return _outcome(req, ret, err)

    def sendto(self, req: tevent_req, buf: ReadableBuffer, dst: tsocket_address | None) -> bool:
        return self._begin(req, "sendto_send", self._sendto_done, buf, dst)

    def _sendto_done(self, sub: tevent_req) -> None:
        req = tevent_req_callback_data(sub, tevent_req)
        _outcome(req, *self._op("sendto_recv")(sub))
        if req.op is not DGRAM_SENDTO:
            drop_sub(req)  # in C that of a helper hangs on a request between, which goes first
        sendto_over(req)

    def disconnect(self, req: tevent_req) -> bool:
        return self._begin(req, "disconnect_send", self._disconnect_done)

    def _disconnect_done(self, sub: tevent_req) -> None:
        req = tevent_req_callback_data(sub, tevent_req)
        over(_outcome(req, *self._op("disconnect_recv")(sub)))

    def stop_recvfrom(self, req: tevent_req) -> None:
        """The backend's request is freed by the caller, which is all there is to stop."""

    stop_sendto = stop_recvfrom


def _outcome(req: tevent_req, ret: int, err: int) -> tevent_req:
    """Note what a backend's ``_recv`` said; a failure without a reason must not leave the request hanging."""
    req.op_ret = ret
    req.op_err = err or EIO
    return req


_HERE: Final = (stop_dgram_operation.__code__, 0)
