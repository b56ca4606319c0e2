# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Addresses of the operating system's sockets: IPv4, IPv6 and unix.

Mirrors the address half of ``lib/tsocket/tsocket_bsd.c``.  Where C keeps a ``struct samba_sockaddr`` in a chunk below
the address, the address holds it itself, in the form that Python's ``socket`` takes; that chunk is made when somebody
looks at the address's children or at its ``private_data``.

**Text never leads to a name lookup**: hosts are numeric, as C passes them to ``getaddrinfo(AI_NUMERICHOST)``.  They go
there as UTF-8 bytes, because Python applies IDNA to a `str`, which turns full-width digits into ASCII ones.

Cost: O(length of the text).
"""

from __future__ import annotations

from errno import EAFNOSUPPORT, EINVAL, ENAMETOOLONG, ENOMEM
from os import fsdecode, fsencode

from talloc_py._chunk import birthplaces
from talloc_py.core import TALLOC_CTX, attach, caller, lazy_children
from talloc_py.names import talloc_get_type_abort
from talloc_py.string import talloc_strdup
from tevent.errno import set_errno

from . import _sys
from ._sys import AF_INET, AF_INET6, AF_NETLINK, AF_UNIX
from .address import is_address, require, sockaddr, tsocket_address, tsocket_address_ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from talloc_py._chunk import talloc_string

    from ._sys import Address
    from .address import Location

__all__ = [
    "tsocket_address_bsd_from_samba_sockaddr",
    "tsocket_address_bsd_from_sockaddr",
    "tsocket_address_bsd_sockaddr",
    "tsocket_address_inet_addr_string",
    "tsocket_address_inet_from_hostport_strings",
    "tsocket_address_inet_from_strings",
    "tsocket_address_inet_port",
    "tsocket_address_inet_set_port",
    "tsocket_address_is_inet",
    "tsocket_address_is_unix",
    "tsocket_address_unix_from_path",
    "tsocket_address_unix_path",
]

_allocate = object.__new__

#: Size of ``sun_path``; a path needs room for its final NUL, an abstract name does not.
_SUN_PATH_MAX: Final = 108
_PORT_MAX: Final = 0xFFFF
_FLOWINFO_MAX: Final = 0xFFFFF
_SCOPE_ID_MAX: Final = 0xFFFFFFFF

# Sizes of the kernel's structures, with the two bytes of the family.
_SIZEOF_FAMILY: Final = 2
_SIZEOF: Final = {AF_INET: 16, AF_INET6: 28, AF_NETLINK: 12}

_FAMILIES: Final = {"ip": 0, "ipv4": AF_INET, "ipv6": AF_INET6}

#: What isspace(3) accepts in the C locale; strtoull(3) skips it.
_C_SPACE: Final = " \t\n\v\f\r"


class samba_sockaddr(TALLOC_CTX):
    """The chunk below an address that C has; made for those who look, it says what the address says."""

    __slots__ = ("_of",)
    __talloc_size__ = 136

    _of: bsd_address

    @property
    def sa(self) -> sockaddr:
        """The address in the form of Python's ``socket``."""
        return self._of.sockaddr()


class bsd_address(tsocket_address):
    """
    An address of the operating system.

    Attributes:
        family: The address family; 0 for the source of a datagram whose sender has no name.

        name: The address as `_socket` takes it: a tuple for IPv4 and IPv6, for a unix socket the bytes of ``sun_path``
            without the final NUL that `_socket` adds to a path; none for an unnamed socket.
    """

    # The source of each datagram is one of these, though few are looked at: what follows from the rest is not stored.
    __slots__ = ("family", "name")
    __talloc_name__ = "struct tsocket_address"
    __talloc_size__ = 24

    family: int
    name: Address

    @property
    def length(self) -> int:
        """The length of the kernel's structure."""
        return _unix_length(self.name) if self.family == AF_UNIX else _SIZEOF.get(self.family, 0)

    @property
    def private_data(self) -> Any:
        """The chunk that C has below the address."""
        private = getattr(self, "_private", None)
        if private is None:
            state: samba_sockaddr = _allocate(samba_sockaddr)
            state._of = self
            if attach(state, self, samba_sockaddr) is not None:
                self._private = private = state
        return private

    @private_data.setter
    def private_data(self, value: object) -> None:
        self._private = value

    def sockaddr(self) -> sockaddr:
        """The address as Python's ``socket`` returns it."""
        if self.family != AF_UNIX:
            return sockaddr(self.family, "" if self.name is None else self.name)
        if self.name[:1] == b"\0":
            return sockaddr(AF_UNIX, self.name)
        return sockaddr(AF_UNIX, _path_of(self))


