# SPDX-License-Identifier: LGPL-3.0-or-later
"""What is wrong with a socket, as an errno."""

from __future__ import annotations

import os
import resource
import select
import socket
import struct
from errno import EBADF, ECONNREFUSED, ECONNRESET, ENOTSOCK, EPIPE
from typing import TYPE_CHECKING, Any

import pytest
from stream_kit import tcp_sockets

from tsocket import (
    get_errno,
    samba_socket_poll_error,
    samba_socket_poll_or_sock_error,
    samba_socket_sock_error,
    set_errno,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def gone(sock: socket.socket) -> None:
    """Wait until the kernel knows of the peer's end."""
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    assert poll.poll(20_000)


@pytest.fixture(params=["unix", "tcp"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    one, two = socket.socketpair() if request.param == "unix" else tcp_sockets()
    with one, two:
        yield one, two


def reset(pair: tuple[socket.socket, socket.socket]) -> None:
    """Close the peer so that an error is left at our side: unread data (unix), a reset (TCP)."""
    pair[0].send(b"x")
    pair[1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    pair[1].close()
    gone(pair[0])


def result(fn: Callable[[int], int], fd: int) -> tuple[int, int]:
    set_errno(0)
    return fn(fd), get_errno()


def test_nothing_wrong(pair: tuple[socket.socket, socket.socket]) -> None:
    """A healthy socket, with data or without, has no error."""
    for _ in range(2):
        fd = pair[0].fileno()
        assert samba_socket_poll_error(fd) == 0
        assert result(samba_socket_sock_error, fd) == (0, 0)
        assert result(samba_socket_poll_or_sock_error, fd) == (0, 0)
        pair[1].send(b"x")


def test_half_closed(pair: tuple[socket.socket, socket.socket]) -> None:
    """A peer that writes no more."""
    pair[1].shutdown(socket.SHUT_WR)
    gone(pair[0])
    fd = pair[0].fileno()
    assert samba_socket_poll_error(fd) == select.POLLRDHUP
    assert result(samba_socket_sock_error, fd) == (0, 0)
    assert result(samba_socket_poll_or_sock_error, fd) == (-1, ECONNRESET)


def test_closed_unix() -> None:
    """A unix peer that is gone is a hang-up."""
    one, two = socket.socketpair()
    with one:
        two.close()
        fd = one.fileno()
        assert samba_socket_poll_error(fd) == select.POLLHUP
        assert result(samba_socket_poll_or_sock_error, fd) == (-1, EPIPE)


def test_closed_tcp() -> None:
    """A TCP peer that is gone has only closed its half, as far as one can see."""
    one, two = tcp_sockets()
    with one:
        two.close()
        gone(one)
        fd = one.fileno()
        assert samba_socket_poll_error(fd) == select.POLLRDHUP
        assert result(samba_socket_poll_or_sock_error, fd) == (-1, ECONNRESET)


def test_pending_error(pair: tuple[socket.socket, socket.socket]) -> None:
    """An error that waits on the socket goes first, and is told once; asking what is wrong does not take it."""
    reset(pair)
    fd = pair[0].fileno()
    assert samba_socket_poll_error(fd) == select.POLLERR
    assert samba_socket_poll_error(fd) == select.POLLERR
    assert result(samba_socket_sock_error, fd) == (-1, ECONNRESET)
    assert result(samba_socket_sock_error, fd) == (0, 0)


def test_pending_error_of_either(pair: tuple[socket.socket, socket.socket]) -> None:
    """The error itself is what is wrong; once it is taken, the hang-up is."""
    reset(pair)
    fd = pair[0].fileno()
    assert result(samba_socket_poll_or_sock_error, fd) == (-1, ECONNRESET)
    assert result(samba_socket_poll_or_sock_error, fd) == (-1, EPIPE)


def test_refused_datagram() -> None:
    """The error of a datagram that nobody took."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.bind(("127.0.0.1", 0))
            sock.connect(peer.getsockname())
        sock.send(b"x")
        poll = select.poll()
        poll.register(sock, 0)
        assert poll.poll(20_000)
        assert result(samba_socket_poll_or_sock_error, sock.fileno()) == (-1, ECONNREFUSED)
        assert result(samba_socket_poll_or_sock_error, sock.fileno()) == (0, 0)


def test_pipe() -> None:
    """A pipe has conditions but no errors of its own."""
    reader, writer = os.pipe()
    try:
        assert samba_socket_poll_error(reader) == samba_socket_poll_error(writer) == 0
        assert result(samba_socket_sock_error, reader) == (-1, ENOTSOCK)
        os.close(writer)
        assert samba_socket_poll_error(reader) == select.POLLHUP
        assert result(samba_socket_poll_or_sock_error, reader) == (-1, EPIPE)
    finally:
        os.close(reader)


def test_pipe_without_reader() -> None:
    """An error of what is no socket is ENOTSOCK."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert samba_socket_poll_error(writer) == select.POLLERR
        assert result(samba_socket_poll_or_sock_error, writer) == (-1, ENOTSOCK)
    finally:
        os.close(writer)


def test_error_without_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error condition whose error somebody else has taken is EPIPE."""
    from tsocket import _sys

    monkeypatch.setattr(_sys, "poll", lambda fd, events: select.POLLERR)
    one, two = socket.socketpair()
    with one, two:
        assert result(samba_socket_poll_or_sock_error, one.fileno()) == (-1, EPIPE)


@pytest.mark.parametrize("fd", [-1, -2, -0x7FFFFFFF])
def test_negative(fd: int) -> None:
    """No descriptor, nothing wrong; but no socket either."""
    assert samba_socket_poll_error(fd) == 0
    assert result(samba_socket_poll_or_sock_error, fd) == (0, 0)
    assert result(samba_socket_sock_error, fd) == (-1, EBADF)


def test_not_open() -> None:
    """A number that is not open."""
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    assert samba_socket_poll_error(reader) == select.POLLNVAL
    assert result(samba_socket_poll_or_sock_error, reader) == (-1, EBADF)


def test_poll_fails(pair: tuple[socket.socket, socket.socket]) -> None:
    """What cannot be asked counts as a descriptor that is not open; its error is asked for all the same."""
    fd = pair[0].fileno()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # poll(2) takes no more descriptors than the process may have.
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        found = samba_socket_poll_error(fd), result(samba_socket_poll_or_sock_error, fd)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found == (select.POLLNVAL, (-1, EPIPE))


@pytest.mark.parametrize("fn", [samba_socket_poll_error, samba_socket_sock_error, samba_socket_poll_or_sock_error])
def test_wrong_types(fn: Any) -> None:
    """A descriptor is a number that fits a C int."""
    for bad in (None, "0", 1.5):
        with pytest.raises(TypeError, match="file descriptor is an int"):
            fn(bad)
    with pytest.raises(ValueError, match="C int"):
        fn(1 << 31)
