# SPDX-License-Identifier: LGPL-3.0-or-later
"""Wrong arguments, freed chunks, broken descriptors and callbacks that misbehave."""

from __future__ import annotations

import copy
import os
import select
import socket
import sys
from errno import EBADF, EINVAL, EISDIR, EPIPE
from pathlib import Path
from typing import Any

import pytest
from stream_kit import (
    BIG,
    LengthPrefixed,
    Loop,
    Wire,
    disconnect,
    framed,
    is_open,
    open_fds,
    pdu,
    read_now,
    readv,
    write_now,
    writev,
)

from talloc_py import (
    talloc_abort_error,
    talloc_free,
    talloc_new,
    talloc_set_abort_fn,
    talloc_set_destructor,
    talloc_set_log_fn,
    talloc_steal,
    talloc_total_blocks,
)
from tevent import (
    tevent_abort_error,
    tevent_loop_once,
    tevent_queue_create,
    tevent_req,
    tevent_req_is_in_progress,
    tevent_req_set_callback,
)
from tsocket import (
    iovec,
    tsocket_address_inet_from_strings,
    tsocket_address_unix_from_path,
    tsocket_simple_int_recv,
    tstream_bsd_existing_socket,
    tstream_bsd_fail_readv_first_error,
    tstream_bsd_optimize_readv,
    tstream_context,
    tstream_disconnect_recv,
    tstream_disconnect_send,
    tstream_inet_tcp_connect_recv,
    tstream_inet_tcp_connect_send,
    tstream_monitor_recv,
    tstream_monitor_send,
    tstream_pending_bytes,
    tstream_readv_pdu_queue_recv,
    tstream_readv_pdu_recv,
    tstream_readv_pdu_send,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_unix_connect_recv,
    tstream_unix_connect_send,
    tstream_unix_socketpair,
    tstream_writev_queue_recv,
    tstream_writev_queue_send,
    tstream_writev_recv,
    tstream_writev_send,
)

SENDS = {
    "readv": lambda ctx, ev, stream: tstream_readv_send(ctx, ev, stream, [bytearray(1)]),
    "writev": lambda ctx, ev, stream: tstream_writev_send(ctx, ev, stream, [b"x"]),
    "disconnect": tstream_disconnect_send,
    "monitor": tstream_monitor_send,
    "pdu": lambda ctx, ev, stream: tstream_readv_pdu_send(ctx, ev, stream, LengthPrefixed().next_vector, None),
}
EACH_SEND = pytest.mark.parametrize("send", SENDS.values(), ids=SENDS)

RECVS = {
    "readv": tstream_readv_recv,
    "writev": tstream_writev_recv,
    "disconnect": tstream_disconnect_recv,
    "monitor": tstream_monitor_recv,
    "pdu": tstream_readv_pdu_recv,
    "pdu_queue": tstream_readv_pdu_queue_recv,
    "writev_queue": tstream_writev_queue_recv,
    "simple": tsocket_simple_int_recv,
    "tcp": lambda req: tstream_inet_tcp_connect_recv(req, None),
    "unix": lambda req: tstream_unix_connect_recv(req, None),
}
EACH_RECV = pytest.mark.parametrize("recv", RECVS.values(), ids=RECVS)

STRANGERS = [3, "text", b"bytes", object(), [], tstream_context]