def _materialise(addr: bsd_address) -> None:
    """Make the child that C's addresses have, for somebody who looks."""
    addr.private_data  # noqa: B018  # reading it makes it


lazy_children[bsd_address] = _materialise
birthplaces[bsd_address] = "_where"


def new_address(mem_ctx: TALLOC_CTX | None, family: int, name: Address, where: Location) -> bsd_address | None:
    """An address owned by *mem_ctx*; None with ENOMEM where a memory limit forbids it."""
    addr: bsd_address = _allocate(bsd_address)
    addr.ops = tsocket_address_bsd_ops
    addr.family = family
    addr.name = name
    addr._where = where
    return _attached(addr, mem_ctx)


def address_from_kernel(mem_ctx: TALLOC_CTX | None, family: int, name: Address, where: Location) -> bsd_address | None:
    """As `new_address`, of what a system call reported in the form of Python's ``socket``."""
    return _attached(kernel_address(family, name, where), mem_ctx)


def _attached(addr: bsd_address, mem_ctx: TALLOC_CTX | None) -> bsd_address | None:
    if attach(addr, mem_ctx, tsocket_address) is None:
        set_errno(ENOMEM)
        return None
    return addr


def kernel_address(family: int, name: Address, where: Location) -> bsd_address:
    """
    What a system call reported in the form of Python's ``socket`` as an address that is no chunk yet.

    A *name* of None is that of an unnamed sender, for which the kernel reports nothing at all, not even a family.
    """
    addr: bsd_address = _allocate(bsd_address)
    addr.ops = tsocket_address_bsd_ops
    addr.family = family
    addr.name = name
    addr._where = where
    if name is None:
        addr.family = 0
    elif family == AF_UNIX and isinstance(name, str):
        addr.name = fsencode(name)
    return addr


def _unix_length(path: bytes) -> int:
    """The length of the structure as the kernel reports it: a path is counted with its final NUL."""
    return _SIZEOF_FAMILY + len(path) + (1 if path and path[0] else 0)


def bsd_address_of(addr: tsocket_address) -> bsd_address | None:
    """*addr* if it is of this backend, None if it is of another one."""
    return addr if type(addr) is bsd_address else None


def bsd_address_abort(addr: object) -> bsd_address | None:
    """
    *addr* as an address of this backend, for a function that works with no other.

    Raises:
        TypeError: It is no address at all.

    An address of another backend, or a freed one, goes to talloc's abort function; None if that returns.
    """
    try:
        if type(addr) is bsd_address and addr._talloc_chunk.obj is addr:
            return addr
    except AttributeError:  # a copy of an address was never a chunk
        pass
    if not is_address(addr):
        return None
    if type(addr) is bsd_address:
        return addr
    assert isinstance(addr, tsocket_address)
    talloc_get_type_abort(addr.private_data, samba_sockaddr)
    return None


# -- the two operations of the backend ---------------------------------------------------------------------------------


def _bsd_string(addr: tsocket_address, mem_ctx: TALLOC_CTX | None) -> talloc_string | None:
    bsd = bsd_address_of(addr)
    if bsd is None:
        set_errno(EINVAL)
        return None
    if bsd.family == AF_INET:
        return talloc_strdup(mem_ctx, f"ipv4:{bsd.name[0]}:{bsd.name[1]}")
    if bsd.family == AF_INET6:
        return talloc_strdup(mem_ctx, f"ipv6:{bsd.name[0]}:{bsd.name[1]}")
    if bsd.family == AF_UNIX:
        return talloc_strdup(mem_ctx, "unix:" + _path_of(bsd))
    set_errno(EINVAL)
    return None


