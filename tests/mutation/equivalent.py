# SPDX-License-Identifier: LGPL-3.0-or-later
"""Mistakes that are none: what they change makes no difference that a caller could see, and why."""

from __future__ import annotations

_ONLY_MINUS_ONE = "Of a destructor's answers only -1 counts."
_IS_SO = "It is so already."
_SLOWER = "Only a longer way to the same."

#: By file: function, old text and new text, and the reason.
EQUIVALENT: dict[str, dict[tuple[str, str, str], str]] = {
    "talloc_py/_abort.py": {
        ("_unraisable_type", "seen.clear()", "pass"): "The list goes with the function.",
    },
    "talloc_py/_chunk.py": {
        ("_content_name", '""', "'XX'"): "Nothing but strings and buffers is named by its content.",
        ("link_first", "c.prev = None", "pass"): _IS_SO,
    },
    "talloc_py/_misuse.py": {
        ("asked_by", "1", "2"): "The frame that is left out is one of the package's own.",
        ("after_free", '" and used after that"', "'XX and used after that'"): "There is always a function.",
        ("asked_by", '""', "'XX'"): "The first frame is one of the package's own, and no frame is called so.",
    },
    "talloc_py/_lazy.py": {
        ("find", "setattr(sys.modules[package], name, thing)", "pass"): _SLOWER,
    },
    "talloc_py/_make.py": {
        ("new_struct", "0", "1"): "No pool has a size of 0.",
    },
    "talloc_py/_rare.py": {
        ("pool_take", "pool.end + prefix", "pool.end - prefix"): "A pool, which has a prefix, never gets another size.",
        ("_rebook_member", "needed > here", "needed >= here"): "Equal ones are dealt with before.",
    },
    "talloc_py/_typing.py": {
        ("field", "return property(lambda self: self[index], doc=doc)", "return None"): "For other interpreters only.",
        ("overload", "return function", "return None"): "The next definition takes its place.",
        ("named_tuple._asdict", "True", "False"): "There are as many fields as names.",
        ("named_tuple._replace", "True", "False"): "There are as many fields as names.",
    },
    "talloc_py/array.py": {
        ("_resize_buffer", "missing < 0", "missing <= 0"): "Nothing is cut off where nothing is missing.",
    },
    "talloc_py/dot.py": {
        ("ownership_dot", "1", "2"): "Every negative depth is all.",
    },
    "talloc_py/names.py": {
        ("talloc_get_type_abort", "c.obj is ptr", "c.obj is not ptr"): _SLOWER,
        ("talloc_get_type_abort", "type is not None", "type is None"): _SLOWER,
    },
    "talloc_py/pool.py": {
        ("", "0xFFFFFFFF", "4294967296"): "So many would be too big in any case.",
    },
    "talloc_py/report.py": {
        ("talloc_full_report_printf", "1", "2"): "Every negative depth is all.",
    },
    "talloc_py/secret.py": {
        ("_wipe", "0", "1"): _ONLY_MINUS_ONE,
    },
    "talloc_py/stack.py": {
        ("_stack.pop", "0", "1"): _ONLY_MINUS_ONE,
        ("_stack._free_above", "len(self.frames) - 1", "len(self.frames) + 1"): "There is nothing above the last one.",
    },
    "tevent/queue.py": {
        ("_destroy_queue", "0", "1"): _ONLY_MINUS_ONE,
    },
    "tevent/_request.py": {
        ("leave_when_freed", "0", "1"): _ONLY_MINUS_ONE,
    },
    "tevent/req.py": {
        (
            "tevent_req_callback_data",
            "req._talloc_chunk.obj is req",
            "req._talloc_chunk.obj is not req",
        ): _SLOWER,
        ("tevent_req_done", "type(req) is tevent_req", "type(req) is not tevent_req"): _SLOWER,
        ("tevent_req_post", "req._talloc_chunk.obj is req", "req._talloc_chunk.obj is not req"): _SLOWER,
        ("tevent_req_post", "req.status != RECEIVED", "req.status == RECEIVED"): _SLOWER,
        ("tevent_req_post", "type(req) is tevent_req", "type(req) is not tevent_req"): _SLOWER,
        ("tevent_req_received", "header.obj is req", "header.obj is not req"): _SLOWER,
        ("tevent_req_received", "type(req) is tevent_req", "type(req) is not tevent_req"): _SLOWER,
    },
}
