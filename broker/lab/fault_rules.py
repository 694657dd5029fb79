"""Faults that meet single requests, as words of a command line and as values: `status=429,path=/apis/*,next=2`."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

__all__ = ["HANG", "RULE_NAMES", "STATUSES", "VERBS", "Asked", "Rule", "RuleName", "parse_rule", "split_options"]

RuleName = Literal["latency", "hang", "drop", "status"]
RULE_NAMES: tuple[RuleName, ...] = ("latency", "hang", "drop", "status")
STATUSES = (401, 403, 404, 429, 500, 503)
"""The failures that `status` can give, each in the words of a real server."""
HANG: RuleName = "hang"
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "post", "put", "head", "options")
"""What a request's verb can be: RBAC's, and the HTTP methods of paths that are no resources."""
_OPTIONS = ("path", "verb", "user", "next", "retry-after")
_LATENCY_LIMIT_S = 600.0
_DROP_LIMIT_BYTES = 1 << 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What of a request a fault looks at: its decoded path without query, its verb as RBAC calls it, who asks."""

    path: str
    verb: str
    user: str


@dataclass(slots=True, kw_only=True)
class Rule:
    """One fault of requests. `value` is seconds (latency), bytes (drop) or an HTTP status.

    `path` is a shell pattern on the whole path, `left` how many more requests it meets (None: all of them).
    """

    name: RuleName
    value: float = 0.0
    path: str = ""
    verb: str = ""
    user: str = ""
    left: int | None = None
    retry_after_s: int | None = None

    def meets(self, asked: Asked) -> bool:
        """Whether this request is changed by the fault."""
        if self.left == 0:
            return False
        if self.path and not fnmatchcase(asked.path, self.path):
            return False
        return (not self.verb or self.verb == asked.verb) and (not self.user or self.user == asked.user)

    @property
    def word(self) -> str:
        """The fault as one would set it, with the number of requests that are left."""
        value = "" if self.name == HANG else f"={self.value:g}" if self.name == "latency" else f"={int(self.value)}"
        shown = {"path": self.path, "verb": self.verb, "user": self.user, "next": self.left, "retry-after": self.retry_after_s}
        return f"{self.name}{value}" + "".join(f",{key}={val}" for key, val in shown.items() if val not in ("", None))


def parse_rule(name: RuleName, value: str, options: dict[str, str]) -> Rule:
    """Make a rule of a word's parts; ValueError in a user's words."""
    unknown = [key for key in options if key not in _OPTIONS]
    if unknown:
        raise ValueError(f"{name} has no option {unknown[0]!r}; it has {', '.join(_OPTIONS)}")
    if "retry-after" in options and name != "status":
        raise ValueError("retry-after goes with status")
    if options.get("verb", VERBS[0]) not in VERBS:
        raise ValueError(f"there is no verb {options['verb']!r}; there are {', '.join(VERBS)}")
    if not options.get("path", "/").startswith(("/", "*", "?", "[")):
        raise ValueError(f"no request's path is like {options['path']!r}: paths begin with /, such as path=/apis/*")
    return Rule(
        name=name,
        value=_value(name, value),
        path=options.get("path", ""),
        verb=options.get("verb", ""),
        user=options.get("user", ""),
        left=_whole(options["next"], "next", 1, 1_000_000) if "next" in options else None,
        retry_after_s=_whole(options["retry-after"], "retry-after", 0, 3600) if "retry-after" in options else None,
    )


def split_options(text: str) -> tuple[str, dict[str, str]]:
    """Take `VALUE,key=value,…` apart; ValueError for an option without a value or given twice."""
    value, *rest = text.split(",")
    options: dict[str, str] = {}
    for part in rest:
        key, equals, found = part.partition("=")
        if not equals or not found:
            raise ValueError(f"an option is written KEY=VALUE, not {part!r}")
        if key in options:
            raise ValueError(f"{key} is given twice")
        options[key] = found
    return value, options


def _value(name: RuleName, text: str) -> float:
    if name == "hang":
        if text:
            raise ValueError("hang takes no value")
        return 0.0
    if name == "latency":
        return seconds_of(text, name, _LATENCY_LIMIT_S)
    if name == "drop":
        return float(_whole(text or "0", name, 0, _DROP_LIMIT_BYTES))
    if text not in {str(status) for status in STATUSES}:
        raise ValueError(f"status is one of {', '.join(map(str, STATUSES))}")
    return float(text)


def seconds_of(text: str, name: str, limit_s: float) -> float:
    """Read seconds above 0 and up to the limit; ValueError."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= limit_s:
        raise ValueError(f"{name} takes seconds up to {limit_s:g}, such as {name}=0.5")
    return value


def _whole(text: str, name: str, least: int, most: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 15 or not least <= int(text) <= most:
        raise ValueError(f"{name} takes a whole number from {least} to {most}")
    return int(text)
