# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Messages of talloc and tevent in Python's `logging`.

What C sends to the functions of ``tevent_set_debug()`` and ``talloc_set_log_fn()`` goes to a logger instead, by one
call of `log_to`.
Cost: that of a debug function; level TRACE is switched on only for a logger that wants DEBUG, as it slows a loop down.
"""

from __future__ import annotations

import logging

from talloc_py import talloc_set_log_fn

from ._base import main_of, tevent_context
from .debug import tevent_set_debug, tevent_set_max_debug_level
from .enumerations import TEVENT_DEBUG_ERROR, TEVENT_DEBUG_FATAL, TEVENT_DEBUG_TRACE, TEVENT_DEBUG_WARNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from .enumerations import tevent_debug_level

__all__ = ["LEVELS", "log_to"]

#: The level of logging for each level of tevent.
LEVELS: Final[dict[int, int]] = {
    TEVENT_DEBUG_FATAL: logging.CRITICAL,
    TEVENT_DEBUG_ERROR: logging.ERROR,
    TEVENT_DEBUG_WARNING: logging.WARNING,
    TEVENT_DEBUG_TRACE: logging.DEBUG,
}


def log_to(logger: logging.Logger | str | None, *contexts: tevent_context) -> None:
    """
    Let the messages of talloc, and those of *contexts*, go to a logger.

    Args:
        logger: A logger or its name; None switches the messages off again.

        contexts: Event contexts; of a wrapper, its main context. Each one has a debug function of its own, so a context
            that is made later needs a call of its own.

    Levels: `TEVENT_DEBUG_FATAL` is CRITICAL, ERROR and WARNING are what they are called, TRACE is DEBUG and is asked
    for only if the logger is enabled for it at the moment of this call. What talloc logs are faults: ERROR; its lines
    that say more about the one before, INFO.
    """
    target = logging.getLogger(logger) if isinstance(logger, str) else logger
    talloc_set_log_fn(None if target is None else lambda message: _from_talloc(target, message))
    for ev in contexts:
        main = main_of(ev) if type(ev) is tevent_context else ev
        if main is None:
            continue  # a wrapper whose main context is gone says nothing any more
        if target is None:
            tevent_set_debug(main, None, None)
        elif tevent_set_debug(main, _from_tevent, target) == 0 and target.isEnabledFor(logging.DEBUG):
            tevent_set_max_debug_level(main, TEVENT_DEBUG_TRACE)


def _from_talloc(logger: logging.Logger, message: str) -> None:
    level = logging.INFO if message.startswith("\t") else logging.ERROR
    logger.log(level, "%s", message.strip())


def _from_tevent(context: object, level: tevent_debug_level, fmt: str, ap: tuple[object, ...]) -> None:
    assert isinstance(context, logging.Logger)
    # As C has it, ap is there even if it is empty: logging would leave a "%%" as it is.
    text = fmt.rstrip("\n")
    context.log(LEVELS[level], text if ap else text % (), *ap)
