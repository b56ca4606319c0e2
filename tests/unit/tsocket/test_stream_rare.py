# SPDX-License-Identifier: LGPL-3.0-or-later
"""What seldom happens to streams: calls the system fails, memory limits, abort functions that return, late turns."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from syscall_kit import failing

from talloc_py import (
    TALLOC_CTX,
    TALLOC_FREE,
    talloc_abort_error,
    talloc_free,
    talloc_new,
    talloc_set_abort_fn,
    talloc_set_memlimit,
)
from tevent import (
    TEVENT_REQ_TIMED_OUT,
    tevent_context,
    tevent_context_init,
    tevent_context_set_wait_timeout,
    tevent_loop_once,
    tevent_queue,
    tevent_queue_create,
    tevent_req,
    tevent_req_is_error,
    tevent_req_is_in_progress,
    tevent_req_set_callback,
    tevent_req_set_endtime,
    timeval,
)
from tsocket import (
    _sys,
    tdgram_context,
    tdgram_inet_udp_socket,
    tdgram_sendto_queue_recv,
    tdgram_sendto_queue_send,
    tsocket_address,
    tsocket_address_inet_from_strings,
    tstream_context,
    tstream_context_create,
    tstream_context_data,
    tstream_context_ops,
    tstream_inet_tcp_connect_recv,
    tstream_inet_tcp_connect_send,
    tstream_readv_pdu_queue_recv,
    tstream_readv_pdu_queue_send,
    tstream_readv_pdu_recv,
    tstream_readv_pdu_send,
    tstream_unix_socketpair,
    tstream_writev_queue_recv,
    tstream_writev_queue_send,
)


class backend_state(TALLOC_CTX):
    """The state of a backend that has no memory for requests."""


@pytest.fixture
def ev() -> Iterator[tevent_context]:
    """A context that never waits."""
    ev = tevent_context_init(None)
    assert ev is not None
    tevent_context_set_wait_timeout(ev, 0)
    yield ev
    talloc_free(ev)


@pytest.fixture
def queue(ev: tevent_context) -> tevent_queue:
    """An empty queue."""
    queue = tevent_queue_create(ev, "line")
    assert queue is not None
    return queue


@pytest.fixture
def aborts() -> Iterator[list[str]]:
    """Reasons of an abort function that returns."""
    reasons: list[str] = []
    talloc_set_abort_fn(reasons.append)
    yield reasons
    talloc_set_abort_fn(None)


def turn(ev: tevent_context) -> None:
    """Everything that can be done without waiting."""
    while tevent_loop_once(ev) == 0:
        pass


def loopback(ev: tevent_context, port: int = 0) -> tsocket_address:
    """127.0.0.1 and a port."""
    _, address = tsocket_address_inet_from_strings(ev, "ipv4", "127.0.0.1", port)
    assert address is not None
    return address


@pytest.fixture
def connecting(ev: tevent_context) -> Iterator[tevent_req]:
    """A connection to a listening socket, still in the making."""
    listener = _sys.create_socket(_sys.AF_INET, _sys.SOCK_STREAM)
    _sys.bind(listener, _sys.AF_INET, ("127.0.0.1", 0))
    sock = _sys.socket_around(listener)
    sock.listen()
    port = sock.getsockname()[1]
    sock.detach()
    req = tstream_inet_tcp_connect_send(ev, ev, loopback(ev), loopback(ev, port))
    assert req is not None
    assert tevent_req_is_in_progress(req)
    yield req
    os.close(listener)


class TestConnect:
    """A connection in the making."""

    def test_unknown_result_of_connect_is_an_error(
        self, ev: tevent_context, connecting: tevent_req, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If the socket cannot be asked how connect(2) ended, the errno of asking is the result."""
        monkeypatch.setattr(_sys, "socket_error", failing(errno.ENOTSOCK))
        turn(ev)
        assert tstream_inet_tcp_connect_recv(connecting, ev) == (-1, errno.ENOTSOCK, None, None)

    def test_unknown_own_address_is_an_error(
        self, ev: tevent_context, connecting: tevent_req, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A connection whose own name cannot be had is given up, and its descriptor closed."""
        monkeypatch.setattr(_sys, "local_address", failing(errno.ENOBUFS))
        turn(ev)
        assert tstream_inet_tcp_connect_recv(connecting, ev) == (-1, errno.ENOBUFS, None, None)

    def test_second_recv_fails_where_the_abort_function_returns(
        self, ev: tevent_context, connecting: tevent_req, aborts: list[str]
    ) -> None:
        """The failure values are those of an error without a stream."""
        turn(ev)
        ret, _, stream, _ = tstream_inet_tcp_connect_recv(connecting, ev)
        assert ret == 0
        assert stream is not None
        assert tstream_inet_tcp_connect_recv(connecting, ev) == (-1, errno.EIO, None, None)
        assert len(aborts) == 1

    def test_dead_arguments_make_no_request(self, ev: tevent_context, aborts: list[str]) -> None:
        """Where the abort function returns, send gives None for a dead context and for a dead address."""
        good, dead = loopback(ev), loopback(ev)
        talloc_free(dead)
        other = tevent_context_init(None)
        assert other is not None
        talloc_free(other)
        assert tstream_inet_tcp_connect_send(ev, other, good, good) is None
        assert tstream_inet_tcp_connect_send(ev, ev, dead, good) is None
        assert tstream_inet_tcp_connect_send(ev, ev, good, dead) is None
        assert len(aborts) == 3

    def test_no_memory_for_the_event(self, ev: tevent_context, monkeypatch: pytest.MonkeyPatch) -> None:
        """A connection that cannot be waited for ends with ENOMEM, and its descriptor is closed."""
        monkeypatch.setattr("tsocket.connect.tevent_add_fd", lambda *_: None)
        before = len(os.listdir("/proc/self/fd"))
        monkeypatch.setattr("tsocket.connect.connect_socket", lambda *_: errno.EINPROGRESS)
        req = tstream_inet_tcp_connect_send(ev, ev, loopback(ev), loopback(ev, 9))
        assert req is not None
        assert not tevent_req_is_in_progress(req)
        assert tstream_inet_tcp_connect_recv(req, ev) == (-1, errno.ENOMEM, None, None)
        assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def starved(ev: tevent_context) -> tstream_context:
    """A stream whose backend has no memory for any request."""
    ops = tstream_context_ops(
        "starved",
        readv_send=lambda *_: None,
        writev_send=lambda *_: None,
    )
    stream, _ = tstream_context_create(ev, ops, backend_state)
    assert stream is not None
    return stream


def one_byte(_stream: tstream_context, _private: object, _mem_ctx: TALLOC_CTX) -> tuple[int, list[bytearray]]:
    """Asks for one byte, for ever."""
    return 0, [bytearray(1)]


class TestBackendWithoutMemory:
    """A backend whose _send gives None."""

    def test_pdu_fails_with_enomem(self, ev: tevent_context, starved: tstream_context) -> None:
        """The PDU hears of it from the loop."""
        req = tstream_readv_pdu_send(ev, ev, starved, one_byte, None)
        assert req is not None
        assert tevent_req_is_in_progress(req)
        assert tevent_loop_once(ev) == 0
        assert tstream_readv_pdu_recv(req) == (-1, errno.ENOMEM)

    def test_queued_operations_fail_with_enomem(
        self, ev: tevent_context, starved: tstream_context, queue: tevent_queue
    ) -> None:
        """The errors of queued operations come from the loop."""
        read = tstream_readv_pdu_queue_send(ev, ev, starved, queue, one_byte, None)
        write = tstream_writev_queue_send(ev, ev, starved, queue, [b"x"])
        assert read is not None
        assert write is not None
        tevent_req_set_callback(read, TALLOC_FREE, None)
        assert tevent_req_is_in_progress(read)
        turn(ev)
        assert tstream_writev_queue_recv(write) == (-1, errno.ENOMEM)

    def test_state_that_cannot_be_made_leaves_no_stream(self, ev: tevent_context) -> None:
        """An exception of the state's class passes, and a memory limit gives None; nothing remains in either case."""

        class broken(TALLOC_CTX):
            def __init__(self) -> None:
                raise LookupError("no state")

        class huge(TALLOC_CTX):
            __talloc_size__ = 4096

        ops = tstream_context_ops("none")
        parent = talloc_new(ev)
        assert parent is not None
        with pytest.raises(LookupError):
            tstream_context_create(parent, ops, broken)
        talloc_set_memlimit(parent, 2000)
        assert tstream_context_create(parent, ops, huge) == (None, None)

    def test_data_of_a_dead_stream(self, starved: tstream_context, aborts: list[str]) -> None:
        """None where the abort function returns."""
        talloc_free(starved)
        assert tstream_context_data(starved, backend_state) is None
        assert len(aborts) == 1


class TestLateTurn:
    """An operation whose turn comes when it can do nothing any more."""

    @pytest.fixture
    def blocked(self, ev: tevent_context, queue: tevent_queue) -> tuple[tstream_context, tevent_req]:
        """A stream, and a read that holds the queue."""
        _, stream, peer = tstream_unix_socketpair(ev, ev)
        assert stream is not None
        assert peer is not None
        holder = tstream_readv_pdu_queue_send(ev, ev, peer, queue, one_byte, None)
        assert holder is not None
        return stream, holder

    def expire(self, ev: tevent_context, req: tevent_req | None) -> tevent_req:
        """Let *req* run into its endtime."""
        assert req is not None
        assert tevent_req_set_endtime(req, ev, timeval(0, 0))
        turn(ev)
        assert tevent_req_is_error(req) == (True, TEVENT_REQ_TIMED_OUT, None)
        return req

    def test_timed_out_read_is_not_started(
        self, ev: tevent_context, queue: tevent_queue, blocked: tuple[tstream_context, tevent_req]
    ) -> None:
        """Its next_vector function is never asked."""
        stream, holder = blocked
        asked: list[object] = []

        def ask(*args: object) -> tuple[int, None]:
            asked.append(args)
            return 0, None

        req = self.expire(ev, tstream_readv_pdu_queue_send(ev, ev, stream, queue, ask, None))
        talloc_free(holder)
        turn(ev)
        assert asked == []
        assert tstream_readv_pdu_queue_recv(req) == (-1, errno.ETIMEDOUT)

    def test_timed_out_write_writes_nothing(
        self, ev: tevent_context, queue: tevent_queue, blocked: tuple[tstream_context, tevent_req]
    ) -> None:
        """The stream stays free."""
        stream, holder = blocked
        req = self.expire(ev, tstream_writev_queue_send(ev, ev, stream, queue, [b"late"]))
        talloc_free(holder)
        turn(ev)
        assert stream.write_req is None
        assert tstream_writev_queue_recv(req) == (-1, errno.ETIMEDOUT)

    @pytest.fixture
    def dgram(self, ev: tevent_context) -> tdgram_context:
        """An UDP socket."""
        _, dgram = tdgram_inet_udp_socket(loopback(ev), None, ev)
        assert dgram is not None
        return dgram

    def test_timed_out_datagram_is_not_sent(
        self,
        ev: tevent_context,
        queue: tevent_queue,
        blocked: tuple[tstream_context, tevent_req],
        dgram: tdgram_context,
    ) -> None:
        """The socket stays free."""
        sent = tdgram_sendto_queue_send(ev, ev, dgram, queue, b"late", loopback(ev, 9))
        req = self.expire(ev, sent)
        talloc_free(blocked[1])
        turn(ev)
        assert dgram.sendto_req is None
        assert tdgram_sendto_queue_recv(req) == (-1, errno.ETIMEDOUT)

    def test_turn_on_a_dead_socket_is_a_use_after_free(
        self,
        ev: tevent_context,
        queue: tevent_queue,
        blocked: tuple[tstream_context, tevent_req],
        dgram: tdgram_context,
    ) -> None:
        """The abort names the datagram context; the loop goes on."""
        req = tdgram_sendto_queue_send(ev, ev, dgram, queue, b"late", loopback(ev, 9))
        assert req is not None
        talloc_free(dgram)
        talloc_free(blocked[1])
        with pytest.raises(talloc_abort_error, match="tdgram_context"):
            turn(ev)
        assert tevent_req_is_in_progress(req)
        turn(ev)


class TestMemoryLimit:
    """Requests that a memory limit forbids."""

    def test_queue_helpers_give_none(self, ev: tevent_context, queue: tevent_queue) -> None:
        """Each _send returns None, and the queue stays empty."""
        _, stream, peer = tstream_unix_socketpair(ev, ev)
        assert stream is not None
        assert peer is not None
        _, dgram = tdgram_inet_udp_socket(loopback(ev), None, ev)
        assert dgram is not None
        poor = talloc_new(ev)
        assert poor is not None
        talloc_set_memlimit(poor, 1)
        assert tstream_readv_pdu_send(poor, ev, stream, one_byte, None) is None
        assert tstream_readv_pdu_queue_send(poor, ev, stream, queue, one_byte, None) is None
        assert tstream_writev_queue_send(poor, ev, stream, queue, [b"x"]) is None
        assert tdgram_sendto_queue_send(poor, ev, dgram, queue, b"x", loopback(ev, 9)) is None
        assert queue.length == 0


def test_program_may_end_with_open_streams() -> None:
    """What is still open when the interpreter ends is closed without a complaint about the interpreter."""
    program = (
        "from tevent import tevent_context_init\n"
        "from tsocket import *\n"
        "ev = tevent_context_init(None)\n"
        "_, one, two = tstream_unix_socketpair(ev, ev)\n"
        "_, local = tsocket_address_inet_from_strings(ev, 'ipv4', '127.0.0.1', 0)\n"
        "_, dgram = tdgram_inet_udp_socket(local, None, ev)\n"
        "assert one is not None and dgram is not None\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
