# SPDX-License-Identifier: LGPL-3.0-or-later
"""Writing a whole vector to a plain descriptor, with and without a queue."""

from __future__ import annotations

import os
import socket
from errno import EBADF, ECANCELED, EINVAL, ENOMEM, ENOSPC, EPIPE, ETIMEDOUT
from typing import TYPE_CHECKING, Any

import pytest
from stream_kit import BIG, Loop, drain, is_open, tcp_sockets

from talloc_py import (
    TALLOC_CTX,
    talloc_abort_error,
    talloc_free,
    talloc_new,
    talloc_set_abort_fn,
    talloc_set_memlimit,
    talloc_total_blocks,
)
from tevent import (
    tevent_queue,
    tevent_queue_create,
    tevent_queue_length,
    tevent_queue_start,
    tevent_queue_stop,
    tevent_req,
    tevent_req_cancel,
    tevent_req_is_in_progress,
    tevent_req_set_callback,
    tevent_req_set_endtime,
    timeval,
)
from tsocket import _async, _sys, iovec, wait_for_read_send, writev_recv, writev_send

if TYPE_CHECKING:
    from collections.abc import Iterator


class Pair:
    """Two connected sockets; `fd` is written to."""

    def __init__(self, one: socket.socket, two: socket.socket) -> None:
        one.setblocking(False)
        two.setblocking(False)
        self.sock = one
        self.peer = two
        self.fd = one.fileno()

    def drain(self) -> bytes:
        return drain(self.peer)


