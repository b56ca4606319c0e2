#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Ask domain controllers who they are: the CLDAP "netlogon ping", LDAP in datagrams.

::

    python examples/cldap_ping.py --domain example.test 192.0.2.1 192.0.2.2

Every server is asked at once, over one socket, and asked again while it is silent. The program prints a line for each
one that answers, as soon as it does, and exits with 0 if any has.

=====================  ===========================================================================================
``cldap_socket``       the socket: one read that is always under way, answers handed out by their message id
``cldap_search``       one question: sent through a queue, repeated by a timer, given up in the end
``cldap_ping``         a `cldap_search` for each server
=====================  ===========================================================================================

A datagram may come from anybody. What is no answer to an open question, from the server that was asked, is noise.
"""

from __future__ import annotations

import argparse
import os
import struct
import sys
from errno import ENOMEM, EPROTO, ETIMEDOUT
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from talloc_py import *
from tevent import *
from tsocket import *

if TYPE_CHECKING:
    from collections.abc import Sequence

CLDAP_PORT = 389
SEARCH_REQUEST, SEARCH_ENTRY, SEARCH_DONE = 0x63, 0x64, 0x65
LOGON_SAM_LOGON_RESPONSE_EX = 23
NETLOGON_NT_VERSION_5, NETLOGON_NT_VERSION_5EX = 0x2, 0x4
FLAGS = {
    0x001: "PDC", 0x004: "GC", 0x008: "LDAP", 0x010: "DS", 0x020: "KDC", 0x040: "TIMESERV", 0x080: "CLOSEST",
    0x100: "WRITABLE",
}  # fmt: skip
LABELS_MAX = 128


# --------------------------------------------------------------------------------------------------------- messages


class MalformedMessage(ValueError):
    """The bytes are not what they should be."""


def element(tag: int, *parts: bytes) -> bytes:
    """An element of BER that consists of *parts*, fewer than 64 KiB."""
    body = b"".join(parts)
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    return bytes([tag, 0x82]) + len(body).to_bytes(2, "big") + body


def elements(data: bytes) -> list[tuple[int, bytes]]:
    """The tag and the content of each element of *data*."""
    found: list[tuple[int, bytes]] = []
    offset = 0
    while offset < len(data):
        if offset + 2 > len(data):
            raise MalformedMessage("an element ends before its length")
        size, start = data[offset + 1], offset + 2
        if size & 0x80:
            start += size & 0x7F
            size = int.from_bytes(data[offset + 2 : start], "big")
        if start + size > len(data):
            raise MalformedMessage("an element ends behind its message")
        found.append((data[offset], data[start : start + size]))
        offset = start + size
    return found


def encode_search(number: int, domain: str) -> bytes:
    """The message that asks for the attribute "netlogon" of the root DSE."""
    version = struct.pack("<I", NETLOGON_NT_VERSION_5 | NETLOGON_NT_VERSION_5EX)
    terms = [
        element(0xA3, element(0x04, name), element(0x04, value))
        for name, value in ((b"DnsDomain", domain.encode("idna")), (b"NtVer", version))
    ]
    zeros = element(0x0A, b"\0"), element(0x0A, b"\0"), element(0x02, b"\0"), element(0x02, b"\0"), element(0x01, b"\0")
    search = element(
        SEARCH_REQUEST, element(0x04), *zeros, element(0xA0, *terms), element(0x30, element(0x04, b"netlogon"))
    )
    return element(0x30, element(0x02, number.to_bytes(4, "big")), search)


def decode_answer(datagram: bytes) -> tuple[int, bytes | None]:
    """The number of the question, and the value of the one attribute of the one entry; None where there is no entry."""
    number, value = -1, None
    for _, message in elements(datagram):
        parts = elements(message)
        if len(parts) < 2 or parts[0][0] != 0x02 or parts[1][0] not in (SEARCH_ENTRY, SEARCH_DONE):
            raise MalformedMessage("not the answer to a search")
        number = int.from_bytes(parts[0][1], "big")
        if parts[1][0] == SEARCH_ENTRY:
            value = first_value(parts[1][1])
    return number, value


def first_value(entry: bytes) -> bytes:
    """The first value of the first attribute of *entry*."""
    try:
        attributes = elements(elements(entry)[1][1])
        values = elements(elements(attributes[0][1])[1][1])
        return values[0][1]
    except IndexError:
        raise MalformedMessage("an entry without a value") from None


class Controller(NamedTuple):
    """What a domain controller says of itself."""

    flags: int
    domain_guid: UUID
    forest: str
    dns_domain: str
    dns_host: str
    domain: str
    name: str
    user: str
    server_site: str
    client_site: str


def decode_controller(value: bytes) -> Controller:
    """NETLOGON_SAM_LOGON_RESPONSE_EX: numbers, then names that are written as DNS writes them."""
    if len(value) < 24:
        raise MalformedMessage("too short")
    command, flags = struct.unpack_from("<H2xI", value)
    if command != LOGON_SAM_LOGON_RESPONSE_EX:
        raise MalformedMessage(f"a response of type {command}")
    offset = 24
    names: list[str] = []
    for _ in range(8):
        name, offset = decode_name(value, offset)
        names.append(name)
    return Controller(flags, UUID(bytes_le=value[8:24]), *names)


def decode_name(data: bytes, offset: int) -> tuple[str, int]:
    """The name at *offset*, and the offset behind it."""
    labels: list[str] = []
    end = None
    while True:
        if offset >= len(data) or len(labels) > LABELS_MAX:
            raise MalformedMessage("a name that does not end")
        size = data[offset]
        if size & 0xC0 == 0xC0:
            target = int.from_bytes(data[offset : offset + 2], "big") & 0x3FFF
            end = offset + 2 if end is None else end
            # Backwards only, so that it ends.
            if target >= offset:
                raise MalformedMessage("a name that points ahead")
            offset = target
            continue
        if size == 0:
            return ".".join(labels), offset + 1 if end is None else end
        labels.append(data[offset + 1 : offset + 1 + size].decode("utf-8", "backslashreplace"))
        offset += 1 + size


# -------------------------------------------------------------------------------------------------------- the socket


class cldap_socket(TALLOC_CTX):
    """A socket that many questions share."""

    ev: tevent_context
    dgram: tdgram_context
    queue: tevent_queue
    reading: tevent_req | None
    searches: dict[int, tevent_req]  # what is open, by number
    last_number: int


def cldap_socket_create(mem_ctx: TALLOC_CTX, ev: tevent_context) -> cldap_socket | None:
    """A socket on any port."""
    cldap = talloc_zero(mem_ctx, cldap_socket)
    if cldap is None:
        return None
    # Of one family, for what it is to send to.
    ret, local = tsocket_address_inet_from_strings(cldap, "ipv4", None, 0)
    if ret == -1 or local is None:
        talloc_free(cldap)
        return None
    ret, dgram = tdgram_inet_udp_socket(local, None, cldap)
    queue = tevent_queue_create(cldap, "cldap")
    if ret == -1 or dgram is None or queue is None:
        talloc_free(cldap)
        return None
    cldap.ev = ev
    cldap.dgram = dgram
    cldap.queue = queue
    cldap.reading = None
    cldap.searches = {}
    # Numbers that cannot be guessed, as whoever can may answer.
    cldap.last_number = int.from_bytes(os.urandom(3), "big")
    return cldap


def cldap_socket_read(cldap: cldap_socket) -> bool:
    """Wait for the next datagram."""
    subreq = tdgram_recvfrom_send(cldap, cldap.ev, cldap.dgram)
    cldap.reading = subreq
    if subreq is None:
        return False
    tevent_req_set_callback(subreq, cldap_socket_got, cldap)
    return True


def cldap_socket_got(subreq: tevent_req) -> None:
    """A datagram: whose answer is it? An error belongs to all: nobody else would hear of it."""
    cldap = tevent_req_callback_data(subreq, cldap_socket)
    ret, err, buf, source = tdgram_recvfrom_recv(subreq, cldap)
    TALLOC_FREE(subreq)
    cldap.reading = None
    # Read on first, for a callback may free everything. ENOMEM is an empty datagram.
    if not cldap_socket_read(cldap) or (ret == -1 and err != ENOMEM):
        for req in list(cldap.searches.values()):
            tevent_req_defer_callback(req, cldap.ev)
            tevent_req_error(req, err or ENOMEM)
        return
    if buf is None or source is None:
        return
    datagram = bytes(buf)
    talloc_free(buf)
    try:
        number, value = decode_answer(datagram)
    except MalformedMessage:
        return
    req2 = cldap.searches.get(number)
    if req2 is None or str_of(source) != str_of(tevent_req_data(req2, cldap_search_state).server):
        return
    cldap_search_got(req2, value)


def str_of(address: tsocket_address) -> str | None:
    """An address as text, to compare it."""
    text = tsocket_address_string(address, address)
    copy = None if text is None else str(text)
    if text is not None:
        talloc_free(text)
    return copy


# ------------------------------------------------------------------------------------------------------ one question


class cldap_search_state(TALLOC_CTX):
    """A question."""

    cldap: cldap_socket
    server: tsocket_address
    datagram: bytes
    number: int
    interval_us: int
    tries_left: int
    controller: Controller | None


def cldap_search_send(
    mem_ctx: TALLOC_CTX | None,
    cldap: cldap_socket,
    server: tsocket_address,
    domain: str,
    *,
    interval_us: int,
    tries: int,
) -> tevent_req | None:
    """Ask *server* for the controller of *domain*, *tries* times, *interval_us* microseconds apart."""
    req, state = tevent_req_create(mem_ctx, cldap_search_state)
    if req is None:
        return None
    cldap.last_number += 1
    state.cldap = cldap
    state.server = server
    state.number = cldap.last_number
    state.datagram = encode_search(state.number, domain)
    state.interval_us = interval_us
    state.tries_left = tries
    state.controller = None
    cldap.searches[state.number] = req
    tevent_req_set_cleanup_fn(req, cldap_search_cleanup)
    if cldap.reading is None and not cldap_socket_read(cldap):
        tevent_req_oom(req)
        return tevent_req_post(req, cldap.ev)
    cldap_search_try(req)
    return req if tevent_req_is_in_progress(req) else tevent_req_post(req, cldap.ev)


def cldap_search_cleanup(req: tevent_req, req_state: tevent_req_state) -> None:
    """Whatever has become of it, it is not open any more; the socket reads only while something is."""
    state = tevent_req_data(req, cldap_search_state)
    state.cldap.searches.pop(state.number, None)
    if not state.cldap.searches:
        TALLOC_FREE(state.cldap.reading)
        state.cldap.reading = None


def cldap_search_try(req: tevent_req) -> None:
    """Send the question, through the queue for there are others, and set the timer."""
    state = tevent_req_data(req, cldap_search_state)
    state.tries_left -= 1
    cldap = state.cldap
    subreq = tdgram_sendto_queue_send(state, cldap.ev, cldap.dgram, cldap.queue, state.datagram, state.server)
    if tevent_req_nomem(subreq, req):
        return
    tevent_req_set_callback(subreq, cldap_search_sent, req)
    seconds, microseconds = divmod(state.interval_us, 1_000_000)
    timer = tevent_wakeup_send(state, cldap.ev, tevent_timeval_current_ofs(seconds, microseconds))
    if tevent_req_nomem(timer, req):
        return
    tevent_req_set_callback(timer, cldap_search_silent, req)


def cldap_search_sent(subreq: tevent_req) -> None:
    """The question is out, or cannot be sent."""
    req = tevent_req_callback_data(subreq, tevent_req)
    ret, err = tdgram_sendto_queue_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1:
        tevent_req_error(req, err)


def cldap_search_silent(subreq: tevent_req) -> None:
    """No answer for so long."""
    req = tevent_req_callback_data(subreq, tevent_req)
    tevent_wakeup_recv(subreq)
    TALLOC_FREE(subreq)
    if tevent_req_data(req, cldap_search_state).tries_left:
        cldap_search_try(req)
        return
    tevent_req_error(req, ETIMEDOUT)


def cldap_search_got(req: tevent_req, value: bytes | None) -> None:
    """The answer: a controller of that domain, or that the server is none."""
    state = tevent_req_data(req, cldap_search_state)
    try:
        state.controller = None if value is None else decode_controller(value)
    except MalformedMessage:
        tevent_req_error(req, EPROTO)
        return
    tevent_req_done(req)


def cldap_search_recv(req: tevent_req) -> tuple[int, Controller | None]:
    """``err, controller``: no controller is no error, the server does not have that domain."""
    state = tevent_req_data(req, cldap_search_state)
    is_error, err = tevent_req_is_unix_error(req)
    controller = None if is_error else state.controller
    tevent_req_received(req)
    return err, controller


# -------------------------------------------------------------------------------------------------------------- ping


class cldap_ping_state(TALLOC_CTX):
    """Questions to all servers."""

    asked: dict[tevent_req, str]
    found: int


def cldap_ping_send(
    mem_ctx: TALLOC_CTX | None, ev: tevent_context, servers: Sequence[str], domain: str, interval_us: int, tries: int
) -> tevent_req | None:
    """Ask all *servers* at once."""
    req, state = tevent_req_create(mem_ctx, cldap_ping_state)
    if req is None:
        return None
    state.asked = {}
    state.found = 0
    cldap = cldap_socket_create(state, ev)
    if tevent_req_nomem(cldap, req):
        return tevent_req_post(req, ev)
    for name in servers:
        ret, server = tsocket_address_inet_from_hostport_strings(state, "ipv4", name, CLDAP_PORT)
        if ret == -1 or server is None:
            tevent_req_error(req, get_errno())
            return tevent_req_post(req, ev)
        subreq = cldap_search_send(state, cldap, server, domain, interval_us=interval_us, tries=tries)
        if tevent_req_nomem(subreq, req):
            return tevent_req_post(req, ev)
        state.asked[subreq] = name
        tevent_req_set_callback(subreq, cldap_ping_answered, req)
    return req


def cldap_ping_answered(subreq: tevent_req) -> None:
    """One server has answered, or will not."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, cldap_ping_state)
    name = state.asked.pop(subreq)
    err, controller = cldap_search_recv(subreq)
    TALLOC_FREE(subreq)
    if controller is not None:
        state.found += 1
        print(describe(name, controller), flush=True)
    else:
        print(f"cldap_ping: {name}: {os.strerror(err) if err else 'no controller of that domain'}", file=sys.stderr)
    if not state.asked:
        tevent_req_done(req)


