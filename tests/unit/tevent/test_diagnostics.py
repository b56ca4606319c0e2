# SPDX-License-Identifier: LGPL-3.0-or-later
"""The debug mode of the loop and of requests; what events say that are freed twice, and contexts that are dropped."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from tevent_kit import Failure, Recorder, context

import tevent
from talloc_py import TALLOC_CTX, talloc_free, talloc_new
from talloc_py.diagnostics import birth_of, births_are_remembered
from tevent import (
    TEVENT_FD_READ,
    _observe,
    _request,
    _sys,
    diagnostics,
    tevent_abort_error,
    tevent_add_fd,
    tevent_add_timer,
    tevent_context,
    tevent_context_init,
    tevent_create_immediate,
    tevent_loop_once,
    tevent_req_create,
    tevent_req_done,
    tevent_req_error,
    tevent_req_oom,
    tevent_req_post,
    tevent_req_received,
    tevent_req_set_callback,
    tevent_schedule_immediate,
    tevent_update_timer,
    timeval,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = re.escape(__file__)


class some_state(TALLOC_CTX):
    """A state without fields."""


class Stopwatch:
    """Time that passes only where a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.us = 0
        monkeypatch.setattr(_sys, "stopwatch_us", lambda: self.us)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Stopwatch:
    """The stopwatch, set by hand."""
    return Stopwatch(monkeypatch)


@pytest.fixture
def debug(watch: Stopwatch) -> Iterator[None]:
    """The debug mode with a limit of 0.1 s, for one test."""
    diagnostics.switch_on(slow=0.1)
    yield
    diagnostics.switch_off()


def warned(caught: Any) -> list[str]:
    """The texts of recorded warnings."""
    return [str(each.message) for each in caught]


