"""The seed: every situation that an SSH user meets, consistent as KubeVirt would have left it, and who may do what."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.lab.objects import Objects
from broker.lab.rbac import Attributes, Authoriser
from broker.lab.resource_table import standard_catalogue
from broker.lab.seed import NAMESPACES, guests_of, plant
from broker.lab.seed_access import USERS, access_objects
from broker.lab.seed_networks import PRIMARY_UDN_LABEL

Json = dict[str, Any]
NETWORK = "127.9.8"
KEY = "ssh-ed25519 AAAA lab"
VMS = "virtualmachines.kubevirt.io"
VMIS = "virtualmachineinstances.kubevirt.io"
NADS = "network-attachment-definitions.k8s.cni.cncf.io"


@pytest.fixture(scope="module")
def seeded() -> Objects:
    """A store with the whole seed; tests only read it."""
    objects = Objects()
    plant(objects, network=NETWORK, keys=(KEY,))
    return objects


def first(vmi: Json) -> Json:
    """The interface that virt-api dials; an empty one where there is none."""
    found = vmi["status"].get("interfaces") or [{}]
    return dict(found[0])


def network_of(vmi: Json, name: str | None) -> Json:
    """A network of the spec by its name."""
    return next((dict(network) for network in vmi["spec"]["networks"] if network["name"] == name), {})


def binding_of(vmi: Json, name: str | None) -> Json:
    """An interface of the spec by its name."""
    return next((dict(nic) for nic in vmi["spec"]["domain"]["devices"]["interfaces"] if nic["name"] == name), {})


def is_condition(obj: Json, kind: str) -> bool:
    """Whether a condition is true."""
    return any(c["type"] == kind and c["status"] == "True" for c in obj["status"].get("conditions", ()))


SITUATIONS: dict[str, Callable[[Json], bool]] = {
    "paused": lambda vmi: is_condition(vmi, "Paused"),
    "starting": lambda vmi: vmi["status"]["phase"] == "Scheduling",
    "no interfaces": lambda vmi: vmi["status"]["phase"] == "Running" and not vmi["status"].get("interfaces"),
    "no address": lambda vmi: first(vmi).get("ipAddress") == "",
    "22 not among the ports": lambda vmi: bool(binding_of(vmi, first(vmi).get("name")).get("ports")),
    "primary user-defined network": lambda vmi: first(vmi).get("podInterfaceName") == "ovn-udn1",
    "secondary networks only": lambda vmi: "multus" in network_of(vmi, first(vmi).get("name")),
    "secondary named first": lambda vmi: (
        "pod" in network_of(vmi, first(vmi).get("name")) and "pod" not in vmi["spec"]["networks"][0]
    ),
    "masquerade's own address": lambda vmi: first(vmi).get("ipAddress") == "10.0.2.2",
    "two families": lambda vmi: len(first(vmi).get("ipAddresses", ())) == 2,
    "an interface of the guest's own": lambda vmi: any("name" not in nic for nic in vmi["status"].get("interfaces", ())),
    "SR-IOV": lambda vmi: any("sriov" in nic for nic in vmi["spec"]["domain"]["devices"]["interfaces"]),
    "no agent": lambda vmi: vmi["status"]["phase"] == "Running" and not is_condition(vmi, "AgentConnected"),
    "no VM": lambda vmi: not vmi["metadata"].get("ownerReferences"),
    "dotted name": lambda vmi: "." in vmi["metadata"]["name"],
    "long name": lambda vmi: len(vmi["metadata"]["name"]) == 63,
}  # fmt: skip


@pytest.mark.parametrize("situation", SITUATIONS)
def test_each_situation_is_there(seeded: Objects, situation: str) -> None:
    assert [vmi["metadata"]["name"] for vmi in seeded.select(VMIS) if SITUATIONS[situation](vmi)]


def test_there_are_enough_machines_in_enough_namespaces(seeded: Objects) -> None:
    assert seeded.count(VMS) >= 14
    assert {vm["metadata"]["namespace"] for vm in seeded.select(VMS)} == set(NAMESPACES)
    assert seeded.get(VMS, "shop", "web") is not None
    stopped = [vm for vm in seeded.select(VMS) if not vm["status"].get("created")]
    assert stopped
    assert all(seeded.get(VMIS, vm["metadata"]["namespace"], vm["metadata"]["name"]) is None for vm in stopped)


def test_an_instance_is_owned_by_its_machine_and_has_a_launcher(seeded: Objects) -> None:
    pods = {pod["metadata"]["labels"].get("kubevirt.io/created-by"): pod for pod in seeded.select("pods")}
    for vmi in seeded.select(VMIS):
        name, namespace = vmi["metadata"]["name"], vmi["metadata"]["namespace"]
        vm = seeded.get(VMS, namespace, name)
        owners = [owner["uid"] for owner in vmi["metadata"].get("ownerReferences", ())]
        assert owners == ([] if vm is None else [vm["metadata"]["uid"]])
        launcher = pods[vmi["metadata"]["uid"]]
        assert launcher["metadata"]["annotations"]["kubevirt.io/domain"] == name
        assert launcher["spec"].get("nodeName") == vmi["status"].get("nodeName")
        assert all(len(value) <= 63 for value in launcher["metadata"]["labels"].values())


def test_conditions_and_interfaces_are_told_as_kubevirt_tells_them(seeded: Objects) -> None:
    paused = [seeded.get(resource, "shop", "paused") for resource in (VMS, VMIS)]
    gate = 'corresponding condition of pod readiness gate "kubevirt.io/virtual-machine-unpaused" is not "True".'
    pods = [pod for pod in seeded.select("pods", "shop") if pod["metadata"]["annotations"]["kubevirt.io/domain"] == "paused"]
    for obj in (*paused, *pods):
        assert obj is not None
        (ready,) = [c for c in obj["status"]["conditions"] if c["type"] == "Ready"]
        assert (ready["status"], ready["reason"], ready["message"]) == ("False", "ReadinessGatesNotReady", gate)
    secondary = {
        (vmi["metadata"]["name"], nic["name"]): nic["infoSource"]
        for vmi in seeded.select(VMIS)
        for nic in vmi["status"].get("interfaces", ())
        if "multus" in network_of(vmi, nic.get("name"))
    }
    assert ("web", "lan") in secondary
    assert set(secondary.values()) == {"domain, guest-agent, multus-status"}


def test_what_is_starting_has_been_for_seconds_only(seeded: Objects) -> None:
    (starting,) = [vmi for vmi in seeded.select(VMIS) if SITUATIONS["starting"](vmi)]
    made = datetime.datetime.fromisoformat(starting["metadata"]["creationTimestamp"])
    assert 0 < (datetime.datetime.now(datetime.UTC) - made).total_seconds() < 300
    assert starting["status"]["conditions"][0]["lastTransitionTime"] == starting["metadata"]["creationTimestamp"]


def test_every_object_is_of_a_kind_that_the_api_serves(seeded: Objects) -> None:
    catalogue = standard_catalogue()
    planted = Planted()
    plant(planted, network=NETWORK, keys=(KEY,))
    for resource, obj in planted.seen:
        found = catalogue.named(resource)
        assert found is not None, resource
        assert found.namespaced is ("namespace" in obj["metadata"]), resource
    assert {kind for kind, _ in planted.seen} >= {NADS, "userdefinednetworks.k8s.ovn.org", "nodes", "kubevirts.kubevirt.io"}


class Planted(Objects):
    """A store that also remembers what was put into it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, Any]] = []

    def put(self, resource: str, obj: Any) -> Json:
        """Remember and store."""
        self.seen.append((resource, obj))
        return super().put(resource, obj)


