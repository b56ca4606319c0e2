# SPDX-License-Identifier: LGPL-3.0-or-later
"""
DCE/RPC packets from a stream, and a handle for raw calls over one.

Mirrors ``dcerpc_read_ncacn_packet_send()`` of ``librpc/rpc/dcerpc_util.c`` and
``libcli/tstream_binding_handle/tstream_binding_handle.c``.  Only the header that all packets share is taken apart: the
body of a packet is NDR, which is another library's business.

Cost: a packet is one request that reads twice, the header and the rest.
"""

from __future__ import annotations

import struct

from talloc_py.array import talloc_array
from talloc_py.core import TALLOC_CTX, TALLOC_FREE, talloc_move, talloc_zero
from talloc_py.types import uint8_t
from tevent import (
    NT_STATUS_CONNECTION_DISCONNECTED,
    NT_STATUS_INVALID_PARAMETER,
    NT_STATUS_NO_MEMORY,
    NT_STATUS_OK,
    NT_STATUS_PIPE_BUSY,
    NT_STATUS_RPC_PROTOCOL_ERROR,
    NTSTATUS,
    map_nt_error_from_unix_common,
    tevent_context,
    tevent_queue_create,
    tevent_req,
    tevent_req_callback_data,
    tevent_req_create,
    tevent_req_data,
    tevent_req_done,
    tevent_req_is_nterror,
    tevent_req_nomem,
    tevent_req_nterror,
    tevent_req_post,
    tevent_req_received,
    tevent_req_set_callback,
    tevent_req_set_cleanup_fn,
    tevent_req_set_endtime,
    tevent_req_simple_recv_ntstatus,
    tevent_req_state,
    tevent_timeval_current_ofs,
)
from tevent.req import TEVENT_REQ_TIMED_OUT

from ._stream import is_stream, tstream_context
from .helpers import (
    tstream_readv_pdu_recv,
    tstream_readv_pdu_send,
    tstream_writev_queue_recv,
    tstream_writev_queue_send,
)
from .pdu import tstream_read_pdu_blob_recv, tstream_read_pdu_blob_send
from .stream import tstream_disconnect_recv, tstream_disconnect_send, tstream_pending_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from _typeshed import ReadableBuffer

    from talloc_py._chunk import talloc_buffer
    from tevent import tevent_queue

    from .pdu import tstream_read_pdu_blob_full_fn_t

__all__ = [
    "DCERPC_DREP_LE",
    "DCERPC_NCACN_PAYLOAD_OFFSET",
    "DCERPC_PFC_FLAG_CONC_MPX",
    "DCERPC_PFC_FLAG_DID_NOT_EXECUTE",
    "DCERPC_PFC_FLAG_FIRST",
    "DCERPC_PFC_FLAG_LAST",
    "DCERPC_PFC_FLAG_MAYBE",
    "DCERPC_PFC_FLAG_OBJECT_UUID",
    "DCERPC_PFC_FLAG_PENDING_CANCEL_OR_HDR_SIGNING",
    "DCERPC_PKT_ACK",
    "DCERPC_PKT_ALTER",
    "DCERPC_PKT_ALTER_RESP",
    "DCERPC_PKT_AUTH3",
    "DCERPC_PKT_BIND",
    "DCERPC_PKT_BIND_ACK",
    "DCERPC_PKT_BIND_NAK",
    "DCERPC_PKT_CANCEL_ACK",
    "DCERPC_PKT_CL_CANCEL",
    "DCERPC_PKT_CO_CANCEL",
    "DCERPC_PKT_FACK",
    "DCERPC_PKT_FAULT",
    "DCERPC_PKT_NOCALL",
    "DCERPC_PKT_ORPHANED",
    "DCERPC_PKT_PING",
    "DCERPC_PKT_REJECT",
    "DCERPC_PKT_REQUEST",
    "DCERPC_PKT_RESPONSE",
    "DCERPC_PKT_RTS",
    "DCERPC_PKT_SHUTDOWN",
    "DCERPC_PKT_WORKING",
    "dcerpc_binding_handle",
    "dcerpc_binding_handle_disconnect_recv",
    "dcerpc_binding_handle_disconnect_send",
    "dcerpc_binding_handle_is_connected",
    "dcerpc_binding_handle_raw_call_recv",
    "dcerpc_binding_handle_raw_call_send",
    "dcerpc_binding_handle_set_timeout",
    "dcerpc_get_frag_length",
    "dcerpc_pull_ncacn_packet",
    "dcerpc_read_ncacn_packet_recv",
    "dcerpc_read_ncacn_packet_send",
    "ncacn_packet",
    "tstream_binding_handle_create",
]

