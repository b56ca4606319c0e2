# SPDX-License-Identifier: LGPL-3.0-or-later
"""
256 MiB in writes of 64 KiB over one TCP connection on the loopback interface, both ends in one process and one loop.

A write begins when the one before has been taken; what that means is up to each: Trio, tsocket and C wait for the
system to take all of it, asyncio and Twisted have a buffer of their own above that.
The other end reads whatever comes, up to 64 KiB at a time; with tsocket and C it reads 64 KiB, as
`tstream_readv_send` does.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from functools import partial

from connections import sockets
from harness import Cost, Group, Stopwatch, main, per_item, spread
from pdu import adopt_pair, plain_protocols, plain_readers, plain_streams, run_async, trio_streams

SIZE = 65536
BLOCK = bytes(range(256)) * (SIZE // 256)
WARM_UP = 256


def tsocket_unit(count: int, streams: Callable = plain_streams) -> Cost:
    """`tstream_writev_send` and `tstream_readv_send`."""
    from talloc_py import TALLOC_CTX, TALLOC_FREE, talloc_new
    from tevent import (
        tevent_context_init,
        tevent_req_create,
        tevent_req_done,
        tevent_req_poll,
        tevent_req_set_callback,
    )
    from tsocket import (
        tstream_readv_recv,
        tstream_readv_send,
        tstream_writev_recv,
        tstream_writev_send,
    )

    def write():
        req = tstream_writev_send(top, ev, client, [BLOCK])
        tevent_req_set_callback(req, written, None)

    def written(req):
        nonlocal to_write
        ret, err = tstream_writev_recv(req)
        TALLOC_FREE(req)
        if ret == -1:
            raise OSError(err, "write")
        to_write -= 1
        if to_write:
            write()

    def read():
        req = tstream_readv_send(top, ev, server, [buffer])
        tevent_req_set_callback(req, was_read, None)

    def was_read(req):
        nonlocal to_read
        ret, err = tstream_readv_recv(req)
        TALLOC_FREE(req)
        if ret == -1:
            raise OSError(err, "read")
        to_read -= 1
        if to_read:
            read()
        else:
            tevent_req_done(all_read)

    def run(total):
        nonlocal all_read, to_read, to_write
        to_read = to_write = total
        all_read, _ = tevent_req_create(top, TALLOC_CTX)
        read()
        write()
        assert tevent_req_poll(all_read, ev)
        TALLOC_FREE(all_read)

    all_read = None
    to_read = to_write = 0
    buffer = bytearray(SIZE)
    top = talloc_new(None)
    ev = tevent_context_init(top)
    [(client, server)] = streams(top, ev, 1)
    run(WARM_UP)
    return per_item(partial(run, count), count)


def streams_unit(count: int, uvloop: bool = False, readers: Callable = plain_readers) -> Cost:
    """`asyncio.StreamWriter` with ``drain()``, and ``read(65536)``."""

    async def send(writer, total):
        for _ in range(total):
            writer.write(BLOCK)
            await writer.drain()

    async def receive(reader, total):
        left = total * SIZE
        while left:
            left -= len(await reader.read(SIZE))

    async def measured():
        [((_, writer), (reader, _keep))] = await readers(1)

        async def run(total):
            await asyncio.gather(send(writer, total), receive(reader, total))

        await run(WARM_UP)
        watch = Stopwatch()
        await run(count)
        return watch.cost(count)

    return run_async(measured(), uvloop=uvloop)


class Source(asyncio.Protocol):
    """Writes while the transport wants more."""

    left = 0
    paused = False

    def connection_made(self, transport) -> None:
        self.transport = transport

    def start(self, total: int) -> None:
        self.left = total
        self.fill()

    def fill(self) -> None:
        while self.left and not self.paused:
            self.left -= 1
            self.transport.write(BLOCK)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.fill()


class Sink(asyncio.BufferedProtocol):
    """Reads into one buffer, again and again."""

    def __init__(self) -> None:
        self.buffer = bytearray(SIZE)

    def start(self, total: int, done: asyncio.Future) -> None:
        self.left = total * SIZE
        self.done = done

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.left -= nbytes
        if not self.left:
            self.done.set_result(None)


def protocol_unit(count: int, uvloop: bool = False, protocols: Callable = plain_protocols) -> Cost:
    """`asyncio.Protocol` to write, `asyncio.BufferedProtocol` to read."""

    async def measured():
        loop = asyncio.get_running_loop()
        [(source, sink)] = await protocols(Source, Sink, 1)

        async def run(total):
            done = loop.create_future()
            sink.start(total, done)
            source.start(total)
            await done

        await run(WARM_UP)
        watch = Stopwatch()
        await run(count)
        return watch.cost(count)

    return run_async(measured(), uvloop=uvloop)


def trio_unit(count: int, streams: Callable = trio_streams) -> Cost:
    """``send_all`` and ``receive_some``."""
    import trio

    async def send(stream, total):
        for _ in range(total):
            await stream.send_all(BLOCK)

    async def receive(stream, total):
        left = total * SIZE
        while left:
            left -= len(await stream.receive_some(SIZE))

    async def measured():
        [(client, server)] = await streams(1)

        async def run(total):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send, client, total)
                nursery.start_soon(receive, server, total)

        await run(WARM_UP)
        watch = Stopwatch()
        await run(count)
        return watch.cost(count)

    return trio.run(measured)


def twisted_unit(count: int, adopt_pair: Callable = adopt_pair) -> Cost:
    """A pull producer: asked for the next block when the last one is gone."""
    from twisted.internet import reactor
    from twisted.internet.interfaces import IPullProducer
    from twisted.internet.protocol import Protocol
    from zope.interface import implementer

    @implementer(IPullProducer)
    class TwistedSource(Protocol):
        def start(self, total):
            self.left = total
            self.transport.registerProducer(self, False)

        def resumeProducing(self):
            self.left -= 1
            self.transport.write(BLOCK)
            if not self.left:
                self.transport.unregisterProducer()

        def stopProducing(self):
            pass

    class TwistedSink(Protocol):
        def dataReceived(self, data):
            nonlocal left
            left -= len(data)
            if not left:
                following.pop()()

    def run(total):
        nonlocal left
        left = total * SIZE
        source.start(total)

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
    [pair] = sockets(1)
    source = TwistedSource()
    adopt_pair(reactor, pair, source, TwistedSink())
    reactor.callWhenRunning(run, WARM_UP)
    reactor.run()
    assert result is not None
    return result


def epoll_unit(count: int) -> Cost:
    """Send while it can be, read into one buffer."""
    [(client, server)] = sockets(1)
    poll = select.epoll()
    poll.register(client, select.EPOLLOUT)
    poll.register(server, select.EPOLLIN)
    buffer = bytearray(SIZE)
    block = memoryview(BLOCK)

    def run(total):
        to_send = total
        to_read = total * SIZE
        rest = block
        poll.modify(client, select.EPOLLOUT)
        while to_read:
            for fd, _ in poll.poll():
                if fd == server.fileno():
                    to_read -= server.recv_into(buffer)
                else:
                    rest = rest[client.send(rest) :]
                    if not rest:
                        to_send -= 1
                        rest = block
                        if not to_send:
                            poll.modify(client, 0)

    run(WARM_UP)
    return per_item(partial(run, count), count)


GROUPS = [
    Group(
        "Bulk, 256 MiB in writes of 64 KiB",
        "µs of CPU a write",
        "asyncio streams",
        spread(
            {
                "tsocket": tsocket_unit,
                "asyncio streams": streams_unit,
                "asyncio Protocol": protocol_unit,
                "uvloop streams": partial(streams_unit, uvloop=True),
                "uvloop Protocol": partial(protocol_unit, uvloop=True),
                "Trio": trio_unit,
                "Twisted": twisted_unit,
                "epoll by hand": epoll_unit,
                "C libraries": ["bulk"],
            },
            (256 << 20) // SIZE,
        ),
    )
]

if __name__ == "__main__":
    main(__file__, __doc__, GROUPS)
