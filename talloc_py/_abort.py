# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What happens when a program breaks a rule: messages, the abort function, destructors that raise.

Prior art: ``talloc_log()``, ``talloc_abort()`` and their setters in lib/talloc/talloc.c. The hooks are process-wide.
Cost: nothing until something goes wrong.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    talloc_log_callback = Callable[[str], object]
    talloc_abort_callback = Callable[[str], object]

__all__ = [
    "talloc_abort_error",
    "talloc_set_abort_fn",
    "talloc_set_log_fn",
    "talloc_set_log_stderr",
]


class talloc_abort_error(RuntimeError):
    """
    A programming error that C answers by ``abort()``: use after free, a type mismatch and the like.

    Raised by the default abort function. The text starts with C's reason and goes on to name the chunk.
    """


class _hook_table:
    """The process-wide hooks; None means the default."""

    __slots__ = ("abort_fn", "log_fn", "unraisable_type")

    def __init__(self) -> None:
        self.abort_fn: talloc_abort_callback | None = None
        self.log_fn: talloc_log_callback | None = None
        self.unraisable_type: Any = None


_hooks = _hook_table()


def talloc_set_abort_fn(abort_fn: talloc_abort_callback | None) -> None:
    """
    Set the function that is called with the reason when a program breaks a rule of talloc.

    C: ``void talloc_set_abort_fn(void (*abort_fn)(const char *reason))``

    Args:
        abort_fn: Called as ``abort_fn(reason)``. If it returns, the call that found the fault does nothing and gives
            its failure value; what it raises passes to the caller. None brings back the default, which raises
            `talloc_abort_error`.
    """
    _hooks.abort_fn = _callable_or_none(abort_fn, "abort_fn")


def talloc_set_log_fn(log_fn: talloc_log_callback | None) -> None:
    """
    Set the function that gets talloc's messages.

    C: ``void talloc_set_log_fn(void (*log_fn)(const char *message))``

    Args:
        log_fn: Called as ``log_fn(message)``; the message ends with a newline. None, as at first, is silence.
    """
    _hooks.log_fn = _callable_or_none(log_fn, "log_fn")


def talloc_set_log_stderr() -> None:
    """
    Let talloc's messages go to ``sys.stderr``, looked up when there is one to write.

    C: ``void talloc_set_log_stderr(void)``
    """
    _hooks.log_fn = _log_stderr


def _callable_or_none(fn: Any, what: str) -> Any:
    if fn is not None and not callable(fn):
        raise TypeError(f"{what} must be callable or None, not {type(fn).__name__}")
    return fn


def _log_stderr(message: str) -> None:
    sys.stderr.write(message)


def log(message: str) -> None:
    """Give *message*, which ends with a newline, to the log function."""
    log_fn = _hooks.log_fn
    if log_fn is not None:
        log_fn(message)


def abort(reason: str, detail: str = "") -> None:
    """Log *reason* and call the abort function; *detail* is what the default error says beyond C's reason."""
    log(reason + "\n")
    abort_fn = _hooks.abort_fn
    if abort_fn is None:
        raise talloc_abort_error(f"{reason}: {detail}" if detail else reason)
    abort_fn(reason)


class _failing_finalizer:
    """Its instances raise when they are dropped: the way to meet the type of `sys.unraisablehook`'s argument."""

    def __del__(self) -> None:
        raise RuntimeError


def _unraisable_type() -> Any:
    """The type of `sys.unraisablehook`'s argument: the default hook takes no other, and nothing exports it."""
    if _hooks.unraisable_type is None:
        seen: list[Any] = []
        old_hook, sys.unraisablehook = sys.unraisablehook, seen.append
        try:
            _failing_finalizer()
        finally:
            sys.unraisablehook = old_hook
        _hooks.unraisable_type = type(seen[0])
        seen.clear()
    return _hooks.unraisable_type


def report_unraisable(error: BaseException, message: str, culprit: object) -> None:
    """Report the exception of a destructor as Python reports the exception of a ``__del__``."""
    args = _unraisable_type()((type(error), error, error.__traceback__, message, culprit))
    try:
        sys.unraisablehook(args)
    except BaseException as hook_error:
        # The interpreter does the same with a hook that fails: its own default hook has the last word.
        sys.__unraisablehook__(
            _unraisable_type()(
                (
                    type(hook_error),
                    hook_error,
                    hook_error.__traceback__,
                    "Exception ignored in sys.unraisablehook",
                    culprit,
                )
            )
        )
