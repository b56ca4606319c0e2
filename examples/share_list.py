#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-3.0-or-later
r"""
List the shares of a Samba server: DCE/RPC over a named pipe, by either of the two ways to one.

::

    python examples/share_list.py --pipes /run/samba/ncalrpc/np     # as Samba's own processes do it: root, this machine
    export SMB_PASSWORD=...
    python examples/share_list.py --smb 192.0.2.1 --user someone    # as any client does it, over SMB

The program opens the pipe "srvsvc", binds to the interface of that name, calls ``NetShareEnumAll`` and prints a line
for each share. From the bind on it does not know which of the two streams it has, but for one question: over SMB the
next write and the next read can be one message.

===================  =============================================================================================
``npa_open``         the pipe by `tstream_npa_connect_send`, with a session of nobody in particular
``smb_open``         the pipe by `tstream_smbXcli_np_open_send`, on a connection of the package smbprotocol
``rpc_call``         a packet out, and every fragment of the answer in, by `dcerpc_read_ncacn_packet_send`
``share_list``       bind, call, decode
===================  =============================================================================================

What the server sends is not trusted: lengths are checked, and there is a limit on the size of an answer.
"""

from __future__ import annotations

import argparse
import os
import struct
import sys
from contextlib import ExitStack
from errno import EACCES, EBADMSG, EMSGSIZE, ENOMEM, EPROTO
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from talloc_py import *
from tevent import *
from tevent.typing import tevent_subreq
from tsocket import *

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

SRVSVC = (UUID("4b324fc8-1670-01d3-1278-5a47bf6ee188"), 3)
NDR = (UUID("8a885d04-1ceb-11c9-9fe8-08002b104860"), 2)
NET_SHARE_ENUM_ALL = 15
FRAGMENT_MAX = 4280
ANSWER_MAX_BYTES = 4 * 1024 * 1024
NOBODY = 65534
KINDS = ("disk", "printer", "device", "pipe")
# Of a share that is not shown to everybody, above the kind.
HIDDEN = 0x80000000


# ---------------------------------------------------------------------------------------------------- opening a pipe


def npa_open(mem_ctx: TALLOC_CTX, ev: tevent_context, folder: str, level: int) -> tuple[int, tstream_context | None]:
    """The pipe of Samba's process that answers srvsvc; ``err, stream``."""
    _, client = tsocket_address_inet_from_strings(mem_ctx, "ip", "127.0.0.1", 1024)
    _, server = tsocket_address_inet_from_strings(mem_ctx, "ip", "127.0.0.1", 445)
    assert client is not None
    session = anonymous_session()
    req = tstream_npa_connect_send(
        mem_ctx, ev, folder, "srvsvc", NCACN_NP, client, "share_list", server, None, session, level=level
    )
    if req is None or not tevent_req_poll(req, ev):
        return get_errno() if req else ENOMEM, None
    _, err, stream, *_ = tstream_npa_connect_recv(req, mem_ctx)
    talloc_free(req)
    return err, stream


def anonymous_session() -> auth_session_info_transport:
    """
    Who we say that we are. What the session has, a server may do for us: nobody will do here.

    All four parts must be there: those who take them off the wire do not ask.
    """
    session = auth_session_info(
        security_token=security_token(sids=[dom_sid_parse("S-1-5-7")[1]]),
        unix_token=security_unix_token(uid=NOBODY, gid=NOBODY),
        info=auth_user_info(account_name="ANONYMOUS LOGON", domain_name="NT AUTHORITY"),
        unix_info=auth_user_info_unix(unix_name="nobody", sanitized_username="nobody"),
    )
    return auth_session_info_transport(session_info=session)


