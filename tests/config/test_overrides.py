"""`--set key=value`."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from learnae.config.load import disabled, load_document
from learnae.config.options import OptionsOf
from learnae.config.tables import Config

Problems = Callable[..., list[str]]
Read = Callable[..., Config]

TWO_GATES = '[[gate]]\nuse = "sane"\n[[gate]]\nuse = "clip"\n'


def test_a_value_is_toml(read: Read) -> None:
    config = read("", "train.local_steps=7", "swarm.open=true", 'model.keep_local=["a", "b"]', "join.wait_seconds = 0.5")
    assert (config.train.local_steps, config.swarm.open, config.model.keep_local) == (7, True, ("a", "b"))
    assert config.join.wait_seconds == 0.5


@pytest.mark.parametrize("value", ["digits", '"digits"', "'digits'"])
def test_a_value_that_is_not_toml_is_text(read: Read, value: str) -> None:
    assert read("", f"swarm.name={value}").swarm.name == "digits"


def test_a_value_may_hold_anything_after_the_first_equals_sign(read: Read) -> None:
    assert read("", "swarm.name=a=b").swarm.name == "a=b"
    assert read("", "swarm.name=1\nopen = true").swarm.name == "1\nopen = true"


def test_it_wins_over_the_file_and_the_last_one_wins(read: Read) -> None:
    assert read("[train]\nlocal_steps = 1", "train.local_steps=2", "train.local_steps=3").train.local_steps == 3


def test_an_index_leads_into_a_list_of_tables(read: Read) -> None:
    config = read(TWO_GATES, "gate[1].trim=0.3")
    assert config.gate[1].options.trim == 0.3


def test_the_next_index_makes_a_table(read: Read) -> None:
    assert [gate.use for gate in read(TWO_GATES, "gate[2].use=clip", "gate[2].trim=0.1").gate] == ["sane", "clip", "clip"]
    assert [gate.use for gate in read('[gate]\nuse = "sane"', "gate[1].use=clip").gate] == ["sane", "clip"]


def test_the_only_one_of_a_kind_needs_no_index(read: Read) -> None:
    for text in ('[gate]\nuse = "clip"', '[[gate]]\nuse = "clip"'):
        assert read(text, "gate.trim=0.3").gate[0].options.trim == 0.3
        assert read(text, "gate[0].trim=0.3").gate[0].options.trim == 0.3


def test_the_defaults_can_be_changed_like_what_stands_in_the_file(read: Read) -> None:
    config = read("", "storage.write=false", "gate[1].trim=0.4", "merge.use=between", "merge.high=3")
    assert config.storage[0].write is False
    assert config.gate[1].options.trim == 0.4
    assert config.merge.options.high == 3.0


def test_an_entry_of_a_list_can_be_set(read: Read) -> None:
    assert read('[model]\nkeep_local = ["a", "b"]', "model.keep_local[1]=c").model.keep_local == ("a", "c")


def test_the_document_is_left_as_it_was(options_of: OptionsOf, tmp_path: Path) -> None:
    document = tomllib.loads("[train]\nlocal_steps = 1")
    load_document(document, folder=tmp_path, overrides=["train.local_steps=2", "merge.use=average"], options_of=options_of)
    assert document == {"train": {"local_steps": 1}}


def test_a_problem_names_the_command_line_if_the_value_came_from_there(problems: Problems) -> None:
    assert [problem.partition(":")[0] for problem in problems("[train]\npatience = 2", "train.local_steps=x")] == [
        "train.patience",
        "--set train.local_steps",
    ]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        *(
            (text, "key=value")
            for text in ("train.local_steps", "=3", "gate[].trim=3", "gate[-1].trim=3", "a..b=3", f"{'.'.join('a' * 3000)}=3")
        ),
        ("gate.trim=0.3", "gate[0]"),
        ("gate[3].trim=0.3", "gate[2]"),
        ("swarm.name.x=1", '"a"'),
        ("train.local_step=3", '"local_steps"'),
    ],
)
def test_one_that_cannot_be_applied_is_a_problem(problems: Problems, override: str, words: str) -> None:
    problem = problems(f'[swarm]\nname = "a"\n{TWO_GATES}', override)[0]
    assert problem.startswith(f"--set {override.partition('=3')[0]}") and words in problem.partition(": ")[2]


def test_a_caller_may_name_the_swarm(options_of: OptionsOf, tmp_path: Path) -> None:
    config = load_document({"swarm": {"name": "x", "open": True}}, folder=tmp_path, name='3 "quoted"', options_of=options_of)
    assert (config.swarm.name, config.swarm.open) == ('3 "quoted"', True)


def test_the_disabled_plugins_are_known_before_all_else_is_checked() -> None:
    assert disabled({"plugins": {"disable": ["a", 3]}, "nonsense": 1}) == ("a",)
    assert disabled({}, ['plugins.disable=["b"]', "nonsense"]) == ("b",)
    assert disabled({"plugins": 3}) == ()
