# SPDX-License-Identifier: LGPL-3.0-or-later
"""Priority strings of GnuTLS: what is one, and what OpenSSL makes of it."""

from __future__ import annotations

import random
import shutil
import subprocess
from typing import Any

import peers
import pytest
from stream_kit import Loop, Wire
from tls_kit import HOST, Pair, world

from talloc_py import TALLOC_CTX, talloc_free
from tsocket import TLS_VERIFY_PEER_CA_ONLY, TLS_VERIFY_PEER_NO_CHECK, tstream_tls_connect_send
from tsocket._tls_priority import bad_priority, parse

USABLE = [
    "",
    "NORMAL",
    "normal",
    "LEGACY",
    "PERFORMANCE",
    "PFS",
    "SECURE128",
    "SECURE192",
    "SECURE256",
    "SUITEB128",
    "SUITEB192",
    "NORMAL:-VERS-SSL3.0",
    "NORMAL:%COMPAT",
    "%SERVER_PRECEDENCE:NORMAL",
    "NORMAL:!VERS-TLS1.3",
    "NORMAL: -RSA",
    "NORMAL:+vers-tls1.2",
    "NORMAL:-VERS-ALL:+VERS-TLS1.2",
    "NORMAL:-VERS-TLS-ALL",
    "NORMAL:-KX-ALL",
    "NORMAL:-CIPHER-ALL:+AES-128-GCM",
    "NORMAL:+SECURE256",
    "NORMAL:+CTYPE-OPENPGP:+COMP-DEFLATE:+SIGN-RSA-MD5:+GROUP-X25519:+CURVE-SECP256R1",
    "NORMAL:+ANON-ECDH:+PSK:+SRP:+GOST:+NULL",
    "NORMAL:%PROFILE_HIGH:%NO_TICKETS:%FORCE_ETM",
    "NONE:+VERS-TLS1.2:+AES-128-GCM:+AEAD:+ECDHE-RSA:+SIGN-ALL",
    "NONE:+NORMAL:+VERS-TLS1.2",
    "+SECURE256",
]
UNUSABLE = [
    "NONE",
    "%COMPAT",
    ":",
    "NORMAL:",
    ":NORMAL",
    "NORMAL::-RSA",
    "NORMAL:NONE",
    "NORMAL:VERS-TLS1.2",
    "NORMAL:+",
    "NORMAL:+NOTHING",
    "NORMAL:-SECURE256",
    "NORMAL:%NOTHING",
    "NORMAL:%compat",
    "NORMAL:%PROFILE_NOTHING",
    "NORMAL:-VERS-TLS1.4",
    "NORMAL:-VERS-ALL",
    "NORMAL:-CIPHER-ALL",
    "NORMAL:-MAC-ALL",
    "NORMAL:+CTYPE-NOTHING",
    "NORMAL:+SIGN-NOTHING",
    "NORMAL:+GROUP-NOTHING",
    "NORMAL,-RSA",
    "NORMAL ",
    "@SYSTEM",
    "NONE:+VERS-TLS1.2",
    "NONE:+NORMAL",
    "NORMAL:%FORCE_SESSION_HASH",
]


