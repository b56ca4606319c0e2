# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The area "requests": tevent_req, tevent_queue, tevent_wakeup, profiles and the helpers of lib/util.

This is the generator of programs; what carries them out is in requests_python.py and ``c/requests.c``.  It looks at the
Python side to see what is alive, so most operations find what they need; scripts are written before it is known what
will be there when they run, and meet everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from .program import Choices, Interpreter
from .requests_python import Requests

REQS = tuple(f"r{i}" for i in range(6))
STATES = tuple(f"s{i}" for i in range(6))
QUEUES = ("q0", "q1")
CHUNKS = ("c0", "c1", "c2")
CONTEXTS = ("e0", "e1", "e2", "e3")
IMMEDIATES = ("i0", "i1")
TIMERS = ("t0", "t1")
ENTRIES = ("n0", "n1", "n2", "n3")
PROFILES = ("p0", "p1", "p2")
SCRIPTS = tuple(f"k{i}" for i in range(8))
POOLS = {
    "req": REQS,
    "state": STATES,
    "queue": QUEUES,
    "chunk": CHUNKS,
    "ev": CONTEXTS,
    "imm": IMMEDIATES,
    "timer": TIMERS,
    "entry": ENTRIES,
    "profile": PROFILES,
}
TIMES = ("zero", "0", "0", "-1000", "1000", "1000", "2000", "5000", "31000000")
ERRORS = ("5", "1", "0", "-1", "0x8000000000000001", "0x1234567890", "110", "0x917B5ACDC0000022")
STATUSES = ("0xC0000022", "0xC0000001", "0", "0x103")
PACKED = (
    "0_name|start|stop|1_2_3_4_0_2_0|",
    "0_name|start|stop|1_2_3_4_-1_77_18446744073709551615|",
    "1_name|start|stop|1_2_3_4_0_2_0|0_sub|a|b|5_6_7_8_9_3_5|",
    "2_name|start|stop|1_2_3_4_0_2_0|0_sub|a|b|5_6_7_8_9_3_5|1_sub|a|b|5_6_7_8_9_3_5|0_x|||0_0_0_0_0_0_0|",
    "0_|||0_0_0_0_0_0_0|",
    "0_name|start|stop|+1_-2___3_4_0_2_0|rest|",
    "_0_name|start|stop|1_2_3_4_0_2_18446744073709551616|",
)


