# SPDX-License-Identifier: LGPL-3.0-or-later
"""Simulated streams: they are streams, and what the link and the plan say happens to them."""

from __future__ import annotations

from errno import ECONNRESET, EIO, EPIPE
from typing import Any

import pytest

from talloc_py import TALLOC_CTX, talloc_free, talloc_new, talloc_set_memlimit, talloc_total_blocks
from tevent import get_errno, tevent_context, tevent_loop_once, tevent_req, tevent_req_poll
from tevent.testing import simulation
from tsocket import (
    tdgram_disconnect_send,
    tdgram_recvfrom_send,
    tdgram_sendto_send,
    tstream_context,
    tstream_disconnect_recv,
    tstream_disconnect_send,
    tstream_inet_tcp_connect_send,
    tstream_monitor_recv,
    tstream_monitor_send,
    tstream_pending_bytes,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_writev_recv,
    tstream_writev_send,
)
from tsocket.testing import TSTREAM_CHECKS, check_tstream, fault, link, network, outage, simulated_loop

SLOW = link(latency_us=1000)
ROUGH = link(latency_us=500, bandwidth=10**7, cut=True, partial_writes=True)


class bench:
    """A world with two connected streams, ``a`` and ``b``."""

    def __init__(self, world: simulation, properties: link = SLOW, *faults: fault | outage) -> None:
        self.world: simulation = world
        self.net: network = network(world, link=properties, faults=faults)
        self.ev: tevent_context = world.context()
        self.top: TALLOC_CTX = world.top
        self.a, self.b = self.net.stream_pair(world.top)

    def start_read(self, stream: tstream_context, buf: bytearray) -> tevent_req:
        req = tstream_readv_send(self.top, self.ev, stream, [buf])
        assert req is not None
        return req

    def start_write(self, stream: tstream_context, data: bytes) -> tevent_req:
        req = tstream_writev_send(self.top, self.ev, stream, [data])
        assert req is not None
        return req

    def end(self, req: tevent_req | None, recv: Any) -> tuple[int, int]:
        assert req is not None
        assert tevent_req_poll(req, self.ev), "nothing can happen any more"
        result: tuple[int, int] = recv(req)
        talloc_free(req)
        return result

    def read(self, stream: tstream_context, size: int) -> tuple[tuple[int, int], bytes]:
        buf = bytearray(size)
        return self.end(self.start_read(stream, buf), tstream_readv_recv), bytes(buf)

    def write(self, stream: tstream_context, data: bytes) -> tuple[int, int]:
        return self.end(self.start_write(stream, data), tstream_writev_recv)


@pytest.mark.parametrize("name", TSTREAM_CHECKS)
@pytest.mark.parametrize("properties", [link(), SLOW, ROUGH], ids=["plain", "slow", "rough"])
@pytest.mark.parametrize("seed", [None, 1])
def test_simulated_streams_are_streams(name: str, properties: link, seed: int | None) -> None:
    """A simulated pair passes the conformance suite, on a good link and on a bad one, and leaves no socket open."""
    with simulation(seed) as world:
        net = network(world, link=properties)

        def make_pair(_ev: tevent_context, top: TALLOC_CTX) -> tuple[tstream_context, tstream_context]:
            return net.stream_pair(top)

        check_tstream(make_pair, make_loop=lambda top: simulated_loop(top, world), only=name)
        assert net.sockets == {}


