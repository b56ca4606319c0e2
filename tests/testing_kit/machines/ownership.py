# SPDX-License-Identifier: LGPL-3.0-or-later
"""Bugs about who owns what, and until when."""

from __future__ import annotations

from errno import ETIMEDOUT

from talloc_py import TALLOC_CTX, TALLOC_FREE, talloc_set_destructor, talloc_zero
from tevent import (
    tevent_add_timer,
    tevent_context,
    tevent_queue,
    tevent_queue_wait_recv,
    tevent_queue_wait_send,
    tevent_req,
    tevent_req_callback_data,
    tevent_req_create,
    tevent_req_data,
    tevent_req_done,
    tevent_req_error,
    tevent_req_is_in_progress,
    tevent_req_is_unix_error,
    tevent_req_nomem,
    tevent_req_post,
    tevent_req_received,
    tevent_req_set_callback,
    tevent_timer,
    tevent_timeval_current_ofs,
    tevent_wakeup_recv,
    tevent_wakeup_send,
    timeval,
)
from tsocket import tstream_context, tstream_readv_recv, tstream_readv_send, tstream_writev_recv, tstream_writev_send


def simple_recv(req: tevent_req) -> int:
    """The errno of a request, 0 for success."""
    _, err = tevent_req_is_unix_error(req)
    tevent_req_received(req)
    return err


# -- use after free in a callback -------------------------------------------------------------------------------------


class chores_state(TALLOC_CTX):
    """Some naps."""

    ev: tevent_context
    left: int
    planted: bool


def chores_send(mem_ctx: TALLOC_CTX, ev: tevent_context, naps: int, planted: bool) -> tevent_req | None:
    """Take some naps of a second each; the state is touched behind `tevent_req_done`."""
    req, state = tevent_req_create(mem_ctx, chores_state)
    if req is None:
        return None
    state.ev = ev
    state.left = naps
    state.planted = planted
    chores_nap(req)
    return req if tevent_req_is_in_progress(req) else tevent_req_post(req, ev)


def chores_nap(req: tevent_req) -> None:
    """The next nap."""
    state = tevent_req_data(req, chores_state)
    subreq = tevent_wakeup_send(state, state.ev, tevent_timeval_current_ofs(1, 0))
    if not tevent_req_nomem(subreq, req):
        tevent_req_set_callback(subreq, chores_napped, req)


def chores_napped(subreq: tevent_req) -> None:
    """One nap less."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, chores_state)
    tevent_wakeup_recv(subreq)
    TALLOC_FREE(subreq)
    if state.planted:
        if state.left == 1:
            tevent_req_done(req)
        state.left -= 1  # whoever was told of the end may have freed it
        if state.left:
            chores_nap(req)
        return
    state.left -= 1
    if state.left:
        chores_nap(req)
    else:
        tevent_req_done(req)


# -- missing cleanup --------------------------------------------------------------------------------------------------


class answer_state(TALLOC_CTX):
    """A read, and a light that blinks as long as it takes."""

    ev: tevent_context
    planted: bool
    blinks: int
    timer: tevent_timer | None
    byte: bytearray


def answer_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, planted: bool) -> tevent_req | None:
    """Read a byte and blink meanwhile; the timer belongs to the loop and not to the state."""
    req, state = tevent_req_create(mem_ctx, answer_state)
    if req is None:
        return None
    state.ev = ev
    state.planted = planted
    state.blinks = 0
    state.byte = bytearray(1)
    answer_blink(ev, None, (0, 0), state)
    subreq = tstream_readv_send(state, ev, stream, [state.byte])
    if tevent_req_nomem(subreq, req):
        return tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, answer_done, req)
    return req


def answer_blink(ev: tevent_context, te: tevent_timer | None, now: timeval | tuple[int, int], state: object) -> None:
    """Blink, and once more in a tenth of a second."""
    assert isinstance(state, answer_state)
    state.blinks += 1
    owner = ev if state.planted else state
    state.timer = tevent_add_timer(ev, owner, tevent_timeval_current_ofs(0, 100_000), answer_blink, state)


def answer_done(subreq: tevent_req) -> None:
    """The byte is here: dark."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, answer_state)
    ret, err = tstream_readv_recv(subreq)
    TALLOC_FREE(subreq)
    TALLOC_FREE(state.timer)
    if ret == -1:
        tevent_req_error(req, err)
        return
    tevent_req_done(req)


# -- a queue entry that stays -----------------------------------------------------------------------------------------


class turn_state(TALLOC_CTX):
    """A turn in a queue, and something that takes a second then."""

    ev: tevent_context
    turn: tevent_req | None


