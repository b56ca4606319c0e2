# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Tests of request state machines: simulated worlds, sweeps, and searches through all orders.

    from tevent.testing import simulation

    def test_an_hour_passes():
        with simulation() as world:
            ev = world.context()
            req = tevent_wakeup_send(ev, ev, tevent_timeval_current_ofs(3600, 0))
            assert tevent_req_poll(req, ev)

    from tevent.testing import sweep

    def test_whatever_happens():
        sweep(lambda world, ev, mem_ctx: foo_send(mem_ctx, ev), foo_recv)

- `simulation` is a world with its own clock, whose contexts wait for nothing real; a failure in it tells its story.
- `sweep` and its relatives begin a request again and again, disturb it at another step each time, and check what must
  always hold.
- `explore` runs a test in all orders in which things could have come.
- `take_stock` and `check_clean` tell what is left behind.

`request_machine`, `tracked` and the module `strategies` need Hypothesis, the extra ``testing``; they are loaded when
they are asked for.

Nothing here waits, opens a descriptor or depends on the clock of the machine.  Nothing of it is imported with the
package, and it costs nothing there.
"""

from __future__ import annotations

from importlib import import_module

from ._sim import delivery, fault_point, simulation, simulation_limit
from ._sim_choice import another_run
from ._sim_explore import exploration, explore, world_options
from ._sim_poison import touched_after_free
from ._sim_stock import check_clean, stock, take_stock
from ._sim_sweep import (
    sweep,
    sweep_cancel,
    sweep_errors,
    sweep_failure,
    sweep_free,
    sweep_free_parent,
    sweep_options,
    sweep_orders,
    sweep_recv,
    sweep_result,
    sweep_stall,
    sweep_timeout,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import _strategies
    from ._machine import request_machine as request_machine
    from ._machine import tracked as tracked

    strategies = _strategies

__all__ = [
    "another_run",
    "check_clean",
    "delivery",
    "exploration",
    "explore",
    "fault_point",
    "simulation",
    "simulation_limit",
    "stock",
    "sweep",
    "sweep_cancel",
    "sweep_errors",
    "sweep_failure",
    "sweep_free",
    "sweep_free_parent",
    "sweep_options",
    "sweep_orders",
    "sweep_recv",
    "sweep_result",
    "sweep_stall",
    "sweep_timeout",
    "take_stock",
    "touched_after_free",
    "world_options",
]

_WITH_HYPOTHESIS = {"request_machine": "_machine", "strategies": "_strategies", "tracked": "_machine"}


def __getattr__(name: str) -> object:
    """What needs Hypothesis, when it is asked for."""
    if name not in _WITH_HYPOTHESIS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__package__}.{_WITH_HYPOTHESIS[name]}")
    except ModuleNotFoundError as error:
        error.add_note(f"{__name__}.{name} needs the extra 'testing': pip install 'tsocket[testing]'")
        raise
    found: object = module if name == "strategies" else getattr(module, name)
    return found
