"""What the API server says it serves: plain lists and the aggregated documents that kubectl keeps by ETag."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import Any

from broker.lab.resource_table import SUBRESOURCE_GROUP, VIRT_SUBRESOURCES
from broker.lab.resources import Catalogue, Resource, Subresource

__all__ = ["Discovery", "aggregated_form"]

Json = dict[str, Any]
_NO_KIND = {"group": "", "version": "", "kind": ""}


def aggregated_form(accept: str) -> str | None:
    """Return the media type of the aggregated document when a client asks for it (apidiscovery.k8s.io v2), else None."""
    for word in accept.split(","):
        parameters = dict(part.strip().partition("=")[::2] for part in word.split(";")[1:])
        if parameters.get("as") == "APIGroupDiscoveryList" and parameters.get("v") == "v2":
            return "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    return None


class Discovery:
    """Discovery documents of one catalogue; `server_address` is what `/api` tells (host:port)."""

    def __init__(self, catalogue: Catalogue, *, server_address: str) -> None:
        self._catalogue = catalogue
        self._server_address = server_address

    def versions(self) -> Json:
        """`/api`, plain."""
        by_client = [{"clientCIDR": "0.0.0.0/0", "serverAddress": self._server_address}]
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": by_client}

    def groups(self) -> Json:
        """`/apis`, plain."""
        names = [name for name in self._catalogue.groups if name]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [self._group(name) for name in names]}

    def group(self, name: str) -> Json | None:
        """`/apis/GROUP`, None for an unknown group."""
        if not name or name not in self._catalogue.groups:
            return None
        return {"kind": "APIGroup", "apiVersion": "v1", **self._group(name)}

    def resources(self, group: str, version: str) -> Json | None:
        """`/api/v1` or `/apis/GROUP/VERSION`, plain; None where that is not served."""
        if not self._catalogue.serves(group, version):
            return None
        found: list[Json] = []
        if group == SUBRESOURCE_GROUP:
            found = [_virt_entry(name) for name in _virt_names()]
        for resource in self._catalogue.in_version(group, version):
            found.append(_entry(resource))
            found += [_subentry(resource, sub) for sub in resource.subresources]
        head: Json = {"kind": "APIResourceList", **({"apiVersion": "v1"} if group else {})}
        return {**head, "groupVersion": f"{group}/{version}" if group else version, "resources": found}

    def aggregated(self, *, is_core: bool) -> Json:
        """`/api` or `/apis` as one document with every resource (apidiscovery.k8s.io/v2)."""
        names = [""] if is_core else [name for name in self._catalogue.groups if name]
        items = []
        for name in names:
            versions = [
                {"version": version, "resources": self._aggregated_resources(name, version), "freshness": "Current"}
                for version in self._catalogue.groups[name]
            ]
            items.append({"metadata": {"name": name} if name else {}, "versions": versions})
        return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}

    def paths(self) -> list[str]:
        """Every path of the API server's own, as `GET /` lists them."""
        found = [
            "/api",
            "/api/v1",
            "/apis",
            "/apis/",
            "/healthz",
            "/livez",
            "/openapi/v3",
            "/openapi/v3/",
            "/readyz",
            "/version",
        ]
        for group, versions in self._catalogue.groups.items():
            if group:
                found += [f"/apis/{group}", *(f"/apis/{group}/{version}" for version in versions)]
        return sorted(found)

    def _group(self, name: str) -> Json:
        versions = [{"groupVersion": f"{name}/{version}", "version": version} for version in self._catalogue.groups[name]]
        return {"name": name, "versions": versions, "preferredVersion": versions[0]}

    def _aggregated_resources(self, group: str, version: str) -> list[Json]:
        if group == SUBRESOURCE_GROUP:
            return [_virt_aggregated(name, subs) for name, subs in VIRT_SUBRESOURCES]
        return [_aggregated(resource, version) for resource in self._catalogue.in_version(group, version)]


def _virt_names() -> Iterable[str]:
    for resource, subresources in VIRT_SUBRESOURCES:
        yield from [f"{resource}/{sub}" for sub in subresources] or [resource]


def _virt_entry(name: str) -> Json:
    return {"name": name, "singularName": "", "namespaced": True, "kind": "", "verbs": None}


def _virt_aggregated(name: str, subresources: Iterable[str]) -> Json:
    found: Json = {
        "resource": name,
        "responseKind": dict(_NO_KIND),
        "scope": "Namespaced",
        "singularResource": "",
        "verbs": None,
    }
    subs = [{"subresource": sub, "responseKind": dict(_NO_KIND), "verbs": None} for sub in subresources]
    return {**found, "subresources": subs} if subs else found


def _entry(resource: Resource) -> Json:
    found: Json = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        found["shortNames"] = list(resource.short_names)
    if resource.categories:
        found["categories"] = list(resource.categories)
    if not resource.is_virtual and "create" in resource.verbs and "get" in resource.verbs:
        digest = hashlib.sha256(f"{resource.group}/{resource.storage_version}/{resource.kind}".encode()).digest()
        found["storageVersionHash"] = base64.b64encode(digest[:8]).decode()
    return found


def _subentry(resource: Resource, sub: Subresource) -> Json:
    found: Json = {"name": f"{resource.plural}/{sub.name}", "singularName": "", "namespaced": resource.namespaced}
    if sub.group:
        found["group"] = sub.group
    if sub.version:
        found["version"] = sub.version
    return {**found, "kind": sub.kind, "verbs": list(sub.verbs)}


def _aggregated(resource: Resource, version: str) -> Json:
    group = resource.group if resource.is_custom else ""
    served = version if resource.is_custom else ""
    found: Json = {
        "resource": resource.plural,
        "responseKind": {"group": group, "version": served, "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        found["shortNames"] = list(resource.short_names)
    if resource.categories:
        found["categories"] = list(resource.categories)
    subs = []
    for sub in resource.subresources:
        kind = {"group": sub.group or group, "version": sub.version or served, "kind": sub.kind}
        subs.append({"subresource": sub.name, "responseKind": kind, "verbs": list(sub.verbs)})
    return {**found, "subresources": subs} if subs else found