class TestLink:
    def test_latency(self) -> None:
        """Bytes arrive when the latency has passed, and not before."""
        with simulation(None) as world:
            w = bench(world, link(latency_us=3000))
            assert w.write(w.a, b"hello") == (5, 0)
            assert w.read(w.b, 5) == ((5, 0), b"hello")
            assert world.elapsed_us == 3000

    def test_bandwidth(self) -> None:
        """A thousand bytes at a thousand bytes a second take a second, and the first of them less."""
        with simulation(None) as world:
            w = bench(world, link(bandwidth=1000, segment_max=100))
            w.write(w.a, bytes(1000))
            w.read(w.b, 100)
            assert world.elapsed_us == 100_000
            w.read(w.b, 900)
            assert world.elapsed_us == 1_000_000

    def test_a_full_buffer_lets_a_write_wait(self) -> None:
        """As long as nobody reads."""
        with simulation(None) as world:
            w = bench(world, link(buffer=10))
            req = w.start_write(w.a, bytes(25))
            assert not tevent_req_poll(req, w.ev)
            assert tstream_pending_bytes(w.b) == 10
            assert w.read(w.b, 25)[0] == (25, 0)
            assert w.end(req, tstream_writev_recv) == (25, 0)

    def test_cuts_are_choices(self) -> None:
        """The first choice leaves a write whole, the third cuts it where the next one says."""
        with simulation(replay=[3, 1]) as world:
            w = bench(world, link(cut=True))
            w.write(w.a, b"abcde")
            w.read(w.b, 1)
            assert tstream_pending_bytes(w.b) == 1
            assert [n for n, _, _ in world.choice_points] == [4, 4, 3]

    def test_parts_of_a_write_are_choices(self) -> None:
        """A write that is taken in part goes on by itself."""
        with simulation(replay=[1]) as world:
            w = bench(world, link(partial_writes=True))
            req = w.start_write(w.a, b"abc")
            assert tstream_pending_bytes(w.b) == 1
            assert w.end(req, tstream_writev_recv) == (3, 0)
            assert w.read(w.b, 3)[1] == b"abc"

    def test_jitter_does_not_reorder_a_stream(self) -> None:
        """Bytes never overtake each other."""
        with simulation(replay=[3, 0]) as world:
            w = bench(world, link(latency_us=10, jitter_us=900))
            w.write(w.a, b"one")
            w.write(w.a, b"two")
            assert w.read(w.b, 6)[1] == b"onetwo"
            assert world.elapsed_us == 910

    def test_links_of_their_own(self) -> None:
        """Two hosts may have another link than all others."""
        with simulation(None) as world:
            net = network(world)
            net.set_link("x", "*", link(latency_us=77))
            assert net.way_between("y", "x").link == link(latency_us=77)
            assert net.way_between("y", "z").link == link()

    @pytest.mark.parametrize("wrong", [{"latency_us": -1}, {"buffer": 0}, {"loss": 1.5}])
    def test_nonsense_is_refused(self, wrong: dict[str, Any]) -> None:
        """A negative latency, no buffer, and more than certainty are ValueErrors."""
        with pytest.raises(ValueError, match=next(iter(wrong))):
            link(**wrong)


