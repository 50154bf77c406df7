"""Updates that are not what they seem: each is refused for its own reason, at little cost, while the honest peers go on merging."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import attrs
import libipld
import numpy as np
import pytest
import trio

from learnae.content.cids import cid_bytes, dag_cid, raw_cid
from learnae.content.roots import Root, encode_part, encode_root
from learnae.records import BLOCK_BYTES, AnnouncementKind, Block, Cid, Encoded, TensorSpec

MEBIBYTE = 1 << 20
LIMIT = 64 * 4 * 5 // 4 + 4096 + MEBIBYTE  # of the model of these tests
HONEST = 3
SECONDS = 60

Prepare = Callable[[Any], None]


def spec(name: str, *shape: int) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=shape)


def floats(count: int, number: float = 1.0) -> Encoded:
    return Encoded(np.full(count, number, "<f4").tobytes())


def offer(stranger: Any, entries: Any = None, *, announce: Any = None, **packing: Any) -> None:
    """An update that `pack` makes."""
    packed = stranger.store(stranger.pack(entries, **packing))
    stranger.say(stranger.update(packed.root, **(announce or {})))


def offer_blocks(stranger: Any, root: Cid, *blocks: Block) -> None:
    """An update that `pack` never makes, each block under its true CID."""
    stranger.world.store.put(stranger.peer, root, {block.cid: block.data for block in blocks})
    stranger.say(stranger.update(root))


def offer_meta(stranger: Any, *pages: Any, blocks: int = 1) -> None:
    """Any values as pages of a meta, with so many data blocks."""
    metas = [Block(dag_cid(data), data) for data in (page if isinstance(page, bytes) else libipld.encode_dag_cbor(page) for page in pages)]
    data = Block(raw_cid(bytes(256)), bytes(256))
    part = encode_part([data.cid] * blocks)
    top = metas[0] if len(metas) == 1 else encode_part([page.cid for page in metas])
    root = encode_root(Root(top.cid, (part.cid,)))
    offer_blocks(stranger, root.cid, root, part, data, top, *metas)


def page(stranger: Any, tensors: Any, **changes: Any) -> dict[str, Any]:
    head = {"peer": stranger.peer, "kind": 1, "number": 1, "codec": "fp32", "base": "", "parents": []}
    return {**head, "tensors": tensors, **changes}


def row(name: str = "w", shape: Any = (64,), length: int = 256, block: int = 0) -> list[Any]:
    return [name, "float32", list(shape), {}, block, 0, length]


def many(count: int) -> list[list[Any]]:
    return [row(str(number), (0,), 0) for number in range(count)]


def only_a_root(stranger: Any) -> None:
    root = encode_root(Root(dag_cid(b"nowhere"), ()))
    offer_blocks(stranger, root.cid, root)


def under_a_raw_cid(stranger: Any) -> None:
    data = encode_root(Root(dag_cid(b"nowhere"), ())).data
    offer_blocks(stranger, raw_cid(data), Block(raw_cid(data), data))


def of_version_2(stranger: Any) -> None:
    data = libipld.encode_dag_cbor({"v": 2, "meta": cid_bytes(dag_cid(b"m")), "parts": []})
    offer_blocks(stranger, dag_cid(data), Block(dag_cid(data), data))


def only_a_root_and_meta(stranger: Any) -> None:
    packed = stranger.pack([(spec("w", 64), floats(64, 7.0))])
    kept = [block for block in packed.blocks if len(block.data) != 256]
    offer_blocks(stranger, packed.root, *kept)


def larger_than_a_block(stranger: Any) -> None:
    data = bytes(BLOCK_BYTES + 1)
    offer_blocks(stranger, dag_cid(data), Block(dag_cid(data), data))


GALLERY: dict[str, tuple[Prepare, str]] = {
    # sizes
    "announced 10,000 times too large": (lambda s: offer(s, announce={"bytes": 10_000 * LIMIT}), "decode too-large: .* announced"),
    "announced as large as can be": (lambda s: offer(s, announce={"bytes": 2**63 - 1}), "decode too-large: .* announced"),
    "10,000 times too large, announced as small": (
        lambda s: offer(s, [(spec("w", 640_000), floats(640_000))]),
        "decode malformed: a place",
    ),
    "the same in many tensors": (lambda s: offer(s, [(spec(str(n), 64_000), floats(64_000, n)) for n in range(10)]), "decode too-large"),
    "a root larger than a block": (larger_than_a_block, "fetch .* nowhere"),
    # metadata
    "5,000 tensors": (lambda s: offer_meta(s, page(s, [row(), *many(5_000)])), "decode too-large: a meta"),
    "500 tensors": (lambda s: offer_meta(s, page(s, [row(), *many(500)])), "decode malformed: CBOR with more than"),
    "65 pages": (lambda s: offer_meta(s, *[page(s, [], number=n) for n in range(65)]), "decode malformed: a meta of 65 pages"),
    "pages with different heads": (lambda s: offer_meta(s, page(s, [row()]), page(s, [], number=2)), "decode malformed: pages"),
    "deep nesting": (lambda s: offer_meta(s, b"\x81" * 900 + b"\x00"), "decode malformed"),
    "claims of a whole block each": (
        lambda s: offer_meta(s, (b"\xba\x00\x03\x00\x00\x61a" * 900).ljust(60_000, b"\0")),
        "decode malf",
    ),
    "a shape beyond 64 bits": (lambda s: offer_meta(s, page(s, [row(shape=[2**62, 4])])), "decode malformed: a shape's product"),
    "a name of 100,000 characters": (lambda s: offer_meta(s, page(s, [row("w" * 100_000)])), "decode too-large: a meta"),
    "a name of 10,000 characters": (lambda s: offer_meta(s, page(s, [row("w" * 10_000)])), "decode malformed: a name"),
    "a name for the terminal": (lambda s: offer_meta(s, page(s, [row("\x1b[2J")])), "decode malformed: a name"),
    "two tensors of one name": (lambda s: offer_meta(s, page(s, [row(), row(length=0)])), "decode malformed: two tensors"),
    "no meta but a part": (lambda s: offer_meta(s, {"blocks": [cid_bytes(dag_cid(b"x"))]}), "decode malformed: a meta of 1 pages"),
    # blocks
    "one block 4,096 times": (lambda s: offer_meta(s, page(s, [row()]), blocks=4096), "decode too-large: 4096 blocks"),
    "a length beyond all blocks": (lambda s: offer_meta(s, page(s, [row(length=LIMIT)])), "decode place"),
    "blocks that never come": (only_a_root_and_meta, "fetch .* nowhere"),
    "a root whose meta never comes": (only_a_root, "fetch .* nowhere"),
    "a root under a raw name": (under_a_raw_cid, "decode cid"),
    "a root of version 2": (of_version_2, "decode version"),
    # whose it is
    "a meta that names another peer": (lambda s: offer(s, peer="0f" * 32), "decode not-the-announced"),
    "a meta that names another number": (lambda s: offer(s, number=2), "decode not-the-announced"),
    "a meta that names another kind": (lambda s: offer(s, kind=AnnouncementKind.SLICE), "decode not-the-announced"),
    # tensors
    "another layout of as many values": (lambda s: offer(s, [(spec("w", 8, 8), floats(64))]), "decode architecture"),
    "another name": (lambda s: offer(s, [(spec("v", 64), floats(64))]), "decode architecture"),
    "one tensor more": (lambda s: offer(s, [(spec("w", 64), floats(64)), (spec("v"), floats(1))]), "decode architecture"),
    "too few bytes for its shape": (lambda s: offer(s, [(spec("w", 64), floats(63))]), "decode codec"),
    "bytes of another codec": (lambda s: offer(s, codec="int8", announce={"codec": "int8"}), "decode codec"),
    "another codec than it says": (lambda s: offer(s, announce={"codec": "int8"}), "decode not-the-announced"),
    "a codec that nobody has": (lambda s: offer(s, announce={"codec": "os:system"}), "plugin unknown-codec"),
    "values that are no numbers": (lambda s: offer(s, [(spec("w", 64), floats(64, math.nan))]), "sane non-finite"),
    "values that are infinite": (lambda s: offer(s, [(spec("w", 64), floats(64, math.inf))]), "sane non-finite"),
}


@attrs.frozen
class Gallery:
    """What the honest peers said of each stranger, and how they fared."""

    honest: list[Any]
    verdicts: dict[str, list[Any]]


@pytest.fixture(scope="module")
def gallery(run_world) -> Gallery:
    async def main(world):
        strangers = {name: world.stranger() for name in GALLERY}
        honest = world.honest(HONEST)
        await trio.sleep(0.5)  # live, not backlog
        for name, (prepare, _) in GALLERY.items():
            prepare(strangers[name])
        await trio.sleep(SECONDS)
        names = {stranger.peer: name for name, stranger in strangers.items()}
        verdicts: dict[str, list[Any]] = {name: [] for name in GALLERY}
        for verdict in [v for peer in honest for report in peer.trainer.reports for v in report.verdicts if v.peer in names]:
            verdicts[names[verdict.peer]].append(verdict)
        return Gallery(honest, verdicts)

    return run_world(main, selector={"count": 6}, node={"fresh_rounds": SECONDS})


@pytest.mark.parametrize("name", GALLERY)
def test_it_is_refused_by_everyone_for_its_own_reason(gallery, name):
    verdicts = gallery.verdicts[name]
    assert len(verdicts) >= HONEST, "not everyone has tried it"
    for verdict in verdicts:
        assert re.match(GALLERY[name][1], f"{verdict.stage} {verdict.reason}"), f"{verdict.stage} {verdict.reason}"
        assert not verdict.merged and verdict.weight == 0 and len(verdict.reason) <= 500


def test_the_honest_peers_went_on_and_agree(gallery):
    models = [peer.trainer.model["w"] for peer in gallery.honest]
    assert all(np.isfinite(model).all() and model.min() >= 0 and model.max() <= HONEST - 1 for model in models)
    assert max(float(np.ptp([model[0] for model in models])), 0.0) < 0.2
    for peer in gallery.honest:
        assert len(peer.trainer.reports) >= 0.9 * SECONDS / 1.2
        assert max(report.age for report in peer.trainer.reports) <= 100 + HONEST * SECONDS


def test_none_of_them_cost_more_than_a_few_blocks(gallery):
    for peer in gallery.honest:
        assert max(report.fetched_bytes for report in peer.trainer.reports) <= 6 * LIMIT
        assert max(report.seconds for report in peer.trainer.reports) <= 1.0
