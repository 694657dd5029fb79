"""Comparison of a captured answer with the lab's: everything counts but what is of one run (versions, times, ages, digests)."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

_AGE = re.compile(r"(\d+[smhdy])+\Z")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")
_DIGITS = re.compile(r"\d+\Z")
_HASH_URL = re.compile(r"\?hash=[0-9A-F]{128}\Z")
_DIGEST = re.compile(r"X509SHA256=[0-9a-f]{64}\Z")
_HASH = re.compile(r"[A-Za-z0-9+/]{11}=\Z")
_ADDRESS = re.compile(r"127\.0\.0\.1:\d+\Z")
_OLDEST = re.compile(r"(too old resource version: \d+) \(\d+\)\Z")
_CURRENT = re.compile(r"(Too large resource version: \d+, current:) \d+\Z")

_Form = Callable[[str], str]
_FORMS: dict[str, _Form] = {
    "resourceVersion": lambda text: _DIGITS.sub("<version>", text),
    "time": lambda text: _TIME.sub("<time>", text),
    "creationTimestamp": lambda text: _TIME.sub("<time>", text),
    "serverRelativeURL": lambda text: _HASH_URL.sub("?hash=<digest>", text),
    "serverAddress": lambda text: _ADDRESS.sub("<address>", text),
    "storageVersionHash": lambda text: _HASH.sub("<digest>", text),
    "authentication.kubernetes.io/credential-id": lambda text: _DIGEST.sub("X509SHA256=<digest>", text),
    "cells": lambda text: _AGE.sub("<age>", text),
    "message": lambda text: _CURRENT.sub(r"\1 <version>", _OLDEST.sub(r"\1 (<version>)", text)),
}
"""For members whose value is of one run: how the value becomes its form. A value without that form stays and differs."""


def differences(expected: Any, actual: Any, *, free: frozenset[str] = frozenset()) -> list[str]:
    """Say where two JSON values differ; members named in `free` need only be of the same type."""
    return list(_compare(expected, actual, "", "", free))


def _compare(expected: Any, actual: Any, key: str, where: str, free: frozenset[str]) -> Iterator[str]:
    if type(expected) is not type(actual):
        yield f"{where}: {type(expected).__name__} {_short(expected)} became {type(actual).__name__} {_short(actual)}"
    elif isinstance(expected, dict):
        for name in sorted({*expected, *actual}):
            below = f"{where}.{name}"
            if name not in actual:
                yield f"{below}: missing (was {_short(expected[name])})"
            elif name not in expected:
                yield f"{below}: too much ({_short(actual[name])})"
            else:
                yield from _compare(expected[name], actual[name], name, below, free)
    elif isinstance(expected, list):
        if len(expected) != len(actual):
            yield f"{where}: {len(expected)} entries became {len(actual)}"
        for index, (one, other) in enumerate(zip(expected, actual, strict=False)):
            yield from _compare(one, other, key, f"{where}[{index}]", free)
    elif key not in free and _form(key, expected) != _form(key, actual):
        yield f"{where}: {_short(expected)} became {_short(actual)}"


def _form(key: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if key == "continue" and value:
        token = json.loads(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)))
        # -1 means "the newest, inconsistently"; any other version is of one run.
        return {**token, "rv": -1 if token["rv"] == -1 else "<version>"}
    return _FORMS[key](value) if key in _FORMS else value


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 160 else text[:157] + "…"
