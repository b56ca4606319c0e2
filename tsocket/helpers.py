# SPDX-License-Identifier: LGPL-3.0-or-later
"""
PDUs, and operations that wait for their turn in a queue.

Mirrors ``lib/tsocket/tsocket_helpers.c``.  A PDU is read as a chain of vectors: a function of the caller's looks at
what has arrived and says where the next bytes go, until it asks for none.  The queue helpers start an operation when
those before it have been freed.

Each public function makes one request and drives the stream's inner layer directly, so a queued PDU costs one request
like a plain read.
"""

from __future__ import annotations

from errno import EBUSY, EINVAL, EIO, ENOMEM

from talloc_py._chunk import LEFT, talloc_list
from talloc_py.core import TALLOC_CTX, free_chunk, talloc_free
from tevent import get_errno, trace
from tevent._request import DONE, USER_ERROR, conclude, finish_again, new_operation, operation, schedule, tevent_req
from tevent.context import tevent_context
from tevent.immediate import tevent_immediate
from tevent.queue import queue_operation, tevent_queue, tevent_queue_entry
from tevent.timed import tevent_timer

from ._stream import (
    BadVector,
    check_buffers,
    int_recv,
    later,
    over,
    readv_over,
    refuse,
    stop_operation,
    stream_operation,
    tstream_context,
)
from .dgram import check_datagram, is_dgram, is_empty, stop_dgram_operation, tdgram_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from _typeshed import ReadableBuffer

    from ._stream import Vector
    from .address import tsocket_address

    tstream_readv_pdu_next_vector_t = Callable[[tstream_context, Any, TALLOC_CTX], tuple[int, Vector]]

__all__ = [
    "tdgram_sendto_queue_recv",
    "tdgram_sendto_queue_send",
    "tstream_readv_pdu_queue_recv",
    "tstream_readv_pdu_queue_send",
    "tstream_readv_pdu_recv",
    "tstream_readv_pdu_send",
    "tstream_writev_queue_recv",
    "tstream_writev_queue_send",
]

_STARTED: Final = -1  # what _pdu_go_on() says while there is something to wait for
_LIBRARYS_OWN: Final = (tevent_timer, tevent_immediate, tevent_queue_entry)


# -- PDUs -------------------------------------------------------------------------------------------------------------


def _pdu_stop(req: tevent_req) -> None:
    """Leave the stream, and free what the caller's function has allocated on the request for this PDU."""
    stop_operation(req)
    req.op_next = req.op_private = req.op_given = None
    header = req._talloc_chunk.child
    while header is not None and header is not LEFT:
        following = header.next
        if not isinstance(header.obj, _LIBRARYS_OWN):
            free_chunk(header, _HERE)
        header = following


READV_PDU: Final = stream_operation("struct tstream_readv_pdu_state", _pdu_stop, False)


def _pdu_go_on(req: tevent_req, ret: int, vector: Any, at_once: bool) -> int:
    """
    Do what the caller's function has answered: start to read the vector.

    Returns:
        _STARTED; 0 if the PDU is complete; the errno that it fails with.
    """
    if req.op_next is None:
        return _STARTED  # the function has freed its own request, or received it: nobody waits for the rest
    if ret == -1:
        return get_errno() or EIO
    if not vector:
        return 0
    done = _pdu_read
    if type(vector) is talloc_list:  # its __class__ says something else
        req.op_given = vector
        done = _pdu_read_given
    try:
        if not req.op_target.transport.start_readv(req, vector, done, at_once):
            later(req, over, -1, ENOMEM)
    except BadVector as bad:
        return _pdu_refused(req, bad)
    return _STARTED


def _pdu_refused(req: tevent_req, bad: BadVector) -> int:
    """As `_pdu_go_on`. What the stream refuses, the PDU hears from the loop."""
    err: int = bad.args[0]
    if err == EINVAL:
        return EINVAL
    later(req, over, -1, err)
    return _STARTED


def _pdu_read(req: tevent_req) -> None:
    """One vector is full, or the stream has failed."""
    if req.op_ret == -1:
        readv_over(req)
        return
    # What readv_over() does first, spelled out: this runs for each piece of each PDU.
    stream: tstream_context = req.op_target
    stream.read_req = None
    req.op_vector = None  # the caller may change the size of its buffers now
    req.op_total += req.op_ret
    next_vector = req.op_next
    ret, vector = next_vector(stream, req.op_private, req)
    if ret != -1 and not vector and req.op_next is not None:
        req.op_next = None
        req.op_private = None
        req.op_ret = req.op_total
        if req.rare is None and not trace.request_watchers:
            # conclude(), spelled out
            req.status = DONE
            fn = req.fn
            if fn is not None:
                fn(req)
        else:
            conclude(req, DONE)
        return
    # The rest of a PDU has often arrived together with its head, so look before waiting.
    if type(vector) is not talloc_list and ret != -1 and req.op_next is not None:
        # _pdu_go_on(), spelled out, see new_operation()
        try:
            if not stream.transport.start_readv(req, vector, _pdu_read, True):
                later(req, over, -1, ENOMEM)
            return
        except BadVector as bad:
            err = _pdu_refused(req, bad)
    else:
        err = _pdu_go_on(req, ret, vector, True)
    if err != _STARTED:
        req.error = err
        conclude(req, USER_ERROR)


