"""`/openapi/v3`: an index with a hash for each document, and one document for each group and version.

A document has what kubectl reads: schemas by kind, and paths that say which kind they are about. Schemas are those of CRD
files and of a folder of kube-apiserver's own documents where these are given, else our own small ones.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from broker.lab.answers import absent_page, answer_json
from broker.lab.own_schemas import META, meta_schemas, own_schema
from broker.lab.resources import Catalogue, Resource

__all__ = ["OpenApi", "read_documents"]

Json = dict[str, Any]
_YEAR_S = 365 * 86400
_NAME = re.compile(r"(?:core|apis_(?P<group>[a-z0-9.-]+))_(?P<version>v[0-9a-z]+)\.json\Z")
_BUILT_IN_NAMES = {
    "apiextensions.k8s.io": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions",
    "apiregistration.k8s.io": "io.k8s.kube-aggregator.pkg.apis.apiregistration",
}
_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation")


def read_documents(folder: Path) -> dict[tuple[str, str], Path]:
    """Find the documents `core_v1.json`, `apis_GROUP_VERSION.json` of a folder, by (group, version); ValueError without any."""
    try:
        names = {path: _NAME.match(path.name) for path in folder.iterdir() if path.is_file()}
    except OSError as exc:
        raise ValueError(f"{folder} cannot be read: {exc.strerror}") from exc
    found = {(match["group"] or "", match["version"]): path for path, match in names.items() if match is not None}
    if not found:
        raise ValueError(f"{folder} holds no OpenAPI document (core_v1.json, apis_GROUP_VERSION.json)")
    return found


class OpenApi:
    """The documents of one catalogue, made when they are first asked for and kept until the catalogue changes."""

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        crd_schemas: Mapping[tuple[str, str, str], bytes] | None = None,
        documents: Mapping[tuple[str, str], Path] | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._crd_schemas = crd_schemas or {}
        self._files = documents or {}
        self._made: dict[str, tuple[bytes, str]] = {}
        self._generation = -1

    def answer(self, request: web.Request, path: str) -> web.Response:
        """Answer a GET below /openapi/v3; `path` is "" for the index (kube-openapi/pkg/handler3/handler.go)."""
        if self._generation != self._catalogue.generation:
            self._made.clear()
            self._generation = self._catalogue.generation
        if not path:
            return self._index(request)
        if path not in self._names():
            return absent_page()
        body, digest = self._document(path)
        asked = request.query.get("hash")
        headers = {"Etag": f'"{digest}"', "Vary": "Accept"}
        if asked is not None and asked != digest:
            return web.Response(status=301, headers={**headers, "Location": _url(path, digest)})
        if asked is not None:
            headers |= {"Cache-Control": "public, immutable", "Expires": formatdate(time.time() + _YEAR_S, usegmt=True)}
        if f'"{digest}"' in [tag.strip() for tag in request.headers.get("If-None-Match", "").split(",")]:
            return web.Response(status=304, headers=headers)
        return answer_json(body, headers=headers)

    def _index(self, request: web.Request) -> web.Response:
        now = int(time.time())
        headers = {"Last-Modified": formatdate(now, usegmt=True)}
        if _since(request.headers.get("If-Modified-Since", "")) >= now:
            return web.Response(status=304, headers=headers)
        paths = {name: {"serverRelativeURL": _url(name, self._document(name)[1])} for name in self._names()}
        return answer_json({"paths": paths}, headers=headers, content_type="text/plain; charset=utf-8")

    def _names(self) -> list[str]:
        names = ["api", "apis", "version"]
        for group, versions in self._catalogue.groups.items():
            names += [f"apis/{group}/{version}" if group else f"api/{version}" for version in versions]
        return sorted(names)

    def _document(self, name: str) -> tuple[bytes, str]:
        if name not in self._made:
            body = self._encoded(name)
            self._made[name] = body, hashlib.sha512(body).hexdigest().upper()
        return self._made[name]

    def _encoded(self, name: str) -> bytes:
        words = name.split("/")
        group, version = ("", words[1]) if words[0] == "api" and len(words) == 2 else ("", "")
        if len(words) == 3:
            group, version = words[1:]
        resources = self._catalogue.in_version(group, version) if version else []
        paths: Json = {f"/{name}/": {"get": {"responses": {"200": {"description": "OK"}}}}}
        for resource in resources:
            paths |= _paths(resource, version)
        schemas = self._schemas(group, version, resources) if resources else {}
        whole = {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes CRD Swagger" if group and "." in group else "Kubernetes", "version": "v1.36.2"},
            "paths": paths,
            "components": {"schemas": schemas},
        }
        return msgspec.json.encode(whole)

    def _schemas(self, group: str, version: str, resources: list[Resource]) -> Json:
        file = self._files.get((group, version))
        if file is not None:
            given: Json = json.loads(file.read_text())["components"]["schemas"]
            return given
        found = meta_schemas()
        for resource in resources:
            name = _schema_name(resource, version)
            gvk = {"group": group, "kind": resource.kind, "version": version}
            given_text = self._crd_schemas.get((group, version, resource.kind))
            schema = own_schema(group, resource.kind) if given_text is None else msgspec.json.decode(given_text)
            found[name] = {**_with_type(schema), "x-kubernetes-group-version-kind": [gvk]}
            if "list" in resource.verbs:
                found[f"{name}List"] = _list_schema(name, {**gvk, "kind": f"{resource.kind}List"})
        return found


def _url(name: str, digest: str) -> str:
    return f"/openapi/v3/{name}?hash={digest}"


def _since(text: str) -> float:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, IndexError):
        return 0.0


def _schema_name(resource: Resource, version: str) -> str:
    """`io.kubevirt.v1.VirtualMachine`; for built-in kinds Kubernetes' package names."""
    if resource.is_custom:
        return f"{'.'.join(reversed(resource.group.split('.')))}.{version}.{resource.kind}"
    package = _BUILT_IN_NAMES.get(resource.group, f"io.k8s.api.{resource.group.partition('.')[0] or 'core'}")
    return f"{package}.{version}.{resource.kind}"


