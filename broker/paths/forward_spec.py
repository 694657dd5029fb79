"""The words of `forward`: `[udp/][ADDRESS:][LOCAL:]REMOTE` each. **Pure.**

virtctl's `[protocol/]LOCAL[:REMOTE]` and ssh's `-L` with an address are both covered; what either reads otherwise is refused
with the form to write.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from broker.clean import escaped
from broker.errors import UsageError

Protocol = Literal["tcp", "udp"]

DEFAULT_ADDRESS: Final = "127.0.0.1"
WORDS_LIMIT: Final = 256
"""Words of one command at most."""
FORM: Final = "[udp/][ADDRESS:][LOCAL:]REMOTE"

_HOST_LIMIT: Final = 253
_HOST: Final = re.compile(
    r"(?:[A-Za-z0-9_](?:[-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?)(?:\.[A-Za-z0-9_](?:[-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?)*\Z"
)
_SCOPE: Final = re.compile(r"[A-Za-z0-9._-]{1,32}\Z")
_DOTTED_QUAD: Final = re.compile(r"[0-9.]+\Z")
_WORD_LIMIT: Final = 300
_PROTOCOLS: Final[dict[str, Protocol]] = {"tcp": "tcp", "udp": "udp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardSpec:
    """One word: `address` is an IPv4 or IPv6 address without brackets, or a name; `local_port` 0 asks for a free one."""

    word: str
    protocol: Protocol
    address: str
    local_port: int
    remote_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """One local address that a word stands for, after its name was looked up; `address` is numeric."""

    word: str
    protocol: Protocol
    address: str
    local_port: int


def parse_forwards(words: Sequence[str], *, address: str | None = None) -> tuple[ForwardSpec, ...]:
    """Read all words; `address` stands where a word has none, 127.0.0.1 where it is None. UsageError shows the bad word."""
    if len(words) > WORDS_LIMIT:
        raise UsageError(f"{len(words)} ports are too many at once", next_step=f"give at most {WORDS_LIMIT}")
    default = DEFAULT_ADDRESS if address is None else parse_address(address)
    specs = tuple(parse_forward(word, default_address=default) for word in words)
    refuse_twins(
        Bound(word=spec.word, protocol=spec.protocol, address=_folded(spec.address), local_port=spec.local_port)
        for spec in specs
    )
    return specs


def parse_forward(word: str, *, default_address: str = DEFAULT_ADDRESS) -> ForwardSpec:
    """Read one word; UsageError where it is none, with the form to write instead."""
    if len(word) > _WORD_LIMIT:
        raise _bad(word, "is too long")
    head, slash, rest = word.partition("/")
    protocol = _PROTOCOLS.get(head.lower()) if slash else "tcp"
    if protocol is None:
        raise _bad(word, f"begins with {escaped(head)}, which is no protocol", "tcp/ and udp/ are the protocols")
    address, ports = _split_address(rest if slash else word, word)
    local, remote = _ports(ports, word, has_address=address is not None)
    return ForwardSpec(
        word=word,
        protocol=protocol,
        address=default_address if address is None else address,
        local_port=local,
        remote_port=remote,
    )


def parse_address(text: str) -> str:
    """Read a local address: IPv4, IPv6 with or without brackets, or a name; UsageError otherwise."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if ":" in bare or bare != text:
        if not _is_v6(bare):
            raise UsageError(f"{escaped(text)} is not an IPv6 address", next_step="write it like ::1 or [::1]")
        return bare
    if not _is_host(bare):
        raise UsageError(f"{escaped(text)} is not an address", next_step="give one such as 127.0.0.1, ::1 or localhost")
    return bare


