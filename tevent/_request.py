# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Asynchronous requests, the inside: the class, and how a request is made, finished, called back and received.

Mirrors ``lib/tevent/tevent_req.c``; the public functions are in `tevent.req`.  A request that user code makes is a
chunk with a state chunk below it.  Its third chunk, the trigger, exists only from the moment somebody looks at the
tree: until then the request itself waits in the context's list of immediates (``im_*``).

A request that the library makes for one of its own operations has no state chunk.  The operation lives in the ``op_*``
slots and its place in a queue in the ``q_*`` slots of the very same object: one allocation for what would otherwise be
three, and one class in the hot path (attribute caches in CPython work per class).

Cost: creating, finishing and freeing a request are O(1); nothing here allocates besides the request, its header and
its state, unless one of the rare features (`rare_features`) is used.
"""

from __future__ import annotations

from sys import _getframe

from talloc_py._chunk import LEFT, RUNNING, birthplaces, chunk, link, make_oldest
from talloc_py._free import steal_internal
from talloc_py.core import (
    TALLOC_CTX,
    bad_chunk,
    destructor_guards,
    free_chunk,
    guarded_by,
    lazy_children,
    library_destructors,
)

from . import trace
from ._base import check_context
from .abort import tevent_abort
from .context import tevent_context
from .immediate import (
    im_remove,
    im_replace,
    tevent_common_schedule_immediate,
    tevent_create_immediate,
    tevent_immediate,
    tevent_reset_immediate,
    tevent_schedule_immediate,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from threading import local
    from types import CodeType
    from typing import Any, Final, TypeVar

    from talloc_py._rare import memlimit

    from .enumerations import (
        TEVENT_REQ_DONE as TEVENT_REQ_DONE,
    )
    from .enumerations import (
        TEVENT_REQ_IN_PROGRESS as TEVENT_REQ_IN_PROGRESS,
    )
    from .enumerations import (
        TEVENT_REQ_INIT as TEVENT_REQ_INIT,
    )
    from .enumerations import (
        TEVENT_REQ_NO_MEMORY as TEVENT_REQ_NO_MEMORY,
    )
    from .enumerations import (
        TEVENT_REQ_RECEIVED as TEVENT_REQ_RECEIVED,
    )
    from .enumerations import (
        TEVENT_REQ_TIMED_OUT as TEVENT_REQ_TIMED_OUT,
    )
    from .enumerations import (
        TEVENT_REQ_USER_ERROR as TEVENT_REQ_USER_ERROR,
    )
    from .enumerations import (
        tevent_req_state,
    )
    from .queue import tevent_queue, tevent_queue_entry
    from .req_profile import tevent_req_profile
    from .timed import tevent_timer

    T = TypeVar("T")
    Location = tuple[CodeType, int]
    tevent_req_fn = Callable[["tevent_req"], object]
    tevent_req_cancel_fn = Callable[["tevent_req"], bool]
    tevent_req_cleanup_fn = Callable[["tevent_req", "tevent_req_state"], object]
    tevent_req_print_fn = Callable[["tevent_req", TALLOC_CTX | None], str | None]
else:
    # The same class without the import of threading.
    from _thread import _local as local

    # The values of the enumeration, which is loaded when somebody is given a member of it.
    TEVENT_REQ_INIT, TEVENT_REQ_IN_PROGRESS, TEVENT_REQ_DONE, TEVENT_REQ_USER_ERROR = 0, 1, 2, 3
    TEVENT_REQ_TIMED_OUT, TEVENT_REQ_NO_MEMORY, TEVENT_REQ_RECEIVED = 4, 5, 6


# Inside, states are plain integers: comparing members of an enumeration costs ten times as much.
IN_PROGRESS: Final = 1
DONE: Final = 2
USER_ERROR: Final = 3
TIMED_OUT: Final = 4
NO_MEMORY: Final = 5
RECEIVED: Final = 6
ERROR_MASK: Final = 2**64 - 1
_allocate = object.__new__
_members: list[tevent_req_state] = []


def state_of(status: int) -> tevent_req_state:
    """A state as callers get to see it."""
    if not _members:
        from .enumerations import tevent_req_state

        _members.extend(tevent_req_state)
    return _members[status]


class operation:
    """
    A kind of request that the library makes itself, e.g. "readv on a stream".

    Stands where a C request has its state's type: a ``_recv`` function knows its own requests by it.

    Attributes:
        name: The type name that C gives the state of such a request.

        target: The class of what it works on.

        check: Says whether an object is a live one of that class; TypeError if it is none at all.

        stop: Called with a request that leaves the operation before it is over (freed, received or timed out).

        start: Called with a request whose turn in a queue has come; None for an operation that needs no queue.

        farewell: The destructor that a received request is left with.
    """

    __slots__ = ("check", "farewell", "name", "start", "stop", "target")

    def __init__(
        self,
        name: str,
        stop: Callable[[tevent_req], None],
        target: type[TALLOC_CTX],
        check: Callable[[object], bool],
        start: Callable[[tevent_req], None] | None = None,
    ) -> None:
        self.name: str = name
        self.stop: Callable[[tevent_req], None] = stop
        self.target: type[TALLOC_CTX] = target
        self.check: Callable[[object], bool] = check
        self.start: Callable[[tevent_req], None] | None = start
        self.farewell: Callable[[tevent_req], int] | None = None if start is None else leave_when_freed


class rare_features:
    """What few requests have; one attribute of the request, tested once on each path."""

    __slots__ = ("cancel", "cleaned", "cleanup", "defer_ev", "print", "profile", "received", "timer", "trigger")

    def __init__(self) -> None:
        self.cancel: tevent_req_cancel_fn | None = None
        self.cleaned: int = 0  # the highest state that the cleanup function has seen
        self.cleanup: tevent_req_cleanup_fn | None = None
        self.defer_ev: tevent_context | None = None
        self.print: tevent_req_print_fn | None = None
        self.profile: tevent_req_profile | None = None
        self.received: bool = False  # or being received: it has no trigger any more
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
        "call_depth",
        "data",
        "error",
        "finished",
        "fn",
        "im_ev",
        "im_next",
        "im_prev",
        "im_run",
        "kind",
        "made_at",
        "made_in",
        "op",
        "op_done",
        "op_err",
        "op_ev",
        "op_given",
        "op_left",
        "op_next",
        "op_private",
        "op_ret",
        "op_sub",
        "op_target",
        "op_total",
        "op_vector",
        "pvt",
        "q_next",
        "q_prev",
        "q_queue",
        "q_triggered",
        "rare",
        "status",
    )

    # Creation sets few of them: most requests live without the rest, and each costs 1 % of a request.  Those marked (?)
    # are unset until somebody sets them.
    fn: tevent_req_fn | None
    pvt: object  # (?)
    status: int
    error: int
    data: TALLOC_CTX | None  # the state chunk; None for the library's operations and after tevent_req_received()
    kind: type[TALLOC_CTX] | operation  # what it was made for; an operation is still in `op` until it is received
    made_in: CodeType  # where it was made: see `created`. Two attributes cost less than a tuple.
    made_at: int
    finished: Location | str | None  # (?)
    call_depth: int  # (?) see `depth`
    rare: rare_features | None

    # The request as a node in a context's list of immediates.
    im_ev: tevent_context | None
    im_next: Any
    im_prev: Any
    im_run: Callable[[tevent_req], None]  # what is called when it is the first there

    # The request as its own entry in a queue.
    q_queue: tevent_queue | None  # None for a request that stands in none
    q_next: tevent_req | tevent_queue_entry | None
    q_prev: tevent_req | tevent_queue_entry | None
    q_ev: tevent_context
    q_triggered: bool

    # A library operation: which, its context and target, what is to be done when the transport has done its part.
    op: operation | None
    op_ev: tevent_context
    op_target: Any
    op_vector: Any  # what is being transferred, in a form of the operation's own
    op_left: int  # bytes of op_vector still to come
    op_total: int  # what the pieces before have come to
    op_done: Callable[[tevent_req], None]  # called when the transport has done its part, with op_ret and op_err
    op_ret: int  # the result
    op_err: int
    op_more: Any  # what else the operation needs, e.g. the destination of a datagram
    op_sub: tevent_req | None  # the request of a backend that works with requests of its own
    op_next: Any  # where the next vector of a PDU comes from
    op_private: Any
    op_given: Any  # the vector of a PDU, where it is a chunk that has to be freed

    def __init__(self) -> None:
        raise TypeError("a tevent_req is made by tevent_req_create() or a _send function, not by calling the class")

    def __repr__(self) -> str:
        from .req_print import summary

        return summary(self)

    def __await__(self) -> Generator[Any, None, tevent_req]:
        """
        Wait until the request is finished, with whatever result; gives the request, for its ``_recv`` function.

        In a task of asyncio, whose loop must drive the context of the request (backend ``asyncio``), and in coroutines
        that `tevent.aio.coroutine_send` runs. Takes the place of the callback. Who is cancelled while waiting cancels
        the request and frees it; `tevent.aio.RequestFreed` where somebody else frees it.
        """
        from .aio import wait_for_request

        return wait_for_request(self)

    @property
    def created(self) -> Location:
        """Where it was made."""
        return self.made_in, self.made_at

    @created.setter
    def created(self, place: Location) -> None:
        self.made_in, self.made_at = place

    @property
    def profile(self) -> tevent_req_profile | None:
        """The profile that records this request, if any."""
        rare = self.rare
        return None if rare is None else rare.profile

    @property
    def depth(self) -> int:
        """
        How many requests this one is nested in.

        Recorded where somebody watches the flow of calls; else nobody has asked yet, and the tree still knows.
        """
        try:
            return self.call_depth
        except AttributeError:
            above = _parent_request(self._talloc_chunk.parent)
            return 0 if above is None else above.depth + 1

    def fire(self) -> None:
        """Run as the head of a context's immediates: take the request off the list, then go on with it."""
        ev: Any = self.im_ev
        following = self.im_next
        ev.im_first = following
        if following is None:
            ev.im_last = None
        else:
            following.im_prev = self.im_next = None
        self.im_ev = None
        run = self.im_run
        run(self)

    def show(self) -> None:
        """Let the trigger, as a chunk, wait in the place of the request: somebody begins to look on."""
        trigger = _trigger_of(self)
        im_replace(self, trigger)
        trigger.handler = _trigger_handler
        trigger.private_data = self
        trigger.name = None
        trigger.detach_ev = None

    def q_fire(self) -> None:
        """Run as the head of a queue."""
        op = self.op
        # It may have timed out while it waited, and only blocks the queue until it is freed; or what it works on is
        # gone, which the abort function is told.
        if self.status == IN_PROGRESS and op is not None and op.check(self.op_target):
            assert op.start is not None
            op.start(self)


