"""Who asks: bearer tokens and client certificates of the pretend cluster, as a kube-apiserver tells users apart."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

__all__ = ["ANONYMOUS", "AUTHENTICATED", "Identities", "TokenRefused", "User", "service_account"]

AUTHENTICATED = "system:authenticated"
"""The group that every user with accepted credentials belongs to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """One authenticated person or program, as UserInfo of authentication.k8s.io/v1 shows it."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


ANONYMOUS = User(name="system:anonymous", groups=("system:unauthenticated",))
"""The user without credentials."""


def service_account(namespace: str, name: str, *, uid: str = "") -> User:
    """Return the user that a pod's ServiceAccount token stands for."""
    return User(
        name=f"system:serviceaccount:{namespace}:{name}",
        uid=uid,
        groups=("system:serviceaccounts", f"system:serviceaccounts:{namespace}"),
    )


class TokenRefused(Exception):
    """A bearer token that nobody has, or that has expired: 401 whatever the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    user: User
    expires_at_s: float | None


class Identities:
    """The credentials that the pretend cluster accepts. Tokens are kept as digests."""

    def __init__(self) -> None:
        self._tokens: dict[bytes, _Token] = {}
        self._key = hashlib.sha256(str(id(self)).encode()).digest()

    def add_token(self, token: str, user: User, expires_at_s: float | None = None) -> None:
        """Accept `token` as `user`, for ever or until `expires_at_s` (seconds since 1970)."""
        self._tokens[self._digest(token)] = _Token(user=user, expires_at_s=expires_at_s)

    def remove_token(self, token: str) -> None:
        """Refuse `token` from now on."""
        self._tokens.pop(self._digest(token), None)

    def user_of_token(self, token: str, *, now_s: float) -> User:
        """Return the user of a bearer token; raises TokenRefused."""
        known = self._tokens.get(self._digest(token))
        if known is None or (known.expires_at_s is not None and known.expires_at_s <= now_s):
            raise TokenRefused
        return _authenticated(known.user)

    def user_of_certificate(self, der: bytes) -> User:
        """Return the user of a client certificate that TLS has verified: CN is the name, each O a group."""
        certificate = x509.load_der_x509_certificate(der)
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        groups = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
        return _authenticated(
            User(
                name=_text(names[0].value) if names else "",
                groups=tuple(_text(group.value) for group in groups),
                extra={"authentication.kubernetes.io/credential-id": (f"X509SHA256={digest}",)},
            )
        )

    def authenticate(self, authorization: str | None, peer_der: bytes | None, *, now_s: float) -> User:
        """Return who asks: the certificate first, then the Authorization header, else the anonymous user.

        Raises TokenRefused for a bearer token that is not good. `Basic`, and `Bearer` without a token, are anonymous.
        """
        if peer_der is not None:
            return self.user_of_certificate(peer_der)
        scheme, _, token = (authorization or "").strip().partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            return ANONYMOUS
        return self.user_of_token(token, now_s=now_s)

    def _digest(self, token: str) -> bytes:
        return hmac.digest(self._key, token.encode(errors="surrogateescape"), "sha256")


def _authenticated(user: User) -> User:
    if AUTHENTICATED in user.groups:
        return user
    return User(name=user.name, uid=user.uid, groups=_unique((*user.groups, AUTHENTICATED)), extra=user.extra)


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
