# SPDX-License-Identifier: LGPL-3.0-or-later
"""The core of streams: arguments, busy streams, full reads and writes, when callbacks come."""

from __future__ import annotations

import array
import contextlib
import inspect
import socket
from errno import EBUSY, EINVAL, EMSGSIZE, EPIPE

import pytest
from stream_kit import BIG, MIB, Wire, disconnect, drain, finished_with, is_open, read_now, readv, write_now, writev

from talloc_py import TALLOC_FREE, talloc_free
from tevent import tevent_req, tevent_req_is_in_progress, tevent_req_set_callback
from tsocket import (
    iovec,
    tstream_bsd_optimize_readv,
    tstream_disconnect_recv,
    tstream_pending_bytes,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_writev_recv,
    tstream_writev_send,
)

DIRECTIONS = pytest.mark.parametrize(
    ("send", "recv"),
    [(tstream_readv_send, tstream_readv_recv), (tstream_writev_send, tstream_writev_recv)],
    ids=["readv", "writev"],
)


class TestArguments:
    """What the core refuses before it asks the backend."""

    @DIRECTIONS
    @pytest.mark.parametrize(
        "vector", [None, [], (), [bytearray()], [iovec(None, 0), bytearray()], [iovec(bytearray(3), 0)]]
    )
    def test_nothing_to_transfer_is_einval(self, top, loop, unix, send, recv, vector):
        """No vector, an empty one, or one of empty elements fails inside ``_send``."""
        finished_with(loop, send(top, loop.ev, unix.stream, vector), recv, EINVAL)

    @DIRECTIONS
    def test_more_elements_than_iov_max_is_emsgsize(self, top, loop, unix, send, recv):
        """1025 elements are too many, though their sum is small."""
        finished_with(loop, send(top, loop.ev, unix.stream, [bytearray(1)] * 1025), recv, EMSGSIZE)

    @DIRECTIONS
    def test_too_many_elements_are_noticed_before_their_emptiness(self, top, loop, unix, send, recv):
        """1025 empty elements are too many rather than nothing."""
        finished_with(loop, send(top, loop.ev, unix.stream, [bytearray()] * 1025), recv, EMSGSIZE)

    def test_exactly_iov_max_elements_are_read_and_written(self, top, loop, unix):
        """1024 elements are allowed."""
        seen = loop.watch(writev(loop, top, unix.stream, *[b"x"] * 1024), tstream_writev_recv)
        loop.settle()
        assert seen.result == (1024, 0)
        unix.peer.send(b"y" * 1024)
        bufs = [bytearray(1) for _ in range(1024)]
        seen = loop.watch(readv(loop, top, unix.stream, *bufs), tstream_readv_recv)
        loop.settle()
        assert seen.result == (1024, 0)
        assert b"".join(bufs) == b"y" * 1024

    def test_a_sum_beyond_31_bits_is_allowed(self, top, loop, unix):
        """The sum of the lengths may be larger than a C int."""
        req = writev(loop, top, unix.stream, *[bytes(4 * MIB)] * 600)
        assert tevent_req_is_in_progress(req)
        assert loop.settle() == 0
        assert tevent_req_is_in_progress(req)
        talloc_free(req)

    @DIRECTIONS
    def test_arguments_are_checked_before_busyness(self, top, loop, unix, send, recv):
        """On a busy stream an empty vector is EINVAL, not EBUSY."""
        send(top, loop.ev, unix.stream, [bytearray(BIG)])
        finished_with(loop, send(top, loop.ev, unix.stream, []), recv, EINVAL)

    def test_empty_elements_are_allowed_beside_others(self, top, loop, unix):
        """Empty elements, also without a buffer, may stand anywhere in a vector."""
        seen = loop.watch(
            writev(loop, top, unix.stream, iovec(None, 0), b"", b"ab", iovec(None, 0), b"c", b""), tstream_writev_recv
        )
        loop.settle()
        assert seen.result == (3, 0)
        assert unix.drain() == b"abc"
        unix.peer.send(b"xyz")
        one, two = bytearray(1), bytearray(2)
        seen = loop.watch(
            readv(loop, top, unix.stream, bytearray(), one, iovec(None, 0), two, iovec(None, 0)), tstream_readv_recv
        )
        loop.settle()
        assert seen.result == (3, 0)
        assert (one, two) == (b"x", b"yz")

    def test_iovec_may_name_a_part_of_its_buffer(self, top, loop, unix):
        """iov_len counts, not the buffer's length; a memoryview can be a slice."""
        buf = bytearray(b"........")
        unix.peer.send(b"1234")
        seen = loop.watch(readv(loop, top, unix.stream, iovec(buf, 2), memoryview(buf)[4:6]), tstream_readv_recv)
        loop.settle()
        assert seen.result == (4, 0)
        assert buf == b"12..34.."
        assert write_now(loop, unix.stream, b"") == (-1, EINVAL)
        seen = loop.watch(writev(loop, top, unix.stream, iovec(b"hello", 4)), tstream_writev_recv)
        loop.settle()
        assert seen.result == (4, 0)
        assert unix.drain() == b"hell"

    @pytest.mark.parametrize("make", [bytes, bytearray, memoryview, lambda b: array.array("B", b)], ids=str)
    def test_any_bytes_like_object_is_written(self, loop, unix, make):
        """Bytes, bytearrays, memoryviews and arrays can be written as they are."""
        assert write_now(loop, unix.stream, make(b"data")) == (4, 0)
        assert unix.drain() == b"data"

    def test_elements_wider_than_a_byte_count_in_bytes(self, top, loop, unix):
        """A buffer of 32-bit items has four bytes an item, for reads and writes."""
        words = array.array("I", [1, 2])
        assert write_now(loop, unix.stream, words) == (8, 0)
        data = unix.drain()
        assert data == words.tobytes()
        unix.peer.send(data)
        into = array.array("I", [0, 0])
        seen = loop.watch(readv(loop, top, unix.stream, into), tstream_readv_recv)
        loop.settle()
        assert seen.result == (8, 0)
        assert into == words


