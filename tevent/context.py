# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Event contexts: making and freeing them, and their loop.

Mirrors lib/tevent/tevent.c.  One iteration does the first of these that there is to do: signals, one immediate, one
timer that is due, else it waits and runs at most one fd handler.  A backend's ``loop_once`` is `before_wait`, which
does all but the last, its own wait, and `after_timeout` if nothing came.
Cost: an iteration in a loop call that nobody watches is two tests more than what it runs.
"""

from __future__ import annotations

import errno
from sys import _getframe

from talloc_py._chunk import birthplaces, caller_outside
from talloc_py.core import TALLOC_CTX, attach, free_chunk, library_destructors, location_text

from . import _sys, trace
from ._base import (
    NEVER_ENDING,
    check_context,
    close_wakeup,
    loop_state,
    tevent_context,
    update_lean,
    update_plain,
    wrong_type,
)
from ._timerheap import timer_queue
from .abort import tevent_abort
from .backend import tevent_find_ops_byname, tevent_ops
from .debug import TEVENT_DEBUG_FATAL, TEVENT_DEBUG_WARNING, tevent_debug
from .errno import get_errno, set_errno
from .fd import detach_fds, wants_something
from .immediate import detach_immediates, tevent_immediate
from .timed import SERVED, detach_timers, run_first_timer, timeval
from .trace import (
    TEVENT_CALL_FLOW_REQ_RESET,
    TEVENT_TRACE_AFTER_LOOP_ONCE,
    TEVENT_TRACE_BEFORE_LOOP_ONCE,
    call_depth_report,
    tevent_trace_point_callback,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ._request import tevent_req

    tevent_nesting_hook = Callable[[tevent_context, Any, int, bool, list[Any]], int]

__all__ = [
    "tevent_cached_getpid",
    "tevent_common_context_destructor",
    "tevent_common_have_events",
    "tevent_common_loop_wait",
    "tevent_context",
    "tevent_context_init",
    "tevent_context_init_byname",
    "tevent_context_init_ops",
    "tevent_context_set_wait_timeout",
    "tevent_loop_allow_nesting",
    "tevent_loop_once",
    "tevent_loop_set_nesting_hook",
    "tevent_loop_until",
    "tevent_loop_wait",
    "tevent_re_initialise",
    "tevent_signal_support",
]

_allocate = object.__new__
_DEFAULT_WAIT = timeval(30, 0)
_NO_WAIT = timeval(0, NEVER_ENDING)


# -- making and freeing -----------------------------------------------------------------------------------------------


def tevent_context_init(mem_ctx: TALLOC_CTX | None) -> tevent_context | None:
    """
    Make an event context with the default backend.

    C: ``struct tevent_context *tevent_context_init(TALLOC_CTX *mem_ctx)``

    Args:
        mem_ctx: The owner, None for none.

    Returns:
        The context; None where the default backend is unknown or fails.
    """
    return tevent_context_init_byname(mem_ctx, None)


def tevent_context_init_byname(mem_ctx: TALLOC_CTX | None, name: str | None) -> tevent_context | None:
    """
    Make an event context with the backend *name*.

    C: ``struct tevent_context *tevent_context_init_byname(TALLOC_CTX *mem_ctx, const char *name)``

    Args:
        mem_ctx: The owner, None for none.

        name: A backend's name; None for that set by `tevent_set_default_backend`, else ``standard``.

    Returns:
        The context; None where *name* is unknown or the backend fails.
    """
    ops = tevent_find_ops_byname(name)
    return None if ops is None else tevent_context_init_ops(mem_ctx, ops, None)


def tevent_context_init_ops(
    mem_ctx: TALLOC_CTX | None, ops: tevent_ops, additional_data: object
) -> tevent_context | None:
    """
    Make an event context with a backend of one's own.

    C: ``struct tevent_context *tevent_context_init_ops(TALLOC_CTX *mem_ctx, const struct tevent_ops *ops, void
    *additional_data)``

    Args:
        mem_ctx: The owner, None for none.

        ops: The backend.

        additional_data: For the backend: ``ev.additional_data``.

    Returns:
        The context; None where ``ops.context_init(ev)`` does not return 0.
    """
    if not isinstance(ops, tevent_ops):
        wrong_type("ops", "tevent_ops", ops)
    ev = new_context(mem_ctx, ops, additional_data)
    if ev is None:
        return None
    c = ev._talloc_chunk
    try:
        result: int = ops.context_init(ev)
    except BaseException:
        free_chunk(c, (tevent_context_init_ops.__code__, 0))
        raise
    if result != 0:
        free_chunk(c, (tevent_context_init_ops.__code__, 0))
        return None
    return ev


def new_context(mem_ctx: TALLOC_CTX | None, ops: tevent_ops, additional_data: object) -> tevent_context | None:
    """A context that its backend does not know yet; None where a memory limit forbids it."""
    ev: tevent_context = _allocate(tevent_context)
    ev.gone = True
    if attach(ev, mem_ctx, tevent_context, _destroy_context) is None:
        return None
    _clear(ev)
    ev.created = caller_outside("tevent", "talloc_py")
    ev.ops = ops
    ev.additional_data = additional_data
    return ev


def _clear(ev: tevent_context) -> None:
    ev.gone = False
    ev.wait_timeout = _DEFAULT_WAIT
    ev.wakeup_fde = ev.fd_first = ev.fd_last = ev.fd_hint = ev.im_first = ev.im_last = None
    ev.wakeup = None
    ev.timers = timer_queue()
    ev.signal_events = []
    ev.threaded_contexts = []
    ev.scheduled_immediates = []
    ev.level = 0
    ev.nesting_allowed = False
    ev.nesting_hook = ev.nesting_data = ev.wrapper = None
    ev.wrappers = []
    ev.debug_fn = ev.debug_context = None
    ev.debug_max = TEVENT_DEBUG_FATAL
    ev.trace_point = ev.trace_point_data = ev.trace_fd = ev.trace_fd_data = None
    ev.trace_timer = ev.trace_timer_data = ev.trace_immediate = ev.trace_immediate_data = None
    ev.trace_signal = ev.trace_signal_data = ev.trace_queue = ev.trace_queue_data = None
    update_lean(ev)
    update_plain(ev)


def _destroy_context(ev: tevent_context) -> int:
    ev.gone = True
    update_lean(ev)
    update_plain(ev)
    return tevent_common_context_destructor(ev)


birthplaces[tevent_context] = "created"
library_destructors.add(_destroy_context)


def tevent_common_context_destructor(ev: tevent_context) -> int:
    """
    Detach everything from *ev*, without freeing it: the events stay chunks of their owners and never run again.

    C: ``int tevent_common_context_destructor(struct tevent_context *ev)``

    Returns:
        0.
    """
    if ev.wrapper is not None:
        tevent_abort(ev, "tevent_common_context_destructor() active on wrapper")
        return 0
    error: BaseException | None = None
    for step in (
        _cut_threads,
        _cut_wrappers,
        _drop_wakeup,
        detach_fds,
        detach_timers,
        detach_immediates,
        _drop_signals,
    ):
        # A trace callback that raises has seen its event off: the step goes on behind it.
        while True:
            try:
                step(ev)
                break
            except BaseException as problem:
                error = error or problem
    ev.level = 0
    ev.nesting_hook = ev.nesting_data = None
    update_lean(ev)
    if error is not None:
        raise error
    return 0


def _cut_threads(ev: tevent_context) -> None:
    if ev.threaded_contexts or ev.scheduled_immediates:
        from .threads import cut_threaded_contexts

        cut_threaded_contexts(ev)


def _cut_wrappers(ev: tevent_context) -> None:
    if ev.wrappers:
        from .wrapper import cut_wrappers

        cut_wrappers(ev)


def _drop_wakeup(ev: tevent_context) -> None:
    fde = ev.wakeup_fde
    if fde is not None:
        try:
            if not fde.destroyed:
                free_chunk(fde._talloc_chunk, (_drop_wakeup.__code__, 0))
        finally:
            close_wakeup(ev)


def _drop_signals(ev: tevent_context) -> None:
    if not ev.signal_events:
        return
    from .signal import tevent_cleanup_pending_signal_handlers

    while ev.signal_events:
        tevent_cleanup_pending_signal_handlers(ev.signal_events[0])


def tevent_re_initialise(ev: tevent_context) -> int:
    """
    Start afresh with the same backend: every event is detached, none is freed, no close function is called.

    C: ``int tevent_re_initialise(struct tevent_context *ev)``

    Returns:
        0, or the backend's error.

    The wait timeout, the permission to nest, the debug function and the trace callbacks stay; the nesting hook is lost.
    """
    if not check_context(ev):
        return -1
    if ev.wrapper is not None:
        tevent_abort(ev, "tevent_common_context_destructor() active on wrapper")
        return -1
    tevent_common_context_destructor(ev)
    result: int = ev.ops.context_init(ev)
    return result


def tevent_context_set_wait_timeout(ev: tevent_context, secs: int) -> int:
    """
    Set how long an iteration waits where no timer is pending.

    C: ``uint32_t tevent_context_set_wait_timeout(struct tevent_context *ev, uint32_t secs)``

    Args:
        ev: The context.

        secs: Seconds, 30 at first. 0: never wait, `tevent_loop_once` then returns -1 with errno EAGAIN where there is
            nothing to do. 2**31 - 1 and more: wait for ever.

    Returns:
        The former value.
    """
    if not check_context(ev):
        return 0
    if not isinstance(secs, int):
        wrong_type("secs", "int", secs)
    secs &= 2**32 - 1
    old = ev.wait_timeout
    ev.wait_timeout = _NO_WAIT if secs == 0 else timeval(min(secs, NEVER_ENDING), 0)
    return old.tv_sec


def tevent_signal_support(ev: tevent_context) -> bool:
    """
    Whether the backend of *ev* knows signal events.

    C: ``bool tevent_signal_support(struct tevent_context *ev)``
    """
    return check_context(ev) and ev.ops.add_signal is not None  # pyright: ignore[reportUnnecessaryComparison]


def tevent_cached_getpid() -> int:
    """
    The process id, without a system call; right in a forked child at once.

    C: ``pid_t tevent_cached_getpid(void)``
    """
    return _sys.pid


# -- one iteration ----------------------------------------------------------------------------------------------------


def before_wait(ev: tevent_context) -> int:
    """
    Do what an iteration does instead of waiting: the beginning of every built-in ``loop_once``.

    `SERVED` if there was something; the iteration is over then. Else how long to wait, in microseconds: -1 for ever,
    0 not at all. The backend must look for signals once more before it waits, and after it: `signals_served`.
    """
    if loop_state.signals and signals_served(ev):
        return SERVED
    if ev.scheduled_immediates:
        from .threads import tevent_common_threaded_activate_immediate

        tevent_common_threaded_activate_immediate(ev)
    node = ev.im_first
    if node is not None:
        node.fire()
        return SERVED
    return run_first_timer(ev)


def signals_served(ev: tevent_context) -> bool:
    """Deliver the pending signals, if *ev* has signal events; whether there were any. Look at `signals` first."""
    if not ev.signal_events:
        return False
    from .signal import tevent_common_check_signal

    return tevent_common_check_signal(ev) != 0


def after_timeout(ev: tevent_context) -> int:
    """
    End an iteration whose wait brought nothing: run the first timer if it is due by now.

    The result of ``loop_once``: 0, or -1 with errno EAGAIN where *ev* does not wait at all.
    """
    if ev.wait_us == 0:
        set_errno(errno.EAGAIN)
        return -1
    run_first_timer(ev)
    return 0


# -- the loop calls ---------------------------------------------------------------------------------------------------


def tevent_loop_once(ev: tevent_context) -> int:
    """
    Do one iteration: at most one immediate, timer or fd handler runs; or the pending signals are delivered.

    C: ``int tevent_loop_once(struct tevent_context *ev)``

    Returns:
        0, also where the wait ended without anything to do. -1 with errno ELOOP where the loop runs already, EAGAIN
        where there is nothing to do and the wait timeout is 0, ENOSYS on a wrapper; else what the nesting hook or the
        backend return.

    Callbacks: what a handler raises leaves this call; the context stays usable.
    """
    if type(ev) is not tevent_context or not ev.lean or ev.level:
        return _loop_once_watched(ev)
    ev.level = 1
    try:
        ops = ev.ops
        second_half = ops.second_half
        result: int
        if second_half is None or loop_state.signals:
            once = ops.once
            result = once(ev)
        else:
            # before_wait(), spelled out: two calls less for each immediate and timer.
            node = ev.im_first
            if node is not None:
                node.fire()
                result = 0
            else:
                timers = ev.timers
                wait = run_first_timer(ev) if timers.live or timers.front_first is not None else ev.wait_us
                result = 0 if wait == SERVED else second_half(ev, wait)
    finally:
        ev.level = 0
    if not ev.lean or trace.request_watchers:
        return _became_watched(ev, result)
    return result


def _became_watched(ev: tevent_context, result: int) -> int:
    """End an iteration in which somebody began to look on, or the context was freed."""
    if not ev.gone:
        ev.level = 1
        try:
            tevent_trace_point_callback(ev, TEVENT_TRACE_AFTER_LOOP_ONCE)
            if trace.request_watchers:
                call_depth_report(TEVENT_CALL_FLOW_REQ_RESET, None, 0, "_tevent_loop_once")
            result = _hook(ev, 1, False, [None]) or result
        finally:
            ev.level = 0
    return _loop_gone(ev) if ev.gone else result


def _loop_once_watched(ev: tevent_context) -> int:
    """`tevent_loop_once` with everything that may be looked at."""
    if not check_context(ev) or not _may_loop(ev):
        return -1
    level = ev.level
    ev.level = level + 1
    stack: list[Any] = [None]
    try:
        result = _hook(ev, level + 1, True, stack)
        if result == 0:
            result = 0
            try:
                result = _traced_once(ev)
                if trace.request_watchers:
                    call_depth_report(TEVENT_CALL_FLOW_REQ_RESET, None, 0, "_tevent_loop_once")
            finally:
                result = _hook(ev, level + 1, False, stack) or result
    finally:
        ev.level = level
    return _loop_gone(ev) if ev.gone else result


def _may_loop(ev: tevent_context) -> bool:
    """Whether a loop call may start: it may not inside another one, unless nesting is allowed."""
    if ev.level == 0 or ev.nesting_allowed:
        return True
    tevent_abort(ev, f"tevent_loop_once() nesting at {location_text(_place_outside())}")
    set_errno(errno.ELOOP)
    return False


def _place_outside() -> tuple[Any, int]:
    """The place in the code that called into this package."""
    frame = _getframe(1)
    while frame.f_globals.get("__package__") == __package__ and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code, frame.f_lasti


def _hook(ev: tevent_context, level: int, begin: bool, stack: list[Any]) -> int:
    hook = ev.nesting_hook
    return 0 if hook is None else hook(ev, ev.nesting_data, level, begin, stack)


def _traced_once(ev: tevent_context) -> int:
    tevent_trace_point_callback(ev, TEVENT_TRACE_BEFORE_LOOP_ONCE)
    try:
        result: int = ev.ops.once(ev)
    finally:
        tevent_trace_point_callback(ev, TEVENT_TRACE_AFTER_LOOP_ONCE)
    return result


def _loop_gone(ev: tevent_context) -> int:
    """What a loop call does when a handler has freed its context: abort, and if that returns, end."""
    tevent_abort(None, "tevent_context freed while its loop runs")
    return 0


def tevent_loop_wait(ev: tevent_context) -> int:
    """
    Do iterations until there are no more events.

    C: ``int tevent_loop_wait(struct tevent_context *ev)``

    Returns:
        0 when nothing is left that could happen; else the value other than 0 of an iteration, as `tevent_loop_once`.
    """
    if not check_context(ev):
        return -1
    result: int = ev.ops.loop_wait(ev)
    return result


def tevent_common_have_events(ev: tevent_context) -> bool:
    """
    Whether *ev* has a timer, an immediate, a signal event, or an fd event that waits for something.

    C: ``bool tevent_common_have_events(struct tevent_context *ev)``

    The internal wakeup does not count.
    """
    return ev.im_first is not None or bool(ev.timers) or wants_something(ev) or bool(ev.signal_events)


def tevent_common_loop_wait(ev: tevent_context) -> int:
    """
    Do iterations until there are no more events: the operation of all built-in backends.

    C: ``int tevent_common_loop_wait(struct tevent_context *ev, const char *location)``
    """
    while tevent_common_have_events(ev):
        result = loop_unwatched(ev, None) if ev.lean and ev.level == 0 and not trace.request_watchers else 0
        if ev.gone:
            return result
        if result == 0 and tevent_common_have_events(ev):
            result = tevent_loop_once(ev)
        if result != 0:
            tevent_debug(
                ev, TEVENT_DEBUG_FATAL, "_tevent_loop_once() failed: %d - %s\n", result, _sys.strerror(get_errno())
            )
            return result
        if ev.gone:
            return 0
    tevent_debug(ev, TEVENT_DEBUG_WARNING, "tevent_common_loop_wait() out of events\n")
    return 0


def loop_unwatched(ev: tevent_context, req: tevent_req | None) -> int:
    """
    Do iterations as long as nobody looks at the single ones; 0, or the value that ended them.

    Until *req* is finished or freed; without one, until nothing is left that could happen. As `tevent_loop_once`, in a
    fifth less time. Everything is asked again each time, since a handler may change it.
    """
    result = 0
    header = None if req is None else req._talloc_chunk
    ev.level = 1
    try:
        # Not `while` with a condition: CPython 3.11 never optimises the code of such a loop where its function is
        # called once, and that costs 7 % of a PDU's round trip.
        while True:
            if not ev.lean or trace.request_watchers:
                break
            second_half = ev.ops.second_half
            if second_half is None or loop_state.signals:
                if req is None and ev.im_first is None and not tevent_common_have_events(ev):
                    return 0
                result = ev.ops.once(ev)
                if result != 0:
                    break
            else:
                node = ev.im_first
                if node is not None:
                    if type(node) is tevent_immediate:
                        node.fire()
                    else:
                        # tevent_req.fire(), spelled out: one of the calls that new_operation() speaks of
                        following = node.im_next
                        ev.im_first = following
                        if following is None:
                            ev.im_last = None
                        else:
                            following.im_prev = node.im_next = None
                        node.im_ev = None
                        run = node.im_run
                        run(node)
                else:
                    timers = ev.timers
                    if timers.live or timers.front_first is not None:
                        wait = run_first_timer(ev)
                    else:
                        # The usual answer of tevent_common_have_events() without a call: the event that was seen last
                        # time.
                        fde = ev.fd_hint
                        if req is None and (fde is None or not fde.flags) and not tevent_common_have_events(ev):
                            return 0
                        wait = ev.wait_us
                    if wait != SERVED:
                        result = second_half(ev, wait)
                        if result != 0:
                            break
            # Below a destructor of the user's a request dies in the state that it is in.
            if req is not None and (req.status != _IN_PROGRESS or header.obj is not req):  # type: ignore[union-attr]
                break
    finally:
        ev.level = 0
    return result if ev.lean and not trace.request_watchers else _became_watched(ev, result)


#: The value of TEVENT_REQ_IN_PROGRESS.
_IN_PROGRESS = 1


def tevent_loop_until(ev: tevent_context, finished: Callable[[Any], bool], private_data: object) -> int:
    """
    Do iterations until ``finished(private_data)`` is true.

    C: ``int tevent_loop_until(struct tevent_context *ev, bool (*finished)(void *private_data), void *private_data)``

    Returns:
        0, or the value other than 0 of the iteration that ended it, as `tevent_loop_once`.
    """
    if not check_context(ev):
        return -1
    if not callable(finished):
        wrong_type("finished", "callable", finished)
    if not _may_loop(ev):
        return -1
    level = ev.level
    ev.level = level + 1
    stack: list[Any] = [None]
    try:
        result = _hook(ev, level + 1, True, stack)
        if result == 0:
            try:
                while not finished(private_data) and not ev.gone:
                    result = _traced_once(ev)
                    if result != 0 or ev.gone:
                        break
            finally:
                result = _hook(ev, level + 1, False, stack) or result
    finally:
        ev.level = level
    return _loop_gone(ev) if ev.gone else result


# -- nesting ----------------------------------------------------------------------------------------------------------


def tevent_loop_allow_nesting(ev: tevent_context) -> None:
    """
    Allow loop calls inside the handlers of *ev*, for good. Deprecated upstream.

    C: ``void tevent_loop_allow_nesting(struct tevent_context *ev)``

    A wrapper, and a context that has wrappers, go to the abort function.
    """
    if not check_context(ev):
        return
    if ev.wrapper is not None:
        tevent_abort(ev, "tevent_loop_allow_nesting() on wrapper")
    elif ev.wrappers:
        tevent_abort(ev, "tevent_loop_allow_nesting() with wrapper")
    else:
        ev.nesting_allowed = True


def tevent_loop_set_nesting_hook(ev: tevent_context, hook: tevent_nesting_hook | None, private_data: object) -> None:
    """
    Set a function that is called at the begin and end of each loop call on *ev*. Deprecated upstream.

    C: ``void tevent_loop_set_nesting_hook(struct tevent_context *ev, tevent_nesting_hook hook, void *private_data)``

    Args:
        ev: The context.

        hook: Called as ``hook(ev, private_data, level, begin, stack_ptr)``; *stack_ptr* is a list of one item, None at
            begin, and the same list at end. A result other than 0 at begin is that of the loop call, which does
            nothing then; at end it replaces the result.

        private_data: Any object. Another pair than the one that is set goes to the abort function.
    """
    if not check_context(ev):
        return
    if hook is not None and not callable(hook):
        wrong_type("hook", "callable", hook)
    # Not `is`: a bound method is another object each time it is asked for.
    if ev.nesting_hook is not None and (ev.nesting_hook != hook or ev.nesting_data is not private_data):
        tevent_abort(ev, "tevent: Violation of nesting hook rules\n")
    ev.nesting_hook = hook
    ev.nesting_data = private_data
    update_lean(ev)
