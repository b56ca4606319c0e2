# SPDX-License-Identifier: LGPL-3.0-or-later
"""Reads, writes and datagrams that wait for their turn in a queue."""

from __future__ import annotations

import socket
from errno import EBUSY, EINVAL, EIO, EMSGSIZE, ENOTCONN, EPIPE, ETIMEDOUT
from typing import Any

import pytest
from stream_kit import BIG, LengthPrefixed, Loop, Wire, disconnect, framed, is_open, writev

from talloc_py import talloc_abort_error, talloc_free, talloc_new, talloc_parent, talloc_total_blocks
from tevent import (
    set_errno,
    tevent_queue_create,
    tevent_queue_length,
    tevent_queue_start,
    tevent_queue_stop,
    tevent_req_is_in_progress,
    tevent_req_set_callback,
    tevent_req_set_endtime,
    timeval,
)
from tsocket import (
    iovec,
    tdgram_bsd_existing_socket,
    tdgram_sendto_queue_recv,
    tdgram_sendto_queue_send,
    tstream_disconnect_recv,
    tstream_readv_pdu_queue_recv,
    tstream_readv_pdu_queue_send,
    tstream_writev_queue_recv,
    tstream_writev_queue_send,
    tstream_writev_recv,
)


@pytest.fixture
def queue(top):
    """A running, empty queue."""
    return tevent_queue_create(top, "line")


def queued_write(loop, top, stream, queue, *vector):
    """A write through the queue."""
    req = tstream_writev_queue_send(top, loop.ev, stream, queue, list(vector))
    assert req is not None
    return req


def queued_pdu(loop, top, stream, queue, next_vector, data=None):
    """A PDU through the queue."""
    req = tstream_readv_pdu_queue_send(top, loop.ev, stream, queue, next_vector, data)
    assert req is not None
    return req