def rare_of(req: tevent_req) -> rare_features:
    """The record of rare features of *req*, made on first use."""
    rare = req.rare
    if rare is None:
        rare = req.rare = rare_features()
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
    try:
        if req._talloc_chunk.obj is req:
            return True
    except AttributeError:  # a copy of a request was never a chunk
        pass
    bad_chunk(req)
    return False


def new_request(mem_ctx: TALLOC_CTX | None, made: Location) -> tevent_req | None:
    """
    A request in progress without a state chunk, made at the place *made*.

    Returns None where *mem_ctx* allows no allocation.
    """
    req: tevent_req = _allocate(tevent_req)
    header = link(req, mem_ctx, tevent_req, destroy)
    if header is None:
        return None
    req._talloc_chunk = header  # type: ignore[misc]  # the slot is that of the base class
    req.made_in, req.made_at = made
    req.fn = None
    req.data = None
    req.rare = None
    req.op = None
    req.im_ev = None
    req.q_queue = None
    req.status = IN_PROGRESS
    if trace.request_watchers and not _show_creation(req):
        return None
    return req


def new_operation(
    mem_ctx: TALLOC_CTX | None,
    ev: tevent_context,
    target: TALLOC_CTX,
    op: operation,
    queue: tevent_queue | None = None,
) -> tevent_req | None:
    """
    The request of a library operation: as `new_request`, with what the operation works on and with.

    It says again what new_request() and link() say, in one piece, which takes two thirds of the time: 3 % of the round
    trip of a PDU, in which four requests are made.

    In the common case that *queue* is empty and running, and that nobody looks, the request is its head already (its
    ``q_queue`` is set) and the caller starts it; else `queue_operation` does what is to be done. That, and what the
    loop and the readers of PDUs spell out, saves ten calls of 88: 5 % of a round trip.

    Returns:
        None where *mem_ctx* allows no allocation, or *ev* or *target* are dead and the abort function returned.

    Raises:
        TypeError: *ev* is no context, or *target* not what *op* works on.
    """
    parent: Any
    try:
        # Only a context has True there, and one that nobody watches is alive.
        if ev.im_plain is not True or type(target) is not op.target or target._talloc_chunk.obj is not target:
            raise AttributeError
        if queue is not None and (
            queue.first is not None or queue.running is not True or queue._talloc_chunk.obj is not queue
        ):
            queue = None
        parent = mem_ctx._talloc_chunk  # type: ignore[union-attr]  # None has none
        if parent.obj is not mem_ctx or parent.extra is not None:
            raise AttributeError
    except Exception:  # a copy was never a chunk; a user's __getattr__ raises anything
        if not (check_context(ev) and op.check(target)):
            return None
        parent = queue = None
    req: tevent_req = _allocate(tevent_req)
    if parent is not None:
        header = chunk()
        req._talloc_chunk = header  # type: ignore[misc]
        header.obj = req
        header.name = tevent_req
        header.destructor = destroy
        header.child = None
        header.prev = None
        header.extra = None
        header.parent = parent
        header.next = first = parent.child
        if first is not None:
            first.prev = header
        parent.child = header
    else:
        made = link(req, mem_ctx, tevent_req, destroy)
        if made is None:
            return None
        req._talloc_chunk = made  # type: ignore[misc]
    frame = _getframe(2)
    req.made_in = frame.f_code
    req.made_at = frame.f_lasti
    req.fn = None
    req.data = None
    req.rare = None
    req.im_ev = None
    req.status = IN_PROGRESS
    req.op = op
    req.op_ev = ev
    req.op_target = target
    if trace.request_watchers:
        req.q_queue = None
        return req if _show_creation(req) else None
    req.q_queue = queue
    if queue is not None:
        req.q_triggered = True
        queue.first = req
        queue.last = req
    return req


