"""`doctor` and the user's own OpenSSH: which one, do our aliases lead to us, is there a key to log in with."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from broker.actions.checkup.board import Board
from broker.actions.checkup.check import unknown
from broker.actions.checkup.ssh_verdicts import settle_findings
from broker.actions.checkup.ssh_words import key_check, read_options, socket_check, version_check
from broker.clean import clean, escaped
from broker.errors import Failed
from broker.kube.session import in_thread
from broker.tasks import Supervisor

if TYPE_CHECKING:
    from broker.config.settings import Settings

CODES: Final = ("ssh-version", "ssh-include", "ssh-alias", "ssh-jump", "ssh-control-path", "ssh-key", "ssh-file")
"""What this module settles."""
_OUTPUT_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """One program that ran to its end: its exit status and what it wrote, cut at 256 KiB each."""

    status: int
    output: str
    words: str


async def run(argv: Sequence[str], environ: Mapping[str, str]) -> Done:
    """Run a program without stdin; Failed where it cannot be started; ended with its children when we are cancelled."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(environ),
            process_group=0,
        )
    except (OSError, ValueError) as exc:
        raise Failed(
            f"{escaped(argv[0])} cannot be run",
            code="program-missing" if isinstance(exc, FileNotFoundError) else "program-unusable",
            cause=clean(getattr(exc, "strerror", None) or exc),
            next_step="install the package openssh-client, or set ssh.program (`vmbroker config show --origin`)",
        ) from exc
    try:
        output, words = await process.communicate()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            await process.wait()
    return Done(
        status=process.returncode or 0,
        output=output[:_OUTPUT_BYTES].decode("utf-8", "replace"),
        words=words[:_OUTPUT_BYTES].decode("utf-8", "replace"),
    )


async def check_program(board: Board, settings: Settings, environ: Mapping[str, str]) -> None:
    """Ask OpenSSH for its version."""
    async with board.judging("ssh-version"):
        done = await run([settings.ssh.program, "-V"], environ)
        board.settle(version_check(done.status, done.words or done.output))


async def check_key(
    board: Board,
    settings: Settings,
    environ: Mapping[str, str],
    *,
    file: Path | None,
    alias: str,
    identity: str | None,
) -> None:
    """Look for what ssh could log in with: `alias` is a host word of ours, `identity` the lab's own key file.

    `file` is the user's ssh configuration, None for the files that ssh reads by itself.
    """
    async with board.judging("ssh-key"):
        await board.need("ssh-version", by=("ssh-key",))
        done = await run(asking(settings, file, alias), environ)
        if done.status != 0:
            board.settle(unknown("ssh-key", f"ssh -G does not read your configuration: {clean(done.words, 200)}"))
            return
        options = read_options(done.output)
        files = (identity,) if identity else options.get("identityfile", ())
        there = await in_thread(lambda: [path for path in files if _expanded(path).is_file()])
        agent = options.get("identityagent", (environ.get("SSH_AUTH_SOCK", ""),))[0]
        keys = await _agent_keys(environ, agent)
        board.settle(key_check([clean(path, 120) for path in there], keys, tried=len(files)))


async def check_configuration(
    board: Board,
    settings: Settings,
    environ: Mapping[str, str],
    *,
    file: Path | None,
    names: Sequence[str],
    labels: dict[str, str] | None,
    limit_s: float,
) -> None:
    """Settle what `vmbroker ssh-config check` finds; the first of `names` is the longest alias that is known.

    `file` is the user's ssh configuration, None for ~/.ssh/config.
    """
    from broker.actions.check_ssh_config import findings

    codes = ("ssh-include", "ssh-alias", "ssh-jump", "ssh-control-path", "ssh-file")
    async with board.judging(*codes):
        await board.need("ssh-version", by=codes)
        async with Supervisor("doctor-ssh") as tasks:
            done = tasks.start(run(asking(settings, file, names[0]), environ), name="longest")
            found = await in_thread(
                lambda: findings(file, program=settings.ssh.program, names=names, labels=labels, limit_s=limit_s)
            )
            said = await done
        measured = socket_check(names[0], read_options(said.output), sys.platform) if said.status == 0 else None
        for check in settle_findings(found, measured):
            board.settle(check)


def asking(settings: Settings, file: Path | None, alias: str) -> list[str]:
    """Return the argv that asks ssh what it would do for a host word."""
    return [settings.ssh.program, "-G", *(["-F", str(file)] if file is not None else []), "--", alias]


async def _agent_keys(environ: Mapping[str, str], agent: str) -> int | None:
    """Return how many keys the agent holds, None where there is no agent; SSH_AUTH_SOCK and `none` as ssh_config has them."""
    if agent in ("SSH_AUTH_SOCK", ""):
        agent = environ.get("SSH_AUTH_SOCK", "")
    if agent in ("", "none"):
        return None
    path = await in_thread(lambda: _expanded(agent))
    done = await run(["ssh-add", "-l"], {**environ, "SSH_AUTH_SOCK": str(path)})
    if done.status == 1:
        return 0
    return len(done.output.splitlines()) if done.status == 0 else None


def _expanded(path: str) -> Path:
    """Give `~` the meaning that ssh gives it: the home of the passwd entry, whatever HOME says."""
    if not path.startswith("~/"):
        return Path(path)
    import pwd

    return Path(pwd.getpwuid(os.getuid()).pw_dir) / path[2:]