class TestOrder:
    def test_an_empty_queue_starts_inside_send(self, top, loop, unix, queue):
        """The bytes leave at once, the callback comes in the next turn."""
        req = queued_write(loop, top, unix.stream, queue, b"now")
        assert unix.drain() == b"now"
        assert tevent_req_is_in_progress(req)
        assert tevent_queue_length(queue) == 1
        seen = loop.watch(req, tstream_writev_queue_recv)
        assert loop.turn()
        assert seen.result == (3, 0)

    def test_others_wait_until_the_one_before_is_freed(self, top, loop, unix, queue):
        """One write a place: trigger and completion take a turn each."""
        seen = [
            loop.watch(queued_write(loop, top, unix.stream, queue, part), tstream_writev_queue_recv, free=True)
            for part in (b"1", b"22", b"333")
        ]
        assert unix.drain() == b"1"
        assert tevent_queue_length(queue) == 3
        loop.settle()
        assert [s.result for s in seen] == [(1, 0), (2, 0), (3, 0)]
        assert [s.turn for s in seen] == [1, 3, 5]
        assert unix.drain() == b"22333"
        assert tevent_queue_length(queue) == 0

    def test_recv_does_not_free_the_place(self, top, loop, unix, queue):
        """Without talloc_free the queue stands still."""
        first = queued_write(loop, top, unix.stream, queue, b"1")
        second = queued_write(loop, top, unix.stream, queue, b"2")
        loop.settle()
        assert tstream_writev_queue_recv(first) == (1, 0)
        assert loop.settle() == 0
        assert tevent_queue_length(queue) == 2
        assert unix.drain() == b"1"
        talloc_free(first)
        assert tevent_queue_length(queue) == 1
        assert unix.drain() == b""
        assert loop.turn()
        assert unix.drain() == b"2"
        assert tevent_req_is_in_progress(second)

    def test_pdus_in_turn(self, top, loop, unix, queue):
        """The next reader's function is not called before its turn."""
        readers = [LengthPrefixed() for _ in range(3)]
        seen = [
            loop.watch(
                queued_pdu(loop, top, unix.stream, queue, reader.next_vector), tstream_readv_pdu_queue_recv, free=True
            )
            for reader in readers
        ]
        assert [reader.calls for reader in readers] == [1, 0, 0]
        unix.peer.send(framed(b"one") + framed(b"") + framed(b"three"))
        loop.settle()
        assert [s.result for s in seen] == [(7, 0), (4, 0), (9, 0)]
        assert [bytes(reader.body or b"") for reader in readers] == [b"one", b"", b"three"]

    def test_a_blocked_write_holds_the_others(self, top, loop, unix, queue):
        """Nothing of the second goes out before the first is complete and freed."""
        first = loop.watch(queued_write(loop, top, unix.stream, queue, BIG), tstream_writev_queue_recv, free=True)
        second = loop.watch(queued_write(loop, top, unix.stream, queue, b"end"), tstream_writev_queue_recv, free=True)
        got = unix.drain_until(loop, lambda: second.calls)
        assert first.result == (len(BIG), 0)
        assert second.result == (3, 0)
        assert got == BIG + b"end"

    def test_one_queue_for_several_streams_and_helpers(self, top, loop, unix, tcp, queue):
        """The line is the queue's, whatever stands in it."""
        order: list[str] = []
        for name, req in (
            ("write unix", queued_write(loop, top, unix.stream, queue, b"a")),
            ("read tcp", queued_pdu(loop, top, tcp.stream, queue, LengthPrefixed().next_vector)),
            ("write tcp", queued_write(loop, top, tcp.stream, queue, b"b")),
        ):
            loop.watch(req, then=lambda _, name=name: order.append(name), free=False)
            tevent_req_set_callback(req, lambda r, name=name: (order.append(name), talloc_free(r)), None)
        loop.settle()
        assert order == ["write unix"]
        assert tcp.drain() == b""
        tcp.peer.send(framed(b"x"))
        loop.until(lambda: len(order) == 3)
        assert order == ["write unix", "read tcp", "write tcp"]

    def test_separate_queues_for_reading_and_writing(self, top, loop, unix):
        """A waiting PDU does not hold a write in another queue."""
        reads, writes = tevent_queue_create(top, "r"), tevent_queue_create(top, "w")
        queued_pdu(loop, top, unix.stream, reads, LengthPrefixed().next_vector)
        seen = loop.watch(queued_write(loop, top, unix.stream, writes, b"x"), tstream_writev_queue_recv)
        loop.settle()
        assert seen.result == (1, 0)

    def test_what_the_buffers_hold_at_their_turn_is_sent(self, top, loop, unix, queue):
        """Nothing is copied before: neither bytes nor the list of elements."""
        first = queued_write(loop, top, unix.stream, queue, b"1")
        data = bytearray(b"aaa")
        vector: list[Any] = [data]
        second = tstream_writev_queue_send(top, loop.ev, unix.stream, queue, vector)
        data[:] = b"bbb"
        vector.append(b"ccc")
        talloc_free(first)
        seen = loop.watch(second, tstream_writev_queue_recv)
        loop.settle()
        assert seen.result == (6, 0)
        assert unix.drain() == b"1bbbccc"

    def test_the_entrys_own_event_context(self, top, loop, unix, queue):
        """Each request is served by the context it was given."""
        other = Loop(top)
        first = queued_write(loop, top, unix.stream, queue, b"1")
        seen = other.watch(queued_write(other, top, unix.stream, queue, b"2"), tstream_writev_queue_recv)
        loop.settle()
        talloc_free(first)
        assert loop.settle() == 0
        assert other.settle() == 2
        assert seen.result == (1, 0)


