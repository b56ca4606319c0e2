# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The outstanding requests as a graph for Graphviz.

It is what `tevent.dump.dump_requests` writes as text; the tree of ownership is in `talloc_py.dot`.
"""

from __future__ import annotations

from talloc_py.dot import quoted

from .dump import pending_requests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .dump import pending_request

__all__ = ["requests_dot"]

#: The fill of a request that works, and of one that is over and waits for its callback.
_WORKING, _OVER = "#dbeafe", "#fde68a"


def requests_dot() -> str:
    """
    The outstanding requests of the process, in the language of Graphviz: ``dot -Tsvg`` makes a picture of it.

    Returns:
        A whole ``digraph``. Each request is a node: its kind and state, where it was made, what it waits for. Arrows
        lead to its subrequests.
    """
    return "\n".join(
        [
            "digraph requests {",
            '  node [shape=box, style="rounded,filled", fontname=monospace, fontsize=11, fontcolor="#111827"];',
            *_lines(pending_requests(), [], None),
            "}",
            "",
        ]
    )


def _lines(requests: tuple[pending_request, ...], numbers: list[str], above: str | None) -> Iterator[str]:
    for each in requests:
        node = f"req{len(numbers)}"
        numbers.append(node)
        text = [f"{each.kind.removeprefix('struct ')} {each.state}", f"made at {each.made}"]
        text += [f"waits for {reason}" for reason in each.waits_for]
        fill = _WORKING if each.state.startswith("IN_PROGRESS") else _OVER
        yield f"  {node} [label={quoted(chr(10).join(text))}, fillcolor={quoted(fill)}];"
        if above is not None:
            yield f"  {above} -> {node};"
        yield from _lines(each.subrequests, numbers, node)
