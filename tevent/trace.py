# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Trace callbacks: the points of the loop, the life of each event, and the flow of calls from request to request.

Mirrors lib/tevent/tevent_debug.c and the tevent_thread_call_depth_* functions.  A context has one callback for its loop
and one per kind of event; a thread has one for the call flow.
Cost: where a callback is unset, one test of an attribute, and for the call flow of `request_watchers`.
"""

from __future__ import annotations

from sys import _getframe

from ._base import check_context, update_lean, update_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import local
    from typing import Any

    from ._base import tevent_context
    from ._request import tevent_req
    from .enumerations import (
        TEVENT_CALL_FLOW_REQ_CANCEL,
        TEVENT_CALL_FLOW_REQ_CLEANUP,
        TEVENT_CALL_FLOW_REQ_CREATE,
        TEVENT_CALL_FLOW_REQ_NOTIFY_CB,
        TEVENT_CALL_FLOW_REQ_QUEUE_ENTER,
        TEVENT_CALL_FLOW_REQ_QUEUE_LEAVE,
        TEVENT_CALL_FLOW_REQ_QUEUE_TRIGGER,
        TEVENT_CALL_FLOW_REQ_RESET,
        TEVENT_EVENT_TRACE_ATTACH,
        TEVENT_EVENT_TRACE_BEFORE_HANDLER,
        TEVENT_EVENT_TRACE_DETACH,
        TEVENT_TRACE_AFTER_LOOP_ONCE,
        TEVENT_TRACE_AFTER_WAIT,
        TEVENT_TRACE_BEFORE_LOOP_ONCE,
        TEVENT_TRACE_BEFORE_WAIT,
        tevent_event_trace_point,
        tevent_thread_call_depth_cmd,
        tevent_trace_point,
    )
    from .fd import tevent_fd
    from .immediate import tevent_immediate
    from .queue import tevent_queue_entry
    from .signal import tevent_signal
    from .timed import tevent_timer

    tevent_trace_callback_t = Callable[[tevent_trace_point, Any], object]
    tevent_trace_fd_callback_t = Callable[[tevent_fd, tevent_event_trace_point, Any], object]
    tevent_trace_signal_callback_t = Callable[[tevent_signal, tevent_event_trace_point, Any], object]
    tevent_trace_timer_callback_t = Callable[[tevent_timer, tevent_event_trace_point, Any], object]
    tevent_trace_immediate_callback_t = Callable[[tevent_immediate, tevent_event_trace_point, Any], object]
    tevent_trace_queue_callback_t = Callable[[tevent_queue_entry, tevent_event_trace_point, Any], object]
    tevent_call_depth_callback_t = Callable[
        [Any, tevent_thread_call_depth_cmd, "tevent_req | None", int, "str | None"], object
    ]
else:
    # The same class without the import of threading.
    from _thread import _local as local

    # The values of the enumerations, which are loaded when somebody is called with a member of one.
    TEVENT_TRACE_BEFORE_WAIT, TEVENT_TRACE_AFTER_WAIT = 0, 1
    TEVENT_TRACE_BEFORE_LOOP_ONCE, TEVENT_TRACE_AFTER_LOOP_ONCE = 2, 3
    TEVENT_EVENT_TRACE_ATTACH, TEVENT_EVENT_TRACE_DETACH, TEVENT_EVENT_TRACE_BEFORE_HANDLER = 0, 1, 2
    TEVENT_CALL_FLOW_REQ_RESET, TEVENT_CALL_FLOW_REQ_CREATE, TEVENT_CALL_FLOW_REQ_CANCEL = 0, 1, 2
    TEVENT_CALL_FLOW_REQ_CLEANUP, TEVENT_CALL_FLOW_REQ_NOTIFY_CB, TEVENT_CALL_FLOW_REQ_QUEUE_ENTER = 3, 4, 5
    TEVENT_CALL_FLOW_REQ_QUEUE_TRIGGER, TEVENT_CALL_FLOW_REQ_QUEUE_LEAVE = 6, 7

__all__ = [
    "TEVENT_CALL_FLOW_REQ_CANCEL",
    "TEVENT_CALL_FLOW_REQ_CLEANUP",
    "TEVENT_CALL_FLOW_REQ_CREATE",
    "TEVENT_CALL_FLOW_REQ_NOTIFY_CB",
    "TEVENT_CALL_FLOW_REQ_QUEUE_ENTER",
    "TEVENT_CALL_FLOW_REQ_QUEUE_LEAVE",
    "TEVENT_CALL_FLOW_REQ_QUEUE_TRIGGER",
    "TEVENT_CALL_FLOW_REQ_RESET",
    "TEVENT_EVENT_TRACE_ATTACH",
    "TEVENT_EVENT_TRACE_BEFORE_HANDLER",
    "TEVENT_EVENT_TRACE_DETACH",
    "TEVENT_HAS_LOOP_ONCE_TRACE_POINTS",
    "TEVENT_TRACE_AFTER_LOOP_ONCE",
    "TEVENT_TRACE_AFTER_WAIT",
    "TEVENT_TRACE_BEFORE_LOOP_ONCE",
    "TEVENT_TRACE_BEFORE_WAIT",
    "tevent_get_trace_callback",
    "tevent_get_trace_fd_callback",
    "tevent_get_trace_immediate_callback",
    "tevent_get_trace_queue_callback",
    "tevent_get_trace_signal_callback",
    "tevent_get_trace_timer_callback",
    "tevent_set_trace_callback",
    "tevent_set_trace_fd_callback",
    "tevent_set_trace_immediate_callback",
    "tevent_set_trace_queue_callback",
    "tevent_set_trace_signal_callback",
    "tevent_set_trace_timer_callback",
    "tevent_thread_call_depth_reset_from_req",
    "tevent_thread_call_depth_set_callback",
    "tevent_trace_fd_callback",
    "tevent_trace_immediate_callback",
    "tevent_trace_point_callback",
    "tevent_trace_queue_callback",
    "tevent_trace_signal_callback",
    "tevent_trace_timer_callback",
]


#: The two points of a whole iteration exist.
TEVENT_HAS_LOOP_ONCE_TRACE_POINTS = 1


# -- setting and getting ----------------------------------------------------------------------------------------------


def _may_set(ev: tevent_context, cb: object, function: str) -> bool:
    """Whether a callback may be set on *ev*: on a wrapper it may not, its events are traced by the main context."""
    if not check_context(ev):
        return False
    if cb is not None and not callable(cb):
        raise TypeError(f"cb must be callable or None, not {type(cb).__name__}")
    if ev.wrapper is None:
        return True
    from .abort import tevent_abort

    tevent_abort(ev, f"{function}() on wrapper")
    return False


def tevent_set_trace_callback(ev: tevent_context, cb: tevent_trace_callback_t | None, private_data: object) -> None:
    """
    Set the function that is called at the points of each loop iteration.

    C: ``void tevent_set_trace_callback(struct tevent_context *ev, tevent_trace_callback_t cb, void *private_data)``

    Args:
        ev: A main context; a wrapper goes to the abort function.

        cb: Called as ``cb(point, private_data)``; None clears it. An exception it raises leaves the loop call.

        private_data: Any object.
    """
    if _may_set(ev, cb, "tevent_set_trace_callback"):
        ev.trace_point, ev.trace_point_data = cb, private_data
        update_lean(ev)


def tevent_get_trace_callback(ev: tevent_context) -> tuple[tevent_trace_callback_t | None, Any]:
    """
    The callback set by `tevent_set_trace_callback` and its private data; (None, None) at first.

    C: ``void tevent_get_trace_callback(struct tevent_context *ev, tevent_trace_callback_t *cb, void *private_data)``
    """
    return (ev.trace_point, ev.trace_point_data) if check_context(ev) else (None, None)


def tevent_set_trace_fd_callback(
    ev: tevent_context, cb: tevent_trace_fd_callback_t | None, private_data: object
) -> None:
    """
    Set the function that is called when an fd event of *ev* is attached, runs, and is detached.

    C: ``void tevent_set_trace_fd_callback(struct tevent_context *ev, tevent_trace_fd_callback_t cb, void
    *private_data)``

    Args:
        ev: A main context; it sees the events of its wrappers too.

        cb: Called as ``cb(fde, point, private_data)``; None clears it.

        private_data: Any object.
    """
    if _may_set(ev, cb, "tevent_set_trace_fd_callback"):
        if cb is not None:
            len(ev.fd_events)  # lets each of them be a real one from now on
        ev.trace_fd, ev.trace_fd_data = cb, private_data


def tevent_get_trace_fd_callback(ev: tevent_context) -> tuple[tevent_trace_fd_callback_t | None, Any]:
    """
    The callback set by `tevent_set_trace_fd_callback` and its private data.

    C: ``void tevent_get_trace_fd_callback(struct tevent_context *ev, tevent_trace_fd_callback_t *cb, void
    *p_private_data)``
    """
    return (ev.trace_fd, ev.trace_fd_data) if check_context(ev) else (None, None)


def tevent_set_trace_signal_callback(
    ev: tevent_context, cb: tevent_trace_signal_callback_t | None, private_data: object
) -> None:
    """
    Set the function that is called when a signal event of *ev* is attached, runs, and is detached.

    C: ``void tevent_set_trace_signal_callback(struct tevent_context *ev, tevent_trace_signal_callback_t cb, void
    *private_data)``

    The parameters are those of `tevent_set_trace_fd_callback`.
    """
    if _may_set(ev, cb, "tevent_set_trace_signal_callback"):
        ev.trace_signal, ev.trace_signal_data = cb, private_data


def tevent_get_trace_signal_callback(ev: tevent_context) -> tuple[tevent_trace_signal_callback_t | None, Any]:
    """
    The callback set by `tevent_set_trace_signal_callback` and its private data.

    C: ``void tevent_get_trace_signal_callback(struct tevent_context *ev, tevent_trace_signal_callback_t *cb, void
    *p_private_data)``
    """
    return (ev.trace_signal, ev.trace_signal_data) if check_context(ev) else (None, None)


def tevent_set_trace_timer_callback(
    ev: tevent_context, cb: tevent_trace_timer_callback_t | None, private_data: object
) -> None:
    """
    Set the function that is called when a timer of *ev* is attached, runs, and is detached.

    C: ``void tevent_set_trace_timer_callback(struct tevent_context *ev, tevent_trace_timer_callback_t cb, void
    *private_data)``

    The parameters are those of `tevent_set_trace_fd_callback`.
    """
    if _may_set(ev, cb, "tevent_set_trace_timer_callback"):
        ev.trace_timer, ev.trace_timer_data = cb, private_data
        update_plain(ev)


def tevent_get_trace_timer_callback(ev: tevent_context) -> tuple[tevent_trace_timer_callback_t | None, Any]:
    """
    The callback set by `tevent_set_trace_timer_callback` and its private data.

    C: ``void tevent_get_trace_timer_callback(struct tevent_context *ev, tevent_trace_timer_callback_t *cb, void
    *p_private_data)``
    """
    return (ev.trace_timer, ev.trace_timer_data) if check_context(ev) else (None, None)


def tevent_set_trace_immediate_callback(
    ev: tevent_context, cb: tevent_trace_immediate_callback_t | None, private_data: object
) -> None:
    """
    Set the function that is called when an immediate is queued on *ev*, runs, and is dequeued.

    C: ``void tevent_set_trace_immediate_callback(struct tevent_context *ev, tevent_trace_immediate_callback_t cb, void
    *private_data)``

    The parameters are those of `tevent_set_trace_fd_callback`.
    """
    if _may_set(ev, cb, "tevent_set_trace_immediate_callback"):
        ev.trace_immediate, ev.trace_immediate_data = cb, private_data
        update_plain(ev)


def tevent_get_trace_immediate_callback(ev: tevent_context) -> tuple[tevent_trace_immediate_callback_t | None, Any]:
    """
    The callback set by `tevent_set_trace_immediate_callback` and its private data.

    C: ``void tevent_get_trace_immediate_callback(struct tevent_context *ev, tevent_trace_immediate_callback_t *cb, void
    *p_private_data)``
    """
    return (ev.trace_immediate, ev.trace_immediate_data) if check_context(ev) else (None, None)


def tevent_set_trace_queue_callback(
    ev: tevent_context, cb: tevent_trace_queue_callback_t | None, private_data: object
) -> None:
    """
    Set the function that is called when an entry enters a queue on *ev*, is triggered, and leaves.

    C: ``void tevent_set_trace_queue_callback(struct tevent_context *ev, tevent_trace_queue_callback_t cb, void
    *private_data)``

    The parameters are those of `tevent_set_trace_fd_callback`, with the queue entry in the place of the event.
    """
    if _may_set(ev, cb, "tevent_set_trace_queue_callback"):
        ev.trace_queue, ev.trace_queue_data = cb, private_data
        update_plain(ev)


def tevent_get_trace_queue_callback(ev: tevent_context) -> tuple[tevent_trace_queue_callback_t | None, Any]:
    """
    The callback set by `tevent_set_trace_queue_callback` and its private data.

    C: ``void tevent_get_trace_queue_callback(struct tevent_context *ev, tevent_trace_queue_callback_t *cb, void
    *p_private_data)``
    """
    return (ev.trace_queue, ev.trace_queue_data) if check_context(ev) else (None, None)


# -- calling, for backends --------------------------------------------------------------------------------------------


# Callbacks get members; from backends they come as such.


def _event_point(tp: tevent_event_trace_point) -> tevent_event_trace_point:
    from .enumerations import tevent_event_trace_point

    return tevent_event_trace_point(tp) if type(tp) is int else tp


def tevent_trace_point_callback(ev: tevent_context, tp: tevent_trace_point) -> None:
    """
    Call the callback for the points of the loop, if one is set.

    C: ``void tevent_trace_point_callback(struct tevent_context *ev, enum tevent_trace_point tp)``
    """
    cb = ev.trace_point
    if cb is not None:
        from .enumerations import tevent_trace_point

        cb(tevent_trace_point(tp) if type(tp) is int else tp, ev.trace_point_data)


def tevent_trace_fd_callback(ev: tevent_context, fde: tevent_fd, tp: tevent_event_trace_point) -> None:
    """
    Call the callback for fd events, if one is set.

    C: ``void tevent_trace_fd_callback(struct tevent_context *ev, struct tevent_fd *fde, enum tevent_event_trace_point
    tp)``
    """
    cb = ev.trace_fd
    if cb is not None:
        cb(fde, _event_point(tp), ev.trace_fd_data)


def tevent_trace_signal_callback(ev: tevent_context, se: tevent_signal, tp: tevent_event_trace_point) -> None:
    """
    Call the callback for signal events, if one is set.

    C: ``void tevent_trace_signal_callback(struct tevent_context *ev, struct tevent_signal *se, enum
    tevent_event_trace_point tp)``
    """
    cb = ev.trace_signal
    if cb is not None:
        cb(se, _event_point(tp), ev.trace_signal_data)


def tevent_trace_timer_callback(ev: tevent_context, te: tevent_timer, tp: tevent_event_trace_point) -> None:
    """
    Call the callback for timers, if one is set.

    C: ``void tevent_trace_timer_callback(struct tevent_context *ev, struct tevent_timer *te, enum
    tevent_event_trace_point tp)``
    """
    cb = ev.trace_timer
    if cb is not None:
        cb(te, _event_point(tp), ev.trace_timer_data)


def tevent_trace_immediate_callback(ev: tevent_context, im: tevent_immediate, tp: tevent_event_trace_point) -> None:
    """
    Call the callback for immediates, if one is set.

    C: ``void tevent_trace_immediate_callback(struct tevent_context *ev, struct tevent_immediate *im, enum
    tevent_event_trace_point tp)``
    """
    cb = ev.trace_immediate
    if cb is not None:
        cb(im, _event_point(tp), ev.trace_immediate_data)


def tevent_trace_queue_callback(ev: tevent_context, qe: tevent_queue_entry, tp: tevent_event_trace_point) -> None:
    """
    Call the callback for queue entries of *ev*, if one is set.

    Entries that name a wrapper context are not traced: it has no callback of its own, and no other is asked.

    C: ``void tevent_trace_queue_callback(struct tevent_context *ev, struct tevent_queue_entry *qe, enum
    tevent_event_trace_point tp)``
    """
    cb = ev.trace_queue
    if cb is not None:
        cb(qe, _event_point(tp), ev.trace_queue_data)


# -- the flow of calls ------------------------------------------------------------------------------------------------


class _listening:
    """The part of a thread in `request_watchers`, which goes with the thread."""

    __slots__ = ()

    def __init__(self) -> None:
        global request_watchers
        request_watchers += 1

    def __del__(self) -> None:
        global request_watchers
        request_watchers -= 1


class _per_thread(local):
    """The callback of each thread."""

    callback: tevent_call_depth_callback_t | None = None
    private_data: Any = None
    listening: _listening | None = None


_call_depth = _per_thread()

#: How many threads have a callback for the flow of calls, and how many profiles are being written. Requests, queues and
#: loops report nothing while it is 0.
request_watchers: int = 0


def call_depth_report(cmd: tevent_thread_call_depth_cmd, req: tevent_req | None, depth: int, fname: str | None) -> None:
    """Tell this thread's callback, if it has one; callers ask `request_watchers` first."""
    callback = _call_depth.callback
    if callback is not None:
        from .enumerations import tevent_thread_call_depth_cmd

        callback(_call_depth.private_data, tevent_thread_call_depth_cmd(cmd), req, depth, fname)


