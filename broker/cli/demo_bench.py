"""Where the demo's steps are tried: a folder, an environment, and vmbroker and OpenSSH as processes in it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

WEB = "vm/web/shop"
"""The VM of the lab's seed that is well in every way (broker/lab/seed)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One private lab's surroundings: `words` start vmbroker, every process ends within `limit_s` seconds."""

    words: tuple[str, ...]
    environ: Mapping[str, str]
    folder: Path
    limit_s: float

    def argv(self, *words: str, lab: bool = True) -> list[str]:
        """The argv of vmbroker with `--lab` before its words."""
        return [*self.words, *(["--lab"] if lab else []), *words]

    def vmbroker(self, *words: str, lab: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run vmbroker to its end; TimeoutExpired past the limit."""
        return self.process(self.argv(*words, lab=lab), stdin=stdin)

    def process(
        self, argv: Sequence[str], *, stdin: str = "", environ: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run any program to its end with the bench's environment; TimeoutExpired past the limit."""
        return subprocess.run(
            list(argv),
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=self.limit_s,
            env={**self.environ, **(environ or {})},
            cwd=self.folder,
            check=False,
        )

    def random_file(self, name: str, size_bytes: int) -> Path:
        """Make a file of random bytes."""
        path = self.folder / name
        path.write_bytes(os.urandom(size_bytes))
        return path


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex; empty where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""
