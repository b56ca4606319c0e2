# SPDX-License-Identifier: LGPL-3.0-or-later
"""The dump of outstanding requests, where these are operations of sockets."""

from __future__ import annotations

import gc
import re
from typing import TYPE_CHECKING, Any

import pytest

from talloc_py import talloc_free, talloc_report_full
from tevent import tevent_context, tevent_context_init, tevent_queue_create, tevent_queue_stop
from tevent.dump import pending_requests
from tsocket import (
    tdgram_inet_udp_socket,
    tdgram_recvfrom_send,
    tsocket_address_inet_from_strings,
    tstream_readv_pdu_queue_send,
    tstream_readv_send,
    tstream_unix_socketpair,
    tstream_writev_send,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def ev() -> Iterator[tevent_context]:
    """A context that owns everything, in a process without other requests."""
    gc.collect()
    ev = tevent_context_init(None)
    assert ev is not None
    yield ev
    talloc_free(ev)


def reasons() -> list[tuple[str, ...]]:
    """What each outstanding request waits for, without numbers of descriptors."""
    return [tuple(re.sub("fd [0-9]+", "fd N", reason) for reason in each.waits_for) for each in pending_requests()]


class silent:
    """A file that keeps nothing."""

    def write(self, text: str) -> None:
        pass

    def flush(self) -> None:
        pass


def test_reads_and_writes(ev: tevent_context) -> None:
    """The operation, on what, and how many bytes are to come; a write waits for the loop first."""
    _, stream, _ = tstream_unix_socketpair(ev, ev)
    reader = tstream_readv_send(ev, ev, stream, [bytearray(7)])
    assert reasons() == [("tstream_readv on <tstream_context bsd read>, 7 bytes to come",)]
    writer = tstream_writev_send(ev, ev, stream, [b"x"])
    found = {each.req: each for each in pending_requests()}
    assert found[reader].kind == "struct tstream_readv_state"  # type: ignore[index]
    assert found[writer].waits_for[-1].startswith("tstream_writev on <tstream_context bsd read+write>")  # type: ignore[index]


def test_datagrams(ev: tevent_context) -> None:
    """A receive names its socket."""
    _, local = tsocket_address_inet_from_strings(ev, "ip", "127.0.0.1", 0)
    assert local is not None
    _, dgram = tdgram_inet_udp_socket(local, None, ev)
    assert dgram is not None
    tdgram_recvfrom_send(ev, ev, dgram)
    (found,) = reasons()
    assert found == ("tdgram_recvfrom on <tdgram_context bsd recvfrom>",)


@pytest.mark.parametrize("looked_at", [False, True])
def test_queue_of_operations(ev: tevent_context, looked_at: bool) -> None:
    """The first works, the others wait; whether somebody has looked at their entries makes no difference."""
    _, stream, _ = tstream_unix_socketpair(ev, ev)
    queue = tevent_queue_create(ev, "pdus")
    assert queue is not None

    def next_vector(*_: Any) -> tuple[int, list[bytearray]]:
        return 0, [bytearray(4)]

    for _ in range(3):
        tstream_readv_pdu_queue_send(ev, ev, stream, queue, next_vector, None)
    if looked_at:
        talloc_report_full(ev, silent())
    found = [set(each) for each in reasons()]
    working = {
        "tstream_readv_pdu_queue on <tstream_context bsd read>, 4 bytes to come",
        "its end at the head of queue 'pdus', 2 behind it",
    }
    assert found == [working, {"its turn in queue 'pdus', 1 ahead of it"}, {"its turn in queue 'pdus', 2 ahead of it"}]
    tevent_queue_stop(queue)
    assert {"its turn in queue 'pdus', which is stopped, 1 ahead of it"} in [set(each) for each in reasons()]