class TestParse:
    @pytest.mark.parametrize("text", USABLE)
    def test_usable(self, text: str) -> None:
        """What GnuTLS understands is understood."""
        parse(text)

    @pytest.mark.parametrize("text", UNUSABLE)
    def test_unusable(self, text: str) -> None:
        """What it does not is refused, with a reason."""
        with pytest.raises(bad_priority) as caught:
            parse(text)
        assert str(caught.value)

    @pytest.mark.parametrize(
        ("text", "versions"),
        [
            ("", ("TLS1.2", "TLS1.3")),
            ("NORMAL", ("TLS1.2", "TLS1.3")),
            ("NORMAL:+VERS-ALL", ("TLS1.2", "TLS1.3")),
            ("NORMAL:-VERS-TLS1.3", ("TLS1.2",)),
            ("NORMAL:-VERS-TLS1.2", ("TLS1.3",)),
            ("NORMAL:+VERS-TLS1.1", ("TLS1.1", "TLS1.2", "TLS1.3")),
            ("NORMAL:+VERS-TLS1.0:-VERS-TLS-ALL:+VERS-TLS1.3", ("TLS1.3",)),
            ("NORMAL:-VERS-ALL:+VERS-TLS1.0:+VERS-TLS1.3", ("TLS1.0", "TLS1.3")),
            ("NORMAL:-GROUP-ALL", ("TLS1.2",)),
            ("NORMAL:%NO_EXTENSIONS", ("TLS1.2",)),
            ("SUITEB128", ("TLS1.2",)),
            ("NORMAL:-VERS-TLS-ALL", ()),
        ],
    )
    def test_versions(self, text: str, versions: tuple[str, ...]) -> None:
        """The old ones are there only if they are named."""
        assert parse(text).versions == versions

    @pytest.mark.parametrize("text", ["NORMAL:-VERS-TLS1.2:-VERS-TLS1.3", "NORMAL:-SIGN-ALL"])
    def test_only_old_versions_by_themselves(self, text: str) -> None:
        """Nobody gets TLS 1.0 by taking the newer ones away."""
        with pytest.raises(bad_priority, match="by name"):
            parse(text)

    def test_what_cannot_be_promised(self) -> None:
        """A demand that would make the connection safer is not passed over in silence."""
        with pytest.raises(bad_priority, match="wildcards"):
            parse("NORMAL:%DISABLE_WILDCARDS")

    @pytest.mark.parametrize(
        "text",
        [
            "NORMAL:-SIGN-ALL:+SIGN-RSA-SHA512",
            "NORMAL:-SIGN-ALL:+SIGN-ECDSA-SECP384R1-SHA384:+SIGN-EDDSA-ED448",
            "NORMAL:-GROUP-ALL:+GROUP-X448",
            "NORMAL:-GROUP-EC-ALL:-GROUP-FFDHE2048:-GROUP-FFDHE3072",
        ],
    )
    def test_strength_that_openssl_cannot_be_told(self, text: str) -> None:
        """Nor is one for nothing but strong signatures, or strong groups of which none can be chosen."""
        with pytest.raises(bad_priority, match="strong"):
            parse(text)

    @pytest.mark.parametrize(
        ("text", "curve"),
        [
            ("NORMAL", ""),
            ("NORMAL:-GROUP-SECP256R1", ""),
            ("NORMAL:-GROUP-ALL", ""),
            ("NORMAL:-GROUP-EC-ALL", ""),
            ("NORMAL:-GROUP-DH-ALL:-SIGN-RSA-SHA256", ""),
            ("NORMAL:-GROUP-ALL:+GROUP-X25519:+GROUP-SECP384R1", ""),
            ("NORMAL:-GROUP-ALL:+GROUP-X25519", ""),
            ("NORMAL:-GROUP-ALL:+GROUP-SECP256R1", "prime256v1"),
            ("NORMAL:-CURVE-ALL:+CURVE-SECP521R1", "secp521r1"),
            ("NORMAL:-GROUP-ALL:+GROUP-SECP521R1:+GROUP-X448:+GROUP-SECP384R1", "secp384r1"),
            ("SECURE192", "secp384r1"),
            ("SECURE256", "secp384r1"),
            ("SUITEB128", ""),
            ("SUITEB192", "secp384r1"),
            ("NORMAL:+SECURE256", ""),
        ],
    )
    def test_curves(self, text: str, curve: str) -> None:
        """One is chosen where OpenSSL would offer weaker ones, or where it is the only one."""
        assert parse(text).curve == curve

    @pytest.mark.parametrize(("text", "level"), [("NORMAL", 0), ("SECURE256", 3), ("NORMAL:%PROFILE_ULTRA", 4)])
    def test_levels(self, text: str, level: int) -> None:
        """A profile says how strong certificates have to be."""
        assert parse(text).level == level


def ciphers(top: TALLOC_CTX, priority: str, **how: Any) -> set[str]:
    """The names of the ciphers before TLS 1.3 that a client offers."""
    have = world().client(top, priority=priority, **how).settings
    assert have is not None
    have.prepare()
    return {each["name"] for each in have.context.get_ciphers() if each["protocol"] != "TLSv1.3"}


