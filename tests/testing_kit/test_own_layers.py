# SPDX-License-Identifier: LGPL-3.0-or-later
"""Datagrams, DCE/RPC, named pipes and signed streams of ours, put through all sweeps in a simulated world."""

from __future__ import annotations

from errno import ECONNRESET
from typing import Any

import pytest
from sim_kit import drip, pair, peer

from talloc_py import TALLOC_CTX, talloc_free, talloc_new, talloc_steal, talloc_zero
from tevent import (
    NT_STATUS_IS_OK,
    NT_STATUS_OK,
    tevent_context,
    tevent_queue_create,
    tevent_req,
    tevent_req_set_callback,
)
from tevent.testing import simulation, sweep
from tsocket import (
    FILE_TYPE_BYTE_MODE_PIPE,
    FILE_TYPE_MESSAGE_MODE_PIPE,
    GENSEC_FEATURE_SEAL,
    NCACN_NP,
    dcerpc_binding_handle_disconnect_recv,
    dcerpc_binding_handle_disconnect_send,
    dcerpc_binding_handle_raw_call_recv,
    dcerpc_binding_handle_raw_call_send,
    dcerpc_binding_handle_set_timeout,
    dcerpc_read_ncacn_packet_recv,
    dcerpc_read_ncacn_packet_send,
    gensec_create_tstream,
    gensec_security,
    tdgram_disconnect_recv,
    tdgram_disconnect_send,
    tdgram_recvfrom_recv,
    tdgram_recvfrom_send,
    tdgram_sendto_queue_recv,
    tdgram_sendto_queue_send,
    tdgram_sendto_recv,
    tdgram_sendto_send,
    tsocket_address_unix_from_path,
    tstream_binding_handle_create,
    tstream_context,
    tstream_disconnect_recv,
    tstream_disconnect_send,
    tstream_full_request_u32,
    tstream_npa_accept_existing_recv,
    tstream_npa_accept_existing_send,
    tstream_npa_connect_recv,
    tstream_npa_connect_send,
    tstream_npa_existing_stream,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_writev_recv,
    tstream_writev_send,
)
from tsocket.testing import fault, link, network

ERRNOS = [ECONNRESET, fault("*", "readv", take=1)]


def ok_or_failed(result: tuple[int, int], wanted: int) -> None:
    """An operation ends with what it should, or with an errno that says why not."""
    assert result == (wanted, 0) or (result[0] == -1 and result[1] > 0), result


