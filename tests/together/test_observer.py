"""An observer beside two trainers, with real processes on the embedded default."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import learnae
from learnae.cli.main import main
from tests.support.random_walk import RandomWalker, train_until

pytestmark = pytest.mark.slow

ENTRY = """
import torch

import learnae


def make_trainer():
    model = torch.nn.Linear(20, 5)
    with torch.no_grad():
        model.weight.fill_(1000.0)  # whatever of it counted would be seen

    def evaluate(model):
        return {"loss": float(model.weight.abs().max())}

    return learnae.TrainingLoop(model=model, evaluate=evaluate)
"""
FILE = """
[swarm]
name = "watched"
[peer]
role = "observer"
home = "observer"
[train]
entry = "watch:make_trainer"
round_seconds = 0.2
"""
ENOUGH = 3


def test_it_measures_the_model_of_two_trainers_shows_it_and_leaves_nothing_in_the_swarm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "watch.py").write_text(ENTRY)
    (tmp_path / "learnae.toml").write_text(FILE)
    settings = {"swarm": {"name": "watched"}, "train": {"local_steps": 20}}

    def joined(seed: int) -> RandomWalker:
        def join(model: Any) -> Any:
            return learnae.join(model, config=settings, home=tmp_path / f"trainer-{seed}")

        return RandomWalker(seed, join)

    one, other = joined(1), joined(2)
    with one.swarm, other.swarm, (tmp_path / "shown").open("w") as shown:
        train_until(lambda: one.swarm.status.merged > 0 and other.swarm.status.merged > 0, one, other)
        command = [sys.executable, "-m", "learnae", "run", "learnae.toml", "--json"]
        with subprocess.Popen(command, cwd=tmp_path, stdout=shown, stderr=subprocess.PIPE, text=True) as observer:

            def measured() -> list[str]:
                return (tmp_path / "shown").read_text().splitlines()

            try:
                train_until(lambda: len(measured()) >= ENOUGH or observer.poll() is not None, one, other)
            finally:
                observer.send_signal(signal.SIGINT)
                _, err = observer.communicate(timeout=60)
        assert observer.returncode == 130, err
        moments = [json.loads(line) for line in measured()]
        assert len(moments) >= ENOUGH, err
        assert all(0.0 < moment["metrics"]["loss"] < 10.0 for moment in moments), "nothing of the observer's own model"
        assert {moment["lineage"] for moment in moments} == {one.swarm.status.lineage.hex()}
        names = {one.swarm.peer, other.swarm.peer}
    status = _shown(capsys, "status", tmp_path / "observer")
    assert (status["role"], status["bytes"]["published"], status["disk"]["own_updates"]) == ("observer", 0, 0)
    assert status["evaluation"]["metrics"].keys() == {"loss"}
    given = _shown(capsys, "contributions", tmp_path / "observer")["peers"]
    assert {peer["peer"] for peer in given} <= names and sum(peer["merged"] for peer in given) > 0
    heard = _shown(capsys, "status", tmp_path / "trainer-1")["peers"]
    assert not any(peer["ever_accepted"] for peer in heard if peer["peer"] not in names)


def _shown(capsys: pytest.CaptureFixture[str], *words: Any) -> Any:
    capsys.readouterr()
    assert main([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)
