# SPDX-License-Identifier: LGPL-3.0-or-later
"""TLS of ours over a simulated stream: the conformance suite, and all sweeps of handshakes, reads, writes and ends."""

from __future__ import annotations

import functools
import pathlib
from errno import ECONNRESET
from typing import Any

import pytest
from bsd_sweep import sweep_calls
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from sim_kit import LATENCY_US
from sim_machines import two_streams
from tls_kit import HOST, TLS13, TRAITS, VERSIONS
from tls_kit import world as certificates

from talloc_py import TALLOC_CTX, talloc_free, talloc_steal
from tevent import (
    NT_STATUS_CANT_ACCESS_DOMAIN_INFO,
    NT_STATUS_OK,
    NTSTATUS,
    tevent_context,
    tevent_context_set_wait_timeout,
    tevent_loop_once,
    tevent_req,
    tevent_req_set_callback,
)
from tevent.testing import simulation, sweep
from tsocket import (
    TLS_VERIFY_PEER_AS_STRICT_AS_POSSIBLE,
    tstream_context,
    tstream_disconnect_recv,
    tstream_disconnect_send,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_tls_accept_recv,
    tstream_tls_accept_send,
    tstream_tls_connect_recv,
    tstream_tls_connect_send,
    tstream_tls_params_client,
    tstream_tls_params_server,
    tstream_writev_recv,
    tstream_writev_send,
)
from tsocket.testing import TSTREAM_CHECKS, check_tstream, fault, link, network, outage, simulated_loop

#: So that the sweeps of handshakes take seconds.
FEW: Any = {"errnos": [ECONNRESET], "orders_max": 10}


@functools.cache
def server_files() -> Any:
    """A certificate whose signatures are all of one length: the bytes of a handshake are then as many each time."""
    return certificates().ca.issue("simulated", [HOST], kind="ed25519")


def handshake(
    world: simulation, ev: tevent_context, plain: tuple[tstream_context, tstream_context], version: str
) -> tuple[tstream_context, tstream_context]:
    """A client's and a server's stream over *plain*, which go with them."""
    top = world.top
    connecting = tstream_tls_connect_send(top, ev, plain[0], certificates().client(top, priority=version))
    accepting = tstream_tls_accept_send(top, ev, plain[1], certificates().server(top, server_files()))
    assert connecting is not None
    assert accepting is not None
    results: list[Any] = [None, None]
    for number, (req, recv) in enumerate(
        ((connecting, tstream_tls_connect_recv), (accepting, tstream_tls_accept_recv))
    ):

        def done(subreq: tevent_req, number: int = number, recv: Any = recv) -> None:
            results[number] = recv(subreq, top)
            talloc_free(subreq)

        tevent_req_set_callback(req, done, None)
    while None in results:
        assert tevent_loop_once(ev) == 0
    (_, err, client), (_, err2, server) = results
    assert (err, err2) == (0, 0)
    for tls, below in ((client, plain[0]), (server, plain[1])):
        talloc_steal(tls, below)
    return client, server


@pytest.mark.parametrize("name", TSTREAM_CHECKS)
def test_tls_over_a_simulated_stream_is_a_stream(name: str) -> None:
    """On a link that cuts anywhere, takes writes in part, and has little room."""
    with simulation(3) as world:
        net = network(world, link=link(latency_us=LATENCY_US, cut=True, partial_writes=True, buffer=5000))

        def make_pair(ev: tevent_context, top: TALLOC_CTX) -> tuple[tstream_context, tstream_context]:
            tevent_context_set_wait_timeout(ev, 60)
            pair = handshake(world, ev, net.stream_pair(world.top, "client", "server"), TLS13)
            tevent_context_set_wait_timeout(ev, 0)
            for stream in pair:
                talloc_steal(top, stream)
            return pair

        check_tstream(make_pair, traits=TRAITS, make_loop=lambda top: simulated_loop(top, world), only=name)
        assert net.sockets == {}


