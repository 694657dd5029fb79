"""What most likely keeps a dial away, on the machines of the seed."""

from __future__ import annotations

import msgspec
import pytest

from broker.lab.objects import Objects
from broker.lab.seed import plant
from broker.model.pages import decode_vm, decode_vmi
from broker.paths.doubt import doubt
from broker.paths.preflight import preflight

VMS = "virtualmachines.kubevirt.io"
VMIS = "virtualmachineinstances.kubevirt.io"


@pytest.fixture(scope="module")
def seeded() -> Objects:
    objects = Objects()
    plant(objects, network="127.9.8", keys=("ssh-ed25519 AAAA lab",))
    return objects


@pytest.mark.parametrize(
    ("namespace", "name", "code"),
    [
        ("infra", "nat", "inner-address"),
        ("infra", "lan-only", "secondary-only"),
        ("infra", "lan-first", None),
        ("infra", "quiet", None),
        ("team-b", "tenant", None),
        ("shop", "web", None),
    ],
)
def test_a_network_that_virt_api_most_likely_cannot_enter_is_named(
    seeded: Objects, namespace: str, name: str, code: str | None
) -> None:
    vm, vmi = decode_vm(raw(seeded, VMS, namespace, name)), decode_vmi(raw(seeded, VMIS, namespace, name))
    found = doubt(vm, vmi, 22)
    assert (found.code if found is not None else None) == code
    if found is not None:
        assert preflight(vm, vmi, 22) is None
        assert found.message.startswith(f"VM {name} in namespace {namespace} ")
        assert found.cause and found.next_step
        alone = doubt(None, vmi, 22)
        assert alone is not None and alone.message.startswith(f"VMI {name} ")


def test_a_status_that_names_a_secondary_network_first_is_doubted(seeded: Objects) -> None:
    body = msgspec.json.decode(raw(seeded, VMIS, "shop", "web"))
    body["status"]["interfaces"].reverse()
    found = doubt(None, decode_vmi(msgspec.json.encode(body)), 22)
    assert found is not None and found.code == "secondary-first"


def test_of_what_has_no_instance_nothing_is_doubted(seeded: Objects) -> None:
    assert doubt(decode_vm(raw(seeded, VMS, "shop", "stopped")), None, 22) is None


def raw(objects: Objects, resource: str, namespace: str, name: str) -> bytes:
    found = objects.get(resource, namespace, name)
    assert found is not None
    return msgspec.json.encode(found)
