# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The hierarchical ownership of Samba's talloc library: every chunk has an owner and is freed with it.

One name to one name as in talloc.h. This module only re-exports.
"""

from __future__ import annotations

from ._sys import debug_settings
from .core import (
    TALLOC_CTX,
    TALLOC_FREE,
    TALLOC_MAX_DEPTH,
    TALLOC_VERSION_MAJOR,
    TALLOC_VERSION_MINOR,
    talloc,
    talloc_free,
    talloc_free_children,
    talloc_init,
    talloc_is_parent,
    talloc_memdup,
    talloc_move,
    talloc_named,
    talloc_named_const,
    talloc_new,
    talloc_parent,
    talloc_ptrtype,
    talloc_reparent,
    talloc_set_destructor,
    talloc_size,
    talloc_steal,
    talloc_test_get_magic,
    talloc_version_major,
    talloc_version_minor,
    talloc_zero,
    talloc_zero_size,
)
from .names import (
    talloc_check_name,
    talloc_find_parent_byname,
    talloc_find_parent_bytype,
    talloc_get_name,
    talloc_get_type,
    talloc_get_type_abort,
    talloc_parent_name,
    talloc_set_name,
    talloc_set_name_const,
    talloc_set_type,
)
from .string import (
    talloc_append_string,
    talloc_asprintf,
    talloc_asprintf_addbuf,
    talloc_asprintf_addsep,
    talloc_asprintf_append,
    talloc_asprintf_append_buffer,
    talloc_strdup,
    talloc_strdup_append,
    talloc_strdup_append_buffer,
    talloc_strndup,
    talloc_strndup_append,
    talloc_strndup_append_buffer,
    talloc_vasprintf,
    talloc_vasprintf_append,
    talloc_vasprintf_append_buffer,
)
from .types import char, int8_t, int16_t, int32_t, int64_t, size_t, ssize_t, uint8_t, uint16_t, uint32_t, uint64_t

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .array import (
        talloc_array,
        talloc_array_length,
        talloc_array_ptrtype,
        talloc_array_size,
        talloc_realloc,
        talloc_realloc_fn,
        talloc_realloc_size,
        talloc_realloc_zero,
        talloc_zero_array,
    )
    from .debug import (
        talloc_abort_error,
        talloc_autofree_context,
        talloc_disable_null_tracking,
        talloc_enable_leak_report,
        talloc_enable_leak_report_full,
        talloc_enable_null_tracking,
        talloc_enable_null_tracking_no_autofree,
        talloc_set_abort_fn,
        talloc_set_log_fn,
        talloc_set_log_stderr,
    )
    from .memlimit import talloc_set_memlimit
    from .pool import talloc_pool, talloc_pooled_object
    from .refs import talloc_increase_ref_count, talloc_reference, talloc_reference_count, talloc_unlink
    from .report import (
        talloc_full_report_printf,
        talloc_report,
        talloc_report_depth_cb,
        talloc_report_depth_file,
        talloc_report_full,
        talloc_report_str,
        talloc_show_parents,
    )
    from .secret import talloc_keep_secret
    from .sizes import talloc_get_size, talloc_total_blocks, talloc_total_size
    from .stack import talloc_stackframe, talloc_stackframe_exists, talloc_stackframe_pool, talloc_tos
else:
    # Hidden from type checkers, which would take every name for one that is found here.
    def __getattr__(name):
        from ._homes import HOMES
        from ._lazy import find

        return find(__name__, HOMES, name)

    def __dir__():
        return sorted({*globals(), *__all__})


__all__ = [
    "TALLOC_CTX",
    "TALLOC_FREE",
    "TALLOC_MAX_DEPTH",
    "TALLOC_VERSION_MAJOR",
    "TALLOC_VERSION_MINOR",
    "char",
    "int16_t",
    "int32_t",
    "int64_t",
    "int8_t",
    "size_t",
    "ssize_t",
    "talloc",
    "talloc_abort_error",
    "talloc_append_string",
    "talloc_array",
    "talloc_array_length",
    "talloc_array_ptrtype",
    "talloc_array_size",
    "talloc_asprintf",
    "talloc_asprintf_addbuf",
    "talloc_asprintf_addsep",
    "talloc_asprintf_append",
    "talloc_asprintf_append_buffer",
    "talloc_autofree_context",
    "talloc_check_name",
    "talloc_disable_null_tracking",
    "talloc_enable_leak_report",
    "talloc_enable_leak_report_full",
    "talloc_enable_null_tracking",
    "talloc_enable_null_tracking_no_autofree",
    "talloc_find_parent_byname",
    "talloc_find_parent_bytype",
    "talloc_free",
    "talloc_free_children",
    "talloc_full_report_printf",
    "talloc_get_name",
    "talloc_get_size",
    "talloc_get_type",
    "talloc_get_type_abort",
    "talloc_increase_ref_count",
    "talloc_init",
    "talloc_is_parent",
    "talloc_keep_secret",
    "talloc_memdup",
    "talloc_move",
    "talloc_named",
    "talloc_named_const",
    "talloc_new",
    "talloc_parent",
    "talloc_parent_name",
    "talloc_pool",
    "talloc_pooled_object",
    "talloc_ptrtype",
    "talloc_realloc",
    "talloc_realloc_fn",
    "talloc_realloc_size",
    "talloc_realloc_zero",
    "talloc_reference",
    "talloc_reference_count",
    "talloc_reparent",
    "talloc_report",
    "talloc_report_depth_cb",
    "talloc_report_depth_file",
    "talloc_report_full",
    "talloc_report_str",
    "talloc_set_abort_fn",
    "talloc_set_destructor",
    "talloc_set_log_fn",
    "talloc_set_log_stderr",
    "talloc_set_memlimit",
    "talloc_set_name",
    "talloc_set_name_const",
    "talloc_set_type",
    "talloc_show_parents",
    "talloc_size",
    "talloc_stackframe",
    "talloc_stackframe_exists",
    "talloc_stackframe_pool",
    "talloc_steal",
    "talloc_strdup",
    "talloc_strdup_append",
    "talloc_strdup_append_buffer",
    "talloc_strndup",
    "talloc_strndup_append",
    "talloc_strndup_append_buffer",
    "talloc_test_get_magic",
    "talloc_tos",
    "talloc_total_blocks",
    "talloc_total_size",
    "talloc_unlink",
    "talloc_vasprintf",
    "talloc_vasprintf_append",
    "talloc_vasprintf_append_buffer",
    "talloc_version_major",
    "talloc_version_minor",
    "talloc_zero",
    "talloc_zero_array",
    "talloc_zero_size",
    "uint16_t",
    "uint32_t",
    "uint64_t",
    "uint8_t",
]

if debug_settings:
    from .diagnostics import remember_births

    remember_births()
