"""Plugins that are wrong in every way: each is named, once, and none ends what loads it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import pytest

from learnae import PluginError
from learnae.plugins.manager import PluginManager

HOOK = """
from learnae import hookimpl, UnavailableError, ConfigError, Problem

@hookimpl
def learnae_register_merge():
    {body}
"""

AT_IMPORT = {
    "raises": "raise RuntimeError('boom')",
    "exits": "raise SystemExit(3)",
    "base exception": "class Boom(BaseException): pass\nraise Boom('boom')",
    "our own error": "from learnae import UnavailableError\nraise UnavailableError('boom')",
    "the user's error": "from learnae import ConfigError, Problem\nraise ConfigError(Problem('a', 'boom'))",
    "cannot be told": "class Mute(Exception):\n    def __str__(self): raise ValueError\nraise Mute()",
    "a group": "raise BaseExceptionGroup('g', [SystemExit(1), ValueError('boom')])",
    "stops iterating": "raise StopIteration",
    "no syntax": "def",
}
IN_HOOK = {
    "raises": "raise RuntimeError('boom')",
    "exits": "raise SystemExit(3)",
    "our own error": "raise UnavailableError('boom')",
    "the user's error": "raise ConfigError(Problem('a', 'boom'))",
    "stops iterating": "raise StopIteration",
    "nothing": "return None",
    "a list": "return ['winsorized-mean']",
    "numbers": "return {1: 'a:B'}",
    "no reference": "return {'m': 'not a reference'}",
    "a function": "return {'m': lambda: None}",
    "a generator": "yield {'m': 'a:B'}",
}


@pytest.mark.parametrize("text", AT_IMPORT.values(), ids=AT_IMPORT.keys())
def test_one_that_breaks_at_its_import_is_named_once_and_the_others_are_there(
    install: Callable[..., None], logged: list[MutableMapping[str, Any]], text: str
) -> None:
    install("learnae-wrong", text)
    _assert_named_once(PluginManager.discover(), logged)


@pytest.mark.parametrize("body", IN_HOOK.values(), ids=IN_HOOK.keys())
def test_one_that_breaks_while_it_registers_is_named_once_and_the_others_are_there(
    install: Callable[..., None], logged: list[MutableMapping[str, Any]], body: str
) -> None:
    install("learnae-wrong", HOOK.format(body=body))
    _assert_named_once(PluginManager.discover(), logged)


def _assert_named_once(manager: PluginManager, logged: list[MutableMapping[str, Any]]) -> None:
    assert list(manager.broken) == ["learnae-wrong"]
    assert "learnae-wrong" in str(manager.broken["learnae-wrong"])
    assert [(line["event"], line["plugin"], line["log_level"]) for line in logged] == [("plugin.broken", "learnae-wrong", "warning")]
    assert "average" in manager.offers("merge")


def test_whoever_was_told_before_is_not_warned_again(install: Callable[..., None], logged: list[MutableMapping[str, Any]]) -> None:
    install("learnae-wrong", "raise RuntimeError('boom')")
    assert list(PluginManager.discover(disable=["nobody"], told=True).broken) == ["learnae-wrong"]
    assert {line["log_level"] for line in logged} == {"debug"}


@pytest.mark.parametrize("event", ["learnae_round_finished", "learnae_update_judged", "learnae_peer_changed"])
@pytest.mark.parametrize("error", ["RuntimeError('boom')", "SystemExit(3)", "KeyError()", "UnavailableError('boom')"])
def test_a_watcher_that_raises_whatever_is_named_and_raises_nothing(
    install: Callable[..., None], logged: list[MutableMapping[str, Any]], event: str, error: str
) -> None:
    install("learnae-wrong", f"from learnae import hookimpl, UnavailableError\n\n@hookimpl\ndef {event}():\n    raise {error}\n")
    manager = PluginManager.discover()
    manager.notify(event, report=None, verdict=None, peer=None, state=None)
    assert [(line["event"], line["plugin"]) for line in logged] == [("watcher.failed", "learnae-wrong")]


@pytest.mark.parametrize("target", ["learnae_wrong.merge:Merge", "learnae_wrong:Absent", "learnae_wrong:hookimpl", "os:system"])
def test_a_class_that_cannot_be_had_is_an_error_that_names_its_plugin(install: Callable[..., None], target: str) -> None:
    install("learnae-wrong", HOOK.format(body=f"return {{'wrong': {target!r}}}"))
    with pytest.raises(PluginError, match="learnae-wrong"):
        PluginManager.discover().offers("merge")["wrong"].load()


TRAINING = """
import time
import torch
import learnae

model = torch.nn.Linear(2, 2)
with learnae.join(model, "digits") as swarm:
    while swarm.status.rounds < 1:
        swarm.step()
        time.sleep(0.01)
"""


@pytest.mark.slow
def test_one_broken_plugin_is_one_warning_of_a_run_in_two_processes(install: Callable[..., None], site: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs torch")
    install("learnae-wrong", "raise RuntimeError('boom')")
    (tmp_path / "train.py").write_text(TRAINING)
    environment = {**os.environ, "PYTHONPATH": str(site), "LEARNAE_LOG": "warning"}
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=110, check=True
    )
    assert (done.stdout + done.stderr).count("plugin.broken") == 1


PROJECT = """
[swarm]
name = "digits"

[train]
entry = "mine:make_trainer"
local_steps = 50
"""
ENTRY = """
import torch
import learnae


def make_trainer():
    model = torch.nn.Linear(2, 2)
    optimizer, data = torch.optim.SGD(model.parameters(), 0.01), [torch.ones(1, 2)] * 100
    loss = lambda model, batch: model(batch).square().sum()
    return learnae.TrainingLoop(model=model, optimizer=optimizer, batches=lambda: data, loss=loss)
"""


@pytest.mark.slow
def test_one_broken_plugin_is_one_warning_of_learnae_run(install: Callable[..., None], site: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs torch")
    install("learnae-wrong", "raise RuntimeError('boom')")
    (tmp_path / "learnae.toml").write_text(PROJECT)
    (tmp_path / "mine.py").write_text(ENTRY)
    environment = {**os.environ, "PYTHONPATH": str(site), "LEARNAE_LOG": "warning"}
    command = [str(Path(sys.executable).with_name("learnae")), "run", "learnae.toml", "--steps", "200"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("plugin.broken") == 1
