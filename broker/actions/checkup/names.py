"""The SSH aliases that `doctor` tries: of its target, and of the longest name of a VM that it can know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from broker.errors import BrokerError
from broker.kube.answer import Call
from broker.kube.resources import VIRTUAL_MACHINES
from broker.model.pages import decode
from broker.refs import LABEL_LIMIT, is_name

if TYPE_CHECKING:
    from broker.kube.rest import Rest
    from broker.refs import Target

LONGEST: Final = f"{'n' * LABEL_LIMIT}.{'s' * LABEL_LIMIT}.vm"
"""An alias of a name and a namespace of 63 characters each (case C-013)."""
LIMIT: Final = 500
"""VMs whose names are looked at, at most."""
_ACCEPT: Final = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"


class _Meta(msgspec.Struct, frozen=True):
    name: str = ""
    namespace: str = ""


class _Named(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()


class _Names(msgspec.Struct, frozen=True):
    items: list[_Named] | None = None


_NAMES = msgspec.json.Decoder(_Names)


async def longest_known(rest: Rest, namespace: str) -> str | None:
    """Return the longest alias of a VM that may be listed, of all namespaces or of this one; None where nothing can be."""
    for place in (None, namespace):
        path = f"{VIRTUAL_MACHINES.path(place)}?limit={LIMIT}"
        call = Call(verb="list", resource=VIRTUAL_MACHINES.plural, path=path, namespace=place)
        try:
            body = await rest.get(path, call, accept=_ACCEPT)
            named = decode(_NAMES.decode, body, "list of VM names").items or []
        except BrokerError:
            continue
        aliases = [
            f"{each.metadata.name}.{each.metadata.namespace}.vm"
            for each in named
            if is_name(each.metadata.name) and is_name(each.metadata.namespace)
        ]
        if aliases:
            return max(aliases, key=len)
    return None


def aliases_to_try(known: str | None, target: Target | None, namespace: str | None) -> tuple[str, ...]:
    """Return the longest alias (of all that are legal where none is known) and the target's own, where it can be named."""
    found = [known or LONGEST]
    where = (target.namespace or namespace) if target is not None else None
    if target is not None and where is not None:
        found.append(f"{target.name}.{where}.vm")
    return tuple(dict.fromkeys(found))
