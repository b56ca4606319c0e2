# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the library must reach, and what it aims at: its cost divided by another's in the same run, less is better."""

from __future__ import annotations

import sys
from typing import NamedTuple

from harness import Results, median

# What a newer Python makes of the others is not in our hands.
ALLOWANCE = 0.0 if sys.version_info < (3, 13) else 0.15


class Target(NamedTuple):
    """One ratio of two units, each named as `harness.key` does."""

    what: str
    unit: str
    base: str
    must: float
    aim: float
    per_second: bool = False
    """Shown as it is said: as the part of the other's speed, which must be at least so much."""

    grows: bool = False
    """Both units are ours: how cost grows, which the version of Python does not change."""

    def ratio(self, results: Results) -> float | None:
        """What was measured, unless something is missing."""
        if not (results.get(self.unit) and results.get(self.base)):
            return None
        ratio = median(results[self.unit]).cpu / median(results[self.base]).cpu
        return 1 / ratio if self.per_second else ratio

    def reached(self, ratio: float, limit: float) -> bool:
        """Is *ratio* good enough?"""
        if self.per_second:
            return ratio >= limit
        return ratio <= limit + (0 if self.grows else ALLOWANCE)

    def show(self, value: float) -> str:
        """A ratio, or a part in per cent."""
        return f"{value:.0%}" if self.per_second else f"{value:.2f}"


TARGETS = [
    Target("PDU, 1 connection", "pdu/tsocket, 1", "pdu/asyncio streams, 1", 1.00, 0.80),
    Target("PDU, 100 connections", "pdu/tsocket, 100", "pdu/asyncio streams, 100", 1.25, 1.00),
    Target("bulk, MB/s", "bulk/tsocket", "bulk/C libraries", 0.80, 0.88, per_second=True),
    Target("UDP", "udp/tsocket", "udp/asyncio Protocol", 1.65, 1.45),
    Target("immediates", "events/tevent, immediates", "events/asyncio, call_soon", 0.28, 0.14),
    *(
        Target(
            f"{pending:,} timers {how}",
            f"events/tevent, {how}, {pending}",
            f"events/asyncio, {how}, {pending}",
            must,
            aim,
        )
        for how, must, aim in (("cancelled", 1.25, 1.10), ("fired", 1.10, 1.00))
        for pending in (1_000, 10_000, 100_000)
    ),
    Target("request", "request/tevent, Future", "request/asyncio, Future", 0.92, 0.63),
    Target("three nested requests", "request/tevent, Futures, nested", "request/asyncio, Futures, nested", 0.92, 0.63),
    Target("tree built", "tree/talloc_py, built", "tree/plain Python, built", 1.40, 1.25),
    Target("tree freed", "tree/talloc_py, freed", "tree/plain Python, freed", 3.00, 2.80),
    Target("memory of an idle connection", "memory/tsocket, idle", "memory/asyncio streams, idle", 0.30, 0.26),
    Target("import of all three packages", "imports/tsocket, import", "imports/asyncio, import", 0.35, 0.20),
    *(
        Target(
            f"timers {how}, 100,000 against 1,000",
            f"events/tevent, {how}, 100000",
            f"events/tevent, {how}, 1000",
            2.2,
            2.2,
            grows=True,
        )
        for how in ("cancelled", "fired")
    ),
]


def needed() -> set[str]:
    """The units that the targets compare."""
    return {each for target in TARGETS for each in (target.unit, target.base)}


def check(results: Results) -> bool:
    """Print each target and what was measured; is none missed?"""
    good = True
    width = max(len(target.what) for target in TARGETS)
    print(f"\n{'':{width}}  measured   must    aim")
    for target in TARGETS:
        ratio = target.ratio(results)
        if ratio is None:
            verdict, shown = "not measured", "-"
        elif not target.reached(ratio, target.must):
            verdict, shown = "MISSED", target.show(ratio)
            good = False
        else:
            verdict, shown = "aim" if target.reached(ratio, target.aim) else "pass", target.show(ratio)
        print(
            f"{target.what:{width}}  {shown:>8}  {target.show(target.must):>5}  {target.show(target.aim):>5}  {verdict}"
        )
    if ALLOWANCE:
        print(f"On this Python {ALLOWANCE} more is allowed.")
    return good
