# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The backends ``poll`` and ``poll_mt``: `select.poll` underneath.

Mirrors ``lib/tevent/tevent_poll.c``.  ``poll_mt`` differs in one thing: while one thread sleeps in the wait, another
one that holds the caller's lock may change the context, and each such change ends the wait.

The order of handlers is that of the context's list: the newest event first, and an event whose handler runs moves to
the end.  So that nobody has to walk the list, each event carries its place as a number (`additional_flags`): falling
numbers for new events, rising ones for those that moved to the end.  **The list is sorted by these numbers.**

Cost: add, change and free are O(1) without a system call; they are carried out before the next wait.  A wait is O(n) in
the kernel, and O(ready log ready) here.
"""

from __future__ import annotations

import errno

from talloc_py.core import library_destructors

from . import _sys
from ._base import loop_state
from .backend import add_builtin, second_halves
from .common import tevent_common_wakeup, tevent_common_wakeup_init
from .context import after_timeout, before_wait, signals_served, tevent_common_loop_wait
from .debug import TEVENT_DEBUG_FATAL, tevent_debug
from .errno import set_errno
from .fd import (
    TEVENT_FD_ERROR,
    TEVENT_FD_NOT_WRITEABLE,
    TEVENT_FD_READ,
    TEVENT_FD_WRITE,
    link_last,
    run_fd,
    tevent_common_add_fd,
    tevent_common_fd_destructor,
    tevent_common_fd_disarm,
    tevent_common_fd_get_flags,
    tevent_common_fd_set_close_fn,
    unlink,
)
from .immediate import tevent_common_schedule_immediate
from .signal import tevent_common_add_signal
from .timed import SERVED, tevent_common_add_timer_v2
from .trace import TEVENT_TRACE_AFTER_WAIT, TEVENT_TRACE_BEFORE_WAIT, tevent_trace_point_callback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from talloc_py.core import TALLOC_CTX

    from ._base import tevent_context
    from .fd import tevent_fd, tevent_fd_handler_t
    from .immediate import tevent_immediate, tevent_immediate_handler_t

__all__: list[str] = []

POLLIN = 0x001
POLLOUT = 0x004
POLLERR = 0x008
POLLHUP = 0x010
POLLNVAL = 0x020
POLLRDHUP = 0x2000


_ANY = TEVENT_FD_READ | TEVENT_FD_WRITE | TEVENT_FD_ERROR

#: poll() takes a C int.
LONGEST_WAIT_MS = 2147483647

#: What to ask the system for, for each combination of the three flags.  HUP, ERR and NVAL are always reported.
_MASKS = [
    (POLLIN | POLLRDHUP if flags & TEVENT_FD_READ else 0)
    | (POLLOUT if flags & TEVENT_FD_WRITE else 0)
    | (POLLRDHUP if flags & TEVENT_FD_ERROR else 0)
    for flags in range(8)
]


class fd_table:
    """
    Which events of a context stand on which descriptor, and in which order they come.

    **An event is in here from add_fd until it is freed or detached**; one that was detached behind our back is swept
    out when its descriptor is looked at next.
    """

    __slots__ = ("first", "fresh", "last", "on_fd")

    def __init__(self) -> None:
        self.on_fd: dict[int, list[tevent_fd]] = {}
        #: Events that were not there yet at the last wait: what that found is none of their business.
        self.fresh: set[tevent_fd] = set()
        #: The places to be given away next, at the head and at the end.
        self.first: int = -1
        self.last: int = 0

    def add(self, fde: tevent_fd) -> None:
        """Enter an event that has just become the head of the context's list."""
        fde.additional_flags = self.first
        self.first -= 1
        self.on_fd.setdefault(fde.fd, []).append(fde)
        self.fresh.add(fde)

    def remove(self, fde: tevent_fd) -> None:
        """Forget an event."""
        events = self.on_fd.get(fde.fd)
        if events is not None and fde in events:
            events.remove(fde)
            self.fresh.discard(fde)
            if not events:
                del self.on_fd[fde.fd]

    def demote(self, ev: tevent_context, fde: tevent_fd) -> None:
        """Move an event to the end of the context's list."""
        unlink(ev, fde)
        link_last(ev, fde)
        fde.additional_flags = self.last
        self.last += 1

    def wanted(self, fd: int) -> int:
        """What the events on *fd* want together."""
        flags = 0
        for fde in list(self.on_fd.get(fd, ())):
            if fde.event_ctx is None:
                self.remove(fde)
            else:
                flags |= fde.flags
        return flags

    def in_order(self, fds: Iterable[int]) -> list[tevent_fd]:
        """The events on *fds* that took part in the last wait, in the order of the context's list."""
        fresh = self.fresh
        found = [fde for fd in fds for fde in self.on_fd.get(fd, ()) if fde not in fresh]
        if len(found) > 1:
            found.sort(key=_place)
        return found


