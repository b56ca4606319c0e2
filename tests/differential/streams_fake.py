# SPDX-License-Identifier: LGPL-3.0-or-later
"""The backends of the area "streams" that are made for it, as in ``c/streams_fake.h``."""

from __future__ import annotations

from typing import Any

from talloc_py import TALLOC_CTX, talloc_zero_array, uint8_t
from tevent import (
    set_errno,
    tevent_req_create,
    tevent_req_data,
    tevent_req_done,
    tevent_req_error,
    tevent_req_is_in_progress,
    tevent_req_post,
    tevent_req_received,
)
from tsocket import (
    iovec,
    tdgram_context_create,
    tdgram_context_ops,
    tsocket_address_string,
    tsocket_address_unix_from_path,
    tsocket_simple_int_recv,
    tstream_context_create,
    tstream_context_ops,
)

from .streams_address import Addresses
from .streams_world import DISCONNECT, MONITOR, READ, WRITE, bytes_shown

SLOTS = {"read": READ, "write": WRITE, "disconnect": DISCONNECT, "monitor": MONITOR}


class fake(TALLOC_CTX):
    """The state of a backend: what its operations do, by kind, and what pending_bytes says."""

    def __init__(self) -> None:
        self.modes = dict.fromkeys(SLOTS.values(), ("wait", 0))
        self.pending = 0


class fake_request(TALLOC_CTX):
    """The state of a backend's request."""

    ret = 0


def vector_shown(vector: Any, with_bytes: bool) -> str:
    parts = []
    for item in vector:
        if isinstance(item, iovec):
            parts.append(b"" if item.iov_base is None else bytes(memoryview(item.iov_base)[: item.iov_len]))
        else:
            parts.append(bytes(item))
    data = b"".join(parts)
    kind = "writev" if with_bytes else "readv"
    return f"{kind} {len(parts)}/{len(data)} {bytes_shown(data) if with_bytes else ''}"


class Fakes(Addresses):
    """The operations of backends of one's own."""

    def _fake_begin(self, mem_ctx: Any, ev: Any, of: Any, slot: int, what: str) -> Any:
        mode, value = of.private_data.modes[slot]
        if mode == "null":
            self.saw(f"backend {self.name_of(of)} {what} none")
            return None
        name = f"b{self.fakes_made}"
        self.fakes_made += 1
        self.saw(f"backend {self.name_of(of)} {what} {name}")
        req, state = tevent_req_create(mem_ctx, fake_request)
        assert req is not None
        self.add(name, "breq", req)
        state.ret = value
        if mode == "wait":
            return req
        if mode == "done":
            tevent_req_done(req)
        else:
            tevent_req_error(req, value)
        return tevent_req_post(req, ev)

    def _fake_end(self, req: Any) -> tuple[int, int]:
        state = tevent_req_data(req, fake_request)
        ret, err = tsocket_simple_int_recv(req)
        if ret == 0:
            ret = state.ret
        self.saw(f"backend ends {self.name_of(req)}")
        tevent_req_received(req)
        return ret, err

    def _fake_pending(self, stream: Any) -> int:
        pending: int = stream.private_data.pending
        self.saw(f"backend {self.name_of(stream)} pending")
        if pending < 0:
            set_errno(-pending)
            return -1
        return pending

    def _fake_readv(self, mem_ctx: Any, ev: Any, stream: Any, vector: Any) -> Any:
        return self._fake_begin(mem_ctx, ev, stream, READ, vector_shown(vector, False))

    def _fake_writev(self, mem_ctx: Any, ev: Any, stream: Any, vector: Any) -> Any:
        return self._fake_begin(mem_ctx, ev, stream, WRITE, vector_shown(vector, True))

    def _fake_disconnect(self, mem_ctx: Any, ev: Any, of: Any) -> Any:
        return self._fake_begin(mem_ctx, ev, of, DISCONNECT, "disconnect")

    def _fake_monitor(self, mem_ctx: Any, ev: Any, stream: Any) -> Any:
        return self._fake_begin(mem_ctx, ev, stream, MONITOR, "monitor")

    def op_fake(self, name: str, ctx: str, monitor: str = "") -> None:
        known, mem_ctx = self.parent(ctx)
        if not known or self.in_vector:
            return
        end = self._fake_end
        ops = tstream_context_ops(
            "fake", self._fake_pending, self._fake_readv, end, self._fake_writev, end, self._fake_disconnect, end
        )
        if not monitor:
            ops.monitor_send, ops.monitor_recv = self._fake_monitor, end
        stream, _ = tstream_context_create(mem_ctx, ops, fake)
        self.add_target(name, stream, False)

    def _fake_recvfrom(self, mem_ctx: Any, ev: Any, dgram: Any) -> Any:
        return self._fake_begin(mem_ctx, ev, dgram, READ, "recvfrom")

    def _fake_recvfrom_end(self, req: Any, mem_ctx: Any) -> Any:
        ret, err = self._fake_end(req)
        if ret == -1:
            return ret, err, None, None
        buf = talloc_zero_array(mem_ctx, uint8_t, max(ret, 1))
        _, src = tsocket_address_unix_from_path(mem_ctx, "fake")
        return ret, err, buf, src

    def _fake_sendto(self, mem_ctx: Any, ev: Any, dgram: Any, buf: Any, dst: Any) -> Any:
        to = tsocket_address_string(dst, None)
        text = f"sendto {bytes_shown(bytes(buf))} {'nobody' if to is None else self.shown(to)}"
        return self._fake_begin(mem_ctx, ev, dgram, WRITE, text)

    def op_dfake(self, name: str, ctx: str) -> None:
        known, mem_ctx = self.parent(ctx)
        if not known or self.in_vector:
            return
        ops = tdgram_context_ops(
            "fake",
            self._fake_recvfrom,
            self._fake_recvfrom_end,
            self._fake_sendto,
            self._fake_end,
            self._fake_disconnect,
            self._fake_end,
        )
        dgram, _ = tdgram_context_create(mem_ctx, ops, fake)
        self.add_target(name, dgram, True)

    def op_fmode(self, name: str, slot: str, mode: str, value: str) -> None:
        t = self.target(name) or self.target(name, True)
        state = None if t is None else t.ptr.private_data
        if not isinstance(state, fake):
            return
        if not self.newer and mode == "null" and self.skip():
            return
        if slot == "pending":
            state.pending = int(value)
        else:
            state.modes[SLOTS[slot]] = mode, int(value)

    def op_bdone(self, name: str, value: str) -> None:
        req = self.get(name, "breq")
        if req is not None and not self.in_vector and tevent_req_is_in_progress(req):
            tevent_req_data(req, fake_request).ret = int(value)
            tevent_req_done(req)

    def op_berror(self, name: str, err: str) -> None:
        req = self.get(name, "breq")
        if req is not None and not self.in_vector and tevent_req_is_in_progress(req):
            tevent_req_error(req, int(err))
