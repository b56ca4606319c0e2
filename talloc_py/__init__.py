# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The hierarchical ownership of Samba's talloc library: every chunk has an owner and is freed with it.

One name to one name as in talloc.h. This module only re-exports.
"""

from __future__ import annotations

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
from .types import (
    char,
    int8_t,
    int16_t,
    int32_t,
    int64_t,
    size_t,
    ssize_t,
    uint8_t,
    uint16_t,
    uint32_t,
    uint64_t,
)