def _parent_request(owner: chunk | None) -> tevent_req | None:
    """
    The request of which one that was created on *owner* is a subrequest.

    *owner* is its state; a library operation is its own state.
    """
    if owner is None:
        return None
    above = owner if owner.name is tevent_req and owner.obj.op is not None else owner.parent
    return above.obj if above is not None and above.name is tevent_req else None


def _show_creation(req: tevent_req) -> bool:
    """
    Let those who watch requests see a new one: the call depth callback of the thread, and the parent's profile.

    False, and *req* is freed, where a memory limit forbids the profile that it has to have.
    """
    header = req._talloc_chunk
    parent = _parent_request(header.parent)
    req.call_depth = 0 if parent is None else parent.depth + 1
    if parent is not None and parent.rare is not None and parent.rare.profile is not None:
        from .req_profile import profile_for_subrequest

        if not profile_for_subrequest(req, parent):
            header.destructor = None
            free_chunk(header, req.created)
            return False
    # The function that creates it; an operation remembers who has called that.
    creator = req.created[0] if req.op is None else _getframe(2).f_code
    trace.call_depth_report(trace.TEVENT_CALL_FLOW_REQ_CREATE, req, req.call_depth, creator.co_name)
    return True


def made_late(owner: TALLOC_CTX, make: Callable[[], T]) -> T:
    """Let *make* put a chunk below *owner* whatever the memory limits say: in C it was there from the beginning."""
    extra = owner._talloc_chunk.extra
    limit = None if extra is None else extra.limit
    lifted: list[tuple[memlimit, int]] = []
    while limit is not None:
        lifted.append((limit, limit.max_size))
        limit.max_size = 0
        limit = limit.upper
    try:
        return make()
    finally:
        for limit, max_size in lifted:
            limit.max_size = max_size


