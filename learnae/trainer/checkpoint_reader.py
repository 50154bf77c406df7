"""Reads the model and the progress of a checkpoint that somebody else may have written, without giving the file to torch.

`torch.load(weights_only=True)` runs no code of a file, and yet makes what the file asks for: tensors of any size without a byte behind
them, archives that are unpacked to a thousand times their length. Here each number of a tensor stands in the file, each piece is read
once for each name that it has, and all else of the file is passed over.
"""

from __future__ import annotations

import io
import pickletools
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import attrs
import torch

from learnae.records import MEGABYTE

MOST_TREE_BYTES = 64 * MEGABYTE  # of all that is no tensor
MOST_STEPS = 1 << 22  # of a tree: a model with 28,000 tensors, and two moments of each, takes as many
MOST_TENSORS = 1 << 16
MOST_TIES = 16  # how often all bytes of a file may be taken: a part of a model that it has under several names
DEEPEST = 64  # dimensions of a tensor
TEXT_CHARACTERS = 200
_CHUNK = 4 * MEGABYTE
_MOST_AT_ONCE = 16 * MEGABYTE  # the list of what is in an archive is read in one
_STORAGES: Mapping[str, torch.dtype] = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
    "torch.ComplexFloatStorage": torch.complex64,
    "torch.storage.UntypedStorage": torch.uint8,
}
_REBUILT = "torch._utils._rebuild_"  # how the names of all functions begin that make tensors
_NAMELESS = None  # the key of a tensor under a key that is no text


class UnfitCheckpointError(Exception):
    """This file is no checkpoint that can be read here, and why."""


@attrs.frozen
class _Name:
    """What a file wants to be called."""

    text: str


@attrs.frozen
class _Storage:
    """A piece of the archive: numbers of one dtype."""

    key: str
    dtype: torch.dtype


@attrs.frozen
class _Tensor:
    """What the file says of one; `kind` is the function that it wants to be made by."""

    kind: str
    parts: tuple[Any, ...]


class _Other:
    """Something that is passed over."""


@attrs.frozen
class ReadModel:
    """The tensors of a checkpoint, by their names, and what it says of its progress."""

    tensors: dict[str, torch.Tensor]
    age: int | None
    lineage: str
    merged: bool = False  # as the model was merged last, and not as it was trained since


def read_model(file: BinaryIO, *, trained: bool = False) -> ReadModel:
    """The model as it was merged last, if the file has that; or as it was trained since. Raises UnfitCheckpointError, OSError."""
    try:
        with zipfile.ZipFile(_BoundedFile(file)) as archive:
            return _read(archive, file.seek(0, io.SEEK_END), trained)
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        ValueError,
        IndexError,
        KeyError,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise UnfitCheckpointError(f"it is damaged, or not as torch writes it ({type(error).__name__})") from error


