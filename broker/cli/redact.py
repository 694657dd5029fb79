"""Secrets taken out of text that goes to a log. Pure."""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "[redacted]"

_NAMED: Final = (
    r"((?:\b|[_-])(?:token|password|passwd|secret|cookie|client-?key-?data|client-?certificate-?data|client_key_data)"
    r"['\"]?\s*[:=]\s*)"
)

_RULES: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile(r"-----BEGIN [A-Z0-9 ]{1,64}-----.*?(?:-----END [A-Z0-9 ]{1,64}-----|\Z)", re.DOTALL), HIDDEN),
    (re.compile(r"LS0tLS1[A-Za-z0-9+/=_\\-]{8,}"), HIDDEN),
    (re.compile(r"\beyJ[A-Za-z0-9_=-]{4,}(?:\.[A-Za-z0-9_=-]*){0,4}"), HIDDEN),
    (re.compile(r"\bsha256~[A-Za-z0-9_-]{4,}"), HIDDEN),
    (re.compile(r"(base64url\.bearer\.authorization\.k8s\.io\.)[A-Za-z0-9_=-]+"), r"\1" + HIDDEN),
    (
        re.compile(
            r"((?:proxy-)?authorization['\"]?\s*[,:=]\s*(?:b(?=['\"]))?['\"]?)"
            r"(?:(?:bearer|basic|negotiate|digest)\s+)?[^\s'\",;)}\]]+",
            re.IGNORECASE,
        ),
        r"\1" + HIDDEN,
    ),
    (re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE), r"\1 " + HIDDEN),
    (re.compile(_NAMED + r"b?'(?:[^'\\\n]|\\.)*'?", re.IGNORECASE), r"\1" + HIDDEN),
    (re.compile(_NAMED + r'b?"(?:[^"\\\n]|\\.)*"?', re.IGNORECASE), r"\1" + HIDDEN),
    (re.compile(_NAMED + r"[^\s'\",;&)}\]\[]+", re.IGNORECASE), r"\1" + HIDDEN),
    (re.compile(r"([a-z][a-z0-9+.-]{0,31}://)[^\s/@'\"]+@", re.IGNORECASE), r"\1" + HIDDEN + "@"),
)


def redact(text: str) -> str:
    """Return `text` without Authorization values, bearer and JWT shapes, PEM blocks, key data, passwords, URL user info.

    Errs on the side of hiding too much (ssh-broker.md 2.2, rule 7).
    """
    for pattern, instead in _RULES:
        text = pattern.sub(instead, text)
    return text
