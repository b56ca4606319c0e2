# SPDX-License-Identifier: LGPL-3.0-or-later
"""
How cost grows: python tests/benchmarks/growth.py

Prints the microseconds of CPU for one item at four sizes. What is linear, or nearly, has about the same cost at all of
them; a step that is quadratic would cost ten times as much where there are ten times as many, and is marked. The
collector and the processor's caches alone make things up to three times dearer between a thousand and a million.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time

# First of all: it makes the packages of this tree importable.
from harness import run

# isort: off
# In the order of the output.
import growing_trees
import growing_loop
import growing_streams
from growing import SCENARIOS, measure

MODULES = (growing_trees, growing_loop, growing_streams)
# Cost for an item grows by size to the power of this: 0 is linear as a whole, 1 is quadratic.
EXPONENT_MAX = 0.35
EXPONENT_MAX_LAST = 0.6


def arguments() -> argparse.Namespace:
    """What the user asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="the scenarios whose name contains this")
    parser.add_argument("--rounds", type=int, default=1, help="measurements, of which the least is shown (default 1)")
    parser.add_argument("--smoke", action="store_true", help="run all once, with few items, and show no figures")
    parser.add_argument("--scenario", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def least(name: str, size: int, rounds: int) -> dict[str, float]:
    """The cost of each step, each measurement in a fresh process."""
    command = [sys.executable, __file__, "--scenario", name, "--size", str(size)]
    found = [json.loads(run(command).stdout) for _ in range(rounds)]
    return {step: min(costs[step] for costs in found) for step in found[0]}


def suspicious(sizes: tuple[int, ...], costs: list[float]) -> bool:
    """Does the cost of one item grow with their number, all in all or at the end?"""
    overall = math.log(costs[-1] / costs[0]) / math.log(sizes[-1] / sizes[0])
    last = math.log(costs[-1] / costs[-2]) / math.log(sizes[-1] / sizes[-2])
    return overall > EXPONENT_MAX or (last > EXPONENT_MAX_LAST and costs[-1] > 2 * costs[0])


def show(name: str, rounds: int) -> int:
    """Print one scenario; returns the number of steps that are suspicious."""
    sizes = SCENARIOS[name].sizes
    columns = [least(name, size, rounds) for size in sizes]
    print(f"\n{name:50}" + "".join(f"{size:>11,}" for size in sizes) + "   last/first", flush=True)
    bad = 0
    for step in columns[0]:
        costs = [max(column[step], 1e-6) for column in columns]
        mark = ""
        if suspicious(sizes, costs):
            mark = "  " + SCENARIOS[name].grows.get(step, "GROWS")
            bad += step not in SCENARIOS[name].grows
        print(f"  {step:48}" + "".join(f"{cost:11.3f}" for cost in costs) + f"{costs[-1] / costs[0]:9.2f}{mark}")
    return bad


def main() -> int:
    """Measure, and show."""
    args = arguments()
    if args.scenario:
        print(json.dumps(measure(args.scenario, args.size)))
        return 0
    chosen = [name for name in SCENARIOS if args.only in name]
    if args.smoke:
        for name in chosen:
            measure(name, 20, 20)
        print(f"{len(chosen)} scenarios work")
        return 0
    begin = time.monotonic()
    bad = sum(show(name, args.rounds) for name in chosen)
    print(f"\n{len(chosen)} scenarios in {time.monotonic() - begin:.0f} s; {bad} steps whose cost grows")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
