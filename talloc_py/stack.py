# SPDX-License-Identifier: LGPL-3.0-or-later
"""
A stack of contexts for temporary data: the frame on top is always at hand.

Prior art: lib/util/talloc_stack.c. Each thread has a stack of its own. C's messages at debug level 0 go to talloc's
log function. Cost: O(1) to push and to look; freeing a frame is O(what hangs on it, and the frames above).
"""

from __future__ import annotations

import sys
from _thread import _local

from . import _abort
from ._chunk import TALLOC_CTX, attach, caller, chunk, location_text, name_of
from ._free import free_children, free_chunk
from ._make import new_context
from ._walk import totals
from .pool import talloc_pool
from .types import MAX_TALLOC_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["talloc_stackframe", "talloc_stackframe_exists", "talloc_stackframe_pool", "talloc_tos"]

#: So often a dying frame is emptied: destructors may put something new on it.
_tries_max = 10


class _stack:
    """The frames of one thread, the oldest first, and the parent of the first."""

    __slots__ = ("frames", "root")

    def __init__(self) -> None:
        self.frames: list[chunk] = []
        self.root: chunk | None = None

    def parent(self) -> Any:
        """The internal parent; it is called as in C, where it is the array of frames."""
        if self.root is None or self.root.obj is None:
            self.root = attach(TALLOC_CTX(), None, "TALLOC_CTX *")
        return None if self.root is None else self.root.obj

    def push(self, where: Any, pool_size: int) -> Any:
        """A new frame; None, after an abort function that returns, where a memory limit refuses it."""
        if not 0 <= pool_size < MAX_TALLOC_SIZE:
            raise ValueError(f"sz must be a number of bytes below 256 MiB, not {pool_size}")
        frame: Any
        if pool_size != 0:
            frame = talloc_pool(self.parent(), pool_size)
        else:
            frame = new_context(self.frames[-1].obj if self.frames else self.parent(), where)
        if frame is None:
            _abort.abort("talloc_stackframe failed", "a memory limit refuses it")
            return None
        c: chunk = frame._talloc_chunk
        c.name = where
        c.destructor = self.pop
        self.frames.append(c)
        return frame

    def pop(self, frame: TALLOC_CTX) -> int:
        """The destructor of a frame: what hangs on it goes while talloc_tos() still works."""
        c = frame._talloc_chunk
        if not any(c is known for known in reversed(self.frames)):  # nearly always the last one
            return 0
        if self.frames[-1] is not c:
            _abort.log(f"Freed frame {_name(c)}, expected {_name(self.frames[-1])}.\n")
        blocks = 0
        for _attempt in range(_tries_max):
            free_children(c, caller(1))
            blocks = totals(c)[1]
            if blocks == 1:
                break
        else:
            _abort.log(f"Left {blocks} blocks after {_tries_max} talloc_free_children(frame) calls\n")
        self._free_above(c)
        return 0

    def _free_above(self, c: chunk) -> None:
        """Take *c* off the stack, and free what is above it; that has its own say in what the stack is meanwhile."""
        number = len(self.frames) - 1
        while number > 0:
            above = self.frames[number] if number < len(self.frames) else None
            if above is c:
                break
            if above is not None and above.obj is not None:
                free_chunk(above, caller(2))
            number -= 1
        del self.frames[max(number, 0) :]


def _name(c: chunk) -> str:
    name = name_of(c)
    return "UNNAMED" if name is None else name


class _owner:
    """What a thread has of its stack. When the thread ends, the frames that are left are reported."""

    __slots__ = ("stack",)

    def __init__(self) -> None:
        self.stack = _stack()

    def __del__(self) -> None:
        if not sys.is_finalizing():
            frames = self.stack.frames
            for number in range(len(frames) - 1, -1, -1):
                _abort.log(f"Dangling frame[{number}] {_name(frames[number])}\n")


_thread_data = _local()


def _own_stack() -> _stack:
    try:
        owner: _owner = _thread_data.owner
    except AttributeError:
        owner = _thread_data.owner = _owner()
    return owner.stack


def talloc_stackframe() -> TALLOC_CTX:
    """
    Push a frame: a context, named by the place of the call, that `talloc_tos` gives from now on.

    C: ``#define talloc_stackframe()``

    Ownership: a child of the frame below. Freeing a frame frees those above it too.
    """
    return _own_stack().push(caller(1), 0)  # type: ignore[no-any-return]


def talloc_stackframe_pool(sz: int) -> TALLOC_CTX:
    """
    As `talloc_stackframe`, with a pool of *sz* bytes for a frame; 0 gives an ordinary one.

    C: ``#define talloc_stackframe_pool(sz)``
    """
    return _own_stack().push(caller(1), sz)  # type: ignore[no-any-return]


def talloc_tos() -> TALLOC_CTX:
    """
    The frame on top of this thread's stack. If there is none, one is made that stays, and that is logged.

    C: ``#define talloc_tos()``
    """
    stack = _own_stack()
    if not stack.frames:
        where = caller(1)
        if stack.push(where, 0) is None:
            return None  # type: ignore[return-value]  # pyright: ignore[reportReturnType]  # C has ended by now
        _abort.log(f"no talloc stackframe at {location_text(where)}, leaking memory\n")
    return stack.frames[-1].obj  # type: ignore[no-any-return]


def talloc_stackframe_exists() -> bool:
    """
    Whether this thread has a frame.

    C: ``bool talloc_stackframe_exists(void)``
    """
    return bool(_own_stack().frames)
