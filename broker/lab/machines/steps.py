"""Every actor's next change of one VM, in the order in which changes due at one moment happen."""

from __future__ import annotations

from collections.abc import Callable

from broker.lab.machines.agent_steps import agent_step
from broker.lab.machines.node_steps import handler_step, kubelet_step, scheduler_step
from broker.lab.machines.view import Step, View
from broker.lab.machines.vm_steps import vm_step
from broker.lab.machines.vmi_steps import vmi_step

__all__ = ["ACTORS", "steps_of"]

ACTORS: tuple[tuple[str, Callable[[View], Step | None]], ...] = (
    ("virt-controller/vm", vm_step),
    ("virt-controller/vmi", vmi_step),
    ("scheduler", scheduler_step),
    ("kubelet", kubelet_step),
    ("virt-handler", handler_step),
    ("guest agent", agent_step),
)


def steps_of(view: View) -> list[tuple[str, Step]]:
    """Return (actor, its next change) for each actor that has one."""
    found = [(actor, look(view)) for actor, look in ACTORS]
    return [(actor, step) for actor, step in found if step is not None]
