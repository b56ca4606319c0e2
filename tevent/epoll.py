# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The backend "epoll".

Mirrors lib/tevent/tevent_epoll.c.  The kernel keeps the set of descriptors; a wait fetches one event, so that no
handler is called for a readiness that another handler has used up.  A descriptor is in the set exactly while an event
on it waits for something; several events on it form a group, which has one entry.
Cost: one system call to add, change and free an event, and one per wait; O(members) where a descriptor has several
events.
"""

from __future__ import annotations

import errno

from talloc_py.core import TALLOC_CTX, attach, free_chunk, library_destructors

from . import _sys
from ._base import loop_state, tevent_context
from ._fdgroup import fd_group
from .abort import tevent_abort
from .backend import add_builtin, second_halves
from .context import after_timeout, before_wait, signals_served, tevent_common_loop_wait
from .debug import TEVENT_DEBUG_ERROR, TEVENT_DEBUG_FATAL, TEVENT_DEBUG_WARNING, tevent_debug
from .errno import set_errno
from .fd import (
    TEVENT_FD_ERROR,
    TEVENT_FD_READ,
    TEVENT_FD_WRITE,
    run_fd,
    tevent_common_add_fd,
    tevent_common_fd_destructor,
    tevent_common_fd_disarm,
    tevent_common_fd_get_flags,
    tevent_common_fd_set_close_fn,
    tevent_fd,
)
from .immediate import free_after_handler, tevent_common_schedule_immediate
from .timed import SERVED, tevent_common_add_timer_v2
from .trace import TEVENT_TRACE_AFTER_WAIT, TEVENT_TRACE_BEFORE_WAIT, tevent_trace_point_callback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .fd import tevent_fd_handler_t
    from .signal import tevent_signal

__all__: list[str] = []

_READ_OR_ERROR = TEVENT_FD_READ | TEVENT_FD_ERROR
_TROUBLE = _sys.EPOLLHUP | _sys.EPOLLERR | _sys.EPOLLRDHUP
#: The lowest bit of the trouble: what is less is a mere readiness.
_TROUBLE_MIN = _sys.EPOLLERR

#: TEVENT_FD_* flags, without the unknown bits, to what epoll waits for. HUP and ERR are always reported.
_MASKS = [
    (_sys.EPOLLIN | _sys.EPOLLRDHUP if flags & TEVENT_FD_READ else 0)
    | (_sys.EPOLLOUT if flags & TEVENT_FD_WRITE else 0)
    | (_sys.EPOLLRDHUP if flags & TEVENT_FD_ERROR else 0)
    for flags in range(8)
]


#: What epoll reports, without the trouble, to TEVENT_FD_* flags.
_READY = tuple(
    (TEVENT_FD_READ if events & _sys.EPOLLIN else 0) | (TEVENT_FD_WRITE if events & _sys.EPOLLOUT else 0)
    for events in range(8)
)


class epoll_event_context(TALLOC_CTX):
    """
    What a context with this backend has as its ``additional_data``: a chunk of it, freed with it.

    **A descriptor is a key of `table` exactly while the kernel's set has it;** the value is the event, or the group of
    events, to which readiness goes.
    """

    __slots__ = ("ep", "ev", "panic_fallback", "pid", "poll", "table")

    ep: Any
    poll: Any
    ev: tevent_context
    #: Called as ``panic_fallback(ev, replay)`` when the kernel refuses something unexpected: it moves the whole context
    #: to another backend, and makes the current iteration go on there where *replay*. True if that worked.
    panic_fallback: Callable[[tevent_context, bool], bool] | None
    #: The process that made the kernel's set.
    pid: int
    table: dict[int, tevent_fd | fd_group]

    def open(self) -> None:
        """Make the kernel's set."""
        self.ep = _sys.epoll(flags=_sys.EPOLL_CLOEXEC)
        self.poll = self.ep.poll
        self.pid = _sys.pid

    def is_ours(self, replay: bool = False) -> bool:
        """
        Let a forked child have a set of its own: with that of its parent it would take away the parent's events.

        False where that failed and the context had to move to another backend.
        """
        if self.pid == _sys.pid:
            return True
        self.ep.close()
        try:
            self.open()
        except OSError as error:
            self.panic("Failed to recreate epoll handle after fork", error, replay)
            return False
        entries = list(self.table.values())
        self.table.clear()
        # After the first failure they are with the other backend.
        return all(self.update(entry) for entry in entries)

    def update(self, entry: tevent_fd | fd_group) -> bool:
        """
        Make the kernel wait for what *entry* wants now; False where that went wrong.

        An event whose descriptor turns out to be closed is disarmed, which is no error here.
        """
        fd = entry.fd
        mask = _MASKS[_wanted(entry) & 7]
        armed = self.table.get(fd) is entry
        try:
            if armed and mask:
                self._modify(fd, mask)
            elif armed:
                self.remove(entry)
            elif mask:
                self._add(fd, entry, mask)
        except OSError as error:
            if error.errno != errno.EBADF:
                self.panic("EPOLL_CTL_MOD failed" if armed else "EPOLL_CTL_ADD failed", error, False)
                return False
            self._disarm(entry, error)
        return True

    def _add(self, fd: int, entry: tevent_fd | fd_group, mask: int) -> None:
        try:
            self.ep.register(fd, mask)
        except FileExistsError:
            self._join(fd, entry)
        else:
            # Should the table know the number already, then its descriptor was closed and the number given out again.
            # The events of the old one keep their flags, but nothing reaches them any more.
            self.table[fd] = entry

    def _join(self, fd: int, entry: tevent_fd | fd_group) -> None:
        """Add *entry* to the events that wait on the same descriptor already."""
        known = self.table[fd]
        group = known.group if isinstance(known, tevent_fd) else known
        if group is None:
            group = fd_group(fd)
            group.add(known)  # type: ignore[arg-type]  # what is no group is an event
        for fde in _members(entry):
            if fde.group is not None:
                fde.group.remove(fde)
            group.add(fde)
        self.table[fd] = group
        self._modify(fd, _MASKS[group.flags() & 7])

    def _modify(self, fd: int, mask: int) -> None:
        try:
            self.ep.modify(fd, mask)
        except FileNotFoundError:
            # The descriptor was closed and its number given out again without a word to us: it is another file's now.
            self.ep.register(fd, mask)

    def remove(self, entry: tevent_fd | fd_group) -> None:
        """Let the kernel wait for *entry* no more."""
        fd = entry.fd
        if self.table.get(fd) is not entry:
            return
        del self.table[fd]
        try:
            self.ep.unregister(fd)
        except OSError as error:
            if error.errno not in (errno.EBADF, errno.ENOENT):
                self.panic("EPOLL_CTL_DEL failed", error, False)
                return
            # Closed before it was freed: the kernel has forgotten it by itself.
            tevent_debug(self.ev, TEVENT_DEBUG_WARNING, "EPOLL_CTL_DEL of descriptor %d ignored: %s\n", fd, error)
            if error.errno == errno.EBADF:
                for fde in _members(entry):
                    tevent_common_fd_disarm(fde)

    def forget(self, fd: int) -> None:
        """Stop reports of a descriptor that no event waits on: its number was closed while the file lives on."""
        try:
            self.ep.unregister(fd)
        except OSError:
            # Nobody can take it out of this set any more.
            self.pid = -1
            self.is_ours()

    def _disarm(self, entry: tevent_fd | fd_group, error: OSError) -> None:
        tevent_debug(self.ev, TEVENT_DEBUG_ERROR, "epoll: descriptor %d is not open, disarmed: %s\n", entry.fd, error)
        if self.table.get(entry.fd) is entry:
            del self.table[entry.fd]
        for fde in _members(entry):
            tevent_common_fd_disarm(fde)

    def panic(self, reason: str, error: OSError, replay: bool) -> None:
        """Move the context to another backend, where there is one to fall back on; else abort."""
        ev = self.ev
        fallback = self.panic_fallback
        if fallback is not None:
            tevent_debug(ev, TEVENT_DEBUG_ERROR, "%s (%s) replay[%d] - calling panic_fallback\n", reason, error, replay)
            if fallback(ev, replay):
                return
        tevent_debug(ev, TEVENT_DEBUG_FATAL, "%s (%s) replay[%d] - calling abort()\n", reason, error, replay)
        tevent_abort(ev, reason)

    def _check_invariants(self) -> None:
        """Assert what must hold; for tests."""
        for fd, entry in self.table.items():
            assert entry.fd == fd
            assert _wanted(entry) & 7
            if isinstance(entry, fd_group):
                entry._check_invariants()
            else:
                assert entry.group is None


