# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Peers that mean harm, at every layer: damaged bytes, one byte at a time, silence, a connection that ends anywhere.

What is damaged, and what must hold, is in `formats`; the fuzzer searches for more of it. Nothing here takes time: a
byte comes when the test lets it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from errno import ECONNRESET, EIO, EPIPE, ETIMEDOUT
from typing import Any, ClassVar, NamedTuple

import pytest
from hostile import SILENCE, Bed, new_tape, tape

from talloc_py import TALLOC_CTX, talloc_free, talloc_new, talloc_total_blocks, talloc_zero
from tevent import (
    NT_STATUS_CONNECTION_DISCONNECTED,
    NT_STATUS_IO_TIMEOUT,
    NT_STATUS_NO_MEMORY,
    NT_STATUS_OK,
    tevent_req,
    tevent_req_set_endtime,
    timeval,
)
from tsocket import (
    FILE_TYPE_MESSAGE_MODE_PIPE,
    NCACN_NP,
    auth_session_info_transport,
    dcerpc_binding_handle_raw_call_recv,
    dcerpc_binding_handle_raw_call_send,
    dcerpc_read_ncacn_packet_recv,
    dcerpc_read_ncacn_packet_send,
    gensec_create_tstream,
    ldap_full_packet,
    tsocket_address_inet_from_strings,
    tstream_binding_handle_create,
    tstream_disconnect_recv,
    tstream_disconnect_send,
    tstream_full_request_u16,
    tstream_full_request_u32,
    tstream_npa_accept_existing_recv,
    tstream_npa_accept_existing_send,
    tstream_npa_connect_recv,
    tstream_npa_connect_send,
    tstream_npa_existing_stream,
    tstream_read_packet_recv,
    tstream_read_packet_send,
    tstream_read_pdu_blob_recv,
    tstream_read_pdu_blob_send,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_smbXcli_np_open_recv,
    tstream_smbXcli_np_open_send,
    tstream_tls_accept_recv,
    tstream_tls_accept_send,
    tstream_tls_connect_recv,
    tstream_tls_connect_send,
    tstream_u32_read_recv,
    tstream_u32_read_send,
    tstream_writev_recv,
    tstream_writev_send,
)

from . import formats

MIB = 1 << 20
#: A time that has passed: a request that has it as its end times out when the loop turns.
NOW = timeval(1, 0)


@pytest.fixture(scope="module", autouse=True)
def what_lives_from_test_to_test() -> Iterator[None]:
    """The loop and the pipe of the fuzzer."""
    formats.bed()
    formats.listener()
    yield
    formats.close()


@pytest.fixture(name="bed")
def new_bed() -> Iterator[Bed]:
    """A loop that is never waited for."""
    bed = Bed()
    yield bed
    bed.close()


