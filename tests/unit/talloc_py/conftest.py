# SPDX-License-Identifier: LGPL-3.0-or-later
"""Each test of talloc starts and ends with the process-wide hooks at rest."""

from __future__ import annotations

import pytest

from talloc_py import (
    talloc_autofree_context,
    talloc_disable_null_tracking,
    talloc_free,
    talloc_set_abort_fn,
    talloc_set_log_fn,
)


@pytest.fixture(autouse=True)
def _hooks_at_rest():
    # Whoever has asked for the autofree context before leaves it alive, and null tracking would count it.
    talloc_free(talloc_autofree_context())
    yield
    talloc_set_abort_fn(None)
    talloc_set_log_fn(None)
    talloc_disable_null_tracking()
    talloc_free(talloc_autofree_context())


@pytest.fixture
def log():
    """The messages of talloc."""
    messages: list[str] = []
    talloc_set_log_fn(messages.append)
    return messages


@pytest.fixture
def aborts():
    """The reasons given to the abort function, which returns."""
    reasons: list[str] = []
    talloc_set_abort_fn(reasons.append)
    return reasons