class AREA:
    name: ClassVar[str] = "requests"
    packages: ClassVar[tuple[str, ...]] = ("talloc", "tevent", "samba-util")
    flags: ClassVar[tuple[str, ...]] = ("-ltevent-util", "-lsamba-errors")
    length: ClassVar[int] = 150

    def __init__(self) -> None:
        self._side: Requests
        self._choices: Choices
        self._in_script = False
        self._missed = False
        self._lines = 0

    def python(self) -> Interpreter:
        self._side = Requests()
        return self._side

    def saw(self, line: str, observations: list[str]) -> None:
        """Nothing is learnt here: the Python side knows all."""

    def next_line(self, choices: Choices) -> str:
        self._choices = choices
        self._lines += 1
        if choices.chance(90 if self._lines < 8 else 14):
            return self._script()
        if choices.chance(9):
            return self._loop()
        line = ""
        for _ in range(8):  # until it is about something that is there
            self._missed = False
            line = choices.pick(EVERYWHERE)(self)
            if not self._missed:
                break
        return line

    # What operations are about.

    def _one(self, kind: str, which: str | None = None) -> str:
        """A chunk of the kind: as a rule one that is alive and, if given, has got a script for *which*."""
        if not self._in_script and not self._choices.chance(3):
            names = [
                name
                for name, its_kind, obj in self._side._objects
                if its_kind == kind and (which is None or getattr(self._side.note(obj), which) != "-")
            ]
            if names:
                return self._choices.pick(names)
            self._missed = True
        return self._choices.pick(POOLS[kind])

    def _fresh(self, kind: str) -> str:
        """A name that nothing has yet, as long as there is one."""
        pool = POOLS[kind]
        if not self._in_script:
            free = [name for name in pool if self._side.kind(name) is None]
            if kind == "req":
                free = [name for name in free if self._side.kind(f"s{name[1:]}") is None]
            pool = tuple(free) or pool
        return self._choices.pick(pool)

    def _ev(self) -> str:
        return self._one("ev") if self._choices.chance(35) else "e0"

    def _owner(self) -> str:
        kind = self._choices.pick(("state", "state", "root", "chunk", "req", "state", "queue", "ev", "none", "profile"))
        return "root" if kind == "root" else "-" if kind == "none" else self._one(kind)

    def _blind(self) -> str:
        """Now and then the last argument that lets an operation go where the library aborts."""
        return " blind" if self._choices.chance(1) else ""

    def _fn(self) -> str:
        return "-" if self._choices.chance(8) else self._choices.pick(SCRIPTS)

    def _pick(self, items: Sequence[str]) -> str:
        return self._choices.pick(items)

    # Lines.

    def _script(self) -> str:
        self._in_script = True
        parts = []
        for _ in range(self._choices.integer(0 if self._choices.chance(5) else 1, 4)):
            parts.append(self._choices.pick(IN_SCRIPTS)(self))
        if self._choices.chance(20):
            parts.append(f"return {self._pick(('-1', '1', '1'))}")
        self._in_script = False
        return f"script {self._pick(SCRIPTS)} {' ; '.join(parts)}".rstrip()

    def _loop(self) -> str:
        return f"loop {self._ev()} {self._choices.integer(1, 3)}"

    def create(self) -> str:
        return f"req {self._fresh('req')} {self._owner()} {self._pick(('foo', 'bar'))}"

    def wakeup(self) -> str:
        return f"wakeup {self._fresh('req')} {self._owner()} {self._ev()} {self._pick(TIMES)}"

    def wait(self) -> str:
        return f"wait {self._fresh('req')} {self._owner()} {self._ev()} {self._one('queue')}"

    def callback(self) -> str:
        pvt = f" {self._one('req')}" if self._choices.chance(25) else ""
        return f"callback {self._one('req')} {self._fn()}{pvt}"

    def hook(self) -> str:
        return f"{self._pick(('cleanup', 'cleanup', 'cancelfn', 'printfn'))} {self._one('req')} {self._fn()}"

    def done(self) -> str:
        return f"done {self._one('req')}"

    def error(self) -> str:
        op = self._pick(("error", "error", "error", "nterror", "werror"))
        return f"{op} {self._one('req')} {self._pick(ERRORS if op == 'error' else STATUSES)}"

    def end_otherwise(self) -> str:
        op = self._pick(("oom", "nomem", "notify"))
        return f"{op} {self._one('req')}" + (f" {self._choices.integer(0, 1)}" if op == "nomem" else "")

    def post(self) -> str:
        return f"post {self._one('req')} {self._ev()}{self._blind()}"

    def defer(self) -> str:
        return f"defer {self._one('req')} {'-' if self._choices.chance(15) else self._ev()}{self._blind()}"

    def endtime(self) -> str:
        return f"endtime {self._one('req')} {self._ev()} {self._pick(TIMES)}"

    def reset(self) -> str:
        return f"reset {self._one('req')}"

    def cancel(self) -> str:
        return f"cancel {self._one('req', None if self._choices.chance(20) else 'cancel')}"

    def received(self) -> str:
        return f"received {self._one('req')}"

    def recv(self) -> str:
        kind = self._pick(("unix", "unix", "werror", "wait", "wakeup", "nt"))
        return f"recv {self._one('req')} {kind}{self._blind()}"

    def finish(self) -> str:
        return f"finish {self._one('req')} {self._pick(('nt', 'werror'))} {self._pick(STATUSES)}"

    def poll(self) -> str:
        kind = self._pick(("plain", "plain", "unix", "nt", "werror"))
        nested = " nested" if self._choices.chance(2) else ""
        return f"poll {self._one('req')} {self._ev()} {kind}{nested}"

    def look(self) -> str:
        op = self._pick(("look", "look", "default", "print"))
        return f"{op} {self._one('req', 'print' if op == 'print' and self._choices.chance(80) else None)}"

    def nt(self) -> str:
        if self._choices.chance(30):
            return f"errno {self._choices.integer(-1, 140)}"
        return f"nt {self._one('req')}{self._blind()}"

    def data(self) -> str:
        name = self._one("req")
        state = self._side.get(f"s{name[1:]}", "state")
        if state is None and not self._choices.chance(1):
            return f"look {name}"
        is_foo = (type(state).__name__ == "foo_state") != self._choices.chance(1)
        return f"data {name} {'foo' if is_foo else 'bar'}"

    def callback_data(self) -> str:
        name = self._one("req")
        req = self._side.get(name, "req")
        note = None if req is None else self._side.note(req)
        if (note is None or note.pvt_ptr is None) and not self._choices.chance(1):
            return f"look {name}"
        is_req = (note is not None and note.pvt is not None) != self._choices.chance(1)
        return f"callback_data {name} {'req' if is_req else 'script'}"

    def tree(self) -> str:
        op = self._pick(("tree", "tree", "blocks", "parent"))
        name = self._one(self._pick(("req", "req", "state", "queue", "chunk", "profile", "entry", "imm", "timer")))
        return f"{op} {'root' if op == 'tree' and self._choices.chance(10) else name}"

    def free(self) -> str:
        if self._choices.chance(50):
            return f"free {self._one('req')}"
        return f"free {self._one(self._pick(('entry', 'entry', *POOLS)))}"

    def steal(self) -> str:
        return f"steal {self._one(self._pick(('req', 'req', 'queue', 'chunk', 'imm', 'timer')))} {self._owner()}"

    def reference(self) -> str:
        what = self._one(self._pick(("req", "req", "req", "state", "queue", "chunk", "imm", "timer")))
        if self._choices.chance(25):
            return f"unlink {what} {self._owner()}"
        return f"reference {what} {self._one('chunk')}"

    def chunk(self) -> str:
        return f"chunk {self._fresh('chunk')} {'root' if self._choices.chance(30) else self._owner()} {self._fn()}"

    def destructor(self) -> str:
        return f"destructor {self._one(self._pick(('chunk', 'state', 'state', 'req')))} {self._fn()}"

    def ev(self) -> str:
        if self._choices.chance(60):
            return f"wrapper {self._fresh('ev')} {self._one('ev')} {self._pick(('root', '-'))}"
        return f"ev {self._fresh('ev')} {self._pick(('root', '-'))}"

    def immediate(self) -> str:
        if self._choices.chance(30):
            return f"imm {self._fresh('imm')} {self._owner()}"
        return f"schedule {self._one('imm')} {self._ev()} {self._fn()}"

    def timer(self) -> str:
        return f"timer {self._fresh('timer')} {self._owner()} {self._ev()} {self._pick(TIMES)} {self._pick(SCRIPTS)}"

    def advance(self) -> str:
        return f"advance {self._pick(('1000', '1000', '5000', '60000000'))}"

    def queue(self) -> str:
        return f"queue {self._fresh('queue')} {self._owner()} {self._pick(('work', 'work', 'other', '-'))}"

    def add(self) -> str:
        return f"add {self._one('queue')} {self._ev()} {self._one('req')} {self._fn()}"

    def entry(self) -> str:
        op = self._pick(("entry", "optimize"))
        return f"{op} {self._fresh('entry')} {self._one('queue')} {self._ev()} {self._one('req')} {self._fn()}"

    def queue_state(self) -> str:
        return f"{self._pick(('start', 'start', 'stop', 'length'))} {self._one('queue')}"

    def untrigger(self) -> str:
        return f"untrigger {self._one('entry')}{self._blind()}"

    def pause(self) -> str:
        """What a trigger does whose turn is to come again."""
        after = self._pick(("", "", f" ; start {self._one('queue')}"))
        return f"stop {self._one('queue')} ; untrigger {self._one('entry')}{after}"

    def tag(self) -> str:
        return f"tag {'-' if self._choices.chance(10) else self._one('entry')} {self._pick(('7', '-1', '0'))}"

    def watch(self) -> str:
        return f"{self._pick(('watch', 'watch_queue'))} {self._ev()} {self._pick(('0', '0', '1'))}"

    def set_profile(self) -> str:
        return f"set_profile {self._one('req')}{self._blind()}"

    def move_profile(self) -> str:
        return f"move_profile {self._one('req')} {self._owner()} {self._fresh('profile')}"

    def _profiled(self) -> str:
        return self._one(self._pick(("req", "profile")))

    def show_profile(self) -> str:
        name = self._profiled()
        if self._choices.chance(40):
            return f"pstring {name} {self._choices.integer(0, 2)} {self._choices.integer(0, 4)}"
        return f"{self._pick(('pshow', 'pack'))} {name}"

    def change_profile(self) -> str:
        name = self._one("profile")
        what = self._choices.integer(0, 5)
        if what == 0:
            return f"pname {name} {self._pick(('name', 'other', '-'))}"
        if what == 1:
            return f"pstart {name} {self._pick(('start', 'a.x:1', '-'))} {self._pick(TIMES)}"
        if what == 2:
            return f"pstop {name} {self._pick(('stop', 'b.x:2', '-'))} {self._pick(TIMES)}"
        if what == 3:
            return f"pstatus {name} {self._pick(('0', '-1', '4294967301'))} {self._choices.integer(-1, 8)} -1"
        if what == 4:
            return f"pappend {name} {self._one('profile')}"
        return f"profile {self._fresh('profile')} {self._owner()}"

    def unpack(self) -> str:
        if self._choices.chance(40):
            return f"repack {self._fresh('profile')} {self._owner()} {self._profiled()}"
        text = self._pick(PACKED)
        if self._choices.chance(60):
            at = self._choices.integer(0, len(text) - 1)
            text = text[:at] + self._pick(("", "", "_", "|", "-", "9", "x", "|_")) + text[at + 1 :]
        return f"unpack {self._fresh('profile')} {self._owner()} {text or '|'}"


