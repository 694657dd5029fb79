"""Reads the settings files and the environment of this machine; the only file of the room that touches a disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.clean import clean
from broker.config.document import Document, Problem, read_document
from broker.config.merge import from_environment, from_flags, merge
from broker.config.settings import Layer, Settings
from broker.errors import SettingsError

SYSTEM_FILE: Final = Path("/etc/vmbroker/vmbroker.toml")
SIZE_LIMIT_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the two settings files are looked for; neither need exist."""

    system: Path
    user: Path


def places(environ: Mapping[str, str]) -> Places:
    """Return the places of this user: /etc/vmbroker, and XDG_CONFIG_HOME (absolute) or ~/.config (XDG base directories)."""
    base = environ.get("XDG_CONFIG_HOME", "")
    home = Path(base) if base.startswith("/") else Path(environ.get("HOME") or Path("~").expanduser()) / ".config"
    return Places(system=SYSTEM_FILE, user=home / "vmbroker" / "vmbroker.toml")


def load_settings(
    environ: Mapping[str, str],
    *,
    context: str | None = None,
    sets: Sequence[str] = (),
    no_color: bool = False,
    at: Places | None = None,
) -> Settings:
    """Return the settings of this run for a kubeconfig context.

    Raises SettingsError for the first thing wrong (file and line named), UsageError for a bad --set, Refused for a locked key.
    """
    documents = read_layers(environ, at=at)
    for problem in (problem for document in documents for problem in document.problems):
        raise SettingsError(f"{clean(problem.place, 1024)}: {problem.message}", next_step=problem.next_step)
    return merge([*documents, from_flags(sets, no_color=no_color)], context=context)


def check_settings(environ: Mapping[str, str], *, at: Places | None = None) -> tuple[Problem, ...]:
    """Return everything that is wrong with the settings of this machine, in the order of the layers."""
    documents = read_layers(environ, at=at)
    problems = [problem for document in documents for problem in document.problems]
    contexts = {a.context for document in documents for a in document.assignments}
    try:
        for context in sorted(contexts, key=lambda name: name or ""):
            merge(documents, context=context)
    except SettingsError as exc:
        problems.append(Problem(place="merged", message=exc.message, next_step=exc.next_step))
    return tuple(problems)


def read_layers(environ: Mapping[str, str], *, at: Places | None = None) -> tuple[Document, ...]:
    """Read the system file, the user file and the environment, weakest first; a missing file says nothing."""
    at = at or places(environ)
    return (_read(at.system, "system"), _read(at.user, "user"), from_environment(environ))


def _read(path: Path, layer: Layer) -> Document:
    try:
        with path.open("rb") as file:
            problem = _unsafe(os.fstat(file.fileno()), path)
            if problem:
                return Document(problems=(problem,))
            text = file.read(SIZE_LIMIT_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return Document()
    except OSError as exc:
        return Document(problems=(Problem(place=str(path), message=f"cannot be read: {clean(exc.strerror)}"),))
    if len(text) > SIZE_LIMIT_BYTES:
        return Document(problems=(Problem(place=str(path), message="is larger than 1 MiB"),))
    try:
        return read_document(text.decode(), path=str(path), layer=layer)
    except UnicodeDecodeError as exc:
        line = text[: exc.start].count(b"\n") + 1
        return Document(problems=(Problem(place=f"{path}:{line}", message="is not UTF-8 text"),))


def _unsafe(state: os.stat_result, path: Path) -> Problem | None:
    """Settings name a program that we run: nobody but their owner and root may write them."""
    if not stat.S_ISREG(state.st_mode):
        return Problem(place=str(path), message="is not a regular file")
    if state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return Problem(
            place=str(path), message="may be written by other users", next_step=f"run: chmod go-w {clean(path, 1024)}"
        )
    if state.st_uid not in (0, os.geteuid()):
        return Problem(place=str(path), message="belongs to another user", next_step="copy it and use the copy")
    return None
