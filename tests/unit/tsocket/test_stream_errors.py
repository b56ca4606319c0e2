# SPDX-License-Identifier: LGPL-3.0-or-later
"""Errors of streams over sockets: which operation sees which errno, and that the first one is remembered."""

from __future__ import annotations

import os
import select
import socket
from errno import (
    EAGAIN,
    EBADF,
    ECONNRESET,
    EINPROGRESS,
    EINTR,
    EINVAL,
    EIO,
    ENOBUFS,
    ENOMEM,
    ENOTCONN,
    EPIPE,
    ETIMEDOUT,
)

import pytest
from stream_kit import BIG, disconnect, read_now, readv, write_now, writev

from tevent import get_errno, tevent_req_is_in_progress, tevent_req_set_callback
from tsocket import _sys, iovec, tstream_disconnect_recv, tstream_pending_bytes, tstream_readv_recv, tstream_writev_recv


class TestFirstErrorWins:
    def test_end_of_file_is_remembered(self, loop, wire):
        """After a read found the end, reads, writes and pending_bytes give EPIPE without asking the kernel."""
        wire.peer.shutdown(socket.SHUT_WR)
        assert read_now(loop, wire.stream, 1)[0] == (-1, EPIPE)
        assert write_now(loop, wire.stream, b"x") == (-1, EPIPE)
        assert (tstream_pending_bytes(wire.stream), get_errno()) == (-1, EPIPE)
        assert read_now(loop, wire.stream, 1)[0] == (-1, EPIPE)
        assert wire.drain() == b""

    def test_a_stored_error_is_delivered_by_the_loop(self, top, loop, unix):
        """The request is in progress after ``_send`` and fails in the next turn."""
        unix.peer.close()
        assert read_now(loop, unix.stream, 1)[0] == (-1, EPIPE)
        loop.settle()
        for start, recv, turns_left in (
            # The descriptor is watched once more for a read, and then no longer.
            (lambda: readv(loop, top, unix.stream, bytearray(1)), tstream_readv_recv, 1),
            (lambda: writev(loop, top, unix.stream, b"x"), tstream_writev_recv, 0),
        ):
            req = start()
            assert tevent_req_is_in_progress(req)
            seen = loop.watch(req, recv)
            assert loop.turn()
            assert seen.result == (-1, EPIPE)
            assert loop.settle() == turns_left

    def test_a_reset_seen_as_econnreset_stays_econnreset(self, loop, tcp):
        """The first errno is kept for all later operations."""
        tcp.reset()
        assert read_now(loop, tcp.stream, 1)[0] == (-1, ECONNRESET)
        assert write_now(loop, tcp.stream, b"x") == (-1, ECONNRESET)
        assert read_now(loop, tcp.stream, 1)[0] == (-1, ECONNRESET)
        assert (tstream_pending_bytes(tcp.stream), get_errno()) == (-1, ECONNRESET)

    def test_a_read_of_a_failed_stream_waits_for_its_descriptor(self, top, loop, unix):
        """What has ended inside ``_send`` is told first, although it began later."""
        unix.peer.close()
        assert read_now(loop, unix.stream, 1)[0] == (-1, EPIPE)
        order = []
        reading = readv(loop, top, unix.stream, bytearray(1))
        writing = writev(loop, top, unix.stream, b"x")
        tevent_req_set_callback(reading, lambda req: order.append("read"), None)
        tevent_req_set_callback(writing, lambda req: order.append("write"), None)
        loop.settle()
        assert order == ["write", "read"]

    def test_a_read_of_a_silent_failed_stream_does_not_hang(self, loop, unix):
        """The peer reads no more: writes fail with EPIPE, of which no event tells, and so do reads from then on."""
        unix.peer.shutdown(socket.SHUT_RD)
        assert write_now(loop, unix.stream, b"x") == (-1, EPIPE)
        assert read_now(loop, unix.stream, 1)[0] == (-1, EPIPE)

    def test_a_read_is_told_before_a_blocked_write(self, top, loop, unix):
        """Each time both could be told of the end, the read is the one."""
        writing = loop.watch(writev(loop, top, unix.stream, BIG), tstream_writev_recv)
        unix.peer.close()
        for _ in range(2):
            reading = loop.watch(readv(loop, top, unix.stream, bytearray(1)), tstream_readv_recv)
            loop.turn()
            assert reading.calls == 1
            assert writing.calls == 0
        loop.settle()
        assert writing.calls == 1

    def test_a_failed_write_is_remembered_by_reads(self, loop, unix):
        """A write to a closed Unix peer is EPIPE, and so is the read after it, though bytes wait."""
        unix.peer.send(b"data")
        unix.peer.close()
        assert write_now(loop, unix.stream, b"x") == (-1, EPIPE)
        assert read_now(loop, unix.stream, 4)[0] == (-1, EPIPE)

    def test_a_failed_pending_bytes_is_remembered(self, loop, unix):
        """pending_bytes found a half-close: ECONNRESET for everything that follows."""
        unix.peer.shutdown(socket.SHUT_WR)
        unix.gone()
        assert (tstream_pending_bytes(unix.stream), get_errno()) == (-1, ECONNRESET)
        assert write_now(loop, unix.stream, b"x") == (-1, ECONNRESET)
        assert read_now(loop, unix.stream, 1)[0] == (-1, ECONNRESET)
        assert unix.drain() == b""

    def test_disconnect_works_on_a_failed_stream(self, top, loop, wire):
        """0, and from then on it is ENOTCONN that operations give."""
        wire.peer.close()
        assert read_now(loop, wire.stream, 1)[0] == (-1, EPIPE)
        seen = loop.watch(disconnect(loop, top, wire.stream), tstream_disconnect_recv)
        loop.settle()
        assert seen.result == (0, 0)
        assert read_now(loop, wire.stream, 1)[0] == (-1, ENOTCONN)

    def test_arguments_are_still_checked_on_a_failed_stream(self, loop, unix):
        """The core looks at the vector before the backend at its error."""
        unix.peer.close()
        assert read_now(loop, unix.stream, 1)[0] == (-1, EPIPE)
        assert write_now(loop, unix.stream, b"") == (-1, EINVAL)


