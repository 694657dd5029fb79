"""What proves who we are: the one credential of a kubeconfig user that kubectl would send, kept fresh in memory.

Order (client-go's transport): a static token or password, else a static certificate alone, and only without all three the
exec plugin or the auth-provider.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from broker.clean import clean
from broker.errors import BrokerError, CredentialError, SettingsError
from broker.kube.kubeconfig import User
from broker.kube.tls import ClientPair

if TYPE_CHECKING:
    from broker.kube.execplugin import PluginCredential
    from broker.kube.oidc import OidcLogin

TOKEN_FILE_PERIOD_S: Final = 10.0
"""Seconds for which a token file is not read again."""

_FILE_LIMIT_BYTES: Final = 16 * 1024 * 1024
_REMOVED: Final = {"gcp": "gke-gcloud-auth-plugin", "azure": "kubelogin"}


class Credentials:
    """One user's credentials, safe to use from several threads: a plugin or issuer is asked by one of them at a time.

    `cluster_info` makes `spec.cluster` for exec plugins; `clock` gives seconds since 1970.
    """

    def __init__(
        self,
        user: User,
        *,
        cluster_info: Callable[[], Mapping[str, object]],
        environ: Mapping[str, str],
        stdin_is_ours: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._user = user
        self._cluster_info = cluster_info
        self._environ = environ
        self._stdin_is_ours = stdin_is_ours
        self._clock = clock
        self._lock = threading.Lock()
        self._file_token = ""
        self._file_read_at: float | None = None
        self._plugged: PluginCredential | None = None
        self._oidc = self._make_oidc()

    def __repr__(self) -> str:
        return f"Credentials(user={self._user.name!r})"

    def authorization(self) -> str | None:
        """Return the Authorization header's value, None where there is none; blocking; CredentialError if not to be had."""
        user = self._user
        if user.token_file:
            return _bearer(self._from_file(), f"token file {clean(user.token_file)}")
        if user.token:
            return _bearer(user.token, f"user {clean(user.name)!r} of {clean(user.source)}")
        if user.username or user.password:
            return "Basic " + base64.b64encode(f"{user.username}:{user.password}".encode()).decode("ascii")
        if self._oidc is not None:
            with self._lock:
                return _bearer(self._oidc.id_token(self._clock()), f"OIDC login of user {clean(user.name)!r}")
        if not self._uses_plugin():
            return None
        token = self._from_plugin().token
        return _bearer(token, f"credential plugin of user {clean(user.name)!r}") if token else None

    def client_pair(self) -> ClientPair | None:
        """Return the client certificate and key, None without; files are read anew, a plugin may be run; blocking."""
        user = self._user
        origin = f"user {clean(user.name)!r} of {clean(user.source)}"
        if user.certificate_file or user.certificate_data:
            return ClientPair(
                certificate=user.certificate_data or read_named(user.certificate_file, "client-certificate", origin),
                key=user.key_data or read_named(user.key_file, "client-key", origin),
                origin=origin,
            )
        if not self._uses_plugin():
            return None
        given = self._from_plugin()
        if not given.certificate:
            return None
        return ClientPair(
            certificate=given.certificate.encode(), key=given.key.encode(), origin=f"the credential plugin of {origin}"
        )

    @property
    def plugin_expires_at(self) -> float | None:
        """When the plugin's credential in memory ends, in seconds since 1970; None without one, or where it never said."""
        given = self._plugged
        return given.expires_at if given is not None else None

    def forget(self, used: str | None = None) -> None:
        """Drop what may be renewed, after a 401; with `used` (the Authorization that failed) only while it is current."""
        with self._lock:
            self._file_read_at = None
            given = self._plugged
            if given is not None and (used is None or used in ("", f"Bearer {given.token}")):
                self._plugged = None
            if self._oidc is not None:
                self._oidc.forget()

    def _uses_plugin(self) -> bool:
        user = self._user
        is_static = bool(
            user.token or user.token_file or user.username or user.password or user.certificate_file or user.certificate_data
        )
        return user.exec_plugin is not None and not is_static

    def _from_plugin(self) -> PluginCredential:
        from broker.kube.execplugin import run_plugin

        plugin = self._user.exec_plugin
        assert plugin is not None
        with self._lock:
            given = self._plugged
            if given is not None and (given.expires_at is None or given.expires_at > self._clock()):
                return given
            made = run_plugin(
                plugin,
                user=self._user.name,
                cluster_info=self._cluster_info() if plugin.provides_cluster_info else None,
                environ=self._environ,
                stdin_is_ours=self._stdin_is_ours,
            )
            self._plugged = made
            return made

    def _from_file(self) -> str:
        with self._lock:
            now = self._clock()
            if self._file_read_at is not None and 0 <= now - self._file_read_at < TOKEN_FILE_PERIOD_S:
                return self._file_token
            try:
                token = _read_token(self._user)
            except CredentialError:
                # While a side process replaces the file the last token still counts (client-go keeps it too).
                token = self._file_token or self._user.token
                if not token:
                    raise
            self._file_token, self._file_read_at = token, now
            return token

    def _make_oidc(self) -> OidcLogin | None:
        provider, user = self._user.auth_provider, self._user
        if provider is None:
            return None
        who = f"user {clean(user.name)!r} of {clean(user.source)}"
        if provider.name in _REMOVED:
            raise SettingsError(
                f"{who} uses the auth-provider {provider.name}, which Kubernetes removed in 1.26",
                code="auth-provider-removed",
                next_step=f"log in again with the plugin {_REMOVED[provider.name]}",
            )
        if provider.name != "oidc":
            raise SettingsError(
                f"{who} uses the unknown auth-provider {clean(provider.name)!r}",
                code="auth-provider-unknown",
                next_step="use an exec plugin",
            )
        from broker.kube.oidc import OidcLogin

        login = OidcLogin(provider.config, user=user.name, environ=self._environ)
        is_static = bool(user.token or user.token_file or user.username or user.password)
        return None if is_static else login


def read_named(path: str, what: str, origin: str) -> bytes:
    """Read a file that a kubeconfig names; SettingsError says which key of which entry, and why not."""
    try:
        with open(path, "rb") as file:
            return file.read(_FILE_LIMIT_BYTES)
    except OSError as exc:
        raise SettingsError(
            f"{what} {clean(path)} of {origin} cannot be read: {clean(exc.strerror)}",
            code="file-unreadable",
            next_step="correct the path, or the file's mode",
        ) from exc


def _read_token(user: User) -> str:
    try:
        with open(user.token_file, "rb") as file:
            token = file.read(1024 * 1024).decode("utf-8", "replace").strip()
    except OSError as exc:
        raise _no_token(user, clean(exc.strerror)) from exc
    if not token:
        raise _no_token(user, "it is empty")
    return token


def _no_token(user: User, why: str) -> BrokerError:
    return CredentialError(
        f"no token in the token file {clean(user.token_file)} of user {clean(user.name)!r}",
        code="token-file",
        cause=why,
        next_step=f"look at what writes that file (tokenFile in {clean(user.source)})",
    )


def _bearer(token: str, origin: str) -> str:
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in token.strip(" \t")):
        raise CredentialError(
            f"the token of {origin} holds a line end or control character", code="token-malformed", next_step="log in again"
        )
    return f"Bearer {token.strip(' ')}"
