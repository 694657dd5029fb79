"""What every Kubernetes object carries: names, times, owners, conditions. **Pure.**

Every struct drops unknown fields and takes absent ones; a null list reads as None.
"""

from __future__ import annotations

from datetime import datetime

import msgspec


class Struct(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """The base of all read models: frozen, camelCase on the wire, out of the garbage collector's sight."""


class Present(Struct, frozen=True):
    """An object whose being there is all that counts, such as `masquerade: {}`."""


class OwnerReference(Struct, frozen=True):
    """One entry of `metadata.ownerReferences`."""

    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None


class Meta(Struct, frozen=True):
    """The read part of ObjectMeta; times are RFC 3339 texts as the server wrote them."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[OwnerReference] | None = None


class Condition(Struct, frozen=True):
    """One entry of `status.conditions`; `status` is True, False or Unknown as text."""

    type: str = ""
    status: str = ""
    reason: str | None = None
    message: str | None = None
    last_transition_time: str | None = None


def condition(conditions: list[Condition] | None, kind: str) -> Condition | None:
    """Return the condition of this type, None where the object has none."""
    for entry in conditions or ():
        if entry.type == kind:
            return entry
    return None


def holds(conditions: list[Condition] | None, kind: str) -> bool:
    """Say whether a condition of this type is there with status True."""
    found = condition(conditions, kind)
    return found is not None and found.status == "True"


def seconds(timestamp: str | None) -> float | None:
    """Turn an RFC 3339 time into seconds since the epoch; None for an absent or unreadable one."""
    if not timestamp:
        return None
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo is not None else None
