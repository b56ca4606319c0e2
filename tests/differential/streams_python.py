# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The Python side of the area "streams".

Prints in the words of ``c/streams.c``, where each operation's arguments are described, and keeps programs off the same
things.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from talloc_py import (
    talloc_array,
    talloc_free,
    talloc_get_name,
    talloc_get_size,
    talloc_new,
    talloc_parent,
    talloc_steal,
)
from tevent import (
    get_errno,
    set_errno,
    tevent_add_timer,
    tevent_context_init_byname,
    tevent_loop_once,
    tevent_queue_create,
    tevent_queue_length,
    tevent_queue_running,
    tevent_queue_start,
    tevent_queue_stop,
    tevent_req_cancel,
    tevent_req_is_in_progress,
    tevent_req_set_callback,
    tevent_req_set_endtime,
    tevent_timeval_current_ofs,
)
from tsocket import (
    iovec,
    tdgram_bsd_existing_socket,
    tdgram_bsd_optimize_recvfrom,
    tdgram_disconnect_recv,
    tdgram_disconnect_send,
    tdgram_inet_udp_broadcast_socket,
    tdgram_inet_udp_socket,
    tdgram_recvfrom_recv,
    tdgram_recvfrom_send,
    tdgram_sendto_queue_recv,
    tdgram_sendto_queue_send,
    tdgram_sendto_recv,
    tdgram_sendto_send,
    tdgram_unix_socket,
    tsocket_address_copy,
    tsocket_address_string,
    tsocket_simple_int_recv,
    tstream_bsd_existing_socket,
    tstream_bsd_fail_readv_first_error,
    tstream_bsd_optimize_readv,
    tstream_disconnect_recv,
    tstream_disconnect_send,
    tstream_inet_tcp_connect_recv,
    tstream_inet_tcp_connect_send,
    tstream_monitor_recv,
    tstream_monitor_send,
    tstream_pending_bytes,
    tstream_readv_pdu_queue_recv,
    tstream_readv_pdu_queue_send,
    tstream_readv_pdu_recv,
    tstream_readv_pdu_send,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_unix_connect_recv,
    tstream_unix_connect_send,
    tstream_unix_socketpair,
    tstream_writev_queue_recv,
    tstream_writev_queue_send,
    tstream_writev_recv,
    tstream_writev_send,
)

from .streams_fake import Fakes, fake
from .streams_world import DISCONNECT, MONITOR, OTHER, PATTERN, READ, WRITE, Request, Target, bytes_shown, no_delay

PDU_VECTORS_MAX = 50
DRAIN_TURNS_MAX = 100
RECEIVE = {
    "readv": tstream_readv_recv,
    "writev": tstream_writev_recv,
    "disconnect": tstream_disconnect_recv,
    "monitor": tstream_monitor_recv,
    "pdu": tstream_readv_pdu_recv,
    "pduq": tstream_readv_pdu_queue_recv,
    "writevq": tstream_writev_queue_recv,
    "sendto": tdgram_sendto_recv,
    "sendtoq": tdgram_sendto_queue_recv,
    "ddisconnect": tdgram_disconnect_recv,
}


