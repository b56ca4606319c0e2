#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Send a file as PDUs to an echo server and check that it comes back unchanged.

A PDU here is a 4-byte big-endian length and that many bytes. The client cuts the file into PDUs, keeps a window of them
under way and compares each answer; the server writes back what it reads. Both run in this one process unless told
otherwise::

    python examples/pdu_echo.py FILE
    python examples/pdu_echo.py --transport unix --chunk 100000 FILE
    python examples/pdu_echo.py --role server --address 127.0.0.1:7777
    python examples/pdu_echo.py --role client --address 127.0.0.1:7777 FILE

Everything that waits is a pair of functions ``foo_send`` and ``foo_recv``, as in C:

==================  ================================================================
``pdu_read``        one PDU in, by `tstream_readv_pdu_queue_send`
``pdu_write``       one PDU out, by `tstream_writev_queue_send`
``echo_conn``       the server's side of one connection
``echo_server``     accepts connections until it is freed
``echo_transfer``   the client's side of one connection
``echo_client``     connects, transfers, disconnects
==================  ================================================================
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import struct
import sys
import tempfile
from collections import deque
from errno import EBADMSG, EMSGSIZE, EPIPE
from typing import TYPE_CHECKING, BinaryIO

from talloc_py import *
from tevent import *
from tevent.typing import tevent_subreq
from tsocket import *

if TYPE_CHECKING:
    from collections.abc import Sequence

PDU_HEADER = struct.Struct(">I")
PDU_MAX_BYTES = 16 * 1024 * 1024  # what a peer may make us allocate
QUEUED_MAX = 16  # PDUs under way on one connection


# ---------------------------------------------------------------------------------------------------------- one PDU


class pdu_read_state(TALLOC_CTX):
    """A PDU that is coming in."""

    header: bytearray | None
    payload: bytearray | None


def pdu_read_send(
    mem_ctx: TALLOC_CTX | None, ev: tevent_context, stream: tstream_context, queue: tevent_queue
) -> tevent_req | None:
    """Read one PDU from *stream* when its turn in *queue* comes."""
    req, state = tevent_req_create(mem_ctx, pdu_read_state)
    if req is None:
        return None
    subreq = tstream_readv_pdu_queue_send(state, ev, stream, queue, pdu_read_next_vector, state)
    if tevent_req_nomem(subreq, req):
        return tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, pdu_read_done, req)
    return req


def pdu_read_next_vector(
    stream: tstream_context, private_data: object, mem_ctx: TALLOC_CTX
) -> tuple[int, Sequence[bytearray] | None]:
    """What to read next: first the header, then what it announces, then nothing more."""
    state = talloc_get_type_abort(private_data, pdu_read_state)
    if state.header is None:
        state.header = bytearray(PDU_HEADER.size)
        return 0, [state.header]
    if state.payload is None:
        (length,) = PDU_HEADER.unpack(state.header)
        if length > PDU_MAX_BYTES:
            set_errno(EMSGSIZE)
            return -1, None
        state.payload = bytearray(length)
        return 0, [state.payload] if length > 0 else []
    return 0, []


def pdu_read_done(subreq: tevent_req) -> None:
    """The PDU is complete, or the stream failed."""
    req = tevent_req_callback_data(subreq, tevent_req)
    ret, err = tstream_readv_pdu_queue_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1:
        tevent_req_error(req, err)
        return
    tevent_req_done(req)


def pdu_read_recv(req: tevent_req) -> tuple[int, bytearray | None]:
    """``err, payload``."""
    payload = tevent_req_data(req, pdu_read_state).payload
    is_error, err = tevent_req_is_unix_error(req)
    tevent_req_received(req)
    return (err, None) if is_error else (0, payload)


class pdu_write_state(TALLOC_CTX):
    """A PDU that is going out."""

    vector: list[bytes | bytearray]


def pdu_write_send(
    mem_ctx: TALLOC_CTX | None,
    ev: tevent_context,
    stream: tstream_context,
    queue: tevent_queue,
    payload: bytes | bytearray,
) -> tevent_req | None:
    """Write *payload* as one PDU when its turn in *queue* comes; *payload* must stay as it is until then."""
    req, state = tevent_req_create(mem_ctx, pdu_write_state)
    if req is None:
        return None
    state.vector = [PDU_HEADER.pack(len(payload)), payload]
    subreq = tstream_writev_queue_send(state, ev, stream, queue, state.vector)
    if tevent_req_nomem(subreq, req):
        return tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, pdu_write_done, req)
    return req


