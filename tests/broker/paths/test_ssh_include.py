"""One Include line goes in before everything else, and comes out again without a trace."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.errors import Refused
from broker.paths.ssh_include import include_line, install, names_path, own_name, remove
from broker.paths.ssh_reading import decode, read_lines

OWN = "/home/a/.ssh/vmbroker.conf"
LINES = st.sampled_from(
    [
        b"Host *",
        b"\tHost=a b",
        b"  ProxyJump bastion",
        b'Match exec "true"',
        b"Match final all",
        b"Include other",
        b'Include "/x/vmbroker.conf"',
        b"# comment",
        b"",
        b"HostName %h.corp",
        b"CanonicalizeHostname always",
        b"\xff\x00\x0b\x0c\x1c\x85",
        b"Host a\\",
    ]
)
FILES = st.one_of(
    st.binary(max_size=60),
    st.builds(
        lambda lines, end, last: end.join(lines) + (end if last else b""),
        st.lists(LINES, max_size=8),
        st.sampled_from([b"\n", b"\r\n"]),
        st.booleans(),
    ),
)


@given(data=FILES, makes=st.booleans(), doubles=st.booleans())
@example(data=b"", makes=False, doubles=True)
@example(data=b"Host a", makes=False, doubles=True)
@example(data=b"\r\n\r\nHost a\r\n", makes=False, doubles=True)
def test_what_goes_in_comes_out_byte_for_byte(data: bytes, makes: bool, doubles: bool) -> None:
    new = install(data, OWN, doubles_percent=doubles, makes=makes)
    removal = remove(new)
    assert (removal.data, removal.count, removal.was_made) == (data, 1, makes)
    assert new.endswith(data)


@given(data=FILES)
def test_the_second_time_changes_nothing(data: bytes) -> None:
    once = install(data, OWN, doubles_percent=True)
    assert install(once, OWN, doubles_percent=True) == once


@given(data=FILES)
def test_our_include_is_the_first_directive(data: bytes) -> None:
    first = read_lines(decode(install(data, OWN, doubles_percent=True)))[0]
    assert (first.keyword, first.words) == ("include", (OWN,))


@given(data=FILES, top=LINES, bottom=LINES)
def test_what_a_user_writes_since_stays(data: bytes, top: bytes, bottom: bytes) -> None:
    new = install(data, OWN, doubles_percent=True)
    edited = top + b"\n" + new + b"\n" + bottom
    assert remove(edited).data == top + b"\n" + data + b"\n" + bottom


def test_an_include_that_slid_down_is_moved_up() -> None:
    new = install(b"Host a\n", OWN, doubles_percent=True)
    slid = b"Host b\n" + new
    assert install(slid, OWN, doubles_percent=True) == install(b"Host b\nHost a\n", OWN, doubles_percent=True)


def test_comments_may_stand_above() -> None:
    new = b"# my file\n\n" + install(b"Host a\n", OWN, doubles_percent=True)
    assert install(new, OWN, doubles_percent=True) == new


def test_two_copies_become_one() -> None:
    new = install(b"Host a\n", OWN, doubles_percent=True)
    assert install(new + new, OWN, doubles_percent=True) == install(b"Host a\nHost a\n", OWN, doubles_percent=True)


def test_crlf_files_get_crlf_lines() -> None:
    new = install(b"Host a\r\n", OWN, doubles_percent=True)
    assert new.count(b"\r\n") == new.count(b"\n") == 3


def test_a_file_that_we_made_is_known_as_such_after_a_move() -> None:
    new = install(b"", OWN, doubles_percent=True, makes=True)
    again = install(new, "/elsewhere/vmbroker.conf", doubles_percent=True)
    assert remove(again).was_made


def test_a_marked_line_that_is_no_include_of_ours_stays() -> None:
    mark = install(b"", OWN, doubles_percent=True).split(b"\n")[0]
    assert remove(mark + b"\nHost a\n").data == b"Host a\n"
    assert remove(mark + b"\nInclude other\n").data == b"Include other\n"


def test_an_include_that_the_user_wrote_stays_where_our_own_path_is_not_asked_for() -> None:
    data = f'Include "{OWN}"\nHost a\n'.encode()
    assert remove(data).data == data
    assert remove(data, own="/other/vmbroker.conf").data == data


@pytest.mark.parametrize(
    "line",
    [f'Include "{OWN}"', f"include={OWN}", "Include vmbroker.conf", "Include ~/.ssh/vmbroker.conf", f"\tInclude {OWN}\r"],
)
def test_an_include_of_our_file_alone_goes_without_its_mark(line: str) -> None:
    removal = remove(f"Host a\n{line}\nHost b\n".encode(), own=OWN, home="/home/a")
    assert (removal.data, removal.count, removal.left) == (b"Host a\nHost b\n", 1, ())


def test_a_blank_line_between_mark_and_include_hides_neither() -> None:
    new = install(b"Host a\n", OWN, doubles_percent=True)
    mark, _, rest = new.partition(b"\n")
    assert remove(mark + b"\n\n" + rest, own=OWN).data == b"\nHost a\n"


def test_an_include_with_a_second_word_stays_and_is_named() -> None:
    new = install(b"Host a\n", OWN, doubles_percent=True).replace(b'conf"\n', b'conf" other\n')
    removal = remove(b"# top\n" + new, own=OWN)
    assert removal.left == (2,)
    assert removal.data.split(b"\n")[1] == f'Include "{OWN}" other'.encode()
    assert remove(removal.data, own=OWN).count == 0


@pytest.mark.parametrize(
    "path", ["/a\nb/vmbroker.conf", "/a\rb/vmbroker.conf", "/a\0/vmbroker.conf", "/${HOME}/vmbroker.conf", "a/vmbroker.conf"]
)
def test_a_path_that_no_include_can_carry_is_refused(path: str) -> None:
    with pytest.raises(Refused):
        include_line(path, doubles_percent=True)


@given(name=st.text(alphabet="ab *?[]\\\"'%$#~=", min_size=1, max_size=8), doubles=st.booleans())
def test_a_written_path_is_read_back(name: str, doubles: bool) -> None:
    path = f"/h/{name}/vmbroker.conf"
    (line,) = read_lines(include_line(path, doubles_percent=doubles))
    assert len(line.words) == 1
    assert names_path(line.words[0], path)


def test_our_file_stands_beside_the_users_under_a_name_of_its_own() -> None:
    assert own_name("config") == "vmbroker.conf"
    assert own_name("work") == "work.vmbroker.conf"
