# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The signals of the process: taking numbers over, counting what arrives, giving them back.

Takes the place of ``sig_state`` and of the C handlers in ``lib/tevent/tevent_signal.c``.

How an occurrence is counted.  The interpreter calls Python's signal handlers late and merges occurrences, so nothing
is counted there.  Its C handler however writes one byte, the number of the signal, into the descriptor that
`signal.set_wakeup_fd` was given, for every occurrence.  Here that is the write end of one pipe of the process; the
wakeup descriptor of each context with a signal event is readable when the pipe is, so a sleeping loop wakes whichever
thread the system interrupts.  The Python handler only says that a look into the pipe is worth while
(`loop_state.signals`).

A wakeup descriptor that was there before ours is served too: the bytes are passed on to it when they are read, and it
comes back when the last signal event goes.  If somebody replaces ours later, theirs stays, and as long as it does an
occurrence is counted when the Python handler is called, or by its byte if that is passed on to us.  If somebody only
takes ours away, it is put back when the next occurrence is handled.

Cost: the interpreter's handler makes three system calls; a look into the pipe is one.
"""

from __future__ import annotations

import errno

from . import _sys
from ._base import loop_state
from ._notify import take_place_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from threading import RLock
    from types import FrameType
    from typing import Any

    from .signal import tevent_signal
else:
    # The same class without the import of threading.
    from _thread import RLock

__all__ = ["collect", "install", "look", "may_install", "state", "uninstall"]

#: What a pipe holds.
PIPE_SIZE = 65536
#: The number of no signal: a byte that wakes and counts nothing.
WAKE_ONLY = 0


class _process_signals:
    """The signals of this process: which are ours, how often each occurred, who has been told."""

    __slots__ = (
        "dirty", "events", "foreign_fd", "foreign_id", "late", "lock", "old", "owed", "read_fd", "seen", "total",
        "unwanted", "write_fd",
    )  # fmt: skip

    def __init__(self) -> None:
        #: Taken by loops (of several threads) and never by the handler that the interpreter calls.
        self.lock: RLock = RLock()
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
        self.read_fd: int = -1
        self.write_fd: int = -1
        #: The wakeup descriptor before ours, and which file it was.
        self.foreign_fd: int = -1
        self.foreign_id: tuple[int, int] | None = None


state: _process_signals = _process_signals()


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
    current = _take_wakeup_fd()
    if current == state.write_fd:
        state.owed.clear()
        return
    # This occurrence has left no byte here, so nothing has woken a loop that sleeps.
    if current == -1:
        _write_byte(signum)
        return
    # What somebody else has put in the place of ours stays.
    _sys.set_wakeup_fd(current, warn_on_full_buffer=False)
    state.late.append(signum)
    _write_byte(WAKE_ONLY)


def _take_wakeup_fd() -> int:
    """Let the interpreter write into our pipe; the descriptor that it wrote into before."""
    return _sys.set_wakeup_fd(state.write_fd, warn_on_full_buffer=False)


def _write_byte(number: int) -> None:
    """Do what the interpreter has not done."""
    try:
        _sys.write(state.write_fd, bytes((number,)))
    except OSError:
        pass  # A full pipe wakes as well.


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
    return data.replace(b"\0", b"")  # Without WAKE_ONLY.


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


def may_install() -> bool:
    """Whether this is the thread that may install signal handlers."""
    import threading

    return threading.current_thread() is threading.main_thread()


def install(signum: int, restart: bool) -> int:
    """Make the process tell us about *signum*, *restart* the system calls it interrupts; 0 or an errno."""
    if signum in state.unwanted:
        state.unwanted.discard(signum)  # Our handler is still there.
        return 0
    if state.read_fd == -1:
        ret = _open_pipe()
        if ret != 0:
            return ret
    else:
        look()  # What has come in of this number so far was somebody else's.
    try:
        state.old[signum] = _sys.signal(signum, _on_signal)
    except (OSError, ValueError):
        # The system refuses it, or the interpreter knows that there is no such number.
        _close_pipe_if_idle()
        return errno.EINVAL
    if restart:
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


def uninstall(signum: int) -> None:
    """Give *signum* back to whoever had it before us.  What has come in stays counted, for a later event."""
    look()
    del state.events[signum]
    state.unwanted.add(signum)
    if may_install():
        _give_back_unwanted()


def _give_back_unwanted() -> None:
    """Restore the handlers of all numbers that have no event any more; main thread only."""
    while state.unwanted:
        signum = state.unwanted.pop()
        old = state.old.pop(signum)
        # None is a handler that was not installed from Python and cannot be named there.
        _sys.signal(signum, _sys.SIG_DFL if old is None else old)
    _close_pipe_if_idle()


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
        # An event loop that was imported earlier has taken it away: asyncio does so in every child.
        current = _take_wakeup_fd()
        if current not in (-1, state.write_fd):
            _sys.set_wakeup_fd(current, warn_on_full_buffer=False)


_sys.before_fork.append(_before_fork)
# Before the wakeups are made anew, which watch the pipe.
_sys.after_fork_in_child.insert(0, _after_fork_in_child)
