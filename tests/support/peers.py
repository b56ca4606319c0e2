# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Real servers that somebody else wrote, and what to do where there are none.

A peer needs root and Debian's packages (``tests/peers/install-peers``). Where they are missing a test is skipped with
the reason, unless ``TSOCKET_REQUIRE_PEERS`` is set, as it is in CI: then it fails, so that nothing is left unproved
without a word.
"""

from __future__ import annotations

import os
import pathlib
import shlex
import subprocess
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPTS = pathlib.Path(__file__).resolve().parents[1] / "peers"
# Short, for a unix socket's path has 107 bytes; kept between runs, for a domain takes seconds to make.
FOLDER = pathlib.Path(os.environ.get("TSOCKET_PEER_DIR", "/var/tmp/tsocket-peers"))


def missing(reason: str) -> NoReturn:
    """Skip the test, or fail it where peers are required."""
    if os.environ.get("TSOCKET_REQUIRE_PEERS"):
        pytest.fail(f"required, but: {reason}", pytrace=False)
    pytest.skip(reason)


def samba_peer(command: str, name: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run ``samba-peer COMMAND`` for the peer *name*."""
    line = [str(SCRIPTS / "samba-peer"), command, "--dir", str(FOLDER / name), *options]
    return subprocess.run(line, capture_output=True, text=True, timeout=120)


def running_samba(name: str, *options: str) -> Iterator[dict[str, str]]:
    """The settings of a running Samba; it is stopped at the end only if it was not running before."""
    if os.geteuid() != 0:
        missing("samba-peer: must run as root")
    was_running = samba_peer("status", name).returncode == 0
    started = samba_peer("start", name, *options)
    if started.returncode != 0:
        missing(started.stderr.strip() or "samba-peer failed")
    lines = samba_peer("env", name).stdout.splitlines()
    yield {key: "".join(shlex.split(value)) for key, _, value in (line.partition("=") for line in lines)}
    if not was_running:
        samba_peer("stop", name)


def tls_peer(command: str) -> subprocess.CompletedProcess[str]:
    """Run ``tls-peer COMMAND``."""
    line = [str(SCRIPTS / "tls-peer"), command, "--dir", str(FOLDER / "tls")]
    return subprocess.run(line, capture_output=True, text=True, timeout=120)


def running_tls() -> Iterator[dict[str, str]]:
    """The settings of running TLS servers; they are stopped at the end only if none was running before."""
    was_running = tls_peer("status").returncode == 0
    started = tls_peer("start")
    if started.returncode != 0:
        missing(started.stderr.strip() or "tls-peer failed")
    lines = tls_peer("env").stdout.splitlines()
    yield {key: "".join(shlex.split(value)) for key, _, value in (line.partition("=") for line in lines)}
    if not was_running:
        tls_peer("stop")
