# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Addresses whatever their kind, and the two small structures of the socket API: ``struct iovec`` and ``struct sockaddr``.

Mirrors the address half of ``lib/tsocket/tsocket.c``.  An address is opaque: what it means is known by the backend in
its ``ops``.  `bsd_address` holds the one backend that comes with the package, and anyone can write another with
`tsocket_address_create`.

Cost: everything is O(1).
"""

from __future__ import annotations

from talloc_py._chunk import birthplaces
from talloc_py.core import TALLOC_CTX, attach, bad_chunk, caller, free_chunk, location_text, talloc_zero
from talloc_py.string import talloc_strdup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import Any, NamedTuple, TypeVar

    from _typeshed import ReadableBuffer

    from talloc_py._chunk import talloc_string

    S = TypeVar("S", bound=TALLOC_CTX)
    Location = tuple[CodeType, int]

__all__ = [
    "iovec",
    "sockaddr",
    "tsocket_address",
    "tsocket_address_copy",
    "tsocket_address_create",
    "tsocket_address_ops",
    "tsocket_address_string",
]

_allocate = object.__new__


if TYPE_CHECKING:

    class sockaddr(NamedTuple):
        """See below."""

        sa_family: int
        address: Any

else:
    from talloc_py._typing import field, named_tuple

    class sockaddr(named_tuple):
        """
        A socket address as Python's ``socket`` has it, with its family.

        C: ``struct sockaddr``, and ``struct samba_sockaddr``

        Attributes:
            sa_family: ``AF_INET``, ``AF_INET6``, ``AF_UNIX`` or another family of the system.

            address: ``(host, port)`` for IPv4, ``(host, port, flowinfo, scope_id)`` for IPv6, the path (`str`) for a
                unix socket, ``""`` for an unnamed one, `bytes` for an abstract one.
        """

        __slots__ = ()
        _fields = __match_args__ = ("sa_family", "address")

        sa_family: int = field(0, "The family.")
        address: Any = field(1, "The address itself.")

        def __new__(cls, sa_family, address):
            """Make one of the two, as they are."""
            return tuple.__new__(cls, (sa_family, address))


class iovec:
    """
    One piece of a vector: a buffer, and how many bytes of it count.

    C: ``struct iovec``

    Attributes:
        iov_base: Any bytes-like object, a writable one to read into; None is an empty piece.

        iov_len: At most the length of *iov_base* in bytes. Left out, it is that length.
    """

    __slots__ = ("iov_base", "iov_len")

    iov_base: ReadableBuffer | None
    iov_len: int

    def __init__(self, iov_base: ReadableBuffer | None = None, iov_len: int | None = None) -> None:
        self.iov_base = iov_base
        if iov_len is None:
            iov_len = 0 if iov_base is None else memoryview(iov_base).nbytes
        self.iov_len = iov_len

    def __repr__(self) -> str:
        kind = None if self.iov_base is None else type(self.iov_base).__name__
        return f"iovec(iov_base={kind}, iov_len={self.iov_len})"


class tsocket_address_ops:
    """
    The functions of an address backend.

    C: ``struct tsocket_address_ops``

    Attributes:
        name: What the backend is called.

        string: ``string(addr, mem_ctx) -> str | None``, the text of an address as a chunk of *mem_ctx*.

        copy: ``copy(addr, mem_ctx) -> tsocket_address | None``, an independent copy owned by *mem_ctx*.
    """

    __slots__ = ("copy", "name", "string")

    name: str | None
    string: Callable[[tsocket_address, TALLOC_CTX | None], str | None] | None
    copy: Callable[[tsocket_address, TALLOC_CTX | None], tsocket_address | None] | None

    def __init__(
        self,
        name: str | None = None,
        string: Callable[[tsocket_address, TALLOC_CTX | None], str | None] | None = None,
        copy: Callable[[tsocket_address, TALLOC_CTX | None], tsocket_address | None] | None = None,
    ) -> None:
        self.name = name
        self.string = string
        self.copy = copy

    def __repr__(self) -> str:
        return f"tsocket_address_ops(name={self.name!r})"


class tsocket_address(TALLOC_CTX):
    """
    An address of some kind.

    C: ``struct tsocket_address``

    Attributes:
        ops: The backend's functions.

        private_data: The backend's own data, usually the state that `tsocket_address_create` made.

        location: Where the address was made, as ``file:line``.
    """

    __slots__ = ("_private", "_where", "ops")
    __talloc_name__ = "struct tsocket_address"
    __talloc_size__ = 24

    ops: tsocket_address_ops
    _private: object
    _where: Location | str

    def __init__(self) -> None:
        raise TypeError("a tsocket_address is made by a tsocket_address_* function, not by calling the class")

    @property
    def private_data(self) -> Any:
        """The backend's own data."""
        return self._private

    @private_data.setter
    def private_data(self, value: object) -> None:
        self._private = value

    @property
    def location(self) -> str:
        """Where the address was made, as ``file:line``."""
        where = self._where
        return where if isinstance(where, str) else location_text(where)

    @location.setter
    def location(self, value: str) -> None:
        self._where = value

    def __repr__(self) -> str:
        # Only what needs no chunk: a repr must work on a freed address too.
        return f"<{type(self).__name__} {self.ops.name!r} made at {self.location}>"


