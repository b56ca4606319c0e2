# SPDX-License-Identifier: LGPL-3.0-or-later
"""Reading a packet whose length is known only from its beginning."""

from __future__ import annotations

import ctypes
import os
import socket
from errno import EBADF, ECONNRESET, EINVAL, EIO, EMSGSIZE, ENOMEM, EPIPE, ETIMEDOUT
from typing import TYPE_CHECKING, Any

import pytest
from stream_kit import Loop, drain, tcp_sockets

from talloc_py import (
    TALLOC_CTX,
    talloc_abort_error,
    talloc_free,
    talloc_get_name,
    talloc_new,
    talloc_parent,
    talloc_set_abort_fn,
    talloc_set_memlimit,
    talloc_total_blocks,
)
from tevent import tevent_req, tevent_req_is_in_progress, tevent_req_set_endtime, timeval
from tsocket import _async, _sys, read_packet_recv, read_packet_send

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT = 0x10000000


class Pair:
    """Two connected sockets; `fd` is read from."""

    def __init__(self, one: socket.socket, two: socket.socket) -> None:
        two.setblocking(False)
        self.sock = one
        self.peer = two
        self.fd = one.fileno()

    def send(self, data: bytes) -> None:
        """Send, and wait until it has arrived."""
        import select

        self.peer.send(data)
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        assert poll.poll(20_000)


# The socket that is read from is a blocking one: nothing here may block on it.
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


def by_header(buf: memoryview, private_data: Any) -> int:
    """A packet of a byte that counts the bytes to follow."""
    return buf[0] + 1 - len(buf)


def read(
    loop: Loop, top: TALLOC_CTX | None, fd: int, initial: int = 1, more: Callable[..., Any] | None = by_header
) -> Any:
    return read_packet_send(top, loop.ev, fd, initial, more, None)


def result(top: TALLOC_CTX) -> Callable[[tevent_req], Any]:
    def recv(req: tevent_req) -> Any:
        ret, buf, err = read_packet_recv(req, top)
        return ret, None if buf is None else bytes(buf), err

    return recv


