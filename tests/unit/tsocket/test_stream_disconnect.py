# SPDX-License-Identifier: LGPL-3.0-or-later
"""Disconnecting a stream, and the event contexts that the operations of one stream share."""

from __future__ import annotations

from errno import EALREADY, EBUSY, ECONNABORTED, EINVAL, ENOTCONN

import pytest
from stream_kit import BIG, Loop, Seen, disconnect, finished_with, is_open, monitor, read_now, readv, write_now, writev

from talloc_py import talloc_free
from tevent import get_errno, tevent_req_is_in_progress
from tsocket import (
    tstream_disconnect_recv,
    tstream_monitor_recv,
    tstream_pending_bytes,
    tstream_readv_recv,
    tstream_writev_recv,
)


class TestDisconnect:
    def test_outstanding_read_makes_disconnect_busy(self, top, loop, unix):
        """EBUSY, and the read goes on."""
        reading = loop.watch(readv(loop, top, unix.stream, bytearray(1)), tstream_readv_recv)
        finished_with(loop, disconnect(loop, top, unix.stream), tstream_disconnect_recv, EBUSY)
        unix.peer.send(b"x")
        loop.settle()
        assert reading.result == (1, 0)

    def test_outstanding_write_makes_disconnect_busy(self, top, loop, unix):
        """EBUSY, also for a write that went through and is not delivered; the write goes on."""
        writing = loop.watch(writev(loop, top, unix.stream, b"x"), tstream_writev_recv)
        req = disconnect(loop, top, unix.stream)
        assert not tevent_req_is_in_progress(req)
        loop.settle()
        assert tstream_disconnect_recv(req) == (-1, EBUSY)
        assert writing.result == (1, 0)
        assert is_open(unix.fd)

    def test_second_disconnect_is_ealready(self, top, loop, unix):
        """While one is outstanding another is EALREADY, and the first is delivered."""
        first = loop.watch(disconnect(loop, top, unix.stream), tstream_disconnect_recv)
        second = disconnect(loop, top, unix.stream)
        assert not tevent_req_is_in_progress(second)
        loop.settle()
        assert tstream_disconnect_recv(second) == (-1, EALREADY)
        assert first.result == (0, 0)

    @pytest.mark.parametrize(
        ("start", "recv"),
        [
            (lambda loop, top, s: readv(loop, top, s, bytearray(1)), tstream_readv_recv),
            (lambda loop, top, s: writev(loop, top, s, b"x"), tstream_writev_recv),
            (monitor, tstream_monitor_recv),
        ],
        ids=["readv", "writev", "monitor"],
    )
    def test_operations_during_a_disconnect_are_econnaborted(self, top, loop, unix, start, recv):
        """The outstanding disconnect refuses everything else."""
        closing = loop.watch(disconnect(loop, top, unix.stream), tstream_disconnect_recv)
        req = start(loop, top, unix.stream)
        assert not tevent_req_is_in_progress(req)
        seen = loop.watch(req, recv)
        loop.settle()
        assert seen.result == (-1, ECONNABORTED)
        assert closing.result == (0, 0)

    def test_an_argument_error_comes_before_econnaborted(self, top, loop, unix):
        """An empty vector during a disconnect is EINVAL."""
        disconnect(loop, top, unix.stream)
        assert tstream_writev_recv(writev(loop, top, unix.stream)) == (-1, EINVAL)

    def test_the_stream_is_disconnected_afterwards(self, top, loop, wire):
        """All later operations, another disconnect included, give ENOTCONN, one turn later."""
        loop.watch(disconnect(loop, top, wire.stream), tstream_disconnect_recv, free=True)
        loop.settle()
        for start, recv in (
            (lambda: readv(loop, top, wire.stream, bytearray(1)), tstream_readv_recv),
            (lambda: writev(loop, top, wire.stream, b"x"), tstream_writev_recv),
            (lambda: disconnect(loop, top, wire.stream), tstream_disconnect_recv),
        ):
            req = start()
            assert tevent_req_is_in_progress(req)
            seen = loop.watch(req, recv)
            loop.settle()
            assert seen.result == (-1, ENOTCONN)
        assert tstream_pending_bytes(wire.stream) == -1
        assert get_errno() == ENOTCONN

    def test_the_next_disconnect_in_the_callback_goes_to_the_backend(self, top, loop, unix):
        """The core remembers no finished disconnect: the second one is answered by the closed descriptor."""
        seen: list[Seen] = []
        loop.watch(
            disconnect(loop, top, unix.stream),
            then=lambda _: seen.append(loop.watch(disconnect(loop, top, unix.stream), tstream_disconnect_recv)),
        )
        loop.settle()
        assert seen[0].result == (-1, ENOTCONN)

    def test_the_peer_sees_the_end_of_the_stream(self, top, loop, wire):
        """Everything written arrives, then end of file."""
        assert write_now(loop, wire.stream, b"bye") == (3, 0)
        disconnect(loop, top, wire.stream)
        wire.peer.setblocking(True)
        assert wire.peer.recv(10) == b"bye"
        assert wire.peer.recv(10) == b""

    def test_freeing_the_request_does_not_undo_it(self, top, loop, unix):
        """The descriptor stays closed, the stream is usable for further (failing) calls at once."""
        req = disconnect(loop, top, unix.stream)
        seen = loop.watch(req)
        talloc_free(req)
        assert loop.settle() == 0
        assert seen.calls == 0
        assert not is_open(unix.fd)
        again = loop.watch(disconnect(loop, top, unix.stream), tstream_disconnect_recv)
        loop.settle()
        assert again.result == (-1, ENOTCONN)

    def test_an_unused_stream_disconnects(self, top, loop, unix):
        """No operation needs to have run before."""
        seen = loop.watch(disconnect(loop, top, unix.stream), tstream_disconnect_recv)
        loop.settle()
        assert seen.result == (0, 0)
        assert unix.peer.recv(1) == b""


