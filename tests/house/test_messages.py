"""docs/messages.md has every code of the sources, and the sources have every code of the page."""

from __future__ import annotations

import re
from typing import Final

from tests.house import codes
from tests.house.tree import ROOT

_PAGE: Final = (ROOT / "docs" / "messages.md").read_text()
_FINDINGS: Final = "## What `ssh-config check` finds"
_CHECKS: Final = "## The checks of `doctor`"
_FULL: Final = "## In full"
_ROW: Final = re.compile(r"^\| `([a-z0-9-]+)` \| ([^|]+) \|(.*)\|$", re.MULTILINE)


def _section(title: str, end: str) -> str:
    return _PAGE.partition(title)[2].partition(end)[0]


def _statuses(said: str) -> set[int]:
    return {int(each) for each in said.split(" or ")}


def test_the_finder_knows_the_sources() -> None:
    found = codes.errors()
    assert len(found) > 150
    assert {"usage", "vm-pvc-missing", "login-expired", "consumer-stalled", "port-reset", "plugin-failed"} <= set(found)
    assert found["lab-start"] == {1, 6}
    assert "peer-closed" not in found, "a stream that ends well is no error"
    assert len(codes.findings()) > 20


def test_every_code_has_one_row_with_its_exit_status_and_every_row_a_code() -> None:
    rows = _ROW.findall(_PAGE.partition(_FINDINGS)[0])
    assert {code: _statuses(said) for code, said, _ in rows} == codes.errors()
    assert len(rows) == len({code for code, _, _ in rows})
    assert [code for code, _, rest in rows if len(rest.split(" | ")) != 2 or "" in map(str.strip, rest.split(" | "))] == []


def test_every_finding_and_every_check_is_on_the_page() -> None:
    rows = _ROW.findall(_section(_FINDINGS, _CHECKS))
    assert sorted(code for code, _, _ in rows) == sorted(codes.findings())
    assert set().union(*(said.split(" or ") for _, said, _ in rows)) == {"defeats", "danger", "note"}
    assert set(re.findall(r"`([a-z-]+)` \(", _section(_CHECKS, _FULL))) == codes.checks()


def test_the_full_messages_and_the_readme_give_statuses_that_their_codes_have() -> None:
    known = codes.errors()
    full = [(code, said) for code, said, _ in _ROW.findall(_section(_FULL, "\0"))]
    readme = re.findall(r"`([a-z0-9-]+)` ([0-9])\b", (ROOT / "README.md").read_text().partition("## When it does not work")[2])
    assert len(full) > 60
    assert len(readme) > 50
    assert [(code, said) for code, said in (*full, *readme) if int(said) not in known.get(code, ())] == []
