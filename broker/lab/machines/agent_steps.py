"""The guest agent: it connects some time after the guest runs, and tells of system and addresses at its first poll.

Polls start after 10 s and double to 120 s (kubevirt.md E2); the lab scales them, and its guests change nothing later.
"""

from __future__ import annotations

from broker.lab.machines.node_steps import domain_interfaces
from broker.lab.machines.run_strategy import phase_of
from broker.lab.machines.view import VMIS, Put, Step, View, condition, is_marked, with_condition

__all__ = ["CONNECTS_AFTER_S", "FIRST_POLL_S", "agent_step"]

CONNECTS_AFTER_S = 8.0
FIRST_POLL_S = 10.0


def agent_step(view: View) -> Step | None:
    """Return the agent's next report, None where there is none to come."""
    vmi, domain = view.vmi, view.domain
    if vmi is None or domain is None or not domain.has_agent or is_marked(vmi) or phase_of(vmi) != "Running":
        return None
    if condition(vmi, "Paused") is not None or domain.ended or domain.is_pause_wanted:
        return None
    if condition(vmi, "AgentConnected") is None:
        there = {"lastProbeTime": None, "lastTransitionTime": view.now, "status": "True", "type": "AgentConnected"}
        after_s = CONNECTS_AFTER_S * view.agent_scale
        connected = Put(resource=VMIS, obj=with_condition(vmi, there))
        return Step(name="agent connects", effects=(connected,), after_s=after_s, is_scaled=False)
    status = vmi["status"]
    told = {"interfaces": domain_interfaces(view, has_agent=True), "guestOSInfo": dict(domain.system)}
    if all(status.get(key) == value for key, value in told.items()):
        return None
    after_s = FIRST_POLL_S * view.agent_scale
    known = Put(resource=VMIS, obj={**vmi, "status": {**status, **told}})
    return Step(name="agent tells", effects=(known,), after_s=after_s, is_scaled=False)
