# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The pictures of the page "Seeing what a program does", made of what the library says about `two_jobs.py`.

The graphs are drawn by Graphviz; where its program ``dot`` is missing the page shows their text.
"""

from __future__ import annotations

import contextlib
import html
import io
import json
import pathlib
import re
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any

import two_jobs

from talloc_py.diagnostics import forget_births, remember_births
from talloc_py.dot import ownership_dot
from tevent.dot import requests_dot
from tevent.dump import dump_requests
from tevent.timeline import record

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["draw_dump", "draw_timeline", "look", "setup"]

HERE = pathlib.Path(__file__).resolve().parents[1]
WIDTH, LEFT, ROW = 980, 96, 30


def look() -> dict[str, Any]:
    """Run the program; its timeline, and dump and graphs at one moment."""
    seen: dict[str, Any] = {}

    def now(top: Any, ev: Any) -> None:
        out = io.StringIO()
        dump_requests(out, colour=True)
        seen["dump"] = out.getvalue()
        seen["ownership"] = ownership_dot(top, max_depth=2)
        seen["requests"] = requests_dot()

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "timeline.json"
        with contextlib.redirect_stdout(io.StringIO()):
            with record(str(path), "two_jobs.py"):
                two_jobs.main()
            remember_births()
            try:
                two_jobs.main(now)  # not at the same time: to look takes long
            finally:
                forget_births()
        seen["timeline"] = json.loads(path.read_text(encoding="utf-8"))
    for name, text in seen.items():
        if isinstance(text, str):
            seen[name] = re.sub(r"/\S*/(?=\w+\.py:)", "", text)  # where the checkout is tells nobody anything
    return seen


# -- the timeline -----------------------------------------------------------------------------------------------------

BAR = (
    '<g><title>{title}</title><rect x="{x:.1f}" y="{y}" width="{w:.1f}" height="{h}" rx="2" fill="{fill}"/>'
    '<text x="{tx:.1f}" y="{ty}" font-size="10" fill="#111827">{text}</text></g>'
)
MARK = '<g><title>{title}</title><path d="M {x:.1f} {y} l 4 -7 l -8 0 z" fill="{fill}"/></g>'
RED = "#dc2626"
FILLS = {"wait": "#d1d5db", "handler": "#86efac", "request": "#93c5fd"}


class _scale:
    """Where a moment is drawn."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        times = [event["ts"] for event in events if "ts" in event]
        self.begin = min(times)
        self.span = max(max(times) - self.begin, 1)

    def x(self, ts: float) -> float:
        return LEFT + (ts - self.begin) / self.span * (WIDTH - LEFT - 10)


def _bar(begin: dict[str, Any], end_ts: float, y: int, fill: str, scale: _scale) -> str:
    x, width = scale.x(begin["ts"]), max(scale.x(end_ts) - scale.x(begin["ts"]), 1.0)
    name = begin["name"]
    title = " ".join([name, f"{end_ts - begin['ts']:.0f} µs", *map(str, begin.get("args", {}).values())])
    fits = len(name) * 6.2 < width
    return BAR.format(
        title=html.escape(title), x=x, y=y, w=width, h=ROW - 8, fill=fill, tx=x + 4, ty=y + 15,
        text=html.escape(name) if fits else "",
    )  # fmt: skip


