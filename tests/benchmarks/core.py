# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The parts below the streams: requests, immediates, timers, the tree of chunks, the import.

Each is set against what asyncio does for the same purpose: a request against a Future with a callback, an immediate
against ``call_soon``, a timer against ``call_later``.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile

from harness import main, per_item

# -- requests ---------------------------------------------------------------------------------------------------------


def tevent_requests(count: int, depth: int) -> float:
    """A chain of *depth* requests, each the subrequest of the one above; the innermost finishes at once."""
    from talloc_py import TALLOC_CTX, TALLOC_FREE, talloc_new
    from tevent import (
        tevent_context_init,
        tevent_loop_once,
        tevent_req,
        tevent_req_callback_data,
        tevent_req_create,
        tevent_req_data,
        tevent_req_done,
        tevent_req_nomem,
        tevent_req_post,
        tevent_req_set_callback,
        tevent_req_simple_recv_unix,
    )

    class foo_state(TALLOC_CTX):
        value: int

    def foo_send(mem_ctx, ev, depth):
        req, state = tevent_req_create(mem_ctx, foo_state)
        if req is None:
            return None
        state.value = depth
        if depth == 1:
            tevent_req_done(req)
            return tevent_req_post(req, ev)
        subreq = foo_send(state, ev, depth - 1)
        if tevent_req_nomem(subreq, req):
            return tevent_req_post(req, ev)
        tevent_req_set_callback(subreq, foo_done, req)
        return req

    def foo_done(subreq):
        req = tevent_req_callback_data(subreq, tevent_req)
        state = tevent_req_data(req, foo_state)
        err = tevent_req_simple_recv_unix(subreq)
        TALLOC_FREE(subreq)
        if err:
            raise OSError(err)
        state.value += 1
        tevent_req_done(req)

    def finished(req):
        nonlocal left
        if tevent_req_simple_recv_unix(req):
            raise OSError
        TALLOC_FREE(req)
        left -= 1

    top = talloc_new(None)
    ev = tevent_context_init(top)
    left = 0

    def run(total):
        nonlocal left
        left = total
        while left:
            tevent_req_set_callback(foo_send(top, ev, depth), finished, None)
            tevent_loop_once(ev)

    run(1000)
    result = per_item(lambda: run(count), count)
    TALLOC_FREE(top)
    return result


def asyncio_futures(count: int, depth: int) -> float:
    """A chain of Futures, each set by the callback of the one below."""
    loop = asyncio.new_event_loop()
    left = 0

    def foo(depth):
        future = loop.create_future()
        if depth == 1:
            future.set_result(None)
            return future
        below = foo(depth - 1)
        below.add_done_callback(lambda below: future.set_result(below.result()))
        return future

    def finished(future):
        nonlocal left
        future.result()
        left -= 1
        if left:
            start()
        else:
            loop.stop()

    def start():
        foo(depth).add_done_callback(finished)

    def run(total):
        nonlocal left
        left = total
        loop.call_soon(start)
        loop.run_forever()

    run(1000)
    result = per_item(lambda: run(count), count)
    loop.close()
    return result


# -- immediates -------------------------------------------------------------------------------------------------------


def tevent_immediates(count: int) -> float:
    """An immediate that schedules itself again."""
    from talloc_py import TALLOC_FREE, talloc_new
    from tevent import tevent_context_init, tevent_create_immediate, tevent_loop_once, tevent_schedule_immediate

    top = talloc_new(None)
    ev = tevent_context_init(top)
    im = tevent_create_immediate(top)
    left = 0

    def again(ev, im, private_data):
        nonlocal left
        left -= 1
        tevent_schedule_immediate(im, ev, again, private_data)

    def run(total):
        nonlocal left
        left = total
        while left > 0:
            tevent_loop_once(ev)

    tevent_schedule_immediate(im, ev, again, None)
    run(1000)
    result = per_item(lambda: run(count), count)
    TALLOC_FREE(top)
    return result


def asyncio_call_soon(count: int) -> float:
    """A callback that calls itself soon."""
    loop = asyncio.new_event_loop()
    left = 0

    def again():
        nonlocal left
        left -= 1
        if left > 0:
            loop.call_soon(again)
        else:
            loop.stop()

    def run(total):
        nonlocal left
        left = total
        loop.call_soon(again)
        loop.run_forever()

    run(1000)
    result = per_item(lambda: run(count), count)
    loop.close()
    return result


# -- timers -----------------------------------------------------------------------------------------------------------


def scattered(count: int) -> list[int]:
    """Microseconds in no order, the same ones each time."""
    return [n * 7919 % 1_000_003 for n in range(count)]


def tevent_timers_cancelled(count: int) -> float:
    """*count* timers pending at once, then all cancelled in the order of making."""
    from talloc_py import TALLOC_FREE, talloc_new
    from tevent import tevent_add_timer, tevent_context_init, tevent_timeval_add, tevent_timeval_current

    top = talloc_new(None)
    ev = tevent_context_init(top)
    start = tevent_timeval_current()
    offsets = scattered(count)

    def work():
        timers = [tevent_add_timer(ev, top, tevent_timeval_add(start, 1000, usecs), print, None) for usecs in offsets]
        for timer in timers:
            TALLOC_FREE(timer)

    result = per_item(work, count)
    TALLOC_FREE(top)
    return result


