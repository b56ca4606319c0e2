# SPDX-License-Identifier: LGPL-3.0-or-later
"""Places in the code that many objects have in common."""

from __future__ import annotations

import pytest

from talloc_py import _chunk
from talloc_py._chunk import caller, shared


def place() -> tuple[object, int]:
    return shared(caller(1))


def test_all_from_one_place_share_it() -> None:
    """What is made in a loop has one place, and it is that of the caller."""
    first, second = [place() for _ in range(2)]
    assert first is second
    assert _chunk.location_text(first).startswith(__file__)


def test_two_places_are_two() -> None:
    """Two calls in one function are not mixed up."""
    assert place() != place()


def test_code_without_end_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that makes functions without end does not fill the memory with their places."""
    monkeypatch.setattr(_chunk, "_places", {})
    for _ in range(_chunk._PLACES_MAX + 10):
        scope: dict[str, object] = {"place": place}
        exec("def f(): return place()", scope)
        scope["f"]()  # type: ignore[operator]
        assert len(_chunk._places) <= _chunk._PLACES_MAX
    assert len(_chunk._places) == 10
