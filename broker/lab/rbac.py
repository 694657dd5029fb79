"""What a user may do: Roles, ClusterRoles and their bindings in the store, evaluated as Kubernetes' RBAC authoriser does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from broker.lab.authn import User
from broker.lab.objects import Objects

__all__ = ["Attributes", "Authoriser", "Decision"]

Json = dict[str, Any]
_GROUP = "rbac.authorization.k8s.io"
ROLES, CLUSTER_ROLES = f"roles.{_GROUP}", f"clusterroles.{_GROUP}"
BINDINGS, CLUSTER_BINDINGS = f"rolebindings.{_GROUP}", f"clusterrolebindings.{_GROUP}"
_ALL = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """One question to the authoriser. A question about a URL outside the resources has `path` and no resource."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer: allowed or not, with the text that Kubernetes gives for an allowance ("" for a refusal)."""

    allowed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grant:
    """One binding that names the user: its rules and the words of the allowance."""

    rules: tuple[Mapping[str, Any], ...]
    reason: str


class Authoriser:
    """RBAC over the Role and Binding objects of the store; sees their changes at once."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._version = -1
        self._cluster: list[Json] = []
        self._bindings: dict[str, list[Json]] = {}
        self._roles: dict[tuple[str, str], tuple[Mapping[str, Any], ...]] = {}

    def allowed(self, user: User, attributes: Attributes) -> Decision:
        """Decide whether `user` may do what `attributes` describe."""
        if "system:masters" in user.groups:
            return Decision(allowed=True)
        for grant in self._grants(user, attributes.namespace):
            if any(_permits(rule, attributes) for rule in grant.rules):
                return Decision(allowed=True, reason=grant.reason)
        return Decision(allowed=False)

    def rules(self, user: User, namespace: str) -> tuple[list[Json], list[Json]]:
        """Return what SelfSubjectRulesReview lists: resource rules and non-resource rules of a namespace."""
        resources: list[Json] = []
        urls: list[Json] = []
        if "system:masters" in user.groups:
            resources.append({"verbs": [_ALL], "apiGroups": [_ALL], "resources": [_ALL]})
            urls.append({"verbs": [_ALL], "nonResourceURLs": [_ALL]})
        for grant in self._grants(user, namespace):
            for rule in grant.rules:
                if rule.get("nonResourceURLs"):
                    urls.append({"verbs": rule["verbs"], "nonResourceURLs": rule["nonResourceURLs"]})
                else:
                    kept = ("verbs", "apiGroups", "resources", "resourceNames")
                    resources.append({key: rule[key] for key in kept if rule.get(key)})
        return resources, urls

    def _grants(self, user: User, namespace: str) -> Iterator[_Grant]:
        self._refresh()
        for binding in self._cluster:
            yield from self._grant(binding, user, "")
        if namespace:
            for binding in self._bindings.get(namespace, ()):
                yield from self._grant(binding, user, namespace)

    def _grant(self, binding: Json, user: User, namespace: str) -> Iterator[_Grant]:
        reference = binding["roleRef"]
        for subject in binding.get("subjects") or ():
            words = _names(subject, user, namespace)
            if words is None:
                continue
            name = binding["metadata"]["name"]
            kind = f'RoleBinding "{name}/{namespace}"' if namespace else f'ClusterRoleBinding "{name}"'
            place = namespace if reference["kind"] == "Role" else ""
            reason = f'RBAC: allowed by {kind} of {reference["kind"]} "{reference["name"]}" to {words}'
            yield _Grant(rules=self._roles.get((place, reference["name"]), ()), reason=reason)
            return

    def _refresh(self) -> None:
        """Read roles and bindings again where anything changed since the last question."""
        version = max((self._objects.newest(name) for name in (ROLES, CLUSTER_ROLES, BINDINGS, CLUSTER_BINDINGS)), default=0)
        if version == self._version:
            return
        self._version = version
        self._cluster = list(self._objects.select(CLUSTER_BINDINGS))
        self._bindings = {}
        for binding in self._objects.select(BINDINGS):
            self._bindings.setdefault(binding["metadata"]["namespace"], []).append(binding)
        cluster_roles = list(self._objects.select(CLUSTER_ROLES))
        self._roles = {
            (role["metadata"]["namespace"], role["metadata"]["name"]): tuple(role.get("rules") or ())
            for role in self._objects.select(ROLES)
        }
        for role in cluster_roles:
            self._roles["", role["metadata"]["name"]] = _distinct(_rules(role, cluster_roles, set()))


def _distinct(rules: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """Each rule once, as Kubernetes' aggregation controller (clusterroleaggregation_controller.go) writes them."""
    kept: list[Mapping[str, Any]] = []
    for rule in rules:
        if rule not in kept:
            kept.append(rule)
    return tuple(kept)


def _rules(role: Json, all_roles: list[Json], seen: set[str]) -> Iterator[Mapping[str, Any]]:
    """A ClusterRole's rules with those that its aggregationRule draws in (roles may aggregate roles that aggregate)."""
    name = role["metadata"]["name"]
    if name in seen:
        return
    seen.add(name)
    yield from role.get("rules") or ()
    for selector in (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or ():
        wanted = selector.get("matchLabels") or {}
        for other in all_roles:
            labels = other["metadata"].get("labels") or {}
            if wanted and all(labels.get(key) == value for key, value in wanted.items()):
                yield from _rules(other, all_roles, seen)


def _names(subject: Json, user: User, namespace: str) -> str | None:
    """The words by which a subject names the user, None where it does not."""
    kind, name = subject["kind"], subject["name"]
    if kind == "User" and name == user.name:
        return f'User "{name}"'
    if kind == "Group" and name in user.groups:
        return f'Group "{name}"'
    if kind == "ServiceAccount":
        place = subject.get("namespace") or namespace
        if user.name == f"system:serviceaccount:{place}:{name}":
            return f'ServiceAccount "{name}/{place}"'
    return None


def _permits(rule: Mapping[str, Any], asked: Attributes) -> bool:
    if not _holds(rule.get("verbs"), asked.verb):
        return False
    if asked.path:
        return any(url in (_ALL, asked.path) or _is_under(asked.path, url) for url in rule.get("nonResourceURLs") or ())
    if not _holds(rule.get("apiGroups"), asked.group):
        return False
    whole = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    resources = rule.get("resources") or ()
    if not (_holds(resources, whole) or (asked.subresource and f"*/{asked.subresource}" in resources)):
        return False
    names = rule.get("resourceNames") or ()
    return not names or asked.name in names


def _holds(words: Any, word: str) -> bool:
    return bool(words) and (_ALL in words or word in words)


def _is_under(path: str, url: str) -> bool:
    return url.endswith("*") and path.startswith(url[:-1])
