"""Listing and showing over a real TLS server: VM and VMI joined, refusals told, JSON kept."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from broker.actions.context import Broker, open_broker
from broker.actions.find_vms import find_vms
from broker.actions.show_vm import show_vm
from broker.actions.vm_details import details_to_json
from broker.actions.vm_rows import columns, list_to_json
from broker.actions.vm_sections import sections
from broker.errors import NotFound, NotPermitted
from broker.refs import parse_target
from tests.broker.kube.recorded_api import Answer, Asked, Script, answer, captured, recorded_api, refused, settings

FORBIDDEN = refused(403, "Forbidden", 'User "u" cannot list resource "x"')


@asynccontextmanager
async def broker_on(folder: Path, script: Script) -> AsyncIterator[Broker]:
    with recorded_api(folder, script) as api:
        async with open_broker(api.endpoint(), settings()) as broker:
            yield broker


def replay(shared: Path, **change: Answer) -> Script:
    """Answer lists and single objects of namespace team-a from the captures; `change` by plural puts another answer."""
    lists = {
        "virtualmachines": captured(shared, "list-vms-team-a"),
        "virtualmachineinstances": captured(shared, "list-vmis-team-a"),
    }

    def script(asked: Asked) -> Answer:
        parts = asked.path.split("/")
        place = parts.index("team-a") + 1 if "team-a" in parts else 4
        plural = parts[place] if len(parts) > place else ""
        if plural not in lists:
            return captured(shared, "get-vm-notfound")
        if plural in change:
            return change[plural]
        if len(parts) == place + 1:
            return lists[plural]
        items: list[dict[str, Any]] = json.loads(lists[plural].body)["items"]
        found = [item for item in items if item["metadata"]["name"] == parts[place + 1]]
        return answer(found[0]) if found else captured(shared, "get-vm-notfound")

    return script


async def test_vms_and_vmis_are_joined_and_sorted(tmp_path: Path, shared: Path) -> None:
    async with broker_on(tmp_path, replay(shared)) as broker:
        found = await find_vms(broker, namespace="team-a", with_logins=True)
    assert [row.name for row in found.rows] == sorted(row.name for row in found.rows)
    rows = {row.name: row for row in found.rows}
    db = rows["db-1"]
    assert (db.status, db.node, db.phase, db.is_agent_connected) == ("Running", "node-1", "Running", True)
    assert [(a.text, a.network, a.origin_word) for a in db.addresses] == [
        ("127.0.0.12", "default", "agent"),
        ("10.77.0.12", "vlan100", "agent"),
    ]
    assert db.login is not None
    assert (db.login.user, db.login.port) == ("vmuser", 22)
    assert (rows["stopped-1"].status, rows["stopped-1"].node) == ("Stopped", "")
    assert found.warnings == ()


async def test_a_vmi_without_a_vm_has_a_row_of_its_own(tmp_path: Path, shared: Path) -> None:
    empty = answer({"metadata": {}, "items": []})
    async with broker_on(tmp_path, replay(shared, virtualmachines=empty)) as broker:
        found = await find_vms(broker, namespace="team-a")
    assert {row.object for row in found.rows} == {"VirtualMachineInstance"}
    assert found.rows[0].target == "vmi/db-1/team-a"
    assert columns(wide=False)[1].cell(found.rows[0], 0) == "vmi/db-1"


@pytest.mark.parametrize(("plural", "word"), [("virtualmachines", "VMs"), ("virtualmachineinstances", "VMIs")])
async def test_one_forbidden_list_is_a_warning(tmp_path: Path, shared: Path, plural: str, word: str) -> None:
    async with broker_on(tmp_path, replay(shared, **{plural: FORBIDDEN})) as broker:
        found = await find_vms(broker, namespace="team-a")
    assert found.rows
    assert len(found.warnings) == 1
    assert f"may not list {word}" in found.warnings[0]


async def test_two_forbidden_lists_are_an_error(tmp_path: Path, shared: Path) -> None:
    script = replay(shared, virtualmachines=FORBIDDEN, virtualmachineinstances=FORBIDDEN)
    async with broker_on(tmp_path, script) as broker:
        with pytest.raises(NotPermitted):
            await find_vms(broker, namespace="team-a")


async def test_a_selector_is_for_vms_and_vmis_follow(tmp_path: Path, shared: Path) -> None:
    items = json.loads(captured(shared, "list-vms-team-a").body)["items"][:1]
    async with broker_on(tmp_path, replay(shared, virtualmachines=answer({"metadata": {}, "items": items}))) as broker:
        found = await find_vms(broker, namespace="team-a", selector="app=db")
    assert [row.name for row in found.rows] == ["db-1"]
    assert found.rows[0].node == "node-1"


async def test_the_list_as_json_names_its_version_and_nulls_what_is_not_said(tmp_path: Path, shared: Path) -> None:
    async with broker_on(tmp_path, replay(shared)) as broker:
        document = json.loads(json.dumps(list_to_json(await find_vms(broker, namespace="team-a"))))
    assert (document["apiVersion"], document["kind"]) == ("vmbroker/v1", "VirtualMachineList")
    stopped = next(item for item in document["items"] if item["name"] == "stopped-1")
    assert stopped["node"] is None
    assert stopped["created"] == "2026-11-24T04:00:43Z"
    assert stopped["login"] is None


async def test_show_joins_and_names_the_dialled_interface(tmp_path: Path, shared: Path) -> None:
    async with broker_on(tmp_path, replay(shared)) as broker:
        details = await show_vm(broker, parse_target("vm/db-1/team-a"))
    first, second = details.interfaces
    assert (first.name, first.binding, first.source, first.badges) == ("default", "masquerade", "pod", ("dialled",))
    assert [(a.text, a.is_link_local) for a in first.addresses] == [("127.0.0.12", False), ("fe80::1", True)]
    assert (second.name, second.binding, second.source, second.badges) == ("vlan100", "bridge", "vlan100", ())
    assert details.obstacle is None
    assert details_to_json(details)["kind"] == "VirtualMachine"
    lines = dict(sections(details, 1e10))
    assert ("User", "vmuser (from cloud-init data of volume cloudinit)") in lines["SSH"]


async def test_show_of_a_stopped_vm_says_why_ssh_cannot_work(tmp_path: Path, shared: Path) -> None:
    async with broker_on(tmp_path, replay(shared)) as broker:
        details = await show_vm(broker, parse_target("stopped-1.team-a.vm"), flag_user="me", flag_port=2022)
    assert details.obstacle is not None
    assert details.obstacle.code == "vm-stopped"
    assert (details.login.user, details.login.port) == ("me", 2022)


async def test_show_without_the_right_to_read_the_vm_shows_the_instance(tmp_path: Path, shared: Path) -> None:
    async with broker_on(tmp_path, replay(shared, virtualmachines=FORBIDDEN)) as broker:
        details = await show_vm(broker, parse_target("db-1.team-a.vm"))
    assert details.object == "VirtualMachineInstance"
    assert "may not read VMs" in details.warnings[0]


@pytest.mark.parametrize(("target", "what"), [("vmi/db-1/team-a", "VMI"), ("vm/db-1/team-a", "VM"), ("db-1.team-a.vm", "VM")])
async def test_a_refusal_to_show_names_the_kind_that_was_asked_for(
    tmp_path: Path, shared: Path, target: str, what: str
) -> None:
    script = replay(shared, virtualmachines=FORBIDDEN, virtualmachineinstances=FORBIDDEN)
    async with broker_on(tmp_path, script) as broker:
        with pytest.raises(NotPermitted) as caught:
            await show_vm(broker, parse_target(target))
    assert caught.value.message == f"you may not read {what} db-1 in namespace team-a"


async def test_show_tells_what_most_likely_cannot_work(tmp_path: Path, shared: Path) -> None:
    vmi = json.loads(captured(shared, "list-vmis-team-a").body)["items"]
    (one,) = [item for item in vmi if item["metadata"]["name"] == "db-1"]
    one["status"]["interfaces"].reverse()
    async with broker_on(tmp_path, replay(shared, virtualmachineinstances=answer(one))) as broker:
        details = await show_vm(broker, parse_target("vm/db-1/team-a"))
    assert details.obstacle is None and details.doubt is not None
    lines = dict(dict(sections(details, 1e10))["SSH"])
    assert lines["Most likely cannot work"] == details.doubt.message
    assert (lines["Because"], lines["Next"]) == (details.doubt.cause, details.doubt.next_step)
    document = json.loads(json.dumps(details_to_json(details)))
    assert (document["obstacle"], document["doubt"]["code"]) == (None, "secondary-first")


async def test_show_gives_the_right_form_of_a_dotted_name(tmp_path: Path, shared: Path) -> None:
    async with broker_on(tmp_path, replay(shared)) as broker:
        with pytest.raises(NotFound) as caught:
            await show_vm(broker, parse_target("vm/db-1.team-a"))
        with pytest.raises(NotFound) as other:
            await show_vm(broker, parse_target("nothing.team-a"))
    assert "vmbroker show vm/db-1 -n team-a" in (caught.value.next_step or "")
    assert "vmbroker vms" in (other.value.next_step or "")
