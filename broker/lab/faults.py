"""What the lab does wrong on purpose, settable at start and while it runs.

In process: `cluster.faults.set("status=429,next=2")`, `.clear("status")`, `.clear()`, `.active()`. From outside:
`vmbroker lab fault set|list|clear`, which says the same words to the running lab.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from broker.lab.fault_rules import HANG, RULE_NAMES, Asked, Rule, RuleName, parse_rule, seconds_of, split_options

__all__ = ["FAULT_NAMES", "FAULT_WORDS", "UNREACHABLE_TEXTS", "Event", "Faults", "Knows", "PortState", "parse_fault"]

UNREACHABLE_TEXTS: dict[str, tuple[int, str]] = {
    "no-route": (500, "error dialing backend: dial tcp 10.96.0.9:443: connect: no route to host"),
    "bad-certificate": (500, "error dialing backend: remote error: tls: bad certificate"),
    "unavailable": (503, "service unavailable"),
}
"""What kube-apiserver answers, in plain text, when it cannot use virt-api: status and body (cases.md C-008)."""

PortState = Literal["closed", "filtered", "rejected", "open"]
PORT_STATES: tuple[PortState, ...] = ("closed", "filtered", "rejected", "open")
EVENT_NAMES = ("watch-end", "watch-expire", "api-restart", "api-silent")
FAULT_WORDS: tuple[tuple[str, str], ...] = (
    ("latency=SECONDS", "answer later"),
    ("hang", "take requests and never answer"),
    ("drop[=BYTES]", "cut the connection after so many bytes of an answer, its head included"),
    ("status=401|403|404|429|500|503", "fail (retry-after=SECONDS sets that header)"),
    ("watch-end", "end every watch now"),
    ("watch-expire", "end every watch now with 410 Expired, and forget the past versions"),
    ("api-restart=SECONDS", "cut every connection and refuse new ones for so long"),
    ("api-silent", "cut every connection, take new ones and say nothing on them, not even TLS"),
    ("guest-port=NS/NAME[:PORT]:closed|filtered|rejected|open", "how a guest answers virt-api's dials (open: as it really is)"),
    (f"virt-api-unreachable[={'|'.join(UNREACHABLE_TEXTS)}]", "the API server cannot use virt-api"),
    ("strip-upgrade", "a front proxy removes the Upgrade headers"),
)
"""Every fault with what it does.

The first four take `,path=PATTERN,verb=VERB,user=NAME,next=N`, the watch ones `,path=PATTERN`.
"""
FAULT_NAMES = tuple(word for word, _ in FAULT_WORDS)
RESTART_LIMIT_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something to do to a running lab: a name of EVENT_NAMES or `api-back`, a restart's seconds, the watches' pattern."""

    name: str
    seconds_s: float = 0.0
    path: str = ""


class Knows(Protocol):
    """The lab's guests and users, for faults that name one."""

    def about_guest(self, guest: str) -> str:
        """Say why `namespace/name` is no guest; empty where it is one."""

    def about_user(self, name: str) -> str:
        """Say why that is no user; empty where it is one."""


