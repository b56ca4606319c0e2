# SPDX-License-Identifier: LGPL-3.0-or-later
"""What Hypothesis draws for simulated networks: it is valid, it can be pasted, and it shrinks to what matters."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from hypothesis import find, given, settings
from hypothesis import strategies as st
from sim_kit import peer

from talloc_py import talloc_free, talloc_new
from tevent import tevent_req_poll
from tevent.testing import simulation
from tsocket import (
    tdgram_recvfrom_recv,
    tdgram_recvfrom_send,
    tdgram_sendto_queue_send,
    tsocket_address_bsd_from_sockaddr,
    tsocket_address_bsd_sockaddr,
    tstream_context,
    tstream_readv_pdu_recv,
    tstream_readv_pdu_send,
    tstream_readv_recv,
    tstream_readv_send,
)
from tsocket.testing import fault, link, network, outage, strategies

SEARCH = settings(max_examples=2000, database=None, derandomize=True, deadline=None)
PLANS = strategies.fault_plans(strategies.stream_faults(["near", "far"]), strategies.outages(["near"]))


class TestDrawn:
    @given(strategies.addresses())
    def test_addresses(self, address: Any) -> None:
        """Each is an address, and comes back as it was."""
        top = talloc_new(None)
        ret, found = tsocket_address_bsd_from_sockaddr(top, address)
        assert ret == 0
        assert found is not None
        assert tsocket_address_bsd_sockaddr(found)[1].sa_family == address.sa_family
        talloc_free(top)

    @given(strategies.pdu_streams())
    def test_pdu_streams(self, stream: Any) -> None:
        """The bytes are those of the bodies, each behind its length."""
        assert stream.data == b"".join(map(strategies.framed_u32, stream.bodies))

    @given(st.data(), st.binary(max_size=50))
    def test_fragments(self, data: st.DataObject, whole: bytes) -> None:
        """Pieces that are not empty, and make up the whole."""
        pieces = data.draw(strategies.fragments(whole))
        assert b"".join(pieces) == whole
        assert all(pieces)

    @given(PLANS, strategies.links())
    def test_plans_can_be_pasted(self, plan: Any, properties: link) -> None:
        """They print as what makes them."""
        assert eval(repr(plan), {"fault": fault, "outage": outage}) == plan
        assert eval(repr(properties), {"link": link}) == properties


class reader:
    """Reads PDUs off a stream until it fails."""

    def __init__(self, world: simulation, stream: tstream_context) -> None:
        self.world, self.stream, self.ev = world, stream, world.context()
        self.got: list[bytes] = []

    def next_vector(self, stream: Any, private_data: Any, mem_ctx: Any) -> Any:
        """A `tstream_readv_pdu_next_vector_t`: four bytes of length, then so many bytes."""
        parts: list[bytearray] = private_data
        if not parts:
            parts.append(bytearray(4))
        elif len(parts) == 1 and any(parts[0]):
            parts.append(bytearray(int.from_bytes(parts[0], "big")))
        else:
            return 0, None
        return 0, [parts[-1]]

    def read(self) -> bool:
        """The next one; whether there was one."""
        parts: list[bytearray] = []
        req = tstream_readv_pdu_send(self.world.top, self.ev, self.stream, self.next_vector, parts)
        assert req is not None
        done = tevent_req_poll(req, self.ev)
        ret, _ = tstream_readv_pdu_recv(req) if done else (-1, 0)
        talloc_free(req)
        if ret != -1:
            self.got.append(bytes(parts[1]) if len(parts) > 1 else b"")
        return ret != -1


class TestOwn:
    @given(strategies.pdu_streams(), strategies.links(), PLANS, strategies.schedules())
    @settings(deadline=None)
    def test_pdus_over_any_network(self, stream: Any, properties: link, plan: Any, choose: Any) -> None:
        """The reader gets the PDUs in order and whole, all of them unless something in the plan ends a stream."""
        with simulation(choose=choose, steps_max=1_000_000) as world:
            net = network(world, link=properties, faults=plan)
            near, far = net.stream_pair(world.top, "near", "far")
            under_test = reader(world, near)
            peer(world, world.context(), far, [*filter(None, [stream.data]), None])
            while under_test.read():
                pass
            assert under_test.got == stream.bodies[: len(under_test.got)]
            if not any(getattr(each, "error", "") or getattr(each, "end", "") for each in plan):
                assert under_test.got == stream.bodies

    @given(st.lists(st.binary(min_size=1, max_size=9), max_size=5, unique=True), strategies.links(), st.data())
    @settings(deadline=None)
    def test_datagrams_over_any_network(self, sent: list[bytes], properties: link, data: st.DataObject) -> None:
        """What arrives was sent, whole; and where nothing can go wrong everything arrives, in order."""
        plan = data.draw(strategies.fault_plans(strategies.dgram_faults(["near", "far"])))
        with simulation(choose=strategies.drawn_from(data)) as world:
            net = network(world, link=properties, faults=plan)
            near, far = net.dgram_pair(world.top, "near", "far")
            ev, got = world.context(), list[bytes]()
            for each in sent:
                assert tdgram_sendto_queue_send(world.top, ev, far, queue(world), each, None) is not None
            while True:
                req = tdgram_recvfrom_send(world.top, ev, near)
                assert req is not None
                if not tevent_req_poll(req, ev):
                    break
                buf = tdgram_recvfrom_recv(req, world.top)[2]
                got += [] if buf is None else [bytes(buf)]
                talloc_free(req)
            assert set(got) <= set(sent)
            if not plan and properties == link():
                assert got == sent


def queue(world: simulation) -> Any:
    """A queue, one for a world."""
    from tevent import tevent_queue_create

    if world.scene is None:
        world.scene = tevent_queue_create(world.top, "sends")
    return world.scene


class TestShrinking:
    def test_pieces_shrink_to_one_cut(self) -> None:
        """A reader that takes the length for granted with the first piece fails on one cut, as early as can be."""
        whole = strategies.framed_u32(b"body")

        def short_head(pieces: list[bytes]) -> bool:
            return len(pieces[0]) < 4

        assert len(find(strategies.fragments(whole), short_head, settings=SEARCH)) == 2

    def test_plans_shrink_to_one_fault(self) -> None:
        """Code that takes a short read for a whole one fails with one fault, as small as can be."""

        def takes_half(plan: Any) -> bool:
            with simulation(None) as world:
                net = network(world, faults=plan)
                near, far = net.stream_pair(world.top, "near", "far")
                peer(world, world.context(), far, [b"abcdef", None])
                ev, buf = world.context(), bytearray(6)
                req = tstream_readv_send(world.top, ev, near, [buf])
                assert req is not None
                world.run(lambda: any(buf))  # the bug: something has come
                wrong = any(buf) and bytes(buf) != b"abcdef"
                if not wrong and tevent_req_poll(req, ev):
                    tstream_readv_recv(req)
                return wrong

        (found,) = find(PLANS, takes_half, settings=SEARCH)
        assert found in (fault("far", "byte", 0, end="eof"), fault("near", "byte", 1, delay_us=1)) or found.take == 1

    def test_links_shrink_to_one_property(self) -> None:
        """A test that fails with any loss shrinks to a link that is perfect otherwise."""
        found = find(strategies.links(), lambda properties: properties.loss > 0, settings=SEARCH)
        assert found == link(loss=0.1)


def test_without_hypothesis() -> None:
    """Everything that needs no Hypothesis works without it, and what does says what to install."""
    code = """
import sys
sys.modules["hypothesis"] = None
import tevent.testing, tsocket.testing
from tevent.testing import *
from tsocket.testing import *
for module in (tevent.testing, tsocket.testing):
    try:
        module.strategies
    except ModuleNotFoundError as error:
        print(*error.__notes__)
    try:
        module.nonsense
    except AttributeError as error:
        print(error)
"""
    path = f"import sys; sys.path[:] = {sys.path!r}\n"
    run = subprocess.run([sys.executable, "-S", "-c", path + code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == [
        "tevent.testing.strategies needs the extra 'testing': pip install 'tsocket[testing]'",
        "module 'tevent.testing' has no attribute 'nonsense'",
        "tsocket.testing.strategies needs the extra 'testing': pip install 'tsocket[testing]'",
        "module 'tsocket.testing' has no attribute 'nonsense'",
    ]