def pdu_write_done(subreq: tevent_req) -> None:
    """The PDU is with the kernel, or the stream failed."""
    req = tevent_req_callback_data(subreq, tevent_req)
    ret, err = tstream_writev_queue_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1:
        tevent_req_error(req, err)
        return
    tevent_req_done(req)


def pdu_write_recv(req: tevent_req) -> int:
    """0, or the errno."""
    return tevent_req_simple_recv_unix(req)


# ----------------------------------------------------------------------------------------------------------- server


class echo_conn_state(TALLOC_CTX):
    """The server's side of one connection."""

    ev: tevent_context
    stream: tstream_context
    recv_queue: tevent_queue
    send_queue: tevent_queue
    reading: bool


def echo_conn_send(mem_ctx: TALLOC_CTX | None, ev: tevent_context, stream: tstream_context) -> tevent_req | None:
    """Write back each PDU that comes in on *stream*, until the client closes."""
    req, state = tevent_req_create(mem_ctx, echo_conn_state)
    if req is None:
        return None
    state.ev = ev
    state.stream = talloc_move(state, stream)
    recv_queue = tevent_queue_create(state, "echo_conn_recv")
    if tevent_req_nomem(recv_queue, req):
        return tevent_req_post(req, ev)
    state.recv_queue = recv_queue
    send_queue = tevent_queue_create(state, "echo_conn_send")
    if tevent_req_nomem(send_queue, req):
        return tevent_req_post(req, ev)
    state.send_queue = send_queue
    echo_conn_read(req)
    if not tevent_req_is_in_progress(req):
        return tevent_req_post(req, ev)
    return req


def echo_conn_read(req: tevent_req) -> None:
    """Read the next PDU, unless one is being read or too many wait to be written."""
    state = tevent_req_data(req, echo_conn_state)
    if state.reading or tevent_queue_length(state.send_queue) >= QUEUED_MAX:
        return
    subreq = pdu_read_send(state, state.ev, state.stream, state.recv_queue)
    if tevent_req_nomem(subreq, req):
        return
    tevent_req_set_callback(subreq, echo_conn_got, req)
    state.reading = True


def echo_conn_got(subreq: tevent_subreq) -> None:
    """A PDU came in: send it back and read on."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, echo_conn_state)

    err, payload = pdu_read_recv(subreq)
    TALLOC_FREE(subreq)
    state.reading = False
    if err == EPIPE:
        # The client has closed: that is how a connection ends.
        tevent_req_done(req)
        return
    if tevent_req_error(req, err) or tevent_req_nomem(payload, req):
        return
    subreq = pdu_write_send(state, state.ev, state.stream, state.send_queue, payload)
    if tevent_req_nomem(subreq, req):
        return
    tevent_req_set_callback(subreq, echo_conn_written, req)
    echo_conn_read(req)


def echo_conn_written(subreq: tevent_req) -> None:
    """A PDU went out, so there is room for another."""
    req = tevent_req_callback_data(subreq, tevent_req)
    err = pdu_write_recv(subreq)
    TALLOC_FREE(subreq)
    if tevent_req_error(req, err):
        return
    echo_conn_read(req)


def echo_conn_recv(req: tevent_req) -> int:
    """0 when the client closed, or the errno."""
    return tevent_req_simple_recv_unix(req)


class listener(TALLOC_CTX):
    """A listening socket that closes with its owner; tsocket has none of its own."""

    fd: int
    path: str | None


def listener_create(mem_ctx: TALLOC_CTX | None, addr: tsocket_address) -> tuple[listener, sockaddr]:
    """Listen on *addr*; also gives the address that the system chose."""
    _, sa = tsocket_address_bsd_sockaddr(addr)
    assert sa is not None
    with socket.socket(sa.sa_family, socket.SOCK_STREAM) as sock:
        if sa.sa_family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(sa.address)
        sock.listen()
        sock.setblocking(False)
        lst = talloc_zero(mem_ctx, listener)
        if lst is None:
            raise MemoryError
        bound = sockaddr(sa.sa_family, sock.getsockname())
        lst.fd = sock.detach()
    lst.path = bound.address if sa.sa_family == socket.AF_UNIX else None
    talloc_set_destructor(lst, listener_destructor)
    return lst, bound


def listener_destructor(lst: listener) -> int:
    """Close the socket, and remove its file if it has one."""
    os.close(lst.fd)
    if lst.path is not None:
        os.unlink(lst.path)
    return 0


class echo_server_state(TALLOC_CTX):
    """What accepts connections."""

    ev: tevent_context
    lst: listener
    verbose: bool


def echo_server_send(mem_ctx: TALLOC_CTX | None, ev: tevent_context, lst: listener, verbose: bool) -> tevent_req | None:
    """Echo on every connection to *lst*, until freed or until accepting fails."""
    req, state = tevent_req_create(mem_ctx, echo_server_state)
    if req is None:
        return None
    state.ev = ev
    state.lst = lst
    state.verbose = verbose
    echo_server_accept(req)
    if not tevent_req_is_in_progress(req):
        return tevent_req_post(req, ev)
    return req


def echo_server_accept(req: tevent_req) -> None:
    """Wait for the next connection."""
    state = tevent_req_data(req, echo_server_state)
    subreq = accept_send(state, state.ev, state.lst.fd)
    if tevent_req_nomem(subreq, req):
        return
    tevent_req_set_callback(subreq, echo_server_accepted, req)


def echo_server_accepted(subreq: tevent_req) -> None:
    """A connection is there: serve it, and wait for the next one."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, echo_server_state)

    fd, _, _, err = accept_recv(subreq)
    TALLOC_FREE(subreq)
    if fd == -1:
        tevent_req_error(req, err)
        return
    os.set_blocking(fd, False)
    ret, stream = tstream_bsd_existing_socket(state, fd)
    if ret == -1 or stream is None:
        os.close(fd)
        tevent_req_error(req, get_errno())
        return
    conn = echo_conn_send(state, state.ev, stream)
    if tevent_req_nomem(conn, req):
        return
    tevent_req_set_callback(conn, echo_server_closed, req)
    echo_server_accept(req)


