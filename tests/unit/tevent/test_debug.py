# SPDX-License-Identifier: LGPL-3.0-or-later
"""Debug messages and their levels."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from tevent_kit import UNTOUCHED, Recorder, context, turns, wrapper_of

from talloc_py import TALLOC_CTX, talloc_free
from tevent import (
    TEVENT_DEBUG_ERROR,
    TEVENT_DEBUG_FATAL,
    TEVENT_DEBUG_TRACE,
    TEVENT_DEBUG_WARNING,
    get_errno,
    set_errno,
    tevent_add_timer,
    tevent_context,
    tevent_create_immediate,
    tevent_debug,
    tevent_debug_level,
    tevent_loop_wait,
    tevent_reset_immediate,
    tevent_schedule_immediate,
    tevent_set_debug,
    tevent_set_debug_stderr,
    tevent_set_max_debug_level,
    tevent_timer,
    timeval,
)


def own_name(ev: tevent_context, *_: Any) -> None:
    """A handler whose name is looked for."""


class TestLevels:
    def test_values(self) -> None:
        """The levels are C's."""
        assert [int(level) for level in tevent_debug_level] == [0, 1, 2, 3]
        assert list(tevent_debug_level) == [
            TEVENT_DEBUG_FATAL, TEVENT_DEBUG_ERROR, TEVENT_DEBUG_WARNING, TEVENT_DEBUG_TRACE,
        ]  # fmt: skip

    def test_set_debug_lets_pass_up_to_warning(self, epoll_ev: tevent_context, log: Recorder) -> None:
        """TRACE needs to be asked for."""
        assert tevent_set_debug(epoll_ev, log.debug, None) == 0
        for level in tevent_debug_level:
            tevent_debug(epoll_ev, level, "level %d of %s", level, "four")
        assert log.take() == [(0, "level 0 of four"), (1, "level 1 of four"), (2, "level 2 of four")]

    def test_max_level(self, epoll_ev: tevent_context, log: Recorder) -> None:
        """The former level comes back, and the new one holds."""
        assert tevent_set_max_debug_level(epoll_ev, TEVENT_DEBUG_TRACE) is TEVENT_DEBUG_FATAL
        tevent_set_debug(epoll_ev, log.debug, None)
        assert tevent_set_max_debug_level(epoll_ev, TEVENT_DEBUG_TRACE) is TEVENT_DEBUG_WARNING
        tevent_debug(epoll_ev, TEVENT_DEBUG_TRACE, "fine")
        assert log.take() == [(3, "fine")]
        assert tevent_set_max_debug_level(epoll_ev, 0) is TEVENT_DEBUG_TRACE
        tevent_debug(epoll_ev, TEVENT_DEBUG_ERROR, "not any more")
        assert log.take() == []

    def test_level_out_of_range(self, epoll_ev: tevent_context) -> None:
        """As C's enum a level may be any number; beyond the ends it means the end."""
        tevent_set_max_debug_level(epoll_ev, 17)
        assert tevent_set_max_debug_level(epoll_ev, -3) is TEVENT_DEBUG_TRACE
        assert tevent_set_max_debug_level(epoll_ev, 1) is TEVENT_DEBUG_FATAL

    def test_none_switches_off(self, epoll_ev: tevent_context, log: Recorder) -> None:
        """Without a function nothing is passed, and the level goes back to FATAL."""
        tevent_set_debug(epoll_ev, log.debug, None)
        tevent_set_debug(epoll_ev, None, None)
        tevent_debug(epoll_ev, TEVENT_DEBUG_FATAL, "nobody hears it")
        assert log.take() == []
        assert tevent_set_max_debug_level(epoll_ev, 0) is TEVENT_DEBUG_FATAL

    def test_context_is_passed_and_arguments_stay_a_tuple(self, epoll_ev: tevent_context) -> None:
        """The function formats the text itself."""
        seen: list[Any] = []
        mark = object()
        tevent_set_debug(epoll_ev, lambda *args: seen.append(args), mark)
        tevent_debug(epoll_ev, TEVENT_DEBUG_ERROR, "%s-%d", "a", 7)
        assert seen == [(mark, TEVENT_DEBUG_ERROR, "%s-%d", ("a", 7))]

    def test_no_context_no_message(self) -> None:
        """A context of None is allowed and silent."""
        tevent_debug(None, TEVENT_DEBUG_FATAL, "nothing")

    def test_stderr(self, epoll_ev: tevent_context, capsys: pytest.CaptureFixture[str]) -> None:
        """FATAL to WARNING go to stderr, TRACE never."""
        assert tevent_set_debug_stderr(epoll_ev) == 0
        tevent_set_max_debug_level(epoll_ev, TEVENT_DEBUG_TRACE)
        for level in tevent_debug_level:
            tevent_debug(epoll_ev, level, "%d\n", level)
        assert capsys.readouterr().err == "0\n1\n2\n"

    def test_wrong_types(self, epoll_ev: tevent_context, top: TALLOC_CTX) -> None:
        """What is no context and what is no function is refused."""
        with pytest.raises(TypeError, match="debug must be callable or None, not str"):
            tevent_set_debug(epoll_ev, "stderr", None)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="ev must be a tevent_context, not TALLOC_CTX"):
            tevent_set_debug(top, None, None)  # type: ignore[arg-type]


