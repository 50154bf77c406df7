from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae.link import memory
from learnae.link.memory import PAGE_BYTES, Layout
from learnae.link.messages import PAGES, SLOTS
from learnae.records import TensorSpec

SPECS = (
    TensorSpec(name="bias", dtype="float32", shape=(3,)),
    TensorSpec(name="count", dtype="int32", shape=()),
    TensorSpec(name="empty", dtype="float64", shape=(0, 5)),
    TensorSpec(name="weight", dtype="bfloat16", shape=(20, 2)),
)


def test_offsets_worked_out_by_hand() -> None:
    """12 bytes, 8 bytes, none, 160 bytes; each begins at a multiple of 64."""
    layout = Layout.of(SPECS)
    assert layout.offsets == (0, 64, 128, 128)
    assert layout.area_bytes == 4096 and layout.total_bytes == 4 * 4096 + PAGE_BYTES


def test_floating_tensors_are_float32_and_all_others_int64() -> None:
    arrays = Layout.of(SPECS).slot(bytearray(4 * 4096), 0, writable=True)
    assert {name: (str(array.dtype), array.shape) for name, array in arrays.items()} == {
        "bias": ("float32", (3,)),
        "count": ("int64", ()),
        "empty": ("float32", (0, 5)),
        "weight": ("float32", (20, 2)),
    }


def test_who_may_only_read_cannot_write() -> None:
    arrays = Layout.of(SPECS).slot(bytearray(4 * 4096), 0, writable=False)
    with pytest.raises(ValueError, match="read-only"):
        arrays["bias"][0] = 1.0


def test_a_slot_or_page_that_does_not_exist_is_an_error() -> None:
    layout, buffer = Layout.of(SPECS), bytearray(4 * 4096)
    for index in (-1, 2):
        with pytest.raises(IndexError):
            layout.slot(buffer, index, writable=True)
        with pytest.raises(IndexError):
            layout.page(buffer, index, writable=True)


@given(st.lists(st.tuples(st.sampled_from(["float32", "int64", "bool"]), st.lists(st.integers(0, 9), max_size=3)), min_size=1, max_size=8))
def test_no_two_arrays_overlap(shapes: list[tuple[str, list[int]]]) -> None:
    layout = Layout.of([TensorSpec(name=str(i), dtype=dtype, shape=tuple(shape)) for i, (dtype, shape) in enumerate(shapes)])
    buffer = bytearray(layout.total_bytes)
    areas = [layout.slot(buffer, i, writable=True) for i in range(SLOTS)] + [layout.page(buffer, i, writable=True) for i in range(PAGES)]
    arrays = [array for area in areas for array in area.values()]
    for number, array in enumerate(arrays, 1):
        array[...] = number
    assert all(np.all(array == number) for number, array in enumerate(arrays, 1))


def test_two_maps_of_one_descriptor_are_one_memory_without_a_name() -> None:
    shm = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    fd = memory.create(10_000)
    try:
        first, second = memory.view(fd, 10_000), memory.view(fd, 10_000)
        first[9_999] = 7
        assert second[9_999] == 7 and os.fstat(fd).st_size == 10_000 and os.fstat(fd).st_nlink == 0
        assert (set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()) <= shm
    finally:
        os.close(fd)


def test_a_descriptor_that_is_too_short_is_refused() -> None:
    fd = memory.create(100)
    try:
        with pytest.raises(ValueError, match="length is greater"):
            memory.view(fd, 10_000)
    finally:
        os.close(fd)


def test_without_memfd_an_unlinked_file_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    test_two_maps_of_one_descriptor_are_one_memory_without_a_name()


def test_no_room_is_said_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, start: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(memory.ConfigError, match=r"reserve 64 MiB .*keep_local"):
        memory.create(64 << 20)
