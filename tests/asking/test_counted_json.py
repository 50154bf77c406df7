"""What a server says in JSON is counted before anything is made of it."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae.http import BadResponseError, load_json

MEBIBYTE = 1 << 20
values = st.recursive(
    st.integers() | st.text("abc") | st.booleans(),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text("abc"), inner, max_size=9),
)


def items(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + len(value) + sum(map(items, value.values()))
    return 1 + len(value) + sum(map(items, value)) if isinstance(value, list) else 0


@given(values)
def test_what_has_no_more_items_than_expected_comes_out_as_it_was(value: Any) -> None:
    assert load_json(json.dumps(value).encode(), items(value)) == value


@pytest.mark.parametrize("item", [b"[]", b"{}", b"0", b'"x"', b'{"a":1}'], ids=["lists", "mappings", "numbers", "texts", "entries"])
def test_of_eight_mebibytes_of_small_items_nothing_is_made(item: bytes) -> None:
    """They became 224 MiB."""
    data = b'{"hashes":[' + (item + b",") * (8 * MEBIBYTE // (len(item) + 1)) + b"0]}"
    tracemalloc.start()
    try:
        with pytest.raises(BadResponseError, match="items"):
            load_json(data, 20_000)
        assert tracemalloc.get_traced_memory()[1] < MEBIBYTE
    finally:
        tracemalloc.stop()
