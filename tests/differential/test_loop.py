# SPDX-License-Identifier: LGPL-3.0-or-later
"""The event loop against the real library."""

from __future__ import annotations

from typing import Any

import pytest

from tevent import _sigcount, fd, poll, timed, wrapper
from tevent._timerheap import timer_queue

from .loop import AREA
from .loop_examples import EACH, FOUND
from .machine import search
from .program import Random, generate, lines, replay
from .real import Real


@pytest.mark.parametrize("name", [*FOUND, *EACH])
def test_example(real: Real, name: str) -> None:
    """What has differed once, and each kind of operation."""
    difference = replay(AREA, real, lines((FOUND | EACH)[name]))
    assert difference is None, str(difference)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(0, 100, 10))
def test_long_programs(real: Real, seed: int) -> None:
    """What the long run begins with."""
    for own_seed in range(seed, seed + 10):
        difference = generate(AREA, real, Random(own_seed))[1]
        assert difference is None, str(difference)


@pytest.mark.slow
def test_any_program(real: Real) -> None:
    """What Hypothesis thinks of."""
    search(AREA, real, programs=15, lines=25)


def without_zero_rule(queue: timer_queue, te: Any, sec: int, usec: int, zero_rule: bool) -> None:
    """Be timer_queue.add() for somebody who has not heard of the rule for zero timers."""
    add(queue, te, sec, usec, False)


def leave(glue: wrapper.wrapper_glue, *_: object) -> None:
    """Be wrapper_glue.after() without its call of the wrapper."""
    glue.leave()


add = timer_queue.add
MISTAKES: dict[str, tuple[Any, str, Any, str]] = {
    "the first event stays the first": (poll.fd_table, "demote", lambda *_: None, "the order of poll"),
    "signals from before": (_sigcount, "look", lambda: None, "what came before the first event of a number"),
    "an event that goes unseen": (fd, "tevent_trace_fd_callback", lambda *_: None, "who looks on"),
    "zero timers like others": (timer_queue, "add", without_zero_rule, "zero timers"),
    "an end that is not told": (timed, "_see_off", lambda *_: None, "who looks on"),
    "a wrapper that hears only half": (wrapper.wrapper_glue, "after", leave, "wrappers"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_difference_is_found(real: Real, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A program that shows a mistake in the package fails."""
    where, attribute, wrong, example = MISTAKES[name]
    monkeypatch.setattr(where, attribute, wrong)
    difference = replay(AREA, real, lines((FOUND | EACH)[example]))
    assert difference is not None
    # It is the mistake that shows, and not that it was badly made.
    assert not [text for text in difference.python if text.startswith("raised")]
