#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Ask a DNS server a question, over UDP and, where the answer does not fit, over TCP.

::

    python examples/dns_lookup.py --server 127.0.0.1 www.example.com
    python examples/dns_lookup.py --server 127.0.0.1:5353 --tries 3 --timeout 2 _ldap._tcp.example.com SRV

The program prints one line a record: name, time to live in seconds, type, data. It knows the types A, AAAA, CNAME, MX,
NS, PTR, SOA, SRV and TXT; what it does not know it prints as RFC 3597 has it. The exit status is 0 when the server
answered (also with no records), 1 when it answered with an error such as NXDOMAIN, 2 when there was no answer.

==================  =====================================================================
``dns_udp``         one question over UDP: send, then wait for the answer that fits it
``dns_tcp``         one question over TCP: connect, write, read a PDU of two bytes length
``dns_lookup``      tries UDP several times, then TCP when the answer was cut short
==================  =====================================================================

What a server sends is not trusted: every length is checked, names may only point backwards and end after 255 bytes,
and an answer to another question than ours counts as noise.
"""

from __future__ import annotations

import argparse
import os
import socket
import struct
import sys
from errno import EBADMSG, EINVAL, EMSGSIZE, ENOMEM, ETIMEDOUT
from typing import TYPE_CHECKING, NamedTuple

from talloc_py import *
from tevent import *
from tevent.typing import tevent_subreq
from tsocket import *

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33}
TYPE_NAMES = {number: name for name, number in TYPES.items()}
RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
CLASS_IN = 1
FLAG_RESPONSE, FLAG_TRUNCATED, FLAG_RECURSION_DESIRED = 0x8000, 0x0200, 0x0100
HEADER = struct.Struct(">HHHHHH")
NAME_MAX_BYTES = 255
LABEL_MAX_BYTES = 63


# --------------------------------------------------------------------------------------------------------- messages


class MalformedMessage(ValueError):
    """The bytes are not a DNS message."""


class Record(NamedTuple):
    """One resource record, its data as text."""

    name: str
    type: str
    ttl_seconds: int
    data: str


class Message(NamedTuple):
    """An answer: what is needed to match it, and the records of its answer section."""

    id: int
    flags: int
    question: tuple[bytes, int, int]
    answers: list[Record]

    @property
    def rcode(self) -> int:
        """The response code, 0 for success."""
        return self.flags & 0xF

    @property
    def truncated(self) -> bool:
        """Whether the answer did not fit."""
        return bool(self.flags & FLAG_TRUNCATED)


def encode_name(name: str) -> bytes:
    """*name* as labels; a name that no server can have is a `ValueError`."""
    wire = b""
    for label in name.removesuffix(".").split(".") if name not in ("", ".") else []:
        raw = os.fsencode(label)
        if not 1 <= len(raw) <= LABEL_MAX_BYTES:
            raise ValueError(f"{name}: a label has 1 to {LABEL_MAX_BYTES} bytes")
        wire += bytes([len(raw)]) + raw
    if len(wire) + 1 > NAME_MAX_BYTES:
        raise ValueError(f"{name}: a name has at most {NAME_MAX_BYTES} bytes")
    return wire + b"\0"


def encode_query(query_id: int, name: str, qtype: int) -> bytes:
    """A question for *name*."""
    header = HEADER.pack(query_id, FLAG_RECURSION_DESIRED, 1, 0, 0, 0)
    return header + encode_name(name) + struct.pack(">HH", qtype, CLASS_IN)


def printable(raw: bytes, special: bytes) -> str:
    r"""*raw* as RFC 1035 writes it: *special* characters behind a backslash, what cannot be printed as ``\DDD``."""
    out: list[str] = []
    for byte in raw:
        if byte in special:
            out.append("\\" + chr(byte))
        elif 0x21 <= byte < 0x7F or (byte == 0x20 and b"." not in special):
            out.append(chr(byte))
        else:
            out.append(f"\\{byte:03}")
    return "".join(out)


class Reader:
    """Takes a message apart from front to back; whatever would leave it is `MalformedMessage`."""

    def __init__(self, wire: bytes) -> None:
        self.wire = wire
        self.offset = 0

    def take(self, size: int) -> bytes:
        """The next *size* bytes."""
        end = self.offset + size
        if end > len(self.wire):
            raise MalformedMessage(f"{size} bytes wanted at {self.offset}, the message has {len(self.wire)}")
        piece = self.wire[self.offset : end]
        self.offset = end
        return piece

    def unpack(self, form: str) -> tuple[int, ...]:
        """The next numbers, by `struct` format without the byte order."""
        form = ">" + form
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def labels(self) -> list[bytes]:
        """
        The next name.

        Each pointer must point before the place where the piece of the name that holds it began. So every jump goes
        further back and no message can make this loop for ever.
        """
        found: list[bytes] = []
        size, piece_start, after = 1, self.offset, None
        while True:
            length = self.take(1)[0]
            if length == 0:
                break
            if length >= 0xC0:
                target = (length & 0x3F) << 8 | self.take(1)[0]
                after = self.offset if after is None else after
                if target >= piece_start:
                    raise MalformedMessage("a compressed name does not point backwards")
                self.offset = piece_start = target
                continue
            if length > LABEL_MAX_BYTES:
                raise MalformedMessage("a label of an unknown kind")
            found.append(self.take(length))
            size += 1 + length
            if size > NAME_MAX_BYTES:
                raise MalformedMessage("a name is too long")
        self.offset = self.offset if after is None else after
        return found

    def name(self) -> str:
        """The next name as text, with the dot at its end."""
        return "".join(printable(label, b'.\\";()@$') + "." for label in self.labels()) or "."

    def record(self) -> Record:
        """The next record; its data must end where its length says."""
        name = self.name()
        rtype, rclass, ttl, length = self.unpack("HHIH")
        end = self.offset + length
        if end > len(self.wire):
            raise MalformedMessage("a record is longer than the message")
        known = RDATA.get(rtype) if rclass == CLASS_IN else None
        data = known(self, end) if known else self.unknown(end)
        if self.offset != end:
            raise MalformedMessage("the data of a record does not have the length it says")
        return Record(name, TYPE_NAMES.get(rtype, f"TYPE{rtype}"), ttl if ttl < 1 << 31 else 0, data)

    def unknown(self, end: int) -> str:
        """Data of a type this program does not know."""
        raw = self.take(end - self.offset)
        return f"\\# {len(raw)} {raw.hex()}".rstrip()

    def texts(self, end: int) -> str:
        """The strings of a TXT record."""
        strings: list[str] = []
        while self.offset < end:
            strings.append('"' + printable(self.take(self.take(1)[0]), b'"\\') + '"')
        return " ".join(strings)

    def preference(self) -> str:
        """The data of an MX record."""
        return f"{self.unpack('H')[0]} {self.name()}"

    def service(self) -> str:
        """The data of an SRV record: priority, weight, port, target."""
        priority, weight, port = self.unpack("HHH")
        return f"{priority} {weight} {port} {self.name()}"

    def authority(self) -> str:
        """The data of an SOA record."""
        names = f"{self.name()} {self.name()}"
        return " ".join([names, *(str(number) for number in self.unpack("IIIII"))])


RDATA: dict[int, Callable[[Reader, int], str]] = {
    TYPES["A"]: lambda reader, end: socket.inet_ntop(socket.AF_INET, reader.take(4)),
    TYPES["AAAA"]: lambda reader, end: socket.inet_ntop(socket.AF_INET6, reader.take(16)),
    TYPES["NS"]: lambda reader, end: reader.name(),
    TYPES["CNAME"]: lambda reader, end: reader.name(),
    TYPES["PTR"]: lambda reader, end: reader.name(),
    TYPES["MX"]: lambda reader, end: reader.preference(),
    TYPES["SRV"]: lambda reader, end: reader.service(),
    TYPES["SOA"]: lambda reader, end: reader.authority(),
    TYPES["TXT"]: lambda reader, end: reader.texts(end),
}


def decode_message(wire: bytes | bytearray) -> Message:
    """The answer in *wire*; of a truncated one only what identifies it."""
    reader = Reader(bytes(wire))
    message_id, flags, questions, answers, _, _ = reader.unpack("HHHHHH")
    if questions != 1:
        raise MalformedMessage(f"{questions} questions instead of one")
    # Names compare without regard to case, and servers may change it.
    labels = b".".join(bytes([len(label)]) + label.lower() for label in reader.labels())
    qtype, qclass = reader.unpack("HH")
    records = [] if flags & FLAG_TRUNCATED else [reader.record() for _ in range(answers)]
    return Message(message_id, flags, (labels, qtype, qclass), records)


def answer_to(query: bytes, wire: bytes | bytearray) -> Message | None:
    """The answer to *query* in *wire*, or None where it is something else or no message at all."""
    try:
        message = decode_message(wire)
    except MalformedMessage:
        return None
    asked = decode_message(query)
    if not message.flags & FLAG_RESPONSE or (message.id, message.question) != (asked.id, asked.question):
        return None
    return message


# -------------------------------------------------------------------------------------------------------------- UDP


class dns_udp_state(TALLOC_CTX):
    """A question over UDP."""

    ev: tevent_context
    dgram: tdgram_context
    query: bytes
    answer: Message | None


def dns_udp_send(
    mem_ctx: TALLOC_CTX | None, ev: tevent_context, server: tsocket_address, query: bytes
) -> tevent_req | None:
    """Send *query* to *server* once and wait for its answer; who calls says how long, by `tevent_req_set_endtime`."""
    req, state = tevent_req_create(mem_ctx, dns_udp_state)
    if req is None:
        return None
    state.ev = ev
    state.query = query
    # Any local address; the system picks the port, a new one for each question. Connected, so that only what comes
    # from the server is seen.
    ret, local = tsocket_address_inet_from_strings(state, "ip", None, 0)
    if ret == -1 or local is None:
        tevent_req_error(req, get_errno())
        return tevent_req_post(req, ev)
    ret, dgram = tdgram_inet_udp_socket(local, server, state)
    if ret == -1 or dgram is None:
        tevent_req_error(req, get_errno())
        return tevent_req_post(req, ev)
    state.dgram = dgram
    subreq = tdgram_sendto_send(state, ev, state.dgram, query, None)
    if tevent_req_nomem(subreq, req):
        return tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, dns_udp_sent, req)
    return req


def dns_udp_sent(subreq: tevent_req) -> None:
    """The question is out."""
    req = tevent_req_callback_data(subreq, tevent_req)
    ret, err = tdgram_sendto_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1:
        tevent_req_error(req, err)
        return
    dns_udp_listen(req)


def dns_udp_listen(req: tevent_req) -> None:
    """Wait for a datagram."""
    state = tevent_req_data(req, dns_udp_state)
    subreq = tdgram_recvfrom_send(state, state.ev, state.dgram)
    if tevent_req_nomem(subreq, req):
        return
    tevent_req_set_callback(subreq, dns_udp_got, req)


def dns_udp_got(subreq: tevent_req) -> None:
    """A datagram came: the answer, or noise."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, dns_udp_state)

    ret, err, buf, _ = tdgram_recvfrom_recv(subreq, state)
    TALLOC_FREE(subreq)
    # ENOMEM is what an empty datagram gives: noise as well.
    if ret == -1 and err != ENOMEM:
        tevent_req_error(req, err)
        return
    if buf is not None:
        state.answer = answer_to(state.query, buf)
        TALLOC_FREE(buf)
    if state.answer is None:
        dns_udp_listen(req)
        return
    tevent_req_done(req)