def turn_send(mem_ctx: TALLOC_CTX, ev: tevent_context, queue: tevent_queue, planted: bool) -> tevent_req | None:
    """Wait for one's turn and work for a second; the place in the queue does not belong to the state."""
    req, state = tevent_req_create(mem_ctx, turn_state)
    if req is None:
        return None
    state.ev = ev
    subreq = tevent_queue_wait_send(queue if planted else state, ev, queue)
    if tevent_req_nomem(subreq, req):
        return tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, turn_come, req)
    state.turn = subreq
    return req


def turn_come(subreq: tevent_req) -> None:
    """It is our turn: work; *subreq* holds our place until we are done."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, turn_state)
    if not tevent_queue_wait_recv(subreq):
        tevent_req_error(req, ETIMEDOUT)
        return
    work = tevent_wakeup_send(state, state.ev, tevent_timeval_current_ofs(1, 0))
    if not tevent_req_nomem(work, req):
        tevent_req_set_callback(work, turn_done, req)


def turn_done(subreq: tevent_req) -> None:
    """The work is done: the next, please."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, turn_state)
    tevent_wakeup_recv(subreq)
    TALLOC_FREE(subreq)
    TALLOC_FREE(state.turn)
    state.turn = None
    tevent_req_done(req)


# -- timeout race -----------------------------------------------------------------------------------------------------


class ask_state(TALLOC_CTX):
    """A question that must be answered in time, and a word of thanks."""

    ev: tevent_context
    stream: tstream_context
    answer: bytearray
    subreq: tevent_req | None
    planted: bool


def ask_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, planted: bool) -> tevent_req | None:
    """Read an answer within a second and thank for it; the timer frees the read, also when it has ended."""
    req, state = tevent_req_create(mem_ctx, ask_state)
    if req is None:
        return None
    state.ev = ev
    state.stream = stream
    state.answer = bytearray(3)
    state.planted = planted
    tevent_add_timer(ev, state, tevent_timeval_current_ofs(1, 0), ask_late, req)
    state.subreq = tstream_readv_send(state, ev, stream, [state.answer])
    if tevent_req_nomem(state.subreq, req):
        return tevent_req_post(req, ev)
    tevent_req_set_callback(state.subreq, ask_answered, req)
    return req


def ask_late(ev: tevent_context, te: tevent_timer, now: timeval, req: tevent_req) -> None:
    """The time is over."""
    state = tevent_req_data(req, ask_state)
    TALLOC_FREE(state.subreq)
    tevent_req_error(req, ETIMEDOUT)


def ask_answered(subreq: tevent_req) -> None:
    """The answer is here: thanks."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, ask_state)
    ret, err = tstream_readv_recv(subreq)
    TALLOC_FREE(subreq)
    if not state.planted:
        state.subreq = None
    if ret == -1:
        tevent_req_error(req, err)
        return
    thanks = tstream_writev_send(state, state.ev, state.stream, [b"thanks"])
    if not tevent_req_nomem(thanks, req):
        tevent_req_set_callback(thanks, ask_thanked, req)
        if not state.planted:
            state.subreq = thanks


def ask_thanked(subreq: tevent_req) -> None:
    """All said."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, ask_state)
    ret, err = tstream_writev_recv(subreq)
    TALLOC_FREE(subreq)
    if not state.planted:
        state.subreq = None
    if ret == -1:
        tevent_req_error(req, err)
        return
    tevent_req_done(req)


# -- free in a destructor ---------------------------------------------------------------------------------------------


class pool(TALLOC_CTX):
    """What several calls share."""

    calls: int


class call_state(TALLOC_CTX):
    """A call that uses the pool."""

    shared: pool
    planted: bool


def pool_create(mem_ctx: TALLOC_CTX) -> pool:
    """A pool that nobody uses yet."""
    made = talloc_zero(mem_ctx, pool)
    assert made is not None
    made.calls = 0
    return made


def call_send(mem_ctx: TALLOC_CTX, ev: tevent_context, shared: pool, planted: bool) -> tevent_req | None:
    """Use the pool for a second; the destructor of the last call frees the pool, which belongs to somebody else."""
    req, state = tevent_req_create(mem_ctx, call_state)
    if req is None:
        return None
    state.shared = shared
    state.planted = planted
    shared.calls += 1
    talloc_set_destructor(state, call_state_destructor)
    subreq = tevent_wakeup_send(state, ev, tevent_timeval_current_ofs(1, 0))
    if tevent_req_nomem(subreq, req):
        return tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, call_done, req)
    return req


def call_state_destructor(state: call_state) -> int:
    """One call less."""
    state.shared.calls -= 1
    if state.planted and state.shared.calls == 0:
        TALLOC_FREE(state.shared)
    return 0


def call_done(subreq: tevent_req) -> None:
    """The second is over."""
    req = tevent_req_callback_data(subreq, tevent_req)
    tevent_wakeup_recv(subreq)
    TALLOC_FREE(subreq)
    tevent_req_done(req)
