"""**Pure**: a cluster's `server` taken apart as client-go takes it (rest.DefaultServerURL, path.Join)."""

from __future__ import annotations

import base64
import posixpath
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from broker.clean import clean
from broker.errors import SettingsError
from broker.kube.kubeconfig import Cluster

_PATH_SAFE: Final = "/$&+,:;=@-._~!*'()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The parts of one server URL; `host` may carry an IPv6 zone, `name` never; `basic` is an Authorization value or None."""

    url: str
    scheme: str
    host: str
    name: str
    port: int
    prefix: str
    host_header: str
    basic: str | None = field(default=None, repr=False)


def parse_server(cluster: Cluster) -> Server:
    """Read `https://HOST[:PORT][/PREFIX]`, http, or a bare HOST:PORT (means http); SettingsError names cluster and file."""
    written = cluster.server
    if any(ord(char) <= 0x20 or ord(char) == 0x7F for char in written):
        raise _bad(cluster, "it holds a space or control character")
    is_absolute = "://" in written
    try:
        parts = urlsplit(written if is_absolute else f"http://{written}")
        port = parts.port
    except ValueError:
        raise _bad(cluster, "it cannot be parsed") from None
    if parts.scheme not in ("https", "http"):
        raise _bad(cluster, f"scheme {clean(parts.scheme)!r} is neither https nor http")
    if not parts.hostname:
        raise _bad(cluster, "it names no host")
    if not is_absolute and parts.path not in ("", "/"):
        raise _bad(cluster, "a path needs a scheme before it")
    host = _ascii(unquote(parts.hostname), cluster)
    name = host.partition("%")[0] if ":" in host else host
    bracketed = f"[{name}]" if ":" in name else name
    cleaned = posixpath.normpath("/" + unquote(parts.path).lstrip("/"))
    prefix = "" if cleaned == "/" else quote(cleaned, safe=_PATH_SAFE)
    header = bracketed if port is None else f"{bracketed}:{port}"
    return Server(
        url=f"{parts.scheme}://{header}{parts.path}",
        scheme=parts.scheme,
        host=host,
        name=name.rstrip("."),
        port=port or (443 if parts.scheme == "https" else 80),
        prefix=prefix,
        host_header=header,
        basic=_basic(parts.username, parts.password),
    )


def _basic(username: str | None, password: str | None) -> str | None:
    if username is None:
        return None
    pair = f"{unquote(username)}:{unquote(password or '')}".encode()
    return "Basic " + base64.b64encode(pair).decode("ascii")


def _ascii(host: str, cluster: Cluster) -> str:
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        raise _bad(cluster, "its host is no valid name") from None


def _bad(cluster: Cluster, why: str) -> SettingsError:
    return SettingsError(
        f"the server of cluster {clean(cluster.name)!r} of {clean(cluster.source)} cannot be used",
        code="server-invalid",
        cause=why,
        next_step="write https://HOST:PORT",
    )
