# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Queues that let requests take turns.

Mirrors ``lib/tevent/tevent_queue.c``.  An entry belongs to its request and leaves the queue when it is freed, so the
next one starts when the owner of the request lets go of it, not when the request finishes.

The list is doubly linked through the entries (``q_*``): adding, removing and triggering are O(1).  Two classes stand in
it: `tevent_queue_entry`, a chunk, for what users add, and `tevent_req` itself for the library's own queued operations,
which need no chunk for that; `entry_for` makes one for somebody who looks at the tree.
"""

from __future__ import annotations

from talloc_py._chunk import birthplaces, caller, make_oldest, shared
from talloc_py.core import (
    TALLOC_CTX,
    attach,
    bad_chunk,
    destructor_guards,
    free_chunk,
    guarded_by,
    lazy_children,
    library_destructors,
)
from talloc_py.string import talloc_strdup

from . import trace
from ._base import check_context
from ._request import DONE, is_request, made_late
from .abort import tevent_abort
from .context import tevent_context
from .immediate import tevent_create_immediate, tevent_immediate, tevent_schedule_immediate
from .req import tevent_req, tevent_req_create, tevent_req_done, tevent_req_oom, tevent_req_post, tevent_req_received
from .trace import (
    TEVENT_CALL_FLOW_REQ_QUEUE_ENTER,
    TEVENT_CALL_FLOW_REQ_QUEUE_LEAVE,
    TEVENT_CALL_FLOW_REQ_QUEUE_TRIGGER,
    TEVENT_EVENT_TRACE_ATTACH,
    TEVENT_EVENT_TRACE_BEFORE_HANDLER,
    TEVENT_EVENT_TRACE_DETACH,
    tevent_trace_queue_callback,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import Any

    from .enumerations import tevent_event_trace_point

    tevent_queue_trigger_fn_t = Callable[[tevent_req, Any], object]
    Node = "tevent_queue_entry | tevent_req"

__all__ = [
    "tevent_queue",
    "tevent_queue_add",
    "tevent_queue_add_entry",
    "tevent_queue_add_optimize_empty",
    "tevent_queue_create",
    "tevent_queue_entry",
    "tevent_queue_entry_get_tag",
    "tevent_queue_entry_set_tag",
    "tevent_queue_entry_untrigger",
    "tevent_queue_length",
    "tevent_queue_running",
    "tevent_queue_start",
    "tevent_queue_stop",
    "tevent_queue_wait_recv",
    "tevent_queue_wait_send",
]

_TAG_MASK = 2**64 - 1
_allocate = object.__new__


class tevent_queue(TALLOC_CTX):
    """
    A queue of requests, of which only the first may work.

    C: ``struct tevent_queue``
    """

    __slots__ = ("created", "first", "immediate", "last", "name", "running", "waiting")

    #: Where it was made, for messages.
    created: tuple[CodeType, int]
    name: str
    running: bool
    first: tevent_queue_entry | tevent_req | None
    last: tevent_queue_entry | tevent_req | None
    #: How many stand behind the first.
    waiting: int
    #: None as long as nobody needs it and nobody looks: see `_materialise`.
    immediate: tevent_immediate | None

    def __init__(self) -> None:
        raise TypeError("a tevent_queue is made by tevent_queue_create(), not by calling the class")

    def __repr__(self) -> str:
        if self._talloc_chunk.obj is not self:
            return "<tevent_queue, freed>"
        state = "running" if self.running else "stopped"
        return f"<tevent_queue {self.name!r} {state}, {self.length} entries>"

    @property
    def length(self) -> int:
        """How many entries there are, the working one included."""
        return 0 if self.first is None else self.waiting + 1

    def leave(self, node: tevent_queue_entry | tevent_req) -> None:
        """Take *node* out and let the next one have its turn."""
        head = self.first
        assert head is not None
        if trace.request_watchers or not head.q_ev.im_plain:
            node = entry_for(node)
            try:
                _report_leaving(self, node)
            finally:
                _step_out(self, node)
        else:
            _step_out(self, node)


class tevent_queue_entry(TALLOC_CTX):
    """
    The place of a request in a queue: a child of that request.

    C: ``struct tevent_queue_entry``
    """

    __slots__ = ("private_data", "q_ev", "q_next", "q_prev", "q_queue", "q_triggered", "req", "tag", "trigger")

    req: tevent_req
    trigger: tevent_queue_trigger_fn_t | None
    private_data: object
    tag: int
    q_queue: tevent_queue | None
    q_next: tevent_queue_entry | tevent_req | None
    q_prev: tevent_queue_entry | tevent_req | None
    q_ev: tevent_context
    q_triggered: bool

    def __init__(self) -> None:
        raise TypeError("a tevent_queue_entry is made by tevent_queue_add_entry(), not by calling the class")

    def q_fire(self) -> None:
        """Run as the head of the queue; an entry without a trigger only blocks those behind it."""
        trigger = self.trigger
        if trigger is not None:
            trigger(self.req, self.private_data)


def _is_queue(queue: object) -> bool:
    if type(queue) is not tevent_queue:
        raise TypeError(f"a tevent_queue is needed, not {type(queue).__name__}")
    if queue._talloc_chunk.obj is not queue:
        bad_chunk(queue)
        return False
    return True


def _is_entry(entry: object) -> bool:
    if type(entry) is not tevent_queue_entry:
        raise TypeError(f"a tevent_queue_entry is needed, not {type(entry).__name__}")
    if entry._talloc_chunk.obj is not entry:
        bad_chunk(entry)
        return False
    return True


# -- the list ---------------------------------------------------------------------------------------------------------


def _link(queue: tevent_queue, node: tevent_queue_entry | tevent_req, ev: tevent_context) -> None:
    last = queue.last
    node.q_queue = queue
    node.q_ev = ev
    node.q_triggered = False
    if last is None:
        queue.first = node
    else:
        node.q_prev = last
        last.q_next = node
        queue.waiting += 1
    queue.last = node


def _unlink(queue: tevent_queue, node: tevent_queue_entry | tevent_req) -> None:
    prev, next = _neighbours(queue, node)
    if prev is None:
        queue.first = next
    else:
        prev.q_next = next
    if next is None:
        queue.last = prev
    else:
        next.q_prev = prev
    node.q_queue = node.q_prev = node.q_next = None
    if queue.first is not None:
        queue.waiting -= 1


def _neighbours(queue: tevent_queue, node: Any) -> tuple[Any, Any]:
    """Who stands before and behind *node*. The ends are known by the queue: what they have beyond is not looked at."""
    return None if queue.first is node else node.q_prev, None if queue.last is node else node.q_next


def _step_out(queue: tevent_queue, node: tevent_queue_entry | tevent_req) -> None:
    _unlink(queue, node)
    head = queue.first
    if queue.running and head is not None and not head.q_triggered:
        _schedule(queue, head)


def _report_leaving(queue: tevent_queue, node: tevent_queue_entry | tevent_req) -> None:
    head = queue.first
    assert head is not None
    if trace.request_watchers:
        # As in C it is the head of the queue that is reported, with the function of the one that leaves.
        req = _request_of(head)
        trace.call_depth_report(TEVENT_CALL_FLOW_REQ_QUEUE_LEAVE, req, req.depth, _trigger_name(node))
    _trace(head.q_ev, node, TEVENT_EVENT_TRACE_DETACH)


def _schedule(queue: tevent_queue, head: tevent_queue_entry | tevent_req) -> None:
    ev = head.q_ev
    if ev._talloc_chunk.obj is ev:  # a context freed before its queue can run nothing any more
        if queue.immediate is None:
            _materialise(queue)
        assert queue.immediate is not None
        tevent_schedule_immediate(queue.immediate, ev, _immediate_trigger, queue)


def _immediate_trigger(ev: tevent_context, im: tevent_immediate, queue: tevent_queue) -> None:
    head = queue.first
    # The head may run already: it was added to a queue that had just become empty while this immediate was pending.
    if not queue.running or head is None or head.q_triggered:
        return
    head.q_triggered = True
    if trace.request_watchers:
        req = _request_of(head)
        trace.call_depth_report(TEVENT_CALL_FLOW_REQ_QUEUE_TRIGGER, req, req.depth, _trigger_name(head))
    _trace(ev, head, TEVENT_EVENT_TRACE_BEFORE_HANDLER)
    head.q_fire()


def _request_of(node: tevent_queue_entry | tevent_req) -> tevent_req:
    return node.req if isinstance(node, tevent_queue_entry) else node


def _trigger_name(node: tevent_queue_entry | tevent_req) -> str:
    if isinstance(node, tevent_queue_entry) and node.trigger is not _run_operation:
        return trace.function_name(node.trigger) or "NULL"
    req = _request_of(node)
    op: Any = req.op or req.kind  # before and after it was received
    return trace.function_name(op.start) or "NULL"


def _trace(ev: tevent_context, node: tevent_queue_entry | tevent_req, point: tevent_event_trace_point) -> None:
    if ev.trace_queue is not None:
        tevent_trace_queue_callback(ev, entry_for(node), point)


def entry_for(node: tevent_queue_entry | tevent_req) -> tevent_queue_entry:
    """The entry of *node* as a chunk: an operation that stands in the queue by itself gets one that takes its place."""
    if type(node) is not tevent_req:
        return node  # type: ignore[return-value]
    entry: tevent_queue_entry = _allocate(tevent_queue_entry)
    made_late(node, lambda: attach(entry, node, tevent_queue_entry, _destroy_entry))
    entry.req = node
    entry.trigger = _run_operation
    entry.private_data = None
    entry.tag = 0
    queue = node.q_queue
    assert queue is not None
    prev, next = _neighbours(queue, node)
    entry.q_queue, entry.q_prev, entry.q_next = queue, prev, next
    entry.q_ev, entry.q_triggered = node.q_ev, node.q_triggered
    if prev is None:
        queue.first = entry
    else:
        prev.q_next = entry
    if next is None:
        queue.last = entry
    else:
        next.q_prev = entry
    node.q_queue = node.q_prev = node.q_next = None
    return entry


def _run_operation(req: tevent_req, private_data: object) -> None:
    req.q_fire()


def _destroy_entry(entry: tevent_queue_entry) -> int:
    if entry.q_queue is not None:
        entry.q_queue.leave(entry)
    return 0


birthplaces[tevent_queue] = "created"
library_destructors.add(_destroy_entry)
# A destructor of the user's must not leave a dead entry in line.
destructor_guards[tevent_queue_entry] = guarded_by(_destroy_entry)


# -- the queue --------------------------------------------------------------------------------------------------------


def tevent_queue_create(mem_ctx: TALLOC_CTX | None, name: str | None) -> tevent_queue | None:
    """
    Make a queue that runs and is empty.

    C: ``struct tevent_queue *tevent_queue_create(TALLOC_CTX *mem_ctx, const char *name)``

    Args:
        mem_ctx: The owner.

        name: Names the queue for people; copied.

    Returns:
        The queue; None for a *name* of None, and where a memory limit forbids it.
    """
    queue: tevent_queue = _allocate(tevent_queue)
    header = attach(queue, mem_ctx, tevent_queue, _destroy_queue)
    if header is None:
        return None
    queue.created = shared(caller(1))
    queue.running = True
    queue.waiting = 0
    queue.first = queue.last = queue.immediate = None
    made = False
    try:
        if type(name) is str and name.isascii() and "\0" not in name and header.extra is None:
            queue.name = name
            made = True
        elif name is not None:  # a limit may forbid what belongs to a queue
            made = _add_parts(queue, name)
    finally:
        if not made:
            header.destructor = None
            free_chunk(header, (tevent_queue_create.__code__, 0))
    return queue if made else None


def _add_parts(queue: tevent_queue, name: str) -> bool:
    """Make the chunks that a queue has below it: its name and its immediate. Whether there was memory for them."""
    copy = talloc_strdup(queue, name)
    immediate = None if copy is None else tevent_create_immediate(queue)
    if copy is None or immediate is None:
        return False
    queue.name = copy
    queue.immediate = immediate
    make_oldest(immediate._talloc_chunk)
    make_oldest(copy._talloc_chunk)
    return True


def _materialise(queue: tevent_queue) -> None:
    """
    Make the chunks of *queue* that exist only for somebody who looks, or needs them.

    Without them a queue takes a third of the memory, and most queues never have to wait for the loop.
    """
    if queue.immediate is None:
        made_late(queue, lambda: _add_parts(queue, queue.name))


lazy_children[tevent_queue] = _materialise


def _destroy_queue(queue: tevent_queue) -> int:
    queue.running = False
    while queue.first is not None:
        node = entry_for(queue.first)
        free_chunk(node._talloc_chunk, (_destroy_queue.__code__, 0))
        if queue.first is node:
            queue.leave(node)  # a destructor of the user's has refused
    return 0


library_destructors.add(_destroy_queue)
destructor_guards[tevent_queue] = guarded_by(_destroy_queue)


def _add(
    queue: tevent_queue,
    ev: tevent_context,
    req: tevent_req,
    trigger: tevent_queue_trigger_fn_t | None,
    private_data: object,
    direct: bool,
) -> tevent_queue_entry | None:
    if not (_is_queue(queue) and check_context(ev) and is_request(req)):
        return None
    if trigger is not None and not callable(trigger):
        raise TypeError(f"the trigger must be callable or None, not {type(trigger).__name__}")
    entry: tevent_queue_entry = _allocate(tevent_queue_entry)
    if attach(entry, req, tevent_queue_entry, _destroy_entry) is None:
        return None
    entry.req = req
    entry.trigger = trigger
    entry.private_data = private_data
    entry.tag = 0
    entry.q_queue = None
    try:
        _enter(queue, entry, ev, direct and req.fn is None)
    except BaseException:
        # Raised by a trigger that ran here: the entry stays. By a trace callback before it was in line: nothing does.
        if entry.q_queue is None and entry._talloc_chunk.obj is entry:
            free_chunk(entry._talloc_chunk, (_add.__code__, 0))
        raise
    return entry


def _enter(queue: tevent_queue, node: tevent_queue_entry | tevent_req, ev: tevent_context, direct: bool) -> None:
    """Append *node* and start the head if that is due: at once where *direct* allows it, else by an immediate."""
    if trace.request_watchers:
        req = _request_of(node)
        trace.call_depth_report(TEVENT_CALL_FLOW_REQ_QUEUE_ENTER, req, req.depth, _trigger_name(node))
    traced = ev.trace_queue is not None
    was_empty = queue.first is None
    if traced and type(node) is not tevent_req:
        _trace(ev, node, TEVENT_EVENT_TRACE_ATTACH)
    _link(queue, node, ev)
    if traced and type(node) is tevent_req:
        node = entry_for(node)
        _trace(ev, node, TEVENT_EVENT_TRACE_ATTACH)
    if not queue.running:
        return
    head = queue.first
    if head is None or head.q_triggered:
        return
    # A callback that is set already would have to be called from inside this function: then not directly.
    if direct and was_empty:
        node.q_triggered = True
        if traced:
            _trace(ev, node, TEVENT_EVENT_TRACE_BEFORE_HANDLER)
        node.q_fire()
        return
    _schedule(queue, head)


def queue_operation(queue: tevent_queue, req: tevent_req) -> tevent_req | None:
    """
    Let the operation *req* wait for its turn in *queue*, where it is started; at once if the queue is empty.

    It is the head already where `new_operation` has put it there. Returns *req*; None where *queue* is dead and the
    abort function returned. Then, and where the start raises, no request remains.
    """
    try:
        if req.q_queue is not None:
            start: Any = req.op.start  # type: ignore[union-attr]  # it is an operation
            start(req)
        elif _is_queue(queue):
            _enter(queue, req, req.q_ev, True)
        else:
            free_chunk(req._talloc_chunk, req.created)
            return None
    except BaseException:
        free_chunk(req._talloc_chunk, req.created)
        raise
    return req


def tevent_queue_add(
    queue: tevent_queue,
    ev: tevent_context,
    req: tevent_req,
    trigger: tevent_queue_trigger_fn_t | None,
    private_data: object,
) -> bool:
    """
    Let *req* wait for its turn.

    C: ``bool tevent_queue_add(struct tevent_queue *queue, struct tevent_context *ev, struct tevent_req *req,
    tevent_queue_trigger_fn_t trigger, void *private_data)``

    Args:
        queue: The queue.

        ev: The context whose immediate event runs *trigger*.

        req: The request; its free takes the entry out of the queue. It may be added more than once.

        trigger: Called with *req* and *private_data* when the entry is the first of a running queue; None for an entry
            that only blocks those behind it.

        private_data: Any object.

    Returns:
        True; False where a memory limit forbids it.

    Callbacks: *trigger* always runs from the loop.
    """
    return _add(queue, ev, req, trigger, private_data, False) is not None


def tevent_queue_add_entry(
    queue: tevent_queue,
    ev: tevent_context,
    req: tevent_req,
    trigger: tevent_queue_trigger_fn_t | None,
    private_data: object,
) -> tevent_queue_entry | None:
    """
    As `tevent_queue_add`, but returns the entry, a child of *req* that may be freed on its own.

    C: ``struct tevent_queue_entry *tevent_queue_add_entry(struct tevent_queue *queue, struct tevent_context *ev,
    struct tevent_req *req, tevent_queue_trigger_fn_t trigger, void *private_data)``
    """
    return _add(queue, ev, req, trigger, private_data, False)


def tevent_queue_add_optimize_empty(
    queue: tevent_queue,
    ev: tevent_context,
    req: tevent_req,
    trigger: tevent_queue_trigger_fn_t | None,
    private_data: object,
) -> tevent_queue_entry | None:
    """
    As `tevent_queue_add_entry`, but run *trigger* at once if the queue runs, is empty and *req* has no callback yet.

    C: ``struct tevent_queue_entry *tevent_queue_add_optimize_empty(struct tevent_queue *queue,
    struct tevent_context *ev, struct tevent_req *req, tevent_queue_trigger_fn_t trigger, void *private_data)``

    Returns:
        The entry; do not touch it if *trigger* may have run: it may have freed the request and the entry with it.
    """
    return _add(queue, ev, req, trigger, private_data, True)


def tevent_queue_entry_untrigger(entry: tevent_queue_entry) -> None:
    """
    Let the head of a stopped queue be triggered once more after `tevent_queue_start`.

    C: ``void tevent_queue_entry_untrigger(struct tevent_queue_entry *entry)``

    A queue that runs, and an entry that is not its head, go to the abort function.
    """
    if not _is_entry(entry):
        return
    queue = entry.q_queue
    if queue is None or queue.running:
        tevent_abort(None, "tevent_queue_entry_untrigger() needs a stopped queue")
    elif queue.first is not entry:
        tevent_abort(None, "tevent_queue_entry_untrigger() needs the first entry of the queue")
    else:
        entry.q_triggered = False


def tevent_queue_start(queue: tevent_queue) -> None:
    """
    Let a stopped queue run again; its head is triggered from the loop if it was not before.

    C: ``void tevent_queue_start(struct tevent_queue *queue)``
    """
    if not _is_queue(queue) or queue.running:
        return
    queue.running = True
    head = queue.first
    if head is not None and not head.q_triggered:
        _schedule(queue, head)


def tevent_queue_stop(queue: tevent_queue) -> None:
    """
    Trigger no entry of *queue* until `tevent_queue_start`; one that works already goes on.

    C: ``void tevent_queue_stop(struct tevent_queue *queue)``
    """
    if _is_queue(queue):
        queue.running = False


def tevent_queue_length(queue: tevent_queue) -> int:
    """
    The number of entries, the working one included. O(1).

    C: ``size_t tevent_queue_length(struct tevent_queue *queue)``
    """
    return queue.length if _is_queue(queue) else 0


def tevent_queue_running(queue: tevent_queue) -> bool:
    """
    Whether *queue* triggers its entries, as it does from its creation on.

    C: ``bool tevent_queue_running(struct tevent_queue *queue)``
    """
    return _is_queue(queue) and queue.running


def tevent_queue_entry_set_tag(qe: tevent_queue_entry | None, tag: int) -> None:
    """
    Keep a number, modulo 2**64, for the caller; nothing for an entry of None.

    C: ``void tevent_queue_entry_set_tag(struct tevent_queue_entry *qe, uint64_t tag)``
    """
    if qe is not None and _is_entry(qe):
        qe.tag = tag & _TAG_MASK


def tevent_queue_entry_get_tag(qe: tevent_queue_entry | None) -> int:
    """
    The number kept by `tevent_queue_entry_set_tag`, at first 0; 0 for an entry of None.

    C: ``uint64_t tevent_queue_entry_get_tag(const struct tevent_queue_entry *qe)``
    """
    return qe.tag if qe is not None and _is_entry(qe) else 0


# -- waiting for a turn -----------------------------------------------------------------------------------------------


class tevent_queue_wait_state(TALLOC_CTX):
    """The state of `tevent_queue_wait_send`, which needs none of its own."""

    __slots__ = ()


def tevent_queue_wait_send(mem_ctx: TALLOC_CTX | None, ev: tevent_context, queue: tevent_queue) -> tevent_req | None:
    """
    Wait for a turn in *queue*, and hold the queue from then on until the request is freed.

    C: ``struct tevent_req *tevent_queue_wait_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
    struct tevent_queue *queue)``

    Callbacks: from the loop, also where the queue is empty.
    """
    if not (_is_queue(queue) and check_context(ev)):
        return None
    req, _ = tevent_req_create(mem_ctx, tevent_queue_wait_state)
    if req is None:
        return None
    if not tevent_queue_add(queue, ev, req, tevent_queue_wait_trigger, None):
        tevent_req_oom(req)
        return tevent_req_post(req, ev)
    return req


def tevent_queue_wait_trigger(req: tevent_req, private_data: object) -> None:
    """The turn has come."""
    tevent_req_done(req)


def tevent_queue_wait_recv(req: tevent_req) -> bool:
    """
    Whether the turn of *req* has come; the queue stays held until *req* is freed.

    C: ``bool tevent_queue_wait_recv(struct tevent_req *req)``
    """
    if not is_request(req):
        return False
    ok = req.status == DONE
    tevent_req_received(req)
    return ok
