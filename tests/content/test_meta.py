from __future__ import annotations

from typing import Any

import cbor2
import libipld
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae.content.cids import dag_cid, raw_cid
from learnae.content.meta import ByteRange, Limits, Meta, TensorEntry, decode_meta, encode_meta
from learnae.errors import PluginError, UpdateRejectedError
from learnae.records import BLOCK_BYTES, AnnouncementKind, PeerId, TensorSpec
from learnae.trainer.shared import FLOATING, WHOLE

PEER = PeerId("0f" * 32)
LIMITS = Limits(bytes=1 << 40)

counts = st.integers(0, 1 << 40)
words = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=20)
values = st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | words
notes = st.dictionaries(words, values, max_size=4)
dtypes = st.sampled_from(["float32", "bfloat16", "int64"])
specs = st.builds(TensorSpec, name=words, dtype=dtypes, shape=st.lists(st.integers(0, 99), max_size=4).map(tuple))
entries = st.builds(TensorEntry, specs, notes, st.builds(ByteRange, counts, counts, counts))
metas = st.builds(
    Meta,
    peer=st.binary(min_size=32, max_size=32).map(lambda key: PeerId(key.hex())),
    kind=st.sampled_from(AnnouncementKind),
    number=st.integers(0, 2**63 - 1),
    codec=words,
    tensors=st.lists(entries, max_size=6, unique_by=lambda entry: entry.spec.name).map(tuple),
    base=st.none() | st.binary(max_size=3).map(dag_cid),
    parents=st.lists(st.binary(max_size=3).map(dag_cid), max_size=3).map(tuple),
)


def entry(name: str = "w", length: int = 4, **notes: Any) -> TensorEntry:
    return TensorEntry(TensorSpec(name=name, dtype="float32", shape=(1,)), notes, ByteRange(0, 0, length))


def meta(*tensors: TensorEntry, **changes: Any) -> Meta:
    return Meta(**{"peer": PEER, "kind": AnnouncementKind.UPDATE, "number": 7, "codec": "int8", "tensors": tensors, **changes})


def page_with(**changes: Any) -> bytes:
    return libipld.encode_dag_cbor({**libipld.decode_dag_cbor(encode_meta(meta(entry()), BLOCK_BYTES)[0]), **changes})


@given(metas)
def test_a_meta_survives_the_way_to_bytes_and_back(meta: Meta) -> None:
    assert decode_meta(encode_meta(meta, BLOCK_BYTES), LIMITS) == meta


@given(metas, st.integers(600, 1200))
def test_pages_of_any_size_hold_the_same_meta(meta: Meta, page_bytes: int) -> None:
    pages = encode_meta(meta, page_bytes)
    assert decode_meta(pages, LIMITS) == meta
    assert len(pages) == 1 or all(len(page) <= page_bytes or len(cbor2.loads(page)["tensors"]) == 1 for page in pages)


