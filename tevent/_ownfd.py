# SPDX-License-Identifier: LGPL-3.0-or-later
"""
fd events without a chunk: an object of the library's that waits for one descriptor is its own event.

As a request is its own immediate as long as nobody looks on, so is what a stream has below it its own fd event: one
object instead of three.  Whoever lists the events, reports on the tree of chunks or traces fd events gets to see a real
one, which takes its place (`tevent_fd.shown`).

Only epoll does that, without a trace callback; an owner falls back on `tevent_add_fd` everywhere else.
Cost: O(1) for everything, but O(members) where several events share the descriptor.
"""

from __future__ import annotations

from talloc_py.core import attach

from ._request import made_late
from .epoll import epoll_event_context, epoll_fd_destructor, leave_set, plain_operations
from .fd import link_first, tevent_common_fd_disarm, tevent_fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from talloc_py.core import TALLOC_CTX

    from .context import tevent_context
    from .fd import tevent_fd_handler_t

__all__ = ["attach_own", "detach_own", "init_own", "stand_in"]

_allocate = object.__new__


def init_own(fde: tevent_fd, fd: int, handler: tevent_fd_handler_t) -> None:
    """Set what an event has; it waits for nothing yet."""
    fde.busy = fde.destroyed = False
    fde.fd = fd
    fde.flags = 0
    fde.handler = handler
    fde.additional_flags = 0
    fde.event_ctx = fde.private_data = fde.rare = fde.wrapper = fde.group = None


def attach_own(ev: tevent_context, fde: tevent_fd, flags: int) -> bool:
    """Let *fde*, whose handler gets itself as its data, wait for *flags*; False where only a real event will do."""
    state: Any = ev.additional_data
    ops = ev.ops
    if type(state) is not epoll_event_context or ev.trace_fd is not None or not state.is_ours():
        return False
    if ops.add_fd not in plain_operations or ops.set_fd_flags not in plain_operations:
        return False
    fde.flags = flags
    fde.private_data = fde
    fde.event_ctx = ev
    link_first(ev, fde)
    # Without a fallback a kernel that refuses ends in the abort function; where that returns the event is dead.
    if not state.update(fde) and state.panic_fallback is None:
        tevent_common_fd_disarm(fde)
    return True


def detach_own(fde: tevent_fd) -> None:
    """Let *fde* wait for nothing any more."""
    if fde.event_ctx is not None:
        leave_set(fde)
        tevent_common_fd_disarm(fde)
    fde.private_data = None


def stand_in(fde: tevent_fd, owner: TALLOC_CTX) -> tevent_fd:
    """A real event, a child of *owner*, that takes the place of *fde* wherever that stands."""
    real: tevent_fd = _allocate(tevent_fd)
    made_late(owner, lambda: attach(real, owner, tevent_fd, epoll_fd_destructor))
    for name in _COPIED:
        setattr(real, name, getattr(fde, name))
    real.busy = False  # whoever runs the handler just now knows the other one
    real.created = (stand_in.__code__, 0)
    ev = fde.event_ctx
    if ev is not None:
        before, after = fde.fd_prev, fde.fd_next
        if before is None:
            ev.fd_first = real
        else:
            before.fd_next = real
        if after is None:
            ev.fd_last = real
        else:
            after.fd_prev = real
        if ev.fd_hint is fde:
            ev.fd_hint = real
        if fde.group is not None:
            fde.group.members[fde.group.members.index(fde)] = real
        state: Any = ev.additional_data
        if type(state) is epoll_event_context and state.table.get(fde.fd) is fde:
            state.table[fde.fd] = real
        fde.fd_prev = fde.fd_next = fde.event_ctx = fde.group = None
    fde.private_data = None
    return real


_SLOTS: tuple[str, ...] = tevent_fd.__slots__
_COPIED = tuple(name for name in _SLOTS if name not in ("busy", "created"))
