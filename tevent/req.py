# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Asynchronous requests: one object between the one who asks and the one who works.

Mirrors ``lib/tevent/tevent_req.c``; how a request is kept and what happens inside is in `tevent._request`.
"""

from __future__ import annotations

from sys import _getframe

from talloc_py._chunk import LEFT, chunk
from talloc_py.core import TALLOC_CTX, free_chunk, talloc_zero
from talloc_py.names import talloc_get_type_abort
from talloc_py.types import quick_fills

from . import trace
from ._base import check_context
from ._request import (
    DONE,
    ERROR_MASK,
    IN_PROGRESS,
    NO_MEMORY,
    RECEIVED,
    TEVENT_REQ_DONE,
    TEVENT_REQ_IN_PROGRESS,
    TEVENT_REQ_INIT,
    TEVENT_REQ_NO_MEMORY,
    TEVENT_REQ_RECEIVED,
    TEVENT_REQ_TIMED_OUT,
    TEVENT_REQ_USER_ERROR,
    TIMED_OUT,
    USER_ERROR,
    destroy,
    drop_timer,
    error_of,
    finish,
    finish_again,
    is_request,
    leave_when_freed,
    new_request,
    notify,
    post,
    rare_of,
    receive,
    state_of,
    tevent_req,
)
from .context import loop_unwatched, tevent_context, tevent_loop_once
from .immediate import tevent_common_schedule_immediate
from .timed import tevent_add_timer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, TypeVar

    from typing_extensions import TypeIs  # type checkers know it without its being installed

    from ._request import Location, tevent_req_cancel_fn, tevent_req_cleanup_fn, tevent_req_fn, tevent_req_print_fn
    from .enumerations import tevent_req_state
    from .timed import tevent_timer, timeval

    T = TypeVar("T")
    S = TypeVar("S", bound=TALLOC_CTX)

__all__ = [
    "TEVENT_REQ_DONE",
    "TEVENT_REQ_INIT",
    "TEVENT_REQ_IN_PROGRESS",
    "TEVENT_REQ_NO_MEMORY",
    "TEVENT_REQ_RECEIVED",
    "TEVENT_REQ_TIMED_OUT",
    "TEVENT_REQ_USER_ERROR",
    "tevent_req",
    "tevent_req_callback_data",
    "tevent_req_callback_data_void",
    "tevent_req_cancel",
    "tevent_req_create",
    "tevent_req_data",
    "tevent_req_defer_callback",
    "tevent_req_done",
    "tevent_req_error",
    "tevent_req_is_error",
    "tevent_req_is_in_progress",
    "tevent_req_nomem",
    "tevent_req_notify_callback",
    "tevent_req_oom",
    "tevent_req_poll",
    "tevent_req_post",
    "tevent_req_received",
    "tevent_req_reset_endtime",
    "tevent_req_set_callback",
    "tevent_req_set_cancel_fn",
    "tevent_req_set_cleanup_fn",
    "tevent_req_set_endtime",
    "tevent_req_set_print_fn",
]


_allocate = object.__new__
_TIMED_OUT_AT: Final = "tevent_req_timedout"


def tevent_req_create(mem_ctx: TALLOC_CTX | None, type: type[S]) -> tuple[tevent_req | None, S]:
    """
    Make a request in progress, and its state.

    C: ``struct tevent_req *tevent_req_create(TALLOC_CTX *mem_ctx, void *pstate, #type)``

    Args:
        mem_ctx: The owner. Where it is the state of another request, that one becomes the parent request: it lends its
            profile and call depth.

        type: The class of the state, derived from `TALLOC_CTX`; its fields are zeroed as `talloc_zero` does it.

    Returns:
        The request and its state, a child of the request; ``(None, None)`` where a memory limit forbids it.
    """
    frame = _getframe(1)
    parent: Any
    try:
        fill = quick_fills[type]
        parent = mem_ctx._talloc_chunk  # type: ignore[union-attr]  # None has none
        if parent.obj is not mem_ctx or parent.extra is not None or trace.request_watchers:
            raise LookupError
    except Exception:  # whatever a user's __getattr__ raises
        return _create_unusual(mem_ctx, type, (frame.f_code, frame.f_lasti))
    # new_request(), talloc_zero() and link() in one piece: a tenth less time for a whole request.
    req: tevent_req = _allocate(tevent_req)
    header = chunk()
    req._talloc_chunk = header  # type: ignore[misc]  # the slot is that of the base class
    state = type()
    below = chunk()
    state._talloc_chunk = below
    header.obj = req
    header.name = tevent_req
    header.destructor = destroy
    header.child = below
    header.prev = None
    header.extra = None
    header.parent = parent
    header.next = first = parent.child
    if first is not None:
        first.prev = header
    parent.child = header
    below.obj = state
    below.name = type
    below.destructor = None
    below.child = None
    below.prev = None
    below.next = None
    below.extra = None
    below.parent = header
    if fill is not None:
        fill(state)
    req.made_in = frame.f_code
    req.made_at = frame.f_lasti
    req.fn = None
    req.data = state
    req.kind = type
    req.rare = None
    req.op = None
    req.im_ev = None
    req.q_queue = None
    req.status = IN_PROGRESS
    return req, state


def _create_unusual(mem_ctx: TALLOC_CTX | None, type: type[S], made: Location) -> tuple[tevent_req | None, S]:
    """`tevent_req_create` where somebody watches, or the owner or the type is not of the simplest kind."""
    req = new_request(mem_ctx, made)
    if req is None:
        return None, None  # type: ignore[return-value]  # one check, of the request, has to do as in C
    try:
        state = talloc_zero(req, type)
    except BaseException:
        free_chunk(req._talloc_chunk, made)
        raise
    if state is None:
        free_chunk(req._talloc_chunk, made)
        return None, None  # type: ignore[return-value]
    if state.__class__ is not type:  # talloc_zero() knows more kinds of types, all of which are arrays
        free_chunk(req._talloc_chunk, made)
        raise TypeError(f"the state's type must be a class derived from TALLOC_CTX, not {type!r}")
    req.data = state
    req.kind = type
    if req.rare is not None and req.rare.profile is not None:
        from .req_profile import profile_named

        profile_named(req)
    return req, state


def tevent_req_data(req: tevent_req, type: type[T]) -> T:
    """
    The state of *req*.

    C: ``void *tevent_req_data(struct tevent_req *req, #type)``

    Another type than the one given to `tevent_req_create`, and a state that `tevent_req_received` has freed, go to
    talloc's abort function.
    """
    if not is_request(req):
        return None  # type: ignore[return-value]  # only where an abort function returns
    data = req.data
    if data is not None:
        header = data._talloc_chunk
        if header.name is type and header.obj is data:
            state: T = data  # pyright: ignore[reportAssignmentType]  # the name says so
            return state
    checked: T = talloc_get_type_abort(data, type)
    return checked


def tevent_req_callback_data(req: tevent_req, type: type[T]) -> T:
    """
    The private data of the callback, checked against *type*.

    C: ``void *tevent_req_callback_data(struct tevent_req *req, #type)``

    None and an object of another type go to talloc's abort function.
    """
    try:
        pvt: Any = req.pvt
        header = pvt._talloc_chunk
        if header.name is type and header.obj is pvt and req._talloc_chunk.obj is req:
            found: T = pvt  # what it is by far the most often, answered without a call
            return found
    except Exception:  # no chunk, or whatever a user's __getattr__ raises: said below
        pass
    if not is_request(req):
        return None  # type: ignore[return-value]
    data: T = talloc_get_type_abort(getattr(req, "pvt", None), type)
    return data


def tevent_req_callback_data_void(req: tevent_req) -> object:
    """
    The private data of the callback, whatever it is; None before `tevent_req_set_callback`.

    C: ``void *tevent_req_callback_data_void(struct tevent_req *req)``
    """
    return getattr(req, "pvt", None) if is_request(req) else None


def tevent_req_set_callback(req: tevent_req, fn: tevent_req_fn | None, pvt: object) -> None:
    """
    Say what is to be called when *req* finishes.

    C: ``void tevent_req_set_callback(struct tevent_req *req, tevent_req_fn fn, void *pvt)``

    Args:
        req: A request in any state.

        fn: Called with *req*; None for nothing. Replaces an earlier function.

        pvt: Any object, for `tevent_req_callback_data`.

    Callbacks: never called from here; what counts is the function set at the moment of finishing.
    """
    try:
        if req._talloc_chunk.obj is req and type(req) is tevent_req and (fn is None or callable(fn)):
            req.fn = fn  # in line, as every request that is made passes here
            req.pvt = pvt
            return
    except AttributeError:  # no request, or a copy of one
        pass
    if is_request(req):
        raise _uncallable("callback", fn)


def _uncallable(what: str, fn: object) -> TypeError:
    return TypeError(f"the {what} must be callable or None, not {type(fn).__name__}")


def tevent_req_set_print_fn(req: tevent_req, fn: tevent_req_print_fn | None) -> None:
    """
    Let *fn* make the text of `tevent_req_print`; None for the default text.

    C: ``void tevent_req_set_print_fn(struct tevent_req *req, tevent_req_print_fn fn)``
    """
    if fn is not None and not callable(fn):
        raise _uncallable("print function", fn)
    if is_request(req):
        rare_of(req).print = fn


def tevent_req_set_cancel_fn(req: tevent_req, fn: tevent_req_cancel_fn | None) -> None:
    """
    Let *fn* decide what `tevent_req_cancel` does to *req*.

    C: ``void tevent_req_set_cancel_fn(struct tevent_req *req, tevent_req_cancel_fn fn)``
    """
    if fn is not None and not callable(fn):
        raise _uncallable("cancel function", fn)
    if is_request(req):
        rare_of(req).cancel = fn


def tevent_req_cancel(req: tevent_req) -> bool:
    """
    Ask the implementation of *req* to give up.

    C: ``bool tevent_req_cancel(struct tevent_req *req)``

    Returns:
        What the cancel function says; False without one and after `tevent_req_received`. The result of the request
        arrives through the callback as ever.
    """
    if not is_request(req):
        return False
    rare = req.rare
    fn = None if rare is None else rare.cancel
    if trace.request_watchers:
        trace.call_depth_report(trace.TEVENT_CALL_FLOW_REQ_CANCEL, req, req.depth, trace.function_name(fn))
    return False if fn is None else bool(fn(req))


def tevent_req_set_cleanup_fn(req: tevent_req, fn: tevent_req_cleanup_fn | None) -> None:
    """
    Let *fn* release what *req* holds as soon as it is finished, before its callback.

    C: ``void tevent_req_set_cleanup_fn(struct tevent_req *req, tevent_req_cleanup_fn fn)``

    Args:
        req: A request in any state.

        fn: Called with the request and its new state, once for each state above the one that *req* is in now, and at
            last with `TEVENT_REQ_RECEIVED`; the state chunk still exists then. None for nothing.
    """
    if fn is not None and not callable(fn):
        raise _uncallable("cleanup function", fn)
    if is_request(req):
        rare = rare_of(req)
        rare.cleaned = req.status
        rare.cleanup = fn


def tevent_req_done(req: tevent_req) -> None:
    """
    Finish *req* with success.

    C: ``void tevent_req_done(struct tevent_req *req)``

    Callbacks: the cleanup function, then the callback, both before this returns; *req* may be freed by then. There is
    no guard against finishing twice: each call runs the whole sequence.
    """
    frame = _getframe(1)
    where = (frame.f_code, frame.f_lasti)
    try:
        plain = type(req) is tevent_req and req._talloc_chunk.obj is req and req.rare is None and req.op is None
    except AttributeError:  # a copy of a request
        plain = False
    if plain and not trace.request_watchers:
        # finish(), spelled out for a request that has nothing but a callback: 8 % of its life
        req.finished = where
        req.status = DONE
        fn = req.fn
        if fn is not None:
            fn(req)
    elif is_request(req):
        finish(req, DONE, where)


def tevent_req_error(req: tevent_req, error: int) -> bool:
    """
    Finish *req* with an error; with 0, do nothing.

    C: ``bool tevent_req_error(struct tevent_req *req, uint64_t error)``

    Args:
        req: The request.

        error: An errno or any other number of the implementation's own, modulo 2**64.

    Returns:
        False for an *error* of 0, else True.

    Callbacks: as for `tevent_req_done`.
    """
    if not is_request(req):
        return False
    error = error & ERROR_MASK
    if error == 0:
        return False
    frame = _getframe(1)
    req.error = error
    finish(req, USER_ERROR, (frame.f_code, frame.f_lasti))
    return True


def tevent_req_oom(req: tevent_req) -> None:
    """
    Finish *req* for lack of memory.

    C: ``void tevent_req_oom(struct tevent_req *req)``
    """
    if is_request(req):
        frame = _getframe(1)
        finish(req, NO_MEMORY, (frame.f_code, frame.f_lasti))


def tevent_req_nomem(p: object, req: tevent_req) -> TypeIs[None]:
    """
    Finish *req* for lack of memory if *p* is None.

    C: ``bool tevent_req_nomem(const void *p, struct tevent_req *req)``

    Returns:
        True if *p* is None, and *req* finished; else False, and nothing happened.
    """
    if not is_request(req):
        return False
    if p is not None:
        return False
    frame = _getframe(1)
    finish(req, NO_MEMORY, (frame.f_code, frame.f_lasti))
    return True


def tevent_req_notify_callback(req: tevent_req) -> None:
    """
    Call the callback of *req* without changing its state.

    C: ``void tevent_req_notify_callback(struct tevent_req *req)``
    """
    if is_request(req):
        frame = _getframe(1)
        req.finished = (frame.f_code, frame.f_lasti)
        notify(req)


def tevent_req_post(req: tevent_req, ev: tevent_context) -> tevent_req:
    """
    Let the callback of a finished request run from the loop.

    C: ``struct tevent_req *tevent_req_post(struct tevent_req *req, struct tevent_context *ev)``

    Returns:
        *req*, so that a ``_send`` function that is done already can end with
        ``return tevent_req_post(req, ev)``.

    Callbacks: once, as an immediate event of *ev*; a second post moves it behind what was scheduled since.
    """
    try:
        header = req.data._talloc_chunk  # type: ignore[union-attr]  # without a state: below
        plain = (
            type(req) is tevent_req
            and req.rare is None
            and req.status != RECEIVED
            and header.next is not LEFT
            and header.destructor is None
            and req._talloc_chunk.obj is req
            and req._talloc_chunk.next is not LEFT
            and req.im_ev is None
            and ev.im_plain is True
            and ev.ops.schedule_immediate is tevent_common_schedule_immediate
        )
    except AttributeError:  # no state, no request, no context; or a copy of one
        plain = False
    if plain:
        # post() and schedule(), spelled out for a living request with a state, in a context that nobody watches: 15 %
        # of its life
        req.im_run = finish_again
        req.im_ev = ev
        req.im_next = None
        req.im_prev = last = ev.im_last
        if last is None:
            ev.im_first = req
        else:
            last.im_next = req
        ev.im_last = req
    elif is_request(req) and check_context(ev):
        post(req, ev)
    return req


def tevent_req_defer_callback(req: tevent_req, ev: tevent_context | None) -> None:
    """
    Let the next call of the callback run from the loop, as an immediate event of *ev*.

    C: ``void tevent_req_defer_callback(struct tevent_req *req, struct tevent_context *ev)``

    State and cleanup are not deferred. It holds for one call; None clears it.
    """
    if is_request(req) and (ev is None or check_context(ev)):
        rare_of(req).defer_ev = ev


def tevent_req_set_endtime(req: tevent_req, ev: tevent_context, endtime: timeval) -> bool:
    """
    Let *req* fail with `TEVENT_REQ_TIMED_OUT` once *endtime* has passed.

    C: ``bool tevent_req_set_endtime(struct tevent_req *req, struct tevent_context *ev, struct timeval endtime)``

    Args:
        req: The request; the timer becomes its child and ends when it finishes.

        ev: The context whose timer it is.

        endtime: Absolute time since the epoch, not a duration. A time already past fires on the next turn of the loop
            that reaches timers, never inside this call.

    Returns:
        True; False after finishing *req* with `TEVENT_REQ_NO_MEMORY` where a memory limit forbids the timer.
        A second call replaces the first.
    """
    if not is_request(req) or not check_context(ev):
        return False
    rare = rare_of(req)
    drop_timer(rare)
    rare.timer = tevent_add_timer(ev, req, endtime, _timed_out, req)
    if rare.timer is None:
        frame = _getframe(1)
        finish(req, NO_MEMORY, (frame.f_code, frame.f_lasti))
        return False
    return True


def _timed_out(ev: tevent_context, te: tevent_timer, now: timeval, req: tevent_req) -> None:
    finish(req, TIMED_OUT, _TIMED_OUT_AT)


def tevent_req_reset_endtime(req: tevent_req) -> None:
    """
    Drop the endtime of *req*, if it has one.

    C: ``void tevent_req_reset_endtime(struct tevent_req *req)``
    """
    if is_request(req) and req.rare is not None:
        drop_timer(req.rare)


def tevent_req_is_in_progress(req: tevent_req) -> bool:
    """
    Whether *req* is not finished yet.

    C: ``bool tevent_req_is_in_progress(struct tevent_req *req)``
    """
    return is_request(req) and req.status == IN_PROGRESS


def tevent_req_is_error(req: tevent_req) -> tuple[bool, tevent_req_state | None, int | None]:
    """
    How *req* ended.

    C: ``bool tevent_req_is_error(struct tevent_req *req, enum tevent_req_state *state, uint64_t *error)``

    Returns:
        ``(False, None, None)`` after success. Else True, the state, which is also `TEVENT_REQ_IN_PROGRESS` or
        `TEVENT_REQ_RECEIVED`, and the error number if the state is `TEVENT_REQ_USER_ERROR`.
    """
    if not is_request(req):
        return True, None, None
    status = req.status
    if status == DONE:
        return False, None, None
    return True, state_of(status), error_of(req) if status == USER_ERROR else None


def tevent_req_received(req: tevent_req) -> None:
    """
    End the life of the request's state: what a ``_recv`` function does at its end.

    C: ``void tevent_req_received(struct tevent_req *req)``

    The cleanup function runs with `TEVENT_REQ_RECEIVED`, then the state chunk is freed with all below it. The request
    chunk stays until somebody frees it; its callback will not run any more.
    """
    header: Any
    below: Any
    try:
        header = req._talloc_chunk
        below = req.data._talloc_chunk  # type: ignore[union-attr]  # without a state: further down
        plain = (
            type(req) is tevent_req
            and header.obj is req
            and req.rare is None
            and req.im_ev is None
            and header.child is below
            and below.next is None
            and below.child is None
            and below.destructor is None
            and below.extra is None
        )
    except AttributeError:  # no state, no request; or a copy of one
        plain, header, below = False, None, None
    if plain and not trace.request_watchers:
        # receive() and free_chunk(), spelled out for a request that is at rest, as nearly all are here: 13 % of its
        # life. What has a state stands in no queue itself.
        header.destructor = None
        req.status = RECEIVED
        header.child = None
        below.next = LEFT
        below.prev = _HERE
        below.parent = below.obj = req.data = None
    elif is_request(req):
        req._talloc_chunk.destructor = None if req.q_queue is None else leave_when_freed
        receive(req)


_HERE: Final = (tevent_req_received.__code__, 0)


def tevent_req_poll(req: tevent_req, ev: tevent_context) -> bool:
    """
    Run the loop of *ev* until *req* is finished.

    C: ``bool tevent_req_poll(struct tevent_req *req, struct tevent_context *ev)``

    Returns:
        True once it is finished, at once if it is so already. False, with the errno of the loop, where the loop failed:
        ELOOP inside a handler, EAGAIN with a wait timeout of 0 and nothing to do.
    """
    if not is_request(req) or not check_context(ev):
        return False
    while req.status == IN_PROGRESS:
        quietly = ev.lean and ev.level == 0 and not trace.request_watchers
        if (loop_unwatched(ev, req) if quietly else tevent_loop_once(ev)) != 0:
            return False
        if not is_request(req):
            return False
    return True