class _BoundedFile(io.RawIOBase):
    """A file of which nobody reads much at once, such as a list of a billion names."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(min(size, _MOST_AT_ONCE + 1) if size >= 0 else _MOST_AT_ONCE + 1)
        if len(content) > _MOST_AT_ONCE:
            raise UnfitCheckpointError("it has too many entries")
        return content

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(place, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True


def _read(archive: zipfile.ZipFile, length: int, trained: bool) -> ReadModel:
    entries = {entry.filename: entry for entry in archive.infolist()}
    trees = [name for name in entries if PurePosixPath(name).name == "data.pkl"]
    if len(trees) != 1:
        raise UnfitCheckpointError("it is not as torch writes it")
    folder = trees[0].removesuffix("data.pkl")
    order = entries.get(f"{folder}byteorder")
    if order is not None and _content(archive, order, 16).decode("ascii", "replace") != sys.byteorder:
        raise UnfitCheckpointError("a machine with another order of bytes has written it")
    state = _tree(_content(archive, entries[trees[0]], MOST_TREE_BYTES))
    if not isinstance(state, dict) or not isinstance(state.get("model"), dict):
        raise UnfitCheckpointError("it holds no model")
    merged = isinstance(state.get("merged"), dict) and not trained
    chosen = {**state["model"], **(state["merged"] if merged else {})}
    tensors = _tensors(archive, entries, folder, chosen, MOST_TIES * length)
    swarm = state.get("swarm")
    age, lineage = (swarm.get("age"), swarm.get("lineage")) if isinstance(swarm, dict) else (None, None)
    known = type(age) is int and 0 <= age < 1 << 63
    return ReadModel(tensors, age if known else None, lineage[:TEXT_CHARACTERS] if isinstance(lineage, str) else "", merged)


def _tensors(
    archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo], folder: str, chosen: Mapping[Any, Any], left: int
) -> dict[str, torch.Tensor]:
    """Of what a file has by names, those that are tensors. `left` is how many bytes they may take."""
    tensors: dict[str, torch.Tensor] = {}
    for name, value in chosen.items():
        if not isinstance(value, _Tensor):
            continue
        if not isinstance(name, str):
            raise UnfitCheckpointError("a tensor in it has no name")
        if len(tensors) >= MOST_TENSORS:
            raise UnfitCheckpointError(f"its model has more than {MOST_TENSORS:,} tensors")
        tensors[name], taken = _made(archive, entries, folder, name, value, left)
        left -= taken
    return tensors


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytearray:
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
        raise UnfitCheckpointError("it is compressed, which torch does not do")
    if entry.file_size > most:
        raise UnfitCheckpointError("what it holds beside tensors is too large")
    content = bytearray()
    with archive.open(entry) as file:
        while chunk := file.read(_CHUNK):
            content += chunk
    return content


def _made(
    archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo], folder: str, name: str, value: _Tensor, left: int
) -> tuple[torch.Tensor, int]:
    """The tensor, and how many bytes were read and made for it."""
    if value.kind not in ("tensor_v2", "tensor_v3"):
        raise UnfitCheckpointError(f"{name!r:.100} in its model is of a kind that cannot be exported")
    storage, offset, size, stride, *more = value.parts
    dtype = more[2] if value.kind == "tensor_v3" else storage.dtype
    entry = entries.get(f"{folder}data/{storage.key}") if isinstance(storage, _Storage) else None
    if isinstance(dtype, _Name):
        dtype = getattr(torch, dtype.text.removeprefix("torch."), None)
    shaped = _are_counts(size) and _are_counts(stride) and len(size) == len(stride) <= DEEPEST and _are_counts((offset,))
    if entry is None or not shaped or not isinstance(dtype, torch.dtype):
        raise UnfitCheckpointError(f"{name!r:.100} in its model is no tensor")
    if any(isinstance(part, dict) and part for part in more[2:]):
        raise UnfitCheckpointError(f"{name!r:.100} in its model is of a kind that cannot be exported")
    count = 1
    for extent in size:
        count *= extent
    last = offset + sum((extent - 1) * step for extent, step in zip(size, stride, strict=True)) if count else -1
    room = entry.file_size // dtype.itemsize
    if last >= room or count > room:
        raise UnfitCheckpointError(f"{name!r:.100} in its model has more numbers than its file")
    taken = entry.file_size + count * dtype.itemsize
    if taken > left:
        raise UnfitCheckpointError("its tensors are far larger than its file")
    if not count:
        return torch.empty(size, dtype=dtype, device="cpu"), 0
    flat = torch.frombuffer(_content(archive, entry, entry.file_size)[: room * dtype.itemsize], dtype=dtype)
    return flat.as_strided(size, stride, offset).contiguous().clone(), taken


def _are_counts(values: Any) -> bool:
    return isinstance(values, tuple) and all(type(value) is int and 0 <= value < 1 << 48 for value in values)


def _tree(data: bytearray) -> Any:
    """What the steps of a pickle lead to. Nothing is called: what it wants to be called is a tensor, or passed over."""
    stack = _Stack()
    for count, (step, value, _) in enumerate(pickletools.genops(io.BytesIO(data))):
        if count >= MOST_STEPS:  # an empty list takes a byte there, and seventy here
            raise UnfitCheckpointError("what it holds beside tensors is too much")
        if step.name == "STOP":
            return stack.values.pop()
        if step.name in _GIVEN:
            stack.values.append(value)
        elif step.name in _MADE:
            stack.values.append(_MADE[step.name]())
        elif step.name in _STEPS:
            _STEPS[step.name](stack, value)
        elif step.name != "PROTO":
            raise UnfitCheckpointError("it is not as torch writes it")
    raise UnfitCheckpointError("it ends too early")


@attrs.define
class _Stack:
    values: list[Any] = attrs.field(factory=list)
    marks: list[int] = attrs.field(factory=list)
    memo: dict[int, Any] = attrs.field(factory=dict)

    def mark(self, _: Any) -> None:
        self.marks.append(len(self.values))

    def keep(self, place: int) -> None:
        self.memo[place] = self.values[-1]

    def again(self, place: int) -> None:
        self.values.append(self.memo[place])

    def name(self, text: str) -> None:
        self.values.append(_Name(text.replace(" ", ".")))

    def tuple_since_mark(self, _: Any) -> None:
        self.values.append(tuple(self._since_mark()))

    def tuple_of(self, count: int) -> None:
        self.values[-count:] = [tuple(self.values[-count:])]

    def add(self, values: list[Any]) -> None:
        if isinstance(self.values[-1], list):
            self.values[-1].extend(values)

    def add_since_mark(self, _: Any) -> None:
        self.add(self._since_mark())

    def enter(self, values: list[Any]) -> None:
        if isinstance(self.values[-1], dict):
            for key, value in zip(values[::2], values[1::2], strict=True):
                if type(key) is str:  # whoever writes numbers can choose a million of one and the same hash
                    self.values[-1][key] = value
                elif isinstance(value, _Tensor):
                    self.values[-1][_NAMELESS] = value

    def enter_since_mark(self, _: Any) -> None:
        self.enter(self._since_mark())

    def storage(self, _: Any) -> None:
        self.values.append(_storage(self.values.pop()))

    def called(self, _: Any) -> None:
        name, parts = self.take(2)
        self.values.append(_called(name, parts))

    def passed_over(self, _: Any) -> None:
        self.take(2)
        self.values.append(_Other())

    def take(self, count: int) -> list[Any]:
        values = self.values[-count:]
        del self.values[-count:]
        return values

    def _since_mark(self) -> list[Any]:
        place = self.marks.pop()
        values = self.values[place:]
        del self.values[place:]
        return values


_GIVEN = frozenset(["BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING", "BINSTRING"])
_MADE: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": _Other,
}
_STEPS: Mapping[str, Callable[[_Stack, Any], Any]] = {
    "MARK": _Stack.mark,
    "GLOBAL": _Stack.name,
    "BINPUT": _Stack.keep,
    "LONG_BINPUT": _Stack.keep,
    "BINGET": _Stack.again,
    "LONG_BINGET": _Stack.again,
    "TUPLE": _Stack.tuple_since_mark,
    "TUPLE1": lambda stack, _: stack.tuple_of(1),
    "TUPLE2": lambda stack, _: stack.tuple_of(2),
    "TUPLE3": lambda stack, _: stack.tuple_of(3),
    "APPEND": lambda stack, _: stack.add(stack.take(1)),
    "APPENDS": _Stack.add_since_mark,
    "SETITEM": lambda stack, _: stack.enter(stack.take(2)),
    "SETITEMS": _Stack.enter_since_mark,
    "BINPERSID": _Stack.storage,
    "REDUCE": _Stack.called,
    "NEWOBJ": _Stack.passed_over,
    "BUILD": lambda stack, _: stack.take(1),
}


def _storage(known: Any) -> Any:
    match known:
        case ("storage", _Name(text), str(key), *_) if text in _STORAGES:
            return _Storage(key, _STORAGES[text])
    return _Other()


def _called(name: Any, parts: Any) -> Any:
    if not isinstance(name, _Name) or not isinstance(parts, tuple):
        return _Other()
    if name.text == "collections.OrderedDict" and not parts:
        return {}
    if name.text in ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state") and _is_tensor(parts[:1]):
        return parts[0]
    if name.text == "torch.Size" and len(parts) == 1 and isinstance(parts[0], tuple):
        return parts[0]
    return _Tensor(name.text.removeprefix(_REBUILT), parts) if name.text.startswith(_REBUILT) else _Other()


def _is_tensor(parts: Sequence[Any]) -> bool:
    return len(parts) == 1 and isinstance(parts[0], _Tensor)