@dataclass(slots=True, kw_only=True)
class Faults:
    """The faults in force now; the lab looks at each request, so a change works at once."""

    virt_api_unreachable: str | None = None
    """A key of UNREACHABLE_TEXTS: every subresource request is answered with that text."""
    strip_upgrade: bool = False
    """A front proxy that removes the Connection and Upgrade headers of every request (cases.md C-009)."""
    rules: list[Rule] = field(default_factory=list)
    """Faults of single requests, in the order in which they were set; every one that meets a request works on it."""
    guest_ports: dict[tuple[str, int], PortState] = field(default_factory=dict)
    """(`namespace/name`, port or 0 for all of them) to `closed` or `filtered`."""
    seen: dict[str, int] = field(default_factory=dict)
    """How often each fault has been met, for tests."""
    down_s: float = 0.0
    """Seconds of the API restart that goes on, 0 while the API is up; kept by the cluster."""
    is_silent: bool = False
    """Whether connections to the API are taken and nothing is said on them; kept by the cluster."""
    is_returning: bool = False
    """Whether the API is on its way back, since its fault was taken back."""
    happen: Callable[[Event], None] | None = None
    """What makes events happen; None while no cluster runs."""
    knows: Knows | None = None
    """Who says which guests and users there are; None where nobody does, and every name is taken."""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        if self.virt_api_unreachable is not None and self.virt_api_unreachable not in UNREACHABLE_TEXTS:
            raise ValueError(f"virt-api-unreachable knows {', '.join(UNREACHABLE_TEXTS)}")

    def met(self, name: str) -> None:
        """Count one request that a fault has changed."""
        self.seen[name] = self.seen.get(name, 0) + 1

    def set(self, word: str) -> None:
        """Put one fault into force (see FAULT_WORDS), in place of one of the same name and the same options' matches.

        ValueError, in words for a user, where there is no such fault or no cluster runs in which an event could happen.
        """
        if not word.isprintable():
            raise ValueError("a fault is written in printable characters")
        name, _, rest = word.partition("=")
        if "," in name:
            name, _, rest = word.partition(",")
            rest = f",{rest}"
        if name in RULE_NAMES:
            value, options = split_options(rest)
            self._add(parse_rule(_rule_name(name), value, options))
        elif name in EVENT_NAMES:
            self._let_happen(name, rest)
        elif name == "guest-port":
            self._set_guest_port(rest)
        elif name == "virt-api-unreachable" and (rest or "no-route") in UNREACHABLE_TEXTS:
            self.virt_api_unreachable = rest or "no-route"
        elif word == "strip-upgrade":
            self.strip_upgrade = True
        else:
            raise ValueError(f"no such fault; there are {', '.join(FAULT_NAMES)}")
        self._stir()

    def check(self) -> None:
        """ValueError where a fault in force names a guest or user that there is not."""
        for rule in self.rules:
            self._check_user(rule)
        for guest, _ in self.guest_ports:
            self._check_guest(guest)

    def clear(self, *names: str) -> int:
        """Take faults back, those of these names or every one, and return how many there were.

        ValueError for no fault's name, and nothing is taken back.
        """
        if unknown := set(names) - {shown.partition("=")[0].partition("[")[0] for shown in FAULT_NAMES}:
            raise ValueError(f"no such fault as {min(unknown)!r}; there are {', '.join(FAULT_NAMES)}")
        return sum(self._clear(name) for name in names or ("",))

    def _clear(self, name: str) -> int:
        """Take back the faults of one name, every one for none."""
        gone = [word for word in self.active() if name in ("", word.partition("=")[0].partition(",")[0])]
        self.rules = [rule for rule in self.rules if name and rule.name != name]
        if name in ("", "guest-port"):
            self.guest_ports.clear()
        if name in ("", "virt-api-unreachable"):
            self.virt_api_unreachable = None
        if name in ("", "strip-upgrade"):
            self.strip_upgrade = False
        is_down = (self.down_s and name in ("", "api-restart")) or (self.is_silent and name in ("", "api-silent"))
        if is_down and self.happen is not None:
            self.is_returning = True
            self.happen(Event(name="api-back"))
        self._stir()
        return len(gone)

    def active(self) -> tuple[str, ...]:
        """The faults in force, each as the word that sets it."""
        found = [rule.word for rule in self.rules if rule.left != 0]
        found += [
            f"guest-port={guest}{f':{port}' if port else ''}:{state}"
            for (guest, port), state in sorted(self.guest_ports.items())
        ]
        found += [f"virt-api-unreachable={self.virt_api_unreachable}"] if self.virt_api_unreachable is not None else []
        found += ["strip-upgrade"] if self.strip_upgrade else []
        found += ["api-silent"] if self.is_silent else []
        return (*found, *([f"api-restart={self.down_s:g}"] if self.down_s else []))

    def take(self, asked: Asked) -> list[Rule]:
        """Return the rules that meet a request, and count it."""
        found = [rule for rule in self.rules if rule.meets(asked)]
        for rule in found:
            if rule.left is not None:
                rule.left -= 1
            self.met(rule.name)
        self.rules = [rule for rule in self.rules if rule.left != 0 or rule.name == HANG]
        return found

    def guest_port(self, namespace: str, name: str, port: int) -> PortState:
        """How a dial to that port of that guest ends: `open` means that no fault is in the way."""
        guest = f"{namespace}/{name}"
        state = self.guest_ports.get((guest, port)) or self.guest_ports.get((guest, 0)) or "open"
        if state != "open":
            self.met("guest-port")
        return state

    async def until_gone(self, rule: Rule) -> None:
        """Return once a fault has been taken back or replaced (a request that hangs goes on then)."""
        while any(each is rule for each in self.rules):
            await self._changed.wait()

    def back(self) -> None:
        """Note that the API is up again."""
        self.down_s, self.is_silent, self.is_returning = 0.0, False, False
        self._stir()

    async def until_back(self) -> None:
        """Return once an API whose fault was taken back is up again; at once where none is on its way."""
        while self.is_returning:
            await self._changed.wait()

    def _stir(self) -> None:
        """Let everyone who waits look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _check_user(self, rule: Rule) -> None:
        if rule.user and self.knows is not None and (trouble := self.knows.about_user(rule.user)):
            raise ValueError(trouble)

    def _check_guest(self, guest: str) -> None:
        if self.knows is not None and (trouble := self.knows.about_guest(guest)):
            raise ValueError(trouble)

    def _add(self, rule: Rule) -> None:
        self._check_user(rule)
        same = (rule.name, rule.path, rule.verb, rule.user)
        self.rules = [each for each in self.rules if (each.name, each.path, each.verb, each.user) != same]
        self.rules.append(rule)

    def _let_happen(self, name: str, rest: str) -> None:
        value, options = split_options(rest)
        allowed = ("path",) if name.startswith("watch-") else ()
        unknown = [key for key in options if key not in allowed]
        if unknown:
            raise ValueError(f"{name} has no option {unknown[0]!r}")
        if name == "api-restart":
            event = Event(name=name, seconds_s=seconds_of(value, name, RESTART_LIMIT_S))
        elif value:
            raise ValueError(f"{name} takes no value")
        else:
            event = Event(name=name, path=options.get("path", ""))
        if self.happen is None:
            raise ValueError(f"{name} happens while a lab runs: set it then")
        self.is_returning = self.is_returning and name.startswith("watch-")
        self.happen(event)
        self.met(name)

    def _set_guest_port(self, rest: str) -> None:
        guest, _, state = rest.rpartition(":")
        guest, _, port = guest.partition(":")
        namespace, slash, name = guest.partition("/")
        known = [each for each in PORT_STATES if each == state]
        is_number = not port or (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536)
        if not known or not slash or not namespace or not name or "/" in name or not is_number:
            raise ValueError(
                "guest-port is written guest-port=NAMESPACE/NAME:closed, or with a port in between: …/NAME:22:filtered"
            )
        self._check_guest(guest)
        number = int(port or 0)
        if known[0] == "open":
            self.guest_ports.pop((guest, number), None)
        else:
            self.guest_ports[guest, number] = known[0]


def _rule_name(name: str) -> RuleName:
    return next(each for each in RULE_NAMES if each == name)


def parse_fault(word: str, faults: Faults) -> None:
    """Set one fault from a command line word; ValueError where that is none."""
    faults.set(word)
