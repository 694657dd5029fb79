"""A lab seeded from the captures, and one client that asks it over TLS what the real servers were asked."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web
from yarl import URL

from broker.lab.api import ApiServer
from broker.lab.authn import Identities, User, service_account
from broker.lab.certificates import Authority, KeyPair, server_context, write_private
from broker.lab.faults import Faults
from broker.lab.guestinfo import GuestInformation
from broker.lab.lifecycle import Lifecycle
from broker.lab.objects import Objects
from broker.lab.paths import SubresourcePath
from broker.lab.portforward import PortForward
from broker.lab.seed_access import access_objects
from broker.lab.tunnel import Pace
from broker.lab.virtapi import NotAvailable, VirtApi
from tests.broker.lab.captures import FOLDER, Capture, Json, objects_in, read_capture, resource_of

WORLD = (
    "watch-bookmarks", "list-vmis-team-a", "get-namespace-udn", "get-nodes", "get-nads", "get-udns", "get-cudns",
    "get-nncps", "get-sriovnetworks",
)  # fmt: skip
"""The captures whose objects every replay starts with."""
ALICE_GROUPS = ("team-a-devs",)
AUDIENCE = "https://127.0.0.1:16443"
"""The audience of the captured API server."""
_RBAC = "rbac.authorization.k8s.io"
_VMI = "virtualmachineinstances.kubevirt.io"
_VM = "virtualmachines.kubevirt.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The lab CA, its server certificate and alice's client certificate; made once a session, for making takes time."""

    directory: Path
    authority: Authority
    server: KeyPair

    @classmethod
    def make(cls, directory: Path) -> Credentials:
        """Make them in a directory."""
        authority = Authority.create()
        alice = authority.client("alice", ALICE_GROUPS)
        write_private(directory / "alice.pem", alice.certificate_pem + alice.key_pem)
        return cls(directory=directory, authority=authority, server=authority.server())

    def client_context(self, *, is_alice: bool) -> ssl.SSLContext:
        """The client's side of TLS."""
        context = ssl.create_default_context(cadata=self.authority.certificate_pem.decode())
        if is_alice:
            context.load_cert_chain(self.directory / "alice.pem")
        return context


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the lab answered, the body as JSON where it says so."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: Any


@dataclass(slots=True, kw_only=True)
class World:
    """A running lab for one replay."""

    objects: Objects
    url: str
    credentials: Credentials

    @asynccontextmanager
    async def request(
        self, method: str, path: str, *, user: str = "admin", headers: Mapping[str, str] | None = None, sent: object = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send one request as a user of the captures, with these headers and no others of note."""
        given = {"Accept": "*/*", **(headers or {})}
        if user not in ("alice", "anonymous"):
            given["Authorization"] = f"Bearer token-of-{user}"
        context = self.credentials.client_context(is_alice=user == "alice")
        body = None if sent is None else json.dumps(sent).encode()
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context), skip_auto_headers=("User-Agent", "Content-Type")
            ) as session,
            session.request(method, URL(self.url + path, encoded=True), headers=given, data=body) as response,
        ):
            yield response

    async def ask(self, method: str, path: str, **how: Any) -> Answer:
        """Send one request and read its whole answer."""
        async with self.request(method, path, **how) as response:
            raw = await response.read()
            is_json = response.content_type == "application/json" and raw
            body = json.loads(raw) if is_json else raw.decode()
            headers = {key.title(): value for key, value in response.headers.items()}
            return Answer(status=response.status, reason=response.reason or "", headers=headers, body=body)


@asynccontextmanager
async def world_for(capture: Capture, credentials: Credentials) -> AsyncIterator[World]:
    """Run a lab that holds the world, and on top of it the objects of this capture's own answer."""
    objects = planted_world()
    if not (capture.is_watch and "resourceVersion=" in capture.path):
        _plant(objects, capture)
    async with serving(objects, credentials) as world:
        yield world


def planted_world() -> Objects:
    """A store with the objects and the rights that every replay starts with."""
    objects = Objects()
    _plant_access(objects)
    for name in WORLD:
        _plant(objects, read_capture(name))
    _plant_guests(objects)
    return objects


def replace_object(objects: Objects, resource: str, obj: Json) -> None:
    """Put an object as it is: one that was there before would count its generation on."""
    objects.delete(resource, obj["metadata"].get("namespace"), obj["metadata"]["name"])
    objects.put(resource, obj)


def _plant(objects: Objects, capture: Capture) -> None:
    for obj in objects_in(capture):
        replace_object(objects, resource_of(capture), obj)


def _plant_access(objects: Objects) -> None:
    """Kubernetes' roles and the captured cluster's users from the seed, KubeVirt's own roles from its manifest."""
    for resource, obj in access_objects():
        name = obj["metadata"]["name"]
        if not name.startswith(("kubevirt.io:", "instancetype.kubevirt.io:")):
            objects.put(resource, obj)
    plurals = {kind: f"{kind.lower()}s.{_RBAC}" for kind in ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")}
    for obj in yaml.safe_load_all((FOLDER.parent / "cluster" / "kubevirt-rbac.yaml").read_text()):
        if obj and obj["kind"] in plurals:
            objects.put(plurals[obj["kind"]], obj)
    well_known = {"verbs": ["get"], "nonResourceURLs": ["/.well-known", "/.well-known/*"]}
    role = {"apiVersion": f"{_RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": "well-known"}, "rules": [well_known]}
    objects.put(f"clusterroles.{_RBAC}", role)
    _bind(objects, "", "well-known", {"kind": "Group", "name": "system:authenticated"})
    _bind(objects, "team-c", "view", {"kind": "User", "name": "carol"})


def _bind(objects: Objects, namespace: str, role: str, subject: Json) -> None:
    kind = "RoleBinding" if namespace else "ClusterRoleBinding"
    binding = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": kind,
        "metadata": {"name": f"captured-{role}", **({"namespace": namespace} if namespace else {})},
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": _RBAC, **subject}],
    }
    objects.put(f"{kind.lower()}s.{_RBAC}", binding)


