# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Small requests as a user writes them, each with one bug that people make.

The argument *planted* of a ``_send`` function, kept in the state, says whether the bug is there: each place that looks
at it shows the wrong line and the right one.
"""
