"""Who may do what in the seeded cluster: Kubernetes' and KubeVirt's default roles, and the lab's users."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from broker.lab.authn import User
from broker.lab.seed_roles import default_roles

__all__ = ["USERS", "Person", "access_objects"]

Json = dict[str, Any]
_API = "rbac.authorization.k8s.io/v1"
_GROUP = "rbac.authorization.k8s.io"
_SUB = "subresources.kubevirt.io"
_READ = ("get", "list", "watch")
_CHANGE = ("create", "delete", "patch", "update")
_WRITE = (*_CHANGE, "deletecollection")
_VM_KINDS = (
    "virtualmachines", "virtualmachineinstances", "virtualmachineinstancepresets", "virtualmachineinstancereplicasets",
    "virtualmachineinstancemigrations",
)  # fmt: skip
_GUEST_READS = (
    *(f"virtualmachineinstances/{sub}" for sub in ("guestosinfo", "filesystemlist", "userlist", "objectgraph")),
    *(f"virtualmachineinstances/sev/{sub}" for sub in ("fetchcertchain", "querylaunchmeasurement")),
    "virtualmachines/expand-spec", "virtualmachines/objectgraph",
)  # fmt: skip
_STREAMS = (
    "virtualmachineinstances/console", "virtualmachineinstances/vnc", "virtualmachineinstances/usbredir",
    "virtualmachineinstances/portforward", "virtualmachines/portforward",
)  # fmt: skip
_INSTANCE_UPDATES = tuple(
    f"virtualmachineinstances/{sub}"
    for sub in (
        "pause", "unpause", "softreboot", "reset", "freeze", "unfreeze", "addvolume", "removevolume", "evacuate/cancel",
        "sev/setupsession", "sev/injectlaunchsecret",
    )
)  # fmt: skip
_VM_UPDATES = tuple(
    f"virtualmachines/{sub}"
    for sub in (
        "start", "stop", "restart", "addvolume", "removevolume", "memorydump", "removememorydump", "evacuate/cancel",
    )
)  # fmt: skip
_OTHER_KINDS: Mapping[str, tuple[str, ...]] = {
    "snapshot.kubevirt.io": ("virtualmachinesnapshots", "virtualmachinesnapshotcontents", "virtualmachinerestores"),
    "export.kubevirt.io": ("virtualmachineexports",),
    "clone.kubevirt.io": ("virtualmachineclones",),
    "pool.kubevirt.io": ("virtualmachinepools",),
    "backup.kubevirt.io": ("virtualmachinebackups", "virtualmachinebackuptrackers"),
    "instancetype.kubevirt.io": (
        "virtualmachineinstancetypes", "virtualmachineclusterinstancetypes", "virtualmachinepreferences",
        "virtualmachineclusterpreferences",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One user of the lab: groups, whether a client certificate stands in for a token, and what the user is for."""

    name: str
    groups: tuple[str, ...] = ()
    has_certificate: bool = False
    purpose: str = ""

    @property
    def user(self) -> User:
        """The user as authentication shows it."""
        return User(name=self.name, groups=self.groups)


USERS: tuple[Person, ...] = (
    Person(name="admin", groups=("system:masters",), purpose="everything"),
    Person(name="alice", groups=("team-a-devs",), purpose="view and port-forward in team-a"),
    Person(name="bob", purpose="edit in team-b and shop"),
    Person(name="carol", purpose="view in shop and team-a, no port-forward"),
    Person(name="dana", groups=("shop-devs",), has_certificate=True, purpose="edit in shop, by client certificate"),
    Person(name="porter", purpose="port-forward in shop and nothing else: may not read VMs"),
    Person(name="broker", purpose="port-forward everywhere, and ask what others may (TokenReview, SubjectAccessReview)"),
    Person(name="norights", purpose="nothing"),
)
"""The users that have a kubeconfig; `admin` is the default one."""


def access_objects() -> Iterable[tuple[str, Json]]:
    """Yield (resource, object) for every role and binding."""
    yield from _kubernetes_defaults()
    yield from _kubevirt_defaults()
    yield from _team_bindings()


def _kubernetes_defaults() -> Iterable[tuple[str, Json]]:
    for role in default_roles():
        yield f"clusterroles.{_GROUP}", role
    yield _cluster_binding("cluster-admin", "cluster-admin", [_group("system:masters")])
    yield _cluster_binding("system:discovery", "system:discovery", [_group("system:authenticated")])
    everyone = [_group("system:authenticated"), _group("system:unauthenticated")]
    yield _cluster_binding("system:public-info-viewer", "system:public-info-viewer", everyone)
    yield _cluster_binding("system:basic-user", "system:basic-user", [_group("system:authenticated")])


