# SPDX-License-Identifier: LGPL-3.0-or-later
"""Backends that a user writes with C-style operations, and the conformance of every kind of stream."""

from __future__ import annotations

import socket as sockets
from errno import ECONNABORTED, EIO, ENOMEM, EPROTO, ETIMEDOUT

import pytest
from stream_backends import ScriptedStream, forward, memory_pair, scripted_io_state, scripted_state
from stream_kit import disconnect, finished_with, monitor, pdu, readv, writev

from talloc_py import (
    TALLOC_CTX,
    talloc_abort_error,
    talloc_free,
    talloc_get_name,
    talloc_is_parent,
    talloc_new,
    talloc_parent,
    talloc_set_destructor,
    talloc_total_blocks,
)
from tevent import (
    get_errno,
    tevent_loop_once,
    tevent_queue_create,
    tevent_req_create,
    tevent_req_data,
    tevent_req_done,
    tevent_req_error,
    tevent_req_is_in_progress,
    tevent_req_oom,
    tevent_req_received,
    tevent_req_set_callback,
    tevent_req_set_endtime,
    timeval,
)
from tsocket import (
    iovec,
    tsocket_address_inet_from_strings,
    tsocket_simple_int_recv,
    tstream_bsd_existing_socket,
    tstream_bsd_optimize_readv,
    tstream_context,
    tstream_context_create,
    tstream_context_data,
    tstream_context_ops,
    tstream_disconnect_recv,
    tstream_inet_tcp_connect_recv,
    tstream_inet_tcp_connect_send,
    tstream_monitor_recv,
    tstream_pending_bytes,
    tstream_readv_pdu_recv,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_unix_socketpair,
    tstream_writev_queue_send,
    tstream_writev_recv,
    tstream_writev_send,
)
from tsocket.testing import TSTREAM_CHECKS, check_tstream


def bsd(mem_ctx, sock):
    """A stream on a socket object."""
    sock.setblocking(False)
    ret, stream = tstream_bsd_existing_socket(mem_ctx, sock.detach())
    assert ret == 0
    return stream


def socketpair(ev, mem_ctx):
    """A Unix socket pair."""
    ret, one, two = tstream_unix_socketpair(mem_ctx, mem_ctx)
    assert ret == 0
    return one, two


def tcp(ev, mem_ctx):
    """A TCP connection made by the library."""
    with sockets.create_server(("127.0.0.1", 0)) as listener:
        _, local = tsocket_address_inet_from_strings(mem_ctx, "ip", None, 0)
        _, remote = tsocket_address_inet_from_strings(mem_ctx, "ip", *listener.getsockname())
        req = tstream_inet_tcp_connect_send(mem_ctx, ev, local, remote)
        peer, _ = listener.accept()
    while tevent_req_is_in_progress(req):
        tevent_loop_once(ev)
    ret, _, stream, _ = tstream_inet_tcp_connect_recv(req, mem_ctx)
    assert ret == 0
    talloc_free(req)
    return stream, bsd(mem_ctx, peer)


def existing(ev, mem_ctx):
    """A socket pair made elsewhere."""
    return tuple(bsd(mem_ctx, sock) for sock in sockets.socketpair())


def optimised(ev, mem_ctx):
    """A socket pair whose reads look for data at once."""
    pair = existing(ev, mem_ctx)
    for stream in pair:
        tstream_bsd_optimize_readv(stream, True)
    return pair


def memory(ev, mem_ctx):
    """A user's streams in memory."""
    return memory_pair(mem_ctx)


def forwarded(ev, mem_ctx):
    """A user's streams on top of a socket pair."""
    return tuple(forward(mem_ctx, stream) for stream in existing(ev, mem_ctx))


def forwarded_twice(ev, mem_ctx):
    """... and on top of those."""
    return tuple(forward(mem_ctx, stream) for stream in forwarded(ev, mem_ctx))


