# SPDX-License-Identifier: LGPL-3.0-or-later
"""Freeing requests, owners, streams and contexts at every moment, and who may touch which buffer when."""

from __future__ import annotations

import gc
import socket
import weakref
from errno import EINVAL, EPIPE

import pytest
from stream_kit import (
    BIG,
    MIB,
    LengthPrefixed,
    Loop,
    Wire,
    disconnect,
    is_open,
    monitor,
    pdu,
    read_now,
    readv,
    write_now,
    writev,
)

from talloc_py import talloc_abort_error, talloc_free, talloc_new, talloc_parent, talloc_set_destructor, talloc_steal
from tevent import (
    TEVENT_REQ_RECEIVED,
    tevent_req,
    tevent_req_is_error,
    tevent_req_is_in_progress,
    tevent_req_set_callback,
)
from tsocket import (
    iovec,
    tstream_bsd_fail_readv_first_error,
    tstream_bsd_optimize_readv,
    tstream_disconnect_recv,
    tstream_monitor_recv,
    tstream_pending_bytes,
    tstream_readv_recv,
    tstream_writev_recv,
)


class TestFreeingRequests:
    def test_a_freed_read_is_forgotten(self, top, loop, unix):
        """No callback, the stream is free at once, later bytes go to the next read."""
        req = readv(loop, top, unix.stream, bytearray(2))
        seen = loop.watch(req)
        assert talloc_free(req) == 0
        unix.peer.send(b"ab")
        assert read_now(loop, unix.stream, 2) == ((2, 0), b"ab")
        assert seen.calls == 0

    def test_bytes_that_a_freed_read_had_taken_are_lost(self, top, loop, unix):
        """What is still in the kernel stays there."""
        req = readv(loop, top, unix.stream, bytearray(4))
        unix.peer.send(b"ab")
        loop.settle()
        talloc_free(req)
        unix.peer.send(b"cd")
        assert read_now(loop, unix.stream, 2) == ((2, 0), b"cd")

    def test_a_freed_write_leaves_what_was_written(self, top, loop, unix):
        """The rest is never sent, and the stream takes the next write."""
        req = writev(loop, top, unix.stream, b"A" * (16 * MIB))
        seen = loop.watch(req)
        talloc_free(req)
        sent = unix.drain()
        assert set(sent) == {ord("A")}
        assert loop.settle() <= 1
        assert unix.drain() == b""
        assert write_now(loop, unix.stream, b"B") == (1, 0)
        assert unix.drain() == b"B"
        assert seen.calls == 0

    def test_freeing_the_owner_frees_the_requests(self, top, loop, unix):
        """Requests go with what they were made on, one after the other, silently."""
        owner = talloc_new(top)
        seen = [
            loop.watch(readv(loop, owner, unix.stream, bytearray(2))),
            loop.watch(writev(loop, owner, unix.stream, BIG)),
            loop.watch(monitor(loop, owner, unix.stream)),
        ]
        talloc_free(owner)
        unix.peer.send(b"x")
        unix.drain()
        loop.settle()
        assert [s.calls for s in seen] == [0, 0, 0]
        for req in (readv(loop, top, unix.stream, bytearray(2)), writev(loop, top, unix.stream, BIG)):
            assert tevent_req_is_in_progress(req)

    def test_a_finished_but_undelivered_write_can_be_freed(self, top, loop, unix):
        """The write stays written, no callback comes."""
        req = writev(loop, top, unix.stream, b"x")
        seen = loop.watch(req)
        talloc_free(req)
        assert loop.settle() == 0
        assert seen.calls == 0
        assert unix.drain() == b"x"
        assert write_now(loop, unix.stream, b"y") == (1, 0)

    def test_a_refused_request_can_be_freed_before_its_callback(self, top, loop, unix):
        """The posted error goes with the request."""
        req = writev(loop, top, unix.stream)
        seen = loop.watch(req)
        talloc_free(req)
        assert loop.settle() == 0
        assert seen.calls == 0

    def test_a_callback_may_free_its_own_request(self, top, loop, unix):
        """Nothing touches the request after its callback."""
        unix.peer.send(b"x")
        reading = loop.watch(readv(loop, top, unix.stream, bytearray(1)), tstream_readv_recv, free=True)
        writing = loop.watch(writev(loop, top, unix.stream, b"x"), tstream_writev_recv, free=True)
        loop.settle()
        assert (reading.result, writing.result) == ((1, 0), (1, 0))

    def test_a_callback_may_free_its_request_without_receiving_it(self, top, loop, unix):
        """``_recv`` is not obligatory."""
        unix.peer.send(b"x")
        reading = loop.watch(readv(loop, top, unix.stream, bytearray(1)), free=True)
        loop.settle()
        assert reading.calls == 1

    def test_a_callback_may_free_the_other_directions_request(self, top, loop, unix):
        """The read's callback frees the blocked write."""
        writing = writev(loop, top, unix.stream, BIG)
        silent = loop.watch(writing)
        loop.watch(readv(loop, top, unix.stream, bytearray(1)), then=lambda _: talloc_free(writing))
        unix.peer.send(b"x")
        loop.settle()
        unix.drain()
        assert loop.settle() <= 1
        assert silent.calls == 0

    def test_a_stolen_request_lives_with_its_new_owner(self, top, loop, unix):
        """The old owner may go."""
        old, new = talloc_new(top), talloc_new(top)
        req = readv(loop, old, unix.stream, bytearray(1))
        seen = loop.watch(req, tstream_readv_recv)
        talloc_steal(new, req)
        talloc_free(old)
        unix.peer.send(b"x")
        loop.settle()
        assert seen.result == (1, 0)

    def test_a_request_made_on_its_own_stream_goes_with_it(self, loop, unix):
        """A stream may own its requests."""
        seen = loop.watch(readv(loop, unix.stream, unix.stream, bytearray(1)))
        assert talloc_free(unix.stream) == 0
        assert loop.settle() == 0
        assert seen.calls == 0
        assert not is_open(unix.fd)


