# SPDX-License-Identifier: LGPL-3.0-or-later
"""What ``python -m tsocket`` tells, and what works where the system has less than Linux."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tomllib

from tsocket.__main__ import LAYERS

ROOT = pathlib.Path(__file__).resolve().parents[3]

# Extras for those who work on the packages, and the one that is all others.
NO_LAYER = {"all", "bench", "docs", "fuzz", "lint", "tests"}

HIDE_EPOLL = """
import os, select, sys
for name in [name for name in dir(select) if name.lower().startswith("epoll")]:
    delattr(select, name)
for name in [name for name in dir(os) if name.lower().startswith(("eventfd", "efd_"))]:
    delattr(os, name)
"""

HIDE_POLL = """
del select.poll
"""

TALK = """
from talloc_py import *
from tevent import *
from tsocket import *

top = talloc_new(None)
ev = tevent_context_init(top)
ret, left, right = tstream_unix_socketpair(top, top)
buf = bytearray(5)
reading = tstream_readv_send(top, ev, right, [buf])
writing = tstream_writev_send(top, ev, left, [b"hello"])
im = tevent_create_immediate(top)
threaded = tevent_threaded_context_create(top, ev)
tevent_threaded_schedule_immediate(threaded, im, lambda ev, im, data: print("immediate"), None)
assert tevent_req_poll(writing, ev) and tevent_req_poll(reading, ev)
print(*tevent_backend_list(top), bytes(buf))
talloc_free(top)
"""


def run(code: str) -> list[str]:
    """What a fresh interpreter prints that runs *code* with the packages of this one."""
    code = f"import sys; sys.path[:] = {sys.path!r}\n{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def layers_in(lines: list[str]) -> dict[str, str]:
    """What is said of each optional layer."""
    return dict(line.strip().split(": ", 1) for line in lines[lines.index("Optional layers") + 1 :])


class TestReport:
    def test_it_names_versions_backends_and_layers(self) -> None:
        """Each part is there, and each backend that a context can be made of."""
        lines = run("import runpy; runpy.run_module('tsocket', run_name='__main__')")
        assert lines[0].startswith("tsocket ")
        assert sys.version.split()[0] in lines[1]
        backends = lines[lines.index("Backends, the default first") + 1 : lines.index("Optional layers")]
        assert {"standard", "poll", "selectors"} <= {line.strip() for line in backends}
        assert layers_in(lines).keys() == {each.use for each in LAYERS}
        assert layers_in(lines)["TLS"].startswith("yes (OpenSSL")

    def test_what_is_missing_says_how_to_get_it(self) -> None:
        """A layer whose module cannot be imported names the extra; the others are not touched."""
        lines = run("sys.modules['smbprotocol'] = None\nimport runpy; runpy.run_module('tsocket', run_name='__main__')")
        said = layers_in(lines)
        assert said["named pipes over SMB"].startswith("no (")
        assert said["named pipes over SMB"].endswith("pip install 'tsocket[smb]'")
        assert said["contexts in a loop of asyncio"] == "yes (comes with Python)"

    def test_every_extra_is_known(self) -> None:
        """An extra that brings an optional layer is in the list, and the other way round."""
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert {each.extra for each in LAYERS} - {""} == project["optional-dependencies"].keys() - NO_LAYER


class TestWithoutEpoll:
    def test_poll_takes_its_place(self) -> None:
        """Without epoll and eventfd, as on systems other than Linux, everything works with poll and a pipe."""
        said, talked = run(HIDE_EPOLL + TALK)
        assert said == "immediate"
        assert talked == "standard poll_mt poll selectors b'hello'"

    def test_selectors_take_the_place_of_both(self) -> None:
        """Where there is no poll either, the backend over Python's selectors is left."""
        said, talked = run(HIDE_EPOLL + HIDE_POLL + TALK)
        assert said == "immediate"
        assert talked == "standard selectors b'hello'"
