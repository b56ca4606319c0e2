# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Our own requests on sockets other than streams, disturbed at each step, each of their system calls failing.

Connections, datagrams, and the functions that only borrow a descriptor.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
from collections.abc import Callable
from errno import EAGAIN, EINPROGRESS, EINTR, EMSGSIZE, ENOMEM, EPIPE
from typing import TYPE_CHECKING, Any

import pytest
from bsd_sweep import act, anything, exact, exact_or_harmless, retried, stage, sweep_bsd, sweep_calls

from talloc_py import TALLOC_CTX, talloc_free
from tevent import get_errno, tevent_queue_create, tevent_req, tevent_req_set_callback
from tsocket import (
    accept_recv,
    accept_send,
    async_connect_recv,
    async_connect_send,
    read_packet_recv,
    read_packet_send,
    sockaddr,
    tdgram_bsd_existing_socket,
    tdgram_bsd_optimize_recvfrom,
    tdgram_disconnect_recv,
    tdgram_disconnect_send,
    tdgram_inet_udp_broadcast_socket,
    tdgram_inet_udp_socket,
    tdgram_recvfrom_recv,
    tdgram_recvfrom_send,
    tdgram_sendto_queue_recv,
    tdgram_sendto_queue_send,
    tdgram_sendto_recv,
    tdgram_sendto_send,
    tdgram_unix_socket,
    tsocket_address,
    tsocket_address_inet_from_strings,
    tsocket_address_unix_from_path,
    tstream_bsd_existing_socket,
    tstream_inet_tcp_connect_recv,
    tstream_inet_tcp_connect_send,
    tstream_pending_bytes,
    tstream_unix_connect_recv,
    tstream_unix_connect_send,
    tstream_unix_socketpair,
    wait_for_error_recv,
    wait_for_error_send,
    wait_for_read_recv,
    wait_for_read_send,
    writev_recv,
    writev_send,
)

if TYPE_CHECKING:
    import pathlib


def inet(mem_ctx: TALLOC_CTX, port: int = 0, host: str | None = "127.0.0.1") -> tsocket_address:
    """An IPv4 address."""
    _, address = tsocket_address_inet_from_strings(mem_ctx, "ipv4", host, port)
    assert address is not None
    return address


def unix(mem_ctx: TALLOC_CTX, path: str | None) -> tsocket_address:
    """A unix address."""
    _, address = tsocket_address_unix_from_path(mem_ctx, path)
    assert address is not None
    return address


def received(ret: int, err: int, wanted: int) -> int:
    """The errno of an operation that ends with *wanted*, or with -1 and an errno."""
    assert (ret, err) == (wanted, 0) or (ret == -1 and err > 0), (ret, err)
    return err


def begun_or_exact(err: int) -> frozenset[int]:
    """What connect(2) fails with is the result, unless it has only begun."""
    return frozenset((0 if err == EINPROGRESS else err,))


def let_go(on: stage) -> None:
    """The request has gone: the connection that it made must be there still, and goes by itself."""
    if on.target is not None:
        os.fstat(on.target.transport.fd)
        talloc_free(on.target)
        on.target = None


