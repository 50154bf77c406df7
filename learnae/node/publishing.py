"""A snapshot becomes blocks, a number and an announcement (DESIGN 4, steps 2 and 3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs
import numpy as np

from learnae.content.pack import Packed, pack
from learnae.errors import PluginError, Unavailable
from learnae.identity.envelopes import encode_envelope
from learnae.identity.keys import Identity
from learnae.link.contract import Snapshot
from learnae.node.assembly import Assembly
from learnae.node.hearing import Hearing
from learnae.node.history import History, Published
from learnae.node.outages import Outages
from learnae.node.standing import found
from learnae.plugins.calls import naming
from learnae.records import Announcement, Body, Cid, Encoded, Kind, TensorSpec, Update
from learnae.strategies import RunInThread

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger


@attrs.define
class Publisher:
    """Writes own updates and sends own announcements."""

    identity: Identity
    swarm: bytes
    channel: str
    specs: tuple[TensorSpec, ...]
    signature: bytes
    assembly: Assembly
    history: History
    hearing: Hearing
    outages: Outages
    in_thread: RunInThread
    rng: np.random.Generator
    log: FilteringBoundLogger
    newest: Published | None = None

    async def publish(self, snapshot: Snapshot, lineage: bytes, *, young: bool) -> Published | None:
        """Put and announce a snapshot; an empty lineage founds one. None when nothing was published (told once)."""
        if self.hearing.elsewhere:
            return None
        number = await self._next_number(Kind.UPDATE)
        packed = await self.in_thread(self._pack, snapshot, number)
        if packed is None or not await self._put(packed):
            return None
        progress = snapshot.progress
        update = Update(
            root=packed.root,
            bytes=packed.bytes,
            lineage=lineage or found(packed.root),
            signature=self.signature,
            age=progress.age,
            young=young,
            own_steps=progress.steps,
            samples=progress.samples,
            step_seconds=progress.step_seconds,
            codec=self.assembly.codec.name,
            loss=progress.loss if progress.loss is not None and np.isfinite(progress.loss) else None,
        )
        published = Published(number, update.root, update.lineage, update.age, update.samples, update.bytes, update.codec, update.signature)
        await self.in_thread(self.history.add_published, published)
        await self._send(number, update)
        self.newest = published
        return published

    async def announce(self, body: Body) -> None:
        """Send anything that has no content, under its next number."""
        kind = Announcement(self.swarm, self.identity.peer, 0, body).kind
        if not self.hearing.elsewhere:
            await self._send(await self._next_number(kind), body)

    async def _next_number(self, kind: Kind) -> int:
        least = self.hearing.raised_numbers.pop(kind, None)
        if least is not None:
            await self.in_thread(self.history.raise_number, kind, least)
        number = await self.in_thread(self.history.next_number, kind)
        self.hearing.own_numbers[kind] = number
        return number

    def _pack(self, snapshot: Snapshot, number: int) -> Packed | None:
        if not all(np.isfinite(np.add.reduce(tensor, axis=None, dtype=np.float64)) for tensor in snapshot.tensors.values()):
            self.outages.failed("publish", "the model holds values that are not finite: nothing is published until it has recovered")
            return None
        return pack(self._encoded(snapshot), peer=self.identity.peer, kind=Kind.UPDATE, number=number, codec=self.assembly.codec.name)

    def _encoded(self, snapshot: Snapshot) -> Iterator[tuple[TensorSpec, Encoded]]:
        codec = self.assembly.codec
        with naming(codec.plugin, f"encoding by codec {codec.name!r}"):
            for spec in self.specs:
                tensor = snapshot.tensors[spec.name]
                yield (
                    spec,
                    codec.strategy.encode(spec.name, tensor, None, self.rng) if spec.floating else Encoded(tensor.astype("<i8").tobytes()),
                )

    async def _put(self, packed: Packed) -> bool:
        """Into every storage that is written to; True when at least one has it."""
        stored = False
        for storage in (s for s in self.assembly.storages if s.writes):
            try:
                with naming(storage.plugin, f"putting blocks into storage {storage.name!r}"):
                    await storage.strategy.put(packed.root, packed.blocks)
            except (Unavailable, PluginError) as error:
                self.outages.failed(f"storage {storage.name}", str(error))
            else:
                self.outages.works(f"storage {storage.name}")
                stored = True
        if stored:
            self.outages.works("publish")
        return stored

    async def _send(self, number: int, body: Body) -> None:
        announcement = Announcement(self.swarm, self.identity.peer, number, body)
        message = encode_envelope(self.identity, announcement)
        replaces = f"{self.identity.peer}/{announcement.kind.value}".encode()
        for announcer in self.assembly.announcers:
            try:
                with naming(announcer.plugin, f"announcing by {announcer.name!r}"):
                    await announcer.strategy.announce(message, channel=self.channel, replaces=replaces)
            except (Unavailable, PluginError) as error:
                self.outages.failed(f"announcer {announcer.name}", str(error))
            else:
                self.outages.works(f"announcer {announcer.name}")

    async def drop(self, root: Cid) -> None:
        """Forget an own root everywhere; what cannot be dropped now is dropped at the next start."""
        for storage in self.assembly.storages:
            try:
                with naming(storage.plugin, f"dropping a root from storage {storage.name!r}"):
                    await storage.strategy.drop(root)
            except (Unavailable, PluginError) as error:
                self.outages.failed(f"storage {storage.name}", str(error))
