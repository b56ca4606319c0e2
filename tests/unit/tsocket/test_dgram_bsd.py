# SPDX-License-Identifier: LGPL-3.0-or-later
"""Datagrams over the system's sockets: UDP, unix and netlink."""

from __future__ import annotations

import errno as e
import gc
import os
import socket
import struct
from errno import EBUSY, EINVAL, EIO, EMSGSIZE, ENOBUFS, ENOMEM, ENOTCONN
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from stream_kit import Loop, is_open, open_fds
from tevent_kit import wrapper_of

from talloc_py import (
    TALLOC_CTX,
    talloc_abort_error,
    talloc_free,
    talloc_get_name,
    talloc_get_size,
    talloc_new,
    talloc_parent,
    talloc_set_abort_fn,
    talloc_set_memlimit,
    talloc_total_blocks,
)
from tevent import (
    tevent_context_init,
    tevent_req,
    tevent_req_is_in_progress,
    tevent_req_set_endtime,
    timeval,
)
from tsocket import (
    _sys,
    bsd_dgram,
    get_errno,
    set_errno,
    sockaddr,
    tdgram_bsd_existing_socket,
    tdgram_bsd_optimize_recvfrom,
    tdgram_context,
    tdgram_disconnect_recv,
    tdgram_disconnect_send,
    tdgram_inet_udp_broadcast_socket,
    tdgram_inet_udp_socket,
    tdgram_recvfrom_recv,
    tdgram_recvfrom_send,
    tdgram_sendto_recv,
    tdgram_sendto_send,
    tdgram_unix_socket,
    tsocket_address,
    tsocket_address_bsd_from_sockaddr,
    tsocket_address_bsd_sockaddr,
    tsocket_address_create,
    tsocket_address_inet_from_strings,
    tsocket_address_inet_port,
    tsocket_address_is_unix,
    tsocket_address_ops,
    tsocket_address_string,
    tsocket_address_unix_from_path,
)
from tsocket.bsd_dgram import tdgram_bsd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def inet(top: TALLOC_CTX, host: str | None = "127.0.0.1", port: int = 0, fam: str = "ip") -> tsocket_address:
    ret, addr = tsocket_address_inet_from_strings(top, fam, host, port)
    assert ret == 0
    assert addr is not None
    return addr


def path(top: TALLOC_CTX, name: object) -> tsocket_address:
    ret, addr = tsocket_address_unix_from_path(top, str(name))
    assert ret == 0
    assert addr is not None
    return addr


def wrap(top: TALLOC_CTX, sock: socket.socket) -> tdgram_context:
    sock.setblocking(False)
    ret, dgram = tdgram_bsd_existing_socket(top, sock.detach())
    assert ret == 0
    assert dgram is not None
    return dgram


def fd_of(dgram: tdgram_context) -> int:
    transport = dgram.transport
    assert isinstance(transport, tdgram_bsd)
    return transport.fd


def as_socket(dgram: tdgram_context) -> socket.socket:
    """The context's descriptor, seen by Python's socket; to be detached."""
    return socket.socket(fileno=fd_of(dgram))


def name_of(dgram: tdgram_context) -> Any:
    sock = as_socket(dgram)
    try:
        return sock.getsockname()
    finally:
        sock.detach()


def option(dgram: tdgram_context, level: int, name: int) -> int:
    sock = as_socket(dgram)
    try:
        return sock.getsockopt(level, name)
    finally:
        sock.detach()


class Wire:
    """A datagram context with a raw socket at the other end."""

    def __init__(self, top: TALLOC_CTX, sock: socket.socket, peer: socket.socket) -> None:
        peer.setblocking(False)
        self.peer = peer
        self.dgram = wrap(top, sock)
        self.top = top

    def arrived(self) -> None:
        """Wait until the kernel has a datagram, or an error, for the context."""
        import select

        poll = select.poll()
        poll.register(fd_of(self.dgram), select.POLLIN)
        assert poll.poll(20_000)

    def receive(self, loop: Loop) -> Any:
        return loop.watch(tdgram_recvfrom_send(self.top, loop.ev, self.dgram), self.take)

    def take(self, req: tevent_req) -> Any:
        ret, err, buf, _src = tdgram_recvfrom_recv(req, self.top)
        return ret if err == 0 else -err, None if buf is None else bytes(buf)

    def send(self, loop: Loop, buf: Any, dst: tsocket_address | None = None) -> Any:
        return loop.watch(tdgram_sendto_send(self.top, loop.ev, self.dgram, buf, dst), tdgram_sendto_recv)


def udp_pair() -> tuple[socket.socket, socket.socket]:
    one, two = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    for sock in (one, two):
        sock.bind(("127.0.0.1", 0))
    one.connect(two.getsockname())
    two.connect(one.getsockname())
    return one, two


@pytest.fixture
def unix(top: TALLOC_CTX) -> Iterator[Wire]:
    sock, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with peer:
        yield Wire(top, sock, peer)


@pytest.fixture
def udp(top: TALLOC_CTX) -> Iterator[Wire]:
    sock, peer = udp_pair()
    with peer:
        yield Wire(top, sock, peer)


@pytest.fixture(params=["unix", "udp"])
def wire(request: pytest.FixtureRequest, top: TALLOC_CTX) -> Iterator[Wire]:
    sock, peer = udp_pair() if request.param == "udp" else socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with peer:
        yield Wire(top, sock, peer)


