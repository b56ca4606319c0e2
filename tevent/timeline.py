# SPDX-License-Identifier: LGPL-3.0-or-later
"""
A timeline of what a program does, to be opened in Perfetto (https://ui.perfetto.dev) or in chrome://tracing.

As a command it runs a program and writes down how that went::

    python -m tevent.timeline [-o FILE] script.py argument ...
    python -m tevent.timeline [-o FILE] -m module argument ...

From inside a program `record` does so for a while. There are two groups of tracks for each process:

- a track a thread that runs a loop: each handler, from its beginning to its end, and how long the loop has waited;
- tracks of requests: each tree of requests has one, from the creation of the first one to the free of the last. Below a
  request are its subrequests, and marks where it finishes, with its state, error and place, calls back, is cancelled,
  has its turn in a queue, and is received. Requests that overlap without one being inside the other have tracks beside
  each other. A track is used again when its tree is gone.

All is made of what the public trace callbacks tell: those of the contexts, and that of
`tevent_thread_call_depth_set_callback`. Callbacks that the program sets itself are called as ever. When a request was
freed is known from a child that it gets as soon as it is received.

Each event is written at once, so a program that crashes or is killed has left all but its last breath. A forked child
appends to the same file, with tracks of its own. The array of events is closed at the end if the process has never
forked; both viewers read it without that too.

Cost: that of trace callbacks, and a write for each event: about 10 us for each handler and 60 us for each request.
"""

from __future__ import annotations

import json
import threading
import weakref

from talloc_py import TALLOC_CTX, talloc, talloc_free, talloc_parent, talloc_set_destructor
from talloc_py._chunk import caller_outside, location_text

from . import _observe, _sys, trace
from ._observe import handler_observer
from ._request import tevent_req
from .enumerations import tevent_req_state
from .req import tevent_req_is_error
from .req_print import tevent_req_default_print

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, Self

    from ._base import tevent_context
    from ._observe import span

__all__ = ["main", "record"]

#: The tracks of requests are those of a second process, whose number no real one has.
_REQUESTS_PID: Final = 2**22
_DEFAULT_FILE: Final = "timeline.json"


class _end_mark(TALLOC_CTX):
    """A child of a request that was received: it goes when that is freed."""

    __slots__ = ("row",)

    row: _row


class _lane:
    """A track of requests."""

    __slots__ = ("number", "stack")

    def __init__(self, number: int) -> None:
        self.number = number
        #: The requests that are drawn as open, the innermost last.
        self.stack: list[_row] = []


class _row:
    """A request in the timeline."""

    __slots__ = ("ended", "lane", "name", "outcome", "ref", "root", "state", "tree")

    def __init__(self, name: str, parent: _row | None) -> None:
        self.name = name
        self.root: _row = self if parent is None else parent.root
        self.state = "TEVENT_REQ_IN_PROGRESS"
        #: Whether it is over, and what is said about that; it is drawn as open while one inside it is.
        self.ended = False
        self.outcome: dict[str, Any] = {}
        self.lane: _lane
        self.ref: Any = None
        #: Of a root: the lanes of its tree, and how many requests of it are open.
        self.tree: tuple[list[_lane], list[int]] = ([], [0]) if parent is None else parent.root.tree


class _output:
    """The file: one event a line, each written by itself, so that threads and forked children can share it."""

    def __init__(self, path: str) -> None:
        with open(path, "wb"):
            pass  # empty now
        # Appending, and without a buffer: one system call a line.
        self._file: Any = open(path, "ab", buffering=0)  # noqa: SIM115
        self.error: OSError | None = None
        self.line("[\n")

    def line(self, text: str) -> None:
        """Write one line; nothing after the first failure."""
        if self._file is not None:
            try:
                self._file.write(text.encode("utf-8", "replace"))
            except OSError as error:
                self.error = error
                self.close()

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


