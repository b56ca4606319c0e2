# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What the Python side of the area "streams" stands on: a clock, raw ends, and what programs are kept off.

The words are those of ``c/streams.h`` and of the first half of ``c/streams.c``.
"""

from __future__ import annotations

import os
import resource
import select
import socket
import struct
import zlib
from fcntl import ioctl
from itertools import count
from termios import FIONREAD
from typing import Any

from talloc_py import talloc_free, talloc_is_parent, talloc_new
from tevent import _sys as tevent_sys
from tevent import (
    tevent_context_init_byname,
    tevent_queue_length,
    tevent_req_is_error,
    tevent_req_is_in_progress,
    tevent_req_state,
    tevent_set_abort_fn,
)

from .program import Interpreter

START_US = 1_000_000_000 * 1_000_000
PATTERN = bytes((i * 7 + (i >> 8) * 3) & 0xFF for i in range(1 << 16)) * 32
EPHEMERAL_PORT_MIN = 32768
STALE_TURNS = 12
#: Each program has a loopback address of its own, as connections stay known to the kernel for a while.
_programs = count()

READ, WRITE, DISCONNECT, MONITOR, OTHER = range(5)
_FDS_MAX = 256


class World:
    """
    A clock that only waiting moves, and an epoll that never waits for real.

    With *ranks* the first created of several ready descriptors is told first; else the kernel decides.
    """

    def __init__(self, aborted: Any, newer: bool) -> None:
        self.us = START_US
        self.ranks: dict[int, tuple[int, int]] | None = None if newer else {}  # descriptor -> inode, rank
        self._created = 0
        self.crowded = False
        self._aborted = aborted
        self._saved = tevent_sys.time_ns, tevent_sys.epoll
        tevent_sys.time_ns = lambda: self.us * 1000
        tevent_sys.epoll = self._epoll

    def note_descriptors(self) -> None:
        if self.ranks is None:
            return
        # To list them takes a descriptor, of which none may be left.
        fds = range(3, _FDS_MAX) if self.crowded else sorted(map(int, os.listdir("/proc/self/fd")))
        for fd in fds:
            try:
                inode = os.fstat(fd).st_ino
            except OSError:
                continue
            if self.ranks.get(fd, (0, 0))[0] != inode:
                self._created += 1
                self.ranks[fd] = inode, self._created

    def put_back(self) -> None:
        tevent_sys.time_ns, tevent_sys.epoll = self._saved

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
        # A listener or what it has accepted: the other end may be any stream that was connected.
        self.loose = False

    def faces(self, t: Target) -> bool:
        """Whether this is, or may be, the other end of *t*."""
        return self.peer is t or (self.loose and t.connected)


class Target:
    """A stream or datagram context, and what the program has done to its wire."""

    def __init__(self, ptr: Any, is_dgram: bool) -> None:
        self.ptr = ptr
        self.is_dgram = is_dgram
        self.odd = self.odd_failed = False
        self.pipe_end = ""
        self.connected = False
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


class Ends(Interpreter):
    """A program without operations of the library."""

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
        self.vectors_made = self.fakes_made = 0
        self.crowded = False
        self.limits = resource.getrlimit(resource.RLIMIT_NOFILE)
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
        self._uncrowd()
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
        self._uncrowd()
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
        if not self.inet_used or (self.crowded and self.marker is None):
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
        if raw is None or self.crowded:
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
            self.add_raw(name, new).loose = True
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
        if self.crowded:
            return
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
            self.add_raw(name, fd).loose = True

    def op_rdgram(self, name: str, family: str, where: str) -> None:
        if self.crowded:
            return
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
        for t in self.targets:
            t.peer_bad |= raw.faces(t)
        self.settle()

    def op_rreset(self, name: str) -> None:
        self.op_rclose(name, linger=True)

    def op_rshut(self, name: str, how: str) -> None:
        raw = self.raws.get(name)
        if raw is None or (self._peer_must_stay(raw) and self.skip()):
            return
        facing = [t for t in self.targets if raw.faces(t)]
        if how[:1] == "r" and any(t.lives and self._helper_waits(t, READ) for t in facing) and self.skip():
            return
        try:
            sock = socket.socket(fileno=raw.fd)
            try:
                sock.shutdown({"r": 0, "w": 1}.get(how[:1], 2))
            finally:
                sock.detach()
        except OSError as error:
            self.saw(f"shutdown e={error.errno}")
        for t in facing:
            t.peer_bad = True
            if how[:1] == "r":
                t.odd, t.pipe_end = True, "r"
                t.odd_failed |= self._writes(t)
        self.settle()

    def op_crowd(self, on: str) -> None:
        connecting = any(r.type == "connect" and r.lives and not r.received for r in self.requests)
        if on == "1" and connecting and not self.newer and self.skip():
            return
        self.settle()
        self._uncrowd()
        if on == "1":
            lowest = os.dup(0)
            os.close(lowest)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, self.limits[1]))
            self.crowded = self.world.crowded = True

    def _uncrowd(self) -> None:
        self.crowded = self.world.crowded = False
        resource.setrlimit(resource.RLIMIT_NOFILE, self.limits)

    def op_file(self, path: str) -> None:
        if self.crowded:
            return
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

    def _helper_waits(self, t: Target | None, slot: int) -> bool:
        return any(
            r.target is t and not r.direct and not r.at_once and r.slot == slot and r.runs for r in self.requests
        )

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
            if raw.faces(t):
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
        return not self.newer and any(raw.faces(t) and self._writes(t) for t in self.targets)

    def _writes(self, t: Target) -> bool:
        return any(r.target is t and r.slot == WRITE and r.runs for r in self.requests)

    # Names.

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
