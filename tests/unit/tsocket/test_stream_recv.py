# SPDX-License-Identifier: LGPL-3.0-or-later
"""What ``_recv`` answers in each state, and stream requests as requests: end times, cancel, owners."""

from __future__ import annotations

from errno import EBUSY, EINVAL, EIO, ETIMEDOUT

import pytest
from stream_kit import BIG, LengthPrefixed, disconnect, is_open, monitor, pdu, read_now, readv, writev

from talloc_py import TALLOC_CTX, talloc_abort_error, talloc_free, talloc_get_name, talloc_parent, talloc_total_blocks
from tevent import (
    tevent_req_cancel,
    tevent_req_create,
    tevent_req_is_in_progress,
    tevent_req_print,
    tevent_req_set_endtime,
    timeval,
)
from tsocket import (
    tstream_disconnect_recv,
    tstream_monitor_recv,
    tstream_readv_pdu_queue_recv,
    tstream_readv_pdu_recv,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_writev_queue_recv,
    tstream_writev_recv,
    tstream_writev_send,
)

DIRECTIONS = pytest.mark.parametrize(
    ("send", "recv"),
    [(tstream_readv_send, tstream_readv_recv), (tstream_writev_send, tstream_writev_recv)],
    ids=["readv", "writev"],
)


class TestRecv:
    """What ``_recv`` answers in each state."""

    @DIRECTIONS
    def test_recv_in_progress_is_eio_and_cancels(self, top, loop, unix, send, recv):
        """Receiving a request in progress gives EIO, and the stream can be used again at once."""
        req = send(top, loop.ev, unix.stream, [bytearray(BIG)])
        seen = loop.watch(req)
        assert tevent_req_is_in_progress(req)
        assert recv(req) == (-1, EIO)
        assert not tevent_req_is_in_progress(req)
        again = send(top, loop.ev, unix.stream, [bytearray(BIG)])
        assert tevent_req_is_in_progress(again)
        loop.settle()
        assert seen.calls == 0
        assert talloc_free(req) == 0

    def test_a_cancelled_read_does_not_take_the_bytes(self, top, loop, unix):
        """Bytes that come after the cancelling stay for the next read."""
        req = readv(loop, top, unix.stream, bytearray(2))
        assert tstream_readv_recv(req) == (-1, EIO)
        unix.peer.send(b"ab")
        assert read_now(loop, unix.stream, 2) == ((2, 0), b"ab")

    def test_recv_of_a_disconnect_in_progress_is_eio(self, top, loop, unix):
        """The descriptor is gone all the same."""
        req = disconnect(loop, top, unix.stream)
        assert tstream_disconnect_recv(req) == (-1, EIO)
        assert not is_open(unix.fd)

    @DIRECTIONS
    def test_second_recv_aborts(self, top, loop, unix, send, recv):
        """A second ``_recv`` finds no state of its type any more."""
        req = send(top, loop.ev, unix.stream, [])
        assert recv(req) == (-1, EINVAL)
        with pytest.raises(talloc_abort_error):
            recv(req)

    def test_recv_of_another_operation_aborts(self, top, loop, unix):
        """A read cannot be received as a write, a PDU or a monitor; it stays as it was."""
        req = readv(loop, top, unix.stream, bytearray(1))
        for recv in (
            tstream_writev_recv,
            tstream_readv_pdu_recv,
            tstream_readv_pdu_queue_recv,
            tstream_writev_queue_recv,
            tstream_monitor_recv,
        ):
            with pytest.raises(talloc_abort_error):
                recv(req)
        assert tevent_req_is_in_progress(req)
        seen = loop.watch(req, tstream_readv_recv)
        unix.peer.send(b"x")
        loop.settle()
        assert seen.result == (1, 0)

    def test_recv_of_a_users_own_request_aborts(self, top):
        """A request of the user's own type is not a read."""

        class foo_state(TALLOC_CTX):
            pass

        req, _ = tevent_req_create(top, foo_state)
        assert req is not None
        with pytest.raises(talloc_abort_error):
            tstream_readv_recv(req)
        assert tevent_req_is_in_progress(req)

    def test_disconnect_recv_has_nothing_to_check(self, top, loop, unix):
        """A second ``tstream_disconnect_recv`` is EIO, and any request is taken."""
        req = disconnect(loop, top, unix.stream)
        loop.settle()
        assert tstream_disconnect_recv(req) == (0, 0)
        assert tstream_disconnect_recv(req) == (-1, EIO)
        other = writev(loop, top, unix.stream)
        assert tstream_disconnect_recv(other) == (-1, EINVAL)

    def test_the_request_stays_after_recv_and_has_no_children_left(self, top, loop, unix):
        """``_recv`` ends the request but leaves its chunk to its owner."""
        req = writev(loop, top, unix.stream, b"x")
        loop.settle()
        assert tstream_writev_recv(req) == (1, 0)
        assert talloc_total_blocks(req) == 1
        assert talloc_parent(req) is top
        assert talloc_free(req) == 0

    def test_a_callback_replaced_after_the_end_is_the_one_that_is_called(self, top, loop, unix):
        """The function that is set when the posted request fires is called."""
        req = writev(loop, top, unix.stream)
        first = loop.watch(req)
        second = loop.watch(req)
        loop.settle()
        assert (first.calls, second.calls) == (0, 1)


