# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Requests whose error is an errno: the helpers of Samba's lib/util/tevent_unix.c.

The number that `tevent_req_error` was given is taken as an errno; nothing tells it from another kind of error.
All operations are O(1).
"""

from __future__ import annotations

import errno

from ._request import DONE
from .errno import get_errno
from .req import (
    TEVENT_REQ_NO_MEMORY,
    TEVENT_REQ_TIMED_OUT,
    tevent_req,
    tevent_req_is_error,
    tevent_req_poll,
    tevent_req_received,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .context import tevent_context

__all__ = ["tevent_req_is_unix_error", "tevent_req_poll_unix", "tevent_req_simple_recv_unix"]


def tevent_req_is_unix_error(req: tevent_req) -> tuple[bool, int]:
    """
    Whether *req* has not ended well, and the errno that says why.

    C: ``bool tevent_req_is_unix_error(struct tevent_req *req, int *perrno)``

    Returns:
        ``(False, 0)`` for a request that is done, else True with `ETIMEDOUT` for a timeout, `ENOMEM`, the error of
        `tevent_req_error` cut to a signed 32-bit number, or `EINVAL` for one in progress or received.
    """
    try:
        if req.status == DONE and req._talloc_chunk.obj is req and type(req) is tevent_req:
            return False, 0
    except AttributeError:  # no request, or a copy of one
        pass
    failed, state, error = tevent_req_is_error(req)
    if not failed:
        return False, 0
    if error is not None:
        return True, (error + 0x80000000 & 0xFFFFFFFF) - 0x80000000
    if state == TEVENT_REQ_TIMED_OUT:
        return True, errno.ETIMEDOUT
    if state == TEVENT_REQ_NO_MEMORY:
        return True, errno.ENOMEM
    return True, errno.EINVAL


def tevent_req_simple_recv_unix(req: tevent_req) -> int:
    """
    Receive a request whose only result is an errno.

    C: ``int tevent_req_simple_recv_unix(struct tevent_req *req)``

    Returns:
        0 or an errno as `tevent_req_is_unix_error` has it. Called again: `EINVAL`.

    Ownership: *req* is received (`tevent_req_received`), not freed.
    """
    try:
        done = req.status == DONE and req._talloc_chunk.obj is req and type(req) is tevent_req
    except AttributeError:  # no request, or a copy of one
        done = False
    # Success is seen without a call: 2 % of a request's life.
    error = 0 if done else tevent_req_is_unix_error(req)[1]
    tevent_req_received(req)
    return error


def tevent_req_poll_unix(req: tevent_req, ev: tevent_context) -> tuple[bool, int]:
    """
    Run *ev* until *req* is no longer in progress.

    C: ``bool tevent_req_poll_unix(struct tevent_req *req, struct tevent_context *ev, int *err)``

    Returns:
        ``(True, 0)``, or False with the errno of the loop.
    """
    if tevent_req_poll(req, ev):
        return True, 0
    return False, get_errno()
