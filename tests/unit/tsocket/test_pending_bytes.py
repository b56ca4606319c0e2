# SPDX-License-Identifier: LGPL-3.0-or-later
"""``tstream_pending_bytes``."""

from __future__ import annotations

import socket
from errno import ECONNRESET, ENOTCONN, EPIPE

import pytest
from stream_kit import BIG, disconnect, read_now, readv, write_now, writev

from tevent import get_errno, set_errno
from tsocket import tstream_context, tstream_pending_bytes, tstream_readv_recv


def pending(stream: tstream_context) -> tuple[int, int]:
    """The number of bytes pending and the errno that goes with a failure."""
    set_errno(0)
    ret = tstream_pending_bytes(stream)
    return ret, get_errno() if ret == -1 else 0


class TestPendingBytes:
    def test_nothing(self, wire):
        """0 is no error."""
        assert pending(wire.stream) == (0, 0)

    def test_what_was_received_and_not_consumed(self, loop, wire):
        """The count goes down as reads take bytes."""
        wire.peer.send(b"abcde")
        wire.arrived()
        assert pending(wire.stream) == (5, 0)
        assert pending(wire.stream) == (5, 0)
        assert read_now(loop, wire.stream, 2)[0] == (2, 0)
        assert pending(wire.stream) == (3, 0)
        assert read_now(loop, wire.stream, 3)[0] == (3, 0)
        assert pending(wire.stream) == (0, 0)

    def test_bytes_before_the_end_of_file_are_counted(self, wire):
        """An end behind unread bytes is not yet an error."""
        wire.peer.send(b"abc")
        wire.peer.close()
        wire.gone()
        assert pending(wire.stream) == (3, 0)

    def test_half_closed_with_nothing_left_is_econnreset(self, wire):
        """The peer sends no more."""
        wire.peer.shutdown(socket.SHUT_WR)
        wire.gone()
        assert pending(wire.stream) == (-1, ECONNRESET)

    def test_unix_peer_closed_is_epipe(self, unix):
        """A closed Unix socket hangs up."""
        unix.peer.close()
        assert pending(unix.stream) == (-1, EPIPE)

    def test_unix_peer_closed_with_our_bytes_unread(self, loop, unix):
        """The socket's own error, ECONNRESET, comes first."""
        assert write_now(loop, unix.stream, b"x") == (1, 0)
        unix.peer.close()
        assert pending(unix.stream) == (-1, ECONNRESET)

    def test_tcp_peer_closed_is_econnreset(self, tcp):
        """A FIN alone does not hang up."""
        tcp.peer.close()
        tcp.gone()
        assert pending(tcp.stream) == (-1, ECONNRESET)

    def test_tcp_reset_is_econnreset(self, tcp):
        """The error of the socket."""
        tcp.reset()
        assert pending(tcp.stream) == (-1, ECONNRESET)

    def test_a_failure_is_kept(self, loop, unix):
        """The errno stays the same although the socket's error was taken off it."""
        assert write_now(loop, unix.stream, b"x") == (1, 0)
        unix.peer.close()
        for _ in range(3):
            assert pending(unix.stream) == (-1, ECONNRESET)

    def test_while_requests_are_outstanding(self, top, loop, unix):
        """It disturbs neither a read nor a blocked write."""
        reading = loop.watch(readv(loop, top, unix.stream, bytearray(3)), tstream_readv_recv)
        writev(loop, top, unix.stream, BIG)
        unix.peer.send(b"ab")
        assert pending(unix.stream) == (2, 0)
        loop.settle()
        assert pending(unix.stream) == (0, 0)
        unix.peer.send(b"c")
        loop.settle()
        assert reading.result == (3, 0)

    def test_it_makes_no_events(self, loop, unix):
        """Asking neither runs nor schedules a callback."""
        unix.peer.send(b"ab")
        assert pending(unix.stream) == (2, 0)
        assert loop.settle() == 0

    def test_a_waiting_read_gets_the_error_that_was_found(self, top, loop, unix):
        """The error is stored; the read outstanding ends with an error, without hanging."""
        reading = loop.watch(readv(loop, top, unix.stream, bytearray(1)), tstream_readv_recv)
        unix.peer.shutdown(socket.SHUT_WR)
        unix.gone()
        assert pending(unix.stream) == (-1, ECONNRESET)
        loop.settle()
        assert reading.result in ((-1, ECONNRESET), (-1, EPIPE))

    def test_none_and_strangers(self, top):
        """A stream is asked for."""
        for wrong in (None, 3, "stream", top):
            with pytest.raises(TypeError):
                tstream_pending_bytes(wrong)

    def test_disconnected(self, top, loop, unix):
        """ENOTCONN."""
        disconnect(loop, top, unix.stream)
        loop.settle()
        assert pending(unix.stream) == (-1, ENOTCONN)
