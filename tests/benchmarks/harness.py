# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What the benchmarks share: units in fresh processes, interleaved rounds, medians in a small table.

A *unit* is a function that does its work a number of times and returns the CPU time of one, in microseconds.  Every
measurement is a process of its own, so that no unit profits or suffers from what another left behind; the units of a
round run one after the other, so that a slow phase of the machine hits all of them.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

Unit = Callable[[int], float]


def warm_malloc() -> None:
    """
    Allocate and free one large block.

    glibc then keeps freed blocks of up to that size instead of returning them to the kernel. asyncio reads into a new
    buffer of 256 KiB each time, which costs it two and a half times as much until this has happened in a process.
    """
    block = bytearray(4 << 20)
    del block


def per_item(work: Callable[[], object], count: int) -> float:
    """The CPU time of *work*, in microseconds for each of *count* items."""
    begin = time.process_time()
    work()
    return (time.process_time() - begin) / count * 1e6


def command(script: str, unit: str, count: int) -> list[str]:
    """How one unit is run in a process of its own."""
    return [sys.executable, script, "--unit", unit, "--count", str(count)]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run *command* with the packages of this tree; a failure ends the benchmark."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{command} failed:\n{done.stderr}")
    return done


def measure(script: str, unit: str, count: int) -> float:
    """The CPU time of one item, from a fresh process."""
    return float(run(command(script, unit, count)).stdout)


def instructions(script: str, unit: str, count: int) -> float:
    """
    The machine instructions of one item outside the kernel, counted by valgrind.

    The difference of two runs leaves start and warm-up out. Unlike a time it is the same on a busy machine.
    """
    totals = []
    for items in (count, 3 * count):
        valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *command(script, unit, items)]
        found = re.search(r"Collected : (\d+)", run(valgrind).stderr)
        assert found is not None
        totals.append(int(found[1]))
    return (totals[1] - totals[0]) / (2 * count)


def main(
    script: str,
    description: str,
    units: dict[str, tuple[Unit, int]],
    groups: dict[str, tuple[str, list[str]]],
) -> None:
    """
    Run the benchmark, or one unit of it where ``--unit`` says so.

    Args:
        script: The benchmark's file.

        description: For ``--help``.

        units: Name -> function and number of items.

        groups: Heading -> unit that the others are compared with, and the names of all its units.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each unit (default 5)")
    parser.add_argument("--count", type=int, default=None, help="items in each measurement")
    parser.add_argument("--only", default="", help="run the groups and units whose name contains this")
    parser.add_argument(
        "--instructions", action="store_true", help="count instructions with valgrind, once, instead of the time"
    )
    parser.add_argument("--unit", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.unit:
        warm_malloc()
        function, count = units[args.unit]
        print(function(args.count or count))
        return
    chosen = {
        heading: (base, [name for name in names if args.only in name or args.only in heading])
        for heading, (base, names) in groups.items()
    }
    wanted = [name for base, names in chosen.values() for name in names]
    results: dict[str, list[float]] = {name: [] for name in wanted}
    if args.instructions:
        for name in wanted:
            results[name].append(instructions(script, name, args.count or 1000))
        print(f"Python {sys.version.split()[0]}, instructions outside the kernel")
    else:
        for turn in range(args.rounds):
            # Every second round the other way round: what comes first must not always be the same.
            for name in wanted if turn % 2 == 0 else reversed(wanted):
                results[name].append(measure(script, name, args.count or units[name][1]))
        print(f"Python {sys.version.split()[0]}, {args.rounds} rounds, microseconds of CPU, medians")
    for heading, (base, names) in chosen.items():
        if names:
            table(heading, base, {name: results[name] for name in names})


def table(heading: str, base: str, results: dict[str, list[float]]) -> None:
    """Print the medians, their spread and the ratio to *base*."""
    print(f"\n{heading}")
    median = {name: statistics.median(values) for name, values in results.items()}
    width = max(map(len, results))
    for name, values in results.items():
        ratio = f"{median[name] / median[base]:6.2f}" if base in median else "      "
        spread = f"({min(values):.3f} - {max(values):.3f})" if len(values) > 1 else ""
        print(f"  {name:{width}}  {median[name]:12.3f}  {spread:24}  {ratio}")