class record(handler_observer):
    """
    Write a timeline to a file, from ``with record(path):`` on until its end.

    Args:
        path: The file; what was there before is replaced.

        title: What the process is called in the timeline.

    Contexts that are there already are found. Several records at a time are independent of each other.

    Raises:
        OSError: The file cannot be opened, or, at the end, could not be written.
    """

    def __init__(self, path: str, title: str = "tevent") -> None:
        super().__init__()
        self._output = _output(path)
        self._title = title
        self._forked = self._child = False
        self._start_process()

    def _start_process(self) -> None:
        """Forget what belongs to another process."""
        self._lock = threading.RLock()
        self._rows: weakref.WeakKeyDictionary[tevent_req, _row] = weakref.WeakKeyDictionary()
        self._open: dict[_row, None] = {}
        self._lanes: list[_lane] = []
        self._free_lanes: list[_lane] = []
        self._named_threads: set[int] = set()
        self._waiting: weakref.WeakKeyDictionary[tevent_context, bool] = weakref.WeakKeyDictionary()
        self.forget_handlers()

    def __enter__(self) -> Self:
        _sys.before_fork.append(self._before_fork)
        _sys.after_fork_in_child.append(self._after_fork)
        _observe.add(self)
        self._name(_sys.pid, 0, "process_name", self._title)
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()
        if self.error is not None:
            raise self.error

    @property
    def error(self) -> OSError | None:
        """Why the timeline is not complete; None while it is."""
        return self._output.error

    def finish(self) -> None:
        """End the recording: requests that are still there end here, as what they are."""
        _observe.remove(self)
        _sys.before_fork.remove(self._before_fork)
        _sys.after_fork_in_child.remove(self._after_fork)
        with self._lock:
            for row in reversed(list(self._open)):
                self._end(row, {"still there": True})
        if not self._child and not self._forked:
            last = json.dumps({"ph": "M", "name": "process_sort_index", "pid": _sys.pid, "args": {"sort_index": 0}})
            self._output.line(f"{last}\n]\n")
        self._output.close()

    def _before_fork(self) -> None:
        self._forked = True

    def _after_fork(self) -> None:
        self._child = True
        self._start_process()
        self._name(_sys.pid, 0, "process_name", f"{self._title}, forked child")

    # -- writing ------------------------------------------------------------------------------------------------------

    def _emit(self, phase: str, name: str, pid: int, tid: int, args: dict[str, Any] | None = None) -> None:
        event: dict[str, Any] = {"ph": phase, "name": name, "pid": pid, "tid": tid, "ts": _sys.stopwatch_us()}
        if phase == "i":
            event["s"] = "t"
        if args:
            event["args"] = args
        self._output.line(json.dumps(event, ensure_ascii=False) + ",\n")

    def _name(self, pid: int, tid: int, what: str, name: str) -> None:
        """Say what a process or a track is called."""
        event = {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}}
        self._output.line(json.dumps(event, ensure_ascii=False) + ",\n")

    # -- handlers -----------------------------------------------------------------------------------------------------

    def _thread(self) -> int:
        tid = threading.get_native_id()
        if tid not in self._named_threads:
            self._named_threads.add(tid)
            self._name(_sys.pid, tid, "thread_name", f"loop of {threading.current_thread().name}")
        return tid

    def point(self, ev: tevent_context, point: Any) -> None:
        """See `observer.point`."""
        if point == trace.TEVENT_TRACE_BEFORE_WAIT:
            self._waiting[ev] = True
            self._emit("B", "wait", _sys.pid, self._thread())
        elif self._waiting.pop(ev, False):
            self._emit("E", "wait", _sys.pid, self._thread())
        super().point(ev, point)

    def handler_begins(self, ev: tevent_context, begun: span) -> None:
        """See `handler_observer.handler_begins`."""
        args = {"kind": begun.kind}
        if begun.what:
            args["what"] = begun.what
        if begun.made is not None:
            args["made at"] = location_text(begun.made)
        self._emit("B", begun.name, _sys.pid, self._thread(), args)

    def handler_over(self, ev: tevent_context, done: span) -> None:
        """See `handler_observer.handler_over`."""
        self._emit("E", done.name, _sys.pid, self._thread())

    # -- requests -----------------------------------------------------------------------------------------------------

    def flow(self, command: Any, req: tevent_req | None, depth: int, function: str | None) -> None:
        """See `observer.flow`."""
        if req is None or command == trace.TEVENT_CALL_FLOW_REQ_RESET:
            return
        with self._lock:
            if command == trace.TEVENT_CALL_FLOW_REQ_CREATE:
                self._begin(req, function or "request")
                return
            row = self._rows.get(req)
            if row is None or row.ended:
                return
            if command == trace.TEVENT_CALL_FLOW_REQ_CLEANUP:
                self._state_changes(req, row)
            else:
                what = command.name.removeprefix("TEVENT_CALL_FLOW_REQ_").replace("_", " ").lower()
                self._mark(row, what.replace("notify cb", "callback"), {"function": function} if function else {})

    def _mark(self, row: _row, name: str, args: dict[str, Any]) -> None:
        self._emit("i", name, _REQUESTS_PID + _sys.pid, row.lane.number, args)

    def _begin(self, req: tevent_req, function: str) -> None:
        parent = self._parent_row(req)
        row = _row(function, parent)
        row.lane = self._lane_for(row, parent)
        row.lane.stack.append(row)
        row.root.tree[1][0] += 1
        row.ref = weakref.ref(req, lambda _ref: self._gone(row))
        self._rows[req] = row
        self._open[row] = None
        made = location_text(caller_outside("talloc_py", "tevent", "tsocket"))
        self._emit("B", function, _REQUESTS_PID + _sys.pid, row.lane.number, {"made at": made})

    def _parent_row(self, req: tevent_req) -> _row | None:
        """That of the nearest request above in the tree of ownership."""
        above: Any = talloc_parent(req)
        while above is not None:
            row = self._rows.get(above) if type(above) is tevent_req else None
            if row is not None and not row.ended:
                return row
            above = talloc_parent(above)
        return None

    def _lane_for(self, row: _row, parent: _row | None) -> _lane:
        """A track on which *row* is inside its parent, or alone; one of its tree's own if there is any."""
        lanes = row.root.tree[0]
        if parent is not None:
            for lane in (parent.lane, *lanes):
                if not lane.stack or lane.stack[-1] is parent:
                    return lane
        if self._free_lanes:
            lane = min(self._free_lanes, key=lambda each: each.number)
            self._free_lanes.remove(lane)
        else:
            lane = _lane(len(self._lanes) + 1)
            self._lanes.append(lane)
            if lane.number == 1:
                self._name(_REQUESTS_PID + _sys.pid, 0, "process_name", f"requests of {self._title} ({_sys.pid})")
            self._name(_REQUESTS_PID + _sys.pid, lane.number, "thread_name", f"requests {lane.number}")
        lanes.append(lane)
        return lane

    def _state_changes(self, req: tevent_req, row: _row) -> None:
        is_error, state, error = tevent_req_is_error(req)
        now = tevent_req_state.TEVENT_REQ_DONE if not is_error or state is None else state
        args: dict[str, Any] = {}
        if error is not None:
            args["error"] = error
        if now == tevent_req_state.TEVENT_REQ_RECEIVED:
            self._watch_end(req, row)
            args["after"] = row.state
        else:
            row.state = now.name if error is None else f"{now.name} {error}"
            finished = _finish_place(req)
            if finished:
                args["finished at"] = finished
        self._mark(row, now.name, args)

    def _watch_end(self, req: tevent_req, row: _row) -> None:
        """Hear of the free of *req*."""
        mark = talloc(req, _end_mark)
        if mark is not None:  # else a memory limit forbids it, and the end is when Python lets go of the request
            mark.row = row
            talloc_set_destructor(mark, self._freed)

    def _freed(self, mark: _end_mark) -> int:
        with self._lock:
            self._end(mark.row, {})
        return 0

    def _gone(self, row: _row) -> None:
        with self._lock:
            self._end(row, {})

    def _end(self, row: _row, args: dict[str, Any]) -> None:
        """*row* is over; it is drawn so as soon as nothing is open inside it."""
        if row.ended or row not in self._open:  # of another process, which it was copied from
            return
        row.ended = True
        del self._open[row]
        row.outcome = {**args, "state": row.state}
        stack = row.lane.stack
        while stack and stack[-1].ended:
            over = stack.pop()
            self._emit("E", over.name, _REQUESTS_PID + _sys.pid, over.lane.number, over.outcome)
        lanes, count = row.root.tree
        count[0] -= 1
        if count[0] == 0:
            self._free_lanes += lanes
            lanes.clear()


