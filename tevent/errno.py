# SPDX-License-Identifier: LGPL-3.0-or-later
"""
C's ``errno``: a number per thread that a failing call leaves behind.

The values are those of the standard library's `errno`.  As in C, success does not reset it.
Cost: one attribute of a thread-local object.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from threading import local
else:
    # The same class without the import of threading, which would double the time to import this package.
    from _thread import _local as local

__all__ = ["get_errno", "set_errno"]


class _per_thread(local):
    value = 0


_errno = _per_thread()


def get_errno() -> int:
    """
    The error number of the last call in this thread that failed and set one; 0 at first.

    C: ``errno``
    """
    return _errno.value


def set_errno(value: int) -> None:
    """
    Set this thread's error number.

    C: ``errno = value``
    """
    if not isinstance(value, int):
        raise TypeError(f"errno must be an int, not {type(value).__name__}")
    _errno.value = value
