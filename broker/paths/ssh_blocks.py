"""The text of our own ssh_config file, and of the flat one for readers without Include and Match. **Pure.**

First value wins in ssh_config: blocks of single VMs come first, then patterns of users and ports, then the wildcards.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from broker.paths.openssh import ClientFiles, Origin, alias_command, ssh_word
from broker.refs import LABEL_LIMIT, is_name, is_user

TITLE: Final = "# vmbroker ssh-config 1: written by `vmbroker ssh-config install`, which writes it anew each time."
_SUM: Final = "# sha256 of what follows: "
_CONTEXT: Final = "# context "
_OPTIONS: Final = "# options "
_UNQUOTABLE: Final = '"!*\'*" "!*\\\\*"'
"""Keeps host words with a quote or a backslash away from our ProxyCommand: old clients check no name (CVE-2023-51385)."""
_GLOB: Final = re.compile(r"[a-z0-9.*?-]{1,253}\Z")
_SOCKET_LIMIT: Final = 103
"""Bytes of a Unix socket's path that every system takes (macOS: 104 with the NUL; Linux 108)."""
_SOCKET_NAME: Final = 1 + 8 + 1 + 40 + 17
"""`/`, our 8 characters, `-`, `%C`, and the ending that ssh gives a socket while it makes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """User and port for VMs by shell globs `NAME.NAMESPACE`, as `[ssh.vms]` has them; None where it sets nothing."""

    glob: str
    user: str | None
    port: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """One context: `label` its ALIAS (None for the aliases without one), `patterns` in the order in which they are asked."""

    label: str | None
    origin: Origin
    patterns: tuple[Pattern, ...] = ()
    user: str | None = None
    port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One VM with a block of its own: `host_key` is its word in known_hosts, the one that `vmbroker ssh` uses."""

    name: str
    namespace: str
    user: str | None
    port: int
    host_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Everything that our file says: `current` is meant by `*.vm` and `vm/*`, `contexts` by `*.vm.ALIAS`.

    `labels` maps context to ALIAS for the reader; `control_dir` holds ControlMaster sockets, None for none of them.
    """

    current: Cluster
    contexts: tuple[Cluster, ...] = ()
    machines: tuple[Machine, ...] = ()
    machines_label: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    files: ClientFiles = field(default_factory=ClientFiles)
    control_dir: str | None = None
    follows_current: bool = False
    has_virtctl_aliases: bool = False
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a file of ours says of itself; `is_unedited` compares its checksum, `labels` maps context to ALIAS."""

    is_unedited: bool
    labels: Mapping[str, str]
    options: tuple[str, ...]


def own_file(layout: Layout) -> str:
    """Return the file that the user's one Include names; it ends in `Match all`, so that no block can leak (case C-012)."""
    return _text(layout, host="%n", ending="Match all")


def flat_file(layout: Layout) -> str:
    """Return the same without Include and Match, for paramiko (it expands no `%n`) and asyncssh (it keeps a ProxyJump)."""
    return _text(layout, host="%h", ending="Host *")


def read_header(text: str) -> Header | None:
    """Read what a file says of itself; None where it is none of ours."""
    lines = text.split("\n", 2)
    if len(lines) < 3 or lines[0] != TITLE or not lines[1].startswith(_SUM):
        return None
    labels: dict[str, str] = {}
    options: tuple[str, ...] = ()
    for line in lines[2].split("\n"):
        if not line.startswith("#"):
            break
        if line.startswith(_CONTEXT):
            label, _, context = line.removeprefix(_CONTEXT).partition(" = ")
            labels[_unjson(context)] = label
        elif line.startswith(_OPTIONS):
            options = tuple(line.removeprefix(_OPTIONS).split())
    return Header(is_unedited=lines[1] == _SUM + _digest(lines[2]), labels=labels, options=options)


