# SPDX-License-Identifier: LGPL-3.0-or-later
"""Parameters of TLS: what they are made of, and what is refused."""

from __future__ import annotations

import pathlib
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization
from tls_kit import HOST, key_pem, world

import tsocket
from talloc_py import (
    TALLOC_CTX,
    talloc_abort_error,
    talloc_free,
    talloc_get_name,
    talloc_new,
    talloc_parent,
    talloc_set_memlimit,
    talloc_total_blocks,
)
from tsocket import (
    NT_STATUS_CANT_ACCESS_DOMAIN_INFO,
    NT_STATUS_INVALID_PARAMETER_MIX,
    NT_STATUS_NO_MEMORY,
    NT_STATUS_OK,
    TLS_VERIFY_PEER_AS_STRICT_AS_POSSIBLE,
    TLS_VERIFY_PEER_CA_AND_NAME,
    TLS_VERIFY_PEER_CA_AND_NAME_IF_AVAILABLE,
    TLS_VERIFY_PEER_CA_ONLY,
    TLS_VERIFY_PEER_NO_CHECK,
    tls_verify_peer_state,
    tls_verify_peer_string,
    tstream_tls_params,
    tstream_tls_params_client,
    tstream_tls_params_enabled,
    tstream_tls_params_peer_name,
    tstream_tls_params_quic_enabled,
    tstream_tls_params_quic_prepare,
    tstream_tls_params_server,
    tstream_tls_params_verify_peer,
    tstream_tls_verify_peer_trusted,
)

if TYPE_CHECKING:
    from collections.abc import Callable

LEVELS = [
    TLS_VERIFY_PEER_NO_CHECK,
    TLS_VERIFY_PEER_CA_ONLY,
    TLS_VERIFY_PEER_CA_AND_NAME_IF_AVAILABLE,
    TLS_VERIFY_PEER_CA_AND_NAME,
    TLS_VERIFY_PEER_AS_STRICT_AS_POSSIBLE,
]
EACH_LEVEL = pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name)


def client(top: TALLOC_CTX | None, **changed: Any) -> Any:
    """`tstream_tls_params_client` with arguments that are all right, but for those *changed*."""
    arguments: dict[str, Any] = {
        "system_cas": False,
        "ca_dirs": None,
        "ca_file": world().ca.file,
        "crl_file": None,
        "tls_priority": "",
        "verify_peer": TLS_VERIFY_PEER_CA_AND_NAME,
        "peer_name": HOST,
    }
    assert changed.keys() <= arguments.keys()
    return tstream_tls_params_client(top, **(arguments | changed))


def server(top: TALLOC_CTX | None, **changed: Any) -> Any:
    """`tstream_tls_params_server` likewise."""
    arguments: dict[str, Any] = {
        "dns_host_name": HOST,
        "additional_dns_hostnames": None,
        "enabled": True,
        "key_file": world().good.key,
        "cert_file": world().good.cert,
        "ca_file": world().ca.file,
        "crl_file": None,
        "dhp_file": None,
        "tls_priority": "",
    }
    assert changed.keys() <= arguments.keys()
    return tstream_tls_params_server(top, **(arguments | changed))


@pytest.fixture
def garbage(tmp_path: pathlib.Path) -> str:
    """A file that has what certificates look like, but is damaged."""
    path = tmp_path / "garbage"
    lines = pathlib.Path(world().ca.file).read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:1] + [line.replace(b"A", b"*") for line in lines[1:-1]] + lines[-1:]))
    return str(path)


class TestVerifyPeer:
    @EACH_LEVEL
    def test_names_and_numbers(self, level: tls_verify_peer_state) -> None:
        """A level is called what configuration files call it, and there is a constant for that."""
        text = tls_verify_peer_string(level)
        assert text == getattr(tsocket, f"{level.name}_STRING")
        assert level.name == f"TLS_VERIFY_PEER_{text.upper()}"
        assert tls_verify_peer_string(int(level)) == text

    def test_the_values_are_cs(self) -> None:
        """They are ordered, with room between them."""
        assert [int(level) for level in LEVELS] == [0, 10, 20, 30, 9999]

    @pytest.mark.parametrize("number", [-1, 1, 31, 10000])
    def test_other_numbers(self, number: int) -> None:
        """They have a name, too."""
        assert tls_verify_peer_string(number) == "unknown tls_verify_peer_state"

    @EACH_LEVEL
    def test_trusted(self, level: tls_verify_peer_state) -> None:
        """Trust begins where the name is verified."""
        assert tstream_tls_verify_peer_trusted(level) is (level >= TLS_VERIFY_PEER_CA_AND_NAME)


