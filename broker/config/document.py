"""One settings file as assignments with their lines, and everything that is wrong with it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from broker.clean import clean, escaped
from broker.config.keys import BY_NAME, CONTEXTS, KEYS, LOCKED, RULE_FIELDS, RULES, SECTIONS, Value
from broker.config.settings import Layer, Origin
from broker.config.values import BadValue, read_value
from broker.refs import is_name

_STATEMENT_LINES: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One key set at one place; `context` None holds for every context.

    `key` is a name of the key table, or `ssh.vms` and `alias` with the pattern in `pattern` and its field in `field`.
    """

    key: str
    value: Value
    origin: Origin
    context: str | None = None
    pattern: str = ""
    field: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong at one place, and what would be right; both one clean line."""

    place: str
    message: str
    next_step: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What one layer says: assignments in the order of the file, keys that it locks, problems."""

    assignments: tuple[Assignment, ...] = ()
    locked: tuple[tuple[str, str], ...] = ()
    problems: tuple[Problem, ...] = ()


def read_document(text: str, *, path: str, layer: Layer) -> Document:
    """Read a settings file's text; nothing is raised, all that is wrong stands in `problems`."""
    import tomllib  # costs 4 ms: most machines have no settings file

    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        problem = Problem(place=path, message=f"not valid TOML: {clean(exc)}", next_step="mend that line of the file")
        return Document(problems=(problem,))
    reader = _Reader(path=path, layer=layer, lines=dict(_lines(text)))
    reader.top(data)
    return Document(assignments=tuple(reader.assignments), locked=tuple(reader.locked), problems=tuple(reader.problems))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that `word` was probably meant to be; None when none is near."""
    import difflib  # only when something is wrong

    folded = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower()[:128], list(folded), n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def unknown_key(name: str, place: str, known: Iterable[str] | None = None) -> Problem:
    """Return the problem of a key that the table lacks, with the nearest name."""
    names = list(known if known is not None else (*BY_NAME, *SECTIONS, RULES, CONTEXTS))
    near = nearest(name, names)
    step = f"did you mean {near!r}?" if near else "`vmbroker config show` lists the keys"
    return Problem(place=place, message=f"unknown key {escaped(name)}", next_step=step)


class _Reader:
    def __init__(self, *, path: str, layer: Layer, lines: dict[tuple[str, ...], int]) -> None:
        self._path, self._layer, self._lines = path, layer, lines
        self.assignments: list[Assignment] = []
        self.locked: list[tuple[str, str]] = []
        self.problems: list[Problem] = []

    def top(self, data: dict[str, object]) -> None:
        for name, value in data.items():
            if name == LOCKED:
                self._locks(value)
            elif name == CONTEXTS:
                for context, body in self._table((name,), value).items():
                    self._context(context, body)
            else:
                self._section((name,), name, value, None)

    def _section(self, at: tuple[str, ...], name: str, value: object, context: str | None) -> None:
        if name not in SECTIONS:
            near = [*SECTIONS, "alias"] if context is not None else [*SECTIONS, CONTEXTS, LOCKED]
            self.problems.append(unknown_key(name, self._place(at), near))
            return
        for key, raw in self._table(at, value).items():
            full, spot = f"{name}.{key}", (*at, key)
            if full == RULES:
                for pattern, body in self._table(spot, raw).items():
                    self._rule((*spot, pattern), pattern, body, context)
            elif full not in BY_NAME:
                self.problems.append(unknown_key(full, self._place(spot), [k.name for k in KEYS] + [RULES]))
            else:
                self._set(full, raw, spot, context)

    def _context(self, context: str, body: object) -> None:
        at = (CONTEXTS, context)
        for name, value in self._table(at, body).items():
            spot = (*at, name)
            if name != "alias":
                self._section(spot, name, value, context)
            elif isinstance(value, str) and is_name(value) and "." not in value and len(value) <= 63 and value != "vm":
                origin = Origin(layer="context", place=self._place(spot))
                self.assignments.append(Assignment(key="alias", value=value, origin=origin, context=context))
            else:
                self._problem(spot, "alias takes a DNS label other than 'vm'", "use lower-case letters, digits and '-'")

    def _rule(self, at: tuple[str, ...], pattern: str, body: object, context: str | None) -> None:
        name, dot, namespace = pattern.rpartition(".")
        if not (dot and name and namespace and pattern.isprintable()):
            advice = 'write for instance "web*.shop" or "*.*"'
            self._problem(at, f"the pattern {escaped(pattern)} is not NAME.NAMESPACE", advice)
            return
        for field, raw in self._table(at, body).items():
            if field not in RULE_FIELDS:
                self.problems.append(unknown_key(field, self._place((*at, field)), RULE_FIELDS))
            else:
                self._set(f"ssh.{field}", raw, (*at, field), context, pattern=pattern)

    def _set(self, key: str, raw: object, at: tuple[str, ...], context: str | None, pattern: str = "") -> None:
        try:
            value = read_value(BY_NAME[key], raw)
        except BadValue as exc:
            self._problem(at, str(exc), None)
            return
        layer: Layer = self._layer if context is None else "context"
        origin = Origin(layer=layer, place=self._place(at))
        field = key.partition(".")[2] if pattern else ""
        self.assignments.append(
            Assignment(key=RULES if pattern else key, value=value, origin=origin, context=context, pattern=pattern, field=field)
        )

    def _locks(self, value: object) -> None:
        place = self._place((LOCKED,))
        if self._layer != "system":
            self._problem((LOCKED,), "only the system's file may lock keys", "remove `locked`")
            return
        for name in value if isinstance(value, list) else [value]:
            if isinstance(name, str) and (name in BY_NAME or name == RULES):
                self.locked.append((name, place))
            elif isinstance(name, str):
                self.problems.append(unknown_key(name, place, [*BY_NAME, RULES]))
            else:
                self._problem((LOCKED,), "locked takes a list of key names", None)

    def _table(self, at: tuple[str, ...], value: object) -> dict[str, object]:
        if isinstance(value, dict):
            return value
        self._problem(at, f"{escaped('.'.join(at))} takes a table", None)
        return {}

    def _problem(self, at: tuple[str, ...], message: str, next_step: str | None) -> None:
        self.problems.append(Problem(place=self._place(at), message=message, next_step=next_step))

    def _place(self, at: tuple[str, ...]) -> str:
        while at:
            if at in self._lines:
                return f"{self._path}:{self._lines[at]}"
            at = at[:-1]
        return self._path


def _lines(text: str) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield each key's path with its first line; tomllib tells no lines, so each statement is parsed by itself."""
    import tomllib

    table: tuple[str, ...] = ()
    waiting: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not waiting and (not line.strip() or line.lstrip().startswith("#")):
            continue
        waiting.append(line)
        try:
            said = tomllib.loads("\n".join(waiting))
        except (tomllib.TOMLDecodeError, RecursionError):
            if len(waiting) > _STATEMENT_LINES:
                return
            continue
        first, is_header = number - len(waiting) + 1, waiting[0].lstrip().startswith("[")
        waiting = []
        paths = list(_paths(said))
        if is_header and paths:
            table = paths[-1]
            yield table, first
        else:
            for path in paths:
                yield (*table, *path), first


def _paths(data: object, at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(data, list) and data and isinstance(data[0], dict):
        data = data[0]
    if isinstance(data, dict):
        for key, value in data.items():
            yield (*at, key)
            yield from _paths(value, (*at, key))
