# SPDX-License-Identifier: LGPL-3.0-or-later
"""Fixtures of the tevent tests: one suite over every backend, a tree that goes with the test, recorded aborts."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
from tevent_kit import Clock, Recorder, context

from talloc_py import TALLOC_CTX, talloc_free, talloc_new
from tevent import tevent_context, tevent_set_abort_fn
from tevent.backend import builtin_backends

if TYPE_CHECKING:
    from collections.abc import Iterator

BACKENDS = [name for name in ("epoll", "poll", "poll_mt", "standard", "selectors") if name in builtin_backends]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """The name of a backend, each in its turn."""
    name: str = request.param
    return name


@pytest.fixture
def top() -> Iterator[TALLOC_CTX]:
    """A top-level context; everything below it is freed after the test."""
    ctx = talloc_new(None)
    assert ctx is not None
    yield ctx
    talloc_free(ctx)


@pytest.fixture
def ev(top: TALLOC_CTX, backend: str) -> tevent_context:
    """A context of each backend, which does not wait; freed after the test unless the test has done so."""
    return context(top, backend)


@pytest.fixture
def epoll_ev(top: TALLOC_CTX) -> tevent_context:
    """A context of the backend epoll, which does not wait."""
    return context(top, "epoll")


@pytest.fixture
def log() -> Recorder:
    """What handlers write to."""
    return Recorder()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A wall clock that the test sets."""
    return Clock(monkeypatch)


@pytest.fixture
def aborts() -> Iterator[list[str]]:
    """The reasons of all aborts; the abort function only writes them down and returns."""
    reasons: list[str] = []
    tevent_set_abort_fn(reasons.append)
    yield reasons
    tevent_set_abort_fn(None)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe: read end, write end. A test may close them."""
    ends = os.pipe()
    kept = {fd: os.fstat(fd).st_ino for fd in ends}
    yield ends
    for fd, inode in kept.items():
        try:
            if os.fstat(fd).st_ino == inode:
                os.close(fd)
        except OSError:
            pass


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected stream sockets."""
    one, two = socket.socketpair()
    with one, two:
        one.setblocking(False)
        two.setblocking(False)
        yield one, two
