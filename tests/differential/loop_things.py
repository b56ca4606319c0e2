# SPDX-License-Identifier: LGPL-3.0-or-later
"""The operations of the area "loop" that make contexts and events, and those that change them."""

from __future__ import annotations

import os
from typing import Any, ClassVar

import tevent
from talloc_py import talloc, talloc_free, talloc_named_const, talloc_parent, talloc_steal
from tevent import _sigcount

from .loop_world import Thing, World, own_data, wrap_state


def time_of(sec: str, usec: str) -> tevent.timeval:
    """Two words as a time."""
    return tevent.timeval(int(sec), int(usec))


def text_of(tv: tevent.timeval) -> str:
    """A time as both sides print it."""
    return f"{tv.tv_sec}.{tv.tv_usec:06}"


def flags_are_fine(flags: int) -> bool:
    """C's poll waits for errors of an event that wants nothing but bits it does not know."""
    return not flags & ~3 or flags & 1 != 0


class Things(World):
    """The Python side: what is made and changed."""

    # Making things.

    def op_ctx(self, name: str, owner: str) -> None:
        valid, mem_ctx = self.owner(owner, "ctx")
        if valid and (t := self.new(name, "ctx")):
            self.made(t, talloc_named_const(mem_ctx, 0, "ctx"))

    def _watched(self, backend: str) -> tevent.tevent_ops:
        """A backend whose operations say that they are called."""
        real = tevent.tevent_find_ops_byname(backend)
        assert real is not None

        def add_fd(ev: Any, owner: Any, fd: int, flags: int, handler: Any, private_data: Any, name: str) -> Any:
            if handler == self.fd_handler:
                self.saw(f"op add_fd {self.descriptor_name(fd)} {flags} {name}")
            return real.add_fd(ev, owner, fd, flags, handler, private_data, name)

        def set_fd_close_fn(fde: Any, fn: Any) -> None:
            self.saw(f"op set_fd_close_fn {self.called(fde)} {int(fn is not None)}")
            real.set_fd_close_fn(fde, fn)

        def get_fd_flags(fde: Any) -> int:
            if not self.quiet:
                self.saw(f"op get_fd_flags {self.called(fde)}")
            flags: int = real.get_fd_flags(fde)
            return flags

        def set_fd_flags(fde: Any, flags: int) -> None:
            self.saw(f"op set_fd_flags {self.called(fde)} {flags}")
            real.set_fd_flags(fde, flags)

        def add_timer(ev: Any, owner: Any, tv: tevent.timeval, handler: Any, private_data: Any, name: str) -> Any:
            self.saw(f"op add_timer {text_of(tv)} {name}")
            return real.add_timer(ev, owner, tv, handler, private_data, name)

        def schedule_immediate(im: Any, ev: Any, handler: Any, private_data: Any, name: str) -> None:
            if self.called(im) != "?":
                self.saw(f"op schedule_immediate {self.called(im)} {int(handler is not None)}")
            real.schedule_immediate(im, ev, handler, private_data, name)

        def add_signal(ev: Any, owner: Any, signum: int, flags: int, handler: Any, private_data: Any, name: str) -> Any:
            self.saw(f"op add_signal {signum} {name}")
            return real.add_signal(ev, owner, signum, flags, handler, private_data, name)

        def told(what: str) -> Any:
            def operation(ev: Any) -> int:
                self.saw(f"op {what}")
                result: int = getattr(real, what)(ev)
                return result

            return operation

        return tevent.tevent_ops(
            context_init=told("context_init"),
            add_fd=add_fd,
            set_fd_close_fn=set_fd_close_fn,
            get_fd_flags=get_fd_flags,
            set_fd_flags=set_fd_flags,
            add_timer=add_timer,
            schedule_immediate=schedule_immediate,
            add_signal=add_signal,
            loop_once=told("loop_once"),
            loop_wait=told("loop_wait"),
        )

    def op_ev(self, name: str, owner: str, backend: str) -> None:
        valid, mem_ctx = self.owner(owner, "ev")
        if valid and (t := self.new(name, "ev")):
            t.backend_is_epoll = not backend.startswith(("poll", "+poll"))
            if backend.startswith("+"):
                ev = tevent.tevent_context_init_ops(mem_ctx, self._watched(backend[1:]), None)
            else:
                ev = tevent.tevent_context_init_byname(mem_ctx, None if backend == "-" else backend)
            if ev is not None:
                t.ev = t.via = t
            self.made(t, ev)

    def _wrapper_ops(self, t: Thing) -> tevent.tevent_wrapper_ops:
        def saw(what: str, wrap_ev: Any, state: Any, main_ev: Any, more: str = "") -> None:
            ok = "ok" if state is t.state and wrap_ev is t.ptr else "?"
            self.saw(f"{what} {t.name} main={self.called(main_ev)} state={ok}{more}")

        def before_use(wrap_ev: Any, state: Any, main_ev: Any) -> bool:
            saw("before use", wrap_ev, state, main_ev)
            return t.agrees

        def fd(when: str) -> Any:
            return lambda a, b, c, fde, flags, name: saw(
                f"{when} fd", a, b, c, f" {self.called(fde)} flags={flags} {name}"
            )

        def timer(when: str) -> Any:
            return lambda a, b, c, te, requested, trigger, name: saw(
                f"{when} timer", a, b, c, f" {self.called(te)} {text_of(requested)} {text_of(trigger)} {name}"
            )

        def immediate(when: str) -> Any:
            return lambda a, b, c, im, name: saw(f"{when} imm", a, b, c, f" {self.called(im)} {name}")

        def signal(when: str) -> Any:
            return lambda a, b, c, se, signum, count, info, name: saw(
                f"{when} signal", a, b, c, f" {self.called(se)} {signum} {count} {'yes' if info else 'no'} {name}"
            )

        return tevent.tevent_wrapper_ops(
            name="wrapper",
            before_use=before_use,
            after_use=lambda wrap_ev, state, main_ev: saw("after use", wrap_ev, state, main_ev),
            before_fd_handler=fd("before"),
            after_fd_handler=fd("after"),
            before_timer_handler=timer("before"),
            after_timer_handler=timer("after"),
            before_immediate_handler=immediate("before"),
            after_immediate_handler=immediate("after"),
            before_signal_handler=signal("before"),
            after_signal_handler=signal("after"),
        )

    def op_wrap(self, name: str, owner: str, context: str, agrees: str) -> None:
        ev = self.context(context)
        valid, mem_ctx = self.owner(owner, "wrap")
        if ev is None or ev.main is None or not valid or not (t := self.new(name, "wrap")):
            return
        t.agrees = agrees != "no"
        wrap_ev, state = tevent.tevent_context_wrapper_create(ev.ptr, mem_ctx, self._wrapper_ops(t), wrap_state)
        if wrap_ev is not None:
            t.ev, t.via, t.state = ev.main, t, state
        self.made(t, wrap_ev)

    def _has_rival(self, ev: Thing, fd: int, own: Thing | None) -> bool:
        """Whether another event of epoll wants something there: C 0.14.1 gives only one of them its turn."""
        return ev.backend_is_epoll and any(
            t.kind == "fd" and t is not own and t.fd == fd and t.ev is ev and t.attached and self.flags_of(t) != 0
            for t in self.things
        )

    def op_fd(self, name: str, owner: str, context: str, descriptor: str, flags: str, script: str) -> None:
        ev = self.context(context, orphan=True)
        valid, mem_ctx = self.owner(owner, "fd")
        fd = self.fds.get(descriptor, -1)
        if ev is None or not valid or (fd == -1 and descriptor != "-"):
            return
        main = ev.main
        if not flags_are_fine(int(flags)):
            return
        if int(flags) and main is not None and self._has_rival(main, fd, None):
            return
        if not (t := self.new(name, "fd")):
            return
        t.script, t.fd, t.ev, t.via, t.flags = script, fd, main, ev, int(flags)
        self.made(t, tevent.tevent_add_fd(ev.ptr, mem_ctx, fd, int(flags), self.fd_handler, t))

    def op_timer(self, name: str, owner: str, context: str, sec: str, usec: str, script: str) -> None:
        ev = self.context(context, orphan=True)
        valid, mem_ctx = self.owner(owner, "timer")
        if ev is None or not valid or not (t := self.new(name, "timer")):
            return
        t.script, t.ev, t.via = script, ev.main, ev
        self.made(t, tevent.tevent_add_timer(ev.ptr, mem_ctx, time_of(sec, usec), self.timer_handler, t))

    def op_imm(self, name: str, owner: str) -> None:
        valid, mem_ctx = self.owner(owner, "imm")
        if valid and (t := self.new(name, "imm")):
            self.made(t, tevent.tevent_create_immediate(mem_ctx))

    def op_signal(self, name: str, owner: str, context: str, number: str, flags: str, script: str) -> None:
        ev = self.context(context, orphan=True)
        valid, mem_ctx = self.owner(owner, "signal")
        if ev is None or not valid:
            return
        signum = int(number)
        sa_flags = (
            (tevent.SA_SIGINFO if "i" in flags else 0)
            | (tevent.SA_RESTART if "r" in flags else 0)
            | (tevent.SA_RESETHAND if "h" in flags else 0)
        )
        # In C the siginfo of a number whose first event did not ask for it is invalid.
        for other in self.things:
            if other.kind == "signal" and other.signum == signum and not other.flags & tevent.SA_SIGINFO:
                if other.attached:
                    sa_flags &= ~tevent.SA_SIGINFO
        if not (t := self.new(name, "signal")):
            return
        t.script, t.ev, t.via, t.signum, t.flags = script, ev.main, ev, signum, sa_flags
        first = signum not in _sigcount.state.events
        se = tevent.tevent_add_signal(ev.ptr, mem_ctx, signum, sa_flags, self.signal_handler, t)
        if se is not None and first:
            self.installed[signum] = sa_flags
            self.spent.discard(signum)
        self.made(t, se)

    def op_tctx(self, name: str, owner: str, context: str) -> None:
        ev = self.context(context)
        valid, mem_ctx = self.owner(owner, "tctx")
        if ev is None or ev.main is None or ev.freed or not valid or not (t := self.new(name, "tctx")):
            return
        t.ev, t.via = ev.main, ev
        self.made(t, tevent.tevent_threaded_context_create(mem_ctx, ev.ptr))

    def op_proxy(self, name: str, context: str) -> None:
        ev = self.context(context)
        if ev is not None and ev.main is not None and (t := self.new(name, "proxy")):
            t.ev, t.via = ev.main, ev
            self.made(t, tevent.tevent_thread_proxy_create(ev.ptr))

    # Many timers.

    def _storm_time(self, draw: Any) -> tevent.timeval:
        what = draw(10)
        if what < 3:
            return tevent.timeval(0, 0)
        sec = self.clock_us // 1000000 - 1 + draw(4)
        return tevent.timeval(sec, draw(5) * (700000 if what == 9 else 250000))

    def op_storm(self, name: str, count_text: str, seed: str) -> None:
        """Add, move and cancel many timers at random, and let all of them fire."""
        ev, count = self.thing(name, "ev"), int(count_text)
        if ev is None or count > 256 or ev.looping:
            return
        state = int(seed)

        def draw(below: int) -> int:
            nonlocal state
            state = (state * 1664525 + 1013904223) % 2**32
            return (state >> 8) % below

        def storm_handler(_ev: Any, te: Any, now: tevent.timeval, at: int) -> None:
            self.saw(f"fires {tevent.tevent_timer_get_tag(te)} at {text_of(now)}")
            timers[at] = None

        timers: list[Any] = [None] * count
        for step in range(3 * count):
            at = draw(count)
            if timers[at] is None:
                timers[at] = tevent.tevent_add_timer(ev.ptr, ev.ptr, self._storm_time(draw), storm_handler, at)
                tevent.tevent_timer_set_tag(timers[at], step)
            elif draw(3) == 0:
                talloc_free(timers[at])
                timers[at] = None
            else:
                tevent.tevent_update_timer(timers[at], self._storm_time(draw))
        self.saw(f"storm {name}")
        if not self.loop_begins(ev):
            return
        for _ in range(count):
            tevent.tevent_loop_once(ev.ptr)
        self.loop_ends(ev)
        for te in timers:
            if te is not None:
                talloc_free(te)

    # Changing things.

    def op_free(self, name: str) -> None:
        t = self.thing(name)
        if t is not None and not t.taken and self.may_be_freed(t):
            self.saw(f"free {name} {self.free(t)}")

    def op_steal(self, name: str, owner: str) -> None:
        t, to = self.thing(name), self.thing(owner)
        if t is None or t.taken or t.kind == "proxy":
            return
        valid, new_ctx = self.owner(owner, t.kind)
        if not valid or (to is not None and to.is_within(t)):
            return
        for part in self.things:
            if part.alive and part.is_within(t) and (part.threaded or not self.may_own(to, part.kind)):
                return
        talloc_steal(new_ctx, t.ptr)
        self.saw(f"steal {name}")

    def op_parent(self, name: str) -> None:
        t = self.thing(name)
        if t is not None:
            self.saw(f"parent {name} {self.called(talloc_parent(t.ptr))}")

    def _may_set(self, t: Thing, flags: int) -> bool:
        """Whether both sides do the same when flags are set."""
        if t.ev is None or not t.attached:
            return True
        if not flags_are_fine(flags):
            return False
        # After an error an event that only wants to write is silent in one of two ways.
        if t.latched and flags & 3 == 2 and t.ev.backend_is_epoll:
            return False
        return flags == 0 or not self._has_rival(t.ev, t.fd, t)

    def op_flags(self, name: str, flags: str) -> None:
        t = self.thing(name, "fd")
        if t is not None:
            self._set_flags(t, int(flags), lambda fde: tevent.tevent_fd_set_flags(fde, int(flags)))

    def _set_flags(self, t: Thing, flags: int, change: Any) -> None:
        self.flags_scan()
        if self._may_set(t, flags):
            if t.attached:
                t.flags = flags
            change(t.ptr)
            self.saw(f"flags {t.name} {tevent.tevent_fd_get_flags(t.ptr)}")
            self.flags_scan()

    def op_flag(self, name: str, which: str) -> None:
        t = self.thing(name, "fd")
        if t is None:
            return
        old = self.flags_of(t)
        flags, change = {
            "readable": (old | 1, tevent.TEVENT_FD_READABLE),
            "writeable": (old | 2, tevent.TEVENT_FD_WRITEABLE),
            "not_readable": (old & ~1, tevent.TEVENT_FD_NOT_READABLE),
            "not_writeable": (old & ~2, tevent.TEVENT_FD_NOT_WRITEABLE),
        }[which]
        self._set_flags(t, flags, change)

    def op_closefn(self, name: str, mode: str) -> None:
        t = self.thing(name, "fd")
        if t is None:
            return
        t.close_mode = mode
        if mode == "a":
            tevent.tevent_fd_set_auto_close(t.ptr)
        else:
            tevent.tevent_fd_set_close_fn(t.ptr, None if mode == "-" else self._close_fn)

    def _close_fn(self, ev: Any, fde: Any, fd: int, t: Thing) -> None:
        wrong = "" if t.ptr is fde else " ?"
        self.saw(f"close {t.name} ev={self.called(ev)} fd={self.descriptor_name(fd)}{wrong}")
        if t.close_mode == "c":
            try:
                os.close(fd)
            except OSError:
                pass

    def op_update(self, name: str, sec: str, usec: str) -> None:
        t = self.thing(name, "timer")
        if t is not None and t.attached and t.running == 0:
            tevent.tevent_update_timer(t.ptr, time_of(sec, usec))
            self.saw(f"update {name}")

    def op_sched(self, name: str, context: str, script: str) -> None:
        t, ev = self.thing(name, "imm"), self.context(context)
        if t is None or ev is None or ev.main is None or t.threaded or t.taken:
            return
        wrapped = t.via if t.queued and t.attached and t.via is not None and t.via.kind == "wrap" else None
        # C lets an immediate that is queued through a wrapper of another context run through that one.
        if wrapped is not None and t.ev is not ev.main:
            return
        t.queued, t.ev, t.script = True, ev.main, script
        t.via = ev if ev.kind == "wrap" or wrapped is None else wrapped
        tevent.tevent_schedule_immediate(t.ptr, ev.ptr, self.imm_handler, t)
        self.saw(f"sched {name}")

    def op_cancel(self, name: str, context: str) -> None:
        # C lets an immediate that was cancelled through a wrapper run through it ever after.
        t, ev = self.thing(name, "imm"), self.thing(context, "ev")
        if t is None or ev is None or t.threaded or t.taken:
            return
        t.queued = False
        tevent.tevent_schedule_immediate(t.ptr, ev.ptr, None, None)
        self.saw(f"cancel {name}")

    def _is_idle(self, t: Thing) -> bool:
        return not (t.threaded or t.taken or t.freed or t.running > 0 or (t.queued and t.attached))

    def op_tsched(self, threaded: str, name: str, script: str) -> None:
        tctx, t = self.thing(threaded, "tctx"), self.thing(name, "imm")
        if tctx is None or t is None or not self._is_idle(t) or self.is_automatic(t) or self.is_taken(t):
            return
        if tctx.attached:
            t.ev, t.via = tctx.ev, tctx.via
        t.script = script
        tevent.tevent_threaded_schedule_immediate(tctx.ptr, t.ptr, self.imm_handler, t)
        t.scheduled_by_thread = tctx.attached
        self.saw(f"tsched {name}")

    def op_psched(self, proxy_name: str, name: str, script: str) -> None:
        proxy, t = self.thing(proxy_name, "proxy"), self.thing(name, "imm")
        if proxy is None or t is None or not self._is_idle(t) or proxy.is_within(t) or not self.may_be_freed(t):
            return
        own = self.new(f"{name}.d", "data")
        if own is None:
            return
        private_data = talloc(None, own_data)
        assert private_data is not None
        private_data.thing = t
        self.made(own, private_data)
        own.taken = t.taken = True
        t.ev, t.via, t.script = proxy.ev, proxy, script
        tevent.tevent_thread_proxy_schedule(proxy.ptr, t.ptr, self.proxy_handler, private_data)
        self.saw(f"psched {name} none none")

    _TAGS: ClassVar[dict[str, tuple[Any, Any]]] = {
        "fd": (tevent.tevent_fd_set_tag, tevent.tevent_fd_get_tag),
        "timer": (tevent.tevent_timer_set_tag, tevent.tevent_timer_get_tag),
        "imm": (tevent.tevent_immediate_set_tag, tevent.tevent_immediate_get_tag),
        "signal": (tevent.tevent_signal_set_tag, tevent.tevent_signal_get_tag),
    }

    def op_tag(self, name: str, tag: str) -> None:
        t = self.thing(name)
        if t is not None and t.kind in self._TAGS:
            self._TAGS[t.kind][0](t.ptr, int(tag))

    def _tag_of(self, t: Thing) -> int:
        return self._TAGS[t.kind][1](t.ptr) if t.kind in self._TAGS else 0

    def op_gettag(self, name: str) -> None:
        t = self.thing(name)
        if t is not None:
            self.saw(f"tag {name} {self._tag_of(t)}")

    def op_query(self, name: str, other_name: str = "-") -> None:
        t, other = self.thing(name), self.context(other_name)
        if t is None:
            return
        if t.kind == "fd":
            self.saw(f"query {name} flags={tevent.tevent_fd_get_flags(t.ptr)}")
        elif t.kind in ("ev", "wrap"):
            wrapper = int(tevent.tevent_context_is_wrapper(t.ptr))
            same = int(tevent.tevent_context_same_loop(t.ptr, other.ptr if other is not None else None))
            self.saw(f"query {name} wrapper={wrapper} signals={int(tevent.tevent_signal_support(t.ptr))} same={same}")
            if t.kind == "ev":
                self.saw(f"query {name} events={int(tevent.tevent_common_have_events(t.ptr))}")