def _place(fde: tevent_fd) -> int:
    return fde.additional_flags


class poll_state:
    """
    What a context with one of these backends has as its ``additional_data``.

    **A descriptor that is not in `changed` is registered with `poller` for just what its events want together.**
    """

    __slots__ = ("changed", "poller", "registered", "shared", "table", "waiting")

    #: No process has this number: the epoll backend, which asks first, sees that the context is not there any more.
    pid = 0

    def __init__(self, shared: bool) -> None:
        self.poller: Any = _sys.poll()
        self.registered: dict[int, int] = {}
        #: Descriptors whose registration may have to change.
        self.changed: set[int] = set()
        self.table: fd_table = fd_table()
        #: poll_mt: other threads may change the context during the wait.
        self.shared: bool = shared
        #: A thread waits, or is about to.
        self.waiting: bool = False

    def sync(self) -> None:
        """Bring the registrations up to date."""
        self.table.fresh.clear()
        changed = self.changed
        while changed:
            fd = changed.pop()
            mask = _MASKS[self.table.wanted(fd) & 7]
            if mask == self.registered.get(fd, 0):
                continue
            if mask:
                self.poller.register(fd, mask)
                self.registered[fd] = mask
            else:
                self.poller.unregister(fd)
                del self.registered[fd]

    def woken_by(self, ev: tevent_context) -> None:
        """With poll_mt, end the wait of another thread: the context has changed."""
        if self.shared and self.waiting:
            tevent_common_wakeup(ev)


def poll_init(ev: tevent_context) -> int:
    """Let this backend care for *ev*; always 0."""
    ev.additional_data = poll_state(False)
    return 0


def _poll_mt_init(ev: tevent_context) -> int:
    ev.additional_data = poll_state(True)
    return tevent_common_wakeup_init(ev)


def poll_add_fd(
    ev: tevent_context,
    mem_ctx: TALLOC_CTX | None,
    fd: int,
    flags: int,
    handler: tevent_fd_handler_t | None,
    private_data: object,
    handler_name: str,
) -> tevent_fd | None:
    """Make an fd event; its descriptor is looked at when the context waits next."""
    fde = tevent_common_add_fd(ev, mem_ctx, fd, flags, handler, private_data, handler_name)
    if fde is not None:
        adopt(ev, fde)
    return fde


def adopt(ev: tevent_context, fde: tevent_fd) -> None:
    """Let this backend care for an event that has just become the head of the list of *ev*."""
    state: poll_state = ev.additional_data
    fde._talloc_chunk.destructor = _fd_destructor
    state.table.add(fde)
    state.changed.add(fde.fd)
    state.woken_by(ev)


def _fd_destructor(fde: tevent_fd) -> int:
    ev = fde.event_ctx
    if ev is not None:
        state: poll_state = ev.additional_data
        state.table.remove(fde)
        state.changed.add(fde.fd)
        state.woken_by(ev)
    return tevent_common_fd_destructor(fde)


library_destructors.add(_fd_destructor)


def poll_set_fd_flags(fde: tevent_fd, flags: int) -> None:
    """Wait for something else from now on."""
    ev = fde.event_ctx
    if ev is None or fde.flags == flags:
        return
    state: poll_state = ev.additional_data
    fde.flags = flags
    state.changed.add(fde.fd)
    state.woken_by(ev)


def _schedule_immediate(
    im: tevent_immediate,
    ev: tevent_context,
    handler: tevent_immediate_handler_t | None,
    private_data: object,
    handler_name: str,
) -> None:
    tevent_common_schedule_immediate(im, ev, handler, private_data, handler_name)
    ev.additional_data.woken_by(ev)


