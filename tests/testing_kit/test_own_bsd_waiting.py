# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What waits on the descriptor of a stream: a read, a write and a monitor at once, and what becomes of them.

Each of them may be freed in the callback of another, the stream may have failed without the descriptor telling of it,
and the event context may be another one each time.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
from collections.abc import Callable, Iterator
from errno import ECONNRESET, EINVAL, EIO, EPIPE
from typing import Any

import pytest
from bsd_sweep import watched
from stream_kit import BIG, Loop, Seen, monitor, readv, scratch, writev
from syscall_kit import failure, system_calls

from talloc_py import TALLOC_CTX, talloc_free, talloc_new
from tevent import get_errno, tevent_req, tevent_req_is_in_progress
from tsocket import (
    tstream_bsd_existing_socket,
    tstream_bsd_fail_readv_first_error,
    tstream_bsd_optimize_readv,
    tstream_context,
    tstream_monitor_recv,
    tstream_pending_bytes,
    tstream_readv_recv,
    tstream_writev_recv,
)

Begin = Callable[[Loop, TALLOC_CTX, tstream_context], tevent_req]

#: The operations that can wait, and how each is received.
OPERATIONS: dict[str, tuple[Begin, Callable[[tevent_req], Any]]] = {
    "read": (lambda loop, owner, stream: readv(loop, owner, stream, bytearray(5)), tstream_readv_recv),
    "write": (lambda loop, owner, stream: writev(loop, owner, stream, BIG), tstream_writev_recv),
    "monitor": (lambda loop, owner, stream: monitor(loop, owner, stream), tstream_monitor_recv),
}


class pair:
    """A stream with a raw peer, everything of it below `top`; leaving the block looks for what is left behind."""

    def __init__(self, top: TALLOC_CTX) -> None:
        owner = talloc_new(top)
        assert owner is not None
        self.owner: TALLOC_CTX = owner
        self.loop = Loop(top)
        mine, self.peer = socket.socketpair()
        for sock in (mine, self.peer):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            sock.setblocking(False)
        self.fd = mine.detach()
        ret, stream = tstream_bsd_existing_socket(self.owner, self.fd)
        assert ret == 0
        assert stream is not None
        self.stream: tstream_context = stream

    def fill(self) -> None:
        """Let no write get rid of anything."""
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.fd, bytes(4096))

    def empty(self) -> None:
        """Let the peer read all there is."""
        with contextlib.suppress(BlockingIOError):
            while self.peer.recv(1 << 20):
                pass

    def begin(self, name: str, loop: Loop | None = None, **options: Any) -> tuple[tevent_req, Seen]:
        """Start an operation, on another loop than the own one if need be."""
        loop = loop or self.loop
        send, recv = OPERATIONS[name]
        req = send(loop, self.owner, self.stream)
        return req, loop.watch(req, recv, **options)


@contextlib.contextmanager
def connected(name: str = "left over") -> Iterator[pair]:
    """A `pair`."""
    with watched(name), scratch() as top:
        wire = pair(top)
        with wire.peer:
            yield wire


def says_and_closes(peer: socket.socket) -> None:
    peer.send(b"abc")
    peer.close()


#: What the peer may do to a stream that waits.
ENDS: dict[str, Callable[[socket.socket], object]] = {
    "close": socket.socket.close,
    "half-close": lambda peer: peer.shutdown(socket.SHUT_WR),
    "last words": says_and_closes,
}

NOW: dict[str, Callable[[socket.socket], object]] = {
    "silent": lambda peer: None,
    "data": lambda peer: peer.send(b"hello"),
    **ENDS,
}


class TestBroken:
    @pytest.mark.parametrize("end", ENDS)
    @pytest.mark.parametrize("state", ["sound", "failed", "to fail first"])
    def test_freed_in_each_others_callbacks(self, end: str, state: str) -> None:
        """Whoever is freed in the callback of another is never called; all others are called once, with an error."""
        for who in OPERATIONS:
            for victim in (*OPERATIONS, "stream", "everything"):
                with connected(f"{who} frees {victim}") as wire:
                    self.freed(wire, who, victim, ENDS[end], state)

    @staticmethod
    def freed(wire: pair, who: str, victim: str, end: Callable[[socket.socket], object], state: str) -> None:
        """One of the combinations: the callback of *who* frees *victim*."""
        silenced: set[str] = set()

        def strike(_req: tevent_req) -> None:
            if victim == "stream":
                # One whose end is known already is still told.
                silenced.update(name for name, (req, _) in waiting.items() if tevent_req_is_in_progress(req))
                talloc_free(wire.stream)
                return
            silenced.update(name for name in waiting if victim in (name, "everything") and not waiting[name][1].calls)
            talloc_free(wire.owner if victim == "everything" else waiting[victim][0])

        waiting = {
            name: wire.begin(name, then=strike if name == who else None) for name in ("write", "read", "monitor")
        }
        wire.loop.settle()
        assert not any(seen.calls for _, seen in waiting.values())
        tstream_bsd_fail_readv_first_error(wire.stream, state == "to fail first")
        if state == "failed":
            wire.stream.transport.error = EIO  # type: ignore[attr-defined]
        end(wire.peer)
        wire.loop.settle()
        for name, (_, seen) in waiting.items():
            assert seen.calls == (name not in silenced), f"{name} was called {seen.calls} times"
            assert all(result[0] == -1 and result[1] > 0 for result in seen.results)


