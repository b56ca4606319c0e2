# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Asynchronous requests: one object between the one who asks and the one who works.

Mirrors ``lib/tevent/tevent_req.c``.  A request that user code makes is a chunk with a state chunk below it.  Its
third chunk, the trigger, exists only from the moment somebody looks at the tree: until then the request itself waits
in the context's list of immediates (``im_*``).

A request that the library makes for one of its own operations has no state chunk.  The operation lives in the ``op_*``
slots and its place in a queue in the ``q_*`` slots of the very same object: one allocation for what would otherwise be
three, and one class in the hot path (attribute caches in CPython work per class).

Cost: creating, finishing and freeing a request are O(1); nothing here allocates besides the request, its header and
its state, unless one of the rare features (`_rare`) is used.
"""

from __future__ import annotations

import sys
from enum import IntEnum

from talloc_py.core import TALLOC_CTX, attach, attach_oldest, bad_chunk, free_chunk, lazy_children, library_destructors
from talloc_py.core import talloc_zero
from talloc_py.names import talloc_get_type_abort

from . import trace
from .abort import tevent_abort
from .context import tevent_context, tevent_loop_once
from .errno import set_errno
from .immediate import im_append, im_remove, tevent_common_schedule_immediate, tevent_immediate
from .immediate import tevent_schedule_immediate
from .timed import tevent_add_timer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import Any, Final, TypeVar

    from .queue import tevent_queue, tevent_queue_entry
    from .req_profile import tevent_req_profile
    from .timed import tevent_timer, timeval

    T = TypeVar("T")
    S = TypeVar("S", bound=TALLOC_CTX)
    Location = tuple[CodeType, int]
    tevent_req_fn = Callable[["tevent_req"], None]
    tevent_req_cancel_fn = Callable[["tevent_req"], bool]
    tevent_req_cleanup_fn = Callable[["tevent_req", "tevent_req_state"], None]
    tevent_req_print_fn = Callable[["tevent_req", TALLOC_CTX | None], str | None]

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
    "tevent_req_state",
]


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


TEVENT_REQ_INIT: Final = tevent_req_state.TEVENT_REQ_INIT
TEVENT_REQ_IN_PROGRESS: Final = tevent_req_state.TEVENT_REQ_IN_PROGRESS
TEVENT_REQ_DONE: Final = tevent_req_state.TEVENT_REQ_DONE
TEVENT_REQ_USER_ERROR: Final = tevent_req_state.TEVENT_REQ_USER_ERROR
TEVENT_REQ_TIMED_OUT: Final = tevent_req_state.TEVENT_REQ_TIMED_OUT
TEVENT_REQ_NO_MEMORY: Final = tevent_req_state.TEVENT_REQ_NO_MEMORY
TEVENT_REQ_RECEIVED: Final = tevent_req_state.TEVENT_REQ_RECEIVED

# Inside, states are plain integers (comparing IntEnum members costs ten times as much); STATES turns one into the
# member that callers get to see.
STATES: Final = tuple(tevent_req_state)
IN_PROGRESS: Final = 1
DONE: Final = 2
USER_ERROR: Final = 3
TIMED_OUT: Final = 4
NO_MEMORY: Final = 5
RECEIVED: Final = 6

_ERROR_MASK: Final = 2**64 - 1
_TIMED_OUT_AT: Final = "tevent_req_timedout"

_allocate = object.__new__


class operation:
    """
    A kind of request that the library makes itself, e.g. "readv on a stream".

    Stands where a C request has its state's type: a ``_recv`` function knows its own requests by it.

    Attributes:
        name: The type name that C gives the state of such a request.

        stop: Called with a request that leaves the operation before it is over (freed, received or timed out).
    """

    __slots__ = ("name", "stop")

    def __init__(self, name: str, stop: Callable[[tevent_req], None]) -> None:
        self.name = name
        self.stop = stop


class _rare:
    """What few requests have; one attribute of the request, tested once on each path."""

    __slots__ = ("cancel", "cleaned", "cleanup", "defer_ev", "print", "profile", "timer", "trigger")

    def __init__(self) -> None:
        self.cancel: tevent_req_cancel_fn | None = None
        self.cleaned = TEVENT_REQ_INIT.value
        self.cleanup: tevent_req_cleanup_fn | None = None
        self.defer_ev: tevent_context | None = None
        self.print: tevent_req_print_fn | None = None
        self.profile: tevent_req_profile | None = None
        self.timer: tevent_timer | None = None
        self.trigger: tevent_immediate | None = None


class tevent_req(TALLOC_CTX):
    """
    A request in progress or finished; made by `tevent_req_create` and by every ``_send`` function.

    C: ``struct tevent_req``
    """

    # The attributes are the library's own; a request is opaque to its users.
    __slots__ = (
        "__weakref__",
        "created",
        "data",
        "depth",
        "error",
        "finished",
        "fn",
        "im_ev",
        "im_next",
        "im_prev",
        "op",
        "op_done",
        "op_err",
        "op_ev",
        "op_given",
        "op_left",
        "op_next",
        "op_private",
        "op_ret",
        "op_step",
        "op_sub",
        "op_target",
        "op_total",
        "op_vector",
        "pvt",
        "q_ev",
        "q_next",
        "q_prev",
        "q_queue",
        "q_trigger",
        "q_triggered",
        "rare",
        "status",
    )

    fn: tevent_req_fn | None
    pvt: object
    status: int
    error: int
    data: TALLOC_CTX | None  # the state chunk; None for the library's operations and after tevent_req_received()
    created: Location
    finished: Location | str | None
    depth: int
    rare: _rare | None

    # The request as a node in a context's list of immediates.
    im_ev: tevent_context | None
    im_next: Any
    im_prev: Any

    # The request as its own entry in a queue.
    q_queue: tevent_queue | None
    q_next: tevent_req | tevent_queue_entry | None
    q_prev: tevent_req | tevent_queue_entry | None
    q_ev: tevent_context
    q_trigger: Callable[[tevent_req], None]
    q_triggered: bool

    # A library operation: which, its context and target, what is to be done when the transport has done its part.
    op: operation | None
    op_ev: tevent_context
    op_target: Any
    op_vector: Any  # what is being transferred, in a form of the operation's own
    op_left: int  # bytes of op_vector still to come
    op_total: int  # the result
    op_done: Callable[[tevent_req, int, int], None]  # (req, ret, err), called by the transport
    op_step: Callable[[tevent_req], None] | None  # what the immediate runs instead of the callback
    op_ret: int
    op_err: int
    op_sub: tevent_req | None  # the request of a backend that works with requests of its own
    op_next: Any  # where the next vector of a PDU comes from
    op_private: Any
    op_given: Any  # the vector of a PDU, where it is a chunk that has to be freed

    def __init__(self) -> None:
        raise TypeError("a tevent_req is made by tevent_req_create() or a _send function, not by calling the class")

    def __repr__(self) -> str:
        from .req_print import summary

        return summary(self)

    @property
    def profile(self) -> tevent_req_profile | None:
        """The profile that records this request, if any."""
        rare = self.rare
        return None if rare is None else rare.profile

    @profile.setter
    def profile(self, value: tevent_req_profile | None) -> None:
        rare_of(self).profile = value

    def fire(self) -> None:
        """Run as the head of a context's immediates: take the request off the list, then go on with it."""
        im_remove(self)
        _triggered(self)

    def q_fire(self) -> None:
        """Run as the head of a queue."""
        self.q_trigger(self)


