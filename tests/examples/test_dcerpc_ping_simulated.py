# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The endpoint mapper example in a simulated network: cuts and errors at every step of a conversation, in virtual time.

A test of a client of your own can begin as a copy of this one: a server that belongs to the world and answers from a
list, all cuts, all ends, all networks that Hypothesis thinks of, and a sweep.
"""

from __future__ import annotations

import struct
from errno import ECONNREFUSED, ECONNRESET, EPIPE, ETIMEDOUT
from typing import Any

import pytest
from hypothesis import given, settings

from talloc_py import TALLOC_CTX, talloc_free
from tevent import (
    tevent_context,
    tevent_req,
    tevent_req_poll,
    tevent_req_set_callback,
    tevent_req_set_endtime,
    tevent_timeval_current_ofs,
)
from tevent.testing import explore, simulation, sweep
from tsocket import (
    tsocket_address,
    tstream_context,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_writev_recv,
    tstream_writev_send,
)
from tsocket.testing import fault, link, network, strategies

SERVER = ("10.0.0.2", 135)
LATENCY_US = 10_000
TIMEOUT_SECONDS = 30
FIRST, LAST = 1, 2
NO_MORE_ENTRIES = 0x16C9A0D6
ENTRIES: list[tuple[str, list[str]]] = [("eins", []), ("zwei", [])]


# ------------------------------------------------------------------------------------------------------- the server


def packet(ptype: int, body: bytes, *, call_id: int = 1, flags: int = FIRST | LAST) -> bytes:
    """A packet, little-endian."""
    return struct.pack("<BBBB4sHHI", 5, 0, ptype, flags, b"\x10\0\0\0", 16 + len(body), 0, call_id) + body


def bind_ack() -> bytes:
    """The acknowledgement of a bind."""
    body = struct.pack("<HHIH4s2x", 5840, 5840, 1, 4, b"135\0")
    return packet(12, body + bytes(-(16 + len(body)) % 4) + struct.pack("<B3xHH20x", 1, 0, 0))


def responses() -> bytes:
    """The answer to the look-up, two entries without towers, in two fragments."""
    stub = bytes(20) + struct.pack("<IIII", 2, 50, 0, 2)
    for text, _ in ENTRIES:
        stub += bytes(16) + struct.pack("<III", 0, 0, len(text) + 1) + text.encode() + b"\0"
        stub += bytes(-len(stub) % 4)
    stub += struct.pack("<I", NO_MORE_ENTRIES)
    return b"".join(
        packet(2, struct.pack("<IHBB", len(piece), 0, 0, 0) + piece, call_id=2, flags=flags)
        for piece, flags in ((stub[:40], FIRST), (stub[40:], LAST))
    )


class Server:
    """Answers the bind, then the look-up; it belongs to the world, and what it leaves is nobody's business."""

    def __init__(self, world: simulation, ev: tevent_context, net: network) -> None:
        self.world = world
        self.ev = ev
        self.address = net.address(world.top, *SERVER)
        net.listen(world.top, ev, self.address, lambda stream: self.serve(stream, [bind_ack(), responses()]))

    def serve(self, stream: tstream_context, answers: list[bytes]) -> None:
        """Read a packet, give the first of *answers*, and so on; close the connection when nothing more comes."""
        head = bytearray(16)

        def got_head(req: tevent_req) -> None:
            if tstream_readv_recv(req)[0] == -1:
                talloc_free(stream)
                return
            self.read(stream, bytearray(int.from_bytes(head[8:10], "little") - 16), got_body)

        def got_body(req: tevent_req) -> None:
            if tstream_readv_recv(req)[0] != -1 and answers:
                writing = tstream_writev_send(self.world.top, self.ev, stream, [answers[0]])
                assert writing is not None
                tevent_req_set_callback(writing, answered, None)

        def answered(req: tevent_req) -> None:
            if tstream_writev_recv(req)[0] != -1:
                self.serve(stream, answers[1:])

        self.read(stream, head, got_head)

    def read(self, stream: tstream_context, into: bytearray, then: Any) -> None:
        """Fill *into*, then call *then*."""
        req = tstream_readv_send(self.world.top, self.ev, stream, [into])
        assert req is not None
        tevent_req_set_callback(req, then, None)


# -------------------------------------------------------------------------------------------------------- the tests


def begin(example: Any, mem_ctx: TALLOC_CTX, ev: tevent_context, address: tsocket_address) -> tevent_req:
    """Ask, for half a minute at most, as the program does."""
    req: tevent_req = example.dcerpc_ping_send(mem_ctx, ev, address, 5840)
    assert tevent_req_set_endtime(req, ev, tevent_timeval_current_ofs(TIMEOUT_SECONDS, 0))
    return req