class TestDatagrams:
    @staticmethod
    def scene(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> Any:
        """Two sockets, one of them the world's, from which a datagram is on its way."""
        net = network(world, link=link(latency_us=1000))
        near, far = net.dgram_pair(mem_ctx, "near", "far", unix=True)
        talloc_steal(world.top, far)
        talloc_free(tdgram_sendto_send(world.top, ev, far, b"hello", None))
        return near, tevent_queue_create(mem_ctx, "sends")

    def test_recvfrom(self) -> None:
        """A receive."""

        def finish(req: tevent_req) -> None:
            ret, err, buf, source = tdgram_recvfrom_recv(req, None)
            ok_or_failed((ret, err), 5)
            if ret != -1:
                talloc_free(buf)  # type: ignore[arg-type]
                talloc_free(source)

        sweep(
            lambda world, ev, mem_ctx: tdgram_recvfrom_send(mem_ctx, ev, world.scene[0]),
            finish,
            recv=lambda req: tdgram_recvfrom_recv(req, None),
            scene=self.scene,
        )

    def test_sendto(self) -> None:
        """A send."""
        sweep(
            lambda world, ev, mem_ctx: tdgram_sendto_send(mem_ctx, ev, world.scene[0], b"abc", None),
            lambda req: ok_or_failed(tdgram_sendto_recv(req), 3),
            recv=tdgram_sendto_recv,
            scene=self.scene,
        )

    def test_sendto_queue(self) -> None:
        """A send through a queue, behind another one."""

        def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req | None:
            near, queue = world.scene
            first = tdgram_sendto_queue_send(world.top, ev, near, queue, b"first", None)
            assert first is not None
            tevent_req_set_callback(first, lambda req: talloc_free(req), None)
            return tdgram_sendto_queue_send(mem_ctx, ev, near, queue, b"abc", None)

        sweep(start, lambda req: ok_or_failed(tdgram_sendto_queue_recv(req), 3), scene=self.scene)

    def test_disconnect(self) -> None:
        """A disconnect."""
        sweep(
            lambda world, ev, mem_ctx: tdgram_disconnect_send(mem_ctx, ev, world.scene[0]),
            lambda req: ok_or_failed(tdgram_disconnect_recv(req), 0),
            scene=self.scene,
        )


ANSWER = b"\0\0\0\6answer"


class TestDcerpc:
    @staticmethod
    def scene(timeout: int, script: Any, *faults: fault) -> Any:
        """A handle over a stream whose other side answers."""

        def scene(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> Any:
            stream = pair(world, ev, mem_ctx, script, *faults, buffer=6)
            handle = tstream_binding_handle_create(mem_ctx, None, stream, 4, tstream_full_request_u32, None, 0)
            assert handle is not None
            dcerpc_binding_handle_set_timeout(handle, timeout)
            return handle

        return scene

    @pytest.mark.parametrize("timeout", [0, 60])
    @pytest.mark.parametrize(
        ("script", "faults"),
        [([8, ANSWER], []), ([8, ANSWER], drip(10)), ([ANSWER, 8], []), ([8, ANSWER[:7], None], [])],
        ids=["plain", "singly", "answered before asked", "half an answer"],
    )
    def test_raw_call(self, timeout: int, script: Any, faults: list[fault]) -> None:
        """A call, answered in one piece, in many, too early, and not wholly."""

        def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req | None:
            return dcerpc_binding_handle_raw_call_send(mem_ctx, ev, world.scene, None, 1, 0, b"question")

        def finish(req: tevent_req) -> None:
            status, out, _ = dcerpc_binding_handle_raw_call_recv(req, None)
            assert (out is not None) == NT_STATUS_IS_OK(status)
            if out is not None:
                assert out == ANSWER
                talloc_free(out)

        sweep(
            start,
            finish,
            recv=lambda req: dcerpc_binding_handle_raw_call_recv(req, None)[0],
            scene=self.scene(timeout, script, *faults),
            errnos=[ECONNRESET],
        )

    def test_disconnect(self) -> None:
        """A disconnect."""
        sweep(
            lambda world, ev, mem_ctx: dcerpc_binding_handle_disconnect_send(mem_ctx, ev, world.scene),
            dcerpc_binding_handle_disconnect_recv,
            recv=dcerpc_binding_handle_disconnect_recv,
            scene=self.scene(0, []),
        )

    @pytest.mark.parametrize("faults", [[], drip(20)], ids=["whole", "singly"])
    def test_read_ncacn_packet(self, faults: list[fault]) -> None:
        """A packet."""
        packet = b"\5\0\2\3\x10\0\0\0\x14\0\0\0\1\2\3\4body"

        def finish(req: tevent_req) -> None:
            status, head, blob = dcerpc_read_ncacn_packet_recv(req, None)
            if NT_STATUS_IS_OK(status):
                assert blob == packet
                talloc_free(head)
                talloc_free(blob)  # type: ignore[arg-type]

        sweep(
            lambda world, ev, mem_ctx: dcerpc_read_ncacn_packet_send(mem_ctx, ev, world.scene),
            finish,
            recv=lambda req: dcerpc_read_ncacn_packet_recv(req, None)[0],
            scene=lambda world, ev, mem_ctx: pair(world, ev, mem_ctx, [packet], *faults),
            errnos=[ECONNRESET],
        )


class transfers:
    """A read and a write, swept over a stream that *layer* puts over a simulated one."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def sweep_read(self, script: Any, wanted: bytes, *faults: fault, errnos: Any = ERRNOS) -> None:
        """A read of *wanted*, which is in *script* as the layer below has it."""

        def finish(req: tevent_req) -> None:
            ok_or_failed(tstream_readv_recv(req), len(wanted))

        sweep(
            lambda world, ev, mem_ctx: tstream_readv_send(mem_ctx, ev, world.scene, [bytearray(len(wanted))]),
            finish,
            recv=tstream_readv_recv,
            scene=lambda world, ev, mem_ctx: self.layer(mem_ctx, pair(world, ev, mem_ctx, script, *faults)),
            errnos=errnos,
        )

    def sweep_write(self, size: int, data: bytes, errnos: Any = (ECONNRESET,)) -> None:
        """A write of *data*, which comes to *size* bytes below."""
        sweep(
            lambda world, ev, mem_ctx: tstream_writev_send(mem_ctx, ev, world.scene, [data]),
            lambda req: ok_or_failed(tstream_writev_recv(req), len(data)),
            recv=tstream_writev_recv,
            scene=lambda world, ev, mem_ctx: self.layer(mem_ctx, pair(world, ev, mem_ctx, [size], buffer=5)),
            errnos=errnos,
        )

    def sweep_disconnect(self) -> None:
        """A disconnect."""
        sweep(
            lambda world, ev, mem_ctx: tstream_disconnect_send(mem_ctx, ev, world.scene),
            lambda req: ok_or_failed(tstream_disconnect_recv(req), 0),
            recv=tstream_disconnect_recv,
            scene=lambda world, ev, mem_ctx: self.layer(mem_ctx, pair(world, ev, mem_ctx, [])),
        )


class TestNamedPipes:
    @staticmethod
    def pipe(mem_ctx: TALLOC_CTX, plain: tstream_context, mode: int = FILE_TYPE_MESSAGE_MODE_PIPE) -> tstream_context:
        """A pipe over *plain*."""
        ret, stream = tstream_npa_existing_stream(mem_ctx, plain, mode)
        assert ret == 0
        assert stream is not None
        return stream

    @pytest.mark.parametrize("faults", [[], drip(10)], ids=["whole", "singly"])
    def test_read(self, faults: list[fault]) -> None:
        """A read over two messages."""
        transfers(self.pipe).sweep_read([b"\3\0abc\3\0def"], b"abcde", *faults)

    def test_write(self) -> None:
        """A message that has to wait for its reader."""
        transfers(self.pipe).sweep_write(10, b"abcdefgh")

    def test_disconnect(self) -> None:
        """A disconnect, which frees what is below."""
        transfers(self.pipe).sweep_disconnect()

    @pytest.mark.parametrize("level", [7, 8])
    def test_opening(self, level: int) -> None:
        """A client that opens a pipe of a server which lets it in."""

        def scene(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> Any:
            net = network(world, link=link(latency_us=1000))
            _, there = tsocket_address_unix_from_path(world.top, "/pipes/np/mypipe")
            assert there is not None

            def serve(stream: tstream_context) -> None:
                tstream_npa_accept_existing_send(
                    world.top, ev, stream, FILE_TYPE_BYTE_MODE_PIPE, 0x5FF, 4096, level=level
                )

            net.listen(world.top, ev, there, serve)
            return net.address(world.top, "192.0.2.7", 1024)

        def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req | None:
            address = world.scene
            return tstream_npa_connect_send(
                mem_ctx, ev, "/pipes/np", "MyPipe", NCACN_NP, address, "client", address, None, None, level=level
            )

        def finish(req: tevent_req) -> None:
            ret, err, stream, *_ = tstream_npa_connect_recv(req, None)
            ok_or_failed((ret, err), 0)
            if stream is not None:
                talloc_free(stream)

        sweep(start, finish, recv=lambda req: tstream_npa_connect_recv(req, None), scene=scene, errnos=[ECONNRESET])

    @pytest.mark.parametrize("faults", [[], drip(6)], ids=["whole", "singly"])
    def test_letting_in(self, faults: list[fault]) -> None:
        """A server that lets a client in."""
        question = opening_request()

        def scene(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> Any:
            return pair(world, ev, mem_ctx, [question], *faults)

        def start(world: simulation, ev: tevent_context, mem_ctx: TALLOC_CTX) -> tevent_req | None:
            return tstream_npa_accept_existing_send(mem_ctx, ev, world.scene, FILE_TYPE_MESSAGE_MODE_PIPE, 0x5FF, 4096)

        def finish(req: tevent_req) -> None:
            owner = talloc_new(None)
            ret, err, stream, *_ = tstream_npa_accept_existing_recv(req, owner)
            ok_or_failed((ret, err), 0)
            assert (stream is not None) == (ret == 0)
            talloc_free(owner)

        sweep(
            start,
            finish,
            recv=lambda req: tstream_npa_accept_existing_recv(req, None),
            scene=scene,
            errnos=[ECONNRESET],
        )


def opening_request() -> bytes:
    """The bytes that a client sends to open a pipe."""
    with simulation(None) as world:
        net = network(world)
        ev = world.context()
        _, there = tsocket_address_unix_from_path(world.top, "/np/mypipe")
        assert there is not None
        heard: list[peer] = []
        net.listen(world.top, ev, there, lambda stream: heard.append(peer(world, ev, stream, [1] * 10_000)))
        address = net.address(world.top, "192.0.2.7", 1024)
        tstream_npa_connect_send(world.top, ev, "/np", "mypipe", NCACN_NP, address, "client", address, None, None)
        world.run()
        return bytes(heard[0].got)


class toy(gensec_security):
    """A mechanism that turns each byte around."""

    def have_feature(self, feature: int) -> bool:
        """It seals."""
        return feature == GENSEC_FEATURE_SEAL

    def max_input_size(self) -> int:
        """Small pieces."""
        return 4

    def wrap(self, data: bytes) -> Any:
        """Turn around."""
        return NT_STATUS_OK, bytes(byte ^ 0xFF for byte in data)

    unwrap = wrap


class TestSignedStreams:
    @staticmethod
    def secured(mem_ctx: TALLOC_CTX, plain: tstream_context) -> tstream_context:
        """A sealed stream over *plain*."""
        security = talloc_zero(mem_ctx, toy)
        assert security is not None
        status, stream = gensec_create_tstream(mem_ctx, security, plain)
        assert status == NT_STATUS_OK
        assert stream is not None
        return stream

    @pytest.mark.parametrize("faults", [[], drip(12)], ids=["whole", "singly"])
    def test_read(self, faults: list[fault]) -> None:
        """A read over two tokens."""
        tokens = b"\0\0\0\2\x9e\x9d\0\0\0\2\x9c\x9b"
        transfers(self.secured).sweep_read([tokens], b"abc", *faults)

    def test_write(self) -> None:
        """Two tokens that have to wait for their reader."""
        transfers(self.secured).sweep_write(14, b"abcdef")

    def test_disconnect(self) -> None:
        """A disconnect."""
        transfers(self.secured).sweep_disconnect()
