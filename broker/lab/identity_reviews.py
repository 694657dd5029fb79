"""Who somebody is: SelfSubjectReview and TokenReview (kubernetes pkg/registry/authentication, and the captures)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker.lab.answers import bad_request
from broker.lab.authn import Identities, User
from broker.lab.objects import timestamp
from broker.lab.posted import mapping_in, text_in, texts_in, written_fields

__all__ = ["own_review", "token_review"]

Json = dict[str, Any]
_API = "authentication.k8s.io/v1"


def own_review(user: User) -> Json:
    """The poster, as the API server sees them."""
    status = {"userInfo": _info(user)}
    return {"kind": "SelfSubjectReview", "apiVersion": _API, "metadata": {"creationTimestamp": timestamp()}, "status": status}


def token_review(body: Mapping[str, Any], identities: Identities, *, now_s: float) -> Json:
    """Whose token it is and for which audiences; a token that is not good is answered too. ApiError 400 without a token."""
    spec = mapping_in(body.get("spec"))
    token, audiences = text_in(spec, "token"), texts_in(spec, "audiences")
    if not token:
        raise bad_request("token is required for TokenReview in authentication")
    found = identities.review_token(token, audiences, now_s=now_s)
    status: Json = {"user": {}, "error": found.error}
    if found.user is not None:
        status = {"authenticated": True, "user": _info(found.user), "audiences": list(found.audiences)}
    shown = {"token": token, **({"audiences": list(audiences)} if audiences else {})}
    metadata = written_fields(_API, shown)
    return {"kind": "TokenReview", "apiVersion": _API, "metadata": metadata, "spec": shown, "status": status}


def _info(user: User) -> Json:
    info: Json = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    info["groups"] = list(user.groups)
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra.items()}
    return info
