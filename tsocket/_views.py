# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What streams over other streams share: the caller's vectors, as views that are used up.

Cost: O(parts of the vector); no byte is copied that need not be.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

__all__ = ["believed", "fill", "take", "views_of"]

# What is reserved on a peer's word alone, in bytes.
_BELIEVED: Final = 1 << 20


def views_of(vector: Any) -> list[memoryview]:
    """The bytes of a vector, without its empty parts."""
    views: list[memoryview] = []
    for item in vector:
        base = getattr(item, "iov_base", item)
        if base is None:
            continue
        view = memoryview(base).cast("B")
        views.append(view if base is item else view[: item.iov_len])
    return [view for view in views if len(view)]


def _use(views: list[memoryview], size: int) -> None:
    """Drop the first *size* bytes, which are all in the first view."""
    if size == len(views[0]):
        views.pop(0)
    else:
        views[0] = views[0][size:]


def fill(views: list[memoryview], data: bytes | bytearray | memoryview) -> int:
    """Copy as much of *data* as there is room for, and drop what is full; gives the number of bytes."""
    copied = 0
    while views and copied < len(data):
        part = data[copied : copied + len(views[0])]
        views[0][: len(part)] = part
        copied += len(part)
        _use(views, len(part))
    return copied


def take(views: list[memoryview], limit: int) -> bytes:
    """The next bytes, *limit* at most; they are dropped."""
    parts = bytearray()
    while views and len(parts) < limit:
        part = views[0][: limit - len(parts)]
        parts += part
        _use(views, len(part))
    return bytes(parts)


def believed(have: int, size: int) -> int:
    """
    How many bytes to make room for, of *size* that were announced, when *have* of them have come.

    A megabyte is believed; who announces more must send more, so that memory grows with what has come.
    """
    return min(size, max(2 * have, _BELIEVED))
