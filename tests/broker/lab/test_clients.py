"""The official Python client and kubernetes_asyncio's generated client believe the lab."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import kubernetes
import kubernetes_asyncio
import pytest

from broker.lab.cluster import Cluster, ClusterSettings

Json = dict[str, Any]
OFFICIAL: Any = kubernetes
GENERATED: Any = kubernetes_asyncio
"""Their models are full of optional members, which a checker would ask about at each step."""
GROUP = ("kubevirt.io", "v1")
VMS = "virtualmachines.kubevirt.io"
FORWARD: Json = {
    "group": "subresources.kubevirt.io",
    "resource": "virtualmachineinstances",
    "subresource": "portforward",
    "verb": "get",
    "namespace": "shop",
}


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A seeded lab without guests."""
    async with Cluster.start(ClusterSettings(state_dir=tmp_path, has_guests=False)) as running:
        yield running


def official(cluster: Cluster, user: str = "admin") -> Any:
    """The official client, configured by a user's kubeconfig."""
    return OFFICIAL.config.new_client_from_config(str(cluster.kubeconfig(user)))


async def generated(cluster: Cluster, user: str = "admin") -> Any:
    """kubernetes_asyncio's client, configured by a user's kubeconfig."""
    return await GENERATED.config.new_client_from_config(str(cluster.kubeconfig(user)))


def stored(cluster: Cluster, namespace: str | None = None) -> list[str]:
    """The names of the VMs in the store."""
    return [vm["metadata"]["name"] for vm in cluster.objects.select(VMS, namespace)]


async def beside(work: Callable[[], Any]) -> Any:
    """Run the official client's blocking work beside the lab's loop."""
    async with asyncio.timeout(30):
        return await asyncio.to_thread(work)


async def test_official_client_lists_gets_and_pages(cluster: Cluster) -> None:
    def work() -> None:
        with official(cluster) as client:
            core = OFFICIAL.client.CoreV1Api(client)
            assert "shop" in [each.metadata.name for each in core.list_namespace().items]
            pods = core.list_namespaced_pod("shop", label_selector="kubevirt.io=virt-launcher").items
            assert all(pod.status.phase == "Running" for pod in pods)
            assert len(core.list_node(field_selector="metadata.name=node-1").items) == 1
            custom = OFFICIAL.client.CustomObjectsApi(client)
            first = custom.list_cluster_custom_object(*GROUP, "virtualmachines", limit=8)
            seen, token = list(first["items"]), first["metadata"]["continue"]
            assert first["metadata"]["remainingItemCount"] == len(stored(cluster)) - 8
            while token:
                page = custom.list_cluster_custom_object(*GROUP, "virtualmachines", limit=8, _continue=token)
                seen, token = seen + page["items"], page["metadata"].get("continue")
            assert [vm["metadata"]["name"] for vm in seen] == stored(cluster)
            web = custom.get_namespaced_custom_object(*GROUP, "shop", "virtualmachines", "web")
            assert web["status"]["printableStatus"] == "Running"
            version = OFFICIAL.client.VersionApi(client).get_code()
            assert (version.major, version.minor) == ("1", "36")
            virt = custom.get_cluster_custom_object("subresources.kubevirt.io", "v1", "version", "")
            assert virt["gitVersion"].startswith("v1.9")
            groups = OFFICIAL.client.ApisApi(client).get_api_versions().groups
            assert "kubevirt.io" in [group.name for group in groups]

    await beside(work)


async def test_official_client_watches_changes(cluster: Cluster) -> None:
    def work() -> list[tuple[str, str]]:
        with official(cluster) as client:
            custom = OFFICIAL.client.CustomObjectsApi(client)
            version = custom.list_namespaced_custom_object(*GROUP, "shop", "virtualmachines")["metadata"]["resourceVersion"]
            watch, found = OFFICIAL.watch.Watch(), []
            loop.call_soon_threadsafe(change)
            asked = (custom.list_namespaced_custom_object, *GROUP, "shop", "virtualmachines")
            for event in watch.stream(*asked, resource_version=version, timeout_seconds=10):
                found.append((event["type"], event["object"]["metadata"]["name"]))
                if len(found) == 2:
                    watch.stop()
            return found

    def change() -> None:
        vm = cluster.objects.get(VMS, "shop", "web")
        assert vm is not None
        cluster.objects.put(VMS, {**vm, "metadata": {**vm["metadata"], "labels": {"changed": "yes"}}})
        cluster.objects.delete(VMS, "shop", "stopped")

    loop = asyncio.get_running_loop()
    assert await beside(work) == [("MODIFIED", "web"), ("DELETED", "stopped")]


async def test_official_client_is_refused_as_by_kubernetes(cluster: Cluster) -> None:
    def work() -> None:
        with official(cluster) as client, official(cluster, "norights") as stranger:
            for asked, namespace, name, status, reason in (
                (client, "shop", "nope", 404, "NotFound"),
                (stranger, "shop", "web", 403, "Forbidden"),
            ):
                custom = OFFICIAL.client.CustomObjectsApi(asked)
                with pytest.raises(OFFICIAL.client.ApiException) as refused:
                    custom.get_namespaced_custom_object(*GROUP, namespace, "virtualmachines", name)
                body = json.loads(refused.value.body)
                assert (refused.value.status, body["reason"], body["code"]) == (status, reason, status)
            bad = OFFICIAL.client.CoreV1Api(client)
            with pytest.raises(OFFICIAL.client.ApiException) as refused:
                bad.list_pod_for_all_namespaces(field_selector="spec.colour=red")
            assert refused.value.status == 400
            client.configuration.api_key["BearerToken"] = "Bearer nobody"
            client.configuration.refresh_api_key_hook = None
            with pytest.raises(OFFICIAL.client.ApiException) as refused:
                bad.list_namespace()
            assert (refused.value.status, json.loads(refused.value.body)["message"]) == (401, "Unauthorized")

    await beside(work)