class TestFreeingStreams:
    @pytest.mark.parametrize("delivered", [False, True])
    def test_requests_become_received(self, top, loop, unix, delivered):
        """They are no longer in progress, never called back, stay with their owner and cannot be received."""
        pairs = [
            (readv(loop, top, unix.stream, bytearray(2)), tstream_readv_recv),
            (writev(loop, top, unix.stream, BIG), tstream_writev_recv),
            (monitor(loop, top, unix.stream), tstream_monitor_recv),
        ]
        seen = [loop.watch(req) for req, _ in pairs]
        if delivered:
            unix.peer.send(b"x")
            loop.settle()
        assert talloc_free(unix.stream) == 0
        assert not is_open(unix.fd)
        for req, recv in pairs:
            assert not tevent_req_is_in_progress(req)
            assert tevent_req_is_error(req)[:2] == (True, TEVENT_REQ_RECEIVED)
            with pytest.raises(talloc_abort_error):
                recv(req)
            assert talloc_parent(req) is top
        assert loop.settle() == 0
        assert [s.calls for s in seen] == [0, 0, 0]

    def test_an_undelivered_write_is_silenced(self, top, loop, unix):
        """The bytes are out, the callback does not come."""
        req = writev(loop, top, unix.stream, b"x")
        seen = loop.watch(req)
        talloc_free(unix.stream)
        assert not tevent_req_is_in_progress(req)
        assert loop.settle() == 0
        assert seen.calls == 0
        assert unix.peer.recv(10) == b"x"

    def test_an_undelivered_disconnect_is_silenced(self, top, loop, unix):
        """Nothing is left to tell."""
        req = disconnect(loop, top, unix.stream)
        seen = loop.watch(req)
        talloc_free(unix.stream)
        assert loop.settle() == 0
        assert seen.calls == 0
        assert talloc_free(req) == 0

    def test_a_request_already_finished_is_still_delivered(self, top, loop, unix):
        """A refused request was never the stream's: its callback comes although the stream is gone."""
        seen = loop.watch(writev(loop, top, unix.stream), tstream_writev_recv)
        talloc_free(unix.stream)
        loop.settle()
        assert seen.result == (-1, EINVAL)

    @pytest.mark.parametrize("which", ["readv", "writev", "disconnect", "monitor"])
    def test_from_inside_any_callback(self, top, loop, unix, which):
        """The stream may be freed by the callback of each of its requests, with others outstanding."""
        killer = {
            "readv": lambda: readv(loop, top, unix.stream, bytearray(1)),
            "writev": lambda: writev(loop, top, unix.stream, b"x"),
            "monitor": lambda: monitor(loop, top, unix.stream),
            "disconnect": lambda: disconnect(loop, top, unix.stream),
        }[which]()
        seen = loop.watch(killer, then=lambda _: talloc_free(unix.stream))
        others = []
        if which in ("readv", "monitor"):
            others.append(loop.watch(writev(loop, top, unix.stream, BIG)))
        if which == "writev":
            others.append(loop.watch(readv(loop, top, unix.stream, bytearray(1))))
        if which == "monitor":
            disconnected = tstream_pending_bytes(unix.stream)
            assert disconnected == 0
            unix.peer.shutdown(socket.SHUT_WR)
            unix.gone()
            assert tstream_pending_bytes(unix.stream) == -1
        unix.peer.send(b"x") if which != "monitor" and which != "disconnect" else None
        loop.settle()
        assert seen.calls == 1
        assert [s.calls for s in others] == [0] * len(others)
        assert not is_open(unix.fd)

    def test_the_owner_of_stream_and_requests_may_be_freed_in_a_callback(self, top, loop):
        """One free takes the connection with everything that hangs on it."""
        conn = talloc_new(top)
        sock, peer = socket.socketpair()
        with peer:
            wire = Wire(conn, sock, peer)
            reading = loop.watch(readv(loop, conn, wire.stream, bytearray(1)), then=lambda _: talloc_free(conn))
            writing = loop.watch(writev(loop, conn, wire.stream, BIG))
            peer.send(b"x")
            loop.settle()
            assert (reading.calls, writing.calls) == (1, 0)
            assert not is_open(wire.fd)

    def test_the_stream_cannot_be_used_any_more(self, top, loop, unix):
        """Every call on a freed stream aborts, naming it and where it was freed."""
        talloc_free(unix.stream)
        for call in (
            lambda: readv(loop, top, unix.stream, bytearray(1)),
            lambda: writev(loop, top, unix.stream, b"x"),
            lambda: disconnect(loop, top, unix.stream),
            lambda: monitor(loop, top, unix.stream),
            lambda: pdu(loop, top, unix.stream, LengthPrefixed().next_vector),
            lambda: tstream_pending_bytes(unix.stream),
            lambda: tstream_bsd_optimize_readv(unix.stream, True),
            lambda: tstream_bsd_fail_readv_first_error(unix.stream, True),
            lambda: talloc_free(unix.stream),
        ):
            with pytest.raises(talloc_abort_error, match="access after free"):
                call()

    def test_a_destructor_may_keep_the_stream(self, top, loop, unix):
        """A talloc destructor set on an object above runs first; a veto there keeps the stream open and working."""
        owner = talloc_new(top)
        talloc_steal(owner, unix.stream)
        talloc_set_destructor(owner, lambda _: -1)
        assert talloc_free(owner) == -1
        assert write_now(loop, unix.stream, b"x") == (1, 0)
        talloc_set_destructor(owner, None)


