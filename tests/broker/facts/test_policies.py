"""What NetworkPolicies admit, told only where it is certain."""

from __future__ import annotations

import json
from typing import Any

import pytest

from broker.facts.policies import admission, selects
from broker.model.surroundings import LabelSelector, NetworkPolicy, decode_policies

LABELS = {"app": "web", "tier": "front"}


def policies(*specs: dict[str, Any]) -> list[NetworkPolicy]:
    items = [{"metadata": {"name": f"p{i}"}, "spec": {"podSelector": {}, **spec}} for i, spec in enumerate(specs)]
    return decode_policies(json.dumps({"items": items}).encode())


PEERS: list[dict[str, Any]] = [{"namespaceSelector": {}}]


@pytest.mark.parametrize(
    ("specs", "state"),
    [
        ([], "open"),
        ([{"policyTypes": ["Egress"]}], "open"),
        ([{"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"]}], "open"),
        ([{"policyTypes": ["Ingress"]}], "closed"),
        ([{}], "closed"),
        ([{"ingress": [{}]}], "open"),
        ([{"ingress": [{"ports": [{"port": 22}]}]}], "open"),
        ([{"ingress": [{"ports": [{"port": 20, "endPort": 30}]}]}], "open"),
        ([{"ingress": [{"ports": [{"port": 80}]}]}], "closed"),
        ([{"ingress": [{"ports": [{"port": 22, "protocol": "UDP"}]}]}], "closed"),
        ([{"ingress": [{"from": PEERS}]}], "some"),
        ([{"ingress": [{"from": PEERS, "ports": [{"port": 80}]}]}], "closed"),
        ([{"ingress": [{"ports": [{"port": "ssh"}]}]}], "some"),
        ([{"ingress": [{"ports": [{"protocol": "TCP"}]}]}], "open"),
        ([{}, {"ingress": [{"ports": [{"port": 22}]}]}], "open"),
        ([{}, {"ingress": [{"from": PEERS}]}], "some"),
    ],
)
def test_rules_add_up(specs: list[dict[str, Any]], state: str) -> None:
    assert admission(policies(*specs), LABELS, 22).state == state


def test_the_policies_that_select_the_pod_are_named() -> None:
    found = admission(policies({}, {"podSelector": {"matchLabels": {"app": "db"}}}, {"policyTypes": ["Ingress"]}), LABELS, 22)
    assert found.names == ("p0", "p2")


@pytest.mark.parametrize(
    ("expression", "matches"),
    [
        ({"key": "app", "operator": "In", "values": ["web", "db"]}, True),
        ({"key": "app", "operator": "In", "values": ["db"]}, False),
        ({"key": "app", "operator": "NotIn", "values": ["web"]}, False),
        ({"key": "none", "operator": "NotIn", "values": ["web"]}, True),
        ({"key": "app", "operator": "Exists"}, True),
        ({"key": "none", "operator": "Exists"}, False),
        ({"key": "app", "operator": "DoesNotExist"}, False),
        ({"key": "app", "operator": "Near", "values": ["x"]}, True),
    ],
)
def test_expressions_select(expression: dict[str, Any], matches: bool) -> None:
    found = policies({"podSelector": {"matchExpressions": [expression]}})[0].spec.pod_selector
    assert isinstance(found, LabelSelector)
    assert selects(found, LABELS) is matches
