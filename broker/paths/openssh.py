"""How OpenSSH is called for a VM: argument lists and the ProxyCommand word, as pure values.

Nothing here passes through a shell of ours; ssh itself hands ProxyCommand to the user's `$SHELL`, so each word of it is quoted
in a way that sh, bash, zsh, fish and csh read alike.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from broker.errors import UsageError

_BARE: Final = re.compile(r"[A-Za-z0-9_@+:,./-][A-Za-z0-9_@+=:,./-]*\Z")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
"""What no value of ssh_config can hold: line ends, and everything else that is no character but the tab."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """How the child process finds the same cluster as the same person: what virtctl loses (kubevirt/kubevirt#16957).

    `program` is the argv prefix that starts vmbroker; `kubeconfigs` the file list, in order, empty for in-cluster.
    """

    program: tuple[str, ...]
    kubeconfigs: tuple[str, ...] = ()
    context: str | None = None
    as_user: str | None = None
    as_groups: tuple[str, ...] = ()
    as_uid: str | None = None
    is_debugging: bool = False

    def options(self) -> tuple[str, ...]:
        """Global options of vmbroker that name this cluster and this person."""
        words: list[str] = [f"--kubeconfig={path}" for path in self.kubeconfigs[:1] if len(self.kubeconfigs) == 1]
        words += [f"--context={self.context}"] if self.context is not None else []
        words += [f"--as={self.as_user}"] if self.as_user is not None else []
        words += [f"--as-group={group}" for group in self.as_groups]
        words += [f"--as-uid={self.as_uid}"] if self.as_uid is not None else []
        words += ["--debug"] if self.is_debugging else []
        return tuple(words)

    def environment(self) -> dict[str, str]:
        """What must stand in the child's environment besides: KUBECONFIG where several files are merged."""
        return {"KUBECONFIG": ":".join(self.kubeconfigs)} if len(self.kubeconfigs) > 1 else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """Where ssh goes: `host` is the word for known_hosts and `%C`, `kind` vm or vmi, `port` the guest's SSH port."""

    host: str
    kind: str
    name: str
    namespace: str
    port: int
    user: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientFiles:
    """Files that stand in for the user's own: the lab's key and known_hosts; a real cluster has none of them."""

    identity: str | None = None
    known_hosts: str | None = None

    def options(self) -> tuple[str, ...]:
        """`-o` options for ssh; a new host is remembered, a changed one still refused."""
        words: tuple[str, ...] = ()
        if self.identity is not None:
            words += ("-o", f"IdentityFile={ssh_word(self.identity)}")
        if self.known_hosts is not None:
            words += ("-o", f"UserKnownHostsFile={ssh_word(self.known_hosts)}", "-o", "StrictHostKeyChecking=accept-new")
        return words


def proxy_command(origin: Origin, guest: Guest) -> str:
    """Return the value of ProxyCommand for one VM: each word quoted for the user's shell, `%` doubled for ssh.

    UsageError when a word holds a line end, which no ssh_config value can carry (ssh_config(5)).
    """
    return _command((*_program_words(origin), f"{guest.kind}/{guest.name}/{guest.namespace}", str(guest.port)))


def alias_command(origin: Origin, *, host: str = "%n") -> str:
    """Return the value of ProxyCommand for a block of many names; `host` is `%n`, or `%h` for readers that know no `%n`.

    It stands in single quotes: such a block must keep names with a quote or a backslash away (old clients check no
    name, CVE-2023-51385). UsageError as `proxy_command` raises it.
    """
    return f"{_command(_program_words(origin))} '{host}' %p"


def connection_options(origin: Origin, guest: Guest, files: ClientFiles) -> tuple[str, ...]:
    """Return the `-o` options that ssh, scp and sftp share; host key checking stays as the user has it."""
    return (
        "-o",
        f"ProxyCommand={proxy_command(origin, guest)}",
        "-o",
        "ProxyJump=none",
        "-o",
        f"HostKeyAlias={guest.host}",
        "-o",
        "CanonicalizeHostname=no",
        *files.options(),
    )


def ssh_argv(
    program: str, origin: Origin, guest: Guest, files: ClientFiles, *, options: Sequence[str] = (), command: Sequence[str] = ()
) -> list[str]:
    """Return the argv of ssh; `options` stand before the host word, `command` after it, both as the user gave them."""
    user = ["-l", guest.user] if guest.user is not None else []
    return [program, *options, *connection_options(origin, guest, files), *user, "--", guest.host, *command]


def copy_argv(
    program: str, origin: Origin, guest: Guest, files: ClientFiles, *, options: Sequence[str], operands: Sequence[str]
) -> list[str]:
    """Return the argv of scp or sftp; `operands` are complete, the remote ones made by `remote_operand`."""
    return [program, *options, *connection_options(origin, guest, files), "--", *operands]


def remote_operand(guest: Guest, path: str | None) -> str:
    """Return `[USER@]HOST[:PATH]` as scp and sftp read it."""
    user = f"{guest.user}@" if guest.user is not None else ""
    return f"{user}{guest.host}" + (f":{path}" if path is not None else "")


def _quoted(word: str) -> str:
    if _BARE.match(word):
        return word
    parts = [f"\\{part}" if part in "'\\!" else f"'{part}'" for part in re.split(r"(['\\!])", word) if part]
    return "".join(parts) or "''"


def _program_words(origin: Origin) -> tuple[str, ...]:
    environment = [f"{name}={value}" for name, value in origin.environment().items()]
    return (*(["env", *environment] if environment else []), *origin.program, *origin.options(), "proxy")


def _command(words: Sequence[str]) -> str:
    for word in words:
        _check(word)
    return " ".join(_quoted(word) for word in words).replace("%", "%%")


def ssh_word(path: str) -> str:
    """Quote a file name for an ssh_config value and double its `%` (ssh_config(5), TOKENS); UsageError as `proxy_command`."""
    _check(path)
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _check(word: str) -> None:
    if _CONTROL.search(word):
        raise UsageError("a line end or control character in a path or context name cannot stand in an ssh option")
