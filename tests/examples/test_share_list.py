# SPDX-License-Identifier: LGPL-3.0-or-later
"""The example of named pipes: answers of every shape, pipes that lie, and a real file server by both ways."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import struct
import tempfile
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FIRST, LAST = 1, 2


# ------------------------------------------------------------------------------------------------ packets of our own


def packet(ptype: int, body: bytes, *, flags: int = FIRST | LAST, call_id: int = 1, drep: int = 0x10) -> bytes:
    """A packet."""
    head = struct.pack("<BBBBB3xHHI", 5, 0, ptype, flags, drep, 16 + len(body), 0, call_id)
    return head + body


def bind_ack(result: int = 0) -> bytes:
    """The acknowledgement of a bind with one result."""
    body = struct.pack("<HHIH13sx", 4280, 4280, 1, 13, rb"\pipe\srvsvc" + b"\0")
    return packet(12, body + bytes(-len(body) % 4) + struct.pack("<B3xHH20x", 1, result, 0))


def response(stub: bytes, *, flags: int = FIRST | LAST, call_id: int = 2) -> bytes:
    """A response, or a fragment of one."""
    return packet(2, struct.pack("<IHBB", len(stub), 0, 0, 0) + stub, flags=flags, call_id=call_id)


def text(words: str) -> bytes:
    """A string, and what aligns the next thing."""
    raw = (words + "\0").encode("utf-16-le")
    body = struct.pack("<III", len(raw) // 2, 0, len(raw) // 2) + raw
    return body + bytes(-len(body) % 4)


def enumeration(*shares: tuple[str, int, str], status: int = 0, count: int | None = None) -> bytes:
    """The results of ``NetShareEnumAll``."""
    number = len(shares) if count is None else count
    stub = struct.pack("<IIIIII", 1, 1, 0x20000, number, 0x20004, len(shares))
    for index, (_, kind, _) in enumerate(shares):
        stub += struct.pack("<III", 0x20008 + 8 * index, kind, 0x2000C + 8 * index)
    stub += b"".join(text(name) + text(comment) for name, _, comment in shares)
    return stub + struct.pack("<IIII", len(shares), 0x30000, 0, status)


SHARES = (("data", 0, "for all"), ("IPC$", 0x80000003, ""))
LINES = "data (disk): for all\nIPC$ (pipe, hidden)\n"


# ------------------------------------------------------------------------------------------------------ a fake pipe


def exactly(sock: socket.socket, size: int) -> bytes:
    """The next *size* bytes."""
    data = sock.recv(size, socket.MSG_WAITALL)
    if len(data) < size:
        raise ConnectionError("the client has gone")
    return data


def message(data: bytes) -> bytes:
    """A message on the pipe."""
    return struct.pack("<H", len(data)) + data


@contextlib.contextmanager
def serving(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """A folder with a pipe "srvsvc" that is a thread; it lets the client in and calls *serve*."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/srvsvc")
        listener.listen()

        def run() -> None:
            sock, _ = listener.accept()
            with sock, contextlib.suppress(OSError):
                request = exactly(sock, int.from_bytes(exactly(sock, 4), "big"))
                level = request[4:8]
                head = b"NPAM" + level + level + struct.pack("<HH4xQI", 2, 0x5FF, 4096, 0)
                sock.sendall(len(head).to_bytes(4, "big") + head)
                serve(sock)
                sock.shutdown(socket.SHUT_WR)
                sock.recv(1)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield folder
        finally:
            thread.join()


def listing(share_list: Any, answers: list[bytes], *options: str) -> int:
    """The exit status of the program against a pipe that reads a message, gives the next of *answers*, and so on."""

    def serve(sock: socket.socket) -> None:
        for answer in answers:
            exactly(sock, int.from_bytes(exactly(sock, 2), "little"))
            sock.sendall(answer)

    with serving(serve) as folder:
        status: int = share_list.main([*options, "--pipes", folder])
    return status