def quiet_listener(on: stage) -> socket.socket:
    """A TCP socket that listens."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    on.peer(sock)
    return sock


class TestConnect:
    def test_tcp(self) -> None:
        """A connection over TCP from an address of its own."""

        def scene(on: stage) -> None:
            port = quiet_listener(on).getsockname()[1]
            on.more = inet(on.mem_ctx), inet(on.mem_ctx, port)

        def start(on: stage) -> tevent_req | None:
            mine, peer = on.more
            # The address has to be bound to, so it is no wildcard.
            return tstream_inet_tcp_connect_send(on.owner, on.ev, mine, peer)

        def finish(on: stage, req: tevent_req) -> int:
            ret, err, on.target, local = tstream_inet_tcp_connect_recv(req, on.mem_ctx)
            assert (on.target is None, local is None) == (ret == -1, ret == -1)
            talloc_free(local)
            return received(ret, err, 0)

        names = sweep_bsd(act(scene, start, finish, {"connect": begun_or_exact}, after=let_go))
        for kind in ("socket", "dup", "fcntl", "bind", "connect", "fd event", "getsockopt", "getsockname", "close"):
            assert any(f"({kind})" in name for name in names), kind

    def test_unix(self, tmp_path: pathlib.Path) -> None:
        """A connection to a unix socket, from a path that is new each time."""
        numbers = itertools.count()

        def scene(on: stage) -> None:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(tmp_path / f"peer {next(numbers)}"))
            listener.listen()
            on.peer(listener)
            on.more = unix(on.mem_ctx, str(tmp_path / f"own {next(numbers)}")), unix(on.mem_ctx, listener.getsockname())

        def finish(on: stage, req: tevent_req) -> int:
            ret, err, on.target = tstream_unix_connect_recv(req, on.mem_ctx)
            assert (on.target is None) == (ret == -1)
            return received(ret, err, 0)

        names = sweep_bsd(
            act(
                scene,
                lambda on: tstream_unix_connect_send(on.owner, on.ev, *on.more),
                finish,
                {"connect": begun_or_exact},
                after=let_go,
            )
        )
        assert any("(setsockopt)" in name for name in names)

    def test_borrowed(self) -> None:
        """A descriptor of the caller's is connected, and has its old flags back, of which nobody hears if it fails."""

        def scene(on: stage) -> None:
            sock = socket.socket()
            on.more = on.peer(sock), sockaddr(socket.AF_INET, quiet_listener(on).getsockname())
            sock.setblocking(True)

        def start(on: stage) -> tevent_req | None:
            sock, address = on.more
            return async_connect_send(on.owner, on.ev, sock.fileno(), address, None, None, None)

        def finish(on: stage, req: tevent_req) -> int:
            return received(*async_connect_recv(req), 0)

        def restored(on: stage) -> None:
            # Setting them is what may have failed.
            assert on.plan is not None or os.get_blocking(on.more[0].fileno())

        sweep_bsd(act(scene, start, finish, {"connect": begun_or_exact, "fcntl": exact_or_harmless}, after=restored))


def stream_ends(on: stage) -> None:
    """A scene: two connected sockets, the other side's first, and a queue."""
    peer, mine = socket.socketpair()
    on.more = on.peer(peer), on.peer(mine), tevent_queue_create(on.mem_ctx, "writes")


def waits(send: Callable[..., tevent_req | None], *args: Any) -> Callable[[stage], tevent_req | None]:
    """The start of a request on the second socket of `stream_ends`."""
    return lambda on: send(on.owner, on.ev, on.more[1].fileno(), *args)


def after(move: Callable[[socket.socket], object]) -> Callable[[stage], None]:
    """`stream_ends`, and what the peer does as soon as the request waits."""

    def scene(on: stage) -> None:
        stream_ends(on)
        on.moves = map(move, on.more[:1])

    return scene


class TestBorrowedDescriptors:
    def test_accept(self) -> None:
        """A connection that nobody receives is closed, whatever close(2) says."""

        def scene(on: stage) -> None:
            listener = quiet_listener(on)
            client = on.peer(socket.socket())
            on.more = listener
            on.moves = iter([client.connect_ex(listener.getsockname())])

        def finish(on: stage, req: tevent_req) -> int:
            fd, listener, peer, err = accept_recv(req)
            if fd != -1:
                os.close(fd)
            assert (fd == -1) == (listener is None) == (peer is None) == (err != 0)
            return err

        sweep_bsd(act(scene, lambda on: accept_send(on.owner, on.ev, on.more.fileno()), finish))

    @pytest.mark.parametrize("check_errors", [False, True])
    def test_wait_for_read(self, check_errors: bool) -> None:
        """Somebody who waits for something to read."""

        def finish(on: stage, req: tevent_req) -> int:
            good, err = wait_for_read_recv(req)
            assert good == (err == 0)
            return err

        sweep_bsd(act(after(lambda peer: peer.send(b"x")), waits(wait_for_read_send, check_errors), finish))

    def test_wait_for_error(self) -> None:
        """Somebody who waits for the end."""

        def finish(on: stage, req: tevent_req) -> int:
            err = wait_for_error_recv(req)
            return 0 if err == EPIPE else err

        sweep_bsd(act(after(socket.socket.close), waits(wait_for_error_send), finish, {"poll": anything}))

    def test_writev(self) -> None:
        """A write of a vector."""

        def start(on: stage) -> tevent_req | None:
            _, mine, queue = on.more
            return writev_send(on.owner, on.ev, queue, mine.fileno(), False, [b"ab", b"cde"])

        def finish(on: stage, req: tevent_req) -> int:
            err = received(*writev_recv(req), 5)
            assert err or on.more[0].recv(10) == b"abcde"
            return err

        sweep_bsd(act(stream_ends, start, finish, {"write": retried_without_memory}, cancels=True))

    def test_read_packet(self) -> None:
        """A packet of which a function says how much is still to come."""

        def more(data: Any, _private: object) -> int:
            return 4 - len(data)

        def scene(on: stage) -> None:
            stream_ends(on)
            on.moves = (on.more[0].send(part) for part in (b"a", b"bc", b"d"))

        def finish(on: stage, req: tevent_req) -> int:
            size, buf, err = read_packet_recv(req, None)
            assert (size, buf) in ((4, b"abcd"), (-1, None))
            talloc_free(buf)
            return err

        sweep_bsd(act(scene, waits(read_packet_send, 2, more, None), finish, {"read": retried_without_memory}))


