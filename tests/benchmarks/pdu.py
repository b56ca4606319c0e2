# SPDX-License-Identifier: LGPL-3.0-or-later
"""
One PDU there and back: four bytes of length and 128 bytes of body over TCP on the loopback interface.

Client and server run in one process and one loop, so the CPU time is that of both ends.
Each way is what a user of it would write: requests, ``_recv``, `TALLOC_FREE` and a next_vector function here; readers
and writers, or a protocol that does its own buffering, in asyncio; tasks in Trio; the receiver for just this framing
that Twisted brings along.
The loop around a bare epoll object shows how much of it all is Python's and the kernel's.

With 8,000 connections 80 of them are active; the others wait for a PDU, at both ends.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable
from functools import partial

from connections import sockets
from harness import Cost, Group, Stopwatch, main, per_item, spread

BODY = bytes(range(128))
PDU = len(BODY).to_bytes(4, "big") + BODY
WARM_UP = 1000


def some(ends: list, active: int) -> list:
    """*active* of them, evenly spread."""
    return ends[:: len(ends) // active]


# -- tsocket ----------------------------------------------------------------------------------------------------------


def plain_streams(top, ev, connections: int) -> list:
    """A stream for each end: client, server."""
    from tsocket import tstream_bsd_existing_socket

    return [tuple(tstream_bsd_existing_socket(top, sock.detach())[1] for sock in pair) for pair in sockets(connections)]


def tsocket_unit(count: int, connections: int, active: int, streams: Callable = plain_streams) -> Cost:
    """Requests: `tstream_readv_pdu_queue_send` and `tstream_writev_queue_send` at both ends."""
    from talloc_py import TALLOC_CTX, TALLOC_FREE, talloc_new, talloc_steal, talloc_zero
    from tevent import (
        tevent_context_init,
        tevent_queue_create,
        tevent_req_callback_data,
        tevent_req_create,
        tevent_req_done,
        tevent_req_poll,
        tevent_req_set_callback,
    )
    from tsocket import (
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
        left: int

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
        nonlocal busy
        conn = tevent_req_callback_data(req, connection)
        ret, err = tstream_readv_pdu_queue_recv(req)
        TALLOC_FREE(req)
        if ret == -1:
            raise OSError(err, "read")
        header, body = conn.header, conn.body
        read_pdu(conn)
        if conn.is_client:
            conn.left -= 1
            if not conn.left:
                busy -= 1
                if not busy:
                    tevent_req_done(all_done)
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
        nonlocal all_done, busy
        busy = active
        all_done, _ = tevent_req_create(top, connection)
        for conn in talkers:
            conn.left = total // active
            write_pdu(conn, [PDU[:4], BODY])
        assert tevent_req_poll(all_done, ev)
        TALLOC_FREE(all_done)

    all_done = None
    busy = 0
    top = talloc_new(None)
    ev = tevent_context_init(top)
    clients = []
    for pair in streams(top, ev, connections):
        for stream in pair:
            conn = talloc_zero(top, connection)
            conn.stream = talloc_steal(conn, stream)
            conn.read_queue = tevent_queue_create(conn, "read")
            conn.write_queue = tevent_queue_create(conn, "write")
            conn.is_client = stream is pair[0]
            read_pdu(conn)
            if conn.is_client:
                clients.append(conn)
    talkers = some(clients, active)
    run(WARM_UP)
    return per_item(partial(run, count), count)


# -- asyncio and uvloop -----------------------------------------------------------------------------------------------


def run_async(main, *, uvloop: bool):
    """Run the coroutine *main* in a loop of asyncio's or uvloop's."""
    if uvloop:
        from uvloop import new_event_loop
    else:
        from asyncio import new_event_loop
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)


async def plain_readers(connections: int) -> list:
    """A reader and a writer for each end: client, server."""
    return [[await asyncio.open_connection(sock=sock) for sock in pair] for pair in sockets(connections)]


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The server's end of one connection."""
    while True:
        header = await reader.readexactly(4)
        body = await reader.readexactly(int.from_bytes(header, "big"))
        writer.write(header + body)
        await writer.drain()


