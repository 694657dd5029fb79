"""After a failure the cluster is asked what else it tells; what it will not tell is told as unknown."""

# ruff: noqa: E501  (one case in a few lines)

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from broker.actions.connect import open_guest, read_guest
from broker.actions.explain_failure import explain
from broker.errors import BrokerError, GuestUnready
from broker.kube.cold import ColdClient
from broker.refs import parse_target
from tests.broker.kube.recorded_api import Answer, Asked, RecordedApi, answer, recorded_api, refused, settings

Json = dict[str, Any]
NOT_FOUND = refused(404, "NotFound", 'virtualmachines.kubevirt.io "x" not found')
ABSENT = Answer(status=404, body=b"404 page not found\n", content_type="text/plain")
FORWARD = "/apis/subresources.kubevirt.io/v1/namespaces/shop/virtualmachines/web/portforward/22/tcp"
VM = "/apis/kubevirt.io/v1/namespaces/shop/virtualmachines/web"
VMI = "/apis/kubevirt.io/v1/namespaces/shop/virtualmachineinstances/web"
EVERYWHERE = "/apis/kubevirt.io/v1/virtualmachines"
NAMESPACE = "/api/v1/namespaces/shop"
ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies"
PODS = "/api/v1/namespaces/shop/pods"


def forbidden(verb: str, resource: str) -> Answer:
    where = f'resource "{resource}" in API group "subresources.kubevirt.io" in the namespace "shop"'
    return refused(403, "Forbidden", f'x.y "web" is forbidden: User "carol" cannot {verb} {where}')


DENIED = forbidden("list", "anything")
RUNNING: Json = {
    "metadata": {
        "name": "web",
        "namespace": "shop",
        "uid": "vmi-1",
        "ownerReferences": [{"kind": "VirtualMachine", "uid": "vm-1"}],
    },
    "spec": {
        "domain": {"devices": {"interfaces": [{"name": "default", "masquerade": {}}]}},
        "networks": [{"name": "default", "pod": {}}],
    },
    "status": {
        "phase": "Running",
        "interfaces": [{"name": "default", "ipAddress": "10.128.0.5", "podInterfaceName": "eth0"}],
        "conditions": [{"type": "AgentConnected", "status": "True"}],
    },
}
THE_VM: Json = {
    "metadata": {"name": "web", "namespace": "shop", "uid": "vm-1"},
    "status": {"printableStatus": "Running", "created": True},
}
REFUSED = refused(
    500, "InternalError", "Internal error occurred: dialing VM: dial tcp 10.128.0.5:22: connect: connection refused"
)
TIMED_OUT = refused(
    500, "InternalError", "Internal error occurred: dialing VM: dial tcp 10.128.0.5:22: connect: connection timed out"
)
WELL: dict[str, Answer] = {VM: answer(THE_VM), VMI: answer(RUNNING)}
OPEN_NAMESPACE = answer({"metadata": {"name": "shop", "labels": {}}})
THE_PODS = answer(
    {"items": [{"metadata": {"labels": {"app": "web"}}, "status": {"phase": "Running", "podIPs": [{"ip": "10.128.0.5"}]}}]}
)


def policies(*specs: Json) -> Answer:
    return answer(
        {"items": [{"metadata": {"name": f"p{i}"}, "spec": {"podSelector": {}, **spec}} for i, spec in enumerate(specs)]}
    )


@contextmanager
def world(folder: Path, answers: dict[str, Answer], *, otherwise: Answer = DENIED) -> Iterator[tuple[ColdClient, RecordedApi]]:
    def script(asked: Asked) -> Answer:
        return answers.get(asked.path, otherwise)

    with recorded_api(folder, script) as api, ColdClient(api.endpoint()) as client:
        yield client, api


def failure(client: ColdClient, target: str = "vm/web/shop", port: int = 22) -> BrokerError:
    """What a person is told who connects to a target."""
    with pytest.raises(BrokerError) as caught:
        reading = read_guest(client, parse_target(target), default_namespace="shop")
        open_guest(client, reading, port, stream=settings().stream)
    return caught.value


def text_of(error: BrokerError) -> str:
    return f"{error.message}\n{error.cause}\n{error.next_step}"


