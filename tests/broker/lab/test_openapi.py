"""/openapi/v3: whole schemas where files are given, small ones of our own elsewhere, and the caching that kubectl relies on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.lab.cluster import Cluster, ClusterSettings
from broker.lab.crd_files import read_definitions
from broker.lab.openapi import read_documents
from tests.broker.lab.pretend import empty_cluster
from tests.broker.lab.reader import Reader, reader

Json = dict[str, Any]
CRD: Json = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com", "creationTimestamp": None},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"kind": "Widget", "plural": "widgets", "shortNames": ["wd"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
                "schema": {
                    "openAPIV3Schema": {
                        "description": "A widget.",
                        "type": "object",
                        "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}},
                    }
                },
            }
        ],
    },
}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Reader]:
    """A user without rights on a lab that has no files: discovery is everybody's."""
    async with empty_cluster(tmp_path) as cluster, reader(cluster, "norights") as found:
        yield found


async def test_every_document_of_the_index_is_there_under_its_hash_and_kept_for_a_year(client: Reader) -> None:
    paths = (await client.ask("/openapi/v3")).body["paths"]
    assert {"api/v1", "apis/kubevirt.io/v1", "apis/apps/v1"} <= set(paths)
    for name, entry in paths.items():
        url = entry["serverRelativeURL"]
        answer = await client.ask(url)
        assert (answer.status, answer.body["openapi"]) == (200, "3.0.0"), name
        digest = url.rpartition("=")[2]
        assert (answer.headers["Etag"], answer.headers["Cache-Control"]) == (f'"{digest}"', "public, immutable")
        for path, item in answer.body["paths"].items():
            for operation in item.values():
                assert "responses" in operation, path


async def test_a_document_is_revalidated_and_an_old_hash_leads_to_the_new_one(client: Reader) -> None:
    url = (await client.ask("/openapi/v3")).body["paths"]["apis/kubevirt.io/v1"]["serverRelativeURL"]
    path, _, digest = url.partition("?hash=")
    unchanged = await client.ask(path, headers={"If-None-Match": f'"{digest}"'})
    assert (unchanged.status, unchanged.body) == (304, "")
    async with client.session.get(f"{client.url}{path}?hash=OLD", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (301, url)
    assert (await client.ask("/openapi/v3/apis/none.example.com/v1")).status == 404
    index = await client.ask("/openapi/v3")
    later = {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}
    assert "Last-Modified" in index.headers
    assert (await client.ask("/openapi/v3", headers=later)).status == 304


async def test_our_own_schemas_describe_what_the_lab_acts_on(client: Reader) -> None:
    schemas = (await client.ask("/openapi/v3/apis/kubevirt.io/v1")).body["components"]["schemas"]
    vm = schemas["io.kubevirt.v1.VirtualMachine"]
    assert vm["x-kubernetes-group-version-kind"] == [{"group": "kubevirt.io", "kind": "VirtualMachine", "version": "v1"}]
    template = vm["properties"]["spec"]["properties"]["template"]["properties"]["spec"]["properties"]
    ports = template["domain"]["properties"]["devices"]["properties"]["interfaces"]["items"]["properties"]["ports"]
    assert ports["items"]["properties"]["port"]["type"] == "integer"
    reference = vm["properties"]["metadata"]["allOf"][0]["$ref"].rpartition("/")[2]
    assert "resourceVersion" in schemas[reference]["properties"]
    assert "io.kubevirt.v1.VirtualMachineList" in schemas


async def test_a_definition_from_a_file_is_served_listed_and_explained(tmp_path: Path) -> None:
    folder = tmp_path / "crds"
    folder.mkdir()
    (folder / "widgets.yaml").write_text("kind: Other\n---\n" + yaml.safe_dump(CRD))
    settings = ClusterSettings(state_dir=tmp_path / "lab", has_seed=False, has_guests=False, crds=folder)
    async with Cluster.start(settings) as cluster, reader(cluster) as client:
        listed = (await client.ask("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")).body["items"]
        assert [item["metadata"]["name"] for item in listed] == ["widgets.example.com"]
        conditions = {entry["type"]: entry["status"] for entry in listed[0]["status"]["conditions"]}
        assert conditions == {"NamesAccepted": "True", "Established": "True"}
        widget = {
            "apiVersion": "example.com/v1",
            "kind": "Widget",
            "metadata": {"name": "w", "namespace": "n"},
            "spec": {"size": 3},
        }
        cluster.objects.put("widgets.example.com", widget)
        table = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
        rows = (await client.ask("/apis/example.com/v1/widgets", headers=table)).body["rows"]
        assert [row["cells"] for row in rows] == [["w", 3]]
        document = (await client.ask("/openapi/v3/apis/example.com/v1")).body
        schema = document["components"]["schemas"]["com.example.v1.Widget"]
        assert (schema["description"], schema["properties"]["spec"]) == (
            "A widget.",
            {"type": "object", "properties": {"size": {"type": "integer"}}},
        )
        assert "/apis/example.com/v1/namespaces/{namespace}/widgets/{name}" in document["paths"]


async def test_documents_of_a_real_server_take_the_place_of_ours(tmp_path: Path, shared: Path) -> None:
    settings = ClusterSettings(state_dir=tmp_path, has_seed=False, has_guests=False, openapi=shared / "openapi")
    async with Cluster.start(settings) as cluster, reader(cluster) as client:
        for path, file in (("api/v1", "core_v1"), ("apis/rbac.authorization.k8s.io/v1", "apis_rbac.authorization.k8s.io_v1")):
            given = json.loads((shared / "openapi" / f"{file}.json").read_text())["components"]["schemas"]
            assert (await client.ask(f"/openapi/v3/{path}")).body["components"]["schemas"] == given


def test_folders_and_files_that_are_none_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no CustomResourceDefinition"):
        read_definitions(tmp_path)
    with pytest.raises(ValueError, match="holds no OpenAPI document"):
        read_documents(tmp_path)
    with pytest.raises(ValueError, match="cannot be read"):
        read_definitions(tmp_path / "absent")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(ValueError, match=r"bad\.yaml, line 2 is no YAML"):
        read_definitions(tmp_path)
