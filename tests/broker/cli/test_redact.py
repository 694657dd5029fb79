"""No secret passes the debug log: canaries in every shape in which they are met."""

from __future__ import annotations

import time

import pytest

from broker.cli.redact import HIDDEN, redact

CANARY = "Zk9CANARY7secretvalue"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJDQU5BUlkifQ.c2lnbmF0dXJlQ0FOQVJZ"
PEM = f"-----BEGIN RSA PRIVATE KEY-----\nMIIE{CANARY}\nabc\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {CANARY}",
        f"authorization: Basic {CANARY}",
        f"('Authorization', 'Bearer {CANARY}')",
        f"{{'Authorization': 'Bearer {CANARY}', 'x': 1}}",
        f'"Proxy-Authorization": "Basic {CANARY}"',
        f"b'Authorization: Bearer {CANARY}\\r\\n'",
        f"used bearer {CANARY} for it",
        f"token={CANARY}&x=1",
        f'{{"id-token": "{CANARY}", "refresh_token": "{CANARY}"}}',
        f"client-key-data: {CANARY}",
        f"clientKeyData='{CANARY}'",
        f"password: {CANARY}",
        f"Cookie: {CANARY}",
        PEM,
        PEM.replace("\n", "\\n"),
        f"cut in the middle -----BEGIN PRIVATE KEY-----\n{CANARY}",
        f"LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVktLS0tLQo{CANARY}",
        f"sha256~{CANARY}",
        f"Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.{CANARY}, plain.kubevirt.io",
        f"proxy http://user:{CANARY}@proxy.example:3128/ refused",
    ],
)
def test_a_secret_is_hidden(text: str) -> None:
    shown = redact(text)
    assert CANARY not in shown
    assert HIDDEN in shown


def test_a_jwt_is_hidden_wherever_it_stands() -> None:
    for text in (JWT, f"x={JWT};", f"/{JWT}/", f'"{JWT}"'):
        assert "CANARY" not in redact(text)
        assert JWT[:30] not in redact(text)
        assert "c2lnbmF0dXJl" not in redact(text)


@pytest.mark.parametrize(
    "text",
    ["GET /api/v1/namespaces/shop/pods?limit=500 200 in 12 ms", "vm/web/shop is paused", "https://api.example:6443/k8s", ""],
)
def test_other_text_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "piece",
    [
        *(
            "x",
            "a.",
            "a+-",
            "a:",
            "a:/",
            "://",
            "a://b",
            "a://@",
            "token ",
            "token:",
            "token: '",
            'token="\\',
            "token-",
            "secret_",
        ),
        *(
            "authorization ",
            "proxy-authorization: b",
            "bearer ",
            "basic  ",
            "eyJ",
            "eyJabcd.",
            "-----BEGIN A",
            "-----BEGIN A-----",
        ),
        *("LS0tLS1", "sha256~", "base64url.bearer.authorization.k8s.io.", " ", "\n", "'", "\\"),
    ],
)
def test_a_long_text_takes_no_longer_than_its_length(piece: str) -> None:
    began = time.process_time()
    redact(piece * (100_000 // len(piece)))
    assert time.process_time() - began < 2  # where each place were tried with each: a minute
