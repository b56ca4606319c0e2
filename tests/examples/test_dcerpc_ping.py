# SPDX-License-Identifier: LGPL-3.0-or-later
"""The endpoint mapper example: answers of every shape, servers that lie, and real ones."""

from __future__ import annotations

import socket
import struct
import threading
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST, LAST = 1, 2
NO_MORE_ENTRIES = 0x16C9A0D6
INTERFACE = UUID("12345778-1234-abcd-ef00-0123456789ab")


# ------------------------------------------------------------------------------------------------ packets of our own


def packet(
    ptype: int, body: bytes, *, order: str = "<", flags: int = FIRST | LAST, call_id: int = 1, size: int | None = None
) -> bytes:
    """A packet in the given byte order; *size* lies about its length."""
    drep = b"\x10\0\0\0" if order == "<" else bytes(4)
    head = struct.pack(
        order + "BBBB4sHHI", 5, 0, ptype, flags, drep, 16 + len(body) if size is None else size, 0, call_id
    )
    return head + body


def bind_ack(order: str = "<", result: int = 0) -> bytes:
    """The acknowledgement of a bind with one result."""
    body = struct.pack(order + "HHIH4s", 5840, 5840, 1, 4, b"135\0")
    body += bytes(-(16 + len(body)) % 4) + struct.pack(order + "B3xHH20x", 1, result, 0)
    return packet(12, body, order=order)


def response(stub: bytes, *, order: str = "<", flags: int = FIRST | LAST, call_id: int = 2) -> bytes:
    """A response, or a fragment of one."""
    return packet(2, struct.pack(order + "IHBB", len(stub), 0, 0, 0) + stub, order=order, flags=flags, call_id=call_id)


def floor(protocol: int, lhs: bytes, rhs: bytes) -> bytes:
    """One floor of a tower."""
    return struct.pack("<HB", 1 + len(lhs), protocol) + lhs + struct.pack("<H", len(rhs)) + rhs


def tower() -> bytes:
    """A tower as TCP endpoints have it."""
    floors = [
        floor(0x0D, INTERFACE.bytes_le + b"\1\0", b"\2\0"),
        floor(0x0B, b"", b"\0\0"),
        floor(0x07, b"", b"\0\x87"),
        floor(0x09, b"", bytes([127, 0, 0, 1])),
        floor(0x0F, b"", b"\\pipe\\x\0"),
    ]
    return struct.pack("<H", len(floors)) + b"".join(floors)


FLOORS = [f"{INTERFACE} v1.2", "ncacn", "tcp 135", "ip 127.0.0.1", "pipe \\pipe\\x"]


def lookup_result(
    count: int = 1, *, order: str = "<", handle: bytes = bytes(20), status: int = NO_MORE_ENTRIES
) -> bytes:
    """The results of a look-up: *count* entries, all alike."""
    stub = handle + struct.pack(order + "IIII", count, 50, 0, count)
    for number in range(count):
        text = b"entry\0"
        stub += bytes(-len(stub) % 4)
        stub += bytes(16) + struct.pack(order + "III", 0x20000 + 4 * number, 0, len(text)) + text
    for _ in range(count):
        stub += bytes(-len(stub) % 4)
        stub += struct.pack(order + "II", len(tower()), len(tower())) + tower()
    return stub + bytes(-len(stub) % 4) + struct.pack(order + "I", status)


# --------------------------------------------------------------------------------------------------- a fake server


