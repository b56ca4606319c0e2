# SPDX-License-Identifier: LGPL-3.0-or-later
"""The loop of the conformance checks in a simulated world."""

from __future__ import annotations

from tevent import tevent_context_set_wait_timeout, tevent_loop_once

from ._check_kit import fail, stepped_loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from talloc_py import TALLOC_CTX
    from tevent import tevent_context
    from tevent.testing import simulation

__all__ = ["simulated_loop"]

_HOUR_S = 3600
# How long the clock goes on with nothing to wait for: what arrives while nobody waits is no event.
_PATIENCE_S = 60


class simulated_loop(stepped_loop):
    """
    A `stepped_loop` that lives in a world, for `check_tstream` and `check_tdgram`.

        check_tstream(make_pair, make_loop=lambda top: simulated_loop(top, world))

    Args:
        mem_ctx: The owner of the event context.

        world: The world; waiting moves its clock.
    """

    count: int

    def __init__(self, mem_ctx: TALLOC_CTX | None, world: simulation) -> None:
        self.world: simulation = world
        self._idle_s: int = 0
        self._waits_for: str = ""
        super().__init__(mem_ctx)

    def make_context(self, mem_ctx: TALLOC_CTX | None) -> tevent_context:
        """A context of the world."""
        return self.world.context(mem_ctx)

    def turn(self) -> bool:
        """One `tevent_loop_once`; False where there is nothing to do at this time."""
        busy = super().turn()
        if busy:
            self._idle_s = 0
        return busy

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Turn, and let the clock go on, until *condition* holds; the world limits how long."""
        self._waits_for = what
        while not condition():
            if not self.turn():
                self.wait()

    def wait(self) -> None:
        """One turn that waits for whatever comes next; a check fails where nothing comes any more."""
        tevent_context_set_wait_timeout(self.ev, _HOUR_S)
        try:
            if tevent_loop_once(self.ev) == 0:
                self.count += 1
                return
        finally:
            tevent_context_set_wait_timeout(self.ev, 0)
        if self._idle_s >= _PATIENCE_S:
            fail(f"did not happen, and nothing is left that could: {self._waits_for}")
        self._idle_s += 1
        self.world.advance(1_000_000)