class Impostor:
    """An object that answers to every attribute."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *args: object) -> Any:
        return self


class TestWrongTypes:
    @EACH_SEND
    @pytest.mark.parametrize("stream", [None, *STRANGERS, Impostor()], ids=lambda x: type(x).__name__)
    def test_a_stream_is_needed(self, top, loop, send, stream):
        """None where C would crash, and anything else that is no stream."""
        blocks = talloc_total_blocks(top)
        with pytest.raises(TypeError):
            send(top, loop.ev, stream)
        assert talloc_total_blocks(top) == blocks

    @EACH_SEND
    @pytest.mark.parametrize("ev", [None, *STRANGERS, Impostor()], ids=lambda x: type(x).__name__)
    def test_an_event_context_is_needed(self, top, unix, send, ev):
        """The stream is free afterwards."""
        blocks = talloc_total_blocks(top)
        with pytest.raises(TypeError):
            send(top, ev, unix.stream)
        assert talloc_total_blocks(top) == blocks
        assert tevent_req_is_in_progress(send(top, Loop(top).ev, unix.stream))

    @EACH_SEND
    @pytest.mark.parametrize("ctx", STRANGERS, ids=lambda x: type(x).__name__)
    def test_an_owner_is_a_chunk_or_none(self, loop, unix, send, ctx):
        """The stream is free afterwards."""
        with pytest.raises(TypeError):
            send(ctx, loop.ev, unix.stream)
        req = send(None, loop.ev, unix.stream)
        assert tevent_req_is_in_progress(req)
        talloc_free(req)

    @EACH_RECV
    @pytest.mark.parametrize("req", [None, *STRANGERS, Impostor()], ids=lambda x: type(x).__name__)
    def test_a_request_is_needed(self, recv, req):
        """None and strangers are TypeErrors."""
        with pytest.raises(TypeError):
            recv(req)

    @EACH_RECV
    def test_another_chunk_is_no_request(self, top, unix, recv):
        """A stream is not a request."""
        with pytest.raises(TypeError):
            recv(unix.stream)

    @pytest.mark.parametrize("switch", [tstream_bsd_optimize_readv, tstream_bsd_fail_readv_first_error])
    @pytest.mark.parametrize("stream", [None, *STRANGERS], ids=lambda x: type(x).__name__)
    def test_switches_need_a_stream(self, switch, stream):
        """TypeError."""
        with pytest.raises(TypeError):
            switch(stream, True)

    def test_an_event_context_that_is_a_stream(self, top, loop, unix):
        """The message says what was given and what is needed."""
        with pytest.raises(TypeError, match=r"tevent_context.*tstream_context"):
            tstream_readv_send(top, unix.stream, unix.stream, [bytearray(1)])

    def test_a_stream_that_is_a_context(self, top, loop):
        """The same the other way round."""
        with pytest.raises(TypeError, match=r"tstream_context.*tevent_context"):
            tstream_readv_send(top, loop.ev, loop.ev, [bytearray(1)])

    @pytest.mark.parametrize("connect", [tstream_inet_tcp_connect_send, tstream_unix_connect_send])
    @pytest.mark.parametrize("wrong", [None, *STRANGERS], ids=lambda x: type(x).__name__)
    def test_connect_needs_addresses(self, top, loop, connect, wrong):
        """Both of them, and leaves no descriptor."""
        _, addr = tsocket_address_inet_from_strings(top, "ip", None, 0)
        before = open_fds()
        with pytest.raises(TypeError):
            connect(top, loop.ev, wrong, addr)
        with pytest.raises(TypeError):
            connect(top, loop.ev, addr, wrong)
        with pytest.raises(TypeError):
            connect(top, None, addr, addr)
        assert open_fds() == before


class TestVectors:
    @pytest.mark.parametrize("item", [b"read-only", memoryview(b"x"), iovec(b"abc", 3)])
    def test_reads_need_writable_buffers(self, top, loop, unix, item):
        """A read-only buffer is a TypeError in ``_send``, alone or beside others."""
        blocks = talloc_total_blocks(top)
        for vector in ([item], [bytearray(1), item], [item, bytearray(1)]):
            with pytest.raises(TypeError):
                tstream_readv_send(top, loop.ev, unix.stream, vector)
        assert talloc_total_blocks(top) == blocks
        assert tevent_req_is_in_progress(readv(loop, top, unix.stream, bytearray(1)))

    @pytest.mark.parametrize("send", [tstream_readv_send, tstream_writev_send])
    def test_buffers_must_be_contiguous(self, top, loop, unix, send):
        """Every second byte of a buffer cannot be handed to the kernel."""
        view = memoryview(bytearray(10))[::2]
        for vector in ([view], [bytearray(1), view], [iovec(view, 5)]):
            with pytest.raises(TypeError):
                send(top, loop.ev, unix.stream, vector)

    @pytest.mark.parametrize("send", [tstream_readv_send, tstream_writev_send])
    @pytest.mark.parametrize("item", ["text", 3, None, object(), [bytearray(1)], 1.5], ids=str)
    def test_elements_are_buffers(self, top, loop, unix, send, item):
        """Anything else in a vector is a TypeError; the stream is free."""
        blocks = talloc_total_blocks(top)
        with pytest.raises(TypeError):
            send(top, loop.ev, unix.stream, [bytearray(1), item])
        assert talloc_total_blocks(top) == blocks
        assert tevent_req_is_in_progress(send(top, loop.ev, unix.stream, [bytearray(1)]))

    @pytest.mark.parametrize("send", [tstream_readv_send, tstream_writev_send])
    @pytest.mark.parametrize("vector", [3, object(), 1.5, iter([bytearray(1)])], ids=str)
    def test_a_vector_is_a_sequence(self, top, loop, unix, send, vector):
        """No sequence, no vector."""
        with pytest.raises(TypeError):
            send(top, loop.ev, unix.stream, vector)

    @pytest.mark.parametrize("send", [tstream_readv_send, tstream_writev_send])
    def test_a_bare_buffer_is_no_vector(self, top, loop, unix, send):
        """A forgotten pair of brackets is told, not taken for a list of numbers."""
        with pytest.raises(TypeError):
            send(top, loop.ev, unix.stream, bytearray(3))

    @pytest.mark.parametrize("send", [tstream_readv_send, tstream_writev_send])
    def test_text_is_no_vector(self, top, loop, unix, send):
        """Nor is a string."""
        with pytest.raises(TypeError):
            send(top, loop.ev, unix.stream, "text")

    @pytest.mark.parametrize("send", [tstream_readv_send, tstream_writev_send])
    @pytest.mark.parametrize(("base", "size"), [(bytearray(3), 4), (bytearray(3), -1), (None, 1)])
    def test_iov_len_must_fit(self, top, loop, unix, send, base, size):
        """Beyond its buffer C would read what is there; here it is an error, at the latest in ``_send``."""
        with pytest.raises((TypeError, ValueError)):
            send(top, loop.ev, unix.stream, [iovec(base, size)])

    @pytest.mark.parametrize("send", [tstream_readv_send, tstream_writev_send])
    def test_a_released_memoryview(self, top, loop, unix, send):
        """It has no buffer any more."""
        view = memoryview(bytearray(3))
        view.release()
        with pytest.raises((TypeError, ValueError)):
            send(top, loop.ev, unix.stream, [view])
        assert tevent_req_is_in_progress(send(top, loop.ev, unix.stream, [bytearray(1)]))

    def test_a_buffer_resized_while_it_is_read_into(self, top, loop, unix):
        """Either the resizing fails, or the read does; nothing is written outside the buffer and the loop goes on."""
        buf = bytearray(100)
        req = readv(loop, top, unix.stream, buf)
        seen = loop.watch(req, tstream_readv_recv)
        unix.peer.send(b"x" * 100)
        try:
            del buf[10:]
        except BufferError:
            loop.settle()
            assert seen.result == (100, 0)
        else:
            loop.settle()
            assert seen.calls <= 1
            assert len(buf) == 10


class TestFreedChunks:
    @EACH_SEND
    def test_freed_stream(self, top, loop, unix, send):
        """The abort names the stream and where it was freed; no request remains."""
        talloc_free(unix.stream)
        blocks = talloc_total_blocks(top)
        with pytest.raises(talloc_abort_error) as caught:
            send(top, loop.ev, unix.stream)
        assert "tstream_context" in str(caught.value)
        assert talloc_total_blocks(top) == blocks

    @EACH_SEND
    def test_freed_event_context(self, top, unix, send):
        """No request remains, the stream is free."""
        loop = Loop(top)
        talloc_free(loop.ev)
        blocks = talloc_total_blocks(top)
        with pytest.raises(talloc_abort_error, match="access after free"):
            send(top, loop.ev, unix.stream)
        assert talloc_total_blocks(top) == blocks
        assert tevent_req_is_in_progress(send(top, Loop(top).ev, unix.stream))

    @EACH_SEND
    def test_freed_owner(self, top, loop, unix, send):
        """A request cannot be made below a freed chunk."""
        owner = talloc_new(top)
        talloc_free(owner)
        with pytest.raises(talloc_abort_error, match="access after free"):
            send(owner, loop.ev, unix.stream)
        assert tevent_req_is_in_progress(send(top, loop.ev, unix.stream))

    @EACH_RECV
    def test_freed_request(self, top, loop, unix, recv):
        """The abort names the request."""
        req = readv(loop, top, unix.stream, bytearray(1))
        talloc_free(req)
        with pytest.raises(talloc_abort_error, match="access after free") as caught:
            recv(req)
        assert "tevent_req" in str(caught.value)

    def test_the_message_tells_where_it_was_freed(self, top, loop, unix):
        """File and line of the free."""
        line = sys._getframe().f_lineno + 1
        talloc_free(unix.stream)
        messages: list[str] = []
        talloc_set_log_fn(messages.append)
        try:
            with pytest.raises(talloc_abort_error) as caught:
                readv(loop, top, unix.stream, bytearray(1))
        finally:
            talloc_set_log_fn(None)
        assert f"{Path(__file__).name}:{line}" in str(caught.value) + "".join(messages)

    def test_an_abort_function_that_returns(self, top, loop, unix):
        """The call then gives its failure value and does nothing."""
        talloc_free(unix.stream)
        reasons: list[str] = []
        talloc_set_abort_fn(reasons.append)
        try:
            for send in SENDS.values():
                assert send(top, loop.ev, unix.stream) is None
            assert tstream_pending_bytes(unix.stream) == -1
            assert tstream_bsd_optimize_readv(unix.stream, True) is False
        finally:
            talloc_set_abort_fn(None)
        assert len(reasons) == 7
        assert set(reasons) == {"Bad talloc magic value - access after free"}

    def test_an_abort_function_that_returns_on_a_wrong_recv(self, top, loop, unix):
        """A request of another kind is EIO, and stays as it was."""
        req = readv(loop, top, unix.stream, bytearray(1))
        reasons: list[str] = []
        talloc_set_abort_fn(reasons.append)
        try:
            for recv in (tstream_writev_recv, tstream_monitor_recv, tstream_readv_pdu_recv, tstream_writev_queue_recv):
                assert recv(req)[0] == -1
        finally:
            talloc_set_abort_fn(None)
        assert len(reasons) == 4
        assert all("Type mismatch" in reason and "tstream_readv_state" in reason for reason in reasons)
        assert tevent_req_is_in_progress(req)

    def test_double_free_of_a_request(self, top, loop, unix):
        """The second free aborts."""
        req = readv(loop, top, unix.stream, bytearray(1))
        talloc_free(req)
        with pytest.raises(talloc_abort_error):
            talloc_free(req)


class TestDescriptors:
    def test_closed_behind_the_streams_back(self, top, loop, unix):
        """Reads and writes give EBADF or wait for ever, nothing crashes, and other streams work."""
        reading = loop.watch(readv(loop, top, unix.stream, bytearray(1)), tstream_readv_recv)
        os.close(unix.fd)
        writing = loop.watch(writev(loop, top, unix.stream, b"x"), tstream_writev_recv)
        loop.settle()
        assert writing.result == (-1, EBADF)
        assert reading.calls <= 1
        assert talloc_free(unix.stream) == 0
        _, one, two = tstream_unix_socketpair(top, top)
        assert write_now(loop, one, b"x") == (1, 0)
        assert read_now(loop, two, 1) == ((1, 0), b"x")

    def test_closed_and_reused_by_another_stream(self, top, loop, unix):
        """The new owner of the number gets its events after the old stream is gone."""
        loop.watch(readv(loop, top, unix.stream, bytearray(1)))
        spare, peer = socket.socketpair()
        with peer:
            os.dup2(spare.fileno(), unix.fd)
            spare.close()
            assert loop.settle() <= 1
            talloc_free(unix.stream)
            assert loop.settle() == 0

    def test_a_directory(self, top, loop, tmp_path):
        """It cannot be read: EISDIR."""
        _, stream = tstream_bsd_existing_socket(top, os.open(tmp_path, os.O_RDONLY))
        tstream_bsd_optimize_readv(stream, True)
        assert read_now(loop, stream, 1)[0] == (-1, EISDIR)

    def test_a_listening_socket(self, top, loop):
        """Neither readable nor writable as a stream."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            _, stream = tstream_bsd_existing_socket(top, listener.detach())
            tstream_bsd_optimize_readv(stream, True)
            assert write_now(loop, stream, b"x") == (-1, EPIPE)
            assert read_now(loop, stream, 1)[0][0] == -1

    def test_an_event_descriptor(self, top, loop):
        """A write of a wrong size is EINVAL, from the kernel."""
        _, stream = tstream_bsd_existing_socket(top, os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))
        assert write_now(loop, stream, b"x") == (-1, EINVAL)

    def test_an_epoll_descriptor(self, top, loop):
        """It cannot be written at all."""
        with select.epoll() as other:
            _, stream = tstream_bsd_existing_socket(top, os.dup(other.fileno()))
        assert write_now(loop, stream, b"x") == (-1, EINVAL)

    def test_huge_and_negative_numbers(self, top, loop):
        """They are no descriptors."""
        for fd in (2**31 - 1, -2, -1000):
            ret, stream = tstream_bsd_existing_socket(top, fd)
            assert ret == 0
            assert write_now(loop, stream, b"x")[0] == -1
            assert talloc_free(stream) == 0


