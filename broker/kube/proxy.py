"""**Pure**: through which proxy, if any, a server is reached, as Go decides it (golang.org/x/net/http/httpproxy).

A kubeconfig's `proxy-url` stands above this: it is used for every host, loopback too, and NO_PROXY does not touch it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from broker.clean import clean
from broker.errors import SettingsError

SCHEMES: Final = ("http", "https", "socks5", "socks5h")
"""Proxy URLs that are understood; both socks5 words leave the look-up of names to the proxy, as Go does."""
_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """One proxy; `port` is filled in, `username` and `password` are decoded, None where the URL has none."""

    scheme: str
    host: str
    port: int
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @property
    def shown(self) -> str:
        """The proxy as it may be shown: without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return str(clean(f"{self.scheme}://{host}:{self.port}"))


def parse_proxy(url: str, origin: str) -> Proxy:
    """Read a proxy URL; SettingsError names `origin` (a file and cluster, or a variable) and never shows user or password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _bad(origin, "it cannot be parsed") from None
    if parts.scheme not in SCHEMES:
        raise _bad(origin, f"scheme {clean(parts.scheme or 'none')!r} is none of http, https, socks5")
    if not parts.hostname:
        raise _bad(origin, "it names no host")
    return Proxy(
        scheme=parts.scheme,
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        username=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
    )


def environment_proxy(scheme: str, host: str, port: int, environ: Mapping[str, str]) -> str | None:
    """Return the URL of the proxy that the environment asks for, None for a direct way.

    HTTPS_PROXY or HTTP_PROXY (capitals first) by the server's scheme, less NO_PROXY; `localhost` and loopback addresses
    never go through it. A value without scheme is an http proxy. SettingsError: HTTP_PROXY inside a CGI program.
    """
    name = "HTTPS_PROXY" if scheme == "https" else "HTTP_PROXY"
    value = environ.get(name) or environ.get(name.lower()) or ""
    if not value:
        return None
    if scheme == "http" and environ.get("REQUEST_METHOD"):
        raise SettingsError(
            "HTTP_PROXY is not trusted where REQUEST_METHOD is set",
            next_step="unset REQUEST_METHOD, or set proxy-url in the kubeconfig",
        )
    if is_bypassed(host, port, environ.get("NO_PROXY") or environ.get("no_proxy") or ""):
        return None
    return value if _is_absolute(value) else f"http://{value}"


def is_bypassed(host: str, port: int, no_proxy: str) -> bool:
    """Say whether a host is reached without the environment's proxy.

    Entries: `*`, address, CIDR, `host` (and what is below it), `.host` and `*.host` (only what is below), each with `:port`.
    """
    if host == "localhost":
        return True
    address = _address(host)
    if address is not None and (address.is_loopback or _is_mapped_loopback(address)):
        return True
    name = host.strip().lower()
    return any(_matches(entry.strip().lower(), name, address, port) for entry in no_proxy.split(",") if entry.strip())


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _matches(entry: str, host: str, address: _Address | None, port: int) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        network = _network(entry)
        if network is not None:
            return address is not None and _plain(address) in network
    name, wanted = _split_port(entry)
    if not name or (wanted and wanted != str(port)):
        return False
    listed = _address(name)
    if listed is not None:
        return address is not None and _plain(address) == _plain(listed)
    name = name[1:] if name.startswith("*.") else name
    name = _ascii(name)
    return host.endswith(name) if name.startswith(".") else host == name or host.endswith("." + name)


def _split_port(entry: str) -> tuple[str, str]:
    if entry.startswith("["):
        inside, closed, rest = entry[1:].partition("]")
        return (inside, rest[1:]) if closed and rest.startswith(":") else (entry, "")
    name, colon, port = entry.partition(":")
    return (name, port) if colon and ":" not in port else (entry, "")


def _ascii(name: str) -> str:
    if name.isascii():
        return name
    try:
        dot = "." if name.startswith(".") else ""
        return dot + name.lstrip(".").encode("idna").decode("ascii")
    except UnicodeError:
        return name


def _address(text: str) -> _Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _plain(address: _Address) -> _Address:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _is_mapped_loopback(address: _Address) -> bool:
    return _plain(address).is_loopback


def _is_absolute(value: str) -> bool:
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return bool(parts.scheme and parts.netloc)


def _bad(origin: str, why: str) -> SettingsError:
    return SettingsError(
        f"the proxy URL of {origin} cannot be used",
        code="proxy-invalid",
        cause=why,
        next_step="write http://HOST:PORT or socks5://HOST:PORT",
    )