def echo_server_closed(subreq: tevent_req) -> None:
    """A connection has ended; what is wrong with one client does not stop the server."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, echo_server_state)

    err = echo_conn_recv(subreq)
    TALLOC_FREE(subreq)
    if state.verbose:
        print(f"connection closed: {os.strerror(err) if err else 'end of file'}", file=sys.stderr)


def echo_server_recv(req: tevent_req) -> int:
    """The errno of what ended the server; it never ends well by itself."""
    return tevent_req_simple_recv_unix(req)


# ----------------------------------------------------------------------------------------------------------- client


class echo_transfer_state(TALLOC_CTX):
    """A file on its way to the server and back."""

    ev: tevent_context
    stream: tstream_context
    file: BinaryIO
    chunk_bytes: int
    send_queue: tevent_queue
    recv_queue: tevent_queue
    expected: deque[bytes]
    at_end: bool
    pdus: int
    total_bytes: int


def echo_transfer_send(
    mem_ctx: TALLOC_CTX | None, ev: tevent_context, stream: tstream_context, file: BinaryIO, chunk_bytes: int
) -> tevent_req | None:
    """Send *file* over *stream* in PDUs of *chunk_bytes* and compare what comes back."""
    req, state = tevent_req_create(mem_ctx, echo_transfer_state)
    if req is None:
        return None
    state.ev = ev
    state.stream = stream
    state.file = file
    state.chunk_bytes = chunk_bytes
    state.expected = deque()
    send_queue = tevent_queue_create(state, "echo_transfer_send")
    if tevent_req_nomem(send_queue, req):
        return tevent_req_post(req, ev)
    state.send_queue = send_queue
    recv_queue = tevent_queue_create(state, "echo_transfer_recv")
    if tevent_req_nomem(recv_queue, req):
        return tevent_req_post(req, ev)
    state.recv_queue = recv_queue
    echo_transfer_fill(req)
    if not tevent_req_is_in_progress(req):
        return tevent_req_post(req, ev)
    return req


def echo_transfer_fill(req: tevent_req) -> None:
    """Keep the window full; done when all was sent and has come back."""
    state = tevent_req_data(req, echo_transfer_state)
    while not state.at_end and len(state.expected) < QUEUED_MAX:
        chunk = state.file.read(state.chunk_bytes)
        if not chunk:
            state.at_end = True
            break
        subreq = pdu_write_send(state, state.ev, state.stream, state.send_queue, chunk)
        if tevent_req_nomem(subreq, req):
            return
        tevent_req_set_callback(subreq, echo_transfer_written, req)
        subreq = pdu_read_send(state, state.ev, state.stream, state.recv_queue)
        if tevent_req_nomem(subreq, req):
            return
        tevent_req_set_callback(subreq, echo_transfer_got, req)
        state.expected.append(chunk)
    if state.at_end and not state.expected:
        tevent_req_done(req)


def echo_transfer_written(subreq: tevent_req) -> None:
    """A PDU went out; freeing its request lets the next one go."""
    req = tevent_req_callback_data(subreq, tevent_req)
    err = pdu_write_recv(subreq)
    TALLOC_FREE(subreq)
    tevent_req_error(req, err)


def echo_transfer_got(subreq: tevent_req) -> None:
    """A PDU came back: it must be the oldest one that is still out."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, echo_transfer_state)

    err, payload = pdu_read_recv(subreq)
    TALLOC_FREE(subreq)
    if tevent_req_error(req, err) or tevent_req_nomem(payload, req):
        return
    if payload != state.expected.popleft():
        tevent_req_error(req, EBADMSG)
        return
    state.pdus += 1
    state.total_bytes += len(payload)
    echo_transfer_fill(req)


