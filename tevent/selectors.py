# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The backend ``selectors``: any `selectors.BaseSelector` of the standard library underneath.

Nothing upstream is like it.  It is there for platforms with neither epoll nor poll, and for programs that have a
selector of their own.  A selector says only that a descriptor may be read or written: hang-ups, errors and half-closed
peers look like that, and a wish for `TEVENT_FD_ERROR` alone is never fulfilled.

Events on one descriptor share one registration.  Of several ready events the one runs whose handler ran least recently.

Cost: add, change and free are O(1) and carried out before the next wait; a wait is what the selector makes of it, and
O(ready log ready) here.
"""

from __future__ import annotations

import errno

from talloc_py.core import TALLOC_CTX, attach, library_destructors

from . import _sys
from ._base import loop_state, wrong_type
from .abort import tevent_abort
from .backend import add_builtin, second_halves
from .context import after_timeout, before_wait, signals_served, tevent_common_loop_wait
from .debug import TEVENT_DEBUG_ERROR, TEVENT_DEBUG_FATAL, tevent_debug
from .errno import set_errno
from .fd import (
    TEVENT_FD_READ,
    TEVENT_FD_WRITE,
    run_fd,
    tevent_common_add_fd,
    tevent_common_fd_destructor,
    tevent_common_fd_disarm,
    tevent_common_fd_get_flags,
    tevent_common_fd_set_close_fn,
)
from .immediate import tevent_common_schedule_immediate
from .poll import fd_table, milliseconds
from .signal import tevent_common_add_signal
from .timed import SERVED, tevent_common_add_timer_v2
from .trace import TEVENT_TRACE_AFTER_WAIT, TEVENT_TRACE_BEFORE_WAIT, tevent_trace_point_callback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from selectors import BaseSelector

    from ._base import tevent_context
    from .fd import tevent_fd, tevent_fd_handler_t

__all__: list[str] = []

#: The flags that a selector knows of; its EVENT_READ and EVENT_WRITE have the same values.
_KNOWN = TEVENT_FD_READ | TEVENT_FD_WRITE

#: Selectors that never report a descriptor that was closed.
_SEE_CLOSED = ("EpollSelector", "KqueueSelector")


class selectors_state(TALLOC_CTX):
    """
    What a context with this backend has as its ``additional_data``; a child of the context, whose selector it closes.

    **`registered` is what the selector watches**, at any time: adding, freeing and changing act at once, because a
    selector that lives in the kernel loses a descriptor when that is closed.
    """

    __slots__ = ("pid", "registered", "selector", "suspicious", "table")

    selector: BaseSelector
    registered: dict[int, int]
    table: fd_table
    #: The process that made the selector.
    pid: int
    #: The selector may report a closed descriptor as ready.
    suspicious: bool


def _selectors_init(ev: tevent_context) -> int:
    old = ev.additional_data
    if isinstance(old, selectors_state):
        # Initialised again: the same selector, emptied.
        selector = old.selector
        for fd in list(old.registered):
            _forget(old, fd)
        _use_own_selector(ev, old)
        old.table = fd_table()
        return 0
    import selectors

    selector = selectors.DefaultSelector() if old is None else old
    if not isinstance(selector, selectors.BaseSelector):
        wrong_type("additional_data", "selectors.BaseSelector", selector)
    state = selectors_state.__new__(selectors_state)
    state.selector = selector
    state.registered = {}
    state.table = fd_table()
    state.pid = _sys.pid
    state.suspicious = type(selector).__name__ not in _SEE_CLOSED
    if attach(state, ev, selectors_state, _selectors_destructor) is None:
        selector.close()
        return -1
    ev.additional_data = state
    return 0


def _selectors_destructor(state: selectors_state) -> int:
    state.selector.close()
    return 0


library_destructors.add(_selectors_destructor)


def _use_own_selector(ev: tevent_context, state: selectors_state) -> None:
    """In a forked child: leave a selector that lives in the kernel to the parent process."""
    if state.pid == _sys.pid:
        return
    state.pid = _sys.pid
    shared = state.selector
    if not hasattr(shared, "fileno"):
        return
    state.selector = type(shared)()
    shared.close()
    fds = list(state.registered)
    state.registered.clear()
    for fd in fds:
        _update(ev, state, fd)


def _update(ev: tevent_context, state: selectors_state, fd: int, again: bool = False) -> None:
    """
    Let the selector watch *fd* for just what its events want together.

    With *again* also if it seems to do so: the number may be that of another file by now.
    """
    wanted = state.table.wanted(fd) & _KNOWN
    if wanted == state.registered.get(fd, 0) and not again:
        return
    _forget(state, fd)
    if wanted:
        try:
            state.selector.register(fd, wanted)
        except (OSError, ValueError, KeyError) as error:
            _refused(ev, state, fd, error)
        else:
            state.registered[fd] = wanted


def _forget(state: selectors_state, fd: int) -> None:
    """Let the selector watch *fd* no more."""
    if state.registered.pop(fd, 0):
        try:
            state.selector.unregister(fd)
        except (OSError, ValueError, KeyError):
            pass  # Closed meanwhile: then there is nothing to watch.


def _refused(ev: tevent_context, state: selectors_state, fd: int, error: Exception) -> None:
    if isinstance(error, OSError) and error.errno == errno.EBADF:
        _disarm(ev, state, fd)
        return
    tevent_debug(ev, TEVENT_DEBUG_FATAL, "selector refuses descriptor %d: %s\n", fd, error)
    tevent_abort(ev, "selector refuses a descriptor")


def _disarm(ev: tevent_context, state: selectors_state, fd: int) -> None:
    """Detach the events on a descriptor that is closed."""
    tevent_debug(ev, TEVENT_DEBUG_ERROR, "selectors: descriptor %d is not open, disarmed\n", fd)
    for fde in list(state.table.on_fd.get(fd, ())):
        state.table.remove(fde)
        tevent_common_fd_disarm(fde)
    _forget(state, fd)


def _is_open(fd: int) -> bool:
    try:
        _sys.fstat(fd)
    except OSError:
        return False
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
    fde = tevent_common_add_fd(ev, mem_ctx, fd, flags, handler, private_data, handler_name)
    if fde is not None:
        state: selectors_state = ev.additional_data
        fde._talloc_chunk.destructor = _fd_destructor
        _use_own_selector(ev, state)
        state.table.add(fde)
        _update(ev, state, fd, True)
    return fde


def _fd_destructor(fde: tevent_fd) -> int:
    ev = fde.event_ctx
    if ev is not None:
        state: selectors_state = ev.additional_data
        _use_own_selector(ev, state)
        state.table.remove(fde)
        _update(ev, state, fde.fd)
    return tevent_common_fd_destructor(fde)


library_destructors.add(_fd_destructor)


def _set_fd_flags(fde: tevent_fd, flags: int) -> None:
    ev = fde.event_ctx
    if ev is None or fde.flags == flags:
        return
    state: selectors_state = ev.additional_data
    _use_own_selector(ev, state)
    fde.flags = flags
    _update(ev, state, fde.fd)


def _loop_once(ev: tevent_context) -> int:
    delay_us = before_wait(ev)
    return 0 if delay_us == SERVED else _wait_and_serve(ev, delay_us)


def _wait_and_serve(ev: tevent_context, delay_us: int) -> int:
    """Wait, and run at most one handler: the second half of an iteration."""
    if loop_state.signals and signals_served(ev):
        return 0
    state: selectors_state = ev.additional_data
    _use_own_selector(ev, state)
    ready = _wait(ev, state, delay_us)
    if isinstance(ready, int):
        return ready
    if ev.gone or (loop_state.signals and signals_served(ev)):
        return 0
    if not ready:
        return after_timeout(ev)
    _serve(ev, state, ready)
    return 0


second_halves.append((_loop_once, _wait_and_serve))


def _wait(ev: tevent_context, state: selectors_state, delay_us: int) -> dict[int, int] | int:
    """Wait for at most *delay_us*; which descriptors are ready, and for what. If that fails, the iteration's result."""
    state.table.fresh.clear()
    timeout = milliseconds(delay_us)
    if ev.trace_point is not None:
        tevent_trace_point_callback(ev, TEVENT_TRACE_BEFORE_WAIT)
    try:
        found = state.selector.select(None if timeout < 0 else timeout / 1000)
    except (OSError, ValueError) as error:
        return _wait_failed(ev, state, error)
    finally:
        if ev.trace_point is not None:
            tevent_trace_point_callback(ev, TEVENT_TRACE_AFTER_WAIT)
    return {key.fd: events for key, events in found if key.fd in state.registered}