def dns_udp_recv(req: tevent_req) -> tuple[int, Message | None]:
    """``err, answer``."""
    return dns_answer(req, tevent_req_data(req, dns_udp_state).answer)


def dns_answer(req: tevent_req, answer: Message | None) -> tuple[int, Message | None]:
    """The end that all `_recv` functions here share."""
    is_error, err = tevent_req_is_unix_error(req)
    tevent_req_received(req)
    return (err, None) if is_error else (0, answer)


# -------------------------------------------------------------------------------------------------------------- TCP


class dns_tcp_state(TALLOC_CTX):
    """A question over TCP."""

    ev: tevent_context
    stream: tstream_context
    query: bytes
    header: bytearray | None
    body: bytearray | None
    answer: Message | None


def dns_tcp_send(
    mem_ctx: TALLOC_CTX | None, ev: tevent_context, server: tsocket_address, query: bytes
) -> tevent_req | None:
    """Connect to *server*, send *query* and read the answer."""
    req, state = tevent_req_create(mem_ctx, dns_tcp_state)
    if req is None:
        return None
    state.ev = ev
    state.query = query
    ret, local = tsocket_address_inet_from_strings(state, "ip", None, 0)
    if ret == -1 or local is None:
        tevent_req_error(req, get_errno())
        return tevent_req_post(req, ev)
    subreq = tstream_inet_tcp_connect_send(state, ev, local, server)
    if tevent_req_nomem(subreq, req):
        return tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, dns_tcp_connected, req)
    return req