class TestFaults:
    def test_repr_can_be_pasted(self) -> None:
        """A plan prints as what makes it."""
        plan = [
            fault("a", "readv", 2, error="ECONNRESET"),
            fault("b*", "byte", 7, end="eof"),
            fault("a", "sendto", delay_us=5),
            fault("a", "datagram", 1, lost=True),
            outage("a", "b", start_us=3, length_us=4),
            outage("a", start_us=3),
        ]
        text = repr(plan)
        assert eval(text) == plan
        assert text.startswith("[fault('a', 'readv', 2, error='ECONNRESET'), fault('b*', 'byte', 7, end='eof'),")

    @pytest.mark.parametrize(
        ("arguments", "said", "message"),
        [
            (("a", "raedv"), {"error": "EIO"}, "'raedv' is not one of readv"),
            (("a", "readv"), {}, "what happens to this readv"),
            (("a", "readv"), {"lost": True}, "lost means nothing for a readv"),
            (("a", "readv"), {"error": "ENONSENSE"}, "no errno 'ENONSENSE'"),
            (("a", "byte", 3), {"end": "fin"}, "not by 'fin'"),
            (("a", "readv", -1), {"error": "EIO"}, "too small"),
        ],
    )
    def test_nonsense_is_refused(self, arguments: Any, said: dict[str, Any], message: str) -> None:
        """A fault that could never happen is a ValueError."""
        with pytest.raises(ValueError, match=message):
            fault(*arguments, **said)

    def test_an_errno_from_the_nth_call(self) -> None:
        """The call fails with it, and the stream with it stays failed."""
        with simulation(None) as world:
            w = bench(world, SLOW, fault("b", "readv", 1, error="ECONNRESET"))
            w.write(w.a, b"abc")
            assert w.read(w.b, 1)[0] == (1, 0)
            assert w.read(w.b, 1)[0] == (-1, ECONNRESET)
            assert w.read(w.b, 1)[0] == (-1, ECONNRESET)
            assert w.write(w.b, b"x") == (-1, ECONNRESET)

    def test_the_world_may_plan_too(self) -> None:
        """An errno, or a fault, under the name that the story has."""
        plan = {"a: writev #0": EIO, "b: readv": fault("*", "readv", take=1)}
        with simulation(None, faults=plan) as world:
            w = bench(world)
            assert w.write(w.a, b"x") == (-1, EIO)
            w.write(w.b, b"x")

        with simulation(None, faults={"a: writev #0": "nonsense"}) as world:
            w = bench(world)
            with pytest.raises(TypeError, match="knows errnos and faults"):
                w.start_write(w.a, b"x")

    def test_what_belongs_to_the_world_is_not_swept(self) -> None:
        """An operation below the chunk of the world is that of a peer, which a sweep lets alone."""
        top = talloc_new(None)
        with simulation(None) as world:
            w = bench(world)
            for owner in (w.top, top):
                talloc_free(tstream_writev_send(owner, w.ev, w.a, [b"x"]))
            assert world.operations == [("a: writev #0", False), ("a: writev #1", True)]
        talloc_free(top)

    def test_a_short_read_goes_on(self) -> None:
        """A read that was given a part asks again, in another turn of the loop."""
        with simulation(None) as world:
            w = bench(world, link(), fault("b", "readv", 0, take=2))
            w.write(w.a, b"abcde")
            buf = bytearray(5)
            req = w.start_read(w.b, buf)
            assert tevent_loop_once(w.ev) == 0
            assert bytes(buf) == b"ab\0\0\0"
            assert w.end(req, tstream_readv_recv) == (5, 0)
            assert bytes(buf) == b"abcde"

    def test_a_short_write_goes_on(self) -> None:
        """What is left follows by itself."""
        with simulation(None) as world:
            w = bench(world, link(), fault("a", "writev", 0, take=2))
            req = w.start_write(w.a, b"abcde")
            assert tstream_pending_bytes(w.b) == 2
            assert w.end(req, tstream_writev_recv) == (5, 0)
            assert w.read(w.b, 5)[1] == b"abcde"

    @pytest.mark.parametrize("error", ["EINTR", "EAGAIN"])
    def test_what_means_try_again(self, error: str) -> None:
        """Such an errno is no failure."""
        with simulation(None) as world:
            w = bench(world, link(), fault("a", "writev", 0, error=error), fault("b", "readv", 0, error=error))
            assert w.write(w.a, b"abc") == (3, 0)
            assert w.read(w.b, 3) == ((3, 0), b"abc")

    def test_a_late_call(self) -> None:
        """It goes on after its delay."""
        with simulation(None) as world:
            w = bench(world, link(), fault("b", "readv", 0, delay_us=900))
            w.write(w.a, b"abc")
            assert w.read(w.b, 3) == ((3, 0), b"abc")
            assert world.elapsed_us == 900

    @pytest.mark.parametrize(("end", "err"), [("eof", EPIPE), ("reset", ECONNRESET)])
    def test_the_end_in_the_middle(self, end: str, err: int) -> None:
        """The stream ends before the given byte, for a reset at both sides."""
        with simulation(None) as world:
            w = bench(world, SLOW, fault("b", "byte", 3, end=end))
            assert w.write(w.a, b"abcde") == (5, 0)
            assert w.read(w.b, 3) == ((3, 0), b"abc")
            assert w.read(w.b, 1)[0] == (-1, err)
            if end == "reset":
                assert w.read(w.a, 1)[0] == (-1, ECONNRESET)

    def test_the_end_before_the_first_byte(self) -> None:
        """Byte 0: nothing arrives at all."""
        with simulation(None) as world:
            w = bench(world, SLOW, fault("b", "byte", 0, end="eof"))
            assert w.read(w.b, 1)[0] == (-1, EPIPE)

    def test_a_cut_at_a_byte(self) -> None:
        """The rest is late, and what is written later too."""
        with simulation(None) as world:
            w = bench(world, SLOW, fault("b", "byte", 2, delay_us=5000))
            w.write(w.a, b"abcd")
            w.write(w.a, b"e")
            w.read(w.b, 2)
            assert (world.elapsed_us, tstream_pending_bytes(w.b)) == (1000, 0)
            assert w.read(w.b, 3) == ((3, 0), b"cde")
            assert world.elapsed_us == 6000

    def test_pending_bytes_may_fail(self) -> None:
        """With the errno of the plan, which stays."""
        with simulation(None) as world:
            w = bench(world, link(), fault("b", "pending_bytes", 1, error="EIO"))
            assert tstream_pending_bytes(w.b) == 0
            assert tstream_pending_bytes(w.b) == -1
            assert get_errno() == EIO
            assert w.read(w.b, 1)[0] == (-1, EIO)

    def test_a_disconnect_that_fails_closes_all_the_same(self) -> None:
        """As close(2) does."""
        with simulation(None) as world:
            w = bench(world, link(), fault("a", "disconnect", error="EIO"))
            req = tstream_disconnect_send(w.top, w.ev, w.a)
            assert w.end(req, tstream_disconnect_recv) == (-1, EIO)
            assert w.read(w.b, 1)[0] == (-1, EPIPE)

    def test_a_monitor_may_fail(self) -> None:
        """When the stream ends, with the errno of the plan."""
        with simulation(None) as world:
            w = bench(world, link(), fault("a", "monitor", error="EIO"))
            req = tstream_monitor_send(w.top, w.ev, w.a)
            talloc_free(w.b)
            assert w.end(req, tstream_monitor_recv) == (-1, EIO)

    def test_what_happened_is_in_the_story(self) -> None:
        """The plan that had its effect is quoted."""
        with simulation(None) as world:
            w = bench(world, link(), fault("a", "writev", error="EIO"))
            w.write(w.a, b"x")
            assert "as planned: fault('a', 'writev', error='EIO')" in world.story_text()