def _wait_failed(ev: tevent_context, state: selectors_state, error: Exception) -> int:
    """What is left to do if the selector fails: that is so with select() when a descriptor was closed."""
    closed = [fd for fd in state.registered if not _is_open(fd)]
    for fd in closed:
        _disarm(ev, state, fd)
    if closed:
        return 0
    tevent_debug(ev, TEVENT_DEBUG_FATAL, "selector failed: %s\n", error)
    set_errno((error.errno if isinstance(error, OSError) else None) or errno.EINVAL)
    return -1


def _serve(ev: tevent_context, state: selectors_state, ready: dict[int, int]) -> None:
    """Run the event that is ready and has waited longest for its turn."""
    for fde in state.table.in_order(ready):
        if fde.event_ctx is None:
            _update(ev, state, fde.fd)  # Detached, but nobody has told us.
            continue
        flags = fde.flags & ready[fde.fd]
        if not flags:
            continue
        if state.suspicious and not _is_open(fde.fd):
            _disarm(ev, state, fde.fd)
            return
        state.table.demote(ev, fde)
        run_fd(ev, fde, flags)
        return


add_builtin(
    "selectors",
    context_init=_selectors_init,
    add_fd=_add_fd,
    set_fd_close_fn=tevent_common_fd_set_close_fn,
    get_fd_flags=tevent_common_fd_get_flags,
    set_fd_flags=_set_fd_flags,
    add_timer=tevent_common_add_timer_v2,
    schedule_immediate=tevent_common_schedule_immediate,
    add_signal=tevent_common_add_signal,
    loop_once=_loop_once,
    loop_wait=tevent_common_loop_wait,
)
