# SPDX-License-Identifier: LGPL-3.0-or-later
"""Helpers of the event loop tests: recorders, a clock set by hand, turns of a loop that never wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from talloc_py import TALLOC_CTX
from tevent import _sys as tevent_sys
from tevent import (
    get_errno,
    set_errno,
    tevent_context,
    tevent_context_init_byname,
    tevent_context_set_wait_timeout,
    tevent_context_wrapper_create,
    tevent_loop_once,
    tevent_wrapper_ops,
)

if TYPE_CHECKING:
    import pytest

#: As errno: something that no call sets.
UNTOUCHED = 4711


def wrapper_of(main: tevent_context) -> tevent_context:
    """A wrapper around *main* that does nothing of its own."""
    names = [
        f"{when}_{kind}_handler" for when in ("before", "after") for kind in ("fd", "timer", "immediate", "signal")
    ]
    ops = tevent_wrapper_ops(
        name="plain",
        before_use=lambda *_: True,
        after_use=lambda *_: None,
        **{name: lambda *_: None for name in names},
    )
    wrapper, _ = tevent_context_wrapper_create(main, main, ops, TALLOC_CTX)
    assert wrapper is not None
    return wrapper


class Failure(Exception):
    """What a handler of a test raises."""


def context(mem_ctx: TALLOC_CTX | None, backend: str | None = "epoll", wait: int | None = 0) -> tevent_context:
    """A context whose iterations do not wait where there is nothing to do, unless *wait* says otherwise."""
    ev = tevent_context_init_byname(mem_ctx, backend)
    assert ev is not None
    if wait is not None:
        tevent_context_set_wait_timeout(ev, wait)
    return ev


def turns(ev: tevent_context, count: int = 100) -> int:
    """Do iterations until nothing is left to do, *count* at most; how many did something."""
    done = 0
    for _ in range(count):
        set_errno(UNTOUCHED)
        if tevent_loop_once(ev) != 0:
            assert get_errno() == 11, "only EAGAIN says that nothing was to do"
            break
        done += 1
    return done


class Recorder:
    """Handlers of all kinds that write down how they were called."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def fd(self, ev: tevent_context, fde: Any, flags: int, private_data: Any) -> None:
        self.calls.append((private_data, flags))

    def timer(self, ev: tevent_context, te: Any, now: Any, private_data: Any) -> None:
        self.calls.append(private_data)

    def immediate(self, ev: tevent_context, im: Any, private_data: Any) -> None:
        self.calls.append(private_data)

    def close(self, ev: tevent_context | None, fde: Any, fd: int, private_data: Any) -> None:
        self.calls.append(("close", ev, fd, private_data))

    def event(self, event: Any, point: Any, private_data: Any) -> None:
        self.calls.append((private_data, point.name.removeprefix("TEVENT_EVENT_TRACE_")))

    def point(self, point: Any, private_data: Any) -> None:
        self.calls.append(point.name.removeprefix("TEVENT_TRACE_"))

    def debug(self, context: Any, level: Any, fmt: str, ap: tuple[Any, ...]) -> None:
        self.calls.append((int(level), fmt % ap))

    def take(self) -> list[Any]:
        """What was called since the last time."""
        calls, self.calls = self.calls, []
        return calls


class Clock:
    """A wall clock that stands still until somebody sets it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.us = 1_000_000_000
        self.looked = 0
        monkeypatch.setattr(tevent_sys, "time_ns", self._now)

    def _now(self) -> int:
        self.looked += 1
        return self.us * 1000
