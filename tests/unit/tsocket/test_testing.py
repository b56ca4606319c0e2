# SPDX-License-Identifier: LGPL-3.0-or-later
"""The conformance suites: they pass on good backends, and find each bug that is planted in a bad one."""

from __future__ import annotations

import socket
import subprocess
import sys
from errno import ECONNRESET, EIO
from typing import TYPE_CHECKING, Any, NamedTuple

import dgram_backends
import pytest
import stream_backends
from stream_backends import MEMORY_OPS, flat, memory_io_state, memory_state

from talloc_py import TALLOC_CTX, talloc_abort_error, talloc_get_name, talloc_new
from tevent import (
    tevent_context,
    tevent_create_immediate,
    tevent_req,
    tevent_req_data,
    tevent_req_defer_callback,
    tevent_req_done,
    tevent_schedule_immediate,
)
from tsocket import (
    tdgram_bsd_existing_socket,
    tdgram_bsd_optimize_recvfrom,
    tdgram_context_data,
    tstream_context,
    tstream_context_data,
)
from tsocket.testing import (
    TDGRAM_CHECKS,
    TSTREAM_CHECKS,
    check_tdgram,
    check_tstream,
    dgram_traits,
    stepped_loop,
    stream_traits,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Plant = Callable[[pytest.MonkeyPatch], None]

EACH_STREAM_CHECK = pytest.mark.parametrize("name", TSTREAM_CHECKS)
EACH_DGRAM_CHECK = pytest.mark.parametrize("name", TDGRAM_CHECKS)


class memory_loop(stepped_loop):
    """A loop for streams in memory: what is not there when nothing is left to do does not come."""

    def wait(self) -> None:
        raise AssertionError("in memory there is nothing to wait for")


def memory(ev: tevent_context, mem_ctx: TALLOC_CTX) -> tuple[tstream_context, tstream_context]:
    return stream_backends.memory_pair(mem_ctx)


# -- bugs in streams --------------------------------------------------------------------------------------------------


def _replace(name: str, make: Callable[[Any], Any]) -> Plant:
    """Put something else in the place of an operation of the backend; *make* is given the good one."""
    return lambda patch: patch.setattr(MEMORY_OPS, name, make(getattr(MEMORY_OPS, name)))


def _patch(name: str, thing: Any) -> Plant:
    """Replace a name of the module that the backend is written in."""
    return lambda patch: patch.setattr(stream_backends, name, thing)


def _written(mangle: Callable[[bytes], bytes]) -> Plant:
    """Let a write send something else than it was given, and report what it should."""

    def make(good: Any) -> Any:
        def writev_send(mem_ctx: Any, ev: Any, stream: Any, vector: Any) -> Any:
            return good(mem_ctx, ev, stream, [mangle(b"".join(flat(vector)))])

        return writev_send

    return _replace("writev_send", make)


def _result(name: str, change: Callable[[int, int], tuple[int, int]]) -> Plant:
    """Let the result of an operation be another."""
    return _replace(name, lambda good: lambda req: change(*good(req)))


def _runs_ahead(good: Any) -> Any:
    def readv_send(mem_ctx: Any, ev: Any, stream: Any, vector: Any) -> Any:
        req = good(mem_ctx, ev, stream, vector)
        tstream_context_data(stream, memory_state).inbox.clear()
        return req

    return readv_send


def _leaks(good: Any) -> Any:
    def readv_send(mem_ctx: Any, ev: Any, stream: Any, vector: Any) -> Any:
        talloc_new(tstream_context_data(stream, memory_state))
        return good(mem_ctx, ev, stream, vector)

    return readv_send


_held: list[Any] = []


def _holds_buffers(good: Any) -> Any:
    def readv_send(mem_ctx: Any, ev: Any, stream: Any, vector: Any) -> Any:
        _held.extend(flat(vector))
        return good(mem_ctx, ev, stream, vector)

    return readv_send


def _half_full(req: tevent_req, ev: tevent_context) -> None:
    """Instead of waiting on: say that a read is done."""
    tevent_req_defer_callback(req, ev)
    if ev is None:
        tevent_req_done(req)


def _swallows(patch: pytest.MonkeyPatch) -> None:
    """Let callbacks run where they are caught."""

    def done(req: tevent_req) -> None:
        try:
            tevent_req_done(req)
        except Exception:
            pass

    patch.setattr(stream_backends, "tevent_req_defer_callback", lambda req, ev: None)
    patch.setattr(stream_backends, "tevent_req_done", done)


def _spins(good: Any) -> Any:
    def readv_send(mem_ctx: Any, ev: Any, stream: Any, vector: Any) -> Any:
        req = good(mem_ctx, ev, stream, vector)

        def again(ev: Any, im: Any, private_data: Any) -> None:
            tevent_schedule_immediate(im, ev, again, None)

        again(ev, tevent_create_immediate(req), None)
        return req

    return readv_send


def _oversleeps(good: Any) -> Any:
    return lambda end, now=False: good(end, now) if now else None


def _serves_freed_reads(patch: pytest.MonkeyPatch) -> None:
    """The bytes that a freed read has waited for go with it."""
    read_on = stream_backends._memory_read_on

    def gone(req: tevent_req, req_state: int) -> None:
        end = tevent_req_data(req, memory_io_state).end
        if end.reader is req:
            end.reader = None
            ghosts.append(end)

    def haunted(end: Any, now: bool = False) -> None:
        if end in ghosts and end.inbox:
            ghosts.remove(end)
            end.inbox.clear()
        read_on(end, now)

    ghosts: list[Any] = []
    patch.setattr(stream_backends, "_memory_reader_gone", gone)
    patch.setattr(stream_backends, "_memory_read_on", haunted)


def _serves_freed_writes(patch: pytest.MonkeyPatch) -> None:
    """All of a freed write is sent."""

    def gone(req: tevent_req, req_state: int) -> None:
        state = tevent_req_data(req, memory_io_state)
        if state.end.writer is req:
            state.end.writer = None
            if state.end.other is not None:
                state.end.other.inbox += state.data[state.offset :]

    patch.setattr(stream_backends, "_memory_writer_gone", gone)


def _ends_deaf(end: memory_state) -> int:
    return 0


def _ignores_iov_len(vector: Any) -> list[memoryview]:
    return [memoryview(getattr(item, "iov_base", item) or b"").cast("B") for item in vector]


def _pending_none(stream: tstream_context) -> int:
    return 0


class Bug(NamedTuple):
    """What is planted, and the checks that must find it."""

    plant: Plant
    found_by: tuple[str, ...]


STREAM_BUGS: dict[str, Bug] = {
    "loses a byte": Bug(_written(lambda data: data[1:]), ("bytes_go_both_ways",)),
    "sends a byte twice": Bug(_written(lambda data: data + data[-1:]), ("a_read_takes_no_more_than_it_wants",)),
    "mixes bytes up": Bug(_written(lambda data: data[::-1]), ("a_write_of_several_elements_keeps_their_order",)),
    "cuts large writes off": Bug(_written(lambda data: data[:65536]), ("large_transfers_in_both_directions_at_once",)),
    "drops empty PDUs": Bug(_written(lambda data: data.replace(bytes(4), b"")), ("pdus_arrive_as_they_were_sent",)),
    "reads with half a vector": Bug(_patch("tevent_req_defer_callback", _half_full), ("a_read_gathers_pieces",)),
    "throws away what follows": Bug(_replace("readv_send", _runs_ahead), ("a_read_takes_no_more_than_it_wants",)),
    "fills the whole buffer": Bug(_patch("flat", _ignores_iov_len), ("a_read_takes_no_more_than_it_wants",)),
    "reports fewer bytes": Bug(
        _result("writev_recv", lambda ret, err: (min(ret, 1), err)), ("a_write_of_several_elements_keeps_their_order",)
    ),
    "has no back-pressure": Bug(_patch("MEMORY_BUFFER", 1 << 40), ("a_write_that_is_not_read_waits",)),
    "calls back inside send": Bug(
        _patch("tevent_req_defer_callback", lambda req, ev: None), ("callbacks_come_from_the_loop",)
    ),
    "serves freed reads": Bug(_serves_freed_reads, ("a_freed_read_is_forgotten", "a_read_received_early_is_cancelled")),
    "serves freed writes": Bug(_serves_freed_writes, ("a_freed_write_lets_the_next_one_go",)),
    "holds the buffers": Bug(
        _replace("readv_send", _holds_buffers),
        ("buffers_are_released_before_the_callback", "buffers_are_released_when_a_request_is_freed"),
    ),
    "swallows exceptions": Bug(_swallows, ("an_exception_of_a_callback_leaves_the_loop",)),
    "spins": Bug(_replace("readv_send", _spins), ("a_read_gathers_pieces", "a_waiting_read_hears_of_the_end")),
    "oversleeps": Bug(
        _patch("_memory_read_on", _oversleeps(stream_backends._memory_read_on)),
        ("bytes_go_both_ways", "a_waiting_read_hears_of_the_end"),
    ),
    "leaks": Bug(_replace("readv_send", _leaks), ("requests_leave_nothing_behind",)),
    "counts wrong": Bug(
        _replace("pending_bytes", lambda good: _pending_none), ("pending_bytes_counts", "disconnecting")
    ),
    "takes the end for success": Bug(
        _result("readv_recv", lambda ret, err: (0, 0) if ret == -1 else (ret, err)), ("the_end_of_the_other_side",)
    ),
    "gives the end another errno": Bug(
        _result("readv_recv", lambda ret, err: (ret, ECONNRESET if err else 0)),
        ("the_end_of_the_other_side", "a_waiting_read_hears_of_the_end", "disconnecting"),
    ),
    "ends unheard": Bug(
        _patch("_memory_destructor", _ends_deaf),
        ("the_end_of_the_other_side", "a_waiting_read_hears_of_the_end", "a_monitor_hears_of_failed_operations"),
    ),
    "disconnects again": Bug(_result("disconnect_recv", lambda ret, err: (0, 0)), ("disconnecting",)),
    "fails to disconnect": Bug(
        _result("disconnect_recv", lambda ret, err: (-1, EIO)),
        ("operations_during_a_disconnect", "a_monitor_hears_of_a_disconnect"),
    ),
}


class TestStreams:
    @EACH_STREAM_CHECK
    def test_a_good_backend_passes(self, name: str) -> None:
        """A stream of a user's, in memory."""
        check_tstream(memory, make_loop=memory_loop, only=name)

    @pytest.mark.parametrize(
        ("bug", "name"), [(bug, name) for bug, (_, found_by) in STREAM_BUGS.items() for name in found_by]
    )
    def test_a_bug_is_found(self, monkeypatch: pytest.MonkeyPatch, bug: str, name: str) -> None:
        """Each planted bug makes the checks fail that are about it, and the message names the check."""
        STREAM_BUGS[bug].plant(monkeypatch)
        with pytest.raises(AssertionError, match=name):
            check_tstream(memory, make_loop=memory_loop, only=name)

    @pytest.mark.parametrize("bug", STREAM_BUGS)
    def test_a_bug_is_found_by_the_whole_suite(self, monkeypatch: pytest.MonkeyPatch, bug: str) -> None:
        """Without a choice of checks all of them run."""
        STREAM_BUGS[bug].plant(monkeypatch)
        with pytest.raises(AssertionError):
            check_tstream(memory, make_loop=memory_loop)

    def test_traits(self) -> None:
        """A backend that sends nothing when it disconnects, and takes short writes only, says so and passes."""
        traits = stream_traits(write_max=1000, write_abortable=False, disconnect_heard=False, pending_before_read=False)
        check_tstream(memory, traits=traits, make_loop=memory_loop)

    def test_an_unknown_check(self) -> None:
        """A check that is not there is a KeyError."""
        with pytest.raises(KeyError):
            check_tstream(memory, only="whatever")

    def test_an_exception_of_the_backend_passes(self) -> None:
        """It is not taken for a failed check, and says in which check it came."""

        def make_pair(ev: Any, mem_ctx: Any) -> Any:
            raise LookupError("no streams today")

        with pytest.raises(LookupError, match="no streams today") as caught:
            check_tstream(make_pair)
        assert TSTREAM_CHECKS[0] in caught.value.__notes__[0]

    def test_the_message(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A failure names the check, says what it is about, and what came instead of what."""
        STREAM_BUGS["loses a byte"].plant(monkeypatch)
        STREAM_BUGS["takes the end for success"].plant(monkeypatch)
        with pytest.raises(AssertionError) as caught:
            check_tstream(memory, make_loop=memory_loop, only="a_waiting_read_hears_of_the_end")
        assert str(caught.value) == (
            "a_waiting_read_hears_of_the_end (A stream that is freed ends the read that waits at the other side, with"
            " EPIPE): result of a read whose stream has ended: (0, 0), should be (-1, 32)"
        )

    def test_everything_is_freed(self) -> None:
        """Also where a check fails, nothing of it is left."""
        tops: list[Any] = []

        def make_pair(ev: Any, mem_ctx: TALLOC_CTX) -> Any:
            tops.append(mem_ctx)
            return memory(ev, mem_ctx)

        check_tstream(make_pair, only=TSTREAM_CHECKS[0])
        with pytest.raises(AssertionError):
            check_tstream(make_pair, only="disconnecting", traits=stream_traits(half_closed=True))
        assert len(tops) == 2
        for top in tops:
            with pytest.raises(talloc_abort_error):
                talloc_get_name(top)


# -- datagrams --------------------------------------------------------------------------------------------------------

LOCAL = dgram_traits(answerable=False, lossless=True)


def memory_dgrams(ev: tevent_context, mem_ctx: TALLOC_CTX) -> Any:
    return dgram_backends.memory_dgrams(mem_ctx)


def udp(ev: tevent_context, mem_ctx: TALLOC_CTX) -> Any:
    """Two UDP sockets, connected to each other."""
    socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for sock in socks:
        sock.bind(("127.0.0.1", 0))
    for sock, other in (socks, socks[::-1]):
        sock.connect(other.getsockname())
    return [_existing(mem_ctx, sock) for sock in socks]


def _existing(mem_ctx: TALLOC_CTX, sock: socket.socket) -> Any:
    sock.setblocking(False)
    ret, dgram = tdgram_bsd_existing_socket(mem_ctx, sock.detach())
    assert ret == 0
    return dgram


def unix(ev: tevent_context, mem_ctx: TALLOC_CTX) -> Any:
    """A unix socket pair."""
    return [_existing(mem_ctx, sock) for sock in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)]


def unix_optimised(ev: tevent_context, mem_ctx: TALLOC_CTX) -> Any:
    """... whose receives look for a datagram at once."""
    pair = unix(ev, mem_ctx)
    for dgram in pair:
        tdgram_bsd_optimize_recvfrom(dgram, True)
    return pair


DGRAM_PAIRS = {
    "memory": (memory_dgrams, LOCAL),
    "udp": (udp, dgram_traits(size_max=65507)),
    "unix": (unix, LOCAL),
    "unix optimised": (unix_optimised, LOCAL),
}


def _box(name: str, make: Callable[[Any], Any]) -> Plant:
    """Replace an operation of the backend; *make* is given the good one."""
    return lambda patch: patch.setitem(dgram_backends.OPERATIONS, name, make(dgram_backends.OPERATIONS[name]))


def _sent(mangle: Callable[[bytes], bytes]) -> Plant:
    """Let a send transfer something else."""
    return _box(
        "sendto_send", lambda good: lambda ctx, ev, dgram, buf, dst: good(ctx, ev, dgram, mangle(bytes(buf)), dst)
    )


def _delivers(how: Callable[[Any, bytes, Any], None]) -> Plant:
    """Let a datagram get into the list in another way."""
    good = dgram_backends.deliver
    return lambda patch: patch.setattr(dgram_backends, "deliver", lambda box, data: how(box, data, good))


def _merge(box: Any, data: bytes, good: Any) -> None:
    if box.receiver is None and box.inbox:
        box.inbox[-1] += data
    else:
        good(box, data)


def _overtake(box: Any, data: bytes, good: Any) -> None:
    if box.receiver is None:
        box.inbox.insert(0, data)
    else:
        good(box, data)


def _lose(box: Any, data: bytes, good: Any) -> None:
    if box.receiver is not None:
        good(box, data)


def _dgram_leaks(good: Any) -> Any:
    def recvfrom_send(mem_ctx: Any, ev: Any, dgram: Any) -> Any:
        talloc_new(dgram)
        return good(mem_ctx, ev, dgram)

    return recvfrom_send


def _reopens(good: Any) -> Any:
    def disconnect_send(mem_ctx: Any, ev: Any, dgram: Any) -> Any:
        req = good(mem_ctx, ev, dgram)
        tdgram_context_data(dgram, dgram_backends.box_state).closed = False
        return req

    return disconnect_send


DGRAM_BUGS: dict[str, Bug] = {
    "cuts off": Bug(
        _sent(lambda data: data[:100]), ("large_datagrams_arrive_whole", "datagrams_keep_their_boundaries")
    ),
    "adds a byte": Bug(_sent(lambda data: data + b"!"), ("datagrams_go_both_ways",)),
    "merges": Bug(_delivers(_merge), ("datagrams_keep_their_boundaries",)),
    "overtakes": Bug(_delivers(_overtake), ("datagrams_keep_their_boundaries",)),
    "loses what nobody waits for": Bug(_delivers(_lose), ("datagrams_go_both_ways",)),
    "takes any number": Bug(
        lambda patch: patch.setattr(dgram_backends, "ROOM", 1 << 40), ("a_sender_waits_where_nothing_is_lost",)
    ),
    "forgets who waits for room": Bug(
        lambda patch: patch.setattr(dgram_backends, "_room", lambda box: None),
        ("a_sender_waits_where_nothing_is_lost",),
    ),
    "calls back inside send": Bug(
        lambda patch: patch.setattr(dgram_backends, "tevent_req_defer_callback", lambda req, ev: None),
        ("callbacks_come_from_the_loop",),
    ),
    "leaks": Bug(_box("recvfrom_send", _dgram_leaks), ("requests_leave_nothing_behind",)),
    "reports fewer bytes": Bug(
        _box("sendto_recv", lambda good: lambda req: (1, good(req)[1])), ("datagrams_go_both_ways",)
    ),
    "works on after a disconnect": Bug(_box("disconnect_send", _reopens), ("disconnecting",)),
}


class TestDatagrams:
    @pytest.mark.parametrize("kind", DGRAM_PAIRS)
    @EACH_DGRAM_CHECK
    def test_good_backends_pass(self, kind: str, name: str) -> None:
        """Datagram sockets of the system, and a user's in memory."""
        make_pair, traits = DGRAM_PAIRS[kind]
        check_tdgram(make_pair, traits=traits, only=name)

    @pytest.mark.parametrize(
        ("bug", "name"), [(bug, name) for bug, (_, found_by) in DGRAM_BUGS.items() for name in found_by]
    )
    def test_a_bug_is_found(self, monkeypatch: pytest.MonkeyPatch, bug: str, name: str) -> None:
        """Each planted bug makes the checks fail that are about it."""
        DGRAM_BUGS[bug].plant(monkeypatch)
        with pytest.raises(AssertionError, match=name):
            check_tdgram(memory_dgrams, traits=LOCAL, make_loop=memory_loop, only=name)

    @pytest.mark.parametrize("bug", DGRAM_BUGS)
    def test_a_bug_is_found_by_the_whole_suite(self, monkeypatch: pytest.MonkeyPatch, bug: str) -> None:
        """Without a choice of checks all of them run."""
        DGRAM_BUGS[bug].plant(monkeypatch)
        with pytest.raises(AssertionError):
            check_tdgram(memory_dgrams, traits=LOCAL, make_loop=memory_loop)

    def test_a_lossy_socket(self) -> None:
        """A UDP socket that claims to lose nothing is found out."""
        with pytest.raises(AssertionError, match="a_sender_waits_where_nothing_is_lost"):
            check_tdgram(udp, traits=dgram_traits(lossless=True), only="a_sender_waits_where_nothing_is_lost")


def test_nothing_is_imported_with_the_package() -> None:
    """Programs that do not test do not pay."""
    code = "import sys, tsocket; sys.exit(any('check' in n or 'testing' in n for n in sys.modules if 'tsocket' in n))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