def test_every_secondary_network_has_its_definition(seeded: Objects) -> None:
    known = {(nad["metadata"]["namespace"], nad["metadata"]["name"]) for nad in seeded.select(NADS)}
    for vmi in seeded.select(VMIS):
        for network in vmi["spec"]["networks"]:
            if "multus" in network:
                assert (vmi["metadata"]["namespace"], network["multus"]["networkName"]) in known


def test_the_namespace_of_a_primary_network_carries_its_label(seeded: Objects) -> None:
    namespace = seeded.get("namespaces", None, "team-b")
    assert namespace is not None
    assert PRIMARY_UDN_LABEL in namespace["metadata"]["labels"]


def test_guests_have_addresses_of_the_labs_own_and_the_users_of_their_cloud_init(seeded: Objects) -> None:
    guests = list(guests_of(seeded, network=NETWORK))
    assert len({guest.address for guest in guests}) == len(guests)
    for guest in guests:
        assert ipaddress.ip_address(guest.address) in ipaddress.ip_network(f"{NETWORK}.0/24")
        assert [account.keys for account in guest.accounts] == [(KEY,)]
        vmi = seeded.get(VMIS, guest.namespace, guest.name)
        assert vmi is not None
        assert first(vmi)["ipAddress"] == guest.address
    (web,) = [guest for guest in guests if guest.key == "shop/web"]
    assert ([account.name for account in web.accounts], web.speaks_ssh) == (["fedora"], True)


