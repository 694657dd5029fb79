"""The truth about each failure: one message for one cause, whatever the machine is called (issue 4, section 1)."""

# ruff: noqa: E501  (names in rows)

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.errors import BrokerError
from tests.broker.truth_table import ROWS, Place, Row

BY_NAME = [pytest.param(row, id=row.name) for row in ROWS]

ODD_NAMES = (
    "paused", "no-route", "not-found", "dialing", "websocket", "connection-refused", "connection.refused", "timeout", "stopped",
    "not-started", "vmi-is-paused", "forbidden", "impersonate", "error-dialing-backend", "virt-api", "unknown-port", "none", "22",
    "i-o-timeout", "dial.tcp.10.0.0.5", "no-network-interfaces-are-present", "denied-the-request", "system-anonymous", "vm", "is",
)  # fmt: skip
"""Names that a cluster allows and that look like what servers say."""

LABEL = st.one_of(
    st.sampled_from([name for name in ODD_NAMES if "." not in name]),
    st.from_regex(r"[a-z0-9](?:[-a-z0-9]{0,18}[a-z0-9])?", fullmatch=True),
)
NAME = st.one_of(st.sampled_from(ODD_NAMES), st.lists(LABEL, min_size=1, max_size=2).map(".".join))
PLACES = st.builds(lambda name, namespace, node: Place(name=name, namespace=namespace, node=node), NAME, LABEL, LABEL)


def text_of(error: BrokerError) -> str:
    return "\n".join((error.message, error.cause or "", error.next_step or ""))


@pytest.mark.parametrize("row", BY_NAME)
def test_each_situation_has_its_code_status_and_words(row: Row) -> None:
    error = row.make(Place()).verdict()
    assert (error.code, error.exit_status) == (row.code, row.exit_status), text_of(error)
    for word in row.words:
        assert word in text_of(error)
    assert error.cause
    assert error.next_step
    assert all(len(line) <= 400 and "\n" not in line for line in text_of(error).split("\n"))


@pytest.mark.parametrize("row", BY_NAME)
@settings(max_examples=max(settings().max_examples // 4, 10))
@given(place=PLACES)
def test_names_never_change_what_is_told(row: Row, place: Place) -> None:
    base = text_of(row.make(Place()).verdict())
    expected = base.replace("qzname", place.name).replace("qzspace", place.namespace).replace("qznode", place.node)
    if "--name qzname-ssh" in base:
        expected = expected.replace(f"--name {place.name}-ssh", f"--name {place.name.replace('.', '-')[:58]}-ssh")
    found = row.make(place).verdict()
    assert text_of(found) == expected
    assert found.code == row.code


def test_no_two_situations_are_told_alike() -> None:
    told = [(row, row.make(Place()).verdict()) for row in ROWS]
    for (one, first), (other, second) in itertools.combinations(told, 2):
        is_one = other.same_as == one.name or one.same_as == other.name
        assert (text_of(first) == text_of(second)) is is_one, f"{one.name} and {other.name}"


GROUPS = sorted({row.same_text for row in ROWS} - {""})


@pytest.mark.parametrize("group", GROUPS)
def test_one_server_text_has_many_causes_and_each_its_own_message(group: str) -> None:
    rows = [row for row in ROWS if row.same_text == group]
    raw = {re.sub(r"\d+(?:\.\d+){3}", "ADDRESS", text_of(row.make(Place()).raw())) for row in rows}
    assert len(raw) == 1 or group == "409"
    told = [row.make(Place()).verdict() for row in rows]
    assert len({(error.code, error.message, error.cause) for error in told}) == len(rows)


def test_every_pair_of_causes_with_one_server_text_differs_in_message_or_says_unknown() -> None:
    for group in GROUPS:
        rows = [row for row in ROWS if row.same_text == group]
        for one, other in itertools.combinations(rows, 2):
            first, second = one.make(Place()).verdict(), other.make(Place()).verdict()
            same_code = first.code == second.code
            assert not same_code or "unknown" in f"{first.cause} {second.cause}", f"{one.name} and {other.name}"


MARKERS = {
    "firewall": {"port-filtered", "no-route"},
    "NetworkPolic": {"port-filtered", "no-route", "policy-closed"},
    "user-defined": {"primary-udn"},
    "secondary network": {"secondary-only", "secondary-first"},
    "is paused": {"vm-paused"},
    "is stopped": {"vm-stopped"},
    "starting": {"vm-starting"},
    "image": {"vm-image-unavailable"},
    "PersistentVolumeClaim": {"vm-pvc-missing"},
    "nothing listens": {"port-closed", "nothing-listens", "port-refused"},
    "migrat": {"vm-migrating"},
    "masquerade": {"port-not-listed", "inner-address"},
    "sshd": {"port-closed"},
    "role": set(),
    "certificate": set(),
    "upgrade": set(),
    "credential": set(),
}
"""Words that name a cause, and the codes that may use them."""


@pytest.mark.parametrize("row", BY_NAME)
def test_no_other_cause_is_hinted_at(row: Row) -> None:
    told = text_of(row.make(Place()).verdict())
    for word, codes in MARKERS.items():
        assert word not in told or row.code in codes, f"{word!r} in {told!r}"


@pytest.mark.parametrize("row", BY_NAME)
def test_what_could_not_be_read_is_told_as_unknown(row: Row) -> None:
    scene = row.make(Place())
    lacks = scene.dial_facts().lacks
    error = scene.verdict()
    if lacks and error.code in ("port-filtered", "no-route", "port-refused"):
        assert "unknown which" in (error.cause or "")
        for what in lacks:
            assert what in (error.cause or "")
        assert "firewall" not in text_of(error)
