# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Immediates and timers.

A chain of immediates: each schedules the next.
Timers: so many pending at once, their times in no order, relative to the moment at which each is made, as users make
them; then all cancelled in the order of making, or all run.
They are run when all are due; the time until then is not counted.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from functools import partial

from harness import Cost, Group, Stopwatch, main, per_item, spread
from pdu import run_async

WARM_UP = 1000


class Meter:
    """Adds up several pieces of work, and leaves out what lies between them."""

    def __init__(self) -> None:
        self.cpu = self.wall = 0.0

    def __enter__(self) -> None:
        self.watch = Stopwatch()

    def __exit__(self, *_: object) -> None:
        cost = self.watch.cost(1)
        self.cpu += cost.cpu
        self.wall += cost.wall

    def cost(self, count: int) -> Cost:
        return Cost(self.cpu / count, self.wall / count)


# -- immediates -------------------------------------------------------------------------------------------------------


def tevent_immediates(count: int) -> Cost:
    """An immediate that schedules itself again; the loop is told each turn."""
    from talloc_py import talloc_new
    from tevent import tevent_context_init, tevent_create_immediate, tevent_loop_once, tevent_schedule_immediate

    top = talloc_new(None)
    ev = tevent_context_init(top)
    im = tevent_create_immediate(top)
    left = 0

    def again(ev, im, private_data):
        nonlocal left
        left -= 1
        if left:
            tevent_schedule_immediate(im, ev, again, private_data)

    def run(total):
        nonlocal left
        left = total
        tevent_schedule_immediate(im, ev, again, None)
        while left:
            tevent_loop_once(ev)

    run(WARM_UP)
    return per_item(partial(run, count), count)


def tevent_immediates_wait(count: int) -> Cost:
    """The same under `tevent_loop_wait`, which ends when there is nothing to do."""
    from talloc_py import talloc_new
    from tevent import tevent_context_init, tevent_create_immediate, tevent_loop_wait, tevent_schedule_immediate

    top = talloc_new(None)
    ev = tevent_context_init(top)
    im = tevent_create_immediate(top)
    left = 0

    def again(ev, im, private_data):
        nonlocal left
        left -= 1
        if left:
            tevent_schedule_immediate(im, ev, again, private_data)

    def run(total):
        nonlocal left
        left = total
        tevent_schedule_immediate(im, ev, again, None)
        tevent_loop_wait(ev)

    run(WARM_UP)
    return per_item(partial(run, count), count)


def asyncio_call_soon(count: int, uvloop: bool = False) -> Cost:
    """A callback that calls itself soon."""

    async def measured():
        loop = asyncio.get_running_loop()
        left = 0

        def again():
            nonlocal left
            left -= 1
            if left:
                loop.call_soon(again)
            else:
                done.set_result(None)

        for total in (WARM_UP, count):
            left = total
            done = loop.create_future()
            watch = Stopwatch()
            loop.call_soon(again)
            await done
        return watch.cost(count)

    return run_async(measured(), uvloop=uvloop)


def trio_checkpoints(count: int) -> Cost:
    """A task that lets others run; Trio has no bare callbacks."""
    import trio

    async def measured():
        for total in (WARM_UP, count):
            watch = Stopwatch()
            for _ in range(total):
                await trio.lowlevel.checkpoint()
        return watch.cost(count)

    return trio.run(measured)


def twisted_call_later_0(count: int) -> Cost:
    """``reactor.callLater(0, ...)``."""
    from twisted.internet import reactor

    def again():
        nonlocal left
        left -= 1
        if left:
            reactor.callLater(0, again)
        else:
            totals.pop()()

    def run(total):
        nonlocal left, watch
        left = total
        watch = Stopwatch()
        reactor.callLater(0, again)

    def measured():
        nonlocal result
        result = watch.cost(count)
        reactor.stop()

    left = 0
    watch = result = None
    totals = [measured, partial(run, count)]
    reactor.callWhenRunning(run, WARM_UP)
    reactor.run()
    return result


# -- timers -----------------------------------------------------------------------------------------------------------


def scattered(count: int) -> list[int]:
    """Microseconds in no order, the same ones each time: up to five for each timer."""
    return [n * 7919 % 500_009 % (5 * count) for n in range(count)]


