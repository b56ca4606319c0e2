# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The backend ``asyncio``: a context whose loop is the asyncio loop that runs in the thread which makes it.

The context waits with epoll like that of the backend ``epoll``; asyncio (or uvloop) watches the epoll descriptor, and
the first timer, in its stead.  So callbacks of tevent and tasks of asyncio take turns in one thread, and nobody polls.

Cost: an event costs one callback of asyncio more than on the backend ``epoll``; several that are ready together share
it.
"""

from __future__ import annotations

import asyncio
import weakref

from talloc_py.core import TALLOC_CTX, attach, free_chunk, library_destructors

from . import _sys
from .backend import tevent_ops, tevent_register_backend
from .common import tevent_common_loop_wait
from .context import tevent_context, tevent_loop_once
from .epoll import (
    epoll_event_add_fd,
    epoll_event_context,
    epoll_event_context_init,
    epoll_event_loop_once,
    epoll_event_set_fd_flags,
)
from .fd import tevent_common_fd_get_flags, tevent_common_fd_set_close_fn
from .immediate import tevent_common_schedule_immediate
from .signal import tevent_common_add_signal
from .timed import tevent_common_add_timer_v2, tevent_timeval_until, timeval, when_moved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from .immediate import tevent_immediate, tevent_immediate_handler_t
    from .timed import tevent_timer, tevent_timer_handler_t

#: So many handlers run before the tasks of asyncio have a turn again.
_TURN_MAX: Final = 64


class driver(TALLOC_CTX):
    """What asyncio calls for a context; a child of it, and silent once that is freed."""

    __slots__ = ("ev", "fd", "handle", "loop", "timer", "turning")

    def __init__(self) -> None:
        raise TypeError("a driver is made together with its context")

    ev: weakref.ref[tevent_context]
    loop: asyncio.AbstractEventLoop
    fd: int  # the epoll descriptor that asyncio watches
    handle: asyncio.Handle | None  # the turn that asyncio will make soon
    timer: asyncio.Handle | None  # ... when the first timer is due
    turning: bool

    def kick(self) -> None:
        """Something was added that no descriptor announces."""
        if self.handle is None and not self.turning:
            self.handle = self.loop.call_soon(self.turn)

    def turn(self) -> None:
        """Run what is ready, then see to it that asyncio calls again."""
        ev = self.ev()
        self.handle = None
        if ev is None or ev.gone or ev.level:
            return
        self.turning = True
        more = True
        try:
            for _ in range(_TURN_MAX):
                if tevent_loop_once(ev) != 0 or ev.gone:
                    more = False
                    break
        finally:
            self.turning = False
            if not ev.gone:
                if more:  # also after an exception of a handler, which asyncio reports
                    self.kick()
                else:
                    self._set_timer(ev)

    def _set_timer(self, ev: tevent_context) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        te = ev.timers.first()
        if te is not None:
            now = _sys.time_ns() // 1000
            left = tevent_timeval_until(timeval(now // 1000000, now % 1000000), te.next_event)
            self.timer = self.loop.call_later(left.tv_sec + left.tv_usec / 1e6, self.turn)

    def stop(self) -> None:
        """Be called no more."""
        self.loop.remove_reader(self.fd)
        for handle in (self.handle, self.timer):
            if handle is not None:
                handle.cancel()
        self.handle = self.timer = None


_drivers: weakref.WeakKeyDictionary[tevent_context, driver] = weakref.WeakKeyDictionary()


def _context_init(ev: tevent_context) -> int:
    """Join the loop that runs; RuntimeError where none does."""
    loop = asyncio.get_running_loop()
    old = _drivers.pop(ev, None)
    if old is not None:
        free_chunk(old._talloc_chunk, (_context_init.__code__, 0))
    result = epoll_event_context_init(ev)
    if result != 0:
        return result
    state: epoll_event_context = ev.additional_data
    this: driver = object.__new__(driver)
    this.ev = weakref.ref(ev)
    this.loop = loop
    this.fd = state.ep.fileno()
    this.handle = this.timer = None
    this.turning = False
    if attach(this, ev, driver, _destroy) is None:
        return -1
    loop.add_reader(this.fd, this.turn)
    _drivers[ev] = this
    return 0


def _destroy(this: driver) -> int:
    if not this.loop.is_closed():
        this.stop()
    return 0


library_destructors.add(_destroy)


def _loop_once(ev: tevent_context) -> int:
    """One iteration that never waits: asyncio does that. -1 with errno EAGAIN where nothing is ready."""
    wait_us = ev.wait_us
    ev.wait_us = 0
    try:
        return epoll_event_loop_once(ev)
    finally:
        if not ev.gone:
            ev.wait_us = wait_us


def _schedule_immediate(
    im: tevent_immediate,
    ev: tevent_context,
    handler: tevent_immediate_handler_t | None,
    private_data: object,
    handler_name: str,
) -> None:
    tevent_common_schedule_immediate(im, ev, handler, private_data, handler_name)
    _drivers[ev].kick()


def _add_timer(
    ev: tevent_context,
    mem_ctx: TALLOC_CTX | None,
    next_event: timeval,
    handler: tevent_timer_handler_t | None,
    private_data: Any,
    handler_name: str,
) -> tevent_timer | None:
    te = tevent_common_add_timer_v2(ev, mem_ctx, next_event, handler, private_data, handler_name)
    _drivers[ev].kick()
    return te


def _timer_moved(ev: tevent_context) -> None:
    this = _drivers.get(ev)
    if this is not None:
        this.kick()


when_moved.append(_timer_moved)
OPS: Final = tevent_ops(
    context_init=_context_init,
    add_fd=epoll_event_add_fd,
    set_fd_close_fn=tevent_common_fd_set_close_fn,
    get_fd_flags=tevent_common_fd_get_flags,
    set_fd_flags=epoll_event_set_fd_flags,
    add_timer=_add_timer,
    schedule_immediate=_schedule_immediate,
    add_signal=tevent_common_add_signal,
    loop_once=_loop_once,
    loop_wait=tevent_common_loop_wait,
)
tevent_register_backend("asyncio", OPS)
