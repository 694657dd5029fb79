"""The pretend cluster's API server (skeleton, being filled)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from broker.lab.authn import Identities, User
from broker.lab.objects import Objects
from broker.lab.rbac import Authoriser

__all__ = ["ApiServer", "SubresourceHandler", "SubresourcePath"]


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


SubresourceHandler = Callable[[web.Request, User, SubresourcePath], Awaitable[web.StreamResponse]]
"""Serves KubeVirt's subresources; called after authentication and the API server's own authorisation."""


class ApiServer:
    """Kubernetes' API over the objects, as an aiohttp application (`app`); `authoriser` answers for virt-api too."""

    def __init__(
        self,
        objects: Objects,
        identities: Identities,
        *,
        subresources: SubresourceHandler | None = None,
        prefix: str = "",
        bookmark_every_s: float = 60.0,
        server_address: str = "127.0.0.1:6443",
    ) -> None:
        self.objects = objects
        self.identities = identities
        self.authoriser = Authoriser(objects)
        self.app = web.Application()
