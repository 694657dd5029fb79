"""An SSH server's first line, in whatever pieces and after whatever words it comes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.paths.greeting import Greeting, GreetingReader

VERSION = b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"


@given(before=st.lists(st.text("abc \t", max_size=40), max_size=50), cut=st.integers(1, 40))
def test_a_greeting_is_found_behind_up_to_fifty_lines_and_in_any_pieces(before: list[str], cut: int) -> None:
    data = "".join(f"{line}\r\n" for line in before).encode() + VERSION + b"binary\x00\xff"
    reader, found = GreetingReader(), None
    for start in range(0, len(data), cut):
        found = reader.feed(data[start : start + cut])
        if found is not None:
            break
    assert found == Greeting(kind="ssh", text=found.text if found else "")  # type: ignore[arg-type]
    assert found is not None
    assert found.text == "SSH-2.0-OpenSSH_9.2p1 Debian-2"


@pytest.mark.parametrize(
    ("data", "heard"),
    [
        (b"x\n" * 51, "x"),
        (b"y" * 256, "y" * 255),
        (b"HTTP/1.1 400 Bad Request\r\n" + b"z" * 300, "HTTP/1.1 400 Bad Request"),
        (b"SSH-" + b"v" * 300, "SSH-" + "v" * 251),
    ],
)
def test_what_is_no_ssh_server_is_told_by_its_first_words(data: bytes, heard: str) -> None:
    assert GreetingReader().feed(data) == Greeting(kind="other", text=heard)  # type: ignore[arg-type]


def test_foreign_words_come_out_clean() -> None:
    found = GreetingReader().feed(b"SSH-2.0-\x1b[31mred\x07\xff\r\n")
    assert found is not None
    assert found.text == "SSH-2.0-[31mred\ufffd"


def test_an_unfinished_line_is_heard_but_decides_nothing() -> None:
    reader = GreetingReader()
    assert reader.feed(b"SSH-2.0-Open") is None
    assert reader.heard == "SSH-2.0-Open"