@given(metas)
def test_a_meta_holds_no_byte_string_and_no_link(meta: Meta) -> None:
    def walk(value: object) -> None:
        assert isinstance(value, (dict, list, str, int, float)), value
        for item in (*value.keys(), *value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(item)

    for page in encode_meta(meta, BLOCK_BYTES):
        walk(cbor2.loads(page))


def test_ten_thousand_tensors_take_a_few_full_pages() -> None:
    tensors = [entry(f"model.layers.{index}.self_attention.projection.weight", scale=0.001, chunks=17) for index in range(10_000)]
    pages = encode_meta(meta(*tensors), BLOCK_BYTES)
    assert len(pages) == 2
    assert all(BLOCK_BYTES - 200 < len(page) <= BLOCK_BYTES for page in pages[:-1])
    assert decode_meta(pages, LIMITS).tensors == tuple(tensors)


@pytest.mark.parametrize("count", [23, 24, 255, 256, 257])
def test_a_page_never_exceeds_its_bound_however_long_the_list(count: int) -> None:
    tensors = [entry(f"{index:04}") for index in range(count)]
    whole = len(encode_meta(meta(*tensors), BLOCK_BYTES)[0])
    assert all(len(page) <= size for size in range(whole - 8, whole + 9) for page in encode_meta(meta(*tensors), size))


def test_numbers_of_numpy_are_noted_as_plain_ones() -> None:
    noted = meta(entry(scale=np.float32(0.5), chunks=np.int64(3), signed=True))
    (decoded,) = decode_meta(encode_meta(noted, BLOCK_BYTES), LIMITS).tensors
    assert decoded.meta == {"scale": 0.5, "chunks": 3, "signed": 1}


@pytest.mark.parametrize("note", [float("nan"), float("inf"), np.float32("-inf"), b"bytes", None, [1]])
def test_a_codec_that_notes_what_is_no_finite_number_or_text_is_named(note: object) -> None:
    with pytest.raises(PluginError, match=r"'int8' failed while encoding tensor 'w': its meta 'scale'"):
        encode_meta(meta(entry(scale=note)), BLOCK_BYTES)


@pytest.mark.parametrize(
    "bad",
    [
        meta(entry("a\nb")),
        meta(entry("a"), entry("a")),
        meta(entry("a" * 513)),
        meta(number=-1),
        meta(peer="0F" * 32),
        meta(base="text"),
        meta(entry(**{f"note{index}": 0 for index in range(17)})),
    ],
)
def test_what_others_would_refuse_is_an_error_on_the_publishing_side(bad: Meta) -> None:
    with pytest.raises(ValueError, match="others would refuse this meta"):
        encode_meta(bad, BLOCK_BYTES)


@pytest.mark.parametrize(
    "changes",
    [
        {"peer": "0f" * 31},
        {"peer": 5},
        {"kind": 0},
        {"kind": 6},
        {"kind": True},
        {"number": 1.0},
        {"number": 2**63},
        {"codec": "\x1b[31mred"},
        {"codec": "x" * 257},
        {"base": None},
        {"base": "Qm"},
        {"parents": "bafy"},
        {"parents": [raw_cid(b"")] * 65},
        {"parents": [5]},
        {"tensors": {}},
        {"tensors": ["w"]},
        {"tensors": [["w", "float32", [1], {}, 0, 0]]},
        {"tensors": [[b"w", "float32", [1], {}, 0, 0, 4]]},
        {"tensors": [["w", "float32", 1, {}, 0, 0, 4]]},
        {"tensors": [["w", "float32", [-1], {}, 0, 0, 4]]},
        {"tensors": [["w", "float32", [1] * 17, {}, 0, 0, 4]]},
        {"tensors": [["w", "float32", [1 << 40, 1 << 40], {}, 0, 0, 4]]},
        {"tensors": [["w", "float32", [1], [], 0, 0, 4]]},
        {"tensors": [["w", "float32", [1], {"a": None}, 0, 0, 4]]},
        {"tensors": [["w", "float32", [1], {"a": b"\xff"}, 0, 0, 4]]},
        {"tensors": [["w", "float32", [1], {"a": []}, 0, 0, 4]]},
        {"tensors": [["w", "float32", [1], {"a": "x" * 257}, 0, 0, 4]]},
        {"tensors": [["w", "float32", [1], {}, 0, 0, -4]]},
        {"tensors": [["w", "float32", [1], {}, 0, 0, 4]] * 2},
        {"more": 1},
    ],
)
def test_every_field_is_checked(changes: dict[str, Any]) -> None:
    with pytest.raises(UpdateRejectedError):
        decode_meta([page_with(**changes)], LIMITS)


@pytest.mark.parametrize(
    "dtype", ["S400000000", "U9", "object", "O", "V8", "f", "<f4", "float128", "complex64", "float32,int8", "M8[s]", "", " float32"]
)
def test_no_dtype_but_those_that_a_swarm_shares_is_believed(dtype: str) -> None:
    with pytest.raises(UpdateRejectedError, match="a dtype"):
        decode_meta([page_with(tensors=[["w", dtype, [1], {}, 0, 0, 4]])], LIMITS)


@pytest.mark.parametrize("dtype", sorted(str(dtype).removeprefix("torch.") for dtype in FLOATING | WHOLE))
def test_every_dtype_that_a_trainer_shares_is_one_that_others_take(dtype: str) -> None:
    (decoded,) = decode_meta([page_with(tensors=[["w", dtype, [1], {}, 0, 0, 4]])], LIMITS).tensors
    assert decoded.spec.dtype == dtype


def test_limits_bound_tensors_over_all_pages() -> None:
    pages = encode_meta(meta(*(entry(str(index)) for index in range(50))), 400)
    assert len(pages) > 2
    assert len(decode_meta(pages, Limits(1000, tensors=50)).tensors) == 50
    with pytest.raises(UpdateRejectedError, match="malformed"):
        decode_meta(pages, Limits(1000, tensors=49))


def test_no_place_lies_beyond_the_expected_size() -> None:
    pages = encode_meta(meta(entry(length=1001)), BLOCK_BYTES)
    with pytest.raises(UpdateRejectedError, match="a place"):
        decode_meta(pages, Limits(bytes=1000))


def test_pages_of_two_metas_do_not_mix() -> None:
    first, second = (encode_meta(meta(entry(name), number=number), BLOCK_BYTES)[0] for name, number in (("a", 1), ("b", 2)))
    with pytest.raises(UpdateRejectedError, match="different heads"):
        decode_meta([first, second], LIMITS)


@given(st.data())
def test_a_changed_byte_gives_another_valid_meta_or_a_rejection(data: st.DataObject) -> None:
    good = bytearray(encode_meta(meta(entry(scale=0.5, kind="x", chunks=2), base=dag_cid(b"")), BLOCK_BYTES)[0])
    good[data.draw(st.integers(0, len(good) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        decoded = decode_meta([bytes(good)], LIMITS)
    except UpdateRejectedError:
        return
    assert encode_meta(decoded, BLOCK_BYTES) == (bytes(good),)
