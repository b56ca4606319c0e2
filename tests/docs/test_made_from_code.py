# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the build of the manual reads from the code is right: signatures, and the states of a request."""

from __future__ import annotations

import importlib
import inspect
import pathlib
import re
import sys
from typing import Any

import pytest

EXTENSIONS = pathlib.Path(__file__).resolve().parents[2] / "docs" / "_ext"


@pytest.fixture
def extension(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports one of the manual's own extensions, and forgets it again."""
    monkeypatch.syspath_prepend(EXTENSIONS)
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(EXTENSIONS) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


class TestSignatures:
    def test_types_are_those_of_the_source(self, extension: Any) -> None:
        """Parameters and results as a type checker sees them."""
        signatures_of = extension("signatures").signatures_of
        assert [str(each) for each in signatures_of("tevent.req", "tevent_req_create")] == [
            "(mem_ctx: TALLOC_CTX | None, type: type[S]) -> tuple[tevent_req | None, S]"
        ]

    def test_overloads_are_all_there(self, extension: Any) -> None:
        """... but for those that can never be called."""
        signatures_of = extension("signatures").signatures_of
        assert len(signatures_of("talloc_py.array", "talloc_array")) == 5
        assert [str(each) for each in signatures_of("talloc_py.core", "TALLOC_FREE")] == [
            "(ctx: TALLOC_CTX | None) -> None"
        ]

    @pytest.mark.slow
    @pytest.mark.parametrize("package", ["talloc_py", "tevent", "tsocket"])
    def test_every_function_has_one(self, extension: Any, package: str) -> None:
        """With the parameters that the function has, in their order."""
        signatures_of = extension("signatures").signatures_of
        module = importlib.import_module(package)
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isroutine(thing):
                first = signatures_of(thing.__module__, thing.__name__)[0].parameters
                assert re.findall(r"(?<=[(*\s])(\w+): ", first) == list(inspect.signature(thing).parameters), name


class TestLifeOfARequest:
    def test_the_picture_shows_every_way(self, extension: Any) -> None:
        """Each end leads to its state, and from everywhere there are the same two ways out."""
        ends = {
            "tevent_req_done": "DONE",
            "tevent_req_error": "USER_ERROR",
            "its end time passes": "TIMED_OUT",
            "tevent_req_nomem": "NO_MEMORY",
            "tevent_req_oom": "NO_MEMORY",
        }
        expected = {("IN_PROGRESS", call, state) for call, state in ends.items()}
        for state in ("IN_PROGRESS", *ends.values()):
            expected |= {(state, call, "RECEIVED") for call in ("tevent_req_received", "talloc_free")}
        found = extension("lifecycle").transitions()
        strip = "TEVENT_REQ_"
        assert {(t.before.removeprefix(strip), t.call, t.after.removeprefix(strip)) for t in found} == expected