def dns_tcp_connected(subreq: tevent_subreq) -> None:
    """Connected: write the question, its length in front."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, dns_tcp_state)

    ret, err, stream, _ = tstream_inet_tcp_connect_recv(subreq, state)
    TALLOC_FREE(subreq)
    if ret == -1 or stream is None:
        tevent_req_error(req, err)
        return
    state.stream = stream
    subreq = tstream_writev_send(state, state.ev, stream, [struct.pack(">H", len(state.query)), state.query])
    if tevent_req_nomem(subreq, req):
        return
    tevent_req_set_callback(subreq, dns_tcp_written, req)


def dns_tcp_written(subreq: tevent_subreq) -> None:
    """The question is out: read the answer."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, dns_tcp_state)

    ret, err = tstream_writev_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1:
        tevent_req_error(req, err)
        return
    subreq = tstream_readv_pdu_send(state, state.ev, state.stream, dns_tcp_next_vector, state)
    if tevent_req_nomem(subreq, req):
        return
    tevent_req_set_callback(subreq, dns_tcp_got, req)


def dns_tcp_next_vector(
    stream: tstream_context, private_data: object, mem_ctx: TALLOC_CTX
) -> tuple[int, Sequence[bytearray] | None]:
    """Two bytes of length, then the message."""
    state = talloc_get_type_abort(private_data, dns_tcp_state)
    if state.header is None:
        state.header = bytearray(2)
        return 0, [state.header]
    if state.body is None:
        length = int.from_bytes(state.header, "big")
        if length < HEADER.size:
            set_errno(EMSGSIZE)
            return -1, None
        state.body = bytearray(length)
        return 0, [state.body]
    return 0, []


