"""The meta of an update or slice: who made it, which tensors it holds, where their bytes lie; and limits on what strangers claim.

One page is `{peer, kind, number, codec, base, parents, tensors}` in dag-cbor, where a tensor is
`[name, dtype, [shape], {codec meta}, block, offset, length]`, and base and parents are CIDs as **text**: links would pin the whole history.
A meta that does not fit into one block (some 5,000 tensors) is several pages, each with the same head and the next of the tensors.
A page stands on its own, so that a stranger's bytes never unfold to more than one block's worth of objects.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import attrs

from learnae.content import validators
from learnae.content.cids import parse_cid
from learnae.content.roots import PART_LINKS, decode_dag, encode_dag
from learnae.content.scan import Form
from learnae.errors import PluginError, UpdateRejectedError
from learnae.records import BLOCK_BYTES, AnnouncementKind, Cid, PeerId, TensorSpec

SMALLEST_LARGE = BLOCK_BYTES // 4
"""A tensor of at least this many encoded bytes starts its own block; so an update has at most one block for each 128 KiB, and one more."""


MOST_TENSORS = 1 << 16
MOST_META_BYTES = 64 * BLOCK_BYTES
"""Where no own model says how many there are, and how much is said of them."""

SMALLEST_ROW = 12
"""Bytes of one tensor in a meta, at least: seven items, of which the dtype has five bytes, in a list."""

_ROW_ITEMS, _ROW_CONTAINERS = 8, 3  # of one without dimensions and notes: the row, its shape and its notes hold others
_HEAD_ITEMS, _HEAD_CONTAINERS = 16, 3  # of a page without tensors and parents


@attrs.frozen
class Limits:
    """Upper bounds on one update or slice. `bytes` is the sum of all its blocks."""

    bytes: int
    tensors: int = MOST_TENSORS
    pages: int = 64  # blocks of the meta
    meta_bytes: int = MOST_META_BYTES  # all of them together
    name: int = 512  # characters in a tensor's name
    dims: int = 16
    notes: int = 16  # numbers and texts that a codec attaches to a tensor
    text: int = 256  # characters in one of those, and in other names
    parents: int = 64

    @property
    def blocks(self) -> int:
        """Data blocks."""
        return self.bytes // SMALLEST_LARGE + 2

    @property
    def parts(self) -> int:
        """Parts that list them."""
        return -(-self.blocks // PART_LINKS)

    def page_form(self, size: int, before: int) -> Form:
        """What a page of the meta may hold, of that many bytes, behind others that list `before` tensors already."""
        tensors = max(0, min(self.tensors - before, size // SMALLEST_ROW))
        items = _HEAD_ITEMS + self.parents + tensors * (_ROW_ITEMS + self.dims + 2 * self.notes)
        return Form(items, containers=_HEAD_CONTAINERS + tensors * _ROW_CONTAINERS, depth=4)


@attrs.frozen
class ByteRange:
    """`length` bytes from `offset` in block number `block`.

    What does not fit into one block starts at offset 0, fills it, and goes on in the following blocks. A length of 0 takes no block.
    """

    block: int
    offset: int
    length: int

    def spans(self, room: int) -> Iterator[tuple[int, int, int]]:
        """(block, start, stop) for each block that this place touches, where a block holds `room` bytes."""
        block, start, left = self.block, self.offset, self.length
        while left > 0:
            stop = min(start + left, room)
            yield block, start, stop
            block, start, left = block + 1, 0, left - (stop - start)


def block_lengths(places: Sequence[ByteRange], count: int, room: int) -> list[int]:
    """How long each of `count` blocks of at most `room` bytes must be to hold these places.

    Raises UpdateRejectedError("place") unless they fill the blocks from the first byte, one behind the other, and each block holds
    something.
    """
    if sum(place.length for place in places) > count * room:  # also bounds the work below
        raise UpdateRejectedError("place", "tensors overlap")
    lengths = [0] * count
    for place in sorted(places, key=lambda place: (place.block, place.offset)):
        _check(place, count, room)
        for block, start, stop in place.spans(room):
            if start != lengths[block]:
                raise UpdateRejectedError("place", f"two tensors overlap in block {block}, or leave a gap")
            lengths[block] = stop
    if 0 in lengths:
        raise UpdateRejectedError("place", f"block {lengths.index(0)} holds no tensor")
    return lengths


def _check(place: ByteRange, count: int, room: int) -> None:
    end = place.offset + place.length
    if place.block + -(-end // room) > count:
        raise UpdateRejectedError("place", f"a tensor ends behind the last of {count} blocks")
    if end > room and place.offset:
        raise UpdateRejectedError("place", "a tensor of several blocks must start its first")


ARCHITECTURE_BYTES = 8


def architecture_of(specs: Iterable[TensorSpec], frozen: bytes = b"") -> bytes:
    """8 bytes over names and shapes in any order, and the digest of what is not shared. Dtypes do not matter: peers may differ in them."""
    shapes = sorted([spec.name, list(spec.shape)] for spec in specs)
    digest = hashlib.sha256(b"learnae/model/1" + encode_dag([frozen.hex(), shapes]))
    return digest.digest()[:ARCHITECTURE_BYTES]


def first_difference(own: Iterable[TensorSpec], theirs: Iterable[TensorSpec]) -> str | None:
    """A sentence that names the first difference of two architectures, in the order of the own tensors; None if there is none."""
    here, there = ({spec.name: spec.shape for spec in specs} for specs in (own, theirs))
    for name in (*here, *there):
        if name not in there:
            return f"{name} is {_size(here[name])} here and missing there"
        if name not in here:
            return f"{name} is {_size(there[name])} there and missing here"
        if here[name] != there[name]:
            return f"{name} is {_size(here[name])} here, {_size(there[name])} there"
    return None


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a scalar"


_KEYS = ("peer", "kind", "number", "codec", "base", "parents", "tensors")
DTYPES = frozenset(
    {*(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)), "bool", "bfloat16", "float16", "float32", "float64"}
)
"""All that a tensor of a swarm may be. Numpy knows more, such as `S400000000`, of which one element is as large as it says."""

_LIST_HEADER = 8  # bytes that the header of a long list takes beyond that of an empty one, at most


@attrs.frozen
class TensorEntry:
    """One tensor: what it is, what its codec noted about it, and where its bytes are."""

    spec: TensorSpec
    meta: Mapping[str, int | float | str]
    place: ByteRange


@attrs.frozen
class Meta:
    """All about an update or slice but the bytes of its tensors."""

    peer: PeerId
    kind: AnnouncementKind
    number: int
    codec: str
    tensors: tuple[TensorEntry, ...]
    base: Cid | None = None
    parents: tuple[Cid, ...] = ()

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        return tuple(entry.spec for entry in self.tensors)


def encode_meta(meta: Meta, page_bytes: int) -> tuple[bytes, ...]:
    """The pages, of at most `page_bytes` each.

    Raises ValueError for what others would refuse, PluginError for a codec's notes that are neither text nor finite numbers.
    """
    head = _head(meta)
    room = page_bytes - len(encode_dag({**head, "tensors": []})) - _LIST_HEADER
    rows = (_row(entry, meta.codec) for entry in meta.tensors)
    pages = tuple(encode_dag({**head, "tensors": page}) for page in _paginate(rows, room))
    try:
        decode_meta(pages, Limits(validators.MAX_INTEGER))
    except UpdateRejectedError as error:
        raise ValueError(f"others would refuse this meta: {error}") from error
    return pages


def decode_meta(pages: Sequence[bytes], limits: Limits) -> Meta:
    """The meta again. Raises UpdateRejectedError for anything but what `encode_meta` makes, within limits."""
    if (size := sum(map(len, pages))) > limits.meta_bytes:
        raise UpdateRejectedError("too-large", f"a meta of {size} bytes, {limits.meta_bytes} expected at most")
    heads: list[dict[str, Any]] = []
    entries: list[TensorEntry] = []
    for page in pages:
        value = decode_dag(page, _KEYS, limits.page_form(len(page), len(entries)))
        rows = validators.items(value.pop("tensors"), "tensors", limits.tensors - len(entries))
        entries += [_entry(row, limits) for row in rows]
        heads.append(value)
        if value != heads[0]:
            raise UpdateRejectedError("malformed", "pages with different heads")
    if len({entry.spec.name for entry in entries}) != len(entries):
        raise UpdateRejectedError("malformed", "two tensors of one name")
    return _meta(heads[0], tuple(entries), limits)


def _paginate(rows: Iterable[list[Any]], room: int) -> Iterator[list[list[Any]]]:
    page: list[list[Any]] = []
    used = 0
    for row in rows:
        size = len(encode_dag(row))
        if page and used + size > room:
            yield page
            page, used = [], 0
        page.append(row)
        used += size
    yield page


def _head(meta: Meta) -> dict[str, Any]:
    return {
        "peer": meta.peer,
        "kind": int(meta.kind),
        "number": meta.number,
        "codec": meta.codec,
        "base": meta.base or "",
        "parents": list(meta.parents),
    }


def _meta(head: Mapping[str, Any], tensors: tuple[TensorEntry, ...], limits: Limits) -> Meta:
    return Meta(
        peer=validators.peer(head["peer"], "peer"),
        kind=AnnouncementKind(validators.integer(head["kind"], "kind", min(AnnouncementKind), max(AnnouncementKind))),
        number=validators.integer(head["number"], "number"),
        codec=validators.text(head["codec"], "codec", limits.text),
        tensors=tensors,
        base=None if head["base"] == "" else parse_cid(head["base"]),
        parents=tuple(map(parse_cid, validators.items(head["parents"], "parents", limits.parents))),
    )


def _row(entry: TensorEntry, codec: str) -> list[Any]:
    spec, place = entry.spec, entry.place
    notes = {key: _note(value, key, spec.name, codec) for key, value in entry.meta.items()}
    return [spec.name, spec.dtype, list(spec.shape), notes, place.block, place.offset, place.length]


def _note(value: object, key: str, tensor: str, codec: str) -> int | float | str:
    """As a plain number or text: codecs may well note down numpy's."""
    if isinstance(value, str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real) and math.isfinite(value):
        return float(value)
    raise PluginError(codec, f"encoding tensor {tensor!r}", f"its meta {key!r} is {value!r}: neither text nor a finite number")


def _entry(row: Any, limits: Limits) -> TensorEntry:
    if type(row) is not list or len(row) != 7:
        raise validators.malformed("a tensor", "a list of 7 items")
    name, dtype, shape, notes, *place = row
    return TensorEntry(
        _spec(name, dtype, shape, limits),
        _notes(notes, limits),
        ByteRange(*(validators.integer(number, "a place", high=limits.bytes) for number in place)),
    )


def _spec(name: Any, dtype: Any, shape: Any, limits: Limits) -> TensorSpec:
    dims = validators.items(shape, "a shape", limits.dims)
    spec = TensorSpec(
        name=validators.text(name, "a name", limits.name),
        dtype=validators.one_of(dtype, "a dtype", DTYPES),
        shape=tuple(validators.integer(dim, "a dimension") for dim in dims),
    )
    validators.integer(spec.count, "a shape's product")
    return spec


def _notes(notes: Any, limits: Limits) -> dict[str, int | float | str]:
    return {
        validators.text(key, "a note's name", limits.text): validators.note(value, limits.text)
        for key, value in validators.table(notes, "codec meta", limits.notes).items()
    }
