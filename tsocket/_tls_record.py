# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Records of TLS, as far as they are not encrypted: the header that says how many bytes follow.

Apart from `tsocket._tls_engine` so that it can be imported without `ssl`.
"""

from __future__ import annotations

from errno import EIO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["HEADER_SIZE", "RECORD_MAX", "TlsError", "body_size"]

#: The header of a record: type, version, length of the rest.
HEADER_SIZE: Final = 5
#: The most plain bytes that one record carries.
RECORD_MAX: Final = 16384
# ... and the most that they may become by encryption.
_BODY_MAX: Final = RECORD_MAX + 2048
# change_cipher_spec, alert, handshake, application_data, heartbeat
_TYPES: Final = range(20, 25)


class TlsError(Exception):
    """The connection cannot go on; the argument is the errno that says so."""

    @property
    def errno(self) -> int:
        """The errno."""
        number: int = self.args[0]
        return number


def body_size(header: bytes | bytearray) -> int:
    """
    How many bytes follow the header of a record.

    Raises:
        TlsError: No peer that speaks TLS sends such a header.
    """
    size = int.from_bytes(header[3:HEADER_SIZE], "big")
    if header[0] not in _TYPES or size > _BODY_MAX:
        raise TlsError(EIO)
    return size
