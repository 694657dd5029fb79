"""Label and field selectors in query strings, parsed and matched as k8s.io/apimachinery does."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from broker.lab.answers import bad_request

__all__ = ["Selection", "parse_selection"]

Json = Mapping[str, Any]
_SET = re.compile(r"\s*(?P<key>[^\s=!,()<>]+)\s+(?P<verb>in|notin)\s*\((?P<values>[^()]*)\)\s*\Z")
_COMPARED = re.compile(r"\s*(?P<key>[^\s=!,()<>]+)\s*(?P<verb>==|=|!=)\s*(?P<value>[^\s=!,()<>]*)\s*\Z")
_ORDERED = re.compile(r"\s*(?P<key>[^\s=!,()<>]+)\s*(?P<verb>[<>])\s*(?P<value>[^\s=!,()<>]+)\s*\Z")
_EXISTS = re.compile(r"\s*(?P<not>!?)\s*(?P<key>[^\s=!,()<>]+)\s*\Z")
_BUILT_IN_FIELDS: Mapping[str, tuple[str, ...]] = {
    "pods": ("spec.nodeName", "spec.restartPolicy", "spec.serviceAccountName", "status.phase", "status.podIP"),
    "events": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    "nodes": ("spec.unschedulable",),
    "secrets": ("type",),
    "namespaces": ("status.phase",),
    "services": ("spec.clusterIP", "spec.type"),
}
_FIELD = re.compile(r"\s*(?P<key>[^=!,]+?)\s*(?P<verb>==|=|!=)\s*(?P<value>[^,]*)\s*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A parsed pair of selectors; `matches` takes a decoded object, `is_whole` says that everything matches."""

    tests: tuple[Callable[[Json], bool], ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether there is no selector at all."""
        return not self.tests

    def matches(self, obj: Json) -> bool:
        """Whether an object is selected."""
        return all(test(obj) for test in self.tests)


def parse_selection(labels: str, fields: str, resource: str) -> Selection:
    """Parse `labelSelector` and `fieldSelector` of a list or watch of `resource`; ApiError 400 for what cannot be read."""
    tests = [_label_test(part, labels) for part in _split(labels)]
    return Selection(tests=(*tests, *(_field_test(part, resource) for part in fields.split(",") if part.strip())))


def _split(text: str) -> list[str]:
    """Split at commas outside parentheses."""
    parts, depth, start = [], 0, 0
    for index, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            parts.append(text[start:index])
            start = index + 1
    parts.append(text[start:])
    return [part for part in parts if part.strip()]


def _label_test(part: str, whole: str) -> Callable[[Json], bool]:
    found = _SET.match(part)
    if found:
        key, wants = found["key"], found["verb"] == "in"
        values = {value.strip() for value in found["values"].split(",")}
        return lambda obj: _labels(obj).get(key) in values if wants else _labels(obj).get(key) not in values
    found = _COMPARED.match(part)
    if found:
        key, value = found["key"], found["value"]
        if found["verb"] == "!=":
            return lambda obj: _labels(obj).get(key) != value
        return lambda obj: _labels(obj).get(key) == value
    found = _ORDERED.match(part)
    if found:
        return _ordered_test(found["key"], found["verb"], found["value"])
    found = _EXISTS.match(part)
    if found:
        key, wants = found["key"], not found["not"]
        return lambda obj: (key in _labels(obj)) == wants
    raise bad_request(f"unable to parse requirement: found '{part.strip()}' in \"{whole}\", which is no label requirement")


def _ordered_test(key: str, verb: str, text: str) -> Callable[[Json], bool]:
    bound = _whole(text)
    if bound is None:
        why = "for 'Gt', 'Lt' operators, the value must be an integer"
        raise bad_request(f'unable to parse requirement: values[0][{key}]: Invalid value: "{text}": {why}')

    def test(obj: Json) -> bool:
        value = _whole(_labels(obj).get(key, ""))
        return value is not None and (value > bound if verb == ">" else value < bound)

    return test


def _whole(text: str) -> int | None:
    """A whole number of 64 bits as Go reads it, None for other text."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits.isascii() or not digits.isdigit() or len(digits) > 19:
        return None
    return int(text)


def _field_test(part: str, resource: str) -> Callable[[Json], bool]:
    found = _FIELD.match(part)
    if not found:
        raise bad_request(f"invalid selector: '{part}'; can't understand '{part}'")
    key, value, wants = found["key"], found["value"], found["verb"] != "!="
    if key not in ("metadata.name", "metadata.namespace", *_BUILT_IN_FIELDS.get(resource, ())):
        raise bad_request(f"field label not supported: {key}")
    path = key.split(".")
    return lambda obj: (_field(obj, path) == value) == wants


def _labels(obj: Json) -> Mapping[str, str]:
    return (obj.get("metadata") or {}).get("labels") or {}


def _field(obj: Json, path: list[str]) -> str:
    value: Any = obj
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
