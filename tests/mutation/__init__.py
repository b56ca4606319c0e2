# SPDX-License-Identifier: LGPL-3.0-or-later
"""Small mistakes, put into the packages one at a time, and whether the tests notice them."""