async def test_official_client_reviews(cluster: Cluster) -> None:
    models = OFFICIAL.client

    def work() -> None:
        attributes = models.V1ResourceAttributes(**FORWARD)
        for user, is_allowed in (("bob", True), ("carol", False)):
            with official(cluster, user) as client:
                access = models.AuthorizationV1Api(client)
                spec = models.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes)
                answer = access.create_self_subject_access_review(models.V1SelfSubjectAccessReview(spec=spec))
                assert answer.status.allowed is is_allowed
                rules = access.create_self_subject_rules_review(
                    models.V1SelfSubjectRulesReview(spec=models.V1SelfSubjectRulesReviewSpec(namespace="shop"))
                ).status.resource_rules
                assert any("virtualmachines/portforward" in rule.resources for rule in rules) is is_allowed
                own = models.AuthenticationV1Api(client).create_self_subject_review(models.V1SelfSubjectReview())
                assert own.status.user_info.username == user
                token = client.configuration.api_key["BearerToken"].removeprefix("Bearer ")
            with official(cluster, "broker") as client:
                review = models.V1TokenReview(spec=models.V1TokenReviewSpec(token=token))
                told = models.AuthenticationV1Api(client).create_token_review(review).status
                assert (told.authenticated, told.user.username) == (True, user)
                spec = models.V1SubjectAccessReviewSpec(user=told.user.username, resource_attributes=attributes)
                asked = models.AuthorizationV1Api(client).create_subject_access_review(models.V1SubjectAccessReview(spec=spec))
                assert asked.status.allowed is is_allowed

    await beside(work)


async def test_generated_client_lists_gets_and_pages(cluster: Cluster) -> None:
    async with await generated(cluster) as client:
        core, custom = GENERATED.client.CoreV1Api(client), GENERATED.client.CustomObjectsApi(client)
        assert "shop" in [each.metadata.name for each in (await core.list_namespace()).items]
        nodes = (await core.list_node()).items
        assert {condition.type for node in nodes for condition in node.status.conditions} >= {"Ready"}
        page = await custom.list_cluster_custom_object(*GROUP, "virtualmachines", limit=5)
        seen = list(page["items"])
        while token := page["metadata"].get("continue"):
            page = await custom.list_cluster_custom_object(*GROUP, "virtualmachines", limit=5, _continue=token)
            seen += page["items"]
        assert [vm["metadata"]["name"] for vm in seen] == stored(cluster)
        one = await custom.get_namespaced_custom_object(*GROUP, "shop", "virtualmachines", "web")
        assert one["metadata"]["name"] == "web"
        with pytest.raises(GENERATED.client.ApiException) as refused:
            await custom.get_namespaced_custom_object(*GROUP, "shop", "virtualmachines", "nope")
        assert (refused.value.status, json.loads(refused.value.body)["reason"]) == (404, "NotFound")


async def test_generated_client_watches_and_hears_of_an_expired_version(cluster: Cluster) -> None:
    async with await generated(cluster) as client, asyncio.timeout(20):
        custom = GENERATED.client.CustomObjectsApi(client)
        before = cluster.objects.resource_version
        vm = cluster.objects.get(VMS, "shop", "web")
        assert vm is not None
        cluster.objects.put(VMS, vm)
        asked = (custom.list_namespaced_custom_object, *GROUP, "shop", "virtualmachines")
        async with GENERATED.watch.Watch() as watch:
            async for event in watch.stream(*asked, resource_version=str(before), timeout_seconds=10):
                assert (event["type"], event["object"]["metadata"]["name"]) == ("MODIFIED", "web")
                break
        cluster.objects.compact()
        async with GENERATED.watch.Watch() as watch:
            with pytest.raises(GENERATED.client.ApiException) as gone:
                async for _ in watch.stream(*asked, resource_version=str(before), timeout_seconds=10):
                    pass
        assert (gone.value.status, str(gone.value.reason).partition(":")[0]) == (410, "Expired")


async def test_generated_client_reviews(cluster: Cluster) -> None:
    models = GENERATED.client
    async with await generated(cluster, "broker") as client:
        attributes = models.V1ResourceAttributes(**FORWARD)
        spec = models.V1SubjectAccessReviewSpec(user="porter", resource_attributes=attributes)
        answer = await models.AuthorizationV1Api(client).create_subject_access_review(models.V1SubjectAccessReview(spec=spec))
        assert (answer.status.allowed, answer.spec.user) == (True, "porter")
        review = models.V1TokenReview(spec=models.V1TokenReviewSpec(token="nobody's"))
        told = (await models.AuthenticationV1Api(client).create_token_review(review)).status
        assert not told.authenticated
        assert told.error == "invalid bearer token"
