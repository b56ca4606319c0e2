# SPDX-License-Identifier: LGPL-3.0-or-later
"""The packages and the real C libraries carry out the same programs, and must be seen to do the same."""
