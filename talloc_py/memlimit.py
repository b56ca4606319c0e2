# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Limits on the memory of a context and all below it.

Prior art: ``talloc_set_memlimit()`` in lib/talloc/talloc.c, deprecated upstream. What is charged are the bytes that C
would use, headers included. Cost: O(chunks below) to set; then each allocation below pays O(limits above it).
"""

from __future__ import annotations

from ._chunk import TALLOC_CTX, chunk_of
from ._make import require_int
from ._rare import memlimit
from ._walk import limit_total

__all__ = ["talloc_set_memlimit"]


def talloc_set_memlimit(ctx: TALLOC_CTX, max_size: int) -> int:
    """
    Let allocations below *ctx* fail once they would take more than *max_size* bytes.

    C: ``int talloc_set_memlimit(const void *ctx, size_t max_size)``

    Args:
        ctx: The chunk; with it all below it counts, also what is there already.

        max_size: Bytes, those of C's headers (96 a chunk) included. 0 counts without a limit.

    Returns:
        0.
    """
    c = chunk_of(ctx)
    if require_int(max_size, "max_size") < 0:
        raise ValueError("max_size must not be negative")
    if c is None:
        return 0
    upper = None if c.extra is None else c.extra.limit
    if upper is not None and upper.owner is c:
        upper.max_size = max_size
        return 0
    limit = memlimit(c, max_size)
    limit.cur_size = limit_total(c, upper, limit)
    limit.upper = upper
    return 0
