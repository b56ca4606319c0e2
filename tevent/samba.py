# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What Samba's programs call instead of tevent_context_init(): a context whose messages go to the program's log.

Mirrors ``lib/util/tevent_debug.c`` and ``lib/util/samba_util.h`` of Samba; its DEBUG system is Python's `logging` here.
Cost: nothing until a message is written.
"""

from __future__ import annotations

from .context import tevent_context_init
from .debug import TEVENT_DEBUG_TRACE, tevent_set_debug, tevent_set_max_debug_level

TYPE_CHECKING = False
if TYPE_CHECKING:
    from talloc_py.core import TALLOC_CTX

    from ._base import tevent_context
    from .enumerations import tevent_debug_level

__all__ = ["samba_tevent_context_init", "samba_tevent_set_debug"]

#: The levels of `logging`: critical, error, warning, debug.
_LOGGING_LEVELS = (50, 40, 30, 10)


def samba_tevent_set_debug(ev: tevent_context, name: str | None) -> None:
    """
    Let the debug messages of *ev* go to the logger ``tevent``.

    C: ``void samba_tevent_set_debug(struct tevent_context *ev, const char *name)``

    Args:
        ev: A main context.

        name: What stands before each message, followed by a colon; None is ``samba_tevent``.

    Messages of level FATAL become critical, ERROR error, WARNING warning and TRACE debug. TRACE is asked for only if
    the logger takes messages of level debug when this is called.
    """
    import logging

    prefix = _checked("samba_tevent" if name is None else name)
    if tevent_set_debug(ev, _log, prefix) == 0 and logging.getLogger("tevent").isEnabledFor(logging.DEBUG):
        tevent_set_max_debug_level(ev, TEVENT_DEBUG_TRACE)


def _checked(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"name must be a str or None, not {type(name).__name__}")
    return name


def _log(context: object, level: tevent_debug_level, fmt: str, ap: tuple[object, ...]) -> None:
    import logging

    text = (fmt % ap).rstrip("\n")
    logging.getLogger("tevent").log(_LOGGING_LEVELS[level], "%s: %s", context, text)


def samba_tevent_context_init(mem_ctx: TALLOC_CTX | None) -> tevent_context | None:
    """
    `tevent_context_init` with the messages of `samba_tevent_set_debug`.

    C: ``struct tevent_context *samba_tevent_context_init(TALLOC_CTX *mem_ctx)``

    Args:
        mem_ctx: The owner of the context.

    Returns:
        The context; None where `tevent_context_init` gives None.
    """
    ev = tevent_context_init(mem_ctx)
    if ev is not None:
        samba_tevent_set_debug(ev, None)
    return ev
