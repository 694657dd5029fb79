"""What the caller may do, and who the caller is to the cluster: SelfSubjectAccessReview and SelfSubjectReview."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from broker.kube.rest import Rest
from broker.kube.status import Call
from broker.model.pages import decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One verb on one resource; `namespace` None asks for all of them, `name` None for any object."""

    verb: str
    group: str
    resource: str
    subresource: str | None = None
    namespace: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The server's answer: `reason` is an authoriser's own text (may be empty) and foreign."""

    is_allowed: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who the API server takes the caller for, impersonation applied."""

    user: str
    groups: tuple[str, ...]
    uid: str


class _AccessStatus(msgspec.Struct, frozen=True):
    allowed: bool = False
    denied: bool | None = None
    reason: str | None = None


class _AccessReview(msgspec.Struct, frozen=True):
    status: _AccessStatus = _AccessStatus()


class _UserInfo(msgspec.Struct, frozen=True):
    username: str = ""
    uid: str | None = None
    groups: list[str] | None = None


class _SelfStatus(msgspec.Struct, frozen=True, rename="camel"):
    user_info: _UserInfo = _UserInfo()


class _SelfReview(msgspec.Struct, frozen=True):
    status: _SelfStatus = _SelfStatus()


_ACCESS = msgspec.json.Decoder(_AccessReview)
_SELF = msgspec.json.Decoder(_SelfReview)


async def may(rest: Rest, question: Question) -> Access:
    """Ask the API server whether the caller may (authorization.k8s.io/v1 SelfSubjectAccessReview); raises as `Rest.post`."""
    attributes = {
        key: value
        for key, value in (
            ("verb", question.verb),
            ("group", question.group),
            ("resource", question.resource),
            ("subresource", question.subresource),
            ("namespace", question.namespace),
            ("name", question.name),
        )
        if value
    }
    body = await _review(
        rest, "authorization.k8s.io", "SelfSubjectAccessReview", "selfsubjectaccessreviews", {"resourceAttributes": attributes}
    )
    status = decode(_ACCESS.decode, body, "SelfSubjectAccessReview").status
    return Access(is_allowed=status.allowed and not status.denied, reason=status.reason or "")


async def whoami(rest: Rest) -> Identity:
    """Ask the API server who the caller is (authentication.k8s.io/v1 SelfSubjectReview, since 1.28); raises as `Rest.post`."""
    body = await _review(rest, "authentication.k8s.io", "SelfSubjectReview", "selfsubjectreviews", None)
    info = decode(_SELF.decode, body, "SelfSubjectReview").status.user_info
    return Identity(user=info.username, groups=tuple(info.groups or ()), uid=info.uid or "")


async def _review(rest: Rest, group: str, kind: str, plural: str, spec: dict[str, object] | None) -> bytes:
    path = f"/apis/{group}/v1/{plural}"
    asked: dict[str, object] = {"apiVersion": f"{group}/v1", "kind": kind}
    if spec is not None:
        asked["spec"] = spec
    return await rest.post(path, msgspec.json.encode(asked), Call(verb="create", resource=plural, path=path))
