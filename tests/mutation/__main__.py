# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Do the tests notice mistakes? Some of all that can be made, drawn at random, one at a time.

    python -m tests.mutation --count 30 --seed 1                       # 30 mistakes in each file
    python -m tests.mutation --file tevent/queue.py --count 0          # all there are in one file
    python -m tests.mutation --file tevent/queue.py --line 120         # those of one line

The checkout is copied; each mistake is written into the copy, and a fresh process there runs the tests that
`targets` names, stage after stage, until one fails. A mistake that makes them run without end, or eat up the memory,
counts as noticed, too. Prints what was not noticed, and the score of each file. What is known to make no difference
(`equivalent`) is not drawn, and counted by itself.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator

import hypothesis.stateful
import pytest

from .equivalent import EQUIVALENT
from .mutants import Mutant, mutants
from .targets import TARGETS, Stage

#: Loaded once, and not in each process.
LOADED = (hypothesis.stateful,)
ROOT = pathlib.Path(__file__).resolve().parents[2]
COPIED = ("talloc_py", "tevent", "tsocket", "tests", "examples", "pyproject.toml", "README.md")
PYTEST = ("-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")
#: A stage takes longer than this, in seconds of its own or in all, only where it never ends.
CPU_SECONDS_MAX = 60
SECONDS_MAX = 600
MEMORY_MAX = 4 << 30
PASSED = 0


def run(stage: Stage, *, keep: bool = False) -> int:
    """
    Run the tests of a stage in a process of its own, in the current folder; 0 if nothing was noticed.

    What it compiles is to *keep* only when nothing is changed: compiled files are told apart by their times, which are
    the same for two mistakes of a second.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setsid()
            if not keep:
                sys.dont_write_bytecode = True
                os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
            null = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS_MAX, CPU_SECONDS_MAX))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
            signal.alarm(SECONDS_MAX)
            status = int(pytest.main([*PYTEST, *stage]))
        finally:
            os._exit(status)
    _, result = os.waitpid(child, 0)
    try:
        # Drivers of the C libraries, servers ...
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        pass
    return result


def is_noticed(mutant: Mutant, original: str, stages: tuple[Stage, ...]) -> bool:
    """Whether the tests notice a mistake."""
    file = pathlib.Path(mutant.path)
    file.write_text(mutant.source, encoding="utf-8")
    try:
        return any(run(stage) != PASSED for stage in stages)
    finally:
        file.write_text(original, encoding="utf-8")


def drawn(arguments: argparse.Namespace, path: str, source: str) -> tuple[list[Mutant], int]:
    """The mistakes to make in a file, and how many of those that were drawn make no difference."""
    found = mutants(path, source)
    if arguments.line:
        found = [mutant for mutant in found if mutant.line == arguments.line]
    if 0 < arguments.count < len(found):
        found = random.Random(f"{arguments.seed} {path}").sample(found, arguments.count)
    known = EQUIVALENT.get(path, {})
    wanted = [mutant for mutant in found if (mutant.function, mutant.old, mutant.new) not in known]
    return sorted(wanted, key=lambda mutant: mutant.line), len(found) - len(wanted)


def files(arguments: argparse.Namespace) -> Iterator[tuple[str, tuple[Stage, ...]]]:
    """The files to be changed, with the stages of their tests."""
    for target in TARGETS:
        for path in target.files:
            if not arguments.file or path in arguments.file:
                yield path, target.stages


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
    return compare(arguments, list(files(arguments))) if arguments.here else in_a_copy()


def compare(arguments: argparse.Namespace, chosen: list[tuple[str, tuple[Stage, ...]]]) -> int:
    """Make the mistakes, and tell what came of them."""
    for stage in dict.fromkeys(stage for _, stages in chosen for stage in stages):
        if run(stage, keep=True) != PASSED:
            print(f"these tests fail as it is: {' '.join(stage)}")
            return 2
    total: Counter[str] = Counter()
    for path, stages in chosen:
        source = pathlib.Path(path).read_text(encoding="utf-8")
        wanted, equivalent = drawn(arguments, path, source)
        begin, noticed = time.monotonic(), 0
        for mutant in wanted:
            if is_noticed(mutant, source, stages):
                noticed += 1
            else:
                print(f"not noticed: {mutant}", flush=True)
        total.update(made=len(wanted), noticed=noticed, equivalent=equivalent)
        seconds = time.monotonic() - begin
        print(f"{path}: {noticed} of {len(wanted)}, {equivalent} equivalent, {seconds:.0f} s", flush=True)
    share = 100 * total["noticed"] / max(1, total["made"])
    print(f"all: {total['noticed']} of {total['made']} ({share:.1f} %), {total['equivalent']} equivalent")
    return 0


if __name__ == "__main__":
    sys.exit(main())
