"""Words that several checks of `doctor` share: moments, people, credentials. **Pure.**"""

from __future__ import annotations

from broker.actions.checkup.check import Check, failed, ok, unknown
from broker.clean import clean
from broker.errors import CredentialError

_GROUPS_SHOWN = 4
_SOON_S = 600.0


def until(seconds: float) -> str:
    """Say a length of time in one unit: `3 h`, `12 min`, `40 s`."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(int(seconds), 0)} s"


def people(user: str, groups: tuple[str, ...]) -> str:
    """Name a person with at most four groups."""
    shown = [clean(group, 64) for group in groups[:_GROUPS_SHOWN]]
    more = f" and {len(groups) - _GROUPS_SHOWN} more" if len(groups) > _GROUPS_SHOWN else ""
    return f"you are {clean(user, 128)}" + (f" (groups {', '.join(shown)}{more})" if shown else "")


def expiry_check(kind: str, expires_at: float | None, now_s: float) -> Check:
    """Judge when a credential ends; times in seconds since 1970."""
    if kind == "none":
        return unknown("credential-expiry", "there is no credential that could end")
    if expires_at is None:
        return unknown("credential-expiry", f"the {kind} does not tell")
    left_s = expires_at - now_s
    if left_s <= 0:
        return failed(
            "credential-expiry",
            CredentialError(
                f"the {kind} expired {until(-left_s)} ago",
                code="credential-expired",
                next_step="log in again, then try again",
            ),
        )
    soon = ": log in again soon" if left_s < _SOON_S else ""
    return ok("credential-expiry", f"in {until(left_s)} ({kind}){soon}")
