"""The house as files: what the rules of `tests/house` look at."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def sources() -> list[Path]:
    """Every module of the two packages."""
    return sorted(path for top in ("broker", "tui") for path in (ROOT / top).rglob("*.py"))


def mirrors() -> list[Path]:
    """Every test module that mirrors a source."""
    return sorted((ROOT / "tests" / "broker").rglob("test_*.py"))


def public_definitions(path: Path) -> Iterator[tuple[str, ast.AST, str | None]]:
    """Yield (dotted name, node, docstring) for the module and each public class, function and method in it."""
    tree = ast.parse(path.read_text())
    yield path.relative_to(ROOT).as_posix(), tree, ast.get_docstring(tree)
    yield from _public(tree, path.stem)


def _public(node: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, ast.AST, str | None]]:
    for child in node.body:
        if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or child.name.startswith("_"):
            continue
        yield f"{prefix}.{child.name}", child, ast.get_docstring(child)
        if isinstance(child, ast.ClassDef):
            yield from _public(child, f"{prefix}.{child.name}")
