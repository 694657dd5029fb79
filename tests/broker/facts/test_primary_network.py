"""Which network virt-api would dial, and whether it can."""

from __future__ import annotations

from typing import Any

import pytest

from broker.facts.primary_network import dialled
from tests.broker.truth_table import BRIDGED, INNER, LAN, LAN_NET, LAN_NIC, POD_NET, POD_NIC, UDN, Place, instance

PASST = [{"name": "default", "binding": {"name": "passt"}}]
POD = [{"name": "default", "ipAddress": "10.128.0.5", "podInterfaceName": "eth0"}]
DEFAULT_NAD = [{"name": "default", "multus": {"networkName": "main", "default": True}}]
WIDE = [{"name": "default", "pod": {"vmNetworkCIDR": "10.77.0.0/16"}}]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({}, "pod"),
        ({"interfaces": [{"name": "default", "ipAddress": "10.128.0.5"}]}, "pod"),
        ({"nics": [{"name": "default", "bridge": {}}]}, "pod"),
        ({"networks": DEFAULT_NAD, "nics": [{"name": "default", "bridge": {}}]}, "pod"),
        ({"interfaces": UDN, "nics": BRIDGED}, "primary-udn"),
        ({"interfaces": UDN}, "primary-udn"),
        ({"interfaces": [{"name": "default", "ipAddress": "10.200.0.7"}], "nics": BRIDGED}, "primary-udn"),
        ({"interfaces": UDN, "nics": PASST}, "pod"),
        ({"interfaces": UDN, "nics": [{"name": "default", "passtBinding": {}}]}, "pod"),
        ({"nics": BRIDGED}, "maybe-udn"),
        ({"interfaces": INNER}, "inner-address"),
        ({"interfaces": INNER, "nics": [{"name": "default", "bridge": {}}]}, "pod"),
        ({"interfaces": INNER, "networks": WIDE}, "pod"),
        ({"interfaces": [{"name": "default", "ipAddress": "10.77.3.4"}], "networks": WIDE}, "inner-address"),
        ({"interfaces": [{"name": "default", "ipAddress": "fd10:0:2::2"}]}, "inner-address"),
        ({"interfaces": [{"name": "default", "ipAddress": "10.0.2.nonsense"}]}, "pod"),
        ({"interfaces": LAN, "nics": LAN_NIC, "networks": LAN_NET}, "secondary-only"),
        ({"interfaces": LAN, "nics": LAN_NIC + POD_NIC, "networks": LAN_NET + POD_NET}, "secondary-first"),
        ({"interfaces": POD + LAN, "nics": LAN_NIC + POD_NIC, "networks": LAN_NET + POD_NET}, "pod"),
        ({"interfaces": [{"interfaceName": "docker0", "ipAddress": "172.17.0.1"}]}, "secondary-first"),
        ({"networks": [], "nics": []}, "unknown"),
    ],
)
def test_the_first_interface_is_judged_by_its_network(change: dict[str, Any], kind: str) -> None:
    found = dialled(instance(Place(), **change))
    assert found is not None
    assert found.kind == kind


def test_without_interfaces_nothing_is_dialled() -> None:
    assert dialled(instance(Place(), interfaces=[])) is None
