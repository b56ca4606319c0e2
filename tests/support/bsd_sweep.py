# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Sweeps over real descriptors: the same request again and again, each time disturbed otherwise.

The sweeps of `tevent.testing` need a simulated world, in which there are no descriptors.  This one disturbs in the same
ways, and lets the system calls of tsocket fail one by one; what must hold afterwards is the same.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from errno import EAGAIN, ECANCELED, ECONNRESET, EINPROGRESS, EINTR, EIO, ENOBUFS, ENOMEM, ETIMEDOUT
from typing import Any

from syscall_kit import failure, system_calls

from talloc_py import TALLOC_CTX, talloc_free, talloc_new
from talloc_py.debug import talloc_disable_null_tracking, talloc_enable_null_tracking_no_autofree
from tevent import (
    get_errno,
    tevent_add_timer,
    tevent_context,
    tevent_context_init,
    tevent_context_set_wait_timeout,
    tevent_create_immediate,
    tevent_loop_once,
    tevent_req,
    tevent_req_cancel,
    tevent_req_set_callback,
    tevent_req_set_endtime,
    tevent_schedule_immediate,
    timeval,
)
from tevent.testing import check_clean, stock, take_stock

#: What each call fails with in its turn; EINPROGRESS is what only these may say...
ERRNOS = (EAGAIN, EINTR, ENOMEM, ENOBUFS, EIO, ECONNRESET)
GOES_ON = ("connect", "read", "write")
#: ... and what a call and all of its kind behind it fail with.
LASTING_ERRNO = EIO
#: After which errnos a transfer is tried again.
AGAIN = frozenset((EAGAIN, EINTR, ENOMEM, EINPROGRESS))

TURNS_MAX = 400
#: How often one looks, and how long one waits in between, for what the system is sure to do at some time, such as to
#: carry a byte over the loopback interface.
LOOKS_MAX = 4000
LOOK_S = 0.005

#: What a move gives that waits for something.
NOTHING = object()

#: What a request may end with when a call of some kind fails with an errno; None: with anything.
Verdict = Callable[[int], frozenset[int] | None]


def harmless(_err: int) -> frozenset[int]:
    """Nobody notices."""
    return frozenset((0,))


def exact(err: int) -> frozenset[int]:
    """The request fails with just that errno."""
    return frozenset((err,))


def retried(err: int) -> frozenset[int]:
    """What passes is survived, all else is the result."""
    return frozenset((0 if err in AGAIN else err,))


def no_memory(_err: int) -> frozenset[int]:
    """There is only one reason for it to fail."""
    return frozenset((ENOMEM,))


def anything(_err: int) -> None:
    """Success or failure."""


def exact_or_harmless(err: int) -> frozenset[int]:
    """It fails with just that errno, or there was another way."""
    return frozenset((0, err))


#: For the calls that mean the same wherever they are made; an act tells of the others.
VERDICTS: dict[str, Verdict] = {
    "read": retried,
    "write": retried,
    "fd event": no_memory,
    "close": harmless,
    "socket object": exact_or_harmless,
}


@dataclass
class stage:
    """Where an act is played: what it needs, and what belongs to the other side."""

    mem_ctx: TALLOC_CTX
    ev: tevent_context
    #: The owner of the request, and of nothing that was there before.
    owner: TALLOC_CTX
    #: The stream or datagram context, below `mem_ctx`; None where an act has none.
    target: Any = None
    #: What the other side does, one after the other, whenever the loop has nothing to do.
    moves: Iterator[object] = field(default_factory=lambda: iter(()))
    #: The sockets of the other side.
    peers: list[socket.socket] = field(default_factory=list)
    #: Which calls fail.
    plan: failure | None = None
    #: Whatever else an act keeps.
    more: Any = None

    def peer(self, sock: socket.socket) -> socket.socket:
        """*sock*, non-blocking, closed when the act is over."""
        sock.setblocking(False)
        self.peers.append(sock)
        return sock

    def stock(self) -> stock:
        """What there is beside what a stream keeps for later, such as its fd event."""
        but = () if self.target is None else (self.target,)
        return take_stock(self.mem_ctx, self.ev, ev=self.ev, but=but)


