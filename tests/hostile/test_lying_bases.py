"""Updates that name a base which is none: refused before its data is fetched. One that is not to be had is nobody's lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from learnae.content.meta import Meta
from learnae.content.pack import Packed, pack
from learnae.content.unpack import Content
from learnae.errors import UnavailableError, UpdateRejectedError
from learnae.node.bases import LEAST_HELD, HeldUpdates, fetch_needed
from learnae.node.decoding import Decoder
from learnae.node.fetching import Transfer
from learnae.node.strategy_set import ConfiguredStrategy
from learnae.plugins.codec import Int8
from learnae.plugins.delta import DeltaOptions, Int4Delta
from learnae.records import AnnouncementKind, Cid, Encoded, PeerId, TensorSpec
from learnae.strategies import Codec
from learnae.testing.context import make_context, peer_named

pytestmark = pytest.mark.virtual_time

W = TensorSpec(name="w", dtype="float32", shape=(10, 20))
ALICE, MALLORY = peer_named("alice"), peer_named("mallory")
WHOLE, DELTA = Encoded(bytes(400)), Encoded(bytes(4 * 2 + 100), {"exponent": 0})


class Chained(Int4Delta):
    chained = True


def made(
    number: int,
    encoded: Encoded = WHOLE,
    *,
    peer: PeerId = ALICE,
    codec: str = "int4-delta",
    base: Cid | None = None,
    parents: Sequence[Cid] = (),
    kind: AnnouncementKind = AnnouncementKind.UPDATE,
    spec: TensorSpec = W,
) -> Packed:
    return pack([(spec, encoded)], peer=peer, kind=kind, number=number, codec=codec, base=base, parents=parents)


def content(packed: Packed) -> Content:
    return Content(packed.meta, packed.data_cids, {block.cid: block.data for block in packed.blocks})


@attrs.define
class Shelf:
    """What a fetcher finds, and of which roots it fetched the data."""

    there: dict[Cid, Packed]
    fetched: list[Cid] = attrs.field(factory=list)

    async def fetch_root(self, root: Cid, peer: PeerId, transfer: Transfer, check: Callable[[Meta], None], decode_in: Any) -> Content:
        if root not in self.there:
            raise UnavailableError("nowhere to be had", [root])
        check(self.there[root].meta)
        self.fetched.append(root)
        return content(self.there[root])


async def read(update: Packed, *others: Packed, codec: type[Codec] = Int4Delta, home: Path, held: HeldUpdates | None = None) -> Shelf:
    """Read it as a node does. Raises what the node raises."""
    shelf = Shelf({one.root: one for one in others})
    named = ConfiguredStrategy("int4-delta", "p", codec(DeltaOptions(), make_context(home)))
    decoder = await decoder_of(update, shelf, named, held if held is not None else HeldUpdates())
    decoder.decode("w")
    return shelf


async def decoder_of(update: Packed, shelf: Shelf, codec: ConfiguredStrategy[Codec], held: HeldUpdates) -> Decoder:
    before = await fetch_needed(shelf, held, update.meta, codec, {"w": W}, Transfer(10**6))  # type: ignore[arg-type]
    decoder = Decoder(content(update), codec, {"w": W}, before)
    decoder.check()
    held.add(update.root, decoder)
    return decoder


BASE = made(1)
UPDATE = made(2, DELTA, base=BASE.root)


async def test_an_honest_one_is_read(tmp_path: Path) -> None:
    assert (await read(UPDATE, BASE, home=tmp_path)).fetched == [BASE.root]


async def test_a_missing_base_is_unavailable_and_no_lie(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError):
        await read(UPDATE, home=tmp_path)


OTHERS = {
    "of another peer": made(1, peer=MALLORY),
    "by another codec": made(1, codec="bf16"),
    "that is a slice": made(1, kind=AnnouncementKind.SLICE),
    "that is newer": made(3),
    "of the same number": made(2),
    "with a chain and no base": made(1, parents=[BASE.root]),
    "that has one itself": made(1, DELTA, base=BASE.root),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=list(OTHERS))
async def test_a_base_that_may_be_none_is_refused_before_its_data_comes(other: Packed, tmp_path: Path) -> None:
    shelf = Shelf({})
    with pytest.raises(UpdateRejectedError) as caught:
        shelf = await read(made(2, DELTA, base=other.root), other, BASE, home=tmp_path)
    assert caught.value.reason == "base"
    assert shelf.fetched == []


BROKEN = {
    "of another shape": made(1, Encoded(bytes(420)), spec=attrs.evolve(W, shape=(21, 10))),
    "with too few bytes": made(1, Encoded(bytes(398))),
    "with another tensor": made(1, spec=attrs.evolve(W, name="v")),
}


@pytest.mark.parametrize("other", BROKEN.values(), ids=list(BROKEN))
async def test_a_base_is_checked_as_an_update_is_and_not_held_if_it_is_broken(other: Packed, tmp_path: Path) -> None:
    held = HeldUpdates()
    with pytest.raises(UpdateRejectedError):
        await read(made(2, DELTA, base=other.root), other, home=tmp_path, held=held)
    assert other.root not in held


async def test_a_held_base_of_another_peer_is_refused_too(tmp_path: Path) -> None:
    held = HeldUpdates()
    await read(UPDATE, BASE, home=tmp_path, held=held)
    assert BASE.root in held
    with pytest.raises(UpdateRejectedError):
        await read(made(2, DELTA, peer=MALLORY, base=BASE.root), home=tmp_path, held=held)


async def test_a_codec_without_bases_gets_none(tmp_path: Path) -> None:
    with pytest.raises(UpdateRejectedError, match="has no bases"):
        await read(UPDATE, BASE, codec=Int8, home=tmp_path)


async def test_a_chain_is_for_codecs_with_chains_alone(tmp_path: Path) -> None:
    with pytest.raises(UpdateRejectedError, match="has no chains"):
        await read(made(3, DELTA, base=BASE.root, parents=[UPDATE.root]), BASE, UPDATE, home=tmp_path)


async def test_a_chain_is_read_from_its_base_and_what_is_held_is_not_fetched_again(tmp_path: Path) -> None:
    third = made(3, DELTA, base=BASE.root, parents=[UPDATE.root])
    fourth = made(4, DELTA, base=BASE.root, parents=[UPDATE.root, third.root])
    held = HeldUpdates()
    assert (await read(third, BASE, UPDATE, codec=Chained, home=tmp_path, held=held)).fetched == [BASE.root, UPDATE.root]
    assert (await read(fourth, BASE, UPDATE, third, codec=Chained, home=tmp_path, held=held)).fetched == []


STRANGE = made(3, DELTA, base=BASE.root)
CHAINS = {
    "that goes back": [made(5, DELTA, base=BASE.root).root, UPDATE.root],
    "that leaves one out": [UPDATE.root, STRANGE.root],
    "that names one twice": [UPDATE.root, UPDATE.root],
    "that names its base": [BASE.root],
}


@pytest.mark.parametrize("parents", CHAINS.values(), ids=list(CHAINS))
async def test_a_wrong_chain_is_refused(parents: list[Cid], tmp_path: Path) -> None:
    update = made(6, DELTA, base=BASE.root, parents=parents)
    with pytest.raises(UpdateRejectedError):
        await read(update, BASE, UPDATE, STRANGE, made(5, DELTA, base=BASE.root), codec=Chained, home=tmp_path)


async def test_a_base_that_is_not_finite_makes_an_update_that_is_not(tmp_path: Path) -> None:
    halves = np.full(200, 0x7FC0, "<u2")  # NaN
    spoilt = made(1, Encoded(halves.tobytes()))
    named = ConfiguredStrategy("int4-delta", "p", Int4Delta(DeltaOptions(), make_context(tmp_path)))
    update = made(2, DELTA, base=spoilt.root)
    decoder = await decoder_of(update, Shelf({spoilt.root: spoilt}), named, HeldUpdates())
    assert not np.isfinite(decoder.decode("w").array).any()
    assert "w" not in decoder.sound


async def test_what_is_held_is_bounded_whoever_sends_it(tmp_path: Path) -> None:
    held = HeldUpdates(3000)
    for number in range(1, 20, 2):
        base = made(number, Encoded(np.full(200, number, "<u2").tobytes()))
        await read(made(number + 1, DELTA, base=base.root), base, home=tmp_path, held=held)
        assert 0 < held.held_bytes <= 3000 < LEAST_HELD
