# SPDX-License-Identifier: LGPL-3.0-or-later
"""
One PDU there and back: four bytes of length and 128 bytes of body over TCP on the loopback interface.

Client and server run in one process and one loop, so the CPU time is that of both ends.  The stream code is what a user
would write: callbacks, ``_recv``, `TALLOC_FREE`, a next_vector function; the asyncio code is what a user of its streams
or protocols would write.  The loop around a bare epoll object shows how much of it all is Python's and the kernel's.
"""

from __future__ import annotations

import asyncio
import select
import socket
import time

from harness import main, per_item

BODY = bytes(range(128))
PDU = len(BODY).to_bytes(4, "big") + BODY
WARM_UP = 1000


def sockets(connections: int) -> list[tuple[socket.socket, socket.socket]]:
    """Connected pairs of TCP sockets."""
    pairs = []
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        for _ in range(connections):
            client = socket.create_connection(listener.getsockname())
            server, _ = listener.accept()
            for sock in (client, server):
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pairs.append((client, server))
    return pairs


# -- tsocket ----------------------------------------------------------------------------------------------------------


def tsocket_unit(count: int, connections: int) -> float:
    """Requests: `tstream_readv_pdu_queue_send` and `tstream_writev_queue_send` at both ends."""
    from talloc_py import TALLOC_CTX, TALLOC_FREE, talloc_new, talloc_zero
    from tevent import (
        tevent_context_init,
        tevent_loop_once,
        tevent_queue_create,
        tevent_req_callback_data,
        tevent_req_set_callback,
    )
    from tsocket import (
        tstream_bsd_existing_socket,
        tstream_readv_pdu_queue_recv,
        tstream_readv_pdu_queue_send,
        tstream_writev_queue_recv,
        tstream_writev_queue_send,
    )

    class connection(TALLOC_CTX):
        """One end of a connection, and the PDU that it reads."""

        header: bytearray
        body: bytearray | None
        is_client: bool

    def next_vector(stream, conn, mem_ctx):
        if conn.header is None:
            conn.header = bytearray(4)
            return 0, [conn.header]
        if conn.body is None:
            conn.body = bytearray(int.from_bytes(conn.header, "big"))
            return 0, [conn.body]
        return 0, None

    def read_pdu(conn):
        conn.header = conn.body = None
        req = tstream_readv_pdu_queue_send(conn, ev, conn.stream, conn.read_queue, next_vector, conn)
        tevent_req_set_callback(req, pdu_read, conn)

    def pdu_read(req):
        nonlocal left
        conn = tevent_req_callback_data(req, connection)
        ret, err = tstream_readv_pdu_queue_recv(req)
        TALLOC_FREE(req)
        if ret == -1:
            raise OSError(err, "read")
        header, body = conn.header, conn.body
        read_pdu(conn)
        if conn.is_client:
            left -= 1
            if left <= 0:
                return
        write_pdu(conn, [header, body])

    def write_pdu(conn, vector):
        req = tstream_writev_queue_send(conn, ev, conn.stream, conn.write_queue, vector)
        tevent_req_set_callback(req, pdu_written, conn)

    def pdu_written(req):
        ret, err = tstream_writev_queue_recv(req)
        TALLOC_FREE(req)
        if ret == -1:
            raise OSError(err, "write")

    def run(total):
        nonlocal left
        left = total
        for conn in clients:
            write_pdu(conn, [PDU[:4], BODY])
        while left > 0:
            tevent_loop_once(ev)
        # What is still under way belongs to this run.
        for _ in range(6 * connections):
            tevent_loop_once(ev) if ev.immediate_events else None

    left = 0
    top = talloc_new(None)
    ev = tevent_context_init(top)
    clients = []
    for pair in sockets(connections):
        for sock in pair:
            conn = talloc_zero(top, connection)
            _, conn.stream = tstream_bsd_existing_socket(conn, sock.detach())
            conn.read_queue = tevent_queue_create(conn, "read")
            conn.write_queue = tevent_queue_create(conn, "write")
            conn.is_client = sock is pair[0]
            read_pdu(conn)
            if conn.is_client:
                clients.append(conn)
    run(WARM_UP)
    result = per_item(lambda: run(count), count)
    TALLOC_FREE(top)
    return result


# -- asyncio ----------------------------------------------------------------------------------------------------------


