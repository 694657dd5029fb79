"""Prove by `ssh -G` on copies that our aliases lead to us and that other hosts are as they were, before anything is written."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.actions.ask_ssh_config import Effective, effective
from broker.actions.locate_ssh_config import Places
from broker.actions.read_ssh_config import read_config, user_file
from broker.actions.write_ssh_files import Folder
from broker.clean import clean
from broker.errors import Failed, SettingsError
from broker.paths.openssh import alias_command
from broker.paths.ssh_blocks import Cluster, Layout, samples
from broker.paths.ssh_findings import winner
from broker.paths.ssh_reading import read_line

LIMIT_S: Final = 20.0
"""Seconds that all runs of `ssh -G` of one installation may take."""
_OTHERS_LIMIT: Final = 6
_INDENT: Final = 64
_CONTEXTS_LIMIT: Final = 64
_ADDED_LINES: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """One installation's trial: what ssh makes of the user's file without us (`known`), and until when it may be asked."""

    layout: Layout
    places: Places
    program: str
    known: Mapping[str, Effective]
    ends: float

    @property
    def aliases(self) -> tuple[str, ...]:
        """Host words that must lead to us."""
        return tuple(word for word, _ in _samples(self.layout))

    @property
    def compared(self) -> tuple[str, ...]:
        """Other hosts for which ssh had an answer, which must stay the same."""
        return tuple(name for name, each in self.known.items() if each.error is None)

    @property
    def uncompared(self) -> tuple[str, ...]:
        """Other hosts for which ssh had none in time."""
        return tuple(name for name, each in self.known.items() if each.error is not None)

    def failure(self, folder: Folder, data: bytes) -> Failed | None:
        """Try the user's new bytes on a copy beside the file; None where all is as it should be."""
        wanted = dict(_samples(self.layout))
        with _copy(folder, self.places, data) as copy:
            found = effective(self.program, (*wanted, *self.compared), file=copy, limit_s=_rest(self.ends))
            for word, cluster in wanted.items():
                got = found[word]
                if got.error is not None or got.options.get("proxycommand") != alias_command(cluster.origin):
                    return _not_ours(self.places, copy, word, got)
        for name in self.compared:
            if found[name].text != self.known[name].text:
                return Failed(
                    f"ssh would treat the host {clean(name)} otherwise than before",
                    code="ssh-config-proof",
                    cause=_renamed(found[name].error, copy, self.places) or _difference(self.known[name], found[name]),
                    next_step="nothing was changed; report this with your ssh's version",
                )
        return None


def baseline(
    layout: Layout, places: Places, folder: Folder, data: bytes, text: str, *, program: str, limit_s: float = LIMIT_S
) -> Proof:
    """Ask ssh about other hosts with the user's bytes as they are without us; `text` is the same, decoded.

    Half of `limit_s` is left for what follows.

    SettingsError where ssh refuses that file, Failed where ssh cannot be run.
    """
    ends = time.monotonic() + limit_s
    others = _others(text, layout)
    with _copy(folder, places, data) as copy:
        known = effective(program, others, file=copy, limit_s=limit_s / 2)
    answers = list(known.values())
    if places.file == user_file():
        # Only where it finds the file by itself does ssh look at owner and mode.
        answers += effective(program, others[:1], file=None, limit_s=_rest(ends) / 2).values()
    _need_answer(answers, copy, places)
    return Proof(layout=layout, places=places, program=program, known=known, ends=ends)


def _need_answer(answers: Sequence[Effective], copy: Path, places: Places) -> None:
    for each in answers:
        if each.trouble == "unusable":
            raise Failed(
                "ssh cannot be run, so nothing can be proven",
                code="program-missing",
                cause=each.error,
                next_step="install the package openssh-client, or set ssh.program (`vmbroker config show --origin`)",
            )
        if each.trouble == "refused":
            raise SettingsError(
                f"ssh refuses {clean(places.file, 1024)} as it is",
                code="ssh-config-broken",
                cause=_renamed(each.error, copy, places),
                next_step="mend that first; nothing was changed",
            )


def _renamed(error: str | None, copy: Path, places: Places) -> str | None:
    return clean(error.replace(copy.name, places.real.name), 512) if error else None


def _not_ours(places: Places, copy: Path, word: str, got: Effective) -> Failed:
    by = winner(read_config(copy, places.own).entries, word)
    said = got.options.get("proxycommand") or got.options.get("proxyjump")
    if got.error is not None:
        cause = _renamed(got.error, copy, places)
    elif by is not None:
        place = f"{clean(places.file, 1024)}:{by.line.number - _ADDED_LINES}" if by.file == str(copy) else by.place
        cause = f"{place} wins"
    else:
        cause = f"ssh -G says {clean(said)}" if said else "ssh -G shows none"
    return Failed(
        f"ssh would not use our ProxyCommand for {clean(word)}",
        code="ssh-config-proof",
        cause=cause,
        next_step="nothing was changed; `vmbroker ssh-config check` lists what is in the way",
    )


def _difference(old: Effective, new: Effective) -> str:
    changed = sorted(key for key in {*old.options, *new.options} if old.options.get(key) != new.options.get(key))
    return clean("changed: " + ", ".join(changed[:4])) if changed else "the order of its options changed"


def _others(text: str, layout: Layout) -> tuple[str, ...]:
    """A sample of hosts that are not ours: one that no line names, and some that the user's Host lines do."""
    words = [
        word.replace("*", "x").replace("?", "x").lower()
        for raw in text.split("\n")
        if "host" in raw[:_INDENT].lower() and (line := read_line(raw)) is not None and line.keyword == "host"
        for word in line.words
        if word[:1] != "!" and word != "*"
    ]
    plain = [word for word in dict.fromkeys(words) if _is_other(word, layout)]
    step = max(1, len(plain) // (_OTHERS_LIMIT - 1))
    return ("example.com", *plain[::step][: _OTHERS_LIMIT - 1])


def _is_other(word: str, layout: Layout) -> bool:
    labels = word.rstrip(".").split(".")
    is_ours = "vm" in (labels[-1], *labels[-2:-1]) or (layout.has_virtctl_aliases and labels[0] in ("vm", "vmi"))
    return not is_ours and word.isascii() and word[:1] != "-" and all(char.isalnum() or char in ".-_" for char in word)


def _samples(layout: Layout) -> tuple[tuple[str, Cluster], ...]:
    return samples(layout)[: _CONTEXTS_LIMIT + 8]


def _rest(ends: float) -> float:
    return max(ends - time.monotonic(), 0.0)


@contextlib.contextmanager
def _copy(folder: Folder, places: Places, data: bytes) -> Iterator[Path]:
    fresh = folder.write_beside(places.real.name, data, None, lasts=False)
    try:
        yield folder.path / fresh
    finally:
        folder.discard(fresh)
