# SPDX-License-Identifier: LGPL-3.0-or-later
"""A stream over a socket has no chunks below it as long as nobody looks, and whoever looks finds C's."""

from __future__ import annotations

import os

import pytest
from stream_kit import readv

from talloc_py import (
    talloc_free,
    talloc_free_children,
    talloc_get_name,
    talloc_new,
    talloc_parent,
    talloc_report_str,
    talloc_set_destructor,
    talloc_set_memlimit,
)
from tevent import TEVENT_FD_READ, tevent_add_fd, tevent_fd, tevent_set_trace_fd_callback
from tevent.epoll import epoll_event_context
from tsocket import tstream_bsd_existing_socket, tstream_context_data, tstream_readv_recv


@pytest.fixture
def waiting(top, loop, unix):
    """A stream on which a read waits, and the read."""
    buffer = bytearray(1)
    return unix.stream, readv(loop, top, unix.stream, buffer), unix.peer


def arrives(loop, waiting) -> bool:
    """Does the read end when its byte comes?"""
    _, req, peer = waiting
    peer.send(b"x")
    loop.settle()
    return tstream_readv_recv(req) == (1, 0)


def test_nothing_but_the_stream(loop, waiting):
    """What waits in the kernel's set is what the stream has below it, and that is no chunk."""
    stream = waiting[0]
    bsd = stream.transport
    assert stream._talloc_chunk.child is None
    assert loop.ev.additional_data.table[bsd.fd] is bsd
    assert not bsd.is_chunk()
    assert arrives(loop, waiting)


def test_a_report(top, loop, waiting):
    """A report shows the chunks that C has, and the read goes on."""
    stream = waiting[0]
    text = talloc_report_str(top, stream)
    assert "struct tstream_bsd" in text
    assert "struct tevent_fd" in text
    assert type(loop.ev.additional_data.table[stream.transport.fd]) is tevent_fd
    assert arrives(loop, waiting)


def test_a_list_of_events(loop, waiting):
    """Whoever lists the events of the context finds real ones, owned as in C."""
    bsd = waiting[0].transport
    (fde,) = [each for each in loop.ev.fd_events if each.fd == bsd.fd]
    assert type(fde) is tevent_fd
    assert talloc_get_name(fde) == "struct tevent_fd"
    assert talloc_parent(fde) is bsd
    assert talloc_parent(bsd) is waiting[0]
    assert arrives(loop, waiting)
    talloc_free(waiting[0])
    assert fde not in list(loop.ev.fd_events)


def test_a_trace_callback(loop, waiting):
    """A trace callback that comes later is given a real event; so is one that was there before."""
    stream = waiting[0]
    seen = []
    tevent_set_trace_fd_callback(loop.ev, lambda fde, point, _: seen.append((type(fde), int(point))), None)
    assert arrives(loop, waiting)
    talloc_free(stream)
    assert [point for _, point in seen] == [2, 1]  # before the handler, detached
    assert {kind for kind, _ in seen} == {tevent_fd}


def test_a_trace_callback_that_was_there(top, loop, unix):
    """Where events are traced a stream makes a real one at once."""
    seen = []
    tevent_set_trace_fd_callback(loop.ev, lambda fde, point, _: seen.append((type(fde), int(point))), None)
    readv(loop, top, unix.stream, bytearray(1))
    assert seen == [(tevent_fd, 0)]


def test_beside_another_event(loop, waiting):
    """An event of the program's on the same descriptor makes a group with it, before and after it is shown."""
    stream = waiting[0]
    fired = []
    other = tevent_add_fd(loop.ev, loop.ev, stream.transport.fd, TEVENT_FD_READ, lambda *_: fired.append(1), None)
    table = loop.ev.additional_data.table
    assert table[stream.transport.fd].members == [stream.transport, other]
    list(loop.ev.fd_events)
    assert table[stream.transport.fd].members == [stream.transport.fde, other]
    loop.ev.additional_data._check_invariants()
    talloc_free(other)
    assert arrives(loop, waiting)


def test_another_backend_takes_over(top, loop, waiting):
    """A context that leaves epoll takes the event along."""
    state = loop.ev.additional_data
    assert type(state) is epoll_event_context
    state.panic("a test", OSError(), False)
    assert type(loop.ev.additional_data) is not epoll_event_context
    assert arrives(loop, waiting)


def test_memory_limit(top, loop):
    """Where memory is limited the chunk below the stream is there at once, and counts."""
    reader, writer = os.pipe()
    limited = talloc_new(top)
    talloc_set_memlimit(limited, 10000)
    _, stream = tstream_bsd_existing_socket(limited, reader)
    assert stream.transport.is_chunk()
    readv(loop, limited, stream, bytearray(1))
    assert type(stream.transport.fde) is tevent_fd
    os.close(writer)


def test_the_descriptor_is_closed_behind_the_other_children(waiting):
    """A child that the program has put below the stream still finds the descriptor open."""
    stream = waiting[0]
    fd = stream.transport.fd
    child = talloc_new(stream)
    talloc_set_destructor(child, lambda _: os.fstat(fd) and 0)
    assert talloc_free(stream) == 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


@pytest.mark.parametrize("answer", [0, -1])
def test_a_destructor_of_the_program(waiting, answer):
    """It takes the place of the stream's own, but the descriptor goes when the stream does."""
    stream = waiting[0]
    fd = stream.transport.fd
    talloc_set_destructor(stream, lambda _: answer)
    assert talloc_free(stream) == answer
    if answer:
        assert os.fstat(fd)
        talloc_set_destructor(stream, None)
        assert talloc_free(stream) == 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_its_state_is_not_the_callers(waiting, monkeypatch):
    """Asked for the state of a backend, the stream is found to have another one."""
    seen = []
    monkeypatch.setattr("talloc_py.names._abort.abort", lambda reason, *_: seen.append(reason))
    tstream_context_data(waiting[0], tevent_fd)
    assert "name[struct tstream_bsd] expected[struct tevent_fd]" in str(seen)


def test_the_context_goes_first(top, loop, waiting):
    """A context that is freed lets go of the event; the stream can be freed behind it."""
    stream = waiting[0]
    ev = loop.ev
    talloc_free(ev)
    assert stream.transport.event_ctx is None
    assert talloc_free(stream) == 0


def test_free_of_what_is_below(waiting):
    """As in C the descriptor is closed when the children of the stream are freed."""
    stream, _, peer = waiting
    talloc_free_children(stream)
    assert peer.recv(1) == b""
    assert stream.transport.fd == -1
