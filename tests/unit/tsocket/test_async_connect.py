# SPDX-License-Identifier: LGPL-3.0-or-later
"""Connecting a socket that the caller has made."""

from __future__ import annotations

import os
import socket
from errno import EAFNOSUPPORT, EBADF, ECONNREFUSED, EINVAL, EIO, EISCONN, ENOENT, ENOMEM, ENOTSOCK, ETIMEDOUT
from typing import TYPE_CHECKING, Any

import pytest
from stream_kit import Loop, is_open

from talloc_py import (
    TALLOC_CTX,
    talloc_free,
    talloc_new,
    talloc_set_abort_fn,
    talloc_set_memlimit,
    talloc_total_blocks,
)
from tevent import (
    TEVENT_REQ_RECEIVED,
    tevent_req_is_error,
    tevent_req_is_in_progress,
    tevent_req_set_endtime,
    timeval,
)
from tsocket import _async, _sys, async_connect_recv, async_connect_send, sockaddr

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A TCP listener."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    """A TCP socket, blocking as Python makes it."""
    with socket.socket() as made:
        yield made


def dead_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


def connect(loop: Loop, top: TALLOC_CTX | None, fd: int, family: int, address: Any, **hooks: Any) -> Any:
    return async_connect_send(
        top,
        loop.ev,
        fd,
        sockaddr(family, address),
        hooks.get("before"),
        hooks.get("after"),
        hooks.get("private_data"),
    )


def test_tcp(top: TALLOC_CTX, loop: Loop, server: socket.socket, sock: socket.socket) -> None:
    """A TCP connection takes a turn of the loop; the socket stays the caller's, as it was."""
    req = connect(loop, top, sock.fileno(), socket.AF_INET, server.getsockname())
    assert tevent_req_is_in_progress(req)
    assert not os.get_blocking(sock.fileno())
    blocking: list[bool] = []
    seen = loop.watch(req, async_connect_recv, then=lambda _: blocking.append(os.get_blocking(sock.fileno())))
    loop.until(lambda: seen.calls)
    assert seen.result == (0, 0)
    assert blocking == [True]
    assert sock.getpeername() == server.getsockname()


def test_unix(top: TALLOC_CTX, loop: Loop, tmp_path: Path) -> None:
    """A unix connection is there at once; the callback comes from the loop even so."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(path)
        listener.listen()
        req = connect(loop, top, client.fileno(), socket.AF_UNIX, path)
        assert not tevent_req_is_in_progress(req)
        assert os.get_blocking(client.fileno())
        seen = loop.watch(req, async_connect_recv)
        assert seen.calls == 0
        loop.turn()
        assert seen.result == (0, 0)
        assert client.getpeername() == path


def test_ipv6_and_udp(top: TALLOC_CTX, loop: Loop) -> None:
    """Any kind of socket, any family."""
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as peer,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock,
    ):
        peer.bind(("::1", 0))
        req = connect(loop, top, sock.fileno(), socket.AF_INET6, peer.getsockname())
        assert async_connect_recv(req) == (0, 0)
        assert sock.getpeername() == peer.getsockname()


def test_family_that_the_library_does_not_know(top: TALLOC_CTX, loop: Loop) -> None:
    """An address of another family goes to the system as it is."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        assert async_connect_recv(connect(loop, top, sock.fileno(), socket.AF_NETLINK, (0, 0))) == (0, 0)
        with pytest.raises(TypeError):
            connect(loop, top, sock.fileno(), socket.AF_NETLINK, "no pair")
        assert talloc_total_blocks(top) > 0


