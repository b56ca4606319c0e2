# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Everything tevent asks of the system: descriptors, waiting, the clock, the process.

The other modules call these as ``_sys.read(...)``, so that a test, a fault table or a simulated world can replace them
in one place.  What a platform lacks is None here (``epoll``, ``eventfd``); whoever uses it asks first.
Cost: one attribute of a module, about 5 ns, on top of the call itself.
"""

from __future__ import annotations

import os
import select
import sys
from os import close as close
from os import dup2 as dup2
from os import fstat as fstat
from os import getpid as getpid
from os import read as read
from os import set_blocking as set_blocking
from os import strerror as strerror
from os import write as write
from sys import platform as platform
from time import perf_counter_ns as perf_counter_ns
from time import time_ns as time_ns  # the wall clock: this is the one place to put another one

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from signal import SIG_DFL as SIG_DFL
    from signal import raise_signal as raise_signal
    from signal import set_wakeup_fd as set_wakeup_fd
    from signal import siginterrupt as siginterrupt
    from signal import signal as signal
    from typing import Any
else:
    # What the module signal wraps: plain numbers, and no enums to convert them to.
    from _signal import SIG_DFL as SIG_DFL
    from _signal import raise_signal as raise_signal
    from _signal import set_wakeup_fd as set_wakeup_fd
    from _signal import siginterrupt as siginterrupt
    from _signal import signal as signal

#: ``select.epoll`` and ``select.poll`` where the platform has them, else None.
epoll: Any = getattr(select, "epoll", None)
poll: Any = getattr(select, "poll", None)
eventfd: Any = getattr(os, "eventfd", None)

EPOLLIN = 0x001
EPOLLOUT = 0x004
EPOLLERR = 0x008
EPOLLHUP = 0x010
EPOLLRDHUP = 0x2000
EFD_CLOEXEC: int = getattr(os, "EFD_CLOEXEC", 0)
EFD_NONBLOCK: int = getattr(os, "EFD_NONBLOCK", 0)
EPOLL_CLOEXEC = getattr(select, "EPOLL_CLOEXEC", 0)

#: One wakeup: eight bytes, as an eventfd wants them; a pipe takes them just as well.
WAKEUP = (1).to_bytes(8, sys.byteorder)


def stopwatch_us() -> int:
    """Microseconds since some moment, for how long something took: no clock that timers go by."""
    return perf_counter_ns() // 1000


def open_descriptors() -> set[int]:
    """The descriptors of this process that are open; empty where the system does not tell. For tests."""
    try:
        names = os.listdir("/proc/self/fd" if platform == "linux" else "/dev/fd")
    except OSError:
        return set()
    found: set[int] = set()
    for name in names:
        try:
            fstat(int(name))
        except OSError:
            continue  # the one that listed them
        found.add(int(name))
    return found


def wants_colour(file: Any) -> bool:
    """Whether *file* is a terminal whose user has nothing against colours."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    isatty = getattr(file, "isatty", None)
    return isatty is not None and bool(isatty())


def new_pipe() -> tuple[int, int]:
    """A pipe for this process alone, to read from and to write to, neither of which blocks."""
    reader, writer = os.pipe()
    set_blocking(reader, False)
    set_blocking(writer, False)
    return reader, writer


#: The process id, asked for once and again in each forked child.
pid = getpid()

#: What else is to be done in a forked child before anything runs there; in this order.
after_fork_in_child: list[Callable[[], object]] = []


def _after_fork_in_child() -> None:
    global pid
    pid = getpid()
    for function in after_fork_in_child:
        function()


#: What is to be done before a fork.
before_fork: list[Callable[[], object]] = []


def _before_fork() -> None:
    for function in before_fork:
        function()


os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