class TestCiphers:
    def test_nothing_said(self, top: TALLOC_CTX) -> None:
        """The choice of the standard library stands."""
        import ssl

        usual = {c["name"] for c in ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).get_ciphers() if c["protocol"] != "TLSv1.3"}
        for priority in ("", "NORMAL", "PFS", "SECURE128", "NORMAL:-VERS-TLS1.3"):
            assert ciphers(top, priority) == usual

    def test_taken_away(self, top: TALLOC_CTX) -> None:
        """What is taken away is not offered."""
        assert not any("AES128" in name for name in ciphers(top, "SECURE256"))
        assert not any("CHACHA" in name for name in ciphers(top, "NORMAL:-CHACHA20-POLY1305"))
        assert all("GCM" in name or "POLY" in name for name in ciphers(top, "NORMAL:-SHA1"))
        assert all("GCM" in name or "POLY" in name for name in ciphers(top, "NORMAL:%FORCE_ETM"))
        assert all(name.startswith("ECDHE-RSA") for name in ciphers(top, "NORMAL:-ECDHE-ECDSA:-DHE-RSA"))

    def test_asked_for(self, top: TALLOC_CTX) -> None:
        """What nobody should need is offered only by its name."""
        assert not any(name == "AES128-GCM-SHA256" for name in ciphers(top, "NORMAL:+AES-128-GCM"))
        assert "AES128-GCM-SHA256" in ciphers(top, "NORMAL:+RSA")
        assert "ECDHE-RSA-AES128-SHA" in ciphers(top, "NORMAL:+SHA1")

    @pytest.mark.parametrize("priority", ["NORMAL:+NULL", "NORMAL:+ANON-DH:+ANON-ECDH", "NORMAL:+CIPHER-ALL:+KX-ALL"])
    def test_never(self, top: TALLOC_CTX, priority: str) -> None:
        """Without encryption or without a certificate there is none, whatever is asked for."""
        assert not any("NULL" in name or name.startswith(("ADH", "AECDH")) for name in ciphers(top, priority))

    def test_none_that_openssl_has(self, top: TALLOC_CTX) -> None:
        """Where nothing is left it is refused."""
        for priority in ("NORMAL:-CIPHER-ALL:+CAMELLIA-128-GCM", "NORMAL:-VERS-TLS1.3:-KX-ALL:+PSK"):
            with pytest.raises(bad_priority, match="OpenSSL"):
                ciphers(top, priority)


