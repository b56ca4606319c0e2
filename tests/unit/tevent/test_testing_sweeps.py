# SPDX-License-Identifier: LGPL-3.0-or-later
"""Sweeps: what they do to a request, and that they find what must not happen."""

from __future__ import annotations

import dataclasses
import errno
import os
import pathlib
from typing import TYPE_CHECKING, Any

import pytest

from talloc_py import TALLOC_CTX, TALLOC_FREE, talloc_free, talloc_new, talloc_set_destructor
from talloc_py._chunk import world as talloc_world
from tevent import (
    NT_STATUS_IO_TIMEOUT,
    NT_STATUS_OK,
    TEVENT_REQ_RECEIVED,
    WERROR,
    set_errno,
    tevent_abort,
    tevent_add_timer,
    tevent_context,
    tevent_create_immediate,
    tevent_loop_set_nesting_hook,
    tevent_queue,
    tevent_queue_create,
    tevent_queue_wait_send,
    tevent_req,
    tevent_req_callback_data,
    tevent_req_create,
    tevent_req_data,
    tevent_req_done,
    tevent_req_error,
    tevent_req_is_error,
    tevent_req_is_in_progress,
    tevent_req_post,
    tevent_req_received,
    tevent_req_set_callback,
    tevent_req_set_cancel_fn,
    tevent_req_set_cleanup_fn,
    tevent_schedule_immediate,
    tevent_timeval_current_ofs,
    tevent_wakeup_recv,
    tevent_wakeup_send,
)
from tevent.testing import (
    simulation,
    sweep,
    sweep_cancel,
    sweep_errors,
    sweep_failure,
    sweep_free,
    sweep_free_parent,
    sweep_orders,
    sweep_recv,
    sweep_stall,
    sweep_timeout,
)

if TYPE_CHECKING:
    from collections.abc import Callable


class count_state(TALLOC_CTX):
    """What `count_send` needs."""

    ev: tevent_context
    world: simulation
    left: int
    #: What a test puts in the place of the right thing: called with the request at that moment.
    instead: dict[str, Callable[[tevent_req], None]]


def count_send(
    mem_ctx: TALLOC_CTX | None,
    ev: tevent_context,
    world: simulation,
    number: int = 3,
    **instead: Callable[[tevent_req], None],
) -> tevent_req:
    """Count *number* seconds down, with an operation of the device "dev" before each."""
    req, state = tevent_req_create(mem_ctx, count_state)
    assert req is not None
    state.ev, state.world, state.left, state.instead = ev, world, number, instead
    count_next(req)
    return req if tevent_req_is_in_progress(req) else tevent_req_post(req, ev)


def count_next(req: tevent_req) -> None:
    state = tevent_req_data(req, count_state)
    error = state.world.fault("dev: tick")
    if error is not None:
        state.instead.get("failed", lambda req: tevent_req_error(req, error))(req)
        return
    subreq = tevent_wakeup_send(state, state.ev, tevent_timeval_current_ofs(1, 0))
    assert subreq is not None
    tevent_req_set_callback(subreq, count_woken, req)


def count_woken(subreq: tevent_req) -> None:
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, count_state)
    tevent_wakeup_recv(subreq)
    TALLOC_FREE(subreq)
    state.left -= 1
    if "woken" in state.instead:
        state.instead["woken"](req)
    elif state.left:
        count_next(req)
    else:
        tevent_req_done(req)


def count_recv(req: tevent_req) -> tuple[int, int]:
    """0 and 0; or -1 and an errno."""
    failed, _, error = tevent_req_is_error(req)
    tevent_req_received(req)
    return (-1, error or errno.ETIMEDOUT) if failed else (0, 0)


def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
    return count_send(mem_ctx, ev, world)


def starting(**instead: Any) -> Callable[[simulation, tevent_context, TALLOC_CTX], tevent_req]:
    """A start function for a counter that does something else at some moments."""
    return lambda world, ev, mem_ctx: count_send(mem_ctx, ev, world, **instead)


