# SPDX-License-Identifier: LGPL-3.0-or-later
"""Accepting connections on a listener."""

from __future__ import annotations

import os
import socket
from errno import EAGAIN, EINVAL, EIO, ENOMEM, ENOTSOCK
from typing import TYPE_CHECKING, Any

import pytest
from stream_kit import Loop, is_open, open_fds

from talloc_py import (
    TALLOC_CTX,
    talloc_abort_error,
    talloc_free,
    talloc_new,
    talloc_set_abort_fn,
    talloc_set_memlimit,
)
from tevent import tevent_req, tevent_req_is_in_progress, tevent_req_received
from tsocket import accept_recv, accept_send, sockaddr

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def accept(loop: Loop, top: TALLOC_CTX | None, sock: socket.socket) -> Any:
    return accept_send(top, loop.ev, sock.fileno())


def test_connection(top: TALLOC_CTX, loop: Loop, server: socket.socket) -> None:
    """The new descriptor is blocking, closed on exec, and the caller's."""
    seen = loop.watch(accept(loop, top, server), accept_recv, free=True)
    assert loop.settle() == 0
    with socket.create_connection(server.getsockname()) as client:
        loop.until(lambda: seen.calls)
        fd, listener, peer, err = seen.result
        assert err == 0
        assert listener == server.fileno()
        assert peer == sockaddr(socket.AF_INET, client.getsockname())
        assert os.get_blocking(fd)
        assert not os.get_inheritable(fd)
        with socket.socket(fileno=fd) as sock:
            client.send(b"x")
            assert sock.recv(1) == b"x"
    assert is_open(server.fileno())


def test_ipv6(top: TALLOC_CTX, loop: Loop) -> None:
    """The address of an IPv6 peer has four items."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        seen = loop.watch(accept(loop, top, server), accept_recv)
        with socket.socket(socket.AF_INET6) as client:
            client.connect(server.getsockname())
            loop.until(lambda: seen.calls)
            os.close(seen.result[0])
            assert seen.result[2] == sockaddr(socket.AF_INET6, client.getsockname())


@pytest.mark.parametrize("name", ["", "client", b"\0accept-test"])
def test_unix(top: TALLOC_CTX, loop: Loop, tmp_path: Path, name: Any) -> None:
    """A unix peer without a name, with a path, with an abstract name."""
    if name == "client":
        name = str(tmp_path / name)
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(tmp_path / "s"))
        server.listen()
        if name:
            client.bind(name)
        client.connect(str(tmp_path / "s"))
        req = accept(loop, top, server)
        loop.turn()
        fd, _, peer, err = accept_recv(req)
        os.close(fd)
        assert (peer, err) == (sockaddr(socket.AF_UNIX, name), 0)


def test_one_connection_a_request(top: TALLOC_CTX, loop: Loop, server: socket.socket) -> None:
    """The next connection is the next request's."""
    clients = [socket.create_connection(server.getsockname()) for _ in range(2)]
    req = accept(loop, top, server)
    loop.until(lambda: not tevent_req_is_in_progress(req))
    assert loop.settle() == 0
    first = accept_recv(req)
    req = accept(loop, top, server)
    loop.until(lambda: not tevent_req_is_in_progress(req))
    second = accept_recv(req)
    assert [first[2], second[2]] == [sockaddr(socket.AF_INET, client.getsockname()) for client in clients]
    for fd in (first[0], second[0]):
        os.close(fd)
    for client in clients:
        client.close()