def smb_open(
    mem_ctx: TALLOC_CTX, ev: tevent_context, server: str, user: str, password: str, timeout_ms: int, stack: ExitStack
) -> tuple[int, tstream_context | None]:
    """The same pipe over SMB; ``err, stream``. The connection below it ends with *stack*."""
    import uuid

    from smbprotocol.connection import Connection  # pyright: ignore[reportMissingTypeStubs]
    from smbprotocol.exceptions import SMBException  # pyright: ignore[reportMissingTypeStubs]
    from smbprotocol.session import Session  # pyright: ignore[reportMissingTypeStubs]
    from smbprotocol.tree import TreeConnect  # pyright: ignore[reportMissingTypeStubs]

    # That package's own functions wait; a program that may not wait connects in a thread.
    try:
        connection: Any = Connection(uuid.uuid4(), server, 445)
        connection.connect(timeout=-(-timeout_ms // 1000))
        stack.callback(connection.disconnect, True)
        session = Session(connection, user, password)
        session.connect()
        tree = TreeConnect(session, rf"\\{server}\IPC$")
        tree.connect()
    except (SMBException, ValueError) as error:
        print(f"share_list: {error}", file=sys.stderr)
        return EACCES, None
    conn, smb_session, tcon = smbXcli_conn_from_smbprotocol(mem_ctx, connection, session, tree)
    req = tstream_smbXcli_np_open_send(mem_ctx, ev, conn, smb_session, tcon, 0, timeout_ms, "srvsvc")
    if req is None or not tevent_req_poll(req, ev):
        return get_errno() if req else ENOMEM, None
    status, stream = tstream_smbXcli_np_open_recv(req, mem_ctx)
    talloc_free(req)
    return 0 if NT_STATUS_IS_OK(status) else EPROTO, stream


# ---------------------------------------------------------------------------------------------------------- one call


class rpc_call_state(TALLOC_CTX):
    """A packet, and its answer so far."""

    ev: tevent_context
    stream: tstream_context
    packet: bytes
    call_id: int
    ptype: int
    stub: bytearray
    fragments: int


def rpc_call_send(
    mem_ctx: TALLOC_CTX | None, ev: tevent_context, stream: tstream_context, call_id: int, ptype: int, body: bytes
) -> tevent_req | None:
    """Send a packet of *ptype* that holds *body*, and read its answer."""
    req, state = tevent_req_create(mem_ctx, rpc_call_state)
    if req is None:
        return None
    state.ev = ev
    state.stream = stream
    state.call_id = call_id
    state.stub = bytearray()
    state.fragments = 0
    flags = DCERPC_PFC_FLAG_FIRST | DCERPC_PFC_FLAG_LAST
    size = DCERPC_NCACN_PAYLOAD_OFFSET + len(body)
    drep = bytes([DCERPC_DREP_LE, 0, 0, 0])
    state.packet = struct.pack("<BBBB4sHHI", 5, 0, ptype, flags, drep, size, 0, call_id) + body
    if tstream_is_smbXcli_np(stream):
        # The write and the read below become one message of SMB, once both are under way.
        tstream_smbXcli_np_use_trans(stream)
    subreq = tstream_writev_send(state, ev, stream, [state.packet])
    if tevent_req_nomem(subreq, req):
        return tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, rpc_call_written, req)
    rpc_call_read(req)
    return req if tevent_req_is_in_progress(req) else tevent_req_post(req, ev)


def rpc_call_written(subreq: tevent_req) -> None:
    """The packet is out."""
    req = tevent_req_callback_data(subreq, tevent_req)
    ret, err = tstream_writev_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1:
        tevent_req_error(req, err)


def rpc_call_read(req: tevent_req) -> None:
    """Wait for a fragment."""
    state = tevent_req_data(req, rpc_call_state)
    subreq = dcerpc_read_ncacn_packet_send(state, state.ev, state.stream)
    if tevent_req_nomem(subreq, req):
        return
    tevent_req_set_callback(subreq, rpc_call_got, req)


def rpc_call_got(subreq: tevent_req) -> None:
    """A fragment: the last one ends the call."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, rpc_call_state)
    status, packet, _ = dcerpc_read_ncacn_packet_recv(subreq, state)
    TALLOC_FREE(subreq)
    if packet is None:
        tevent_req_error(req, EBADMSG if status == NT_STATUS_RPC_PROTOCOL_ERROR else EPROTO)
        return
    first = bool(packet.pfc_flags & DCERPC_PFC_FLAG_FIRST)
    expected = first == (state.fragments == 0) and (first or packet.ptype == state.ptype)
    if not expected or packet.call_id != state.call_id or packet.auth_length or packet.drep[0] != DCERPC_DREP_LE:
        tevent_req_error(req, EBADMSG)
    elif len(state.stub) + len(packet.payload) > ANSWER_MAX_BYTES:
        tevent_req_error(req, EMSGSIZE)
    else:
        rpc_call_add(req, packet)


def rpc_call_add(req: tevent_req, packet: ncacn_packet) -> None:
    """Take a fragment in."""
    state = tevent_req_data(req, rpc_call_state)
    # A response begins with eight bytes of its own, in each fragment.
    state.stub += packet.payload[8:] if packet.ptype == DCERPC_PKT_RESPONSE else packet.payload
    state.ptype = packet.ptype
    state.fragments += 1
    if packet.pfc_flags & DCERPC_PFC_FLAG_LAST:
        tevent_req_done(req)
        return
    rpc_call_read(req)


def rpc_call_recv(req: tevent_req, ptype: int) -> tuple[int, bytes]:
    """``err, stub``: EPROTO where the answer is of another type than *ptype*, a fault for example."""
    state = tevent_req_data(req, rpc_call_state)
    is_error, err = tevent_req_is_unix_error(req)
    stub = b"" if is_error else bytes(state.stub)
    if not is_error and state.ptype != ptype:
        err = EPROTO
    tevent_req_received(req)
    return err, stub


# ------------------------------------------------------------------------------------------------------------ srvsvc


class Share(NamedTuple):
    """A share."""

    name: str
    kind: int
    comment: str


class Reader:
    """Takes NDR data apart from front to back; whatever would leave it is a `ValueError`."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.offset = 0

    def take(self, size: int) -> bytes:
        """The next *size* bytes."""
        if self.offset + size > len(self.data):
            raise ValueError("the data ends too early")
        self.offset += size
        return self.data[self.offset - size : self.offset]

    def u32(self) -> int:
        """The next number, aligned."""
        self.offset = -(-self.offset // 4) * 4
        return int.from_bytes(self.take(4), "little")

    def text(self) -> str:
        """The next string."""
        self.u32()  # how long it might be
        offset, size = self.u32(), self.u32()
        if offset:
            raise ValueError("a string that begins somewhere else")
        return self.take(2 * size).decode("utf-16-le", "backslashreplace").removesuffix("\0")


def encode_bind() -> bytes:
    """The body of a bind to srvsvc."""
    body = struct.pack("<HHIB3xHBx", FRAGMENT_MAX, FRAGMENT_MAX, 0, 1, 0, 1)
    for uuid, version in (SRVSVC, NDR):
        body += uuid.bytes_le + struct.pack("<I", version)
    return body


def accepted(stub: bytes) -> bool:
    """Whether the answer to a bind takes its one context."""
    reader = Reader(stub)
    reader.take(8)
    reader.take(int.from_bytes(reader.take(2), "little"))
    results, result = struct.unpack("<HxxH", struct.pack("<I", reader.u32()) + reader.take(2))
    return (results, result) == (1, 0)


def encode_enumeration() -> bytes:
    """The body of the request: all shares at level 1, however long the answer gets."""
    stub = struct.pack("<IIIIIIIII", 0, 1, 1, 0x20000, 0, 0, 0xFFFFFFFF, 0x20004, 0)
    return struct.pack("<IHH", len(stub), 0, NET_SHARE_ENUM_ALL) + stub


def decode_enumeration(stub: bytes) -> tuple[int, list[Share]]:
    """The results: the status, and the shares."""
    reader = Reader(stub)
    if (reader.u32(), reader.u32()) != (1, 1):
        raise ValueError("not level 1")
    shares: list[Share] = []
    if reader.u32():
        count = reader.u32()
        heads: list[tuple[int, int, int]] = []
        if reader.u32() and reader.u32() != count:
            raise ValueError("the number of shares does not agree with itself")
        for _ in range(count):
            heads.append((reader.u32(), reader.u32(), reader.u32()))
        # What a pointer points to comes behind all that is in line, in the same order.
        for name, kind, comment in heads:
            shares.append(Share(reader.text() if name else "", kind, reader.text() if comment else ""))
    reader.u32()  # how many there are in all
    if reader.u32():
        reader.u32()  # where to go on
    return reader.u32(), shares


# -------------------------------------------------------------------------------------------------------- share_list


class share_list_state(TALLOC_CTX):
    """All of it."""

    ev: tevent_context
    stream: tstream_context
    status: int
    shares: list[Share]


def share_list_send(mem_ctx: TALLOC_CTX | None, ev: tevent_context, stream: tstream_context) -> tevent_req | None:
    """List the shares by *stream*, a pipe to srvsvc."""
    req, state = tevent_req_create(mem_ctx, share_list_state)
    if req is None:
        return None
    state.ev = ev
    state.stream = stream
    state.status = 0
    state.shares = []
    subreq = rpc_call_send(state, ev, stream, 1, DCERPC_PKT_BIND, encode_bind())
    if tevent_req_nomem(subreq, req):
        return tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, share_list_bound, req)
    return req


def share_list_bound(subreq: tevent_subreq) -> None:
    """The interface is there, or not."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, share_list_state)
    err, stub = rpc_call_recv(subreq, DCERPC_PKT_BIND_ACK)
    TALLOC_FREE(subreq)
    if tevent_req_error(req, err):
        return
    try:
        bound = accepted(stub)
    except ValueError:
        tevent_req_error(req, EBADMSG)
        return
    if not bound:
        tevent_req_error(req, EPROTO)
        return
    subreq = rpc_call_send(state, state.ev, state.stream, 2, DCERPC_PKT_REQUEST, encode_enumeration())
    if tevent_req_nomem(subreq, req):
        return
    tevent_req_set_callback(subreq, share_list_done, req)


def share_list_done(subreq: tevent_req) -> None:
    """The shares."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, share_list_state)
    err, stub = rpc_call_recv(subreq, DCERPC_PKT_RESPONSE)
    TALLOC_FREE(subreq)
    if tevent_req_error(req, err):
        return
    try:
        state.status, state.shares = decode_enumeration(stub)
    except ValueError:
        tevent_req_error(req, EBADMSG)
        return
    tevent_req_done(req)


def share_list_recv(req: tevent_req) -> tuple[int, int, list[Share]]:
    """``err, status, shares``: the status is a Windows error, 0 for none."""
    state = tevent_req_data(req, share_list_state)
    status, shares = state.status, state.shares
    _, err = tevent_req_is_unix_error(req)
    tevent_req_received(req)
    return err, status, shares


# ------------------------------------------------------------------------------------------------------ the program


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, or a usage message."""
    parser = argparse.ArgumentParser(description="List the shares of a Samba server.")
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--pipes", metavar="FOLDER", help="where Samba's processes have their pipes")
    way.add_argument("--smb", metavar="SERVER", help="a server of SMB; needs the package smbprotocol")
    parser.add_argument("--level", type=int, choices=(7, 8), default=8, help="of --pipes; Samba 4.17 has 7")
    parser.add_argument("--user", metavar="NAME", help="for --smb; the password is in the variable SMB_PASSWORD")
    parser.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS")
    options = parser.parse_args(argv)
    if options.smb and not options.user:
        parser.error("--smb needs --user")
    return options


def shares_of(options: argparse.Namespace) -> tuple[int, int, list[Share]]:
    """Ask as *options* say; ``err, status, shares``."""
    mem_ctx = talloc_new(None)
    assert mem_ctx is not None
    with ExitStack() as stack:
        try:
            return ask(options, mem_ctx, stack)
        finally:
            talloc_free(mem_ctx)


def ask(options: argparse.Namespace, mem_ctx: TALLOC_CTX, stack: ExitStack) -> tuple[int, int, list[Share]]:
    """The pipe, and what comes out of it."""
    ev = tevent_context_init(mem_ctx)
    assert ev is not None
    if options.pipes:
        err, stream = npa_open(mem_ctx, ev, options.pipes, options.level)
    else:
        password = os.environ.get("SMB_PASSWORD", "")
        err, stream = smb_open(mem_ctx, ev, options.smb, options.user, password, int(options.timeout * 1000), stack)
    if stream is None:
        return err, 0, []
    req = share_list_send(mem_ctx, ev, stream)
    if req is None:
        return ENOMEM, 0, []
    seconds, fraction = divmod(options.timeout, 1)
    tevent_req_set_endtime(req, ev, tevent_timeval_current_ofs(int(seconds), int(fraction * 1_000_000)))
    if not tevent_req_poll(req, ev):
        return get_errno(), 0, []
    return share_list_recv(req)


def main(argv: Sequence[str] | None = None) -> int:
    """The program: 0 where the server has told its shares, 1 where it has not."""
    options = parse(argv)
    err, status, shares = shares_of(options)
    if err or status:
        said = os.strerror(err) if err else f"error {status} of Windows"
        print(f"share_list: {options.pipes or options.smb}: {said}", file=sys.stderr)
        return 1
    for share in shares:
        kind = KINDS[share.kind & 3] + (", hidden" if share.kind & HIDDEN else "")
        print(f"{share.name} ({kind}): {share.comment}".rstrip(" :"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
