"""`vmbroker ssh-config`: install, print, check and remove what makes NAME.NAMESPACE.vm work in every tool."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from broker.clean import Clean, clean, escaped
from broker.cli import exits, output
from broker.cli.invocation import Invocation
from broker.errors import Failed, UsageError

if TYPE_CHECKING:
    from broker.actions.check_ssh_config import SshConfigCheck
    from broker.actions.locate_ssh_config import Places
    from broker.paths.ssh_blocks import Layout

_VERBS = ("install", "print", "check", "remove")
_ONLY = {"flat": ("print",), "virtctl_aliases": ("install", "print"), "follow_current": ("install", "print")}
_ONLY["per_vm"] = ("install", "print")


def run(invocation: Invocation) -> int:
    """Do one of the four; 1 from check where something defeats or endangers an alias, 128 + N after signal N.

    Raises as the actions do.
    """
    parsed = invocation.parsed
    verb = parsed.operands[0]
    if verb not in _VERBS:
        raise UsageError(f"ssh-config knows no {escaped(verb)}", next_step=f"say one of: {', '.join(_VERBS)}")
    for dest, verbs in _ONLY.items():
        if parsed.has(dest) and verb not in verbs:
            flag = "--" + dest.replace("_", "-")
            raise UsageError(f"{flag} means nothing to ssh-config {verb}", next_step=f"use it with {' or '.join(verbs)}")
    from broker.cli.ssh_stop import Stopped

    act = {"print": _print, "install": _install, "check": _check, "remove": _remove}[verb]
    try:
        return act(invocation)
    except Stopped as stopped:
        return stopped.status


def _print(invocation: Invocation) -> int:
    from broker.cli.ssh_layout import layout_of
    from broker.paths.ssh_blocks import flat_file, own_file

    if not output.is_open():
        raise Failed("the output could not be written", code="output", cause="stdout is closed", next_step="open it")
    layout = layout_of(invocation, control_dir=str(_places(invocation).control))
    _warn_of_globs(layout)
    is_flat = invocation.parsed.has("flat")
    text = flat_file(layout) if is_flat else own_file(layout)
    if is_flat and "%%" in text:
        exits.warn(["a path or context name holds '%', which paramiko does not read back (OpenSSH and asyncssh do)"])
    if invocation.parsed.output == "json":
        output.json(
            {
                "apiVersion": output.API_VERSION,
                "kind": "SshConfig",
                "flat": is_flat,
                "aliases": _aliases(layout),
                "text": text,
            }
        )
    else:
        output.text(text)
    return 0


def _install(invocation: Invocation) -> int:
    from broker.actions.install_ssh_config import put_in
    from broker.cli.ssh_layout import layout_of
    from broker.cli.ssh_stop import stoppable

    places = _places(invocation)
    layout = layout_of(invocation, control_dir=str(places.control))
    _warn_of_globs(layout)
    with stoppable(), exits.progress("proving the ssh configuration with ssh -G"):
        done = put_in(layout, places, program=invocation.settings().ssh.program)
    for name in done.uncompared:
        exits.warn([f"ssh -G had no answer for {clean(name)}: it was not compared with before"])
    if done.saved_edit is not None:
        exits.note(f"our file had been edited; that text is kept as {clean(done.saved_edit, 1024)}")
    if invocation.parsed.output == "json":
        output.json(
            {
                "apiVersion": output.API_VERSION,
                "kind": "SshConfigInstall",
                "file": clean(places.file, 1024),
                "include": clean(places.own, 1024),
                "backup": clean(done.backup, 1024) if done.backup else None,
                "changed": done.is_changed,
                "aliases": _aliases(layout),
                "proven": list(done.proven),
                "compared": list(done.compared),
            }
        )
        return 0
    lines = [
        f"{'installed' if done.is_changed else 'already installed, nothing changed'}: {clean(places.own, 1024)},"
        f" included by {clean(places.file, 1024)}",
        *([f"your file as it was: {clean(done.backup, 1024)}"] if done.backup else []),
        f"proven with ssh -G: {len(done.proven)} sample aliases lead to us, {len(done.compared)} other hosts are as before",
        *_mapping(layout),
        "try: ssh USER@NAME.NAMESPACE.vm",
    ]
    output.text("\n".join(lines))
    return 0


def _remove(invocation: Invocation) -> int:
    from broker.actions.remove_ssh_config import take_out
    from broker.cli.ssh_stop import stoppable

    places = _places(invocation)
    with stoppable():
        done = take_out(places)
    for reason in done.kept:
        exits.note(reason)
    if invocation.parsed.output == "json":
        output.json(
            {
                "apiVersion": output.API_VERSION,
                "kind": "SshConfigRemoval",
                "file": clean(places.file, 1024),
                "changed": done.is_changed,
                "lines": done.lines,
                "deleted": [clean(path, 1024) for path in done.deleted],
                "kept": list(done.kept),
            }
        )
        return 0
    file = clean(places.file, 1024)
    lines = [f"our Include is taken out of {file}"] if done.lines else []
    lines += [f"deleted {clean(path, 1024)}" for path in done.deleted]
    if not done.lines:
        why = "has no line of ours" if done.has_file else "is not there"
        lines.insert(0, f"{file} {why}" if lines else f"nothing to remove: {file} {why}")
    output.text("\n".join(lines))
    return 0


def _check(invocation: Invocation) -> int:
    from broker.actions.check_ssh_config import findings
    from broker.cli.ssh_layout import labels_today
    from broker.cli.ssh_stop import stoppable

    settings, given, labels = invocation.settings(), _given(invocation), labels_today(invocation)
    with stoppable(), exits.progress("asking ssh -G"):
        check = findings(given, program=settings.ssh.program, labels=labels)
    if invocation.parsed.output == "json":
        output.json(
            {
                "apiVersion": output.API_VERSION,
                "kind": "SshConfigCheck",
                "file": clean(check.file, 1024),
                "include": clean(check.own, 1024),
                "installed": check.is_installed,
                "good": check.is_good,
                "items": [finding.as_json() for finding in check.findings],
                "unknown": list(check.unknown),
            }
        )
    else:
        output.text("\n".join(_lines(check)))
    return 0 if check.is_good else 1


def _lines(check: SshConfigCheck) -> list[Clean | str]:
    lines: list[Clean | str] = []
    for finding in check.findings:
        lines += [
            f"{finding.place}: {finding.severity}: {finding.what} [{finding.code}]",
            f"  why: {finding.why}",
            f"  instead: {finding.instead}",
        ]
    lines += [f"unknown: {text}" for text in check.unknown]
    if not lines:
        lines.append(f"{clean(check.file, 1024)}: nothing defeats or endangers an alias")
    return lines


def _places(invocation: Invocation) -> Places:
    from broker.actions.locate_ssh_config import locate
    from broker.actions.read_ssh_config import user_file

    return locate(_given(invocation) or user_file())


def _given(invocation: Invocation) -> Path | None:
    """The file of --file, a leading `~` as shells have it; None where none was named."""
    given = invocation.parsed.text("file")
    if given is None:
        return None
    path = os.path.expanduser(given)  # noqa: PTH111  # pathlib takes the `./` of `./~x` away first
    if not given or (given.startswith("~") and path == given):
        raise UsageError(
            f"--file names no file: {escaped(given, 256)}",
            cause="there is no such user" if given else "it is empty",
            next_step=f"for a file of that name say {escaped('./' + given, 256)}" if given else "name one, or leave it out",
        )
    return Path(os.path.abspath(path))  # noqa: PTH100  # links stay


def _warn_of_globs(layout: Layout) -> None:
    from broker.paths.ssh_blocks import unsayable

    for glob in unsayable(layout):
        exits.warn([f"{escaped(glob)} of [ssh.vms] cannot be said in ssh_config (only * and ? can): it has no block"])


def _aliases(layout: Layout) -> list[dict[str, str]]:
    return [
        {"context": clean(context, 1024), "label": label, "pattern": f"NAME.NAMESPACE.vm.{label}"}
        for context, label in _labels(layout)
    ]


def _labels(layout: Layout) -> list[tuple[str, str]]:
    """Context and ALIAS of each block, by context."""
    return [(cluster.origin.context or "", cluster.label or "") for cluster in layout.contexts]


def _mapping(layout: Layout) -> list[str]:
    current = layout.current.origin.context
    meant = "the context that is current then" if layout.follows_current else escaped(current or "", 256)
    return [
        f"NAME.NAMESPACE.vm and vm/NAME/NAMESPACE: {meant}",
        *(f"NAME.NAMESPACE.vm.{label}: {escaped(context, 256)}" for context, label in _labels(layout)),
    ]