def _bsd_copy(addr: tsocket_address, mem_ctx: TALLOC_CTX | None) -> tsocket_address | None:
    bsd = bsd_address_of(addr)
    if bsd is None or bsd.family not in (AF_INET, AF_INET6, AF_UNIX):
        set_errno(EINVAL)
        return None
    return new_address(mem_ctx, bsd.family, bsd.name, caller(2))


tsocket_address_bsd_ops: Final = tsocket_address_ops("bsd", _bsd_string, _bsd_copy)


# -- inet -------------------------------------------------------------------------------------------------------------


def _inet(addr: tsocket_address) -> bsd_address | None:
    """*addr* if it is an IPv4 or IPv6 address of this backend; else None."""
    if not is_address(addr):
        return None
    bsd = bsd_address_of(addr)
    return bsd if bsd is not None and bsd.family in (AF_INET, AF_INET6) else None


def _check_number(what: str, value: Any, maximum: int) -> None:
    require(what, value, int)
    if not 0 <= value <= maximum:
        raise ValueError(f"{what} must be from 0 to {maximum}, not {value}")


def tsocket_address_is_inet(addr: tsocket_address, fam: str) -> bool:
    """
    Whether *addr* is an internet address of the family *fam*.

    C: ``bool tsocket_address_is_inet(const struct tsocket_address *addr, const char *fam)``

    Args:
        addr: An address of any backend.

        fam: ``"ip"`` for either family, ``"ipv4"`` or ``"ipv6"``, in any case.

    Returns:
        False also for an unknown *fam*.
    """
    require("fam", fam, str)
    bsd = _inet(addr)
    if bsd is None:
        return False
    wanted = _FAMILIES.get(fam.lower())
    return wanted is not None and wanted in (0, bsd.family)


def _resolve(family: int, host: str, port: int) -> tuple[int, Address] | None:
    """The family and address that the numeric *host* stands for; None with errno."""
    try:
        text = host.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        set_errno(EINVAL)
        return None
    if b"\0" in text:
        set_errno(EINVAL)
        return None
    flags = _sys.AI_NUMERICHOST | _sys.AI_NUMERICSERV
    try:
        found = _sys.getaddrinfo(text, port, family, _sys.SOCK_STREAM, 0, flags)[0]
    except _sys.gaierror as error:
        # For any other answer C leaves errno as it finds it.
        if error.errno in (_sys.EAI_FAIL, _sys.EAI_NONAME, _sys.EAI_ADDRFAMILY):
            set_errno(EINVAL)
        return None
    except OSError as error:
        set_errno(error.errno or EINVAL)
        return None
    return int(found[0]), found[4]


def _inet_address(
    mem_ctx: TALLOC_CTX | None, fam: str, host: str | None, port: int, where: Location
) -> tuple[int, tsocket_address | None]:
    family = _FAMILIES.get(fam.lower())
    if family is None:
        set_errno(EAFNOSUPPORT)
        return -1, None
    if host is None:
        host = "0.0.0.0" if family == AF_INET else "::"
    found = _resolve(family, host, port)
    if found is None:
        return -1, None
    addr = new_address(mem_ctx, found[0], found[1], where)
    return (-1, None) if addr is None else (0, addr)


def tsocket_address_inet_from_strings(
    mem_ctx: TALLOC_CTX | None, fam: str, addr: str | None, port: int
) -> tuple[int, tsocket_address | None]:
    """
    Make an internet address from the text of its host.

    C: ``int tsocket_address_inet_from_strings(TALLOC_CTX *mem_ctx, const char *fam, const char *addr, uint16_t port,
    struct tsocket_address **_addr)``

    Args:
        mem_ctx: The owner of the address.

        fam: ``"ip"`` for either family, ``"ipv4"`` or ``"ipv6"``, in any case.

        addr: A numeric host in any form that ``getaddrinfo(3)`` reads, with a zone after ``%`` for IPv6; a name is
            never looked up. None is the address of any interface: ``0.0.0.0`` for ``"ipv4"``, else ``::``.

        port: From 0 to 65535.

    Returns:
        0 and the address; -1 and None with EAFNOSUPPORT for an unknown *fam*, EINVAL for a host that is not one.
    """
    require("fam", fam, str)
    if addr is not None:
        require("addr", addr, str)
    _check_number("port", port, _PORT_MAX)
    return _inet_address(mem_ctx, fam, addr, port, caller(1))


