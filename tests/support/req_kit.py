# SPDX-License-Identifier: LGPL-3.0-or-later
"""Helpers for tests of requests and queues: a loop that never waits, a recorder of callbacks, a look at the tree."""

from __future__ import annotations

import contextlib
import io
from errno import EAGAIN
from typing import TYPE_CHECKING, Any

from talloc_py import TALLOC_CTX, talloc_free, talloc_get_name, talloc_new, talloc_report_depth_cb
from tevent import (
    get_errno,
    tevent_context,
    tevent_context_init,
    tevent_context_set_wait_timeout,
    tevent_loop_once,
    tevent_req,
    tevent_req_create,
    tevent_req_is_error,
    tevent_req_set_callback,
    tevent_req_state,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class job_state(TALLOC_CTX):
    """State of the requests under test."""

    value: int


class other_state(TALLOC_CTX):
    """A second type of state."""

    text: str


class Bench:
    """A context whose loop never waits, an owner for the requests, and a log that every callback writes to."""

    def __init__(self) -> None:
        root = talloc_new(None)
        assert root is not None
        self.root: TALLOC_CTX = root
        ev = tevent_context_init(self.root)
        assert ev is not None
        tevent_context_set_wait_timeout(ev, 0)
        self.ev: tevent_context = ev
        self.log: list[Any] = []

    def close(self) -> None:
        """Free all that is left."""
        talloc_free(self.root)

    def turn(self) -> bool:
        """One turn of the loop; False if there was nothing to do."""
        if tevent_loop_once(self.ev) == 0:
            return True
        assert get_errno() == EAGAIN
        return False

    def drain(self) -> int:
        """Turn the loop until nothing is left to do; return how often something was."""
        turns = 0
        while self.turn():
            turns += 1
            assert turns < 10000, "the loop does not come to rest"
        return turns

    def make(self, mem_ctx: TALLOC_CTX | None = None, name: str | None = None) -> tuple[tevent_req, job_state]:
        """A request on *mem_ctx* (the bench's root by default); with a name its callback writes (name, state)."""
        req, state = tevent_req_create(self.root if mem_ctx is None else mem_ctx, job_state)
        assert req is not None
        if name is not None:
            self.watch(req, name)
        return req, state

    def watch(self, req: tevent_req, name: str) -> None:
        """Let the callback of *req* write (name, state number) to the log."""
        tevent_req_set_callback(req, self._fired, name)

    def _fired(self, req: tevent_req) -> None:
        from tevent import tevent_req_callback_data_void

        self.log.append((tevent_req_callback_data_void(req), int(state_of(req))))

    def take(self) -> list[Any]:
        """What the log holds; it is empty afterwards."""
        log, self.log = self.log, []
        return log


def state_of(req: tevent_req) -> tevent_req_state:
    """The state of *req* as its users see it."""
    failed, state, _ = tevent_req_is_error(req)
    if not failed:
        return tevent_req_state.TEVENT_REQ_DONE
    assert state is not None
    return state


def children(ptr: TALLOC_CTX) -> list[str]:
    """Names of the children of *ptr*, newest first."""
    found: list[str] = []

    def collect(child: TALLOC_CTX, depth: int, max_depth: int, is_ref: int, private_data: object) -> None:
        if depth == 1:
            found.append(talloc_get_name(child))

    talloc_report_depth_cb(ptr, 0, 1, collect, None)
    return found


def report(ptr: TALLOC_CTX) -> str:
    """The full talloc report of *ptr*."""
    from talloc_py import talloc_report_full

    out = io.StringIO()
    talloc_report_full(ptr, out)
    return out.getvalue()


@contextlib.contextmanager
def silent_aborts() -> Iterator[list[str]]:
    """Abort functions that only note the reason and return, as a program may install them."""
    from talloc_py import talloc_set_abort_fn
    from tevent import tevent_set_abort_fn

    reasons: list[str] = []
    talloc_set_abort_fn(reasons.append)
    tevent_set_abort_fn(reasons.append)
    try:
        yield reasons
    finally:
        talloc_set_abort_fn(None)
        tevent_set_abort_fn(None)


def opened() -> Iterator[Bench]:
    """Body of a fixture: a bench for one test."""
    bench = Bench()
    yield bench
    bench.close()
