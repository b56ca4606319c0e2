# SPDX-License-Identifier: LGPL-3.0-or-later
"""``tstream_readv_pdu_send``: reading a PDU vector by vector."""

from __future__ import annotations

import contextlib
import gc
import socket
import weakref
from errno import EBUSY, ECONNABORTED, EINVAL, EIO, EMSGSIZE, EPIPE, EPROTO, ETIMEDOUT
from typing import Any

import pytest
from stream_kit import LengthPrefixed, Wire, disconnect, finished_with, framed, is_open, monitor, pdu, read_now, readv

from talloc_py import (
    TALLOC_CTX,
    talloc_abort_error,
    talloc_array,
    talloc_free,
    talloc_new,
    talloc_parent,
    talloc_set_destructor,
    talloc_steal,
    talloc_total_blocks,
    uint8_t,
)
from tevent import (
    set_errno,
    tevent_req,
    tevent_req_is_in_progress,
    tevent_req_set_callback,
    tevent_req_set_endtime,
    timeval,
)
from tsocket import (
    iovec,
    tstream_bsd_optimize_readv,
    tstream_context,
    tstream_disconnect_recv,
    tstream_monitor_recv,
    tstream_pending_bytes,
    tstream_readv_pdu_recv,
    tstream_readv_recv,
)


class Script:
    """A next_vector function that gives the vectors of a list in turn and records how it was called."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[object, object, object]] = []

    def __call__(self, stream: tstream_context, private_data: object, mem_ctx: TALLOC_CTX) -> tuple[int, Any]:
        self.calls.append((stream, private_data, mem_ctx))
        answer = self.answers.pop(0)
        if callable(answer):
            answer = answer(mem_ctx)
        return answer if isinstance(answer, tuple) else (0, answer)


class TestReading:
    def test_a_header_and_its_body(self, top, loop, wire):
        """The result is the number of bytes of all vectors."""
        reader = LengthPrefixed()
        seen = loop.watch(pdu(loop, top, wire.stream, reader.next_vector), tstream_readv_pdu_recv)
        wire.peer.send(framed(b"hello"))
        loop.until(lambda: seen.calls)
        assert seen.result == (9, 0)
        assert reader.body == b"hello"

    @pytest.mark.parametrize("end", [None, [], ()])
    def test_an_empty_vector_ends_the_pdu(self, top, loop, unix, end):
        """None and an empty sequence are C's count of 0."""
        script = Script([bytearray(2)], (0, end))
        seen = loop.watch(pdu(loop, top, unix.stream, script), tstream_readv_pdu_recv)
        unix.peer.send(b"abc")
        loop.settle()
        assert seen.result == (2, 0)
        assert script.answers == []
        assert tstream_pending_bytes(unix.stream) == 1

    def test_the_arguments_of_the_function(self, top, loop, unix):
        """The stream, the caller's object, and a context that is not the caller's."""
        script = Script([bytearray(1)], None)
        private = object()
        pdu(loop, top, unix.stream, script, private)
        unix.peer.send(b"x")
        loop.settle()
        assert [call[:2] for call in script.calls] == [(unix.stream, private)] * 2
        assert all(isinstance(call[2], TALLOC_CTX) and call[2] is not top for call in script.calls)

    def test_the_first_call_is_made_inside_send(self, top, loop, unix):
        """Later ones come from the loop, when the vector before is full."""
        script = Script([bytearray(2)], [bytearray(1)], None)
        seen = loop.watch(pdu(loop, top, unix.stream, script), tstream_readv_pdu_recv)
        assert len(script.calls) == 1
        unix.peer.send(b"a")
        loop.settle()
        assert len(script.calls) == 1
        unix.peer.send(b"b")
        loop.settle()
        assert len(script.calls) == 2
        unix.peer.send(b"c")
        loop.settle()
        assert len(script.calls) == 3
        assert seen.result == (3, 0)

    def test_an_empty_pdu(self, top, loop, unix):
        """If the first vector is empty the result is 0: finished inside ``_send``, posted."""
        req = pdu(loop, top, unix.stream, Script(None))
        assert not tevent_req_is_in_progress(req)
        seen = loop.watch(req, tstream_readv_pdu_recv)
        assert loop.turn()
        assert seen.result == (0, 0)

    def test_an_empty_pdu_can_be_received_at_once(self, top, loop, unix):
        """Without a turn of the loop."""
        assert tstream_readv_pdu_recv(pdu(loop, top, unix.stream, Script([]))) == (0, 0)
        assert loop.settle() == 0

    def test_vectors_of_several_elements_with_empty_ones(self, top, loop, unix):
        """Empty elements beside others are fine."""
        one, two = bytearray(1), bytearray(3)
        script = Script([bytearray(), one, iovec(None, 0), iovec(two, 2)], None)
        seen = loop.watch(pdu(loop, top, unix.stream, script), tstream_readv_pdu_recv)
        unix.peer.send(b"abc")
        loop.settle()
        assert seen.result == (3, 0)
        assert (one, two) == (b"a", b"bc\0")

    def test_a_large_body_over_many_turns(self, top, loop, wire):
        """More than a socket buffer holds."""
        data = bytes(range(256)) * 4096 * 8
        reader = LengthPrefixed()
        seen = loop.watch(pdu(loop, top, wire.stream, reader.next_vector), tstream_readv_pdu_recv)
        rest = memoryview(framed(data))
        while not seen.calls:
            with contextlib.suppress(BlockingIOError):
                rest = rest[wire.peer.send(rest) :]
            loop.turn()
        assert seen.result == (len(data) + 4, 0)
        assert reader.body == data

    def test_a_function_may_return_tuples_and_vectors_of_any_sequence_type(self, top, loop, unix):
        """A tuple is a vector too."""
        buf = bytearray(2)
        seen = loop.watch(pdu(loop, top, unix.stream, Script((0, (buf,)), None)), tstream_readv_pdu_recv)
        unix.peer.send(b"ab")
        loop.settle()
        assert seen.result == (2, 0)

    def test_another_ret_than_minus_one_is_ignored(self, top, loop, unix):
        """The vector counts."""
        seen = loop.watch(pdu(loop, top, unix.stream, Script((5, [bytearray(1)]), (-2, None))), tstream_readv_pdu_recv)
        unix.peer.send(b"a")
        loop.settle()
        assert seen.result == (1, 0)


