# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Null tracking, the autofree context, leak reports at exit; the abort and log hooks are here to be imported as well.

Prior art: ``talloc_enable_null_tracking()``, ``talloc_autofree_context()`` and ``talloc_lib_atexit()`` in
lib/talloc/talloc.c. All of it is process-wide. Cost: O(1); turning tracking off is O(chunks at top level).
"""

from __future__ import annotations

import sys

from ._abort import talloc_abort_error, talloc_set_abort_fn, talloc_set_log_fn, talloc_set_log_stderr
from ._chunk import LEFT, TALLOC_CTX, attach, chunk, world
from ._free import free_internal, reference_of, steal_internal
from ._walk import totals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._abort import talloc_abort_callback as talloc_abort_callback
    from ._abort import talloc_log_callback as talloc_log_callback

__all__ = [
    "talloc_abort_error",
    "talloc_autofree_context",
    "talloc_disable_null_tracking",
    "talloc_enable_leak_report",
    "talloc_enable_leak_report_full",
    "talloc_enable_null_tracking",
    "talloc_enable_null_tracking_no_autofree",
    "talloc_set_abort_fn",
    "talloc_set_log_fn",
    "talloc_set_log_stderr",
]


class _exit_state:
    """What there is to do at the end of the process."""

    __slots__ = ("autofree", "registered", "report", "report_full")

    def __init__(self) -> None:
        self.autofree: chunk | None = None
        self.registered = False
        self.report = False
        self.report_full = False


_state = _exit_state()


def talloc_enable_null_tracking() -> None:
    """
    Let chunks without an owner be children of a "null_context" from now on, the autofree context too.

    C: ``void talloc_enable_null_tracking(void)``
    """
    if world.null is None:
        talloc_enable_null_tracking_no_autofree()
        autofree = _live_autofree()
        if autofree is not None:
            # As talloc_reparent() from nobody: where it has an owner a reference that nobody holds is moved.
            moved = autofree if autofree.parent is None else reference_of(autofree, None)
            if moved is not None:
                steal_internal(world.null, moved)


def talloc_enable_null_tracking_no_autofree() -> None:
    """
    As `talloc_enable_null_tracking`, but leave the autofree context where it is.

    C: ``void talloc_enable_null_tracking_no_autofree(void)``
    """
    if world.null is None:
        world.null = attach(TALLOC_CTX(), None, "null_context")


def talloc_disable_null_tracking() -> None:
    """
    Let the children of the null_context be at top level again, and free it.

    C: ``void talloc_disable_null_tracking(void)``
    """
    null, world.null = world.null, None
    if null is not None:
        c = null.child
        null.child = None
        while c is not None:
            following = c.next
            c.parent = c.next = c.prev = None
            c = following
        if null.obj is not None:
            free_internal(null, "talloc_disable_null_tracking")


def _live_autofree() -> chunk | None:
    """The autofree context, unless it is dead or dying: C forgets it when its free begins."""
    autofree = _state.autofree
    return None if autofree is None or autofree.next is LEFT else autofree


def _at_exit() -> None:
    """What C's ``talloc_lib_atexit()`` does."""
    autofree = _live_autofree()
    if autofree is not None:
        free_internal(autofree, "atexit")
    null = world.null
    if null is None or totals(null)[0] == 0:
        return
    from .report import talloc_report, talloc_report_full

    if _state.report_full:
        talloc_report_full(null.obj, sys.stderr)
    elif _state.report:
        talloc_report(null.obj, sys.stderr)


def _register() -> None:
    if not _state.registered:
        import atexit

        atexit.register(_at_exit)
        _state.registered = True


def talloc_autofree_context() -> TALLOC_CTX:
    """
    The context that is freed at the end of the process.

    C: ``void *talloc_autofree_context(void)``
    """
    autofree = _live_autofree()
    if autofree is None:
        _register()
        autofree = attach(TALLOC_CTX(), None, "autofree_context")
        assert autofree is not None
        _state.autofree = autofree
    return autofree.obj  # type: ignore[no-any-return]


def talloc_enable_leak_report() -> None:
    """
    Turn null tracking on and report at the end of the process what is left, one line a chunk at top level.

    C: ``void talloc_enable_leak_report(void)``
    """
    talloc_enable_null_tracking()
    _state.report = True
    _register()


def talloc_enable_leak_report_full() -> None:
    """
    Turn null tracking on and report at the end of the process the whole tree of what is left.

    C: ``void talloc_enable_leak_report_full(void)``
    """
    talloc_enable_null_tracking()
    _state.report_full = True
    _register()
