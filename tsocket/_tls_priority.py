# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Priority strings of GnuTLS, and what of them can be said to OpenSSL.

Samba lets the administrator choose protocols and ciphers in GnuTLS's language ("NORMAL:-VERS-TLS1.2:+AES-128-CBC").
`parse` understands what GnuTLS 3.7 understands: known names of protocols, ciphers and so on, and whether anything
usable is left.  A `priority` has the result in OpenSSL's terms, which differ:

* what GnuTLS enables by itself although nobody should need it any more (TLS 1.0 and 1.1, key exchange without forward
  secrecy, MACs with SHA-1, CCM) is enabled only if its own name is in the string;
* of groups Python can choose one elliptic curve; it does so where those it would offer beside are weaker than what is
  asked for, or where nothing else is asked for;
* signature algorithms, compression and types of certificates are OpenSSL's business; it offers none that is known to be
  weak;
* what would make a connection safer and cannot be said to OpenSSL is refused: `bad_priority`.

Cost: a parse is some set operations an item; parameters are parsed once.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

__all__ = ["bad_priority", "parse", "priority"]


class bad_priority(Exception):
    """A priority string that says nothing, or asks for what cannot be had; the argument is the reason."""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Everything that may follow "+", "-" or "!", by category, in upper case.
_VERSIONS: Final = _names(
    "VERS-TLS1.0 VERS-TLS1.1 VERS-TLS1.2 VERS-TLS1.3 VERS-SSL3.0 VERS-DTLS0.9 VERS-DTLS1.0 VERS-DTLS1.2"
)
_CIPHERS: Final = _names(
    "AES-256-CBC AES-192-CBC AES-128-CBC AES-128-GCM AES-192-GCM AES-256-GCM AES-128-CCM AES-256-CCM AES-128-CCM-8"
    " AES-256-CCM-8 ARCFOUR-128 ARCFOUR-40 ESTREAM-SALSA20-256 SALSA20-256 CHACHA20-32 CHACHA20-64 CAMELLIA-256-CBC"
    " CAMELLIA-192-CBC CAMELLIA-128-CBC CHACHA20-POLY1305 CAMELLIA-128-GCM CAMELLIA-256-GCM GOST28147-TC26Z-CFB"
    " GOST28147-CPA-CFB GOST28147-CPB-CFB GOST28147-CPC-CFB GOST28147-CPD-CFB AES-128-CFB8 AES-192-CFB8 AES-256-CFB8"
    " AES-128-XTS AES-256-XTS AES-128-SIV AES-256-SIV GOST28147-TC26Z-CNT MAGMA-CTR-ACPKM KUZNYECHIK-CTR-ACPKM 3DES-CBC"
    " DES-CBC RC2-40 NULL"
)
_MACS: Final = _names(
    "SHA1 SHA256 SHA384 SHA512 SHA224 UMAC-96 UMAC-128 AEAD MD5 GOSTR341194 STREEBOG-256 STREEBOG-512 AES-CMAC-128"
    " AES-CMAC-256 AES-GMAC-128 AES-GMAC-192 AES-GMAC-256 GOST28147-TC26Z-IMIT OMAC-MAGMA OMAC-KUZNYECHIK"
)
_KEY_EXCHANGES: Final = _names(
    "ECDHE-RSA ECDHE-ECDSA RSA DHE-RSA DHE-DSS PSK RSA-PSK DHE-PSK ECDHE-PSK SRP-DSS SRP-RSA SRP ANON-DH ANON-ECDH"
    " VKO-GOST-12 RSA-EXPORT"
)
_SIGNATURES: Final = frozenset(
    "SIGN-" + name
    for name in _names(
        "RSA-SHA256 RSA-SHA384 RSA-SHA512 RSA-PSS-SHA256 RSA-PSS-RSAE-SHA256 RSA-PSS-SHA384 RSA-PSS-RSAE-SHA384"
        " RSA-PSS-SHA512 RSA-PSS-RSAE-SHA512 EDDSA-ED25519 EDDSA-ED448 ECDSA-SHA256 ECDSA-SHA384 ECDSA-SHA512"
        " ECDSA-SECP256R1-SHA256 ECDSA-SECP384R1-SHA384 ECDSA-SECP521R1-SHA512 ECDSA-SHA3-224 ECDSA-SHA3-256"
        " ECDSA-SHA3-384 ECDSA-SHA3-512 RSA-SHA3-224 RSA-SHA3-256 RSA-SHA3-384 RSA-SHA3-512 DSA-SHA3-224 DSA-SHA3-256"
        " DSA-SHA3-384 DSA-SHA3-512 RSA-RAW RSA-SHA1 RSA-SHA224 RSA-RMD160 DSA-SHA1 DSA-SHA224 DSA-SHA256 RSA-MD5"
        " RSA-MD2 ECDSA-SHA1 ECDSA-SHA224 GOSTR341012-512 GOSTR341012-256 GOSTR341001 DSA-SHA384 DSA-SHA512"
    )
)
_GROUPS: Final = frozenset(
    "GROUP-" + name
    for name in _names(
        "SECP192R1 SECP224R1 SECP256R1 SECP384R1 SECP521R1 X25519 X448 GC256B GC512A FFDHE2048 FFDHE3072 FFDHE4096"
        " FFDHE6144 FFDHE8192"
    )
)
_CERTIFICATES: Final = frozenset(
    f"CTYPE-{side}{name}" for side in ("", "CLI-", "SRV-") for name in ("X509", "X.509", "OPENPGP", "RAWPK", "ALL")
)
_CATEGORIES: Final = (_VERSIONS, _CIPHERS, _MACS, _KEY_EXCHANGES, _SIGNATURES, _GROUPS, _CERTIFICATES)

