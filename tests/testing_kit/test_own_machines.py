# SPDX-License-Identifier: LGPL-3.0-or-later
"""Each of our streams under any mix of requests, frees, timeouts and failures, over any simulated network."""

from __future__ import annotations

from errno import ECONNRESET, EINTR
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
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
    tstream_binding_handle_create,
    tstream_context,
    tstream_full_request_u32,
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
