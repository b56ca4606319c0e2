# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Sizes of chunks and totals of trees, in the bytes that the structs would have in C.

Prior art: ``talloc_get_size()``, ``talloc_total_size()`` and ``talloc_total_blocks()`` in lib/talloc/talloc.c.
Cost: O(1) for one chunk, O(chunks below) for the totals; no counters are kept.
"""

from __future__ import annotations

from ._chunk import TALLOC_CTX, chunk, chunk_of, size_of, world
from ._walk import totals

__all__ = ["talloc_get_size", "talloc_total_blocks", "talloc_total_size"]


def talloc_get_size(ctx: TALLOC_CTX | None) -> int:
    """
    The size of a chunk in bytes, as C's ``sizeof`` would have it.

    C: ``size_t talloc_get_size(const void *ctx)``

    Returns:
        A struct's size; the present length of a buffer or array; the UTF-8 length of a string and its NUL; 0 for a
        context, a pool, and None.
    """
    if ctx is None:
        return 0
    c = chunk_of(ctx)
    return 0 if c is None else size_of(c)


def _root(ptr: TALLOC_CTX | None) -> chunk | None:
    return world.null if ptr is None else chunk_of(ptr)


def talloc_total_size(ptr: TALLOC_CTX | None) -> int:
    """
    The sizes of a chunk and all below it, added up; None is the null_context, if there is one.

    C: ``size_t talloc_total_size(const void *ptr)``
    """
    root = _root(ptr)
    return 0 if root is None else totals(root)[0]


def talloc_total_blocks(ptr: TALLOC_CTX | None) -> int:
    """
    The number of chunks in a tree, a reference counted as one; None is the null_context, if there is one.

    C: ``size_t talloc_total_blocks(const void *ptr)``
    """
    root = _root(ptr)
    return 0 if root is None else totals(root)[1]
