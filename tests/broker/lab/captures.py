"""Captured exchanges with the real servers, read from ../shared/captures, and the objects that are in them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.lab.paths import parse_resource_path, segments_of

Json = dict[str, Any]
FOLDER = Path(__file__).resolve().parents[4] / "shared" / "captures"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """One exchange: what was asked by whom, and what the real server answered (`body` is JSON, or text)."""

    name: str
    user: str
    note: str
    method: str
    path: str
    headers: Mapping[str, str]
    sent: object
    status: int
    reason: str
    answer_headers: Mapping[str, str]
    body: Any

    @property
    def is_watch(self) -> bool:
        """Whether a stream of events was asked for."""
        return "watch=1" in self.path

    @property
    def events(self) -> list[Json]:
        """The events of a watch in their order."""
        if isinstance(self.body, dict):
            return [self.body]
        return [json.loads(line) for line in self.body.splitlines() if line.strip()]


def read_capture(name: str) -> Capture:
    """Read one capture by its name without `.json`."""
    whole = json.loads((FOLDER / f"{name}.json").read_text())
    asked, answered = whole["request"], whole["response"]
    return Capture(
        name=name,
        user=whole["user"],
        note=whole["note"],
        method=asked["method"],
        path=asked["path"],
        headers=asked["headers"],
        sent=asked.get("json", asked.get("body")),
        status=answered["status"],
        reason=answered["reason"],
        answer_headers=answered["headers"],
        body=answered["json"] if "json" in answered else answered["text"],
    )


def resource_of(capture: Capture) -> str:
    """The store's name of the resource that a capture's path names."""
    path = parse_resource_path(segments_of(capture.path.partition("?")[0]))
    assert path is not None, capture.path
    return f"{path.plural}.{path.group}" if path.group else path.plural


def _names_resource(capture: Capture) -> bool:
    path = parse_resource_path(segments_of(capture.path.partition("?")[0]))
    return path is not None and path.group != "subresources.kubevirt.io"


def objects_in(capture: Capture) -> Iterator[Json]:
    """Yield the whole objects of an answer, each with its apiVersion and kind (a built-in list leaves them to the list)."""
    if capture.status >= 300:
        return
    if capture.is_watch:
        for event in capture.events:
            if event["type"] in ("ADDED", "MODIFIED") and event["object"]["kind"] != "Table":
                yield event["object"]
        return
    body = capture.body
    if capture.method != "GET" or not isinstance(body, dict) or not _names_resource(capture):
        return
    if body["kind"] in ("Table", "PartialObjectMetadataList"):
        return
    if "items" not in body:
        yield body
        return
    for item in body["items"]:
        yield {"apiVersion": body["apiVersion"], "kind": body["kind"].removesuffix("List"), **item}
