"""From blocks back to encoded tensors. Every count and length is checked before anything is fetched or allocated by it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property
from typing import TypeVar

import attrs

from learnae.content.cids import is_dag
from learnae.content.encryption import NO_ENCRYPTION, Encryption, room
from learnae.content.meta import ByteRange, Limits, Meta, TensorEntry, block_lengths, decode_meta
from learnae.content.roots import decode_part, decode_parts, decode_root, is_part
from learnae.errors import UnavailableError, UpdateRejectedError
from learnae.records import Cid, Encoded
from learnae.waiting import RunInThread

Read = Callable[[Sequence[Cid]], Awaitable[Mapping[Cid, bytes]]]
"""Brings all of these blocks, each with the hash that it is named by, or raises."""

T = TypeVar("T")
_Bytes = bytes  # in a class that has a field of that name


async def at_once(function: Callable[..., T], /, *args: object) -> T:
    """For who has nothing else to do meanwhile."""
    return function(*args)


@attrs.frozen
class Manifest:
    """What an update or slice consists of, known before its data is fetched."""

    meta: Meta
    data_cids: tuple[Cid, ...]
    bytes: int  # all its blocks, each counted once
    other_cids: tuple[Cid, ...] = ()  # root, parts and meta

    @classmethod
    async def read(
        cls, root: Cid, read: Read, limits: Limits, encryption: Encryption = NO_ENCRYPTION, *, decode_in: RunInThread = at_once
    ) -> Manifest:
        """Read root, parts and meta, in two or three steps; what is more than some lists of links is decoded by `decode_in`.

        Raises UpdateRejectedError: for anything but what `pack` makes, or what is beyond the limits.
        """
        blocks = dict(await read(_dag([root])))
        top = decode_root(blocks[root], limits.parts)
        blocks |= await read([*_dag(top.parts), top.meta])
        pages = _page_cids(top.meta, blocks[top.meta], limits)
        if pages != (top.meta,):
            blocks |= await read(pages)
        sealed = [blocks[page] for page in (_raw(pages) if encryption.overhead else _dag(pages))]
        parts = [blocks[part] for part in top.parts]
        manifest = await decode_in(cls._decode, sealed, parts, sum(map(len, blocks.values())), limits, encryption)
        return attrs.evolve(manifest, other_cids=tuple(blocks))

    @classmethod
    def _decode(cls, pages: Sequence[_Bytes], parts: Sequence[_Bytes], size: int, limits: Limits, encryption: Encryption) -> Manifest:
        """From these blocks, of which all that was read so far has that many bytes."""
        meta = decode_meta([encryption.open(page) for page in pages], limits)
        data = _raw(decode_parts(parts))
        if len(data) > limits.blocks:
            raise UpdateRejectedError("too-large", f"{len(data)} blocks of data, {limits.blocks} expected at most")
        lengths = block_lengths([entry.place for entry in meta.tensors], len(data), room(encryption))
        total = size + sum(length + encryption.overhead for length in dict(zip(data, lengths, strict=True)).values())
        if (most := max(total, sum(lengths))) > limits.bytes:  # one block can stand for many
            raise UpdateRejectedError("too-large", f"{most} bytes, {limits.bytes} expected at most")
        return cls(meta, tuple(data), total)


@attrs.frozen
class Content:
    """An update or slice that was fetched: its tensors as the codec made them, by name."""

    meta: Meta
    data_cids: tuple[Cid, ...]
    blocks: Mapping[Cid, bytes]
    encryption: Encryption = NO_ENCRYPTION
    _opened: dict[Cid, bytes] = attrs.field(factory=dict, init=False, eq=False, repr=False)

    def check(self) -> None:
        """See to it that `encoded` raises for no tensor of the meta.

        Raises UpdateRejectedError if places and blocks do not fit, UnavailableError if blocks are missing.
        """
        missing = [cid for cid in self.data_cids if cid not in self.blocks]
        if missing:
            raise UnavailableError(f"{len(missing)} of {len(self.data_cids)} blocks are missing", missing)
        lengths = block_lengths([entry.place for entry in self.meta.tensors], len(self.data_cids), room(self.encryption))
        for cid, length in zip(self.data_cids, lengths, strict=True):
            if len(self._open(cid)) != length:
                raise UpdateRejectedError("place", f"a block of {len(self._open(cid))} bytes where the meta places {length}")

    def encoded(self, name: str) -> Encoded:
        """One tensor; copies at most once. Raises KeyError for a name that the meta has not."""
        entry = self._entries[name]
        return Encoded(self._bytes(entry), entry.meta)

    def slices(self, name: str) -> tuple[BytesInBlocks, TensorEntry]:
        """The bytes of one tensor where they lie, without a copy. Raises KeyError for a name that the meta has not."""
        entry = self._entries[name]
        return BytesInBlocks(self, entry.place), entry

    @cached_property
    def _entries(self) -> Mapping[str, TensorEntry]:
        return {entry.spec.name: entry for entry in self.meta.tensors}

    def _bytes(self, entry: TensorEntry) -> bytes:
        spans = [(self._open(self.data_cids[block]), start, stop) for block, start, stop in entry.place.spans(room(self.encryption))]
        if len(spans) == 1:
            data, start, stop = spans[0]
            return data[start:stop]  # of a whole block: no copy
        return b"".join(memoryview(data)[start:stop] for data, start, stop in spans)

    def _open(self, cid: Cid) -> bytes:
        if cid not in self._opened:
            self._opened[cid] = self.encryption.open(self.blocks[cid])
        return self._opened[cid]


class BytesInBlocks:
    """The bytes of one tensor, which go from the end of a block on to the beginning of the next one."""

    def __init__(self, content: Content, place: ByteRange) -> None:
        self._room, self._offset, self._length = room(content.encryption), place.offset, place.length
        self._views = [memoryview(content._open(content.data_cids[block])) for block, _, _ in place.spans(self._room)]

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, part: slice) -> bytes | memoryview:
        """A view, or a copy of what lies in several blocks."""
        start, stop, _ = part.indices(self._length)
        if stop <= start:
            return b""
        (first, begin), (last, end) = divmod(self._offset + start, self._room), divmod(self._offset + stop - 1, self._room)
        if first == last:
            return self._views[first][begin : end + 1]
        return b"".join([self._views[first][begin:], *self._views[first + 1 : last], self._views[last][: end + 1]])


def _page_cids(meta: Cid, data: bytes, limits: Limits) -> tuple[Cid, ...]:
    if not (is_dag(meta) and is_part(data)):
        return (meta,)
    pages = decode_part(data)
    if not 1 < len(pages) <= limits.pages:
        raise UpdateRejectedError("malformed", f"a meta of {len(pages)} pages")
    return pages


def _dag(cids: Sequence[Cid]) -> Sequence[Cid]:
    if not all(map(is_dag, cids)):
        raise UpdateRejectedError("cid", "a raw block where dag-cbor belongs")
    return cids


def _raw(cids: Sequence[Cid]) -> Sequence[Cid]:
    if any(map(is_dag, cids)):
        raise UpdateRejectedError("cid", "a dag-cbor block where a raw one belongs")
    return cids