class TestClient:
    def test_the_chunk(self, top: TALLOC_CTX) -> None:
        """Parameters belong to who they were made for, and say what they are."""
        status, params = client(top)
        assert status == NT_STATUS_OK
        assert talloc_parent(params) is top
        assert talloc_get_name(params) == "struct tstream_tls_params"
        assert tstream_tls_params_enabled(params) is True
        assert tstream_tls_params_peer_name(params) == HOST
        assert tstream_tls_params_verify_peer(params) is TLS_VERIFY_PEER_CA_AND_NAME
        assert tstream_tls_params_quic_enabled(params) is False
        assert tstream_tls_params_quic_prepare(params) == NT_STATUS_OK

    def test_a_level_between_the_levels(self, top: TALLOC_CTX) -> None:
        """It is kept as it was given."""
        assert tstream_tls_params_verify_peer(client(top, verify_peer=25)[1]) == 25

    @EACH_LEVEL
    def test_a_name_is_needed_where_it_is_verified(self, top: TALLOC_CTX, level: tls_verify_peer_state) -> None:
        """From CA_AND_NAME on."""
        status, params = client(top, verify_peer=level, peer_name=None, crl_file=world().crl)
        wanted = NT_STATUS_OK if level < TLS_VERIFY_PEER_CA_AND_NAME else NT_STATUS_INVALID_PARAMETER_MIX
        assert status == wanted
        assert (params is None) is (wanted != NT_STATUS_OK)

    @EACH_LEVEL
    @pytest.mark.parametrize("ca_file", [None, "", "/nowhere/at/all", "/", "/dev/null"])
    def test_a_certificate_is_needed_where_one_is_verified(
        self, top: TALLOC_CTX, level: tls_verify_peer_state, ca_file: str | None
    ) -> None:
        """From CA_ONLY on; a file that does not exist is passed over."""
        status, params = client(top, verify_peer=level, ca_file=ca_file, crl_file=world().crl)
        assert status == (NT_STATUS_INVALID_PARAMETER_MIX if level else NT_STATUS_OK)
        assert (params is None) is bool(level)

    @EACH_LEVEL
    @pytest.mark.parametrize("crl_file", [None, "", "/nowhere/at/all"])
    def test_a_revocation_list_is_needed_where_all_is_strict(
        self, top: TALLOC_CTX, level: tls_verify_peer_state, crl_file: str | None
    ) -> None:
        """One that does not exist is passed over below that."""
        status, _ = client(top, verify_peer=level, crl_file=crl_file)
        strict = level == TLS_VERIFY_PEER_AS_STRICT_AS_POSSIBLE
        assert status == (NT_STATUS_INVALID_PARAMETER_MIX if strict else NT_STATUS_OK)

    def test_a_file_without_certificates(self, top: TALLOC_CTX, tmp_path: pathlib.Path) -> None:
        """It counts as no certificate, not as an error."""
        path = tmp_path / "text"
        path.write_text("nothing to see here\n")
        assert client(top, ca_file=str(path)) == (NT_STATUS_INVALID_PARAMETER_MIX, None)
        assert client(top, ca_file=world().crl) == (NT_STATUS_INVALID_PARAMETER_MIX, None)
        assert client(top, ca_file=str(path), verify_peer=TLS_VERIFY_PEER_NO_CHECK)[0] == NT_STATUS_OK

    @pytest.mark.parametrize("argument", ["ca_file", "crl_file"])
    def test_damaged_files(self, top: TALLOC_CTX, garbage: str, argument: str) -> None:
        """They cannot be used, whatever the level."""
        for level in (TLS_VERIFY_PEER_NO_CHECK, TLS_VERIFY_PEER_CA_AND_NAME):
            status = client(top, verify_peer=level, **{argument: garbage})
            assert status == (NT_STATUS_CANT_ACCESS_DOMAIN_INFO, None)

    @pytest.mark.parametrize("cut", [1, 20, 100])
    def test_a_cut_revocation_list(self, top: TALLOC_CTX, tmp_path: pathlib.Path, cut: int) -> None:
        """Half a list is none."""
        path = tmp_path / "crl"
        path.write_bytes(pathlib.Path(world().crl).read_bytes()[:-cut])
        result = client(top, crl_file=str(path))
        # Without its last byte, a line feed, it is whole.
        assert result[0] == (NT_STATUS_OK if cut == 1 else NT_STATUS_CANT_ACCESS_DOMAIN_INFO)

    def test_a_certificate_instead_of_a_revocation_list(self, top: TALLOC_CTX) -> None:
        """Nothing would be revoked: refused."""
        assert client(top, crl_file=world().ca.file) == (NT_STATUS_CANT_ACCESS_DOMAIN_INFO, None)

    def test_folders(self, top: TALLOC_CTX, tmp_path: pathlib.Path) -> None:
        """All files of all folders that exist are tried."""
        (tmp_path / "a").mkdir()
        (tmp_path / "b" / "folder").mkdir(parents=True)
        folders = [str(tmp_path / name) for name in ("nowhere", "a", "b")]
        assert client(top, ca_file=None, ca_dirs=folders)[0] == NT_STATUS_INVALID_PARAMETER_MIX
        (tmp_path / "a" / "text").write_text("no certificate\n")
        (tmp_path / "b" / "broken").write_bytes(b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n")
        (tmp_path / "b" / "dangling").symlink_to("nowhere")
        assert client(top, ca_file=None, ca_dirs=folders)[0] == NT_STATUS_INVALID_PARAMETER_MIX
        shutil.copy(world().ca.file, tmp_path / "b" / "one.crt")
        assert client(top, ca_file=None, ca_dirs=folders)[0] == NT_STATUS_OK
        assert client(top, ca_file=None, ca_dirs=tuple(folders))[0] == NT_STATUS_OK

    def test_the_systems_certificates(
        self, top: TALLOC_CTX, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
    ) -> None:
        """They are those that OpenSSL knows of: a file, or a folder of files with odd names."""
        monkeypatch.setenv("SSL_CERT_FILE", world().ca.file)
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
        assert client(top, ca_file=None, system_cas=True)[0] == NT_STATUS_OK
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nowhere"))
        assert client(top, ca_file=None, system_cas=True)[0] == NT_STATUS_INVALID_PARAMETER_MIX
        shutil.copy(world().ca.file, tmp_path / "01234567.0")
        assert client(top, ca_file=None, system_cas=True)[0] == NT_STATUS_OK
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "nowhere"))
        assert client(top, system_cas=True)[0] == NT_STATUS_CANT_ACCESS_DOMAIN_INFO

    def test_the_priority_is_not_looked_at(self, top: TALLOC_CTX) -> None:
        """Whatever it says: the connect function will see."""
        assert client(top, tls_priority="NONSENSE")[0] == NT_STATUS_OK

    @pytest.mark.parametrize("name", ["", ".dot", "a" * 64 + ".test", "nul\0.test", "127.0.0.1", "::1", "münchen.test"])
    def test_names_that_no_certificate_has(self, top: TALLOC_CTX, name: str) -> None:
        """They are accepted here, and found out in the handshake."""
        status, params = client(top, peer_name=name)
        assert status == NT_STATUS_OK
        assert tstream_tls_params_peer_name(params) == name

    @pytest.mark.parametrize(
        ("argument", "value"),
        [
            ("ca_dirs", "/etc/ssl"),
            ("ca_dirs", [b"/etc/ssl"]),
            ("ca_file", b"ca"),
            ("crl_file", 1),
            ("tls_priority", None),
            ("tls_priority", b""),
            ("verify_peer", "ca_only"),
            ("peer_name", b"name"),
        ],
    )
    def test_types(self, top: TALLOC_CTX, argument: str, value: object) -> None:
        """What is no text, or no list of it, is a TypeError that names the argument."""
        with pytest.raises(TypeError, match=argument):
            client(top, **{argument: value})
        assert talloc_total_blocks(top) == 1


