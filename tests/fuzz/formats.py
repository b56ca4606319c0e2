# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What is fed with hostile bytes, format by format, and what must hold whatever they are.

A target is a function of bytes that raises when something is wrong: an error that is none of those the layer has, a
request that hangs, an exception that comes through the loop, memory reserved on a peer's word, chunks left behind. The
first byte, as a rule, chooses what the others are fed to. None of this knows what makes up the bytes: the fuzzer does,
or the tests that go through all damages of the seeds.
"""

from __future__ import annotations

import functools
import json
import pathlib
import shutil
import socket
import struct
import tempfile
from collections.abc import Callable, Iterator
from errno import EACCES, EIO, EMSGSIZE, ENOTCONN, EPIPE, EPROTONOSUPPORT
from typing import Any

from hostile import Bed, new_tape, tape

from talloc_py import TALLOC_CTX, talloc_free, talloc_new, talloc_set_destructor, talloc_zero
from tevent import (
    NT_STATUS_ACCESS_DENIED,
    NT_STATUS_CONNECTION_DISCONNECTED,
    NT_STATUS_INVALID_BUFFER_SIZE,
    NT_STATUS_INVALID_PARAMETER,
    NT_STATUS_NO_MEMORY,
    NT_STATUS_OK,
    NT_STATUS_RPC_PROTOCOL_ERROR,
    NTSTATUS,
    STATUS_BUFFER_OVERFLOW,
    STATUS_MORE_ENTRIES,
    tevent_req,
    tevent_req_create,
    tevent_req_data,
    tevent_req_done,
    tevent_req_is_in_progress,
)
from tsocket import *
from tsocket._tls_priority import bad_priority, parse
from tsocket._tls_x509 import pem_blocks, revoked_serials

#: What a stream may reserve on its peer's word; beyond that no more than has come.
RESERVED_MAX = 1 << 20


@functools.cache
def bed() -> Bed:
    """The loop of all runs."""
    return Bed()


def pieces(data: bytes) -> Iterator[bytes]:
    """*data* in pieces that say how long they are, by a byte."""
    while data:
        size = data[0]
        yield data[1 : 1 + size]
        data = data[1 + size :]


def fed(mem_ctx: TALLOC_CTX, data: bytes) -> tuple[Any, tape]:
    """A stream on which *data* comes, then its end."""
    return new_tape(mem_ctx, data)


def holds(condition: object, what: str) -> None:
    """*what* is wrong where *condition* does not hold."""
    if not condition:
        raise AssertionError(what)


def among(status: object, allowed: tuple[object, ...]) -> None:
    """*status* must be one of those that the layer has."""
    holds(status in allowed, f"the error {status}")


def exact(this: tape, size: int) -> None:
    """No byte behind what was wanted may have been read."""
    holds(this.offset == size, f"{this.offset} bytes were read, not {size}")
    modest(this)


def modest(this: tape) -> None:
    """No more may have been reserved than has come, or little."""
    holds(this.asked_max <= max(RESERVED_MAX, len(this.incoming)), f"{this.asked_max} bytes were reserved")


# -- PDUs --------------------------------------------------------------------------------------------------------------

_PDU_ERRORS = (NT_STATUS_CONNECTION_DISCONNECTED, NT_STATUS_INVALID_BUFFER_SIZE, NT_STATUS_NO_MEMORY)


def _newline(stream: Any, private_data: Any, blob: bytearray) -> tuple[NTSTATUS, int]:
    return (NT_STATUS_OK if blob.endswith(b"\n") else STATUS_MORE_ENTRIES), 0


def _told(stream: Any, sizes: Any, blob: bytearray) -> tuple[NTSTATUS, int]:
    """Ask for as many bytes as a script says."""
    size = next(sizes, None)
    return (NT_STATUS_OK, 0) if size is None else (STATUS_MORE_ENTRIES, size)


def _missing(buf: bytearray, sizes: Any) -> int:
    return int(next(sizes, 0))


def pdu(data: bytes) -> None:
    """`tstream_read_pdu_blob_send` with each of its functions, `tstream_u32_read_send`, `tstream_read_packet_send`."""
    mode, data = data[0] % 6 if data else 0, data[1:]
    with bed() as top:
        script = list(data[1 : 1 + data[0] % 8]) if data else []
        stream, this = fed(top, data)
        if mode == 4:
            reading = tstream_u32_read_send(top, bed().ev, 1000, stream)
            err, buf = bed().result(reading, tstream_u32_read_recv, top)
            among(err, (0, EPIPE, EMSGSIZE))
            holds(this.asked_max <= 1000, "more was reserved than is allowed")
        elif mode == 5:
            reading = tstream_read_packet_send(top, bed().ev, stream, 2, _missing, iter(script))
            _, buf, err = bed().result(reading, tstream_read_packet_recv, top)
            among(err, (0, EPIPE))
        else:
            functions: Any = (tstream_full_request_u16, tstream_full_request_u32, _newline, _told)
            reading = tstream_read_pdu_blob_send(
                top, bed().ev, stream, (2, 4, 1, 2)[mode], functions[mode], iter(script)
            )
            status, buf = bed().result(reading, tstream_read_pdu_blob_recv, top)
            among(status, (NT_STATUS_OK, *_PDU_ERRORS))
        modest(this)
        if buf is not None:
            exact(this, len(buf))
            holds(bytes(buf) == data[: len(buf)], "these are not the bytes that came")


# -- LDAP --------------------------------------------------------------------------------------------------------------


@functools.cache
def example(name: str) -> Any:
    """A program of `examples/`, for the readers that are in it."""
    import importlib.util
    import sys

    path = pathlib.Path(__file__).resolve().parents[2] / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"fuzzed_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def refused(kinds: Any, decode: Callable[[bytes], object], data: bytes) -> None:
    """*decode* may refuse, by an exception of *kinds*."""
    try:
        decode(data)
    except kinds:
        pass


def ldap(data: bytes) -> None:
    """`ldap_full_packet`, and the readers of messages, of entries and of what domain controllers say."""
    with bed() as top:
        stream, this = fed(top, data)
        reading = tstream_read_pdu_blob_send(top, bed().ev, stream, 7, ldap_full_packet, None)
        status, blob = bed().result(reading, tstream_read_pdu_blob_recv, top)
        among(status, (NT_STATUS_OK, *_PDU_ERRORS))
        modest(this)
        if blob is not None:
            exact(this, len(blob))
    client, pinger = example("ldap_search"), example("cldap_ping")
    for decode in (client.decode_message, client.decode_entry):
        refused(client.MalformedMessage, decode, data)
    for decode in (pinger.decode_answer, pinger.decode_controller):
        refused(pinger.MalformedMessage, decode, data)


# -- DCE/RPC -----------------------------------------------------------------------------------------------------------


def dcerpc(data: bytes) -> None:
    """The reader of packets, a raw call, and the readers of answers in the examples."""
    mode, data = data[0] % 4 if data else 0, data[1:]
    if mode == 2:
        refused(ValueError, lambda stub: example("dcerpc_ping").decode_lookup(stub, "<"), data)
        refused(ValueError, example("share_list").accepted, data)
        return
    if mode == 3:
        refused(ValueError, example("share_list").decode_enumeration, data)
        return
    with bed() as top:
        stream, this = fed(top, data)
        if mode == 1:
            handle = tstream_binding_handle_create(top, None, stream, 4, tstream_full_request_u32, None, 0)
            assert handle is not None
            calling = dcerpc_binding_handle_raw_call_send(top, bed().ev, handle, None, 0, 0, b"question")
            status, _, _ = bed().result(calling, dcerpc_binding_handle_raw_call_recv, top)
            among(status, (NT_STATUS_OK, *_PDU_ERRORS))
            return
        reading = dcerpc_read_ncacn_packet_send(top, bed().ev, stream)
        status, packet, buf = bed().result(reading, dcerpc_read_ncacn_packet_recv, top)
        allowed = (NT_STATUS_CONNECTION_DISCONNECTED, NT_STATUS_RPC_PROTOCOL_ERROR, NT_STATUS_INVALID_PARAMETER)
        among(status, (NT_STATUS_OK, *allowed))
        holds(this.asked_max <= 65535, "more was reserved than a packet may have")
        if packet is not None:
            exact(this, packet.frag_length)
            holds(len(buf) == packet.frag_length == 16 + len(packet.payload), "the packet has another length")


# -- named pipe auth ---------------------------------------------------------------------------------------------------


def _pulled(data: bytes, kind: Any, pull: Any, push: Any) -> None:
    """A structure that can be read can be written, and read again."""
    first, second = kind(), kind()
    if ndr_pull_struct_blob_all(data, None, first, pull) != NDR_ERR_SUCCESS:
        return
    with bed() as top:
        err, blob = ndr_push_struct_blob(top, first, push)
        holds(err == NDR_ERR_SUCCESS, f"what was read cannot be written: {err}")
        assert blob is not None
        err = ndr_pull_struct_blob_all(bytes(blob), None, second, pull)
        holds(err == NDR_ERR_SUCCESS, f"what was written cannot be read: {err}")
    second.length = first.length
    holds(first == second, "what was written is not what was read")


@functools.cache
def listener() -> tuple[str, socket.socket]:
    """The folder of a pipe, and who listens there."""
    folder = tempfile.mkdtemp(prefix="fuzz-")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(f"{folder}/pipe")
    listening.listen()
    listening.settimeout(10)
    return folder, listening


def close() -> None:
    """Give back what lives from run to run."""
    if listener.cache_info().currsize:
        folder, listening = listener()
        listening.close()
        shutil.rmtree(folder)
        listener.cache_clear()
    if bed.cache_info().currsize:
        bed().close()
        bed.cache_clear()


def _connecting(top: TALLOC_CTX, level: int, data: bytes) -> None:
    """A reply of a server that may be anything."""
    folder, listening = listener()
    _, address = tsocket_address_inet_from_strings(top, "ip", "192.0.2.1", 1)
    assert address is not None
    session = auth_session_info_transport()
    req = tstream_npa_connect_send(
        top, bed().ev, folder, "pipe", NCACN_NP, address, None, address, None, session, level=level
    )
    bed().settle()
    server, _ = listening.accept()
    with server:
        server.setblocking(False)
        server.recv(65536)
        server.sendall(data[:10_000])
    _, err, stream, *_ = bed().result(req, tstream_npa_connect_recv, top)
    among(err, (0, EPIPE, EMSGSIZE, EIO, EACCES))
    holds((stream is None) == bool(err), "a stream and an error")


def npa(data: bytes) -> None:
    """Requests and replies, both sides of the opening, and messages."""
    mode, data = data[0] % 7 if data else 0, data[1:]
    if mode == 0:
        _pulled(data, named_pipe_auth_req, ndr_pull_named_pipe_auth_req, ndr_push_named_pipe_auth_req)
        return
    if mode == 1:
        _pulled(data, named_pipe_auth_rep, ndr_pull_named_pipe_auth_rep, ndr_push_named_pipe_auth_rep)
        return
    with bed() as top:
        if mode in (2, 3):
            stream, this = fed(top, data)
            req = tstream_npa_accept_existing_send(top, bed().ev, stream, 2, 0, 0, level=5 + mode)
            result = bed().result(req, tstream_npa_accept_existing_recv, top)
            among(result[1], (0, EPIPE, EMSGSIZE, EIO, EPROTONOSUPPORT))
            modest(this)
            holds(len(this.outgoing) in (0, 36), "half a reply")
        elif mode in (4, 5):
            _connecting(top, 3 + mode, data)
        else:
            stream, _ = fed(top, data[4:])
            ret, pipe = tstream_npa_existing_stream(top, stream, FILE_TYPE_MESSAGE_MODE_PIPE)
            holds(ret == 0, "no pipe")
            _reads(top, pipe, data[:4], (EPIPE, EIO))


def _reads(top: TALLOC_CTX, stream: Any, sizes: bytes, allowed: tuple[int, ...]) -> None:
    """Reads of all *sizes*; each ends by itself."""
    for size in sizes:
        buf = bytearray(size + 1)
        ret, err = bed().result(tstream_readv_send(top, bed().ev, stream, [buf]), tstream_readv_recv)
        among(err, (0, *allowed))
        holds(ret == (-1 if err else size + 1), f"{ret} bytes")
        pending = tstream_pending_bytes(stream)
        holds(pending >= -1, f"{pending} bytes are pending")


# -- sealed streams ----------------------------------------------------------------------------------------------------


class flipping(gensec_security):
    """A mechanism that turns each byte around behind a check sum, and gives nothing for a token of the sum alone."""

    def have_feature(self, feature: int) -> bool:
        return feature == GENSEC_FEATURE_SEAL

    def wrap(self, data: bytes) -> tuple[NTSTATUS, bytes | None]:
        return NT_STATUS_OK, bytes([sum(data) & 0xFF]) + bytes(byte ^ 0xFF for byte in data)

    def unwrap(self, data: bytes) -> tuple[NTSTATUS, bytes | None]:
        plain = bytes(byte ^ 0xFF for byte in data[1:])
        if data[:1] != bytes([sum(plain) & 0xFF]):
            return NT_STATUS_ACCESS_DENIED, None
        return NT_STATUS_OK, plain


def gensec(data: bytes) -> None:
    """Tokens."""
    with bed() as top:
        plain, this = fed(top, data[4:])
        security = talloc_zero(top, flipping)
        assert security is not None
        status, stream = gensec_create_tstream(top, security, plain)
        holds(status == NT_STATUS_OK, "no stream")
        _reads(top, stream, data[:4], (EPIPE, EIO, EMSGSIZE))
        modest(this)


# -- named pipes over SMB ----------------------------------------------------------------------------------------------


class call_state(TALLOC_CTX):
    """A call that waits for its answer."""

    answer: Any
    room: int


class scripted(smbXcli_conn):
    """A server whose answers are made up."""

    calls: list[tuple[str, tevent_req]]
    alive: bool

    def is_connected(self) -> bool:
        return self.alive

    def begin(self, name: str, mem_ctx: TALLOC_CTX, room: int = 0) -> tevent_req:
        """A call, whose answer may have *room* bytes."""
        req, state = tevent_req_create(mem_ctx, call_state)
        assert req is not None
        state.room = room
        call = name, req
        self.calls.append(call)
        # Who frees a call has lost interest: no answer comes for it.
        calls = self.calls
        talloc_set_destructor(state, lambda _: calls.remove(call) if call in calls else None)
        return req

    def _end(self, req: Any, mem_ctx: Any = None) -> Any:
        return tevent_req_data(req, call_state).answer

    def create_send(self, mem_ctx: Any, *args: Any) -> Any:
        return self.begin("create", mem_ctx)

    def close_send(self, mem_ctx: Any, *args: Any) -> Any:
        return self.begin("close", mem_ctx)

    def read_send(self, mem_ctx: Any, ev: Any, timeout: Any, session: Any, tcon: Any, length: int, *args: Any) -> Any:
        return self.begin("read", mem_ctx, length)

    def write_send(self, mem_ctx: Any, *args: Any) -> Any:
        return self.begin("write", mem_ctx, len(args[-1]))

    def ioctl_send(self, mem_ctx: Any, *args: Any) -> Any:
        return self.begin("ioctl", mem_ctx)

    create_recv = close_recv = read_recv = write_recv = ioctl_recv = _end


_STATUSES = (NT_STATUS_OK, NT_STATUS_OK, STATUS_BUFFER_OVERFLOW, NT_STATUS_ACCESS_DENIED, NTSTATUS(0x103))
_PIECE = 16


class Pipe:
    """A pipe over a scripted server, and all that goes on."""

    def __init__(self, top: TALLOC_CTX) -> None:
        self.top = top
        conn = talloc_zero(top, scripted)
        assert conn is not None
        self.conn = conn
        self.conn.calls, self.conn.alive = [], True
        self.calls = self.conn.calls
        self.reads: list[Any] = []
        self.writes: list[Any] = []
        session, tcon = talloc_new(top), talloc_new(top)
        assert session is not None
        assert tcon is not None
        opening = tstream_smbXcli_np_open_send(top, bed().ev, conn, session, tcon, 0, 1000, "pipe")
        self.reply((NT_STATUS_OK, 1, 2))
        status, stream = bed().result(opening, tstream_smbXcli_np_open_recv, top)
        holds(status == NT_STATUS_OK, "no pipe")
        self.stream: Any = stream
        tstream_smbXcli_np_set_max_data(stream, _PIECE)

    def reply(self, answer: Any) -> None:
        """Answer the oldest call."""
        _, req = self.calls.pop(0)
        tevent_req_data(req, call_state).answer = answer
        tevent_req_done(req)

    def answer(self, how: int) -> None:
        """Answer the oldest call somehow."""
        if not self.calls:
            return
        name, req = self.calls[0]
        status, size = _STATUSES[how % len(_STATUSES)], how // 8
        room = tevent_req_data(req, call_state).room
        answers = {
            "close": status,
            "read": (status, bytes(size)),
            "write": (status, room if size < 30 else size),
            "ioctl": (status, b"", bytes(size)),
        }
        self.reply(answers[name])

    def operate(self, what: int, how: int) -> None:
        """Start something, or free what goes on."""
        if what == 0 and not self.reads:
            self.reads.append(tstream_readv_send(self.top, bed().ev, self.stream, [bytearray(1 + how)]))
        elif what == 1 and not self.writes:
            self.writes.append(tstream_writev_send(self.top, bed().ev, self.stream, [bytes(1 + how)]))
        elif what == 2:
            tstream_smbXcli_np_use_trans(self.stream)
        elif what == 3 and how > 250:
            req = tstream_disconnect_send(self.top, bed().ev, self.stream)
            bed().settle()
            if req is not None and not tevent_req_is_in_progress(req):
                among(tstream_disconnect_recv(req)[1], (0, ENOTCONN, EPIPE, 114, 16, 103))
            talloc_free(req)
        elif what == 4 and how > 230:
            for reqs in (self.reads, self.writes):
                if reqs:
                    talloc_free(reqs.pop())
        else:
            self.answer(how)

    def collect(self) -> None:
        """Receive what has ended."""
        bed().settle()
        for reqs, recv in ((self.reads, tstream_readv_recv), (self.writes, tstream_writev_recv)):
            if reqs and not tevent_req_is_in_progress(reqs[0]):
                req = reqs.pop()
                among(recv(req)[1], (0, EPIPE, EIO, ENOTCONN))
                talloc_free(req)


def smb(data: bytes) -> None:
    """A pipe of SMB whose server answers anything, in any order with what is asked."""
    with bed() as top:
        pipe = Pipe(top)
        for offset in range(0, min(len(data), 200) - 1, 2):
            pipe.operate(data[offset] % 8, data[offset + 1])
            pipe.collect()
        # The connection breaks: whatever goes on must end.
        pipe.conn.alive = False
        while pipe.calls:
            name, _ = pipe.calls[0]
            gone = NT_STATUS_CONNECTION_DISCONNECTED
            pipe.reply({"close": gone, "read": (gone, b""), "write": (gone, 0), "ioctl": (gone, b"", b"")}[name])
            pipe.collect()
        # Half of a transaction waits for the other half.
        for recv, reqs in ((tstream_readv_recv, pipe.reads), (tstream_writev_recv, pipe.writes)):
            for _ in reqs:
                holds(tstream_smbXcli_np_use_trans(pipe.stream) != NT_STATUS_OK, f"a request hangs: {recv.__name__}")


# -- what stands in certificates and in parameters ---------------------------------------------------------------------


def x509(data: bytes) -> None:
    """Revocation lists."""
    refused(ValueError, revoked_serials, data)
    refused(ValueError, lambda text: pem_blocks(text, b"X509 CRL"), data)


def priority(data: bytes) -> None:
    """Priority strings."""
    refused(bad_priority, lambda text: parse(text.decode("latin-1")), data)


# -- seeds -------------------------------------------------------------------------------------------------------------


def vectors() -> dict[str, Any]:
    """What Samba has said."""
    path = pathlib.Path(__file__).resolve().parents[1] / "unit" / "tsocket" / "npa_vectors.json"
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def _npa_seeds() -> list[bytes]:
    recorded = vectors()
    requests = [bytes.fromhex(vector["hex"]) for vector in recorded["requests"]]
    replies = [bytes.fromhex(vector["hex"]) for vector in recorded["replies"]]
    seeds = [bytes([mode]) + request for request in requests for mode in (0, 2, 3)]
    seeds += [bytes([mode]) + reply for reply in replies for mode in (1, 4, 5)]
    return [*seeds, b"\6\4\0\2\0\5\0hello\3\0abc\1\0z"]


def _element(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes([tag, len(body)]) + body


def _ldap_seeds() -> list[bytes]:
    names = b"\1x\4test\0\xc0\x18\2dc\xc0\x18\1X\0\2DC\0\0\4Site\0\xc0\x2f"
    controller = struct.pack("<HHI", 23, 0, 0x1FD) + bytes(16) + names
    done = _element(0x30, b"\2\1\1", _element(0x65, b"\x0a\1\0", b"\4\0", b"\4\0"))
    value = _element(0x30, _element(0x04, b"netlogon"), _element(0x31, _element(0x04, controller)))
    entry = _element(0x30, b"\2\1\1", _element(0x64, b"\4\0", _element(0x30, value)))
    return [done, entry + done, entry[5:], controller, b"\x30\x84\0\0\0\5\2\1\1\x42\0"]


def _dcerpc_seeds() -> list[bytes]:
    def packet(ptype: int, body: bytes) -> bytes:
        return struct.pack("<BBBB4sHHI", 5, 0, ptype, 3, b"\x10\0\0\0", 16 + len(body), 0, 1) + body

    shares = struct.pack("<IIIIIIIII", 1, 1, 0x20000, 1, 0x20004, 1, 0x20008, 0, 0x2000C)
    text = struct.pack("<III", 2, 0, 2) + b"x\0\0\0"
    entry = bytes(20) + struct.pack("<IIII", 1, 50, 0, 1) + bytes(16) + struct.pack("<III", 1, 0, 2) + b"a\0\0\0"
    tower = struct.pack("<HHBH", 1, 1, 7, 2) + b"\0\x87\0"
    return [
        b"\0" + packet(12, b"\xb8\x10\xb8\x10\0\0\0\0" + bytes(20)),
        b"\0" + struct.pack(">BBBB4sHHI", 5, 0, 2, 3, bytes(4), 24, 0, 1) + bytes(8),
        b"\0" + packet(18, b""),
        b"\1\0\0\0\5hello",
        b"\2" + entry + struct.pack("<II", 9, 9) + tower + bytes(3) + struct.pack("<I", 0x16C9A0D6),
        b"\3" + shares + text + text + struct.pack("<IIII", 1, 0x20010, 0, 0),
    ]


def sealed_tokens(*plains: bytes) -> bytes:
    """What a `flipping` makes of *plains*."""
    tokens = [bytes([sum(plain) & 0xFF]) + bytes(byte ^ 0xFF for byte in plain) for plain in plains]
    return b"".join(len(token).to_bytes(4, "big") + token for token in tokens)


def seeds(name: str) -> list[bytes]:
    """Good bytes to begin with."""
    if name == "tls":
        from . import tls

        return tls.seeds()
    if name == "x509":
        from tls_kit import world

        text = pathlib.Path(world().crl).read_bytes()
        return [text, *pem_blocks(text, b"X509 CRL")]
    makers: dict[str, Callable[[], list[bytes]]] = {
        "pdu": lambda: [
            b"\0\0\5hello",
            b"\1\0\0\0\5hello",
            b"\2a line\nand more",
            b"\3\3\4\0\7........",
            b"\4\0\0\0\5hello",
            b"\5\2\3\4........",
        ],
        "ldap": _ldap_seeds,
        "dcerpc": _dcerpc_seeds,
        "npa": _npa_seeds,
        "gensec": lambda: [
            b"\4\0\2\0" + sealed_tokens(b"hello", b"", b"abc"),
            b"\7\0\0\0" + sealed_tokens(b"12345678"),
        ],
        "smb": lambda: [
            bytes.fromhex("0003 0721 0720 0103 0738 0200 0005 0105 0728"),
            bytes.fromhex("0105 0200 0105 0004 0734 0730 0772 03ff 0700"),
        ],
        "priority": lambda: [b"NORMAL:-VERS-SSL3.0", b"NONE:+VERS-TLS1.2:+AES-128-GCM:+ECDHE-RSA:+SIGN-ALL:%COMPAT"],
    }
    return makers[name]()


def damages(data: bytes) -> Iterator[bytes]:
    """*data* cut everywhere, with each of its bits flipped, and with all that may be a length made small and large."""
    yield from (data[:size] for size in range(len(data)))
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)
    for width in (1, 2, 4):
        for offset in range(len(data) - width + 1):
            for size in (bytes(width), b"\xff" * width, b"\x7f" + b"\xff" * (width - 1), b"\x80" + bytes(width - 1)):
                yield data[:offset] + size + data[offset + width :]


def all_damages(name: str) -> Iterator[bytes]:
    """All damages of all good bytes of a format."""
    for seed in seeds(name):
        yield from damages(seed)
    if name == "tls":
        from . import tls

        yield from tls.flips()


def target(name: str) -> Callable[[bytes], None]:
    """The function that is fed."""
    if name == "tls":
        from . import tls

        return tls.tls
    functions = {each.__name__: each for each in (pdu, ldap, dcerpc, npa, gensec, smb, x509, priority)}
    return functions[name]


#: Every format.
NAMES = ("pdu", "ldap", "dcerpc", "npa", "gensec", "smb", "tls", "x509", "priority")
