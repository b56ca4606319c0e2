# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Named pipes over SMB, put through all sweeps over a server whose calls fail in every way.

The connection, its session and its tree connect belong to the event context: they outlive what is freed, and a call
that is left below them is found.
"""

from __future__ import annotations

from errno import EIO, ENOTCONN, EPIPE
from typing import Any

import pytest

from talloc_py import TALLOC_CTX, talloc_free, talloc_new, talloc_zero
from tevent import (
    NT_STATUS_ACCESS_DENIED,
    NT_STATUS_CONNECTION_DISCONNECTED,
    NT_STATUS_OK,
    NT_STATUS_PIPE_BUSY,
    NTSTATUS,
    STATUS_BUFFER_OVERFLOW,
    get_errno,
    tevent_context,
    tevent_req,
    tevent_req_create,
    tevent_req_data,
    tevent_req_done,
    tevent_req_poll,
    tevent_req_post,
    tevent_req_set_callback,
    tevent_req_set_cleanup_fn,
)
from tevent.testing import simulation, sweep, sweep_free, sweep_free_parent, sweep_result, sweep_timeout
from tsocket import (
    smbXcli_conn,
    tstream_context,
    tstream_disconnect_recv,
    tstream_disconnect_send,
    tstream_monitor_recv,
    tstream_monitor_send,
    tstream_pending_bytes,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_smbXcli_np_open_recv,
    tstream_smbXcli_np_open_send,
    tstream_smbXcli_np_set_max_data,
    tstream_smbXcli_np_use_trans,
    tstream_writev_recv,
    tstream_writev_send,
)

LATENCY_US = 1000
#: What a call may come to: a status; no request at all; an answer inside the call; an answer that is wrong; or an error
#: together with what the stream needs.
OUTCOMES = [NT_STATUS_ACCESS_DENIED, "no memory", "at once", "too little", "too much", "session", "connection"]


class smb_call(TALLOC_CTX):
    """A call that is under way."""

    answer: tuple[Any, ...]
    delivery: Any


class fake_server(smbXcli_conn):
    """A connection to a server, and what its pipe does."""

    world: simulation
    ev: tevent_context
    session: TALLOC_CTX | None
    tcon: TALLOC_CTX
    alive: bool
    #: What the server has to say, message by message, and what it was told.
    says: list[bytes]
    heard: bytes
    #: Which calls were made.
    calls: list[str]
    status: NTSTATUS
    #: Whether the pipe has been closed, and not only told to be.
    closed: bool

    def is_connected(self) -> bool:
        return self.alive

    def begin(self, name: str, mem_ctx: TALLOC_CTX, good: Any, bad: tuple[Any, ...]) -> tevent_req | None:
        """A call that ends with what *good* returns, or as the world wants it."""
        assert self.alive, "a call over a dead connection"
        self.calls.append(name)
        outcome = self.world.fault(f"smb: {name}")
        if outcome == "no memory":
            return None
        req, state = tevent_req_create(mem_ctx, smb_call)
        assert req is not None
        state.delivery = None
        tevent_req_set_cleanup_fn(req, _forget)
        if outcome == "at once":
            state.answer = self.good(good)
            tevent_req_done(req)
            return tevent_req_post(req, self.ev)
        state.delivery = self.world.deliver(
            self.ev, LATENCY_US, lambda: self.end(req, outcome, good, bad), f"{name} is answered"
        )
        return req

    def end(self, req: tevent_req, outcome: Any, good: Any, bad: tuple[Any, ...]) -> None:
        """The answer has come."""
        state = tevent_req_data(req, smb_call)
        state.delivery = None
        if outcome == "session" and self.session is not None:
            session, self.session = self.session, None
            talloc_free(session)
        if outcome == "connection":
            self.alive = False
        if outcome in ("session", "connection"):
            outcome = NT_STATUS_CONNECTION_DISCONNECTED
        if isinstance(outcome, NTSTATUS):
            state.answer = (outcome, *bad)
        else:
            state.answer = self.good(good)
            if outcome in ("too little", "too much") and len(state.answer) > 1:
                state.answer = (*state.answer[:-1], _wrong(state.answer[-1], outcome == "too much"))
        tevent_req_done(req)

    def good(self, good: Any) -> tuple[Any, ...]:
        """The answer of a call that succeeds."""
        self.status = NT_STATUS_OK
        more = good()
        return (self.status, *more)

    def create_send(self, mem_ctx: TALLOC_CTX, *_args: Any) -> tevent_req | None:
        return self.begin("create", mem_ctx, lambda: (1, 2), (0, 0))

    def close_send(self, mem_ctx: TALLOC_CTX, *_args: Any) -> tevent_req | None:
        def good() -> tuple[()]:
            self.closed = True
            return ()

        return self.begin("close", mem_ctx, good, ())

    def read_send(self, mem_ctx: TALLOC_CTX, *args: Any) -> tevent_req | None:
        return self.begin("read", mem_ctx, lambda: self.next_piece(args[4]), (None,))

    def write_send(self, mem_ctx: TALLOC_CTX, *args: Any) -> tevent_req | None:
        def good() -> tuple[int]:
            self.heard += args[-1]
            return (len(args[-1]),)

        return self.begin("write", mem_ctx, good, (0,))

    def ioctl_send(self, mem_ctx: TALLOC_CTX, *args: Any) -> tevent_req | None:
        def good() -> tuple[Any, ...]:
            self.heard += args[8]
            return (None, *self.next_piece(args[9]))

        return self.begin("ioctl", mem_ctx, good, (None, None))

    def next_piece(self, size: int) -> tuple[bytes]:
        """The next bytes of what the server says; what is left of a message is announced."""
        piece, rest = self.says[0][:size], self.says[0][size:]
        self.says[:1] = [rest] if rest else []
        self.status = STATUS_BUFFER_OVERFLOW if rest else NT_STATUS_OK
        return (piece,)

    def answer(self, req: tevent_req) -> Any:
        """What all ``_recv`` functions give."""
        answer = tevent_req_data(req, smb_call).answer
        return answer[0] if len(answer) == 1 else answer

    create_recv = close_recv = write_recv = answer

    def read_recv(self, req: tevent_req, mem_ctx: TALLOC_CTX) -> Any:
        return self.answer(req)

    def ioctl_recv(self, req: tevent_req, mem_ctx: TALLOC_CTX) -> Any:
        return self.answer(req)


def _forget(req: tevent_req, _state: int) -> None:
    delivery = tevent_req_data(req, smb_call).delivery
    if delivery is not None:
        delivery.cancel()


def _wrong(value: Any, more: bool) -> Any:
    """A number of bytes or bytes, but others than there should be."""
    if isinstance(value, int):
        return value + (1 if more else -1)
    return bytes(100) if more else b""


def serving(world: simulation, ev: tevent_context, says: list[bytes]) -> fake_server:
    """A server that outlives what is freed."""
    server = talloc_zero(ev, fake_server)
    tcon = talloc_new(ev)
    assert server is not None
    assert tcon is not None
    server.world, server.ev, server.session, server.tcon = world, ev, talloc_new(ev), tcon
    server.alive, server.says, server.heard, server.calls = True, says, b"", []
    server.closed = False
    return server


def opening(mem_ctx: TALLOC_CTX, server: fake_server) -> tevent_req | None:
    """The request of a pipe that is opened."""
    assert server.session is not None
    return tstream_smbXcli_np_open_send(mem_ctx, server.ev, server, server.session, server.tcon, 0, 5000, "pipe")


class scene:
    """An open pipe, on which no more than eight bytes go at once, and what is read from it."""

    buf: list[bytearray]

    def __init__(self, world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX, *says: bytes) -> None:
        self.server = serving(world, ev, list(says))
        req = opening(world.top, self.server)
        assert req is not None
        assert tevent_req_poll(req, ev)
        _, stream = tstream_smbXcli_np_open_recv(req, mem_ctx)
        talloc_free(req)
        assert stream is not None
        self.stream: tstream_context = stream
        tstream_smbXcli_np_set_max_data(stream, 8)

    def read(self, mem_ctx: TALLOC_CTX, *sizes: int) -> tevent_req | None:
        """Start to read that many bytes."""
        self.buf = [bytearray(size) for size in sizes]
        return tstream_readv_send(mem_ctx, self.server.ev, self.stream, self.buf)

    def write(self, mem_ctx: TALLOC_CTX, *parts: bytes) -> tevent_req | None:
        """Start a write."""
        return tstream_writev_send(mem_ctx, self.server.ev, self.stream, list(parts))

    def failed(self, ret: int, err: int) -> bool:
        """Whether an operation has failed; then the file is closed, unless time has run out."""
        if ret != -1:
            return False
        if err in (EPIPE, EIO):
            assert (tstream_pending_bytes(self.stream), get_errno()) == (-1, ENOTCONN)
            assert "close" in self.server.calls or not self.server.alive or self.server.session is None
        else:
            assert err > 0
        return True


def swept(start: Any, finish: Any, *says: bytes, **options: Any) -> sweep_result:
    """A sweep of an operation on an open pipe, which is freed in its callback."""
    scenes: list[scene] = []

    def begin(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> scene:
        scenes.append(scene(world, ev, mem_ctx, *says))
        return scenes[-1]

    def end(req: tevent_req) -> None:
        finish(scenes[-1], req)
        talloc_free(scenes[-1].stream)

    return sweep(
        lambda world, ev, mem_ctx: start(world.scene, mem_ctx),
        end,
        scene=begin,
        errnos=OUTCOMES,
        **options,
    )


def test_open() -> None:
    """A pipe that is opened; closing it is a call of its own, which nobody waits for."""

    def finish(req: tevent_req) -> None:
        status, stream = tstream_smbXcli_np_open_recv(req, None)
        assert (status == NT_STATUS_OK) == (stream is not None)
        if stream is not None:
            talloc_free(stream)

    result = sweep(
        lambda world, ev, mem_ctx: opening(mem_ctx, world.scene),
        finish,
        scene=lambda world, ev, mem_ctx: serving(world, ev, []),
        recv=lambda req: tstream_smbXcli_np_open_recv(req, None),
        errnos=OUTCOMES,
    )
    assert calls_of(result) == ["create", "close"]


class TestOperations:
    def test_readv(self) -> None:
        """A read of one message in pieces and the beginning of the next, the rest of which is kept."""

        def finish(on: scene, req: tevent_req) -> None:
            ret, err = tstream_readv_recv(req)
            if not on.failed(ret, err):
                assert (ret, b"".join(on.buf)) == (12, b"a message an")
                assert tstream_pending_bytes(on.stream) == 5

        result = swept(
            lambda on, mem_ctx: on.read(mem_ctx, 3, 9), finish, b"a message ", b"another", recv=tstream_readv_recv
        )
        assert calls_of(result) == ["read", "read", "read", "close"]

    def test_writev(self) -> None:
        """A write in two pieces."""

        def finish(on: scene, req: tevent_req) -> None:
            ret, err = tstream_writev_recv(req)
            if not on.failed(ret, err):
                assert (ret, on.server.heard) == (12, b"what we said")

        result = swept(lambda on, mem_ctx: on.write(mem_ctx, b"what we ", b"said"), finish, recv=tstream_writev_recv)
        assert calls_of(result) == ["write", "write", "close"]

    def test_disconnect(self) -> None:
        """A disconnect is the close, which goes out whoever is freed."""

        def finish(on: scene, req: tevent_req) -> None:
            on.failed(*tstream_disconnect_recv(req))
            assert tstream_pending_bytes(on.stream) == -1

        result = swept(
            lambda on, mem_ctx: tstream_disconnect_send(mem_ctx, on.server.ev, on.stream),
            finish,
            recv=tstream_disconnect_recv,
        )
        assert calls_of(result) == ["close"]

    @pytest.mark.parametrize("kind", [sweep_free, sweep_free_parent, sweep_timeout])
    def test_disconnect_that_nobody_waits_for(self, kind: Any) -> None:
        """The server hears of the close all the same."""
        scenes: list[scene] = []

        def begin(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> scene:
            scenes.append(scene(world, ev, mem_ctx))
            return scenes[-1]

        def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req | None:
            return tstream_disconnect_send(mem_ctx, ev, world.scene.stream)

        assert len(kind(start, scene=begin).cases) > 3
        assert all(each.server.closed for each in scenes)

    def test_monitor(self) -> None:
        """A monitor hears of what becomes of a read."""

        def start(on: scene, mem_ctx: TALLOC_CTX) -> tevent_req | None:
            forget(on.read(on.server.world.top, 3))
            return tstream_monitor_send(mem_ctx, on.server.ev, on.stream)

        def finish(on: scene, req: tevent_req) -> None:
            assert on.failed(*tstream_monitor_recv(req))

        swept(start, finish, b"hello", ends=False)


class TestTransactions:
    """A write and the read of its answer that are one call."""

    @pytest.mark.parametrize("first", ["read", "write"])
    def test_read(self, first: str) -> None:
        """The read, which may be there before the write."""

        def start(on: scene, mem_ctx: TALLOC_CTX) -> tevent_req | None:
            assert tstream_smbXcli_np_use_trans(on.stream) == NT_STATUS_OK
            assert tstream_smbXcli_np_use_trans(on.stream) == NT_STATUS_PIPE_BUSY
            req = on.read(mem_ctx, 6, 5) if first == "read" else None
            forget(on.write(on.server.world.top, b"a long question"))
            return req or on.read(mem_ctx, 6, 5)

        def finish(on: scene, req: tevent_req) -> None:
            ret, err = tstream_readv_recv(req)
            if not on.failed(ret, err):
                assert (ret, b"".join(on.buf)) == (11, b"an answer a")

        # A read that is alone waits for ever: the write is not disturbed, but can fail.
        result = swept(start, finish, b"an answer", b" and more", recv=tstream_readv_recv, ends=False)
        assert sorted(calls_of(result)) == ["close", "ioctl", "read", "read", "write"]

    @pytest.mark.parametrize("first", ["read", "write"])
    def test_write(self, first: str) -> None:
        """The write, which may be there before the read."""

        def start(on: scene, mem_ctx: TALLOC_CTX) -> tevent_req | None:
            assert tstream_smbXcli_np_use_trans(on.stream) == NT_STATUS_OK
            req = on.write(mem_ctx, b"a question") if first == "write" else None
            forget(on.read(on.server.world.top, 6, 3))
            return req or on.write(mem_ctx, b"a question")

        def finish(on: scene, req: tevent_req) -> None:
            ret, err = tstream_writev_recv(req)
            if not on.failed(ret, err):
                assert (ret, on.server.heard) == (10, b"a question")

        result = swept(start, finish, b"an answer", recv=tstream_writev_recv)
        assert sorted(calls_of(result)) == ["close", "ioctl", "write"]


def forget(req: tevent_req | None) -> None:
    """Let a request that is not under test go as soon as it has ended."""
    assert req is not None
    tevent_req_set_callback(req, lambda req: talloc_free(req), None)


def calls_of(result: sweep_result) -> list[str]:
    """Which calls were made."""
    return [name.removeprefix("smb: ").partition(" #")[0] for name in result.operations]
