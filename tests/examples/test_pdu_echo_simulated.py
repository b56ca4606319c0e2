# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The server of the echo example in a simulated network, put through all sweeps.

It accepts descriptors, which a simulated network has none of: `door` gives it one for each connection, good for nothing
but being closed, and the stream for it where the example makes a stream of a descriptor.
"""

from __future__ import annotations

import os
from errno import ECONNABORTED, EMFILE, ENOMEM, ETIMEDOUT
from typing import TYPE_CHECKING, Any

import pytest
from sim_kit import Script, peer

from talloc_py import TALLOC_CTX, talloc_free, talloc_set_destructor, talloc_steal, talloc_zero
from tevent import (
    set_errno,
    tevent_context,
    tevent_req,
    tevent_req_create,
    tevent_req_data,
    tevent_req_done,
    tevent_req_error,
    tevent_req_is_unix_error,
    tevent_req_received,
    tevent_req_set_callback,
    tevent_req_set_cleanup_fn,
    tevent_wakeup_send,
)
from tevent.testing import check_clean, simulation, sweep, sweep_errors, take_stock
from tsocket import (
    tsocket_address_inet_from_strings,
    tstream_context,
    tstream_inet_tcp_connect_recv,
    tstream_inet_tcp_connect_send,
)
from tsocket.testing import fault, link, network

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST, PORT = "10.0.0.2", 7
#: The errnos of a connection, and what else it may do to a server.
ERRNOS = [ECONNABORTED, fault("*", "readv", take=1), fault("*", "writev", take=1)]


class accepting(TALLOC_CTX):
    """Somebody who waits at the door."""

    fd: int


class door:
    """Where the server waits for connections: what it calls instead of the functions for descriptors."""

    def __init__(self, world: simulation, ev: tevent_context) -> None:
        self.world = world
        self.ev = ev
        self.waiting: tevent_req | None = None
        self.outside: list[tstream_context] = []
        self.streams: dict[int, tstream_context] = {}

    def knock(self, stream: tstream_context) -> None:
        """A connection has come."""
        self.outside.append(stream)
        self.world.deliver(self.ev, 0, self.open, "the listener is readable")

    def open(self) -> None:
        """Let somebody in, if somebody waits for him."""
        req = self.waiting
        if req is None or not self.outside:
            return
        err = self.world.fault("accept")
        if isinstance(err, int):
            tevent_req_error(req, err)
            return
        fd = os.open("/dev/null", os.O_RDONLY)
        self.streams[fd] = self.outside.pop(0)
        tevent_req_data(req, accepting).fd = fd
        tevent_req_done(req)

    def accept_send(self, mem_ctx: TALLOC_CTX | None, ev: tevent_context, _fd: int) -> tevent_req | None:
        req, state = tevent_req_create(mem_ctx, accepting)
        assert req is not None
        state.fd = -1
        talloc_set_destructor(state, self.unreceived)
        tevent_req_set_cleanup_fn(req, self.leave)
        assert self.waiting is None, "two wait at one door"
        self.waiting = req
        self.world.deliver(ev, 0, self.open, "the listener is readable")
        return req

    def leave(self, req: tevent_req, _state: int) -> None:
        if self.waiting is req:
            self.waiting = None

    def unreceived(self, state: accepting | None) -> None:
        assert state is not None
        if state.fd != -1:
            self.close(state.fd)

    def close(self, fd: int) -> None:
        os.close(fd)
        talloc_free(self.streams.pop(fd))

    def accept_recv(self, req: tevent_req) -> tuple[int, int | None, None, int]:
        state = tevent_req_data(req, accepting)
        failed, err = tevent_req_is_unix_error(req)
        fd, state.fd = state.fd, -1
        tevent_req_received(req)
        return (-1, None, None, err) if failed else (fd, 0, None, 0)

    def existing_socket(self, mem_ctx: TALLOC_CTX | None, fd: int) -> tuple[int, tstream_context | None]:
        if isinstance(self.world.fault("stream"), int):
            set_errno(ENOMEM)
            return -1, None
        os.close(fd)
        return 0, talloc_steal(mem_ctx, self.streams.pop(fd))


class client:
    """Connects after a while, and follows a script."""

    def __init__(self, world: simulation, ev: tevent_context, seconds: int, script: Script) -> None:
        self.world, self.ev, self.script = world, ev, script
        self.heard: peer | None = None
        when = world.now
        req = tevent_wakeup_send(world.top, ev, type(when)(when[0] + seconds, 0))
        assert req is not None
        tevent_req_set_callback(req, self.connect, None)

    def connect(self, waited: tevent_req) -> None:
        talloc_free(waited)
        _, local = tsocket_address_inet_from_strings(self.world.top, "ip", None, 0)
        _, remote = tsocket_address_inet_from_strings(self.world.top, "ip", HOST, PORT)
        assert local is not None
        assert remote is not None
        req = tstream_inet_tcp_connect_send(self.world.top, self.ev, local, remote)
        assert req is not None
        tevent_req_set_callback(req, self.connected, None)

    def connected(self, req: tevent_req) -> None:
        _, _, stream, _ = tstream_inet_tcp_connect_recv(req, self.world.top)
        talloc_free(req)
        assert stream is not None
        self.heard = peer(self.world, self.ev, stream, self.script)

    @property
    def got(self) -> bytes:
        """What it was sent."""
        return b"" if self.heard is None else bytes(self.heard.got)


def pdu(payload: bytes) -> bytes:
    """A PDU of the example."""
    return len(payload).to_bytes(4, "big") + payload


FIRST = pdu(b"first"), pdu(b"")
SECOND = pdu(b"second")
#: Two that come at once and stay for some time, and one that comes when they have left.
SCRIPTS: list[tuple[int, Script]] = [
    (0, [b"".join(FIRST), len(FIRST[0]), len(FIRST[1]), None]),
    (0, [SECOND[:5], SECOND[5:], len(SECOND), None]),
    (9, [SECOND, len(SECOND), None]),
]
ANSWERS = [b"".join(FIRST), SECOND, SECOND]


class stand:
    """A server behind a `door`, again in each run of a sweep, and its clients in each of them."""

    def __init__(self, pdu_echo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pdu_echo = pdu_echo
        self.monkeypatch = monkeypatch
        self.runs: list[list[client]] = []
        #: The errnos that the server has ended with.
        self.ends: list[int] = []

    def scene(self, world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> Any:
        """Who connects."""
        net = network(world, link=link(latency_us=1000))
        entry = door(world, ev)
        net.listen(world.top, ev, net.address(world.top, HOST, PORT), entry.knock)
        self.monkeypatch.setattr(self.pdu_echo, "accept_send", entry.accept_send)
        self.monkeypatch.setattr(self.pdu_echo, "accept_recv", entry.accept_recv)
        self.monkeypatch.setattr(self.pdu_echo, "tstream_bsd_existing_socket", entry.existing_socket)
        self.runs.append([client(world, ev, *each) for each in SCRIPTS])
        lst = talloc_zero(mem_ctx, self.pdu_echo.listener)
        lst.fd = -1
        return lst

    def start(self, world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
        """The server."""
        req: tevent_req = self.pdu_echo.echo_server_send(mem_ctx, ev, world.scene, False)
        return req

    def finish(self, req: tevent_req) -> None:
        """It ends by errors only."""
        self.ends.append(self.pdu_echo.echo_server_recv(req))


@pytest.fixture(name="server")
def new_stand(pdu_echo: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[stand]:
    """A `stand`."""
    with monkeypatch.context() as patch:
        yield stand(pdu_echo, patch)


def test_sweep(server: stand) -> None:
    """The server can be disturbed in every way; it leaves no connection, no descriptor and no queue behind."""
    options: Any = {"errnos": ERRNOS[:1], "ends": False, "orders_max": 60}
    result = sweep(server.start, server.finish, scene=server.scene, **options)
    assert [each.got for each in server.runs[0]] == ANSWERS
    assert sum(name.startswith("accept") for name in result.operations) == 3
    assert set(server.ends) == {ECONNABORTED, ENOMEM, ETIMEDOUT}


def test_a_connection_that_fails_does_not_harm_the_others(server: stand) -> None:
    """Whatever happens on the first connection, the other clients have their answers, and the server goes on."""
    result = sweep_errors(
        server.start,
        server.finish,
        scene=server.scene,
        errnos=ERRNOS,
        ends=False,
        operations=lambda name: name.startswith(f"{HOST}:{PORT} 0: "),
    )
    assert len(result.operations) > 5
    assert {tuple(each.got for each in clients[1:]) for clients in server.runs} == {tuple(ANSWERS[1:])}
    assert server.ends == []


def test_nothing_is_left_of_a_client(server: stand) -> None:
    """When all clients have left the server is what it was before the first came."""
    with simulation() as world:
        ev = world.context()
        world.scene = server.scene(world, ev, world.top)
        req = server.start(world, ev, world.top)
        before = take_stock(req, ev=ev)
        world.run()
        assert [each.got for each in server.runs[0]] == ANSWERS
        check_clean(before, take_stock(req, ev=ev))


def test_no_more_descriptors(server: stand) -> None:
    """A server that cannot accept ends, and its connections with it."""
    sweep_errors(
        server.start,
        server.finish,
        scene=server.scene,
        errnos=[EMFILE],
        ends=False,
        operations=lambda name: name.startswith("accept"),
    )
    assert server.ends == [EMFILE] * 6