def _parse_port(text: str) -> int | None:
    """The port in *text*, read as C reads it: white space, one plus sign, decimal digits; None for anything else."""
    digits = text.lstrip(_C_SPACE).removeprefix("+")
    if not digits.isascii() or not digits.isdigit():
        return None
    # Python limits the number of digits it converts, C does not: leading zeros are no part of the number.
    digits = digits.lstrip("0")
    port = int(digits or "0") if len(digits) <= len(str(_PORT_MAX)) else _PORT_MAX + 1
    return port if port <= _PORT_MAX else None


def _split_host_port(text: str, default_port: int) -> tuple[str, int] | None:
    """Host and port of *text*; None where what stands for a port is none."""
    opening = text.find("[")
    closing = text.rfind("]")
    if 0 <= opening < closing:
        host, rest = text[opening + 1 : closing], text[closing + 1 :]
        if not rest:
            return host, default_port
        if rest[0] != ":":
            return None
        port = _parse_port(rest[1:])
    elif "." in text and ":" in text:
        host, _, rest = text.rpartition(":")
        port = _parse_port(rest)
    else:
        return text, default_port
    return None if port is None else (host, port)


def tsocket_address_inet_from_hostport_strings(
    mem_ctx: TALLOC_CTX | None, fam: str, host_port_addr: str | None, default_port: int
) -> tuple[int, tsocket_address | None]:
    """
    Make an internet address from a text that may end in a port.

    C: ``int tsocket_address_inet_from_hostport_strings(TALLOC_CTX *mem_ctx, const char *fam,
    const char *host_port_addr, uint16_t default_port, struct tsocket_address **_addr)``

    Args:
        mem_ctx: The owner of the address.

        fam: As for `tsocket_address_inet_from_strings`.

        host_port_addr: ``"1.2.3.4"``, ``"1.2.3.4:445"``, ``"::1"``, ``"[::1]"`` or ``"[::1]:445"``. None as for
            `tsocket_address_inet_from_strings`.

        default_port: The port where the text names none.

    Returns:
        0 and the address; -1 and None with EAFNOSUPPORT or EINVAL.
    """
    require("fam", fam, str)
    _check_number("default_port", default_port, _PORT_MAX)
    if host_port_addr is None:
        return _inet_address(mem_ctx, fam, None, default_port, caller(1))
    require("host_port_addr", host_port_addr, str)
    parts = _split_host_port(host_port_addr, default_port)
    if parts is None:
        set_errno(EINVAL)
        return -1, None
    return _inet_address(mem_ctx, fam, parts[0], parts[1], caller(1))


def tsocket_address_inet_addr_string(addr: tsocket_address, mem_ctx: TALLOC_CTX | None) -> talloc_string | None:
    """
    The host of an internet address as text, without port and zone.

    C: ``char *tsocket_address_inet_addr_string(const struct tsocket_address *addr, TALLOC_CTX *mem_ctx)``

    Returns:
        A chunk owned by *mem_ctx*; None with EINVAL if *addr* is no internet address.
    """
    bsd = _inet(addr)
    if bsd is None:
        set_errno(EINVAL)
        return None
    return talloc_strdup(mem_ctx, bsd.name[0])


def tsocket_address_inet_port(addr: tsocket_address) -> int:
    """
    The port of an internet address.

    C: ``uint16_t tsocket_address_inet_port(const struct tsocket_address *addr)``

    Returns:
        The port; 0 with EINVAL if *addr* is no internet address.
    """
    bsd = _inet(addr)
    if bsd is None:
        set_errno(EINVAL)
        return 0
    port: int = bsd.name[1]
    return port


