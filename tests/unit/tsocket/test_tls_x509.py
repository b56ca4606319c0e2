# SPDX-License-Identifier: LGPL-3.0-or-later
"""What is read out of certificates and revocation lists, held against another implementation, and against damage."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st
from tls_kit import world

from tsocket._tls_x509 import issuer_and_serial, pem_blocks, revoked_serials, signature_hash

if TYPE_CHECKING:
    from collections.abc import Callable

DER = serialization.Encoding.DER


def crl() -> bytes:
    return pem_blocks(pathlib.Path(world().crl).read_bytes(), b"X509 CRL")[0]


class TestReading:
    @pytest.mark.parametrize("which", ["good", "revoked", "chained"])
    def test_certificates(self, which: str) -> None:
        """Issuer and serial number are those that the package cryptography reads."""
        der = getattr(world(), which).der
        certificate = x509.load_der_x509_certificate(der)
        issuer, serial = issuer_and_serial(der)
        assert issuer == certificate.issuer.public_bytes()
        assert int.from_bytes(serial, "big") == certificate.serial_number
        assert signature_hash(der) == "sha256"

    def test_lists(self) -> None:
        """So are those of a revocation list."""
        other = x509.load_der_x509_crl(crl())
        issuer, serials = revoked_serials(crl())
        assert issuer == other.issuer.public_bytes()
        assert {int.from_bytes(serial, "big") for serial in serials} == {each.serial_number for each in other}
        assert len(serials) == 1

    def test_an_empty_list(self) -> None:
        """Nothing is revoked."""
        text = pathlib.Path(world().ca.revoke("empty-crl", [])).read_bytes()
        assert revoked_serials(pem_blocks(text, b"X509 CRL")[0])[1] == frozenset()

    def test_blocks(self) -> None:
        """Only those of one label, in order; what stands between them does not matter."""
        text = pathlib.Path(world().chained.cert).read_bytes()
        assert pem_blocks(b"before\n" + text, b"CERTIFICATE")[0] == world().chained.der
        assert len(pem_blocks(text, b"CERTIFICATE")) == 2
        assert pem_blocks(text, b"X509 CRL") == []

    @pytest.mark.parametrize("text", [b"-----BEGIN X-----\nAAAA", b"-----BEGIN X-----\nA\n-----END X-----\n"])
    def test_broken_blocks(self, text: bytes) -> None:
        """A block that does not end or is not base64 is a ValueError."""
        with pytest.raises(ValueError, match=r"block|base64"):
            pem_blocks(text, b"X")


READERS = [signature_hash, issuer_and_serial, revoked_serials]


class TestDamage:
    @pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
    @given(data=st.binary(max_size=200))
    def test_anything(self, read: Callable[[bytes], object], data: bytes) -> None:
        """Bytes that mean nothing are a ValueError, and nothing else."""
        try:
            read(data)
        except ValueError:
            pass

    @pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
    @given(data=st.data())
    def test_a_changed_byte(self, read: Callable[[bytes], object], data: st.DataObject) -> None:
        """So is what was right before somebody changed a byte, if it is noticed at all."""
        good = bytearray(crl() if read is revoked_serials else world().good.der)
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
        try:
            read(bytes(good))
        except ValueError:
            pass

    @pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
    def test_every_cut(self, read: Callable[[bytes], object]) -> None:
        """What is cut off anywhere is a ValueError."""
        good = crl() if read is revoked_serials else world().good.der
        for size in range(len(good)):
            with pytest.raises(ValueError, match=r"cut off|cannot be|no element"):
                read(good[:size])

    @pytest.mark.parametrize("length", [b"\x80", b"\x84\xff\xff\xff\xff", b"\x85\0\0\0\0\1", b"\xff", b"\x82\xff"])
    def test_lengths(self, length: bytes) -> None:
        """A length that cannot be is a ValueError, before memory is reserved for it."""
        with pytest.raises(ValueError, match="DER"):
            signature_hash(b"\x30" + length)
