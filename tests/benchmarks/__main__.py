# SPDX-License-Identifier: LGPL-3.0-or-later
"""
All benchmarks in one go: python tests/benchmarks

The same work done with this library, asyncio, uvloop, Trio, Twisted, a loop around a bare epoll object, and the C
libraries, as far as they are installed. Every measurement is a fresh process; rounds are interleaved; medians are
shown.
"""

from __future__ import annotations

import argparse
import json
import sys
from multiprocessing.pool import ThreadPool
from pathlib import Path

# Also where it is started as a module.
sys.path.insert(0, str(Path(__file__).resolve().parent))

import bulk
import events
import imports
import memory
import pdu
import report
import request
import targets
import tls
import tree
import udp
from harness import Cost, Group, Unit, available, choose, key, measure, print_group, rounds

MODULES = [pdu, bulk, tls, udp, events, request, tree, memory, imports]
# Items of a unit where it only has to be seen to work.
SMOKE = {"pdu": 200, "imports": 1, "bulk": 4, "tls": 4, "memory": 20}


def arguments() -> argparse.Namespace:
    """What the user asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each unit (default 5)")
    parser.add_argument("--only", default="", help="run the groups and units whose name contains this")
    parser.add_argument(
        "--targets", action="store_true", help="measure what has a target; the exit status is 1 if one is missed"
    )
    parser.add_argument("--table", action="store_true", help="write the tables and the chart of docs/fast.rst")
    parser.add_argument("--smoke", action="store_true", help="run every unit once, with few items, and show no figures")
    parser.add_argument("--save", type=Path, metavar="FILE", help="keep what was measured, as JSON")
    parser.add_argument("--load", type=Path, metavar="FILE", help="show what was kept instead of measuring")
    return parser.parse_args()


def smoke(wanted: list[tuple[str, str, Unit]]) -> int:
    """Run each once."""
    # Thousands of connections take long to make: those of 8,000 are tried with fewer.
    wanted = [each for each in wanted if not each[1].endswith(", 8000")]
    wanted += [(str(pdu.__file__), name, unit) for name, unit in pdu.FEW.items() if available(unit.peer)]
    # What differs from another unit in its count alone is the same now.
    small = {(script, name.rstrip("0")): (script, name, unit) for script, name, unit in wanted}.values()
    with ThreadPool() as pool:
        pool.starmap(measure, [(*each, SMOKE.get(Path(each[0]).stem, 100)) for each in small])
    print(f"{len(small)} units work; not here: {', '.join(missing()) or 'nothing'}")
    return 0


def missing() -> list[str]:
    """The peers that are not installed."""
    units = [unit for module in MODULES for group in module.GROUPS for unit in group.units.values()]
    return sorted({unit.peer for unit in units if not available(unit.peer)})


def main() -> int:
    """Measure, and show what is asked for."""
    args = arguments()
    chosen: list[tuple[str, Group]] = [
        (str(module.__file__), group)
        for module in MODULES
        for group in choose(str(module.__file__), module.GROUPS, args.only)
    ]
    wanted = [(script, name, unit) for script, group in chosen for name, unit in group.units.items()]
    if args.smoke:
        return smoke(wanted)
    if args.load:
        kept = json.loads(args.load.read_text())
        about = kept["about"]
        results = {name: [Cost(*cost) for cost in costs] for name, costs in kept["results"].items()}
    else:
        if args.targets and not args.table:
            wanted = [each for each in wanted if key(*each[:2]) in targets.needed()]
        about = report.about(args.rounds)
        results = rounds(wanted, args.rounds, verbose=True)
    if args.save:
        args.save.write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")
    if args.table:
        report.write(about, [(script, group) for script, group in chosen], results)
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    if args.targets:
        return 0 if targets.check(results) else 1
    for script, group in chosen:
        present = {name: unit for name, unit in group.units.items() if results.get(key(script, name))}
        if present:
            print_group(script, group._replace(units=present), results)
    if missing():
        print(f"\nNot here: {', '.join(missing())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