class TestFreeingTheContext:
    def test_requests_never_end_and_can_be_freed_later(self, top, unix):
        """With the event context gone nothing is called; frees in any order are safe."""
        loop = Loop(top)
        reading = readv(loop, top, unix.stream, bytearray(1))
        writing = writev(loop, top, unix.stream, BIG)
        watching = monitor(loop, top, unix.stream)
        posted = writev(loop, top, unix.stream)
        seen = [loop.watch(req) for req in (reading, writing, watching, posted)]
        talloc_free(loop.ev)
        assert tevent_req_is_in_progress(reading)
        assert talloc_free(reading) == 0
        assert talloc_free(unix.stream) == 0
        for req in (writing, watching, posted):
            assert talloc_free(req) == 0
        assert [s.calls for s in seen] == [0] * 4
        assert not is_open(unix.fd)

    def test_a_stream_below_its_context(self, top):
        """A context that owns streams and requests takes them along."""
        loop = Loop(top)
        sock, peer = socket.socketpair()
        with peer:
            wire = Wire(loop.ev, sock, peer)
            seen = loop.watch(readv(loop, loop.ev, wire.stream, bytearray(1)))
            loop.watch(writev(loop, loop.ev, wire.stream, BIG))
            talloc_free(loop.ev)
            assert not is_open(wire.fd)
            assert seen.calls == 0


