"""Sizes, names and docstrings of the house."""

from __future__ import annotations

import ast
import statistics

from tests.house.tree import ROOT, mirrors, public_definitions, sources

LINE_LIMIT = 500
JUDGES = {
    "captures", "clients", "kubectl", "kubectl_requests", "kubectl_users", "truth", "truth_captures", "virtctl_requests",
}  # fmt: skip
FORBIDDEN = {"utils", "util", "common", "helpers", "helper", "misc", "manager", "structs", "ctx"}


def test_no_module_passes_the_line_limit() -> None:
    sizes = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in sources()}
    print(f"\n{len(sizes)} modules, median {statistics.median(sizes.values()):.0f} lines, longest {max(sizes.values())}")
    assert {name: size for name, size in sizes.items() if size > LINE_LIMIT} == {}


def test_no_room_is_a_drawer() -> None:
    assert [path for path in sources() if path.stem.lower() in FORBIDDEN] == []
    classes = [
        f"{path.name}:{node.name}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and node.name.endswith(("Manager", "Helper", "Util", "Utils"))
    ]
    assert classes == []


def test_every_public_name_says_what_it_is() -> None:
    silent = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources()
        for name, node, text in public_definitions(path)
        if not text and not _is_override(node)
    ]
    assert silent == []


def test_no_room_is_empty() -> None:
    empty = [
        path.relative_to(ROOT).as_posix()
        for path in sources()
        if path.name == "__init__.py" and path.parent != ROOT / "tui" and len(list(path.parent.glob("*.py"))) == 1
    ]
    assert empty == []


def test_tests_mirror_sources() -> None:
    """`tests/broker/paths/test_relay.py` stands for `broker/paths/relay.py`, `test_relay_x.py` for one aspect of it.

    Judges stand for a whole room: captures of real servers and the real kubectl.
    """
    strangers = []
    for path in mirrors():
        room = path.parent.relative_to(ROOT / "tests")
        subject = path.stem.removeprefix("test_")
        if subject in JUDGES:
            continue
        own = ROOT / room / f"{subject}.py"
        parts = [ROOT / room / f"{subject.rsplit('_', n)[0]}.py" for n in range(1, subject.count("_") + 1)]
        if not own.exists() and not (ROOT / room / subject).is_dir() and not any(part.exists() for part in parts):
            strangers.append(path.relative_to(ROOT).as_posix())
    assert strangers == []


def test_every_room_has_tests() -> None:
    rooms = {path.parent.relative_to(ROOT) for path in sources() if path.is_relative_to(ROOT / "broker")}
    without = [str(room) for room in rooms if not list((ROOT / "tests" / room).glob("test_*.py"))]
    assert without == []


def test_tasks_are_started_in_one_place() -> None:
    loose = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources()
        if path.relative_to(ROOT).as_posix() != "broker/tasks.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("create_task", "ensure_future") and not _is_asyncssh(node)
    ]
    assert loose == []


def test_one_writer_for_each_stream() -> None:
    """Only `output` and `exits` (and the lab's console, another process) name the standard streams to write words."""
    allowed = {"broker/cli/output.py", "broker/cli/exits.py", "broker/lab/console.py"}
    writers = []
    for path in sources():
        name = path.relative_to(ROOT).as_posix()
        if name in allowed:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                writers.append(f"{name}:{node.lineno} print")
            if _is_stream_write(node):
                writers.append(f"{name}:{getattr(node, 'lineno', 0)} write")
    assert writers == []


def _is_asyncssh(node: ast.Attribute) -> bool:
    """asyncssh's connections own the tasks of their sessions."""
    owner = node.value
    return isinstance(owner, ast.Call) and isinstance(owner.func, ast.Attribute) and owner.func.attr == "get_connection"


def _is_stream_write(node: ast.AST) -> bool:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("write", "writelines")):
        return False
    owner = node.func.value
    if not isinstance(owner, ast.Attribute) or owner.attr not in ("stdout", "stderr"):
        return False
    return isinstance(owner.value, ast.Name) and owner.value.id == "sys"


def _is_override(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any(
        isinstance(mark, ast.Name) and mark.id == "override" for mark in node.decorator_list
    )
