# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The backend of the contexts of a simulated world: no descriptors, no signals, and the world does the waiting.

It is in the registry of backends only where a world asks for that, since a context of it needs a world, its
``additional_data``.
"""

from __future__ import annotations

from talloc_py.core import TALLOC_CTX

from ._base import tevent_context
from .backend import _known as registry
from .backend import tevent_ops, tevent_register_backend, tevent_set_default_backend
from .immediate import tevent_common_schedule_immediate
from .timed import tevent_common_add_timer_v2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final, NoReturn

    from ._sim import simulation

__all__ = ["OPS", "be_default", "worlds"]

#: The world that the contexts belong to that are made by the backend's name; the last one.
worlds: list[simulation] = []
_NAME: Final = "simulated"


def be_default(world: simulation) -> Callable[[], None]:
    """Let contexts that are made without a name live in *world*; what is returned puts everything back."""
    former = registry.default
    worlds.append(world)
    tevent_register_backend(_NAME, OPS)
    tevent_set_default_backend(_NAME)

    def undo() -> None:
        worlds.remove(world)
        registry.by_name.pop(_NAME, None)
        registry.default = former

    return undo


def _context_init(ev: tevent_context) -> int:
    if ev.additional_data is None:
        ev.additional_data = worlds[-1]
    world: simulation = ev.additional_data
    world.adopt(ev)
    return 0


def _add_fd(
    _ev: tevent_context, _mem_ctx: TALLOC_CTX | None, fd: int, _flags: int, _handler: Any, _data: object, name: str
) -> NoReturn:
    raise RuntimeError(
        f"descriptor {fd} with handler {name}: a simulated context has no descriptors, and so neither signals nor "
        "immediates of other threads; code under test works with streams and datagram sockets, which can be simulated"
    )


def _add_signal(
    _ev: tevent_context, _mem_ctx: TALLOC_CTX | None, signum: int, _flags: int, _handler: Any, _data: object, name: str
) -> NoReturn:
    raise RuntimeError(f"signal {signum} with handler {name}: a simulated context has no signals")


def _loop_once(ev: tevent_context) -> int:
    world: simulation = ev.additional_data
    return world.iterate(ev)


def _loop_wait(ev: tevent_context) -> int:
    world: simulation = ev.additional_data
    return world.iterate_until_idle(ev)


OPS: Final = tevent_ops(
    context_init=_context_init,
    add_fd=_add_fd,
    add_timer=tevent_common_add_timer_v2,
    schedule_immediate=tevent_common_schedule_immediate,
    add_signal=_add_signal,
    loop_once=_loop_once,
    loop_wait=_loop_wait,
)
