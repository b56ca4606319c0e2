# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What mistakes are put into, and which tests are to notice them.

The tests of a target come in stages: those of a later stage run only for what the earlier ones have not noticed. All
of them are run by pytest in the order given; what stands after ``-k`` chooses among the tests of a stage.
"""

from __future__ import annotations

import pathlib
from typing import NamedTuple

Stage = tuple[str, ...]


class Target(NamedTuple):
    """Some source files and their tests."""

    files: tuple[str, ...]
    stages: tuple[Stage, ...]


def _all(*patterns: str) -> Stage:
    return tuple(sorted(str(path) for pattern in patterns for path in pathlib.Path().glob(pattern)))


def _examples(*areas: str) -> Stage:
    """The programs of these areas that both the packages and the C libraries carry out."""
    return (*(f"tests/differential/test_{area}.py" for area in areas), "-k", "example")


TARGETS: tuple[Target, ...] = (
    Target(
        _all("talloc_py/*.py"),
        (
            _examples("tree", "frames"),
            _all("tests/unit/talloc_py/test_*.py", "tests/unit/test_exports.py"),
            _examples("requests", "streams"),
            _all("tests/property/talloc_py/test_*.py"),
        ),
    ),
    Target(
        ("tevent/req.py", "tevent/_request.py", "tevent/queue.py"),
        (
            _examples("requests", "streams"),
            ("tests/unit/tevent/test_queue.py", *_all("tests/unit/tevent/test_req*.py")),
            _all("tests/property/tevent/test_req*.py", "tests/property/tevent/test_queue.py"),
            _all(
                "tests/unit/tevent/test_aio.py",
                "tests/unit/tsocket/test_queue*.py",
                "tests/unit/tsocket/test_stream_*.py",
            ),
        ),
    ),
    Target(
        ("tsocket/helpers.py",),
        (
            _examples("streams"),
            _all("tests/unit/tsocket/test_pdu.py", "tests/unit/tsocket/test_queue_helpers.py"),
            _all("tests/property/tsocket/test_pdu*.py", "tests/property/tsocket/test_queue*.py"),
            _all("tests/unit/tsocket/test_stream_*.py", "tests/unit/tsocket/test_dgram*.py"),
        ),
    ),
)
