# SPDX-License-Identifier: LGPL-3.0-or-later
"""The timeline: tracks of handlers and of requests, in a file that survives whatever the program does."""

from __future__ import annotations

import gc
import json
import pathlib
import subprocess
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from tevent_kit import Failure, context

from talloc_py import (
    TALLOC_CTX,
    talloc_free,
    talloc_new,
    talloc_set_destructor,
    talloc_set_memlimit,
    talloc_steal,
    talloc_total_size,
)
from tevent import (
    _observe,
    _sys,
    tevent_add_fd,
    tevent_add_timer,
    tevent_create_immediate,
    tevent_get_trace_fd_callback,
    tevent_get_trace_timer_callback,
    tevent_loop_allow_nesting,
    tevent_loop_once,
    tevent_req_cancel,
    tevent_req_create,
    tevent_req_done,
    tevent_req_error,
    tevent_req_received,
    tevent_req_set_callback,
    tevent_schedule_immediate,
    tevent_set_trace_fd_callback,
    tevent_set_trace_timer_callback,
    tevent_thread_call_depth_set_callback,
    timeval,
    trace,
)
from tevent.timeline import main, record

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUESTS = 2**22
READ = 1


class job_state(TALLOC_CTX):
    """The state of a request."""


@pytest.fixture(autouse=True)
def ticking(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A stopwatch that goes on by one microsecond each time somebody looks; nobody watches afterwards."""
    now = [0]

    def look() -> int:
        now[0] += 1
        return now[0]

    monkeypatch.setattr(_sys, "stopwatch_us", look)
    yield
    assert not _observe._observers
    assert not trace.request_watchers


@pytest.fixture
def path(tmp_path: pathlib.Path) -> str:
    """Where the timeline goes."""
    return str(tmp_path / "timeline.json")


def events(path: str) -> list[dict[str, Any]]:
    """The events of a complete timeline."""
    with open(path, encoding="utf-8") as file:
        found: list[dict[str, Any]] = json.load(file)
    return found


def lines(path: str) -> list[dict[str, Any]]:
    """The events of a timeline whose end may be missing; every line has to be whole."""
    with open(path, encoding="utf-8") as file:
        text = file.read().splitlines()
    assert text[0] == "["
    return [json.loads(line.removesuffix(",")) for line in text[1:] if line != "]"]


def drawn(found: list[dict[str, Any]], requests: bool) -> list[tuple[str, str, int]]:
    """Phase, name and track of what is drawn, without names of tracks."""
    return [
        (event["ph"], event["name"], event["tid"])
        for event in found
        if event["ph"] != "M" and (event["pid"] >= REQUESTS) == requests
    ]


def balanced(found: list[dict[str, Any]]) -> bool:
    """Whether on each track the ends match the beginnings, innermost first, and time goes on."""
    stacks: dict[tuple[int, int], list[str]] = {}
    now = 0
    for event in found:
        if event["ph"] == "M":
            continue
        assert event["ts"] >= now
        now = event["ts"]
        stack = stacks.setdefault((event["pid"], event["tid"]), [])
        if event["ph"] == "B":
            stack.append(event["name"])
        elif event["ph"] == "E" and (not stack or stack.pop() != event["name"]):
            return False
    return not any(stacks.values())


def job_send(owner: TALLOC_CTX | None) -> tuple[Any, Any]:
    """A request with its state."""
    return tevent_req_create(owner, job_state)


class TestHandlers:
    def test_each_handler_and_the_wait(self, path: str, top: TALLOC_CTX, pipe: tuple[int, int]) -> None:
        """Beginning and end on the track of the thread, with what it is and where it was made."""
        ev = context(top)

        def timer(*_: object) -> None:
            pass

        def immediate(*_: object) -> None:
            pass

        def readable(*_: object) -> None:
            pass

        with record(path, "test"):
            _sys.write(pipe[1], b"x")
            tevent_add_timer(ev, ev, timeval(0, 0), timer, None)
            im = tevent_create_immediate(ev)
            assert im is not None
            tevent_schedule_immediate(im, ev, immediate, None)
            tevent_add_fd(ev, ev, pipe[0], READ, readable, None)
            for _ in range(3):
                tevent_loop_once(ev)
        found = events(path)
        thread = threading.get_native_id()
        assert drawn(found, False) == [
            (phase, name, thread) for name in ("immediate", "timer", "wait", "readable") for phase in "BE"
        ]
        begin = next(event for event in found if event["name"] == "readable")
        assert begin["args"]["kind"] == "fd"
        assert begin["args"]["what"] == f"descriptor {pipe[0]}"
        assert begin["args"]["made at"].startswith(f"{__file__}:")
        assert balanced(found)

    def test_names_of_tracks(self, path: str, top: TALLOC_CTX) -> None:
        """The process is called as the caller says, a track after its thread."""
        ev = context(top)
        with record(path, "my program"):
            job_send(top)
            tevent_add_timer(ev, ev, timeval(0, 0), lambda *_: None, None)
            tevent_loop_once(ev)
        named = {(event["name"], event["args"].get("name")) for event in events(path) if event["ph"] == "M"}
        assert {
            ("process_name", "my program"),
            ("thread_name", f"loop of {threading.current_thread().name}"),
            ("process_name", f"requests of my program ({_sys.pid})"),
            ("thread_name", "requests 1"),
        } <= named

    def test_nested_loop_and_exception(self, path: str, top: TALLOC_CTX) -> None:
        """A handler inside a handler is drawn inside it; one that raises ends."""
        ev = context(top)
        tevent_loop_allow_nesting(ev)

        def inner(*_: object) -> None:
            raise Failure

        def outer(*_: object) -> None:
            tevent_add_timer(ev, ev, timeval(0, 0), inner, None)
            with pytest.raises(Failure):
                tevent_loop_once(ev)

        with record(path):
            tevent_add_timer(ev, ev, timeval(0, 0), outer, None)
            tevent_loop_once(ev)
        assert [(phase, name) for phase, name, _ in drawn(events(path), False)] == [
            ("B", "outer"), ("B", "inner"), ("E", "inner"), ("E", "outer"),
        ]  # fmt: skip


class TestRequests:
    def test_life_of_a_request(self, path: str, top: TALLOC_CTX) -> None:
        """Creation, state with error and place, callback, reception, free."""

        def called(req: Any) -> None:
            pass

        with record(path):
            req, _ = job_send(top)
            tevent_req_set_callback(req, called, None)
            tevent_req_cancel(req)
            tevent_req_error(req, 5)
            tevent_req_received(req)
            talloc_new(top)
            talloc_free(req)
        found = [event for event in events(path) if event["ph"] != "M"]
        assert [(event["ph"], event["name"]) for event in found] == [
            ("B", "job_send"),
            ("i", "cancel"),
            ("i", "TEVENT_REQ_USER_ERROR"),
            ("i", "callback"),
            ("i", "TEVENT_REQ_RECEIVED"),
            ("E", "job_send"),
        ]
        assert found[0]["args"]["made at"].startswith(f"{__file__}:")
        assert found[2]["args"]["error"] == 5
        assert found[2]["args"]["finished at"].startswith(f"{__file__}:")
        assert found[3]["args"] == {"function": "called"}
        assert found[-1]["args"] == {"state": "TEVENT_REQ_USER_ERROR 5"}

    def test_free_is_seen_when_it_happens(self, path: str, top: TALLOC_CTX) -> None:
        """A received request is open until it is freed, whatever happens before."""
        with record(path):
            req, _ = job_send(top)
            tevent_req_done(req)
            tevent_req_received(req)
            between, _ = job_send(top)
            talloc_free(between)
            talloc_free(req)
        assert [(phase, track) for phase, _, track in drawn(events(path), True) if phase in "BE"] == [
            ("B", 1), ("B", 2), ("E", 2), ("E", 1),
        ]  # fmt: skip

    def test_tree_has_one_track(self, path: str, top: TALLOC_CTX) -> None:
        """Subrequests are drawn inside their parent; what overlaps without that has a track beside it."""
        with record(path):
            outer, state = job_send(top)
            one, below = job_send(state)
            job_send(talloc_new(below))
            _two, _ = job_send(state)
            talloc_free(one)
            _three, _ = job_send(state)
            talloc_free(outer)
        found = events(path)
        assert [track for phase, _, track in drawn(found, True) if phase == "B"] == [1, 1, 1, 2, 1]
        assert balanced(found)

    def test_tracks_are_used_again(self, path: str, top: TALLOC_CTX) -> None:
        """When a tree is gone the next one has its track; another tree at the same time has another."""
        with record(path):
            first, _ = job_send(top)
            second, _ = job_send(top)
            talloc_free(first)
            third, _ = job_send(top)
            talloc_free(second)
            talloc_free(third)
            fourth, _ = job_send(top)
            talloc_free(fourth)
        assert [track for phase, _, track in drawn(events(path), True) if phase == "B"] == [1, 2, 1, 1]

    def test_subrequest_that_outlives_its_parent(self, path: str, top: TALLOC_CTX) -> None:
        """It is drawn to its end, and the parent around it."""
        with record(path):
            outer, state = job_send(top)
            inner, _ = job_send(state)
            talloc_steal(top, inner)
            talloc_free(outer)
            talloc_free(inner)
        found = events(path)
        assert balanced(found)
        assert [event["args"]["state"] for event in found if event["ph"] == "E"] == ["TEVENT_REQ_IN_PROGRESS"] * 2

    def test_still_there(self, path: str, top: TALLOC_CTX) -> None:
        """What is outstanding at the end of the recording is marked so."""
        with record(path):
            _, state = job_send(top)
            job_send(state)
        found = events(path)
        ends = [event["args"] for event in found if event["ph"] == "E"]
        assert ends == [{"still there": True, "state": "TEVENT_REQ_IN_PROGRESS"}] * 2
        assert balanced(found)

    def test_destructor_of_the_users(self, path: str, top: TALLOC_CTX) -> None:
        """A request whose destructor somebody has replaced ends when Python lets go of it."""
        with record(path):
            req, _ = job_send(top)
            talloc_set_destructor(req, lambda req: 0)
            talloc_free(req)
            del req, _
            job_send(top)
        assert [(phase, track) for phase, _, track in drawn(events(path), True) if phase in "BE"] == [
            ("B", 1), ("E", 1), ("B", 1), ("E", 1),
        ]  # fmt: skip

    def test_memory_limit(self, path: str, top: TALLOC_CTX) -> None:
        """A request on a full limit can be received and freed all the same."""
        owner = talloc_new(top)
        assert owner is not None
        with record(path):
            req, _ = job_send(owner)
            talloc_set_memlimit(owner, talloc_total_size(owner))
            tevent_req_done(req)
            tevent_req_received(req)
            talloc_free(req)
            del req, _
        assert balanced(events(path))


class TestBesideOthers:
    def test_callbacks_of_the_program(self, path: str, top: TALLOC_CTX) -> None:
        """Those set before, during and after are called as ever, and the getters show them."""
        ev = context(top)
        told: list[Any] = []

        def heard(event: Any, point: Any, private_data: Any) -> None:
            told.append((private_data, int(point)))

        tevent_set_trace_timer_callback(ev, heard, "before")
        with record(path):
            assert tevent_get_trace_timer_callback(ev) == (heard, "before")
            tevent_set_trace_fd_callback(ev, heard, "during")
            assert tevent_get_trace_fd_callback(ev) == (heard, "during")
            made = context(top)
            assert tevent_get_trace_fd_callback(made) == (None, None)
            tevent_add_timer(ev, ev, timeval(0, 0), lambda *_: None, None)
            tevent_loop_once(ev)
        assert told == [("before", 0), ("before", 2), ("before", 1)]
        assert tevent_get_trace_timer_callback(ev) == (heard, "before")
        assert tevent_get_trace_fd_callback(ev) == (heard, "during")
        assert tevent_get_trace_fd_callback(made) == (None, None)
        assert made.lean

    def test_wrong_arguments_are_refused_as_ever(self, path: str, top: TALLOC_CTX) -> None:
        """What is no function, and what is no context."""
        ev = context(top)
        with record(path):
            with pytest.raises(TypeError, match="cb must be callable or None, not str"):
                tevent_set_trace_fd_callback(ev, "x", None)  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="ev must be a tevent_context"):
                tevent_set_trace_fd_callback(top, None, None)  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="f must be callable or None, not str"):
                tevent_thread_call_depth_set_callback("x", None)  # type: ignore[arg-type]

    def test_flow_of_the_program(self, path: str, top: TALLOC_CTX) -> None:
        """Its own callback for the flow of calls hears everything, and a last reset when it is replaced."""
        told: list[tuple[str, int]] = []

        def heard(data: Any, command: Any, req: Any, depth: int, function: str | None) -> None:
            told.append((data, int(command)))

        with record(path):
            tevent_thread_call_depth_set_callback(heard, "a")
            job_send(top)
            tevent_thread_call_depth_set_callback(heard, "b")
        assert told == [("a", 1), ("a", 0)]
        job_send(top)
        assert told[2:] == [("b", 1)]
        tevent_thread_call_depth_set_callback(None, None)

    def test_two_records(self, tmp_path: pathlib.Path, top: TALLOC_CTX) -> None:
        """Each has its own file, and what happens while it is on."""
        with record(str(tmp_path / "one")):
            job_send(top)
            with record(str(tmp_path / "two")):
                job_send(top)
        assert len(drawn(events(str(tmp_path / "one")), True)) == 4
        assert len(drawn(events(str(tmp_path / "two")), True)) == 2

    def test_other_threads(self, path: str, top: TALLOC_CTX) -> None:
        """A thread that makes a context, or runs a loop, has a track, and its requests are seen."""

        def work() -> None:
            mine = talloc_new(None)
            ev = context(mine)
            job_send(mine)
            tevent_add_timer(ev, ev, timeval(0, 0), lambda *_: None, None)
            tevent_loop_once(ev)
            talloc_free(mine)

        with record(path):
            for name in ("first", "second"):
                thread = threading.Thread(target=work, name=name)
                thread.start()
                thread.join()
        found = events(path)
        names = [event["args"]["name"] for event in found if event["name"] == "thread_name"]
        assert {"loop of first", "loop of second"} <= set(names)
        assert len([1 for phase, _, _ in drawn(found, True) if phase == "B"]) == 2
        assert balanced(found)


class TestFile:
    def test_cannot_be_opened(self, tmp_path: pathlib.Path) -> None:
        """The error comes at once, and nothing is watched."""
        with pytest.raises(FileNotFoundError):
            record(str(tmp_path / "no" / "folder"))

    def test_disk_full(self, top: TALLOC_CTX) -> None:
        """The program goes on; the error comes at the end."""
        if not pathlib.Path("/dev/full").exists():
            pytest.skip("the system has no device that is always full")
        recording = record("/dev/full").__enter__()
        req, _ = job_send(top)
        assert talloc_free(req) == 0
        with pytest.raises(OSError, match="No space left"):
            recording.__exit__()

    def test_every_event_is_written_at_once(self, path: str, top: TALLOC_CTX) -> None:
        """The file is readable at any moment, but for its closing bracket."""
        with record(path):
            job_send(top)
            assert ("B", "job_send", 1) in drawn(lines(path), True)

    def test_odd_names(self, path: str, top: TALLOC_CTX) -> None:
        """Whatever a function is called, the file stays text that can be read."""
        ev = context(top)

        def handler(*_: object) -> None:
            pass

        handler.__name__ = 'quote " backslash \\ \udcff ä'
        with record(path):
            tevent_add_timer(ev, ev, timeval(0, 0), handler, None)
            tevent_loop_once(ev)
        assert ("B", 'quote " backslash \\ ? ä', threading.get_native_id()) in drawn(events(path), False)


PROGRAM = """
import os, sys
from talloc_py import *
from tevent import *

class state(TALLOC_CTX):
    pass

def step(*_):
    pass

def job_send(owner):
    return tevent_req_create(owner, state)[0]

top = talloc_new(None)
ev = tevent_context_init(top)
tevent_add_timer(ev, ev, timeval(0, 0), step, None)
tevent_loop_once(ev)
req = job_send(top)
print(__name__, sys.argv[1:], __file__ == sys.argv[0] or "module")
"""


class TestCommand:
    def run(self, tmp_path: pathlib.Path, end: str, *options: str) -> tuple[subprocess.CompletedProcess[str], str]:
        """Run `PROGRAM` with another *end*; the result and the path of the timeline."""
        (tmp_path / "program.py").write_text(PROGRAM + end, encoding="utf-8")
        code = f"import sys; sys.path[:0] = {[str(tmp_path), *sys.path]!r}; from tevent.timeline import main; main()"
        out = str(tmp_path / "out.json")
        program = options or (str(tmp_path / "program.py"),)
        command = [sys.executable, "-c", code, "-o", out, *program, "-v", "x"]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path), out

    @pytest.mark.parametrize(
        ("end", "status", "said"),
        [
            ("talloc_free(top)", 0, ""),
            ("sys.exit(3)", 3, ""),
            ("sys.exit('bad')", 1, "bad"),
            ("raise ValueError('no')", 1, "ValueError: no"),
        ],
    )
    def test_ends(self, tmp_path: pathlib.Path, end: str, status: int, said: str) -> None:
        """The program ends as it would without, and the timeline is complete."""
        run, out = self.run(tmp_path, end)
        assert (run.returncode, run.stderr.strip().splitlines()[-1:]) == (status, [said] if said else [])
        assert run.stdout == "__main__ ['-v', 'x'] True\n"
        found = events(out)
        assert [(phase, name) for phase, name, _ in drawn(found, False)] == [("B", "step"), ("E", "step")]
        assert balanced(found)
        begin = next(event for event in found if event["name"] == "job_send")
        assert begin["args"]["made at"] == f"{tmp_path / 'program.py'}:13"

    def test_module(self, tmp_path: pathlib.Path) -> None:
        """With -m the program is a module, found as `python -m` does."""
        run, out = self.run(tmp_path, "talloc_free(top)", "-m", "program")
        assert (run.returncode, run.stderr) == (0, "")
        assert run.stdout.startswith("__main__ ['-v', 'x']")
        assert balanced(events(out))

    def test_killed(self, tmp_path: pathlib.Path) -> None:
        """A program that is killed leaves what it has done so far, one whole line an event."""
        run, out = self.run(tmp_path, "os.kill(os.getpid(), 9)")
        assert run.returncode == -9
        assert ("B", "job_send", 1) in drawn(lines(out), True)

    def test_fork(self, tmp_path: pathlib.Path) -> None:
        """Parent and child write to the same file, each under its own number; nothing is lost or written twice."""
        run, out = self.run(
            tmp_path,
            "pid = os.fork()\n"
            "tevent_re_initialise(ev) if pid == 0 else os.waitpid(pid, 0)\n"
            "talloc_free(job_send(top))\n"
            "talloc_free(req)\n"
            "if pid == 0: os._exit(0)\n",
        )
        assert (run.returncode, run.stderr) == (0, "")
        found = lines(out)
        by_process: dict[int, list[tuple[str, str]]] = {}
        for event in found:
            if event["ph"] in "BE" and event["pid"] >= REQUESTS:
                by_process.setdefault(event["pid"], []).append((event["ph"], event["name"]))
        begin, end = ("B", "job_send"), ("E", "job_send")
        assert sorted(by_process.values(), key=len) == [[begin, end], [begin, begin, end, end]]
        assert any("forked child" in event["args"]["name"] for event in found if event["name"] == "process_name")

    def test_usage(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Without a program it says how it is used."""
        with pytest.raises(SystemExit, match="2"):
            main([])
        assert "[-o FILE] [-m] program" in capsys.readouterr().err

    def test_as_a_module(self, tmp_path: pathlib.Path) -> None:
        """`python -m tevent.timeline` is that command."""
        run = subprocess.run(
            [sys.executable, "-m", "tevent.timeline", "--help"], capture_output=True, text=True, check=True
        )
        assert "default: timeline.json" in run.stdout


def test_context_is_dropped_as_ever(path: str) -> None:
    """A recording keeps no context alive."""
    top = talloc_new(None)
    with record(path):
        ref = weakref.ref(context(top))
        talloc_free(top)
        gc.collect()
        assert ref() is None


def test_thread_that_is_gone_watches_no_more() -> None:
    """A thread that ends with a callback for the flow of calls leaves nothing behind that slows the others down."""
    thread = threading.Thread(target=lambda: tevent_thread_call_depth_set_callback(lambda *_: None, None))
    thread.start()
    thread.join()
    assert trace.request_watchers == 0
