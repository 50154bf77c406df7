"""Updates as other peers publish them, and a storage that holds them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
import numpy as np
import pytest
import structlog

from learnae.content.pack import Packed, pack
from learnae.errors import UnavailableError
from learnae.node.inbox import InboxEntry
from learnae.node.runtime import Outages
from learnae.node.services import Services
from learnae.node.strategy_set import ConfiguredStrategy
from learnae.plugins.codec import Fp32
from learnae.records import Announcement, AnnouncementKind, Block, Cid, Encoded, PeerId, TensorSpec, Update
from learnae.strategies import Storage
from learnae.testing.context import make_context, peer_named
from tests.support.records import an_update


class Shelf(Storage):
    """A storage that is a dictionary; `calls` counts what was asked of it."""

    def __init__(self, context: Any, blocks: Iterable[Block] = ()) -> None:
        super().__init__(None, context)
        self.blocks = {block.cid: block for block in blocks}
        self.held: dict[Cid, Sequence[Block]] = {}
        self.asked: list[tuple[Sequence[Cid], Sequence[str]]] = []

    async def put(self, root, blocks) -> None:
        self.held[root] = list(blocks)
        self.blocks |= {block.cid: block for block in self.held[root]}

    async def get(self, cids, deliver, *, hints=()) -> None:
        self.asked.append((cids, hints))
        for cid in [cid for cid in cids if cid in self.blocks]:
            deliver(self.blocks[cid])
        if missing := [cid for cid in cids if cid not in self.blocks]:
            raise UnavailableError("not on the shelf", missing)

    async def drop(self, root) -> None:
        self.held.pop(root, None)

    async def roots(self):
        return list(self.held)


@attrs.frozen
class Publication:
    """An update of some peer: what it announced, and the blocks."""

    announcement: Announcement
    packed: Packed

    @property
    def entry(self) -> InboxEntry:
        return InboxEntry(self.announcement, hashlib.sha256(self.packed.root.encode()).digest(), b"", 0.0, 1, False)

    @property
    def update(self) -> Update:
        assert isinstance(self.announcement.body, Update)
        return self.announcement.body


def specs_of(model: dict[str, np.ndarray]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name=name, dtype=str(array.dtype), shape=array.shape) for name, array in model.items())


@pytest.fixture
def publication(tmp_path) -> Callable[..., Publication]:
    """Makes an update of a model: `signer` is who announces, `peer` and `number` what the meta says."""
    codec = Fp32(None, make_context(tmp_path))

    def encoded(spec: TensorSpec, array: np.ndarray) -> Encoded:
        return codec.encode(spec.name, array, None, np.random.default_rng(0)) if spec.floating else Encoded(array.astype("<i8").tobytes())

    def make(model, peer: str = "alice", number: int = 1, *, signer: str | None = None, announced: int | None = None, **changes):
        entries = [(spec, encoded(spec, array)) for spec, array in zip(specs_of(model), model.values(), strict=True)]
        packed = pack(entries, peer=peer_named(peer), kind=AnnouncementKind.UPDATE, number=number, codec="fp32")
        body = an_update(packed.root, bytes=packed.bytes, lineage=b"lineage1", architecture=b"shapes 1", age=7, codec="fp32")
        announced_by = PeerId(peer_named(signer or peer))
        return Publication(
            Announcement(swarm=b"s" * 16, peer=announced_by, number=announced or number, body=attrs.evolve(body, **changes)), packed
        )

    return make


@pytest.fixture
def shelf(tmp_path) -> Callable[..., Shelf]:
    return lambda *blocks: Shelf(make_context(tmp_path), blocks)


@attrs.define
class Bench:
    """Services that run in a nursery of the test."""

    services: Services
    named: list[ConfiguredStrategy[Any]]

    @property
    def outages(self) -> dict[str, str]:
        return self.services.outages.broken


@pytest.fixture
def bench() -> Callable[..., Any]:
    """Opens storages or announcers; call it with the nursery of the test."""

    async def open_all(nursery, *strategies, writes: Sequence[bool] = ()) -> Bench:
        services = Services(Outages(structlog.get_logger()))
        named = [
            ConfiguredStrategy(f"s{index}", f"plugin-{index}", strategy, writes[index] if writes else True, f"storage s{index}")
            for index, strategy in enumerate(strategies)
        ]
        await services.open(named, nursery)
        return Bench(services, named)

    return open_all
