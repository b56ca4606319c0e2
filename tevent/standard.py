# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The backend ``standard``: epoll while that works, poll afterwards.

Mirrors ``lib/tevent/tevent_standard.c``.  When the kernel refuses a descriptor in a way that is nobody's fault (a
regular file, say), the whole context moves to poll for good, with all its events.  Which of the two a context is with
shows in its ``additional_data``; the operations here ask that, so that copies of them work before and after the move.

Where the platform has no epoll this is poll, and without poll it is the backend ``selectors``.

Cost: in the loop none; one more call for adding and changing an fd event.  The module of poll is loaded by the first
context that needs it.
"""

from __future__ import annotations

from talloc_py.core import free_chunk

from . import _sys, epoll
from .backend import builtin_backends, tevent_ops
from .epoll import epoll_event_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from talloc_py.core import TALLOC_CTX

    from ._base import tevent_context
    from .fd import tevent_fd, tevent_fd_handler_t

__all__: list[str] = []


def _standard_init(ev: tevent_context) -> int:
    if ev.additional_data is None or not _is_with_poll(ev):
        if epoll.epoll_event_context_init(ev) == 0:
            state: Any = ev.additional_data
            state.panic_fallback = _move_to_poll
            return 0
    from .poll import poll_init

    return poll_init(ev)


def _is_with_poll(ev: tevent_context) -> bool:
    from .poll import poll_state

    return type(ev.additional_data) is poll_state


def _move_to_poll(ev: tevent_context, _replay: bool) -> bool:
    """Move a context and all its fd events from epoll to poll."""
    from .poll import adopt, poll_init

    c = ev.additional_data._talloc_chunk
    poll_init(ev)
    free_chunk(c, (_move_to_poll.__code__, 0))
    # The oldest first: each becomes the head of the list that poll works through.
    for fde in reversed(list(ev.fd_events)):
        if fde.group is not None:
            fde.group.remove(fde)
        adopt(ev, fde)
    return True


def _add_fd(
    ev: tevent_context,
    mem_ctx: TALLOC_CTX | None,
    fd: int,
    flags: int,
    handler: tevent_fd_handler_t | None,
    private_data: object,
    handler_name: str,
) -> tevent_fd | None:
    if type(ev.additional_data) is epoll_event_context:
        return epoll.epoll_event_add_fd(ev, mem_ctx, fd, flags, handler, private_data, handler_name)
    from .poll import poll_add_fd

    return poll_add_fd(ev, mem_ctx, fd, flags, handler, private_data, handler_name)


def _set_fd_flags(fde: tevent_fd, flags: int) -> None:
    ev = fde.event_ctx
    if ev is not None and type(ev.additional_data) is epoll_event_context:
        epoll.epoll_event_set_fd_flags(fde, flags)
    else:
        from .poll import poll_set_fd_flags

        poll_set_fd_flags(fde, flags)


def _copy(ops: tevent_ops) -> tevent_ops:
    return tevent_ops(
        context_init=ops.context_init,
        add_fd=ops.add_fd,
        set_fd_close_fn=ops.set_fd_close_fn,
        get_fd_flags=ops.get_fd_flags,
        set_fd_flags=ops.set_fd_flags,
        add_timer=ops.add_timer,
        schedule_immediate=ops.schedule_immediate,
        add_signal=ops.add_signal,
        loop_once=ops.loop_once,
        loop_wait=ops.loop_wait,
    )


def choose() -> tevent_ops:
    """The operations for this platform."""
    if _sys.epoll is None:
        return _copy(builtin_backends["selectors" if _sys.poll is None else "poll"])
    if _sys.poll is None:
        return _copy(builtin_backends["epoll"])
    # The loop is that of epoll, which sees by itself when a context has moved.
    ops = _copy(builtin_backends["epoll"])
    ops.context_init = _standard_init
    ops.add_fd = _add_fd
    ops.set_fd_flags = _set_fd_flags
    return ops


def _wait_with_poll(ev: tevent_context, wait: int) -> int:
    from .poll import loop_poll

    return loop_poll(ev, wait)


epoll.fallback_wait[0] = _wait_with_poll
epoll.plain_operations.update((_add_fd, _set_fd_flags))
builtin_backends["standard"] = choose()
