"""Whether a machine runs, by strategy and phase, where the table of situations has one row only."""

from __future__ import annotations

import pytest

from broker.facts.run_state import being_stopped, not_running
from tests.broker.truth_table import DYING, Place, instance, machine


def code(strategy: str, phase: str | None, printable: str = "Stopped", created: bool = False) -> str:
    vmi = instance(Place(), phase=phase) if phase is not None else None
    found = not_running(machine(Place(), printable=printable, created=created, run_strategy=strategy), vmi)
    return found.code if found is not None else ""


@pytest.mark.parametrize(
    ("strategy", "phase", "expected"),
    [
        ("Always", "Succeeded", "vm-starting"),
        ("Always", None, "vm-starting"),
        ("RerunOnFailure", "Failed", "vm-starting"),
        ("RerunOnFailure", "Succeeded", "vm-stopped"),
        ("RerunOnFailure", None, "vm-stopped"),
        ("Manual", "Failed", "vm-stopped"),
        ("Once", "Succeeded", "vm-stopped"),
        ("Halted", None, "vm-stopped"),
        ("", None, "vm-stopped"),
        ("Halted", "Running", ""),
        ("Halted", "Unknown", ""),
        ("Always", "", "vm-starting"),
        ("Always", "Pending", "vm-starting"),
    ],
)
def test_an_ended_instance_is_stopped_or_made_anew(strategy: str, phase: str | None, expected: str) -> None:
    assert code(strategy, phase) == expected


def test_a_status_that_nobody_knows_is_told_as_it_stands() -> None:
    found = not_running(machine(Place(), printable="Hibernating", created=False, run_strategy="Halted"), None)
    assert found is not None
    assert (found.code, found.cause) == ("vm-not-running", "its status is Hibernating")


def test_a_running_instance_that_is_being_deleted_still_runs() -> None:
    vmi = instance(Place(), deleted=True)
    assert not_running(machine(Place()), vmi) is None
    for vm in (machine(Place()), machine(Place(), run_strategy="Halted"), None):
        found = being_stopped(vm, vmi)
        assert found is not None
        assert found.code == "vm-stopping"
    deleted = being_stopped(machine(Place(), deleted=True), vmi)
    assert deleted is not None
    assert deleted.code == "vm-deleting"
    assert being_stopped(machine(Place()), instance(Place())) is None
    assert being_stopped(machine(Place()), instance(Place(), conditions=[DYING])) is not None
