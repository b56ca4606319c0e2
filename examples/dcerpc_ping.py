#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Ask a DCE/RPC endpoint mapper what it offers.

::

    python examples/dcerpc_ping.py 127.0.0.1
    python examples/dcerpc_ping.py --max-fragment 1432 127.0.0.1:135

The program connects to TCP port 135, binds to the endpoint mapper's interface and calls ``ept_lookup`` until it has
every entry; it prints a line for each: the annotation, then the floors of the protocol tower.

==========================  ==============================================================================
``dcerpc_read_ncacn_packet``  one packet in, by `tstream_readv_pdu_send`: 16 bytes, then what they announce
``dcerpc_bind``             the bind packet out, its answer in
``dcerpc_call``             a request out, and every fragment of its response in
``epm_lookup``              calls until the endpoint mapper has no more entries
``dcerpc_ping``             all of it: connect, bind, look up, disconnect
==========================  ==============================================================================

What the server sends is not trusted: lengths are checked, and there are limits on the size of an answer and on the
number of entries.
"""

from __future__ import annotations

import argparse
import os
import socket
import struct
import sys
from errno import EACCES, EBADMSG, EMSGSIZE, ENOMEM, EPROTO
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from talloc_py import *
from tevent import *
from tevent.typing import tevent_subreq

# By name: the package has a reader of such packets, too, and this one is to be read.
from tsocket import (
    tsocket_address,
    tsocket_address_inet_from_hostport_strings,
    tsocket_address_inet_from_strings,
    tstream_context,
    tstream_disconnect_recv,
    tstream_disconnect_send,
    tstream_inet_tcp_connect_recv,
    tstream_inet_tcp_connect_send,
    tstream_readv_pdu_recv,
    tstream_readv_pdu_send,
    tstream_writev_recv,
    tstream_writev_send,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

EPMAPPER = (UUID("e1af8308-5d1f-11c9-91a4-08002b14a0fa"), 3)
NDR = (UUID("8a885d04-1ceb-11c9-9fe8-08002b104860"), 2)
EPT_LOOKUP = 2
EPT_NO_MORE_ENTRIES = 0x16C9A0D6

DCERPC_PKT_REQUEST, DCERPC_PKT_RESPONSE, DCERPC_PKT_FAULT = 0, 2, 3
DCERPC_PKT_BIND, DCERPC_PKT_BIND_ACK, DCERPC_PKT_BIND_NAK = 11, 12, 13
DCERPC_PFC_FLAG_FIRST, DCERPC_PFC_FLAG_LAST = 0x01, 0x02
DCERPC_DREP_LE = 0x10
DCERPC_NCACN_PAYLOAD_OFFSET = 16

ENTRIES_PER_CALL = 50
ENTRIES_MAX = 10_000
STUB_MAX_BYTES = 4 * 1024 * 1024


# ------------------------------------------------------------------------------------------------------ one packet


class ncacn_packet(NamedTuple):
    """A packet: its type, its flags, the byte order it is in, and all its bytes."""

    ptype: int
    pfc_flags: int
    order: str
    data: bytearray

    def unpack(self, form: str, offset: int) -> tuple[int, ...]:
        """Numbers at *offset*, in the packet's byte order; EBADMSG's `ValueError` if they are not there."""
        form = self.order + form
        if offset + struct.calcsize(form) > len(self.data):
            raise ValueError("the packet is too short")
        return struct.unpack_from(form, self.data, offset)


class dcerpc_read_ncacn_packet_state(TALLOC_CTX):
    """A packet that is coming in."""

    header: bytearray | None
    body: bytearray | None


def dcerpc_read_ncacn_packet_send(
    mem_ctx: TALLOC_CTX | None, ev: tevent_context, stream: tstream_context
) -> tevent_req | None:
    """Read one packet from *stream*."""
    req, state = tevent_req_create(mem_ctx, dcerpc_read_ncacn_packet_state)
    if req is None:
        return None
    subreq = tstream_readv_pdu_send(state, ev, stream, dcerpc_read_ncacn_packet_next_vector, state)
    if tevent_req_nomem(subreq, req):
        return tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, dcerpc_read_ncacn_packet_done, req)
    return req


def dcerpc_read_ncacn_packet_next_vector(
    stream: tstream_context, private_data: object, mem_ctx: TALLOC_CTX
) -> tuple[int, Sequence[bytearray] | None]:
    """
    What to read next.

    First the header, which every packet has; it says how long the packet is (at offset 8, in the byte order that offset
    4 names). Then the rest, if there is any. Then nothing: the packet is complete.
    """
    state = talloc_get_type_abort(private_data, dcerpc_read_ncacn_packet_state)
    if state.header is None:
        state.header = bytearray(DCERPC_NCACN_PAYLOAD_OFFSET)
        return 0, [state.header]
    if state.body is None:
        (size,) = struct.unpack_from(byte_order(state.header) + "H", state.header, 8)
        if size < DCERPC_NCACN_PAYLOAD_OFFSET:
            set_errno(EMSGSIZE)
            return -1, None
        state.body = bytearray(size - DCERPC_NCACN_PAYLOAD_OFFSET)
        return 0, [state.body] if state.body else []
    return 0, []


def byte_order(header: bytearray) -> str:
    """The byte order that a packet says it is in, as `struct` writes it."""
    return "<" if header[4] & DCERPC_DREP_LE else ">"


def dcerpc_read_ncacn_packet_done(subreq: tevent_req) -> None:
    """The packet is complete, or the stream failed."""
    req = tevent_req_callback_data(subreq, tevent_req)
    ret, err = tstream_readv_pdu_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1:
        tevent_req_error(req, err)
        return
    tevent_req_done(req)


def dcerpc_read_ncacn_packet_recv(req: tevent_req) -> tuple[int, ncacn_packet | None]:
    """``err, packet``."""
    state = tevent_req_data(req, dcerpc_read_ncacn_packet_state)
    header, body = state.header, state.body
    is_error, err = tevent_req_is_unix_error(req)
    tevent_req_received(req)
    if is_error or header is None or body is None:
        return err, None
    return 0, ncacn_packet(header[2], header[3], byte_order(header), header + body)


def ncacn_push(ptype: int, call_id: int, body: bytes) -> bytes:
    """A whole packet, little-endian, in one fragment."""
    flags = DCERPC_PFC_FLAG_FIRST | DCERPC_PFC_FLAG_LAST
    size = DCERPC_NCACN_PAYLOAD_OFFSET + len(body)
    return struct.pack("<BBBB4sHHI", 5, 0, ptype, flags, bytes([DCERPC_DREP_LE, 0, 0, 0]), size, 0, call_id) + body


# ------------------------------------------------------------------------------------------------------------- bind


class dcerpc_bind_state(TALLOC_CTX):
    """A bind under way."""

    ev: tevent_context
    stream: tstream_context
    packet: bytes


def dcerpc_bind_send(
    mem_ctx: TALLOC_CTX | None,
    ev: tevent_context,
    stream: tstream_context,
    interface: tuple[UUID, int],
    max_fragment: int,
) -> tevent_req | None:
    """Bind *stream* to *interface* and ask for answers in fragments of at most *max_fragment* bytes."""
    req, state = tevent_req_create(mem_ctx, dcerpc_bind_state)
    if req is None:
        return None
    state.ev = ev
    state.stream = stream
    body = struct.pack("<HHIB3xHBx", max_fragment, max_fragment, 0, 1, 0, 1)
    for uuid, version in (interface, NDR):
        body += uuid.bytes_le + struct.pack("<I", version)
    state.packet = ncacn_push(DCERPC_PKT_BIND, 1, body)
    subreq = tstream_writev_send(state, ev, stream, [state.packet])
    if tevent_req_nomem(subreq, req):
        return tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, dcerpc_bind_written, req)
    return req


def dcerpc_bind_written(subreq: tevent_subreq) -> None:
    """The bind is out: wait for its answer."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, dcerpc_bind_state)

    ret, err = tstream_writev_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1:
        tevent_req_error(req, err)
        return
    subreq = dcerpc_read_ncacn_packet_send(state, state.ev, state.stream)
    if tevent_req_nomem(subreq, req):
        return
    tevent_req_set_callback(subreq, dcerpc_bind_done, req)


