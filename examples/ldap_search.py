#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-3.0-or-later
r"""
Search in an LDAP directory, over TLS or over a signed and sealed connection.

::

    python examples/ldap_search.py 127.0.0.1                                      # the root DSE, for anybody
    export LDAP_PASSWORD=...
    python examples/ldap_search.py --security ldaps --ca ca.pem --name dc.example.test \
        --user 'EXAMPLE\someone' --base DC=example,DC=test 127.0.0.1 '(cn=Users)' name
    python examples/ldap_search.py --security starttls ...                        # plain at first, then TLS
    python examples/ldap_search.py --security ntlm ...                            # sealed by what NTLM has agreed on
    python examples/ldap_search.py --security kerberos --name dc.example.test ... # ... or Kerberos, with kinit's ticket

The program prints each entry as LDIF does: a line for each value, an empty line behind each entry.

====================  ============================================================================================
``ldap_call``         a message out, its answers in, until one says that it was the last: any stream will do
``ldap_sasl``         as many bind messages as the mechanism wants; then the stream goes on sealed
``ldap_search``       connect, protect, bind, search
====================  ============================================================================================

All of these take and give a `tstream_context`; which kind it is nobody needs to know. What the server sends is not
trusted: an answer has a size limit, and no length in it is believed.
"""

from __future__ import annotations

import argparse
import base64
import os
import sys
from errno import EACCES, EBADMSG, EINVAL, EIO, EMSGSIZE, ENOMEM, EPROTO
from typing import TYPE_CHECKING, NamedTuple

from talloc_py import *
from tevent import *
from tevent.typing import tevent_subreq
from tsocket import *

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

BIND_REQUEST, BIND_RESPONSE = 0x60, 0x61
SEARCH_REQUEST, SEARCH_ENTRY, SEARCH_DONE, SEARCH_REFERENCE = 0x63, 0x64, 0x65, 0x73
EXTENDED_REQUEST, EXTENDED_RESPONSE = 0x77, 0x78
LAST_ANSWERS = (BIND_RESPONSE, SEARCH_DONE, EXTENDED_RESPONSE)
START_TLS = b"1.3.6.1.4.1.1466.20037"
SUCCESS, INVALID_CREDENTIALS, BIND_IN_PROGRESS = 0, 49, 14
SCOPES = {"base": 0, "one": 1, "sub": 2}

MESSAGE_MAX_BYTES = 16 * 1024 * 1024
ANSWERS_MAX = 100_000
STEPS_MAX = 10


# --------------------------------------------------------------------------------------------------------- messages


class MalformedMessage(ValueError):
    """The bytes are no LDAP message."""


def element(tag: int, *parts: bytes) -> bytes:
    """An element of BER that consists of *parts*."""
    body = b"".join(parts)
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    size = len(body).to_bytes(4, "big")
    return bytes([tag, 0x84]) + size + body


