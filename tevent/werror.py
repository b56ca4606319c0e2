# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Requests whose error is a WERROR: the helpers of Samba's lib/util/tevent_werror.c, and what they need of WERROR.

The code itself is the error of the request; unlike an NTSTATUS it carries no mark, so nothing tells it from an errno.
All operations are O(1).
"""

from __future__ import annotations

import sys

from talloc_py.core import TALLOC_FREE

from ._request import DONE, error_at, finish, is_request
from .errno import get_errno
from .ntstatus import unix_error_codes
from .req import (
    TEVENT_REQ_NO_MEMORY,
    TEVENT_REQ_TIMED_OUT,
    tevent_req,
    tevent_req_callback_data,
    tevent_req_is_error,
    tevent_req_poll,
    tevent_req_received,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from .context import tevent_context

__all__ = [
    "WERROR",
    "WERR_INTERNAL_ERROR",
    "WERR_NOT_ENOUGH_MEMORY",
    "WERR_OK",
    "WERR_TIMEOUT",
    "W_ERROR_IS_OK",
    "W_ERROR_V",
    "tevent_req_is_werror",
    "tevent_req_poll_werror",
    "tevent_req_simple_finish_werror",
    "tevent_req_simple_recv_werror",
    "tevent_req_werror",
]


class WERROR(int):
    """
    An error code of the Windows API: an unsigned 32-bit number.

    C: ``typedef uint32_t WERROR`` (a struct with the one member ``w`` where the compiler checks types)

    Any int is accepted where a code is asked for; *w* is reduced to its low 32 bits.
    """

    __slots__ = ()

    def __new__(cls, w: int) -> Self:
        """*w* modulo 2**32."""
        return super().__new__(cls, W_ERROR_V(w))

    def __repr__(self) -> str:
        return f"WERROR(0x{int(self):08X})"


def W_ERROR_V(x: int) -> int:
    """
    Return the number of the code *x*, unsigned.

    C: ``#define W_ERROR_V(x) (x)``
    """
    if not isinstance(x, int):
        raise TypeError(f"a WERROR is an int, not {type(x).__name__}")
    return x & 0xFFFFFFFF


def W_ERROR_IS_OK(x: int) -> bool:
    """
    Whether *x* is `WERR_OK`.

    C: ``#define W_ERROR_IS_OK(x) (W_ERROR_V(x) == 0)``
    """
    return W_ERROR_V(x) == 0


WERR_OK = WERROR(0x0)
WERR_NOT_ENOUGH_MEMORY = WERROR(0x8)
WERR_INTERNAL_ERROR = WERROR(0x54F)
WERR_TIMEOUT = WERROR(0x5B4)


def tevent_req_werror(req: tevent_req, werror: int) -> bool:
    """
    Let *req* fail with *werror*, unless that is `WERR_OK`.

    C: ``bool tevent_req_werror(struct tevent_req *req, WERROR werror)``

    Returns:
        True when *req* has failed with it; False, and nothing done, for `WERR_OK`.

    Callbacks: that of *req*, inside this call, as `tevent_req_error` does.
    """
    number = W_ERROR_V(werror)
    if not is_request(req) or number == 0:
        return False
    return error_at(req, number, 1)


def tevent_req_is_werror(req: tevent_req) -> tuple[bool, WERROR]:
    """
    Whether *req* has not ended well, and the code that says why.

    C: ``bool tevent_req_is_werror(struct tevent_req *req, WERROR *error)``

    Returns:
        ``(False, WERR_OK)`` for a request that is done, else True with `WERR_TIMEOUT` for a timeout,
        `WERR_NOT_ENOUGH_MEMORY`, the low 32 bits of its error, or `WERR_INTERNAL_ERROR` for one in progress or
        received.
    """
    failed, state, error = tevent_req_is_error(req)
    if not failed:
        return False, WERR_OK
    if error is not None:
        return True, WERROR(error)
    if state == TEVENT_REQ_TIMED_OUT:
        return True, WERR_TIMEOUT
    if state == TEVENT_REQ_NO_MEMORY:
        return True, WERR_NOT_ENOUGH_MEMORY
    return True, WERR_INTERNAL_ERROR


def tevent_req_simple_recv_werror(req: tevent_req) -> WERROR:
    """
    Receive a request whose only result is an error code.

    C: ``WERROR tevent_req_simple_recv_werror(struct tevent_req *req)``

    Returns:
        As `tevent_req_is_werror`. Called again: `WERR_INTERNAL_ERROR`.

    Ownership: *req* is received (`tevent_req_received`), not freed.
    """
    code = tevent_req_is_werror(req)[1]
    tevent_req_received(req)
    return code


def tevent_req_simple_finish_werror(subreq: tevent_req, subreq_error: int) -> None:
    """
    Free *subreq* and let the request in its callback data end with *subreq_error*.

    C: ``void tevent_req_simple_finish_werror(struct tevent_req *subreq, WERROR subreq_error)``

    Callbacks: that of the outer request, inside this call.
    Ownership: *subreq* is freed.
    """
    number = W_ERROR_V(subreq_error)
    req = tevent_req_callback_data(subreq, tevent_req)
    TALLOC_FREE(subreq)
    if not is_request(req):
        return
    if number:
        error_at(req, number, 1)
    else:
        frame = sys._getframe(1)
        finish(req, DONE, (frame.f_code, frame.f_lasti))


def tevent_req_poll_werror(req: tevent_req, ev: tevent_context) -> tuple[bool, WERROR]:
    """
    Run *ev* until *req* is no longer in progress.

    C: ``bool tevent_req_poll_werror(struct tevent_req *req, struct tevent_context *ev, WERROR *error)``

    Returns:
        ``(True, WERR_OK)``, or False with the errno of the loop as a WERROR.
    """
    if tevent_req_poll(req, ev):
        return True, WERR_OK
    return False, WERROR(unix_error_codes(get_errno())[1])
