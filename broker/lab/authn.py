"""Who asks: bearer tokens and client certificates of the pretend cluster, as a kube-apiserver tells users apart."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

__all__ = ["ANONYMOUS", "AUTHENTICATED", "Identities", "TokenAnswer", "TokenRefused", "User", "service_account"]

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
    audiences: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAnswer:
    """What a TokenReview finds: the user and the audiences that fit, or None and why."""

    user: User | None
    audiences: tuple[str, ...] = ()
    error: str = ""


class Identities:
    """The credentials that the pretend cluster accepts. Tokens are kept as digests.

    `audience` is the API server's own: what a token is for when nothing else is said.
    """

    def __init__(self, *, audience: str = "https://kubernetes.default.svc") -> None:
        self.audience = audience
        self._tokens: dict[bytes, _Token] = {}
        self._key = hashlib.sha256(str(id(self)).encode()).digest()

    def add_token(self, token: str, user: User, expires_at_s: float | None = None, *, audiences: Iterable[str] = ()) -> None:
        """Accept `token` as `user`, for ever or until `expires_at_s` (seconds since 1970).

        `audiences` make it a service account's token, issued for them; without any it is a static one.
        """
        self._tokens[self._digest(token)] = _Token(user=user, expires_at_s=expires_at_s, audiences=tuple(audiences))

    def remove_token(self, token: str) -> None:
        """Refuse `token` from now on."""
        self._tokens.pop(self._digest(token), None)

    def user_of_token(self, token: str, *, now_s: float) -> User:
        """Return the user of a bearer token; raises TokenRefused."""
        found = self.review_token(token, (), now_s=now_s)
        if found.user is None:
            raise TokenRefused
        return found.user

    def review_token(self, token: str, audiences: tuple[str, ...], *, now_s: float) -> TokenAnswer:
        """Say whose token it is, for these audiences or for the API server itself.

        A static token knows no audiences and is refused where any are asked for, as kube-apiserver does.
        """
        known = self._tokens.get(self._digest(token))
        refused = "invalid bearer token"
        if known is None or (audiences and not known.audiences):
            return TokenAnswer(user=None, error=refused)
        if known.expires_at_s is not None and known.expires_at_s <= now_s:
            more = "service account token has expired"
            return TokenAnswer(user=None, error=f"[{refused}, {more}]" if known.audiences else refused)
        wanted = audiences or (self.audience,)
        fitting = tuple(each for each in wanted if not known.audiences or each in known.audiences)
        if not fitting:
            why = f"token audiences {_quoted(known.audiences)} is invalid for the target audiences {_quoted(wanted)}"
            return TokenAnswer(user=None, error=f"[{refused}, {why}]")
        return TokenAnswer(user=_authenticated(known.user), audiences=fitting)

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


def _quoted(words: Iterable[str]) -> str:
    """Words as Go's %q prints a list of them."""
    return "[" + " ".join(json.dumps(word) for word in words) + "]"


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
