"""What a wait that succeeded gives: a value of its own, so that whoever prints it loads nothing else. **Pure.**"""

from __future__ import annotations

from dataclasses import dataclass

from broker.actions.readiness import Aim
from broker.clean import Clean


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitResult:
    """What was waited for and came: `seen` says by what, `seconds_s` how long it took; `warnings` are clean lines."""

    target: str
    namespace: str
    name: str
    aim: Aim
    seconds_s: float
    seen: Clean
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """The result as `-o json` prints it (`kind: WaitResult`); keys only ever grow."""
        return {
            "apiVersion": "vmbroker/v1",
            "kind": "WaitResult",
            "target": self.target,
            "namespace": self.namespace,
            "name": self.name,
            "for": self.aim,
            "seconds": round(self.seconds_s, 3),
            "seen": self.seen,
            "warnings": list(self.warnings),
        }