def rare_of(req: tevent_req) -> _rare:
    """The record of rare features of *req*, made on first use."""
    rare = req.rare
    if rare is None:
        rare = req.rare = _rare()
    return rare


def is_request(req: object) -> bool:
    """
    Whether *req* is a live request; the test that every public function makes.

    Raises:
        TypeError: It is no request at all.

    A freed request goes to the abort function; False if that returns.
    """
    if type(req) is not tevent_req:
        raise TypeError(f"a tevent_req is needed, not {type(req).__name__}")
    if req._talloc_chunk.obj is not req:
        bad_chunk(req)
        return False
    return True


def is_context(ev: object) -> bool:
    """Whether *ev* is a live event context; TypeError for anything else, abort function for a freed one."""
    if type(ev) is not tevent_context:
        raise TypeError(f"a tevent_context is needed, not {type(ev).__name__}")
    if ev._talloc_chunk.obj is not ev:
        bad_chunk(ev)
        return False
    return True


# -- creation ---------------------------------------------------------------------------------------------------------


def new_request(mem_ctx: TALLOC_CTX | None, depth: int) -> tevent_req | None:
    """
    A request in progress without a state chunk; the location recorded is that of the frame *depth* levels up.

    Returns None where *mem_ctx* allows no allocation.
    """
    req: tevent_req = _allocate(tevent_req)
    header = attach(req, mem_ctx, tevent_req, _destroy)
    if header is None:
        return None
    frame = sys._getframe(depth)
    req.created = frame.f_code, frame.f_lasti
    req.fn = req.pvt = req.data = req.finished = req.rare = req.im_ev = req.op = req.op_step = req.q_queue = None
    req.status = IN_PROGRESS
    req.error = 0
    # The parent request is the one whose state the new one hangs on (a library operation is its own state).
    owner = header.parent
    if owner is not None:
        parent = owner.obj
        if type(parent) is not tevent_req or parent.op is None:
            owner = owner.parent
            parent = None if owner is None else owner.obj
        if type(parent) is tevent_req:
            _inherit(req, parent)
            return req
    req.depth = 0
    if trace.call_depth_users:
        trace.call_depth_report(trace.TEVENT_CALL_FLOW_REQ_CREATE, req, 0, frame.f_code.co_name)
    return req