def _materialise(req: tevent_req) -> None:
    """Make the chunks of *req* that exist only for somebody who looks: its trigger and its queue entry."""
    if req.op is None and _has_trigger(req):
        _trigger_of(req)
    if req.q_queue is not None:
        from .queue import entry_for

        entry_for(req)


def _has_trigger(req: tevent_req) -> bool:
    """Whether *req* can be posted: from the moment it is being received it cannot, whatever state it is put in."""
    if req.op is not None:
        return True
    data = req.data
    if data is None or req.status == RECEIVED or (req.rare is not None and req.rare.received):
        return False
    header = data._talloc_chunk
    if header.next is not LEFT and header.destructor is not RUNNING:
        return True
    # The state is going: with the whole request, where a user's destructor has taken the place of ours, or before it.
    return req._talloc_chunk.next is LEFT


def _trigger_of(req: tevent_req) -> tevent_immediate:
    """The request's immediate as a chunk: its oldest child."""
    rare = rare_of(req)
    trigger = rare.trigger
    if trigger is None:
        trigger = rare.trigger = made_late(req, lambda: tevent_create_immediate(req))
        assert trigger is not None
        make_oldest(trigger._talloc_chunk)
    return trigger


lazy_children[tevent_req] = _materialise


def error_of(req: tevent_req) -> int:
    """The error number of *req*: 0 where none was set."""
    return getattr(req, "error", 0)


