"""Names that completion knows without asking a cluster: one small file a cluster and person, renewed behind the scenes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.clean import is_plain
from broker.refs import LABEL_LIMIT, is_name

FRESH_S: Final = 20.0
"""A snapshot younger than this is not renewed."""
LOCK_S: Final = 90.0
"""A renewal that is older than this has died."""
KEPT_S: Final = 30 * 86400.0
"""Snapshots that were not renewed for so long are removed."""
NAMES_LIMIT: Final = 20_000
SIZE_LIMIT_BYTES: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What completion offers: the context's namespace, contexts, and VMs as (namespace, name, kind vm or vmi)."""

    namespace: str = "default"
    contexts: tuple[str, ...] = ()
    vms: tuple[tuple[str, str, str], ...] = ()

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Namespaces in which a VM is known, sorted."""
        return tuple(sorted({namespace for namespace, _, _ in self.vms}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A snapshot as it was found: `age_s` None where there is none."""

    names: Names
    age_s: float | None


def place(environ: Mapping[str, str], *, kubeconfig: str | None, words: Sequence[str]) -> Path:
    """Return the file for a cluster and person: it follows from the kubeconfig's path and state, and the global flags.

    A kubeconfig that changed names another file, since its current context may be another.
    """
    home = environ.get("HOME") or str(Path("~").expanduser())
    listed = [kubeconfig] if kubeconfig else (environ.get("KUBECONFIG") or f"{home}/.kube/config").split(":")
    parts: list[str] = [*words]
    for path in listed:
        with contextlib.suppress(OSError, ValueError):
            state = Path(path).stat()
            parts.append(f"{Path(path).absolute()} {state.st_mtime_ns} {state.st_size}")
    base = environ.get("XDG_CACHE_HOME", "")
    folder = Path(base) if base.startswith("/") else Path(home) / ".cache"
    name = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return folder / "vmbroker" / "names" / f"{name}.json"


def read(path: Path) -> Held:
    """Read a snapshot; whatever is wrong with it counts as none, and names that could not be names are dropped."""
    nothing = Held(names=Names(), age_s=None)
    try:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            if state.st_uid != os.geteuid() or state.st_size > SIZE_LIMIT_BYTES:
                return nothing
            document = json.load(file)
        vms = tuple((ns, name, kind) for ns, name, kind in document["vms"] if _is_vm(ns, name, kind))
        contexts = tuple(context for context in document["contexts"] if isinstance(context, str) and is_plain(context))
        namespace = document["namespace"] if _is_label(document["namespace"]) else "default"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return nothing
    return Held(names=Names(namespace=namespace, contexts=contexts, vms=vms), age_s=max(time.time() - state.st_mtime, 0.0))


def _is_label(value: object) -> bool:
    return isinstance(value, str) and is_name(value) and "." not in value and len(value) <= LABEL_LIMIT


def _is_vm(namespace: object, name: object, kind: object) -> bool:
    return _is_label(namespace) and isinstance(name, str) and is_name(name) and kind in ("vm", "vmi")


def write(path: Path, names: Names) -> None:
    """Replace a snapshot whole, private to its owner, and remove what nobody has renewed for a month; OSError on failure."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    document = {"namespace": names.namespace, "contexts": names.contexts, "vms": names.vms[:NAMES_LIMIT]}
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(document, file)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    for other in path.parent.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - other.stat().st_mtime > KEPT_S:
                other.unlink()


def claim(path: Path) -> bool:
    """Say whether the caller may renew a snapshot now; nobody else may until `release`, or until the claim has died."""
    lock = path.with_suffix(".lock")
    with contextlib.suppress(OSError):
        lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if time.time() - lock.stat().st_mtime > LOCK_S:
                lock.unlink()
        os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
        return True
    return False


def release(path: Path) -> None:
    """End a claim."""
    with contextlib.suppress(OSError):
        path.with_suffix(".lock").unlink()
