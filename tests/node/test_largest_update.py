"""What `peer.max_update_bytes` says, and what it means where nothing is said."""

from __future__ import annotations

from pathlib import Path

from learnae.config.load import load_document
from learnae.node.build import largest_update
from learnae.plugins.manager import PluginManager
from learnae.records import MEGABYTE, TensorSpec

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
