# SPDX-License-Identifier: LGPL-3.0-or-later
"""Simulated datagram sockets: they are datagram sockets, and datagrams are lost, late and doubled as they are told."""

from __future__ import annotations

from errno import ECONNREFUSED, EDESTADDRREQ, EINTR, EIO, EMSGSIZE
from typing import Any

import pytest

from talloc_py import TALLOC_CTX, talloc_free, talloc_new
from tevent import tevent_context, tevent_req, tevent_req_poll
from tevent.testing import simulation
from tsocket import (
    tdgram_context,
    tdgram_disconnect_recv,
    tdgram_disconnect_send,
    tdgram_inet_udp_socket,
    tdgram_recvfrom_recv,
    tdgram_recvfrom_send,
    tdgram_sendto_recv,
    tdgram_sendto_send,
    tsocket_address,
    tsocket_address_string,
)
from tsocket.testing import (
    TDGRAM_CHECKS,
    check_tdgram,
    dgram_traits,
    fault,
    link,
    network,
    outage,
    simulated_loop,
)

SLOW = link(latency_us=1000)


class bench:
    """A world with two datagram sockets, ``a`` and ``b``."""

    def __init__(self, world: simulation, properties: link = SLOW, *faults: fault | outage, unix: bool = False) -> None:
        self.world: simulation = world
        self.net: network = network(world, link=properties, faults=faults)
        self.ev: tevent_context = world.context()
        self.top: TALLOC_CTX = world.top
        self.a, self.b = self.net.dgram_pair(world.top, unix=unix)

    def end(self, req: tevent_req | None, recv: Any) -> Any:
        assert req is not None
        assert tevent_req_poll(req, self.ev), "nothing can happen any more"
        result = recv(req)
        talloc_free(req)
        return result

    def send(self, dgram: tdgram_context, data: bytes, dst: tsocket_address | None = None) -> tuple[int, int]:
        result: tuple[int, int] = self.end(tdgram_sendto_send(self.top, self.ev, dgram, data, dst), tdgram_sendto_recv)
        return result

    def receive(self, dgram: tdgram_context) -> tuple[int, bytes | None]:
        req = tdgram_recvfrom_send(self.top, self.ev, dgram)
        _, err, buf, _ = self.end(req, lambda subreq: tdgram_recvfrom_recv(subreq, self.top))
        return err, None if buf is None else bytes(buf)

    def nothing_comes(self, dgram: tdgram_context) -> bool:
        req = tdgram_recvfrom_send(self.top, self.ev, dgram)
        assert req is not None
        done = tevent_req_poll(req, self.ev)
        talloc_free(req)
        return not done


@pytest.mark.parametrize("name", TDGRAM_CHECKS)
@pytest.mark.parametrize("properties", [link(), SLOW], ids=["plain", "slow"])
@pytest.mark.parametrize("unix", [False, True], ids=["udp", "unix"])
@pytest.mark.parametrize("seed", [None, 1])
def test_simulated_datagrams_are_datagrams(name: str, properties: link, unix: bool, seed: int | None) -> None:
    """A simulated pair passes the conformance suite and leaves no socket open."""
    with simulation(seed) as world:
        net = network(world, link=properties)

        def make_pair(_ev: tevent_context, top: TALLOC_CTX) -> tuple[tdgram_context, tdgram_context]:
            return net.dgram_pair(top, unix=unix)

        check_tdgram(
            make_pair,
            traits=dgram_traits(lossless=unix),
            make_loop=lambda top: simulated_loop(top, world),
            only=name,
        )
        assert net.sockets == {}


