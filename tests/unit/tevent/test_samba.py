# SPDX-License-Identifier: LGPL-3.0-or-later
"""Contexts whose debug messages go to Python's logging."""

from __future__ import annotations

import logging

import pytest
from backend_kit import context

from talloc_py import talloc_free, talloc_new, talloc_parent
from tevent import (
    TEVENT_DEBUG_ERROR,
    TEVENT_DEBUG_FATAL,
    TEVENT_DEBUG_TRACE,
    TEVENT_DEBUG_WARNING,
    samba_tevent_context_init,
    samba_tevent_set_debug,
    tevent_debug,
    tevent_set_default_backend,
)

ALL = (TEVENT_DEBUG_FATAL, TEVENT_DEBUG_ERROR, TEVENT_DEBUG_WARNING, TEVENT_DEBUG_TRACE)


def test_levels_and_prefix(caplog: pytest.LogCaptureFixture) -> None:
    """Each level has its own in logging, and the name stands before the message."""
    with context() as ev, caplog.at_level(logging.DEBUG):
        samba_tevent_set_debug(ev, "smbd")
        for level in ALL:
            tevent_debug(ev, level, "number %d\n", int(level))
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.CRITICAL, "smbd: number 0"),
        (logging.ERROR, "smbd: number 1"),
        (logging.WARNING, "smbd: number 2"),
        (logging.DEBUG, "smbd: number 3"),
    ]
    assert {record.name for record in caplog.records} == {"tevent"}


def test_trace_only_if_somebody_listens(caplog: pytest.LogCaptureFixture) -> None:
    """Where the logger does not take debug messages tevent does not make them."""
    with context() as ev, caplog.at_level(logging.INFO):
        samba_tevent_set_debug(ev, None)
        assert ev.im_plain
        tevent_debug(ev, TEVENT_DEBUG_TRACE, "never\n")
        tevent_debug(ev, TEVENT_DEBUG_WARNING, "100%% sure\n")
    assert [record.getMessage() for record in caplog.records] == ["samba_tevent: 100% sure"]


def test_context(caplog: pytest.LogCaptureFixture) -> None:
    """A context made this way logs under the name samba_tevent."""
    owner = talloc_new(None)
    ev = samba_tevent_context_init(owner)
    assert ev is not None
    assert talloc_parent(ev) is owner
    tevent_debug(ev, TEVENT_DEBUG_ERROR, "oops\n")
    assert caplog.messages == ["samba_tevent: oops"]
    talloc_free(owner)


def test_no_context() -> None:
    """Where there is no backend there is no context."""
    tevent_set_default_backend("no such backend")
    try:
        assert samba_tevent_context_init(None) is None
    finally:
        tevent_set_default_backend(None)


def test_wrong_types() -> None:
    """They are TypeErrors that name the parameter."""
    with context() as ev:
        with pytest.raises(TypeError, match="name"):
            samba_tevent_set_debug(ev, 5)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="ev"):
            samba_tevent_set_debug(None, None)  # type: ignore[arg-type]