@pytest.mark.parametrize(
    "make_pair",
    [socketpair, tcp, existing, optimised, memory, forwarded, forwarded_twice],
    ids=lambda make_pair: make_pair.__name__,
)
@pytest.mark.parametrize("name", TSTREAM_CHECKS)
def test_conformance(make_pair, name):
    """Every kind of stream passes every check."""
    check_tstream(make_pair, only=name)


@pytest.fixture
def scripted(top):
    """A stream that answers as it is told."""
    return ScriptedStream(top)


OPERATIONS = {
    "readv": (lambda loop, top, s: readv(loop, top, s, bytearray(1)), tstream_readv_recv),
    "writev": (lambda loop, top, s: writev(loop, top, s, b"x"), tstream_writev_recv),
    "disconnect": (disconnect, tstream_disconnect_recv),
    "monitor": (monitor, tstream_monitor_recv),
}
EACH = pytest.mark.parametrize("name", list(OPERATIONS))


class TestCreate:
    def test_stream_and_state(self, top):
        """The state is an instance of the type, named by it, a child of the stream, with the class's defaults."""

        class my_state(TALLOC_CTX):
            number: int
            text: str = "default"

        stream, state = tstream_context_create(top, tstream_context_ops(name="mine"), my_state)
        assert talloc_parent(stream) is top
        assert talloc_get_name(stream) == "struct tstream_context"
        assert type(state) is my_state
        assert talloc_get_name(state) == "struct my_state"
        assert talloc_parent(state) is stream
        assert (state.number, state.text) == (0, "default")
        assert tstream_context_data(stream, my_state) is state

    def test_the_state_is_type_checked(self, scripted):
        """Another type aborts."""

        class other_state(TALLOC_CTX):
            pass

        with pytest.raises(talloc_abort_error, match="scripted_state"):
            tstream_context_data(scripted.stream, other_state)

    def test_the_state_goes_with_the_stream(self, top):
        """A destructor on the state runs once, when the stream is freed."""
        freed = []
        stream, state = tstream_context_create(top, tstream_context_ops(name="mine"), scripted_state)
        talloc_set_destructor(state, lambda s: freed.append(s) or 0)
        assert talloc_free(stream) == 0
        assert freed == [state]

    def test_requests_are_silenced_before_the_state_goes(self, top, loop, scripted):
        """The core's destructor runs first: the backend's requests are gone when its state is freed."""
        order = []
        readv(loop, top, scripted.stream, bytearray(1))
        inner = talloc_new(scripted.waiting["readv"])
        talloc_set_destructor(inner, lambda _: order.append("request") or 0)
        talloc_set_destructor(
            tstream_context_data(scripted.stream, scripted_state), lambda _: order.append("state") or 0
        )
        talloc_free(scripted.stream)
        assert order == ["request", "state"]

    @pytest.mark.parametrize("ops", [None, {}, object()])
    def test_operations_are_needed(self, top, ops):
        """Anything but a `tstream_context_ops` is a TypeError."""
        with pytest.raises(TypeError):
            tstream_context_create(top, ops, scripted_state)

    def test_operations_are_attributes(self):
        """By position or keyword, writable, None when left out."""
        ops = tstream_context_ops("name", len)
        assert (ops.name, ops.pending_bytes, ops.readv_send, ops.monitor_recv) == ("name", len, None, None)
        ops.readv_send = print
        assert ops.readv_send is print

    def test_a_stream_has_no_constructor(self):
        """Users cannot make one by calling the class."""
        with pytest.raises(TypeError):
            tstream_context()

    def test_mem_ctx_none(self, loop):
        """A stream without an owner."""
        scripted = ScriptedStream(None)
        assert talloc_parent(scripted.stream) is None
        assert talloc_free(scripted.stream) == 0


