"""Continue tokens and the versions that a list may ask for (apiserver/pkg/storage/continue.go)."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass

from broker.lab.answers import bad_request

__all__ = ["Position", "continue_token", "parse_token"]

TOKEN_VERSION = "meta.k8s.io/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a list goes on: the key after which, and the version of the first page (-1: the newest, inconsistently)."""

    start: str
    resource_version: int


def continue_token(key: str, resource_version: int, *, prefix: str, is_first: bool) -> str:
    """Return the token for what follows `key`; `prefix` (`namespace/`) is cut off as the real server's storage prefix is.

    A first page comes from the real server's cache, whose prefix leaves the slash in front; later ones come from etcd.
    """
    start = f"{'/' if is_first else ''}{key.removeprefix(prefix)}\0"
    body = json.dumps({"v": TOKEN_VERSION, "rv": resource_version, "start": start}, separators=(",", ":"))
    return base64.urlsafe_b64encode(body.encode()).decode().rstrip("=")


def parse_token(token: str, *, prefix: str) -> Position:
    """Read a token; ApiError 400 with the real server's words for one that is none."""
    bad = re.search(r"[^A-Za-z0-9_-]", token)
    if bad or len(token) % 4 == 1:
        where = bad.start() if bad else len(token) - 1
        raise bad_request(f"invalid continue token: continue key is not valid: illegal base64 data at input byte {where}")
    try:
        body = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        version, start = int(body["rv"]), str(body["start"])
    except (binascii.Error, ValueError, KeyError, TypeError) as exc:
        raise bad_request(f"invalid continue token: continue key is not valid: {exc}") from exc
    return Position(start=prefix + start.lstrip("/"), resource_version=version)
