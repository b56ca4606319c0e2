# SPDX-License-Identifier: LGPL-3.0-or-later
"""Two named pipes over SMB, connected with each other by a server in memory that answers as a real one does."""

from __future__ import annotations

from typing import Any

from talloc_py import TALLOC_CTX, talloc_free, talloc_new, talloc_zero
from tevent import (
    NT_STATUS_OK,
    NTSTATUS,
    tevent_context,
    tevent_loop_once,
    tevent_req,
    tevent_req_create,
    tevent_req_data,
    tevent_req_defer_callback,
    tevent_req_done,
    tevent_req_is_in_progress,
    tevent_req_post,
    tevent_req_set_cleanup_fn,
)
from tsocket import (
    smbXcli_conn,
    tstream_context,
    tstream_smbXcli_np_open_recv,
    tstream_smbXcli_np_open_send,
)

PIPE_BROKEN = NTSTATUS(0xC000014B)
#: What the server keeps for a pipe that nobody reads before a write has to wait.
BUFFER = 64 * 1024


class call(TALLOC_CTX):
    """A call: whose it is, what it wants, what came of it."""

    end: pipe_end
    ev: tevent_context
    length: int
    data: bytes
    status: NTSTATUS


class pipe_end(smbXcli_conn):
    """A client's connection to the server that has one end of the pipe."""

    other: pipe_end | None
    inbox: bytearray
    reading: tevent_req | None
    writing: tevent_req | None
    closed: bool

    def is_connected(self) -> bool:
        return True

    def protocol(self) -> int:
        return 0x311

    def _call(self, mem_ctx: TALLOC_CTX, ev: tevent_context) -> tuple[tevent_req, call]:
        req, state = tevent_req_create(mem_ctx, call)
        assert req is not None
        state.end, state.ev, state.status, state.data, state.length = self, ev, NT_STATUS_OK, b"", 0
        tevent_req_set_cleanup_fn(req, _forget)
        return req, state

    def create_send(self, mem_ctx: TALLOC_CTX, ev: Any, timeout: int, session: Any, tcon: Any, *args: Any) -> Any:
        req, _ = self._call(mem_ctx, ev)
        tevent_req_done(req)
        return tevent_req_post(req, ev)

    def create_recv(self, req: tevent_req) -> Any:
        return NT_STATUS_OK, 1, 2

    def close_send(self, mem_ctx: TALLOC_CTX, ev: Any, timeout: int, session: Any, tcon: Any, *args: Any) -> Any:
        req, _ = self._call(mem_ctx, ev)
        self.closed = True
        if self.other is not None:
            _serve(self.other)
            _take(self.other)
        tevent_req_done(req)
        return tevent_req_post(req, ev)

    def close_recv(self, req: tevent_req) -> Any:
        return NT_STATUS_OK

    def read_send(
        self, mem_ctx: TALLOC_CTX, ev: Any, timeout: int, session: Any, tcon: Any, length: int, *args: Any
    ) -> Any:
        req, state = self._call(mem_ctx, ev)
        state.length = length
        self.reading = req
        _serve(self)
        return _given(req, ev)

    def read_recv(self, req: tevent_req, mem_ctx: Any) -> Any:
        state = tevent_req_data(req, call)
        return state.status, state.data

    def write_send(self, mem_ctx: TALLOC_CTX, ev: Any, timeout: int, session: Any, tcon: Any, *args: Any) -> Any:
        req, state = self._call(mem_ctx, ev)
        state.data = bytes(args[-1])
        state.length = len(state.data)
        self.writing = req
        _take(self)
        return _given(req, ev)

    def write_recv(self, req: tevent_req) -> Any:
        state = tevent_req_data(req, call)
        return state.status, state.length


def _given(req: tevent_req, ev: tevent_context) -> tevent_req | None:
    return req if tevent_req_is_in_progress(req) else tevent_req_post(req, ev)


def _forget(req: tevent_req, req_state: int) -> None:
    end = tevent_req_data(req, call).end
    if end.reading is req:
        end.reading = None
    if end.writing is req:
        end.writing = None


def _end(req: tevent_req) -> None:
    """A call is answered, from the loop."""
    tevent_req_defer_callback(req, tevent_req_data(req, call).ev)
    tevent_req_done(req)


def _serve(end: pipe_end) -> None:
    """Answer the read that waits at *end*, if there is something to say."""
    req = end.reading
    if req is None:
        return
    state = tevent_req_data(req, call)
    if end.inbox:
        state.data = bytes(end.inbox[: state.length])
        del end.inbox[: state.length]
        _end(req)
        if end.other is not None:
            _take(end.other)
    elif end.other is None or end.other.closed:
        state.status = PIPE_BROKEN
        _end(req)


def _take(end: pipe_end) -> None:
    """Take what is being written at *end*, if there is room for it."""
    req = end.writing
    if req is None:
        return
    state = tevent_req_data(req, call)
    other = end.other
    if other is None or other.closed:
        state.status = PIPE_BROKEN
        _end(req)
    elif len(other.inbox) < BUFFER:
        other.inbox += state.data
        _end(req)
        _serve(other)


def smb_pair(ev: tevent_context, mem_ctx: TALLOC_CTX) -> tuple[tstream_context, tstream_context]:
    """A *make_pair* for the conformance suite."""
    ends = [talloc_zero(mem_ctx, pipe_end), talloc_zero(mem_ctx, pipe_end)]
    streams: list[tstream_context] = []
    for end, other in zip(ends, reversed(ends), strict=True):
        session, tcon = talloc_new(mem_ctx), talloc_new(mem_ctx)
        assert end is not None
        assert session is not None
        assert tcon is not None
        end.other, end.inbox, end.reading, end.writing, end.closed = other, bytearray(), None, None, False
        req = tstream_smbXcli_np_open_send(mem_ctx, ev, end, session, tcon, 0, 1000, "pipe")
        assert req is not None
        while tevent_req_is_in_progress(req):
            assert tevent_loop_once(ev) == 0
        status, stream = tstream_smbXcli_np_open_recv(req, mem_ctx)
        assert status == NT_STATUS_OK
        assert stream is not None
        talloc_free(req)
        streams.append(stream)
    return streams[0], streams[1]