def echo_transfer_recv(req: tevent_req) -> tuple[int, int, int]:
    """``err, pdus, total_bytes``; EBADMSG says that something else came back."""
    state = tevent_req_data(req, echo_transfer_state)
    pdus, total_bytes = state.pdus, state.total_bytes
    _, err = tevent_req_is_unix_error(req)
    tevent_req_received(req)
    return err, pdus, total_bytes


class echo_client_state(TALLOC_CTX):
    """A client from connect to disconnect."""

    ev: tevent_context
    unix: bool
    stream: tstream_context
    file: BinaryIO
    chunk_bytes: int
    pdus: int
    total_bytes: int


def echo_client_send(
    mem_ctx: TALLOC_CTX | None,
    ev: tevent_context,
    remote: tsocket_address | tstream_context,
    file: BinaryIO,
    chunk_bytes: int,
) -> tevent_req | None:
    """Connect to *remote* (or use it, if it is a stream already), transfer *file*, disconnect."""
    req, state = tevent_req_create(mem_ctx, echo_client_state)
    if req is None:
        return None
    state.ev = ev
    state.file = file
    state.chunk_bytes = chunk_bytes
    if isinstance(remote, tstream_context):
        state.stream = talloc_move(state, remote)
        echo_client_transfer(req)
    else:
        echo_client_connect(req, remote)
    if not tevent_req_is_in_progress(req):
        return tevent_req_post(req, ev)
    return req


def echo_client_connect(req: tevent_req, remote: tsocket_address) -> None:
    """Connect, from any address of our own."""
    state = tevent_req_data(req, echo_client_state)
    state.unix = tsocket_address_is_unix(remote)
    if state.unix:
        ret, local = tsocket_address_unix_from_path(state, None)
    else:
        ret, local = tsocket_address_inet_from_strings(state, "ip", None, 0)
    if ret == -1 or local is None:
        tevent_req_error(req, get_errno())
        return
    connect_send = tstream_unix_connect_send if state.unix else tstream_inet_tcp_connect_send
    subreq = connect_send(state, state.ev, local, remote)
    if tevent_req_nomem(subreq, req):
        return
    tevent_req_set_callback(subreq, echo_client_connected, req)


def echo_client_connected(subreq: tevent_req) -> None:
    """The connection stands, or was refused."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, echo_client_state)
    if state.unix:
        ret, err, stream = tstream_unix_connect_recv(subreq, state)
    else:
        ret, err, stream, _ = tstream_inet_tcp_connect_recv(subreq, state)
    TALLOC_FREE(subreq)
    if ret == -1 or stream is None:
        tevent_req_error(req, err)
        return
    state.stream = stream
    echo_client_transfer(req)


def echo_client_transfer(req: tevent_req) -> None:
    """Connected: send the file."""
    state = tevent_req_data(req, echo_client_state)
    subreq = echo_transfer_send(state, state.ev, state.stream, state.file, state.chunk_bytes)
    if tevent_req_nomem(subreq, req):
        return
    tevent_req_set_callback(subreq, echo_client_transferred, req)


def echo_client_transferred(subreq: tevent_subreq) -> None:
    """All came back: disconnect."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, echo_client_state)
    err, state.pdus, state.total_bytes = echo_transfer_recv(subreq)
    TALLOC_FREE(subreq)
    if tevent_req_error(req, err):
        return
    subreq = tstream_disconnect_send(state, state.ev, state.stream)
    if tevent_req_nomem(subreq, req):
        return
    tevent_req_set_callback(subreq, echo_client_disconnected, req)


