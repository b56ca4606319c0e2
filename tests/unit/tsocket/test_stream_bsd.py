# SPDX-License-Identifier: LGPL-3.0-or-later
"""Streams over sockets: waiting, draining, idle data, pipes, descriptors; mostly what the loop does, and how often."""

from __future__ import annotations

import os
import socket
from errno import EBADF, ENOTCONN, EPIPE

import pytest
from stream_kit import BIG, MIB, Loop, Wire, disconnect, drain, is_open, read_now, readv, write_now, writev

from talloc_py import talloc_free, talloc_new
from tevent import get_errno, tevent_req_is_in_progress
from tsocket import (
    tstream_bsd_existing_socket,
    tstream_bsd_optimize_readv,
    tstream_disconnect_recv,
    tstream_pending_bytes,
    tstream_readv_recv,
    tstream_writev_recv,
)


class TestReading:
    def test_output_that_waits_is_served_before_input(self, top, loop, unix):
        """While a write waits, writability is reported before readability, one handler a turn."""
        order: list[str] = []
        writing = writev(loop, top, unix.stream, BIG[: 4 * MIB])
        loop.watch(readv(loop, top, unix.stream, bytearray(1)), then=lambda _: order.append("read"))
        loop.watch(writing, then=lambda _: order.append("written"))
        sizes = []
        unix.peer.send(b"x")
        sizes.append(len(unix.drain()))
        assert loop.turn()
        assert order == []
        sizes.append(len(unix.drain()))
        assert sizes[1] > 0
        unix.drain_until(loop, lambda: len(order) == 2)
        assert sorted(order) == ["read", "written"]

    def test_each_readable_event_is_served_once_then_the_loop_is_quiet(self, top, loop, unix):
        """Bytes that come in one piece cost one turn."""
        loop.watch(readv(loop, top, unix.stream, bytearray(10)))
        for _ in range(4):
            unix.peer.send(b"ab")
            assert loop.settle() == 1

    def test_data_for_several_reads(self, loop, unix):
        """A read takes no more than its vector; the rest stays in the kernel."""
        unix.peer.send(b"abcdef")
        assert read_now(loop, unix.stream, 2) == ((2, 0), b"ab")
        assert tstream_pending_bytes(unix.stream) == 4
        assert read_now(loop, unix.stream, 4) == ((4, 0), b"cdef")
        assert tstream_pending_bytes(unix.stream) == 0


class TestIdle:
    """Data that nobody asked for."""

    def test_unsolicited_data_wakes_the_loop_once(self, loop, wire):
        """After a read left interest behind, unread data costs one turn and is not lost."""
        wire.peer.send(b"a")
        assert read_now(loop, wire.stream, 1) == ((1, 0), b"a")
        wire.peer.send(b"bc")
        wire.arrived()
        assert loop.settle() <= 1
        wire.peer.send(b"d")
        assert loop.settle() == 0
        assert read_now(loop, wire.stream, 3) == ((3, 0), b"bcd")

    def test_a_fresh_stream_with_data_is_quiet(self, loop, unix):
        """No operation, no event."""
        unix.peer.send(b"a")
        assert loop.settle() == 0

    @pytest.mark.parametrize("how", ["close", "half-close"])
    def test_an_idle_error_loses_no_data(self, loop, wire, how):
        """The peer ends while unread bytes wait and the loop runs: the bytes can be read, then comes EPIPE."""
        wire.peer.send(b"a")
        assert read_now(loop, wire.stream, 1) == ((1, 0), b"a")
        wire.peer.send(b"rest")
        if how == "close":
            wire.peer.close()
        else:
            wire.peer.shutdown(socket.SHUT_WR)
        wire.gone()
        assert loop.settle() <= 2
        assert loop.settle() == 0
        assert tstream_pending_bytes(wire.stream) == 4
        assert read_now(loop, wire.stream, 4) == ((4, 0), b"rest")
        assert read_now(loop, wire.stream, 1)[0] == (-1, EPIPE)

    def test_a_write_after_an_idle_half_close_works(self, loop, wire):
        """The peer only stopped sending; it can still be written to."""
        wire.peer.send(b"ab")
        assert read_now(loop, wire.stream, 1)[0] == (1, 0)
        wire.peer.shutdown(socket.SHUT_WR)
        wire.gone()
        loop.settle()
        assert write_now(loop, wire.stream, b"still") == (5, 0)
        wire.peer.setblocking(True)
        assert wire.peer.recv(5) == b"still"

    def test_a_read_after_an_idle_reset_fails(self, loop, tcp):
        """The next operation finds the reset by itself."""
        tcp.peer.send(b"a")
        assert read_now(loop, tcp.stream, 1)[0] == (1, 0)
        tcp.reset()
        loop.settle()
        assert read_now(loop, tcp.stream, 1)[0][0] == -1


