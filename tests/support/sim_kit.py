# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Both sides of what is swept in a simulated world: a stream for what is under test, and a peer that follows a script.

The peer belongs to the world: nobody looks for what it leaves behind, and its operations do not fail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from talloc_py import TALLOC_CTX, talloc_free, talloc_steal
from tevent import tevent_context, tevent_req, tevent_req_set_callback
from tevent.testing import simulation
from tsocket import (
    tstream_context,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_writev_recv,
    tstream_writev_send,
)
from tsocket.testing import fault, link, network

LATENCY_US = 1000

#: What a peer does, one after the other: bytes are written, so many bytes are read, None closes the stream.
Script = Sequence[bytes | int | None]


class peer:
    """Follows a script on a stream, which belongs to the world."""

    def __init__(self, world: simulation, ev: tevent_context, stream: tstream_context, script: Script) -> None:
        self.world = world
        self.ev = ev
        self.stream = stream
        self.left = list(script)
        self.got = bytearray()
        self.go_on()

    def go_on(self) -> None:
        """Take the next step of the script."""
        if not self.left:
            return
        step = self.left.pop(0)
        if step is None:
            talloc_free(self.stream)
        elif isinstance(step, int):
            buf = bytearray(step)
            req = tstream_readv_send(self.world.top, self.ev, self.stream, [buf])
            self._then(req, tstream_readv_recv, lambda: self.got.extend(buf))
        else:
            self._then(tstream_writev_send(self.world.top, self.ev, self.stream, [step]), tstream_writev_recv)

    def _then(
        self, req: tevent_req | None, recv: Callable[[tevent_req], Any], more: Callable[[], Any] | None = None
    ) -> None:
        def done(subreq: tevent_req) -> None:
            ret, _ = recv(subreq)
            talloc_free(subreq)
            if ret == -1:
                return  # the side under test has given up
            if more is not None:
                more()
            self.go_on()

        assert req is not None
        tevent_req_set_callback(req, done, None)


def drip(size: int, where: str = "near") -> list[fault]:
    """A plan in which each of *size* bytes comes by itself."""
    return [fault(where, "byte", n, delay_us=10) for n in range(1, size)]


def pair(
    world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX, script: Script, *faults: fault, **properties: Any
) -> tstream_context:
    """A stream below *mem_ctx*, called ``near``, with a peer at its other end."""
    net = network(world, link=link(latency_us=LATENCY_US, **properties), faults=faults)
    near, far = net.stream_pair(world.top, "near", "far")
    peer(world, ev, far, script)
    talloc_steal(mem_ctx, near)
    return near
