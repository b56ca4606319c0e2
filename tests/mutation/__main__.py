# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Do the tests notice mistakes? Some of all that can be made, drawn at random, one at a time.

    python -m tests.mutation --count 30 --seed 1                       # 30 mistakes in each file
    python -m tests.mutation --file tevent/queue.py --count 0          # all there are in one file
    python -m tests.mutation --file tevent/queue.py --line 120         # those of one line

The checkout is copied; each mistake is made in the copy, and the tests that `targets` names for its file run in a
process of their own, until one fails. A mistake that makes them run without end, or eat up the memory, counts as
noticed, too. Prints what was not noticed, and the score of each file. What is known to make no difference
(`equivalent`) is not made, and counted by itself.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from typing import TextIO

from .equivalent import EQUIVALENT
from .mutants import Mutant, mutants
from .server import Server
from .targets import ROOT, TARGETS

COPIED = ("talloc_py", "tevent", "tsocket", "tests", "examples", "pyproject.toml", "README.md")


def drawn(arguments: argparse.Namespace, path: str) -> tuple[list[Mutant], int]:
    """The mistakes to make in a file, and how many of those that were drawn make no difference."""
    found = mutants(path, pathlib.Path(path).read_text(encoding="utf-8"))
    if arguments.line:
        found = [mutant for mutant in found if mutant.line == arguments.line]
    if 0 < arguments.count < len(found):
        found = random.Random(f"{arguments.seed} {path}").sample(found, arguments.count)
    known = EQUIVALENT.get(path, {})
    wanted = [mutant for mutant in found if (mutant.function, mutant.old, mutant.new) not in known]
    return sorted(wanted, key=lambda mutant: mutant.line), len(found) - len(wanted)


class Score:
    """What came of the mistakes, by file."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._made: Counter[str] = Counter()
        self._noticed: Counter[str] = Counter()
        self.equivalent: Counter[str] = Counter()

    def report(self, mutant: Mutant, noticed: bool) -> None:
        """Count a mistake, and tell if it was not noticed."""
        self._made[mutant.path] += 1
        self._noticed[mutant.path] += noticed
        if not noticed:
            self.say(f"not noticed: {mutant}")

    def tell(self, path: str) -> None:
        """Print what came of those in a file."""
        self.say(f"{path}: {self._noticed[path]} of {self._made[path]}, {self.equivalent[path]} equivalent")

    def say(self, text: str) -> None:
        """Print a line."""
        print(text, file=self._out, flush=True)

    def __str__(self) -> str:
        noticed, made = self._noticed.total(), self._made.total()
        share = 100 * noticed / max(1, made)
        return f"all: {noticed} of {made} ({share:.1f} %), {self.equivalent.total()} equivalent"


def in_a_copy() -> int:
    """Be the same command in a copy of what the tests need."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, f"{folder}/{name}", ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, f"{folder}/{name}")
        command = [sys.executable, "-m", "tests.mutation", "--here", *sys.argv[1:]]
        return subprocess.run(command, cwd=folder, env={**os.environ, "CI": "1"}, check=False).returncode


def here(arguments: argparse.Namespace) -> int:
    """Make the mistakes, target after target: a process has the tests of one target only."""
    # What the tests print is of no interest.
    score = Score(os.fdopen(os.dup(1), "w"))
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    for target in TARGETS:
        paths = [path for path in target.files if not arguments.file or path in arguments.file]
        wanted: list[Mutant] = []
        for path in paths:
            some, score.equivalent[path] = drawn(arguments, path)
            wanted += some
        if wanted:
            server = Server(target.tests, wanted, score.report)
            server.run()
            if server.fails:
                score.say(f"these tests fail as it is: {' '.join(target.tests)}")
                return 2
        for path in paths:
            score.tell(path)
    score.say(str(score))
    return 0


def main() -> int:
    """Be the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--file", action="append", help="a source file; all that there are tests for if none is given")
    parser.add_argument("--line", type=int, default=0)
    parser.add_argument("--count", type=int, default=30, help="so many mistakes in each file; 0 is all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    return here(arguments) if arguments.here else in_a_copy()


if __name__ == "__main__":
    sys.exit(main())
