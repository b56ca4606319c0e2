# SPDX-License-Identifier: LGPL-3.0-or-later
"""A state machine of two connected streams, for any sort of stream that lies over a simulated one."""

from __future__ import annotations

from errno import ECONNRESET, EINTR, EIO
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tevent import tevent_queue_create, tevent_req
from tevent.testing import request_machine
from tsocket import (
    tstream_context,
    tstream_disconnect_recv,
    tstream_disconnect_send,
    tstream_monitor_recv,
    tstream_monitor_send,
    tstream_pending_bytes,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_writev_queue_recv,
    tstream_writev_queue_send,
    tstream_writev_recv,
    tstream_writev_send,
)
from tsocket.testing import fault, link, network

SIDES = st.sampled_from([0, 1])


def ok_or_failed(result: tuple[int, int], wanted: int) -> None:
    """An operation ends with what it should, or with an errno that says why not."""
    assert result == (wanted, 0) or (result[0] == -1 and result[1] > 0), result


class two_streams(request_machine):
    """Two connected streams of some sort."""

    errnos: ClassVar[Any] = (ECONNRESET, EIO, EINTR, fault("*", "readv", take=1), fault("*", "writev", delay_us=9))
    ends = False  # a read waits for ever where nobody writes

    def layer(self, plain: tstream_context) -> tstream_context:
        """The stream under test over *plain*."""
        return plain

    def scene(self) -> None:
        net = network(self.world, link=link(latency_us=100, cut=True, partial_writes=True, buffer=40))
        self.streams = [self.layer(each) for each in net.stream_pair(self.mem_ctx)]
        self.queues = [tevent_queue_create(self.mem_ctx, "writes") for _ in self.streams]

    def start(self, draw: Any) -> tevent_req | None:
        side, size = draw(SIDES, label="side"), draw(st.integers(1, 30), label="bytes")
        return tstream_readv_send(self.mem_ctx, self.ev, self.streams[side], [bytearray(size)])

    def finish(self, req: tevent_req) -> None:
        ret, err = tstream_readv_recv(req)
        assert ret > 0 or (ret == -1 and err > 0)

    @rule(side=SIDES, size=st.integers(1, 90))
    def write(self, side: int, size: int) -> None:
        """Write some bytes."""
        req = tstream_writev_send(self.mem_ctx, self.ev, self.streams[side], [bytes(1), bytes(size - 1)])
        self.track(req, lambda req: ok_or_failed(tstream_writev_recv(req), size))

    @rule(side=SIDES, size=st.integers(1, 30))
    def write_queued(self, side: int, size: int) -> None:
        """Write through a queue."""
        queue = self.queues[side]
        assert queue is not None
        req = tstream_writev_queue_send(self.mem_ctx, self.ev, self.streams[side], queue, [bytes(size)])
        self.track(req, lambda req: ok_or_failed(tstream_writev_queue_recv(req), size))

    @rule(side=SIDES)
    def monitor(self, side: int) -> None:
        """Watch for the end."""
        req = tstream_monitor_send(self.mem_ctx, self.ev, self.streams[side])
        self.track(req, lambda req: ok_or_failed(tstream_monitor_recv(req), 0))

    @rule(side=SIDES)
    def disconnect(self, side: int) -> None:
        """Close a side."""
        req = tstream_disconnect_send(self.mem_ctx, self.ev, self.streams[side])
        self.track(req, lambda req: ok_or_failed(tstream_disconnect_recv(req), 0))

    @rule(side=SIDES)
    def pending_bytes(self, side: int) -> None:
        """Ask how much has come."""
        assert tstream_pending_bytes(self.streams[side]) >= -1