class TestLink:
    def test_latency(self) -> None:
        """A datagram arrives when the latency has passed."""
        with simulation(None) as world:
            w = bench(world)
            assert w.send(w.a, b"hello") == (5, 0)
            assert w.receive(w.b) == (0, b"hello")
            assert world.elapsed_us == 1000

    def test_loss_is_a_choice(self) -> None:
        """One outcome in ten, the last one."""
        for number, lost in ((8, False), (9, True)):
            with simulation(replay=[number]) as world:
                w = bench(world, link(loss=0.1))
                w.send(w.a, b"x")
                assert world.choice_points[0][0] == 10
                assert w.nothing_comes(w.b) is lost

    def test_what_is_certain_is_no_choice(self) -> None:
        """A link that loses everything asks nobody."""
        with simulation(None) as world:
            w = bench(world, link(loss=1))
            w.send(w.a, b"x")
            assert w.nothing_comes(w.b)
            assert world.choices == []

    def test_duplicates(self) -> None:
        """The same datagram twice."""
        with simulation(replay=[1]) as world:
            w = bench(world, link(duplicate=0.5))
            w.send(w.a, b"x")
            assert [w.receive(w.b), w.receive(w.b)] == [(0, b"x")] * 2
            assert w.nothing_comes(w.b)

    def test_reordering(self) -> None:
        """One that is overtaken comes after the next."""
        with simulation(replay=[1, 0]) as world:
            w = bench(world, link(reorder=0.5, reorder_us=10))
            w.send(w.a, b"first")
            w.send(w.a, b"second")
            assert [w.receive(w.b)[1], w.receive(w.b)[1]] == [b"second", b"first"]

    def test_jitter_reorders(self) -> None:
        """What takes longer comes later."""
        with simulation(replay=[3, 0]) as world:
            w = bench(world, link(jitter_us=10))
            w.send(w.a, b"first")
            w.send(w.a, b"second")
            assert [w.receive(w.b)[1], w.receive(w.b)[1]] == [b"second", b"first"]

    def test_a_full_buffer_loses_what_comes(self) -> None:
        """What has arrived before stays."""
        with simulation(None) as world:
            w = bench(world, link(buffer=10))
            for data in (b"12345", b"67890", b"x"):
                w.send(w.a, data)
            assert [w.receive(w.b)[1], w.receive(w.b)[1]] == [b"12345", b"67890"]
            assert w.nothing_comes(w.b)

    def test_unix_sockets_lose_nothing(self) -> None:
        """Nothing doubled, nothing out of order either; and no choice asks for it."""
        with simulation(None) as world:
            w = bench(world, link(loss=1, duplicate=1, reorder=1, latency_us=5), unix=True)
            for data in (b"1", b"2", b"3"):
                w.send(w.a, data)
            assert [w.receive(w.b)[1] for _ in range(3)] == [b"1", b"2", b"3"]
            assert w.nothing_comes(w.b)


class TestFaults:
    def test_what_happens_to_the_nth_datagram(self) -> None:
        """It is lost, late, or doubled, and the others are not."""
        with simulation(None) as world:
            plan = (
                fault("a", "datagram", 0, delay_us=500),
                fault("a", "datagram", 1, lost=True),
                fault("a", "datagram", 2, copies=2),
            )
            w = bench(world, SLOW, *plan)
            for data in (b"late", b"lost", b"twice", b"plain"):
                w.send(w.a, data)
            assert [w.receive(w.b)[1] for _ in range(4)] == [b"twice", b"twice", b"plain", b"late"]
            assert w.nothing_comes(w.b)

    def test_the_world_may_plan_too(self) -> None:
        """A datagram is asked for as something that does not fail with an errno."""
        with simulation(None, faults={"a: datagram": fault("a", "datagram", lost=True)}) as world:
            w = bench(world)
            w.send(w.a, b"x")
            assert w.nothing_comes(w.b)
            assert ("a: datagram #0", False) in world.operations

    def test_an_error_does_not_stay(self) -> None:
        """The next call is as good as any."""
        with simulation(None) as world:
            w = bench(world, SLOW, fault("a", "sendto", error="EIO"), fault("b", "recvfrom", error="EIO"))
            assert w.send(w.a, b"x") == (-1, EIO)
            assert w.send(w.a, b"x") == (1, 0)
            assert w.receive(w.b) == (EIO, None)
            assert w.receive(w.b) == (0, b"x")

    def test_what_means_try_again(self) -> None:
        """EINTR is no failure."""
        with simulation(None, faults={"a: sendto #0": EINTR, "b: recvfrom #0": EINTR}) as world:
            w = bench(world)
            assert w.send(w.a, b"x") == (1, 0)
            assert w.receive(w.b) == (0, b"x")

    def test_a_disconnect_that_fails_closes_all_the_same(self) -> None:
        """As close(2) does."""
        with simulation(None) as world:
            w = bench(world, SLOW, fault("a", "disconnect", error="EIO"))
            assert w.end(tdgram_disconnect_send(w.top, w.ev, w.a), tdgram_disconnect_recv) == (-1, EIO)
            assert list(w.net.sockets.values()) == ["datagram socket b"]

    def test_too_large(self) -> None:
        """More than UDP carries is EMSGSIZE."""
        with simulation(None) as world:
            w = bench(world)
            assert w.send(w.a, bytes(65508)) == (-1, EMSGSIZE)
            assert w.send(w.a, bytes(65507)) == (65507, 0)


