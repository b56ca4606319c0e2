# SPDX-License-Identifier: LGPL-3.0-or-later
"""The addresses of the area "streams", as in ``c/streams_address.h``."""

from __future__ import annotations

import os
import socket
from typing import Any

from talloc_py import talloc_get_name
from tevent import get_errno, set_errno
from tsocket import (
    sockaddr,
    tsocket_address_bsd_from_sockaddr,
    tsocket_address_bsd_sockaddr,
    tsocket_address_copy,
    tsocket_address_inet_addr_string,
    tsocket_address_inet_from_hostport_strings,
    tsocket_address_inet_from_strings,
    tsocket_address_inet_port,
    tsocket_address_inet_set_port,
    tsocket_address_is_inet,
    tsocket_address_is_unix,
    tsocket_address_string,
    tsocket_address_unix_from_path,
    tsocket_address_unix_path,
)

from .streams_world import EPHEMERAL_PORT_MIN, Ends, bytes_shown

FAMILIES = (("ip", "ip"), ("ipv4", "IPv4"), ("ipv6", "ipv6"))


class Addresses(Ends):
    """The operations on addresses."""

    def _address(self, name: str, ret: int, addr: Any) -> None:
        if ret != 0:
            self.saw(f"{name} ret={ret} e={get_errno()}")
            return
        self.saw(f"{name} ret={ret} {self.shown(tsocket_address_string(addr, None))}")
        self.enter(name, "addr", addr, False)

    def _text(self, word: str) -> str | None:
        return None if word == "null" else self.meant(word)

    def op_inet(self, name: str, ctx: str, family: str, text: str, port: str) -> None:
        known, mem_ctx = self.parent(ctx)
        if known:
            set_errno(0)
            found = tsocket_address_inet_from_strings(mem_ctx, self.meant(family), self._text(text), int(port))
            self._address(name, *found)

    def op_hostport(self, name: str, ctx: str, family: str, text: str, port: str) -> None:
        known, mem_ctx = self.parent(ctx)
        if known:
            set_errno(0)
            found = tsocket_address_inet_from_hostport_strings(mem_ctx, self.meant(family), self._text(text), int(port))
            self._address(name, *found)

    def op_unixaddr(self, name: str, ctx: str, path: str) -> None:
        known, mem_ctx = self.parent(ctx)
        if known:
            set_errno(0)
            self._address(name, *tsocket_address_unix_from_path(mem_ctx, self._text(path)))

    def op_sockaddr(self, name: str, ctx: str, family: str, *words: str) -> None:
        known, mem_ctx = self.parent(ctx)
        if not known:
            return
        if family == "inet":
            sa = sockaddr(socket.AF_INET, (self.meant(words[0]), int(words[1])))
        elif family == "inet6":
            sa = sockaddr(socket.AF_INET6, (words[0], int(words[1]), int(words[2]), int(words[3])))
        elif family == "unix":
            sa = sockaddr(socket.AF_UNIX, self.meant(words[0]) if words else "")
        elif family == "abstract":
            sa = sockaddr(socket.AF_UNIX, b"\0" + (os.fsencode(self.meant(words[0])) if words else b""))
        else:
            sa = sockaddr(socket.AF_UNSPEC, "")
        set_errno(0)
        self._address(name, *tsocket_address_bsd_from_sockaddr(mem_ctx, sa))

    def op_show(self, name: str) -> None:
        addr = self.get(name, "addr")
        if addr is None:
            return
        chosen: bool = self.about[id(addr)]
        set_errno(0)
        text = tsocket_address_string(addr, None)
        err = get_errno() if text is None else 0
        self.saw(f"{name} {self.shown(text, chosen)} e={err} name={talloc_get_name(addr)}")
        kinds = [f"{label}={tsocket_address_is_inet(addr, fam):d}" for label, fam in FAMILIES]
        self.saw(f"is {' '.join(kinds)} unix={tsocket_address_is_unix(addr):d}")
        set_errno(0)
        text = tsocket_address_inet_addr_string(addr, None)
        self.saw(f"host {self.shown(text)} e={get_errno() if text is None else 0}")
        set_errno(0)
        port = tsocket_address_inet_port(addr)
        self.saw(f"port {self._port(port, chosen)} e={0 if port else get_errno()}")
        set_errno(0)
        text = tsocket_address_unix_path(addr, None)
        self.saw(f"path {self.shown(text)} e={get_errno() if text is None else 0}")
        set_errno(0)
        n, sa = tsocket_address_bsd_sockaddr(addr)
        if n == -1 or sa is None:
            self.saw(f"sockaddr -1 e={get_errno()}")
        elif sa.sa_family == socket.AF_INET:
            self.saw(f"sockaddr {n} 2 {self.shown(sa.address[0])} {self._port(sa.address[1], chosen)}")
        elif sa.sa_family == socket.AF_INET6:
            ip, port, flow, scope = sa.address
            self.saw(f"sockaddr {n} 10 {ip} {self._port(port, chosen)} {flow} {scope}")
        elif isinstance(sa.address, bytes):
            self.saw(f"sockaddr {n} {int(sa.sa_family)} abstract {bytes_shown(sa.address)}")
        else:
            self.saw(f"sockaddr {n} {int(sa.sa_family)} {self.shown(sa.address)}")

    @staticmethod
    def _port(port: int, chosen: bool) -> int:
        return -1 if chosen and port >= EPHEMERAL_PORT_MIN else port

    def op_isinet(self, name: str, family: str) -> None:
        addr = self.get(name, "addr")
        if addr is not None:
            self.saw(f"isinet {tsocket_address_is_inet(addr, self.meant(family)):d}")

    def op_copy(self, name: str, ctx: str, source: str) -> None:
        addr = self.get(source, "addr")
        known, mem_ctx = self.parent(ctx)
        if addr is None or not known:
            return
        set_errno(0)
        copy = tsocket_address_copy(addr, mem_ctx)
        self.saw("copy made e=0" if copy is not None else f"copy nothing e={get_errno()}")
        self.enter(name, "addr", copy, self.about[id(addr)])

    def op_setport(self, name: str, port: str) -> None:
        addr = self.get(name, "addr")
        if addr is not None:
            set_errno(0)
            ret = tsocket_address_inet_set_port(addr, int(port))
            self.saw(f"setport {ret} e={0 if ret == 0 else get_errno()}")
            if ret == 0:
                self.about[id(addr)] = False