def require(what: str, value: object, kind: type) -> None:
    """Raise TypeError unless *value*, the argument called *what*, is a *kind*."""
    if not isinstance(value, kind):
        raise TypeError(f"{what} must be {kind.__name__}, not {type(value).__name__}")


def is_address(addr: object) -> bool:
    """
    Whether *addr* is a live address; the test that every public function makes.

    Raises:
        TypeError: It is no address at all.

    A freed address goes to talloc's abort function; False if that returns.
    """
    if not isinstance(addr, tsocket_address):
        raise TypeError(f"a tsocket_address is needed, not {type(addr).__name__}")
    try:
        if addr._talloc_chunk.obj is addr:
            return True
    except AttributeError:  # a copy of an address was never a chunk
        pass
    bad_chunk(addr)
    return False


def tsocket_address_create(
    mem_ctx: TALLOC_CTX | None, ops: tsocket_address_ops, type: type[S]
) -> tuple[tsocket_address, S]:
    """
    Make an address of another backend.

    C: ``struct tsocket_address *tsocket_address_create(TALLOC_CTX *mem_ctx, const struct tsocket_address_ops *ops,
    void *state, #type, const char *location)``

    Args:
        mem_ctx: The owner.

        ops: The backend's functions; kept, not copied.

        type: The class of the backend's state, derived from `TALLOC_CTX`.

    Returns:
        The address and its state, a child of the address and its ``private_data``; ``(None, None)`` where a memory
        limit forbids it.
    """
    require("ops", ops, tsocket_address_ops)
    addr = _allocate(tsocket_address)
    header = attach(addr, mem_ctx, tsocket_address)
    if header is None:
        return None, None  # type: ignore[return-value]  # as in C, one check of the address has to do
    addr.ops = ops
    addr._private = None
    addr._where = where = caller(1)
    try:
        state = talloc_zero(addr, type)
    except BaseException:
        free_chunk(header, where)
        raise
    if state is None:
        free_chunk(header, where)
        return None, None  # type: ignore[return-value]
    addr._private = state
    return addr, state


def tsocket_address_string(addr: tsocket_address | None, mem_ctx: TALLOC_CTX | None) -> talloc_string | None:
    """
    A text of *addr* for people to read; it is not meant to be parsed.

    C: ``char *tsocket_address_string(const struct tsocket_address *addr, TALLOC_CTX *mem_ctx)``

    Returns:
        ``"ipv4:127.0.0.1:445"``, ``"ipv6:::1:445"``, ``"unix:/path"``, ``"NULL"`` for None, or whatever another backend
        says; a chunk owned by *mem_ctx*. None with EINVAL for an address without a known family.
    """
    if addr is None:
        return talloc_strdup(mem_ctx, "NULL")
    if not is_address(addr):
        return None
    string = addr.ops.string
    if string is None:
        raise TypeError(f"the address backend {addr.ops.name!r} has no string operation")
    # What a backend gives is promised to be a chunk of mem_ctx.
    return string(addr, mem_ctx)  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


def tsocket_address_copy(addr: tsocket_address, mem_ctx: TALLOC_CTX | None) -> tsocket_address | None:
    """
    An independent copy of *addr*.

    C: ``struct tsocket_address *tsocket_address_copy(const struct tsocket_address *addr, TALLOC_CTX *mem_ctx)``

    Returns:
        The copy, owned by *mem_ctx*; None with EINVAL for an address without a known family.
    """
    if not is_address(addr):
        return None
    copy = addr.ops.copy
    if copy is None:
        raise TypeError(f"the address backend {addr.ops.name!r} has no copy operation")
    return copy(addr, mem_ctx)


birthplaces[tsocket_address] = "_where"
