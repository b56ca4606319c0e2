# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The tree of ownership as a graph for Graphviz.

What `talloc_report_full` writes as lines `ownership_dot` writes in the language of ``dot``: a node a chunk, an arrow
from each owner to what it owns, a dashed one for a reference. Nothing of Graphviz is needed to make the text.
Cost: O(chunks below), when it is called.
"""

from __future__ import annotations

from ._chunk import LEFT, chunk_of, name_of, size_of
from .diagnostics import birth_of
from .report import _visits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._chunk import TALLOC_CTX, chunk

__all__ = ["ownership_dot", "quoted"]


def quoted(text: str) -> str:
    """*text* as a string in the language of ``dot``; what no text can show, but line ends, becomes an escape."""
    shown = "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
    return '"' + shown.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def ownership_dot(*roots: TALLOC_CTX, max_depth: int = -1) -> str:
    """
    The trees below some chunks, in the language of Graphviz: ``dot -Tsvg`` makes a picture of it.

    Args:
        roots: Where to begin.

        max_depth: Chunks so many levels below a root are the last that are shown; negative: all.

    Returns:
        A whole ``digraph``. Each chunk is a node with its name, its size, if it has any, and in debug mode the place
        where it was made. A chunk is shown once, however many references and roots lead to it.

    A chunk that is no chunk any more goes to the abort function, and is left out if that returns.
    """
    nodes: dict[chunk, str] = {}
    edges: dict[str, None] = {}  # a set that keeps the order
    for root in roots:
        start = chunk_of(root)
        if start is None or start.next is LEFT:
            continue
        path: list[chunk] = []
        for c, level, is_ref in _visits(start, 0, max_depth):
            del path[level:]
            if path:
                style = " [style=dashed, label=reference]" if is_ref else ""
                edges[f"  {_node(nodes, path[-1])} -> {_node(nodes, c)}{style};"] = None
            else:
                _node(nodes, c)
            path.append(c)
    return "\n".join(
        [
            "digraph ownership {",
            "  node [shape=box, style=rounded, fontname=monospace, fontsize=11];",
            "  edge [fontname=monospace, fontsize=9];",
            *(f"  {node} [label={quoted(_label(c))}];" for c, node in nodes.items()),
            *edges,
            "}",
            "",
        ]
    )


def _node(nodes: dict[chunk, str], c: chunk) -> str:
    return nodes.setdefault(c, f"chunk{len(nodes)}")


def _label(c: chunk) -> str:
    name = name_of(c)
    lines = ["UNNAMED" if name is None else name]
    size = size_of(c)
    if size:
        lines.append(f"{size} bytes")
    obj: Any = c.obj
    born = birth_of(obj)
    if born is not None:
        lines.append(f"made at {born[0]}")
    return "\n".join(lines)