def ping(dcerpc_ping: Any, answers: list[bytes], *options: str) -> int:
    """The exit status of the program against a server that reads a packet, gives the next of *answers*, and so on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                for answer in answers:
                    head = connection.recv(16, socket.MSG_WAITALL)
                    connection.recv(int.from_bytes(head[8:10], "little") - 16, socket.MSG_WAITALL)
                    connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        status: int = dcerpc_ping.main([*options, f"127.0.0.1:{listener.getsockname()[1]}"])
        thread.join()
    return status


class TestAnswers:
    @pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
    def test_either_byte_order(self, dcerpc_ping: Any, capsys: Any, order: str) -> None:
        """A server may answer in its own byte order, which the packet names."""
        assert ping(dcerpc_ping, [bind_ack(order), response(lookup_result(2, order=order), order=order)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[:2] == [f"entry: {', '.join(FLOORS)}"] * 2
        assert lines[2] == "2 entries; the longest answer had 1 fragments"

    def test_fragments(self, dcerpc_ping: Any, capsys: Any) -> None:
        """A response may come in any number of fragments, cut anywhere."""
        stub = lookup_result(3)
        pieces = [stub[:1], stub[1:50], b"", stub[50:]]
        flags = [FIRST, 0, 0, LAST]
        answer = b"".join(response(piece, flags=flag) for piece, flag in zip(pieces, flags, strict=True))
        assert ping(dcerpc_ping, [bind_ack(), answer]) == 0
        assert "3 entries; the longest answer had 4 fragments" in capsys.readouterr().out

    def test_more_entries(self, dcerpc_ping: Any, capsys: Any) -> None:
        """The look-up goes on from the handle that the server gave, until there is no more."""
        more = lookup_result(50, handle=b"h" * 20, status=0)
        answers = [bind_ack(), response(more), response(lookup_result(1), call_id=3)]
        assert ping(dcerpc_ping, answers) == 0
        assert "51 entries" in capsys.readouterr().out

    def test_none_at_all(self, dcerpc_ping: Any, capsys: Any) -> None:
        """An endpoint mapper may have nothing."""
        assert ping(dcerpc_ping, [bind_ack(), response(lookup_result(0))]) == 0
        assert capsys.readouterr().out == "0 entries; the longest answer had 1 fragments\n"


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([b""], "Broken pipe"),
        ([bind_ack()[:20]], "Broken pipe"),
        ([packet(12, b"", size=15)], "Message too long"),
        ([packet(12, b"")], "Bad message"),
        ([packet(12, b"\xff" * 12)], "Bad message"),
        ([packet(13, b"\0\0\0\0")], "Permission denied"),
        ([bind_ack(result=2)], "Protocol error"),
        ([packet(99, bytes(40))], "Protocol error"),
        ([bind_ack(), packet(3, bytes(8) + b"\5\0\0\0\0\0\0\0", call_id=2)], "Protocol error"),
        ([bind_ack(), packet(3, b"", call_id=2)], "Bad message"),
        ([bind_ack(), response(lookup_result(), call_id=9)], "Bad message"),
        ([bind_ack(), response(lookup_result(), flags=LAST)], "Bad message"),
        ([bind_ack(), response(b"", flags=FIRST) + response(b"", order=">", flags=LAST)], "Bad message"),
        ([bind_ack(), packet(2, b"\0", call_id=2)], "Bad message"),
        ([bind_ack(), response(lookup_result()[:-1])], "Bad message"),
        ([bind_ack(), response(lookup_result(51))], "Bad message"),
        ([bind_ack(), response(lookup_result(status=5))], "Protocol error"),
    ],
)
def test_servers_that_lie(dcerpc_ping: Any, capsys: Any, answers: list[bytes], message: str) -> None:
    """Whatever a server answers, the program ends with one line."""
    assert ping(dcerpc_ping, answers) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith(f": {message}\n")


def test_an_answer_without_end(dcerpc_ping: Any, capsys: Any, monkeypatch: Any) -> None:
    """Fragments that never end are cut off at a limit."""
    monkeypatch.setattr(dcerpc_ping, "STUB_MAX_BYTES", 100)
    answer = response(bytes(60), flags=FIRST) + response(bytes(60), flags=0)
    assert ping(dcerpc_ping, [bind_ack(), answer]) == 1
    assert capsys.readouterr().err.endswith(": Message too long\n")


def test_entries_without_end(dcerpc_ping: Any, capsys: Any, monkeypatch: Any) -> None:
    """So are entries that never end."""
    monkeypatch.setattr(dcerpc_ping, "ENTRIES_MAX", 60)
    more = lookup_result(50, handle=b"h" * 20, status=0)
    assert ping(dcerpc_ping, [bind_ack(), response(more), response(more, call_id=3)]) == 1
    assert capsys.readouterr().err.endswith(": Message too long\n")


def test_nobody_listens(dcerpc_ping: Any, capsys: Any) -> None:
    """A refused connection is reported."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        assert dcerpc_ping.main([f"127.0.0.1:{port}"]) == 1
    assert capsys.readouterr().err == f"dcerpc_ping: 127.0.0.1:{port}: Connection refused\n"