def function_name(fn: object) -> str | None:
    """The name under which a function is reported; None for None."""
    if fn is None:
        return None
    name: object = getattr(fn, "__name__", None)
    return name if type(name) is str else type(fn).__name__


def tevent_thread_call_depth_set_callback(f: tevent_call_depth_callback_t | None, private_data: object) -> None:
    """
    Set the function that hears of the flow of calls between the requests of this thread.

    C: ``void tevent_thread_call_depth_set_callback(tevent_call_depth_callback_t f, void *private_data)``

    Args:
        f: Called as ``f(private_data, cmd, req, depth, fname)``; *req* and *fname* may be None. None switches it off.

        private_data: Any object.

    Callbacks: the former function hears a last `TEVENT_CALL_FLOW_REQ_RESET`.
    """
    if f is not None and not callable(f):
        raise TypeError(f"f must be callable or None, not {type(f).__name__}")
    call_depth_report(TEVENT_CALL_FLOW_REQ_RESET, None, 0, "tevent_thread_call_depth_set_callback")
    _call_depth.callback = f
    _call_depth.private_data = private_data
    if f is None:
        _call_depth.listening = None
    elif _call_depth.listening is None:
        _call_depth.listening = _listening()


def tevent_thread_call_depth_reset_from_req(req: tevent_req) -> None:
    """
    Report that the flow of calls goes on from *req*: `TEVENT_CALL_FLOW_REQ_RESET` with its depth.

    C: ``void tevent_thread_call_depth_reset_from_req(struct tevent_req *req)``
    """
    from ._request import is_request

    if is_request(req) and request_watchers:
        call_depth_report(TEVENT_CALL_FLOW_REQ_RESET, req, req.depth, _getframe(1).f_code.co_name)
