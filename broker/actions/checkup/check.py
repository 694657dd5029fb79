"""What `doctor` looks at and what it found, as values. **Pure.**

The catalogue names every check once; a check that has no result when the budget ends is still listed, as unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from broker.clean import clean
from broker.errors import BrokerError

State = Literal["ok", "failed", "unknown"]
STATES: Final[tuple[State, ...]] = ("ok", "failed", "unknown")

Group = Literal["cluster", "rights", "vm", "ssh"]
GROUPS: Final[Mapping[Group, str]] = {
    "cluster": "Cluster",
    "rights": "Your rights",
    "vm": "The VM",
    "ssh": "Your ssh configuration",
}
"""The groups in their order, with the title of each."""

SAYS_LIMIT: Final = 400
"""Characters of one line of a check."""

CATALOGUE: Final[Mapping[str, tuple[Group, str]]] = {
    "kubeconfig": ("cluster", "kubeconfig"),
    "context": ("cluster", "context"),
    "proxy": ("cluster", "proxy"),
    "server-name": ("cluster", "server name"),
    "tcp": ("cluster", "TCP connection"),
    "tls-trust": ("cluster", "TLS trusted"),
    "tls-names": ("cluster", "certificate names"),
    "credential": ("cluster", "credential at hand"),
    "credential-expiry": ("cluster", "credential expires"),
    "identity": ("cluster", "credential accepted"),
    "api-version": ("cluster", "API server"),
    "kubevirt": ("cluster", "KubeVirt installed"),
    "virt-api": ("cluster", "virt-api answers"),
    "upgrade": ("cluster", "websocket upgrade"),
    "list-vms": ("rights", "list VMs"),
    "watch-vms": ("rights", "watch VMs"),
    "list-vmis": ("rights", "list VMIs"),
    "watch-vmis": ("rights", "watch VMIs"),
    "portforward-vm": ("rights", "port-forward to a VM"),
    "portforward-vmi": ("rights", "port-forward to a VMI"),
    "guestosinfo": ("rights", "read guest information"),
    "vm-exists": ("vm", "exists"),
    "vm-running": ("vm", "runs"),
    "vm-paused": ("vm", "not paused"),
    "vm-interface": ("vm", "network interface"),
    "vm-pod-network": ("vm", "first is the pod network"),
    "vm-primary-network": ("vm", "primary network"),
    "vm-address": ("vm", "address"),
    "vm-port-listed": ("vm", "port in its list"),
    "vm-port": ("vm", "port opens"),
    "vm-banner": ("vm", "SSH answers"),
    "vm-agent": ("vm", "guest agent"),
    "vm-user": ("vm", "guest user"),
    "ssh-version": ("ssh", "OpenSSH"),
    "ssh-include": ("ssh", "our Include"),
    "ssh-alias": ("ssh", "alias leads to us"),
    "ssh-jump": ("ssh", "no ProxyJump before us"),
    "ssh-control-path": ("ssh", "ControlPath fits"),
    "ssh-key": ("ssh", "key or agent"),
    "ssh-file": ("ssh", "your own file"),
}
"""Every check by its code, in the order in which it is shown: its group and its title."""

OF_TARGET: Final = frozenset(code for code, (group, _) in CATALOGUE.items() if group == "vm")
"""The checks that need a target; without one they are not listed, but for the upgrade, which says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check: `says` is one clean line, `took_s` from the start to its end, `error_code` what ssh would show."""

    code: str
    state: State
    says: str
    cause: str | None = None
    next_step: str | None = None
    error_code: str | None = None
    took_s: float = 0.0

    @property
    def group(self) -> Group:
        """The group it belongs to."""
        return CATALOGUE[self.code][0]

    @property
    def title(self) -> str:
        """Its name for people."""
        return CATALOGUE[self.code][1]

    def as_json(self) -> dict[str, object]:
        """The check as it stands in `checks` of the JSON document."""
        return {
            "group": self.group,
            "name": self.code,
            "title": self.title,
            "state": self.state,
            "says": self.says,
            "code": self.error_code,
            "cause": self.cause,
            "nextStep": self.next_step,
            "seconds": round(self.took_s, 3),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Every check in the catalogue's order, for a target as typed or None, within a budget in seconds."""

    checks: tuple[Check, ...]
    target: str | None
    context: str | None
    budget_s: float
    took_s: float

    def count(self, state: State) -> int:
        """How many checks have this state."""
        return sum(check.state == state for check in self.checks)

    @property
    def has_failed(self) -> bool:
        """Whether any check failed: unknown ones do not count."""
        return self.count("failed") > 0

    def of(self, group: Group) -> tuple[Check, ...]:
        """The checks of one group."""
        return tuple(check for check in self.checks if check.group == group)

    def as_json(self) -> dict[str, object]:
        """The document without its apiVersion and kind."""
        counts: dict[str, object] = {state: self.count(state) for state in STATES}
        return {
            "target": self.target,
            "context": self.context,
            "checks": [check.as_json() for check in self.checks],
            "summary": {**counts, "seconds": round(self.took_s, 3), "budgetSeconds": self.budget_s},
        }


def ok(code: str, says: object) -> Check:
    """A check that found what it should; `says` may be foreign text."""
    return Check(code=code, state="ok", says=clean(says, SAYS_LIMIT))


def unknown(code: str, says: object, *, cause: str | None = None, next_step: str | None = None) -> Check:
    """A check that cannot tell, and why not; `says` may be foreign text."""
    return Check(code=code, state="unknown", says=clean(says, SAYS_LIMIT), cause=cause, next_step=next_step)


def failed(code: str, error: BrokerError) -> Check:
    """A check that failed, in the words of the error that any other command would give."""
    return Check(
        code=code,
        state="failed",
        says=clean(error.message, SAYS_LIMIT),
        cause=clean(error.cause, SAYS_LIMIT) if error.cause else None,
        next_step=clean(error.next_step, SAYS_LIMIT) if error.next_step else None,
        error_code=error.code,
    )


def not_looked_at(code: str, why: str) -> Check:
    """A check whose precondition is not there."""
    return unknown(code, f"not looked at: {why}")


def title_of(code: str) -> str:
    """The name of a check for people."""
    return CATALOGUE[code][1]


def ordered(found: Iterable[Check], *, has_target: bool) -> tuple[Check, ...]:
    """Sort checks by the catalogue, without those of a target where there is none."""
    by_code = {check.code: check for check in found}
    return tuple(by_code[code] for code in CATALOGUE if code in by_code and (has_target or code not in OF_TARGET))
