# SPDX-License-Identifier: LGPL-3.0-or-later
"""Two jobs at a time, each in three steps that take their time; one of them fails in its last."""

from errno import EIO

from talloc_py import TALLOC_CTX, TALLOC_FREE, talloc_free, talloc_new
from tevent import (
    tevent_context_init,
    tevent_loop_once,
    tevent_req,
    tevent_req_callback_data,
    tevent_req_create,
    tevent_req_data,
    tevent_req_done,
    tevent_req_error,
    tevent_req_is_error,
    tevent_req_is_in_progress,
    tevent_req_nomem,
    tevent_req_set_callback,
    tevent_req_simple_recv_unix,
    tevent_timeval_current_ofs,
    tevent_wakeup_recv,
    tevent_wakeup_send,
)


class job_state(TALLOC_CTX):
    """What a job has to remember."""

    ev: object
    steps: int
    fails: bool


def job_send(mem_ctx, ev, fails):
    """A job of three steps."""
    req, state = tevent_req_create(mem_ctx, job_state)
    if req is None:
        return None
    state.ev = ev
    state.steps = 3
    state.fails = fails
    job_step(req)
    return req


def job_step(req):
    """Begin the next step: wait for some milliseconds."""
    state = tevent_req_data(req, job_state)
    subreq = tevent_wakeup_send(state, state.ev, tevent_timeval_current_ofs(0, 20000 * state.steps))
    if tevent_req_nomem(subreq, req):
        return
    tevent_req_set_callback(subreq, job_stepped, req)


def job_stepped(subreq):
    """A step is done: work a little, then go on or end."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, job_state)
    tevent_wakeup_recv(subreq)
    TALLOC_FREE(subreq)
    sum(range(100_000))
    state.steps -= 1
    if state.steps > 0:
        job_step(req)
    elif not tevent_req_error(req, EIO if state.fails else 0):
        tevent_req_done(req)


def main(look=lambda top, ev: None):
    """Run both; *look* is called when the first step of the first one is done."""
    top = talloc_new(None)
    ev = tevent_context_init(top)
    jobs = [job_send(top, ev, fails) for fails in (False, True)]
    tevent_loop_once(ev)
    look(top, ev)
    while any(tevent_req_is_in_progress(req) for req in jobs):
        tevent_loop_once(ev)
    for req in jobs:
        print("failed" if tevent_req_is_error(req)[0] else "done", tevent_req_simple_recv_unix(req))
    talloc_free(top)


if __name__ == "__main__":
    main()
