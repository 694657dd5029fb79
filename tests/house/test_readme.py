"""The README tells of codes that the program has, and of commands that it knows."""

from __future__ import annotations

import re

from broker.cli.commands import BY_NAME
from tests.conftest import ROOT
from tests.house.tree import sources

_ROW = re.compile(r"^\|.*\| `([a-z-]+)` [0-9] \|", re.MULTILINE)


def test_every_code_of_the_troubleshooting_table_is_in_the_sources() -> None:
    codes = _ROW.findall((ROOT / "README.md").read_text())
    text = "".join(path.read_text() for path in sources())
    assert len(codes) >= 40
    assert [code for code in codes if f'"{code}"' not in text] == []


def test_every_command_of_its_examples_is_known() -> None:
    blocks = "".join(re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL))
    words = re.findall(r"^(?:source <\()?vmbroker (?:--lab )?([a-z-]+)", blocks, re.MULTILINE)
    assert len(words) >= 15
    assert [word for word in words if word not in BY_NAME] == []