_DTLS: Final = _names("VERS-DTLS1.0 VERS-DTLS1.2")
_TLS: Final = _names("VERS-TLS1.0 VERS-TLS1.1 VERS-TLS1.2 VERS-TLS1.3")
_AES_128: Final = _names("AES-128-GCM AES-128-CCM AES-128-CBC")
_AES_256: Final = _names("AES-256-GCM CHACHA20-POLY1305 AES-256-CCM AES-256-CBC")
_USUAL_KEY_EXCHANGES: Final = _names("ECDHE-ECDSA ECDHE-RSA RSA DHE-RSA")
_USUAL_MACS: Final = _names("SHA1 AEAD")

# What the keywords stand for, but for versions.
_KEYWORDS: Final = {
    "NORMAL": _AES_128 | _AES_256 | _USUAL_KEY_EXCHANGES | _USUAL_MACS,
    "LEGACY": _AES_128 | _AES_256 | _USUAL_KEY_EXCHANGES | _USUAL_MACS,
    "PERFORMANCE": _AES_128 | _AES_256 | _USUAL_KEY_EXCHANGES | _USUAL_MACS,
    "PFS": _AES_128 | _AES_256 | (_USUAL_KEY_EXCHANGES - {"RSA"}) | _USUAL_MACS,
    "SECURE128": _AES_128 | _AES_256 | _USUAL_KEY_EXCHANGES | _USUAL_MACS,
    "SECURE192": _AES_256 | _USUAL_KEY_EXCHANGES | {"AEAD"},
    "SECURE256": _AES_256 | _USUAL_KEY_EXCHANGES | {"AEAD"},
    "SUITEB128": _names("AES-128-GCM AES-256-GCM ECDHE-ECDSA AEAD"),
    "SUITEB192": _names("AES-256-GCM ECDHE-ECDSA AEAD"),
}
# ... and the groups of those that do not take all.
_KEYWORD_GROUPS: Final = {
    "SECURE192": _names("GROUP-SECP384R1 GROUP-SECP521R1 GROUP-FFDHE8192"),
    "SECURE256": _names("GROUP-SECP384R1 GROUP-SECP521R1 GROUP-FFDHE8192"),
    "SUITEB128": _names("GROUP-SECP256R1 GROUP-SECP384R1"),
    "SUITEB192": _names("GROUP-SECP384R1"),
}
_FINITE_FIELDS: Final = frozenset(name for name in _GROUPS if name.startswith("GROUP-FFDHE"))
# The curves that Python can choose, by OpenSSL's names, weakest first.
_CURVES: Final = {"GROUP-SECP256R1": "prime256v1", "GROUP-SECP384R1": "secp384r1", "GROUP-SECP521R1": "secp521r1"}
# What is stronger than the weakest group that OpenSSL offers unasked, and than the weakest hash it signs with.
_STRONG_GROUPS: Final = frozenset(
    "GROUP-" + name for name in _names("SECP384R1 SECP521R1 X448 GC512A FFDHE4096 FFDHE6144 FFDHE8192")
)
_STRONG_SIGNATURES: Final = frozenset(
    name for name in _SIGNATURES if name.endswith(("384", "512", "EDDSA-ED448", "SIGN-GOSTR341012-512"))
)
# OpenSSL's own choice fits them.
_PLAIN: Final = _names("NORMAL LEGACY PERFORMANCE PFS SECURE128")
_SUITE_B: Final = ("SUITEB128", "SUITEB192")

