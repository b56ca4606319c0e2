# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Where the names live that few programs need: modules that are imported when the first of their names is asked for.

What is entered here stands in ``__init__`` among the imports for type checkers, too; a test compares the two.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["HOMES"]

#: Names by module.
HOMES: Final[dict[str, tuple[str, ...]]] = {
    "array": (
        "talloc_array",
        "talloc_array_length",
        "talloc_array_ptrtype",
        "talloc_array_size",
        "talloc_realloc",
        "talloc_realloc_fn",
        "talloc_realloc_size",
        "talloc_realloc_zero",
        "talloc_zero_array",
    ),
    "debug": (
        "talloc_abort_error",
        "talloc_autofree_context",
        "talloc_disable_null_tracking",
        "talloc_enable_leak_report",
        "talloc_enable_leak_report_full",
        "talloc_enable_null_tracking",
        "talloc_enable_null_tracking_no_autofree",
        "talloc_set_abort_fn",
        "talloc_set_log_fn",
        "talloc_set_log_stderr",
    ),
    "memlimit": ("talloc_set_memlimit",),
    "pool": (
        "talloc_pool",
        "talloc_pooled_object",
    ),
    "refs": (
        "talloc_increase_ref_count",
        "talloc_reference",
        "talloc_reference_count",
        "talloc_unlink",
    ),
    "report": (
        "talloc_full_report_printf",
        "talloc_report",
        "talloc_report_depth_cb",
        "talloc_report_depth_file",
        "talloc_report_full",
        "talloc_report_str",
        "talloc_show_parents",
    ),
    "secret": ("talloc_keep_secret",),
    "sizes": (
        "talloc_get_size",
        "talloc_total_blocks",
        "talloc_total_size",
    ),
    "stack": (
        "talloc_stackframe",
        "talloc_stackframe_exists",
        "talloc_stackframe_pool",
        "talloc_tos",
    ),
}
