# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What every test shares: Hypothesis profiles, and a watch over file descriptors.

In CI (the variable ``CI`` is set) Hypothesis is deterministic: the same examples in each run, and none remembered from
an earlier one. On a developer's machine it searches on.
"""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING

import peers
import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def open_descriptors() -> dict[int, str]:
    """Every open descriptor of this process and what it is; the one that lists them is left out."""
    found: dict[int, str] = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
    return found


@pytest.fixture(autouse=True)
def no_descriptor_is_left_open() -> Iterator[None]:
    """Fail a test that leaves a descriptor open which was not open before it."""
    before = open_descriptors()
    yield
    after = open_descriptors()
    if after.keys() <= before.keys():
        return
    # A context in a reference cycle is closed by the collector; only what that does not close is a leak.
    gc.collect()
    left = {fd: what for fd, what in open_descriptors().items() if fd not in before}
    if left:
        pytest.fail(f"the test left descriptors open: {left}", pytrace=False)


@pytest.fixture(scope="session")
def samba_ad_dc() -> Iterator[dict[str, str]]:
    """The settings of a real domain controller on loopback; see `tests/peers/README.md`."""
    yield from peers.running_samba("dc", "--ad-dc")


@pytest.fixture(scope="session")
def samba_file_server() -> Iterator[dict[str, str]]:
    """The settings of a real file server on loopback; see `tests/peers/README.md`."""
    yield from peers.running_samba("fs")


@pytest.fixture(scope="session")
def tls_servers() -> Iterator[dict[str, str]]:
    """The settings of TLS servers of OpenSSL, GnuTLS and socat on loopback; see `tests/peers/README.md`."""
    yield from peers.running_tls()