class TestTurns:
    def test_the_rest_of_a_pdu_that_is_there_takes_a_turn_a_vector(self, top, loop, unix):
        """The first vector waits for its event, each later one for an immediate; bytes are taken without waiting."""
        unix.peer.send(b"abcdef")
        vectors = [bytearray(2) for _ in range(3)]
        script = Script(*[[v] for v in vectors], None)
        req = pdu(loop, top, unix.stream, script)
        seen = loop.watch(req, tstream_readv_pdu_recv)
        calls = []
        bufs = []
        while loop.turn():
            calls.append(len(script.calls))
            bufs.append([bytes(v) for v in vectors])
        assert calls == [2, 3, 4]
        assert bufs[0] == [b"ab", b"cd", b"\0\0"]
        assert bufs[1] == [b"ab", b"cd", b"ef"]
        assert seen.turn == 3
        assert seen.result == (6, 0)

    def test_the_first_vector_waits_even_if_data_is_there(self, top, loop, unix):
        """Only later ones look at once."""
        unix.peer.send(b"ab")
        buf = bytearray(2)
        pdu(loop, top, unix.stream, Script([buf], None))
        assert buf == b"\0\0"

    def test_the_first_vector_looks_at_once_on_an_optimised_stream(self, top, loop, unix):
        """The stream's own switch counts for it."""
        tstream_bsd_optimize_readv(unix.stream, True)
        unix.peer.send(b"ab")
        buf = bytearray(2)
        pdu(loop, top, unix.stream, Script([buf], None))
        assert buf == b"ab"

    def test_the_switch_of_the_stream_is_as_it_was(self, top, loop, unix):
        """Looking at once for later vectors does not turn the switch on."""
        unix.peer.send(b"abcd")
        seen = loop.watch(pdu(loop, top, unix.stream, Script([bytearray(2)], [bytearray(2)], None)))
        loop.settle()
        assert seen.calls == 1
        assert tstream_bsd_optimize_readv(unix.stream, False) is False

    def test_a_missing_rest_is_waited_for(self, top, loop, unix):
        """One attempt, then an event."""
        unix.peer.send(b"abc")
        seen = loop.watch(pdu(loop, top, unix.stream, Script([bytearray(2)], [bytearray(2)], None)))
        assert loop.settle() == 1
        unix.peer.send(b"d")
        assert loop.settle() == 1
        assert seen.calls == 1

    def test_the_next_pdu_from_the_callback(self, top, loop, unix):
        """A chain of PDUs, each read from the callback of the one before."""
        bodies: list[bytes] = []
        unix.peer.send(b"".join(framed(b"x" * n) for n in range(20)))

        def start() -> None:
            reader = LengthPrefixed()

            def done(req: tevent_req) -> None:
                assert tstream_readv_pdu_recv(req) == (reader.length[3] + 4, 0)
                talloc_free(req)
                bodies.append(bytes(reader.body or b""))
                start()

            tevent_req_set_callback(pdu(loop, top, unix.stream, reader.next_vector), done, None)

        start()
        loop.settle()
        assert bodies == [b"x" * n for n in range(20)]