class TestBuffers:
    """A request holds the caller's buffers only while it needs them."""

    @staticmethod
    def free_to_resize(buf: bytearray) -> bool:
        """Whether no view of *buf* is open."""
        try:
            buf.append(0)
        except BufferError:
            return False
        del buf[-1]
        return True

    @pytest.mark.parametrize("wrap", [lambda b: b, memoryview, lambda b: iovec(b, 2)], ids=["plain", "view", "iovec"])
    def test_a_read_lets_go_before_its_callback(self, top, loop, unix, wrap):
        """The buffer can be resized in the callback, also when the read came in pieces."""
        buf = bytearray(2)
        other = bytearray(2)
        item = wrap(buf)
        resizable: list[bool] = []

        def then(_: tevent_req) -> None:
            if isinstance(item, memoryview):
                item.release()
            resizable.extend((self.free_to_resize(buf), self.free_to_resize(other)))

        loop.watch(readv(loop, top, unix.stream, item, other), then=then)
        for piece in (b"a", b"bc", b"d"):
            unix.peer.send(piece)
            loop.settle()
        assert resizable == [True, True]
        assert (buf, other) == (b"ab", b"cd")

    def test_a_write_lets_go_before_its_callback(self, top, loop, unix):
        """Also one that was blocked half way through an element."""
        buf = bytearray(BIG)
        resizable: list[bool] = []
        loop.watch(writev(loop, top, unix.stream, buf), then=lambda _: resizable.append(self.free_to_resize(buf)))
        unix.drain_until(loop, lambda: resizable)
        assert resizable == [True]

    @pytest.mark.parametrize("failure", [False, True])
    def test_they_let_go_when_freed(self, top, loop, unix, failure):
        """A freed request, or one silenced by the free of its stream, keeps no view."""
        buf, data = bytearray(2), bytearray(BIG)
        reading = readv(loop, top, unix.stream, buf)
        writing = writev(loop, top, unix.stream, data)
        unix.peer.send(b"x")
        loop.settle()
        if failure:
            talloc_free(unix.stream)
        else:
            talloc_free(reading)
            talloc_free(writing)
        assert self.free_to_resize(buf)
        assert self.free_to_resize(data)

    def test_they_let_go_when_they_fail(self, top, loop, unix):
        """The callback of a failed request finds its buffers free."""
        buf, data = bytearray(2), bytearray(BIG)
        resizable: list[bool] = []
        loop.watch(
            readv(loop, top, unix.stream, buf), then=lambda _: resizable.append(self.free_to_resize(buf)), free=False
        )
        loop.watch(writev(loop, top, unix.stream, data), then=lambda _: resizable.append(self.free_to_resize(data)))
        unix.peer.send(b"x")
        loop.settle()
        unix.peer.close()
        loop.settle()
        assert resizable == [True, True]

    def test_the_buffer_is_not_needed_by_the_caller_for_a_write_that_went_through(self, top, loop, unix):
        """The bytes are in the kernel: changing the buffer afterwards changes nothing."""
        data = bytearray(b"abc")
        writev(loop, top, unix.stream, data)
        data[:] = b"xyz"
        assert unix.drain() == b"abc"

    def test_the_request_does_not_hold_its_buffers_after_recv(self, top, loop, unix):
        """Received requests that live on keep no big buffers alive."""

        class Data(bytearray):
            pass

        data = Data(b"abc")
        ref = weakref.ref(data)
        req = writev(loop, top, unix.stream, data)
        loop.settle()
        assert tstream_writev_recv(req) == (3, 0)
        del data
        gc.collect()
        assert ref() is None