class TestFailedStreams:
    """A system call has failed: the stream has, but the descriptor does not say so, or only for other reasons."""

    @pytest.mark.parametrize("optimize", [False, True], ids=["", "optimized"])
    @pytest.mark.parametrize("fails", ["read", "write", "ioctl"])
    @pytest.mark.parametrize("now", NOW)
    def test_all_end_with_the_first_errno(self, fails: str, now: str, optimize: bool) -> None:
        """Whatever is begun afterwards ends once, with that errno, though the calls would succeed now."""
        plan = failure(-1, EIO)
        with system_calls(plan) as calls, connected() as wire:
            tstream_bsd_optimize_readv(wire.stream, optimize)
            calls.counting = True
            plan.failed.add(fails)
            self.fail(wire, fails)
            plan.failed.clear()
            NOW[now](wire.peer)
            made = len(calls.made)
            for _ in range(2):
                for name in OPERATIONS:
                    _, seen = wire.begin(name, free=True)
                    wire.loop.settle()
                    assert seen.result == (-1, EIO), name
                assert (tstream_pending_bytes(wire.stream), get_errno()) == (-1, EIO)
            assert not {"read", "write", "ioctl"} & set(calls.made[made:])

    @staticmethod
    def fail(wire: pair, kind: str) -> None:
        """Let the stream fail."""
        if kind == "ioctl":
            assert (tstream_pending_bytes(wire.stream), get_errno()) == (-1, EIO)
            return
        wire.peer.send(b"x")
        _, seen = wire.begin(kind, free=True)
        wire.loop.settle()
        assert seen.result == (-1, EIO)
        with contextlib.suppress(BlockingIOError):
            os.read(wire.fd, 1)

    def test_monitor_of_a_stream_that_fails_quietly(self) -> None:
        """A monitor that waits already hears of it, too."""
        plan = failure(-1, EIO)
        with system_calls(plan) as calls, connected() as wire:
            _, seen = wire.begin("monitor")
            calls.counting = True
            plan.failed.add("write")
            _, written = wire.begin("write")
            wire.loop.settle()
            assert (seen.result, written.result) == ((-1, EIO), (-1, EIO))


class TestContexts:
    @pytest.mark.parametrize(("first", "second"), list(itertools.permutations(OPERATIONS, 2)))
    def test_all_wait_on_the_same(self, first: str, second: str) -> None:
        """An operation that would have to wait elsewhere is refused; a read or write that is tells a monitor, too."""
        with connected() as wire, scratch() as other:
            loop = Loop(other)
            wire.fill()
            _, seen = wire.begin(first)
            _, refused = wire.begin(second, loop)
            loop.settle()
            wire.loop.settle()
            assert refused.result == (-1, EINVAL)
            if first == "monitor":
                assert seen.result == (-1, EINVAL)
                return
            assert seen.calls == 0
            wire.peer.close()
            wire.loop.settle()
            assert seen.result in ((-1, EPIPE), (-1, ECONNRESET))

    @pytest.mark.parametrize("name", OPERATIONS)
    @pytest.mark.parametrize("former", ["stays", "goes first", "goes last"])
    def test_the_stream_moves_to_another(self, name: str, former: str) -> None:
        """When nothing waits any more the next operation may wait anywhere; the former context has no share in it."""
        with connected() as wire, scratch() as top, scratch() as other:
            old, new = Loop(top), Loop(other)
            wire.fill()
            req, seen = wire.begin(name, old)
            old.settle()
            if former == "goes first":
                talloc_free(old.ev)
            talloc_free(req)
            if former == "goes last":
                talloc_free(old.ev)
            _, later = wire.begin(name, new)
            new.settle()
            if former == "stays":
                assert all(fde is old.ev.wakeup_fde for fde in old.ev.fd_events)
                assert old.settle() == 0
            wire.empty()
            wire.peer.close()
            new.settle()
            assert (seen.calls, later.calls) == (0, 1)