def integer(number: int, tag: int = 0x02) -> bytes:
    """A number that is not negative."""
    return element(tag, number.to_bytes(number.bit_length() // 8 + 1, "big"))


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


def contents(data: bytes, count_min: int) -> list[bytes]:
    """What the elements of *data* hold; there must be *count_min* of them."""
    found = [content for _, content in elements(data)]
    if len(found) < count_min:
        raise MalformedMessage("something is missing")
    return found


class Answer(NamedTuple):
    """A message of the server: what it is, and what is in it."""

    number: int
    tag: int
    body: bytes

    @property
    def code(self) -> int:
        """The result code, if it is an answer that has one."""
        return int.from_bytes(contents(self.body, 3)[0], "big")


def decode_message(blob: bytes) -> Answer:
    """The one message in *blob*."""
    parts = elements(blob)
    if len(parts) != 1:
        raise MalformedMessage("not one message")
    number, operation, *_ = elements(parts[0][1]) + [(0, b"")] * 2
    if number[0] != 0x02:
        raise MalformedMessage("a message without a number")
    return Answer(int.from_bytes(number[1], "big"), *operation)


class Entry(NamedTuple):
    """An entry of the directory."""

    name: str
    attributes: list[tuple[str, list[bytes]]]


def decode_entry(body: bytes) -> Entry:
    """The entry in an answer."""
    name, attributes = contents(body, 2)[:2]
    pairs = [contents(each, 2) for each in contents(attributes, 0)]
    return Entry(text(name), [(text(pair[0]), contents(pair[1], 0)) for pair in pairs])


def text(raw: bytes) -> str:
    """Text of the server, whatever it is."""
    return raw.decode("utf-8", "backslashreplace")


def encode_filter(words: str) -> bytes:
    """``(attribute=value)`` or ``(attribute=*)``, the two that this program knows."""
    attribute, equals, value = words.strip("()").partition("=")
    if not attribute or not equals or not value:
        raise ValueError(f"{words}: a filter is (attribute=value) or (attribute=*)")
    if value == "*":
        return element(0x87, attribute.encode())
    return element(0xA3, element(0x04, attribute.encode()), element(0x04, value.encode()))


def encode_search(base: str, scope: int, words: str, attributes: Sequence[str]) -> bytes:
    """The request for a search; no limits but those of the server."""
    wanted = [element(0x04, attribute.encode()) for attribute in attributes]
    numbers = integer(scope, 0x0A), integer(0, 0x0A), integer(0), integer(0), element(0x01, b"\0")
    return element(SEARCH_REQUEST, element(0x04, base.encode()), *numbers, encode_filter(words), element(0x30, *wanted))


def encode_bind(credentials: bytes, name: str = "") -> bytes:
    """The request for a bind."""
    return element(BIND_REQUEST, integer(3), element(0x04, name.encode()), credentials)


# ----------------------------------------------------------------------------------------------------- one operation


def whole_message(stream: tstream_context, private_data: object, blob: bytearray) -> tuple[NTSTATUS, int]:
    """`ldap_full_packet` with a limit."""
    status, size = ldap_full_packet(stream, private_data, blob)
    if size > MESSAGE_MAX_BYTES:
        return map_nt_error_from_unix_common(EMSGSIZE), 0
    return status, size


class ldap_call_state(TALLOC_CTX):
    """A message, and its answers so far."""

    ev: tevent_context
    stream: tstream_context
    number: int
    message: bytes
    answers: list[Answer]


def ldap_call_send(
    mem_ctx: TALLOC_CTX | None, ev: tevent_context, stream: tstream_context, number: int, operation: bytes
) -> tevent_req | None:
    """Send *operation* as message *number*, and wait for all of its answers."""
    req, state = tevent_req_create(mem_ctx, ldap_call_state)
    if req is None:
        return None
    state.ev = ev
    state.stream = stream
    state.number = number
    state.answers = []
    state.message = element(0x30, integer(number), operation)
    subreq = tstream_writev_send(state, ev, stream, [state.message])
    if tevent_req_nomem(subreq, req):
        return tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, ldap_call_written, req)
    return req


def ldap_call_written(subreq: tevent_req) -> None:
    """The message is out."""
    req = tevent_req_callback_data(subreq, tevent_req)
    ret, err = tstream_writev_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1:
        tevent_req_error(req, err)
        return
    ldap_call_read(req)


def ldap_call_read(req: tevent_req) -> None:
    """Wait for an answer: no byte more is read than it has."""
    state = tevent_req_data(req, ldap_call_state)
    subreq = tstream_read_pdu_blob_send(state, state.ev, state.stream, 7, whole_message, None)
    if tevent_req_nomem(subreq, req):
        return
    tevent_req_set_callback(subreq, ldap_call_got, req)


def ldap_call_got(subreq: tevent_req) -> None:
    """An answer: the last one, or one of several."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, ldap_call_state)

    status, blob = tstream_read_pdu_blob_recv(subreq, state)
    TALLOC_FREE(subreq)
    if blob is None:
        # The errno is lost in the status: what is left is whether the connection was.
        tevent_req_error(req, EPROTO if status == NT_STATUS_INVALID_BUFFER_SIZE else EIO)
        return
    try:
        answer = decode_message(bytes(blob))
    except MalformedMessage:
        tevent_req_error(req, EBADMSG)
        return
    TALLOC_FREE(blob)
    if answer.number != state.number or len(state.answers) >= ANSWERS_MAX:
        tevent_req_error(req, EPROTO)
        return
    state.answers.append(answer)
    if answer.tag in LAST_ANSWERS:
        tevent_req_done(req)
        return
    ldap_call_read(req)


def ldap_call_recv(req: tevent_req) -> tuple[int, list[Answer], int]:
    """``err, answers, code``: the result code of the last answer."""
    answers = tevent_req_data(req, ldap_call_state).answers
    is_error, err = tevent_req_is_unix_error(req)
    tevent_req_received(req)
    if is_error:
        return err, [], 0
    try:
        return 0, answers, answers[-1].code
    except MalformedMessage:
        return EBADMSG, [], 0


# -------------------------------------------------------------------------------------------------------------- SASL


class Mechanism(NamedTuple):
    """
    Who authenticates: what it makes of a token of the server, and what makes of its context the protection of a stream.

    `step` is called from the loop and must not wait; Kerberos may ask its servers for a ticket, so a program with more
    than one thing to do gets it before, as kinit does.
    """

    step: Callable[[bytes | None], bytes | None]
    adapter: Callable[[TALLOC_CTX, Any], gensec_security | None]
    context: object


def ntlm(user: str, password: str) -> Mechanism:
    """NTLM, by the package pyspnego."""
    import spnego

    flags = spnego.ContextReq.integrity | spnego.ContextReq.confidentiality | spnego.ContextReq.sequence_detect
    context = spnego.client(user, password, protocol="ntlm", context_req=flags)
    return Mechanism(context.step, gensec_from_spnego, context)


def kerberos(host: str) -> Mechanism:
    """Kerberos in SPNEGO, by the package python-gssapi, with the ticket that is there."""
    import gssapi  # type: ignore[import-untyped, import-not-found, unused-ignore]

    library: Any = gssapi
    flag = library.RequirementFlag
    context = library.SecurityContext(
        name=library.Name(f"ldap@{host}", library.NameType.hostbased_service),
        mech=library.OID.from_int_seq("1.3.6.1.5.5.2"),
        flags=[flag.mutual_authentication, flag.integrity, flag.confidentiality, flag.out_of_sequence_detection],
        usage="initiate",
    )
    return Mechanism(context.step, gensec_from_gssapi, context)


class ldap_sasl_state(TALLOC_CTX):
    """A bind of several messages."""

    ev: tevent_context
    plain: tstream_context
    mechanism: Mechanism
    number: int
    steps: int
    stream: tstream_context


def ldap_sasl_send(
    mem_ctx: TALLOC_CTX | None, ev: tevent_context, plain: tstream_context, mechanism: Mechanism, number: int
) -> tevent_req | None:
    """Bind with *mechanism*, from message *number* on; *plain* then goes on sealed."""
    req, state = tevent_req_create(mem_ctx, ldap_sasl_state)
    if req is None:
        return None
    state.ev = ev
    state.plain = plain
    state.mechanism = mechanism
    state.number = number
    state.steps = 0
    ldap_sasl_step(req, None)
    return req if tevent_req_is_in_progress(req) else tevent_req_post(req, ev)


def ldap_sasl_step(req: tevent_req, token: bytes | None) -> None:
    """Answer the server's *token*."""
    state = tevent_req_data(req, ldap_sasl_state)
    answer = attempt(lambda: state.mechanism.step(token))
    if answer is None or state.steps >= STEPS_MAX:
        tevent_req_error(req, EACCES)
        return
    credentials = element(0xA3, element(0x04, b"GSS-SPNEGO"), element(0x04, answer))
    number = state.number + state.steps
    state.steps += 1
    subreq = ldap_call_send(state, state.ev, state.plain, number, encode_bind(credentials))
    if tevent_req_nomem(subreq, req):
        return
    tevent_req_set_callback(subreq, ldap_sasl_got, req)


def attempt(step: Callable[[], bytes | None]) -> bytes | None:
    """What *step* gives; None where it fails. Each package has exceptions of its own."""
    try:
        return step() or b""
    except Exception as error:
        print(f"ldap_search: {error}", file=sys.stderr)
        return None


def ldap_sasl_got(subreq: tevent_req) -> None:
    """The server wants another token, or has seen enough, or refuses."""
    req = tevent_req_callback_data(subreq, tevent_req)
    err, answers, code = ldap_call_recv(subreq)
    TALLOC_FREE(subreq)
    if tevent_req_error(req, err):
        return
    if code not in (SUCCESS, BIND_IN_PROGRESS):
        tevent_req_error(req, EACCES)
        return
    try:
        parts = elements(answers[-1].body)
    except MalformedMessage:
        tevent_req_error(req, EBADMSG)
        return
    token = next((content for tag, content in parts if tag == 0x87), None)
    if code == BIND_IN_PROGRESS:
        ldap_sasl_step(req, token)
        return
    ldap_sasl_seal(req, token)


def ldap_sasl_seal(req: tevent_req, token: bytes | None) -> None:
    """All of the authentication was written and read: the next byte is sealed."""
    state = tevent_req_data(req, ldap_sasl_state)
    # The server proves itself in its last token, if the mechanism has one.
    if token and attempt(lambda: state.mechanism.step(token)) is None:
        tevent_req_error(req, EACCES)
        return
    security = state.mechanism.adapter(state, state.mechanism.context)
    if tevent_req_nomem(security, req):
        return
    # A server must not talk us out of what we have asked for.
    if not gensec_have_feature(security, GENSEC_FEATURE_SEAL):
        tevent_req_error(req, EACCES)
        return
    status, stream = gensec_create_tstream(state, security, state.plain)
    if not NT_STATUS_IS_OK(status) or stream is None:
        tevent_req_error(req, EIO)
        return
    talloc_steal(stream, security)
    state.stream = stream
    tevent_req_done(req)


def ldap_sasl_recv(req: tevent_req, mem_ctx: TALLOC_CTX) -> tuple[int, int, tstream_context | None]:
    """``err, steps, stream``: of how many messages the bind was."""
    state = tevent_req_data(req, ldap_sasl_state)
    is_error, err = tevent_req_is_unix_error(req)
    stream = None if is_error else talloc_move(mem_ctx, state.stream)
    steps = state.steps
    tevent_req_received(req)
    return err, steps, stream


# ------------------------------------------------------------------------------------------------------------ search


class Wish(NamedTuple):
    """What the user wants."""

    server: tsocket_address
    search: bytes
    params: tstream_tls_params | None
    start_tls: bool
    mechanism: Mechanism | None
    bind: bytes | None


class ldap_search_state(TALLOC_CTX):
    """All of it. The stream in use; those below it are children of the state as well."""

    ev: tevent_context
    wish: Wish
    stream: tstream_context
    number: int
    code: int
    answers: list[Answer]


def ldap_search_send(mem_ctx: TALLOC_CTX | None, ev: tevent_context, wish: Wish) -> tevent_req | None:
    """Connect, protect the connection, bind and search as *wish* says."""
    req, state = tevent_req_create(mem_ctx, ldap_search_state)
    if req is None:
        return None
    state.ev = ev
    state.wish = wish
    state.number = 0
    state.code = 0
    state.answers = []
    ret, local = tsocket_address_inet_from_strings(state, "ip", None, 0)
    if ret == -1 or local is None:
        tevent_req_error(req, get_errno())
        return tevent_req_post(req, ev)
    subreq = tstream_inet_tcp_connect_send(state, ev, local, wish.server)
    if tevent_req_nomem(subreq, req):
        return tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, ldap_search_connected, req)
    return req


