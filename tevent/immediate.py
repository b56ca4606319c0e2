# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Immediate events: a handler that the loop calls before it looks at anything else.

Mirrors lib/tevent/tevent_immediate.c.  The queue of a context is a doubly linked list through its nodes, so that
whatever has the three links and a ``fire()`` can stand in it: a `tevent_immediate`, or a request that is posted.
Cost: schedule, cancel and run are O(1), without a system call; about a tenth of a microsecond each.
"""

from __future__ import annotations

from talloc_py.core import TALLOC_CTX, attach, bad_chunk, free_chunk, library_destructors

from ._base import TAG_MASK, check_context, check_handler, handler_name_of, rarely, tevent_context, wrong_type
from .abort import abort_about, free_later, freed_in_handler, tevent_abort, tevent_common_check_double_free
from .debug import TEVENT_DEBUG_TRACE, tevent_debug
from .trace import (
    TEVENT_EVENT_TRACE_ATTACH,
    TEVENT_EVENT_TRACE_BEFORE_HANDLER,
    TEVENT_EVENT_TRACE_DETACH,
    tevent_trace_immediate_callback,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ._base import immediate_node, wrapper_glue

    tevent_immediate_handler_t = Callable[[tevent_context, "tevent_immediate", Any], object]

__all__ = [
    "tevent_common_immediate_cancel",
    "tevent_common_invoke_immediate_handler",
    "tevent_common_loop_immediate",
    "tevent_common_schedule_immediate",
    "tevent_create_immediate",
    "tevent_immediate",
    "tevent_immediate_get_tag",
    "tevent_immediate_set_tag",
    "tevent_reset_immediate",
    "tevent_schedule_immediate",
]

_allocate = object.__new__


class rare_immediate:
    """What few immediates have; one attribute of the event, tested once on each path."""

    __slots__ = ("additional_data", "cancel_fn", "destroyed", "detach_ev", "name", "tag", "threaded", "wrapper")

    def __init__(self) -> None:
        self.cancel_fn: Callable[[tevent_immediate], object] | None = None
        self.additional_data: Any = None
        self.destroyed: bool = False
        self.detach_ev: tevent_context | None = None
        self.name: str | None = None
        self.tag: int = 0
        self.threaded: bool = False
        self.wrapper: wrapper_glue | None = None


class tevent_immediate(TALLOC_CTX):
    """
    An immediate event: idle, or queued on one context.

    C: ``struct tevent_immediate``

    Made by `tevent_create_immediate`.  The attributes are for authors of backends.
    """

    #: The main context on whose list it stands, None while idle; its neighbours there.
    im_ev: tevent_context | None
    im_next: Any
    im_prev: Any
    handler: tevent_immediate_handler_t | None
    private_data: Any
    #: Its handler runs.
    busy: bool
    rare: rare_immediate | None

    if TYPE_CHECKING:
        #: Called before a queued event is taken off its list; set by a backend after scheduling.
        cancel_fn: Callable[[tevent_immediate], object] | None
        #: For the backend.
        additional_data: Any
        #: See `tevent_immediate_set_tag`.
        tag: int
        #: It was freed by its handler, which still runs.
        destroyed: bool
        #: The context whose trace callback still waits for the DETACH of the run that goes on.
        detach_ev: tevent_context | None
        #: A thread has scheduled it and the loop has not taken it over yet: it has an event_ctx, but is on no list.
        threaded: bool
        #: What it was scheduled through, if that was a wrapper context.
        wrapper: wrapper_glue | None
        #: The name that a backend was given for the handler; None: the handler's own.
        name: str | None
    else:
        # What is in `rare` is no slot, which type checkers need not know.
        __slots__ = ("busy", "handler", "im_ev", "im_next", "im_prev", "private_data", "rare")

        cancel_fn = rarely(rare_immediate, "cancel_fn", None)
        additional_data = rarely(rare_immediate, "additional_data", None)
        tag = rarely(rare_immediate, "tag", 0)
        destroyed = rarely(rare_immediate, "destroyed", False)
        detach_ev = rarely(rare_immediate, "detach_ev", None)
        threaded = rarely(rare_immediate, "threaded", False)
        wrapper = rarely(rare_immediate, "wrapper", None)
        name = rarely(rare_immediate, "name", None)

    def __init__(self) -> None:
        raise TypeError("a tevent_immediate is made by tevent_create_immediate(), not by calling the class")

    @property
    def event_ctx(self) -> tevent_context | None:
        """The context on which it is queued, None while idle."""
        return self.im_ev

    @property
    def handler_name(self) -> str | None:
        """The name of the handler, None while idle."""
        if self.im_ev is None:
            return None
        return self.name or handler_name_of(self.handler)

    def fire(self) -> None:
        """Leave the list and run the handler."""
        ev: Any = self.im_ev
        if self.rare is not None or self.busy or not ev.im_plain:
            _fire_watched(self, ev)
            return
        after = self.im_next
        ev.im_first = after
        if after is None:
            ev.im_last = None
        else:
            after.im_prev = self.im_next = None
        handler: Any = self.handler
        private_data = self.private_data
        self.im_ev = None
        self.handler = None
        self.private_data = None
        self.busy = True
        try:
            handler(ev, self, private_data)
        finally:
            self.busy = False
            if self.rare is not None and self.rare.destroyed:
                free_after_handler(self)

    def show(self) -> None:
        """Nothing to do: it is what those who look on are shown."""

    def __repr__(self) -> str:
        freed = self.destroyed or self._talloc_chunk.obj is not self
        state = "freed" if freed else "idle" if self.im_ev is None else f"queued for {self.handler_name}"
        return f"<tevent_immediate at {id(self):#x}, {state}>"


def free_after_handler(event: Any) -> None:
    """Really free an event that was freed while its handler ran."""
    c = event._talloc_chunk
    if c.obj is event:
        c.destructor = None
        free_chunk(c, (free_after_handler.__code__, 0))


def _fire_watched(im: tevent_immediate, ev: tevent_context) -> None:
    """`tevent_immediate.fire` where there is more to it: trace, debug, a wrapper, a handler that runs already."""
    handler, private_data, glue, name = im.handler, im.private_data, im.wrapper, im.handler_name
    if ev.verbose:
        tevent_debug(ev, TEVENT_DEBUG_TRACE, 'Run immediate event "%s": %s\n', name, im)
    _dequeue(im)
    # A handler may schedule its event again and loop: the inner run leaves the rest to the outer one.
    was_busy = im.busy
    im.busy = True
    im.detach_ev = ev
    try:
        handler_ev = ev
        if glue is not None:
            handler_ev = glue.wrap_ev
            glue.before("immediate", im, name)
        try:
            tevent_trace_immediate_callback(ev, im, TEVENT_EVENT_TRACE_BEFORE_HANDLER)
            handler(handler_ev, im, private_data)  # type: ignore[misc]  # a queued immediate has a handler
        finally:
            if glue is not None:
                glue.after("immediate", im, name)
    finally:
        im.busy = was_busy
        try:
            _trace_late_detach(im)
        finally:
            if im.destroyed and not was_busy:
                free_after_handler(im)
            _forget_rare(im)


def _trace_late_detach(im: tevent_immediate) -> bool:
    """Report the DETACH of the run that goes on, unless that is done."""
    ev, im.detach_ev = im.detach_ev, None
    if ev is None:
        return False
    if not ev.gone:
        tevent_trace_immediate_callback(ev, im, TEVENT_EVENT_TRACE_DETACH)
    return True


def _detach(im: tevent_immediate, ev: tevent_context) -> None:
    """Take a queued event off its list, and say so while it still shows what it was."""
    try:
        tevent_trace_immediate_callback(ev, im, TEVENT_EVENT_TRACE_DETACH)
    finally:
        if im.im_ev is ev:
            _dequeue(im)


def _dequeue(im: tevent_immediate) -> None:
    rare = im.rare
    if rare is not None and rare.cancel_fn is not None:
        rare.cancel_fn(im)
    im_remove(im)
    im.handler = im.private_data = None
    if rare is not None:
        rare.name = rare.wrapper = rare.cancel_fn = rare.additional_data = None


def _forget_rare(im: tevent_immediate) -> None:
    """Let an event that has nothing special any more go the short ways again."""
    rare = im.rare
    if rare is not None and not (
        rare.destroyed or rare.threaded or rare.tag or rare.name or rare.detach_ev or rare.wrapper or rare.cancel_fn
    ):
        im.rare = None


def im_append(ev: tevent_context, node: immediate_node) -> None:
    """Put an idle node at the end of the list of *ev*, without telling anybody."""
    node.im_ev = ev
    last = ev.im_last
    node.im_prev = last
    node.im_next = None
    if last is None:
        ev.im_first = node
    else:
        last.im_next = node
    ev.im_last = node


def im_remove(node: immediate_node) -> None:
    """Take a node off the list it stands on, without telling anybody."""
    ev = node.im_ev
    assert ev is not None
    before, after = node.im_prev, node.im_next
    if before is None:
        ev.im_first = after
    else:
        before.im_next = after
    if after is None:
        ev.im_last = before
    else:
        after.im_prev = before
    node.im_ev = node.im_prev = node.im_next = None


def im_replace(node: immediate_node, im: tevent_immediate) -> None:
    """Let the idle *im* stand where *node* stands, without telling anybody."""
    ev = node.im_ev
    assert ev is not None
    im.im_ev = ev
    im.im_prev, im.im_next = before, after = node.im_prev, node.im_next
    if before is None:
        ev.im_first = im
    else:
        before.im_next = im
    if after is None:
        ev.im_last = im
    else:
        after.im_prev = im
    node.im_ev = node.im_prev = node.im_next = None


def detach_immediates(ev: tevent_context) -> None:
    """Take every immediate off the list of a context that goes away."""
    while (node := ev.im_first) is not None:
        if type(node) is not tevent_immediate:
            im_remove(node)
            continue
        node.cancel_fn = None
        _detach(node, ev)


def tevent_create_immediate(mem_ctx: TALLOC_CTX | None) -> tevent_immediate | None:
    """
    Make an idle immediate event.

    C: ``struct tevent_immediate *tevent_create_immediate(TALLOC_CTX *mem_ctx)``

    Args:
        mem_ctx: The owner, None for none: not a context by default.

    Returns:
        The event; None where a memory limit forbids it.
    """
    im: tevent_immediate = _allocate(tevent_immediate)
    if attach(im, mem_ctx, tevent_immediate, _destroy_immediate) is None:
        return None
    im.im_ev = None
    im.im_next = None
    im.im_prev = None
    im.handler = None
    im.private_data = None
    im.rare = None
    im.busy = False
    return im


def _destroy_immediate(im: tevent_immediate) -> int:
    if im.rare is None and not im.busy:
        ev = im.im_ev
        if ev is None:
            return 0
        if ev.im_plain:
            im_remove(im)
            im.handler = im.private_data = None
            return 0
    if im.destroyed:
        tevent_common_check_double_free(im, "tevent_immediate double free")
    elif im.threaded:
        tevent_common_immediate_cancel(im)  # which aborts
        return -1
    else:
        try:
            tevent_common_immediate_cancel(im)
        finally:
            im.destroyed = True
    return free_later(im) if im.busy else 0


library_destructors.add(_destroy_immediate)


def _check_immediate(im: object) -> bool:
    if type(im) is not tevent_immediate:
        wrong_type("im", "tevent_immediate", im)
    return im._talloc_chunk.obj is im or bad_chunk(im) is not None


def tevent_schedule_immediate(
    im: tevent_immediate, ctx: tevent_context, handler: tevent_immediate_handler_t | None, private_data: object
) -> None:
    """
    Let the loop of *ctx* call *handler* once, behind the immediates that are queued already.

    C: ``void tevent_schedule_immediate(struct tevent_immediate *im, struct tevent_context *ctx,
    tevent_immediate_handler_t handler, void *private_data)``

    Args:
        im: The event. If it is queued, here or elsewhere, it is cancelled first.

        ctx: The context.

        handler: Called as ``handler(ctx, im, private_data)``; None only cancels.

        private_data: Any object.

    Callbacks: always from the loop. The event is idle again before *handler* runs, and may be scheduled there.
    """
    try:
        if (
            ctx.im_plain
            and im.im_ev is None
            and type(im) is tevent_immediate
            and im.rare is None
            and ctx.ops.schedule_immediate is tevent_common_schedule_immediate
            and callable(handler)
        ):
            c = im._talloc_chunk
            if c.obj is im:
                c.destructor = _destroy_immediate
                im.im_ev = ctx
                im.handler = handler
                im.private_data = private_data
                im.im_prev = last = ctx.im_last
                if last is None:
                    ctx.im_first = im
                else:
                    last.im_next = im
                ctx.im_last = im
                return
    except AttributeError:  # one of the two is not what it should be; which one is said below
        pass
    if _check_immediate(im) and check_context(ctx):
        check_handler(handler)
        ctx.ops.schedule_immediate(im, ctx, handler, private_data, handler_name_of(handler))


def tevent_common_schedule_immediate(
    im: tevent_immediate,
    ev: tevent_context,
    handler: tevent_immediate_handler_t | None,
    private_data: object,
    handler_name: str,
) -> None:
    """
    Queue *im* on the list of *ev*: the operation of most backends.

    C: ``void tevent_common_schedule_immediate(struct tevent_immediate *im, struct tevent_context *ev,
    tevent_immediate_handler_t handler, void *private_data, const char *handler_name, const char *location)``
    """
    glue = im.wrapper
    tevent_common_immediate_cancel(im)
    if handler is None or im.destroyed or im.threaded:
        return
    if glue is not None and glue.main_ev is ev:
        # As in C: what was queued through a wrapper stays with it.
        im.wrapper = glue
    im.handler = handler
    im.private_data = private_data
    im.name = None if handler_name == handler_name_of(handler) else handler_name
    if ev.trace_immediate is not None:
        # As in C it says where it will be queued, but is not there yet.
        im.im_ev = ev
        try:
            tevent_trace_immediate_callback(ev, im, TEVENT_EVENT_TRACE_ATTACH)
        finally:
            im.im_ev = None
    im_append(ev, im)
    im._talloc_chunk.destructor = _destroy_immediate
    if ev.verbose:
        tevent_debug(ev, TEVENT_DEBUG_TRACE, 'Schedule immediate event "%s": %s\n', handler_name, im)


def tevent_reset_immediate(im: tevent_immediate) -> None:
    """
    Cancel *im* if it is queued; it stays usable.

    C: ``void tevent_reset_immediate(struct tevent_immediate *im)``
    """
    if _check_immediate(im):
        tevent_common_immediate_cancel(im)


def tevent_common_immediate_cancel(im: tevent_immediate) -> None:
    """
    Take *im* off the list it stands on; nothing where it is idle.

    C: ``void tevent_common_immediate_cancel(struct tevent_immediate *im)``

    One that was freed in its own handler goes to the abort function.
    """
    if im.destroyed:
        abort_about(im.im_ev, "tevent_immediate use after free", freed_in_handler(im))
        return
    if im.threaded:
        tevent_abort(im.im_ev, "tevent_immediate is being scheduled by a thread")
        return
    if _trace_late_detach(im):
        return
    ev = im.im_ev
    if ev is None:
        return
    if ev.verbose:
        tevent_debug(ev, TEVENT_DEBUG_TRACE, 'Cancel immediate event %s "%s"\n', im, im.handler_name)
    _detach(im, ev)


def tevent_common_invoke_immediate_handler(im: tevent_immediate) -> tuple[int, bool]:
    """
    Take *im* off its list and run its handler.

    C: ``int tevent_common_invoke_immediate_handler(struct tevent_immediate *im, bool *removed)``

    Returns:
        0, and whether the handler freed *im*, which is gone then.
    """
    ev = im.im_ev
    if ev is None:
        return 0, False
    if im is ev.im_first:
        im.fire()
    else:
        _fire_watched(im, ev)  # which takes it from wherever it stands
    return 0, im._talloc_chunk.obj is not im


def tevent_common_loop_immediate(ev: tevent_context) -> bool:
    """
    Run the first immediate of *ev*.

    C: ``bool tevent_common_loop_immediate(struct tevent_context *ev)``

    Returns:
        Whether there was one.
    """
    node: immediate_node | None = ev.im_first
    if node is None:
        return False
    node.fire()
    return True


def tevent_immediate_set_tag(im: tevent_immediate | None, tag: int) -> None:
    """
    Keep a number, modulo 2**64, for the caller; nothing for None.

    C: ``void tevent_immediate_set_tag(struct tevent_immediate *im, uint64_t tag)``
    """
    if im is not None and _check_immediate(im):
        im.tag = tag & TAG_MASK


def tevent_immediate_get_tag(im: tevent_immediate | None) -> int:
    """
    The number kept by `tevent_immediate_set_tag`, at first 0; 0 for None.

    C: ``uint64_t tevent_immediate_get_tag(const struct tevent_immediate *im)``
    """
    return im.tag if im is not None and _check_immediate(im) else 0