def repetitions(count: int) -> int:
    """Few timers are made more than once, so that there is something to measure."""
    return max(1, math.isqrt(1_000_000 // count))


def wait_until_due(count: int) -> None:
    """All of `scattered`, in loops that count in milliseconds, too."""
    time.sleep(5 * count / 1e6 + 0.003)


def sizes(count: int) -> list[int]:
    """What is done: a thousand timers to warm up, then the number asked for, several times."""
    return [1000] + [count] * repetitions(count)


def total_cost(costs: list[Cost]) -> Cost:
    """The mean of all but the first, which is the warm-up."""
    return Cost(*(sum(values) / (len(costs) - 1) for values in zip(*costs[1:], strict=True)))


def tevent_timers_cancelled(count: int) -> Cost:
    """`tevent_add_timer` and `TALLOC_FREE`."""
    from talloc_py import TALLOC_FREE, talloc_new
    from tevent import tevent_add_timer, tevent_context_init, tevent_timeval_current_ofs

    top = talloc_new(None)
    ev = tevent_context_init(top)

    def work(offsets):
        timers = [tevent_add_timer(ev, top, tevent_timeval_current_ofs(1000, usecs), print, None) for usecs in offsets]
        for timer in timers:
            TALLOC_FREE(timer)

    return total_cost([per_item(partial(work, scattered(size)), size) for size in sizes(count)])


def tevent_timers_fired(count: int) -> Cost:
    """`tevent_add_timer`, and a loop until all have run."""
    from talloc_py import talloc_new
    from tevent import tevent_add_timer, tevent_context_init, tevent_loop_wait, tevent_timeval_current_ofs

    top = talloc_new(None)
    ev = tevent_context_init(top)
    left = 0

    def fired(ev, te, current_time, private_data):
        nonlocal left
        left -= 1

    def work(size):
        nonlocal left
        left = size
        offsets = scattered(size)
        meter = Meter()
        with meter:
            for usecs in offsets:
                tevent_add_timer(ev, top, tevent_timeval_current_ofs(0, usecs), fired, None)
        wait_until_due(size)
        with meter:
            tevent_loop_wait(ev)
        assert not left
        return meter.cost(size)

    return total_cost([work(size) for size in sizes(count)])


def asyncio_timers_cancelled(count: int, uvloop: bool = False) -> Cost:
    """``call_later`` and ``cancel``."""

    async def measured():
        loop = asyncio.get_running_loop()

        async def work(size):
            offsets = scattered(size)
            watch = Stopwatch()
            timers = [loop.call_later(1000 + usecs / 1e6, print) for usecs in offsets]
            for timer in timers:
                timer.cancel()
            # A cancelled timer is taken off the heap by the loop.
            await asyncio.sleep(0)
            return watch.cost(size)

        return total_cost([await work(size) for size in sizes(count)])

    return run_async(measured(), uvloop=uvloop)


def asyncio_timers_fired(count: int, uvloop: bool = False) -> Cost:
    """``call_later``, and a loop until all have run."""

    async def measured():
        loop = asyncio.get_running_loop()
        left = 0

        def fired():
            nonlocal left
            left -= 1
            if not left:
                done.set_result(None)

        async def work(size):
            nonlocal left, done
            left = size
            done = loop.create_future()
            offsets = scattered(size)
            meter = Meter()
            with meter:
                for usecs in offsets:
                    loop.call_later(usecs / 1e6, fired)
            wait_until_due(size)
            with meter:
                await done
            return meter.cost(size)

        done = None
        return total_cost([await work(size) for size in sizes(count)])

    return run_async(measured(), uvloop=uvloop)


def twisted_timers(count: int, work: Callable) -> Cost:
    """Run *work*, a coroutine function of the reactor and a size that returns a cost, under Twisted."""
    from twisted.internet import reactor
    from twisted.internet.defer import ensureDeferred

    costs = []

    async def all_of_it():
        for size in sizes(count):
            costs.append(await work(reactor, size))
        reactor.stop()

    reactor.callWhenRunning(lambda: ensureDeferred(all_of_it()).addErrback(lambda failure: failure.printTraceback()))
    reactor.run()
    return total_cost(costs)


async def twisted_cancelled(reactor, size: int) -> Cost:
    """``callLater`` and ``cancel``."""
    from twisted.internet.task import deferLater

    offsets = scattered(size)
    watch = Stopwatch()
    timers = [reactor.callLater(1000 + usecs / 1e6, print) for usecs in offsets]
    for timer in timers:
        timer.cancel()
    await deferLater(reactor, 0)
    return watch.cost(size)


async def twisted_fired(reactor, size: int) -> Cost:
    """``callLater``, and a loop until all have run."""
    from twisted.internet.defer import Deferred

    left = size
    done: Deferred = Deferred()

    def fired():
        nonlocal left
        left -= 1
        if not left:
            done.callback(None)

    offsets = scattered(size)
    meter = Meter()
    with meter:
        for usecs in offsets:
            reactor.callLater(usecs / 1e6, fired)
    wait_until_due(size)
    with meter:
        await done
    return meter.cost(size)


TIMERS: dict[str, dict[str, Callable]] = {
    "cancelled": {
        "tevent": tevent_timers_cancelled,
        "asyncio": asyncio_timers_cancelled,
        "uvloop": partial(asyncio_timers_cancelled, uvloop=True),
        "Twisted": partial(twisted_timers, work=twisted_cancelled),
    },
    "fired": {
        "tevent": tevent_timers_fired,
        "asyncio": asyncio_timers_fired,
        "uvloop": partial(asyncio_timers_fired, uvloop=True),
        "Twisted": partial(twisted_timers, work=twisted_fired),
    },
}


def timer_group(how: str, pending: int) -> Group:
    """The units for one number of timers."""
    suffix = f", {how}, {pending}"
    peers: dict = dict(TIMERS[how])
    # C's list is searched from its end for each timer: 1e5 of them would take minutes.
    if pending <= 10_000:
        peers["C libraries"] = ["timers", how]
    return Group(
        f"Timers, {pending:,} inserted and {how}",
        "µs of CPU a timer",
        "asyncio" + suffix,
        spread(peers, pending, suffix),
    )


GROUPS = [
    Group(
        "A chain of immediates",
        "µs of CPU each",
        "asyncio, call_soon",
        spread({"tevent": tevent_immediates}, 300_000, ", immediates")
        | spread({"tevent": tevent_immediates_wait}, 300_000, ", immediates in tevent_loop_wait")
        | spread(
            {"asyncio": asyncio_call_soon, "uvloop": partial(asyncio_call_soon, uvloop=True)}, 300_000, ", call_soon"
        )
        | spread({"Trio": trio_checkpoints}, 100_000, ", checkpoint")
        | spread({"Twisted": twisted_call_later_0}, 100_000, ", callLater(0)")
        | spread({"C libraries": ["immediates"]}, 300_000, ", immediates"),
    ),
    *(timer_group(how, pending) for pending in (1_000, 10_000, 100_000) for how in TIMERS),
]

if __name__ == "__main__":
    main(__file__, __doc__, GROUPS)