def draw_timeline(events: list[dict[str, Any]]) -> str:
    """A row for each track and level, as the viewers have it: the thread above, the trees of requests below."""
    scale = _scale(events)
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    labels: list[str] = []
    bars: list[tuple[int, str]] = []
    marks: list[str] = []
    y = 8
    for track in sorted(names):
        stack: list[dict[str, Any]] = []
        deepest = 1
        labels.append(f'<text x="4" y="{y + 15}" font-size="10" fill="currentColor">{html.escape(names[track])}</text>')
        for event in events:
            if event["ph"] == "M" or (event["pid"], event["tid"]) != track:
                continue
            level = len(stack)
            if event["ph"] == "B":
                stack.append(event)
                deepest = max(deepest, level + 1)
            elif event["ph"] == "E":
                begin = stack.pop()
                kind = "request" if "requests" in names[track] else "wait" if begin["name"] == "wait" else "handler"
                bars.append((level, _bar(begin, event["ts"], y + (level - 1) * ROW, FILLS[kind], scale)))
            else:
                fill = RED if "error" in event.get("args", {}) else "#1f2937"
                title = " ".join([event["name"], *map(str, event.get("args", {}).values())])
                at = y + max(level - 1, 0) * ROW + 7
                marks.append(MARK.format(title=html.escape(title), x=scale.x(event["ts"]), y=at, fill=fill))
        y += deepest * ROW + 6
    # What is inside another one is drawn later, marks last of all.
    inside = [bar for _, bar in sorted(bars, key=lambda bar: bar[0])]
    marks.sort(key=lambda mark: RED in mark)
    return _svg([*labels, *inside, *marks], WIDTH, y, "Timeline of two jobs")


def _svg(parts: list[str], width: int, height: int, label: str) -> str:
    return (
        f'<div class="picture"><svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'style="min-width: 42rem" aria-label="{label}" font-family="sans-serif">{"".join(parts)}</svg></div>\n'
    )


# -- the dump ---------------------------------------------------------------------------------------------------------

#: The colours of a terminal that the dump uses.
COLOURS = {"1;36": "#67e8f9", "33": "#fde047", "35": "#f0abfc", "2": "#9ca3af", "32": "#86efac", "0": "#e5e7eb"}


def draw_dump(text: str) -> str:
    """A terminal with *text* in it."""
    lines = text.splitlines()
    parts = [f'<rect width="{WIDTH}" height="{len(lines) * 18 + 20}" rx="6" fill="#111827"/>']
    for number, line in enumerate(lines):
        colour, spans = COLOURS["0"], []
        for piece in re.split("(\033\\[[0-9;]*m)", line):
            if piece.startswith("\033"):
                colour = COLOURS[piece[2:-1]]
            elif piece:
                spans.append(f'<tspan fill="{colour}">{html.escape(piece)}</tspan>')
        parts.append(
            f'<text x="12" y="{number * 18 + 24}" font-size="12" xml:space="preserve" '
            f'font-family="monospace">{"".join(spans)}</text>'
        )
    return _svg(parts, WIDTH, len(lines) * 18 + 20, "A dump in a terminal")


# -- the graphs -------------------------------------------------------------------------------------------------------


def graph(name: str, text: str) -> str:
    """What the page includes: a picture by Graphviz, or the text that it would be made of."""
    dot = shutil.which("dot")
    if dot is None:
        return "\n".join([".. code-block:: dot", "", *(f"   {line}" for line in text.splitlines()), ""])
    svg = subprocess.run([dot, "-Tsvg"], input=text, capture_output=True, text=True, check=True).stdout
    svg = svg[svg.index("<svg") :].replace('fill="white"', 'fill="none"')
    for black in ('stroke="black"', 'fill="black"'):
        svg = svg.replace(black, black.replace("black", "currentColor"))
    label = f'<div class="picture" role="img" aria-label="Graph of {name}">'
    (HERE / "made" / f"{name}.svg").write_text(f"{label}{svg}</div>\n", encoding="utf-8")
    return f".. raw:: html\n   :file: {name}.svg\n"


def write_pictures(app: Sphinx) -> None:
    """Write all of them to where the page looks for them."""
    made = HERE / "made"
    made.mkdir(exist_ok=True)
    seen = look()
    (made / "timeline.svg").write_text(draw_timeline(seen["timeline"]), encoding="utf-8")
    (made / "dump.svg").write_text(draw_dump(seen["dump"]), encoding="utf-8")
    for name in ("ownership", "requests"):
        (made / f"{name}.inc").write_text(graph(name, seen[name]), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Hook it into the build."""
    app.connect("builder-inited", write_pictures)
    return {"parallel_read_safe": False}
