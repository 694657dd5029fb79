"""One cluster as one person reaches it: server, trust, credentials, proxy.

Built once by `open_endpoint` from what kubectl would read; both HTTP clients of the house (http.client on `open_socket`,
aiohttp on `tls_context`) stand on it.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.clean import clean, escaped
from broker.errors import BrokerError, SettingsError, UsageError
from broker.kube.credentials import Credentials, read_named
from broker.kube.expiry import HeldCredential, held_credential
from broker.kube.incluster import FOLDER, find_service_account
from broker.kube.kubeconfig import Cluster, Impersonation, Resolved, User, impersonated, resolve
from broker.kube.kubefiles import none_found, read_files
from broker.kube.proxy import environment_proxy, parse_proxy
from broker.kube.server import Server, parse_server
from broker.kube.sockets import Deadline, connect, connect_through
from broker.kube.tls import Trust, explain, make_context, peer_certificate

__all__ = ["ContextEntry", "Contexts", "Endpoint", "Headers", "Impersonation", "list_contexts", "open_endpoint"]

CONNECT_S: Final = 15.0
"""Seconds in which an API server must be connected and TLS established."""
Headers = tuple[tuple[str, str], ...]
"""Header pairs, in order; one name may come several times (Impersonate-Group)."""

_NAMESPACE: Final = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?\Z")


class Endpoint:
    """A cluster's address with everything needed to talk to it as one user; safe to use from several threads.

    `server` is the URL as written without user, query and fragment; `host` has no brackets; `prefix` is "" or begins with
    and does not end in a slash; `proxy_url` (may hold a password) is None for a direct way, socks5 looks names up itself.
    """

    def __init__(
        self,
        resolved: Resolved,
        *,
        server: Server,
        namespace: str,
        impersonation: Impersonation,
        proxy_url: str | None,
        proxy_origin: str,
        sources: tuple[Path, ...],
        warnings: tuple[str, ...],
        environ: Mapping[str, str],
        stdin_is_ours: bool,
    ) -> None:
        self.context: str = resolved.context.name
        self.cluster: str = resolved.cluster.name
        self.user: str = resolved.user.name
        self.namespace: str = namespace
        self.server: str = server.url
        self.scheme: str = server.scheme
        self.host: str = server.host
        self.port: int = server.port
        self.prefix: str = server.prefix
        self.host_header: str = server.host_header
        self.sources: tuple[Path, ...] = sources
        self.impersonation: Impersonation = impersonation
        self.proxy_url: str | None = proxy_url
        self.proxy_origin: str = proxy_origin if proxy_url else ""
        self.warnings: tuple[str, ...] = warnings
        is_tls = server.scheme == "https"
        self.server_hostname: str | None = (resolved.cluster.tls_server_name or server.name) if is_tls else None
        self._proxy = parse_proxy(proxy_url, proxy_origin) if proxy_url else None
        self._cluster = resolved.cluster
        # kubectl reads no credentials at all for a server without TLS, and so no secret leaves in the clear.
        user = resolved.user if is_tls else User(name=resolved.user.name, source=resolved.user.source)
        self._user = user
        self._basic = server.basic
        self._credentials = Credentials(user, cluster_info=self._cluster_info, environ=environ, stdin_is_ours=stdin_is_ours)
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None
        self._context_key: object = None

    def __repr__(self) -> str:
        return f"Endpoint(context={self.context!r}, server={self.server!r}, user={self.user!r})"

    def tls_context(self) -> ssl.SSLContext | None:
        """Return the one context for this server, None for http; made anew when the client certificate or CA file changes.

        Blocking: may run the exec plugin. SettingsError for an unreadable CA or certificate, CredentialError from the plugin.
        """
        if self.scheme != "https":
            return None
        pair = self._credentials.client_pair()
        key = (pair and (pair.certificate, pair.key), _stamp(self._cluster.authority_file))
        with self._lock:
            if self._context is None or key != self._context_key:
                self._context = make_context(self._trust(), pair)
                self._context_key = key
            return self._context

    def request_headers(self) -> Headers:
        """Return Authorization and Impersonate-* PAIRS (never make a dict of them: Impersonate-Group repeats).

        Blocking: may read a token file, run the exec plugin or refresh an OIDC login. Values are to be sent as UTF-8.
        CredentialError when no credential can be had.
        """
        authorization = self._basic or self._credentials.authorization()
        pairs = [] if authorization is None else [("Authorization", authorization)]
        return (*pairs, *_impersonation_headers(self.impersonation))

    def forget_credentials(self, used: Headers | None = None) -> None:
        """Drop what can be renewed, after a 401; with `used` (the headers that failed) only while they are still current."""
        self._credentials.forget(None if used is None else dict(used).get("Authorization", ""))

    def open_socket(self, *, timeout_s: float = CONNECT_S, told_s: float | None = None) -> socket.socket:
        """Open a blocking connection to the server, through the proxy and with TLS where they belong; no timeout is left set.

        `timeout_s` bounds all of it, `told_s` is the limit that an error names where this is the end of a longer one. Raises
        Unreachable, TrustError, TimedOut, and what `tls_context` raises.
        """
        context = self.tls_context()
        deadline = Deadline(timeout_s, self._called)
        deadline.timeout_s = timeout_s if told_s is None else told_s
        sock = self._connect(deadline)
        if context is None:
            return sock
        deadline.doing = "establishing TLS"
        try:
            sock.settimeout(deadline.left_s())
            secure = context.wrap_socket(sock, server_hostname=self.server_hostname)
        except ssl.SSLError as exc:
            sock.close()
            raise self.trust_error(exc) from exc
        except TimeoutError as exc:
            sock.close()
            raise deadline.timed_out() from exc
        except OSError as exc:
            sock.close()
            raise explain(ssl.SSLError(str(exc)), server=self._shown, asked="", trust=self._trust(), peer=lambda: None) from exc
        except BaseException:
            sock.close()
            raise
        secure.settimeout(None)
        return secure

    def connect(self, *, timeout_s: float = CONNECT_S) -> socket.socket:
        """Open a blocking connection without TLS, through the proxy where there is one; raises Unreachable or TimedOut."""
        return self._connect(Deadline(timeout_s, self._called))

    def server_context(self) -> ssl.SSLContext | None:
        """Return a new context that checks the server and shows no client certificate; None for http; runs no plugin."""
        return make_context(self._trust(), None) if self.scheme == "https" else None

    def credential(self) -> HeldCredential:
        """Return what kind of credential is at hand and when it ends; blocking and raises as `request_headers` does."""
        pair = self._credentials.client_pair()
        authorization = self._basic or self._credentials.authorization()
        certificate = pair.certificate if pair is not None else None
        return held_credential(authorization, certificate, self._credentials.plugin_expires_at)

    def trust_error(self, error: ssl.SSLError, *, timeout_s: float = 3.0) -> BrokerError:
        """Translate a failed TLS handshake, ours or another client's; may connect once more to learn the names; blocking."""

        def peer() -> bytes | None:
            try:
                sock = self._connect(Deadline(timeout_s, self._called))
                sock.settimeout(timeout_s)
            except BrokerError:
                return None
            return peer_certificate(sock, self.server_hostname)

        return explain(error, server=self._shown, asked=self.server_hostname or self.host, trust=self._trust(), peer=peer)

    @property
    def _shown(self) -> str:
        return str(clean(self.host_header))

    @property
    def _called(self) -> str:
        return f"the API server {self._shown}"

    def _connect(self, deadline: Deadline) -> socket.socket:
        if self._proxy is None:
            return connect(self.host, self.port, deadline=deadline)
        return connect_through(self._proxy, self.host, self.port, deadline=deadline)

    def _trust(self) -> Trust:
        cluster = self._cluster
        who = f"cluster {clean(cluster.name)!r} of {clean(cluster.source)}"
        if cluster.authority_file:
            origin = f"certificate-authority {clean(cluster.authority_file)} of {who}"
        elif cluster.authority_data:
            origin = f"certificate-authority-data of {who}"
        else:
            origin = f"this system's CAs (no certificate-authority in {who})"
        return Trust(authority=_authority(cluster), origin=origin, skips_verification=cluster.skips_verification)

    def _cluster_info(self) -> dict[str, object]:
        """Make `spec.cluster` of an ExecCredential (client.authentication.k8s.io/v1, type Cluster)."""
        import base64

        cluster = self._cluster
        authority = _authority(cluster)
        given: dict[str, object] = {
            "server": cluster.server,
            "tls-server-name": cluster.tls_server_name,
            "insecure-skip-tls-verify": cluster.skips_verification,
            "certificate-authority-data": base64.b64encode(authority).decode("ascii"),
            "proxy-url": cluster.proxy_url,
            "disable-compression": cluster.disables_compression,
        }
        filled = {key: value for key, value in given.items() if value}
        return {**filled, "config": cluster.exec_extension}


