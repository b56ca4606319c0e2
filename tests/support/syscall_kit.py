# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The system calls of tsocket, counted and made to fail, whichever way it makes them.

Bytes may be moved by functions of `tsocket._sys` that take a descriptor or by methods of the socket objects that
functions there return: both are a "read" or a "write" here.
"""

from __future__ import annotations

import _socket
import os
from collections.abc import Callable
from errno import EINPROGRESS
from select import POLLNVAL
from types import BuiltinFunctionType, FunctionType
from typing import Any, Self

from tsocket import _async, _sys, bsd_dgram, bsd_stream, connect

READS = ("recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into")
WRITES = ("send", "sendto", "sendmsg")

#: The functions of `tsocket._sys` that are counted, and what a call of each is called here.
CALLS = {
    "above_stdio": "dup",
    "accept": "accept",
    "bind": "bind",
    "bytes_readable": "ioctl",
    "close": "close",
    "connect": "connect",
    "create_file": "file",
    "create_socket": "socket",
    "get_option": "getsockopt",
    "get_status_flags": "fcntl",
    "listdir": "file",
    "local_address": "getsockname",
    "memory_file": "file",
    "owner_and_mode": "file",
    "poll": "poll",
    "read_file": "file",
    "readv": "read",
    "recvmsg_into": "read",
    "sendmsg": "write",
    "set_blocking": "fcntl",
    "set_option": "setsockopt",
    "set_status_flags": "fcntl",
    "socket_around": "socket object",
    "socket_error": "getsockopt",
    "socketpair": "socketpair",
    "writev": "write",
}

#: The modules that ask for fd events; that fails for lack of memory alone.
_WITH_EVENTS = (_async, bsd_dgram, bsd_stream, connect)


class failure:
    """
    Which calls fail, and with what.

    Args:
        number: The call with this number is the first that fails; -1: none.

        err: The errno.

        ever_after: Whether all later calls of the same kind fail too.

        closes: Whether each ``close(2)`` fails besides.
    """

    def __init__(self, number: int, err: int, ever_after: bool = False, closes: bool = False) -> None:
        self.number = number
        self.err = err
        self.ever_after = ever_after
        self.failed = {"close"} if closes else set[str]()

    def answer(self, number: int, kind: str) -> int:
        """The errno of this call; 0 for one that is made."""
        if number == self.number and self.ever_after:
            self.failed.add(kind)
        return self.err if number == self.number or kind in self.failed else 0


class system_calls:
    """
    While it is entered, the system calls of tsocket are noted in `made`, from when `counting` is set.

    *closing* is called with each descriptor before it is closed.
    """

    def __init__(self, plan: failure | None = None, closing: Callable[[int], object] = bool) -> None:
        self.plan = plan
        self.closing = closing
        self.made: list[str] = []
        self.counting = False
        self._inside = False
        self._saved: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> Self:
        for name in _sys.__all__:
            if isinstance(getattr(_sys, name), (FunctionType, BuiltinFunctionType)):
                self._replace(_sys, name, CALLS.get(name))
        for module in _WITH_EVENTS:
            if hasattr(module, "tevent_add_fd"):
                self._replace(module, "tevent_add_fd", "fd event")
        return self

    def __exit__(self, *_exc: object) -> None:
        while self._saved:
            setattr(*self._saved.pop())

    def _replace(self, where: Any, name: str, kind: str | None) -> None:
        real = getattr(where, name)
        self._saved.append((where, name, real))
        if kind is None:
            # Not counted; but what it calls is, and so is what is done with a socket object that it returns.
            setattr(where, name, lambda *args: self._scripted(real(*args)))
        else:
            setattr(where, name, lambda *args: self.ask(kind, real, args))

    def _scripted(self, result: Any) -> Any:
        plain = type(result) is _socket.socket and not self._inside
        return scripted_socket.around(self, result) if plain else result

    def ask(self, kind: str, real: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Make a call, or let it fail."""
        if self._inside:
            return real(*args)
        if kind == "close":
            self.closing(args[0])
        err = 0
        if self.counting:
            err = 0 if self.plan is None else self.plan.answer(len(self.made), kind)
            self.made.append(kind)
        self._inside = True
        try:
            result = _FAILING.get(kind, _fail)(err, real, args) if err else real(*args)
        finally:
            self._inside = False
        return self._scripted(result)


class scripted_socket(_socket.socket):
    """A socket object whose calls are among those that are counted."""

    calls: system_calls

    @classmethod
    def around(cls, calls: system_calls, sock: _socket.socket) -> scripted_socket:
        """The same descriptor."""
        mine = cls(sock.family, sock.type, sock.proto, sock.detach())
        mine.calls = calls
        return mine


def _method(kind: str, name: str) -> Any:
    real = getattr(_socket.socket, name)
    return lambda self, *args: self.calls.ask(kind, real, (self, *args))


for _kind, _names in (("read", READS), ("write", WRITES)):
    for _name in _names:
        setattr(scripted_socket, _name, _method(_kind, _name))


# -- how calls fail ---------------------------------------------------------------------------------------------------


def _fail(err: int, _real: Any, _args: Any) -> Any:
    raise OSError(err, os.strerror(err))


def _fail_close(err: int, real: Any, args: Any) -> Any:
    """The descriptor is closed, whatever close(2) says."""
    real(*args)
    _fail(err, real, args)


def _fail_dup(err: int, real: Any, args: Any) -> Any:
    """The original is closed even so."""
    os.close(args[0])
    _fail(err, real, args)


def _fail_connect(err: int, real: Any, args: Any) -> int:
    """It tells by its result; what is in progress has begun."""
    if err == EINPROGRESS:
        real(*args)
    return err


def _fail_poll(_err: int, _real: Any, _args: Any) -> int:
    return POLLNVAL


def _fail_event(_err: int, _real: Any, _args: Any) -> None:
    return None


_FAILING: dict[str, Callable[[int, Any, Any], Any]] = {
    "close": _fail_close,
    "connect": _fail_connect,
    "dup": _fail_dup,
    "fd event": _fail_event,
    "poll": _fail_poll,
}


def failing(err: int) -> Any:
    """A system call that fails."""

    def call(*_args: object) -> None:
        raise OSError(err, os.strerror(err))

    return call