class TestBusy:
    """One read and one write at a time."""

    def test_second_read_is_ebusy_and_leaves_the_first_alone(self, top, loop, wire):
        """The refused read is finished inside ``_send``; the first goes on."""
        buf = bytearray(3)
        first = loop.watch(readv(loop, top, wire.stream, buf), tstream_readv_recv)
        finished_with(loop, readv(loop, top, wire.stream, bytearray(1)), tstream_readv_recv, EBUSY)
        wire.peer.send(b"abc")
        loop.until(lambda: first.calls)
        assert first.result == (3, 0)
        assert buf == b"abc"

    def test_second_write_is_ebusy_and_leaves_the_first_alone(self, top, loop, wire):
        """The refused write is finished inside ``_send``, sends nothing, and the first goes on."""
        first = loop.watch(writev(loop, top, wire.stream, BIG), tstream_writev_recv)
        finished_with(loop, writev(loop, top, wire.stream, b"no"), tstream_writev_recv, EBUSY)
        got = wire.drain_until(loop, lambda: first.calls)
        assert first.result == (len(BIG), 0)
        talloc_free(wire.stream)
        wire.peer.setblocking(True)
        assert got + drain(wire.peer) == BIG

    def test_a_write_that_went_through_is_outstanding_until_its_turn(self, top, loop, unix):
        """Until the posted result is delivered a second write is refused."""
        first = loop.watch(writev(loop, top, unix.stream, b"1"), tstream_writev_recv)
        refused = writev(loop, top, unix.stream, b"2")
        assert not tevent_req_is_in_progress(refused)
        loop.turn()
        assert first.result == (1, 0)
        assert tstream_writev_recv(refused) == (-1, EBUSY)
        assert unix.drain() == b"1"

    def test_reads_and_writes_are_independent(self, top, loop, wire):
        """A waiting read does not hinder a write, nor a blocked write a read."""
        buf = bytearray(1)
        reading = loop.watch(readv(loop, top, wire.stream, buf), tstream_readv_recv)
        assert write_now(loop, wire.stream, b"w") == (1, 0)
        writing = writev(loop, top, wire.stream, BIG)
        wire.peer.send(b"r")
        loop.until(lambda: reading.calls)
        assert reading.result == (1, 0)
        assert buf == b"r"
        assert tevent_req_is_in_progress(writing)

    def test_the_stream_is_free_when_the_callback_runs(self, top, loop, unix):
        """A finished read that nobody received yet does not keep the stream busy."""
        again: list[tevent_req] = []
        unix.peer.send(b"ab")
        req = readv(loop, top, unix.stream, bytearray(1))
        loop.watch(req, then=lambda _: again.append(readv(loop, top, unix.stream, bytearray(1))))
        assert loop.turn()
        assert tevent_req_is_in_progress(again[0])
        second = loop.watch(again[0], tstream_readv_recv)
        loop.settle()
        assert second.result == (1, 0)
        assert tstream_readv_recv(req) == (1, 0)

    def test_the_stream_is_free_for_the_next_write_when_the_callback_runs(self, top, loop, unix):
        """A finished write that nobody received yet does not keep the stream busy."""
        again: list[tevent_req] = []
        req = writev(loop, top, unix.stream, b"1")
        loop.watch(req, then=lambda _: again.append(writev(loop, top, unix.stream, b"2")))
        assert loop.turn()
        second = loop.watch(again[0], tstream_writev_recv)
        loop.settle()
        assert second.result == (1, 0)
        assert tstream_writev_recv(req) == (1, 0)
        assert unix.drain() == b"12"

    def test_disconnect_may_follow_an_unreceived_read(self, top, loop, unix):
        """A read that is finished but not received does not make disconnect busy."""
        unix.peer.send(b"a")
        loop.watch(readv(loop, top, unix.stream, bytearray(1)))
        loop.settle()
        seen = loop.watch(disconnect(loop, top, unix.stream), tstream_disconnect_recv)
        loop.settle()
        assert seen.result == (0, 0)


