# SPDX-License-Identifier: LGPL-3.0-or-later
"""Readers of PDUs that find out while they read how long the PDU is."""

from __future__ import annotations

from collections.abc import Iterator
from errno import EBADMSG, ECONNRESET, EIO, EMSGSIZE, EPIPE
from typing import Any

import pytest
import stream_kit
from hypothesis import given
from hypothesis import strategies as st

from talloc_py import talloc_free, talloc_get_size, talloc_parent
from tevent import (
    NT_STATUS_ACCESS_DENIED,
    NT_STATUS_CONNECTION_DISCONNECTED,
    NT_STATUS_INVALID_BUFFER_SIZE,
    NT_STATUS_IO_TIMEOUT,
    NT_STATUS_OK,
    STATUS_MORE_ENTRIES,
    tevent_abort_error,
    tevent_loop_once,
    tevent_req,
    tevent_req_is_in_progress,
    tevent_req_set_endtime,
    timeval,
)
from tsocket import (
    ldap_full_packet,
    tstream_full_request_u16,
    tstream_full_request_u32,
    tstream_read_packet_recv,
    tstream_read_packet_send,
    tstream_read_pdu_blob_recv,
    tstream_read_pdu_blob_send,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_u32_read_recv,
    tstream_u32_read_send,
)


class Bench(stream_kit.Bench):
    """Two streams, and what is tested here."""

    def rest(self, size: int) -> bytes:
        """What is still in the stream."""
        buf = bytearray(size)
        assert tstream_readv_recv(self.wait(tstream_readv_send(self.top, self.ev, self.near, [buf]))) == (size, 0)
        return bytes(buf)

    def blob(self, initial: int, full_fn: Any, private: object = None) -> tevent_req:
        """Start to read a PDU."""
        req = tstream_read_pdu_blob_send(self.top, self.ev, self.near, initial, full_fn, private)
        assert req is not None
        return req

    def packet(self, initial: int, more: Any, private: object = None) -> tevent_req:
        """Start to read a packet."""
        req = tstream_read_packet_send(self.top, self.ev, self.near, initial, more, private)
        assert req is not None
        return req


@pytest.fixture(name="bench")
def new_bench() -> Iterator[Bench]:
    """A bench."""
    bench = Bench()
    yield bench
    talloc_free(bench.top)