def dcerpc_bind_done(subreq: tevent_req) -> None:
    """The answer: an acknowledgement whose one result is acceptance, or a refusal."""
    req = tevent_req_callback_data(subreq, tevent_req)
    err, packet = dcerpc_read_ncacn_packet_recv(subreq)
    TALLOC_FREE(subreq)
    if tevent_req_error(req, err) or tevent_req_nomem(packet, req):
        return
    if packet.ptype == DCERPC_PKT_BIND_NAK:
        tevent_req_error(req, EACCES)
        return
    try:
        accepted = packet.ptype == DCERPC_PKT_BIND_ACK and bind_result(packet) == 0
    except ValueError:
        tevent_req_error(req, EBADMSG)
        return
    if not accepted:
        tevent_req_error(req, EPROTO)
        return
    tevent_req_done(req)


def bind_result(packet: ncacn_packet) -> int:
    """The result of the one presentation context, which stands behind the text of the secondary address."""
    (text_size,) = packet.unpack("H", 24)
    offset = (26 + text_size + 3) & ~3
    results, result = packet.unpack("B3xH", offset)
    return result if results == 1 else -1


def dcerpc_bind_recv(req: tevent_req) -> int:
    """0, or the errno: EACCES refused, EPROTO the interface is not there."""
    return tevent_req_simple_recv_unix(req)


