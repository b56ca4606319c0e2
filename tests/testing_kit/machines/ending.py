# SPDX-License-Identifier: LGPL-3.0-or-later
"""Bugs about how a request ends: once, with the truth, and so that its callback hears of it."""

from __future__ import annotations

from errno import ECANCELED, ECONNREFUSED, EINVAL

from talloc_py import TALLOC_CTX, TALLOC_FREE
from tevent import (
    tevent_context,
    tevent_req,
    tevent_req_callback_data,
    tevent_req_create,
    tevent_req_data,
    tevent_req_done,
    tevent_req_error,
    tevent_req_is_unix_error,
    tevent_req_nomem,
    tevent_req_post,
    tevent_req_received,
    tevent_req_set_callback,
    tevent_req_set_cancel_fn,
    tevent_timeval_current_ofs,
    tevent_wakeup_recv,
    tevent_wakeup_send,
)
from tsocket import tstream_context, tstream_readv_recv, tstream_readv_send


class reading_state(TALLOC_CTX):
    """Some bytes of a stream."""

    ev: tevent_context
    stream: tstream_context
    buffer: bytearray
    planted: bool
    tries: int
    subreq: tevent_req | None


def reading_send(
    mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, size: int, planted: bool
) -> tuple[tevent_req | None, tevent_req | None]:
    """A request that has begun to read *size* bytes, and the reading; both None where there is no memory."""
    req, state = tevent_req_create(mem_ctx, reading_state)
    if req is None:
        return None, None
    state.ev = ev
    state.stream = stream
    state.buffer = bytearray(size)
    state.planted = planted
    state.tries = 0
    state.subreq = tstream_readv_send(state, ev, stream, [state.buffer])
    return req, state.subreq


def reading_recv(req: tevent_req) -> tuple[int, bytes]:
    """``err, bytes``."""
    state = tevent_req_data(req, reading_state)
    found = bytes(state.buffer)
    failed, err = tevent_req_is_unix_error(req)
    tevent_req_received(req)
    return err, b"" if failed else found


# -- error after success ----------------------------------------------------------------------------------------------


def greeting_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, planted: bool) -> tevent_req | None:
    """Read ``OK``; a ``return`` is missing between success and failure."""
    req, subreq = reading_send(mem_ctx, ev, stream, 2, planted)
    if req is None or tevent_req_nomem(subreq, req):
        return req and tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, greeting_read, req)
    return req


def greeting_read(subreq: tevent_req) -> None:
    """Is it OK."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, reading_state)
    planted = state.planted
    ret, err = tstream_readv_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1:
        tevent_req_error(req, err)
        return
    if state.buffer == b"OK":
        tevent_req_done(req)
        if not planted:
            return
    tevent_req_error(req, EINVAL)


# -- double callback --------------------------------------------------------------------------------------------------


def command_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, planted: bool) -> tevent_req | None:
    """Read four commands and end with the first ``!``; the search for it goes on behind the end."""
    req, subreq = reading_send(mem_ctx, ev, stream, 4, planted)
    if req is None or tevent_req_nomem(subreq, req):
        return req and tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, command_read, req)
    return req


def command_read(subreq: tevent_req) -> None:
    """Look for an exclamation mark."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, reading_state)
    planted, commands = state.planted, bytes(state.buffer)
    ret, err = tstream_readv_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1:
        tevent_req_error(req, err)
        return
    for command in commands:
        if command == ord("!"):
            tevent_req_done(req)
            if not planted:
                return
    if not planted:
        tevent_req_error(req, EINVAL)


# -- nobody hears of the end ------------------------------------------------------------------------------------------


def empty_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, planted: bool) -> tevent_req | None:
    """Read nothing, which is done at once; the end is not posted, so it comes before there is a callback."""
    req, _ = reading_send(mem_ctx, ev, stream, 0, planted)
    if req is None:
        return None
    tevent_req_done(req)
    return req if planted else tevent_req_post(req, ev)


# -- an error that is swallowed ---------------------------------------------------------------------------------------


def fetch_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, planted: bool) -> tevent_req | None:
    """Read four bytes; that this has failed is not looked at."""
    req, subreq = reading_send(mem_ctx, ev, stream, 4, planted)
    if req is None or tevent_req_nomem(subreq, req):
        return req and tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, fetch_read, req)
    return req


def fetch_read(subreq: tevent_req) -> None:
    """The bytes are here."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, reading_state)
    ret, err = tstream_readv_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1 and not state.planted:
        tevent_req_error(req, err)
        return
    tevent_req_done(req)


# -- a result before there is one -------------------------------------------------------------------------------------


def fetch_recv(req: tevent_req, planted: bool) -> tuple[int, bytes | None]:
    """``ret, bytes``; the bytes are handed out without a look at the state of the request."""
    state = tevent_req_data(req, reading_state)
    found = bytes(state.buffer)
    if not planted and tevent_req_is_unix_error(req)[0]:
        return -1, None
    tevent_req_received(req)
    return 0, found


# -- cancelled, and nobody hears of it --------------------------------------------------------------------------------


def patient_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, planted: bool) -> tevent_req | None:
    """Read a byte; who cancels that is promised an end that does not come."""
    req, subreq = reading_send(mem_ctx, ev, stream, 1, planted)
    if req is None or tevent_req_nomem(subreq, req):
        return req and tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, patient_read, req)
    tevent_req_set_cancel_fn(req, patient_cancel)
    return req


def patient_cancel(req: tevent_req) -> bool:
    """Give up."""
    state = tevent_req_data(req, reading_state)
    if state.subreq is None:
        return False
    TALLOC_FREE(state.subreq)
    state.subreq = None
    if not state.planted:
        tevent_req_error(req, ECANCELED)
    return True


def patient_read(subreq: tevent_req) -> None:
    """The byte is here."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, reading_state)
    ret, err = tstream_readv_recv(subreq)
    TALLOC_FREE(subreq)
    state.subreq = None
    if ret == -1:
        tevent_req_error(req, err)
        return
    tevent_req_done(req)


# -- unbounded retry --------------------------------------------------------------------------------------------------

_TRIES_MAX = 3


def stubborn_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, planted: bool) -> tevent_req | None:
    """Read a byte, and try again in a second where that fails; there is no end of it."""
    req, subreq = reading_send(mem_ctx, ev, stream, 1, planted)
    if req is None or tevent_req_nomem(subreq, req):
        return req and tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, stubborn_read, req)
    return req


def stubborn_read(subreq: tevent_req) -> None:
    """The byte is here, or we sleep on it."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, reading_state)
    ret, _ = tstream_readv_recv(subreq)
    TALLOC_FREE(subreq)
    if ret != -1:
        tevent_req_done(req)
        return
    state.tries += 1
    if state.tries == _TRIES_MAX and not state.planted:
        tevent_req_error(req, ECONNREFUSED)
        return
    sleep = tevent_wakeup_send(state, state.ev, tevent_timeval_current_ofs(1, 0))
    if not tevent_req_nomem(sleep, req):
        tevent_req_set_callback(sleep, stubborn_slept, req)


def stubborn_slept(subreq: tevent_req) -> None:
    """Try again."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, reading_state)
    tevent_wakeup_recv(subreq)
    TALLOC_FREE(subreq)
    again = tstream_readv_send(state, state.ev, state.stream, [state.buffer])
    if not tevent_req_nomem(again, req):
        tevent_req_set_callback(again, stubborn_read, req)
