# SPDX-License-Identifier: LGPL-3.0-or-later
"""Each of our streams under any mix of requests, frees, timeouts and failures, over any simulated network."""

from __future__ import annotations

from errno import ECONNRESET, EINTR
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test
from sim_machines import SIDES, ok_or_failed, two_streams

from talloc_py import talloc_free, talloc_steal, talloc_zero
from tevent import NT_STATUS_IS_OK, NT_STATUS_OK, tevent_queue_create, tevent_req, tevent_req_set_callback
from tevent.testing import request_machine
from tsocket import (
    FILE_TYPE_BYTE_MODE_PIPE,
    FILE_TYPE_MESSAGE_MODE_PIPE,
    dcerpc_binding_handle_is_connected,
    dcerpc_binding_handle_raw_call_recv,
    dcerpc_binding_handle_raw_call_send,
    dcerpc_binding_handle_set_timeout,
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
    tsocket_address_inet_from_strings,
    tstream_binding_handle_create,
    tstream_context,
    tstream_full_request_u32,
    tstream_inet_tcp_connect_recv,
    tstream_inet_tcp_connect_send,
    tstream_npa_existing_stream,
    tstream_readv_pdu_queue_recv,
    tstream_readv_pdu_queue_send,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_writev_queue_send,
)
from tsocket.testing import fault, link, network


class byte_pipes(two_streams):
    """Pipes in byte mode."""

    mode = FILE_TYPE_BYTE_MODE_PIPE

    def layer(self, plain: tstream_context) -> tstream_context:
        ret, stream = tstream_npa_existing_stream(self.mem_ctx, plain, self.mode)
        assert ret == 0
        assert stream is not None
        return stream


class message_pipes(byte_pipes):
    """Pipes in message mode."""

    mode = FILE_TYPE_MESSAGE_MODE_PIPE


class toy(gensec_security):
    """A mechanism that turns each byte around."""

    def have_feature(self, feature: int) -> bool:
        """It does everything."""
        return True

    def max_input_size(self) -> int:
        """Small pieces."""
        return 16

    def wrap(self, data: bytes) -> Any:
        """Turn around."""
        return NT_STATUS_OK, bytes(byte ^ 0xFF for byte in data)

    unwrap = wrap


class sealed_streams(two_streams):
    """Sealed streams."""

    def layer(self, plain: tstream_context) -> tstream_context:
        security = talloc_zero(self.mem_ctx, toy)
        assert security is not None
        status, stream = gensec_create_tstream(self.mem_ctx, security, plain)
        assert status == NT_STATUS_OK
        return stream


def read_number(stream: Any, private_data: Any, mem_ctx: Any) -> Any:
    """The `tstream_readv_pdu_next_vector_t` of two single bytes."""
    parts: list[bytearray] = private_data
    if len(parts) == 2:
        return 0, None
    parts.append(bytearray(1))
    return 0, [parts[-1]]


class queued_pdus(two_streams):
    """PDUs through a queue."""

    def start(self, draw: Any) -> tevent_req | None:
        side = draw(SIDES, label="side")
        if not hasattr(self, "pdus"):
            self.pdus = [tevent_queue_create(self.world.top, "pdus") for _ in self.streams]
        queue = self.pdus[side]
        assert queue is not None
        return tstream_readv_pdu_queue_send(self.mem_ctx, self.ev, self.streams[side], queue, read_number, [])

    def finish(self, req: tevent_req) -> None:
        ok_or_failed(tstream_readv_pdu_queue_recv(req), 2)


class calls(request_machine):
    """Raw calls over one handle, with a server that answers each."""

    errnos: ClassVar[Any] = (ECONNRESET, EINTR, fault("*", "readv", take=1))

    def scene(self) -> None:
        net = network(self.world, link=link(latency_us=100, cut=True, partial_writes=True, buffer=40))
        near, far = net.stream_pair(self.world.top)
        talloc_steal(self.mem_ctx, near)
        self.handle = tstream_binding_handle_create(self.mem_ctx, None, near, 4, tstream_full_request_u32, None, 0)
        dcerpc_binding_handle_set_timeout(self.handle, 60)
        self.serve(far)

    def serve(self, far: tstream_context) -> None:
        """Answer the next call, and those behind it."""
        buf = bytearray(8)

        def heard(req: tevent_req) -> None:
            ret, _ = tstream_readv_recv(req)
            talloc_free(req)
            if ret != -1:
                self.serve(far)
                tstream_writev_queue_send(self.world.top, self.ev, far, self.answers, [b"\0\0\0\4" + buf[:4]])

        req = tstream_readv_send(self.world.top, self.ev, far, [buf])
        if not hasattr(self, "answers"):
            self.answers: Any = tevent_queue_create(self.world.top, "answers")
        assert req is not None
        tevent_req_set_callback(req, heard, None)

    def start(self, draw: Any) -> tevent_req | None:
        return dcerpc_binding_handle_raw_call_send(self.mem_ctx, self.ev, self.handle, None, 0, 0, b"question")

    def finish(self, req: tevent_req) -> None:
        status, out, _ = dcerpc_binding_handle_raw_call_recv(req, self.world.top)
        assert (out is not None) == NT_STATUS_IS_OK(status)
        # As in C, a call that is freed under way leaves its half question, or its answer, in the stream.
        if not any(each.freed and not each.calls for each in self.requests):
            assert out in (None, b"\0\0\0\4ques")

    @rule()
    def is_connected(self) -> None:
        """Ask."""
        dcerpc_binding_handle_is_connected(self.handle)