def ldap_search_connected(subreq: tevent_subreq) -> None:
    """Connected: begin TLS, if it is wanted."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, ldap_search_state)
    ret, err, stream, _ = tstream_inet_tcp_connect_recv(subreq, state)
    TALLOC_FREE(subreq)
    if ret == -1 or stream is None:
        tevent_req_error(req, err)
        return
    state.stream = stream
    if state.wish.start_tls:
        state.number = 1
        request = element(EXTENDED_REQUEST, element(0x80, START_TLS))
        subreq = ldap_call_send(state, state.ev, stream, state.number, request)
        if tevent_req_nomem(subreq, req):
            return
        tevent_req_set_callback(subreq, ldap_search_granted, req)
    elif state.wish.params is not None:
        ldap_search_shake(req, state.wish.params)
    else:
        ldap_search_bind(req)


def ldap_search_granted(subreq: tevent_req) -> None:
    """The server agrees: the next byte on the stream is one of TLS. Or it does not, and nothing secret was said."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, ldap_search_state)
    err, _, code = ldap_call_recv(subreq)
    TALLOC_FREE(subreq)
    if tevent_req_error(req, err):
        return
    if code != SUCCESS or state.wish.params is None:
        tevent_req_error(req, EPROTO)
        return
    ldap_search_shake(req, state.wish.params)