class TestMisbehavingCallbacks:
    @pytest.mark.parametrize("victim", ["request", "stream", "owner", "parent of all"])
    @pytest.mark.parametrize("kind", ["readv", "writev", "disconnect", "pdu", "refused"])
    def test_they_may_free_anything(self, top, loop, kind, victim):
        """Request, stream, the request's owner, or all at once; no descriptor is left, the loop goes on."""
        before = open_fds()
        everything = talloc_new(top)
        owner = talloc_new(everything)
        sock, peer = socket.socketpair()
        with peer:
            wire = Wire(everything, sock, peer)
            req = {
                "readv": lambda: readv(loop, owner, wire.stream, bytearray(1)),
                "writev": lambda: writev(loop, owner, wire.stream, b"x"),
                "disconnect": lambda: disconnect(loop, owner, wire.stream),
                "pdu": lambda: pdu(loop, owner, wire.stream, LengthPrefixed().next_vector),
                "refused": lambda: writev(loop, owner, wire.stream),
            }[kind]()
            chunk = {"request": req, "stream": wire.stream, "owner": owner, "parent of all": everything}[victim]
            seen = loop.watch(req, then=lambda _: talloc_free(chunk))
            if kind != "disconnect":
                peer.send(framed(b"x"))
            loop.settle()
            assert seen.calls == 1
        talloc_free(everything) if victim != "parent of all" else None
        assert open_fds() == before
        assert loop.settle() == 0

    @pytest.mark.parametrize("kind", ["readv", "writev", "refused", "queue"])
    def test_they_may_free_the_event_context(self, top, kind):
        """The loop call says so, or ends; the stream can be freed and no descriptor is left."""
        before = open_fds()
        owner = talloc_new(top)
        loop = Loop(owner)
        sock, peer = socket.socketpair()
        with peer:
            wire = Wire(owner, sock, peer)
            req = {
                "readv": lambda: readv(loop, owner, wire.stream, bytearray(1)),
                "writev": lambda: writev(loop, owner, wire.stream, b"x"),
                "refused": lambda: writev(loop, owner, wire.stream),
                "queue": lambda: tstream_writev_queue_send(
                    owner, loop.ev, wire.stream, tevent_queue_create(owner, "q"), [b"x"]
                ),
            }[kind]()
            seen = loop.watch(req, then=lambda _: talloc_free(loop.ev))
            peer.send(b"x")
            with pytest.raises(tevent_abort_error):
                loop.turn()
            assert seen.calls == 1
            assert talloc_free(req) == 0
            assert talloc_free(owner) == 0
        assert open_fds() == before

    def test_a_callback_that_loops_again_is_refused(self, top, loop, unix):
        """Nesting is an abort; the outer loop goes on."""
        errors: list[BaseException] = []

        def nested(_: tevent_req) -> None:
            try:
                tevent_loop_once(loop.ev)
            except tevent_abort_error as error:
                errors.append(error)

        seen = loop.watch(writev(loop, top, unix.stream, b"x"), then=nested)
        loop.settle()
        assert seen.calls == 1
        assert len(errors) == 1
        assert write_now(loop, unix.stream, b"y") == (1, 0)

    def test_a_callback_that_frees_its_request_and_raises(self, top, loop, unix):
        """The exception leaves the loop, the request is gone."""
        req = writev(loop, top, unix.stream, b"x")

        def fail(subreq: tevent_req) -> None:
            talloc_free(subreq)
            raise ZeroDivisionError

        tevent_req_set_callback(req, fail, None)
        with pytest.raises(ZeroDivisionError):
            loop.settle()
        with pytest.raises(talloc_abort_error):
            tstream_writev_recv(req)
        assert write_now(loop, unix.stream, b"y") == (1, 0)

    def test_a_callback_that_frees_the_stream_and_raises(self, top, loop, unix):
        """Nothing is left of the stream."""
        req = readv(loop, top, unix.stream, bytearray(1))

        def fail(subreq: tevent_req) -> None:
            talloc_free(unix.stream)
            raise ZeroDivisionError

        tevent_req_set_callback(req, fail, None)
        unix.peer.send(b"x")
        with pytest.raises(ZeroDivisionError):
            loop.settle()
        assert not is_open(unix.fd)
        assert loop.settle() == 0

    def test_a_destructor_that_raises_does_not_stop_the_free(self, top, loop, unix, monkeypatch):
        """It is reported, the stream goes and its descriptor with it."""
        reported: list[Any] = []
        monkeypatch.setattr(sys, "unraisablehook", reported.append)

        def fail(_: object) -> int:
            raise ZeroDivisionError

        owner = talloc_new(top)
        talloc_set_destructor(owner, fail)
        talloc_steal(owner, unix.stream)
        assert talloc_free(owner) == 0
        assert len(reported) == 1
        assert not is_open(unix.fd)

    def test_a_user_destructor_on_a_request(self, top, loop, unix):
        """It takes the place of the request's own; a veto there keeps the request."""
        req = writev(loop, top, unix.stream, b"x")
        loop.settle()
        talloc_set_destructor(req, lambda _: -1)
        assert talloc_free(req) == -1
        assert tstream_writev_recv(req) == (1, 0)
        assert talloc_free(req) == 0


