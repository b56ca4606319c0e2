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
    "gensec": (
        "GENSEC_FEATURE_SEAL",
        "GENSEC_FEATURE_SIGN",
        "gensec_create_tstream",
        "gensec_from_gssapi",
        "gensec_from_spnego",
        "gensec_have_feature",
        "gensec_max_input_size",
        "gensec_max_wrapped_size",
        "gensec_security",
        "gensec_unwrap",
        "gensec_wrap",
    ),
    "npa_ndr": (
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
    ),
    "npa": (
        "FILE_TYPE_BYTE_MODE_PIPE",
        "FILE_TYPE_MESSAGE_MODE_PIPE",
        "NCACN_AT_DSP",
        "NCACN_HTTP",
        "NCACN_INTERNAL",
        "NCACN_IP_TCP",
        "NCACN_IP_UDP",
        "NCACN_NP",
        "NCACN_SPX",
        "NCACN_UNIX_STREAM",
        "NCACN_VNS_IPC",
        "NCACN_VNS_SPP",
        "NCADG_AT_DDP",
        "NCADG_IPX",
        "NCADG_UNIX_DGRAM",
        "NCALRPC",
        "NCA_UNKNOWN",
        "dcerpc_transport_t",
        "tstream_npa_accept_existing_recv",
        "tstream_npa_accept_existing_send",
        "tstream_npa_connect_recv",
        "tstream_npa_connect_send",
        "tstream_npa_existing_socket",
        "tstream_npa_existing_stream",
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
