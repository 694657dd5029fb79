"""What the cluster's objects tell `doctor` of one VM, check by check. **Pure.**

Every failure is the error that `ssh` gives for the same VM (`broker.paths.preflight`, `broker.paths.diagnosis`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import msgspec

from broker.actions.checkup.check import Check, failed, not_looked_at, ok, title_of, unknown
from broker.actions.connect import obstacle
from broker.actions.guest_user import GuestLogin
from broker.actions.reading import Reading
from broker.clean import clean
from broker.errors import BrokerError
from broker.facts.primary_network import dialled
from broker.model.meta import holds
from broker.model.vmi import VirtualMachineInstance

FACTS: Final = (
    "vm-running",
    "vm-paused",
    "vm-interface",
    "vm-pod-network",
    "vm-primary-network",
    "vm-address",
    "vm-port-listed",
)
"""The checks that the objects decide, in the order in which preflight asks."""
_CHECK_OF: Final = {
    "vm-paused": "vm-paused",
    "no-interface": "vm-interface",
    "secondary-only": "vm-pod-network",
    "secondary-first": "vm-pod-network",
    "primary-udn": "vm-primary-network",
    "no-address": "vm-address",
    "inner-address": "vm-address",
    "port-not-listed": "vm-port-listed",
}
"""The check that each code of preflight and diagnosis belongs to; others are about running, or about the port."""
_DIALLED: Final = ("vm-pod-network", "vm-primary-network", "vm-address")
"""Facts that make a dial doubtful without forbidding it: the dial decides."""
_ADVICE: Final = "vmbroker doctor"
_DOUBTS: Final = {
    "vm-pod-network": ("secondary-only", "secondary-first", "unknown"),
    "vm-primary-network": ("primary-udn", "maybe-udn", "unknown"),
    "vm-address": ("inner-address",),
}
"""The kinds of `broker.facts.primary_network` that leave each of them to the dial."""


def existing(reading: Reading) -> Check:
    """Say what was found under the target's name; unknown where it may not be read."""
    place = f"{clean(reading.name)} in namespace {clean(reading.namespace, 63)}"
    found = [kind for kind, value in (("VM", reading.vm), ("instance (VMI)", reading.vmi)) if value is not None]
    if found:
        return ok("vm-exists", f"{' and '.join(found)} {place}")
    return unknown("vm-exists", f"you may not read {place}: only dialling can tell")


def from_objects(reading: Reading, port: int) -> Iterator[Check]:
    """Yield the checks that VM and VMI decide without a dial; a doubtful network is left to `after_dial`."""
    known = obstacle(reading, port)
    if reading.vmi is None and known is None:
        why = "you may not read the instance" if "vmi" in reading.may_lack else "there is no instance"
        yield from (not_looked_at(code, why) for code in FACTS)
        return
    faults = _faults(reading, port, known)
    at = min((FACTS.index(code) for code in faults if code != "vm-paused"), default=len(FACTS))
    for index, code in enumerate(FACTS):
        fault = faults.get(code)
        if fault is not None:
            yield failed(code, fault)
        elif index > at:
            yield not_looked_at(code, f"'{title_of(FACTS[at])}' failed")
        elif code not in _DIALLED or _is_plain(reading.vmi, code):
            yield _well(code, reading, port)
        elif known is not None:
            yield not_looked_at(code, "only dialling can tell, and the port was not dialled")


def after_dial(reading: Reading, port: int, error: BrokerError | None) -> Iterator[Check]:
    """Yield what a dial decides: the port, and the networks that were doubtful; `error` None for a port that opened."""
    if error is None:
        yield ok("vm-port", f"port {port} opened through the API server")
        for code in _DIALLED:
            yield _well(code, reading, port)
        return
    code = check_of(error, "vm-port")
    yield failed(code, error)
    if code != "vm-port":
        yield Check(
            code="vm-port", state="failed", says=f"port {port} did not open: see '{title_of(code)}'", error_code=error.code
        )
    for each in _DIALLED:
        yield unknown(each, "the port did not open, so nothing proves that virt-api gets there")