class TestErrors:
    def test_not_listening(self, top: TALLOC_CTX, loop: Loop) -> None:
        """EINVAL."""
        one, two = socket.socketpair()
        with one, two:
            two.send(b"x")
            seen = loop.watch(accept(loop, top, one), accept_recv)
            loop.turn()
            assert seen.result == (-1, None, None, EINVAL)

    def test_no_socket(self, top: TALLOC_CTX, loop: Loop) -> None:
        """ENOTSOCK."""
        reader, writer = os.pipe()
        os.write(writer, b"x")
        req = accept_send(top, loop.ev, reader)
        assert req is not None
        loop.turn()
        assert accept_recv(req) == (-1, None, None, ENOTSOCK)
        os.close(reader)
        os.close(writer)

    def test_somebody_else_was_faster(
        self, top: TALLOC_CTX, loop: Loop, server: socket.socket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A connection that is gone is an error, and no reason to wait on."""
        from tsocket import _sys

        def late(fd: int) -> Any:
            raise BlockingIOError(EAGAIN, "gone")

        monkeypatch.setattr(_sys, "accept", late)
        req = accept(loop, top, server)
        with socket.create_connection(server.getsockname()):
            loop.until(lambda: not tevent_req_is_in_progress(req))
        assert accept_recv(req) == (-1, None, None, EAGAIN)

    def test_no_memory(self, top: TALLOC_CTX, loop: Loop, server: socket.socket) -> None:
        """No request; and for what cannot be waited for ENOMEM."""
        limited = talloc_new(top)
        talloc_set_memlimit(limited, 1)
        assert accept(loop, limited, server) is None
        req = accept_send(top, loop.ev, -1)
        assert req is not None
        assert not tevent_req_is_in_progress(req)
        assert accept_recv(req) == (-1, None, None, ENOMEM)

    def test_wrong_types(self, top: TALLOC_CTX, loop: Loop, server: socket.socket) -> None:
        """A context is a context, a descriptor a number."""
        with pytest.raises(TypeError, match="tevent_context"):
            accept_send(top, None, server.fileno())  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="file descriptor"):
            accept_send(top, loop.ev, server)  # type: ignore[arg-type]


class TestEnds:
    @pytest.mark.parametrize("how", [talloc_free, tevent_req_received])
    def test_connection_that_nobody_received(
        self, top: TALLOC_CTX, loop: Loop, server: socket.socket, how: Any
    ) -> None:
        """It is closed with the request."""
        with socket.create_connection(server.getsockname()) as client:
            before = open_fds()
            req = accept(loop, top, server)
            loop.until(lambda: not tevent_req_is_in_progress(req))
            assert open_fds() == before + 1
            how(req)
            assert open_fds() == before
            assert client.recv(1) == b""

    def test_connection_that_nobody_received_and_close_fails(
        self, top: TALLOC_CTX, loop: Loop, server: socket.socket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The request goes without a word; an exception in its destructor would be reported, and fail this."""
        from tsocket import _sys

        def close(fd: int) -> None:
            os.close(fd)
            raise OSError(EIO, "what was written is lost")

        monkeypatch.setattr(_sys, "close", close)
        with socket.create_connection(server.getsockname()) as client:
            req = accept(loop, top, server)
            loop.until(lambda: not tevent_req_is_in_progress(req))
            assert talloc_free(req) == 0
            assert client.recv(1) == b""

    def test_free_in_progress(self, top: TALLOC_CTX, loop: Loop, server: socket.socket) -> None:
        """A request that is freed takes no connection."""
        req = accept(loop, top, server)
        talloc_free(req)
        with socket.create_connection(server.getsockname()):
            assert loop.settle() == 0

    def test_early_and_twice(self, top: TALLOC_CTX, loop: Loop, server: socket.socket) -> None:
        """Receiving early is EINVAL; a second time goes to the abort function."""
        req = accept(loop, top, server)
        assert accept_recv(req) == (-1, None, None, EINVAL)
        with pytest.raises(talloc_abort_error, match="accept_state"):
            accept_recv(req)
        talloc_set_abort_fn(lambda reason: None)
        try:
            assert accept_recv(req) == (-1, None, None, EINVAL)
        finally:
            talloc_set_abort_fn(None)

    def test_next_from_the_callback(self, top: TALLOC_CTX, loop: Loop, server: socket.socket) -> None:
        """A server accepts on."""
        fds: list[int] = []

        def take(req: tevent_req) -> None:
            fds.append(accept_recv(req)[0])

        def start(_: tevent_req | None = None) -> None:
            loop.watch(accept(loop, top, server), take, free=True, then=start)

        start()
        clients = [socket.create_connection(server.getsockname()) for _ in range(3)]
        loop.until(lambda: len(fds) == 3)
        for fd in fds:
            os.close(fd)
        for client in clients:
            client.close()
