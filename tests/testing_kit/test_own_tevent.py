# SPDX-License-Identifier: LGPL-3.0-or-later
"""Our own requests of tevent, put through all sweeps: wakeups, waits in a queue, coroutines."""

from __future__ import annotations

from errno import ECANCELED
from typing import Any

import pytest

from talloc_py import TALLOC_CTX, TALLOC_FREE, talloc_new
from tevent import (
    tevent_context,
    tevent_queue_create,
    tevent_queue_length,
    tevent_queue_wait_recv,
    tevent_queue_wait_send,
    tevent_req,
    tevent_req_set_callback,
    tevent_req_set_endtime,
    tevent_req_set_profile,
    tevent_timeval_current,
    tevent_timeval_current_ofs,
    tevent_wakeup_recv,
    tevent_wakeup_send,
)
from tevent.aio import Cancelled, RequestFreed, coroutine_recv, coroutine_send
from tevent.testing import explore, simulation, sweep, sweep_cancel


def sleep(mem_ctx: TALLOC_CTX | None, ev: tevent_context, seconds: int) -> tevent_req:
    """A wakeup in some seconds."""
    req = tevent_wakeup_send(mem_ctx, ev, tevent_timeval_current_ofs(seconds, 0))
    assert req is not None
    return req


class TestWakeup:
    @pytest.mark.parametrize("seconds", [0, 3600])
    def test_sweep(self, seconds: int) -> None:
        """A wakeup can be disturbed in every way, and has come when it ends."""

        def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            return sleep(mem_ctx, ev, seconds)

        def finish(req: tevent_req) -> None:
            assert tevent_wakeup_recv(req)

        assert sweep(start, finish, recv=tevent_wakeup_recv).steps == 1

    def test_profiled(self) -> None:
        """A request that is profiled leaves nothing more behind."""

        def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            req = sleep(mem_ctx, ev, 1)
            assert tevent_req_set_profile(req)
            return req

        assert sweep(start).steps == 1


class TestQueueWait:
    @staticmethod
    def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
        """Wait behind two others, of which each works for a second."""
        queue = tevent_queue_create(mem_ctx, "line")
        assert queue is not None
        world.scene = queue

        def works(waiting: tevent_req) -> None:
            tevent_queue_wait_recv(waiting)
            pause = sleep(world.top, ev, 1)
            tevent_req_set_callback(pause, lambda pause: [TALLOC_FREE(waiting), TALLOC_FREE(pause)], None)

        for _ in range(2):
            other = tevent_queue_wait_send(world.top, ev, queue)
            assert other is not None
            tevent_req_set_callback(other, works, None)
        mine = tevent_queue_wait_send(talloc_new(mem_ctx), ev, queue)
        assert mine is not None
        return mine

    def test_sweep(self) -> None:
        """A wait in a queue can be disturbed in every way; those ahead go on."""
        assert sweep(self.start, tevent_queue_wait_recv, recv=tevent_queue_wait_recv).steps >= 4

    def test_its_turn(self) -> None:
        """The wait ends when those ahead have left, and not before, in every order."""

        def run(world: simulation) -> None:
            ev = world.context()
            req = self.start(world, ev, world.top)

            def done(_req: tevent_req) -> None:
                turns.append((world.elapsed_us, tevent_queue_length(world.scene)))

            tevent_req_set_callback(req, done, None)
            world.run()

        turns: list[tuple[int, int]] = []
        assert explore(run).complete
        assert set(turns) == {(2_000_000, 1)}


class TestCoroutines:
    @staticmethod
    async def works(ev: tevent_context, log: list[str]) -> int:
        """Three waits, one of them for another coroutine."""
        owner = talloc_new(None)
        try:
            first, second = sleep(owner, ev, 1), sleep(owner, ev, 2)
            await second
            await first
            inner = coroutine_send(owner, ev, TestCoroutines.inner(ev, owner))
            assert inner is not None
            await inner
            assert coroutine_recv(inner) == 7
            log.append("done")
            return 5
        finally:
            log.append("left")
            TALLOC_FREE(owner)

    @staticmethod
    async def inner(ev: tevent_context, owner: TALLOC_CTX | None) -> int:
        await sleep(owner, ev, 1)
        return 7

    def test_sweep(self) -> None:
        """A coroutine can be disturbed in every way: its finally block has always run, and nothing is left."""
        logs: list[list[str]] = []

        def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            logs.append([])
            req = coroutine_send(mem_ctx, ev, self.works(ev, logs[-1]))
            assert req is not None
            return req

        def finish(req: tevent_req) -> None:
            try:
                assert coroutine_recv(req) == 5
            except (Cancelled, TimeoutError):
                pass

        result = sweep(start, finish, recv=coroutine_recv)
        assert result.steps == 3
        assert len(logs) == len(result.cases)
        assert all(log in (["done", "left"], ["left"]) for log in logs)

    def test_cancelled(self) -> None:
        """Whenever it is cancelled, the coroutine sees it, and may do something else that takes time."""

        async def stubborn(ev: tevent_context) -> str:
            owner = talloc_new(None)
            try:
                await sleep(owner, ev, 1)
                await sleep(owner, ev, 1)
                return "done"
            except Cancelled:
                await sleep(owner, ev, 1)
                return "cancelled"
            finally:
                TALLOC_FREE(owner)

        def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            req = coroutine_send(mem_ctx, ev, stubborn(ev))
            assert req is not None
            return req

        def finish(req: tevent_req) -> None:
            results.append(coroutine_recv(req))

        results: list[str] = []
        assert sweep_cancel(start, finish).steps == 2
        assert results == ["done"] * 3 + ["cancelled"] * 2

    def test_freed_under_it(self) -> None:
        """A coroutine whose request is freed by somebody else is told so at any step."""

        async def waits(ev: tevent_context, req: tevent_req) -> str:
            try:
                await req
            except RequestFreed:
                return "freed"
            return "done"

        def run(world: simulation) -> None:
            ev = world.context()
            pause = sleep(world.top, ev, 1)
            req = coroutine_send(world.top, ev, waits(ev, pause))
            assert req is not None
            world.deliver(ev, 1_000_000, lambda: TALLOC_FREE(pause), "somebody frees it")
            world.run()
            results.add(coroutine_recv(req))

        results: set[str] = set()
        assert explore(run).complete
        assert results == {"freed", "done"}

    def test_endtime(self) -> None:
        """An endtime ends the coroutine, in whichever order it comes together with what is waited for."""

        def run(world: simulation) -> None:
            ev = world.context()
            log: list[str] = []
            req = coroutine_send(world.top, ev, self.works(ev, log))
            assert req is not None
            tevent_req_set_endtime(req, ev, tevent_timeval_current())
            world.run()
            with pytest.raises(TimeoutError):
                coroutine_recv(req)
            assert log == ["left"]

        assert explore(run).complete


def test_cancelled_coroutine_is_an_error() -> None:
    """A coroutine that lets the cancellation through has failed with ECANCELED at every step."""
    errors: list[Any] = []

    async def waits(ev: tevent_context) -> None:
        for _ in range(3):
            req = sleep(None, ev, 1)
            try:
                await req
            finally:
                if req._talloc_chunk.obj is req:
                    TALLOC_FREE(req)

    def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
        req = coroutine_send(mem_ctx, ev, waits(ev))
        assert req is not None
        return req

    def finish(req: tevent_req) -> None:
        errors.append(req.error if req.status == 3 else 0)

    assert sweep_cancel(start, finish).steps == 3
    assert errors == [0, 0, 0] + [ECANCELED] * 3
