"""The words of `forward`: what each form means, and what is said of those that mean nothing."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import UsageError
from broker.paths.forward_spec import Bound, endpoint, parse_address, parse_forward, parse_forwards, refuse_twins

PORTS = st.integers(1, 65_535)
ADDRESSES = st.one_of(
    st.just(None), st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str), st.sampled_from(["localhost", "a-b.example"])
)


@pytest.mark.parametrize(
    ("word", "protocol", "address", "local", "remote"),
    [
        ("22", "tcp", "127.0.0.1", 22, 22),
        ("8080:22", "tcp", "127.0.0.1", 8080, 22),
        ("0:22", "tcp", "127.0.0.1", 0, 22),
        ("udp/53", "udp", "127.0.0.1", 53, 53),
        ("UDP/5353:53", "udp", "127.0.0.1", 5353, 53),
        ("tcp/8080:22", "tcp", "127.0.0.1", 8080, 22),
        ("localhost:80", "tcp", "localhost", 80, 80),
        ("0.0.0.0:8080:80", "tcp", "0.0.0.0", 8080, 80),
        ("[::1]:80", "tcp", "::1", 80, 80),
        ("udp/[fe80::1%eth0]:0:53", "udp", "fe80::1%eth0", 0, 53),
        ("65535:1", "tcp", "127.0.0.1", 65535, 1),
    ],
)
def test_every_documented_form(word: str, protocol: str, address: str, local: int, remote: int) -> None:
    found = parse_forward(word)
    assert (found.protocol, found.address, found.local_port, found.remote_port) == (protocol, address, local, remote)
    assert found.word == word


@pytest.mark.parametrize(
    ("word", "step"),
    [
        (":22", "0:22"),
        ("udp/:53", "0:53"),
        (":8080:80", "0.0.0.0:8080:80"),
        ("*:8080:80", "0.0.0.0:8080:80"),
        ("::1:8080:80", "[::1]:8080:80"),
        ("[::1]", "[::1]:8080:80"),
        ("[::1]8080:80", "[::1]:8080:80"),
        ("[web]:80", "[::1]:8080:80"),
        ("[::1%a b]:80", "[::1]:8080:80"),
        ("8080:", "1 to 65535"),
        ("0", "1 to 65535"),
        ("8080:0", "1 to 65535"),
        ("65536:22", "0 to 65535"),
        ("٢٢", "1 to 65535"),
        ("+22", "1 to 65535"),
        ("sctp/80", "udp/"),
        ("udp/udp/53", "1 to 65535"),
        ("8080:22:80", "[LOCAL:]REMOTE"),
        ("1.2.3:80:80", "[LOCAL:]REMOTE"),
        ("-h:80", "[LOCAL:]REMOTE"),
        ("", "1 to 65535"),
        ("9" * 400, "[LOCAL:]REMOTE"),
        ("\x1b[31m:80", "[LOCAL:]REMOTE"),
    ],
)
def test_a_wrong_word_is_shown_escaped_with_the_form_to_write(word: str, step: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_forward(word)
    assert caught.value.next_step is not None
    assert step in caught.value.next_step
    assert "\x1b" not in caught.value.message
    assert len(caught.value.message) < 250


@given(
    address=ADDRESSES, local=st.one_of(st.none(), st.integers(0, 65_535)), remote=PORTS, protocol=st.sampled_from(["", "udp/"])
)
def test_property_what_is_written_is_read(address: str | None, local: int | None, remote: int, protocol: str) -> None:
    shown = "" if address is None else f"[{address}]:" if ":" in address else f"{address}:"
    found = parse_forward(protocol + shown + ("" if local is None else f"{local}:") + str(remote))
    assert found.address == (address or "127.0.0.1")
    assert (found.local_port, found.remote_port) == (remote if local is None else local, remote)
    assert found.protocol == (protocol[:-1] or "tcp")


@given(word=st.text(max_size=40))
def test_property_any_text_is_read_or_refused(word: str) -> None:
    try:
        found = parse_forward(word)
    except UsageError as exc:
        assert exc.next_step
        assert exc.message.isprintable()
    else:
        assert 1 <= found.remote_port <= 65_535
        assert found.address.isascii()
        assert found.address.isprintable()


def test_the_address_of_the_flag_holds_where_a_word_has_none() -> None:
    found = parse_forwards(["8080:80", "127.0.0.1:8081:80"], address="[::1]")
    assert [each.address for each in found] == ["::1", "127.0.0.1"]


@pytest.mark.parametrize("text", ["[1.2.3.4]", "1.2.3", "a b", "", "-x", "::1%", "[::1", "host:1"])
def test_a_wrong_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_address(text)


@pytest.mark.parametrize(
    "words",
    [
        ("8080:80", "8080:81"),
        ("8080:80", "0.0.0.0:8080:81"),
        ("[::]:8080:80", "[::1]:8080:80"),
        ("[::1]:80", "[0:0:0:0:0:0:0:1]:80"),
        ("udp/53", "udp/53"),
        ("Localhost:80", "localhost:80"),
    ],
)
def test_one_local_port_twice_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        parse_forwards(words)
    assert caught.value.code == "port-twice"
    assert all(repr(word) in caught.value.message for word in words)


@pytest.mark.parametrize(
    "words",
    [("8080:80", "udp/8080:80"), ("0:80", "0:80"), ("127.0.0.1:80", "[::1]:80"), ("127.0.0.1:80", "127.0.0.2:80")],
)
def test_ports_that_do_not_collide_are_taken(words: tuple[str, ...]) -> None:
    assert len(parse_forwards(words)) == 2


def test_names_collide_once_they_are_addresses() -> None:
    found = [Bound(word=word, protocol="tcp", address="127.0.0.1", local_port=80) for word in ("localhost:80", "80")]
    with pytest.raises(UsageError):
        refuse_twins(found)


def test_too_many_words_are_refused() -> None:
    with pytest.raises(UsageError):
        parse_forwards([f"{port}:22" for port in range(1000, 1300)])


@given(address=st.ip_addresses(), port=PORTS)
def test_property_an_endpoint_can_be_read_back(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> None:
    found = parse_forward(f"{endpoint(str(address), port)}")
    assert (found.address, found.local_port) == (str(address), port)
