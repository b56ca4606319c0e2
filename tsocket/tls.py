# SPDX-License-Identifier: LGPL-3.0-or-later
"""
TLS over any stream.

Mirrors the second half of ``source4/lib/tls/tls_tstream.c``.  A TLS stream is a backend in the C style on top of
another stream, of which it knows nothing but the public functions: TCP, a unix socket, a named pipe, TLS again.  It
borrows the plain stream, reads no more from it than the record that it needs, and leaves it open when it is freed.

    readv, writev, disconnect, the handshake
            |       tls_io_state: one request each, finished by _finish() or _fail()
            v
        engine      OpenSSL between two buffers (_tls_engine.py)
            |
            v
        _pull       one record from the plain stream, when the engine has asked for one
        _push       all records that wait, in one write; the next when that is done

What keeps the two going: whoever called the engine pushes what it has produced, and pulls if it wants more.  A request
is finished as the last thing that a function does, for its callback may free the stream.

Cost: a record read is one request and two reads of the plain stream, a write one request for 64 KiB.
"""

from __future__ import annotations

from errno import EINVAL, EIO, ENOMEM

from talloc_py.core import TALLOC_CTX, TALLOC_FREE, caller, talloc_free, talloc_move
from tevent._base import check_context
from tevent._request import DONE, tevent_req
from tevent.abort import tevent_abort
from tevent.context import tevent_context
from tevent.debug import TEVENT_DEBUG_ERROR, TEVENT_DEBUG_WARNING, tevent_debug
from tevent.errno import set_errno
from tevent.req import (
    tevent_req_callback_data,
    tevent_req_create,
    tevent_req_data,
    tevent_req_defer_callback,
    tevent_req_done,
    tevent_req_error,
    tevent_req_post,
    tevent_req_received,
    tevent_req_set_callback,
    tevent_req_set_cleanup_fn,
)

from ._stream import is_stream, tstream_context
from ._tls_priority import bad_priority
from ._tls_record import HEADER_SIZE, RECORD_MAX, TlsError, body_size
from ._vector import advance, views
from .helpers import tstream_readv_pdu_recv, tstream_readv_pdu_send
from .stream import tsocket_simple_int_recv, tstream_writev_recv, tstream_writev_send
from .stream_backend import tstream_context_create, tstream_context_data, tstream_context_ops
from .tls_params import settings_of, tstream_tls_params

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from tevent.enumerations import tevent_req_state

    from ._tls_engine import engine
    from ._tls_settings import settings

__all__ = [
    "tstream_tls_accept_recv",
    "tstream_tls_accept_send",
    "tstream_tls_channel_bindings",
    "tstream_tls_connect_recv",
    "tstream_tls_connect_send",
]

# How many plain bytes are encrypted ahead of the plain stream, and how many bytes of records may wait for it before no
# more are read: else a peer that never reads could make a stream answer itself to death.
_AHEAD_MAX: Final = 65536


class tstream_tls(TALLOC_CTX):
    """
    The state of a TLS stream.

    C: ``struct tstream_tls``
    """

    __slots__ = (
        "body",
        "engine",
        "error",
        "ev",
        "handshake",
        "header",
        "hungry",
        "in_flight",
        "leaver",
        "plain",
        "pulling",
        "pushing",
        "reader",
        "ready",
        "step",
        "writer",
    )

    plain: tstream_context
    engine: engine
    ev: tevent_context  # of the operation that was started last
    error: int  # once it is not 0 every operation fails with it

    # The requests that are outstanding, one of a kind.
    handshake: tevent_req | None
    reader: tevent_req | None
    writer: tevent_req | None
    leaver: tevent_req | None  # a disconnect

    # Reading from the plain stream.
    hungry: bool  # the engine has asked for a record, and none is being read
    pulling: tevent_req | None
    header: bytearray
    body: bytearray | None
    step: int  # of the record: 0 nothing is asked for, 1 its header, 2 its body

    # Writing to it.
    pushing: tevent_req | None
    ready: tevent_req | None  # all that it has to send waits in the engine
    in_flight: tevent_req | None  # ... or is being written

    def __init__(self) -> None:
        self.error = 0
        self.hungry = False
        self.header = bytearray(HEADER_SIZE)
        self.body = None
        self.step = 0
        self.pulling = self.pushing = None
        self.handshake = self.reader = self.writer = self.leaver = None
        self.ready = self.in_flight = None


