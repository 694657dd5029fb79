"""The pod addresses of instances that start while the lab runs: of its loopback network, or made up where it has none."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Places"]

_FIRST, _LAST = 100, 249
_MADE_UP = "10.128.0"


@dataclass(slots=True)
class Places:
    """The free addresses below `network` (three numbers); the seed's own lie below .100. Without a network: 10.128.0.x."""

    network: str = ""
    _taken: dict[str, tuple[str, str]] = field(default_factory=dict)
    _next: int = _FIRST

    def take(self, key: tuple[str, str]) -> str:
        """Return an address for an instance: another one than last time while there are free ones."""
        for _ in range(_FIRST, _LAST + 1):
            address = f"{self.network or _MADE_UP}.{self._next}"
            self._next = _FIRST if self._next == _LAST else self._next + 1
            if address not in self._taken:
                self._taken[address] = key
                return address
        return f"{_MADE_UP}.250"

    def give_back(self, key: tuple[str, str]) -> None:
        """Free the addresses of an instance that is gone."""
        for address in [address for address, holder in self._taken.items() if holder == key]:
            del self._taken[address]

    def is_ours(self, address: str) -> bool:
        """Whether a guest of the lab can listen there."""
        return bool(self.network) and address.startswith(f"{self.network}.")
