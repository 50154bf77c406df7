"""What is saved can be read again, and is what it was; the rest is refused by its path."""

from __future__ import annotations

import datetime
import enum
import functools
import io
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from torch import nn

from learnae.errors import ConfigError
from learnae.trainer.storable import revived, storable


def again(value: Any) -> Any:
    """Saved and read."""
    buffer = io.BytesIO()
    torch.save(storable({"extra": value}), buffer)
    buffer.seek(0)
    return revived(torch.load(buffer, weights_only=True))["extra"]


class Level(enum.IntEnum):
    LOW = 1


class Mode(enum.Enum):
    A = "a"


class Colour(str, enum.Enum):  # noqa: UP042 -- whose str() is another one than that of a StrEnum
    RED = "red"


class Size(float, enum.Enum):
    L = 1.5


class Text(str):
    def __str__(self) -> str:
        return "another"

    def __repr__(self) -> str:
        return "Text"


class Number(int):
    def __int__(self) -> int:
        return 99

    def __index__(self) -> int:
        return 99


class Real(float):
    def __float__(self) -> float:
        return 99.0


class Raw(bytes):
    def __bytes__(self) -> bytes:
        return b"another"


class Imaginary(complex):
    def __complex__(self) -> complex:
        return 99j


Point = namedtuple("Point", "x y")


@attrs.define
class Thing:
    x: int


SAME = [
    None,
    True,
    1 << 100,
    1 << 2039,
    -(1 << 2040),
    pytest.param((1 << 20_000) - 1, id="of 20,000 bits"),
    float("inf"),
    1j,
    "text",
    b"\xff",
    (1, [2, {"a": (3,)}]),
    {1, 2},
    frozenset([1, 2]),
    deque([1, 2], 5),
    Counter("aab"),
    defaultdict(list, {"a": [1]}),
    OrderedDict(a=1, b=2),
    {(1, "a"): 1, 2: 3},
    slice(1, None, 2),
    range(3),
    datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC),
    datetime.date(2026, 1, 2),
    datetime.timedelta(days=1, microseconds=5),
    Decimal("1.10"),
    Fraction(1, 3),
    torch.device("cpu"),
    torch.float16,
    torch.Size([1, 2]),
]


@pytest.mark.parametrize("value", SAME, ids=repr)
def test_plain_values_are_what_they_were(value: Any) -> None:
    found = again({"deep": [value]})["deep"][0]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float64(0.5), 0.5),
        (np.float32(0.25), 0.25),
        (np.longdouble(0.5), 0.5),
        (np.complex128(1j), 1j),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.clongdouble(1 + 2j), 1 + 2j),
        (np.bytes_(b"a"), b"a"),
        (Level.LOW, 1),
        (Colour.RED, "red"),
        (Size.L, 1.5),
        ({Colour.RED: {Text("a")}}, {"red": {"a"}}),
        (Text("a"), "a"),
        (Number(3), 3),
        (Real(0.5), 0.5),
        (Raw(b"a"), b"a"),
        (Imaginary(1j), 1j),
        ({np.int64(3): np.float64(1)}, {3: 1.0}),
    ],
    ids=repr,
)
def test_numbers_of_numpy_become_numbers(value: Any, plain: Any) -> None:
    found = again([value])[0]
    assert found == plain and type(found) is type(plain)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "uint8", "bool", "complex64", ">f4", "U3"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 2)])