def both_sides(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> Any:
    """Two plain streams; the client's is *mem_ctx*'s, the server's the world's."""
    net = network(world, link=link(latency_us=LATENCY_US))
    client, server = net.stream_pair(world.top, "client", "server")
    talloc_steal(mem_ctx, client)
    return client, server


def tls_streams(version: str) -> Any:
    """A scene: both sides after the handshake."""

    def scene(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> Any:
        net = network(world, link=link(latency_us=LATENCY_US, buffer=2000))
        client, server = handshake(world, ev, net.stream_pair(world.top, "client", "server"), version)
        talloc_steal(mem_ctx, client)
        return client, server

    return scene


def ok_or_failed(result: tuple[int, int], wanted: int) -> None:
    """An operation ends with what it should, or with an errno that says why not."""
    assert result == (wanted, 0) or (result[0] == -1 and result[1] > 0), result


@VERSIONS
@pytest.mark.slow
class TestSweeps:
    def test_connect(self, version: str) -> None:
        """The client's handshake."""

        def scene(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> Any:
            client, server = both_sides(world, ev, mem_ctx)
            tstream_tls_accept_send(world.top, ev, server, certificates().server(world.top, server_files()))
            return client, certificates().client(world.top, priority=version)

        def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req | None:
            return tstream_tls_connect_send(mem_ctx, ev, *world.scene)

        def finish(req: tevent_req) -> None:
            ret, err, stream = tstream_tls_connect_recv(req, None)
            ok_or_failed((ret, err), 0)
            if stream is not None:
                talloc_free(stream)

        sweep(start, finish, recv=lambda req: tstream_tls_connect_recv(req, None), scene=scene, **FEW)

    def test_accept(self, version: str) -> None:
        """The server's handshake."""

        def scene(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> Any:
            server, client = both_sides(world, ev, mem_ctx)
            tstream_tls_connect_send(world.top, ev, client, certificates().client(world.top, priority=version))
            return server, certificates().server(world.top, server_files())

        def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req | None:
            return tstream_tls_accept_send(mem_ctx, ev, *world.scene)

        def finish(req: tevent_req) -> None:
            ret, err, stream = tstream_tls_accept_recv(req, None)
            ok_or_failed((ret, err), 0)
            if stream is not None:
                talloc_free(stream)

        sweep(start, finish, recv=lambda req: tstream_tls_accept_recv(req, None), scene=scene, **FEW)

    def test_read(self, version: str) -> None:
        """A read of what comes in two records."""

        def scene(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> Any:
            client, server = tls_streams(version)(world, ev, mem_ctx)

            def more(req: tevent_req) -> None:
                talloc_free(req)
                tstream_writev_send(world.top, ev, server, [b"def"])

            req = tstream_writev_send(world.top, ev, server, [b"abc"])
            assert req is not None
            tevent_req_set_callback(req, more, None)
            return client

        sweep(
            lambda world, ev, mem_ctx: tstream_readv_send(mem_ctx, ev, world.scene, [bytearray(6)]),
            lambda req: ok_or_failed(tstream_readv_recv(req), 6),
            recv=tstream_readv_recv,
            scene=scene,
            **FEW,
        )

    def test_write(self, version: str) -> None:
        """A write that waits for its reader."""

        def scene(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> Any:
            client, server = tls_streams(version)(world, ev, mem_ctx)
            tstream_readv_send(world.top, ev, server, [bytearray(5000)])
            return client

        sweep(
            lambda world, ev, mem_ctx: tstream_writev_send(mem_ctx, ev, world.scene, [bytes(5000)]),
            lambda req: ok_or_failed(tstream_writev_recv(req), 5000),
            recv=tstream_writev_recv,
            scene=scene,
            **FEW,
        )

    def test_disconnect(self, version: str) -> None:
        """A disconnect."""
        sweep(
            lambda world, ev, mem_ctx: tstream_disconnect_send(mem_ctx, ev, world.scene[0]),
            lambda req: ok_or_failed(tstream_disconnect_recv(req), 0),
            recv=tstream_disconnect_recv,
            scene=tls_streams(version),
        )


@VERSIONS
@pytest.mark.parametrize("end", ["eof", "reset"])
@pytest.mark.parametrize("where", ["client", "server"])
def test_a_connection_that_ends_in_the_handshake(version: str, end: str, where: str) -> None:
    """Whatever byte was the last, both sides end with an error, or have had all that they need."""
    for position in [*range(0, 40, 3), *range(40, 900, 61)]:
        with simulation(None) as world:
            net = network(world, link=link(latency_us=LATENCY_US), faults=[fault(where, "byte", position, end=end)])
            ev = world.context()
            plain = net.stream_pair(world.top, "client", "server")
            client, server = certificates().client(world.top, priority=version), certificates().server(world.top)
            reqs = (
                tstream_tls_connect_send(world.top, ev, plain[0], client),
                tstream_tls_accept_send(world.top, ev, plain[1], server),
            )
            world.run()
            ended = world.outstanding_text()
            assert reqs[0 if where == "client" else 1] not in world.outstanding, (position, ended)


@VERSIONS
def test_an_outage_is_survived(version: str) -> None:
    """The handshake goes on when the network does."""
    with simulation(None) as world:
        plan = [outage("client", "server", start_us=1500, length_us=3_000_000)]
        net = network(world, link=link(latency_us=LATENCY_US), faults=plan)
        handshake(world, world.context(), net.stream_pair(world.top, "client", "server"), version)
        assert world.elapsed_us > 3_000_000


def usable(status: NTSTATUS, params: object) -> int:
    """0, or 1 where a file cannot be used."""
    assert (status == NT_STATUS_OK) == (params is not None)
    assert status in (NT_STATUS_OK, NT_STATUS_CANT_ACCESS_DOMAIN_INFO)
    return int(params is None)


def used_or_not(_err: int) -> frozenset[int]:
    """A file that cannot be read makes parameters impossible, or is passed over."""
    return frozenset((0, 1))


class TestFiles:
    """Parameters, each of whose files cannot be read in its turn; no exception and no descriptor comes of it."""

    def test_client(self, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
        """A folder, a file, a revocation list beside a certificate, and the system's own folder."""
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "absent"))
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
        authority = certificates().ca.file
        (tmp_path / "one").write_bytes(pathlib.Path(authority).read_bytes())
        lists = tmp_path / "lists"
        lists.write_bytes(pathlib.Path(certificates().crl).read_bytes() + pathlib.Path(authority).read_bytes())

        def make(mem_ctx: TALLOC_CTX) -> int:
            strict = TLS_VERIFY_PEER_AS_STRICT_AS_POSSIBLE
            folders = [str(tmp_path)]
            return usable(*tstream_tls_params_client(mem_ctx, True, folders, authority, str(lists), "", strict, HOST))

        names = sweep_calls(make, {"file": used_or_not})
        assert len({name.rpartition("call ")[2] for name in names}) >= 6

    def test_server(self) -> None:
        """A key, its certificate, and who has issued it."""
        files, ca = certificates().good, certificates().ca

        def make(mem_ctx: TALLOC_CTX) -> int:
            return usable(
                *tstream_tls_params_server(
                    mem_ctx, HOST, None, True, files.key, files.cert, ca.file, certificates().crl, None, ""
                )
            )

        sweep_calls(make, {"file": used_or_not})


class tls_pair(two_streams):
    """Two ends of a TLS connection."""

    def scene(self) -> None:
        super().scene()
        plain = self.streams[0], self.streams[1]
        self.streams = list(handshake(self.world, self.ev, plain, TLS13))
        for stream in self.streams:
            talloc_steal(self.mem_ctx, stream)

    def leave(self) -> bool:
        for queue in self.queues:
            talloc_free(queue)
        for stream in self.streams:  # each goes on to read what is below when a read was freed
            talloc_free(stream)
        return True


@pytest.mark.slow
def test_machine() -> None:
    """Under any mix of requests each callback runs once, or never for a freed request, and nothing is left behind."""
    few = settings(max_examples=30, stateful_step_count=12, deadline=None, suppress_health_check=[*HealthCheck])
    run_state_machine_as_test(tls_pair, settings=few)