def dns_tcp_got(subreq: tevent_req) -> None:
    """The answer is complete; over TCP nothing but ours can come, so noise is an error."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, dns_tcp_state)

    ret, err = tstream_readv_pdu_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1:
        tevent_req_error(req, err)
        return
    state.answer = answer_to(state.query, state.body or b"")
    if state.answer is None:
        tevent_req_error(req, EBADMSG)
        return
    tevent_req_done(req)


def dns_tcp_recv(req: tevent_req) -> tuple[int, Message | None]:
    """``err, answer``."""
    return dns_answer(req, tevent_req_data(req, dns_tcp_state).answer)


# ----------------------------------------------------------------------------------------------------------- lookup


class dns_lookup_state(TALLOC_CTX):
    """A question from the first try to the last."""

    ev: tevent_context
    server: tsocket_address
    name: str
    qtype: int
    query: bytes
    timeout_seconds: float
    tries_left: int
    answer: Message | None


def dns_lookup_send(
    mem_ctx: TALLOC_CTX | None,
    ev: tevent_context,
    server: tsocket_address,
    name: str,
    qtype: int,
    *,
    timeout_seconds: float,
    tries: int,
) -> tevent_req | None:
    """Ask *server* up to *tries* times over UDP, waiting *timeout_seconds* each time, and over TCP if need be."""
    req, state = tevent_req_create(mem_ctx, dns_lookup_state)
    if req is None:
        return None
    state.ev = ev
    state.server = server
    state.name = name
    state.qtype = qtype
    state.timeout_seconds = timeout_seconds
    state.tries_left = tries
    try:
        encode_name(name)
    except ValueError:
        tevent_req_error(req, EINVAL)
        return tevent_req_post(req, ev)
    dns_lookup_try(req)
    if not tevent_req_is_in_progress(req):
        return tevent_req_post(req, ev)
    return req


def dns_lookup_limit(req: tevent_req, subreq: tevent_req) -> bool:
    """Give *subreq* the time of one try."""
    state = tevent_req_data(req, dns_lookup_state)
    seconds, fraction = divmod(state.timeout_seconds, 1)
    endtime = tevent_timeval_current_ofs(int(seconds), int(fraction * 1_000_000))
    return tevent_req_set_endtime(subreq, state.ev, endtime)


def dns_lookup_try(req: tevent_req) -> None:
    """Ask once over UDP, with a new id and from a new port, so that a late or forged answer does not fit."""
    state = tevent_req_data(req, dns_lookup_state)
    state.tries_left -= 1
    state.query = encode_query(int.from_bytes(os.urandom(2), "big"), state.name, state.qtype)
    subreq = dns_udp_send(state, state.ev, state.server, state.query)
    if tevent_req_nomem(subreq, req) or not dns_lookup_limit(req, subreq):
        return
    tevent_req_set_callback(subreq, dns_lookup_udp_done, req)


def dns_lookup_udp_done(subreq: tevent_subreq) -> None:
    """An answer, silence, or an error such as a port where nobody listens."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, dns_lookup_state)

    err, state.answer = dns_udp_recv(subreq)
    TALLOC_FREE(subreq)
    if err == ETIMEDOUT and state.tries_left > 0:
        dns_lookup_try(req)
        return
    if tevent_req_error(req, err):
        return
    if state.answer is None or not state.answer.truncated:
        tevent_req_done(req)
        return
    subreq = dns_tcp_send(state, state.ev, state.server, state.query)
    if tevent_req_nomem(subreq, req) or not dns_lookup_limit(req, subreq):
        return
    tevent_req_set_callback(subreq, dns_lookup_tcp_done, req)