def _wanted(entry: tevent_fd | fd_group) -> int:
    return entry.flags if isinstance(entry, tevent_fd) else entry.flags()


def _members(entry: tevent_fd | fd_group) -> list[tevent_fd]:
    return [entry] if isinstance(entry, tevent_fd) else list(entry.members)


# -- the operations ---------------------------------------------------------------------------------------------------


def epoll_event_context_init(ev: tevent_context) -> int:
    """Make the kernel's set for *ev*; 0, or -1 with errno."""
    if type(ev.additional_data) is epoll_event_context:
        old = ev.additional_data._talloc_chunk
        ev.additional_data = None
        if old.obj is not None:
            free_chunk(old, (epoll_event_context_init.__code__, 0))
    state: epoll_event_context = object.__new__(epoll_event_context)
    state.ev = ev
    state.panic_fallback = None
    state.table = {}
    try:
        state.open()
    except OSError as error:
        set_errno(error.errno or errno.EIO)
        return -1
    if attach(state, ev, epoll_event_context, _destroy_epoll) is None:
        state.ep.close()
        return -1
    ev.additional_data = state
    return 0


def _destroy_epoll(state: epoll_event_context) -> int:
    state.ep.close()
    state.table.clear()
    return 0


def epoll_event_add_fd(
    ev: tevent_context,
    mem_ctx: TALLOC_CTX | None,
    fd: int,
    flags: int,
    handler: tevent_fd_handler_t | None,
    private_data: object,
    handler_name: str,
) -> tevent_fd | None:
    """Make an fd event and wait for it at once: a descriptor's number may be given out again before the next wait."""
    fde = tevent_common_add_fd(ev, mem_ctx, fd, flags, handler, private_data, handler_name)
    if fde is None:
        return None
    c = fde._talloc_chunk
    c.destructor = epoll_fd_destructor
    state: epoll_event_context = ev.additional_data
    # Without a fallback a kernel that refuses ends in the abort function; where that returns the event is dead.
    try:
        if state.is_ours() and flags & 7 and not state.update(fde) and state.panic_fallback is None:
            tevent_common_fd_disarm(fde)
    except BaseException:
        if c.obj is fde:
            free_chunk(c, (epoll_event_add_fd.__code__, 0))
        raise
    return fde


