# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The area "loop": event contexts, their loop and all kinds of events; the operations.

A line is an operation and its arguments; names are those of things, "-" is none. Handlers run scripts. What makes
things: ``ctx N owner``, ``ev N owner backend``, ``wrap N owner ev yes|no`` (what before_use says), ``fd N owner ev
descriptor flags script``, ``timer N owner ev sec usec script``, ``imm N owner``, ``signal N owner ev number flags
script`` (flags of i, r, h: SA_SIGINFO, SA_RESTART, SA_RESETHAND), ``tctx N owner ev``, ``proxy N ev``; ``pipe``,
``pair`` and ``file`` make descriptors.

An operation first asks whether C leaves undefined what it is about to do; then it does nothing. ``c/loop.c`` asks the
same, from the same knowledge, so a program means the same on both sides.

Time stands still but for ``advance``; waiting moves it, and says how long it was to be.
"""

from __future__ import annotations

import os
import socket
from typing import Any, ClassVar

import tevent
from talloc_py import TALLOC_CTX, talloc_free, talloc_parent

from .loop_programs import Programs
from .loop_things import Things, text_of, time_of
from .loop_world import SIGNALS, Thing, Waiting
from .program import Interpreter

FDS_BASE = 300
BYTES = bytes(1 << 16)
FILL_MAX = 1 << 20
EVENT_POINTS = ("attach", "detach", "before handler")
POINTS = ("before wait", "after wait", "before loop", "after loop")


def is_open(fd: int) -> bool:
    """Whether a descriptor is open."""
    try:
        os.get_inheritable(fd)
    except OSError:
        return False
    return True


class Loop(Things):
    """The Python side."""

    # Descriptors.

    def _add_fd(self, name: str, fd: int) -> None:
        # No number comes twice.
        own = FDS_BASE + len(self.fds)
        os.dup2(fd, own, inheritable=False)
        os.close(fd)
        os.set_blocking(own, False)
        self.fds[name] = own

    def _are_free(self, name: str, other: str) -> bool:
        return name not in self.fds and other not in self.fds and name != other

    def op_pipe(self, name: str, other: str) -> None:
        if self._are_free(name, other):
            reader, writer = os.pipe()
            self._add_fd(name, reader)
            self._add_fd(other, writer)

    def op_pair(self, name: str, other: str) -> None:
        if self._are_free(name, other):
            one, two = socket.socketpair()
            self._add_fd(name, one.detach())
            self._add_fd(other, two.detach())

    def op_file(self, name: str) -> None:
        if name not in self.fds:
            self._add_fd(name, os.memfd_create("file", 0))

    def op_write(self, name: str, count: str) -> None:
        fd = self.fds.get(name)
        if fd is not None and 0 <= int(count) <= len(BYTES):
            try:
                self.saw(f"write {name} {os.write(fd, BYTES[: int(count)])} 0")
            except OSError as error:
                self.saw(f"write {name} -1 {error.errno}")

    def op_fill(self, name: str) -> None:
        fd = self.fds.get(name)
        if fd is None:
            return
        total = problem = 0
        try:
            # A file takes more and more.
            while total < FILL_MAX and (n := os.write(fd, BYTES)):
                total += n
        except OSError as error:
            problem = error.errno or 0
        self.saw(f"fill {name} {total} {problem}")

    def op_read(self, name: str, count: str) -> None:
        fd = self.fds.get(name)
        if fd is not None and 0 <= int(count) <= len(BYTES):
            try:
                self.saw(f"read {name} {len(os.read(fd, int(count)))} 0")
            except OSError as error:
                self.saw(f"read {name} -1 {error.errno}")

    def op_drain(self, name: str) -> None:
        fd = self.fds.get(name)
        if fd is None:
            return
        total = problem = 0
        try:
            while n := len(os.read(fd, len(BYTES))):
                total += n
        except OSError as error:
            problem = error.errno or 0
        self.saw(f"drain {name} {total} {problem}")

    def op_close(self, name: str) -> None:
        fd = self.fds.get(name)
        if fd is not None and not self.is_wrapped(fd):
            try:
                os.close(fd)
                ret = 0
            except OSError:
                ret = -1
            self.saw(f"close {name} {ret}")

    def op_shut(self, name: str, how: str) -> None:
        fd = self.fds.get(name)
        if fd is None:
            return
        ret, problem = 0, 0
        try:
            sock = socket.socket(fileno=fd)
        except OSError as error:
            ret, problem = -1, error.errno or 0
        else:
            try:
                sock.shutdown(int(how) % 3)
            except OSError as error:
                ret, problem = -1, error.errno or 0
            finally:
                sock.detach()
        self.saw(f"shut {name} {ret} {problem}")

    # Signals.

    def op_raise(self, number: str) -> None:
        signum = int(number)
        if signum in SIGNALS:
            self.saw(f"raise {signum} {self.disposition(signum)}")
            self.do_raise(signum)

    def op_raise_in_wait(self, number: str) -> None:
        self.raise_in_wait = int(number) if int(number) in SIGNALS else 0

    def op_signals(self, number: str) -> None:
        signum = int(number)
        if signum in SIGNALS:
            self.saw(f"signal {signum} {self.disposition(signum)}, {self.foreign[signum]} not ours")

    # Loops.

    def _saw_result(self, what: str, name: str, ret: int) -> None:
        self.saw(f"{what} {name} {ret} {tevent.get_errno() if ret == -1 else 0}")

    def op_once(self, name: str, count: str) -> None:
        for _ in range(int(count)):
            ev = self.context(name)
            if not self.loop_begins(ev):
                return
            assert ev is not None
            tevent.set_errno(0)
            ret = tevent.tevent_loop_once(ev.ptr)
            self._saw_result("once", name, ret)
            self.loop_ends(ev)
            if ret != 0 or self.tired():
                return

    def op_wait(self, name: str) -> None:
        ev = self.context(name)
        if not self.loop_begins(ev):
            return
        assert ev is not None
        self.waitings.append(Waiting(ev))
        tevent.set_errno(0)
        ret = tevent.tevent_loop_wait(ev.ptr)
        self._saw_result("wait", name, ret)
        self.waitings.pop()
        self.loop_ends(ev)

    def op_until(self, name: str, count: str) -> None:
        ev = self.context(name)
        if not self.loop_begins(ev):
            return
        assert ev is not None
        left = [int(count)]
        tevent.set_errno(0)
        ret = tevent.tevent_loop_until(ev.ptr, self._finished, left)
        self._saw_result("until", name, ret)
        self.loop_ends(ev)

    def _finished(self, left: list[int]) -> bool:
        self.saw(f"finished? {left[0]}")
        left[0] -= 1
        return left[0] < 0 or self.tired()

    def op_nest(self, name: str) -> None:
        ev = self.context(name)
        if ev is None or any(t.alive and t.kind in ("fd", "imm") and self.is_automatic(t) for t in self.things):
            return
        self.nested = True
        tevent.tevent_loop_allow_nesting(ev.ptr)
        self.saw(f"nest {name}")

    def _hook(self, ev: Any, t: Thing, level: int, begin: bool, stack: list[Any]) -> int:
        when = "begin" if begin else "end"
        kept = "none" if stack[0] is None else "set"
        self.saw(f"hook {t.name} {t.hook} ev={self.called(ev)} level={level} {when} stack={kept}")
        stack[0] = t
        return t.hook_begin if begin else t.hook_end

    def _hook_1(self, *args: Any) -> int:
        return self._hook(*args)

    def _hook_2(self, *args: Any) -> int:
        return self._hook(*args)

    def op_hook(self, name: str, which: str, begin: str, end: str) -> None:
        ev = self.thing(name, "ev")
        if ev is None or ev.miscounts:
            return
        ev.hook, ev.hook_begin, ev.hook_end = which, int(begin), int(end)
        hook = {"1": self._hook_1, "2": self._hook_2}.get(which)
        tevent.tevent_loop_set_nesting_hook(ev.ptr, hook, None if which == "-" else ev)

    def op_reinit(self, name: str) -> None:
        ev = self.context(name)
        if ev is None:
            return
        if ev.kind == "ev":
            if self.has_threaded(ev) or self.is_wrapped_on(ev):
                return
            if any(after is not None and after.attached and after.ev is ev for _, after in self.handlers):
                return
        ev.miscounts = ev.miscounts or ev.looping > 0
        ret = tevent.tevent_re_initialise(ev.ptr)
        for t in self.things:
            if t is not ev and t.ev is ev:
                t.ev, t.queued = None, False
        self.saw(f"reinit {name} {ret}")

    def op_push(self, name: str) -> None:
        ev = self.context(name, orphan=True)
        if ev is not None:
            self.saw(f"push {name} {int(tevent.tevent_context_push_use(ev.ptr))}")

    def op_pop(self, name: str) -> None:
        ev = self.context(name, orphan=True)
        if ev is not None and not ev.freed:
            tevent.tevent_context_pop_use(ev.ptr)
            self.saw(f"pop {name}")

    def op_wakeup(self, name: str, what: str) -> None:
        ev = self.thing(name, "ev")
        if ev is None:
            return
        if what == "init":
            self.saw(f"wakeup init {name} {tevent.tevent_common_wakeup_init(ev.ptr)}")
        else:
            self.saw(f"wakeup {name} {tevent.tevent_common_wakeup(ev.ptr)}")

    def op_part(self, name: str, what: str) -> None:
        ev = self.thing(name, "ev")
        if not self.loop_begins(ev):
            return
        assert ev is not None
        if what == "signal":
            self.saw(f"check signal {name} {tevent.tevent_common_check_signal(ev.ptr)}")
        elif what == "imm":
            self.saw(f"loop immediate {name} {int(tevent.tevent_common_loop_immediate(ev.ptr))}")
        else:
            self.saw(f"timer delay {name} {text_of(tevent.tevent_common_loop_timer_delay(ev.ptr))}")
        self.loop_ends(ev)

    def op_invoke(self, name: str, first: str, second: str = "0") -> None:
        t = self.thing(name)
        if t is None or t.threaded or t.taken or t.running:
            return
        # C forgets the wrapper of an event whose descriptor is closed.
        if t.kind == "fd" and t.via is not None and t.via.kind == "wrap" and not is_open(t.fd):
            return
        if not self.handlers:
            self.line_handlers = 0
        if t.kind == "fd" and int(first) > 0:
            ret, removed = tevent.tevent_common_invoke_fd_handler(t.ptr, int(first))
        elif t.kind == "timer":
            ret, removed = tevent.tevent_common_invoke_timer_handler(t.ptr, time_of(first, second))
        elif t.kind == "imm" and t.queued and t.attached:
            ret, removed = tevent.tevent_common_invoke_immediate_handler(t.ptr)
        elif t.kind == "signal" and not self.signal_handlers:
            ret, removed = tevent.tevent_common_invoke_signal_handler(t.ptr, t.signum, int(first), None)
        else:
            return
        self.saw(f"invoke {name} {ret} {int(removed)}")

    def op_advance(self, us: str) -> None:
        self.clock_us += max(0, int(us))

    # Looking on.

    def _trace_event(self, kind: str) -> Any:
        def trace(event: Any, point: int, ev: Thing) -> None:
            t = self.by_ptr.get(id(event))
            pending = self.pending
            if t is None and pending is not None and pending.kind == kind and pending.ptr is None:
                t = pending
                self.is_made(t, event)
            # Only newer libraries trace that an event goes because its descriptor is closed, or with a wrapper.
            if t is not None and kind == "fd" and point == 1:
                if not is_open(t.fd) or (t.via is not None and t.via.kind == "wrap" and t.via.freed):
                    return
            if t is not None:
                self.saw(f"trace {kind} {t.name} {EVENT_POINTS[point]} tag={self._tag_of(t)} on {ev.name}")

        return trace

    def _trace_point(self, point: int, ev: Thing) -> None:
        self.saw(f"trace {POINTS[point]} on {ev.name}")

    _TRACES: ClassVar[dict[str, tuple[Any, Any]]] = {
        "point": (tevent.tevent_set_trace_callback, tevent.tevent_get_trace_callback),
        "fd": (tevent.tevent_set_trace_fd_callback, tevent.tevent_get_trace_fd_callback),
        "timer": (tevent.tevent_set_trace_timer_callback, tevent.tevent_get_trace_timer_callback),
        "imm": (tevent.tevent_set_trace_immediate_callback, tevent.tevent_get_trace_immediate_callback),
        "signal": (tevent.tevent_set_trace_signal_callback, tevent.tevent_get_trace_signal_callback),
    }

    def op_trace(self, name: str, what: str, on: str) -> None:
        ev = self.context(name)
        if ev is None:
            return
        if what == "imm" and on != "off" and any(t.kind == "imm" and t.was_of is ev for t, _ in self.handlers):
            return
        if on == "off":
            self._TRACES[what][0](ev.ptr, None, None)
        else:
            self._TRACES[what][0](ev.ptr, self._trace_point if what == "point" else self._trace_event(what), ev)

    def op_gettrace(self, name: str) -> None:
        ev = self.context(name)
        if ev is None:
            return
        got = [get(ev.ptr) for _, get in self._TRACES.values()]
        callbacks = "".join(str(int(callback is not None)) for callback, _ in got)
        ours = "".join(str(int(private_data is ev)) for _, private_data in got)
        self.saw(f"callbacks {name} {callbacks} {ours}")

    def _debug(self, ev: Any, level: int, fmt: str, ap: tuple[Any, ...]) -> None:
        named: list[Any] = []
        for value in ap:
            if not isinstance(value, TALLOC_CTX) or isinstance(value, str):
                named.append(value)
                continue
            t = self.by_ptr.get(id(value))
            if t is None and self.pending is not None and self.pending.ptr is None:
                t = self.pending
                self.is_made(t, value)
            if t is None:
                return
            named.append(t.name)
        text = fmt % tuple(named)
        # What a hook has ended has no errno.
        if text.startswith("_tevent_loop_once() failed: ") and text[28] != "-":
            text = text[: text.index(" ", 28)]
        # The words for what goes wrong with the system are our own.
        if "poll" not in text.lower():
            self.saw(f"debug {ev.name} {int(level)} {text}")

    def op_debug(self, name: str, on: str) -> None:
        ev = self.context(name)
        if ev is None:
            return
        tevent.set_errno(0)
        ret = tevent.tevent_set_debug(ev.ptr, None if on == "off" else self._debug, ev)
        if on != "off" and ret == 0:
            # The older library has no highest level.
            tevent.tevent_set_max_debug_level(ev.ptr, tevent.TEVENT_DEBUG_TRACE)
        self._saw_result("debug", name, ret)

    # The rest.

    def op_tv(self, what: str, *args: str) -> None:
        a, b = time_of(args[0], args[1]), time_of(args[2], args[3])
        if what == "compare":
            self.saw(f"compare {tevent.tevent_timeval_compare(a, b)}")
            return
        if what == "is_zero":
            self.saw(f"is_zero {int(tevent.tevent_timeval_is_zero(a))}")
            return
        result = {
            "add": lambda: tevent.tevent_timeval_add(a, *b),
            "until": lambda: tevent.tevent_timeval_until(a, b),
            "set": lambda: tevent.tevent_timeval_set(*b),
            "ofs": lambda: tevent.tevent_timeval_current_ofs(*b),
            "current": tevent.tevent_timeval_current,
            "zero": tevent.tevent_timeval_zero,
        }[what]()
        self.saw(f"{what} {result.tv_sec} {result.tv_usec}")

    def op_default(self, name: str) -> None:
        tevent.tevent_set_default_backend(None if name == "-" else name)

    def op_backends(self) -> None:
        backends: Any = tevent.tevent_backend_list(None)
        for name in backends:
            # Python's own stand behind those of C.
            if name not in ("asyncio", "selectors"):
                self.saw(f"backend {name} found={int(tevent.tevent_find_ops_byname(name) is not None)}")
        talloc_free(backends)
        self.saw(f"signals {tevent.tevent_num_signals()}, queue {tevent.tevent_sa_info_queue_count()}")

    def finish(self) -> None:
        """Free what has no owner, the oldest first."""
        for t in self.things:
            if t.alive and not t.taken and talloc_parent(t.ptr) is None and self.may_be_freed(t):
                self.saw(f"free {t.name} {self.free(t)}")
                self.scan()


class AREA(Programs):
    """One program about the event loop."""

    name: ClassVar[str] = "loop"
    packages: ClassVar[tuple[str, ...]] = ("talloc", "tevent")
    flags: ClassVar[tuple[str, ...]] = ()
    length: ClassVar[int] = 120

    def python(self) -> Interpreter:
        """A fresh Python side."""
        self.loop = Loop()
        return self.loop