class TestErrors:
    def test_the_functions_errno(self, top, loop, unix):
        """-1 from the first call fails the request inside ``_send``."""

        def fail(mem_ctx: object) -> tuple[int, None]:
            set_errno(EPROTO)
            return -1, None

        finished_with(loop, pdu(loop, top, unix.stream, Script(fail)), tstream_readv_pdu_recv, EPROTO)

    def test_the_functions_errno_later(self, top, loop, unix):
        """-1 from a later call fails the request in that turn; the stream is free."""

        def fail(mem_ctx: object) -> tuple[int, None]:
            set_errno(EMSGSIZE)
            return -1, None

        seen = loop.watch(pdu(loop, top, unix.stream, Script([bytearray(1)], fail)), tstream_readv_pdu_recv)
        unix.peer.send(b"ab")
        loop.turn()
        assert seen.result == (-1, EMSGSIZE)
        assert read_now(loop, unix.stream, 1) == ((1, 0), b"b")

    def test_minus_one_without_errno_is_eio(self, top, loop, unix):
        """A failure without a reason does not hang."""
        set_errno(0)
        finished_with(loop, pdu(loop, top, unix.stream, Script((-1, None))), tstream_readv_pdu_recv, EIO)

    def test_the_vector_of_a_failure_is_not_looked_at(self, top, loop, unix):
        """-1 with a vector fails all the same."""
        set_errno(0)
        finished_with(loop, pdu(loop, top, unix.stream, Script((-1, [bytearray(1)]))), tstream_readv_pdu_recv, EIO)

    @pytest.mark.parametrize("vector", [[bytearray()], [iovec(None, 0), b""]])
    def test_a_vector_without_bytes_is_einval(self, top, loop, unix, vector):
        """Elements, but none with bytes: finished inside ``_send``."""
        finished_with(loop, pdu(loop, top, unix.stream, Script(vector)), tstream_readv_pdu_recv, EINVAL)

    def test_a_later_vector_without_bytes_is_einval(self, top, loop, unix):
        """The same for a later call."""
        seen = loop.watch(pdu(loop, top, unix.stream, Script([bytearray(1)], [bytearray()])), tstream_readv_pdu_recv)
        unix.peer.send(b"a")
        loop.settle()
        assert seen.result == (-1, EINVAL)

    def test_too_many_elements_are_emsgsize_from_the_loop(self, top, loop, unix):
        """The stream refuses the vector, the PDU hears of it in the next turn."""
        req = pdu(loop, top, unix.stream, Script([bytearray(1)] * 1025))
        assert tevent_req_is_in_progress(req)
        seen = loop.watch(req, tstream_readv_pdu_recv)
        assert loop.turn()
        assert seen.result == (-1, EMSGSIZE)

    def test_a_second_pdu_is_ebusy_from_the_loop(self, top, loop, unix):
        """Its function was called once already; the first PDU goes on."""
        first = loop.watch(pdu(loop, top, unix.stream, Script([bytearray(1)], None)), tstream_readv_pdu_recv)
        script = Script([bytearray(1)])
        req = pdu(loop, top, unix.stream, script)
        assert len(script.calls) == 1
        assert tevent_req_is_in_progress(req)
        second = loop.watch(req, tstream_readv_pdu_recv)
        assert loop.turn()
        assert second.result == (-1, EBUSY)
        unix.peer.send(b"x")
        loop.settle()
        assert first.result == (1, 0)

    def test_a_read_beside_a_pdu_is_ebusy(self, top, loop, unix):
        """The PDU has the read side, also between its vectors."""
        pdu(loop, top, unix.stream, Script([bytearray(1)], [bytearray(9)], None))
        assert tstream_readv_recv(readv(loop, top, unix.stream, bytearray(1))) == (-1, EBUSY)
        unix.peer.send(b"xy")
        loop.settle()
        assert tstream_readv_recv(readv(loop, top, unix.stream, bytearray(1))) == (-1, EBUSY)
        assert tstream_disconnect_recv(disconnect(loop, top, unix.stream)) == (-1, EBUSY)

    def test_during_a_disconnect_it_is_econnaborted(self, top, loop, unix):
        """From the loop, as everything that the stream refuses."""
        disconnect(loop, top, unix.stream)
        req = pdu(loop, top, unix.stream, Script([bytearray(1)]))
        assert tevent_req_is_in_progress(req)
        seen = loop.watch(req, tstream_readv_pdu_recv)
        loop.settle()
        assert seen.result == (-1, ECONNABORTED)

    @pytest.mark.parametrize("sent", [b"", b"a", b"\0\0\0\5", b"\0\0\0\5abcd"])
    def test_the_end_of_the_stream_is_epipe(self, top, loop, wire, sent):
        """Before the PDU, in its header, behind it and in its body."""
        reader = LengthPrefixed()
        seen = loop.watch(pdu(loop, top, wire.stream, reader.next_vector), tstream_readv_pdu_recv)
        if sent:
            wire.peer.send(sent)
        wire.peer.close()
        loop.until(lambda: seen.calls)
        assert seen.result == (-1, EPIPE)
        assert (reader.body is None) == (len(sent) < 4)

    def test_a_monitor_ends_with_it(self, top, loop, unix):
        """The stream's error reaches its monitor, the function's own does not."""
        watching = loop.watch(monitor(loop, top, unix.stream), tstream_monitor_recv)
        set_errno(0)
        pdu(loop, top, unix.stream, Script((-1, None)))
        loop.settle()
        assert watching.calls == 0
        reading = loop.watch(pdu(loop, top, unix.stream, Script([bytearray(1)])), tstream_readv_pdu_recv)
        unix.peer.close()
        loop.settle()
        assert reading.result == (-1, EPIPE)
        assert watching.result == (-1, EPIPE)


