"""The `oidc` auth-provider: an ID token, refreshed by its refresh token (OpenID Connect Core 12, Discovery 4), kept in memory.

kubectl writes the new tokens back into the kubeconfig; we never touch that file.
"""

from __future__ import annotations

import base64
import binascii
import json
import ssl
from collections.abc import Mapping
from typing import Final

from broker.clean import clean
from broker.errors import BrokerError, CredentialError, SettingsError
from broker.kube.proxy import environment_proxy
from broker.kube.tls import Trust, make_context

_LEEWAY_S: Final = 10.0
_LIMIT_S: Final = 15.0
_ANSWER_LIMIT_BYTES: Final = 1024 * 1024


class OidcLogin:
    """One user's OIDC login; `config` is the kubeconfig's auth-provider.config, `environ` gives proxies."""

    def __init__(self, config: Mapping[str, str], *, user: str, environ: Mapping[str, str]) -> None:
        self._user = user
        self._environ = environ
        self._issuer = config.get("idp-issuer-url", "")
        self._client_id = config.get("client-id", "")
        for key, value in (("idp-issuer-url", self._issuer), ("client-id", self._client_id)):
            if not value:
                raise SettingsError(
                    f"the oidc auth-provider of user {clean(user)!r} has no {key}",
                    code="oidc-incomplete",
                    next_step="log in again",
                )
        self._client_secret = config.get("client-secret", "")
        self._id_token = config.get("id-token", "")
        self._refresh_token = config.get("refresh-token", "")
        self._authority_file = config.get("idp-certificate-authority", "")
        self._authority_data = config.get("idp-certificate-authority-data", "")

    def id_token(self, now: float) -> str:
        """Return an ID token that lives ten seconds past `now` (seconds since 1970), asking the issuer if need be; blocking."""
        if self._id_token and expiry_of(self._id_token, self._user) - _LEEWAY_S > now:
            return self._id_token
        if not self._refresh_token:
            raise self._failed("the ID token has expired and there is no refresh token", code="login-expired")
        answer = self._refresh()
        token = answer.get("id_token")
        if not isinstance(token, str) or not token:
            raise self._failed("the issuer's answer holds no id_token (was scope openid asked for at login?)")
        self._id_token = token
        rotated = answer.get("refresh_token")
        if isinstance(rotated, str) and rotated:
            self._refresh_token = rotated
        return token

    def forget(self) -> None:
        """Drop the ID token after a 401, so that the next call refreshes it; without a refresh token it is kept."""
        if self._refresh_token:
            self._id_token = ""

    def _refresh(self) -> dict[str, object]:
        status, found = self._ask(self._issuer.rstrip("/") + "/.well-known/openid-configuration")
        endpoint = found.get("token_endpoint")
        if status != 200 or not isinstance(endpoint, str) or not endpoint:
            raise self._failed(f"the issuer {clean(self._issuer)} answers {status} without a token_endpoint")
        form = {"grant_type": "refresh_token", "refresh_token": self._refresh_token}
        styles = ("header", "body") if self._client_secret else ("body",)
        answer: dict[str, object] = {}
        for style in styles:
            # Issuers differ in where they take the client secret from; both ways are tried (RFC 6749, 2.3.1).
            status, answer = self._ask(endpoint, form=form, style=style)
            if status == 200:
                return answer
        what = clean(answer.get("error_description") or answer.get("error") or f"status {status}")
        raise self._failed(f"the issuer {clean(self._issuer)} refused the refresh token: {what}", code="login-expired")

    def _ask(self, url: str, *, form: Mapping[str, str] | None = None, style: str = "body") -> tuple[int, dict[str, object]]:
        import http.client
        from urllib.error import HTTPError, URLError
        from urllib.parse import quote_plus, urlencode, urlsplit
        from urllib.request import HTTPRedirectHandler, HTTPSHandler, ProxyHandler, Request, build_opener

        parts = urlsplit(url)
        if parts.scheme not in ("https", "http") or not parts.hostname:
            raise self._failed(f"{clean(url)} is no http or https address")
        headers, body = {"Accept": "application/json"}, None
        if form is not None:
            fields = dict(form)
            if style == "header":
                pair = f"{quote_plus(self._client_id)}:{quote_plus(self._client_secret)}".encode()
                headers["Authorization"] = "Basic " + base64.b64encode(pair).decode("ascii")
            else:
                fields["client_id"] = self._client_id
                if self._client_secret:
                    fields["client_secret"] = self._client_secret
            body = urlencode(fields).encode("ascii")
        proxy = environment_proxy(
            parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80), self._environ
        )
        opener = build_opener(
            HTTPSHandler(context=self._context()), ProxyHandler({parts.scheme: proxy} if proxy else {}), HTTPRedirectHandler()
        )
        try:
            with opener.open(Request(url, data=body, headers=headers), timeout=_LIMIT_S) as response:  # noqa: S310
                return int(response.status), _object(response.read(_ANSWER_LIMIT_BYTES))
        except HTTPError as exc:
            with exc:
                return exc.code, _object(exc.read(_ANSWER_LIMIT_BYTES))
        except (URLError, OSError, http.client.HTTPException, ssl.SSLError) as exc:
            why = getattr(exc, "reason", exc)
            raise self._failed(
                f"the issuer {clean(self._issuer)} cannot be asked: {clean(getattr(why, 'strerror', None) or why)}"
            ) from exc

    def _context(self) -> ssl.SSLContext:
        authority = b""
        origin = f"idp-certificate-authority of user {clean(self._user)!r}"
        try:
            if self._authority_data:
                authority = base64.b64decode(self._authority_data)
            elif self._authority_file:
                with open(self._authority_file, "rb") as file:
                    authority = file.read()
        except (OSError, ValueError) as exc:
            raise SettingsError(f"{origin} cannot be read", code="ca-unreadable", next_step="mend that entry") from exc
        return make_context(Trust(authority=authority, origin=origin, skips_verification=False), None)

    def _failed(self, why: str, *, code: str = "oidc-failed") -> BrokerError:
        return CredentialError(
            f"the OIDC login of user {clean(self._user)!r} cannot be used",
            code=code,
            cause=why,
            next_step="log in again as you do for kubectl",
        )


def expiry_of(token: str, user: str) -> float:
    """Return `exp` of a JWT (RFC 7519, 4.1.4) in seconds since 1970, 0 where it has none; its signature is not our business."""
    parts = token.split(".")
    try:
        if len(parts) != 3:
            raise ValueError("parts")
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        expiry = claims.get("exp", 0) if isinstance(claims, dict) else 0
        return float(expiry) if isinstance(expiry, (int, float)) else 0.0
    except (ValueError, binascii.Error, RecursionError):
        raise CredentialError(
            f"the ID token of user {clean(user)!r} is no JWT",
            code="oidc-failed",
            next_step="log in again as you do for kubectl",
        ) from None


def _object(body: bytes) -> dict[str, object]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
