# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Programs that both sides carry out, and what must come out of it: the same.

A program is a list of lines, each an operation and its arguments. `Interpreter` carries them out in Python, the driver
in C. `Pair` does both and compares what was observed, line by line. An `Area` thinks up the next line; what it picks
comes from `Choices`, behind which is Hypothesis or a plain random number generator.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, TypeVar

from talloc_py import talloc_set_abort_fn, talloc_set_log_fn

from .real import Real

T = TypeVar("T")

#: As in common.h: how many operations the scripts of a program may carry out, and how deep they may nest.
SCRIPT_BUDGET = 3000
SCRIPT_DEPTH = 40
#: So many lines are handed to the driver at once where the answers are not waited for.
BATCH = 64


class Choices(Protocol):
    """Where a generator's decisions come from."""

    def integer(self, low: int, high: int) -> int:
        """One of *low* to *high*, both included."""
        ...

    def pick(self, items: Sequence[T]) -> T:
        """One of *items*; the first is the simplest."""
        ...

    def chance(self, percent: int) -> bool:
        """True in *percent* of the cases; False is simpler."""
        ...


class Random:
    """Choices from a fast generator of 32 bit numbers: random.Random's own methods take most of a run's time."""

    def __init__(self, seed: int) -> None:
        import random

        self._bits = random.Random(seed).getrandbits

    def integer(self, low: int, high: int) -> int:
        """One of *low* to *high*; the bias is of no interest here."""
        return low + self._bits(32) % (high - low + 1)

    def pick(self, items: Sequence[T]) -> T:
        """One of *items*."""
        return items[self._bits(32) % len(items)]

    def chance(self, percent: int) -> bool:
        """True in *percent* of the cases."""
        return self._bits(32) % 100 < percent


class EndOfProgram(BaseException):  # it is no error
    """The library has called its abort function."""


class Interpreter:
    """
    The Python side of a language: method ``op_x`` carries out the operation ``x``.

    Objects have names. An operation on what is not there (any more) does nothing, as in the driver, so any subset of a
    program's lines is a program.
    """

    def __init__(self) -> None:
        self.operations = 0
        #: How many lines of the program have been begun.
        self.lines = 0
        #: The library aborted; what Python still does on its way out is not looked at.
        self.over = False
        self._observations: list[str] = []
        self._objects: list[tuple[str, str, Any]] = []
        self._scripts: dict[str, list[list[str]]] = {}
        self._depth = 0
        self._budget = SCRIPT_BUDGET
        self._value = 0
        self._methods: dict[str, Any] = {}
        talloc_set_abort_fn(self.aborted)

    # What operations use.

    def saw(self, text: str) -> None:
        """Add an observation."""
        if not self.over:
            self._observations.append(text.replace("\n", "\\n") if "\n" in text else text)

    def aborted(self, reason: str) -> None:
        """Be the abort function of a library."""
        self.saw(f"abort {reason}")
        self.over = True
        raise EndOfProgram(reason)

    def add(self, name: str, kind: str, obj: object) -> None:
        """Give a chunk a name; an older living object of that name is forgotten. None is not entered."""
        self._objects = [entry for entry in self._objects if entry[0] != name]
        if obj is not None:
            self._objects.append((name, kind, obj))

    def get(self, name: str, kind: str | None = None) -> Any:
        """The living chunk of that name and, if given, of that kind; or None."""
        for entry in self._objects:
            if entry[0] == name:
                return entry[2] if kind is None or kind == entry[1] else None
        return None

    def kind(self, name: str) -> str | None:
        """What the living chunk of that name is."""
        for entry in self._objects:
            if entry[0] == name:
                return entry[1]
        return None

    def name_of(self, obj: object) -> str:
        """The name of a chunk in this program: "none" for None, "?" for one that has none."""
        if obj is None:
            return "none"
        for entry in self._objects:
            if entry[2] is obj:
                return entry[0]
        return "?"

    def scan(self) -> None:
        """Say which chunks have died since the last time, in the order of their creation."""
        dead = [entry for entry in self._objects if entry[2]._talloc_chunk.obj is not entry[2]]
        if dead:
            for entry in dead:
                self.saw(f"died {entry[0]}")
            self._objects = [entry for entry in self._objects if entry not in dead]

    def run_script(self, name: str) -> int:
        """Run a script as a destructor or handler does; its value is what its last "return N" said, or 0."""
        self.scan()
        if name not in self._scripts or self._depth >= SCRIPT_DEPTH or self.over:
            return 0
        outer, self._value = self._value, 0
        self._depth += 1
        try:
            for words in self._scripts[name]:
                if self._budget == 0 or self.over:
                    break
                self._budget -= 1
                if words[0] == "return":
                    self._value = int(words[1])
                    continue
                self._operation(words)
        except EndOfProgram:
            raise
        except Exception as error:  # an observation, one that C does not make
            self._raised(error)
        finally:
            self._depth -= 1
            value, self._value = self._value, outer
        return value

    def run_destructor(self, name: str) -> int:
        """Run a script where no exception may leave: the end of the program waits until the library is done."""
        try:
            return self.run_script(name)
        except EndOfProgram:
            return 0

    # What runs them.

    def _raised(self, error: Exception) -> None:
        where = traceback.extract_tb(error.__traceback__)[-1]
        self.saw(f"raised {type(error).__name__}: {error} (in {where.filename}, line {where.lineno})")

    def _operation(self, words: list[str]) -> None:
        self.operations += 1
        method = self._methods.get(words[0])
        if method is None:
            method = self._methods[words[0]] = getattr(self, f"op_{words[0]}")
        method(*words[1:])
        self.scan()

    def run(self, line: str) -> list[str]:
        """Carry out one line; what was observed."""
        self._observations = []
        self.lines += 1
        words = line.split()
        if not words or self.over:
            return []
        try:
            if words[0] == "script":
                body = line.split(" ", 2)[2] if len(words) > 2 else ""
                self._scripts[words[1]] = [part.split() for part in body.split(";") if part.strip()]
                self.operations += 1
            elif words[0] == "end":
                self.finish()
            else:
                self._operation(words)
        except EndOfProgram:
            pass
        except Exception as error:  # as above
            self._raised(error)
        return self._observations

    # What an area may add.

    def finish(self) -> None:
        """The line "end": the last observations, as the driver's area_end() makes them."""

    def close(self) -> None:
        """Put everything process-wide back, whatever the program did."""
        self.over = True
        talloc_set_abort_fn(None)
        talloc_set_log_fn(None)


