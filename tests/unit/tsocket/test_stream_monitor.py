# SPDX-License-Identifier: LGPL-3.0-or-later
"""Monitors: requests that wait until the stream fails."""

from __future__ import annotations

import socket
from errno import EALREADY, ECONNABORTED, ECONNRESET, EINVAL, EIO, ENOTCONN, EPIPE, ETIMEDOUT

import pytest
from stream_kit import BIG, Loop, disconnect, finished_with, is_open, monitor, read_now, readv, write_now, writev
from tevent_kit import wrapper_of

from talloc_py import talloc_abort_error, talloc_free, talloc_parent
from tevent import (
    TEVENT_REQ_RECEIVED,
    get_errno,
    tevent_req,
    tevent_req_is_error,
    tevent_req_is_in_progress,
    tevent_req_set_endtime,
    timeval,
)
from tsocket import (
    tstream_disconnect_recv,
    tstream_monitor_recv,
    tstream_monitor_send,
    tstream_pending_bytes,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_writev_recv,
    tstream_writev_send,
)


def two_turns(loop: Loop, req: tevent_req, error: int) -> None:
    """Assert that the next event ends the monitor and the turn after it calls back."""
    seen = loop.watch(req, tstream_monitor_recv)
    assert tevent_req_is_in_progress(req)
    assert loop.turn()
    assert seen.calls == 0
    assert not tevent_req_is_in_progress(req)
    assert loop.turn()
    assert seen.result == (-1, error)


class TestWaiting:
    def test_a_healthy_stream_keeps_it_waiting(self, top, loop, wire):
        """Transfers in both directions and unread data do not end a monitor, nor make the loop spin."""
        seen = loop.watch(monitor(loop, top, wire.stream))
        assert write_now(loop, wire.stream, b"a") == (1, 0)
        wire.peer.send(b"bc")
        assert read_now(loop, wire.stream, 1)[0] == (1, 0)
        wire.arrived()
        assert loop.settle() <= 1
        assert seen.calls == 0

    def test_unread_data_alone_does_not_trigger_it(self, top, loop, unix):
        """Bytes that nobody reads are no error and cost at most one turn."""
        seen = loop.watch(monitor(loop, top, unix.stream))
        unix.peer.send(b"abc")
        assert loop.settle() <= 1
        assert seen.calls == 0
        assert tstream_pending_bytes(unix.stream) == 3

    def test_reads_and_writes_are_not_busy_beside_it(self, top, loop, unix):
        """A monitor is no read and no write."""
        monitor(loop, top, unix.stream)
        assert tevent_req_is_in_progress(readv(loop, top, unix.stream, bytearray(1)))
        assert tevent_req_is_in_progress(writev(loop, top, unix.stream, BIG))

    def test_a_second_one_is_ealready(self, top, loop, unix):
        """One monitor at a time; the refused one is finished inside ``_send``, the first goes on."""
        first = monitor(loop, top, unix.stream)
        finished_with(loop, monitor(loop, top, unix.stream), tstream_monitor_recv, EALREADY)
        assert tevent_req_is_in_progress(first)

    def test_another_one_after_it_was_freed(self, top, loop, unix):
        """A freed monitor leaves room for the next."""
        talloc_free(monitor(loop, top, unix.stream))
        req = monitor(loop, top, unix.stream)
        assert tevent_req_is_in_progress(req)
        unix.peer.close()
        two_turns(loop, req, EPIPE)

    def test_recv_in_progress_is_eio_and_ends_it(self, top, loop, unix):
        """An early ``_recv`` gives the monitor up."""
        req = monitor(loop, top, unix.stream)
        assert tstream_monitor_recv(req) == (-1, EIO)
        assert tevent_req_is_in_progress(monitor(loop, top, unix.stream))

    def test_an_end_time_works(self, top, loop, unix):
        """A monitor that times out gives ETIMEDOUT, and the stream is fine."""
        req = monitor(loop, top, unix.stream)
        tevent_req_set_endtime(req, loop.ev, timeval(0, 1))
        seen = loop.watch(req, tstream_monitor_recv, free=True)
        loop.settle()
        assert seen.result == (-1, ETIMEDOUT)
        assert write_now(loop, unix.stream, b"x") == (1, 0)


