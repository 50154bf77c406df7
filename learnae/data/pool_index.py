"""What lies in the pool, as values and as bytes: `data/pool.json` in a peer's home (`learnae.data.pool_file`).

    {v: 2, made: text, schemas: {key: schema}, forgotten: [peer],
     slices: [{root, schema: key, rows, bytes, labels, licence, source, providers}]}
    {slice: {root, schema: key, ...}, gone: [root]}
    ...

The first line is all that was there when the file was written, which `made` names. Each further one says which slice has come since then,
and which have gone for it. Slices stand in the order in which they came. A provider is who has announced a slice; the first is the one
from whom it came.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs

from learnae.content import validators
from learnae.content.cids import parse_cid
from learnae.data.about import LICENCE_CHARACTERS, MOST_LABELS, SOURCE_CHARACTERS
from learnae.data.schema import MOST_ROWS, MOST_SLICE_BYTES, WORD_CHARACTERS, Schema, dump_schema, load_schema
from learnae.errors import UpdateRejectedError
from learnae.identity.home_folder import HomeFolder, open_home
from learnae.records import Cid, PeerId

DATA, POOL, INDEX = "data", "pool", "pool.json"
MOST_SLICES = 8192
MOST_PROVIDERS = 16
MOST_FORGOTTEN = 4096
MOST_WHOLE_BYTES = 8 << 20
MOST_INDEX_BYTES = MOST_WHOLE_BYTES + (1 << 20)
"""With the lines behind the whole."""
MOST_ENTRY_BYTES = 6 << 20
"""Of them what is said of the slices, as `entry_bytes` counts it; the rest is for schemas and forgotten peers."""
_MOST_SCHEMAS = 64
_VERSION = 2
_HEX_CHARACTERS = 32
_KEYS = {"root", "schema", "rows", "bytes", "labels", "licence", "source", "providers"}


@attrs.frozen(kw_only=True)
class PooledSlice:
    """One slice in the pool. `bytes` is the size of its file."""

    root: Cid
    schema: Schema
    rows: int
    bytes: int
    providers: tuple[PeerId, ...]
    labels: Mapping[str, int] = attrs.field(factory=dict)
    licence: str = ""
    source: str = ""


@attrs.frozen
class PoolIndex:
    """All slices in the order in which they came, and the peers whose slices are refused."""

    slices: tuple[PooledSlice, ...] = ()
    forgotten: tuple[PeerId, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(one.bytes for one in self.slices)

    def slices_by_provider(self) -> Mapping[PeerId, int]:
        """The same, counted."""
        return Counter(one.providers[0] for one in self.slices)

    def bytes_by_provider(self) -> Mapping[PeerId, int]:
        """Each slice counts for the peer from whom it came."""
        counts = Counter[PeerId]()
        for one in self.slices:
            counts[one.providers[0]] += one.bytes
        return counts


@contextmanager
def open_data(home: Path, *, make: bool = False, looking: bool = False) -> Iterator[HomeFolder]:
    """The folder `data` of a home. Raises ConfigError, and OSError, which is FileNotFoundError where it is not there."""
    with ExitStack() as stack:
        yield stack.enter_context(stack.enter_context(open_home(home, looking=looking)).subfolder(DATA, make=make))


def mark_of(data: HomeFolder, name: str = INDEX) -> tuple[int, int, int] | None:
    """Another one after each change of the index, or of another file there; None where it is not there."""
    try:
        found = os.stat(name, dir_fd=data.fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def encode_index(index: PoolIndex, made: str = "") -> bytes:
    """The first line of the file, and its only one where nothing has come since."""
    keys: dict[Schema, str] = {}
    slices = [_entry(one, keys.setdefault(one.schema, str(len(keys)))) for one in index.slices]
    schemas = {key: dump_schema(schema) for schema, key in keys.items()}
    head = {"v": _VERSION, "made": made, "schemas": schemas, "slices": slices, "forgotten": list(index.forgotten)}
    return json.dumps(head).encode() + b"\n"


def encode_change(new: PooledSlice, key: str, gone: Iterable[Cid]) -> bytes:
    """A further line: a slice that has come, whose schema the first line calls `key`, and those that have gone for it."""
    return json.dumps({"slice": _entry(new, key), "gone": list(gone)}).encode() + b"\n"


def _entry(one: PooledSlice, key: str) -> dict[str, Any]:
    fields = {"root": one.root, "schema": key, "rows": one.rows, "bytes": one.bytes, "labels": dict(one.labels)}
    return {**fields, "licence": one.licence, "source": one.source, "providers": list(one.providers)}


def entry_bytes(one: PooledSlice) -> int:
    """About as much as one slice takes in the index, and no less, whatever characters there are in its texts."""
    texts = (one.licence, one.source, *one.labels)
    return 200 + 70 * len(one.providers) + sum(_text_bytes(text) for text in texts) + 24 * len(one.labels)


def _text_bytes(text: str) -> int:
    return (2 if text.isascii() else 12) * len(text)  # as JSON writes it: one beyond 16 bits is two of six


def fits(index: PoolIndex) -> bool:
    """Whether a reader would take it."""
    few = len(index.slices) <= MOST_SLICES and len(index.forgotten) <= MOST_FORGOTTEN
    return few and len({one.schema for one in index.slices}) <= _MOST_SCHEMAS and len(encode_index(index)) <= MOST_WHOLE_BYTES


@attrs.frozen
class DecodedIndex:
    """What stands in a file: the index, and the schemas by the words that its lines have for them."""

    index: PoolIndex = PoolIndex()
    schemas: Mapping[str, Schema] = attrs.field(factory=dict)


def decode_index(data: bytes) -> DecodedIndex:
    """What whole lines say, the first of which `encode_index` made, and `encode_change` the others. Raises UpdateRejectedError."""
    head, _, changes = data.partition(b"\n")
    with _refusing():
        return decode_changes(changes, _index(json.loads(head)))


def decode_changes(lines: bytes, before: DecodedIndex) -> DecodedIndex:
    """The same after these lines. Raises UpdateRejectedError."""
    if not lines:
        return before
    there = {one.root: one for one in before.index.slices}
    with _refusing():
        for line in lines.splitlines():
            change = json.loads(line)
            if type(change) is not dict or change.keys() != {"slice", "gone"}:
                raise ValueError("a change with other keys")
            for root in validators.items(change["gone"], "gone", MOST_SLICES):
                del there[root]
            new = _slice(change["slice"], before.schemas)
            if new.root in there or len(there) >= MOST_SLICES:
                raise ValueError("a slice that has no place there")
            there[new.root] = new
    return attrs.evolve(before, index=attrs.evolve(before.index, slices=tuple(there.values())))


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, RecursionError, KeyError) as error:
        raise UpdateRejectedError("malformed", f"{type(error).__name__}: {error}") from None


def _index(value: Any) -> DecodedIndex:
    if type(value) is not dict or value.keys() != {"v", "made", "schemas", "slices", "forgotten"}:
        raise ValueError("other keys than there are in an index")
    if value["v"] != _VERSION:
        raise ValueError(f"version {value['v']!r}, which this Learnae does not know")
    validators.text(value["made"], "made", _HEX_CHARACTERS)
    schemas = {key: load_schema(schema) for key, schema in validators.table(value["schemas"], "schemas", _MOST_SCHEMAS).items()}
    slices = tuple(_slice(one, schemas) for one in validators.items(value["slices"], "slices", MOST_SLICES))
    if len({one.root for one in slices}) != len(slices):
        raise ValueError("a slice stands there twice")
    forgotten = validators.items(value["forgotten"], "forgotten", MOST_FORGOTTEN)
    return DecodedIndex(PoolIndex(slices, tuple(validators.peer(peer, "a peer") for peer in forgotten)), schemas)


def _slice(value: Any, schemas: Mapping[str, Schema]) -> PooledSlice:
    if type(value) is not dict or value.keys() != _KEYS:
        raise ValueError("a slice with other keys")
    labels = validators.table(value["labels"], "labels", MOST_LABELS).items()
    providers = validators.items(value["providers"], "providers", MOST_PROVIDERS)
    if not providers:
        raise ValueError("a slice of nobody")
    return PooledSlice(
        root=parse_cid(value["root"]),
        schema=schemas[validators.one_of(value["schema"], "a schema", schemas)],
        rows=validators.integer(value["rows"], "rows", 1, MOST_ROWS),
        bytes=validators.integer(value["bytes"], "bytes", 1, 2 * MOST_SLICE_BYTES),
        labels={validators.text(name, "a label", WORD_CHARACTERS): validators.integer(count, "a count") for name, count in labels},
        licence=validators.text(value["licence"], "a licence", LICENCE_CHARACTERS),
        source=validators.text(value["source"], "a source", SOURCE_CHARACTERS),
        providers=tuple(validators.peer(peer, "a provider") for peer in providers),
    )
