"""**Pure**: what a kubeconfig says, several of them merged, one context of them resolved: all as kubectl does it.

Shapes: k8s.io/client-go/tools/clientcmd/api/v1. Relative paths are resolved here against the folder of the file that names
them; nothing is opened.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol, TypeVar

from broker.clean import clean, escaped
from broker.errors import SettingsError
from broker.kube.kubeyaml import Node, parse

_NAMES_SHOWN: Final = 6
_NAME_LOOKED_AT: Final = 200
EXEC_VERSIONS: Final = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
"""API versions of exec plugins that kubectl 1.36 takes."""
EXEC_EXTENSION: Final = "client.authentication.k8s.io/exec"
"""Name of the cluster extension that `provideClusterInfo` hands to the plugin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Impersonation:
    """Whom the requests act as (Impersonate-* headers); `user` "" means nobody is impersonated."""

    user: str = ""
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """One entry of `clusters`; absent texts are "", absent data b""."""

    name: str
    source: Path
    server: str = field(default="", repr=False)
    tls_server_name: str = ""
    skips_verification: bool = False
    authority_file: str = ""
    authority_data: bytes = field(default=b"", repr=False)
    proxy_url: str = field(default="", repr=False)
    disables_compression: bool = False
    exec_extension: object = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecPlugin:
    """`user.exec`: a program that prints an ExecCredential; a `command` with a separator is absolute here."""

    api_version: str
    command: str
    args: tuple[str, ...] = field(default=(), repr=False)
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    install_hint: str = ""
    provides_cluster_info: bool = False
    interactive_mode: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthProvider:
    """`user.auth-provider`: name and its own settings."""

    name: str
    config: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """One entry of `users`; absent texts are "", absent data b""."""

    name: str
    source: Path
    token: str = field(default="", repr=False)
    token_file: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    certificate_file: str = ""
    certificate_data: bytes = field(default=b"", repr=False)
    key_file: str = ""
    key_data: bytes = field(default=b"", repr=False)
    impersonation: Impersonation = Impersonation()
    exec_plugin: ExecPlugin | None = None
    auth_provider: AuthProvider | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One entry of `contexts`; absent texts are ""."""

    name: str
    source: Path
    cluster: str = ""
    user: str = ""
    namespace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubeconfig:
    """One file, or several merged; `current_source` is the file that sets current-context."""

    current: str = ""
    current_source: Path | None = None
    clusters: Mapping[str, Cluster] = field(default_factory=dict)
    users: Mapping[str, User] = field(default_factory=dict)
    contexts: Mapping[str, Context] = field(default_factory=dict)
    sources: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """One context with its cluster and its user (`user.name` "" where the context names none)."""

    context: Context
    cluster: Cluster
    user: User


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_Entry = TypeVar("_Entry", bound=_Named)


def decode(content: bytes, source: Path) -> Kubeconfig:
    """Read one file's content; an empty file is an empty value. SettingsError names file and line."""
    warnings: list[str] = []
    root = parse(content, source, warnings)
    if root is None or root.is_null():
        return Kubeconfig(sources=(source,))
    fields = root.fields()
    _check_kind(root, fields)
    current = _text(fields, "current-context")
    return Kubeconfig(
        current=current,
        current_source=source if current else None,
        clusters=_by_name(fields.get("clusters"), [_cluster(node) for node in _items(fields, "clusters")]),
        users=_by_name(fields.get("users"), [_user(node) for node in _items(fields, "users")]),
        contexts=_by_name(fields.get("contexts"), [_context(node) for node in _items(fields, "contexts")]),
        sources=(source,),
        warnings=tuple(warnings),
    )


def merge(configs: Iterable[Kubeconfig]) -> Kubeconfig:
    """Merge files as kubectl does: the first current-context that is set, and of each name the first file's whole entry."""
    merged = Kubeconfig()
    for config in configs:
        merged = Kubeconfig(
            current=merged.current or config.current,
            current_source=merged.current_source if merged.current else config.current_source,
            clusters={**config.clusters, **merged.clusters},
            users={**config.users, **merged.users},
            contexts={**config.contexts, **merged.contexts},
            sources=(*merged.sources, *(s for s in config.sources if s not in merged.sources)),
            warnings=(*merged.warnings, *(w for w in config.warnings if w not in merged.warnings)),
        )
    return merged


