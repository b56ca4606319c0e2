# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What the operations of the area "loop" work on: things, the system as the library sees it, handlers.

`Thing` is what both sides know of a chunk, and `World` asks what ``c/loop.c`` asks in functions of the same names
before it does anything: whether C leaves it undefined.
"""

from __future__ import annotations

import select
import signal
from collections.abc import Callable
from typing import Any

import tevent
from talloc_py import TALLOC_CTX, talloc_free, talloc_parent
from tevent import _notify, _sigcount, _sys, wrapper
from tevent._base import loop_state

from .program import EndOfProgram, Interpreter

# As in loop.c.
SIGNALS = (1, 10, 12, 34)
LINE_HANDLERS_MAX = 60
WAIT_HANDLERS_MAX = 15
WAIT_WAITS_MAX = 6
LOOPS_MAX = 4
RAISES_MAX = 200
EVENTS = ("fd", "timer", "imm", "signal")
START_US = 1_000_000_000 * 1_000_000


class Aborted(EndOfProgram, tevent.tevent_abort_error):
    """What ends a program, also from within a destructor of the library."""


class Thing:
    """A chunk, and what is known about it."""

    def __init__(self, name: str, kind: str, number: int) -> None:
        self.name = name
        self.kind = kind
        #: In the order of creation.
        self.number = number
        self.ptr: Any = None
        self.script = ""
        #: The context of an event (the main one), and the one that was given; None once detached.
        self.ev: Thing | None = None
        self.via: Thing | None = None
        #: The context on which an immediate runs.
        self.was_of: Thing | None = None
        self.fd = -1
        self.flags = 0
        self.signum = 0
        self.backend_is_epoll = False
        #: Freed while its handler ran, so it is there until that is over.
        self.freed = False
        #: An immediate that stands in a queue, that a thread has scheduled, that belongs to a proxy.
        self.queued = self.scheduled_by_thread = self.taken = False
        #: An error was seen on its descriptor.
        self.latched = False
        #: Its handler runs inside itself, or did so.
        self.recursed = False
        self.agrees = True
        self.close_mode = ""
        self.running = 0
        #: Of a context: loop calls on it.
        self.looping = 0
        #: Of a context that was initialised again inside a handler: C counts one loop too few ever after.
        self.miscounts = False
        self.hook = "-"
        self.hook_begin = self.hook_end = 0
        self.state: Any = None

    @property
    def alive(self) -> bool:
        """Whether the chunk is there."""
        ptr = self.ptr
        return ptr is not None and ptr._talloc_chunk.obj is ptr

    @property
    def attached(self) -> bool:
        """Whether an event is in the lists of a context, as far as the program can know."""
        ev, via = self.ev, self.via
        return ev is not None and via is not None and not self.freed and self.alive and ev.alive and via.alive

    @property
    def threaded(self) -> bool:
        """Whether a thread has scheduled an immediate, and the loop has not taken it over."""
        if self.scheduled_by_thread and not self.ptr.threaded:
            self.scheduled_by_thread = False
            self.queued = True
        return self.scheduled_by_thread

    @property
    def main(self) -> Thing | None:
        """The main context of a context; None if that is gone."""
        if self.kind == "ev":
            return self
        return self.ev if self.ev is not None and self.ev.alive else None

    def is_within(self, owner: Thing) -> bool:
        """Whether *owner* is this chunk or one above it."""
        ptr = self.ptr
        while ptr is not None:
            if ptr is owner.ptr:
                return True
            ptr = talloc_parent(ptr)
        return False

    def depends_on(self, owner: Thing) -> bool:
        """Whether it, or the context of which it is an event, goes with *owner*."""
        if self.is_within(owner):
            return True
        if not self.attached:
            return False
        assert self.ev is not None
        assert self.via is not None
        return self.ev.is_within(owner) or self.via.is_within(owner)


class Waiting:
    """A call of tevent_loop_wait() that is active; one that would find no end is helped to it."""

    def __init__(self, ev: Thing) -> None:
        self.ev = ev
        self.handlers = self.waits = 0
        self.quenched = False


class VirtualEpoll:
    """select.epoll, but waiting only moves the clock."""

    def __init__(self, world: World, flags: int) -> None:
        real = select.epoll(flags=flags)
        self.world = world
        self.real = real
        self.register = real.register
        self.modify = real.modify
        self.unregister = real.unregister
        self.close = real.close
        self.fileno = real.fileno

    def poll(self, timeout: float, maxevents: int) -> list[tuple[int, int]]:
        """Look; where nothing is ready let the time pass."""
        # As CPython rounds: up, to nanoseconds and then to milliseconds.
        ms = -1 if timeout < 0 else -(int(-(timeout * 1e9) // 1) // 1000000)
        self.world.waits(ms)
        return self.real.poll(0, maxevents) or self.world.nothing_ready(ms, lambda: self.real.poll(0, maxevents))


class VirtualPoll:
    """select.poll, but waiting only moves the clock."""

    def __init__(self, world: World) -> None:
        real = select.poll()
        self.world = world
        self.real = real
        self.register = real.register
        self.modify = real.modify
        self.unregister = real.unregister

    def poll(self, timeout: int) -> list[tuple[int, int]]:
        """Look; where nothing is ready let the time pass."""
        self.world.waits(timeout)
        return self.real.poll(0) or self.world.nothing_ready(timeout, lambda: self.real.poll(0))


class World(Interpreter):
    """The Python side without its operations."""

    def __init__(self) -> None:
        super().__init__()
        self.things: list[Thing] = []
        self.by_name: dict[str, Thing] = {}
        self.by_ptr: dict[int, Thing] = {}
        self.fds: dict[str, int] = {}
        #: What is being added now, whose chunk is not known yet.
        self.pending: Thing | None = None
        #: The handlers that are active, the innermost last, and which signal event comes after each.
        self.handlers: list[tuple[Thing, Thing | None]] = []
        self.signal_handlers = 0
        self.loops: list[Thing] = []
        self.line_handlers = 0
        self.waitings: list[Waiting] = []
        #: The test itself asks: that is not told.
        self.quiet = 0
        #: Loops inside handlers were allowed.
        self.nested = False
        self.raise_in_wait = 0
        self.raises: dict[int, int] = {}
        self.foreign = dict.fromkeys(SIGNALS, 0)
        #: With SA_RESETHAND the system gives a number back once it has occurred.
        self.installed: dict[int, int] = {}
        self.spent: set[int] = set()
        self.clock_us = START_US
        tevent.tevent_set_abort_fn(self.aborted)
        self._take_over()

    # The system.

    def _take_over(self) -> None:
        self._kept: list[tuple[Any, str, Any]] = []
        self._replace(_sys, "time_ns", lambda: self.clock_us * 1000)
        self._replace(_sys, "epoll", lambda flags=0: VirtualEpoll(self, flags))
        self._replace(_sys, "poll", lambda: VirtualPoll(self))
        self._old_signals = {signum: signal.signal(signum, self._foreign) for signum in SIGNALS}

    def _replace(self, where: Any, name: str, value: object) -> None:
        self._kept.append((where, name, getattr(where, name)))
        setattr(where, name, value)

    def close(self) -> None:
        """Put everything process-wide back, whatever the program did."""
        self.over = True
        tevent.tevent_set_abort_fn(lambda reason: None)
        for use in wrapper._stack:
            if use.glue is not None:
                use.glue.busy = False
        wrapper._stack.clear()
        for thing in self.things:
            if thing.alive:
                ptr = thing.ptr
                if thing.kind == "timer":
                    ptr.state = 0
                elif hasattr(ptr, "busy"):
                    ptr.busy = False
                if thing.kind == "imm":
                    ptr.threaded = False
                talloc_free(ptr)
        tevent.tevent_set_abort_fn(None)
        tevent.tevent_set_default_backend(None)
        for signum, old in self._old_signals.items():
            signal.signal(signum, old)
        # The counters are those of the process, which goes on.
        for counters in (_sigcount.state.total, _sigcount.state.seen, _sigcount.state.owed):
            counters.clear()
        _sigcount.state.dirty.clear()
        loop_state.signals = 0
        for where, name, value in reversed(self._kept):
            setattr(where, name, value)
        self.close_fds()
        super().close()

    def close_fds(self) -> None:
        """Close the program's descriptors."""
        for fd in self.fds.values():
            try:
                _sys.close(fd)
            except OSError:
                pass

    def _foreign(self, signum: int, _frame: object) -> None:
        self.foreign[signum] += 1

    def aborted(self, reason: str) -> None:
        """Be the abort function of the library."""
        # There C calls abort() itself.
        by_itself = reason.startswith("EPOLL_CTL_") or reason == "tevent_immediate is being scheduled by a thread"
        self.saw("abort by signal 6" if by_itself else f"abort {reason}")
        self.over = True
        raise Aborted(reason)

    def end_by_itself(self, reason: str) -> None:
        """End a program that does not end, as the driver does."""
        self.saw(f"abort {reason}")
        self.over = True
        raise Aborted(reason)

    def disposition(self, signum: int) -> str:
        """Who handles a signal."""
        if signal.getsignal(signum) == self._foreign:
            return "foreign"
        return "default" if signum in self.spent else "tevent"

    def do_raise(self, signum: int) -> bool:
        """Raise a signal, unless that would end the process."""
        who = self.disposition(signum)
        if self.raises.get(signum, 0) >= RAISES_MAX or who == "default":
            return False
        self.raises[signum] = self.raises.get(signum, 0) + 1
        if who == "tevent" and self.installed[signum] & tevent.SA_RESETHAND:
            self.spent.add(signum)
        signal.raise_signal(signum)
        return True

    def waits(self, ms: int) -> None:
        """Say how long the library wants to wait; what it has written to its own wakeup descriptors is gone before."""
        self.saw(f"wait {ms}")
        for channel in _notify._open_channels:
            channel.drain()
        # Signals that are not the library's wake it, too.
        if _sigcount.state.read_fd != -1:
            _sigcount.look()

    def nothing_ready(self, ms: int, again: Callable[[], list[tuple[int, int]]]) -> list[tuple[int, int]]:
        """What happens while the library waits and nothing is ready."""
        signum = self.raise_in_wait
        if (
            signum
            and self._watches_signals(self.loops[-1])
            and self.disposition(signum) == "tevent"
            and self.do_raise(signum)
        ):
            self.raise_in_wait = 0
            self.saw(f"raised in wait {signum}")
            return again()
        if ms < 0:
            self.end_by_itself("waits for ever")
        self.clock_us += ms * 1000
        if self.waitings:
            waiting = self.waitings[-1]
            if waiting.waits > 10 * WAIT_WAITS_MAX:
                self.end_by_itself("waits without end")
            waiting.waits += 1
            if waiting.waits > WAIT_WAITS_MAX:
                self.quench(waiting)
        return []

    def _watches_signals(self, ev: Thing) -> bool:
        return any(t.kind == "signal" and t.attached and t.ev is ev for t in self.things)

    # Things.

    def thing(self, name: str, kind: str | None = None) -> Thing | None:
        """The living thing of that name and, if given, of that kind; "self" is whose handler runs."""
        found = self.by_name.get(name)
        if name == "self" and self.handlers:
            found = self.handlers[-1][0]
        if found is None or not found.alive or (kind is not None and kind != found.kind):
            return None
        return found

    def context(self, name: str, *, orphan: bool = False) -> Thing | None:
        """A main context or a wrapper; one whose main context has gone only where C does not crash."""
        found = self.thing(name)
        if found is None or found.kind not in ("ev", "wrap"):
            return None
        return found if found.main is not None or (orphan and not found.freed) else None

    def goes_with(self, owner: Thing, kind: str) -> bool:
        """Whether a chunk would be freed by the library itself, with an event that it belongs to."""
        return any(t.kind == kind and t.alive and owner.is_within(t) for t in self.things)

    def is_taken(self, t: Thing) -> bool:
        """Whether a chunk goes with an immediate that belongs to a proxy."""
        return any(owner.taken and owner.alive and t.is_within(owner) for owner in self.things)

    def may_own(self, owner: Thing | None, kind: str) -> bool:
        """
        Whether a thing of a kind may belong to another one.

        The library frees timers and some signal events by itself, so they must not take with them what may not be freed
        at any moment.
        """
        if owner is None or owner.kind in ("ctx", "ev"):
            return True
        if kind not in EVENTS or owner.kind not in EVENTS or owner.taken:
            return False
        if kind == "signal":
            return not self.goes_with(owner, "signal")
        # In a loop inside a handler C frees such an event too early.
        return not self.nested or kind == "timer" or not self.is_automatic(owner)

    def is_automatic(self, t: Thing) -> bool:
        """Whether a chunk goes with a timer or a signal event."""
        return self.goes_with(t, "timer") or self.goes_with(t, "signal")

    def owner(self, name: str, kind: str) -> tuple[bool, Any]:
        """Whether something of that kind can have that owner, and its chunk; "-" is none."""
        found = self.thing(name)
        valid = (name == "-" or found is not None) and self.may_own(found, kind)
        return valid, None if found is None else found.ptr

    def called(self, ptr: object) -> str:
        """The name of a chunk, also of one that is about to die."""
        if ptr is None:
            return "none"
        found = self.by_ptr.get(id(ptr))
        return "?" if found is None else found.name

    def flags_of(self, t: Thing) -> int:
        """What an event wants, as the test asks it."""
        self.quiet += 1
        flags = tevent.tevent_fd_get_flags(t.ptr)
        self.quiet -= 1
        return flags

    def descriptor_name(self, fd: int) -> str:
        """The name of a descriptor."""
        return next((name for name, number in self.fds.items() if number == fd), "?")

    def new(self, name: str, kind: str) -> Thing | None:
        """A place for what is about to be made; None if there is such a thing already."""
        if self.thing(name) is not None:
            return None
        self.pending = Thing(name, kind, len(self.things))
        tevent.set_errno(0)
        return self.pending

    def made(self, thing: Thing, ptr: Any) -> bool:
        """Enter what was made, or forget the place."""
        self.pending = None
        self.things.append(thing)
        if ptr is None:
            self.saw(f"{thing.kind} {thing.name} none {tevent.get_errno()}")
            return False
        self.is_made(thing, ptr)
        self.add(thing.name, thing.kind, ptr)
        self.saw(f"{thing.kind} {thing.name} ok")
        return True

    def is_made(self, thing: Thing, ptr: Any) -> None:
        """Know the chunk of a thing."""
        thing.ptr = ptr
        self.by_name[thing.name] = thing
        self.by_ptr[id(ptr)] = thing

    def in_use(self, ev: Thing) -> bool:
        """Whether a loop or a handler of a context is active."""
        return ev.looping > 0 or any(handler.ev is ev for handler, _ in self.handlers)

    def has_threaded(self, ev: Thing | None) -> bool:
        """Whether threads have scheduled what a context has not taken over yet."""
        return any(t.scheduled_by_thread and t.threaded and t.attached and t.ev is ev for t in self.things)

    def is_wrapped(self, fd: int) -> bool:
        """Whether the handler of an event on that descriptor runs that was added through a wrapper."""
        return any(
            t.kind == "fd" and t.fd == fd and t.via is not None and t.via.kind == "wrap" for t, _ in self.handlers
        )

    def is_wrapped_on(self, ev: Thing) -> bool:
        """Whether the handler of an fd or signal event of a context runs that was added through a wrapper."""
        return any(
            t.kind in ("fd", "signal") and t.ev is ev and t.via is not None and t.via.kind == "wrap"
            for t, _ in self.handlers
        )

    def may_be_freed(self, x: Thing) -> bool:
        """Whether C says what happens when a chunk is freed now."""
        for t in self.things:
            if not t.alive:
                continue
            if t.kind == "ev" and self.in_use(t) and t.is_within(x):
                return False
            # C forgets what threads have scheduled with the last threaded context.
            if t.kind == "tctx" and self.has_threaded(t.ev) and t.is_within(x):
                return False
            if t.threaded and t.depends_on(x):
                return False
            # C forgets the wrapper of an event whose descriptor is closed in its handler.
            if t.kind == "fd" and not t.running and t.close_mode in ("a", "c") and self.is_wrapped(t.fd):
                if t.is_within(x):
                    return False
            # C frees such an event too early, or twice.
            if (t.recursed or (t.kind == "proxy" and t.running > 0)) and t.is_within(x):
                return False
            # C is going to free a signal event that was in its handler when its context was initialised again.
            if t.kind == "signal" and t.running > 0 and t.ev is None and not t.freed and t.is_within(x):
                return False
        return not any(after is not None and after.alive and after.depends_on(x) for _, after in self.handlers)

    def free(self, x: Thing) -> int:
        """Free a chunk."""
        for t in self.things:
            if t.alive and (t.kind == "wrap" or (t.running > 0 and t.kind != "timer")) and t.is_within(x):
                t.freed = True
        return talloc_free(x.ptr)

    def flags_scan(self) -> None:
        """Say whose flags the library has changed by itself."""
        for t in self.things:
            if t.kind == "fd" and t.attached:
                flags = self.flags_of(t)
                if flags != t.flags:
                    self.saw(f"silenced {t.name} {flags}")
                    t.flags = flags
                    t.latched = True

    # Loops and handlers.

    def loop_begins(self, ev: Thing | None) -> bool:
        """Whether a loop call may start now."""
        # C delivers the occurrences of a signal again in a loop inside its handler.
        if ev is None or len(self.loops) == LOOPS_MAX or self.signal_handlers or (ev.miscounts and ev.looping):
            return False
        if not self.handlers:
            self.line_handlers = 0
        self.loops.append(ev)
        ev.looping += 1
        return True

    def loop_ends(self, ev: Thing) -> None:
        """End what `loop_begins` has allowed."""
        ev.looping -= 1
        self.loops.pop()
        self.flags_scan()

    def quench(self, waiting: Waiting) -> None:
        """Leave a loop nothing to wait for."""
        waiting.quenched = True
        ev = waiting.ev
        self.saw(f"quench {ev.name}")
        for t in list(self.things):
            if not t.attached or t.ev is not ev or t.kind in ("tctx", "wrap"):
                continue
            if t.kind == "imm":
                if not t.threaded and t.queued and not t.taken:
                    t.queued = False
                    tevent.tevent_schedule_immediate(t.ptr, ev.ptr, None, None)
            elif t.kind == "timer" and t.running > 0:
                continue
            elif self.may_be_freed(t):
                self.free(t)
            elif t.kind == "fd":
                t.flags = 0
                tevent.tevent_fd_set_flags(t.ptr, 0)

    def tired(self) -> bool:
        """Whether handlers run no scripts any more."""
        return any(waiting.quenched for waiting in self.waitings) or self.line_handlers > LINE_HANDLERS_MAX

    def next_of_signal(self, se: Thing) -> Thing | None:
        """Which signal event comes after *se*."""
        for t in reversed(self.things[: se.number]):
            if t.kind == "signal" and t.signum == se.signum and t.attached:
                return t
        return None

    def handle(self, t: Thing, script: str) -> None:
        """Run the script of a handler."""
        if self.over:
            raise Aborted
        is_signal = t.kind == "signal"
        self.line_handlers += 1
        self.handlers.append((t, self.next_of_signal(t) if is_signal else None))
        self.signal_handlers += is_signal
        t.running += 1
        t.recursed = t.recursed or t.running > 1
        if self.waitings:
            waiting = self.waitings[-1]
            waiting.handlers += 1
            if waiting.handlers > WAIT_HANDLERS_MAX and not waiting.quenched:
                self.quench(waiting)
            if waiting.handlers > 10 * WAIT_HANDLERS_MAX:
                self.end_by_itself("runs without end")
        if not self.tired():
            self.run_script(script)
        t.running -= 1
        t.recursed = t.recursed and t.running > 0
        self.signal_handlers -= is_signal
        self.handlers.pop()

    def fd_handler(self, ev: Any, fde: Any, flags: int, t: Thing) -> None:
        """Be the handler of fd events."""
        poll = select.poll()
        poll.register(t.fd, select.POLLIN | select.POLLOUT)
        if any(found & (select.POLLHUP | select.POLLERR) for _, found in poll.poll(0)):
            t.latched = True
        self.saw(f"run fd {t.name} ev={self.called(ev)} flags={flags}{'' if t.ptr is fde else ' ?'}")
        self.handle(t, t.script)

    def timer_handler(self, ev: Any, te: Any, now: tevent.timeval, t: Thing) -> None:
        """Be the handler of timers."""
        wrong = "" if t.ptr is te else " ?"
        self.saw(f"run timer {t.name} ev={self.called(ev)} now={now.tv_sec}.{now.tv_usec:06}{wrong}")
        self.handle(t, t.script)

    def imm_handler(self, ev: Any, im: Any, t: Thing) -> None:
        """Be the handler of immediates."""
        t.queued = t.scheduled_by_thread = False
        t.was_of = t.ev
        self.saw(f"run imm {t.name} ev={self.called(ev)}{'' if t.ptr is im else ' ?'}")
        self.handle(t, t.script)

    def proxy_handler(self, ev: Any, im: Any, own: Any) -> None:
        """Be what a proxy runs."""
        t = own.thing
        proxy = t.via
        t.was_of = t.ev
        self.saw(f"run proxy {t.name} ev={self.called(ev)}{'' if t.ptr is im else ' ?'}")
        proxy.running += 1
        self.handle(t, t.script)
        proxy.running -= 1

    def signal_handler(self, ev: Any, se: Any, signum: int, count: int, siginfo: Any, t: Thing) -> None:
        """Be the handler of signals."""
        assert siginfo is None or siginfo.si_signo == signum
        info = "no" if siginfo is None else "yes"
        wrong = "" if t.ptr is se else " ?"
        self.saw(f"run signal {t.name} ev={self.called(ev)} signum={signum} count={count} siginfo={info}{wrong}")
        self.handle(t, t.script)


class wrap_state(TALLOC_CTX):
    """The state of a wrapper."""


class own_data(TALLOC_CTX):
    """Private data that a proxy takes over."""

    __slots__ = ("thing",)
    thing: Thing
