"""**Pure**: YAML text to typed values as Go's YAML reader types them, every complaint with file and line.

Plain scalars mean what sigs.k8s.io/yaml takes them for (YAML 1.1 booleans, no dates, no base-60 numbers), since kubectl reads
with it: `namespace: on` is a boolean there, and so an error here too.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import yaml

from broker.clean import clean, escaped
from broker.errors import SettingsError

_PLAIN: Final = "!plain"
_NULLS: Final = frozenset(("", "~", "null", "Null", "NULL"))
_TRUE: Final = frozenset(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"))
_FALSE: Final = frozenset(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"))
_NUMBER: Final = re.compile(
    r"[-+]?(?:0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|\.(?:inf|Inf|INF))\Z|\.(?:nan|NaN|NAN)\Z"
)
_DEPTH_LIMIT: Final = 64
_SCALAR_TAG: Final = "tag:yaml.org,2002:"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A composer that leaves the meaning of plain scalars to us."""

    yaml_implicit_resolvers: dict[str | None, list[object]] = {None: [(_PLAIN, re.compile(""))]}  # noqa: RUF012


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One place of a YAML file; asking it for a type that it is not raises SettingsError with file and line."""

    yaml_node: yaml.Node = field(repr=False)
    source: Path
    where: str
    warnings: list[str] = field(repr=False)

    @property
    def line(self) -> int:
        """The line in the file, from 1."""
        return int(self.yaml_node.start_mark.line) + 1

    def wrong(self, what: str) -> SettingsError:
        """Make the error that names this place; `what` is text of ours."""
        return SettingsError(
            f"{clean(self.source)}, line {self.line}: {clean(self.where) or 'the document'} {what}",
            code="kubeconfig-invalid",
            next_step="mend that line (`kubectl config view` reads the same file)",
        )

    def is_null(self) -> bool:
        """Say whether nothing stands here."""
        if not isinstance(self.yaml_node, yaml.ScalarNode):
            return False
        tag = self.yaml_node.tag
        return tag == _SCALAR_TAG + "null" or (tag == _PLAIN and self.yaml_node.value in _NULLS)

    def text(self) -> str:
        """The text here, "" for null."""
        value = self.plain()
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.wrong(f"must be text, and is {_kind(value)} (write it in quotes)")
        return value

    def flag(self) -> bool:
        """The boolean here, False for null."""
        value = self.plain()
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self.wrong("must be true or false")
        return value

    def data(self) -> bytes:
        """The base64 (RFC 4648, padded; line ends are skipped) here as bytes, b"" for null."""
        packed = self.text().replace("\n", "").replace("\r", "")
        try:
            return base64.b64decode(packed.encode("ascii"), validate=True)
        except (binascii.Error, UnicodeEncodeError):
            raise self.wrong("is not base64") from None

    def items(self) -> list[Node]:
        """The entries of the list here, none for null."""
        if self.is_null():
            return []
        if not isinstance(self.yaml_node, yaml.SequenceNode):
            raise self.wrong("must be a list")
        return [self._at(child, f"{self.where}[{i}]") for i, child in enumerate(self.yaml_node.value)]

    def fields(self, depth: int = 0) -> dict[str, Node]:
        """The mapping here, {} for null; a key that stands twice counts the last time (as for kubectl), with a warning."""
        if self.is_null():
            return {}
        if not isinstance(self.yaml_node, yaml.MappingNode):
            raise self.wrong("must be a mapping")
        if depth > _DEPTH_LIMIT:
            raise self.wrong("is nested too deep")
        own: dict[str, Node] = {}
        inherited: dict[str, Node] = {}
        for key, value in self.yaml_node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.wrong("has a key that is not text")
            if key.value == "<<" and key.tag == _PLAIN:
                for part in self._merged(value):
                    for name, node in part.fields(depth + 1).items():
                        inherited.setdefault(name, node)
                continue
            child = self._at(value, f"{self.where}.{key.value}" if self.where else str(key.value))
            if key.value in own:
                line = int(key.start_mark.line) + 1
                self.warnings.append(f"{clean(self.source)}, line {line}: {clean(child.where)} stands twice, the last counts")
            own[str(key.value)] = child
        return {**inherited, **own}

    def json(self, depth: int = 0) -> object:
        """The plain JSON value here, for what is handed on unread."""
        if depth > _DEPTH_LIMIT:
            raise self.wrong("is nested too deep")
        if isinstance(self.yaml_node, yaml.MappingNode):
            return {key: node.json(depth + 1) for key, node in self.fields().items()}
        if isinstance(self.yaml_node, yaml.SequenceNode):
            return [node.json(depth + 1) for node in self.items()]
        return self.plain()

    def plain(self) -> str | bool | int | float | None:
        """The scalar here, typed as Go's reader types it."""
        if not isinstance(self.yaml_node, yaml.ScalarNode):
            raise self.wrong("must be one value, and is a list or mapping")
        value = str(self.yaml_node.value)
        if self.is_null():
            return None
        if self.yaml_node.tag == _PLAIN:
            return _typed(value)
        if self.yaml_node.tag == _SCALAR_TAG + "bool":
            return value in _TRUE
        if self.yaml_node.tag in (_SCALAR_TAG + "int", _SCALAR_TAG + "float"):
            return _typed(value)
        return value

    def _merged(self, value: yaml.Node) -> Iterator[Node]:
        node = self._at(value, self.where)
        return iter(node.items()) if isinstance(value, yaml.SequenceNode) else iter((node,))

    def _at(self, child: yaml.Node, where: str) -> Node:
        return Node(yaml_node=child, source=self.source, where=where, warnings=self.warnings)


