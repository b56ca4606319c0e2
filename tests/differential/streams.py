# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The area "streams": tsocket's streams, datagrams, addresses, PDUs and queue helpers.

The language is described where ``c/streams.c`` carries it out. At the other end of each wire is a raw socket that the
program drives by hand ("rwrite", "rclose" ...); "turn" is one iteration of the loop. Nothing waits: the clock is a
number, and what loopback has not delivered yet is waited for after each operation.

The library is Debian's as a rule. A newer one, whose ``pkg-config`` file is called tsocket, is found through
``PKG_CONFIG_PATH``; the rules that only it has are compared then.
"""

from __future__ import annotations

import functools
import pathlib
import subprocess
from typing import ClassVar

from .program import Choices, Interpreter
from .streams_python import Streams

DEBIAN_LIBRARIES = pathlib.Path("/usr/lib").glob("*/samba/libsamba-sockets-samba4.so.0")
DEBIAN_HEADER = pathlib.Path("/usr/include/samba-4.0/tsocket.h")


def _pkg_config(*words: str) -> str:
    """What it prints, nothing where it is missing or knows nothing."""
    try:
        return subprocess.run(["pkg-config", *words], capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


@functools.cache
def library() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """pkg-config's names of the libraries, and more flags for the compiler."""
    found = next(DEBIAN_LIBRARIES, None)
    if _pkg_config("--modversion", "tsocket") or found is None or not DEBIAN_HEADER.exists():
        return ("talloc", "tevent", "tsocket"), ()
    folder = str(found.parent)
    flags = (f"-I{DEBIAN_HEADER.parent}", f"-L{folder}", f"-l:{found.name}", f"-Wl,-rpath,{folder}")
    return ("talloc", "tevent"), flags


@functools.cache
def newer() -> bool:
    """Whether the library has what the packages follow: it came together with tevent 0.15."""
    version = _pkg_config("--modversion", "tevent").split(".")
    return [int(part) for part in version[:2] if part.isdigit()] >= [0, 15]


STREAMS = [f"s{i}" for i in range(4)]
QUEUES = ["q0", "q1"]
CONTEXTS = ["r", "c0", "c1", "c2"]
ERRORS = (5, 11, 71, 32, 107)
THEMES = (
    "streams",
    "streams",
    "streams",
    "queues",
    "queues",
    "pdus",
    "pdus",
    "datagrams",
    "datagrams",
    "connect",
    "addresses",
    "backends",
    "backends",
)


