# SPDX-License-Identifier: LGPL-3.0-or-later
"""What waits on a datagram socket: a receive and a send at once, each freed in the other's callback, anywhere."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from errno import EINVAL, EIO
from typing import Any

import pytest
from bsd_sweep import watched
from stream_kit import Loop, Seen, scratch
from syscall_kit import failure, system_calls

from talloc_py import TALLOC_CTX, talloc_free, talloc_new
from tevent import tevent_req
from tsocket import (
    tdgram_bsd_existing_socket,
    tdgram_context,
    tdgram_recvfrom_recv,
    tdgram_recvfrom_send,
    tdgram_sendto_recv,
    tdgram_sendto_send,
)


def receive(loop: Loop, owner: TALLOC_CTX, dgram: tdgram_context) -> tevent_req | None:
    """Wait for a datagram."""
    return tdgram_recvfrom_send(owner, loop.ev, dgram)


def received(req: tevent_req) -> tuple[int, int]:
    """Its length, or -1, and the errno."""
    ret, err, buf, source = tdgram_recvfrom_recv(req, None)
    talloc_free(buf)
    talloc_free(source)
    return ret, err


def send(loop: Loop, owner: TALLOC_CTX, dgram: tdgram_context) -> tevent_req | None:
    """Wait for room for a datagram."""
    return tdgram_sendto_send(owner, loop.ev, dgram, b"datagram", None)


#: The operations that can wait, and how each is received.
OPERATIONS: dict[str, tuple[Callable[..., tevent_req | None], Callable[[tevent_req], tuple[int, int]]]] = {
    "receive": (receive, received),
    "send": (send, tdgram_sendto_recv),
}


class pair:
    """A datagram socket whose raw peer has as much to read as it takes; everything of it is below `owner`."""

    def __init__(self, top: TALLOC_CTX) -> None:
        owner = talloc_new(top)
        assert owner is not None
        self.owner: TALLOC_CTX = owner
        self.loop = Loop(top)
        mine, self.peer = socket.socketpair(type=socket.SOCK_DGRAM)
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        for sock in (mine, self.peer):
            sock.setblocking(False)
        self.fd = mine.detach()
        ret, dgram = tdgram_bsd_existing_socket(self.owner, self.fd)
        assert ret == 0
        assert dgram is not None
        self.dgram: tdgram_context = dgram
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.fd, b"x")

    def begin(self, name: str, loop: Loop | None = None, **options: Any) -> tuple[tevent_req, Seen]:
        """Start an operation, on another loop than the own one if need be."""
        start, recv = OPERATIONS[name]
        loop = loop or self.loop
        req = start(loop, self.owner, self.dgram)
        assert req is not None
        return req, loop.watch(req, recv, **options)

    def go(self) -> None:
        """Let the peer read everything, and send a datagram."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.peer.recv(100)
        self.peer.send(b"datagram")


@contextlib.contextmanager
def connected(name: str = "left over") -> Iterator[pair]:
    """A `pair`; leaving the block looks for what is left behind."""
    with watched(name), scratch() as top:
        wire = pair(top)
        with wire.peer:
            yield wire


@pytest.mark.parametrize("victim", [*OPERATIONS, "socket", "everything"])
@pytest.mark.parametrize("who", OPERATIONS)
def test_freed_in_each_others_callbacks(who: str, victim: str) -> None:
    """Whoever is freed in the callback of the other is never called; the rest is called once."""
    with connected() as wire:

        def strike(_req: tevent_req) -> None:
            silenced.extend(name for name in waiting if victim not in OPERATIONS or victim == name)
            ptr = {"socket": wire.dgram, "everything": wire.owner}.get(victim) or waiting[victim][0]
            talloc_free(ptr)

        silenced: list[str] = []
        waiting = {name: wire.begin(name, then=strike if name == who else None) for name in OPERATIONS}
        wire.loop.settle()
        assert not any(seen.calls for _, seen in waiting.values())
        called_before = [who] if who == "send" else ["send", "receive"]  # a send goes first
        wire.go()
        wire.loop.settle()
        for name, (_, seen) in waiting.items():
            assert seen.results == ([(8, 0)] if name in called_before or name not in silenced else [])


@pytest.mark.parametrize("fails", ["read", "write"])
def test_an_error_is_that_of_one_operation(fails: str) -> None:
    """The other one goes on, and so does the next of its kind."""
    plan = failure(-1, EIO)
    with system_calls(plan) as calls, connected() as wire:
        waiting = {name: wire.begin(name, free=True)[1] for name in OPERATIONS}
        calls.counting = True
        plan.failed.add(fails)
        wire.go()
        wire.loop.settle()
        plan.failed.clear()
        broken = "receive" if fails == "read" else "send"
        for name, seen in waiting.items():
            assert seen.result == ((-1, EIO) if name == broken else (8, 0))
        _, again = wire.begin(broken, free=True)
        wire.loop.settle()
        assert again.result == (8, 0)


@pytest.mark.parametrize("first", OPERATIONS)
def test_all_wait_on_the_same_context(first: str) -> None:
    """An operation that would have to wait elsewhere is refused, and the first is none the wiser."""
    (second,) = OPERATIONS.keys() - {first}
    with connected() as wire, scratch() as other:
        loop = Loop(other)
        _, seen = wire.begin(first)
        _, refused = wire.begin(second, loop)
        loop.settle()
        assert refused.result == (-1, EINVAL)
        wire.go()
        wire.loop.settle()
        assert seen.result == (8, 0)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("former", ["stays", "goes first", "goes last"])
def test_the_socket_moves_to_another_context(name: str, former: str) -> None:
    """When nothing waits any more the next operation may wait anywhere; the former context has no share in it."""
    with connected() as wire, scratch() as top, scratch() as other:
        old, new = Loop(top), Loop(other)
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
        wire.go()
        new.settle()
        assert (seen.calls, later.result) == (0, (8, 0))