class TestAnswers:
    @pytest.mark.parametrize("level", ["7", "8"])
    def test_shares(self, share_list: Any, capsys: Any, level: str) -> None:
        """Each share is a line; either level will do."""
        answers = [message(bind_ack()), message(response(enumeration(*SHARES)))]
        assert listing(share_list, answers, "--level", level) == 0
        assert capsys.readouterr().out == LINES

    def test_fragments(self, share_list: Any, capsys: Any) -> None:
        """A response may come in any number of fragments, cut anywhere, each one message."""
        stub = enumeration(*SHARES)
        pieces = [(FIRST, stub[:1]), (0, stub[1:50]), (0, b""), (LAST, stub[50:])]
        answer = b"".join(message(response(piece, flags=flags)) for flags, piece in pieces)
        assert listing(share_list, [message(bind_ack()), answer]) == 0
        assert capsys.readouterr().out == LINES

    def test_none_at_all(self, share_list: Any, capsys: Any) -> None:
        """A server may have none."""
        assert listing(share_list, [message(bind_ack()), message(response(enumeration()))]) == 0
        assert capsys.readouterr().out == ""

    def test_the_request(self, share_list: Any) -> None:
        """Both packets, as they go out."""
        heard: list[bytes] = []

        def serve(sock: socket.socket) -> None:
            for answer in (bind_ack(), response(enumeration())):
                heard.append(exactly(sock, int.from_bytes(exactly(sock, 2), "little")))
                sock.sendall(message(answer))

        with serving(serve) as folder:
            assert share_list.main(["--pipes", folder]) == 0
        assert heard[0][:12] == bytes.fromhex("05000b03 10000000 48000000")
        assert heard[0][32:36] == bytes.fromhex("c84f324b")
        assert heard[1][16:24] == bytes.fromhex("24000000 0000 0f00")


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([b""], "Protocol error"),
        ([message(bind_ack()[:20])], "Protocol error"),
        ([b"\0\0"], "Protocol error"),
        ([message(bind_ack(2))], "Protocol error"),
        ([message(packet(13, bytes(4)))], "Protocol error"),
        ([message(packet(12, b""))], "Bad message"),
        ([message(packet(12, bytes(40), call_id=9))], "Bad message"),
        ([message(packet(12, bytes(40), drep=0))], "Protocol error"),
        ([message(packet(12, bytes(40), flags=LAST))], "Bad message"),
        ([message(packet(99, bytes(40)))], "Protocol error"),
        ([message(bind_ack()), message(packet(3, bytes(16), call_id=2))], "Protocol error"),
        ([message(bind_ack()), message(response(b""))], "Bad message"),
        ([message(bind_ack()), message(response(enumeration(*SHARES)[:-1]))], "Bad message"),
        ([message(bind_ack()), message(response(enumeration(*SHARES, count=3)))], "Bad message"),
        ([message(bind_ack()), message(response(enumeration(count=0xFFFFFFFF)))], "Bad message"),
        ([message(bind_ack()), message(response(enumeration(status=5)))], "error 5 of Windows"),
    ],
)
def test_pipes_that_lie(share_list: Any, capsys: Any, answers: list[bytes], words: str) -> None:
    """Whatever comes out of the pipe, the program ends with one line."""
    assert listing(share_list, answers) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith(f": {words}\n")


def test_an_answer_without_end(share_list: Any, capsys: Any, monkeypatch: Any) -> None:
    """Fragments that never end are cut off at a limit."""
    monkeypatch.setattr(share_list, "ANSWER_MAX_BYTES", 100)
    answer = message(response(bytes(60), flags=FIRST)) + message(response(bytes(60), flags=0))
    assert listing(share_list, [message(bind_ack()), answer]) == 1
    assert capsys.readouterr().err.endswith(": Message too long\n")


def test_no_pipe(share_list: Any, capsys: Any, tmp_path: pathlib.Path) -> None:
    """A folder without that pipe."""
    assert share_list.main(["--pipes", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"share_list: {tmp_path}: No such file or directory\n"


def test_silence(run_example: Any) -> None:
    """Run by a user on a pipe that says nothing, the program ends when its time is over."""
    with serving(lambda sock: None) as folder:
        done = run_example("share_list", "--timeout", "0", "--pipes", folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"share_list: {folder}: Connection timed out\n"


@pytest.mark.parametrize(
    "arguments", [[], ["--smb", "x"], ["--smb", "x", "--pipes", "y"], ["--pipes", "x", "--level", "6"]]
)
def test_usage(share_list: Any, capsys: Any, arguments: list[str]) -> None:
    """Options that make no sense are refused."""
    with pytest.raises(SystemExit) as caught:
        share_list.main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


class TestDecoding:
    @given(st.binary(max_size=200))
    def test_any_bytes(self, share_list: Any, stub: bytes) -> None:
        """Results of any content are decoded or refused."""
        for decode in (share_list.decode_enumeration, share_list.accepted):
            with contextlib.suppress(ValueError):
                decode(stub)

    def test_every_cut_and_flipped_bit(self, share_list: Any) -> None:
        """So are good results that were damaged."""
        whole = enumeration(*SHARES)
        for cut in range(len(whole)):
            with pytest.raises(ValueError, match="too early"):
                share_list.decode_enumeration(whole[:cut])
        for bit in range(8 * len(whole)):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            with contextlib.suppress(ValueError):
                share_list.decode_enumeration(bytes(flipped))


@pytest.mark.peer
class TestRealServer:
    """Samba's file server, which answers both ways."""

    def check(self, done: Any) -> None:
        """The two shares of the peer."""
        assert (done.returncode, done.stderr) == (0, "")
        first, second = done.stdout.splitlines()
        assert first == "share (disk)"
        assert second.startswith("IPC$ (pipe, hidden): IPC Service (Samba ")

    def test_its_own_pipe(self, run_example: Any, samba_file_server: dict[str, str]) -> None:
        """As another process of Samba's."""
        folder = samba_file_server["PEER_NP_DIR"]
        self.check(run_example("share_list", "--pipes", folder, "--level", samba_file_server["PEER_NPA_LEVEL"]))

    def test_over_smb(self, run_example: Any, monkeypatch: Any, samba_file_server: dict[str, str]) -> None:
        """As any client."""
        pytest.importorskip("smbprotocol")
        monkeypatch.setenv("SMB_PASSWORD", samba_file_server["PEER_PASSWORD"])
        who = ["--smb", samba_file_server["PEER_ADDRESS"], "--user", samba_file_server["PEER_USER"]]
        self.check(run_example("share_list", *who))

    def test_a_wrong_password(self, run_example: Any, monkeypatch: Any, samba_file_server: dict[str, str]) -> None:
        """The server refuses."""
        pytest.importorskip("smbprotocol")
        monkeypatch.setenv("SMB_PASSWORD", "wrong")
        who = ["--smb", samba_file_server["PEER_ADDRESS"], "--user", samba_file_server["PEER_USER"]]
        done = run_example("share_list", *who)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.endswith(": Permission denied\n")
