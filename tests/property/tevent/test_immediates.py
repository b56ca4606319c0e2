# SPDX-License-Identifier: LGPL-3.0-or-later
"""Immediates against a plain list: any mix of scheduling, cancelling, freeing and running, also from handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from talloc_py import talloc_free, talloc_new
from tevent import (
    tevent_context_init_byname,
    tevent_context_set_wait_timeout,
    tevent_create_immediate,
    tevent_loop_once,
    tevent_loop_wait,
    tevent_reset_immediate,
    tevent_schedule_immediate,
    tevent_set_trace_immediate_callback,
)

if TYPE_CHECKING:
    from tevent import tevent_context, tevent_immediate

COUNT = 4
action = st.one_of(
    st.tuples(st.just("schedule"), st.integers(0, COUNT - 1), st.integers(0, 1)),
    st.tuples(st.sampled_from(["cancel", "reset", "free"]), st.integers(0, COUNT - 1)),
)
step = st.one_of(action, st.tuples(st.just("turn"), st.integers(0, 1), st.lists(action, max_size=3)))


class World:
    """Two contexts and some immediates, beside the lists that they should amount to."""

    def __init__(self, traced: bool) -> None:
        top = talloc_new(None)
        assert top is not None
        self.top = top
        self.evs: list[tevent_context] = []
        for _ in range(2):
            ev = tevent_context_init_byname(self.top, "epoll")
            assert ev is not None
            tevent_context_set_wait_timeout(ev, 0)
            if traced:
                tevent_set_trace_immediate_callback(ev, self.trace, None)
            self.evs.append(ev)
        self.ims: list[tevent_immediate] = []
        for _ in range(COUNT):
            im = tevent_create_immediate(self.top)
            assert im is not None
            self.ims.append(im)
        self.queues: list[list[int]] = [[], []]
        self.dead: set[int] = set()
        self.running: int | None = None
        self.pending: list[Any] = []
        #: What each immediate was last told; attach and detach must take turns.
        self.attached: dict[int, bool] = {}

    def trace(self, im: tevent_immediate, point: int, private_data: object) -> None:
        if point == 2:
            assert self.attached[id(im)]
        else:
            assert self.attached.get(id(im), False) is (point == 1)
            self.attached[id(im)] = point == 0

    def handler(self, ev: tevent_context, im: tevent_immediate, number: int) -> None:
        self.running = number
        actions, self.pending = self.pending, []
        for each in actions:
            self.act(*each)
        self.running = None

    def act(self, name: str, number: int, where: int = 0) -> None:
        if number in self.dead:
            return  # what happens then is told by the unit tests
        for queue in self.queues:
            if number in queue:
                queue.remove(number)
        im = self.ims[number]
        if name == "schedule":
            tevent_schedule_immediate(im, self.evs[where], self.handler, number)
            self.queues[where].append(number)
        elif name == "cancel":
            tevent_schedule_immediate(im, self.evs[where], None, None)
        elif name == "reset":
            tevent_reset_immediate(im)
        else:
            assert talloc_free(im) == (-1 if number == self.running else 0)
            self.dead.add(number)

    def turn(self, where: int, actions: list[Any]) -> None:
        queue = self.queues[where]
        if not queue:
            assert tevent_loop_once(self.evs[where]) == -1
            return
        number = queue.pop(0)
        self.pending = actions
        assert tevent_loop_once(self.evs[where]) == 0
        assert self.pending == []
        assert (self.ims[number]._talloc_chunk.obj is None) == (number in self.dead)

    def check(self) -> None:
        for ev, queue in zip(self.evs, self.queues, strict=True):
            nodes = list(ev.immediate_events)
            assert nodes == [self.ims[number] for number in queue]
            assert all(node.im_ev is ev for node in nodes)
            assert [node.im_prev for node in nodes] == [None, *nodes[:-1]][: len(nodes)]
            assert ev.im_last is (nodes[-1] if nodes else None)
        queued = {number for queue in self.queues for number in queue}
        for number, im in enumerate(self.ims):
            if number not in queued and number not in self.dead:
                assert im.im_ev is im.im_next is im.im_prev is None


@given(st.lists(step, max_size=40), st.booleans())
def test_queue_is_a_list(steps: list[Any], traced: bool) -> None:
    """First in, first out; one turn runs exactly the oldest."""
    world = World(traced)
    try:
        for name, *rest in steps:
            if name == "turn":
                world.turn(*rest)
            else:
                world.act(name, *rest)
            world.check()
        for ev in world.evs:
            assert tevent_loop_wait(ev) == 0
    finally:
        talloc_free(world.top)
