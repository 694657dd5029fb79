"""The pretend cluster's API server, as an aiohttp application.

kmock 0.8 was weighed: it answers scripted requests well, but has no chunked lists, versions, RBAC, Table or aggregated
discovery, and no way to hand a connection over after an upgrade. So aiohttp's server alone carries the lab.
"""

from __future__ import annotations

import hashlib
import json
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from broker.lab.answers import ApiError, absent_page, answer_json, bad_request, forbidden, not_found
from broker.lab.authn import Identities, TokenRefused, User
from broker.lab.crd_files import Definitions
from broker.lab.discovery import Discovery, aggregated_form
from broker.lab.fault_gate import FaultGate
from broker.lab.faults import UNREACHABLE_TEXTS, Faults
from broker.lab.forms import encoded_in, form_of
from broker.lab.impersonation import impersonated
from broker.lab.listing import list_answer
from broker.lab.objects import Objects
from broker.lab.openapi import OpenApi
from broker.lab.paths import ResourcePath, SubresourcePath, parse_resource_path, segments_of, verb_of
from broker.lab.rbac import Attributes, Authoriser
from broker.lab.resource_table import SUBRESOURCE_GROUP, standard_catalogue
from broker.lab.resources import Resource
from broker.lab.reviews import REVIEWS, Asker, review
from broker.lab.watching import Watches, watch_answer

__all__ = ["ApiServer", "SubresourceHandler", "SubresourcePath"]

SubresourceHandler = Callable[[web.Request, User, SubresourcePath], Awaitable[web.StreamResponse]]
"""Serves KubeVirt's subresources; called after authentication and the API server's own authorisation."""

_BODY_LIMIT_BYTES = 3 * 1024 * 1024
_VERSION = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.2+vmbroker-lab",
    "gitCommit": "",
    "gitTreeState": "",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "go1.27.3",
    "compiler": "gc",
    "platform": "linux/amd64",
}
_VIRT_VERSION = {key: _VERSION[key] for key in ("gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform")}


_WARNING = web.RequestKey("warning", str)
"""What an answer warns of, in the Warning header that kubectl prints (RFC 7234, 5.5)."""


