# SPDX-License-Identifier: LGPL-3.0-or-later
"""The echo example: any file, any transport, one process or two, and peers that misbehave."""

from __future__ import annotations

import random
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

    from tevent import tevent_context, tevent_req

TRANSPORTS = ("tcp", "unix", "socketpair")


@pytest.fixture
def sample(tmp_path: pathlib.Path) -> Callable[[int], str]:
    """Makes a file of that many bytes, always the same ones."""

    def make(size: int) -> str:
        path = tmp_path / f"sample-{size}"
        path.write_bytes(random.Random(size).randbytes(size))
        return str(path)

    return make


class TestOneProcess:
    @pytest.mark.parametrize("transport", TRANSPORTS)
    @pytest.mark.parametrize(
        ("size", "chunk", "pdus"),
        [(0, 4096, 0), (1, 4096, 1), (8192, 4096, 2), (8193, 4096, 3), (1_000_003, 65536, 16)],
    )
    def test_every_byte_comes_back(
        self, pdu_echo: Any, sample: Any, capsys: Any, transport: str, size: int, chunk: int, pdus: int
    ) -> None:
        """A file of any size comes back, in as many PDUs as it takes."""
        assert pdu_echo.main(["--transport", transport, "--chunk", str(chunk), sample(size)]) == 0
        assert capsys.readouterr().out == f"{size} bytes in {pdus} PDUs came back unchanged over {transport}\n"

    def test_more_pdus_than_the_window_holds(self, pdu_echo: Any, sample: Any, capsys: Any) -> None:
        """PDUs wait their turn when more of them are to be sent than may be under way."""
        assert pdu_echo.main(["--chunk", "1", sample(pdu_echo.QUEUED_MAX * 5)]) == 0
        assert f"{pdu_echo.QUEUED_MAX * 5} PDUs" in capsys.readouterr().out

    def test_pdus_larger_than_a_socket_buffer(self, pdu_echo: Any, sample: Any, capsys: Any) -> None:
        """Both sides write while the other has not read yet, and neither waits for ever."""
        assert pdu_echo.main(["--transport", "unix", "--chunk", "3000000", sample(12_000_000)]) == 0
        assert "4 PDUs" in capsys.readouterr().out

    def test_the_unix_socket_goes_with_the_server(self, pdu_echo: Any, sample: Any, tmp_path: pathlib.Path) -> None:
        """The listener's destructor removes the socket's file."""
        path = tmp_path / "socket"
        assert pdu_echo.main(["--transport", "unix", "--address", str(path), sample(10)]) == 0
        assert not path.exists()

    def test_time_limit(self, pdu_echo: Any, sample: Any, capsys: Any) -> None:
        """With no time at all the transfer times out, and the program says so."""
        assert pdu_echo.main(["--timeout", "0", sample(10)]) == 1
        assert capsys.readouterr().err == "pdu_echo: Connection timed out\n"


class TestProgram:
    @pytest.mark.parametrize("transport", TRANSPORTS)
    def test_run_by_a_user(self, run_example: Any, sample: Any, transport: str) -> None:
        """The file runs as a program."""
        done = run_example("pdu_echo", "--transport", transport, sample(10_000))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"10000 bytes in 3 PDUs came back unchanged over {transport}\n"

    @pytest.mark.parametrize("transport", ["tcp", "unix"])
    def test_server_and_client_apart(
        self, pdu_echo: Any, start_example: Any, sample: Any, capsys: Any, tmp_path: pathlib.Path, transport: str
    ) -> None:
        """A server process serves one client after another until a signal ends it."""
        address = "127.0.0.1:0" if transport == "tcp" else str(tmp_path / "socket")
        options = ["--role", "server", "--verbose", "--transport", transport, "--address", address]
        server = start_example("pdu_echo", *options)
        heard = server.stdout.readline().split()
        if transport == "tcp":
            address = f"127.0.0.1:{heard[-1]}"
        for size in (5, 50_000):
            client = ["--role", "client", "--transport", transport, "--address", address, sample(size)]
            assert pdu_echo.main(client) == 0
            # Wait until the server has noticed, for a signal would come before that.
            assert server.stderr.readline() == "connection closed: end of file\n"
        server.send_signal(signal.SIGTERM)
        out, err = server.communicate(timeout=30)
        assert (server.returncode, out, err) == (0, "stopped by SIGTERM\n", "")
        assert capsys.readouterr().out.count("came back unchanged") == 2

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["--role", "client", "x"],
            ["--role", "server", "--transport", "unix"],
            ["--role", "server", "--transport", "socketpair"],
            ["--transport", "socketpair", "--address", "y", "x"],
            ["--chunk", "0", "x"],
            ["--chunk", "99999999", "x"],
        ],
    )
    def test_usage(self, pdu_echo: Any, capsys: Any, arguments: list[str]) -> None:
        """Options that make no sense are refused before anything is done."""
        with pytest.raises(SystemExit) as caught:
            pdu_echo.main(arguments)
        assert caught.value.code == 2
        assert "usage:" in capsys.readouterr().err

    def test_no_such_file(self, pdu_echo: Any, capsys: Any, tmp_path: pathlib.Path) -> None:
        """A file that is not there is named in the message."""
        assert pdu_echo.main([str(tmp_path / "absent")]) == 1
        assert "absent" in capsys.readouterr().err

    def test_nobody_listens(self, pdu_echo: Any, sample: Any, capsys: Any, tmp_path: pathlib.Path) -> None:
        """A refused connection is one line, not a traceback."""
        client = ["--role", "client", "--transport", "unix", "--address", str(tmp_path / "absent"), sample(3)]
        assert pdu_echo.main(client) == 1
        assert capsys.readouterr().err == "pdu_echo: No such file or directory\n"

    def test_address_is_not_looked_up(self, pdu_echo: Any, sample: Any, capsys: Any) -> None:
        """A host name is not an address."""
        assert pdu_echo.main(["--role", "client", "--address", "localhost:1", sample(3)]) == 1
        assert capsys.readouterr().err == "pdu_echo: localhost:1: Invalid argument\n"


