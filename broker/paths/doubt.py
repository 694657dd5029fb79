"""What most likely keeps a dial from a guest, said before anybody dials it. **Pure.**"""

from __future__ import annotations

from broker.errors import BrokerError, GuestUnready
from broker.model.vm import VirtualMachine
from broker.model.vmi import VirtualMachineInstance
from broker.paths.diagnosis import DialFacts, diagnose
from broker.paths.preflight import is_doubtful


def doubt(vm: VirtualMachine | None, vmi: VirtualMachineInstance | None, port: int) -> BrokerError | None:
    """Return what `ssh` will most likely say once its dial got no answer; None where no reason to expect that is known.

    GuestUnready with code secondary-only, secondary-first or inner-address. What `preflight` is certain of is not looked at.
    """
    if vmi is None or not is_doubtful(vmi):
        return None
    meta = vm.metadata if vm is not None else vmi.metadata
    facts = DialFacts(
        kind="vm" if vm is not None else "vmi",
        name=meta.name,
        namespace=meta.namespace,
        port=port,
        vm=vm,
        vmi=vmi,
    )
    found = diagnose(facts, GuestUnready(f"{facts.where} gives no answer", code="port-filtered"))
    return found if found.code in ("secondary-only", "secondary-first", "inner-address") else None
