"""A checkpoint that somebody else has written: what `learnae export` takes of it stands in the file, and all else is a file to mend."""

from __future__ import annotations

import io
import json
import os
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from learnae.cli.main import main
from learnae.trainer.checkpoint_reader import MOST_TIES, UnfitCheckpointError, _tree, read_model
from tests.support.hostile.given_homes import hostile_home

pytestmark = pytest.mark.timeout(60)

GOOD = torch.arange(4.0)
MODELS: dict[str, Callable[[], Any]] = {
    "expanded": lambda: {"w": torch.zeros(1).expand(700_000_000)},
    "without numbers": lambda: {"w": torch.zeros(4, device="meta")},
    "sparse": lambda: {"w": torch.sparse_coo_tensor(torch.tensor([[0]]), torch.tensor([1.0]), (10,))},
    "sparse rows": lambda: {"w": torch.eye(3).to_sparse_csr()},
    "quantized": lambda: {"w": torch.quantize_per_tensor(torch.zeros(4), 1.0, 0, torch.qint8)},
    "conjugated": lambda: {"w": torch.zeros(4, dtype=torch.complex64).conj()},
    "complex": lambda: {"w": torch.zeros(4, dtype=torch.complex128)},
    "a number as name": lambda: {5: torch.zeros(3)},
    "half a character as name": lambda: {"\ud800": torch.zeros(3)},
    "list": lambda: [GOOD],
    "nothing": lambda: None,
    "text": lambda: "model",
}
SWARMS = [
    [1],
    5,
    None,
    {"age": "abc"},
    {"age": float("nan")},
    {"age": 10**400},
    {"age": None},
    {"age": -1},
    {"lineage": "\ud800"},
    {"lineage": [1]},
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = hostile_home(tmp_path / "home", "text")
    (home / "checkpoint").mkdir(exist_ok=True)
    return home


def exported(home: Path, state: Any, capsys: pytest.CaptureFixture[str]) -> int:
    if isinstance(state, bytes):
        (home / "checkpoint" / "checkpoint.pt").write_bytes(state)
    else:
        torch.save(state, home / "checkpoint" / "checkpoint.pt")
    (home / "checkpoint" / "checkpoint.previous.pt").unlink(missing_ok=True)
    code = main(["export", str(home), "-o", str(home.parent / "out.safetensors"), "--force"])
    said = capsys.readouterr().err
    assert "Traceback" not in said and "a bug of Learnae" not in said
    return code


def saved(state: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore")  # of torch, that it is not done with such tensors
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_model_that_no_file_of_tensors_can_hold_is_a_file_to_mend(
    home: Path, model: Callable[[], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exported(home, {"model": model(), "swarm": {"age": 1}}, capsys) == 2
    assert not (home.parent / "out.safetensors").exists()
    assert not [name for name in home.parent.iterdir() if "safetensors" in name.name]


@pytest.mark.parametrize("swarm", SWARMS, ids=range(len(SWARMS)))
def test_what_a_checkpoint_says_of_its_progress_never_keeps_its_model_back(
    home: Path, swarm: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exported(home, {"model": {"w": GOOD}, "swarm": swarm}, capsys) in (0, 2)


@pytest.mark.parametrize("state", [[1, 2, 3], 5, None, {}, b"", b"PK\x05\x06" + bytes(18)], ids=range(6))
def test_what_is_no_checkpoint_is_a_file_to_mend(home: Path, state: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert exported(home, state, capsys) == 2


def test_nothing_beside_the_model_is_made_again(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = [{"learnae.kind": "range", "of": [0, 10**12, 1]}, None]
    more = {"x": {"learnae.kind": "deque", "of": parts}, "y": {"learnae.kind": "fraction", "of": ["1e999999999"]}}
    assert exported(home, {"model": {"w": GOOD}, "swarm": {"age": 3}, **more}, capsys) == 0
    assert torch.equal(load_file(home.parent / "out.safetensors")["w"], GOOD)


def test_nothing_that_a_file_wants_called_is_called() -> None:
    """`torch.load` calls some of these, also where it unpickles nothing else."""
    steps = b"\x80\x02}X\x05\x00\x00\x00model}s" + b"X\x01\x00\x00\x00xcbuiltins\nbytearray\n\x8a\x06\x00\x00\x00\x00\x00\x01\x85Rs."
    assert read_model(io.BytesIO(archive({"data.pkl": steps}))).tensors == {}


def test_numbers_of_one_hash_in_the_place_of_names_are_passed_over() -> None:
    """A quarter of a megabyte took a minute, a megabyte a quarter of an hour."""
    numbers = ((count * sys.hash_info.modulus).to_bytes(12, "little") for count in range(1, 1_001))
    steps = b"\x80\x02}X\x05\x00\x00\x00model}(" + b"".join(b"\x8a\x0c" + number + b"N" for number in numbers) + b"us."
    assert _tree(bytearray(steps)) == {"model": {}}


def test_a_tensor_under_a_number_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exported(home, {"model": {"w": GOOD, 7: GOOD}, "swarm": {"age": 1}}, capsys) == 2


@pytest.mark.parametrize("step", [b"}", b"]", b")\x85"], ids=["mappings", "lists", "tuples"])
def test_no_more_is_made_of_what_stands_beside_the_model_than_a_large_one_has(step: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 64 MiB of empty lists came 5 GB."""
    monkeypatch.setattr("learnae.trainer.checkpoint_reader.MOST_STEPS", 1_000)
    with pytest.raises(UnfitCheckpointError, match="too much"):
        read_model(io.BytesIO(archive({"data.pkl": b"\x80\x02" + step * 1_000 + b"."})))


def test_a_model_has_no_more_tensors_than_one_of_a_swarm_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learnae.trainer.checkpoint_reader.MOST_TENSORS", 2)
    with pytest.raises(UnfitCheckpointError, match="more than"):
        read_model(io.BytesIO(saved({"model": dict.fromkeys("abc", GOOD)})))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_file_is_not_replaced_even_by_force(
    home: Path, make: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    make(home.parent / "out.safetensors")
    before = (home.parent / "out.safetensors").stat().st_mode
    assert exported(home, {"model": {"w": GOOD}, "swarm": {"age": 1}}, capsys) == 2
    assert (home.parent / "out.safetensors").stat().st_mode == before


def archive(entries: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as file:
        for name, data in entries.items():
            file.writestr(f"archive/{name}", data)
    return buffer.getvalue()


def test_an_archive_that_is_compressed_is_refused_before_it_is_unpacked() -> None:
    with zipfile.ZipFile(io.BytesIO(saved({"model": {"w": torch.zeros(10_000_000)}, "swarm": {}}))) as file:
        packed = archive({name.partition("/")[2]: file.read(name) for name in file.namelist()}, zipfile.ZIP_DEFLATED)
    assert len(packed) < 100_000
    with pytest.raises(UnfitCheckpointError, match="compressed"):
        read_model(io.BytesIO(packed))


def test_one_piece_under_very_many_names_is_refused() -> None:
    piece = torch.zeros(100_000)
    with pytest.raises(UnfitCheckpointError, match="larger"):
        read_model(io.BytesIO(saved({"model": {f"{number}": piece for number in range(10 * MOST_TIES)}, "swarm": {}})))


def test_lists_that_hold_each_other_twice_take_no_time() -> None:
    """Forty levels are as many paths as nobody walks; as a key of a table, each is hashed."""
    deep = b")" + b"q\x01h\x01\x86" * 60  # an empty tuple, then sixty times: one of it and itself
    steps = b"\x80\x02}(X\x05\x00\x00\x00model}" + deep + b"K\x01u."
    assert read_model(io.BytesIO(archive({"data.pkl": steps}))).tensors == {}


@pytest.mark.parametrize(
    "value",
    [
        GOOD,
        torch.arange(6.0).reshape(2, 3).t(),
        torch.arange(6.0)[2:4],
        torch.zeros(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        torch.zeros(0, 3),
        torch.tensor(3.0),
        torch.tensor([1, 2], dtype=torch.uint16),
        torch.tensor([1.5, 2.0], dtype=torch.bfloat16),
        torch.tensor([True, False]),
        torch.zeros(4).to(torch.float8_e4m3fn),
        nn.Parameter(torch.ones(2)),
    ],
    ids=lambda value: f"{value.dtype} {tuple(value.shape)} {value.stride()} {value.requires_grad}",
)
def test_each_tensor_of_a_model_comes_as_it_was_saved(value: torch.Tensor) -> None:
    state = {"model": OrderedDict(w=value, extra=5), "swarm": {"age": 7, "lineage": "ab"}, "random": {"python": (3, (1, 2))}}
    found = read_model(io.BytesIO(saved(state)))
    assert (found.age, found.lineage, list(found.tensors)) == (7, "ab", ["w"])
    assert found.tensors["w"].dtype == value.dtype and found.tensors["w"].shape == value.shape
    assert found.tensors["w"].float().tolist() == value.detach().float().tolist()


VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5) | st.just(GOOD),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(model=VALUES, swarm=VALUES, top=st.none() | VALUES)
def test_any_value_in_any_place_is_read_or_refused(model: Any, swarm: Any, top: Any) -> None:
    state = {"model": model, "swarm": swarm} if top is None else top
    try:
        found = read_model(io.BytesIO(saved(state)))
    except UnfitCheckpointError:
        return
    assert all(isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in found.tensors.items())
    json.dumps([found.age, found.lineage])


@settings(max_examples=300, deadline=None)
@given(place=st.integers(min_value=0, max_value=3000), value=st.integers(min_value=0, max_value=255), cut=st.integers(0, 3000))
def test_any_damage_is_read_or_refused(place: int, value: int, cut: int) -> None:
    data = bytearray(saved({"model": OrderedDict(w=GOOD, v=nn.Parameter(torch.ones(2, 2))), "swarm": {"age": 1}}))
    data[place % len(data)] = value
    for damaged in (data, data[: cut % len(data)]):
        try:
            read_model(io.BytesIO(bytes(damaged)))
        except UnfitCheckpointError:
            continue
