# SPDX-License-Identifier: LGPL-3.0-or-later
"""Named pipes between processes: messages, bytes, opening and letting in."""

from __future__ import annotations

import os
import pathlib
import socket
from collections.abc import Callable, Iterator
from errno import EACCES, ECONNREFUSED, EINVAL, EIO, EMSGSIZE, ENAMETOOLONG, ENOENT, ENOTCONN, EPIPE, EPROTONOSUPPORT
from typing import Any

import pytest

from talloc_py import TALLOC_CTX, talloc_free, talloc_new, talloc_parent
from tevent import (
    get_errno,
    tevent_context,
    tevent_context_init,
    tevent_req,
    tevent_req_is_in_progress,
    tevent_req_poll,
)
from tsocket import (
    FILE_TYPE_BYTE_MODE_PIPE,
    FILE_TYPE_MESSAGE_MODE_PIPE,
    NCACN_NP,
    NCALRPC,
    auth_session_info,
    auth_session_info_transport,
    dcerpc_transport_t,
    dom_sid_parse,
    named_pipe_auth_rep,
    named_pipe_auth_req,
    named_pipe_auth_req_info7,
    ndr_pull_named_pipe_auth_req,
    ndr_pull_struct_blob_all,
    security_token,
    tsocket_address,
    tsocket_address_inet_from_strings,
    tsocket_address_string,
    tsocket_address_unix_from_path,
    tstream_bsd_existing_socket,
    tstream_context,
    tstream_disconnect_recv,
    tstream_disconnect_send,
    tstream_monitor_recv,
    tstream_monitor_send,
    tstream_npa_accept_existing_recv,
    tstream_npa_accept_existing_send,
    tstream_npa_connect_recv,
    tstream_npa_connect_send,
    tstream_npa_existing_socket,
    tstream_npa_existing_stream,
    tstream_pending_bytes,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_unix_socketpair,
    tstream_writev_recv,
    tstream_writev_send,
)
from tsocket.testing import check_tstream, stream_traits


class Bench:
    """A loop, and a pipe with a plain stream at its other end."""

    def __init__(self, file_type: int = FILE_TYPE_MESSAGE_MODE_PIPE) -> None:
        self.top = talloc_new(None)
        self.ev: tevent_context = tevent_context_init(self.top)
        ret, plain, self.far = tstream_unix_socketpair(self.top, self.top)
        assert ret == 0
        self.plain: tstream_context = plain
        ret, pipe = tstream_npa_existing_stream(self.top, plain, file_type)
        assert ret == 0
        self.pipe: tstream_context = pipe

    def wait(self, req: tevent_req | None, recv: Callable[..., Any], *args: Any) -> Any:
        """What *req* ends with."""
        assert req is not None
        assert tevent_req_poll(req, self.ev)
        result = recv(req, *args)
        talloc_free(req)
        return result

    def read(self, stream: tstream_context, *sizes: int) -> Any:
        """The result of a read, and the bytes."""
        buffers = [bytearray(size) for size in sizes]
        result = self.wait(tstream_readv_send(self.top, self.ev, stream, buffers), tstream_readv_recv)
        return result, b"".join(buffers)

    def write(self, stream: tstream_context, *parts: bytes) -> Any:
        """The result of a write."""
        return self.wait(tstream_writev_send(self.top, self.ev, stream, list(parts)), tstream_writev_recv)

    def disconnect(self, stream: tstream_context) -> Any:
        """The result of a disconnect."""
        return self.wait(tstream_disconnect_send(self.top, self.ev, stream), tstream_disconnect_recv)

    def address(self, text: str, port: int = 0) -> tsocket_address:
        """An inet address."""
        ret, addr = tsocket_address_inet_from_strings(self.top, "ip", text, port)
        assert ret == 0
        assert addr is not None
        return addr


@pytest.fixture(name="bench")
def new_bench() -> Iterator[Bench]:
    """A bench in message mode."""
    bench = Bench()
    yield bench
    talloc_free(bench.top)


