"""The API server where no capture says it: prefixes, forms, pages while the store changes, versions, rights."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from broker.lab.objects import Objects
from tests.broker.lab.captures import Json
from tests.broker.lab.replay import Credentials, World, serving

VMS = "virtualmachines.kubevirt.io"
LIST = "/apis/kubevirt.io/v1/virtualmachines"
PREFIX = "/k8s/clusters/c-m-abc12"
RBAC = "rbac.authorization.k8s.io"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
METADATA = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    """One CA for all tests of this file, for making it takes time."""
    return Credentials.make(tmp_path_factory.mktemp("credentials"))


def _vm(name: str, namespace: str = "shop", **labels: str) -> Json:
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": metadata, "spec": {"runStrategy": "Halted"}}


def _store(*names: str) -> Objects:
    objects = Objects()
    for name in names:
        objects.put(VMS, _vm(name))
    return objects


def _names(listing: Json) -> list[str]:
    return [item["metadata"]["name"] for item in listing["items"]]


def _grant(objects: Objects, user: str, rules: list[Json], namespace: str = "") -> None:
    """Bind a role with these rules to a user, in a namespace or in all."""
    place = {"namespace": namespace} if namespace else {}
    prefix, cluster = ("", "") if namespace else ("Cluster", "cluster")
    role, binding = f"{cluster}roles.{RBAC}", f"{cluster}rolebindings.{RBAC}"
    objects.put(
        role,
        {"apiVersion": f"{RBAC}/v1", "kind": f"{prefix}Role", "metadata": {"name": user, **place}, "rules": rules},
    )
    objects.put(
        binding,
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": f"{prefix}RoleBinding",
            "metadata": {"name": user, **place},
            "roleRef": {"apiGroup": RBAC, "kind": f"{prefix}Role", "name": user},
            "subjects": [{"apiGroup": RBAC, "kind": "User", "name": user}],
        },
    )


def _rule(verbs: list[str], resources: list[str], **more: list[str]) -> Json:
    return {"verbs": verbs, "apiGroups": ["kubevirt.io"], "resources": resources, **more}


@asynccontextmanager
async def _lines(world: World, path: str, **how: Any) -> AsyncIterator[AsyncIterator[Json]]:
    """The events of a watch, as they come."""

    async def events(response: Any) -> AsyncIterator[Json]:
        async for line in response.content:
            yield json.loads(line)

    async with asyncio.timeout(20), world.request("GET", path, **how) as response:
        assert response.status == 200
        yield events(response)


async def test_everything_is_served_below_the_prefix_too_and_nothing_below_another(credentials: Credentials) -> None:
    async with serving(_store("a"), credentials, prefix=PREFIX) as world:
        assert _names((await world.ask("GET", LIST)).body) == ["a"]
        assert _names((await world.ask("GET", PREFIX + LIST)).body) == ["a"]
        assert (await world.ask("GET", f"{PREFIX}/version")).body["major"] == "1"
        assert (await world.ask("GET", f"{PREFIX}/apis")).body["kind"] == "APIGroupList"
        other = await world.ask("GET", f"/k8s/clusters/c-m-other{LIST}")
        assert (other.status, other.body) == (404, "404 page not found\n")
        assert other.headers["Content-Type"] == "text/plain; charset=utf-8"
        for beside in (f"{PREFIX}3{LIST}", PREFIX + LIST.removeprefix("/")):
            assert (await world.ask("GET", beside)).status == 404


async def test_unknown_paths_and_resources_are_refused_as_kubernetes_does(credentials: Credentials) -> None:
    async with serving(_store(), credentials) as world:
        for path in (
            "/apis/nope.example/v1/things",
            "/apis/kubevirt.io/v2/virtualmachines",
            "/apis/kubevirt.io/v1/things",
            "/x",
        ):
            answer = await world.ask("GET", path)
            assert (answer.status, answer.body) == (404, "404 page not found\n"), path
        core = await world.ask("GET", "/api/v1/things")
        assert (core.status, core.body["reason"]) == (404, "NotFound")
        assert core.body["message"] == "the server could not find the requested resource"


async def test_no_answer_may_be_kept_by_a_client(credentials: Credentials) -> None:
    async with serving(_store("a"), credentials) as world:
        for path, user in (("/version", "admin"), (LIST, "admin"), (LIST, "norights"), (LIST, "nobody-knows"), ("/x", "admin")):
            answer = await world.ask("GET", path, user=user)
            assert answer.headers["Cache-Control"] == "no-cache, private", path


async def test_a_list_has_the_form_that_accept_names_first(credentials: Credentials) -> None:
    async with serving(_store("a"), credentials) as world:
        for accept, kind in (
            (f"{TABLE},application/json", "Table"),
            ("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "PartialObjectMetadataList"),
            ("application/vnd.kubernetes.protobuf, application/json", "VirtualMachineList"),
            ("*/*", "VirtualMachineList"),
        ):
            assert (await world.ask("GET", LIST, headers={"Accept": accept})).body["kind"] == kind
        one = f"{LIST.replace('/virtual', '/namespaces/shop/virtual')}/a"
        assert (await world.ask("GET", one, headers={"Accept": METADATA})).body["kind"] == "PartialObjectMetadata"
        assert len((await world.ask("GET", one, headers={"Accept": TABLE})).body["rows"]) == 1
        refused = await world.ask("GET", LIST, headers={"Accept": "application/xml"})
        assert (refused.status, refused.body["reason"]) == (406, "NotAcceptable")


async def test_table_rows_carry_what_include_object_says(credentials: Credentials) -> None:
    async with serving(_store("a"), credentials) as world:
        carried = []
        for word in ("None", "Metadata", "Object"):
            table = (await world.ask("GET", f"{LIST}?includeObject={word}", headers={"Accept": TABLE})).body
            carried.append((table["rows"][0]["object"] or {}).get("kind"))
    assert carried == [None, "PartialObjectMetadata", "VirtualMachine"]


async def test_pages_show_the_store_as_it_was_at_the_first_one(credentials: Credentials) -> None:
    async with serving(_store("a", "b", "c", "d", "e"), credentials) as world:
        first = (await world.ask("GET", f"{LIST}?limit=2")).body
        assert first["metadata"]["remainingItemCount"] == 3
        world.objects.delete(VMS, "shop", "c")
        world.objects.put(VMS, _vm("aa"))
        world.objects.put(VMS, _vm("dd"))
        seen, token = _names(first), first["metadata"]["continue"]
        while token:
            page = (await world.ask("GET", f"{LIST}?limit=2&continue={token}")).body
            assert page["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
            seen, token = seen + _names(page), page["metadata"].get("continue", "")
        assert seen == ["a", "b", "c", "d", "e"]
        assert _names((await world.ask("GET", LIST)).body) == ["a", "aa", "b", "d", "dd", "e"]


async def test_an_expired_page_goes_on_with_the_token_it_is_given(credentials: Credentials) -> None:
    async with serving(_store("a", "b", "c", "d"), credentials) as world:
        token = (await world.ask("GET", f"{LIST}?limit=2")).body["metadata"]["continue"]
        world.objects.put(VMS, _vm("bb"))
        world.objects.compact()
        gone = await world.ask("GET", f"{LIST}?limit=2&continue={token}")
        assert (gone.status, gone.body["reason"]) == (410, "Expired")
        rest = await world.ask("GET", f"{LIST}?limit=9&continue={gone.body['metadata']['continue']}")
        assert (rest.status, _names(rest.body)) == (200, ["bb", "c", "d"])


async def test_a_page_with_a_selector_tells_no_remaining_count(credentials: Credentials) -> None:
    objects = _store("x")
    for name in ("a", "b", "c"):
        objects.put(VMS, _vm(name, tier="gold"))
    async with serving(objects, credentials) as world:
        page = (await world.ask("GET", f"{LIST}?limit=2&labelSelector=tier%3Dgold")).body
        assert (_names(page), "remainingItemCount" in page["metadata"]) == (["a", "b"], False)
        token = page["metadata"]["continue"]
        rest = (await world.ask("GET", f"{LIST}?limit=2&labelSelector=tier%3Dgold&continue={token}")).body
        assert (_names(rest), rest["metadata"].get("continue", "")) == (["c"], "")


async def test_versions_of_a_list_mean_what_they_say(credentials: Credentials) -> None:
    async with serving(_store("a"), credentials) as world:
        before = world.objects.resource_version
        world.objects.put(VMS, _vm("b"))
        exact = await world.ask("GET", f"{LIST}?resourceVersion={before}&resourceVersionMatch=Exact")
        assert (_names(exact.body), exact.body["metadata"]["resourceVersion"]) == (["a"], str(before))
        newer = await world.ask("GET", f"{LIST}?resourceVersion={before}&resourceVersionMatch=NotOlderThan")
        assert _names(newer.body) == ["a", "b"]
        assert _names((await world.ask("GET", f"{LIST}?resourceVersion=0")).body) == ["a", "b"]
        matches = ("0&resourceVersionMatch=Exact", f"{before}&resourceVersionMatch=Sometimes", "x")
        for query in ("resourceVersionMatch=Exact", "limit=many", *(f"resourceVersion={match}" for match in matches)):
            answer = await world.ask("GET", f"{LIST}?{query}")
            assert (answer.status // 100, answer.body["kind"]) == (4, "Status"), query


async def test_a_watch_gets_bookmarks_at_its_interval_only_when_it_asks(credentials: Credentials) -> None:
    async with serving(_store("a"), credentials, bookmark_every_s=0.05) as world:
        version = world.objects.resource_version
        async with _lines(world, f"{LIST}?watch=1&resourceVersion={version}&allowWatchBookmarks=true") as events:
            first, second = await anext(events), await anext(events)
        assert {first["type"], second["type"]} == {"BOOKMARK"}
        assert first["object"]["metadata"]["resourceVersion"] == str(version)
        async with _lines(world, f"{LIST}?watch=1&resourceVersion={version}&timeoutSeconds=1") as events:
            assert [event async for event in events] == []


async def test_a_watch_sees_only_its_namespace_and_resource(credentials: Credentials) -> None:
    async with serving(_store(), credentials) as world:
        path = "/apis/kubevirt.io/v1/namespaces/shop/virtualmachines"
        async with _lines(world, f"{path}?watch=1&resourceVersion={world.objects.resource_version}") as events:
            world.objects.put(VMS, _vm("other", "shop-2"))
            world.objects.put("virtualmachineinstances.kubevirt.io", {**_vm("vmi"), "kind": "VirtualMachineInstance"})
            world.objects.put(VMS, _vm("mine"))
            assert (await anext(events))["object"]["metadata"]["name"] == "mine"


async def test_an_object_that_leaves_a_selector_goes_with_its_old_labels_and_the_new_version(credentials: Credentials) -> None:
    objects = Objects()
    objects.put(VMS, _vm("a", tier="gold"))
    async with serving(objects, credentials) as world:
        query = f"watch=1&labelSelector=tier%3Dgold&resourceVersion={objects.resource_version}"
        async with _lines(world, f"{LIST}?{query}") as events:
            objects.put(VMS, _vm("a", tier="silver"))
            left = await anext(events)
            version = str(objects.resource_version)
            objects.put(VMS, _vm("a", tier="silver", more="yes"))
            objects.put(VMS, _vm("a", tier="gold"))
            back = await anext(events)
    metadata = left["object"]["metadata"]
    assert (left["type"], metadata["labels"], metadata["resourceVersion"]) == ("DELETED", {"tier": "gold"}, version)
    assert (back["type"], back["object"]["metadata"]["labels"]) == ("ADDED", {"tier": "gold"})


async def test_a_deletion_carries_its_own_version(credentials: Credentials) -> None:
    async with serving(_store("a"), credentials) as world:
        async with _lines(world, f"{LIST}?watch=1&resourceVersion={world.objects.resource_version}") as events:
            world.objects.delete(VMS, "shop", "a")
            gone = await anext(events)
        assert (gone["type"], gone["object"]["metadata"]["resourceVersion"]) == ("DELETED", str(world.objects.resource_version))


async def test_a_watch_ends_its_subscription_when_the_client_goes(credentials: Credentials) -> None:
    async with serving(_store("a"), credentials) as world:
        async with _lines(world, f"{LIST}?watch=1") as events:
            assert (await anext(events))["type"] == "ADDED"
            assert world.objects.watchers(VMS) == 1
        async with asyncio.timeout(10):
            while world.objects.watchers(VMS):  # noqa: ASYNC110  (the server's side of the connection ends by itself)
                await asyncio.sleep(0.01)


async def test_resource_names_limit_a_rule_to_those_objects(credentials: Credentials) -> None:
    objects = _store("a", "b")
    _grant(objects, "bob", [_rule(["get"], ["virtualmachines"], resourceNames=["a"])], "shop")
    async with serving(objects, credentials) as world:
        base = "/apis/kubevirt.io/v1/namespaces/shop/virtualmachines"
        answers = [(await world.ask("GET", base + rest, user="bob")).status for rest in ("/a", "/b", "")]
    assert answers == [200, 403, 403]


async def test_a_role_counts_in_its_namespace_and_a_change_of_it_at_once(credentials: Credentials) -> None:
    objects = _store("a")
    objects.put(VMS, _vm("a", "infra"))
    _grant(objects, "bob", [_rule(["list"], ["virtualmachines"])], "shop")
    async with serving(objects, credentials) as world:
        paths = [f"/apis/kubevirt.io/v1/namespaces/{name}/virtualmachines" for name in ("shop", "infra")] + [LIST]
        assert [(await world.ask("GET", path, user="bob")).status for path in paths] == [200, 403, 403]
        _grant(objects, "bob", [], "shop")
        assert (await world.ask("GET", paths[0], user="bob")).status == 403
        objects.delete(f"roles.{RBAC}", "shop", "bob")
        assert (await world.ask("GET", paths[0], user="bob")).status == 403


async def test_urls_outside_the_resources_need_their_own_rules(credentials: Credentials) -> None:
    objects = _store()
    _grant(objects, "bob", [{"verbs": ["get"], "nonResourceURLs": ["/version", "/apis/*"]}])
    async with serving(objects, credentials) as world:
        paths = ("/version", "/apis/kubevirt.io/v1", "/api", "/healthz")
        assert [(await world.ask("GET", path, user="bob")).status for path in paths] == [200, 200, 403, 403]
        refused = (await world.ask("GET", "/api", user="bob")).body
        assert refused["message"] == 'forbidden: User "bob" cannot get path "/api"'


async def test_impersonation_asks_for_each_right_it_uses(credentials: Credentials) -> None:
    objects = _store("a")
    users = {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["carol"]}
    _grant(objects, "bob", [users])
    _grant(objects, "carol", [_rule(["list"], ["virtualmachines"])])
    async with serving(objects, credentials) as world:
        as_carol = {"Impersonate-User": "carol"}
        assert (await world.ask("GET", LIST, user="bob", headers=as_carol)).status == 200
        assert (await world.ask("GET", LIST, user="bob", headers={"Impersonate-User": "admin"})).status == 403
        with_group = {**as_carol, "Impersonate-Group": "system:masters"}
        assert (await world.ask("GET", LIST, user="bob", headers=with_group)).status == 403
        assert (await world.ask("GET", LIST, user="bob", headers={"Impersonate-Group": "x"})).status == 500


async def test_a_review_in_another_encoding_is_refused(credentials: Credentials) -> None:
    async with serving(_store(), credentials) as world:
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer = await world.ask("POST", path, headers={"Content-Type": "application/vnd.kubernetes.protobuf"}, sent={})
        assert (answer.status, answer.body["reason"]) == (415, "UnsupportedMediaType")
        empty = await world.ask("POST", path, headers={"Content-Type": "application/json"}, sent={"spec": {}})
        assert (empty.status, empty.body["reason"]) == (422, "Invalid")
        attributes: list[object] = [7, {"verb": 7}]
        bodies: list[object] = [[], 7, {"spec": 7}, *({"spec": {"resourceAttributes": each}} for each in attributes)]
        for nonsense in bodies:
            answer = await world.ask("POST", path, headers={"Content-Type": "application/json"}, sent=nonsense)
            assert (answer.status, answer.body["reason"]) == (400, "BadRequest"), nonsense


async def test_writes_are_refused_truthfully(credentials: Credentials) -> None:
    async with serving(_store("a"), credentials) as world:
        one = "/apis/kubevirt.io/v1/namespaces/shop/virtualmachines/a"
        for method, path in (("POST", one[:-2]), ("PUT", one), ("PATCH", one), ("DELETE", one), ("POST", "/version")):
            answer = await world.ask(method, path, headers={"Content-Type": "application/json"}, sent={})
            assert (answer.status, answer.body["reason"]) == (405, "MethodNotAllowed"), method
        assert world.objects.get(VMS, "shop", "a") is not None