class TestBlob:
    def test_grows_as_it_is_told(self, bench: Bench) -> None:
        """The function sees all bytes so far; what follows stays in the stream."""
        seen: list[Any] = []

        def full(stream: object, private: object, blob: bytearray) -> tuple[int, int]:
            seen.append((stream is bench.near, private, bytes(blob)))
            return (STATUS_MORE_ENTRIES, 5) if len(blob) < 5 else (NT_STATUS_OK, 5)

        bench.say(b"abcdefg")
        status, blob = tstream_read_pdu_blob_recv(bench.wait(bench.blob(2, full, "private")), bench.top)
        assert (status, blob) == (NT_STATUS_OK, b"abcde")
        assert talloc_parent(blob) is bench.top
        assert seen == [(True, "private", b"ab"), (True, "private", b"abcde")]
        assert bench.rest(2) == b"fg"

    @pytest.mark.parametrize("size", [0, None])
    def test_byte_by_byte(self, bench: Bench, size: int | None) -> None:
        """Without a size one more byte is read."""
        bench.say(b"line\nnext")

        def full(stream: object, private: object, blob: bytearray) -> Any:
            return (NT_STATUS_OK, 0) if blob.endswith(b"\n") else (STATUS_MORE_ENTRIES, size)

        assert tstream_read_pdu_blob_recv(bench.wait(bench.blob(1, full)), bench.top) == (NT_STATUS_OK, b"line\n")
        assert bench.rest(4) == b"next"

    def test_a_surplus_stays_in_the_blob(self, bench: Bench) -> None:
        """Whatever size comes with success."""
        bench.say(b"abcd")
        req = bench.wait(bench.blob(4, lambda stream, private, blob: (NT_STATUS_OK, 1)))
        assert tstream_read_pdu_blob_recv(req, bench.top) == (NT_STATUS_OK, b"abcd")

    @pytest.mark.parametrize(
        ("answer", "status"),
        [
            ((STATUS_MORE_ENTRIES, 1), NT_STATUS_INVALID_BUFFER_SIZE),
            ((STATUS_MORE_ENTRIES, 2), NT_STATUS_INVALID_BUFFER_SIZE),
            ((NT_STATUS_ACCESS_DENIED, 9), NT_STATUS_ACCESS_DENIED),
        ],
    )
    def test_refusals(self, bench: Bench, answer: Any, status: int) -> None:
        """Another status is the result; asking for no more than there is, is wrong."""
        bench.say(b"ab")
        req = bench.wait(bench.blob(2, lambda stream, private, blob: answer))
        assert tstream_read_pdu_blob_recv(req, bench.top) == (status, None)

    def test_the_end(self, bench: Bench) -> None:
        """Before the PDU and within it."""
        for part in (b"", b"\0\0"):
            bench = Bench()
            if part:
                bench.say(part)
            talloc_free(bench.far)
            req = bench.wait(bench.blob(4, tstream_full_request_u32))
            assert tstream_read_pdu_blob_recv(req, None) == (NT_STATUS_CONNECTION_DISCONNECTED, None)
            talloc_free(bench.top)

    def test_endtime(self, bench: Bench) -> None:
        """A timeout is a status."""
        req = bench.blob(4, tstream_full_request_u32)
        tevent_req_set_endtime(req, bench.ev, timeval(1, 0))
        assert tstream_read_pdu_blob_recv(bench.wait(req), None) == (NT_STATUS_IO_TIMEOUT, None)

    def test_nothing_to_begin_with(self, bench: Bench) -> None:
        """An initial size of 0 ends in the abort function, from the result."""
        req = bench.blob(0, tstream_full_request_u32)
        assert not tevent_req_is_in_progress(req)
        with pytest.raises(tevent_abort_error, match="no NTSTATUS"):
            tstream_read_pdu_blob_recv(req, None)

    def test_bad_arguments(self, bench: Bench) -> None:
        """Are named at once."""
        with pytest.raises(TypeError, match="full_fn"):
            bench.blob(4, None)
        with pytest.raises(TypeError, match="initial_read_size"):
            bench.blob("4", tstream_full_request_u32)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="negative"):
            bench.blob(-1, tstream_full_request_u32)

    @given(st.lists(st.binary(max_size=40), min_size=1, max_size=6), st.lists(st.integers(1, 50), min_size=1))
    def test_any_fragments_give_the_same_pdus(self, bodies: list[bytes], cuts: list[int]) -> None:
        """However the bytes arrive."""
        bench = Bench()
        wire = b"".join(len(body).to_bytes(4, "big") + body for body in bodies)
        got: list[bytes] = []
        req = bench.blob(4, tstream_full_request_u32)
        for cut in [*cuts, len(wire)]:
            if wire:
                bench.say(wire[:cut])
                wire = wire[cut:]
            while len(got) < len(bodies):
                if tevent_req_is_in_progress(req):
                    if wire:
                        break
                    tevent_loop_once(bench.ev)
                    continue
                status, blob = tstream_read_pdu_blob_recv(req, bench.top)
                assert status == NT_STATUS_OK
                assert blob is not None
                got.append(bytes(blob[4:]))
                req = bench.blob(4, tstream_full_request_u32)
        talloc_free(bench.top)
        assert got == bodies


class TestFull:
    @pytest.mark.parametrize(("function", "head"), [(tstream_full_request_u16, 2), (tstream_full_request_u32, 4)])
    def test_lengths(self, function: Any, head: int) -> None:
        """The length does not count itself; 0 is complete."""
        assert function(None, None, bytearray(head - 1)) == (STATUS_MORE_ENTRIES, 0)
        assert function(None, None, bytearray(head)) == (NT_STATUS_OK, head)
        three = (3).to_bytes(head, "big")
        assert function(None, None, bytearray(three + b"ab")) == (STATUS_MORE_ENTRIES, head + 3)
        assert function(None, None, bytearray(three + b"abc")) == (NT_STATUS_OK, head + 3)

    @pytest.mark.parametrize(
        ("blob", "answer"),
        [
            (b"\x30\x03\x02\x01\x05", (STATUS_MORE_ENTRIES, 0)),
            (b"\x31\x05\x02\x01\x05\x42\0", (NT_STATUS_INVALID_BUFFER_SIZE, 0)),
            (b"\x30\x05\x02\x01\x05\x42\0", (NT_STATUS_OK, 7)),
            (b"\x30\x06\x02\x01\x05\x42\0", (STATUS_MORE_ENTRIES, 8)),
            (b"\x30\x7f\x02\x01\x05\x42", (STATUS_MORE_ENTRIES, 129)),
            (b"\x30\x81\x80\x02\x01\x05", (STATUS_MORE_ENTRIES, 131)),
            (b"\x30\x84\x00\x01\x00\x00", (STATUS_MORE_ENTRIES, 65542)),
            (b"\x30\x84\xff\xff\xff\xff", (STATUS_MORE_ENTRIES, 6 + 0xFFFFFFFF)),
            (b"\x30\x85\x00\x01\x00\x00", (NT_STATUS_INVALID_BUFFER_SIZE, 0)),
            (b"\x30\x80\x05\x01\x00\x00", (STATUS_MORE_ENTRIES, 8)),
        ],
    )
    def test_ldap(self, blob: bytes, answer: Any) -> None:
        """A BER sequence with a length of up to four bytes."""
        assert ldap_full_packet(None, None, bytearray(blob)) == answer


