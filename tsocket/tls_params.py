# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Parameters of TLS streams: whom to trust, who one is, which protocols and ciphers.

Mirrors the first half of ``source4/lib/tls/tls_tstream.c``, on OpenSSL, by the standard library's `ssl`, instead of
GnuTLS.  Importing this loads neither; making parameters does.

What is refused says why in a debug message of the event context, where there is one.
"""

from __future__ import annotations

from enum import IntEnum

from talloc_py.core import TALLOC_CTX, chunk_of, talloc_zero
from tevent.ntstatus import (
    NT_STATUS_CANT_ACCESS_DOMAIN_INFO,
    NT_STATUS_INVALID_PARAMETER_MIX,
    NT_STATUS_NO_MEMORY,
    NT_STATUS_OK,
    NTSTATUS,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Final

    from ._tls_settings import settings

__all__ = [
    "TLS_VERIFY_PEER_AS_STRICT_AS_POSSIBLE",
    "TLS_VERIFY_PEER_AS_STRICT_AS_POSSIBLE_STRING",
    "TLS_VERIFY_PEER_CA_AND_NAME",
    "TLS_VERIFY_PEER_CA_AND_NAME_IF_AVAILABLE",
    "TLS_VERIFY_PEER_CA_AND_NAME_IF_AVAILABLE_STRING",
    "TLS_VERIFY_PEER_CA_AND_NAME_STRING",
    "TLS_VERIFY_PEER_CA_ONLY",
    "TLS_VERIFY_PEER_CA_ONLY_STRING",
    "TLS_VERIFY_PEER_NO_CHECK",
    "TLS_VERIFY_PEER_NO_CHECK_STRING",
    "tls_verify_peer_state",
    "tls_verify_peer_string",
    "tstream_tls_params",
    "tstream_tls_params_client",
    "tstream_tls_params_enabled",
    "tstream_tls_params_peer_name",
    "tstream_tls_params_quic_enabled",
    "tstream_tls_params_quic_prepare",
    "tstream_tls_params_server",
    "tstream_tls_params_verify_peer",
    "tstream_tls_verify_peer_trusted",
]


class tls_verify_peer_state(IntEnum):
    """
    How much of the other side's certificate is verified; the greater, the more.

    C: ``enum tls_verify_peer_state``
    """

    TLS_VERIFY_PEER_NO_CHECK = 0
    TLS_VERIFY_PEER_CA_ONLY = 10
    TLS_VERIFY_PEER_CA_AND_NAME_IF_AVAILABLE = 20
    TLS_VERIFY_PEER_CA_AND_NAME = 30
    TLS_VERIFY_PEER_AS_STRICT_AS_POSSIBLE = 9999


TLS_VERIFY_PEER_NO_CHECK: Final = tls_verify_peer_state.TLS_VERIFY_PEER_NO_CHECK
TLS_VERIFY_PEER_CA_ONLY: Final = tls_verify_peer_state.TLS_VERIFY_PEER_CA_ONLY
TLS_VERIFY_PEER_CA_AND_NAME_IF_AVAILABLE: Final = tls_verify_peer_state.TLS_VERIFY_PEER_CA_AND_NAME_IF_AVAILABLE
TLS_VERIFY_PEER_CA_AND_NAME: Final = tls_verify_peer_state.TLS_VERIFY_PEER_CA_AND_NAME
TLS_VERIFY_PEER_AS_STRICT_AS_POSSIBLE: Final = tls_verify_peer_state.TLS_VERIFY_PEER_AS_STRICT_AS_POSSIBLE
TLS_VERIFY_PEER_NO_CHECK_STRING: Final = "no_check"
TLS_VERIFY_PEER_CA_ONLY_STRING: Final = "ca_only"
TLS_VERIFY_PEER_CA_AND_NAME_IF_AVAILABLE_STRING: Final = "ca_and_name_if_available"
TLS_VERIFY_PEER_CA_AND_NAME_STRING: Final = "ca_and_name"
TLS_VERIFY_PEER_AS_STRICT_AS_POSSIBLE_STRING: Final = "as_strict_as_possible"


def tls_verify_peer_string(verify_peer: int) -> str:
    """
    The name of *verify_peer* in a configuration file.

    C: ``const char *tls_verify_peer_string(enum tls_verify_peer_state verify_peer)``
    """
    try:
        return tls_verify_peer_state(verify_peer).name.removeprefix("TLS_VERIFY_PEER_").lower()
    except ValueError:
        return "unknown tls_verify_peer_state"


class tstream_tls_params(TALLOC_CTX):
    """
    Parameters of TLS streams; made by `tstream_tls_params_client` and `tstream_tls_params_server`.

    C: ``struct tstream_tls_params``

    The streams that were made with them keep what they need: the parameters may be freed at any time.
    """

    __slots__ = ("settings",)

    #: What is behind them; None if TLS is not enabled.
    settings: settings | None

    def __init__(self) -> None:
        self.settings = None


def settings_of(params: tstream_tls_params) -> settings | None:
    """What is behind *params*; None if TLS is not enabled, or they are freed and the abort function returned."""
    if not isinstance(params, tstream_tls_params):
        raise TypeError(f"a tstream_tls_params is needed, not {type(params).__name__}")
    return params.settings if chunk_of(params) is not None else None


def _text(name: str, value: object, optional: bool = True) -> None:
    if not isinstance(value, str) and not (optional and value is None):
        raise TypeError(f"{name} must be a str{' or None' if optional else ''}, not {type(value).__name__}")


def _texts(name: str, value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{name} must be a list of str or None, not {type(value).__name__}")
    items: tuple[object, ...] = tuple(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    texts = [each for each in items if isinstance(each, str)]
    if len(texts) != len(items):
        raise TypeError(f"each of {name} must be a str")
    return tuple(texts)


def _new_params(
    mem_ctx: TALLOC_CTX | None, make: Callable[[], settings | None]
) -> tuple[NTSTATUS, tstream_tls_params | None]:
    """A chunk with what *make* returns; the settings come first, so nothing is left where they fail."""
    from ._tls_settings import NoCertificates, Unusable

    try:
        settings = make()
    except Unusable:
        return NT_STATUS_CANT_ACCESS_DOMAIN_INFO, None
    except NoCertificates:
        return NT_STATUS_INVALID_PARAMETER_MIX, None
    params = talloc_zero(mem_ctx, tstream_tls_params)
    if params is None:
        return NT_STATUS_NO_MEMORY, None
    params.settings = settings
    return NT_STATUS_OK, params


def tstream_tls_params_client(
    mem_ctx: TALLOC_CTX | None,
    system_cas: bool,
    ca_dirs: Sequence[str] | None,
    ca_file: str | None,
    crl_file: str | None,
    tls_priority: str,
    verify_peer: int,
    peer_name: str | None,
) -> tuple[NTSTATUS, tstream_tls_params | None]:
    """
    Make parameters for `tstream_tls_connect_send`.

    C: ``NTSTATUS tstream_tls_params_client(TALLOC_CTX *mem_ctx, bool system_cas, const char * const *ca_dirs,
    const char *ca_file, const char *crl_file, const char *tls_priority, enum tls_verify_peer_state verify_peer,
    const char *peer_name, struct tstream_tls_params **_tlsp)``

    Args:
        mem_ctx: The owner.

        system_cas: Trust whom the system trusts.

        ca_dirs: Folders of certificates in PEM that are trusted. One that does not exist is passed over, and in a
            folder whatever is no certificate.

        ca_file: A file of trusted certificates in PEM. One that does not exist is passed over.

        crl_file: A file of revocation lists in PEM. Where one is given the list of who issued the server's certificate
            must be in it, or the handshake fails.

        tls_priority: A priority string of GnuTLS, such as ``"NORMAL:-VERS-TLS1.2"``; ``""`` for what is usual. A
            connect function looks at it, not this one.

        verify_peer: From `TLS_VERIFY_PEER_CA_ONLY` on the certificate must come from one that is trusted, be valid now
            and not be revoked. From `TLS_VERIFY_PEER_CA_AND_NAME` on it must have *peer_name*, with
            `TLS_VERIFY_PEER_CA_AND_NAME_IF_AVAILABLE` if there is such a name and it is no IP address.
            `TLS_VERIFY_PEER_AS_STRICT_AS_POSSIBLE` demands *crl_file*. Anybody can be the other side of a connection
            that was made with `TLS_VERIFY_PEER_NO_CHECK`.

        peer_name: The DNS name of the server, sent to it where it is verified.

    Returns:
        ``(NT_STATUS_OK, params)``. Or None and `NT_STATUS_INVALID_PARAMETER_MIX`, where what *verify_peer* asks for
        could not be verified: no certificate that is trusted, no name, no revocation list;
        `NT_STATUS_CANT_ACCESS_DOMAIN_INFO` for a file that cannot be read or is damaged, or a system that has no
        certificates.
    """
    folders = _texts("ca_dirs", ca_dirs)
    for name, value in (("ca_file", ca_file), ("crl_file", crl_file), ("peer_name", peer_name)):
        _text(name, value)
    _text("tls_priority", tls_priority, optional=False)
    if not isinstance(verify_peer, int):
        raise TypeError(f"verify_peer must be a tls_verify_peer_state, not {type(verify_peer).__name__}")
    if peer_name is None and verify_peer >= TLS_VERIFY_PEER_CA_AND_NAME:
        return NT_STATUS_INVALID_PARAMETER_MIX, None

    def make() -> settings:
        from ._tls_settings import client_settings

        return client_settings(bool(system_cas), folders, ca_file, crl_file, tls_priority, verify_peer, peer_name)

    return _new_params(mem_ctx, make)


def tstream_tls_params_server(
    mem_ctx: TALLOC_CTX | None,
    dns_host_name: str,
    additional_dns_hostnames: Sequence[str] | None,
    enabled: bool,
    key_file: str | None,
    cert_file: str | None,
    ca_file: str | None,
    crl_file: str | None,
    dhp_file: str | None,
    tls_priority: str,
) -> tuple[NTSTATUS, tstream_tls_params | None]:
    """
    Make parameters for `tstream_tls_accept_send`.

    C: ``NTSTATUS tstream_tls_params_server(TALLOC_CTX *mem_ctx, const char *dns_host_name,
    const char * const *additional_dns_hostnames, bool enabled, const char *key_file, const char *cert_file,
    const char *ca_file, const char *crl_file, const char *dhp_file, const char *tls_priority,
    struct tstream_tls_params **_params)``

    Args:
        mem_ctx: The owner.

        dns_host_name: The name for a certificate that has to be generated.

        additional_dns_hostnames: More names for it.

        enabled: False makes parameters that are not enabled, and so does a missing *key_file*.

        key_file: The private key in PEM, not encrypted. The file must belong to this user, with permissions 0600.

        cert_file: The certificate in PEM, followed by those between it and one that clients trust.

        ca_file: Where this file does not exist, a key, a certificate and one that has issued it are generated into the
            three files (`tls_cert_generate`). Else it must be readable, and nothing is done with it: certificates of
            clients are neither asked for nor verified.

        crl_file: Must be readable, and nothing is done with it.

        dhp_file: Parameters for Diffie-Hellman key exchange in TLS 1.2, 2048 bits at least. Without them elliptic
            curves are used.

        tls_priority: As with `tstream_tls_params_client`.

    Returns:
        ``(NT_STATUS_OK, params)``; None and `NT_STATUS_CANT_ACCESS_DOMAIN_INFO` for a file that cannot be read or is
        not what it should be.
    """
    _text("dns_host_name", dns_host_name)
    names = _texts("additional_dns_hostnames", additional_dns_hostnames)
    files = (("key_file", key_file), ("cert_file", cert_file), ("ca_file", ca_file), ("crl_file", crl_file))
    for name, value in (*files, ("dhp_file", dhp_file)):
        _text(name, value)
    _text("tls_priority", tls_priority, optional=False)

    def make() -> settings | None:
        from ._tls_settings import server_settings

        if not enabled or not key_file:
            return None
        if ca_file:
            _generate(dns_host_name, names, key_file, cert_file, ca_file)
        return server_settings(key_file, cert_file or "", ca_file, crl_file, dhp_file, tls_priority)

    return _new_params(mem_ctx, make)


def _generate(host: str, names: tuple[str, ...], key_file: str, cert_file: str | None, ca_file: str) -> None:
    """Generate what is missing, as far as that is possible: who reads the files next will see."""
    from . import _sys
    from .tls_cert import tls_cert_generate

    if cert_file and not _sys.isfile(ca_file):
        try:
            tls_cert_generate(None, host, names, key_file, cert_file, ca_file)
        except (ImportError, OSError, ValueError):
            pass


def tstream_tls_params_enabled(params: tstream_tls_params) -> bool:
    """
    Whether streams can be made with *params*.

    C: ``bool tstream_tls_params_enabled(struct tstream_tls_params *params)``
    """
    return settings_of(params) is not None


def tstream_tls_params_quic_enabled(params: tstream_tls_params) -> bool:
    """
    Whether QUIC can be used with *params*: it cannot.

    C: ``bool tstream_tls_params_quic_enabled(struct tstream_tls_params *params)``
    """
    settings_of(params)
    return False


def tstream_tls_params_quic_prepare(tlsp: tstream_tls_params) -> NTSTATUS:
    """
    Prepare *tlsp* for QUIC, which has no effect.

    C: ``NTSTATUS tstream_tls_params_quic_prepare(struct tstream_tls_params *tlsp)``

    Returns:
        `NT_STATUS_OK`.
    """
    settings_of(tlsp)
    return NT_STATUS_OK


def tstream_tls_params_verify_peer(tls_params: tstream_tls_params) -> tls_verify_peer_state:
    """
    How much of the other side's certificate *tls_params* let verify; `TLS_VERIFY_PEER_NO_CHECK` for a server's.

    C: ``enum tls_verify_peer_state tstream_tls_params_verify_peer(struct tstream_tls_params *tls_params)``
    """
    have = settings_of(tls_params)
    try:
        return tls_verify_peer_state(0 if have is None else have.verify)
    except ValueError:
        return have.verify  # type: ignore[union-attr, return-value]  # a number between the levels, as the caller gave it


def tstream_tls_params_peer_name(params: tstream_tls_params) -> str | None:
    """
    The name of the server, None if there is none.

    C: ``const char *tstream_tls_params_peer_name(const struct tstream_tls_params *params)``
    """
    have = settings_of(params)
    return None if have is None else have.peer_name


def tstream_tls_verify_peer_trusted(verify_peer: int) -> bool:
    """
    Whether a connection made with *verify_peer* goes to who it should go to.

    C: ``bool tstream_tls_verify_peer_trusted(enum tls_verify_peer_state verify_peer)``

    Returns:
        True from `TLS_VERIFY_PEER_CA_AND_NAME` on.
    """
    return verify_peer >= TLS_VERIFY_PEER_CA_AND_NAME
