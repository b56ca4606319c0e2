# SPDX-License-Identifier: LGPL-3.0-or-later
"""
`typing.overload` and what `typing.NamedTuple` makes, without `typing`: its import takes longer than all three packages.

A type checker sees the real ones. At run time an overloaded signature is a function that the next one replaces.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import overload as overload
else:
    try:
        from _collections import _tuplegetter as field
    except ImportError:  # another interpreter than CPython

        def field(index, doc):
            """The descriptor of one field of a `named_tuple`."""
            return property(lambda self: self[index], doc=doc)

    def overload(function):
        """Give *function* back."""
        return function

    class named_tuple(tuple):
        """A NamedTuple but for its fields and ``__new__``, which the subclass has."""

        __slots__ = ()
        _fields = ()

        @classmethod
        def _make(cls, iterable):
            """Make one of a sequence or iterable."""
            return cls(*iterable)

        def _replace(self, /, **fields):
            """Make one with other values for some of the fields."""
            made = self._make(fields.pop(name, value) for name, value in zip(self._fields, self, strict=True))
            if fields:
                raise ValueError(f"Got unexpected field names: {list(fields)!r}")
            return made

        __replace__ = _replace

        def _asdict(self):
            """The fields by name."""
            return dict(zip(self._fields, self, strict=True))

        def __getnewargs__(self):
            return tuple(self)

        def __repr__(self):
            fields = ", ".join(f"{name}={value!r}" for name, value in self._asdict().items())
            return f"{type(self).__name__}({fields})"


__all__ = ["overload"]