def streams_unit(
    count: int, connections: int, active: int, uvloop: bool = False, readers: Callable = plain_readers
) -> Cost:
    """`asyncio.StreamReader` and `asyncio.StreamWriter`."""

    async def exchange(reader, writer, times):
        pdu = PDU
        for _ in range(times):
            writer.write(pdu)
            await writer.drain()
            header = await reader.readexactly(4)
            body = await reader.readexactly(int.from_bytes(header, "big"))
            pdu = header + body

    async def measured():
        clients, servers = [], []
        for client, server in await readers(connections):
            clients.append(client)
            servers.append(asyncio.ensure_future(serve(*server)))
        # Those that do not take part wait for a PDU, as the others do before and after.
        talkers = some(clients, active)
        idle = [client for client in clients if client not in talkers]
        waiting = [asyncio.ensure_future(reader.readexactly(4)) for reader, _ in idle]

        async def run(total):
            await asyncio.gather(*[exchange(*client, total // active) for client in talkers])

        await run(WARM_UP)
        watch = Stopwatch()
        await run(count)
        result = watch.cost(count)
        for task in servers + waiting:
            task.cancel()
        return result

    return run_async(measured(), uvloop=uvloop)


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

    def pdu_received(self, pdu: bytes) -> None:
        raise NotImplementedError


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


async def plain_protocols(client: Callable, server: Callable, connections: int) -> list:
    """A protocol for each end: client, server."""
    connect = asyncio.get_running_loop().create_connection
    return [
        [(await connect(kind, sock=sock))[1] for kind, sock in zip((client, server), pair, strict=True)]
        for pair in sockets(connections)
    ]


def protocol_unit(
    count: int, connections: int, active: int, uvloop: bool = False, protocols: Callable = plain_protocols
) -> Cost:
    """`asyncio.Protocol`, where the user does the buffering."""

    async def measured():
        loop = asyncio.get_running_loop()
        clients = [client for client, _ in await protocols(Client, Echo, connections)]
        talkers = some(clients, active)

        async def run(total):
            for client in talkers:
                client.left = total // active
                client.done = loop.create_future()
                client.transport.write(PDU)
            await asyncio.gather(*[client.done for client in talkers])

        await run(WARM_UP)
        watch = Stopwatch()
        await run(count)
        return watch.cost(count)

    return run_async(measured(), uvloop=uvloop)


# -- Trio -------------------------------------------------------------------------------------------------------------


class TrioReader:
    """What asyncio's reader does, for a stream of Trio's: it leaves exact lengths to its users."""

    def __init__(self, stream) -> None:
        self.stream = stream
        self.buffer = bytearray()

    async def read_exactly(self, size: int) -> bytes:
        buffer = self.buffer
        while len(buffer) < size:
            data = await self.stream.receive_some()
            if not data:
                raise EOFError
            buffer += data
        data = bytes(buffer[:size])
        del buffer[:size]
        return data


async def trio_serve(stream) -> None:
    """The server's end of one connection."""
    reader = TrioReader(stream)
    while True:
        header = await reader.read_exactly(4)
        body = await reader.read_exactly(int.from_bytes(header, "big"))
        await stream.send_all(header + body)


async def trio_streams(connections: int) -> list:
    """A stream for each end: client, server."""
    import trio

    return [[trio.SocketStream(trio.socket.from_stdlib_socket(sock)) for sock in pair] for pair in sockets(connections)]


def trio_unit(count: int, connections: int, active: int, streams: Callable = trio_streams) -> Cost:
    """`trio.SocketStream`, a task for each end."""
    import trio

    async def exchange(stream, reader, times):
        pdu = PDU
        for _ in range(times):
            await stream.send_all(pdu)
            header = await reader.read_exactly(4)
            body = await reader.read_exactly(int.from_bytes(header, "big"))
            pdu = header + body

    async def measured():
        clients = []
        async with trio.open_nursery() as nursery:
            for client, server in await streams(connections):
                clients.append((client, TrioReader(client)))
                nursery.start_soon(trio_serve, server)
            talkers = some(clients, active)
            for client in clients:
                if client not in talkers:
                    nursery.start_soon(client[1].read_exactly, 4)

            async def run(total):
                async with trio.open_nursery() as group:
                    for client in talkers:
                        group.start_soon(exchange, *client, total // active)

            await run(WARM_UP)
            watch = Stopwatch()
            await run(count)
            result = watch.cost(count)
            nursery.cancel_scope.cancel()
        return result

    return trio.run(measured)


# -- Twisted ----------------------------------------------------------------------------------------------------------


def adopt(reactor, sock: socket.socket, protocol, wrap: Callable = lambda factory: factory) -> None:
    """Give *sock* to Twisted, with *protocol* to serve it, whose factory is wrapped."""
    from twisted.internet.protocol import Factory

    reactor.adoptStreamConnection(sock.fileno(), sock.family, wrap(Factory.forProtocol(lambda: protocol)))
    sock.close()


def adopt_pair(reactor, pair: tuple[socket.socket, socket.socket], client, server) -> None:
    """Give both ends of a connection to Twisted."""
    adopt(reactor, pair[0], client)
    adopt(reactor, pair[1], server)


def twisted_unit(count: int, connections: int, active: int, adopt_pair: Callable = adopt_pair) -> Cost:
    """`twisted.protocols.basic.Int32StringReceiver`, which knows this framing."""
    from twisted.internet import reactor
    from twisted.protocols.basic import Int32StringReceiver

    class TwistedEcho(Int32StringReceiver):
        def stringReceived(self, string):
            self.sendString(string)

    class TwistedClient(Int32StringReceiver):
        def stringReceived(self, string):
            nonlocal busy
            self.left -= 1
            if self.left:
                self.sendString(string)
                return
            busy -= 1
            if not busy:
                following.pop()()

    def run(total):
        nonlocal busy
        busy = active
        for client in talkers:
            client.left = total // active
            client.sendString(BODY)

    def warm():
        nonlocal watch
        watch = Stopwatch()
        run(count)

    def measured():
        nonlocal result
        result = watch.cost(count)
        reactor.stop()

    busy = 0
    watch = result = None
    following = [measured, warm]
    clients = []
    for pair in sockets(connections):
        clients.append(TwistedClient())
        adopt_pair(reactor, pair, clients[-1], TwistedEcho())
    talkers = some(clients, active)
    reactor.callWhenRunning(run, WARM_UP)
    reactor.run()
    assert result is not None
    return result


# -- a loop by hand ---------------------------------------------------------------------------------------------------


def epoll_unit(count: int, connections: int, active: int) -> Cost:
    """The least that Python can do: recv, parse, send, one epoll object."""
    poll = select.epoll()
    ends: dict[int, tuple[socket.socket, bytearray, bool]] = {}
    clients = []
    for client, server in sockets(connections):
        for sock in (client, server):
            ends[sock.fileno()] = (sock, bytearray(), sock is client)
            poll.register(sock.fileno(), select.EPOLLIN)
        clients.append(client)
    talkers = some(clients, active)

    def run(total):
        left = dict.fromkeys((client.fileno() for client in talkers), total // active)
        for client in talkers:
            client.send(PDU)
        while left:
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
                        left[fd] -= 1
                        if not left[fd]:
                            del left[fd]
                            continue
                    sock.send(pdu)

    run(WARM_UP)
    return per_item(partial(run, count), count)


def units(connections: int, active: int) -> dict:
    """Everyone's, for so many connections."""
    peers = {
        "tsocket": partial(tsocket_unit, connections=connections, active=active),
        "asyncio streams": partial(streams_unit, connections=connections, active=active),
        "asyncio Protocol": partial(protocol_unit, connections=connections, active=active),
        "uvloop streams": partial(streams_unit, connections=connections, active=active, uvloop=True),
        "uvloop Protocol": partial(protocol_unit, connections=connections, active=active, uvloop=True),
        "Trio": partial(trio_unit, connections=connections, active=active),
        "Twisted": partial(twisted_unit, connections=connections, active=active),
        "epoll by hand": partial(epoll_unit, connections=connections, active=active),
        "C libraries": ["pdu", str(connections), str(active)],
    }
    return spread(peers, 20_000, f", {connections}")


GROUPS = [
    Group(
        f"PDU round trip, {'1 connection' if connections == 1 else f'{connections} connections'}"
        + (f", {active} active" if active != connections else ""),
        "µs of CPU a round trip",
        f"asyncio streams, {connections}",
        units(connections, active),
    )
    for connections, active in ((1, 1), (100, 100), (8000, 80))
]

# The way of those with 8,000, where it only has to be seen to work.
FEW = units(20, 4)

if __name__ == "__main__":
    main(__file__, __doc__, GROUPS, FEW)
