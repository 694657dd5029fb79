"""One cluster as one person reaches it: server, trust, credentials, proxy.

Built once by `open_endpoint` from what kubectl would read; both HTTP clients of the house (http.client on `open_socket`,
aiohttp on `tls_context`) stand on it.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path




@dataclass(frozen=True, slots=True, kw_only=True)
class Impersonation:
    """Whom the requests act as (Impersonate-* headers); `user` None means nobody is impersonated."""

    user: str | None = None
    uid: str | None = None
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


class Endpoint:
    """SKELETON (being filled in): every attribute and method below keeps its name and shape."""

    context: str
    cluster: str
    user: str
    namespace: str
    server: str  # as written, without user info, query and fragment
    scheme: str  # "https" | "http"
    host: str  # for dialling; IPv6 without brackets
    port: int
    prefix: str  # "" or "/k8s/clusters/x", percent-encoded, no final slash
    host_header: str
    server_hostname: str | None  # what the certificate must name (tls-server-name or host); None for http
    sources: tuple[Path, ...]
    impersonation: Impersonation
    proxy_url: str | None  # http, https, socks5; socks5 resolves names AT THE PROXY (as Go does): rdns=True
    warnings: tuple[str, ...]

    def tls_context(self) -> ssl.SSLContext | None:
        raise NotImplementedError

    def request_headers(self) -> tuple[tuple[str, str], ...]:
        """PAIRS, NOT A DICT: Impersonate-Group may come several times. Values may hold non-ASCII text: send them as UTF-8."""
        raise NotImplementedError

    def forget_credentials(self) -> None:
        raise NotImplementedError

    def open_socket(self, *, timeout_s: float = 15.0) -> socket.socket:
        raise NotImplementedError

    def trust_error(self, error: ssl.SSLError, *, timeout_s: float = 3.0) -> Exception:
        """Translates a TLS failure that another client (aiohttp) met into a TrustError that names the names; blocking."""
        raise NotImplementedError


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
) -> Endpoint:
    raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextEntry:
    name: str
    cluster: str
    user: str
    namespace: str
    server: str  # "" when the cluster entry is missing
    source: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Contexts:
    current: str | None
    current_source: Path | None
    entries: tuple[ContextEntry, ...]
    sources: tuple[Path, ...]


def list_contexts(*, kubeconfig: str | None, environ: Mapping[str, str]) -> Contexts:
    raise NotImplementedError