def refuse_twins(found: Iterable[Bound]) -> None:
    """Raise UsageError where two words want the same local port of one address, or of an address and of all of its family."""
    seen: dict[tuple[str, int], list[Bound]] = {}
    for each in found:
        if each.local_port == 0:
            continue
        for other in seen.setdefault((each.protocol, each.local_port), []):
            if _overlap(each.address, other.address):
                port = f"{each.protocol.upper()} port {each.local_port}"
                raise UsageError(
                    f"{escaped(other.word)} and {escaped(each.word)} want the same local {port}",
                    code="port-twice",
                    next_step="give one of them another LOCAL port, or 0 for a free one",
                )
        seen[(each.protocol, each.local_port)].append(each)


def endpoint(address: str, port: int) -> str:
    """Return address and port as one word, IPv6 in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _split_address(text: str, word: str) -> tuple[str | None, list[str]]:
    """Divide into the address, None where there is none, and the one or two ports as written."""
    if text.startswith("["):
        inner, bracket, tail = text[1:].partition("]")
        if not bracket or not _is_v6(inner):
            raise _bad(word, "has no IPv6 address in its brackets", "write it like '[::1]:8080:80'")
        if not tail.startswith(":"):
            raise _bad(word, "names no port after its address", "write it like '[::1]:8080:80'")
        return inner, tail[1:].split(":")
    parts = text.split(":")
    if len(parts) > 3:
        raise _bad(word, "has too many colons", "an IPv6 address stands in brackets: '[::1]:8080:80'")
    if len(parts) == 3:
        if parts[0] in ("", "*"):
            raise _bad(
                word, "names no address", f"write 0.0.0.0:{_digits(parts[1])}:{_digits(parts[2])} for every IPv4 address"
            )
        if not _is_host(parts[0]):
            raise _bad(word, f"begins with {escaped(parts[0])}, which is no address")
        return parts[0], parts[1:]
    if len(parts) == 2 and parts[0] and not _is_number(parts[0]):
        if not _is_host(parts[0]):
            raise _bad(word, f"begins with {escaped(parts[0])}, which is neither a port nor an address")
        return parts[0], parts[1:]
    return None, parts


def _ports(parts: Sequence[str], word: str, *, has_address: bool) -> tuple[int, int]:
    if len(parts) > 2:
        raise _bad(word, "has too many colons")
    if len(parts) == 2 and not parts[0] and not has_address:
        # virtctl takes `:22` for local port 22; others take it for a free one.
        same = _digits(parts[1])
        raise _bad(word, "names no local port", f"write {same} for local port {same}, or 0:{same} for a free one")
    remote = _port(parts[-1], word, "remote", least=1)
    local = _port(parts[0], word, "local", least=0) if len(parts) == 2 else remote
    return local, remote


def _port(text: str, word: str, side: str, *, least: int) -> int:
    if not _is_number(text) or len(text) > 5 or not least <= int(text) <= 65_535:
        what = f"{escaped(text)} as its {side} port" if text else f"no {side} port"
        raise _bad(word, f"has {what}", f"a {side} port is a number from {least} to 65535")
    return int(text)


def _bad(word: str, why: str, step: str | None = None) -> UsageError:
    return UsageError(f"the port {escaped(word)} {why}", code="bad-forward", next_step=step or f"the form is {FORM}")


def _digits(text: str) -> str:
    return text if _is_number(text) and len(text) <= 5 else "PORT"


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _is_v6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return "%" not in text or _SCOPE.match(text.partition("%")[2]) is not None


def _is_host(text: str) -> bool:
    """Say whether this is an IPv4 address in four numbers or a name; a bare number or half an address is neither."""
    if _DOTTED_QUAD.match(text):
        try:
            ipaddress.IPv4Address(text)
        except ValueError:
            return False
        return True
    return len(text) <= _HOST_LIMIT and _HOST.match(text) is not None


def _folded(address: str) -> str:
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address.lower().removesuffix(".")


def _overlap(one: str, other: str) -> bool:
    if one == other:
        return True
    if (":" in one) != (":" in other):
        return False
    every = "::" if ":" in one else "0.0.0.0"  # noqa: S104  (compared, not bound)
    return every in (one, other)
