"""What a stranger's CBOR may hold is seen before anything is made of it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import cbor2
import libipld
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae.content.cids import cid_bytes, raw_cid
from learnae.content.scan import Form, look_over
from learnae.errors import UpdateRejectedError

ANY = Form(items=1 << 20, containers=1 << 20, depth=64, links=True)

scalars = st.integers(-(2**64), 2**64 - 1) | st.text(max_size=300) | st.binary(max_size=300) | st.floats() | st.booleans() | st.none()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(max_size=40) | st.integers(0, 300), inner, max_size=30)
)


def counted(value: Any) -> tuple[int, int, int]:
    """Items, containers and depth, as a reader of the value counts them."""
    inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else None
    if inner is None:
        return 1, 0, 0
    each = [counted(item) for item in inner]
    return 1 + sum(one[0] for one in each), 1 + sum(one[1] for one in each), 1 + max((one[2] for one in each), default=0)


class Watched(bytes):
    """Bytes that count how many of them were looked at one by one."""

    looks = 0

    def __getitem__(self, key: Any) -> Any:
        self.looks += 1
        return super().__getitem__(key)


@given(values)
def test_what_fits_exactly_passes_and_one_less_of_anything_refuses_it(value: Any) -> None:
    data = cbor2.dumps(value, canonical=True)
    items, containers, depth = counted(value)
    look_over(data, Form(items, containers, depth))
    for less in (Form(items - 1, containers, depth), Form(items, containers - 1, depth), Form(items, containers, depth - 1)):
        if min(less.items, less.containers, less.depth) >= 0 or less.items < items:
            with pytest.raises(UpdateRejectedError, match="malformed"):
                look_over(data, less)


@given(values, st.data())
def test_what_is_cut_off_or_longer_than_one_item_is_refused(value: Any, chance: st.DataObject) -> None:
    data = cbor2.dumps(value)
    cut = data[: chance.draw(st.integers(0, len(data) - 1))]
    for wrong in (cut, data + b"\0"):
        with pytest.raises(UpdateRejectedError, match="malformed"):
            look_over(wrong, ANY)


@given(st.binary(max_size=200))
def test_any_bytes_pass_or_are_refused(data: bytes) -> None:
    with suppress(UpdateRejectedError):
        look_over(data, ANY)


def test_a_link_is_one_item_and_another_tag_is_none_that_is_known() -> None:
    links = libipld.encode_dag_cbor([cid_bytes(raw_cid(b"")), 1])
    look_over(links, Form(items=3, containers=1, depth=1, links=True))
    for data, form in ((links, Form(3, 1, 1)), (b"\xc2\x41\x00", ANY), (b"\xd8\x2a\x41\x00", ANY), (b"\xd8\x2a" * 1000, ANY)):
        with pytest.raises(UpdateRejectedError, match="a tag"):
            look_over(data, form)


@pytest.mark.parametrize("item", [b"\x80", b"\xa0", b"\x00", b"\x60"], ids=["lists", "mappings", "numbers", "texts"])
def test_a_flood_of_the_smallest_items_is_looked_at_no_further_than_the_form_allows(item: bytes) -> None:
    data = Watched(b"\x9a\x00\x07\x00\x00" + item * 0x70000)
    with pytest.raises(UpdateRejectedError, match="malformed"):
        look_over(data, Form(items=100, containers=50, depth=4))
    assert data.looks <= 210


@pytest.mark.parametrize(
    "data", [b"\x9f\xff", b"\xbf\xff", b"\x7f\xff", b"\x5f\xff", b"\x9b" + b"\xff" * 8, b"\xbb" + b"\xff" * 8, b"\x1c"]
)
def test_lengths_that_are_not_told_or_cannot_be_are_refused(data: bytes) -> None:
    with pytest.raises(UpdateRejectedError, match="malformed"):
        look_over(data, ANY)
