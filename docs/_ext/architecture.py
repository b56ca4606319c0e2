# SPDX-License-Identifier: LGPL-3.0-or-later
"""The picture and the tables of the modules, drawn from what they import."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

from import_graph import PACKAGES, levels, modules_of

if TYPE_CHECKING:
    from import_graph import Module
    from sphinx.application import Sphinx

__all__ = ["setup"]

HERE = pathlib.Path(__file__).resolve().parents[1]
TEXT = '<text x="{x}" y="{y}" font-size="{size}" fill="currentColor">{text}</text>'
STYLE = 'fill="currentColor" fill-opacity="0.05" stroke="currentColor"'
FRAME = f'<rect x="1" y="{{y}}" width="898" height="{{h}}" rx="8" {STYLE}/>'
CHARACTER, LINE, WIDTH = 6.3, 17, 860


def _short(module: Module) -> str:
    return module.name.partition(".")[2] or "__init__"


def _wrapped(names: list[str]) -> list[str]:
    """Names in lines that are not too long."""
    lines = [""]
    for name in names:
        if lines[-1] and (len(lines[-1]) + len(name) + 3) * CHARACTER > WIDTH:
            lines.append("")
        lines[-1] += f"   {name}" if lines[-1] else name
    return lines


def draw() -> str:
    """A frame for each package, the upper ones on top; in it the rows, each importing only from those below."""
    parts: list[str] = []
    y = 1
    for package in PACKAGES:
        rows = [_wrapped(sorted(map(_short, row))) for row in reversed(levels(modules_of(package)))]
        height = 34 + sum(len(row) * LINE + 9 for row in rows)
        parts += [FRAME.format(y=y, h=height), TEXT.format(x=16, y=y + 22, size=15, text=package)]
        at = y + 44
        for row in rows:
            for line in row:
                parts.append(
                    f'<text x="24" y="{at}" font-size="10.5" xml:space="preserve" fill="currentColor">{line}</text>'
                )
                at += LINE
            parts.append(f'<path d="M 16 {at - 7} H 884" stroke="currentColor" stroke-opacity="0.2"/>')
            at += 9
        parts.pop()
        y += height + 40
        parts.append(
            f'<text x="450" y="{y - 14}" font-size="13" text-anchor="middle" fill="currentColor">imports ↓</text>'
        )
    parts.pop()
    return (
        f'<div class="picture"><svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 {y - 38}" role="img" '
        'style="min-width: 44rem" aria-label="Modules in rows; each imports only from rows below it" '
        f'font-family="monospace">{"".join(parts)}</svg></div>\n'
    )


def _named(names: frozenset[str], package: str) -> str:
    """Modules, without the package where it is their own."""
    own = sorted(name.partition(".")[2] for name in names if name.startswith(f"{package}."))
    other = sorted(name for name in names if name.partition(".")[0] != package)
    return ", ".join(f"``{name}``" for name in [*own, *other])


def table(package: str) -> list[str]:
    """A definition list of the modules of a package."""
    lines: list[str] = []
    for row in levels(modules_of(package)):
        for module in sorted(row):
            lines += [f"``{module.name}``", f"   {module.summary}", ""]
            if module.imports:
                lines += [f"   Imports {_named(module.imports, package)}.", ""]
            if module.late:
                lines += [f"   Later, when needed: {_named(module.late, package)}.", ""]
    return lines


def write_pages(app: Sphinx) -> None:
    """Write what the page includes."""
    folder = HERE / "made"
    folder.mkdir(exist_ok=True)
    (folder / "modules.svg").write_text(draw(), encoding="utf-8")
    for package in PACKAGES:
        (folder / f"{package}.inc").write_text("\n".join(table(package)) + "\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Hook it into the build."""
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": False}