class TestErrors:
    @pytest.mark.parametrize("vector", [None, [], [b""], [iovec(None, 0)]])
    def test_an_empty_vector_is_einval_from_the_loop(self, top, loop, unix, queue, vector):
        """In progress after ``_send``, unlike a direct write."""
        req = tstream_writev_queue_send(top, loop.ev, unix.stream, queue, vector)
        assert tevent_req_is_in_progress(req)
        seen = loop.watch(req, tstream_writev_queue_recv)
        assert loop.turn()
        assert seen.result == (-1, EINVAL)

    def test_too_many_elements_are_emsgsize_from_the_loop(self, top, loop, unix, queue):
        """The same."""
        req = queued_write(loop, top, unix.stream, queue, *[b"x"] * 1025)
        assert tevent_req_is_in_progress(req)
        seen = loop.watch(req, tstream_writev_queue_recv)
        loop.settle()
        assert seen.result == (-1, EMSGSIZE)

    @pytest.mark.parametrize(
        ("answer", "result"), [((0, None), (0, 0)), ((-1, None), (-1, EIO)), ((0, [bytearray()]), (-1, EINVAL))]
    )
    def test_what_a_pdu_finds_at_once_comes_from_the_loop(self, top, loop, unix, queue, answer, result):
        """An empty PDU, a failing function and a vector without bytes: in progress after ``_send``."""
        set_errno(0)
        req = queued_pdu(loop, top, unix.stream, queue, lambda *_: answer)
        assert tevent_req_is_in_progress(req)
        seen = loop.watch(req, tstream_readv_pdu_queue_recv)
        assert loop.turn()
        assert seen.result == result

    def test_a_failing_entry_does_not_stop_the_next(self, top, loop, unix, queue):
        """EINVAL in the middle, the others go through."""
        seen = [
            loop.watch(queued_write(loop, top, unix.stream, queue, part), tstream_writev_queue_recv, free=True)
            for part in (b"1", b"", b"3")
        ]
        loop.settle()
        assert [s.result for s in seen] == [(1, 0), (-1, EINVAL), (1, 0)]
        assert unix.drain() == b"13"

    def test_on_a_dead_stream_each_fails_in_turn(self, top, loop, unix, queue):
        """Every entry gets the stream's error, in order."""
        unix.peer.close()
        seen = [
            loop.watch(queued_write(loop, top, unix.stream, queue, b"x"), tstream_writev_queue_recv, free=True)
            for _ in range(3)
        ]
        loop.settle()
        assert [s.result for s in seen] == [(-1, EPIPE)] * 3
        assert seen[0].turn < seen[1].turn < seen[2].turn

    def test_a_direct_operation_beside_the_queue_is_the_second(self, top, loop, unix, queue):
        """EBUSY for whoever comes later: here the direct write."""
        running = loop.watch(queued_write(loop, top, unix.stream, queue, BIG), tstream_writev_queue_recv)
        assert tstream_writev_recv(writev(loop, top, unix.stream, b"x")) == (-1, EBUSY)
        unix.drain_until(loop, lambda: running.calls)
        assert running.result == (len(BIG), 0)

    def test_an_entry_whose_turn_comes_during_a_direct_operation(self, top, loop, unix, queue):
        """EBUSY for the entry, from the loop."""
        writev(loop, top, unix.stream, BIG)
        req = queued_write(loop, top, unix.stream, queue, b"x")
        assert tevent_req_is_in_progress(req)
        seen = loop.watch(req, tstream_writev_queue_recv)
        assert loop.turn()
        assert seen.result == (-1, EBUSY)

    def test_waiting_entries_do_not_make_disconnect_busy(self, top, loop, unix, queue):
        """Only what has started counts; the rest then fails with the disconnect's errors."""
        tevent_queue_stop(queue)
        waiting = loop.watch(queued_write(loop, top, unix.stream, queue, b"x"), tstream_writev_queue_recv)
        closing = loop.watch(disconnect(loop, top, unix.stream), tstream_disconnect_recv)
        loop.settle()
        assert closing.result == (0, 0)
        tevent_queue_start(queue)
        loop.settle()
        assert waiting.result == (-1, ENOTCONN)

    def test_second_recv_aborts(self, top, loop, unix, queue):
        """As with all stream requests."""
        req = queued_write(loop, top, unix.stream, queue, b"x")
        loop.settle()
        tstream_writev_queue_recv(req)
        with pytest.raises(talloc_abort_error):
            tstream_writev_queue_recv(req)

    def test_recv_of_a_waiting_request_is_eio(self, top, loop, unix, queue):
        """It is received, keeps its place, and does nothing when its turn comes."""
        first = queued_write(loop, top, unix.stream, queue, b"1")
        second = queued_write(loop, top, unix.stream, queue, b"2")
        third = queued_write(loop, top, unix.stream, queue, b"3")
        assert tstream_writev_queue_recv(second) == (-1, EIO)
        assert tevent_queue_length(queue) == 3
        loop.settle()
        talloc_free(first)
        loop.settle()
        assert unix.drain() == b"1"
        talloc_free(second)
        loop.settle()
        assert unix.drain() == b"3"
        talloc_free(third)

    def test_an_end_time_while_waiting(self, top, loop, unix, queue):
        """ETIMEDOUT; the request keeps its place until it is freed and then writes nothing."""
        first = queued_write(loop, top, unix.stream, queue, b"1")
        second = queued_write(loop, top, unix.stream, queue, b"2")
        tevent_req_set_endtime(second, loop.ev, timeval(0, 1))
        seen = loop.watch(second, tstream_writev_queue_recv)
        loop.settle()
        assert seen.result == (-1, ETIMEDOUT)
        talloc_free(first)
        loop.settle()
        assert unix.drain() == b"1"
        assert tevent_queue_length(queue) == 1
        talloc_free(second)
        assert tevent_queue_length(queue) == 0