class TestMemory:
    def test_what_was_allocated_for_it_goes_with_recv(self, top, loop, unix):
        """The function may allocate on its context; at ``_recv`` all of that is freed."""
        freed: list[str] = []

        def allocate(mem_ctx: TALLOC_CTX) -> list[bytearray]:
            chunk = talloc_new(mem_ctx)
            talloc_set_destructor(chunk, lambda _: freed.append("gone") or 0)
            return [bytearray(1)]

        req = pdu(loop, top, unix.stream, Script(allocate, allocate, None))
        unix.peer.send(b"ab")
        loop.settle()
        assert freed == []
        assert tstream_readv_pdu_recv(req) == (2, 0)
        assert freed == ["gone", "gone"]
        assert talloc_total_blocks(req) == 1

    def test_it_goes_with_the_request(self, top, loop, unix):
        """A freed request takes it along."""
        freed: list[str] = []

        def allocate(mem_ctx: TALLOC_CTX) -> list[bytearray]:
            chunk = talloc_new(mem_ctx)
            talloc_set_destructor(chunk, lambda _: freed.append("gone") or 0)
            return [bytearray(1)]

        talloc_free(pdu(loop, top, unix.stream, Script(allocate)))
        assert freed == ["gone"]

    def test_the_vector_before_is_freed_before_the_next_call(self, top, loop, unix):
        """A vector that is a chunk lives until the function is called again."""
        freed: list[int] = []
        vectors: list[Any] = []

        def allocate(mem_ctx: TALLOC_CTX) -> Any:
            vector = talloc_array(mem_ctx, iovec, 1)
            vector[0] = iovec(bytearray(1), 1)
            number = len(vectors)
            talloc_set_destructor(vector, lambda _: freed.append(number) or 0)
            vectors.append(vector)
            return vector

        def look(mem_ctx: TALLOC_CTX) -> None:
            assert freed == [0, 1]

        script = Script(allocate, lambda mem_ctx: (freed == [0] and allocate(mem_ctx)) or [], look)
        seen = loop.watch(pdu(loop, top, unix.stream, script), tstream_readv_pdu_recv)
        assert freed == []
        unix.peer.send(b"ab")
        loop.settle()
        assert seen.result == (2, 0)
        assert freed == [0, 1]

    def test_a_buffer_that_is_a_chunk_may_be_kept(self, top, loop, unix):
        """Buffers are the function's own business: moved away in time they survive ``_recv``."""
        kept: list[Any] = []

        def allocate(mem_ctx: TALLOC_CTX) -> list[Any]:
            kept.append(talloc_array(mem_ctx, uint8_t, 3))
            return [kept[0]]

        req = pdu(loop, top, unix.stream, Script(allocate, lambda _: talloc_steal(top, kept[0]) and None))
        unix.peer.send(b"abc")
        loop.settle()
        assert tstream_readv_pdu_recv(req) == (3, 0)
        talloc_free(req)
        assert kept[0] == b"abc"
        assert talloc_parent(kept[0]) is top

    def test_the_private_data_is_not_held_after_recv(self, top, loop, unix):
        """A received request that lives on keeps nothing of the user's alive."""

        class Private:
            pass

        private = Private()
        ref = weakref.ref(private)
        req = pdu(loop, top, unix.stream, Script(None), private)
        tstream_readv_pdu_recv(req)
        del private
        gc.collect()
        # The script itself remembers its calls; what counts is that the request does not.
        holders = [h for h in gc.get_referrers(ref()) if isinstance(h, tevent_req)] if ref() is not None else []
        assert holders == []


