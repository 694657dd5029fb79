"""Acting as somebody else: the Impersonate headers and the rights they take (apiserver/pkg/endpoints/filters)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import unquote

from multidict import CIMultiDictProxy

from broker.lab.answers import ApiError, forbidden
from broker.lab.authn import AUTHENTICATED, User, service_account
from broker.lab.rbac import Attributes, Authoriser

__all__ = ["impersonated"]

_EXTRA = "impersonate-extra-"
_USER_EXTRAS = "userextras"


def impersonated(headers: CIMultiDictProxy[str], user: User, asked: Attributes, authoriser: Authoriser) -> User:
    """Return the user that the request acts as, itself without Impersonate headers.

    ApiError 403 in the words of 1.36 (constrained impersonation's verb), 500 for groups without a user.
    """
    name = headers.get("Impersonate-User", "")
    groups = headers.getall("Impersonate-Group", [])
    uid = headers.get("Impersonate-Uid", "")
    extra = _extra(headers)
    if not name:
        if groups or uid or extra:
            raise ApiError(
                500, "InternalError", "Internal error occurred: requested impersonation without impersonating a user"
            )
        return user
    for question in _questions(name, groups, uid, extra):
        if not authoriser.allowed(user, question).allowed:
            raise forbidden(user, replace(asked, verb=f"impersonate-on:user-info:{asked.verb}"))
    if name.startswith("system:serviceaccount:") and name.count(":") == 3:
        namespace, account = name.split(":")[2:]
        given = tuple(groups) or service_account(namespace, account).groups
    else:
        given = tuple(groups)
    if name != "system:anonymous":
        given = tuple(dict.fromkeys((*given, AUTHENTICATED)))
    return User(name=name, uid=uid, groups=given, extra=extra)


def _questions(name: str, groups: list[str], uid: str, extra: Mapping[str, tuple[str, ...]]) -> list[Attributes]:
    if name.startswith("system:serviceaccount:") and name.count(":") == 3:
        namespace, account = name.split(":")[2:]
        found = [Attributes(verb="impersonate", resource="serviceaccounts", namespace=namespace, name=account)]
    else:
        found = [Attributes(verb="impersonate", resource="users", name=name)]
    found += [Attributes(verb="impersonate", resource="groups", name=group) for group in groups]
    group = "authentication.k8s.io"
    if uid:
        found.append(Attributes(verb="impersonate", group=group, resource="uids", name=uid))
    for key, values in extra.items():
        for value in values:
            found.append(Attributes(verb="impersonate", group=group, resource=_USER_EXTRAS, subresource=key, name=value))
    return found


def _extra(headers: CIMultiDictProxy[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for key, value in headers.items():
        if key.lower().startswith(_EXTRA):
            name = unquote(key[len(_EXTRA) :]).lower()
            found[name] = (*found.get(name, ()), value)
    return found
