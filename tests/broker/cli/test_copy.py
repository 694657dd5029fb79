"""Operands of scp and sftp, and one argv for several VMs."""

from __future__ import annotations

import pytest

from broker.cli.copy import read_operand, shared_options
from broker.errors import UsageError
from broker.paths.openssh import ClientFiles, Origin
from broker.refs import Target


@pytest.mark.parametrize(
    ("word", "user", "target", "path"),
    [
        ("web:/tmp", None, Target(kind=None, name="web", namespace=None), "/tmp"),
        ("fedora@web.shop.vm:", "fedora", Target(kind=None, name="web", namespace="shop"), ""),
        ("vm/web/shop:a b:c", None, Target(kind="vm", name="web", namespace="shop"), "a b:c"),
        ("eve@VMI/web/shop:~/x", "eve", Target(kind="vmi", name="web", namespace="shop"), "~/x"),
    ],
)
def test_remote_operands(word: str, user: str | None, target: Target, path: str) -> None:
    operand = read_operand(word, is_sftp=False)
    assert operand.login is not None
    assert (operand.login.user, operand.login.target, operand.path) == (user, target, path)


@pytest.mark.parametrize("word", ["file", "./a:b", "/tmp/a:b", "dir/a:b", ":odd", "vm/file"])
def test_local_operands(word: str) -> None:
    operand = read_operand(word, is_sftp=False)
    assert (operand.login, operand.path) == (None, word)


def test_a_local_name_that_begins_with_a_dash_is_no_option() -> None:
    assert read_operand("-oProxyCommand=x", is_sftp=False).path == "./-oProxyCommand=x"


@pytest.mark.parametrize("word", ["web;id:/x", "-oA=b:/x", "a b@web:/x", "we%b:/x"])
def test_an_unfit_target_is_refused(word: str) -> None:
    with pytest.raises(UsageError):
        read_operand(word, is_sftp=False)


def test_sftp_takes_a_target_without_path() -> None:
    operand = read_operand("web.shop.vm", is_sftp=True)
    assert operand.login is not None
    assert operand.path is None


def test_options_for_two_guests_name_the_host_to_one_proxy_command() -> None:
    origin = Origin(program=("py", "-m", "x"), kubeconfigs=("/a b%",), context="it's")
    options = shared_options(origin, ClientFiles())
    assert options[1] == "ProxyCommand=py -m x '--kubeconfig=/a b%%' '--context=it'\\''s' proxy '%n' %p"
    assert not any("HostKeyAlias" in option or "StrictHostKey" in option for option in options)
