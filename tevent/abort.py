# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Where programming errors go that C answers by ``abort()``.

Mirrors tevent_abort() and tevent_set_abort_fn() of lib/tevent/tevent.c.  The default raises `tevent_abort_error`, which
leaves also ``talloc_free()`` when a destructor of this package raises it.
Cost: nothing until something is wrong.
"""

from __future__ import annotations

from talloc_py._chunk import caller_outside
from talloc_py._rare import rare
from talloc_py.core import abort_errors, being_freed, chunk_of, location_text, name_of

from .debug import TEVENT_DEBUG_FATAL, tevent_debug

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from talloc_py.core import TALLOC_CTX

    from .context import tevent_context

__all__ = ["tevent_abort", "tevent_abort_error", "tevent_common_check_double_free", "tevent_set_abort_fn"]


class tevent_abort_error(RuntimeError):
    """
    A misuse that C answers by ``abort()``: a double free, a nested loop, an event used after it was freed.

    Raised by the default abort function.
    """


abort_errors.append(tevent_abort_error)


class _abort_state:
    __slots__ = ("fn",)

    fn: Callable[[str], object] | None

    def __init__(self) -> None:
        self.fn = None


_state = _abort_state()


def tevent_set_abort_fn(abort_fn: Callable[[str], object] | None) -> None:
    """
    Set the function that is called with the reason when a program misuses the library.

    C: ``void tevent_set_abort_fn(void (*abort_fn)(const char *reason))``

    Args:
        abort_fn: Called as ``abort_fn(reason)``. It may return: then the call that found the misuse does nothing and
            gives its failure value. None brings back the default, which raises `tevent_abort_error`. Process-wide.
    """
    if abort_fn is not None and not callable(abort_fn):
        raise TypeError(f"abort_fn must be callable or None, not {type(abort_fn).__name__}")
    _state.fn = abort_fn


def tevent_abort(ev: tevent_context | None, reason: str) -> None:
    """
    Report a misuse: a debug message of level FATAL where *ev* is given, then the abort function.

    C: ``void tevent_abort(struct tevent_context *ev, const char *reason)``
    """
    abort_about(ev, reason, "")


def abort_about(ev: tevent_context | None, reason: str, detail: str) -> None:
    """`tevent_abort`; *detail* is what the default error says beyond C's reason."""
    if ev is not None:
        tevent_debug(ev, TEVENT_DEBUG_FATAL, "abort: %s\n", reason)
    fn = _state.fn
    if fn is None:
        raise tevent_abort_error(f"{reason}: {detail}" if detail else reason)
    fn(reason)


def tevent_common_check_double_free(ptr: TALLOC_CTX, reason: str) -> None:
    """
    Abort with *reason*, unless *ptr* is only met once more because its parent is being freed.

    C: ``void tevent_common_check_double_free(TALLOC_CTX *ptr, const char *reason)``

    For destructors that refuse while a handler runs, and so may be called a second time.
    """
    c = chunk_of(ptr)
    if c is None:
        return
    parent = c.parent
    if parent is not None and being_freed(parent):
        return
    abort_about(None, reason, freed_in_handler(ptr))


def free_later(event: TALLOC_CTX) -> int:
    """What the destructor of an event answers whose handler runs: -1. Where the free was called is remembered."""
    c = event._talloc_chunk
    if c.extra is None:
        c.extra = rare()
    if c.extra.asked is None:
        c.extra.asked = caller_outside("talloc_py", "tevent", "tsocket")
    return -1


def freed_in_handler(event: TALLOC_CTX) -> str:
    """One sentence about an event that was freed by its handler, which still runs, and is used once more."""
    from talloc_py._misuse import asked_by, made_at

    c = event._talloc_chunk
    function, place = asked_by()
    born = made_at(c, event)
    made = f", made at {born}," if born else ""
    where = None if c.extra is None else c.extra.asked
    first = "" if where is None else f" at {location_text(where)}"
    return (
        f"chunk '{name_of(c)}'{made} was freed{first} while its handler runs, goes when that returns, and is used "
        f"again by {function}() at {location_text(place)}; a handler that frees its event must forget it"
    )
