"""The settings of one run as one frozen value that knows where each part came from. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Final, Literal

from broker.config.keys import KEYS, Value

Layer = Literal["built-in", "system", "user", "context", "environment", "flag"]
LAYERS: Final[tuple[Layer, ...]] = ("built-in", "system", "user", "context", "environment", "flag")
"""From the weakest to the strongest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a value came from: `place` is FILE:LINE, a variable's name or a flag; empty for a built-in value."""

    layer: Layer | Literal["kubeconfig"]
    place: str = ""

    def __str__(self) -> str:
        return f"{self.layer}: {self.place}" if self.place else self.layer


BUILT_IN: Final = Origin(layer="built-in")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """Limits of one byte stream through the API server; see the key table for bounds."""

    handshake_s: float
    grace_s: float
    free_bytes: int
    trickle_bytes: int
    trickle_every_s: float
    limit_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """Limits of requests to the API server; `page_size` counts objects."""

    timeout_s: float
    page_size: int
    connect_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorSettings:
    """How long `doctor` may take, in seconds."""

    budget_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitSettings:
    """How long `wait` waits where the command line does not say, in seconds."""

    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardSettings:
    """Limits of forwards: how long a UDP peer may be silent, in seconds."""

    udp_idle_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VmRule:
    """A pattern of `[ssh.vms]`: shell globs for name and namespace, and what it sets; None where it sets nothing."""

    pattern: str
    user: str | None
    port: int | None
    origin: Origin

    def matches(self, name: str, namespace: str) -> bool:
        """Say whether a VM of this name and namespace is meant; the pattern's last dot divides the two."""
        of_name, _, of_namespace = self.pattern.rpartition(".")
        return fnmatchcase(name, of_name) and fnmatchcase(namespace, of_namespace)


@dataclass(frozen=True, slots=True, kw_only=True)
class SshSettings:
    """How OpenSSH is run; `rules` stand in the order in which they are asked."""

    program: str
    user: str | None
    port: int | None
    rules: tuple[VmRule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSettings:
    """How tables look; `color` is auto, always or never."""

    color: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestRule:
    """What the settings say of one VM: user and port, each with its origin; None where they say nothing."""

    user: str | None = None
    user_origin: Origin | None = None
    port: int | None = None
    port_origin: Origin | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one run for one context.

    `aliases` gives the SSH label that was chosen for a context; `warnings` are one-line notes for stderr, already clean.
    """

    stream: StreamSettings
    api: ApiSettings
    doctor: DoctorSettings
    wait: WaitSettings
    forward: ForwardSettings
    ssh: SshSettings
    output: OutputSettings
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    alias_origins: Mapping[str, Origin] = field(default_factory=lambda: MappingProxyType({}))
    origins: Mapping[str, Origin] = field(default_factory=lambda: MappingProxyType({}))
    warnings: tuple[str, ...] = ()

    def origin(self, name: str) -> Origin:
        """Return where the value of a key (`SECTION.KEY`) came from."""
        return self.origins.get(name, BUILT_IN)

    def value(self, name: str) -> Value:
        """Return the value of a key (`SECTION.KEY`)."""
        section, _, key = name.partition(".")
        value: Value = getattr(getattr(self, section), key)
        return value

    def guest_rule(self, name: str, namespace: str) -> GuestRule:
        """Return user and port for a VM: the first pattern that sets each, else `ssh.user` and `ssh.port`."""
        user, user_origin = self.ssh.user, self.origin("ssh.user") if self.ssh.user else None
        port, port_origin = self.ssh.port, self.origin("ssh.port") if self.ssh.port else None
        for rule in reversed(self.ssh.rules):
            if rule.matches(name, namespace):
                user, user_origin = (rule.user, rule.origin) if rule.user else (user, user_origin)
                port, port_origin = (rule.port, rule.origin) if rule.port else (port, port_origin)
        return GuestRule(user=user, user_origin=user_origin, port=port, port_origin=port_origin)


def assemble(
    values: Mapping[str, Value],
    *,
    origins: Mapping[str, Origin],
    rules: tuple[VmRule, ...] = (),
    aliases: Mapping[str, str] | None = None,
    alias_origins: Mapping[str, Origin] | None = None,
    warnings: tuple[str, ...] = (),
) -> Settings:
    """Build the value from merged parts; keys that `values` lacks take their default."""
    parts: dict[str, dict[str, Value]] = {}
    for key in KEYS:
        section, _, name = key.name.partition(".")
        parts.setdefault(section, {})[name] = values.get(key.name, key.default)
    return Settings(
        stream=StreamSettings(**parts["stream"]),  # type: ignore[arg-type]  # read_value gave each its type
        api=ApiSettings(**parts["api"]),  # type: ignore[arg-type]
        doctor=DoctorSettings(**parts["doctor"]),  # type: ignore[arg-type]
        wait=WaitSettings(**parts["wait"]),  # type: ignore[arg-type]
        forward=ForwardSettings(**parts["forward"]),  # type: ignore[arg-type]
        ssh=SshSettings(rules=rules, **parts["ssh"]),  # type: ignore[arg-type]
        output=OutputSettings(**parts["output"]),  # type: ignore[arg-type]
        aliases=MappingProxyType(dict(aliases or {})),
        alias_origins=MappingProxyType(dict(alias_origins or {})),
        origins=MappingProxyType(dict(origins)),
        warnings=warnings,
    )


def built_in() -> Settings:
    """Return the settings of a machine that has none."""
    return assemble({}, origins={})