@dataclass
class act:
    """
    A request that is to be disturbed.

    Attributes:
        scene: Makes what the request needs.

        start: Begins the request, which belongs to ``stage.owner``.

        finish: Receives it and looks at what it brought: 0 for what it should end with undisturbed, else the errno.

        verdicts: What failing calls come to, by kind; also what is in `VERDICTS`.

        cancels: Whether it can be cancelled.

        after: Called when the request is gone, to look at what it only borrowed.
    """

    scene: Callable[[stage], None]
    start: Callable[[stage], tevent_req | None]
    finish: Callable[[stage, tevent_req], int]
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    cancels: bool = False
    after: Callable[[stage], None] | None = None


@dataclass
class case:
    """How a run is disturbed, and what the request may end with: errnos, or None for any; `ends`: it must end."""

    name: str
    step: int = -1
    do: Callable[[run], None] | None = None
    plan: failure | None = None
    allowed: frozenset[int] | None = frozenset((0,))
    ends: bool = True
    #: Whether the callback leaves the request for later, and whether it receives it at all.
    keep: bool = False
    receives: bool = True


@contextlib.contextmanager
def watched(name: str) -> Iterator[None]:
    """Whatever goes wrong in the block is an AssertionError that begins with *name*; nothing may be left behind."""
    unraised: list[object] = []
    hook, sys.unraisablehook = sys.unraisablehook, lambda args: unraised.append(args.exc_value)
    talloc_enable_null_tracking_no_autofree()
    try:
        before = take_stock()
        yield
        check_clean(before, take_stock())
        assert not unraised, f"an exception that nobody could hear: {unraised[0]!r}"
    except Exception as error:
        told = str(error) if type(error) is AssertionError else f"{type(error).__name__}: {error}"
        raise AssertionError(f"{name}: {told}") from error
    finally:
        sys.unraisablehook = hook
        talloc_disable_null_tracking()


