"""The form in which a client wants objects: as they are, as a Table, or as metadata alone (content negotiation)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import web

from broker.lab.answers import ApiError
from broker.lab.objects import Entry
from broker.lab.resources import Resource
from broker.lab.table import column_definitions, metadata_only, row

__all__ = ["Form", "encoded_in", "form_of"]

Json = dict[str, Any]
_JSON_WORDS = ("application/json", "application/*", "*/*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One representation; `include` is what a Table's rows carry: Metadata, Object or None."""

    kind: Literal["object", "table", "metadata"]
    include: str = "Metadata"

    def of_object(self, resource: Resource, version: str, obj: Mapping[str, Any]) -> Json:
        """Return one object in this form."""
        if self.kind == "table":
            return self.table(resource, [obj], {"resourceVersion": obj["metadata"]["resourceVersion"]})
        return metadata_only(obj) if self.kind == "metadata" else dict(obj)

    def table(self, resource: Resource, objects: list[Mapping[str, Any]], metadata: Json, *, has_columns: bool = True) -> Json:
        """Return objects as a Table; `has_columns` is false for later events of a watch."""
        return {
            "kind": "Table",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": metadata,
            "columnDefinitions": column_definitions(resource) if has_columns else None,
            "rows": [row(resource, obj, self.include) for obj in objects],
        }


def form_of(request: web.Request) -> Form:
    """Return what the Accept header and the query ask for; ApiError 406 where nothing asked for can be given."""
    include = request.query.get("includeObject", "Metadata")
    words = [word.strip() for word in ",".join(request.headers.getall("Accept", ["*/*"])).split(",") if word.strip()]
    for word in words or ["*/*"]:
        kind, *parameters = [part.strip() for part in word.split(";")]
        asked = dict(part.partition("=")[::2] for part in parameters)
        if kind not in _JSON_WORDS:
            continue
        if asked.get("as") == "Table" and asked.get("v") == "v1":
            return Form(kind="table", include=include)
        if str(asked.get("as", "")).startswith("PartialObjectMetadata"):
            return Form(kind="metadata")
        if "as" not in asked:
            return Form(kind="object")
    message = "only the following media types are accepted: application/json"
    raise ApiError(406, "NotAcceptable", message)


def encoded_in(entry: Entry, resource: Resource, version: str) -> bytes:
    """Return a stored object's JSON text with the apiVersion that was asked for, without decoding it."""
    stored = f'{{"apiVersion":"{resource.api_version(resource.storage_version)}"'.encode()
    if version == resource.storage_version or not entry.encoded.startswith(stored):
        return entry.encoded
    return f'{{"apiVersion":"{resource.api_version(version)}"'.encode() + entry.encoded[len(stored) :]
