# SPDX-License-Identifier: LGPL-3.0-or-later
"""
References: further owners-to-be of a chunk.

Prior art: ``_talloc_reference_loc()`` and ``talloc_unlink()`` in lib/talloc/talloc.c. A reference is a small chunk of
its own below the context that holds it; the chunk it refers to keeps a list of them, newest first.
Cost: O(1) to add; O(references to the chunk) to find one.
"""

from __future__ import annotations

from ._chunk import TALLOC_CTX, caller, chunk, chunk_of, link_first, reference_handle
from ._free import forget_reference, unlink_from
from ._rare import HANDLE_BYTES, admit, rare
from .core import owner_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    P = TypeVar("P", bound="TALLOC_CTX | None")

__all__ = ["talloc_increase_ref_count", "talloc_reference", "talloc_reference_count", "talloc_unlink"]


def talloc_reference(ctx: TALLOC_CTX | None, ptr: P) -> P | None:
    """
    Let *ctx* hold a reference to *ptr*: should the owner of that give it up, *ctx* will own it.

    C: ``#define talloc_reference(ctx, ptr)``

    Returns:
        *ptr*; None if a memory limit refuses.

    Ownership: unchanged for now. A chunk with references cannot be freed by `talloc_free` in most cases.
    """
    return ptr if _reference(ctx, ptr) else None


def talloc_increase_ref_count(ptr: TALLOC_CTX | None) -> int:
    """
    Add a reference to *ptr* that nobody holds.

    C: ``int talloc_increase_ref_count(const void *ptr)``

    Returns:
        0; -1 for None or if a memory limit refuses.
    """
    return 0 if _reference(None, ptr) else -1


def _reference(ctx: TALLOC_CTX | None, ptr: TALLOC_CTX | None) -> bool:
    if ptr is None:
        return False
    target = chunk_of(ptr)
    good, holder = owner_of(ctx)
    if target is None or not good:
        return False
    handle = _new_handle(holder, target)
    if handle is None:
        return False
    handle.made_at = caller(2)
    extra = target.extra
    if extra is None:
        extra = target.extra = rare()
    handle.older = extra.refs
    if handle.older is not None:
        handle.older.newer = handle
    extra.refs = handle
    return True


def _new_handle(holder: chunk | None, target: chunk) -> reference_handle | None:
    """A handle as first child of its holder; it is its own object, which nobody gets to see."""
    handle = reference_handle()
    handle.obj = handle
    handle.name = ".reference"
    handle.destructor = forget_reference
    handle.child = handle.next = handle.prev = handle.extra = handle.newer = None
    handle.parent = holder
    handle.target = target
    if holder is not None:
        if holder.extra is not None and not admit(handle, holder.extra, HANDLE_BYTES):
            return None
        link_first(handle, holder)
    return handle


def talloc_reference_count(ptr: TALLOC_CTX) -> int:
    """
    The number of references to a chunk; its owner is not one.

    C: ``size_t talloc_reference_count(const void *ptr)``
    """
    c = chunk_of(ptr)
    count = 0
    handle = None if c is None or c.extra is None else c.extra.refs
    while handle is not None:
        count += 1
        handle = handle.older
    return count


def talloc_unlink(context: TALLOC_CTX | None, ptr: TALLOC_CTX | None) -> int:
    """
    Let *context* give up its reference to *ptr*, or else its ownership.

    C: ``int talloc_unlink(const void *context, void *ptr)``

    Returns:
        0; -1 if *context* has neither, or a destructor refuses.

    Ownership: if the owner gives up, the holder of the newest reference owns *ptr*; without references it is freed.
    """
    if ptr is None:
        return -1
    c = chunk_of(ptr)
    good, owner = owner_of(context)
    if c is None or not good:
        return -1
    return unlink_from(owner, c, caller(1))
