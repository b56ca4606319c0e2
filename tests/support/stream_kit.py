# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Helpers for stream tests: a loop that is stepped by hand, a recorder of callbacks, wires with a raw socket at one end.

Nothing here sleeps. The loop of a test never waits unless the test says so (`Loop.until`), and it counts its turns, so
that a test can say in which turn a callback came.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from errno import EAGAIN
from typing import Any, TypeVar

from talloc_py import TALLOC_CTX, TALLOC_FREE, talloc_free, talloc_new
from tevent import (
    get_errno,
    tevent_context,
    tevent_context_init,
    tevent_context_init_byname,
    tevent_context_set_wait_timeout,
    tevent_loop_once,
    tevent_req,
    tevent_req_is_in_progress,
    tevent_req_poll,
    tevent_req_set_callback,
)
from tsocket import (
    iovec,
    tstream_bsd_existing_socket,
    tstream_context,
    tstream_disconnect_send,
    tstream_monitor_send,
    tstream_readv_pdu_send,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_unix_socketpair,
    tstream_writev_recv,
    tstream_writev_send,
)

T = TypeVar("T")

MIB = 1 << 20

#: More than any socket buffer takes: a write of it is sure to block.
BIG = bytes(16 * MIB)


class Seen:
    """What the callback of one request saw: the turn of the loop and what ``_recv`` said, once per call."""

    def __init__(self) -> None:
        self.turns: list[int] = []
        self.results: list[Any] = []

    def __repr__(self) -> str:
        return f"Seen(turns={self.turns}, results={self.results})"

    @property
    def calls(self) -> int:
        return len(self.turns)

    @property
    def result(self) -> Any:
        """The result of the only call; fails when there was none or more than one."""
        assert self.calls == 1, f"called back {self.calls} times"
        return self.results[0]

    @property
    def turn(self) -> int:
        """The turn of the only call."""
        assert self.calls == 1, f"called back {self.calls} times"
        return self.turns[0]


class Loop:
    """An event context stepped turn by turn; by default a turn with nothing to do does not wait."""

    def __init__(self, mem_ctx: TALLOC_CTX | None, backend: str | None = None) -> None:
        ev = tevent_context_init_byname(mem_ctx, backend)
        assert ev is not None
        self.ev: tevent_context = ev
        self.count = 0
        tevent_context_set_wait_timeout(ev, 0)

    def turn(self) -> bool:
        """One `tevent_loop_once`; False when there was nothing to do."""
        self.count += 1
        if tevent_loop_once(self.ev) == 0:
            return True
        assert get_errno() == EAGAIN
        self.count -= 1
        return False

    def settle(self, limit: int = 5000) -> int:
        """Turn until nothing is left to do and return how many turns that took; a loop that spins fails."""
        for turns in range(limit):
            if not self.turn():
                return turns
        raise AssertionError(f"still busy after {limit} turns")

    def until(self, condition: Callable[[], object], seconds: float = 20.0) -> None:
        """Turn, waiting for events, until *condition* holds; fail when it does not come true."""
        end = time.monotonic() + seconds
        while not condition():
            if self.turn():
                continue
            assert time.monotonic() < end, "the awaited condition did not come"
            tevent_context_set_wait_timeout(self.ev, 1)
            try:
                tevent_loop_once(self.ev)
                self.count += 1
            finally:
                tevent_context_set_wait_timeout(self.ev, 0)

    def watch(
        self,
        req: tevent_req | None,
        recv: Callable[[tevent_req], object] | None = None,
        *,
        free: bool = False,
        then: Callable[[tevent_req], object] | None = None,
    ) -> Seen:
        """Record the callbacks of *req*: receive with *recv*, call *then*, and free the request if asked to."""
        assert req is not None
        seen = Seen()

        def done(subreq: tevent_req) -> None:
            seen.turns.append(self.count)
            seen.results.append(None if recv is None else recv(subreq))
            if free:
                TALLOC_FREE(subreq)
            if then is not None:
                then(subreq)

        tevent_req_set_callback(req, done, seen)
        return seen


class Wire:
    """A stream under test with a raw, non-blocking socket at the other end."""

    def __init__(self, mem_ctx: TALLOC_CTX | None, sock: socket.socket, peer: socket.socket) -> None:
        sock.setblocking(False)
        peer.setblocking(False)
        self.peer = peer
        self.fd = sock.detach()
        ret, stream = tstream_bsd_existing_socket(mem_ctx, self.fd)
        assert ret == 0
        assert stream is not None
        self.stream: tstream_context = stream

    def arrived(self, mask: int = select.POLLIN) -> None:
        """Wait until the kernel reports *mask* for the stream's descriptor."""
        poll = select.poll()
        poll.register(self.fd, mask)
        assert any(events & mask for _, events in poll.poll(20_000)), "the event did not arrive"

    def gone(self) -> None:
        """Wait until the kernel knows that the peer has closed or reset the connection, or its own sending half."""
        self.arrived(select.POLLRDHUP | select.POLLHUP | select.POLLERR)

    def drain(self) -> bytes:
        """Take what the peer can read just now."""
        return drain(self.peer)

    def drain_until(self, loop: Loop, condition: Callable[[], object]) -> bytes:
        """Let the peer read all that comes, turning the loop, until *condition* holds; returns what it read."""
        got = bytearray()

        def met() -> object:
            got.extend(self.drain())
            return condition()

        loop.until(met)
        got.extend(self.drain())
        return bytes(got)

    def reset(self) -> None:
        """Close the peer of a TCP wire with a reset."""
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.peer.close()
        self.gone()


