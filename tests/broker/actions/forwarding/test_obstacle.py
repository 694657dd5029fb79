"""What the objects say against a port, for each protocol."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from broker.actions.forwarding.obstacle import forward_obstacle
from broker.actions.reading import Reading
from broker.model.pages import decode_vmi
from broker.paths.forward_spec import Protocol
from broker.refs import Target

LISTED = [{"port": 22}, {"port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]


def reading(*, ports: Sequence[object], is_paused: bool = False) -> Reading:
    conditions = [{"type": "Paused", "status": "True"}] if is_paused else []
    body = {
        "metadata": {"name": "a", "namespace": "n", "uid": "u"},
        "spec": {
            "domain": {"devices": {"interfaces": [{"name": "default", "masquerade": {}, "ports": list(ports)}]}},
            "networks": [{"name": "default", "pod": {}}],
        },
        "status": {
            "phase": "Running",
            "conditions": conditions,
            "interfaces": [{"name": "default", "ipAddress": "10.0.0.5", "podInterfaceName": "eth0"}],
        },
    }
    vmi = decode_vmi(msgspec.json.encode(body))
    return Reading(target=Target(kind="vmi", name="a", namespace="n"), namespace="n", name="a", vm=None, vmi=vmi)


@pytest.mark.parametrize(
    ("protocol", "port", "is_let_in"),
    [("tcp", 22, True), ("tcp", 53, False), ("udp", 53, True), ("udp", 22, False), ("udp", 80, False), ("tcp", 80, True)],
)
def test_each_protocol_is_looked_for_in_the_list_of_ports(protocol: Protocol, port: int, is_let_in: bool) -> None:
    found = forward_obstacle(reading(ports=LISTED), port, protocol)
    assert (found is None) is is_let_in
    if found is not None:
        assert found.code == "port-not-listed"
        assert f"{protocol.upper()} port {port}" in found.message


def test_both_protocols_are_told_in_one_style() -> None:
    tcp, udp = (forward_obstacle(reading(ports=LISTED), 9, protocol) for protocol in ("tcp", "udp"))
    assert tcp is not None and udp is not None
    assert udp.message == tcp.message.replace("TCP", "UDP") == "VMI a in namespace n lets no UDP port 9 in"
    assert udp.cause == tcp.cause
    assert udp.cause is not None and udp.cause.endswith(": 22/TCP, 80/TCP, 53/UDP")
    assert tcp.next_step is not None
    assert udp.next_step == tcp.next_step.replace("with 9 in", "with 9 with protocol UDP in")


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_guest_that_cannot_answer_at_all_is_told_for_both(protocol: Protocol) -> None:
    found = forward_obstacle(reading(ports=LISTED, is_paused=True), 53, protocol)
    assert found is not None
    assert found.code == "vm-paused"


def test_without_a_list_every_port_may_be_tried() -> None:
    assert forward_obstacle(reading(ports=[]), 53, "udp") is None