_GOST: Final = _names("GOST28147-TC26Z-CNT GOST28147-TC26Z-IMIT VKO-GOST-12 SIGN-GOSTR341012-256 GROUP-GC256B")

# "+ALL" of a category adds what NORMAL has of it, "-ALL" takes all of it away.
_ALL: Final = {
    "VERS-ALL": (_TLS | _DTLS, _VERSIONS),
    "VERS-TLS-ALL": (_TLS, _TLS | {"VERS-SSL3.0"}),
    "VERS-DTLS-ALL": (_DTLS, _DTLS | {"VERS-DTLS0.9"}),
    "CIPHER-ALL": (_AES_128 | _AES_256, _CIPHERS),
    "MAC-ALL": (_USUAL_MACS, _MACS),
    "KX-ALL": (_USUAL_KEY_EXCHANGES, _KEY_EXCHANGES),
    "SIGN-ALL": (_SIGNATURES, _SIGNATURES),
    "GROUP-ALL": (_GROUPS, _GROUPS),
    "GROUP-EC-ALL": (_GROUPS, frozenset[str]()),
    "GROUP-DH-ALL": (_GROUPS, frozenset[str]()),
    "CURVE-ALL": (_GROUPS, _GROUPS),
    "GOST": (_GOST, frozenset[str]()),
    "CIPHER-GOST-ALL": (_GOST & _CIPHERS, _GOST),
    "MAC-GOST-ALL": (_GOST & _MACS, _GOST),
    "KX-GOST-ALL": (_GOST & _KEY_EXCHANGES, _GOST),
    "SIGN-GOST-ALL": (_GOST & _SIGNATURES, _GOST),
    "GROUP-GOST-ALL": (_GOST & _GROUPS, _GOST),
}

_FLAGS: Final = _names(
    "COMPAT DUMBFW NO_EXTENSIONS NO_TICKETS NO_TICKETS_TLS12 NO_SESSION_HASH STATELESS_COMPRESSION ALLOW_SMALL_RECORDS"
    " DISABLE_TLS13_COMPAT_MODE DISABLE_SAFE_RENEGOTIATION DISABLE_WILDCARDS FALLBACK_SCSV FORCE_ETM NO_ETM"
    " LATEST_RECORD_VERSION SSL3_RECORD_VERSION NEW_PADDING PARTIAL_RENEGOTIATION SAFE_RENEGOTIATION"
    " UNSAFE_RENEGOTIATION SERVER_PRECEDENCE VERIFY_ALLOW_BROKEN VERIFY_ALLOW_SIGN_RSA_MD5 VERIFY_ALLOW_SIGN_WITH_SHA1"
    " VERIFY_ALLOW_X509_V1_CA_CRT VERIFY_DISABLE_CRL_CHECKS"
)
# OpenSSL's security level for the certificates of a profile, where it is above what is demanded anyway.
_PROFILES: Final = {
    "VERY_WEAK": 0,
    "LOW": 0,
    "LEGACY": 0,
    "MEDIUM": 0,
    "HIGH": 3,
    "ULTRA": 4,
    "FUTURE": 5,
    "SUITEB128": 3,
    "SUITEB192": 4,
}
_KEYWORD_LEVELS: Final = {"SECURE192": 3, "SECURE256": 3, "SUITEB128": 3, "SUITEB192": 4}

