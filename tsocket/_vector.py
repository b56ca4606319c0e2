# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The bytes behind a vector, for backends that move them themselves.

A backend gets the very vector that the user gave: `iovec` objects and bytes-like objects, mixed.
Cost: a view for each element; no byte is copied.
"""

from __future__ import annotations

from .address import iovec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Buffer

__all__ = ["advance", "views"]


def views(vector: Sequence[iovec | Buffer], writable: bool) -> list[memoryview]:
    """
    The elements of *vector* that are not empty, as views of bytes.

    Raises:
        TypeError: An element is no buffer, not contiguous, or to be written to and cannot be.
        ValueError: An element claims more bytes than it has.
    """
    found: list[memoryview] = []
    for item in vector:
        base, size = (item.iov_base, item.iov_len) if isinstance(item, iovec) else (item, None)
        if base is None:
            if size:
                raise ValueError(f"an iovec without a buffer has iov_len {size}")
            continue
        view = memoryview(base)
        if not view.c_contiguous:
            raise TypeError("a buffer of a vector must be contiguous")
        if writable and view.readonly:
            raise TypeError(f"a vector to read into needs writable buffers, not {type(base).__name__}")
        if size is not None and not 0 <= size <= view.nbytes:
            raise ValueError(f"iov_len {size} does not fit a buffer of {view.nbytes} bytes")
        if view.itemsize != 1 or view.ndim != 1 or view.format != "B":
            view = view.cast("B")
        view = view if size is None else view[:size]
        if view:
            found.append(view)
    return found


def advance(vector: list[memoryview], count: int) -> None:
    """Drop the first *count* bytes of *vector*, which has as many."""
    done = 0
    for view in vector:
        if count < len(view):
            break
        count -= len(view)
        done += 1
    del vector[:done]
    if count:
        vector[0] = vector[0][count:]
