# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Named pipes between Samba's processes: unix sockets, opened with a message that says who comes.

Mirrors ``libcli/named_pipe_auth/npa_tstream.c``.  A pipe carries bytes or messages.  A message has its length before
it, two bytes little-endian; one write is one message, a read takes as many messages as it needs and keeps the rest of
the last one.

Where C's reader loses its place, at a message that ends before the caller's buffers are full, this one goes on with the
next message.

Cost: a message is one read of the plain stream for its length and one for its bytes, which go straight into the
caller's buffers; a write is one write.
"""

from __future__ import annotations

from enum import IntEnum
from errno import EACCES, EINVAL, EIO, EMSGSIZE, ENAMETOOLONG, ENOTCONN, EPIPE, EPROTONOSUPPORT

from talloc_py.core import TALLOC_CTX, TALLOC_FREE, attach, talloc_free, talloc_move
from talloc_py.string import talloc_strdup
from tevent import (
    NT_STATUS_OK,
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
from ._views import fill, views_of
from .address import tsocket_address
from .bsd_address import (
    tsocket_address_inet_addr_string,
    tsocket_address_inet_from_strings,
    tsocket_address_inet_port,
    tsocket_address_is_inet,
    tsocket_address_unix_from_path,
)
from .bsd_stream import tstream_bsd_existing_socket, tstream_bsd_fail_readv_first_error
from .connect import tstream_unix_connect_recv, tstream_unix_connect_send
from .helpers import tstream_readv_pdu_recv, tstream_readv_pdu_send
from .npa_ndr import (
    NAMED_PIPE_AUTH_MAGIC,
    NDR_ERR_SUCCESS,
    auth_session_info_transport,
    named_pipe_auth_rep,
    named_pipe_auth_rep_info,
    named_pipe_auth_rep_info7,
    named_pipe_auth_rep_info8,
    named_pipe_auth_req,
    named_pipe_auth_req_info,
    named_pipe_auth_req_info7,
    named_pipe_auth_req_info8,
    ndr_pull_named_pipe_auth_rep,
    ndr_pull_named_pipe_auth_req,
    ndr_pull_struct_blob_all,
    ndr_push_named_pipe_auth_rep,
    ndr_push_named_pipe_auth_req,
    ndr_push_struct_blob,
)
from .pdu import tstream_u32_read_recv, tstream_u32_read_send
from .stream import (
    tsocket_simple_int_recv,
    tstream_disconnect_recv,
    tstream_disconnect_send,
    tstream_monitor_recv,
    tstream_monitor_send,
    tstream_pending_bytes,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_writev_recv,
    tstream_writev_send,
)
from .stream_backend import tstream_context_create, tstream_context_data, tstream_context_ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

__all__ = [
    "FILE_TYPE_BYTE_MODE_PIPE",
    "FILE_TYPE_MESSAGE_MODE_PIPE",
    "NCACN_AT_DSP",
    "NCACN_HTTP",
    "NCACN_INTERNAL",
    "NCACN_IP_TCP",
    "NCACN_IP_UDP",
    "NCACN_NP",
    "NCACN_SPX",
    "NCACN_UNIX_STREAM",
    "NCACN_VNS_IPC",
    "NCACN_VNS_SPP",
    "NCADG_AT_DDP",
    "NCADG_IPX",
    "NCADG_UNIX_DGRAM",
    "NCALRPC",
    "NCA_UNKNOWN",
    "dcerpc_transport_t",
    "tstream_npa_accept_existing_recv",
    "tstream_npa_accept_existing_send",
    "tstream_npa_connect_recv",
    "tstream_npa_connect_send",
    "tstream_npa_existing_socket",
    "tstream_npa_existing_stream",
]

FILE_TYPE_BYTE_MODE_PIPE: Final = 1
FILE_TYPE_MESSAGE_MODE_PIPE: Final = 2

#: The longest request or reply that is read, and the longest message.
_PACKET_MAX: Final = 0x00FFFFFF
_MESSAGE_MAX: Final = 0xFFFF
_LENGTH_SIZE: Final = 2
_UNIX_PATH_MAX: Final = 107
_NT_STATUS_INVALID_ADDRESS: Final = NTSTATUS(0xC0000141)


class dcerpc_transport_t(IntEnum):
    """
    How a client of DCE/RPC has come.

    C: ``enum dcerpc_transport_t``
    """

    NCA_UNKNOWN = 0
    NCACN_NP = 1
    NCACN_IP_TCP = 2
    NCACN_IP_UDP = 3
    NCACN_VNS_IPC = 4
    NCACN_VNS_SPP = 5
    NCACN_AT_DSP = 6
    NCADG_AT_DDP = 7
    NCALRPC = 8
    NCACN_UNIX_STREAM = 9
    NCADG_UNIX_DGRAM = 10
    NCACN_HTTP = 11
    NCADG_IPX = 12
    NCACN_SPX = 13
    NCACN_INTERNAL = 14


NCA_UNKNOWN: Final = dcerpc_transport_t.NCA_UNKNOWN
NCACN_NP: Final = dcerpc_transport_t.NCACN_NP
NCACN_IP_TCP: Final = dcerpc_transport_t.NCACN_IP_TCP
NCACN_IP_UDP: Final = dcerpc_transport_t.NCACN_IP_UDP
NCACN_VNS_IPC: Final = dcerpc_transport_t.NCACN_VNS_IPC
NCACN_VNS_SPP: Final = dcerpc_transport_t.NCACN_VNS_SPP
NCACN_AT_DSP: Final = dcerpc_transport_t.NCACN_AT_DSP
NCADG_AT_DDP: Final = dcerpc_transport_t.NCADG_AT_DDP
NCALRPC: Final = dcerpc_transport_t.NCALRPC
NCACN_UNIX_STREAM: Final = dcerpc_transport_t.NCACN_UNIX_STREAM
NCADG_UNIX_DGRAM: Final = dcerpc_transport_t.NCADG_UNIX_DGRAM
NCACN_HTTP: Final = dcerpc_transport_t.NCACN_HTTP
NCADG_IPX: Final = dcerpc_transport_t.NCADG_IPX
NCACN_SPX: Final = dcerpc_transport_t.NCACN_SPX
NCACN_INTERNAL: Final = dcerpc_transport_t.NCACN_INTERNAL


# -- the stream -------------------------------------------------------------------------------------------------------


class tstream_npa(TALLOC_CTX):
    """The state of a pipe: the stream below, its mode, and what is left of the last message."""

    __slots__ = ("file_type", "offset", "plain", "rest")

    plain: tstream_context | None  # None once disconnected
    file_type: int
    rest: bytes
    offset: int  # of the first byte of `rest` that was not read yet

    @property
    def usable(self) -> bool:
        """Whether the stream below is there; it may belong to somebody else."""
        return self.plain is not None

    @property
    def by_messages(self) -> bool:
        """Whether each write is a message."""
        return self.file_type == FILE_TYPE_MESSAGE_MODE_PIPE


def _is_mode(file_type: object) -> bool:
    return file_type in (FILE_TYPE_BYTE_MODE_PIPE, FILE_TYPE_MESSAGE_MODE_PIPE)


def _new_pipe(mem_ctx: TALLOC_CTX | None, plain: tstream_context, file_type: int) -> tstream_context | None:
    stream, state = tstream_context_create(mem_ctx, _OPS, tstream_npa)
    if stream is not None:
        state.plain = plain
        state.file_type = file_type
        state.rest = b""
        state.offset = 0
    return stream


def tstream_npa_existing_stream(
    mem_ctx: TALLOC_CTX | None, transport: tstream_context, ft: int
) -> tuple[int, tstream_context | None]:
    """
    Make a pipe out of a stream over which everything about its opening has been said.

    C: ``int tstream_npa_existing_stream(TALLOC_CTX *mem_ctx, struct tstream_context **transport, uint16_t file_type,
    struct tstream_context **_stream)``

    Args:
        mem_ctx: The owner.

        transport: The stream below; it moves below the new one.

        ft: FILE_TYPE_BYTE_MODE_PIPE or FILE_TYPE_MESSAGE_MODE_PIPE.

    Returns:
        ``(0, stream)``; ``(-1, None)`` with errno EINVAL for another mode, and ENOMEM where a memory limit forbids it.
    """
    if not is_stream(transport) or not _is_mode(ft):
        set_errno(EINVAL)
        return -1, None
    stream = _new_pipe(mem_ctx, transport, ft)
    if stream is None:
        return -1, None
    talloc_move(tstream_context_data(stream, tstream_npa), transport)
    return 0, stream


def tstream_npa_existing_socket(mem_ctx: TALLOC_CTX | None, fd: int, ft: int) -> tuple[int, tstream_context | None]:
    """
    As `tstream_npa_existing_stream`, over a descriptor, which must be non-blocking.

    C: ``int tstream_npa_existing_socket(TALLOC_CTX *mem_ctx, int fd, uint16_t file_type,
    struct tstream_context **_stream)``

    Ownership: the descriptor belongs to the stream; with a wrong mode it stays the caller's.
    """
    if not _is_mode(ft):
        set_errno(EINVAL)
        return -1, None
    ret, transport = tstream_bsd_existing_socket(mem_ctx, fd)
    if transport is None:
        return ret, None
    tstream_bsd_fail_readv_first_error(transport, True)
    return tstream_npa_existing_stream(mem_ctx, transport, ft)


def _pending_bytes(stream: tstream_context) -> int:
    state = tstream_context_data(stream, tstream_npa)
    if state.plain is None:
        set_errno(ENOTCONN)
        return -1
    if not _is_mode(state.file_type):
        set_errno(EINVAL)
        return -1
    if state.by_messages:
        return len(state.rest) - state.offset
    return tstream_pending_bytes(state.plain)


class npa_op(TALLOC_CTX):
    """The state of a read, a write, a disconnect or a monitor."""

    __slots__ = ("body", "ev", "header", "npa", "ret", "rest", "views")

    ev: tevent_context
    npa: tstream_npa
    views: list[memoryview]
    ret: int
    header: bytearray | None
    body: list[Any] | None
    rest: bytearray


def _begin(
    mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, start: Callable[[tevent_req, npa_op], None]
) -> tevent_req | None:
    """The request of an operation, started; the end of one that is over at once comes from the loop."""
    req, state = tevent_req_create(mem_ctx, npa_op)
    if req is None:
        return None
    state.ev = ev
    state.npa = tstream_context_data(stream, tstream_npa)
    state.ret = 0
    if state.npa.plain is None:
        tevent_req_error(req, ENOTCONN)
        return tevent_req_post(req, ev)
    start(req, state)
    return req if req.status == _IN_PROGRESS else tevent_req_post(req, ev)


_IN_PROGRESS: Final = 1


def _transfer_recv(req: tevent_req) -> tuple[int, int]:
    ret, err = tsocket_simple_int_recv(req)
    if ret == 0:
        ret = tevent_req_data(req, npa_op).ret
    tevent_req_received(req)
    return ret, err


def _passed_on(recv: Callable[[tevent_req], tuple[int, int]], less: int = 0) -> Callable[[tevent_req], None]:
    """The callback for a subrequest whose result is that of the operation, but for *less* bytes of our own."""

    def done(subreq: tevent_req) -> None:
        req = tevent_req_callback_data(subreq, tevent_req)
        ret, err = recv(subreq)
        TALLOC_FREE(subreq)
        if ret == -1:
            tevent_req_error(req, err)
            return
        tevent_req_data(req, npa_op).ret = ret - less
        tevent_req_done(req)

    return done


_bytes_read: Final = _passed_on(tstream_readv_recv)
_bytes_written: Final = _passed_on(tstream_writev_recv)
_message_written: Final = _passed_on(tstream_writev_recv, _LENGTH_SIZE)


def _readv_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, vector: Any) -> tevent_req | None:
    def start(req: tevent_req, state: npa_op) -> None:
        if state.npa.by_messages:
            state.views = views_of(vector)
            _read_on(req, state)
        elif _is_mode(state.npa.file_type):
            assert state.npa.plain is not None
            _wait_for(req, tstream_readv_send(state, ev, state.npa.plain, vector), _bytes_read)
        else:
            tevent_req_error(req, EINVAL)

    return _begin(mem_ctx, ev, stream, start)


def _wait_for(req: tevent_req, subreq: tevent_req | None, done: Callable[[tevent_req], None]) -> None:
    if not tevent_req_nomem(subreq, req):
        tevent_req_set_callback(subreq, done, req)


def _read_on(req: tevent_req, state: npa_op) -> None:
    """Hand over what is left of the last message; read another one if that is not enough."""
    npa = state.npa
    copied = fill(state.views, memoryview(npa.rest)[npa.offset :])
    npa.offset += copied
    state.ret += copied
    if not state.views:
        tevent_req_done(req)
        return
    npa.rest = b""
    npa.offset = 0
    state.header = state.body = None
    assert npa.plain is not None
    _wait_for(req, tstream_readv_pdu_send(state, state.ev, npa.plain, _message_next_vector, state), _message_read)


def _message_next_vector(stream: tstream_context, state: Any, mem_ctx: TALLOC_CTX) -> tuple[int, list[Any] | None]:
    if state.header is None:
        state.header = bytearray(_LENGTH_SIZE)
        return 0, [state.header]
    if state.body is not None:
        return 0, None
    size = int.from_bytes(state.header, "little")
    if size == 0:
        set_errno(EIO)
        return -1, None
    # Straight to where the caller wants it; what there is no room for, aside.
    body: list[Any] = []
    state.body = body
    while state.views and size:
        part = state.views[0][:size]
        body.append(part)
        size -= len(part)
        state.ret += len(part)
        if len(part) == len(state.views[0]):
            state.views.pop(0)
        else:
            state.views[0] = state.views[0][len(part) :]
    state.rest = bytearray(size)
    if size:
        body.append(state.rest)
    return 0, body


def _message_read(subreq: tevent_req) -> None:
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, npa_op)
    ret, err = tstream_readv_pdu_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1:
        tevent_req_error(req, err)
        return
    state.npa.rest = bytes(state.rest)
    state.body = None  # the caller's buffers are not held any longer
    _read_on(req, state)


def _writev_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, vector: Any) -> tevent_req | None:
    def start(req: tevent_req, state: npa_op) -> None:
        plain = state.npa.plain
        assert plain is not None
        if state.npa.by_messages:
            parts = views_of(vector)
            size = sum(map(len, parts))
            if size > _MESSAGE_MAX:
                tevent_req_error(req, EMSGSIZE)
                return
            message: list[Any] = [size.to_bytes(_LENGTH_SIZE, "little"), *parts]
            _wait_for(req, tstream_writev_send(state, ev, plain, message), _message_written)
        elif _is_mode(state.npa.file_type):
            _wait_for(req, tstream_writev_send(state, ev, plain, vector), _bytes_written)
        else:
            tevent_req_error(req, EINVAL)

    return _begin(mem_ctx, ev, stream, start)


def _disconnect_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context) -> tevent_req | None:
    def start(req: tevent_req, state: npa_op) -> None:
        assert state.npa.plain is not None
        _wait_for(req, tstream_disconnect_send(state, ev, state.npa.plain), _disconnected)

    return _begin(mem_ctx, ev, stream, start)


def _disconnected(subreq: tevent_req) -> None:
    req = tevent_req_callback_data(subreq, tevent_req)
    npa = tevent_req_data(req, npa_op).npa
    ret, err = tstream_disconnect_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1:
        tevent_req_error(req, err)
        return
    plain, npa.plain = npa.plain, None
    talloc_free(plain)
    tevent_req_done(req)


def _monitor_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context) -> tevent_req | None:
    def start(req: tevent_req, state: npa_op) -> None:
        assert state.npa.plain is not None
        _wait_for(req, tstream_monitor_send(state, ev, state.npa.plain), _monitored)

    return _begin(mem_ctx, ev, stream, start)


def _monitored(subreq: tevent_req) -> None:
    """A monitor ends with an error, whatever the one below says."""
    req = tevent_req_callback_data(subreq, tevent_req)
    _, err = tstream_monitor_recv(subreq)
    TALLOC_FREE(subreq)
    tevent_req_error(req, err or EPIPE)


_OPS: Final = tstream_context_ops(
    name="npa",
    pending_bytes=_pending_bytes,
    readv_send=_readv_send,
    readv_recv=_transfer_recv,
    writev_send=_writev_send,
    writev_recv=_transfer_recv,
    disconnect_send=_disconnect_send,
    disconnect_recv=_transfer_recv,
    monitor_send=_monitor_send,
    monitor_recv=_transfer_recv,
)


# -- connecting -------------------------------------------------------------------------------------------------------


def _check_level(level: int) -> None:
    if level not in (7, 8):
        raise ValueError(f"level must be 7 or 8, not {level!r}")


class tstream_npa_connect_state(TALLOC_CTX):
    """The state of `tstream_npa_connect_send`."""

    __slots__ = ("ev", "level", "packet", "plain", "reply")

    ev: tevent_context
    level: int
    packet: bytearray
    plain: tstream_context
    reply: named_pipe_auth_rep_info8


def tstream_npa_connect_send(
    mem_ctx: TALLOC_CTX | None,
    ev: tevent_context,
    directory: str,
    npipe: str,
    transport: int,
    remote_client_addr: tsocket_address,
    remote_client_name_in: str | None,
    local_server_addr: tsocket_address | None,
    local_server_name_in: str | None,
    session_info: auth_session_info_transport | None,
    *,
    level: int = 8,
) -> tevent_req | None:
    """
    Open a pipe of another process of Samba's.

    C: ``struct tevent_req *tstream_npa_connect_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
    const char *directory, const char *npipe, enum dcerpc_transport_t transport,
    const struct tsocket_address *remote_client_addr, const char *remote_client_name_in,
    const struct tsocket_address *local_server_addr, const char *local_server_name_in,
    const struct auth_session_info_transport *session_info)``

    Args:
        mem_ctx: The owner of the request.

        ev: The event context.

        directory: Where the pipes' sockets are.

        npipe: The name of the pipe; upper case is made lower.

        transport: How the client has come, a `dcerpc_transport_t`.

        remote_client_addr: The client's address, an inet one.

        remote_client_name_in: Its name; None for the text of its address.

        local_server_addr: The address that it has come to, an inet one.

        local_server_name_in: Its name; None for the text of the address.

        session_info: Who the client is.

        level: The version of the protocol: Samba 4.17 speaks 7 alone, later ones 8. Python only.

    Errors of `tstream_npa_connect_recv`: ENAMETOOLONG, EINVAL for addresses that are none of inet and for what cannot
    be sent, those of the connect, EACCES where the other side refuses, EIO for an answer that is none, EMSGSIZE for one
    that is too long, EPIPE where there is none.
    """
    _check_level(level)
    for name, address in (("remote_client_addr", remote_client_addr), ("local_server_addr", local_server_addr)):
        if not isinstance(address, tsocket_address) and not (address is None and name == "local_server_addr"):
            raise TypeError(f"{name} must be a tsocket_address, not {type(address).__name__}")
    req, state = tevent_req_create(mem_ctx, tstream_npa_connect_state)
    if req is None:
        return None
    state.ev = ev
    state.level = level
    err = _prepare_connect(
        state,
        transport,
        (remote_client_addr, remote_client_name_in),
        (local_server_addr, local_server_name_in),
        session_info,
        f"{directory}/{npipe.lower()}",
    )
    if err:
        tevent_req_error(req, err)
        return tevent_req_post(req, ev)
    _ret, local = tsocket_address_unix_from_path(state, "")
    _ret2, remote = tsocket_address_unix_from_path(state, f"{directory}/{npipe.lower()}")
    if local is None or remote is None:
        tevent_req_error(req, EINVAL)
        return tevent_req_post(req, ev)
    subreq = tstream_unix_connect_send(state, ev, local, remote)
    if tevent_req_nomem(subreq, req):
        return tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, _connected, req)
    return req


def _prepare_connect(
    state: tstream_npa_connect_state,
    transport: int,
    client: tuple[tsocket_address, str | None],
    server: tuple[tsocket_address | None, str | None],
    session_info: auth_session_info_transport | None,
    path: str,
) -> int:
    """Make the request's packet; 0 or the errno of what is wrong, in C's order."""
    client_addr, client_name = client
    server_addr, server_name = server
    if len(path.encode(errors="surrogateescape")) > _UNIX_PATH_MAX:
        return ENAMETOOLONG
    if server_addr is None:
        return EINVAL
    if not tsocket_address_is_inet(client_addr, "ip") or not tsocket_address_is_inet(server_addr, "ip"):
        return EINVAL
    client_text = tsocket_address_inet_addr_string(client_addr, state)
    server_text = tsocket_address_inet_addr_string(server_addr, state)
    info = (named_pipe_auth_req_info7 if state.level == 7 else named_pipe_auth_req_info8)(
        transport=int(transport),
        remote_client_name=client_text if client_name is None else client_name,
        remote_client_addr=client_text,
        remote_client_port=tsocket_address_inet_port(client_addr),
        local_server_name=server_text if server_name is None else server_name,
        local_server_addr=server_text,
        local_server_port=tsocket_address_inet_port(server_addr),
        session_info=session_info,
    )
    packet = named_pipe_auth_req(level=state.level, info=named_pipe_auth_req_info(**{f"info{state.level}": info}))
    _err, blob = ndr_push_struct_blob(state, packet, ndr_push_named_pipe_auth_req)
    if blob is None:
        return EINVAL
    state.packet = blob
    return 0


def _connected(subreq: tevent_req) -> None:
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, tstream_npa_connect_state)
    _ret, err, plain = tstream_unix_connect_recv(subreq, state)
    TALLOC_FREE(subreq)
    if plain is None:
        tevent_req_error(req, err)
        return
    state.plain = plain
    _wait_for(req, tstream_writev_send(state, state.ev, plain, [state.packet]), _request_written)


def _request_written(subreq: tevent_req) -> None:
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, tstream_npa_connect_state)
    ret, err = tstream_writev_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1:
        tevent_req_error(req, err)
        return
    _wait_for(req, tstream_u32_read_send(state, state.ev, _PACKET_MAX, state.plain), _reply_read)


def _reply_read(subreq: tevent_req) -> None:
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, tstream_npa_connect_state)
    err, blob = tstream_u32_read_recv(subreq, state)
    TALLOC_FREE(subreq)
    if blob is not None:
        err = _judge_reply(state, blob)
    if err:
        tevent_req_error(req, err)
        return
    tevent_req_done(req)


def _judge_reply(state: tstream_npa_connect_state, blob: bytearray) -> int:
    """0, or the errno of a reply that does not open the pipe."""
    reply = named_pipe_auth_rep()
    if ndr_pull_struct_blob_all(blob, state, reply, ndr_pull_named_pipe_auth_rep) != NDR_ERR_SUCCESS:
        return EIO
    if reply.length < 16 or reply.magic != NAMED_PIPE_AUTH_MAGIC:
        return EIO
    if reply.status != NT_STATUS_OK:
        return EACCES
    if reply.level != state.level:
        return EIO
    info = reply.info.info8 if reply.info.info7 is None else reply.info.info7
    assert info is not None
    state.reply = info
    return 0


def tstream_npa_connect_recv(
    req: tevent_req, mem_ctx: TALLOC_CTX | None
) -> tuple[int, int, tstream_context | None, int, int, int]:
    """
    The result of `tstream_npa_connect_send`.

    C: ``int tstream_npa_connect_recv(struct tevent_req *req, int *perrno, TALLOC_CTX *mem_ctx,
    struct tstream_context **stream, uint16_t *file_type, uint16_t *device_state, uint64_t *allocation_size)``

    Returns:
        ``(0, 0, stream, file_type, device_state, allocation_size)``, the stream a child of *mem_ctx*; or
        ``(-1, errno, None, 0, 0, 0)``.
    """
    state = tevent_req_data(req, tstream_npa_connect_state)
    ret, err = tsocket_simple_int_recv(req)
    result: tuple[int, int, tstream_context | None, int, int, int] = (-1, err, None, 0, 0, 0)
    if ret == 0:
        reply = state.reply
        stream = _new_pipe(mem_ctx, state.plain, reply.file_type)
        if stream is not None:
            talloc_move(tstream_context_data(stream, tstream_npa), state.plain)
            result = (0, 0, stream, reply.file_type, reply.device_state, reply.allocation_size)
    tevent_req_received(req)
    return result


# -- accepting --------------------------------------------------------------------------------------------------------


class tstream_npa_accept_state(TALLOC_CTX):
    """The state of `tstream_npa_accept_existing_send`."""

    __slots__ = ("client", "ev", "level", "plain", "refused", "reply", "request", "server")

    ev: tevent_context
    plain: tstream_context
    level: int
    reply: named_pipe_auth_rep_info8
    request: named_pipe_auth_req_info8
    client: tsocket_address | None
    server: tsocket_address | None
    refused: int  # the errno after a reply that says no


def tstream_npa_accept_existing_send(
    mem_ctx: TALLOC_CTX | None,
    ev: tevent_context,
    plain: tstream_context,
    file_type: int,
    device_state: int,
    allocation_size: int,
    *,
    level: int = 8,
) -> tevent_req | None:
    """
    Let a client that has connected open a pipe.

    C: ``struct tevent_req *tstream_npa_accept_existing_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
    struct tstream_context *plain, uint16_t file_type, uint16_t device_state, uint64_t allocation_size)``

    Args:
        mem_ctx: The owner of the request.

        ev: The event context.

        plain: The connection; it stays the caller's, but a disconnect of the pipe frees it.

        file_type: FILE_TYPE_BYTE_MODE_PIPE or FILE_TYPE_MESSAGE_MODE_PIPE.

        device_state: For the client.

        allocation_size: For the client.

        level: The version of the protocol: Samba 4.17 speaks 7 alone, later ones 8. Python only.

    Errors of `tstream_npa_accept_existing_recv`: EINVAL for another mode; EMSGSIZE for a request that is too short or
    too long, EPROTONOSUPPORT for one of another protocol, or without addresses, EIO for one that cannot be read; EPIPE.
    Only addresses are complained of to the client, with NT_STATUS_INVALID_ADDRESS; otherwise it hears nothing.
    """
    _check_level(level)
    if not is_stream(plain):
        return None
    req, state = tevent_req_create(mem_ctx, tstream_npa_accept_state)
    if req is None:
        return None
    state.ev = ev
    state.plain = plain
    state.level = level
    state.refused = 0
    state.client = state.server = None
    if not _is_mode(file_type):
        tevent_req_error(req, EINVAL)
        return tevent_req_post(req, ev)
    state.reply = (named_pipe_auth_rep_info7 if level == 7 else named_pipe_auth_rep_info8)(
        file_type=file_type, device_state=device_state, allocation_size=allocation_size
    )
    subreq = tstream_u32_read_send(state, ev, _PACKET_MAX, plain)
    if tevent_req_nomem(subreq, req):
        return tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, _request_read, req)
    return req


def _request_read(subreq: tevent_req) -> None:
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, tstream_npa_accept_state)
    err, blob = tstream_u32_read_recv(subreq, state)
    TALLOC_FREE(subreq)
    if blob is not None:
        err = _judge_request(state, blob)
    if err:
        tevent_req_error(req, err)
        return
    status = NT_STATUS_OK if not state.refused else _NT_STATUS_INVALID_ADDRESS
    reply = named_pipe_auth_rep(
        level=state.level, info=named_pipe_auth_rep_info(**{f"info{state.level}": state.reply}), status=status
    )
    _, packet = ndr_push_struct_blob(state, reply, ndr_push_named_pipe_auth_rep)
    if packet is None:
        tevent_req_error(req, EIO)
        return
    _wait_for(req, tstream_writev_send(state, state.ev, state.plain, [packet]), _reply_written)


def _judge_request(state: tstream_npa_accept_state, blob: bytearray) -> int:
    """0 where there is something to be answered, or the errno of a request that is not."""
    if len(blob) < 8:
        return EMSGSIZE
    if blob[4:8] != NAMED_PIPE_AUTH_MAGIC.encode():
        return EPROTONOSUPPORT
    request = named_pipe_auth_req()
    if ndr_pull_struct_blob_all(blob, state, request, ndr_pull_named_pipe_auth_req) != NDR_ERR_SUCCESS:
        return EIO
    if request.level != state.level:
        return EIO
    info = request.info.info8 if request.info.info7 is None else request.info.info7
    assert info is not None
    state.request = info
    state.server = _address_of(state, info.local_server_addr, info.local_server_port)
    state.client = _address_of(state, info.remote_client_addr, info.remote_client_port)
    if state.server is None or state.client is None:
        state.refused = EPROTONOSUPPORT
    return 0


def _address_of(state: tstream_npa_accept_state, text: str | None, port: int) -> tsocket_address | None:
    """The address that a client says; "" is none, for it stands for any address elsewhere."""
    if not text:
        return None
    return tsocket_address_inet_from_strings(state, "ip", text, port)[1]


def _reply_written(subreq: tevent_req) -> None:
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, tstream_npa_accept_state)
    ret, err = tstream_writev_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1 or state.refused:
        tevent_req_error(req, err if ret == -1 else state.refused)
        return
    tevent_req_done(req)


def tstream_npa_accept_existing_recv(
    req: tevent_req, mem_ctx: TALLOC_CTX | None
) -> tuple[
    int,
    int,
    tstream_context | None,
    named_pipe_auth_req_info8 | None,
    int,
    tsocket_address | None,
    str | None,
    tsocket_address | None,
    str | None,
    auth_session_info_transport | None,
]:
    """
    The result of `tstream_npa_accept_existing_send`.

    C: ``int tstream_npa_accept_existing_recv(struct tevent_req *req, int *perrno, TALLOC_CTX *mem_ctx,
    struct tstream_context **stream, struct named_pipe_auth_req_info8 **info8, enum dcerpc_transport_t *transport,
    struct tsocket_address **remote_client_addr, char **_remote_client_name, struct tsocket_address **local_server_addr,
    char **local_server_name, struct auth_session_info_transport **session_info)``

    Returns:
        ``(0, 0, stream, info, transport, remote_client_addr, remote_client_name, local_server_addr, local_server_name,
        session_info)``, all owned by *mem_ctx*; names and session info are None where the client says none, *info* is
        its whole request, a copy. A transport that has no name stays a number. Or -1, the errno, None and 0.
    """
    state = tevent_req_data(req, tstream_npa_accept_state)
    ret, err = tsocket_simple_int_recv(req)
    stream = None
    if ret == 0:
        stream = _new_pipe(mem_ctx, state.plain, state.reply.file_type)
    if ret == -1 or stream is None:
        tevent_req_received(req)
        return -1, err, None, None, 0, None, None, None, None, None
    asked = state.request
    info = _copy_of(asked, mem_ctx)
    session_info = asked.session_info
    if session_info is not None:
        attach(session_info, mem_ctx, auth_session_info_transport)
    client = talloc_move(mem_ctx, state.client)
    server = talloc_move(mem_ctx, state.server)
    client_name = talloc_strdup(mem_ctx, asked.remote_client_name)
    server_name = talloc_strdup(mem_ctx, asked.local_server_name)
    tevent_req_received(req)
    transport = _transport(asked.transport)
    return 0, 0, stream, info, transport, client, client_name, server, server_name, session_info


def _transport(number: int) -> int:
    try:
        return dcerpc_transport_t(number)
    except ValueError:
        return number


def _copy_of(info: named_pipe_auth_req_info8, mem_ctx: TALLOC_CTX | None) -> named_pipe_auth_req_info8:
    """An independent copy, owned by *mem_ctx*."""
    from copy import deepcopy

    copy = deepcopy(info)
    attach(copy, mem_ctx, type(copy))
    return copy
