"""Lengths of time, people, and when a credential ends."""

from __future__ import annotations

import pytest

from broker.actions.checkup.words import expiry_check, people, until

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59, "59 s"), (60, "1 min"), (3 * 3600 + 5, "3 h"), (86_400 * 23.5, "23 d"), (-3, "0 s")],
)
def test_a_length_of_time_has_one_unit(seconds: float, words: str) -> None:
    assert until(seconds) == words


def test_an_expired_credential_fails_and_an_untold_end_is_unknown() -> None:
    expired = expiry_check("token", NOW - 7200, NOW)
    assert (expired.state, expired.says, expired.error_code) == ("failed", "the token expired 2 h ago", "credential-expired")
    assert expiry_check("token", NOW + 7200, NOW).says == "in 2 h (token)"
    assert "log in again soon" in expiry_check("client certificate", NOW + 60, NOW).says
    assert expiry_check("token", None, NOW).state == "unknown"
    assert expiry_check("none", None, NOW).state == "unknown"


def test_a_person_is_named_with_few_groups_and_cleaned() -> None:
    assert people("alice", ()) == "you are alice"
    many = people("al\x1bice", tuple(f"team-{n}" for n in range(9)))
    assert many == "you are alice (groups team-0, team-1, team-2, team-3 and 5 more)"