def from_guest(reading: Reading, login: GuestLogin) -> Iterator[Check]:
    """Yield what is known of agent and user; neither is needed to connect, so their absence is unknown, not failed."""
    vmi = reading.vmi
    if vmi is None:
        yield not_looked_at("vm-agent", "there is no instance" if not reading.may_lack else "you may not read the instance")
    elif holds(vmi.conditions, "AgentConnected"):
        system = vmi.guest_os.title if vmi.guest_os is not None else ""
        yield ok("vm-agent", "connected" + (f": {clean(system, 80)}" if system else ""))
    else:
        yield unknown("vm-agent", "not connected: what only the guest can tell is unknown (ssh does not need it)")
    if login.user is not None:
        yield ok("vm-user", f"{login.user} ({clean(login.user_origin)}), port {login.port}")
    else:
        yield unknown(
            "vm-user",
            "nothing names a user: ssh takes its own default",
            next_step="name it before the target: USER@TARGET, or under [ssh.vms] in the settings",
        )


def elsewhere(next_step: str | None) -> str | None:
    """Return a next step without the advice to run doctor, which the reader has just done."""
    if next_step is None or _ADVICE not in next_step:
        return next_step
    others = [part for part in next_step.split("; ") if _ADVICE not in part]
    return "; ".join(others) or "look at the NetworkPolicies of its namespace, and at the firewall and sshd in the guest"


def check_of(error: BrokerError, default: str) -> str:
    """Return the check that an error of preflight or dial belongs to."""
    return _CHECK_OF.get(error.code, default)


def _faults(reading: Reading, port: int, known: BrokerError | None) -> dict[str, BrokerError]:
    """Return what stands in the way by check; behind a pause there may be a second one."""
    if known is None:
        return {}
    found = {check_of(known, FACTS[0]): known}
    vmi = reading.vmi
    if known.code == "vm-paused" and vmi is not None and vmi.status is not None:
        conditions = [each for each in vmi.conditions if each.type != "Paused"]
        awake = msgspec.structs.replace(vmi, status=msgspec.structs.replace(vmi.status, conditions=conditions))
        second = obstacle(replace(reading, vmi=awake), port)
        if second is not None:
            found.setdefault(check_of(second, FACTS[0]), second)
    return found


def _is_plain(vmi: VirtualMachineInstance | None, code: str) -> bool:
    """Say whether nothing about the first interface is doubtful, as far as this check asks."""
    first = dialled(vmi) if vmi is not None else None
    return first is not None and first.kind not in _DOUBTS[code]


def _well(code: str, reading: Reading, port: int) -> Check:
    vmi = reading.vmi
    if vmi is None:
        return not_looked_at(code, "you may not read the instance")
    first = vmi.interfaces[0] if vmi.interfaces else None
    name = clean((first.name or first.interface_name) if first else "", 63) or "without a name"
    interface = vmi.machine.interface(first.name or "") if first else None
    network = vmi.machine.network(first.name or "") if first else None
    if code == "vm-running":
        return ok(code, f"{clean(vmi.phase or 'phase not known', 40)} on node {clean(vmi.node or 'not known', 100)}")
    if code == "vm-paused":
        return ok(code, "no condition Paused")
    if code == "vm-interface":
        binding = clean(interface.binding_name if interface else "", 80) or "binding not known"
        return ok(code, f"{name} ({binding}), {len(vmi.interfaces)} in all")
    if code == "vm-pod-network":
        source = clean(network.source if network else "", 120) or "network not known"
        is_pod = network is not None and network.is_default
        return ok(code, f"{name} is on {source}" + ("" if is_pod else ", no pod network, and virt-api reached it"))
    if code == "vm-primary-network":
        is_pod = _is_plain(vmi, code)
        return ok(
            code, "the cluster's pod network" if is_pod else "not the pod network's own interface, and virt-api reached it"
        )
    if code == "vm-address":
        found = [clean(address, 45) for address in (first.addresses if first else ())]
        return ok(
            code,
            f"virt-api dials {found[0] if found else 'nothing'}" + (f"; also {', '.join(found[1:4])}" if found[1:] else ""),
        )
    listed = interface is not None and bool(interface.ports or interface.port_ranges)
    return ok(code, f"port {port} is in the list of {name}" if listed else f"{name} has no list: every port passes")
