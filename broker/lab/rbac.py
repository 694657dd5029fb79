"""What a user may do: Roles, ClusterRoles and their bindings in the store, evaluated as Kubernetes' RBAC authoriser does."""

from __future__ import annotations

from dataclasses import dataclass

from broker.lab.authn import User
from broker.lab.objects import Objects

__all__ = ["Attributes", "Authoriser", "Decision"]


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


class Authoriser:
    """RBAC over the Role and Binding objects of the store; sees their changes at once."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def allowed(self, user: User, attributes: Attributes) -> Decision:
        """Decide whether `user` may do what `attributes` describe."""
        raise NotImplementedError
