# SPDX-License-Identifier: LGPL-3.0-or-later
"""Named pipes over SMB, over a scripted server and over a real one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from errno import EIO, ENOTCONN, EPIPE
from typing import Any

import pytest
from smb_pipes import smb_pair

from talloc_py import TALLOC_CTX, talloc_free, talloc_new, talloc_parent, talloc_zero
from tevent import (
    NT_STATUS_ACCESS_DENIED,
    NT_STATUS_CONNECTION_DISCONNECTED,
    NT_STATUS_OK,
    NT_STATUS_PIPE_BUSY,
    STATUS_BUFFER_OVERFLOW,
    get_errno,
    tevent_context,
    tevent_context_init,
    tevent_loop_once,
    tevent_req,
    tevent_req_create,
    tevent_req_data,
    tevent_req_done,
    tevent_req_is_in_progress,
    tevent_req_poll,
    tevent_req_set_callback,
)
from tsocket import (
    FSCTL_NAMED_PIPE_READ_WRITE,
    dcerpc_binding_handle_raw_call_recv,
    dcerpc_binding_handle_raw_call_send,
    smbXcli_conn,
    smbXcli_conn_from_smbprotocol,
    smbXcli_conn_is_connected,
    tstream_binding_handle_create,
    tstream_context,
    tstream_disconnect_recv,
    tstream_disconnect_send,
    tstream_full_request_u32,
    tstream_is_smbXcli_np,
    tstream_pending_bytes,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_smbXcli_np_open_recv,
    tstream_smbXcli_np_open_send,
    tstream_smbXcli_np_set_max_data,
    tstream_smbXcli_np_set_timeout,
    tstream_smbXcli_np_use_trans,
    tstream_unix_socketpair,
    tstream_writev_recv,
    tstream_writev_send,
)
from tsocket.testing import TSTREAM_CHECKS, check_tstream, stream_traits

FAILED = NT_STATUS_ACCESS_DENIED


class call_state(TALLOC_CTX):
    """A call that waits for the script."""

    name: str
    args: tuple[Any, ...]
    answer: Any


class scripted(smbXcli_conn):
    """A connection whose calls are answered by the test."""

    calls: list[tevent_req]
    alive: bool

    def is_connected(self) -> bool:
        return self.alive

    def begin(self, name: str, mem_ctx: TALLOC_CTX, *args: Any) -> tevent_req:
        """A call."""
        req, state = tevent_req_create(mem_ctx, call_state)
        assert req is not None
        state.name, state.args = name, args
        self.calls.append(req)
        return req

    def end(self, req: tevent_req) -> Any:
        """Its answer."""
        from tevent import tevent_req_data

        return tevent_req_data(req, call_state).answer

    def create_send(self, mem_ctx: Any, ev: Any, timeout: int, session: Any, tcon: Any, *args: Any) -> Any:
        return self.begin("create", mem_ctx, timeout, *args)

    def close_send(self, mem_ctx: Any, ev: Any, timeout: int, session: Any, tcon: Any, *args: Any) -> Any:
        return self.begin("close", mem_ctx, timeout, *args)

    def read_send(self, mem_ctx: Any, ev: Any, timeout: int, session: Any, tcon: Any, *args: Any) -> Any:
        return self.begin("read", mem_ctx, timeout, *args)

    def write_send(self, mem_ctx: Any, ev: Any, timeout: int, session: Any, tcon: Any, *args: Any) -> Any:
        return self.begin("write", mem_ctx, timeout, *args)

    def ioctl_send(self, mem_ctx: Any, ev: Any, timeout: int, session: Any, tcon: Any, *args: Any) -> Any:
        return self.begin("ioctl", mem_ctx, timeout, *args)

    def create_recv(self, req: Any) -> Any:
        return self.end(req)

    def close_recv(self, req: Any) -> Any:
        return self.end(req)

    def read_recv(self, req: Any, mem_ctx: Any) -> Any:
        return self.end(req)

    def write_recv(self, req: Any) -> Any:
        return self.end(req)

    def ioctl_recv(self, req: Any, mem_ctx: Any) -> Any:
        return self.end(req)


class Bench:
    """A loop, a scripted connection, and a pipe over it."""

    def __init__(self) -> None:
        self.top = talloc_new(None)
        self.ev: tevent_context = tevent_context_init(self.top)
        self.conn = talloc_zero(self.top, scripted)
        self.conn.calls = []
        self.conn.alive = True
        self.session, self.tcon = talloc_new(self.top), talloc_new(self.top)
        req = self.open()
        assert self.answer((NT_STATUS_OK, 7, 9)) == (
            "create",
            (5000, "srvsvc", 2, 0x2019F, 0, 3, 1, 0),
        )
        status, stream = self.wait(req, tstream_smbXcli_np_open_recv, self.top)
        assert status == NT_STATUS_OK
        assert talloc_parent(stream) is self.top
        self.stream: tstream_context = stream

    def open(self) -> tevent_req:
        """Start to open a pipe."""
        req = tstream_smbXcli_np_open_send(self.top, self.ev, self.conn, self.session, self.tcon, 0, 5000, "\\srvsvc")
        assert req is not None
        return req

    def answer(self, answer: Any) -> tuple[str, tuple[Any, ...]]:
        """Answer the oldest call; gives what it was."""
        from tevent import tevent_req_data

        req = self.conn.calls.pop(0)
        state = tevent_req_data(req, call_state)
        state.answer = answer
        what = state.name, state.args
        tevent_req_done(req)
        return what

    def wait(self, req: tevent_req, recv: Callable[..., Any], *args: Any) -> Any:
        """What *req* ends with."""
        assert tevent_req_poll(req, self.ev)
        result = recv(req, *args)
        talloc_free(req)
        return result

    def read(self, size: int) -> tuple[tevent_req, bytearray]:
        """Start a read."""
        buf = bytearray(size)
        req = tstream_readv_send(self.top, self.ev, self.stream, [buf])
        assert req is not None
        return req, buf

    def write(self, *parts: bytes) -> tevent_req:
        """Start a write."""
        req = tstream_writev_send(self.top, self.ev, self.stream, list(parts))
        assert req is not None
        return req

    def drain(self) -> None:
        """Run what is ready."""
        while self.ev.immediate_events:
            tevent_loop_once(self.ev)


@pytest.fixture(name="bench")
def new_bench() -> Iterator[Bench]:
    """A bench with an open pipe."""
    bench = Bench()
    yield bench
    bench.conn.alive = False
    talloc_free(bench.top)


@pytest.mark.parametrize("name", TSTREAM_CHECKS)
def test_conformance(name: str) -> None:
    """A pipe over SMB does what every stream must do."""
    check_tstream(smb_pair, traits=stream_traits(pending_before_read=False), only=name)


class TestOpen:
    def test_status_of_the_create(self, bench: Bench) -> None:
        """Is the result."""
        req = bench.open()
        bench.answer((FAILED, 0, 0))
        assert bench.wait(req, tstream_smbXcli_np_open_recv, bench.top) == (FAILED, None)

    def test_not_connected(self, bench: Bench) -> None:
        """Is said from the loop."""
        bench.conn.alive = False
        assert bench.wait(bench.open(), tstream_smbXcli_np_open_recv, bench.top) == (
            NT_STATUS_CONNECTION_DISCONNECTED,
            None,
        )
        assert not smbXcli_conn_is_connected(bench.conn)
        assert not smbXcli_conn_is_connected(None)

    def test_smb1(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        """Is not spoken."""
        monkeypatch.setattr(scripted, "protocol", lambda self: 6)
        assert bench.wait(bench.open(), tstream_smbXcli_np_open_recv, bench.top) == (0xC00000BB, None)

    def test_what_it_is(self, bench: Bench) -> None:
        """A pipe is known as one."""
        _, other, _ = tstream_unix_socketpair(bench.top, bench.top)
        assert tstream_is_smbXcli_np(bench.stream)
        assert not tstream_is_smbXcli_np(other)
        assert tstream_smbXcli_np_set_timeout(bench.stream, 10) == 5000
        assert tstream_smbXcli_np_set_timeout(bench.stream, 20) == 10

    def test_bad_arguments(self, bench: Bench) -> None:
        """Are named at once."""
        with pytest.raises(TypeError, match="conn"):
            tstream_smbXcli_np_open_send(bench.top, bench.ev, bench.top, None, None, 0, 0, "x")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="max_data"):
            tstream_smbXcli_np_set_max_data(bench.stream, 0)


class TestWrite:
    def test_in_pieces(self, bench: Bench) -> None:
        """Of the size that was set, one after the other."""
        tstream_smbXcli_np_set_max_data(bench.stream, 4)
        req = bench.write(b"abc", b"defgh", b"i")
        for data in (b"abcd", b"efgh", b"i"):
            assert bench.answer((NT_STATUS_OK, len(data))) == ("write", (5000, 0, 7, 9, 0, 0, data))
        assert bench.wait(req, tstream_writev_recv) == (9, 0)

    @pytest.mark.parametrize(("answer", "error"), [((FAILED, 0), EPIPE), ((NT_STATUS_OK, 2), EIO)])
    def test_failure_closes(self, bench: Bench, answer: Any, error: int) -> None:
        """The file is closed first, and the stream is disconnected then."""
        req = bench.write(b"abc")
        bench.answer(answer)
        assert tevent_req_is_in_progress(req)
        assert bench.answer(FAILED)[0] == "close"
        assert bench.wait(req, tstream_writev_recv) == (-1, error)
        assert bench.wait(bench.write(b"x"), tstream_writev_recv) == (-1, ENOTCONN)
        assert tstream_pending_bytes(bench.stream) == -1
        assert get_errno() == ENOTCONN


class TestRead:
    def test_rest_of_an_answer(self, bench: Bench) -> None:
        """Is pending; more is asked for when it is used up. An overflow is good data."""
        req, buf = bench.read(2)
        assert bench.answer((STATUS_BUFFER_OVERFLOW, b"abcde")) == ("read", (5000, 4280, 0, 7, 9, 0, 0))
        assert bench.wait(req, tstream_readv_recv) == (2, 0)
        assert tstream_pending_bytes(bench.stream) == 3
        req, more = bench.read(4)
        bench.answer((NT_STATUS_OK, b"fg"))
        assert bench.wait(req, tstream_readv_recv) == (4, 0)
        assert (buf, more) == (b"ab", b"cdef")

    @pytest.mark.parametrize(
        ("answer", "error"), [((FAILED, None), EPIPE), ((NT_STATUS_OK, b""), EPIPE), ((NT_STATUS_OK, bytes(4281)), EIO)]
    )
    def test_failure_closes(self, bench: Bench, answer: Any, error: int) -> None:
        """The file is closed first."""
        req, _ = bench.read(1)
        bench.answer(answer)
        assert bench.answer(NT_STATUS_OK)[0] == "close"
        assert bench.wait(req, tstream_readv_recv) == (-1, error)


class TestTransact:
    @pytest.mark.parametrize("read_first", [True, False])
    def test_one_call_for_both(self, bench: Bench, read_first: bool) -> None:
        """Whichever half comes first; the write is over first."""
        tstream_smbXcli_np_set_max_data(bench.stream, 4)
        assert tstream_smbXcli_np_use_trans(bench.stream) == NT_STATUS_OK
        assert tstream_smbXcli_np_use_trans(bench.stream) == NT_STATUS_PIPE_BUSY
        log: list[str] = []
        if read_first:
            reading, buf = bench.read(6)
        writing = bench.write(b"abcdef")
        assert bench.answer((NT_STATUS_OK, 4))[0] == "write"
        if not read_first:
            assert bench.conn.calls == []
            assert tstream_smbXcli_np_use_trans(bench.stream) == NT_STATUS_PIPE_BUSY
            reading, buf = bench.read(6)
        tevent_req_set_callback(writing, lambda req: log.append("write"), None)
        tevent_req_set_callback(reading, lambda req: log.append("read"), None)
        assert bench.answer((STATUS_BUFFER_OVERFLOW, None, b"answ")) == (
            "ioctl",
            (5000, 7, 9, FSCTL_NAMED_PIPE_READ_WRITE, 0, b"ef", 4, None, 1),
        )
        assert log == ["write"]
        bench.drain()
        assert bench.answer((NT_STATUS_OK, b"er"))[0] == "read"
        assert log == ["write", "read"]
        assert bench.wait(writing, tstream_writev_recv) == (6, 0)
        assert bench.wait(reading, tstream_readv_recv) == (6, 0)
        assert buf == b"answer"

    def test_failure(self, bench: Bench) -> None:
        """Both fail with the same errno, the write first."""
        tstream_smbXcli_np_use_trans(bench.stream)
        writing, (reading, _) = bench.write(b"x"), bench.read(1)
        bench.answer((FAILED, None, None))
        assert not tevent_req_is_in_progress(writing)
        assert tevent_req_is_in_progress(reading)
        assert bench.wait(writing, tstream_writev_recv) == (-1, EPIPE)
        assert bench.wait(reading, tstream_readv_recv) == (-1, EPIPE)
        assert bench.answer(NT_STATUS_OK)[0] == "close"

    def test_a_half_that_is_freed(self, bench: Bench) -> None:
        """Is forgotten: the next of its kind is an ordinary one."""
        tstream_smbXcli_np_use_trans(bench.stream)
        talloc_free(bench.write(b"x"))
        reading, _ = bench.read(1)
        assert bench.answer((NT_STATUS_OK, b"y"))[0] == "read"
        assert bench.wait(reading, tstream_readv_recv) == (1, 0)

    def test_a_handle_does_so(self, bench: Bench) -> None:
        """A raw call over a pipe is one call on the wire."""
        h = tstream_binding_handle_create(bench.top, None, bench.stream, 4, tstream_full_request_u32, None, 100)
        req = dcerpc_binding_handle_raw_call_send(bench.top, bench.ev, h, None, 0, 0, b"question")
        assert bench.answer((NT_STATUS_OK, None, b"\0\0\0\x02ok")) == (
            "ioctl",
            (5000, 7, 9, FSCTL_NAMED_PIPE_READ_WRITE, 0, b"question", 100, None, 1),
        )
        assert bench.wait(req, dcerpc_binding_handle_raw_call_recv, bench.top) == (NT_STATUS_OK, b"\0\0\0\x02ok", 0)


class TestEnd:
    @pytest.mark.parametrize(("status", "result"), [(NT_STATUS_OK, (0, 0)), (FAILED, (-1, EPIPE))])
    def test_disconnect(self, bench: Bench, status: int, result: Any) -> None:
        """Closes the file; from its start the stream is disconnected."""
        req = tstream_disconnect_send(bench.top, bench.ev, bench.stream)
        assert tstream_pending_bytes(bench.stream) == -1
        assert bench.answer(status) == ("close", (5000, 0, 7, 9))
        assert bench.wait(req, tstream_disconnect_recv) == result
        again = tstream_disconnect_send(bench.top, bench.ev, bench.stream)
        assert bench.wait(again, tstream_disconnect_recv) == (-1, ENOTCONN)

    def test_a_freed_disconnect_closes_all_the_same(self, bench: Bench) -> None:
        """Its close lives on below the tree connect, and is freed with its answer."""
        talloc_free(tstream_disconnect_send(bench.top, bench.ev, bench.stream))
        assert talloc_parent(bench.conn.calls[0]) is bench.tcon
        assert bench.answer(NT_STATUS_OK)[0] == "close"

    def test_freeing_it_closes_without_waiting(self, bench: Bench) -> None:
        """With a second at most."""
        talloc_free(bench.stream)
        assert bench.answer(NT_STATUS_OK) == ("close", (1000, 0, 7, 9))

    @pytest.mark.parametrize("name", ["conn", "session", "tcon"])
    def test_what_it_needs_is_freed(self, bench: Bench, name: str) -> None:
        """The stream is disconnected then."""
        talloc_free(getattr(bench, name))
        assert tstream_pending_bytes(bench.stream) == -1
        assert bench.wait(bench.write(b"x"), tstream_writev_recv) == (-1, ENOTCONN)
        talloc_free(bench.stream)


BIND = bytes.fromhex(
    "05000b03100000004800000001000000b810b810000000000100000000000100"
    "c84f324b7016d30112785a47bf6ee18803000000045d888aeb1cc9119fe808002b10486002000000"
)
BIND_ACK = 12


class TestCallsInThreads:
    @pytest.mark.parametrize("freed", ["the request", "everything"])
    def test_freed_when_the_thread_has_told_the_loop(self, freed: str) -> None:
        """A call whose thread is done may be freed before the loop has noticed."""
        pytest.importorskip("smbprotocol")
        from tsocket._smbprotocol import _call_send, smbprotocol_call_state

        top = talloc_new(None)
        ev = tevent_context_init(top)
        assert ev is not None
        req = _call_send(top, ev, lambda: "an answer")
        assert req is not None
        for thread in threading.enumerate():
            if thread.name == "SMB call":
                thread.join()
        job = tevent_req_data(req, smbprotocol_call_state).job
        assert job is not None
        assert job.im.threaded
        if freed == "the request":
            assert talloc_free(req) == 0
            assert not ev.immediate_events
        assert talloc_free(top) == 0


@pytest.mark.peer
class TestRealServer:
    """With Debian's smbd, by smbprotocol."""

    @pytest.fixture(name="tree")
    def new_tree(self, samba_file_server: dict[str, str]) -> Iterator[Any]:
        """A connection, a session and a tree connect."""
        pytest.importorskip("smbprotocol")
        import uuid

        import smbprotocol.connection
        import smbprotocol.session
        import smbprotocol.tree

        host = samba_file_server["PEER_ADDRESS"]
        connection = smbprotocol.connection.Connection(uuid.uuid4(), host, 445)
        connection.connect()
        session = smbprotocol.session.Session(
            connection, samba_file_server["PEER_USER"], samba_file_server["PEER_PASSWORD"]
        )
        session.connect()
        tree = smbprotocol.tree.TreeConnect(session, rf"\\{host}\IPC$")
        tree.connect()
        yield connection, session, tree
        connection.disconnect(True)

    def test_a_call_to_srvsvc(self, tree: Any) -> None:
        """Opened, bound with one call on the wire, bound once more with two, and closed."""
        from tsocket import dcerpc_read_ncacn_packet_recv, dcerpc_read_ncacn_packet_send

        top = talloc_new(None)
        ev = tevent_context_init(top)

        def wait(req: tevent_req, recv: Callable[..., Any], *args: Any) -> Any:
            assert tevent_req_poll(req, ev)
            result = recv(req, *args)
            talloc_free(req)
            return result

        conn, session, tcon = smbXcli_conn_from_smbprotocol(top, *tree)
        for trans in (True, False):
            opening = tstream_smbXcli_np_open_send(top, ev, conn, session, tcon, 0, 5000, "srvsvc")
            status, stream = wait(opening, tstream_smbXcli_np_open_recv, top)
            assert status == NT_STATUS_OK
            if trans:
                assert tstream_smbXcli_np_use_trans(stream) == NT_STATUS_OK
            writing = tstream_writev_send(top, ev, stream, [BIND])
            reading = dcerpc_read_ncacn_packet_send(top, ev, stream)
            assert wait(writing, tstream_writev_recv) == (len(BIND), 0)
            status, packet, _ = wait(reading, dcerpc_read_ncacn_packet_recv, top)
            assert status == NT_STATUS_OK
            assert packet.ptype == BIND_ACK
            assert wait(tstream_disconnect_send(top, ev, stream), tstream_disconnect_recv) == (0, 0)
        talloc_free(top)

    def test_no_such_pipe(self, tree: Any) -> None:
        """The status of the server."""
        top = talloc_new(None)
        ev = tevent_context_init(top)
        req = tstream_smbXcli_np_open_send(top, ev, *smbXcli_conn_from_smbprotocol(top, *tree), 0, 5000, "nopipe")
        assert tevent_req_poll(req, ev)
        assert tstream_smbXcli_np_open_recv(req, top) == (0xC0000034, None)
        talloc_free(top)

    @pytest.fixture(name="through")
    def new_pipe_through_samba(self, tree: Any, samba_file_server: dict[str, str]) -> Iterator[Any]:
        """A pipe over SMB whose other end is ours as well: the server passes on to a socket what is written to it."""
        import pathlib
        import socket

        from tsocket import (
            tstream_bsd_existing_socket,
            tstream_npa_accept_existing_recv,
            tstream_npa_accept_existing_send,
        )

        top = talloc_new(None)
        ev = tevent_context_init(top)
        path = pathlib.Path(samba_file_server["PEER_NP_DIR"]) / "tsocketsmb"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            path.chmod(0o777)
            listener.listen()
            listener.settimeout(60)
            parts = smbXcli_conn_from_smbprotocol(top, *tree)
            opening = tstream_smbXcli_np_open_send(top, ev, *parts, 0, 60_000, "tsocketsmb")
            sock, _ = listener.accept()
            path.unlink()
        sock.setblocking(False)
        _, plain = tstream_bsd_existing_socket(top, sock.detach())
        letting_in = tstream_npa_accept_existing_send(top, ev, plain, 2, 0x5FF, 4096, level=7)
        assert tevent_req_poll(letting_in, ev)
        ret, err, far, *_ = tstream_npa_accept_existing_recv(letting_in, top)
        assert (ret, err) == (0, 0)
        assert tevent_req_poll(opening, ev)
        status, near = tstream_smbXcli_np_open_recv(opening, top)
        assert status == NT_STATUS_OK
        yield top, ev, near, far
        talloc_free(top)

    def transfer(self, through: Any, source: Any, sink: Any, data: bytes) -> None:
        """Write, and read the same."""
        top, ev, *_ = through
        buf = bytearray(len(data))
        writing = tstream_writev_send(top, ev, source, [data])
        reading = tstream_readv_send(top, ev, sink, [buf])
        for req, recv in ((writing, tstream_writev_recv), (reading, tstream_readv_recv)):
            assert tevent_req_poll(req, ev)
            assert recv(req) == (len(data), 0)
        assert buf == data

    @pytest.mark.parametrize("max_data", [1000, 4280])
    def test_messages_in_fragments(self, through: Any, max_data: int) -> None:
        """A message that is longer than one answer comes in several, each said to be a part; so does a long write."""
        _, _, near, far = through
        tstream_smbXcli_np_set_max_data(near, max_data)
        data = bytes(range(256)) * 40
        self.transfer(through, far, near, data)
        self.transfer(through, near, far, data)
        self.transfer(through, far, near, b"x")

    def test_a_server_that_takes_its_time(self, through: Any, tree: Any) -> None:
        """A read that nobody answers within the time of a call is an error, and the end of the pipe."""
        top, ev, near, _ = through
        tstream_smbXcli_np_set_timeout(near, 1)
        reading = tstream_readv_send(top, ev, near, [bytearray(1)])
        assert tevent_req_poll(reading, ev)
        assert tstream_readv_recv(reading) == (-1, EPIPE)
        assert tstream_pending_bytes(near) == -1
        # The server still waits with that read, and does not let go of a share before it has ended.
        tree[0].transport.close()

    def test_the_other_end_goes_away(self, through: Any) -> None:
        """The server says so, and the pipe ends."""
        top, ev, near, far = through
        reading = tstream_readv_send(top, ev, near, [bytearray(1)])
        leaving = tstream_disconnect_send(top, ev, far)
        assert tevent_req_poll(leaving, ev)
        assert tstream_disconnect_recv(leaving) == (0, 0)
        assert tevent_req_poll(reading, ev)
        assert tstream_readv_recv(reading) == (-1, EPIPE)

    def test_a_connection_that_breaks(self, through: Any, tree: Any) -> None:
        """So it does when the connection to the server is cut."""
        top, ev, near, _ = through
        reading = tstream_readv_send(top, ev, near, [bytearray(1)])
        tree[0].transport.close()
        assert tevent_req_poll(reading, ev)
        assert tstream_readv_recv(reading) == (-1, EPIPE)