def resolve(config: Kubeconfig, context: str | None = None) -> Resolved:
    """Find the context (the current one for None or ""), its cluster and its user, and check them as kubectl does.

    SettingsError names the context, cluster or user that is missing or unusable, and the file.
    """
    name = context or config.current
    files = ", ".join(clean(s) for s in config.sources) or "no kubeconfig"
    if not name:
        raise SettingsError(
            f"no current context is set in {files}",
            code="context-missing",
            next_step="choose one with --context, or `kubectl config use-context NAME`",
        )
    found = config.contexts.get(name)
    if found is None:
        by_flag = bool(context) or config.current_source is None
        where = files if by_flag else clean(config.current_source)
        raise SettingsError(
            f"context {escaped(name)} is not in {files}"
            if by_flag
            else f"{where} sets current-context {escaped(name)}, which is not there",
            cause=f"there are {len(config.contexts)} contexts, and none has that name",
            code="context-unknown",
            next_step=_nearest(name, config.contexts),
        )
    cluster = config.clusters.get(found.cluster)
    if cluster is None:
        raise SettingsError(
            f"context {clean(name)!r} of {clean(found.source)} names "
            + (f"cluster {clean(found.cluster)!r}, which is not there" if found.cluster else "no cluster"),
            code="cluster-unknown",
            next_step="add the cluster, or correct the name in that context",
        )
    user = config.users.get(found.user)
    if user is None and found.user:
        raise SettingsError(
            f"context {clean(name)!r} of {clean(found.source)} names user {clean(found.user)!r}, which is not there",
            code="user-unknown",
            next_step="add the user, or correct the name in that context",
        )
    resolved = Resolved(context=found, cluster=cluster, user=user or User(name="", source=found.source))
    _check_cluster(resolved.cluster)
    _check_user(resolved.user)
    return resolved


def impersonated(own: Impersonation, *, user: str | None, groups: Sequence[str] = (), uid: str | None = None) -> Impersonation:
    """Lay the flags --as, --as-group, --as-uid over the kubeconfig's own values: each flag replaces its field."""
    return replace(own, user=user or own.user, groups=tuple(groups) or own.groups, uid=uid or own.uid)


def _check_kind(root: Node, fields: Mapping[str, Node]) -> None:
    kind, version = _text(fields, "kind"), _text(fields, "apiVersion")
    if kind not in ("", "Config"):
        raise fields["kind"].wrong(f"is {clean(kind)!r}: this is no kubeconfig")
    if version not in ("", "v1"):
        raise fields["apiVersion"].wrong(f"is {clean(version)!r}: only v1 is known")


def _cluster(entry: Node) -> Cluster:
    outer = entry.fields()
    body = _fields(outer, "cluster")
    extension: object = None
    for node in _items(body, "extensions"):
        parts = node.fields()
        if _text(parts, "name") == EXEC_EXTENSION and "extension" in parts:
            extension = parts["extension"].json()
    return Cluster(
        name=_text(outer, "name"),
        source=entry.source,
        server=_text(body, "server"),
        tls_server_name=_text(body, "tls-server-name"),
        skips_verification=_flag(body, "insecure-skip-tls-verify"),
        authority_file=_path(body, "certificate-authority"),
        authority_data=_data(body, "certificate-authority-data"),
        proxy_url=_text(body, "proxy-url"),
        disables_compression=_flag(body, "disable-compression"),
        exec_extension=extension,
    )


def _context(entry: Node) -> Context:
    outer = entry.fields()
    body = _fields(outer, "context")
    return Context(
        name=_text(outer, "name"),
        source=entry.source,
        cluster=_text(body, "cluster"),
        user=_text(body, "user"),
        namespace=_text(body, "namespace"),
    )


def _user(entry: Node) -> User:
    outer = entry.fields()
    body = _fields(outer, "user")
    return User(
        name=_text(outer, "name"),
        source=entry.source,
        token=_text(body, "token"),
        token_file=_path(body, "tokenFile"),
        username=_text(body, "username"),
        password=_text(body, "password"),
        certificate_file=_path(body, "client-certificate"),
        certificate_data=_data(body, "client-certificate-data"),
        key_file=_path(body, "client-key"),
        key_data=_data(body, "client-key-data"),
        impersonation=Impersonation(
            user=_text(body, "as"),
            uid=_text(body, "as-uid"),
            groups=tuple(node.text() for node in _items(body, "as-groups")),
            extra=tuple((key, tuple(v.text() for v in node.items())) for key, node in _fields(body, "as-user-extra").items()),
        ),
        exec_plugin=_exec(body["exec"]) if "exec" in body and not body["exec"].is_null() else None,
        auth_provider=_provider(body["auth-provider"])
        if "auth-provider" in body and not body["auth-provider"].is_null()
        else None,
    )


def _exec(node: Node) -> ExecPlugin:
    body = node.fields()
    command, version = _text(body, "command"), _text(body, "apiVersion")
    if os.path.sep in command:
        command = _beside(command, node.source)
    pairs = [item.fields() for item in _items(body, "env")]
    mode = _text(body, "interactiveMode")
    return ExecPlugin(
        api_version=version,
        command=command,
        args=tuple(item.text() for item in _items(body, "args")),
        env=tuple((_text(pair, "name"), _text(pair, "value")) for pair in pairs),
        install_hint=_text(body, "installHint"),
        provides_cluster_info=_flag(body, "provideClusterInfo"),
        # Only v1 asks for it; the betas default to it (client-go, SetDefaults_ExecConfig).
        interactive_mode=mode or ("IfAvailable" if version.startswith("client.authentication.k8s.io/v1beta") else ""),
    )


