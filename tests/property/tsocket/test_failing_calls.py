# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Anything done in any order to a stream and a datagram socket over real descriptors, while any system call may fail.

Callbacks do more of the same.  Nobody is called twice or after he was freed, all whose peer has left hear of it, the
loop comes to rest, and nothing is left behind.
"""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Callable
from errno import EAGAIN, ECONNRESET, EINTR, EIO, ENOBUFS, ENOMEM
from typing import Any

import pytest
from bsd_sweep import is_alive, watched
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_kit import Loop, scratch
from syscall_kit import failure, system_calls

from talloc_py import TALLOC_CTX, talloc_free, talloc_new
from tevent import (
    tevent_context,
    tevent_queue_create,
    tevent_req,
    tevent_req_is_in_progress,
    tevent_req_set_callback,
    tevent_req_set_endtime,
    timeval,
)
from tsocket import (
    tdgram_bsd_existing_socket,
    tdgram_bsd_optimize_recvfrom,
    tdgram_disconnect_recv,
    tdgram_disconnect_send,
    tdgram_recvfrom_recv,
    tdgram_recvfrom_send,
    tdgram_sendto_queue_recv,
    tdgram_sendto_queue_send,
    tdgram_sendto_recv,
    tdgram_sendto_send,
    tstream_bsd_existing_socket,
    tstream_bsd_fail_readv_first_error,
    tstream_bsd_optimize_readv,
    tstream_disconnect_recv,
    tstream_disconnect_send,
    tstream_monitor_recv,
    tstream_monitor_send,
    tstream_readv_pdu_queue_recv,
    tstream_readv_pdu_queue_send,
    tstream_readv_pdu_recv,
    tstream_readv_pdu_send,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_writev_queue_recv,
    tstream_writev_queue_send,
    tstream_writev_recv,
    tstream_writev_send,
)

ERRNOS = [EAGAIN, EINTR, ENOMEM, ENOBUFS, EIO, ECONNRESET]
FAILING = ("read", "write", "ioctl", "poll", "close", "fd event", "getsockopt", "socket object")
#: So deep callbacks may do more in callbacks.
DEPTH_MAX = 10
Recv = Callable[[tevent_req], tuple[int, int]]


class short_reader:
    """Reads PDUs of a byte and up to seven more, as that byte says."""

    def __init__(self) -> None:
        self.head = bytearray(1)
        self.asked = 0

    def next_vector(self, _stream: object, _private: object, _mem_ctx: TALLOC_CTX) -> tuple[int, Any]:
        """What comes next."""
        self.asked += 1
        if self.asked == 1:
            return 0, [self.head]
        size = self.head[0] % 8
        return 0, [bytearray(size)] if self.asked == 2 and size else None


class dice(failure):
    """Each call may fail, until `chance` is 0."""

    def __init__(self, rnd: random.Random) -> None:
        super().__init__(-1, EIO)
        self.random = rnd
        self.chance = rnd.choice([0.0, 0.02, 0.1, 0.3])

    def answer(self, number: int, kind: str) -> int:
        """As the dice fall."""
        fails = bool(self.chance) and kind in FAILING and self.random.random() < self.chance
        return self.random.choice(ERRNOS) if fails else 0


class play:
    """Something over a descriptor, and all that is done to it."""

    kind: socket.SocketKind
    operations: dict[str, Recv]

    def __init__(self, top: TALLOC_CTX, rnd: random.Random, loops: list[Loop], peer: socket.socket, fd: int) -> None:
        self.target: Any = self.wrap(top, fd)
        self.random = rnd
        self.loops = loops
        self.peer = peer
        owner = talloc_new(top)
        assert owner is not None
        self.owner: TALLOC_CTX = owner
        self.queues = [tevent_queue_create(owner, "line") for _ in range(2)]
        #: Requests, what they are, their contexts, and how often each was called back.
        self.requests: list[tuple[tevent_req, str, tevent_context]] = []
        self.calls: list[int] = []
        self.depth = 0

    def wrap(self, top: TALLOC_CTX, fd: int) -> Any:
        raise NotImplementedError

    def set_options(self) -> None:
        raise NotImplementedError

    def start(self, name: str, ev: tevent_context) -> tevent_req | None:
        raise NotImplementedError

    def peer_acts(self) -> None:
        raise NotImplementedError

    def begin(self) -> None:
        """Begin an operation somewhere."""
        if not is_alive(self.target):
            return
        names = list(self.operations)
        name = self.random.choice(names[1:] * 3 + names[:1])  # seldom the disconnect
        ev = self.random.choice(self.loops).ev
        req = self.start(name, ev)
        assert req is not None
        number = len(self.requests)
        self.requests.append((req, name, ev))
        self.calls.append(0)

        def done(req: tevent_req) -> None:
            self.calls[number] += 1
            assert self.calls[number] == 1, f"{name} was called twice"
            ret, err = self.operations[name](req)
            assert (ret >= 0 and not err) or (ret == -1 and err > 0)
            talloc_free(req)
            if self.depth < DEPTH_MAX and self.random.random() < 0.5:
                self.depth += 1
                self.act()
                self.depth -= 1

        tevent_req_set_callback(req, done, None)

    def act(self) -> None:
        """Do anything."""
        what = self.random.random()
        # A monitor does not hear of a disconnect that has ended too early, as in C.
        live = [(req, ev) for req, name, ev in self.requests if is_alive(req) and name != "disconnect"]
        if what < 0.45:
            self.begin()
        elif what < 0.7:
            with contextlib.suppress(OSError):
                self.peer_acts()
        elif what < 0.8:
            if live:
                talloc_free(self.random.choice(live)[0])
        elif what < 0.84:
            for req, ev in live[-1:]:
                if tevent_req_is_in_progress(req):
                    tevent_req_set_endtime(req, ev, timeval(0, 0))
        elif what < 0.85:
            self.free_target()
        elif self.depth == 0:
            self.random.choice(self.loops).turn()

    def free_target(self) -> None:
        """What waits in a queue must not outlive what it is for."""
        if is_alive(self.target):
            for req, name, _ in self.requests:
                if "queue" in name and is_alive(req):
                    talloc_free(req)
            talloc_free(self.target)

    def drain(self) -> None:
        """Let the peer read all there is."""
        with contextlib.suppress(OSError):
            while self.peer.recv(1 << 20):
                pass

    def end(self) -> None:
        """Let everybody hear of an end."""
        raise NotImplementedError

    def finish(self) -> None:
        """No call fails any more: all that wait hear of the end, unless what they wait on is gone."""
        self.depth = DEPTH_MAX
        self.end()
        if is_alive(self.target):
            waiting = [n for n, (req, _, _) in enumerate(self.requests) if is_alive(req) and not self.calls[n]]
            assert not waiting, f"requests {waiting} hear of nothing"

    def settle(self) -> None:
        """All loops come to rest."""
        for loop in self.loops:
            loop.settle()


class stream_play(play):
    """A stream."""

    kind = socket.SOCK_STREAM
    operations = {  # noqa: RUF012
        "disconnect": tstream_disconnect_recv,
        "readv": tstream_readv_recv,
        "writev": tstream_writev_recv,
        "pdu": tstream_readv_pdu_recv,
        "monitor": tstream_monitor_recv,
        "queue of pdus": tstream_readv_pdu_queue_recv,
        "queue of writes": tstream_writev_queue_recv,
    }

    def wrap(self, top: TALLOC_CTX, fd: int) -> Any:
        _, stream = tstream_bsd_existing_socket(top, fd)
        assert stream is not None
        return stream

    def set_options(self) -> None:
        tstream_bsd_optimize_readv(self.target, self.random.random() < 0.3)
        tstream_bsd_fail_readv_first_error(self.target, self.random.random() < 0.3)

    def start(self, name: str, ev: tevent_context) -> tevent_req | None:
        owner, stream, (reads, writes) = self.owner, self.target, self.queues
        assert reads is not None
        assert writes is not None
        if name == "disconnect":
            return tstream_disconnect_send(owner, ev, stream)
        if name == "readv":
            return tstream_readv_send(owner, ev, stream, [bytearray(3), bytearray(self.random.randint(1, 30))])
        if name == "writev":
            return tstream_writev_send(owner, ev, stream, [b"x", bytes(self.random.choice([1, 9000]))])
        if name == "pdu":
            return tstream_readv_pdu_send(owner, ev, stream, short_reader().next_vector, None)
        if name == "monitor":
            return tstream_monitor_send(owner, ev, stream)
        if name == "queue of pdus":
            return tstream_readv_pdu_queue_send(owner, ev, stream, reads, short_reader().next_vector, None)
        return tstream_writev_queue_send(owner, ev, stream, writes, [bytes(self.random.choice([1, 9000]))])

    def peer_acts(self) -> None:
        what = self.random.random()
        if what < 0.4:
            self.peer.recv(self.random.choice([10, 100_000]))
        elif what < 0.9:
            self.peer.send(self.random.choice([b"\3abc", b"\0", b"xyz"]) * self.random.randint(1, 9))
        elif what < 0.96:
            self.peer.shutdown(socket.SHUT_WR)
        else:
            self.peer.close()

    def end(self) -> None:
        self.peer.close()
        for _ in self.requests:  # those in a queue may take turns between the loops
            self.settle()


class dgram_play(play):
    """A datagram socket."""

    kind = socket.SOCK_DGRAM

    @staticmethod
    def received(req: tevent_req) -> tuple[int, int]:
        """Length and errno of what was received."""
        ret, err, buf, source = tdgram_recvfrom_recv(req, None)
        talloc_free(buf)
        talloc_free(source)
        return ret, err

    operations = {  # noqa: RUF012
        "disconnect": tdgram_disconnect_recv,
        "recvfrom": received,
        "sendto": tdgram_sendto_recv,
        "queue of datagrams": tdgram_sendto_queue_recv,
    }

    def wrap(self, top: TALLOC_CTX, fd: int) -> Any:
        _, dgram = tdgram_bsd_existing_socket(top, fd)
        assert dgram is not None
        return dgram

    def set_options(self) -> None:
        tdgram_bsd_optimize_recvfrom(self.target, self.random.random() < 0.3)

    def start(self, name: str, ev: tevent_context) -> tevent_req | None:
        if name == "disconnect":
            return tdgram_disconnect_send(self.owner, ev, self.target)
        if name == "recvfrom":
            return tdgram_recvfrom_send(self.owner, ev, self.target)
        if name == "sendto":
            return tdgram_sendto_send(self.owner, ev, self.target, bytes(self.random.choice([1, 9000])), None)
        queue = self.queues[0]
        assert queue is not None
        return tdgram_sendto_queue_send(self.owner, ev, self.target, queue, b"queued", None)

    def peer_acts(self) -> None:
        if self.random.random() < 0.5:
            self.peer.recv(100)
        else:
            self.peer.send(bytes(self.random.choice([0, 1, 50])))

    def end(self) -> None:
        for _ in self.requests:
            self.drain()
            with contextlib.suppress(OSError):
                self.peer.send(b"for whoever waits")
            self.settle()


@pytest.mark.parametrize("kind", [stream_play, dgram_play])
@settings(max_examples=60)
@given(seed=st.integers(0, 1 << 32))
def test_anything_in_any_order(kind: type[play], seed: int) -> None:
    """Whatever is done, and whatever fails."""
    # Not Hypothesis' own random numbers: it would raise its exceptions inside system calls and destructors.
    rnd = random.Random(seed)
    plan = dice(rnd)
    with watched(f"seed {seed}"), system_calls(plan) as calls, scratch() as top, scratch() as contexts:
        loops = [Loop(contexts) for _ in range(rnd.choice([1, 1, 2]))]
        mine, peer = socket.socketpair(type=kind.kind)
        for sock in (mine, peer):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            sock.setblocking(False)
        with peer:
            this = kind(top, rnd, loops, peer, mine.detach())
            this.set_options()
            calls.counting = True
            for _ in range(rnd.randint(5, 40)):
                this.act()
            plan.chance = 0.0
            this.finish()
        calls.counting = False