def open_endpoint(
    *,
    kubeconfig: str | None,
    context: str | None,
    namespace: str | None,
    as_user: str | None,
    as_groups: Sequence[str] = (),
    as_uid: str | None = None,
    stdin_is_ours: bool = True,
    environ: Mapping[str, str],
    service_account: Path = FOLDER,
) -> Endpoint:
    """Read what kubectl would read and return the endpoint of one context; nothing is dialled and no plugin runs yet.

    SettingsError names file, context, cluster or user; UsageError for impersonation flags that do not fit.
    """
    read = read_files(kubeconfig, environ)
    config = read.config
    pod = find_service_account(environ, service_account) if not (context or config.current or kubeconfig) else None
    if pod is None and not config.sources:
        raise none_found(read.looked_at)
    resolved = pod or resolve(config, context)
    server = parse_server(resolved.cluster)
    impersonation = _impersonation(resolved.user.impersonation, as_user, as_groups, as_uid)
    proxy_url, proxy_origin = _proxy(resolved.cluster, server, environ)
    for path, what in ((resolved.cluster.authority_file, "certificate-authority"), (resolved.user.token_file, "")):
        if path and what and server.scheme == "https":
            read_named(path, what, f"cluster {clean(resolved.cluster.name)!r} of {clean(resolved.cluster.source)}")
    return Endpoint(
        resolved,
        server=server,
        namespace=namespace or _namespace(resolved),
        impersonation=impersonation,
        proxy_url=proxy_url,
        proxy_origin=proxy_origin,
        sources=config.sources,
        warnings=(*config.warnings, *_warnings(resolved, server)),
        environ=environ,
        stdin_is_ours=stdin_is_ours,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextEntry:
    """One context as written; `server` is without user, query and fragment, "" when its cluster is missing or unusable."""

    name: str
    cluster: str
    user: str
    namespace: str
    server: str
    source: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Contexts:
    """All contexts of the files read, in file order; `current` None when none is set."""

    current: str | None
    current_source: Path | None
    entries: tuple[ContextEntry, ...]
    sources: tuple[Path, ...]


def list_contexts(*, kubeconfig: str | None, environ: Mapping[str, str]) -> Contexts:
    """List the contexts that `--context` may name; empty when there is no file. SettingsError for a broken one."""
    config = read_files(kubeconfig, environ).config
    entries = tuple(
        ContextEntry(
            name=entry.name,
            cluster=entry.cluster,
            user=entry.user,
            namespace=entry.namespace,
            server=_shown_server(config.clusters.get(entry.cluster)),
            source=entry.source,
        )
        for entry in sorted(config.contexts.values(), key=lambda e: config.sources.index(e.source))
    )
    return Contexts(
        current=config.current or None, current_source=config.current_source, entries=entries, sources=config.sources
    )


def _shown_server(cluster: Cluster | None) -> str:
    if cluster is None or not cluster.server:
        return ""
    try:
        return parse_server(cluster).url
    except SettingsError:
        return ""


def _impersonation(own: Impersonation, user: str | None, groups: Sequence[str], uid: str | None) -> Impersonation:
    found = impersonated(own, user=user, groups=groups, uid=uid)
    if not found.user and (found.uid or found.groups):
        raise UsageError("--as-group and --as-uid need --as", next_step="add --as USER")
    values = (found.user, found.uid, *found.groups, *(value for _, several in found.extra for value in several))
    for value in values:
        if any(ord(char) < 0x20 or ord(char) == 0x7F for char in value):
            raise UsageError(
                f"{escaped(value)} cannot be impersonated: it holds a control character",
                next_step="correct --as, or `as` in the kubeconfig",
            )
    return found


def _impersonation_headers(acted: Impersonation) -> Headers:
    if not acted.user:
        return ()
    pairs = [("Impersonate-User", acted.user)]
    if acted.uid:
        pairs.append(("Impersonate-Uid", acted.uid))
    pairs += [("Impersonate-Group", group) for group in acted.groups]
    pairs += [(f"Impersonate-Extra-{_header_key(key)}", value) for key, values in acted.extra for value in values]
    return tuple(pairs)


def _header_key(key: str) -> str:
    """Percent-encode what RFC 9110 does not allow in a field name, and `%` itself (client-go, headerKeyEscape)."""
    legal = b"!#$&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return "".join(chr(byte) if byte in legal else f"%{byte:02X}" for byte in key.encode("utf-8"))


def _proxy(cluster: Cluster, server: Server, environ: Mapping[str, str]) -> tuple[str | None, str]:
    if cluster.proxy_url:
        origin = f"cluster {clean(cluster.name)!r} of {clean(cluster.source)}"
        parse_proxy(cluster.proxy_url, origin)
        return cluster.proxy_url, origin
    found = environment_proxy(server.scheme, server.host, server.port, environ)
    return found, "HTTPS_PROXY" if server.scheme == "https" else "HTTP_PROXY"


def _namespace(resolved: Resolved) -> str:
    found = resolved.context.namespace or "default"
    if not _NAMESPACE.match(found):
        raise SettingsError(
            f"context {clean(resolved.context.name)!r} of {clean(resolved.context.source)} has the impossible namespace"
            f" {escaped(found)}",
            code="kubeconfig-unusable",
            next_step="correct it, or give -n NAMESPACE",
        )
    return found


def _warnings(resolved: Resolved, server: Server) -> tuple[str, ...]:
    where = f"cluster {clean(resolved.cluster.name)!r} of {clean(resolved.cluster.source)}"
    if server.scheme == "http":
        return (f"{clean(server.url)} is not encrypted: no credentials are sent to it",)
    if resolved.cluster.skips_verification:
        return (f"the server's certificate is not checked (insecure-skip-tls-verify of {where})",)
    return ()


def _authority(cluster: Cluster) -> bytes:
    if cluster.authority_data or not cluster.authority_file:
        return cluster.authority_data
    return read_named(
        cluster.authority_file, "certificate-authority", f"cluster {clean(cluster.name)!r} of {clean(cluster.source)}"
    )


def _stamp(path: str) -> object:
    if not path:
        return None
    try:
        seen = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return (seen.st_ino, seen.st_mtime_ns, seen.st_size)