@pytest.fixture(params=["unix", "tcp"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    one, two = socket.socketpair() if request.param == "unix" else tcp_sockets()
    with one, two:
        yield Pair(one, two)


@pytest.fixture
def unix() -> Iterator[Pair]:
    one, two = socket.socketpair()
    with one, two:
        yield Pair(one, two)


@pytest.fixture
def queue(top: TALLOC_CTX) -> tevent_queue:
    made = tevent_queue_create(top, "writes")
    assert made is not None
    return made


def write(
    loop: Loop, top: TALLOC_CTX | None, fd: int, iov: Any, queue: tevent_queue | None = None, readability: bool = False
) -> Any:
    return writev_send(top, loop.ev, queue, fd, readability, iov)


class TestWithoutQueue:
    def test_waits_for_the_descriptor(self, top: TALLOC_CTX, loop: Loop, pair: Pair) -> None:
        """Nothing is written inside `_send`; one turn later all is."""
        req = write(loop, top, pair.fd, [b"hello", b" ", b"world"])
        assert tevent_req_is_in_progress(req)
        assert pair.drain() == b""
        seen = loop.watch(req, writev_recv)
        loop.turn()
        assert seen.result == (11, 0)
        assert pair.drain() == b"hello world"
        assert loop.settle() == 0

    @pytest.mark.parametrize(
        "iov",
        [
            [iovec(b"abcdef", 3), b"", iovec(None, 0), bytearray(b"def"), b""],
            (b"", b"abcdef"),
            [memoryview(b"abcdef")],
            [memoryview(b"abcdefgh").cast("H")[:3]],
        ],
    )
    def test_vectors(self, top: TALLOC_CTX, loop: Loop, pair: Pair, iov: Any) -> None:
        """Pieces of every kind, empty ones in between."""
        seen = loop.watch(write(loop, top, pair.fd, iov), writev_recv)
        loop.turn()
        assert seen.result == (6, 0)
        assert pair.drain() == b"abcdef"

    @pytest.mark.parametrize("iov", [[], [b""], [b"", iovec(None, 0)]])
    def test_no_bytes(self, top: TALLOC_CTX, loop: Loop, pair: Pair, iov: Any) -> None:
        """A vector without bytes is EPIPE, as a write of no bytes looks like an end."""
        seen = loop.watch(write(loop, top, pair.fd, iov), writev_recv)
        loop.turn()
        assert seen.result == (-1, EPIPE)

    def test_list_may_change(self, top: TALLOC_CTX, loop: Loop, pair: Pair) -> None:
        """The list is copied, the bytes are not."""
        first = bytearray(b"abc")
        piece = iovec(b"def", 3)
        iov: list[Any] = [first, piece]
        seen = loop.watch(write(loop, top, pair.fd, iov), writev_recv)
        iov.clear()
        piece.iov_base = b"xyz"
        first[0:1] = b"A"
        loop.turn()
        assert seen.result == (6, 0)
        assert pair.drain() == b"Abcdef"

    def test_more_than_fits(self, top: TALLOC_CTX, loop: Loop, pair: Pair) -> None:
        """The rest follows as the peer reads, in order; empty pieces at the joints do not matter."""
        half = len(BIG) // 2
        iov = [b"", BIG[:half], b"", b"x" * 7, b"", BIG[half:], b"end", b""]
        seen = loop.watch(write(loop, top, pair.fd, iov), writev_recv)
        got = bytearray()
        while not seen.calls:
            loop.settle()
            got += pair.drain()
        loop.settle()
        got += pair.drain()
        assert seen.result == (len(BIG) + 10, 0)
        assert got == BIG[:half] + b"x" * 7 + BIG[half:] + b"end"

    def test_buffers_are_released(self, top: TALLOC_CTX, loop: Loop, pair: Pair) -> None:
        """In the callback, and after a free, a bytearray can be resized."""
        buf = bytearray(BIG)
        req = write(loop, top, pair.fd, [buf])
        loop.settle()
        talloc_free(req)
        buf.append(1)
        pair.drain()
        small = bytearray(b"abc")
        seen = loop.watch(write(loop, top, pair.fd, [iovec(small, 2)]), writev_recv, then=lambda _: small.append(1))
        loop.settle()
        assert seen.calls == 1

    def test_pipe(self, top: TALLOC_CTX, loop: Loop) -> None:
        """What is no socket is written to as well, also in pieces."""
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        size = 200_000
        seen = loop.watch(write(loop, top, writer, [bytes(size)]), writev_recv)
        got = 0
        while got < size:
            loop.settle()
            got += len(os.read(reader, 1 << 20))
        loop.settle()
        assert seen.result == (size, 0)
        os.close(reader)
        os.close(writer)

    def test_device_without_room(self, top: TALLOC_CTX, loop: Loop) -> None:
        """The errno of the system, here from a device that is always writable and always full."""
        fd = os.open("/dev/full", os.O_WRONLY)
        try:
            seen = loop.watch(write(loop, top, fd, [b"x"], self.queue(top)), writev_recv)
            loop.turn()
            assert seen.result == (-1, ENOSPC)
        finally:
            os.close(fd)

    def queue(self, top: TALLOC_CTX) -> tevent_queue:
        made = tevent_queue_create(top, "")
        assert made is not None
        return made


class TestErrors:
    def test_peer_gone(self, top: TALLOC_CTX, loop: Loop, unix: Pair) -> None:
        """An error condition of the descriptor is EPIPE."""
        seen = loop.watch(write(loop, top, unix.fd, [b"x"]), writev_recv)
        unix.peer.close()
        loop.turn()
        assert seen.result == (-1, EPIPE)

    def test_half_closed_peer(self, top: TALLOC_CTX, loop: Loop, pair: Pair) -> None:
        """Even a peer that only stopped writing."""
        seen = loop.watch(write(loop, top, pair.fd, [b"x"]), writev_recv)
        pair.peer.shutdown(socket.SHUT_WR)
        _gone(pair.fd)
        loop.turn()
        assert seen.result == (-1, EPIPE)

    @pytest.mark.parametrize("readability", [False, True])
    def test_readability(self, top: TALLOC_CTX, loop: Loop, pair: Pair, readability: bool) -> None:
        """Something to read is an error if that was asked for, even if the descriptor is writable."""
        pair.peer.send(b"x")
        _readable(pair.fd)
        seen = loop.watch(write(loop, top, pair.fd, [b"y"], readability=readability), writev_recv)
        loop.turn()
        assert seen.result == ((-1, EPIPE) if readability else (1, 0))

    def test_closed_peer_inside_send(self, top: TALLOC_CTX, loop: Loop, unix: Pair, queue: tevent_queue) -> None:
        """EPIPE, and no signal."""
        unix.peer.close()
        req = write(loop, top, unix.fd, [b"x"], queue)
        assert not tevent_req_is_in_progress(req)
        assert writev_recv(req) == (-1, EPIPE)

    def test_closed_descriptor(self, top: TALLOC_CTX, loop: Loop, unix: Pair, queue: tevent_queue) -> None:
        """A descriptor that is not open is EBADF when it is written to."""
        os.close(unix.sock.detach())
        assert writev_recv(write(loop, top, unix.fd, [b"x"], queue)) == (-1, EBADF)

    def test_no_descriptor(self, top: TALLOC_CTX, loop: Loop) -> None:
        """-1 cannot be waited for: ENOMEM, called back from the loop."""
        seen = loop.watch(write(loop, top, -1, [b"x"]), writev_recv)
        loop.turn()
        assert seen.result == (-1, ENOMEM)

    def test_no_memory(
        self, top: TALLOC_CTX, loop: Loop, unix: Pair, queue: tevent_queue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No request, or one that cannot wait."""
        limited = talloc_new(top)
        talloc_set_memlimit(limited, 1)
        assert write(loop, limited, unix.fd, [b"x"]) is None
        monkeypatch.setattr(_async, "tevent_add_fd", lambda *_: None)
        seen = loop.watch(write(loop, top, unix.fd, [BIG], queue), writev_recv)
        loop.settle()
        assert seen.result == (-1, ENOMEM)

    def test_interrupted(
        self, top: TALLOC_CTX, loop: Loop, unix: Pair, queue: tevent_queue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An answer of "not now" is no error."""
        answers: list[Any] = [InterruptedError(4, "EINTR"), BlockingIOError(11, "EAGAIN")]

        def sendmsg(fd: int, buffers: Any) -> int:
            if answers:
                raise answers.pop()
            return sum(map(len, buffers))

        monkeypatch.setattr(_sys, "sendmsg", sendmsg)
        seen = loop.watch(write(loop, top, unix.fd, [b"abc"], queue), writev_recv)
        assert len(answers) == 1
        loop.until(lambda: seen.calls)
        assert seen.result == (3, 0)


def _gone(fd: int) -> None:
    import select

    poll = select.poll()
    poll.register(fd, select.POLLRDHUP)
    assert poll.poll(20_000)


def _readable(fd: int) -> None:
    import select

    poll = select.poll()
    poll.register(fd, select.POLLIN)
    assert poll.poll(20_000)


class TestQueue:
    def test_empty_queue_writes_at_once(self, top: TALLOC_CTX, loop: Loop, pair: Pair, queue: tevent_queue) -> None:
        """On an empty, running queue all may be over inside `_send`; the callback comes from the loop."""
        req = write(loop, top, pair.fd, [b"abc"], queue)
        assert not tevent_req_is_in_progress(req)
        _readable(pair.peer.fileno())
        assert pair.drain() == b"abc"
        assert tevent_queue_length(queue) == 1
        seen = loop.watch(req, writev_recv)
        assert seen.calls == 0
        loop.turn()
        assert seen.result == (3, 0)
        assert tevent_queue_length(queue) == 0, "receiving a write that went through at once frees its place"
        assert loop.settle() == 0

    def test_direct_write_does_not_look_at_readability(
        self, top: TALLOC_CTX, loop: Loop, pair: Pair, queue: tevent_queue
    ) -> None:
        """What goes through inside `_send` has not waited for anything."""
        pair.peer.send(b"x")
        _readable(pair.fd)
        assert writev_recv(write(loop, top, pair.fd, [b"y"], queue, True)) == (1, 0)

    def test_order(self, top: TALLOC_CTX, loop: Loop, pair: Pair, queue: tevent_queue) -> None:
        """The next one writes when the one before has been freed, not when it is received."""
        order: list[int] = []
        reqs: list[tevent_req] = []

        def start(number: int, iov: list[bytes]) -> None:
            req = write(loop, top, pair.fd, iov, queue)
            reqs.append(req)
            loop.watch(req, lambda req: order.append(number))

        start(0, [b"a"])
        start(1, [b"b"])
        start(2, [b"c"])
        assert tevent_queue_length(queue) == 3
        loop.settle()
        assert order == [0]
        for number in range(3):
            talloc_free(reqs[number])
            loop.settle()
            assert order == list(range(min(number + 2, 3)))
        assert pair.drain() == b"abc"
        assert tevent_queue_length(queue) == 0

    def test_place_after_a_write_that_waited(
        self, top: TALLOC_CTX, loop: Loop, pair: Pair, queue: tevent_queue
    ) -> None:
        """A request that had to wait for its turn keeps its place until it is freed."""
        tevent_queue_stop(queue)
        req = write(loop, top, pair.fd, [b"a"], queue)
        seen = loop.watch(req, writev_recv)
        assert loop.settle() == 0
        tevent_queue_start(queue)
        loop.settle()
        assert seen.result == (1, 0)
        assert tevent_queue_length(queue) == 1
        talloc_free(req)
        assert tevent_queue_length(queue) == 0

    def test_blocked_inside_send(self, top: TALLOC_CTX, loop: Loop, pair: Pair, queue: tevent_queue) -> None:
        """What does not fit at once goes on when the descriptor is writable; the callback is deferred by a turn."""
        req = write(loop, top, pair.fd, [BIG], queue)
        assert tevent_req_is_in_progress(req)
        seen = loop.watch(req, writev_recv, free=True)
        got = 0
        while not seen.calls:
            got += len(pair.drain())
            loop.settle()
        assert got + len(pair.drain()) == len(BIG)
        assert seen.result == (len(BIG), 0)
        assert tevent_queue_length(queue) == 0

    def test_failure_frees_the_place(self, top: TALLOC_CTX, loop: Loop, unix: Pair, queue: tevent_queue) -> None:
        """A waiting request that fails leaves the queue at once."""
        blocker = write(loop, top, unix.fd, [BIG], queue)
        req = write(loop, top, unix.fd, [b"x"], queue)
        tevent_req_set_endtime(req, loop.ev, timeval(0, 0))
        seen = loop.watch(req, writev_recv)
        assert tevent_queue_length(queue) == 2
        loop.until(lambda: seen.calls)
        assert seen.result == (-1, ETIMEDOUT)
        assert tevent_queue_length(queue) == 1
        assert tevent_req_is_in_progress(blocker)

    def test_free_waiting(self, top: TALLOC_CTX, loop: Loop, unix: Pair, queue: tevent_queue) -> None:
        """A waiting request that is freed writes nothing, the ones behind it move up."""
        first = write(loop, top, unix.fd, [b"a"], queue)
        second = write(loop, top, unix.fd, [b"b"], queue)
        third = write(loop, top, unix.fd, [b"c"], queue)
        talloc_free(second)
        talloc_free(first)
        loop.settle()
        assert unix.drain() == b"ac"
        assert writev_recv(third) == (1, 0)

    def test_queue_freed(self, top: TALLOC_CTX, loop: Loop, unix: Pair, queue: tevent_queue) -> None:
        """Requests whose queue is gone stay in progress; freeing them is safe."""
        tevent_queue_stop(queue)
        req = write(loop, top, unix.fd, [b"a"], queue)
        talloc_free(queue)
        assert loop.settle() == 0
        assert tevent_req_is_in_progress(req)
        assert talloc_free(req) == 0


class TestCancel:
    @pytest.mark.parametrize("queued", [False, True])
    def test_before_the_first_byte(
        self, top: TALLOC_CTX, loop: Loop, pair: Pair, queue: tevent_queue, queued: bool
    ) -> None:
        """True; the callback comes from the loop with ECANCELED, and nothing is written."""
        if queued:
            tevent_queue_stop(queue)
        req = write(loop, top, pair.fd, [b"x"], queue if queued else None)
        seen = loop.watch(req, writev_recv)
        assert tevent_req_cancel(req) is True
        assert not tevent_req_is_in_progress(req)
        assert tevent_queue_length(queue) == 0
        assert seen.calls == 0
        assert tevent_req_cancel(req) is True
        tevent_queue_start(queue)
        loop.settle()
        assert seen.result == (-1, ECANCELED)
        assert pair.drain() == b""
        assert tevent_req_cancel(req) is False

    def test_after_the_first_byte(self, top: TALLOC_CTX, loop: Loop, pair: Pair) -> None:
        """False, and nothing changes."""
        req = write(loop, top, pair.fd, [BIG])
        loop.settle()
        assert tevent_req_cancel(req) is False
        assert tevent_req_is_in_progress(req)


class TestEnds:
    def test_free(self, top: TALLOC_CTX, loop: Loop, pair: Pair) -> None:
        """Freeing closes nothing and writes nothing."""
        req = write(loop, top, pair.fd, [b"x"])
        seen = loop.watch(req)
        talloc_free(req)
        assert loop.settle() == 0
        assert seen.calls == 0
        assert is_open(pair.fd)
        assert pair.drain() == b""

    @pytest.mark.parametrize("queued", [False, True])
    def test_free_in_the_callback(
        self, top: TALLOC_CTX, loop: Loop, pair: Pair, queue: tevent_queue, queued: bool
    ) -> None:
        """The callback may free the request, received or not."""
        for recv in (writev_recv, None):
            seen = loop.watch(write(loop, top, pair.fd, [b"x"], queue if queued else None), recv, free=True)
            loop.settle()
            assert seen.calls == 1
        assert tevent_queue_length(queue) == 0

    def test_callback_raises(self, top: TALLOC_CTX, loop: Loop, pair: Pair) -> None:
        """The exception leaves the loop; the result is there."""

        def done(req: tevent_req) -> None:
            raise LookupError

        req = write(loop, top, pair.fd, [b"x"])
        tevent_req_set_callback(req, done, None)
        with pytest.raises(LookupError):
            loop.turn()
        assert loop.settle() == 0
        assert writev_recv(req) == (1, 0)

    def test_receive_in_progress(self, top: TALLOC_CTX, loop: Loop, pair: Pair) -> None:
        """EINVAL, and the write is off; a second time goes to the abort function."""
        req = write(loop, top, pair.fd, [b"x"])
        assert writev_recv(req) == (-1, EINVAL)
        assert loop.settle() == 0
        assert pair.drain() == b""
        with pytest.raises(talloc_abort_error, match="writev_state"):
            writev_recv(req)
        talloc_set_abort_fn(lambda reason: None)
        try:
            assert writev_recv(req) == (-1, EINVAL)
        finally:
            talloc_set_abort_fn(None)

    def test_request_of_another_kind(self, top: TALLOC_CTX, loop: Loop, pair: Pair) -> None:
        """A receive function knows its own requests."""
        other = wait_for_read_send(top, loop.ev, pair.fd, False)
        assert other is not None
        with pytest.raises(talloc_abort_error, match=r"name\[struct wait_for_read_state\]"):
            writev_recv(other)


class TestWrongTypes:
    @pytest.mark.parametrize(
        ("place", "bad"),
        [
            (1, None),
            (2, "queue"),
            (3, None),
            (5, None),
            (5, ["text"]),
            (5, [5]),
            (5, [memoryview(b"abcd")[::2]]),
        ],
    )
    def test_send(self, top: TALLOC_CTX, loop: Loop, unix: Pair, place: int, bad: Any) -> None:
        """Wrong arguments leave no request behind."""
        blocks = talloc_total_blocks(top)
        arguments: list[Any] = [top, loop.ev, None, unix.fd, False, [b"x"]]
        arguments[place] = bad
        with pytest.raises(TypeError):
            writev_send(*arguments)
        assert talloc_total_blocks(top) == blocks

    def test_too_long(self, top: TALLOC_CTX, loop: Loop, unix: Pair) -> None:
        """An iovec cannot be longer than its buffer."""
        with pytest.raises(ValueError, match="iov_len"):
            writev_send(top, loop.ev, None, unix.fd, False, [iovec(b"abc", 4)])

    def test_freed_contexts(self, top: TALLOC_CTX, loop: Loop, unix: Pair, queue: tevent_queue) -> None:
        """Freed contexts and queues go to the abort function, and no request remains."""
        talloc_free(queue)
        blocks = talloc_total_blocks(top)
        with pytest.raises(talloc_abort_error):
            write(loop, top, unix.fd, [b"x"], queue)
        assert talloc_total_blocks(top) == blocks
        talloc_free(loop.ev)
        with pytest.raises(talloc_abort_error):
            write(loop, top, unix.fd, [b"x"])
        assert talloc_total_blocks(top) < blocks
        talloc_set_abort_fn(lambda reason: None)
        try:
            assert write(loop, top, unix.fd, [b"x"], queue) is None
            assert write(loop, top, unix.fd, [b"x"]) is None
        finally:
            talloc_set_abort_fn(None)
