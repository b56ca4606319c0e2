# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The whole life of a request: made, finished at once, its callback called by the loop, its result received, freed.

Nested, three of them, each the subrequest of the one above. What others have for this: a Future with a callback, or a
Deferred; nested, each is given its result by the callback of the one below.
"""

from __future__ import annotations

import asyncio
from functools import partial

from harness import Cost, Group, Stopwatch, main, per_item, spread
from pdu import run_async

WARM_UP = 1000


def tevent_requests(count: int, depth: int) -> Cost:
    """A chain of *depth* requests; the innermost finishes at once."""
    from talloc_py import TALLOC_CTX, TALLOC_FREE, talloc_new
    from tevent import (
        tevent_context_init,
        tevent_loop_wait,
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

    def start():
        tevent_req_set_callback(foo_send(top, ev, depth), finished, None)

    def finished(req):
        nonlocal left
        if tevent_req_simple_recv_unix(req):
            raise OSError
        TALLOC_FREE(req)
        left -= 1
        if left:
            start()

    top = talloc_new(None)
    ev = tevent_context_init(top)
    left = 0

    def run(total):
        nonlocal left
        left = total
        start()
        tevent_loop_wait(ev)

    run(WARM_UP)
    return per_item(partial(run, count), count)


def asyncio_futures(count: int, depth: int, uvloop: bool = False) -> Cost:
    """A chain of Futures, each set by the callback of the one below."""

    async def measured():
        loop = asyncio.get_running_loop()
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
                done.set_result(None)

        def start():
            foo(depth).add_done_callback(finished)

        for total in (WARM_UP, count):
            left = total
            done = loop.create_future()
            watch = Stopwatch()
            start()
            await done
        return watch.cost(count)

    return run_async(measured(), uvloop=uvloop)


def twisted_deferreds(count: int, depth: int) -> Cost:
    """A chain of Deferreds, each set by the callback of the one below; the reactor fires the innermost."""
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    def foo(depth):
        deferred = Deferred()
        if depth == 1:
            reactor.callLater(0, deferred.callback, None)
            return deferred
        foo(depth - 1).addCallback(deferred.callback)
        return deferred

    def finished(_):
        nonlocal left
        left -= 1
        if left:
            start()
        else:
            following.pop()()

    def start():
        foo(depth).addCallback(finished)

    def run(total):
        nonlocal left, watch
        left = total
        watch = Stopwatch()
        start()

    def measured():
        nonlocal result
        result = watch.cost(count)
        reactor.stop()

    left = 0
    watch = result = None
    following = [measured, partial(run, count)]
    reactor.callWhenRunning(run, WARM_UP)
    reactor.run()
    return result


def units(depth: int, count: int, suffix: str) -> dict:
    """Everyone's, for so many nested ones."""
    peers = {
        "tevent": partial(tevent_requests, depth=depth),
        "asyncio": partial(asyncio_futures, depth=depth),
        "uvloop": partial(asyncio_futures, depth=depth, uvloop=True),
        "Twisted": partial(twisted_deferreds, depth=depth),
        "C libraries": ["requests", str(depth)],
    }
    return spread(peers, count, suffix)


GROUPS = [
    Group("A request and its callback", "µs of CPU each", "asyncio, Future", units(1, 100_000, ", Future")),
    Group(
        "Three nested requests",
        "µs of CPU for the three",
        "asyncio, Futures, nested",
        units(3, 50_000, ", Futures, nested"),
    ),
]

if __name__ == "__main__":
    main(__file__, __doc__, GROUPS)
