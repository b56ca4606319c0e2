# SPDX-License-Identifier: LGPL-3.0-or-later
"""
TLS parameters on OpenSSL: an `ssl.SSLContext` with certificates, revocation lists and a priority in it.

What a `tstream_tls_params` refers to.  Every stream that was made with the parameters holds the same object, so they
outlive the chunk as long as they are needed.  The priority string is looked at by the first stream, not before.

This module loads `ssl`, and is loaded when the first parameters are made.
"""

from __future__ import annotations

import ssl
import warnings

from . import _sys
from ._tls_priority import bad_priority, parse
from ._tls_x509 import pem_blocks, revoked_serials
from .tls_params import (
    TLS_VERIFY_PEER_AS_STRICT_AS_POSSIBLE,
    TLS_VERIFY_PEER_CA_AND_NAME,
    TLS_VERIFY_PEER_CA_AND_NAME_IF_AVAILABLE,
    TLS_VERIFY_PEER_CA_ONLY,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from ._tls_priority import priority

__all__ = ["NoCertificates", "Unusable", "client_settings", "server_settings", "settings"]

_CERTIFICATE_LABELS: Final = (b"CERTIFICATE", b"X509 CERTIFICATE", b"TRUSTED CERTIFICATE")
_VERSIONS: Final = {
    "TLS1.0": (ssl.TLSVersion.TLSv1, ssl.OP_NO_TLSv1),
    "TLS1.1": (ssl.TLSVersion.TLSv1_1, ssl.OP_NO_TLSv1_1),
    "TLS1.2": (ssl.TLSVersion.TLSv1_2, ssl.OP_NO_TLSv1_2),
    "TLS1.3": (ssl.TLSVersion.TLSv1_3, ssl.OP_NO_TLSv1_3),
}
_TLS13_CIPHERS: Final = frozenset(("AES-128-GCM", "AES-256-GCM", "CHACHA20-POLY1305"))
# GnuTLS's names of key exchanges, from OpenSSL's two words.
_KEY_EXCHANGES: Final = {
    ("kx-ecdhe", "auth-rsa"): "ECDHE-RSA",
    ("kx-ecdhe", "auth-ecdsa"): "ECDHE-ECDSA",
    ("kx-dhe", "auth-rsa"): "DHE-RSA",
    ("kx-dhe", "auth-dss"): "DHE-DSS",
    ("kx-rsa", "auth-rsa"): "RSA",
}
# What OpenSSL demands of keys and signatures unless it is asked for more: 112 bits.
_LEVEL: Final = 2


class NoCertificates(Exception):
    """There is nothing that a peer's certificate could be held against."""


class Unusable(Exception):
    """A file cannot be read, or is not what it should be."""


class settings:
    """
    Everything that the streams made with the same parameters share.

    Attributes:
        context: OpenSSL's part.

        server: It is the server's side.

        verify: The level of verification, a number of `tls_verify_peer_state`.

        peer_name: The name that the certificate of the other side must have.

        revoked: The serial numbers of the revocation lists given, by issuer.

        own_certificate: The server's, in DER.

        hostname: The name that OpenSSL is told to look for in the certificate, and to ask the server for.

        unmatched: The certificate must have a name that no certificate can have.

        versions: Of TLS, once prepared: "TLS1.2" and so on. None if the priority has left those of DTLS alone.
    """

    def __init__(self, server: bool, tls_priority: str, verify: int = 0, peer_name: str | None = None) -> None:
        self.server: bool = server
        self.verify: int = verify
        self.peer_name: str | None = peer_name
        self.revoked: dict[bytes, frozenset[bytes]] = {}
        self.own_certificate: bytes = b""
        self.hostname: str | None = None
        self.unmatched: bool = False
        self.versions: frozenset[str] = frozenset()
        self.context: ssl.SSLContext = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        # No renegotiation, and no tickets: what follows a handshake would have to be read by somebody.
        self.context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
        self._text = tls_priority
        self._priority: priority | None = None
        self._refusal: str | None = None

    def prepare(self) -> None:
        """
        Apply the priority string, the first time.

        Raises:
            bad_priority: It cannot be.
        """
        if self._priority is None and self._refusal is None:
            try:
                have = parse(self._text)
                self.versions = _apply(self.context, have, strict=self.verify > 0)
                self._priority = have
            except bad_priority as bad:
                self._refusal = str(bad)
        if self._refusal is not None:
            raise bad_priority(self._refusal)

    def permits(self, cipher: str, version: str) -> bool:
        """Whether the priority has the cipher that was agreed on; OpenSSL cannot be told of those of TLS 1.3."""
        have = self._priority
        if have is None or have.plain or version != "TLSv1.3":
            return True
        return any(f"TLS_{name.replace('-', '_')}_" in cipher for name in have.algorithms & _TLS13_CIPHERS)


# -- priorities -------------------------------------------------------------------------------------------------------


def _apply(context: ssl.SSLContext, have: priority, strict: bool) -> frozenset[str]:
    """Tell *context* what *have* says, and return the versions; *strict*: certificates are looked at."""
    versions = set(have.versions)
    if have.curve:
        context.set_ecdh_curve(have.curve)
    ciphers = _cipher_string(context, have, versions, strict)
    if not have.plain and not _fits_tls13(have, ciphers is None):
        versions.discard("TLS1.3")
    if ciphers is None:
        versions &= {"TLS1.3"}
    elif ciphers:
        context.set_ciphers(ciphers)
    if versions:
        _set_versions(context, versions)
    elif have.versions:
        raise bad_priority("OpenSSL has none of the ciphers that are left")
    return frozenset(versions)


def _fits_tls13(have: priority, needed: bool) -> bool:
    """
    Whether TLS 1.3 is to be offered, whose ciphers cannot be chosen before Python 3.15.

    Everybody prefers the first of them. Where that is not wanted an older version does better, unless TLS 1.3 is
    *needed*: then `settings.permits` sees what comes.
    """
    if "AEAD" not in have.algorithms or have.algorithms.isdisjoint(_TLS13_CIPHERS):
        return False
    return "AES-256-GCM" in have.algorithms or needed or have.versions == ("TLS1.3",)


def _set_versions(context: ssl.SSLContext, versions: set[str]) -> None:
    """Let *context* use exactly *versions*."""
    listed = sorted(versions)
    with warnings.catch_warnings():
        # The old ones are deprecated; whoever has asked for them by name knows that.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = _VERSIONS[listed[0]][0]
        context.maximum_version = _VERSIONS[listed[-1]][0]
        for name, (_, without) in _VERSIONS.items():
            if listed[0] < name < listed[-1] and name not in versions:
                context.options |= without


def _cipher_string(context: ssl.SSLContext, have: priority, versions: set[str], strict: bool) -> str | None:
    """What `ssl.SSLContext.set_ciphers` is to be told for versions before 1.3; "" for nothing, None for no cipher."""
    level = max(_LEVEL, have.level if strict else 0)
    if versions & {"TLS1.0", "TLS1.1"}:
        level = 0  # they sign with SHA-1
    if have.plain and level == _LEVEL:
        return ""
    usual = ":".join(cipher["name"] for cipher in context.get_ciphers())
    if have.plain:
        return f"{usual}:@SECLEVEL={level}"
    # A context of its own, for what is asked for must not change what is asked.
    other = ssl.SSLContext(context.protocol)
    other.set_ciphers(f"ALL:!aNULL:!eNULL:!PSK:!SRP:@SECLEVEL={level}")
    names = [str(cipher["name"]) for cipher in other.get_ciphers() if _is_permitted(dict(cipher), have)]
    return ":".join([*names, f"@SECLEVEL={level}"]) if names else None


def _is_permitted(cipher: dict[str, object], have: priority) -> bool:
    """Whether a cipher suite before TLS 1.3 is made of what the priority has."""
    symmetric = str(cipher["symmetric"] or "").upper()
    if not symmetric and "CCM8" in str(cipher["name"]):
        symmetric = "AES-256-CCM-8" if "AES256" in str(cipher["name"]) else "AES-128-CCM-8"
    mac = "AEAD" if cipher["aead"] else str(cipher["digest"] or "").upper()
    exchange = _KEY_EXCHANGES.get((str(cipher["kea"]), str(cipher["auth"])), "")
    return {symmetric, mac, exchange} <= have.algorithms


# -- certificates -----------------------------------------------------------------------------------------------------


def _load(context: ssl.SSLContext, path: str) -> int:
    """Trust the certificates in the file *path*; returns how many it has, 0 if it has none."""
    try:
        text = _sys.read_file(path)
        if not any(b"-----BEGIN " + label + b"-----" in text for label in _CERTIFICATE_LABELS):
            return 0
        context.load_verify_locations(cafile=path)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise Unusable(f"{path}: {error}") from error
    return sum(text.count(b"-----BEGIN " + label + b"-----") for label in _CERTIFICATE_LABELS)


def _load_folder(context: ssl.SSLContext, folder: str) -> int:
    """Trust the certificates in all files of *folder*; what is no certificate is passed over."""
    found = 0
    seen: set[str] = set()
    for name in sorted(_entries(folder)):
        path = _sys.realpath(f"{folder}/{name}")
        # A folder of the system has each certificate under two names at least.
        if path in seen or not _sys.isfile(path):
            continue
        seen.add(path)
        try:
            found += _load(context, path)
        except Unusable:
            continue
    return found


def _entries(folder: str) -> list[str]:
    """The names of what is in *folder*."""
    try:
        return _sys.listdir(folder)
    except OSError as error:
        raise Unusable(f"{folder}: {error}") from error


def _load_system(context: ssl.SSLContext) -> int:
    """Trust what the system trusts; returns how many certificates there are, at least."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile is None and paths.capath is None:
        raise Unusable("the system has no certificates")
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    found = context.cert_store_stats()["x509"]
    if not found and paths.capath is not None:
        # OpenSSL reads these when it needs one.
        found = len(_entries(paths.capath))
    return found


def _load_revoked(have: settings, path: str) -> None:
    """Read the revocation lists in the file *path*, and nothing else that may be in it."""
    try:
        text = _sys.read_file(path)
        lists = pem_blocks(text, b"X509 CRL")
        if not lists:
            raise ValueError("no revocation list")
        for each in lists:
            issuer, serials = revoked_serials(each)
            have.revoked[issuer] = have.revoked.get(issuer, frozenset()) | serials
        if any(b"-----BEGIN " + label + b"-----" in text for label in _CERTIFICATE_LABELS):
            _load_lists_alone(have.context, text)
        else:
            have.context.load_verify_locations(cafile=path)
    except (OSError, ValueError) as error:
        raise Unusable(f"{path}: {error}") from error


def _load_lists_alone(context: ssl.SSLContext, text: bytes) -> None:
    """Load what of *text* is a revocation list: a certificate beside it is not to be trusted for that."""
    begin, end = b"-----BEGIN X509 CRL-----", b"-----END X509 CRL-----"
    lists = [begin + piece.partition(end)[0] + end + b"\n" for piece in text.split(begin)[1:]]
    fd = _sys.memory_file(b"".join(lists))
    try:
        context.load_verify_locations(cafile=f"/proc/self/fd/{fd}")
    finally:
        _sys.close_quietly(fd)


def client_settings(
    system_cas: bool,
    ca_dirs: Sequence[str],
    ca_file: str | None,
    crl_file: str | None,
    tls_priority: str,
    verify: int,
    peer_name: str | None,
) -> settings:
    """
    The settings of a client.

    Raises:
        Unusable: A file.
        NoCertificates: What is to be verified cannot be.
    """
    have = settings(False, tls_priority, verify, peer_name)
    context = have.context
    context.check_hostname = False
    found = _load_system(context) if system_cas else 0
    found += sum(_load_folder(context, folder) for folder in ca_dirs if _sys.isdir(folder))
    if ca_file and _sys.isfile(ca_file):
        found += _load(context, ca_file)
    if not found and verify >= TLS_VERIFY_PEER_CA_ONLY:
        raise NoCertificates("there is no certificate to trust")
    if crl_file and _sys.isfile(crl_file):
        _load_revoked(have, crl_file)
    elif verify >= TLS_VERIFY_PEER_AS_STRICT_AS_POSSIBLE:
        raise NoCertificates("there is no revocation list")
    if verify < TLS_VERIFY_PEER_CA_ONLY:
        context.verify_mode = ssl.CERT_NONE
        return have
    context.verify_mode = ssl.CERT_REQUIRED
    # The name in the subject, which nobody can tell from other text there, is not looked at.
    context.hostname_checks_common_name = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_TRUSTED_FIRST
    if have.revoked:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    _expect_name(have)
    return have


def _expect_name(have: settings) -> None:
    """Let OpenSSL look for the name of the other side, if that is wanted and can be."""
    name = have.peer_name
    if name is None or have.verify < TLS_VERIFY_PEER_CA_AND_NAME_IF_AVAILABLE:
        return
    if _is_ip_address(name):
        # Addresses stand elsewhere in a certificate than names: where a name is demanded, one can never pass.
        have.unmatched = have.verify >= TLS_VERIFY_PEER_CA_AND_NAME
        return
    try:
        have.context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=name)
    except (TypeError, ValueError):  # empty, too long a label, a NUL, a dot at the beginning
        have.unmatched = True
        return
    have.context.check_hostname = True
    have.hostname = name


def _is_ip_address(name: str) -> bool:
    for family, text in ((_sys.AF_INET, name), (_sys.AF_INET6, name.partition("%")[0])):
        try:
            _sys.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return True
    return False


def server_settings(
    key_file: str,
    cert_file: str,
    ca_file: str | None,
    crl_file: str | None,
    dhp_file: str | None,
    tls_priority: str,
) -> settings:
    """
    The settings of a server.

    Raises:
        Unusable: A file.
    """
    have = settings(True, tls_priority)
    context = have.context
    context.num_tickets = 0
    # Clients are not asked for a certificate: OpenSSL cannot ask without verifying, and nobody would look at it.
    context.verify_mode = ssl.CERT_NONE
    try:
        if _sys.owner_and_mode(key_file) != (_sys.geteuid(), 0o600):
            raise Unusable(f"{key_file}: must belong to this user, with permissions 0600")
        if ca_file:
            _load(context, ca_file)
        if crl_file:
            _load_revoked(have, crl_file)
        if dhp_file:
            context.load_dh_params(dhp_file)
        # An encrypted key must not make OpenSSL ask for a password on the terminal.
        context.load_cert_chain(cert_file, key_file, password=lambda: b"")
        text = _sys.read_file(cert_file)
        blocks = [block for label in _CERTIFICATE_LABELS[:2] for block in pem_blocks(text, label)]
        have.own_certificate = blocks[0] if blocks else b""
    except (OSError, ValueError) as error:
        raise Unusable(str(error)) from error
    return have