def _weighted(*weights: tuple[int, Callable[[AREA], str]]) -> list[Callable[[AREA], str]]:
    return [function for weight, function in weights for _ in range(weight)]


#: How often which operation, in a line of its own or in a script.
EVERYWHERE = _weighted(
    (14, AREA.create), (3, AREA.wakeup), (3, AREA.wait), (12, AREA.callback), (8, AREA.hook), (8, AREA.done),
    (5, AREA.error), (3, AREA.end_otherwise), (6, AREA.post), (4, AREA.defer), (6, AREA.endtime), (1, AREA.reset),
    (4, AREA.cancel), (2, AREA.received), (2, AREA.recv), (1, AREA.finish), (2, AREA.poll), (5, AREA.look),
    (1, AREA.nt), (1, AREA.data), (1, AREA.callback_data), (5, AREA.tree), (6, AREA.free), (2, AREA.steal),
    (2, AREA.reference), (4, AREA.chunk), (3, AREA.destructor), (2, AREA.ev), (3, AREA.immediate), (2, AREA.timer),
    (2, AREA.advance), (4, AREA.queue), (5, AREA.add), (9, AREA.entry), (5, AREA.queue_state), (3, AREA.untrigger),
    (1, AREA.tag), (2, AREA.watch), (3, AREA.set_profile), (1, AREA.move_profile), (4, AREA.show_profile),
    (2, AREA.change_profile), (2, AREA.unpack),
)  # fmt: skip
IN_SCRIPTS = _weighted(
    (4, AREA.create), (1, AREA.wakeup), (1, AREA.wait), (4, AREA.callback), (2, AREA.hook), (8, AREA.done),
    (5, AREA.error), (3, AREA.end_otherwise), (4, AREA.post), (2, AREA.defer), (3, AREA.endtime), (1, AREA.reset),
    (3, AREA.cancel), (2, AREA.received), (2, AREA.recv), (1, AREA.finish), (1, AREA.poll), (4, AREA.look),
    (4, AREA.tree), (9, AREA.free), (2, AREA.steal), (1, AREA.reference), (2, AREA.chunk), (1, AREA.destructor),
    (2, AREA.immediate), (1, AREA.timer), (1, AREA.advance), (1, AREA.queue), (2, AREA.add), (4, AREA.entry),
    (3, AREA.queue_state), (3, AREA.pause), (1, AREA.watch), (1, AREA.set_profile), (1, AREA.move_profile),
    (1, AREA.show_profile),
    (1, AREA._loop),
)  # fmt: skip
