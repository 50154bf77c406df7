"""A slice as one file that can be mapped into memory: a safetensors file, with all tensors behind one another.

One file for each slice, not for each column: it is there or not, in one step, and a process that has mapped it holds one descriptor
for all of its columns. Whatever reads safetensors reads it. Where each tensor lies follows from names, dtypes and shapes, so no place
in a file is believed.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import struct
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import attrs
import numpy as np

from learnae import opening
from learnae.content.cids import parse_cid
from learnae.data.about import MOST_ABOUT_BYTES
from learnae.data.schema import MOST_COLUMNS, MOST_DIMENSIONS, MOST_SLICE_BYTES, Rows
from learnae.errors import ConfigError, Problem, UpdateRejectedError
from learnae.identity.home_folder import HomeFolder
from learnae.records import Cid

SUFFIX = ".safetensors"
_DRAFT = ".new"
_CODES = {
    **{f"{sign}int{bits}": f"{'U' if sign else 'I'}{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"F{bits}" for bits in (16, 32, 64)},
    "bool": "BOOL",
}
_DTYPES = {code: dtype for dtype, code in _CODES.items()}
_LENGTH = struct.Struct("<Q")
_ALIGNMENT = 64
_MOST_HEADER_BYTES = 256 << 10
MOST_FILE_BYTES = _LENGTH.size + _MOST_HEADER_BYTES + MOST_ABOUT_BYTES + MOST_SLICE_BYTES


@attrs.frozen
class FileLayout:
    """Where the tensors of a file lie: dtype, shape and first byte of each, by name; and what the file begins with."""

    head: bytes
    places: Mapping[str, tuple[np.dtype[Any], tuple[int, ...], int]]
    size: int


def layout_of(tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> FileLayout:
    """Of tensors with these dtypes and shapes, the widest dtype first, so that each lies where its numbers may."""
    order = sorted(tensors, key=lambda name: (-np.dtype(tensors[name][0]).itemsize, name))
    header: dict[str, Any] = {}
    ends = 0
    for name in order:
        dtype, shape = tensors[name]
        begins, ends = ends, ends + np.dtype(dtype).itemsize * math.prod(shape)
        header[name] = {"dtype": _CODES[dtype], "shape": list(shape), "data_offsets": [begins, ends]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(_LENGTH.size + len(text)) % _ALIGNMENT)
    head = _LENGTH.pack(len(text)) + text
    places = {
        name: (np.dtype(tensors[name][0]).newbyteorder("<"), tensors[name][1], len(head) + header[name]["data_offsets"][0])
        for name in order
    }
    return FileLayout(head, places, len(head) + ends)


def file_name(root: Cid) -> str:
    return f"{root}{SUFFIX}"


def draft_name(root: Cid) -> str:
    return f"{file_name(root)}{_DRAFT}"


def root_in(name: str) -> Cid | None:
    """The root that the name of a file says; None if it is no file of a slice."""
    try:
        return parse_cid(name.removesuffix(SUFFIX)) if name.endswith(SUFFIX) else None
    except UpdateRejectedError:
        return None


def is_draft(name: str) -> bool:
    """What a writer that was killed may have left."""
    return name.endswith(_DRAFT) and root_in(name.removesuffix(_DRAFT)) is not None


def write_tensors(folder: HomeFolder, root: Cid, tensors: Rows) -> None:
    """Write a file: it appears whole, and is on the disk then. Raises OSError."""
    write_draft(folder, root, tensors)
    publish_draft(folder, root)


def write_draft(folder: HomeFolder, root: Cid, tensors: Rows) -> None:
    """The whole file, under a name that nobody reads; it is on the disk then. Raises OSError, and leaves nothing."""
    layout = layout_of({name: (array.dtype.name, array.shape) for name, array in tensors.items()})
    draft = draft_name(root)
    try:
        with opening.draft_in(folder.fd, draft) as file:
            file.write(layout.head)
            for tensor in layout.places:
                file.write(np.ascontiguousarray(tensors[tensor]).reshape(-1).view(np.uint8).data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        remove(folder, draft)
        raise


def publish_draft(folder: HomeFolder, root: Cid) -> None:
    """Give a draft its name. Raises OSError."""
    os.replace(draft_name(root), file_name(root), src_dir_fd=folder.fd, dst_dir_fd=folder.fd)


def map_tensors(folder: HomeFolder, root: Cid, layout: FileLayout) -> dict[str, np.ndarray[Any, Any]]:
    """The tensors of a file that lies as this says, read-only and not yet read. They keep one descriptor until the last of them is gone.

    Raises ConfigError for a file that is another, or none of this user's, and OSError, which is FileNotFoundError where it is gone.
    """
    name = file_name(root)
    descriptor = folder.open(name, max_bytes=layout.size)
    try:
        if os.fstat(descriptor).st_size != layout.size or os.pread(descriptor, len(layout.head), 0) != layout.head:
            raise _broken(folder, name)
        mapped = _mapped(descriptor, layout.size)
    finally:
        os.close(descriptor)
    return _views(memoryview(mapped), layout)


def read_tensors(folder: HomeFolder, root: Cid) -> dict[str, np.ndarray[Any, Any]]:
    """All of a file, read into memory. Raises ConfigError for one that `write_tensors` did not write, and OSError."""
    name = file_name(root)
    data = folder.read(name, MOST_FILE_BYTES)
    try:
        layout = layout_of(_header(data))
    except (ValueError, RecursionError, UpdateRejectedError):
        raise _broken(folder, name) from None
    if len(data) != layout.size or not data.startswith(layout.head):
        raise _broken(folder, name)
    return _views(memoryview(data), layout)


def remove(folder: HomeFolder, name: str) -> None:
    """Nothing happens where it is not there. Who has mapped it keeps it. Raises OSError."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder.fd)


def _mapped(descriptor: int, size: int) -> mmap.mmap:
    if sys.version_info >= (3, 13):
        return mmap.mmap(descriptor, size, access=mmap.ACCESS_READ, trackfd=False)
    return mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)


def _views(data: memoryview, layout: FileLayout) -> dict[str, np.ndarray[Any, Any]]:
    return {
        name: np.frombuffer(data, dtype, math.prod(shape), offset).reshape(shape) for name, (dtype, shape, offset) in layout.places.items()
    }


def _header(data: bytes) -> dict[str, tuple[str, tuple[int, ...]]]:
    (length,) = _LENGTH.unpack_from(data.ljust(_LENGTH.size, b"\xff"))
    if length > _MOST_HEADER_BYTES:
        raise ValueError("a header that is too long")
    header = json.loads(data[_LENGTH.size : _LENGTH.size + length])
    if type(header) is not dict or len(header) > MOST_COLUMNS + 1:
        raise ValueError("no header of a slice")
    return {name: _tensor(entry) for name, entry in header.items()}


def _tensor(entry: Any) -> tuple[str, tuple[int, ...]]:
    if type(entry) is not dict or entry.get("dtype") not in _DTYPES or type(entry.get("shape")) is not list:
        raise ValueError("no tensor")
    shape = entry["shape"]
    if len(shape) > MOST_DIMENSIONS + 1 or any(type(size) is not int or not 0 <= size <= MOST_FILE_BYTES for size in shape):
        raise ValueError("no shape")
    return _DTYPES[entry["dtype"]], tuple(shape)


def _broken(folder: HomeFolder, name: str) -> ConfigError:
    return ConfigError(Problem(str(folder.path / name), "is no file of a slice, or a damaged one", "move it away"))
