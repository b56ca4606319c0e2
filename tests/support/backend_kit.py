# SPDX-License-Identifier: LGPL-3.0-or-later
"""Contexts of every backend, pipes that are closed, and what else the tests of backends, signals and threads share."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from talloc_py import talloc_free
from tevent import (
    tevent_context_init_byname,
    tevent_loop_once,
    tevent_set_abort_fn,
    tevent_set_debug,
    tevent_set_max_debug_level,
)
from tevent._sigcount import state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tevent import tevent_context

BACKENDS = ("standard", "epoll", "poll", "poll_mt", "selectors")


@contextmanager
def context(name: str | None = None) -> Iterator[tevent_context]:
    """A context that is freed at the end, unless that is done already."""
    ev = tevent_context_init_byname(None, name)
    assert ev is not None
    try:
        yield ev
    finally:
        if not ev.gone:
            talloc_free(ev)


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe, closed at the end as far as it is still open."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    try:
        yield reader, writer
    finally:
        for fd in (reader, writer):
            try:
                os.close(fd)
            except OSError:
                pass


def loop_until(ev: tevent_context, happened: Callable[[], object], most: int = 100) -> None:
    """Iterate until something has happened; how often the internal wakeup has to be emptied meanwhile is nobody's
    business, but a hundred iterations are enough for anything.
    """
    for _ in range(most):
        if happened():
            return
        assert tevent_loop_once(ev) == 0
    raise AssertionError("it has not happened")


def forget_signals() -> None:
    """Drop the occurrences that nobody was told of: they would reach the next event of their number, in any test."""
    state.seen.update(state.total)
    state.dirty.clear()


@contextmanager
def aborts() -> Iterator[list[str]]:
    """Let the abort function return and collect the reasons."""
    reasons: list[str] = []
    tevent_set_abort_fn(reasons.append)
    try:
        yield reasons
    finally:
        tevent_set_abort_fn(None)


def debug_of(ev: tevent_context, max_level: int = 3) -> list[tuple[int, str]]:
    """Collect the debug messages of a context up to a level."""
    seen: list[tuple[int, str]] = []
    tevent_set_debug(ev, lambda _context, level, fmt, ap: seen.append((int(level), fmt % ap)), None)
    tevent_set_max_debug_level(ev, max_level)
    return seen
