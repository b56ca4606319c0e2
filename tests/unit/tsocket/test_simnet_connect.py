# SPDX-License-Identifier: LGPL-3.0-or-later
"""Code that connects by itself reaches the simulated network with the functions that it always calls."""

from __future__ import annotations

from errno import EADDRINUSE, ECONNREFUSED, EINVAL, EIO, ENOENT, EPIPE, ETIMEDOUT
from typing import Any

import pytest

import tsocket.bsd_dgram
import tsocket.connect
from talloc_py import TALLOC_CTX, talloc_free, talloc_parent
from tevent import get_errno, tevent_context, tevent_context_init, tevent_req, tevent_req_poll
from tevent.testing import simulation
from tsocket import (
    tdgram_inet_udp_broadcast_socket,
    tdgram_inet_udp_socket,
    tdgram_unix_socket,
    tsocket_address,
    tsocket_address_inet_from_strings,
    tsocket_address_string,
    tsocket_address_unix_from_path,
    tstream_context,
    tstream_inet_tcp_connect_recv,
    tstream_inet_tcp_connect_send,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_unix_connect_recv,
    tstream_unix_connect_send,
    tstream_writev_recv,
    tstream_writev_send,
)
from tsocket.testing import fault, link, network


class bench:
    """A world with a network and a server on 10.0.0.2, port 53, that keeps what it accepts."""

    def __init__(self, world: simulation, *faults: fault, latency_us: int = 1000) -> None:
        self.world: simulation = world
        self.net: network = network(world, link=link(latency_us=latency_us), faults=faults)
        self.ev: tevent_context = world.context()
        self.top: TALLOC_CTX = world.top
        self.accepted: list[tstream_context] = []
        self.there: tsocket_address = self.net.address(self.top, "10.0.0.2", 53)
        self.listening = self.net.listen(self.top, self.ev, self.there, self.accepted.append)

    def any(self, family: str = "ip") -> tsocket_address:
        ret, address = tsocket_address_inet_from_strings(self.top, family, None, 0)
        assert ret == 0
        assert address is not None
        return address

    def unix(self, path: str | None) -> tsocket_address:
        ret, address = tsocket_address_unix_from_path(self.top, path)
        assert ret == 0
        assert address is not None
        return address

    def end(self, req: tevent_req | None, recv: Any, *arguments: Any) -> Any:
        assert req is not None
        assert tevent_req_poll(req, self.ev), "nothing can happen any more"
        result = recv(req, *arguments)
        talloc_free(req)
        return result

    def connect(self, remote: tsocket_address, local: tsocket_address | None = None) -> Any:
        req = tstream_inet_tcp_connect_send(self.top, self.ev, local or self.any(), remote)
        return self.end(req, tstream_inet_tcp_connect_recv, self.top)