@pytest.fixture(name="raw")
def new_raw_bench() -> Iterator[Bench]:
    """A bench in byte mode."""
    bench = Bench(FILE_TYPE_BYTE_MODE_PIPE)
    yield bench
    talloc_free(bench.top)


class TestConformance:
    @pytest.mark.parametrize("file_type", [FILE_TYPE_BYTE_MODE_PIPE, FILE_TYPE_MESSAGE_MODE_PIPE])
    def test_as_every_stream(self, file_type: int) -> None:
        """The checks for all streams hold in both modes."""

        def make_pair(ev: tevent_context, owner: TALLOC_CTX) -> tuple[tstream_context, tstream_context]:
            ret, one, two = tstream_unix_socketpair(owner, owner)
            assert ret == 0
            pipes = [tstream_npa_existing_stream(owner, plain, file_type)[1] for plain in (one, two)]
            assert pipes[0] is not None
            assert pipes[1] is not None
            return pipes[0], pipes[1]

        if file_type == FILE_TYPE_BYTE_MODE_PIPE:
            check_tstream(make_pair)
        else:
            check_tstream(
                make_pair, traits=stream_traits(write_max=65535, pending_before_read=False, write_abortable=False)
            )


class TestMessages:
    def test_one_write_is_one_message(self, bench: Bench) -> None:
        """Its length first, little-endian; the result leaves that out."""
        assert bench.write(bench.pipe, b"abc", b"", b"de") == (5, 0)
        assert bench.read(bench.far, 7) == ((7, 0), b"\x05\0abcde")

    def test_too_long(self, bench: Bench) -> None:
        """Nothing is sent, and the stream stays usable."""
        assert bench.write(bench.pipe, bytes(65536)) == (-1, EMSGSIZE)
        assert bench.write(bench.pipe, b"x") == (1, 0)
        assert bench.read(bench.far, 3) == ((3, 0), b"\x01\0x")

    def test_the_longest(self, bench: Bench) -> None:
        """65535 bytes are fine."""
        data = os.urandom(65535)
        req = tstream_writev_send(bench.top, bench.ev, bench.pipe, [data])
        assert bench.read(bench.far, 2, 65535) == ((65537, 0), b"\xff\xff" + data)
        assert bench.wait(req, tstream_writev_recv) == (65535, 0)

    def test_rest_of_a_message(self, bench: Bench) -> None:
        """It is pending, and read without looking at the socket."""
        bench.write(bench.far, b"\x06\0abcdef")
        assert tstream_pending_bytes(bench.pipe) == 0
        assert bench.read(bench.pipe, 2, 1) == ((3, 0), b"abc")
        assert tstream_pending_bytes(bench.pipe) == 3
        assert bench.read(bench.pipe, 3) == ((3, 0), b"def")
        assert tstream_pending_bytes(bench.pipe) == 0

    def test_over_several_messages(self, bench: Bench) -> None:
        """A read that wants more goes on with the next message, and keeps what is too much."""
        bench.write(bench.far, b"\x05\0abcde", b"\x03\0fgh", b"\x02\0ij")
        assert bench.read(bench.pipe, 6) == ((6, 0), b"abcdef")
        assert bench.read(bench.pipe, 4) == ((4, 0), b"ghij")

    def test_an_empty_message(self, bench: Bench) -> None:
        """EIO once; the next read goes on behind it."""
        bench.write(bench.far, b"\0\0", b"\x01\0x")
        assert bench.read(bench.pipe, 1)[0] == (-1, EIO)
        assert bench.read(bench.pipe, 1) == ((1, 0), b"x")

    @pytest.mark.parametrize("part", [b"", b"\x05", b"\x05\0", b"\x05\0ab"])
    def test_the_end(self, bench: Bench, part: bytes) -> None:
        """Before a message and within one it is EPIPE."""
        if part:
            bench.write(bench.far, part)
        talloc_free(bench.far)
        assert bench.read(bench.pipe, 5)[0] == (-1, EPIPE)
        assert tstream_pending_bytes(bench.pipe) == 0


