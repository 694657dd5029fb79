"""Names: every documented form, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import UsageError
from broker.refs import (
    Target,
    cluster_label,
    context_labels,
    dotted_reading,
    host_word,
    is_name,
    parse_login,
    parse_namespace,
    parse_port,
    parse_target,
    parse_user,
)

LABEL = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
NAME = st.lists(LABEL, min_size=1, max_size=3).map(".".join)


@pytest.mark.parametrize(
    ("text", "kind", "name", "namespace", "label"),
    [
        ("web", None, "web", None, None),
        ("WEB.", None, "web", None, None),
        ("web.team", None, "web.team", None, None),
        ("vm/web", "vm", "web", None, None),
        ("vms/web/shop", "vm", "web", "shop", None),
        ("VirtualMachine/Web/Shop", "vm", "web", "shop", None),
        ("virtualmachines/web/shop", "vm", "web", "shop", None),
        ("vmi/a.b.c/shop", "vmi", "a.b.c", "shop", None),
        ("vm/web./shop", "vm", "web", "shop", None),
        ("vm/web.", "vm", "web", None, None),
        ("VMIS/web", "vmi", "web", None, None),
        ("virtualmachineinstance/web", "vmi", "web", None, None),
        ("virtualmachineinstances/web/shop", "vmi", "web", "shop", None),
        ("web.shop.vm", None, "web", "shop", None),
        ("WEB.shop.VM.", None, "web", "shop", None),
        ("a.b.shop.vm", None, "a.b", "shop", None),
        ("web.shop.vm.prod", None, "web", "shop", "prod"),
        ("x.vm.vm.vm", None, "x.vm", "vm", None),
        ("vm.web.shop", "vm", "web", "shop", None),
        ("vmi.a.b.shop", "vmi", "a.b", "shop", None),
        ("vm/vm.web.shop", "vm", "vm.web.shop", None, None),
    ],
)
def test_each_documented_form_is_read(text: str, kind: str | None, name: str, namespace: str | None, label: str | None) -> None:
    target = parse_target(text)
    assert (target.kind, target.name, target.namespace, target.label) == (kind, name, namespace, label)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "-web",
        "-oProxyCommand=x",
        "vm/-web",
        "vm/",
        "vm//shop",
        "vm/web/",
        "vm/web/shop/x",
        "pod/web",
        "/web",
        "we b",
        "web\n",
        "web\t",
        "web\x00",
        "web%h",
        "$(id)",
        "web;id",
        "web`id`",
        "web|x",
        "vm/web/Sh_op",
        "wéb",
        "ＷＥＢ",
        "web..vm",
        "web..shop.vm",
        "a" * 254,
        "vm/" + "a" * 64 + "/" + "b" * 64,
        "x" * 5000,
        "web.shop.vm.pr_od",
    ],
)
def test_anything_else_is_a_usage_error_that_shows_no_raw_control(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_target(text)
    assert caught.value.exit_status == 2
    assert caught.value.message.isprintable()
    assert caught.value.message.isascii()
    assert len(caught.value.message) < 200


@given(NAME, LABEL, st.sampled_from(["vm", "vmi"]))
def test_property_paths_round_trip(name: str, namespace: str, kind: str) -> None:
    assert str(parse_target(f"{kind}/{name}/{namespace}")) == f"{kind}/{name}/{namespace}"


@given(NAME, LABEL, st.booleans())
def test_property_aliases_round_trip_in_any_case(name: str, namespace: str, has_dot: bool) -> None:
    text = f"{name}.{namespace}.vm".upper() + ("." if has_dot else "")
    assert parse_target(text) == Target(kind=None, name=name, namespace=namespace)


@given(st.text(max_size=300))
def test_property_any_text_is_a_target_or_a_usage_error(text: str) -> None:
    try:
        target = parse_target(text)
    except UsageError as error:
        assert error.message.isascii() and error.message.isprintable()
    else:
        assert is_name(target.name)
        assert target.namespace is None or parse_namespace(target.namespace) == target.namespace


def test_a_user_stands_before_the_last_at_sign() -> None:
    login = parse_login("ops@vm/web/shop")
    assert (login.user, login.target.name) == ("ops", "web")
    assert parse_login("web").user is None


@pytest.mark.parametrize("text", ["@web", "ops@", "-l@web", "a b@web", "a@b@web", "é@web", "u" * 33 + "@web", "a;id@web"])
def test_a_bad_user_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_login(text)


@pytest.mark.parametrize("text", ["root", "cloud-user", "_svc", "a.b", "u" * 32, "0day"])
def test_a_user_that_ssh_may_be_given_is_kept(text: str) -> None:
    assert parse_user(text) == text


@pytest.mark.parametrize("text", ["0", "65536", "-1", "+22", "22 ", " 22", "0x16", "٢٢", "", "9" * 30, "2_2", "ssh"])
def test_a_bad_port_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_port(text)


def test_ports_reach_from_one_to_the_end() -> None:
    assert (parse_port("1"), parse_port("22"), parse_port("65535")) == (1, 22, 65535)


def test_a_dotted_name_has_an_older_reading() -> None:
    assert dotted_reading(parse_target("vm/web.team")) == Target(kind="vm", name="web", namespace="team")
    assert dotted_reading(parse_target("vm/web")) is None


def test_context_labels_are_dns_labels_of_their_own() -> None:
    contexts = ["shop/api-example-test:6443/Some Body", "dev/titan", "dev-titan", "vm", "é", "A" * 200, "A" * 200 + "b"]
    labels = context_labels(contexts)
    assert len(set(labels.values())) == len(contexts)
    assert labels["shop/api-example-test:6443/Some Body"] == "shop-api-example-test-6443-some-body"
    assert "vm" not in labels.values()
    assert all(parse_namespace(label) == label for label in labels.values())


@given(st.lists(st.text(min_size=1, max_size=80), unique=True, max_size=6))
def test_property_labels_are_unique_and_do_not_depend_on_order(contexts: list[str]) -> None:
    labels = context_labels(contexts)
    assert len(set(labels.values())) == len(contexts)
    assert context_labels(contexts[::-1]) == labels
    assert all(parse_namespace(label) == label and label != "vm" for label in labels.values())


def test_a_chosen_label_wins_and_is_not_given_twice() -> None:
    labels = context_labels(["dev/titan", "titan"], {"dev/titan": "titan"})
    assert labels["dev/titan"] == "titan"
    assert labels["titan"] != "titan"


def test_clusters_of_one_context_name_have_labels_apart() -> None:
    first, second = cluster_label("https://a.example:6443", "lab"), cluster_label("https://b.example:6443", "lab")
    assert first != second
    assert parse_namespace(first) == first
    assert parse_namespace(cluster_label("https://a", "A" * 500))
    assert parse_target(host_word("web", "shop", first)).label == first
