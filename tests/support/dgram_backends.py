# SPDX-License-Identifier: LGPL-3.0-or-later
"""
A datagram backend as a user writes it: C-style operations handed to `tdgram_context_create`.

`memory_dgrams` connects two sockets through lists in memory. Nothing is lost: a full list lets the sender wait.
"""

from __future__ import annotations

from errno import ECONNREFUSED, ENOTCONN
from typing import Any

from talloc_py import TALLOC_CTX, talloc_memdup, talloc_set_destructor
from tevent import (
    tevent_context,
    tevent_req,
    tevent_req_create,
    tevent_req_data,
    tevent_req_defer_callback,
    tevent_req_done,
    tevent_req_error,
    tevent_req_is_error,
    tevent_req_post,
    tevent_req_received,
    tevent_req_set_cleanup_fn,
)
from tsocket import (
    sockaddr,
    tdgram_context,
    tdgram_context_create,
    tdgram_context_data,
    tdgram_context_ops,
    tsocket_address,
    tsocket_address_bsd_from_sockaddr,
    tsocket_simple_int_recv,
)

#: How many datagrams wait in one direction.
ROOM = 8


class box_state(TALLOC_CTX):
    """One socket: what came for it, and who waits."""

    other: box_state | None = None
    closed: bool = False
    inbox: list[bytes]
    receiver: tevent_req | None = None
    sender: tevent_req | None = None


class box_io_state(TALLOC_CTX):
    """The state of a send or receive."""

    ev: tevent_context
    box: box_state
    data: bytes | None = None


def _begin(
    mem_ctx: TALLOC_CTX, ev: tevent_context, dgram: tdgram_context
) -> tuple[tevent_req | None, box_io_state, box_state]:
    box = tdgram_context_data(dgram, box_state)
    req, state = tevent_req_create(mem_ctx, box_io_state)
    if req is not None:
        state.ev = ev
        state.box = box
        tevent_req_set_cleanup_fn(req, _gone)
    return req, state, box


def _gone(req: tevent_req, req_state: int) -> None:
    box = tevent_req_data(req, box_io_state).box
    if box.receiver is req:
        box.receiver = None
    elif box.sender is req:
        box.sender = None


def recvfrom_send(mem_ctx: TALLOC_CTX, ev: tevent_context, dgram: tdgram_context) -> tevent_req | None:
    req, state, box = _begin(mem_ctx, ev, dgram)
    if req is None:
        return None
    if box.closed:
        tevent_req_error(req, ENOTCONN)
        return tevent_req_post(req, ev)
    if box.inbox:
        state.data = box.inbox.pop(0)
        tevent_req_done(req)
        _room(box)
        return tevent_req_post(req, ev)
    box.receiver = req
    return req


def _room(box: box_state) -> None:
    """There is room again in the list of *box*: a sender that waits can go."""
    if box.other is not None and box.other.sender is not None:
        req = box.other.sender
        state = tevent_req_data(req, box_io_state)
        assert state.data is not None
        box.inbox.append(state.data)
        tevent_req_defer_callback(req, state.ev)
        tevent_req_done(req)


def recvfrom_recv(req: tevent_req, mem_ctx: TALLOC_CTX) -> tuple[int, int, Any, tsocket_address | None]:
    failed, _, error = tevent_req_is_error(req)
    if failed:
        tevent_req_received(req)
        return -1, error or 0, None, None
    data = tevent_req_data(req, box_io_state).data
    assert data is not None
    buf = talloc_memdup(mem_ctx, data)
    _, src = tsocket_address_bsd_from_sockaddr(mem_ctx, sockaddr(1, "/memory"))
    tevent_req_received(req)
    return len(data), 0, buf, src


def sendto_send(
    mem_ctx: TALLOC_CTX, ev: tevent_context, dgram: tdgram_context, buf: Any, dst: tsocket_address | None
) -> tevent_req | None:
    req, state, box = _begin(mem_ctx, ev, dgram)
    if req is None:
        return None
    state.data = bytes(buf)
    if box.closed or box.other is None:
        tevent_req_error(req, ENOTCONN if box.closed else ECONNREFUSED)
        return tevent_req_post(req, ev)
    if box.other.receiver is None and len(box.other.inbox) >= ROOM:
        box.sender = req
        return req
    deliver(box.other, state.data)
    tevent_req_done(req)
    return tevent_req_post(req, ev)


def deliver(box: box_state, data: bytes) -> None:
    """Hand *data* to the receiver that waits, or put it into the list."""
    req = box.receiver
    if req is None:
        box.inbox.append(data)
        return
    state = tevent_req_data(req, box_io_state)
    state.data = data
    tevent_req_defer_callback(req, state.ev)
    tevent_req_done(req)


def sendto_recv(req: tevent_req) -> tuple[int, int]:
    ret, err = tsocket_simple_int_recv(req)
    if ret == 0:
        ret = len(tevent_req_data(req, box_io_state).data or b"")
    tevent_req_received(req)
    return ret, err


def disconnect_send(mem_ctx: TALLOC_CTX, ev: tevent_context, dgram: tdgram_context) -> tevent_req | None:
    req, _, box = _begin(mem_ctx, ev, dgram)
    if req is None:
        return None
    if box.closed:
        tevent_req_error(req, ENOTCONN)
    else:
        box.closed = True
        _part(box)
        tevent_req_done(req)
    return tevent_req_post(req, ev)


def _part(box: box_state) -> int:
    """The other socket has nobody to send to any more."""
    if box.other is not None:
        box.other.other = None
        box.other = None
    return 0


def disconnect_recv(req: tevent_req) -> tuple[int, int]:
    result = tsocket_simple_int_recv(req)
    tevent_req_received(req)
    return result


OPERATIONS: dict[str, Any] = {
    "recvfrom_send": recvfrom_send,
    "recvfrom_recv": recvfrom_recv,
    "sendto_send": sendto_send,
    "sendto_recv": sendto_recv,
    "disconnect_send": disconnect_send,
    "disconnect_recv": disconnect_recv,
}


def memory_dgrams(mem_ctx: TALLOC_CTX | None, **replaced: Any) -> tuple[tdgram_context, tdgram_context]:
    """Two datagram sockets connected in memory; *replaced* are operations to take instead."""
    ops = tdgram_context_ops(name="memory", **(OPERATIONS | replaced))
    one, box1 = tdgram_context_create(mem_ctx, ops, box_state)
    two, box2 = tdgram_context_create(mem_ctx, ops, box_state)
    assert one is not None
    assert two is not None
    for box, other in ((box1, box2), (box2, box1)):
        box.inbox = []
        box.other = other
        talloc_set_destructor(box, _part)
    return one, two