def _inherit(req: tevent_req, parent: tevent_req) -> None:
    """What a subrequest takes over from the request whose state it was created on."""
    req.depth = parent.depth + 1
    if parent.rare is not None and parent.rare.profile is not None:
        from .req_profile import profile_for_subrequest

        profile_for_subrequest(req, parent)
    if trace.call_depth_users:
        trace.call_depth_report(trace.TEVENT_CALL_FLOW_REQ_CREATE, req, req.depth, req.created[0].co_name)


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
    req = new_request(mem_ctx, 2)
    if req is None:
        return None, None  # type: ignore[return-value]  # one check, of the request, has to do as in C
    try:
        state = talloc_zero(req, type)
    except BaseException:
        free_chunk(req._talloc_chunk, req.created)
        raise
    if state is None:
        free_chunk(req._talloc_chunk, req.created)
        return None, None  # type: ignore[return-value]
    req.data = state
    if req.rare is not None and req.rare.profile is not None:
        from .req_profile import profile_named

        profile_named(req)
    return req, state


def _materialise(req: tevent_req) -> None:
    """Make the chunks of *req* that exist only for somebody who looks: its trigger and its queue entry."""
    if req.data is not None:
        _trigger_of(req)
    if req.q_queue is not None:
        from .queue import entry_for

        entry_for(req)


def _trigger_of(req: tevent_req) -> tevent_immediate:
    """The request's immediate as a chunk: its oldest child."""
    rare = rare_of(req)
    trigger = rare.trigger
    if trigger is None:
        trigger = rare.trigger = _allocate(tevent_immediate)
        trigger.init()
        attach_oldest(trigger, req, tevent_immediate, tevent_immediate.destroy)
    return trigger


lazy_children[tevent_req] = _materialise


# -- state, data, callback ---------------------------------------------------------------------------------------------


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
            return data  # type: ignore[return-value]  # the name says so
    return talloc_get_type_abort(data, type)


