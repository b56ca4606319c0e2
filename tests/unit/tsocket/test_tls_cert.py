# SPDX-License-Identifier: LGPL-3.0-or-later
"""Certificates for servers that have none."""

from __future__ import annotations

import datetime
import pathlib
import stat
import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from stream_kit import Loop
from tls_kit import Pair, world

from talloc_py import TALLOC_CTX
from tsocket import NT_STATUS_OK, tls_cert, tls_cert_generate, tstream_tls_params_server

NAMES = ["host.test", "other.test", "host.test"]


def paths(folder: pathlib.Path) -> list[str]:
    return [str(folder / name) for name in ("key.pem", "cert.pem", "ca.pem")]


@pytest.fixture
def short_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that are made in no time."""
    monkeypatch.setattr(tls_cert, "_KEY_BITS", 2048)


@pytest.mark.usefixtures("short_keys")
class TestGenerate:
    def test_the_files(self, tmp_path: pathlib.Path) -> None:
        """A key that only its owner may read, a certificate for all names, and who has issued it."""
        files = paths(tmp_path)
        assert tls_cert_generate(None, NAMES[0], NAMES[1:], *files) is None
        key, cert, ca = (pathlib.Path(file).read_bytes() for file in files)
        assert stat.S_IMODE(pathlib.Path(files[0]).stat().st_mode) == 0o600
        certificate, authority = x509.load_pem_x509_certificate(cert), x509.load_pem_x509_certificate(ca)
        certificate.verify_directly_issued_by(authority)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["host.test", "other.test"]
        assert "CN=host.test" in certificate.subject.rfc4514_string()
        private = load_pem_private_key(key, None)
        assert isinstance(private, rsa.RSAPrivateKey)
        assert private.public_key() == certificate.public_key()
        for each, is_authority in ((certificate, False), (authority, True)):
            assert each.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is is_authority
            life = each.not_valid_after_utc - each.not_valid_before_utc
            assert life - datetime.timedelta(days=700) < datetime.timedelta(hours=1)

    @pytest.mark.parametrize("existing", [0, 1, 2])
    def test_nothing_is_overwritten(self, tmp_path: pathlib.Path, existing: int) -> None:
        """Where one file exists nothing is done."""
        files = paths(tmp_path)
        pathlib.Path(files[existing]).write_text("mine")
        tls_cert_generate(None, NAMES[0], None, *files)
        assert pathlib.Path(files[existing]).read_text() == "mine"
        assert len(list(tmp_path.iterdir())) == 1

    def test_all_or_nothing(self, tmp_path: pathlib.Path) -> None:
        """Where one file cannot be written none is left."""
        files = paths(tmp_path)
        files[2] = str(tmp_path / "nowhere" / "ca.pem")
        with pytest.raises(FileNotFoundError):
            tls_cert_generate(None, NAMES[0], None, *files)
        assert list(tmp_path.iterdir()) == []

    def test_a_server_makes_its_own(self, top: TALLOC_CTX, loop: Loop, tmp_path: pathlib.Path) -> None:
        """Parameters for a server without files generate them, and clients that trust the authority can connect."""
        key, cert, ca = paths(tmp_path)
        for _ in range(2):
            status, server = tstream_tls_params_server(
                top, NAMES[0], NAMES[1:], True, key, cert, ca, None, None, "NORMAL"
            )
            assert status == NT_STATUS_OK
            assert server is not None
            for name in NAMES[:2]:
                client = world().client(top, name=name, ca=ca)
                assert [result[:2] for result in Pair(loop, top, client, server).results()] == [(0, 0)] * 2

    def test_a_long_name(self, tmp_path: pathlib.Path) -> None:
        """More than a subject has room for stands whole among the other names."""
        name = ".".join(["label" * 10] * 3)
        tls_cert_generate(None, name, None, *paths(tmp_path))
        certificate = x509.load_pem_x509_certificate((tmp_path / "cert.pem").read_bytes())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [name]

    @pytest.mark.parametrize("number", [0, 2, 3, 4])
    def test_types(self, tmp_path: pathlib.Path, number: int) -> None:
        """What is no text is a TypeError."""
        arguments: list[object] = [NAMES[0], None, *paths(tmp_path)]
        arguments[number] = b"bytes"
        with pytest.raises(TypeError, match="must be a str"):
            tls_cert_generate(None, *arguments)  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_length_of_keys(tmp_path: pathlib.Path) -> None:
    """4096 bits."""
    tls_cert_generate(None, NAMES[0], None, *paths(tmp_path))
    key = load_pem_private_key((tmp_path / "key.pem").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == 4096


def test_without_the_distribution(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ImportError says what to install."""
    for name in [name for name in sys.modules if name.split(".")[0] == "cryptography"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"cryptography.*tsocket\[tls\]"):
        tls_cert_generate(None, NAMES[0], None, *paths(tmp_path))
