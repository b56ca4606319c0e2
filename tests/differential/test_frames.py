# SPDX-License-Identifier: LGPL-3.0-or-later
"""The stack of contexts, secrets and reports with texts against Samba's own libraries."""

from __future__ import annotations

import pytest

from .frames import AREA
from .machine import search
from .program import Random, generate, lines, replay
from .real import Real

EXAMPLES: dict[str, str] = {
    "frames": """
        exists
        push c1
        push c2
        new c3 c1
        pushpool c4 500
        look c4
        tos c5
        free c4
        tos c5
        free c2
        tos c5
        free c1
        exists
    """,
    "no frame": """
        tos c1
        tos c2
        free c1
        exists
        tos c1
    """,
    "out of order": """
        push c1
        push c2
        pushpool c3 200
        push c4
        free c2
        exists
        tos c5
        free c1
        exists
    """,
    "a destructor pushes a frame while those above go": """
        script K5 push c11 ; return -1
        tos c1
        namedf c0 c1 0 int 0
        destructor c0 K5
        pushpool c3 500
        move c3 c1
        new c2 c0
        destructor c2 K4
        FREE c1
        exists
        tos c1
    """,
    "a name is left of a frame": """
        pushpool c3 112
        push c6
        setname c6 abc 6
        FREE c3
    """,
    "a limit refuses a frame": """
        push c8
        memlimit c8 1
        push c11
    """,
    "secrets": """
        new c0 -
        strdup c1 c0 abc
        secret c1
        zsize c2 c0 10
        secret c2
        secret c0
        script K1 secret c3
        strdup c3 c0 abc
        destructor c3 K1
        secret c3
        texts c0
        free c1
        free c0
    """,
    "texts": """
        new c0 -
        strdup c1 c0 abc
        strdup c2 c0 def
        settype c1 char
        array c3 c1 char 100
        ref c3 c2
        texts c0
    """,
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(real: Real, name: str) -> None:
    """What has differed once, and each kind of operation."""
    difference = replay(AREA, real, lines(EXAMPLES[name]))
    assert difference is None, str(difference)


@pytest.mark.slow
def test_long_programs(real: Real) -> None:
    """What the long run begins with."""
    for seed in range(30):
        difference = generate(AREA, real, Random(seed))[1]
        assert difference is None, str(difference)


@pytest.mark.slow
def test_any_program(real: Real) -> None:
    """What Hypothesis thinks of."""
    search(AREA, real, programs=15, lines=20)
