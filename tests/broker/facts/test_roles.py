"""Which ClusterRoles hold a right, by their rules or as KubeVirt comes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from broker.facts.roles import Right, documented, holders
from broker.lab.seed_access import access_objects
from broker.model.roles import ClusterRole, decode_cluster_roles

SUB = "subresources.kubevirt.io"
FORWARD = Right(verb="get", group=SUB, resource="virtualmachines/portforward", namespace="shop")


def roles(**rules: dict[str, Any]) -> list[ClusterRole]:
    items = [{"metadata": {"name": name.replace("__", ":")}, "rules": [rule]} for name, rule in rules.items()]
    return decode_cluster_roles(json.dumps({"items": items}).encode())


def test_rules_hold_a_right_by_name_by_star_and_by_subresource() -> None:
    rule: dict[str, Any] = {"verbs": ["get"], "apiGroups": [SUB], "resources": ["virtualmachines/portforward"]}
    found = roles(
        exact=rule,
        star={"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
        any_portforward={**rule, "resources": ["*/portforward"]},
        other_verb={**rule, "verbs": ["update"]},
        other_group={**rule, "apiGroups": ["kubevirt.io"]},
        other_resource={**rule, "resources": ["virtualmachines"]},
        one_vm={**rule, "resourceNames": ["web"]},
        system__node=rule,
    )
    assert holders(found, FORWARD) == ("any_portforward", "exact", "star")


@pytest.mark.parametrize(
    ("right", "expected"),
    [
        (FORWARD, ("kubevirt.io:edit", "kubevirt.io:admin")),
        (Right(verb="get", group="kubevirt.io", resource="virtualmachines"),
         ("kubevirt.io:view", "kubevirt.io:edit", "kubevirt.io:admin")),
        (Right(verb="update", group=SUB, resource="virtualmachines/start"), ("kubevirt.io:edit", "kubevirt.io:admin")),
        (Right(verb="update", group=SUB, resource="virtualmachines/migrate"), ("kubevirt.io:migrate",)),
        (Right(verb="get", group="", resource="pods"), ()),
    ],
)  # fmt: skip
def test_what_kubevirt_documents_is_what_its_roles_hold(right: Right, expected: tuple[str, ...]) -> None:
    assert documented(right) == expected
    seeded = [obj for resource, obj in access_objects() if resource.startswith("clusterroles.")]
    held = holders(decode_cluster_roles(json.dumps({"items": seeded}).encode()), right)
    for name in expected:
        assert name in held


def test_the_real_rules_of_a_user_name_the_same_resource(shared: Path) -> None:
    rules = json.loads((shared / "captures" / "ssrr-alice.json").read_bytes())["response"]["json"]["status"]["resourceRules"]
    found = roles(alice={"verbs": [], "apiGroups": [], "resources": []})
    whole = decode_cluster_roles(json.dumps({"items": [{"metadata": {"name": "alice"}, "rules": rules}]}).encode())
    assert holders(found, FORWARD) == ()
    assert holders(whole, FORWARD) == ("alice",)
