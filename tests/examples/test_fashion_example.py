"""The Fashion-MNIST example: what its files say is checked, and peers that know two kinds each learn the others."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from examples.fashion import fashion
from learnae.errors import ConfigError

INSTALLED = Path(fashion.FOLDER).is_dir()
needs_the_package = pytest.mark.skipif(not INSTALLED, reason="needs Fashion-MNIST: apt-get install dataset-fashion-mnist")


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    return bytes((0, 0, kind, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def written(folder: Path, images: np.ndarray, labels: np.ndarray, part: str = "train") -> Path:
    for name, array in ((f"{part}-images-idx3-ubyte.gz", images), (f"{part}-labels-idx1-ubyte.gz", labels)):
        (folder / name).write_bytes(gzip.compress(idx(array.astype(np.uint8))))
    return folder


def pictures(count: int = 6) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(count * 784).reshape(count, 28, 28) % 256, np.arange(count) % 10


def test_pictures_and_labels_come_as_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = pictures()
    monkeypatch.setenv("FASHION_FOLDER", str(written(tmp_path, images, labels)))
    found = fashion.read("train")
    assert np.array_equal(found.images, images) and np.array_equal(found.labels, labels)
    assert found.images.dtype == np.uint8 and found.labels.dtype == np.int64
    assert list(found.of([1, 4]).labels) == [1, 4]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\x00\x08",
        idx(np.zeros((2, 28), np.uint8)),
        idx(np.zeros((2, 28, 28), np.uint8), kind=13),
        idx(np.zeros((2, 28, 27), np.uint8)),
        idx(np.zeros((2, 28, 28), np.uint8))[:-1],
        idx(np.zeros((2, 28, 28), np.uint8)) + b"\0",
        idx(np.zeros((0, 28, 28), np.uint8)),
        b"\x00\x00\x08\x03" + struct.pack(">3I", 0xFFFFFFFF, 28, 28),
    ],
    ids=["empty", "short", "2d", "floats", "narrow", "cut off", "longer", "none", "too many"],
)
def test_a_file_that_is_not_what_it_should_be_is_told_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(ConfigError, match="apt-get install dataset-fashion-mnist"):
        fashion.read_idx(path, (28, 28))


@pytest.mark.parametrize("damage", ["cut off", "no archive", "other bytes"])
def test_a_damaged_archive_is_told(tmp_path: Path, damage: str) -> None:
    whole = gzip.compress(idx(np.random.default_rng(0).integers(0, 256, (20, 28, 28)).astype(np.uint8)))
    damaged = {"cut off": whole[:-9], "no archive": b"no gzip" + whole, "other bytes": whole[:40] + b"\xff" * 9 + whole[49:]}
    path = tmp_path / "images.gz"
    path.write_bytes(damaged[damage])
    with pytest.raises(ConfigError):
        fashion.read_idx(path, (28, 28))


def test_a_small_file_that_unpacks_without_end_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb") as file:
        file.write(idx(np.zeros((1, 28, 28), np.uint8)))
        for _ in range(64):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match="longer"):
            fashion.read_idx(path, (28, 28))
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_labels_without_pictures_or_of_no_kind_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = pictures()
    monkeypatch.setenv("FASHION_FOLDER", str(tmp_path))
    for wrong in (labels[:-1], labels + 5):
        written(tmp_path, images, wrong)
        with pytest.raises(ConfigError, match="labels"):
            fashion.read("train")
    monkeypatch.setenv("FASHION_FOLDER", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="FASHION_FOLDER"):
        fashion.read("train")


@needs_the_package
def test_debians_package_has_seventy_thousand_pictures_of_ten_kinds_alike() -> None:
    assert {int(number) for number in np.bincount(fashion.read("train").labels)} == {6000}
    assert {int(number) for number in np.bincount(fashion.read("t10k").labels)} == {1000}


@needs_the_package
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_peers_with_two_kinds_each_learn_more_than_their_own(start) -> None:
    peers = [start("fashion", FASHION_CLASSES=kinds) for kinds in ("0,1", "7,8")]
    for said in [peer.until(steps=1500) for peer in peers]:
        assert max(moment["metrics"].get("accuracy", 0.0) for moment in said) > 0.25  # two kinds of ten: 0.2 at most
    assert [peer.interrupt() for peer in peers] == [130, 130]