def test_silence(run_example: Any) -> None:
    """Run by a user against a server that says nothing, the program ends when its time is over."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = f"127.0.0.1:{silent.getsockname()[1]}"
        done = run_example("dcerpc_ping", "--timeout", "0", server)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"dcerpc_ping: {server}: Connection timed out\n"


@pytest.mark.parametrize(
    "arguments", [[], ["--max-fragment", "1431", "127.0.0.1"], ["--max-fragment", "65536", "127.0.0.1"]]
)
def test_usage(dcerpc_ping: Any, capsys: Any, arguments: list[str]) -> None:
    """Options that make no sense are refused."""
    with pytest.raises(SystemExit) as caught:
        dcerpc_ping.main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


class TestDecoding:
    @given(st.binary(max_size=300), st.sampled_from(["<", ">"]))
    def test_any_bytes(self, dcerpc_ping: Any, stub: bytes, order: str) -> None:
        """Results of any content are decoded or refused with a `ValueError`."""
        decoded_or_refused(lambda: dcerpc_ping.decode_lookup(stub, order))

    @given(st.data())
    def test_any_damage(self, dcerpc_ping: Any, data: st.DataObject) -> None:
        """So are good results with some bytes changed."""
        stub = bytearray(lookup_result(2))
        for _ in range(data.draw(st.integers(1, 5))):
            stub[data.draw(st.integers(0, len(stub) - 1))] = data.draw(st.integers(0, 255))
        decoded_or_refused(lambda: dcerpc_ping.decode_lookup(bytes(stub), "<"))

    def test_an_entry_without_a_tower(self, dcerpc_ping: Any) -> None:
        """The pointer to the tower may be null."""
        stub = bytes(20) + struct.pack("<IIII", 1, 50, 0, 1) + bytes(16) + struct.pack("<III", 0, 0, 0)
        assert dcerpc_ping.decode_lookup(stub + bytes(4), "<") == (bytes(20), [("", [])], 0)


def decoded_or_refused(decode: Callable[[], tuple[bytes, list[Any], int]]) -> None:
    """Run *decode*: a `ValueError` is fine, and so is a result within its limits."""
    try:
        handle, entries, _ = decode()
    except ValueError:
        return
    assert len(handle) == 20
    assert len(entries) <= 50


@pytest.mark.peer
class TestRealServers:
    """Samba's endpoint mapper, of a domain controller and of a file server."""

    def check(self, dcerpc_ping: Any, capsys: Any, peer: dict[str, str], max_fragment: int, fragments_min: int) -> None:
        """List the entries of *peer* and look for what every Samba offers."""
        assert dcerpc_ping.main(["--max-fragment", str(max_fragment), peer["PEER_ADDRESS"]]) == 0
        *entries, summary = capsys.readouterr().out.splitlines()
        count, *_, fragments, _ = summary.split()
        assert int(count) == len(entries) > 20
        assert int(fragments) >= fragments_min
        assert any("e1af8308-5d1f-11c9-91a4-08002b14a0fa v3.0" in entry and "tcp 135" in entry for entry in entries)
        assert any("12345778-1234-abcd-ef00-0123456789ab v0.0" in entry and "pipe" in entry for entry in entries)

    @pytest.mark.parametrize(("max_fragment", "fragments_min"), [(5840, 1), (1432, 2)])
    def test_domain_controller(
        self, dcerpc_ping: Any, capsys: Any, samba_ad_dc: dict[str, str], max_fragment: int, fragments_min: int
    ) -> None:
        """The controller lists its endpoints, in more fragments when they are to be small."""
        self.check(dcerpc_ping, capsys, samba_ad_dc, max_fragment, fragments_min)

    @pytest.mark.parametrize(("max_fragment", "fragments_min"), [(5840, 1), (1432, 2)])
    def test_file_server(
        self, dcerpc_ping: Any, capsys: Any, samba_file_server: dict[str, str], max_fragment: int, fragments_min: int
    ) -> None:
        """So does the file server, which is another program."""
        self.check(dcerpc_ping, capsys, samba_file_server, max_fragment, fragments_min)

    def test_run_by_a_user(self, run_example: Any, samba_ad_dc: dict[str, str]) -> None:
        """The program, as the documentation shows it."""
        done = run_example("dcerpc_ping", samba_ad_dc["PEER_ADDRESS"])
        assert (done.returncode, done.stderr) == (0, "")
        assert "entries; the longest answer had" in done.stdout