class TestServer:
    def test_the_chunk(self, top: TALLOC_CTX) -> None:
        """A server verifies nobody."""
        status, params = server(top)
        assert status == NT_STATUS_OK
        assert talloc_parent(params) is top
        assert tstream_tls_params_enabled(params) is True
        assert tstream_tls_params_verify_peer(params) is TLS_VERIFY_PEER_NO_CHECK
        assert tstream_tls_params_peer_name(params) is None

    @pytest.mark.parametrize("changed", [{"enabled": False}, {"key_file": None}, {"key_file": ""}])
    def test_not_enabled(self, top: TALLOC_CTX, changed: dict[str, Any]) -> None:
        """Switched off or without a key: no error, but no TLS; no file is looked at."""
        status, params = server(top, **({"cert_file": "/nowhere", "ca_file": "/nowhere"} | changed))
        assert status == NT_STATUS_OK
        assert tstream_tls_params_enabled(params) is False
        assert tstream_tls_params_verify_peer(params) is TLS_VERIFY_PEER_NO_CHECK
        assert tstream_tls_params_peer_name(params) is None
        assert tstream_tls_params_quic_prepare(params) == NT_STATUS_OK

    @pytest.mark.parametrize("mode", [0o644, 0o640, 0o400, 0o700, 0o601])
    def test_permissions_of_the_key(self, top: TALLOC_CTX, tmp_path: pathlib.Path, mode: int) -> None:
        """Exactly 0600, neither more nor less."""
        path = tmp_path / "key"
        shutil.copy(world().good.key, path)
        path.chmod(mode)
        assert server(top, key_file=str(path)) == (NT_STATUS_CANT_ACCESS_DOMAIN_INFO, None)
        path.chmod(0o600)
        assert server(top, key_file=str(path))[0] == NT_STATUS_OK

    def test_owner_of_the_key(self, top: TALLOC_CTX, monkeypatch: pytest.MonkeyPatch) -> None:
        """It belongs to this user."""
        monkeypatch.setattr("tsocket._sys.geteuid", lambda: 12345)
        assert server(top) == (NT_STATUS_CANT_ACCESS_DOMAIN_INFO, None)

    @pytest.mark.parametrize("argument", ["key_file", "cert_file", "crl_file", "dhp_file"])
    def test_missing_files(self, top: TALLOC_CTX, argument: str) -> None:
        """A file that is named must be there, the revocation list, too."""
        assert server(top, **{argument: "/nowhere/at/all"}) == (NT_STATUS_CANT_ACCESS_DOMAIN_INFO, None)

    @pytest.mark.parametrize("argument", ["ca_file", "crl_file", "dhp_file", "cert_file"])
    def test_damaged_files(self, top: TALLOC_CTX, garbage: str, argument: str) -> None:
        """And must be what it is said to be."""
        assert server(top, **{argument: garbage}) == (NT_STATUS_CANT_ACCESS_DOMAIN_INFO, None)

    @pytest.mark.parametrize("changed", [{"ca_file": None}, {"ca_file": ""}, {"crl_file": ""}, {"dhp_file": ""}])
    def test_files_that_are_not_named(self, top: TALLOC_CTX, changed: dict[str, Any]) -> None:
        """None and nothing are the same."""
        assert server(top, **changed)[0] == NT_STATUS_OK

    def test_no_certificate(self, top: TALLOC_CTX) -> None:
        """A key alone is not enough."""
        assert server(top, cert_file=None) == (NT_STATUS_CANT_ACCESS_DOMAIN_INFO, None)

    def test_key_and_certificate_of_different_pairs(self, top: TALLOC_CTX) -> None:
        """They must belong together."""
        other = world().expired
        assert server(top, cert_file=other.cert) == (NT_STATUS_CANT_ACCESS_DOMAIN_INFO, None)
        assert server(top, cert_file=other.cert, key_file=other.key)[0] == NT_STATUS_OK

    def test_an_encrypted_key(self, top: TALLOC_CTX, tmp_path: pathlib.Path) -> None:
        """Nobody is asked for a password: it cannot be used."""
        path = tmp_path / "key"
        key = serialization.load_pem_private_key(pathlib.Path(world().good.key).read_bytes(), None)
        path.write_bytes(key_pem(key, b"secret"))
        path.chmod(0o600)
        assert server(top, key_file=str(path)) == (NT_STATUS_CANT_ACCESS_DOMAIN_INFO, None)

    def test_parameters_for_key_exchange(self, top: TALLOC_CTX, tmp_path: pathlib.Path) -> None:
        """A group of 2048 bits is loaded; a weak one is refused."""
        path = tmp_path / "dhp"
        path.write_text(DH_2048)
        assert server(top, dhp_file=str(path))[0] == NT_STATUS_OK
        path.write_text(DH_512)
        assert server(top, dhp_file=str(path)) == (NT_STATUS_CANT_ACCESS_DOMAIN_INFO, None)

    def test_nothing_is_generated_without_the_distribution(
        self, top: TALLOC_CTX, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where files are missing and cannot be made, they are missing."""
        for name in [name for name in sys.modules if name.split(".")[0] == "cryptography"]:
            monkeypatch.setitem(sys.modules, name, None)
        files = {f"{name}_file": str(tmp_path / name) for name in ("key", "cert", "ca")}
        assert server(top, **files) == (NT_STATUS_CANT_ACCESS_DOMAIN_INFO, None)
        assert list(tmp_path.iterdir()) == []

    def test_nothing_is_generated_beside_a_key(self, top: TALLOC_CTX, tmp_path: pathlib.Path) -> None:
        """A missing file of authorities does not cost a server its key."""
        path = tmp_path / "key"
        shutil.copy(world().good.key, path)
        before = path.read_bytes()
        result = server(top, key_file=str(path), ca_file=str(tmp_path / "ca"))
        assert result == (NT_STATUS_CANT_ACCESS_DOMAIN_INFO, None)
        assert path.read_bytes() == before
        assert [each.name for each in tmp_path.iterdir()] == ["key"]

    @pytest.mark.parametrize(
        ("argument", "value"),
        [
            ("dns_host_name", b"name"),
            ("additional_dns_hostnames", "name"),
            ("additional_dns_hostnames", [None]),
            ("key_file", 1),
            ("cert_file", b"cert"),
            ("ca_file", 1),
            ("crl_file", 1),
            ("dhp_file", 1),
            ("tls_priority", None),
        ],
    )
    def test_types(self, top: TALLOC_CTX, argument: str, value: object) -> None:
        """What is no text, or no list of it, is a TypeError that names the argument."""
        with pytest.raises(TypeError, match=argument):
            server(top, **{argument: value})


QUESTIONS = [
    tstream_tls_params_enabled,
    tstream_tls_params_peer_name,
    tstream_tls_params_verify_peer,
    tstream_tls_params_quic_enabled,
    tstream_tls_params_quic_prepare,
]


class TestChunks:
    @pytest.mark.parametrize("ask", QUESTIONS, ids=lambda ask: ask.__name__)
    def test_questions_need_parameters(self, top: TALLOC_CTX, ask: Callable[[Any], Any]) -> None:
        """Anything else is a TypeError, freed parameters go to the abort function."""
        for other in (None, top, object()):
            with pytest.raises(TypeError, match="tstream_tls_params"):
                ask(other)
        _, params = client(top)
        talloc_free(params)
        with pytest.raises(talloc_abort_error):
            ask(params)

    @pytest.mark.parametrize("make", [client, server], ids=lambda make: make.__name__)
    def test_memory_limit(self, top: TALLOC_CTX, make: Callable[..., Any]) -> None:
        """Where a limit forbids the chunk there are no parameters."""
        limited = talloc_new(top)
        talloc_set_memlimit(limited, 1)
        assert make(limited) == (NT_STATUS_NO_MEMORY, None)

    def test_by_calling_the_class(self) -> None:
        """Such parameters are not enabled."""
        params = tstream_tls_params()
        assert params.settings is None


DH_2048 = """-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""
DH_512 = """-----BEGIN DH PARAMETERS-----
MEYCQQCgYBx4kSsCkdwJD2irMe7YcqFQ0ZVXq63hWmcRDeNojdyuIACTDaWB8ejE
5Cm4NfLlGf3HhTsCeKboos3PdjNHAgEC
-----END DH PARAMETERS-----
"""