class TestClosedPeer:
    def test_data_is_drained_first(self, top, loop, wire):
        """A read outstanding when the peer closes gets the data that is there, the next one EPIPE."""
        reading = loop.watch(readv(loop, top, wire.stream, bytearray(4)), tstream_readv_recv)
        wire.peer.send(b"abcdef")
        wire.peer.close()
        wire.gone()
        loop.settle()
        assert reading.result == (4, 0)
        assert read_now(loop, wire.stream, 2) == ((2, 0), b"ef")
        assert read_now(loop, wire.stream, 1)[0] == (-1, EPIPE)

    def test_a_read_that_cannot_be_filled_is_epipe(self, top, loop, wire):
        """The data that is there is drained, then comes the end."""
        buf = bytearray(4)
        reading = loop.watch(readv(loop, top, wire.stream, buf), tstream_readv_recv)
        wire.peer.send(b"ab")
        wire.peer.close()
        loop.until(lambda: reading.calls)
        assert reading.result == (-1, EPIPE)
        assert buf == b"ab\0\0"

    def test_unix_write_is_epipe(self, loop, unix):
        """No peer, no write."""
        unix.peer.close()
        assert write_now(loop, unix.stream, b"x") == (-1, EPIPE)

    def test_tcp_first_write_succeeds_a_later_one_is_epipe(self, loop, tcp):
        """The first write provokes the reset that makes a later one fail."""
        tcp.peer.close()
        tcp.gone()
        assert write_now(loop, tcp.stream, b"x") == (1, 0)
        tcp.arrived(select.POLLERR | select.POLLHUP)
        assert write_now(loop, tcp.stream, b"x") == (-1, EPIPE)

    def test_writes_work_after_a_half_close(self, loop, wire):
        """As long as nobody read the end of the stream."""
        wire.peer.shutdown(socket.SHUT_WR)
        wire.gone()
        for _ in range(3):
            assert write_now(loop, wire.stream, b"x") == (1, 0)
        wire.peer.setblocking(True)
        assert wire.peer.recv(3, socket.MSG_WAITALL) == b"xxx"


