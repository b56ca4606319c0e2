# SPDX-License-Identifier: LGPL-3.0-or-later
"""
One TLS connection without a transport: records come in, records go out, bytes on the other side.

OpenSSL, by the standard library's `ssl.SSLObject` over two buffers, does the work; this says in errnos how it went, and
keeps what the port promises beyond: no byte that was decrypted is lost by a shutdown, and what OpenSSL cannot be told
beforehand (names that can never match, ciphers of TLS 1.3, revoked certificates in the middle of a chain) is judged
before the handshake counts as done.

Errors: whatever is no `ssl.SSLWantReadError` is an end.  `ssl.SSLError` is an `OSError`, and newer Pythons raise bare
ones, too, with an errno that happened to be lying about, where OpenSSL has failed without giving a reason.

Memory: the incoming buffer holds the record that was fed last, the outgoing one what nobody has taken yet.
"""

from __future__ import annotations

import hashlib
import ssl
from errno import EINVAL, EIO, EPIPE

from ._tls_record import RECORD_MAX, TlsError
from ._tls_x509 import issuer_and_serial, signature_hash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._tls_settings import settings

__all__ = ["engine"]


class engine:
    """
    The connection.

    Attributes:
        settings: What it was made with.

        channel_bindings: After the handshake: those of the type tls-server-end-point (RFC 5929); empty if the
            certificate has no hash for them.
    """

    __slots__ = ("_incoming", "_outgoing", "_rest", "_shut", "_tls", "channel_bindings", "settings")

    def __init__(self, have: settings) -> None:
        """*have* must have been prepared; TlsError if there is no version that could be spoken."""
        if not have.versions:
            raise TlsError(EIO)
        self.settings: settings = have
        self._incoming: ssl.MemoryBIO = ssl.MemoryBIO()
        self._outgoing: ssl.MemoryBIO = ssl.MemoryBIO()
        self._rest: bytes = b""  # decrypted before the shutdown, and not yet read
        self._shut: bool = False
        self.channel_bindings: bytes = b""
        self._tls: ssl.SSLObject = have.context.wrap_bio(
            self._incoming, self._outgoing, server_side=have.server, server_hostname=have.hostname
        )

    # -- records ----------------------------------------------------------------------------------------------------

    def feed(self, header: bytes | bytearray, body: bytes | bytearray) -> None:
        """Take one record from the other side."""
        self._incoming.write(header)
        self._incoming.write(body)

    @property
    def unsent(self) -> int:
        """How many bytes of records wait to be sent."""
        return self._outgoing.pending

    def output(self) -> bytes:
        """Take the records that wait to be sent."""
        return self._outgoing.read()

    # -- the handshake ----------------------------------------------------------------------------------------------

    def handshake(self) -> bool:
        """
        Go on with the handshake; True when it is done, False when another record is needed.

        Raises:
            TlsError: EINVAL if the certificate of the other side was refused, EIO for everything else.
        """
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLCertVerificationError as error:
            raise TlsError(EINVAL) from error
        except OSError as error:
            raise TlsError(EIO) from error
        self._judge()
        self.channel_bindings = self._bind()
        return True

    def _judge(self) -> None:
        """Look at what OpenSSL has agreed to."""
        if self.settings.unmatched:
            raise TlsError(EINVAL)
        cipher = self._tls.cipher()
        if cipher is None or not self.settings.permits(cipher[0], self._tls.version() or ""):
            raise TlsError(EIO)
        if self.settings.revoked and self.settings.context.verify_mode != ssl.CERT_NONE:
            self._look_for_revoked()

    def _look_for_revoked(self) -> None:
        """
        Hold every certificate of the chain against the revocation lists.

        OpenSSL has done so with the first, and verified that list.  It would do so with the others, too, if there were
        lists of all issuers, and refuse the chain otherwise; GnuTLS takes what lists there are.
        """
        try:
            for certificate in self._chain():
                issuer, serial = issuer_and_serial(certificate)
                if serial in self.settings.revoked.get(issuer, ()):
                    raise TlsError(EINVAL)
        except ValueError as error:
            raise TlsError(EIO) from error

    def _chain(self) -> list[bytes]:
        """The certificates that were verified, in DER."""
        tls: Any = self._tls
        if hasattr(tls, "get_verified_chain"):  # from Python 3.13 on
            chain: list[bytes] = tls.get_verified_chain()
            return chain
        try:
            return [ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in tls._sslobj.get_verified_chain()]
        except AttributeError as error:
            # An `ssl` that keeps the chain to itself: what cannot be looked at is not let pass.
            raise TlsError(EIO) from error

    # -- data -------------------------------------------------------------------------------------------------------

    def read(self, buffer: memoryview) -> int:
        """
        Fill *buffer* as far as one record goes; 0 when another record is needed.

        Raises:
            TlsError: EPIPE if the other side has said that it ends, EIO for everything else.
        """
        if self._rest:
            part = self._rest[: len(buffer)]
            buffer[: len(part)] = part
            self._rest = self._rest[len(part) :]
            return len(part)
        try:
            # With a buffer it returns a number, whatever its annotation says.
            count: Any = self._tls.read(len(buffer), buffer)
        except ssl.SSLWantReadError:
            return 0
        except ssl.SSLZeroReturnError as error:
            raise TlsError(EPIPE) from error
        except OSError as error:
            raise TlsError(EIO) from error
        if count == 0:
            raise TlsError(EPIPE)
        return int(count)

    def write(self, data: bytes | memoryview) -> int:
        """
        Make records of *data*; how many bytes were taken, 0 if a record from the other side has to be read first.

        That happens in the middle of a message of a handshake only.

        Raises:
            TlsError: EIO.
        """
        try:
            return self._tls.write(data)
        except ssl.SSLWantReadError:
            return 0
        except OSError as error:
            raise TlsError(EIO) from error

    def pending(self) -> int:
        """How many bytes are decrypted and not yet read."""
        return len(self._rest) + self._tls.pending()

    def shutdown(self) -> None:
        """
        Say that nothing more will be sent. What the other side sends can be read as before.

        Raises:
            TlsError: EIO, also if that was said before.
        """
        if self._shut:
            raise TlsError(EIO)
        self._shut = True
        # OpenSSL takes bytes that lie before it for a mistake when it looks for the answer of the other side.
        self._rest += self._drain()
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        except OSError as error:
            raise TlsError(EIO) from error

    def _drain(self) -> bytes:
        """All that was fed, decrypted: a record at most."""
        parts: list[bytes] = []
        try:
            while part := self._tls.read(RECORD_MAX):
                parts.append(part)
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass
        except OSError as error:
            raise TlsError(EIO) from error
        return b"".join(parts)

    # -- channel bindings -------------------------------------------------------------------------------------------

    def _bind(self) -> bytes:
        """The channel bindings: OpenSSL forgets the certificate when the connection fails."""
        own = self.settings.own_certificate
        certificate = own if self.settings.server else self._tls.getpeercert(binary_form=True)
        try:
            name = signature_hash(certificate or b"")
        except ValueError:
            return b""
        if name is None or certificate is None:
            return b""
        return b"tls-server-end-point:" + hashlib.new(name, certificate).digest()
