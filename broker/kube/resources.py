"""What we read of the API: paths and decoders of each kind. **Pure.**

Paths are relative to the server's prefix; names come from `broker.refs` and need no escaping, and are escaped all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar
from urllib.parse import quote, urlencode

from broker.model.pages import Page, decode_vm, decode_vm_page, decode_vmi, decode_vmi_page
from broker.model.vm import VirtualMachine
from broker.model.vmi import VirtualMachineInstance

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource(Generic[T]):
    """A kind that is read: its API group and version, plural, and how one object and one page are decoded."""

    group: str
    version: str
    plural: str
    decode: Callable[[bytes], T]
    decode_page: Callable[[bytes], Page[T]]

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """Return the path of one object, of a namespace's list, or (namespace None) of the whole cluster's list."""
        parts = ["/apis", self.group, self.version]
        parts += ["namespaces", quote(namespace, safe="")] if namespace else []
        parts.append(self.plural)
        parts += [quote(name, safe="")] if name else []
        return "/".join(parts)


VIRTUAL_MACHINES: Final[Resource[VirtualMachine]] = Resource(
    group="kubevirt.io", version="v1", plural="virtualmachines", decode=decode_vm, decode_page=decode_vm_page
)
VIRTUAL_MACHINE_INSTANCES: Final[Resource[VirtualMachineInstance]] = Resource(
    group="kubevirt.io", version="v1", plural="virtualmachineinstances", decode=decode_vmi, decode_page=decode_vmi_page
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which objects of a kind: `namespace` None means the whole cluster, `name` one object, `selector` its labels."""

    namespace: str | None = None
    name: str | None = None
    selector: str | None = None


def list_query(*, limit: int, continue_token: str = "", selector: str | None = None, name: str | None = None) -> str:
    """Return the query of one page of a list, escaped; `limit` 0 asks for all (API concepts, "large results sets")."""
    pairs = [("limit", str(limit))] if limit else []
    pairs += [("continue", continue_token)] if continue_token else []
    return urlencode(pairs + _selection(selector, name))


def watch_query(*, resource_version: str, timeout_s: float, selector: str | None = None, name: str | None = None) -> str:
    """Return the query of a watch with bookmarks, escaped (API concepts, "efficient detection of changes")."""
    pairs = [("watch", "1"), ("allowWatchBookmarks", "true"), ("resourceVersion", resource_version)]
    pairs.append(("timeoutSeconds", str(max(round(timeout_s), 1))))
    return urlencode(pairs + _selection(selector, name))


def _selection(selector: str | None, name: str | None) -> list[tuple[str, str]]:
    """Custom resources select on metadata.name and metadata.namespace only (kubevirt.md M2)."""
    pairs = [("labelSelector", selector)] if selector else []
    return pairs + ([("fieldSelector", f"metadata.name={name}")] if name else [])
