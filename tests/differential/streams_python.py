# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The Python side of the area "streams".

Prints in the words of ``c/streams.c``, where each operation's arguments are described, and keeps programs off the same
things.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import zlib
from fcntl import ioctl
from itertools import count
from termios import FIONREAD
from typing import Any

from talloc_py import (
    talloc_array,
    talloc_free,
    talloc_get_name,
    talloc_get_size,
    talloc_is_parent,
    talloc_new,
    talloc_parent,
    talloc_steal,
)
from tevent import _sys as tevent_sys
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
    tevent_req_is_error,
    tevent_req_is_in_progress,
    tevent_req_set_callback,
    tevent_req_set_endtime,
    tevent_req_state,
    tevent_set_abort_fn,
    tevent_timeval_current_ofs,
)
from tsocket import (
    iovec,
    sockaddr,
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
    tsocket_address_bsd_from_sockaddr,
    tsocket_address_bsd_sockaddr,
    tsocket_address_copy,
    tsocket_address_inet_addr_string,
    tsocket_address_inet_from_hostport_strings,
    tsocket_address_inet_from_strings,
    tsocket_address_inet_port,
    tsocket_address_inet_set_port,
    tsocket_address_is_inet,
    tsocket_address_is_unix,
    tsocket_address_string,
    tsocket_address_unix_from_path,
    tsocket_address_unix_path,
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

from .program import Interpreter

START_US = 1_000_000_000 * 1_000_000
PATTERN = bytes((i * 7 + (i >> 8) * 3) & 0xFF for i in range(1 << 16)) * 32
EPHEMERAL_PORT_MIN = 32768
PDU_VECTORS_MAX = 50
STALE_TURNS = 12
DRAIN_TURNS_MAX = 100
#: Each program has a loopback address of its own, as connections stay known to the kernel for a while.
_programs = count()

READ, WRITE, DISCONNECT, MONITOR, OTHER = range(5)
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


class World:
    """
    A clock that only waiting moves, and an epoll that never waits for real.

    With *ranks* the first created of several ready descriptors is told first; else the kernel decides.
    """

    def __init__(self, aborted: Any, newer: bool) -> None:
        self.us = START_US
        self.ranks: dict[int, tuple[int, int]] | None = None if newer else {}  # descriptor -> inode, rank
        self._created = 0
        self._aborted = aborted
        self._saved = tevent_sys.now_us, tevent_sys.epoll
        tevent_sys.now_us = lambda: self.us
        tevent_sys.epoll = self._epoll

    def note_descriptors(self) -> None:
        if self.ranks is None:
            return
        for fd in sorted(map(int, os.listdir("/proc/self/fd"))):
            try:
                inode = os.fstat(fd).st_ino
            except OSError:
                continue
            if self.ranks.get(fd, (0, 0))[0] != inode:
                self._created += 1
                self.ranks[fd] = inode, self._created

    def put_back(self) -> None:
        tevent_sys.now_us, tevent_sys.epoll = self._saved

    def _epoll(self, flags: int = 0) -> Any:
        world, real = self, select.epoll(flags=flags)

        class epoll:
            register, modify, unregister = real.register, real.modify, real.unregister
            close, fileno = real.close, real.fileno

            def poll(self, timeout: float, maxevents: int) -> list[tuple[int, int]]:
                ready = real.poll(0, maxevents if world.ranks is None else -1)
                if len(ready) > 1:
                    ranks = world.ranks or {}
                    return [min(ready, key=lambda event: ranks.get(event[0], (0, 0))[1])]
                if not ready and timeout != 0:
                    if timeout < 0:
                        world._aborted("waits for ever")
                    world.us += -(-round(timeout * 1_000_000) // 1000) * 1000
                return ready

        return epoll()


class Raw:
    """A raw end."""

    def __init__(self, sock: int) -> None:
        self.fd = sock
        self.peer: Target | None = None


class Target:
    """A stream or datagram context, and what the program has done to its wire."""

    def __init__(self, ptr: Any, is_dgram: bool) -> None:
        self.ptr = ptr
        self.is_dgram = is_dgram
        self.odd = self.odd_failed = False
        self.pipe_end = ""
        self.optimize = self.disconnected = self.peer_bad = self.waited = self.tainted = False
        self.twin: Target | None = None
        self.ev: Any = None

    @property
    def lives(self) -> bool:
        return self.ptr._talloc_chunk.obj is self.ptr

    @property
    def peer_is_bad(self) -> bool:
        twin = self.twin
        return self.peer_bad or (twin is not None and (twin.disconnected or not twin.lives))


class Request:
    """What the driver keeps for each request."""

    def __init__(self, name: str, type: str, slot: int, direct: bool, script: str) -> None:
        self.name, self.type, self.slot, self.direct, self.script = name, type, slot, direct, script
        self.req: Any = None
        self.target: Target | None = None
        self.buffers: list[tuple[bytearray, int]] = []
        self.vectors: list[str] = []
        self.vector_at = self.asked = 0
        self.received = self.called = self.at_once = self.early = False
        self.queue: Any = None
        self.ev: Any = None
        self.turns_since = [0, 0]
        self.received_at_once = False
        self.stream_name = self.local_name = ""

    @property
    def lives(self) -> bool:
        return self.req._talloc_chunk.obj is self.req

    @property
    def runs(self) -> bool:
        return self.lives and not self.received and tevent_req_is_in_progress(self.req)

    def at_work(self, ev: Any) -> bool:
        return self.slot != DISCONNECT and self.ev is ev and (self.direct or self.at_once) and self.runs

    @property
    def timed_out(self) -> bool:
        is_error, state, _ = tevent_req_is_error(self.req)
        return is_error and state == tevent_req_state.TEVENT_REQ_TIMED_OUT


def bytes_shown(data: bytes | bytearray) -> str:
    if len(data) <= 24:
        return data.hex()
    return f"{len(data)}:{zlib.crc32(data):08x}"


def no_delay(*fds: int) -> None:
    """Let small segments not wait for the answer to the one before."""
    for fd in fds:
        try:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fd)
        except OSError:
            continue
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            pass
        finally:
            sock.detach()


def descriptors_open() -> int:
    return len(os.listdir("/proc/self/fd"))


class Streams(Interpreter):
    """One program."""

    def __init__(self, newer: bool) -> None:
        super().__init__()
        tevent_set_abort_fn(self.aborted)
        self.newer = newer
        self.world = World(self.aborted, newer)
        self.raws: dict[str, Raw] = {}
        self.requests: list[Request] = []
        self.targets: list[Target] = []
        self.about: dict[int, Any] = {}  # id of a chunk's object -> Target, Request, or whether the kernel made it
        self.keep: list[Any] = []
        self.copies: list[Any] = []
        self.vectors_made = 0
        self.contexts: set[str] = set()
        self.plans: dict[str, list[str]] = {}
        self.transfers = 0
        self.in_turn = self.in_vector = self.inet_used = False
        self.marker: socket.socket | None = None
        number, pid = next(_programs), os.getpid()
        self.host = f"127.{64 + number % 190}.{pid >> 8 & 255}.{1 + pid % 254}"
        self.folder = f"/tmp/tsd-{pid:09d}p"  # of this length on both sides
        self._remove_folder()
        os.mkdir(self.folder, 0o700)
        self.descriptors = descriptors_open()
        self.add("r", "ctx", talloc_new(None))
        self.add("e", "ev", tevent_context_init_byname(None, "epoll"))

    def finish(self) -> None:
        for last in (False, True):
            for _, kind, obj in list(self._objects):
                if obj._talloc_chunk.obj is obj and (last or kind != "ev"):
                    talloc_free(obj)
        for raw in self.raws.values():
            os.close(raw.fd)
        self.raws.clear()
        if self.marker is not None:
            self.marker.close()
            self.marker = None
        self.saw(f"left open {descriptors_open() - self.descriptors}")
        self._objects = []

    def close(self) -> None:
        self.over = True
        # A new abort function that raises would leave chunks behind; what is broken is of no interest any more.
        for _ in range(2):
            for _, kind, obj in self._objects:
                if obj._talloc_chunk.obj is obj and kind != "ev":
                    talloc_free(obj)
        for chunk in [target.ptr for target in self.targets] + self.copies:
            if chunk._talloc_chunk.obj is chunk:
                talloc_free(chunk)
        for _, _, obj in self._objects:
            if obj._talloc_chunk.obj is obj:
                talloc_free(obj)
        for raw in self.raws.values():
            os.close(raw.fd)
        if self.marker is not None:
            self.marker.close()
        self._remove_folder()
        self.world.put_back()
        tevent_set_abort_fn(None)
        super().close()

    def _remove_folder(self) -> None:
        try:
            for name in os.listdir(self.folder):
                os.unlink(f"{self.folder}/{name}")
            os.rmdir(self.folder)
        except FileNotFoundError:
            pass

    # Text and bytes.

    def meant(self, text: str) -> str:
        if "$" in text:
            text = text.replace("$D", self.folder).replace("$H", self.host)
        if "%" not in text:
            return text
        out, raw, at = bytearray(), text.encode(), 0
        while at < len(raw):
            if raw[at] == 0x25:
                out.append(int(raw[at + 1 : at + 3], 16))
                at += 3
            else:
                out.append(raw[at])
                at += 1
        return out.decode("utf-8", "surrogateescape")

    def shown(self, text: str | None, chosen: bool = False) -> str:
        if text is None:
            return "nothing"
        end = ""
        if chosen:
            head, _, port = text.rpartition(":")
            if port.isdigit() and int(port) >= EPHEMERAL_PORT_MIN:
                text, end = head + ":", "EPH"
        text = text.replace(self.folder, "\0D").replace(self.host, "\0H")
        if not text.isascii() or not text.isprintable() or " " in text or "%" in text:
            raw = text.encode("utf-8", "surrogateescape")
            text = "".join(chr(b) if (0x20 < b < 0x7F and b != 0x25) or b == 0 else f"%{b:02x}" for b in raw)
        return text.replace("\0", "$") + end

    def pattern_next(self, length: int) -> bytes:
        at = self.transfers * 13 % 4096
        self.transfers += 1
        return PATTERN[at : at + length]

    # Raw ends.

    def add_raw(self, name: str, fd: int) -> Raw:
        old = self.raws.pop(name, None)
        if old is not None:
            os.close(old.fd)
        raw = self.raws[name] = Raw(fd)
        os.set_blocking(fd, False)
        return raw

    def settle(self) -> None:
        if not self.inet_used:
            return
        if self.marker is None:
            self.marker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.marker.bind((self.host, 0))
            self.marker.settimeout(5)
            self.marker_name = self.marker.getsockname()
        for _ in range(3):
            self.marker.sendto(b"\0", self.marker_name)
            self.marker.recv(1)

    def op_rwrite(self, name: str, length: str) -> None:
        raw = self.raws.get(name)
        if raw is None:
            return
        data, n, err = self.pattern_next(int(length)), -1, 0
        try:
            n = os.write(raw.fd, data)
        except OSError as error:
            err = error.errno or 0
        self.saw(f"{name} wrote {n} e={err}")
        self.settle()

    def op_rread(self, name: str, length: str) -> None:
        raw = self.raws.get(name)
        if raw is None:
            return
        data, left, eof, err = bytearray(), int(length), "", 0
        while left:
            try:
                part = os.read(raw.fd, left)
            except OSError as error:
                err = error.errno or 0
                break
            if not part:
                eof = "eof"
                break
            data += part
            left -= len(part)
        self.saw(f"{name} read {bytes_shown(data)} {eof} e={err}")
        self.settle()

    def op_rin(self, name: str) -> None:
        raw = self.raws.get(name)
        if raw is not None:
            try:
                n = struct.unpack("i", ioctl(raw.fd, FIONREAD, bytes(4)))[0]
            except OSError:
                n = -1
            self.saw(f"{name} holds {n}")

    def op_accept(self, name: str, listener: str) -> None:
        raw = self.raws.get(listener)
        if raw is None:
            return
        try:
            sock = socket.socket(fileno=raw.fd)
            try:
                new, _ = sock._accept()  # type: ignore[attr-defined]
            finally:
                sock.detach()
        except OSError as error:
            self.saw(f"{listener} accepted nothing e={error.errno}")
        else:
            self.saw(f"{listener} accepted {name} e=0")
            self.add_raw(name, new)
            no_delay(new)

    def _socket(self, family: str, kind: int, where: str) -> tuple[int, int]:
        """A bound socket and 0, or -1 and an errno."""
        inet = family == "inet"
        self.inet_used |= inet
        sock = socket.socket(socket.AF_INET if inet else socket.AF_UNIX, kind)
        try:
            if inet:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((self.host, int(where)))
            else:
                sock.bind(self.meant(where))
        except OSError as error:
            sock.close()
            return -1, error.errno or 0
        return sock.detach(), 0

    def op_listen(self, name: str, family: str, where: str, backlog: str) -> None:
        fd, err = self._socket(family, socket.SOCK_STREAM, where)
        if fd != -1:
            sock = socket.socket(fileno=fd)
            try:
                sock.listen(int(backlog))
            except OSError as error:
                err = error.errno or 0
            sock.detach()
        self.saw(f"{name} listens e={err}")
        if fd != -1:
            self.add_raw(name, fd)

    def op_rdgram(self, name: str, family: str, where: str) -> None:
        fd, err = self._socket(family, socket.SOCK_DGRAM, where)
        self.saw(f"{name} bound e={err}")
        if fd != -1:
            self.add_raw(name, fd)

    def op_rsendto(self, name: str, family: str, where: str, length: str) -> None:
        raw = self.raws.get(name)
        if raw is None:
            return
        n, err = -1, 0
        data = self.pattern_next(int(length))
        inet = family == "inet"
        # Of the address's family, whatever the socket is.
        sock = socket.socket(socket.AF_INET if inet else socket.AF_UNIX, socket.SOCK_DGRAM, 0, raw.fd)
        try:
            n = sock.sendto(data, (self.host, int(where)) if inet else self.meant(where))
        except OSError as error:
            err = error.errno or 0
        finally:
            sock.detach()
        self.saw(f"{name} sent {n} e={err}")
        self.settle()

    def op_rrecv(self, name: str) -> None:
        raw = self.raws.get(name)
        if raw is None:
            return
        text, err = "nothing", 0
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM, 0, raw.fd)
        try:
            text = bytes_shown(sock.recv(1 << 20))
        except OSError as error:
            err = error.errno or 0
        finally:
            sock.detach()
        self.saw(f"{name} received {text} e={err}")
        self.settle()

    def op_rclose(self, name: str, linger: bool = False) -> None:
        raw = self.raws.get(name)
        if raw is None or (self._peer_must_stay(raw) and self.skip()):
            return
        if linger:
            try:
                sock = socket.socket(fileno=raw.fd)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.detach()
            except OSError:
                pass
        os.close(raw.fd)
        del self.raws[name]
        if raw.peer is not None:
            raw.peer.peer_bad = True
        self.settle()

    def op_rreset(self, name: str) -> None:
        self.op_rclose(name, linger=True)

    def op_rshut(self, name: str, how: str) -> None:
        raw = self.raws.get(name)
        if raw is None or (self._peer_must_stay(raw) and self.skip()):
            return
        try:
            sock = socket.socket(fileno=raw.fd)
            try:
                sock.shutdown({"r": 0, "w": 1}.get(how[:1], 2))
            finally:
                sock.detach()
        except OSError as error:
            self.saw(f"shutdown e={error.errno}")
        if raw.peer is not None:
            raw.peer.peer_bad = True
            if how[:1] == "r":
                raw.peer.odd, raw.peer.pipe_end = True, "r"
                raw.peer.odd_failed |= self._writes(raw.peer)
        self.settle()

    def op_file(self, path: str) -> None:
        try:
            os.close(os.open(self.meant(path), os.O_CREAT | os.O_WRONLY, 0o600))
        except OSError:
            self.saw("file no")
        else:
            self.saw("file yes")

    def op_unlink(self, path: str) -> None:
        err = 0
        try:
            os.unlink(self.meant(path))
        except OSError as error:
            err = error.errno or 0
        self.saw(f"unlink {err}")

    def op_exists(self, path: str) -> None:
        self.saw(f"exists {os.path.lexists(self.meant(path)):d}")

    # What is kept off.

    def skip(self) -> bool:
        self.saw("skip")
        return True

    def _note_taint(self, ev: Any) -> bool:
        """Before a turn; False if a waiting helper would be started on what fails now."""
        for t in self.targets if self.newer else ():
            if t.is_dgram or not t.waited or not t.peer_is_bad or not t.lives:
                continue
            if any(r.target is t and r.at_work(ev) for r in self.requests):
                continue
            t.tainted = True
            if any(r.target is t and r.slot != DISCONNECT and r.runs for r in self.requests):
                return False
        return True

    def _is_stale(self, queue: Any) -> bool:
        if queue is None or tevent_queue_length(queue):
            return False
        both = "f" in self.contexts
        return any(
            r.queue is queue
            and not r.lives
            and (r.turns_since[0] < STALE_TURNS or (both and r.turns_since[1] < STALE_TURNS))
            for r in self.requests
        )

    def _kept_off(self, t: Target, slot: int, ev: object, size: int) -> bool:
        newer, is_stream = self.newer, not t.is_dgram
        if t.tainted or (slot == MONITOR and not newer) or (t.odd_failed and slot in (READ, MONITOR)):
            return True
        for r in self.requests:
            if r.target is not t or not r.lives or r.received:
                continue
            meets = r.slot == slot or (slot == DISCONNECT and r.slot in (READ, WRITE))
            running = tevent_req_is_in_progress(r.req)
            if meets and r.direct and not running and (not newer or r.timed_out):
                return True
            if newer:
                continue
            if is_stream and r.slot == DISCONNECT and running:
                return True
            if is_stream and slot == DISCONNECT and not r.direct:
                return True
            if not is_stream and slot in (READ, DISCONNECT) and r.early and not r.called:
                return True
        if newer or not is_stream or slot != WRITE or (t.twin is None and not t.peer_bad):
            return False
        return size > 256 or self._may_block(t)

    def _may_block(self, t: Target) -> bool:
        for raw in self.raws.values():
            if raw.peer is t:
                try:
                    if any(ioctl(raw.fd, FIONREAD, bytes(4))):
                        return True
                except OSError:
                    pass
        return False

    def _undefined_to_free(self, ptr: Any) -> bool:
        for r in self.requests:
            t = r.target
            if t is None or not r.lives or r.received or not t.lives:
                continue
            running = tevent_req_is_in_progress(r.req)
            waits = not r.direct and not r.at_once and running
            early = (r.early and not r.called) or (r.slot == DISCONNECT and not t.is_dgram)
            unheard = not self.newer and r.direct and (not running or early)
            if (waits or unheard) and talloc_is_parent(t.ptr, ptr) and not talloc_is_parent(r.req, ptr):
                return True
        return False

    def _peer_must_stay(self, raw: Raw) -> bool:
        return not self.newer and raw.peer is not None and self._writes(raw.peer)

    def _writes(self, t: Target) -> bool:
        return any(r.target is t and r.slot == WRITE and r.runs for r in self.requests)

    # Requests.

    def parent(self, name: str) -> tuple[bool, Any]:
        if name == "-":
            return True, None
        ctx = self.get(name, "ctx")
        return ctx is not None, ctx

    def target(self, name: str, is_dgram: bool = False) -> Target | None:
        obj = self.get(name, "dgram" if is_dgram else "stream")
        return None if obj is None else self.about[id(obj)]

    def request(self, name: str) -> Request | None:
        obj = self.get(name, "req")
        return None if obj is None else self.about[id(obj)]

    def enter(self, name: str, kind: str, obj: Any, about: object) -> None:
        self.add(name, kind, obj)
        if obj is not None:
            self.keep.append(obj)  # so that no id comes twice
            self.about[id(obj)] = about

    def add_target(self, name: str, ptr: Any, is_dgram: bool) -> None:
        if ptr is not None:
            t = Target(ptr, is_dgram)
            self.enter(name, "dgram" if is_dgram else "stream", ptr, t)
            self.targets.append(t)
            self.world.note_descriptors()

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

    def _helper_waits(self, t: Target | None, slot: int) -> bool:
        return any(
            r.target is t and not r.direct and not r.at_once and r.slot == slot and r.runs for r in self.requests
        )

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
        if (self._kept_off(t, READ, context, 0) or self._is_stale(queue)) and self.skip():
            return
        r = Request(name, "pdu" if queue is None else "pduq", READ, False, script)
        r.queue = queue
        r.vectors = self.plans[plan]
        r.at_once = queue is None or self._starts_at_once(queue)
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

    # Addresses.

    def _address(self, name: str, ret: int, addr: Any) -> None:
        if ret != 0:
            self.saw(f"{name} ret={ret} e={get_errno()}")
            return
        self.saw(f"{name} ret={ret} {self.shown(tsocket_address_string(addr, None))}")
        self.enter(name, "addr", addr, False)

    def _text(self, word: str) -> str | None:
        return None if word == "null" else self.meant(word)

    def op_inet(self, name: str, ctx: str, family: str, text: str, port: str) -> None:
        known, mem_ctx = self.parent(ctx)
        if known:
            set_errno(0)
            found = tsocket_address_inet_from_strings(mem_ctx, self.meant(family), self._text(text), int(port))
            self._address(name, *found)

    def op_hostport(self, name: str, ctx: str, family: str, text: str, port: str) -> None:
        known, mem_ctx = self.parent(ctx)
        if known:
            set_errno(0)
            found = tsocket_address_inet_from_hostport_strings(mem_ctx, self.meant(family), self._text(text), int(port))
            self._address(name, *found)

    def op_unixaddr(self, name: str, ctx: str, path: str) -> None:
        known, mem_ctx = self.parent(ctx)
        if known:
            set_errno(0)
            self._address(name, *tsocket_address_unix_from_path(mem_ctx, self._text(path)))

    def op_sockaddr(self, name: str, ctx: str, family: str, *words: str) -> None:
        known, mem_ctx = self.parent(ctx)
        if not known:
            return
        if family == "inet":
            sa = sockaddr(socket.AF_INET, (self.meant(words[0]), int(words[1])))
        elif family == "inet6":
            sa = sockaddr(socket.AF_INET6, (words[0], int(words[1]), int(words[2]), int(words[3])))
        elif family == "unix":
            sa = sockaddr(socket.AF_UNIX, self.meant(words[0]) if words else "")
        elif family == "abstract":
            sa = sockaddr(socket.AF_UNIX, b"\0" + (os.fsencode(self.meant(words[0])) if words else b""))
        else:
            sa = sockaddr(socket.AF_UNSPEC, "")
        set_errno(0)
        self._address(name, *tsocket_address_bsd_from_sockaddr(mem_ctx, sa))

    def op_show(self, name: str) -> None:
        addr = self.get(name, "addr")
        if addr is None:
            return
        chosen: bool = self.about[id(addr)]
        set_errno(0)
        text = tsocket_address_string(addr, None)
        err = get_errno() if text is None else 0
        self.saw(f"{name} {self.shown(text, chosen)} e={err} name={talloc_get_name(addr)}")
        kinds = [f"{label}={tsocket_address_is_inet(addr, fam):d}" for label, fam in FAMILIES]
        self.saw(f"is {' '.join(kinds)} unix={tsocket_address_is_unix(addr):d}")
        set_errno(0)
        text = tsocket_address_inet_addr_string(addr, None)
        self.saw(f"host {self.shown(text)} e={get_errno() if text is None else 0}")
        set_errno(0)
        port = tsocket_address_inet_port(addr)
        self.saw(f"port {self._port(port, chosen)} e={0 if port else get_errno()}")
        set_errno(0)
        text = tsocket_address_unix_path(addr, None)
        self.saw(f"path {self.shown(text)} e={get_errno() if text is None else 0}")
        set_errno(0)
        n, sa = tsocket_address_bsd_sockaddr(addr)
        if n == -1:
            self.saw(f"sockaddr -1 e={get_errno()}")
        elif sa.sa_family == socket.AF_INET:
            self.saw(f"sockaddr {n} 2 {self.shown(sa.address[0])} {self._port(sa.address[1], chosen)}")
        elif sa.sa_family == socket.AF_INET6:
            ip, port, flow, scope = sa.address
            self.saw(f"sockaddr {n} 10 {ip} {self._port(port, chosen)} {flow} {scope}")
        elif isinstance(sa.address, bytes):
            self.saw(f"sockaddr {n} {int(sa.sa_family)} abstract {bytes_shown(sa.address)}")
        else:
            self.saw(f"sockaddr {n} {int(sa.sa_family)} {self.shown(sa.address)}")

    @staticmethod
    def _port(port: int, chosen: bool) -> int:
        return -1 if chosen and port >= EPHEMERAL_PORT_MIN else port

    def op_isinet(self, name: str, family: str) -> None:
        addr = self.get(name, "addr")
        if addr is not None:
            self.saw(f"isinet {tsocket_address_is_inet(addr, self.meant(family)):d}")

    def op_copy(self, name: str, ctx: str, source: str) -> None:
        addr = self.get(source, "addr")
        known, mem_ctx = self.parent(ctx)
        if addr is None or not known:
            return
        set_errno(0)
        copy = tsocket_address_copy(addr, mem_ctx)
        self.saw("copy made e=0" if copy is not None else f"copy nothing e={get_errno()}")
        self.enter(name, "addr", copy, self.about[id(addr)])

    def op_setport(self, name: str, port: str) -> None:
        addr = self.get(name, "addr")
        if addr is not None:
            set_errno(0)
            ret = tsocket_address_inet_set_port(addr, int(port))
            self.saw(f"setport {ret} e={0 if ret == 0 else get_errno()}")
            if ret == 0:
                self.about[id(addr)] = False

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
        if not known or self.in_vector:
            return
        one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        if int(size):
            for sock in (one, two):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, int(size))
        self._wire(name, mem_ctx, one.detach(), raw, two.detach())

    def op_tcp(self, name: str, ctx: str, raw: str) -> None:
        known, mem_ctx = self.parent(ctx)
        if not known or self.in_vector:
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
        if known and not self.in_vector:
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
        if known:
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
        if self._kept_off(t, READ, context, 0) and self.skip():
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
        self.saw(
            f"{r.name} ret={n} {bytes_shown(bytes(buf))} from {'nobody' if text is None else self.shown(text, True)} "
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
        if obj is None or self.in_vector or self.kind(name) in ("ev", "vector"):
            return
        if self._undefined_to_free(obj) and self.skip():
            return
        self.saw(f"free {talloc_free(obj)}")
        self.settle()

    def op_steal(self, name: str, ctx: str) -> None:
        obj = self.get(name)
        known, mem_ctx = self.parent(ctx)
        if obj is not None and known and not self.in_vector and self.kind(name) not in ("ctx", "ev", "vector"):
            talloc_steal(mem_ctx, obj)

    def op_parent(self, name: str) -> None:
        obj = self.get(name)
        if obj is not None:
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
        self.add(name, "ev", tevent_context_init_byname(None, "epoll"))
        self.contexts.add("f")


FAMILIES = (("ip", "ip"), ("ipv4", "IPv4"), ("ipv6", "ipv6"))


def vector_bytes(text: str) -> int:
    """The sum of the numbers in a vector, as the driver sees them."""
    return 0 if text[0] in "xen" else sum(int(item) for item in text.split(",") if item != "z")
