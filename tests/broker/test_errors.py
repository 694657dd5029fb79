"""The classes of errors: one exit status each, the design's numbers."""

from __future__ import annotations

from broker import errors


def test_exit_statuses_are_the_documented_ones() -> None:
    statuses = {
        name: kind.exit_status
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.BrokerError)
    }
    assert statuses == {
        "BrokerError": 1,
        "Failed": 1,
        "UsageError": 2,
        "SettingsError": 2,
        "NotFound": 3,
        "NotPermitted": 4,
        "CredentialError": 4,
        "Unreachable": 5,
        "TrustError": 5,
        "GuestUnready": 5,
        "TimedOut": 6,
        "Refused": 7,
    }


def test_an_error_as_json_has_every_field() -> None:
    error = errors.GuestUnready("it is stopped", code="vm-stopped", cause="nobody started it", next_step="start it")
    assert error.as_json() == {
        "apiVersion": "vmbroker/v1",
        "kind": "Error",
        "code": "vm-stopped",
        "exitStatus": 5,
        "message": "it is stopped",
        "cause": "nobody started it",
        "nextStep": "start it",
    }
    assert errors.GuestUnready.code == "guest-unready"
