# SPDX-License-Identifier: LGPL-3.0-or-later
"""
A plain stream whose other side is a script: what comes, in which pieces, when it stops, and how.

A `tape` knows all bytes that will ever come. `release` lets some of them through, which is how a peer that sends a byte
a second is played without a second passing; what was not released has not been sent. Behind the last byte there is
silence, the end of the stream, or an error. Writes are taken until there is no more room, then wait or fail.

`conclude` runs a request until it has ended, or nothing is left that could end it, and looks after what every request
on such a stream owes: an end of its own, and nothing left behind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from errno import EAGAIN, EPIPE
from typing import Any

from stream_backends import flat

from talloc_py import TALLOC_CTX, talloc_free, talloc_new, talloc_total_blocks
from tevent import (
    get_errno,
    set_errno,
    tevent_context,
    tevent_context_init,
    tevent_context_set_wait_timeout,
    tevent_loop_once,
    tevent_req,
    tevent_req_create,
    tevent_req_data,
    tevent_req_done,
    tevent_req_error,
    tevent_req_is_in_progress,
    tevent_req_post,
    tevent_req_received,
    tevent_req_set_cleanup_fn,
)
from tsocket import (
    tsocket_simple_int_recv,
    tstream_context,
    tstream_context_create,
    tstream_context_data,
    tstream_context_ops,
)

#: Behind the last byte: nothing, ever.
SILENCE = 0
#: More turns than any request on a tape needs; one that is still busy then goes round in circles.
TURNS_MAX = 100_000


class tape_io(TALLOC_CTX):
    """The state of a read, a write or a disconnect."""

    tape: tape
    views: list[memoryview]
    ret: int


class tape(TALLOC_CTX):
    """The script, and how far it is."""

    incoming: bytes
    offset: int  # what was read
    released: int  # what may be
    after: int  # the errno behind the last byte, or SILENCE
    outgoing: bytearray
    room: int  # what is still taken
    full: int  # the errno of a write that finds no room, or SILENCE
    asked_max: int  # the most bytes that a read has reserved
    reader: tevent_req | None
    writer: tevent_req | None

    def __init__(self) -> None:
        self.incoming, self.offset, self.released, self.after = b"", 0, 0, EPIPE
        self.outgoing, self.room, self.full, self.asked_max = bytearray(), 1 << 62, EPIPE, 0
        self.reader = self.writer = None

    def release(self, count: int = 1) -> bool:
        """Let *count* more bytes come, or what is behind the last one; False if all of that has come."""
        if self.released > len(self.incoming):
            return False
        self.released += count
        _read_on(self)
        return True

    def add_room(self, count: int) -> None:
        """Take *count* more bytes."""
        self.room += count
        _write_on(self)


def _begin(mem_ctx: TALLOC_CTX, stream: tstream_context, vector: Sequence[Any]) -> tuple[tevent_req, tape_io]:
    req, state = tevent_req_create(mem_ctx, tape_io)
    assert req is not None
    state.tape = tstream_context_data(stream, tape)
    state.views = [view for view in flat(vector) if len(view)]
    state.ret = 0
    tevent_req_set_cleanup_fn(req, _gone)
    return req, state


def _gone(req: tevent_req, req_state: int) -> None:
    this = tevent_req_data(req, tape_io).tape
    if this.reader is req:
        this.reader = None
    if this.writer is req:
        this.writer = None


def _posted(req: tevent_req, ev: tevent_context) -> tevent_req | None:
    return req if tevent_req_is_in_progress(req) else tevent_req_post(req, ev)


def _readv_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, vector: Any) -> tevent_req | None:
    req, state = _begin(mem_ctx, stream, vector)
    state.tape.asked_max = max(state.tape.asked_max, sum(map(len, state.views)))
    state.tape.reader = req
    _read_on(state.tape)
    return _posted(req, ev)


def _read_on(this: tape) -> None:
    """Fill the vector of the read that waits, as far as the script is."""
    req = this.reader
    if req is None:
        return
    state = tevent_req_data(req, tape_io)
    end = min(this.released, len(this.incoming))
    while state.views and this.offset < end:
        view = state.views[0]
        piece = this.incoming[this.offset : min(end, this.offset + len(view))]
        view[: len(piece)] = piece
        this.offset += len(piece)
        state.ret += len(piece)
        state.views[:1] = [view[len(piece) :]] if len(piece) < len(view) else []
        del view  # whoever is told that the buffer is full may give it another size
    if not state.views:
        tevent_req_done(req)
    elif this.after != SILENCE and this.released > len(this.incoming):
        tevent_req_error(req, this.after)


def _writev_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, vector: Any) -> tevent_req | None:
    req, state = _begin(mem_ctx, stream, vector)
    state.tape.writer = req
    _write_on(state.tape)
    return _posted(req, ev)


def _write_on(this: tape) -> None:
    req = this.writer
    if req is None:
        return
    state = tevent_req_data(req, tape_io)
    while state.views and this.room:
        view = state.views[0]
        piece = view[: this.room]
        this.outgoing += piece
        this.room -= len(piece)
        state.ret += len(piece)
        state.views[:1] = [view[len(piece) :]] if len(piece) < len(view) else []
    if not state.views:
        tevent_req_done(req)
    elif this.full != SILENCE:
        tevent_req_error(req, this.full)


def _transfer_recv(req: tevent_req) -> tuple[int, int]:
    ret, err = tsocket_simple_int_recv(req)
    if ret == 0:
        ret = tevent_req_data(req, tape_io).ret
    tevent_req_received(req)
    return ret, err


def _disconnect_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context) -> tevent_req | None:
    req, _ = _begin(mem_ctx, stream, ())
    tevent_req_done(req)
    return tevent_req_post(req, ev)


def _disconnect_recv(req: tevent_req) -> tuple[int, int]:
    result = tsocket_simple_int_recv(req)
    tevent_req_received(req)
    return result


def _pending_bytes(stream: tstream_context) -> int:
    this = tstream_context_data(stream, tape)
    set_errno(0)
    return min(this.released, len(this.incoming)) - this.offset


_OPS = tstream_context_ops(
    name="tape",
    pending_bytes=_pending_bytes,
    readv_send=_readv_send,
    readv_recv=_transfer_recv,
    writev_send=_writev_send,
    writev_recv=_transfer_recv,
    disconnect_send=_disconnect_send,
    disconnect_recv=_disconnect_recv,
)


def new_tape(
    mem_ctx: TALLOC_CTX, incoming: bytes = b"", *, released: int | None = None, after: int = EPIPE
) -> tuple[tstream_context, tape]:
    """A stream on which *incoming* comes, at once unless *released* says how much of it."""
    stream, this = tstream_context_create(mem_ctx, _OPS, tape)
    assert stream is not None
    this.incoming = incoming
    this.released = len(incoming) + 1 if released is None else released
    this.after = after
    return stream, this


class Bed:
    """A loop that lives on, an owner for each case, and a look at what a case leaves behind."""

    def __init__(self) -> None:
        ev = tevent_context_init(None)
        assert ev is not None
        self.ev: tevent_context = ev
        tevent_context_set_wait_timeout(ev, 0)
        self._top: TALLOC_CTX | None = None
        self._blocks = talloc_total_blocks(ev)

    def __enter__(self) -> TALLOC_CTX:
        self._top = talloc_new(None)
        assert self._top is not None
        return self._top

    def __exit__(self, *failed: object) -> None:
        talloc_free(self._top)
        self.settle()
        left = talloc_total_blocks(self.ev) - self._blocks
        if failed[0] is None:
            assert left == 0, f"{left} chunks are left below the context"

    def turn(self) -> bool:
        """One turn; False where there was nothing to do."""
        if tevent_loop_once(self.ev) == 0:
            return True
        assert get_errno() == EAGAIN
        return False

    def settle(self) -> None:
        """Turn until there is nothing to do."""
        for _ in range(TURNS_MAX):
            if not self.turn():
                return
        raise AssertionError("the loop does not come to rest")

    def ends(self, req: tevent_req | None) -> bool:
        """Run until there is nothing to do; whether *req* has ended by then."""
        assert req is not None
        self.settle()
        return not tevent_req_is_in_progress(req)

    def result(self, req: tevent_req | None, recv: Callable[..., Any], *args: Any) -> Any:
        """What *req* ends with, which it must, without anything more coming."""
        assert req is not None
        assert self.ends(req), "the request hangs"
        result = recv(req, *args)
        talloc_free(req)
        return result

    def close(self) -> None:
        """Free the context."""
        talloc_free(self.ev)