# ------------------------------------------------------------------------------------------------------------- call


class dcerpc_call_state(TALLOC_CTX):
    """A call under way."""

    ev: tevent_context
    stream: tstream_context
    packet: bytes
    call_id: int
    order: str
    stub: bytearray
    fragments: int
    fault: int


def dcerpc_call_send(
    mem_ctx: TALLOC_CTX | None, ev: tevent_context, stream: tstream_context, call_id: int, opnum: int, stub: bytes
) -> tevent_req | None:
    """Call operation *opnum* with the arguments *stub*."""
    req, state = tevent_req_create(mem_ctx, dcerpc_call_state)
    if req is None:
        return None
    state.ev = ev
    state.stream = stream
    state.call_id = call_id
    state.stub = bytearray()
    state.packet = ncacn_push(DCERPC_PKT_REQUEST, call_id, struct.pack("<IHH", len(stub), 0, opnum) + stub)
    subreq = tstream_writev_send(state, ev, stream, [state.packet])
    if tevent_req_nomem(subreq, req):
        return tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, dcerpc_call_written, req)
    return req


def dcerpc_call_written(subreq: tevent_req) -> None:
    """The request is out."""
    req = tevent_req_callback_data(subreq, tevent_req)
    ret, err = tstream_writev_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1:
        tevent_req_error(req, err)
        return
    dcerpc_call_read(req)


def dcerpc_call_read(req: tevent_req) -> None:
    """Wait for the next fragment."""
    state = tevent_req_data(req, dcerpc_call_state)
    subreq = dcerpc_read_ncacn_packet_send(state, state.ev, state.stream)
    if tevent_req_nomem(subreq, req):
        return
    tevent_req_set_callback(subreq, dcerpc_call_got, req)


