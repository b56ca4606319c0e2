# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What the conformance checks of streams and datagrams have in common: a loop stepped by hand, and words for a failure.

Nothing here sleeps, and nothing is decided by time but that a check that waits in vain ends at last.  The checks do
not use ``assert``: they must not vanish under ``python -O``, and say what they saw without a test runner's help.
"""

from __future__ import annotations

import time
from errno import EAGAIN

from talloc_py import TALLOC_CTX, talloc_free, talloc_new
from tevent import (
    get_errno,
    tevent_context_init,
    tevent_context_set_wait_timeout,
    tevent_loop_once,
    tevent_queue_create,
    tevent_req_is_in_progress,
    tevent_req_set_callback,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from tevent import tevent_context, tevent_queue, tevent_req

__all__ = ["outcome", "stepped_loop"]

# How long a check waits for something that must come, in seconds: only a backend that fails takes so long.
_PATIENCE = 20.0
_TURNS_MAX = 5000


def fail(what: str) -> NoReturn:
    """The check has failed."""
    raise AssertionError(what)


def holds(condition: object, what: str) -> None:
    """*what* says what is wrong where *condition* does not hold."""
    if not condition:
        fail(what)


def equal(got: object, wanted: object, what: str) -> None:
    """*what* names the thing that is *got* and should be *wanted*."""
    if got != wanted:
        fail(f"{what}: {short(got)}, should be {short(wanted)}")


def short(thing: object) -> str:
    """The repr of something that may be megabytes."""
    text = repr(thing)
    return text if len(text) <= 200 else f"{text[:150]}... ({len(text)} characters)"


def grow(buf: bytearray) -> None:
    """Resize *buf*, which nobody may hold any more."""
    try:
        buf.append(0)
    except BufferError:
        fail("the buffer is still held")


class outcome:
    """
    What the callback of one request saw, each time it ran.

    Attributes:
        turns: The turn of the loop, once a call.

        results: What the ``_recv`` function returned, once a call; None where there was none.
    """

    def __init__(self, what: str) -> None:
        self.what: str = what
        self.turns: list[int] = []
        self.results: list[Any] = []

    @property
    def calls(self) -> int:
        """How often the callback ran."""
        return len(self.turns)

    @property
    def result(self) -> Any:
        """The result of the only call; the check fails if there was none or more than one."""
        equal(self.calls, 1, f"callbacks of a {self.what}")
        return self.results[0]

    @property
    def turn(self) -> int:
        """The turn of the only call."""
        equal(self.calls, 1, f"callbacks of a {self.what}")
        return self.turns[0]


class stepped_loop:
    """
    An event context that is stepped turn by turn and does not wait unless told to.

    A simulated world derives from it: it gives its own context, and its `wait` moves its own clock.

    Attributes:
        ev: The event context.

        count: The turns so far.
    """

    def __init__(self, mem_ctx: TALLOC_CTX | None) -> None:
        self.ev: tevent_context = self.make_context(mem_ctx)
        self.count: int = 0
        tevent_context_set_wait_timeout(self.ev, 0)

    def make_context(self, mem_ctx: TALLOC_CTX | None) -> tevent_context:
        """The event context, made below *mem_ctx*."""
        ev = tevent_context_init(mem_ctx)
        if ev is None:
            fail("no event context could be made")
        return ev

    def turn(self) -> bool:
        """One `tevent_loop_once`; False where there was nothing to do."""
        self.count += 1
        if tevent_loop_once(self.ev) == 0:
            return True
        equal(get_errno(), EAGAIN, "errno of tevent_loop_once()")
        self.count -= 1
        return False

    def settle(self) -> None:
        """Turn until there is nothing to do; a loop that spins fails."""
        for _ in range(_TURNS_MAX):
            if not self.turn():
                return
        fail(f"the loop is still busy after {_TURNS_MAX} turns with nothing going on")

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Turn, waiting for events, until *condition* holds; *what* says what did not happen."""
        end = time.monotonic() + _PATIENCE
        while not condition():
            holds(time.monotonic() < end, f"did not happen: {what}")
            if not self.turn():
                self.wait()

    def wait(self) -> None:
        """One turn that waits for an event, a second at most."""
        tevent_context_set_wait_timeout(self.ev, 1)
        try:
            tevent_loop_once(self.ev)
            self.count += 1
        finally:
            tevent_context_set_wait_timeout(self.ev, 0)

    def watch(
        self,
        req: tevent_req | None,
        what: str,
        recv: Callable[[tevent_req], object] | None = None,
        *,
        free: bool = False,
        then: Callable[[], object] | None = None,
    ) -> outcome:
        """Record the callbacks of *req*, a *what*: receive with *recv*, free it if asked to, and call *then*."""
        if req is None:
            fail(f"the _send of a {what} returned None")
        seen = outcome(what)

        def done(subreq: tevent_req) -> None:
            seen.turns.append(self.count)
            seen.results.append(None if recv is None else recv(subreq))
            if free:
                talloc_free(subreq)
            if then is not None:
                then()

        tevent_req_set_callback(req, done, seen)
        return seen

    def result_of(self, req: tevent_req | None, what: str, recv: Callable[[tevent_req], object]) -> Any:
        """What *recv* returns when *req* has ended; *req* is freed."""
        seen = self.watch(req, what, recv, free=True)
        self.until(lambda: seen.calls, f"the end of a {what}")
        return seen.result

    def refused(self, req: tevent_req | None, what: str, recv: Callable[[tevent_req], Any], error: int) -> None:
        """*req* must have failed with *error* inside ``_send``, and call back from the loop."""
        seen = self.watch(req, what, recv, free=True)
        holds(req is not None and not tevent_req_is_in_progress(req), f"a {what} that is refused is still in progress")
        equal(seen.calls, 0, f"callbacks of a {what} inside its _send")
        self.turn()
        equal(seen.result[:2], (-1, error), f"result of a {what} that is refused")


def new_queue(mem_ctx: TALLOC_CTX, name: str) -> tevent_queue:
    """A queue below *mem_ctx*."""
    queue = tevent_queue_create(mem_ctx, name)
    return fail("tevent_queue_create() returned None") if queue is None else queue


def run_check(
    check: Callable[..., None], run: Callable[..., None], make_pair: Callable[..., Any], make_loop: Callable[..., Any]
) -> None:
    """
    Call *run*, which runs *check*, with an owner, a loop and a fresh pair; all of it is freed at the end.

    Raises:
        AssertionError: The check failed; the message begins with its name and sentence.
    """
    top = talloc_new(None)
    if top is None:
        fail("talloc_new() returned None")
    try:
        loop = make_loop(top)
        run(top, loop, *make_pair(loop.ev, top))
    except AssertionError as error:
        raise AssertionError(f"{check.__name__} ({_sentence(check)}): {error}") from error
    except Exception as error:
        error.add_note(f"in the check {check.__name__} ({_sentence(check)})")
        raise
    finally:
        talloc_free(top)


def _sentence(check: Callable[..., None]) -> str:
    return (check.__doc__ or "").strip().split("\n\n")[0].rstrip(".")