DCERPC_NCACN_PAYLOAD_OFFSET: Final = 16
DCERPC_DREP_LE: Final = 0x10

DCERPC_PFC_FLAG_FIRST: Final = 0x01
DCERPC_PFC_FLAG_LAST: Final = 0x02
DCERPC_PFC_FLAG_PENDING_CANCEL_OR_HDR_SIGNING: Final = 0x04
DCERPC_PFC_FLAG_CONC_MPX: Final = 0x10
DCERPC_PFC_FLAG_DID_NOT_EXECUTE: Final = 0x20
DCERPC_PFC_FLAG_MAYBE: Final = 0x40
DCERPC_PFC_FLAG_OBJECT_UUID: Final = 0x80

DCERPC_PKT_REQUEST: Final = 0
DCERPC_PKT_PING: Final = 1
DCERPC_PKT_RESPONSE: Final = 2
DCERPC_PKT_FAULT: Final = 3
DCERPC_PKT_WORKING: Final = 4
DCERPC_PKT_NOCALL: Final = 5
DCERPC_PKT_REJECT: Final = 6
DCERPC_PKT_ACK: Final = 7
DCERPC_PKT_CL_CANCEL: Final = 8
DCERPC_PKT_FACK: Final = 9
DCERPC_PKT_CANCEL_ACK: Final = 10
DCERPC_PKT_BIND: Final = 11
DCERPC_PKT_BIND_ACK: Final = 12
DCERPC_PKT_BIND_NAK: Final = 13
DCERPC_PKT_ALTER: Final = 14
DCERPC_PKT_ALTER_RESP: Final = 15
DCERPC_PKT_AUTH3: Final = 16
DCERPC_PKT_SHUTDOWN: Final = 17
DCERPC_PKT_CO_CANCEL: Final = 18
DCERPC_PKT_ORPHANED: Final = 19
DCERPC_PKT_RTS: Final = 20


# -- one packet -------------------------------------------------------------------------------------------------------


class ncacn_packet(TALLOC_CTX):
    """
    The header of a packet, and the bytes behind it.

    C: ``struct ncacn_packet``
    """

    rpc_vers: int
    rpc_vers_minor: int
    ptype: int  #: DCERPC_PKT_*
    pfc_flags: int  #: DCERPC_PFC_FLAG_*
    drep: bytes  #: four bytes; the first says in which order numbers are
    frag_length: int  #: of the whole packet
    auth_length: int
    call_id: int
    payload: bytes  #: what follows the header; C has it taken apart already


def _order(blob: ReadableBuffer) -> str:
    """The byte order that a packet says it is in, as struct writes it."""
    return "<" if memoryview(blob)[4] & DCERPC_DREP_LE else ">"


def dcerpc_get_frag_length(blob: ReadableBuffer) -> int:
    """
    The length of the packet whose first bytes are in *blob*.

    C: ``uint16_t dcerpc_get_frag_length(const DATA_BLOB *blob)``

    Raises:
        ValueError: There are fewer than 16 bytes; C asserts.
    """
    if len(memoryview(blob)) < DCERPC_NCACN_PAYLOAD_OFFSET:
        raise ValueError(f"a packet has a header of {DCERPC_NCACN_PAYLOAD_OFFSET} bytes, not {len(memoryview(blob))}")
    length: int = struct.unpack_from(_order(blob) + "H", blob, 8)[0]
    return length


