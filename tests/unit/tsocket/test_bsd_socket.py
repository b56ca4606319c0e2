# SPDX-License-Identifier: LGPL-3.0-or-later
"""The making of sockets for a pair of addresses, and the system calls below."""

from __future__ import annotations

import os
import resource
import socket
from errno import EADDRINUSE, EBADF, EFBIG, EINVAL, EIO, EMFILE, ENOTSOCK
from socket import AF_INET, AF_INET6, AF_UNIX, SOCK_DGRAM, SOCK_STREAM
from typing import TYPE_CHECKING, Any

import pytest
from stream_kit import is_open, open_fds

from talloc_py import TALLOC_CTX, talloc_parent
from tsocket import (
    _sys,
    get_errno,
    set_errno,
    tsocket_address_inet_from_strings,
    tsocket_address_string,
    tsocket_address_unix_from_path,
)
from tsocket.bsd_address import bsd_address
from tsocket.bsd_socket import RETRY, connect_socket, errno_of, open_socket, socket_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


HERE = (errno_of.__code__, 0)


def inet(top: TALLOC_CTX, host: str | None, port: int = 0, fam: str = "ip") -> bsd_address:
    _, addr = tsocket_address_inet_from_strings(top, fam, host, port)
    assert isinstance(addr, bsd_address)
    return addr


def unix(top: TALLOC_CTX, path: object) -> bsd_address:
    _, addr = tsocket_address_unix_from_path(top, str(path))
    assert isinstance(addr, bsd_address)
    return addr