def _loop_once(ev: tevent_context) -> int:
    delay_us = before_wait(ev)
    return 0 if delay_us == SERVED else loop_poll(ev, delay_us)


def loop_poll(ev: tevent_context, delay_us: int) -> int:
    """Wait, and run at most one handler: the second half of an iteration."""
    if loop_state.signals and signals_served(ev):
        return 0
    state: poll_state = ev.additional_data
    ready = _wait(ev, state, delay_us)
    if ready is None:
        return -1
    if ev.gone or (loop_state.signals and signals_served(ev)):
        return 0
    if not ready:
        return after_timeout(ev)
    _serve(ev, state, dict(ready))
    return 0


def _wait(ev: tevent_context, state: poll_state, delay_us: int) -> list[tuple[int, int]] | None:
    """Wait for at most *delay_us*; which descriptors are ready, and for what. None, with errno, if that fails."""
    ready: list[tuple[int, int]]
    # From here on a change by another thread must end the wait, also one before it begins.
    state.waiting = True
    try:
        state.sync()
        if ev.trace_point is not None:
            tevent_trace_point_callback(ev, TEVENT_TRACE_BEFORE_WAIT)
        try:
            ready = state.poller.poll(milliseconds(delay_us))
        except OSError as error:
            tevent_debug(ev, TEVENT_DEBUG_FATAL, "poll() failed: %s\n", error)
            set_errno(error.errno or errno.EIO)
            return None
        finally:
            if ev.trace_point is not None:
                tevent_trace_point_callback(ev, TEVENT_TRACE_AFTER_WAIT)
    finally:
        state.waiting = False
    return ready


def milliseconds(delay_us: int) -> int:
    """A delay as poll() takes it: rounded up, so that no timer fires early; -1 for ever."""
    return -1 if delay_us < 0 else min(-(-delay_us // 1000), LONGEST_WAIT_MS)


def _serve(ev: tevent_context, state: poll_state, ready: dict[int, int]) -> None:
    """Run the first event of the list for which there is something."""
    for fde in state.table.in_order(ready):
        found = ready[fde.fd]
        if fde.event_ctx is None:
            state.changed.add(fde.fd)  # Detached, but nobody has told us: swept out before the next wait.
            continue
        if not fde.flags & _ANY:
            continue  # Only somebody else on its descriptor waits.
        if found & POLLNVAL:
            tevent_debug(ev, TEVENT_DEBUG_FATAL, "POLLNVAL on descriptor %d - disarming %s\n", fde.fd, fde)
            state.table.remove(fde)
            state.changed.add(fde.fd)
            tevent_common_fd_disarm(fde)
            continue
        flags = fde.flags
        broken = found & (POLLHUP | POLLERR)
        if broken and not flags & (TEVENT_FD_READ | TEVENT_FD_ERROR):
            # Who only wants to write is not told of errors, and must not be asked for again and again.
            TEVENT_FD_NOT_WRITEABLE(fde)
            continue
        if broken or found & POLLRDHUP:
            flags &= TEVENT_FD_READ | TEVENT_FD_ERROR | (TEVENT_FD_WRITE if found & POLLOUT else 0)
        else:
            flags &= (TEVENT_FD_READ if found & POLLIN else 0) | (TEVENT_FD_WRITE if found & POLLOUT else 0)
        if flags:
            state.table.demote(ev, fde)
            run_fd(ev, fde, flags)
            return


second_halves.append((_loop_once, loop_poll))


def _add_backend(name: str, **own: Any) -> None:
    """Add a backend of this module: the operations that they share, and its *own*."""
    common = {
        "add_fd": poll_add_fd,
        "set_fd_close_fn": tevent_common_fd_set_close_fn,
        "get_fd_flags": tevent_common_fd_get_flags,
        "set_fd_flags": poll_set_fd_flags,
        "add_timer": tevent_common_add_timer_v2,
        "schedule_immediate": tevent_common_schedule_immediate,
        "add_signal": tevent_common_add_signal,
        "loop_once": _loop_once,
        "loop_wait": tevent_common_loop_wait,
    }
    add_builtin(name, **(common | own))


if _sys.poll is not None:
    _add_backend("poll", context_init=poll_init)
    _add_backend("poll_mt", context_init=_poll_mt_init, schedule_immediate=_schedule_immediate)
