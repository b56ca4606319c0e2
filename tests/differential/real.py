# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The real library's side: a driver in C, compiled once, that is asked line by line.

The driver (``c/<area>.c`` with ``c/common.h``) answers each line with observations, a line each, and a line ``.``.
What is compiled is kept in a folder of the temporary directory, by a hash of the sources and of the libraries'
versions.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import select
import shutil
import subprocess
import tempfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .program import Area

SOURCES = pathlib.Path(__file__).resolve().parent / "c"
#: An answer takes longer than this, in seconds, only where the library hangs.
ANSWER_SECONDS_MAX = 60.0
CFLAGS = ("-std=gnu11", "-O1", "-g", "-Wall", "-Wno-deprecated-declarations", "-Werror=implicit", "-rdynamic")


class MissingError(Exception):
    """What is needed to build a driver is not on this machine."""


def _versions(packages: tuple[str, ...]) -> str:
    """The versions of the libraries; an exception where one, its headers or a tool is missing."""
    for tool in ("cc", "pkg-config"):
        if shutil.which(tool) is None:
            raise MissingError(f"no {tool} on this machine")
    found = subprocess.run(["pkg-config", "--modversion", *packages], capture_output=True, text=True, check=False)
    if found.returncode:
        raise MissingError(found.stderr.strip().replace("\n", " "))
    return found.stdout


def build(name: str, packages: tuple[str, ...], flags: tuple[str, ...] = ()) -> pathlib.Path:
    """The compiled driver of an area; *packages* as pkg-config knows them, *flags* more for the compiler."""
    parts = [" ".join((*CFLAGS, *packages, *flags)), _versions(packages)]
    parts += [part.read_text(encoding="utf-8") for part in (SOURCES / f"{name}.c", *sorted(SOURCES.glob("*.h")))]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    folder = pathlib.Path(tempfile.gettempdir()) / f"tsocket-differential-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise MissingError(f"{folder} belongs to somebody else")
    program = folder / f"{name}-{key}"
    if not program.exists():
        known = subprocess.run(
            ["pkg-config", "--cflags", "--libs", *packages], capture_output=True, text=True, check=True
        )
        # Under a name of its own until it is complete: several may build at once.
        fresh = folder / f"{name}-{key}.{os.getpid()}"
        command = ["cc", *CFLAGS, "-o", str(fresh), str(SOURCES / f"{name}.c"), *known.stdout.split(), *flags]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{name}.c does not compile:\n{done.stderr}")
        fresh.replace(program)
    return program


class Real:
    """A running driver."""

    def __init__(self, area: type[Area]) -> None:
        self.program = build(area.name, area.packages, area.flags)
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen([self.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self._rest = b""

    def send(self, lines: list[str]) -> None:
        """Hand over *lines*; few enough that their answers fit into a pipe of 1 MiB."""
        assert self._process.stdin is not None
        os.write(self._process.stdin.fileno(), "".join(line + "\n" for line in lines).encode(errors="surrogateescape"))

    def receive(self, count: int) -> list[list[str]]:
        """The answers to the next *count* lines, the observations of each."""
        assert self._process.stdout is not None
        answers: list[list[str]] = []
        fd = self._process.stdout.fileno()
        parts = self._rest
        while True:
            while len(answers) < count:
                answer, dot, rest = parts.partition(b".\n") if parts.startswith(b".\n") else parts.partition(b"\n.\n")
                if not dot:
                    break
                answers.append(answer.decode(errors="surrogateescape").split("\n") if answer else [])
                parts = rest
            if len(answers) == count:
                self._rest = parts
                return answers
            if not select.select([fd], [], [], ANSWER_SECONDS_MAX)[0]:
                self.restart()
                return [*answers, ["abort: the library hangs"]] + [[]] * (count - len(answers) - 1)
            more = os.read(fd, 1 << 20)
            if not more:
                self.restart()
                return [*answers, ["abort: the driver is gone"]] + [[]] * (count - len(answers) - 1)
            parts += more

    def restart(self) -> None:
        """A fresh process instead of one that hangs or is gone."""
        self.close()
        self._start()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