# What is used only if it is asked for by name.
_ON_REQUEST: Final = _names(
    "VERS-TLS1.0 VERS-TLS1.1 RSA DHE-DSS SHA1 MD5 AES-128-CCM AES-256-CCM AES-128-CCM-8 AES-256-CCM-8 CAMELLIA-128-CBC"
    " CAMELLIA-256-CBC 3DES-CBC"
)
_OLD: Final = _names("VERS-TLS1.0 VERS-TLS1.1")


class priority:
    """
    What a priority string says, as far as OpenSSL can be told.

    Attributes:
        versions: The versions of TLS to be used: "TLS1.0" to "TLS1.3"; empty if there are only DTLS versions.

        algorithms: The names of ciphers, key exchanges and MACs that may be used.

        plain: Nothing is said about algorithms: OpenSSL's own choice stands.

        level: The least security level for the certificates of others, 0 if nothing is said.

        curve: The one curve to be used, by OpenSSL's name; empty for all that OpenSSL has.
    """

    __slots__ = ("algorithms", "curve", "level", "plain", "versions")

    def __init__(
        self, versions: Iterable[str], algorithms: frozenset[str], plain: bool, level: int, curve: str = ""
    ) -> None:
        self.versions: tuple[str, ...] = tuple(sorted(versions))
        self.algorithms: frozenset[str] = algorithms
        self.plain: bool = plain
        self.level: int = level
        self.curve: str = curve


DEFAULT: Final = priority(("TLS1.2", "TLS1.3"), frozenset(), True, 0)


class _reader:
    """What the items of a string have come to so far."""

    def __init__(self) -> None:
        self.enabled: set[str] = set()
        self.by_name: set[str] = set()
        self.changed = False  # something was said about algorithms
        self.level = 0
        self.flags: set[str] = set()
        self.groups: set[str] = set()

    def begin(self, item: str) -> None:
        """Look at the first item, which decides the versions to begin with."""
        if item in _SUITE_B:
            self.enabled |= {"VERS-TLS1.2"}
        elif item != "NONE":
            self.enabled |= _TLS | _DTLS
        self.level = _KEYWORD_LEVELS.get(item, 0)

    def item(self, item: str, first: bool) -> bool:
        """Take one item; False if it means nothing."""
        name = item.upper().removeprefix("+")
        if name in _KEYWORDS:
            self.keyword(name, first)
            return True
        if name == "NONE":
            self.changed = True
            return first and item[0] != "+"
        if item[:1] == "%":
            return self.flag(item[1:])
        return item[:1] in ("+", "-", "!") and self.algorithm(item[1:].upper(), item[0] == "+")

    def keyword(self, name: str, first: bool) -> None:
        """Add what a keyword stands for."""
        self.enabled |= _KEYWORDS[name] | _SIGNATURES | _GROUPS
        self.groups |= _KEYWORD_GROUPS.get(name, _GROUPS)
        if not first and name in _SUITE_B and self.enabled.isdisjoint(_VERSIONS):
            self.enabled.add("VERS-TLS1.2")
        if not first or name not in _PLAIN:
            self.changed = True

    def flag(self, name: str) -> bool:
        """A flag, in capitals."""
        if name.startswith("PROFILE_"):
            self.level = max(self.level, _PROFILES.get(name[8:], 0))
            return name[8:] in _PROFILES
        self.flags.add(name)
        return name in _FLAGS

    def algorithm(self, name: str, add: bool) -> bool:
        """Add or take away a protocol, an algorithm, or all of a category."""
        if name in _ALL:
            more, all_of_it = _ALL[name]
            self.change_groups(_groups_of(name), add)
            self.change(more if add else all_of_it, add)
            return True
        if name.startswith("CURVE-"):
            name = "GROUP-" + name[6:]
        if any(name in category for category in _CATEGORIES):
            self.change_groups({name} & _GROUPS, add)
            self.change({name}, add)
            if add:
                self.by_name.add(name)
            return True
        return name.startswith("COMP-")  # whatever it is, there is no compression

    def change_groups(self, names: Iterable[str], add: bool) -> None:
        """Add groups or take them away."""
        if add:
            self.groups.update(names)
        else:
            self.groups.difference_update(names)

    def curve(self) -> str:
        """
        The curve to be chosen, "" for none.

        OpenSSL's own choice is as strong as the weakest that is asked for, unless all of those are strong.
        """
        if self.groups <= _STRONG_GROUPS or (self.groups <= _CURVES.keys() and len(self.groups) == 1):
            for name, curve in _CURVES.items():
                if name in self.groups:
                    return curve
            if self.groups:
                raise bad_priority("OpenSSL cannot be told to take none but these groups, which are strong")
        return ""

    def look_at_signatures(self) -> None:
        """OpenSSL cannot be told which to take; those it takes are good enough, unless more is asked for."""
        if (self.enabled & _SIGNATURES) and self.enabled & _SIGNATURES <= _STRONG_SIGNATURES:
            raise bad_priority("OpenSSL cannot be told to insist on strong signatures")

    def change(self, names: Iterable[str], add: bool) -> None:
        """Add *names* or take them away."""
        self.changed |= not _CIPHERS.isdisjoint(names) or not _MACS.isdisjoint(names)
        self.changed |= not _KEY_EXCHANGES.isdisjoint(names)
        if add:
            self.enabled.update(names)
        else:
            self.enabled.difference_update(names)
            self.by_name.difference_update(names)

    def usable_versions(self) -> set[str]:
        """The versions that have what they need."""
        have = self.enabled
        signatures, groups = not have.isdisjoint(_SIGNATURES), not have.isdisjoint(_GROUPS)
        if have.isdisjoint(_CIPHERS) or have.isdisjoint(_MACS):
            return set()
        found: set[str] = set()
        for version in have & _VERSIONS:
            if version == "VERS-TLS1.3":
                fits = signatures and groups and "NO_EXTENSIONS" not in self.flags
            elif version in ("VERS-TLS1.2", "VERS-DTLS1.2"):
                fits = signatures
            else:
                fits = version != "VERS-SSL3.0"
            if fits:
                found.add(version)
        return found