def ldap_search_shake(req: tevent_req, params: tstream_tls_params) -> None:
    """Begin TLS, on a new connection or on one in use: the stream cannot tell."""
    state = tevent_req_data(req, ldap_search_state)
    subreq = tstream_tls_connect_send(state, state.ev, state.stream, params)
    if tevent_req_nomem(subreq, req):
        return
    tevent_req_set_callback(subreq, ldap_search_protected, req)


def ldap_search_protected(subreq: tevent_req) -> None:
    """From here on the stream in use is the one on top."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, ldap_search_state)
    ret, err, stream = tstream_tls_connect_recv(subreq, state)
    TALLOC_FREE(subreq)
    if ret == -1 or stream is None:
        tevent_req_error(req, err)
        return
    state.stream = stream
    ldap_search_bind(req)


def ldap_search_bind(req: tevent_req) -> None:
    """Say who we are, if we do."""
    state = tevent_req_data(req, ldap_search_state)
    state.number += 1
    if state.wish.mechanism is not None:
        subreq = ldap_sasl_send(state, state.ev, state.stream, state.wish.mechanism, state.number)
        done = ldap_search_sealed
    elif state.wish.bind is not None:
        subreq = ldap_call_send(state, state.ev, state.stream, state.number, state.wish.bind)
        done = ldap_search_bound
    else:
        ldap_search_ask(req)
        return
    if tevent_req_nomem(subreq, req):
        return
    tevent_req_set_callback(subreq, done, req)


def ldap_search_sealed(subreq: tevent_req) -> None:
    """As after TLS."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, ldap_search_state)
    err, steps, stream = ldap_sasl_recv(subreq, state)
    TALLOC_FREE(subreq)
    if tevent_req_error(req, err) or stream is None:
        return
    state.stream = stream
    state.number += steps
    ldap_search_ask(req)