class TestFreeing:
    def test_freed_in_flight_it_is_forgotten_with_its_bytes(self, top, loop, unix):
        """Bytes taken for its first vector are lost, the stream can be used at once."""
        req = pdu(loop, top, unix.stream, Script([bytearray(2)], [bytearray(9)], None))
        seen = loop.watch(req)
        unix.peer.send(b"ab")
        loop.settle()
        talloc_free(req)
        unix.peer.send(b"cd")
        assert read_now(loop, unix.stream, 2) == ((2, 0), b"cd")
        assert seen.calls == 0

    def test_freed_with_a_vector_posted(self, top, loop, unix):
        """A vector that was filled at once and not delivered goes with the request."""
        script = Script([bytearray(1)], [bytearray(1)], None)
        req = pdu(loop, top, unix.stream, script)
        unix.peer.send(b"abc")
        loop.turn()
        assert len(script.calls) == 2
        talloc_free(req)
        assert read_now(loop, unix.stream, 1) == ((1, 0), b"c")
        assert len(script.calls) == 2

    def test_received_in_progress_it_is_eio_and_over(self, top, loop, unix):
        """The stream is free."""
        req = pdu(loop, top, unix.stream, Script([bytearray(2)]))
        assert tstream_readv_pdu_recv(req) == (-1, EIO)
        unix.peer.send(b"a")
        assert read_now(loop, unix.stream, 1) == ((1, 0), b"a")

    def test_freeing_the_stream_leaves_it_in_progress_for_ever(self, top, loop, unix):
        """Only the read inside it was the stream's; the PDU is never called back and gives EIO."""
        req = pdu(loop, top, unix.stream, Script([bytearray(2)]))
        seen = loop.watch(req)
        talloc_free(unix.stream)
        assert tevent_req_is_in_progress(req)
        assert loop.settle() == 0
        assert seen.calls == 0
        assert tstream_readv_pdu_recv(req) == (-1, EIO)

    def test_an_end_time(self, top, loop, unix):
        """ETIMEDOUT; what came of the PDU is lost, the stream works."""
        req = pdu(loop, top, unix.stream, Script([bytearray(2)], [bytearray(2)]))
        seen = loop.watch(req, tstream_readv_pdu_recv)
        unix.peer.send(b"ab")
        loop.settle()
        tevent_req_set_endtime(req, loop.ev, timeval(0, 1))
        loop.settle()
        assert seen.result == (-1, ETIMEDOUT)
        unix.peer.send(b"cd")
        assert read_now(loop, unix.stream, 2) == ((2, 0), b"cd")

    def test_the_callback_may_free_everything(self, top, loop):
        """Request, stream and owner in one free."""
        conn = talloc_new(top)
        sock, peer = socket.socketpair()
        with peer:
            wire = Wire(conn, sock, peer)
            seen = loop.watch(
                pdu(loop, conn, wire.stream, Script([bytearray(1)], [bytearray(1)], None)),
                then=lambda _: talloc_free(conn),
            )
            peer.send(b"ab")
            loop.settle()
            assert seen.calls == 1
            assert not is_open(wire.fd)

    def test_second_recv_aborts(self, top, loop, unix):
        """There is no state any more."""
        req = pdu(loop, top, unix.stream, Script(None))
        tstream_readv_pdu_recv(req)
        with pytest.raises(talloc_abort_error):
            tstream_readv_pdu_recv(req)