class TestHandshakes:
    @pytest.mark.parametrize(
        ("priority", "version", "cipher"),
        [
            ("", "TLSv1.3", "TLS_AES_256_GCM_SHA384"),
            ("NORMAL:-VERS-TLS1.3", "TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"),
            ("NORMAL:-VERS-TLS1.2", "TLSv1.3", "TLS_AES_256_GCM_SHA384"),
            # TLS 1.3 would prefer another cipher.
            ("NORMAL:-CIPHER-ALL:+AES-128-GCM", "TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256"),
            ("NORMAL:-CIPHER-ALL:+CHACHA20-POLY1305", "TLSv1.2", "ECDHE-ECDSA-CHACHA20-POLY1305"),
            ("NORMAL:-CIPHER-ALL:+AES-128-CBC", "TLSv1.2", "ECDHE-ECDSA-AES128-SHA256"),
            ("SUITEB192", "TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        ],
    )
    def test_what_is_agreed_on(self, top: TALLOC_CTX, loop: Loop, priority: str, version: str, cipher: str) -> None:
        """The client's wishes are met."""
        client = world().client(top, TLS_VERIFY_PEER_NO_CHECK, None, priority=priority)
        # Before TLS 1.3 the curve of the certificate has to be among those of the client, too; so it is with GnuTLS.
        files = world().ca.issue("strong", [HOST], kind="ec384") if "SUITEB192" in priority else None
        one, _ = Pair(loop, top, client, world().server(top, files)).streams()
        tls = one.private_data.engine._tls  # type: ignore[attr-defined]
        assert (tls.version(), tls.cipher()[0]) == (version, cipher)

    @pytest.mark.parametrize(
        ("priority", "group"),
        [("NORMAL:-GROUP-ALL:+GROUP-SECP256R1", 23), ("SECURE192", 24), ("NORMAL:-GROUP-ALL:+GROUP-SECP521R1", 25)],
    )
    def test_a_curve_that_is_chosen(self, top: TALLOC_CTX, loop: Loop, unix: Wire, priority: str, group: int) -> None:
        """The client offers no other, and a server of another mind finds nothing in common."""
        client = world().client(top, TLS_VERIFY_PEER_NO_CHECK, None, priority=priority)
        req = tstream_tls_connect_send(top, loop.ev, unix.stream, client)
        offered = bytes((0, 10, 0, 4, 0, 2, 0, group))
        assert offered in unix.drain()
        talloc_free(req)
        other = "NORMAL:-GROUP-ALL:+GROUP-SECP" + ("384R1" if group != 24 else "256R1")
        server = world().server(top, priority=other)
        assert Pair(loop, top, client, server).results()[0][0] == -1
        files = world().ca.issue("strong", [HOST], kind="ec384")
        assert Pair(loop, top, client, world().server(top, files)).results()[0][0] == 0

    def test_a_cipher_of_tls_1_3_that_was_not_asked_for(self, top: TALLOC_CTX, loop: Loop) -> None:
        """It cannot be kept from being offered, but a connection with it fails."""
        from errno import EIO

        priority = "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM"
        pair = Pair(loop, top, world().client(top, priority=priority), world().server(top))
        assert pair.results()[0][:2] == (-1, EIO)

    @pytest.mark.parametrize("level", [TLS_VERIFY_PEER_NO_CHECK, TLS_VERIFY_PEER_CA_ONLY])
    def test_weak_certificates(self, top: TALLOC_CTX, loop: Loop, level: Any) -> None:
        """A profile refuses a key of 2048 bits where certificates are verified, as GnuTLS does."""
        from errno import EINVAL

        files = world().ca.issue("short", ["short.test"], kind="rsa")
        client = world().client(top, level, None, priority="NORMAL:%PROFILE_HIGH")
        wanted = (-1, EINVAL) if level else (0, 0)
        assert Pair(loop, top, client, world().server(top, files)).results()[0][:2] == wanted


FIRST = ["NORMAL", "normal", "LEGACY", "PERFORMANCE", "PFS", "SECURE128", "SECURE256", "SUITEB128", "SUITEB192", "NONE"]
MORE = """
    +SECURE256 -SECURE256 +NORMAL -CIPHER-ALL -KX-ALL -MAC-ALL +AES-128-GCM +NOTHING %COMPAT %NOTHING -VERS-ALL
    +VERS-TLS1.2 +VERS-DTLS1.2 +VERS-TLS1.3 -VERS-TLS-ALL !VERS-TLS1.3 +AEAD -AEAD +SHA1 -SHA1 +GROUP-ALL -GROUP-ALL
    +SIGN-ALL -SIGN-ALL -COMP-ALL -CTYPE-ALL +CTYPE-NOTHING +COMP-NOTHING +CIPHER-ALL +MAC-ALL +KX-ALL +VERS-ALL -RSA
    -VERS-DTLS-ALL +GOST %NO_EXTENSIONS %PROFILE_HIGH %PROFILE_NOTHING
"""
ITEMS = [*FIRST, *MORE.split()]


@pytest.mark.peer
@pytest.mark.slow
def test_gnutls_agrees() -> None:
    """For three hundred strings of known and unknown items GnuTLS itself says the same."""
    program = shutil.which("gnutls-cli")
    if program is None:
        peers.missing("gnutls-cli is not installed")
    numbers = random.Random(25)
    for _ in range(300):
        count = numbers.randint(1, 6)
        text = ":".join(
            numbers.choice(ITEMS[:10] if n == 0 and numbers.random() < 0.7 else ITEMS) for n in range(count)
        )
        run = subprocess.run([program, "--priority", text, "--list"], capture_output=True, text=True, check=False)
        try:
            parse(text)
            said = True
        except bad_priority as bad:
            # What is understood, but not done: that is ours alone.
            said = "by name" in str(bad)
        assert said is (run.returncode == 0), text