class Area(Protocol):
    """What each language provides; an instance is for one program."""

    #: As in ``--area`` and ``c/<name>.c``.
    name: ClassVar[str]
    #: pkg-config's names of the libraries.
    packages: ClassVar[tuple[str, ...]]
    #: More for the compiler, where pkg-config does not know it.
    flags: ClassVar[tuple[str, ...]]
    #: So many lines a program of the long run has.
    length: ClassVar[int]

    def python(self) -> Interpreter:
        """A fresh Python side."""
        ...

    def next_line(self, choices: Choices) -> str:
        """The next line of a program, from what is known to be alive."""
        ...

    def saw(self, line: str, observations: list[str]) -> None:
        """Learn what *line* did."""
        ...


def lines(text: str) -> list[str]:
    """The program that a text holds, a line each."""
    return [line.strip() for line in text.strip().splitlines()]


class Divergence(Exception):  # what it is called everywhere here
    """The two sides were seen to do different things."""

    def __init__(self, program: list[str], python: list[str], real: list[str]) -> None:
        super().__init__(program, python, real)
        self.program = program
        self.python = python
        self.real = real

    def __str__(self) -> str:
        text = ["after this program:", *(f"    {line}" for line in self.program)]
        text += ["Python:", *(f"    {line}" for line in self.python)]
        text += ["C:", *(f"    {line}" for line in self.real)]
        return "\n".join(text)


_LOCATION = re.compile(r"[^\s'\[\]\"()]*\w\.(?:c|h|py):\d+")
_ADDRESS = re.compile(r"\b0x[0-9a-f]+\b")


def plain(text: str) -> str:
    """An observation without what is different by nature: places in the code and addresses."""
    if ".c:" in text or ".h:" in text or ".py:" in text:
        text = _LOCATION.sub("LOCATION", text)
    return _ADDRESS.sub("ADDRESS", text) if "0x" in text else text


