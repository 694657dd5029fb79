"""What the pretend cluster serves: groups, versions, kinds, names, columns and verbs, as a catalogue to look things up in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "BUILT_IN_VERBS",
    "CUSTOM_VERBS",
    "Catalogue",
    "Column",
    "GroupVersion",
    "Resource",
    "Subresource",
    "resource_of_crd",
]

BUILT_IN_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
CUSTOM_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a Table (additionalPrinterColumns of a CRD): `path` is a JSONPath; priority above 0: `-o wide` only."""

    name: str
    type: str
    path: str = ""
    format: str = ""
    priority: int = 0
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subresource:
    """One subresource in discovery. Empty group and version mean those of the resource itself."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One resource of one group. `versions` are those served, the stored one is `storage_version`.

    `is_custom`: defined by a CRD (its lists, selectors and columns differ); `is_virtual`: only created, never stored (reviews).
    """

    group: str
    versions: tuple[str, ...]
    storage_version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = BUILT_IN_VERBS
    subresources: tuple[Subresource, ...] = ()
    columns: tuple[Column, ...] = ()
    is_custom: bool = False
    deprecations: Mapping[str, str] = field(default_factory=dict)
    """For each version that is deprecated the text of its warning."""

    @property
    def name(self) -> str:
        """The name the store and error texts use: `virtualmachines.kubevirt.io`, in the core group `pods`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def is_virtual(self) -> bool:
        """Whether nothing of this resource is ever stored or read."""
        return "get" not in self.verbs and "list" not in self.verbs

    def api_version(self, version: str) -> str:
        """Return the apiVersion of an object of this resource in `version`."""
        return f"{self.group}/{version}" if self.group else version

    def subresource(self, name: str) -> Subresource | None:
        """Return a declared subresource, or None."""
        return next((sub for sub in self.subresources if sub.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupVersion:
    """One version of one group (the core group's name is empty)."""

    group: str
    version: str

    @property
    def text(self) -> str:
        """`kubevirt.io/v1`, for the core group `v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version


@dataclass(slots=True, kw_only=True)
class Catalogue:
    """The served resources, with the groups in the order and the versions in the preference that discovery shows.

    `generation` counts the changes, so that a document made from a catalogue can be kept until the next one.
    """

    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    generation: int = 0
    _resources: dict[tuple[str, str], Resource] = field(default_factory=dict)

    def add_group(self, group: str, versions: Iterable[str]) -> None:
        """Serve a group in these versions, preferred one first, behind the groups that are there."""
        self.groups[group] = tuple(versions)
        self.generation += 1

    def add(self, resource: Resource) -> None:
        """Serve a resource; its group and versions are added when they are new."""
        known = self.groups.get(resource.group, ())
        self.groups[resource.group] = (*known, *(v for v in resource.versions if v not in known))
        self._resources[resource.group, resource.plural] = resource
        self.generation += 1

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """Return a resource served in that version, or None."""
        resource = self._resources.get((group, plural))
        return resource if resource is not None and version in resource.versions else None

    def named(self, name: str) -> Resource | None:
        """Return a resource by the store's name (`virtualmachines.kubevirt.io`, `pods`), or None."""
        plural, _, group = name.partition(".")
        return self._resources.get((group, plural))

    def serves(self, group: str, version: str) -> bool:
        """Whether that version of that group is served."""
        return version in self.groups.get(group, ())

    def is_custom_group(self, group: str) -> bool:
        """Whether a group holds CRDs only (an unknown name in it gets a plain 404, not a Status)."""
        return all(r.is_custom for r in self._resources.values() if r.group == group)

    def in_version(self, group: str, version: str) -> list[Resource]:
        """Return the resources of one group version by name."""
        found = (r for r in self._resources.values() if r.group == group and version in r.versions)
        return sorted(found, key=lambda r: r.plural)

    def all(self) -> list[Resource]:
        """Return every resource, by group and name."""
        return [self._resources[key] for key in sorted(self._resources)]


def resource_of_crd(crd: Mapping[str, Any]) -> Resource:
    """Return the resource that a CustomResourceDefinition (apiextensions.k8s.io/v1) declares. KeyError without names."""
    spec = crd["spec"]
    names = spec["names"]
    served = [version for version in spec["versions"] if version.get("served")]
    stored = next((version for version in spec["versions"] if version.get("storage")), served[0])
    kind = names["kind"]
    declared = stored.get("subresources") or {}
    return Resource(
        group=spec["group"],
        versions=tuple(sorted((v["name"] for v in served), key=_version_rank)),
        storage_version=stored["name"],
        kind=kind,
        plural=names["plural"],
        singular=names.get("singular") or kind.lower(),
        namespaced=spec["scope"] == "Namespaced",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        verbs=CUSTOM_VERBS,
        subresources=custom_subresources(kind, status="status" in declared, scale="scale" in declared),
        columns=tuple(
            Column(
                name=column["name"],
                type=column["type"],
                path=column["jsonPath"],
                format=column.get("format", ""),
                priority=column.get("priority", 0),
                description=column.get("description", ""),
            )
            for column in stored.get("additionalPrinterColumns") or ()
        ),
        is_custom=True,
        deprecations={
            version["name"]: version.get("deprecationWarning") or f"{spec['group']}/{version['name']} {kind} is deprecated"
            for version in served
            if version.get("deprecated")
        },
    )


def custom_subresources(kind: str, *, status: bool, scale: bool) -> tuple[Subresource, ...]:
    """Return the subresources that a CRD of `kind` may declare, as discovery lists them."""
    verbs = ("get", "patch", "update")
    found = []
    if status:
        found.append(Subresource(name="status", kind=kind, verbs=verbs))
    if scale:
        found.append(Subresource(name="scale", kind="Scale", verbs=verbs, group="autoscaling", version="v1"))
    return tuple(found)


def _version_rank(version: str) -> tuple[int, int, int]:
    """Order versions as Kubernetes prefers them: v2, v1, v1beta2, v1beta1, v1alpha1, then anything else."""
    digits = version.removeprefix("v")
    for rank, word in ((0, ""), (1, "beta"), (2, "alpha")):
        major, _, minor = digits.partition(word) if word else (digits, "", "0")
        if major.isdigit() and minor.isdigit() and version.startswith("v"):
            return (rank, -int(major), -int(minor))
    return (3, 0, 0)