class TestErrorEvents:
    """Errors noticed while neither a read nor a write waits."""

    def test_unix_peer_closed_is_epipe(self, top, loop, unix):
        """The error ends the monitor in one turn, its callback comes in the next."""
        req = monitor(loop, top, unix.stream)
        unix.peer.close()
        two_turns(loop, req, EPIPE)

    def test_half_closed_peer_is_econnreset(self, top, loop, wire):
        """A peer that will send no more counts as an error."""
        req = monitor(loop, top, wire.stream)
        wire.peer.shutdown(socket.SHUT_WR)
        wire.gone()
        two_turns(loop, req, ECONNRESET)

    def test_unix_peer_closed_with_our_bytes_unread_is_econnreset(self, top, loop, unix):
        """What the peer left unread turns its close into a reset."""
        assert write_now(loop, unix.stream, b"lost") == (4, 0)
        req = monitor(loop, top, unix.stream)
        unix.peer.close()
        two_turns(loop, req, ECONNRESET)

    def test_tcp_peer_closed_is_econnreset(self, top, loop, tcp):
        """A FIN alone."""
        req = monitor(loop, top, tcp.stream)
        tcp.peer.close()
        tcp.gone()
        two_turns(loop, req, ECONNRESET)

    def test_tcp_reset_is_econnreset(self, top, loop, tcp):
        """A reset."""
        req = monitor(loop, top, tcp.stream)
        tcp.reset()
        two_turns(loop, req, ECONNRESET)

    def test_the_stream_is_in_error_afterwards(self, top, loop, unix):
        """Once the monitor fired, reads give its errno although bytes wait, and so do writes and pending_bytes."""
        req = monitor(loop, top, unix.stream)
        unix.peer.send(b"waiting")
        unix.peer.close()
        seen = loop.watch(req, tstream_monitor_recv)
        loop.settle()
        assert seen.result == (-1, EPIPE)
        assert read_now(loop, unix.stream, 1)[0] == (-1, EPIPE)
        assert write_now(loop, unix.stream, b"x") == (-1, EPIPE)
        assert (tstream_pending_bytes(unix.stream), get_errno()) == (-1, EPIPE)

    def test_again_on_a_failed_stream_gives_the_same_errno(self, top, loop, unix):
        """A new monitor learns of the stored error from the loop, not inside ``_send``."""
        unix.peer.shutdown(socket.SHUT_WR)
        unix.gone()
        for _ in range(2):
            req = monitor(loop, top, unix.stream)
            assert tevent_req_is_in_progress(req)
            seen = loop.watch(req, tstream_monitor_recv, free=True)
            loop.settle()
            assert seen.result == (-1, ECONNRESET)

    def test_on_a_disconnected_stream_it_is_enotconn(self, top, loop, unix):
        """There is no descriptor to watch."""
        disconnect(loop, top, unix.stream)
        loop.settle()
        req = monitor(loop, top, unix.stream)
        assert tevent_req_is_in_progress(req)
        seen = loop.watch(req, tstream_monitor_recv)
        loop.settle()
        assert seen.result == (-1, ENOTCONN)

    def test_a_broken_stream_can_be_disconnected_without_spinning(self, top, loop, wire):
        """After the monitor fired the loop is quiet, and disconnect succeeds."""
        req = monitor(loop, top, wire.stream)
        wire.peer.close()
        wire.gone()
        seen = loop.watch(req, tstream_monitor_recv)
        loop.settle()
        assert seen.result[0] == -1
        assert loop.settle() == 0
        closing = loop.watch(disconnect(loop, top, wire.stream), tstream_disconnect_recv)
        loop.settle()
        assert closing.result == (0, 0)