def ldap_search_bound(subreq: tevent_req) -> None:
    """The server knows us, or refuses."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, ldap_search_state)
    err, _, code = ldap_call_recv(subreq)
    TALLOC_FREE(subreq)
    if tevent_req_error(req, err):
        return
    if code != SUCCESS:
        tevent_req_error(req, EACCES if code == INVALID_CREDENTIALS else EPROTO)
        return
    state.number += 1
    ldap_search_ask(req)


def ldap_search_ask(req: tevent_req) -> None:
    """Search."""
    state = tevent_req_data(req, ldap_search_state)
    subreq = ldap_call_send(state, state.ev, state.stream, state.number, state.wish.search)
    if tevent_req_nomem(subreq, req):
        return
    tevent_req_set_callback(subreq, ldap_search_done, req)


def ldap_search_done(subreq: tevent_req) -> None:
    """The answers."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, ldap_search_state)
    err, state.answers, state.code = ldap_call_recv(subreq)
    TALLOC_FREE(subreq)
    if tevent_req_error(req, err):
        return
    tevent_req_done(req)


def ldap_search_recv(req: tevent_req) -> tuple[int, int, list[Entry]]:
    """``err, code, entries``."""
    state = tevent_req_data(req, ldap_search_state)
    is_error, err = tevent_req_is_unix_error(req)
    answers, code = state.answers, state.code
    tevent_req_received(req)
    if is_error:
        return err, 0, []
    try:
        return 0, code, [decode_entry(answer.body) for answer in answers if answer.tag == SEARCH_ENTRY]
    except MalformedMessage:
        return EBADMSG, 0, []


