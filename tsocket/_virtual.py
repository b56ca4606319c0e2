# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Where the names of the virtual sockets live: modules that are imported when the first of their names is asked for.

``import tsocket`` stays as cheap as sockets alone, and who needs no TLS does not load it.  A new module is entered
here, in ``__init__`` among the imports for type checkers, and in ``__all__``; a test compares the three.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

#: Names by module.
HOMES: Final[dict[str, tuple[str, ...]]] = {
    "pdu": (
        "ldap_full_packet",
        "tstream_full_request_u16",
        "tstream_full_request_u32",
        "tstream_read_packet_recv",
        "tstream_read_packet_send",
        "tstream_read_pdu_blob_recv",
        "tstream_read_pdu_blob_send",
        "tstream_u32_read_recv",
        "tstream_u32_read_send",
    ),
    "dcerpc": (
        "DCERPC_DREP_LE",
        "DCERPC_NCACN_PAYLOAD_OFFSET",
        "DCERPC_PFC_FLAG_CONC_MPX",
        "DCERPC_PFC_FLAG_DID_NOT_EXECUTE",
        "DCERPC_PFC_FLAG_FIRST",
        "DCERPC_PFC_FLAG_LAST",
        "DCERPC_PFC_FLAG_MAYBE",
        "DCERPC_PFC_FLAG_OBJECT_UUID",
        "DCERPC_PFC_FLAG_PENDING_CANCEL_OR_HDR_SIGNING",
        "DCERPC_PKT_ACK",
        "DCERPC_PKT_ALTER",
        "DCERPC_PKT_ALTER_RESP",
        "DCERPC_PKT_AUTH3",
        "DCERPC_PKT_BIND",
        "DCERPC_PKT_BIND_ACK",
        "DCERPC_PKT_BIND_NAK",
        "DCERPC_PKT_CANCEL_ACK",
        "DCERPC_PKT_CL_CANCEL",
        "DCERPC_PKT_CO_CANCEL",
        "DCERPC_PKT_FACK",
        "DCERPC_PKT_FAULT",
        "DCERPC_PKT_NOCALL",
        "DCERPC_PKT_ORPHANED",
        "DCERPC_PKT_PING",
        "DCERPC_PKT_REJECT",
        "DCERPC_PKT_REQUEST",
        "DCERPC_PKT_RESPONSE",
        "DCERPC_PKT_RTS",
        "DCERPC_PKT_SHUTDOWN",
        "DCERPC_PKT_WORKING",
        "dcerpc_binding_handle",
        "dcerpc_binding_handle_disconnect_recv",
        "dcerpc_binding_handle_disconnect_send",
        "dcerpc_binding_handle_is_connected",
        "dcerpc_binding_handle_raw_call_recv",
        "dcerpc_binding_handle_raw_call_send",
        "dcerpc_binding_handle_set_timeout",
        "dcerpc_get_frag_length",
        "dcerpc_pull_ncacn_packet",
        "dcerpc_read_ncacn_packet_recv",
        "dcerpc_read_ncacn_packet_send",
        "ncacn_packet",
        "tstream_binding_handle_create",
    ),
}

_home_of: Final = {name: module for module, names in HOMES.items() for name in names}


def find(name: str) -> object:
    """
    The attribute *name* of the package; from the second time on it is found without this.

    Raises:
        AttributeError: There is no such name.
    """
    module = _home_of.get(name)
    if module is None:
        raise AttributeError(f"module {__package__!r} has no attribute {name!r}")
    path = f"{__package__}.{module}"
    __import__(path)
    thing: object = getattr(sys.modules[path], name)
    setattr(sys.modules[__package__], name, thing)
    return thing
