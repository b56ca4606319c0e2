# SPDX-License-Identifier: LGPL-3.0-or-later
"""The testing kit, put to use: on requests of the library itself, and on machines with planted bugs."""
