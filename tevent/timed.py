# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Times, and events that fire when one has come.

Mirrors lib/tevent/tevent_timed.c.  Times are those of the wall clock, as in C.  A timer fires once and is freed after
its handler, whoever owns it.
Cost: add O(log n), cancel O(1), fire O(log n) in the number of pending timers; one look at the clock per iteration
where the first timer is not a zero timer.
"""

from __future__ import annotations

from talloc_py._chunk import birthplaces, caller
from talloc_py.core import TALLOC_CTX, attach, bad_chunk, free_chunk, library_destructors

from . import _sys
from ._base import NEVER_ENDING, TAG_MASK, check_context, check_handler, handler_name_of, tevent_context, wrong_type
from .abort import tevent_abort, tevent_common_check_double_free
from .debug import TEVENT_DEBUG_TRACE, tevent_debug
from .immediate import free_after_handler
from .trace import (
    TEVENT_EVENT_TRACE_ATTACH,
    TEVENT_EVENT_TRACE_BEFORE_HANDLER,
    TEVENT_EVENT_TRACE_DETACH,
    tevent_trace_timer_callback,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import Any, NamedTuple

    from ._base import wrapper_glue

    tevent_timer_handler_t = Callable[[tevent_context, "tevent_timer", "timeval", Any], object]

    class timeval(NamedTuple):
        """
        A time of the wall clock or a span: seconds and microseconds.

        C: ``struct timeval``
        """

        tv_sec: int
        tv_usec: int

else:
    from collections import namedtuple

    # What typing.NamedTuple makes, without the import of typing.
    timeval = namedtuple("timeval", ("tv_sec", "tv_usec"), module=__name__)  # noqa: PYI024
    timeval.__annotations__ = {"tv_sec": int, "tv_usec": int}
    timeval.__doc__ = """
        A time of the wall clock or a span: seconds and microseconds.

        C: ``struct timeval``
        """
    timeval.tv_sec.__doc__ = "Seconds."
    timeval.tv_usec.__doc__ = "Microseconds."

__all__ = [
    "tevent_add_timer",
    "tevent_common_add_timer",
    "tevent_common_add_timer_v2",
    "tevent_common_invoke_timer_handler",
    "tevent_common_loop_timer_delay",
    "tevent_common_no_timeout",
    "tevent_common_timeout_msec",
    "tevent_timer",
    "tevent_timer_get_tag",
    "tevent_timer_set_tag",
    "tevent_timeval_add",
    "tevent_timeval_compare",
    "tevent_timeval_current",
    "tevent_timeval_current_ofs",
    "tevent_timeval_is_zero",
    "tevent_timeval_set",
    "tevent_timeval_until",
    "tevent_timeval_zero",
    "tevent_update_timer",
    "timeval",
]

_allocate = object.__new__
# Half the cost of timeval(...).
_tuple_new: Any = tuple.__new__  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # of what?
_UINT32 = 2**32 - 1
_ZERO = timeval(0, 0)

#: What `run_first_timer` returns where it ran one; else it returns how long to wait.
SERVED = -2
#: The longest wait that the system calls take, in microseconds: 2**31-1 milliseconds.
WAIT_US_MAX = NEVER_ENDING * 1000


# -- times ------------------------------------------------------------------------------------------------------------


def _check_timeval(tv: object, what: str) -> None:
    if not isinstance(tv, timeval):
        wrong_type(what, "timeval", tv)


def from_us(us: int) -> timeval:
    """A number of microseconds as a timeval."""
    tv: timeval = _tuple_new(timeval, divmod(us, 1000000))
    return tv


def tevent_timeval_compare(tv1: timeval, tv2: timeval) -> int:
    """
    Compare two times by seconds, then microseconds.

    C: ``int tevent_timeval_compare(const struct timeval *tv1, const struct timeval *tv2)``

    Returns:
        -1, 0 or 1: *tv1* is earlier, the same, later.
    """
    _check_timeval(tv1, "tv1")
    _check_timeval(tv2, "tv2")
    return (tv1 > tv2) - (tv1 < tv2)


def tevent_timeval_zero() -> timeval:
    """
    The zero time, ``timeval(0, 0)``.

    C: ``struct timeval tevent_timeval_zero(void)``
    """
    return _ZERO


def tevent_timeval_current() -> timeval:
    """
    The time of the wall clock since the epoch.

    C: ``struct timeval tevent_timeval_current(void)``
    """
    return from_us(_sys.now_us())


def tevent_timeval_set(secs: int, usecs: int) -> timeval:
    """
    A timeval of two numbers, each taken modulo 2**32; not normalised.

    C: ``struct timeval tevent_timeval_set(uint32_t secs, uint32_t usecs)``
    """
    return timeval(secs & _UINT32, usecs & _UINT32)


def tevent_timeval_until(tv1: timeval, tv2: timeval) -> timeval:
    """
    The span from *tv1* to *tv2*; zero where *tv2* is not later.

    C: ``struct timeval tevent_timeval_until(const struct timeval *tv1, const struct timeval *tv2)``
    """
    if tevent_timeval_compare(tv1, tv2) >= 0:
        return _ZERO
    sec = tv2.tv_sec - tv1.tv_sec
    if tv1.tv_usec > tv2.tv_usec:
        return timeval(sec - 1, 1000000 - (tv1.tv_usec - tv2.tv_usec))
    return timeval(sec, tv2.tv_usec - tv1.tv_usec)


def tevent_timeval_is_zero(tv: timeval) -> bool:
    """
    Whether *tv* is zero.

    C: ``bool tevent_timeval_is_zero(const struct timeval *tv)``
    """
    _check_timeval(tv, "tv")
    return tv == _ZERO


def tevent_timeval_add(tv: timeval, secs: int, usecs: int) -> timeval:
    """
    A time later than *tv*, normalised.

    C: ``struct timeval tevent_timeval_add(const struct timeval *tv, uint32_t secs, uint32_t usecs)``

    Args:
        tv: A time or span.

        secs: Seconds, taken modulo 2**32.

        usecs: Microseconds, taken modulo 2**32; may be more than a second.
    """
    _check_timeval(tv, "tv")
    usec = tv.tv_usec + (usecs & _UINT32)
    # C's division rounds towards zero.
    carry = usec // 1000000 if usec >= 0 else -(-usec // 1000000)
    return timeval(tv.tv_sec + (secs & _UINT32) + carry, usec - carry * 1000000)


def tevent_timeval_current_ofs(secs: int, usecs: int) -> timeval:
    """
    The time *secs* seconds and *usecs* microseconds from now.

    C: ``struct timeval tevent_timeval_current_ofs(uint32_t secs, uint32_t usecs)``
    """
    return tevent_timeval_add(tevent_timeval_current(), secs, usecs)


# -- timers -----------------------------------------------------------------------------------------------------------


class tevent_timer(TALLOC_CTX):
    """
    An event that fires once, when its time has come.

    C: ``struct tevent_timer``

    Made by `tevent_add_timer`.  The attributes are for authors of backends.
    """

    __slots__ = (
        "busy",
        "created",
        "destroyed",
        "due_us",
        "event_ctx",
        "front_next",
        "front_prev",
        "handler",
        "handler_name",
        "key",
        "next_event",
        "private_data",
        "tag",
        "wrapper",
    )

    #: Where it was made, for messages.
    created: tuple[CodeType, int]
    next_event: timeval
    #: `next_event` in microseconds; None where its tv_usec is none of 0 to 999999, and must be compared as a pair.
    due_us: int | None
    #: None when the timer is detached: fired, freed, or its context is gone.
    event_ctx: tevent_context | None
    handler: tevent_timer_handler_t | None
    private_data: Any
    handler_name: str
    tag: int
    busy: bool
    destroyed: bool
    wrapper: wrapper_glue | None
    #: Its place in the queue of timers, see _timerheap.py.
    key: int
    front_next: tevent_timer | None
    front_prev: tevent_timer | None

    def __init__(self) -> None:
        raise TypeError("a tevent_timer is made by tevent_add_timer(), not by calling the class")

    def __repr__(self) -> str:
        if self.destroyed:
            return f"<tevent_timer at {id(self):#x}, freed>"
        state = "running" if self.busy else "detached" if self.event_ctx is None else f"due {tuple(self.next_event)}"
        return f"<tevent_timer {self.handler_name} at {id(self):#x}, {state}>"


def tevent_add_timer(
    ev: tevent_context,
    mem_ctx: TALLOC_CTX | None,
    next_event: timeval,
    handler: tevent_timer_handler_t | None,
    private_data: object,
) -> tevent_timer | None:
    """
    Let the loop of *ev* call *handler* once the time *next_event* has come.

    C: ``struct tevent_timer *tevent_add_timer(struct tevent_context *ev, TALLOC_CTX *mem_ctx, struct timeval
    next_event, tevent_timer_handler_t handler, void *private_data)``

    Args:
        ev: The context.

        mem_ctx: The owner, None for *ev*.

        next_event: Absolute time since the epoch, not a duration. ``timeval(0, 0)`` is ahead of everything else.

        handler: Called as ``handler(ev, te, current_time, private_data)``, where *current_time* is when the loop found
            the timer due, zero for a zero timer. None for a timer that must not fire.

        private_data: Any object.

    Returns:
        The timer; None where a memory limit forbids it.

    Ownership: freeing the timer cancels it. It is freed by the library after *handler*.
    """
    if not check_context(ev):
        return None
    _check_timeval(next_event, "next_event")
    check_handler(handler)
    te: tevent_timer | None = ev.ops.add_timer(ev, mem_ctx, next_event, handler, private_data, handler_name_of(handler))
    if te is not None:
        te.created = caller(1)
    return te


def tevent_common_add_timer(
    ev: tevent_context,
    mem_ctx: TALLOC_CTX | None,
    next_event: timeval,
    handler: tevent_timer_handler_t | None,
    private_data: object,
    handler_name: str,
) -> tevent_timer | None:
    """
    Add a timer by its time alone, without the rule for zero timers.

    C: ``struct tevent_timer *tevent_common_add_timer(struct tevent_context *ev, TALLOC_CTX *mem_ctx, struct timeval
    next_event, tevent_timer_handler_t handler, void *private_data, const char *handler_name, const char *location)``
    """
    return _add(ev, mem_ctx, next_event, handler, private_data, handler_name, False)


def tevent_common_add_timer_v2(
    ev: tevent_context,
    mem_ctx: TALLOC_CTX | None,
    next_event: timeval,
    handler: tevent_timer_handler_t | None,
    private_data: object,
    handler_name: str,
) -> tevent_timer | None:
    """
    Add a timer; a zero timer goes behind the last zero timer, ahead of everything else. What all backends use.

    C: ``struct tevent_timer *tevent_common_add_timer_v2(struct tevent_context *ev, TALLOC_CTX *mem_ctx, struct timeval
    next_event, tevent_timer_handler_t handler, void *private_data, const char *handler_name, const char *location)``
    """
    return _add(ev, mem_ctx, next_event, handler, private_data, handler_name, True)


def _add(
    ev: tevent_context,
    mem_ctx: TALLOC_CTX | None,
    next_event: timeval,
    handler: tevent_timer_handler_t | None,
    private_data: object,
    handler_name: str,
    zero_rule: bool,
) -> tevent_timer | None:
    te: tevent_timer = _allocate(tevent_timer)
    te.destroyed = True
    c = attach(te, ev if mem_ctx is None else mem_ctx, tevent_timer, _destroy_timer)
    if c is None:
        return None
    te.busy = te.destroyed = False
    te.event_ctx = None
    te.handler = handler
    te.private_data = private_data
    te.handler_name = handler_name
    te.tag = te.key = 0
    te.wrapper = te.front_next = te.front_prev = None
    try:
        _insert(ev, te, next_event, zero_rule)
    except BaseException:  # from the trace callback
        free_chunk(c, (_add.__code__, 0))
        raise
    if ev.verbose:
        tevent_debug(ev, TEVENT_DEBUG_TRACE, 'Added timed event "%s": %s\n', handler_name, te)
    return te


def _insert(ev: tevent_context, te: tevent_timer, next_event: timeval, zero_rule: bool) -> None:
    te.next_event = next_event
    sec, usec = next_event
    te.due_us = sec * 1000000 + usec if 0 <= usec < 1000000 else None
    if ev.trace_timer is not None:
        tevent_trace_timer_callback(ev, te, TEVENT_EVENT_TRACE_ATTACH)
    ev.timers.add(te, zero_rule)
    te.event_ctx = ev


def _check_timer(te: object) -> bool:
    if type(te) is not tevent_timer:
        wrong_type("te", "tevent_timer", te)
    return te._talloc_chunk.obj is te or bad_chunk(te) is not None


def tevent_update_timer(te: tevent_timer, next_event: timeval) -> None:
    """
    Let a pending timer fire at another time.

    C: ``void tevent_update_timer(struct tevent_timer *te, struct timeval next_event)``

    Args:
        te: The timer. One that runs, has been freed, or whose context is gone, goes to the abort function.

        next_event: Absolute time since the epoch. The timer goes behind others of the same time; for ``timeval(0, 0)``
            the rule of `tevent_add_timer` does not hold.
    """
    if not _check_timer(te):
        return
    _check_timeval(next_event, "next_event")
    ev = te.event_ctx
    if ev is None or te.busy:
        tevent_abort(ev, "tevent_timer use after free")
        return
    _detach(ev, te)
    _insert(ev, te, next_event, False)
    if not ev.level and not ev.ops.plain_loop:
        from .common import tevent_common_wakeup, tevent_common_wakeup_init

        # A backend whose waiting is done elsewhere has to hear of it.
        tevent_common_wakeup_init(ev)
        tevent_common_wakeup(ev)


def _destroy_timer(te: tevent_timer) -> int:
    if te.destroyed:
        tevent_common_check_double_free(te, "tevent_timer double free")
        return -1 if te.busy else 0
    te.destroyed = True
    ev = te.event_ctx
    if ev is not None and not ev.gone:
        if ev.verbose:
            tevent_debug(ev, TEVENT_DEBUG_TRACE, 'Destroying timer event %s "%s"\n', te, te.handler_name)
        _detach(ev, te)
    return -1 if te.busy else 0


birthplaces[tevent_timer] = "created"
library_destructors.add(_destroy_timer)


def detach_timers(ev: tevent_context) -> None:
    """Take all timers, in firing order, off a context that goes away."""
    while (te := ev.timers.first()) is not None:
        _detach(ev, te)
        te.wrapper = None


def _detach(ev: tevent_context, te: tevent_timer) -> None:
    """Take a timer out of its queue, unless it runs and is out already, and say so."""
    try:
        tevent_trace_timer_callback(ev, te, TEVENT_EVENT_TRACE_DETACH)
    finally:
        if te.event_ctx is ev:
            te.event_ctx = None
            if not te.busy:
                ev.timers.remove(te)


def tevent_common_invoke_timer_handler(te: tevent_timer, current_time: timeval) -> tuple[int, bool]:
    """
    Take *te* off its list, run its handler and free it.

    C: ``int tevent_common_invoke_timer_handler(struct tevent_timer *te, struct timeval current_time, bool *removed)``

    Returns:
        0, and whether the timer is gone: False only where it is detached and nothing was run.
    """
    ev = te.event_ctx
    if ev is None:
        return 0, False
    run_timer(ev, te, current_time)
    return 0, True


def run_timer(ev: tevent_context, te: tevent_timer, current_time: timeval) -> None:
    """Run the handler of a pending timer, which is gone then."""
    # Off the list first: an inner loop must not come across it again.
    ev.timers.remove(te)
    te.busy = True
    try:
        if te.handler is None:
            tevent_abort(ev, "event without a handler")
        elif ev.trace_timer is None and te.wrapper is None and not ev.verbose:
            te.handler(ev, te, current_time, te.private_data)
        else:
            _run_watched(ev, te, te.handler, current_time)
    finally:
        try:
            # Asked again: the handler may be the one who has begun to look on.
            if ev.verbose or ev.trace_timer is not None:
                _see_off(ev, te)
        finally:
            te.busy = False
            te.destroyed = True
            te.event_ctx = te.handler = te.private_data = te.wrapper = None
            free_after_handler(te)


def _run_watched(ev: tevent_context, te: tevent_timer, handler: tevent_timer_handler_t, current_time: timeval) -> None:
    glue, name = te.wrapper, te.handler_name
    handler_ev = ev
    if ev.verbose:
        tevent_debug(ev, TEVENT_DEBUG_TRACE, 'Running timer event %s "%s"\n', te, name)
    if glue is not None:
        handler_ev = glue.wrap_ev
        glue.before("timer", te, te.next_event, current_time, name)
    try:
        tevent_trace_timer_callback(ev, te, TEVENT_EVENT_TRACE_BEFORE_HANDLER)
        handler(handler_ev, te, current_time, te.private_data)
    finally:
        if glue is not None:
            glue.after("timer", te, te.next_event, current_time, name)


def _see_off(ev: tevent_context, te: tevent_timer) -> None:
    """Tell who looks on that the handler of *te* is over."""
    if ev.gone:
        return
    if ev.verbose:
        tevent_debug(ev, TEVENT_DEBUG_TRACE, 'Ending timer event %s "%s"\n', te, te.handler_name)
    if not te.destroyed:
        tevent_trace_timer_callback(ev, te, TEVENT_EVENT_TRACE_DETACH)


def run_first_timer(ev: tevent_context) -> int:
    """
    Run the first timer if it is due.

    `SERVED` if one ran; else how long to wait, in microseconds: until the first timer, or `wait_us` where there is
    none. The clock is not looked at for a zero timer.
    """
    te = ev.timers.first()
    if te is None:
        return ev.wait_us
    due = te.due_us
    if due == 0:
        run_timer(ev, te, _ZERO)
        return SERVED
    now_us = _sys.now_us()
    if due is None:
        now = from_us(now_us)
        sec, usec = tevent_timeval_until(now, te.next_event)
        delay = sec * 1000000 + usec
    else:
        delay = due - now_us
    if delay > 0:
        return min(delay, WAIT_US_MAX) if ev.wait_us else 0
    run_timer(ev, te, from_us(now_us))
    return SERVED


def tevent_common_loop_timer_delay(ev: tevent_context) -> timeval:
    """
    Run the first timer of *ev* if it is due.

    C: ``struct timeval tevent_common_loop_timer_delay(struct tevent_context *ev)``

    Returns:
        Zero if one ran, else the time until the first one; ``ev.wait_timeout`` where there is no timer, or where that
        says not to wait at all.
    """
    te = ev.timers.first()
    if te is not None:
        if run_first_timer(ev) == SERVED:
            return _ZERO
        if ev.wait_us:
            left = tevent_timeval_until(from_us(_sys.now_us()), te.next_event)
            # It was not due a moment ago: zero would say that it has run.
            return left if left != _ZERO else timeval(0, 1)
    return ev.wait_timeout


def tevent_common_no_timeout(tv: timeval) -> bool:
    """
    Whether *tv* is the marker that says not to wait at all.

    C: ``bool tevent_common_no_timeout(const struct timeval *tv)``
    """
    _check_timeval(tv, "tv")
    return tv == (0, NEVER_ENDING)


def tevent_common_timeout_msec(tv: timeval) -> int:
    """
    *tv* in milliseconds as poll() takes them, rounded up; -1 for ever, 0 for the marker of `tevent_common_no_timeout`.

    C: ``int tevent_common_timeout_msec(const struct timeval *tv)``
    """
    if tevent_common_no_timeout(tv):
        return 0
    if tv.tv_sec == NEVER_ENDING:
        return -1
    return tv.tv_sec * 1000 + (tv.tv_usec + 999) // 1000


def tevent_timer_set_tag(te: tevent_timer | None, tag: int) -> None:
    """
    Keep a number, modulo 2**64, for the caller; nothing for None.

    C: ``void tevent_timer_set_tag(struct tevent_timer *te, uint64_t tag)``
    """
    if te is not None and _check_timer(te):
        te.tag = tag & TAG_MASK


def tevent_timer_get_tag(te: tevent_timer | None) -> int:
    """
    The number kept by `tevent_timer_set_tag`, at first 0; 0 for None.

    C: ``uint64_t tevent_timer_get_tag(const struct tevent_timer *te)``
    """
    return te.tag if te is not None and _check_timer(te) else 0