class run:
    """One run of an act."""

    def __init__(self, play: act, this: case) -> None:
        self.act = play
        self.case = this
        self.turns = 0
        self.ended: int | None = None
        self.disturbed = False
        self.gone = False
        self.ev_gone = False
        #: What must not stop what is going on, but is wrong.
        self.problem = ""
        self.calls = system_calls(this.plan, self._closing)
        self.stage: stage
        self.req: tevent_req

    def play(self) -> run:
        """Do it."""
        with watched(self.case.name), self.calls, self._staged():
            self.act.scene(self.stage)
            before = self.stage.stock()
            self.calls.counting = True
            self._perform()
            if self.act.after is not None:
                self.act.after(self.stage)
            if not self.ev_gone:
                self.settle()
                self._check_loop()
                check_clean(before, self.stage.stock())
            talloc_free(self.stage.mem_ctx)
            self.calls.counting = False
            assert not self.problem, self.problem
        return self

    @contextlib.contextmanager
    def _staged(self) -> Iterator[None]:
        mem_ctx, ev = talloc_new(None), tevent_context_init(None)
        owner = talloc_new(mem_ctx)
        assert mem_ctx is not None
        assert owner is not None
        assert ev is not None
        self.stage = stage(mem_ctx, ev, owner, plan=self.case.plan)
        tevent_context_set_wait_timeout(ev, 0)
        try:
            yield
        finally:
            self.calls.counting = False
            for ptr in (mem_ctx, ev):
                if is_alive(ptr):
                    talloc_free(ptr)
            for peer in self.stage.peers:
                peer.close()

    def _perform(self) -> None:
        req = self.act.start(self.stage)
        assert req is not None, "no request"
        self.req = req
        tevent_req_set_callback(req, self._called, None)
        if self.case.step >= 0:
            while self.turns < self.case.step and self.ended is None:
                assert self.turn(), "the runs differ"
            self.disturbed = True
            if self.ended is None and self.case.do is not None:
                self.case.do(self)
        while not (self.gone or self.ended is not None or self.ev_gone):
            if not self.turn():
                assert not self.case.ends, "nothing is left that could end the request"
                break
            assert self.turns < TURNS_MAX, "the request does not end"
        if not self.gone:
            self.free_request()

    def _called(self, req: tevent_req) -> None:
        assert not self.gone, "called back after it was freed"
        assert self.ended is None, "called back once more"
        if not self.case.receives:
            self.ended = 0
            self.free_request()
            return
        self.ended = self.act.finish(self.stage, req)
        check_end(self.ended, self.case.allowed)
        if not self.case.keep:
            self.free_request()

    # -- going on -----------------------------------------------------------------------------------------------------

    def turn(self) -> bool:
        """One iteration, or one move of the other side; False where nothing is left that could happen."""
        self.turns += 1
        if self._loop() or self._move():
            return True
        if self.disturbed and not self.case.ends:
            return False
        for _ in range(LOOKS_MAX):
            select.select([], [], [], LOOK_S)
            if self._loop() or self._move():
                return True
        return False

    def _move(self) -> bool:
        """Let the other side do something; False if it has nothing to do now, or nobody to do it with."""
        try:
            return next(self.stage.moves, NOTHING) is not NOTHING
        except OSError:
            return False

    def _loop(self) -> bool:
        if tevent_loop_once(self.stage.ev) == 0:
            return True
        assert get_errno() == EAGAIN, f"the loop failed: {error_name(get_errno())}"
        return False

    def settle(self) -> None:
        """Let the other side do the rest of its moves; the loop must come to rest."""
        for _ in range(TURNS_MAX):
            if not self._loop() and not self._move():
                return
        raise AssertionError("the loop does not come to rest")

    def _check_loop(self) -> None:
        ran: list[str] = []
        ev, owner = self.stage.ev, talloc_new(None)
        im = tevent_create_immediate(owner)
        assert im is not None
        tevent_schedule_immediate(im, ev, lambda *_args: ran.append("immediate"), None)
        tevent_add_timer(ev, owner, timeval(0, 0), lambda *_args: ran.append("timer"), None)
        while self._loop():
            pass
        talloc_free(owner)
        assert ran == ["immediate", "timer"], f"of an immediate and a timer the loop ran {ran}"

    def _closing(self, fd: int) -> None:
        """A descriptor is about to be closed: its number may be used again at once."""
        if any(fde.fd == fd for fde in self.stage.ev.fd_events):
            self.problem = f"descriptor {fd} was closed while it was still watched"

    # -- disturbances -------------------------------------------------------------------------------------------------

    def free_request(self) -> None:
        """Free the request."""
        self.gone = True
        assert talloc_free(self.req) == 0

    def free_owner(self) -> None:
        """Free the owner of the request."""
        self.gone = True
        assert talloc_free(self.stage.owner) == 0
        assert not is_alive(self.req)

    def free_target(self) -> None:
        """Free the stream, and leave the request to itself."""
        assert talloc_free(self.stage.target) == 0
        self.stage.target = None

    def free_target_and_request(self) -> None:
        """Free the stream and then the request."""
        self.free_target()
        self.free_request()

    def free_context(self) -> None:
        """Free the event context; the request is on its own."""
        self.ev_gone = True
        assert talloc_free(self.stage.ev) == 0

    def cancel(self) -> None:
        """Cancel the request."""
        answer = tevent_req_cancel(self.req)
        assert self.act.cancels or not answer, "it was cancelled"

    def time_out(self) -> None:
        """Let the request have no time left."""
        tevent_req_set_endtime(self.req, self.stage.ev, timeval(0, 0))


