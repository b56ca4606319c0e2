# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The C programs beside the benchmarks, and whether the C libraries they need are here.

They are compiled when they are first used, into a temporary folder, under names that change with their sources.
Debian's ``libtalloc-dev``, ``libtevent-dev`` and ``samba-libs`` do: the header of tsocket is in another package,
so ``c/common.h`` declares the few functions in use.
"""

from __future__ import annotations

import functools
import glob
import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

SOURCES = Path(__file__).resolve().parent / "c"
FLAGS = ["-O2", "-Wall", "-Werror", "-Wno-unused-result"]


@functools.cache
def tsocket_library() -> str | None:
    """The private library of Samba's that tsocket is in."""
    found = glob.glob("/usr/lib/*/samba/libsamba-sockets-samba4.so.0") + glob.glob(
        "/usr/lib*/samba/libsamba-sockets-*samba4.so*"
    )
    return found[0] if found else None


@functools.cache
def available() -> bool:
    """Are compiler, headers and libraries here?"""
    if not (shutil.which("cc") and shutil.which("pkg-config") and tsocket_library()):
        return False
    return subprocess.run(["pkg-config", "--exists", "talloc", "tevent"], check=False).returncode == 0


def pkg_config(*arguments: str) -> list[str]:
    """The words that pkg-config prints."""
    return subprocess.run(["pkg-config", *arguments], check=True, capture_output=True, text=True).stdout.split()


@functools.cache
def build(name: str) -> Path:
    """The program made from ``c/NAME.c``."""
    library = tsocket_library()
    assert library is not None
    sources = [SOURCES / f"{name}.c", SOURCES / "common.h"]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources) + " ".join(FLAGS).encode())
    folder = Path(tempfile.gettempdir()) / f"tsocket-benchmarks-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    program = folder / f"{name}-{digest.hexdigest()[:16]}"
    if not program.exists():
        unfinished = program.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
        packages = pkg_config("--cflags", "--libs", "talloc", "tevent")
        where = f"-Wl,-rpath,{Path(library).parent}"
        subprocess.run(["cc", *FLAGS, "-o", unfinished, sources[0], *packages, library, where], check=True)
        unfinished.replace(program)
    return program


def versions() -> dict[str, str]:
    """Of the C libraries."""
    if not available():
        return {}
    return {name: pkg_config("--modversion", name)[0] for name in ("talloc", "tevent")}