def dcerpc_call_got(subreq: tevent_req) -> None:
    """A fragment came in: the last one ends the call."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, dcerpc_call_state)

    err, packet = dcerpc_read_ncacn_packet_recv(subreq)
    TALLOC_FREE(subreq)
    if tevent_req_error(req, err) or tevent_req_nomem(packet, req):
        return
    try:
        dcerpc_call_add(state, packet)
    except ValueError:
        tevent_req_error(req, EBADMSG)
        return
    if state.fault:
        tevent_req_error(req, EPROTO)
    elif len(state.stub) > STUB_MAX_BYTES:
        tevent_req_error(req, EMSGSIZE)
    elif packet.pfc_flags & DCERPC_PFC_FLAG_LAST:
        tevent_req_done(req)
    else:
        dcerpc_call_read(req)


def dcerpc_call_add(state: dcerpc_call_state, packet: ncacn_packet) -> None:
    """Take the fragment *packet* in; a `ValueError` says that it does not belong here."""
    auth_size, call_id = packet.unpack("HI", 10)
    first = bool(packet.pfc_flags & DCERPC_PFC_FLAG_FIRST)
    if call_id != state.call_id or auth_size != 0 or first != (state.fragments == 0):
        raise ValueError("not the next fragment of this call")
    if packet.ptype == DCERPC_PKT_FAULT:
        (state.fault,) = packet.unpack("I", 24)
        return
    if packet.ptype != DCERPC_PKT_RESPONSE or (state.fragments and packet.order != state.order):
        raise ValueError("not a response")
    packet.unpack("II", DCERPC_NCACN_PAYLOAD_OFFSET)
    state.stub += packet.data[DCERPC_NCACN_PAYLOAD_OFFSET + 8 :]
    state.order = packet.order
    state.fragments += 1


def dcerpc_call_recv(req: tevent_req) -> tuple[int, str, bytes, int]:
    """``err, order, stub, fragments``."""
    state = tevent_req_data(req, dcerpc_call_state)
    result = state.order, bytes(state.stub), state.fragments
    _, err = tevent_req_is_unix_error(req)
    tevent_req_received(req)
    return err, *result


# -------------------------------------------------------------------------------------------------- endpoint mapper


class Entry(NamedTuple):
    """What the endpoint mapper knows of one interface at one endpoint."""

    annotation: str
    floors: list[str]


class Reader:
    """Takes NDR data apart from front to back; whatever would leave it is a `ValueError`."""

    def __init__(self, data: bytes, order: str) -> None:
        self.data = data
        self.order = order
        self.offset = 0

    def take(self, size: int) -> bytes:
        """The next *size* bytes."""
        if self.offset + size > len(self.data):
            raise ValueError("the data ends too early")
        self.offset += size
        return self.data[self.offset - size : self.offset]

    def align(self, boundary: int) -> None:
        """Skip what NDR puts in front of a value of *boundary* bytes."""
        self.offset = -(-self.offset // boundary) * boundary

    def u16(self) -> int:
        """The next two bytes, not aligned: towers are packed."""
        return int(struct.unpack(self.order + "H", self.take(2))[0])

    def u32(self) -> int:
        """The next number of four bytes, aligned."""
        self.align(4)
        return int(struct.unpack(self.order + "I", self.take(4))[0])


def floor_text(lhs: bytes, rhs: bytes) -> str:
    """One floor of a tower in words."""
    if lhs[0] == 0x0D and len(lhs) == 19 and len(rhs) == 2:
        return f"{UUID(bytes_le=lhs[1:17])} v{int.from_bytes(lhs[17:], 'little')}.{int.from_bytes(rhs, 'little')}"
    if lhs[0] in (0x07, 0x08, 0x1F) and len(rhs) == 2:
        return {0x07: "tcp", 0x08: "udp", 0x1F: "http"}[lhs[0]] + f" {int.from_bytes(rhs, 'big')}"
    if lhs[0] == 0x09 and len(rhs) == 4:
        return f"ip {socket.inet_ntop(socket.AF_INET, rhs)}"
    if lhs[0] in (0x0F, 0x10, 0x11, 0x20):
        name = rhs.split(b"\0")[0].decode("ascii", "backslashreplace")
        return {0x0F: "pipe", 0x10: "lrpc", 0x11: "host", 0x20: "unix"}[lhs[0]] + f" {name}"
    names = {0x0A: "ncadg", 0x0B: "ncacn", 0x0C: "ncalrpc"}
    return names.get(lhs[0], f"0x{lhs[0]:02x} {rhs.hex()}".rstrip())


def decode_tower(octets: bytes) -> list[str]:
    """The floors of a tower, which is little-endian whatever the rest is."""
    reader = Reader(octets, "<")
    floors: list[str] = []
    for _ in range(reader.u16()):
        lhs = reader.take(reader.u16())
        if not lhs:
            raise ValueError("a floor without a protocol")
        floors.append(floor_text(lhs, reader.take(reader.u16())))
    return floors


def encode_lookup(handle: bytes) -> bytes:
    """The arguments of ``ept_lookup``: everything, any object, any version, on from *handle*."""
    return struct.pack("<IIII20sI", 0, 0, 0, 1, handle, ENTRIES_PER_CALL)


def decode_lookup(stub: bytes, order: str) -> tuple[bytes, list[Entry], int]:
    """The results of ``ept_lookup``: the handle to go on from, the entries, the status."""
    reader = Reader(stub, order)
    handle = reader.take(20)
    count = reader.u32()
    reader.u32()  # how many there is room for
    reader.u32()  # the first one's index
    if reader.u32() != count or count > ENTRIES_PER_CALL:
        raise ValueError("the number of entries does not agree with itself")
    heads: list[tuple[str, int]] = []
    for _ in range(count):
        reader.align(4)
        reader.take(16)  # the object
        pointer = reader.u32()
        reader.u32()
        annotation = reader.take(reader.u32()).split(b"\0")[0]
        heads.append((annotation.decode("ascii", "backslashreplace"), pointer))
    entries: list[Entry] = []
    for text, pointer in heads:
        # What a pointer points to comes behind all that is in line, in the same order.
        floors = decode_tower_at(reader) if pointer else []
        entries.append(Entry(text, floors))
    return handle, entries, reader.u32()


def decode_tower_at(reader: Reader) -> list[str]:
    """The next tower, with its length twice in front of it."""
    size = reader.u32()
    if reader.u32() != size:
        raise ValueError("the length of a tower does not agree with itself")
    return decode_tower(reader.take(size))


class epm_lookup_state(TALLOC_CTX):
    """A look-up of all entries."""

    ev: tevent_context
    stream: tstream_context
    call_id: int
    entries: list[Entry]
    fragments_max: int


def epm_lookup_send(mem_ctx: TALLOC_CTX | None, ev: tevent_context, stream: tstream_context) -> tevent_req | None:
    """Call ``ept_lookup`` on *stream*, which is bound, until there are no more entries."""
    req, state = tevent_req_create(mem_ctx, epm_lookup_state)
    if req is None:
        return None
    state.ev = ev
    state.stream = stream
    state.call_id = 1
    state.entries = []
    epm_lookup_next(req, bytes(20))
    if not tevent_req_is_in_progress(req):
        return tevent_req_post(req, ev)
    return req


def epm_lookup_next(req: tevent_req, handle: bytes) -> None:
    """Ask for the entries behind *handle*."""
    state = tevent_req_data(req, epm_lookup_state)
    state.call_id += 1
    subreq = dcerpc_call_send(state, state.ev, state.stream, state.call_id, EPT_LOOKUP, encode_lookup(handle))
    if tevent_req_nomem(subreq, req):
        return
    tevent_req_set_callback(subreq, epm_lookup_got, req)


def epm_lookup_got(subreq: tevent_req) -> None:
    """Some entries came: ask for more, unless these were the last."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, epm_lookup_state)

    err, order, stub, fragments = dcerpc_call_recv(subreq)
    TALLOC_FREE(subreq)
    if tevent_req_error(req, err):
        return
    try:
        handle, entries, status = decode_lookup(stub, order)
    except ValueError:
        tevent_req_error(req, EBADMSG)
        return
    state.entries += entries
    state.fragments_max = max(state.fragments_max, fragments)
    if status not in (0, EPT_NO_MORE_ENTRIES):
        tevent_req_error(req, EPROTO)
    elif status == EPT_NO_MORE_ENTRIES or handle == bytes(20) or not entries:
        tevent_req_done(req)
    elif len(state.entries) > ENTRIES_MAX:
        tevent_req_error(req, EMSGSIZE)
    else:
        epm_lookup_next(req, handle)