class TestMaking:
    @pytest.mark.parametrize("wrong", STRANGERS, ids=lambda x: type(x).__name__)
    def test_socketpairs_need_contexts(self, top, wrong):
        """TypeError for either of the two, and nothing is left."""
        before = open_fds()
        blocks = talloc_total_blocks(top)
        for contexts in ((wrong, top), (top, wrong)):
            with pytest.raises(TypeError):
                tstream_unix_socketpair(*contexts)
        assert open_fds() == before
        assert talloc_total_blocks(top) == blocks

    def test_socketpairs_on_freed_contexts(self, top):
        """The abort function is asked, and nothing is left."""
        gone = talloc_new(top)
        talloc_free(gone)
        before = open_fds()
        blocks = talloc_total_blocks(top)
        for contexts in ((gone, top), (top, gone)):
            with pytest.raises(talloc_abort_error):
                tstream_unix_socketpair(*contexts)
        assert open_fds() == before
        assert talloc_total_blocks(top) == blocks

    @pytest.mark.parametrize("wrong", STRANGERS, ids=lambda x: type(x).__name__)
    def test_an_existing_socket_needs_a_context(self, wrong):
        """TypeError; the descriptor stays the caller's."""
        sock, peer = socket.socketpair()
        with sock, peer:
            with pytest.raises(TypeError):
                tstream_bsd_existing_socket(wrong, sock.fileno())
            assert is_open(sock.fileno())

    def test_streams_are_not_made_by_calling_the_class(self):
        """TypeError."""
        with pytest.raises(TypeError):
            tstream_context()

    def test_copies_of_a_stream_are_no_streams(self, top, loop, unix):
        """A copied object is no chunk; the descriptor stays with the original."""
        try:
            other = copy.copy(unix.stream)
        except TypeError:
            return
        with pytest.raises((TypeError, talloc_abort_error)):
            readv(loop, top, other, bytearray(1))
        assert write_now(loop, unix.stream, b"x") == (1, 0)

    def test_what_a_stream_looks_like(self, top, loop, unix):
        """Its representation tells what is outstanding, and that it was freed."""
        assert "idle" in repr(unix.stream)
        readv(loop, top, unix.stream, bytearray(1))
        writev(loop, top, unix.stream, BIG)
        assert "read+write" in repr(unix.stream)
        talloc_free(unix.stream)
        assert "freed" in repr(unix.stream)

    def test_connect_recv_on_a_wrong_context_can_be_repeated(self, top, loop, tmp_path):
        """A TypeError leaves the request as it was."""
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "s"))
            listener.listen()
            _, local = tsocket_address_unix_from_path(top, "")
            _, remote = tsocket_address_unix_from_path(top, str(tmp_path / "s"))
            req = tstream_unix_connect_send(top, loop.ev, local, remote)
            with pytest.raises(TypeError):
                tstream_unix_connect_recv(req, "wrong")
            ret, err, stream = tstream_unix_connect_recv(req, top)
            assert (ret, err) == (0, 0)
            assert write_now(loop, stream, b"x") == (1, 0)