def parse(content: bytes, source: Path, warnings: list[str]) -> Node | None:
    """Compose the first document of `content`; None for an empty file, SettingsError for broken YAML.

    What is odd but tolerated is appended to `warnings`, one cleaned line each.
    """
    try:
        loader = _Loader(content.decode("utf-8-sig"))
        try:
            root = loader.get_node() if loader.check_node() else None
        finally:
            loader.dispose()
    except UnicodeDecodeError as exc:
        raise _broken(source, content[: exc.start].count(b"\n") + 1, "it is not UTF-8") from None
    except yaml.MarkedYAMLError as exc:
        line = min(exc.problem_mark.line, content.count(b"\n")) + 1 if exc.problem_mark else 1
        raise _broken(source, line, clean(exc.problem or exc.context or "broken")) from None
    except yaml.reader.ReaderError as exc:
        line = content.decode("utf-8-sig")[: exc.position].count("\n") + 1
        raise _broken(source, line, f"it holds the character {escaped(chr(_code(exc.character)))}") from None
    except (yaml.YAMLError, RecursionError):
        raise _broken(source, 1, "it cannot be parsed") from None
    return None if root is None else Node(yaml_node=root, source=source, where="", warnings=warnings)


def _broken(source: Path, line: int, why: str) -> SettingsError:
    return SettingsError(
        f"{clean(source)}, line {line}: broken YAML", code="kubeconfig-broken", cause=why, next_step="mend that line"
    )


def _code(character: object) -> int:
    if isinstance(character, int):
        return character
    text = character.decode("utf-8", "replace") if isinstance(character, bytes) else str(character)
    return ord(text[0]) if text else 0


def _typed(value: str) -> str | bool | int | float:
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    bare = value.replace("_", "")
    if value[:1] in "+-.0123456789" and _NUMBER.match(bare):
        return _number(bare)
    return value


def _number(bare: str) -> int | float:
    octal = re.fullmatch(r"([-+]?)0([0-7]+)", bare)
    try:
        return int(f"{octal[1]}0o{octal[2]}", 0) if octal else int(bare, 0)
    except ValueError:
        return float(bare.replace(".inf", "inf").replace(".nan", "nan").lower().replace(".inf", "inf").replace(".nan", "nan"))


def _kind(value: object) -> str:
    return "a boolean" if isinstance(value, bool) else "a number"