class TestBlockedWrite:
    """A write that waits for a peer that is going away."""

    @pytest.mark.parametrize("how", ["half-close", "data, then half-close"])
    def test_half_close_is_econnreset(self, top, loop, wire, how):
        """The error is noticed at once, without spinning, also behind unread data."""
        writing = loop.watch(writev(loop, top, wire.stream, BIG), tstream_writev_recv)
        loop.settle()
        if how.startswith("data"):
            wire.peer.send(b"data")
        wire.peer.shutdown(socket.SHUT_WR)
        wire.gone()
        assert loop.settle() <= 3
        assert writing.result == (-1, ECONNRESET)

    def test_half_close_with_a_read_outstanding(self, top, loop, wire):
        """The read gets EPIPE first, then the write EPIPE."""
        reading = loop.watch(readv(loop, top, wire.stream, bytearray(1)), tstream_readv_recv)
        writing = loop.watch(writev(loop, top, wire.stream, BIG), tstream_writev_recv)
        loop.settle()
        wire.peer.shutdown(socket.SHUT_WR)
        wire.gone()
        assert loop.settle() <= 4
        assert reading.result == (-1, EPIPE)
        assert writing.result == (-1, EPIPE)
        assert reading.turn < writing.turn

    def test_unix_close_with_our_data_unread(self, top, loop, unix):
        """ECONNRESET from the socket's error, or EPIPE from the write."""
        writing = loop.watch(writev(loop, top, unix.stream, BIG), tstream_writev_recv)
        loop.settle()
        unix.peer.close()
        assert loop.settle() <= 3
        assert writing.result in ((-1, ECONNRESET), (-1, EPIPE))

    def test_tcp_close_with_our_data_unread(self, top, loop, tcp):
        """The kernel resets the connection."""
        writing = loop.watch(writev(loop, top, tcp.stream, BIG), tstream_writev_recv)
        loop.settle()
        tcp.peer.close()
        tcp.gone()
        loop.until(lambda: writing.calls)
        assert writing.result in ((-1, ECONNRESET), (-1, EPIPE))

    def test_a_peer_that_wrote_and_closed_is_noticed_at_once(self, top, loop, unix):
        """Unread bytes do not hide the close from a write that waits."""
        writing = loop.watch(writev(loop, top, unix.stream, BIG), tstream_writev_recv)
        loop.settle()
        unix.peer.send(b"last words")
        unix.peer.close()
        assert loop.settle() <= 3
        assert writing.result in ((-1, ECONNRESET), (-1, EPIPE))
        assert loop.settle() == 0

    def test_a_read_drains_the_last_words_beside_it(self, top, loop, unix):
        """With a read outstanding the data is read first; both requests end."""
        buf = bytearray(4)
        reading = loop.watch(readv(loop, top, unix.stream, buf), tstream_readv_recv)
        writing = loop.watch(writev(loop, top, unix.stream, BIG), tstream_writev_recv)
        loop.settle()
        unix.drain()
        unix.peer.send(b"last")
        unix.peer.close()
        loop.settle()
        assert reading.calls == 1
        assert reading.result == (4, 0) or reading.result[1] in (EPIPE, ECONNRESET)
        assert writing.result[1] in (ECONNRESET, EPIPE)


class TestReadErrors:
    def test_tcp_reset_is_econnreset(self, top, loop, tcp):
        """A waiting read hears of the reset."""
        reading = loop.watch(readv(loop, top, tcp.stream, bytearray(1)), tstream_readv_recv)
        tcp.reset()
        loop.settle()
        assert reading.result == (-1, ECONNRESET)

    def test_no_errors_pass_through_a_quiet_loop(self, top, loop, wire):
        """After the failure the descriptor is silent, with or without requests."""
        reading = loop.watch(readv(loop, top, wire.stream, bytearray(1)), tstream_readv_recv)
        wire.peer.close()
        loop.until(lambda: reading.calls)
        assert loop.settle() <= 1
        assert loop.settle() == 0

    def test_other_streams_are_not_affected(self, top, loop, unix, tcp):
        """A failure belongs to its stream."""
        other = loop.watch(readv(loop, top, tcp.stream, bytearray(1)), tstream_readv_recv)
        unix.peer.close()
        assert read_now(loop, unix.stream, 1)[0] == (-1, EPIPE)
        tcp.peer.send(b"y")
        loop.until(lambda: other.calls)
        assert other.result == (1, 0)


