"""Decoding: real answers, gaps, nulls, and one bad object among good ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import Failed
from broker.model.pages import decode_vm, decode_vm_page, decode_vmi, decode_vmi_page


def body(shared: Path, name: str) -> bytes:
    found: dict[str, Any] = json.loads((shared / "captures" / f"{name}.json").read_text())
    return json.dumps(found["response"]["json"]).encode()


def test_a_real_page_of_vms_reads(shared: Path) -> None:
    page = decode_vm_page(body(shared, "list-vms-all-page1"))
    assert len(page.items) == 3
    assert page.continue_token
    assert page.unreadable == 0
    first = page.items[0]
    assert (first.metadata.name, first.printable_status, first.is_created) == ("db-1", "Running", True)
    assert [(i.name, i.binding_name) for i in first.machine.interfaces] == [("default", "masquerade"), ("vlan100", "bridge")]
    assert [n.source for n in first.machine.networks or ()] == ["pod", "vlan100"]


def test_a_real_page_of_vmis_reads(shared: Path) -> None:
    page = decode_vmi_page(body(shared, "list-vmis-team-a"))
    first = page.items[0]
    assert (first.node, first.phase) == ("node-1", "Running")
    assert first.owner_uid
    assert first.interfaces[0].addresses == ("127.0.0.12", "fe80::1")
    assert first.guest_os is not None
    assert first.guest_os.title == "Debian GNU/Linux 12 (bookworm)"


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b'{"metadata":{"name":"a","labels":null,"annotations":null,"ownerReferences":null}}',
        b'{"spec":null,"status":null}',
        b'{"spec":{"template":null},"status":{"conditions":null}}',
        b'{"spec":{"template":{"metadata":{"creationTimestamp":null},"spec":{"domain":{"devices":{"interfaces":null}}}}}}',
    ],
)
def test_gaps_and_nulls_are_empty(text: bytes) -> None:
    vm = decode_vm(text)
    assert vm.machine.interfaces == []
    assert vm.conditions == []
    assert vm.printable_status == ""
    assert vm.annotations == {}


def test_an_empty_vmi_has_nothing() -> None:
    vmi = decode_vmi(b'{"status":{"interfaces":[{"ipAddress":"","ipAddresses":null}]}}')
    assert vmi.interfaces[0].addresses == ()
    assert (vmi.phase, vmi.node, vmi.owner_uid, vmi.guest_os) == ("", "", "", None)


def test_a_bad_object_is_counted_and_left_out() -> None:
    page = decode_vmi_page(
        b'{"metadata":{"continue":"t"},"items":[{"metadata":{"name":"a"}},{"metadata":{"name":7,"labels":[]}},{"status":"?"}]}'
    )
    assert ([item.metadata.name for item in page.items], page.unreadable, page.continue_token) == (["a"], 2, "t")


@given(st.binary(max_size=200))
def test_whatever_bytes_come_the_error_is_ours(junk: bytes) -> None:
    for decode in (decode_vm_page, decode_vmi_page, decode_vm, decode_vmi):
        try:
            decode(junk)
        except Failed as error:
            assert error.code == "unreadable-answer"
            assert "\n" not in (error.cause or "")


def test_user_data_stays_out_of_reprs() -> None:
    text = json.dumps(
        {"spec": {"template": {"spec": {"volumes": [{"name": "ci", "cloudInitNoCloud": {"userData": "canary-secret"}}]}}}}
    )
    assert "canary-secret" not in repr(decode_vm(text.encode()))