def dns_lookup_tcp_done(subreq: tevent_req) -> None:
    """The whole answer, or an error."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, dns_lookup_state)

    err, state.answer = dns_tcp_recv(subreq)
    TALLOC_FREE(subreq)
    if tevent_req_error(req, err):
        return
    tevent_req_done(req)


def dns_lookup_recv(req: tevent_req) -> tuple[int, Message | None]:
    """``err, answer``; ETIMEDOUT when the server stayed silent."""
    return dns_answer(req, tevent_req_data(req, dns_lookup_state).answer)


# ------------------------------------------------------------------------------------------------------ the program


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, or a usage message."""
    parser = argparse.ArgumentParser(description="Ask a DNS server a question.")
    parser.add_argument("--server", required=True, metavar="ADDRESS[:PORT]", help="whom to ask; numeric")
    parser.add_argument("--timeout", type=float, default=2.0, metavar="SECONDS", help="wait this long, each time")
    parser.add_argument("--tries", type=int, default=3, metavar="N", help="ask this often over UDP")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("type", nargs="?", default="A", type=str.upper, choices=sorted(TYPES), metavar="TYPE")
    options = parser.parse_args(argv)
    if options.timeout <= 0 or options.tries < 1:
        parser.error("--timeout and --tries must be positive")
    return options


def lookup(options: argparse.Namespace) -> tuple[int, Message | None]:
    """Ask as *options* say; ``err, answer``."""
    mem_ctx = talloc_new(None)
    assert mem_ctx is not None
    try:
        ev = tevent_context_init(mem_ctx)
        ret, server = tsocket_address_inet_from_hostport_strings(mem_ctx, "ip", options.server, 53)
        if ev is None or ret == -1 or server is None:
            return get_errno(), None
        req = dns_lookup_send(
            mem_ctx,
            ev,
            server,
            options.name,
            TYPES[options.type],
            timeout_seconds=options.timeout,
            tries=options.tries,
        )
        if req is None:
            return ENOMEM, None
        if not tevent_req_poll(req, ev):
            return get_errno(), None
        return dns_lookup_recv(req)
    finally:
        talloc_free(mem_ctx)


def main(argv: Sequence[str] | None = None) -> int:
    """The program; see the exit status above."""
    options = parse(argv)
    err, answer = lookup(options)
    if err or answer is None:
        print(f"dns_lookup: {options.server}: {os.strerror(err)}", file=sys.stderr)
        return 2
    if answer.rcode:
        print(f"dns_lookup: {options.name}: {RCODES.get(answer.rcode, answer.rcode)}", file=sys.stderr)
        return 1
    for record in answer.answers:
        print(f"{record.name} {record.ttl_seconds} {record.type} {record.data}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
