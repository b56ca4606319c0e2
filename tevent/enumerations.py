# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The enumerations of tevent.h, as programs get to see them.

Inside the package their values are plain numbers, which compare faster.  This module is not loaded with the package,
but when somebody asks for one of its names or is handed a member: the import of `enum` takes as long as that of half of
this package.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = [
    "TEVENT_CALL_FLOW_REQ_CANCEL",
    "TEVENT_CALL_FLOW_REQ_CLEANUP",
    "TEVENT_CALL_FLOW_REQ_CREATE",
    "TEVENT_CALL_FLOW_REQ_NOTIFY_CB",
    "TEVENT_CALL_FLOW_REQ_QUEUE_ENTER",
    "TEVENT_CALL_FLOW_REQ_QUEUE_LEAVE",
    "TEVENT_CALL_FLOW_REQ_QUEUE_TRIGGER",
    "TEVENT_CALL_FLOW_REQ_RESET",
    "TEVENT_DEBUG_ERROR",
    "TEVENT_DEBUG_FATAL",
    "TEVENT_DEBUG_TRACE",
    "TEVENT_DEBUG_WARNING",
    "TEVENT_EVENT_TRACE_ATTACH",
    "TEVENT_EVENT_TRACE_BEFORE_HANDLER",
    "TEVENT_EVENT_TRACE_DETACH",
    "TEVENT_REQ_DONE",
    "TEVENT_REQ_INIT",
    "TEVENT_REQ_IN_PROGRESS",
    "TEVENT_REQ_NO_MEMORY",
    "TEVENT_REQ_RECEIVED",
    "TEVENT_REQ_TIMED_OUT",
    "TEVENT_REQ_USER_ERROR",
    "TEVENT_TRACE_AFTER_LOOP_ONCE",
    "TEVENT_TRACE_AFTER_WAIT",
    "TEVENT_TRACE_BEFORE_LOOP_ONCE",
    "TEVENT_TRACE_BEFORE_WAIT",
    "tevent_debug_level",
    "tevent_event_trace_point",
    "tevent_req_state",
    "tevent_thread_call_depth_cmd",
    "tevent_trace_point",
]


class tevent_debug_level(IntEnum):
    """
    How grave a debug message is; the greater, the less.

    C: ``enum tevent_debug_level``
    """

    TEVENT_DEBUG_FATAL = 0
    TEVENT_DEBUG_ERROR = 1
    TEVENT_DEBUG_WARNING = 2
    TEVENT_DEBUG_TRACE = 3


class tevent_req_state(IntEnum):
    """
    The states of a request, in the order in which cleanup functions may see them.

    C: ``enum tevent_req_state``
    """

    TEVENT_REQ_INIT = 0
    TEVENT_REQ_IN_PROGRESS = 1
    TEVENT_REQ_DONE = 2
    TEVENT_REQ_USER_ERROR = 3
    TEVENT_REQ_TIMED_OUT = 4
    TEVENT_REQ_NO_MEMORY = 5
    TEVENT_REQ_RECEIVED = 6


class tevent_trace_point(IntEnum):
    """
    The points of a loop iteration that are traced.

    C: ``enum tevent_trace_point``
    """

    TEVENT_TRACE_BEFORE_WAIT = 0
    TEVENT_TRACE_AFTER_WAIT = 1
    TEVENT_TRACE_BEFORE_LOOP_ONCE = 2
    TEVENT_TRACE_AFTER_LOOP_ONCE = 3


class tevent_event_trace_point(IntEnum):
    """
    The points in the life of an event that are traced.

    C: ``enum tevent_event_trace_point``
    """

    TEVENT_EVENT_TRACE_ATTACH = 0
    TEVENT_EVENT_TRACE_DETACH = 1
    TEVENT_EVENT_TRACE_BEFORE_HANDLER = 2


