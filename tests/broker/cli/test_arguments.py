"""How a command line is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.cli.arguments import Parsed, command_word, parse, wants_json
from broker.cli.commands import COMMANDS, GLOBALS, STATUSES
from broker.errors import UsageError


def _values(parsed: Parsed) -> dict[str, object]:
    return dict(parsed.values)


@pytest.mark.parametrize(
    "words",
    [
        "-n shop vms -l tier=web -o json",
        "vms -n shop -l tier=web -o json",
        "vms --namespace=shop --selector tier=web --output=json",
        "--output json vms -nshop -ltier=web",
        "-ojson vms -n=shop -l=tier=web",
    ],
)
def test_flags_stand_before_and_after_the_command_in_every_form(words: str) -> None:
    parsed = parse(words.split())
    assert parsed.command is not None
    assert parsed.command.name == "vms"
    assert _values(parsed) == {"namespace": "shop", "selector": "tier=web", "output": "json"}


def test_short_flags_without_value_may_stand_together() -> None:
    assert _values(parse(["vms", "-Ao", "name"])) == {"all_namespaces": True, "output": "name"}


def test_repeated_flags_collect() -> None:
    parsed = parse(["--as", "eve", "--as-group", "a", "vms", "--as-group=b", "--set", "api.page_size=1"])
    assert parsed.many("as_groups") == ("a", "b")
    assert parsed.many("sets") == ("api.page_size=1",)


def test_ssh_takes_our_flags_until_the_remote_command_begins() -> None:
    parsed = parse(["ssh", "web", "-n", "shop", "ls", "-n", "-o", "json"])
    assert (parsed.operands, parsed.rest, parsed.text("namespace")) == (("web",), ("ls", "-n", "-o", "json"), "shop")


def test_ssh_hands_on_all_that_stands_after_two_dashes() -> None:
    parsed = parse(["ssh", "web", "-n", "shop", "--", "-L", "8080:localhost:80", "-N"])
    assert (parsed.operands, parsed.rest) == (("web",), ("-L", "8080:localhost:80", "-N"))
    assert parse(["ssh", "--", "web", "-v"]).rest == ("-v",)


def test_scp_keeps_the_order_of_its_own_options_and_takes_ours_besides() -> None:
    parsed = parse(["scp", "-rp", "-P", "2222", "-oA=b", "a", "-n", "shop", "web:/tmp", "--context", "c", "--", "-x"])
    assert parsed.foreign == ("-r", "-p", "-P", "2222", "-o", "A=b")
    assert parsed.operands == ("a", "web:/tmp", "-x")
    assert (parsed.text("namespace"), parsed.text("context")) == ("shop", "c")


def test_a_raw_command_gets_every_word() -> None:
    parsed = parse(["--context", "c", "lab", "up", "-o", "json", "--state-dir", "x"])
    assert (parsed.rest, parsed.text("context")) == (("up", "-o", "json", "--state-dir", "x"), "c")


@pytest.mark.parametrize(
    ("words", "code", "message", "step"),
    [
        (["vsm"], "unknown-command", "unknown command 'vsm'", "did you mean 'vms'?"),
        (["vms", "--contxt", "x"], "unknown-flag", "unknown flag '--contxt'", "did you mean --context?"),
        (["vms", "-z"], "unknown-flag", "unknown flag '-z'", "`vmbroker vms --help` lists the flags"),
        (["vms", "-o", "yml"], "unknown-output", "`vmbroker vms` has no output 'yml'", "did you mean yaml? "),
        (["vms", "-n"], "usage", "-n needs a value", "`vmbroker vms --help`"),
        (["vms", "--namespace="], "usage", "--namespace needs a value", "`vmbroker vms --help`"),
        (["vms", "--lab=yes"], "usage", "--lab takes no value", "`vmbroker vms --help`"),
        (["vms", "web"], "usage", "'web' is one argument too many", "usage: vmbroker vms"),
        (["vms", "-A", "-n", "x"], "usage", "-A and -n exclude each other", ""),
        (["--lab", "vms", "--kubeconfig", "x"], "usage", "--lab and --kubeconfig exclude each other", "`vmbroker vms --help`"),
        (["show"], "usage", "[USER@]TARGET is missing", "usage: vmbroker show"),
        (["show", "-A", "x"], "usage", "-A is for lists only", ""),
        (["show", "a", "b\x1b[2J"], "usage", "'b\\x1b[2J' is one argument too many", ""),
        (["scp", "a"], "usage", "SOURCE, DESTINATION is missing", "usage: vmbroker scp"),
        (["--", "vms"], "usage", "'--' stands before the command", ""),
        (["-n", "x"], "usage", "no command stands there", ""),
        (["ssh", "-v", "web"], "unknown-flag", "unknown flag '-v'", "options for ssh itself go after the target and `--`"),
        (["--selector", "x", "vms"], "unknown-flag", "unknown flag '--selector'", "put it after that word"),
    ],
)
def test_a_wrong_word_is_shown_with_what_would_be_right(words: list[str], code: str, message: str, step: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(words)
    assert (caught.value.code, caught.value.message) == (code, message)
    assert step in (caught.value.next_step or "")


def test_help_is_found_even_where_operands_are_missing() -> None:
    assert parse(["ssh", "--help"]).has("help")
    assert parse(["show", "-h"]).has("help")
    assert not parse(["ssh", "web", "ls", "--help"]).has("help")


def test_json_errors_are_wanted_even_where_the_rest_is_wrong() -> None:
    assert wants_json(["vms", "--nonsense", "-o", "json"])
    assert wants_json(["--output=json", "nonsense"])
    assert not wants_json(["scp", "-o", "json", "a", "b"])
    assert not wants_json(["ssh", "web", "--", "-o", "json"])


def test_the_command_is_found_among_flags_with_values() -> None:
    assert command_word(["--context", "ssh", "-n", "scp", "vms", "--bad"]) == "vms"
    assert command_word(["--context"]) is None


def test_the_table_is_sound() -> None:
    names = [command.name for command in COMMANDS]
    assert len(names) == len(set(names))
    for command in COMMANDS:
        taken = [name for flag in command.flags for name in flag.names]
        assert not {name for name in taken if name.startswith("--")} & {name for flag in GLOBALS for name in flag.names}
        assert set(command.statuses) <= set(STATUSES)
        assert command.hidden or command.examples, command.name
        for example, _ in command.examples:
            assert "vmbroker" in example


@given(st.lists(st.text(max_size=12) | st.sampled_from([c.name for c in COMMANDS] + ["-n", "-o", "--", "-A", "json", "-h"])))
def test_property_any_words_parse_or_are_a_usage_error_of_one_line(words: list[str]) -> None:
    try:
        parse(words)
    except UsageError as error:
        assert error.message.isprintable()
        assert (error.next_step or "").isprintable()
    wants_json(words)


def test_proxy_takes_the_words_that_a_virtctl_block_passes() -> None:
    parsed = parse(["proxy", "--stdio=true", "vm/web/shop", "22"])
    assert parsed.operands == ("vm/web/shop", "22")
    with pytest.raises(UsageError, match="takes no value"):
        parse(["proxy", "--stdio=false", "vm/web/shop", "22"])
