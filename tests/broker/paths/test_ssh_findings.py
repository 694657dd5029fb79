"""What is found in a user's lines, and where."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from broker.paths.ssh_findings import Entry, Finding, aliases_named, find, winner
from broker.paths.ssh_reading import placed, read_lines

OWN = "Host *.vm vm/*\n  HostName %h\n  ProxyCommand ours proxy '%n' %p\nMatch all\n"
NAMES = ("sample.sample.vm", "vm/sample/sample")


def entries(before: str, *, after: str = "", installed: bool = True) -> list[Entry]:
    """A user's file with our Include where the two parts meet."""
    found: list[Entry] = []
    for text, is_own, file in ((before, False, "f"), (OWN if installed else "", True, "own"), (after, False, "g")):
        if is_own and installed:
            line = read_lines("Include own")[0]
            found.append(Entry(file="f", line=line, includes_own=True))
        for each in placed(read_lines(text)):
            conditions = (each.condition,) if each.condition.kind else ()
            found.append(Entry(file=file, line=each.line, conditions=conditions, is_own=is_own))
    return found


def lost(entries_: list[Entry]) -> Callable[[str], bool | None]:
    return lambda name: winner(entries_, name) is not None


def look(before: str, **more: object) -> dict[str, Finding]:
    found = entries(before, **more)  # type: ignore[arg-type]  # the test's own keys
    return {each.code: each for each in find(found, NAMES, lost=lost(found))}


def test_a_clean_file_has_no_finding() -> None:
    assert look("", after="Host *\n  User me\n  ForwardAgent no\n") == {}


@pytest.mark.parametrize("line", ["ProxyJump bastion", "ProxyCommand nc %h %p"])
def test_an_earlier_proxy_defeats_us_and_is_named_with_its_line(line: str) -> None:
    (found,) = [each for each in look(f"# c\nHost *\n  {line}\n").values() if each.code == "earlier-proxy"]
    assert (found.severity, found.place) == ("defeats", "f:3")
    assert line.split()[1] in found.what


@pytest.mark.parametrize(
    "before",
    [
        "Host *.example.com\n  ProxyJump bastion\n",
        "Host * !*.vm !vm/*\n  ProxyJump bastion\n",
        "Match originalhost *.example.com\n  ProxyJump b\n",
        "Host *\n  ProxyJump none\n",
        "Host *.vm\n  ProxyCommand vmbroker proxy %n %p\n",
    ],
)
def test_an_earlier_proxy_for_other_hosts_does_not(before: str) -> None:
    assert "earlier-proxy" not in look(before)


def test_a_condition_that_only_ssh_can_decide_is_left_to_ssh() -> None:
    found = entries('Match exec "test -f /x"\n  ProxyJump bastion\n')
    for says, expected in ((True, ["earlier-proxy"]), (False, []), (None, ["earlier-proxy"])):
        codes = [each.code for each in find(found, NAMES, lost=lambda _, says=says: says)]  # type: ignore[misc]
        assert [code for code in codes if code == "earlier-proxy"] == expected


def test_a_later_proxy_is_harmless() -> None:
    assert look("", after="Host *\n  ProxyJump bastion\n") == {}


def test_without_our_file_the_same_line_is_a_note() -> None:
    assert look("Host *\n  ProxyJump bastion\n", installed=False)["earlier-proxy"].severity == "note"


@pytest.mark.parametrize(
    ("line", "code", "before", "after"),
    [
        ("HostName %h.corp", "hostname-rewritten", "danger", "note"),
        ("HostKeyAlias all", "hostkeyalias-shared", "danger", "danger"),
        ("ControlPath ~/.ssh/%r@%h:%p", "controlpath-long", "danger", None),
        ("CanonicalizeHostname always", "canonicalized", "danger", None),
        ("ProxyUseFdpass yes", "fdpass", "defeats", None),
        ("StrictHostKeyChecking no", "host-keys-off", "danger", "danger"),
        ("UserKnownHostsFile /dev/null", "host-keys-off", "danger", "danger"),
    ],
)
def test_what_renames_or_weakens_counts_by_where_it_stands(line: str, code: str, before: str, after: str | None) -> None:
    ahead, behind = look(f"Host *\n  {line}\n"), look("", after=f"Host *\n  {line}\n")
    assert ahead[code].severity == before
    assert (behind[code].severity if code in behind else None) == after


@pytest.mark.parametrize(
    "line", ["HostName %h", "ControlPath ~/.ssh/%C", "CanonicalizeHostname no", "StrictHostKeyChecking accept-new"]
)
def test_harmless_values_are_no_finding(line: str) -> None:
    assert set(look(f"Host *\n  {line}\n")) <= {"include-not-first"}


def test_host_keys_off_for_other_hosts_is_a_note() -> None:
    assert look("", after="Host localhost\n  StrictHostKeyChecking no\n")["host-keys-off"].severity == "note"


def test_case_c010_gives_three_findings_with_their_lines() -> None:
    found = look(
        "Host *.lab\n"
        "  ProxyCommand virtctl port-forward --stdio=true vmi/$(echo %h | cut -d. -f1).$(echo %h | cut -d. -f2) %p\n"
        "  UserKnownHostsFile /dev/null\n  StrictHostKeyChecking no\n",
        installed=False,
    )
    assert {code: (each.place, each.severity) for code, each in found.items()} == {
        "dotted-virtctl-target": ("f:2", "danger"),
        "shell-on-host-name": ("f:2", "danger"),
        "host-keys-off": ("f:3", "danger"),
    }
    assert all("NAME.NAMESPACE.vm" in found[code].instead for code in ("dotted-virtctl-target", "shell-on-host-name"))


def test_an_include_inside_a_block_is_conditional() -> None:
    host = read_lines("Host foo\n  Include own\n")
    block = next(iter(placed(host))).condition
    found = [Entry(file="f", line=host[0]), Entry(file="f", line=host[1], conditions=(block,), includes_own=True)]
    (first, *_) = find(found, NAMES, lost=lambda _: None)
    assert (first.code, first.severity, first.place) == ("include-conditional", "defeats", "f:2")


def test_foreign_text_is_made_safe() -> None:
    found = look("Host *\n  ProxyJump b\x1b[2J\u202eastion" + "x" * 500 + "\n")
    assert all(
        char.isprintable()
        for each in found.values()
        for text in (each.what, each.why, each.instead, each.place)
        for char in text
    )


def test_aliases_in_the_users_own_host_lines_are_tried_too() -> None:
    found = entries("Host web.prod.vm *.db.vm.east example.com !no.no.vm vm/a/b\n")
    assert aliases_named(found) == ("sample.db.vm.east", "vm/a/b", "web.prod.vm")
