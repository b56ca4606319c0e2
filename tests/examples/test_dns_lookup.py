# SPDX-License-Identifier: LGPL-3.0-or-later
"""The DNS example: messages from anyone, servers that are slow, wrong or silent, and a real one."""

from __future__ import annotations

import os
import socket
import struct
from errno import EBADMSG, ECONNREFUSED, EINVAL, EPIPE, ETIMEDOUT
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import talloc_py
import tevent
import tsocket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TRUNCATED, NXDOMAIN = 0x0200, 3


# ---------------------------------------------------------------------------------------------- messages of our own


def wire_name(text: str) -> bytes:
    """A name, written out."""
    return b"".join(bytes([len(label)]) + label.encode() for label in text.rstrip(".").split(".") if label) + b"\0"


def record(rtype: int, rdata: bytes, name: bytes = b"\xc0\x0c", ttl: int = 300, rclass: int = 1) -> bytes:
    """One record, by default for the name that was asked for."""
    return name + struct.pack(">HHIH", rtype, rclass, ttl, len(rdata)) + rdata


def reply(query: bytes, *records: bytes, flags: int = 0, query_id: int | None = None, counts: int = 0) -> bytes:
    """The answer to *query* with *records* in its answer section; *counts* claims more of them."""
    header = struct.pack(
        ">HHHHHH",
        int.from_bytes(query[:2], "big") if query_id is None else query_id,
        0x8180 | flags,
        1,
        len(records) + counts,
        0,
        0,
    )
    return header + query[12:] + b"".join(records)


def decoded(dns_lookup: Any, *records: bytes) -> list[str]:
    """The data of *records*, as the example prints it."""
    query = dns_lookup.encode_query(7, "x.test", 255)
    return [each.data for each in dns_lookup.decode_message(reply(query, *records)).answers]


