# SPDX-License-Identifier: LGPL-3.0-or-later
"""fd events of each backend against what is readable: nobody is starved, nobody is called in vain."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talloc_py import talloc_free
from tevent import (
    tevent_add_fd,
    tevent_common_have_events,
    tevent_context_init_byname,
    tevent_context_set_wait_timeout,
    tevent_fd_get_flags,
    tevent_fd_set_flags,
    tevent_loop_once,
)
from tevent.backend import builtin_backends
from tevent.epoll import epoll_event_context

if TYPE_CHECKING:
    from tevent import tevent_context, tevent_fd

PIPES = 3
READ, WRITE = 1, 2
which = st.integers(0, 20)
#: Descriptor 2i is the read end of pipe i, 2i+1 its write end.
step = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 2 * PIPES - 1), st.integers(0, 3)),
    st.tuples(st.just("flags"), which, st.integers(0, 3)),
    st.tuples(st.just("free"), which),
    st.tuples(st.just("fill"), st.integers(0, PIPES - 1)),
    st.tuples(st.just("drain"), st.integers(0, PIPES - 1)),
    st.tuples(st.just("turn"), st.sampled_from(["nothing", "silence", "free"])),
)


class World:
    """Pipes, events on their ends, and what should be reported for each end."""

    def __init__(self, backend: str) -> None:
        self.fds = [fd for _ in range(PIPES) for fd in os.pipe()]
        self.full = [False] * PIPES
        ev = tevent_context_init_byname(None, backend)
        assert ev is not None
        self.ev = ev
        tevent_context_set_wait_timeout(ev, 0)
        self.events: list[tevent_fd] = []
        self.calls: list[tuple[tevent_fd, int]] = []
        self.then = "nothing"

    def ready(self, fde: tevent_fd) -> int:
        """What is ready and wanted."""
        end = self.fds.index(fde.fd)
        readable = READ if end % 2 == 0 and self.full[end // 2] else 0
        writeable = WRITE if end % 2 == 1 else 0
        return (readable | writeable) & tevent_fd_get_flags(fde)

    def handler(self, ev: tevent_context, fde: tevent_fd, flags: int, private_data: object) -> None:
        assert fde in self.events, "a freed event was called"
        assert flags == self.ready(fde) != 0, "called in vain"
        self.calls.append((fde, flags))
        if self.then == "silence":
            tevent_fd_set_flags(fde, 0)
        elif self.then == "free":
            self.events.remove(fde)
            assert talloc_free(fde) == -1

    def pick(self, number: int) -> tevent_fd | None:
        return self.events[number % len(self.events)] if self.events else None

    def act(self, name: str, *args: Any) -> None:
        if name == "add":
            fde = tevent_add_fd(self.ev, None, self.fds[args[0]], args[1], self.handler, None)
            assert fde is not None
            self.events.append(fde)
        elif name == "flags":
            fde = self.pick(args[0])
            if fde is not None:
                tevent_fd_set_flags(fde, args[1])
                assert tevent_fd_get_flags(fde) == args[1]
        elif name == "free":
            fde = self.pick(args[0])
            if fde is not None:
                self.events.remove(fde)
                assert talloc_free(fde) == 0
        elif name == "fill" and not self.full[args[0]]:
            os.write(self.fds[2 * args[0] + 1], b"x")
            self.full[args[0]] = True
        elif name == "drain" and self.full[args[0]]:
            os.read(self.fds[2 * args[0]], 1)
            self.full[args[0]] = False
        elif name == "turn":
            self.turn(args[0])

    def turn(self, then: str) -> None:
        """One event runs, if any is ready; iterations that only drain a wakeup do not count."""
        self.then = then
        self.calls.clear()
        due = [fde for fde in self.events if self.ready(fde)]
        for _ in range(3):
            result = tevent_loop_once(self.ev)
            if self.calls or result != 0:
                break
        assert len(self.calls) == (1 if due else 0)
        self.then = "nothing"

    def check(self) -> None:
        expected = [fde for fde in self.ev.fd_events if fde is not self.ev.wakeup_fde]
        assert set(map(id, expected)) == set(map(id, self.events))
        assert tevent_common_have_events(self.ev) == any(fde.flags for fde in self.events)
        state = self.ev.additional_data
        if isinstance(state, epoll_event_context):
            state._check_invariants()

    def nobody_starves(self) -> None:
        """Each ready event is served within as many handler calls as there are ready ones, twice over."""
        due = {id(fde) for fde in self.events if self.ready(fde)}
        served: set[int] = set()
        for _ in range(2 * len(due)):
            self.turn("nothing")
            served |= {id(fde) for fde, _ in self.calls}
        assert served == due

    def close(self) -> None:
        talloc_free(self.ev)
        for fd in self.fds:
            os.close(fd)


@pytest.mark.parametrize("backend", sorted(builtin_backends))
@settings(max_examples=60)
@given(steps=st.lists(step, max_size=30))
def test_every_ready_event_and_no_other(backend: str, steps: list[Any]) -> None:
    """Adding, changing, freeing, filling and draining in any order."""
    world = World(backend)
    try:
        for name, *args in steps:
            world.act(name, *args)
            world.check()
        world.nobody_starves()
        world.check()
    finally:
        world.close()