class TestConnect:
    def test_to_a_listener(self) -> None:
        """After a round trip there are two streams that are connected with each other."""
        with simulation(None) as world:
            w = bench(world)
            ret, err, stream, local = w.connect(w.there)
            assert (ret, err, world.elapsed_us) == (0, 0, 2000)
            assert tsocket_address_string(local, w.top) == "ipv4:10.0.0.1:49152"
            assert w.end(tstream_writev_send(w.top, w.ev, stream, [b"hello"]), tstream_writev_recv) == (5, 0)
            world.run()
            (other,) = w.accepted
            assert talloc_parent(other) is w.top
            buf = bytearray(5)
            assert w.end(tstream_readv_send(w.top, w.ev, other, [buf]), tstream_readv_recv) == (5, 0)
            assert (bytes(buf), w.listening.accepted) == (b"hello", 1)
            assert sorted(w.net.sockets.values()) == [
                "listener 10.0.0.2:53",
                "stream 10.0.0.2:53 0",
                "stream to 10.0.0.2:53 0",
            ]

    def test_with_a_local_address(self) -> None:
        """It is what the peer is reached from."""
        with simulation(None) as world:
            w = bench(world)
            _, _, _, local = w.connect(w.there, w.net.address(w.top, "10.0.0.7", 4000))
            assert tsocket_address_string(local, w.top) == "ipv4:10.0.0.7:4000"

    @pytest.mark.parametrize(
        ("host", "mine"), [("127.0.0.1", "ipv4:127.0.0.1"), ("::1", "ipv6:::1"), ("fd00::2", "ipv6:fd00::1")]
    )
    def test_where_from(self, host: str, mine: str) -> None:
        """Loopback is reached from loopback, all else from home."""
        with simulation(None) as world:
            w = bench(world)
            there = w.net.address(w.top, host, 99)
            w.net.listen(w.top, w.ev, there, w.accepted.append)
            ret, _, _, local = w.connect(there)
            assert ret == 0
            assert tsocket_address_string(local, w.top) == f"{mine}:49152"

    @pytest.mark.parametrize(("everywhere", "host"), [("0.0.0.0", "10.1.2.3"), ("::", "fd00::77")])
    def test_to_a_listener_on_every_host(self, everywhere: str, host: str) -> None:
        """Whatever host is asked for."""
        with simulation(None) as world:
            w = bench(world)
            w.net.listen(w.top, w.ev, w.net.address(w.top, everywhere, 99), w.accepted.append, "everywhere")
            assert w.connect(w.net.address(w.top, host, 99))[0] == 0
            assert "stream to everywhere 0" in w.net.sockets.values()

    def test_to_nobody(self) -> None:
        """ECONNREFUSED, a round trip later."""
        with simulation(None) as world:
            w = bench(world)
            assert w.connect(w.net.address(w.top, "10.0.0.2", 54)) == (-1, ECONNREFUSED, None, None)
            assert world.elapsed_us == 2000
            assert list(w.net.sockets.values()) == ["listener 10.0.0.2:53"]

    def test_into_a_partition(self) -> None:
        """ETIMEDOUT after two minutes; earlier healed, it goes on."""
        with simulation(None) as world:
            w = bench(world)
            w.net.partition("10.0.0.1", "10.0.0.2")
            assert w.connect(w.there)[:2] == (-1, ETIMEDOUT)
            assert world.elapsed_us == 127_000_000
            req = tstream_inet_tcp_connect_send(w.top, w.ev, w.any(), w.there)
            world.advance(5_000_000)
            w.net.heal()
            assert w.end(req, tstream_inet_tcp_connect_recv, w.top)[0] == 0

    def test_addresses_that_do_not_fit(self) -> None:
        """EINVAL for another family."""
        with simulation(None) as world:
            w = bench(world)
            local = w.net.address(w.top, "10.0.0.7", 4000)
            assert w.connect(w.net.address(w.top, "fd00::2", 53), local)[:2] == (-1, EINVAL)
            assert w.connect(w.unix("/some/path"))[:2] == (-1, EINVAL)
            assert w.connect(w.there, w.unix("/some/path"))[:2] == (-1, EINVAL)

    def test_unix(self) -> None:
        """A path is an address like any other; nobody there is ENOENT."""
        with simulation(None) as world:
            w = bench(world)
            for there, result in ((w.unix("/run/there"), (0, 0)), (w.unix("/run/elsewhere"), (-1, ENOENT))):
                if result == (0, 0):
                    w.net.listen(w.top, w.ev, there, w.accepted.append)
                req = tstream_unix_connect_send(w.top, w.ev, w.unix(None), there)
                assert w.end(req, tstream_unix_connect_recv, w.top)[:2] == result

    def test_a_freed_connection_leaves_nothing(self) -> None:
        """Freed under way, finished and freed, or finished with nobody who takes it."""
        with simulation(None) as world:
            w = bench(world)
            talloc_free(tstream_inet_tcp_connect_send(w.top, w.ev, w.any(), w.there))
            assert list(w.net.sockets.values()) == ["listener 10.0.0.2:53"]
            req = tstream_inet_tcp_connect_send(w.top, w.ev, w.any(), w.there)
            assert req is not None
            assert tevent_req_poll(req, w.ev)
            talloc_free(req)
            world.run()
            (other,) = w.accepted
            result = w.end(tstream_readv_send(w.top, w.ev, other, [bytearray(1)]), tstream_readv_recv)
            assert result == (-1, EPIPE)

    def test_faults(self) -> None:
        """Connecting and accepting can fail, too; who is not accepted reads the end."""
        with simulation(None) as world:
            plan = fault("to 10.0.0.2:53 0", "connect", error="EIO"), fault("10.0.0.2:53", "accept", error="EMFILE")
            w = bench(world, *plan)
            assert w.connect(w.there)[:2] == (-1, EIO)
            ret, _, stream, _ = w.connect(w.there)
            assert ret == 0
            result = w.end(tstream_readv_send(w.top, w.ev, stream, [bytearray(1)]), tstream_readv_recv)
            assert result == (-1, EPIPE)
            assert w.accepted == []

    def test_real_contexts_go_where_they_always_went(self) -> None:
        """Only a simulated context leads into the network."""
        with simulation(None) as world:
            w = bench(world)
            ev = tevent_context_init(w.top)
            assert ev is not None
            there = w.unix("/nowhere/in/this/system")
            req = tstream_unix_connect_send(w.top, ev, w.unix(None), there)
            assert req is not None
            assert tevent_req_poll(req, ev)
            assert tstream_unix_connect_recv(req, w.top)[:2] == (-1, ENOENT)
            talloc_free(ev)
            assert "operation" not in world.story_text()

    def test_the_end_of_the_world(self) -> None:
        """Everything is as it was."""
        before = (
            tsocket.connect._connect_send,
            tsocket.connect._connect_recv,
            tsocket.bsd_dgram._make_socket,
        )
        with simulation(None) as world:
            network(world)
            assert tsocket.connect._connect_send is not before[0]
        assert before == (
            tsocket.connect._connect_send,
            tsocket.connect._connect_recv,
            tsocket.bsd_dgram._make_socket,
        )