class TestOutages:
    def test_a_partition_loses_datagrams(self) -> None:
        """Those on their way, and those sent meanwhile."""
        with simulation(None) as world:
            w = bench(world)
            w.net.partition("10.0.0.2")
            w.send(w.a, b"lost")
            w.net.heal()
            world.advance(1)
            w.send(w.a, b"found")
            assert w.receive(w.b) == (0, b"found")
            assert w.nothing_comes(w.b)

    def test_a_planned_outage(self) -> None:
        """What would arrive within it is lost."""
        with simulation(None) as world:
            w = bench(world, SLOW, outage("10.0.0.1", "10.0.0.2", start_us=900, length_us=200))
            w.send(w.a, b"lost")
            world.advance(1200)
            w.send(w.a, b"found")
            assert w.receive(w.b) == (0, b"found")


class TestAddresses:
    def test_a_socket_that_is_not_connected(self) -> None:
        """It needs a destination, hears everybody, and learns who it was."""
        with simulation(None) as world:
            w = bench(world)
            hosts = ("10.0.0.8", "10.0.0.9")
            sockets = [tdgram_inet_udp_socket(w.net.address(w.top, host, 53), None, w.top)[1] for host in hosts]
            assert sockets[0] is not None
            assert sockets[1] is not None
            assert w.send(sockets[0], b"x") == (-1, EDESTADDRREQ)
            assert w.send(sockets[0], b"question", w.net.address(w.top, "10.0.0.9", 53)) == (8, 0)
            req = tdgram_recvfrom_send(w.top, w.ev, sockets[1])
            _, _, _, source = w.end(req, lambda subreq: tdgram_recvfrom_recv(subreq, w.top))
            assert tsocket_address_string(source, w.top) == "ipv4:10.0.0.8:53"
            assert w.send(sockets[1], b"answer", source) == (6, 0)
            assert w.receive(sockets[0]) == (0, b"answer")

    def test_a_connected_socket_hears_its_peer_alone(self) -> None:
        """A datagram from elsewhere is not for it."""
        with simulation(None) as world:
            w = bench(world)
            _, other = tdgram_inet_udp_socket(w.net.address(w.top, "10.0.0.8", 53), None, w.top)
            assert other is not None
            assert w.send(other, b"x", w.net.address(w.top, "10.0.0.1", 49152)) == (1, 0)
            assert w.nothing_comes(w.a)

    def test_a_peer_that_is_not_there(self) -> None:
        """A connected socket hears of it a round trip later, once."""
        with simulation(None) as world:
            w = bench(world)
            talloc_free(w.b)
            assert w.send(w.a, b"x") == (1, 0)
            assert w.receive(w.a) == (ECONNREFUSED, None)
            assert world.elapsed_us == 2000
            assert w.send(w.a, b"x") == (1, 0)
            world.advance(2000)
            assert w.send(w.a, b"x") == (-1, ECONNREFUSED)

    def test_a_unix_peer_that_is_not_there(self) -> None:
        """ECONNREFUSED at once."""
        with simulation(None) as world:
            w = bench(world, unix=True)
            talloc_free(w.b)
            assert w.send(w.a, b"x") == (-1, ECONNREFUSED)

    def test_sockets_may_outlive_their_world(self) -> None:
        """They can be freed afterwards, with a receive outstanding."""
        top = talloc_new(None)
        with simulation(None) as world:
            net = network(world)
            a, _ = net.dgram_pair(top)
            assert tdgram_recvfrom_send(top, world.context(), a) is not None
        talloc_free(top)
        assert net.sockets == {}