class Pair:
    """
    One program, carried out on both sides.

    With *lockstep* each line is compared before the next is made; without, the driver's answers are looked at many at
    a time, which is faster.
    """

    def __init__(self, area: Area, real: Real, *, lockstep: bool = True) -> None:
        self.area = area
        self.program: list[str] = []
        self.over = False
        self._real = real
        self._batch = 1 if lockstep else BATCH
        # Lines that the driver has not been asked yet, the length of the program up to them, and what Python answered.
        self._pending: list[tuple[str, int, list[str]]] = []
        self._open = True
        self._python = area.python()
        self._ask("begin", [])

    @property
    def operations(self) -> int:
        """How many operations were carried out, by lines and by scripts."""
        return self._python.operations

    def run(self, line: str) -> list[str]:
        """Carry out one line; what was observed, in Python's words."""
        self.program.append(line)
        observations = self._python.run(line)
        self.over = self._python.over
        self._ask(line, observations)
        return observations

    def end(self) -> None:
        """Carry out "end" and compare all that is not compared yet."""
        if not self.over:
            self._ask("end", self._python.run("end"))
            self._compare()
            self.over = True
        self.close()

    def close(self) -> None:
        """Put both sides back, however far they are."""
        if not self._open:
            return
        self._open = False
        self._python.close()
        try:
            self._compare()
        finally:
            self._real.send(["end"])
            self._real.receive(1)

    def _ask(self, line: str, observations: list[str]) -> None:
        self._pending.append((line, len(self.program), observations))
        if len(self._pending) >= self._batch:
            self._compare()

    def _compare(self) -> None:
        pending, self._pending = self._pending, []
        if not pending:
            return
        self._real.send([line for line, _, _ in pending])
        answers = self._real.receive(len(pending))
        for (_, length, python), real in zip(pending, answers, strict=True):
            if python == real:
                continue
            ours, theirs = [plain(text) for text in python], [plain(text) for text in real]
            if ours != theirs:
                raise Divergence(self.program[:length], ours, theirs)


def replay(area: type[Area], real: Real, program: list[str], *, lockstep: bool = True) -> Divergence | None:
    """Carry out a whole program; the first difference, if there is one."""
    pair = Pair(area(), real, lockstep=lockstep)
    try:
        for line in program:
            if pair.over:
                break
            pair.run(line)
        pair.end()
    except Divergence as found:
        return found
    finally:
        try:
            pair.close()
        except Divergence:
            pass
    return None


#: What `generate` is at, for whoever wants to know why that takes so long.
running: list[Pair] = []


def generate(area: type[Area], real: Real, choices: Choices) -> tuple[int, Divergence | None]:
    """Make up a program of the area's length and carry it out; the number of operations and the first difference."""
    own = area()
    pair = Pair(own, real, lockstep=False)
    running.append(pair)
    found = None
    try:
        for _ in range(own.length):
            if pair.over:
                break
            line = own.next_line(choices)
            own.saw(line, pair.run(line))
        pair.end()
    except Divergence as divergence:
        found = divergence
    finally:
        try:
            pair.close()
        except Divergence:
            pass
        running.clear()
    return pair.operations, found


def minimise(area: type[Area], real: Real, found: Divergence) -> Divergence:
    """
    Find the same divergence, or one like it, in fewer lines.

    Halves, quarters ... single lines are left out as long as the two sides still differ, then parts of scripts.
    """

    def shorter(program: list[str]) -> bool:
        nonlocal found
        again = replay(area, real, program, lockstep=False)
        if again is not None:
            found = again
        return again is not None

    size = max(1, len(found.program) // 2)
    while True:
        at, changed = 0, False
        while at < len(found.program):
            if shorter(found.program[:at] + found.program[at + size :]):
                changed = True
            else:
                at += size
        if size == 1 and not changed:
            break
        size = max(1, size // 2)
    for at, line in enumerate(list(found.program)):
        if line.startswith("script ") and at < len(found.program):
            _minimise_script(at, found, shorter)
    return found


def _minimise_script(at: int, found: Divergence, shorter: Any) -> None:
    head, name, body = [*found.program[at].split(" ", 2), "", ""][:3]
    parts = [part.strip() for part in body.split(";") if part.strip()]
    index = 0
    while index < len(parts):
        fewer = parts[:index] + parts[index + 1 :]
        line = " ".join([head, name, " ; ".join(fewer)]).rstrip()
        if shorter([*found.program[:at], line, *found.program[at + 1 :]]):
            parts = fewer
        else:
            index += 1
