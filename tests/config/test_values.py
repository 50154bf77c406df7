"""A value is taken only if it is what its key asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from learnae.config.tables import Config

Problems = Callable[..., list[str]]
Read = Callable[..., Config]


STEPS, SECONDS, PATIENCE, OPEN = "train.local_steps", "train.save_seconds", "train.patience", "swarm.open"
REFUSED = [  # the key, what is written there, and what is named
    *((STEPS, text, "an integer") for text in ("3.7", "3.0", "true", "[3]", "{}", "1979-05-27")),
    (STEPS, '"3"', 'an integer, not "3" (without quotes: 3)'),
    *((SECONDS, text, f"a finite number, not {text}") for text in ("nan", "inf", "-inf")),
    *((PATIENCE, text, f"a number, not {text}") for text in ("true", '"0.5"')),
    *((key, str(10**400), "64 bits") for key in (STEPS, SECONDS)),
    *((OPEN, text, f"true or false, not {text}") for text in ("1", "0", '"true"', "[]")),
    ("swarm.name", "3", 'text, not 3 (in quotes: "3")'),
    ("peer.home", '""', 'the folder of this file is "."'),
    ("model.keep_local", '"a"', '["a"]'),
]


@pytest.mark.parametrize(("key", "text", "named"), REFUSED, ids=[f"{key}={text[:20]}" for key, text, _ in REFUSED])
def test_a_value_of_another_type_is_refused_with_what_to_write(problems: Problems, key: str, text: str, named: str) -> None:
    table, name = key.split(".")
    (problem,) = problems(f"[{table}]\n{name} = {text}")
    assert problem.startswith(f"{key}: ") and named in problem


def test_an_integer_is_good_enough_for_a_number_and_becomes_a_float(read: Read) -> None:
    config = read("[train]\nsave_seconds = 3")
    assert config.train.save_seconds == 3.0
    assert type(config.train.save_seconds) is float


@pytest.mark.parametrize("escape", ["\\u0000", "\\udce4"])
def test_text_holds_no_character_that_cannot_be_sent(problems: Problems, escape: str) -> None:
    name = escape.encode().decode("unicode_escape")
    assert problems("", f"swarm.name={name}") == ["--set swarm.name: must be text without NUL and broken characters"]


def test_a_path_starts_at_the_folder_of_the_file(read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/h")
    assert read('[peer]\nhome = "home"').peer.home == tmp_path / "home"
    assert read('[peer]\nhome = "/data"').peer.home == Path("/data")
    assert read('[peer]\nhome = "~/data"').peer.home == Path("/h/data")


def test_every_wrong_entry_of_a_list_is_named(problems: Problems) -> None:
    found = problems('[model]\nkeep_local = ["a", 1, "b", true]')
    assert [problem.split(":")[0] for problem in found] == ["model.keep_local[1]", "model.keep_local[3]"]


RICH = """
[merge]
use = "rich"
whole = 1
ratio = 2
switch = true
label = "abc"
place = "x"
many = [1, 2]
pair = [3, "b"]
rows = [1, 2.5]
table = { a = 1 }
either = "text"
literal = 1
mode = "safe"
anything = { x = [1, "a", false] }
words = "one two"
private = 4
"""


def test_an_option_may_be_of_any_type_that_toml_can_give(read: Read, tmp_path: Path) -> None:
    options = read(RICH).merge.options
    expected: dict[str, Any] = {
        "whole": 1,
        "ratio": 2.0,
        "switch": True,
        "label": "abc",
        "place": tmp_path / "x",
        "many": (1, 2),
        "pair": (3, "b"),
        "rows": [1.0, 2.5],
        "table": {"a": 1},
        "either": "text",
        "literal": 1,
        "anything": {"x": [1, "a", False]},
        "words": ("one", "two"),
        "_private": 4,
        "counted": 7,
    }
    assert {name: getattr(options, name) for name in expected} == expected
    assert options.mode.value == "safe"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('pair = [1]', "merge.pair: must have 2 entries, not 1"),
        ("table = { a = true }", "merge.table.a: must be an integer, not true"),
        ("literal = true", 'merge.literal: must be one of "a", 1, not true'),
        ('mode = "slow"', 'merge.mode: must be one of "fast", "safe", not "slow"'),
        ("either = 1.5", "merge.either: must be an integer or text, not 1.5"),
        ("anything = [1, nan]", "merge.anything[1]: must be a finite number, not nan"),
        ("anything = 1979-05-27", "merge.anything: must not be a date or time: 1979-05-27 (write it in quotes)"),
        ("words = 3", "merge.words: 'int' object is not iterable"),
        ('label = "A"', 'merge.label: must be text of the form [a-z]+, not "A"'),
        ("counted = 1", "merge.counted: is not a key of this table"),
    ],
)  # fmt: skip
def test_an_option_of_another_type_is_a_problem_at_its_key(problems: Problems, line: str, expected: str) -> None:
    (problem,) = problems(f'[merge]\nuse = "rich"\nwhole = 1\n{line}')
    assert problem.startswith(expected)