def finished_at(req: tevent_req) -> Location | str | None:
    """Where *req* was finished, if that was from outside."""
    return getattr(req, "finished", None)


def _cleanup(req: tevent_req, rare: rare_features | None) -> None:
    """The cleanup step: once for each state, and only upwards."""
    if rare is not None and rare.cleaned >= req.status:
        return
    fn = None if rare is None else rare.cleanup
    if trace.request_watchers:
        trace.call_depth_report(trace.TEVENT_CALL_FLOW_REQ_CLEANUP, req, req.depth, trace.function_name(fn))
    if fn is not None and rare is not None:
        rare.cleaned = req.status
        fn(req, state_of(req.status))


def finish(req: tevent_req, status: int, where: Location | str | None) -> None:
    """The finish sequence: drop the timer, set the state, clean up, stop the profile, notify."""
    if req.op is not None and req.status == IN_PROGRESS:
        req.op.stop(req)  # the operation is not over yet, e.g. it ran into its endtime
        req.op_ret = 0
    req.finished = where
    conclude(req, status)


def conclude(req: tevent_req, status: int) -> None:
    """`finish` for an operation that is over: nothing is left to be stopped, and nobody asked from where."""
    rare = req.rare
    if rare is None and not trace.request_watchers:
        req.status = status
        fn = req.fn
        if fn is not None:
            fn(req)
        return
    if rare is not None:
        drop_timer(rare)
    req.status = status
    _settle(req, rare)


def _settle(req: tevent_req, rare: rare_features | None) -> None:
    """The second half of the finish sequence, for the state that *req* is in."""
    if rare is None:
        _cleanup(req, rare)
    else:
        # The cleanup function may finish the request once more: that changes the state, but this is what is recorded.
        status, where = req.status, finished_at(req)
        _cleanup(req, rare)
        if req._talloc_chunk.obj is not req:
            return  # the cleanup function, or a callback that it led to, has freed the request
        req.finished = where
        if rare.profile is not None:
            from .req_profile import profile_finished

            profile_finished(req, status)
    notify(req)


