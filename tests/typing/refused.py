# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What a type checker must not let pass: each line that ends in "refused", and no other.

Not run, and no part of what is checked otherwise: `test_checkers` compares the complaints with the remarks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from talloc_py import *
from tevent import *
from tsocket import *

if TYPE_CHECKING:
    from tevent.typing import tevent_subreq


class foo_state(TALLOC_CTX):
    """A state."""

    ev: tevent_context
    stream: tstream_context
    body: bytearray


class plain:
    """No chunk."""


def unchecked(mem_ctx: TALLOC_CTX, ev: tevent_context) -> None:
    """What may be None is looked at first."""
    subreq = tevent_wakeup_send(mem_ctx, ev, timeval(0, 0))
    tevent_wakeup_recv(subreq)  # refused
    req, state = tevent_req_create(mem_ctx, foo_state)
    tevent_req_done(req)  # refused
    state.bodi = bytearray()  # refused
    text = talloc_strdup(state, "text")
    text.upper()  # refused


def not_a_chunk(mem_ctx: TALLOC_CTX, state: foo_state) -> None:
    """A bytearray is none, nor is an instance of any class."""
    talloc_move(mem_ctx, state.body)  # refused
    talloc_zero("text", foo_state)  # refused
    TALLOC_FREE(plain())  # refused
    tevent_req_create(mem_ctx, plain)  # refused
    tevent_req_data(plain(), foo_state)  # refused


def wrong_callbacks(req: tevent_req, ev: tevent_context) -> None:
    """A function has the parameters of the C callback."""
    tevent_req_set_callback(req, wrong_callback, None)  # refused
    tevent_add_timer(ev, ev, timeval(0, 0), wrong_callback, None)  # refused
    tevent_req_set_callback(req, callback, None)


def wrong_callback(req: tevent_req, more: int) -> None:
    """One too many, or of another kind."""


def callback(subreq: tevent_subreq) -> None:
    """A parameter that may be assigned again is a request for all that."""
    subreq.nonsense()  # refused
    tstream_readv_recv(subreq, 1)  # refused
    talloc_zero_array(subreq, uint8_t, "three")  # refused