def state_of(req: tevent_req) -> count_state:
    return tevent_req_data(req, count_state)


def failure(start: Any, finish: Any = count_recv, sweep: Any = sweep, **options: Any) -> sweep_failure:
    """What a sweep finds, and finds again when it is asked for that case alone."""
    with pytest.raises(sweep_failure) as caught:
        sweep(start, finish, **options)
    found = caught.value
    with pytest.raises(sweep_failure) as again:
        sweep(start, finish, **(options | {"only": found.case}))
    assert (again.value.case, again.value.problem) == (found.case, found.problem)
    assert str(found).startswith(f"{found.case}: {found.problem}\nwhat happened, by virtual seconds:\n")
    assert str(found).endswith(f"only={found.case!r})")
    return found


class TestWhatIsDone:
    def test_all_kinds(self) -> None:
        """Each kind of disturbance is done at each step and to each operation; a right machine passes."""
        result = sweep(start, count_recv, recv=count_recv, errnos=[errno.EIO])
        assert result.steps == 3
        assert result.operations == ["dev: tick #0", "dev: tick #1", "dev: tick #2"]
        assert result.cases == [
            "undisturbed",
            "undisturbed, freed in the callback",
            "undisturbed, polled without a callback",
            *(f"free at step {step}" for step in range(3)),
            *(f"free the parent at step {step}" for step in range(3)),
            *(f"cancel at step {step}" for step in range(3)),
            *(f"time out at step {step}" for step in range(3)),
            *(f"stall at step {step}" for step in range(3)),
            *(
                f"EIO {where}"
                for number in range(3)
                for where in (
                    f"at operation {number} (dev: tick #{number})",
                    f"from operation {number} on (dev: tick #{number})",
                )
            ),
            *(f"_recv at step {step}" for step in range(3)),
        ]
        assert repr(result) == "<sweep_result: 27 cases, 3 steps, 3 operations>"

    def test_one_kind(self) -> None:
        """Each of the other functions does one kind, besides the undisturbed runs."""
        for function, word in (
            (sweep_free, "free at"),
            (sweep_free_parent, "free the parent"),
            (sweep_cancel, "cancel"),
            (sweep_timeout, "time out"),
            (sweep_stall, "stall"),
            (sweep_errors, "operation"),
        ):
            cases = function(start, count_recv).cases
            assert len(cases) > 3
            assert all(word in name for name in cases[3:])
        assert len(sweep_recv(start, count_recv, recv=count_recv).cases) == 6
        with pytest.raises(TypeError, match="needs the option recv"):
            sweep_recv(start, count_recv)

    def test_what_finish_sees(self) -> None:
        """finish() is called with each result that the disturbances lead to."""
        seen: set[tuple[int, int]] = set()
        sweep(start, lambda req: seen.add(count_recv(req)))
        assert seen == {(0, 0), (-1, errno.ECONNRESET), (-1, errno.ETIMEDOUT), (-1, errno.EBUSY)}

    def test_errnos_that_pass(self) -> None:
        """What means that the same is to be tried again comes once only; everything else also for ever."""
        cases = sweep_errors(start, count_recv, errnos=[errno.EAGAIN, errno.EINTR, errno.EIO]).cases
        assert [name.split()[0] for name in cases if "from operation 0" in name] == ["EIO"]
        assert [name.split()[0] for name in cases if "at operation 0" in name] == ["EAGAIN", "EINTR", "EIO"]

    def test_recv_that_does_not_receive(self) -> None:
        """A _recv function may leave it to its caller to end the request by freeing it."""
        assert sweep(start, tevent_req_is_error).steps == 3

    def test_without_finish(self) -> None:
        """Without a finish function the request is received."""
        assert sweep(start).steps == 3

    def test_finish_may_free(self) -> None:
        """finish() may free the request, as callbacks do."""

        def finish(req: tevent_req) -> None:
            count_recv(req)
            talloc_free(req)

        assert sweep(start, finish).steps == 3

    def test_finished_inside_send(self) -> None:
        """A request that is over when it begins takes one step, in which it is posted."""
        assert sweep(lambda world, ev, mem_ctx: tevent_req_post(finished(mem_ctx), ev), count_recv).steps == 1

    def test_which_operations(self) -> None:
        """Operations that cannot fail, and those that are not asked for, are left in peace."""

        def begin(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            world.fault("wire: loss", fails=False)
            world.fault("peer: work")
            return start(world, ev, mem_ctx)

        result = sweep(begin, count_recv, operations=lambda name: name.startswith("dev"))
        assert result.operations == ["dev: tick #0", "dev: tick #1", "dev: tick #2"]
        assert sweep(begin, count_recv).operations[0] == "peer: work #0"

    def test_polled(self) -> None:
        """The third run has no callback: the request is only asked whether it has ended."""
        had_callback: list[bool] = []

        def woken(req: tevent_req) -> None:
            had_callback.append(req.fn is not None)
            tevent_req_done(req)

        sweep(starting(woken=woken), count_recv, only="undisturbed, polled without a callback")
        assert had_callback == [True, False]

    def test_only(self) -> None:
        """One case can be run alone; the name of none is an error that lists them."""
        assert sweep(start, count_recv, only="free at step 2").cases == ["undisturbed", "free at step 2"]
        assert sweep(start, count_recv, only="undisturbed").cases == ["undisturbed"]
        with pytest.raises(ValueError, match="there is no case 'free at step 9', only undisturbed, undisturbed, freed"):
            sweep(start, count_recv, only="free at step 9")

    def test_expected_to_wait_for_ever(self) -> None:
        """A request that nobody answers can be disturbed too."""

        def begin(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            req, state = tevent_req_create(mem_ctx, count_state)
            assert req is not None
            state.world = world
            world.deliver(ev, 5, lambda: None, "something else")
            return req

        result = sweep(begin, count_recv, ends=False)
        assert (result.steps, len(result.cases)) == (1, 8)
        assert failure(begin).problem.startswith("nothing is left that could end the request; outstanding: begin#1")

    def test_null_tracking_is_put_back(self) -> None:
        """Afterwards chunks without an owner are as free as before."""
        sweep_free(start, count_recv)
        assert talloc_world.null is None


def finished(mem_ctx: TALLOC_CTX) -> tevent_req:
    req, _ = tevent_req_create(mem_ctx, count_state)
    assert req is not None
    tevent_req_done(req)
    return req


class TestWhatIsFound:
    def test_callback_twice(self) -> None:
        """A request that ends twice is found, whatever the second end is."""

        def done_and_failed(req: tevent_req) -> None:
            tevent_req_done(req)
            tevent_req_error(req, errno.EIO)

        found = failure(starting(woken=done_and_failed))
        assert found.case == "undisturbed"
        assert found.problem == "the callback runs once more: call 2; the request ends with error EIO"

    def test_callback_twice_that_is_swallowed(self) -> None:
        """What the callback of the sweep finds is reported also where the machine catches everything."""

        def done_twice(req: tevent_req) -> None:
            tevent_req_done(req)
            try:
                tevent_req_done(req)
            except Exception:
                pass

        assert failure(starting(woken=done_twice)).problem.startswith("the callback runs once more")

    def test_touched_after_the_callback(self) -> None:
        """A machine that uses its request after it has ended it fails where the callback frees it."""

        def use_after_done(req: tevent_req) -> None:
            tevent_req_done(req)
            tevent_req_is_in_progress(req)

        found = failure(starting(woken=use_after_done))
        assert found.case == "undisturbed, freed in the callback"
        assert "talloc_abort_error: Bad talloc magic value - access after free" in found.problem

    def test_state_touched_after_the_end(self) -> None:
        """A machine that touches its state after the end is found, also if it catches what that raises."""

        def touching(touch: Callable[[count_state], object]) -> Any:
            def woken(req: tevent_req) -> None:
                state = state_of(req)
                tevent_req_done(req)
                touch(state)

            return starting(woken=woken)

        def read_and_catch(state: count_state) -> None:
            try:
                print(state.left)
            except RuntimeError:
                pass

        for touch, name in (
            (read_and_catch, "left"),
            (lambda state: setattr(state, "left", 5), "left"),
            (lambda state: delattr(state, "ev"), "ev"),
        ):
            found = failure(touching(touch))
            assert found.case == "undisturbed"
            assert f"{name!r} of a count_state is used, which was freed at" in found.problem
        assert sweep(touching(read_and_catch), count_recv, poison=False).steps == 1
        assert sweep(touching(lambda state: (repr(state), state.__class__)), count_recv).steps == 1
        assert "chunk 'struct count_state' was freed" in failure(touching(talloc_free)).problem

    def test_classes_that_cannot_be_poisoned(self) -> None:
        """A state of a class that allows no other in its place is left alone; a frozen dataclass is not."""

        class final_state(TALLOC_CTX):
            def __init_subclass__(cls) -> None:
                raise TypeError("this class has no subclasses")

        @dataclasses.dataclass(frozen=True, slots=True)
        class frozen_state(TALLOC_CTX):
            value: int = 5

        def begin(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            req, state = tevent_req_create(mem_ctx, kind)
            assert req is not None

            def answer() -> None:
                tevent_req_done(req)
                getattr(state, "value", None)

            pending = world.deliver(ev, 5, answer, "answer")
            tevent_req_set_cleanup_fn(req, lambda *_: pending.cancel())
            return req

        kind: Any = final_state
        assert sweep(begin).steps == 1
        kind = frozen_state
        assert "'value' of a frozen_state is used" in failure(begin, None).problem

    def test_inner_callback_twice(self) -> None:
        """Another request of the world whose callback runs again after its end is found, and named."""

        def begin(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            req = start(world, ev, mem_ctx)
            inner = finished(mem_ctx)
            tevent_req_set_callback(inner, lambda _: None, None)
            tevent_req_done(inner)
            tevent_req_done(inner)
            return req

        assert failure(begin).problem == "the callback of finished#3 ran again after it had been told of the end"

    def test_callback_after_free(self) -> None:
        """Something that calls back a request which was freed is found, with the step."""

        def begin(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            req, state = tevent_req_create(mem_ctx, count_state)
            assert req is not None
            state.world = world
            world.deliver(ev, 5, lambda: None, "first")
            world.deliver(ev, 6, lambda: tevent_req_done(req), "answer")
            return req

        found = failure(begin)
        assert found.case == "free at step 0"
        assert "talloc_abort_error: Bad talloc magic value - access after free" in found.problem
        assert "now: free at step 0" in str(found)
        assert failure(begin, sweep=sweep_free_parent).case == "free the parent at step 0"

    def test_never_ends(self) -> None:
        """A lost wake-up is found: nothing is left that could end the request, which is named."""
        found = failure(starting(woken=lambda req: None))
        assert found.problem.startswith("nothing is left that could end the request; outstanding: count_send#1 (struct")

    def test_endless_retry(self) -> None:
        """A request that tries again for ever is found, by iterations or by virtual time."""
        retrying = starting(failed=lambda req: retry_later(req))
        found = failure(retrying, steps_max=20)
        assert found.case == "ECONNRESET from operation 0 on (dev: tick #0)"
        assert found.problem.startswith("the request does not end: 21 iterations and 21 virtual seconds so far")
        assert "and 11 virtual seconds so far" in failure(retrying, span_us_max=10_000_000).problem

    def test_wrong_result(self) -> None:
        """What finish() asserts is reported with the case that led to it."""

        def finish(req: tevent_req) -> None:
            _, error = count_recv(req)
            assert error != errno.EBUSY, "busy is nothing that a caller should see"

        found = failure(start, finish)
        assert found.case == "EBUSY at operation 0 (dev: tick #0)"
        assert found.problem.startswith("busy is nothing that a caller should see")

    def test_cancel_without_an_end(self) -> None:
        """A cancel function that stops the work and does not end the request is found."""

        def begin(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            req = start(world, ev, mem_ctx)

            def give_up(req: tevent_req) -> bool:
                state = state_of(req)
                talloc_free(talloc_children(state)[0])
                return True

            tevent_req_set_cancel_fn(req, give_up)
            return req

        assert failure(begin).case == "cancel at step 0"

    def test_work_goes_on_after_a_timeout(self) -> None:
        """What the request does not own goes on after its end; that it comes back to a freed request is found."""

        def begin(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            req, state = tevent_req_create(mem_ctx, count_state)
            assert req is not None
            state.world = world
            te = tevent_add_timer(ev, ev, tevent_timeval_current_ofs(1, 0), lambda *_: tevent_req_done(req), None)
            forget_when_freed(req, lambda: talloc_free(te))
            return req

        assert sweep_free(begin, count_recv).steps == 1
        found = failure(begin)
        assert found.case == "time out at step 0"
        assert found.problem.startswith("talloc_abort_error: Bad talloc magic value - access after free")

    def test_the_answer_to_who_has_given_up(self) -> None:
        """An answer that came in time, but is read after the timer, and finds nobody waiting any more, is found."""

        def begin(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            req, state = tevent_req_create(mem_ctx, count_state)
            assert req is not None
            state.world = world
            tevent_add_timer(ev, state, tevent_timeval_current_ofs(9, 0), lambda *_: tevent_req_error(req, 5), None)

            answer = world.deliver(ev, 5, lambda: tevent_req_done(req), "answer")
            forget_when_freed(req, answer.cancel)
            return req

        sweep_free(begin, count_recv)
        found = failure(begin, lambda _: None, sweep=sweep_stall)
        assert found.case == "stall at step 0"
        assert found.problem.startswith("talloc_abort_error: Bad talloc magic value - access after free")

    def test_early_recv(self) -> None:
        """A _recv function that does not look whether the request has ended is found."""

        def careless_recv(req: tevent_req) -> tuple[int, int]:
            tevent_req_received(req)
            return 0, 0

        found = failure(start, recv=careless_recv)
        assert found.case == "_recv at step 0"
        assert found.problem == "_recv of a request in progress returned (0, 0), as if it had succeeded"

    @pytest.mark.parametrize(
        "result",
        [None, False, -1, (-1, 0), 22, (None, 5), (5, None), (False, None), NT_STATUS_IO_TIMEOUT, (WERROR(5), 7)],
    )
    def test_refusals(self, result: object) -> None:
        """All ways in which a _recv function can say that it failed count."""
        assert sweep_recv(start, count_recv, recv=lambda req: result).steps == 3

    @pytest.mark.parametrize(
        "result", [True, 0, (0, 0), (5, 0), "text", b"", (True, None), NT_STATUS_OK, (WERROR(0), 7)]
    )
    def test_no_refusals(self, result: object) -> None:
        """Everything else is taken for success."""
        assert failure(start, sweep=sweep_recv, recv=lambda req: result).case == "_recv at step 0"

    def test_state_touched_after_recv(self) -> None:
        """A machine that touches its state after an early _recv has ended it is found."""

        def begin(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            req, state = tevent_req_create(mem_ctx, count_state)
            assert req is not None
            state.world = world
            world.deliver(ev, 5, lambda: tevent_req_done(req) if state.world is world else None, "answer")
            return req

        assert "'world' of a count_state is used" in failure(begin, sweep=sweep_recv, recv=count_recv).problem

    def test_abort_is_a_refusal(self) -> None:
        """A _recv function that aborts has refused."""
        assert sweep_recv(start, count_recv, recv=lambda req: tevent_req_callback_data(req, count_state)).steps == 3

    def test_freed_by_itself(self) -> None:
        """A free that is refused, and an exception in a destructor, are found."""

        def with_destructor(destructor: Any) -> Any:
            def begin(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
                req = start(world, ev, mem_ctx)
                talloc_set_destructor(req, destructor)
                return req

            return begin

        assert failure(with_destructor(lambda req: -1)).problem == "talloc_free() of the request was refused"
        found = failure(with_destructor(lambda req: {}["nothing"]))
        assert found.problem == "an exception in a destructor: KeyError('nothing')"


def forget_when_freed(req: tevent_req, forget: Callable[[], object]) -> None:
    """Let *forget* be called when *req* is freed in progress; but not, by mistake, when it has ended before."""
    ends: list[Any] = []

    def cleanup(_req: tevent_req, state: Any) -> None:
        if not ends and state == TEVENT_REQ_RECEIVED:
            forget()
        ends.append(state)

    tevent_req_set_cleanup_fn(req, cleanup)


class TestRareFindings:
    def test_owner_that_stays(self) -> None:
        """An owner that cannot be freed, and a request that survives its owner, are found."""

        def begin(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            req = start(world, ev, mem_ctx)
            talloc_set_destructor(mem_ctx if which == "owner" else req, lambda _: -1)
            return req

        which = "owner"
        found = failure(begin, sweep=sweep_free_parent, only=PARENT_FIRST)
        assert found.problem == "talloc_free() of the owner of the request was refused"
        which = "request"
        found = failure(begin, sweep=sweep_free_parent, only=PARENT_FIRST)
        assert found.problem == "the request survives its owner"

    def test_loop_that_fails(self) -> None:
        """An iteration that fails in another way than for lack of events is found."""

        def hook(ev: tevent_context, *_: Any) -> int:
            set_errno(errno.EIO)
            return -1

        def begin(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            tevent_loop_set_nesting_hook(ev, hook, None)
            return start(world, ev, mem_ctx)

        assert failure(begin).problem == "tevent_loop_once() failed with EIO"

    def test_loop_that_is_kept_busy(self) -> None:
        """A loop that does nothing but immediates any more is found."""

        def begin(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            im = tevent_create_immediate(world.top)
            assert im is not None

            def again(*_: Any) -> None:
                tevent_schedule_immediate(im, ev, again, None)

            def leave(req: tevent_req) -> None:
                again()
                tevent_req_done(req)

            return count_send(mem_ctx, ev, world, woken=leave)

        found = failure(begin)
        assert found.problem == "the loop does not work any more: of an immediate and a timer it ran ['immediate']"

    @pytest.mark.parametrize("problem", [None, RuntimeError("broken")])
    def test_what_a_failed_run_leaves(self, problem: Exception | None) -> None:
        """A run that has failed frees what it can; what goes wrong then is not told in the place of the failure."""
        freed: list[str] = []

        def freeing(_: TALLOC_CTX) -> None:
            freed.append("thing")
            if problem is not None:
                tevent_abort(None, "broken")

        def begin(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            talloc_set_destructor(talloc_new(mem_ctx), freeing)
            return count_send(mem_ctx, ev, world, woken=lambda req: None)

        assert failure(begin).problem.startswith("nothing is left that could end the request")
        assert freed == ["thing", "thing"]

    def test_destructor_of_a_peer(self) -> None:
        """An exception in a destructor is found also where it comes with the end of the world."""

        def begin(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            talloc_set_destructor(talloc_new(world.top), lambda _: {}["nothing"])
            return start(world, ev, mem_ctx)

        assert failure(begin).problem == "KeyError: 'nothing'"


PARENT_FIRST = "free the parent at step 0"


def retry_later(req: tevent_req) -> None:
    state = state_of(req)
    subreq = tevent_wakeup_send(state, state.ev, tevent_timeval_current_ofs(1, 0))
    assert subreq is not None
    tevent_req_set_callback(subreq, count_woken_to_retry, req)


def count_woken_to_retry(subreq: tevent_req) -> None:
    req = tevent_req_callback_data(subreq, tevent_req)
    talloc_free(subreq)
    count_next(req)


def talloc_children(ptr: TALLOC_CTX) -> list[Any]:
    found: list[Any] = []
    child = ptr._talloc_chunk.child
    while child is not None:
        found.append(child.obj)
        child = child.next
    return found


class TestWhatIsLeft:
    def test_chunks(self) -> None:
        """A chunk on the owner, on the context or without any is found, in the first run that leaves it."""

        def begin(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            def leave(req: tevent_req) -> None:
                kept.append(talloc_new({"mem_ctx": mem_ctx, "ev": ev, "nobody": None}[where]))
                tevent_req_done(req)

            return count_send(mem_ctx, ev, world, woken=leave)

        kept: list[Any] = []
        where = ""
        for where, text in (("mem_ctx", " in mem_ctx"), ("ev", " in struct tevent_context"), ("nobody", "")):  # noqa: B007
            found = failure(begin)
            assert found.case == "undisturbed"
            assert found.problem.startswith("left behind: 1 x ")
            assert found.problem.endswith(f"test_testing_sweeps.py:{leave_line()}{text}")

    def test_made_by_send(self) -> None:
        """With a scene, what the start function itself leaves on the owner is found too."""

        def begin(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            talloc_new(mem_ctx)
            return start(world, ev, world.scene)

        def scene(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> TALLOC_CTX | None:
            return talloc_new(mem_ctx)

        assert failure(begin, scene=scene).problem.startswith("left behind: 1 x ")

    def test_operations_of_the_scene(self) -> None:
        """What the scene does does not fail."""

        def scene(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> None:
            assert world.fault("dev: connect") is None

        assert sweep(start, count_recv, scene=scene).operations[0] == "dev: tick #0"

    def test_surroundings(self) -> None:
        """What start() makes besides the request may stay, and peers may do what they like."""

        def begin(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            talloc_new(mem_ctx)

            def peer(*_: Any) -> None:
                talloc_new(world.top)
                tevent_add_timer(ev, world.top, tevent_timeval_current_ofs(0, 400000), peer, None)
                tevent_add_timer(ev, world.top, tevent_timeval_current_ofs(9, 0), lambda *_: None, None)

            peer()
            return start(world, ev, mem_ctx)

        assert sweep(begin, count_recv).steps == 10

    def test_timers(self) -> None:
        """A timer that nobody takes away is found, though its chunk hangs where it may."""

        def begin(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            def leave(req: tevent_req) -> None:
                tevent_add_timer(ev, mem_ctx, tevent_timeval_current_ofs(3600 * 1000, 0), again, None)
                tevent_req_done(req)

            def again(*_: Any) -> None:
                tevent_add_timer(ev, mem_ctx, tevent_timeval_current_ofs(3600, 0), again, None)

            return count_send(mem_ctx, ev, world, woken=leave)

        assert failure(begin).problem == "left behind: 1 x struct tevent_timer in mem_ctx; 1 x timer again"

    def test_queue_entries(self) -> None:
        """An entry that is left in a queue is found, though its request is hidden."""

        def begin(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            queue: tevent_queue | None = tevent_queue_create(mem_ctx, "line")
            assert queue is not None

            def leave(req: tevent_req) -> None:
                tevent_queue_wait_send(world.top, ev, queue)
                tevent_req_done(req)

            return count_send(mem_ctx, ev, world, woken=leave)

        assert failure(begin).problem == "left behind: 1 x entries in queue 'line'"

    def test_descriptors(self) -> None:
        """A descriptor that stays open is found."""
        opened: list[int] = []

        def leave(req: tevent_req) -> None:
            opened.append(os.open(os.devnull, os.O_RDONLY))
            tevent_req_done(req)

        with pytest.raises(sweep_failure) as caught:
            sweep(starting(woken=leave), count_recv)
        for each in opened:
            os.close(each)
        assert caught.value.problem == f"left behind: descriptors {opened[0]}"


def leave_line() -> int:
    """The line of the talloc_new() that leaves something."""
    lines = pathlib.Path(__file__).read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if "kept.append(talloc_new(" in line)


class TestOrders:
    @staticmethod
    def racing(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX, careful: bool) -> tevent_req:
        """A request that ends with the first of two answers, and forgets to refuse the other one unless careful."""
        req, state = tevent_req_create(mem_ctx, count_state)
        assert req is not None
        state.left = 0

        def answer(name: str) -> None:
            if req._talloc_chunk.obj is not req:
                return
            if name == "greeting":
                state.left += 1
            elif state.left or careful:
                if tevent_req_is_in_progress(req):
                    tevent_req_done(req)

        for name in ("greeting", "answer"):
            world.deliver(ev, 10, lambda name=name: answer(name), name)
        return req

    def test_a_race_is_found(self) -> None:
        """An answer that overtakes the greeting and is lost: sweep_orders() and sweep() find it in an order."""

        def begin(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            return self.racing(world, ev, mem_ctx, False)

        for function in (sweep, sweep_orders):
            found = failure(begin, sweep=function)
            assert found.case == "order [1]"
            assert "nothing is left that could end the request" in found.problem
        sweep_free(begin, count_recv)

    def test_all_orders(self) -> None:
        """A right machine is put through each order once; there are no more than asked for."""

        def begin(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            for number in range(2):
                world.deliver(ev, 10, lambda: None, f"noise {number}")
            return self.racing(world, ev, mem_ctx, True)

        assert len(sweep_orders(begin, count_recv).cases) == 3 + 24 - 1
        assert len(sweep_orders(begin, count_recv, orders_max=5).cases) == 3 + 4
        assert sweep_orders(begin, count_recv, only="order [1]").cases == ["undisturbed", "order [1]"]
        with_dice = sweep_orders(begin, count_recv, seed=2).cases
        assert "order []" in with_dice
        assert len(with_dice) == 3 + 24


class TestTheStory:
    def test_the_callback(self) -> None:
        """The story tells when the callback of the sweep runs."""

        def finish(req: tevent_req) -> None:
            raise AssertionError("wrong")

        assert "    3.000000  the callback of the request runs" in str(failure(start, finish))

    def test_refusals_are_told(self) -> None:
        """What an early _recv and a cancellation answered is in the story of what went wrong afterwards."""

        def refuses(req: tevent_req) -> int:
            talloc_new(None)
            raise OSError("not yet")

        def leaves(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            req = start(world, ev, mem_ctx)
            tevent_req_set_cancel_fn(req, lambda req: talloc_new(ev) is not None)
            return req

        assert "_recv raised OSError('not yet')" in str(failure(start, sweep=sweep_recv, recv=refuses))
        assert "tevent_req_cancel() returned True" in str(failure(leaves, sweep=sweep_cancel))


class TestTheStart:
    def test_what_is_no_error_passes(self) -> None:
        """What a test runner raises to end a test goes on to it, and says in which case."""

        def finish(req: tevent_req) -> None:
            pytest.skip("not here")

        with pytest.raises(pytest.skip.Exception) as caught:
            sweep(start, finish)
        assert "in the case 'undisturbed' of a sweep" in caught.value.__notes__

    def test_no_request(self) -> None:
        """A start function that returns no request is told so."""
        assert failure(lambda world, ev, mem_ctx: None).problem == "start() returned None, not a request"

    def test_not_deterministic(self) -> None:
        """A start function that does not do the same each time is found out, and the difference shown."""
        calls: list[int] = []

        def begin(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req:
            calls.append(1)
            world.tell(f"run {len(calls)}")
            return start(world, ev, mem_ctx)

        with pytest.raises(sweep_failure, match=r"two runs of start\(\) differ: 'run 1' at 0 s became 'run 4' at 0 s"):
            sweep(begin, count_recv)

    def test_seed_in_the_message(self) -> None:
        """A sweep with dice says with which seed it is to be repeated."""
        found = failure(starting(woken=lambda req: None), seed=4)
        assert str(found).endswith("to see it again: sweep(..., seed=4, only='undisturbed')")
