"""What is known before dialling."""

from __future__ import annotations

import json
from typing import Any

import pytest

from broker.model.pages import decode_vm, decode_vmi
from broker.model.vm import VirtualMachine
from broker.model.vmi import VirtualMachineInstance
from broker.paths.preflight import preflight

META = {"name": "web", "namespace": "shop", "uid": "vm-1"}


def vm(status: str = "Running", created: bool = True) -> VirtualMachine:
    return decode_vm(json.dumps({"metadata": META, "status": {"printableStatus": status, "created": created}}).encode())


def vmi(**change: Any) -> VirtualMachineInstance:
    owner = [{"kind": "VirtualMachine", "name": "web", "uid": change.pop("owner", "vm-1")}]
    ports = change.pop("ports", None)
    status = {"phase": "Running", "interfaces": [{"name": "default", "ipAddress": "10.0.0.5"}], **change}
    interface = {"name": "default", "masquerade": {}, "ports": ports}
    document = {
        "metadata": {**META, "uid": "vmi-1", "ownerReferences": owner},
        "spec": {"domain": {"devices": {"interfaces": [interface]}}, "networks": [{"name": "default", "pod": {}}]},
        "status": status,
    }
    return decode_vmi(json.dumps(document).encode())


def test_a_running_guest_with_an_address_is_dialled() -> None:
    assert preflight(vm(), vmi(), 22) is None
    assert preflight(None, vmi(), 22) is None
    assert preflight(vm(), vmi(ports=[{"port": 22}]), 22) is None
    assert preflight(None, None, 22) is None


@pytest.mark.parametrize(
    ("machine", "instance", "code", "hint"),
    [
        (vm("Stopped", False), None, "vm-stopped", "start"),
        (vm("ErrorUnschedulable", False), None, "vm-unschedulable", "kubectl describe vm web -n shop"),
        (vm("Starting", False), None, "vm-starting", "vmbroker wait vm/web/shop --for ssh"),
        (vm("Starting", True), None, "vm-starting", "wait"),
        (vm("Stopped"), vmi(phase="Succeeded"), "vm-stopped", "start"),
        (None, vmi(phase="Failed"), "vm-stopped", "vmbroker show vm/web/shop"),
        (vm(), vmi(owner="another"), "vmi-foreign", "vmi/web/shop"),
        (vm("Paused"), vmi(conditions=[{"type": "Paused", "status": "True"}]), "vm-paused", "unpause"),
        (vm(), vmi(interfaces=[], phase="Scheduling"), "vm-starting", "wait"),
        (vm(), vmi(interfaces=[]), "no-interface", "kubectl events -n shop --for virtualmachine/web"),
        (vm(), vmi(interfaces=[{"name": "default"}]), "no-address", "vmbroker wait vm/web/shop --for address"),
        (vm(), vmi(interfaces=[{"name": "default"}, {"name": "lan", "ipAddress": "10.1.0.1"}]), "no-address", "--for address"),
        (
            vm(),
            vmi(interfaces=[{"name": "default", "ipAddress": "10.9.0.1", "podInterfaceName": "ovn-udn1"}]),
            "primary-udn",
            "22",
        ),
        (vm(), vmi(ports=[{"port": 80}]), "port-not-listed", "22"),
        (vm(), vmi(ports=[{"port": 22, "protocol": "UDP"}]), "port-not-listed", "22"),
    ],
)
def test_what_cannot_work_is_told_with_a_next_step(
    machine: VirtualMachine | None, instance: VirtualMachineInstance | None, code: str, hint: str
) -> None:
    error = preflight(machine, instance, 22)
    assert error is not None
    assert (error.code, error.exit_status) == (code, 5)
    assert error.cause
    assert hint in (error.next_step or "")