class TestStopping:
    def test_the_running_one_finishes_the_others_wait(self, top, loop, unix, queue):
        """Start lets the next one go."""
        first = loop.watch(queued_write(loop, top, unix.stream, queue, b"1"), tstream_writev_queue_recv, free=True)
        second = loop.watch(queued_write(loop, top, unix.stream, queue, b"2"), tstream_writev_queue_recv, free=True)
        tevent_queue_stop(queue)
        loop.settle()
        assert first.result == (1, 0)
        assert second.calls == 0
        assert tevent_queue_length(queue) == 1
        tevent_queue_start(queue)
        assert unix.drain() == b"1"
        loop.settle()
        assert second.result == (1, 0)
        assert unix.drain() == b"2"

    def test_a_stopped_queue_starts_nothing(self, top, loop, unix, queue):
        """Also when it is empty."""
        tevent_queue_stop(queue)
        seen = loop.watch(queued_write(loop, top, unix.stream, queue, b"x"), tstream_writev_queue_recv)
        assert loop.settle() == 0
        assert unix.drain() == b""
        tevent_queue_start(queue)
        assert loop.settle() == 2
        assert seen.result == (1, 0)


class TestFreeing:
    def test_a_waiting_request_leaves_the_line(self, top, loop, unix, queue):
        """The others are not affected."""
        reqs = [queued_write(loop, top, unix.stream, queue, part) for part in (b"1", b"2", b"3")]
        seen = [loop.watch(req, tstream_writev_queue_recv, free=True) for req in reqs]
        talloc_free(reqs[1])
        assert tevent_queue_length(queue) == 2
        loop.settle()
        assert [s.calls for s in seen] == [1, 0, 1]
        assert unix.drain() == b"13"

    def test_the_running_request_lets_the_next_start(self, top, loop, unix, queue):
        """From an immediate, in a later turn."""
        running = queued_pdu(loop, top, unix.stream, queue, LengthPrefixed().next_vector)
        reader = LengthPrefixed()
        seen = loop.watch(
            queued_pdu(loop, top, unix.stream, queue, reader.next_vector), tstream_readv_pdu_queue_recv, free=True
        )
        unix.peer.send(b"\0")
        loop.settle()
        talloc_free(running)
        assert reader.calls == 0
        assert loop.turn()
        assert reader.calls == 1
        unix.peer.send(framed(b"ab"))
        loop.settle()
        assert seen.result == (6, 0)
        assert reader.body == b"ab"

    def test_the_running_blocked_write(self, top, loop, unix, queue):
        """What was written stays, the next begins behind it."""
        running = queued_write(loop, top, unix.stream, queue, b"A" * len(BIG))
        seen = loop.watch(queued_write(loop, top, unix.stream, queue, b"B"), tstream_writev_queue_recv)
        talloc_free(running)
        got = unix.drain_until(loop, lambda: seen.calls)
        assert got == b"A" * (len(got) - 1) + b"B"
        assert len(got) < len(BIG)

    def test_the_queue_with_waiting_requests(self, top, loop, unix, queue):
        """They stay in progress for ever; the running one completes."""
        running = loop.watch(queued_write(loop, top, unix.stream, queue, b"1"), tstream_writev_queue_recv)
        req = queued_write(loop, top, unix.stream, queue, b"2")
        waiting = loop.watch(req)
        assert talloc_free(queue) == 0
        loop.settle()
        assert running.result == (1, 0)
        assert waiting.calls == 0
        assert tevent_req_is_in_progress(req)
        assert talloc_free(req) == 0
        assert unix.drain() == b"1"

    def test_the_queue_with_a_running_pdu(self, top, loop, unix, queue):
        """A PDU in its middle completes without the queue."""
        reader = LengthPrefixed()
        seen = loop.watch(
            queued_pdu(loop, top, unix.stream, queue, reader.next_vector), tstream_readv_pdu_queue_recv, free=True
        )
        unix.peer.send(b"\0\0")
        loop.settle()
        talloc_free(queue)
        unix.peer.send(b"\0\2ab")
        loop.settle()
        assert seen.result == (6, 0)

    def test_the_stream(self, top, loop, unix, queue):
        """Neither the running request nor those behind it are ever called back; their owner frees them."""
        reqs = [queued_write(loop, top, unix.stream, queue, part) for part in (BIG, b"2")]
        seen = [loop.watch(req) for req in reqs]
        talloc_free(unix.stream)
        assert loop.settle() == 0
        assert [s.calls for s in seen] == [0, 0]
        assert all(tevent_req_is_in_progress(req) for req in reqs)
        assert tevent_queue_length(queue) == 2
        talloc_free(reqs[1])
        talloc_free(reqs[0])
        assert tevent_queue_length(queue) == 0
        assert loop.settle() == 0

    def test_the_stream_then_the_running_request(self, top, loop, unix, queue):
        """A request that waits for a stream that is gone: its turn aborts, naming the stream, and the loop goes on."""
        running = queued_write(loop, top, unix.stream, queue, BIG)
        waiting = queued_write(loop, top, unix.stream, queue, b"2")
        seen = loop.watch(waiting)
        talloc_free(unix.stream)
        talloc_free(running)
        with pytest.raises(talloc_abort_error, match="access after free"):
            loop.settle()
        assert seen.calls == 0
        talloc_free(waiting)
        assert loop.settle() == 0

    def test_everything_from_a_callback(self, top, loop):
        """Queue, stream and requests hang on one owner that the first callback frees."""
        conn = talloc_new(top)
        sock, peer = socket.socketpair()
        with peer:
            wire = Wire(conn, sock, peer)
            queue = tevent_queue_create(conn, "line")
            reqs = [queued_write(loop, conn, wire.stream, queue, b"x") for _ in range(3)]
            seen = [loop.watch(req, then=lambda _: talloc_free(conn)) for req in reqs]
            loop.settle()
            assert [s.calls for s in seen] == [1, 0, 0]
            assert not is_open(wire.fd)

    def test_the_owner_of_the_requests(self, top, loop, unix, queue):
        """All of them go, the queue is empty."""
        owner = talloc_new(top)
        for part in (BIG, b"2", b"3"):
            queued_write(loop, owner, unix.stream, queue, part)
        talloc_free(owner)
        assert tevent_queue_length(queue) == 0
        unix.drain()
        loop.settle()
        assert unix.drain() == b""


