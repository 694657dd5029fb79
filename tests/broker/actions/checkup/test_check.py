"""The values of `doctor`: every check named once, listed in order, told the same way in JSON."""

from __future__ import annotations

import json

from broker.actions.checkup.check import (
    CATALOGUE,
    GROUPS,
    OF_TARGET,
    Check,
    Report,
    failed,
    not_looked_at,
    ok,
    ordered,
    unknown,
)
from broker.errors import GuestUnready

HOSTILE = "a\x1b[31mred\nline\u202e"


def report(*checks: Check) -> Report:
    return Report(checks=checks, target="web", context="lab", budget_s=5.0, took_s=0.25)


def test_every_check_belongs_to_a_group_and_has_a_title_of_its_own() -> None:
    assert {group for group, _ in CATALOGUE.values()} == set(GROUPS)
    assert len({title for _, title in CATALOGUE.values()}) == len(CATALOGUE)
    assert "upgrade" not in OF_TARGET


def test_checks_stand_in_the_catalogues_order_and_a_targets_only_where_there_is_one() -> None:
    found = [ok(code, "x") for code in sorted(CATALOGUE, reverse=True)]
    assert [check.code for check in ordered(found, has_target=True)] == list(CATALOGUE)
    without = ordered(found, has_target=False)
    assert not {check.code for check in without} & OF_TARGET
    assert {check.group for check in without} == {"cluster", "rights", "ssh"}


def test_only_failures_make_a_report_fail() -> None:
    error = GuestUnready("it is paused", code="vm-paused", cause="somebody", next_step="unpause it")
    assert not report(ok("tcp", "open"), unknown("tls-trust", "not checked")).has_failed
    bad = report(ok("tcp", "open"), failed("vm-paused", error), not_looked_at("vm-port", "paused"))
    assert bad.has_failed
    assert [bad.count(state) for state in ("ok", "failed", "unknown")] == [1, 1, 1]
    document = json.loads(json.dumps(bad.as_json()))
    assert document["summary"] == {"ok": 1, "failed": 1, "unknown": 1, "seconds": 0.25, "budgetSeconds": 5.0}
    assert document["checks"][1] == {
        "group": "vm",
        "name": "vm-paused",
        "title": "not paused",
        "state": "failed",
        "says": "it is paused",
        "code": "vm-paused",
        "cause": "somebody",
        "nextStep": "unpause it",
        "seconds": 0.0,
    }


def test_foreign_text_is_cleaned_wherever_it_stands() -> None:
    error = GuestUnready(HOSTILE, cause=HOSTILE, next_step=HOSTILE)
    for check in (ok("tcp", HOSTILE), unknown("tcp", HOSTILE), failed("tcp", error), not_looked_at("tcp", HOSTILE)):
        for text in (check.says, check.cause or "", check.next_step or ""):
            assert text.isprintable()