class TestReceive:
    def test_waits_for_a_datagram(self, wire: Wire, loop: Loop) -> None:
        """A receive ends in the turn in which the datagram is seen, with exactly its bytes."""
        seen = wire.receive(loop)
        assert loop.settle() == 0
        wire.peer.send(b"hello")
        wire.arrived()
        loop.turn()
        assert seen.result == (5, b"hello")
        assert loop.settle() <= 1

    def test_one_datagram_a_time(self, wire: Wire, loop: Loop) -> None:
        """Each receive takes one datagram, in order, and the next may be started from the callback."""
        for each in (b"a", b"bb", b"ccc"):
            wire.peer.send(each)
        wire.arrived()
        got = []
        for _ in range(3):
            seen = wire.receive(loop)
            loop.until(lambda seen=seen: seen.calls)
            got.append(seen.result)
        assert got == [(1, b"a"), (2, b"bb"), (3, b"ccc")]

    def test_buffer_and_source_are_chunks(self, top: TALLOC_CTX, unix: Wire, loop: Loop) -> None:
        """Buffer and source belong to the owner given."""
        owner = talloc_new(top)
        unix.peer.send(b"hello")
        req = tdgram_recvfrom_send(top, loop.ev, unix.dgram)
        assert req is not None
        loop.turn()
        ret, err, buf, src = tdgram_recvfrom_recv(req, owner)
        assert (ret, err, buf) == (5, 0, bytearray(b"hello"))
        assert talloc_parent(buf) is owner  # type: ignore[arg-type]
        assert talloc_get_name(buf) == "uint8_t"  # type: ignore[arg-type]
        assert talloc_get_size(buf) == 5  # type: ignore[arg-type]
        assert talloc_parent(src) is owner

    @pytest.mark.parametrize("size", [1, 1000, 65507])
    def test_whole_datagram_of_any_size(self, top: TALLOC_CTX, udp: Wire, loop: Loop, size: int) -> None:
        """Nothing is cut off."""
        udp.peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
        seen = udp.receive(loop)
        udp.peer.send(bytes(size))
        loop.until(lambda: seen.calls)
        assert seen.result == (size, bytes(size))

    def test_source_of_udp(self, udp: Wire, top: TALLOC_CTX, loop: Loop) -> None:
        """The source is the sender's address."""
        udp.peer.send(b"x")
        udp.arrived()
        req = tdgram_recvfrom_send(top, loop.ev, udp.dgram)
        assert req is not None
        loop.turn()
        _, _, _, src = tdgram_recvfrom_recv(req, top)
        host, port = udp.peer.getsockname()
        assert tsocket_address_string(src, top) == f"ipv4:{host}:{port}"
        assert src is not None
        assert src.location

    @pytest.mark.parametrize("relative", [False, True])
    def test_source_of_unix(
        self, top: TALLOC_CTX, loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: bool
    ) -> None:
        """The source is the path as the sender bound it."""
        monkeypatch.chdir(tmp_path)
        name = "s" if relative else str(tmp_path / "s")
        sock, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with peer:
            peer.bind(name)
            dgram = wrap(top, sock)
            peer.send(b"x")
            req = tdgram_recvfrom_send(top, loop.ev, dgram)
            assert req is not None
            loop.turn()
            _, _, _, src = tdgram_recvfrom_recv(req, top)
        assert tsocket_address_string(src, top) == f"unix:{name}"

    def test_source_without_a_name(self, top: TALLOC_CTX, unix: Wire, loop: Loop) -> None:
        """An unnamed sender has an address without a family."""
        unix.peer.send(b"x")
        req = tdgram_recvfrom_send(top, loop.ev, unix.dgram)
        assert req is not None
        loop.turn()
        _, _, _, src = tdgram_recvfrom_recv(req, top)
        assert src is not None
        assert tsocket_address_string(src, top) is None
        assert not tsocket_address_is_unix(src)
        assert tsocket_address_bsd_sockaddr(src) == (0, sockaddr(0, ""))

    def test_free_before_anything_came(self, wire: Wire, top: TALLOC_CTX, loop: Loop) -> None:
        """A datagram that came for a receive that was freed is there for the next."""
        talloc_free(tdgram_recvfrom_send(top, loop.ev, wire.dgram))
        wire.peer.send(b"x")
        wire.arrived()
        assert loop.settle() == 1
        seen = wire.receive(loop)
        loop.turn()
        assert seen.result == (1, b"x")

    def test_unsolicited_datagrams(self, wire: Wire, loop: Loop) -> None:
        """What nobody asked for wakes the loop once and stays in the kernel."""
        wire.peer.send(b"a")
        wire.arrived()
        first = wire.receive(loop)
        loop.turn()
        assert first.result == (1, b"a")
        wire.peer.send(b"b")
        wire.arrived()
        assert loop.settle() == 1
        assert wire.receive(loop).calls == 0
        assert loop.settle() <= 2

    def test_endtime(self, wire: Wire, top: TALLOC_CTX, loop: Loop) -> None:
        """A receive that timed out takes no datagram."""
        req = tdgram_recvfrom_send(top, loop.ev, wire.dgram)
        assert req is not None
        tevent_req_set_endtime(req, loop.ev, timeval(0, 0))
        seen = loop.watch(req, wire.take)
        loop.turn()
        assert seen.result == (-e.ETIMEDOUT, None)
        wire.peer.send(b"x")
        again = wire.receive(loop)
        loop.until(lambda: again.calls)
        assert again.result == (1, b"x")

    def test_memory_limit_at_the_end(self, wire: Wire, top: TALLOC_CTX, loop: Loop) -> None:
        """Where buffer or source find no room the datagram is lost and the result ENOMEM."""
        refused = 0
        for room in range(1, 2000, 16):
            limited = talloc_new(top)
            talloc_set_memlimit(limited, room)
            wire.peer.send(b"hello")
            req = tdgram_recvfrom_send(top, loop.ev, wire.dgram)
            assert req is not None
            loop.until(lambda req=req: not tevent_req_is_in_progress(req))
            result = tdgram_recvfrom_recv(req, limited)
            if result[0] != -1:
                break
            assert result == (-1, ENOMEM, None, None)
            assert talloc_total_blocks(limited) == 1
            refused = room
        assert refused > 5

    def test_spurious_wakeup(self, wire: Wire, loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
        """A datagram that somebody else took first is waited for again."""
        seen = wire.receive(loop)
        wire.peer.send(b"x")
        wire.arrived()
        assert os.read(fd_of(wire.dgram), 10) == b"x"
        monkeypatch.setattr(_sys, "bytes_readable", lambda *_: 1)
        assert not wire.dgram.transport._receive(wire.dgram.recvfrom_req)  # type: ignore[attr-defined]
        monkeypatch.undo()
        wire.peer.send(b"yy")
        loop.until(lambda: seen.calls)
        assert seen.result == (2, b"yy")

    def test_datagram_shorter_than_announced(self, wire: Wire, loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
        """Some systems announce too much; the buffer is cut."""
        monkeypatch.setattr(_sys, "bytes_readable", lambda *_: 100)
        seen = wire.receive(loop)
        wire.peer.send(b"abc")
        loop.until(lambda: seen.calls)
        assert seen.result == (3, b"abc")


class TestEmptyDatagram:
    def test_is_reported_as_enomem(self, wire: Wire, loop: Loop) -> None:
        """Ignored at first sight, received at the second, and reported as ENOMEM; the next one is intact."""
        wire.peer.send(b"")
        wire.peer.send(b"x")
        wire.arrived()
        seen = wire.receive(loop)
        loop.turn()
        assert seen.calls == 0
        loop.turn()
        assert seen.result == (-ENOMEM, None)
        following = wire.receive(loop)
        loop.turn()
        assert following.result == (1, b"x")

    def test_with_optimisation(self, wire: Wire, loop: Loop) -> None:
        """The look inside `_send` is the first one."""
        tdgram_bsd_optimize_recvfrom(wire.dgram, True)
        wire.peer.send(b"")
        wire.arrived()
        seen = wire.receive(loop)
        loop.turn()
        assert seen.result == (-ENOMEM, None)

    def test_each_receive_looks_twice(self, wire: Wire, loop: Loop) -> None:
        """One receive's second look is not the next one's."""
        wire.peer.send(b"")
        wire.peer.send(b"")
        wire.arrived()
        for _ in range(2):
            seen = wire.receive(loop)
            loop.turn()
            assert seen.calls == 0
            loop.turn()
            assert seen.result == (-ENOMEM, None)


class TestOptimizeRecvfrom:
    def test_returns_the_setting_before(self, wire: Wire) -> None:
        """Off at first."""
        settings = [tdgram_bsd_optimize_recvfrom(wire.dgram, on) for on in (True, True, False, False)]
        assert settings == [False, True, True, False]

    def test_datagram_is_taken_inside_send(self, wire: Wire, top: TALLOC_CTX, loop: Loop) -> None:
        """The request is finished at once, the callback comes from the loop."""
        tdgram_bsd_optimize_recvfrom(wire.dgram, True)
        wire.peer.send(b"x")
        wire.arrived()
        req = tdgram_recvfrom_send(top, loop.ev, wire.dgram)
        assert req is not None
        assert not tevent_req_is_in_progress(req)
        seen = loop.watch(req, wire.take)
        assert seen.calls == 0
        loop.turn()
        assert seen.result == (1, b"x")
        assert loop.settle() == 0

    def test_can_be_received_at_once(self, wire: Wire, top: TALLOC_CTX, loop: Loop) -> None:
        """No loop is needed for what is there."""
        tdgram_bsd_optimize_recvfrom(wire.dgram, True)
        wire.peer.send(b"x")
        wire.arrived()
        req = tdgram_recvfrom_send(top, loop.ev, wire.dgram)
        assert req is not None
        assert wire.take(req) == (1, b"x")
        assert loop.settle() == 0

    def test_nothing_there(self, wire: Wire, loop: Loop) -> None:
        """Otherwise it waits as ever."""
        tdgram_bsd_optimize_recvfrom(wire.dgram, True)
        seen = wire.receive(loop)
        assert loop.settle() == 0
        wire.peer.send(b"x")
        loop.until(lambda: seen.calls)
        assert seen.result == (1, b"x")

    def test_free_loses_the_datagram(self, wire: Wire, top: TALLOC_CTX, loop: Loop) -> None:
        """A request that took a datagram takes it along."""
        tdgram_bsd_optimize_recvfrom(wire.dgram, True)
        wire.peer.send(b"x")
        wire.peer.send(b"y")
        wire.arrived()
        talloc_free(tdgram_recvfrom_send(top, loop.ev, wire.dgram))
        seen = wire.receive(loop)
        loop.turn()
        assert seen.result == (1, b"y")

    def test_many_from_callbacks(self, unix: Wire, top: TALLOC_CTX, loop: Loop) -> None:
        """A callback may start the next receive without recursion."""
        tdgram_bsd_optimize_recvfrom(unix.dgram, True)
        got: list[Any] = []

        def next_one(_: tevent_req | None = None) -> None:
            unix.peer.send(b"x")
            loop.watch(
                tdgram_recvfrom_send(top, loop.ev, unix.dgram), lambda req: got.append(unix.take(req)), then=next_one
            )

        next_one()
        for _ in range(2000):
            loop.turn()
        assert len(got) == 2000


class TestSend:
    def test_at_once(self, wire: Wire, top: TALLOC_CTX, loop: Loop) -> None:
        """The datagram leaves inside `_send`; the request is in progress until the next turn."""
        req = tdgram_sendto_send(top, loop.ev, wire.dgram, b"hello", None)
        assert req is not None
        assert tevent_req_is_in_progress(req)
        wire.peer.setblocking(True)
        assert wire.peer.recv(10) == b"hello"
        seen = loop.watch(req, tdgram_sendto_recv)
        loop.turn()
        assert seen.result == (5, 0)
        assert loop.settle() == 0

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_any_buffer(self, wire: Wire, loop: Loop, kind: Any) -> None:
        """Bytes-like objects of every kind."""
        seen = wire.send(loop, kind(b"abc"))
        loop.turn()
        assert seen.result == (3, 0)
        wire.peer.setblocking(True)
        assert wire.peer.recv(10) == b"abc"

    def test_items_of_more_than_a_byte(self, wire: Wire, loop: Loop) -> None:
        """The length counts bytes."""
        seen = wire.send(loop, memoryview(bytes(8)).cast("I"))
        loop.turn()
        assert seen.result == (8, 0)

    def test_buffer_is_released(self, wire: Wire, loop: Loop) -> None:
        """A bytearray can be resized as soon as it was sent."""
        buf = bytearray(b"abc")
        wire.send(loop, buf)
        buf.extend(b"def")

    def test_free_before_delivery(self, wire: Wire, top: TALLOC_CTX, loop: Loop) -> None:
        """What was sent stays sent."""
        req = tdgram_sendto_send(top, loop.ev, wire.dgram, b"x", None)
        seen = loop.watch(req)
        talloc_free(req)
        wire.peer.setblocking(True)
        assert wire.peer.recv(10) == b"x"
        assert loop.settle() == 0
        assert seen.calls == 0

    def test_blocked(self, unix: Wire, top: TALLOC_CTX, loop: Loop) -> None:
        """With the peer's queue full it waits, without spinning, and the same datagram goes later."""
        count = 0
        while True:
            seen = unix.send(loop, b"%d" % count)
            loop.turn()
            if not seen.calls:
                break
            count += 1
        assert loop.settle() <= 1
        busy = unix.send(loop, b"busy")
        loop.turn()
        assert busy.result == (-1, EBUSY)
        for number in range(count):
            assert unix.peer.recv(10) == b"%d" % number
        loop.until(lambda: seen.calls)
        assert seen.result == (len(b"%d" % count), 0)
        assert unix.peer.recv(10) == b"%d" % count
        assert loop.settle() == 0

    def test_blocked_and_freed(self, unix: Wire, top: TALLOC_CTX, loop: Loop) -> None:
        """A send that waits and is freed does not happen, and leaves no interest behind."""
        req = self.block(unix, loop)
        talloc_free(req)
        drained = 0
        while True:
            try:
                unix.peer.recv(10)
                drained += 1
            except BlockingIOError:
                break
        assert loop.settle() == 0
        seen = unix.send(loop, b"again")
        loop.turn()
        assert seen.result == (5, 0)
        assert unix.peer.recv(10) == b"again"

    def test_send_goes_before_receive(self, unix: Wire, top: TALLOC_CTX, loop: Loop) -> None:
        """When both are ready a blocked send is first, the receive follows in the next turn."""
        order: list[str] = []
        loop.watch(self.block(unix, loop), lambda req: order.append("send"))
        loop.watch(tdgram_recvfrom_send(top, loop.ev, unix.dgram), lambda req: order.append("recv"))
        unix.peer.send(b"x")
        while True:
            try:
                unix.peer.recv(10)
            except BlockingIOError:
                break
        loop.turn()
        assert order == ["send"]
        loop.turn()
        assert order == ["send", "recv"]

    def test_receive_while_a_send_is_blocked(self, unix: Wire, top: TALLOC_CTX, loop: Loop) -> None:
        """A blocked send does not hold up a receive."""
        req = self.block(unix, loop)
        seen = unix.receive(loop)
        unix.peer.send(b"x")
        loop.turn()
        assert seen.result == (1, b"x")
        assert tevent_req_is_in_progress(req)

    def test_peer_gone_while_blocked(self, unix: Wire, top: TALLOC_CTX, loop: Loop) -> None:
        """A send that waits for a peer that goes away hears of it."""
        seen = loop.watch(self.block(unix, loop), tdgram_sendto_recv)
        unix.peer.close()
        loop.until(lambda: seen.calls)
        assert seen.result == (-1, e.ECONNREFUSED)

    def block(self, wire: Wire, loop: Loop) -> tevent_req:
        """A send that waits."""
        while True:
            req = tdgram_sendto_send(wire.top, loop.ev, wire.dgram, b"full", None)
            assert req is not None
            loop.turn()
            if tevent_req_is_in_progress(req):
                return req
            talloc_free(req)

    def test_writable_but_full_again(self, unix: Wire, top: TALLOC_CTX, loop: Loop) -> None:
        """Somebody else may have taken the room: it waits on."""
        req = self.block(unix, loop)
        bsd: Any = unix.dgram.transport
        bsd_dgram._ready(loop.ev, bsd.fde, 2, bsd)
        assert tevent_req_is_in_progress(req)
        talloc_free(req)

    def test_error_condition_that_is_none_of_the_send(self, unix: Wire, top: TALLOC_CTX, loop: Loop) -> None:
        """A half that was shut down does not make a blocked send spin."""
        req = self.block(unix, loop)
        sock = as_socket(unix.dgram)
        sock.shutdown(socket.SHUT_RD)
        sock.detach()
        assert loop.settle() <= 2
        assert tevent_req_is_in_progress(req)

    def test_send_buffer_too_small(self, unix: Wire, top: TALLOC_CTX, loop: Loop) -> None:
        """A datagram bigger than the send buffer makes the buffer bigger."""
        size = 300_001
        seen = unix.send(loop, bytes(size))
        loop.turn()
        assert seen.result == (size, 0)
        assert len(unix.peer.recv(1 << 20)) == size
        # The kernel doubles what it is told: the size rounded up to 1024.
        assert option(unix.dgram, socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * 300_032

    def test_send_buffer_that_cannot_be_set(self, unix: Wire, loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
        """Then it is EMSGSIZE."""

        def refuse(*_: Any) -> None:
            raise OSError(ENOBUFS, "no")

        monkeypatch.setattr(_sys, "set_option", refuse)
        seen = unix.send(loop, bytes(300_000))
        loop.turn()
        assert seen.result == (-1, EMSGSIZE)

    @pytest.mark.parametrize(("size", "result"), [(65507, (65507, 0)), (65508, (-1, EMSGSIZE))])
    def test_largest_udp_datagram(self, udp: Wire, loop: Loop, size: int, result: Any) -> None:
        """UDP has a limit of its own."""
        seen = udp.send(loop, bytes(size))
        loop.turn()
        assert seen.result == result

    @pytest.mark.parametrize("buf", [b"", bytearray(), None])
    def test_nothing(self, wire: Wire, top: TALLOC_CTX, loop: Loop, buf: Any) -> None:
        """Nothing is not sent."""
        req = tdgram_sendto_send(top, loop.ev, wire.dgram, buf, None)
        assert req is not None
        assert not tevent_req_is_in_progress(req)
        assert tdgram_sendto_recv(req) == (-1, EINVAL)
        with pytest.raises(BlockingIOError):
            wire.peer.recv(10)


def sent(loop: Loop, top: TALLOC_CTX, dgram: tdgram_context, dst: tsocket_address | None, buf: bytes = b"x") -> Any:
    seen = loop.watch(tdgram_sendto_send(top, loop.ev, dgram, buf, dst), tdgram_sendto_recv)
    loop.turn()
    return seen.result


def udp_socket(top: TALLOC_CTX, host: str = "127.0.0.1") -> tdgram_context:
    ret, dgram = tdgram_inet_udp_socket(inet(top, host), None, top)
    assert ret == 0
    assert dgram is not None
    return dgram


class TestDestination:
    def test_to_an_address(self, top: TALLOC_CTX, loop: Loop, udp: Wire) -> None:
        """An unconnected socket sends where it is told."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.bind(("127.0.0.1", 0))
            assert sent(loop, top, udp_socket(top), inet(top, port=peer.getsockname()[1]), b"abc") == (3, 0)
            assert peer.recv(10) == b"abc"

    def test_connected_socket_sends_elsewhere(self, top: TALLOC_CTX, loop: Loop, udp: Wire) -> None:
        """A destination given goes before the peer."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 0))
            assert sent(loop, top, udp.dgram, inet(top, port=other.getsockname()[1]), b"abc") == (3, 0)
            assert other.recv(10) == b"abc"

    def test_connected_unix_socket_sends_elsewhere(
        self, top: TALLOC_CTX, loop: Loop, unix: Wire, tmp_path: Path
    ) -> None:
        """The same for unix sockets, by path and by abstract name."""
        for name in (str(tmp_path / "s"), b"\0tsocket-test-%d" % os.getpid()):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
                other.bind(name)
                _, dst = tsocket_address_bsd_from_sockaddr(top, sockaddr(socket.AF_UNIX, name))
                assert sent(loop, top, unix.dgram, dst, b"abc") == (3, 0)
                assert other.recv(10) == b"abc"

    def test_back_to_the_source(self, top: TALLOC_CTX, loop: Loop) -> None:
        """An answer goes to where the question came from."""
        server = udp_socket(top)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(name_of(server))
            client.send(b"question")
            req = tdgram_recvfrom_send(top, loop.ev, server)
            assert req is not None
            loop.until(lambda: not tevent_req_is_in_progress(req))
            _, _, _, src = tdgram_recvfrom_recv(req, top)
            assert sent(loop, top, server, src, b"answer") == (6, 0)
            assert client.recv(10) == b"answer"

    def test_unconnected_and_nowhere(self, top: TALLOC_CTX, loop: Loop) -> None:
        """No destination and no peer: each family has its own errno."""
        assert sent(loop, top, udp_socket(top), None) == (-1, e.EDESTADDRREQ)
        assert sent(loop, top, wrap(top, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)), None) == (-1, ENOTCONN)

    def test_other_family(self, top: TALLOC_CTX, loop: Loop) -> None:
        """The system says what it thinks of an address of another family."""
        dgram = udp_socket(top)
        assert sent(loop, top, dgram, inet(top, "::1", 9)) == (-1, e.EAFNOSUPPORT)
        assert sent(loop, top, dgram, inet(top, "::1", 9)) == (-1, e.EAFNOSUPPORT)
        assert sent(loop, top, dgram, path(top, "/x")) == (-1, e.EAFNOSUPPORT)

    def test_mapped_address_on_a_loopback_socket(self, top: TALLOC_CTX, loop: Loop) -> None:
        """IPv4 in IPv6's clothes does not leave a socket of ::1."""
        assert sent(loop, top, udp_socket(top, "::1"), inet(top, "::ffff:127.0.0.1", 9)) == (-1, e.ENETUNREACH)

    def test_port_zero(self, top: TALLOC_CTX, loop: Loop) -> None:
        """Nobody is at port 0."""
        assert sent(loop, top, udp_socket(top), inet(top, port=0)) == (-1, EINVAL)

    def test_broadcast_without_permission(self, top: TALLOC_CTX, loop: Loop) -> None:
        """Broadcast has to be asked for."""
        dgram = udp_socket(top)
        assert sent(loop, top, dgram, inet(top, "127.255.255.255", 9)) == (-1, e.EACCES)

    def test_unix_errors(self, top: TALLOC_CTX, loop: Loop, tmp_path: Path) -> None:
        """A path that is missing, a socket nobody holds any more, an empty path."""
        dgram = wrap(top, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        assert sent(loop, top, dgram, path(top, tmp_path / "missing")) == (-1, e.ENOENT)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.bind(str(tmp_path / "dead"))
        assert sent(loop, top, dgram, path(top, tmp_path / "dead")) == (-1, e.ECONNREFUSED)
        assert sent(loop, top, dgram, path(top, "")) == (-1, e.ECONNREFUSED)

    def test_unix_peer_gone(self, top: TALLOC_CTX, loop: Loop, unix: Wire) -> None:
        """A peer that is gone refuses once, then there is no peer any more."""
        unix.peer.close()
        assert sent(loop, top, unix.dgram, None) == (-1, e.ECONNREFUSED)
        assert sent(loop, top, unix.dgram, None) == (-1, ENOTCONN)

    def test_address_of_an_unnamed_sender(self, top: TALLOC_CTX, loop: Loop, unix: Wire) -> None:
        """It leads to the peer of a connected unix socket, and nowhere on UDP."""
        unix.peer.send(b"x")
        req = tdgram_recvfrom_send(top, loop.ev, unix.dgram)
        assert req is not None
        loop.turn()
        _, _, _, src = tdgram_recvfrom_recv(req, top)
        assert sent(loop, top, unix.dgram, src, b"abc") == (3, 0)
        assert unix.peer.recv(10) == b"abc"
        assert sent(loop, top, udp_socket(top), src) == (-1, EINVAL)

    def test_address_of_another_backend(self, top: TALLOC_CTX, loop: Loop, udp: Wire) -> None:
        """It goes to the abort function, and no request remains; if that returns, the send fails."""
        dst, _ = tsocket_address_create(top, tsocket_address_ops("other"), TALLOC_CTX)
        with pytest.raises(talloc_abort_error, match=r"expected\[struct samba_sockaddr\]"):
            tdgram_sendto_send(top, loop.ev, udp.dgram, b"x", dst)
        talloc_set_abort_fn(lambda reason: None)
        try:
            assert sent(loop, top, udp.dgram, dst) == (-1, EINVAL)
        finally:
            talloc_set_abort_fn(None)
        assert sent(loop, top, udp.dgram, None) == (1, 0)


class TestErrorsOfThePeer:
    @pytest.mark.parametrize("waiting", [True, False])
    def test_refused_shows_in_the_next_receive(self, top: TALLOC_CTX, loop: Loop, udp: Wire, waiting: bool) -> None:
        """Nobody at the peer's port: the send succeeds, a receive hears of it once, then all is well."""
        seen = udp.receive(loop) if waiting else None
        udp.peer.close()
        assert sent(loop, top, udp.dgram, None) == (1, 0)
        udp.arrived()
        if seen is None:
            seen = udp.receive(loop)
        loop.until(lambda: seen.calls)
        assert seen.result == (-e.ECONNREFUSED, None)
        udp.receive(loop)
        assert loop.settle() == 0

    def test_refused_shows_in_the_next_send(self, top: TALLOC_CTX, loop: Loop, udp: Wire) -> None:
        """Or a send does."""
        udp.peer.close()
        assert sent(loop, top, udp.dgram, None) == (1, 0)
        udp.arrived()
        assert sent(loop, top, udp.dgram, None) == (-1, e.ECONNREFUSED)
        udp.receive(loop)

    def test_optimised_receive_hears_of_it_at_once(self, top: TALLOC_CTX, loop: Loop, udp: Wire) -> None:
        """The error is found inside `_send`."""
        tdgram_bsd_optimize_recvfrom(udp.dgram, True)
        udp.peer.close()
        assert sent(loop, top, udp.dgram, None) == (1, 0)
        udp.arrived()
        req = tdgram_recvfrom_send(top, loop.ev, udp.dgram)
        assert req is not None
        assert not tevent_req_is_in_progress(req)
        assert udp.take(req) == (-e.ECONNREFUSED, None)

    def test_unconnected_socket_hears_nothing(self, top: TALLOC_CTX, loop: Loop) -> None:
        """Without a peer the system does not say whose error it is."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dead:
            dead.bind(("127.0.0.1", 0))
            port = dead.getsockname()[1]
        dgram = udp_socket(top)
        loop.watch(tdgram_recvfrom_send(top, loop.ev, dgram))
        assert sent(loop, top, dgram, inet(top, port=port)) == (1, 0)
        assert loop.settle() == 0

    def test_unix_peer_gone_says_nothing(self, loop: Loop, unix: Wire) -> None:
        """A receive goes on waiting."""
        seen = unix.receive(loop)
        unix.peer.close()
        assert loop.settle() == 0
        assert seen.calls == 0


class TestContexts:
    def test_wait_on_another_context(self, top: TALLOC_CTX, wire: Wire, loop: Loop) -> None:
        """What waits on a second event context while something waits on the first is EINVAL; the first goes on."""
        other = Loop(top)
        first = wire.receive(loop)
        seen = other.watch(self.blocked_send(top, other, wire), tdgram_sendto_recv)
        other.turn()
        assert seen.result == (-1, EINVAL)
        wire.peer.send(b"x")
        loop.until(lambda: first.calls)
        assert first.result == (1, b"x")

    def test_a_wrapper_is_a_context_of_its_own(self, top: TALLOC_CTX, unix: Wire, loop: Loop) -> None:
        """What waits through a wrapper may be joined through that, on the same event, but not from its main context."""
        wrapped: Any = SimpleNamespace(ev=wrapper_of(loop.ev))
        receiving = tdgram_recvfrom_send(top, wrapped.ev, unix.dgram)
        received = loop.watch(receiving, lambda req: tdgram_recvfrom_recv(req, top)[0])
        transport: Any = unix.dgram.transport
        fde = transport.fde
        refused = loop.watch(self.blocked_send(top, loop, unix), tdgram_sendto_recv)
        loop.settle()
        assert refused.result == (-1, EINVAL)
        done = loop.watch(self.blocked_send(top, wrapped, unix), tdgram_sendto_recv)
        assert transport.fde is fde
        unix.peer.send(b"xy")
        loop.settle()
        assert received.result == 2
        assert done.result == (1, 0)

    def test_an_idle_socket_leaves_a_wrapper(self, top: TALLOC_CTX, unix: Wire, loop: Loop) -> None:
        """With nothing outstanding the main context takes over, with an event of its own; else it is EINVAL."""
        wrapped: Any = SimpleNamespace(ev=wrapper_of(loop.ev))
        first = loop.watch(tdgram_recvfrom_send(top, wrapped.ev, unix.dgram), unix.take)
        unix.peer.send(b"a")
        loop.settle()
        assert first.result == (1, b"a")
        second = unix.receive(loop)
        transport: Any = unix.dgram.transport
        assert transport.fde.wrapper is None
        unix.peer.send(b"b")
        loop.settle()
        assert second.result == (1, b"b")
        self.blocked_send(top, wrapped, unix)
        req = tdgram_recvfrom_send(top, loop.ev, unix.dgram)
        assert req is not None
        assert unix.take(req) == (-EINVAL, None)

    def blocked_send(self, top: TALLOC_CTX, loop: Loop, wire: Wire) -> tevent_req:
        """A send that would wait."""
        fd = fd_of(wire.dgram)

        class full(socket.socket):
            def send(self, *_: Any) -> int:
                raise BlockingIOError(e.EAGAIN, "full")

        sock = full(fileno=fd)
        transport: Any = wire.dgram.transport
        own, transport._sock = transport._sock, sock
        req = tdgram_sendto_send(top, loop.ev, wire.dgram, b"x", None)
        assert req is not None
        assert tevent_req_is_in_progress(req)
        transport._sock = own
        sock.detach()
        return req

    def test_receive_on_another_context(self, top: TALLOC_CTX, unix: Wire, loop: Loop) -> None:
        """The same for a receive, which is finished inside `_send` then."""
        other = Loop(top)
        self.blocked_send(top, loop, unix)
        req = tdgram_recvfrom_send(top, other.ev, unix.dgram)
        assert req is not None
        assert not tevent_req_is_in_progress(req)
        assert unix.take(req) == (-EINVAL, None)

    def test_what_need_not_wait_may_use_any(self, top: TALLOC_CTX, wire: Wire, loop: Loop) -> None:
        """A send that goes through does not care."""
        other = Loop(top)
        first = wire.receive(loop)
        assert sent(other, top, wire.dgram, None) == (1, 0)
        assert first.calls == 0

    def test_moves_when_idle(self, top: TALLOC_CTX, wire: Wire, loop: Loop) -> None:
        """With nothing outstanding the next event context takes over, and the first hears nothing more."""
        first = wire.receive(loop)
        wire.peer.send(b"a")
        loop.until(lambda: first.calls)
        other = Loop(top)
        second = wire.receive(other)
        wire.peer.send(b"b")
        wire.arrived()
        assert loop.settle() == 0
        other.turn()
        assert second.result == (1, b"b")

    def test_context_freed(self, top: TALLOC_CTX, wire: Wire, loop: Loop) -> None:
        """An event context that is gone does not hinder the next."""
        other = Loop(top)
        talloc_free(tdgram_recvfrom_send(top, other.ev, wire.dgram))
        talloc_free(other.ev)
        wire.peer.send(b"x")
        seen = wire.receive(loop)
        loop.until(lambda: seen.calls)
        assert seen.result == (1, b"x")


class TestDisconnect:
    def test_closes_at_once(self, wire: Wire, top: TALLOC_CTX, loop: Loop) -> None:
        """The descriptor is closed inside `_send`, the callback comes from the loop."""
        fd = fd_of(wire.dgram)
        req = tdgram_disconnect_send(top, loop.ev, wire.dgram)
        assert req is not None
        assert not is_open(fd)
        assert tevent_req_is_in_progress(req)
        seen = loop.watch(req, tdgram_disconnect_recv)
        loop.turn()
        assert seen.result == (0, 0)

    def test_everything_after_it(self, wire: Wire, top: TALLOC_CTX, loop: Loop) -> None:
        """All operations fail with ENOTCONN; a receive at once, the others in the next turn."""
        tdgram_disconnect_send(top, loop.ev, wire.dgram)
        loop.settle()
        req = tdgram_recvfrom_send(top, loop.ev, wire.dgram)
        assert req is not None
        assert not tevent_req_is_in_progress(req)
        assert wire.take(req) == (-ENOTCONN, None)
        again = tdgram_disconnect_send(top, loop.ev, wire.dgram)
        send = tdgram_sendto_send(top, loop.ev, wire.dgram, b"x", None)
        assert send is not None
        assert again is not None
        assert tevent_req_is_in_progress(send)
        assert tevent_req_is_in_progress(again)
        loop.settle()
        assert tdgram_sendto_recv(send) == (-1, ENOTCONN)
        assert tdgram_disconnect_recv(again) == (-1, ENOTCONN)

    def test_second_one_outstanding(self, wire: Wire, top: TALLOC_CTX, loop: Loop) -> None:
        """It reaches the socket, which is closed already."""
        first = loop.watch(tdgram_disconnect_send(top, loop.ev, wire.dgram), tdgram_disconnect_recv)
        second = loop.watch(tdgram_disconnect_send(top, loop.ev, wire.dgram), tdgram_disconnect_recv)
        loop.settle()
        assert first.result == (0, 0)
        assert second.result == (-1, ENOTCONN)
        assert second.turn == first.turn + 1

    def test_outlives_its_context(self, wire: Wire, top: TALLOC_CTX, loop: Loop) -> None:
        """Freeing the context does not silence it, as in C."""
        seen = loop.watch(tdgram_disconnect_send(top, loop.ev, wire.dgram), tdgram_disconnect_recv)
        talloc_free(wire.dgram)
        loop.turn()
        assert seen.result == (0, 0)

    def test_after_use(self, wire: Wire, top: TALLOC_CTX, loop: Loop) -> None:
        """The fd event goes with the descriptor."""
        seen = wire.receive(loop)
        wire.peer.send(b"x")
        loop.until(lambda: seen.calls)
        sent(loop, top, wire.dgram, None)
        before = open_fds()
        done = loop.watch(tdgram_disconnect_send(top, loop.ev, wire.dgram), tdgram_disconnect_recv)
        assert open_fds() == before - 1
        loop.settle()
        assert done.result == (0, 0)

    def test_close_fails(self, wire: Wire, top: TALLOC_CTX, loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error of close(2) is reported, and the descriptor is gone anyway."""

        def close(fd: int) -> None:
            os.close(fd)
            raise OSError(EIO, "no")

        monkeypatch.setattr(_sys, "close", close)
        seen = loop.watch(tdgram_disconnect_send(top, loop.ev, wire.dgram), tdgram_disconnect_recv)
        loop.turn()
        assert seen.result == (-1, EIO)
        assert fd_of(wire.dgram) == -1


class TestExistingSocket:
    @pytest.mark.parametrize("fd", [-1, -5, 10_000])
    def test_nothing_is_checked(self, top: TALLOC_CTX, fd: int) -> None:
        """Any number will do."""
        ret, dgram = tdgram_bsd_existing_socket(top, fd)
        assert ret == 0
        assert dgram is not None
        assert talloc_parent(dgram) is top
        assert talloc_total_blocks(dgram) == 2

    def test_no_descriptor(self, top: TALLOC_CTX, loop: Loop) -> None:
        """-1 is a socket that is not connected."""
        _, dgram = tdgram_bsd_existing_socket(top, -1)
        assert dgram is not None
        assert sent(loop, top, dgram, None) == (-1, ENOTCONN)

    def test_impossible_descriptor(self, top: TALLOC_CTX, loop: Loop) -> None:
        """A number that cannot be a descriptor fails when it is used."""
        _, dgram = tdgram_bsd_existing_socket(top, -5)
        assert dgram is not None
        assert sent(loop, top, dgram, None) == (-1, e.EBADF)
        req = tdgram_recvfrom_send(top, loop.ev, dgram)
        assert req is not None
        assert tdgram_recvfrom_recv(req, top) == (-1, ENOMEM, None, None)

    def test_closed_descriptor(self, top: TALLOC_CTX, loop: Loop, wire: Wire) -> None:
        """A descriptor that somebody closed is EBADF."""
        fd = fd_of(wire.dgram)
        os.close(fd)
        assert sent(loop, top, wire.dgram, None) == (-1, e.EBADF)
        tdgram_bsd_optimize_recvfrom(wire.dgram, True)
        req = tdgram_recvfrom_send(top, loop.ev, wire.dgram)
        assert req is not None
        assert wire.take(req) == (-e.EBADF, None)
        seen = loop.watch(tdgram_disconnect_send(top, loop.ev, wire.dgram), tdgram_disconnect_recv)
        loop.turn()
        assert seen.result == (-1, e.EBADF)

    def test_no_socket(self, top: TALLOC_CTX, loop: Loop) -> None:
        """A pipe is ENOTSOCK."""
        reader, writer = os.pipe()
        os.write(writer, b"x")
        os.close(writer)
        _, dgram = tdgram_bsd_existing_socket(top, reader)
        assert dgram is not None
        assert sent(loop, top, dgram, None) == (-1, e.ENOTSOCK)
        seen = loop.watch(tdgram_recvfrom_send(top, loop.ev, dgram), lambda req: tdgram_recvfrom_recv(req, top)[:2])
        loop.turn()
        assert seen.result == (-1, e.ENOTSOCK)

    def test_flags_stay(self, top: TALLOC_CTX) -> None:
        """The descriptor is taken as it is."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            fd = os.dup(sock.fileno())
        _, dgram = tdgram_bsd_existing_socket(top, fd)
        assert os.get_blocking(fd)
        talloc_free(dgram)
        assert not is_open(fd)

    @pytest.mark.parametrize("fd", [None, "5", 1.0])
    def test_wrong_type(self, top: TALLOC_CTX, fd: Any) -> None:
        """A descriptor is a number."""
        with pytest.raises(TypeError, match="file descriptor is an int"):
            tdgram_bsd_existing_socket(top, fd)

    def test_out_of_range(self, top: TALLOC_CTX) -> None:
        """And one that fits a C int."""
        with pytest.raises(ValueError, match="C int"):
            tdgram_bsd_existing_socket(top, 1 << 31)

    def test_memory_limit(self, top: TALLOC_CTX) -> None:
        """Where no memory is to be had the descriptor stays the caller's."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            for room in range(1, 2000, 16):
                limited = talloc_new(top)
                talloc_set_memlimit(limited, room)
                set_errno(0)
                ret, dgram = tdgram_bsd_existing_socket(limited, sock.fileno())
                if ret == 0:
                    break
                assert (ret, dgram) == (-1, None)
                assert get_errno() == ENOMEM
                assert is_open(sock.fileno())
                assert talloc_total_blocks(limited) == 1
            assert room > 1
            sock.detach()

    def test_netlink(self, top: TALLOC_CTX, loop: Loop) -> None:
        """A netlink socket tells the size of a message in its own way."""
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        sock.bind((0, 0))
        # RTM_GETLINK for every interface: NLM_F_REQUEST | NLM_F_DUMP.
        sock.send(struct.pack("=IHHIIBxHiII", 32, 18, 0x301, 1, 0, 0, 0, 0, 0, 0))
        dgram = wrap(top, sock)
        req = tdgram_recvfrom_send(top, loop.ev, dgram)
        assert req is not None
        loop.until(lambda: not tevent_req_is_in_progress(req))
        ret, err, buf, src = tdgram_recvfrom_recv(req, top)
        assert err == 0
        assert buf is not None
        assert ret == len(buf) > 16
        assert b"lo\0" in buf
        assert src is not None
        assert tsocket_address_bsd_sockaddr(src) == (12, sockaddr(socket.AF_NETLINK, (0, 0)))

    def test_default_timeout_of_python(self, top: TALLOC_CTX, wire: Wire, loop: Loop) -> None:
        """`socket.setdefaulttimeout` changes nothing here."""
        socket.setdefaulttimeout(5)
        try:
            seen = wire.receive(loop)
            assert sent(loop, top, wire.dgram, None) == (1, 0)
            dgram = udp_socket(top)
            assert socket.getdefaulttimeout() == 5
        finally:
            socket.setdefaulttimeout(None)
        wire.peer.send(b"x")
        loop.until(lambda: seen.calls)
        assert seen.result == (1, b"x")
        assert not os.get_blocking(fd_of(dgram))


class TestLifetime:
    def test_free_closes(self, wire: Wire, loop: Loop) -> None:
        """The descriptor goes with the context, used or not."""
        seen = wire.receive(loop)
        fd = fd_of(wire.dgram)
        assert talloc_free(wire.dgram) == 0
        assert not is_open(fd)
        assert loop.settle() == 0
        assert seen.calls == 0

    def test_chunks(self, wire: Wire, loop: Loop) -> None:
        """Context and socket; a third chunk once the descriptor is watched."""
        assert talloc_total_blocks(wire.dgram) == 2
        assert repr(wire.dgram.transport) == f"<tdgram_bsd fd {fd_of(wire.dgram)}>"
        wire.receive(loop)
        assert talloc_total_blocks(wire.dgram) == 3

    def test_path_stays_on_disk(self, top: TALLOC_CTX, tmp_path: Path) -> None:
        """Nothing is unlinked."""
        _, dgram = tdgram_unix_socket(path(top, tmp_path / "s"), None, top)
        talloc_free(dgram)
        assert (tmp_path / "s").is_socket()

    def test_leak_is_reported(self) -> None:
        """A context that is dropped without being freed is a ResourceWarning, and its descriptor is closed."""
        one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        two.close()
        one.setblocking(False)
        fd = one.detach()
        tdgram_bsd_existing_socket(None, fd)
        with pytest.warns(ResourceWarning, match=f"unfreed datagram socket on descriptor {fd}"):
            gc.collect()
        assert not is_open(fd)

    def test_leak_of_a_used_one_is_reported(self) -> None:
        """The same after it was used."""
        ev = tevent_context_init(None)
        one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        one.setblocking(False)
        fd = one.detach()
        _, dgram = tdgram_bsd_existing_socket(None, fd)
        assert dgram is not None
        talloc_free(tdgram_sendto_send(None, ev, dgram, b"x", None))  # type: ignore[arg-type]
        del dgram
        with pytest.warns(ResourceWarning, match=f"descriptor {fd}"):
            gc.collect()
        two.close()
        talloc_free(ev)

    def test_not_by_calling_the_class(self) -> None:
        """The chunk below a context is made with it."""
        with pytest.raises(TypeError):
            tdgram_bsd()


class TestUdpSocket:
    def test_bound_and_unconnected(self, top: TALLOC_CTX) -> None:
        """A socket with an address: non-blocking, closed on exec, above the standard descriptors."""
        _, dgram = tdgram_inet_udp_socket(inet(top), None, top)
        assert dgram is not None
        assert talloc_parent(dgram) is top
        fd = fd_of(dgram)
        assert fd > 2
        assert not os.get_blocking(fd)
        assert not os.get_inheritable(fd)
        assert name_of(dgram)[0] == "127.0.0.1"
        assert option(dgram, socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0
        assert option(dgram, socket.SOL_SOCKET, socket.SO_BROADCAST) == 0

    def test_unspecific_is_not_bound(self, top: TALLOC_CTX) -> None:
        """No host and no port: no bind."""
        _, dgram = tdgram_inet_udp_socket(inet(top, None, 0, "ipv4"), None, top)
        assert dgram is not None
        assert name_of(dgram) == ("0.0.0.0", 0)

    @pytest.mark.parametrize("fam", ["ipv4", "ipv6"])
    def test_two_on_one_port(self, top: TALLOC_CTX, loop: Loop, fam: str) -> None:
        """A port may be bound twice; the last one receives."""
        host = "127.0.0.1" if fam == "ipv4" else "::1"
        port = name_of(udp_socket(top, host))[1]
        dgrams = []
        for _ in range(2):
            ret, dgram = tdgram_inet_udp_socket(inet(top, host, port + 1), None, top)
            assert ret == 0
            assert dgram is not None
            dgrams.append(dgram)
            assert option(dgram, socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1
        seens = [
            loop.watch(tdgram_recvfrom_send(top, loop.ev, dgram), lambda req: tdgram_recvfrom_recv(req, top)[0])
            for dgram in dgrams
        ]
        assert sent(loop, top, udp_socket(top, host), inet(top, host, port + 1)) == (1, 0)
        loop.until(lambda: seens[0].calls + seens[1].calls)
        assert [seen.calls for seen in seens] == [0, 1]

    def test_ipv6_is_ipv6_only(self, top: TALLOC_CTX) -> None:
        """An IPv6 socket does not take IPv4."""
        dgram = udp_socket(top, "::1")
        assert option(dgram, socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
        assert name_of(dgram)[0] == "::1"

    @pytest.mark.parametrize(
        ("local", "remote"),
        [("0.0.0.0", "127.0.0.1"), ("0.0.0.0", "::1"), ("::", "::1"), ("::", "127.0.0.1"), ("127.0.0.1", "127.0.0.1")],
    )
    def test_connected(self, top: TALLOC_CTX, loop: Loop, local: str, remote: str) -> None:
        """Only the peer's datagrams arrive; an unspecific local address takes the peer's family."""
        server = udp_socket(top, remote)
        ret, client = tdgram_inet_udp_socket(inet(top, local), inet(top, remote, name_of(server)[1]), top)
        assert ret == 0
        assert client is not None
        stranger = udp_socket(top, remote)
        seen = loop.watch(tdgram_recvfrom_send(top, loop.ev, client), lambda req: tdgram_recvfrom_recv(req, top)[2])
        back = inet(top, *name_of(client)[:2])
        assert sent(loop, top, stranger, back, b"no") == (2, 0)
        assert sent(loop, top, server, back, b"yes") == (3, 0)
        loop.until(lambda: seen.calls)
        assert seen.result == b"yes"

    @pytest.mark.parametrize(
        ("local", "remote", "errno"),
        [
            (("127.0.0.1", 0), ("::1", 9), EINVAL),
            (("::1", 0), ("127.0.0.1", 9), EINVAL),
            (("192.0.2.1", 0), None, e.EADDRNOTAVAIL),
            (("127.0.0.1", 0), ("192.0.2.1", 9), EINVAL),
        ],
    )
    def test_refused(self, top: TALLOC_CTX, local: Any, remote: Any, errno: int) -> None:
        """Families that do not match, addresses of somebody else: the errno tells, and nothing stays open."""
        before = open_fds()
        set_errno(0)
        peer = None if remote is None else inet(top, *remote)
        assert tdgram_inet_udp_socket(inet(top, *local), peer, top) == (-1, None)
        assert get_errno() == errno
        assert open_fds() == before

    def test_broadcast_peer(self, top: TALLOC_CTX) -> None:
        """Connecting fails by errno too."""
        set_errno(0)
        before = open_fds()
        peer = inet(top, "127.255.255.255", 9)
        assert tdgram_inet_udp_socket(inet(top), peer, top) == (-1, None)
        assert get_errno() == e.EACCES
        assert open_fds() == before

    def test_unix_addresses(self, top: TALLOC_CTX, tmp_path: Path) -> None:
        """A unix local address is EINVAL; a unix peer of an unspecific one is taken, as in C."""
        missing = path(top, tmp_path / "missing")
        for local, remote, errno in (
            (path(top, ""), None, EINVAL),
            (inet(top), missing, EINVAL),
            (inet(top, None, 0, "ipv4"), missing, e.ENOENT),
            (inet(top, None, 0, "ipv6"), missing, e.EOPNOTSUPP),
        ):
            set_errno(0)
            assert tdgram_inet_udp_socket(local, remote, top) == (-1, None)
            assert get_errno() == errno

    def test_unnamed_sender_as_local(self, top: TALLOC_CTX, unix: Wire, loop: Loop) -> None:
        """An address without a family is no internet address, and no unix address either."""
        unix.peer.send(b"x")
        req = tdgram_recvfrom_send(top, loop.ev, unix.dgram)
        assert req is not None
        loop.turn()
        _, _, _, src = tdgram_recvfrom_recv(req, top)
        assert src is not None
        for make in (tdgram_inet_udp_socket, tdgram_unix_socket):
            set_errno(0)
            assert make(src, None, top) == (-1, None)
            assert get_errno() == EINVAL

    def test_memory_limit(self, top: TALLOC_CTX) -> None:
        """Where no memory is to be had nothing stays open."""
        limited = talloc_new(top)
        talloc_set_memlimit(limited, 1)
        before = open_fds()
        set_errno(0)
        assert tdgram_inet_udp_socket(inet(top), None, limited) == (-1, None)
        assert get_errno() == ENOMEM
        assert open_fds() == before


class TestBroadcastSocket:
    def test_option(self, top: TALLOC_CTX, loop: Loop) -> None:
        """Broadcast is allowed."""
        _, dgram = tdgram_inet_udp_broadcast_socket(inet(top), top)
        assert dgram is not None
        assert option(dgram, socket.SOL_SOCKET, socket.SO_BROADCAST) == 1
        assert sent(loop, top, dgram, inet(top, "127.255.255.255", 9)) == (1, 0)

    def test_ipv4_only(self, top: TALLOC_CTX) -> None:
        """Neither IPv6 nor unix sockets have it."""
        for local in (inet(top, "::1"), path(top, "")):
            set_errno(0)
            assert tdgram_inet_udp_broadcast_socket(local, top) == (-1, None)
            assert get_errno() == EINVAL

    def test_bound(self, top: TALLOC_CTX) -> None:
        """Otherwise it is a UDP socket like any other."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        _, dgram = tdgram_inet_udp_broadcast_socket(inet(top, "127.0.0.1", port), top)
        assert dgram is not None
        assert name_of(dgram) == ("127.0.0.1", port)
        assert option(dgram, socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1


class TestUnixSocket:
    def test_bound_and_connected(self, top: TALLOC_CTX, loop: Loop, tmp_path: Path) -> None:
        """A server with a path, a client with another."""
        ret, server = tdgram_unix_socket(path(top, tmp_path / "server"), None, top)
        assert ret == 0
        assert server is not None
        ret, client = tdgram_unix_socket(path(top, tmp_path / "client"), path(top, tmp_path / "server"), top)
        assert ret == 0
        assert client is not None
        assert option(client, socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1
        assert sent(loop, top, client, None, b"hi") == (2, 0)
        req = tdgram_recvfrom_send(top, loop.ev, server)
        assert req is not None
        loop.turn()
        _, _, buf, src = tdgram_recvfrom_recv(req, top)
        assert buf == b"hi"
        assert tsocket_address_string(src, top) == f"unix:{tmp_path / 'client'}"
        assert sent(loop, top, server, src, b"ho") == (2, 0)

    @pytest.mark.parametrize("name", ["", b"\0abstract-local"])
    def test_unnamed(self, top: TALLOC_CTX, name: Any) -> None:
        """An empty path is not bound, nor is an abstract name."""
        local = path(top, "")
        if name:
            _, found = tsocket_address_bsd_from_sockaddr(top, sockaddr(socket.AF_UNIX, name))
            assert found is not None
            local = found
        ret, dgram = tdgram_unix_socket(local, None, top)
        assert ret == 0
        assert dgram is not None
        assert name_of(dgram) == ""

    def test_errors(self, top: TALLOC_CTX, tmp_path: Path) -> None:
        """Each by its errno, and nothing stays open."""
        (tmp_path / "file").touch()
        nobody = path(top, "")
        cases = [
            (inet(top), None, EINVAL),
            (nobody, inet(top), EINVAL),
            (path(top, tmp_path / "file"), None, e.EADDRINUSE),
            (path(top, tmp_path / "no" / "dir"), None, e.ENOENT),
            (nobody, path(top, tmp_path / "missing"), e.ENOENT),
            (nobody, path(top, tmp_path / "file"), e.ECONNREFUSED),
            (nobody, nobody, e.ECONNREFUSED),
        ]
        before = open_fds()
        for local, remote, errno in cases:
            set_errno(0)
            assert tdgram_unix_socket(local, remote, top) == (-1, None)
            assert get_errno() == errno
        assert open_fds() == before

    def test_path_is_bound_before_the_peer_is_looked_at(self, top: TALLOC_CTX, tmp_path: Path) -> None:
        """A peer that does not fit is found out after bind(2), as in C."""
        assert tdgram_unix_socket(path(top, tmp_path / "s"), inet(top), top) == (-1, None)
        assert get_errno() == EINVAL
        assert (tmp_path / "s").is_socket()


MAKERS: list[Any] = [
    lambda local, remote: tdgram_inet_udp_socket(local, remote, None),
    lambda local, remote: tdgram_unix_socket(local, remote, None),
    lambda local, remote: tdgram_inet_udp_broadcast_socket(remote or local, None),
]


class TestBadAddresses:
    @pytest.mark.parametrize("make", MAKERS)
    def test_wrong_types(self, top: TALLOC_CTX, make: Any) -> None:
        """Addresses are addresses; only the peer may be None."""
        for bad in (None, "127.0.0.1", 5):
            with pytest.raises(TypeError, match="tsocket_address is needed"):
                make(bad, None)
        with pytest.raises(TypeError, match="tsocket_address is needed"):
            make(inet(top), "::1")

    @pytest.mark.parametrize("make", MAKERS)
    def test_of_another_backend(self, top: TALLOC_CTX, make: Any) -> None:
        """Addresses of another backend go to the abort function; if it returns, it is EINVAL."""
        foreign, _ = tsocket_address_create(top, tsocket_address_ops("other"), TALLOC_CTX)
        with pytest.raises(talloc_abort_error, match="samba_sockaddr"):
            make(foreign, None)
        with pytest.raises(talloc_abort_error, match="samba_sockaddr"):
            make(inet(top), foreign)
        talloc_set_abort_fn(lambda reason: None)
        try:
            set_errno(0)
            assert make(foreign, None) == (-1, None)
            assert get_errno() == EINVAL
        finally:
            talloc_set_abort_fn(None)

    @pytest.mark.parametrize("make", MAKERS)
    def test_freed(self, top: TALLOC_CTX, make: Any) -> None:
        """Freed addresses go to the abort function too."""
        local = inet(top)
        talloc_free(local)
        with pytest.raises(talloc_abort_error, match="access after free"):
            make(local, None)
        talloc_set_abort_fn(lambda reason: None)
        try:
            assert make(local, None) == (-1, None)
        finally:
            talloc_set_abort_fn(None)


def test_source_port_is_the_senders(top: TALLOC_CTX, udp: Wire, loop: Loop) -> None:
    """The source's port can be asked for."""
    udp.peer.send(b"x")
    udp.arrived()
    req = tdgram_recvfrom_send(top, loop.ev, udp.dgram)
    assert req is not None
    loop.turn()
    _, _, _, src = tdgram_recvfrom_recv(req, top)
    assert src is not None
    assert tsocket_address_inet_port(src) == udp.peer.getsockname()[1]
