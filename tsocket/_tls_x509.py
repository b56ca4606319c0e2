# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What TLS needs to know of certificates and revocation lists beyond what the standard library tells.

Three questions: with which hash a certificate was signed (for channel bindings), who issued it under which number, and
which numbers a revocation list has. A few tags of DER answer them; everything else, signatures above all, is OpenSSL's
business.

Cost: one walk over the bytes, each of which is looked at once at most; every length is held against what is there.
"""

from __future__ import annotations

from binascii import a2b_base64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

__all__ = ["issuer_and_serial", "pem_blocks", "revoked_serials", "signature_hash"]

_INTEGER: Final = 0x02
_OID: Final = 0x06
_SEQUENCE: Final = 0x30
_TIMES: Final = (0x17, 0x18)
_CONTEXT_0: Final = 0xA0

# By the object identifier of the algorithm that a certificate was signed with. MD5 and SHA-1 are replaced by SHA-256.
_HASHES: Final = {
    "1.2.840.113549.1.1.4": "sha256",  # MD5 with RSA
    "1.2.840.113549.1.1.5": "sha256",  # SHA-1 with RSA
    "1.2.840.113549.1.1.11": "sha256",
    "1.2.840.113549.1.1.12": "sha384",
    "1.2.840.113549.1.1.13": "sha512",
    "1.2.840.113549.1.1.14": "sha224",
    "1.2.840.10040.4.3": "sha256",  # SHA-1 with DSA
    "1.2.840.10045.4.1": "sha256",  # SHA-1 with ECDSA
    "1.2.840.10045.4.3.1": "sha224",
    "1.2.840.10045.4.3.2": "sha256",
    "1.2.840.10045.4.3.3": "sha384",
    "1.2.840.10045.4.3.4": "sha512",
    "2.16.840.1.101.3.4.3.1": "sha224",  # with DSA
    "2.16.840.1.101.3.4.3.2": "sha256",
    "2.16.840.1.101.3.4.3.3": "sha384",
    "2.16.840.1.101.3.4.3.4": "sha512",
}
_RSA_PSS: Final = "1.2.840.113549.1.1.10"
# By the object identifier of a hash, as RSA-PSS names it among its parameters; SHA-1 if it names none.
_PSS_HASHES: Final = {
    "1.3.14.3.2.26": "sha256",  # SHA-1
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
    "2.16.840.1.101.3.4.2.4": "sha224",
}


class _element:
    """One element of DER: its tag, where it begins, and its content."""

    __slots__ = ("content", "tag", "whole")

    def __init__(self, tag: int, whole: bytes, content: bytes) -> None:
        self.tag = tag
        self.whole = whole
        self.content = content

    def parts(self) -> Iterator[_element]:
        """The elements that the content is made of."""
        rest = self.content
        while rest:
            part = _first(rest)
            yield part
            rest = rest[len(part.whole) :]


def _first(data: bytes) -> _element:
    """The element that *data* begins with; ValueError if it does not fit."""
    if len(data) < 2:
        raise ValueError("an element of DER is cut off")
    tag, size, begin = data[0], data[1], 2
    if size & 0x80:
        count = size & 0x7F
        if not 1 <= count <= 4 or len(data) < 2 + count:
            raise ValueError("a length of DER that cannot be")
        begin += count
        size = int.from_bytes(data[2:begin], "big")
    if begin + size > len(data):
        raise ValueError("an element of DER is cut off")
    return _element(tag, data[: begin + size], data[begin : begin + size])


def _expect(parts: Iterator[_element], tag: int) -> _element:
    part = next(parts, None)
    if part is None or part.tag != tag:
        raise ValueError(f"no element with the tag {tag:#x} where there should be one")
    return part


def _oid(parts: Iterator[_element]) -> str:
    """An object identifier in the usual notation."""
    numbers: list[int] = []
    value = 0
    for byte in _expect(parts, _OID).content:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(value)
            value = 0
    if not numbers:
        raise ValueError("an empty object identifier")
    arc = min(numbers[0] // 40, 2)
    return ".".join(map(str, [arc, numbers[0] - 40 * arc, *numbers[1:]]))


def signature_hash(certificate: bytes) -> str | None:
    """
    The name, as `hashlib` has it, of the hash that belongs to the signature of *certificate*, in DER.

    Returns:
        None for an algorithm that has no hash of its own, such as Ed25519.

    Raises:
        ValueError: That is no certificate.
    """
    outer = _first(certificate).parts()
    _expect(outer, _SEQUENCE)
    algorithm = _expect(outer, _SEQUENCE).parts()
    oid = _oid(algorithm)
    if oid != _RSA_PSS:
        return _HASHES.get(oid)
    for parameter in _expect(algorithm, _SEQUENCE).parts():
        if parameter.tag == _CONTEXT_0:
            return _PSS_HASHES.get(_oid(_first(parameter.content).parts()))
    return "sha256"


def issuer_and_serial(certificate: bytes) -> tuple[bytes, bytes]:
    """
    Who issued *certificate*, in DER, and the content of its serial number.

    Raises:
        ValueError: That is no certificate.
    """
    fields = _expect(_first(certificate).parts(), _SEQUENCE).parts()
    serial = next(fields, None)
    if serial is not None and serial.tag == _CONTEXT_0:  # the version
        serial = next(fields, None)
    if serial is None or serial.tag != _INTEGER:
        raise ValueError("a certificate without a serial number")
    _expect(fields, _SEQUENCE)  # the algorithm of the signature
    return _expect(fields, _SEQUENCE).whole, serial.content


def revoked_serials(crl: bytes) -> tuple[bytes, frozenset[bytes]]:
    """
    Who issued the revocation list *crl*, in DER, and the contents of the serial numbers that it has.

    Raises:
        ValueError: That is no revocation list.
    """
    fields = list(_expect(_first(crl).parts(), _SEQUENCE).parts())
    if fields and fields[0].tag == _INTEGER:  # the version
        del fields[0]
    if len(fields) < 3 or fields[0].tag != _SEQUENCE or fields[1].tag != _SEQUENCE or fields[2].tag not in _TIMES:
        raise ValueError("no revocation list")
    issuer = fields[1].whole
    rest = [field for field in fields[3:] if field.tag == _SEQUENCE]
    serials = [_expect(entry.parts(), _INTEGER).content for entry in rest[0].parts()] if rest else []
    return issuer, frozenset(serials)


def pem_blocks(text: bytes, label: bytes) -> list[bytes]:
    """
    The DER in the blocks of *text* that are called *label*.

    Raises:
        ValueError: A block does not end, or is not base64.
    """
    begin, end = b"-----BEGIN " + label + b"-----", b"-----END " + label + b"-----"
    found: list[bytes] = []
    for piece in text.split(begin)[1:]:
        body, mark, _ = piece.partition(end)
        if not mark:
            raise ValueError(f"a block {label.decode()} does not end")
        found.append(a2b_base64(body))
    return found
