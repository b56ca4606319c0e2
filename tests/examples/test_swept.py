# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The requests of the other examples, put through all sweeps in a simulated network.

Each is freed, cancelled, timed out, stalled, and failed at each of its operations; then its callback has run once or
never, with the right result or an error, and nothing is left behind.
"""

from __future__ import annotations

import io
import struct
from errno import ECONNRESET
from typing import TYPE_CHECKING, Any

import pytest
from sim_kit import Script, drip, pair, peer

from talloc_py import TALLOC_CTX, talloc_free
from tevent import tevent_context, tevent_req, tevent_req_set_callback
from tevent.testing import simulation, sweep
from tsocket import (
    tdgram_context,
    tdgram_inet_udp_socket,
    tdgram_recvfrom_recv,
    tdgram_recvfrom_send,
    tdgram_sendto_send,
)
from tsocket.testing import fault, link, network

if TYPE_CHECKING:
    from collections.abc import Callable

ERRNOS = [ECONNRESET, fault("*", "readv", take=1), fault("*", "writev", take=1)]
SERVER = "10.0.0.2"


def swept(start: Any, finish: Callable[[tevent_req], int], **options: Any) -> None:
    """A sweep; *finish* returns the errno, which is 0 where nothing disturbs."""
    errors: list[int] = []
    sweep(start, lambda req: errors.append(finish(req)), **options)
    assert errors[0] == 0
    assert any(errors)


def ber(tag: int, *parts: bytes) -> bytes:
    """A short element of BER."""
    body = b"".join(parts)
    return bytes([tag, len(body)]) + body


class TestEcho:
    @staticmethod
    def pdu(payload: bytes) -> bytes:
        """A PDU of the example."""
        return len(payload).to_bytes(4, "big") + payload

    def test_transfer(self, pdu_echo: Any) -> None:
        """A file that goes to the server and back, more PDUs of it than are let be under way."""
        data = bytes(range(40))

        def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            req: tevent_req = pdu_echo.echo_transfer_send(mem_ctx, ev, world.scene, io.BytesIO(data), 10)
            return req

        def finish(req: tevent_req) -> int:
            err, pdus, size = pdu_echo.echo_transfer_recv(req)
            assert err or (pdus, size) == (4, 40)
            return int(err)

        echo: list[bytes | int | None] = []
        for begin in range(0, 40, 10):
            echo += [14, self.pdu(data[begin : begin + 10])]
        swept(start, finish, scene=lambda world, ev, mem_ctx: pair(world, ev, mem_ctx, echo), errnos=ERRNOS)

    def test_server_side(self, pdu_echo: Any) -> None:
        """A connection at the server, until the client closes."""

        def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            script: Script = [self.pdu(b"abc") + self.pdu(b"") + self.pdu(b"defg"), 7, 4, 8, None]
            req: tevent_req = pdu_echo.echo_conn_send(mem_ctx, ev, pair(world, ev, mem_ctx, script, *drip(12)))
            return req

        def finish(req: tevent_req) -> int:
            return int(pdu_echo.echo_conn_recv(req))

        swept(start, finish, errnos=ERRNOS)

    def test_client(self, pdu_echo: Any) -> None:
        """A client from connect to disconnect."""

        def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            address = world.scene.address(world.top, SERVER, 7)
            req: tevent_req = pdu_echo.echo_client_send(mem_ctx, ev, address, io.BytesIO(b"0123456789"), 6)
            return req

        def finish(req: tevent_req) -> int:
            err, pdus, size = pdu_echo.echo_client_recv(req)
            assert err or (pdus, size) == (2, 10)
            return int(err)

        script: Script = [10, self.pdu(b"012345"), 8, self.pdu(b"6789")]
        swept(start, finish, scene=served(7, script), errnos=ERRNOS)


def served(port: int, script: Script) -> Any:
    """A scene: a network with a server whose side of each connection follows *script*."""

    def scene(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> network:
        net = network(world, link=link(latency_us=1000))
        address = net.address(world.top, SERVER, port)
        net.listen(world.top, ev, address, lambda stream: peer(world, ev, stream, script))
        return net

    return scene


def test_ldap_search(ldap_search: Any) -> None:
    """A bind, a search and its entries."""
    question = ldap_search.encode_search("DC=x", 2, "(a=*)", [])
    bind = ldap_search.encode_bind(b"secret", "CN=me")
    end = ber(0x0A, b"\0") + ber(4) + ber(4)
    bound = ber(0x30, ber(2, b"\1"), ber(0x61, end))
    entry = ber(0x30, ber(2, b"\2"), ber(0x64, ber(4, b"CN=x"), ber(0x30)))
    done = ber(0x30, ber(2, b"\2"), ber(0x65, end))
    sizes = [len(ber(0x30, ber(2, bytes([number])), each)) for number, each in ((1, bind), (2, question))]

    def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
        address = world.scene.address(world.top, SERVER, 389)
        wish = ldap_search.Wish(address, question, None, False, None, bind)
        req: tevent_req = ldap_search.ldap_search_send(mem_ctx, ev, wish)
        return req

    def finish(req: tevent_req) -> int:
        err, code, entries = ldap_search.ldap_search_recv(req)
        assert err or (code, len(entries)) == (0, 1)
        return int(err)

    script: Script = [sizes[0], bound, sizes[1], entry + done]
    swept(start, finish, scene=served(389, script), errnos=ERRNOS)


@pytest.mark.parametrize("silent", [False, True], ids=["answered", "silent"])
def test_cldap_ping(cldap_ping: Any, silent: bool) -> None:
    """Two servers that are asked at once over one socket; each answers, or neither does."""

    def serve(world: simulation, ev: tevent_context, dgram: tdgram_context) -> None:
        def heard(req: tevent_req) -> None:
            _, _, question, client = tdgram_recvfrom_recv(req, world.top)
            talloc_free(req)
            assert question is not None
            offset = bytes(question).index(b"\2\4")
            number = bytes(question)[offset : offset + 6]
            done = ber(0x30, number, ber(0x65, ber(0x0A, b"\0"), ber(4), ber(4)))
            if not silent:
                tdgram_sendto_send(world.top, ev, dgram, done, client)
            serve(world, ev, dgram)

        req = tdgram_recvfrom_send(world.top, ev, dgram)
        assert req is not None
        tevent_req_set_callback(req, heard, None)

    def scene(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> None:
        net = network(world, link=link(latency_us=1000))
        for host in (SERVER, "10.0.0.3"):
            ret, dgram = tdgram_inet_udp_socket(net.address(world.top, host, 389), None, world.top)
            assert ret == 0
            assert dgram is not None
            serve(world, ev, dgram)

    def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
        req: tevent_req = cldap_ping.cldap_ping_send(mem_ctx, ev, [SERVER, "10.0.0.3"], "x.test", 1_000_000, 2)
        return req

    def finish(req: tevent_req) -> int:
        err, found = cldap_ping.cldap_ping_recv(req)
        assert found == 0
        return int(err)

    swept(start, finish, scene=scene)


def test_share_list(share_list: Any) -> None:
    """A bind and a call over a pipe, the answer in two fragments."""

    def packet(ptype: int, body: bytes, flags: int, call_id: int) -> bytes:
        return struct.pack("<BBBB4sHHI", 5, 0, ptype, flags, b"\x10\0\0\0", 16 + len(body), 0, call_id) + body

    ack = struct.pack("<HHIH2sB3xHH20x", 4280, 4280, 1, 2, b"x\0", 1, 0, 0)
    stub = struct.pack("<IIIIIIIIII", 1, 1, 0x20000, 0, 0x20004, 0, 0, 0x30000, 0, 0)
    fragments = [packet(2, struct.pack("<IHBB", 20, 0, 0, 0) + stub[i : i + 20], 1 + i // 20, 2) for i in (0, 20)]
    sizes = [16 + len(share_list.encode_bind()), 16 + len(share_list.encode_enumeration())]

    def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
        req: tevent_req = share_list.share_list_send(mem_ctx, ev, world.scene)
        return req

    def finish(req: tevent_req) -> int:
        err, status, shares = share_list.share_list_recv(req)
        assert err or (status, shares) == (0, [])
        return int(err)

    script: Script = [sizes[0], packet(12, ack, 3, 1), sizes[1], b"".join(fragments)]
    swept(start, finish, scene=lambda world, ev, mem_ctx: pair(world, ev, mem_ctx, script), errnos=ERRNOS)
