"""What completion offers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.cli.candidates import asked_options, candidates
from broker.cli.completion import bash_words
from broker.cli.snapshot import Names

NAMES = Names(
    namespace="shop",
    contexts=("prod", "test"),
    vms=(("shop", "db", "vm"), ("shop", "web", "vm"), ("team-a", "web.internal", "vm"), ("team-a", "solo", "vmi")),
)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["v"], ["version", "vms"]),
        (["__"], []),
        (["vms", "-n", ""], ["shop", "team-a"]),
        (["--context", "p"], ["prod"]),
        (["vms", "-o", ""], ["json", "name", "table", "wide", "yaml"]),
        (["show", "-o", "j"], ["json"]),
        (["vms", "--sel"], ["--selector"]),
        (["--unw"], []),
        (["config", ""], ["check", "path", "show"]),
        (["completion", "f"], ["fish"]),
        (["lab", "u"], ["up"]),
        (["lab", "f"], ["fault"]),
        (["ssh-config", ""], ["check", "install", "print", "remove"]),
        (["wait", "web", "--for", "a"], ["address", "agent"]),
        (["wait", "we"], ["web", "web.internal.team-a.vm"]),
        (["doctor", "vmi/"], ["vmi/solo/team-a"]),
        (["forward", "d"], ["db"]),
        (["ssh", "we"], ["web", "web.internal.team-a.vm"]),
        (["ssh", "fedora@w"], ["fedora@web", "fedora@web.internal.team-a.vm"]),
        (["ssh", "web."], ["web.internal.team-a.vm", "web.shop.vm"]),
        (["ssh", "-n", "team-a", ""], ["solo", "web.internal"]),
        (["show", "vmi/"], ["vmi/solo/team-a"]),
        (["scp", "a", "web."], ["web.internal.team-a.vm:", "web.shop.vm:"]),
        (["scp", ""], []),
        (["ssh", "web", "--", ""], []),
        (["--set", "api."], ["api.connect_s=", "api.page_size=", "api.timeout_s="]),
        (["rsync-e", ""], []),
    ],
)
def test_words_that_fit(words: list[str], found: list[str]) -> None:
    assert candidates(words, NAMES) == found


def test_global_flags_so_far_decide_which_names_are_known() -> None:
    assert asked_options(["--context=c", "ssh", "--as", "eve", "-n", "x", "--lab", "--", "--as", "no"]) == {
        "context": ["c"],
        "as_user": ["eve"],
        "namespace": ["x"],
        "lab": [],
    }


def test_bash_keeps_what_stands_before_its_last_word_break() -> None:
    breaks = " \t\n\"'@><=;|&(:"
    assert bash_words("vmbroker ssh fedora@we", breaks) == (["ssh", "fedora@we"], "fedora@")
    assert bash_words("vmbroker scp 'a b' web.shop.vm:", breaks) == (["scp", "a b", "web.shop.vm:"], "web.shop.vm:")
    assert bash_words("vmbroker ", breaks) == ([""], "")
    assert bash_words("vmbroker ssh 'open", breaks)[0] == ["ssh", "'open"]


@given(st.lists(st.text(max_size=10)))
def test_property_any_words_are_answered_with_words_that_continue_the_last(words: list[str]) -> None:
    current = words[-1] if words else ""
    assert all(word.startswith(current) for word in candidates(words, NAMES))
