# SPDX-License-Identifier: LGPL-3.0-or-later
"""
One operation on a simulated socket: the request, and the delivery of the world that it waits for.

A socket (`stream_end`, `dgram_end`) has at most one operation of a kind.  Whenever something has changed, the socket
says for each of them when it can go on (`operation.wait`); the delivery that comes then tries it.
"""

from __future__ import annotations

from talloc_py import TALLOC_CTX
from tevent import (
    tevent_req_create,
    tevent_req_data,
    tevent_req_done,
    tevent_req_error,
    tevent_req_post,
    tevent_req_received,
    tevent_req_set_cleanup_fn,
)
from tevent._base import main_of

from .bsd_socket import RETRY
from .stream import tsocket_simple_int_recv

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from tevent import tevent_context, tevent_req, tevent_req_state

    from ._simnet import network

    class Socket(Protocol):
        """A socket of the network."""

        net: network
        name: str
        error: int
        operations: dict[str, operation]

        def arm(self) -> None:
            """Say for each operation when it can go on."""

        def failed(self, op: operation) -> None:
            """An operation has failed with ``op.err``."""


__all__ = ["begin", "operation", "operation_recv", "refused", "start"]

# After an EINTR or the like: not in the same instant, or the clock would stand still for ever.
_AGAIN_US = 1


class operation(TALLOC_CTX):
    """
    The state of a request on a simulated socket.

    Attributes:
        what: The system call that it makes.

        attempt: Called when it can go on, with how many bytes it may transfer at most; True if that ended it, with
            `ret` or `err` set.

        due_us: When it goes on; None while it waits for somebody.

        paid: The delay of a fault is over: this time the plan is not asked.
    """

    __slots__ = (
        "attempt",
        "buffers",
        "due_us",
        "err",
        "ev",
        "handle",
        "held_us",
        "left",
        "limit",
        "more",
        "paid",
        "req",
        "ret",
        "socket",
        "what",
    )

    req: tevent_req
    ev: tevent_context
    socket: Socket
    what: str
    attempt: Callable[[operation], bool]
    buffers: list[memoryview]
    more: Any
    handle: Any

    def __init__(self) -> None:
        self.ret: int = 0
        self.err: int = 0
        self.left: int = 0
        self.limit: int = 0
        self.held_us: int = 0
        self.paid: bool = False
        self.due_us: int | None = None
        self.handle = None
        self.buffers = []
        self.more = None

    def wait(self, time_us: int | None) -> None:
        """Go on at *time_us*, or not before this is called again."""
        if time_us is not None:
            time_us = max(time_us, self.held_us)
        if self.handle is not None:
            if self.due_us == time_us:
                return
            self.handle.cancel()
            self.handle = None
        self.due_us = time_us
        world = self.socket.net.world
        # What outlives its world or its context is only freed.
        if time_us is not None and world.active and main_of(self.ev) is not None:
            label = f"{self.socket.name} can {self.what}"
            self.handle = world.deliver(self.ev, max(0, time_us - world.elapsed_us), self._woken, label)

    def _woken(self) -> None:
        self.handle = None
        if self.go():
            self._tell()
        else:
            self.socket.arm()

    def go(self) -> bool:
        """Try; True if the operation has ended, with `ret` and `err`."""
        if self.socket.error:
            self.ret, self.err = -1, self.socket.error
            return True
        self.limit = 0
        if not self.paid and self._held_up():
            if self.err:
                self.socket.failed(self)
            return bool(self.err)
        self.paid = False
        if not self.attempt(self):
            return False
        if self.ret == -1:
            self.socket.failed(self)
        return True

    def _held_up(self) -> bool:
        """Ask the plan; whether the attempt is off, for now or with an error."""
        net = self.socket.net
        plan = net.ask(self.socket.name, self.what, self)
        if plan is None:
            return False
        self.limit = plan.take
        if plan.errno in RETRY:
            self.held_us = net.world.elapsed_us + _AGAIN_US
            return True
        if plan.errno:
            self.ret, self.err = -1, plan.errno
            return True
        if plan.delay_us:
            self.paid = True
            self.held_us = net.world.elapsed_us + plan.delay_us
            return True
        return False

    def _tell(self) -> None:
        """The operation has ended; its callback may free anything."""
        if self.ret == -1:
            tevent_req_error(self.req, self.err)
        else:
            tevent_req_done(self.req)


def start(
    op: operation,
    req: tevent_req,
    ev: tevent_context,
    socket: Socket,
    what: str,
    attempt: Callable[[operation], bool],
) -> None:
    """Let *op* be what *socket* does for *req*; whoever calls this begins it."""
    op.req = req
    op.ev = ev
    op.socket = socket
    op.attempt = attempt
    op.what = what
    socket.operations[what] = op
    tevent_req_set_cleanup_fn(req, _leave)


def begin(op: operation, at_once: bool) -> tevent_req:
    """Let *op* try now, or when it can; what is known already is told from the loop."""
    socket, req = op.socket, op.req
    if (at_once or socket.error) and op.go():
        op._tell()
        return tevent_req_post(req, op.ev)
    socket.arm()
    return req


def refused(mem_ctx: TALLOC_CTX | None, ev: tevent_context, err: int) -> tevent_req | None:
    """A request that has failed with *err* already."""
    req, _ = tevent_req_create(mem_ctx, operation)
    if req is None:
        return None
    tevent_req_error(req, err)
    return tevent_req_post(req, ev)


def _leave(req: tevent_req, req_state: tevent_req_state) -> None:
    """The request has ended, is received, or freed: the socket is free for the next one."""
    op = tevent_req_data(req, operation)
    if op.handle is not None:
        op.handle.cancel()
        op.handle = None
    op.buffers = []
    socket = op.socket
    if socket.operations.get(op.what) is op:
        del socket.operations[op.what]
        socket.arm()


def operation_recv(req: tevent_req) -> tuple[int, int]:
    """The result of an operation."""
    ret, err = tsocket_simple_int_recv(req)
    if ret == 0:
        ret = tevent_req_data(req, operation).ret
    tevent_req_received(req)
    return ret, err
