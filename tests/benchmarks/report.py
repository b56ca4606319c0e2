# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The tables and the chart of the manual's page about speed, written from results.

The tables are pieces of reStructuredText that ``docs/fast.rst`` includes. The chart is an SVG that the page has inline:
so it takes the text's colour from the page, whichever of its light and dark it shows, and a screen reader reads its
title and description.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import math
import platform
import ssl
import sys
from pathlib import Path
from xml.sax.saxutils import escape

import native
import targets
from harness import PEERS, ROOT, Cost, Group, Results, available, key, median

FOLDER = ROOT / "docs" / "fast"
OURS = ("tsocket", "tevent", "talloc_py")
# Title of a group -> row's name in the tables. What is not here is in the last table only.
TALK = ("PDU", "Bulk", "UDP", "Memory")


def about(rounds: int) -> dict[str, str]:
    """When, where and with what."""
    found = {"date": datetime.date.today().isoformat(), "rounds": str(rounds)}
    found["Python"] = platform.python_version()
    found["OpenSSL"] = ssl.OPENSSL_VERSION.split()[1]
    for peer in ("uvloop", "Trio", "Twisted"):
        if available(peer):
            found[peer] = importlib.metadata.version(PEERS[peer])
    found |= native.versions()
    found["Linux"] = platform.release().split("-")[0]
    found["CPU"] = cpu_model()
    return found


def cpu_model() -> str:
    """As the kernel calls it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def number(value: float) -> str:
    """Three digits, or all of a large number."""
    if math.isnan(value):
        return ""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3g}"


# -- tables -----------------------------------------------------------------------------------------------------------


def sentence(about: dict[str, str]) -> list[str]:
    """When, where and with what, in words."""
    used = ", ".join(f"{name} {value}" for name, value in about.items() if name not in ("date", "rounds", "CPU"))
    return [f"Measured on {about['date']}, {about['rounds']} rounds, with {used}, on {about['CPU']}.", ""]


def list_table(header: list[str], rows: list[list[str]], widths: str = "auto") -> list[str]:
    """A table as reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in [header, *rows]:
        for position, cell in enumerate(row):
            lines.append(f"   {'*' if position == 0 else ' '} - {cell}".rstrip())
    return [*lines, ""]


def of_peer(script: str, group: Group, peer: str, results: Results) -> Cost | None:
    """The median of *peer*'s first unit in the group."""
    peers = OURS if peer == "this library" else (peer,)
    for name, unit in group.units.items():
        if unit.peer in peers and results.get(key(script, name)):
            return median(results[key(script, name)])
    return None


def summary(groups: list[tuple[str, Group]], columns: list[str], results: Results) -> list[str]:
    """CPU of all *columns*, a row for each group."""
    rows = []
    for script, group in groups:
        costs = [of_peer(script, group, peer, results) for peer in columns]
        rows.append([f"{group.title}, {group.what}", *(number(cost.cpu) if cost else "" for cost in costs)])
    return list_table(["", *columns], rows)


def everything(groups: list[tuple[str, Group]], results: Results) -> list[str]:
    """Every unit's CPU and wall time, spread and ratio."""
    rows = []
    for script, group in groups:
        base = results.get(key(script, group.base))
        title = f"{group.title}, {group.what}"
        for name in group.units:
            costs = results.get(key(script, name))
            if not costs:
                continue
            middle = median(costs)
            low, high = min(cost.cpu for cost in costs), max(cost.cpu for cost in costs)
            ratio = f"{middle.cpu / median(base).cpu:.2f}" if base else ""
            rows.append(
                [title, name, number(middle.cpu), f"{number(low)} to {number(high)}", number(middle.wall), ratio]
            )
            title = ""
    return list_table(["", "who", "CPU", "least to most", "wall", "ratio"], rows)


def target_table(results: Results) -> list[str]:
    """What was to be reached."""
    rows = []
    for target in targets.TARGETS:
        ratio = target.ratio(results)
        base = target.base.partition("/")[2].partition(",")[0]
        against = "this library" if target.grows else base
        measured = target.show(ratio) if ratio is not None else ""
        rows.append([target.what, against, measured, target.show(target.must), target.show(target.aim)])
    return list_table(["", "against", "measured", "must", "aim"], rows)


def megabytes(groups: list[tuple[str, Group]], results: Results) -> list[str]:
    """The bulk transfers as a speed."""
    rows = []
    for script, group in groups:
        title = group.title.partition(",")[0]
        for name, unit in group.units.items():
            costs = results.get(key(script, name))
            if costs:
                cost = median(costs)
                rows.append([title, unit.peer, number(65536 / cost.cpu), number(65536 / cost.wall)])
                title = ""
    return list_table(["", "who", "MB per second of CPU", "MB per second"], rows)


