"""CustomResourceDefinitions from files: what they declare, as resources, objects to list and schemas to show."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import yaml

from broker.lab.crd_shape import mistake_in
from broker.lab.objects import timestamp
from broker.lab.resources import Resource, resource_of_crd

__all__ = ["CRDS", "Definitions", "read_definitions"]

Json = dict[str, Any]
CRDS = "customresourcedefinitions.apiextensions.k8s.io"
_FILE_LIMIT_BYTES = 16 * 1024 * 1024
_ALL_LIMIT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Definitions:
    """What a folder of CRD files declares; `schemas` has each kind's schema as JSON text by (group, version, kind)."""

    resources: tuple[Resource, ...] = ()
    objects: tuple[bytes, ...] = ()
    schemas: Mapping[tuple[str, str, str], bytes] = field(default_factory=dict)

    def decoded(self) -> Iterator[Json]:
        """Yield each definition as an object of the cluster, established and with its accepted names."""
        for text in self.objects:
            decoded: Json = msgspec.json.decode(text)
            yield decoded


def read_definitions(folder: Path) -> Definitions:
    """Read every CRD in a folder's YAML and JSON files; ValueError, naming file and field, where that cannot be.

    Other objects in the files, and what is no regular file, are passed over; files of more than 64 MiB in all are refused.
    Parsing half a dozen MiB takes about a second.
    """
    resources: dict[tuple[str, str], Resource] = {}
    objects: dict[str, bytes] = {}
    schemas: dict[tuple[str, str, str], bytes] = {}
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml", ".json") and path.is_file())
        size = sum(path.stat().st_size for path in files)
    except OSError as exc:
        raise ValueError(f"{folder} cannot be read: {exc.strerror}") from exc
    if size > _ALL_LIMIT_BYTES:
        raise ValueError(f"the files in {folder} are larger than {_ALL_LIMIT_BYTES // 1024 // 1024} MiB together")
    for path in files:
        for crd in _definitions_in(path):
            if mistake := mistake_in(crd):
                raise ValueError(f"{path.name}, CustomResourceDefinition {_name_of(crd)}: {mistake}")
            try:
                resource = resource_of_crd(crd)
                for version in crd["spec"]["versions"]:
                    schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
                    schemas[resource.group, version["name"], resource.kind] = msgspec.json.encode(schema)
                objects[crd["metadata"]["name"]] = msgspec.json.encode(_established(crd))
            except (TypeError, ValueError, RecursionError, OverflowError) as exc:
                told = f"{path.name}, CustomResourceDefinition {_name_of(crd)}: it holds what JSON cannot say"
                raise ValueError(told) from exc
            resources[resource.group, resource.plural] = resource
    if not resources:
        raise ValueError(f"{folder} holds no CustomResourceDefinition")
    return Definitions(resources=tuple(resources.values()), objects=tuple(objects.values()), schemas=schemas)


def _definitions_in(path: Path) -> Iterator[Json]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        # A pipe that took the file's place since would be waited for without this flag.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise ValueError(f"{path.name} is no regular file")
            text = stream.read(_FILE_LIMIT_BYTES + 1)
        if len(text) > _FILE_LIMIT_BYTES:
            raise ValueError(f"{path.name} is larger than {_FILE_LIMIT_BYTES // 1024 // 1024} MiB")
    except OSError as exc:
        raise ValueError(f"{path.name} cannot be read: {exc.strerror}") from exc
    try:
        for document in yaml.load_all(text, loader):
            if isinstance(document, dict) and document.get("kind") == "CustomResourceDefinition":
                yield document
    except yaml.MarkedYAMLError as exc:
        line = f", line {exc.problem_mark.line + 1}" if exc.problem_mark is not None else ""
        raise ValueError(f"{path.name}{line} is no YAML: {exc.problem or exc.context or 'broken'}") from exc
    except (yaml.YAMLError, RecursionError) as exc:
        raise ValueError(f"{path.name} is no YAML, or nested too deep") from exc
    except (TypeError, ValueError, AttributeError, LookupError, OverflowError) as exc:
        # What the YAML reader's own constructors raise for a value that only looks like a date, a number or a key.
        raise ValueError(f"{path.name} holds a value that cannot be read") from exc


def _name_of(crd: Json) -> str:
    metadata = crd.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return ascii(name[:80]) if isinstance(name, str) and name else "without a name"


def _established(crd: Json) -> Json:
    """The definition as the API server keeps it: with defaults for names, and the status of one that is served."""
    spec = dict(crd["spec"])
    names = {**spec["names"]}
    names.setdefault("listKind", f"{names['kind']}List")
    names.setdefault("singular", names["kind"].lower())
    spec["names"] = names
    spec.setdefault("conversion", {"strategy": "None"})
    now = timestamp()
    conditions = [
        {
            "type": "NamesAccepted",
            "status": "True",
            "lastTransitionTime": now,
            "reason": "NoConflicts",
            "message": "no conflicts found",
        },
        {
            "type": "Established",
            "status": "True",
            "lastTransitionTime": now,
            "reason": "InitialNamesAccepted",
            "message": "the initial names have been accepted",
        },
    ]
    stored = [version["name"] for version in spec["versions"] if version.get("storage")]
    metadata = {key: value for key, value in crd["metadata"].items() if key in ("name", "labels", "annotations")}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": spec,
        "status": {"conditions": conditions, "acceptedNames": names, "storedVersions": stored},
    }
