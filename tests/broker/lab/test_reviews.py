"""Reviews: who may ask about others, what is answered, and how a question that is none is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from broker.lab.authn import service_account
from broker.lab.cluster import Cluster
from tests.broker.lab.pretend import empty_cluster
from tests.broker.lab.reader import Answer, reader

Json = dict[str, Any]
ACCESS = "/apis/authorization.k8s.io/v1"
IDENTITY = "/apis/authentication.k8s.io/v1"
FORWARD = {
    "group": "subresources.kubevirt.io",
    "resource": "virtualmachineinstances",
    "subresource": "portforward",
    "verb": "get",
    "namespace": "shop",
}


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A lab with users and roles and nothing else."""
    async with empty_cluster(tmp_path) as running:
        yield running


async def post(cluster: Cluster, path: str, kind: str, spec: object, *, user: str = "admin", namespace: str = "") -> Answer:
    """Post one review as a user."""
    group = "authentication.k8s.io" if path.startswith(IDENTITY) else "authorization.k8s.io"
    metadata = {"metadata": {"namespace": namespace}} if namespace else {}
    body = {"apiVersion": f"{group}/v1", "kind": kind, "spec": spec, **metadata}
    async with reader(cluster, user) as client:
        return await client.ask(path, "POST", sent=body)


async def test_questions_about_others_take_a_right_that_broker_has(cluster: Cluster) -> None:
    spec = {"user": "porter", "resourceAttributes": FORWARD}
    for user, status in (("admin", 201), ("broker", 201), ("bob", 403), ("norights", 403)):
        answer = await post(cluster, f"{ACCESS}/subjectaccessreviews", "SubjectAccessReview", spec, user=user)
        assert answer.status == status
        answer = await post(cluster, f"{IDENTITY}/tokenreviews", "TokenReview", {"token": "x"}, user=user)
        assert answer.status == status
    assert answer.body["message"] == (
        'tokenreviews.authentication.k8s.io is forbidden: User "norights" cannot create resource "tokenreviews" in API group'
        ' "authentication.k8s.io" at the cluster scope'
    )


@pytest.mark.parametrize(
    ("subject", "is_allowed"),
    [
        ({"user": "porter"}, True),
        ({"user": "dana"}, False),
        ({"user": "dana", "groups": ["shop-devs"]}, True),
        ({"groups": ["shop-devs"]}, True),
        ({"user": "nobody"}, False),
        ({"user": "x", "groups": ["system:masters"]}, True),
    ],
)
async def test_groups_are_those_of_the_question_and_no_others(cluster: Cluster, subject: Json, is_allowed: bool) -> None:
    spec = {**subject, "resourceAttributes": FORWARD}
    answer = await post(cluster, f"{ACCESS}/subjectaccessreviews", "SubjectAccessReview", spec)
    assert (answer.status, answer.body["status"]["allowed"]) == (201, is_allowed)
    assert answer.body["spec"] == {"resourceAttributes": FORWARD, **subject}
    assert bool(answer.body["status"].get("reason")) == (is_allowed and subject.get("user") != "x")


async def test_a_local_question_is_for_its_own_namespace(cluster: Cluster) -> None:
    path, kind = f"{ACCESS}/namespaces/shop/localsubjectaccessreviews", "LocalSubjectAccessReview"
    spec = {"user": "porter", "resourceAttributes": FORWARD}
    answer = await post(cluster, path, kind, spec, namespace="shop")
    assert (answer.status, answer.body["status"]["allowed"]) == (201, True)
    assert answer.body["metadata"]["namespace"] == "shop"
    elsewhere = {"user": "porter", "resourceAttributes": {**FORWARD, "namespace": "team-a"}}
    refused = await post(cluster, path, kind, elsewhere, namespace="shop")
    assert (refused.status, refused.body["reason"]) == (422, "Invalid")
    assert refused.body["details"]["causes"][0]["field"] == "spec.resourceAttributes.namespace"
    urls = {"user": "porter", "nonResourceAttributes": {"path": "/version", "verb": "get"}}
    refused = await post(cluster, path, kind, urls, namespace="shop")
    assert refused.body["details"]["causes"][0]["message"].endswith("disallowed on this kind of request")
    assert (await post(cluster, path, kind, spec, user="bob", namespace="shop")).status == 403