def echo_client_disconnected(subreq: tevent_req) -> None:
    """The connection is closed."""
    req = tevent_req_callback_data(subreq, tevent_req)
    ret, err = tstream_disconnect_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1:
        tevent_req_error(req, err)
        return
    tevent_req_done(req)


def echo_client_recv(req: tevent_req) -> tuple[int, int, int]:
    """``err, pdus, total_bytes``."""
    state = tevent_req_data(req, echo_client_state)
    pdus, total_bytes = state.pdus, state.total_bytes
    _, err = tevent_req_is_unix_error(req)
    tevent_req_received(req)
    return err, pdus, total_bytes


# ------------------------------------------------------------------------------------------------------ the program


class Failure(Exception):
    """Something the user should read in one line."""


def address_of(mem_ctx: TALLOC_CTX, transport: str, text: str | None) -> tsocket_address:
    """The address that *text* names: a path, or ``HOST:PORT`` with a numeric host."""
    if transport == "unix":
        ret, addr = tsocket_address_unix_from_path(mem_ctx, text)
    else:
        ret, addr = tsocket_address_inet_from_hostport_strings(mem_ctx, "ip", text or "127.0.0.1", 0)
    if ret == -1 or addr is None:
        raise Failure(f"{text}: {os.strerror(get_errno())}")
    return addr


def start_client(
    mem_ctx: TALLOC_CTX,
    ev: tevent_context,
    remote: tsocket_address | tstream_context,
    file: BinaryIO,
    options: argparse.Namespace,
) -> tevent_req:
    """The client's request, with the time it may take."""
    req = echo_client_send(mem_ctx, ev, remote, file, options.chunk)
    if req is None or not tevent_req_set_endtime(req, ev, tevent_timeval_current_ofs(options.timeout, 0)):
        raise MemoryError
    return req


def finish_client(ev: tevent_context, req: tevent_req, transport: str) -> int:
    """Loop until the client is through and say how it went; the exit status."""
    if not tevent_req_poll(req, ev):
        raise Failure(f"the loop failed: {os.strerror(get_errno())}")
    err, pdus, total_bytes = echo_client_recv(req)
    if err == EBADMSG:
        raise Failure("what came back is not what was sent")
    if err:
        raise Failure(os.strerror(err))
    print(f"{total_bytes} bytes in {pdus} PDUs came back unchanged over {transport}")
    return 0


def start_server(mem_ctx: TALLOC_CTX, ev: tevent_context, addr: tsocket_address, verbose: bool) -> tsocket_address:
    """A server on *addr* that runs while *ev* loops; the address it really has."""
    lst, bound = listener_create(mem_ctx, addr)
    if echo_server_send(mem_ctx, ev, lst, verbose) is None:
        raise MemoryError
    ret, real = tsocket_address_bsd_from_sockaddr(mem_ctx, bound)
    if ret == -1 or real is None:
        raise Failure(os.strerror(get_errno()))
    return real


def run_both(mem_ctx: TALLOC_CTX, ev: tevent_context, file: BinaryIO, options: argparse.Namespace) -> int:
    """Server and client in this process."""
    if options.transport == "socketpair":
        ret, ours, theirs = tstream_unix_socketpair(mem_ctx, mem_ctx)
        if ret == -1 or ours is None or theirs is None:
            raise Failure(os.strerror(get_errno()))
        if echo_conn_send(mem_ctx, ev, theirs) is None:
            raise MemoryError
        return finish_client(ev, start_client(mem_ctx, ev, ours, file, options), "socketpair")
    with tempfile.TemporaryDirectory() as folder:
        inner = talloc_new(mem_ctx)
        assert inner is not None
        text = options.address or (f"{folder}/echo" if options.transport == "unix" else None)
        real = start_server(inner, ev, address_of(inner, options.transport, text), options.verbose)
        try:
            return finish_client(ev, start_client(inner, ev, real, file, options), options.transport)
        finally:
            # The server goes, and with it the socket's file, before the folder does.
            talloc_free(inner)


