"""Our reading of ssh_config beside OpenSSH's own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.paths.ssh_reading import Condition, holds, host_holds, placed, read_line, read_lines, split_words
from tests.conftest import need


@pytest.fixture(scope="module")
def ssh() -> str:
    return need("ssh", "openssh-client")


def said(ssh: str, path: Path, host: str) -> dict[str, str]:
    """What `ssh -G` makes of a file; empty where it refuses the file."""
    done = subprocess.run([ssh, "-G", "-F", str(path), "--", host], capture_output=True, text=True, check=False)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


@pytest.mark.parametrize(
    ("raw", "keyword", "words"),
    [
        ("Host a b", "host", ("a", "b")),
        ("\tHost\ta\t*.b  \t", "host", ("a", "*.b")),
        ("HOST=a", "host", ("a",)),
        ("host = a", "host", ("a",)),
        ('Host "a b" c', "host", ("a b", "c")),
        ("Host a#b", "host", ("a#b",)),
        ("Host a # b", "host", ("a",)),
        ("Host a\r", "host", ("a",)),
        ('IdentityFile "/a \\"b\\\\c"', "identityfile", ('/a "b\\c',)),
        ("IdentityFile /a\\ b", "identityfile", ("/a b",)),
        ('"Host" a', "host", ("a",)),
        ("Host a\0b", "host", ("a",)),
    ],
)
def test_a_directive_is_read_as_openssh_reads_it(raw: str, keyword: str, words: tuple[str, ...]) -> None:
    line = read_line(raw)
    assert line is not None
    assert (line.keyword, line.words) == (keyword, words)


@pytest.mark.parametrize("raw", ["", "   ", "# Host a", "\t# x", "\0Host a", "\r"])
def test_comments_and_nothing_are_no_directive(raw: str) -> None:
    assert read_line(raw) is None


def test_a_command_keeps_its_quotes() -> None:
    line = read_line('  ProxyCommand a "b c"  %h # d')
    assert line is not None
    assert line.value == 'a "b c"  %h # d'


def test_lines_end_at_a_line_feed_only() -> None:
    lines = read_lines("Host a\x0bb\x1c\x85\nUser x\r\n\nPort 1")
    assert [(line.number, line.keyword) for line in lines] == [(1, "host"), (2, "user"), (4, "port")]


def test_a_directive_hangs_on_the_last_host_or_match() -> None:
    found = [
        (each.line.keyword, each.condition.number) for each in placed(read_lines("User a\nHost b\nUser c\nMatch all\nUser d"))
    ]
    assert found == [("user", 0), ("host", 2), ("user", 2), ("match", 4), ("user", 4)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("all",), True),
        (("host", "a.vm"), True),
        (("originalhost", "*.vm,b"), True),
        (("originalhost", "b"), False),
        (("!originalhost", "b"), True),
        (("originalhost=b",), False),
        (("exec", "true"), None),
        (("originalhost", "b", "exec", "true"), False),
        (("canonical",), None),
        (("user", "x"), None),
    ],
)
def test_a_match_line_is_decided_where_the_name_decides(words: tuple[str, ...], expected: bool | None) -> None:
    assert holds(Condition(kind="match", words=words, number=1), "a.vm") is expected


PATTERNS = st.lists(st.text(alphabet="ab.*?!-[]", min_size=1, max_size=6).filter(lambda p: p != "!"), min_size=1, max_size=3)


@given(patterns=PATTERNS, name=st.text(alphabet="ab.", min_size=1, max_size=6))
@settings(max_examples=60)
def test_host_patterns_agree_with_openssh(
    ssh: str, tmp_path_factory: pytest.TempPathFactory, patterns: list[str], name: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "patterns"
    path.write_text(f"Host {' '.join(patterns)}\n  User taken\n")
    assert (said(ssh, path, name).get("user") == "taken") is host_holds(patterns, name)


@given(value=st.text(alphabet="ab \t\"'\\#=*", min_size=1, max_size=10))
@settings(max_examples=60)
def test_words_agree_with_openssh(ssh: str, tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    path = tmp_path_factory.getbasetemp() / "words"
    path.write_text(f"Host h\n  UserKnownHostsFile {value}\n")
    options = said(ssh, path, "h")
    line = read_line(f"UserKnownHostsFile {value}")
    assert line is not None
    if options and line.words:  # ssh refuses unbalanced quotes, and takes its default where no word is left
        assert options["userknownhostsfile"].split() == " ".join(line.words).split()


def test_words_of_a_value_of_quotes_only() -> None:
    assert split_words("\"\" 'x'") == ("", "x")
