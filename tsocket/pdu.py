# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Readers of PDUs whose length is found out while they are read.

Mirrors ``libcli/util/tstream.c``, ``source3/lib/util_tsock.c``, ``libcli/named_pipe_auth/tstream_u32_read.c`` and
``ldap_full_packet()`` of ``libcli/ldap/ldap_message.c``.  None of them reads a byte beyond the PDU: what follows stays
in the stream for the next reader.

Cost: one read request for each time the PDU turns out to be longer, and one more each time it doubles beyond a
megabyte, for no more memory is reserved than twice what has come.
"""

from __future__ import annotations

from errno import EINVAL, EIO, EMSGSIZE

from talloc_py.array import talloc_array, talloc_realloc
from talloc_py.core import TALLOC_CTX, TALLOC_FREE, talloc_move
from talloc_py.types import MAX_TALLOC_SIZE, uint8_t
from tevent import (
    NT_STATUS_EQUAL,
    NT_STATUS_IS_OK,
    NT_STATUS_OK,
    NTSTATUS,
    STATUS_MORE_ENTRIES,
    map_nt_error_from_unix_common,
    set_errno,
    tevent_context,
    tevent_req,
    tevent_req_callback_data,
    tevent_req_create,
    tevent_req_data,
    tevent_req_done,
    tevent_req_error,
    tevent_req_is_nterror,
    tevent_req_is_unix_error,
    tevent_req_nomem,
    tevent_req_nterror,
    tevent_req_oom,
    tevent_req_post,
    tevent_req_received,
    tevent_req_set_callback,
)

from ._stream import tstream_context
from ._views import believed
from .helpers import tstream_readv_pdu_recv, tstream_readv_pdu_send
from .stream import tstream_readv_recv, tstream_readv_send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from talloc_py._chunk import talloc_buffer

    #: ``(stream, private_data, blob) -> (status, size)``: looks at all bytes so far.
    tstream_read_pdu_blob_full_fn_t = Callable[[tstream_context, Any, bytearray], tuple[NTSTATUS, int | None]]
    more_fn = Callable[[bytearray, Any], int]
else:
    # A name of C's that is a type there; at run time any callable will do.
    tstream_read_pdu_blob_full_fn_t = object

__all__ = [
    "ldap_full_packet",
    "tstream_full_request_u16",
    "tstream_full_request_u32",
    "tstream_read_packet_recv",
    "tstream_read_packet_send",
    "tstream_read_pdu_blob_full_fn_t",
    "tstream_read_pdu_blob_recv",
    "tstream_read_pdu_blob_send",
    "tstream_u32_read_recv",
    "tstream_u32_read_send",
]

#: As C's: a length that does not fit is an error of its own.
_UINT32_MAX: Final = 2**32 - 1


# -- bytes, as many as a function of the caller's asks for ------------------------------------------------------------


class _growing(TALLOC_CTX):
    """A buffer that is read into, and grows: the part that the two readers have in common."""

    __slots__ = ("buffer", "ev", "more", "private_data", "stream", "wanted")

    ev: tevent_context
    stream: tstream_context
    buffer: talloc_buffer
    more: Any
    private_data: Any
    wanted: int  # how many bytes there shall be


def _start(
    req: tevent_req,
    state: _growing,
    ev: tevent_context,
    stream: tstream_context,
    size: int,
    done: Callable[[tevent_req], None],
) -> tevent_req:
    """Read the first *size* bytes."""
    state.ev = ev
    state.stream = stream
    state.wanted = size
    buffer = talloc_array(state, uint8_t, size)
    if tevent_req_nomem(buffer, req):
        return tevent_req_post(req, ev)
    state.buffer = buffer
    subreq = tstream_readv_send(state, ev, stream, [buffer])
    if tevent_req_nomem(subreq, req):
        return tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, done, req)
    return req


def _grow(req: tevent_req, state: _growing, size: int, done: Callable[[tevent_req], None]) -> None:
    """Read on until there are *size* bytes."""
    if size >= MAX_TALLOC_SIZE:
        tevent_req_oom(req)  # at once, not when as much has come
        return
    state.wanted = size
    _read_on(req, state, done)


def _read_on(req: tevent_req, state: _growing, done: Callable[[tevent_req], None]) -> bool:
    """Read the rest of what is wanted, or as much of it as is believed to come; False if nothing is wanted."""
    have = len(state.buffer)
    if have == state.wanted:
        return False
    buffer = talloc_realloc(state, state.buffer, uint8_t, believed(have, state.wanted))
    if buffer is None:
        tevent_req_oom(req)
        return True
    state.buffer = buffer
    subreq = tstream_readv_send(state, state.ev, state.stream, [memoryview(buffer)[have:]])
    if not tevent_req_nomem(subreq, req):
        tevent_req_set_callback(subreq, done, req)
    return True


def _check_size(name: str, size: object) -> None:
    if not isinstance(size, int):
        raise TypeError(f"{name} must be an int, not {type(size).__name__}")
    if size < 0:
        raise ValueError(f"{name} must not be negative: {size}")


class tstream_read_pdu_blob_state(_growing):
    """The state of `tstream_read_pdu_blob_send`."""

    __slots__ = ()


def tstream_read_pdu_blob_send(
    mem_ctx: TALLOC_CTX | None,
    ev: tevent_context,
    stream: tstream_context,
    initial_read_size: int,
    full_fn: tstream_read_pdu_blob_full_fn_t,
    full_private: object,
) -> tevent_req | None:
    """
    Read one PDU; *full_fn* says when it is complete.

    C: ``struct tevent_req *tstream_read_pdu_blob_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
    struct tstream_context *stream, size_t initial_read_size, tstream_read_pdu_blob_full_fn_t *full_fn,
    void *full_private)``

    Args:
        mem_ctx: The owner of the request.

        ev: The event context.

        stream: The stream.

        initial_read_size: The bytes to be read before *full_fn* is asked for the first time: no more than the shortest
            PDU has. 0 is an error that ends in the abort function.

        full_fn: Called as ``full_fn(stream, full_private, blob)`` with all bytes so far, a bytearray that it must
            neither keep nor change. ``(NT_STATUS_OK, n)``: the PDU is what was read, whatever *n* is.
            ``(STATUS_MORE_ENTRIES, n)``: it has *n* bytes, ask again then; 0 or None for *n*: read one byte more.
            Any other status ends the request.

        full_private: Any object.

    Returns:
        The request; None where a memory limit forbids it.
    """
    _check_size("initial_read_size", initial_read_size)
    if not callable(full_fn):
        raise TypeError(f"full_fn must be callable, not {type(full_fn).__name__}")
    req, state = tevent_req_create(mem_ctx, tstream_read_pdu_blob_state)
    if req is None:
        return None
    if initial_read_size == 0:
        tevent_req_error(req, EINVAL)  # no NTSTATUS, as in C: the _recv function goes to the abort function
        return tevent_req_post(req, ev)
    state.more = full_fn
    state.private_data = full_private
    return _start(req, state, ev, stream, initial_read_size, _blob_done)


def _blob_done(subreq: tevent_req) -> None:
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, tstream_read_pdu_blob_state)
    ret, err = tstream_readv_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1:
        tevent_req_nterror(req, map_nt_error_from_unix_common(err))
        return
    if _read_on(req, state, _blob_done):
        return
    status, size = state.more(state.stream, state.private_data, state.buffer)
    if NT_STATUS_IS_OK(status):
        tevent_req_done(req)
        return
    if not NT_STATUS_EQUAL(status, STATUS_MORE_ENTRIES):
        tevent_req_nterror(req, status)
        return
    have = len(state.buffer)
    size = size or have + 1
    if size <= have:
        tevent_req_nterror(req, _INVALID_BUFFER_SIZE)
        return
    _grow(req, state, size, _blob_done)


_INVALID_BUFFER_SIZE: Final = map_nt_error_from_unix_common(EMSGSIZE)


def tstream_read_pdu_blob_recv(req: tevent_req, mem_ctx: TALLOC_CTX | None) -> tuple[NTSTATUS, talloc_buffer | None]:
    """
    The result of `tstream_read_pdu_blob_send`.

    C: ``NTSTATUS tstream_read_pdu_blob_recv(struct tevent_req *req, TALLOC_CTX *mem_ctx, DATA_BLOB *pdu_blob)``

    Returns:
        ``(NT_STATUS_OK, blob)``, the blob a child of *mem_ctx*; or a status and None: that of *full_fn*,
        NT_STATUS_INVALID_BUFFER_SIZE where it asked for no more than there was, NT_STATUS_IO_TIMEOUT after the endtime,
        else what `map_nt_error_from_unix_common` makes of the stream's errno, NT_STATUS_CONNECTION_DISCONNECTED at the
        end of the stream.
    """
    state = tevent_req_data(req, tstream_read_pdu_blob_state)
    failed, status = tevent_req_is_nterror(req)
    blob = None if failed else talloc_move(mem_ctx, state.buffer)
    tevent_req_received(req)
    return (status if failed else NT_STATUS_OK), blob


# -- what is a complete PDU -------------------------------------------------------------------------------------------


def _full(blob: bytearray, head: int) -> tuple[NTSTATUS, int]:
    """A big-endian length of *head* bytes, then that many."""
    if len(blob) < head:
        return STATUS_MORE_ENTRIES, 0
    size = head + int.from_bytes(blob[:head], "big")
    return (STATUS_MORE_ENTRIES if size > len(blob) else NT_STATUS_OK), size


def tstream_full_request_u32(
    stream: tstream_context | None, private_data: object, blob: bytearray
) -> tuple[NTSTATUS, int]:
    """
    For `tstream_read_pdu_blob_send`: a PDU that begins with its length, four bytes in network order.

    C: ``NTSTATUS tstream_full_request_u32(struct tstream_context *stream, void *private_data, DATA_BLOB blob,
    size_t *size)``

    Returns:
        ``(NT_STATUS_OK, size)``, or ``(STATUS_MORE_ENTRIES, size)`` with 0 for a size that is not known yet. The length
        does not count its own four bytes.
    """
    return _full(blob, 4)


def tstream_full_request_u16(
    stream: tstream_context | None, private_data: object, blob: bytearray
) -> tuple[NTSTATUS, int]:
    """
    As `tstream_full_request_u32`, with a length of two bytes.

    C: ``NTSTATUS tstream_full_request_u16(struct tstream_context *stream, void *private_data, DATA_BLOB blob,
    size_t *size)``
    """
    return _full(blob, 2)


def ldap_full_packet(stream: tstream_context | None, private_data: object, blob: bytearray) -> tuple[NTSTATUS, int]:
    """
    For `tstream_read_pdu_blob_send`: an LDAP message, a BER sequence. No message is shorter than seven bytes.

    C: ``NTSTATUS ldap_full_packet(struct tstream_context *stream, void *private_data, DATA_BLOB blob,
    size_t *packet_size)``

    Returns:
        As `tstream_full_request_u32`; ``(NT_STATUS_INVALID_BUFFER_SIZE, 0)`` for what is no sequence, and for a length
        of more than four bytes. The length itself has no limit below 4 GiB: who reads from strangers sets one, by
        a *full_fn* of his own around this.
    """
    if len(blob) < 6:
        return STATUS_MORE_ENTRIES, 0
    if blob[0] != 0x30:
        return _INVALID_BUFFER_SIZE, 0
    size = 2 + blob[1]
    if blob[1] & 0x80:
        octets = (blob[1] & 0x7F) or 1
        if octets > 4:
            return _INVALID_BUFFER_SIZE, 0
        size = 2 + octets + int.from_bytes(blob[2 : 2 + octets], "big")
    return (STATUS_MORE_ENTRIES if size > len(blob) else NT_STATUS_OK), size


# -- the same with errno ----------------------------------------------------------------------------------------------


class tstream_read_packet_state(_growing):
    """The state of `tstream_read_packet_send`."""

    __slots__ = ()


def tstream_read_packet_send(
    mem_ctx: TALLOC_CTX | None,
    ev: tevent_context,
    stream: tstream_context,
    initial: int,
    more: more_fn | None,
    private_data: object,
) -> tevent_req | None:
    """
    Read *initial* bytes, then as many more as *more* asks for.

    C: ``struct tevent_req *tstream_read_packet_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
    struct tstream_context *stream, size_t initial, ssize_t (*more)(uint8_t *buf, size_t buflen, void *private_data),
    void *private_data)``

    Args:
        mem_ctx: The owner of the request.

        ev: The event context.

        stream: The stream.

        initial: The bytes of the first read.

        more: Called as ``more(buf, private_data)`` with all bytes so far: 0 when they are complete, -1 to give up, else
            the number of bytes that are missing. None: nothing more.

        private_data: Any object.
    """
    _check_size("initial", initial)
    if more is not None and not callable(more):
        raise TypeError(f"more must be callable or None, not {type(more).__name__}")
    req, state = tevent_req_create(mem_ctx, tstream_read_packet_state)
    if req is None:
        return None
    state.more = more
    state.private_data = private_data
    return _start(req, state, ev, stream, initial, _packet_done)


def _packet_done(subreq: tevent_req) -> None:
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, tstream_read_packet_state)
    ret, err = tstream_readv_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1:
        tevent_req_error(req, err)
        return
    if _read_on(req, state, _packet_done):
        return
    missing = 0 if state.more is None else state.more(state.buffer, state.private_data)
    if missing < 0:
        tevent_req_error(req, EIO)
    elif missing == 0:
        tevent_req_done(req)
    else:
        _grow(req, state, len(state.buffer) + missing, _packet_done)


def tstream_read_packet_recv(req: tevent_req, mem_ctx: TALLOC_CTX | None) -> tuple[int, talloc_buffer | None, int]:
    """
    The result of `tstream_read_packet_send`.

    C: ``ssize_t tstream_read_packet_recv(struct tevent_req *req, TALLOC_CTX *mem_ctx, uint8_t **pbuf, int *perrno)``

    Returns:
        ``(bytes, buf, 0)``, the buffer a child of *mem_ctx*; or ``(-1, None, errno)``: EIO where *more* gave up, else
        what the stream says. The request is not received by this; whoever has it frees it.
    """
    state = tevent_req_data(req, tstream_read_packet_state)
    failed, err = tevent_req_is_unix_error(req)
    if failed:
        return -1, None, err
    buffer = talloc_move(mem_ctx, state.buffer)
    return len(buffer), buffer, 0


# -- a length of four bytes, with a limit -----------------------------------------------------------------------------


class tstream_u32_read_state(TALLOC_CTX):
    """The state of `tstream_u32_read_send`."""

    __slots__ = ("buffer", "header", "max_msglen")

    max_msglen: int
    header: bytearray | None
    buffer: talloc_buffer | None


def tstream_u32_read_send(
    mem_ctx: TALLOC_CTX | None, ev: tevent_context, max_msglen: int, stream: tstream_context
) -> tevent_req | None:
    """
    Read a PDU that begins with its length, four bytes in network order.

    C: ``struct tevent_req *tstream_u32_read_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev, uint32_t max_msglen,
    struct tstream_context *stream)``

    Args:
        mem_ctx: The owner of the request.

        ev: The event context.

        max_msglen: The longest that is accepted, in bytes without the four; a longer one, and one of no bytes, fails
            with EMSGSIZE when its length was read.

        stream: The stream.
    """
    _check_size("max_msglen", max_msglen)
    req, state = tevent_req_create(mem_ctx, tstream_u32_read_state)
    if req is None:
        return None
    state.max_msglen = max_msglen
    state.header = state.buffer = None
    subreq = tstream_readv_pdu_send(state, ev, stream, _u32_next_vector, state)
    if tevent_req_nomem(subreq, req):
        return tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, _u32_done, req)
    return req


def _u32_next_vector(
    stream: tstream_context, state: Any, mem_ctx: TALLOC_CTX
) -> tuple[int, list[bytearray | memoryview] | None]:
    if state.header is None:
        state.header = bytearray(4)
        return 0, [state.header]
    size = int.from_bytes(state.header, "big")
    if size == 0 or size > state.max_msglen or size + 4 > _UINT32_MAX:
        set_errno(EMSGSIZE)
        return -1, None
    have = 4 if state.buffer is None else len(state.buffer)
    if have == 4 + size:
        return 0, None
    buffer = talloc_realloc(state, state.buffer, uint8_t, believed(have, 4 + size))
    if buffer is None:
        return -1, None
    if have == 4:
        buffer[:4] = state.header
    state.buffer = buffer
    return 0, [memoryview(buffer)[have:]]


def _u32_done(subreq: tevent_req) -> None:
    req = tevent_req_callback_data(subreq, tevent_req)
    ret, err = tstream_readv_pdu_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1:
        tevent_req_error(req, err)
        return
    tevent_req_done(req)


def tstream_u32_read_recv(req: tevent_req, mem_ctx: TALLOC_CTX | None) -> tuple[int, talloc_buffer | None]:
    """
    The result of `tstream_u32_read_send`.

    C: ``int tstream_u32_read_recv(struct tevent_req *req, TALLOC_CTX *mem_ctx, uint8_t **buf, size_t *buflen)``

    Returns:
        ``(0, buf)``, all bytes with those of the length, a child of *mem_ctx*; or ``(errno, None)``: EMSGSIZE, EPIPE at
        the end of the stream. The request is not received by this; whoever has it frees it.
    """
    state = tevent_req_data(req, tstream_u32_read_state)
    failed, err = tevent_req_is_unix_error(req)
    if failed:
        return err, None
    buffer = state.buffer
    assert buffer is not None
    state.buffer = None
    return 0, talloc_move(mem_ctx, buffer)