def notify(req: tevent_req) -> None:
    """Call back, or post where the callback is deferred. Do not touch *req* afterwards: the callback can free it."""
    rare = req.rare
    if rare is not None and rare.defer_ev is not None:
        ev = rare.defer_ev
        rare.defer_ev = None
        post(req, ev)
        return
    fn = req.fn
    if fn is None:
        return
    if trace.request_watchers:
        depth = max(req.depth - 1, 0)
        trace.call_depth_report(trace.TEVENT_CALL_FLOW_REQ_NOTIFY_CB, req, depth, trace.function_name(fn))
    fn(req)


def finish_again(req: tevent_req) -> None:
    """The immediate of *req* runs: the finish sequence once more, for the state it is in."""
    rare = req.rare
    if rare is not None:
        drop_timer(rare)
    elif not trace.request_watchers:
        # What _settle() comes to where there is nothing but a callback: three calls less, 5 % of a request's life.
        fn = req.fn
        if fn is not None:
            fn(req)
        return
    _settle(req, rare)


def error_at(req: tevent_req, error: int, depth: int) -> bool:
    """`tevent_req_error` for the helpers built on it: the location is that of the caller *depth* frames up."""
    frame = _getframe(depth + 1)
    req.error = error & ERROR_MASK
    finish(req, USER_ERROR, (frame.f_code, frame.f_lasti))
    return True


def post(req: tevent_req, ev: tevent_context) -> None:
    # A request that somebody finished once more after it was received has no trigger either, only another state.
    if not _has_trigger(req):
        tevent_abort(ev, f"tevent_req_post() of a request that was received already: {req!r}")
        return
    # The step of an operation that waits for the loop is not lost by it.
    run = req.im_run if _waits(req) else finish_again
    if req._talloc_chunk.next is not LEFT:
        schedule(req, ev, run)
    else:  # The request is dying: a trigger dies with it, it would itself stay in the list.
        req.im_run = run
        tevent_schedule_immediate(_trigger_of(req), ev, _trigger_handler, req)


def schedule(req: tevent_req, ev: tevent_context, run: Callable[[tevent_req], None]) -> None:
    """
    Let the loop of *ev* call *run* with *req*, behind the immediates that wait there already.

    A request that waits already moves there.
    """
    if req.im_ev is not None:
        im_remove(req)
    rare = req.rare
    req.im_run = run
    if rare is not None and rare.trigger is not None:
        if rare.trigger.wrapper is not None:
            # As in C: what was queued through a wrapper stays with it.
            tevent_schedule_immediate(rare.trigger, ev, _trigger_handler, req)
            return
        tevent_reset_immediate(rare.trigger)  # also where it runs just now: somebody may wait for its end
    if ev.im_plain and ev.ops.schedule_immediate is tevent_common_schedule_immediate:
        # im_append(), spelled out
        req.im_ev = ev
        req.im_next = None
        req.im_prev = last = ev.im_last
        if last is None:
            ev.im_first = req
        else:
            last.im_next = req
        ev.im_last = req
        return
    # Somebody watches immediate events, or has them done in another way: show the real thing.
    tevent_schedule_immediate(_trigger_of(req), ev, _trigger_handler, req)


def _trigger_handler(ev: tevent_context, im: tevent_immediate, req: tevent_req) -> None:
    run = req.im_run
    run(req)


def _waits(req: tevent_req) -> bool:
    """Whether *req* stands in a list of immediates, itself or by its trigger."""
    if req.im_ev is not None:
        return True
    trigger = None if req.rare is None else req.rare.trigger
    return trigger is not None and trigger.im_ev is not None


def drop_step(req: tevent_req) -> None:
    """Forget the step of an operation that waits for the loop; a callback that was posted stays."""
    if _waits(req) and req.im_run is not finish_again:
        unschedule(req)


def unschedule(req: tevent_req) -> None:
    """Take *req* off the immediates, if it waits there."""
    if req.im_ev is not None:
        im_remove(req)
    elif req.rare is not None and req.rare.trigger is not None and req.rare.trigger.im_ev is not None:
        tevent_reset_immediate(req.rare.trigger)


