"""The sample file in the repository is what the key table says."""

from __future__ import annotations

from pathlib import Path

from broker.config.document import read_document
from broker.config.keys import KEYS
from broker.config.sample import sample

ROOT = Path(__file__).resolve().parents[3]


def test_the_file_in_the_repository_is_the_generated_one() -> None:
    assert (ROOT / "config" / "vmbroker.toml").read_text() == sample()


def test_every_line_that_is_uncommented_is_valid_and_names_every_key() -> None:
    lines = sample().splitlines()
    body = [
        line[2:]
        for line in lines
        if line.startswith(("# [", "# # ")) or (line.startswith("# ") and " = " in line and "--set" not in line)
    ]
    document = read_document("\n".join(body), path="/etc/s", layer="system")
    assert document.problems == ()
    assert {key.name for key in KEYS} <= {assignment.key for assignment in document.assignments}
    assert document.locked