class TestListening:
    def test_freed(self) -> None:
        """Nobody is there any more, and who waits to be accepted reads the end."""
        with simulation(None) as world:
            w = bench(world)
            _, _, stream, _ = w.connect(w.there)
            talloc_free(w.listening)
            result = w.end(tstream_readv_send(w.top, w.ev, stream, [bytearray(1)]), tstream_readv_recv)
            assert result == (-1, EPIPE)
            assert w.accepted == []
            assert w.connect(w.there)[:2] == (-1, ECONNREFUSED)

    def test_an_address_that_is_taken(self) -> None:
        """A ValueError."""
        with simulation(None) as world:
            w = bench(world)
            with pytest.raises(ValueError, match=r"somebody listens on 10\.0\.0\.2:53"):
                w.net.listen(w.top, w.ev, w.there, w.accepted.append)

    def test_no_address(self) -> None:
        """A ValueError names what is none."""
        with simulation(None) as world:
            w = bench(world)
            with pytest.raises(ValueError, match="'nonsense', port 1"):
                w.net.address(w.top, "nonsense", 1)


class TestDatagramSockets:
    def test_udp(self) -> None:
        """Made by the usual function, bound where it is told, at home, or on loopback."""
        with simulation(None) as world:
            w = bench(world)
            for local, remote in (
                (w.net.address(w.top, "10.0.0.3", 53), None),
                (w.any(), w.there),
                (w.any(), w.net.address(w.top, "127.0.0.1", 9)),
            ):
                assert tdgram_inet_udp_socket(local, remote, w.top)[0] == 0
            assert tdgram_inet_udp_broadcast_socket(w.any("ipv4"), w.top)[0] == 0
            assert [text for text in w.net.sockets.values() if text.startswith("datagram")] == [
                "datagram socket 10.0.0.3:53",
                "datagram socket 10.0.0.1:49152",
                "datagram socket 127.0.0.1:49153",
                "datagram socket 10.0.0.1:49154",
            ]

    def test_failures(self) -> None:
        """Another family is EINVAL, a port in use EADDRINUSE, and the plan may have an errno."""
        with simulation(None) as world:
            w = bench(world, fault("10.0.0.3:54", "socket", error="EIO"))
            for local, remote, err in (
                (w.unix("/x"), None, EINVAL),
                (w.any(), w.unix("/x"), EINVAL),
                (w.net.address(w.top, "10.0.0.3", 53), None, 0),
                (w.net.address(w.top, "10.0.0.3", 53), None, EADDRINUSE),
                (w.net.address(w.top, "10.0.0.3", 54), None, EIO),
            ):
                ret, dgram = tdgram_inet_udp_socket(local, remote, w.top)
                assert (ret, 0 if dgram is not None else get_errno()) == ((-1, err) if err else (0, 0))

    def test_unix(self) -> None:
        """A peer must be there already; who has no path can be answered all the same."""
        with simulation(None) as world:
            w = bench(world)
            there = w.unix("/run/there")
            assert tdgram_unix_socket(w.unix(None), there, w.top) == (-1, None)
            assert get_errno() == ENOENT
            assert tdgram_unix_socket(there, None, w.top)[0] == 0
            assert tdgram_unix_socket(w.unix(None), there, w.top)[0] == 0
