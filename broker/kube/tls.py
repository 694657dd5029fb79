"""TLS towards an API server: the context that allows what kubectl allows, and failures told with names.

Go trusts any certificate of the bundle as an anchor and knows no X509_STRICT; both are set so here, nothing else is weaker
than Python's default: TLS 1.2 at least, names only from subjectAltName.
"""

from __future__ import annotations

import os
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from broker.clean import clean
from broker.errors import BrokerError, SettingsError, TrustError

_PEM_START: Final = b"-----BEGIN CERTIFICATE-----"
_PEM_END: Final = b"-----END CERTIFICATE-----"
_NAME_MISMATCH: Final = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_UNTRUSTED: Final = (2, 18, 19, 20, 21, 27)
_DATES: Final = {9: "is not valid yet", 10: "has expired"}
_NAMES_SHOWN: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whose certificates are believed; `authority` b"" means the system's roots, `origin` names where it came from."""

    authority: bytes = field(repr=False)
    origin: str
    skips_verification: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPair:
    """A client certificate chain and its key, both PEM; `origin` names user and file for messages."""

    certificate: bytes = field(repr=False)
    key: bytes = field(repr=False)
    origin: str


def make_context(trust: Trust, pair: ClientPair | None) -> ssl.SSLContext:
    """Build a client context; SettingsError names the CA or client certificate that cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["http/1.1"])
    _load_trust(context, trust)
    if pair is not None:
        _load_pair(context, pair)
    return context


def explain(error: ssl.SSLError, *, server: str, asked: str, trust: Trust, peer: Callable[[], bytes | None]) -> BrokerError:
    """Turn a failed handshake into a TrustError that names the names or the CA.

    `asked` is the name that the certificate had to carry; `peer` fetches the server's certificate (DER) for the message.
    """
    if not isinstance(error, ssl.SSLCertVerificationError):
        return _no_tls(error, server)
    code = error.verify_code
    if code in _NAME_MISMATCH:
        names = names_in(peer())
        return TrustError(
            f"the certificate of {server} is for other names",
            code="tls-name",
            cause=f"asked for {clean(asked)}; the certificate names {names or 'none that can be read'}",
            next_step="use one of these names as server, or set tls-server-name in the kubeconfig's cluster",
        )
    if code in _DATES:
        return TrustError(
            f"the certificate of {server} {_DATES[code]}",
            code="tls-date",
            cause="by the clock of this machine",
            next_step="check this clock, then have the cluster's certificate renewed",
        )
    return TrustError(
        f"the certificate of {server} is not signed by a CA that we trust",
        code="tls-untrusted" if code in _UNTRUSTED else "tls",
        cause=f"checked against {trust.origin}: {clean(error.verify_message)}",
        next_step="put the cluster's CA into certificate-authority-data of the kubeconfig (log in again, or ask its operator)",
    )


def peer_certificate(sock: socket.socket, server_hostname: str | None) -> bytes | None:
    """Shake hands without checking, only to learn the certificate (DER) for an error message; closes the socket."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with sock:
        try:
            with context.wrap_socket(sock, server_hostname=server_hostname) as wrapped:
                return wrapped.getpeercert(binary_form=True)
        except OSError:
            return None


def names_in(certificate: bytes | None) -> str:
    """The names of subjectAltName (RFC 5280, 4.2.1.6), cleaned, at most eight; "" when there are none."""
    if certificate is None:
        return ""
    from cryptography import x509

    try:
        parsed = x509.load_der_x509_certificate(certificate)
        found = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        return ""
    names = [*found.get_values_for_type(x509.DNSName), *(str(a) for a in found.get_values_for_type(x509.IPAddress))]
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(clean(name, 100) for name in names[:_NAMES_SHOWN]) + more


def _load_trust(context: ssl.SSLContext, trust: Trust) -> None:
    if trust.skips_verification:
        if trust.authority:
            # kubectl refuses this pair too: a CA that nobody checks against is a mistake, not a wish.
            raise SettingsError(
                f"{trust.origin} stands beside insecure-skip-tls-verify",
                code="kubeconfig-unusable",
                next_step="remove one of the two",
            )
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return
    if not trust.authority:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return
    try:
        context.load_verify_locations(cadata=_certificates(trust.authority))
    except (ssl.SSLError, ValueError):
        raise SettingsError(
            f"{trust.origin} holds no certificate that can be read",
            code="ca-unreadable",
            next_step="put the cluster's CA there, in PEM",
        ) from None


def _certificates(bundle: bytes) -> str:
    """Keep the CERTIFICATE blocks only: comments around them may be in any language."""
    blocks = [part.partition(_PEM_END)[0] for part in bundle.split(_PEM_START)[1:] if _PEM_END in part]
    if not blocks:
        raise ValueError("no certificate")
    return "\n".join((_PEM_START + block + _PEM_END).decode("ascii") for block in blocks)


def _load_pair(context: ssl.SSLContext, pair: ClientPair) -> None:
    def no_password() -> str:
        raise SettingsError(
            f"the key of {pair.origin} is encrypted",
            code="client-key-encrypted",
            next_step="kubectl cannot use it either: decrypt it",
        )

    try:
        with _as_file(pair.certificate) as certificate, _as_file(pair.key) as key:
            context.load_cert_chain(certificate, key, password=no_password)
    except (ssl.SSLError, ValueError) as exc:
        reason = getattr(exc, "reason", None)
        why = (
            "the key does not belong to the certificate" if reason == "KEY_VALUES_MISMATCH" else "no certificate and key in PEM"
        )
        raise SettingsError(
            f"the client certificate of {pair.origin} cannot be used",
            code="client-certificate-unusable",
            cause=why,
            next_step="log in again, or mend that entry",
        ) from None


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """Give OpenSSL a path to read from that no directory ever lists: memory on Linux, an unlinked file elsewhere."""
    descriptor = _anonymous()
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield f"/proc/self/fd/{descriptor}" if hasattr(os, "memfd_create") else f"/dev/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _anonymous() -> int:
    if hasattr(os, "memfd_create"):
        try:
            return os.memfd_create("vmbroker", os.MFD_CLOEXEC)
        except OSError:
            pass
    descriptor, path = tempfile.mkstemp(prefix="vmbroker-")
    os.unlink(path)  # noqa: PTH108
    return descriptor


def _no_tls(error: ssl.SSLError, server: str) -> BrokerError:
    reason = (error.reason or "").replace("_", " ").lower()
    if reason in ("wrong version number", "http request", "record layer failure", "packet length too long"):
        return TrustError(
            f"{server} does not speak TLS there",
            code="tls",
            cause=clean(reason),
            next_step="check the port, or write http:// as the server's scheme",
        )
    return TrustError(
        f"TLS with {server} failed",
        code="tls",
        cause=clean(reason or "the peer ended the handshake"),
        next_step="check that this is the API server's port, and the client certificate if it asks for one",
    )