class ApiServer:
    """Kubernetes' API over the objects, as an aiohttp application (`app`); `authoriser` answers for virt-api too.

    `prefix` serves everything a second time below that path, as a front end like Rancher's does.
    """

    def __init__(
        self,
        objects: Objects,
        identities: Identities,
        *,
        subresources: SubresourceHandler | None = None,
        prefix: str = "",
        bookmark_every_s: float = 60.0,
        server_address: str = "127.0.0.1:6443",
        faults: Faults | None = None,
        definitions: Definitions | None = None,
        documents: Mapping[tuple[str, str], Path] | None = None,
    ) -> None:
        self.objects = objects
        self.identities = identities
        self.authoriser = Authoriser(objects)
        self.catalogue = standard_catalogue()
        given = definitions or Definitions()
        for declared in given.resources:
            if self.catalogue.named(declared.name) is None:
                self.catalogue.add(declared)
        self._openapi = OpenApi(self.catalogue, crd_schemas=given.schemas, documents=documents)
        self.subresources = subresources
        self.watches = Watches()
        self.heard: Callable[[web.Request, web.StreamResponse], None] | None = None
        """Told of each answer as its head goes out (not of a tunnel's), for tests that look at what a client asks."""
        self._faults = faults or Faults()
        self._gate = FaultGate(self._faults)
        self._prefix = prefix.rstrip("/")
        self._bookmark_every_s = bookmark_every_s
        self._server_address = server_address
        self.app = web.Application(client_max_size=_BODY_LIMIT_BYTES)
        self.app.router.add_route("*", "/{tail:.*}", self._serve)
        self.app.on_response_prepare.append(self._prepared)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except ApiError as error:
            return error.response()
        except TokenRefused:
            return ApiError(401, "Unauthorized", "Unauthorized").response()

    async def _prepared(self, request: web.Request, response: web.StreamResponse) -> None:
        # Without it clients with a cache of their own answer themselves (apiserver/pkg/server/filters/cachecontrol.go).
        response.headers.setdefault("Cache-Control", "no-cache, private")
        if (warning := request.get(_WARNING)) is not None:
            response.headers.add("Warning", f"299 - {json.dumps(warning)}")
        if self.heard is not None:
            self.heard(request, response)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        user = self._user(request)
        raw = request.rel_url.raw_path
        if self._prefix and (raw == self._prefix or raw.startswith(f"{self._prefix}/")):
            raw = raw[len(self._prefix) :] or "/"
        segments = segments_of(raw)
        path = parse_resource_path(segments)
        if path is None or (path.group == SUBRESOURCE_GROUP and not path.namespace):
            asked = Attributes(verb=request.method.lower(), path="/" + "/".join(segments))
            if path is not None:
                asked = Attributes(verb="get", group=path.group, resource=path.plural, name=path.name)
            failure = await self._gate.pass_through(request, user, asked, unquote(raw))
            if failure is not None:
                return failure
            user = impersonated(request.headers, user, asked, self.authoriser)
            self._authorise(user, asked)
            return self._document(request, segments)
        asked = _attributes(request, path)
        failure = await self._gate.pass_through(request, user, asked, unquote(raw))
        if failure is not None:
            return failure
        user = impersonated(request.headers, user, asked, self.authoriser)
        self._authorise(user, asked)
        if path.group == SUBRESOURCE_GROUP:
            return await self._virt(request, user, path)
        return await self._resource(request, user, path)

    def _user(self, request: web.Request) -> User:
        transport = request.transport
        tls = transport.get_extra_info("ssl_object") if transport is not None else None
        der = tls.getpeercert(binary_form=True) if isinstance(tls, ssl.SSLObject) else None
        return self.identities.authenticate(request.headers.get("Authorization"), der, now_s=time.time())

    def _authorise(self, user: User, asked: Attributes) -> None:
        if not self.authoriser.allowed(user, asked).allowed:
            raise forbidden(user, asked)

    def _document(self, request: web.Request, segments: list[str]) -> web.StreamResponse:
        """Everything that is no resource: versions, health, discovery, OpenAPI's index."""
        if request.method not in ("GET", "HEAD"):
            raise _not_allowed()
        discovery = Discovery(self.catalogue, server_address=self._server_address)
        joined = "/".join(segments)
        if joined == "version":
            return answer_json(_VERSION)
        if segments and segments[0] in ("healthz", "livez", "readyz"):
            return web.Response(text="ok")
        if joined in ("api", "apis"):
            return self._root(request, discovery, is_core=joined == "api")
        if segments[:2] == ["openapi", "v3"]:
            return self._openapi.answer(request, "/".join(segments[2:]))
        if not segments:
            return answer_json({"paths": discovery.paths()})
        found: Any = None
        if segments == ["api", "v1"]:
            found = discovery.resources("", "v1")
        elif len(segments) == 2 and segments[0] == "apis":
            found = discovery.group(segments[1])
        elif len(segments) == 3 and segments[0] == "apis":
            found = discovery.resources(segments[1], segments[2])
        elif len(segments) == 4 and segments[1] == SUBRESOURCE_GROUP and self.catalogue.serves(segments[1], segments[2]):
            if (fault := self._faults.virt_api_unreachable) is not None and segments[3] in ("version", "healthz"):
                status, text = UNREACHABLE_TEXTS[fault]
                return web.Response(status=status, text=text)
            if segments[3] == "version":
                return answer_json({"gitVersion": "v1.9.0-rc.0+vmbroker-lab", **_VIRT_VERSION})
            if segments[3] == "healthz":
                return answer_json({"apiserver": {"connectivity": "ok", "version": _VERSION}})
        return absent_page() if found is None else answer_json(found)

    def _root(self, request: web.Request, discovery: Discovery, *, is_core: bool) -> web.Response:
        form = aggregated_form(",".join(request.headers.getall("Accept", [])))
        if form is None:
            return answer_json(discovery.versions() if is_core else discovery.groups(), headers={"Vary": "Accept"})
        body = json.dumps(discovery.aggregated(is_core=is_core), separators=(",", ":")).encode()
        tag = f'"{hashlib.sha512(body).hexdigest().upper()}"'
        headers = {"Etag": tag, "Vary": "Accept"}
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=headers)
        return answer_json(body, headers=headers, content_type=form)

    async def _virt(self, request: web.Request, user: User, path: ResourcePath) -> web.StreamResponse:
        if self.subresources is None or not self.catalogue.serves(path.group, path.version):
            return absent_page()
        return await self.subresources(request, user, path.as_subresource())

    async def _resource(self, request: web.Request, user: User, path: ResourcePath) -> web.StreamResponse:
        resource = self.catalogue.find(path.group, path.version, path.plural)
        if resource is None or (path.namespace and not resource.namespaced and path.plural != "namespaces"):
            return self._unknown(path)
        if path.version in resource.deprecations:
            request[_WARNING] = resource.deprecations[path.version]
        kind = REVIEWS.get((path.group, path.plural))
        if kind is not None and request.method == "POST" and not path.name:
            if resource.namespaced and not path.namespace:
                raise bad_request("namespace is required on this type")
            asker = Asker(user=user, namespace=path.namespace, authoriser=self.authoriser, identities=self.identities)
            return answer_json(review(kind, await _body(request), asker), status=201)
        if request.method not in ("GET", "HEAD") or resource.is_virtual:
            raise _not_allowed()
        if path.subresource:
            return self._subresource(request, resource, path)
        namespace = path.namespace if resource.namespaced else ""
        if verb_of(request, path) == "watch":
            return await watch_answer(
                self.objects,
                resource,
                path.version,
                namespace,
                request,
                bookmark_every_s=self._bookmark_every_s,
                watches=self.watches,
                name=path.name,
            )
        if path.name:
            return self._get(request, resource, path)
        return await list_answer(self.objects, resource, path.version, namespace, request)

    def _subresource(self, request: web.Request, resource: Resource, path: ResourcePath) -> web.StreamResponse:
        if path.subresource == "status" and resource.subresource("status") is not None and not path.rest:
            return self._get(request, resource, path)
        return self._unknown(path)

    def _get(self, request: web.Request, resource: Resource, path: ResourcePath) -> web.StreamResponse:
        form = form_of(request)
        entry = self.objects.entry(resource.name, path.namespace if resource.namespaced else None, path.name)
        if entry is None:
            raise not_found(path.group, path.plural, path.name)
        if form.kind == "object":
            return answer_json(encoded_in(entry, resource, path.version))
        return answer_json(form.of_object(resource, path.version, entry.decode()))

    def _unknown(self, path: ResourcePath) -> web.StreamResponse:
        if not self.catalogue.serves(path.group, path.version) or self.catalogue.is_custom_group(path.group):
            return absent_page()
        raise ApiError(404, "NotFound", "the server could not find the requested resource", details={})


def _attributes(request: web.Request, path: ResourcePath) -> Attributes:
    return Attributes(
        verb=verb_of(request, path),
        group=path.group,
        resource=path.plural,
        subresource=path.subresource,
        namespace=path.namespace,
        name=path.name,
    )


def _not_allowed() -> ApiError:
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", details={})


async def _body(request: web.Request) -> dict[str, Any]:
    kind = request.content_type
    if kind not in ("application/json", "application/octet-stream"):
        accepted = "application/json, application/yaml"
        message = f"the body of the request was in an unknown format - accepted media types include: {accepted}"
        raise ApiError(415, "UnsupportedMediaType", message, details={})
    try:
        body = json.loads(await request.read())
    except ValueError as exc:
        raise bad_request(f"couldn't get version/kind; json parse error: {exc}") from exc
    if not isinstance(body, dict):
        raise bad_request("couldn't get version/kind; json parse error: cannot unmarshal into an object")
    return body