class TestSlowHandlers:
    def run(self, ev: tevent_context, count: int = 1) -> list[str]:
        """Do iterations; what was said."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(count):
                assert tevent_loop_once(ev) == 0
        return warned(caught)

    def test_each_kind(self, debug: None, watch: Stopwatch, top: TALLOC_CTX, pipe: tuple[int, int]) -> None:
        """The handler, its event, where that was made, how long it took, and what to do."""
        ev = context(top)

        def slow(*_: object) -> None:
            watch.us += 250_000

        def add_immediate() -> None:
            im = tevent_create_immediate(ev)
            assert im is not None
            tevent_schedule_immediate(im, ev, slow, None)

        _sys.write(pipe[1], b"x")
        for add, what in (
            (lambda: tevent_add_fd(ev, ev, pipe[0], TEVENT_FD_READ, slow, None), rf"fd event \(descriptor {pipe[0]}\)"),
            (lambda: tevent_add_timer(ev, ev, timeval(0, 0), slow, None), "timer event"),
            (add_immediate, "immediate event"),
        ):
            add()
            (said,) = self.run(ev)
            assert re.fullmatch(
                rf"the handler 'slow' of the {what}, made at {HERE}:\d+, took 0\.250 s, more than 0\.1 s, and all "
                rf"other events of <tevent context at \S+ \w+> had to wait; do the work in steps, .*",
                said,
            )

    def test_callback_of_a_posted_request(self, debug: None, watch: Stopwatch, top: TALLOC_CTX) -> None:
        """It is the request that is named, and its callback, not the immediate behind it."""
        ev = context(top)
        req, _ = tevent_req_create(top, some_state)
        assert req is not None
        tevent_req_done(req)
        tevent_req_post(req, ev)

        def slow_callback(req: Any) -> None:
            watch.us += 250_000

        tevent_req_set_callback(req, slow_callback, None)
        (said,) = self.run(ev)
        assert "handler 'slow_callback' of the immediate event (struct some_state made at " in said

    def test_at_the_limit(self, debug: None, watch: Stopwatch, top: TALLOC_CTX) -> None:
        """What takes no longer than the limit is fine; a second call of switch_on() sets another one."""
        ev = context(top)

        def busy(*_: object) -> None:
            watch.us += 100_000

        tevent_add_timer(ev, ev, timeval(0, 0), busy, None)
        assert self.run(ev) == []
        diagnostics.switch_on(slow=0.05)
        tevent_add_timer(ev, ev, timeval(0, 0), busy, None)
        assert len(self.run(ev)) == 1

    def test_waiting_does_not_count(self, debug: None, watch: Stopwatch, top: TALLOC_CTX, log: Recorder) -> None:
        """What passes before the handler is not its time."""
        ev = context(top)

        def hook(*_: object) -> int:
            watch.us += 10_000_000
            return 0

        tevent.tevent_loop_set_nesting_hook(ev, hook, None)
        tevent_add_timer(ev, ev, timeval(0, 0), log.timer, "ran")
        assert self.run(ev) == []
        assert log.take() == ["ran"]

    def test_handler_that_raises(self, debug: None, watch: Stopwatch, top: TALLOC_CTX) -> None:
        """It is reported as well, and its exception leaves the loop."""
        ev = context(top)

        def slow(*_: object) -> None:
            watch.us += 250_000
            raise Failure

        tevent_add_timer(ev, ev, timeval(0, 0), slow, None)
        with pytest.warns(diagnostics.DiagnosticWarning, match="'slow'"), pytest.raises(Failure):
            tevent_loop_once(ev)

    def test_nested_loop(self, debug: None, watch: Stopwatch, top: TALLOC_CTX) -> None:
        """The inner handler is reported before the outer one, which has waited for it."""
        ev = context(top)
        tevent.tevent_loop_allow_nesting(ev)

        def inner(*_: object) -> None:
            watch.us += 250_000

        def outer(*_: object) -> None:
            tevent_add_timer(ev, ev, timeval(0, 0), inner, None)
            tevent_loop_once(ev)

        tevent_add_timer(ev, ev, timeval(0, 0), outer, None)
        assert [re.findall("'(.*?)'", said)[0] for said in self.run(ev)] == ["inner", "outer"]

    def test_context_that_was_there_before(self, watch: Stopwatch, top: TALLOC_CTX) -> None:
        """Contexts need not be made while the mode is on."""
        ev = context(top)
        diagnostics.switch_on(slow=0)
        try:

            def slow(*_: object) -> None:
                watch.us += 1

            tevent_add_timer(ev, ev, timeval(0, 0), slow, None)
            assert len(self.run(ev)) == 1
        finally:
            diagnostics.switch_off()
        tevent_add_timer(ev, ev, timeval(0, 0), slow, None)
        assert self.run(ev) == []
        assert ev.lean
        assert ev.im_plain
        assert ev.tm_plain


class TestUnreceived:
    @pytest.mark.parametrize(
        ("fail", "state"), [(lambda req: tevent_req_error(req, 5), "USER_ERROR 5"), (tevent_req_oom, "NO_MEMORY")]
    )
    def test_failed(self, debug: None, top: TALLOC_CTX, fail: Callable[[Any], object], state: str) -> None:
        """The request, where it was made, finished and freed, and what is lost."""
        req, _ = tevent_req_create(top, some_state)
        fail(req)
        with pytest.warns(diagnostics.DiagnosticWarning) as caught:
            talloc_free(req)
        assert re.fullmatch(
            r"a failed request was freed by talloc_free\(\) although nobody has called its _recv function, and the "
            rf"error is lost: <tevent_req of struct some_state {state} made at {HERE}:\d+>, finished at {HERE}:\d+, "
            rf"freed at {HERE}:\d+; call the _recv function, .*",
            warned(caught)[0],
        )
        assert (caught[0].filename, caught[0].lineno) == (__file__, sys._getframe().f_lineno - 7)

    def test_with_its_owner(self, debug: None) -> None:
        """It does not matter who frees it."""
        owner = talloc_new(None)
        req, _ = tevent_req_create(owner, some_state)
        assert req is not None
        tevent_req_error(req, 5)
        with pytest.warns(diagnostics.DiagnosticWarning, match="error is lost"):
            talloc_free(owner)

    def test_received(self, debug: None, top: TALLOC_CTX) -> None:
        """Nothing to say about one that was received, one that has succeeded, and one that goes on."""
        for end in (
            tevent_req_done,
            lambda req: [tevent_req_error(req, 5), tevent_req_received(req)],
            lambda req: None,
        ):
            req, _ = tevent_req_create(top, some_state)
            end(req)
            assert talloc_free(req) == 0

    def test_posted(self, debug: None, top: TALLOC_CTX) -> None:
        """Nobody could have received one whose callback is still to run."""
        ev = context(top)
        req, _ = tevent_req_create(top, some_state)
        assert req is not None
        tevent_req_error(req, 5)
        tevent_req_post(req, ev)
        assert talloc_free(req) == 0

    def test_off(self, top: TALLOC_CTX) -> None:
        """Without the debug mode nothing is said, not even about a request that was made in it."""
        diagnostics.switch_on(slow=1000)
        req, _ = tevent_req_create(top, some_state)
        diagnostics.switch_off()
        assert req is not None
        tevent_req_error(req, 5)
        assert talloc_free(req) == 0


class TestSwitch:
    def test_chunks_know_their_birth(self, debug: None, top: TALLOC_CTX) -> None:
        """The mode includes that of talloc."""
        req, state = tevent_req_create(top, some_state)
        assert birth_of(req) is not None
        assert birth_of(state) is not None
        assert diagnostics.is_on()

    def test_off_leaves_nothing(self) -> None:
        """The names of all modules are what they were, and nobody looks on."""
        modules = [module for name, module in sys.modules.items() if name.partition(".")[0] in ("talloc_py", "tevent")]
        modules = [module for module in modules if module.__name__ != "tevent._observe"]
        before = [dict(vars(module)) for module in modules]
        diagnostics.switch_on()
        assert _request.destroy is not before[modules.index(_request)]["destroy"]
        diagnostics.switch_off()
        diagnostics.switch_off()
        changed = [
            (module.__name__, name)
            for module, names in zip(modules, before, strict=True)
            for name in names
            if vars(module)[name] is not names[name]
        ]
        assert changed == []
        assert not _observe._observers
        assert not births_are_remembered()
        assert not tevent.trace.request_watchers

    def test_wrong_limit(self) -> None:
        """A limit is a number of seconds."""
        with pytest.raises(ValueError, match="slow must be a number of seconds, not -1"):
            diagnostics.switch_on(slow=-1)
        assert not diagnostics.is_on()

    @pytest.mark.parametrize(
        ("setting", "limit", "said"),
        [
            ("1", 0.1, ""),
            ("slow=0.5", 0.5, ""),
            ("loud", 0.1, "TSOCKET_DEBUG=loud is not understood; write 1, or slow=SECONDS"),
            ("slow=x", 0.1, "TSOCKET_DEBUG=slow=x is not understood"),
        ],
    )
    def test_environment(self, setting: str, limit: float, said: str) -> None:
        """The variable switches it on and may say the limit; what cannot be understood is a warning."""
        code = "from tsocket import diagnostics as d; print(d.loop_diagnostics._state.slow.limit_us, len(d._exchanged))"
        run = fresh(code, TSOCKET_DEBUG=setting)
        assert run.stdout.split() == [str(int(limit * 1e6)), "2"]
        assert said in run.stderr
        assert bool(run.stderr) == bool(said)

    def test_nothing_is_loaded_without_it(self) -> None:
        """An import of all packages loads no module of the debug mode."""
        run = fresh(
            "import sys, tsocket; print(*(name for name in sys.modules if 'diagnos' in name or '_observe' in name))"
        )
        assert run.stdout.split() == []


def fresh(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run *code* in a fresh interpreter."""
    code = f"import sys; sys.path[:] = {sys.path!r}; {code}"
    return subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, env=environment
    )