def _kubevirt_defaults() -> Iterable[tuple[str, Json]]:
    reads = [
        _rule(["get"], [_SUB], _GUEST_READS),
        _rule(["update"], [_SUB], ["expand-vm-spec"]),
        _rule(_READ, ["kubevirt.io"], _VM_KINDS),
        _rule(_READ, ["migrations.kubevirt.io"], ["migrationpolicies"]),
        *(_rule(_READ, [group], kinds) for group, kinds in _OTHER_KINDS.items()),
    ]
    installation = _rule(("get", "list"), ["kubevirt.io"], ["kubevirts"])
    streams = _rule(["get"], [_SUB], _STREAMS)
    updates = _rule(["update"], [_SUB], (*_INSTANCE_UPDATES, *_VM_UPDATES))
    writes = [_rule(_CHANGE, ["kubevirt.io"], _VM_KINDS[:-1])]
    writes += [_rule(_CHANGE, [group], kinds) for group, kinds in _OTHER_KINDS.items()]
    sweeps = [_rule(["deletecollection"], [group], kinds) for group, kinds in _OTHER_KINDS.items()]
    sweeps.append(_rule(["deletecollection"], ["kubevirt.io"], _VM_KINDS[:-1]))
    shot = _rule(["get"], [_SUB], ["virtualmachineinstances/vnc/screenshot"])
    plugins = [_rule(verbs, ["plugin.kubevirt.io"], ["plugins"]) for verbs in (_READ, (*_READ, *_WRITE))]
    yield _cluster_role("kubevirt.io:view", [*reads, installation, plugins[0]], into=("view",))
    yield _cluster_role("kubevirt.io:edit", [*reads, installation, streams, updates, *writes], into=("edit",))
    yield _cluster_role("kubevirt.io:admin", [*reads, streams, updates, *writes, *sweeps, shot, plugins[1]], into=("admin",))
    defaults = [
        _rule(("get", "list"), ["kubevirt.io"], ["kubevirts"]),
        _rule(("get", "list"), [_SUB], ["version", "guestfs"]),
    ]
    yield _cluster_role("kubevirt.io:default", defaults)
    yield _cluster_binding("kubevirt.io:default", "kubevirt.io:default", [_group("system:authenticated")])
    shared = ("virtualmachineclusterinstancetypes", "virtualmachineclusterpreferences")
    yield _cluster_role("instancetype.kubevirt.io:view", [_rule(_READ, ["instancetype.kubevirt.io"], shared)])
    everyone = [_group("system:authenticated")]
    yield _cluster_binding("instancetype.kubevirt.io:view", "instancetype.kubevirt.io:view", everyone)
    migrate = [
        _rule(["update"], [_SUB], ["virtualmachines/migrate"]),
        _rule([*_READ, *_WRITE], ["kubevirt.io"], ["virtualmachineinstancemigrations"]),
    ]
    yield _cluster_role("kubevirt.io:migrate", migrate)


def _team_bindings() -> Iterable[tuple[str, Json]]:
    forward = [_rule(["get"], [_SUB], ["virtualmachines/portforward", "virtualmachineinstances/portforward"])]
    yield _role("team-a", "vm-portforward", forward)
    yield _binding("team-a", "devs-pf", "Role", "vm-portforward", [_group("team-a-devs")])
    yield _binding("team-a", "devs-view", "ClusterRole", "view", [_group("team-a-devs")])
    yield _binding("team-b", "bob-edit", "ClusterRole", "edit", [_user("bob")])
    yield _binding("shop", "bob-edit", "ClusterRole", "edit", [_user("bob")])
    yield _binding("shop", "devs-edit", "ClusterRole", "edit", [_group("shop-devs")])
    for namespace in ("shop", "team-a"):
        yield _binding(namespace, "carol-view", "ClusterRole", "view", [_user("carol")])
    yield _role("shop", "ssh-only", forward)
    yield _binding("shop", "porter-ssh", "Role", "ssh-only", [_user("porter")])
    yield _cluster_role("lab:broker", forward)
    yield _cluster_binding("lab:broker", "lab:broker", [_user("broker")])
    yield _cluster_binding("lab:broker-asks", "system:auth-delegator", [_user("broker")])


def _rule(verbs: Iterable[str], groups: Iterable[str], resources: Iterable[str]) -> Json:
    return {"verbs": list(verbs), "apiGroups": list(groups), "resources": list(resources)}


def _cluster_role(name: str, rules: list[Json], *, into: tuple[str, ...] = ()) -> tuple[str, Json]:
    labels = {f"{_GROUP}/aggregate-to-{role}": "true" for role in into}
    role: Json = {"apiVersion": _API, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}
    if labels:
        role["metadata"]["labels"] = labels
    return f"clusterroles.{_GROUP}", role


def _role(namespace: str, name: str, rules: list[Json]) -> tuple[str, Json]:
    metadata = {"name": name, "namespace": namespace}
    return f"roles.{_GROUP}", {"apiVersion": _API, "kind": "Role", "metadata": metadata, "rules": rules}


def _cluster_binding(name: str, role: str, subjects: list[Mapping[str, str]]) -> tuple[str, Json]:
    return f"clusterrolebindings.{_GROUP}", {
        "apiVersion": _API,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": _GROUP, "kind": "ClusterRole", "name": role},
        "subjects": list(subjects),
    }


def _binding(namespace: str, name: str, kind: str, role: str, subjects: list[Mapping[str, str]]) -> tuple[str, Json]:
    return f"rolebindings.{_GROUP}", {
        "apiVersion": _API,
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": _GROUP, "kind": kind, "name": role},
        "subjects": list(subjects),
    }


def _group(name: str) -> Mapping[str, str]:
    return {"apiGroup": _GROUP, "kind": "Group", "name": name}


def _user(name: str) -> Mapping[str, str]:
    return {"apiGroup": _GROUP, "kind": "User", "name": name}
