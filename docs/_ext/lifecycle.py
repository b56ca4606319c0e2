# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The state diagram of a request, drawn from what the library does.

Each call is tried on a request in progress, and on a finished one; the arrows are the changes of state that were seen.
"""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, NamedTuple

from talloc_py import TALLOC_CTX, talloc_free, talloc_new
from tevent import (
    tevent_context_init,
    tevent_loop_once,
    tevent_req_create,
    tevent_req_done,
    tevent_req_error,
    tevent_req_nomem,
    tevent_req_oom,
    tevent_req_received,
    tevent_req_set_cleanup_fn,
    tevent_req_set_endtime,
    tevent_timeval_zero,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from sphinx.application import Sphinx

    from tevent import tevent_context, tevent_req, tevent_req_state

__all__ = ["ENDS", "setup", "transitions"]

HERE = pathlib.Path(__file__).resolve().parents[1]


def _time_out(req: tevent_req, ev: tevent_context) -> None:
    tevent_req_set_endtime(req, ev, tevent_timeval_zero())
    tevent_loop_once(ev)


#: What ends a request, as the arrow says it.
ENDS: dict[str, Callable[[tevent_req, tevent_context], object]] = {
    "tevent_req_done": lambda req, ev: tevent_req_done(req),
    "tevent_req_error": lambda req, ev: tevent_req_error(req, 5),
    "its end time passes": _time_out,
    "tevent_req_nomem": lambda req, ev: tevent_req_nomem(None, req),
    "tevent_req_oom": lambda req, ev: tevent_req_oom(req),
}
LEAVES: dict[str, Callable[[tevent_req], object]] = {
    "tevent_req_received": tevent_req_received,
    "talloc_free": talloc_free,
}


class Transition(NamedTuple):
    """A change of state that was seen."""

    before: str
    call: str
    after: str


class _state(TALLOC_CTX):
    pass


def transitions() -> list[Transition]:
    """Try everything, and look at the state with a cleanup function, as users can."""
    found: list[Transition] = []
    for ending, end in ENDS.items():
        for leaving, leave in LEAVES.items():
            seen = _life(end, leave)
            found += [
                Transition("TEVENT_REQ_IN_PROGRESS", ending, seen[0]),
                Transition(seen[0], leaving, seen[1]),
            ]
    for leaving, leave in LEAVES.items():
        found.append(Transition("TEVENT_REQ_IN_PROGRESS", leaving, _life(None, leave)[0]))
    return list(dict.fromkeys(found))


def _life(
    end: Callable[[tevent_req, tevent_context], object] | None, leave: Callable[[tevent_req], object]
) -> list[str]:
    seen: list[str] = []

    def cleanup(req: tevent_req, state: tevent_req_state) -> None:
        seen.append(state.name)

    top = talloc_new(None)
    ev = tevent_context_init(top)
    assert ev is not None
    req, _ = tevent_req_create(top, _state)
    assert req is not None
    tevent_req_set_cleanup_fn(req, cleanup)
    if end is not None:
        end(req, ev)
    leave(req)
    talloc_free(top)
    return seen


# ------------------------------------------------------------------------------------------------------ the picture

BOX = '<rect x="{x}" y="{y}" width="{w}" height="34" rx="6" fill="none" stroke="currentColor"/>'
TEXT = '<text x="{x}" y="{y}" text-anchor="middle" font-size="{size}" fill="currentColor">{text}</text>'
LINE = '<path d="{d}" fill="none" stroke="currentColor" stroke-opacity="0.7" marker-end="url(#tip)"/>'
LEFT, MIDDLE, RIGHT, ROW = 10, 480, 800, 74


def _box(x: int, y: int, w: int, text: str) -> list[str]:
    return [BOX.format(x=x, y=y, w=w), TEXT.format(x=x + w // 2, y=y + 22, size=12, text=text)]


def draw(found: list[Transition]) -> str:
    """The picture: in progress on the left, every end in the middle, received on the right."""
    ends = list(dict.fromkeys(each.after for each in found if each.after != "TEVENT_REQ_RECEIVED"))
    height = ROW * len(ends) + 60
    middle = ROW * len(ends) // 2
    parts = _box(LEFT, middle - 17, 200, "TEVENT_REQ_IN_PROGRESS")
    parts += _box(RIGHT, middle - 17, 180, "TEVENT_REQ_RECEIVED")
    for row, state in enumerate(ends):
        y = row * ROW + ROW // 2
        calls = " / ".join(each.call for each in found if each.after == state)
        parts += _box(MIDDLE, y - 17, 200, state)
        parts.append(LINE.format(d=f"M 212 {middle} C 260 {middle}, 230 {y}, 290 {y} L {MIDDLE - 4} {y}"))
        parts.append(TEXT.format(x=(284 + MIDDLE) // 2, y=y - 6, size=10, text=calls))
        parts.append(LINE.format(d=f"M {MIDDLE + 202} {y} C 750 {y}, 740 {middle}, {RIGHT - 4} {middle}"))
    low = height - 24
    leaves = " / ".join(dict.fromkeys(each.call for each in found if each.after == "TEVENT_REQ_RECEIVED"))
    way = f"M 110 {middle + 18} C 110 {low}, 110 {low}, 200 {low} L 800 {low} C 890 {low}, 890 {low}, 890 {middle + 21}"
    parts.append(LINE.format(d=way))
    parts.append(TEXT.format(x=495, y=low - 6, size=10, text=f"from every state: {leaves}"))
    tip = '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    tip += '<path d="M 0 0 L 8 4 L 0 8 z" fill="currentColor"/></marker>'
    return (
        f'<div class="picture"><svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 990 {height}" role="img" '
        f'style="min-width: 42rem" aria-label="States of a request" font-family="sans-serif">'
        f"<defs>{tip}</defs>{''.join(parts)}</svg></div>\n"
    )


def _link(state: str) -> str:
    """A state by the part of its name that differs."""
    return f"`{state.removeprefix('TEVENT_REQ_')} <{state}>`"


def _named(call: str) -> str:
    return call if " " in call else f"`{call}`"


def write_picture(app: Sphinx) -> None:
    """Write the picture, and the same as a table for those who cannot see it."""
    folder = HERE / "made"
    folder.mkdir(exist_ok=True)
    found = transitions()
    (folder / "lifecycle.svg").write_text(draw(found), encoding="utf-8")
    lines = [".. list-table::", "   :header-rows: 1", "", "   * - State", "     - What happens", "     - Next state"]
    for before, after in dict.fromkeys((each.before, each.after) for each in found):
        calls = [each.call for each in found if (each.before, each.after) == (before, after)]
        lines += [f"   * - {_link(before)}", f"     - {', '.join(map(_named, calls))}", f"     - {_link(after)}"]
    (folder / "lifecycle.inc").write_text("\n".join(lines) + "\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Hook it into the build."""
    app.connect("builder-inited", write_picture)
    return {"parallel_read_safe": False}
