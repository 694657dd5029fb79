"""Foreign text: what may stand on a screen."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.clean import LIMIT, Clean, clean, clean_lines, escaped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        (None, ""),
        ("a\nb\r\nc", "a b c"),
        ("a\x1b[31mred\x1b]8;;http://x\x07", "a[31mred]8;;http://x"),
        ("left\u202eright", "leftright"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("nul\x00del\x7fc1\x9b", "nuldelc1"),
        ("[bold]markup[/]", "[bold]markup[/]"),
        ("日本 é", "日本 é"),
    ],
)
def test_controls_go_and_text_stays(text: object, shown: str) -> None:
    assert clean(text) == shown
    assert isinstance(clean(text), Clean)


def test_long_text_is_cut_and_says_so() -> None:
    assert len(clean("x" * 10_000_000)) == LIMIT
    assert clean("x" * 300).endswith("…")
    assert clean("x" * LIMIT) == "x" * LIMIT


@given(st.text(max_size=1000), st.integers(min_value=1, max_value=300))
def test_property_the_result_is_bounded_and_shows_itself(text: str, limit: int) -> None:
    shown = clean(text, limit)
    assert len(shown) <= limit
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    assert clean(shown, limit) == shown


@given(st.text(max_size=400))
def test_property_escapes_are_ascii_and_bounded(text: str) -> None:
    shown = escaped(text)
    assert shown.isascii()
    assert shown.isprintable()
    assert len(shown) <= 70


def test_lines_are_kept_apart_and_counted() -> None:
    assert clean_lines("one\n\n two\x1b\nthree", lines=2) == ("one", "two")