class tstream_tls_io_state(TALLOC_CTX):
    """The state of a read, a write or a disconnect."""

    __slots__ = ("ret", "tls", "vector")

    tls: tstream_tls
    vector: list[memoryview]  # what is still to be read or encrypted
    ret: int


# -- the plain stream -------------------------------------------------------------------------------------------------


def _next_vector(stream: tstream_context, tls: Any, mem_ctx: TALLOC_CTX) -> tuple[int, Any]:
    """A record: its header, then as many bytes as that says."""
    tls.step += 1
    if tls.step == 1:
        return 0, [tls.header]
    if tls.step > 2:
        return 0, None
    try:
        tls.body = bytearray(body_size(tls.header))
    except TlsError as error:
        set_errno(error.errno)
        return -1, None
    return 0, [tls.body] if tls.body else None


def _pull(tls: tstream_tls) -> None:
    """Read a record, unless one is being read, or too much waits to be sent."""
    tls.hungry = tls.pulling is None
    if tls.pulling is not None or tls.engine.unsent >= _AHEAD_MAX:
        return
    tls.step = 0
    subreq = tstream_readv_pdu_send(tls, tls.ev, tls.plain, _next_vector, tls)
    if subreq is None:
        raise TlsError(ENOMEM)
    tls.hungry = False
    tls.pulling = subreq
    tevent_req_set_callback(subreq, _pulled, tls)


def _pulled(subreq: tevent_req) -> None:
    tls = tevent_req_callback_data(subreq, tstream_tls)
    ret, err = tstream_readv_pdu_recv(subreq)
    TALLOC_FREE(subreq)
    tls.pulling = None
    body, tls.body = tls.body, None
    if ret == -1:
        _fail(tls, err)
        return
    tls.engine.feed(tls.header, body or b"")
    try:
        req = _go_on(tls)
    except TlsError as error:
        _give_up(tls, error)
        return
    if req is not None:
        tevent_req_done(req)


def _push(tls: tstream_tls) -> tevent_req | None:
    """
    Write the records that wait, unless others are being written.

    Returns:
        The request that has waited for its bytes to be sent, and they are.
    """
    if tls.pushing is not None:
        return None
    req, tls.ready = tls.ready, None
    if not tls.engine.unsent:
        return req
    subreq = tstream_writev_send(tls, tls.ev, tls.plain, [tls.engine.output()])
    if subreq is None:
        raise TlsError(ENOMEM)
    tls.in_flight = req
    tls.pushing = subreq
    tevent_req_set_callback(subreq, _pushed, tls)
    return None


def _pushed(subreq: tevent_req) -> None:
    tls = tevent_req_callback_data(subreq, tstream_tls)
    ret, err = tstream_writev_recv(subreq)
    TALLOC_FREE(subreq)
    tls.pushing = None
    sent, tls.in_flight = tls.in_flight, None
    if ret == -1:
        _fail(tls, err)
        return
    try:
        if tls.writer is not None and tls.writer is not sent:
            _encrypt(tls)
        req = _push(tls)
        if tls.hungry:
            _pull(tls)
    except TlsError as error:
        _give_up(tls, error)
        return
    # Never both: one request at a time has something to send.
    req = req if sent is None else sent
    if req is not None:
        tevent_req_done(req)


# -- the engine -------------------------------------------------------------------------------------------------------


def _go_on(tls: tstream_tls) -> tevent_req | None:
    """A record has come: serve who waits for it. Returns the request that is done."""
    if tls.error:
        return None
    if tls.handshake is not None:
        return _shake(tls)
    if tls.writer is not None and tls.pushing is None:
        _encrypt(tls)
    req = None if tls.reader is None else _decrypt(tls, tls.reader)
    return _push(tls) if req is None else req


def _shake(tls: tstream_tls) -> tevent_req | None:
    """Go on with the handshake. Returns its request when it is done, and all of it is sent."""
    if tls.engine.handshake():
        tls.ready = tls.handshake
        return _push(tls)
    _push(tls)
    _pull(tls)
    return None


