"""Is KubeVirt there: its API present, absent, or not for us to see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from broker.errors import NotFound, NotPermitted, Unreachable
from broker.kube.rest import ANY, Rest
from broker.kube.status import Call
from broker.model.pages import decode

State = Literal["present", "absent", "not-permitted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeVirtApi:
    """What discovery says of `kubevirt.io/v1`: `resources` are plurals, subresources left out."""

    state: State
    resources: frozenset[str] = frozenset()

    def serves(self, plural: str) -> bool:
        """Say whether this kind is listed; only a present API lists any."""
        return plural in self.resources


class _Resource(msgspec.Struct, frozen=True):
    name: str = ""


class _ResourceList(msgspec.Struct, frozen=True):
    resources: list[_Resource] | None = None


class _Version(msgspec.Struct, frozen=True, rename="camel"):
    git_version: str = ""


_RESOURCES = msgspec.json.Decoder(_ResourceList)
_VERSION = msgspec.json.Decoder(_Version)


async def kubevirt_state(rest: Rest) -> KubeVirtApi:
    """Ask whether the cluster serves `kubevirt.io/v1`: 404 is absent, 403 not permitted; other trouble is raised."""
    path = "/apis/kubevirt.io/v1"
    call = Call(verb="get", resource="API resources", path=path)
    try:
        body = await rest.get(path, call)
    except NotPermitted:
        return KubeVirtApi(state="not-permitted")
    except (NotFound, Unreachable) as exc:
        # A plain-text 404 is how an API server says that it knows no such group (captures get-absent-crd).
        if isinstance(exc, NotFound) or exc.code == "api-absent":
            return KubeVirtApi(state="absent")
        raise
    listed = decode(_RESOURCES.decode, body, "list of API resources").resources or []
    return KubeVirtApi(state="present", resources=frozenset(entry.name for entry in listed if "/" not in entry.name))


async def server_version(rest: Rest, *, timeout_s: float) -> str:
    """Return the API server's version, such as `v1.36.2` (`/version`, open to everybody by default)."""
    return await _version(rest, "/version", timeout_s)


async def kubevirt_version(rest: Rest, *, timeout_s: float) -> str:
    """Return KubeVirt's version from virt-api, such as `v1.9.0`; every authenticated user may ask."""
    return await _version(rest, "/apis/subresources.kubevirt.io/v1/version", timeout_s)


async def _version(rest: Rest, path: str, timeout_s: float) -> str:
    body = await rest.get(path, Call(verb="get", resource="version", path=path), accept=ANY, timeout_s=timeout_s)
    return decode(_VERSION.decode, body, "version").git_version
