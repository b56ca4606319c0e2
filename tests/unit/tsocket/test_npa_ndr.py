# SPDX-License-Identifier: LGPL-3.0-or-later
"""The wire format of named pipe auth, against recorded bytes and against mischief."""

from __future__ import annotations

import copy
import json
import pathlib
import tracemalloc
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talloc_py import TALLOC_CTX, talloc_free, talloc_new, talloc_parent
from tevent import NT_STATUS_OK
from tsocket.npa_ndr import (
    CLAIM_SECURITY_ATTRIBUTE_RELATIVE_V1,
    CLAIM_SECURITY_ATTRIBUTE_TYPE_OCTET_STRING,
    CLAIM_SECURITY_ATTRIBUTE_TYPE_SID,
    NDR_ERR_ARRAY_SIZE,
    NDR_ERR_BAD_SWITCH,
    NDR_ERR_BUFSIZE,
    NDR_ERR_CHARCNV,
    NDR_ERR_CODE_IS_SUCCESS,
    NDR_ERR_NDR64,
    NDR_ERR_RANGE,
    NDR_ERR_SUCCESS,
    NDR_ERR_UNREAD_BYTES,
    auth_session_info,
    auth_session_info_transport,
    auth_user_info,
    auth_user_info_unix,
    dom_sid,
    dom_sid_parse,
    dom_sid_string,
    named_pipe_auth_rep,
    named_pipe_auth_rep_info,
    named_pipe_auth_rep_info7,
    named_pipe_auth_rep_info8,
    named_pipe_auth_req,
    named_pipe_auth_req_info,
    named_pipe_auth_req_info7,
    named_pipe_auth_req_info8,
    ndr_err_code,
    ndr_map_error2ntstatus,
    ndr_pull_named_pipe_auth_rep,
    ndr_pull_named_pipe_auth_req,
    ndr_pull_named_pipe_auth_req_info7,
    ndr_pull_named_pipe_auth_req_info8,
    ndr_pull_struct_blob_all,
    ndr_push_named_pipe_auth_rep,
    ndr_push_named_pipe_auth_req,
    ndr_push_named_pipe_auth_req_info7,
    ndr_push_named_pipe_auth_req_info8,
    ndr_push_struct_blob,
    security_token,
    security_unix_token,
)

VECTORS = json.loads((pathlib.Path(__file__).parent / "npa_vectors.json").read_text(encoding="utf-8"))
PUSH: dict[str, Any] = {"req": ndr_push_named_pipe_auth_req, "rep": ndr_push_named_pipe_auth_rep}
PULL: dict[str, Any] = {"req": ndr_pull_named_pipe_auth_req, "rep": ndr_pull_named_pipe_auth_rep}


def label(vector: dict[str, Any]) -> str:
    """The name of a test."""
    return f"{vector['name']}-{vector['level']}"


def sid(text: str) -> dom_sid:
    """The SID of a text."""
    ok, found = dom_sid_parse(text)
    assert ok
    assert found is not None
    return found


def claims(rows: list[dict[str, Any]]) -> list[Any]:
    """The claims of a vector."""
    return [CLAIM_SECURITY_ATTRIBUTE_RELATIVE_V1(**row) for row in rows]


def token(fields: dict[str, Any] | None) -> security_token | None:
    """The security token of a vector."""
    if fields is None:
        return None
    made = dict(fields)
    for name in ("sids", "device_sids"):
        if name in made:
            made[name] = [sid(text) for text in made[name]]
    for name in ("local_claims", "user_claims", "device_claims"):
        if name in made:
            made[name] = claims(made[name])
    return security_token(**made)


def session(fields: dict[str, Any] | None) -> auth_session_info_transport | None:
    """The session info of a vector."""
    if fields is None:
        return None
    inner = fields["session_info"]
    made = None
    if inner is not None:
        made = auth_session_info(
            security_token=token(inner["security_token"]),
            unix_token=inner["unix_token"] and security_unix_token(**inner["unix_token"]),
            info=inner["info"] and auth_user_info(**inner["info"]),
            unix_info=inner["unix_info"] and auth_user_info_unix(**inner["unix_info"]),
            session_key=bytes.fromhex(inner["session_key"]),
            unique_session_token=UUID(inner["unique_session_token"]),
            ticket_type=inner["ticket_type"],
        )
    return auth_session_info_transport(
        session_info=made, exported_gssapi_credentials=bytes.fromhex(fields["exported_gssapi_credentials"])
    )