class TestOperations:
    @EACH
    def test_the_result_is_the_backends(self, top, loop, scripted, name):
        """Any value but -1 is the result, unchecked; the callback comes with the backend's."""
        start, recv = OPERATIONS[name]
        req = start(loop, top, scripted.stream)
        seen = loop.watch(req, recv)
        assert tevent_req_is_in_progress(req)
        assert loop.settle() == 0
        scripted.answer(name, 42)
        if name == "monitor":
            loop.turn()
        assert seen.result == (0 if name == "disconnect" else 42, 0)

    @EACH
    def test_the_errno_is_the_backends(self, top, loop, scripted, name):
        """-1 with an errno is the request's error."""
        start, recv = OPERATIONS[name]
        seen = loop.watch(start(loop, top, scripted.stream), recv)
        scripted.answer(name, -1, EPROTO)
        loop.settle()
        assert seen.result == (-1, EPROTO)

    @EACH
    def test_minus_one_without_an_errno_is_eio(self, top, loop, scripted, name):
        """It does not hang."""
        start, recv = OPERATIONS[name]
        seen = loop.watch(start(loop, top, scripted.stream), recv)
        scripted.answer(name, -1, 0)
        loop.settle()
        assert seen.result == (-1, EIO)

    @EACH
    def test_send_that_returns_none_is_enomem(self, top, loop, scripted, name):
        """Finished inside ``_send``, posted; the stream is free."""
        scripted.refuse.add(name)
        start, recv = OPERATIONS[name]
        finished_with(loop, start(loop, top, scripted.stream), recv, ENOMEM)
        scripted.refuse.clear()
        assert tevent_req_is_in_progress(start(loop, top, scripted.stream))

    def test_a_pdu_hears_from_the_loop_that_the_backend_made_no_request(self, top, loop, scripted):
        """ENOMEM, in progress until then."""
        scripted.refuse.add("readv")
        req = pdu(loop, top, scripted.stream, lambda stream, data, ctx: (0, [bytearray(1)]))
        assert tevent_req_is_in_progress(req)
        seen = loop.watch(req, tstream_readv_pdu_recv)
        loop.settle()
        assert seen.result == (-1, ENOMEM)

    def test_the_request_below_a_queued_write_goes_first(self, top, loop, scripted):
        """When the callback runs, the backend's request is gone; that of a plain write stays until it is received."""
        queue = tevent_queue_create(top, "writes")
        req = tstream_writev_queue_send(top, loop.ev, scripted.stream, queue, [b"x"])
        freed = []
        tevent_req_set_callback(req, lambda req: freed.extend(scripted.freed), None)
        scripted.answer("writev", 1)
        assert freed == ["writev"]
        writing = writev(loop, top, scripted.stream, b"x")
        scripted.answer("writev", 1)
        assert scripted.freed == ["writev"]
        assert tstream_writev_recv(writing) == (1, 0)
        assert scripted.freed == ["writev", "writev"]

    def test_the_request_below_a_monitor_goes_with_its_end(self, top, loop, scripted):
        """It is gone before the callback, which is deferred."""
        seen = loop.watch(monitor(loop, top, scripted.stream), tstream_monitor_recv)
        scripted.answer("monitor", -1, EPROTO)
        assert (scripted.freed, seen.calls) == (["monitor"], 0)
        loop.settle()
        assert seen.result == (-1, EPROTO)

    @EACH
    def test_a_request_finished_and_posted_by_the_backend(self, top, loop, scripted, name):
        """The core waits for its callback all the same."""
        start, recv = OPERATIONS[name]
        scripted.at_once[name] = (7, 0)
        req = start(loop, top, scripted.stream)
        assert tevent_req_is_in_progress(req)
        seen = loop.watch(req, recv)
        loop.settle()
        assert seen.result == (0 if name == "disconnect" else 7, 0)

    @EACH
    def test_the_backends_request_dies_with_the_outer_one(self, top, loop, scripted, name):
        """Its owner is what the core gave as mem_ctx."""
        req = OPERATIONS[name][0](loop, top, scripted.stream)
        assert talloc_is_parent(scripted.waiting[name], req)
        talloc_free(req)
        assert scripted.freed == [name]

    @EACH
    def test_the_backends_request_dies_with_recv(self, top, loop, scripted, name):
        """After ``_recv`` of the outer request nothing is left below it."""
        start, recv = OPERATIONS[name]
        req = start(loop, top, scripted.stream)
        scripted.answer(name, 1)
        recv(req)
        assert scripted.freed == [name]
        assert talloc_total_blocks(req) == 1

    def test_reads_free_the_backends_request_at_once_the_others_later(self, top, loop, scripted):
        """A read's goes right after the backend's ``_recv``, the rest with the outer request."""
        readv(loop, top, scripted.stream, bytearray(1))
        scripted.answer("readv", 1)
        assert scripted.freed == ["readv"]
        req = writev(loop, top, scripted.stream, b"x")
        scripted.answer("writev", 1)
        assert scripted.freed == ["readv"]
        talloc_free(req)
        assert scripted.freed == ["readv", "writev"]

    def test_the_backend_gets_the_callers_vector(self, top, loop, scripted):
        """The very list, not a copy."""
        into, out = [iovec(bytearray(2), 2)], [b"ab", b""]
        tstream_readv_send(top, loop.ev, scripted.stream, into)
        tstream_writev_send(top, loop.ev, scripted.stream, out)
        assert scripted.vectors[0] is into
        assert scripted.vectors[1] is out

    def test_refused_operations_never_reach_the_backend(self, top, loop, scripted):
        """Arguments, busy streams and disconnects are the core's business."""
        for name in ("readv", "writev", "monitor"):
            OPERATIONS[name][0](loop, top, scripted.stream)
        assert scripted.asked == ["readv", "writev", "monitor"]
        for refused in (
            readv(loop, top, scripted.stream),
            readv(loop, top, scripted.stream, bytearray(1)),
            writev(loop, top, scripted.stream, *[b"x"] * 1025),
            writev(loop, top, scripted.stream, b"x"),
            disconnect(loop, top, scripted.stream),
            monitor(loop, top, scripted.stream),
        ):
            assert not tevent_req_is_in_progress(refused)
        assert scripted.asked == ["readv", "writev", "monitor"]

    def test_a_finished_disconnect_is_not_remembered(self, top, loop, scripted):
        """The core leaves it to the backend what comes after one."""
        seen = loop.watch(disconnect(loop, top, scripted.stream), tstream_disconnect_recv)
        scripted.answer("disconnect", 0)
        assert seen.result == (0, 0)
        for name in OPERATIONS:
            OPERATIONS[name][0](loop, top, scripted.stream) if name != "disconnect" else None
        assert scripted.asked == ["disconnect", "readv", "writev", "monitor"]

    def test_errors_are_not_remembered(self, top, loop, scripted):
        """A failed read is followed by whatever the backend says."""
        first = loop.watch(readv(loop, top, scripted.stream, bytearray(1)), tstream_readv_recv)
        scripted.answer("readv", -1, EIO)
        second = loop.watch(readv(loop, top, scripted.stream, bytearray(1)), tstream_readv_recv)
        scripted.answer("readv", 1)
        assert (first.result, second.result) == ((-1, EIO), (1, 0))

    def test_the_stream_is_free_when_the_callback_runs(self, top, loop, scripted):
        """As with every backend."""
        again = []
        loop.watch(
            readv(loop, top, scripted.stream, bytearray(1)),
            then=lambda _: again.append(readv(loop, top, scripted.stream, bytearray(1))),
        )
        scripted.answer("readv", 1)
        assert tevent_req_is_in_progress(again[0])

    @pytest.mark.parametrize("op", ["readv", "writev", "disconnect"])
    @pytest.mark.parametrize("half", ["send", "recv"])
    def test_a_missing_operation_is_a_type_error_that_names_it(self, top, loop, scripted, op, half):
        """C crashes; here the call, or the loop, raises."""
        setattr(scripted.ops, f"{op}_{half}", None)
        with pytest.raises(TypeError, match=f"{op}_{half}"):
            OPERATIONS[op][0](loop, top, scripted.stream)
            scripted.answer(op, 1)

    def test_a_missing_pending_bytes_is_a_type_error(self, scripted):
        """The same for the operation that is no request."""
        scripted.ops.pending_bytes = None
        with pytest.raises(TypeError, match="pending_bytes"):
            tstream_pending_bytes(scripted.stream)

    @EACH
    def test_an_exception_of_send_leaves_no_request(self, top, loop, scripted, name):
        """It passes to the caller; the stream is free."""

        def fail(*_):
            raise ZeroDivisionError

        good = getattr(scripted.ops, f"{name}_send")
        setattr(scripted.ops, f"{name}_send", fail)
        blocks = talloc_total_blocks(top)
        with pytest.raises(ZeroDivisionError):
            OPERATIONS[name][0](loop, top, scripted.stream)
        assert talloc_total_blocks(top) == blocks
        setattr(scripted.ops, f"{name}_send", good)
        assert tevent_req_is_in_progress(OPERATIONS[name][0](loop, top, scripted.stream))

    @EACH
    def test_freeing_the_stream_frees_the_backends_requests(self, top, loop, scripted, name):
        """The outer request becomes received."""
        req = OPERATIONS[name][0](loop, top, scripted.stream)
        talloc_free(scripted.stream)
        assert scripted.freed == [name]
        assert not tevent_req_is_in_progress(req)

    @EACH
    def test_the_stream_may_be_freed_in_the_callback(self, top, loop, scripted, name):
        """Inside the backend's own completion."""
        start, recv = OPERATIONS[name]
        seen = loop.watch(start(loop, top, scripted.stream), recv, then=lambda _: talloc_free(scripted.stream))
        scripted.answer(name, 1)
        loop.settle()
        assert seen.calls == 1

    @pytest.mark.parametrize("name", ["readv", "writev"])
    def test_an_end_time_on_the_outer_request(self, top, loop, scripted, name):
        """ETIMEDOUT; the backend's request is gone with ``_recv``, a later answer is not possible."""
        start, recv = OPERATIONS[name]
        req = start(loop, top, scripted.stream)
        tevent_req_set_endtime(req, loop.ev, timeval(0, 1))
        seen = loop.watch(req, recv, free=True)
        loop.settle()
        assert seen.result == (-1, ETIMEDOUT)
        assert scripted.freed == [name]
        assert tevent_req_is_in_progress(start(loop, top, scripted.stream))


