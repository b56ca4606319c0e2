# SPDX-License-Identifier: LGPL-3.0-or-later
"""What mistakes are put into, and which tests are to notice them: those that notice most come first."""

from __future__ import annotations

import pathlib
from typing import NamedTuple

import talloc_py

ROOT = pathlib.Path(__file__).resolve().parents[2]
#: Where the packages are: the same folder in a checkout, another where they are installed.
SOURCES = pathlib.Path(talloc_py.__file__).resolve().parents[1]


class Target(NamedTuple):
    """Some source files and their tests."""

    files: tuple[str, ...]
    tests: tuple[str, ...]


def _all(*patterns: str) -> tuple[str, ...]:
    return tuple(sorted(str(path.relative_to(ROOT)) for pattern in patterns for path in ROOT.glob(pattern)))


def _sources(pattern: str) -> tuple[str, ...]:
    return tuple(sorted(str(path.relative_to(SOURCES)) for path in SOURCES.glob(pattern)))


def _examples(*areas: str) -> tuple[str, ...]:
    """The programs of these areas that both the packages and the C libraries carry out."""
    return tuple(f"tests/differential/test_{area}.py::test_example" for area in areas)


TARGETS: tuple[Target, ...] = (
    Target(
        _sources("talloc_py/*.py"),
        (
            *_examples("tree", "frames"),
            *_all("tests/unit/talloc_py/test_*.py"),
            *_examples("requests"),
            "tests/unit/test_exports.py",
            "tests/unit/tevent/test_timeval.py",
            "tests/unit/tsocket/test_birthplaces.py",
            *_all("tests/property/talloc_py/test_*.py"),
        ),
    ),
    Target(
        ("tevent/req.py", "tevent/_request.py", "tevent/queue.py"),
        (
            *_examples("requests", "streams"),
            "tests/unit/tevent/test_queue.py",
            *_all("tests/unit/tevent/test_req*.py"),
            *_all("tests/property/tevent/test_req*.py", "tests/property/tevent/test_queue.py"),
            *_all("tests/unit/tevent/test_aio.py", "tests/unit/tsocket/test_queue*.py"),
            *_all("tests/unit/tsocket/test_stream_*.py"),
        ),
    ),
    Target(
        ("tevent/context.py", "tevent/epoll.py", "tevent/fd.py", "tevent/immediate.py", "tevent/timed.py"),
        (
            *_examples("loop"),
            *_all("tests/unit/tevent/test_[!srt]*.py", "tests/unit/tevent/test_[st][!e]*.py"),
            "tests/unit/tsocket/test_stream_own_event.py",
            *_all("tests/property/tevent/test_[fiqtw]*.py"),
        ),
    ),
    Target(
        _sources("tevent/_sim*.py"),
        (*_all("tests/unit/tevent/test_testing_*.py"), "tests/property/tevent/test_simulation.py"),
    ),
    Target(
        ("tsocket/_stream.py", "tsocket/bsd_stream.py"),
        (
            *_examples("streams"),
            *_all("tests/unit/tsocket/test_stream_*.py", "tests/unit/tsocket/test_p*.py"),
            *_all("tests/unit/tsocket/test_socketpair.py", "tests/unit/tsocket/test_queue*.py"),
            *_all("tests/property/tsocket/test_[fpqs]*.py"),
        ),
    ),
    Target(
        ("tsocket/helpers.py",),
        (
            *_examples("streams"),
            "tests/unit/tsocket/test_pdu.py",
            "tests/unit/tsocket/test_queue_helpers.py",
            "tests/unit/tsocket/test_pdu_ends.py",
            "tests/unit/tsocket/test_state_names.py",
            *_all("tests/property/tsocket/test_pdu*.py", "tests/property/tsocket/test_queue*.py"),
            *_all("tests/unit/tsocket/test_stream_*.py", "tests/unit/tsocket/test_dgram*.py"),
        ),
    ),
)
