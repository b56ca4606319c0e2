# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Signed and sealed streams: what follows on a connection after a SASL or GSSAPI authentication.

Mirrors ``source4/auth/gensec/gensec_tstream.c``, and of ``auth/gensec/gensec.c`` what such a stream needs.  Who
authenticates, and with what mechanism, is another library's business: `gensec_security` is what this one asks of it,
`gensec_from_spnego` and `gensec_from_gssapi` make one out of an authenticated context of those packages.

On the wire each token has its length before it, four bytes in network order.  A token is read when its bytes are
needed and not before, so the plain stream is never ahead.

Cost: a write is one request of the plain stream for each token, a read one for each token that is needed; each byte is
copied once beside what the mechanism does.
"""

from __future__ import annotations

from errno import EIO, EMSGSIZE, ENOMEM, ENOTCONN

from talloc_py._abort import report_unraisable
from talloc_py.array import talloc_array
from talloc_py.core import TALLOC_CTX, TALLOC_FREE, talloc_free, talloc_zero
from talloc_py.types import uint8_t
from tevent import (
    NT_STATUS_ACCESS_DENIED,
    NT_STATUS_INVALID_PARAMETER,
    NT_STATUS_NO_MEMORY,
    NT_STATUS_OK,
    NT_STATUS_UNSUCCESSFUL,
    NTSTATUS,
    set_errno,
    tevent_context,
    tevent_req,
    tevent_req_callback_data,
    tevent_req_create,
    tevent_req_data,
    tevent_req_done,
    tevent_req_error,
    tevent_req_nomem,
    tevent_req_post,
    tevent_req_received,
    tevent_req_set_callback,
)

from ._stream import is_stream, tstream_context
from ._views import believed, fill, take, views_of
from .helpers import tstream_readv_pdu_recv, tstream_readv_pdu_send
from .stream import tsocket_simple_int_recv, tstream_writev_recv, tstream_writev_send
from .stream_backend import tstream_context_create, tstream_context_data, tstream_context_ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from _typeshed import ReadableBuffer

    from talloc_py._chunk import talloc_buffer

__all__ = [
    "GENSEC_FEATURE_SEAL",
    "GENSEC_FEATURE_SIGN",
    "gensec_create_tstream",
    "gensec_from_gssapi",
    "gensec_from_spnego",
    "gensec_have_feature",
    "gensec_max_input_size",
    "gensec_max_wrapped_size",
    "gensec_security",
    "gensec_unwrap",
    "gensec_wrap",
]

GENSEC_FEATURE_SIGN: Final = 0x00000002
GENSEC_FEATURE_SEAL: Final = 0x00000004

#: The longest token that is believed to be one: far above what anybody has negotiated, far below what would hurt.
_TOKEN_MAX: Final = 0x0FFFFFFF
_HEADER_SIZE: Final = 4
_SIZE_DEFAULT: Final = 1 << 17


# -- the mechanism ----------------------------------------------------------------------------------------------------


class gensec_security(TALLOC_CTX):
    """
    An authenticated context that signs or seals; derive from it and make it with `talloc_zero`.

    C: ``struct gensec_security``

    `have_feature`, `wrap` and `unwrap` have to be overridden. Tokens depend on the order in which they are made:
    nothing is wrapped ahead of its turn, and no token is unwrapped twice.
    """

    def have_feature(self, feature: int) -> bool:
        """Whether GENSEC_FEATURE_SIGN or GENSEC_FEATURE_SEAL is in effect."""
        return False

    def wrap(self, data: bytes) -> tuple[NTSTATUS, bytes | None]:
        """The token for *data*, or a status that is not NT_STATUS_OK."""
        return NT_STATUS_UNSUCCESSFUL, None

    def unwrap(self, data: bytes) -> tuple[NTSTATUS, bytes | None]:
        """What the peer has wrapped as the token *data*, or a status that is not NT_STATUS_OK."""
        return NT_STATUS_UNSUCCESSFUL, None

    def sig_size(self) -> int:
        """The bytes that a signature adds."""
        return 0

    def max_input_size(self) -> int:
        """How much may be wrapped at once."""
        signs_only = self.have_feature(GENSEC_FEATURE_SIGN) and not self.have_feature(GENSEC_FEATURE_SEAL)
        return _SIZE_DEFAULT - self.sig_size() if signs_only else _SIZE_DEFAULT

    def max_wrapped_size(self) -> int:
        """How long a token may be."""
        return _SIZE_DEFAULT


def _checked(security: object) -> gensec_security:
    if not isinstance(security, gensec_security):
        raise TypeError(f"a gensec_security is needed, not {type(security).__name__}")
    return security


def gensec_have_feature(gensec_security: gensec_security, feature: int) -> bool:
    """
    Whether a feature is in effect.

    C: ``bool gensec_have_feature(struct gensec_security *gensec_security, uint32_t feature)``
    """
    return bool(_checked(gensec_security).have_feature(feature))


def gensec_max_input_size(gensec_security: gensec_security) -> int:
    """
    How many bytes may be wrapped at once.

    C: ``size_t gensec_max_input_size(struct gensec_security *gensec_security)``
    """
    return _checked(gensec_security).max_input_size()


def gensec_max_wrapped_size(gensec_security: gensec_security) -> int:
    """
    How long a token may be.

    C: ``size_t gensec_max_wrapped_size(struct gensec_security *gensec_security)``
    """
    return _checked(gensec_security).max_wrapped_size()


def gensec_wrap(
    gensec_security: gensec_security, mem_ctx: TALLOC_CTX | None, in_: ReadableBuffer
) -> tuple[NTSTATUS, talloc_buffer | None]:
    """
    Sign or seal *in_*.

    C: ``NTSTATUS gensec_wrap(struct gensec_security *gensec_security, TALLOC_CTX *mem_ctx, const DATA_BLOB *in,
    DATA_BLOB *out)``

    Returns:
        ``(NT_STATUS_OK, token)``, the token a child of *mem_ctx*; or the mechanism's status and None.
    """
    return _transform(_checked(gensec_security).wrap, mem_ctx, in_)


def gensec_unwrap(
    gensec_security: gensec_security, mem_ctx: TALLOC_CTX | None, in_: ReadableBuffer
) -> tuple[NTSTATUS, talloc_buffer | None]:
    """
    Verify or open the token *in_*.

    C: ``NTSTATUS gensec_unwrap(struct gensec_security *gensec_security, TALLOC_CTX *mem_ctx, const DATA_BLOB *in,
    DATA_BLOB *out)``

    Returns:
        ``(NT_STATUS_OK, data)``, the data a child of *mem_ctx*; or the mechanism's status and None.
    """
    return _transform(_checked(gensec_security).unwrap, mem_ctx, in_)


def _transform(
    function: Callable[[bytes], tuple[NTSTATUS, bytes | None]], mem_ctx: TALLOC_CTX | None, data: ReadableBuffer
) -> tuple[NTSTATUS, talloc_buffer | None]:
    status, out = function(bytes(data))
    if status != NT_STATUS_OK or out is None:
        return status if status != NT_STATUS_OK else NT_STATUS_UNSUCCESSFUL, None
    blob = talloc_array(mem_ctx, uint8_t, len(out))
    if blob is None:
        return NT_STATUS_NO_MEMORY, None
    blob[:] = out
    return NT_STATUS_OK, blob


# -- the stream -------------------------------------------------------------------------------------------------------


class tstream_gensec(TALLOC_CTX):
    """The state of a stream: what it runs over, the bytes that were unwrapped and not read yet, its first errno."""

    __slots__ = ("error", "max_unwrapped", "offset", "plain", "rest", "security")

    plain: tstream_context | None
    security: gensec_security
    max_unwrapped: int
    error: int
    rest: bytes
    offset: int  # of the first byte of `rest` that was not read yet


def gensec_create_tstream(
    mem_ctx: TALLOC_CTX | None, gensec_security: gensec_security, plain_tstream: tstream_context
) -> tuple[NTSTATUS, tstream_context | None]:
    """
    Make a stream that signs or seals what goes over *plain_tstream*.

    C: ``NTSTATUS gensec_create_tstream(TALLOC_CTX *mem_ctx, struct gensec_security *gensec_security,
    struct tstream_context *plain_tstream, struct tstream_context **gensec_tstream)``

    Args:
        mem_ctx: The owner of the new stream.

        gensec_security: The authenticated context; it stays the caller's and has to live as long as the stream.

        plain_tstream: As well. All that belongs to the authentication must have been written and read.

    Returns:
        ``(NT_STATUS_OK, stream)``; NT_STATUS_INVALID_PARAMETER where neither signing nor sealing is in effect,
        NT_STATUS_NO_MEMORY where a memory limit forbids it, and None.

    Errors of the stream: EMSGSIZE for a token of no bytes, or of more than 0x0FFFFFFF; EIO for one that does not open
    or was tampered with, and where the mechanism fails to wrap; ENOMEM where it takes no input; and those of the plain
    stream. The first one stays. A disconnect forgets the plain stream and sends nothing: the caller disconnects that.
    """
    security = _checked(gensec_security)
    if not is_stream(plain_tstream):
        return NT_STATUS_INVALID_PARAMETER, None
    if not (security.have_feature(GENSEC_FEATURE_SIGN) or security.have_feature(GENSEC_FEATURE_SEAL)):
        return NT_STATUS_INVALID_PARAMETER, None
    stream, state = tstream_context_create(mem_ctx, _OPS, tstream_gensec)
    if stream is None:
        return NT_STATUS_NO_MEMORY, None
    state.plain = plain_tstream
    state.security = security
    state.max_unwrapped = security.max_input_size()
    state.error = 0
    state.rest = b""
    state.offset = 0
    return NT_STATUS_OK, stream


def _pending_bytes(stream: tstream_context) -> int:
    state = tstream_context_data(stream, tstream_gensec)
    if state.error:
        set_errno(state.error)
        return -1
    return len(state.rest) - state.offset


def _protected(state: tstream_gensec, name: str, data: bytes) -> bytes | None:
    """What the mechanism makes of *data*; None where it fails, or raises."""
    function: Callable[[bytes], tuple[NTSTATUS, bytes | None]] = getattr(state.security, name)
    try:
        status, out = function(data)
    except Exception as error:
        report_unraisable(error, f"Exception in {name}() of a gensec_security, taken for a failure", function)
        return None
    return out if status == NT_STATUS_OK else None


# Each operation's request: how far it is.


class gensec_op(TALLOC_CTX):
    """The state of a read, a write or a disconnect."""

    __slots__ = ("ev", "gensec", "header", "ret", "token", "views")

    ev: tevent_context
    gensec: tstream_gensec
    views: list[memoryview]  # what is still to be filled or written
    ret: int
    header: bytearray | None
    token: list[talloc_buffer]  # what has come of it, in pieces


def _begin(
    mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, vector: Any
) -> tuple[tevent_req | None, gensec_op]:
    req, state = tevent_req_create(mem_ctx, gensec_op)
    if req is not None:
        state.ev = ev
        state.gensec = tstream_context_data(stream, tstream_gensec)
        state.views = views_of(vector)
        state.ret = 0
        state.header = None
        state.token = []
    return req, state


def _fail(req: tevent_req, state: gensec_op, err: int) -> None:
    """The stream is broken from now on."""
    if not state.gensec.error:
        state.gensec.error = err
    tevent_req_error(req, err)


def _in_send(req: tevent_req, ev: tevent_context, step: Callable[[tevent_req, gensec_op], None]) -> tevent_req:
    """The first step of an operation; the end of one that needs no second comes from the loop."""
    state = tevent_req_data(req, gensec_op)
    if state.gensec.error:
        tevent_req_error(req, state.gensec.error)
        return tevent_req_post(req, ev)
    step(req, state)
    return req if req.status == _IN_PROGRESS else tevent_req_post(req, ev)


_IN_PROGRESS: Final = 1


def _readv_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, vector: Any) -> tevent_req | None:
    req, _ = _begin(mem_ctx, ev, stream, vector)
    return None if req is None else _in_send(req, ev, _read_on)


def _read_on(req: tevent_req, state: gensec_op) -> None:
    """Hand over what was unwrapped; read another token if that was not enough."""
    gensec = state.gensec
    copied = fill(state.views, memoryview(gensec.rest)[gensec.offset :])
    gensec.offset += copied
    state.ret += copied
    if not state.views:
        tevent_req_done(req)
        return
    gensec.rest = b""
    gensec.offset = 0
    assert gensec.plain is not None
    state.header = None
    state.token = []
    subreq = tstream_readv_pdu_send(state, state.ev, gensec.plain, _token_next_vector, state)
    if tevent_req_nomem(subreq, req):
        return
    tevent_req_set_callback(subreq, _token_read, req)


def _token_next_vector(stream: tstream_context, state: Any, mem_ctx: TALLOC_CTX) -> tuple[int, list[bytearray] | None]:
    if state.header is None:
        state.header = bytearray(_HEADER_SIZE)
        return 0, [state.header]
    size = int.from_bytes(state.header, "big")
    if not 0 < size <= _TOKEN_MAX:
        set_errno(EMSGSIZE)
        return -1, None
    have = sum(map(len, state.token))
    if have == size:
        return 0, None
    # Chunks, so that memory limits count them.
    piece = talloc_array(state, uint8_t, believed(have, size) - have)
    if piece is None:
        set_errno(ENOMEM)
        return -1, None
    state.token.append(piece)
    return 0, [piece]


def _token_read(subreq: tevent_req) -> None:
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, gensec_op)
    ret, err = tstream_readv_pdu_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1:
        _fail(req, state, err)
        return
    token = b"".join(state.token)
    while state.token:
        talloc_free(state.token.pop())
    data = _protected(state.gensec, "unwrap", token)
    if data is None:
        _fail(req, state, EIO)
        return
    state.gensec.rest = data
    state.gensec.offset = 0
    _read_on(req, state)


def _writev_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, vector: Any) -> tevent_req | None:
    req, _ = _begin(mem_ctx, ev, stream, vector)
    return None if req is None else _in_send(req, ev, _write_on)


def _write_on(req: tevent_req, state: gensec_op) -> None:
    """Wrap and write the next piece, as long as there is one."""
    gensec = state.gensec
    if not state.views:
        tevent_req_done(req)
        return
    piece = take(state.views, gensec.max_unwrapped)
    if not piece:
        _fail(req, state, ENOMEM)  # a mechanism that takes nothing; C's allocation of 0 bytes
        return
    token = _protected(gensec, "wrap", piece)
    if token is None:
        _fail(req, state, EIO)
        return
    if not 0 < len(token) <= _TOKEN_MAX:
        _fail(req, state, EMSGSIZE)
        return
    state.ret += len(piece)
    assert gensec.plain is not None
    header = len(token).to_bytes(_HEADER_SIZE, "big")
    subreq = tstream_writev_send(state, state.ev, gensec.plain, [header, token])
    if tevent_req_nomem(subreq, req):
        return
    tevent_req_set_callback(subreq, _token_written, req)


def _token_written(subreq: tevent_req) -> None:
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, gensec_op)
    ret, err = tstream_writev_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1:
        _fail(req, state, err)
        return
    _write_on(req, state)


def _transfer_recv(req: tevent_req) -> tuple[int, int]:
    """The result of a read or a write: the plain bytes."""
    ret, err = tsocket_simple_int_recv(req)
    if ret == 0:
        ret = tevent_req_data(req, gensec_op).ret
    tevent_req_received(req)
    return ret, err


def _disconnect_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context) -> tevent_req | None:
    req, _ = _begin(mem_ctx, ev, stream, ())
    return None if req is None else _in_send(req, ev, _forget_plain)


def _forget_plain(req: tevent_req, state: gensec_op) -> None:
    state.gensec.plain = None
    state.gensec.error = ENOTCONN
    tevent_req_done(req)


def _disconnect_recv(req: tevent_req) -> tuple[int, int]:
    result = tsocket_simple_int_recv(req)
    tevent_req_received(req)
    return result


_OPS: Final = tstream_context_ops(
    name="gensec",
    pending_bytes=_pending_bytes,
    readv_send=_readv_send,
    readv_recv=_transfer_recv,
    writev_send=_writev_send,
    writev_recv=_transfer_recv,
    disconnect_send=_disconnect_send,
    disconnect_recv=_disconnect_recv,
)


# -- contexts of other packages ---------------------------------------------------------------------------------------

#: The bits of GSSAPI's request and return flags.
_GSS_CONFIDENTIALITY: Final = 0x10
_GSS_INTEGRITY: Final = 0x20
_NTLM_SIGNATURE_SIZE: Final = 16


class _adapter(gensec_security):
    """A context of a package that raises where it fails."""

    __slots__ = ("context",)

    context: Any

    def flags(self) -> int:
        """GSSAPI's flags of the context."""
        return 0

    def have_feature(self, feature: int) -> bool:
        """Confidentiality is sealing, integrity is signing."""
        if feature == GENSEC_FEATURE_SIGN:
            return bool(self.flags() & _GSS_INTEGRITY)
        return feature == GENSEC_FEATURE_SEAL and bool(self.flags() & _GSS_CONFIDENTIALITY)

    @property
    def seals(self) -> bool:
        """Whether sealing is in effect."""
        return bool(self.flags() & _GSS_CONFIDENTIALITY)