def retried_without_memory(err: int) -> frozenset[int]:
    """As `retried`, but here lack of memory and a thing in progress are errors like all others."""
    return frozenset((0 if err in (EAGAIN, EINTR) else err,))


def dgrams(on: stage) -> None:
    """A scene: two datagram sockets that are connected with each other."""
    mine, peer = socket.socketpair(type=socket.SOCK_DGRAM)
    mine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    mine.setblocking(False)
    on.peer(peer)
    ret, on.target = tdgram_bsd_existing_socket(on.mem_ctx, mine.detach())
    assert ret == 0


def udp(on: stage) -> None:
    """A scene: two UDP sockets; the peer is not connected."""
    peer = on.peer(socket.socket(type=socket.SOCK_DGRAM))
    peer.bind(("127.0.0.1", 0))
    ret, on.target = tdgram_inet_udp_socket(inet(on.mem_ctx), None, on.mem_ctx)
    assert ret == 0
    sent = tdgram_sendto_send(on.mem_ctx, on.ev, on.target, b"hello", inet(on.mem_ctx, peer.getsockname()[1]))
    assert sent is not None
    talloc_free(sent)
    on.more = peer.recvfrom(10)[1]


def full(on: stage) -> None:
    """A scene: `dgrams`, whose peer has as much to read as it takes, and reads it one by one."""
    dgrams(on)
    (peer,) = on.peers
    with pytest.raises(BlockingIOError):
        while True:
            os.write(on.target.transport.fd, b"x")

    def moves() -> Any:
        while True:
            yield peer.recv(100)

    on.moves = moves()


#: The socket object around a descriptor is made when it is needed, as part of the transfer.
TRANSFER = {"socket object": retried, "ioctl": retried}


class TestDatagrams:
    @pytest.mark.parametrize("optimize", [False, True], ids=["", "optimized"])
    def test_recvfrom(self, optimize: bool) -> None:
        """A datagram that is waited for."""

        def scene(on: stage) -> None:
            dgrams(on)
            tdgram_bsd_optimize_recvfrom(on.target, optimize)
            on.moves = map(on.peers[0].send, [b"datagram"])

        sweep_bsd(act(scene, self.start, self.finish, {**TRANSFER, "poll": anything}))

    def test_recvfrom_udp(self) -> None:
        """A datagram from anywhere, twice there and taken once."""

        def scene(on: stage) -> None:
            udp(on)
            (peer,) = on.peers
            on.moves = (peer.sendto(b"datagram", on.more) for _ in range(2))

        sweep_bsd(act(scene, self.start, self.finish, {**TRANSFER, "poll": anything}))

    def test_recvfrom_netlink(self) -> None:
        """The kernel's answer to a question, whose size is found in another way."""

        def scene(on: stage) -> None:
            sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
            sock.setblocking(False)
            # RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, of any family
            sock.send(struct.pack("=IHHII", 17, 18, 0x301, 1, 0) + bytes(1))
            ret, on.target = tdgram_bsd_existing_socket(on.mem_ctx, sock.detach())
            assert ret == 0

        def finish(on: stage, req: tevent_req) -> int:
            ret, err, buf, source = tdgram_recvfrom_recv(req, None)
            assert (ret > 0 and not err) or (ret == -1 and err)
            talloc_free(buf)
            talloc_free(source)
            return err

        names = sweep_bsd(act(scene, self.start, finish, TRANSFER))
        assert not any("(ioctl)" in name for name in names)

    @staticmethod
    def start(on: stage) -> tevent_req | None:
        """Wait for a datagram."""
        return tdgram_recvfrom_send(on.owner, on.ev, on.target)

    @staticmethod
    def finish(on: stage, req: tevent_req) -> int:
        """It was the right one."""
        ret, err, buf, source = tdgram_recvfrom_recv(req, None)
        assert (buf, source is None) in ((b"datagram", False), (None, True))
        talloc_free(buf)
        talloc_free(source)
        return received(ret, err, 8)

    def test_sendto(self) -> None:
        """A datagram for which there is no room yet."""
        sweep_bsd(
            act(
                full,
                lambda on: tdgram_sendto_send(on.owner, on.ev, on.target, b"datagram", None),
                lambda on, req: received(*tdgram_sendto_recv(req), 8),
                TRANSFER,
            )
        )

    def test_sendto_queue(self) -> None:
        """A datagram behind another one."""

        def start(on: stage) -> tevent_req | None:
            queue = tevent_queue_create(on.target, "datagrams")
            assert queue is not None
            ahead = tdgram_sendto_queue_send(on.target, on.ev, on.target, queue, b"ahead", None)
            assert ahead is not None
            tevent_req_set_callback(ahead, lambda req: talloc_free(req), None)
            return tdgram_sendto_queue_send(on.owner, on.ev, on.target, queue, b"datagram", None)

        # An error is that of one datagram and not of the socket.
        verdicts = dict.fromkeys(("write", "fd event", "socket object"), exact_or_harmless_retried)
        sweep_bsd(act(full, start, lambda on, req: received(*tdgram_sendto_queue_recv(req), 8), verdicts))

    def test_large_datagram(self) -> None:
        """A datagram for which the send buffer has to be made bigger first."""
        names = sweep_bsd(
            act(
                dgrams,
                lambda on: tdgram_sendto_send(on.owner, on.ev, on.target, bytes(400_000), None),
                lambda on, req: received(*tdgram_sendto_recv(req), 400_000),
                {**TRANSFER, "setsockopt": lambda _err: frozenset((EMSGSIZE,))},
            )
        )
        assert any("(setsockopt)" in name for name in names)

    def test_disconnect(self) -> None:
        """A disconnect; what close(2) says is its result."""
        sweep_bsd(
            act(
                dgrams,
                lambda on: tdgram_disconnect_send(on.owner, on.ev, on.target),
                lambda on, req: received(*tdgram_disconnect_recv(req), 0),
                {"close": exact},
            )
        )


