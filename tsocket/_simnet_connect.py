# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Connections of a simulated network: who listens, who connects, and how code that knows nothing of it gets there.

`take_over` puts functions of the network in the place of the three through which `tsocket` makes sockets of the system:
what they are called with says whether the network is meant, a simulated event context where there is one.  Datagram
sockets are made without a context; while a network is there all new ones belong to it.
"""

from __future__ import annotations

from collections import deque
from errno import EADDRINUSE, ECONNREFUSED, EINVAL, ENOENT, ENOMEM, ETIMEDOUT

from talloc_py import talloc_parent, talloc_set_destructor
from talloc_py._chunk import caller_outside
from tevent import set_errno, tevent_req_create, tevent_req_data
from tevent._base import main_of

from . import bsd_dgram, connect
from ._simnet_dgram import dgram_end, new_dgram
from ._simnet_op import begin, operation, operation_recv, refused, start
from ._simnet_stream import new_stream, stream_end, stream_ends
from ._sys import AF_INET, AF_INET6, AF_UNIX
from .address import sockaddr
from .bsd_address import bsd_address, bsd_address_abort, tsocket_address_bsd_from_sockaddr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from talloc_py import TALLOC_CTX
    from tevent import tevent_context, tevent_req

    from ._simnet import listening, network
    from .address import tsocket_address
    from .dgram import tdgram_context
    from .stream import tstream_context

__all__ = ["connection", "listener", "take_over"]

# As long as Linux tries to connect.
_PATIENCE_US = 127_000_000
_ANY = {AF_INET: "0.0.0.0", AF_INET6: "::"}
_LOOPBACK = {AF_INET: "127.0.0.1", AF_INET6: "::1"}


class listener:
    """
    A socket that listens, and the connections that wait to be accepted.

    Attributes:
        accepted: How many connections there were.
    """

    __slots__ = ("_address", "_backlog", "_deliveries", "_ev", "_handle", "_serve", "accepted", "name", "net")

    def __init__(
        self,
        net: network,
        handle: listening,
        ev: tevent_context,
        address: sockaddr,
        serve: Callable[[tstream_context], object],
        name: str,
    ) -> None:
        self.net: network = net
        self.name: str = name
        self.accepted: int = 0
        self._handle: listening = handle
        self._ev: tevent_context = ev
        self._address: sockaddr = address
        self._serve: Callable[[tstream_context], object] = serve
        self._backlog: deque[stream_end] = deque()
        self._deliveries: list[Any] = []
        net.listeners[address] = self
        net.opened(self, f"listener {name}")

    def arm(self) -> None:
        """Nothing here waits for the state of the network."""

    def queue(self, end: stream_end) -> None:
        """A connection has come."""
        self._backlog.append(end)
        self._deliveries.append(self.net.world.deliver(self._ev, 0, self._accept, f"{self.name} can accept"))

    def _accept(self) -> None:
        self._deliveries.pop(0)
        end = self._backlog.popleft()
        if self.net.ask(self.name, "accept", self._handle) is not None:
            end.close()
            return
        stream = new_stream(talloc_parent(self._handle), end)
        if stream is None:
            end.close()
            return
        self.accepted += 1
        self._serve(stream)

    def close(self) -> None:
        """Nobody listens any more; who has not been accepted is turned away."""
        self.net.listeners.pop(self._address, None)
        self.net.closed(self)
        for each in self._deliveries:
            each.cancel()
        while self._backlog:
            self._backlog.popleft().close()


class connection:
    """
    A connection in the making.

    Attributes:
        local: The address of this side.

        remote: That of the peer.
    """

    __slots__ = ("_begun_us", "_way", "error", "local", "name", "net", "operations", "remote")

    def __init__(self, net: network, local: sockaddr, remote: sockaddr) -> None:
        self.net: network = net
        self.local: sockaddr = local
        self.remote: sockaddr = remote
        self.error: int = 0
        self.operations: dict[str, operation] = {}
        there = net.listener_at(remote)
        base = f"to {there.name if there else net.text(remote)}"
        self.name: str = f"{base} {net.count(base, 'connections')}"
        self._way = net.way_between(net.host_of(local), net.host_of(remote))
        self._begun_us: int = net.world.elapsed_us
        net.opened(self, f"connection {self.name}")

    def arm(self) -> None:
        """Say when the answer arrives."""
        op = self.operations.get("connect")
        if op is None:
            self.net.closed(self)
            return
        answer_us = self._way.passes(self._begun_us + 2 * self._way.link.latency_us)
        patience_us = self._begun_us + _PATIENCE_US
        op.wait(patience_us if answer_us is None else min(answer_us, patience_us))

    def failed(self, op: operation) -> None:
        """Nothing is left of it."""

    def connect(self, op: operation) -> bool:
        """The answer is there, or will not come."""
        there = self.net.listener_at(self.remote)
        if self.net.world.elapsed_us >= self._begun_us + _PATIENCE_US:
            op.err = ETIMEDOUT
        elif there is None:
            op.err = ENOENT if self.remote.sa_family == AF_UNIX else ECONNREFUSED
        if op.err:
            op.ret = -1
            return True
        assert there is not None
        number = self.net.count(there.name, "connections")
        op.more, other = stream_ends(self.net, self._way, self.name, f"{there.name} {number}")
        there.queue(other)
        return True


def _connect_send(
    net: network, mem_ctx: TALLOC_CTX | None, ev: tevent_context, mine: bsd_address, peer: bsd_address, families: Any
) -> tevent_req | None:
    fixed = mine.family == AF_UNIX or mine.name[:2] != (_ANY[mine.family], 0)
    if mine.family not in families or peer.family not in families or (fixed and mine.family != peer.family):
        return refused(mem_ctx, ev, EINVAL)
    remote = peer.sockaddr()
    socket = connection(net, _local(net, mine.sockaddr(), remote), remote)
    req, op = tevent_req_create(mem_ctx, operation)
    if req is None:
        net.closed(socket)
        return None
    start(op, req, ev, socket, "connect", socket.connect)
    req.created = caller_outside("tsocket", "tevent", "talloc_py")
    talloc_set_destructor(op, _drop)
    return begin(op, False)


def _drop(op: operation) -> int:
    """A connection that nobody has taken is closed."""
    if op.more is not None:
        op.more.close()
    return 0


def _connect_recv(
    req: tevent_req, mem_ctx: TALLOC_CTX | None
) -> tuple[int, int, tstream_context | None, tsocket_address | None]:
    op = tevent_req_data(req, operation)
    stream = address = None
    end: stream_end | None = op.more
    if end is not None and isinstance(op.socket, connection):
        stream = new_stream(mem_ctx, end)
        if stream is not None:
            op.more = None
            _, address = tsocket_address_bsd_from_sockaddr(mem_ctx, op.socket.local)
    ret, err = operation_recv(req)
    if ret == 0 and stream is None:
        ret, err = -1, ENOMEM
    return ret, err, stream, address


def _local(net: network, local: sockaddr, remote: sockaddr) -> sockaddr:
    """The address of a socket that asks for *local* and talks to *remote*."""
    family = remote.sa_family
    if family == AF_UNIX:
        return local
    host, port = local.address[:2] if local.sa_family == family else (_ANY[family], 0)
    if host == _ANY[family]:
        loopback = _LOOPBACK[family]
        host = loopback if remote.address[0] == loopback else net.home[family == AF_INET6]
    return _inet(family, host, port or net.next_port())


def _inet(family: int, host: str, port: int) -> sockaddr:
    return sockaddr(family, (host, port) if family == AF_INET else (host, port, 0, 0))


def _make_socket(
    net: network, families: tuple[int, ...], mine: bsd_address, peer: bsd_address | None, mem_ctx: TALLOC_CTX | None
) -> tuple[int, tdgram_context | None]:
    local, remote = mine.sockaddr(), None if peer is None else peer.sockaddr()
    err = 0
    if mine.family not in families or (remote is not None and remote.sa_family not in families):
        err = EINVAL
    elif mine.family == AF_UNIX:
        local = sockaddr(AF_UNIX, local.address or f"/simulated/{net.next_serial()}")
        if remote is not None and net.dgram_at(remote) is None:
            err = ENOENT
    else:
        local = _local(net, local, remote or local)
    if not err and net.dgram_at(local) is not None:
        err = EADDRINUSE
    plan = None if err else net.ask(net.text(local), "socket", mem_ctx)
    err = err or (0 if plan is None else plan.errno)
    dgram = None if err else new_dgram(mem_ctx, dgram_end(net, net.text(local), local, remote))
    if dgram is None:
        set_errno(err or ENOMEM)
        return -1, None
    return 0, dgram


def take_over(net: network) -> Callable[[], None]:
    """Let *net* make the sockets from now on; what is returned ends that."""
    send, recv, make = connect._connect_send, connect._connect_recv, bsd_dgram._make_socket

    def connect_send(
        mem_ctx: TALLOC_CTX | None, ev: tevent_context, local: Any, remote: Any, families: tuple[int, ...]
    ) -> tevent_req | None:
        main = main_of(ev)
        if main is None or main.additional_data is not net.world:
            return send(mem_ctx, ev, local, remote, families)
        mine, peer = bsd_address_abort(local), bsd_address_abort(remote)
        if mine is None or peer is None:
            return None
        return _connect_send(net, mem_ctx, ev, mine, peer, families)

    def connect_recv(req: tevent_req, mem_ctx: TALLOC_CTX | None) -> Any:
        if isinstance(req.data, operation):
            return _connect_recv(req, mem_ctx)
        return recv(req, mem_ctx)

    def make_socket(families: tuple[int, ...], local: Any, remote: Any, _broadcast: bool, mem_ctx: Any) -> Any:
        mine, peer = bsd_address_abort(local), None if remote is None else bsd_address_abort(remote)
        if mine is None or (remote is not None and peer is None):
            set_errno(EINVAL)
            return -1, None
        return _make_socket(net, families, mine, peer, mem_ctx)

    def put(functions: tuple[Any, Any, Any]) -> None:
        connect._connect_send, connect._connect_recv, bsd_dgram._make_socket = functions

    put((connect_send, connect_recv, make_socket))
    return lambda: put((send, recv, make))