def _decrypt(tls: tstream_tls, req: tevent_req) -> tevent_req | None:
    """Fill the vector of a read. Returns its request when it is full."""
    vector = tevent_req_data(req, tstream_tls_io_state).vector
    while vector:
        count = tls.engine.read(vector[0])
        if count == 0:
            _pull(tls)
            return None
        advance(vector, count)
    return req


def _encrypt(tls: tstream_tls) -> None:
    """Make records of what is to be written, as far ahead of the plain stream as is sensible."""
    req = tls.writer
    assert req is not None
    vector = tevent_req_data(req, tstream_tls_io_state).vector
    while vector and tls.engine.unsent < _AHEAD_MAX:
        count = tls.engine.write(_some_of(vector))
        if count == 0:
            _pull(tls)
            return
        advance(vector, count)
    if not vector:
        tls.ready = req


def _some_of(vector: list[memoryview]) -> bytes | memoryview:
    """The first bytes of *vector*: enough for a few records, or small pieces put together for one."""
    if len(vector) == 1 or len(vector[0]) >= RECORD_MAX:
        return vector[0][:_AHEAD_MAX]
    parts: list[memoryview] = []
    room = RECORD_MAX
    for view in vector:
        parts.append(view[:room])
        room -= len(parts[-1])
        if not room:
            break
    return b"".join(parts)


def _give_up(tls: tstream_tls, error: TlsError, starting: tevent_req | None = None) -> None:
    """As `_fail`, for an error of TLS: the other side is told, if that can be done without waiting."""
    _explain(tls.ev, error)
    try:
        tls.ready = None
        _push(tls)
    except TlsError:
        pass
    _fail(tls, error.errno, starting)


def _explain(ev: tevent_context, error: TlsError) -> None:
    """An errno says little: what OpenSSL says goes to the debug function."""
    if error.__cause__ is not None:
        tevent_debug(ev, TEVENT_DEBUG_WARNING, "TLS: %s\n", error.__cause__)


def _fail(tls: tstream_tls, err: int, starting: tevent_req | None = None) -> None:
    """
    The stream has failed, for good: so do all requests, but for one that its ``_send`` function is *starting*.

    The last thing a function does; the callbacks of the others come from the loop.
    """
    tls.error = tls.error or err
    tls.ready = tls.in_flight = None
    reqs = [req for req in (tls.handshake, tls.reader, tls.writer, tls.leaver) if req not in (None, starting)]
    for req in reqs[:-1] if starting is None else reqs:
        tevent_req_defer_callback(req, tls.ev)
        tevent_req_error(req, err)
    if reqs and starting is None:
        tevent_req_error(reqs[-1], err)


# -- the operations of a stream ---------------------------------------------------------------------------------------


def _io_gone(req: tevent_req, req_state: tevent_req_state) -> None:
    """Whatever has become of *req*: the stream forgets it, and its buffers are free."""
    state = tevent_req_data(req, tstream_tls_io_state)
    state.vector.clear()
    tls = state.tls
    if tls.reader is req:
        tls.reader = None
    elif tls.writer is req:
        tls.writer = None
    elif tls.leaver is req:
        tls.leaver = None
    if tls.ready is req:
        tls.ready = None
    if tls.in_flight is req:
        tls.in_flight = None


def _io_create(
    mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context
) -> tuple[tevent_req | None, tstream_tls_io_state]:
    """A request; it has failed if the stream has."""
    tls = tstream_context_data(stream, tstream_tls)
    req, state = tevent_req_create(mem_ctx, tstream_tls_io_state)
    if req is None:
        return None, state
    state.tls = tls
    # Not in an __init__, after which each field is looked at: a request is made and freed in 11.5 µs instead of 22.
    state.vector = []
    tls.ev = ev
    tevent_req_set_cleanup_fn(req, _io_gone)
    if tls.error:
        tevent_req_error(req, tls.error)
        tevent_req_post(req, ev)
    return req, state


def _io_recv(req: tevent_req) -> tuple[int, int]:
    ret, err = tsocket_simple_int_recv(req)
    if ret == 0:
        ret = tevent_req_data(req, tstream_tls_io_state).ret
    tevent_req_received(req)
    return ret, err


