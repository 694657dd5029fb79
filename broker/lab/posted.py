"""Bodies of posted reviews, read with care, and the managedFields entry that the API server adds to them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from broker.lab.answers import bad_request
from broker.lab.objects import timestamp

__all__ = ["mapping_in", "text_in", "texts_in", "written_fields"]

Json = dict[str, Any]


def mapping_in(value: object) -> Mapping[str, Any]:
    """An object of a posted body, empty where it is absent; ApiError 400 for anything else."""
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    raise bad_request("the body of the request cannot be read: an object was expected")


def text_in(holder: Mapping[str, Any], key: str) -> str:
    """A text member, "" where it is absent; ApiError 400 for anything else."""
    value = holder.get(key)
    if value is None or isinstance(value, str):
        return value or ""
    raise bad_request("the body of the request cannot be read: a string was expected")


def texts_in(holder: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """A member that is a list of texts, empty where it is absent; ApiError 400 for anything else."""
    value = holder.get(key)
    if value is None:
        return ()
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise bad_request("the body of the request cannot be read: a list of strings was expected")


def written_fields(api_version: str, spec: Mapping[str, Any]) -> Json:
    """The metadata of an answered review: one entry that says which members of `spec` the poster set."""
    entry = {
        "manager": "unknown",
        "operation": "Update",
        "apiVersion": api_version,
        "time": timestamp(time.time()),
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": _fields(spec)},
    }
    return {"managedFields": [entry]}


def _fields(spec: Mapping[str, Any]) -> Json:
    found: Json = {}
    for key in sorted(spec):
        inner = spec[key]
        found[f"f:{key}"] = {".": {}, **{f"f:{name}": {} for name in sorted(inner)}} if isinstance(inner, Mapping) else {}
    return found