def _plant_guests(objects: Objects) -> None:
    """The instances that the portforward captures name and no list holds, after the model of web-1."""
    for namespace, name, address, is_paused in (
        ("team-b", "paused-1", "127.0.0.14", True),
        ("team-c", "noip-1", "", False),
        ("team-c", "down-1", "127.0.0.99", False),
    ):
        vm, vmi = objects.get(_VM, namespace, name), objects.get(_VMI, "team-a", "web-1")
        assert vm is not None and vmi is not None
        vmi["metadata"] = {"name": name, "namespace": namespace, "ownerReferences": [_owner(vm)]}
        nic = vmi["status"]["interfaces"][0]
        for key in ("ipAddress", "ipAddresses"):
            nic.pop(key)
        if address:
            nic |= {"ipAddress": address, "ipAddresses": [address]}
        if is_paused:
            vmi["status"]["conditions"].append({"type": "Paused", "status": "True"})
        objects.put(_VMI, vmi)


def _owner(vm: Json) -> Json:
    return {"apiVersion": vm["apiVersion"], "kind": vm["kind"], "name": vm["metadata"]["name"], "uid": vm["metadata"]["uid"]}


@asynccontextmanager
async def serving(
    objects: Objects,
    credentials: Credentials,
    *,
    prefix: str = "",
    bookmark_every_s: float = 60.0,
    made: Callable[[ApiServer], None] = lambda _: None,
) -> AsyncIterator[World]:
    """Serve a store over TLS to the users of the captures; `made` is given the server before it serves."""
    identities = Identities(audience=AUDIENCE)
    for name in ("admin", "bob", "carol", "norights", "broker"):
        identities.add_token(f"token-of-{name}", User(name=name, groups=("system:masters",) if name == "admin" else ()))
    identities.add_token("token-of-robot", User(name="robot"), expires_at_s=1.0)
    _add_reviewed_tokens(identities)
    listening = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    guest = listening.sockets[0].getsockname()[:2]
    api = ApiServer(objects, identities, prefix=prefix, bookmark_every_s=bookmark_every_s, server_address="127.0.0.1:6443")
    made(api)
    portforward = PortForward(
        objects,
        pace=Pace(pong_deadline_s=60.0),
        faults=Faults(),
        # Only web-1's ssh port listens, wherever there was a free port for it.
        translate=lambda address, port: guest if (address, port) == ("127.0.0.11", 22) else (address, port),
    )
    virt = VirtApi(
        allowed=api.authoriser.allowed,
        portforward=portforward.serve,
        information=GuestInformation(objects).answer,
        faults=Faults(),
        lifecycle=Lifecycle(objects).answer,
    )

    async def handle(request: web.Request, user: User, path: SubresourcePath) -> web.StreamResponse:
        try:
            return await virt.answer(request, user, path.resource, path.namespace, path.name, path.subresource, path.rest)
        except NotAvailable:
            return web.Response(status=404)

    api.subresources = handle
    runner = web.AppRunner(api.app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    try:
        context = server_context(credentials.authority, credentials.server, credentials.directory)
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        url = f"https://127.0.0.1:{runner.addresses[0][1]}"
        yield World(objects=objects, url=url, credentials=credentials)
    finally:
        portforward.abort()
        await runner.cleanup()
        listening.close()
        await listening.wait_closed()


def _add_reviewed_tokens(identities: Identities) -> None:
    """The tokens that the captures of TokenReview name: bob's static one, and two of a ServiceAccount."""
    identities.add_token("<token of bob>", User(name="bob", uid="uid-bob", groups=("team-b-devs",)))
    for token, audience, capture in (
        ("<token of robot>", AUDIENCE, "tokenreview-serviceaccount"),
        ("<token of robot for vmbroker>", "vmbroker", "tokenreview-audience-good"),
    ):
        told = read_capture(capture).body["status"]["user"]
        extra = {key: tuple(values) for key, values in told["extra"].items()}
        robot = replace(service_account("team-a", "robot", uid=told["uid"]), extra=extra)
        identities.add_token(token, robot, audiences=(audience,))


def at_version(path: str, version: int) -> str:
    """Put this run's version in the place of the captured one in a watch's path; 1 and the far future keep their meaning."""
    return re.sub(r"resourceVersion=(?!1\b|999999999)\d+", f"resourceVersion={version}", path)
