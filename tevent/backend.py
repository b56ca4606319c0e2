# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Backends: what an event context asks for its work, and the list of those that have a name.

Mirrors ``struct tevent_ops`` and the registry of lib/tevent/tevent.c.  The first look at the registry registers the
built-in backends, so that a program that registers a name before that wins.  Those that are not the default are loaded
when one of their operations is asked for.
Cost: a lookup is O(number of backends), which is five.
"""

from __future__ import annotations

from talloc_py.core import TALLOC_CTX

from . import _sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = [
    "tevent_backend_list",
    "tevent_find_ops_byname",
    "tevent_ops",
    "tevent_register_backend",
    "tevent_set_default_backend",
]

_allocate = object.__new__

if TYPE_CHECKING:
    #: A callable of a backend; the tables in the documentation tell its parameters.
    operation = Callable[..., Any]


class tevent_ops:
    """
    The operations of a backend, None where one is missing.

    C: ``struct tevent_ops``

    Args:
        context_init: ``(ev) -> int``: prepare *ev*; 0 or an error.

        add_fd: ``(ev, mem_ctx, fd, flags, handler, private_data, handler_name) -> tevent_fd | None``.

        set_fd_close_fn: ``(fde, close_fn)``.

        get_fd_flags: ``(fde) -> int``.

        set_fd_flags: ``(fde, flags)``.

        add_timer: ``(ev, mem_ctx, next_event, handler, private_data, handler_name) -> tevent_timer | None``.

        schedule_immediate: ``(im, ev, handler, private_data, handler_name)``.

        add_signal: ``(ev, mem_ctx, signum, sa_flags, handler, private_data, handler_name) -> tevent_signal | None``.

        loop_once: ``(ev) -> int``: one iteration.

        loop_wait: ``(ev) -> int``: iterations until there are no more events.

    The attributes of the same names may be changed at any time: they are looked at for each call.
    """

    __slots__ = (
        "context_init",
        "add_fd",
        "set_fd_close_fn",
        "get_fd_flags",
        "set_fd_flags",
        "add_timer",
        "schedule_immediate",
        "add_signal",
        "once",
        "second_half",
        "loop_wait",
    )

    #: The value of `loop_once`, without the cost of a property.
    once: operation
    #: What `loop_once` does behind `context.before_wait`, where it begins with that: the loop may do the first itself.
    second_half: Callable[[Any, int], int] | None

    def __init__(
        self,
        context_init: operation | None = None,
        add_fd: operation | None = None,
        set_fd_close_fn: operation | None = None,
        get_fd_flags: operation | None = None,
        set_fd_flags: operation | None = None,
        add_timer: operation | None = None,
        schedule_immediate: operation | None = None,
        add_signal: operation | None = None,
        loop_once: operation | None = None,
        loop_wait: operation | None = None,
    ) -> None:
        # Declared as present: a backend without one of them is not asked for it, and fails with a TypeError if it is.
        self.context_init: operation = context_init  # type: ignore[assignment]
        self.add_fd: operation = add_fd  # type: ignore[assignment]
        self.set_fd_close_fn: operation = set_fd_close_fn  # type: ignore[assignment]
        self.get_fd_flags: operation = get_fd_flags  # type: ignore[assignment]
        self.set_fd_flags: operation = set_fd_flags  # type: ignore[assignment]
        self.add_timer: operation = add_timer  # type: ignore[assignment]
        self.schedule_immediate: operation = schedule_immediate  # type: ignore[assignment]
        self.add_signal: operation = add_signal  # type: ignore[assignment]
        self.loop_once = loop_once  # type: ignore[assignment]
        self.loop_wait: operation = loop_wait  # type: ignore[assignment]

    @property
    def loop_once(self) -> operation:
        """``(ev) -> int``: one iteration."""
        return self.once

    @loop_once.setter
    def loop_once(self, function: operation) -> None:
        self.once = function
        self.second_half = next((half for known, half in second_halves if known is function), None)


class _unloaded_ops(tevent_ops):
    """
    The operations of a built-in backend whose module is loaded as soon as one of them is asked for.

    A class of its own until then: a `__getattr__` makes every access to attributes slower, 1 % of a PDU's round trip.
    """

    __slots__ = ()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            module = _load_later.pop(self, None)
            if module is None:
                raise AttributeError(f"tevent_ops has no {name}")
            __import__(f"{__package__}.{module}")
            return getattr(self, name)


#: The loop_once functions of the built-in backends, which all begin with `context.before_wait`, and what they do then.
#: A backend's module appends them before it makes its `tevent_ops`.
second_halves: list[tuple[operation, Callable[[Any, int], int]]] = []

#: Built-in backends by name.
builtin_backends: dict[str, tevent_ops] = {}

#: Those without operations so far, and the modules that have them.
_load_later: dict[tevent_ops, str] = {}


def add_builtin(name: str, **operations: operation) -> None:
    """Give a built-in backend its operations; for its module."""
    ops = builtin_backends.setdefault(name, _allocate(tevent_ops))
    _load_later.pop(ops, None)
    ops.__class__ = tevent_ops
    tevent_ops.__init__(ops, **operations)


def _add_later(name: str, module: str) -> None:
    ops = builtin_backends[name] = _allocate(_unloaded_ops)
    _load_later[ops] = module


_add_later("selectors", "selectors")
if _sys.poll is not None:
    _add_later("poll", "poll")
    _add_later("poll_mt", "poll")

#: The order in which the built-in ones are registered; the last one comes first in the list.
_BUILTIN_ORDER = ("selectors", "poll", "poll_mt", "epoll", "standard")


class _registry:
    __slots__ = ("by_name", "default", "loaded")

    def __init__(self) -> None:
        self.by_name: dict[str, tevent_ops] = {}
        self.default: str | None = None
        self.loaded = False


_known = _registry()


def _load_builtin() -> dict[str, tevent_ops]:
    if not _known.loaded:
        _known.loaded = True
        for name in _BUILTIN_ORDER:
            ops = builtin_backends.get(name)
            if ops is not None:
                tevent_register_backend(name, ops)
    return _known.by_name


def tevent_register_backend(name: str, ops: tevent_ops) -> bool:
    """
    Give a backend a name under which contexts can be made.

    C: ``bool tevent_register_backend(const char *name, const struct tevent_ops *ops)``

    Returns:
        True, also where *name* is known already: then the old operations stay.
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, not {type(name).__name__}")
    if not isinstance(ops, tevent_ops):
        raise TypeError(f"ops must be a tevent_ops, not {type(ops).__name__}")
    _known.by_name.setdefault(name, ops)
    return True


