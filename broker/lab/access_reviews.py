"""What may be done: SelfSubjectAccessReview, SubjectAccessReview, LocalSubjectAccessReview, SelfSubjectRulesReview.

Texts and order: kubernetes pkg/registry/authorization and pkg/apis/authorization/validation, and the captures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from broker.lab.answers import ApiError, bad_request
from broker.lab.authn import User
from broker.lab.posted import mapping_in, text_in, texts_in, written_fields
from broker.lab.rbac import Attributes, Authoriser, Decision

__all__ = ["access_review", "local_access_review", "own_access_review", "rules_review"]

Json = dict[str, Any]
_API = "authorization.k8s.io/v1"
_ORDER = ("namespace", "verb", "group", "version", "resource", "subresource", "name", "path")
_NEITHER = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
_BOTH = "cannot be specified in combination with resourceAttributes"


def own_access_review(body: Mapping[str, Any], user: User, authoriser: Authoriser) -> Json:
    """May the poster do it? ApiError 400, 422."""
    spec = mapping_in(body.get("spec"))
    attributes = _attributes(spec, "SelfSubjectAccessReview")
    return _answer("SelfSubjectAccessReview", {}, spec, authoriser.allowed(user, attributes))


def access_review(body: Mapping[str, Any], authoriser: Authoriser) -> Json:
    """May the named user do it? The groups are those that the body names, none is added. ApiError 400, 422."""
    spec = mapping_in(body.get("spec"))
    attributes = _attributes(spec, "SubjectAccessReview", has_subject=True)
    return _answer("SubjectAccessReview", {}, spec, authoriser.allowed(_subject(spec), attributes))


def local_access_review(body: Mapping[str, Any], namespace: str, authoriser: Authoriser) -> Json:
    """May the named user do it in the namespace of the path? ApiError 400, 422."""
    spec = mapping_in(body.get("spec"))
    kind = "LocalSubjectAccessReview"
    attributes = _attributes(spec, kind, has_subject=True)
    if attributes.path:
        shown = json.dumps({key: spec["nonResourceAttributes"][key] for key in spec["nonResourceAttributes"]})
        problem = f"spec.nonResourceAttributes: Invalid value: {shown}: disallowed on this kind of request"
        raise _invalid(kind, [problem])
    named = text_in(mapping_in(body.get("metadata")), "namespace")
    if attributes.namespace != (named or namespace):
        problem = f'spec.resourceAttributes.namespace: Invalid value: "{attributes.namespace}": must match metadata.namespace'
        raise _invalid(kind, [problem])
    if named and named != namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    return _answer(kind, {"namespace": namespace}, spec, authoriser.allowed(_subject(spec), attributes))


def rules_review(body: Mapping[str, Any], user: User, authoriser: Authoriser) -> Json:
    """Everything that the poster may do in a namespace; ApiError 400 without one."""
    namespace = text_in(mapping_in(body.get("spec")), "namespace")
    if not namespace:
        raise bad_request("no namespace on request")
    resources, urls = authoriser.rules(user, namespace)
    status = {"resourceRules": resources, "nonResourceRules": urls, "incomplete": False}
    return {"kind": "SelfSubjectRulesReview", "apiVersion": _API, "metadata": {}, "spec": {}, "status": status}


def _subject(spec: Mapping[str, Any]) -> User:
    extra = mapping_in(spec.get("extra"))
    return User(
        name=text_in(spec, "user"),
        uid=text_in(spec, "uid"),
        groups=texts_in(spec, "groups"),
        extra={key: texts_in(extra, key) for key in extra},
    )


def _attributes(spec: Mapping[str, Any], kind: str, *, has_subject: bool = False) -> Attributes:
    """Read what is asked; ApiError 422 with every reason why it cannot be answered."""
    asked, url = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    problems = []
    if asked is not None and url is not None:
        problems.append(f"spec.nonResourceAttributes: Invalid value: {json.dumps(url)}: {_BOTH}")
    if asked is None and url is None:
        problems.append(f"spec.resourceAttributes: Invalid value: null: {_NEITHER}")
    if has_subject and not text_in(spec, "user") and not texts_in(spec, "groups"):
        problems.append('spec.user: Invalid value: "": at least one of user or group must be specified')
    if problems:
        raise _invalid(kind, problems)
    if asked is None:
        path = mapping_in(url)
        return Attributes(verb=text_in(path, "verb"), path=text_in(path, "path") or "/")
    found = mapping_in(asked)
    words = {key: text_in(found, key) for key in ("verb", "group", "resource", "subresource", "namespace", "name")}
    return Attributes(**words)


def _invalid(kind: str, problems: list[str]) -> ApiError:
    message = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
    causes = []
    for problem in problems:
        field, _, why = problem.partition(": ")
        causes.append({"reason": "FieldValueInvalid", "message": why, "field": field})
    details = {"group": "authorization.k8s.io", "kind": kind, "causes": causes}
    return ApiError(422, "Invalid", f'{kind}.authorization.k8s.io "" is invalid: {message}', details=details)


def _answer(kind: str, metadata: Json, spec: Mapping[str, Any], decision: Decision) -> Json:
    status: Json = {"allowed": decision.allowed, **({"reason": decision.reason} if decision.reason else {})}
    whole = {**metadata, **written_fields(_API, spec)}
    return {"kind": kind, "apiVersion": _API, "metadata": whole, "spec": _shown(spec), "status": status}


def _shown(spec: Mapping[str, Any]) -> Json:
    """The posted question in the order and with the members that the API server knows."""
    found: Json = {}
    for outer in ("resourceAttributes", "nonResourceAttributes"):
        if spec.get(outer) is not None:
            found[outer] = {key: spec[outer][key] for key in _ORDER if key in spec[outer]}
    return {**found, **{key: spec[key] for key in ("user", "groups", "extra", "uid") if spec.get(key)}}
