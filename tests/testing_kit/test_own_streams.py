# SPDX-License-Identifier: LGPL-3.0-or-later
"""Our own stream functions, put through all sweeps over a simulated stream, with their bytes in one piece or singly."""

from __future__ import annotations

from errno import ECONNRESET
from typing import Any

import pytest
from sim_kit import drip, pair

from talloc_py import TALLOC_CTX, talloc_free
from tevent import tevent_context, tevent_queue_create, tevent_req, tevent_req_received, tevent_req_set_callback
from tevent.testing import simulation, sweep
from tsocket import (
    tsocket_address_inet_from_strings,
    tstream_disconnect_recv,
    tstream_disconnect_send,
    tstream_full_request_u32,
    tstream_inet_tcp_connect_recv,
    tstream_inet_tcp_connect_send,
    tstream_monitor_recv,
    tstream_monitor_send,
    tstream_read_packet_recv,
    tstream_read_packet_send,
    tstream_read_pdu_blob_recv,
    tstream_read_pdu_blob_send,
    tstream_readv_pdu_queue_recv,
    tstream_readv_pdu_queue_send,
    tstream_readv_pdu_recv,
    tstream_readv_pdu_send,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_u32_read_recv,
    tstream_u32_read_send,
    tstream_writev_queue_recv,
    tstream_writev_queue_send,
    tstream_writev_recv,
    tstream_writev_send,
)
from tsocket.testing import fault, link, network

PDU = b"\0\0\0\3abc"
PIECES = pytest.mark.parametrize("faults", [[], drip(len(PDU))], ids=["whole", "singly"])
#: What an operation on a socket fails with, and what it may do besides.
ERRNOS = [ECONNRESET, fault("near", "readv", take=1), fault("near", "readv", delay_us=7)]


class reader:
    """The `tstream_readv_pdu_next_vector_t` of four bytes of length and as many bytes as they say."""

    def __init__(self) -> None:
        self.head = bytearray(4)
        self.body: bytearray | None = None

    def next_vector(self, stream: Any, private_data: object, mem_ctx: TALLOC_CTX) -> tuple[int, Any]:
        """What comes next."""
        if self.body is None and not any(self.head):
            return 0, [self.head]
        if self.body is None:
            self.body = bytearray(int.from_bytes(self.head, "big"))
            return 0, [self.body]
        return 0, None


def ok_or_failed(result: tuple[int, int], wanted: int) -> None:
    """An operation ends with what it should, or with an errno that says why not."""
    assert result == (wanted, 0) or (result[0] == -1 and result[1] > 0), result


