"""Layers of assignments become one Settings value: the strongest layer wins, a locked key stays the system's. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from broker.clean import clean, escaped
from broker.config.document import Assignment, Document, Problem, unknown_key
from broker.config.keys import BY_NAME, KEYS, RULES, SECTIONS, Value
from broker.config.settings import LAYERS, Origin, Settings, VmRule, assemble
from broker.config.values import BadValue, read_value, show_value
from broker.errors import Refused, SettingsError, UsageError


def merge(documents: Iterable[Document], *, context: str | None) -> Settings:
    """Merge what the layers say, weakest first, for one context; None takes no per-context values.

    Raises Refused when a flag sets a locked key, SettingsError when values contradict each other or an alias is given twice.
    """
    held = list(documents)
    locked = {name: place for document in held for name, place in document.locked}
    said = [a for document in held for a in document.assignments if a.context in (None, context)]
    allowed, warnings = _unlocked(said, locked)
    values: dict[str, Value] = {}
    origins: dict[str, Origin] = {}
    for assignment in sorted(allowed, key=lambda a: LAYERS.index(a.origin.layer)):
        if assignment.key in BY_NAME:
            values[assignment.key], origins[assignment.key] = assignment.value, assignment.origin
    aliases, alias_origins = _aliases(a for document in held for a in document.assignments)
    settings = assemble(
        values,
        origins=origins,
        rules=_rules(allowed),
        aliases=aliases,
        alias_origins=alias_origins,
        warnings=warnings,
    )
    _agree(settings)
    return settings


def from_environment(environ: Mapping[str, str]) -> Document:
    """Read VMBROKER_SECTION_KEY and NO_COLOR; an empty variable counts as unset, an unknown key of a known section is wrong."""
    names = {key.environment: key for key in KEYS}
    prefixes = tuple(f"VMBROKER_{section.upper()}_" for section in SECTIONS)
    assignments: list[Assignment] = []
    problems: list[Problem] = []
    if environ.get("NO_COLOR"):
        origin = Origin(layer="environment", place="NO_COLOR")
        assignments.append(Assignment(key="output.color", value="never", origin=origin))
    for name in sorted(environ):
        raw = environ[name]
        if not raw or not name.startswith(prefixes):
            continue
        if name not in names:
            problems.append(unknown_key(name, "environment", names))
            continue
        try:
            value = read_value(names[name], raw)
        except BadValue as exc:
            problems.append(Problem(place=name, message=str(exc)))
            continue
        origin = Origin(layer="environment", place=name)
        assignments.append(Assignment(key=names[name].name, value=value, origin=origin))
    return Document(assignments=tuple(assignments), problems=tuple(problems))


def from_flags(sets: Iterable[str], *, no_color: bool = False) -> Document:
    """Read `--set SECTION.KEY=VALUE` words and --no-color; UsageError for what is no such word."""
    assignments: list[Assignment] = []
    for word in sets:
        name, equals, raw = word.partition("=")
        if not equals:
            raise UsageError(f"--set {escaped(word)} has no '='", next_step="write --set SECTION.KEY=VALUE")
        if name not in BY_NAME:
            problem = unknown_key(name, "--set", BY_NAME)
            raise UsageError(f"--set: {problem.message}", code="unknown-key", next_step=problem.next_step)
        try:
            value = read_value(BY_NAME[name], raw)
        except BadValue as exc:
            raise UsageError(f"--set: {exc}", code="bad-value") from exc
        assignments.append(Assignment(key=name, value=value, origin=Origin(layer="flag", place="--set")))
    if no_color:
        assignments.append(Assignment(key="output.color", value="never", origin=Origin(layer="flag", place="--no-color")))
    return Document(assignments=tuple(assignments))


def _unlocked(said: list[Assignment], locked: Mapping[str, str]) -> tuple[list[Assignment], tuple[str, ...]]:
    allowed: list[Assignment] = []
    warnings: list[str] = []
    for assignment in said:
        place = locked.get(assignment.key)
        # What the system's file says of a context is the system's word too.
        of_system = place is not None and assignment.origin.place.rpartition(":")[0] == place.rpartition(":")[0]
        if place is None or of_system or assignment.origin.layer == "built-in":
            allowed.append(assignment)
        elif assignment.origin.layer == "flag":
            raise Refused(
                f"{assignment.key} is locked by {clean(place)}",
                code="setting-locked",
                next_step=f"leave out {assignment.origin.place}, or ask who looks after this machine",
            )
        else:
            warnings.append(f"{clean(assignment.origin.place)}: {assignment.key} is locked by {clean(place)} and ignored")
    return allowed, tuple(warnings)


def _rules(allowed: list[Assignment]) -> tuple[VmRule, ...]:
    """Join the fields of each pattern; stronger layers are asked first, then the order of the file holds."""
    found: dict[tuple[int, str], VmRule] = {}
    for assignment in allowed:
        if assignment.key != RULES:
            continue
        rank = -LAYERS.index(assignment.origin.layer)
        old = found.get((rank, assignment.pattern))
        user = assignment.value if assignment.field == "user" else (old.user if old else None)
        port = assignment.value if assignment.field == "port" else (old.port if old else None)
        found[rank, assignment.pattern] = VmRule(
            pattern=assignment.pattern,
            user=user if isinstance(user, str) else None,
            port=port if isinstance(port, int) else None,
            origin=old.origin if old else assignment.origin,
        )
    return tuple(found[key] for key in sorted(found, key=lambda key: key[0]))


def _aliases(said: Iterable[Assignment]) -> tuple[dict[str, str], dict[str, Origin]]:
    aliases: dict[str, str] = {}
    origins: dict[str, Origin] = {}
    for assignment in said:
        if assignment.key == "alias" and assignment.context is not None:
            aliases[assignment.context], origins[assignment.context] = str(assignment.value), assignment.origin
    by_alias: dict[str, str] = {}
    for context, alias in aliases.items():
        if alias in by_alias:
            raise SettingsError(
                f"{clean(origins[context].place)}: the alias {escaped(alias)} is given to two contexts",
                code="alias-twice",
                cause=f"{escaped(by_alias[alias])} has it from {clean(origins[by_alias[alias]].place)}",
                next_step="give each context an alias of its own",
            )
        by_alias[alias] = context
    return aliases, origins


def _agree(settings: Settings) -> None:
    for small in ("stream.free_bytes", "stream.trickle_bytes"):
        low, high = settings.value(small), settings.value("stream.limit_bytes")
        if isinstance(low, int) and isinstance(high, int) and low > high:
            raise SettingsError(
                f"{small} ({show_value(BY_NAME[small], low)}) is above stream.limit_bytes"
                f" ({show_value(BY_NAME['stream.limit_bytes'], high)})",
                code="settings-contradict",
                cause=f"{settings.origin(small)}; {settings.origin('stream.limit_bytes')}",
                next_step="raise stream.limit_bytes or lower the other",
            )