def _readv_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, vector: Any) -> tevent_req | None:
    buffers = views(vector, True)
    req, state = _io_create(mem_ctx, ev, stream)
    if req is None or state.tls.error:
        return req
    tls = state.tls
    state.vector = buffers
    state.ret = sum(map(len, buffers))
    tls.reader = req
    try:
        done = _decrypt(tls, req)
        _push(tls)
    except TlsError as error:
        _give_up(tls, error, req)
        tevent_req_error(req, error.errno)
        return tevent_req_post(req, ev)
    if done is None:
        return req
    tevent_req_done(req)
    return tevent_req_post(req, ev)


def _writev_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, vector: Any) -> tevent_req | None:
    buffers = views(vector, False)
    req, state = _io_create(mem_ctx, ev, stream)
    if req is None or state.tls.error:
        return req
    tls = state.tls
    state.vector = buffers
    state.ret = sum(map(len, buffers))
    tls.writer = req
    if tls.pushing is not None:
        return req
    try:
        _encrypt(tls)
        _push(tls)
    except TlsError as error:
        _give_up(tls, error, req)
        tevent_req_error(req, error.errno)
        return tevent_req_post(req, ev)
    return req


def _disconnect_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context) -> tevent_req | None:
    req, state = _io_create(mem_ctx, ev, stream)
    if req is None or state.tls.error:
        return req
    tls = state.tls
    tls.leaver = req
    try:
        tls.engine.shutdown()
        tls.ready = req
        _push(tls)
    except TlsError as error:
        # The stream has not failed: what the other side has to say can still be read.
        tevent_req_error(req, error.errno)
        return tevent_req_post(req, ev)
    return req


def _pending_bytes(stream: tstream_context) -> int:
    tls = tstream_context_data(stream, tstream_tls)
    if tls.error:
        set_errno(tls.error)
        return -1
    return tls.engine.pending()


_OPS: Final = tstream_context_ops(
    name="tls",
    pending_bytes=_pending_bytes,
    readv_send=_readv_send,
    readv_recv=_io_recv,
    writev_send=_writev_send,
    writev_recv=_io_recv,
    disconnect_send=_disconnect_send,
    disconnect_recv=_io_recv,
)


# -- the handshake ----------------------------------------------------------------------------------------------------


class tstream_tls_connect_state(TALLOC_CTX):
    """
    The state of a handshake.

    C: ``struct tstream_tls_connect_state``
    """

    __slots__ = ("stream",)

    stream: tstream_context | None  # half made

    def __init__(self) -> None:
        self.stream = None


def _handshake_gone(req: tevent_req, req_state: tevent_req_state) -> None:
    """Half a stream is of no use to anybody, and must not go on with the plain one."""
    state = tevent_req_data(req, tstream_tls_connect_state)
    if state.stream is None:
        return
    if req_state == DONE:
        tstream_context_data(state.stream, tstream_tls).handshake = None
    else:
        talloc_free(state.stream)
        state.stream = None


def _handshake_send(
    mem_ctx: TALLOC_CTX | None,
    ev: tevent_context,
    plain_stream: tstream_context,
    tls_params: tstream_tls_params,
    server: bool,
) -> tevent_req | None:
    if not check_context(ev) or not is_stream(plain_stream):
        return None
    have = settings_of(tls_params)
    if have is None or have.server is not server:
        what = "TLS is not enabled in these parameters" if have is None else "these parameters are for the other side"
        tevent_abort(ev, f"tstream_tls_{'accept' if server else 'connect'}_send: {what}")
        return None
    req, state = tevent_req_create(mem_ctx, tstream_tls_connect_state)
    if req is None:
        return None
    req.created = caller(2)
    tevent_req_set_cleanup_fn(req, _handshake_gone)
    err = _handshake_start(req, state, ev, plain_stream, have)
    if err:
        tevent_req_error(req, err)
        return tevent_req_post(req, ev)
    return req


def _handshake_start(
    req: tevent_req, state: tstream_tls_connect_state, ev: tevent_context, plain: tstream_context, have: settings
) -> int:
    """Make the stream and begin; 0 or an errno."""
    from ._tls_engine import engine

    try:
        have.prepare()
        connection = engine(have)
    except bad_priority as bad:
        tevent_debug(ev, TEVENT_DEBUG_ERROR, "TLS: the priority string cannot be used: %s\n", bad)
        return EINVAL
    except TlsError as error:
        return error.errno
    state.stream, tls = tstream_context_create(state, _OPS, tstream_tls)
    if state.stream is None:
        return ENOMEM
    tls.plain = plain
    tls.engine = connection
    tls.ev = ev
    tls.handshake = req
    try:
        _shake(tls)
    except TlsError as error:
        _explain(ev, error)
        return error.errno
    return 0