class TestTransfer:
    """Reads fill their vector, writes hand over all of theirs."""

    def test_a_read_completes_when_the_vector_is_full(self, top, loop, unix):
        """However the bytes come in pieces, the callback comes once, with the total."""
        one, two = bytearray(3), bytearray(4)
        seen = loop.watch(readv(loop, top, unix.stream, one, two), tstream_readv_recv)
        for piece in (b"a", b"bcd", b"ef"):
            unix.peer.send(piece)
            assert loop.settle() == 1
            assert seen.calls == 0
        unix.peer.send(b"gh")
        assert loop.turn()
        assert seen.result == (7, 0)
        assert (one, two) == (b"abc", b"defg")
        assert tstream_pending_bytes(unix.stream) == 1

    def test_a_write_completes_when_the_kernel_has_everything(self, top, loop, wire):
        """A blocked write goes on as the peer reads, in order, across the elements of its vector."""
        parts = [bytes([n]) * (3 * MIB + n) for n in range(5)]
        seen = loop.watch(writev(loop, top, wire.stream, *parts), tstream_writev_recv)
        expect = b"".join(parts)
        got = wire.drain_until(loop, lambda: seen.calls)
        assert seen.result == (len(expect), 0)
        talloc_free(wire.stream)
        wire.peer.setblocking(True)
        assert got + drain(wire.peer) == expect

    def test_end_of_file_before_anything_is_epipe(self, loop, wire):
        """A read at the end of the stream fails with EPIPE."""
        wire.peer.shutdown(socket.SHUT_WR)
        assert read_now(loop, wire.stream, 1)[0] == (-1, EPIPE)

    def test_end_of_file_in_the_middle_is_epipe_with_the_part_in_the_buffer(self, loop, wire):
        """A read that cannot be filled fails; what came is in the buffer, its length is not told."""
        wire.peer.send(b"ab")
        wire.peer.shutdown(socket.SHUT_WR)
        result, buf = read_now(loop, wire.stream, 4)
        assert result == (-1, EPIPE)
        assert buf == b"ab\0\0"

    def test_data_before_the_end_of_file_is_delivered(self, loop, wire):
        """Exactly the bytes that were sent before the end can be read."""
        wire.peer.send(b"abcd")
        wire.peer.close()
        assert read_now(loop, wire.stream, 4) == ((4, 0), b"abcd")
        assert read_now(loop, wire.stream, 1)[0] == (-1, EPIPE)

    def test_the_callers_vector_is_copied_and_never_changed(self, top, loop, unix):
        """The list of elements may be changed after ``_send``; the iovecs are not advanced."""
        buf, other = bytearray(4), bytearray(4)
        vec = iovec(buf, 4)
        vector = [vec]
        seen = loop.watch(tstream_readv_send(top, loop.ev, unix.stream, vector), tstream_readv_recv)
        vector[0] = iovec(other, 4)
        unix.peer.send(b"ab")
        loop.settle()
        assert (vec.iov_base, vec.iov_len) == (buf, 4)
        assert vec.iov_base is buf
        unix.peer.send(b"cd")
        loop.settle()
        assert seen.result == (4, 0)
        assert (buf, other) == (b"abcd", bytes(4))
        assert (vec.iov_base is buf, vec.iov_len) == (True, 4)

    def test_the_callers_iovec_may_be_changed_after_a_read_began(self, top, loop, unix):
        """A changed iov_base or iov_len does not reach the outstanding read."""
        buf, other = bytearray(4), bytearray(4)
        vec = iovec(buf, 4)
        seen = loop.watch(tstream_readv_send(top, loop.ev, unix.stream, [vec]), tstream_readv_recv)
        vec.iov_base, vec.iov_len = other, 1
        unix.peer.send(b"abcd")
        loop.settle()
        assert seen.result == (4, 0)
        assert (buf, other) == (b"abcd", bytes(4))

    def test_the_bytes_of_a_blocked_write_are_not_copied(self, top, loop, unix):
        """What the buffer holds when its turn comes is what is sent."""
        data = bytearray(BIG)
        seen = loop.watch(writev(loop, top, unix.stream, data), tstream_writev_recv)
        data[-3:] = b"end"
        got = unix.drain_until(loop, lambda: seen.calls)
        assert got[-3:] == b"end"
        assert len(got) == len(data)


