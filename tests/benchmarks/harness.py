# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What the benchmarks share: units in fresh processes, interleaved rounds, medians.

A *unit* is one way to do a piece of work: a Python function, or a C program, that does it a number of times and tells
the cost of one. Every measurement is a process of its own, so that no unit profits or suffers from what another left
behind; the units of a round run one after the other, so that a slow phase of the machine hits all of them.
A *group* is the units that do the same work; one of them is what the others are compared with.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import math
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import native

# No measurement takes longer, unless it hangs.
SECONDS_MAX = 600
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


class Cost(NamedTuple):
    """
    What one item costs.

    Most groups count microseconds; a group's ``what`` says which unit it is. Where there is no time, as for memory,
    *wall* is not a number.
    """

    cpu: float
    wall: float = math.nan


class Stopwatch:
    """Runs from its making."""

    def __init__(self) -> None:
        self.cpu = time.process_time()
        self.wall = time.perf_counter()

    def cost(self, count: int) -> Cost:
        """Microseconds for each of *count* items so far: of CPU (user and system), and by the clock on the wall."""
        cpu, wall = time.process_time(), time.perf_counter()
        return Cost((cpu - self.cpu) / count * 1e6, (wall - self.wall) / count * 1e6)


class Unit(NamedTuple):
    """One way to do a group's work."""

    run: Callable[[int], Cost] | list[str]
    """A function of the number of items, or the name of a C program and its arguments before that number."""

    count: int
    """How many items one measurement does."""

    peer: str = ""
    """Whose way it is, a name of `PEERS`."""


class Group(NamedTuple):
    """The units that do the same work."""

    title: str
    what: str
    base: str
    units: dict[str, Unit]


# Name as the tables have it -> modules to be there, or "c" for the C libraries, or nothing.
PEERS = {
    "this library": "",
    "asyncio streams": "",
    "asyncio Protocol": "",
    "asyncio": "",
    "uvloop streams": "uvloop",
    "uvloop Protocol": "uvloop",
    "uvloop": "uvloop",
    "Trio": "trio",
    "Twisted": "twisted",
    "epoll by hand": "",
    "plain Python": "",
    "C libraries": "c",
}


@functools.cache
def available(peer: str) -> bool:
    """Is what *peer* needs installed?"""
    needs = PEERS.get(peer, "")
    if needs == "c":
        return native.available()
    return not needs or all(importlib.util.find_spec(module) for module in needs.split())


def warm_malloc() -> None:
    """
    Allocate and free one large block.

    glibc then keeps freed blocks of up to that size instead of returning them to the kernel. asyncio reads into a new
    buffer of 256 KiB each time, which costs it two and a half times as much until this has happened in a process.
    """
    block = bytearray(4 << 20)
    del block


def per_item(work: Callable[[], object], count: int) -> Cost:
    """The time of *work*, in microseconds for each of *count* items."""
    watch = Stopwatch()
    work()
    return watch.cost(count)


def spread(peers: dict[str, Callable[[int], Cost] | list[str]], count: int, suffix: str = "") -> dict[str, Unit]:
    """Units of the same *count*, named after their peers."""
    return {peer + suffix: Unit(run, count, peer) for peer, run in peers.items()}


# -- one measurement --------------------------------------------------------------------------------------------------