class TestRead:
    def test_all_there(self, top: TALLOC_CTX, loop: Loop, pair: Pair) -> None:
        """What is there is read inside `_send`, and no byte more; the callback comes from the loop."""
        pair.send(b"\x03abcrest")
        req = read(loop, top, pair.fd)
        assert not tevent_req_is_in_progress(req)
        seen = loop.watch(req, result(top))
        assert seen.calls == 0
        loop.turn()
        assert seen.result == (4, b"\x03abc", 0)
        assert pair.sock.recv(10) == b"rest"

    def test_nothing_there(self, top: TALLOC_CTX, loop: Loop, pair: Pair) -> None:
        """Then it waits; header and body of one event are read in one turn."""
        req = read(loop, top, pair.fd)
        seen = loop.watch(req, result(top))
        assert loop.settle() == 0
        pair.send(b"\x03abc")
        loop.turn()
        assert seen.result == (4, b"\x03abc", 0)

    def test_in_pieces(self, top: TALLOC_CTX, loop: Loop, pair: Pair) -> None:
        """Each event brings it further."""
        seen = loop.watch(read(loop, top, pair.fd), result(top))
        for piece in (b"\x05a", b"bc", b"d"):
            pair.send(piece)
            loop.settle()
            assert seen.calls == 0
        pair.send(b"e")
        loop.settle()
        assert seen.result == (6, b"\x05abcde", 0)

    def test_partial_read_waits_for_the_next_event(self, top: TALLOC_CTX, loop: Loop, unix: Pair) -> None:
        """A read that did not fill the buffer is not followed by another in the same turn."""
        reads: list[int] = []
        with pytest.MonkeyPatch.context() as monkey:

            def recvmsg(fd: int, buffer: Any, flags: int) -> int:
                reads.append(len(buffer))
                return os.readv(fd, [buffer[:1]])

            monkey.setattr(_sys, "recvmsg_into", recvmsg)
            unix.send(b"abc")
            seen = loop.watch(read(loop, top, unix.fd, 3, None), result(top))
            assert reads == [3]
            loop.turn()
            assert reads == [3, 2]
            loop.turn()
            assert reads == [3, 2, 1]
        assert seen.result == (3, b"abc", 0)

    def test_without_more(self, top: TALLOC_CTX, loop: Loop, pair: Pair) -> None:
        """None for *more*: the first bytes are all."""
        pair.send(b"abcdef")
        seen = loop.watch(read(loop, top, pair.fd, 4, None), result(top))
        loop.turn()
        assert seen.result == (4, b"abcd", 0)

    def test_more_is_asked_again(self, top: TALLOC_CTX, loop: Loop, pair: Pair) -> None:
        """Until it says 0; it sees all that has arrived, and the private data."""
        calls: list[Any] = []

        def more(buf: memoryview, private_data: Any) -> int:
            calls.append((bytes(buf), private_data, buf.readonly))
            return 0 if buf[-1] == 10 else 1

        pair.send(b"line\nrest")
        req = read_packet_send(top, loop.ev, pair.fd, 2, more, "private")
        assert req is not None
        assert result(top)(req) == (5, b"line\n", 0)
        assert calls == [(b"line\n"[:size], "private", True) for size in range(2, 6)]

    def test_buffer_belongs_to_the_owner_given(self, top: TALLOC_CTX, loop: Loop, pair: Pair) -> None:
        """The buffer is a chunk."""
        owner = talloc_new(top)
        pair.send(b"abc")
        req = read(loop, top, pair.fd, 3, None)
        ret, buf, err = read_packet_recv(req, owner)
        assert (ret, buf, err) == (3, bytearray(b"abc"), 0)
        assert talloc_parent(buf) is owner  # type: ignore[arg-type]
        assert talloc_get_name(buf) == "uint8_t"  # type: ignore[arg-type]

    def test_view_ends_with_the_call(self, top: TALLOC_CTX, loop: Loop, unix: Pair) -> None:
        """What *more* keeps of the view is dead, or shows the bytes of that time; the packet is not disturbed."""
        kept: list[Any] = []

        def more(buf: memoryview, private_data: Any) -> int:
            kept.append((buf, buf[:1], memoryview(buf).cast("b")))
            return by_header(buf, None)

        unix.send(b"\x03abc")
        assert result(top)(read(loop, top, unix.fd, 1, more)) == (4, b"\x03abc", 0)
        with pytest.raises(ValueError, match="released"):
            kept[0][0][0]
        assert bytes(kept[0][1]) == b"\x03"

    def test_view_in_use(self, top: TALLOC_CTX, loop: Loop, unix: Pair) -> None:
        """A view that something is built on cannot be ended, and does no harm."""
        kept: list[Any] = []

        def more(buf: memoryview, private_data: Any) -> int:
            export = Py_buffer()
            ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(buf), ctypes.byref(export), 0)
            kept.append(export)
            return by_header(buf, None)

        unix.send(b"\x03abc")
        assert result(top)(read(loop, top, unix.fd, 1, more)) == (4, b"\x03abc", 0)
        ctypes.pythonapi.PyBuffer_Release(ctypes.byref(kept[0]))

    def test_freed_context(self, top: TALLOC_CTX, loop: Loop, unix: Pair) -> None:
        """A freed context goes to the abort function; if that returns there is no request."""
        talloc_free(loop.ev)
        talloc_set_abort_fn(lambda reason: None)
        try:
            assert read(loop, top, unix.fd) is None
        finally:
            talloc_set_abort_fn(None)


class Py_buffer(ctypes.Structure):
    """The view of C, large enough."""

    _fields_ = (("room", ctypes.c_char * 256),)


