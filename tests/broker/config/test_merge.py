"""Which layer wins, what is locked, which pattern holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.config.document import Assignment, Document, read_document
from broker.config.merge import from_environment, from_flags, merge
from broker.config.settings import LAYERS, Layer, Origin
from broker.errors import Refused, SettingsError, UsageError


def _said(layer: Layer, value: int) -> Document:
    context = "c" if layer == "context" else None
    origin = Origin(layer=layer, place=f"{layer}:1")
    return Document(assignments=(Assignment(key="api.page_size", value=value, origin=origin, context=context),))


@given(st.dictionaries(st.sampled_from(LAYERS[1:]), st.integers(1, 10_000)), st.randoms())
def test_property_the_strongest_layer_wins_in_whatever_order_they_are_read(said: dict[Layer, int], random: object) -> None:
    documents = [_said(layer, value) for layer, value in said.items()]
    random.shuffle(documents)  # type: ignore[attr-defined]
    settings = merge(documents, context="c")
    strongest = max(said, key=LAYERS.index, default=None)
    assert settings.api.page_size == (said[strongest] if strongest else 500)
    assert settings.origin("api.page_size").layer == (strongest or "built-in")


@given(st.dictionaries(st.sampled_from(LAYERS[1:]), st.integers(1, 10_000)))
def test_property_another_context_changes_nothing(said: dict[Layer, int]) -> None:
    documents = [_said(layer, value) for layer, value in said.items()]
    without = [_said(layer, value) for layer, value in said.items() if layer != "context"]
    assert merge(documents, context="other").api == merge(without, context="c").api


def test_a_locked_key_keeps_the_systems_value_with_a_warning_and_a_flag_is_refused() -> None:
    system = read_document('locked = ["stream.limit_bytes"]\n[stream]\nlimit_bytes = "16 MiB"\n', path="/etc/s", layer="system")
    user = read_document('[stream]\nlimit_bytes = "1 GiB"\n', path="/home/u", layer="user")
    variable = from_environment({"VMBROKER_STREAM_LIMIT_BYTES": "1 GiB"})
    settings = merge([system, user, variable], context=None)
    assert settings.stream.limit_bytes == 16 * 1024 * 1024
    assert settings.origin("stream.limit_bytes").place == "/etc/s:3"
    assert settings.warnings == (
        "/home/u:2: stream.limit_bytes is locked by /etc/s:1 and ignored",
        "VMBROKER_STREAM_LIMIT_BYTES: stream.limit_bytes is locked by /etc/s:1 and ignored",
    )
    with pytest.raises(Refused) as caught:
        merge([system, from_flags(["stream.limit_bytes=1 GiB"])], context=None)
    assert (caught.value.code, caught.value.exit_status) == ("setting-locked", 7)


def test_the_first_pattern_of_the_strongest_file_holds_for_each_field_by_itself() -> None:
    system = read_document('[ssh.vms."*.shop"]\nuser = "system"\nport = 2022\n', path="/etc/s", layer="system")
    user = read_document(
        '[ssh]\nuser = "anyone"\n[ssh.vms."web*.shop"]\nuser = "first"\n[ssh.vms."*.shop"]\nuser = "second"\n',
        path="/u",
        layer="user",
    )
    settings = merge([system, user], context=None)
    web = settings.guest_rule("web-1", "shop")
    assert (web.user, str(web.user_origin), web.port) == ("first", "user: /u:4", 2022)
    assert settings.guest_rule("db", "shop").user == "second"
    elsewhere = settings.guest_rule("db", "team")
    assert (elsewhere.user, elsewhere.port, elsewhere.port_origin) == ("anyone", None, None)
    assert settings.guest_rule("web.internal", "shop").user == "first"


def test_the_environment_knows_each_key_and_no_color_is_the_weaker_word() -> None:
    settings = merge(
        [from_environment({"VMBROKER_API_PAGE_SIZE": "250", "NO_COLOR": "1", "VMBROKER_SSH_USER": ""})], context=None
    )
    assert (settings.api.page_size, settings.output.color, settings.ssh.user) == (250, "never", None)
    both = merge([from_environment({"NO_COLOR": "1", "VMBROKER_OUTPUT_COLOR": "always"})], context=None)
    assert both.output.color == "always"
    (problem,) = from_environment({"VMBROKER_API_PAGESIZE": "1"}).problems
    assert problem.next_step == "did you mean 'VMBROKER_API_PAGE_SIZE'?"


@pytest.mark.parametrize(
    ("word", "code"), [("api.page_size", "usage"), ("api.pagesize=1", "unknown-key"), ("api.page_size=0", "bad-value")]
)
def test_a_wrong_set_flag_is_a_usage_error(word: str, code: str) -> None:
    with pytest.raises(UsageError) as caught:
        from_flags([word])
    assert caught.value.code == code


def test_values_that_contradict_each_other_are_named_with_their_origins() -> None:
    with pytest.raises(SettingsError) as caught:
        merge([from_flags(["stream.limit_bytes=1 MiB"])], context=None)
    assert caught.value.code == "settings-contradict"
    assert caught.value.cause == "built-in; flag: --set"


def test_one_alias_cannot_stand_for_two_contexts() -> None:
    text = '[contexts.a]\nalias = "x"\n[contexts.b]\nalias = "x"\n'
    with pytest.raises(SettingsError) as caught:
        merge([read_document(text, path="/u", layer="user")], context=None)
    assert caught.value.code == "alias-twice"
