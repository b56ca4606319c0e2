# SPDX-License-Identifier: LGPL-3.0-or-later
"""Messages of talloc and tevent in Python's logging."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from tevent_kit import context, wrapper_of

from talloc_py import TALLOC_CTX, talloc_free, talloc_new, talloc_reference, talloc_set_log_fn
from tevent import (
    TEVENT_DEBUG_ERROR,
    TEVENT_DEBUG_FATAL,
    TEVENT_DEBUG_TRACE,
    TEVENT_DEBUG_WARNING,
    tevent_context,
    tevent_create_immediate,
    tevent_debug,
    tevent_schedule_immediate,
    tevent_set_max_debug_level,
)
from tevent.log import log_to

if TYPE_CHECKING:
    from collections.abc import Iterator


class Collector(logging.Handler):
    """Keeps level and text of what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append((record.levelname, record.getMessage()))


@pytest.fixture
def collector() -> Iterator[Collector]:
    """The handler of a logger of its own, named "seen"."""
    handler = Collector()
    logger = logging.getLogger("seen")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield handler
    logger.removeHandler(handler)
    talloc_set_log_fn(None)


def test_levels(epoll_ev: tevent_context, collector: Collector) -> None:
    """FATAL is CRITICAL, ERROR and WARNING are called the same; TRACE is not asked for where nobody wants DEBUG."""
    log_to("seen", epoll_ev)
    for level in (TEVENT_DEBUG_FATAL, TEVENT_DEBUG_ERROR, TEVENT_DEBUG_WARNING, TEVENT_DEBUG_TRACE):
        tevent_debug(epoll_ev, level, "%s of %d %%\n", "all", 7)
    assert collector.said == [("CRITICAL", "all of 7 %"), ("ERROR", "all of 7 %"), ("WARNING", "all of 7 %")]
    assert epoll_ev.im_plain


def test_trace_where_debug_is_wanted(epoll_ev: tevent_context, collector: Collector) -> None:
    """A logger that is enabled for DEBUG gets what the loop does."""
    logger = logging.getLogger("seen")
    logger.setLevel(logging.DEBUG)
    log_to(logger, epoll_ev)
    im = tevent_create_immediate(epoll_ev)
    assert im is not None
    tevent_schedule_immediate(im, epoll_ev, print, None)
    assert [level for level, _ in collector.said] == ["DEBUG"]
    assert collector.said[0][1].startswith('Schedule immediate event "print"')


def test_message_without_arguments(epoll_ev: tevent_context, collector: Collector) -> None:
    """It is formatted as C does, which knows no message without arguments."""
    log_to("seen", epoll_ev)
    tevent_debug(epoll_ev, TEVENT_DEBUG_ERROR, "100 %%\n")
    assert collector.said == [("ERROR", "100 %")]


def test_talloc(top: TALLOC_CTX, collector: Collector) -> None:
    """Faults of talloc are errors; the lines that say more about them come as INFO, without their tab."""
    log_to("seen")
    child, holder = talloc_new(top), talloc_new(top)
    talloc_reference(holder, child)
    assert talloc_free(child) == -1
    (first, error), (second, more) = collector.said
    assert (first, second) == ("ERROR", "INFO")
    assert error.startswith("ERROR: talloc_free with references at ")
    assert more.startswith("reference at ")


def test_wrapper_and_several_contexts(top: TALLOC_CTX, collector: Collector) -> None:
    """A wrapper stands for its main context; one whose main context is gone is left alone."""
    one, two = context(top), context(top)
    orphan = wrapper_of(context(top))
    log_to("seen", wrapper_of(one), two, orphan)
    for ev in (one, two):
        tevent_debug(ev, TEVENT_DEBUG_ERROR, "here\n")
    assert collector.said == [("ERROR", "here")] * 2


def test_off(epoll_ev: tevent_context, top: TALLOC_CTX, collector: Collector) -> None:
    """None switches both off, and the level is as at first."""
    log_to("seen", epoll_ev)
    log_to(None, epoll_ev)
    tevent_debug(epoll_ev, TEVENT_DEBUG_FATAL, "unheard\n")
    child, holder = talloc_new(top), talloc_new(top)
    talloc_reference(holder, child)
    talloc_free(child)
    assert collector.said == []
    assert tevent_set_max_debug_level(epoll_ev, 3) == TEVENT_DEBUG_FATAL


def test_wrong_type(collector: Collector) -> None:
    """What is no context is refused."""
    with pytest.raises(TypeError, match="ev must be a tevent_context, not int"):
        log_to("seen", 3)  # type: ignore[arg-type]
