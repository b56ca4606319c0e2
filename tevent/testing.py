# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Tests of request state machines: simulated worlds, sweeps, and searches through all orders.

    from tevent.testing import simulation

    def test_an_hour_passes():
        with simulation() as world:
            ev = world.context()
            req = tevent_wakeup_send(ev, ev, tevent_timeval_current_ofs(3600, 0))
            assert tevent_req_poll(req, ev)

Nothing here waits, opens a descriptor or depends on the clock of the machine.  Nothing of it is imported with the
package, and it costs nothing there.
"""

from __future__ import annotations

from ._sim import delivery, fault_point, simulation, simulation_limit

__all__ = ["delivery", "fault_point", "simulation", "simulation_limit"]
