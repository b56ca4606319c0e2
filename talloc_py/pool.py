# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Pools: in C one large piece of memory that the chunks below are cut from.

Prior art: ``talloc_pool()`` and ``_talloc_pooled_object()`` in lib/talloc/talloc.c. Python gains nothing from a pool;
the space is accounted for because memory limits and the names of resized chunks depend on it.
"""

from __future__ import annotations

from ._chunk import TALLOC_CTX, attach_guarded
from ._make import new_struct, require_int
from ._rare import HEADER_BYTES, POOL_BYTES, become_pool
from ._typing import overload
from .types import MAX_TALLOC_SIZE, info_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import builtins
    from typing import Any, TypeVar

    C = TypeVar("C", bound=TALLOC_CTX)

__all__ = ["talloc_pool", "talloc_pooled_object"]

#: C's ``UINT_MAX``: so many sub-objects are too many.
_UINT_MAX = 0xFFFFFFFF


def talloc_pool(context: TALLOC_CTX | None, size: int) -> TALLOC_CTX | None:
    """
    Make a pool: an unnamed context from whose *size* bytes the chunks below are taken.

    C: ``void *talloc_pool(const void *context, size_t size)``

    Returns:
        The pool; None if *size* is negative, 256 MiB or more, or a memory limit refuses.
    """
    if not 0 <= require_int(size, "size") < MAX_TALLOC_SIZE:
        return None
    obj = TALLOC_CTX()
    c = attach_guarded(obj, context, None, size, POOL_BYTES)
    if c is None:
        return None
    become_pool(c, size, 0)
    return obj


@overload
def talloc_pooled_object(
    ctx: TALLOC_CTX | None, type: builtins.type[C], num_subobjects: int, total_subobjects_size: int
) -> C | None: ...
@overload
def talloc_pooled_object(
    ctx: TALLOC_CTX | None, type: object, num_subobjects: int, total_subobjects_size: int
) -> Any: ...
def talloc_pooled_object(ctx: TALLOC_CTX | None, type: Any, num_subobjects: int, total_subobjects_size: int) -> Any:
    """
    Make a struct that is a pool for its own sub-objects.

    C: ``#define talloc_pooled_object(ctx, type, num_subobjects, total_subobjects_size)``

    Args:
        ctx: The owner.

        type: As for `talloc`.

        num_subobjects: How many chunks will be allocated below the new one.

        total_subobjects_size: How many bytes these have together.

    Returns:
        The chunk, named like the type; None if it is all too big, or a memory limit refuses.
    """
    info = info_of(type)
    number = require_int(num_subobjects, "num_subobjects")
    total = require_int(total_subobjects_size, "total_subobjects_size")
    size = info.size + total + (HEADER_BYTES + POOL_BYTES + 15) * (number + 1)
    if number < 0 or number >= _UINT_MAX or total < 0 or size >= MAX_TALLOC_SIZE:
        return None
    return new_struct(ctx, type, type, size)
