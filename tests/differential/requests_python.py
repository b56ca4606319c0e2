# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The Python side of the area "requests": its operations.

Prints in the words of ``c/requests.c``, where each operation's arguments are described.  Where the C driver names a
place in the code by hand ("done:1"), the call stands in a "file" of that name here.
"""

from __future__ import annotations

import errno
import re
from typing import Any

from talloc_py import (
    talloc_free,
    talloc_get_name,
    talloc_is_parent,
    talloc_named_const,
    talloc_parent,
    talloc_reference,
    talloc_report_depth_cb,
    talloc_set_destructor,
    talloc_steal,
    talloc_total_blocks,
    talloc_unlink,
)
from tevent import (
    tevent_add_timer,
    tevent_context_init_byname,
    tevent_context_wrapper_create,
    tevent_create_immediate,
    tevent_loop_once,
    tevent_queue_add,
    tevent_queue_add_entry,
    tevent_queue_add_optimize_empty,
    tevent_queue_create,
    tevent_queue_entry_get_tag,
    tevent_queue_entry_set_tag,
    tevent_queue_entry_untrigger,
    tevent_queue_length,
    tevent_queue_running,
    tevent_queue_start,
    tevent_queue_stop,
    tevent_queue_wait_recv,
    tevent_queue_wait_send,
    tevent_req,
    tevent_req_callback_data,
    tevent_req_cancel,
    tevent_req_create,
    tevent_req_data,
    tevent_req_default_print,
    tevent_req_defer_callback,
    tevent_req_done,
    tevent_req_error,
    tevent_req_get_profile,
    tevent_req_is_error,
    tevent_req_is_in_progress,
    tevent_req_is_nterror,
    tevent_req_is_unix_error,
    tevent_req_is_werror,
    tevent_req_nomem,
    tevent_req_notify_callback,
    tevent_req_nterror,
    tevent_req_oom,
    tevent_req_poll,
    tevent_req_poll_ntstatus,
    tevent_req_poll_unix,
    tevent_req_poll_werror,
    tevent_req_post,
    tevent_req_print,
    tevent_req_received,
    tevent_req_reset_endtime,
    tevent_req_set_callback,
    tevent_req_set_cancel_fn,
    tevent_req_set_cleanup_fn,
    tevent_req_set_endtime,
    tevent_req_set_print_fn,
    tevent_req_simple_finish_ntstatus,
    tevent_req_simple_finish_werror,
    tevent_req_simple_recv_ntstatus,
    tevent_req_simple_recv_unix,
    tevent_req_simple_recv_werror,
    tevent_req_werror,
    tevent_schedule_immediate,
    tevent_set_trace_immediate_callback,
    tevent_set_trace_queue_callback,
    tevent_wakeup_recv,
    tevent_wakeup_send,
    timeval,
)
from tevent.ntstatus import unix_error_codes

from .requests_profiles import Profiles
from .requests_world import Turn, alive, bar_state, foo_state, is_going, script

GUARD_US = 60_000_000
GUARD_ERROR = 4000
#: NT_STATUS in the high half of a request's error.
NT_TAG = 0x917B5ACD
RECV = {
    "unix": tevent_req_simple_recv_unix,
    "nt": tevent_req_simple_recv_ntstatus,
    "werror": tevent_req_simple_recv_werror,
    "wait": tevent_queue_wait_recv,
    "wakeup": tevent_wakeup_recv,
}
_POINTER = re.compile(r"(error\[[^\]]*\])|0x([0-9a-f]+)")


def _at(place: str, function: Any) -> Any:
    """*function*, as if it were called in line 1 of a file *place*."""
    scope = {"function": function}
    exec(compile("def call(*arguments): return function(*arguments)", place, "exec"), scope)
    return scope["call"]


_create = _at("req", tevent_req_create)
_done = _at("done", tevent_req_done)
_oom = _at("oom", tevent_req_oom)
_nomem = _at("nomem", tevent_req_nomem)
_notify = _at("notify", tevent_req_notify_callback)
_error = _at("error", tevent_req_error)
_nterror = _at("nterror", tevent_req_nterror)
_werror = _at("werror", tevent_req_werror)
_guard = _at("guard", tevent_req_error)


class Requests(Profiles):
    # Contexts, chunks, events.

    def op_ev(self, name: str, owner: str) -> None:
        if self.kind(name) is None and not self.has_wrappers:
            self.contexts += 1
            self.add(name, "ev", tevent_context_init_byname(self.root if owner == "root" else None, "epoll"))

    def op_wrapper(self, name: str, main_name: str, owner: str) -> None:
        main = self.ev(main_name)
        if self.kind(name) is not None or main is None or self.contexts > 1:
            return
        self.has_wrappers = True
        ev, _ = tevent_context_wrapper_create(main, self.root if owner == "root" else None, self.wrapper_ops, foo_state)
        self.saw(f"wrapper -> {ev is not None:d}")
        self.add(name, "ev", ev)
        if ev is not None:
            self.note(ev).main = main

    def op_chunk(self, name: str, owner: str, destructor: str) -> None:
        there, ctx = self.owner(owner)
        if self.kind(name) is not None or not there:
            return
        chunk = talloc_named_const(ctx, 1, "chunk")
        self.add(name, "chunk", chunk)
        self.note(chunk).destructor = destructor
        if destructor != "-":
            talloc_set_destructor(chunk, self.on_destructor)

    def op_destructor(self, name: str, destructor: str) -> None:
        obj = self.get(name)
        if obj is None or self.note(obj).dying or self.kind(name) not in ("chunk", "req", "state"):
            return
        self.note(obj).destructor = destructor
        talloc_set_destructor(obj, None if destructor == "-" else self.on_destructor)

    def op_imm(self, name: str, owner: str) -> None:
        there, ctx = self.owner(owner)
        if self.kind(name) is None and there:
            self.add(name, "imm", tevent_create_immediate(ctx))

    def op_schedule(self, name: str, ev_name: str, handler: str) -> None:
        im, ev = self.get(name, "imm"), self.ev(ev_name)
        if im is None or ev is None or self.note(im).doomed:
            return
        if handler == "-":
            if self.note(ev).main is None:
                tevent_schedule_immediate(im, ev, None, None)
        else:
            tevent_schedule_immediate(im, ev, self.on_immediate, self.script(handler))

    def op_timer(self, name: str, owner: str, ev_name: str, when: str, handler: str) -> None:
        there, ctx = self.owner(owner)
        ev = self.ev(ev_name)
        if self.kind(name) is None and there and ev is not None:
            te = tevent_add_timer(ev, ctx, self.in_us(when), self.on_timer, self.script(handler))
            self.add(name, "timer", te)

    def op_free(self, name: str) -> None:
        obj, kind = self.get(name), self.kind(name)
        if obj is None or (kind == "state" and self.kind(f"r{name[1:]}") is not None):
            return
        if not self.may_free(obj):
            self.saw(f"free {name} refused")
            return
        note = self.note(obj)
        self.freeing += 1
        result = talloc_free(obj)
        self.freeing -= 1
        self.saw(f"free {name} -> {result}")
        if result == -1 and kind == "imm":
            note.doomed = True

    def op_steal(self, name: str, owner: str) -> None:
        obj = self.get(name)
        there, ctx = self.owner(owner)
        if obj is None or not there or self.freeing or self.kind(name) in ("state", "entry", "profile", "ev"):
            return
        if self.note(obj).holds:
            return
        if ctx is None or not talloc_is_parent(ctx, obj):
            talloc_steal(ctx, obj)

    def op_reference(self, name: str, owner: str) -> None:
        obj, ctx = self.get(name), self.get(owner, "chunk")
        if obj is None or ctx is None or self.kind(name) in ("entry", "profile", "ev"):
            return
        if not self.freeing and ctx is not obj and talloc_parent(ctx) is self.root:
            self.note(ctx).holds = True
            same = talloc_reference(ctx, obj) is obj
            self.saw(f"reference -> {same:d}")

    def op_unlink(self, name: str, owner: str) -> None:
        obj, kind = self.get(name), self.kind(name)
        there, ctx = self.owner(owner)
        if obj is None or not there or ctx is None or kind in ("entry", "ev"):
            return
        if kind == "state" and self.kind(f"r{name[1:]}") is not None:
            return
        if not is_going(obj) and self.may_free(obj):
            self.freeing += 1
            result = talloc_unlink(ctx, obj)
            self.freeing -= 1
            self.saw(f"unlink {name} -> {result}")

    def op_loop(self, name: str, count: str, nested: str = "") -> None:
        ev = self.main_ev(name)
        if ev is None:
            return
        note = self.note(ev)
        if not self.may_loop() or (note.loops and nested != "nested"):
            return
        for _ in range(int(count)):
            outer, self.known = self.known, False
            self.loops += 1
            note.loops += 1
            result = tevent_loop_once(ev)
            note.loops -= 1
            self.loops -= 1
            self.known = outer
            self.saw(f"loop {result} at {self.world.us}")
            self.scan()

    def op_advance(self, us: str) -> None:
        self.world.us += int(us)

    # Requests.

    def op_req(self, name: str, owner: str, kind: str) -> None:
        there, ctx = self.owner(owner)
        if self.kind(name) is None and self.kind(f"s{name[1:]}") is None and there:
            req, state = _create(ctx, foo_state if kind == "foo" else bar_state)
            self.add(name, "req", req)
            self.note(req).has_state = True
            self.add(f"s{name[1:]}", "state", state)

    def op_wakeup(self, name: str, owner: str, ev_name: str, when: str) -> None:
        there, ctx = self.owner(owner)
        ev = self.ev(ev_name)
        if self.kind(name) is None and there and ev is not None:
            req = tevent_wakeup_send(ctx, ev, self.in_us(when))
            self.add(name, "req", req)
            self.note(req).timed = True

    def op_wait(self, name: str, owner: str, ev_name: str, queue_name: str) -> None:
        there, ctx = self.owner(owner)
        ev, queue = self.ev_keep(ev_name), self.get(queue_name, "queue")
        if self.kind(name) is None and there and ev is not None and queue is not None:
            self.add(name, "req", tevent_queue_wait_send(ctx, ev, queue))

    def op_callback(self, name: str, script: str, pvt: str = "") -> None:
        req = self.get(name, "req")
        if req is None:
            return
        note = self.note(req)
        note.callback = script
        note.pvt = note.pvt_ptr = None
        if script == "-":
            tevent_req_set_callback(req, None, None)
            return
        note.pvt = self.get(pvt, "req")
        note.pvt_ptr = self.script(script) if note.pvt is None else note.pvt
        tevent_req_set_callback(req, self.on_callback, note.pvt_ptr)

    def op_cleanup(self, name: str, script: str) -> None:
        req = self.get(name, "req")
        if req is not None:
            self.note(req).cleanup = script
            tevent_req_set_cleanup_fn(req, None if script == "-" else self.on_cleanup)

    def op_cancelfn(self, name: str, script: str) -> None:
        req = self.get(name, "req")
        if req is not None:
            self.note(req).cancel = script
            tevent_req_set_cancel_fn(req, None if script == "-" else self.on_cancel)

    def op_printfn(self, name: str, script: str) -> None:
        req = self.get(name, "req")
        if req is not None:
            self.note(req).print = script
            tevent_req_set_print_fn(req, None if script == "-" else self.on_print)

    def op_done(self, name: str) -> None:
        req = self.req_to_finish(name)
        if req is not None:
            _done(req)

    def op_oom(self, name: str) -> None:
        req = self.req_to_finish(name)
        if req is not None:
            _oom(req)

    def op_nomem(self, name: str, there: str) -> None:
        req = self.req_to_finish(name)
        if req is not None:
            self.saw(f"nomem -> {_nomem(None if there == '0' else self.root, req):d}")

    def op_notify(self, name: str) -> None:
        req = self.req_to_finish(name)
        if req is not None:
            _notify(req)

    def op_error(self, name: str, number: str) -> None:
        req = self.req_to_finish(name)
        if req is not None:
            self.saw(f"error -> {_error(req, int(number, 0)):d}")

    def op_nterror(self, name: str, number: str) -> None:
        req = self.req_to_finish(name)
        if req is not None:
            self.saw(f"nterror -> {_nterror(req, int(number, 0) & 0xFFFFFFFF):d}")

    def op_werror(self, name: str, number: str) -> None:
        req = self.req_to_finish(name)
        if req is not None:
            self.saw(f"werror -> {_werror(req, int(number, 0) & 0xFFFFFFFF):d}")

    def op_post(self, name: str, ev_name: str, blind: str = "") -> None:
        req, ev = self.get(name, "req"), self.ev(ev_name)
        if req is not None and ev is not None and (blind or not self.is_received(req)):
            same = tevent_req_post(req, ev) is req
            self.saw(f"post -> {same:d}")

    def op_defer(self, name: str, ev_name: str, blind: str = "") -> None:
        req, ev = self.get(name, "req"), self.ev_keep(ev_name)
        if req is None or (ev is None and ev_name != "-") or (self.is_received(req) and not blind):
            return
        self.note(req).deferred = not blind
        tevent_req_defer_callback(req, ev)

    def op_endtime(self, name: str, ev_name: str, when: str) -> None:
        req, ev = self.req_to_finish(name), self.ev(ev_name)
        if req is not None and ev is not None:
            self.note(req).timed = True
            self.saw(f"endtime -> {tevent_req_set_endtime(req, ev, self.in_us(when)):d}")

    def op_reset(self, name: str) -> None:
        req = self.get(name, "req")
        if req is not None:
            tevent_req_reset_endtime(req)

    def op_cancel(self, name: str) -> None:
        req = self.get(name, "req")
        if req is not None:
            self.saw(f"cancel -> {tevent_req_cancel(req):d}")

    def op_received(self, name: str) -> None:
        req = self.get(name, "req")
        if req is not None and self.may_receive(req):
            self.note(req).received = True
            self.pins.append(req)
            self.freeing += 1
            tevent_req_received(req)
            self.freeing -= 1
            self.pins.pop()

    @staticmethod
    def is_no_status(req: Any) -> bool:
        """Whether its error is no NTSTATUS, which is answered by the abort function."""
        error = tevent_req_is_error(req)[2]
        return error is not None and error >> 32 != NT_TAG

    def op_recv(self, name: str, kind: str, blind: str = "") -> None:
        req = self.get(name, "req")
        if req is None or not self.may_receive(req) or (kind == "nt" and self.is_no_status(req) and not blind):
            return
        self.note(req).received |= kind != "wakeup"
        self.pins.append(req)
        self.freeing += 1
        result = RECV[kind](req)
        self.freeing -= 1
        self.pins.pop()
        self.saw(f"recv {kind} -> {result:d}")

    def op_finish(self, name: str, kind: str, number: str) -> None:
        subreq = self.get(name, "req")
        if subreq is None or self.note(subreq).dying or not self.may_free(subreq):
            return
        req = self.note(subreq).pvt
        if req is None or not alive(req) or talloc_is_parent(req, subreq):
            return
        self.pins.append(req)
        self.freeing += 1
        if kind == "nt":
            tevent_req_simple_finish_ntstatus(subreq, int(number, 0))
        else:
            tevent_req_simple_finish_werror(subreq, int(number, 0))
        self.freeing -= 1
        self.pins.pop()

    def on_guard(self, ev: Any, te: Any, now: timeval, req: tevent_req) -> None:
        self.guard_fired = True
        _guard(req, GUARD_ERROR)

    def op_poll(self, name: str, ev_name: str, kind: str, nested: str = "") -> None:
        req, ev = self.get(name, "req"), self.main_ev(ev_name)
        if req is None or ev is None or not self.may_loop() or (self.note(ev).loops and nested != "nested"):
            return
        guard = tevent_add_timer(ev, self.hidden, self.in_us(str(GUARD_US)), self.on_guard, req)
        outer = self.known, self.guard_fired
        self.guard_fired = self.known = False
        self.pins.append(req)
        self.loops += 1
        self.note(ev).loops += 1
        result, error = self._poll(req, ev, kind)
        self.note(ev).loops -= 1
        self.loops -= 1
        self.pins.pop()
        if not self.guard_fired:
            talloc_free(guard)
        self.known, self.guard_fired = outer
        self.saw(f"poll -> {result:d} {int(error)} at {self.world.us}")

    def _poll(self, req: Any, ev: Any, kind: str) -> tuple[bool, int]:
        if kind == "unix":
            return tevent_req_poll_unix(req, ev)
        if kind == "nt":
            return tevent_req_poll_ntstatus(req, ev)
        if kind == "werror":
            return tevent_req_poll_werror(req, ev)
        return tevent_req_poll(req, ev), 0

    def op_look(self, name: str) -> None:
        req = self.get(name, "req")
        if req is None:
            return
        failed, state, error = tevent_req_is_error(req)
        unix_failed, err = tevent_req_is_unix_error(req)
        is_werror, werror = tevent_req_is_werror(req)
        self.saw(
            f"look {name}: {failed:d} {state or 0:d} {error or 0}, in progress {tevent_req_is_in_progress(req):d}, "
            f"unix {unix_failed:d} {err}, werror {is_werror:d} {int(werror)}, wakeup {tevent_wakeup_recv(req):d}, "
            f"profile {tevent_req_get_profile(req) is not None:d}"
        )

    def op_nt(self, name: str, blind: str = "") -> None:
        req = self.get(name, "req")
        if req is not None and (blind or not self.is_no_status(req)):
            failed, status = tevent_req_is_nterror(req)
            self.saw(f"nt {name}: {failed:d} {int(status)}")

    def op_errno(self, number: str) -> None:
        if int(number) != errno.EPROTONOSUPPORT:
            status, werror = unix_error_codes(int(number))
            self.saw(f"errno {number}: {status} {werror}")

    def op_data(self, name: str, kind: str) -> None:
        req = self.get(name, "req")
        if req is not None:
            state = tevent_req_data(req, foo_state if kind == "foo" else bar_state)
            self.saw(f"data {name} is {self.name_of(state)}")

    def op_callback_data(self, name: str, kind: str) -> None:
        req = self.get(name, "req")
        if req is None:
            return
        pvt = self.note(req).pvt
        if pvt is not None and not alive(pvt):
            return
        if kind == "req":
            self.saw(f"callback_data {self.name_of(tevent_req_callback_data(req, tevent_req))}")
        else:
            self.saw(f"callback_data {tevent_req_callback_data(req, script).name}")

    def _printed(self, what: str, text: str | None) -> None:
        names = {id(obj): name for name, _, obj in self._objects}

        def named(found: re.Match[str]) -> str:
            return found[1] or f"<{names.get(int(found[2], 16), '?')}>"

        self.saw(f"{what} nothing" if text is None else f"{what} {_POINTER.sub(named, text)}")

    def op_print(self, name: str) -> None:
        req = self.get(name, "req")
        if req is not None or name == "-":
            text = tevent_req_print(self.hidden, req)
            self._printed("print", text)
            talloc_free(text)

    def op_default(self, name: str) -> None:
        req = self.get(name, "req")
        if req is not None:
            text = tevent_req_default_print(req, self.hidden)
            self._printed("default", text)
            talloc_free(text)

    # The tree.

    def _show_tree(self, top: Any) -> None:
        hidden_below = 1 << 30

        def report(obj: Any, depth: int, max_depth: int, is_ref: int, private_data: object) -> None:
            nonlocal hidden_below
            if depth <= hidden_below:
                name = talloc_get_name(obj)
                hidden_below = depth if name == "struct tevent_context" else 1 << 30
                self.saw(" " * depth + name)

        talloc_report_depth_cb(top, 0, 100, report, None)

    def op_tree(self, name: str) -> None:
        there, top = self.owner(name)
        if name != "-" and there and not self.in_trigger:
            self.saw(f"tree {name}")
            self._show_tree(top)

    def op_blocks(self, name: str) -> None:
        if self.kind(name) in ("req", "queue") and not self.in_trigger:
            self.saw(f"blocks {name}: {talloc_total_blocks(self.get(name))}")

    def op_parent(self, name: str) -> None:
        obj = self.get(name)
        if obj is not None:
            parent = talloc_parent(obj)
            self.saw(f"parent of {name}: {'root' if parent is self.root else self.name_of(parent)}")

    # Queues.

    def op_queue(self, name: str, owner: str, queue_name: str) -> None:
        there, ctx = self.owner(owner)
        if self.kind(name) is None and there:
            queue = tevent_queue_create(ctx, None if queue_name == "-" else queue_name)
            self.saw(f"queue -> {queue is not None:d}")
            self.add(name, "queue", queue)

    def op_add(self, queue_name: str, ev_name: str, name: str, script: str) -> None:
        queue, ev, req = self.get(queue_name, "queue"), self.ev_keep(ev_name), self.get(name, "req")
        if queue is not None and ev is not None and req is not None:
            trigger = None if script == "-" else self.on_turn
            self.saw(f"add -> {tevent_queue_add(queue, ev, req, trigger, Turn(queue_name, script)):d}")

    def _enter(self, enter: Any, name: str, queue_name: str, ev_name: str, req_name: str, script: str) -> None:
        queue, ev, req = self.get(queue_name, "queue"), self.ev_keep(ev_name), self.get(req_name, "req")
        if self.kind(name) is not None or queue is None or ev is None or req is None:
            return
        entry = enter(queue, ev, req, None if script == "-" else self.on_turn, Turn(queue_name, script))
        self.saw(f"entry -> {entry is not None:d}")
        self.scan()
        if entry is not None and alive(entry) and self.kind(name) is None:
            self.add(name, "entry", entry)
            self.note(entry).queue = queue

    def op_entry(self, name: str, queue: str, ev: str, req: str, script: str) -> None:
        self._enter(tevent_queue_add_entry, name, queue, ev, req, script)

    def op_optimize(self, name: str, queue: str, ev: str, req: str, script: str) -> None:
        self._enter(tevent_queue_add_optimize_empty, name, queue, ev, req, script)

    def op_untrigger(self, name: str, blind: str = "") -> None:
        entry = self.get(name, "entry")
        if entry is not None and (blind or not tevent_queue_running(self.note(entry).queue)):
            tevent_queue_entry_untrigger(entry)

    def op_start(self, name: str) -> None:
        queue = self.get(name, "queue")
        if queue is not None:
            tevent_queue_start(queue)

    def op_stop(self, name: str) -> None:
        queue = self.get(name, "queue")
        if queue is not None:
            tevent_queue_stop(queue)

    def op_length(self, name: str) -> None:
        queue = self.get(name, "queue")
        if queue is not None:
            self.saw(f"length of {name}: {tevent_queue_length(queue)}, running {tevent_queue_running(queue):d}")

    def op_tag(self, name: str, number: str) -> None:
        entry = self.get(name, "entry")
        if entry is not None or name == "-":
            tevent_queue_entry_set_tag(entry, int(number, 0))
            self.saw(f"tag {tevent_queue_entry_get_tag(entry)}")

    def op_watch(self, name: str, on: str) -> None:
        ev = self.main_ev(name)
        if ev is not None and (not self.loops or on == "0"):
            tevent_set_trace_immediate_callback(ev, None if on == "0" else self.on_trace_immediate, ev)

    def op_watch_queue(self, name: str, on: str) -> None:
        ev = self.main_ev(name)
        if ev is not None:
            tevent_set_trace_queue_callback(ev, None if on == "0" else self.on_trace_queue, ev)

    # The end.

    def finish(self) -> None:
        self.saw("tree root")
        self._show_tree(self.root)
        self.free_all()
        self._show_tree(self.root)
        self.saw(f"free root -> {talloc_free(self.root)}")
