# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Programs of the area "loop", made up line by line.

Names are few and come again, so that the scripts of handlers meet living things. What a program is about (backends,
signals, wrappers, nested loops, threads, who looks on) is settled with its first line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .loop_world import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Callable

    from .loop import Loop
    from .program import Choices

#: How many names there are of each kind.
NAMES = {
    "ctx": ("c", 3),
    "ev": ("e", 2),
    "wrap": ("w", 2),
    "fd": ("f", 6),
    "timer": ("t", 7),
    "imm": ("i", 6),
    "signal": ("s", 5),
    "tctx": ("x", 2),
    "proxy": ("p", 2),
}
EVENTS = ("fd", "timer", "imm", "signal")
SCRIPTS = 8
#: Numbers that are refused, and those that are not.
BAD_SIGNALS = (0, 9, 19, 32, 67, 68, 500)
USECS = (0, 1, 999, 1000, 1001, 500000, 999999, 1000000, 1500000, 3999999)
TV_WORDS = (0, 1, 5, 999999, 1000000, 2000000, 4294967295, 4294967296, -1, -999999, 123456789)


class Programs:
    """What makes up programs; the base of the area."""

    loop: Loop

    def __init__(self) -> None:
        self._choices: Choices
        self._features: set[str] | None = None
        self._backends: tuple[str, ...] = ("epoll",)
        self._descriptors = 0
        self._lines = 0
        self._in_script = False

    def saw(self, line: str, observations: list[str]) -> None:
        """Nothing has to be remembered: the Python side knows what is alive."""

    # What is there.

    def _some(self, kind: str, *, alive: int = 85) -> str:
        """A name of that kind, mostly of something living."""
        if self._in_script and kind in EVENTS and self._choices.chance(25):
            return "self"
        prefix, count = NAMES[kind]
        names = [f"{prefix}{i}" for i in range(1, count + 1)]
        if self._choices.chance(alive):
            living = [name for name in names if self.loop.thing(name) is not None]
            if living:
                return self._choices.pick(living)
        return self._choices.pick(names)

    def _fresh(self, kind: str) -> str:
        """A name of that kind, mostly one that is free."""
        prefix, count = NAMES[kind]
        names = [f"{prefix}{i}" for i in range(1, count + 1)]
        free = [name for name in names if self.loop.thing(name) is None]
        return self._choices.pick(free or names)

    def _thing(self) -> str:
        kinds = ["fd", "timer", "imm", "signal", "ctx"]
        kinds += [kind for kind in ("wrap", "tctx", "proxy") if kind in self._has]
        return self._some(self._choices.pick(kinds))

    def _event(self) -> str:
        return self._some(self._choices.pick(EVENTS if "signal" in self._has else EVENTS[:3]))

    def _context(self) -> str:
        if "wrap" in self._has and self._choices.chance(40):
            return self._some("wrap")
        return self._some("ev")

    def _owner(self) -> str:
        pick = self._choices.integer(0, 9)
        if pick < 5:
            return "-"
        if pick < 8:
            return self._some("ctx")
        return self._event() if pick == 8 else self._some("ev")

    def _script(self) -> str:
        return f"k{self._choices.integer(1, SCRIPTS)}" if self._choices.chance(80) else "-"

    def _descriptor(self) -> str:
        names = list(self.loop.fds)
        return self._choices.pick(names[-8:]) if names else "-"

    def _time(self) -> str:
        pick = self._choices.integer(0, 9)
        now = self.loop.clock_us // 1000000
        if pick < 3:
            return "0 0"
        if pick < 5:
            return f"{now - self._choices.integer(0, 3)} {self._choices.pick(USECS)}"
        if pick < 9:
            return f"{now + self._choices.integer(0, 4)} {self._choices.pick(USECS)}"
        return f"{self._choices.pick((-1, 0, 1, now + 40, now - 1000))} {self._choices.pick(USECS)}"

    def _number(self) -> int:
        if self._choices.chance(3):
            return self._choices.pick(BAD_SIGNALS)
        return self._choices.pick(SIGNALS)

    # Lines.

    def next_line(self, choices: Choices) -> str:
        """The next line of a program."""
        self._choices = choices
        if self._features is None:
            return self._first()
        if self.loop.thing("e1") is None and self.loop.thing("e2") is None:
            return f"ev e1 {self._owner()} {self._backend()}"
        self._lines += 1
        table = self._table(SETUP if self._lines < SETUP_LINES else LINES)
        total = sum(weight for weight, _ in table)
        at = choices.integer(0, total - 1)
        for weight, make in table:
            at -= weight
            if at < 0:
                return make(self)
        raise AssertionError

    def _first(self) -> str:
        choices = self._choices
        self._features = {
            name
            for name, percent in (
                ("signal", 50), ("wrap", 25), ("nest", 25), ("tctx", 20), ("proxy", 15), ("look", 40), ("rare", 50),
                ("hook", 15), ("part", 25),
            )
            if choices.chance(percent)
        }  # fmt: skip
        self._backends = choices.pick(
            (
                ("epoll",),
                ("poll",),
                ("standard",),
                ("epoll", "poll"),
                ("standard", "poll_mt"),
                ("poll_mt", "-"),
                ("+epoll", "poll"),
                ("+poll", "epoll"),
            )
        )
        return f"ev e1 - {self._backend()}"

    @property
    def _has(self) -> set[str]:
        assert self._features is not None
        return self._features

    def _table(self, lines: tuple[Row, ...]) -> list[tuple[int, Callable[[Programs], str]]]:
        has = self._has
        return [(weight, make) for weight, feature, make in lines if feature is None or feature in has]

    def _backend(self) -> str:
        if "rare" in self._has and self._choices.chance(2):
            return self._choices.pick(("select", "poll_mt", "-", "nothing"))
        return self._choices.pick(self._backends)

    def _new_script(self) -> str:
        self._in_script = True
        parts = [self._inner() for _ in range(self._choices.integer(0, 4))]
        self._in_script = False
        return f"script k{self._choices.integer(1, SCRIPTS)} {' ; '.join(parts)}".rstrip()

    def _inner(self) -> str:
        table = self._table(INNER)
        at = self._choices.integer(0, sum(weight for weight, _ in table) - 1)
        for weight, make in table:
            at -= weight
            if at < 0:
                return make(self)
        raise AssertionError

    def _ev(self) -> str:
        return f"ev {self._fresh('ev')} {self._owner()} {self._backend()}"

    def _fd(self) -> str:
        flags = self._choices.pick((1, 1, 3, 3, 2, 2, 0, 9))
        descriptor = "-" if self._choices.chance(1) else self._descriptor()
        return f"fd {self._fresh('fd')} {self._owner()} {self._context()} {descriptor} {flags} {self._script()}"

    def _timer(self) -> str:
        return f"timer {self._fresh('timer')} {self._owner()} {self._context()} {self._time()} {self._script()}"

    def _imm(self) -> str:
        return f"imm {self._fresh('imm')} {self._owner()}"

    def _sched(self) -> str:
        return f"sched {self._some('imm')} {self._context()} {self._script()}"

    def _signal(self) -> str:
        flags = "".join(letter for letter in "irh" if self._choices.chance(30)) or "-"
        return (
            f"signal {self._fresh('signal')} {self._owner()} {self._context()} {self._number()} {flags} "
            f"{self._script()}"
        )

    def _wrap(self) -> str:
        agrees = "no" if self._choices.chance(20) else "yes"
        return f"wrap {self._fresh('wrap')} {self._owner()} {self._some('ev')} {agrees}"

    def _pair(self) -> str:
        self._descriptors += 1
        kind = self._choices.pick(("pair", "pipe"))
        return f"{kind} a{self._descriptors} b{self._descriptors}"

    def _file(self) -> str:
        self._descriptors += 1
        return f"file a{self._descriptors}"

    def _transfer(self) -> str:
        what = self._choices.integer(0, 9)
        name = self._descriptor()
        if what < 5:
            return f"write {name} {self._choices.pick((1, 3, 100))}"
        if what < 7:
            return f"read {name} {self._choices.pick((1, 2, 1000))}"
        return f"drain {name}"

    def _hard(self) -> str:
        what = self._choices.integer(0, 9)
        if what < 4:
            return f"shut {self._descriptor()} {self._choices.integer(0, 2)}"
        return f"close {self._descriptor()}" if what < 9 else f"fill {self._descriptor()}"

    def _flags(self) -> str:
        if self._choices.chance(30):
            which = self._choices.pick(("readable", "writeable", "not_readable", "not_writeable"))
            return f"flag {self._some('fd')} {which}"
        return f"flags {self._some('fd')} {self._choices.pick((0, 1, 2, 3, 3, 11))}"

    def _once(self) -> str:
        return f"once {self._some('ev')} {self._choices.pick((1, 2, 3, 5, 8))}"

    def _until(self) -> str:
        return f"until {self._some('ev')} {self._choices.integer(0, 4)}"

    def _trace(self) -> str:
        if self._choices.chance(10):
            return f"gettrace {self._context()}"
        ev = self._some("ev") if self._choices.chance(98) else self._context()
        if self._choices.chance(25):
            return f"debug {ev} {self._choices.pick(('on', 'off'))}"
        what = self._choices.pick(("point", "fd", "timer", "imm", "signal"))
        return f"trace {ev} {what} {self._choices.pick(('on', 'on', 'off'))}"

    def _tag(self) -> str:
        if self._choices.chance(50):
            return f"gettag {self._event()}"
        return f"tag {self._event()} {self._choices.pick((0, 1, 77, 2**64 - 1))}"

    def _hook(self) -> str:
        begin = 7 if self._choices.chance(5) else 0
        end = 9 if self._choices.chance(5) else 0
        return f"hook {self._some('ev')} {'2' if self._choices.chance(2) else '1'} {begin} {end}"

    def _part(self) -> str:
        if self._choices.chance(50):
            return f"invoke {self._event()} {self._choices.pick((1, 2, 3))} {self._choices.pick((0, 5))}"
        return f"part {self._some('ev')} {self._choices.pick(('signal', 'imm', 'timer'))}"

    def _rare(self) -> str:
        what = self._choices.integer(0, 9)
        if what == 0:
            return "backends"
        if what == 1:
            return f"default {self._choices.pick(('-', 'poll', 'epoll', 'nothing'))}"
        if what == 2:
            return f"reinit {self._context()}"
        if what == 3:
            return f"wakeup {self._some('ev')} {self._choices.pick(('init', 'now'))}"
        if what == 4:
            return self._file()
        if what == 5:
            return f"free {self._some('ev')}"
        operation = self._choices.pick(("add", "until", "compare", "set", "ofs", "is_zero", "current", "zero"))
        return f"tv {operation} " + " ".join(str(self._choices.pick(TV_WORDS)) for _ in range(4))

    def _twice(self) -> str:
        event = self._event()
        return f"free {event} ; free {event}"

    def _storm(self) -> str:
        return f"storm {self._some('ev')} {self._choices.pick((5, 20, 60))} {self._choices.integer(0, 1 << 20)}"

    def _use(self) -> str:
        return f"{'pop' if self._choices.chance(30) else 'push'} {self._context()}"


