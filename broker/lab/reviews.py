"""Questions that are posted and answered at once: which they are, the rules that all of them share, and who answers each."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker.lab.access_reviews import access_review, local_access_review, own_access_review, rules_review
from broker.lab.answers import bad_request
from broker.lab.authn import Identities, User
from broker.lab.identity_reviews import own_review, token_review
from broker.lab.rbac import Authoriser

__all__ = ["REVIEWS", "Asker", "review"]

Json = dict[str, Any]
REVIEWS = {
    ("authorization.k8s.io", "selfsubjectaccessreviews"): "SelfSubjectAccessReview",
    ("authorization.k8s.io", "selfsubjectrulesreviews"): "SelfSubjectRulesReview",
    ("authorization.k8s.io", "subjectaccessreviews"): "SubjectAccessReview",
    ("authorization.k8s.io", "localsubjectaccessreviews"): "LocalSubjectAccessReview",
    ("authentication.k8s.io", "selfsubjectreviews"): "SelfSubjectReview",
    ("authentication.k8s.io", "tokenreviews"): "TokenReview",
}
"""The reviews that this lab answers: (group, plural) to kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who posts a review and where: the user, the path's namespace ("" without one), what the answers come from."""

    user: User
    namespace: str
    authoriser: Authoriser
    identities: Identities


def review(kind: str, body: Mapping[str, Any], asker: Asker) -> Json:
    """Answer a posted review; ApiError where the body is of another kind or asks for nothing."""
    if body.get("kind") not in (None, kind):
        raise bad_request(f'the object provided is unrecognized (must be of type {kind}): "{body.get("kind")}"')
    if kind == "SelfSubjectReview":
        return own_review(asker.user)
    if kind == "TokenReview":
        return token_review(body, asker.identities, now_s=time.time())
    if kind == "SelfSubjectRulesReview":
        return rules_review(body, asker.user, asker.authoriser)
    if kind == "SelfSubjectAccessReview":
        return own_access_review(body, asker.user, asker.authoriser)
    if kind == "SubjectAccessReview":
        return access_review(body, asker.authoriser)
    return local_access_review(body, asker.namespace, asker.authoriser)
