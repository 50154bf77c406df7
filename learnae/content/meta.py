"""The meta of an update or slice: who made it, and which tensors lie where.

One page is `{peer, kind, number, codec, base, parents, tensors}` in dag-cbor, where a tensor is
`[name, dtype, [shape], {codec meta}, block, offset, length]`, and base and parents are CIDs as **text**: links would pin the whole history.
A meta that does not fit into one block (some 5,000 tensors) is several pages, each with the same head and the next of the tensors.
A page stands on its own, so that a stranger's bytes never unfold to more than one block's worth of objects.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import attrs

from learnae.content import dagcbor, expect
from learnae.content.cids import parse_cid
from learnae.content.limits import Limits
from learnae.content.places import Place
from learnae.errors import PluginError, UpdateRejected
from learnae.records import Cid, Kind, PeerId, TensorSpec

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
    place: Place


@attrs.frozen
class Meta:
    """All about an update or slice but the bytes of its tensors."""

    peer: PeerId
    kind: Kind
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
    room = page_bytes - len(dagcbor.encode({**head, "tensors": []})) - _LIST_HEADER
    rows = (_row(entry, meta.codec) for entry in meta.tensors)
    pages = tuple(dagcbor.encode({**head, "tensors": page}) for page in _paginate(rows, room))
    try:
        decode_meta(pages, Limits(expect.MAX_INTEGER))
    except UpdateRejected as error:
        raise ValueError(f"others would refuse this meta: {error}") from error
    return pages


def decode_meta(pages: Sequence[bytes], limits: Limits) -> Meta:
    """The meta again. Raises UpdateRejected for anything but what `encode_meta` makes, within limits."""
    heads: list[dict[str, Any]] = []
    entries: list[TensorEntry] = []
    for page in pages:
        value = dagcbor.decode(page, _KEYS)
        rows = expect.items(value.pop("tensors"), "tensors", limits.tensors - len(entries))
        entries += [_entry(row, limits) for row in rows]
        heads.append(value)
        if value != heads[0]:
            raise UpdateRejected("malformed", "pages with different heads")
    if len({entry.spec.name for entry in entries}) != len(entries):
        raise UpdateRejected("malformed", "two tensors of one name")
    return _meta(heads[0], tuple(entries), limits)


def _paginate(rows: Iterable[list[Any]], room: int) -> Iterator[list[list[Any]]]:
    page: list[list[Any]] = []
    used = 0
    for row in rows:
        size = len(dagcbor.encode(row))
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
        peer=expect.peer(head["peer"], "peer"),
        kind=Kind(expect.integer(head["kind"], "kind", min(Kind), max(Kind))),
        number=expect.integer(head["number"], "number"),
        codec=expect.text(head["codec"], "codec", limits.text),
        tensors=tensors,
        base=None if head["base"] == "" else parse_cid(head["base"]),
        parents=tuple(map(parse_cid, expect.items(head["parents"], "parents", limits.parents))),
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
        raise expect.malformed("a tensor", "a list of 7 items")
    name, dtype, shape, notes, *place = row
    return TensorEntry(
        _spec(name, dtype, shape, limits),
        _notes(notes, limits),
        Place(*(expect.integer(number, "a place", high=limits.bytes) for number in place)),
    )


def _spec(name: Any, dtype: Any, shape: Any, limits: Limits) -> TensorSpec:
    dims = expect.items(shape, "a shape", limits.dims)
    spec = TensorSpec(
        expect.text(name, "a name", limits.name),
        expect.one_of(dtype, "a dtype", DTYPES),
        tuple(expect.integer(dim, "a dimension") for dim in dims),
    )
    expect.integer(spec.count, "a shape's product")
    return spec


def _notes(notes: Any, limits: Limits) -> dict[str, int | float | str]:
    return {
        expect.text(key, "a note's name", limits.text): expect.note(value, limits.text)
        for key, value in expect.table(notes, "codec meta", limits.notes).items()
    }
