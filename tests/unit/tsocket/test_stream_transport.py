# SPDX-License-Identifier: LGPL-3.0-or-later
"""The transport of a stream over a socket: what it makes of system calls and events that seldom come so."""

from __future__ import annotations

import errno
import os
import socket

import pytest
from stream_kit import BIG, disconnect, is_open, monitor, read_now, readv, writev
from syscall_kit import failing

from talloc_py import (
    talloc_free,
    talloc_get_size,
    talloc_new,
    talloc_set_memlimit,
    talloc_size,
    talloc_total_blocks,
    talloc_total_size,
)
from tevent import TEVENT_FD_READ, TEVENT_FD_WRITE, get_errno, tevent_add_fd, tevent_req_is_in_progress
from tsocket import (
    _sys,
    bsd_stream,
    tstream_bsd_existing_socket,
    tstream_disconnect_recv,
    tstream_monitor_recv,
    tstream_pending_bytes,
    tstream_readv_recv,
    tstream_unix_socketpair,
    tstream_writev_recv,
)


class TestObject:
    def test_it_is_not_made_by_hand(self):
        """Only together with a stream."""
        with pytest.raises(TypeError, match=r"^a tstream_bsd is made together with its stream$"):
            bsd_stream.tstream_bsd()

    def test_it_shows_what_it_is(self, unix):
        """The descriptor, and at the stream which backend it has."""
        assert repr(unix.stream.transport) == f"<tstream_bsd fd {unix.fd}>"
        assert repr(unix.stream) == "<tstream_context bsd idle>"

    def test_its_size_is_that_of_the_struct(self, unix):
        """As talloc counts it, once it is shown as a chunk."""
        unix.stream.transport.become_chunk()
        assert talloc_get_size(unix.stream.transport) == 96


class TestMaking:
    def test_a_descriptor_is_a_number(self, top):
        """Nothing else is taken, and nothing made."""
        with pytest.raises(TypeError, match=r"^fd must be an int, not str$"):
            tstream_bsd_existing_socket(top, "3")
        assert talloc_total_blocks(top) == 1

    def test_a_limit_that_leaves_room_for_half_of_it(self, top, unix):
        """No stream remains where what is below it is too much; the descriptor stays the caller's."""
        full = talloc_new(top)
        blocks = talloc_total_blocks(full)
        size = talloc_total_size(full)
        stream = talloc_get_size(unix.stream)
        assert talloc_set_memlimit(full, size + 96 * blocks + stream + 96) == 0
        assert tstream_bsd_existing_socket(full, unix.fd) == (-1, None)
        assert get_errno() == errno.ENOMEM
        assert talloc_total_blocks(full) == blocks
        assert is_open(unix.fd)

    def test_a_pair_of_which_one_cannot_be_moved(self, top, monkeypatch):
        """Its errno, and both descriptors are closed, each once."""
        real = _sys.above_stdio
        seen = []

        def second_fails(fd):
            seen.append(fd)
            if len(seen) == 2:
                os.close(fd)
                raise OSError(errno.EMFILE, "no more")
            return real(fd)

        monkeypatch.setattr(_sys, "above_stdio", second_fails)
        closed = []
        close = _sys.close_quietly
        monkeypatch.setattr(_sys, "close_quietly", lambda fd: (closed.append(fd), close(fd)))
        assert tstream_unix_socketpair(top, top) == (-1, None, None)
        assert get_errno() == errno.EMFILE
        assert closed == seen[:1]
        assert not any(is_open(fd) for fd in seen)


class TestWaiting:
    def test_a_write_that_fails_after_it_has_waited(self, top, loop, unix, monkeypatch):
        """Its errno is that of the system call; the stream has failed."""
        writing = loop.watch(writev(loop, top, unix.stream, BIG), tstream_writev_recv)
        monkeypatch.setattr(_sys, "writev", failing(errno.ENOBUFS))
        unix.drain()
        loop.settle()
        assert writing.result == (-1, errno.ENOBUFS)
        assert read_now(loop, unix.stream, 1)[0] == (-1, errno.ENOBUFS)

    def test_a_write_is_interrupted(self, top, loop, unix, monkeypatch):
        """It goes on when the descriptor is ready."""
        writing = loop.watch(writev(loop, top, unix.stream, BIG), tstream_writev_recv)
        real = _sys.writev
        calls = []

        def once(*args):
            calls.append(args)
            if len(calls) == 1:
                raise OSError(errno.EINTR, "interrupted")
            return real(*args)

        monkeypatch.setattr(_sys, "writev", once)
        unix.drain_until(loop, lambda: writing.calls)
        assert writing.result == (len(BIG), 0)

    def test_a_read_while_the_descriptor_can_be_written_too(self, top, loop, unix):
        """With a write that waits on the same event, each goes on when its own time comes."""
        buffer = bytearray(3)
        reading = loop.watch(readv(loop, top, unix.stream, buffer), tstream_readv_recv)
        writing = loop.watch(writev(loop, top, unix.stream, BIG), tstream_writev_recv)
        unix.peer.send(b"ab")
        unix.drain_until(loop, lambda: writing.calls)
        assert writing.result == (len(BIG), 0)
        assert reading.calls == 0
        unix.peer.send(b"c")
        loop.settle()
        assert (reading.result, buffer) == ((3, 0), b"abc")
        assert unix.stream.transport.reader is None

    def test_both_at_once_with_nobody_who_writes(self, top, loop, unix):
        """An event for reading and writing is the reader's where nothing is to be written."""
        buffer = bytearray(2)
        reading = loop.watch(readv(loop, top, unix.stream, buffer), tstream_readv_recv)
        bsd = unix.stream.transport
        unix.peer.send(b"a")
        bsd_stream._ready(loop.ev, bsd, TEVENT_FD_READ | TEVENT_FD_WRITE, bsd)
        assert tevent_req_is_in_progress(bsd.reader)
        unix.peer.send(b"b")
        bsd_stream._ready(loop.ev, bsd, TEVENT_FD_READ | TEVENT_FD_WRITE, bsd)
        assert bsd.reader is None
        assert (reading.result, buffer) == ((2, 0), b"ab")

    def test_what_was_there_before_a_limit_counts(self, top, loop, unix):
        """All that C has below the stream, whether or not somebody has looked."""
        room = talloc_total_size(unix.stream) + 96 * talloc_total_blocks(unix.stream)
        other = socket.socketpair()
        with other[1]:
            other[0].setblocking(False)
            _, unseen = tstream_bsd_existing_socket(top, other[0].detach())
            talloc_set_memlimit(unseen, room + 96)
            assert talloc_size(unseen, 1) is None
            talloc_set_memlimit(unseen, room + 97)
            assert talloc_size(unseen, 1) is not None
            assert talloc_size(unseen.transport, 1) is None

    def test_no_event_is_to_be_had(self, top, loop, unix):
        """Where a memory limit forbids the fd event the operation ends with ENOMEM; later ones may go on."""
        talloc_set_memlimit(unix.stream, 1)
        reading = loop.watch(readv(loop, top, unix.stream, bytearray(1)), tstream_readv_recv)
        writing = loop.watch(writev(loop, top, unix.stream, BIG), tstream_writev_recv)
        loop.settle()
        assert reading.result == (-1, errno.ENOMEM)
        assert writing.result == (-1, errno.ENOMEM)


