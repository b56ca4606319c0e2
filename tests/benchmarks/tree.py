# SPDX-License-Identifier: LGPL-3.0-or-later
"""
A tree of 100,000 chunks, ten children each: built, then freed by one call.

What it is set against is the same tree of plain objects, which know their parent and have a list of children.
It is freed by dropping it, when the ways up have been cut: with them it would be garbage that only the collector finds.
"""

from __future__ import annotations

import gc
from functools import partial

from harness import Cost, Group, main, per_item, spread

WARM_UP = 1000


def talloc_build(top, count: int) -> None:
    """Give *top* so many descendants."""
    from talloc_py import TALLOC_CTX, talloc

    class node(TALLOC_CTX):
        __slots__ = ()

    level = [top]
    while count > 0:
        following = []
        for parent in level:
            for _ in range(min(10, count)):
                following.append(talloc(parent, node))
            count -= 10
            if count <= 0:
                break
        level = following


def talloc_tree(count: int, free: bool) -> Cost:
    """`talloc` and `talloc_free`."""
    from talloc_py import talloc_free, talloc_new

    for size in (WARM_UP, count):
        top = talloc_new(None)
        built = per_item(partial(talloc_build, top, size), size)
        freed = per_item(partial(talloc_free, top), size)
    return freed if free else built


class Node:
    """A plain object."""

    __slots__ = ("children", "parent")

    def __init__(self, parent) -> None:
        self.children = []
        self.parent = parent
        parent.children.append(self)


class Top(Node):
    """The one without a parent."""

    __slots__ = ()

    def __init__(self) -> None:
        self.children = []
        self.parent = None


def python_build(top: Node, count: int) -> None:
    """The same with plain objects."""
    level = [top]
    while count > 0:
        following = []
        for parent in level:
            for _ in range(min(10, count)):
                following.append(Node(parent))
            count -= 10
            if count <= 0:
                break
        level = following


def forget_parents(top: Node) -> None:
    """Cut the ways up."""
    todo = [top]
    while todo:
        node = todo.pop()
        node.parent = None
        todo += node.children


def python_tree(count: int, free: bool) -> Cost:
    """Plain objects, and the end of the last reference to the first."""

    def drop():
        nonlocal top
        top = None

    for size in (WARM_UP, count):
        top = Top()
        built = per_item(partial(python_build, top, size), size)
        forget_parents(top)
        gc.collect()
        freed = per_item(drop, size)
    return freed if free else built


def units(what: str) -> dict:
    """Everyone's tree, built or freed."""
    free = what == "freed"
    peers = {
        "talloc_py": partial(talloc_tree, free=free),
        "plain Python": partial(python_tree, free=free),
        "C libraries": ["tree", what],
    }
    return spread(peers, 100_000, f", {what}")


GROUPS = [
    Group(f"A tree of 100,000 chunks, {what}", "µs of CPU a chunk", f"plain Python, {what}", units(what))
    for what in ("built", "freed")
]

if __name__ == "__main__":
    main(__file__, __doc__, GROUPS)
