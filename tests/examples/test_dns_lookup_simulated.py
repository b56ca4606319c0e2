# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The DNS example in a simulated network: everything that datagrams do, in virtual time.

A test of a client of your own can begin as a copy of this one: a server that belongs to the world, some cases with a
plan, all networks that Hypothesis thinks of, and a sweep.
"""

from __future__ import annotations

import struct
from errno import ECONNREFUSED, ECONNRESET, ETIMEDOUT
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talloc_py import TALLOC_CTX, talloc_free
from tevent import tevent_context, tevent_req, tevent_req_poll, tevent_req_set_callback
from tevent.testing import explore, simulation, sweep
from tsocket import (
    tdgram_context,
    tdgram_inet_udp_socket,
    tdgram_recvfrom_recv,
    tdgram_recvfrom_send,
    tdgram_sendto_send,
    tsocket_address,
    tstream_context,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_writev_send,
)
from tsocket.testing import fault, link, network, strategies

SERVER = ("10.0.0.2", 53)
LATENCY_US = 10_000
TIMEOUT_SECONDS, TRIES = 2, 3
TRUNCATED = 0x0200
A_RECORD = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 300, 4) + bytes([192, 0, 2, 1])


def reply(query: bytes, *, flags: int = 0, records: bytes = A_RECORD) -> bytes:
    """The answer to *query*: one address, or what *records* has."""
    return query[:2] + struct.pack(">HHHHH", 0x8180 | flags, 1, len(records) // 16, 0, 0) + query[12:] + records


class Server:
    """Answers every question, over UDP and TCP; it belongs to the world, and what it leaves is nobody's business."""

    def __init__(self, world: simulation, ev: tevent_context, net: network, *, truncates: bool = False) -> None:
        self.world = world
        self.ev = ev
        self.truncates = truncates
        self.questions = 0
        self.address = net.address(world.top, *SERVER)
        ret, dgram = tdgram_inet_udp_socket(self.address, None, world.top)
        assert ret == 0
        assert dgram is not None
        self.listen(dgram)
        net.listen(world.top, ev, self.address, self.serve)

    def listen(self, dgram: tdgram_context) -> None:
        """Answer the next datagram, and those behind it."""

        def heard(req: tevent_req) -> None:
            ret, _, query, client = tdgram_recvfrom_recv(req, self.world.top)
            talloc_free(req)
            self.listen(dgram)
            if ret == -1 or query is None:
                return
            self.questions += 1
            answer = reply(bytes(query), flags=TRUNCATED, records=b"") if self.truncates else reply(bytes(query))
            tdgram_sendto_send(self.world.top, self.ev, dgram, answer, client)

        req = tdgram_recvfrom_send(self.world.top, self.ev, dgram)
        assert req is not None
        tevent_req_set_callback(req, heard, None)

    def serve(self, stream: tstream_context) -> None:
        """Answer one question of a connection."""
        head = bytearray(2)

        def got_head(req: tevent_req) -> None:
            if tstream_readv_recv(req)[0] == 2:
                body = bytearray(int.from_bytes(head, "big"))
                self.read(stream, body, lambda req: got_body(req, body))

        def got_body(req: tevent_req, body: bytearray) -> None:
            if tstream_readv_recv(req)[0] == len(body):
                answer = reply(bytes(body))
                tstream_writev_send(self.world.top, self.ev, stream, [len(answer).to_bytes(2, "big"), answer])

        self.read(stream, head, got_head)

    def read(self, stream: tstream_context, into: bytearray, then: Any) -> None:
        """Fill *into*, then call *then*."""
        req = tstream_readv_send(self.world.top, self.ev, stream, [into])
        assert req is not None
        tevent_req_set_callback(req, then, None)


def begin(example: Any, mem_ctx: TALLOC_CTX, ev: tevent_context, address: tsocket_address) -> tevent_req:
    """Ask for an address."""
    req: tevent_req = example.dns_lookup_send(
        mem_ctx, ev, address, "x.test", 1, timeout_seconds=TIMEOUT_SECONDS, tries=TRIES
    )
    return req


def lookup(
    example: Any, world: simulation, net: network, *, truncates: bool = False, quiet: bool = False
) -> tuple[int, list[str], int]:
    """``err, addresses, questions``, of which the server has heard so many."""
    ev = world.context()
    server = Server(world, ev, net, truncates=truncates)
    if quiet:
        net.partition(SERVER[0])
    req = begin(example, world.top, ev, server.address)
    assert tevent_req_poll(req, ev)
    err, answer = example.dns_lookup_recv(req)
    return err, [] if answer is None else [each.data for each in answer.answers], server.questions


