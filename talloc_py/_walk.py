# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Walks over the tree that only look: totals, and what a memory limit counts.

Prior art: ``_talloc_total_mem_internal()`` in lib/talloc/talloc.c, which recurses and marks what it has met. A chunk is
in one list of children only, so the one chunk that a walk down can meet twice is the one it began with: no marks and
no stack are needed. Cost: O(chunks below).
"""

from __future__ import annotations

from ._chunk import LEFT, chunk, header_of, lazy_children, reference_handle, size_of
from ._rare import HEADER_BYTES, POOL_BYTES, rare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ._rare import memlimit

__all__ = ["ancestors", "check_invariants", "limit_total", "look_into", "totals", "walk"]


def look_into(c: chunk) -> chunk | None:
    """The first child of *c*, after those that are made only for a looker have been made."""
    cls: type[Any] = type(c.obj)  # pyright: ignore[reportUnknownVariableType]  # of an Any
    make = lazy_children.get(cls)
    if make is not None:
        make(c.obj)
    return c.child


def walk(root: chunk) -> Iterator[chunk]:
    """*root* and all chunks below, handles too; parents first, the newest child first. Nothing if it is dying."""
    if root.next is LEFT:
        return
    c = root
    yield c
    while True:
        following = look_into(c)
        if following is root:
            following = root.next
        while following is None:
            if c is root:
                return
            following = c.next
            if following is root:
                following = root.next
            if following is None:
                assert c.parent is not None
                c = c.parent
        c = following
        yield c


def totals(root: chunk) -> tuple[int, int]:
    """Bytes and number of the chunks in the tree of *root*; a handle is a block without bytes."""
    size = blocks = 0
    for c in walk(root):
        blocks += 1
        if type(c) is not reference_handle:
            size += size_of(c)
    return size, blocks


def ancestors(c: chunk | None) -> Iterator[chunk]:
    """*c* and its owners upwards; each once, also where they form a loop."""
    turtle, power, steps = c, 1, 0
    while c is not None:
        yield c
        c = c.parent
        if c is turtle:
            return
        steps += 1
        if steps == power:
            # Brent's way to notice a loop: compare with a chunk that is moved up ever more rarely.
            turtle, power, steps = c, power * 2, 0


def limit_total(root: chunk, old: memlimit | None, new: memlimit | None) -> int:
    """
    What a limit counts below *root*; on the way chunks that belong to *old* are given to *new*.

    The inner limits that are met stand for all below them, and get *new* as the next outer one if that was *old*.
    """
    total = 0
    todo: list[chunk] = [root]
    met_root = False
    while todo:
        c = todo.pop()
        if c.next is LEFT or (c is root and met_root):
            continue
        met_root = True
        inner = None if c.extra is None else c.extra.limit
        if inner is not None and inner.upper is old and (old is not None or new is not None):
            if not closes_loop(inner, new):
                inner.upper = new
        if inner is not None and inner is not old and inner.owner is c:
            total += inner.cur_size
            continue
        child = look_into(c)  # first, as what that makes belongs to the limit that is in force until now
        if (old is not None or new is not None) and inner is old:
            _change_limit(c, new)
        total += _limit_share(c)
        while child is not None:
            todo.append(child)
            child = child.next
    return total


def closes_loop(inner: memlimit, new: memlimit | None) -> bool:
    """Whether *new* is *inner* or below it, as when a chunk is stolen into its own tree: C then counts for ever."""
    while new is not None and new is not inner:
        new = new.upper
    return new is not None


def _change_limit(c: chunk, new: memlimit | None) -> None:
    if c.extra is None:
        c.extra = rare()
    if c.extra.limit is None and c.extra.member is None and c.extra.pool is None:
        c.extra.size = size_of(c)
    c.extra.limit = new


def _limit_share(c: chunk) -> int:
    """What one chunk counts: a member of a pool nothing, a pool its space, a handle nothing (as in C)."""
    if type(c) is reference_handle:
        return 0
    extra = c.extra
    if extra is None:
        return HEADER_BYTES + size_of(c)
    if extra.member is not None:
        return 0
    if extra.pool is not None:
        return HEADER_BYTES + POOL_BYTES + extra.pool.size
    return HEADER_BYTES + size_of(c)


def check_invariants(root: chunk) -> None:
    """Raise AssertionError where the headers of a tree do not fit together; for tests."""
    for c in walk(root):
        assert c.next is not LEFT, "a chunk in a list of children is not dying"
        assert c.obj is not None, "a chunk in a list of children is not dead"
        assert header_of(c.obj) is c if type(c) is not reference_handle else c.obj is c, "object and header are a pair"
        before = None
        child = c.child
        while child is not None:
            assert child.parent is c, "a child knows its owner"
            assert child.prev is before, "siblings are linked both ways"
            before, child = child, child.next
        newer = None
        handle = None if c.extra is None else c.extra.refs
        while handle is not None:
            assert handle.target is c, "a reference knows its target"
            assert handle.newer is newer, "references are linked both ways"
            assert handle.obj is handle, "a listed reference is alive"
            newer, handle = handle, handle.older
        if isinstance(c, reference_handle):
            assert c.target.obj is not None, "the target of a reference is alive"
            assert c.child is None, "a reference has no children"