class TestCallbacks:
    """In which turn of the loop results come."""

    def test_a_write_that_goes_through_is_in_progress_after_send_and_done_in_the_next_turn(self, top, loop, wire):
        """The bytes leave inside ``_send``, the callback is posted."""
        req = writev(loop, top, wire.stream, b"now")
        assert tevent_req_is_in_progress(req)
        seen = loop.watch(req, tstream_writev_recv)
        assert seen.calls == 0
        assert loop.turn()
        assert seen.result == (3, 0)
        assert wire.drain() == b"now"
        assert loop.settle() == 0

    def test_a_read_waits_even_if_data_is_there(self, top, loop, unix):
        """Without optimisation a read makes no attempt inside ``_send``; its data comes with the event."""
        unix.peer.send(b"abc")
        buf = bytearray(3)
        req = readv(loop, top, unix.stream, buf)
        assert tevent_req_is_in_progress(req)
        assert buf == bytes(3)
        assert tstream_pending_bytes(unix.stream) == 3
        seen = loop.watch(req, tstream_readv_recv)
        assert loop.turn()
        assert seen.result == (3, 0)
        assert buf == b"abc"

    def test_disconnect_is_in_progress_after_send_and_done_in_the_next_turn(self, top, loop, wire):
        """The descriptor is closed inside ``_send``, the callback is posted."""
        req = disconnect(loop, top, wire.stream)
        assert tevent_req_is_in_progress(req)
        assert not is_open(wire.fd)
        seen = loop.watch(req, tstream_disconnect_recv)
        assert loop.turn()
        assert seen.result == (0, 0)

    def test_posted_results_come_in_order_one_a_turn_before_descriptors(self, top, loop, unix):
        """A write, a refused write and an empty one, then the readable descriptor."""
        order: list[str] = []
        unix.peer.send(b"r")
        for name, req in (
            ("read", readv(loop, top, unix.stream, bytearray(1))),
            ("written", writev(loop, top, unix.stream, b"w")),
            ("busy", writev(loop, top, unix.stream, b"x")),
            ("empty", writev(loop, top, unix.stream)),
        ):
            loop.watch(req, then=lambda _, name=name: order.append(name))
        got = []
        while loop.turn():
            got.append(list(order))
        assert got[-1] == ["written", "busy", "empty", "read"]
        assert [len(names) for names in got] == [1, 2, 3, 4]

    def test_recv_works_at_once_on_a_refused_request(self, top, loop, unix):
        """A request that failed inside ``_send`` can be received without a turn of the loop, and then never calls."""
        req = writev(loop, top, unix.stream)
        seen = loop.watch(req)
        assert tstream_writev_recv(req) == (-1, EINVAL)
        assert loop.settle() == 0
        assert seen.calls == 0

    def test_a_callback_may_start_the_next_operation_without_recursion(self, top, loop, unix):
        """Thousands of reads chained from callbacks do not nest."""
        total = 3000
        unix.peer.send(bytes(total))
        depths: list[int] = []
        tstream_bsd_optimize_readv(unix.stream, True)

        def next_one(subreq: tevent_req | None = None) -> None:
            if subreq is not None:
                assert tstream_readv_recv(subreq) == (1, 0)
                TALLOC_FREE(subreq)
            depths.append(len(inspect.stack(0)) if len(depths) in (2, total - 1) else 0)
            if len(depths) <= total:
                tevent_req_set_callback(readv(loop, top, unix.stream, bytearray(1)), next_one, None)

        next_one()
        loop.until(lambda: len(depths) > total)
        assert depths[2] == depths[total - 1] > 0

    def test_one_readable_event_is_one_readv(self, top, loop, unix):
        """A large read takes many turns, and other events are served between them."""
        size = 4 * MIB
        data = bytearray(size)
        reading = loop.watch(readv(loop, top, unix.stream, data), tstream_readv_recv)
        other, other_peer = socket.socketpair()
        with other_peer:
            second = Wire(top, other, other_peer)
            answered = loop.watch(readv(loop, top, second.stream, bytearray(1)), tstream_readv_recv)
            sent = unix.peer.send(BIG[:size])
            other_peer.send(b"x")
            loop.until(lambda: answered.calls)
            assert loop.count <= 2
            while not reading.calls:
                assert loop.turn() or sent < size
                if sent < size:
                    with contextlib.suppress(BlockingIOError):
                        sent += unix.peer.send(BIG[sent:size])
        assert reading.result == (size, 0)

    def test_the_outer_request_is_called_back_in_the_turn_of_its_event(self, top, loop, unix):
        """No extra turn lies between the readable event and the callback of the read."""
        seen = loop.watch(readv(loop, top, unix.stream, bytearray(2)), tstream_readv_recv)
        unix.peer.send(b"ab")
        assert loop.settle() == 1
        assert seen.turn == 1