class TestWrapper:
    def test_set_debug(self, epoll_ev: tevent_context, aborts: list[str]) -> None:
        """Abort, then -1 and EINVAL."""
        set_errno(0)
        assert tevent_set_debug(wrapper_of(epoll_ev), print, None) == -1
        assert get_errno() == errno.EINVAL
        assert aborts == ["tevent_set_debug() on wrapper"]

    def test_messages_go_to_the_main_context(self, epoll_ev: tevent_context, log: Recorder) -> None:
        """Its function, its level; nothing once it is gone."""
        tevent_set_debug(epoll_ev, log.debug, None)
        wrapper = wrapper_of(epoll_ev)
        tevent_debug(wrapper, TEVENT_DEBUG_ERROR, "heard")
        assert log.take() == [(1, "heard")]


class TestMessages:
    def test_out_of_events(self, epoll_ev: tevent_context, log: Recorder) -> None:
        """The end of a loop is worth a warning."""
        tevent_set_debug(epoll_ev, log.debug, None)
        assert tevent_loop_wait(epoll_ev) == 0
        assert log.take() == [(2, "tevent_common_loop_wait() out of events\n")]

    def test_failed_iteration(self, epoll_ev: tevent_context, log: Recorder) -> None:
        """An iteration that fails ends the loop with its value and a message."""
        tevent_set_debug(epoll_ev, log.debug, None)
        tevent_add_timer(epoll_ev, None, timeval(2**40, 0), own_name, None)
        set_errno(UNTOUCHED)
        assert tevent_loop_wait(epoll_ev) == -1
        assert get_errno() == errno.EAGAIN
        assert log.take() == [(0, "_tevent_loop_once() failed: -1 - Resource temporarily unavailable\n")]

    def test_timer_texts(self, epoll_ev: tevent_context, log: Recorder) -> None:
        """Adding, running, ending and destroying a timer are traced, with the handler's name."""
        tevent_set_debug(epoll_ev, log.debug, None)
        tevent_set_max_debug_level(epoll_ev, TEVENT_DEBUG_TRACE)
        te = tevent_add_timer(epoll_ev, None, timeval(0, 0), own_name, None)
        assert log.take() == [(3, f'Added timed event "own_name": {te}\n')]
        turns(epoll_ev, 1)
        texts = [text for _, text in log.take()]
        assert [text.split(" <")[0] for text in texts] == ["Running timer event", "Ending timer event"]
        assert all(text.endswith('"own_name"\n') for text in texts)
        te = tevent_add_timer(epoll_ev, None, timeval(0, 0), own_name, None)
        log.take()
        talloc_free(te)
        [(level, text)] = log.take()
        assert level == 3
        assert text.startswith("Destroying timer event <tevent_timer")
        assert text.endswith('"own_name"\n')

    def test_timer_freed_in_its_handler(self, epoll_ev: tevent_context, log: Recorder) -> None:
        """Destroying is said inside, and ending no more."""
        tevent_set_debug(epoll_ev, log.debug, None)
        tevent_set_max_debug_level(epoll_ev, TEVENT_DEBUG_TRACE)

        def freeing(ev: tevent_context, te: tevent_timer, now: timeval, private_data: object) -> None:
            talloc_free(te)

        tevent_add_timer(epoll_ev, None, timeval(0, 0), freeing, None)
        turns(epoll_ev, 1)
        assert [text.split()[0] for _, text in log.take()] == ["Added", "Running", "Destroying"]

    def test_immediate_texts(self, epoll_ev: tevent_context, log: Recorder) -> None:
        """Scheduling, running and cancelling an immediate are traced."""
        im = tevent_create_immediate(epoll_ev)
        assert im is not None
        tevent_set_debug(epoll_ev, log.debug, None)
        tevent_set_max_debug_level(epoll_ev, TEVENT_DEBUG_TRACE)
        tevent_schedule_immediate(im, epoll_ev, own_name, None)
        tevent_reset_immediate(im)
        tevent_schedule_immediate(im, epoll_ev, own_name, None)
        turns(epoll_ev, 1)
        texts = [text for _, text in log.take()]
        assert texts[0].startswith('Schedule immediate event "own_name": <tevent_immediate')
        assert texts[1].startswith("Cancel immediate event <tevent_immediate")
        assert texts[1].endswith('"own_name"\n')
        assert texts[3].startswith('Run immediate event "own_name": <tevent_immediate')
        assert len(texts) == 4

    def test_no_trace_texts_at_level_warning(self, top: TALLOC_CTX, log: Recorder) -> None:
        """Nothing is formatted for nobody."""
        ev = context(top)
        tevent_set_debug(ev, log.debug, None)
        im = tevent_create_immediate(ev)
        assert im is not None
        tevent_schedule_immediate(im, ev, own_name, None)
        tevent_add_timer(ev, None, timeval(0, 0), own_name, None)
        turns(ev, 2)
        assert log.take() == []
