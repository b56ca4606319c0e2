# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What the Python side of the area "requests" is made of: its objects, its handlers, and its virtual time.

What the C driver remembers and refuses is the same; it is said there why.
"""

from __future__ import annotations

import sys
from typing import Any

from talloc_py import (
    TALLOC_CTX,
    talloc_free,
    talloc_is_parent,
    talloc_named_const,
    talloc_strdup,
    talloc_zero,
)
from talloc_py._chunk import LEFT
from tevent import (
    TEVENT_REQ_RECEIVED,
    tevent_context_init_byname,
    tevent_queue_entry_get_tag,
    tevent_req,
    tevent_req_callback_data_void,
    tevent_req_defer_callback,
    tevent_req_get_profile,
    tevent_req_is_error,
    tevent_req_state,
    tevent_set_abort_fn,
    tevent_wrapper_ops,
    timeval,
)
from tevent import _sys as tevent_sys

from .program import EndOfProgram, Interpreter

START_US = 1_000_000_000 * 1_000_000
POINTS = ("attach", "detach", "before")

#: What C answers by a signal, and Python by the abort function: see known.py.
SIGNALS = (
    ("tevent_req_post() of a request that was received already", "by signal 11"),
    ("tevent_req_set_profile() of a request that was received already", "by signal 11"),
    ("tevent_queue_entry_untrigger() needs", "by signal 6"),
    ("tevent_req_is_nterror: the error", "by signal 6"),
)


class foo_state(TALLOC_CTX):
    value: int


class bar_state(TALLOC_CTX):
    text: str


class script(TALLOC_CTX):
    """The private data of callbacks, timers and immediates."""

    name: str


class Note:
    """What the driver remembers about an object."""

    def __init__(self) -> None:
        self.callback = self.cleanup = self.cancel = self.print = self.destructor = "-"
        self.pvt: Any = None  # another request
        self.pvt_ptr: Any = None  # that, or a script
        self.has_state = self.received = self.deferred = self.timed = False
        self.loops = 0
        self.kept = False
        self.main: Any = None  # of a wrapper context
        self.queue: Any = None
        self.loose = False
        self.doomed = False
        self.dying = False
        self.holds = False  # references


class Turn:
    """The private data of a queue entry."""

    def __init__(self, queue: str, script: str) -> None:
        self.queue = queue
        self.script = script


class StillWorld:
    """A clock that only waiting moves, and an epoll that never has anything to report."""

    def __init__(self, aborted: Any) -> None:
        self.us = START_US
        self._aborted = aborted
        self._saved = tevent_sys.time_ns, tevent_sys.epoll
        tevent_sys.time_ns = lambda: self.us * 1000
        tevent_sys.epoll = self._epoll

    def put_back(self) -> None:
        tevent_sys.time_ns, tevent_sys.epoll = self._saved

    def _epoll(self, flags: int = 0) -> Any:
        world = self

        class epoll:
            def poll(self, timeout: float, maxevents: int) -> list[tuple[int, int]]:
                if timeout < 0:
                    world._aborted("waits for ever")
                # The kernel counts milliseconds, and a part of one is a whole one.
                world.us += -(-round(timeout * 1_000_000) // 1000) * 1000
                return []

            def close(self) -> None:
                pass

        return epoll()


def is_going(obj: Any) -> bool:
    """Whether its destructor has agreed, and its children are going."""
    return obj._talloc_chunk.next is LEFT


def alive(obj: Any) -> bool:
    return obj._talloc_chunk.obj is obj


def _nothing(*_: Any) -> None:
    pass


class World(Interpreter):
    def __init__(self) -> None:
        super().__init__()
        tevent_set_abort_fn(self.aborted)
        self._hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
        self.world = StillWorld(self.aborted)
        self.notes: dict[int, Note] = {}
        self.pins: list[Any] = []
        self.freeing = 0
        self.has_wrappers = False
        self.contexts = 1
        self.known = False
        self.loops = 0
        self.in_trigger = 0
        self.guard_fired = False
        self.script_chunks: dict[str, script] = {}
        self.hidden = talloc_named_const(None, 0, "hidden")
        self.root = talloc_named_const(None, 0, "root")
        self.add("e0", "ev", tevent_context_init_byname(self.root, "epoll"))

    def close(self) -> None:
        super().close()
        self.free_all()
        self.world.put_back()
        tevent_set_abort_fn(None)
        sys.unraisablehook = self._hook

    def free_all(self) -> None:
        """Free what is left, kind after kind, with scripts that do nothing; the kinds that others use come last."""
        self._budget = 0
        # Requests twice: references that some of them had are gone by then.
        for kind in ("req", "entry", "queue", "imm", "timer", "profile", "chunk", "req", "state", "ev"):
            for name, its_kind, obj in list(self._objects):
                if its_kind != kind or not alive(obj):
                    continue
                if kind != "state" or self.kind(f"r{name[1:]}") is None:
                    self.saw(f"free {name} -> {talloc_free(obj)}")
                    self.scan()

    def _unraisable(self, unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, EndOfProgram):
            self._hook(unraisable)

    def aborted(self, reason: str) -> None:
        for ours, theirs in SIGNALS:
            if reason.startswith(ours):
                reason = theirs
        super().aborted(reason)

    # What the driver remembers. Objects are kept by _objects as long as they live, so their ids are unique.

    def add(self, name: str, kind: str, obj: object) -> None:
        super().add(name, kind, obj)
        if obj is not None:
            self.notes[id(obj)] = Note()

    def note(self, obj: object) -> Note:
        return self.notes[id(obj)]

    def script(self, name: str) -> script:
        chunk = self.script_chunks.get(name)
        if chunk is None:
            chunk = talloc_zero(self.hidden, script)
            assert chunk is not None
            chunk.name = name
            self.script_chunks[name] = chunk
        return chunk

    def in_us(self, word: str) -> timeval:
        return timeval(0, 0) if word == "zero" else timeval(*divmod(self.world.us + int(word), 1_000_000))

    def may_free(self, obj: Any) -> bool:
        if any(talloc_is_parent(pinned, obj) for pinned in self.pins):
            return False
        for name, kind, used in self._objects:
            if self.is_dying(used) and used is not obj and talloc_is_parent(used, obj):
                return False  # talloc itself goes on to use the owners of what is dying
            if kind == "state" and self.is_dying(used):
                # tevent_req_received(), in the destructor of the request or not, is not done with that.
                used = self.get(f"r{name[1:]}")
            elif kind != "ev" or not (self.note(self.note(used).main or used).loops or self.note(used).kept):
                continue
            if used is not None and talloc_is_parent(used, obj):
                return False
        return True

    def may_loop(self) -> bool:
        """A post of a request that goes may run in a loop, and finds, in C, a pointer to a timer that has gone."""
        return not any(self.note(obj).timed and is_going(obj) for _, _, obj in self._objects)

    def may_receive(self, req: Any) -> bool:
        """tevent_req_received() frees the state with all that is below it."""
        state = super().get(f"s{self.name_of(req)[1:]}")
        return not self.note(req).dying and (state is None or self.may_free(state))

    def is_dying(self, obj: Any) -> bool:
        """Whether a destructor of the program's runs for it, or its children are going."""
        return is_going(obj) or self.note(obj).dying

    def is_received(self, req: Any) -> bool:
        """Whether its trigger is gone, and a post would be the abort function."""
        note = self.note(req)
        if note.received or tevent_req_is_error(req)[1] == TEVENT_REQ_RECEIVED:
            return True
        state = super().get(f"s{self.name_of(req)[1:]}")
        return note.has_state and (state is None or self.is_dying(state))

    # Arguments.

    def req_to_finish(self, name: str) -> Any:
        """A request that is going to call back; one that was received cannot do it from the loop."""
        req = self.get(name, "req")
        if req is not None and self.note(req).deferred and self.is_received(req):
            tevent_req_defer_callback(req, None)
            self.note(req).deferred = False
        return req

    def ev_keep(self, name: str) -> Any:
        """A context to be used later, which from now on is not freed."""
        ev = self.ev(name)
        if ev is not None:
            self.note(ev).kept = True
            if self.note(ev).main is not None:
                self.note(self.note(ev).main).kept = True
        return ev

    def ev(self, name: str) -> Any:
        """A context to be used now."""
        ev = self.get(name, "ev")
        main = None if ev is None else self.note(ev).main
        return None if main is not None and (not alive(main) or is_going(main)) else ev

    def main_ev(self, name: str) -> Any:
        """A context with a loop and with trace callbacks: no wrapper."""
        ev = self.ev(name)
        return None if ev is None or self.note(ev).main is not None else ev

    def get(self, name: str, kind: str | None = None) -> Any:
        """A chunk; with *kind*, one to work with: not one whose children are going."""
        obj = super().get(name, kind)
        return None if obj is not None and kind is not None and is_going(obj) else obj

    def owner(self, name: str) -> tuple[bool, Any]:
        """Whether a chunk may hang on *name*, and what that is."""
        if name == "-":
            return True, None
        if name == "root":
            return True, self.root
        if self.kind(name) in (None, "entry"):
            return False, None
        return True, self.get(name)

    def profile_of(self, name: str) -> Any:
        req = self.get(name, "req")
        return tevent_req_get_profile(req) if req is not None else self.get(name, "profile")

    # Handlers.

    def on_callback(self, req: tevent_req) -> None:
        note = self.note(req)
        right = "right" if tevent_req_callback_data_void(req) is note.pvt_ptr else "wrong"
        failed, state, error = tevent_req_is_error(req)
        unknown = self.loops > 0 and not self.known
        self.saw(f"callback {self.name_of(req)} {failed:d} {state or 0:d} {error or 0} {right}")
        self.in_trigger += unknown
        self.run_script(note.callback)
        self.in_trigger -= unknown

    def on_cleanup(self, req: tevent_req, state: tevent_req_state) -> None:
        note = self.note(req)
        unknown = self.loops > 0 and not self.known
        self.saw(f"cleanup {self.name_of(req)} {state:d}")
        note.received = note.received or state == TEVENT_REQ_RECEIVED
        self.pins.append(req)
        self.in_trigger += unknown
        self.run_destructor(note.cleanup)
        self.in_trigger -= unknown
        self.pins.pop()

    def on_cancel(self, req: tevent_req) -> bool:
        self.saw(f"cancel-fn {self.name_of(req)}")
        return self.run_script(self.note(req).cancel) != 0

    def on_print(self, req: tevent_req, mem_ctx: TALLOC_CTX | None) -> str | None:
        name = self.name_of(req)
        self.saw(f"print-fn {name}")
        self.run_script(self.note(req).print)
        return talloc_strdup(mem_ctx, f"print-fn of {name}")

    def on_destructor(self, obj: Any) -> int:
        self.saw(f"destructor {self.name_of(obj)}")
        note = self.note(obj)
        note.dying = True
        value = self.run_destructor(note.destructor)
        note.dying = False
        return -1 if value == -1 else 0

    def _known(self, text: str, name: str) -> None:
        """A handler of which is certain that it is no trigger of a request."""
        outer, self.known = self.known, True
        self.saw(text)
        self.run_script(name)
        self.known = outer

    def on_turn(self, req: tevent_req, turn: Any) -> None:
        self._known(f"trigger {self.name_of(req)} in {turn.queue}", turn.script)

    def on_immediate(self, ev: Any, im: Any, chunk: Any) -> None:
        self._known(f"immediate {self.name_of(im)} on {self.name_of(ev)}", chunk.name)

    def on_timer(self, ev: Any, te: Any, now: timeval, chunk: Any) -> None:
        self._known(f"timer {self.name_of(te)} on {self.name_of(ev)}", chunk.name)

    def on_trace_immediate(self, im: Any, point: Any, ev: Any) -> None:
        self.saw(f"trace immediate {POINTS[point]} {self.name_of(im)} on {self.name_of(ev)}")

    def on_trace_queue(self, entry: Any, point: Any, ev: Any) -> None:
        tag = tevent_queue_entry_get_tag(entry)
        self.saw(f"trace entry {POINTS[point]} {self.name_of(entry)} on {self.name_of(ev)} tag {tag}")

    # What a wrapper context does around the handlers of its events.

    def on_before_timer(self, wrap_ev: Any, state: Any, main_ev: Any, te: Any, *_: Any) -> None:
        self.saw(f"before timer {self.name_of(te)} on {self.name_of(wrap_ev)} of {self.name_of(main_ev)}")

    def on_after_timer(self, wrap_ev: Any, state: Any, main_ev: Any, te: Any, *_: Any) -> None:
        self.saw(f"after timer {self.name_of(te)} on {self.name_of(wrap_ev)}")

    def on_before_immediate(self, wrap_ev: Any, state: Any, main_ev: Any, im: Any, *_: Any) -> None:
        self.saw(f"before immediate {self.name_of(im)} on {self.name_of(wrap_ev)} of {self.name_of(main_ev)}")

    def on_after_immediate(self, wrap_ev: Any, state: Any, main_ev: Any, im: Any, *_: Any) -> None:
        self.saw(f"after immediate {self.name_of(im)} on {self.name_of(wrap_ev)}")

    @property
    def wrapper_ops(self) -> tevent_wrapper_ops:
        return tevent_wrapper_ops(
            name="wrapper",
            before_use=lambda *_: True,
            after_use=_nothing,
            before_fd_handler=_nothing,
            after_fd_handler=_nothing,
            before_timer_handler=self.on_before_timer,
            after_timer_handler=self.on_after_timer,
            before_immediate_handler=self.on_before_immediate,
            after_immediate_handler=self.on_after_immediate,
            before_signal_handler=_nothing,
            after_signal_handler=_nothing,
        )