def test_another_ssh_port_is_annotated() -> None:
    objects = Objects()
    plant(objects, network=NETWORK, keys=(KEY,), ssh_port=2222)
    web = objects.get(VMS, "shop", "web")
    assert web is not None
    assert web["metadata"]["annotations"]["vmbroker.io/ssh-port"] == "2222"
    assert {guest.ssh_port for guest in guests_of(objects, network=NETWORK, ssh_port=2222)} == {2222}


def test_a_fleet_comes_on_top_and_brings_no_guests(seeded: Objects) -> None:
    objects = Objects()
    plant(objects, network=NETWORK, keys=(KEY,), fleet=200)
    assert objects.count(VMS) == seeded.count(VMS) + 200
    assert len(list(guests_of(objects, network=NETWORK))) == len(list(guests_of(seeded, network=NETWORK)))
    names = {vm["metadata"]["namespace"] for vm in objects.select(VMS)} - set(NAMESPACES)
    assert len(names) == 10
    assert all(objects.get("namespaces", None, name) is not None for name in names)


def test_objects_keep_their_uid_from_one_lab_to_the_next(seeded: Objects) -> None:
    again = Objects()
    plant(again, network="127.1.2", keys=(KEY,))
    for vm in seeded.select(VMS):
        twin = again.get(VMS, vm["metadata"]["namespace"], vm["metadata"]["name"])
        assert twin is not None
        assert twin["metadata"]["uid"] == vm["metadata"]["uid"]


RIGHTS = [
    # user, namespace, verb, resource, subresource, allowed
    ("admin", "infra", "get", "virtualmachines", "portforward", True),
    ("alice", "team-a", "get", "virtualmachines", "portforward", True),
    ("alice", "team-a", "list", "virtualmachines", "", True),
    ("alice", "team-a", "patch", "virtualmachines", "", False),
    ("alice", "shop", "list", "virtualmachines", "", False),
    ("bob", "shop", "get", "virtualmachineinstances", "portforward", True),
    ("bob", "shop", "patch", "virtualmachines", "", True),
    ("bob", "team-a", "get", "virtualmachines", "", False),
    ("carol", "shop", "list", "virtualmachineinstances", "", True),
    ("carol", "shop", "get", "virtualmachines", "portforward", False),
    ("dana", "shop", "get", "virtualmachines", "portforward", True),
    ("porter", "shop", "get", "virtualmachines", "portforward", True),
    ("porter", "shop", "get", "virtualmachines", "", False),
    ("broker", "infra", "get", "virtualmachineinstances", "portforward", True),
    ("norights", "shop", "list", "virtualmachines", "", False),
]


@pytest.mark.parametrize(("user", "namespace", "verb", "resource", "subresource", "allowed"), RIGHTS)
def test_each_person_has_the_rights_that_are_told(
    seeded: Objects, user: str, namespace: str, verb: str, resource: str, subresource: str, allowed: bool
) -> None:
    (person,) = [person for person in USERS if person.name == user]
    group = "subresources.kubevirt.io" if subresource else "kubevirt.io"
    asked = Attributes(verb=verb, group=group, resource=resource, subresource=subresource, namespace=namespace, name="x")
    authenticated = type(person.user)(name=person.name, groups=(*person.groups, "system:authenticated"))
    assert Authoriser(seeded).allowed(authenticated, asked).allowed is allowed


def test_kubevirts_roles_grant_what_the_real_ones_grant(shared: Path) -> None:
    real: dict[str, Json] = {}
    for document in yaml.safe_load_all((shared / "cluster" / "kubevirt-rbac.yaml").read_text()):
        for item in (document or {}).get("items", [document or {}]):
            if item.get("kind") == "ClusterRole":
                real[item["metadata"]["name"]] = item
    ours = {obj["metadata"]["name"]: obj for _, obj in access_objects() if obj["kind"] == "ClusterRole"}
    for role in ("view", "edit", "admin", "default", "migrate"):
        assert grants(ours[f"kubevirt.io:{role}"]) == grants(real[f"kubevirt.io:{role}"])


def grants(role: Json) -> set[tuple[str, str, str]]:
    """Every (group, resource, verb) of a role."""
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule.get("apiGroups", ())
        for resource in rule.get("resources", ())
        for verb in rule["verbs"]
    }