class TestMessages:
    def test_query(self, dns_lookup: Any) -> None:
        """A question is a header that asks for recursion, the name, the type and the class."""
        wire = dns_lookup.encode_query(0x1234, "ab.c", 28)
        assert wire == bytes.fromhex("1234 0100 0001 0000 0000 0000 026162 0163 00 001c 0001")

    @pytest.mark.parametrize("name", ["", "."])
    def test_the_root_has_no_labels(self, dns_lookup: Any, name: str) -> None:
        """The root can be asked for."""
        assert dns_lookup.encode_name(name) == b"\0"

    @pytest.mark.parametrize("name", ["a..b", ".a", "x" * 64, ".".join(["abcdefg"] * 32), "é" * 32])
    def test_names_that_cannot_be(self, dns_lookup: Any, name: str) -> None:
        """A name that fits in no message is an error before anything is sent."""
        with pytest.raises(ValueError, match=r"a label has|at most 255"):
            dns_lookup.encode_name(name)

    @pytest.mark.parametrize(
        ("rtype", "rdata", "text"),
        [
            (1, bytes([192, 0, 2, 1]), "192.0.2.1"),
            (28, bytes(15) + b"\1", "::1"),
            (2, wire_name("ns.test"), "ns.test."),
            (5, b"\1w\xc0\x0c", "w.x.test."),
            (12, b"\0", "."),
            (15, b"\0\x0a" + wire_name("mx.test"), "10 mx.test."),
            (16, b'\3a b\0\2"\x07', '"a b" "" "\\"\\007"'),
            (33, struct.pack(">HHH", 1, 2, 389) + b"\xc0\x0c", "1 2 389 x.test."),
            (
                6,
                wire_name("m.test") + wire_name("a\\b.c") + struct.pack(">IIIII", 1, 2, 3, 4, 5),
                "m.test. a\\\\b.c. 1 2 3 4 5",
            ),
            (99, b"\1\2", "\\# 2 0102"),
            (99, b"", "\\# 0"),
        ],
    )
    def test_data_as_text(self, dns_lookup: Any, rtype: int, rdata: bytes, text: str) -> None:
        """Each type of record has its own text."""
        assert decoded(dns_lookup, record(rtype, rdata)) == [text]

    def test_another_class_is_not_taken_for_internet(self, dns_lookup: Any) -> None:
        """A record of another class is printed as unknown data."""
        assert decoded(dns_lookup, record(1, bytes(4), rclass=3)) == ["\\# 4 00000000"]

    def test_names_cannot_fool_a_terminal(self, dns_lookup: Any) -> None:
        """Bytes that are not printable, and dots inside a label, come out escaped."""
        assert decoded(dns_lookup, record(12, b"\x05a.\x1b[m\0")) == ["a\\.\\027[m."]

    @pytest.mark.parametrize(
        "rdata",
        [
            b"\xc0\x24",  # points to itself
            b"\xc0\xff",  # points behind everything
            b"\1a\xc0\x24",  # loops through its own label
            b"\x40a\0",  # a label of a reserved kind
            b"\5ab",  # ends inside a label
            b"\0\0",  # more data than the name
            b"",
        ],
    )
    def test_hostile_names(self, dns_lookup: Any, rdata: bytes) -> None:
        """No pointer makes the reader run in circles, no length makes it leave the message."""
        with pytest.raises(dns_lookup.MalformedMessage):
            decoded(dns_lookup, record(12, rdata))

    def test_a_name_that_grows_by_pointers(self, dns_lookup: Any) -> None:
        """A chain of pointers cannot make a name longer than a name may be."""
        chain = [record(99, b"\x3f" + bytes(63) + b"\xc0\x0c")]
        offset = 12 + len(wire_name("x.test")) + 4 + 12
        for _ in range(4):
            chain.append(record(99, b"\x3f" + bytes(63) + struct.pack(">H", 0xC000 | offset)))
            offset += len(chain[-1])
        chain.append(record(12, struct.pack(">H", 0xC000 | offset)))
        with pytest.raises(dns_lookup.MalformedMessage, match="too long"):
            decoded(dns_lookup, *chain)

    def test_counts_beyond_the_message(self, dns_lookup: Any) -> None:
        """A header that claims records which are not there is no message."""
        query = dns_lookup.encode_query(7, "x.test", 1)
        assert dns_lookup.answer_to(query, reply(query, counts=65535)) is None

    def test_the_case_of_a_name_does_not_matter(self, dns_lookup: Any) -> None:
        """A server may answer with the question in another case."""
        query = dns_lookup.encode_query(7, "x.test", 1)
        assert dns_lookup.answer_to(query, reply(query).replace(b"test", b"TEST")) is not None

    @given(st.binary(max_size=200))
    def test_any_bytes(self, dns_lookup: Any, wire: bytes) -> None:
        """Whatever comes is an answer or is not; nothing else happens."""
        assert dns_lookup.answer_to(dns_lookup.encode_query(7, "x.test", 1), wire) is None

    @given(st.data())
    def test_any_damage(self, dns_lookup: Any, data: st.DataObject) -> None:
        """A good message with some bytes changed or cut off is decoded or refused, in bounded time."""
        query = dns_lookup.encode_query(7, "x.test", 6)
        soa = wire_name("m.test") + b"\1a\xc0\x0c" + bytes(20)
        wire = bytearray(reply(query, record(6, soa), record(16, b"\2ab"), record(5, b"\xc0\x1c")))
        for _ in range(data.draw(st.integers(1, 4))):
            wire[data.draw(st.integers(12, len(wire) - 1))] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(0, len(wire)))
        message = dns_lookup.answer_to(query, wire[:cut])
        assert message is None or message.id == 7

    @given(st.lists(st.text("abcXYZ019-_", min_size=1, max_size=20), min_size=1, max_size=10))
    def test_a_name_survives_the_way(self, dns_lookup: Any, labels: list[str]) -> None:
        """What is encoded is what is decoded."""
        reader = dns_lookup.Reader(dns_lookup.encode_name(".".join(labels)))
        assert reader.name() == ".".join(labels) + "."


# ---------------------------------------------------------------------------------------- lookups from a fake server


