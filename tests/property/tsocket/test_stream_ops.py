# SPDX-License-Identifier: LGPL-3.0-or-later
"""Two connected streams under any mix of operations, checked against a model of what must hold."""

from __future__ import annotations

import random
from errno import EALREADY, EBUSY, ECONNABORTED, ECONNRESET, EIO, ENOTCONN, EPIPE
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from stream_kit import Loop, open_fds

from talloc_py import talloc_free, talloc_new
from tevent import (
    TEVENT_REQ_RECEIVED,
    get_errno,
    tevent_req,
    tevent_req_is_error,
    tevent_req_is_in_progress,
    tevent_req_set_callback,
)
from tsocket import (
    tstream_disconnect_recv,
    tstream_disconnect_send,
    tstream_monitor_recv,
    tstream_monitor_send,
    tstream_pending_bytes,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_unix_socketpair,
    tstream_writev_recv,
    tstream_writev_send,
)

SIDES = st.sampled_from([0, 1])

#: The byte at each position of an endless stream; any run of it tells where it comes from, up to the period.
PERIOD = 65_521
PATTERN = bytes(random.Random(20).randbytes(PERIOD)) * 40


class Operation:
    """One request, what the model expects of it, and how often it called back."""

    def __init__(self, kind: str, req: tevent_req, refusal: int) -> None:
        self.kind = kind
        self.req = req
        self.refusal = refusal  # the errno it was refused with inside _send; 0: it was started
        self.calls = 0
        self.buf = bytearray()
        self.start = 0
        self.size = 0