def tevent_req_callback_data(req: tevent_req, type: type[T]) -> T:
    """
    The private data of the callback, checked against *type*.

    C: ``void *tevent_req_callback_data(struct tevent_req *req, #type)``

    None and an object of another type go to talloc's abort function.
    """
    if not is_request(req):
        return None  # type: ignore[return-value]
    pvt = req.pvt
    if type is tevent_req and pvt.__class__ is tevent_req and pvt._talloc_chunk.obj is pvt:
        return pvt  # type: ignore[return-value]  # by far the most common question, answered without a call
    return talloc_get_type_abort(pvt, type)  # type: ignore[arg-type]


def tevent_req_callback_data_void(req: tevent_req) -> object:
    """
    The private data of the callback, whatever it is; None before `tevent_req_set_callback`.

    C: ``void *tevent_req_callback_data_void(struct tevent_req *req)``
    """
    return req.pvt if is_request(req) else None


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
    if type(req) is not tevent_req or req._talloc_chunk.obj is not req:
        if not is_request(req):
            return
    if fn is not None and not callable(fn):
        raise TypeError(f"the callback must be callable or None, not {type(fn).__name__}")
    req.fn = fn
    req.pvt = pvt


def tevent_req_set_print_fn(req: tevent_req, fn: tevent_req_print_fn | None) -> None:
    """
    Let *fn* make the text of `tevent_req_print`; None for the default text.

    C: ``void tevent_req_set_print_fn(struct tevent_req *req, tevent_req_print_fn fn)``
    """
    if is_request(req):
        rare_of(req).print = fn


def tevent_req_set_cancel_fn(req: tevent_req, fn: tevent_req_cancel_fn | None) -> None:
    """
    Let *fn* decide what `tevent_req_cancel` does to *req*.

    C: ``void tevent_req_set_cancel_fn(struct tevent_req *req, tevent_req_cancel_fn fn)``
    """
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
    if trace.call_depth_users:
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
    if is_request(req):
        rare = rare_of(req)
        rare.cleaned = req.status
        rare.cleanup = fn


def _cleanup(req: tevent_req, rare: _rare | None) -> None:
    """The cleanup step: once for each state, and only upwards."""
    if rare is not None and rare.cleaned >= req.status:
        return
    fn = None if rare is None else rare.cleanup
    if trace.call_depth_users and req.status != IN_PROGRESS:
        trace.call_depth_report(trace.TEVENT_CALL_FLOW_REQ_CLEANUP, req, req.depth, trace.function_name(fn))
    if fn is not None and rare is not None and req.status != IN_PROGRESS:
        rare.cleaned = req.status
        fn(req, STATES[req.status])


# -- finishing --------------------------------------------------------------------------------------------------------


def finish(req: tevent_req, status: int, where: Location | str | None) -> None:
    """The finish sequence: drop the timer, set the state, clean up, stop the profile, notify."""
    if req.op is not None and req.status == IN_PROGRESS:
        req.op.stop(req)  # the operation is not over yet, e.g. it ran into its endtime
    req.finished = where
    conclude(req, status)


def conclude(req: tevent_req, status: int) -> None:
    """`finish` for an operation that is over: nothing is left to be stopped, and nobody asked from where."""
    rare = req.rare
    if rare is None and not trace.call_depth_users:
        req.status = status
        fn = req.fn
        if fn is not None:
            fn(req)
        return
    if rare is not None:
        _drop_timer(rare)
    req.status = status
    _settle(req, rare)


def _settle(req: tevent_req, rare: _rare | None) -> None:
    """The second half of the finish sequence, for the state that *req* is in."""
    _cleanup(req, rare)
    if rare is not None and rare.profile is not None:
        from .req_profile import profile_finished

        profile_finished(req)
    notify(req)


def notify(req: tevent_req) -> None:
    """Call back, or post where the callback is deferred. Nothing may touch *req* afterwards: the callback can free it."""
    rare = req.rare
    if rare is not None and rare.defer_ev is not None:
        ev = rare.defer_ev
        rare.defer_ev = None
        _post(req, ev)
        return
    fn = req.fn
    if fn is None:
        return
    if trace.call_depth_users:
        depth = max(req.depth - 1, 0)
        trace.call_depth_report(trace.TEVENT_CALL_FLOW_REQ_NOTIFY_CB, req, depth, trace.function_name(fn))
    fn(req)