async def test_urls_outside_the_resources_are_asked_for_by_path(cluster: Cluster) -> None:
    path, kind = f"{ACCESS}/selfsubjectaccessreviews", "SelfSubjectAccessReview"
    for asked, is_allowed in (("/apis/kubevirt.io", True), ("/metrics", False)):
        spec = {"nonResourceAttributes": {"path": asked, "verb": "get"}}
        answer = await post(cluster, path, kind, spec, user="norights")
        assert (answer.status, answer.body["status"]["allowed"], answer.body["spec"]) == (201, is_allowed, spec)


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({}, ["spec.resourceAttributes", "spec.user"]),
        ({"user": "bob"}, ["spec.resourceAttributes"]),
        ({"resourceAttributes": {}}, ["spec.user"]),
        ({"user": "bob", "resourceAttributes": {}, "nonResourceAttributes": {}}, ["spec.nonResourceAttributes"]),
    ],
)
async def test_what_is_no_question_is_invalid_by_field(cluster: Cluster, spec: Json, fields: list[str]) -> None:
    answer = await post(cluster, f"{ACCESS}/subjectaccessreviews", "SubjectAccessReview", spec)
    assert (answer.status, answer.body["reason"]) == (422, "Invalid")
    assert [cause["field"] for cause in answer.body["details"]["causes"]] == fields
    assert answer.body["message"].startswith('SubjectAccessReview.authorization.k8s.io "" is invalid: ')


@pytest.mark.parametrize(
    ("path", "kind", "spec"),
    [
        (f"{IDENTITY}/tokenreviews", "TokenReview", {}),
        (f"{IDENTITY}/tokenreviews", "TokenReview", {"token": 3}),
        (f"{IDENTITY}/tokenreviews", "TokenReview", {"token": "x", "audiences": "y"}),
        (f"{IDENTITY}/tokenreviews", "TokenReview", []),
        (f"{ACCESS}/subjectaccessreviews", "TokenReview", {}),
        (f"{ACCESS}/subjectaccessreviews", "SubjectAccessReview", {"user": "a", "resourceAttributes": {"verb": 1}}),
        (f"{ACCESS}/selfsubjectrulesreviews", "SelfSubjectRulesReview", {}),
        (f"{ACCESS}/localsubjectaccessreviews", "LocalSubjectAccessReview", {}),
    ],
)
async def test_a_body_that_cannot_be_read_is_a_bad_request(cluster: Cluster, path: str, kind: str, spec: object) -> None:
    answer = await post(cluster, path, kind, spec)
    assert (answer.status, answer.body["kind"], answer.body["reason"]) == (400, "Status", "BadRequest")


async def test_a_token_is_good_for_its_audience_alone(cluster: Cluster) -> None:
    robot = service_account("shop", "robot", uid="u-1")
    cluster.identities.add_token("for-us", robot, audiences=("vmbroker",))
    cluster.identities.add_token("for-both", robot, audiences=("vmbroker", cluster.url))
    cluster.identities.add_token("old", robot, 1.0, audiences=(cluster.url,))

    async def asked(token: str, *audiences: str) -> Json:
        spec = {"token": token, **({"audiences": list(audiences)} if audiences else {})}
        answer = await post(cluster, f"{IDENTITY}/tokenreviews", "TokenReview", spec, user="broker")
        assert answer.status == 201
        status: Json = answer.body["status"]
        return status

    good = await asked("for-us", "vmbroker", "other")
    assert (good["authenticated"], good["audiences"]) == (True, ["vmbroker"])
    assert good["user"]["groups"] == ["system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"]
    wrong = await asked("for-us")
    words = f'[invalid bearer token, token audiences ["vmbroker"] is invalid for the target audiences ["{cluster.url}"]]'
    assert wrong == {"user": {}, "error": words}
    assert (await asked("for-both"))["audiences"] == [cluster.url]
    assert (await asked("old"))["error"] == "[invalid bearer token, service account token has expired]"
    # A token for somebody else does not open the API either.
    async with reader(cluster) as client:
        for token, status in (("for-us", 401), ("for-both", 403), ("old", 401)):
            headers = {"Authorization": f"Bearer {token}"}
            assert (await client.ask("/apis/kubevirt.io/v1/virtualmachines", headers=headers)).status == status
