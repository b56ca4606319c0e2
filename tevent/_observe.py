# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Several listeners where C has one slot: the trace callbacks of all contexts, and the flow of calls of all threads.

An `observer` is told what the public trace callbacks tell, of every context there is and will be, while the callbacks
that a program sets itself are called as ever. For that, contexts get a callback of this module for each kind; the
functions that set and get callbacks, and the one that makes contexts, are exchanged for others as long as there is an
observer.

Cost: that of trace callbacks while there is an observer; nothing otherwise, this module is not even loaded.
"""

from __future__ import annotations

import gc
import weakref
from functools import wraps
from threading import local

from talloc_py._chunk import caller_outside, location_text
from talloc_py.diagnostics import exchange

from . import _base, _sys, context, trace
from ._base import tevent_context
from ._request import tevent_req
from .req_print import kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["add", "observer", "remove"]

#: What has a callback of its own: the points of the loop, and five kinds of events.
_KINDS = ("point", "fd", "signal", "timer", "immediate", "queue")


class observer:
    """Somebody who looks on. What it does not want to know it does not override."""

    def context_seen(self, ev: tevent_context) -> None:
        """*ev* was made, or was there already when the observer came."""

    def point(self, ev: tevent_context, point: Any) -> None:
        """A point of the loop, a `tevent_trace_point`."""

    def event(self, kind: str, ev: tevent_context, event: Any, point: Any) -> None:
        """Something happens to an event, or a queue entry: *point* is a `tevent_event_trace_point`."""

    def flow(self, command: Any, req: tevent_req | None, depth: int, function: str | None) -> None:
        """A `tevent_thread_call_depth_cmd`."""


def _wants_flow(each: observer) -> bool:
    return type(each).flow is not observer.flow


class _per_thread(local):
    """What a thread has set for the flow of calls, behind ours."""

    ours: bool = False
    callback: Any = None
    private_data: Any = None


class _watched:
    """A context: the callbacks that the program has set for it."""

    __slots__ = ("callbacks", "ev")

    def __init__(self, ev: tevent_context) -> None:
        # Not the context itself: who drops it must find it gone at once, as ever.
        self.ev = weakref.ref(ev)
        self.callbacks: dict[str, tuple[Any, Any]] = {}


_observers: list[observer] = []
_thread = _per_thread()
_contexts: weakref.WeakKeyDictionary[tevent_context, _watched] = weakref.WeakKeyDictionary()
#: The public functions, and what stands in their place.
_exchanged: list[tuple[Any, Any]] = []


# -- what contexts call -----------------------------------------------------------------------------------------------


def _point_relay(point: Any, watched: _watched) -> None:
    ev = watched.ev()
    if ev is not None:
        if not _thread.ours:
            _enter_thread()
        for each in _observers:
            each.point(ev, point)
    callback, private_data = watched.callbacks.get("point", (None, None))
    if callback is not None:
        callback(point, private_data)


def _relay_for(kind: str) -> Callable[[Any, Any, _watched], None]:
    def relay(event: Any, point: Any, watched: _watched) -> None:
        ev = watched.ev()
        if ev is not None:
            for each in _observers:
                each.event(kind, ev, event, point)
        callback, private_data = watched.callbacks.get(kind, (None, None))
        if callback is not None:
            callback(event, point, private_data)

    return relay


_relays: dict[str, Any] = {kind: _relay_for(kind) for kind in _KINDS}
_relays["point"] = _point_relay


def _flow_relay(_private_data: object, command: Any, req: tevent_req | None, depth: int, function: str | None) -> None:
    for each in _observers:
        each.flow(command, req, depth, function)
    if _thread.callback is not None:
        _thread.callback(_thread.private_data, command, req, depth, function)
    if not any(map(_wants_flow, _observers)):
        _leave_thread()


def _name(what: str, kind: str) -> str:
    return f"tevent_{what}_trace_{'' if kind == 'point' else kind + '_'}callback"


def _adopt(ev: tevent_context) -> None:
    """Put our callbacks into the slots of a context, keeping what is there."""
    if ev.wrapper is not None or ev in _contexts:
        return
    watched = _contexts[ev] = _watched(ev)
    for kind in _KINDS:
        callback, private_data = _real(_name("get", kind))(ev)
        if callback is not None:
            watched.callbacks[kind] = callback, private_data
        _real(_name("set", kind))(ev, _relays[kind], watched)
    for each in _observers:
        each.context_seen(ev)


def _release(ev: tevent_context, watched: _watched) -> None:
    if ev._talloc_chunk.obj is ev:
        for kind in _KINDS:
            callback, private_data = watched.callbacks.get(kind, (None, None))
            _real(_name("set", kind))(ev, callback, private_data)


def _enter_thread() -> None:
    """Hear of the flow of calls in this thread, if somebody wants to: it slows every request down."""
    if not _thread.ours and any(map(_wants_flow, _observers)):
        _thread.ours = True
        _thread.callback, _thread.private_data = trace._call_depth.callback, trace._call_depth.private_data
        _real("tevent_thread_call_depth_set_callback")(_flow_relay, None)


def _leave_thread() -> None:
    if _thread.ours:
        _thread.ours = False
        callback, _thread.callback = _thread.callback, None
        _real("tevent_thread_call_depth_set_callback")(callback, _thread.private_data)


# -- what programs call -----------------------------------------------------------------------------------------------

_originals: dict[str, Any] = {}


def _real(name: str) -> Any:
    """The public function *name* itself, whatever stands in its place."""
    return _originals[name]


def _note_originals() -> None:
    if not _originals:
        for kind in _KINDS:
            for what in ("set", "get"):
                _originals[_name(what, kind)] = getattr(trace, _name(what, kind))
        _originals["tevent_thread_call_depth_set_callback"] = trace.tevent_thread_call_depth_set_callback
        _originals["tevent_context_init_ops"] = context.tevent_context_init_ops


def _setter(kind: str) -> Any:
    real = _real(_name("set", kind))

    @wraps(real)
    def set_callback(ev: tevent_context, cb: Any, private_data: object) -> None:
        watched = _contexts.get(ev) if type(ev) is tevent_context else None
        if watched is None or ev._talloc_chunk.obj is not ev or not (cb is None or callable(cb)):
            real(ev, cb, private_data)  # which says what is wrong
        else:
            watched.callbacks[kind] = cb, private_data

    return set_callback


def _getter(kind: str) -> Any:
    real = _real(_name("get", kind))

    @wraps(real)
    def get_callback(ev: tevent_context) -> Any:
        callback, private_data = real(ev)
        if callback is _relays[kind]:
            return private_data.callbacks.get(kind, (None, None))
        return callback, private_data

    return get_callback


def _flow_setter() -> Any:
    real = _real("tevent_thread_call_depth_set_callback")

    @wraps(real)
    def set_callback(f: Any, private_data: object) -> None:
        if not _thread.ours or not (f is None or callable(f)):
            real(f, private_data)
            return
        if _thread.callback is not None:
            from .enumerations import TEVENT_CALL_FLOW_REQ_RESET

            _thread.callback(_thread.private_data, TEVENT_CALL_FLOW_REQ_RESET, None, 0, real.__name__)
        _thread.callback, _thread.private_data = f, private_data

    return set_callback


def _maker() -> Any:
    real = _real("tevent_context_init_ops")

    @wraps(real)
    def tevent_context_init_ops(mem_ctx: Any, ops: Any, additional_data: object) -> tevent_context | None:
        _enter_thread()
        ev: tevent_context | None = real(mem_ctx, ops, additional_data)
        if ev is not None:
            _adopt(ev)
        return ev

    return tevent_context_init_ops


# -- coming and going -------------------------------------------------------------------------------------------------


def add(new: observer) -> None:
    """
    Let *new* be told of everything from now on, in this thread and in each other that runs a loop.

    O(objects of the process), to find the contexts that are there already.
    """
    _observers.append(new)
    if len(_observers) > 1:
        _enter_thread()
        for ev in list(_contexts):
            new.context_seen(ev)
        return
    _note_originals()
    for kind in _KINDS:
        _exchanged.append((_real(_name("set", kind)), _setter(kind)))
        _exchanged.append((_real(_name("get", kind)), _getter(kind)))
    _exchanged.append((_real("tevent_thread_call_depth_set_callback"), _flow_setter()))
    _exchanged.append((_real("tevent_context_init_ops"), _maker()))
    for old, ours in _exchanged:
        exchange(old, ours)
    _enter_thread()
    for thing in gc.get_objects():
        if type(thing) is tevent_context and not getattr(thing, "gone", True):
            _adopt(thing)


def remove(old: observer) -> None:
    """Tell *old* nothing any more. After the last one everything is as if there had been none."""
    _observers.remove(old)
    if _observers:
        if not any(map(_wants_flow, _observers)):
            _leave_thread()
        return
    for real, ours in _exchanged:
        exchange(ours, real)
    _exchanged.clear()
    for ev, watched in list(_contexts.items()):
        _release(ev, watched)
    _contexts.clear()
    _leave_thread()


# -- how long handlers run --------------------------------------------------------------------------------------------


class span:
    """A handler that runs, or has run."""

    __slots__ = ("begin_us", "end_us", "kind", "made", "name", "number", "request")

    def __init__(self, kind: str, name: str, made: Any, begin_us: int) -> None:
        self.kind: str = kind  # fd, signal, timer, immediate
        self.name: str = name  # of the handler
        self.made: Any = made  # the place that made or scheduled the event
        self.number: int | None = None  # the descriptor or the signal
        self.request: tuple[str, Any] | None = None  # what the event serves: kind and place of birth
        self.begin_us: int = begin_us
        self.end_us: int = begin_us

    def serves(self, req: tevent_req) -> None:
        """The event belongs to a request; texts are made when somebody wants them."""
        self.request = kind_of(req), req.created

    @property
    def what(self) -> str:
        """More about the event; empty if there is nothing."""
        if self.request is not None:
            return f"{self.request[0]} made at {location_text(self.request[1])}"
        if self.number is not None:
            return f"{'descriptor' if self.kind == 'fd' else 'signal'} {self.number}"
        return ""


class _scheduled_immediate:
    """What a queued immediate is for."""

    __slots__ = ("name", "place", "request")

    def __init__(self, im: Any) -> None:
        subject = im.private_data
        self.name: str = im.handler_name or "NULL"
        self.place = caller_outside("talloc_py", "tevent", "tsocket")
        #: The request that waits there, if it is the trigger of one.
        self.request = weakref.ref(subject) if type(subject) is tevent_req else None

    def begins(self) -> span:
        """It is about to run."""
        req = None if self.request is None else self.request()
        if req is None or req._talloc_chunk.obj is not req:
            return span("immediate", self.name, self.place, _sys.stopwatch_us())
        name = "a step of the request" if req.fn is None else _base.handler_name_of(req.fn)
        begun = span("immediate", name, req.created, _sys.stopwatch_us())
        begun.serves(req)
        return begun


class handler_observer(observer):
    """
    Tells handlers from each other and measures them.

    A handler has run from its `TEVENT_EVENT_TRACE_BEFORE_HANDLER` to the end of the iteration, or to the next handler
    in it. Where a handler loops itself, what runs there counts for both.
    """

    def __init__(self) -> None:
        self._levels: weakref.WeakKeyDictionary[tevent_context, list[span | None]] = weakref.WeakKeyDictionary()
        self._scheduled: dict[int, _scheduled_immediate] = {}

    def handler_begins(self, ev: tevent_context, begun: span) -> None:
        """A handler is about to run."""

    def handler_over(self, ev: tevent_context, done: span) -> None:
        """A handler has ended."""
        raise NotImplementedError

    def forget_handlers(self) -> None:
        """In a forked child: what ran when it was made goes on in the parent."""
        self._levels.clear()

    def point(self, ev: tevent_context, point: Any) -> None:
        """See `observer.point`."""
        levels = self._levels.setdefault(ev, [])
        if point == trace.TEVENT_TRACE_BEFORE_LOOP_ONCE:
            levels.append(None)
        elif point == trace.TEVENT_TRACE_AFTER_LOOP_ONCE and levels:
            running = levels.pop()
            if running is not None:
                self._over(ev, running)

    def event(self, kind: str, ev: tevent_context, event: Any, point: Any) -> None:
        """See `observer.event`."""
        if kind == "queue":
            return
        if point == trace.TEVENT_EVENT_TRACE_BEFORE_HANDLER:
            levels = self._levels.get(ev)
            if levels:  # else no loop runs it, and nobody will say when it is over
                begun = self._span_of(kind, event)
                before, levels[-1] = levels[-1], begun
                if before is not None:
                    self._over(ev, before)
                self.handler_begins(ev, begun)
        elif kind == "immediate":
            if point == trace.TEVENT_EVENT_TRACE_ATTACH:
                # When it runs it has forgotten what for.
                self._scheduled[id(event)] = _scheduled_immediate(event)
            else:
                self._scheduled.pop(id(event), None)

    def _span_of(self, kind: str, event: Any) -> span:
        if kind == "immediate":
            scheduled = self._scheduled.get(id(event))
            if scheduled is not None:
                return scheduled.begins()
            return span(kind, "immediate", None, _sys.stopwatch_us())
        begun = span(kind, event.handler_name, getattr(event, "created", None), _sys.stopwatch_us())
        if kind != "timer":
            begun.number = event.fd if kind == "fd" else event.signum
        if type(event.private_data) is tevent_req:
            begun.serves(event.private_data)
        return begun

    def _over(self, ev: tevent_context, done: span) -> None:
        done.end_us = _sys.stopwatch_us()
        self.handler_over(ev, done)
