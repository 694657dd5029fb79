"""ClusterRole, as far as it says which rights it holds. **Pure.** (rbac.authorization.k8s.io/v1)"""

from __future__ import annotations

import msgspec

from broker.model.meta import Meta, Struct
from broker.model.pages import decode


class Rule(Struct, frozen=True):
    """One rule: any of the verbs on any of the resources of any of the groups; `*` means all."""

    verbs: list[str] | None = None
    api_groups: list[str] | None = None
    resources: list[str] | None = None
    resource_names: list[str] | None = None


class ClusterRole(Struct, frozen=True):
    """One ClusterRole."""

    metadata: Meta = Meta()
    rules: list[Rule] | None = None


class _RoleList(Struct, frozen=True):
    items: list[ClusterRole] | None = None


_ROLES = msgspec.json.Decoder(_RoleList)


def decode_cluster_roles(body: bytes) -> list[ClusterRole]:
    """Decode a list of ClusterRoles; Failed (`unreadable-answer`) when the bytes are none."""
    return decode(_ROLES.decode, body, "list of ClusterRoles").items or []