def is_alive(ptr: Any) -> bool:
    """Whether *ptr* is not freed."""
    return bool(ptr._talloc_chunk.obj is ptr)


def error_name(err: int) -> str:
    """For messages."""
    return "success" if err == 0 else os.strerror(err)


def check_end(err: int, allowed: frozenset[int] | None) -> None:
    """Whether something may end with *err*."""
    if allowed is not None and err not in allowed:
        raise AssertionError(f"ended with {error_name(err)}, not {' or '.join(map(error_name, sorted(allowed)))}")


# -- the sweeps -------------------------------------------------------------------------------------------------------


def sweep_bsd(play: act) -> list[str]:
    """Play *play* undisturbed and then in all cases; gives their names."""
    base = run(play, case("undisturbed", keep=True)).play()
    assert base.ended == 0, "the act does not go as planned"
    unreceived = case("freed instead of received", receives=False)
    cases = [unreceived, *at_each_step(base), *at_each_call(play, base.calls.made)]
    for each in cases:
        run(play, each).play()
    return [each.name for each in cases]


def at_each_step(base: run) -> Iterator[case]:
    """Everything that can be done to a request from outside, before each of its turns."""
    for step in range(base.turns):
        yield case(f"free at step {step}", step, run.free_request)
        yield case(f"free at step {step}, close(2) fails", step, run.free_request, failure(-1, EIO, closes=True))
        yield case(f"free the owner at step {step}", step, run.free_owner)
        yield case(f"free the context at step {step}", step, run.free_context)
        yield case(f"cancel at step {step}", step, run.cancel, allowed=frozenset((0, ECANCELED)))
        yield case(f"time out at step {step}", step, run.time_out, allowed=frozenset((0, ETIMEDOUT)))
        if base.stage.target is None:
            continue
        yield case(f"free the stream at step {step}", step, run.free_target, allowed=None, ends=False)
        yield case(f"free the stream and the request at step {step}", step, run.free_target_and_request)


def at_each_call(play: act, made: list[str]) -> Iterator[case]:
    """Each call fails with each errno."""
    return (case(name, plan=plan, allowed=allowed) for name, plan, allowed in failures(made, play.verdicts))


def failures(made: list[str], verdicts: Mapping[str, Verdict]) -> Iterator[tuple[str, failure, frozenset[int] | None]]:
    """The name of each failure of each call, and what the whole may end with."""
    for number, kind in enumerate(made):
        verdict = {**VERDICTS, **verdicts}.get(kind, exact)
        for err in (*ERRNOS, EINPROGRESS) if kind in GOES_ON else ERRNOS:
            yield f"{error_name(err)} at call {number} ({kind})", failure(number, err), verdict(err)
        err = LASTING_ERRNO
        name = f"{error_name(err)} from call {number} on ({kind})"
        yield name, failure(number, err, ever_after=True), verdict(err)
        if kind != "close":
            yield f"{name}, close(2) fails", failure(number, err, closes=True), verdict(err)


def sweep_calls(make: Callable[[TALLOC_CTX], int], verdicts: Mapping[str, Verdict]) -> list[str]:
    """Let each system call of a function fail that is no request: it makes things below its argument, or has errno."""
    names: list[str] = []
    made = _call("undisturbed", make, None, frozenset((0,)))
    for name, plan, allowed in failures(made, verdicts):
        _call(name, make, plan, allowed)
        names.append(name)
    return names


def _call(
    name: str, make: Callable[[TALLOC_CTX], int], plan: failure | None, allowed: frozenset[int] | None
) -> list[str]:
    with watched(name), system_calls(plan) as calls:
        mem_ctx = talloc_new(None)
        assert mem_ctx is not None
        calls.counting = True
        try:
            check_end(make(mem_ctx), allowed)
        finally:
            talloc_free(mem_ctx)
    return calls.made
