# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Reports: the tree below a chunk as text, or through a callback.

Prior art: ``talloc_report_depth_cb()`` and its callers in lib/talloc/talloc.c, lib/util/talloc_report.c and
lib/util/talloc_report_printf.c. Cost: O(chunks below); C adds all totals up anew for each line.
"""

from __future__ import annotations

from ._chunk import (
    LEFT,
    TALLOC_CTX,
    chunk,
    chunk_of,
    decode,
    name_of,
    reference_handle,
    size_of,
    string_size,
    talloc_string,
    world,
)
from ._make import new_string, require_int
from ._walk import ancestors, look_into, walk
from .refs import talloc_reference_count
from .types import char

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Protocol

    talloc_report_callback = Callable[[Any, int, int, int, Any], object]

    class text_file(Protocol):
        """What a report is written to."""

        def write(self, text: str, /) -> object: ...
        def flush(self) -> object: ...


__all__ = [
    "talloc_full_report_printf",
    "talloc_report",
    "talloc_report_depth_cb",
    "talloc_report_depth_file",
    "talloc_report_full",
    "talloc_report_str",
    "talloc_show_parents",
]


def _root(ptr: TALLOC_CTX | None) -> chunk | None:
    """Where a report begins; None if there is nothing to report, as for a chunk that is dying."""
    root = world.null if ptr is None else chunk_of(ptr)
    return None if root is None or root.next is LEFT else root


def _visits(root: chunk, depth: int, max_depth: int) -> Iterator[tuple[chunk, int, bool]]:
    """
    The chunks of a report in order: chunk, depth, whether it is there only by a reference.

    The lists of children are copied, each when its turn comes, so that a callback may free what it is shown.
    """
    yield root, depth, False
    if 0 <= max_depth <= depth:
        return
    levels = [iter(_children(root))]
    while levels:
        child = next(levels[-1], None)
        if child is None:
            levels.pop()
        elif child is root or child.obj is None:
            continue
        elif isinstance(child, reference_handle):
            yield child.target, depth + len(levels), True
        else:
            yield child, depth + len(levels), False
            if child.obj is not None and not 0 <= max_depth <= depth + len(levels):
                levels.append(iter(_children(child)))


def _children(c: chunk) -> list[chunk]:
    found: list[chunk] = []
    child = look_into(c)
    while child is not None:
        found.append(child)
        child = child.next
    return found


def talloc_report_depth_cb(
    ptr: TALLOC_CTX | None, depth: int, max_depth: int, callback: talloc_report_callback, private_data: Any
) -> None:
    """
    Show each chunk of a tree to a callback, owners first, the newest child first.

    C: ``void talloc_report_depth_cb(const void *ptr, int depth, int max_depth,
    void (*callback)(const void *ptr, int depth, int max_depth, int is_ref, void *private_data), void *private_data)``

    Args:
        ptr: Where to begin; None is the null_context, if there is one.

        depth: The depth that *ptr* is said to have.

        max_depth: Chunks of this depth are the last that are shown; negative: all.

        callback: Called as ``callback(ptr, depth, max_depth, is_ref, private_data)``. *is_ref* is 1 where *ptr* is only
            referred to; it is not gone into there.

        private_data: Passed on.
    """
    root = _root(ptr)
    if root is not None:
        for c, level, is_ref in _visits(root, require_int(depth, "depth"), require_int(max_depth, "max_depth")):
            callback(c.obj, level, max_depth, int(is_ref), private_data)


def _subtree_totals(root: chunk) -> dict[chunk, tuple[int, int]]:
    """Bytes and blocks below each chunk of a tree, in one pass from the leaves up."""
    found: dict[chunk, tuple[int, int]] = {}
    for c in reversed(list(walk(root))):
        size, blocks = found.get(c, (0, 0))
        if type(c) is not reference_handle:
            size += size_of(c)
        found[c] = size, blocks = size, blocks + 1
        if c is not root and c.parent is not None:
            upper_size, upper_blocks = found.get(c.parent, (0, 0))
            found[c.parent] = upper_size + size, upper_blocks + blocks
    return found


def _shown_name(c: chunk) -> str:
    name = name_of(c)
    return "UNNAMED" if name is None else name


def _lines(root: chunk, depth: int, max_depth: int, with_limits: bool, with_text: bool) -> Iterator[str]:
    """The lines of a report. Util's reports show no limits, but the text of chunks that are called "char"."""
    all_totals = _subtree_totals(root)
    for c, level, is_ref in _visits(root, depth, max_depth):
        name = _shown_name(c)
        indent = " " * (4 * level)
        if is_ref:
            yield f"{indent}reference to: {name}\n"
            continue
        padded = name + " " * (30 - string_size(name) + 1)
        limit = None if c.extra is None else c.extra.limit
        if with_limits and limit is not None and limit.owner is c:
            yield (
                f"{indent}{padded} is a memlimit context"
                f" (max_size = {limit.max_size} bytes, cur_size = {limit.cur_size} bytes)\n"
            )
        size, blocks = all_totals[c]
        if level == 0:
            full = "full " if max_depth < 0 else ""
            yield f"{full}talloc report on '{name}' (total {size:6} bytes in {blocks:3} blocks)\n"
            continue
        tail = f": {_char_text(c)}" if with_text and name == "char" else f" {id(c.obj):#x}"
        count = talloc_reference_count(c.obj)
        yield f"{indent}{padded} contains {size:6} bytes in {blocks:3} blocks (ref {count}){tail}\n"