def one_port() -> tuple[socket.socket, socket.socket]:
    """A UDP socket and a listening TCP socket with the same port number, which is free for both."""
    while True:
        tcp = socket.create_server(("127.0.0.1", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind(tcp.getsockname())
        except OSError:
            tcp.close()
            udp.close()
        else:
            return udp, tcp


class FakeServer:
    """A DNS server on one port, UDP and TCP, that answers as a test says; it runs in the loop of the lookup."""

    def __init__(self) -> None:
        mem_ctx = talloc_py.talloc_new(None)
        assert mem_ctx is not None
        ev = tevent.tevent_context_init(mem_ctx)
        assert ev is not None
        self.mem_ctx, self.ev = mem_ctx, ev
        self.udp, self.tcp = one_port()
        self.port: int = self.udp.getsockname()[1]
        self.connections: list[socket.socket] = []
        self.queries: list[bytes] = []
        self.on_udp: Callable[[int, bytes], list[bytes]] = lambda number, query: []
        self.on_tcp: Callable[[bytes], bytes] = lambda query: b""
        tevent.tevent_add_fd(ev, mem_ctx, self.udp.fileno(), tevent.TEVENT_FD_READ, self.udp_readable, None)
        tevent.tevent_add_fd(ev, mem_ctx, self.tcp.fileno(), tevent.TEVENT_FD_READ, self.tcp_readable, None)

    def udp_readable(self, ev: object, fde: object, flags: int, private_data: object) -> None:
        """A question by UDP; how many came before says how it is answered."""
        query, sender = self.udp.recvfrom(65536)
        self.queries.append(query)
        for datagram in self.on_udp(len(self.queries) - 1, query):
            self.udp.sendto(datagram, sender)

    def tcp_readable(self, ev: object, fde: object, flags: int, private_data: object) -> None:
        """A connection; the question is read when it is there."""
        connection, _ = self.tcp.accept()
        self.connections.append(connection)
        tevent.tevent_add_fd(
            self.ev, self.mem_ctx, connection.fileno(), tevent.TEVENT_FD_READ, self.connection_readable, connection
        )

    def connection_readable(self, ev: object, fde: Any, flags: int, connection: Any) -> None:
        """A question by TCP; the answer goes out in two pieces, and the connection is closed."""
        data = connection.recv(65536)
        answer = self.on_tcp(data[2:]) if data else b""
        if answer:
            connection.sendall(answer[:1])
            connection.sendall(answer[1:])
        talloc_py.talloc_free(fde)
        connection.close()

    def ask(self, dns_lookup: Any, *, timeout: float = 0.02, tries: int = 3, name: str = "x.test") -> tuple[int, Any]:
        """Look *name* up here: ``err, answer``."""
        ret, server = tsocket.tsocket_address_inet_from_strings(self.mem_ctx, "ip", "127.0.0.1", self.port)
        assert ret == 0
        req = dns_lookup.dns_lookup_send(self.mem_ctx, self.ev, server, name, 1, timeout_seconds=timeout, tries=tries)
        assert tevent.tevent_req_poll(req, self.ev)
        result: tuple[int, Any] = dns_lookup.dns_lookup_recv(req)
        return result

    def close(self) -> None:
        """Close everything."""
        talloc_py.talloc_free(self.mem_ctx)
        for sock in (self.udp, self.tcp, *self.connections):
            sock.close()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A fake server, silent until told otherwise."""
    fake = FakeServer()
    yield fake
    fake.close()


ADDRESS = record(1, bytes([192, 0, 2, 7]))
LONG = 30.0  # never waited for in full


class TestLookup:
    def test_answer(self, dns_lookup: Any, server: FakeServer) -> None:
        """One question, one answer."""
        server.on_udp = lambda number, query: [reply(query, ADDRESS)]
        err, answer = server.ask(dns_lookup, timeout=LONG)
        assert (err, answer.answers) == (0, [("x.test.", "A", 300, "192.0.2.7")])
        assert len(server.queries) == 1

    def test_silence(self, dns_lookup: Any, server: FakeServer) -> None:
        """A server that never answers is asked as often as allowed, each time with another id, and then given up."""
        assert server.ask(dns_lookup, tries=4) == (ETIMEDOUT, None)
        assert len(server.queries) == 4
        assert len({query[:2] for query in server.queries}) > 1

    def test_the_first_question_is_lost(self, dns_lookup: Any, server: FakeServer) -> None:
        """A second question makes up for a lost one."""
        server.on_udp = lambda number, query: [reply(query, ADDRESS)] if number else []
        err, answer = server.ask(dns_lookup, tries=100)
        assert (err, len(answer.answers)) == (0, 1)
        assert len(server.queries) >= 2

    @pytest.mark.parametrize(
        "noise",
        [
            lambda query: reply(query, ADDRESS, query_id=int.from_bytes(query[:2], "big") ^ 1),
            lambda query: reply(query[:12] + wire_name("y.test") + query[-4:], ADDRESS),
            lambda query: reply(query[:-4] + b"\0\x1c\0\1", ADDRESS),
            lambda query: query,
            lambda query: b"garbage",
            lambda query: b"",
            lambda query: reply(query, ADDRESS)[:-1],
            lambda query: os.urandom(4000),
        ],
        ids=["id", "name", "type", "echo", "short", "empty", "cut", "random"],
    )
    def test_noise_before_the_answer(
        self, dns_lookup: Any, server: FakeServer, noise: Callable[[bytes], bytes]
    ) -> None:
        """What does not fit the question is passed over, and the wait goes on."""
        server.on_udp = lambda number, query: [noise(query), noise(query), reply(query, ADDRESS)]
        err, answer = server.ask(dns_lookup, timeout=LONG)
        assert (err, len(answer.answers)) == (0, 1)
        assert len(server.queries) == 1

    def test_truncation_is_followed_over_tcp(self, dns_lookup: Any, server: FakeServer) -> None:
        """An answer that was cut short is asked for again over TCP, where it has room."""
        many = [ADDRESS] * 1000
        server.on_udp = lambda number, query: [reply(query, flags=TRUNCATED, counts=1000)]
        server.on_tcp = lambda query: framed(reply(query, *many))
        err, answer = server.ask(dns_lookup, timeout=LONG)
        assert (err, len(answer.answers)) == (0, 1000)

    @pytest.mark.parametrize(
        ("answer", "err"),
        [
            (lambda query: b"", EPIPE),
            (lambda query: b"\0", EPIPE),
            (lambda query: framed(reply(query, ADDRESS))[:-1], EPIPE),
            (lambda query: framed(b"x" * 40), EBADMSG),
            (lambda query: framed(reply(query, query_id=0, flags=1)), EBADMSG),
        ],
        ids=["closed", "half a length", "cut", "garbage", "other"],
    )
    def test_errors_over_tcp(
        self, dns_lookup: Any, server: FakeServer, answer: Callable[[bytes], bytes], err: int
    ) -> None:
        """Over TCP nothing is passed over: what is wrong ends the lookup."""
        server.on_udp = lambda number, query: [
            reply(b"\1\1" + query[2:], query_id=int.from_bytes(query[:2], "big"), flags=TRUNCATED)
        ]
        server.on_tcp = answer
        assert server.ask(dns_lookup, timeout=LONG) == (err, None)

    def test_the_server_says_no(self, dns_lookup: Any, server: FakeServer) -> None:
        """An error of the server is an answer, not a failure of the lookup."""
        server.on_udp = lambda number, query: [reply(query, flags=NXDOMAIN)]
        err, answer = server.ask(dns_lookup, timeout=LONG)
        assert (err, answer.rcode, answer.answers) == (0, NXDOMAIN, [])

    def test_a_name_that_cannot_be(self, dns_lookup: Any, server: FakeServer) -> None:
        """An impossible name fails without a question."""
        assert server.ask(dns_lookup, name="a..b") == (EINVAL, None)
        assert server.queries == []

    def test_nobody_listens(self, dns_lookup: Any, server: FakeServer) -> None:
        """A port where nobody listens is reported at once."""
        server.udp.close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
            unused.bind(("127.0.0.1", 0))
            server.port = unused.getsockname()[1]
        assert server.ask(dns_lookup, timeout=LONG, tries=1) == (ECONNREFUSED, None)

    def test_abandoned(self, dns_lookup: Any, server: FakeServer) -> None:
        """A lookup freed in the middle is never heard of again."""
        ret, address = tsocket.tsocket_address_inet_from_strings(server.mem_ctx, "ip", "127.0.0.1", server.port)
        assert ret == 0
        req = dns_lookup.dns_lookup_send(server.mem_ctx, server.ev, address, "x.test", 1, timeout_seconds=LONG, tries=3)
        tevent.tevent_req_set_callback(req, lambda subreq: pytest.fail("called back"), None)
        while not server.queries:
            assert tevent.tevent_loop_once(server.ev) == 0
        talloc_py.talloc_free(req)
        tevent.tevent_context_set_wait_timeout(server.ev, 0)
        assert tevent.tevent_loop_once(server.ev) == -1


def framed(message: bytes) -> bytes:
    """*message* as TCP carries it."""
    return struct.pack(">H", len(message)) + message


class TestProgram:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["x.test"],
            ["--server", "127.0.0.1", "x.test", "HINFO"],
            ["--server", "127.0.0.1", "--tries", "0", "x.test"],
            ["--server", "127.0.0.1", "--timeout", "0", "x.test"],
        ],
    )
    def test_usage(self, dns_lookup: Any, capsys: Any, arguments: list[str]) -> None:
        """Options that make no sense are refused."""
        with pytest.raises(SystemExit) as caught:
            dns_lookup.main(arguments)
        assert caught.value.code == 2
        assert "usage:" in capsys.readouterr().err

    def test_server_must_be_numeric(self, dns_lookup: Any, capsys: Any) -> None:
        """A name of a server is not looked up."""
        assert dns_lookup.main(["--server", "localhost", "x.test"]) == 2
        assert capsys.readouterr().err == "dns_lookup: localhost: Invalid argument\n"

    def test_silence(self, run_example: Any) -> None:
        """Run by a user, a lookup that gets no answer is one line and exit status 2."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            server = f"127.0.0.1:{silent.getsockname()[1]}"
            done = run_example("dns_lookup", "--server", server, "--tries", "2", "--timeout", "0.05", "x.test")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"dns_lookup: {server}: Connection timed out\n"


@pytest.mark.peer
class TestRealServer:
    """Samba's own DNS server."""

    def ask(self, dns_lookup: Any, capsys: Any, peer: dict[str, str], *question: str) -> list[str]:
        """The lines that the program prints."""
        assert dns_lookup.main(["--server", peer["PEER_ADDRESS"], "--timeout", "10", *question]) == 0
        return list(capsys.readouterr().out.splitlines())

    def test_address(self, dns_lookup: Any, capsys: Any, samba_ad_dc: dict[str, str]) -> None:
        """The controller's own address."""
        host = samba_ad_dc["PEER_DNS_HOST"]
        lines = self.ask(dns_lookup, capsys, samba_ad_dc, host)
        assert [line.split()[2:] for line in lines] == [["A", samba_ad_dc["PEER_ADDRESS"]]]
        assert lines[0].split()[0] == f"{host}."

    def test_service(self, dns_lookup: Any, capsys: Any, samba_ad_dc: dict[str, str]) -> None:
        """The LDAP service of the domain."""
        question = f"_ldap._tcp.{samba_ad_dc['PEER_DNS_DOMAIN']}"
        (line,) = self.ask(dns_lookup, capsys, samba_ad_dc, question, "srv")
        assert line.split()[2:] == ["SRV", "0", "100", "389", f"{samba_ad_dc['PEER_DNS_HOST']}."]

    @pytest.mark.parametrize(("rtype", "words"), [("NS", 4), ("SOA", 10)])
    def test_zone(self, dns_lookup: Any, capsys: Any, samba_ad_dc: dict[str, str], rtype: str, words: int) -> None:
        """The zone's name server and its start of authority."""
        (line,) = self.ask(dns_lookup, capsys, samba_ad_dc, samba_ad_dc["PEER_DNS_DOMAIN"], rtype)
        fields = line.split()
        assert (fields[2], len(fields)) == (rtype, words)
        assert fields[3] == f"{samba_ad_dc['PEER_DNS_HOST']}."

    def test_no_such_name(self, dns_lookup: Any, capsys: Any, samba_ad_dc: dict[str, str]) -> None:
        """A name that is not in the zone."""
        name = f"absent.{samba_ad_dc['PEER_DNS_DOMAIN']}"
        assert dns_lookup.main(["--server", samba_ad_dc["PEER_ADDRESS"], "--timeout", "10", name]) == 1
        assert capsys.readouterr().err == f"dns_lookup: {name}: NXDOMAIN\n"

    def test_over_tcp(self, dns_lookup: Any, samba_ad_dc: dict[str, str]) -> None:
        """The TCP half of the client, against the real server's."""
        mem_ctx = talloc_py.talloc_new(None)
        assert mem_ctx is not None
        ev = tevent.tevent_context_init(mem_ctx)
        assert ev is not None
        ret, address = tsocket.tsocket_address_inet_from_strings(mem_ctx, "ip", samba_ad_dc["PEER_ADDRESS"], 53)
        assert ret == 0
        query = dns_lookup.encode_query(99, samba_ad_dc["PEER_DNS_HOST"], 1)
        req = dns_lookup.dns_tcp_send(mem_ctx, ev, address, query)
        assert tevent.tevent_req_poll(req, ev)
        err, answer = dns_lookup.dns_tcp_recv(req)
        assert (err, [each.data for each in answer.answers]) == (0, [samba_ad_dc["PEER_ADDRESS"]])
        talloc_py.talloc_free(mem_ctx)

    def test_run_by_a_user(self, run_example: Any, samba_ad_dc: dict[str, str]) -> None:
        """The program, as the documentation shows it."""
        done = run_example("dns_lookup", "--server", samba_ad_dc["PEER_ADDRESS"], samba_ad_dc["PEER_DNS_HOST"])
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.split()[3] == samba_ad_dc["PEER_ADDRESS"]
