"""What `peer.max_update_bytes` says, and what it means where nothing is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from learnae.config.load import load_document
from learnae.content.meta import ByteRange, Limits, Meta, TensorEntry, decode_meta, encode_meta
from learnae.errors import UpdateRejectedError
from learnae.node.build import largest_meta, largest_update, most_tensors
from learnae.plugins.manager import PluginManager
from learnae.records import BLOCK_BYTES, MEGABYTE, AnnouncementKind, PeerId, TensorSpec

SMALL = (TensorSpec(name="w", dtype="float32", shape=(1_000,)),)
HUGE = (TensorSpec(name="w", dtype="bfloat16", shape=(4_000_000_000,)),)  # 4 G parameters: more than 4 GiB in any codec


def bound(text: int | None) -> int | None:
    peer = {} if text is None else {"max_update_bytes": text}
    return load_document(
        {"peer": peer}, folder=Path.cwd(), options_of=PluginManager.discover().options_of(Path.cwd())
    ).peer.max_update_bytes


def test_without_it_a_model_of_any_size_can_be_shared() -> None:
    assert largest_update(HUGE, bound(None)) > 4 * 4_000_000_000


def test_it_bounds_what_is_fetched_also_where_the_own_model_would_allow_more() -> None:
    assert largest_update(HUGE, bound(5 * MEGABYTE)) == 5 * MEGABYTE


def test_it_never_allows_more_than_an_update_of_the_own_model_can_take() -> None:
    assert largest_update(SMALL, bound(5_000 * MEGABYTE)) == largest_update(SMALL, None) < 2 * MEGABYTE


MANY = tuple(TensorSpec(name=f"encoder.layers.{number}.attention.weight", dtype="float32", shape=(1024, 1024)) for number in range(5_000))


def meta_of(specs: tuple[TensorSpec, ...], note: str) -> tuple[bytes, ...]:
    entries = tuple(TensorEntry(spec, {"exponent": -3, "scale": note}, ByteRange(0, 0, 0)) for spec in specs)
    return encode_meta(Meta(peer=PeerId("0f" * 32), kind=AnnouncementKind.UPDATE, number=1, codec="int8", tensors=entries), BLOCK_BYTES)


def test_the_meta_of_the_own_model_is_read_whatever_a_codec_notes_within_reason() -> None:
    limits = Limits(1 << 40, most_tensors(MANY), meta_bytes=largest_meta(MANY))
    assert len(decode_meta(meta_of(MANY, "x" * 200), limits).tensors) == len(MANY)


def test_of_a_meta_no_more_is_decoded_than_the_own_model_accounts_for() -> None:
    limits = Limits(1 << 40, most_tensors(SMALL), meta_bytes=largest_meta(SMALL))
    assert decode_meta(meta_of(SMALL, "x"), limits)
    with pytest.raises(UpdateRejectedError, match="too-large"):
        decode_meta(meta_of(MANY, "x"), limits)
    with pytest.raises(UpdateRejectedError, match="malformed"):
        decode_meta(meta_of(MANY[:500], "x"), limits)
