# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What Hypothesis makes of a state machine with a planted bug, search after search.

It does not always get to the shortest way to a failure: it cannot drop the first rule, with which it has drawn which
rules there are, nor the last one where teardown fails without it. So one search must find the bug, and one of some
the shortest way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import seed, settings
from hypothesis.stateful import run_state_machine_as_test

#: At worst two searches in three end with a step too many: with so many, one in a hundred thousand tests fails.
SEARCHES = 30


class Failure(NamedTuple):
    """
    A search that found something.

    Attributes:
        text: What the exception says, and its notes: the program and the story.

        rules: The names of the machine's rules that are left.
    """

    text: str
    rules: list[str]


def failure_of(machine: type[Any], searched_with: settings) -> Failure:
    """What one search ends with; the test fails where it finds nothing."""
    with pytest.raises(Exception) as caught:  # any: the abort error of talloc, too
        run_state_machine_as_test(machine, settings=searched_with)
    notes = "\n".join(caught.value.__notes__)
    rules = re.findall(r"^state\.([a-z]\w*)\(", notes, re.MULTILINE)
    return Failure(f"{caught.value}\n{notes}", [each for each in rules if each != "teardown"])


def failures_of(machine: type[Any], searched_with: settings) -> Iterator[Failure]:
    """What searches with different seeds end with; the test fails after the last of them."""
    for number in range(SEARCHES):
        yield failure_of(seed(number)(type(machine.__name__, (machine,), {})), searched_with)
    pytest.fail(f"none of {SEARCHES} searches got to the shortest way")
