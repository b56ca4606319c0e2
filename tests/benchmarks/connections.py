# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the units that talk have in common: the sockets, made the same way for all."""

from __future__ import annotations

import resource
import socket
import struct
from collections.abc import Iterator


def allow_descriptors() -> None:
    """Let this process have as many descriptors as it may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def each_pair(connections: int) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Connected pairs of TCP sockets on the loopback interface, one after the other: client, server."""
    if connections > 200:
        allow_descriptors()
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        for _ in range(connections):
            client = socket.create_connection(listener.getsockname())
            server, _ = listener.accept()
            for sock in (client, server):
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # Thousands of them that wait for late packets after one unit would be in the next one's way.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            yield client, server


def sockets(connections: int) -> list[tuple[socket.socket, socket.socket]]:
    """All of them."""
    return list(each_pair(connections))
