"""From what a file, a variable or a flag says to a typed value within its bounds. Pure."""

from __future__ import annotations

import re
from typing import Final

from broker.clean import escaped
from broker.config.keys import Key, Value
from broker.refs import is_user

_AMOUNT: Final = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*([A-Za-z]*)\Z", re.ASCII)
_DURATIONS: Final = {"": 1.0, "s": 1.0, "ms": 0.001, "min": 60.0, "m": 60.0, "h": 3600.0}
_SIZES: Final = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_PROGRAM_LIMIT: Final = 4096


class BadValue(ValueError):
    """A value that its key does not take; the text says what it would take and goes into a SettingsError."""


def read_value(key: Key, raw: object) -> Value:
    """Return the value of `raw` (TOML number or text, or a variable's text) for this key; BadValue otherwise.

    Durations are seconds or text with ms, s, m(in), h; sizes are bytes or text with B, KiB, MiB, GiB.
    """
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        raise BadValue(f"{key.name} takes {_expected(key)}")
    if key.kind in ("user", "program", "choice"):
        return _word(key, raw)
    return _number(key, raw)


def show_value(key: Key, value: Value) -> str:
    """Return a value as a person writes it in the file: `8 MiB`, `20 s`, a bare number or word; `-` where unset."""
    if value is None:
        return "-"
    if key.kind == "size" and isinstance(value, int):
        for unit in ("GiB", "MiB", "KiB"):
            if value % _SIZES[unit] == 0:
                return f"{value // _SIZES[unit]} {unit}"
        return f"{value} B"
    if key.kind == "duration":
        return f"{value:g} s"
    return str(value)


def _word(key: Key, raw: float | int | str) -> str:
    if not isinstance(raw, str):
        raise BadValue(f"{key.name} takes {_expected(key)}")
    if key.kind == "choice" and raw in key.choices:
        return raw
    if key.kind == "user" and is_user(raw):
        return raw
    if key.kind == "program" and _is_program(raw):
        return raw
    raise BadValue(f"{key.name} takes {_expected(key)}, not {escaped(raw)}")


def _is_program(raw: str) -> bool:
    if not raw or len(raw) > _PROGRAM_LIMIT or raw.startswith("-") or not raw.isprintable():
        return False
    return raw.startswith("/") or "/" not in raw


def _number(key: Key, raw: float | int | str) -> Value:
    number = _amount(key, raw) if isinstance(raw, str) else float(raw)
    is_whole = key.kind in ("size", "count", "port")
    if number is None or (is_whole and not number.is_integer()):
        raise BadValue(f"{key.name} takes {_expected(key)}, not {escaped(str(raw))}")
    if not key.low <= number <= key.high:
        raise BadValue(f"{key.name} takes {_expected(key)}, not {escaped(str(raw))}")
    return int(number) if is_whole else number


def _amount(key: Key, raw: str) -> float | None:
    found = _AMOUNT.match(raw.strip())
    if not found:
        return None
    units: dict[str, float] = dict(_DURATIONS) if key.kind == "duration" else {"": 1.0}
    if key.kind == "size":
        units = dict(_SIZES)
    factor = units.get(found[2])
    return None if factor is None else float(found[1]) * factor


def _expected(key: Key) -> str:
    match key.kind:
        case "duration":
            return f"a duration from {key.low:g} s to {key.high:g} s"
        case "size":
            return f"a size from {show_value(key, int(key.low))} to {show_value(key, int(key.high))}"
        case "count":
            return f"a whole number from {key.low:g} to {key.high:g}"
        case "port":
            return "a port from 1 to 65535"
        case "user":
            return "a user name of letters, digits, '_', '.' and '-'"
        case "program":
            return "the name of a program or an absolute path"
        case "choice":
            return "one of " + ", ".join(key.choices)