class TestFreedInItsHandler:
    def test_double_free(self, epoll_ev: tevent_context) -> None:
        """The event, where it was made, both frees, and what to do."""

        def handler(ev: Any, te: Any, now: Any, private_data: Any) -> None:
            assert talloc_free(te) == -1
            talloc_free(te)

        tevent_add_timer(epoll_ev, epoll_ev, timeval(0, 0), handler, None)
        line = handler.__code__.co_firstlineno
        with pytest.raises(tevent_abort_error) as caught:
            tevent_loop_once(epoll_ev)
        assert str(caught.value) == (
            f"tevent_timer double free: chunk 'struct tevent_timer', made at {__file__}:{line + 4}, was freed at "
            f"{__file__}:{line + 1} while its handler runs, goes when that returns, and is used again by talloc_free() "
            f"at {__file__}:{line + 2}; a handler that frees its event must forget it"
        )

    def test_timer_that_runs(self, epoll_ev: tevent_context) -> None:
        """A timer that is moved while it runs is told that it fires once."""

        def handler(ev: Any, te: Any, now: Any, private_data: Any) -> None:
            tevent_update_timer(te, timeval(5, 0))

        tevent_add_timer(epoll_ev, epoll_ev, timeval(0, 0), handler, None)
        with pytest.raises(tevent_abort_error, match=r"made at \S+: its handler runs, .*; add a new one"):
            tevent_loop_once(epoll_ev)


def collected(make: Callable[[], object]) -> None:
    """Make something, drop it and let the collector find it."""
    make()
    gc.collect()


class TestDroppedContext:
    def test_names_what_goes_down_with_it(self, pipe: tuple[int, int]) -> None:
        """Where it was made, the events that will not run, and what to do."""

        def drop() -> None:
            ev = tevent_context_init(None)
            assert ev is not None
            tevent_add_fd(ev, ev, pipe[0], TEVENT_FD_READ, print, None)
            for _ in range(2):
                tevent_add_timer(ev, ev, timeval(2**31, 0), print, None)

        with pytest.warns(ResourceWarning) as caught:
            collected(drop)
        line = drop.__code__.co_firstlineno + 1
        assert re.fullmatch(
            rf"unclosed <tevent context at 0x\w+, idle>, made at {HERE}:{line}, with 1 fd event and 2 timers that will "
            r"not run any more: it was dropped without talloc_free\(\); free it, or give it an owner that is freed",
            warned(caught)[0],
        )

    def test_in_debug_mode(self, debug: None) -> None:
        """A context that nobody watches is dropped at once, as without the debug mode."""
        with pytest.warns(ResourceWarning, match="unclosed <tevent context"):
            collected(lambda: tevent_context_init(None))
