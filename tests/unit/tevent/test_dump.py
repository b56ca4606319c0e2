# SPDX-License-Identifier: LGPL-3.0-or-later
"""The dump of outstanding requests: what is found, what it waits for, since when; as text, in colour, as a graph."""

from __future__ import annotations

import gc
import io
import re
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from tevent_kit import Clock, context

import talloc_py
from talloc_py import TALLOC_CTX, talloc_free
from talloc_py.diagnostics import forget_births, remember_births
from tevent import (
    TEVENT_FD_READ,
    TEVENT_FD_WRITE,
    tevent_add_fd,
    tevent_add_signal,
    tevent_add_timer,
    tevent_context,
    tevent_create_immediate,
    tevent_fd_set_flags,
    tevent_loop_once,
    tevent_queue_add,
    tevent_queue_create,
    tevent_queue_stop,
    tevent_queue_wait_send,
    tevent_req_create,
    tevent_req_done,
    tevent_req_error,
    tevent_req_post,
    tevent_req_received,
    tevent_req_set_callback,
    tevent_req_set_endtime,
    tevent_schedule_immediate,
    tevent_wakeup_send,
    timeval,
)
from tevent.dot import requests_dot
from tevent.dump import dump_on_signal, dump_requests, pending_request, pending_requests

if TYPE_CHECKING:
    from collections.abc import Iterator


class outer_state(TALLOC_CTX):
    """The state of a request that has others below it."""


class inner_state(TALLOC_CTX):
    """The state of a request below another."""


@pytest.fixture(autouse=True)
def nobody_else() -> None:
    """What earlier tests have left to the collector is gone."""
    gc.collect()


@pytest.fixture
def births() -> Iterator[None]:
    """Chunks know when they were made."""
    remember_births()
    yield
    forget_births()