def dcerpc_pull_ncacn_packet(mem_ctx: TALLOC_CTX | None, blob: ReadableBuffer) -> tuple[NTSTATUS, ncacn_packet | None]:
    """
    Take the header of a packet apart.

    C: ``NTSTATUS dcerpc_pull_ncacn_packet(TALLOC_CTX *mem_ctx, const DATA_BLOB *blob, struct ncacn_packet *r)``

    Returns:
        ``(NT_STATUS_OK, packet)``, a child of *mem_ctx*; NT_STATUS_RPC_PROTOCOL_ERROR where *blob* is not as long as
        the header says, NT_STATUS_INVALID_PARAMETER for a type that is not known.
    """
    size = len(memoryview(blob))
    if size < DCERPC_NCACN_PAYLOAD_OFFSET or dcerpc_get_frag_length(blob) != size:
        return NT_STATUS_RPC_PROTOCOL_ERROR, None
    version, minor, ptype, flags, drep, frag, auth, call_id = struct.unpack_from(_order(blob) + "4B4sHHI", blob, 0)
    if ptype > DCERPC_PKT_RTS:
        return NT_STATUS_INVALID_PARAMETER, None
    pkt = talloc_zero(mem_ctx, ncacn_packet)
    if pkt is None:
        return NT_STATUS_NO_MEMORY, None
    pkt.rpc_vers, pkt.rpc_vers_minor, pkt.ptype, pkt.pfc_flags, pkt.drep = version, minor, ptype, flags, drep
    pkt.frag_length, pkt.auth_length, pkt.call_id = frag, auth, call_id
    pkt.payload = bytes(memoryview(blob)[DCERPC_NCACN_PAYLOAD_OFFSET:])
    return NT_STATUS_OK, pkt


class dcerpc_read_ncacn_packet_state(TALLOC_CTX):
    """The state of `dcerpc_read_ncacn_packet_send`."""

    __slots__ = ("buffer", "complete", "pkt")

    buffer: talloc_buffer
    complete: bool
    pkt: ncacn_packet | None


def dcerpc_read_ncacn_packet_send(
    mem_ctx: TALLOC_CTX | None, ev: tevent_context, stream: tstream_context
) -> tevent_req | None:
    """
    Read one packet, not a byte more.

    C: ``struct tevent_req *dcerpc_read_ncacn_packet_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
    struct tstream_context *stream)``

    A packet has at most 65535 bytes.
    """
    req, state = tevent_req_create(mem_ctx, dcerpc_read_ncacn_packet_state)
    if req is None:
        return None
    buffer = talloc_array(state, uint8_t, 0)
    if tevent_req_nomem(buffer, req):
        return tevent_req_post(req, ev)
    state.buffer = buffer
    state.complete = False
    state.pkt = None
    subreq = tstream_readv_pdu_send(state, ev, stream, _packet_next_vector, state)
    if tevent_req_nomem(subreq, req):
        return tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, _packet_done, req)
    return req


def _packet_next_vector(stream: tstream_context, state: Any, mem_ctx: TALLOC_CTX) -> tuple[int, list[Any] | None]:
    if not state.buffer:
        state.buffer.extend(bytes(DCERPC_NCACN_PAYLOAD_OFFSET))
        return 0, [state.buffer]
    missing = 0 if state.complete else dcerpc_get_frag_length(state.buffer) - DCERPC_NCACN_PAYLOAD_OFFSET
    if missing <= 0:  # a length that is too small is found out when the packet is taken apart
        return 0, None
    state.complete = True
    state.buffer.extend(bytes(missing))
    return 0, [memoryview(state.buffer)[DCERPC_NCACN_PAYLOAD_OFFSET:]]


def _packet_done(subreq: tevent_req) -> None:
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, dcerpc_read_ncacn_packet_state)
    ret, err = tstream_readv_pdu_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1:
        tevent_req_nterror(req, map_nt_error_from_unix_common(err))
        return
    status, state.pkt = dcerpc_pull_ncacn_packet(state, state.buffer)
    if tevent_req_nterror(req, status):
        return
    tevent_req_done(req)


