# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Where the time goes: python tests/benchmarks/where.py

Looks a thousand times a second of CPU which function of Python's is running while a unit of `pdu.py` or another file
does its work. What a function calls in C, system calls among them, counts as its own time. Unlike a profiler that is
told of every call it does not make short functions look long.
"""

from __future__ import annotations

import argparse
import collections
import importlib
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import report
from harness import ROOT, warm_malloc

INTERVAL = 0.001


class Sampler:
    """Counts the functions that are found running."""

    def __init__(self) -> None:
        self.found: collections.Counter[tuple[str, str]] = collections.Counter()

    def look(self, signum: int, frame: FrameType | None) -> None:
        if frame is not None:
            code = frame.f_code
            self.found[code.co_filename, code.co_qualname] += 1

    def __enter__(self) -> None:
        self.times = os.times()
        self.begin = time.process_time()
        signal.signal(signal.SIGPROF, self.look)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        now = os.times()
        self.system = now.system - self.times.system
        self.seconds = time.process_time() - self.begin


def place(filename: str) -> str:
    """A file of ours relative to the checkout, another by its name."""
    path = Path(filename)
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


def rows(sampler: Sampler, most: int) -> list[list[str]]:
    """The functions in which most was found, and their part in per cent."""
    total = sampler.found.total()
    return [
        [f"{100 * times / total:.1f}", name, place(filename)]
        for (filename, name), times in sampler.found.most_common(most)
    ]


def main() -> None:
    """Run a unit, and print or write what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("script", nargs="?", default="pdu", help="name of the benchmark (default pdu)")
    parser.add_argument("unit", nargs="?", default="tsocket, 1", help='name of the unit (default "tsocket, 1")')
    parser.add_argument("--count", type=int, default=200_000, help="items (default 200,000)")
    parser.add_argument("--most", type=int, default=25, help="functions shown (default 25)")
    parser.add_argument("--table", action="store_true", help="write the table of docs/fast.rst")
    args = parser.parse_args()
    groups = importlib.import_module(args.script).GROUPS
    unit = {name: unit for group in groups for name, unit in group.units.items()}[args.unit]
    warm_malloc()
    # Before anybody looks: an import is not what is asked about.
    importlib.import_module("tsocket")
    sampler = Sampler()
    with sampler:
        unit.run(args.count)
    found = rows(sampler, args.most)
    system = f"{100 * sampler.system / sampler.seconds:.0f} %"
    if args.table:
        lines = [f"{system} of the CPU time is the kernel's.", ""]
        lines += report.list_table(
            ["per cent", "function", "file"], [[part, f"``{name}``", f"``{file}``"] for part, name, file in found]
        )
        (report.FOLDER / "where.inc").write_text("\n".join(lines), encoding="utf-8")
    print(f"{args.script}, {args.unit}: {sampler.seconds:.1f} s of CPU, {system} of it in the kernel")
    for part, name, file in found:
        print(f"{part:>6} %  {name:50} {file}")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
