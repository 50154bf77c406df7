"""Presets: what a file gets that names no gates, merge or outer optimiser, and that what it names wins."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from learnae.config.presets import DEFAULT, PRESETS
from learnae.config.saved_config import dump
from learnae.config.tables import Config
from learnae.plugins.manager import PluginManager

Problems = Callable[..., list[str]]
Read = Callable[..., Config]


def names(config):
    return [gate.use for gate in config.gate], config.merge.use, config.outer and config.outer.use


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_chooses_gates_merge_and_outer(read: Read, name: str) -> None:
    preset = PRESETS[name]
    assert names(read(f'preset = "{name}"')) == (list(preset.gates), preset.merge, preset.outer)


def test_a_file_without_one_gets_the_default(read: Read) -> None:
    assert names(read()) == names(read(f'preset = "{DEFAULT}"')) and read().preset == DEFAULT


def test_what_the_file_names_wins(read: Read) -> None:
    config = read('preset = "trusted"\n[[gate]]\nuse = "clip"\n[outer]\nuse = "trim"\ntrim = 0.4')
    assert names(config) == (["clip"], "average", "trim") and config.outer.options.trim == 0.4


def test_a_key_of_the_strategy_that_the_preset_chose_needs_no_name(read: Read) -> None:
    assert read("[outer]\ntrim = 0.4").outer.options.trim == 0.4


def test_an_outer_optimiser_can_be_left_out(read: Read) -> None:
    assert names(read('[outer]\nuse = "none"'))[2] is None
    assert names(read("", "outer.use=none"))[2] is None
    assert dump(read('[outer]\nuse = "none"'))["outer"] == {"use": "none"}, "or the node would get that of the preset"


def test_the_command_line_chooses_a_preset_and_changes_its_keys(read: Read) -> None:
    assert names(read('preset = "trusted"', "preset=paranoid"))[0] == list(PRESETS["paranoid"].gates)
    assert names(read("", "preset=trusted", "gate[1].use=clip"))[0] == ["sane", "clip"]


def test_a_preset_that_there_is_not_is_the_only_problem(problems: Problems) -> None:
    for text in ('preset = "opem"', "preset = 3", "preset = []"):
        (problem,) = problems(text)
        assert problem.startswith("preset: must be one of") and "paranoid" in problem


def test_presets_name_strategies_of_ours() -> None:
    manager = PluginManager.discover(only=())
    for preset in PRESETS.values():
        for kind, chosen in preset.names().items():
            assert set(chosen) <= set(manager.offers(kind)), kind