def _pdu_read_given(req: tevent_req) -> None:
    """`_pdu_read` for a vector that is a chunk: the library frees it."""
    given, req.op_given = req.op_given, None
    if req.op_ret != -1:
        talloc_free(given)
    _pdu_read(req)


def tstream_readv_pdu_send(
    mem_ctx: TALLOC_CTX | None,
    ev: tevent_context,
    stream: tstream_context,
    next_vector_fn: tstream_readv_pdu_next_vector_t,
    next_vector_private: object,
) -> tevent_req | None:
    """
    Read one PDU, piece by piece.

    C: ``struct tevent_req *tstream_readv_pdu_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
    struct tstream_context *stream, tstream_readv_pdu_next_vector_t next_vector_fn, void *next_vector_private)``

    Args:
        mem_ctx: The owner of the request.

        ev: The event context.

        stream: The stream.

        next_vector_fn: Called with *stream*, *next_vector_private* and a context to allocate on, which lives as long as
            the request's result is not received: the first time inside this call, then whenever the vector it gave last
            is full. It returns ``(0, vector)`` for more bytes, ``(0, [])`` when the PDU is complete, or ``(-1, None)``
            after `set_errno` to give up. The buffers are its own business.

        next_vector_private: Any object.

    Returns:
        The request; None where a memory limit forbids it.

    An exception of *next_vector_fn* leaves this function, and no request remains; or the loop call in which it was
    raised, and the request stays in progress without touching the stream until it is freed.
    """
    if not callable(next_vector_fn):
        raise TypeError(f"next_vector_fn must be callable, not {type(next_vector_fn).__name__}")
    req = new_operation(mem_ctx, ev, stream, READV_PDU)
    if req is None:
        return None
    req.op_next = next_vector_fn
    req.op_private = next_vector_private
    req.op_total = 0
    try:
        ret, vector = next_vector_fn(stream, next_vector_private, req)
        err = _pdu_go_on(req, ret, vector, False)
    except BaseException:
        free_chunk(req._talloc_chunk, _HERE)
        raise
    if err == _STARTED:
        return req
    return refuse(req, err) if err else _empty_pdu(req)


def _empty_pdu(req: tevent_req) -> tevent_req:
    """Finish a PDU of no bytes inside its ``_send`` function; the callback comes from the loop."""
    req.op_next = req.op_private = None
    req.op_ret = 0
    conclude(req, DONE)
    schedule(req, req.op_ev, finish_again)
    return req


def tstream_readv_pdu_recv(req: tevent_req) -> tuple[int, int]:
    """
    The result of `tstream_readv_pdu_send`.

    C: ``int tstream_readv_pdu_recv(struct tevent_req *req, int *perrno)``

    Returns:
        ``(bytes, 0)``, the size of the PDU, which is 0 if *next_vector_fn* never asked for any; or ``(-1, errno)``: its
        errno (EIO if it set none), EINVAL for a vector that is not empty but has no bytes, EPIPE at the end of the
        stream, before the PDU or within, and what `tstream_readv_recv` gives.
    """
    return int_recv(req, READV_PDU)


# -- queues -----------------------------------------------------------------------------------------------------------


def tstream_readv_pdu_queue_send(
    mem_ctx: TALLOC_CTX | None,
    ev: tevent_context,
    stream: tstream_context,
    queue: tevent_queue,
    next_vector_fn: tstream_readv_pdu_next_vector_t,
    next_vector_private: object,
) -> tevent_req | None:
    """
    Read one PDU when the requests before it in *queue* are gone.

    C: ``struct tevent_req *tstream_readv_pdu_queue_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
    struct tstream_context *stream, struct tevent_queue *queue, tstream_readv_pdu_next_vector_t next_vector_fn,
    void *next_vector_private)``

    As `tstream_readv_pdu_send`, started at once if *queue* is empty and running. The request holds its place until it
    is **freed**: without a `talloc_free` after the ``_recv`` the queue stands still. Every error arrives from the loop.
    """
    if not callable(next_vector_fn):
        raise TypeError(f"next_vector_fn must be callable, not {type(next_vector_fn).__name__}")
    req = new_operation(mem_ctx, ev, stream, READV_PDU_QUEUE, queue)
    if req is None:
        return None
    req.op_next = next_vector_fn
    req.op_private = next_vector_private
    req.op_total = 0
    if req.q_queue is None:
        return queue_operation(queue, req)
    try:  # _start_pdu(), spelled out, see new_operation()
        ret, vector = next_vector_fn(stream, next_vector_private, req)
        err = _pdu_go_on(req, ret, vector, False)
        if err != _STARTED:
            later(req, over, -1 if err else 0, err)
    except BaseException:
        free_chunk(req._talloc_chunk, _HERE)
        raise
    return req


