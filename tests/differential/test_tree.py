# SPDX-License-Identifier: LGPL-3.0-or-later
"""The ownership tree against the real library."""

from __future__ import annotations

from typing import Any

import pytest

import talloc_py
from talloc_py import _rare, core, refs

from .machine import search
from .program import Random, generate, lines, minimise, replay
from .real import Real
from .tree import AREA
from .tree_examples import EACH, FOUND


@pytest.mark.parametrize("name", [*FOUND, *EACH])
def test_example(real: Real, name: str) -> None:
    """What has differed once, and each kind of operation."""
    difference = replay(AREA, real, lines((FOUND | EACH)[name]))
    assert difference is None, str(difference)


@pytest.mark.slow
def test_long_programs(real: Real) -> None:
    """What the long run begins with."""
    for seed in range(60):
        difference = generate(AREA, real, Random(seed))[1]
        assert difference is None, str(difference)


@pytest.mark.slow
def test_any_program(real: Real) -> None:
    """What Hypothesis thinks of."""
    search(AREA, real, programs=30, lines=25)


def steal_to_the_end(new_ctx: Any, ptr: Any) -> Any:
    """Be a talloc_steal() that leaves a chunk where it is among its siblings, if it has the same owner."""
    if new_ctx is not None and talloc_py.talloc_parent(ptr) is new_ctx:
        return ptr
    return core.talloc_steal(new_ctx, ptr)


def free_children_and_name(ptr: Any) -> None:
    """Be a talloc_free_children() that does not spare the name."""
    name = core.talloc_get_name(ptr)
    talloc_py.talloc_set_name_const(ptr, name)
    core.talloc_free_children(ptr)


def unlink_as_if_it_never_failed(context: Any, ptr: Any) -> int:
    """Be a talloc_unlink() that has a wrong result."""
    return abs(refs.talloc_unlink(context, ptr))


MISTAKES: dict[str, tuple[Any, str, Any]] = {
    "a place among siblings": (talloc_py, "talloc_steal", steal_to_the_end),
    "a name that goes with the children": (talloc_py, "talloc_free_children", free_children_and_name),
    "a limit of other bytes": (_rare, "HEADER_BYTES", 112),
    "a result of talloc_unlink": (talloc_py, "talloc_unlink", unlink_as_if_it_never_failed),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_noticed(real: Real, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Random programs find what is wrong, and the example that comes of it is short."""
    where, what, wrong = MISTAKES[name]
    monkeypatch.setattr(where, what, wrong)
    for seed in range(1000):
        found = generate(AREA, real, Random(seed))[1]
        if found is not None:
            break
    else:
        pytest.fail("nothing was noticed")
    assert len(minimise(AREA, real, found).program) <= 12
