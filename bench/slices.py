"""Slices beside Arrow: bytes, speed and memory of our columns, Arrow IPC and Parquet, for a numeric table and for images.

Run it with `python bench/slices.py`. Speeds are of one thread's CPU time, from numpy arrays to bytes and back to numpy arrays, by medians
of 7, all ways in turn. Memory is what a process of its own takes beyond the rows while it writes and reads them once. Option: --quick.
"""

from __future__ import annotations

import io
import statistics
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs
import numpy as np
import pyarrow as pa
from machine import describe
from pyarrow import ipc, parquet
from sklearn.datasets import load_digits
from tables import show

from learnae.content.cids import raw_cid
from learnae.data.about import sketch_of
from learnae.data.schema import schema_of
from learnae.data.slice_files import layout_of
from learnae.data.slices import make_slices, pack_slice

REPEATS = 7
Columns = dict[str, np.ndarray]


@attrs.frozen
class Way:
    """How rows become bytes, and rows again."""

    encode: Callable[[Columns], bytes]
    decode: Callable[[bytes, Columns], Columns]  # with columns that say names, dtypes and shapes


def ours(rows: Columns) -> bytes:
    layout = layout_of({name: (array.dtype.name, array.shape) for name, array in rows.items()})
    return b"".join([layout.head, *(rows[name].reshape(-1).view(np.uint8).data for name in layout.places)])


def from_ours(data: bytes, like: Columns) -> Columns:
    layout = layout_of({name: (array.dtype.name, array.shape) for name, array in like.items()})
    return {
        name: np.frombuffer(data, dtype, like[name].size, offset).reshape(shape) for name, (dtype, shape, offset) in layout.places.items()
    }


def table_of(rows: Columns) -> pa.Table:
    """Images as fixed-size lists, which is how Arrow holds them without a copy."""
    return pa.table({name: column_of(array) for name, array in rows.items()})


def column_of(array: np.ndarray) -> pa.Array:
    if array.ndim == 1:
        return pa.array(array)
    return pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), array[0].size)


def rows_of(table: pa.Table, like: Columns) -> Columns:
    found = {}
    for name, array in like.items():
        column = table[name].chunk(0) if table[name].num_chunks == 1 else table[name].combine_chunks()
        plain = column.flatten() if array.ndim > 1 else column
        found[name] = plain.to_numpy(zero_copy_only=False).reshape(array.shape)
    return found


def arrow(compression: str | None) -> Way:
    def encode(rows: Columns) -> bytes:
        table, sink = table_of(rows), io.BytesIO()
        with ipc.new_stream(sink, table.schema, options=ipc.IpcWriteOptions(compression=compression, use_threads=False)) as writer:
            writer.write_table(table)
        return sink.getvalue()

    def decode(data: bytes, like: Columns) -> Columns:
        with ipc.open_stream(data, options=ipc.IpcReadOptions(use_threads=False)) as reader:
            return rows_of(reader.read_all(), like)

    return Way(encode, decode)


def in_parquet(compression: str) -> Way:
    def encode(rows: Columns) -> bytes:
        sink = io.BytesIO()
        parquet.write_table(table_of(rows), sink, compression=compression)
        return sink.getvalue()

    def decode(data: bytes, like: Columns) -> Columns:
        return rows_of(parquet.read_table(pa.BufferReader(data), use_threads=False), like)

    return Way(encode, decode)


WAYS: Mapping[str, Way] = {
    "our columns": Way(ours, from_ours),
    "our columns, zlib": Way(lambda rows: zlib.compress(ours(rows), 1), lambda data, like: from_ours(zlib.decompress(data), like)),
    "Arrow IPC": arrow(None),
    "Arrow IPC, zstd": arrow("zstd"),
    "Parquet, snappy": in_parquet("snappy"),
    "Parquet, zstd": in_parquet("zstd"),
}


def readings(count: int) -> Columns:
    """As of weather stations: times that rise, numbers with two digits that wander, some noise, and codes."""
    rng = np.random.default_rng(0)
    walks = {name: np.cumsum(rng.standard_normal(count)).round(2).astype(np.float32) for name in ("temperature", "pressure", "humidity")}
    noise = {f"sensor {number}": rng.standard_normal(count).astype(np.float32) for number in range(6)}
    codes = {"station": rng.integers(0, 50, count, np.int32), "delayed": rng.random(count) < 0.2}
    return {"time": np.arange(count, dtype=np.int64) * 60_000_000, **walks, **noise, **codes}


def images(count: int) -> Columns:
    """The digits, again and again, each moved a little, nine pixels for one, with the noise of a camera where there is ink."""
    data = load_digits()
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, len(data.images), count)
    shifts = rng.integers(-1, 2, count)
    pixels = np.stack([np.roll(data.images[number], shift, axis=1) for number, shift in zip(chosen, shifts, strict=True)])
    large = np.kron(pixels * 15, np.ones((3, 3)))
    noisy = np.where(large > 0, large + rng.integers(0, 16, large.shape), 0)
    return {"x": noisy.astype(np.uint8), "y": data.target[chosen].astype(np.uint8)}