# -- chart ------------------------------------------------------------------------------------------------------------

PANEL, ROW, LABEL, BAR = 380, 18, 118, 190


def panel(title: str, bars: list[tuple[str, float]], x: int, y: int) -> list[str]:
    """One small bar chart: its title, then a bar for each name, the shortest first."""
    lines = [f'<g transform="translate({x} {y})">', f'<text class="title" x="0" y="12">{escape(title)}</text>']
    longest = max(value for _, value in bars)
    for row, (name, value) in enumerate(sorted(bars, key=lambda bar: bar[1])):
        top = 22 + row * ROW
        kind = "ours" if name == "this library" else "other"
        width = max(1.0, BAR * value / longest)
        lines += [
            f'<text class="{kind}" x="{LABEL - 6}" y="{top + 11}" text-anchor="end">{escape(name)}</text>',
            f'<rect class="{kind}" x="{LABEL}" y="{top + 1}" width="{width:.1f}" height="{ROW - 5}" rx="2"/>',
            f'<text class="{kind}" x="{LABEL + width + 5:.1f}" y="{top + 11}">{number(value)}</text>',
        ]
    return [*lines, "</g>"]


def chart(groups: list[tuple[str, Group]], results: Results) -> str:
    """Four panels: a PDU with one and a hundred connections, a datagram, a block of bulk."""
    panels = []
    for wanted in ("PDU round trip, 1 connection", "PDU round trip, 100 connections", "UDP round trip", "Bulk, "):
        for script, group in groups:
            if group.title.startswith(wanted):
                costs = {peer: of_peer(script, group, peer, results) for peer in PEERS}
                bars = [(peer, cost.cpu) for peer, cost in costs.items() if cost]
                if bars:
                    panels.append((group.title, bars))
    heights = [22 + ROW * len(bars) + 16 for _, bars in panels]
    rows = [max(heights[at : at + 2]) for at in range(0, len(heights), 2)]
    words = "; ".join(
        f"{title}: " + ", ".join(f"{name} {number(value)}" for name, value in sorted(bars, key=lambda bar: bar[1]))
        for title, bars in panels
    )
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * PANEL} {sum(rows)}" class="fast-chart" role="img"',
        '     aria-labelledby="fast-chart-title fast-chart-words" fill="currentColor">',
        '<title id="fast-chart-title">Microseconds of CPU for a round trip or a write: shorter is better</title>',
        f'<desc id="fast-chart-words">{escape(words)}.</desc>',
        "<style>",
        ".fast-chart { width: 100%; max-width: 760px; font: 12px sans-serif }",
        ".fast-chart .title, .fast-chart text.ours { font-weight: bold }",
        # Seen on white and on black alike; the names say which bar is whose, so nothing hangs on the colour.
        ".fast-chart rect.ours { fill: #2f81c7 } .fast-chart rect.other { fill: #8b8f94 }",
        "</style>",
    ]
    for position, (title, bars) in enumerate(panels):
        lines += panel(title, bars, PANEL * (position % 2), sum(rows[: position // 2]))
    return "\n".join([*lines, "</svg>"]) + "\n"


# -- files ------------------------------------------------------------------------------------------------------------


def write(about: dict[str, str], groups: list[tuple[str, Group]], results: Results) -> None:
    """Write all pieces."""
    FOLDER.mkdir(exist_ok=True)
    talk = [each for each in groups if each[1].title.startswith(TALK)]
    parts = [each for each in groups if each not in talk]
    everyone = [peer for peer in PEERS if peer not in ("asyncio", "uvloop", "plain Python")]
    bulk = [each for each in groups if each[1].title.startswith("Bulk")]
    pieces = {
        "about": sentence(about),
        "connections": summary(talk, everyone, results),
        "parts": summary(
            parts, ["this library", "asyncio", "uvloop", "Trio", "Twisted", "plain Python", "C libraries"], results
        ),
        "bulk": megabytes(bulk, results),
        "targets": target_table(results),
        "everything": everything(groups, results),
    }
    for name, lines in pieces.items():
        (FOLDER / f"{name}.inc").write_text("\n".join(lines), encoding="utf-8")
    (FOLDER / "chart.svg").write_text(chart(groups, results), encoding="utf-8")
    print(f"written: {FOLDER}", file=sys.stderr)