class TestChunks:
    def test_the_request_and_its_place(self, top, loop, unix, queue):
        """After ``_recv`` the request and its entry in the queue are what is left."""
        req = queued_write(loop, top, unix.stream, queue, b"x")
        loop.settle()
        tstream_writev_queue_recv(req)
        assert talloc_total_blocks(req) == 2
        assert talloc_parent(req) is top

    def test_a_long_queue_is_freed_in_any_order(self, top, loop, unix, queue):
        """Thousands of waiting requests."""
        reqs = [queued_write(loop, top, unix.stream, queue, b"x") for _ in range(3000)]
        for req in reqs[1::2]:
            talloc_free(req)
        assert tevent_queue_length(queue) == 1500
        seen = [loop.watch(req, free=True) for req in reqs[::2]]
        got = unix.drain_until(loop, lambda: all(s.calls for s in seen))
        assert all(s.calls == 1 for s in seen)
        assert len(got) == 1500


class TestArguments:
    @pytest.mark.parametrize("queue", [None, 3, "queue"])
    def test_a_queue_is_needed(self, top, loop, unix, queue):
        """Anything else is a TypeError, and no request remains."""
        blocks = talloc_total_blocks(top)
        with pytest.raises(TypeError):
            tstream_writev_queue_send(top, loop.ev, unix.stream, queue, [b"x"])
        with pytest.raises(TypeError):
            tstream_readv_pdu_queue_send(top, loop.ev, unix.stream, queue, LengthPrefixed().next_vector, None)
        assert talloc_total_blocks(top) == blocks

    def test_a_freed_queue_aborts(self, top, loop, unix, queue):
        """Use after free."""
        talloc_free(queue)
        blocks = talloc_total_blocks(top)
        with pytest.raises(talloc_abort_error, match="access after free"):
            tstream_writev_queue_send(top, loop.ev, unix.stream, queue, [b"x"])
        assert talloc_total_blocks(top) == blocks

    @pytest.mark.parametrize("length", [0, 1])
    def test_a_wrong_buffer_is_a_type_error(self, top, loop, unix, queue, length):
        """Whether it would start at once or has to wait."""
        for _ in range(length):
            queued_write(loop, top, unix.stream, queue, b"x")
        blocks = talloc_total_blocks(top)
        with pytest.raises(TypeError):
            queued_write(loop, top, unix.stream, queue, "text")
        assert talloc_total_blocks(top) == blocks
        assert tevent_queue_length(queue) == length

    def test_an_exception_of_the_function_in_send(self, top, loop, unix, queue):
        """It leaves ``_send``; no request and no entry remain."""

        def fail(*_: object) -> tuple[int, None]:
            raise ZeroDivisionError

        blocks = talloc_total_blocks(top)
        with pytest.raises(ZeroDivisionError):
            queued_pdu(loop, top, unix.stream, queue, fail)
        assert tevent_queue_length(queue) == 0
        assert talloc_total_blocks(top) == blocks

    def test_an_exception_of_the_function_in_its_turn(self, top, loop, unix, queue):
        """It leaves the loop; the entry holds its place until it is freed, then the next goes."""

        def fail(*_: object) -> tuple[int, None]:
            raise ZeroDivisionError

        first = queued_write(loop, top, unix.stream, queue, b"1")
        bad = queued_pdu(loop, top, unix.stream, queue, fail)
        last = loop.watch(queued_write(loop, top, unix.stream, queue, b"2"), tstream_writev_queue_recv)
        loop.settle()
        talloc_free(first)
        with pytest.raises(ZeroDivisionError):
            loop.settle()
        assert tevent_req_is_in_progress(bad)
        assert loop.settle() == 0
        talloc_free(bad)
        loop.settle()
        assert last.result == (1, 0)


