# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The long run: random programs until the time is over.

    python -m tests.differential --area tree --minutes 15 --seed 1 --jobs 2
    python -m tests.differential --area tree --replay FILE

Prints what was run and, for each divergence, the shortest program that shows it, ready to become an example.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

from .program import Area, Divergence, Random, generate, minimise, replay, running
from .real import Real

AREAS = ("tree", "frames", "loop", "requests", "streams")
#: One program takes longer than this, in seconds, only where Python hangs.
PROGRAM_SECONDS_MAX = 60
#: After so many divergences a run has told enough.
DIVERGENCES_MAX = 5


def area_of(name: str) -> type[Area]:
    """The class ``AREA`` of the module *name*."""
    area: type[Area] = importlib.import_module(f".{name}", __package__).AREA
    return area


def hangs(*_: object) -> None:
    """Be the handler of the alarm: no exception, which the program could take for its own."""
    print("this program does not end:", *(f"    {line}" for pair in running for line in pair.program), sep="\n")
    sys.stdout.flush()
    faulthandler.dump_traceback()
    os._exit(2)


def one_process(name: str, minutes: float, seed: int, programs_max: int) -> dict[str, int]:
    """Run programs of one area; the counts of programs, operations, divergences."""
    area, counts = area_of(name), {"programs": 0, "operations": 0, "divergences": 0}
    real = Real(area)
    signal.signal(signal.SIGALRM, hangs)
    end = time.monotonic() + minutes * 60
    while time.monotonic() < end and counts["divergences"] < DIVERGENCES_MAX and counts["programs"] < programs_max:
        # Each program has its own seed, so that any of them can be had again by itself.
        own_seed = seed * 1_000_000_007 + counts["programs"]
        signal.alarm(PROGRAM_SECONDS_MAX)
        operations, found = generate(area, real, Random(own_seed))
        signal.alarm(0)
        counts["programs"] += 1
        counts["operations"] += operations
        if found is not None:
            counts["divergences"] += 1
            print(f"--- divergence in program {counts['programs'] - 1} of seed {seed}", flush=True)
            print(minimise(area, real, found), flush=True)
    real.close()
    return counts


def many_processes(arguments: argparse.Namespace) -> int:
    """Run several processes, each with a seed of its own, and add up."""
    running = []
    for job in range(arguments.jobs):
        command = [sys.executable, "-m", __package__, "--area", arguments.area, "--minutes", str(arguments.minutes)]
        command += ["--seed", str(arguments.seed + job), "--programs", str(arguments.programs), "--counts"]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    total = {"programs": 0, "operations": 0, "divergences": 0}
    failed = 0
    for process in running:
        text, _ = process.communicate()
        *told, last = text.rstrip("\n").split("\n")
        print("\n".join(told), end="\n" if told else "")
        if not last.startswith("{"):
            # It ended with an exception, which is on stderr.
            failed += 1
            continue
        counts = json.loads(last)
        total = {key: value + counts.get(key, 0) for key, value in total.items()}
    print(summary(arguments, total))
    return 1 if total["divergences"] or failed else 0


def summary(arguments: argparse.Namespace, counts: dict[str, int]) -> str:
    """What a run came to, in a line."""
    return (
        f"{arguments.area}: {counts['programs']:,} programs, {counts['operations']:,} operations, "
        f"{counts['divergences']} divergences (seed {arguments.seed}, {arguments.minutes:g} min, {arguments.jobs} jobs)"
    )


def main() -> int:
    """Be the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--area", choices=AREAS, required=True)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--programs", type=int, default=1 << 60, help="at most so many programs a job")
    parser.add_argument("--replay", type=pathlib.Path, help="carry out the lines of a file instead")
    parser.add_argument("--counts", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.replay is not None:
        return replay_file(area_of(arguments.area), arguments.replay)
    if arguments.jobs > 1:
        return many_processes(arguments)
    begin = time.process_time()
    counts = one_process(arguments.area, arguments.minutes, arguments.seed, arguments.programs)
    if arguments.counts:
        print(json.dumps(counts))
    else:
        print(summary(arguments, counts))
        print(f"{counts['operations'] / (time.process_time() - begin):,.0f} operations a second of Python's CPU time")
    return 1 if counts["divergences"] else 0


def replay_file(area: type[Area], file: pathlib.Path) -> int:
    """Carry out one program and print what both sides saw."""
    real = Real(area)
    lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    found: Divergence | None = replay(area, real, lines)
    real.close()
    print(found or "no divergence")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