def command(script: str, name: str, unit: Unit, count: int) -> list[str]:
    """How one unit is run in a process of its own."""
    if isinstance(unit.run, list):
        program, *arguments = unit.run
        return [str(native.build(program)), *arguments, str(count)]
    return [sys.executable, script, "--unit", name, "--count", str(count)]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run *command* with the packages of this tree; a failure ends the benchmark."""
    # Twisted's reactor and others would look at what a user has set; a fixed hash seed is one difference less.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=SECONDS_MAX)
    if done.returncode:
        raise RuntimeError(f"{command} failed with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done


def measure(script: str, name: str, unit: Unit, count: int) -> Cost:
    """The cost of one item, from a fresh process."""
    cpu, wall = run(command(script, name, unit, count)).stdout.split()
    return Cost(float(cpu), float(wall))


def instructions(script: str, name: str, unit: Unit, count: int) -> Cost:
    """
    The machine instructions of one item outside the kernel, counted by valgrind.

    The difference of two runs leaves start and warm-up out. Unlike a time it is the same on a busy machine.
    """
    totals = []
    for items in (count, 3 * count):
        valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
        found = re.search(r"Collected : (\d+)", run([*valgrind, *command(script, name, unit, items)]).stderr)
        assert found is not None
        totals.append(int(found[1]))
    return Cost((totals[1] - totals[0]) / (2 * count))


# -- many of them -----------------------------------------------------------------------------------------------------

Results = dict[str, list[Cost]]


def key(script: str, name: str) -> str:
    """What a unit is called among those of all scripts."""
    return f"{Path(script).stem}/{name}"


def rounds(
    wanted: list[tuple[str, str, Unit]], times: int, count: int | None = None, *, verbose: bool = False
) -> Results:
    """
    Measure each of *wanted* (script, name, unit) *times* times.

    Every second round goes the other way round: what comes first must not always be the same.
    """
    results: Results = {key(script, name): [] for script, name, _ in wanted}
    for turn in range(times):
        begin = time.monotonic()
        for script, name, unit in wanted if turn % 2 == 0 else reversed(wanted):
            results[key(script, name)].append(measure(script, name, unit, count or unit.count))
        if verbose:
            print(f"round {turn + 1} of {times}: {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    return results


def choose(script: str, groups: Iterable[Group], only: str) -> list[Group]:
    """The groups and units whose name contains *only*, without what is not installed."""
    chosen = []
    for group in groups:
        units = {
            name: unit
            for name, unit in group.units.items()
            if (only in key(script, name) or only in group.title) and available(unit.peer)
        }
        if units:
            chosen.append(group._replace(units=units))
    return chosen


def main(script: str, description: str | None, groups: list[Group], others: dict[str, Unit] | None = None) -> None:
    """Run the benchmark that *script* is, or one unit of it where ``--unit`` says so, which may be one of *others*."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each unit (default 5)")
    parser.add_argument("--count", type=int, default=None, help="items in each measurement")
    parser.add_argument("--only", default="", help="run the groups and units whose name contains this")
    parser.add_argument(
        "--instructions", action="store_true", help="count instructions with valgrind, once, instead of the time"
    )
    parser.add_argument("--unit", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.unit:
        known = {name: unit for group in groups for name, unit in group.units.items()} | (others or {})
        run_unit(known[args.unit], args.count)
        return
    chosen = choose(script, groups, args.only)
    wanted = [(script, name, unit) for group in chosen for name, unit in group.units.items()]
    if args.instructions:
        print(f"Python {sys.version.split()[0]}, instructions outside the kernel")
        results = {
            key(script, name): [instructions(script, name, unit, args.count or 1000)] for script, name, unit in wanted
        }
    else:
        results = rounds(wanted, args.rounds, args.count)
        print(f"Python {sys.version.split()[0]}, {args.rounds} rounds, medians, and the ratio of the CPU time")
    for group in chosen:
        print_group(script, group, results)


def run_unit(unit: Unit, count: int | None) -> None:
    """Do the work of one unit here and now, and print its cost."""
    assert callable(unit.run)
    warm_malloc()
    print(*unit.run(count or unit.count), flush=True)
    # What a framework does at exit is not measured, and some take long to take down thousands of connections.
    sys.stdout.flush()
    os._exit(0)


def median(costs: list[Cost]) -> Cost:
    """The medians of CPU and wall, each for itself."""
    return Cost(statistics.median(cost.cpu for cost in costs), statistics.median(cost.wall for cost in costs))


def print_group(script: str, group: Group, results: Results) -> None:
    """Print the medians, their spread and the ratio to the base."""
    print(f"\n{group.title}: {group.what}")
    base = results.get(key(script, group.base))
    width = max(map(len, group.units))
    for name in group.units:
        costs = results[key(script, name)]
        middle = median(costs)
        low, high = min(cost.cpu for cost in costs), max(cost.cpu for cost in costs)
        ratio = f"{middle.cpu / median(base).cpu:6.2f}" if base else ""
        wall = f"wall {middle.wall:10.3f}" if middle.wall == middle.wall else ""
        between = f"({low:.3f} - {high:.3f})" if len(costs) > 1 else ""
        print(f"  {name:{width}}  {middle.cpu:12.3f}  {between:26}  {ratio:6}  {wall}")
