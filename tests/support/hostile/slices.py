"""Slices of which each byte may be a stranger's, and files of slices in a home that somebody else may have written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import numpy as np

from learnae.data.about import About, decode_about, encode_about
from learnae.data.own import OwnSlices
from learnae.data.pool import Pool
from learnae.data.pool_index import INDEX, DecodedIndex, PoolIndex, decode_index, encode_index
from learnae.data.slices import SliceRows, pack_slice, rows_from, tensors_of
from learnae.errors import ConfigError, UpdateRejectedError
from learnae.identity.keys import Identity
from learnae.node.contributions import Contribution
from learnae.node.views import ContributionView, GivenBy, decode_view, encode_view
from learnae.records import Cid, PeerId
from tests.support.hostile.targets import Target
from tests.support.hostile.value_mutations import DAG_CBOR, LOOSE_DAG_CBOR
from tests.support.slices import one_slice, root_of

FORMS = (DAG_CBOR, LOOSE_DAG_CBOR)
ROWS = {"c": np.array([1, 0, 1], np.int32), "x": np.arange(6, dtype=np.float32).reshape(3, 2), "y": np.array([True, False, True])}


MADE = one_slice(ROWS, "c", {"c": ("AA", "UA")}, licence="CC0-1.0", source="a station")
TENSORS = tensors_of(MADE)
_VIEWER = Identity.generate(b"v" * 32)
_GIVEN = Contribution(merged=3, weight=2.5, bytes=900, evaluated=1, loss_change=-0.5)
_VIEW = ContributionView(b"s" * 16, _VIEWER.peer, 7, (GivenBy(PeerId("a" * 64), 60.0, _GIVEN),))


def targets(folder: Path) -> Iterator[Target]:
    home = folder / "home of slices"
    home.mkdir(mode=0o700, exist_ok=True)
    rejected = (UpdateRejectedError,)
    about = encode_about(MADE.about)
    yield Target("about", decode_about, rejected, (about, encode_about(About())), FORMS, _about_comes_back)
    yield Target("slice", _read_slice, rejected, (about,), FORMS, _slice_comes_back)
    yield Target("cells", _read_cells, rejected, (b"".join(array.tobytes() for array in MADE.columns.values()),), (), _slice_comes_back)
    yield Target("view", _read_view, rejected, (encode_view(_VIEW, _VIEWER),), FORMS, _view_comes_back)
    yield Target("index", decode_index, rejected, (_index(home), encode_index(PoolIndex())), (), _index_comes_back)
    yield _own_file(home)


def _read_view(data: bytes) -> ContributionView:
    return decode_view(data, peer=_VIEWER.peer)


def _view_comes_back(data: bytes, view: ContributionView) -> None:
    assert encode_view(view, _VIEWER) == data


def _read_slice(about: bytes) -> SliceRows:
    """With anything said of its rows."""
    return rows_from({**TENSORS, "about": np.frombuffer(about, np.uint8)})


def _read_cells(data: bytes) -> SliceRows:
    """With anything in its columns."""
    data = data[: sum(array.nbytes for array in MADE.columns.values())]
    columns, start = {}, 0
    for name, array in MADE.columns.items():
        columns[name] = np.frombuffer(data[start : start + array.nbytes].ljust(array.nbytes, b"\0"), array.dtype).reshape(array.shape)
        start += array.nbytes
    return rows_from({"about": TENSORS["about"], **columns})


def _index(home: Path) -> bytes:
    pool = Pool(home, 1 << 20)
    pool.add(root_of(MADE), MADE, PeerId("1" * 64))
    pool.forget(PeerId("2" * 64))
    other = attrs.evolve(MADE, about=attrs.evolve(MADE.about, source="again"))
    pool.add(root_of(other), other, PeerId("1" * 64))
    return (home / "data" / INDEX).read_bytes()


def _own_file(home: Path) -> Target:
    (root,) = OwnSlices(home).replace([MADE], most_rows=3)
    path = home / "data" / "own" / f"{root}.safetensors"

    def decode(data: bytes) -> tuple[SliceRows, Cid]:
        path.write_bytes(data)
        rows, packed = OwnSlices(home).load(root)
        return rows, packed.announced.root

    def is_the_same(_: bytes, found: tuple[SliceRows, Cid]) -> None:
        assert found[1] == root == root_of(found[0])

    return Target("own", decode, (ConfigError,), (path.read_bytes(),), (), is_the_same)


def _about_comes_back(data: bytes, about: About) -> None:
    assert encode_about(about) == data


def _slice_comes_back(_: bytes, rows: SliceRows) -> None:
    assert rows.count == 3 and sum(rows.about.labels.values()) in (0, 3)
    assert pack_slice(rows).announced.rows == 3
    assert all(np.isfinite(array).all() for array in rows.columns.values())


def _index_comes_back(_: bytes, found: DecodedIndex) -> None:
    assert decode_index(encode_index(found.index)).index == found.index
    assert all(one.providers and one.rows > 0 for one in found.index.slices)