class TestWriting:
    def test_a_write_goes_out_inside_send(self, top, loop, unix):
        """The bytes are at the peer before the loop runs, and freeing the request does not call them back."""
        talloc_free(writev(loop, top, unix.stream, b"gone"))
        assert unix.drain() == b"gone"

    def test_a_blocked_write_waits_quietly(self, top, loop, wire):
        """No turn of the loop is spent while the peer does not read."""
        writing = writev(loop, top, wire.stream, BIG)
        loop.settle()
        assert loop.settle() == 0
        assert tevent_req_is_in_progress(writing)

    def test_unread_input_beside_a_blocked_write(self, top, loop, wire):
        """Data that nobody reads causes no spin, no progress and no error; pending_bytes reports it."""
        writing = loop.watch(writev(loop, top, wire.stream, BIG))
        loop.settle()
        wire.peer.send(b"abc")
        wire.arrived()
        assert loop.settle() <= 1
        assert loop.settle() == 0
        assert writing.calls == 0
        assert tstream_pending_bytes(wire.stream) == 3

    def test_a_blocked_write_is_not_stopped_by_unread_input(self, top, loop, wire):
        """When the peer reads on, the write completes, and the input is still there."""
        writing = loop.watch(writev(loop, top, wire.stream, BIG), tstream_writev_recv)
        wire.peer.send(b"abc")
        wire.drain_until(loop, lambda: writing.calls)
        assert writing.result == (len(BIG), 0)
        assert read_now(loop, wire.stream, 3) == ((3, 0), b"abc")

    def test_after_a_blocked_write_the_loop_is_quiet(self, top, loop, wire):
        """A writable descriptor with nothing to write does not wake the loop."""
        writing = loop.watch(writev(loop, top, wire.stream, BIG), tstream_writev_recv)
        wire.drain_until(loop, lambda: writing.calls)
        loop.settle()
        assert loop.settle() == 0

    def test_a_freed_blocked_write_leaves_the_loop_quiet(self, top, loop, wire):
        """What was written stays written; the rest is forgotten; the next write follows at once."""
        talloc_free(writev(loop, top, wire.stream, b"A" * (16 * MIB)))
        got = wire.drain()
        assert loop.settle() <= 1
        assert write_now(loop, wire.stream, b"B") == (1, 0)
        wire.peer.setblocking(True)
        talloc_free(wire.stream)
        got += drain(wire.peer)
        assert 0 < len(got) < 16 * MIB
        assert got == b"A" * (len(got) - 1) + b"B"


class TestPipes:
    """Any descriptor that can be read, written and polled makes a stream."""

    def test_a_pipe_carries_data_one_way(self, top, loop):
        """Reading from one end and writing to the other."""
        r, w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        _, reader = tstream_bsd_existing_socket(top, r)
        _, writer = tstream_bsd_existing_socket(top, w)
        assert write_now(loop, writer, b"through") == (7, 0)
        assert tstream_pending_bytes(reader) == 7
        assert read_now(loop, reader, 7) == ((7, 0), b"through")
        assert tstream_pending_bytes(reader) == 0
        talloc_free(writer)
        assert (tstream_pending_bytes(reader), get_errno()) == (-1, EPIPE)

    def test_the_end_of_a_pipe_is_epipe(self, top, loop):
        """A read whose writer went away."""
        r, w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        _, reader = tstream_bsd_existing_socket(top, r)
        seen = loop.watch(readv(loop, top, reader, bytearray(1)), tstream_readv_recv)
        os.close(w)
        loop.settle()
        assert seen.result == (-1, EPIPE)

    def test_a_pipe_without_reader_is_epipe(self, top, loop):
        """A write whose reader went away, without a signal."""
        r, w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        _, writer = tstream_bsd_existing_socket(top, w)
        os.close(r)
        assert write_now(loop, writer, b"x") == (-1, EPIPE)

    def test_reading_from_the_wrong_end_gives_the_errno_of_the_call(self, top, loop):
        """Readv on the writing end of a pipe is EBADF, whenever the loop gets to it."""
        r, w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        os.close(r)
        _, writer = tstream_bsd_existing_socket(top, w)
        tstream_bsd_optimize_readv(writer, True)
        assert read_now(loop, writer, 1)[0] == (-1, EBADF)


