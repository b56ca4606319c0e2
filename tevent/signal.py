# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Signal events: handlers that run from the loop, with exact counts.

Mirrors ``lib/tevent/tevent_signal.c``.  As there, the table of signals belongs to the process and not to a context: any
context that has a signal event delivers to the events of all contexts.

How occurrences are counted is told in `tevent._sigcount`.

Cost: with nothing pending one test in each loop turn; a delivery is O(pending numbers + their events).
"""

from __future__ import annotations

import errno

from talloc_py._chunk import birthplaces, caller
from talloc_py.core import TALLOC_CTX, attach, library_destructors, talloc_free

from . import _sys
from ._base import TAG_MASK, check_context, check_handler, handler_name_of, loop_state, wrong_type
from ._sigcount import collect, install, look, may_install, state, uninstall
from .abort import free_later, tevent_abort, tevent_common_check_double_free
from .common import tevent_common_wakeup_init
from .errno import set_errno
from .fd import TEVENT_FD_READ, tevent_add_fd
from .trace import (
    TEVENT_EVENT_TRACE_ATTACH,
    TEVENT_EVENT_TRACE_BEFORE_HANDLER,
    TEVENT_EVENT_TRACE_DETACH,
    tevent_trace_signal_callback,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import Any

    from ._base import tevent_context, wrapper_glue
    from .fd import tevent_fd

    tevent_signal_handler_t = Callable[[tevent_context, "tevent_signal", int, int, Any, Any], object]

__all__ = [
    "SA_NOCLDSTOP",
    "SA_NOCLDWAIT",
    "SA_NODEFER",
    "SA_RESETHAND",
    "SA_RESTART",
    "SA_SIGINFO",
    "tevent_add_signal",
    "tevent_cleanup_pending_signal_handlers",
    "tevent_common_add_signal",
    "tevent_common_check_signal",
    "tevent_common_invoke_signal_handler",
    "tevent_num_signals",
    "tevent_sa_info_queue_count",
    "tevent_signal",
    "tevent_signal_get_tag",
    "tevent_signal_set_tag",
]

# The values of <signal.h>: Python's signal module has none of them.  Linux and the BSDs differ.
_LINUX = _sys.platform.startswith("linux")
SA_NOCLDSTOP = 1 if _LINUX else 8
SA_NOCLDWAIT = 2 if _LINUX else 32
SA_SIGINFO = 4 if _LINUX else 64
SA_RESTART = 0x10000000 if _LINUX else 2
SA_NODEFER = 0x40000000 if _LINUX else 16
SA_RESETHAND = 0x80000000 if _LINUX else 4

_allocate = object.__new__

NUM_SIGNALS = 68
SA_INFO_QUEUE_COUNT = 256


class tevent_signal(TALLOC_CTX):
    """
    An event that fires when a signal has arrived.

    C: ``struct tevent_signal``

    Made by `tevent_add_signal`.  The attributes are for those who write backends.
    """

    __slots__ = (
        "busy",
        "created",
        "destroyed",
        "event_ctx",
        "handler",
        "handler_name",
        "private_data",
        "sa_flags",
        "seen",
        "signum",
        "tag",
        "wrapper",
    )

    #: The main context; None once detached.
    event_ctx: tevent_context | None
    #: Where it was made, for messages.
    created: tuple[CodeType, int]
    signum: int
    sa_flags: int
    handler: tevent_signal_handler_t | None
    private_data: Any
    handler_name: str
    tag: int
    #: The wrapper through which it was added, or None.
    wrapper: wrapper_glue | None
    #: Its handler runs.
    busy: bool
    #: Its destructor has run.
    destroyed: bool
    #: How many occurrences of the number, of the total, it has been given.
    seen: int

    def __init__(self) -> None:
        raise TypeError("a tevent_signal is made by tevent_add_signal(), not by calling the class")

    def __repr__(self) -> str:
        state = "detached" if self.event_ctx is None else f"signal {self.signum}"
        return f"<tevent_signal {self.handler_name!r} {state}>"


class siginfo:
    """What is known of one occurrence: its number.  The other fields of ``siginfo_t`` are 0."""

    __slots__ = ("si_band", "si_code", "si_errno", "si_pid", "si_signo", "si_status", "si_uid")

    def __init__(self, signum: int) -> None:
        self.si_signo: int = signum
        self.si_code: int
        self.si_errno: int
        self.si_pid: int
        self.si_uid: int
        self.si_status: int
        self.si_band: int
        self.si_code = self.si_errno = self.si_pid = self.si_uid = self.si_status = self.si_band = 0

    def __repr__(self) -> str:
        return f"<siginfo si_signo={self.si_signo}>"


def tevent_common_add_signal(
    ev: tevent_context,
    mem_ctx: TALLOC_CTX | None,
    signum: int,
    sa_flags: int,
    handler: tevent_signal_handler_t | None,
    private_data: object,
    handler_name: str,
) -> tevent_signal | None:
    """
    Add a signal event: what the built-in backends do for `tevent_add_signal`.

    C: ``struct tevent_signal *tevent_common_add_signal(struct tevent_context *ev, TALLOC_CTX *mem_ctx, int signum,
    int sa_flags, tevent_signal_handler_t handler, void *private_data, const char *handler_name, const char *location)``

    Returns:
        The event; None with errno EINVAL for a number that cannot be handled, ENOSYS outside the main thread.
    """
    # First, also where it turns out to be of no use: as in C.
    ret = tevent_common_wakeup_init(ev)
    if ret != 0:
        set_errno(ret)
        return None
    if not 0 <= signum < NUM_SIGNALS:
        set_errno(errno.EINVAL)
        return None
    if not may_install():
        set_errno(errno.ENOSYS)
        return None
    se: tevent_signal = _allocate(tevent_signal)
    se.event_ctx = None
    se.signum = signum
    se.sa_flags = sa_flags
    se.handler = handler
    se.private_data = private_data
    se.handler_name = handler_name
    se.tag = 0
    se.wrapper = None
    se.busy = se.destroyed = False
    c = attach(se, ev if mem_ctx is None else mem_ctx, tevent_signal, _signal_destructor)
    if c is None:
        return None
    if signum not in state.events:
        ret = install(signum, bool(sa_flags & SA_RESTART))
        if ret != 0:
            talloc_free(se)
            set_errno(ret)
            return None
        state.events[signum] = []
    se.event_ctx = ev
    try:
        tevent_trace_signal_callback(ev, se, TEVENT_EVENT_TRACE_ATTACH)
    except BaseException:
        se.event_ctx = None
        _leave_table(se)
        talloc_free(se)
        raise
    _enter(se, ev)
    return se


def _enter(se: tevent_signal, ev: tevent_context) -> None:
    """Put *se* first into the lists of its context and of its number."""
    signum = se.signum
    if not ev.signal_events:
        _watch_pipe(ev)
    ev.signal_events.insert(0, se)
    with state.lock:
        state.events[signum].insert(0, se)
        # What came in while the number had no event belongs to the next one.
        se.seen = state.seen.get(signum, 0)
        if se.seen != state.total.get(signum, 0):
            state.dirty.add(signum)
            loop_state.signals = 1


def _watch_pipe(ev: tevent_context) -> None:
    """Let the loop of *ev* wake when a signal has arrived."""
    channel = ev.wakeup
    assert channel is not None
    if not channel.watch(state.read_fd, look):
        # A platform without epoll. Whoever counts fd events sees this one, but there is no other way.
        channel.stand_in = tevent_add_fd(ev, ev, state.read_fd, TEVENT_FD_READ, _pipe_readable, None)


def _unwatch_pipe(ev: tevent_context) -> None:
    channel = ev.wakeup
    if channel is not None:
        channel.unwatch(state.read_fd)
        fde, channel.stand_in = channel.stand_in, None
        if fde is not None:
            talloc_free(fde)


def _pipe_readable(_ev: tevent_context, _fde: tevent_fd, _flags: int, _private_data: object) -> None:
    look()


def _leave_table(se: tevent_signal) -> None:
    """Take *se* off the list of its number, the last one gives the number back."""
    with state.lock:
        events = state.events[se.signum]
        if se in events:
            events.remove(se)
    if not events:
        uninstall(se.signum)


def _detach(se: tevent_signal, ev: tevent_context) -> None:
    """Take *se* out of the lists of its context and of its number."""
    se.event_ctx = None
    if se in ev.signal_events:
        ev.signal_events.remove(se)
        if not ev.signal_events:
            _unwatch_pipe(ev)
    _leave_table(se)


def _signal_destructor(se: tevent_signal) -> int:
    if se.destroyed:
        tevent_common_check_double_free(se, "tevent_signal double free")
    else:
        se.destroyed = True
        ev = se.event_ctx
        if ev is not None:
            try:
                tevent_trace_signal_callback(ev, se, TEVENT_EVENT_TRACE_DETACH)
            finally:
                _detach(se, ev)
    if se.busy:
        return free_later(se)
    se.wrapper = None
    return 0


birthplaces[tevent_signal] = "created"
library_destructors.add(_signal_destructor)


def tevent_cleanup_pending_signal_handlers(se: tevent_signal) -> None:
    """
    Detach a signal event; what handled its number before comes back if it was the last one.

    C: ``void tevent_cleanup_pending_signal_handlers(struct tevent_signal *se)``

    For whoever takes a context apart.  The chunk stays, and to free it later does nothing more; but one whose handler
    runs is freed after it.
    """
    ev = se.event_ctx
    se.wrapper = None
    se.destroyed = se.destroyed or se.busy
    if ev is not None:
        try:
            tevent_trace_signal_callback(ev, se, TEVENT_EVENT_TRACE_DETACH)
        finally:
            if se.event_ctx is ev:
                _detach(se, ev)


def tevent_add_signal(
    ev: tevent_context,
    mem_ctx: TALLOC_CTX | None,
    signum: int,
    sa_flags: int,
    handler: tevent_signal_handler_t | None,
    private_data: object,
) -> tevent_signal | None:
    """
    Let *handler* run from the loop whenever signal *signum* has arrived.

    C: ``struct tevent_signal *tevent_add_signal(struct tevent_context *ev, TALLOC_CTX *mem_ctx, int signum,
    int sa_flags, tevent_signal_handler_t handler, void *private_data)``

    Args:
        ev: The context; the handler gets it as its first argument.

        mem_ctx: The owner of the event; None is *ev*.

        signum: The number of the signal.

        sa_flags: 0 or a combination of the ``SA_`` constants. With `SA_SIGINFO` the handler runs once for each
            occurrence; with `SA_RESETHAND` the library frees the event after its handler has run; `SA_RESTART` of the
            first event of a number is given to the system.

        handler: Called as ``handler(ev, se, signum, count, siginfo, private_data)``. *count* is the number of
            occurrences since the last call. *siginfo* is None without `SA_SIGINFO`; with it an object with the fields
            of ``siginfo_t``, of which only ``si_signo`` is known. None may never fire.

        private_data: Any object, passed through.

    Returns:
        The event; to free it ends the watch. None with errno EINVAL for a number that cannot be handled, with ENOSYS
        in another thread than the main thread, which alone may install handlers.

    Callbacks: from the loop of any context that has a signal event, never asynchronously.
    Ownership: the first event of a number installs a handler for the process, the last one restores what was there.
    """
    if not check_context(ev):
        return None
    _check_int(signum, "signum")
    _check_int(sa_flags, "sa_flags")
    check_handler(handler)
    se: tevent_signal | None = ev.ops.add_signal(
        ev, mem_ctx, signum, sa_flags, handler, private_data, handler_name_of(handler)
    )
    if se is not None:
        se.created = caller(1)
    return se


def _check_int(value: object, what: str) -> None:
    if not isinstance(value, int):
        wrong_type(what, "int", value)


def tevent_signal_set_tag(se: tevent_signal | None, tag: int) -> None:
    """
    Remember a number with a signal event; the library does not use it.

    C: ``void tevent_signal_set_tag(struct tevent_signal *se, uint64_t tag)``

    Args:
        se: The event; None is ignored.

        tag: Taken modulo 2**64.
    """
    if se is not None:
        se.tag = tag & TAG_MASK


def tevent_signal_get_tag(se: tevent_signal | None) -> int:
    """
    The number that `tevent_signal_set_tag` set last; 0 at first and for None.

    C: ``uint64_t tevent_signal_get_tag(const struct tevent_signal *se)``
    """
    return 0 if se is None else se.tag


def tevent_num_signals() -> int:
    """
    The upper bound for signal numbers: `tevent_add_signal` refuses this number and all above.

    C: ``size_t tevent_num_signals(void)``
    """
    return NUM_SIGNALS


def tevent_sa_info_queue_count() -> int:
    """
    How many occurrences C remembers for `SA_SIGINFO`.  Here none is lost beyond that.

    C: ``size_t tevent_sa_info_queue_count(void)``
    """
    return SA_INFO_QUEUE_COUNT


# Delivery.


def tevent_common_check_signal(ev: tevent_context) -> int:
    """
    Run the handlers of all signals that have arrived, of all contexts.

    C: ``int tevent_common_check_signal(struct tevent_context *ev)``

    Args:
        ev: The context whose loop asks.

    Returns:
        0 if nothing has arrived, else 1.

    Callbacks: by ascending number, for each number the newest event first.  What arrives meanwhile is delivered in this
    call if its number is still to come, else in the next one.  If a handler raises, nobody loses anything: the rest is
    delivered by a later call.
    """
    if not loop_state.signals:
        return 0
    with state.lock:
        # First: what comes in after the look must be looked for again.
        loop_state.signals = 0
        collect()
        if not state.dirty:
            return 0
    last = -1
    try:
        while not ev.gone:
            with state.lock:
                if loop_state.signals:
                    loop_state.signals = 0
                    collect()
                signum = min((number for number in state.dirty if number > last), default=None)
                if signum is None:
                    break
                state.dirty.discard(signum)
            last = signum
            _deliver(ev, signum)
    finally:
        if state.dirty:
            loop_state.signals = 1
    return 1


def _deliver(ev: tevent_context, signum: int) -> None:
    """Tell all events of *signum* what they have not been told yet."""
    with state.lock:
        total = state.total[signum]
        state.seen[signum] = total
        told: list[tuple[tevent_signal, int]] = []
        for se in state.events.get(signum, ()):
            if se.seen != total:
                told.append((se, total - se.seen))
                # Claimed: a loop that a handler runs sees only newer occurrences.
                se.seen = total
    told.reverse()
    while told:
        se, count = told.pop()
        try:
            _tell(ev, se, signum, count)
        except BaseException:
            _put_back(signum, told)
            raise
        if ev.gone:
            _put_back(signum, told)
            return


def _tell(ev: tevent_context, se: tevent_signal, signum: int, count: int) -> None:
    """Call the handler of one event, once or once for each occurrence."""
    if not se.sa_flags & SA_SIGINFO:
        tevent_common_invoke_signal_handler(se, signum, count, None)
        return
    while count and se.event_ctx is not None:
        count -= 1
        try:
            tevent_common_invoke_signal_handler(se, signum, 1, siginfo(signum))
        except BaseException:
            _put_back(signum, [(se, count)])
            raise
        if ev.gone:
            _put_back(signum, [(se, count)])
            return


def _put_back(signum: int, told: list[tuple[tevent_signal, int]]) -> None:
    """Let a later delivery tell these events what they were about to be told."""
    with state.lock:
        for se, count in told:
            if count:
                se.seen -= count
                state.dirty.add(signum)
                loop_state.signals = 1


def tevent_common_invoke_signal_handler(
    se: tevent_signal, signum: int, count: int, siginfo: object
) -> tuple[int, bool]:
    """
    Run the handler of a signal event, with all that belongs to it: wrapper, trace, busy mark, a free that was put off.

    C: ``int tevent_common_invoke_signal_handler(struct tevent_signal *se, int signum, int count, void *siginfo,
    bool *removed)``

    Returns:
        ``(0, removed)``; *removed* when the handler freed the event, or it had `SA_RESETHAND`, and it is gone now.
    """
    ev = se.event_ctx
    if ev is None:
        return 0, False
    glue = se.wrapper
    handler_ev = ev
    se.busy = True
    try:
        if glue is not None:
            handler_ev = glue.wrap_ev
            glue.before("signal", se, signum, count, siginfo, se.handler_name)
        try:
            if ev.trace_signal is not None:
                tevent_trace_signal_callback(ev, se, TEVENT_EVENT_TRACE_BEFORE_HANDLER)
            if se.handler is None:
                tevent_abort(ev, "event without a handler")
            else:
                se.handler(handler_ev, se, signum, count, siginfo, se.private_data)
        finally:
            if glue is not None:
                glue.after("signal", se, signum, count, siginfo, se.handler_name)
    finally:
        removed = _finish(se)
    return 0, removed


def _finish(se: tevent_signal) -> bool:
    """After the handler: free the event if that was put off, or if it was to run once only."""
    se.busy = False
    c = se._talloc_chunk
    if c.obj is not se:
        return True
    if se.destroyed:
        c.destructor = None
    elif not se.sa_flags & SA_RESETHAND:
        return False
    se.wrapper = None
    talloc_free(se)
    return True
