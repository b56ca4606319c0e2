# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Debug messages of an event context.

Mirrors lib/tevent/tevent_debug.c.  A context has one debug function and a highest level; messages above the level are
not passed on.  Cost: one test of a flag where nobody listens to level TRACE; the other messages only come with trouble.
"""

from __future__ import annotations

import errno
import sys

from ._base import check_context, main_of, update_plain
from .errno import set_errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ._base import tevent_context
    from .enumerations import (
        TEVENT_DEBUG_ERROR,
        TEVENT_DEBUG_FATAL,
        TEVENT_DEBUG_TRACE,
        TEVENT_DEBUG_WARNING,
        tevent_debug_level,
    )

    tevent_debug_fn = Callable[["object", "tevent_debug_level", str, "tuple[object, ...]"], object]
else:
    # The values of the enumeration, which is loaded when somebody is called with a member of it.
    TEVENT_DEBUG_FATAL, TEVENT_DEBUG_ERROR, TEVENT_DEBUG_WARNING, TEVENT_DEBUG_TRACE = 0, 1, 2, 3

__all__ = [
    "TEVENT_DEBUG_ERROR",
    "TEVENT_DEBUG_FATAL",
    "TEVENT_DEBUG_TRACE",
    "TEVENT_DEBUG_WARNING",
    "tevent_debug",
    "tevent_set_debug",
    "tevent_set_debug_stderr",
    "tevent_set_max_debug_level",
]


def tevent_set_debug(ev: tevent_context, debug: tevent_debug_fn | None, context: object) -> int:
    """
    Set the function that gets the debug messages of *ev*.

    C: ``int tevent_set_debug(struct tevent_context *ev, void (*debug)(void *context, enum tevent_debug_level level,
    const char *fmt, va_list ap), void *context)``

    Args:
        ev: A main context.

        debug: Called as ``debug(context, level, fmt, ap)``; the text is ``fmt % ap``. None switches messages off.

        context: Any object, passed through.

    Returns:
        0. -1 with errno EINVAL on a wrapper, where the abort function returned.

    The highest level becomes `TEVENT_DEBUG_WARNING`, `TEVENT_DEBUG_FATAL` for None: see `tevent_set_max_debug_level`.
    """
    if not check_context(ev):
        return -1
    if debug is not None and not callable(debug):
        raise TypeError(f"debug must be callable or None, not {type(debug).__name__}")
    if ev.wrapper is not None:
        from .abort import tevent_abort

        tevent_abort(ev, "tevent_set_debug() on wrapper")
        set_errno(errno.EINVAL)
        return -1
    ev.debug_fn = debug
    ev.debug_context = context
    ev.debug_max = TEVENT_DEBUG_FATAL if debug is None else TEVENT_DEBUG_WARNING
    update_plain(ev)
    return 0


def tevent_set_max_debug_level(ev: tevent_context, max_level: int) -> tevent_debug_level:
    """
    Set the highest level that is passed to the debug function of *ev*.

    C: ``enum tevent_debug_level tevent_set_max_debug_level(struct tevent_context *ev, enum tevent_debug_level
    max_level)``

    Returns:
        The former highest level.
    """
    from .enumerations import tevent_debug_level

    old = 0
    if check_context(ev):
        old = ev.debug_max
        ev.debug_max = min(max(int(max_level), 0), 3)
        update_plain(ev)
    return tevent_debug_level(old)


def tevent_set_debug_stderr(ev: tevent_context) -> int:
    """
    Let messages of level FATAL, ERROR and WARNING go to ``sys.stderr``.

    C: ``int tevent_set_debug_stderr(struct tevent_context *ev)``

    Returns:
        0; -1 as `tevent_set_debug` does.
    """
    return tevent_set_debug(ev, _to_stderr, ev)


def _to_stderr(context: object, level: tevent_debug_level, fmt: str, ap: tuple[object, ...]) -> None:
    if level <= TEVENT_DEBUG_WARNING:
        sys.stderr.write(fmt % ap)


def tevent_debug(ev: tevent_context | None, level: tevent_debug_level, fmt: str, *args: object) -> None:
    """
    Pass a message to the debug function of *ev*, of its main context if it is a wrapper.

    C: ``void tevent_debug(struct tevent_context *ev, enum tevent_debug_level level, const char *fmt, ...)``

    Nothing happens where *ev* is None, has no debug function, or does not want messages of *level*.
    """
    if ev is None:
        return
    main = main_of(ev)
    if main is None or main.debug_fn is None or level > main.debug_max:
        return
    from .enumerations import tevent_debug_level

    main.debug_fn(main.debug_context, tevent_debug_level(level), fmt, args)
