"""What a settings file says, where, and what is wrong with it."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from broker.config.document import read_document

TEXT = """\
# a comment
locked = [
  "stream.limit_bytes",
]

[stream]
handshake_s = 5
limit_bytes = "64 MiB"

[ssh]
user = "fedora"
vms = { "a*.shop" = { user = "alice", port = 2222 } }

[contexts."admin@prod"]
alias = "prod"
api.timeout_s = "1 min"
"""


def test_every_key_knows_its_line() -> None:
    document = read_document(TEXT, path="/s.toml", layer="system")
    assert document.problems == ()
    assert document.locked == (("stream.limit_bytes", "/s.toml:2"),)
    found = {(a.key, a.field, a.context): (a.value, a.origin.place) for a in document.assignments}
    assert found == {
        ("stream.handshake_s", "", None): (5.0, "/s.toml:7"),
        ("stream.limit_bytes", "", None): (64 * 1024 * 1024, "/s.toml:8"),
        ("ssh.user", "", None): ("fedora", "/s.toml:11"),
        ("ssh.vms", "user", None): ("alice", "/s.toml:12"),
        ("ssh.vms", "port", None): (2222, "/s.toml:12"),
        ("alias", "", "admin@prod"): ("prod", "/s.toml:15"),
        ("api.timeout_s", "", "admin@prod"): (60.0, "/s.toml:16"),
    }


def test_unknown_keys_are_answered_with_the_nearest_name() -> None:
    text = '[stream]\nlimit_byte = 1\n[strem]\nx = 1\n[ssh.vms."a.b"]\nusr = "x"\n[contexts.c]\nalais = "x"\n'
    problems = read_document(text, path="/s.toml", layer="user").problems
    assert [(p.place, p.next_step) for p in problems] == [
        ("/s.toml:2", "did you mean 'stream.limit_bytes'?"),
        ("/s.toml:3", "did you mean 'stream'?"),
        ("/s.toml:6", "did you mean 'user'?"),
        ("/s.toml:8", "did you mean 'alias'?"),
    ]


def test_values_out_of_range_or_of_another_type_are_named_with_what_would_fit() -> None:
    text = """\
[stream]
handshake_s = 0
free_bytes = "8 MB"
limit_bytes = true
[ssh]
port = 70000
user = "-oProxyCommand=x"
program = "../ssh"
[output]
color = "blue"
[api]
page_size = 1.5
timeout_s = [1]
"""
    problems = read_document(text, path="/s.toml", layer="user").problems
    assert [p.place.rpartition(":")[2] for p in problems] == ["2", "3", "4", "6", "7", "8", "10", "12", "13"]
    assert all(" takes " in p.message for p in problems)


def test_only_the_system_may_lock_and_only_known_keys() -> None:
    assert read_document('locked = ["ssh.user"]\n', path="/u", layer="user").problems[0].message.startswith("only the system")
    problem = read_document('locked = ["ssh.usr"]\n', path="/s", layer="system").problems[0]
    assert problem.next_step == "did you mean 'ssh.user'?"


def test_a_pattern_needs_both_sides_and_an_alias_is_a_label_other_than_vm() -> None:
    text = '[ssh.vms."web"]\nuser = "a"\n[contexts.a]\nalias = "vm"\n[contexts.b]\nalias = "A.b"\n'
    problems = read_document(text, path="/s", layer="user").problems
    assert [p.place for p in problems] == ["/s:1", "/s:4", "/s:6"]


def test_broken_toml_is_one_problem_with_its_line() -> None:
    (problem,) = read_document("[stream\nx=1", path="/s", layer="user").problems
    assert "line 1" in problem.message


@given(st.text(max_size=400))
def test_property_no_text_makes_the_reader_raise_or_show_control_characters(text: str) -> None:
    document = read_document(text, path="/s", layer="user")
    for problem in document.problems:
        assert problem.message.isprintable()
        assert (problem.next_step or "").isprintable()


@given(st.recursive(st.integers() | st.text(max_size=8) | st.booleans(), lambda v: st.lists(v, max_size=3), max_leaves=4))
def test_property_any_value_of_any_key_is_taken_or_a_problem(value: object) -> None:
    def toml(item: object) -> str:
        if isinstance(item, list):
            return "[" + ", ".join(toml(each) for each in item) + "]"
        if isinstance(item, bool):
            return str(item).lower()
        if isinstance(item, str):
            return '"' + "".join(f"\\u{ord(c):04x}" if ord(c) < 0x10000 else "?" for c in item) + '"'
        return str(item)

    text = f"[stream]\nlimit_bytes = {toml(value)}\n"
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    document = read_document(text, path="/s", layer="user")
    assert len(document.assignments) + len(document.problems) == 1