class TestErrors:
    def test_refused(self, top: TALLOC_CTX, loop: Loop, sock: socket.socket) -> None:
        """Nobody listens: known only later."""
        req = connect(loop, top, sock.fileno(), socket.AF_INET, ("127.0.0.1", dead_port()))
        assert tevent_req_is_in_progress(req)
        seen = loop.watch(req, async_connect_recv)
        loop.until(lambda: seen.calls)
        assert seen.result == (-1, ECONNREFUSED)
        assert os.get_blocking(sock.fileno())
        assert loop.settle() == 0

    def test_at_once(self, top: TALLOC_CTX, loop: Loop, tmp_path: Path) -> None:
        """An error of connect(2) finishes the request inside `_send`."""
        with socket.socket(socket.AF_UNIX) as sock:
            req = connect(loop, top, sock.fileno(), socket.AF_UNIX, str(tmp_path / "missing"))
            assert not tevent_req_is_in_progress(req)
            seen = loop.watch(req, async_connect_recv)
            loop.turn()
            assert seen.result == (-1, ENOENT)
            assert os.get_blocking(sock.fileno())

    def test_connected_already(self, top: TALLOC_CTX, loop: Loop, server: socket.socket) -> None:
        """A socket is connected once."""
        with socket.create_connection(server.getsockname()) as sock:
            req = connect(loop, top, sock.fileno(), socket.AF_INET, server.getsockname())
            assert async_connect_recv(req) == (-1, EISCONN)

    @pytest.mark.parametrize(
        ("family", "address"),
        [
            (socket.AF_INET, ("localhost", 1)),
            (socket.AF_INET6, ("127.0.0.1", 1)),
            (socket.AF_UNIX, "x" * 200),
            (socket.AF_UNIX, "a\0b"),
        ],
    )
    def test_address_that_cannot_be_used(
        self, top: TALLOC_CTX, loop: Loop, sock: socket.socket, family: int, address: Any
    ) -> None:
        """No name is looked up, nothing is cut: EINVAL, and no hook is called."""
        calls: list[Any] = []

        def hook(fd: int, private_data: Any) -> None:
            calls.append(fd)

        req = connect(loop, top, sock.fileno(), family, address, before=hook, after=hook)
        assert not tevent_req_is_in_progress(req)
        assert async_connect_recv(req) == (-1, EINVAL)
        assert calls == []
        assert os.get_blocking(sock.fileno())

    def test_family_of_another_socket(self, top: TALLOC_CTX, loop: Loop, sock: socket.socket) -> None:
        """The system's errno."""
        req = connect(loop, top, sock.fileno(), socket.AF_INET6, ("::1", 1))
        assert async_connect_recv(req) == (-1, EAFNOSUPPORT)

    def test_descriptor_that_is_none(self, top: TALLOC_CTX, loop: Loop) -> None:
        """A bad descriptor is found out before anything is done."""
        for fd in (-1, 10_000):
            req = connect(loop, top, fd, socket.AF_INET, ("127.0.0.1", 1))
            assert not tevent_req_is_in_progress(req)
            seen = loop.watch(req, async_connect_recv)
            loop.turn()
            assert seen.result == (-1, EBADF)

    def test_descriptor_that_is_no_socket(self, top: TALLOC_CTX, loop: Loop) -> None:
        """A pipe is ENOTSOCK, and gets its flags back."""
        reader, writer = os.pipe()
        req = connect(loop, top, reader, socket.AF_INET, ("127.0.0.1", 1))
        assert async_connect_recv(req) == (-1, ENOTSOCK)
        assert os.get_blocking(reader)
        os.close(reader)
        os.close(writer)

    def test_flags_that_cannot_be_changed(
        self, top: TALLOC_CTX, loop: Loop, sock: socket.socket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The errno of that call."""

        def refuse(*_: Any) -> None:
            raise OSError(EIO, "no")

        monkeypatch.setattr(_sys, "set_blocking", refuse)
        req = connect(loop, top, sock.fileno(), socket.AF_INET, ("127.0.0.1", 1))
        assert async_connect_recv(req) == (-1, EIO)

    def test_no_memory(self, top: TALLOC_CTX, loop: Loop, server: socket.socket, sock: socket.socket) -> None:
        """Without memory for the request there is none; without memory to wait with it ends with ENOMEM."""
        limited = talloc_new(top)
        talloc_set_memlimit(limited, 1)
        assert connect(loop, limited, sock.fileno(), socket.AF_INET, server.getsockname()) is None
        with pytest.MonkeyPatch.context() as monkey:
            monkey.setattr(_async, "tevent_add_fd", lambda *_: None)
            req = connect(loop, top, sock.fileno(), socket.AF_INET, server.getsockname())
        assert not tevent_req_is_in_progress(req)
        assert async_connect_recv(req) == (-1, ENOMEM)
        assert os.get_blocking(sock.fileno())


class TestHooks:
    def test_around_connect(self, top: TALLOC_CTX, loop: Loop, server: socket.socket, sock: socket.socket) -> None:
        """Before and after connect(2), with the descriptor and the private data."""
        calls: list[Any] = []

        def before(fd: int, private_data: Any) -> None:
            calls.append(("before", fd, private_data, os.get_blocking(fd)))
            assert sock.getsockname()[1] == 0

        def after(fd: int, private_data: Any) -> None:
            calls.append(("after", fd, private_data, os.get_blocking(fd)))
            assert sock.getsockname()[1] != 0

        marker = object()
        req = connect(
            loop,
            top,
            sock.fileno(),
            socket.AF_INET,
            server.getsockname(),
            before=before,
            after=after,
            private_data=marker,
        )
        assert calls == [("before", sock.fileno(), marker, False), ("after", sock.fileno(), marker, False)]
        talloc_free(req)

    def test_after_a_failed_connect(self, top: TALLOC_CTX, loop: Loop, tmp_path: Path) -> None:
        """The second function is called even then, and cannot change the outcome by its errno."""
        calls: list[int] = []

        def after(fd: int, private_data: Any) -> None:
            from tsocket import set_errno

            set_errno(0)
            calls.append(fd)

        with socket.socket(socket.AF_UNIX) as sock:
            req = connect(loop, top, sock.fileno(), socket.AF_UNIX, str(tmp_path / "missing"), after=after)
            assert async_connect_recv(req) == (-1, ENOENT)
            assert calls == [sock.fileno()]

    @pytest.mark.parametrize("which", ["before", "after"])
    def test_raises(self, top: TALLOC_CTX, loop: Loop, server: socket.socket, sock: socket.socket, which: str) -> None:
        """The exception passes, no request remains, and the flags are as before."""
        blocks = talloc_total_blocks(top)

        def hook(fd: int, private_data: Any) -> None:
            raise LookupError(which)

        with pytest.raises(LookupError):
            connect(loop, top, sock.fileno(), socket.AF_INET, server.getsockname(), **{which: hook})
        assert talloc_total_blocks(top) == blocks
        assert os.get_blocking(sock.fileno())

    @pytest.mark.parametrize("which", ["before", "after"])
    @pytest.mark.parametrize("raises", [False, True])
    def test_frees_the_owner(
        self, top: TALLOC_CTX, loop: Loop, server: socket.socket, sock: socket.socket, which: str, raises: bool
    ) -> None:
        """A function that frees the request's owner ends it: there is no request to be returned."""
        owner = talloc_new(top)

        def hook(fd: int, private_data: Any) -> None:
            talloc_free(owner)
            if raises:
                raise LookupError(which)

        arguments = (loop, owner, sock.fileno(), socket.AF_INET, server.getsockname())
        if raises:
            with pytest.raises(LookupError):
                connect(*arguments, **{which: hook})
        else:
            assert connect(*arguments, **{which: hook}) is None
        assert os.get_blocking(sock.fileno())
        assert loop.settle() == 0


class TestEnds:
    def test_free(self, top: TALLOC_CTX, loop: Loop, server: socket.socket, sock: socket.socket) -> None:
        """A request that is freed restores the flags and closes nothing."""
        req = connect(loop, top, sock.fileno(), socket.AF_INET, server.getsockname())
        seen = loop.watch(req)
        talloc_free(req)
        assert os.get_blocking(sock.fileno())
        assert is_open(sock.fileno())
        assert loop.settle() == 0
        assert seen.calls == 0

    def test_flags_of_a_non_blocking_socket(
        self, top: TALLOC_CTX, loop: Loop, server: socket.socket, sock: socket.socket
    ) -> None:
        """What was non-blocking stays so."""
        sock.setblocking(False)
        seen = loop.watch(connect(loop, top, sock.fileno(), socket.AF_INET, server.getsockname()), async_connect_recv)
        loop.until(lambda: seen.calls)
        assert not os.get_blocking(sock.fileno())

    def test_receive_in_progress(self, top: TALLOC_CTX, loop: Loop, server: socket.socket, sock: socket.socket) -> None:
        """Receiving early is EINVAL, and ends the request."""
        req = connect(loop, top, sock.fileno(), socket.AF_INET, server.getsockname())
        assert async_connect_recv(req) == (-1, EINVAL)
        assert tevent_req_is_error(req)[1] == TEVENT_REQ_RECEIVED
        assert async_connect_recv(req) == (-1, EINVAL)
        assert os.get_blocking(sock.fileno())

    def test_timeout(self, top: TALLOC_CTX, loop: Loop, server: socket.socket, sock: socket.socket) -> None:
        """A connect that takes too long, with its flags restored before the callback."""
        req = connect(loop, top, sock.fileno(), socket.AF_INET, server.getsockname())
        tevent_req_set_endtime(req, loop.ev, timeval(0, 0))
        seen = loop.watch(req, async_connect_recv)
        loop.turn()
        assert seen.result == (-1, ETIMEDOUT)
        assert os.get_blocking(sock.fileno())

    def test_descriptor_closed_meanwhile(
        self, top: TALLOC_CTX, loop: Loop, server: socket.socket, sock: socket.socket
    ) -> None:
        """Then there are no flags to be restored."""
        req = connect(loop, top, sock.fileno(), socket.AF_INET, server.getsockname())
        sock.close()
        assert talloc_free(req) == 0

    def test_context_of_a_connection_without_an_owner(
        self, loop: Loop, server: socket.socket, sock: socket.socket
    ) -> None:
        """No owner is needed."""
        req = connect(loop, None, sock.fileno(), socket.AF_INET, server.getsockname())
        loop.until(lambda: not tevent_req_is_in_progress(req))
        assert async_connect_recv(req) == (0, 0)
        talloc_free(req)


class TestWrongTypes:
    @pytest.mark.parametrize(
        ("place", "bad", "text"),
        [
            (1, None, "tevent_context"),
            (2, "3", "file descriptor"),
            (3, ("127.0.0.1", 1), "sockaddr"),
            (3, None, "sockaddr"),
            (3, sockaddr(socket.AF_INET, "127.0.0.1"), "tuple"),
            (4, "hook", "before_connect"),
            (5, 5, "after_connect"),
        ],
    )
    def test_send(self, top: TALLOC_CTX, loop: Loop, sock: socket.socket, place: int, bad: Any, text: str) -> None:
        """The error names the argument, and no request remains."""
        blocks = talloc_total_blocks(top)
        arguments: list[Any] = [
            top,
            loop.ev,
            sock.fileno(),
            sockaddr(socket.AF_INET, ("127.0.0.1", 1)),
            None,
            None,
            None,
        ]
        arguments[place] = bad
        with pytest.raises(TypeError, match=text):
            async_connect_send(*arguments)
        assert talloc_total_blocks(top) == blocks

    def test_freed_context(self, top: TALLOC_CTX, loop: Loop, sock: socket.socket) -> None:
        """A freed context goes to the abort function; if that returns there is no request."""
        talloc_free(loop.ev)
        talloc_set_abort_fn(lambda reason: None)
        try:
            assert connect(loop, top, sock.fileno(), socket.AF_INET, ("127.0.0.1", 1)) is None
        finally:
            talloc_set_abort_fn(None)

    def test_recv(self) -> None:
        """A request is a request."""
        with pytest.raises(TypeError):
            async_connect_recv(None)  # type: ignore[arg-type]
