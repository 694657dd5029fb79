"""What removal takes away, what it leaves, and that it says so."""

from __future__ import annotations

from pathlib import Path

from broker.actions.locate_ssh_config import locate
from broker.actions.remove_ssh_config import take_out
from tests.broker.actions.ssh_home import COMPANY, install


def test_later_edits_of_the_user_stay_and_the_copy_of_the_first_day_too(home: Path) -> None:
    file = home / "config"
    file.write_bytes(COMPANY)
    install(file)
    file.write_bytes(b"# above\n" + file.read_bytes() + b"\nHost new\n")
    done = take_out(locate(file))
    assert file.read_bytes() == b"# above\n" + COMPANY + b"\nHost new\n"
    assert (home / ".config.before-vmbroker").read_bytes() == COMPANY
    assert any("before us" in reason for reason in done.kept)


def test_removal_says_what_it_did_and_what_stays(home: Path) -> None:
    file = home / "config"
    assert not take_out(locate(file)).has_file
    file.write_bytes(COMPANY)
    done = take_out(locate(file))
    assert (done.has_file, done.lines, done.is_changed) == (True, 0, False)
    install(file)
    file.write_bytes(file.read_bytes().replace(b'conf"\n', b'conf" ~/.ssh/other\n'))
    done = take_out(locate(file))
    assert done.lines == 1
    assert any(reason.startswith(f"{file}:1 still names our file") for reason in done.kept)
    file.write_text(f"Host a\n\nInclude {home}/vmbroker.conf\n")
    assert take_out(locate(file)).lines == 1
    assert file.read_text() == "Host a\n\n"
