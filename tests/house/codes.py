"""The codes that the sources can give out, found in their text: errors with their exit statuses, findings, checks."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

import broker.errors
from broker.actions.checkup.check import CATALOGUE
from broker.errors import BrokerError
from broker.kube.tunnel import End, EndKind
from tests.house.tree import ROOT, sources

CLASSES: Final[dict[str, type[BrokerError]]] = {
    name: value
    for name, value in vars(broker.errors).items()
    if isinstance(value, type) and issubclass(value, BrokerError) and value is not BrokerError
}
MAKERS: Final = {"NotRunning": "GuestUnready", "_failed": "CredentialError", "self._failed": "CredentialError"}
"""What else takes `code=` for an error, and the class that it makes of it."""
_OTHERS: Final = frozenset({"Check", "Finding", "Right", "gather", "gather_facts"})
"""What takes `code=` and makes no error."""
_ENDS: Final = "maker"
"""`broker.kube.tunnel` takes the code of a stream's end from `EndKind`."""
_CODE: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)+")


def errors() -> dict[str, set[int]]:
    """Every code of an error, with the exit statuses that it can have."""
    found: dict[str, set[int]] = {}
    for kind in CLASSES.values():
        found.setdefault(kind.code, set()).add(kind.exit_status)
    for path in sources():
        tree = ast.parse(path.read_text())
        for code, kind in _of_module(tree, path.relative_to(ROOT).as_posix()):
            found.setdefault(code, set()).add(kind.exit_status)
    for end in EndKind:
        error = End(kind=end).error()
        if error is not None:
            found.setdefault(error.code, set()).add(error.exit_status)
    return found


def _of_module(tree: ast.Module, name: str) -> Iterator[tuple[str, type[BrokerError]]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and (default := _default(node)) and (maker := _made_by(node)):
            yield default, maker
        if not isinstance(node, ast.Call):
            continue
        given = next((each.value for each in node.keywords if each.arg == "code"), None)
        called = ast.unparse(node.func)
        if given is None or called in _OTHERS or called == _ENDS:
            continue
        assert called in CLASSES or called in MAKERS, f"{name}:{node.lineno}: tell tests/house/codes.py what {called} makes"
        kind = CLASSES[MAKERS.get(called, called)]
        codes = list(_said(given))
        if not codes and ast.unparse(given) == "code":
            codes = list(_tables(tree))  # out of a table of this module, or the parameter of a maker
        is_handed_on = isinstance(given, ast.Attribute) and given.attr == "code"
        assert codes or is_handed_on or ast.unparse(given) == "code", f"{name}:{node.lineno}: which codes are these?"
        for code in codes:
            yield code, kind


def _said(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from (*_said(node.body), *_said(node.orelse))
    elif isinstance(node, ast.JoinedStr):
        for kind in ("vm", "vmi"):  # what the braces of such a code hold
            yield "".join(str(each.value) if isinstance(each, ast.Constant) else kind for each in node.values)


def _tables(tree: ast.Module) -> Iterator[str]:
    """Every word like a code in what the module's own names hold."""
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for each in ast.walk(node.value):
                if isinstance(each, ast.Constant) and isinstance(each.value, str) and _CODE.fullmatch(each.value):
                    yield each.value


def _default(node: ast.FunctionDef) -> str | None:
    for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
        if argument.arg == "code" and isinstance(default, ast.Constant) and isinstance(default.value, str):
            return default.value
    return None


def _made_by(function: ast.FunctionDef) -> type[BrokerError] | None:
    names = [ast.unparse(each.func) for each in ast.walk(function) if isinstance(each, ast.Call)]
    return next((CLASSES[name] for name in names if name in CLASSES), None)


def findings() -> set[str]:
    """Every code of a finding of `ssh-config check`."""
    found: set[str] = set()
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("finding_at", "_finding", "Finding"):
                words = [*node.args[:2], *(each.value for each in node.keywords if each.arg == "code")]
                found |= {word for each in words for word in _said(each) if _CODE.fullmatch(word) or each is words[0]}
    return found


def checks() -> set[str]:
    """Every name of a check of `doctor`."""
    return set(CATALOGUE)