def epoll_fd_destructor(fde: tevent_fd) -> int:
    """The destructor of an fd event."""
    if fde.event_ctx is not None and not fde.destroyed:
        leave_set(fde)
    return tevent_common_fd_destructor(fde)


def leave_set(fde: tevent_fd) -> None:
    """Let the kernel wait for *fde*, which is attached, no more."""
    assert fde.event_ctx is not None
    state: epoll_event_context = fde.event_ctx.additional_data
    if state.is_ours():
        group = fde.group
        if group is None:
            state.remove(fde)
        else:
            group.remove(fde)
            state.update(group)


library_destructors.add(epoll_fd_destructor)
library_destructors.add(_destroy_epoll)


def epoll_event_set_fd_flags(fde: tevent_fd, flags: int) -> None:
    """Wait for something else from now on."""
    ev = fde.event_ctx
    if ev is None or fde.flags == flags:
        return
    state: epoll_event_context = ev.additional_data
    fde.flags = flags
    if state.is_ours():
        state.update(fde if fde.group is None else fde.group)


#: Stands where no event waits for a descriptor.
_NOBODY = fd_group(-1)

#: The operations that do with an event that is no chunk what they do with others.
plain_operations: set[Callable[..., Any]] = {epoll_event_add_fd, epoll_event_set_fd_flags}


def epoll_event_loop_once(ev: tevent_context) -> int:
    """One iteration."""
    wait = before_wait(ev)
    return 0 if wait == SERVED else _wait_and_serve(ev, wait)


# A wait is given a tenth of a microsecond less than it is: as a float it may be a trifle too much, and the interpreter
# rounds up to milliseconds.


