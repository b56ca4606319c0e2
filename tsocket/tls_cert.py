# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Certificates for a server that has none.

Mirrors ``source4/lib/tls/tlscert.c``: a throw-away certificate authority issues one certificate, and its key is
forgotten.  Needs the distribution ``cryptography`` (``pip install tsocket[tls]``), for the standard library can use
keys but not make them.
"""

from __future__ import annotations

from . import _sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from talloc_py.core import TALLOC_CTX

__all__ = ["tls_cert_generate"]

_KEY_BITS: Final = 4096
_LIFETIME_DAYS: Final = 700
_ORGANIZATION: Final = "Samba Administration"


def tls_cert_generate(
    mem_ctx: TALLOC_CTX | None,
    hostname: str,
    additional_hostnames: Sequence[str] | None,
    keyfile: str,
    certfile: str,
    cafile: str,
) -> None:
    """
    Generate a key and a certificate, and the certificate of a certificate authority that has issued it.

    C: ``void tls_cert_generate(TALLOC_CTX *mem_ctx, const char *hostname, const char * const *additional_hostnames,
    const char *keyfile, const char *certfile, const char *cafile)``

    Args:
        mem_ctx: Not used.

        hostname: The DNS name that the certificate is for.

        additional_hostnames: More of them, or None.

        keyfile: Where the private key goes, with permissions 0600: RSA with 4096 bits, not encrypted.

        certfile: Where the certificate goes. It is valid for 700 days.

        cafile: Where the certificate of the authority goes. Clients that trust it trust *certfile*, and nothing else,
            for its key is not kept.

    If any of the three files exists nothing is done. It takes some seconds.

    Raises:
        ImportError: The distribution ``cryptography`` is not installed.
        OSError: A file cannot be written; none is left.
    """
    for name, value in (("hostname", hostname), ("keyfile", keyfile), ("certfile", certfile), ("cafile", cafile)):
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if any(_sys.isfile(path) for path in (keyfile, certfile, cafile)):
        return
    try:
        key, certificate, authority = _generate([hostname, *(additional_hostnames or ())])
    except ImportError as error:
        raise ImportError(
            "tls_cert_generate() needs the distribution cryptography: pip install tsocket[tls]"
        ) from error
    _write([(keyfile, key, 0o600), (certfile, certificate, 0o644), (cafile, authority, 0o644)])


def _write(files: list[tuple[str, bytes, int]]) -> None:
    """Write all of *files*, or none."""
    written: list[str] = []
    try:
        for path, content, mode in files:
            _sys.create_file(path, content, mode)
            written.append(path)
    except OSError:
        for path in written:
            _sys.unlink(path)
        raise


def _generate(hostnames: list[str]) -> tuple[bytes, bytes, bytes]:
    """A key, its certificate, and that of the authority, in PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    authority_key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    authority_name = _name(f"{hostnames[0]} CA")
    authority = _certificate(authority_name, authority_key, authority_name, authority_key, [])
    key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    names = [x509.DNSName(name) for name in dict.fromkeys(hostnames)]
    certificate = _certificate(_name(hostnames[0]), key, authority_name, authority_key, names)
    pem = serialization.Encoding.PEM
    key_text = key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    return key_text, certificate.public_bytes(pem), authority.public_bytes(pem)


def _name(common_name: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    # A common name has 64 characters at most; the whole name stands among the alternative ones.
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64]),
        ]
    )


def _certificate(
    name: x509.Name,
    key: RSAPrivateKey,
    issuer_name: x509.Name,
    issuer_key: RSAPrivateKey,
    hostnames: list[x509.DNSName],
) -> x509.Certificate:
    """A certificate of a server that is called *hostnames*; of an authority if there are none."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID

    is_authority = not hostnames
    now = datetime.datetime.now(datetime.UTC)
    usage = x509.KeyUsage(
        digital_signature=not is_authority,
        key_encipherment=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A little in the past, for clocks that differ.
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=_LIFETIME_DAYS))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=0 if is_authority else None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if hostnames:
        builder = builder.add_extension(x509.SubjectAlternativeName(hostnames), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())
