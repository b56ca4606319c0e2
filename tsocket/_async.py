# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What the requests on plain descriptors have in common: a state with an fd event, checks of arguments.

Mirrors ``lib/async_req/async_sock.c``, where each function does this for itself.
"""

from __future__ import annotations

from errno import EAGAIN, EINTR, EWOULDBLOCK

from talloc_py.core import TALLOC_CTX, talloc_free
from tevent._base import check_context
from tevent._request import tevent_req
from tevent.fd import TEVENT_FD_ERROR, TEVENT_FD_READ, TEVENT_FD_WRITE, tevent_add_fd, tevent_fd
from tevent.req import tevent_req_create, tevent_req_is_in_progress, tevent_req_nomem, tevent_req_set_cleanup_fn

from .socket_error import check_fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final, TypeVar

    from tevent.context import tevent_context
    from tevent.enumerations import tevent_req_state

    S = TypeVar("S", bound="waiting_state")

__all__ = [
    "AGAIN",
    "ERROR",
    "MAX_TALLOC_SIZE",
    "READ",
    "WRITE",
    "begin_wait",
    "check_callable",
    "discard",
    "drop_event",
    "is_live",
    "still_alive",
    "wait_cleanup",
    "wait_for",
    "waiting_state",
]

READ: Final = int(TEVENT_FD_READ)
WRITE: Final = int(TEVENT_FD_WRITE)
ERROR: Final = int(TEVENT_FD_ERROR)

#: "Nothing there yet": what a system call may say without the operation having failed.
AGAIN: Final = frozenset((EINTR, EAGAIN, EWOULDBLOCK))

#: talloc does not make a chunk of this size or more.
MAX_TALLOC_SIZE: Final = 0x10000000


def check_callable(what: str, fn: object) -> None:
    """Raise TypeError for what cannot be called, None aside."""
    if fn is not None and not callable(fn):
        raise TypeError(f"{what} must be callable or None, not {type(fn).__name__}")


class waiting_state(TALLOC_CTX):
    """The state of a request that waits for its descriptor."""

    __slots__ = ("fd", "fde")

    fd: int
    fde: tevent_fd | None

    def __init__(self) -> None:
        self.fd = -1
        self.fde = None


def drop_event(state: waiting_state) -> None:
    """Stop waiting."""
    fde, state.fde = state.fde, None
    if fde is not None:
        talloc_free(fde)


def wait_for(
    req: tevent_req,
    state: waiting_state,
    ev: tevent_context,
    flags: int,
    handler: Callable[[tevent_context, tevent_fd, int, tevent_req], None],
) -> bool:
    """Let *handler* hear of *flags*; False after finishing *req* for lack of memory."""
    state.fde = tevent_add_fd(ev, state, state.fd, flags, handler, req)
    return not tevent_req_nomem(state.fde, req)


def is_live(req: tevent_req) -> bool:
    """Whether nobody has freed *req* while a function of the caller's ran."""
    return req._talloc_chunk.obj is req


def discard(req: tevent_req) -> None:
    """Free *req* unless that has been done already."""
    if is_live(req):
        talloc_free(req)


def still_alive(req: tevent_req, state: waiting_state) -> bool:
    """Whether *req* is still what it was before a function of the caller's ran."""
    return is_live(req) and req.data is state and tevent_req_is_in_progress(req)


def begin_wait(mem_ctx: TALLOC_CTX | None, ev: tevent_context, fd: int, type: type[S]) -> tuple[tevent_req | None, S]:
    """The request and state of somebody who only waits for *fd*."""
    check_fd(fd)
    if not check_context(ev):
        return None, None  # type: ignore[return-value]  # only where an abort function returns
    req, state = tevent_req_create(mem_ctx, type)
    if req is not None:
        state.fd = fd
        tevent_req_set_cleanup_fn(req, wait_cleanup)
    return req, state


def wait_cleanup(req: tevent_req, req_state: tevent_req_state) -> None:
    """The cleanup function of a request that holds nothing but its fd event."""
    state = req.data
    assert isinstance(state, waiting_state)
    drop_event(state)
