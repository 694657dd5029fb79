"""Objects of one kind by namespace and name, and what changed when new ones came. **Pure.**"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, Literal, Protocol, TypeVar

from broker.model.meta import Meta


class Named(Protocol):
    """An object of the cluster, as far as a watch must know it."""

    @property
    def metadata(self) -> Meta:
        """Its ObjectMeta."""
        ...


T = TypeVar("T", bound=Named)
Key = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(Generic[T]):
    """One object came, changed or went; `obj` is its newest state known, for `removed` the last one."""

    kind: Literal["added", "changed", "removed"]
    key: Key
    obj: T


class ObjectMap(Generic[T]):
    """The objects as they are known; each method returns the changes it made, none where nothing is new."""

    def __init__(self) -> None:
        self._objects: dict[Key, T] = {}

    @property
    def view(self) -> Mapping[Key, T]:
        """A live view that nobody can change."""
        return MappingProxyType(self._objects)

    def replace(self, fresh: Mapping[Key, T]) -> tuple[Change[T], ...]:
        """Take a whole list in place of everything."""
        gone = [key for key in self._objects if key not in fresh]
        changes = [Change(kind="removed", key=key, obj=self._objects.pop(key)) for key in gone]
        for key, obj in fresh.items():
            changes += self._put(key, obj)
        return tuple(changes)

    def put(self, obj: T) -> tuple[Change[T], ...]:
        """Take one object; one of the same name and another uid is first removed."""
        return tuple(self._put(key_of(obj.metadata), obj))

    def remove(self, key: Key, last: T | None = None) -> tuple[Change[T], ...]:
        """Forget one object; `last` is its last state where that is newer than ours."""
        known = self._objects.pop(key, None)
        return () if known is None else (Change(kind="removed", key=key, obj=last or known),)

    def _put(self, key: Key, obj: T) -> Iterator[Change[T]]:
        old = self._objects.get(key)
        self._objects[key] = obj
        new = obj.metadata
        if old is None:
            yield Change(kind="added", key=key, obj=obj)
        elif old.metadata.uid != new.uid:
            yield Change(kind="removed", key=key, obj=old)
            yield Change(kind="added", key=key, obj=obj)
        elif old.metadata.resource_version != new.resource_version or not new.resource_version:
            yield Change(kind="changed", key=key, obj=obj)


def key_of(meta: Meta) -> Key:
    """Return what an object is kept under."""
    return (meta.namespace, meta.name)