class TestErrors:
    def test_end(self, top: TALLOC_CTX, loop: Loop, pair: Pair) -> None:
        """The end of the stream is EPIPE, at once or later, also in the middle of a packet."""
        seen = loop.watch(read(loop, top, pair.fd), result(top))
        pair.send(b"\x05ab")
        loop.settle()
        assert seen.calls == 0
        pair.peer.close()
        loop.until(lambda: seen.calls)
        assert seen.result == (-1, None, EPIPE)
        again = read(loop, top, pair.fd)
        assert not tevent_req_is_in_progress(again)
        assert result(top)(again) == (-1, None, EPIPE)

    def test_reset(self, top: TALLOC_CTX, loop: Loop, unix: Pair) -> None:
        """An error of the socket is that error."""
        seen = loop.watch(read(loop, top, unix.fd), result(top))
        unix.sock.send(b"unread")
        unix.peer.close()
        loop.until(lambda: seen.calls)
        assert seen.result == (-1, None, ECONNRESET)

    @pytest.mark.parametrize(
        ("wanted", "errno"), [(-1, EIO), (-2, EMSGSIZE), (-(1 << 62), EMSGSIZE), (LIMIT, ENOMEM), (LIMIT - 1, ENOMEM)]
    )
    def test_what_more_says(self, top: TALLOC_CTX, loop: Loop, pair: Pair, wanted: int, errno: int) -> None:
        """-1 is EIO, another negative number EMSGSIZE, more than talloc gives ENOMEM."""
        pair.send(b"x")
        req = read(loop, top, pair.fd, 1, lambda buf, private_data: wanted)
        assert result(top)(req) == (-1, None, errno)

    @pytest.mark.parametrize("initial", [-1, LIMIT, 1 << 70])
    def test_impossible_size(self, top: TALLOC_CTX, loop: Loop, pair: Pair, initial: int) -> None:
        """More than talloc gives is ENOMEM."""
        req = read(loop, top, pair.fd, initial)
        assert not tevent_req_is_in_progress(req)
        assert result(top)(req) == (-1, None, ENOMEM)

    def test_initial_zero(self, top: TALLOC_CTX, loop: Loop, unix: Pair) -> None:
        """No bytes to begin with: in progress while nothing is there, then EPIPE. Of no use, but as in C."""
        seen = loop.watch(read(loop, top, unix.fd, 0), result(top))
        assert loop.settle() == 0
        unix.send(b"x")
        loop.turn()
        assert seen.result == (-1, None, EPIPE)

    def test_descriptor_that_is_none(self, top: TALLOC_CTX, loop: Loop, pair: Pair) -> None:
        """EBADF inside `_send`."""
        os.close(pair.sock.detach())
        for fd in (pair.fd, -1):
            req = read(loop, top, fd)
            assert not tevent_req_is_in_progress(req)
            assert result(top)(req) == (-1, None, EBADF)

    def test_no_memory(self, top: TALLOC_CTX, loop: Loop, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        """No request; one that cannot wait; no buffer at the end."""
        limited = talloc_new(top)
        talloc_set_memlimit(limited, 1)
        assert read(loop, limited, pair.fd) is None
        pair.send(b"abc")
        assert read_packet_recv(read(loop, top, pair.fd, 3, None), limited) == (-1, None, ENOMEM)
        monkeypatch.setattr(_async, "tevent_add_fd", lambda *_: None)
        req = read(loop, top, pair.fd)
        assert not tevent_req_is_in_progress(req)
        assert result(top)(req) == (-1, None, ENOMEM)


class TestMoreRaises:
    def test_inside_send(self, top: TALLOC_CTX, loop: Loop, pair: Pair) -> None:
        """The exception passes, and no request remains."""
        blocks = talloc_total_blocks(top)

        def more(buf: memoryview, private_data: Any) -> int:
            raise LookupError

        pair.send(b"x")
        with pytest.raises(LookupError):
            read(loop, top, pair.fd, 1, more)
        assert talloc_total_blocks(top) == blocks

    @pytest.mark.parametrize("wanted", [None, "1", 1.0])
    def test_no_number(self, top: TALLOC_CTX, loop: Loop, pair: Pair, wanted: Any) -> None:
        """The same for an answer that is no number."""
        pair.send(b"x")
        with pytest.raises(TypeError, match="what more returns"):
            read(loop, top, pair.fd, 1, lambda buf, private_data: wanted)

    def test_in_the_loop(self, top: TALLOC_CTX, loop: Loop, pair: Pair) -> None:
        """The exception leaves the loop; the request stays in progress, and reads no more."""

        def more(buf: memoryview, private_data: Any) -> int:
            raise LookupError

        req = read(loop, top, pair.fd, 1, more)
        seen = loop.watch(req)
        pair.send(b"xyz")
        with pytest.raises(LookupError):
            loop.turn()
        assert loop.settle() == 0
        assert tevent_req_is_in_progress(req)
        assert seen.calls == 0
        assert pair.sock.recv(10) == b"yz"

    @pytest.mark.parametrize("raises", [False, True])
    @pytest.mark.parametrize("early", [False, True])
    def test_frees_the_owner(self, top: TALLOC_CTX, loop: Loop, pair: Pair, raises: bool, early: bool) -> None:
        """A function that frees the request ends it, quietly; its exception passes all the same."""
        owner = talloc_new(top)

        def more(buf: memoryview, private_data: Any) -> int:
            talloc_free(owner)
            if raises:
                raise LookupError
            return 1

        if early:
            pair.send(b"xyz")
        try:
            req = read(loop, owner, pair.fd, 1, more)
            assert early is (req is None)
            pair.send(b"xyz")
            loop.turn()
        except LookupError:
            assert raises
        assert loop.settle() == 0

    def test_receives_the_request(self, top: TALLOC_CTX, loop: Loop, pair: Pair) -> None:
        """A function that receives the request ends it too."""
        reqs: list[tevent_req] = []

        def more(buf: memoryview, private_data: Any) -> int:
            assert result(top)(reqs[0]) == (-1, None, EINVAL)
            return 1

        reqs.append(read(loop, top, pair.fd, 1, more))
        pair.send(b"xyz")
        loop.turn()
        assert loop.settle() == 0


class TestNoSocket:
    def test_pipe(self, top: TALLOC_CTX, loop: Loop) -> None:
        """A pipe is read when an event says so, once for each event."""
        reader, writer = os.pipe()
        try:
            os.write(writer, b"\x03abc")
            req = read(loop, top, reader)
            assert tevent_req_is_in_progress(req)
            seen = loop.watch(req, result(top))
            loop.turn()
            assert seen.calls == 0
            loop.turn()
            assert seen.result == (4, b"\x03abc", 0)
        finally:
            os.close(reader)
            os.close(writer)

    def test_end_of_a_pipe(self, top: TALLOC_CTX, loop: Loop) -> None:
        """Its end is EPIPE."""
        reader, writer = os.pipe()
        os.close(writer)
        try:
            seen = loop.watch(read(loop, top, reader), result(top))
            loop.turn()
            assert seen.result == (-1, None, EPIPE)
        finally:
            os.close(reader)


class TestEnds:
    def test_free(self, top: TALLOC_CTX, loop: Loop, pair: Pair) -> None:
        """Freeing takes the bytes along that were read, and leaves the others."""
        req = read(loop, top, pair.fd, 4, None)
        pair.send(b"ab")
        loop.settle()
        seen = loop.watch(req)
        talloc_free(req)
        pair.send(b"cd")
        assert loop.settle() == 0
        assert seen.calls == 0
        assert pair.sock.recv(10) == b"cd"

    def test_timeout(self, top: TALLOC_CTX, loop: Loop, pair: Pair) -> None:
        """A packet that takes too long."""
        req = read(loop, top, pair.fd)
        tevent_req_set_endtime(req, loop.ev, timeval(0, 0))
        seen = loop.watch(req, result(top))
        loop.turn()
        assert seen.result == (-1, None, ETIMEDOUT)
        assert loop.settle() == 0

    def test_receive(self, top: TALLOC_CTX, loop: Loop, pair: Pair) -> None:
        """Receiving early is EINVAL; a second time goes to the abort function."""
        req = read(loop, top, pair.fd)
        assert read_packet_recv(req, top) == (-1, None, EINVAL)
        with pytest.raises(talloc_abort_error, match="read_packet_state"):
            read_packet_recv(req, top)
        talloc_set_abort_fn(lambda reason: None)
        try:
            assert read_packet_recv(req, top) == (-1, None, EINVAL)
        finally:
            talloc_set_abort_fn(None)

    @pytest.mark.parametrize(("place", "bad"), [(1, None), (2, "3"), (3, "1"), (3, None), (4, 5)])
    def test_wrong_types(self, top: TALLOC_CTX, loop: Loop, pair: Pair, place: int, bad: Any) -> None:
        """Wrong arguments leave no request behind."""
        blocks = talloc_total_blocks(top)
        arguments: list[Any] = [top, loop.ev, pair.fd, 1, None, None]
        arguments[place] = bad
        with pytest.raises(TypeError):
            read_packet_send(*arguments)
        assert talloc_total_blocks(top) == blocks


def test_many_packets(top: TALLOC_CTX, loop: Loop, unix: Pair) -> None:
    """One after the other, each from the callback of the one before."""
    got: list[bytes] = []

    def start(_: tevent_req | None = None) -> None:
        loop.watch(read(loop, top, unix.fd), lambda req: got.append(result(top)(req)[1]), free=True, then=after)

    def after(_: tevent_req) -> None:
        if len(got) < 50:
            start()

    start()
    unix.send(b"".join(bytes((size,)) + b"x" * size for size in range(50)))
    loop.settle()
    assert got == [bytes((size,)) + b"x" * size for size in range(50)]
    assert drain(unix.peer) == b""
