"""When credentials end, read from tokens and certificates."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from broker.kube.expiry import certificate_expiry, held_credential, token_expiry


def token(claims: object) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"e30.{body}.c2ln"


def certificate(ends: datetime) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(ends - timedelta(days=2))
        .not_valid_after(ends)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def test_a_tokens_own_end_is_read() -> None:
    assert token_expiry(token({"exp": 1_800_000_000})) == 1_800_000_000
    assert held_credential(f"Bearer {token({'exp': 5})}", None, None).expires_at == 5


@pytest.mark.parametrize(
    "text",
    [
        "",
        "opaque",
        "a.b",
        "a.b.c",
        "..",
        token([1]),
        token({"exp": "soon"}),
        token({"exp": True}),
        token({"exp": -1}),
        token({}),
    ],
)
def test_a_token_that_does_not_tell_is_no_fault(text: str) -> None:
    assert token_expiry(text) is None


def test_a_certificates_end_is_read_and_an_unreadable_one_is_no_fault() -> None:
    ends = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
    assert certificate_expiry(certificate(ends)) == ends.timestamp()
    assert certificate_expiry(b"-----BEGIN CERTIFICATE-----\nzzz\n-----END CERTIFICATE-----\n") is None


def test_the_header_counts_before_the_certificate_and_the_plugins_word_before_the_token() -> None:
    pem = certificate(datetime(2031, 1, 1, tzinfo=UTC))
    assert held_credential(f"Bearer {token({'exp': 5})}", pem, 9.0).expires_at == 9.0
    assert held_credential("Basic eDp5", pem, None).kind == "password"
    assert held_credential(None, pem, None).kind == "client certificate"
    assert held_credential(None, None, None).kind == "none"
