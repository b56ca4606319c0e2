# SPDX-License-Identifier: LGPL-3.0-or-later
"""Coverage-guided search for bytes that a reader of a wire format does not stand; see `tests/README.md`."""