def cldap_ping_recv(req: tevent_req) -> tuple[int, int]:
    """``err, found``: how many have answered."""
    found = tevent_req_data(req, cldap_ping_state).found
    _, err = tevent_req_is_unix_error(req)
    tevent_req_received(req)
    return err, found


def describe(name: str, controller: Controller) -> str:
    """One line."""
    flags = " ".join(word for bit, word in FLAGS.items() if controller.flags & bit)
    return (
        f"{name}: {controller.dns_host} ({controller.name}) of {controller.dns_domain} ({controller.domain}), forest "
        f"{controller.forest}, site {controller.server_site}, domain {controller.domain_guid}: {flags}"
    )


# ------------------------------------------------------------------------------------------------------ the program


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, or a usage message."""
    parser = argparse.ArgumentParser(description="Ask domain controllers who they are.")
    parser.add_argument("--domain", required=True, metavar="NAME", help="the DNS domain that they are to serve")
    parser.add_argument("--interval", type=float, default=1.0, metavar="SECONDS", help="between two tries")
    parser.add_argument("--tries", type=int, default=3, metavar="N")
    parser.add_argument("servers", nargs="+", metavar="ADDRESS[:PORT]", help="numeric")
    options = parser.parse_args(argv)
    if options.interval <= 0 or options.tries < 1:
        parser.error("--interval and --tries must be positive")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """The program: 0 where a controller has answered, 1 where none has."""
    options = parse(argv)
    mem_ctx = talloc_new(None)
    assert mem_ctx is not None
    try:
        ev = tevent_context_init(mem_ctx)
        assert ev is not None
        interval_us = int(options.interval * 1_000_000)
        req = cldap_ping_send(mem_ctx, ev, options.servers, options.domain, interval_us, options.tries)
        if req is None or not tevent_req_poll(req, ev):
            print(f"cldap_ping: {os.strerror(get_errno() if req else ENOMEM)}", file=sys.stderr)
            return 1
        err, found = cldap_ping_recv(req)
        if err:
            print(f"cldap_ping: {os.strerror(err)}", file=sys.stderr)
        return 0 if found else 1
    finally:
        talloc_free(mem_ctx)


if __name__ == "__main__":
    sys.exit(main())
