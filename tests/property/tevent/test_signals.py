# SPDX-License-Identifier: LGPL-3.0-or-later
"""Signals against a model: whatever is added, freed, sent and looped, nothing is lost and nothing told twice."""

from __future__ import annotations

import os
import signal
from typing import Any

from backend_kit import forget_signals
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from talloc_py import talloc_free
from tevent import (
    SA_SIGINFO,
    tevent_add_signal,
    tevent_context_init,
    tevent_context_set_wait_timeout,
    tevent_loop_once,
    tevent_re_initialise,
)
from tevent._sigcount import state

NUMBERS = (int(signal.SIGUSR1), int(signal.SIGUSR2))


class Trouble(Exception):
    """What a handler raises."""


class Event:
    """The model of one signal event."""

    def __init__(self, machine: Signals, where: int, signum: int, info: bool, untold: int) -> None:
        self.where = where
        self.signum = signum
        self.info = info
        #: Occurrences that it has yet to be told.
        self.untold = untold
        self.raises = False
        self.machine = machine
        self.real: Any = tevent_add_signal(
            machine.contexts[where], None, signum, SA_SIGINFO if info else 0, self.handler, None
        )

    def handler(self, ev: Any, se: Any, signum: int, count: int, siginfo: Any, private_data: Any) -> None:
        assert se is self.real
        assert signum == self.signum
        assert (siginfo is not None) == self.info
        self.machine.log.append((self, count))
        if self.raises:
            self.raises = False
            raise Trouble


class Signals(RuleBasedStateMachine):
    """Two contexts, two numbers, events that come and go."""

    events = Bundle("events")

    @initialize()
    def start(self) -> None:
        self.log: list[Any] = []
        self.contexts: list[Any] = [tevent_context_init(None) for _ in range(2)]
        for ev in self.contexts:
            tevent_context_set_wait_timeout(ev, 0)
        #: Of each number, newest first.
        self.alive: dict[int, list[Event]] = {signum: [] for signum in NUMBERS}
        #: What nobody has been told at all: it is for the next event of that number.
        self.leftover = {signum: state.total.get(signum, 0) - state.seen.get(signum, 0) for signum in NUMBERS}

    @rule(target=events, where=st.integers(0, 1), signum=st.sampled_from(NUMBERS), info=st.booleans())
    def add(self, where: int, signum: int, info: bool) -> Event:
        event = Event(self, where, signum, info, self.leftover[signum])
        self.alive[signum].insert(0, event)
        return event

    @rule(event=consumes(events))
    def free(self, event: Event) -> None:
        if event in self.alive[event.signum]:
            assert talloc_free(event.real) == 0
            self.alive[event.signum].remove(event)

    @rule(event=events)
    def will_raise(self, event: Event) -> None:
        event.raises = True

    @rule(signum=st.sampled_from(NUMBERS), times=st.integers(1, 5))
    def send(self, signum: int, times: int) -> None:
        if not self.alive[signum]:
            return  # It would end this process.
        for _ in range(times):
            os.kill(os.getpid(), signum)
        self.leftover[signum] += times
        for event in self.alive[signum]:
            event.untold += times

    @rule(where=st.integers(0, 1))
    def re_initialise(self, where: int) -> None:
        assert tevent_re_initialise(self.contexts[where]) == 0
        for signum in NUMBERS:
            for event in [event for event in self.alive[signum] if event.where == where]:
                self.alive[signum].remove(event)
                assert talloc_free(event.real) == 0

    def expected(self) -> tuple[list[Any], bool]:
        """What a delivery tells, and whether it ends with an exception; the model is brought up to date."""
        calls: list[Any] = []
        for signum in NUMBERS:
            pending = any(event.untold for event in self.alive[signum]) or self.leftover[signum]
            if not pending:
                continue
            self.leftover[signum] = 0
            for event in self.alive[signum]:
                while event.untold:
                    count = 1 if event.info else event.untold
                    event.untold -= count
                    calls.append((event, count))
                    if event.raises:
                        return calls, True
        return calls, False

    @precondition(lambda self: any(self.alive.values()))
    @rule(where=st.integers(0, 1))
    def loop(self, where: int) -> None:
        self.log.clear()
        watches = any(event.where == where for events in self.alive.values() for event in events)
        calls, raises = self.expected() if watches else ([], False)
        raised = False
        # The internal wakeup may have to be emptied first, never more often than that.
        for _ in range(2):
            try:
                tevent_loop_once(self.contexts[where])
            except Trouble:
                raised = True
            if raised or self.log:
                break
        assert self.log == calls
        assert raised == raises

    @invariant()
    def handlers_are_installed_as_long_as_there_are_events(self) -> None:
        for signum, events in getattr(self, "alive", {}).items():
            assert (signal.getsignal(signum) == signal.SIG_DFL) == (not events)

    def teardown(self) -> None:
        for ev in getattr(self, "contexts", []):
            talloc_free(ev)
        forget_signals()
        assert signal.set_wakeup_fd(-1) == -1


TestSignals = Signals.TestCase
TestSignals.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