def test_arrays_stay_arrays(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.ones(shape).astype(dtype)
    found = again(array)
    assert isinstance(found, np.ndarray) and found.shape == shape and np.array_equal(found, array)
    assert found.dtype == array.dtype.newbyteorder("=")


def test_a_view_that_runs_backwards_is_saved_too() -> None:
    assert again(np.arange(4)[::-1]).tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize("tensor", [nn.Parameter(torch.ones(2)), torch.ones(2, device="meta"), torch.ones(()), torch.ones(2).bfloat16()])
def test_tensors_are_left_as_they_are(tensor: torch.Tensor) -> None:
    assert storable({"a": [tensor]})["a"][0] is tensor


class Mine(torch.Tensor):
    pass


def test_tensors_of_a_subclass_or_with_attributes_become_plain_ones() -> None:
    marked = torch.ones(2)
    marked.owner = Thing(1)  # type: ignore[attr-defined]
    for tensor in (torch.ones(2).as_subclass(Mine), marked):
        found = again(tensor)
        assert type(found) is torch.Tensor and found.tolist() == [1, 1]


def test_a_model_keeps_the_versions_of_its_modules() -> None:
    state = nn.BatchNorm1d(2).state_dict()
    state["extra"] = np.float64(1)
    kept = storable({"model": state})["model"]
    assert kept["extra"] == 1.0 and kept._metadata == state._metadata


def test_what_is_plain_already_is_not_copied() -> None:
    state = {"state": {0: {"momentum": torch.ones(2)}}, "groups": [{"lr": 0.1}]}
    assert storable({"optimizer": state})["optimizer"] is state


class AttrDict(dict):  # type: ignore[type-arg]
    pass


@pytest.mark.parametrize(
    "value",
    [
        Thing(1),
        Mode.A,
        Point(1, 2),
        lambda: 1,
        functools.partial(int, 1),
        torch.Generator(),
        Path("a"),
        AttrDict(a=1),
        np.array([Thing(1)]),
        np.ma.masked_array([1], [True]),
        np.random.default_rng(),
        {frozenset([1]): 1},
        np.datetime64("2020-01-01"),
        np.timedelta64(1, "D"),
        np.void(b"ab"),
        iter([1]),
        int,
    ],
    ids=lambda value: f"{type(value).__module__}.{type(value).__name__}",
)
def test_what_cannot_be_read_again_is_refused_with_the_path_to_it(value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        storable({"scheduler": {"states": [1, {"best": value}]}})
    assert 'scheduler["states"][1]["best"]' in str(caught.value)


@pytest.mark.parametrize("value", [{(Fraction(1, 2), 1): 2}, {(1, (2, frozenset([1]))): 2}, {(datetime.date(2020, 1, 1), 1)}], ids=repr)
def test_a_key_that_holds_what_is_written_as_a_mark_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r'"best".* a tuple, which cannot be saved'):
        storable({"scheduler": {"best": value}})


def test_what_contains_itself_is_refused() -> None:
    state: dict[str, Any] = {}
    state["again"] = [state]
    with pytest.raises(ConfigError, match="contains itself"):
        storable({"extra": state})


def test_the_same_value_twice_is_no_circle() -> None:
    betas = [np.float64(0.9)]
    assert again({"a": betas, "b": betas}) == {"a": [0.9], "b": [0.9]}


def test_what_is_too_deep_is_refused() -> None:
    state: Any = 1
    for _ in range(5000):
        state = [state]
    with pytest.raises(ConfigError, match="nested"):
        storable({"extra": state})


SCHEDULERS = {
    "multistep": lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [2, 3]),
    "onecycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=100),
    "cyclic": lambda o: torch.optim.lr_scheduler.CyclicLR(o, 0.01, 0.1, cycle_momentum=False),
    "numpy": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: np.float64(0.99) ** step),
    "plateau": lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o),
    "one after the other": lambda o: torch.optim.lr_scheduler.SequentialLR(
        o, [torch.optim.lr_scheduler.ConstantLR(o), torch.optim.lr_scheduler.CosineAnnealingLR(o, np.int64(10))], [np.int64(2)]
    ),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_schedulers_of_torch_go_on_where_they_were(name: str) -> None:
    parameters = [nn.Parameter(torch.ones(1))]

    def make() -> Any:
        return SCHEDULERS[name](torch.optim.SGD(parameters, lr=np.logspace(-2, -1, 3)[0]))

    scheduler, other = make(), make()
    for _ in range(3):
        scheduler.optimizer.step()
        scheduler.step(*[0.5] if name == "plateau" else [])
    other.load_state_dict(again(scheduler.state_dict()))
    assert other.last_epoch == scheduler.last_epoch == 3


@pytest.mark.parametrize("mark", [{"of": ["1"]}, {}, {"of": 3}], ids=["of a newer Learnae", "of nothing", "of nonsense"])
@pytest.mark.parametrize("kind", ["unheard", "decimal", "array", ["list"]], ids=str)
def test_what_cannot_be_made_again_is_told_as_a_mistake_of_the_file(mark: dict[str, Any], kind: Any) -> None:
    if kind == "decimal" and mark == {"of": ["1"]}:
        mark = {"of": ["nonsense"]}
    with pytest.raises(ConfigError, match="cannot be made again"):
        revived({"scheduler": {"learnae.kind": kind, **mark}})
