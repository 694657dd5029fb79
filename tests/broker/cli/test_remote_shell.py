"""The word for rsync -e: rsync's own splitting gives our argv back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from broker.cli.remote_shell import split, word
from broker.cli.ssh_options import leading_options, taken
from broker.errors import UsageError
from tests.conftest import need, vmbroker

RECORD = "import json, sys; open({!r}, 'w').write(json.dumps(sys.argv[1:])); sys.exit(3)"


@pytest.mark.parametrize(
    "argument",
    [
        "plain",
        "two words",
        "it's",
        'say "so"',
        "''",
        '"',
        "'",
        " lead",
        "tail ",
        "back\\slash",
        "tab\there",
        "$HOME `id` *",
        "é資",
        "a'b c\"d",
    ],
)
def test_rsync_splits_the_word_into_the_same_arguments(tmp_path: Path, argument: str) -> None:
    rsync = need("rsync", "rsync")
    record = tmp_path / "argv.json"
    script = tmp_path / 'a program\'s "dir"'
    script.mkdir()
    program = script / "record.py"
    program.write_text(RECORD.format(str(record)))
    remote_shell = word([sys.executable, str(program), "--context", argument, "ssh-for-rsync"])
    subprocess.run(
        [rsync, "-e", remote_shell, "--", str(program), "fedora@web.shop.vm:/tmp/"],
        capture_output=True,
        timeout=30,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    got = json.loads(record.read_text())
    assert got[:6] == ["--context", argument, "ssh-for-rsync", "-l", "fedora", "web.shop.vm"]
    assert got[6] == "rsync"


def test_the_command_prints_one_line_that_carries_every_flag(tmp_path: Path) -> None:
    done = vmbroker("--kubeconfig", "a b", "--context", "it's", "-n", "shop", "--as", "eve", "--as-group", "g", "rsync-e")
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)
    for part in (
        " -P -m broker.main ",
        "a b'",
        " --context 'it''s' ",
        " --namespace shop ",
        " --as eve ",
        " --as-group g ",
        " ssh-for-rsync",
    ):
        assert part in done.stdout.replace("\n", "")


def test_ssh_argv_is_divided_as_ssh_divides_it() -> None:
    assert split(["-l", "fedora", "-p22", "-vo", "A=b", "web.shop.vm", "rsync", "--server", "-x"]) == (
        ("-l", "fedora", "-p22", "-vo", "A=b"),
        "web.shop.vm",
        ("rsync", "--server", "-x"),
    )
    assert split(["-N", "--", "web"]) == (("-N",), "web", ())
    assert leading_options(["-L", "8080:localhost:80", "-N"]) == (("-L", "8080:localhost:80", "-N"), ())
    assert leading_options(["uptime", "-p"]) == ((), ("uptime", "-p"))
    with pytest.raises(UsageError):
        split(["-l", "fedora"])


def test_one_option_is_taken_out_with_its_value() -> None:
    assert taken(["-v", "-l", "fedora", "-o", "-l", "-p22", "-leve"], "l") == (("-v", "-o", "-l", "-p22"), "fedora")
    assert taken(["-p22", "-A"], "p") == (("-A",), "22")
    assert taken(["-vo", "-p"], "p") == (("-vo", "-p"), None)
