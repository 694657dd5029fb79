"""Objects as the rows that `kubectl get` prints (meta.k8s.io/v1 Table), and as metadata alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from broker.lab.ages import age_of, since
from broker.lab.built_in_columns import BUILT_IN, NAMELESS
from broker.lab.resources import Resource

__all__ = ["column_definitions", "metadata_only", "row"]

Json = dict[str, Any]
_NAME_TEXT = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client"
    " to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and"
    " configuration definition. Cannot be updated. More info:"
    " https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
)
_CREATED_TEXT = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be"
    " set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339"
    " form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info:"
    " https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)
_TOKEN = re.compile(
    r"\.(?P<key>(?:\\\.|[^.\[\]])+)|\[(?P<index>\d+|\*)\]|\[\?\(@\.(?P<field>\w+)==['\"](?P<value>[^'\"]*)['\"]\)\]"
)


def column_definitions(resource: Resource) -> list[Json]:
    """Return the columns of a resource: those of its CRD, of our table for built-in ones, else Name and Age."""
    found = [] if resource.name in NAMELESS else [_definition("Name", "string", "name", _NAME_TEXT)]
    if resource.name in BUILT_IN:
        return found + [_definition(title, kind, "", "", wide) for title, kind, wide, _ in BUILT_IN[resource.name]]
    if resource.columns:
        for column in resource.columns:
            text = column.description or f"Custom resource definition column (in JSONPath format): {column.path}"
            found.append(_definition(column.name, column.type, column.format, text, column.priority))
        return found
    return [*found, _definition("Age", "date" if resource.is_custom else "string", "", _CREATED_TEXT)]


def row(resource: Resource, obj: Mapping[str, Any], include: str) -> Json:
    """Return one row; `include` is the query's includeObject: Metadata (default), Object or None."""
    cells: list[Any] = [] if resource.name in NAMELESS else [obj["metadata"]["name"]]
    if resource.name in BUILT_IN:
        cells += [cell(obj) for _, _, _, cell in BUILT_IN[resource.name]]
    elif resource.columns:
        cells += [_cell(obj, column.path, column.type) for column in resource.columns]
    else:
        cells.append(age_of(obj))
    if include == "Object":
        return {"cells": cells, "object": dict(obj)}
    if include == "None":
        return {"cells": cells, "object": None}
    return {"cells": cells, "object": metadata_only(obj)}


def metadata_only(obj: Mapping[str, Any]) -> Json:
    """Return an object's metadata as a PartialObjectMetadata."""
    order = ("name", "generateName", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp")
    metadata = obj["metadata"]
    first = {key: metadata[key] for key in order if key in metadata}
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {**first, **{key: value for key, value in metadata.items() if key not in first}},
    }


def _definition(name: str, kind: str, form: str, text: str, priority: int = 0) -> Json:
    return {"name": name, "type": kind, "format": form, "description": text, "priority": priority}


def _cell(obj: Mapping[str, Any], path: str, kind: str) -> Any:
    found = list(_walk(obj, path))
    if not found:
        return None
    if kind == "date":
        return since(str(found[0])) if isinstance(found[0], str) else None
    if kind == "string":
        return ",".join(_text(value) for value in found) if "*" in path else _text(found[0])
    return found[0]


def _walk(value: Any, path: str) -> list[Any]:
    """Follow the JSONPath forms that columns use: `.key`, `[0]`, `[*]`, `[?(@.field=="value")]`."""
    found = [value]
    for token in _TOKEN.finditer(path):
        following: list[Any] = []
        for each in found:
            if token["key"] is not None and isinstance(each, Mapping):
                key = token["key"].replace("\\.", ".")
                following += [each[key]] if key in each else []
            elif token["index"] is not None and isinstance(each, list):
                following += each if token["index"] == "*" else each[int(token["index"]) : int(token["index"]) + 1]
            elif token["field"] is not None and isinstance(each, list):
                following += [item for item in each if isinstance(item, Mapping) and item.get(token["field"]) == token["value"]]
        found = following
    return found


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