class TestBytes:
    def test_pass_through(self, raw: Bench) -> None:
        """Nothing is added, and what waits is counted."""
        assert raw.write(raw.pipe, b"ab", b"c") == (3, 0)
        assert raw.read(raw.far, 3) == ((3, 0), b"abc")
        raw.write(raw.far, b"xyz")
        assert tstream_pending_bytes(raw.pipe) == 3
        assert raw.read(raw.pipe, 3) == ((3, 0), b"xyz")


class TestLife:
    def test_moves_the_stream_below(self, bench: Bench) -> None:
        """It is freed with the pipe."""
        assert talloc_parent(talloc_parent(bench.plain)) is bench.pipe
        talloc_free(bench.pipe)
        assert bench.read(bench.far, 1)[0] == (-1, EPIPE)

    @pytest.mark.parametrize("mode", [0, 3, 7])
    def test_no_such_mode(self, bench: Bench, mode: int) -> None:
        """EINVAL, and the stream or descriptor is left alone."""
        assert tstream_npa_existing_stream(bench.top, bench.far, mode) == (-1, None)
        assert get_errno() == EINVAL
        assert bench.write(bench.far, b"x") == (1, 0)
        one, two = socket.socketpair()
        assert tstream_npa_existing_socket(bench.top, one.fileno(), mode) == (-1, None)
        one.close()
        two.close()

    def test_over_a_descriptor(self, bench: Bench) -> None:
        """The socket belongs to the pipe."""
        one, two = socket.socketpair()
        one.setblocking(False)
        ret, pipe = tstream_npa_existing_socket(bench.top, one.detach(), FILE_TYPE_MESSAGE_MODE_PIPE)
        assert ret == 0
        assert bench.write(pipe, b"x") == (1, 0)
        assert two.recv(10) == b"\x01\0x"
        talloc_free(pipe)
        assert two.recv(10) == b""
        two.close()

    def test_disconnect(self, bench: Bench) -> None:
        """Closes and frees what is below; everything after it is ENOTCONN."""
        assert bench.disconnect(bench.pipe) == (0, 0)
        assert bench.read(bench.far, 1)[0] == (-1, EPIPE)
        assert bench.read(bench.pipe, 1)[0] == (-1, ENOTCONN)
        assert bench.write(bench.pipe, b"x") == (-1, ENOTCONN)
        assert bench.disconnect(bench.pipe) == (-1, ENOTCONN)
        assert tstream_pending_bytes(bench.pipe) == -1
        assert get_errno() == ENOTCONN
        req = tstream_monitor_send(bench.top, bench.ev, bench.pipe)
        assert bench.wait(req, tstream_monitor_recv) == (-1, ENOTCONN)

    def test_monitor(self, bench: Bench) -> None:
        """Hears of the end of the stream below."""
        req = tstream_monitor_send(bench.top, bench.ev, bench.pipe)
        assert tevent_req_is_in_progress(req)
        talloc_free(bench.far)
        assert bench.wait(req, tstream_monitor_recv) == (-1, EPIPE)


SESSION = auth_session_info_transport(
    session_info=auth_session_info(security_token=security_token(sids=[dom_sid_parse("S-1-5-7")[1]]))
)


