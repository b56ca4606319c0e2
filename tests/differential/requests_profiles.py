# SPDX-License-Identifier: LGPL-3.0-or-later
"""The Python side of the area "requests": the operations on profiles."""

from __future__ import annotations

from typing import Any

from talloc_py import (
    talloc_free,
    talloc_is_parent,
)
from tevent import (
    tevent_req_get_profile,
    tevent_req_move_profile,
    tevent_req_profile_append_sub,
    tevent_req_profile_create,
    tevent_req_profile_get_name,
    tevent_req_profile_get_start,
    tevent_req_profile_get_status,
    tevent_req_profile_get_stop,
    tevent_req_profile_get_subprofiles,
    tevent_req_profile_next,
    tevent_req_profile_pack,
    tevent_req_profile_set_name,
    tevent_req_profile_set_start,
    tevent_req_profile_set_status,
    tevent_req_profile_set_stop,
    tevent_req_profile_string,
    tevent_req_profile_unpack,
    tevent_req_set_profile,
)

from .requests_world import World


class Profiles(World):
    @staticmethod
    def _text(word: str) -> str | None:
        return None if word == "-" else word.replace("_", " ").partition("|")[0]

    def _show_bytes(self, what: str, packed: bytes) -> None:
        text = packed.decode(errors="surrogateescape")
        self.saw(f"{what} {text.replace(chr(0), '|').replace(' ', '_')}")

    def _show_profile(self, profile: Any, depth: int) -> None:
        name = tevent_req_profile_get_name(profile)
        start_location, start = tevent_req_profile_get_start(profile)
        stop_location, stop = tevent_req_profile_get_stop(profile)
        pid, state, error = tevent_req_profile_get_status(profile)
        self.saw(
            f"{' ' * depth}{'NULL' if name is None else name} "
            f"at {'NULL' if start_location is None else start_location} {start.tv_sec}.{start.tv_usec} "
            f"to {'NULL' if stop_location is None else stop_location} {stop.tv_sec}.{stop.tv_usec} "
            f"pid {pid} state {state:d} error {error}"
        )
        sub = tevent_req_profile_get_subprofiles(profile)
        while sub is not None:
            self._show_profile(sub, depth + 1)
            sub = tevent_req_profile_next(sub)

    def _is_complete(self, profile: Any) -> bool:
        if (
            tevent_req_profile_get_name(profile) is None
            or tevent_req_profile_get_start(profile)[0] is None
            or tevent_req_profile_get_stop(profile)[0] is None
        ):
            return False
        sub = tevent_req_profile_get_subprofiles(profile)
        while sub is not None:
            if not self._is_complete(sub):
                return False
            sub = tevent_req_profile_next(sub)
        return True

    def op_set_profile(self, name: str, blind: str = "") -> None:
        req = self.req_to_finish(name)
        if req is not None and (blind or not self.is_received(req)):
            self.saw(f"set_profile -> {tevent_req_set_profile(req):d}")

    def op_move_profile(self, name: str, owner: str, profile_name: str) -> None:
        req = self.get(name, "req")
        there, ctx = self.owner(owner)
        if req is None or not there or self.kind(profile_name) is not None:
            return
        profile = tevent_req_get_profile(req)
        if profile is not None and ctx is not None and talloc_is_parent(ctx, profile):
            return
        profile = tevent_req_move_profile(req, ctx)
        self.saw(f"move_profile -> {profile is not None:d}")
        self.add(profile_name, "profile", profile)

    def op_profile(self, name: str, owner: str) -> None:
        there, ctx = self.owner(owner)
        if self.kind(name) is None and there:
            profile = tevent_req_profile_create(ctx)
            self.add(name, "profile", profile)
            self.note(profile).loose = True

    def op_pname(self, name: str, text: str) -> None:
        profile = self.get(name, "profile")
        if profile is not None:
            self.saw(f"set_name -> {tevent_req_profile_set_name(profile, self._text(text)):d}")

    def op_pstart(self, name: str, text: str, when: str) -> None:
        profile = self.get(name, "profile")
        if profile is not None:
            self.saw(f"set_start -> {tevent_req_profile_set_start(profile, self._text(text), self.in_us(when)):d}")

    def op_pstop(self, name: str, text: str, when: str) -> None:
        profile = self.get(name, "profile")
        if profile is not None:
            self.saw(f"set_stop -> {tevent_req_profile_set_stop(profile, self._text(text), self.in_us(when)):d}")

    def op_pstatus(self, name: str, pid: str, state: str, error: str) -> None:
        profile = self.get(name, "profile")
        if profile is not None:
            tevent_req_profile_set_status(profile, int(pid, 0), int(state, 0), int(error, 0))

    def op_pappend(self, name: str, sub_name: str) -> None:
        profile, sub = self.get(name, "profile"), self.get(sub_name, "profile")
        if profile is None or sub is None or not self.note(sub).loose or talloc_is_parent(profile, sub):
            return
        self.note(sub).loose = False
        tevent_req_profile_append_sub(profile, sub)
        self.saw("append_sub left 0")

    def op_pshow(self, name: str) -> None:
        profile = self.profile_of(name)
        if profile is not None:
            self.saw(f"profile of {name}")
            self._show_profile(profile, 1)

    def op_pstring(self, name: str, indent: str, max_indent: str) -> None:
        profile = self.profile_of(name)
        if profile is not None:
            text = tevent_req_profile_string(self.hidden, profile, int(indent), int(max_indent))
            self.saw(f"pstring {text}")
            talloc_free(text)

    def op_pack(self, name: str) -> None:
        profile = self.profile_of(name)
        if profile is None or not self._is_complete(profile):
            return
        asked = tevent_req_profile_pack(profile, None)
        buffer = bytearray(asked)
        length = tevent_req_profile_pack(profile, buffer)
        small = tevent_req_profile_pack(profile, bytearray(3))
        self.saw(f"pack: asked {asked == length:d}, too small {small == length:d}")
        self._show_bytes("packed", bytes(buffer[:length]))

    def _unpack(self, name: str, owner: Any, packed: bytes | bytearray, whole: bool) -> None:
        used, profile = tevent_req_profile_unpack(packed, owner)
        self.saw(f"unpack -> {used == len(packed):d}" if whole else f"unpack -> {used}")
        if profile is not None:
            self.add(name, "profile", profile)
            self.note(profile).loose = True
            self._show_profile(profile, 1)

    def op_repack(self, name: str, owner: str, source: str) -> None:
        profile = self.profile_of(source)
        there, ctx = self.owner(owner)
        if self.kind(name) is None and there and profile is not None and self._is_complete(profile):
            buffer = bytearray(tevent_req_profile_pack(profile, None))
            tevent_req_profile_pack(profile, buffer)
            self._unpack(name, ctx, buffer, True)

    def op_unpack(self, name: str, owner: str, text: str) -> None:
        there, ctx = self.owner(owner)
        if self.kind(name) is None and there and text != "-":
            packed = text.encode(errors="surrogateescape").replace(b"_", b" ").replace(b"|", b"\0")
            self._unpack(name, ctx, packed, False)