def dcerpc_read_ncacn_packet_recv(
    req: tevent_req, mem_ctx: TALLOC_CTX | None
) -> tuple[NTSTATUS, ncacn_packet | None, talloc_buffer | None]:
    """
    The result of `dcerpc_read_ncacn_packet_send`.

    C: ``NTSTATUS dcerpc_read_ncacn_packet_recv(struct tevent_req *req, TALLOC_CTX *mem_ctx, struct ncacn_packet **pkt,
    DATA_BLOB *buffer)``

    Returns:
        ``(NT_STATUS_OK, packet, buffer)``, both children of *mem_ctx*; or a status and None twice:
        NT_STATUS_RPC_PROTOCOL_ERROR for a length of less than a header, NT_STATUS_INVALID_PARAMETER for an unknown
        type, else what `map_nt_error_from_unix_common` makes of the stream's errno.
    """
    state = tevent_req_data(req, dcerpc_read_ncacn_packet_state)
    failed, status = tevent_req_is_nterror(req)
    pkt = buffer = None
    if not failed:
        pkt = talloc_move(mem_ctx, state.pkt)
        buffer = talloc_move(mem_ctx, state.buffer)
    tevent_req_received(req)
    return (status if failed else NT_STATUS_OK), pkt, buffer


# -- raw calls --------------------------------------------------------------------------------------------------------


class dcerpc_binding_handle(TALLOC_CTX):
    """
    A stream over which calls go out and come back as they are; made by `tstream_binding_handle_create`.

    C: ``struct dcerpc_binding_handle``
    """

    __slots__ = (
        "complete_pdu_fn",
        "complete_pdu_fn_private",
        "initial_read_size",
        "max_data",
        "queue",
        "stream",
        "table",
        "timeout",
        "writing",
    )

    table: object
    stream: tstream_context | None  # None once the connection is lost
    queue: tevent_queue
    timeout: int  # seconds for a call, 0 for no limit
    initial_read_size: int
    complete_pdu_fn: tstream_read_pdu_blob_full_fn_t
    complete_pdu_fn_private: object
    max_data: int
    writing: tevent_req | None  # the call whose request has not been written yet


def tstream_binding_handle_create(
    mem_ctx: TALLOC_CTX | None,
    table: object,
    stream: tstream_context,
    call_initial_read_size: int,
    complete_pdu_fn: tstream_read_pdu_blob_full_fn_t,
    complete_pdu_fn_private: object,
    max_data: int,
) -> dcerpc_binding_handle | None:
    """
    Make a handle for raw calls over *stream*.

    C: ``struct dcerpc_binding_handle *tstream_binding_handle_create(TALLOC_CTX *mem_ctx,
    const struct ndr_interface_table *table, struct tstream_context **stream, size_t call_initial_read_size,
    tstream_read_pdu_blob_full_fn_t *complete_pdu_fn, void *complete_pdu_fn_private, uint32_t max_data)``

    Args:
        mem_ctx: The owner.

        table: What the calls are about, for the caller; any object or None.

        stream: Moves below the handle.

        call_initial_read_size: As `tstream_read_pdu_blob_send` has it, for the answers; so are the next two.

        complete_pdu_fn: Says when an answer is complete.

        complete_pdu_fn_private: Its private data.

        max_data: For a named pipe over SMB: the longest answer, 0 for the pipe's own limit.
    """
    if not is_stream(stream):
        return None
    if not callable(complete_pdu_fn):
        raise TypeError(f"complete_pdu_fn must be callable, not {type(complete_pdu_fn).__name__}")
    h: dcerpc_binding_handle | None = talloc_zero(mem_ctx, dcerpc_binding_handle)
    if h is None:
        return None
    queue = tevent_queue_create(h, "tstream_binding_handle")
    if queue is None:
        TALLOC_FREE(h)
        return None
    h.table = table
    h.queue = queue
    h.timeout = 0
    h.initial_read_size = call_initial_read_size
    h.complete_pdu_fn = complete_pdu_fn
    h.complete_pdu_fn_private = complete_pdu_fn_private
    h.max_data = max_data
    h.writing = None
    h.stream = talloc_move(h, stream)
    if max_data and _is_smb_pipe(stream):
        from .smb_np import tstream_smbXcli_np_set_max_data

        tstream_smbXcli_np_set_max_data(stream, max_data)
    return h


def _is_smb_pipe(stream: tstream_context) -> bool:
    """Without the import of what knows about them, where there can be none."""
    return stream.ops.name == "smbXcli_np"


def dcerpc_binding_handle_is_connected(h: dcerpc_binding_handle) -> bool:
    """
    Whether calls can be made: the stream is there and has not failed.

    C: ``bool dcerpc_binding_handle_is_connected(struct dcerpc_binding_handle *h)``
    """
    _check_handle(h)
    return h.stream is not None and tstream_pending_bytes(h.stream) != -1