def samples(layout: Layout) -> tuple[tuple[str, Cluster], ...]:
    """Return a host word for each wildcard of our file, with the cluster that it must lead to."""
    found = [(f"sample.sample{ending}", layout.current) for ending in (".vm", ".VM", ".vm.", ".VM.")]
    found += [(f"{kind}/sample/sample", layout.current) for kind in ("vm", "vmi")]
    if layout.has_virtctl_aliases:
        found += [(f"{kind}.sample.sample", layout.current) for kind in ("vm", "vmi")]
    found += [(f"sample.sample.vm.{cluster.label}", cluster) for cluster in layout.contexts]
    return tuple(found)


def has_sockets(layout: Layout) -> bool:
    """Say whether the blocks put ControlMaster sockets into `control_dir`, whose path may be too long for that."""
    return _control_path(layout, layout.current) != "none"


def unsayable(layout: Layout) -> tuple[str, ...]:
    """Return the globs of `[ssh.vms]` that set something and have no pattern in ssh_config: those with brackets."""
    clusters = (layout.current, *layout.contexts)
    globs = [each.glob for cluster in clusters for each in cluster.patterns if _login(each.user, each.port)]
    return tuple(glob for glob in dict.fromkeys(globs) if not _host_patterns(glob, None, has_virtctl_aliases=False))


def _text(layout: Layout, *, host: str, ending: str) -> str:
    head = [
        "# Aliases: NAME.NAMESPACE.vm and vm/NAME/NAMESPACE, each kept in known_hosts under the word as typed, in lower case.",
        "# Capitals: all of .VM, never .Vm. User and Port for VMs by pattern: [ssh.vms] in vmbroker.toml, then install anew.",
        "# ControlPersist no: with any other ssh hides why a connection failed; `ssh -o ControlPersist=60` still wins.",
    ]
    head += [f"{_OPTIONS}{' '.join(layout.options)}"] if layout.options else []
    head += [f"{_CONTEXT}{label} = {json.dumps(context)}" for context, label in sorted(layout.labels.items())]
    blocks: list[list[str]] = []
    for machine in layout.machines:
        blocks += _machine(layout, machine)
    for cluster in (layout.current, *layout.contexts):
        blocks += _patterns(layout, cluster)
    blocks.append(_wildcard(layout, layout.current, ["*.vm", "*.VM", "*.vm.", "*.VM."], host))
    blocks.append(_wildcard(layout, layout.current, ["vm/*", "vmi/*"], host))
    if layout.has_virtctl_aliases:
        blocks.append(_wildcard(layout, layout.current, ["vm.*", "vmi.*"], host))
    for cluster in layout.contexts:
        label = cluster.label or ""
        words = [f"*.vm.{label}", f"*.VM.{label.upper()}", f"*.vm.{label}.", f"*.VM.{label.upper()}."]
        blocks.append(_wildcard(layout, cluster, words, host))
    body = "\n".join(head) + "\n\n" + "\n".join("\n".join(block) + "\n" for block in blocks) + f"\n{ending}\n"
    return f"{TITLE}\n{_SUM}{_digest(body)}\n{body}"


def _wildcard(layout: Layout, cluster: Cluster, words: Sequence[str], host: str) -> list[str]:
    lines = [
        f"Host {' '.join(words)} {_UNQUOTABLE}",
        "  HostName %h",
        f"  ProxyCommand {alias_command(cluster.origin, host=host)}",
        "  ProxyJump none",
        "  ProxyUseFdpass no",
        "  CanonicalizeHostname no",
        "  ServerAliveInterval 30",
        *_login(cluster.user, cluster.port),
    ]
    follows = layout.follows_current and cluster.label is None
    if follows:
        # `ControlMaster no` alone would still use a socket that another cluster's master left at the same path.
        lines += ["  ControlMaster no", "  ControlPath none"]
    else:
        lines += [f"  ControlPath {_control_path(layout, cluster)}", "  ControlPersist no"]
    if layout.files.identity is not None:
        lines.append(f"  IdentityFile {ssh_word(layout.files.identity)}")
    if layout.files.known_hosts is not None:
        lines.append(f"  UserKnownHostsFile {ssh_word(layout.files.known_hosts)}")
        lines.append("  StrictHostKeyChecking accept-new")
    return lines


