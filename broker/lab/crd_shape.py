"""The form of a CustomResourceDefinition as far as the lab reads it, and mistakes in it told by field. **Pure.**"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

import msgspec

__all__ = ["mistake_in"]

_Word = Annotated[str, msgspec.Meta(min_length=1)]
_KINDS: Final = {
    "str": "a text",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a map",
    "null": "nothing",
}
_TYPES: Final = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")
_MISSING: Final = re.compile(r"Object missing required field `([^`]+)`")


class _Column(msgspec.Struct):
    name: _Word
    type: _Word
    jsonPath: str  # as Kubernetes writes it
    format: str = ""
    priority: int = 0
    description: str = ""


class _Schema(msgspec.Struct):
    openAPIV3Schema: dict[str, Any] | None = None


class _Version(msgspec.Struct):
    name: _Word
    served: bool = False
    storage: bool = False
    schema: _Schema | None = None
    subresources: dict[str, Any] | None = None
    additionalPrinterColumns: list[_Column] | None = None
    deprecated: bool = False
    deprecationWarning: str | None = None


class _Names(msgspec.Struct):
    plural: _Word
    kind: _Word
    singular: str | None = None
    listKind: str | None = None
    shortNames: list[str] | None = None
    categories: list[str] | None = None


class _Spec(msgspec.Struct):
    group: _Word
    names: _Names
    scope: Literal["Namespaced", "Cluster"]
    versions: Annotated[list[_Version], msgspec.Meta(min_length=1)]


class _Metadata(msgspec.Struct):
    name: _Word
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class _Definition(msgspec.Struct):
    metadata: _Metadata
    spec: _Spec


def mistake_in(crd: object) -> str:
    """Say which field of a CustomResourceDefinition is not as it should be, and how; empty where all is well."""
    try:
        found = msgspec.convert(crd, _Definition)
    except (msgspec.ValidationError, RecursionError) as exc:
        return _told(str(exc))
    if not any(version.served for version in found.spec.versions):
        return "spec.versions: none of them is served"
    if found.metadata.name != f"{found.spec.names.plural}.{found.spec.group}":
        return f"metadata.name is not {found.spec.names.plural}.{found.spec.group}, as spec.names.plural and spec.group have it"
    return ""


def _told(text: str) -> str:
    what, _, path = text.partition(" - at `$")
    field = path.rstrip("`").lstrip(".")
    missing = _MISSING.search(what)
    if missing is not None:
        return f"{f'{field}.' if field else ''}{missing[1]} is missing"
    types = _TYPES.search(what)
    if types is not None:
        wanted = " or ".join(dict.fromkeys(_KINDS.get(each.strip(), each.strip()) for each in types[1].split("|")))
        return f"{field or 'the document'} is {_KINDS.get(types[2], types[2])}, not {wanted.removesuffix(' or nothing')}"
    if "enum" in what:
        return f"{field} is neither Namespaced nor Cluster"
    return f"{field or 'the document'} is empty" if "length" in what else f"{field or 'the document'} is not as it should be"