class TestStreams:
    @PIECES
    def test_readv(self, faults: list[fault]) -> None:
        """A read."""

        def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req | None:
            return tstream_readv_send(mem_ctx, ev, world.scene, [bytearray(3), bytearray(4)])

        sweep(
            start,
            lambda req: ok_or_failed(tstream_readv_recv(req), 7),
            recv=tstream_readv_recv,
            scene=lambda world, ev, mem_ctx: pair(world, ev, mem_ctx, [PDU], *faults),
            errnos=ERRNOS,
        )

    def test_writev(self) -> None:
        """A write that has to wait for its reader."""

        def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req | None:
            return tstream_writev_send(mem_ctx, ev, world.scene, [b"abc", b"defghij"])

        sweep(
            start,
            lambda req: ok_or_failed(tstream_writev_recv(req), 10),
            recv=tstream_writev_recv,
            scene=lambda world, ev, mem_ctx: pair(world, ev, mem_ctx, [2, 8], buffer=4),
            errnos=[ECONNRESET, fault("near", "writev", take=1), fault("near", "writev", delay_us=7)],
        )

    def test_disconnect(self) -> None:
        """A disconnect."""
        sweep(
            lambda world, ev, mem_ctx: tstream_disconnect_send(mem_ctx, ev, world.scene),
            lambda req: ok_or_failed(tstream_disconnect_recv(req), 0),
            recv=tstream_disconnect_recv,
            scene=lambda world, ev, mem_ctx: pair(world, ev, mem_ctx, []),
        )

    def test_monitor(self) -> None:
        """A monitor hears of the end."""

        def finish(req: tevent_req) -> None:
            assert tstream_monitor_recv(req)[0] == -1

        sweep(
            lambda world, ev, mem_ctx: tstream_monitor_send(mem_ctx, ev, world.scene),
            finish,
            recv=tstream_monitor_recv,
            scene=lambda world, ev, mem_ctx: pair(world, ev, mem_ctx, [b"x", None]),
        )

    def test_connect(self) -> None:
        """A connection over TCP."""

        def scene(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> Any:
            net = network(world, link=link(latency_us=1000))
            there = net.address(world.top, "10.0.0.2", 53)
            net.listen(world.top, ev, there, lambda stream: None)
            return there

        def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req | None:
            _, local = tsocket_address_inet_from_strings(world.top, "ip", None, 0)
            assert local is not None
            return tstream_inet_tcp_connect_send(mem_ctx, ev, local, world.scene)

        def finish(req: tevent_req) -> None:
            ret, err, stream, local = tstream_inet_tcp_connect_recv(req, None)
            ok_or_failed((ret, err), 0)
            assert (stream is not None, local is not None) == (ret == 0, ret == 0)
            if stream is not None:
                talloc_free(stream)
                talloc_free(local)

        sweep(start, finish, scene=scene, recv=lambda req: tstream_inet_tcp_connect_recv(req, None))


class TestPdus:
    @PIECES
    def test_readv_pdu(self, faults: list[fault]) -> None:
        """A PDU."""

        def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req | None:
            return tstream_readv_pdu_send(mem_ctx, ev, world.scene, reader().next_vector, None)

        sweep(
            start,
            lambda req: ok_or_failed(tstream_readv_pdu_recv(req), 7),
            recv=tstream_readv_pdu_recv,
            scene=lambda world, ev, mem_ctx: pair(world, ev, mem_ctx, [PDU], *faults),
            errnos=ERRNOS,
        )

    @PIECES
    @pytest.mark.parametrize("behind", [False, True])
    def test_readv_pdu_queue(self, faults: list[fault], behind: bool) -> None:
        """A PDU whose turn has come, or that waits behind another one."""

        def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req | None:
            stream, queue = world.scene
            if behind:
                first = tstream_readv_pdu_queue_send(world.top, ev, stream, queue, reader().next_vector, None)
                assert first is not None
                tevent_req_set_callback(first, lambda req: talloc_free(req), None)
            return tstream_readv_pdu_queue_send(mem_ctx, ev, stream, queue, reader().next_vector, None)

        def scene(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> Any:
            return pair(world, ev, mem_ctx, [PDU, PDU], *faults), tevent_queue_create(mem_ctx, "pdus")

        sweep(
            start,
            lambda req: ok_or_failed(tstream_readv_pdu_queue_recv(req), 7),
            recv=tstream_readv_pdu_queue_recv,
            scene=scene,
            errnos=[ECONNRESET],
        )

    @pytest.mark.parametrize("behind", [False, True])
    def test_writev_queue(self, behind: bool) -> None:
        """A write whose turn has come, or that waits behind another one."""

        def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req | None:
            stream, queue = world.scene
            if behind:
                first = tstream_writev_queue_send(world.top, ev, stream, queue, [b"first"])
                assert first is not None
                tevent_req_set_callback(first, lambda req: talloc_free(req), None)
            return tstream_writev_queue_send(mem_ctx, ev, stream, queue, [b"second"])

        def scene(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> Any:
            return pair(world, ev, mem_ctx, [4, 4], buffer=4), tevent_queue_create(mem_ctx, "writes")

        sweep(
            start,
            lambda req: ok_or_failed(tstream_writev_queue_recv(req), 6),
            recv=tstream_writev_queue_recv,
            scene=scene,
            errnos=[ECONNRESET],
        )

    @PIECES
    def test_read_pdu_blob(self, faults: list[fault]) -> None:
        """A PDU that is as long as its first bytes say."""

        def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req | None:
            return tstream_read_pdu_blob_send(mem_ctx, ev, world.scene, 4, tstream_full_request_u32, None)

        def finish(req: tevent_req) -> None:
            _, blob = tstream_read_pdu_blob_recv(req, None)
            assert blob in (None, PDU)
            talloc_free(blob)

        sweep(
            start,
            finish,
            recv=lambda req: tstream_read_pdu_blob_recv(req, None)[0],
            scene=lambda world, ev, mem_ctx: pair(world, ev, mem_ctx, [PDU], *faults),
            errnos=ERRNOS,
        )

    @PIECES
    def test_read_packet(self, faults: list[fault]) -> None:
        """A packet of which a function says how much is still to come."""

        def more(data: bytearray, _private: object) -> int:
            return 7 - len(data)

        def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req | None:
            return tstream_read_packet_send(mem_ctx, ev, world.scene, 4, more, None)

        def finish(req: tevent_req) -> None:
            _, blob, _ = tstream_read_packet_recv(req, None)
            tevent_req_received(req)  # as in C, its owner's business
            assert blob in (None, PDU)
            talloc_free(blob)

        sweep(
            start,
            finish,
            recv=lambda req: tstream_read_packet_recv(req, None),
            scene=lambda world, ev, mem_ctx: pair(world, ev, mem_ctx, [PDU], *faults),
            errnos=ERRNOS,
        )

    @PIECES
    def test_u32_read(self, faults: list[fault]) -> None:
        """A length, and what it counts."""

        def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req | None:
            return tstream_u32_read_send(mem_ctx, ev, 100, world.scene)

        def finish(req: tevent_req) -> None:
            _, blob = tstream_u32_read_recv(req, None)
            tevent_req_received(req)  # as in C, its owner's business
            assert blob in (None, PDU)
            talloc_free(blob)

        sweep(
            start,
            finish,
            recv=lambda req: tstream_u32_read_recv(req, None),
            scene=lambda world, ev, mem_ctx: pair(world, ev, mem_ctx, [PDU], *faults),
            errnos=ERRNOS,
        )