class TestDescriptor:
    def test_free_closes_it(self, top, unix):
        """The stream owns its descriptor."""
        assert is_open(unix.fd)
        assert talloc_free(unix.stream) == 0
        assert not is_open(unix.fd)
        assert unix.peer.recv(1) == b""

    def test_freeing_the_owner_closes_it(self, top):
        """A stream goes with its parent."""
        sock, peer = socket.socketpair()
        owner = talloc_new(top)
        wire = Wire(owner, sock, peer)
        talloc_free(owner)
        assert not is_open(wire.fd)
        peer.close()

    def test_free_after_disconnect_does_not_close_another_one(self, top, loop, unix):
        """The number may have been reused since; it is not closed again."""
        disconnect(loop, top, unix.stream)
        loop.settle()
        reused = os.dup(unix.peer.fileno())
        os.dup2(reused, unix.fd) if reused != unix.fd else None
        talloc_free(unix.stream)
        assert is_open(unix.fd)
        for fd in {reused, unix.fd}:
            os.close(fd)

    def test_a_failing_close_is_reported_by_disconnect(self, top, loop, unix):
        """The errno of close(2) is the result, and the descriptor is gone for the stream."""
        os.close(unix.fd)
        closing = loop.watch(disconnect(loop, top, unix.stream), tstream_disconnect_recv)
        loop.settle()
        assert closing.result == (-1, EBADF)
        assert write_now(loop, unix.stream, b"x") == (-1, ENOTCONN)

    def test_it_is_not_shut_down_for_other_holders(self, top, loop, unix):
        """A duplicate of the descriptor keeps the connection open."""
        other = os.dup(unix.fd)
        disconnect(loop, top, unix.stream)
        loop.settle()
        os.write(other, b"on")
        assert unix.drain() == b"on"
        os.close(other)

    def test_reused_number_is_polled_anew(self, top, loop):
        """A stream whose descriptor has the number of a freed one gets its own events."""
        for data in (b"1", b"2", b"3"):
            sock, peer = socket.socketpair()
            with peer:
                wire = Wire(top, sock, peer)
                seen = loop.watch(readv(loop, wire.stream, wire.stream, bytearray(1)), tstream_readv_recv)
                peer.send(data)
                loop.settle()
                assert seen.result == (1, 0)
                talloc_free(wire.stream)

    def test_a_stream_freed_with_an_event_pending(self, top, loop, unix):
        """A readable descriptor that goes away is not heard of again."""
        seen = loop.watch(readv(loop, top, unix.stream, bytearray(1)))
        unix.peer.send(b"x")
        talloc_free(unix.stream)
        assert loop.settle() == 0
        assert seen.calls == 0


class TestManyStreams:
    def test_a_hundred_streams_in_one_loop(self, top, loop):
        """Every stream gets its own bytes."""
        wires = [Wire(top, *socket.socketpair()) for _ in range(100)]
        bufs = [bytearray(2) for _ in wires]
        seen = [
            loop.watch(readv(loop, top, wire.stream, buf), tstream_readv_recv)
            for wire, buf in zip(wires, bufs, strict=True)
        ]
        for n, wire in enumerate(wires):
            wire.peer.send(n.to_bytes(2, "big"))
        assert loop.settle() == 100
        assert [s.result for s in seen] == [(2, 0)] * 100
        assert [int.from_bytes(buf, "big") for buf in bufs] == list(range(100))
        for wire in wires:
            wire.peer.close()

    @pytest.mark.parametrize("backend", ["epoll", "poll", "standard"])
    def test_each_backend_of_the_loop_serves_streams(self, top, unix, backend):
        """A full exchange and an end of file over every event backend."""
        loop = Loop(top, backend)
        writing = loop.watch(writev(loop, top, unix.stream, BIG), tstream_writev_recv)
        reading = loop.watch(readv(loop, top, unix.stream, bytearray(2)), tstream_readv_recv)
        unix.peer.send(b"ab")
        unix.drain_until(loop, lambda: writing.calls)
        loop.until(lambda: reading.calls)
        assert (writing.result, reading.result) == ((len(BIG), 0), (2, 0))
        unix.peer.close()
        assert read_now(loop, unix.stream, 1)[0] == (-1, EPIPE)
        assert loop.settle() <= 2
        assert loop.settle() == 0