CASES: list[tuple[str, dict[str, Answer], str, int, tuple[str, ...]]] = [
    ("refused", {**WELL, FORWARD: REFUSED}, "port-closed", 5, ("is closed", "start sshd")),
    ("filtered, all read", {**WELL, FORWARD: TIMED_OUT, NAMESPACE: OPEN_NAMESPACE, POLICIES: policies(), PODS: THE_PODS},
     "port-filtered", 5, ("own firewall",)),
    ("filtered, nothing read", {**WELL, FORWARD: TIMED_OUT}, "port-filtered", 5,
     ("unknown which", "NetworkPolicies", "the launcher pod", "the namespace")),
    ("policy", {**WELL, FORWARD: TIMED_OUT, NAMESPACE: OPEN_NAMESPACE, POLICIES: policies({"ingress": []}), PODS: THE_PODS},
     "policy-closed", 5, ("closed by NetworkPolicy p0",)),
    ("udn", {**WELL, FORWARD: TIMED_OUT,
             NAMESPACE: answer({"metadata": {"labels": {"k8s.ovn.org/primary-user-defined-network": ""}}})},
     "primary-udn", 5, ("primary user-defined network",)),
    ("forbidden, roles read",
     {**WELL, FORWARD: forbidden("get", "virtualmachines/portforward"),
      FORWARD.replace("virtualmachines", "virtualmachineinstances"): forbidden("get", "virtualmachineinstances/portforward"),
      WHO: answer({"status": {"userInfo": {"username": "carol", "groups": ["devs", "system:authenticated"]}}}, 201),
      ROLES: answer({"items": [
          {"metadata": {"name": "ssh-users"}, "rules": [{"verbs": ["get"], "apiGroups": ["subresources.kubevirt.io"], "resources": ["virtualmachines/portforward"]}]},
          {"metadata": {"name": "kubevirt.io:view"}, "rules": [{"verbs": ["get"], "apiGroups": ["kubevirt.io"], "resources": ["*"]}]},
          {"metadata": {"name": "kubevirt.io:edit"}, "rules": [{"verbs": ["*"], "apiGroups": ["subresources.kubevirt.io"], "resources": ["*"]}]}]})},
     "forbidden", 4, ("you are carol (groups: devs)", "verb get on virtualmachines/portforward", "kubevirt.io:edit, ssh-users")),
    ("forbidden, no role holds it",
     {**WELL, FORWARD: forbidden("get", "virtualmachines/portforward"),
      FORWARD.replace("virtualmachines", "virtualmachineinstances"): forbidden("get", "virtualmachineinstances/portforward"),
      ROLES: answer({"items": []})},
     "forbidden", 4, ("you are carol", "no ClusterRole that you may read holds it")),
    ("forbidden, roles unread",
     {**WELL, FORWARD: forbidden("get", "virtualmachines/portforward"),
      FORWARD.replace("virtualmachines", "virtualmachineinstances"): forbidden("get", "virtualmachineinstances/portforward")},
     "forbidden", 4, ("kubevirt.io:edit or kubevirt.io:admin", "unknown")),
    ("nowhere", {VM: NOT_FOUND, VMI: NOT_FOUND, EVERYWHERE: answer({"items": []}), NAMESPACE: OPEN_NAMESPACE},
     "vm-not-found", 3, ("no other namespace",)),
    ("elsewhere", {VM: NOT_FOUND, VMI: NOT_FOUND, NAMESPACE: OPEN_NAMESPACE,
                   EVERYWHERE: answer({"items": [{"metadata": {"name": "web", "namespace": "team-a"}}]})},
     "wrong-namespace", 3, ("is in namespace team-a", "vmbroker ssh vm/web/team-a")),
    ("namespace unknown", {VM: NOT_FOUND, VMI: NOT_FOUND, EVERYWHERE: answer({"items": []}),
                           NAMESPACE: refused(404, "NotFound", 'namespaces "shop" not found')},
     "namespace-not-found", 3, ("no namespace shop",)),
    ("elsewhere unread", {VM: NOT_FOUND, VMI: NOT_FOUND}, "vm-not-found", 3, ("is unknown", "you may not list VMs")),
    ("no KubeVirt", {VM: ABSENT, VMI: ABSENT, "/version": answer({"gitVersion": "v1.36.2"})},
     "kubevirt-absent", 5, ("KubeVirt is not installed", "v1.36.2")),
    ("no API server there", {VM: ABSENT, VMI: ABSENT, "/version": ABSENT}, "api-absent", 5, ("does not know the KubeVirt API", "no Kubernetes API server")),
    ("no virt-api", {**WELL, FORWARD: ABSENT, FORWARD.replace("virtualmachines", "virtualmachineinstances"): ABSENT},
     "virt-api-absent", 5, ("not its virt-api",)),
    ("token refused", {VM: refused(401, "Unauthorized", "Unauthorized")}, "unauthorized", 4, ("unknown which", "user 'u'")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "answers", "code", "exit_status", "words"), CASES, ids=[case[0] for case in CASES])
def test_each_failure_is_told_with_its_cause(
    tmp_path: Path, name: str, answers: dict[str, Answer], code: str, exit_status: int, words: tuple[str, ...]
) -> None:
    with world(tmp_path, answers) as (client, _):
        error = failure(client)
    assert (error.code, error.exit_status) == (code, exit_status), text_of(error)
    for word in words:
        assert word in text_of(error)


def test_one_refused_text_has_two_causes_by_what_the_instance_says(tmp_path: Path) -> None:
    quiet = {**RUNNING, "status": {**RUNNING["status"], "conditions": []}}
    told = []
    for number, vmi in enumerate((RUNNING, quiet)):
        folder = tmp_path / str(number)
        folder.mkdir()
        with world(folder, {**WELL, VMI: answer(vmi), FORWARD: REFUSED}) as (client, _):
            told.append(failure(client))
    assert [error.code for error in told] == ["port-closed", "nothing-listens"]


def test_an_expired_token_is_told_with_its_end(tmp_path: Path) -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": 1_700_000_000}).encode()).decode().rstrip("=")
    with world(tmp_path, {}, otherwise=refused(401, "Unauthorized", "Unauthorized")) as (client, api):
        api.token_file.write_text(f"e30.{claims}.c2ln")
        error = failure(client)
    assert (error.code, error.exit_status) == ("credential-expired", 4)
    assert "2023-11-14 22:13:20 UTC" in (error.cause or "")
    assert claims not in text_of(error)


def test_a_refused_port_asks_for_no_more_than_it_needs(tmp_path: Path) -> None:
    with world(tmp_path, {**WELL, FORWARD: REFUSED}) as (client, api):
        failure(client)
    assert not any(path in api.paths for path in (NAMESPACE, POLICIES))


def test_a_server_that_stops_answering_costs_no_more_than_the_budget(tmp_path: Path) -> None:
    slow = Answer(delay_s=30)
    with world(tmp_path, dict(WELL)) as (client, api):
        reading = read_guest(client, parse_target("vm/web/shop"), default_namespace="shop")
        api.script = lambda asked: slow
        began = time.monotonic()
        error = explain(client, reading, 22, GuestUnready("no", code="port-filtered"), budget_s=0.4)
        took_s = time.monotonic() - began
    assert took_s < 5
    assert "unknown which" in (error.cause or "")