def asyncio_streams(count: int, connections: int) -> float:
    """`asyncio.StreamReader` and `asyncio.StreamWriter`."""

    async def serve(reader, writer):
        while True:
            header = await reader.readexactly(4)
            body = await reader.readexactly(int.from_bytes(header, "big"))
            writer.write(header + body)

    async def exchange(reader, writer, times):
        for _ in range(times):
            writer.write(PDU)
            header = await reader.readexactly(4)
            await reader.readexactly(int.from_bytes(header, "big"))

    async def run():
        clients, servers, writers = [], [], []
        for client, server in sockets(connections):
            clients.append(await asyncio.open_connection(sock=client))
            reader, writer = await asyncio.open_connection(sock=server)
            writers += [writer, clients[-1][1]]
            servers.append(asyncio.ensure_future(serve(reader, writer)))

        async def rounds(total):
            await asyncio.gather(*[exchange(*client, total // connections) for client in clients])

        await rounds(WARM_UP)
        begin = time.process_time()
        await rounds(count)
        result = (time.process_time() - begin) / count * 1e6
        for task in servers:
            task.cancel()
        for writer in writers:
            writer.close()
        await asyncio.gather(*servers, return_exceptions=True)
        return result

    return asyncio.run(run())


class Framed(asyncio.Protocol):
    """A protocol that cuts what it receives into PDUs."""

    def __init__(self) -> None:
        self.buffer = bytearray()

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        buffer = self.buffer
        buffer += data
        while len(buffer) >= 4:
            end = 4 + int.from_bytes(buffer[:4], "big")
            if len(buffer) < end:
                break
            pdu = bytes(buffer[:end])
            del buffer[:end]
            self.pdu_received(pdu)


class Echo(Framed):
    def pdu_received(self, pdu: bytes) -> None:
        self.transport.write(pdu)


class Client(Framed):
    def pdu_received(self, pdu: bytes) -> None:
        self.left -= 1
        if self.left:
            self.transport.write(pdu)
        else:
            self.done.set_result(None)


def asyncio_protocol(count: int, connections: int) -> float:
    """`asyncio.Protocol`, where the user does the buffering."""

    async def run():
        loop = asyncio.get_running_loop()
        clients = []
        transports = []
        for client, server in sockets(connections):
            one, protocol = await loop.create_connection(Client, sock=client)
            two, _ = await loop.create_connection(Echo, sock=server)
            clients.append(protocol)
            transports += [one, two]

        async def rounds(total):
            for client in clients:
                client.left = total // connections
                client.done = loop.create_future()
                client.transport.write(PDU)
            await asyncio.gather(*[client.done for client in clients])

        await rounds(WARM_UP)
        begin = time.process_time()
        await rounds(count)
        result = (time.process_time() - begin) / count * 1e6
        for transport in transports:
            transport.close()
        await asyncio.sleep(0)
        return result

    return asyncio.run(run())


# -- a loop by hand ---------------------------------------------------------------------------------------------------


def epoll_unit(count: int, connections: int) -> float:
    """The least that Python can do: recv, parse, send, one epoll object."""
    poll = select.epoll()
    ends: dict[int, tuple[socket.socket, bytearray, bool]] = {}
    clients = []
    for client, server in sockets(connections):
        for sock in (client, server):
            ends[sock.fileno()] = (sock, bytearray(), sock is client)
            poll.register(sock.fileno(), select.EPOLLIN)
        clients.append(client)

    def run(total):
        left = total
        for client in clients:
            client.send(PDU)
        while left > 0:
            for fd, _ in poll.poll():
                sock, buffer, is_client = ends[fd]
                buffer += sock.recv(65536)
                while len(buffer) >= 4:
                    end = 4 + int.from_bytes(buffer[:4], "big")
                    if len(buffer) < end:
                        break
                    pdu = bytes(buffer[:end])
                    del buffer[:end]
                    if is_client:
                        left -= 1
                        if left <= 0:
                            continue
                    sock.send(pdu)

    run(WARM_UP)
    result = per_item(lambda: run(count), count)
    poll.close()
    for sock, _, _ in ends.values():
        sock.close()
    return result


def units() -> dict:
    """Every unit for one and for a hundred connections."""
    kinds = {
        "tsocket": tsocket_unit,
        "asyncio streams": asyncio_streams,
        "asyncio protocol": asyncio_protocol,
        "epoll by hand": epoll_unit,
    }
    found = {}
    for connections in (1, 100):
        for name, function in kinds.items():
            found[f"{name}, {connections}"] = (
                lambda count, function=function, connections=connections: function(count, connections),
                20_000,
            )
    return found


if __name__ == "__main__":
    UNITS = units()
    GROUPS = {
        f"PDU round trip, {connections} connection{'s' * (connections > 1)}": (
            f"asyncio streams, {connections}",
            [name for name in UNITS if name.endswith(f", {connections}")],
        )
        for connections in (1, 100)
    }
    main(__file__, __doc__, UNITS, GROUPS)