def _check_handle(h: object) -> None:
    if not isinstance(h, dcerpc_binding_handle):
        raise TypeError(f"h must be a dcerpc_binding_handle, not {type(h).__name__}")


def dcerpc_binding_handle_set_timeout(h: dcerpc_binding_handle, timeout: int) -> int:
    """
    Give each call from now on a limit of *timeout* seconds, 0 for none, as at first.

    C: ``uint32_t dcerpc_binding_handle_set_timeout(struct dcerpc_binding_handle *h, uint32_t timeout)``

    Returns:
        The former one.
    """
    _check_handle(h)
    if not isinstance(timeout, int):
        raise TypeError(f"timeout must be an int, not {type(timeout).__name__}")
    if timeout < 0:
        raise ValueError(f"timeout must not be negative: {timeout}")
    old, h.timeout = h.timeout, timeout
    return old


class dcerpc_raw_call_state(TALLOC_CTX):
    """The state of `dcerpc_binding_handle_raw_call_send`."""

    __slots__ = ("handle", "out", "written")

    handle: dcerpc_binding_handle
    out: talloc_buffer | None
    written: bool


def dcerpc_binding_handle_raw_call_send(
    mem_ctx: TALLOC_CTX | None,
    ev: tevent_context,
    h: dcerpc_binding_handle,
    object: object,
    opnum: int,
    in_flags: int,
    in_data: ReadableBuffer,
) -> tevent_req | None:
    """
    Send *in_data* as it is, and read one answer.

    C: ``struct tevent_req *dcerpc_binding_handle_raw_call_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
    struct dcerpc_binding_handle *h, const struct GUID *object, uint32_t opnum, uint32_t in_flags,
    const uint8_t *in_data, size_t in_length)``

    Args:
        mem_ctx: The owner of the request.

        ev: The event context.

        h: The handle.

        object: Not looked at here.

        opnum: Not looked at here.

        in_flags: Not looked at here.

        in_data: The bytes; they are used until they are written.

    A failed write or read, and a timeout, end the connection. A call that is freed under way does not, as in C; but
    half of its question, or its answer, is left in the stream: who frees a call that has begun frees the handle, too.
    """
    _check_handle(h)
    req, state = tevent_req_create(mem_ctx, dcerpc_raw_call_state)
    if req is None:
        return None
    state.handle = h
    state.out = None
    state.written = False
    if not dcerpc_binding_handle_is_connected(h) or h.stream is None:
        tevent_req_nterror(req, NT_STATUS_CONNECTION_DISCONNECTED)
        return tevent_req_post(req, ev)
    if h.writing is not None:
        tevent_req_nterror(req, NT_STATUS_PIPE_BUSY)
        return tevent_req_post(req, ev)
    h.writing = req
    tevent_req_set_cleanup_fn(req, _call_over)
    if h.timeout and not tevent_req_set_endtime(req, ev, tevent_timeval_current_ofs(h.timeout, 0)):
        return tevent_req_post(req, ev)
    if _is_smb_pipe(h.stream):
        from .smb_np import tstream_smbXcli_np_use_trans

        if tevent_req_nterror(req, tstream_smbXcli_np_use_trans(h.stream)):
            return tevent_req_post(req, ev)
    subreq = tstream_writev_queue_send(state, ev, h.stream, h.queue, [in_data])
    if tevent_req_nomem(subreq, req):
        return tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, _call_written, req)
    subreq = tstream_read_pdu_blob_send(
        state, ev, h.stream, h.initial_read_size, h.complete_pdu_fn, h.complete_pdu_fn_private
    )
    if tevent_req_nomem(subreq, req):
        return tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, _call_answered, req)
    return req


def _call_over(req: tevent_req, req_state: tevent_req_state) -> None:
    """The cleanup function: whatever ends the call makes room for the next one."""
    h = tevent_req_data(req, dcerpc_raw_call_state).handle
    if h._talloc_chunk.obj is not h:
        return
    if h.writing is req:
        h.writing = None
    if req_state == TEVENT_REQ_TIMED_OUT:
        _forget_stream(h)