def _start_pdu(req: tevent_req) -> None:
    next_vector = req.op_next
    ret, vector = next_vector(req.op_target, req.op_private, req)
    err = _pdu_go_on(req, ret, vector, False)
    if err != _STARTED:
        later(req, over, -1 if err else 0, err)


READV_PDU_QUEUE: Final = stream_operation("struct tstream_readv_pdu_queue_state", _pdu_stop, False, _start_pdu)


def tstream_readv_pdu_queue_recv(req: tevent_req) -> tuple[int, int]:
    """
    The result of `tstream_readv_pdu_queue_send`, as `tstream_readv_pdu_recv` gives it.

    C: ``int tstream_readv_pdu_queue_recv(struct tevent_req *req, int *perrno)``
    """
    return int_recv(req, READV_PDU_QUEUE)


def tstream_writev_queue_send(
    mem_ctx: TALLOC_CTX | None, ev: tevent_context, stream: tstream_context, queue: tevent_queue, vector: Vector
) -> tevent_req | None:
    """
    Write *vector* when the requests before it in *queue* are gone.

    C: ``struct tevent_req *tstream_writev_queue_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
    struct tstream_context *stream, struct tevent_queue *queue, struct iovec *vector, size_t count)``

    As `tstream_writev_send`, started at once if *queue* is empty and running. Nothing is copied before that: what the
    vector and its buffers hold then is what is sent. The request holds its place until it is **freed**. Every error but
    a wrong type arrives from the loop.
    """
    if vector is not None and type(queue) is tevent_queue and queue.first is not None:
        check_buffers(vector)  # while the caller can still be told
    req = new_operation(mem_ctx, ev, stream, WRITEV_QUEUE, queue)
    if req is None:
        return None
    req.op_vector = vector
    if req.q_queue is None:
        return queue_operation(queue, req)
    try:  # _start_writev(), spelled out, see new_operation()
        if not stream.transport.start_writev(req, vector):
            later(req, over, -1, ENOMEM)
    except BadVector as bad:
        later(req, over, -1, bad.args[0])
    except BaseException:
        free_chunk(req._talloc_chunk, _HERE)
        raise
    return req


def _start_writev(req: tevent_req) -> None:
    try:
        if not req.op_target.transport.start_writev(req, req.op_vector):
            later(req, over, -1, ENOMEM)
    except BadVector as bad:
        later(req, over, -1, bad.args[0])


WRITEV_QUEUE: Final = stream_operation("struct tstream_writev_queue_state", stop_operation, False, _start_writev)


def tstream_writev_queue_recv(req: tevent_req) -> tuple[int, int]:
    """
    The result of `tstream_writev_queue_send`, as `tstream_writev_recv` gives it.

    C: ``int tstream_writev_queue_recv(struct tevent_req *req, int *perrno)``
    """
    return int_recv(req, WRITEV_QUEUE)


def tdgram_sendto_queue_send(
    mem_ctx: TALLOC_CTX | None,
    ev: tevent_context,
    dgram: tdgram_context,
    queue: tevent_queue,
    buf: ReadableBuffer | None,
    dst: tsocket_address | None,
) -> tevent_req | None:
    """
    Send a datagram when the requests before it in *queue* are gone.

    C: ``struct tevent_req *tdgram_sendto_queue_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
    struct tdgram_context *dgram, struct tevent_queue *queue, const uint8_t *buf, size_t len,
    struct tsocket_address *dst)``

    As `tdgram_sendto_send`, started at once if *queue* is empty and running; *buf* and *dst* are used when the turn
    comes. The request holds its place until it is **freed**. Every error but a wrong type arrives from the loop.
    """
    check_datagram(buf, dst)
    req = new_operation(mem_ctx, ev, dgram, SENDTO_QUEUE, queue)
    if req is None:
        return None
    req.op_private = (buf, dst)
    return queue_operation(queue, req)


def _start_sendto(req: tevent_req) -> None:
    buf, dst = req.op_private
    req.op_private = None
    dgram: tdgram_context = req.op_target
    err = 0
    if is_empty(buf):
        err = EINVAL
    elif dgram.sendto_req is not None:
        err = EBUSY
    else:
        dgram.sendto_req = req
        if not dgram.transport.sendto(req, buf, dst):
            err = ENOMEM
    if err:
        later(req, over, -1, err)


SENDTO_QUEUE: Final = operation(
    "struct tdgram_sendto_queue_state", stop_dgram_operation, tdgram_context, is_dgram, _start_sendto
)


def tdgram_sendto_queue_recv(req: tevent_req) -> tuple[int, int]:
    """
    The result of `tdgram_sendto_queue_send`, as `tdgram_sendto_recv` gives it.

    C: ``ssize_t tdgram_sendto_queue_recv(struct tevent_req *req, int *perrno)``
    """
    return int_recv(req, SENDTO_QUEUE)


_HERE: Final = (_pdu_stop.__code__, 0)