def exact_or_harmless_retried(err: int) -> frozenset[int]:
    """What fails is the datagram ahead, or that under test."""
    return frozenset((0, ENOMEM, err))


def result_of(made: tuple[int, Any]) -> int:
    """The errno of a function that returns 0 and what it made, or -1 and None."""
    ret, ptr = made
    assert (ret, ptr is None) in ((0, False), (-1, True))
    return 0 if ret == 0 else get_errno()


class TestFunctions:
    def test_socketpair(self) -> None:
        """Two streams, or none and nothing of them."""

        def make(mem_ctx: TALLOC_CTX) -> int:
            ret, one, two = tstream_unix_socketpair(mem_ctx, mem_ctx)
            assert (one is None) == (two is None)
            return result_of((ret, one))

        names = sweep_calls(make, {})
        assert any("(fcntl)" in name for name in names)

    @pytest.mark.parametrize("port", [0, 9])
    def test_udp_socket(self, port: int) -> None:
        """A UDP socket that is connected, or not; what connect(2) fails with is the errno, even EINPROGRESS."""

        def make(mem_ctx: TALLOC_CTX) -> int:
            remote = inet(mem_ctx, port) if port else None
            return result_of(tdgram_inet_udp_socket(inet(mem_ctx), remote, mem_ctx))

        sweep_calls(make, {})

    def test_broadcast_socket(self) -> None:
        """A UDP socket that may broadcast."""
        names = sweep_calls(lambda mem_ctx: result_of(tdgram_inet_udp_broadcast_socket(inet(mem_ctx), mem_ctx)), {})
        assert any("(setsockopt)" in name for name in names)

    def test_unix_socket(self, tmp_path: pathlib.Path) -> None:
        """A unix socket on a path that is new each time."""
        numbers = itertools.count()

        def make(mem_ctx: TALLOC_CTX) -> int:
            return result_of(tdgram_unix_socket(unix(mem_ctx, str(tmp_path / str(next(numbers)))), None, mem_ctx))

        sweep_calls(make, {})

    def test_pending_bytes(self) -> None:
        """How many bytes there are is not known, and that is what the stream is told of from then on."""

        def make(mem_ctx: TALLOC_CTX) -> int:
            mine, peer = socket.socketpair()
            with peer:
                _, stream = tstream_bsd_existing_socket(mem_ctx, mine.detach())
                assert stream is not None
                if tstream_pending_bytes(stream) == 0:
                    return 0
                err = get_errno()
                assert (tstream_pending_bytes(stream), get_errno()) == (-1, err)
                return err

        sweep_calls(make, {"poll": lambda _err: frozenset((EPIPE,))})