class AREA:
    """A program in the making."""

    name: ClassVar[str] = "streams"
    packages: ClassVar[tuple[str, ...]] = library()[0]
    flags: ClassVar[tuple[str, ...]] = library()[1]
    length: ClassVar[int] = 120

    def __init__(self) -> None:
        self._ahead: list[str] = []
        self._theme = ""
        self._numbers = 0
        #: Kinds of living chunks; of requests what they are and on what.
        self._alive: dict[str, str] = {"r": "ctx", "e": "ev"}
        self._requests: dict[str, tuple[str, str]] = {}
        self._finished: dict[str, bool] = {}  # name -> received
        self._busy: dict[tuple[str, str], str] = {}  # of a target and "r" or "w" -> the request
        self._peers: dict[str, str] = {}  # stream -> raw
        self._raws: list[str] = []

    def python(self) -> Interpreter:
        return Streams(newer())

    # What is known.

    def saw(self, line: str, observations: list[str]) -> None:
        for text in observations:
            words = text.split()
            if len(words) > 1:
                self._learn(text, words)
        words = line.split()
        if words[0] in ("rclose", "rreset") and observations != ["skip"] and words[1] in self._raws:
            self._raws.remove(words[1])
        if words[0] in ("ctx", "queue", "ev", "copy"):
            self._alive[words[1]] = {"copy": "addr"}.get(words[0], words[0])
        if "r" not in self._alive:
            self._ahead.insert(0, "ctx r -")
        if words[0] == "turn" and observations == ["skip"] and self._requests:
            # A helper waits for a stream that must not fail now.
            self._ahead.append(f"free {next(reversed(self._requests))}")

    def _learn(self, text: str, words: list[str]) -> None:
        name, what = words[:2]
        if name == "backend" and words[-1][0] == "b":
            self._alive[words[-1]] = "breq"
        elif name == "died":
            self._alive.pop(what, None)
            self._requests.pop(what, None)
            self._ended(what)
        elif name == "called":
            self._finished.setdefault(what, False)
            self._ended(what)
        elif name in self._requests:
            if what.startswith("prog=") or what == "sent":
                self._alive[name] = "req"
            if what == "prog=0":
                self._ended(name)
            if what.startswith("ret="):
                self._finished[name] = True
                if "stream=" in text and "stream=no" not in text:
                    self._alive[f"s{name[1:]}"] = "stream"
                    self._alive.setdefault(f"a{int(name[1:]) % 12}", "addr")
        elif what == "ret=0":
            self._alive[name] = "dgram" if "tdgram" in text else "stream" if "context" in text else "addr"

    def _ended(self, request: str) -> None:
        for key in [key for key, name in self._busy.items() if name == request]:
            del self._busy[key]

    def _living(self, kind: str) -> list[str]:
        return [name for name, it in self._alive.items() if it == kind]

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    # Lines.

    def next_line(self, choices: Choices) -> str:
        if not self._theme:
            self._theme = choices.pick(THEMES)
            self._begin(choices)
        while not self._ahead:
            getattr(self, f"_{self._theme}")(choices)
        return self._ahead.pop(0)

    def _say(self, *words: object) -> None:
        self._ahead.append(" ".join(map(str, words)))

    def _begin(self, choices: Choices) -> None:
        for name in CONTEXTS[1:]:
            if choices.chance(40):
                self._say("ctx", name, "r")
        if choices.chance(15):
            self._say("ev", "f")
        if self._theme in ("queues", "datagrams", "backends"):
            for name in QUEUES:
                self._say("queue", name, self._context(choices))
        if self._theme in ("connect", "datagrams"):
            self._begin_addresses(choices)

    def _begin_addresses(self, choices: Choices) -> None:
        self._say("inet", "a0", "r", "ipv4", "$H", 2001)
        self._say("inet", "a1", "r", "ipv4", "$H", 2002)
        self._say("unixaddr", "a2", "r", "$D/u1")
        self._say("unixaddr", "a3", "r", "$D/u2")
        self._say("inet", "a4", "r", "ip", "null", 0)
        self._say("unixaddr", "a5", "r", "null")
        if self._theme == "connect":
            self._say("inet", "m0", "r", choices.pick(("ip", "ipv4")), "null", 0)
            self._say("unixaddr", "m1", "r", "null")
            for name, where in (("l0", "inet 2001"), ("l1", "unix $D/u1")):
                if choices.chance(70):
                    self._say("listen", name, where, self._backlog(choices, where))
                    self._raws.append(name)
            return
        for name, where in (("p0", "inet 2003"), ("p1", "unix $D/u3")):
            self._say("rdgram", name, where)
            self._raws.append(name)
        for name, family, where in (("d0", "inet", "a0"), ("d1", "unix", "a2")):
            self._say("dgram", name, self._context(choices), family, where, "none")

    def _context(self, choices: Choices) -> str:
        known = self._living("ctx")
        return "r" if choices.chance(40) or not known else choices.pick(known)

    def _event(self, choices: Choices) -> str:
        return "f" if "f" in self._alive and choices.chance(30) else "e"

    def _size(self, choices: Choices) -> int:
        if choices.chance(70):
            return choices.integer(1, 9)
        return choices.pick((1, 30, 257, 700, 3000, 20000))

    def _vector(self, choices: Choices) -> str:
        if choices.chance(6):
            return choices.pick(("none", "empty", "0", "z", "0,z,0", "x1024", "x1025", "x1500"))
        parts = [str(self._size(choices)) for _ in range(choices.integer(1, 3))]
        while choices.chance(15):
            parts.insert(choices.integer(0, len(parts)), choices.pick(("0", "z")))
        return ",".join(parts)

    def _script(self, choices: Choices, request: str, depth: int = 0) -> str:
        """A script for the callback of a request; its name."""
        parts = []
        if choices.chance(85):
            parts.append(f"recv {request} {self._context(choices)}" if choices.chance(20) else f"recv {request}")
        if choices.chance(75):
            parts.append(f"free {request}")
        while choices.chance(25):
            parts.append(self._inside(choices, request, depth))
        if choices.chance(5):
            parts.append(f"steal {request} r")
        name = f"K{self._number()}"
        self._say("script", name, " ; ".join(part for part in parts if part))
        return name

    def _inside(self, choices: Choices, request: str, depth: int) -> str:
        """One operation for a script, on whatever is there now."""
        kind = choices.integer(0, 9)
        if kind <= 3 and depth < 2 and self._living("stream"):
            held, self._ahead = self._ahead, []
            self._operation(choices, depth + 1)
            said, self._ahead = self._ahead, held
            self._ahead += said[:-1]
            return said[-1] if said else ""
        if kind == 4 and self._raws:
            return f"rwrite {choices.pick(self._raws)} {self._size(choices)}"
        if kind == 5 and self._raws:
            return self._raw_line(choices)
        if kind == 6:
            return f"free {choices.pick(sorted(self._alive))}"
        if kind == 7 and self._living("stream"):
            return f"pending {choices.pick(self._living('stream'))}"
        if kind == 8 and self._requests:
            return f"free {choices.pick(sorted(self._requests))}"
        if kind == 9 and self._living("queue"):
            return f"{choices.pick(('qstop', 'qstart', 'qlen'))} {choices.pick(self._living('queue'))}"
        return "turn e"

    def _new_request(self, kind: str, target: str) -> str:
        name = f"n{self._number()}"
        self._requests[name] = (kind, target)
        return name

    # Streams.

    def _make_stream(self, choices: Choices) -> None:
        free = [name for name in STREAMS if name not in self._alive]
        if not free:
            self._say("turn", "e")
            return
        name, raw = free[0], f"p{self._number()}"
        kind = choices.integer(0, 99)
        context = self._context(choices)
        if kind < 55:
            self._say("unix", name, context, raw, choices.pick((0, 1, 1, 6000)))
        elif kind < 75:
            self._say("tcp", name, context, raw)
        elif kind < 85:
            self._say("pipe", name, context, raw, choices.pick("rw"))
        elif kind < 97 and len(free) > 1:
            if choices.chance(15):
                self._say("crowd", 1)
                self._ahead += [f"twins {name} {context} {free[1]} r", "crowd 0"]
            self._say("twins", name, context, free[1], self._context(choices))
            return
        else:
            self._say("badfd", name, context, choices.pick((-1, 60000)))
            return
        self._raws.append(raw)
        self._peers[name] = raw

    def _raw_line(self, choices: Choices) -> str:
        raw = choices.pick(self._raws)
        kind = choices.integer(0, 99)
        if kind < 35:
            return f"rwrite {raw} {self._size(choices)}"
        if kind < 70:
            return f"rread {raw} {choices.pick((1, 5, 100, 4000, 100000))}"
        if kind < 78:
            return f"rclose {raw}"
        if kind < 84:
            return f"rreset {raw}"
        if kind < 94:
            return f"rshut {raw} {choices.pick('wwrb')}"
        return f"rin {raw}"

    def _operation(self, choices: Choices, depth: int = 0) -> None:
        """A request on a stream."""
        stream = choices.pick(self._living("stream"))
        kinds = ["readv", "writev", "readv", "writev", "disconnect"]
        if newer():
            kinds.append("monitor")
        if self._theme == "pdus":
            kinds += ["pdu"] * 8
        queues = self._living("queue")
        if queues:
            kinds += ["pduq", "writevq"] * 6
        kind = choices.pick(kinds)
        if kind == "disconnect" and choices.chance(60):
            kind = "readv"
        reads = kind in ("readv", "pdu", "pduq")
        if kind in ("readv", "pdu") and (stream, "r") in self._busy and choices.chance(75):
            kind, reads = "writev", False
        if kind == "writev" and (stream, "w") in self._busy and choices.chance(75):
            self._feed(choices, stream)
            return
        request = self._new_request(kind, stream)
        script = self._script(choices, request, depth) if depth < 2 else "K0"
        words = [kind, request, self._context(choices), self._event(choices), stream]
        if kind in ("pduq", "writevq"):
            words.append(choices.pick(queues))
        if kind in ("readv", "writev", "writevq"):
            words.append(self._vector(choices))
        if kind in ("pdu", "pduq"):
            words.append(self._plan(choices))
        self._say(*words, script)
        if reads or kind == "writev":
            self._busy.setdefault((stream, "r" if reads else "w"), request)
        if depth == 0 and choices.chance(6):
            self._say("endtime", request, "e", choices.pick((0, 500, 5000)))
        elif depth == 0 and choices.chance(40):
            self._feed(choices, stream)

    def _feed(self, choices: Choices, stream: str) -> None:
        """Let the other end of a stream do what the stream may be waiting for."""
        raw = self._peers.get(stream)
        if raw is None:
            self._say("turn", "e")
        elif choices.chance(60):
            self._say("rwrite", raw, choices.pick((5, 20, 300, 4000)))
        else:
            self._say("rread", raw, 100000)
        for _ in range(choices.integer(0, 3)):
            self._say("turn", self._event(choices))

    def _plan(self, choices: Choices) -> str:
        items = []
        for _ in range(choices.integer(0, 4)):
            kind = choices.integer(0, 99)
            vector = self._vector(choices)
            if kind < 60:
                items.append(vector)
            elif kind < 70:
                items.append("^" + vector)
            elif kind < 78:
                items.append(f"={choices.pick((1, 7, -2))}/{vector}")
            elif kind < 86:
                items.append(f"!{choices.pick(ERRORS)}")
            elif kind < 90:
                items.append(".")
            elif kind < 95 and self._raws:
                script = f"K{self._number()}"
                self._say("script", script, self._raw_line(choices))
                items += ["&" + script, vector]
            else:
                items.append("*")
        name = f"V{self._number() % 40}"
        self._say("vectors", name, *items)
        return name

    def _streams(self, choices: Choices) -> None:
        streams = self._living("stream")
        kind = choices.integer(0, 99)
        if not streams or kind < 4:
            self._make_stream(choices)
        elif kind < 34:
            self._say("turn", self._event(choices))
        elif kind < 60:
            self._operation(choices)
        elif kind < 82 and self._raws:
            self._say(self._raw_line(choices))
        elif kind < 88:
            self._any_free(choices)
        else:
            self._stream_detail(choices)

    _pdus = _streams

    def _backends(self, choices: Choices) -> None:
        free = [name for name in STREAMS[:2] if name not in self._alive]
        waiting = self._living("breq")
        kind = choices.integer(0, 99)
        if free and (kind < 10 or len(free) == 2):
            self._say("fake", free[0], self._context(choices), choices.pick(("", "", "nomonitor")))
            self._alive[free[0]] = "stream"
        elif "d0" not in self._alive and kind < 20:
            self._say("dfake", "d0", self._context(choices))
            self._alive["d0"] = "dgram"
        elif waiting and kind < 40:
            line = ("bdone", choices.pick(waiting), choices.pick((1, 0, 42, 7)))
            self._say(*(line if choices.chance(70) else ("berror", line[1], choices.pick(ERRORS))))
        elif kind < 55:
            self._mode(choices)
        elif kind < 65 and "d0" in self._alive:
            self._dgram_operation(choices, "d0")
        elif kind < 80:
            self._queues(choices)
        else:
            self._operation(choices)

    def _mode(self, choices: Choices) -> None:
        target = choices.pick((*STREAMS[:2], "d0"))
        slot = choices.pick(("read", "write", "disconnect", "monitor", "pending"))
        if slot == "pending":
            self._say("fmode", target, slot, "x", choices.pick((0, 5, -5, -32)))
            return
        mode = choices.pick(("wait", "done", "error", "null"))
        self._say("fmode", target, slot, mode, choices.pick(ERRORS if mode == "error" else (3, 0, 9)))

    def _queues(self, choices: Choices) -> None:
        if choices.chance(8) and self._living("queue"):
            self._say(choices.pick(("qstop", "qstart", "qstart", "qlen")), choices.pick(self._living("queue")))
        elif choices.chance(3) and "q0" not in self._alive:
            self._say("queue", "q0", self._context(choices))
        elif choices.chance(3) and self._requests:
            self._say("change", choices.pick(sorted(self._requests)))
        else:
            self._streams(choices)

    def _stream_detail(self, choices: Choices) -> None:
        stream = choices.pick(self._living("stream"))
        kind = choices.integer(0, 9)
        if kind <= 2:
            self._say("pending", stream)
        elif kind == 3:
            self._say("optimize", stream, choices.pick("10"))
        elif kind == 4:
            self._say("failfirst", stream, choices.pick("10"))
        elif kind == 5:
            self._say("parent", choices.pick(sorted(self._alive)))
        elif kind == 6:
            self._say("steal", choices.pick(sorted(self._alive)), self._context(choices))
        elif kind == 7:
            self._say("tick", choices.pick((1, 1000, 1100000)))
        else:
            self._request_detail(choices)

    def _request_detail(self, choices: Choices) -> None:
        waiting = [name for name, received in self._finished.items() if not received and name in self._requests]
        if waiting and choices.chance(60):
            self._say("recv", choices.pick(waiting))
            return
        living = [name for name in self._requests if self._alive.get(name) == "req"]
        if not living:
            self._say("turn", "e")
            return
        name = choices.pick(living)
        kind = choices.integer(0, 99)
        if kind < 20:
            self._say("inprog", name)
        elif kind < 35:
            self._say("cancel", name)
        elif kind < 50:
            self._say("simple", name)
        elif kind < 90 or self._finished.get(name):
            self._say("free", name)
        else:
            self._say("recv", name)

    def _any_free(self, choices: Choices) -> None:
        kind = choices.integer(0, 9)
        requests = [name for name in self._requests if self._alive.get(name) == "req"]
        if kind <= 6 and requests:
            self._say("free", choices.pick(requests))
        elif kind <= 8:
            self._say("free", choices.pick([name for name in sorted(self._alive) if name != "r"] or ["e"]))
        elif choices.chance(20):
            self._say("free", "r")
        else:
            self._say("recv", choices.pick(sorted(self._requests) or ["x"]))

    # Datagrams.

    def _make_dgram(self, choices: Choices) -> None:
        n = self._number()
        name, context = f"d{n % 4}", self._context(choices)
        kind = choices.integer(0, 99)
        if kind < 35:
            raw = f"p{n}"
            self._say("dpair", name, context, raw)
            self._raws.append(raw)
        elif kind < 90:
            local, remote = self._address(choices), choices.pick(("none", "none", self._address(choices)))
            self._say(
                "dgram", name, context, choices.pick(("inet", "inet", "unix", "unix", "broadcast")), local, remote
            )
        elif kind < 95:
            self._say("dbad", name, context, choices.pick((-1, 60000)))
        else:
            raw = f"p{n}"
            where = choices.pick(("inet 2001", "inet 2002", "unix $D/u1", "unix $D/u2"))
            self._say("rdgram", raw, where)
            self._raws.append(raw)

    def _address(self, choices: Choices) -> str:
        """An address that datagrams and connections may use."""
        known = self._living("addr")
        if choices.chance(3):
            self._say("crowd", choices.pick("10"))
        if known and choices.chance(50):
            return choices.pick(known)
        name = f"a{self._number() % 12}"
        kind = choices.integer(0, 99)
        if kind < 50:
            self._say("inet", name, "r", choices.pick(("ip", "ipv4")), "$H", choices.pick((0, 2001, 2002)))
        elif kind < 60:
            self._say("inet", name, "r", choices.pick(("ip", "ipv4", "ipv6")), "null", 0)
        elif kind < 90:
            path = choices.pick(("$D/u1", "$D/u2", "$D/u3", "$D/f", "$D/no/x", "null", "$D"))
            self._say("unixaddr", name, "r", path)
        else:
            self._say("inet", name, "r", "ip", choices.pick(("::1", "0.0.0.0", "127.0.0.1", "::ffff:127.0.0.1")), 0)
        return name

    def _datagrams(self, choices: Choices) -> None:
        dgrams = self._living("dgram")
        kind = choices.integer(0, 99)
        if not dgrams or kind < 6:
            self._make_dgram(choices)
            return
        if kind < 34:
            self._say("turn", self._event(choices))
            return
        dgram = choices.pick(dgrams)
        if kind < 72:
            self._dgram_operation(choices, dgram)
        elif kind < 82 and self._raws:
            raw = choices.pick(self._raws)
            self._say(
                choices.pick(
                    (
                        f"rrecv {raw}",
                        f"rwrite {raw} {choices.pick((0, 1, 5, 100, 3000))}",
                        f"rwrite {raw} {choices.pick((0, 1, 5, 100, 3000))}",
                        f"rsendto p0 inet {choices.pick((2001, 2001, 2002))} {choices.pick((0, 3, 9, 400))}",
                        f"rsendto p1 unix {choices.pick(('$D/u1', '$D/u1', '$D/u2'))} {choices.pick((0, 3, 9, 400))}",
                        f"rsendto {raw} unix $D/u1 3",
                        f"rclose {raw}",
                    )
                )
            )
        elif kind < 86:
            self._any_free(choices)
        elif kind < 88:
            self._say("doptimize", dgram, choices.pick("10"))
        elif kind < 91 and self._living("queue"):
            self._say(choices.pick(("qstop", "qstart", "qstart", "qlen")), choices.pick(self._living("queue")))
        elif kind < 93:
            self._say(choices.pick(("unlink $D/u1", "unlink $D/u2", "file $D/f", "exists $D/u1", "tick 1000")))
        elif kind < 95 and self._living("addr"):
            self._say("show", choices.pick(self._living("addr")))
        else:
            self._request_detail(choices)

    def _dgram_operation(self, choices: Choices, dgram: str) -> None:
        kind = choices.pick(("recvfrom", "recvfrom", "sendto", "sendto", "sendto", "sendtoq", "sendtoq", "ddisconnect"))
        if kind == "ddisconnect" and choices.chance(60):
            kind = "recvfrom"
        queues = self._living("queue")
        if kind == "sendtoq" and not queues:
            kind = "sendto"
        if kind == "recvfrom" and (dgram, "r") in self._busy and choices.chance(80):
            kind = "sendto"
        request = self._new_request(kind, dgram)
        script = self._script(choices, request, 2)
        words = [kind, request, self._context(choices), self._event(choices), dgram]
        if kind == "recvfrom":
            self._busy.setdefault((dgram, "r"), request)
            words.append(f"a{self._number() % 12}")
        elif kind != "ddisconnect":
            if kind == "sendtoq":
                words.append(choices.pick(queues))
            words.append(
                choices.pick(("1", "3", "8", "200", "9000", "0", "none", "65507", "65508", "300000", "5", "6", "7"))
            )
            words.append("none" if choices.chance(40) else self._address(choices))
            if words[-1] != "none" and choices.chance(60):
                words[-1] = choices.pick(("a0", "a1", "a2", "a3"))
        self._say(*words, script)

    # Connections.

    def _connect(self, choices: Choices) -> None:
        kind = choices.integer(0, 99)
        n = self._number()
        if kind < 8:
            where = choices.pick(("inet 2001", "inet 2002", "unix $D/u1", "unix $D/u2"))
            self._say("listen", f"l{n}", where, self._backlog(choices, where))
            self._raws.append(f"l{n}")
        elif kind < 40:
            family = choices.pick(("inet", "unix"))
            local, remote = self._local(choices, family), self._address(choices)
            if choices.chance(70):
                remote = choices.pick(("a0", "a1")) if family == "inet" else "a2"
            request = f"n{n}"
            self._requests[request] = ("connect", "")
            script = self._script(choices, request, 2)
            words = ["connect", request, self._context(choices), self._event(choices), family, local, remote]
            self._say(*words, f"s{n}", f"a{self._number() % 12}", script)
        elif kind < 55 and self._raws:
            listeners = [raw for raw in self._raws if raw[0] == "l"] or self._raws
            raw = f"p{n}"
            self._say("accept", raw, choices.pick(listeners))
            self._raws.append(raw)
            alone = [name for name in self._living("stream") if name not in self._peers]
            if alone:
                self._peers[alone[-1]] = raw
        elif kind < 60:
            self._say(
                choices.pick(("unlink $D/u1", "unlink $D/u2", "file $D/f", "exists $D/u1", "rdgram pd unix $D/u3"))
            )
        elif kind < 65 and self._living("addr"):
            self._say("show", choices.pick(self._living("addr")))
        elif self._living("stream"):
            self._streams(choices)
        else:
            self._say("turn", self._event(choices))

    @staticmethod
    def _backlog(choices: Choices, where: str) -> int:
        """Few for Unix sockets; with TCP the kernel would try again after a second, which passes for one side only."""
        return choices.pick((0, 1, 5)) if where.startswith("unix") else 100

    def _local(self, choices: Choices, family: str) -> str:
        """A local address; one with a port is used once, as the kernel remembers what was connected for a while."""
        kind = choices.integer(0, 9)
        if kind <= 5:
            return "m0" if family == "inet" else "m1"
        if kind == 6:
            return "m1" if family == "inet" else "m0"
        name = f"m{3 + self._number()}"
        if family == "inet":
            self._say("inet", name, "r", "ipv4", "$H", choices.pick((0, 3000 + self._numbers)))
        else:
            self._say("unixaddr", name, "r", f"$D/c{self._numbers}")
        return name

    # Addresses.

    HOSTS = (
        "127.0.0.1", "127.1", "0x7f.1", "2130706433", "1.2.3", "010.0.0.1", "::ffff:1.2.3.4", "*", "%25",
        "::1", "::", "FE80::1",
        "fe80::1%25lo", "ff02::1%25lo", "fe80::1%25nope", "fe80::1%257", "::1%25lo", "2001::1%25lo", "127.0.0.1%25lo",
        "fe80::1%25", "::1%253", "[::1]", "256.1.1.1", "1.2.3.4.5", "localhost", "%20127.0.0.1", "127.0.0.1%20",
        "1.2.3.4%0a",
        "%ef%bc%91.2.3.4", "%c3%a4.de", "%ff", "0", "0.0.0.0", "255.255.255.255", "1::2::3", "1:2:3:4:5:6:7:8", "null",
        "08.0.0.1", "1.2.3.4%2f24", "::1.2.3.4", "64:ff9b::1", "::ffff:0:0", "0x7f000001", "00000000001.1",
    )  # fmt: skip
    PORTS = (
        "", ":", ":0", ":80", ":+80", ":%2080", ":%0980", ":-80", ":080", ":0x50", ":65535", ":65536",
        ":99999999999999999999",
        ":1_0", ":80%20", ":8%300", ":%c2%a080", ":%d9%a3", "x", "]:80", ":80:90", ":%00",
        ":000000000000000000000000000080",
    )  # fmt: skip
    FAMILIES = ("ip", "ipv4", "ipv6", "IP", "IPv4", "iPV6", "ipv5", "%00x", "inet", "unix", "%c4%b1p")

    def _addresses(self, choices: Choices) -> None:
        name, context = f"a{self._number() % 12}", self._context(choices)
        kind = choices.integer(0, 99)
        known = self._living("addr")
        if kind < 25:
            port = choices.pick((0, 1, 80, 65535))
            self._say("inet", name, context, self._family(choices), self._host(choices), port)
        elif kind < 50:
            text = self._host(choices)
            if choices.chance(40):
                text = f"[{text}]"
            text += f":{self._arbitrary(choices)}" if choices.chance(10) else choices.pick(self.PORTS)
            if choices.chance(10):
                text = self._mangle(choices, text)
            self._say(
                "hostport",
                name,
                context,
                self._family(choices),
                text.replace("%00", "") or "null",
                choices.pick((0, 445)),
            )
        elif kind < 60:
            self._say("unixaddr", name, context, self._path(choices))
        elif kind < 70:
            self._say("sockaddr", name, context, self._sockaddr(choices))
        elif not known:
            self._say("unixaddr", name, context, self._path(choices))
        elif kind < 84:
            self._say("show", choices.pick(known))
        elif kind < 88:
            self._say("copy", name, context, choices.pick(known))
        elif kind < 92:
            self._say("setport", choices.pick(known), choices.pick((0, 1, 65535, 4000)))
        elif kind < 96:
            self._say("isinet", choices.pick(known), self._family(choices))
        else:
            self._say(choices.pick(("free", "parent")), choices.pick(known))

    def _family(self, choices: Choices) -> str:
        return choices.pick(self.FAMILIES[:3]) if choices.chance(75) else choices.pick(self.FAMILIES).replace("%00", "")

    #: What an arbitrary text is made of.
    LETTERS = (
        *"0123456789abcdefxXg:.-+_*/[]", "::", "ffff", "127", "255", "256",
        "%25", "%25lo", "%20", "%09", "%c3%a4", "%ff",
    )  # fmt: skip

    def _arbitrary(self, choices: Choices) -> str:
        return "".join(choices.pick(self.LETTERS) for _ in range(choices.integer(0, 12)))

    def _host(self, choices: Choices) -> str:
        text = self._arbitrary(choices) if choices.chance(20) else choices.pick(self.HOSTS)
        if text != "null" and choices.chance(20):
            text = self._mangle(choices, text)
        return text or "null"

    @staticmethod
    def _mangle(choices: Choices, text: str) -> str:
        """One character more, less or other; escapes stay whole or become something else."""
        at = choices.integer(0, len(text))
        new = choices.pick((".", ":", "1", "0", "[", "]", "%25", "%20", "f", "x", "-", ""))
        drop = choices.integer(0, 1)
        mangled = text[:at] + new + text[at + drop :]
        # An escape that was cut through would be read differently on both sides.
        parts = mangled.split("%")
        whole = all(
            len(part) >= 2 and part[:2].isalnum() and all(c in "0123456789abcdef" for c in part[:2])
            for part in parts[1:]
        )
        return mangled if whole and "%00" not in mangled else text

    @staticmethod
    def _path(choices: Choices) -> str:
        if choices.chance(40):
            return choices.pick(("null", "/tmp/x", "x", "/", "a%20b", "%c3%a4", "%ff%fe", "$D/u1", "."))
        return "p" * choices.integer(100, 115) if choices.chance(50) else "%c3%a4" * choices.integer(50, 57)

    def _sockaddr(self, choices: Choices) -> str:
        kind = choices.integer(0, 9)
        if kind <= 2:
            return f"inet {choices.pick(('1.2.3.4', '0.0.0.0', '127.0.0.1'))} {choices.pick((0, 80, 65535))}"
        if kind <= 5:
            host = choices.pick(("::", "::1", "fe80::1", "::ffff:1.2.3.4"))
            return f"inet6 {host} {choices.pick((0, 80))} {choices.pick((0, 5))} {choices.pick((0, 3, 4294967295))}"
        if kind <= 7:
            return f"unix {choices.pick(('', '/tmp/x', 'p' * 107, 'a%20b'))}"
        if kind == 8:
            return f"abstract {choices.pick(('', 'x', 'p' * 107, 'ab'))}"
        return "unspec"
