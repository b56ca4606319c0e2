# SPDX-License-Identifier: LGPL-3.0-or-later
"""Wrappers against a model: order of the handlers, what surrounds them, and frees while in use."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from talloc_py import TALLOC_CTX, talloc_free
from tevent import (
    tevent_abort_error,
    tevent_add_timer,
    tevent_context_init,
    tevent_context_pop_use,
    tevent_context_push_use,
    tevent_context_same_loop,
    tevent_context_set_wait_timeout,
    tevent_context_wrapper_create,
    tevent_create_immediate,
    tevent_loop_once,
    tevent_schedule_immediate,
    tevent_wrapper_ops,
    timeval,
)
from tevent.wrapper import STACK_SIZE, _stack


class no_state(TALLOC_CTX):
    """Wrappers need a state."""


class Trouble(Exception):
    """What a handler raises."""


class Wrapper:
    """The model of a wrapper, and of the main context where `real` is that."""

    def __init__(self, real: Any, is_main: bool = False) -> None:
        self.real = real
        self.is_main = is_main
        self.alive = True
        #: Freed while in use.
        self.doomed = False
        self.used = False


class Wrappers(RuleBasedStateMachine):
    """One main context, wrappers of it, immediates and zero timers on all of them."""

    wrappers = Bundle("wrappers")

    @initialize(target=wrappers)
    def start(self) -> Wrapper:
        self.log: list[Any] = []
        ev: Any = tevent_context_init(None)
        tevent_context_set_wait_timeout(ev, 0)
        self.main = Wrapper(ev, is_main=True)
        #: What waits: (wrapper, name, how it ends).
        self.immediates: list[tuple[Wrapper, int, str]] = []
        self.timers: list[tuple[Wrapper, int, str]] = []
        self.stack: list[Wrapper] = []
        self.names = 0
        return self.main

    def make_ops(self) -> tevent_wrapper_ops:
        def note(what: str) -> Any:
            def operation(wrap_ev: Any, _state: Any, main_ev: Any, *_args: Any) -> bool:
                assert main_ev is self.main.real
                self.log.append((what, wrap_ev))
                return True

            return operation

        kinds = ("fd", "timer", "immediate", "signal")
        return tevent_wrapper_ops(
            "model",
            note("use"),
            note("unuse"),
            **{f"{when}_{kind}_handler": note(when) for kind in kinds for when in ("before", "after")},
        )

    @rule(target=wrappers)
    def create(self) -> Wrapper:
        real, _state = tevent_context_wrapper_create(self.main.real, self.main.real, self.make_ops(), no_state)
        return Wrapper(real)

    @rule(wrapper=wrappers, kind=st.sampled_from(["immediate", "timer"]), end=st.sampled_from(["", "raise", "free"]))
    def add(self, wrapper: Wrapper, kind: str, end: str) -> None:
        if not wrapper.alive or wrapper.doomed:
            return
        self.names += 1
        name = self.names

        def finish(ev: Any) -> None:
            assert ev is wrapper.real
            self.log.append(name)
            if end == "free" and not wrapper.is_main:
                assert talloc_free(wrapper.real) == -1
            if end == "raise":
                raise Trouble

        if kind == "immediate":
            im: Any = tevent_create_immediate(self.main.real)
            tevent_schedule_immediate(im, wrapper.real, lambda ev, im, p: finish(ev), None)
            self.immediates.append((wrapper, name, end))
        else:
            tevent_add_timer(wrapper.real, None, timeval(0, 0), lambda ev, te, now, p: finish(ev), None)
            self.timers.append((wrapper, name, end))

    def gone(self, wrapper: Wrapper) -> None:
        wrapper.alive = False
        self.immediates = [entry for entry in self.immediates if entry[0] is not wrapper]
        self.timers = [entry for entry in self.timers if entry[0] is not wrapper]

    @rule(wrapper=consumes(wrappers))
    def free(self, wrapper: Wrapper) -> None:
        if wrapper.is_main or not wrapper.alive or wrapper.doomed:
            return
        if wrapper.used:
            assert talloc_free(wrapper.real) == -1
            wrapper.doomed = True
        else:
            assert talloc_free(wrapper.real) == 0
            self.gone(wrapper)

    @rule(wrapper=wrappers)
    def push(self, wrapper: Wrapper) -> None:
        if not wrapper.alive or wrapper.used or len(self.stack) == STACK_SIZE:
            return
        assert tevent_context_push_use(wrapper.real)
        self.stack.append(wrapper)
        wrapper.used = not wrapper.is_main

    @rule(wrapper=wrappers)
    def pop(self, wrapper: Wrapper) -> None:
        self.log.clear()
        if not self.stack or self.stack[-1] is not wrapper:
            try:
                tevent_context_pop_use(wrapper.real)
            except tevent_abort_error:
                return
            raise AssertionError("popped what was not on top")
        self._pop_top()

    @rule()
    def pop_top(self) -> None:
        if self.stack:
            self._pop_top()

    def _pop_top(self) -> None:
        self.log.clear()
        wrapper = self.stack.pop()
        tevent_context_pop_use(wrapper.real)
        wrapper.used = False
        if wrapper.doomed:
            self.gone(wrapper)
        assert self.log == ([] if wrapper.is_main or wrapper.doomed else [("unuse", wrapper.real)])

    @rule()
    def loop(self) -> None:
        self.log.clear()
        queue = self.immediates or self.timers
        if not queue:
            assert tevent_loop_once(self.main.real) == -1
            return
        wrapper, name, end = queue.pop(0)
        trouble: BaseException | None = None
        try:
            assert tevent_loop_once(self.main.real) == 0
        except (Trouble, tevent_abort_error) as error:
            trouble = error
        if wrapper.used:
            # In use already: it cannot be put on the stack once more.
            assert isinstance(trouble, tevent_abort_error)
            assert self.log == []
            return
        if wrapper.is_main:
            assert self.log == [name]
        elif len(self.stack) == STACK_SIZE:
            assert isinstance(trouble, tevent_abort_error)
            return
        else:
            assert self.log == [("before", wrapper.real), name, ("after", wrapper.real)]
        assert isinstance(trouble, Trouble) == (end == "raise")
        if end == "free" and not wrapper.is_main:
            self.gone(wrapper)

    @invariant()
    def the_stack_is_that_of_the_model(self) -> None:
        if hasattr(self, "stack"):
            assert [use.ev for use in _stack] == [wrapper.real for wrapper in self.stack]
            assert len(list(self.main.real.immediate_events)) == len(self.immediates)
            assert len(list(self.main.real.timer_events)) == len(self.timers)

    @rule(wrapper=wrappers)
    def same_loop(self, wrapper: Wrapper) -> None:
        if wrapper.alive:
            assert tevent_context_same_loop(wrapper.real, self.main.real)

    def teardown(self) -> None:
        while getattr(self, "stack", []):
            self._pop_top()
        if hasattr(self, "main"):
            talloc_free(self.main.real)


TestWrappers = Wrappers.TestCase
TestWrappers.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
