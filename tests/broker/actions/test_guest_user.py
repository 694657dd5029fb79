"""Who says which user and port ssh takes."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.actions.guest_user import PORT_ANNOTATION, USER_ANNOTATION, cloud_config_user, cloud_init_format, guest_login
from broker.config.settings import GuestRule, Origin
from broker.model.machine import MachineSpec
from broker.model.pages import decode_vmi
from broker.refs import is_user


def machine(user_data: str | None = None, *, agent: list[str] | None = None, is_base64: bool = False) -> MachineSpec:
    spec: dict[str, object] = {}
    if user_data is not None:
        data = {"userDataBase64": base64.b64encode(user_data.encode()).decode()} if is_base64 else {"userData": user_data}
        spec["volumes"] = [{"name": "root"}, {"name": "ci", "cloudInitNoCloud": data}]
    if agent is not None:
        spec["accessCredentials"] = [{"sshPublicKey": {"propagationMethod": {"qemuGuestAgent": {"users": agent}}}}]
    return decode_vmi(json.dumps({"spec": spec}).encode()).machine


RULE = GuestRule(
    user="ruled",
    user_origin=Origin(layer="user", place="a.toml:3"),
    port=2200,
    port_origin=Origin(layer="user", place="a.toml:4"),
)
CLOUD = machine("#cloud-config\nuser: clouded\n", agent=["keyed"])
NOTES = {USER_ANNOTATION: "noted", PORT_ANNOTATION: "2222"}


def test_each_source_wins_over_those_below_it() -> None:
    found = guest_login(flag_user="flagged", annotations=NOTES, rule=RULE, machine=CLOUD, guest_os_id="debian")
    assert (found.user, found.user_origin) == ("flagged", "given on the command line")
    found = guest_login(annotations=NOTES, rule=RULE, machine=CLOUD, guest_os_id="debian")
    assert (found.user, found.user_origin) == ("noted", f"annotation {USER_ANNOTATION}")
    found = guest_login(rule=RULE, machine=CLOUD, guest_os_id="debian")
    assert (found.user, found.user_origin) == ("ruled", "settings (user: a.toml:3)")
    found = guest_login(machine=CLOUD, guest_os_id="debian")
    assert (found.user, found.user_origin) == ("clouded", "cloud-init data of volume ci")
    found = guest_login(machine=machine(agent=["keyed"]), guest_os_id="debian")
    assert (found.user, found.user_origin) == ("keyed", "accessCredentials (guest agent)")
    found = guest_login(guest_os_id="rhel")
    assert (found.user, found.is_guess) == ("cloud-user", True)
    assert guest_login().user is None


def test_ports_follow_flag_annotation_settings_default() -> None:
    assert guest_login(flag_port=9, annotations=NOTES, rule=RULE).port == 9
    assert guest_login(annotations=NOTES, rule=RULE).port == 2222
    assert guest_login(rule=RULE).port == 2200
    assert (guest_login().port, guest_login().port_origin) == (22, "the default")


@pytest.mark.parametrize(
    ("key", "value"),
    [(USER_ANNOTATION, "-oProxyCommand=x"), (USER_ANNOTATION, "a b"), (USER_ANNOTATION, ""), (PORT_ANNOTATION, "0"),
     (PORT_ANNOTATION, "65536"), (PORT_ANNOTATION, "22 "), (PORT_ANNOTATION, "²²"), (PORT_ANNOTATION, "x\x1b[31m")],
)  # fmt: skip
def test_unfit_annotations_are_passed_over_with_a_clean_warning(key: str, value: str) -> None:
    found = guest_login(annotations={key: value})
    assert (found.user, found.port) == (None, 22)
    [warning] = found.warnings
    assert key in warning
    assert "\x1b" not in warning


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("#cloud-config\nuser: ops\n", "ops"),
        ("#cloud-config\r\nuser: ops\r\n", "ops"),
        ("#cloud-config\nuser: {name: ops, sudo: x}\n", "ops"),
        ("#cloud-config\nusers:\n- default\n- name: ops\n", "ops"),
        ("#cloud-config\nusers: [{name: svc, system: true}, {name: old, inactive: '5'}, {name: ops}]\n", "ops"),
        ("#cloud-config\nusers: {ops: {sudo: x}}\n", "ops"),
        ("#cloud-config\nusers: default, ops\n", "ops"),
        ("#cloud-config\nuser: root\n", "root"),
        ("#cloud-config\nusers: [root]\n", None),
        ("#cloud-config\nuser: -oX\n", None),
        ("#cloud-config\nuser: 7\n", None),
        ("#cloud-config\n- a\n", None),
        ("#cloud-config\nuser: [\n", None),
        ("#cloud-config\na: &a [x, x]\nb: [*a, *a]\nuser: ops\n", None),
        ("user: ops\nssh_pwauth: false\n", None),
        ("# cloud-config\nuser: ops\n", None),
        ("## template: jinja\n#cloud-config\nuser: ops\n", None),
        ("#!/bin/bash\nuser: ops\n", None),
        ("", None),
    ],
)
def test_cloud_config_names_its_login_user(text: str, user: str | None) -> None:
    assert cloud_config_user(text) == user
    assert guest_login(machine=machine(text)).user == user
    assert guest_login(machine=machine(text, is_base64=True)).user == user


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("#cloud-config\n", "cloud-config"),
        ("## template: jinja\n", "jinja"),
        ("#!/bin/sh\n", "script"),
        ("#include\nhttp://x\n", "include"),
        ("Content-Type: multipart/mixed\n", "multipart"),
        (" \n", "empty"),
        ("user: x", "other"),
    ],
)
def test_formats_are_told_by_the_first_line(text: str, kind: str) -> None:
    assert cloud_init_format(text) == kind


def test_large_user_data_is_not_parsed() -> None:
    assert cloud_config_user("#cloud-config\nuser: ops\n#" + "x" * 70_000) is None


@given(st.text(max_size=300))
def test_whatever_the_text_a_user_is_fit_for_ssh(text: str) -> None:
    user = cloud_config_user("#cloud-config\n" + text)
    assert user is None or is_user(user)