def epm_lookup_recv(req: tevent_req) -> tuple[int, list[Entry], int]:
    """``err, entries, fragments_max``: of how many fragments the longest answer was."""
    state = tevent_req_data(req, epm_lookup_state)
    entries, fragments_max = state.entries, state.fragments_max
    _, err = tevent_req_is_unix_error(req)
    tevent_req_received(req)
    return err, entries, fragments_max


# ------------------------------------------------------------------------------------------------------------- ping


class dcerpc_ping_state(TALLOC_CTX):
    """All of it."""

    ev: tevent_context
    stream: tstream_context
    max_fragment: int
    entries: list[Entry]
    fragments_max: int


def dcerpc_ping_send(
    mem_ctx: TALLOC_CTX | None, ev: tevent_context, server: tsocket_address, max_fragment: int
) -> tevent_req | None:
    """Connect to the endpoint mapper on *server* and have it list its entries."""
    req, state = tevent_req_create(mem_ctx, dcerpc_ping_state)
    if req is None:
        return None
    state.ev = ev
    state.max_fragment = max_fragment
    state.entries = []
    ret, local = tsocket_address_inet_from_strings(state, "ip", None, 0)
    if ret == -1 or local is None:
        tevent_req_error(req, get_errno())
        return tevent_req_post(req, ev)
    subreq = tstream_inet_tcp_connect_send(state, ev, local, server)
    if tevent_req_nomem(subreq, req):
        return tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, dcerpc_ping_connected, req)
    return req