class TestPacket:
    def test_more(self, bench: Bench) -> None:
        """As many as the function asks for, until it has enough."""
        seen: list[bytes] = []

        def more(buf: bytearray, private: object) -> int:
            seen.append(bytes(buf))
            return 3 if len(buf) < 8 else 0

        bench.say(b"0123456789")
        req = bench.wait(bench.packet(2, more))
        assert tstream_read_packet_recv(req, bench.top) == (8, b"01234567", 0)
        assert seen == [b"01", b"01234", b"01234567"]
        assert bench.rest(2) == b"89"

    def test_none(self, bench: Bench) -> None:
        """Without a function the first read is all."""
        bench.say(b"abc")
        ret, buf, err = tstream_read_packet_recv(bench.wait(bench.packet(3, None)), bench.top)
        assert (ret, buf, err) == (3, b"abc", 0)
        assert talloc_parent(buf) is bench.top

    def test_giving_up(self, bench: Bench) -> None:
        """-1 is EIO."""
        bench.say(b"abc")
        req = bench.wait(bench.packet(3, lambda buf, private: -1))
        assert tstream_read_packet_recv(req, bench.top) == (-1, None, EIO)

    def test_errors_of_the_stream(self, bench: Bench) -> None:
        """Are passed on."""
        talloc_free(bench.far)
        assert tstream_read_packet_recv(bench.wait(bench.packet(3, None)), None)[2] in (EPIPE, ECONNRESET)

    def test_bad_arguments(self, bench: Bench) -> None:
        """Are named at once."""
        with pytest.raises(TypeError, match="more"):
            bench.packet(1, 5)


class TestU32:
    def read(self, bench: Bench, limit: int) -> Any:
        """The result of a read."""
        req = bench.wait(tstream_u32_read_send(bench.top, bench.ev, limit, bench.near))
        return tstream_u32_read_recv(req, bench.top)

    def test_with_its_length(self, bench: Bench) -> None:
        """The four bytes belong to the result; a length at the limit is fine."""
        bench.say(b"\0\0\0\x03abcrest")
        err, buf = self.read(bench, 3)
        assert (err, buf) == (0, b"\0\0\0\x03abc")
        assert talloc_get_size(buf) == 7
        assert bench.rest(4) == b"rest"

    @pytest.mark.parametrize("head", [b"\0\0\0\0", b"\0\0\0\x04", b"\xff\xff\xff\xff"])
    def test_lengths_that_are_refused(self, bench: Bench, head: bytes) -> None:
        """Nothing behind the length is read."""
        bench.say(head + b"rest")
        assert self.read(bench, 3) == (EMSGSIZE, None)
        assert bench.rest(4) == b"rest"

    def test_more_than_32_bits(self, bench: Bench) -> None:
        """Head and body together must fit."""
        bench.say(b"\xff\xff\xff\xfc")
        assert self.read(bench, 2**32) == (EMSGSIZE, None)

    def test_the_end(self, bench: Bench) -> None:
        """EPIPE in the middle."""
        bench.say(b"\0\0\0\x03ab")
        talloc_free(bench.far)
        assert self.read(bench, 3) == (EPIPE, None)


def test_a_next_vector_function_may_grow_the_full_buffer() -> None:
    """Whether it became full in one read or in several."""
    from tsocket import tstream_readv_pdu_recv, tstream_readv_pdu_send

    for parts in ([b"abcdef"], [b"a", b"bcdef"], [b"abc", b"d", b"ef"]):
        bench = Bench()
        buf = bytearray()

        def next_vector(stream: object, private: object, mem_ctx: object, buf: bytearray = buf) -> Any:
            if len(buf) == 6:
                return 0, None
            buf.extend(bytes(3))
            return 0, [memoryview(buf)[len(buf) - 3 :] if len(buf) > 3 else buf]

        req = tstream_readv_pdu_send(bench.top, bench.ev, bench.near, next_vector, None)
        for part in parts:
            bench.say(part)
            tevent_loop_once(bench.ev)
        assert tstream_readv_pdu_recv(bench.wait(req)) == (6, 0)
        assert buf == b"abcdef"
        talloc_free(bench.top)


def test_errors_have_names() -> None:
    """The status of EMSGSIZE is that of a wrong size."""
    from tevent import map_nt_error_from_unix_common

    assert map_nt_error_from_unix_common(EMSGSIZE) == NT_STATUS_INVALID_BUFFER_SIZE
    assert map_nt_error_from_unix_common(EBADMSG) == 0xC0000001
