"""What kind of credential is at hand and when it ends, read from the credential itself. **Pure.**

Nothing is verified here: a token's `exp` (RFC 7519, 4.1.4) and a certificate's notAfter are what their issuer wrote.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Literal

Kind = Literal["none", "token", "password", "client certificate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldCredential:
    """A credential without its secret: `expires_at` is seconds since 1970, None where nothing tells."""

    kind: Kind
    expires_at: float | None = None


def held_credential(authorization: str | None, certificate: bytes | None, plugin_expires_at: float | None) -> HeldCredential:
    """Judge the Authorization value, the client certificate (PEM) and what an exec plugin said of its own credential.

    A header counts before a certificate, as it does for the API server; the plugin's word counts before the token's.
    """
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() == "bearer":
        return HeldCredential(kind="token", expires_at=plugin_expires_at or token_expiry(value))
    if scheme:
        return HeldCredential(kind="password")
    if certificate is not None:
        return HeldCredential(kind="client certificate", expires_at=plugin_expires_at or certificate_expiry(certificate))
    return HeldCredential(kind="none")


def token_expiry(token: str) -> float | None:
    """Return `exp` of a JSON Web Token in seconds since 1970; None for any other token, and where it has none."""
    parts = token.split(".")
    if len(parts) != 3 or len(token) > 65_536:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    found = claims.get("exp") if isinstance(claims, dict) else None
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) and 0 < found < 1e11 else None


def certificate_expiry(pem: bytes) -> float | None:
    """Return notAfter of the first certificate in a PEM text, in seconds since 1970; None where none can be read."""
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()
    except ValueError:
        return None