def request(vector: dict[str, Any]) -> named_pipe_auth_req:
    """The request of a vector."""
    level = vector["level"]
    fields = {**vector["fields"], "session_info": session(vector["fields"]["session_info"])}
    info = (named_pipe_auth_req_info7 if level == 7 else named_pipe_auth_req_info8)(**fields)
    return named_pipe_auth_req(level=level, info=named_pipe_auth_req_info(**{f"info{level}": info}))


def reply(vector: dict[str, Any]) -> named_pipe_auth_rep:
    """The reply of a vector."""
    level = vector["level"]
    fields = dict(vector["fields"])
    status = fields.pop("status")
    info = (named_pipe_auth_rep_info7 if level == 7 else named_pipe_auth_rep_info8)(**fields)
    return named_pipe_auth_rep(level=level, info=named_pipe_auth_rep_info(**{f"info{level}": info}), status=status)


class TestRecorded:
    @pytest.mark.parametrize("vector", VECTORS["requests"], ids=label)
    def test_requests(self, vector: dict[str, Any]) -> None:
        """Written byte by byte as Samba does, and read back."""
        wanted = request(vector)
        err, blob = ndr_push_struct_blob(None, wanted, ndr_push_named_pipe_auth_req)
        assert err == NDR_ERR_SUCCESS
        assert bytes(blob).hex() == vector["hex"]
        talloc_free(blob)
        found = named_pipe_auth_req()
        blob = bytes.fromhex(vector["hex"])
        assert ndr_pull_struct_blob_all(blob, None, found, ndr_pull_named_pipe_auth_req) == NDR_ERR_SUCCESS
        assert found == wanted
        assert (found.length, found.magic) == (len(blob) - 4, "NPAM")

    @pytest.mark.parametrize("vector", VECTORS["replies"], ids=label)
    def test_replies(self, vector: dict[str, Any]) -> None:
        """The same for replies."""
        wanted = reply(vector)
        err, blob = ndr_push_struct_blob(None, wanted, ndr_push_named_pipe_auth_rep)
        assert err == NDR_ERR_SUCCESS
        assert bytes(blob).hex() == vector["hex"]
        talloc_free(blob)
        found = named_pipe_auth_rep()
        blob = bytes.fromhex(vector["hex"])
        assert ndr_pull_struct_blob_all(blob, None, found, ndr_pull_named_pipe_auth_rep) == NDR_ERR_SUCCESS
        assert found == wanted

    @pytest.mark.parametrize("vector", VECTORS["invalid"], ids=label)
    def test_invalid(self, vector: dict[str, Any]) -> None:
        """The same error as Samba's; what is merely odd is read, and written in the usual way."""
        kind = vector["kind"]
        found: Any = named_pipe_auth_req() if kind == "req" else named_pipe_auth_rep()
        err = ndr_pull_struct_blob_all(bytes.fromhex(vector["hex"]), None, found, PULL[kind])
        assert err == vector["ndr_err"]
        assert ndr_map_error2ntstatus(err) == int(vector["ntstatus"], 16)
        if vector["repushed"] is not None:
            err, blob = ndr_push_struct_blob(None, found, PUSH[kind])
            assert bytes(blob).hex() == vector["repushed"]
            talloc_free(blob)

    @pytest.mark.parametrize("level", [7, 8])
    def test_the_inside_alone(self, level: int) -> None:
        """A bare info begins at its transport."""
        vector = next(v for v in VECTORS["requests"] if v["name"] == "addresses-only" and v["level"] == level)
        info = getattr(request(vector).info, f"info{level}")
        push, pull = (
            (ndr_push_named_pipe_auth_req_info7, ndr_pull_named_pipe_auth_req_info7)
            if level == 7
            else (ndr_push_named_pipe_auth_req_info8, ndr_pull_named_pipe_auth_req_info8)
        )
        err, blob = ndr_push_struct_blob(None, info, push)
        assert err == NDR_ERR_SUCCESS
        assert bytes(blob).hex() == vector["hex"][32:]
        found = type(info)()
        assert ndr_pull_struct_blob_all(blob, None, found, pull) == NDR_ERR_SUCCESS
        assert found == info
        talloc_free(blob)


FULL = next(v for v in VECTORS["requests"] if v["name"] == "full" and v["level"] == 8)
CLAIMS = next(v for v in VECTORS["requests"] if v["name"] == "claims")