class TestEnd:
    def test_the_event_goes_with_the_descriptor(self, top, loop, unix):
        """After a disconnect nothing waits, and a new descriptor of that number can be watched."""
        readv(loop, top, unix.stream, bytearray(1))
        closing = loop.watch(disconnect(loop, top, unix.stream), tstream_disconnect_recv)
        loop.settle()
        # A read is in the way of a disconnect.
        assert closing.result == (-1, errno.EBUSY)
        talloc_free(unix.stream.read_req)
        assert loop.ev.fd_first is unix.stream.transport
        left, right = socket.socketpair()
        with left, right:
            closing = loop.watch(disconnect(loop, top, unix.stream), tstream_disconnect_recv)
            assert loop.ev.fd_first is None
            os.dup2(left.fileno(), unix.fd)
            try:
                called = []
                fde = tevent_add_fd(loop.ev, top, unix.fd, TEVENT_FD_READ, lambda *_: called.append(1), None)
                right.send(b"x")
                loop.turn()
                loop.turn()
                assert called == [1]
                talloc_free(fde)
            finally:
                os.close(unix.fd)
        loop.settle()
        assert closing.result == (0, 0)

    def test_a_second_disconnect(self, top, loop, unix):
        """ENOTCONN, and no descriptor is closed, whoever has the number now."""
        loop.watch(disconnect(loop, top, unix.stream))
        loop.settle()
        talloc_free(unix.stream.disconnect_req)
        closing = loop.watch(disconnect(loop, top, unix.stream), tstream_disconnect_recv)
        loop.settle()
        assert closing.result == (-1, errno.ENOTCONN)

    def test_close_fails(self, top, loop, unix, monkeypatch):
        """The errno of close(2) is the result; the descriptor is gone all the same."""
        with monkeypatch.context() as patch:
            patch.setattr(_sys, "close", failing(errno.EIO))
            closing = loop.watch(disconnect(loop, top, unix.stream), tstream_disconnect_recv)
        loop.settle()
        assert closing.result == (-1, errno.EIO)
        assert unix.stream.transport.fd == -1
        os.close(unix.fd)


class TestPendingBytes:
    def test_the_system_cannot_tell(self, top, loop, unix, monkeypatch):
        """-1 with its errno, which stays that of the stream: also a monitor and a read hear it, from the loop."""
        with monkeypatch.context() as patch:
            patch.setattr(_sys, "bytes_readable", failing(errno.ENOTTY))
            assert tstream_pending_bytes(unix.stream) == -1
        assert get_errno() == errno.ENOTTY
        watching = loop.watch(monitor(loop, top, unix.stream), tstream_monitor_recv)
        reading = loop.watch(readv(loop, top, unix.stream, bytearray(1)), tstream_readv_recv)
        loop.settle()
        assert watching.result == (-1, errno.ENOTTY)
        assert reading.result == (-1, errno.ENOTTY)

    def test_what_the_loop_will_tell_is_left_to_it(self, top, loop, unix, monkeypatch):
        """A read of a failed stream at which bytes wait ends by their event, one at which none wait by itself."""
        with monkeypatch.context() as patch:
            patch.setattr(_sys, "bytes_readable", failing(errno.ENOTTY))
            assert tstream_pending_bytes(unix.stream) == -1
        unix.peer.send(b"x")
        reading = loop.watch(readv(loop, top, unix.stream, bytearray(1)), tstream_readv_recv)
        assert unix.stream.transport.reader is not None
        loop.settle()
        assert reading.result == (-1, errno.ENOTTY)
