# SPDX-License-Identifier: LGPL-3.0-or-later
"""The mistakes that are put into the packages."""

from __future__ import annotations

import pytest

from .equivalent import EQUIVALENT
from .mutants import mutants
from .targets import SOURCES, TARGETS

FILES = [path for target in TARGETS for path in target.files]
SOURCE = '''
"""A text."""
from x import y

TYPE_CHECKING = False
if TYPE_CHECKING:
    LIMIT = 5
__all__ = ["f"]


def f(a: int = 3, *, b: "str") -> "str | None":
    """A text."""
    if a < 2 and not b:
        a.x = 1
    for c in a:
        if c is None:
            break
        g(c, f"{a + 1}")
    a += 1
    return "x" if a else b
'''
MISTAKES = [
    ("3", "4"),
    ("a < 2 and not b", "not (a < 2 and (not b))"),
    ("a < 2 and not b", "a < 2 or not b"),
    ("a < 2", "a <= 2"),
    ("2", "3"),
    ("not b", "b"),
    ("a.x = 1", "pass"),
    ("1", "2"),
    ("c is None", "c is not None"),
    ("break", "continue"),
    ('g(c, f"{a + 1}")', "pass"),
    ("a += 1", "pass"),
    ("a += 1", "a -= 1"),
    ("1", "2"),
    ('return "x" if a else b', "return None"),
    ("a", "not (a)"),
    ('"x"', "'XXx'"),
]


def test_each_kind() -> None:
    """Comparisons, conditions, arithmetic, numbers, texts, results and what is done; nothing for type checkers."""
    assert [(one.old, one.new) for one in mutants("f.py", SOURCE)] == MISTAKES


def test_one_place_at_a_time() -> None:
    """A mistake changes its own line, and lines keep their numbers."""
    for one in mutants("f.py", SOURCE):
        compile(one.source, one.path, "exec")
        before, after = SOURCE.split("\n"), one.source.split("\n")
        assert [at for at, (old, new) in enumerate(zip(before, after, strict=True), 1) if old != new] == [one.line]
        assert one.function == "f"


def test_lines_of_several_lines() -> None:
    """What takes several lines does so afterwards, too."""
    (one, *_) = mutants("f.py", "g(\n    1,\n)\nh = 2\n")
    assert one.source == "pass\n\n\nh = 2\n"


@pytest.mark.parametrize("path", EQUIVALENT)
def test_reasons(path: str) -> None:
    """What is said to make no difference is in a file that mistakes are made in."""
    assert path in FILES
    assert (SOURCES / path).exists()
    assert all(EQUIVALENT[path].values())