def drain(sock: socket.socket) -> bytes:
    """Read from a non-blocking socket until it is empty or at its end."""
    parts = []
    with contextlib.suppress(BlockingIOError):
        while part := sock.recv(MIB):
            parts.append(part)
    return b"".join(parts)


@contextlib.contextmanager
def scratch() -> Iterator[TALLOC_CTX]:
    """A top-level context that is freed with everything on it, however the block is left."""
    top = talloc_new(None)
    assert top is not None
    try:
        yield top
    finally:
        talloc_free(top)


def tcp_sockets() -> tuple[socket.socket, socket.socket]:
    """Two connected TCP sockets on the loopback interface."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    return client, server


def open_fds() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


def opened_by(make: Callable[[], T]) -> tuple[T, list[int]]:
    """What *make* returns, and the descriptors that it opened."""
    before = {fd for fd in range(1024) if is_open(fd)}
    result = make()
    return result, [fd for fd in range(1024) if is_open(fd) and fd not in before]


@contextlib.contextmanager
def at_most_more_descriptors(count: int) -> Iterator[None]:
    """Let the process open at most *count* more descriptors."""
    lowest = os.dup(0)
    os.close(lowest)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def is_open(fd: int) -> bool:
    """Whether *fd* is an open descriptor."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def readv(loop: Loop, mem_ctx: TALLOC_CTX | None, stream: tstream_context, *vector: Any) -> tevent_req:
    """`tstream_readv_send` that must not be out of memory."""
    req = tstream_readv_send(mem_ctx, loop.ev, stream, vector)
    assert req is not None
    return req


def writev(loop: Loop, mem_ctx: TALLOC_CTX | None, stream: tstream_context, *vector: Any) -> tevent_req:
    """`tstream_writev_send` that must not be out of memory."""
    req = tstream_writev_send(mem_ctx, loop.ev, stream, vector)
    assert req is not None
    return req


def disconnect(loop: Loop, mem_ctx: TALLOC_CTX | None, stream: tstream_context) -> tevent_req:
    """`tstream_disconnect_send` that must not be out of memory."""
    req = tstream_disconnect_send(mem_ctx, loop.ev, stream)
    assert req is not None
    return req


def monitor(loop: Loop, mem_ctx: TALLOC_CTX | None, stream: tstream_context) -> tevent_req:
    """`tstream_monitor_send` that must not be out of memory."""
    req = tstream_monitor_send(mem_ctx, loop.ev, stream)
    assert req is not None
    return req


def pdu(
    loop: Loop, mem_ctx: TALLOC_CTX | None, stream: tstream_context, next_vector: Any, data: Any = None
) -> tevent_req:
    """`tstream_readv_pdu_send` that must not be out of memory."""
    req = tstream_readv_pdu_send(mem_ctx, loop.ev, stream, next_vector, data)
    assert req is not None
    return req


def read_now(loop: Loop, stream: tstream_context, size: int) -> tuple[tuple[int, int], bytes]:
    """Read *size* bytes, turning the loop as often as needed; returns what ``_recv`` said and the buffer."""
    buf = bytearray(size)
    req = readv(loop, None, stream, buf)
    seen = loop.watch(req, tstream_readv_recv, free=True)
    loop.until(lambda: seen.calls)
    return seen.result, bytes(buf)


def write_now(loop: Loop, stream: tstream_context, data: bytes) -> tuple[int, int]:
    """Write *data*, turning the loop as often as needed; returns what ``_recv`` said."""
    req = writev(loop, None, stream, data)
    seen = loop.watch(req, tstream_writev_recv, free=True)
    loop.until(lambda: seen.calls)
    result: tuple[int, int] = seen.result
    return result


def finished_with(loop: Loop, req: tevent_req, recv: Any, error: int) -> None:
    """Assert that *req* had failed inside ``_send`` and calls back in the next turn."""
    assert not tevent_req_is_in_progress(req)
    seen = loop.watch(req, recv, free=True)
    assert loop.turn()
    assert seen.result == (-1, error)


class LengthPrefixed:
    """A user's PDU reader: four bytes of big-endian length, then that many bytes."""

    def __init__(self) -> None:
        self.length = bytearray(4)
        self.body: bytearray | None = None
        self.calls = 0
        self.contexts: list[object] = []

    def next_vector(self, stream: tstream_context, private_data: object, mem_ctx: TALLOC_CTX) -> tuple[int, Any]:
        """The `tstream_readv_pdu_next_vector_t` of this reader."""
        self.calls += 1
        self.contexts.append(mem_ctx)
        if self.calls == 1:
            return 0, [self.length]
        size = int.from_bytes(self.length, "big")
        if self.body is None and size:
            self.body = bytearray(size)
            return 0, [iovec(self.body, size)]
        return 0, None


def framed(data: bytes) -> bytes:
    """*data* with its length in front, as `LengthPrefixed` reads it."""
    return len(data).to_bytes(4, "big") + data


class Bench:
    """A loop and two connected streams, the near one of which is looked at."""

    def __init__(self) -> None:
        self.top = talloc_new(None)
        ev = tevent_context_init(self.top)
        assert ev is not None
        self.ev = ev
        ret, near, far = tstream_unix_socketpair(self.top, self.top)
        assert ret == 0
        assert near is not None
        assert far is not None
        self.near: tstream_context = near
        self.far: tstream_context = far

    def say(self, data: bytes) -> None:
        """Send to the near stream."""
        talloc_free(tstream_writev_send(self.top, self.ev, self.far, [data]))

    def wait(self, req: tevent_req | None) -> tevent_req:
        """Until *req* is finished."""
        assert req is not None
        assert tevent_req_poll(req, self.ev)
        return req
