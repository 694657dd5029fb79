"""From a target to a reading and a route, on the blocking client against a real TLS server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker.actions.connect import DOUBTFUL_S, by_routes, limit_of, login_of, open_guest, read_guest
from broker.actions.reading import Reading
from broker.errors import GuestUnready, NotFound, NotPermitted
from broker.kube.cold import ColdClient
from broker.refs import Kind, parse_target
from tests.broker.actions.test_find_vms import FORBIDDEN, replay
from tests.broker.kube.recorded_api import RecordedApi, Script, recorded_api, settings


@contextmanager
def client_on(folder: Path, script: Script) -> Iterator[tuple[ColdClient, RecordedApi]]:
    with recorded_api(folder, script) as api, ColdClient(api.endpoint()) as client:
        yield client, api


def read(client: ColdClient, text: str) -> Reading:
    return read_guest(client, parse_target(text), default_namespace="team-a")


@pytest.mark.parametrize("text", ["db-1", "vm/db-1", "vm/db-1/team-a", "db-1.team-a.vm"])
def test_a_vm_and_its_instance_are_read(tmp_path: Path, shared: Path, text: str) -> None:
    with client_on(tmp_path, replay(shared)) as (client, api):
        reading = read(client, text)
    assert reading.kind == "vm"
    assert reading.vm is not None
    assert reading.vmi is not None
    assert login_of(reading, settings()).user == "vmuser"
    assert len(api.asked) == 2


def test_an_instance_is_read_alone(tmp_path: Path, shared: Path) -> None:
    with client_on(tmp_path, replay(shared)) as (client, api):
        reading = read(client, "vmi/db-1")
    assert (reading.kind, reading.vm) == ("vmi", None)
    assert len(api.asked) == 1


def test_want_of_rights_to_read_is_no_failure(tmp_path: Path, shared: Path) -> None:
    script = replay(shared, virtualmachines=FORBIDDEN, virtualmachineinstances=FORBIDDEN)
    with client_on(tmp_path, script) as (client, _):
        reading = read(client, "db-1")
    assert (reading.vm, reading.vmi, reading.may_lack, reading.kind) == (None, None, ("vm", "vmi"), "vm")
    assert reading.warnings


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("db-1.team-a", "vmbroker ssh db-1 -n team-a"),
        ("vm/db-1.team-a", "vmbroker ssh vm/db-1 -n team-a"),
        ("vmi/db-1.team-a", "vmbroker ssh vmi/db-1 -n team-a"),
        ("nope", "vmbroker vms -n team-a"),
        ("vmi/stopped-1", "vmbroker vms"),
    ],
)
def test_what_is_not_there_comes_with_a_next_step(tmp_path: Path, shared: Path, text: str, hint: str) -> None:
    with client_on(tmp_path, replay(shared)) as (client, _):
        with pytest.raises(NotFound) as caught:
            read(client, text)
    assert hint in (caught.value.next_step or "")


def test_a_stopped_vm_is_not_dialled(tmp_path: Path, shared: Path) -> None:
    with client_on(tmp_path, replay(shared)) as (client, api):
        reading = read(client, "stopped-1")
        with pytest.raises(GuestUnready) as caught:
            open_guest(client, reading, 22, stream=settings().stream)
    assert caught.value.code == "vm-stopped"
    assert not any("portforward" in path for path in api.paths)


def test_a_dial_that_will_most_likely_hang_gets_less_time(tmp_path: Path, shared: Path) -> None:
    # sec-1 of the captures has a secondary network only, web-1 the pod network.
    with client_on(tmp_path, replay(shared)) as (client, _):
        assert limit_of(read(client, "sec-1"), 15.0) == DOUBTFUL_S
        assert limit_of(read(client, "sec-1"), 1.0) == 1.0
        assert limit_of(read(client, "web-1"), 15.0) == 15.0


def routes(reading: Reading, answers: dict[Kind, Exception | str]) -> tuple[object, list[Kind]]:
    tried: list[Kind] = []

    def dial(kind: Kind) -> str:
        tried.append(kind)
        found = answers[kind]
        if isinstance(found, Exception):
            raise found
        return found

    try:
        return by_routes(reading, dial), tried
    except (NotFound, NotPermitted) as exc:
        return exc, tried


def blind(text: str) -> Reading:
    target = parse_target(text)
    return Reading(target=target, namespace="shop", name=target.name, vm=None, vmi=None, may_lack=("vm", "vmi"))


def test_the_vmi_route_is_tried_where_the_vm_route_is_closed() -> None:
    forbidden, absent = NotPermitted("no"), NotFound("none")
    assert routes(blind("web"), {"vm": "in", "vmi": "in"}) == ("in", ["vm"])
    assert routes(blind("web"), {"vm": forbidden, "vmi": "in"}) == ("in", ["vm", "vmi"])
    assert routes(blind("web"), {"vm": absent, "vmi": "in"}) == ("in", ["vm", "vmi"])
    assert routes(blind("vm/web"), {"vm": absent, "vmi": "in"}) == (absent, ["vm"])
    assert routes(blind("vmi/web"), {"vm": "in", "vmi": forbidden}) == (forbidden, ["vmi"])
    assert routes(blind("web"), {"vm": forbidden, "vmi": absent}) == (forbidden, ["vm", "vmi"])
