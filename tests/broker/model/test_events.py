"""Watch events of the real server, and those that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from broker.errors import Failed
from broker.model.events import decode_event
from broker.model.pages import decode_vm, decode_vmi


def lines_of(shared: Path, name: str) -> list[bytes]:
    response = json.loads((shared / "captures" / f"{name}.json").read_text())["response"]
    text: str = json.dumps(response["json"]) if "json" in response else response["text"]
    return [line.encode() for line in text.splitlines() if line]


def test_an_object_lives_and_dies_with_growing_versions(shared: Path) -> None:
    events = [decode_event(line, decode_vm) for line in lines_of(shared, "watch-add-modify-delete")]
    assert [event.type for event in events] == ["ADDED", "MODIFIED", "DELETED"]
    versions = [int(event.meta.resource_version or 0) for event in events]
    assert versions == sorted(set(versions))
    assert all(event.obj is not None and event.obj.metadata == event.meta for event in events)


def test_bookmarks_carry_a_version_and_no_object(shared: Path) -> None:
    events = [decode_event(line, decode_vmi) for line in lines_of(shared, "watch-events")]
    marks = [event for event in events if event.type == "BOOKMARK"]
    assert marks
    assert all(event.obj is None and event.meta.resource_version for event in marks)


def test_an_error_carries_the_servers_status(shared: Path) -> None:
    [event] = [decode_event(line, decode_vm) for line in lines_of(shared, "watch-resourceversion-expired")]
    assert (event.type, event.status_code) == ("ERROR", 410)
    assert b"too old resource version" in event.status


def test_an_object_that_cannot_be_read_costs_itself_alone() -> None:
    line = b'{"type":"MODIFIED","object":{"metadata":{"name":"a","namespace":"b","resourceVersion":"7"},"status":3}}'
    event = decode_event(line, decode_vm)
    assert (event.obj, event.meta.name, event.meta.resource_version) == (None, "a", "7")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b'{"type":"ADDED"',
        b'{"type":"SURPRISE","object":{}}',
        b'{"type":3}',
        b'{"type":"ADDED","object":[]}',
        b"\xff",
    ],
)
def test_a_line_that_is_no_event_is_an_error(line: bytes) -> None:
    with pytest.raises(Failed) as caught:
        decode_event(line, decode_vm)
    assert caught.value.code == "unreadable-answer"


@pytest.mark.parametrize("status", ["{}", '{"code":"x"}', '{"code":200}', "[]"])
def test_an_error_whose_status_says_nothing_is_the_servers_failure(status: str) -> None:
    assert decode_event(f'{{"type":"ERROR","object":{status}}}'.encode(), decode_vm).status_code == 500
