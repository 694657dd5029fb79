"""Questions that are posted and answered at once: what may I do, and who am I."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from broker.lab.answers import ApiError, bad_request
from broker.lab.authn import User
from broker.lab.objects import timestamp
from broker.lab.rbac import Attributes, Authoriser

__all__ = ["REVIEWS", "review"]

Json = dict[str, Any]
REVIEWS = {
    ("authorization.k8s.io", "selfsubjectaccessreviews"): "SelfSubjectAccessReview",
    ("authorization.k8s.io", "selfsubjectrulesreviews"): "SelfSubjectRulesReview",
    ("authentication.k8s.io", "selfsubjectreviews"): "SelfSubjectReview",
}
"""The reviews that this lab answers: (group, plural) to kind."""


def review(kind: str, body: Mapping[str, Any], user: User, authoriser: Authoriser) -> Json:
    """Answer a posted review; ApiError where the body is of another kind or asks for nothing."""
    if body.get("kind") not in (None, kind):
        raise bad_request(f'the object provided is unrecognized (must be of type {kind}): "{body.get("kind")}"')
    if kind == "SelfSubjectReview":
        return _who(user)
    if kind == "SelfSubjectRulesReview":
        return _rules(body, user, authoriser)
    return _access(body, user, authoriser)


def _who(user: User) -> Json:
    info: Json = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    info["groups"] = list(user.groups)
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra.items()}
    return {
        "kind": "SelfSubjectReview",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"creationTimestamp": timestamp()},
        "status": {"userInfo": info},
    }


def _rules(body: Mapping[str, Any], user: User, authoriser: Authoriser) -> Json:
    namespace = (_texts(body.get("spec")) or {}).get("namespace") or ""
    if not namespace:
        raise bad_request("no namespace on request")
    resources, urls = authoriser.rules(user, namespace)
    return {
        "kind": "SelfSubjectRulesReview",
        "apiVersion": "authorization.k8s.io/v1",
        "metadata": {},
        "spec": {},
        "status": {"resourceRules": resources, "nonResourceRules": urls, "incomplete": False},
    }


def _mapping(value: object) -> Mapping[str, Any] | None:
    """An object of a posted body, or None where it is absent; ApiError 400 for anything else."""
    if value is None or isinstance(value, dict):
        return value
    raise bad_request("the body of the request cannot be read: an object was expected")


def _texts(value: object) -> Mapping[str, Any] | None:
    """An object whose plain members are text, such as attributes."""
    found = _mapping(value)
    if any(not isinstance(member, str | dict) for member in (found or {}).values()):
        raise bad_request("the body of the request cannot be read: a string was expected")
    return found


def _access(body: Mapping[str, Any], user: User, authoriser: Authoriser) -> Json:
    spec = _mapping(body.get("spec")) or {}
    asked, path = _texts(spec.get("resourceAttributes")), _texts(spec.get("nonResourceAttributes"))
    if (asked is None) == (path is None):
        message = (
            'SelfSubjectAccessReview.authorization.k8s.io "" is invalid: spec.resourceAttributes: Invalid value: null:'
            " exactly one of nonResourceAttributes or resourceAttributes must be specified"
        )
        raise ApiError(422, "Invalid", message, details={"group": "authorization.k8s.io", "kind": "SelfSubjectAccessReview"})
    if asked is not None:
        attributes = Attributes(
            verb=asked.get("verb", ""),
            group=asked.get("group", ""),
            resource=asked.get("resource", ""),
            subresource=asked.get("subresource", ""),
            namespace=asked.get("namespace", ""),
            name=asked.get("name", ""),
        )
    else:
        url = path or {}
        attributes = Attributes(verb=url.get("verb", ""), path=url.get("path", "/"))
    decision = authoriser.allowed(user, attributes)
    status: Json = {"allowed": decision.allowed, **({"reason": decision.reason} if decision.reason else {})}
    return {
        "kind": "SelfSubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "metadata": {"managedFields": [_written(spec)]},
        "spec": _ordered(spec),
        "status": status,
    }


def _ordered(spec: Mapping[str, Any]) -> Json:
    order = ("namespace", "verb", "group", "version", "resource", "subresource", "name", "path")
    return {
        outer: {key: inner[key] for key in order if key in inner} for outer, inner in spec.items() if isinstance(inner, Mapping)
    }


def _written(spec: Mapping[str, Any]) -> Json:
    fields: Json = {}
    for outer, inner in spec.items():
        if isinstance(inner, Mapping):
            fields[f"f:{outer}"] = {".": {}, **{f"f:{key}": {} for key in sorted(inner)}}
    return {
        "manager": "unknown",
        "operation": "Update",
        "apiVersion": "authorization.k8s.io/v1",
        "time": timestamp(time.time()),
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": fields},
    }
