"""What the lab does wrong on purpose, settable at start and while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["FAULT_NAMES", "UNREACHABLE_TEXTS", "Faults", "parse_fault"]

UNREACHABLE_TEXTS: dict[str, tuple[int, str]] = {
    "no-route": (500, "error dialing backend: dial tcp 10.96.0.9:443: connect: no route to host"),
    "bad-certificate": (500, "error dialing backend: remote error: tls: bad certificate"),
    "unavailable": (503, "service unavailable"),
}
"""What kube-apiserver answers, in plain text, when it cannot use virt-api: status and body (cases.md C-008)."""

FAULT_NAMES = ("virt-api-unreachable", *(f"virt-api-unreachable={kind}" for kind in UNREACHABLE_TEXTS), "strip-upgrade")


@dataclass(slots=True, kw_only=True)
class Faults:
    """The faults in force now; the lab looks at each request, so a change works at once."""

    virt_api_unreachable: str | None = None
    """A key of UNREACHABLE_TEXTS: every subresource request is answered with that text."""
    strip_upgrade: bool = False
    """A front proxy that removes the Connection and Upgrade headers of every request (cases.md C-009)."""
    seen: dict[str, int] = field(default_factory=dict)
    """How often each fault has been met, for tests."""

    def __post_init__(self) -> None:
        if self.virt_api_unreachable is not None and self.virt_api_unreachable not in UNREACHABLE_TEXTS:
            raise ValueError(f"virt-api-unreachable knows {', '.join(UNREACHABLE_TEXTS)}")

    def met(self, name: str) -> None:
        """Count one request that a fault has changed."""
        self.seen[name] = self.seen.get(name, 0) + 1


def parse_fault(word: str, faults: Faults) -> None:
    """Set one fault from a command line word (`strip-upgrade`, `virt-api-unreachable[=TEXT]`); ValueError for others."""
    name, _, kind = word.partition("=")
    if name == "virt-api-unreachable" and (kind or "no-route") in UNREACHABLE_TEXTS:
        faults.virt_api_unreachable = kind or "no-route"
    elif word == "strip-upgrade":
        faults.strip_upgrade = True
    else:
        raise ValueError(f"no such fault; there are {', '.join(FAULT_NAMES)}")