class Server:
    """A listening unix socket in a folder, and what comes to it."""

    def __init__(self, bench: Bench, folder: pathlib.Path, name: str = "mypipe") -> None:
        self.bench = bench
        self.folder = folder
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(folder / name))
        self.listener.listen()

    def connect(self, level: int = 8, **changes: Any) -> tevent_req:
        """Start to open the pipe."""
        arguments: dict[str, Any] = {
            "directory": str(self.folder),
            "npipe": "MyPipe",
            "transport": NCACN_NP,
            "remote_client_addr": self.bench.address("192.0.2.7", 1024),
            "remote_client_name_in": "client",
            "local_server_addr": self.bench.address("2001:db8::1", 445),
            "local_server_name_in": None,
            "session_info": SESSION,
            **changes,
        }
        req = tstream_npa_connect_send(self.bench.top, self.bench.ev, *arguments.values(), level=level)
        assert req is not None
        return req

    def accept(self) -> tstream_context:
        """The connection, as a stream."""
        sock, _ = self.listener.accept()
        sock.setblocking(False)
        ret, stream = tstream_bsd_existing_socket(self.bench.top, sock.detach())
        assert ret == 0
        assert stream is not None
        return stream


@pytest.fixture(name="server")
def new_server(bench: Bench, tmp_path: pathlib.Path) -> Iterator[Server]:
    """A server."""
    server = Server(bench, tmp_path)
    yield server
    server.listener.close()


class TestOpening:
    @pytest.mark.parametrize("level", [7, 8])
    @pytest.mark.parametrize("file_type", [FILE_TYPE_BYTE_MODE_PIPE, FILE_TYPE_MESSAGE_MODE_PIPE])
    def test_both_ends(self, server: Server, level: int, file_type: int) -> None:
        """The two sides agree on everything, and talk."""
        bench = server.bench
        opening = server.connect(level)
        plain = server.accept()
        letting = tstream_npa_accept_existing_send(bench.top, bench.ev, plain, file_type, 0x5FF, 4096, level=level)
        owner = talloc_new(bench.top)
        accepted = bench.wait(letting, tstream_npa_accept_existing_recv, owner)
        ret, err, theirs, info, transport, client, client_name, local, local_name, session_info = accepted
        assert (ret, err) == (0, 0)
        assert transport is NCACN_NP
        assert tsocket_address_string(client, owner) == "ipv4:192.0.2.7:1024"
        assert tsocket_address_string(local, owner) == "ipv6:2001:db8::1:445"
        assert (client_name, local_name) == ("client", "2001:db8::1")
        assert session_info == SESSION
        assert isinstance(info, named_pipe_auth_req_info7) == (level == 7)
        assert info.session_info == SESSION
        for chunk in (theirs, info, client, client_name, local, local_name, session_info):
            assert talloc_parent(chunk) is owner
        ret, err, ours, mode, state, size = bench.wait(opening, tstream_npa_connect_recv, owner)
        assert (ret, err, mode, state, size) == (0, 0, file_type, 0x5FF, 4096)
        assert talloc_parent(ours) is owner
        assert bench.write(ours, b"question") == (8, 0)
        assert bench.read(theirs, 8) == ((8, 0), b"question")
        assert bench.write(theirs, b"answer") == (6, 0)
        assert bench.read(ours, 6) == ((6, 0), b"answer")

    def test_the_plain_stream_is_only_borrowed(self, server: Server) -> None:
        """Freeing the accepted pipe leaves it; a disconnect frees it."""
        bench = server.bench
        for end in (talloc_free, bench.disconnect):
            server.connect()
            plain = server.accept()
            letting = tstream_npa_accept_existing_send(bench.top, bench.ev, plain, 2, 0, 0)
            pipe = bench.wait(letting, tstream_npa_accept_existing_recv, bench.top)[2]
            assert talloc_parent(plain) is bench.top
            end(pipe)
            if end is talloc_free:
                assert bench.write(plain, b"x") == (1, 0)
                talloc_free(plain)
            else:
                assert plain._talloc_chunk.obj is None

    @pytest.mark.parametrize(
        ("change", "error"),
        [
            ({"npipe": "x" * 200}, ENAMETOOLONG),
            ({"local_server_addr": None}, EINVAL),
            ({"npipe": "other"}, ENOENT),
            ({"transport": NCALRPC, "remote_client_name_in": "\udc80"}, EINVAL),
        ],
    )
    def test_what_cannot_be_asked(self, server: Server, change: dict[str, Any], error: int) -> None:
        """Each with its errno, from the loop."""
        assert server.bench.wait(server.connect(**change), tstream_npa_connect_recv, None)[:3] == (-1, error, None)

    def test_unix_addresses(self, server: Server) -> None:
        """Only inet addresses can be said."""
        _, unix = tsocket_address_unix_from_path(server.bench.top, "/x")
        for name in ("remote_client_addr", "local_server_addr"):
            req = server.connect(**{name: unix})
            assert server.bench.wait(req, tstream_npa_connect_recv, None)[:2] == (-1, EINVAL)

    def test_nobody_listens(self, server: Server) -> None:
        """The errno of the connect."""
        server.listener.close()
        assert server.bench.wait(server.connect(), tstream_npa_connect_recv, None)[:2] == (-1, ECONNREFUSED)

    def test_bad_arguments(self, server: Server) -> None:
        """Wrong types and levels are named at once."""
        with pytest.raises(TypeError, match="remote_client_addr"):
            server.connect(remote_client_addr=None)
        with pytest.raises(ValueError, match="level"):
            server.connect(level=9)

    @pytest.mark.parametrize(
        ("reply", "error"),
        [
            (b"", EPIPE),
            (b"\0\0\0\0", EMSGSIZE),
            (b"\x01\0\0\0", EMSGSIZE),
            (b"\0\0\0\x04NPAM", EIO),
            ("000000204e50414d08000000080000000200ff05000000000010000000000000220000c0", EACCES),
            ("000000204e50414d08000000080000000200ff0500000000001000000000000005010000", EACCES),
            ("000000204e50414e08000000080000000200ff0500000000001000000000000000000000", EIO),
            ("000000204e50414d07000000070000000200ff0500000000001000000000000000000000", EIO),
            ("000000214e50414d08000000080000000200ff050000000000100000000000000000000000", EIO),
        ],
    )
    def test_replies_that_do_not_open(self, server: Server, reply: Any, error: int) -> None:
        """Refusals are EACCES, nonsense is EIO."""
        bench = server.bench
        opening = server.connect()
        plain = server.accept()
        data = bytes.fromhex(reply) if isinstance(reply, str) else reply
        if data:
            bench.write(plain, data)
        else:
            talloc_free(plain)
        assert bench.wait(opening, tstream_npa_connect_recv, None)[:3] == (-1, error, None)

    def test_every_cut_of_a_reply(self, server: Server) -> None:
        """An end in the middle is EPIPE, wherever that is."""
        bench = server.bench
        whole = bytes.fromhex("000000204e50414d08000000080000000200ff0500000000001000000000000000000000")
        for size in range(1, len(whole)):
            opening = server.connect()
            plain = server.accept()
            (_, _), head = bench.read(plain, 4)
            bench.read(plain, int.from_bytes(head, "big"))
            bench.write(plain, whole[:size])
            talloc_free(plain)
            assert bench.wait(opening, tstream_npa_connect_recv, None)[:2] == (-1, EPIPE), size