Row = tuple[int, "str | None", "Callable[[Programs], str]"]

#: What handlers do: how often, in which programs, and how it is made up.
INNER: tuple[Row, ...] = (
    (8, None, lambda p: f"free {p._event()}"),
    (3, None, lambda p: f"free {p._thing()}"),
    (1, "rare", Programs._twice),
    (10, None, Programs._sched),
    (3, None, Programs._imm),
    (3, None, lambda p: f"cancel {p._some('imm')} {p._some('ev')}"),
    (8, None, Programs._timer),
    (6, None, lambda p: f"update {p._some('timer')} {p._time()}"),
    (4, None, Programs._fd),
    (8, None, Programs._flags),
    (12, None, Programs._transfer),
    (2, None, Programs._hard),
    (2, None, lambda p: f"closefn {p._some('fd')} {p._choices.pick(('p', 'c', 'a', '-'))}"),
    (2, None, lambda p: f"advance {p._choices.pick((1, 999, 1000000, 2000000))}"),
    (1, None, lambda p: f"steal {p._thing()} {p._owner()}"),
    (1, None, lambda p: f"parent {p._event()}"),
    (2, None, lambda p: f"query {p._thing()}"),
    (2, None, Programs._tag),
    (10, "signal", lambda p: f"raise {p._number()}"),
    (3, "signal", Programs._signal),
    (1, "wrap", Programs._wrap),
    (1, "wrap", Programs._use),
    (4, "tctx", lambda p: f"tsched {p._some('tctx')} {p._some('imm')} {p._script()}"),
    (4, "proxy", lambda p: f"psched {p._some('proxy')} {p._some('imm')} {p._script()}"),
    (5, "look", Programs._trace),
    (6, "nest", Programs._once),
    (1, "nest", lambda p: f"wait {p._some('ev')}"),
    (1, "nest", Programs._until),
    (3, "part", Programs._part),
    (1, "hook", Programs._hook),
    (1, "rare", Programs._rare),
)
#: How a program begins.
SETUP_LINES = 20
SETUP: tuple[Row, ...] = (
    (6, None, Programs._pair),
    (6, None, Programs._fd),
    (4, None, Programs._timer),
    (6, None, Programs._imm),
    (6, None, Programs._new_script),
    (2, None, lambda p: f"ctx {p._fresh('ctx')} {p._owner()}"),
    (1, None, Programs._ev),
    (3, None, Programs._sched),
    (2, None, Programs._transfer),
    (5, "signal", Programs._signal),
    (5, "wrap", Programs._wrap),
    (4, "tctx", lambda p: f"tctx {p._fresh('tctx')} {p._owner()} {p._context()}"),
    (3, "proxy", lambda p: f"proxy {p._fresh('proxy')} {p._context()}"),
    (4, "look", Programs._trace),
    (3, "nest", lambda p: f"nest {p._some('ev')}"),
    (3, "hook", Programs._hook),
)
#: What a program's lines do.
LINES: tuple[Row, ...] = (
    (30, None, Programs._once),
    (14, None, Programs._new_script),
    (6, None, Programs._pair),
    (12, None, Programs._fd),
    (12, None, Programs._timer),
    (6, None, Programs._imm),
    (10, None, Programs._sched),
    (10, None, Programs._transfer),
    (5, None, Programs._flags),
    (4, None, Programs._hard),
    (4, None, lambda p: f"free {p._thing()}"),
    (3, None, lambda p: f"update {p._some('timer')} {p._time()}"),
    (2, None, lambda p: f"cancel {p._some('imm')} {p._some('ev')}"),
    (3, None, lambda p: f"closefn {p._some('fd')} {p._choices.pick(('p', 'c', 'a', '-'))}"),
    (3, None, lambda p: f"ctx {p._fresh('ctx')} {p._owner()}"),
    (1, None, Programs._ev),
    (1, None, lambda p: f"steal {p._thing()} {p._owner()}"),
    (1, None, lambda p: f"parent {p._thing()}"),
    (2, None, lambda p: f"query {p._some('fd')}"),
    (2, None, lambda p: f"query {p._context()} {p._context()}"),
    (2, None, Programs._tag),
    (3, None, lambda p: f"advance {p._choices.pick((1, 999, 1000, 1000000, 5000000))}"),
    (2, None, lambda p: f"wait {p._some('ev')}"),
    (2, None, Programs._until),
    (12, "signal", Programs._signal),
    (12, "signal", lambda p: f"raise {p._number()}"),
    (3, "signal", lambda p: f"raise_in_wait {p._number()}"),
    (1, "signal", lambda p: f"signals {p._number()}"),
    (6, "wrap", Programs._wrap),
    (1, "wrap", Programs._use),
    (4, "tctx", lambda p: f"tctx {p._fresh('tctx')} {p._owner()} {p._context()}"),
    (8, "tctx", lambda p: f"tsched {p._some('tctx')} {p._some('imm')} {p._script()}"),
    (4, "proxy", lambda p: f"proxy {p._fresh('proxy')} {p._context()}"),
    (8, "proxy", lambda p: f"psched {p._some('proxy')} {p._some('imm')} {p._script()}"),
    (6, "look", Programs._trace),
    (2, "nest", lambda p: f"nest {p._some('ev')}"),
    (2, "hook", Programs._hook),
    (4, "part", Programs._part),
    (3, "rare", Programs._rare),
    (1, "rare", Programs._storm),
)
