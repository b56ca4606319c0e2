# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Chunks that hold secrets: their bytes are overwritten before they go.

Prior art: lib/util/talloc_keep_secret.c. Only buffers can be wiped in Python; a string is only hidden from reports.
"""

from __future__ import annotations

from ._chunk import CONTENT, TALLOC_CTX, chunk_of, size_of, talloc_buffer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["talloc_keep_secret"]


def talloc_keep_secret(ptr: TALLOC_CTX | None) -> None:
    """
    Let the bytes of a chunk be overwritten with zeros when it is freed, and its name not show them.

    C: ``#define talloc_keep_secret(ptr)``

    Args:
        ptr: A buffer or a string. None, and a chunk of size 0, are left alone.

    Callbacks: this is the chunk's destructor from now on, and replaces another.
    """
    if ptr is None:
        return
    c = chunk_of(ptr)
    if c is None or size_of(c) == 0:
        return
    if c.name is CONTENT:
        c.name = "(secret)"
    c.destructor = _wipe


def _wipe(ptr: Any) -> int:
    if type(ptr) is talloc_buffer:
        ptr[:] = bytes(len(ptr))
    return 0