class Streams(Fakes):
    """One program."""

    def started(self, r: Request, t: Target | None, ev: Any, req: Any) -> None:
        r.req, r.target, r.ev = req, t, ev
        self.requests.append(r)
        if t is None:
            self.world.note_descriptors()
        self.enter(r.name, "req", req, r)
        tevent_req_set_callback(req, self._done, r)
        running = tevent_req_is_in_progress(req)
        if t is not None:
            t.waited |= running and r.slot != DISCONNECT
            t.disconnected |= r.slot == DISCONNECT and running
            t.ev = ev
            t.odd_failed |= t.odd and t.pipe_end in ("", "w" if r.slot == READ else "r")
        self.saw(f"{r.name} sent" if r.early else f"{r.name} prog={running:d}")
        self.settle()

    def _done(self, req: Any) -> None:
        r: Request = self.about[id(req)]
        r.called = True
        self.saw(f"called {r.name}")
        waited_for = not self.newer and r.direct and self._helper_waits(r.target, r.slot)
        if r.type == "connect" or r.timed_out or waited_for:
            self._receive(r, self.get("r"))
            r.received_at_once = True
        self.run_script(r.script)

    def _vector(self, r: Request, text: str, fill: bool) -> list[Any] | None:
        data = self.pattern_next(len(PATTERN) // 2) if fill else b""
        if text == "none":
            return None
        vector: list[Any] = []
        if text == "empty":
            return vector
        at = 0
        for item in ["1"] * int(text[1:]) if text[0] == "x" else text.split(","):
            if item == "z":
                vector.append(iovec(None, 0))
                continue
            size = int(item)
            # One of the forms that an element may have; a buffer of its own may be longer than what is used of it.
            form = (size + len(vector)) % 4
            buffer = bytearray(size + (form == 3))
            if fill:
                buffer[:size] = data[at : at + size]
            at += size
            r.buffers.append((buffer, size))
            vector.append(memoryview(buffer) if form == 2 else buffer if form == 0 else iovec(buffer, size))
        return vector

    def _buffers_shown(self, r: Request) -> str:
        return bytes_shown(b"".join(bytes(buffer[:size]) for buffer, size in r.buffers))

    def _stream_op(self, ctx: str, ev: str, stream: str, is_dgram: bool = False) -> tuple[Any, Any, Target] | None:
        known, mem_ctx = self.parent(ctx)
        context, t = self.get(ev, "ev"), self.target(stream, is_dgram)
        return (mem_ctx, context, t) if known and context is not None and t is not None and not self.in_vector else None

    def op_readv(self, name: str, ctx: str, ev: str, stream: str, vector: str, script: str) -> None:
        found = self._stream_op(ctx, ev, stream)
        if found is None:
            return
        mem_ctx, context, t = found
        if self._kept_off(t, READ, context, 0) and self.skip():
            return
        r = Request(name, "readv", READ, True, script)
        given = self._vector(r, vector, False)
        self.started(r, t, context, tstream_readv_send(mem_ctx, context, t.ptr, given))
        if given:
            given.clear()  # the list itself has been copied

    def op_writev(self, name: str, ctx: str, ev: str, stream: str, vector: str, script: str) -> None:
        found = self._stream_op(ctx, ev, stream)
        if found is None:
            return
        mem_ctx, context, t = found
        if self._kept_off(t, WRITE, context, vector_bytes(vector)) and self.skip():
            return
        r = Request(name, "writev", WRITE, True, script)
        given = self._vector(r, vector, True)
        self.started(r, t, context, tstream_writev_send(mem_ctx, context, t.ptr, given))
        if given:
            given.clear()

    def _simple_op(self, words: tuple[str, ...], type: str, slot: int, send: Any, is_dgram: bool = False) -> None:
        name, ctx, ev, stream, script = words
        found = self._stream_op(ctx, ev, stream, is_dgram)
        if found is None:
            return
        mem_ctx, context, t = found
        if self._kept_off(t, slot, context, 0) and self.skip():
            return
        self.started(Request(name, type, slot, True, script), t, context, send(mem_ctx, context, t.ptr))

    def op_disconnect(self, *words: str) -> None:
        self._simple_op(words, "disconnect", DISCONNECT, tstream_disconnect_send)

    def op_monitor(self, *words: str) -> None:
        self._simple_op(words, "monitor", MONITOR, tstream_monitor_send)

    # PDUs and queues.

    def op_vectors(self, name: str, *items: str) -> None:
        self.plans[name] = list(items)

    def _next_vector(self, stream: Any, r: Any, mem_ctx: Any) -> tuple[int, Any]:
        self.saw(f"vector {r.name} {r.asked} of {self.name_of(stream)}")
        r.asked += 1
        if r.asked > PDU_VECTORS_MAX:
            return 0, None
        while (item := self._item(r)).startswith("&"):
            r.vector_at += 1
            outer, self.in_vector = self.in_vector, True
            self.run_script(item[1:])
            self.in_vector = outer
        if item.startswith("*"):
            r.vector_at = 0
            item = r.vectors[0]
        if item == "" or item[0] in ".&*":
            return 0, None
        r.vector_at += 1
        if item[0] == "!":
            set_errno(int(item[1:]))
            return -1, None
        ret = 0
        if item[0] == "=":
            text, item = item.split("/")
            ret = int(text[1:])
        bare = item.startswith("^")
        vector = self._vector(r, item.removeprefix("^"), False)
        if vector is None:
            if bare:
                self.add(f"v{self.vectors_made}", "vector", None)
                self.vectors_made += 1
            return ret, None
        if bare or r.asked % 2:
            chunk = talloc_array(None if bare else mem_ctx, iovec, max(1, len(vector)))
            assert chunk is not None
            chunk[:] = vector
            vector = chunk
        if bare:
            self.add(f"v{self.vectors_made}", "vector", vector)
            self.vectors_made += 1
        return ret, vector

    @staticmethod
    def _item(r: Request) -> str:
        return r.vectors[r.vector_at] if r.vector_at < len(r.vectors) else ""

    def op_pdu(self, name: str, ctx: str, ev: str, stream: str, plan: str, script: str) -> None:
        self._pdu(name, ctx, ev, stream, None, plan, script)

    def op_pduq(self, name: str, ctx: str, ev: str, stream: str, queue: str, plan: str, script: str) -> None:
        q = self.get(queue, "queue")
        if q is not None:
            self._pdu(name, ctx, ev, stream, q, plan, script)

    def _pdu(self, name: str, ctx: str, ev: str, stream: str, queue: Any, plan: str, script: str) -> None:
        found = self._stream_op(ctx, ev, stream)
        if found is None or plan not in self.plans:
            return
        mem_ctx, context, t = found
        at_once = queue is None or self._starts_at_once(queue)
        kept_off = self._kept_off(t, READ, context, 0) or self._is_stale(queue) or (t.odd and not at_once)
        if kept_off and self.skip():
            return
        r = Request(name, "pdu" if queue is None else "pduq", READ, False, script)
        r.queue = queue
        r.vectors = self.plans[plan]
        r.at_once = at_once
        if queue is None:
            req = tstream_readv_pdu_send(mem_ctx, context, t.ptr, self._next_vector, r)
        else:
            req = tstream_readv_pdu_queue_send(mem_ctx, context, t.ptr, queue, self._next_vector, r)
        self.started(r, t, context, req)

    @staticmethod
    def _starts_at_once(queue: Any) -> bool:
        return tevent_queue_length(queue) == 0 and tevent_queue_running(queue)

    def op_queue(self, name: str, ctx: str) -> None:
        known, mem_ctx = self.parent(ctx)
        if known:
            self.add(name, "queue", tevent_queue_create(mem_ctx, "queue"))

    def op_qstop(self, name: str) -> None:
        queue = self.get(name, "queue")
        if queue is not None:
            tevent_queue_stop(queue)

    def op_qstart(self, name: str) -> None:
        queue = self.get(name, "queue")
        if queue is not None and not self.in_vector:
            tevent_queue_start(queue)
            self.saw(f"{name} length={tevent_queue_length(queue)}")

    def op_qlen(self, name: str) -> None:
        queue = self.get(name, "queue")
        if queue is not None:
            self.saw(f"{name} length={tevent_queue_length(queue)} running={tevent_queue_running(queue):d}")

    def op_writevq(self, name: str, ctx: str, ev: str, stream: str, queue: str, vector: str, script: str) -> None:
        found, q = self._stream_op(ctx, ev, stream), self.get(queue, "queue")
        if found is None or q is None:
            return
        mem_ctx, context, t = found
        if (self._kept_off(t, WRITE, context, vector_bytes(vector)) or self._is_stale(q)) and self.skip():
            return
        r = Request(name, "writevq", WRITE, False, script)
        r.queue = q
        r.at_once = self._starts_at_once(q)
        given = self._vector(r, vector, True)
        self.started(r, t, context, tstream_writev_queue_send(mem_ctx, context, t.ptr, q, given))

    def op_change(self, name: str) -> None:
        r = self.request(name)
        if r is None or r.slot != WRITE or r.received:
            return
        data, at = self.pattern_next(len(PATTERN) // 2), 0
        for buffer, size in r.buffers:
            buffer[:size] = data[at : at + size]
            at += size

    # Making streams.

    def _stream_made(self, name: str, ret: int, stream: Any) -> None:
        made = talloc_get_name(stream) if ret == 0 else ""
        self.saw(f"{name} ret={ret} e={0 if ret == 0 else get_errno()} {made}")
        self.add_target(name, stream, False)

    def _wire(self, name: str, mem_ctx: Any, fd: int, raw_name: str, raw_fd: int) -> None:
        raw = self.add_raw(raw_name, raw_fd)
        os.set_blocking(fd, False)
        self._stream_made(name, *tstream_bsd_existing_socket(mem_ctx, fd))
        raw.peer = self.target(name)

    def op_unix(self, name: str, ctx: str, raw: str, size: str = "0") -> None:
        known, mem_ctx = self.parent(ctx)
        if not known or self.in_vector or self.crowded:
            return
        one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        if int(size):
            for sock in (one, two):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, int(size))
        self._wire(name, mem_ctx, one.detach(), raw, two.detach())

    def op_tcp(self, name: str, ctx: str, raw: str) -> None:
        known, mem_ctx = self.parent(ctx)
        if not known or self.in_vector or self.crowded:
            return
        self.inet_used = True
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.host, 0))
        listener.listen(1)
        sock = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
        no_delay(sock.fileno(), other.fileno())
        listener.close()
        self._wire(name, mem_ctx, sock.detach(), raw, other.detach())

    def op_pipe(self, name: str, ctx: str, raw: str, how: str) -> None:
        known, mem_ctx = self.parent(ctx)
        if known and not self.in_vector and not self.crowded:
            fds = os.pipe()
            reads = how == "r"
            self._wire(name, mem_ctx, fds[not reads], raw, fds[reads])
            t = self.target(name)
            if t is not None:
                t.odd, t.pipe_end = True, how

    def op_twins(self, name1: str, ctx1: str, name2: str, ctx2: str) -> None:
        (known1, parent1), (known2, parent2) = self.parent(ctx1), self.parent(ctx2)
        if not known1 or not known2 or self.in_vector:
            return
        ret, one, two = tstream_unix_socketpair(parent1, parent2)
        self._stream_made(name1, ret, one)
        self._stream_made(name2, ret, two)
        first, second = self.target(name1), self.target(name2)
        if first is not second and first is not None and second is not None:
            first.twin, second.twin = second, first

    def op_badfd(self, name: str, ctx: str, fd: str) -> None:
        known, mem_ctx = self.parent(ctx)
        if known:
            self._stream_made(name, *tstream_bsd_existing_socket(mem_ctx, int(fd)))
            t = self.target(name)
            if t is not None:
                t.odd = fd != "-1"

    def op_connect(self, name: str, ctx: str, ev: str, family: str, local: str, remote: str, *words: str) -> None:
        stream, address, script = words
        known, mem_ctx = self.parent(ctx)
        context = self.get(ev, "ev")
        mine, peer = self.get(local, "addr"), self.get(remote, "addr")
        if not known or context is None or mine is None or peer is None or self.in_vector:
            return
        if self.crowded and not self.newer and self.skip():
            return
        inet = family == "inet"
        self.inet_used |= inet
        r = Request(name, "connect", OTHER, True, script)
        r.stream_name, r.local_name = stream, address if inet else ""
        send = tstream_inet_tcp_connect_send if inet else tstream_unix_connect_send
        self.started(r, None, context, send(mem_ctx, context, mine, peer))

    def op_optimize(self, name: str, on: str) -> None:
        t = self.target(name)
        if t is not None:
            self.saw(f"optimize was {tstream_bsd_optimize_readv(t.ptr, on == '1'):d}")

    def op_failfirst(self, name: str, on: str) -> None:
        t = self.target(name)
        if t is not None and not (not self.newer and self.skip()):
            self.saw(f"failfirst was {tstream_bsd_fail_readv_first_error(t.ptr, on == '1'):d}")

    def op_pending(self, name: str) -> None:
        t = self.target(name)
        if t is None or (t.tainted and self.skip()):
            return
        t.odd_failed |= t.odd and t.pipe_end == ""
        set_errno(0)
        n = tstream_pending_bytes(t.ptr)
        self.saw(f"pending {n} e={get_errno() if n == -1 else 0}")

    # Datagrams.

    def _dgram_made(self, name: str, ret: int, dgram: Any) -> None:
        made = talloc_get_name(dgram) if ret == 0 else ""
        self.saw(f"{name} ret={ret} e={0 if ret == 0 else get_errno()} {made}")
        self.add_target(name, dgram, True)

    def op_dpair(self, name: str, ctx: str, raw: str) -> None:
        known, mem_ctx = self.parent(ctx)
        if known and not self.crowded:
            one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            one.setblocking(False)
            self.add_raw(raw, two.detach())
            self._dgram_made(name, *tdgram_bsd_existing_socket(mem_ctx, one.detach()))

    def op_dbad(self, name: str, ctx: str, fd: str) -> None:
        known, mem_ctx = self.parent(ctx)
        if known:
            self._dgram_made(name, *tdgram_bsd_existing_socket(mem_ctx, int(fd)))
            t = self.target(name, True)
            if t is not None:
                t.disconnected = fd == "-1"

    def op_dgram(self, name: str, ctx: str, family: str, local: str, remote: str) -> None:
        known, mem_ctx = self.parent(ctx)
        mine, peer = self.get(local, "addr"), self.get(remote, "addr")
        if not known or mine is None or (peer is None and remote != "none"):
            return
        self.inet_used |= family[0] != "u"
        set_errno(0)
        if family[0] == "i":
            made = tdgram_inet_udp_socket(mine, peer, mem_ctx)
        elif family[0] == "u":
            made = tdgram_unix_socket(mine, peer, mem_ctx)
        else:
            made = tdgram_inet_udp_broadcast_socket(mine, mem_ctx)
        self._dgram_made(name, *made)

    def op_doptimize(self, name: str, on: str) -> None:
        t = self.target(name, True)
        if t is not None:
            t.optimize |= on == "1"
            self.saw(f"optimize was {tdgram_bsd_optimize_recvfrom(t.ptr, on == '1'):d}")

    def op_recvfrom(self, name: str, ctx: str, ev: str, dgram: str, address: str, script: str) -> None:
        found = self._stream_op(ctx, ev, dgram, True)
        if found is None:
            return
        mem_ctx, context, t = found
        state = t.ptr.private_data
        ends_at_once = not self.newer and isinstance(state, fake) and state.modes[READ][0] != "wait"
        if (self._kept_off(t, READ, context, 0) or ends_at_once) and self.skip():
            return
        r = Request(name, "recvfrom", READ, True, script)
        r.local_name = address
        other_ev = t.ev is not None and t.ev is not context
        r.early = not self.newer and (t.optimize or t.disconnected or other_ev)
        self.started(r, t, context, tdgram_recvfrom_send(mem_ctx, context, t.ptr))

    def op_sendto(self, name: str, ctx: str, ev: str, dgram: str, length: str, dst: str, script: str) -> None:
        self._send_to(name, ctx, ev, dgram, None, length, dst, script)

    def op_sendtoq(self, name: str, ctx: str, ev: str, dgram: str, queue: str, *words: str) -> None:
        q = self.get(queue, "queue")
        if q is not None:
            self._send_to(name, ctx, ev, dgram, q, *words)

    def _send_to(
        self, name: str, ctx: str, ev: str, dgram: str, queue: Any, length: str, dst: str, script: str
    ) -> None:
        found, addr = self._stream_op(ctx, ev, dgram, True), self.get(dst, "addr")
        if found is None or (addr is None and dst != "none"):
            return
        mem_ctx, context, t = found
        if (self._kept_off(t, WRITE, context, 0) or self._is_stale(queue)) and self.skip():
            return
        r = Request(name, "sendto" if queue is None else "sendtoq", WRITE, queue is None, script)
        r.queue = queue
        vector = self._vector(r, length, True)
        data = None if not vector or length == "z" else memoryview(r.buffers[0][0])[: r.buffers[0][1]]
        if addr is not None:
            addr = tsocket_address_copy(addr, None)
            if addr is not None:
                self.copies.append(addr)
        r.at_once = queue is not None and self._starts_at_once(queue)
        if queue is None:
            req = tdgram_sendto_send(mem_ctx, context, t.ptr, data, addr)
        else:
            req = tdgram_sendto_queue_send(mem_ctx, context, t.ptr, queue, data, addr)
        self.started(r, t, context, req)

    def op_ddisconnect(self, *words: str) -> None:
        self._simple_op(words, "ddisconnect", DISCONNECT, tdgram_disconnect_send, True)

    # Results.

    def _receive(self, r: Request, mem_ctx: Any) -> None:
        r.received = True
        if r.type == "connect":
            self._receive_connect(r, mem_ctx)
        elif r.type == "recvfrom":
            self._receive_datagram(r, mem_ctx)
        else:
            n, err = RECEIVE[r.type](r.req)
            self.saw(f"{r.name} ret={n} e={err} {self._buffers_shown(r) if r.slot == READ else ''}")

    def _receive_connect(self, r: Request, mem_ctx: Any) -> None:
        local = None
        if r.local_name:
            ret, err, stream, local = tstream_inet_tcp_connect_recv(r.req, mem_ctx)
        else:
            ret, err, stream = tstream_unix_connect_recv(r.req, mem_ctx)
        owners = [self.name_of(talloc_parent(x)) if x is not None else "no" for x in (stream, local)]
        self.saw(f"{r.name} ret={ret} e={err} stream={owners[0]} local={owners[1]}")
        self.add_target(r.stream_name, stream, False)
        if stream is not None:
            self.about[id(stream)].connected = True
            no_delay(*range(3, 256))
        if local is not None:
            self.saw(f"local {self.shown(tsocket_address_string(local, None), True)}")
            self.enter(r.local_name, "addr", local, True)

    def _receive_datagram(self, r: Request, mem_ctx: Any) -> None:
        n, err, buf, src = tdgram_recvfrom_recv(r.req, mem_ctx)
        if n == -1 or buf is None or src is None:
            self.saw(f"{r.name} ret=-1 e={err}")
            return
        text = tsocket_address_string(src, None)
        sender = "nobody" if text is None else self.shown(text, True)
        self.saw(
            f"{r.name} ret={n} {bytes_shown(bytes(buf)[:n])} from {sender} "
            f"parents {self.name_of(talloc_parent(buf))} {self.name_of(talloc_parent(src))} "
            f"sizes {talloc_get_size(buf)} {talloc_get_name(buf)}"
        )
        self.enter(r.local_name, "addr", src, True)

    def op_recv(self, name: str, ctx: str = "r") -> None:
        r = self.request(name)
        known, mem_ctx = self.parent(ctx)
        if r is None or self.in_vector or not known:
            return
        if r.early and not r.called and self.skip():
            return
        if r.queue is not None and not r.at_once and tevent_req_is_in_progress(r.req) and self.skip():
            return
        if r.type != "connect" and not r.received_at_once:
            self._receive(r, mem_ctx)

    def op_simple(self, name: str) -> None:
        r = self.request(name)
        if r is None or (r.early and not r.called and self.skip()):
            return
        ret, err = tsocket_simple_int_recv(r.req)
        self.saw(f"simple {name} ret={ret} e={err}")

    # Anything.

    def op_ctx(self, name: str, parent: str) -> None:
        known, mem_ctx = self.parent(parent)
        if known:
            self.add(name, "ctx", talloc_new(mem_ctx))

    def op_free(self, name: str) -> None:
        obj = self.get(name)
        if obj is None or self.in_vector or self.kind(name) in ("ev", "vector", "breq"):
            return
        if self._undefined_to_free(obj) and self.skip():
            return
        self.saw(f"free {talloc_free(obj)}")
        self.settle()

    def op_steal(self, name: str, ctx: str) -> None:
        obj = self.get(name)
        known, mem_ctx = self.parent(ctx)
        if obj is not None and known and not self.in_vector and self.kind(name) not in ("ctx", "ev", "vector", "breq"):
            talloc_steal(mem_ctx, obj)

    def op_parent(self, name: str) -> None:
        obj = self.get(name)
        if obj is not None and self.kind(name) != "breq":
            self.saw(f"parent {self.name_of(talloc_parent(obj))} name {talloc_get_name(obj)}")

    def op_inprog(self, name: str) -> None:
        r = self.request(name)
        if r is not None and not (r.early and not r.called and self.skip()):
            self.saw(f"inprog {tevent_req_is_in_progress(r.req):d}")

    def op_cancel(self, name: str) -> None:
        r = self.request(name)
        if r is not None and not self.in_vector:
            self.saw(f"cancel {tevent_req_cancel(r.req):d}")

    def op_endtime(self, name: str, ev: str, us: str) -> None:
        r, context = self.request(name), self.get(ev, "ev")
        if r is None or context is None or self.in_vector or not r.runs:
            return
        if r.early and not r.called and self.skip():
            return
        if r.queue is not None and not r.at_once and self.skip():
            return
        self.saw(f"endtime {tevent_req_set_endtime(r.req, context, tevent_timeval_current_ofs(0, int(us))):d}")

    def op_tick(self, us: str) -> None:
        self.world.us += int(us)

    def _one_turn(self, ev: Any) -> tuple[bool, int]:
        idle: list[int] = []
        te = tevent_add_timer(ev, ev, tevent_timeval_current_ofs(0, 1000), lambda *_: idle.append(1), None)
        ret = tevent_loop_once(ev)
        if not idle:
            talloc_free(te)
        return bool(idle), ret

    def _turns_count(self) -> bool:
        if self.newer:
            return True
        waited = [t for t in self.targets if not t.is_dgram and t.lives and t.waited]
        return len(waited) < 2 and not any(t.peer_is_bad or self._writes(t) for t in waited)

    def op_turn(self, name: str) -> None:
        ev, begun, turns = self.get(name, "ev"), self.world.us, 0
        if ev is None or ((self.in_turn or not self._note_taint(ev)) and self.skip()):
            return
        once = self._turns_count()
        self.in_turn = True
        while True:
            idle, ret = self._one_turn(ev)
            turns += 1
            if idle or once or turns == DRAIN_TURNS_MAX:
                break
        self.in_turn = False
        for r in self.requests:
            if r.queue is not None and not r.lives:
                r.turns_since[name != "e"] += 1
        # A turn is a millisecond, whether or not it found something to do.
        self.world.us = begun + 1000
        self.saw(f"turn {ret}{' idle' if idle and self.newer else ''}")
        self.settle()

    def op_ev(self, name: str) -> None:
        if self.crowded:
            return
        self.add(name, "ev", tevent_context_init_byname(None, "epoll"))
        self.contexts.add("f")


def vector_bytes(text: str) -> int:
    """The sum of the numbers in a vector, as the driver sees them."""
    return 0 if text[0] in "xen" else sum(int(item) for item in text.split(",") if item != "z")