MANY = settings(
    max_examples=30, stateful_step_count=15, deadline=None, suppress_health_check=[*HealthCheck], print_blob=True
)


@pytest.mark.slow
@pytest.mark.parametrize("machine", [two_streams, byte_pipes, message_pipes, sealed_streams, queued_pdus, calls])
def test_machine(machine: type[request_machine]) -> None:
    """Each callback runs once, or never for a freed request, and nothing is left behind."""
    run_state_machine_as_test(machine, settings=MANY)


class datagrams(request_machine):
    """Two datagram sockets on a network that loses, doubles and reorders."""

    errnos: ClassVar[Any] = (ECONNRESET, EINTR)
    ends = False  # a receive waits for ever where nobody sends
    unix: ClassVar[bool] = False

    def scene(self) -> None:
        bad = link(latency_us=100, jitter_us=90, loss=0.5, duplicate=0.5, reorder=0.5)
        self.sockets = network(self.world, link=bad).dgram_pair(self.mem_ctx, unix=self.unix)
        self.queue = tevent_queue_create(self.mem_ctx, "sends")
        self.sent: set[bytes] = set()

    def start(self, draw: Any) -> tevent_req | None:
        return tdgram_recvfrom_send(self.mem_ctx, self.ev, self.sockets[draw(SIDES, label="side")])

    def finish(self, req: tevent_req) -> None:
        ret, err, buf, source = tdgram_recvfrom_recv(req, self.world.top)
        assert (ret > 0 and source is not None) if ret != -1 else err > 0
        assert buf is None or bytes(buf) in self.sent

    def _next(self) -> bytes:
        data = b"%d" % len(self.sent)
        self.sent.add(data)
        return data

    @rule(side=SIDES)
    def send(self, side: int) -> None:
        """Send a datagram."""
        data = self._next()
        req = tdgram_sendto_send(self.mem_ctx, self.ev, self.sockets[side], data, None)
        self.track(req, lambda req: ok_or_failed(tdgram_sendto_recv(req), len(data)))

    @rule()
    def send_queued(self) -> None:
        """Send one through a queue."""
        data, queue = self._next(), self.queue
        assert queue is not None
        req = tdgram_sendto_queue_send(self.mem_ctx, self.ev, self.sockets[0], queue, data, None)
        self.track(req, lambda req: ok_or_failed(tdgram_sendto_queue_recv(req), len(data)))

    @rule(side=SIDES)
    def disconnect(self, side: int) -> None:
        """Close one."""
        req = tdgram_disconnect_send(self.mem_ctx, self.ev, self.sockets[side])
        self.track(req, lambda req: ok_or_failed(tdgram_disconnect_recv(req), 0))


class unix_datagrams(datagrams):
    """Unix sockets, whose senders wait."""

    unix = True


class connections(request_machine):
    """Connections that are made, over a network that is cut and healed, to a server that comes and goes."""

    errnos: ClassVar[Any] = (ECONNRESET, EINTR)

    def scene(self) -> None:
        self.net = network(self.world, link=link(latency_us=100, jitter_us=90))
        self.there = self.net.address(self.world.top, "10.0.0.2", 53)
        self.listening: Any = None

    def start(self, draw: Any) -> tevent_req | None:
        _, local = tsocket_address_inet_from_strings(self.world.top, "ip", None, 0)
        assert local is not None
        return tstream_inet_tcp_connect_send(self.mem_ctx, self.ev, local, self.there)

    def finish(self, req: tevent_req) -> None:
        ret, err, stream, _ = tstream_inet_tcp_connect_recv(req, self.world.top)
        ok_or_failed((ret, err), 0)
        assert (stream is not None) == (ret == 0)

    @rule()
    def listen(self) -> None:
        """The server comes, or goes."""
        if self.listening is None:
            self.listening = self.net.listen(self.world.top, self.ev, self.there, lambda stream: None)
        else:
            talloc_free(self.listening)
            self.listening = None

    @rule(cut=st.booleans())
    def partition(self, cut: bool) -> None:
        """The network is cut, or healed."""
        if cut:
            self.net.partition("10.0.0.1")
        else:
            self.net.heal()


@pytest.mark.slow
@pytest.mark.parametrize("machine", [datagrams, unix_datagrams, connections])
def test_machine_of_sockets(machine: type[request_machine]) -> None:
    """The same holds for datagrams and connections."""
    run_state_machine_as_test(machine, settings=MANY)
