# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The debug mode, as far as it concerns chunks: each one knows where and when it was made.

It is on from the start where the environment has ``TSOCKET_DEBUG``; `remember_births` switches it on later, for the
chunks that are made from then on. `tevent.diagnostics` and `tsocket.diagnostics` do so too and add what they watch.

While it is off nothing of it is loaded, and no other code asks whether it is on: what has to be different is exchanged
in the modules that use it. Cost while it is on: half a microsecond and 16 bytes for each chunk.
"""

from __future__ import annotations

import sys

from . import _chunk, _sys
from ._chunk import caller_outside, location_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any

__all__ = ["DiagnosticWarning", "birth_of", "forget_births", "remember_births"]


class DiagnosticWarning(RuntimeWarning):
    """Something that a program does and probably does not want; shown by the debug mode only."""


def _header_with_birth() -> type[_chunk.chunk]:
    class chunk(_chunk.chunk):
        """The header of a chunk in debug mode."""

        __slots__ = ("made", "when")

        made: tuple[CodeType, int]
        #: Seconds since the epoch.
        when: float

        def __init__(self) -> None:
            self.made = caller_outside("talloc_py", "tevent", "tsocket")
            self.when = _sys.time()

    return chunk


#: The class of headers, without and with birth; no names of their own, for these would be exchanged too.
_headers = (_chunk.chunk, _header_with_birth())


def exchange(old: object, new: object) -> None:
    """
    Let *new* stand where *old* is a global name of a module, whoever has imported it.

    O(names in all modules). Modules imported later get *new* from where they import it.
    """
    for module in list(sys.modules.values()):
        names: Any = getattr(module, "__dict__", None)
        if names.__class__ is dict:
            for name in [name for name, value in list(names.items()) if value is old]:
                names[name] = new


def remember_births() -> None:
    """Let each chunk that is made from now on know where and when that was."""
    exchange(_headers[0], _headers[1])


def forget_births() -> None:
    """Make chunks without that knowledge again; those that have it keep it."""
    exchange(_headers[1], _headers[0])


def births_are_remembered() -> bool:
    """Whether chunks are made with that knowledge."""
    return _chunk.chunk is _headers[1]


def birth_of(ptr: Any) -> tuple[str, float] | None:
    """
    Where and when a chunk was made.

    Args:
        ptr: A chunk, dead or alive.

    Returns:
        ``file:line`` of the call, and seconds since the epoch; None for one that was made while nobody remembered.

    Raises:
        TypeError: *ptr* can be no chunk.
    """
    c: Any = _chunk.header_of(ptr)
    made = getattr(c, "made", None)
    return None if made is None else (location_text(made), c.when)


def warn_at(message: str, where: Any) -> None:
    """Give a `DiagnosticWarning` about the place *where* in the program, each time and not only the first."""
    from warnings import warn_explicit

    filename, _, line = location_text(where).rpartition(":")
    warn_explicit(message, DiagnosticWarning, filename or "<unknown>", int(line) if line.isdigit() else 1)