def ping(example: Any, world: simulation, net: network) -> tuple[int, list[Any], int]:
    """``err, entries, fragments_max``."""
    ev = world.context()
    server = Server(world, ev, net)
    req = begin(example, world.top, ev, server.address)
    assert tevent_req_poll(req, ev)
    result: tuple[int, list[Any], int] = example.dcerpc_ping_recv(req)
    return result


class TestConversation:
    def test_answer(self, dcerpc_ping: Any) -> None:
        """Connect, bind, look up: three round trips."""
        with simulation() as world:
            net = network(world, link=link(latency_us=LATENCY_US))
            assert ping(dcerpc_ping, world, net) == (0, ENTRIES, 2)
            assert world.elapsed_us == 6 * LATENCY_US

    def test_single_bytes(self, dcerpc_ping: Any) -> None:
        """Every byte comes by itself, and is sent by itself."""
        with simulation() as world:
            singly: list[Any] = [fault("to *", "byte", n, delay_us=1) for n in range(1, 300)]
            singly += [fault("*", "writev", n, take=1) for n in range(300)]
            assert ping(dcerpc_ping, world, network(world, faults=singly)) == (0, ENTRIES, 2)

    def test_all_cuts(self, dcerpc_ping: Any) -> None:
        """Wherever a packet is cut on its way, it is the same packet."""

        def run(world: simulation) -> None:
            assert ping(dcerpc_ping, world, network(world, link=link(cut=True))) == (0, ENTRIES, 2)

        assert explore(run, runs_max=100).runs >= 100

    @pytest.mark.parametrize("end", ["eof", "reset"])
    def test_all_ends(self, dcerpc_ping: Any, end: str) -> None:
        """Wherever the connection ends, the client says so at once, and has no entries."""
        size = len(bind_ack()) + len(responses())
        for byte in range(size):
            with simulation() as world:
                net = network(world, faults=[fault("to *", "byte", byte, end=end)])
                err, entries, _ = ping(dcerpc_ping, world, net)
                assert err == (EPIPE if end == "eof" else ECONNRESET)
                assert entries == []
                assert world.elapsed_us == 0

    def test_silent_server(self, dcerpc_ping: Any) -> None:
        """A server that is cut off in the middle costs the time that the caller gave, and no more."""
        with simulation() as world:
            ev = world.context()
            net = network(world, link=link(latency_us=LATENCY_US))
            server = Server(world, ev, net)
            world.deliver(ev, 3 * LATENCY_US, lambda: net.partition(SERVER[0]), "the server is cut off")
            req = begin(dcerpc_ping, world.top, ev, server.address)
            assert tevent_req_poll(req, ev)
            assert dcerpc_ping.dcerpc_ping_recv(req)[0] == ETIMEDOUT
            assert world.elapsed_us == TIMEOUT_SECONDS * 1_000_000

    def test_nobody_listens(self, dcerpc_ping: Any) -> None:
        """A host without an endpoint mapper says so."""
        with simulation() as world:
            ev = world.context()
            net = network(world, link=link(latency_us=LATENCY_US))
            req = begin(dcerpc_ping, world.top, ev, net.address(world.top, *SERVER))
            assert tevent_req_poll(req, ev)
            assert dcerpc_ping.dcerpc_ping_recv(req)[0] == ECONNREFUSED

    @given(
        properties=strategies.links(),
        choose=strategies.schedules(),
        faults=strategies.fault_plans(strategies.stream_faults(["to *"]), strategies.outages([SERVER[0]])),
    )
    @settings(max_examples=60, deadline=None)
    def test_any_network(self, dcerpc_ping: Any, properties: link, choose: Any, faults: Any) -> None:
        """Whatever the network does: all entries or an error, and in time."""
        with simulation(choose=choose) as world:
            err, entries, _ = ping(dcerpc_ping, world, network(world, link=properties, faults=faults))
            assert (err == 0 and entries == ENTRIES) or err > 0
            assert world.elapsed_us <= TIMEOUT_SECONDS * 1_000_000


def test_sweep(dcerpc_ping: Any) -> None:
    """Freed, cancelled, timed out, stalled or failing anywhere: one callback, all entries or an error, no rest."""

    def scene(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> Server:
        return Server(world, ev, network(world, link=link(latency_us=LATENCY_US)))

    def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
        return begin(dcerpc_ping, mem_ctx, ev, world.scene.address)

    def finish(req: tevent_req) -> None:
        err, entries, _ = dcerpc_ping.dcerpc_ping_recv(req)
        assert err or entries == ENTRIES

    errnos = [ECONNRESET, fault("*", "readv", take=1), fault("*", "writev", take=1)]
    result = sweep(start, finish, scene=scene, errnos=errnos)
    assert len(result.operations) >= 8