class TestOutages:
    def test_a_partition_holds_back_what_is_on_its_way(self) -> None:
        """It arrives when the network is healed."""
        with simulation(None) as world:
            w = bench(world, SLOW)
            w.write(w.a, b"abc")
            w.net.partition("a", "b")
            buf = bytearray(3)
            req = w.start_read(w.b, buf)
            assert not tevent_req_poll(req, w.ev)
            world.advance(50_000)
            w.net.heal()
            assert w.end(req, tstream_readv_recv) == (3, 0)
            assert (bytes(buf), world.elapsed_us) == (b"abc", 51_000)

    def test_a_partition_concerns_its_hosts_alone(self) -> None:
        """Others go on talking."""
        with simulation(None) as world:
            w = bench(world, SLOW)
            w.net.partition("c")
            w.write(w.a, b"abc")
            assert w.read(w.b, 3) == ((3, 0), b"abc")

    def test_a_write_waits_for_the_end_of_a_partition(self) -> None:
        """What is read is not heard of at the other side."""
        with simulation(None) as world:
            w = bench(world, link(buffer=4, latency_us=10), outage("a", start_us=10, length_us=1000))
            req = w.start_write(w.a, b"abcdefgh")
            assert w.read(w.b, 8) == ((8, 0), b"abcdefgh")
            assert w.end(req, tstream_writev_recv) == (8, 0)
            assert world.elapsed_us > 1010

    def test_a_planned_outage_ends_by_itself(self) -> None:
        """What arrives within it arrives a latency after its end."""
        with simulation(None) as world:
            w = bench(world, SLOW, outage("*", start_us=500, length_us=9000))
            w.write(w.a, b"abc")
            assert w.read(w.b, 3) == ((3, 0), b"abc")
            assert world.elapsed_us == 10_500

    def test_healing_ends_only_what_has_begun(self) -> None:
        """An outage that is planned for later comes."""
        with simulation(None) as world:
            w = bench(world, SLOW, outage("a", start_us=5000, length_us=1000))
            w.net.heal()
            world.advance(5000)
            w.write(w.a, b"x")
            assert w.read(w.b, 1)[0] == (1, 0)
            assert world.elapsed_us == 7000