def tevent_timers_fired(count: int) -> float:
    """*count* timers in the past, all run."""
    from talloc_py import TALLOC_FREE, talloc_new
    from tevent import tevent_add_timer, tevent_context_init, tevent_loop_once, timeval

    top = talloc_new(None)
    ev = tevent_context_init(top)
    offsets = scattered(count)
    left = count

    def fired(ev, te, current_time, private_data):
        nonlocal left
        left -= 1

    def work():
        for usecs in offsets:
            tevent_add_timer(ev, top, timeval(1, usecs % 1_000_000), fired, None)
        while left:
            tevent_loop_once(ev)

    result = per_item(work, count)
    TALLOC_FREE(top)
    return result


def asyncio_timers_cancelled(count: int) -> float:
    """The same with ``call_at`` and ``cancel``."""
    loop = asyncio.new_event_loop()
    start = loop.time() + 1000
    offsets = scattered(count)

    def work():
        timers = [loop.call_at(start + usecs / 1e6, print) for usecs in offsets]
        for timer in timers:
            timer.cancel()
        # A cancelled timer is taken off the heap by the loop.
        loop.call_soon(loop.stop)
        loop.run_forever()

    result = per_item(work, count)
    loop.close()
    return result


def asyncio_timers_fired(count: int) -> float:
    """The same with times in the past."""
    loop = asyncio.new_event_loop()
    start = loop.time() - 1000
    offsets = scattered(count)
    left = count

    def fired():
        nonlocal left
        left -= 1
        if not left:
            loop.stop()

    def work():
        for usecs in offsets:
            loop.call_at(start + usecs / 1e6, fired)
        loop.run_forever()

    result = per_item(work, count)
    loop.close()
    return result


# -- chunks -----------------------------------------------------------------------------------------------------------


def build_tree(top, count: int) -> None:
    """A tree of *count* structures, ten children each."""
    from talloc_py import TALLOC_CTX, talloc

    class node(TALLOC_CTX):
        __slots__ = ()

    level = [top]
    while count > 0:
        following = []
        for parent in level:
            for _ in range(min(10, count)):
                following.append(talloc(parent, node))
            count -= 10
            if count <= 0:
                break
        level = following


def talloc_tree_built(count: int) -> float:
    """Creation only."""
    from talloc_py import talloc_free, talloc_new

    top = talloc_new(None)
    result = per_item(lambda: build_tree(top, count), count)
    talloc_free(top)
    return result


def talloc_tree_freed(count: int) -> float:
    """The free of the whole tree by one call."""
    from talloc_py import talloc_free, talloc_new

    top = talloc_new(None)
    build_tree(top, count)
    return per_item(lambda: talloc_free(top), count)


def python_objects_built(count: int) -> float:
    """The same number of plain objects, each in the list of its parent."""

    class Node:
        __slots__ = ("children", "parent")

        def __init__(self, parent):
            self.children = []
            self.parent = parent
            if parent is not None:
                parent.children.append(self)

    def work():
        level = [Node(None)]
        left = count
        while left > 0:
            following = []
            for parent in level:
                following.extend(Node(parent) for _ in range(min(10, left)))
                left -= 10
                if left <= 0:
                    break
            level = following

    return per_item(work, count)


# -- import -----------------------------------------------------------------------------------------------------------


def import_time(count: int, module: str) -> float:
    """The CPU time that importing *module*, compiled before, adds to a fresh interpreter."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)

        def children() -> float:
            times = os.times()
            return times.children_user + times.children_system

        def once(code: str) -> float:
            begin = children()
            subprocess.run([sys.executable, "-S", "-c", code], check=True, env=environment)
            return children() - begin

        for code in ("pass", f"import {module}"):
            once(code)
        return sum(once(f"import {module}") - once("pass") for _ in range(count)) / count * 1e6


UNITS = {
    "tevent_req": (lambda count: tevent_requests(count, 1), 100_000),
    "asyncio Future": (lambda count: asyncio_futures(count, 1), 100_000),
    "tevent_req, nested": (lambda count: tevent_requests(count, 3), 50_000),
    "asyncio Future, nested": (lambda count: asyncio_futures(count, 3), 50_000),
    "tevent_immediate": (tevent_immediates, 300_000),
    "call_soon": (asyncio_call_soon, 300_000),
    "talloc, built": (talloc_tree_built, 100_000),
    "talloc, freed": (talloc_tree_freed, 100_000),
    "plain objects": (python_objects_built, 100_000),
    "import tsocket": (lambda count: import_time(count, "tsocket"), 10),
    "import asyncio": (lambda count: import_time(count, "asyncio"), 10),
}
GROUPS = {
    "A request and its callback": ("asyncio Future", ["tevent_req", "asyncio Future"]),
    "Three nested requests": ("asyncio Future, nested", ["tevent_req, nested", "asyncio Future, nested"]),
    "A chain of immediates": ("call_soon", ["tevent_immediate", "call_soon"]),
    "A tree of 100,000 chunks": ("plain objects", ["talloc, built", "talloc, freed", "plain objects"]),
    "Import of all three packages": ("import asyncio", ["import tsocket", "import asyncio"]),
}
for pending in (1_000, 10_000, 100_000):
    names = []
    for name, function in {
        "tevent_timer, cancelled": tevent_timers_cancelled,
        "call_at, cancelled": asyncio_timers_cancelled,
        "tevent_timer, fired": tevent_timers_fired,
        "call_at, fired": asyncio_timers_fired,
    }.items():
        names.append(f"{name}, {pending}")
        UNITS[names[-1]] = (function, pending)
    GROUPS[f"Timers, {pending} pending: inserted and cancelled"] = (names[1], names[:2])
    GROUPS[f"Timers, {pending} pending: inserted and fired"] = (names[3], names[2:])


if __name__ == "__main__":
    main(__file__, __doc__, UNITS, GROUPS)