def _handshake_recv(req: tevent_req, mem_ctx: TALLOC_CTX | None) -> tuple[int, int, tstream_context | None]:
    state = tevent_req_data(req, tstream_tls_connect_state)
    if state is None:
        return -1, EIO, None
    ret, err = tsocket_simple_int_recv(req)
    stream = None
    if ret == 0:
        stream = talloc_move(mem_ctx, state.stream)
        state.stream = None
    tevent_req_received(req)
    return ret, err, stream


def tstream_tls_connect_send(
    mem_ctx: TALLOC_CTX | None,
    ev: tevent_context,
    plain_stream: tstream_context,
    tls_params: tstream_tls_params,
) -> tevent_req | None:
    """
    Begin TLS on a stream, as the client.

    C: ``struct tevent_req *tstream_tls_connect_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
    struct tstream_context *plain_stream, struct tstream_tls_params *tls_params)``

    Args:
        mem_ctx: The owner of the request.

        ev: The event context.

        plain_stream: Any stream. It stays the caller's and must outlive the TLS stream; nobody else may use it until
            that is freed.

        tls_params: What `tstream_tls_params_client` has made; they may be freed at once.

    Errors of `tstream_tls_connect_recv`: EINVAL for a certificate that was refused and for a priority string that
    cannot be used, EPIPE at the end of the plain stream, the errors of the plain stream, and EIO for all others.

    Parameters that are not enabled, or are a server's, go to the abort function.
    """
    return _handshake_send(mem_ctx, ev, plain_stream, tls_params, False)


def tstream_tls_connect_recv(req: tevent_req, mem_ctx: TALLOC_CTX | None) -> tuple[int, int, tstream_context | None]:
    """
    The stream that `tstream_tls_connect_send` has made.

    C: ``int tstream_tls_connect_recv(struct tevent_req *req, int *perrno, TALLOC_CTX *mem_ctx,
    struct tstream_context **tls_stream)``

    Returns:
        ``(0, 0, stream)``, the stream owned by *mem_ctx*, or ``(-1, errno, None)``.
    """
    return _handshake_recv(req, mem_ctx)


def tstream_tls_accept_send(
    mem_ctx: TALLOC_CTX | None,
    ev: tevent_context,
    plain_stream: tstream_context,
    tls_params: tstream_tls_params,
) -> tevent_req | None:
    """
    Begin TLS on a stream, as the server.

    C: ``struct tevent_req *tstream_tls_accept_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
    struct tstream_context *plain_stream, struct tstream_tls_params *tls_params)``

    Arguments and errors are those of `tstream_tls_connect_send`, with parameters of `tstream_tls_params_server`; no
    certificate is verified.
    """
    return _handshake_send(mem_ctx, ev, plain_stream, tls_params, True)


def tstream_tls_accept_recv(req: tevent_req, mem_ctx: TALLOC_CTX | None) -> tuple[int, int, tstream_context | None]:
    """
    The stream that `tstream_tls_accept_send` has made.

    C: ``int tstream_tls_accept_recv(struct tevent_req *req, int *perrno, TALLOC_CTX *mem_ctx,
    struct tstream_context **tls_stream)``

    Returns:
        ``(0, 0, stream)``, the stream owned by *mem_ctx*, or ``(-1, errno, None)``.
    """
    return _handshake_recv(req, mem_ctx)


def tstream_tls_channel_bindings(tls_tstream: tstream_context) -> bytes | None:
    """
    The bytes by which an authentication inside of *tls_tstream* can be bound to it.

    C: ``const DATA_BLOB *tstream_tls_channel_bindings(struct tstream_context *tls_tstream)``

    Returns:
        ``b"tls-server-end-point:"`` and a hash of the server's certificate (RFC 5929), the same at both ends;
        ``b""`` if the certificate's signature has no hash, as with Ed25519; None for a stream that is not TLS.
    """
    if not is_stream(tls_tstream) or tls_tstream.ops is not _OPS:
        return None
    return tstream_context_data(tls_tstream, tstream_tls).engine.channel_bindings