class TestOpenSocket:
    @pytest.mark.parametrize("kind", [SOCK_STREAM, SOCK_DGRAM])
    def test_properties(self, top: TALLOC_CTX, kind: int) -> None:
        """Non-blocking, closed on exec, above the standard descriptors, with no options but those asked for."""
        fd = open_socket(inet(top, "127.0.0.1"), None, kind, False)
        with socket.socket(fileno=fd) as sock:
            assert fd > 2
            assert not os.get_inheritable(fd)
            assert not os.get_blocking(fd)
            assert sock.type == kind
            assert sock.family == AF_INET
            assert sock.getsockname()[0] == "127.0.0.1"
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
            if kind == SOCK_STREAM:
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0

    @pytest.mark.parametrize(
        ("local", "remote", "family", "only"),
        [
            (("0.0.0.0", 0), None, AF_INET, None),
            (("::", 0), None, AF_INET6, 1),
            (("0.0.0.0", 0), "::1", AF_INET6, 1),
            (("::", 0), "127.0.0.1", AF_INET, None),
            (("::", 0), "::1", AF_INET6, 1),
            (("0.0.0.0", 0), "127.0.0.1", AF_INET, None),
        ],
    )
    def test_family_of_an_unspecific_address(
        self, top: TALLOC_CTX, local: Any, remote: str | None, family: int, only: int | None
    ) -> None:
        """No host and no port: the peer's family, and no bind."""
        peer = None if remote is None else inet(top, remote, 9)
        fd = open_socket(inet(top, *local), peer, SOCK_STREAM, False)
        with socket.socket(fileno=fd) as sock:
            assert sock.family == family
            assert sock.getsockname()[1] == 0
            if only is not None:
                assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == only

    def test_port_alone_is_bound(self, top: TALLOC_CTX) -> None:
        """A port without a host fixes the family, and asks for the reuse of addresses."""
        with socket.socket(AF_INET, SOCK_STREAM) as other:
            other.bind(("127.0.0.1", 0))
            port = other.getsockname()[1]
        fd = open_socket(inet(top, "0.0.0.0", port), None, SOCK_STREAM, False)
        with socket.socket(fileno=fd) as sock:
            assert sock.getsockname() == ("0.0.0.0", port)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1
        set_errno(0)
        assert open_socket(inet(top, "0.0.0.0", port), inet(top, "::1", 9), SOCK_STREAM, False) == -1
        assert get_errno() == EINVAL

    def test_unix_peer_of_an_unspecific_address(self, top: TALLOC_CTX, tmp_path: Path) -> None:
        """A unix peer is taken too, as in C."""
        fd = open_socket(inet(top, "0.0.0.0"), unix(top, tmp_path / "s"), SOCK_STREAM, False)
        with socket.socket(fileno=fd) as sock:
            assert sock.family == AF_UNIX

    def test_unix_path(self, top: TALLOC_CTX, tmp_path: Path) -> None:
        """A path is bound, an empty one is not."""
        fd = open_socket(unix(top, tmp_path / "s"), None, SOCK_STREAM, False)
        with socket.socket(fileno=fd) as sock:
            assert sock.getsockname() == str(tmp_path / "s")
        fd = open_socket(unix(top, ""), None, SOCK_STREAM, False)
        with socket.socket(fileno=fd) as sock:
            assert sock.getsockname() == ""

    @pytest.mark.parametrize(
        ("local", "remote", "broadcast"),
        [
            (("127.0.0.1", 0), ("::1", 9), False),
            (("::1", 0), ("127.0.0.1", 9), False),
            (("::1", 0), None, True),
        ],
    )
    def test_addresses_that_do_not_fit(self, top: TALLOC_CTX, local: Any, remote: Any, broadcast: bool) -> None:
        """EINVAL, and nothing is left open."""
        before = open_fds()
        set_errno(0)
        peer = None if remote is None else inet(top, *remote)
        assert open_socket(inet(top, *local), peer, SOCK_DGRAM, broadcast) == -1
        assert get_errno() == EINVAL
        assert open_fds() == before

    def test_error_after_the_socket_was_made(self, top: TALLOC_CTX) -> None:
        """The errno is that of the call that failed, and the socket is closed."""
        with socket.socket(AF_INET, SOCK_STREAM) as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            before = open_fds()
            set_errno(0)
            assert open_socket(inet(top, *other.getsockname()), None, SOCK_STREAM, False) == -1
            assert get_errno() == EADDRINUSE
            assert open_fds() == before

    @pytest.mark.parametrize("call", ["create_socket", "above_stdio", "set_blocking", "set_option", "bind"])
    def test_each_call_may_fail(self, top: TALLOC_CTX, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
        """Whatever fails, its errno is told and nothing stays open."""

        def fail(first: int, *_: Any) -> int:
            if call == "above_stdio":
                os.close(first)
            raise OSError(EMFILE, "no")

        monkeypatch.setattr(_sys, call, fail)
        before = open_fds()
        set_errno(0)
        assert open_socket(inet(top, "::1", 4711), None, SOCK_DGRAM, False) == -1
        assert get_errno() == EMFILE
        assert open_fds() == before


class TestConnectSocket:
    def test_in_progress(self, top: TALLOC_CTX) -> None:
        """TCP takes its time."""
        from errno import EINPROGRESS

        with socket.create_server(("127.0.0.1", 0)) as server:
            peer = inet(top, *server.getsockname())
            fd = open_socket(inet(top, None), peer, SOCK_STREAM, False)
            with socket.socket(fileno=fd):
                assert connect_socket(fd, peer) == EINPROGRESS

    def test_errors(self, top: TALLOC_CTX, tmp_path: Path) -> None:
        """Each as its errno, also that of a descriptor that is none."""
        from errno import ENOENT

        assert connect_socket(-1, inet(top, None)) == EBADF
        reader, writer = os.pipe()
        assert connect_socket(reader, inet(top, None)) == ENOTSOCK
        os.close(reader)
        os.close(writer)
        with socket.socket(AF_UNIX, SOCK_DGRAM) as sock:
            assert connect_socket(sock.fileno(), unix(top, tmp_path / "missing")) == ENOENT


class TestSocketName:
    def test_of_a_socket(self, top: TALLOC_CTX) -> None:
        """The address that the system chose."""
        with socket.socket(AF_INET, SOCK_STREAM) as sock:
            sock.bind(("127.0.0.1", 0))
            addr = socket_name(top, sock.fileno(), HERE)
            port = sock.getsockname()[1]
        assert addr is not None
        assert talloc_parent(addr) is top
        assert tsocket_address_string(addr, top) == f"ipv4:127.0.0.1:{port}"

    def test_of_none(self, top: TALLOC_CTX) -> None:
        """What is not open has no name."""
        set_errno(0)
        assert socket_name(top, -1, HERE) is None
        assert get_errno() == EBADF


def test_errno_of_an_error_without_one() -> None:
    """An error is never taken for a success."""
    assert errno_of(OSError("no number")) == EIO
    assert errno_of(OSError(EMFILE, "")) == EMFILE


def test_what_is_tried_again() -> None:
    """The errnos that mean "wait and try again"."""
    import errno

    assert {errno.EINTR, errno.EAGAIN, errno.EWOULDBLOCK, errno.EINPROGRESS, errno.ENOMEM} == RETRY


CALLS: list[Callable[[int], object]] = [
    lambda fd: _sys.accept(fd),
    lambda fd: _sys.bind(fd, AF_UNIX, b"/nowhere/x"),
    lambda fd: _sys.connect(fd, AF_UNIX, b"/nowhere/x"),
    lambda fd: _sys.local_address(fd),
    lambda fd: _sys.set_option(fd, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1),
    lambda fd: _sys.socket_error(fd),
    lambda fd: _sys.sendmsg(fd, [b"x"]),
    lambda fd: _sys.recvmsg_into(fd, bytearray(1), 0),
]


class TestSystemCalls:
    def test_standard_descriptors_are_avoided(self) -> None:
        """A descriptor among the first three is moved up, closed on exec, and the original closed."""
        saved = os.dup(0)
        try:
            os.close(0)
            fd = _sys.create_socket(AF_UNIX, SOCK_STREAM)
            assert fd == 0
            moved = _sys.above_stdio(fd)
            assert moved > 2
            assert not is_open(0)
            assert not os.get_inheritable(moved)
            os.close(moved)
        finally:
            os.dup2(saved, 0)
            os.close(saved)

    def test_socket_pair(self) -> None:
        """Two connected descriptors, closed on exec."""
        one, two = _sys.socketpair(AF_UNIX, SOCK_STREAM)
        assert not os.get_inheritable(one)
        os.write(one, b"x")
        assert os.read(two, 2) == b"x"
        os.close(one)
        os.close(two)

    def test_others_stay(self) -> None:
        """Any other number is kept."""
        assert _sys.above_stdio(3) == 3

    def test_default_timeout(self) -> None:
        """Python's default timeout is set aside while a socket object is made, and restored."""
        socket.setdefaulttimeout(7)
        try:
            fd = _sys.create_socket(AF_UNIX, SOCK_STREAM)
            assert os.get_blocking(fd)
            sock = _sys.socket_around(fd)
            assert sock.gettimeout() is None
            sock.close()
            assert socket.getdefaulttimeout() == 7
        finally:
            socket.setdefaulttimeout(None)

    @pytest.mark.parametrize("call", CALLS)
    def test_descriptor_that_is_no_socket(self, call: Callable[[int], object]) -> None:
        """A pipe and a closed descriptor are told apart, and a borrowed descriptor is never closed."""
        reader, writer = os.pipe()
        try:
            for fd in (reader, writer):
                with pytest.raises(OSError) as caught:
                    call(fd)
                assert caught.value.errno == ENOTSOCK
                assert is_open(fd)
        finally:
            os.close(reader)
            os.close(writer)
        for fd in (reader, -1):
            with pytest.raises(OSError) as caught:
                call(fd)
            assert caught.value.errno == EBADF

    def test_file_in_memory_for_which_there_is_no_room(self) -> None:
        """The error is that of the write, and the descriptor is closed."""
        before = open_fds()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        try:
            with pytest.raises(OSError) as caught:
                _sys.memory_file(b"x")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert caught.value.errno == EFBIG
        assert open_fds() == before

    @pytest.mark.parametrize("call", [_sys.get_status_flags, _sys.bytes_readable])
    def test_no_descriptor(self, call: Callable[[int], object]) -> None:
        """A negative number is EBADF, not a ValueError."""
        with pytest.raises(OSError) as caught:
            call(-1)
        assert caught.value.errno == EBADF
