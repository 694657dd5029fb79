"""Lines of a watch cut out of bytes, however they come."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import Failed
from broker.kube.eventflow import Lines


@given(
    lines=st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"")), max_size=20), cuts=st.lists(st.integers(0, 400))
)
def test_lines_come_out_as_they_went_in_wherever_they_are_cut(lines: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(line + b"\n" for line in lines)
    edges = sorted({min(cut, len(whole)) for cut in cuts} | {0, len(whole)})
    reader = Lines()
    found = [line for start, end in pairwise(edges) for line in reader.feed(whole[start:end])]
    assert found == [line for line in lines if line.strip()]


@pytest.mark.parametrize("chunks", [[b"x" * 6, b"x" * 6], [b"x" * 11 + b"\n"], [b"a\n" + b"x" * 11]])
def test_a_line_past_the_limit_is_an_error_before_it_is_whole(chunks: list[bytes]) -> None:
    reader = Lines(limit_bytes=10)
    with pytest.raises(Failed) as caught:
        for chunk in chunks:
            reader.feed(chunk)
    assert caught.value.code == "line-too-long"
