"""Request paths of the Kubernetes API, taken apart; which verb of RBAC a request is."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from aiohttp import web

from broker.lab.list_options import flag_of

__all__ = ["ResourcePath", "SubresourcePath", "parse_resource_path", "segments_of", "verb_of"]

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SubresourcePath:
    """A request under /apis/subresources.kubevirt.io, taken apart: `…/{resource}/{name}/{subresource}/{rest…}`.

    Namespace-level ones (`expand-vm-spec`) have the word as `resource` and "" as name and subresource.
    """

    version: str
    namespace: str
    resource: str
    name: str
    subresource: str
    rest: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourcePath:
    """`/api/v1/…` or `/apis/GROUP/VERSION/…` with at least a resource; empty text for what is not in the path."""

    group: str
    version: str
    namespace: str
    plural: str
    name: str
    subresource: str
    rest: tuple[str, ...] = ()

    def as_subresource(self) -> SubresourcePath:
        """The same request as virt-api reads it."""
        return SubresourcePath(
            version=self.version,
            namespace=self.namespace,
            resource=self.plural,
            name=self.name,
            subresource=self.subresource,
            rest=self.rest,
        )


def segments_of(raw_path: str) -> list[str]:
    """Split a path at its slashes and decode each part."""
    return [unquote(part) for part in raw_path.split("/") if part]


def parse_resource_path(segments: list[str]) -> ResourcePath | None:
    """Return the resource that a path names, None for paths of discovery and others."""
    if len(segments) >= 3 and segments[0] == "api":
        group, version, rest = "", segments[1], segments[2:]
    elif len(segments) >= 4 and segments[0] == "apis":
        group, version, rest = segments[1], segments[2], segments[3:]
    else:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 3 and not (len(rest) == 3 and rest[2] in ("status", "finalize")):
        namespace, rest = rest[1], rest[2:]
    elif rest[0] == "namespaces" and len(rest) >= 2:
        namespace = rest[1]
    padded = [*rest, "", "", ""]
    return ResourcePath(
        group=group,
        version=version,
        namespace=namespace,
        plural=padded[0],
        name=padded[1],
        subresource=padded[2],
        rest=tuple(rest[3:]),
    )


def is_watch(request: web.Request) -> bool:
    """Whether a GET asks for a stream of changes."""
    return flag_of(request.query, "watch")


def verb_of(request: web.Request, path: ResourcePath) -> str:
    """Return the RBAC verb of a request: get, list, watch, create, update, patch, delete or deletecollection."""
    if request.method in ("GET", "HEAD"):
        if is_watch(request) and not path.subresource:
            return "watch"
        return "get" if path.name else "list"
    verb = _VERBS.get(request.method, request.method.lower())
    return "deletecollection" if verb == "delete" and not path.name else verb