def tsocket_address_inet_set_port(addr: tsocket_address, port: int) -> int:
    """
    Change the port of an internet address.

    C: ``int tsocket_address_inet_set_port(struct tsocket_address *addr, uint16_t port)``

    Returns:
        0; -1 with EINVAL if *addr* is no internet address.
    """
    _check_number("port", port, _PORT_MAX)
    bsd = _inet(addr)
    if bsd is None:
        set_errno(EINVAL)
        return -1
    bsd.name = (bsd.name[0], port, *bsd.name[2:])
    return 0


# -- unix -------------------------------------------------------------------------------------------------------------


def _path_of(addr: bsd_address) -> str:
    """The path of a unix address up to its first NUL."""
    path: bytes = addr.name
    return fsdecode(path.partition(b"\0")[0])


def tsocket_address_is_unix(addr: tsocket_address) -> bool:
    """
    Whether *addr* is the address of a unix socket.

    C: ``bool tsocket_address_is_unix(const struct tsocket_address *addr)``
    """
    if not is_address(addr):
        return False
    bsd = bsd_address_of(addr)
    return bsd is not None and bsd.family == AF_UNIX


def tsocket_address_unix_from_path(mem_ctx: TALLOC_CTX | None, path: str | None) -> tuple[int, tsocket_address | None]:
    """
    Make the address of a unix socket.

    C: ``int tsocket_address_unix_from_path(TALLOC_CTX *mem_ctx, const char *path, struct tsocket_address **_addr)``

    Args:
        mem_ctx: The owner of the address.

        path: A path of at most 107 bytes in the file system's encoding; nothing on disk is touched. None is ``""``.

    Returns:
        0 and the address; -1 and None with ENAMETOOLONG.

    Raises:
        ValueError: *path* contains a NUL, which C cannot express.
    """
    if path is None:
        path = ""
    require("path", path, str)
    raw = fsencode(path)
    if b"\0" in raw:
        raise ValueError("a unix path cannot contain a NUL")
    if len(raw) >= _SUN_PATH_MAX:
        set_errno(ENAMETOOLONG)
        return -1, None
    # C hands the whole structure to the kernel, which ends a path at its first NUL, but takes an empty one for an
    # abstract name of NULs.
    name = raw.ljust(_SUN_PATH_MAX - 1, b"\0") if raw else bytes(_SUN_PATH_MAX)
    addr = new_address(mem_ctx, AF_UNIX, name, caller(1))
    return (-1, None) if addr is None else (0, addr)


def tsocket_address_unix_path(addr: tsocket_address, mem_ctx: TALLOC_CTX | None) -> talloc_string | None:
    """
    The path of a unix socket's address.

    C: ``char *tsocket_address_unix_path(const struct tsocket_address *addr, TALLOC_CTX *mem_ctx)``

    Returns:
        A chunk owned by *mem_ctx*, ``""`` for an unnamed and an abstract address; None with EINVAL if *addr* is no unix
        address.
    """
    if not tsocket_address_is_unix(addr):
        set_errno(EINVAL)
        return None
    bsd = bsd_address_of(addr)
    assert bsd is not None
    return talloc_strdup(mem_ctx, _path_of(bsd))


# -- sockaddr ---------------------------------------------------------------------------------------------------------


def tsocket_address_bsd_from_sockaddr(mem_ctx: TALLOC_CTX | None, sa: sockaddr) -> tuple[int, tsocket_address | None]:
    """
    Make an address from one in the form of Python's ``socket``.

    C: ``int tsocket_address_bsd_from_sockaddr(TALLOC_CTX *mem_ctx, const struct sockaddr *sa, size_t sa_socklen,
    struct tsocket_address **_addr)``

    Args:
        mem_ctx: The owner of the address.

        sa: ``AF_INET``, ``AF_INET6`` (a tuple of two to four items) or ``AF_UNIX`` (a path, ``""`` for unnamed, `bytes`
            with a leading NUL for abstract). A host is numeric and never looked up.

    Returns:
        0 and the address; -1 and None with EAFNOSUPPORT for another family, EINVAL for a host that is not numeric,
        ENAMETOOLONG for a unix path that is too long.
    """
    return _from_sockaddr(mem_ctx, sa, caller(1))