def dcerpc_ping_connected(subreq: tevent_subreq) -> None:
    """Connected: bind."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, dcerpc_ping_state)

    ret, err, stream, _ = tstream_inet_tcp_connect_recv(subreq, state)
    TALLOC_FREE(subreq)
    if ret == -1 or stream is None:
        tevent_req_error(req, err)
        return
    state.stream = stream
    subreq = dcerpc_bind_send(state, state.ev, stream, EPMAPPER, state.max_fragment)
    if tevent_req_nomem(subreq, req):
        return
    tevent_req_set_callback(subreq, dcerpc_ping_bound, req)


def dcerpc_ping_bound(subreq: tevent_subreq) -> None:
    """Bound: look up."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, dcerpc_ping_state)

    err = dcerpc_bind_recv(subreq)
    TALLOC_FREE(subreq)
    if tevent_req_error(req, err):
        return
    subreq = epm_lookup_send(state, state.ev, state.stream)
    if tevent_req_nomem(subreq, req):
        return
    tevent_req_set_callback(subreq, dcerpc_ping_looked_up, req)


def dcerpc_ping_looked_up(subreq: tevent_subreq) -> None:
    """All entries are here: disconnect."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, dcerpc_ping_state)

    err, state.entries, state.fragments_max = epm_lookup_recv(subreq)
    TALLOC_FREE(subreq)
    if tevent_req_error(req, err):
        return
    subreq = tstream_disconnect_send(state, state.ev, state.stream)
    if tevent_req_nomem(subreq, req):
        return
    tevent_req_set_callback(subreq, dcerpc_ping_done, req)


def dcerpc_ping_done(subreq: tevent_req) -> None:
    """The connection is closed."""
    req = tevent_req_callback_data(subreq, tevent_req)
    ret, err = tstream_disconnect_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1:
        tevent_req_error(req, err)
        return
    tevent_req_done(req)


def dcerpc_ping_recv(req: tevent_req) -> tuple[int, list[Entry], int]:
    """``err, entries, fragments_max``."""
    state = tevent_req_data(req, dcerpc_ping_state)
    entries, fragments_max = state.entries, state.fragments_max
    _, err = tevent_req_is_unix_error(req)
    tevent_req_received(req)
    return err, entries, fragments_max


# ------------------------------------------------------------------------------------------------------ the program


def fragment_size(text: str) -> int:
    """A size of fragment that the protocol allows."""
    value = int(text)
    if not 1432 <= value <= 65535:
        raise argparse.ArgumentTypeError("must be from 1432 to 65535")
    return value


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, or a usage message."""
    parser = argparse.ArgumentParser(description="Ask a DCE/RPC endpoint mapper what it offers.")
    parser.add_argument("server", metavar="ADDRESS[:PORT]", help="numeric; the port is 135 unless given")
    parser.add_argument(
        "--max-fragment", type=fragment_size, default=5840, metavar="BYTES", help="of an answer (default %(default)s)"
    )
    parser.add_argument(
        "--timeout", type=int, default=30, metavar="SECONDS", help="for everything (default %(default)s)"
    )
    return parser.parse_args(argv)


def ping(options: argparse.Namespace) -> tuple[int, list[Entry], int]:
    """Do what *options* say; ``err, entries, fragments_max``."""
    mem_ctx = talloc_new(None)
    assert mem_ctx is not None
    try:
        ev = tevent_context_init(mem_ctx)
        ret, server = tsocket_address_inet_from_hostport_strings(mem_ctx, "ip", options.server, 135)
        if ev is None or ret == -1 or server is None:
            return get_errno(), [], 0
        req = dcerpc_ping_send(mem_ctx, ev, server, options.max_fragment)
        if req is None or not tevent_req_set_endtime(req, ev, tevent_timeval_current_ofs(options.timeout, 0)):
            return ENOMEM, [], 0
        if not tevent_req_poll(req, ev):
            return get_errno(), [], 0
        return dcerpc_ping_recv(req)
    finally:
        talloc_free(mem_ctx)


def main(argv: Sequence[str] | None = None) -> int:
    """The program: 0 when the endpoint mapper has answered, 1 with a message otherwise."""
    options = parse(argv)
    err, entries, fragments = ping(options)
    if err:
        print(f"dcerpc_ping: {options.server}: {os.strerror(err)}", file=sys.stderr)
        return 1
    for entry in entries:
        print(f"{entry.annotation or '-'}: {', '.join(entry.floors)}")
    print(f"{len(entries)} entries; the longest answer had {fragments} fragments")
    return 0


if __name__ == "__main__":
    sys.exit(main())