def _with_type(schema: Json) -> Json:
    """A schema with the members that every object has."""
    text = {"type": "string"}
    properties = {
        "apiVersion": {"description": "The version of the schema that this object is written in.", **text},
        "kind": {"description": "What the object is.", **text},
        **schema.get("properties", {}),
        "metadata": {
            "description": "Standard object's metadata.",
            "allOf": [{"$ref": f"#/components/schemas/{META}.ObjectMeta"}],
        },
    }
    return {"type": "object", **schema, "properties": properties}


def _list_schema(name: str, gvk: Json) -> Json:
    item = {"allOf": [{"$ref": f"#/components/schemas/{name}"}]}
    properties = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "items": {"type": "array", "items": item},
        "metadata": {"allOf": [{"$ref": f"#/components/schemas/{META}.ListMeta"}]},
    }
    described = f"A list of {gvk['kind'].removesuffix('List')} objects."
    body: Json = {"description": described, "type": "object", "required": ["items"], "properties": properties}
    return {**body, "x-kubernetes-group-version-kind": [gvk]}


def _paths(resource: Resource, version: str) -> Json:
    """The paths of a resource, each method with the kind that it is about and the query parameters of writing."""
    root = f"/apis/{resource.group}/{version}" if resource.group else f"/api/{version}"
    held = f"{root}/namespaces/{{namespace}}/{resource.plural}" if resource.namespaced else f"{root}/{resource.plural}"
    gvk = {"group": resource.group, "kind": resource.kind, "version": version}
    verbs = resource.verbs
    found: Json = {}
    for path, methods in (
        (held, {"get": "list", "post": "create", "delete": "deletecollection"}),
        (f"{held}/{{name}}", {"get": "get", "put": "update", "patch": "patch", "delete": "delete"}),
    ):
        operations = {method: _operation(method, verb, gvk) for method, verb in methods.items() if verb in verbs}
        if operations:
            found[path] = operations
    if resource.namespaced and "list" in verbs:
        found[f"{root}/{resource.plural}"] = {"get": _operation("get", "list", gvk)}
    return found


def _operation(method: str, verb: str, gvk: Json) -> Json:
    found: Json = {
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": {"create": "post", "update": "put"}.get(verb, verb),
        "x-kubernetes-group-version-kind": gvk,
    }
    if method in ("post", "put", "patch"):
        found["parameters"] = [
            {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}} for name in _PARAMETERS
        ]
    return found
