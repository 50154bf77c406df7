"""What an update builds on: its base, and in a chain the versions since then (docs/decisions/0060).

A base is an earlier version of the same peer by the same codec. It is fetched and checked like an update. What names itself cannot exist,
since a root is a hash of what it names; what names others than it may is refused before its data is fetched.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence

import attrs

from learnae.content.meta import Meta
from learnae.content.unpack import at_once
from learnae.errors import UpdateRejectedError
from learnae.node.decoding import Decoder
from learnae.node.fetching import Fetcher, Transfer
from learnae.node.strategy_set import ConfiguredStrategy
from learnae.records import MEGABYTE, AnnouncementKind, Cid, TensorSpec, Update
from learnae.strategies import Codec
from learnae.waiting import RunInThread

LEAST_HELD = 64 * MEGABYTE
LONGEST_CHAIN = 64  # as many parents as a meta names
LONGEST_SHARE = 2
"""Times the bytes of its base that a chain takes with it, at most: who comes anew fetches all of it, and bounds what comes."""
FEW_VERSIONS, VALUES_FOR_A_BYTE = 8, 50
"""A chain is decoded from its base for each look at a tensor. One of more versions than these few has at most so many values for each of
its bytes, in all of them: an honest base has a byte or two for each value, one of zeros a quarter of one."""
WORTH = 0.6
"""Of the bytes of its base, at most, that a version may take: beyond that the next one is whole (PULSE, arXiv 2602.03839)."""


def needs(meta: Meta) -> tuple[Cid, ...]:
    """The roots without which it cannot be decoded, the base first."""
    return () if meta.base is None else (meta.base, *meta.parents)


@attrs.define
class HeldUpdates:
    """Checked updates that later ones may build on, by their roots. What was not asked for longest goes first."""

    most_bytes: int = LEAST_HELD
    _held: OrderedDict[Cid, Decoder] = attrs.field(factory=OrderedDict)

    def __contains__(self, root: object) -> bool:
        return root in self._held

    def bytes_to_fetch(self, update: Update, specs: Mapping[str, TensorSpec]) -> int:
        """Of an update with its base, as far as that is not held: 2 bytes a value. An announcement does not say how large a base is."""
        base = 0 if update.base is None or update.base in self._held else 2 * sum(spec.count for spec in specs.values())
        return update.bytes + base

    def get(self, root: Cid) -> Decoder | None:
        if root in self._held:
            self._held.move_to_end(root)
        return self._held.get(root)

    def longest(self, roots: Sequence[Cid]) -> tuple[int, Decoder | None]:
        """How many of these, from the first, make up the longest chain that is held, and its end."""
        for number in range(len(roots), 0, -1):
            if (decoder := self.get(roots[number - 1])) is not None:
                return number, decoder
        return 0, None

    def add(self, root: Cid, decoder: Decoder) -> None:
        """Hold it if others may build on it, in the place of what it builds on itself: a chain only grows."""
        codec = decoder.codec.strategy
        if codec.versions <= 1 or not (codec.chained or decoder.before is None):
            return
        for before in needs(decoder.content.meta):
            self._held.pop(before, None)
        self._held[root] = decoder
        while self._held and self.held_bytes > self.most_bytes:
            self._held.popitem(last=False)

    @property
    def held_bytes(self) -> int:
        return sum(len(data) for decoder in self._held.values() for one in chain(decoder) for data in one.content.blocks.values())


def chain(decoder: Decoder | None) -> Iterator[Decoder]:
    """It, and what it builds on, the base last."""
    while decoder is not None:
        yield decoder
        decoder = decoder.before


async def fetch_needed(
    fetcher: Fetcher,
    held: HeldUpdates,
    meta: Meta,
    codec: ConfiguredStrategy[Codec],
    specs: Mapping[str, TensorSpec],
    transfer: Transfer,
    decode_in: RunInThread = at_once,
) -> Decoder | None:
    """What an update with this meta is encoded beside, checked. What is held is taken as far as it reaches, the rest fetched, oldest first.

    Raises UnavailableError, also where a base is missing, UpdateRejectedError.
    """
    check_needs(meta, codec)
    roots = needs(meta)
    at, before = held.longest(roots)
    if before is not None:
        _Expected(meta, roots, at - 1)(before.content.meta)
    for number in range(at, len(roots)):
        expected = _Expected(meta, roots, number, before.content.meta.number if before else 0)
        content = await fetcher.fetch_root(roots[number], meta.peer, transfer.part(), expected, decode_in)
        before = Decoder(content, codec, specs, before)
        await decode_in(before.check)
        held.add(roots[number], before)
    _check_work(before, transfer, specs)
    transfer.needed = dict(zip(reversed(roots), (one.content.blocks for one in chain(before)), strict=True))
    return before


def _check_work(before: Decoder | None, update: Transfer, specs: Mapping[str, TensorSpec]) -> None:
    """Raises UpdateRejectedError("base") for a chain that costs far more to decode than it has bytes."""
    versions = [update.blocks, *(one.content.blocks for one in chain(before))]
    values = len(versions) * sum(spec.count for spec in specs.values())
    size = sum(len(data) for blocks in versions for data in blocks.values())
    if len(versions) > FEW_VERSIONS and values > VALUES_FOR_A_BYTE * size:
        raise UpdateRejectedError("base", f"a chain of {len(versions)} versions has {size:,} bytes for {values:,} values to decode")


def check_needs(meta: Meta, codec: ConfiguredStrategy[Codec]) -> None:
    """Raises UpdateRejectedError("base") for an update that builds on what its codec cannot use."""
    if meta.base is None and meta.parents:
        raise UpdateRejectedError("base", "it names a chain without a base")
    if meta.base is not None and codec.strategy.versions <= 1:
        raise UpdateRejectedError("base", f"codec {codec.name!r} has no bases")
    if meta.parents and not codec.strategy.chained:
        raise UpdateRejectedError("base", f"codec {codec.name!r} has no chains")
    if len(set(needs(meta))) < len(needs(meta)):
        raise UpdateRejectedError("base", "it names a root twice")


@attrs.frozen
class _Expected:
    """What the meta of root `at` of these must say, for an update with that meta."""

    update: Meta
    roots: Sequence[Cid]
    at: int
    above: int = 0  # the number of the version before it

    def __call__(self, meta: Meta) -> None:
        update = self.update
        if (meta.peer, meta.kind, meta.codec) != (update.peer, AnnouncementKind.UPDATE, update.codec):
            raise UpdateRejectedError("base", "the meta of a base names another peer, kind or codec than the update")
        if needs(meta) != tuple(self.roots[: self.at]) or (meta.base is None and meta.parents):
            raise UpdateRejectedError("base", "a base has one itself, or a version of a chain another chain")
        if not self.above < meta.number < update.number:
            raise UpdateRejectedError("base", "a base is not older than what builds on it")


@attrs.define
class OwnBase:
    """What the next own version is encoded beside: `before`, whose needs and own root are `roots`. It lives as long as the run."""

    roots: tuple[Cid, ...] = ()
    before: Decoder | None = None
    bytes: int = 0  # of all these roots together
    _served: int = 0
    _whole_bytes: int = 0

    def published(self, root: Cid, decoder: Decoder, size: int) -> None:
        """A version was published with this decoder. After enough of them, or a large one, the next version has no base."""
        codec = decoder.codec.strategy
        if decoder.before is None:
            self._served, self._whole_bytes = 1, size
            self.roots, self.before, self.bytes = (root,), decoder, size
        else:
            self._served += 1
            if codec.chained:
                self.roots, self.before, self.bytes = (*self.roots, root), decoder, self.bytes + size
        large = decoder.before is not None and size > WORTH * self._whole_bytes
        long = len(self.roots) > LONGEST_CHAIN or self.bytes > LONGEST_SHARE * self._whole_bytes
        if self._served >= codec.versions or long or large:
            self.forget()

    def forget(self) -> None:
        """The next version has no base."""
        self.roots, self.before, self.bytes = (), None, 0
