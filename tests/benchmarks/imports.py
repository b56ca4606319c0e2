# SPDX-License-Identifier: LGPL-3.0-or-later
"""What an import, compiled before, adds to the start of an interpreter: everything of ours, against the others."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial

from harness import Cost, Group, main, spread


def once(code: str, environment: dict[str, str]) -> Cost:
    """The microseconds of a fresh interpreter that runs *code*."""

    def children() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    cpu, wall = children(), time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    return Cost((children() - cpu) * 1e6, (time.perf_counter() - wall) * 1e6)


def import_time(count: int, modules: str) -> Cost:
    """The mean of what importing *modules* adds."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for code in ("pass", f"import {modules}"):
            once(code, environment)
        cpu = wall = 0.0
        for _ in range(count):
            loaded, empty = once(f"import {modules}", environment), once("pass", environment)
            cpu += loaded.cpu - empty.cpu
            wall += loaded.wall - empty.wall
    return Cost(cpu / count, wall / count)


GROUPS = [
    Group(
        "Import of all three packages",
        "µs of CPU",
        "asyncio, import",
        spread(
            {
                peer: partial(import_time, modules=modules)
                for peer, modules in {
                    "tsocket": "talloc_py, tevent, tsocket",
                    "asyncio": "asyncio",
                    "uvloop": "uvloop",
                    "Trio": "trio",
                    "Twisted": "twisted.internet.reactor, twisted.internet.protocol",
                    "epoll by hand": "select, socket",
                }.items()
            },
            10,
            ", import",
        ),
    )
]

if __name__ == "__main__":
    main(__file__, __doc__, GROUPS)