class TestEventContexts:
    """All waiting operations of a stream share one event context."""

    def test_waiting_on_another_context_is_einval(self, top, loop, unix):
        """A write that has to wait elsewhere than the outstanding read fails; the read is undisturbed."""
        other = Loop(top)
        reading = loop.watch(readv(loop, top, unix.stream, bytearray(1)), tstream_readv_recv)
        req = writev(other, top, unix.stream, BIG)
        assert tevent_req_is_in_progress(req)
        writing = other.watch(req, tstream_writev_recv)
        assert loop.settle() == 0
        assert other.settle() == 1
        assert writing.result == (-1, EINVAL)
        unix.peer.send(b"x")
        loop.settle()
        assert reading.result == (1, 0)

    def test_a_read_on_another_context_than_a_blocked_write_is_einval(self, top, loop, unix):
        """The same the other way round."""
        other = Loop(top)
        writing = loop.watch(writev(loop, top, unix.stream, BIG), tstream_writev_recv)
        reading = other.watch(readv(other, top, unix.stream, bytearray(1)), tstream_readv_recv)
        other.settle()
        assert reading.result == (-1, EINVAL)
        unix.drain_until(loop, lambda: writing.calls)
        assert writing.result == (len(BIG), 0)

    def test_the_einval_is_not_an_error_of_the_stream(self, top, loop, unix):
        """Later operations work."""
        other = Loop(top)
        first = readv(loop, top, unix.stream, bytearray(1))
        writing = other.watch(writev(other, top, unix.stream, BIG), tstream_writev_recv, free=True)
        other.settle()
        assert writing.result == (-1, EINVAL)
        talloc_free(first)
        unix.peer.send(b"y")
        assert read_now(other, unix.stream, 1) == ((1, 0), b"y")

    def test_what_finishes_inside_send_works_on_any_context(self, top, loop, unix):
        """A write that goes through does not wait, so its context does not matter."""
        other = Loop(top)
        readv(loop, top, unix.stream, bytearray(1))
        assert write_now(other, unix.stream, b"hi") == (2, 0)
        assert unix.drain() == b"hi"

    def test_an_idle_stream_moves_to_the_next_context(self, top, loop, unix):
        """With nothing outstanding the next operation may use another loop; the old one hears nothing more."""
        other = Loop(top)
        unix.peer.send(b"ab")
        assert read_now(loop, unix.stream, 1) == ((1, 0), b"a")
        assert read_now(other, unix.stream, 1) == ((1, 0), b"b")
        unix.peer.send(b"c")
        assert loop.settle() == 0
        assert read_now(loop, unix.stream, 1) == ((1, 0), b"c")

    def test_the_stream_outlives_a_freed_context(self, top, unix):
        """After its event context is gone the stream works with another one."""
        first = Loop(top)
        unix.peer.send(b"ab")
        assert read_now(first, unix.stream, 1) == ((1, 0), b"a")
        talloc_free(first.ev)
        assert read_now(Loop(top), unix.stream, 1) == ((1, 0), b"b")