class TestFunctionsThatMisbehave:
    def test_an_exception_in_send(self, top, loop, unix):
        """It leaves ``_send``, no request remains, the stream is free."""

        def fail(mem_ctx: object) -> None:
            raise ZeroDivisionError

        blocks = talloc_total_blocks(top)
        with pytest.raises(ZeroDivisionError):
            pdu(loop, top, unix.stream, Script(fail))
        assert talloc_total_blocks(top) == blocks
        unix.peer.send(b"x")
        assert read_now(loop, unix.stream, 1)[0] == (1, 0)

    def test_an_exception_later(self, top, loop, unix):
        """It leaves the loop; the request stays in progress without effect on the stream until it is freed."""

        def fail(mem_ctx: object) -> None:
            raise ZeroDivisionError

        req = pdu(loop, top, unix.stream, Script([bytearray(1)], fail))
        seen = loop.watch(req)
        unix.peer.send(b"ab")
        with pytest.raises(ZeroDivisionError):
            loop.settle()
        assert tevent_req_is_in_progress(req)
        assert read_now(loop, unix.stream, 1) == ((1, 0), b"b")
        assert loop.settle() == 0
        assert seen.calls == 0
        assert talloc_free(req) == 0

    @pytest.mark.parametrize("answer", [None, 3, (0,), (0, 5), (0, [3]), (0, [b"read-only"])], ids=str)
    def test_an_answer_of_the_wrong_kind_is_a_type_error(self, top, loop, unix, answer):
        """The function must return ``(ret, vector)`` with writable buffers."""
        blocks = talloc_total_blocks(top)
        with pytest.raises((TypeError, ValueError)):
            pdu(loop, top, unix.stream, lambda *_: answer)
        assert talloc_total_blocks(top) == blocks
        assert tevent_req_is_in_progress(readv(loop, top, unix.stream, bytearray(1)))

    def test_no_function(self, top, loop, unix):
        """None is a TypeError."""
        with pytest.raises(TypeError):
            pdu(loop, top, unix.stream, None)

    def test_it_may_free_its_own_request(self, top, loop, unix):
        """From a later call: nothing more happens to it, and the stream works."""
        held: list[tevent_req] = []
        script = Script([bytearray(1)], lambda _: (talloc_free(held[0]), [bytearray(1)])[1])
        held.append(pdu(loop, top, unix.stream, script))
        seen = loop.watch(held[0])
        unix.peer.send(b"ab")
        loop.settle()
        assert seen.calls == 0
        talloc_free(disconnect(loop, top, unix.stream))

    def test_it_may_free_its_stream(self, top, loop, unix):
        """From a later call: the descriptor is closed, the loop goes on."""
        script = Script([bytearray(1)], lambda _: talloc_free(unix.stream) or None)
        seen = loop.watch(pdu(loop, top, unix.stream, script), tstream_readv_pdu_recv)
        unix.peer.send(b"ab")
        loop.settle()
        assert not is_open(unix.fd)
        assert seen.calls <= 1
