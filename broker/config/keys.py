"""The one table of settings: files, environment, `config show`, the reference and the sample all follow from it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

Kind = Literal["duration", "size", "count", "port", "user", "program", "choice"]
Value = float | int | str | None

KIB: Final = 1024
MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One setting: `name` is SECTION.KEY, `low` and `high` are inclusive bounds of a number, `default` None means unset."""

    name: str
    kind: Kind
    default: Value
    help: str
    low: float = 0
    high: float = 0
    choices: tuple[str, ...] = field(default=())

    @property
    def section(self) -> str:
        """The table of the file that the key stands in."""
        return self.name.partition(".")[0]

    @property
    def environment(self) -> str:
        """The environment variable that sets it: VMBROKER_SECTION_KEY."""
        return "VMBROKER_" + self.name.replace(".", "_").upper()


KEYS: Final[tuple[Key, ...]] = (
    Key(
        name="stream.handshake_s",
        kind="duration",
        default=15.0,
        low=0.1,
        high=600,
        help="how long virt-api may take to reach the guest's port before we call it filtered",
    ),
    Key(
        name="stream.grace_s",
        kind="duration",
        default=10.0,
        low=0,
        high=3600,
        help="how long a stream still reads after its own input has ended",
    ),
    Key(
        name="stream.free_bytes",
        kind="size",
        default=8 * MIB,
        low=64 * KIB,
        high=1024 * MIB,
        help="what a stalled reader may leave waiting before we read slowly",
    ),
    Key(
        name="stream.trickle_bytes",
        kind="size",
        default=512 * KIB,
        low=4 * KIB,
        high=64 * MIB,
        help="how much we then still read, each time, to keep virt-api's pings flowing",
    ),
    Key(
        name="stream.trickle_every_s",
        kind="duration",
        default=20.0,
        low=0.05,
        high=50,
        help="how often that much is read; virt-api hangs up after 60 s without a pong",
    ),
    Key(
        name="stream.limit_bytes",
        kind="size",
        default=32 * MIB,
        low=64 * KIB,
        high=1024 * MIB,
        help="what may wait for a stalled reader at most; past it the stream ends with that reason",
    ),
    Key(
        name="api.timeout_s",
        kind="duration",
        default=30.0,
        low=0.1,
        high=3600,
        help="how long one request to the API server may take",
    ),
    Key(
        name="api.page_size",
        kind="count",
        default=500,
        low=1,
        high=10_000,
        help="objects asked for in one page of a list",
    ),
    Key(
        name="api.connect_s",
        kind="duration",
        default=15.0,
        low=0.1,
        high=600,
        help="how long it may take to connect to the API server, TLS and proxy included",
    ),
    Key(
        name="doctor.budget_s",
        kind="duration",
        default=8.0,
        low=0.1,
        high=600,
        help="how long `doctor` may take in all; a check that has no answer by then is unknown",
    ),
    Key(
        name="wait.timeout_s",
        kind="duration",
        default=300.0,
        low=0,
        high=86_400,
        help="how long `wait` waits where no --timeout is given",
    ),
    Key(
        name="forward.udp_idle_s",
        kind="duration",
        default=60.0,
        low=0.1,
        high=86_400,
        help="how long a UDP peer of `forward` may be silent both ways before its stream is closed",
    ),
    Key(
        name="ssh.program",
        kind="program",
        default="ssh",
        help="the OpenSSH client: a name on PATH or an absolute path (scp and sftp run it too)",
    ),
    Key(
        name="ssh.user",
        kind="user",
        default=None,
        help="the guest user for VMs that no pattern of [ssh.vms] names",
    ),
    Key(
        name="ssh.port",
        kind="port",
        default=None,
        low=1,
        high=65535,
        help="the SSH port of VMs that no pattern of [ssh.vms] names (22 where nothing says otherwise)",
    ),
    Key(
        name="output.color",
        kind="choice",
        default="auto",
        choices=("auto", "always", "never"),
        help="colour in tables: on a terminal, always, or never",
    ),
)

BY_NAME: Final[dict[str, Key]] = {key.name: key for key in KEYS}
SECTIONS: Final[tuple[str, ...]] = tuple(dict.fromkeys(key.section for key in KEYS))
RULES: Final = "ssh.vms"
"""The table of patterns: `[ssh.vms."NAME.NAMESPACE"]` with `user` and `port`; globs on both sides of the last dot."""
RULE_FIELDS: Final = ("user", "port")
CONTEXTS: Final = "contexts"
"""The table of contexts: `[contexts."NAME"]` with `alias` and any section of the table above."""
LOCKED: Final = "locked"
"""The list of keys that the system file keeps from being changed."""