def recorded(server: Server, level: int = 8) -> bytes:
    """The bytes of a request."""
    req = server.connect(level)
    plain = server.accept()
    bench = server.bench
    (_, _), head = bench.read(plain, 4)
    (_, _), body = bench.read(plain, int.from_bytes(head, "big"))
    talloc_free(req)
    talloc_free(plain)
    return head + body


class TestLettingIn:
    def let_in(self, bench: Bench, data: bytes) -> tuple[Any, bytes]:
        """The result of an accept that hears *data*, and what it answers."""
        req = tstream_npa_accept_existing_send(bench.top, bench.ev, bench.far, 2, 0x5FF, 4096)
        one = bench.plain
        assert bench.write(one, data) == (len(data), 0)
        result = bench.wait(req, tstream_npa_accept_existing_recv, bench.top)
        waiting = tstream_pending_bytes(one)
        return result, bench.read(one, waiting)[1] if waiting > 0 else b""

    def test_no_such_mode(self, bench: Bench) -> None:
        """EINVAL, before anything is read."""
        req = tstream_npa_accept_existing_send(bench.top, bench.ev, bench.far, 3, 0, 0)
        assert not tevent_req_is_in_progress(req)
        assert bench.wait(req, tstream_npa_accept_existing_recv, None)[:2] == (-1, EINVAL)

    @pytest.mark.parametrize(
        ("data", "error"),
        [
            (b"\0\0\0\0", EMSGSIZE),
            (b"\x01\0\0\0", EMSGSIZE),
            (b"\0\0\0\x03abc", EMSGSIZE),
            (b"\0\0\0\x04ABCD", EPROTONOSUPPORT),
            (b"\0\0\0\x04NPAM", EIO),
        ],
    )
    def test_no_request(self, bench: Bench, data: bytes, error: int) -> None:
        """Nothing is answered."""
        result, answer = self.let_in(bench, data)
        assert result[:3] == (-1, error, None)
        assert answer == b""

    def test_another_level(self, bench: Bench, server: Server) -> None:
        """Nothing is answered either."""
        result, answer = self.let_in(bench, recorded(server, 7))
        assert result[:2] == (-1, EIO)
        assert answer == b""

    @pytest.mark.parametrize("who", ["remote_client_addr", "local_server_addr"])
    @pytest.mark.parametrize("text", [None, "", "no address"])
    def test_addresses(self, bench: Bench, server: Server, who: str, text: str | None) -> None:
        """The client hears what is wrong."""
        from tsocket import ndr_push_named_pipe_auth_req, ndr_push_struct_blob

        request = named_pipe_auth_req()
        ndr_pull_struct_blob_all(recorded(server), None, request, ndr_pull_named_pipe_auth_req)
        assert request.info.info8 is not None
        setattr(request.info.info8, who, text)
        _, blob = ndr_push_struct_blob(bench.top, request, ndr_push_named_pipe_auth_req)
        assert blob is not None
        result, answer = self.let_in(bench, bytes(blob))
        assert result[:2] == (-1, EPROTONOSUPPORT)
        from tsocket import ndr_pull_named_pipe_auth_rep

        reply = named_pipe_auth_rep()
        assert ndr_pull_struct_blob_all(answer, None, reply, ndr_pull_named_pipe_auth_rep) == 0
        assert reply.status == 0xC0000141
        assert reply.info.info8 is not None
        assert reply.info.info8.allocation_size == 4096

    def test_an_unknown_transport_stays_a_number(self, bench: Bench, server: Server) -> None:
        """What has no name is passed on."""
        opening = server.connect(transport=77)
        plain = server.accept()
        req = tstream_npa_accept_existing_send(bench.top, bench.ev, plain, 2, 0, 0)
        transport = bench.wait(req, tstream_npa_accept_existing_recv, bench.top)[4]
        assert transport == 77
        assert not isinstance(transport, dcerpc_transport_t)
        talloc_free(opening)

    def test_every_cut_and_flipped_bit(self, server: Server) -> None:
        """A request that is spoilt anywhere ends with an errno or opens; nothing hangs, nothing is raised."""
        whole = recorded(server)
        seen = set()
        for place in range(0, len(whole) * 8, 5):
            bench = Bench(FILE_TYPE_BYTE_MODE_PIPE)
            spoilt = bytearray(whole)
            spoilt[place // 8] ^= 1 << place % 8
            req = tstream_npa_accept_existing_send(bench.top, bench.ev, bench.far, 2, 0, 0)
            bench.write(bench.pipe, bytes(spoilt))
            talloc_free(bench.pipe)
            seen.add(bench.wait(req, tstream_npa_accept_existing_recv, bench.top)[1])
            talloc_free(bench.top)
        assert seen <= {0, EIO, EPIPE, EMSGSIZE, EPROTONOSUPPORT, 104}


# A bind to srvsvc 3.0 with NDR: 72 bytes, call id 1.
BIND = bytes.fromhex(
    "05000b03100000004800000001000000b810b810000000000100000000000100"
    "c84f324b7016d30112785a47bf6ee18803000000045d888aeb1cc9119fe808002b10486002000000"
)
BIND_ACK = 12


@pytest.mark.peer
class TestRealSamba:
    """With a file server of Debian's, which speaks level 7."""

    def test_a_call_through_samba(self, bench: Bench, samba_file_server: dict[str, str]) -> None:
        """Open Samba's own pipe of srvsvc, and bind to it; the answer is one message."""
        from tsocket import dcerpc_read_ncacn_packet_recv, dcerpc_read_ncacn_packet_send

        opening = tstream_npa_connect_send(
            bench.top,
            bench.ev,
            samba_file_server["PEER_NP_DIR"],
            "SRVSVC",
            NCACN_NP,
            bench.address("127.0.0.1", 1024),
            "client",
            bench.address("127.0.0.1", 445),
            "server",
            SESSION,
            level=7,
        )
        ret, err, pipe, mode, state, size = bench.wait(opening, tstream_npa_connect_recv, bench.top)
        assert (ret, err, mode, state, size) == (0, 0, FILE_TYPE_MESSAGE_MODE_PIPE, 0x5FF, 4096)
        assert bench.write(pipe, BIND) == (len(BIND), 0)
        req = dcerpc_read_ncacn_packet_send(bench.top, bench.ev, pipe)
        status, packet, data = bench.wait(req, dcerpc_read_ncacn_packet_recv, bench.top)
        assert status == 0
        assert (packet.ptype, packet.call_id, packet.frag_length) == (BIND_ACK, 1, len(data))

    def test_level_8_is_not_answered(self, bench: Bench, samba_file_server: dict[str, str]) -> None:
        """That Samba closes on it without a word."""
        arguments = (NCACN_NP, bench.address("127.0.0.1", 1), "c", bench.address("127.0.0.1", 2), "s", SESSION)
        opening = tstream_npa_connect_send(
            bench.top, bench.ev, samba_file_server["PEER_NP_DIR"], "srvsvc", *arguments, level=8
        )
        assert bench.wait(opening, tstream_npa_connect_recv, bench.top)[:2] == (-1, EPIPE)

    def test_sambas_client_comes_to_us(self, bench: Bench, samba_file_server: dict[str, str]) -> None:
        """The real smbd opens our pipe for a user who has logged in, and passes on what the client asks."""
        import subprocess

        import peers

        from tsocket import dcerpc_read_ncacn_packet_recv, dcerpc_read_ncacn_packet_send

        folder = pathlib.Path(samba_file_server["PEER_NP_DIR"])
        path = folder / "tsocketpipe"
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        path.chmod(0o777)
        listener.listen()
        listener.settimeout(30)
        command = [str(peers.SCRIPTS / "smb-pipe-call"), "--dir", str(peers.FOLDER / "fs"), "tsocketpipe"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as client:
            try:
                sock, _ = listener.accept()
                sock.setblocking(False)
                _, plain = tstream_bsd_existing_socket(bench.top, sock.detach())
                letting = tstream_npa_accept_existing_send(bench.top, bench.ev, plain, 2, 0x5FF, 4096, level=7)
                accepted = bench.wait(letting, tstream_npa_accept_existing_recv, bench.top)
                assert accepted[:2] == (0, 0)
                pipe, transport, session_info = accepted[2], accepted[4], accepted[9]
                assert transport is NCACN_NP
                assert session_info.session_info.info.account_name == "games", "the account that peeruser is mapped to"
                req = dcerpc_read_ncacn_packet_send(bench.top, bench.ev, pipe)
                status, packet, _ = bench.wait(req, dcerpc_read_ncacn_packet_recv, bench.top)
                assert status == 0
                assert packet.ptype == 11, "a bind"
            finally:
                client.kill()
                listener.close()
                path.unlink(missing_ok=True)