class stop_state(TALLOC_CTX):
    """Which signal has come, 0 for none."""

    signum: int


def stop_signal(
    ev: tevent_context, se: tevent_signal, signum: int, count: int, siginfo: object, private_data: object
) -> None:
    """The handler of the signals that end the server; it runs from the loop."""
    talloc_get_type_abort(private_data, stop_state).signum = signum


def stop_wanted(private_data: object) -> bool:
    """Whether to leave the loop."""
    return talloc_get_type_abort(private_data, stop_state).signum != 0


def run_server(mem_ctx: TALLOC_CTX, ev: tevent_context, options: argparse.Namespace) -> int:
    """The server alone, until SIGINT or SIGTERM."""
    real = start_server(mem_ctx, ev, address_of(mem_ctx, options.transport, options.address), options.verbose)
    if tsocket_address_is_unix(real):
        where: str | None = tsocket_address_unix_path(real, mem_ctx)
    else:
        where = f"{tsocket_address_inet_addr_string(real, mem_ctx)} port {tsocket_address_inet_port(real)}"
    stop = talloc_zero(mem_ctx, stop_state)
    assert stop is not None
    for signum in (signal.SIGINT, signal.SIGTERM):
        if tevent_add_signal(ev, mem_ctx, signum, 0, stop_signal, stop) is None:
            raise Failure(f"{signal.Signals(signum).name}: {os.strerror(get_errno())}")
    print(f"listening on {where}", flush=True)
    if tevent_loop_until(ev, stop_wanted, stop) != 0:
        raise Failure(f"the loop failed: {os.strerror(get_errno())}")
    print(f"stopped by {signal.Signals(stop.signum).name}")
    return 0


def chunk_size(text: str) -> int:
    """A size of PDU that the other side accepts."""
    value = int(text)
    if not 1 <= value <= PDU_MAX_BYTES:
        raise argparse.ArgumentTypeError(f"must be from 1 to {PDU_MAX_BYTES}")
    return value


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, or a usage message."""
    parser = argparse.ArgumentParser(description="Echo a file over length-prefixed PDUs.")
    parser.add_argument("file", nargs="?", metavar="FILE", help="what to send")
    parser.add_argument("--role", choices=("both", "server", "client"), default="both")
    parser.add_argument("--transport", choices=("tcp", "unix", "socketpair"), default="tcp")
    parser.add_argument("--address", help="ADDRESS:PORT for tcp (numeric), a path for unix")
    parser.add_argument(
        "--chunk", type=chunk_size, default=4096, metavar="BYTES", help="payload of a PDU (default %(default)s)"
    )
    parser.add_argument(
        "--timeout", type=int, default=60, metavar="SECONDS", help="for the whole transfer (default %(default)s)"
    )
    parser.add_argument("--verbose", action="store_true", help="the server tells how each connection ended")
    options = parser.parse_args(argv)
    if options.file is None and options.role != "server":
        parser.error("FILE is missing")
    if options.transport == "socketpair" and (options.role != "both" or options.address):
        parser.error("a socket pair has both its ends in this process and no address")
    if options.address is None and (
        options.role == "client" or (options.role == "server" and options.transport == "unix")
    ):
        parser.error(f"--role {options.role} needs --address")
    return options


def run(options: argparse.Namespace) -> int:
    """Do what *options* say; everything allocated on the way goes with one `talloc_free`."""
    mem_ctx = talloc_new(None)
    assert mem_ctx is not None
    try:
        ev = tevent_context_init(mem_ctx)
        if ev is None:
            raise Failure("no event context")
        if options.role == "server":
            return run_server(mem_ctx, ev, options)
        with open(options.file, "rb") as file:
            if options.role == "both":
                return run_both(mem_ctx, ev, file, options)
            remote = address_of(mem_ctx, options.transport, options.address)
            return finish_client(ev, start_client(mem_ctx, ev, remote, file, options), options.transport)
    finally:
        talloc_free(mem_ctx)


def main(argv: Sequence[str] | None = None) -> int:
    """The program: 0 when everything came back, 1 with a message otherwise."""
    options = parse(argv)
    try:
        return run(options)
    except (Failure, OSError) as error:
        print(f"pdu_echo: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