def pull(data: bytes) -> ndr_err_code:
    """What reading a request says."""
    return ndr_pull_struct_blob_all(data, None, named_pipe_auth_req(), ndr_pull_named_pipe_auth_req)


class TestMischief:
    @pytest.mark.parametrize("vector", [FULL, CLAIMS], ids=label)
    def test_every_cut(self, vector: dict[str, Any]) -> None:
        """A packet that ends early is an error wherever that is."""
        whole = bytes.fromhex(vector["hex"])
        for size in range(len(whole)):
            assert pull(whole[:size]) != NDR_ERR_SUCCESS, size

    @pytest.mark.parametrize("vector", [FULL, CLAIMS], ids=label)
    def test_every_flipped_bit(self, vector: dict[str, Any]) -> None:
        """Reading ends, with an error of the list or with another value."""
        whole = bytearray.fromhex(vector["hex"])
        errors = set()
        for bit in range(len(whole) * 8):
            whole[bit // 8] ^= 1 << bit % 8
            errors.add(pull(bytes(whole)))
            whole[bit // 8] ^= 1 << bit % 8
        assert errors <= {
            NDR_ERR_SUCCESS,
            NDR_ERR_BUFSIZE,
            NDR_ERR_ARRAY_SIZE,
            NDR_ERR_BAD_SWITCH,
            NDR_ERR_CHARCNV,
            NDR_ERR_UNREAD_BYTES,
            NDR_ERR_RANGE,
            NDR_ERR_NDR64,
        }

    @given(st.binary(max_size=300))
    def test_anything(self, data: bytes) -> None:
        """Any bytes behind a good head."""
        head = bytes(4) + b"NPAM" + b"\x08\0\0\0" * 2
        assert pull(head + data) in list(ndr_err_code)

    def test_a_huge_count_costs_nothing(self) -> None:
        """It is refused before memory is taken for it."""
        vector = next(v for v in VECTORS["requests"] if v["name"] == "system" and v["level"] == 8)
        whole = bytearray.fromhex(vector["hex"])
        tracemalloc.start()
        try:
            for place in range(0, len(whole) - 3, 4):
                evil = bytearray(whole)
                evil[place : place + 4] = b"\xff\xff\xff\x7f"
                pull(bytes(evil))
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
        finally:
            tracemalloc.stop()

    def test_big_ids(self) -> None:
        """A uid of more than 32 bits cannot be one."""
        info = auth_session_info(unix_token=security_unix_token(uid=1 << 32))
        req = named_pipe_auth_req(
            level=8,
            info=named_pipe_auth_req_info(
                info8=named_pipe_auth_req_info8(session_info=auth_session_info_transport(session_info=info))
            ),
        )
        err, blob = ndr_push_struct_blob(None, req, ndr_push_named_pipe_auth_req)
        assert err == NDR_ERR_SUCCESS
        assert pull(bytes(blob)) == NDR_ERR_NDR64
        talloc_free(blob)


class TestWriting:
    def test_the_blob_has_an_owner(self) -> None:
        """The context it was asked for on."""
        top = talloc_new(None)
        _, blob = ndr_push_struct_blob(top, reply(VECTORS["replies"][0]), ndr_push_named_pipe_auth_rep)
        assert talloc_parent(blob) is top
        talloc_free(top)

    @pytest.mark.parametrize(
        ("change", "error"),
        [
            ({"level": 9}, NDR_ERR_BAD_SWITCH),
            ({"level": 8}, NDR_ERR_BAD_SWITCH),
            ({"level": -1}, NDR_ERR_RANGE),
        ],
    )
    def test_levels(self, change: dict[str, int], error: ndr_err_code) -> None:
        """A level needs its info."""
        req = request(VECTORS["requests"][0])
        req.level = change["level"]
        assert ndr_push_struct_blob(None, req, ndr_push_named_pipe_auth_req) == (error, None)

    @pytest.mark.parametrize(
        ("name", "value", "error"),
        [
            ("transport", 256, NDR_ERR_RANGE),
            ("remote_client_port", 65536, NDR_ERR_RANGE),
            ("remote_client_port", "445", NDR_ERR_RANGE),
            ("remote_client_name", "\udc80", NDR_ERR_CHARCNV),
            ("remote_client_name", 5, NDR_ERR_CHARCNV),
        ],
    )
    def test_values_that_do_not_fit(self, name: str, value: object, error: ndr_err_code) -> None:
        """Each has its error."""
        info = named_pipe_auth_req_info8(**{name: value})
        assert ndr_push_struct_blob(None, info, ndr_push_named_pipe_auth_req_info8) == (error, None)

    def test_other_claims(self) -> None:
        """SIDs and octets, a value that is not there, and a type that nobody knows."""
        info = auth_session_info(
            security_token=security_token(
                user_claims=[
                    CLAIM_SECURITY_ATTRIBUTE_RELATIVE_V1(
                        name="groups", value_type=CLAIM_SECURITY_ATTRIBUTE_TYPE_SID, values=[sid("S-1-5-32-544"), None]
                    ),
                    CLAIM_SECURITY_ATTRIBUTE_RELATIVE_V1(
                        value_type=CLAIM_SECURITY_ATTRIBUTE_TYPE_OCTET_STRING, values=[b"octets", b""]
                    ),
                ]
            )
        )
        inside = named_pipe_auth_req_info8(session_info=auth_session_info_transport(session_info=info))
        err, blob = ndr_push_struct_blob(None, copy.deepcopy(inside), ndr_push_named_pipe_auth_req_info8)
        assert err == NDR_ERR_SUCCESS
        found = named_pipe_auth_req_info8()
        assert ndr_pull_struct_blob_all(blob, None, found, ndr_pull_named_pipe_auth_req_info8) == NDR_ERR_SUCCESS
        assert found == inside
        talloc_free(blob)
        assert info.security_token is not None
        info.security_token.user_claims[0].value_type = 77
        assert ndr_push_struct_blob(None, inside, ndr_push_named_pipe_auth_req_info8) == (NDR_ERR_BAD_SWITCH, None)


class TestStructures:
    def test_members(self) -> None:
        """By keyword, comparable, changeable, printable; a wrong name is named."""
        one, two = auth_user_info(account_name="a"), auth_user_info(account_name="a")
        assert one == two
        two.logon_count = 3
        assert one != two
        assert one != security_unix_token()
        assert "logon_count=3" in repr(two)
        with pytest.raises(TypeError, match="nobody"):
            auth_user_info(nobody=1)
        with pytest.raises(TypeError):
            hash(one)
        assert security_token().sids is not security_token().sids

    def test_levels_are_types(self) -> None:
        """The info of one level is not equal to that of the other."""
        assert named_pipe_auth_req_info7() != named_pipe_auth_req_info8()

    def test_are_chunks_once_owned(self) -> None:
        """They derive from TALLOC_CTX."""
        assert isinstance(dom_sid(), TALLOC_CTX)


class TestSid:
    @pytest.mark.parametrize("text", ["S-1-5-32-544", "S-1-0", "S-255-4294967295-4294967295", "S-1-0x1234567890ab-1"])
    def test_round_trip(self, text: str) -> None:
        """From text and back."""
        found = sid(text)
        assert str(found) == text
        assert found == sid(text)
        top = talloc_new(None)
        assert dom_sid_string(top, found) == text
        talloc_free(top)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "S",
            "S-1",
            "X-1-5",
            "S-1-5-",
            "S-1-5--1",
            "S-1-5-x",
            "S-1-5-4294967296",
            "S-256-5",
            "S-1-5" + "-1" * 16,
            "S-1-281474976710656",
        ],
    )
    def test_no_sid(self, text: str) -> None:
        """Anything else is refused."""
        assert dom_sid_parse(text) == (False, None)

    def test_counts(self) -> None:
        """`num_auths` follows the list."""
        found = sid("S-1-5-1-2-3")
        assert found.num_auths == 3

    def test_none(self) -> None:
        """No SID has a text, too."""
        text = dom_sid_string(None, None)
        assert text == "(NULL SID)"
        talloc_free(text)


def test_errors_as_statuses() -> None:
    """0 is success; what has no status of its own is a wrong parameter."""
    assert ndr_map_error2ntstatus(NDR_ERR_SUCCESS) == NT_STATUS_OK
    assert ndr_map_error2ntstatus(NDR_ERR_CHARCNV) == 0xC000000D
    assert NDR_ERR_CODE_IS_SUCCESS(0)
    assert not NDR_ERR_CODE_IS_SUCCESS(NDR_ERR_BUFSIZE)
