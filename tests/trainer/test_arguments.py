"""Mistakes in what learnae.join() is given are told as such, with what to write instead, and before anything is done."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import learnae
from learnae.errors import ConfigError
from learnae.trainer import join as joining
from learnae.trainer.status import SwarmSettings

NODE = Path(__file__).with_name("scripted_node.py")


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "SwarmSettings", partial(SwarmSettings, command=(sys.executable, str(NODE))))


def refusal(model: Any, *name: Any, **arguments: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        learnae.join(model, *name, **arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (None, "torch.nn.Module"),
        (lambda x: x, "torch.nn.Module"),
        (nn.Linear, "make one: Linear(...)"),
        ([nn.Linear(1, 1)], "ModuleList"),
        ({"a": nn.Linear(1, 1)}, "ModuleDict"),
        (nn.Linear(1, 1).state_dict(), "torch.nn.Module"),
        (SimpleNamespace(model=nn.Linear(1, 1)), "give its .model"),
        ("digits", "torch.nn.Module"),
    ],
    ids=["none", "function", "class", "list", "dict", "state", "trainer", "text"],
)
def test_what_is_no_model_is_refused_with_what_to_give(model: Any, says: str, state_home: Path) -> None:
    said = refusal(model, "a")
    assert said.startswith("model: is ") and says in said
    assert not (state_home / "learnae").exists()


@pytest.mark.parametrize(
    ("arguments", "key", "says"),
    [
        ({"optimizer": torch.optim.SGD}, "optimizer", "make one: SGD(model.parameters(), ...)"),
        ({"optimizer": lambda: None}, "optimizer", "not an optimizer"),
        ({"optimizer": [nn.Linear(1, 1)]}, "optimizer", "not an optimizer"),
        ({"config": 5}, "config", "path of a file"),
        ({"config": b"learnae.toml"}, "config", "path of a file"),
        ({"config": ""}, "config", "is empty"),
        ({"config": ["learnae.toml"]}, "config", "path of a file"),
        ({"config": {5: {}}}, "config", "no text"),
        ({"config": {"train": {5: 5}}}, "config", "no text"),
        ({"home": "a\0b"}, "home", "NUL"),
        ({"overrides": "train.local_steps=5"}, "overrides", 'overrides=["train.local_steps=5"]'),
        ({"overrides": [("train.local_steps", 5)]}, "overrides", "no text"),
        ({"overrides": {"train.local_steps": 5}}, "overrides", "list of texts"),
        ({"overrides": None}, "overrides", "list of texts"),
        ({"home": 5}, "home", "path of a folder"),
        ({"home": b"peer"}, "home", "path of a folder"),
        ({"resume": "checkpoint.pt"}, "resume", "swarm.state_dict()"),
        ({"resume": 5}, "resume", "swarm.state_dict()"),
        ({"resume": {"swarm": {"run": "a"}}}, "resume", 'checkpoint["swarm"]'),
        ({"log": "info"}, "log", '{"level": "info"'),
        ({"log": {"levle": "info"}}, "log: levle", 'did you mean "level"?'),
        ({"log": {"level": "loud"}}, "log: level", "debug, info"),
        ({"log": {"level": 5}}, "log: level", "debug, info"),
    ],
)
def test_any_other_argument_that_cannot_be_is_named(
    arguments: dict[str, Any], key: str, says: str, zeros: nn.Module, state_home: Path
) -> None:
    said = refusal(zeros, "a", **arguments)
    assert said.startswith(key) and says in said
    assert not (state_home / "learnae").exists()


@pytest.mark.parametrize("name", [5, b"digits", Path("digits"), torch.optim.SGD, ["a"]])
def test_a_name_that_is_no_text_is_refused(name: Any, zeros: nn.Module) -> None:
    assert "name: is " in refusal(zeros, name)


def test_a_name_and_a_model_that_changed_places_are_told(zeros: nn.Module) -> None:
    assert "the model comes first" in refusal("digits", zeros)


def test_a_swarm_without_a_name_is_refused_with_what_to_write(zeros: nn.Module) -> None:
    assert 'learnae.join(model, "digits")' in refusal(zeros)
    assert all("name: is empty" in refusal(zeros, name) for name in ("", "  "))


def test_a_name_may_come_from_an_override(zeros: nn.Module) -> None:
    with learnae.join(zeros, overrides=["swarm.name=other"]) as swarm:
        assert "other" in repr(swarm)


def test_a_file_without_a_name_says_which_it_has(zeros: nn.Module, capfd: pytest.CaptureFixture[str]) -> None:
    learnae.join(zeros, config={"train": {"local_steps": 4}}).leave()
    assert '"swarm": "default"' in capfd.readouterr().err


def test_all_mistakes_are_told_at_once() -> None:
    said = refusal(None, 5, optimizer=5, home=5, overrides=5, resume=5, log=5, config=5)
    assert len(said.splitlines()) == 8


def test_a_file_that_is_not_there_and_a_folder_are_refused(zeros: nn.Module, tmp_path: Path) -> None:
    assert "there is no such file" in refusal(zeros, config=tmp_path / "learnae.toml")
    assert "is a folder" in refusal(zeros, config=tmp_path)


def test_several_optimizers_are_checked_each(zeros: nn.Module) -> None:
    mine, foreign = (torch.optim.SGD(model.parameters(), lr=0.1) for model in (zeros, nn.Linear(3, 3)))
    with learnae.join(zeros, "a", optimizer=[mine, mine]):
        pass
    assert "none of the model's parameters" in refusal(zeros, "a", optimizer=[mine, foreign])


def test_a_scheduler_stands_for_its_optimizer(zeros: nn.Module) -> None:
    optimizer = torch.optim.SGD(zeros.parameters(), lr=0.1)
    learnae.join(zeros, "a", optimizer=torch.optim.lr_scheduler.StepLR(optimizer, 1)).leave()


def test_what_the_users_own_function_raises_is_told_as_the_users(zeros: nn.Module) -> None:
    def load_mine(home: Path) -> None:
        raise KeyError("epoch")

    with pytest.raises(KeyError, match="epoch") as caught:
        learnae.join(zeros, "a", resume=load_mine)
    assert "load_mine" in caught.value.__notes__[0]


@pytest.mark.parametrize("state", [True, "checkpoint.pt", {"of": "another"}, nn.Linear(1, 1)], ids=["bool", "text", "other", "model"])
def test_what_the_users_own_function_gives_is_checked(zeros: nn.Module, state: Any) -> None:
    assert "resume" in refusal(zeros, "a", resume=lambda home: state)