def _attempt(function: Callable[[], bytes]) -> tuple[NTSTATUS, bytes | None]:
    """What *function* gives; a failure of the mechanism is a status, as every package has exceptions of its own."""
    try:
        return NT_STATUS_OK, function()
    except Exception:
        return NT_STATUS_ACCESS_DENIED, None


class _spnego_security(_adapter):
    """Over a context of pyspnego."""

    __slots__ = ()

    def flags(self) -> int:
        return int(self.context.context_attr)

    @property
    def _signs_like_ntlm(self) -> bool:
        """pyspnego's wrap() of NTLM always seals: to sign alone, signature and data are put together here."""
        return not self.seals and getattr(self.context, "negotiated_protocol", None) in ("ntlm", None)

    def wrap(self, data: bytes) -> tuple[NTSTATUS, bytes | None]:
        if self._signs_like_ntlm:
            return _attempt(lambda: bytes(self.context.sign(data)) + data)
        return _attempt(lambda: bytes(self.context.wrap(data, encrypt=self.seals).data))

    def unwrap(self, data: bytes) -> tuple[NTSTATUS, bytes | None]:
        if self._signs_like_ntlm:
            return _attempt(lambda: self._verified(data))
        return _attempt(lambda: self._opened(data))

    def _verified(self, token: bytes) -> bytes:
        if len(token) < _NTLM_SIGNATURE_SIZE:
            raise ValueError("a token that is shorter than its signature")
        signature, data = token[:_NTLM_SIGNATURE_SIZE], token[_NTLM_SIGNATURE_SIZE:]
        self.context.verify(data, signature)
        return data

    def _opened(self, token: bytes) -> bytes:
        result = self.context.unwrap(token)
        if self.seals and not getattr(result, "encrypted", True):
            raise ValueError("a token that is only signed where sealing was negotiated")
        return bytes(result.data)

    def sig_size(self) -> int:
        return _NTLM_SIGNATURE_SIZE