def _control_path(layout: Layout, cluster: Cluster) -> str:
    """A path of ours with `%C` (case C-013) and, since `%C` ignores ProxyCommand, a word of this cluster's own before it."""
    folder = layout.control_dir
    if folder is None or "${" in folder or len(folder.encode("utf-8", "surrogateescape")) + _SOCKET_NAME > _SOCKET_LIMIT:
        return "none"
    return ssh_word(f"{folder}/{_digest(repr(cluster.origin))[:8]}-")[:-1] + '%C"'


def _machine(layout: Layout, machine: Machine) -> list[list[str]]:
    if not (is_name(machine.name) and _is_label(machine.namespace) and is_name(machine.host_key)):
        return []
    place, label = f"{machine.name}.{machine.namespace}", layout.machines_label
    words = [] if layout.follows_current else _dotted(place, None)
    words += _dotted(place, label) if label else []
    if not layout.follows_current:
        words += _kinds(machine.name, machine.namespace, has_virtctl_aliases=layout.has_virtctl_aliases)
    if not words:
        return []
    return [[f"Host {' '.join(words)}", f"  HostKeyAlias {machine.host_key}", *_login(machine.user, machine.port)]]


def _patterns(layout: Layout, cluster: Cluster) -> list[list[str]]:
    blocks: list[list[str]] = []
    for pattern in cluster.patterns:
        login = _login(pattern.user, pattern.port)
        words = _host_patterns(pattern.glob, cluster.label, has_virtctl_aliases=layout.has_virtctl_aliases)
        if words and login:
            blocks.append([f"Host {' '.join(words)}", *login])
        elif login:
            blocks.append([f"# {json.dumps(pattern.glob)} of [ssh.vms] cannot be said in ssh_config: only * and ? can"])
    return blocks


def _host_patterns(glob: str, label: str | None, *, has_virtctl_aliases: bool) -> list[str]:
    """The words of a Host line for one glob; [] where ssh_config has no such pattern."""
    name, dot, namespace = glob.rpartition(".")
    if not (dot and name and namespace and _GLOB.match(glob)):
        return []
    words = _dotted(f"{name}.{namespace}", label)
    words += _kinds(name, namespace, has_virtctl_aliases=has_virtctl_aliases) if label is None else []
    if "*" in namespace and not name.endswith("*"):
        # A namespace has no dot: what would need one there is a longer name that this glob does not mean.
        longer = re.sub(r"\*+", "*.*", namespace, count=1)
        words += [f"!{word}" for word in _dotted(f"{name}.{longer}", label)]
    return words


def _dotted(place: str, label: str | None) -> list[str]:
    """NAME.NAMESPACE as the wildcards take it: capitals in the ending or in all of it, with or without a last dot."""
    ending = f".vm.{label}" if label else ".vm"
    words = (f"{place}{ending}", f"{place}{ending.upper()}", f"{place}{ending}".upper())
    return [f"{word}{dot}" for word in dict.fromkeys(words) for dot in ("", ".")]


def _kinds(name: str, namespace: str, *, has_virtctl_aliases: bool) -> list[str]:
    """The host words with a kind, the rest of them in either case."""
    places = dict.fromkeys([(name, namespace), (name.upper(), namespace.upper())])
    words = [f"{kind}/{each}/{space}" for kind in ("vm", "vmi") for each, space in places]
    return words + [f"{kind}.{each}.{space}" for kind in ("vm", "vmi") for each, space in places if has_virtctl_aliases]


def _login(user: str | None, port: int | None) -> list[str]:
    lines = [f"  User {user}"] if user is not None and is_user(user) else []
    return lines + ([f"  Port {port}"] if port is not None else [])


def _is_label(text: str) -> bool:
    return is_name(text) and "." not in text and len(text) <= LABEL_LIMIT


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _unjson(text: str) -> str:
    try:
        value = json.loads(text)
    except ValueError:
        return ""
    return value if isinstance(value, str) else ""


def patterns_of(rules: Iterable[tuple[str, str | None, int | None]]) -> tuple[Pattern, ...]:
    """Make patterns from (glob, user, port) in the order in which they are asked."""
    return tuple(Pattern(glob=glob, user=user, port=port) for glob, user, port in rules)