class TestPendingBytes:
    def test_the_answer_is_the_backends(self, scripted):
        """Any number, and -1 with errno."""
        scripted.pending = (17, 0)
        assert tstream_pending_bytes(scripted.stream) == 17
        scripted.pending = (-1, EPROTO)
        assert (tstream_pending_bytes(scripted.stream), get_errno()) == (-1, EPROTO)

    def test_its_failure_ends_a_monitor(self, top, loop, scripted):
        """With the same errno."""
        watching = loop.watch(monitor(loop, top, scripted.stream), tstream_monitor_recv)
        scripted.pending = (-1, EPROTO)
        tstream_pending_bytes(scripted.stream)
        loop.settle()
        assert watching.result == (-1, EPROTO)


class TestMonitors:
    @pytest.mark.parametrize("name", ["readv", "writev", "disconnect"])
    def test_a_failing_operation_ends_the_monitor(self, top, loop, scripted, name):
        """With its errno; the backend's monitor request is freed."""
        watching = loop.watch(monitor(loop, top, scripted.stream), tstream_monitor_recv, free=True)
        OPERATIONS[name][0](loop, top, scripted.stream)
        scripted.answer(name, -1, EPROTO)
        assert watching.calls == 0
        loop.settle()
        assert watching.result == (-1, EPROTO)
        assert "monitor" in scripted.freed

    def test_a_successful_disconnect_ends_the_monitor(self, top, loop, scripted):
        """ECONNABORTED."""
        watching = loop.watch(monitor(loop, top, scripted.stream), tstream_monitor_recv)
        disconnect(loop, top, scripted.stream)
        scripted.answer("disconnect", 0)
        loop.settle()
        assert watching.result == (-1, ECONNABORTED)

    def test_freeing_the_monitor_frees_the_backends(self, top, loop, scripted):
        """Nothing of it remains."""
        talloc_free(monitor(loop, top, scripted.stream))
        assert scripted.freed == ["monitor"]

    def test_a_backend_without_monitors_is_asked_for_pending_bytes_once(self, top, loop):
        """While that is no failure the monitor waits for one of an operation."""
        scripted = ScriptedStream(top, monitored=False)
        watching = loop.watch(monitor(loop, top, scripted.stream), tstream_monitor_recv)
        assert scripted.asked == ["pending_bytes"]
        assert loop.settle() == 0
        readv(loop, top, scripted.stream, bytearray(1))
        scripted.answer("readv", -1, EPROTO)
        loop.settle()
        assert watching.result == (-1, EPROTO)
        assert scripted.asked == ["pending_bytes", "readv"]

    def test_a_failing_pending_bytes_ends_it_inside_send(self, top, loop):
        """Finished at once, posted; another monitor can be tried."""
        scripted = ScriptedStream(top, monitored=False)
        scripted.pending = (-1, EPROTO)
        finished_with(loop, monitor(loop, top, scripted.stream), tstream_monitor_recv, EPROTO)
        finished_with(loop, monitor(loop, top, scripted.stream), tstream_monitor_recv, EPROTO)


