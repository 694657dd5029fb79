"""Tables, widths and documents."""

from __future__ import annotations

import json
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from broker.clean import clean
from broker.cli import output
from broker.cli.output import Column, cells, lay_out

TWO = (Column(title="NAME", shrinks=True), Column(title="STATE", tint=lambda cell: "green" if cell == "up" else ""))


def test_columns_stand_under_their_titles_also_with_wide_characters() -> None:
    rows = [[clean("web"), clean("up")], [clean("資料庫"), clean("")], [clean("cafe\u0301"), clean("up")]]
    lines = lay_out(TWO, rows, width=None)
    assert lines == ["NAME     STATE", "web      up", "資料庫   -", "cafe\u0301     up"]


def test_a_narrow_terminal_cuts_the_shrinking_column_only() -> None:
    rows = [[clean("a" * 40), clean("up")]]
    lines = lay_out(TWO, rows, width=20)
    assert lines[1] == "a" * 11 + "…   up"
    assert max(cells(line) for line in lines) <= 20


def test_colour_comes_from_the_column_and_never_from_data() -> None:
    lines = lay_out(TWO, [[clean("\x1b[31mred"), clean("up")]], width=None, is_colored=True)
    assert lines[1] == "[31mred   \x1b[32mup\x1b[0m"


@given(st.lists(st.lists(st.text(max_size=30), min_size=2, max_size=2), max_size=6), st.integers(30, 200))
def test_property_every_line_fits_where_columns_may_shrink(raw: list[list[str]], width: int) -> None:
    columns = (Column(title="A", shrinks=True), Column(title="B", shrinks=True))
    lines = lay_out(columns, [[clean(cell) for cell in row] for row in raw], width=width)
    assert len(lines) == len(raw) + 1
    assert all(cells(line) <= width for line in lines)


def test_documents_are_ascii_and_read_back(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"apiVersion": output.API_VERSION, "name": clean("é資"), "items": [{"n": None}], "t": ("a",)}
    output.json(document)
    text = capsys.readouterr().out
    assert text.isascii()
    assert json.loads(text)["name"] == "é資"
    output.yaml(document)
    text = capsys.readouterr().out
    assert text.isascii()
    assert yaml.safe_load(text) == {"apiVersion": "vmbroker/v1", "name": "é資", "items": [{"n": None}], "t": ["a"]}


def test_auto_colour_needs_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not output.is_colored("auto")
    assert output.is_colored("always")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert output.is_colored("auto")
    assert not output.is_colored("never")
    monkeypatch.setenv("TERM", "dumb")
    assert not output.is_colored("auto")
