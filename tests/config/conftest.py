from __future__ import annotations

import enum
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest
from attrs.validators import and_, deep_iterable, ge, lt, matches_re, optional

from learnae import ConfigError, NoOptions, PluginError, Problem
from learnae.config.load import load_document
from learnae.config.options import OptionsOf
from learnae.config.tables import Config


class Mode(enum.Enum):
    FAST = "fast"
    SAFE = "safe"


@attrs.frozen
class Trim:
    trim: float = attrs.field(default=0.2, validator=[ge(0.0), lt(0.5)], metadata={"doc": "Share dropped at each end."})


def split(value: str | Iterable[str]) -> tuple[str, ...]:
    return tuple(value.split()) if isinstance(value, str) else tuple(value)


@attrs.frozen
class Rich:
    """One key of every type that a file can give."""

    whole: int
    ratio: float = 0.5
    switch: bool = False
    label: str | None = attrs.field(default=None, validator=optional(matches_re("[a-z]+")))
    place: Path | None = None
    many: tuple[int, ...] = ()
    pair: tuple[int, str] = (1, "a")
    rows: list[float] = attrs.field(factory=list)
    table: Mapping[str, int] = attrs.field(factory=dict)
    either: int | str = 0
    literal: Literal["a", 1] = "a"
    mode: Mode = Mode.FAST
    anything: Any = None
    words: tuple[str, ...] = attrs.field(default=(), converter=split)
    _private: int = 0
    counted: int = attrs.field(init=False, default=7)


@attrs.frozen
class Between:
    low: float = attrs.field(default=0.0)
    high: float = attrs.field(default=10.0)

    @high.validator
    def _above(self, _: object, value: float) -> None:
        if value <= self.low:
            raise ValueError("must be above low")


@attrs.frozen
class Checked:
    names: tuple[str, ...] = attrs.field(default=(), validator=deep_iterable(matches_re("[a-z]+")))
    size: int = attrs.field(default=2, validator=and_(ge(1), lt(5)))

    def __attrs_post_init__(self) -> None:
        if self.size == 4:
            raise ValueError("four brings bad luck")
        if self.size == 3:
            raise ZeroDivisionError("three divides by nothing")


@attrs.frozen
class Computed:
    parts: int = 4
    share: float = attrs.field(default=attrs.Factory(lambda options: 1 / options.parts, takes_self=True))


@attrs.frozen
class Clash:
    use: str = "x"


@attrs.frozen
class Odd:
    number: complex = 1j


KNOWN: dict[tuple[str, str], type] = {
    ("storage", "directory"): NoOptions,
    ("announcer", "directory"): NoOptions,
    ("selector", "least-recently-tried"): NoOptions,
    ("gate", "sane"): NoOptions,
    ("gate", "clip"): Trim,
    ("gate", "balance"): Trim,
    ("gate", "balance-own"): Trim,
    ("gate", "progress"): NoOptions,
    ("gate", "pace"): NoOptions,
    ("gate", "reputation"): NoOptions,
    ("outer", "qgo"): Trim,
    ("merge", "average"): NoOptions,
    ("merge", "rich"): Rich,
    ("merge", "between"): Between,
    ("merge", "checked"): Checked,
    ("merge", "computed"): Computed,
    ("merge", "clash"): Clash,
    ("merge", "odd"): Odd,
    ("codec", "int8"): NoOptions,
    ("outer", "trim"): Trim,
}


@pytest.fixture(scope="session")
def options_of() -> OptionsOf:
    """Stands for the plugins."""

    def find(kind: str, use: str) -> type:
        if use == "broken":
            raise PluginError("a-plugin", "loading it", "ImportError: no moon")
        if (kind, use) not in KNOWN:
            raise ConfigError(Problem("use", f'no {kind} is called "{use}"', 'did you mean "average"?'))
        return KNOWN[kind, use]

    return find


Read = Callable[..., Config]


@pytest.fixture
def read(options_of: OptionsOf, tmp_path: Path) -> Read:
    """A config from TOML text."""

    def read_text(text: str = "", *overrides: str) -> Config:
        return load_document(tomllib.loads(text), folder=tmp_path, overrides=overrides, options_of=options_of)

    return read_text


@pytest.fixture
def problems(read: Read) -> Callable[..., list[str]]:
    """All that is wrong with TOML text, line by line."""

    def problems_of(text: str, *overrides: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            read(text, *overrides)
        return [str(problem) for problem in caught.value.problems]

    return problems_of