class tevent_thread_call_depth_cmd(IntEnum):
    """
    The steps in the life of a request that are reported as the flow of calls.

    C: ``enum tevent_thread_call_depth_cmd``
    """

    TEVENT_CALL_FLOW_REQ_RESET = 0
    TEVENT_CALL_FLOW_REQ_CREATE = 1
    TEVENT_CALL_FLOW_REQ_CANCEL = 2
    TEVENT_CALL_FLOW_REQ_CLEANUP = 3
    TEVENT_CALL_FLOW_REQ_NOTIFY_CB = 4
    TEVENT_CALL_FLOW_REQ_QUEUE_ENTER = 5
    TEVENT_CALL_FLOW_REQ_QUEUE_TRIGGER = 6
    TEVENT_CALL_FLOW_REQ_QUEUE_LEAVE = 7


TEVENT_DEBUG_FATAL = tevent_debug_level.TEVENT_DEBUG_FATAL
TEVENT_DEBUG_ERROR = tevent_debug_level.TEVENT_DEBUG_ERROR
TEVENT_DEBUG_WARNING = tevent_debug_level.TEVENT_DEBUG_WARNING
TEVENT_DEBUG_TRACE = tevent_debug_level.TEVENT_DEBUG_TRACE

TEVENT_REQ_INIT = tevent_req_state.TEVENT_REQ_INIT
TEVENT_REQ_IN_PROGRESS = tevent_req_state.TEVENT_REQ_IN_PROGRESS
TEVENT_REQ_DONE = tevent_req_state.TEVENT_REQ_DONE
TEVENT_REQ_USER_ERROR = tevent_req_state.TEVENT_REQ_USER_ERROR
TEVENT_REQ_TIMED_OUT = tevent_req_state.TEVENT_REQ_TIMED_OUT
TEVENT_REQ_NO_MEMORY = tevent_req_state.TEVENT_REQ_NO_MEMORY
TEVENT_REQ_RECEIVED = tevent_req_state.TEVENT_REQ_RECEIVED

TEVENT_TRACE_BEFORE_WAIT = tevent_trace_point.TEVENT_TRACE_BEFORE_WAIT
TEVENT_TRACE_AFTER_WAIT = tevent_trace_point.TEVENT_TRACE_AFTER_WAIT
TEVENT_TRACE_BEFORE_LOOP_ONCE = tevent_trace_point.TEVENT_TRACE_BEFORE_LOOP_ONCE
TEVENT_TRACE_AFTER_LOOP_ONCE = tevent_trace_point.TEVENT_TRACE_AFTER_LOOP_ONCE

TEVENT_EVENT_TRACE_ATTACH = tevent_event_trace_point.TEVENT_EVENT_TRACE_ATTACH
TEVENT_EVENT_TRACE_DETACH = tevent_event_trace_point.TEVENT_EVENT_TRACE_DETACH
TEVENT_EVENT_TRACE_BEFORE_HANDLER = tevent_event_trace_point.TEVENT_EVENT_TRACE_BEFORE_HANDLER

TEVENT_CALL_FLOW_REQ_RESET = tevent_thread_call_depth_cmd.TEVENT_CALL_FLOW_REQ_RESET
TEVENT_CALL_FLOW_REQ_CREATE = tevent_thread_call_depth_cmd.TEVENT_CALL_FLOW_REQ_CREATE
TEVENT_CALL_FLOW_REQ_CANCEL = tevent_thread_call_depth_cmd.TEVENT_CALL_FLOW_REQ_CANCEL
TEVENT_CALL_FLOW_REQ_CLEANUP = tevent_thread_call_depth_cmd.TEVENT_CALL_FLOW_REQ_CLEANUP
TEVENT_CALL_FLOW_REQ_NOTIFY_CB = tevent_thread_call_depth_cmd.TEVENT_CALL_FLOW_REQ_NOTIFY_CB
TEVENT_CALL_FLOW_REQ_QUEUE_ENTER = tevent_thread_call_depth_cmd.TEVENT_CALL_FLOW_REQ_QUEUE_ENTER
TEVENT_CALL_FLOW_REQ_QUEUE_TRIGGER = tevent_thread_call_depth_cmd.TEVENT_CALL_FLOW_REQ_QUEUE_TRIGGER
TEVENT_CALL_FLOW_REQ_QUEUE_LEAVE = tevent_thread_call_depth_cmd.TEVENT_CALL_FLOW_REQ_QUEUE_LEAVE
