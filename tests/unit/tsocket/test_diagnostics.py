# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the debug mode says about EBUSY, and what a socket says that is dropped."""

from __future__ import annotations

import ast
import gc
import importlib.util
import pathlib
import re
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from talloc_py import talloc_free
from tevent import tevent_context, tevent_context_init, tevent_loop_once
from tsocket import (
    _stream,
    diagnostics,
    tdgram_disconnect_send,
    tdgram_inet_udp_socket,
    tdgram_recvfrom_send,
    tdgram_sendto_send,
    tsocket_address_inet_from_strings,
    tstream_disconnect_send,
    tstream_read_pdu_blob_send,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_unix_socketpair,
    tstream_writev_send,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = re.escape(__file__)


@pytest.fixture
def ev() -> Iterator[tevent_context]:
    """A context that owns everything."""
    ev = tevent_context_init(None)
    assert ev is not None
    yield ev
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", diagnostics.DiagnosticWarning)  # refused requests that nobody has received
        talloc_free(ev)


@pytest.fixture
def debug() -> Iterator[None]:
    """The debug mode, for one test; without it afterwards."""
    diagnostics.switch_on(slow=1000.0)
    yield
    diagnostics.switch_off()


def udp(ev: tevent_context) -> Any:
    """A datagram context."""
    _, local = tsocket_address_inet_from_strings(ev, "ip", "127.0.0.1", 0)
    assert local is not None
    return tdgram_inet_udp_socket(local, None, ev)[1]


class TestBusy:
    def test_second_read(self, ev: tevent_context, debug: None) -> None:
        """Who is refused, on what, which request is in the way and where it was made, and what to do."""
        _, stream, _ = tstream_unix_socketpair(ev, ev)
        first = tstream_readv_send(ev, ev, stream, [bytearray(1)])
        with pytest.warns(diagnostics.DiagnosticWarning) as seen:
            second = tstream_readv_send(ev, ev, stream, [bytearray(1)])
        assert first is not None
        assert second is not None
        assert re.fullmatch(
            rf"<tevent_req of struct tstream_readv_state IN_PROGRESS made at {HERE}:\d+> gets EBUSY: "
            rf"<tstream_context bsd read>, made at {HERE}:\d+, is still busy with {re.escape(repr(first))}; .*",
            str(seen[0].message),
        )
        assert seen[0].filename == __file__
        tevent_loop_once(ev)
        assert tstream_readv_recv(second) == (-1, 16)

    def test_the_other_operations(self, ev: tevent_context, debug: None) -> None:
        """Disconnects, PDUs and datagrams name the one in the way too."""
        _, stream, _ = tstream_unix_socketpair(ev, ev)
        reader: Any = tstream_readv_send(ev, ev, stream, [bytearray(1)])
        dgram = udp(ev)
        receiver: Any = tdgram_recvfrom_send(ev, ev, dgram)
        _, target = tsocket_address_inet_from_strings(ev, "ip", "127.0.0.1", 9)
        sender: Any = tdgram_sendto_send(ev, ev, dgram, b"x", target)
        for holder, send in (
            (reader, lambda: tstream_disconnect_send(ev, ev, stream)),
            (reader, lambda: tstream_read_pdu_blob_send(ev, ev, stream, 4, lambda *_: (0, 4), None)),
            (receiver, lambda: tdgram_recvfrom_send(ev, ev, dgram)),
            (receiver, lambda: tdgram_disconnect_send(ev, ev, dgram)),
            (sender, lambda: tdgram_sendto_send(ev, ev, dgram, b"x", target)),
        ):
            with pytest.warns(diagnostics.DiagnosticWarning, match=re.escape(f"still busy with {holder!r}")):
                send()

    def test_second_write(self, ev: tevent_context, debug: None) -> None:
        """A write is refused because of a write, whoever reads."""
        _, stream, _ = tstream_unix_socketpair(ev, ev)
        tstream_readv_send(ev, ev, stream, [bytearray(1)])
        writer = tstream_writev_send(ev, ev, stream, [b"x"])
        with pytest.warns(diagnostics.DiagnosticWarning, match=re.escape(f"still busy with {writer!r}")):
            tstream_writev_send(ev, ev, stream, [b"x"])

    def test_off(self, ev: tevent_context) -> None:
        """Without the debug mode nobody is warned, and after it everything is as before."""
        refuse, later = _stream.refuse, _stream.later
        diagnostics.switch_on()
        diagnostics.switch_on()
        assert _stream.refuse is not refuse
        diagnostics.switch_off()
        assert (_stream.refuse, _stream.later) == (refuse, later)
        _, stream, _ = tstream_unix_socketpair(ev, ev)
        tstream_readv_send(ev, ev, stream, [bytearray(1)])
        tstream_readv_send(ev, ev, stream, [bytearray(1)])


def test_no_code_asks_for_the_debug_mode() -> None:
    """Only the packages themselves look at the variable, once, when they are imported; so it costs nothing when off."""
    for package in ("talloc_py", "tevent", "tsocket"):
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        for path in sorted(pathlib.Path(spec.origin).parent.glob("*.py")):
            names = {node.id for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Name)}
            looks = path.name == "__init__.py" or (package, path.name) == ("talloc_py", "_sys.py")
            assert ("debug_settings" in names) == looks, path
            if "diagnostics" not in path.name and path.name != "_observe.py":
                assert not names & {"births_are_remembered", "is_on"}, path


def collected(make: Callable[[], object]) -> None:
    """Make something, drop it and let the collector find it."""
    make()
    gc.collect()


class TestDropped:
    def test_stream(self) -> None:
        """A stream that is dropped says where it was made and what was forgotten."""
        with pytest.warns(ResourceWarning) as seen:
            collected(lambda: tstream_unix_socketpair(None, None))
        assert len(seen) == 2
        assert re.fullmatch(
            rf"unfreed stream on descriptor \d+, made at {HERE}:\d+: it was dropped without "
            r"tstream_disconnect_send\(\) and without talloc_free\(\); do one of these, or give it an owner that is "
            r"freed",
            str(seen[0].message),
        )

    def test_datagram_socket(self) -> None:
        """So does a datagram socket."""
        _, local = tsocket_address_inet_from_strings(None, "ip", "127.0.0.1", 0)
        assert local is not None
        with pytest.warns(ResourceWarning, match=rf"unfreed datagram socket on descriptor \d+, made at {HERE}:\d+: it"):
            collected(lambda: tdgram_inet_udp_socket(local, None, None))