class TestCallbacksThatRaise:
    """An exception leaves the loop call; the rest goes on."""

    @pytest.mark.parametrize("which", ["readv", "writev", "refused", "monitor", "disconnect"])
    def test_it_leaves_the_loop_and_the_loop_goes_on(self, top, loop, unix, which):
        """The request is finished and can be received; no other event is lost."""
        other, other_peer = socket.socketpair()
        with other_peer:
            second = Wire(top, other, other_peer)
            answered = loop.watch(readv(loop, top, second.stream, bytearray(1)), tstream_readv_recv)
            req, recv, result = {
                "readv": lambda: (readv(loop, top, unix.stream, bytearray(1)), tstream_readv_recv, (1, 0)),
                "writev": lambda: (writev(loop, top, unix.stream, b"x"), tstream_writev_recv, (1, 0)),
                "refused": lambda: (writev(loop, top, unix.stream), tstream_writev_recv, (-1, EINVAL)),
                "monitor": lambda: (monitor(loop, top, unix.stream), tstream_monitor_recv, (-1, EPIPE)),
                "disconnect": lambda: (disconnect(loop, top, unix.stream), tstream_disconnect_recv, (0, 0)),
            }[which]()

            def fail(subreq: tevent_req) -> None:
                raise ZeroDivisionError(which)

            tevent_req_set_callback(req, fail, None)
            if which == "readv":
                unix.peer.send(b"x")
            if which == "monitor":
                unix.peer.close()
            with pytest.raises(ZeroDivisionError, match=which):
                loop.settle()
            assert recv(req) == result
            other_peer.send(b"y")
            loop.settle()
            assert answered.result == (1, 0)

    def test_the_stream_goes_on(self, top, loop, unix):
        """The next read of the same stream works."""
        req = readv(loop, top, unix.stream, bytearray(1))

        def fail(subreq: tevent_req) -> None:
            raise ZeroDivisionError

        tevent_req_set_callback(req, fail, None)
        unix.peer.send(b"ab")
        with pytest.raises(ZeroDivisionError):
            loop.settle()
        assert read_now(loop, unix.stream, 1) == ((1, 0), b"b")


def drop(wire: Wire) -> None:
    """Forget the stream of *wire*."""
    del wire.stream
    gc.collect()


class TestDroppedStreams:
    def test_a_top_level_stream_that_is_dropped_is_reported(self):
        """A stream that nobody owns and nobody frees is a leaked descriptor, named in a ResourceWarning."""
        sock, peer = socket.socketpair()
        with peer:
            wire = Wire(None, sock, peer)
            fd = wire.fd
            with pytest.warns(ResourceWarning, match="stream"):
                drop(wire)
        assert not is_open(fd)

    def test_a_freed_or_disconnected_stream_is_not(self, loop):
        """No warning where no descriptor is left."""
        for end in (lambda s: talloc_free(s), lambda s: (talloc_free(disconnect(loop, None, s)), loop.settle())):
            sock, peer = socket.socketpair()
            with peer:
                wire = Wire(None, sock, peer)
                end(wire.stream)
                drop(wire)