def _char_text(c: chunk) -> str:
    """The text of a chunk that is called "char", to the right of at most 50 columns; nothing is cut."""
    obj = c.obj
    if isinstance(obj, str):
        text = str.partition(obj, "\0")[0]
    elif isinstance(obj, bytearray):
        text = decode(bytes(obj).partition(b"\0")[0])
    else:
        text = ""
    return " " * (min(50, size_of(c)) - string_size(text) + 1) + text


def talloc_report_depth_file(ptr: TALLOC_CTX | None, depth: int, max_depth: int, f: text_file | None) -> None:
    """
    Write a report of the tree below a chunk to a file.

    C: ``void talloc_report_depth_file(const void *ptr, int depth, int max_depth, FILE *f)``

    Args:
        ptr: Where to begin; None is the null_context, if there is one.

        depth: The depth of *ptr*: 0 gives it a headline, more a line like the others, indented.

        max_depth: The last depth that is written; negative: all.

        f: A text file, flushed at the end; None: nothing is done.
    """
    require_int(depth, "depth")
    require_int(max_depth, "max_depth")
    if f is None:
        return
    root = _root(ptr)
    if root is not None:
        for line in _lines(root, depth, max_depth, True, False):
            f.write(line)
    f.flush()


def talloc_report_full(ptr: TALLOC_CTX | None, f: text_file | None) -> None:
    """
    Write a report of all that is below a chunk to a file.

    C: ``void talloc_report_full(const void *ptr, FILE *f)``
    """
    talloc_report_depth_file(ptr, 0, -1, f)


def talloc_report(ptr: TALLOC_CTX | None, f: text_file | None) -> None:
    """
    Write a report of a chunk and its children, without theirs, to a file.

    C: ``void talloc_report(const void *ptr, FILE *f)``
    """
    talloc_report_depth_file(ptr, 0, 1, f)


def talloc_show_parents(context: TALLOC_CTX | None, file: text_file) -> None:
    """
    Write the name of a chunk and of all its owners upwards to a file.

    C: ``void talloc_show_parents(const void *context, FILE *file)``
    """
    if context is None:
        file.write("talloc no parents for NULL\n")
        return
    start = chunk_of(context)
    if start is None:
        return
    file.write(f"talloc parents of '{_shown_name(start)}'\n")
    for c in ancestors(start):
        file.write(f"\t'{_shown_name(c)}'\n")
    file.flush()


def talloc_report_str(mem_ctx: TALLOC_CTX | None, root: TALLOC_CTX | None) -> talloc_string | None:
    """
    A full report as a string; chunks called "char" show their text.

    C: ``char *talloc_report_str(TALLOC_CTX *mem_ctx, TALLOC_CTX *root)``

    Ownership: the string belongs to *mem_ctx*, and is not in the report itself.
    """
    start = _root(root)
    text = "" if start is None else "".join(_lines(start, 0, -1, False, True))
    return new_string(mem_ctx, text, char)


def talloc_full_report_printf(root: TALLOC_CTX | None, f: text_file | None) -> None:
    """
    Write a full report to a file; chunks called "char" show their text.

    C: ``void talloc_full_report_printf(TALLOC_CTX *root, FILE *f)``
    """
    if f is None:
        return
    start = _root(root)
    if start is not None:
        for line in _lines(start, 0, -1, False, True):
            f.write(line)
    f.flush()
