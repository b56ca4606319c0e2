# SPDX-License-Identifier: LGPL-3.0-or-later
"""
A request that does nothing but wait for a point in time: lib/tevent/tevent_wakeup.c.

It is a request with an endtime, so it ends as `TEVENT_REQ_TIMED_OUT`, and `tevent_wakeup_recv` calls exactly that
success. Cost: one request and one timer, O(log n) in the number of pending timers.
"""

from __future__ import annotations

from talloc_py.core import TALLOC_CTX, TALLOC_FREE

from ._base import check_context
from .req import (
    TEVENT_REQ_TIMED_OUT,
    tevent_req,
    tevent_req_create,
    tevent_req_is_error,
    tevent_req_post,
    tevent_req_set_endtime,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .context import tevent_context
    from .timed import timeval

__all__ = ["tevent_wakeup_recv", "tevent_wakeup_send"]


class tevent_wakeup_state(TALLOC_CTX):
    """State of `tevent_wakeup_send`: the time it waits for."""

    __slots__ = ("wakeup_time",)
    wakeup_time: timeval


def tevent_wakeup_send(mem_ctx: TALLOC_CTX | None, ev: tevent_context, wakeup_time: timeval) -> tevent_req | None:
    """
    Make a request that fires once *wakeup_time* has passed.

    C: ``struct tevent_req *tevent_wakeup_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev, struct timeval
    wakeup_time)``

    Args:
        wakeup_time: Absolute time since the epoch, not a duration. One that has passed fires on the next turn of the
            loop that reaches timers, never inside this call.

    Returns:
        The request, a child of *mem_ctx*; None only where a memory limit forbids it.
    """
    if not check_context(ev):
        return None
    req, state = tevent_req_create(mem_ctx, tevent_wakeup_state)
    if req is None:
        return None
    state.wakeup_time = wakeup_time
    try:
        in_time = tevent_req_set_endtime(req, ev, wakeup_time)
    except BaseException:
        TALLOC_FREE(req)
        raise
    return req if in_time else tevent_req_post(req, ev)


def tevent_wakeup_recv(req: tevent_req) -> bool:
    """
    Whether the time of *req* has come.

    C: ``bool tevent_wakeup_recv(struct tevent_req *req)``

    Returns:
        True exactly while *req* stands at `TEVENT_REQ_TIMED_OUT`; False in progress, ended otherwise, or received.

    Ownership: *req* is neither received nor freed; it may be asked again.
    """
    return tevent_req_is_error(req)[1] == TEVENT_REQ_TIMED_OUT
