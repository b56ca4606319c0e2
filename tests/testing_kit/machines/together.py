# SPDX-License-Identifier: LGPL-3.0-or-later
"""Bugs that need two requests, or a peer, or a network that does what networks do."""

from __future__ import annotations

from errno import EINVAL

from talloc_py import TALLOC_CTX, TALLOC_FREE, talloc_set_destructor, talloc_zero
from tevent import (
    tevent_context,
    tevent_queue,
    tevent_queue_create,
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
    tevent_timeval_current_ofs,
    tevent_wakeup_recv,
    tevent_wakeup_send,
)
from tsocket import (
    tdgram_context,
    tdgram_recvfrom_recv,
    tdgram_recvfrom_send,
    tdgram_sendto_recv,
    tdgram_sendto_send,
    tstream_context,
    tstream_pending_bytes,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_writev_queue_recv,
    tstream_writev_queue_send,
    tstream_writev_recv,
    tstream_writev_send,
)

# -- lost wake-up -----------------------------------------------------------------------------------------------------


class mailbox(TALLOC_CTX):
    """Letters, and requests that wait for one."""

    letters: list[str]
    waiting: list[tevent_req]


class take_state(TALLOC_CTX):
    """Wait for a letter."""

    box: mailbox
    letter: str
    planted: bool


def mailbox_create(mem_ctx: TALLOC_CTX) -> mailbox:
    """An empty one."""
    box = talloc_zero(mem_ctx, mailbox)
    assert box is not None
    box.letters = []
    box.waiting = []
    return box


def mailbox_put(box: mailbox, letter: str) -> None:
    """Put a letter in, for the first who waits."""
    if not box.waiting:
        box.letters.append(letter)
        return
    req = box.waiting.pop(0)
    tevent_req_data(req, take_state).letter = letter
    tevent_req_done(req)


def take_send(mem_ctx: TALLOC_CTX, ev: tevent_context, box: mailbox, planted: bool) -> tevent_req | None:
    """Take a letter; where there is none, take a breath, and wait without another look."""
    req, state = tevent_req_create(mem_ctx, take_state)
    if req is None:
        return None
    state.box = box
    state.planted = planted
    if take_try(req):
        return tevent_req_post(req, ev)
    talloc_set_destructor(state, lambda state: take_forget(box, req))
    subreq = tevent_wakeup_send(state, ev, tevent_timeval_current_ofs(0, 1000))
    if tevent_req_nomem(subreq, req):
        return tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, take_breathed, req)
    return req


def take_try(req: tevent_req) -> bool:
    """End with the first letter, if there is one."""
    state = tevent_req_data(req, take_state)
    if not state.box.letters:
        return False
    state.letter = state.box.letters.pop(0)
    tevent_req_done(req)
    return True


def take_forget(box: mailbox, req: tevent_req) -> int:
    """The request waits no more."""
    if req in box.waiting:
        box.waiting.remove(req)
    return 0


