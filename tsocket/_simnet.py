# SPDX-License-Identifier: LGPL-3.0-or-later
"""
A simulated network: streams, datagram sockets, listeners and addresses in a world with its own time.

    with simulation(seed) as world:
        net = network(world, link=link(latency_us=5000, cut=True))
        ev = world.context()
        one, two = net.stream_pair(world.top)

Code under test needs no change: what it is given are a `tstream_context` and a `tdgram_context` like any other.  Code
that connects by itself needs none either: while a network is there, `tstream_inet_tcp_connect_send`,
`tstream_unix_connect_send`, `tdgram_inet_udp_socket` and their like reach it instead of the system's.

What goes wrong is decided by the properties of a `link`, by a plan of `fault` and `outage`, by the faults of the world,
and by calls in the middle of a test (`network.partition`).

Prior art: the virtual networks of `trio.testing` and of ns-3.  What differs: nothing in the network is a task; its
state is a function of the clock, and whatever could happen in another way is a choice of the world.

Cost: an operation is O(number of sockets that wait); a piece of a stream is copied twice.
"""

from __future__ import annotations

from errno import errorcode

from talloc_py import TALLOC_CTX, talloc_free, talloc_set_destructor, talloc_zero

from . import _simnet_plan
from ._simnet_connect import listener, take_over
from ._simnet_dgram import dgram_end, new_dgram
from ._simnet_plan import fault, link, outage
from ._simnet_stream import new_stream, stream_ends
from ._simnet_way import way
from ._sys import AF_INET, AF_INET6, AF_UNIX
from .address import sockaddr, tsocket_address
from .bsd_address import bsd_address_abort, tsocket_address_inet_from_strings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    from tevent import tevent_context
    from tevent.testing import simulation

    from ._simnet_stream import stream_end
    from .dgram import tdgram_context
    from .stream import tstream_context

    T = TypeVar("T", tstream_context, tdgram_context)
    E = TypeVar("E", stream_end, dgram_end)

__all__ = ["listening", "network"]

_FIRST_PORT = 49152


class listening(TALLOC_CTX):
    """
    What `network.listen` returns; freeing it ends the listening.

    Attributes:
        accepted: How many connections there were.
    """

    __slots__ = ("_listener",)

    _listener: listener

    @property
    def accepted(self) -> int:
        """How many connections there were."""
        return self._listener.accepted


class _anchor(TALLOC_CTX):
    """Below the world's own chunk: the network ends with the world."""

    __slots__ = ("undo",)

    undo: Callable[[], None]