def tsocket_address_bsd_from_samba_sockaddr(
    mem_ctx: TALLOC_CTX | None, xs_addr: sockaddr
) -> tuple[int, tsocket_address | None]:
    """
    The same as `tsocket_address_bsd_from_sockaddr`: in Python a ``samba_sockaddr`` is a `sockaddr`.

    C: ``int tsocket_address_bsd_from_samba_sockaddr(TALLOC_CTX *mem_ctx, const struct samba_sockaddr *xs_addr,
    struct tsocket_address **t_addr)``
    """
    return _from_sockaddr(mem_ctx, xs_addr, caller(1))


def _from_sockaddr(mem_ctx: TALLOC_CTX | None, sa: sockaddr, where: Location) -> tuple[int, tsocket_address | None]:
    found = split_sockaddr(sa)
    if found is None:
        return -1, None
    addr = new_address(mem_ctx, *found, where)
    return (-1, None) if addr is None else (0, addr)


def split_sockaddr(sa: object) -> tuple[int, Address] | None:
    """
    Family and address for `_socket` of *sa*; None with errno.

    Raises:
        TypeError: It is no `sockaddr`, or its address is not of the shape that its family has.
    """
    if not isinstance(sa, sockaddr):
        raise TypeError(f"a sockaddr is needed, not {type(sa).__name__}")
    if sa.sa_family == AF_UNIX:
        return _split_unix(sa.address)
    if sa.sa_family in (AF_INET, AF_INET6):
        return _split_inet(sa.sa_family, sa.address)
    set_errno(EAFNOSUPPORT)
    return None


def _split_unix(address: Any) -> tuple[int, Address] | None:
    if isinstance(address, str):
        raw = fsencode(address)
    else:
        require("a unix address", address, bytes)
        raw = address
    abstract = raw[:1] == b"\0"
    if b"\0" in raw and not abstract:
        raise ValueError("a unix path cannot contain a NUL")
    if len(raw) > _SUN_PATH_MAX - (0 if abstract else 1):
        set_errno(ENAMETOOLONG)
        return None
    return AF_UNIX, raw


def _split_inet(family: int, address: Any) -> tuple[int, Address] | None:
    longest = 2 if family == AF_INET else 4
    require("an internet address", address, tuple)
    if not 2 <= len(address) <= longest:
        raise TypeError(f"an internet address has 2 to {longest} items, not {len(address)}")
    host: Any
    host, port, *more = address
    require("the host", host, str)
    _check_number("the port", port, _PORT_MAX)
    for what, value, maximum in zip(("flowinfo", "scope_id"), more, (_FLOWINFO_MAX, _SCOPE_ID_MAX), strict=False):
        _check_number(what, value, maximum)
    found = _resolve(family, host, port)
    if found is None:
        return None
    name = found[1]
    if more:
        name = (*name[:2], *more, *name[2 + len(more) :])
    return family, name


def tsocket_address_bsd_sockaddr(addr: tsocket_address) -> tuple[int, sockaddr | None]:
    """
    The address in the form of Python's ``socket``.

    C: ``ssize_t tsocket_address_bsd_sockaddr(const struct tsocket_address *addr, struct sockaddr *sa,
    size_t sa_socklen)``

    Returns:
        The length of the kernel's structure in bytes and the address: 16 for IPv4, 28 for IPv6, 110 for a unix address
        made from a path by this library, up to 110 for one that the kernel gave, 0 and ``sockaddr(0, "")`` for the
        source of a datagram from an unnamed socket. -1 and None with EINVAL for an address of another backend.
    """
    if not is_address(addr):
        return -1, None
    bsd = bsd_address_of(addr)
    if bsd is None:
        set_errno(EINVAL)
        return -1, None
    return bsd.length, bsd.sockaddr()
