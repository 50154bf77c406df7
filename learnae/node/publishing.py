"""Publishes snapshots: it makes blocks, a number and an announcement of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import numpy as np

from learnae.content.pack import Packed, pack
from learnae.content.unpack import Content
from learnae.errors import PluginError
from learnae.link.messages import Snapshot
from learnae.node.bases import OwnBase, needs
from learnae.node.decoding import Decoder
from learnae.node.history import PublishedUpdate
from learnae.node.lineage import found
from learnae.node.sending import Sender
from learnae.node.tensors import NOTE, encode_raw, travels_raw
from learnae.records import AnnouncementKind, Encoded, TensorSpec, Update
from learnae.sketches import Sketcher


@attrs.define(kw_only=True)
class Publisher(Sender):
    """Stores own updates, and announces them.

    `sketch` is that of the model that was published last: what a selector measures those of others against.
    """

    specs: tuple[TensorSpec, ...]
    architecture: bytes
    sketch: bytes = b""
    base: OwnBase = attrs.field(factory=OwnBase)
    _sketcher: Sketcher = attrs.field(default=attrs.Factory(lambda self: Sketcher.for_specs(self.specs), takes_self=True))
    _rng: np.random.Generator = attrs.field(default=attrs.Factory(lambda self: self.runtime.rng("encode"), takes_self=True))

    async def publish(self, snapshot: Snapshot, lineage: bytes, *, provisional: bool) -> PublishedUpdate | None:
        """Store and announce a snapshot. With an empty lineage this founds one. Returns None if nothing was published, and logs it once.

        Raises UnavailableError.
        """
        while not self.receiver.numbers.elsewhere:
            number = await self._next_number(AnnouncementKind.UPDATE)
            stored = await self._store(snapshot, number, lineage, provisional=provisional)
            if stored is None:
                return None
            published, update, packed = stored
            if await self._send(number, update):
                self.base.published(packed.root, self._decoder(packed), packed.bytes)
                return published
            await self._take_back(published)  # the number is in the blocks: all is made anew
        return None

    async def _store(
        self, snapshot: Snapshot, number: int, lineage: bytes, *, provisional: bool
    ) -> tuple[PublishedUpdate, Update, Packed] | None:
        packed = await self.runtime.in_encoding_thread(self._pack, snapshot, number)
        if packed is None:
            return None
        self.sketch = await self.runtime.in_encoding_thread(self._sketcher.sketch, snapshot.tensors)
        update = self._update(snapshot, packed, lineage, provisional=provisional)
        published = PublishedUpdate(
            number,
            update.root,
            update.lineage,
            update.age,
            update.samples,
            update.bytes,
            update.codec,
            update.architecture,
            needs=" ".join(needs(packed.meta)),
        )
        self.putting = {packed.root}
        try:
            if not await self.put(packed.root, packed.blocks, self.strategies.storages):
                return None
            await self.runtime.in_thread(self.history.add_published, published)
        finally:
            self.putting = ()
        return published, update, packed

    async def _take_back(self, published: PublishedUpdate) -> None:
        await self.runtime.in_thread(self.history.drop_published, published.number)
        await self.drop(published.root)

    def _update(self, snapshot: Snapshot, packed: Packed, lineage: bytes, *, provisional: bool) -> Update:
        progress = snapshot.progress
        return Update(
            root=packed.root,
            bytes=packed.bytes,
            lineage=lineage or found(packed.root),
            architecture=self.architecture,
            age=progress.age,
            provisional=provisional,
            own_steps=progress.steps,
            samples=progress.samples,
            step_seconds=progress.step_seconds,
            codec=self.strategies.codec.name,
            base=packed.meta.base,
            loss=progress.loss if progress.loss is not None and np.isfinite(progress.loss) else None,
            sketch=self.sketch,
        )

    def _pack(self, snapshot: Snapshot, number: int) -> Packed | None:
        entries, roots = self._encoded(snapshot, self.base.before), self.base.roots
        try:
            packed = pack(
                entries,
                peer=self.identity.peer,
                kind=AnnouncementKind.UPDATE,
                number=number,
                codec=self.strategies.codec.name,
                base=roots[0] if roots else None,
                parents=roots[1:],
                encryption=self.swarm.blocks,
            )
        except (PluginError, ValueError) as error:
            self.runtime.outages.failed("publishing", str(error))
            return None
        self.runtime.outages.works("publishing")
        return packed

    def _decoder(self, packed: Packed) -> Decoder:
        """As readers decode it."""
        content = Content(packed.meta, packed.data_cids, {block.cid: block.data for block in packed.blocks}, self.swarm.blocks)
        return Decoder(content, self.strategies.codec, {spec.name: spec for spec in self.specs}, self.base.before)

    def _encoded(self, snapshot: Snapshot, before: Decoder | None = None) -> Iterator[tuple[TensorSpec, Encoded]]:
        codec = self.strategies.codec
        for spec in self.specs:
            tensor = snapshot.tensors[spec.name]
            if travels_raw(spec, codec.strategy.small, lossless=codec.strategy.lossless):
                yield spec, encode_raw(spec, tensor)
                continue
            base = before.decoded(spec.name) if before is not None else None
            with codec.calling(f"encoding by codec {codec.name!r}", ours=()):
                encoded = _checked(codec.strategy.encode(spec.name, tensor, base, self._rng))
                if NOTE in encoded.meta:
                    raise ValueError(f"the meta of {spec.name!r} has the name {NOTE!r}, which is Learnae's own")
            yield spec, encoded


def _checked(encoded: Any) -> Encoded:
    """Check what a codec made. If others could not read it, that is found here, where it is clear which codec made the mistake."""
    if not isinstance(encoded, Encoded) or not isinstance(encoded.data, bytes):
        raise TypeError(f"encode() must return an Encoded with bytes, not {type(getattr(encoded, 'data', encoded)).__name__}")
    meta: Any = encoded.meta
    if not isinstance(meta, Mapping) or not all(type(name) is str and type(value) in (int, float, str) for name, value in meta.items()):
        raise TypeError("the meta of an Encoded is a mapping from text to plain numbers and text")
    return encoded