class TestErrorsOfOthers:
    """A read, write, disconnect or pending_bytes that fails in the backend takes the monitor with it."""

    def test_a_failing_read_ends_it_and_is_called_back_first(self, top, loop, wire):
        """The read gets its EPIPE, then the monitor the same, in a later turn."""
        watching = loop.watch(monitor(loop, top, wire.stream), tstream_monitor_recv)
        reading = loop.watch(readv(loop, top, wire.stream, bytearray(1)), tstream_readv_recv)
        wire.peer.shutdown(socket.SHUT_WR)
        loop.until(lambda: watching.calls)
        assert reading.result == (-1, EPIPE)
        assert watching.result == (-1, EPIPE)
        assert reading.turn + 1 == watching.turn

    def test_a_read_drains_the_data_before_the_monitor_hears_of_the_end(self, top, loop, unix):
        """While a read waits the error event goes to it; the monitor ends when no read takes the error any more."""
        watching = loop.watch(monitor(loop, top, unix.stream), tstream_monitor_recv)
        reading = loop.watch(readv(loop, top, unix.stream, bytearray(2)), tstream_readv_recv)
        unix.peer.send(b"ab")
        unix.peer.close()
        loop.until(lambda: watching.calls)
        assert reading.result == (2, 0)
        assert reading.turn < watching.turn
        assert watching.result == (-1, EPIPE)

    def test_a_failing_write_ends_it(self, top, loop, unix):
        """A write to a closed peer."""
        watching = loop.watch(monitor(loop, top, unix.stream), tstream_monitor_recv)
        unix.peer.close()
        writing = loop.watch(writev(loop, top, unix.stream, b"x"), tstream_writev_recv)
        loop.until(lambda: watching.calls)
        assert writing.result == (-1, EPIPE)
        assert watching.result == (-1, EPIPE)
        assert writing.turn < watching.turn

    def test_a_failing_pending_bytes_ends_it(self, top, loop, unix):
        """The error is delivered to the monitor by the next turn."""
        req = monitor(loop, top, unix.stream)
        watching = loop.watch(req, tstream_monitor_recv)
        unix.peer.shutdown(socket.SHUT_WR)
        unix.gone()
        assert (tstream_pending_bytes(unix.stream), get_errno()) == (-1, ECONNRESET)
        assert not tevent_req_is_in_progress(req)
        assert watching.calls == 0
        loop.turn()
        assert watching.result == (-1, ECONNRESET)

    def test_a_wrong_context_ends_it(self, top, loop, unix):
        """EINVAL for waiting on another event context comes from the backend, so it reaches the monitor."""
        other = Loop(top)
        reading = loop.watch(readv(loop, top, unix.stream, bytearray(1)))
        watching = loop.watch(monitor(loop, top, unix.stream), tstream_monitor_recv)
        writing = other.watch(writev(other, top, unix.stream, BIG), tstream_writev_recv)
        other.settle()
        loop.settle()
        assert writing.result == (-1, EINVAL)
        assert watching.result == (-1, EINVAL)
        assert reading.calls == 0

    def test_a_wrapper_is_a_context_of_its_own(self, top, loop, unix):
        """What waits through a wrapper may be joined through that, on the same event, but not from its main context."""
        wrapped = wrapper_of(loop.ev)
        watching = loop.watch(tstream_monitor_send(top, wrapped, unix.stream), tstream_monitor_recv)
        fde = unix.stream.transport.fde
        reading = loop.watch(tstream_readv_send(top, wrapped, unix.stream, [bytearray(1)]), tstream_readv_recv)
        assert unix.stream.transport.fde is fde
        writing = loop.watch(writev(loop, top, unix.stream, BIG), tstream_writev_recv)
        loop.settle()
        assert writing.result == (-1, EINVAL)
        unix.peer.send(b"x")
        loop.settle()
        assert watching.result == (-1, EINVAL)
        assert reading.result == (1, 0)

    def test_an_idle_stream_leaves_a_wrapper(self, top, loop, unix):
        """With nothing outstanding the main context takes over, with an event of its own; else it is EINVAL."""
        wrapped = wrapper_of(loop.ev)
        through = loop.watch(tstream_readv_send(top, wrapped, unix.stream, [bytearray(1)]), tstream_readv_recv)
        unix.peer.send(b"x")
        loop.settle()
        assert through.result == (1, 0)
        reading = loop.watch(readv(loop, top, unix.stream, bytearray(1)), tstream_readv_recv)
        assert unix.stream.transport.fde.wrapper is None
        unix.peer.send(b"x")
        loop.settle()
        assert reading.result == (1, 0)
        writing = tstream_writev_send(top, wrapped, unix.stream, [BIG])
        refused = loop.watch(readv(loop, top, unix.stream, bytearray(1)), tstream_readv_recv)
        loop.settle()
        assert refused.result == (-1, EINVAL)
        assert tevent_req_is_in_progress(writing)

    def test_refused_operations_do_not_end_it(self, top, loop, unix):
        """Argument errors, EBUSY and EALREADY are the core's."""
        req = monitor(loop, top, unix.stream)
        readv(loop, top, unix.stream, bytearray(1))
        writev(loop, top, unix.stream, BIG)
        for refused in (
            readv(loop, top, unix.stream),
            readv(loop, top, unix.stream, bytearray(1)),
            writev(loop, top, unix.stream, *[b"x"] * 1025),
            writev(loop, top, unix.stream, b"x"),
            disconnect(loop, top, unix.stream),
            monitor(loop, top, unix.stream),
        ):
            assert not tevent_req_is_in_progress(refused)
        loop.settle()
        assert tevent_req_is_in_progress(req)


