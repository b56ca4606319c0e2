# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Memory of a connection that waits for its peer to send a PDU: what the process has grown by, for each of thousands.

Only one end of each connection is served; the other is a bare descriptor. What waits is what `pdu.py` has at the
server's end. Pages in memory are counted, so that those of C count as those of Python do; what the kernel keeps for a
socket is not among them.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import select
from collections.abc import Callable
from functools import partial

from connections import each_pair
from harness import Cost, Group, main, spread
from pdu import Echo, adopt, run_async, serve, trio_serve

WARM_UP = 500


def resident() -> int:
    """The bytes of this process that are in memory."""
    gc.collect()
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


class Growth:
    """How much the process grows from the last of the first to the last of all connections."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.fds = []
        # The objects go before the next ones are made: thousands of them would leave room behind for what is measured.
        for client, server in each_pair(WARM_UP + count):
            client.detach()
            self.fds.append(server.detach())

    def first(self) -> list[int]:
        """The descriptors of those that warm up."""
        return self.take(WARM_UP)

    def others(self) -> list[int]:
        """The descriptors of those that count."""
        self.before = resident()
        return self.take(self.count)

    def take(self, count: int) -> list[int]:
        taken, self.fds = self.fds[:count], self.fds[count:]
        return taken

    def cost(self) -> Cost:
        """Bytes for each connection."""
        return Cost((resident() - self.before) / self.count)


def plain_socket(fd: int):
    """What `socket.accept` would have returned."""
    import socket

    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    return sock


def tsocket_unit(count: int) -> Cost:
    """A structure with a stream and a queue for writes, and a PDU asked for."""
    from talloc_py import TALLOC_CTX, talloc_new, talloc_zero
    from tevent import (
        tevent_add_timer,
        tevent_context_init,
        tevent_loop_once,
        tevent_queue_create,
        tevent_req_set_callback,
        tevent_timeval_current_ofs,
    )
    from tsocket import tstream_bsd_existing_socket, tstream_readv_pdu_send

    class connection(TALLOC_CTX):
        """One end of a connection, and the PDU that it reads."""

        header: bytearray
        body: bytearray | None

    def next_vector(stream, conn, mem_ctx):
        if conn.header is None:
            conn.header = bytearray(4)
            return 0, [conn.header]
        if conn.body is None:
            conn.body = bytearray(int.from_bytes(conn.header, "big"))
            return 0, [conn.body]
        return 0, None

    def pdu_read(req):
        raise AssertionError

    def serve_all(fds):
        for fd in fds:
            conn = talloc_zero(top, connection)
            _, conn.stream = tstream_bsd_existing_socket(conn, fd)
            conn.write_queue = tevent_queue_create(conn, "write")
            req = tstream_readv_pdu_send(conn, ev, conn.stream, next_vector, conn)
            tevent_req_set_callback(req, pdu_read, conn)
        tevent_add_timer(ev, top, tevent_timeval_current_ofs(0, 0), lambda *_: None, None)
        tevent_loop_once(ev)

    growth = Growth(count)
    top = talloc_new(None)
    ev = tevent_context_init(top)
    serve_all(growth.first())
    serve_all(growth.others())
    return growth.cost()


def streams_unit(count: int, uvloop: bool = False) -> Cost:
    """A task that waits for its reader."""

    async def measured():
        tasks = []

        async def serve_all(fds):
            for fd in fds:
                tasks.append(asyncio.ensure_future(serve(*await asyncio.open_connection(sock=plain_socket(fd)))))
            await asyncio.sleep(0.01)

        growth = Growth(count)
        await serve_all(growth.first())
        await serve_all(growth.others())
        result = growth.cost()
        for task in tasks:
            task.cancel()
        return result

    return run_async(measured(), uvloop=uvloop)


def protocol_unit(count: int, uvloop: bool = False) -> Cost:
    """A protocol with its own buffer."""

    async def measured():
        loop = asyncio.get_running_loop()
        kept = []

        async def serve_all(fds):
            for fd in fds:
                kept.append((await loop.create_connection(Echo, sock=plain_socket(fd)))[0])
            await asyncio.sleep(0.01)

        growth = Growth(count)
        await serve_all(growth.first())
        await serve_all(growth.others())
        return growth.cost()

    return run_async(measured(), uvloop=uvloop)


def trio_unit(count: int) -> Cost:
    """A task that waits for its stream."""
    import trio

    async def measured():
        async def serve_all(fds):
            for fd in fds:
                stream = trio.SocketStream(trio.socket.from_stdlib_socket(plain_socket(fd)))
                nursery.start_soon(trio_serve, stream)
            await trio.sleep(0.01)

        async with trio.open_nursery() as nursery:
            growth = Growth(count)
            await serve_all(growth.first())
            await serve_all(growth.others())
            result = growth.cost()
            nursery.cancel_scope.cancel()
        return result

    return trio.run(measured)


def twisted_unit(count: int) -> Cost:
    """A protocol."""
    from twisted.internet import reactor
    from twisted.protocols.basic import Int32StringReceiver

    def serve_all(fds):
        for fd in fds:
            adopt(reactor, plain_socket(fd), Int32StringReceiver())

    def measured():
        nonlocal result
        growth = Growth(count)
        serve_all(growth.first())
        serve_all(growth.others())
        result = growth.cost()
        reactor.stop()

    result = None
    reactor.callWhenRunning(measured)
    reactor.run()
    assert result is not None
    return result


def epoll_unit(count: int) -> Cost:
    """A socket and a buffer."""
    poll = select.epoll()
    ends = {}

    def serve_all(fds):
        for fd in fds:
            ends[fd] = plain_socket(fd), bytearray()
            poll.register(fd, select.EPOLLIN)

    growth = Growth(count)
    serve_all(growth.first())
    serve_all(growth.others())
    return growth.cost()


PEERS: dict[str, Callable[[int], Cost] | list[str]] = {
    "tsocket": tsocket_unit,
    "asyncio streams": streams_unit,
    "asyncio Protocol": protocol_unit,
    "uvloop streams": partial(streams_unit, uvloop=True),
    "uvloop Protocol": partial(protocol_unit, uvloop=True),
    "Trio": trio_unit,
    "Twisted": twisted_unit,
    "epoll by hand": epoll_unit,
    "C libraries": ["memory"],
}
GROUPS = [
    Group("Memory of an idle connection", "bytes", "asyncio streams, idle", spread(PEERS, 6000, ", idle")),
]

if __name__ == "__main__":
    main(__file__, __doc__, GROUPS)
