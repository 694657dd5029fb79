"""A range of loopback addresses for each lab, so that several run side by side."""

from __future__ import annotations

import hashlib
import socket
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["AddressRange"]

_CLAIM_PORT = 20022
_TRIES = 200


class AddressRange:
    """A claimed range `127.A.B.0/24`; the claim is a bound port in it, which ends with the process whatever happens.

    Raises OSError when no range is free. macOS has one loopback address: there the range is `127.0.0`, unclaimed.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._claim: socket.socket | None = None
        self.network = "127.0.0"

    def __enter__(self) -> Self:
        if sys.platform == "darwin":
            return self
        seed = hashlib.sha256(str(self._directory.absolute()).encode()).digest()
        start = int.from_bytes(seed[:4], "big")
        for attempt in range(_TRIES):
            number = (start + attempt * 7919) % (126 * 254)
            network = f"127.{1 + number // 254}.{1 + number % 254}"
            claim = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                claim.bind((f"{network}.254", _CLAIM_PORT))
            except OSError:
                claim.close()
                continue
            claim.listen(1)
            self._claim, self.network = claim, network
            return self
        raise OSError("no free range of loopback addresses was found")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._claim is not None:
            self._claim.close()
            self._claim = None