class TestMemoryLimits:
    @pytest.mark.parametrize("kind", ["stream_pair", "dgram_pair"])
    def test_no_sockets(self, kind: str) -> None:
        """A pair that there is no memory for leaves no socket, wherever the memory ends."""
        sizes = []
        for size in range(1, 600):
            with simulation(None) as world:
                net = network(world)
                owner = talloc_new(world.top)
                assert talloc_set_memlimit(owner, size) == 0
                try:
                    getattr(net, kind)(owner)
                except MemoryError:
                    assert (net.sockets, talloc_total_blocks(owner)) == ({}, 1)
                    sizes.append(size)
                    continue
                break
        assert sizes == list(range(1, len(sizes) + 1))
        assert len(sizes) > 100

    def test_no_requests(self) -> None:
        """Operations that there is no memory for are no requests, and the streams go on."""
        with simulation(None) as world:
            w = bench(world)
            _, udp = w.net.dgram_pair(world.top, unix=True)
            owner = talloc_new(world.top)
            there = w.net.address(world.top, "10.0.0.2", 53)
            operations = (
                lambda: tstream_readv_send(owner, w.ev, w.a, [bytearray(1)]),
                lambda: tstream_writev_send(owner, w.ev, w.a, [b"x"]),
                lambda: tstream_monitor_send(owner, w.ev, w.a),
                lambda: tstream_disconnect_send(owner, w.ev, w.a),
                lambda: tdgram_recvfrom_send(owner, w.ev, udp),
                lambda: tdgram_sendto_send(owner, w.ev, udp, b"x", None),
                lambda: tdgram_disconnect_send(owner, w.ev, udp),
                lambda: tstream_inet_tcp_connect_send(owner, w.ev, there, there),
            )
            for size in range(1, 600, 7):
                talloc_set_memlimit(owner, size)
                for start in operations[:6]:
                    talloc_free(start())
                talloc_free(operations[7]())
            for start in operations:
                talloc_set_memlimit(owner, 1)
                assert start() is None
            assert w.write(w.a, b"abc") == (3, 0)


class TestLifetimes:
    def test_streams_may_outlive_their_world(self) -> None:
        """They can be freed afterwards, with operations outstanding."""
        top = talloc_new(None)
        with simulation(None) as world:
            net = network(world)
            ev = world.context()
            a, b = net.stream_pair(top)
            for stream in (a, b):
                assert tstream_readv_send(top, ev, stream, [bytearray(1)]) is not None
        talloc_free(top)
        assert net.sockets == {}

    def test_the_same_seed_gives_the_same_story(self) -> None:
        """Whatever is chosen is chosen by the seed."""
        stories = []
        for seed in (5, 5, 6):
            with simulation(seed) as world:
                w = bench(world, ROUGH)
                req = w.start_write(w.a, bytes(9000))
                w.read(w.b, 9000)
                w.end(req, tstream_writev_recv)
                stories.append(world.story_text(10_000))
        assert stories[0] == stories[1]
        assert stories[0] != stories[2]