def _triggered(req: tevent_req) -> None:
    """The immediate of *req* runs: the next step of an operation, or the finish sequence once more."""
    step = req.op_step
    if step is not None:
        req.op_step = None
        step(req)
        return
    rare = req.rare
    if rare is not None:
        _drop_timer(rare)
    _settle(req, rare)


def tevent_req_done(req: tevent_req) -> None:
    """
    Finish *req* with success.

    C: ``void tevent_req_done(struct tevent_req *req)``

    Callbacks: the cleanup function, then the callback, both before this returns; *req* may be freed by then. There is no
    guard against finishing twice: each call runs the whole sequence.
    """
    if is_request(req):
        frame = sys._getframe(1)
        finish(req, DONE, (frame.f_code, frame.f_lasti))


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
    error = error & _ERROR_MASK
    if error == 0:
        return False
    frame = sys._getframe(1)
    req.error = error
    finish(req, USER_ERROR, (frame.f_code, frame.f_lasti))
    return True


def error_at(req: tevent_req, error: int, depth: int) -> bool:
    """`tevent_req_error` for the helpers built on it: the location is that of the caller *depth* frames up."""
    frame = sys._getframe(depth + 1)
    req.error = error & _ERROR_MASK
    finish(req, USER_ERROR, (frame.f_code, frame.f_lasti))
    return True


def tevent_req_oom(req: tevent_req) -> None:
    """
    Finish *req* for lack of memory.

    C: ``void tevent_req_oom(struct tevent_req *req)``
    """
    if is_request(req):
        frame = sys._getframe(1)
        finish(req, NO_MEMORY, (frame.f_code, frame.f_lasti))


def tevent_req_nomem(p: object, req: tevent_req) -> bool:
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
    frame = sys._getframe(1)
    finish(req, NO_MEMORY, (frame.f_code, frame.f_lasti))
    return True


def tevent_req_notify_callback(req: tevent_req) -> None:
    """
    Call the callback of *req* without changing its state.

    C: ``void tevent_req_notify_callback(struct tevent_req *req)``
    """
    if is_request(req):
        frame = sys._getframe(1)
        req.finished = (frame.f_code, frame.f_lasti)
        notify(req)


# -- post and defer ---------------------------------------------------------------------------------------------------


def tevent_req_post(req: tevent_req, ev: tevent_context) -> tevent_req:
    """
    Let the callback of a finished request run from the loop.

    C: ``struct tevent_req *tevent_req_post(struct tevent_req *req, struct tevent_context *ev)``

    Returns:
        *req*, so that a ``_send`` function that is done already can end with
        ``return tevent_req_post(req, ev)``.

    Callbacks: once, as an immediate event of *ev*; a second post moves it behind what was scheduled since.
    """
    if is_request(req) and is_context(ev):
        _post(req, ev)
    return req


def _post(req: tevent_req, ev: tevent_context) -> None:
    if req.status == RECEIVED:
        tevent_abort(ev, f"tevent_req_post() of a request that was received already: {req!r}")
        return
    schedule(req, ev)


def schedule(req: tevent_req, ev: tevent_context) -> None:
    """Put *req* at the end of the immediates of *ev*; a request that waits already moves there."""
    if req.im_ev is not None:
        im_remove(req)
    rare = req.rare
    if ev.im_plain and ev.ops.schedule_immediate is tevent_common_schedule_immediate:
        if rare is not None and rare.trigger is not None and rare.trigger.im_ev is not None:
            tevent_schedule_immediate(rare.trigger, ev, None, None)
        im_append(ev, req)
        return
    # Somebody watches immediate events, or has them done in another way: show the real thing.
    tevent_schedule_immediate(_trigger_of(req), ev, _trigger_handler, req)


def _trigger_handler(ev: tevent_context, im: tevent_immediate, req: tevent_req) -> None:
    _triggered(req)