def take_breathed(subreq: tevent_req) -> None:
    """Wait."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, take_state)
    tevent_wakeup_recv(subreq)
    TALLOC_FREE(subreq)
    if state.planted or not take_try(req):
        state.box.waiting.append(req)


# -- reentrancy -------------------------------------------------------------------------------------------------------


class bell(TALLOC_CTX):
    """Those who wait for the bell."""

    waiting: list[tevent_req]
    planted: bool


class hear_state(TALLOC_CTX):
    """Wait for the bell."""


def bell_create(mem_ctx: TALLOC_CTX, planted: bool) -> bell:
    """A bell that nobody waits for."""
    made = talloc_zero(mem_ctx, bell)
    assert made is not None
    made.waiting = []
    made.planted = planted
    return made


def bell_ring(rung: bell) -> None:
    """End all that wait; the list changes under the loop, as callbacks free what they were called for."""
    for req in rung.waiting if rung.planted else list(rung.waiting):
        if req in rung.waiting:
            tevent_req_done(req)


def hear_send(mem_ctx: TALLOC_CTX, ev: tevent_context, rung: bell) -> tevent_req | None:
    """Wait for the bell."""
    req, state = tevent_req_create(mem_ctx, hear_state)
    if req is None:
        return None
    rung.waiting.append(req)
    talloc_set_destructor(state, lambda state: hear_forget(rung, req))
    return req


def hear_forget(rung: bell, req: tevent_req) -> int:
    """The request waits no more."""
    rung.waiting.remove(req)
    return 0


# -- EBUSY is not expected --------------------------------------------------------------------------------------------


class chat(TALLOC_CTX):
    """A stream that several write to."""

    stream: tstream_context
    queue: tevent_queue


class say_state(TALLOC_CTX):
    """Something to say."""

    planted: bool


def chat_create(mem_ctx: TALLOC_CTX, stream: tstream_context) -> chat:
    """A chat over *stream*."""
    made = talloc_zero(mem_ctx, chat)
    assert made is not None
    queue = tevent_queue_create(made, "chat")
    assert queue is not None
    made.stream = stream
    made.queue = queue
    return made


def say_send(mem_ctx: TALLOC_CTX, ev: tevent_context, line: chat, text: bytes, planted: bool) -> tevent_req | None:
    """Say something; that somebody else may be writing is not thought of."""
    req, state = tevent_req_create(mem_ctx, say_state)
    if req is None:
        return None
    state.planted = planted
    if planted:
        subreq = tstream_writev_send(state, ev, line.stream, [text])
    else:
        subreq = tstream_writev_queue_send(state, ev, line.stream, line.queue, [text])
    if tevent_req_nomem(subreq, req):
        return tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, say_done, req)
    return req


def say_done(subreq: tevent_req) -> None:
    """It is said."""
    req = tevent_req_callback_data(subreq, tevent_req)
    planted = tevent_req_data(req, say_state).planted
    ret, err = tstream_writev_recv(subreq) if planted else tstream_writev_queue_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1:
        tevent_req_error(req, err)
        return
    tevent_req_done(req)


def say_recv(req: tevent_req) -> int:
    """The errno, 0 for success."""
    _, err = tevent_req_is_unix_error(req)
    tevent_req_received(req)
    return err


# -- short read -------------------------------------------------------------------------------------------------------


class line_state(TALLOC_CTX):
    """A line."""

    ev: tevent_context
    stream: tstream_context
    planted: bool
    byte: bytearray
    line: bytes


def line_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, planted: bool) -> tevent_req | None:
    """Read a line; what has come with its first byte is taken for all of it."""
    req, state = tevent_req_create(mem_ctx, line_state)
    if req is None:
        return None
    state.ev = ev
    state.stream = stream
    state.planted = planted
    state.line = b""
    line_next(req, 1)
    return req if tevent_req_is_in_progress(req) else tevent_req_post(req, ev)


def line_next(req: tevent_req, size: int) -> None:
    """Read *size* bytes."""
    state = tevent_req_data(req, line_state)
    state.byte = bytearray(size)
    subreq = tstream_readv_send(state, state.ev, state.stream, [state.byte])
    if not tevent_req_nomem(subreq, req):
        tevent_req_set_callback(subreq, line_read, req)


def line_read(subreq: tevent_req) -> None:
    """Go on, or end."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, line_state)
    ret, err = tstream_readv_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1:
        tevent_req_error(req, err)
        return
    state.line += state.byte
    pending = tstream_pending_bytes(state.stream)
    if state.planted and pending > 0:
        line_next(req, pending)
    elif state.planted or state.line.endswith(b"\n"):
        tevent_req_done(req)
    else:
        line_next(req, 1)


def line_recv(req: tevent_req) -> tuple[int, bytes]:
    """``err, line``."""
    line = tevent_req_data(req, line_state).line
    failed, err = tevent_req_is_unix_error(req)
    tevent_req_received(req)
    return err, b"" if failed else line


# -- an answer to another question ------------------------------------------------------------------------------------


class quiz_state(TALLOC_CTX):
    """A question, of one byte, and its answer, which repeats it."""

    ev: tevent_context
    socket: tdgram_context
    question: bytes
    answer: bytes
    planted: bool


def quiz_send(
    mem_ctx: TALLOC_CTX, ev: tevent_context, socket: tdgram_context, question: bytes, planted: bool
) -> tevent_req | None:
    """Ask over datagrams; whatever comes next is taken for the answer."""
    req, state = tevent_req_create(mem_ctx, quiz_state)
    if req is None:
        return None
    state.ev = ev
    state.socket = socket
    state.question = question
    state.planted = planted
    subreq = tdgram_sendto_send(state, ev, socket, question, None)
    if tevent_req_nomem(subreq, req):
        return tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, quiz_asked, req)
    return req


def quiz_asked(subreq: tevent_req) -> None:
    """Wait for the answer."""
    req = tevent_req_callback_data(subreq, tevent_req)
    ret, err = tdgram_sendto_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1:
        tevent_req_error(req, err)
        return
    quiz_listen(req)


def quiz_listen(req: tevent_req) -> None:
    """Wait for a datagram."""
    state = tevent_req_data(req, quiz_state)
    subreq = tdgram_recvfrom_send(state, state.ev, state.socket)
    if not tevent_req_nomem(subreq, req):
        tevent_req_set_callback(subreq, quiz_heard, req)


def quiz_heard(subreq: tevent_req) -> None:
    """Is it ours."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, quiz_state)
    ret, err, data, _ = tdgram_recvfrom_recv(subreq, state)
    TALLOC_FREE(subreq)
    if ret == -1 or data is None:
        tevent_req_error(req, err or EINVAL)
        return
    if not state.planted and not bytes(data).startswith(state.question):
        quiz_listen(req)
        return
    state.answer = bytes(data)
    tevent_req_done(req)


def quiz_recv(req: tevent_req) -> tuple[int, bytes]:
    """``err, answer``."""
    failed, err = tevent_req_is_unix_error(req)
    answer = b"" if failed else tevent_req_data(req, quiz_state).answer
    tevent_req_received(req)
    return err, answer
