# SPDX-License-Identifier: LGPL-3.0-or-later
"""Fixtures of the tsocket tests: a tree that goes with the test, a loop stepped by hand, wires to a raw socket."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from stream_kit import Loop, Wire, tcp_sockets

from talloc_py import TALLOC_CTX, talloc_free, talloc_new

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def top() -> Iterator[TALLOC_CTX]:
    """A top-level context; everything below it is freed after the test."""
    ctx = talloc_new(None)
    assert ctx is not None
    yield ctx
    talloc_free(ctx)


@pytest.fixture
def loop(top: TALLOC_CTX) -> Loop:
    """A loop that counts its turns and does not wait."""
    return Loop(top)


@pytest.fixture
def unix(top: TALLOC_CTX) -> Iterator[Wire]:
    """A stream over a Unix socket pair, its peer raw."""
    sock, peer = socket.socketpair()
    with peer:
        yield Wire(top, sock, peer)


@pytest.fixture
def tcp(top: TALLOC_CTX) -> Iterator[Wire]:
    """A stream over a TCP connection, its peer raw."""
    sock, peer = tcp_sockets()
    with peer:
        yield Wire(top, sock, peer)


@pytest.fixture(params=["unix", "tcp"])
def wire(request: pytest.FixtureRequest, top: TALLOC_CTX) -> Iterator[Wire]:
    """A stream whose peer is raw, over a Unix socket and over TCP."""
    sock, peer = socket.socketpair() if request.param == "unix" else tcp_sockets()
    with peer:
        yield Wire(top, sock, peer)
