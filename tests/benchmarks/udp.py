# SPDX-License-Identifier: LGPL-3.0-or-later
"""
One datagram of 132 bytes there and back on the loopback interface, both ends in one process and one loop.

The client's socket is connected; the server's is not: it answers to the address that a datagram came from.
"""

from __future__ import annotations

import asyncio
import select
import socket
from functools import partial

from harness import Cost, Group, Stopwatch, main, per_item, spread
from pdu import run_async

DATA = bytes(range(132))
WARM_UP = 1000


def datagram_sockets() -> tuple[socket.socket, socket.socket]:
    """The server's, and the client's that is connected to it."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect(server.getsockname())
    server.setblocking(False)
    client.setblocking(False)
    return server, client


def tsocket_unit(count: int) -> Cost:
    """`tdgram_recvfrom_send` and `tdgram_sendto_send`."""
    from talloc_py import TALLOC_CTX, TALLOC_FREE, talloc_new, talloc_zero
    from tevent import (
        tevent_context_init,
        tevent_req_callback_data,
        tevent_req_create,
        tevent_req_done,
        tevent_req_poll,
        tevent_req_set_callback,
    )
    from tsocket import (
        tdgram_bsd_existing_socket,
        tdgram_recvfrom_recv,
        tdgram_recvfrom_send,
        tdgram_sendto_recv,
        tdgram_sendto_send,
    )

    class end(TALLOC_CTX):
        """One end, and the datagram that it handles."""

        buf: bytearray
        src: object
        is_client: bool

    def receive(me):
        req = tdgram_recvfrom_send(me, ev, me.dgram)
        tevent_req_set_callback(req, received, me)

    def received(req):
        nonlocal left
        me = tevent_req_callback_data(req, end)
        ret, err, buf, src = tdgram_recvfrom_recv(req, me)
        TALLOC_FREE(req)
        if ret == -1:
            raise OSError(err, "receive")
        receive(me)
        if me.is_client:
            TALLOC_FREE(buf)
            TALLOC_FREE(src)
            left -= 1
            if left:
                send(me, DATA, None)
            else:
                tevent_req_done(all_done)
            return
        me.buf = buf
        me.src = src
        send(me, buf, src)

    def send(me, buf, dst):
        req = tdgram_sendto_send(me, ev, me.dgram, buf, dst)
        tevent_req_set_callback(req, sent, me)

    def sent(req):
        me = tevent_req_callback_data(req, end)
        ret, err = tdgram_sendto_recv(req)
        TALLOC_FREE(req)
        if ret == -1:
            raise OSError(err, "send")
        if not me.is_client:
            me.buf = TALLOC_FREE(me.buf)
            me.src = TALLOC_FREE(me.src)

    def run(total):
        nonlocal all_done, left
        left = total
        all_done, _ = tevent_req_create(top, end)
        send(client, DATA, None)
        assert tevent_req_poll(all_done, ev)
        TALLOC_FREE(all_done)

    all_done = None
    left = 0
    top = talloc_new(None)
    ev = tevent_context_init(top)
    server, client = talloc_zero(top, end), talloc_zero(top, end)
    for me, sock in zip((server, client), datagram_sockets(), strict=True):
        _, me.dgram = tdgram_bsd_existing_socket(me, sock.detach())
    client.is_client = True
    receive(server)
    receive(client)
    run(WARM_UP)
    return per_item(partial(run, count), count)


class Server(asyncio.DatagramProtocol):
    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr) -> None:
        self.transport.sendto(data, addr)


class Client(asyncio.DatagramProtocol):
    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr) -> None:
        self.left -= 1
        if self.left:
            self.transport.sendto(DATA)
        else:
            self.done.set_result(None)


def asyncio_unit(count: int, uvloop: bool = False) -> Cost:
    """`asyncio.DatagramProtocol`."""

    async def measured():
        loop = asyncio.get_running_loop()
        server, _ = await loop.create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
        address = server.get_extra_info("sockname")
        _, client = await loop.create_datagram_endpoint(Client, remote_addr=address)

        async def run(total):
            client.left = total
            client.done = loop.create_future()
            client.transport.sendto(DATA)
            await client.done

        await run(WARM_UP)
        watch = Stopwatch()
        await run(count)
        return watch.cost(count)

    return run_async(measured(), uvloop=uvloop)


def trio_unit(count: int) -> Cost:
    """Trio's sockets, a task for each end."""
    import trio

    async def serve(sock):
        while True:
            data, address = await sock.recvfrom(65536)
            await sock.sendto(data, address)

    async def measured():
        server = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        await server.bind(("127.0.0.1", 0))
        client = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        await client.connect(server.getsockname())

        async def run(total):
            for _ in range(total):
                await client.send(DATA)
                await client.recv(65536)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, server)
            await run(WARM_UP)
            watch = Stopwatch()
            await run(count)
            result = watch.cost(count)
            nursery.cancel_scope.cancel()
        return result

    return trio.run(measured)


def twisted_unit(count: int) -> Cost:
    """`twisted.internet.protocol.DatagramProtocol`."""
    from twisted.internet import reactor
    from twisted.internet.protocol import DatagramProtocol

    class TwistedServer(DatagramProtocol):
        def datagramReceived(self, datagram, addr):
            self.transport.write(datagram, addr)

    class TwistedClient(DatagramProtocol):
        def startProtocol(self):
            self.transport.connect("127.0.0.1", server.getHost().port)
            run(WARM_UP)

        def datagramReceived(self, datagram, addr):
            nonlocal left
            left -= 1
            if left:
                self.transport.write(DATA)
            else:
                following.pop()()

    def run(total):
        nonlocal left
        left = total
        client.transport.write(DATA)

    def warm():
        nonlocal watch
        watch = Stopwatch()
        run(count)

    def measured():
        nonlocal result
        result = watch.cost(count)
        reactor.stop()

    left = 0
    watch = result = None
    following = [measured, warm]
    server = reactor.listenUDP(0, TwistedServer(), interface="127.0.0.1")
    client = TwistedClient()
    reactor.listenUDP(0, client, interface="127.0.0.1")
    reactor.run()
    assert result is not None
    return result


def epoll_unit(count: int) -> Cost:
    """recvfrom and sendto, one epoll object."""
    server, client = datagram_sockets()
    poll = select.epoll()
    for sock in (server, client):
        poll.register(sock, select.EPOLLIN)
    server_fd = server.fileno()

    def run(total):
        left = total
        client.send(DATA)
        while left:
            for fd, _ in poll.poll():
                if fd == server_fd:
                    data, address = server.recvfrom(65536)
                    server.sendto(data, address)
                else:
                    client.recv(65536)
                    left -= 1
                    if left:
                        client.send(DATA)

    run(WARM_UP)
    return per_item(partial(run, count), count)


GROUPS = [
    Group(
        "UDP round trip",
        "µs of CPU a round trip",
        "asyncio Protocol",
        spread(
            {
                "tsocket": tsocket_unit,
                "asyncio Protocol": asyncio_unit,
                "uvloop Protocol": partial(asyncio_unit, uvloop=True),
                "Trio": trio_unit,
                "Twisted": twisted_unit,
                "epoll by hand": epoll_unit,
                "C libraries": ["udp"],
            },
            20_000,
        ),
    )
]

if __name__ == "__main__":
    main(__file__, __doc__, GROUPS)
