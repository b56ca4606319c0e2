# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Signal events: handlers that run from the loop, with exact counts.

Mirrors ``lib/tevent/tevent_signal.c``.  As there, the table of signals belongs to the process and not to a context: any
context that has a signal event delivers to the events of all contexts.

How an occurrence is counted.  The interpreter calls Python's signal handlers late and merges occurrences, so nothing
is counted there.  Its C handler however writes one byte, the number of the signal, into the descriptor that
`signal.set_wakeup_fd` was given, for every occurrence.  Here that is the write end of one pipe of the process; the
wakeup descriptor of each context with a signal event is readable when the pipe is, so a sleeping loop wakes whichever
thread the system interrupts.  The Python handler only says that a look into the pipe is worth while
(`loop_state.signals`).

A wakeup descriptor that was there before ours is served too: the bytes are passed on to it when they are read, and it
comes back when the last signal event goes.  If somebody replaces ours later, theirs stays, and as long as it does an
occurrence is counted when the Python handler is called, or by its byte if that is passed on to us.

Cost: with nothing pending one test in each loop turn; a delivery is O(pending numbers + their events).
"""

from __future__ import annotations

import errno

from talloc_py.core import TALLOC_CTX, attach, library_destructors, talloc_free

from . import _sys
from ._base import TAG_MASK, check_context, check_handler, handler_name_of, loop_state, wrong_type
from ._notify import take_place_of
from .abort import tevent_abort, tevent_common_check_double_free
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
    from threading import RLock
    from types import FrameType
    from typing import Any

    from ._base import tevent_context, wrapper_glue
    from .fd import tevent_fd

    tevent_signal_handler_t = Callable[[tevent_context, "tevent_signal", int, int, Any, Any], object]
else:
    # The same class without the import of threading.
    from _thread import RLock

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

#: What a pipe holds.
PIPE_SIZE = 65536


class tevent_signal(TALLOC_CTX):
    """
    An event that fires when a signal has arrived.

    C: ``struct tevent_signal``

    Made by `tevent_add_signal`.  The attributes are for those who write backends.
    """

    __slots__ = (
        "busy", "destroyed", "event_ctx", "handler", "handler_name", "private_data", "sa_flags", "seen", "signum",
        "tag", "wrapper",
    )  # fmt: skip

    #: The main context; None once detached.
    event_ctx: tevent_context | None
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
    #: How many occurrences of the number, of `_process_signals.total`, it has been given.
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
        self.si_signo = signum
        self.si_code = self.si_errno = self.si_pid = self.si_uid = self.si_status = self.si_band = 0

    def __repr__(self) -> str:
        return f"<siginfo si_signo={self.si_signo}>"


class _process_signals:
    """The signals of this process: which are ours, how often each occurred, who has been told."""

    __slots__ = (
        "dirty", "events", "foreign_fd", "foreign_id", "late", "lock", "old", "owed", "read_fd", "seen", "total",
        "unwanted", "write_fd",
    )  # fmt: skip

    def __init__(self) -> None:
        #: Taken by loops (of several threads) and never by the handler that the interpreter calls.
        self.lock = RLock()
        #: What that handler counts itself, because no byte of it has come here.
        self.late: list[int] = []
        #: The events of each number, of all contexts, newest first.
        self.events: dict[int, list[tevent_signal]] = {}
        #: What handled a number before us.
        self.old: dict[int, Any] = {}
        #: Occurrences of each number so far, and how many of them were given out.
        self.total: dict[int, int] = {}
        self.seen: dict[int, int] = {}
        #: Numbers with occurrences that somebody has yet to be told.
        self.dirty: set[int] = set()
        #: Occurrences counted without their byte: the byte may still come.
        self.owed: dict[int, int] = {}
        #: Numbers whose last event went in a thread that may not install handlers.
        self.unwanted: set[int] = set()
        #: The pipe; -1 while there is no signal event.
        self.read_fd = self.write_fd = -1
        #: The wakeup descriptor before ours, and which file it was.
        self.foreign_fd = -1
        self.foreign_id: tuple[int, int] | None = None


state = _process_signals()


# How occurrences come in.


def _on_signal(signum: int, _frame: FrameType | None) -> None:
    """What the interpreter calls, in the main thread, some time after one or more occurrences."""
    loop_state.signals = 1
    if state.write_fd == -1:
        return  # Called by somebody who remembers us from former times.
    if signum in state.unwanted:
        _give_back_unwanted()
        _sys.raise_signal(signum)
        return
    current = _sys.set_wakeup_fd(state.write_fd, warn_on_full_buffer=False)
    if current == state.write_fd:
        state.owed.clear()
        return
    # Somebody has put another descriptor in the place of ours: this occurrence has left no byte here.
    if current != -1:
        _sys.set_wakeup_fd(current, warn_on_full_buffer=False)
    state.late.append(signum)


def collect() -> None:
    """Count what has come in since the last time."""
    with state.lock:
        while state.late:
            signum = state.late.pop()
            state.owed[signum] = state.owed.get(signum, 0) + 1
            _count(signum, 1)
        data = _read_pipe()
        if not data:
            return
        _pass_on(data)
        for signum in set(data):
            number = data.count(signum)
            paid = min(state.owed.get(signum, 0), number)
            if paid:
                state.owed[signum] -= paid
            if signum in state.events and number > paid:
                _count(signum, number - paid)


def _read_pipe() -> bytes:
    """What is in the pipe now."""
    try:
        data = _sys.read(state.read_fd, PIPE_SIZE)
    except OSError:
        return b""
    if len(data) == PIPE_SIZE:
        loop_state.signals = 1  # There may be more.
    return data


def _count(signum: int, number: int) -> None:
    state.total[signum] = state.total.get(signum, 0) + number
    state.dirty.add(signum)


def look() -> None:
    """Count what has come in and let the loops know; for whoever was woken by the pipe."""
    collect()
    if state.dirty:
        loop_state.signals = 1


def _file_id(fd: int) -> tuple[int, int] | None:
    """Which file *fd* is; None if it is none."""
    try:
        status = _sys.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _pass_on(data: bytes) -> None:
    """Serve the wakeup descriptor that ours took the place of, unless it was closed (and its number given away)."""
    if state.foreign_fd == -1:
        return
    if _file_id(state.foreign_fd) != state.foreign_id:
        state.foreign_fd = -1
        return
    try:
        _sys.write(state.foreign_fd, data)
    except OSError:
        pass  # Full, or its other end is gone: what the interpreter itself would ignore as well.


# Taking numbers over and giving them back.


def _may_install() -> bool:
    """Whether this is the thread that may install signal handlers."""
    import threading

    return threading.current_thread() is threading.main_thread()


def _install(signum: int, sa_flags: int) -> int:
    """Make the process tell us about *signum*; 0 or an errno."""
    if signum in state.unwanted:
        state.unwanted.discard(signum)  # Our handler is still there.
        return 0
    if state.read_fd == -1:
        ret = _open_pipe()
        if ret != 0:
            return ret
    try:
        state.old[signum] = _sys.signal(signum, _on_signal)
    except (OSError, ValueError):
        # The system refuses it, or the interpreter knows that there is no such number.
        _close_pipe_if_idle()
        return errno.EINVAL
    if sa_flags & SA_RESTART:
        _sys.siginterrupt(signum, False)
    return 0


def _open_pipe() -> int:
    """Make the interpreter write to a pipe of ours; 0 or an errno."""
    try:
        read_fd, write_fd = _sys.new_pipe()
    except OSError as error:
        return error.errno or errno.EMFILE
    try:
        old = _sys.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    except ValueError:
        # The main thread of another interpreter than the main one.
        _sys.close(read_fd)
        _sys.close(write_fd)
        return errno.ENOSYS
    state.read_fd, state.write_fd = read_fd, write_fd
    state.foreign_fd = old
    state.foreign_id = None if old == -1 else _file_id(old)
    return 0


def _close_pipe_if_idle() -> None:
    """Without a number to watch nothing is left behind: neither descriptors nor a wakeup descriptor."""
    if state.old or state.read_fd == -1:
        return
    collect()
    current = _sys.set_wakeup_fd(-1)
    if current not in (state.write_fd, -1):
        _sys.set_wakeup_fd(current, warn_on_full_buffer=False)
    elif state.foreign_fd != -1 and _file_id(state.foreign_fd) == state.foreign_id:
        _sys.set_wakeup_fd(state.foreign_fd, warn_on_full_buffer=False)
    _sys.close(state.read_fd)
    _sys.close(state.write_fd)
    state.read_fd = state.write_fd = state.foreign_fd = -1
    state.owed.clear()


def _uninstall(signum: int) -> None:
    """Give *signum* back to whoever had it before us.  What has come in stays counted, for a later event."""
    look()
    del state.events[signum]
    state.unwanted.add(signum)
    if _may_install():
        _give_back_unwanted()


def _give_back_unwanted() -> None:
    """Restore the handlers of all numbers that have no event any more; main thread only."""
    while state.unwanted:
        signum = state.unwanted.pop()
        old = state.old.pop(signum)
        # None is a handler that was not installed from Python and cannot be named there.
        _sys.signal(signum, _sys.SIG_DFL if old is None else old)
    _close_pipe_if_idle()


# The events.


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
    if not 0 <= signum < NUM_SIGNALS:
        set_errno(errno.EINVAL)
        return None
    if not _may_install():
        set_errno(errno.ENOSYS)
        return None
    ret = tevent_common_wakeup_init(ev)
    if ret != 0:
        set_errno(ret)
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
        ret = _install(signum, sa_flags)
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
        _uninstall(se.signum)


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
        return -1
    se.wrapper = None
    return 0


library_destructors.add(_signal_destructor)


def tevent_cleanup_pending_signal_handlers(se: tevent_signal) -> None:
    """
    Detach a signal event; what handled its number before comes back if it was the last one.

    C: ``void tevent_cleanup_pending_signal_handlers(struct tevent_signal *se)``

    For whoever takes a context apart.  The chunk stays; to free it later does nothing more.
    """
    ev = se.event_ctx
    if ev is not None:
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

    Callbacks: by ascending number, for each number the newest event first.  What arrives meanwhile waits for the next
    call.  If a handler raises, nobody loses anything: the rest is delivered by a later call.
    """
    if not loop_state.signals:
        return 0
    with state.lock:
        # First: what comes in after the look must be looked for again.
        loop_state.signals = 0
        collect()
        if not state.dirty:
            return 0
        numbers = sorted(state.dirty, reverse=True)
        state.dirty.clear()
    try:
        while numbers and not ev.gone:
            _deliver(ev, numbers.pop())
    finally:
        if numbers:
            state.dirty.update(numbers)
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


# Forked children.


def _before_fork() -> None:
    """What has come in so far belongs to both processes."""
    if state.read_fd != -1:
        look()


def _after_fork_in_child() -> None:
    """Share no pipe with the parent: each process counts its own signals."""
    state.lock = RLock()  # Another thread of the parent may have held it.
    if state.read_fd != -1:
        read_fd, write_fd = _sys.new_pipe()
        take_place_of(read_fd, state.read_fd)
        take_place_of(write_fd, state.write_fd)


_sys.before_fork.append(_before_fork)
# Before the wakeups are made anew, which watch the pipe.
_sys.after_fork_in_child.insert(0, _after_fork_in_child)