def unschedule(req: tevent_req) -> None:
    """Take *req* off the immediates, if it waits there."""
    if req.im_ev is not None:
        im_remove(req)
    elif req.rare is not None and req.rare.trigger is not None and req.rare.trigger.im_ev is not None:
        tevent_schedule_immediate(req.rare.trigger, req.rare.trigger.im_ev, None, None)


def tevent_req_defer_callback(req: tevent_req, ev: tevent_context | None) -> None:
    """
    Let the next call of the callback run from the loop, as an immediate event of *ev*.

    C: ``void tevent_req_defer_callback(struct tevent_req *req, struct tevent_context *ev)``

    State and cleanup are not deferred. It holds for one call; None clears it.
    """
    if is_request(req) and (ev is None or is_context(ev)):
        rare_of(req).defer_ev = ev


# -- endtime ----------------------------------------------------------------------------------------------------------


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
    if not is_request(req) or not is_context(ev):
        return False
    rare = rare_of(req)
    _drop_timer(rare)
    rare.timer = tevent_add_timer(ev, req, endtime, _timed_out, req)
    if rare.timer is None:
        frame = sys._getframe(1)
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
        _drop_timer(req.rare)


def _drop_timer(rare: _rare) -> None:
    timer = rare.timer
    if timer is not None:
        rare.timer = None
        header = timer._talloc_chunk
        if header.obj is timer:
            free_chunk(header, _HERE)


_HERE: Final = (_drop_timer.__code__, 0)


# -- result and end ---------------------------------------------------------------------------------------------------


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
    return True, STATES[status], req.error if status == USER_ERROR else None


def tevent_req_received(req: tevent_req) -> None:
    """
    End the life of the request's state: what a ``_recv`` function does at its end.

    C: ``void tevent_req_received(struct tevent_req *req)``

    The cleanup function runs with `TEVENT_REQ_RECEIVED`, then the state chunk is freed with all below it. The request
    chunk stays until somebody frees it; its callback will not run any more.
    """
    if is_request(req):
        # A request that stands in a queue by itself leaves it when it is freed, not before.
        if req.q_queue is None:
            req._talloc_chunk.destructor = None
        receive(req)


def receive(req: tevent_req) -> None:
    """Everything of `tevent_req_received` but the destructor, which a dying request has left behind already."""
    rare = req.rare
    if req.im_ev is not None:
        im_remove(req)
    if rare is not None:
        rare.print = rare.cancel = None
        trigger = rare.trigger
        if trigger is not None:
            rare.trigger = None
            free_chunk(trigger._talloc_chunk, _HERE)
        _drop_timer(rare)
    op = req.op
    if op is not None:
        if req.status == IN_PROGRESS or req._talloc_chunk.child is not None:
            op.stop(req)
        req.op = req.op_step = None
    req.status = RECEIVED
    try:
        if rare is not None or trace.call_depth_users:
            _cleanup(req, rare)
    finally:
        data = req.data
        if data is not None:
            req.data = None
            header = data._talloc_chunk
            if header.obj is data:
                free_chunk(header, _HERE)


def _destroy(req: tevent_req) -> int:
    """The destructor of every request."""
    if req.q_queue is not None:
        from .queue import leave

        leave(req)
    if req.status != RECEIVED:
        receive(req)
    return 0


library_destructors.add(_destroy)


def tevent_req_poll(req: tevent_req, ev: tevent_context) -> bool:
    """
    Run the loop of *ev* until *req* is finished.

    C: ``bool tevent_req_poll(struct tevent_req *req, struct tevent_context *ev)``

    Returns:
        True once it is finished, at once if it is so already. False, with the errno of the loop, where the loop failed:
        ELOOP inside a handler, EAGAIN with a wait timeout of 0 and nothing to do.
    """
    if not is_request(req) or not is_context(ev):
        return False
    while req.status == IN_PROGRESS:
        if tevent_loop_once(ev) != 0:
            return False
    return True
