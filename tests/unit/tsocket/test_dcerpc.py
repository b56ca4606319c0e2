# SPDX-License-Identifier: LGPL-3.0-or-later
"""DCE/RPC packets, and raw calls over a handle."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest
import stream_kit

from talloc_py import talloc_free, talloc_parent
from tevent import (
    NT_STATUS_CONNECTION_DISCONNECTED,
    NT_STATUS_INVALID_PARAMETER,
    NT_STATUS_IO_TIMEOUT,
    NT_STATUS_OK,
    NT_STATUS_PIPE_BUSY,
    NT_STATUS_RPC_PROTOCOL_ERROR,
    tevent_loop_once,
    tevent_req,
    tevent_req_is_in_progress,
    tevent_update_timer,
    timeval,
)
from tsocket import (
    DCERPC_PFC_FLAG_FIRST,
    DCERPC_PFC_FLAG_LAST,
    DCERPC_PKT_CO_CANCEL,
    DCERPC_PKT_RESPONSE,
    dcerpc_binding_handle,
    dcerpc_binding_handle_disconnect_recv,
    dcerpc_binding_handle_disconnect_send,
    dcerpc_binding_handle_is_connected,
    dcerpc_binding_handle_raw_call_recv,
    dcerpc_binding_handle_raw_call_send,
    dcerpc_binding_handle_set_timeout,
    dcerpc_get_frag_length,
    dcerpc_pull_ncacn_packet,
    dcerpc_read_ncacn_packet_recv,
    dcerpc_read_ncacn_packet_send,
    tstream_binding_handle_create,
    tstream_full_request_u32,
    tstream_readv_recv,
    tstream_readv_send,
)


def packet(body: bytes = b"", ptype: int = DCERPC_PKT_RESPONSE, order: str = "<", length: int | None = None) -> bytes:
    """A packet."""
    drep = b"\x10\0\0\0" if order == "<" else bytes(4)
    size = 16 + len(body) if length is None else length
    return struct.pack(order + "4B4sHHI", 5, 0, ptype, 3, drep, size, 0, 0x01020304) + body


class Bench(stream_kit.Bench):
    """Two streams, and what is tested here."""

    def heard(self, size: int) -> bytes:
        """What the one under test has sent."""
        buf = bytearray(size)
        assert tstream_readv_recv(self.wait(tstream_readv_send(self.top, self.ev, self.far, [buf]))) == (size, 0)
        return bytes(buf)

    def read(self) -> Any:
        """The result of reading a packet."""
        req = self.wait(dcerpc_read_ncacn_packet_send(self.top, self.ev, self.near))
        return dcerpc_read_ncacn_packet_recv(req, self.top)

    def handle(self) -> dcerpc_binding_handle:
        """A handle over the near stream, whose answers begin with their length."""
        h = tstream_binding_handle_create(self.top, None, self.near, 4, tstream_full_request_u32, None, 0)
        assert h is not None
        return h

    def call(self, h: dcerpc_binding_handle, data: bytes = b"question") -> tevent_req:
        """Start a call."""
        req = dcerpc_binding_handle_raw_call_send(self.top, self.ev, h, None, 0, 0, data)
        assert req is not None
        return req

    def answer(self, req: tevent_req) -> Any:
        """The result of a call."""
        return dcerpc_binding_handle_raw_call_recv(self.wait(req), self.top)


@pytest.fixture(name="bench")
def new_bench() -> Iterator[Bench]:
    """A bench."""
    bench = Bench()
    yield bench
    talloc_free(bench.top)


class TestPacket:
    @pytest.mark.parametrize("order", ["<", ">"])
    def test_header(self, bench: Bench, order: str) -> None:
        """In the order that the packet says; all bytes come with it."""
        data = packet(b"stub", order=order)
        bench.say(data + b"next")
        status, pkt, buffer = bench.read()
        assert status == NT_STATUS_OK
        assert (pkt.rpc_vers, pkt.rpc_vers_minor, pkt.ptype) == (5, 0, DCERPC_PKT_RESPONSE)
        assert pkt.pfc_flags == DCERPC_PFC_FLAG_FIRST | DCERPC_PFC_FLAG_LAST
        assert (pkt.frag_length, pkt.auth_length, pkt.call_id) == (20, 0, 0x01020304)
        assert pkt.payload == b"stub"
        assert buffer == data
        assert talloc_parent(pkt) is bench.top
        assert talloc_parent(buffer) is bench.top
        assert dcerpc_get_frag_length(data) == 20

    def test_without_a_body(self, bench: Bench) -> None:
        """Sixteen bytes can be all."""
        bench.say(packet(ptype=DCERPC_PKT_CO_CANCEL))
        status, pkt, _ = bench.read()
        assert status == NT_STATUS_OK
        assert pkt.payload == b""

    @pytest.mark.parametrize("length", [0, 1, 15])
    def test_shorter_than_its_header(self, bench: Bench, length: int) -> None:
        """A protocol error; what follows stays in the stream."""
        bench.say(packet(length=length) + packet(b"good"))
        assert bench.read() == (NT_STATUS_RPC_PROTOCOL_ERROR, None, None)
        assert bench.read()[1].payload == b"good"

    def test_unknown_type(self, bench: Bench) -> None:
        """A wrong parameter."""
        bench.say(packet(b"x", ptype=21))
        assert bench.read() == (NT_STATUS_INVALID_PARAMETER, None, None)

    @pytest.mark.parametrize("size", [0, 5, 16, 19])
    def test_cut(self, bench: Bench, size: int) -> None:
        """The end of the stream is a lost connection."""
        bench.say(packet(b"stub")[:size] or b"")
        talloc_free(bench.far)
        assert bench.read() == (NT_STATUS_CONNECTION_DISCONNECTED, None, None)

    def test_pulling(self, bench: Bench) -> None:
        """A blob must be exactly one packet."""
        assert dcerpc_pull_ncacn_packet(bench.top, packet(b"x") + b"y") == (NT_STATUS_RPC_PROTOCOL_ERROR, None)
        assert dcerpc_pull_ncacn_packet(bench.top, b"x") == (NT_STATUS_RPC_PROTOCOL_ERROR, None)
        with pytest.raises(ValueError, match="16 bytes"):
            dcerpc_get_frag_length(b"x")


class TestHandle:
    def test_a_call(self, bench: Bench) -> None:
        """Goes out as it is, and is answered by one PDU."""
        h = bench.handle()
        assert talloc_parent(bench.near) is h
        assert dcerpc_binding_handle_is_connected(h)
        req = bench.call(h)
        assert bench.heard(8) == b"question"
        bench.say(b"\0\0\0\x06answer")
        status, data, flags = bench.answer(req)
        assert (status, data, flags) == (NT_STATUS_OK, b"\0\0\0\x06answer", 0)
        assert talloc_parent(data) is bench.top

    def test_calls_one_after_the_other(self, bench: Bench) -> None:
        """The handle is free again when the request is out."""
        h = bench.handle()
        for n in range(3):
            req = bench.call(h)
            bench.say(b"\0\0\0\x01" + bytes([n]))
            assert bench.answer(req)[1][4] == n

    def test_busy(self, bench: Bench) -> None:
        """A call while another one is being written fails, and that one goes on."""
        h = bench.handle()
        req = bench.call(h)
        assert bench.answer(bench.call(h))[0] == NT_STATUS_PIPE_BUSY
        bench.say(b"\0\0\0\0")
        assert bench.answer(req)[0] == NT_STATUS_OK

    def test_timeout(self, bench: Bench) -> None:
        """It ends the connection, for nobody knows which answer would come next."""
        h = bench.handle()
        assert dcerpc_binding_handle_set_timeout(h, 1) == 0
        assert dcerpc_binding_handle_set_timeout(h, 3600) == 1
        req = bench.call(h)
        (timer,) = bench.ev.timer_events
        tevent_update_timer(timer, timeval(1, 0))
        assert bench.answer(req)[0] == NT_STATUS_IO_TIMEOUT
        assert not dcerpc_binding_handle_is_connected(h)
        assert bench.answer(bench.call(h))[0] == NT_STATUS_CONNECTION_DISCONNECTED

    def test_lost_connection(self, bench: Bench) -> None:
        """An end instead of an answer."""
        h = bench.handle()
        req = bench.call(h)
        bench.heard(8)
        talloc_free(bench.far)
        assert bench.answer(req)[0] == NT_STATUS_CONNECTION_DISCONNECTED
        assert not dcerpc_binding_handle_is_connected(h)

    def test_freed_call(self, bench: Bench) -> None:
        """The handle is not busy any more."""
        h = bench.handle()
        talloc_free(bench.call(h))
        req = bench.call(h)
        assert tevent_req_is_in_progress(req)

    def test_freed_handle(self, bench: Bench) -> None:
        """A call under way can still be freed."""
        h = bench.handle()
        req = bench.call(h)
        talloc_free(h)
        talloc_free(req)
        while bench.ev.immediate_events:
            tevent_loop_once(bench.ev)

    def test_disconnect(self, bench: Bench) -> None:
        """Ends with success, once."""
        h = bench.handle()
        for status in (NT_STATUS_OK, NT_STATUS_CONNECTION_DISCONNECTED):
            req = bench.wait(dcerpc_binding_handle_disconnect_send(bench.top, bench.ev, h))
            assert dcerpc_binding_handle_disconnect_recv(req) == status
            assert not dcerpc_binding_handle_is_connected(h)

    def test_bad_arguments(self, bench: Bench) -> None:
        """Are named at once."""
        with pytest.raises(TypeError, match="dcerpc_binding_handle"):
            dcerpc_binding_handle_is_connected(bench.near)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="complete_pdu_fn"):
            tstream_binding_handle_create(bench.top, None, bench.near, 4, None, None, 0)  # type: ignore[arg-type]
        h = bench.handle()
        with pytest.raises(TypeError, match="timeout"):
            dcerpc_binding_handle_set_timeout(h, "1")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="negative"):
            dcerpc_binding_handle_set_timeout(h, -1)
