# SPDX-License-Identifier: LGPL-3.0-or-later
"""The two switches of socket streams: optimised reads, and reads that fail at the first error."""

from __future__ import annotations

import socket
from errno import EBUSY, ECONNRESET, EPIPE

import pytest
from stream_kit import BIG, Loop, read_now, readv, writev

from talloc_py import TALLOC_CTX, talloc_free
from tevent import tevent_req_is_in_progress
from tsocket import (
    tstream_bsd_fail_readv_first_error,
    tstream_bsd_optimize_readv,
    tstream_context_create,
    tstream_context_ops,
    tstream_readv_recv,
)


class TestSwitches:
    @pytest.mark.parametrize("switch", [tstream_bsd_optimize_readv, tstream_bsd_fail_readv_first_error])
    def test_they_return_the_old_value_and_are_off_at_first(self, unix, switch):
        """False to begin with, then what was set."""
        assert switch(unix.stream, True) is False
        assert switch(unix.stream, True) is True
        assert switch(unix.stream, False) is True
        assert switch(unix.stream, False) is False

    def test_they_are_independent_and_belong_to_one_stream(self, unix, tcp):
        """Setting one switch of one stream sets no other."""
        tstream_bsd_optimize_readv(unix.stream, True)
        assert tstream_bsd_fail_readv_first_error(unix.stream, False) is False
        assert tstream_bsd_optimize_readv(tcp.stream, False) is False

    @pytest.mark.parametrize("switch", [tstream_bsd_optimize_readv, tstream_bsd_fail_readv_first_error])
    def test_another_kind_of_stream_ignores_them(self, top, switch):
        """Nothing happens, False."""

        class nothing_state(TALLOC_CTX):
            pass

        stream, _ = tstream_context_create(top, tstream_context_ops(name="nothing"), nothing_state)
        assert switch(stream, True) is False
        assert switch(stream, True) is False


class TestOptimisedReads:
    def test_data_that_is_there_is_read_inside_send(self, top, loop, wire):
        """The buffer is filled, the request in progress; the callback is posted."""
        tstream_bsd_optimize_readv(wire.stream, True)
        wire.peer.send(b"abc")
        wire.arrived()
        buf = bytearray(3)
        req = readv(loop, top, wire.stream, buf)
        assert buf == b"abc"
        assert tevent_req_is_in_progress(req)
        seen = loop.watch(req, tstream_readv_recv)
        assert loop.turn()
        assert seen.result == (3, 0)

    def test_a_part_is_read_inside_send_and_the_rest_waited_for(self, top, loop, unix):
        """One attempt, then the usual wait."""
        tstream_bsd_optimize_readv(unix.stream, True)
        unix.peer.send(b"ab")
        buf = bytearray(4)
        seen = loop.watch(readv(loop, top, unix.stream, buf), tstream_readv_recv)
        assert buf == b"ab\0\0"
        assert loop.settle() == 0
        unix.peer.send(b"cd")
        assert loop.settle() == 1
        assert seen.result == (4, 0)
        assert buf == b"abcd"

    def test_nothing_there_is_waited_for(self, top, loop, unix):
        """An attempt without data is no error."""
        tstream_bsd_optimize_readv(unix.stream, True)
        seen = loop.watch(readv(loop, top, unix.stream, bytearray(1)), tstream_readv_recv)
        assert loop.settle() == 0
        unix.peer.send(b"x")
        loop.settle()
        assert seen.result == (1, 0)

    def test_an_end_of_file_found_inside_send_is_delivered_by_the_loop(self, top, loop, unix):
        """EPIPE, posted."""
        tstream_bsd_optimize_readv(unix.stream, True)
        unix.peer.close()
        req = readv(loop, top, unix.stream, bytearray(1))
        assert tevent_req_is_in_progress(req)
        seen = loop.watch(req, tstream_readv_recv)
        assert loop.turn()
        assert seen.result == (-1, EPIPE)

    def test_freeing_it_before_delivery_loses_the_bytes(self, top, loop, unix):
        """They were taken inside ``_send``; the next read begins behind them."""
        tstream_bsd_optimize_readv(unix.stream, True)
        unix.peer.send(b"abcd")
        req = readv(loop, top, unix.stream, bytearray(2))
        seen = loop.watch(req)
        talloc_free(req)
        assert read_now(loop, unix.stream, 2) == ((2, 0), b"cd")
        assert seen.calls == 0

    def test_switching_it_off_again(self, top, loop, unix):
        """The next read waits for its event."""
        tstream_bsd_optimize_readv(unix.stream, True)
        tstream_bsd_optimize_readv(unix.stream, False)
        unix.peer.send(b"a")
        buf = bytearray(1)
        readv(loop, top, unix.stream, buf)
        assert buf == b"\0"

    def test_the_stream_stays_busy_until_delivery(self, top, loop, unix):
        """A read that is complete but not delivered refuses the next."""
        tstream_bsd_optimize_readv(unix.stream, True)
        unix.peer.send(b"ab")
        first = loop.watch(readv(loop, top, unix.stream, bytearray(1)), tstream_readv_recv)
        finished_late = readv(loop, top, unix.stream, bytearray(1))
        assert not tevent_req_is_in_progress(finished_late)
        assert tstream_readv_recv(finished_late) == (-1, EBUSY)
        loop.settle()
        assert first.result == (1, 0)

    def test_it_works_on_any_event_context_when_the_data_is_there(self, top, loop, unix):
        """A read that does not wait does not mind that a write waits elsewhere."""
        other = Loop(top)
        writev(loop, top, unix.stream, BIG)
        tstream_bsd_optimize_readv(unix.stream, True)
        unix.peer.send(b"x")
        assert read_now(other, unix.stream, 1) == ((1, 0), b"x")


class TestFailAtFirstError:
    def test_unix_close_is_epipe_although_data_waits(self, top, loop, unix):
        """A waiting read is not given the data that came before the close."""
        tstream_bsd_fail_readv_first_error(unix.stream, True)
        reading = loop.watch(readv(loop, top, unix.stream, bytearray(4)), tstream_readv_recv)
        unix.peer.send(b"abcd")
        unix.peer.close()
        loop.settle()
        assert reading.result == (-1, EPIPE)

    def test_half_close_is_econnreset_although_data_waits(self, top, loop, wire):
        """The same for the end of the peer's output."""
        tstream_bsd_fail_readv_first_error(wire.stream, True)
        reading = loop.watch(readv(loop, top, wire.stream, bytearray(4)), tstream_readv_recv)
        wire.peer.send(b"abcd")
        wire.peer.shutdown(socket.SHUT_WR)
        wire.gone()
        loop.settle()
        assert reading.result == (-1, ECONNRESET)

    def test_data_without_an_error_is_read_as_ever(self, top, loop, unix):
        """The switch says nothing about a healthy stream."""
        tstream_bsd_fail_readv_first_error(unix.stream, True)
        unix.peer.send(b"abcd")
        assert read_now(loop, unix.stream, 4) == ((4, 0), b"abcd")

    def test_an_optimised_read_that_succeeds_at_once_gets_the_data(self, top, loop, unix):
        """No event, no error."""
        tstream_bsd_fail_readv_first_error(unix.stream, True)
        tstream_bsd_optimize_readv(unix.stream, True)
        unix.peer.send(b"abcd")
        unix.peer.close()
        assert read_now(loop, unix.stream, 4) == ((4, 0), b"abcd")