class TestSystemCalls:
    """What a failing system call does to a request; the calls are replaced by scripted ones."""

    @pytest.fixture
    def script(self, monkeypatch):
        """Let the next calls of readv or writev fail with the errors given, later ones work."""

        def install(name: str, *errors: int) -> list[int]:
            left = list(errors)
            real = getattr(_sys, name)

            def call(fd, vector, *rest):
                if left:
                    number = left.pop(0)
                    raise OSError(number, os.strerror(number))
                return real(fd, vector, *rest)

            monkeypatch.setattr(_sys, name, call)
            return left

        return install

    @pytest.mark.parametrize("number", [EINTR, EAGAIN, EINPROGRESS, ENOMEM])
    def test_passing_trouble_of_a_read_waits_for_the_next_event(self, loop, unix, script, number):
        """EINTR, EAGAIN, EINPROGRESS and ENOMEM mean: again later."""
        left = script("readv", number, number)
        unix.peer.send(b"ab")
        assert read_now(loop, unix.stream, 2) == ((2, 0), b"ab")
        assert left == []

    @pytest.mark.parametrize("number", [EINTR, EAGAIN, EINPROGRESS, ENOMEM])
    def test_passing_trouble_of_a_write_waits_for_the_next_event(self, loop, unix, script, number):
        """A write tries again when the descriptor is writable."""
        left = script("writev", number, number)
        assert write_now(loop, unix.stream, b"ab") == (2, 0)
        assert left == []
        assert unix.drain() == b"ab"

    @pytest.mark.parametrize("number", [EIO, EBADF, ENOBUFS, ETIMEDOUT])
    def test_anything_else_fails_the_read(self, loop, unix, script, number):
        """... with its errno, which is kept."""
        script("readv", number)
        unix.peer.send(b"ab")
        assert read_now(loop, unix.stream, 2)[0] == (-1, number)
        assert write_now(loop, unix.stream, b"x") == (-1, number)

    @pytest.mark.parametrize("number", [EIO, EBADF, ENOBUFS, ETIMEDOUT])
    def test_anything_else_fails_the_write(self, loop, unix, script, number):
        """... with its errno, which is kept."""
        script("writev", number)
        assert write_now(loop, unix.stream, b"ab") == (-1, number)
        assert read_now(loop, unix.stream, 1)[0] == (-1, number)

    def test_writev_of_nothing_is_epipe(self, loop, unix, monkeypatch):
        """A write that takes nothing is the end of the stream."""
        monkeypatch.setattr(_sys, "writev", lambda fd, vector: 0)
        assert write_now(loop, unix.stream, b"ab") == (-1, EPIPE)

    def test_a_short_write_is_continued(self, loop, unix, monkeypatch):
        """Whatever number of bytes the kernel takes, the next call begins behind them."""
        real = _sys.writev

        def one_byte(fd, vector):
            for buf in vector:
                if len(buf):
                    return real(fd, [memoryview(buf)[:1]])
            return 0

        monkeypatch.setattr(_sys, "writev", one_byte)
        req = writev(loop, None, unix.stream, b"ab", b"", bytearray(b"cde"), iovec(b"fgh", 2))
        seen = loop.watch(req, tstream_writev_recv, free=True)
        loop.settle()
        assert seen.result == (7, 0)
        assert unix.drain() == b"abcdefg"

    def test_a_short_read_is_continued(self, loop, unix, monkeypatch):
        """One byte at a time, over the elements of the vector."""
        real = _sys.readv

        def one_byte(fd, vector):
            for buf in vector:
                if len(buf):
                    return real(fd, [memoryview(buf)[:1]])
            return 0

        monkeypatch.setattr(_sys, "readv", one_byte)
        unix.peer.send(b"abcdefg")
        one, two, three = bytearray(2), bytearray(3), bytearray(9)
        req = readv(loop, None, unix.stream, one, bytearray(), two, iovec(three, 2))
        seen = loop.watch(req, tstream_readv_recv, free=True)
        assert loop.settle() == 7
        assert seen.result == (7, 0)
        assert (one, two, three[:3]) == (b"ab", b"cde", b"fg\0")