def _wait_and_serve(ev: tevent_context, wait: int) -> int:
    """Wait, and run at most one handler: the second half of an iteration."""
    state: epoll_event_context = ev.additional_data
    if state.pid != _sys.pid and (type(state) is not epoll_event_context or not state.is_ours(True)):
        return _go_on_elsewhere(ev, wait)
    if loop_state.signals and signals_served(ev):
        return 0
    try:
        if ev.trace_point is None:
            ready: list[tuple[int, int]] = state.poll((wait - 0.1) / 1000000 if wait > 0 else wait, 1)
        else:
            ready = _traced_wait(ev, state, wait)
    except OSError as error:
        set_errno(error.errno or errno.EIO)
        state.panic("epoll_wait() failed", error, True)
        return _go_on_elsewhere(ev, wait)
    if ev.gone or (loop_state.signals and signals_served(ev)):
        return 0
    if not ready:
        return after_timeout(ev)
    fd, events = ready[0]
    fde: Any = state.table.get(fd, _NOBODY)
    handler = fde.handler
    if handler is None or events >= _TROUBLE_MIN or fde.busy or fde.wrapper is not None or ev.trace_fd is not None:
        _dispatch(state, fd, events)
        return 0
    # The usual case of run_fd(), spelled out: one descriptor, one event at rest, no trouble, nobody looking on.
    flags = _READY[events] & fde.flags
    fde.busy = True
    try:
        handler(ev, fde, flags, fde.private_data)
    finally:
        fde.busy = False
        if fde.destroyed:
            free_after_handler(fde)
    return 0


def _traced_wait(ev: tevent_context, state: epoll_event_context, wait: int) -> list[tuple[int, int]]:
    """The wait of an iteration, with the trace points before and after it."""
    tevent_trace_point_callback(ev, TEVENT_TRACE_BEFORE_WAIT)
    if ev.gone:
        return []
    try:
        return state.poll((wait - 0.1) / 1000000 if wait > 0 else wait, 1)  # type: ignore[no-any-return]
    finally:
        tevent_trace_point_callback(ev, TEVENT_TRACE_AFTER_WAIT)


def _go_on_elsewhere(ev: tevent_context, wait: int) -> int:
    """End an iteration of a context that has moved to another backend: there, where it has; else it has failed."""
    second_half = fallback_wait[0] if type(ev.additional_data) is not epoll_event_context else None
    return -1 if second_half is None else second_half(ev, wait)


#: The waiting half of an iteration of the backend on which others fall back.
fallback_wait: list[Callable[[tevent_context, int], int] | None] = [None]


def _dispatch(state: epoll_event_context, fd: int, events: int) -> None:
    """Run the one handler that the *events* of a descriptor are for, if any."""
    entry = state.table.get(fd)
    if entry is None:
        state.forget(fd)
        return
    ready = (TEVENT_FD_READ if events & _sys.EPOLLIN else 0) | (TEVENT_FD_WRITE if events & _sys.EPOLLOUT else 0)
    trouble = events & _TROUBLE != 0
    if trouble:
        ready |= _READ_OR_ERROR
        if not _wanted(entry) & _READ_OR_ERROR:
            # Nobody could be told: a handler that only waits for room to write would take it for room. The event goes
            # silent instead, as it does with select().
            for fde in _members(entry):
                fde.flags &= ~TEVENT_FD_WRITE
            state.update(entry)
            return
    chosen = entry if isinstance(entry, tevent_fd) else entry.select(ready, trouble)
    if chosen is not None and ready & chosen.flags:
        run_fd(state.ev, chosen, ready & chosen.flags)


def _add_signal(*args: Any) -> tevent_signal | None:
    """`tevent_common_add_signal`, whose module is loaded by the first signal event."""
    from .signal import tevent_common_add_signal

    return tevent_common_add_signal(*args)


if _sys.epoll is not None:
    second_halves.append((epoll_event_loop_once, _wait_and_serve))
    add_builtin(
        "epoll",
        context_init=epoll_event_context_init,
        add_fd=epoll_event_add_fd,
        set_fd_close_fn=tevent_common_fd_set_close_fn,
        get_fd_flags=tevent_common_fd_get_flags,
        set_fd_flags=epoll_event_set_fd_flags,
        add_timer=tevent_common_add_timer_v2,
        schedule_immediate=tevent_common_schedule_immediate,
        add_signal=_add_signal,
        loop_once=epoll_event_loop_once,
        loop_wait=tevent_common_loop_wait,
    )