class TestDisconnect:
    def test_a_successful_disconnect_ends_it_with_econnaborted(self, top, loop, wire):
        """The monitor does not make the stream busy; it hears after the disconnect."""
        watching = loop.watch(monitor(loop, top, wire.stream), tstream_monitor_recv)
        closing = loop.watch(disconnect(loop, top, wire.stream), tstream_disconnect_recv)
        loop.settle()
        assert closing.result == (0, 0)
        assert watching.result == (-1, ECONNABORTED)
        assert closing.turn < watching.turn

    def test_a_freed_disconnect_does_not_reach_it(self, top, loop, unix):
        """Without its request the disconnect has no end that could be told."""
        req = monitor(loop, top, unix.stream)
        talloc_free(disconnect(loop, top, unix.stream))
        loop.settle()
        assert tevent_req_is_in_progress(req)
        assert talloc_free(req) == 0


class TestLifetime:
    def test_a_freed_monitor_is_never_called(self, top, loop, wire):
        """Freeing it before the error, the callback does not come, and nothing spins."""
        req = monitor(loop, top, wire.stream)
        seen = loop.watch(req)
        talloc_free(req)
        wire.peer.close()
        wire.gone()
        assert loop.settle() <= 1
        assert seen.calls == 0

    def test_freed_between_the_error_and_the_callback(self, top, loop, unix):
        """The deferred callback goes with the request; one more turn finds that nobody watches the descriptor."""
        req = monitor(loop, top, unix.stream)
        seen = loop.watch(req)
        unix.peer.close()
        loop.turn()
        assert not tevent_req_is_in_progress(req)
        talloc_free(req)
        assert loop.settle() == 1
        assert seen.calls == 0

    def test_one_that_was_refused_does_not_watch(self, top, loop, unix):
        """A monitor on another context than a waiting read is EINVAL, also when the stream fails before it is told."""
        other = Loop(top)
        reading = readv(loop, top, unix.stream, bytearray(1))
        seen = other.watch(monitor(other, top, unix.stream), tstream_monitor_recv)
        talloc_free(reading)
        unix.peer.close()
        loop.settle()
        other.settle()
        assert seen.result == (-1, EINVAL)

    def test_freeing_the_stream_silences_it(self, top, loop, unix):
        """The monitor becomes received, is not called and stays with its owner."""
        req = monitor(loop, top, unix.stream)
        seen = loop.watch(req)
        talloc_free(unix.stream)
        assert not tevent_req_is_in_progress(req)
        assert tevent_req_is_error(req)[:2] == (True, TEVENT_REQ_RECEIVED)
        assert loop.settle() == 0
        assert seen.calls == 0
        with pytest.raises(talloc_abort_error):
            tstream_monitor_recv(req)
        assert talloc_parent(req) is top

    def test_the_callback_may_free_the_stream(self, top, loop, unix):
        """Also with a read outstanding that was called back before."""
        watching = loop.watch(monitor(loop, top, unix.stream), then=lambda _: talloc_free(unix.stream))
        reading = loop.watch(readv(loop, top, unix.stream, bytearray(1)), tstream_readv_recv)
        unix.peer.close()
        loop.settle()
        assert (reading.calls, watching.calls) == (1, 1)
        assert not is_open(unix.fd)

    def test_the_reads_callback_may_free_the_monitor(self, top, loop, unix):
        """The error's first receiver frees the second one."""
        req = monitor(loop, top, unix.stream)
        watching = loop.watch(req)
        reading = loop.watch(readv(loop, top, unix.stream, bytearray(1)), then=lambda _: talloc_free(req))
        unix.peer.close()
        loop.settle()
        assert (reading.calls, watching.calls) == (1, 0)