class TestMisbehavingPeers:
    def test_other_bytes_come_back(self, pdu_echo: Any, sample: Any, capsys: Any) -> None:
        """The client notices one changed byte."""

        def answer(connection: socket.socket) -> None:
            data = bytearray(connection.recv(104, socket.MSG_WAITALL))
            data[50] ^= 1
            connection.sendall(data)
            connection.recv(1)

        assert run_client_against(pdu_echo, answer, sample(100)) == 1
        assert capsys.readouterr().err == "pdu_echo: what came back is not what was sent\n"

    def test_the_server_hangs_up(self, pdu_echo: Any, sample: Any, capsys: Any) -> None:
        """The client reports a connection that ends in the middle of a PDU."""

        def answer(connection: socket.socket) -> None:
            connection.sendall(connection.recv(104, socket.MSG_WAITALL)[:60])

        assert run_client_against(pdu_echo, answer, sample(100)) == 1
        assert capsys.readouterr().err == "pdu_echo: Broken pipe\n"

    def test_a_pdu_that_is_too_long_ends_its_connection_only(self, pdu_echo: Any, capsys: Any) -> None:
        """The server allocates nothing for a huge length, hangs up on that client, and serves the next one."""
        mem_ctx, ev, path = listening(pdu_echo)
        with socket.socket(socket.AF_UNIX) as hostile, socket.socket(socket.AF_UNIX) as good:
            hostile.connect(path)
            hostile.sendall(b"\xff\xff\xff\xff")
            good.connect(path)
            good.sendall(b"\0\0\0\2ok")
            good.setblocking(False)
            got = b""
            while len(got) < 6:
                assert pdu_echo.tevent_loop_once(ev) == 0
                try:
                    got += good.recv(100)
                except BlockingIOError:
                    continue
            assert got == b"\0\0\0\2ok"
            assert hostile.recv(1) == b""
        pdu_echo.talloc_free(mem_ctx)
        assert capsys.readouterr().err == "connection closed: Message too long\n"


def listening(pdu_echo: Any) -> tuple[Any, tevent_context, str]:
    """A server on an abstract unix address, everything of it a child of the first item."""
    mem_ctx = pdu_echo.talloc_new(None)
    ev = pdu_echo.tevent_context_init(mem_ctx)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind("")  # the system picks an abstract name
    sock.listen()
    sock.setblocking(False)
    path = sock.getsockname()
    lst = pdu_echo.talloc_zero(mem_ctx, pdu_echo.listener)
    lst.fd = sock.detach()
    pdu_echo.talloc_set_destructor(lst, pdu_echo.listener_destructor)
    server: tevent_req | None = pdu_echo.echo_server_send(mem_ctx, ev, lst, True)
    assert server is not None
    return mem_ctx, ev, path


def run_client_against(pdu_echo: Any, answer: Callable[[socket.socket], None], file: str) -> int:
    """Run the client against a server that is a thread which calls *answer* with its one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        status: int = pdu_echo.main(["--role", "client", "--address", f"127.0.0.1:{port}", file])
        thread.join()
    return status