SETS: Mapping[str, Callable[[int], Columns]] = {"readings": readings, "images": images}
ROWS = {"readings": 40_000, "images": 4_000}  # about one slice of each
QUICK_ROWS = 400


def main() -> None:
    quick = "--quick" in sys.argv
    print(f"{describe()}, pyarrow {pa.__version__}")
    for name, make in SETS.items():
        rows = make(QUICK_ROWS if quick else ROWS[name])
        compare(name, rows, 2 if quick else REPEATS, quick)
    parts(quick)
    imports(1 if quick else 5)


def compare(name: str, rows: Columns, repeats: int, quick: bool) -> None:
    size = sum(array.nbytes for array in rows.values())
    coded = {way: WAYS[way].encode(rows) for way in WAYS}
    times: dict[str, tuple[list[float], list[float]]] = {way: ([], []) for way in WAYS}
    for _ in range(repeats):
        for way, (encoding, decoding) in times.items():
            encoding.append(cpu(lambda way=way: WAYS[way].encode(rows)))
            decoding.append(cpu(lambda way=way: WAYS[way].decode(coded[way], rows)))
            assert all(np.array_equal(array, rows[column]) for column, array in WAYS[way].decode(coded[way], rows).items())
    memory = {way: extra_memory(name, way, quick) for way in list(WAYS)[: 1 if quick else None]}
    lines = [
        (
            way,
            f"{len(coded[way]) / size:.3f}",
            *(f"{size / statistics.median(series) / 1e6:,.0f}" for series in times[way]),
            f"{memory.get(way, 0):.0f}",
        )
        for way in WAYS
    ]
    header = ("", "bytes / bytes of the rows", "encode, MB/s", "decode, MB/s", "memory, MiB")
    show(f"{name}: {len(next(iter(rows.values()))):,} rows, {size / 1e6:.1f} MB", header, lines)


def parts(quick: bool) -> None:
    """What else it costs to offer and to take a slice, whatever its bytes look like."""
    lines = []
    for name, make in SETS.items():
        rows = make(QUICK_ROWS if quick else ROWS[name])
        schema = schema_of(rows, "y" if "y" in rows else None)
        size = sum(array.nbytes for array in rows.values())
        (made,) = make_slices(rows, schema, most_rows=1 << 16, most_bytes=1 << 24)
        data = ours(rows)
        actions: tuple[Callable[[], object], ...] = (
            lambda data=data: raw_cid(data),
            lambda rows=rows, schema=schema: sketch_of(rows, schema),
            lambda rows=rows, schema=schema: list(make_slices(rows, schema, most_rows=1 << 16, most_bytes=1 << 24)),
            lambda made=made: pack_slice(made),
        )
        lines.append((name, *(f"{size / statistics.median([cpu(action) for _ in range(REPEATS)]) / 1e6:,.0f}" for action in actions)))
    show("The whole way of ours, MB/s", ("", "sha256", "sketch", "rows to a slice, checked", "slice to blocks"), lines)


def imports(repeats: int) -> None:
    modules = ("numpy", "learnae.data.slices", "pyarrow", "pyarrow.parquet")
    show(
        "Import, ms of CPU",
        ("", "ms"),
        [(module, f"{statistics.median([import_ms(module) for _ in range(repeats)]):.0f}") for module in modules],
    )


def import_ms(module: str) -> float:
    code = f"import time; began = time.process_time(); import {module}; print((time.process_time() - began) * 1e3)"
    return float(in_a_process("-c", code))


def extra_memory(name: str, way: str, quick: bool) -> float:
    return float(in_a_process(str(Path(__file__)), "--memory", name, way, *(["--quick"] if quick else [])))


def in_a_process(*arguments: str) -> str:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True).stdout


def measure_memory(name: str, way: str, quick: bool) -> None:
    """Ten of the sets, so that it is more than noise; the libraries are loaded and used before."""
    WAYS[way].decode(WAYS[way].encode(few := SETS[name](10)), few)
    rows = SETS[name](QUICK_ROWS if quick else 10 * ROWS[name])
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = status("VmRSS")
    found = WAYS[way].decode(WAYS[way].encode(rows), rows)
    assert len(found) == len(rows)
    print((status("VmHWM") - before) / 2**20)


def status(key: str) -> int:
    """In bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def cpu(action: Callable[[], object]) -> float:
    began = time.process_time()
    action()
    return max(time.process_time() - began, 1e-9)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory"]:
        measure_memory(sys.argv[2], sys.argv[3], "--quick" in sys.argv)
    else:
        main()