class TestRequests:
    """Streams' requests are ordinary requests."""

    @pytest.mark.parametrize(
        "start",
        [
            lambda loop, top, s: readv(loop, top, s, bytearray(1)),
            lambda loop, top, s: writev(loop, top, s, BIG),
            disconnect,
            monitor,
            lambda loop, top, s: pdu(loop, top, s, LengthPrefixed().next_vector),
        ],
        ids=["readv", "writev", "disconnect", "monitor", "pdu"],
    )
    def test_cancel_is_refused(self, top, loop, unix, start):
        """No stream request has a cancel function."""
        req = start(loop, top, unix.stream)
        assert not tevent_req_cancel(req)
        assert tevent_req_is_in_progress(req)

    @DIRECTIONS
    def test_end_time_fails_the_request_with_etimedout(self, top, loop, unix, send, recv):
        """A request that is not done at its end time gives ETIMEDOUT."""
        req = send(top, loop.ev, unix.stream, [bytearray(BIG)])
        assert tevent_req_set_endtime(req, loop.ev, timeval(0, 1))
        seen = loop.watch(req, recv)
        loop.settle()
        assert seen.result == (-1, ETIMEDOUT)

    def test_the_stream_works_after_a_timed_out_read(self, top, loop, unix):
        """A read that timed out took no bytes, and the next one gets them."""
        req = readv(loop, top, unix.stream, bytearray(1))
        tevent_req_set_endtime(req, loop.ev, timeval(0, 1))
        seen = loop.watch(req, tstream_readv_recv, free=True)
        loop.settle()
        assert seen.result == (-1, ETIMEDOUT)
        unix.peer.send(b"z")
        assert read_now(loop, unix.stream, 1) == ((1, 0), b"z")

    @pytest.mark.parametrize("receive_first", [True, False])
    def test_a_read_after_an_unreceived_timeout_does_not_hang(self, top, loop, unix, receive_first):
        """Before the timed out read is received a new one works or is refused, but does not wait for ever."""
        old = readv(loop, top, unix.stream, bytearray(1))
        tevent_req_set_endtime(old, loop.ev, timeval(0, 1))
        loop.settle()
        assert not tevent_req_is_in_progress(old)
        new = readv(loop, top, unix.stream, bytearray(1))
        seen = loop.watch(new, tstream_readv_recv)
        if receive_first:
            assert tstream_readv_recv(old) == (-1, ETIMEDOUT)
        else:
            talloc_free(old)
        unix.peer.send(b"n")
        loop.settle()
        assert seen.result in ((1, 0), (-1, EBUSY))
        assert read_now(loop, unix.stream, 1)[0] == (1, 0) if seen.result[0] == -1 else True

    def test_mem_ctx_none_makes_a_top_level_request(self, loop, unix):
        """A request without an owner works and is freed by hand."""
        req = writev(loop, None, unix.stream, b"x")
        assert talloc_parent(req) is None
        seen = loop.watch(req, tstream_writev_recv, free=True)
        loop.settle()
        assert seen.result == (1, 0)

    def test_the_request_is_named_and_owned_as_a_tevent_req(self, top, loop, unix):
        """A stream's request is a `tevent_req` below its owner."""
        req = readv(loop, top, unix.stream, bytearray(1))
        assert talloc_get_name(req) == "struct tevent_req"
        assert talloc_parent(req) is top
        assert tevent_req_print(top, req)