def _groups_of(name: str) -> frozenset[str]:
    """The groups that an item for all of a category is about."""
    if name == "GROUP-DH-ALL":
        return _FINITE_FIELDS
    if name == "GROUP-EC-ALL":
        return _GROUPS - _FINITE_FIELDS
    return _GROUPS if name in ("GROUP-ALL", "CURVE-ALL") else frozenset()


def parse(text: str) -> priority:
    """
    What *text* says; the empty string says nothing.

    Raises:
        bad_priority: It is no priority string, nothing is left that could be used, or it asks for more than OpenSSL
            can promise.
    """
    if not text:
        return DEFAULT
    reader = _reader()
    items = [item.lstrip(" ") for item in text.split(":")]
    reader.begin(items[0].upper())
    for number, item in enumerate(items):
        if not reader.item(item, number == 0):
            raise bad_priority(f"{item!r} is not known")
    usable = reader.usable_versions()
    if not usable:
        raise bad_priority("no protocol, or not what one needs, is left")
    if "DISABLE_WILDCARDS" in reader.flags:
        raise bad_priority("OpenSSL cannot be told to take no wildcards in the names of certificates")
    reader.look_at_signatures()
    versions = {version for version in usable & _TLS if version not in _OLD or version in reader.by_name}
    if not versions and not usable.isdisjoint(_TLS):
        raise bad_priority("TLS 1.0 and 1.1 are used only if they are asked for by name")
    algorithms = {name for name in reader.enabled if name not in _ON_REQUEST or name in reader.by_name}
    if "SHA1" in reader.enabled:
        # GnuTLS has SHA-1 alone for ciphers that need a MAC, and means "those ciphers, too".
        algorithms |= {"SHA256", "SHA384"}
        if versions & _OLD:
            algorithms.add("SHA1")  # they have no other
    if "FORCE_ETM" in reader.flags:
        # OpenSSL cannot be told to insist on it: only ciphers that do not need it are left.
        algorithms -= _MACS - {"AEAD"}
        reader.changed = True
    return priority(
        {version.removeprefix("VERS-") for version in versions},
        frozenset(algorithms),
        not reader.changed and not versions & _OLD,
        reader.level,
        reader.curve(),
    )
