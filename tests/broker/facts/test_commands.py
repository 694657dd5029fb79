"""A name of the cluster's becomes no shell word unless it is one by Kubernetes' own rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.facts import commands
from broker.refs import Kind, is_name


def every(kind: Kind, name: str, namespace: str) -> list[str]:
    return [
        commands.target_word(kind, name, namespace),
        commands.virtctl("start", name, namespace),
        commands.virtctl("unpause", name, namespace, kind),
        commands.expose(name, namespace),
        commands.kubectl_events(kind, name, namespace),
        commands.kubectl_describe(kind, name, namespace),
        commands.wait(kind, name, namespace, "ssh"),
        commands.show(kind, name, namespace),
    ]


@pytest.mark.parametrize("name", ["web; rm -rf /", "-oProxyCommand=x", "a b", "$(x)", "WEB", "", "x" * 300, "web\n", "a/b"])
def test_what_is_no_name_stands_as_a_placeholder(name: str) -> None:
    for command in every("vm", name, name):
        assert "NAME" in command
        assert not name or name not in command.split()


@given(st.text(max_size=30), st.text(max_size=30), st.sampled_from(["vm", "vmi"]))
def test_commands_hold_only_words_that_a_shell_leaves_alone(name: str, namespace: str, kind: Kind) -> None:
    for command in every(kind, name, namespace):
        assert all(char.isascii() and (char.isalnum() or char in " ./-:") for char in command)


@given(st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True))
def test_a_name_stands_as_it_is(name: str) -> None:
    assert is_name(name)
    assert commands.target_word("vm", name, name) == f"vm/{name}/{name}"
