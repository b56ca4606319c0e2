# SPDX-License-Identifier: LGPL-3.0-or-later
"""Waiting for something to read, and for the end of a connection."""

from __future__ import annotations

import os
import select
import socket
import struct
from errno import ECONNRESET, EINVAL, EIO, ENOMEM, EPIPE, ETIMEDOUT
from typing import TYPE_CHECKING, Any

import pytest
from stream_kit import Loop, is_open, tcp_sockets

from talloc_py import TALLOC_CTX, talloc_free, talloc_new, talloc_set_abort_fn, talloc_set_memlimit, talloc_total_blocks
from tevent import tevent_req_cancel, tevent_req_is_in_progress, tevent_req_set_endtime, timeval
from tsocket import (
    _sys,
    wait_for_error_recv,
    wait_for_error_send,
    wait_for_read_recv,
    wait_for_read_send,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=["unix", "tcp"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    one, two = socket.socketpair() if request.param == "unix" else tcp_sockets()
    with one, two:
        yield one, two


def happened(sock: socket.socket, mask: int = select.POLLIN | select.POLLRDHUP) -> None:
    poll = select.poll()
    poll.register(sock, mask)
    assert poll.poll(20_000)


class TestWaitForRead:
    @pytest.mark.parametrize("check", [False, True])
    def test_data(self, top: TALLOC_CTX, loop: Loop, pair: Pair, check: bool) -> None:
        """Data ends the wait and stays where it is."""
        req = wait_for_read_send(top, loop.ev, pair[0].fileno(), check)
        seen = loop.watch(req, wait_for_read_recv)
        assert loop.settle() == 0
        assert tevent_req_is_in_progress(req)
        pair[1].send(b"x")
        happened(pair[0])
        loop.turn()
        assert seen.result == (True, 0)
        assert loop.settle() == 0
        assert pair[0].recv(10) == b"x"

    @pytest.mark.parametrize(("check", "result"), [(False, (True, 0)), (True, (False, EPIPE))])
    def test_end(self, top: TALLOC_CTX, loop: Loop, pair: Pair, check: bool, result: Any) -> None:
        """The end of the stream is readable, unless errors are looked for."""
        seen = loop.watch(wait_for_read_send(top, loop.ev, pair[0].fileno(), check), wait_for_read_recv)
        pair[1].close()
        happened(pair[0])
        loop.turn()
        assert seen.result == result

    def test_data_before_the_end(self, top: TALLOC_CTX, loop: Loop, pair: Pair) -> None:
        """As long as there is data, there is data."""
        pair[1].send(b"x")
        pair[1].close()
        happened(pair[0], select.POLLRDHUP)
        seen = loop.watch(wait_for_read_send(top, loop.ev, pair[0].fileno(), True), wait_for_read_recv)
        loop.turn()
        assert seen.result == (True, 0)

    def test_failing_look(self, top: TALLOC_CTX, loop: Loop, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        """The errno of the look."""

        def refuse(fd: int) -> int:
            raise OSError(EIO, "no")

        monkeypatch.setattr(_sys, "bytes_readable", refuse)
        seen = loop.watch(wait_for_read_send(top, loop.ev, pair[0].fileno(), True), wait_for_read_recv)
        pair[1].send(b"x")
        happened(pair[0])
        loop.turn()
        assert seen.result == (False, EIO)

    def test_pipe(self, top: TALLOC_CTX, loop: Loop) -> None:
        """Any descriptor that can be waited for."""
        reader, writer = os.pipe()
        os.write(writer, b"x")
        seen = loop.watch(wait_for_read_send(top, loop.ev, reader, True), wait_for_read_recv)
        loop.turn()
        assert seen.result == (True, 0)
        os.close(reader)
        os.close(writer)

    def test_early_and_twice(self, top: TALLOC_CTX, loop: Loop, pair: Pair) -> None:
        """Receiving early is EINVAL and ends the wait, and so is a second time."""
        req = wait_for_read_send(top, loop.ev, pair[0].fileno(), False)
        assert req is not None
        assert wait_for_read_recv(req) == (False, EINVAL)
        assert wait_for_read_recv(req) == (False, EINVAL)
        pair[1].send(b"x")
        assert loop.settle() == 0


class TestWaitForError:
    def test_data_does_not_matter(self, top: TALLOC_CTX, loop: Loop, pair: Pair) -> None:
        """Only an error wakes it."""
        seen = loop.watch(wait_for_error_send(top, loop.ev, pair[0].fileno()), wait_for_error_recv)
        pair[1].send(b"x")
        happened(pair[0])
        assert loop.settle() == 0
        assert seen.calls == 0

    def test_half_closed(self, top: TALLOC_CTX, loop: Loop, pair: Pair) -> None:
        """A peer that writes no more is ECONNRESET, even with data left."""
        seen = loop.watch(wait_for_error_send(top, loop.ev, pair[0].fileno()), wait_for_error_recv)
        pair[1].send(b"x")
        pair[1].shutdown(socket.SHUT_WR)
        loop.until(lambda: seen.calls)
        assert seen.result == ECONNRESET

    def test_closed_unix(self, top: TALLOC_CTX, loop: Loop) -> None:
        """A unix peer that is gone is EPIPE."""
        one, two = socket.socketpair()
        with one:
            seen = loop.watch(wait_for_error_send(top, loop.ev, one.fileno()), wait_for_error_recv)
            two.close()
            loop.until(lambda: seen.calls)
        assert seen.result == EPIPE

    @pytest.mark.parametrize("linger", [False, True])
    def test_closed_tcp(self, top: TALLOC_CTX, loop: Loop, linger: bool) -> None:
        """A TCP peer's end, or its reset, is ECONNRESET."""
        one, two = tcp_sockets()
        with one:
            seen = loop.watch(wait_for_error_send(top, loop.ev, one.fileno()), wait_for_error_recv)
            if linger:
                two.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            two.close()
            loop.until(lambda: seen.calls)
        assert seen.result == ECONNRESET

    def test_error_that_is_gone(self, top: TALLOC_CTX, loop: Loop, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        """It never ends without an error."""
        monkeypatch.setattr(_sys, "poll", lambda fd, events: 0)
        seen = loop.watch(wait_for_error_send(top, loop.ev, pair[0].fileno()), wait_for_error_recv)
        pair[1].shutdown(socket.SHUT_WR)
        loop.until(lambda: seen.calls)
        assert seen.result == EPIPE

    def test_early_and_twice(self, top: TALLOC_CTX, loop: Loop, pair: Pair) -> None:
        """Receiving early is EINVAL and ends the wait, and so is a second time."""
        req = wait_for_error_send(top, loop.ev, pair[0].fileno())
        assert req is not None
        assert wait_for_error_recv(req) == EINVAL
        assert wait_for_error_recv(req) == EINVAL


SENDS: list[Any] = [
    lambda ctx, ev, fd: wait_for_read_send(ctx, ev, fd, False),
    wait_for_error_send,
]


@pytest.mark.parametrize("send", SENDS)
class TestBoth:
    def test_free(self, top: TALLOC_CTX, loop: Loop, pair: Pair, send: Any) -> None:
        """Freeing ends the wait and closes nothing."""
        req = send(top, loop.ev, pair[0].fileno())
        seen = loop.watch(req)
        talloc_free(req)
        pair[1].close()
        assert loop.settle() == 0
        assert seen.calls == 0
        assert is_open(pair[0].fileno())

    def test_timeout(self, top: TALLOC_CTX, loop: Loop, pair: Pair, send: Any) -> None:
        """A wait may time out; the descriptor is not watched any more."""
        req = send(top, loop.ev, pair[0].fileno())
        blocks = talloc_total_blocks(req)
        tevent_req_set_endtime(req, loop.ev, timeval(0, 0))
        seen = loop.watch(req, wait_for_error_recv)
        loop.turn()
        assert seen.result == ETIMEDOUT
        assert talloc_total_blocks(req) < blocks
        pair[1].close()
        assert loop.settle() == 0

    def test_free_in_the_callback(self, top: TALLOC_CTX, loop: Loop, pair: Pair, send: Any) -> None:
        """The callback may free the request."""
        seen = loop.watch(send(top, loop.ev, pair[0].fileno()), free=True)
        pair[1].close()
        loop.until(lambda: seen.calls)
        assert loop.settle() == 0

    def test_cancel(self, top: TALLOC_CTX, loop: Loop, pair: Pair, send: Any) -> None:
        """There is no cancelling."""
        assert tevent_req_cancel(send(top, loop.ev, pair[0].fileno())) is False

    def test_no_memory(self, top: TALLOC_CTX, loop: Loop, pair: Pair, send: Any) -> None:
        """No request, or for what cannot be waited for ENOMEM."""
        limited = talloc_new(top)
        talloc_set_memlimit(limited, 1)
        assert send(limited, loop.ev, pair[0].fileno()) is None
        req = send(top, loop.ev, -1)
        assert not tevent_req_is_in_progress(req)
        seen = loop.watch(req, wait_for_error_recv)
        loop.turn()
        assert seen.result == ENOMEM

    def test_wrong_types(self, top: TALLOC_CTX, loop: Loop, pair: Pair, send: Any) -> None:
        """Wrong arguments leave no request behind."""
        blocks = talloc_total_blocks(top)
        with pytest.raises(TypeError, match="tevent_context"):
            send(top, None, pair[0].fileno())
        with pytest.raises(TypeError, match="file descriptor"):
            send(top, loop.ev, None)
        assert talloc_total_blocks(top) == blocks

    def test_freed_context(self, top: TALLOC_CTX, loop: Loop, pair: Pair, send: Any) -> None:
        """A freed context goes to the abort function; if that returns there is no request."""
        talloc_free(loop.ev)
        reasons: list[str] = []
        talloc_set_abort_fn(reasons.append)
        try:
            assert send(top, loop.ev, pair[0].fileno()) is None
        finally:
            talloc_set_abort_fn(None)
        assert reasons
