"""What was asked of the API server and what it answered, as plain values.

Pure; `broker.kube.status` turns the two into an error.
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from broker.clean import Clean, clean

READ_BYTES: Final = 65_536
"""Bytes of an error's body that are looked at; what lies behind them is never decoded."""

RETRY_AFTER_MAX_S: Final = 300.0
"""Seconds of a Retry-After that are believed at most."""

_KINDS: Final = {
    "virtualmachines": "VM",
    "virtualmachineinstances": "VMI",
    "virtualmachineinstancemigrations": "migration",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What was asked, in Kubernetes' own words: for the messages of errors about it.

    `verb` as RBAC spells it (get, list, create, …), `resource` plural, `path` as sent (prefix kept, no query), `user_hint` a
    next step that the caller knows better (shown where the object is not found), `port` the guest port of a portforward.
    """

    verb: str
    resource: str
    path: str
    subresource: str | None = None
    namespace: str | None = None
    name: str | None = None
    user_hint: str | None = None
    port: str | None = None

    @property
    def what(self) -> Clean:
        """The object in words: `VM web in namespace shop`."""
        kind = _KINDS.get(self.resource, self.resource)
        words = [kind if self.name is not None or kind == self.resource else kind + "s"]
        if self.name is not None:
            words.append(self.name)
        if self.namespace:
            words.append(f"in namespace {self.namespace}")
        return clean(" ".join(words), 120)

    @property
    def group(self) -> str:
        """The API group in the path; `""` for core (`/api/v1/…`)."""
        found = re.search(r"/apis/([^/?]+)", self.path)
        return found[1] if found else ""

    @property
    def prefix(self) -> str:
        """The path in front of `/apis/` or `/api/`, `""` where the server stands at its host's root."""
        found = re.match(r"(.*?)/apis?/", self.path + "/")
        return found[1] if found else ""

    @property
    def is_portforward(self) -> bool:
        """Whether bytes through KubeVirt's portforward subresource were asked for."""
        return self.subresource == "portforward"

    @property
    def is_virt_api(self) -> bool:
        """Whether virt-api, behind the API server, answers this (group subresources.kubevirt.io)."""
        return self.group.endswith("subresources.kubevirt.io")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The parts of a refused answer that decide: text bounded by `READ_BYTES`, `is_status` says a metav1.Status was in it."""

    status: int
    text: str
    is_status: bool = False
    is_page: bool = False
    reason: str = ""
    retry_after_s: float | None = None

    @property
    def shown(self) -> Clean:
        """The text as one safe line, cut where a whole object might begin (kubevirt.md M2: it may hold a Secret)."""
        return clean(self.text.split("{", 1)[0].strip())


def read_answer(status: int, content_type: str, body: bytes, retry_after: str | None = None) -> Answer:
    """Read a body as what it is, whatever its content type says: a Status, one behind a plain line, a page, or text."""
    text = body[:READ_BYTES].decode("utf-8", "replace").strip()
    asked_s = _seconds(retry_after)
    for start in (0, text.find("\n{") + 1):
        found = _status_object(text[start:]) if start == 0 or start > 0 else None
        if found is not None:
            details = found.get("details")
            told = details.get("retryAfterSeconds") if isinstance(details, dict) else None
            return Answer(
                status=status,
                text=_string(found.get("message")) or _string(found.get("reason")),
                is_status=True,
                reason=_string(found.get("reason")),
                retry_after_s=asked_s if asked_s is not None else _seconds(told),
            )
    if "html" in content_type.lower() or text[:200].lower().startswith(("<!doctype", "<html", "<head", "<body")):
        title = re.search(r"<title[^>]*>([^<]{0,400})", text, re.IGNORECASE)
        return Answer(status=status, text=title[1].strip() if title else "", is_page=True, retry_after_s=asked_s)
    return Answer(status=status, text=text, retry_after_s=asked_s)


def _status_object(text: str) -> dict[str, object] | None:
    if not text.startswith("{"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return _cut_status(text) if len(text) > READ_BYTES // 4 else None
    return found if isinstance(found, dict) and found.get("kind") == "Status" else None


def _cut_status(text: str) -> dict[str, object] | None:
    """Read a Status whose end lies behind `READ_BYTES`: its first fields are there, its message perhaps in part."""
    beginning = text[:READ_BYTES]
    if not re.search(r'\A\{[^{}"]{0,64}(?:"[^"{}]{0,64}"[^"{}]{0,64}){0,8}"kind"\s*:\s*"Status"', beginning):
        return None
    found: dict[str, object] = {"kind": "Status"}
    for name in ("message", "reason"):
        said = re.search(rf'"{name}"\s*:\s*"((?:[^"\\]|\\.){{0,1024}})', beginning)
        if said is not None:
            with contextlib.suppress(ValueError):
                found[name] = json.loads(f'"{said[1]}"', strict=False)
    return found


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""


def _seconds(value: object) -> float | None:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value.strip(), re.ASCII):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    return float(min(value, RETRY_AFTER_MAX_S))


def call_of(path: str, *, verb: str = "get", user_hint: str | None = None) -> Call:
    """Describe an API path as sent (`[prefix]/apis/GROUP/VERSION/[namespaces/NS/]RESOURCE[/NAME[/SUBRESOURCE[/…]]]`)."""
    bare = path.split("?", 1)[0]
    found = re.match(r".*?(?:/apis/[^/]+/[^/]+|/api/[^/]+)(?:/(.*))?$", bare)
    words = [unquote(word) for word in (found[1] or "").split("/")] if found else []
    namespace = None
    if len(words) > 2 and words[0] == "namespaces":
        namespace, words = words[1], words[2:]
    words += [""] * 4
    return Call(
        verb=verb if words[1] or verb != "get" else "list",
        resource=words[0] or "API",
        path=path,
        namespace=namespace,
        name=words[1] or None,
        subresource=words[2] or None,
        port=words[3] or None,
        user_hint=user_hint,
    )
