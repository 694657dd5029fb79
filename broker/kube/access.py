"""What the caller may do, and who the caller is to the cluster: SelfSubjectAccessReview and SelfSubjectReview."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from broker.kube.answer import Call
from broker.model.pages import decode

if TYPE_CHECKING:
    from broker.kube.rest import Rest

ACCESS_REVIEWS: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
"""Where `access_question` is posted to, without the server's prefix."""


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
    call = Call(verb="create", resource="selfsubjectaccessreviews", path=ACCESS_REVIEWS)
    return access_told(await rest.post(ACCESS_REVIEWS, access_question(question), call))


def access_question(question: Question) -> bytes:
    """Return the SelfSubjectAccessReview that asks it, for those who post by other means than `Rest`."""
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
    asked = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    return msgspec.json.encode({**asked, "spec": {"resourceAttributes": attributes}})


def access_told(body: bytes) -> Access:
    """Read the answered review; Failed where it is none."""
    status = decode(_ACCESS.decode, body, "SelfSubjectAccessReview").status
    return Access(is_allowed=status.allowed and not status.denied, reason=status.reason or "")


async def whoami(rest: Rest) -> Identity:
    """Ask the API server who the caller is (authentication.k8s.io/v1 SelfSubjectReview, since 1.28); raises as `Rest.post`."""
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    call = Call(verb="create", resource="selfsubjectreviews", path=path)
    body = await rest.post(path, msgspec.json.encode(asked), call)
    info = decode(_SELF.decode, body, "SelfSubjectReview").status.user_info
    return Identity(user=info.username, groups=tuple(info.groups or ()), uid=info.uid or "")