def gensec_from_spnego(mem_ctx: TALLOC_CTX | None, context: Any) -> gensec_security | None:
    """
    What `gensec_create_tstream` needs, from a context of the package pyspnego that has completed its authentication.

    Signs where the context has negotiated integrity, seals where it has negotiated confidentiality. Each failure of the
    package, a bad signature too, is NT_STATUS_ACCESS_DENIED.

    Python only. None where a memory limit forbids it.
    """
    security = talloc_zero(mem_ctx, _spnego_security)
    if security is not None:
        security.context = context
    return security


class _gssapi_security(_adapter):
    """Over a SecurityContext of python-gssapi."""

    __slots__ = ()

    def flags(self) -> int:
        return int(self.context.actual_flags)

    def wrap(self, data: bytes) -> tuple[NTSTATUS, bytes | None]:
        return _attempt(lambda: bytes(self.context.wrap(data, self.seals).message))

    def unwrap(self, data: bytes) -> tuple[NTSTATUS, bytes | None]:
        return _attempt(lambda: self._opened(data))

    def _opened(self, token: bytes) -> bytes:
        result = self.context.unwrap(token)
        if self.seals and not getattr(result, "encrypted", True):
            raise ValueError("a token that is only signed where sealing was negotiated")
        return bytes(result.message)

    def max_input_size(self) -> int:
        return int(self.context.get_wrap_size_limit(self.max_wrapped_size(), self.seals))

    def max_wrapped_size(self) -> int:
        return 65536


def gensec_from_gssapi(mem_ctx: TALLOC_CTX | None, ctx: Any) -> gensec_security | None:
    """
    As `gensec_from_spnego`, from a SecurityContext of the package python-gssapi.

    The longest token is 65536 bytes. Python only.
    """
    security = talloc_zero(mem_ctx, _gssapi_security)
    if security is not None:
        security.context = ctx
    return security