class TestDamage:
    """Each seed of the fuzzer, cut everywhere, with every bit flipped and every length changed."""

    @pytest.mark.slow
    @pytest.mark.parametrize("name", [name for name in formats.NAMES if name not in ("npa", "tls")])
    def test_every_one(self, name: str) -> None:
        """Is refused, or is good after all; nothing hangs, raises, or takes memory."""
        run = formats.target(name)
        for seed in formats.seeds(name):
            for damaged in formats.damages(seed):
                run(damaged)

    @pytest.mark.slow
    @pytest.mark.parametrize("mode", range(7))
    def test_named_pipes(self, mode: int) -> None:
        """As well; the smallest request or reply, and one of the larger ones."""
        seeds = sorted((seed for seed in formats.seeds("npa") if seed[0] == mode), key=len)
        for seed in {seeds[0], seeds[len(seeds) // 2]}:
            for damaged in formats.damages(seed[1:]):
                formats.npa(bytes([mode]) + damaged)

    @pytest.mark.slow
    @pytest.mark.parametrize("part", range(4))
    def test_tls_in_clear(self, part: int) -> None:
        """What is not encrypted: hellos, alerts, changes that the seeds make."""
        pytest.importorskip("cryptography")
        for seed in formats.seeds("tls"):
            damaged = formats.damages(seed[:100])
            for data in [each for number, each in enumerate(damaged) if number % 16 == 4 * part]:
                formats.target("tls")(data)


# -- readers ----------------------------------------------------------------------------------------------------------


class Reader(NamedTuple):
    """Something that reads from a plain stream: how it starts, what it needs, and how it says what went wrong."""

    start: Callable[[TALLOC_CTX, Any, Any], tuple[tevent_req | None, Callable[[tevent_req], Any]]]
    good: bytes  # what it is content with
    gone: Any = EPIPE  # at the end of the stream
    late: Any = ETIMEDOUT


def _blob(function: Any, first: int) -> Any:
    def start(top: TALLOC_CTX, ev: Any, stream: Any) -> Any:
        req = tstream_read_pdu_blob_send(top, ev, stream, first, function, None)
        return req, lambda req: tstream_read_pdu_blob_recv(req, top)[0]

    return start


def _u32(top: TALLOC_CTX, ev: Any, stream: Any) -> Any:
    return tstream_u32_read_send(top, ev, 100, stream), lambda req: tstream_u32_read_recv(req, top)[0]


def _packet(top: TALLOC_CTX, ev: Any, stream: Any) -> Any:
    more = iter((2, 1, 0))
    req = tstream_read_packet_send(top, ev, stream, 2, lambda buf, private: next(more), None)
    return req, lambda req: tstream_read_packet_recv(req, top)[2]


def _ncacn(top: TALLOC_CTX, ev: Any, stream: Any) -> Any:
    req = dcerpc_read_ncacn_packet_send(top, ev, stream)
    return req, lambda req: dcerpc_read_ncacn_packet_recv(req, top)[0]


def _call(top: TALLOC_CTX, ev: Any, stream: Any) -> Any:
    handle = tstream_binding_handle_create(top, None, stream, 4, tstream_full_request_u32, None, 0)
    assert handle is not None
    req = dcerpc_binding_handle_raw_call_send(top, ev, handle, None, 0, 0, b"question")
    return req, lambda req: dcerpc_binding_handle_raw_call_recv(req, top)[0]


def _accept(level: int) -> Any:
    def start(top: TALLOC_CTX, ev: Any, stream: Any) -> Any:
        req = tstream_npa_accept_existing_send(top, ev, stream, 2, 0, 0, level=level)
        return req, lambda req: tstream_npa_accept_existing_recv(req, top)[1]

    return start


def _readv(stream: Any, top: TALLOC_CTX, ev: Any, size: int) -> Any:
    req = tstream_readv_send(top, ev, stream, [bytearray(size)])
    return req, lambda req: tstream_readv_recv(req)[1]


def _message(top: TALLOC_CTX, ev: Any, stream: Any) -> Any:
    _, pipe = tstream_npa_existing_stream(top, stream, FILE_TYPE_MESSAGE_MODE_PIPE)
    return _readv(pipe, top, ev, 8)


def sealed(top: TALLOC_CTX, stream: Any) -> Any:
    """A stream that is sealed by a toy."""
    security = talloc_zero(top, formats.flipping)
    assert security is not None
    return gensec_create_tstream(top, security, stream)[1]


def _token(top: TALLOC_CTX, ev: Any, stream: Any) -> Any:
    return _readv(sealed(top, stream), top, ev, 8)


def accepted_request(level: int) -> bytes:
    """The request of the recorded ones that has addresses and is shortest, which is what a server lets in."""
    wanted = [
        bytes.fromhex(vector["hex"])
        for vector in formats.vectors()["requests"]
        if vector["level"] == level and vector["fields"]["local_server_addr"] and vector["fields"]["remote_client_addr"]
    ]
    return min(wanted, key=len)


_STATUSES = {"gone": NT_STATUS_CONNECTION_DISCONNECTED, "late": NT_STATUS_IO_TIMEOUT}
READERS: dict[str, Callable[[], Reader]] = {
    "u16": lambda: Reader(_blob(tstream_full_request_u16, 2), b"\0\5hello", **_STATUSES),
    "u32": lambda: Reader(_blob(tstream_full_request_u32, 4), b"\0\0\0\5hello", **_STATUSES),
    "LDAP": lambda: Reader(_blob(ldap_full_packet, 7), formats.seeds("ldap")[0], **_STATUSES),
    "u32 read": lambda: Reader(_u32, b"\0\0\0\5hello"),
    "packet": lambda: Reader(_packet, b"hello"),
    "DCE/RPC": lambda: Reader(_ncacn, formats.seeds("dcerpc")[0][1:], **_STATUSES),
    "raw call": lambda: Reader(_call, b"\0\0\0\5hello", **_STATUSES),
    "accept 7": lambda: Reader(_accept(7), accepted_request(7)),
    "accept 8": lambda: Reader(_accept(8), accepted_request(8)),
    "message": lambda: Reader(_message, b"\5\0hello\3\0you"),
    "token": lambda: Reader(_token, formats.sealed_tokens(b"hello", b"", b"you")),
}


class Started:
    """A reader at work on a tape."""

    def __init__(self, bed: Bed, top: TALLOC_CTX, name: str, released: int, after: int = EPIPE) -> None:
        self.reader = READERS[name]()
        self.bed = bed
        self.stream, self.tape = new_tape(top, self.reader.good, released=released, after=after)
        req, self.recv = self.reader.start(top, bed.ev, self.stream)
        assert req is not None
        self.req = req

    def ended(self) -> bool:
        """Whether it has come to an end, with nothing left to do."""
        return self.bed.ends(self.req)

    def result(self) -> Any:
        """What it has come to."""
        assert self.ended(), "it hangs"
        result = self.recv(self.req)
        talloc_free(self.req)
        assert self.tape.reader is None, "the plain stream is still read from"
        assert self.tape.writer is None, "the plain stream is still written to"
        return result


@pytest.mark.parametrize("name", READERS)
class TestSlowPeers:
    def test_one_byte_at_a_time(self, bed: Bed, name: str) -> None:
        """What comes in single bytes is understood, when the last one has come and no sooner."""
        with bed as top:
            started = Started(bed, top, name, released=0)
            for _ in started.reader.good[1:]:
                started.tape.release()
                assert not started.ended()
            started.tape.release()
            assert started.result() in (0, NT_STATUS_OK)
            assert started.tape.offset == len(started.reader.good)

    def test_a_time_limit_at_every_byte(self, bed: Bed, name: str) -> None:
        """A peer that falls silent anywhere is waited for until the end time, and no longer; nothing is left behind."""
        for released in range(len(READERS[name]().good)):
            with bed as top:
                started = Started(bed, top, name, released, after=SILENCE)
                assert not started.ended()
                assert tevent_req_set_endtime(started.req, bed.ev, NOW)
                assert started.result() == started.reader.late

    def test_an_end_at_every_byte(self, bed: Bed, name: str) -> None:
        """A connection that ends anywhere is an error, and never a success."""
        for cut in range(len(READERS[name]().good)):
            with bed as top:
                started = Started(bed, top, name, released=cut)
                assert not started.ended()
                started.tape.incoming = started.tape.incoming[:cut]
                started.tape.release()
                assert started.result() == started.reader.gone

    def test_a_request_freed_at_every_byte(self, bed: Bed, name: str) -> None:
        """Whoever loses patience frees the request: the plain stream is free, and nothing is left behind."""
        for released in range(len(READERS[name]().good)):
            with bed as top:
                started = Started(bed, top, name, released, after=SILENCE)
                assert not started.ended()
                talloc_free(started.req)
                assert (started.tape.reader, started.tape.writer) == (None, None)
                started.tape.release(1000)


class TestMemory:
    """What a peer announces is not reserved before it comes."""

    @pytest.mark.parametrize("name", ["u32", "token", "LDAP"])
    def test_grows_with_what_comes(self, bed: Bed, name: str) -> None:
        """A length of many megabytes costs one, and each more that comes as much again."""
        head = {"u32": b"\x0f\0\0\0", "token": b"\x0f\0\0\0", "LDAP": b"\x30\x84\x0f\0\0\0"}[name]
        with bed as top:
            stream, this = new_tape(top, head + bytes(40 * MIB), released=0, after=SILENCE)
            req, _ = READERS[name]().start(top, bed.ev, stream)
            for released in (10, MIB, 2 * MIB, 8 * MIB):
                this.release(released - this.released)
                assert not bed.ends(req)
                assert this.asked_max <= max(MIB, released)

    @pytest.mark.parametrize("size", [MIB - 4, MIB - 3, MIB, 3 * MIB, 5 * MIB + 1])
    def test_what_comes_in_parts_is_whole(self, bed: Bed, size: int) -> None:
        """However long it is, and the function that judges it is asked as often as ever."""
        asked: list[int] = []

        def full(stream: Any, private: Any, blob: bytearray) -> Any:
            asked.append(len(blob))
            return tstream_full_request_u32(stream, private, blob)

        data = size.to_bytes(4, "big") + bytes(range(256)) * (size // 256 + 1)
        with bed as top:
            stream, this = new_tape(top, data)
            status, blob = bed.result(
                tstream_read_pdu_blob_send(top, bed.ev, stream, 4, full, None), tstream_read_pdu_blob_recv, top
            )
            assert (status, asked) == (NT_STATUS_OK, [4, 4 + size])
            assert blob == data[: 4 + size]
            assert this.offset == 4 + size

    def test_a_packet_in_parts(self, bed: Bed) -> None:
        """As well with the function that counts what is missing, and with a length that has a limit."""
        data = (3 * MIB).to_bytes(4, "big") + bytes(3 * MIB)
        more = iter((3 * MIB, 0))
        with bed as top:
            stream, _ = new_tape(top, data)
            reading = tstream_read_packet_send(top, bed.ev, stream, 4, lambda buf, private: next(more), None)
            size, buf, err = bed.result(reading, tstream_read_packet_recv, top)
            assert (size, err) == (len(data), 0)
            assert buf == data
            stream, _ = new_tape(top, data)
            err, buf = bed.result(tstream_u32_read_send(top, bed.ev, 3 * MIB, stream), tstream_u32_read_recv, top)
            assert err == 0
            assert buf == data

    def test_a_long_token(self, bed: Bed) -> None:
        """So is a token."""
        plain = bytes(range(256)) * (10 * 1024)
        token = bytes([sum(plain) & 0xFF]) + bytes(byte ^ 0xFF for byte in plain)
        with bed as top:
            stream, _ = new_tape(top, len(token).to_bytes(4, "big") + token)
            buf = bytearray(len(plain))
            reading = tstream_readv_send(top, bed.ev, sealed(top, stream), [buf])
            assert bed.result(reading, tstream_readv_recv) == (len(plain), 0)
            assert buf == plain

    def test_what_can_never_be(self, bed: Bed) -> None:
        """More than a chunk may have is refused at once, not when it has come."""
        with bed as top:
            stream, this = new_tape(top, b"\x30\x84\x10\0\0\0" + bytes(2 * MIB), after=SILENCE)
            reading = tstream_read_pdu_blob_send(top, bed.ev, stream, 7, ldap_full_packet, None)
            assert bed.result(reading, tstream_read_pdu_blob_recv, top) == (NT_STATUS_NO_MEMORY, None)
            assert this.offset == 7


# -- writers ----------------------------------------------------------------------------------------------------------


def _writing(stream: Any, top: TALLOC_CTX, ev: Any) -> Any:
    req = tstream_writev_send(top, ev, stream, [b"some", b"thing"])
    return req, lambda req: tstream_writev_recv(req)[1]


def _write_message(top: TALLOC_CTX, ev: Any, stream: Any) -> Any:
    _, pipe = tstream_npa_existing_stream(top, stream, FILE_TYPE_MESSAGE_MODE_PIPE)
    return _writing(pipe, top, ev)


def _write_token(top: TALLOC_CTX, ev: Any, stream: Any) -> Any:
    return _writing(sealed(top, stream), top, ev)


#: What writes, the bytes that come before it does, how many it writes, and what the end time gives.
WRITERS: dict[str, tuple[Any, Callable[[], bytes], int, Any]] = {
    "message": (_write_message, bytes, 11, ETIMEDOUT),
    "token": (_write_token, bytes, 14, ETIMEDOUT),
    "reply 7": (_accept(7), lambda: accepted_request(7), 36, ETIMEDOUT),
    "reply 8": (_accept(8), lambda: accepted_request(8), 36, ETIMEDOUT),
    "raw call": (_call, bytes, 8, NT_STATUS_IO_TIMEOUT),
}


@pytest.mark.parametrize("name", WRITERS)
class TestPeersThatDoNotRead:
    def start(self, bed: Bed, top: TALLOC_CTX, name: str, room: int, full: int) -> tuple[tape, tevent_req, Any]:
        """Start to write where there is room for so many bytes."""
        begin, before, _, _ = WRITERS[name]
        stream, this = new_tape(top, before(), released=len(before()), after=SILENCE)
        this.room, this.full = room, full
        req, recv = begin(top, bed.ev, stream)
        assert req is not None
        return this, req, recv

    def test_a_time_limit(self, bed: Bed, name: str) -> None:
        """A peer that stops to read anywhere is waited for until the end time; nothing is left behind."""
        for room in range(WRITERS[name][2]):
            with bed as top:
                this, req, recv = self.start(bed, top, name, room, SILENCE)
                assert not bed.ends(req)
                assert tevent_req_set_endtime(req, bed.ev, NOW)
                assert bed.result(req, recv) == WRITERS[name][3]
                assert (this.reader, this.writer) == (None, None)
                assert len(this.outgoing) == room

    def test_one_byte_at_a_time(self, bed: Bed, name: str) -> None:
        """One that reads single bytes gets all of them."""
        with bed as top:
            this, req, recv = self.start(bed, top, name, 0, SILENCE)
            for _ in range(WRITERS[name][2]):
                assert not bed.ends(req)
                this.add_room(1)
            if name == "raw call":
                this.incoming += b"\0\0\0\0"
                this.release(4)
            assert bed.result(req, recv) in (0, NT_STATUS_OK)

    @pytest.mark.parametrize("error", [EPIPE, ECONNRESET])
    def test_a_connection_that_breaks(self, bed: Bed, name: str, error: int) -> None:
        """One that goes away anywhere is an error."""
        for room in range(WRITERS[name][2]):
            with bed as top:
                this, req, recv = self.start(bed, top, name, room, error)
                assert bed.result(req, recv) not in (0, NT_STATUS_OK)
                assert (this.reader, this.writer) == (None, None)


# -- handshakes -------------------------------------------------------------------------------------------------------


class TestTls:
    """A handshake needs a peer that takes part; here is none that does. See also ``test_tls_hostile.py``."""

    SIDES = pytest.mark.parametrize(
        ("server", "send", "recv"),
        [
            (False, tstream_tls_connect_send, tstream_tls_connect_recv),
            (True, tstream_tls_accept_send, tstream_tls_accept_recv),
        ],
        ids=["client", "server"],
    )

    @pytest.fixture(name="hello")
    def new_hello(self) -> bytes:
        """A ClientHello."""
        pytest.importorskip("cryptography")
        return formats.seeds("tls")[0][1:]

    def start(self, bed: Bed, top: TALLOC_CTX, server: bool, send: Any, **how: Any) -> tuple[tape, Any]:
        """Begin."""
        from tls_kit import world

        stream, this = new_tape(top, **how)
        params = world().server(top) if server else world().client(top)
        return this, send(top, bed.ev, stream, params)

    def test_a_hello_in_single_bytes(self, bed: Bed, hello: bytes) -> None:
        """The answer begins when the last byte has come."""
        with bed as top:
            how: dict[str, Any] = {"incoming": hello, "released": 0, "after": SILENCE}
            this, req = self.start(bed, top, True, tstream_tls_accept_send, **how)
            for _ in hello[1:]:
                this.release()
                assert not bed.ends(req)
                assert not this.outgoing
            this.release()
            assert not bed.ends(req)
            assert this.outgoing[:1] == b"\x16"

    def test_an_end_in_the_hello(self, bed: Bed, hello: bytes) -> None:
        """A client that goes away anywhere is EPIPE."""
        for cut in range(0, len(hello), 3):
            with bed as top:
                _, req = self.start(bed, top, True, tstream_tls_accept_send, incoming=hello[:cut])
                assert bed.result(req, tstream_tls_accept_recv, top)[:2] == (-1, EPIPE)

    @SIDES
    def test_a_peer_that_never_reads(self, bed: Bed, hello: bytes, server: bool, send: Any, recv: Any) -> None:
        """The first flight cannot be sent: the end time ends it, and nothing is left behind."""
        for room in (0, 1, 50):
            with bed as top:
                how: dict[str, Any] = {"incoming": hello if server else b"", "after": SILENCE}
                this, req = self.start(bed, top, server, send, **how)
                # The client's is out already: the record after it is what waits.
                assert not bed.ends(req)
                del this.outgoing[:]
                this.room, this.full = room, SILENCE
                before = talloc_total_blocks(top)
                assert tevent_req_set_endtime(req, bed.ev, NOW)
                assert bed.result(req, recv, top)[:2] == (-1, ETIMEDOUT)
                assert (this.reader, this.writer) == (None, None)
                assert talloc_total_blocks(top) < before

    @SIDES
    @pytest.mark.parametrize("error", [EPIPE, ECONNRESET, EIO])
    def test_a_first_flight_that_is_not_taken(
        self, bed: Bed, hello: bytes, server: bool, send: Any, recv: Any, error: int
    ) -> None:
        """An error of the plain stream while writing is the error of the handshake."""
        from tls_kit import world

        for room in (0, 1, 50):
            with bed as top:
                stream, this = new_tape(top, hello if server else b"", after=SILENCE)
                this.room, this.full = room, error
                req = send(top, bed.ev, stream, world().server(top) if server else world().client(top))
                assert bed.result(req, recv, top)[:2] == (-1, error)


class TestNpaConnect:
    """The client's side has a socket of its own."""

    GOOD = bytes.fromhex("00000020 4e50414d 08000000 08000000 0200 ff05 00000000 0010000000000000 00000000")

    def connect(self, bed: Bed, top: TALLOC_CTX) -> tuple[Any, socket.socket]:
        """Connect, and take the request."""
        folder, listening = formats.listener()
        _, address = tsocket_address_inet_from_strings(top, "ip", "192.0.2.1", 1)
        assert address is not None
        session = auth_session_info_transport()
        req = tstream_npa_connect_send(top, bed.ev, folder, "pipe", NCACN_NP, address, None, address, None, session)
        bed.settle()
        server, _ = listening.accept()
        server.setblocking(False)
        assert server.recv(65536)
        return req, server

    def test_one_byte_at_a_time(self, bed: Bed) -> None:
        """The reply may come in single bytes."""
        with bed as top:
            req, server = self.connect(bed, top)
            with server:
                for offset in range(len(self.GOOD)):
                    assert not bed.ends(req)
                    server.sendall(self.GOOD[offset : offset + 1])
                assert bed.result(req, tstream_npa_connect_recv, top)[:2] == (0, 0)

    def test_an_end_at_every_byte(self, bed: Bed) -> None:
        """A server that goes away anywhere is EPIPE."""
        for cut in range(len(self.GOOD)):
            with bed as top:
                req, server = self.connect(bed, top)
                with server:
                    server.sendall(self.GOOD[:cut])
                assert bed.result(req, tstream_npa_connect_recv, top)[:2] == (-1, EPIPE)

    def test_a_time_limit_at_every_byte(self, bed: Bed) -> None:
        """One that falls silent is waited for until the end time; the socket is closed then."""
        for cut in range(len(self.GOOD)):
            with bed as top:
                req, server = self.connect(bed, top)
                with server:
                    server.sendall(self.GOOD[:cut])
                    assert not bed.ends(req)
                    assert tevent_req_set_endtime(req, bed.ev, NOW)
                    assert bed.result(req, tstream_npa_connect_recv, top)[:2] == (-1, ETIMEDOUT)
                    assert server.recv(1) == b""


class TestSmb:
    """A server that never answers, or whose connection breaks while it is asked."""

    ASKING: ClassVar[dict[str, Callable[[Any, Any, Any], Any]]] = {
        "read": lambda top, ev, stream: tstream_readv_send(top, ev, stream, [bytearray(5)]),
        "write": lambda top, ev, stream: tstream_writev_send(top, ev, stream, [bytes(40)]),
        "disconnect": tstream_disconnect_send,
    }
    RECV: ClassVar[dict[str, Any]] = {
        "read": tstream_readv_recv,
        "write": tstream_writev_recv,
        "disconnect": tstream_disconnect_recv,
    }

    @pytest.mark.parametrize("what", ASKING)
    def test_silence(self, what: str) -> None:
        """The end time ends it; what comes after that disturbs nobody."""
        bed = formats.bed()
        with bed as top:
            pipe = formats.Pipe(top)
            req = self.ASKING[what](top, bed.ev, pipe.stream)
            assert not bed.ends(req)
            assert tevent_req_set_endtime(req, bed.ev, NOW)
            assert bed.result(req, self.RECV[what]) == (-1, ETIMEDOUT)
            while pipe.calls:
                pipe.answer(0)
                bed.settle()

    @pytest.mark.parametrize("what", ASKING)
    def test_a_freed_request(self, what: str) -> None:
        """As if it had never been; the pipe can be freed at once."""
        bed = formats.bed()
        with bed as top:
            pipe = formats.Pipe(top)
            req = self.ASKING[what](top, bed.ev, pipe.stream)
            bed.settle()
            talloc_free(req)
            bed.settle()
            pipe.conn.alive = False

    @pytest.mark.parametrize("what", ASKING)
    def test_a_connection_that_breaks(self, what: str) -> None:
        """Is EPIPE."""
        bed = formats.bed()
        with bed as top:
            pipe = formats.Pipe(top)
            req = self.ASKING[what](top, bed.ev, pipe.stream)
            bed.settle()
            pipe.conn.alive = False
            gone = NT_STATUS_CONNECTION_DISCONNECTED
            pipe.reply({"read": (gone, b""), "write": (gone, 0), "disconnect": gone}[what])
            assert bed.result(req, self.RECV[what]) == (-1, EPIPE)

    def test_an_open_that_is_not_answered(self) -> None:
        """The end time ends it, too."""
        bed = formats.bed()
        with bed as top:
            conn = talloc_zero(top, formats.scripted)
            session, tcon = talloc_new(top), talloc_new(top)
            assert conn is not None
            assert session is not None
            assert tcon is not None
            conn.calls, conn.alive = [], True
            req = tstream_smbXcli_np_open_send(top, bed.ev, conn, session, tcon, 0, 1000, "pipe")
            assert not bed.ends(req)
            assert req is not None
            assert tevent_req_set_endtime(req, bed.ev, NOW)
            assert bed.result(req, tstream_smbXcli_np_open_recv, top) == (NT_STATUS_IO_TIMEOUT, None)
            assert conn.calls == []