def _forget_stream(h: dcerpc_binding_handle) -> None:
    """The connection is of no use any more: nobody knows which answer would come next."""
    stream, h.stream = h.stream, None
    TALLOC_FREE(stream)


def _call_written(subreq: tevent_req) -> None:
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, dcerpc_raw_call_state)
    ret, err = tstream_writev_queue_recv(subreq)
    TALLOC_FREE(subreq)
    state.handle.writing = None
    if ret == -1:
        _forget_stream(state.handle)
        tevent_req_nterror(req, map_nt_error_from_unix_common(err))
        return
    state.written = True
    if state.out is not None:
        tevent_req_done(req)


def _call_answered(subreq: tevent_req) -> None:
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, dcerpc_raw_call_state)
    status, blob = tstream_read_pdu_blob_recv(subreq, state)
    TALLOC_FREE(subreq)
    if blob is None:
        _forget_stream(state.handle)
        tevent_req_nterror(req, status)
        return
    state.out = blob
    if state.written:  # an answer to half a question is kept until the question is out
        tevent_req_done(req)


def dcerpc_binding_handle_raw_call_recv(
    req: tevent_req, mem_ctx: TALLOC_CTX | None
) -> tuple[NTSTATUS, talloc_buffer | None, int]:
    """
    The result of `dcerpc_binding_handle_raw_call_send`.

    C: ``NTSTATUS dcerpc_binding_handle_raw_call_recv(struct tevent_req *req, TALLOC_CTX *mem_ctx, uint8_t **out_data,
    size_t *out_length, uint32_t *out_flags)``

    Returns:
        ``(NT_STATUS_OK, data, 0)``, the data a child of *mem_ctx*; or a status, None and 0:
        NT_STATUS_CONNECTION_DISCONNECTED, NT_STATUS_IO_TIMEOUT, NT_STATUS_PIPE_BUSY while another call is being
        written, else what `map_nt_error_from_unix_common` makes of the stream's errno.
    """
    state = tevent_req_data(req, dcerpc_raw_call_state)
    failed, status = tevent_req_is_nterror(req)
    out = None if failed else talloc_move(mem_ctx, state.out)
    tevent_req_received(req)
    return (status if failed else NT_STATUS_OK), out, 0


class dcerpc_disconnect_state(TALLOC_CTX):
    """The state of `dcerpc_binding_handle_disconnect_send`."""

    __slots__ = ("handle",)

    handle: dcerpc_binding_handle


def dcerpc_binding_handle_disconnect_send(
    mem_ctx: TALLOC_CTX | None, ev: tevent_context, h: dcerpc_binding_handle
) -> tevent_req | None:
    """
    Close the connection of *h*.

    C: ``struct tevent_req *dcerpc_binding_handle_disconnect_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
    struct dcerpc_binding_handle *h)``
    """
    _check_handle(h)
    req, state = tevent_req_create(mem_ctx, dcerpc_disconnect_state)
    if req is None:
        return None
    state.handle = h
    if not dcerpc_binding_handle_is_connected(h) or h.stream is None:
        tevent_req_nterror(req, NT_STATUS_CONNECTION_DISCONNECTED)
        return tevent_req_post(req, ev)
    subreq = tstream_disconnect_send(state, ev, h.stream)
    if tevent_req_nomem(subreq, req):
        return tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, _disconnected, req)
    return req


def _disconnected(subreq: tevent_req) -> None:
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, dcerpc_disconnect_state)
    ret, err = tstream_disconnect_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1:
        tevent_req_nterror(req, map_nt_error_from_unix_common(err))
        return
    _forget_stream(state.handle)
    tevent_req_done(req)


def dcerpc_binding_handle_disconnect_recv(req: tevent_req) -> NTSTATUS:
    """
    The result of `dcerpc_binding_handle_disconnect_send`.

    C: ``NTSTATUS dcerpc_binding_handle_disconnect_recv(struct tevent_req *req)``

    Returns:
        NT_STATUS_OK, NT_STATUS_CONNECTION_DISCONNECTED, or what `map_nt_error_from_unix_common` makes of an errno.
    """
    return tevent_req_simple_recv_ntstatus(req)