class TestDatagrams:
    """The third helper, ``tdgram_sendto_queue_send``."""

    @pytest.fixture
    def dgram(self, top):
        """A datagram context and the raw socket it is connected to."""
        sock, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.setblocking(False)
        peer.setblocking(False)
        ret, dgram = tdgram_bsd_existing_socket(top, sock.detach())
        assert ret == 0
        with peer:
            yield dgram, peer

    def test_datagrams_go_in_turn(self, top, loop, dgram, queue):
        """The first leaves inside ``_send``, the others when those before them are freed."""
        context, peer = dgram
        seen = []
        for data in (b"1", b"22", b"333"):
            req = tdgram_sendto_queue_send(top, loop.ev, context, queue, data, None)
            assert tevent_req_is_in_progress(req)
            seen.append(loop.watch(req, tdgram_sendto_queue_recv, free=True))
        assert peer.recv(10) == b"1"
        with pytest.raises(BlockingIOError):
            peer.recv(10)
        loop.settle()
        assert [s.result for s in seen] == [(1, 0), (2, 0), (3, 0)]
        assert [s.turn for s in seen] == [1, 3, 5]
        assert peer.recv(10) == b"22"
        assert peer.recv(10) == b"333"

    def test_an_empty_datagram_is_einval_from_the_loop(self, top, loop, dgram, queue):
        """In progress after ``_send``; the next one is sent."""
        context, peer = dgram
        bad = tdgram_sendto_queue_send(top, loop.ev, context, queue, b"", None)
        assert tevent_req_is_in_progress(bad)
        seen = loop.watch(bad, tdgram_sendto_queue_recv, free=True)
        good = tdgram_sendto_queue_send(top, loop.ev, context, queue, b"x", None)
        last = loop.watch(good, tdgram_sendto_queue_recv, free=True)
        loop.settle()
        assert seen.result == (-1, EINVAL)
        assert last.result == (1, 0)
        assert peer.recv(10) == b"x"

    def test_freeing_the_context(self, top, loop, dgram, queue):
        """The requests stay, silent."""
        context, _ = dgram
        reqs = [tdgram_sendto_queue_send(top, loop.ev, context, queue, b"x", None) for _ in range(2)]
        seen = [loop.watch(req) for req in reqs]
        talloc_free(context)
        assert loop.settle() == 0
        assert [s.calls for s in seen] == [0, 0]
        for req in reversed(reqs):
            talloc_free(req)
        assert tevent_queue_length(queue) == 0
