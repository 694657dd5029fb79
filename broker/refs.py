"""Names: what a user may type for a VM, a port or a guest user, and what a context is called inside an SSH alias.

Every parser folds case where DNS does, drops one final dot, and is strict after that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from broker.clean import Clean, clean, escaped
from broker.errors import UsageError

Kind = Literal["vm", "vmi"]

_LABEL: Final = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?\Z")
_USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,31}\Z")
_KINDS: Final[Mapping[str, Kind]] = {
    "vm": "vm",
    "vms": "vm",
    "virtualmachine": "vm",
    "virtualmachines": "vm",
    "vmi": "vmi",
    "vmis": "vmi",
    "virtualmachineinstance": "vmi",
    "virtualmachineinstances": "vmi",
}
NAME_LIMIT: Final = 253
"""Characters of an object's name (DNS-1123 subdomain, RFC 1123)."""
LABEL_LIMIT: Final = 63
"""Characters of a DNS label (RFC 1035)."""
_TARGET_LIMIT: Final = 1024
_FORMS: Final = "NAME, vm/NAME[/NAMESPACE], vmi/NAME[/NAMESPACE] or NAME.NAMESPACE.vm"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRef:
    """One object of one cluster: `kind` as the API spells it, `namespace` empty for cluster-scoped kinds."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a user typed for a VM; None where nothing was said.

    `kind` None: the VM of that name, else the VMI that has no VM. `label` is the ALIAS of `NAME.NAMESPACE.vm.ALIAS`.
    """

    kind: Kind | None
    name: str
    namespace: str | None
    label: str | None = None

    def __str__(self) -> str:
        return f"{self.kind or 'vm'}/{self.name}" + (f"/{self.namespace}" if self.namespace else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A target with the guest user that may stand before it (`USER@TARGET`)."""

    user: str | None
    target: Target


def parse_target(text: str) -> Target:
    """Read any documented form of a VM's name; UsageError shows the bad part escaped.

    Forms: `NAME`, `TYPE/NAME`, `TYPE/NAME/NAMESPACE` (virtctl 1.7; dots belong to the name), the SSH aliases
    `NAME.NAMESPACE.vm[.ALIAS]`, and virtctl's host words `vm.NAME.NAMESPACE`, `vmi.NAME.NAMESPACE`.
    """
    if not text:
        raise UsageError("the target is empty", next_step=f"name a VM: {_FORMS}")
    if len(text) > _TARGET_LIMIT:
        raise UsageError(f"the target {escaped(text)} is too long", next_step=f"name a VM: {_FORMS}")
    if text.startswith("-"):
        raise UsageError(f"the target {escaped(text)} begins with a dash", next_step=f"name a VM: {_FORMS}")
    folded = text.lower()
    folded = folded[:-1] if folded.endswith(".") else folded
    return _parse_path(folded, text) if "/" in folded else _parse_word(folded)


def parse_login(text: str) -> Login:
    """Read `[USER@]TARGET`; UsageError as `parse_target` and `parse_user` raise it."""
    user, at, rest = text.rpartition("@")
    if not at:
        return Login(user=None, target=parse_target(text))
    if not rest:
        raise UsageError("no target stands after '@'", next_step=f"name a VM: {_FORMS}")
    return Login(user=parse_user(user), target=parse_target(rest))


def parse_user(text: str) -> str:
    """Read a guest user name: `[A-Za-z0-9_][A-Za-z0-9._-]{0,31}`; UsageError otherwise."""
    if not _USER.match(text):
        raise UsageError(
            f"{escaped(text)} is not a user name that ssh may be given",
            next_step="use 1 to 32 letters, digits, '_', '.' or '-', the first not '.' or '-'",
        )
    return text


def parse_port(text: str) -> int:
    """Read a TCP port, 1 to 65535 in plain decimal digits; UsageError otherwise."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise UsageError(f"{escaped(text)} is not a port", next_step="use a number from 1 to 65535")
    return int(text)


def parse_namespace(text: str) -> str:
    """Read a namespace: one DNS label of at most 63 characters, case folded; UsageError otherwise."""
    folded = text.lower()
    if not _is_label(folded):
        raise UsageError(f"{escaped(text)} is not a namespace", next_step="use 1 to 63 lower-case letters, digits or '-'")
    return folded


def is_user(text: str) -> bool:
    """Say whether `parse_user` would take this text."""
    return _USER.match(text) is not None


def is_name(text: str) -> bool:
    """Say whether this is a DNS-1123 subdomain as Kubernetes names objects."""
    return 0 < len(text) <= NAME_LIMIT and all(_LABEL.match(part) for part in text.split("."))


def dotted_reading(target: Target) -> Target | None:
    """Return what the virtctl of before 1.7 took a dotted name for: `NAME.NAMESPACE`; None without a dot."""
    name, dot, namespace = target.name.rpartition(".")
    if not dot or not _is_label(namespace) or not is_name(name):
        return None
    return Target(kind=target.kind, name=name, namespace=namespace, label=target.label)


def context_labels(contexts: Sequence[str], chosen: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give each context a DNS label for `NAME.NAMESPACE.vm.LABEL`: unique, stable, never `vm`; context → label.

    `chosen` (context → label, from the settings) wins; two contexts that reduce to one label both get a hash after it, so
    that a label never changes its meaning when a context is added.
    """
    chosen = {context: label for context, label in (chosen or {}).items() if context in contexts}
    slugs = {context: _slug(context) for context in contexts if context not in chosen}
    taken = set(chosen.values())
    counts: dict[str, int] = {}
    for slug in slugs.values():
        counts[slug] = counts.get(slug, 0) + 1
    labels = dict(chosen)
    for context, slug in slugs.items():
        is_shared = counts[slug] > 1 or slug in taken or slug == "vm"
        labels[context] = f"{slug[:52].rstrip('-')}-{_digest(context, 8)}" if is_shared else slug
    return labels


def cluster_label(server: str, context: str) -> str:
    """Name a cluster for host keys and ControlMaster sockets: a DNS label that depends on server URL and context."""
    return f"{_slug(context)[:46].rstrip('-')}-{_digest(server + chr(10) + context, 16)}"


def host_word(name: str, namespace: str, label: str) -> str:
    """Return the word that ssh knows a VM by: `NAME.NAMESPACE.vm.LABEL`, for its config and known_hosts alike."""
    return f"{name}.{namespace}.vm.{label}"


def _parse_path(folded: str, text: str) -> Target:
    parts = folded.split("/")
    if len(parts) > 3:
        raise UsageError(f"the target {escaped(text)} has more than two '/'", next_step=f"name a VM: {_FORMS}")
    kind = _KINDS.get(parts[0])
    if kind is None:
        what = escaped(parts[0]) if parts[0] else "nothing"
        raise UsageError(f"{what} before '/' is no type of VM", next_step="write vm/NAME/NAMESPACE or vmi/NAME/NAMESPACE")
    namespace = None
    if len(parts) == 3:
        if not parts[2]:
            raise UsageError("the namespace after the second '/' is empty", next_step=f"name a VM: {_FORMS}")
        namespace = parse_namespace(parts[2])
    return Target(kind=kind, name=_name(parts[1].removesuffix(".")), namespace=namespace)


def _parse_word(folded: str) -> Target:
    labels = folded.split(".")
    if len(labels) >= 3 and labels[-1] == "vm":
        return _alias(labels[:-1], None)
    if len(labels) >= 4 and labels[-2] == "vm":
        return _alias(labels[:-2], labels[-1])
    if len(labels) >= 3 and labels[0] in ("vm", "vmi"):
        kind: Kind = "vm" if labels[0] == "vm" else "vmi"
        return Target(kind=kind, name=_name(".".join(labels[1:-1])), namespace=parse_namespace(labels[-1]))
    return Target(kind=None, name=_name(folded), namespace=None)


def _alias(labels: list[str], label: str | None) -> Target:
    if label is not None and not _is_label(label):
        raise UsageError(f"{escaped(label)} after '.vm.' is no context label", next_step="use a DNS label")
    return Target(kind=None, name=_name(".".join(labels[:-1])), namespace=parse_namespace(labels[-1]), label=label)


def _name(text: str) -> str:
    if not text:
        raise UsageError("the VM's name is empty", next_step=f"name a VM: {_FORMS}")
    if not is_name(text):
        raise UsageError(
            f"{escaped(text)} is not a VM's name",
            next_step="use lower-case letters, digits, '-' and '.', at most 253; parts begin and end in a letter or digit",
        )
    return text


def _is_label(text: str) -> bool:
    return len(text) <= LABEL_LIMIT and _LABEL.match(text) is not None


def _slug(context: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", context.lower()).strip("-")[:LABEL_LIMIT].rstrip("-")
    return slug or f"context-{_digest(context, 8)}"


def _digest(text: str, size: int) -> str:
    import hashlib  # costs 5 ms: most commands never need it

    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:size]


def shown(name: str | None, namespace: str | None) -> Clean:
    """Return `NAMESPACE/NAME` of an object that the cluster told us of, fit to show."""
    return clean(f"{namespace}/{name}" if namespace else name)