def _provider(node: Node) -> AuthProvider:
    body = node.fields()
    return AuthProvider(name=_text(body, "name"), config={k: v.text() for k, v in _fields(body, "config").items()})


def _check_cluster(cluster: Cluster) -> None:
    who = f"cluster {clean(cluster.name)!r} of {clean(cluster.source)}"
    if not cluster.server:
        raise _unusable(who, "has no server")
    if cluster.authority_file and cluster.authority_data:
        raise _unusable(who, "has certificate-authority and certificate-authority-data: only one may stand")


def _check_user(user: User) -> None:
    who = f"user {clean(user.name)!r} of {clean(user.source)}"
    if user.token and (user.username or user.password):
        raise _unusable(who, "has a token and a username or password: only one may stand")
    if user.token_file and (user.username or user.password):
        raise _unusable(who, "has a tokenFile and a username or password: only one may stand")
    if user.certificate_file or user.certificate_data:
        _check_pair(who, user)
    if user.exec_plugin:
        _check_exec(who, user.exec_plugin)
        if user.auth_provider:
            raise _unusable(who, "has exec and auth-provider: only one may stand")
    own = user.impersonation
    if (own.uid or own.groups or own.extra) and not own.user:
        raise _unusable(who, "has as-uid, as-groups or as-user-extra without as")


def _check_pair(who: str, user: User) -> None:
    if user.certificate_file and user.certificate_data:
        raise _unusable(who, "has client-certificate and client-certificate-data: only one may stand")
    if user.key_file and user.key_data:
        raise _unusable(who, "has client-key and client-key-data: only one may stand")
    if not (user.key_file or user.key_data):
        raise _unusable(who, "has a client certificate without client-key or client-key-data")


def _check_exec(who: str, plugin: ExecPlugin) -> None:
    if not plugin.command:
        raise _unusable(who, "has exec without command")
    if not plugin.api_version:
        raise _unusable(who, "has exec without apiVersion")
    if plugin.interactive_mode not in ("Never", "IfAvailable", "Always"):
        what = f"interactiveMode {clean(plugin.interactive_mode)!r}" if plugin.interactive_mode else "no interactiveMode"
        raise _unusable(who, f"has exec with {what}: write Never, IfAvailable or Always")
    if any(not name for name, _ in plugin.env):
        raise _unusable(who, "has exec with an env entry without name")
    if plugin.api_version not in EXEC_VERSIONS:
        raise _unusable(who, f"has exec of apiVersion {clean(plugin.api_version)!r}: use {EXEC_VERSIONS[0]}")


def _unusable(who: str, what: str) -> SettingsError:
    return SettingsError(f"{who} {what}", code="kubeconfig-unusable", next_step="mend that entry")


def _nearest(name: str, known: Mapping[str, object]) -> str:
    import difflib

    if not known:
        return "no context is defined there"
    matcher = difflib.SequenceMatcher(b=name[:_NAME_LOOKED_AT])

    def likeness(other: str) -> float:
        matcher.set_seq1(other[:_NAME_LOOKED_AT])
        return matcher.ratio()

    near = sorted(sorted(known), key=likeness, reverse=True)
    shown = ", ".join(escaped(other, 100) for other in near[:_NAMES_SHOWN])
    more = f" and {len(near) - _NAMES_SHOWN} more (kubectl config get-contexts)" if len(near) > _NAMES_SHOWN else ""
    return (
        f"did you mean {escaped(near[0], 100)}? There are: {shown}{more}"
        if likeness(near[0]) >= 0.5
        else f"there are: {shown}{more}"
    )


def _by_name(where: Node | None, entries: Sequence[_Entry]) -> dict[str, _Entry]:
    found: dict[str, _Entry] = {}
    for position, entry in enumerate(entries):
        if entry.name in found and where is not None:
            raise where.items()[position].wrong(f"repeats the name {clean(entry.name)!r}")
        found[entry.name] = entry
    return found


def _text(fields: Mapping[str, Node], key: str) -> str:
    return fields[key].text() if key in fields else ""


def _flag(fields: Mapping[str, Node], key: str) -> bool:
    return fields[key].flag() if key in fields else False


def _data(fields: Mapping[str, Node], key: str) -> bytes:
    return fields[key].data() if key in fields else b""


def _items(fields: Mapping[str, Node], key: str) -> list[Node]:
    return fields[key].items() if key in fields else []


def _fields(fields: Mapping[str, Node], key: str) -> dict[str, Node]:
    return fields[key].fields() if key in fields else {}


def _path(fields: Mapping[str, Node], key: str) -> str:
    value = _text(fields, key)
    return _beside(value, fields[key].source) if value else ""


def _beside(path: str, source: Path) -> str:
    return os.path.normpath(os.path.join(source.parent, path))  # noqa: PTH118