@pytest.fixture
def day(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of day for ages: set item 0."""
    now = [1000.0]
    monkeypatch.setattr(talloc_py._sys, "time", lambda: now[0])
    return now


def create(owner: TALLOC_CTX | None, kind: type[Any] = inner_state) -> tuple[Any, Any]:
    """A request and its state."""
    return tevent_req_create(owner, kind)


def text(**options: Any) -> str:
    """A dump."""
    out = io.StringIO()
    dump_requests(out, **options)
    return out.getvalue()


def only() -> pending_request:
    """The one outstanding request."""
    (found,) = pending_requests()
    return found


class TestWhich:
    def test_none(self) -> None:
        """A dump says so."""
        assert pending_requests() == ()
        assert text() == "no outstanding requests\n"

    def test_tree(self, top: TALLOC_CTX) -> None:
        """Subrequests stand below the request whose state, or any chunk below it, owns them; the oldest first."""
        outer, state = create(top, outer_state)
        first, _ = create(state)
        second, _ = create(talloc_py.talloc_new(state))
        alone, _ = create(top)
        roots = pending_requests()
        assert [each.req for each in roots] == [outer, alone]
        assert [each.req for each in roots[0].subrequests] == [first, second]

    def test_finished_and_freed_are_left_out(self, top: TALLOC_CTX) -> None:
        """What is over, received or freed is outstanding no more."""
        for end in (tevent_req_done, lambda req: tevent_req_error(req, 5), tevent_req_received, talloc_free):
            req, _ = create(top)
            end(req)
        assert pending_requests() == ()

    def test_posted(self, top: TALLOC_CTX, epoll_ev: tevent_context) -> None:
        """A request that is over waits until its callback runs, with state and error."""
        req, _ = create(top)
        tevent_req_error(req, 5)
        tevent_req_post(req, epoll_ev)
        assert (only().state, only().waits_for) == ("USER_ERROR 5", ("its callback, which the loop is going to call",))
        tevent_loop_once(epoll_ev)
        assert pending_requests() == ()

    def test_finished_above_an_outstanding_one(self, top: TALLOC_CTX) -> None:
        """It is shown for the sake of what is below it."""
        outer, state = create(top, outer_state)
        inner, _ = create(state)
        tevent_req_done(outer)
        assert only().req is outer
        assert only().state == "DONE"
        assert only().subrequests[0].req is inner


class TestWhat:
    def test_kind_callback_and_place(self, top: TALLOC_CTX) -> None:
        """The type of the state, the line that made it, the function that is called at the end."""
        req, _ = create(top)
        tevent_req_set_callback(req, print, None)
        found = only()
        assert (found.kind, found.state, found.callback) == ("struct inner_state", "IN_PROGRESS", "print")
        assert re.fullmatch(rf"{re.escape(__file__)}:\d+", found.made)

    def test_events(self, top: TALLOC_CTX, epoll_ev: tevent_context, clock: Clock, pipe: tuple[int, int]) -> None:
        """Descriptors, timers, immediates and signals below its state, but not those of a subrequest."""
        _, state = create(top, outer_state)
        inner, _ = create(state)
        fde = tevent_add_fd(epoll_ev, state, pipe[0], TEVENT_FD_READ | TEVENT_FD_WRITE, print, None)
        tevent_add_timer(epoll_ev, state, timeval(1003, 500000), print, None)
        tevent_add_timer(epoll_ev, inner, timeval(900, 0), repr, None)
        im = tevent_create_immediate(state)
        tevent_create_immediate(state)
        assert im is not None
        assert fde is not None
        tevent_schedule_immediate(im, epoll_ev, print, None)
        tevent_add_signal(epoll_ev, state, signal.SIGUSR1, 0, print, None)
        assert sorted(only().waits_for) == [
            "a timer in 3.5 s, for print",
            "an immediate, for print",
            f"data or room on descriptor {pipe[0]}, for print",
            "signal 10, for print",
        ]
        assert only().subrequests[0].waits_for == ("a timer due for 100.0 s, for repr",)
        tevent_fd_set_flags(fde, 0)
        assert not any("descriptor" in reason for reason in only().waits_for)

    def test_endtime(self, top: TALLOC_CTX, epoll_ev: tevent_context, clock: Clock) -> None:
        """It is told from other timers, also that of the library's own requests."""
        req, _ = create(top)
        tevent_req_set_endtime(req, epoll_ev, timeval(1000, 250000))
        assert only().waits_for == ("its endtime in 250 ms",)
        talloc_free(req)
        tevent_wakeup_send(top, epoll_ev, timeval(1000 + 7 * 3600, 0))
        assert only().waits_for == ("its endtime in 7.0 h",)

    def test_queue(self, top: TALLOC_CTX, epoll_ev: tevent_context) -> None:
        """How many are ahead, who works, and that a queue is stopped."""
        queue = tevent_queue_create(top, "line")
        assert queue is not None
        worker, _ = create(top)
        tevent_queue_add(queue, epoll_ev, worker, lambda req, private_data: None, None)
        tevent_loop_once(epoll_ev)
        tevent_queue_wait_send(top, epoll_ev, queue)
        assert [each.waits_for for each in pending_requests()] == [
            ("its end at the head of queue 'line', 1 behind it",),
            ("its turn in queue 'line', 1 ahead of it",),
        ]
        tevent_queue_stop(queue)
        assert pending_requests()[1].waits_for == ("its turn in queue 'line', which is stopped, 1 ahead of it",)


class TestSinceWhen:
    def test_debug_mode(self, top: TALLOC_CTX, births: None, day: list[float]) -> None:
        """The age of a request that knows its birth."""
        create(top)
        day[0] += 3
        assert (only().age, only().exact) == (3, True)
        assert "IN_PROGRESS for 3.0 s made at" in text()

    def test_without(self, top: TALLOC_CTX, day: list[float]) -> None:
        """Else the first dump starts to count."""
        create(top)
        assert "IN_PROGRESS for an unknown time made at" in text()
        day[0] += 150
        assert (only().age, only().exact) == (150, False)
        assert "IN_PROGRESS for at least 2 min made at" in text()

    def test_place_in_debug_mode(self, top: TALLOC_CTX, epoll_ev: tevent_context, births: None) -> None:
        """A request that a function of the library makes was made by who called that."""
        tevent_wakeup_send(top, epoll_ev, timeval(2**31, 0))
        assert only().made.startswith(__file__)

    def test_nothing_is_kept_alive(self, top: TALLOC_CTX) -> None:
        """A request that was shown goes when it is freed."""
        create(top)
        pending_requests()
        req = only().req
        talloc_free(req)
        assert [each for each in gc.get_referrers(req) if isinstance(each, dict)] == []


class TestText:
    def test_tree(self, top: TALLOC_CTX, epoll_ev: tevent_context, clock: Clock) -> None:
        """Branches as in a file manager, with what each waits for."""
        outer, state = create(top, outer_state)
        tevent_req_set_endtime(outer, epoll_ev, timeval(1002, 0))
        inner, below = create(state)
        create(below)
        create(state)
        tevent_req_set_callback(inner, print, None)
        shown = re.sub(r" for an unknown time made at \S+:\d+", "", text())
        assert shown.splitlines() == [
            "outstanding requests: 4",
            "outer_state IN_PROGRESS",
            "│  waits for its endtime in 2.0 s",
            "├─ inner_state IN_PROGRESS",
            "│  │  then calls print",
            "│  └─ inner_state IN_PROGRESS",
            "└─ inner_state IN_PROGRESS",
        ]

    def test_colour(self, top: TALLOC_CTX) -> None:
        """The colours are the only difference."""
        create(top)
        text()
        coloured = text(colour=True)
        plain = re.sub(r"\033\[[0-9;]*m", "", coloured)
        assert coloured.count("\033[1;36minner_state\033[0m") == 1
        assert "\033" not in text(colour=False)
        assert plain.splitlines()[0] == text().splitlines()[0]

    @pytest.mark.parametrize(
        ("tty", "variables", "coloured"),
        [
            (True, {}, True),
            (False, {}, False),
            (True, {"NO_COLOR": "1"}, False),
            (True, {"NO_COLOR": ""}, True),
            (True, {"TERM": "dumb"}, False),
        ],
    )
    def test_when_it_is_coloured(
        self,
        top: TALLOC_CTX,
        monkeypatch: pytest.MonkeyPatch,
        tty: bool,
        variables: dict[str, str],
        coloured: bool,
    ) -> None:
        """A terminal, unless its user or its kind is against it."""
        monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setenv("TERM", "xterm")
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        create(top)
        out = io.StringIO()
        monkeypatch.setattr(out, "isatty", lambda: tty)
        dump_requests(out)
        assert ("\033" in out.getvalue()) == coloured

    def test_standard_error(self, top: TALLOC_CTX, capsys: pytest.CaptureFixture[str]) -> None:
        """That is where it goes unless told otherwise."""
        create(top)
        dump_requests()
        assert capsys.readouterr().err.startswith("outstanding requests: 1\n")


class TestSignal:
    def test_dumps_and_can_be_taken_back(self, top: TALLOC_CTX) -> None:
        """The signal writes the dump, without a loop; afterwards the former handler is there again."""
        create(top)
        heard: list[int] = []
        before = signal.signal(signal.SIGUSR2, lambda signum, frame: heard.append(signum))
        try:
            out = io.StringIO()
            undo = dump_on_signal(signal.SIGUSR2, out)
            signal.raise_signal(signal.SIGUSR2)
            assert out.getvalue().startswith("outstanding requests: 1\n")
            undo()
            signal.raise_signal(signal.SIGUSR2)
            assert heard == [signal.SIGUSR2]
        finally:
            signal.signal(signal.SIGUSR2, before)

    def test_in_a_handler_that_hangs(self, top: TALLOC_CTX, epoll_ev: tevent_context) -> None:
        """It comes while a handler of the loop runs."""
        create(top)
        out = io.StringIO()
        undo = dump_on_signal(signal.SIGUSR2, out, colour=True)
        try:
            tevent_add_timer(epoll_ev, top, timeval(0, 0), lambda *_: signal.raise_signal(signal.SIGUSR2), None)
            tevent_loop_once(epoll_ev)
        finally:
            undo()
        assert "\033[1;36minner_state" in out.getvalue()


class TestGraph:
    def test_nodes_and_arrows(self, top: TALLOC_CTX) -> None:
        """A node a request with what the dump says, an arrow to each subrequest."""
        outer, state = create(top, outer_state)
        create(state)
        tevent_req_done(outer)
        shown = requests_dot()
        assert re.search(
            r'^  req0 \[label="outer_state DONE\\nmade at \S+:\d+", fillcolor="#fde68a"\];$', shown, re.MULTILINE
        )
        assert re.search(
            r'^  req1 \[label="inner_state IN_PROGRESS\\nmade at .*", fillcolor="#dbeafe"\];$', shown, re.MULTILINE
        )
        assert shown.count("->") == shown.count("req0 -> req1;") == 1

    @pytest.mark.skipif(shutil.which("dot") is None, reason="the program dot of Graphviz is not installed")
    def test_graphviz_reads_it(self, top: TALLOC_CTX) -> None:
        """The program itself takes the text."""
        _, state = create(top, outer_state)
        create(state)
        run = subprocess.run(["dot", "-Tplain"], input=requests_dot(), capture_output=True, text=True, check=True)
        assert len(re.findall("^node ", run.stdout, re.MULTILINE)) == 2


def test_other_contexts_and_nothing_made_by_looking(top: TALLOC_CTX) -> None:
    """Every context is looked at; a dump makes no chunks that were not there."""
    for _ in range(2):
        ev = context(top)
        tevent_wakeup_send(ev, ev, timeval(2**31, 0))
    before = [each.req._talloc_chunk.child for each in pending_requests()]
    dump_requests(io.StringIO())
    requests_dot()
    assert [each.req._talloc_chunk.child for each in pending_requests()] == before
    assert len(before) == 2