class network:
    """
    The network of a world; it ends with the world.

    Args:
        world: The world, which must be active. It has one network at most.

        link: How everything travels, unless `set_link` says otherwise for two hosts.

        faults: What goes wrong: `fault` and `outage` objects, in any order.

        home: The address of the host on which sockets are that are bound to no address; the first for IPv4, the second
            for IPv6. A peer on 127.0.0.1 or ::1 is reached from itself.

    Beside the plan, every operation asks the world (`simulation.fault`), whose answer may be an errno or a `fault`.

    Attributes:
        sockets: What is open: a description for each socket.
    """

    def __init__(
        self,
        world: simulation,
        *,
        link: _simnet_plan.link = link(),  # noqa: B008  # immutable
        faults: Iterable[fault | outage] = (),
        home: tuple[str, str] = ("10.0.0.1", "fd00::1"),
    ) -> None:
        self.world: simulation = world
        self.default_link: _simnet_plan.link = link
        self.home: tuple[str, str] = home
        plan = tuple(faults)
        self.faults: tuple[fault, ...] = tuple(each for each in plan if isinstance(each, fault))
        #: Begin, end and what they are, of all outages; an end of None is still to come.
        self.outages: list[tuple[int, int | None, outage]] = [
            (each.start_us, None if each.length_us is None else each.start_us + each.length_us, each)
            for each in plan
            if isinstance(each, outage)
        ]
        self.sockets: dict[object, str] = {}
        self.listeners: dict[sockaddr, listener] = {}
        self._links: list[tuple[str, str, _simnet_plan.link]] = []
        self._counts: dict[tuple[str, str], int] = {}
        self._serial: int = 0
        self._ports: int = _FIRST_PORT
        anchor = talloc_zero(world.top, _anchor)
        assert anchor is not None
        anchor.undo = take_over(self)
        talloc_set_destructor(anchor, _undo)

    def __repr__(self) -> str:
        return f"<network {self.default_link!r}, {len(self.sockets)} sockets>"

    # -- making sockets -----------------------------------------------------------------------------------------------

    def stream_pair(
        self, mem_ctx: TALLOC_CTX | None, one: str = "a", two: str = "b"
    ) -> tuple[tstream_context, tstream_context]:
        """
        Two streams that are connected.

        Args:
            mem_ctx: The owner of both; each may be moved.

            one: The name of the first one, and of the host that it is on.

            two: Those of the second one.
        """
        first, second = stream_ends(self, self.way_between(one, two), one, two)
        return _both(new_stream, mem_ctx, first, second)

    def dgram_pair(
        self, mem_ctx: TALLOC_CTX | None, one: str = "a", two: str = "b", *, unix: bool = False
    ) -> tuple[tdgram_context, tdgram_context]:
        """
        Two datagram sockets that are connected to each other.

        Args:
            mem_ctx: The owner of both.

            one: The name of the first one, for the plan and the story.

            two: That of the second one.

            unix: Unix sockets, which lose nothing; otherwise they are UDP, the first at home, the second one elsewhere.
        """
        if unix:
            addresses = [sockaddr(AF_UNIX, f"/simulated/{name}.{self.next_serial()}") for name in (one, two)]
        else:
            addresses = [sockaddr(AF_INET, (host, self.next_port())) for host in (self.home[0], "10.0.0.2")]
        ends = dgram_end(self, one, addresses[0], addresses[1]), dgram_end(self, two, addresses[1], addresses[0])
        return _both(new_dgram, mem_ctx, *ends)

    def listen(
        self,
        mem_ctx: TALLOC_CTX | None,
        ev: tevent_context,
        address: tsocket_address,
        serve: Callable[[tstream_context], object],
        name: str = "",
    ) -> listening:
        """
        Wait for connections.

        Args:
            mem_ctx: The owner of the result, and of the streams at first.

            ev: The context whose loop tells of them.

            address: Where to, an internet or unix address; host 0.0.0.0 or :: is every host.

            serve: Called with each stream, from the loop.

            name: What the plan and the story call it; the address if empty. Its streams are called ``"NAME 0"``,
                ``"NAME 1"`` ..., their other ends ``"to NAME 0"`` ...

        Raises:
            ValueError: Somebody listens there already.
        """
        found = bsd_address_abort(address)
        assert found is not None
        where = found.sockaddr()
        if where in self.listeners:
            raise ValueError(f"somebody listens on {self.text(where)} already")
        handle = talloc_zero(mem_ctx, listening)
        assert handle is not None
        handle._listener = listener(self, handle, ev, where, serve, name or self.text(where))
        talloc_set_destructor(handle, _stop_listening)
        return handle

    def address(self, mem_ctx: TALLOC_CTX | None, host: str, port: int) -> tsocket_address:
        """An internet address; ValueError where *host* is not the text of one."""
        ret, found = tsocket_address_inet_from_strings(mem_ctx, "ip", host, port)
        if ret != 0 or found is None:
            raise ValueError(f"{host!r}, port {port} is no address")
        return found

    # -- what happens to it -------------------------------------------------------------------------------------------

    def set_link(self, one: str, two: str, properties: _simnet_plan.link) -> None:
        """Give the way between two hosts properties of its own; for sockets that are made afterwards."""
        self._links.insert(0, (one, two, properties))

    def partition(self, one: str, two: str = "*") -> None:
        """Nothing gets from host *one* to host *two* any more, nor back, until `heal`."""
        self.world.tell(f"{one} and {two} are cut off from each other")
        self.outages.append((self.world.elapsed_us, None, outage(one, two)))
        self._changed()

    def heal(self) -> None:
        """All ways are free again; what streams have sent meanwhile arrives now."""
        now = self.world.elapsed_us
        self.world.tell("the network is healed")
        self.outages[:] = [
            (begin, now if end is None or begin <= now < end else end, plan) for begin, end, plan in self.outages
        ]
        self._changed()

    def _changed(self) -> None:
        for each in list(self.sockets):
            each.arm()  # type: ignore[attr-defined]  # every socket has it

    # -- for sockets --------------------------------------------------------------------------------------------------

    def opened(self, socket: object, what: str) -> None:
        """A socket is there from now on."""
        self.sockets[socket] = what

    def closed(self, socket: object) -> bool:
        """A socket is gone; whether it was there."""
        return self.sockets.pop(socket, None) is not None

    def next_serial(self) -> int:
        """A number that nothing else in the network has."""
        self._serial += 1
        return self._serial

    def next_port(self) -> int:
        """A port that nobody has asked for."""
        self._ports += 1
        return self._ports - 1

    def count(self, name: str, what: str) -> int:
        """How often *what* was counted before at *name*; this counts too."""
        number = self._counts.get((name, what), 0)
        self._counts[name, what] = number + 1
        return number

    def ask(self, name: str, what: str, owner: TALLOC_CTX | None, *, fails: bool = True) -> fault | None:
        """
        What goes wrong with the *what* that the socket called *name* does now; the world is asked first.

        Args:
            name: The name of the socket.

            what: As for a `fault`.

            owner: Whose operation it is. What belongs to the world, such as a server that a test has put there, is not
                among what a sweep lets fail.

            fails: Whether an errno is something that it can fail with.
        """
        number = self.count(name, what)
        ours = owner is None or not self.world.owns(owner)
        answer = self.world.fault(f"{name}: {what}", fails=fails and ours)
        if isinstance(answer, fault):
            return answer
        if isinstance(answer, int):
            return fault(name, what, number, error=errorcode[answer])
        if answer is not None:
            raise TypeError(f"the world's plan for {name}: {what} is {answer!r}; the network knows errnos and faults")
        for each in self.faults:
            if each.what == what and each.nth == number and each.matches(name):
                self.happened(each)
                return each
        return None

    def faults_of(self, name: str, what: str) -> list[fault]:
        """The faults of the plan that concern *what* at *name*."""
        return [each for each in self.faults if each.what == what and each.matches(name)]

    def happened(self, plan: fault) -> None:
        """A fault of the plan has its effect now."""
        self.world.tell(f"as planned: {plan!r}")

    def way_between(self, one: str, two: str) -> way:
        """The way between two hosts."""
        for each in self._links:
            if outage(*each[:2]).concerns(one, two):
                return way(self, one, two, each[2])
        return way(self, one, two, self.default_link)

    # -- addresses ----------------------------------------------------------------------------------------------------

    def host_of(self, address: sockaddr) -> str:
        """The host of an address; all unix sockets are on one."""
        return "local" if address.sa_family == AF_UNIX else str(address.address[0])

    def text(self, address: sockaddr) -> str:
        """An address for the story."""
        if address.sa_family == AF_UNIX:
            return str(address.address)
        host, port = address.address[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def listener_at(self, address: sockaddr) -> listener | None:
        """Who listens there."""
        return self.listeners.get(address) or self.listeners.get(_anywhere(address))

    def dgram_at(self, address: sockaddr | None) -> dgram_end | None:
        """The datagram socket that is bound to *address*."""
        for each in self.sockets:
            if isinstance(each, dgram_end) and each.address == address:
                return each
        return None


def _both(
    make: Callable[[TALLOC_CTX | None, E], T | None], mem_ctx: TALLOC_CTX | None, first: E, second: E
) -> tuple[T, T]:
    """Both ends as contexts of *mem_ctx*; MemoryError, and neither, where a limit forbids one."""
    one = make(mem_ctx, first)
    two = None if one is None else make(mem_ctx, second)
    if one is not None and two is not None:
        return one, two
    if one is None:
        first.close()
    else:
        talloc_free(one)
    second.close()
    raise MemoryError("a memory limit forbids the socket")


def _anywhere(address: sockaddr) -> sockaddr:
    """The same port on every host."""
    if address.sa_family == AF_INET:
        return sockaddr(AF_INET, ("0.0.0.0", address.address[1]))
    if address.sa_family == AF_INET6:
        return sockaddr(AF_INET6, ("::", *address.address[1:]))
    return address


def _undo(anchor: _anchor) -> int:
    anchor.undo()
    return 0


def _stop_listening(handle: listening) -> int:
    handle._listener.close()
    return 0