class TestPdusOverABackend:
    def test_the_values_of_the_backend_are_added_up(self, top, loop, scripted):
        """Not the sizes of the vectors."""
        vectors = [[bytearray(4)], [bytearray(2)], None]
        seen = loop.watch(pdu(loop, top, scripted.stream, lambda *_: (0, vectors.pop(0))), tstream_readv_pdu_recv)
        scripted.answer("readv", 100)
        scripted.answer("readv", 23)
        assert seen.result == (123, 0)

    def test_the_functions_own_vector_reaches_the_backend(self, top, loop, scripted):
        """The object that next_vector returned."""
        vector = [bytearray(4)]
        pdu(loop, top, scripted.stream, lambda *_: (0, vector))
        assert scripted.vectors[0] is vector

    def test_the_backends_errors(self, top, loop, scripted):
        """-1 and its errno end the PDU."""
        seen = loop.watch(pdu(loop, top, scripted.stream, lambda *_: (0, [bytearray(1)])), tstream_readv_pdu_recv)
        scripted.answer("readv", -1, EPROTO)
        loop.settle()
        assert seen.result == (-1, EPROTO)

    def test_freeing_it_frees_the_backends_request(self, top, loop, scripted):
        """The stream can be read again."""
        talloc_free(pdu(loop, top, scripted.stream, lambda *_: (0, [bytearray(1)])))
        assert scripted.freed == ["readv"]
        assert tevent_req_is_in_progress(readv(loop, top, scripted.stream, bytearray(1)))


class TestSimpleIntRecv:
    def test_the_states_of_a_request(self, top, loop):
        """0, or -1 with the errno of each state; the request is not received by it."""
        for finish, expect in (
            (tevent_req_done, (0, 0)),
            (lambda req: tevent_req_error(req, EPROTO), (-1, EPROTO)),
            (tevent_req_oom, (-1, ENOMEM)),
            (lambda req: None, (-1, EIO)),
            (tevent_req_received, (-1, EIO)),
        ):
            req, state = tevent_req_create(top, scripted_io_state)
            finish(req)
            assert tsocket_simple_int_recv(req) == expect
            assert tsocket_simple_int_recv(req) == expect
            if finish is not tevent_req_received:
                assert tevent_req_data(req, scripted_io_state) is state

    def test_a_timed_out_request(self, top, loop):
        """ETIMEDOUT."""
        req, _ = tevent_req_create(top, scripted_io_state)
        tevent_req_set_endtime(req, loop.ev, timeval(0, 1))
        loop.settle()
        assert tsocket_simple_int_recv(req) == (-1, ETIMEDOUT)