# ------------------------------------------------------------------------------------------------------ the program


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, or a usage message."""
    parser = argparse.ArgumentParser(description="Search in an LDAP directory.")
    parser.add_argument("--security", choices=["none", "ldaps", "starttls", "ntlm", "kerberos"], default="none")
    parser.add_argument("--ca", metavar="FILE", help="who vouches for the server; default: whom the system trusts")
    parser.add_argument("--name", metavar="HOST", help="the name that the server must prove to have")
    parser.add_argument("--user", metavar="NAME", help="bind with the password in the variable LDAP_PASSWORD")
    parser.add_argument("--base", default="", metavar="DN")
    parser.add_argument("--scope", choices=SCOPES, default="base")
    parser.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS", help="for all of it")
    parser.add_argument("server", metavar="ADDRESS[:PORT]", help="numeric")
    parser.add_argument("filter", nargs="?", default="(objectClass=*)", metavar="FILTER")
    parser.add_argument("attributes", nargs="*", metavar="ATTRIBUTE")
    options = parser.parse_args(argv)
    if options.security in ("ldaps", "starttls", "kerberos") and not options.name:
        parser.error("--name is needed to tell the server from another one")
    if options.security == "ntlm" and not options.user:
        parser.error("--user is needed")
    if options.security == "none" and options.user:
        parser.error("a password is not sent in clear: --security")
    try:
        encode_filter(options.filter)
    except ValueError as error:
        parser.error(str(error))
    return options


def wish_of(options: argparse.Namespace, mem_ctx: TALLOC_CTX) -> Wish | None:
    """What *options* come to; None, and an errno, where that is impossible."""
    password = os.environ.get("LDAP_PASSWORD", "")
    port = 636 if options.security == "ldaps" else 389
    ret, server = tsocket_address_inet_from_hostport_strings(mem_ctx, "ip", options.server, port)
    if ret == -1 or server is None:
        return None
    params = mechanism = bind = None
    if options.security in ("ldaps", "starttls"):
        # The highest level that there is without a revocation list.
        level = TLS_VERIFY_PEER_CA_AND_NAME
        system = options.ca is None
        status, params = tstream_tls_params_client(
            mem_ctx, system, None, options.ca, None, "NORMAL", level, options.name
        )
        if not NT_STATUS_IS_OK(status):
            set_errno(EINVAL)
            return None
        bind = encode_bind(element(0x80, password.encode()), options.user) if options.user else None
    elif options.security == "ntlm":
        mechanism = ntlm(options.user, password)
    elif options.security == "kerberos":
        mechanism = kerberos(options.name)
    search = encode_search(options.base, SCOPES[options.scope], options.filter, options.attributes)
    return Wish(server, search, params, options.security == "starttls", mechanism, bind)


def search(options: argparse.Namespace) -> tuple[int, int, list[Entry]]:
    """Search as *options* say; ``err, code, entries``."""
    mem_ctx = talloc_new(None)
    assert mem_ctx is not None
    try:
        ev = tevent_context_init(mem_ctx)
        wish = wish_of(options, mem_ctx)
        if ev is None or wish is None:
            return get_errno(), 0, []
        req = ldap_search_send(mem_ctx, ev, wish)
        if req is None:
            return ENOMEM, 0, []
        seconds, fraction = divmod(options.timeout, 1)
        tevent_req_set_endtime(req, ev, tevent_timeval_current_ofs(int(seconds), int(fraction * 1_000_000)))
        if not tevent_req_poll(req, ev):
            return get_errno(), 0, []
        return ldap_search_recv(req)
    finally:
        talloc_free(mem_ctx)


def ldif(name: str, value: bytes) -> str:
    """One line; what a terminal might take for something else is in base 64."""
    if value.isascii() and value.decode("ascii").isprintable() and value[:1] not in (b" ", b":", b"<"):
        return f"{name}: {value.decode('ascii')}"
    return f"{name}:: {base64.b64encode(value).decode('ascii')}"


def main(argv: Sequence[str] | None = None) -> int:
    """The program: 0 where the search succeeded, with entries or without, 1 where it did not."""
    options = parse(argv)
    err, code, entries = search(options)
    if err:
        print(f"ldap_search: {options.server}: {os.strerror(err)}", file=sys.stderr)
        return 1
    for entry in entries:
        print(ldif("dn", entry.name.encode()))
        for name, values in entry.attributes:
            for value in values:
                print(ldif(name, value))
        print()
    if code:
        print(f"ldap_search: {options.server}: result code {code}", file=sys.stderr)
    return 1 if code else 0


if __name__ == "__main__":
    sys.exit(main())