class TwoStreams(RuleBasedStateMachine):
    """
    The model of a pair: which operations are outstanding, how far each direction was written and read.

    Errnos of dead connections are not modelled in detail (they depend on who noticed what first); that they are errors,
    come once, and never in the place of data that can still be had, is.
    """

    @initialize()
    def begin(self) -> None:
        self.fds = open_fds()
        self.top = talloc_new(None)
        self.loop = Loop(self.top)
        ret, one, two = tstream_unix_socketpair(self.top, self.top)
        assert ret == 0
        self.streams = [one, two]
        self.alive = [True, True]  # neither freed nor disconnected
        self.freed = [False, False]
        self.failed = [False, False]
        self.outstanding: list[dict[str, Operation]] = [{}, {}]
        self.ended: list[Operation] = []  # monitors that have ended and wait for their deferred callback
        self.silent: list[Operation] = []  # must never be called any more
        self.refused: list[Operation] = []
        self.written = [0, 0]  # how much of the pattern each side began to write
        self.exact = [True, True]  # no write of this side was given up half way, so its bytes have known places
        self.read = [0, 0]  # position behind the last byte that each side read
        self.gap = [False, False]  # a read of this side was given up: its position may have moved

    # -- sending ------------------------------------------------------------------------------------------------------

    def expected_refusal(self, side: int, kind: str) -> int:
        out = self.outstanding[side]
        if kind == "monitor" and "disconnect" not in out:
            return EALREADY if "monitor" in out else 0
        if kind == "disconnect":
            if "disconnect" in out:
                return EALREADY
            return EBUSY if "read" in out or "write" in out else 0
        if "disconnect" in out:
            return ECONNABORTED
        return EBUSY if kind in out else 0

    def begin_operation(self, side: int, kind: str, send: Any, recv: Any) -> Operation | None:
        if self.freed[side]:
            return None
        watching = self.outstanding[side].get("monitor")
        if watching is not None and not tevent_req_is_in_progress(watching.req):
            self.ended.append(self.outstanding[side].pop("monitor"))
        refusal = self.expected_refusal(side, kind)
        req = send()
        operation = Operation(kind, req, refusal)
        assert tevent_req_is_in_progress(req) == (not refusal)

        def done(subreq: tevent_req) -> None:
            operation.calls += 1
            assert operation.calls == 1
            assert operation not in self.silent
            if refusal:
                self.refused.remove(operation)
            elif operation in self.ended:
                self.ended.remove(operation)
            else:
                assert self.outstanding[side].pop(kind) is operation
            self.finish(side, operation, recv(subreq))
            talloc_free(subreq)

        tevent_req_set_callback(req, done, None)
        if refusal:
            self.refused.append(operation)
        else:
            self.outstanding[side][kind] = operation
        return operation

    @rule(side=SIDES, sizes=st.lists(st.integers(0, 40_000), min_size=1, max_size=4).filter(any))
    def start_read(self, side: int, sizes: list[int]) -> None:
        bufs = [bytearray(size) for size in sizes]
        operation = self.begin_operation(
            side,
            "read",
            lambda: tstream_readv_send(self.top, self.loop.ev, self.streams[side], bufs),
            tstream_readv_recv,
        )
        if operation is not None:
            operation.size = sum(sizes)
            operation.start = self.read[side]
            operation.bufs = bufs

    @rule(side=SIDES, sizes=st.lists(st.integers(0, 300_000), min_size=1, max_size=3).filter(any))
    def start_write(self, side: int, sizes: list[int]) -> None:
        start = self.written[side]
        if start + sum(sizes) > len(PATTERN):
            return
        vector, place = [], start
        for size in sizes:
            vector.append(PATTERN[place : place + size])
            place += size
        operation = self.begin_operation(
            side,
            "write",
            lambda: tstream_writev_send(self.top, self.loop.ev, self.streams[side], vector),
            tstream_writev_recv,
        )
        if operation is not None:
            operation.size = sum(sizes)
            operation.start = start
            if not operation.refusal:
                self.written[side] = place

    @rule(side=SIDES)
    def start_disconnect(self, side: int) -> None:
        operation = self.begin_operation(
            side,
            "disconnect",
            lambda: tstream_disconnect_send(self.top, self.loop.ev, self.streams[side]),
            tstream_disconnect_recv,
        )
        if operation is not None and not operation.refusal:
            operation.expect = 0 if self.alive[side] else ENOTCONN
            self.alive[side] = False

    @rule(side=SIDES)
    def start_monitor(self, side: int) -> None:
        self.begin_operation(
            side,
            "monitor",
            lambda: tstream_monitor_send(self.top, self.loop.ev, self.streams[side]),
            tstream_monitor_recv,
        )

    # -- results ------------------------------------------------------------------------------------------------------

    def finish(self, side: int, operation: Operation, result: tuple[int, int]) -> None:
        """Compare what ``_recv`` said with the model."""
        ret, err = result
        if operation.refusal:
            assert (ret, err) == (-1, operation.refusal)
            return
        if ret == -1:
            assert err > 0
            if operation.kind == "disconnect":
                assert err == operation.expect
            elif self.alive[side] and operation.kind != "monitor":
                # Only a dead peer makes an operation of a living stream fail.
                assert not self.alive[1 - side]
                assert err in (EPIPE, ECONNRESET)
                self.failed[side] = True
            if operation.kind == "write":
                self.exact[side] = False
            if operation.kind == "read":
                self.gap[side] = True
            return
        if operation.kind == "disconnect":
            assert (ret, operation.expect) == (0, 0)
            return
        assert operation.kind in ("read", "write")
        assert ret == operation.size
        assert self.alive[side]
        if operation.kind == "read":
            self.check_bytes(side, b"".join(operation.bufs))

    def check_bytes(self, side: int, data: bytes) -> None:
        """What was read is what the other side wrote, in order, without holes but for reads given up."""
        if not self.gap[side] and self.exact[1 - side]:
            place = self.read[side]
            assert data == PATTERN[place : place + len(data)]
        elif self.exact[1 - side]:
            place = PATTERN.find(data, self.read[side])
            assert place >= 0
        else:
            return
        self.read[side] = place + len(data)
        assert self.read[side] <= self.written[1 - side]
        if len(data) >= 8:
            self.gap[side] = False

    # -- giving up ----------------------------------------------------------------------------------------------------

    def give_up(self, side: int, kind: str) -> Operation:
        operation = self.outstanding[side].pop(kind)
        self.silent.append(operation)
        if kind == "read":
            self.gap[side] = True
        if kind == "write":
            self.exact[side] = False
        return operation

    @rule(side=SIDES, kind=st.sampled_from(["read", "write", "disconnect", "monitor"]), early=st.booleans())
    def free_request(self, side: int, kind: str, early: bool) -> None:
        if kind not in self.outstanding[side]:
            return
        operation = self.give_up(side, kind)
        if early and tevent_req_is_in_progress(operation.req):
            recv = {
                "read": tstream_readv_recv,
                "write": tstream_writev_recv,
                "disconnect": tstream_disconnect_recv,
                "monitor": tstream_monitor_recv,
            }[kind]
            assert recv(operation.req) == (-1, EIO)
        assert talloc_free(operation.req) == 0

    @rule(side=SIDES)
    def free_stream(self, side: int) -> None:
        if self.freed[side]:
            return
        started = [self.give_up(side, kind) for kind in list(self.outstanding[side])]
        waiting = [operation for operation in started if tevent_req_is_in_progress(operation.req)]
        assert talloc_free(self.streams[side]) == 0
        self.freed[side] = True
        self.alive[side] = False
        for operation in waiting:
            assert tevent_req_is_error(operation.req)[1] == TEVENT_REQ_RECEIVED
        for operation in started:
            assert talloc_free(operation.req) == 0

    # -- the loop -----------------------------------------------------------------------------------------------------

    @rule(turns=st.integers(1, 5))
    def turn(self, turns: int) -> None:
        for _ in range(turns):
            self.loop.turn()

    @rule()
    def settle(self) -> None:
        self.loop.settle(20_000)
        assert self.refused == []
        for side in (0, 1):
            out = self.outstanding[side]
            assert "disconnect" not in out
            if not self.alive[1 - side]:
                # Nothing can wait for a peer that is gone.
                assert "read" not in out
                assert "write" not in out

    @rule(side=SIDES)
    def pending_bytes(self, side: int) -> None:
        if self.freed[side]:
            return
        ret = tstream_pending_bytes(self.streams[side])
        if ret == -1:
            assert get_errno() > 0
            assert not self.alive[side] or not self.alive[1 - side]
            self.failed[side] = True
        else:
            assert ret >= 0
            assert self.alive[side]
            assert ret <= self.written[1 - side]

    def teardown(self) -> None:
        if not hasattr(self, "top"):
            return
        self.loop.settle(20_000)
        assert talloc_free(self.top) == 0
        assert open_fds() <= self.fds


TestTwoStreams = TwoStreams.TestCase
TestTwoStreams.settings = settings(max_examples=100, stateful_step_count=40)
