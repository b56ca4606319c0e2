# SPDX-License-Identifier: LGPL-3.0-or-later
"""Requests, queues, wakeups and profiles against the real library."""

from __future__ import annotations

import pytest

from tevent import req as requests

from .machine import search
from .program import Random, generate, lines, replay
from .real import Real
from .requests import AREA
from .requests_examples import EACH, FOUND


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


def test_a_difference_is_found(real: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that shows a mistake in the packages fails."""
    monkeypatch.setattr(requests, "finish_again", lambda req: None)
    difference = replay(AREA, real, lines(EACH["posting"]))
    assert difference is not None
    assert "callback r0 1 1 0 right" in difference.real