def tevent_set_default_backend(backend: str | None) -> None:
    """
    Choose the backend for contexts that are made without a name.

    C: ``void tevent_set_default_backend(const char *backend)``

    Args:
        backend: Any name, not checked here; None goes back to ``standard``. Process-wide.
    """
    if backend is not None and not isinstance(backend, str):
        raise TypeError(f"backend must be a str or None, not {type(backend).__name__}")
    _known.default = backend


def tevent_find_ops_byname(name: str | None) -> tevent_ops | None:
    """
    The operations of the backend *name*; None if there is none of that name.

    C: ``const struct tevent_ops *tevent_find_ops_byname(const char *name)``

    Args:
        name: None stands for the default backend.
    """
    if name is None:
        name = _known.default or "standard"
    elif not isinstance(name, str):
        raise TypeError(f"name must be a str or None, not {type(name).__name__}")
    known = _load_builtin()
    if name == "asyncio" and name not in known:
        from . import _aio_backend as _aio_backend  # registers itself; whoever does not ask does not pay for asyncio
    return known.get(name)


def tevent_backend_list(mem_ctx: TALLOC_CTX | None) -> list[str]:
    """
    The names of all backends, the newest first.

    C: ``const char **tevent_backend_list(TALLOC_CTX *mem_ctx)``

    Ownership: the list is a chunk on *mem_ctx*.
    """
    from talloc_py.array import talloc_array

    # A memory limit is the one thing that can forbid it; then it is None, which C's callers have to expect too.
    names: Any = talloc_array(mem_ctx, str, 0)
    if names is not None:
        names.extend(reversed(_load_builtin()))
    return names  # type: ignore[no-any-return]
