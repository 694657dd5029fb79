"""`vmbroker doctor`: every check by group, as a table, JSON or YAML; ends with 1 where one failed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from broker.clean import clean
from broker.cli import exits, output
from broker.cli.guest import opened
from broker.cli.invocation import Invocation
from broker.errors import UsageError
from broker.refs import Target, context_labels, parse_login, parse_port, parse_user

if TYPE_CHECKING:
    from broker.actions.checkup.check import Check, Report, State
    from broker.config.settings import Settings
    from broker.kube.endpoint import Endpoint

_GLYPHS: Final[dict[State, tuple[str, str, str]]] = {
    "ok": ("✓", "+", "green"),
    "failed": ("✗", "x", "red"),
    "unknown": ("?", "?", "yellow"),
}
"""Each state's glyph, its ASCII stand-in and its colour; the word always stands beside."""

_STARTING_S: Final = 0.5
"""Seconds of the processor's time that the start of this process can have taken at most."""

_LEAST_CELLS: Final = 30
"""Cells for the text of a check; where a terminal leaves fewer, the text begins on a line of its own."""


def run(invocation: Invocation) -> int:
    """Make the checks and print them; 0 where none failed, 1 where one did."""
    # The budget is what the user waits: the interpreter's own start counts.
    began_s = time.monotonic() - min(time.process_time(), _STARTING_S)
    from broker.actions.doctor import Doctoring, examine
    from broker.tasks import run as run_tasks

    parsed = invocation.parsed
    login = parse_login(parsed.operands[0]) if parsed.operands else None
    user, port = (login.user if login else None) or parsed.text("user"), parsed.text("port")
    settings = invocation.settings(parsed.text("context"))
    budget_s = _budget(parsed.text("budget"), settings)
    target = login.target if login is not None else None
    what = Doctoring(
        target=target,
        typed=clean(parsed.operands[0]) if parsed.operands else None,
        user=parse_user(user) if user else None,
        port=parse_port(port) if port else None,
        budget_s=budget_s,
        settings=settings,
        environ=invocation.environ,
        open_cluster=lambda: _open(invocation, target),
        read_contexts=lambda: _contexts(invocation, settings),
        began_s=began_s,
        identity=invocation.lab.identity if invocation.lab is not None else None,
    )
    with exits.progress(f"looking at {target or 'the cluster'}"):
        report = run_tasks(examine(what))
    if parsed.output in ("json", "yaml"):
        document = {"apiVersion": output.API_VERSION, "kind": "Doctor", **report.as_json()}
        (output.json if parsed.output == "json" else output.yaml)(document)
    else:
        marks = "".join(glyph for glyph, _, _ in _GLYPHS.values())
        shown = lines(
            report,
            width=output.width(),
            is_colored=output.is_colored(settings.output.color),
            is_ascii=not output.can_show(marks),
        )
        output.prepared(shown)
    return 1 if report.has_failed else 0


def lines(report: Report, *, width: int | None, is_colored: bool, is_ascii: bool) -> Iterator[str]:
    """Yield the report's lines: a title for each group, each check, and under it its cause and next step.

    `width` in cells folds long lines, None leaves them whole; `is_ascii` takes the glyphs' stand-ins.
    """
    from broker.actions.checkup.check import GROUPS

    wide = max((len(check.title) for check in report.checks), default=0)
    for group, title in GROUPS.items():
        found = report.of(group)
        if found:
            yield output.tinted(title, "bold" if is_colored else "")
            for check in found:
                yield from _shown(check, wide, width=width, is_colored=is_colored, is_ascii=is_ascii)
            yield ""
    yield summary(report)


def summary(report: Report) -> str:
    """Say how many checks ended how, and within which time."""
    counts = ", ".join(f"{report.count(state)} {state}" for state in _GLYPHS)
    return f"{counts}; {report.took_s:.1f} s of {report.budget_s:g} s"


def _shown(check: Check, wide: int, *, width: int | None, is_colored: bool, is_ascii: bool) -> Iterator[str]:
    glyph, plain, tint = _GLYPHS[check.state]
    state = f"{plain if is_ascii else glyph} {check.state:<7}"
    indent = 2 + 9 + 2 + wide + 2
    if width is not None and width - indent < _LEAST_CELLS:
        indent = 6
    first, *rest = _folded(check.says, None if width is None else width - indent)
    if indent == 6:
        rest = [first, *rest]
        first = ""
    yield f"  {output.tinted(state, tint if is_colored else '')}  {check.title:<{wide}}  {first}".rstrip()
    for line in rest:
        yield " " * indent + line
    for name, words in (("cause", check.cause), ("next", check.next_step)):
        if words:
            for line in _folded(f"{name}: {words}", None if width is None else width - indent):
                yield " " * indent + line


def _folded(words: str, width: int | None) -> list[str]:
    """Fold one line at its spaces into lines of at most `width` cells; a longer word stands alone or is cut in pieces."""
    if width is None or output.cells(words) <= width:
        return [words]
    lines, line = [], ""
    for word in words.split(" "):
        while output.cells(word) > width:
            size = next(n for n in range(len(word), 0, -1) if output.cells(word[:n]) <= width or n == 1)
            lines += [line] if line else []
            lines, line, word = [*lines, word[:size]], "", word[size:]
        if line and output.cells(f"{line} {word}") > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line] if line else lines


def _budget(text: str | None, settings: Settings) -> float:
    """Read --budget as the setting of the same name is read."""
    if text is None:
        return settings.doctor.budget_s
    from broker.config.keys import BY_NAME
    from broker.config.values import BadValue, read_value

    try:
        found = read_value(BY_NAME["doctor.budget_s"], text)
    except BadValue as exc:
        raise UsageError(str(exc).replace("doctor.budget_s", "--budget"), next_step="write seconds: --budget 5") from exc
    assert isinstance(found, float)
    return found


def _open(invocation: Invocation, target: Target | None) -> tuple[Endpoint, Settings]:
    if target is not None:
        return opened(invocation, target, stdin_is_ours=False)
    endpoint = invocation.endpoint(stdin_is_ours=False)
    return endpoint, invocation.settings(endpoint.context)


def _contexts(invocation: Invocation, settings: Settings) -> tuple[str, dict[str, str]]:
    from broker.kube.endpoint import list_contexts

    found = list_contexts(kubeconfig=invocation.kubeconfig, environ=invocation.environ)
    files = ", ".join(clean(path) for path in found.sources)
    return files, dict(context_labels([entry.name for entry in found.entries], settings.aliases))