class TestDatagrams:
    def test_answer(self, dns_lookup: Any) -> None:
        """A good network: one question, one answer, one round trip."""
        with simulation() as world:
            net = network(world, link=link(latency_us=LATENCY_US))
            assert lookup(dns_lookup, world, net) == (0, ["192.0.2.1"], 1)
            assert world.elapsed_us == 2 * LATENCY_US

    @pytest.mark.parametrize("lost", range(TRIES))
    def test_lost_questions(self, dns_lookup: Any, lost: int) -> None:
        """Each question that is lost costs the time of a try, and the next one is answered."""
        # Each try has a socket of its own, and sends one datagram.
        plan = [fault(f"10.0.0.1:{49152 + number}", "datagram", lost=True) for number in range(lost)]
        with simulation() as world:
            net = network(world, link=link(latency_us=LATENCY_US), faults=plan)
            assert lookup(dns_lookup, world, net) == (0, ["192.0.2.1"], 1)
            assert world.elapsed_us == lost * TIMEOUT_SECONDS * 1_000_000 + 2 * LATENCY_US

    def test_silence(self, dns_lookup: Any) -> None:
        """No answer at all: all tries are made, each takes its time, and no longer."""
        with simulation() as world:
            net = network(world, link=link(latency_us=LATENCY_US))
            assert lookup(dns_lookup, world, net, quiet=True) == (ETIMEDOUT, [], 0)
            assert world.elapsed_us == TRIES * TIMEOUT_SECONDS * 1_000_000

    def test_late_answer(self, dns_lookup: Any) -> None:
        """An answer that comes after its try is over is noise; the answer to the next question counts."""
        with simulation() as world:
            slow = [fault("10.0.0.2:53", "datagram", delay_us=TIMEOUT_SECONDS * 1_000_000 + 1)]
            assert lookup(dns_lookup, world, network(world, faults=slow)) == (0, ["192.0.2.1"], 2)
            assert world.elapsed_us == TIMEOUT_SECONDS * 1_000_000

    @given(properties=strategies.links(), choose=strategies.schedules(), truncates=st.booleans())
    @settings(max_examples=60, deadline=None)
    def test_any_network(self, dns_lookup: Any, properties: link, choose: Any, truncates: bool) -> None:
        """Whatever is lost, doubled, reordered, slow or cut: the right answer or none, and in time."""
        with simulation(choose=choose) as world:
            err, found, _ = lookup(dns_lookup, world, network(world, link=properties), truncates=truncates)
            assert (err, found) in ((0, ["192.0.2.1"]), (ETIMEDOUT, []))
            assert world.elapsed_us <= (TRIES + 1) * TIMEOUT_SECONDS * 1_000_000

    @given(faults=strategies.fault_plans(strategies.dgram_faults(["*"]), strategies.stream_faults(["to *"])))
    @settings(max_examples=60, deadline=None)
    def test_any_faults(self, dns_lookup: Any, faults: Any) -> None:
        """Whatever fails: the right answer or an error."""
        with simulation() as world:
            net = network(world, link=link(latency_us=LATENCY_US), faults=faults)
            err, found, _ = lookup(dns_lookup, world, net, truncates=True)
            assert (err == 0 and found == ["192.0.2.1"]) or (err > 0 and found == [])


class TestTruncation:
    def test_over_tcp(self, dns_lookup: Any) -> None:
        """An answer that was cut short is asked for again over TCP, in bytes that come singly."""
        with simulation() as world:
            singly = [fault("to *", "byte", n, delay_us=1) for n in range(1, 200)]
            net = network(world, link=link(latency_us=LATENCY_US), faults=singly)
            assert lookup(dns_lookup, world, net, truncates=True) == (0, ["192.0.2.1"], 1)

    def test_all_cuts(self, dns_lookup: Any) -> None:
        """Wherever the answer is cut on its way, it is the same answer."""

        def run(world: simulation) -> None:
            net = network(world, link=link(cut=True))
            assert lookup(dns_lookup, world, net, truncates=True) == (0, ["192.0.2.1"], 1)

        assert explore(run, runs_max=100).runs > 50

    @pytest.mark.parametrize("byte", [0, 1, 2, 20])
    @pytest.mark.parametrize("end", ["eof", "reset"])
    def test_connection_ends(self, dns_lookup: Any, byte: int, end: str) -> None:
        """A connection that ends before the answer is complete is an error."""
        with simulation() as world:
            net = network(world, faults=[fault("to *", "byte", byte, end=end)])
            err, found, _ = lookup(dns_lookup, world, net, truncates=True)
            assert err != 0
            assert found == []


def test_nobody_listens(dns_lookup: Any) -> None:
    """A host without a server says so at once, and the client does not wait."""
    with simulation() as world:
        ev = world.context()
        net = network(world, link=link(latency_us=LATENCY_US))
        req = begin(dns_lookup, world.top, ev, net.address(world.top, *SERVER))
        assert tevent_req_poll(req, ev)
        assert dns_lookup.dns_lookup_recv(req) == (ECONNREFUSED, None)
        assert world.elapsed_us == 2 * LATENCY_US


@pytest.mark.parametrize("truncates", [False, True], ids=["udp", "tcp"])
def test_sweep(dns_lookup: Any, truncates: bool) -> None:
    """Freed, cancelled, timed out, stalled or failing anywhere: one callback, the right answer or an error, no rest."""

    def scene(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> Server:
        return Server(world, ev, network(world, link=link(latency_us=LATENCY_US)), truncates=truncates)

    def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
        return begin(dns_lookup, mem_ctx, ev, world.scene.address)

    def finish(req: tevent_req) -> None:
        err, answer = dns_lookup.dns_lookup_recv(req)
        assert err or [each.data for each in answer.answers] == ["192.0.2.1"]

    errnos = [ECONNRESET, fault("*", "readv", take=1), fault("*", "writev", take=1)]
    result = sweep(start, finish, recv=dns_lookup.dns_lookup_recv, scene=scene, errnos=errnos)
    assert len(result.operations) >= (5 if truncates else 3)
