# SPDX-License-Identifier: LGPL-3.0-or-later
"""
A pytest that has collected its tests, and runs them again and again, each time in a process of its own.

Where a mistake is in the body of functions, these get other code in that process, as Python can do it; that saves the
loading of all tests. Where it is not, the tests are loaded anew.
"""

from __future__ import annotations

import gc
import os
import pathlib
import resource
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from types import CodeType, FunctionType

import pytest

from .mutants import Mutant

OPTIONS = ("-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")
#: Tests take longer than this, in seconds of their own or in all, only where they never end.
CPU_SECONDS_MAX = 60
SECONDS_MAX = 600
MEMORY_MAX = 4 << 30
PASSED = 0
#: The status of a process that could not change its functions.
UNCHANGEABLE = 99
Place = tuple[str, int]


def _codes(code: CodeType) -> Iterator[tuple[Place, CodeType]]:
    """The code of all functions in *code*, by name and line."""
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield (part.co_qualname, part.co_firstlineno), part
            yield from _codes(part)


def _change(mutant: Mutant, original: str) -> bool:
    """Let the functions that are there do what *mutant* says; False where none of them is concerned."""
    path = os.path.abspath(mutant.path)
    old, new = compile(original, path, "exec"), compile(mutant.source, path, "exec")
    before, after = dict(_codes(old)), dict(_codes(new))
    changed = {place: code for place, code in after.items() if code != before.get(place)}
    found = False
    for function in gc.get_objects():
        if isinstance(function, FunctionType) and function.__code__.co_filename == path:
            code = changed.get((function.__code__.co_qualname, function.__code__.co_firstlineno))
            if code is not None:
                function.__code__ = code
                found = True
    return found


def _limit() -> None:
    """Be a process of one's own, which comes to an end."""
    os.setsid()
    # The compiled file is told from that of another mistake by its time only, which may be the same.
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS_MAX, CPU_SECONDS_MAX))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    signal.alarm(SECONDS_MAX)


def _wait(child: int) -> int:
    _, status = os.waitpid(child, 0)
    try:
        # Drivers of the C libraries, servers ...
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        pass
    return os.waitstatus_to_exitcode(status)


def _afresh(tests: Iterable[str]) -> int:
    """Load and run *tests* in a process of its own; 0 if nothing was noticed."""
    child = os.fork()
    if child:
        return _wait(child)
    _limit()
    return os.execv(sys.executable, [sys.executable, "-m", "pytest", *OPTIONS, *tests])


class Server:
    """Makes mistakes when the tests are collected, and reports whether each was noticed."""

    def __init__(self, tests: tuple[str, ...], wanted: list[Mutant], report: Callable[[Mutant, bool], None]) -> None:
        self._tests = tests
        self._wanted = wanted
        self._report = report
        self._is_child = False
        #: The tests fail as it is.
        self.fails = False

    def _noticed(self, mutant: Mutant, original: str) -> bool | None:
        """Whether the tests notice a mistake; None in the process that is to run them now."""
        child = os.fork()
        if child == 0:
            self._is_child = True
            _limit()
            try:
                changed = _change(mutant, original)
            except ValueError:  # a closure has other variables then
                changed = False
            if not changed:
                os._exit(UNCHANGEABLE)
            return None
        status = _wait(child)
        return (_afresh(self._tests) if status == UNCHANGEABLE else status) != PASSED

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Be the hook of pytest's; in the processes that run tests pytest goes on by itself."""
        if session.testsfailed or _afresh(self._tests) != PASSED:
            self.fails = True
            return True
        for mutant in self._wanted:
            file = pathlib.Path(mutant.path)
            original = file.read_text(encoding="utf-8")
            # What is loaded only when a test asks for it, and what other processes load, comes from the file.
            file.write_text(mutant.source, encoding="utf-8")
            noticed = self._noticed(mutant, original)
            if noticed is None:
                return None
            file.write_text(original, encoding="utf-8")
            self._report(mutant, noticed)
        return True

    def run(self) -> None:
        """Collect the tests and make the mistakes."""
        status = pytest.main([*OPTIONS, *self._tests], plugins=[self])
        if self._is_child:
            os._exit(int(status))
