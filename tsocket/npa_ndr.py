# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The wire format of named pipe auth: structures, and NDR to and from bytes.

Mirrors what ``librpc/idl/named_pipe_auth.idl`` and the parts of ``auth.idl`` and ``security.idl`` that it needs are
compiled to.  A structure is described once, for both directions: each ``code_`` function passes every member through
the coder and stores what comes back, which is the member itself when writing and what was found when reading.

A number of elements is believed only as far as there are bytes for them, so a hostile packet costs no memory.
Cost: O(bytes).
"""

from __future__ import annotations

from enum import IntEnum

from talloc_py.array import talloc_array
from talloc_py.core import TALLOC_CTX
from talloc_py.string import talloc_strdup
from talloc_py.types import uint8_t
from tevent import NT_STATUS_INVALID_PARAMETER, NT_STATUS_NO_MEMORY, NT_STATUS_OK, NTSTATUS

from ._ndr import NdrError, reader, writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar, Final
    from uuid import UUID

    from _typeshed import ReadableBuffer

    from talloc_py._chunk import talloc_buffer, talloc_string

    coder = writer | reader
    token = Callable[[Any, int, Any], "ndr_err_code"]

__all__ = [
    "CLAIMS_EVALUATION_ALWAYS",
    "CLAIMS_EVALUATION_INVALID_STATE",
    "CLAIMS_EVALUATION_NEVER",
    "CLAIM_SECURITY_ATTRIBUTE_RELATIVE_V1",
    "CLAIM_SECURITY_ATTRIBUTE_TYPE_BOOLEAN",
    "CLAIM_SECURITY_ATTRIBUTE_TYPE_INT64",
    "CLAIM_SECURITY_ATTRIBUTE_TYPE_OCTET_STRING",
    "CLAIM_SECURITY_ATTRIBUTE_TYPE_SID",
    "CLAIM_SECURITY_ATTRIBUTE_TYPE_STRING",
    "CLAIM_SECURITY_ATTRIBUTE_TYPE_UINT64",
    "NAMED_PIPE_AUTH_MAGIC",
    "NDR_ERR_ALLOC",
    "NDR_ERR_ARRAY_SIZE",
    "NDR_ERR_BAD_SWITCH",
    "NDR_ERR_BUFSIZE",
    "NDR_ERR_CHARCNV",
    "NDR_ERR_CODE_IS_SUCCESS",
    "NDR_ERR_COMPRESSION",
    "NDR_ERR_FLAGS",
    "NDR_ERR_INCOMPLETE_BUFFER",
    "NDR_ERR_INVALID_POINTER",
    "NDR_ERR_IPV4ADDRESS",
    "NDR_ERR_IPV6ADDRESS",
    "NDR_ERR_LENGTH",
    "NDR_ERR_MAX_RECURSION_EXCEEDED",
    "NDR_ERR_NDR64",
    "NDR_ERR_OFFSET",
    "NDR_ERR_RANGE",
    "NDR_ERR_RELATIVE",
    "NDR_ERR_STRING",
    "NDR_ERR_SUBCONTEXT",
    "NDR_ERR_SUCCESS",
    "NDR_ERR_TOKEN",
    "NDR_ERR_UNDERFLOW",
    "NDR_ERR_UNREAD_BYTES",
    "NDR_ERR_VALIDATE",
    "TICKET_TYPE_NON_TGT",
    "TICKET_TYPE_TGT",
    "TICKET_TYPE_UNKNOWN",
    "auth_session_info",
    "auth_session_info_transport",
    "auth_user_info",
    "auth_user_info_unix",
    "dom_sid",
    "dom_sid_parse",
    "dom_sid_string",
    "named_pipe_auth_rep",
    "named_pipe_auth_rep_info",
    "named_pipe_auth_rep_info7",
    "named_pipe_auth_rep_info8",
    "named_pipe_auth_req",
    "named_pipe_auth_req_info",
    "named_pipe_auth_req_info7",
    "named_pipe_auth_req_info8",
    "ndr_err_code",
    "ndr_map_error2ntstatus",
    "ndr_pull_named_pipe_auth_rep",
    "ndr_pull_named_pipe_auth_req",
    "ndr_pull_named_pipe_auth_req_info7",
    "ndr_pull_named_pipe_auth_req_info8",
    "ndr_pull_struct_blob_all",
    "ndr_push_named_pipe_auth_rep",
    "ndr_push_named_pipe_auth_req",
    "ndr_push_named_pipe_auth_req_info7",
    "ndr_push_named_pipe_auth_req_info8",
    "ndr_push_struct_blob",
    "security_token",
    "security_unix_token",
]

NAMED_PIPE_AUTH_MAGIC: Final = "NPAM"

CLAIM_SECURITY_ATTRIBUTE_TYPE_INT64: Final = 0x0001
CLAIM_SECURITY_ATTRIBUTE_TYPE_UINT64: Final = 0x0002
CLAIM_SECURITY_ATTRIBUTE_TYPE_STRING: Final = 0x0003
CLAIM_SECURITY_ATTRIBUTE_TYPE_SID: Final = 0x0005
CLAIM_SECURITY_ATTRIBUTE_TYPE_BOOLEAN: Final = 0x0006
CLAIM_SECURITY_ATTRIBUTE_TYPE_OCTET_STRING: Final = 0x0010

CLAIMS_EVALUATION_INVALID_STATE: Final = 0
CLAIMS_EVALUATION_NEVER: Final = 1
CLAIMS_EVALUATION_ALWAYS: Final = 2

TICKET_TYPE_UNKNOWN: Final = 0
TICKET_TYPE_TGT: Final = 1
TICKET_TYPE_NON_TGT: Final = 2


class ndr_err_code(IntEnum):
    """
    What can be wrong with NDR.

    C: ``enum ndr_err_code``
    """

    NDR_ERR_SUCCESS = 0
    NDR_ERR_ARRAY_SIZE = 1
    NDR_ERR_BAD_SWITCH = 2
    NDR_ERR_OFFSET = 3
    NDR_ERR_RELATIVE = 4
    NDR_ERR_CHARCNV = 5
    NDR_ERR_LENGTH = 6
    NDR_ERR_SUBCONTEXT = 7
    NDR_ERR_COMPRESSION = 8
    NDR_ERR_STRING = 9
    NDR_ERR_VALIDATE = 10
    NDR_ERR_BUFSIZE = 11
    NDR_ERR_ALLOC = 12
    NDR_ERR_RANGE = 13
    NDR_ERR_TOKEN = 14
    NDR_ERR_IPV4ADDRESS = 15
    NDR_ERR_IPV6ADDRESS = 16
    NDR_ERR_INVALID_POINTER = 17
    NDR_ERR_UNREAD_BYTES = 18
    NDR_ERR_NDR64 = 19
    NDR_ERR_FLAGS = 20
    NDR_ERR_INCOMPLETE_BUFFER = 21
    NDR_ERR_MAX_RECURSION_EXCEEDED = 22
    NDR_ERR_UNDERFLOW = 23


NDR_ERR_SUCCESS: Final = ndr_err_code.NDR_ERR_SUCCESS
NDR_ERR_ARRAY_SIZE: Final = ndr_err_code.NDR_ERR_ARRAY_SIZE
NDR_ERR_BAD_SWITCH: Final = ndr_err_code.NDR_ERR_BAD_SWITCH
NDR_ERR_OFFSET: Final = ndr_err_code.NDR_ERR_OFFSET
NDR_ERR_RELATIVE: Final = ndr_err_code.NDR_ERR_RELATIVE
NDR_ERR_CHARCNV: Final = ndr_err_code.NDR_ERR_CHARCNV
NDR_ERR_LENGTH: Final = ndr_err_code.NDR_ERR_LENGTH
NDR_ERR_SUBCONTEXT: Final = ndr_err_code.NDR_ERR_SUBCONTEXT
NDR_ERR_COMPRESSION: Final = ndr_err_code.NDR_ERR_COMPRESSION
NDR_ERR_STRING: Final = ndr_err_code.NDR_ERR_STRING
NDR_ERR_VALIDATE: Final = ndr_err_code.NDR_ERR_VALIDATE
NDR_ERR_BUFSIZE: Final = ndr_err_code.NDR_ERR_BUFSIZE
NDR_ERR_ALLOC: Final = ndr_err_code.NDR_ERR_ALLOC
NDR_ERR_RANGE: Final = ndr_err_code.NDR_ERR_RANGE
NDR_ERR_TOKEN: Final = ndr_err_code.NDR_ERR_TOKEN
NDR_ERR_IPV4ADDRESS: Final = ndr_err_code.NDR_ERR_IPV4ADDRESS
NDR_ERR_IPV6ADDRESS: Final = ndr_err_code.NDR_ERR_IPV6ADDRESS
NDR_ERR_INVALID_POINTER: Final = ndr_err_code.NDR_ERR_INVALID_POINTER
NDR_ERR_UNREAD_BYTES: Final = ndr_err_code.NDR_ERR_UNREAD_BYTES
NDR_ERR_NDR64: Final = ndr_err_code.NDR_ERR_NDR64
NDR_ERR_FLAGS: Final = ndr_err_code.NDR_ERR_FLAGS
NDR_ERR_INCOMPLETE_BUFFER: Final = ndr_err_code.NDR_ERR_INCOMPLETE_BUFFER
NDR_ERR_MAX_RECURSION_EXCEEDED: Final = ndr_err_code.NDR_ERR_MAX_RECURSION_EXCEEDED
NDR_ERR_UNDERFLOW: Final = ndr_err_code.NDR_ERR_UNDERFLOW


def NDR_ERR_CODE_IS_SUCCESS(x: int) -> bool:
    """
    Whether *x* is NDR_ERR_SUCCESS.

    C: ``NDR_ERR_CODE_IS_SUCCESS(x)``
    """
    return x == NDR_ERR_SUCCESS


_STATUSES: Final = {
    NDR_ERR_SUCCESS: NT_STATUS_OK,
    NDR_ERR_BUFSIZE: NTSTATUS(0xC0000023),
    NDR_ERR_ARRAY_SIZE: NTSTATUS(0xC000008C),
    NDR_ERR_UNREAD_BYTES: NTSTATUS(0xC000002F),
    NDR_ERR_ALLOC: NT_STATUS_NO_MEMORY,
}


def ndr_map_error2ntstatus(ndr_err: int) -> NTSTATUS:
    """
    The status that stands for *ndr_err*; NT_STATUS_INVALID_PARAMETER for those that have none of their own.

    C: ``NTSTATUS ndr_map_error2ntstatus(enum ndr_err_code ndr_err)``
    """
    return _STATUSES.get(ndr_err, NT_STATUS_INVALID_PARAMETER)  # type: ignore[call-overload, no-any-return]


# -- structures -------------------------------------------------------------------------------------------------------


class _struct(TALLOC_CTX):
    """
    A C struct: its members by keyword, those not given zero, None or empty; equal to another of equal members.

    Made by calling the class it belongs to nobody; a ``_recv`` function makes those it returns children of a context.
    """

    __slots__ = ()
    #: Each member's default: a value, or a class to be called.
    members: ClassVar[dict[str, Any]] = {}

    def __init__(self, **fields: Any) -> None:
        for name, default in self.members.items():
            value = fields.pop(name) if name in fields else default() if isinstance(default, type) else default
            setattr(self, name, value)
        if fields:
            raise TypeError(f"{type(self).__name__} has no member {', '.join(sorted(fields))}")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.members)

    __hash__: ClassVar[None] = None  # type: ignore[assignment]  # it can change

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.members)})"


class dom_sid(_struct):
    """
    The identity of a user, a group or a machine.

    C: ``struct dom_sid``
    """

    __slots__ = ("id_auth", "sid_rev_num", "sub_auths")
    members: ClassVar[dict[str, Any]] = {"sid_rev_num": 1, "id_auth": bytes(6), "sub_auths": list}

    sid_rev_num: int
    id_auth: bytes  #: six bytes, the most significant first
    sub_auths: list[int]  #: at most fifteen

    @property
    def num_auths(self) -> int:
        """How many sub-authorities there are."""
        return len(self.sub_auths)

    def __str__(self) -> str:
        authority = int.from_bytes(self.id_auth, "big")
        # Beyond 32 bits it is written in hexadecimal.
        first = f"0x{authority:012x}" if authority > 0xFFFFFFFF else str(authority)
        return "-".join(["S", str(self.sid_rev_num), first, *map(str, self.sub_auths)])


def dom_sid_parse(sidstr: str) -> tuple[bool, dom_sid | None]:
    """
    The SID that *sidstr* stands for, ``S-1-5-32-544``.

    C: ``bool dom_sid_parse(const char *sidstr, struct dom_sid *ret)``

    Returns:
        ``(True, sid)``, or ``(False, None)`` for anything else than S, a revision, an authority, and up to fifteen
        numbers below 2**32.
    """
    head, *parts = str(sidstr).split("-")
    if head not in ("S", "s") or not 2 <= len(parts) <= 17:
        return False, None
    numbers: list[int] = []
    for n, part in enumerate(parts):
        hexadecimal = n == 1 and part[:2] in ("0x", "0X")
        digits = part[2:] if hexadecimal else part
        if not digits or not all(c in "0123456789abcdefABCDEF" if hexadecimal else c in "0123456789" for c in digits):
            return False, None
        numbers.append(int(digits, 16 if hexadecimal else 10))
    revision, authority, *sub_auths = numbers
    if revision > 0xFF or authority >= 1 << 48 or any(sub > 0xFFFFFFFF for sub in sub_auths):
        return False, None
    return True, dom_sid(sid_rev_num=revision, id_auth=authority.to_bytes(6, "big"), sub_auths=sub_auths)


def dom_sid_string(mem_ctx: TALLOC_CTX | None, sid: dom_sid | None) -> talloc_string | None:
    """
    *sid* as text, a string of *mem_ctx*; ``(NULL SID)`` for None.

    C: ``char *dom_sid_string(TALLOC_CTX *mem_ctx, const struct dom_sid *sid)``
    """
    return talloc_strdup(mem_ctx, "(NULL SID)" if sid is None else str(sid))


class CLAIM_SECURITY_ATTRIBUTE_RELATIVE_V1(_struct):
    """
    What is claimed about a user or a device.

    C: ``struct CLAIM_SECURITY_ATTRIBUTE_RELATIVE_V1``
    """

    __slots__ = ("flags", "name", "value_type", "values")
    members: ClassVar[dict[str, Any]] = {"name": None, "value_type": 0, "flags": 0, "values": list}

    name: str | None
    value_type: int  #: CLAIM_SECURITY_ATTRIBUTE_TYPE_*
    flags: int
    values: list[Any]  #: int, str, dom_sid or bytes, as the type says; None where there is no value


class security_token(_struct):
    """
    Who somebody is to Windows.

    C: ``struct security_token``
    """

    __slots__ = (
        "device_claims",
        "device_sids",
        "evaluate_claims",
        "local_claims",
        "privilege_mask",
        "rights_mask",
        "sids",
        "user_claims",
    )
    members: ClassVar[dict[str, Any]] = {
        "sids": list,
        "privilege_mask": 0,
        "rights_mask": 0,
        "local_claims": list,
        "user_claims": list,
        "device_claims": list,
        "device_sids": list,
        "evaluate_claims": 0,
    }

    sids: list[dom_sid]
    privilege_mask: int
    rights_mask: int
    # Level 8 only, from here on.
    local_claims: list[CLAIM_SECURITY_ATTRIBUTE_RELATIVE_V1]
    user_claims: list[CLAIM_SECURITY_ATTRIBUTE_RELATIVE_V1]
    device_claims: list[CLAIM_SECURITY_ATTRIBUTE_RELATIVE_V1]
    device_sids: list[dom_sid]
    evaluate_claims: int  #: CLAIMS_EVALUATION_*


class security_unix_token(_struct):
    """
    Who somebody is to the system.

    C: ``struct security_unix_token``
    """

    __slots__ = ("gid", "groups", "uid")
    members: ClassVar[dict[str, Any]] = {"uid": 0, "gid": 0, "groups": list}

    uid: int
    gid: int
    groups: list[int]


_USER_STRINGS: Final = (
    "domain_name",
    "dns_domain_name",
    "full_name",
    "logon_script",
    "profile_path",
    "home_directory",
    "home_drive",
    "logon_server",
)
_USER_TIMES: Final = (
    "last_logon",
    "last_logoff",
    "acct_expiry",
    "last_password_change",
    "allow_password_change",
    "force_password_change",
)


class auth_user_info(_struct):
    """
    What is known about a user.

    C: ``struct auth_user_info``
    """

    __slots__ = (
        "account_name",
        "acct_expiry",
        "acct_flags",
        "allow_password_change",
        "authenticated",
        "bad_password_count",
        "dns_domain_name",
        "domain_name",
        "force_password_change",
        "full_name",
        "home_directory",
        "home_drive",
        "last_logoff",
        "last_logon",
        "last_password_change",
        "logon_count",
        "logon_script",
        "logon_server",
        "profile_path",
        "user_flags",
        "user_principal_constructed",
        "user_principal_name",
    )
    members: ClassVar[dict[str, Any]] = {
        "account_name": None,
        "user_principal_name": None,
        "user_principal_constructed": 0,
        **dict.fromkeys(_USER_STRINGS),
        **dict.fromkeys(_USER_TIMES, 0),
        "logon_count": 0,
        "bad_password_count": 0,
        "acct_flags": 0,
        "user_flags": 0,
        "authenticated": 0,
    }

    account_name: str | None
    user_principal_name: str | None
    user_principal_constructed: int
    domain_name: str | None
    dns_domain_name: str | None
    full_name: str | None
    logon_script: str | None
    profile_path: str | None
    home_directory: str | None
    home_drive: str | None
    logon_server: str | None
    last_logon: int  #: this and the other times: 100 ns since 1601
    last_logoff: int
    acct_expiry: int
    last_password_change: int
    allow_password_change: int
    force_password_change: int
    logon_count: int
    bad_password_count: int
    acct_flags: int
    user_flags: int  #: level 8 only
    authenticated: int  #: level 7 only


class auth_user_info_unix(_struct):
    """
    The names of a user on the system.

    C: ``struct auth_user_info_unix``
    """

    __slots__ = ("sanitized_username", "unix_name")
    members: ClassVar[dict[str, Any]] = {"unix_name": None, "sanitized_username": None}

    unix_name: str | None
    sanitized_username: str | None


class auth_session_info(_struct):
    """
    Who a session belongs to.

    C: ``struct auth_session_info``
    """

    __slots__ = (
        "info",
        "security_token",
        "session_key",
        "ticket_type",
        "unique_session_token",
        "unix_info",
        "unix_token",
    )
    members: ClassVar[dict[str, Any]] = {
        "security_token": None,
        "unix_token": None,
        "info": None,
        "unix_info": None,
        "session_key": b"",
        "unique_session_token": None,
        "ticket_type": 0,
    }

    security_token: security_token | None  # pyright: ignore[reportInvalidTypeForm]  # C's name for both
    unix_token: security_unix_token | None
    info: auth_user_info | None
    unix_info: auth_user_info_unix | None
    session_key: bytes
    unique_session_token: UUID  #: at first that of nobody
    ticket_type: int  #: TICKET_TYPE_*

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        if self.unique_session_token is None:  # pyright: ignore[reportUnnecessaryComparison]
            self.unique_session_token = _uuid(bytes(16))


def _uuid(bytes_le: bytes) -> UUID:
    """As NDR has it. Imported here: only who uses it needs what it imports."""
    from uuid import UUID

    return UUID(bytes_le=bytes_le)


class auth_session_info_transport(_struct):
    """
    A session's owner on the way between processes.

    C: ``struct auth_session_info_transport``
    """

    __slots__ = ("exported_gssapi_credentials", "session_info")
    members: ClassVar[dict[str, Any]] = {"session_info": None, "exported_gssapi_credentials": b""}

    session_info: auth_session_info | None
    exported_gssapi_credentials: bytes


class named_pipe_auth_req_info8(_struct):
    """
    Who comes, from where and to where.

    C: ``struct named_pipe_auth_req_info8``
    """

    __slots__ = (
        "local_server_addr",
        "local_server_name",
        "local_server_port",
        "remote_client_addr",
        "remote_client_name",
        "remote_client_port",
        "session_info",
        "transport",
    )
    members: ClassVar[dict[str, Any]] = {
        "transport": 0,
        "remote_client_name": None,
        "remote_client_addr": None,
        "remote_client_port": 0,
        "local_server_name": None,
        "local_server_addr": None,
        "local_server_port": 0,
        "session_info": None,
    }

    transport: int  #: a dcerpc_transport_t
    remote_client_name: str | None
    remote_client_addr: str | None
    remote_client_port: int
    local_server_name: str | None
    local_server_addr: str | None
    local_server_port: int
    session_info: auth_session_info_transport | None


class named_pipe_auth_req_info7(named_pipe_auth_req_info8):
    """
    As `named_pipe_auth_req_info8`, for the level that Samba 4.17 speaks.

    C: ``struct named_pipe_auth_req_info7``
    """

    __slots__ = ()


class named_pipe_auth_req_info(_struct):
    """
    The levels of a request, of which one is used.

    C: ``union named_pipe_auth_req_info``
    """

    __slots__ = ("info7", "info8")
    members: ClassVar[dict[str, Any]] = {"info7": None, "info8": None}

    info7: named_pipe_auth_req_info7 | None
    info8: named_pipe_auth_req_info8 | None


class named_pipe_auth_rep_info8(_struct):
    """
    What kind of pipe it is.

    C: ``struct named_pipe_auth_rep_info8``
    """

    __slots__ = ("allocation_size", "device_state", "file_type")
    members: ClassVar[dict[str, Any]] = {"file_type": 0, "device_state": 0, "allocation_size": 0}

    file_type: int  #: FILE_TYPE_*_MODE_PIPE
    device_state: int
    allocation_size: int


class named_pipe_auth_rep_info7(named_pipe_auth_rep_info8):
    """
    As `named_pipe_auth_rep_info8`, for the level that Samba 4.17 speaks.

    C: ``struct named_pipe_auth_rep_info7``
    """

    __slots__ = ()


class named_pipe_auth_rep_info(_struct):
    """
    The levels of a reply, of which one is used.

    C: ``union named_pipe_auth_rep_info``
    """

    __slots__ = ("info7", "info8")
    members: ClassVar[dict[str, Any]] = {"info7": None, "info8": None}

    info7: named_pipe_auth_rep_info7 | None
    info8: named_pipe_auth_rep_info8 | None


class named_pipe_auth_req(_struct):
    """
    The request that opens a pipe.

    C: ``struct named_pipe_auth_req``

    `length` and `magic` are what was read; written they are always right.
    """

    __slots__ = ("info", "length", "level", "magic")
    members: ClassVar[dict[str, Any]] = {"level": 0, "info": named_pipe_auth_req_info}

    level: int
    info: named_pipe_auth_req_info
    length: int
    magic: str


class named_pipe_auth_rep(_struct):
    """
    The answer to it.

    C: ``struct named_pipe_auth_rep``

    `length` and `magic` are what was read; written they are always right.
    """

    __slots__ = ("info", "length", "level", "magic", "status")
    members: ClassVar[dict[str, Any]] = {"level": 0, "info": named_pipe_auth_rep_info, "status": NT_STATUS_OK}

    level: int
    info: named_pipe_auth_rep_info
    status: NTSTATUS
    length: int
    magic: str


# -- the description of the wire --------------------------------------------------------------------------------------
#
# Each function codes the scalars of a structure, then what its pointers lead to, as NDR orders them.

_SUB_AUTHS_MAX: Final = 15
_SID_SIZE_MIN: Final = 8
_CLAIM_SIZE_MIN: Final = 16
_MASK64: Final = 2**64 - 1


def _code_sid(ndr: coder, sid: dom_sid | None) -> dom_sid:
    found = dom_sid() if sid is None else sid
    ndr.align(4)
    found.sid_rev_num = ndr.number(found.sid_rev_num, 1)
    count = ndr.number(len(found.sub_auths), 1)
    if count > _SUB_AUTHS_MAX:
        raise NdrError(NDR_ERR_RANGE)
    found.id_auth = ndr.raw(found.id_auth, 6)
    found.sub_auths = ndr.items(found.sub_auths, count, lambda number: ndr.number(number, 4))
    return found


def _code_claim(ndr: coder, claim: Any) -> CLAIM_SECURITY_ATTRIBUTE_RELATIVE_V1:
    found: CLAIM_SECURITY_ATTRIBUTE_RELATIVE_V1 = CLAIM_SECURITY_ATTRIBUTE_RELATIVE_V1() if claim is None else claim
    ndr.align(4)
    found.name = ndr.relative(found.name)
    found.value_type = ndr.number(found.value_type, 2)
    found.flags = ndr.number(found.flags, 4)
    count = ndr.count(found.values, 4)
    found.values = ndr.items(found.values, count, ndr.relative)
    return found


def _code_claim_buffers(ndr: coder, claim: CLAIM_SECURITY_ATTRIBUTE_RELATIVE_V1) -> None:
    claim.name = ndr.at_relative(claim.name, ndr.string16, 2)
    kind = claim.value_type
    if not claim.values:
        return
    if kind not in _CLAIM_VALUES:
        raise NdrError(NDR_ERR_BAD_SWITCH)
    code, align = _CLAIM_VALUES[kind]
    claim.values = [ndr.at_relative(value, lambda value: code(ndr, value), align) for value in claim.values]


def _code_int64(ndr: coder, value: Any) -> int:
    number = ndr.number(0 if value is None else value & _MASK64, 8, 1)
    return number - 2**64 if number >> 63 else number


def _code_uint64(ndr: coder, value: Any) -> int:
    return ndr.number(value, 8, 1)


def _code_octets(ndr: coder, value: Any) -> bytes:
    size = ndr.number(0 if value is None else len(value), 4, 1)
    octets: Any = value  # nothing is there yet when reading
    return ndr.raw(octets, size)


def _code_sid_value(ndr: coder, value: Any) -> dom_sid:
    """A SID among bytes of which only the length is known."""
    inner = writer()
    if value is not None:
        _code_sid(inner, value)
    octets = _code_octets(ndr, None if value is None else bytes(inner.data))
    return _code_sid(reader(octets), None) if value is None else value


_CLAIM_VALUES: Final[dict[int, tuple[Callable[[Any, Any], Any], int]]] = {
    CLAIM_SECURITY_ATTRIBUTE_TYPE_INT64: (_code_int64, 1),
    CLAIM_SECURITY_ATTRIBUTE_TYPE_UINT64: (_code_uint64, 1),
    CLAIM_SECURITY_ATTRIBUTE_TYPE_STRING: (lambda ndr, value: ndr.string16(value), 2),
    CLAIM_SECURITY_ATTRIBUTE_TYPE_SID: (_code_sid_value, 1),
    CLAIM_SECURITY_ATTRIBUTE_TYPE_BOOLEAN: (_code_uint64, 1),
    CLAIM_SECURITY_ATTRIBUTE_TYPE_OCTET_STRING: (_code_octets, 1),
}


def _code_token(ndr: coder, found: security_token, level: int) -> None:
    ndr.align(8)
    count = ndr.count(found.sids, _SID_SIZE_MIN)
    ndr.same_count(count)
    found.sids = ndr.items(found.sids, count, lambda sid: _code_sid(ndr, sid))
    found.privilege_mask = ndr.number(found.privilege_mask, 8)
    found.rights_mask = ndr.number(found.rights_mask, 4)
    if level < 8:
        return
    names = ("local_claims", "user_claims", "device_claims")
    counts = [ndr.count(getattr(found, name), _CLAIM_SIZE_MIN) for name in names]
    sid_count = ndr.count(found.device_sids, _SID_SIZE_MIN)
    for name, count in zip(names, counts, strict=True):
        ndr.same_count(count)
        setattr(found, name, ndr.items(getattr(found, name), count, lambda claim: _code_claim(ndr, claim)))
    ndr.same_count(sid_count)
    found.device_sids = ndr.items(found.device_sids, sid_count, lambda sid: _code_sid(ndr, sid))
    found.evaluate_claims = ndr.number(found.evaluate_claims, 2)
    for name in names:
        for claim in getattr(found, name):
            _code_claim_buffers(ndr, claim)


def _code_id(ndr: coder, value: int | None) -> int:
    """A uid or gid: 64 bits, of which the upper half must be empty."""
    number = ndr.number(value or 0, 8)
    if ndr.reads and number > 0xFFFFFFFF:
        raise NdrError(NDR_ERR_NDR64)
    return number


def _code_unix_token(ndr: coder, found: security_unix_token) -> None:
    count = ndr.count(found.groups, 8)
    ndr.align(8)
    found.uid = _code_id(ndr, found.uid)
    found.gid = _code_id(ndr, found.gid)
    ndr.same_count(count)
    found.groups = ndr.items(found.groups, count, lambda group: _code_id(ndr, group))


def _code_pointers(ndr: coder, found: _struct, *names: str) -> None:
    """Whether there is a string, for each of these members."""
    for name in names:
        setattr(found, name, ndr.pointer(getattr(found, name), str))


def _code_strings(ndr: coder, found: _struct, *names: str) -> None:
    """The strings that there are."""
    for name in names:
        value = getattr(found, name)
        if value is not None:
            setattr(found, name, ndr.string(value))


def _code_user_info(ndr: coder, found: auth_user_info, level: int) -> None:
    ndr.align(4)
    _code_pointers(ndr, found, "account_name", "user_principal_name")
    found.user_principal_constructed = ndr.number(found.user_principal_constructed, 1)
    _code_pointers(ndr, found, *_USER_STRINGS)
    for name in _USER_TIMES:
        setattr(found, name, ndr.number(getattr(found, name), 8, 4))
    found.logon_count = ndr.number(found.logon_count, 2)
    found.bad_password_count = ndr.number(found.bad_password_count, 2)
    found.acct_flags = ndr.number(found.acct_flags, 4)
    if level < 8:
        found.authenticated = ndr.number(found.authenticated, 1)
    else:
        found.user_flags = ndr.number(found.user_flags, 4)
    _code_strings(ndr, found, "account_name", "user_principal_name", *_USER_STRINGS)


def _code_session_info(ndr: coder, found: auth_session_info, level: int) -> None:
    ndr.align(4)
    found.security_token = ndr.pointer(found.security_token, security_token)
    found.unix_token = ndr.pointer(found.unix_token, security_unix_token)
    found.info = ndr.pointer(found.info, auth_user_info)
    found.unix_info = ndr.pointer(found.unix_info, auth_user_info_unix)
    ndr.number(0, 4)  # a pointer that is for tests of Samba's own, and never sent
    found.session_key = ndr.blob(found.session_key)
    ndr.number(0, 4)  # credentials, which never leave a process
    ndr.align(4)
    found.unique_session_token = _uuid(ndr.raw(found.unique_session_token.bytes_le, 16))
    found.ticket_type = ndr.number(found.ticket_type, 2)
    if found.security_token is not None:
        _code_token(ndr, found.security_token, level)
    if found.unix_token is not None:
        _code_unix_token(ndr, found.unix_token)
    if found.info is not None:
        _code_user_info(ndr, found.info, level)
    if found.unix_info is not None:
        ndr.align(4)
        _code_pointers(ndr, found.unix_info, "unix_name", "sanitized_username")
        _code_strings(ndr, found.unix_info, "unix_name", "sanitized_username")


def _code_transport(ndr: coder, found: auth_session_info_transport, level: int) -> None:
    ndr.align(4)
    found.session_info = ndr.pointer(found.session_info, auth_session_info)
    found.exported_gssapi_credentials = ndr.blob(found.exported_gssapi_credentials)
    if found.session_info is not None:
        _code_session_info(ndr, found.session_info, level)


def _code_req_info(ndr: coder, found: named_pipe_auth_req_info8, level: int) -> None:
    names = ("remote_client_name", "remote_client_addr", "local_server_name", "local_server_addr")
    found.transport = ndr.number(found.transport, 1)
    _code_pointers(ndr, found, *names[:2])
    found.remote_client_port = ndr.number(found.remote_client_port, 2)
    _code_pointers(ndr, found, *names[2:])
    found.local_server_port = ndr.number(found.local_server_port, 2)
    found.session_info = ndr.pointer(found.session_info, auth_session_info_transport)
    _code_strings(ndr, found, *names)
    if found.session_info is not None:
        _code_transport(ndr, found.session_info, level)


def _code_head(ndr: coder, found: named_pipe_auth_req | named_pipe_auth_rep) -> int:
    """Length, magic and level; the level once more for the union, which must have a member for it."""
    found.length = int.from_bytes(ndr.raw(bytes(4), 4), "big")
    magic = ndr.raw(NAMED_PIPE_AUTH_MAGIC.encode(), 4)
    found.magic = magic.decode("latin-1")
    found.level = ndr.number(found.level, 4)
    if ndr.number(found.level, 4) != found.level or found.level not in (7, 8):
        raise NdrError(NDR_ERR_BAD_SWITCH)
    return found.level


def _code_union(ndr: coder, info: _struct, level: int, sevens: type[_struct], eights: type[_struct]) -> Any:
    """The member of a union for *level*, made when reading; writing needs one."""
    name = f"info{level}"
    if ndr.reads:
        info.info7 = info.info8 = None  # type: ignore[attr-defined]  # the two unions have them
        setattr(info, name, (sevens if level == 7 else eights)())
    member = getattr(info, name)
    if member is None:
        raise NdrError(NDR_ERR_BAD_SWITCH)
    return member


def _code_req(ndr: coder, found: named_pipe_auth_req) -> None:
    level = _code_head(ndr, found)
    member = _code_union(ndr, found.info, level, named_pipe_auth_req_info7, named_pipe_auth_req_info8)
    _code_req_info(ndr, member, level)


def _code_rep(ndr: coder, found: named_pipe_auth_rep) -> None:
    level = _code_head(ndr, found)
    member = _code_union(ndr, found.info, level, named_pipe_auth_rep_info7, named_pipe_auth_rep_info8)
    member.file_type = ndr.number(member.file_type, 2)
    member.device_state = ndr.number(member.device_state, 2)
    member.allocation_size = ndr.number(member.allocation_size, 8)
    found.status = NTSTATUS(ndr.number(found.status, 4))


# -- the functions ----------------------------------------------------------------------------------------------------


def _coded(code: Callable[[], object]) -> ndr_err_code:
    try:
        code()
    except NdrError as error:
        return ndr_err_code(error.args[0])
    except MemoryError:
        return NDR_ERR_ALLOC
    return NDR_ERR_SUCCESS


def ndr_push_named_pipe_auth_req(ndr: writer, ndr_flags: int, r: named_pipe_auth_req) -> ndr_err_code:
    """
    For `ndr_push_struct_blob`: a request.

    C: ``enum ndr_err_code ndr_push_named_pipe_auth_req(struct ndr_push *ndr, ndr_flags_type ndr_flags,
    const struct named_pipe_auth_req *r)``
    """
    return _pushed(ndr, _code_req, r)


def ndr_push_named_pipe_auth_rep(ndr: writer, ndr_flags: int, r: named_pipe_auth_rep) -> ndr_err_code:
    """
    For `ndr_push_struct_blob`: a reply.

    C: ``enum ndr_err_code ndr_push_named_pipe_auth_rep(struct ndr_push *ndr, ndr_flags_type ndr_flags,
    const struct named_pipe_auth_rep *r)``
    """
    return _pushed(ndr, _code_rep, r)


def _pushed(ndr: writer, code: Callable[[Any, Any], None], r: Any) -> ndr_err_code:
    """A whole packet; its length is known at the end only."""
    err = _coded(lambda: code(ndr, r))
    length = len(ndr.data) - 4
    if err == NDR_ERR_SUCCESS:
        ndr.data[:4] = length.to_bytes(4, "big")
        r.length = length
    return err


def ndr_pull_named_pipe_auth_req(ndr: reader, ndr_flags: int, r: named_pipe_auth_req) -> ndr_err_code:
    """
    For `ndr_pull_struct_blob_all`: a request.

    C: ``enum ndr_err_code ndr_pull_named_pipe_auth_req(struct ndr_pull *ndr, ndr_flags_type ndr_flags,
    struct named_pipe_auth_req *r)``
    """
    return _coded(lambda: _code_req(ndr, r))


def ndr_pull_named_pipe_auth_rep(ndr: reader, ndr_flags: int, r: named_pipe_auth_rep) -> ndr_err_code:
    """
    For `ndr_pull_struct_blob_all`: a reply.

    C: ``enum ndr_err_code ndr_pull_named_pipe_auth_rep(struct ndr_pull *ndr, ndr_flags_type ndr_flags,
    struct named_pipe_auth_rep *r)``
    """
    return _coded(lambda: _code_rep(ndr, r))


def ndr_push_named_pipe_auth_req_info7(ndr: writer, ndr_flags: int, r: named_pipe_auth_req_info7) -> ndr_err_code:
    """
    For `ndr_push_struct_blob`: the inside of a request of level 7.

    C: ``enum ndr_err_code ndr_push_named_pipe_auth_req_info7(struct ndr_push *ndr, ndr_flags_type ndr_flags,
    const struct named_pipe_auth_req_info7 *r)``
    """
    return _coded(lambda: _code_req_info(ndr, r, 7))


def ndr_push_named_pipe_auth_req_info8(ndr: writer, ndr_flags: int, r: named_pipe_auth_req_info8) -> ndr_err_code:
    """
    For `ndr_push_struct_blob`: the inside of a request of level 8.

    C: ``enum ndr_err_code ndr_push_named_pipe_auth_req_info8(struct ndr_push *ndr, ndr_flags_type ndr_flags,
    const struct named_pipe_auth_req_info8 *r)``
    """
    return _coded(lambda: _code_req_info(ndr, r, 8))


def ndr_pull_named_pipe_auth_req_info7(ndr: reader, ndr_flags: int, r: named_pipe_auth_req_info7) -> ndr_err_code:
    """
    For `ndr_pull_struct_blob_all`: the inside of a request of level 7.

    C: ``enum ndr_err_code ndr_pull_named_pipe_auth_req_info7(struct ndr_pull *ndr, ndr_flags_type ndr_flags,
    struct named_pipe_auth_req_info7 *r)``
    """
    return _coded(lambda: _code_req_info(ndr, r, 7))


def ndr_pull_named_pipe_auth_req_info8(ndr: reader, ndr_flags: int, r: named_pipe_auth_req_info8) -> ndr_err_code:
    """
    For `ndr_pull_struct_blob_all`: the inside of a request of level 8.

    C: ``enum ndr_err_code ndr_pull_named_pipe_auth_req_info8(struct ndr_pull *ndr, ndr_flags_type ndr_flags,
    struct named_pipe_auth_req_info8 *r)``
    """
    return _coded(lambda: _code_req_info(ndr, r, 8))


def ndr_push_struct_blob(mem_ctx: TALLOC_CTX | None, p: object, fn: token) -> tuple[ndr_err_code, talloc_buffer | None]:
    """
    The bytes of a structure.

    C: ``enum ndr_err_code ndr_push_struct_blob(DATA_BLOB *blob, TALLOC_CTX *mem_ctx, const void *p,
    ndr_push_flags_fn_t fn)``

    Args:
        mem_ctx: The owner of the bytes.

        p: The structure.

        fn: The ``ndr_push_`` function of its type.

    Returns:
        ``(NDR_ERR_SUCCESS, blob)``; or an error and None: NDR_ERR_RANGE for a number that does not fit,
        NDR_ERR_BAD_SWITCH for a level without its info, NDR_ERR_CHARCNV for text that has no encoding.
    """
    ndr = writer()
    err = fn(ndr, _SCALARS_AND_BUFFERS, p)
    if err != NDR_ERR_SUCCESS:
        return err, None
    blob = talloc_array(mem_ctx, uint8_t, len(ndr.data))
    if blob is None:
        return NDR_ERR_ALLOC, None
    blob[:] = ndr.data
    return NDR_ERR_SUCCESS, blob


def ndr_pull_struct_blob_all(blob: ReadableBuffer, mem_ctx: TALLOC_CTX | None, p: object, fn: token) -> ndr_err_code:
    """
    Fill a structure from bytes, all of which must be its.

    C: ``enum ndr_err_code ndr_pull_struct_blob_all(const DATA_BLOB *blob, TALLOC_CTX *mem_ctx, void *p,
    ndr_pull_flags_fn_t fn)``

    Args:
        blob: The bytes.

        mem_ctx: Not needed here: what *p* holds are plain objects.

        p: The structure; what it holds after an error is not defined.

        fn: The ``ndr_pull_`` function of its type.

    Returns:
        NDR_ERR_SUCCESS; NDR_ERR_BUFSIZE where there are too few bytes, NDR_ERR_UNREAD_BYTES where there are too many,
        NDR_ERR_BAD_SWITCH, NDR_ERR_ARRAY_SIZE, NDR_ERR_CHARCNV, NDR_ERR_RANGE or NDR_ERR_NDR64 for what is wrong in
        between.
    """
    ndr = reader(bytes(blob))
    err = fn(ndr, _SCALARS_AND_BUFFERS, p)
    return err if err != NDR_ERR_SUCCESS else _coded(ndr.end)


_SCALARS_AND_BUFFERS: Final = 0x300