def _finish_place(req: tevent_req) -> str:
    """Where *req* was finished, out of the library's own text for it."""
    text = tevent_req_default_print(req, None)
    if text is None:
        return ""
    place = text.rpartition("finish[")[2].removesuffix("]")
    talloc_free(text)
    return "" if place == "(null)" else place


# -- the command ------------------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> None:
    """
    Run a program with a timeline: what ``python -m tevent.timeline`` does.

    Args:
        arguments: Those of the command line; None for the real ones. See the text of the module.

    What the program raises, `SystemExit` included, passes to the caller. The file is complete when the interpreter
    ends, behind the program's own `atexit` functions.
    """
    import argparse
    import atexit
    import runpy
    import sys

    parser = argparse.ArgumentParser(prog="python -m tevent.timeline", description="Run a program, write a timeline.")
    parser.add_argument("-o", "--output", metavar="FILE", default=_DEFAULT_FILE, help=f"default: {_DEFAULT_FILE}")
    parser.add_argument("-m", "--module", action="store_true", help="the program is the name of a module")
    parser.add_argument("program", help="a script, or with -m a module")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the arguments of the program")
    options = parser.parse_args(arguments)
    recording = record(options.output, options.program)
    atexit.register(_finish, recording)
    recording.__enter__()
    sys.argv[:] = [options.program, *options.arguments]
    if options.module:
        runpy.run_module(options.program, run_name="__main__", alter_sys=True)
        return
    if not sys.flags.safe_path:
        sys.path[0] = options.program.rpartition("/")[0]
    runpy.run_path(options.program, run_name="__main__")


def _finish(recording: record) -> None:
    import sys

    recording.finish()
    if recording.error is not None:
        sys.stderr.write(f"tevent.timeline: the timeline is not complete: {recording.error}\n")


if __name__ == "__main__":
    # By its own name: frames of this file must be known as the library's.
    from tevent.timeline import main

    main()
