# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Requests as text.

Mirrors ``tevent_req_print()`` and its like in ``lib/tevent/tevent_req.c``.
"""

from __future__ import annotations

from talloc_py._chunk import freed_at
from talloc_py.core import TALLOC_CTX, location_text
from talloc_py.string import talloc_strdup
from talloc_py.types import info_of

from ._request import error_of, finished_at, is_request, operation, state_of, tevent_req

TYPE_CHECKING = False
if TYPE_CHECKING:
    from talloc_py._chunk import talloc_string

__all__ = ["tevent_req_default_print", "tevent_req_print"]


def _pointer(thing: object) -> str:
    return "(nil)" if thing is None else f"{id(thing):#x}"


def _place(where: object) -> str:
    return "(null)" if where is None else location_text(where)


def kind_of(req: tevent_req) -> str:
    """The type name of the state that *req* was made with, or that it has in C."""
    kind = req.kind if req.op is None else req.op
    return kind.name if isinstance(kind, operation) else info_of(kind).name


def tevent_req_default_print(req: tevent_req, mem_ctx: TALLOC_CTX | None) -> talloc_string | None:
    """
    The library's own text for *req*, whatever print function is set.

    C: ``char *tevent_req_default_print(struct tevent_req *req, TALLOC_CTX *mem_ctx)``

    Returns:
        ``tevent_req[PTR/CREATE]: state[N] error[D (0xH)]  state[TYPE (PTR)] timer[PTR] finish[FINISH]`` as a string
        owned by *mem_ctx*: where the request was made and finished, its state and error as numbers, its state chunk
        and timer.
    """
    if not is_request(req):
        return None
    error = error_of(req)
    signed = error - 2**64 if error >> 63 else error
    data = req.data
    timer = None if req.rare is None else req.rare.timer
    return talloc_strdup(
        mem_ctx,
        f"tevent_req[{_pointer(req)}/{_place(req.created)}]: state[{req.status}] error[{signed} (0x{error:X})]  "
        f"state[{kind_of(req)} ({_pointer(data)})] timer[{_pointer(timer)}] finish[{_place(finished_at(req))}]",
    )


def tevent_req_print(mem_ctx: TALLOC_CTX | None, req: tevent_req | None) -> talloc_string | None:
    """
    A text for people about *req*: that of its print function, or else of `tevent_req_default_print`.

    C: ``char *tevent_req_print(TALLOC_CTX *mem_ctx, struct tevent_req *req)``

    Returns:
        A string owned by *mem_ctx*; ``tevent_req[NULL]`` for a *req* of None.
    """
    if req is None:
        return talloc_strdup(mem_ctx, "tevent_req[NULL]")
    if not is_request(req):
        return None
    fn = None if req.rare is None else req.rare.print
    if fn is None:
        return tevent_req_default_print(req, mem_ctx)
    # What a print function gives is promised to be a chunk of mem_ctx.
    return fn(req, mem_ctx)  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


def summary(req: tevent_req) -> str:
    """What ``repr`` shows: the kind of request, its state, and where it was made."""
    header = req._talloc_chunk
    if header.obj is not req:
        return f"<tevent_req, freed at {location_text(freed_at(header))}, made at {location_text(req.created)}>"
    state = state_of(req.status).name.removeprefix("TEVENT_REQ_")
    number = error_of(req)
    error = f" {number}" if number else ""
    return f"<tevent_req of {kind_of(req)} {state}{error} made at {location_text(req.created)}>"
