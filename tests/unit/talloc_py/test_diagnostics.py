# SPDX-License-Identifier: LGPL-3.0-or-later
"""What is said about a chunk that is used after its free, and the debug mode that knows where each was made."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import talloc_py as t
from talloc_py import _chunk, _sys, diagnostics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = re.escape(__file__)


class foo_state(t.TALLOC_CTX):
    """A struct without fields."""


@pytest.fixture
def births() -> Iterator[None]:
    """The debug mode of chunks, for one test."""
    on = diagnostics.births_are_remembered()
    diagnostics.remember_births()
    yield
    if not on:
        diagnostics.forget_births()


@pytest.fixture
def no_births() -> Iterator[None]:
    """The debug mode off, whatever the environment says."""
    on = diagnostics.births_are_remembered()
    diagnostics.forget_births()
    yield
    if on:
        diagnostics.remember_births()


def fault(function: Callable[..., object], *args: object) -> str:
    """The message of the abort that a call ends in."""
    with pytest.raises(t.talloc_abort_error) as caught:
        function(*args)
    return str(caught.value)


def dead() -> Any:
    """A chunk that was freed."""
    ptr = t.talloc(None, foo_state)
    t.talloc_free(ptr)
    return ptr


class TestUseAfterFree:
    def test_names_the_free_the_use_and_the_remedy(self, no_births: None) -> None:
        """Without debug mode: name, place of the free, the call that used it, what to do, and how to learn more."""
        said = fault(t.talloc_get_name, dead())
        assert re.fullmatch(
            rf"Bad talloc magic value - access after free: chunk 'struct foo_state' was freed at {HERE}:\d+ "
            rf"\(TSOCKET_DEBUG=1 tells where it was made\), and used after that by talloc_get_name\(\) at {HERE}:\d+; "
            r"keep nothing longer than its owner lives, or talloc_steal\(\) it to one that lives longer",
            said,
        )

    @pytest.mark.parametrize("free", [t.talloc_free, t.TALLOC_FREE, lambda ptr: t.talloc_unlink(None, ptr)])
    def test_double_free_is_called_that(self, no_births: None, free: Callable[[Any], object]) -> None:
        """A free of a dead chunk is told apart from other uses, and the remedy is another."""
        said = fault(free, dead())
        assert re.search(r"and freed a second time by \w+\(\) at \S+:\d+; forget what is freed", said)

    def test_place_of_birth_in_debug_mode(self, births: None) -> None:
        """The message has the line that made the chunk, for every kind of chunk."""
        for make in (
            lambda: t.talloc(None, foo_state),
            lambda: t.talloc_zero(None, foo_state),
            lambda: t.talloc_new(None),
            lambda: t.talloc_strdup(None, "text"),
            lambda: t.talloc_size(None, 3),
            lambda: t.talloc_array(None, int, 3),
        ):
            ptr: Any = make()
            t.talloc_free(ptr)
            line = make.__code__.co_firstlineno
            assert f"made at {__file__}:{line}, and used after that by" in fault(t.talloc_parent, ptr)

    def test_abort_function_gets_the_reason_alone(self) -> None:
        """A function of the user's gets C's words, as ever."""
        reasons: list[str] = []
        t.talloc_set_abort_fn(reasons.append)
        try:
            t.talloc_get_name(dead())
        finally:
            t.talloc_set_abort_fn(None)
        assert reasons == ["Bad talloc magic value - access after free"]


class TestBirths:
    def test_birth_of(self, births: None, monkeypatch: pytest.MonkeyPatch) -> None:
        """Place and time, also of a dead chunk."""
        monkeypatch.setattr(_sys, "time", lambda: 12.5)
        ptr = t.talloc_new(None)
        line = sys._getframe().f_lineno - 1
        assert diagnostics.birth_of(ptr) == (f"{__file__}:{line}", 12.5)
        t.talloc_free(ptr)
        assert diagnostics.birth_of(ptr) == (f"{__file__}:{line}", 12.5)

    def test_unknown(self, no_births: None) -> None:
        """None for a chunk made while nobody remembered, TypeError for what is none."""
        ptr = t.talloc_new(None)
        assert diagnostics.birth_of(ptr) is None
        t.talloc_free(ptr)
        with pytest.raises(TypeError, match="a talloc chunk is needed, not int"):
            diagnostics.birth_of(3)

    def test_switching_off_leaves_no_trace(self, no_births: None) -> None:
        """Every module has the names that it had before, and chunks are made as before."""
        modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == "talloc_py"]
        before = [dict(vars(module)) for module in modules]
        diagnostics.remember_births()
        assert _chunk.chunk is not before[modules.index(_chunk)]["chunk"]
        ptr = t.talloc_new(None)
        diagnostics.forget_births()
        assert [vars(module) for module in modules] == before
        assert t.talloc_free(ptr) == 0


@pytest.mark.parametrize(("setting", "on"), [(None, False), ("", False), ("0", False), ("1", True)])
def test_environment(setting: str | None, on: bool) -> None:
    """One variable switches the debug mode on, when the package is imported; else nothing of it is even loaded."""
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; import talloc_py; from talloc_py import _chunk;"
        "print('talloc_py.diagnostics' in sys.modules, hasattr(_chunk.chunk, 'when'))"
    )
    environment = {} if setting is None else {"TSOCKET_DEBUG": setting}
    run = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert run.stdout.split() == [str(on)] * 2
