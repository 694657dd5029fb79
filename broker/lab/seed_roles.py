"""Kubernetes' own default roles, as kube-apiserver 1.36 makes them (plugin/pkg/auth/authorizer/rbac/bootstrappolicy)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["default_roles"]

Json = dict[str, Any]
_VERBS = {"read": "get,list,watch", "change": "create,delete,deletecollection,patch,update"}
_VERBS["all"] = "create,delete,deletecollection,get,list,patch,update,watch"

# verbs, API groups ("-" is the core group), resources
_VIEW = """
read - configmaps,endpoints,persistentvolumeclaims,persistentvolumeclaims/status,pods,replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,services/status
read - bindings,limitranges,namespaces/status,pods/log,pods/status,replicationcontrollers/status,resourcequotas,resourcequotas/status
read - namespaces
read -,events.k8s.io events
read discovery.k8s.io endpointslices
read apps controllerrevisions,daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,replicasets,replicasets/scale,replicasets/status,statefulsets,statefulsets/scale,statefulsets/status
read autoscaling horizontalpodautoscalers,horizontalpodautoscalers/status
read batch cronjobs,cronjobs/status,jobs,jobs/status
read extensions daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,ingresses,ingresses/status,networkpolicies,replicasets,replicasets/scale,replicasets/status,replicationcontrollers/scale
read policy poddisruptionbudgets,poddisruptionbudgets/status
read networking.k8s.io ingresses,ingresses/status,networkpolicies
read resource.k8s.io resourceclaims,resourceclaims/status,resourceclaimtemplates
"""  # noqa: E501
_EDIT = """
read - pods/attach,pods/exec,pods/portforward,pods/proxy,secrets,services/proxy
impersonate - serviceaccounts
change - pods,pods/attach,pods/exec,pods/portforward,pods/proxy
create - pods/eviction
change - configmaps,persistentvolumeclaims,replicationcontrollers,replicationcontrollers/scale,secrets,serviceaccounts,services,services/proxy
create - serviceaccounts/token
change -,events.k8s.io events
change apps daemonsets,deployments,deployments/rollback,deployments/scale,replicasets,replicasets/scale,statefulsets,statefulsets/scale
change autoscaling horizontalpodautoscalers
change batch cronjobs,jobs
change extensions daemonsets,deployments,deployments/rollback,deployments/scale,ingresses,networkpolicies,replicasets,replicasets/scale,replicationcontrollers/scale
change policy poddisruptionbudgets
change networking.k8s.io ingresses,networkpolicies
all coordination.k8s.io leases
change resource.k8s.io resourceclaims,resourceclaimtemplates
"""  # noqa: E501
_ADMIN = """
create authorization.k8s.io localsubjectaccessreviews
all rbac.authorization.k8s.io rolebindings,roles
"""
_BASIC_USER = """
create authorization.k8s.io selfsubjectaccessreviews,selfsubjectrulesreviews
create authentication.k8s.io selfsubjectreviews
"""
_AUTH_DELEGATOR = """
create authentication.k8s.io tokenreviews
create authorization.k8s.io subjectaccessreviews
"""
_PUBLIC_URLS = ("/healthz", "/livez", "/readyz", "/version", "/version/")
_DISCOVERY_URLS = (
    "/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version", "/version/",
)  # fmt: skip
_LABEL = "rbac.authorization.k8s.io/aggregate-to-"


def default_roles() -> Iterable[Json]:
    """Yield each ClusterRole with name, rules and, for the roles that others are made of, its labels and aggregationRule."""
    yield _role("cluster-admin", [*_rules("* * *"), {"verbs": ["*"], "nonResourceURLs": ["*"]}])
    yield _role("system:discovery", [{"verbs": ["get"], "nonResourceURLs": list(_DISCOVERY_URLS)}])
    yield _role("system:public-info-viewer", [{"verbs": ["get"], "nonResourceURLs": list(_PUBLIC_URLS)}])
    yield _role("system:basic-user", _rules(_BASIC_USER))
    yield _role("system:auth-delegator", _rules(_AUTH_DELEGATOR))
    yield _role("view", [], part_of="edit", made_of="view")
    yield _role("edit", [], part_of="admin", made_of="edit")
    yield _role("admin", [], made_of="admin")
    for name, rows in (("view", _VIEW), ("edit", _EDIT), ("admin", _ADMIN)):
        yield _role(f"system:aggregate-to-{name}", _rules(rows), part_of=name)


def _rules(rows: str) -> list[Json]:
    found: list[Json] = []
    for verbs, groups, resources in (line.split() for line in rows.splitlines() if line):
        named = ["" if group == "-" else group for group in groups.split(",")]
        words = _VERBS.get(verbs, verbs).split(",")
        found.append({"verbs": words, "apiGroups": named, "resources": resources.split(",")})
    return found


def _role(name: str, rules: list[Json], *, part_of: str = "", made_of: str = "") -> Json:
    metadata: Json = {"name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}
    if part_of:
        metadata["labels"][_LABEL + part_of] = "true"
    role: Json = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata, "rules": rules}
    if made_of:
        role["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {_LABEL + made_of: "true"}}]}
    return role
