"""Which kubeconfig files are read, and reading them: --kubeconfig, else KUBECONFIG, else ~/.kube/config."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.clean import clean
from broker.errors import SettingsError
from broker.kube.kubeconfig import Kubeconfig, decode, merge

SIZE_LIMIT_BYTES: Final = 16 * 1024 * 1024
"""Bytes of one kubeconfig at most: thousands of clusters with their certificates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """The merged value (empty when no file was there) and every path that was looked at."""

    config: Kubeconfig
    looked_at: tuple[Path, ...]


def read_files(kubeconfig: str | None, environ: Mapping[str, str]) -> Read:
    """Read and merge what kubectl would read; `kubeconfig` (the flag) names one file, which must exist.

    Missing and empty files of the list are skipped; SettingsError for one that cannot be read or is broken.
    """
    if kubeconfig:
        path = absolute(kubeconfig)
        content = _read(path)
        if content is None:
            raise SettingsError(
                f"the kubeconfig {clean(path)} does not exist", code="kubeconfig-missing", next_step="check --kubeconfig"
            )
        return Read(config=decode(content, path), looked_at=(path,))
    looked_at = _listed(environ)
    found = [(content, path) for path in looked_at if (content := _read(path)) is not None]
    return Read(config=merge(decode(content, path) for content, path in found), looked_at=looked_at)


def none_found(looked_at: tuple[Path, ...]) -> SettingsError:
    """Make the error for a machine without any kubeconfig; it lists the paths looked at."""
    where = ", ".join(clean(path) for path in looked_at) or "KUBECONFIG is set and names no file"
    return SettingsError(
        f"no kubeconfig was found (looked at: {where})",
        code="kubeconfig-missing",
        next_step="log in to a cluster, or name a file with --kubeconfig; --lab needs none",
    )


def _listed(environ: Mapping[str, str]) -> tuple[Path, ...]:
    value = environ.get("KUBECONFIG", "")
    if value:
        return tuple(dict.fromkeys(absolute(word) for word in value.split(os.pathsep) if word))
    home = environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111
    return (absolute(os.path.join(home, ".kube", "config")),)  # noqa: PTH118


def absolute(path: str) -> Path:
    """Return a path as one that holds from any directory; SettingsError where it is relative to a directory that is gone."""
    try:
        return Path(os.path.abspath(path))  # noqa: PTH100
    except FileNotFoundError:
        raise SettingsError(
            f"the kubeconfig {clean(path)} cannot be found",
            code="directory-gone",
            cause="its path is relative, and the current directory no longer exists",
            next_step="go to a directory that exists (cd), or name the file by its whole path",
        ) from None


def _read(path: Path) -> bytes | None:
    try:
        with open(path, "rb") as file:
            content = file.read(SIZE_LIMIT_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise SettingsError(
            f"the kubeconfig {clean(path)} cannot be read: {clean(exc.strerror)}",
            code="kubeconfig-unreadable",
            next_step="check the path and the file's mode",
        ) from exc
    if len(content) > SIZE_LIMIT_BYTES:
        raise SettingsError(
            f"the kubeconfig {clean(path)} is larger than {SIZE_LIMIT_BYTES >> 20} MiB",
            code="kubeconfig-unreadable",
            next_step="check the path",
        )
    return content
