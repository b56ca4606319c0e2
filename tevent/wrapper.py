# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Wrapper contexts: a context that looks like another one and has a say before and after each of its handlers.

Mirrors ``lib/tevent/tevent_wrapper.c``; deprecated upstream.  The events that are added through a wrapper stand in the
lists of the main context and run in its loop.  A process-wide stack says which wrappers are in use: it grows as
handlers and uses (`tevent_context_push_use`) nest, and a wrapper is in it at most once.

**A wrapper is busy exactly while it is on the stack.**  Then a free of it is put off until it is taken off.

Cost: O(1), but freeing a wrapper is O(events of the main context).  A handler without a wrapper pays a None test.
"""

from __future__ import annotations

import errno

from talloc_py.core import TALLOC_CTX, caller, library_destructors, location_text, talloc_free, talloc_zero
from talloc_py.names import talloc_get_name

from ._base import check_context, main_of, tevent_context, update_lean, update_plain, wrong_type
from .abort import free_later, tevent_abort, tevent_common_check_double_free
from .backend import tevent_ops
from .context import new_context
from .debug import TEVENT_DEBUG_FATAL, TEVENT_DEBUG_TRACE, tevent_debug
from .errno import set_errno
from .fd import (
    tevent_common_fd_disarm,
    tevent_common_fd_get_flags,
    tevent_common_fd_set_close_fn,
    tevent_common_fd_set_flags,
    tevent_fd_set_flags,
)
from .immediate import im_remove, tevent_common_immediate_cancel, tevent_immediate
from .timed import rare_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from .fd import tevent_fd
    from .signal import tevent_signal
    from .timed import tevent_timer, timeval

    S = TypeVar("S", bound=TALLOC_CTX)

__all__ = [
    "tevent_context_is_wrapper",
    "tevent_context_pop_use",
    "tevent_context_push_use",
    "tevent_context_same_loop",
    "tevent_context_wrapper_create",
    "tevent_wrapper_main_ev",
    "tevent_wrapper_ops",
]

#: TEVENT_WRAPPER_STACK_SIZE of C.
STACK_SIZE = 32

EMPTY = "tevent_wrapper stack already empty"


class tevent_wrapper_ops:
    """
    What a wrapper does around the handlers of its events.

    C: ``struct tevent_wrapper_ops``

    Args:
        name: For people.

        before_use: Called as ``before_use(wrap_ev, private_state, main_ev) -> bool`` by `tevent_context_push_use`;
            False refuses the use.

        after_use: Called as ``after_use(wrap_ev, private_state, main_ev)`` by `tevent_context_pop_use`.

        before_fd_handler: Called as ``before_fd_handler(wrap_ev, private_state, main_ev, fde, flags, handler_name)``.

        after_fd_handler: The same after the handler, also if that has freed its event.

        before_timer_handler: Called as ``before_timer_handler(wrap_ev, private_state, main_ev, te, requested_time,
            trigger_time, handler_name)``.

        after_timer_handler: The same after the handler.

        before_immediate_handler: Called as ``before_immediate_handler(wrap_ev, private_state, main_ev, im,
            handler_name)``.

        after_immediate_handler: The same after the handler.

        before_signal_handler: Called as ``before_signal_handler(wrap_ev, private_state, main_ev, se, signum, count,
            siginfo, handler_name)``.

        after_signal_handler: The same after the handler.

    All are required.
    """

    __slots__ = (
        "after_fd_handler", "after_immediate_handler", "after_signal_handler", "after_timer_handler", "after_use",
        "before_fd_handler", "before_immediate_handler", "before_signal_handler", "before_timer_handler", "before_use",
        "name",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        before_use: Callable[[tevent_context, Any, tevent_context], bool],
        after_use: Callable[[tevent_context, Any, tevent_context], object],
        before_fd_handler: Callable[[tevent_context, Any, tevent_context, tevent_fd, int, str], object],
        after_fd_handler: Callable[[tevent_context, Any, tevent_context, tevent_fd, int, str], object],
        before_timer_handler: Callable[
            [tevent_context, Any, tevent_context, tevent_timer, timeval, timeval, str], object
        ],
        after_timer_handler: Callable[
            [tevent_context, Any, tevent_context, tevent_timer, timeval, timeval, str], object
        ],
        before_immediate_handler: Callable[[tevent_context, Any, tevent_context, tevent_immediate, str], object],
        after_immediate_handler: Callable[[tevent_context, Any, tevent_context, tevent_immediate, str], object],
        before_signal_handler: Callable[
            [tevent_context, Any, tevent_context, tevent_signal, int, int, Any, str], object
        ],
        after_signal_handler: Callable[
            [tevent_context, Any, tevent_context, tevent_signal, int, int, Any, str], object
        ],
    ) -> None:
        self.name: str = name
        self.before_use: Callable[[tevent_context, Any, tevent_context], bool] = before_use
        self.after_use: Callable[[tevent_context, Any, tevent_context], object] = after_use
        self.before_fd_handler: Callable[[tevent_context, Any, tevent_context, tevent_fd, int, str], object] = (
            before_fd_handler
        )
        self.after_fd_handler: Callable[[tevent_context, Any, tevent_context, tevent_fd, int, str], object] = (
            after_fd_handler
        )
        self.before_timer_handler: Callable[
            [tevent_context, Any, tevent_context, tevent_timer, timeval, timeval, str], object
        ] = before_timer_handler
        self.after_timer_handler: Callable[
            [tevent_context, Any, tevent_context, tevent_timer, timeval, timeval, str], object
        ] = after_timer_handler
        self.before_immediate_handler: Callable[
            [tevent_context, Any, tevent_context, tevent_immediate, str], object
        ] = before_immediate_handler
        self.after_immediate_handler: Callable[[tevent_context, Any, tevent_context, tevent_immediate, str], object] = (
            after_immediate_handler
        )
        self.before_signal_handler: Callable[
            [tevent_context, Any, tevent_context, tevent_signal, int, int, Any, str], object
        ] = before_signal_handler
        self.after_signal_handler: Callable[
            [tevent_context, Any, tevent_context, tevent_signal, int, int, Any, str], object
        ] = after_signal_handler

    def __repr__(self) -> str:
        return f"<tevent_wrapper_ops {self.name!r}>"


class wrapper_glue:
    """What makes a context a wrapper; also marks the events that were added through it."""

    __slots__ = ("busy", "destroyed", "main_ev", "ops", "orphan", "private_state", "unpushed", "wrap_ev")

    def __init__(self, wrap_ev: tevent_context, main_ev: tevent_context, ops: tevent_wrapper_ops) -> None:
        self.wrap_ev: tevent_context = wrap_ev
        #: None once the main context is gone, or the wrapper itself.
        self.main_ev: tevent_context | None = main_ev
        #: The main context was freed, and not only initialised again.
        self.orphan: bool = False
        self.ops: tevent_wrapper_ops = ops
        self.private_state: Any = None
        #: On the use stack.
        self.busy: bool = False
        #: Freed, maybe not yet really.
        self.destroyed: bool = False
        #: Handlers that run although the wrapper could not be put on the stack, and the abort function returned.
        self.unpushed: int = 0

    def before(self, kind: str, *args: object) -> None:
        """Put the wrapper on the use stack and call its ``before_<kind>_handler``; if that raises it is off again."""
        if not _push(self.wrap_ev, self):
            self.unpushed += 1
        try:
            getattr(self.ops, f"before_{kind}_handler")(self.wrap_ev, self.private_state, self.main_ev, *args)
        except BaseException:
            self.leave()
            raise

    def after(self, kind: str, *args: object) -> None:
        """
        Call ``after_<kind>_handler``, unless the main context was freed, and take the wrapper off the stack.

        A main context that was initialised again is None for it, as in C.
        """
        try:
            if not self.orphan:
                getattr(self.ops, f"after_{kind}_handler")(self.wrap_ev, self.private_state, self.main_ev, *args)
        finally:
            self.leave()

    def leave(self) -> None:
        """Take the wrapper off the stack after a handler of its own."""
        if self.unpushed:
            self.unpushed -= 1
            return
        depth = next((i for i, use in enumerate(_stack) if use.glue is self), None)
        if depth is None:
            # The handler has taken it off itself.
            tevent_abort(self.main_ev, "tevent_wrapper_pop_use mismatch ev!" if _stack else EMPTY)
            return
        above = _stack[depth + 1 :]
        # What the handler has left there would stand in everybody's way for ever.
        del _stack[depth + 1 :]
        for use in above:
            if use.glue is not None:
                use.glue.busy = False
        try:
            if above:
                tevent_abort(self.main_ev, "tevent_wrapper_pop_use mismatch ev!")
        finally:
            _pop()


class _use:
    """An entry of the use stack: a wrapper, or a plain context that only takes up a place."""

    __slots__ = ("ev", "glue")

    def __init__(self, ev: tevent_context, glue: wrapper_glue | None) -> None:
        self.ev = ev
        self.glue = glue


_stack: list[_use] = []


def _push(ev: tevent_context, glue: wrapper_glue | None) -> bool:
    """Put a context on the use stack; False if the abort function had to be called and returned."""
    if glue is not None and glue.busy:
        tevent_abort(ev, "wrapper already busy!")
        return False
    if len(_stack) >= STACK_SIZE:
        tevent_abort(ev, "TEVENT_WRAPPER_STACK_SIZE overflow")
        return False
    if glue is not None:
        glue.busy = True
    _stack.append(_use(ev, glue))
    return True


def _pop() -> None:
    """Take the top off the use stack; a wrapper that was freed while it was there goes now."""
    glue = _stack.pop().glue
    if glue is not None:
        glue.busy = False
        if glue.destroyed:
            talloc_free(glue.wrap_ev)


# The operations of a wrapper context.


def _usable(ev: tevent_context, function: str) -> tevent_context | None:
    """The main context for a new event; None, after an abort or with EINVAL, where none can be added."""
    glue = glue_of(ev)
    if glue.destroyed:
        tevent_abort(ev, f"{function} wrapper use after free")
        return None
    if glue.main_ev is None:
        set_errno(errno.EINVAL)
    return glue.main_ev


def glue_of(ev: tevent_context) -> wrapper_glue:
    """What makes *ev*, which is a wrapper, one."""
    glue = ev.wrapper
    assert isinstance(glue, wrapper_glue)
    return glue


def _context_init(ev: tevent_context) -> int:
    tevent_abort(ev, "tevent_wrapper_glue_context_init() called")
    set_errno(errno.ENOSYS)
    return -1


def _add_fd(
    ev: tevent_context,
    mem_ctx: TALLOC_CTX | None,
    fd: int,
    flags: int,
    handler: Any,
    private_data: object,
    handler_name: str,
) -> tevent_fd | None:
    main_ev = _usable(ev, "add_fd")
    if main_ev is None:
        return None
    fde: tevent_fd | None = main_ev.ops.add_fd(main_ev, mem_ctx, fd, flags, handler, private_data, handler_name)
    if fde is not None:
        fde.wrapper = ev.wrapper
    return fde


def _add_timer(
    ev: tevent_context,
    mem_ctx: TALLOC_CTX | None,
    next_event: timeval,
    handler: Any,
    private_data: object,
    handler_name: str,
) -> tevent_timer | None:
    main_ev = _usable(ev, "add_timer")
    if main_ev is None:
        return None
    te: tevent_timer | None = main_ev.ops.add_timer(main_ev, mem_ctx, next_event, handler, private_data, handler_name)
    if te is not None:
        rare_of(te).wrapper = ev.wrapper
    return te


def _schedule_immediate(
    im: tevent_immediate, ev: tevent_context, handler: Any, private_data: object, handler_name: str
) -> None:
    main_ev = _usable(ev, "scheduke_immediate")  # Spelt as upstream spells it.
    if main_ev is None:
        if not glue_of(ev).destroyed:
            tevent_abort(ev, "tevent_schedule_immediate() on a wrapper whose main context is gone")
            set_errno(errno.EINVAL)
        return
    glue = glue_of(ev)
    main_ev.ops.schedule_immediate(im, main_ev, handler, private_data, handler_name)
    if glue.main_ev is None:
        # Somebody who looks on has freed the wrapper meanwhile.
        tevent_common_immediate_cancel(im)
    elif handler is not None:
        im.wrapper = glue


def _add_signal(
    ev: tevent_context,
    mem_ctx: TALLOC_CTX | None,
    signum: int,
    sa_flags: int,
    handler: Any,
    private_data: object,
    handler_name: str,
) -> tevent_signal | None:
    main_ev = _usable(ev, "add_signal")
    if main_ev is None:
        return None
    se: tevent_signal | None = main_ev.ops.add_signal(
        main_ev, mem_ctx, signum, sa_flags, handler, private_data, handler_name
    )
    if se is not None:
        se.wrapper = glue_of(ev)
    return se


def _loop_once(ev: tevent_context) -> int:
    tevent_abort(ev, "tevent_wrapper_glue_loop_once() called")
    set_errno(errno.ENOSYS)
    return -1


def _loop_wait(ev: tevent_context) -> int:
    tevent_abort(ev, "tevent_wrapper_glue_loop_wait() called")
    set_errno(errno.ENOSYS)
    return -1


_wrapper_ops = tevent_ops(
    context_init=_context_init,
    add_fd=_add_fd,
    set_fd_close_fn=tevent_common_fd_set_close_fn,
    get_fd_flags=tevent_common_fd_get_flags,
    set_fd_flags=tevent_common_fd_set_flags,
    add_timer=_add_timer,
    schedule_immediate=_schedule_immediate,
    add_signal=_add_signal,
    loop_once=_loop_once,
    loop_wait=_loop_wait,
)


# The life of a wrapper context.


def _wrapper_destructor(wrap_ev: tevent_context) -> int:
    glue = glue_of(wrap_ev)
    if glue.destroyed and glue.busy:
        tevent_common_check_double_free(wrap_ev, "tevent_context wrapper double free")
    glue.destroyed = True
    if glue.busy:
        return free_later(wrap_ev)
    wrap_ev.gone = True
    main_ev = glue.main_ev
    if main_ev is None:
        return 0
    tevent_debug(
        wrap_ev,
        TEVENT_DEBUG_TRACE,
        'Destroying wrapper context %s "%s"\n',
        wrap_ev,
        talloc_get_name(glue.private_state),
    )
    glue.main_ev = None
    main_ev.wrappers.remove(glue)
    if main_ev.threaded_contexts or main_ev.scheduled_immediates:
        from .threads import cut_threaded_contexts

        cut_threaded_contexts(main_ev, wrap_ev)
    _detach_events(glue, main_ev)
    return 0


library_destructors.add(_wrapper_destructor)


def cut_wrappers(main_ev: tevent_context) -> None:
    """Part a main context that goes away from its wrappers."""
    for glue in main_ev.wrappers:
        glue.main_ev = None
        glue.orphan = main_ev.gone
    main_ev.wrappers.clear()


def _detach_events(glue: wrapper_glue, main_ev: tevent_context) -> None:
    """Take the events of one wrapper out of the lists of its main context; their chunks stay."""
    for fde in main_ev.fd_events:
        if fde.wrapper is glue:
            tevent_fd_set_flags(fde, 0)
            tevent_common_fd_disarm(fde)
            fde.wrapper = None
    for te in main_ev.timer_events:
        if te.wrapper is glue:
            main_ev.timers.remove(te)
            rare_of(te).wrapper = te.event_ctx = None
    for im in main_ev.immediate_events:
        if isinstance(im, tevent_immediate) and im.wrapper is glue:
            im_remove(im)
            im.handler = im.private_data = im.name = im.wrapper = im.cancel_fn = None
    for se in list(main_ev.signal_events):
        if se.wrapper is glue:
            from .signal import tevent_cleanup_pending_signal_handlers

            tevent_cleanup_pending_signal_handlers(se)


def tevent_context_wrapper_create(
    main_ev: tevent_context, mem_ctx: TALLOC_CTX | None, ops: tevent_wrapper_ops, type: type[S]
) -> tuple[tevent_context | None, S]:
    """
    Make a wrapper context of *main_ev*.  Deprecated upstream.

    C: ``struct tevent_context *tevent_context_wrapper_create(struct tevent_context *main_ev, TALLOC_CTX *mem_ctx,
    const struct tevent_wrapper_ops *ops, void *pstate, type)``

    Args:
        main_ev: A context that is no wrapper and does not allow nested loops.

        mem_ctx: The owner of the wrapper.

        ops: What is done around the handlers of the events that are added through the wrapper.

        type: The class of the state that *ops* get.

    Returns:
        The wrapper and its state, which it owns.  (None, None) with errno EINVAL and a debug message where *main_ev* is
        a wrapper itself or allows nesting.

    Ownership: to free the wrapper detaches its events; while one of its handlers runs, the free is put off.
    """
    nothing: Any = None
    if not check_context(main_ev):
        return None, nothing
    if not _is_wrapper_ops(ops):
        wrong_type("ops", "tevent_wrapper_ops", ops)
    refused = "stacking not allowed" if main_ev.wrapper is not None else None
    if refused is None and main_ev.nesting_allowed:
        refused = "conflicts with nesting"
    if refused is not None:
        where = location_text(caller(1))
        tevent_debug(main_ev, TEVENT_DEBUG_FATAL, "%s: %s() %s\n", "_tevent_context_wrapper_create", where, refused)
        set_errno(errno.EINVAL)
        return None, nothing
    wrap_ev = new_context(mem_ctx, _wrapper_ops, None)
    if wrap_ev is None:
        return None, nothing
    glue = wrapper_glue(wrap_ev, main_ev, ops)
    wrap_ev.wrapper = glue
    wrap_ev._talloc_chunk.destructor = _wrapper_destructor
    update_lean(wrap_ev)
    update_plain(wrap_ev)
    state: S | None = None
    try:
        state = talloc_zero(wrap_ev, type)
    finally:
        if state is None:
            glue.main_ev = None
            talloc_free(wrap_ev)
    if state is None:
        return None, nothing
    glue.private_state = state
    main_ev.wrappers.append(glue)
    return wrap_ev, state


def _is_wrapper_ops(ops: object) -> bool:
    return isinstance(ops, tevent_wrapper_ops)


def tevent_context_is_wrapper(ev: tevent_context) -> bool:
    """
    Whether *ev* was made by `tevent_context_wrapper_create`.

    C: ``bool tevent_context_is_wrapper(struct tevent_context *ev)``
    """
    return check_context(ev) and ev.wrapper is not None


def tevent_wrapper_main_ev(ev: tevent_context | None) -> tevent_context | None:
    """
    *ev* itself; of a wrapper the main context, None if that is gone.

    C: ``struct tevent_context *tevent_wrapper_main_ev(struct tevent_context *ev)``
    """
    return None if ev is None else main_of(ev)


def tevent_context_same_loop(ev1: tevent_context | None, ev2: tevent_context | None) -> bool:
    """
    Whether the events of two contexts run in the same loop; False if there is none.

    C: ``bool tevent_context_same_loop(struct tevent_context *ev1, struct tevent_context *ev2)``
    """
    main_ev = tevent_wrapper_main_ev(ev1)
    return main_ev is not None and main_ev is tevent_wrapper_main_ev(ev2)


def tevent_context_push_use(ev: tevent_context) -> bool:
    """
    Use a wrapper outside its handlers: its ``before_use`` runs now, its ``after_use`` at `tevent_context_pop_use`.

    C: ``bool tevent_context_push_use(struct tevent_context *ev)``

    Args:
        ev: A wrapper that is not in use; or a plain context, which only takes up a place.

    Returns:
        False if ``before_use`` refused, or the wrapper's main context is gone: then there is nothing to pop.

    The uses of a process are a stack with `STACK_SIZE` places.
    """
    if not check_context(ev):
        return False
    if ev.wrapper is None:
        return _push(ev, None)
    glue = glue_of(ev)
    if glue.main_ev is None or not _push(ev, glue):
        return False
    agreed = False
    try:
        agreed = bool(glue.ops.before_use(ev, glue.private_state, glue.main_ev))
    finally:
        if not agreed:
            glue.leave()
    return agreed


def tevent_context_pop_use(ev: tevent_context) -> None:
    """
    End the use that `tevent_context_push_use` began last.

    C: ``void tevent_context_pop_use(struct tevent_context *ev)``

    Args:
        ev: The context that was pushed last; another one goes to the abort function and nothing is taken off.
    """
    if type(ev) is not tevent_context:
        wrong_type("ev", "tevent_context", ev)
    # *ev* may be freed by now: it is only compared.
    main_ev = None if ev.wrapper is None else ev.wrapper.main_ev
    if not _stack:
        tevent_abort(main_ev, EMPTY)
        return
    if _stack[-1].ev is not ev:
        tevent_abort(main_ev, "tevent_wrapper_pop_use mismatch ev!")
        return
    glue = _stack[-1].glue
    _pop()
    if glue is not None and glue.main_ev is not None:
        glue.ops.after_use(glue.wrap_ev, glue.private_state, glue.main_ev)