def drop_timer(rare: rare_features) -> None:
    timer = rare.timer
    if timer is not None:
        rare.timer = None
        header = timer._talloc_chunk
        if header.obj is timer:
            free_chunk(header, _HERE)


_HERE: Final = (drop_timer.__code__, 0)


def receive(req: tevent_req, keep_state: bool = False) -> None:
    """
    Everything of `tevent_req_received` but the destructor, which a dying request has left behind already.

    With *keep_state* the state chunk is not freed, but becomes the first child to be freed with the request.
    """
    rare = req.rare
    if req.im_ev is not None:
        im_remove(req)
    if rare is not None:
        rare.received = True
        rare.print = rare.cancel = None
        trigger = rare.trigger
        if trigger is not None:
            rare.trigger = None
            if trigger._talloc_chunk.obj is trigger:
                free_chunk(trigger._talloc_chunk, _HERE)
        drop_timer(rare)
    op = req.op
    if op is not None:
        if req.status == IN_PROGRESS or req._talloc_chunk.child is not None:
            op.stop(req)
        req.op = None
        req.kind = op
    req.status = RECEIVED
    try:
        if rare is not None or trace.request_watchers:
            _cleanup(req, rare)
    finally:
        data = req.data
        if data is not None:
            header = data._talloc_chunk
            if keep_state and header.parent is req._talloc_chunk:
                steal_internal(header.parent, header)  # and its destructor can still ask for it
            else:
                try:  # what dies with the state can still see it: a subrequest looks at its parent
                    if header.obj is data:
                        free_chunk(header, _HERE)
                finally:
                    req.data = None


def destroy(req: tevent_req) -> int:
    """The destructor of every request."""
    queue = req.q_queue
    try:
        if queue is not None:
            queue.leave(req)
    finally:  # a trace callback may have raised
        if req.status != RECEIVED:
            if req.data is None or req.data._talloc_chunk.child is None:
                receive(req)
            else:
                _receive_nested(req)
    return 0


def _receive_nested(req: tevent_req) -> None:
    """
    `receive` for a dying request with something below its state.

    As in C the state is freed from inside this destructor, and subrequests on it from inside that. Nested too deeply it
    is left to talloc, which needs no recursion: there the state is the next to go as the first child.
    """
    level = getattr(_nested, "level", 0)
    _nested.level = level + 1
    try:
        receive(req, keep_state=level >= _NESTED_MAX)
    finally:
        _nested.level = level


_nested = local()  # `level`: how many destructors of requests with something below their state are running
_NESTED_MAX: Final = 40


def leave_when_freed(req: tevent_req) -> int:
    """The destructor of an operation that was received, and holds its place in a queue until it is freed."""
    queue = req.q_queue
    if queue is not None:
        if queue.first is queue.last and not trace.request_watchers and req.op_ev.im_plain:
            queue.first = queue.last = None
        else:
            queue.leave(req)
    return 0


def farewell(req: tevent_req) -> Callable[[tevent_req], int] | None:
    """The destructor that a received request is left with."""
    return None if req.q_queue is None else leave_when_freed


# A queued operation waits on the context that it works on: two names for one slot.
tevent_req.q_ev = tevent_req.op_ev  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
# Datagrams have no next vector; one slot less is 16 bytes of each request.
tevent_req.op_more = tevent_req.op_next  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
birthplaces[tevent_req] = "created"
library_destructors.add(destroy)
library_destructors.add(leave_when_freed)


def _end_without_receive(req: tevent_req) -> None:
    """
    What is left to do for a dying request with a destructor of the user's, which has taken the place of `destroy`.

    Neither the cleanup function nor the rest of `receive` runs, as in C. But there the trigger and a queue entry are
    children and die with the request, each in its turn; where the request is these itself, a trigger takes its place
    and an entry ends here.
    """
    if req.im_ev is not None:
        req.show()
    queue = req.q_queue
    if queue is not None:
        queue.leave(req)
    if req.op is not None:
        req.op.stop(req)


destructor_guards[tevent_req] = guarded_by(_end_without_receive)
