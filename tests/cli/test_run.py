"""`learnae run` with real processes: a trainer, its node, a home and a checkpoint."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ENTRY = """
import torch
from torch import nn

import learnae
from tests.support.plain_sgd import PlainSGD


def make_trainer():
    model = nn.Linear(4, 1)
    return learnae.TrainingLoop(
        model=model,
        optimizer=PlainSGD(model.parameters()),
        batches=lambda: [torch.ones(8, 4)],
        loss=lambda model, batch: (model(batch) - 1).square().mean(),
        evaluate=lambda model: {"bias": float(model.bias)},
        evaluate_steps=10,
    )
"""
FILE = '[swarm]\nname = "one"\n[peer]\nhome = "home"\n[train]\nentry = "train:make_trainer"\nlocal_steps = 10\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text(ENTRY)
    (tmp_path / "learnae.toml").write_text(FILE)
    return tmp_path


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "learnae", "run", "learnae.toml", *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """The lines of a run that went well."""
    with start(folder, "--json", *arguments) as process:
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()]


def words(folder: Path, *arguments: str) -> tuple[str, str]:
    """What people are shown of a run that went well: results, and the rest."""
    with start(folder, *arguments) as process:
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out, err


def test_the_checkpoint_of_another_model_is_named_with_the_way_out(folder: Path) -> None:
    run(folder, "--steps", "10")
    (folder / "train.py").write_text(ENTRY.replace("nn.Linear(4, 1)", "nn.Sequential(nn.Linear(4, 1))"))
    with start(folder, "--steps", "20") as process:
        _, err = process.communicate(timeout=300)
    assert process.returncode == 2
    assert f"{folder / 'home' / 'checkpoint'}: is of another model or optimizer" in err and "--fresh" in err


def test_a_run_goes_on_where_the_last_one_ended_unless_it_starts_afresh(folder: Path) -> None:
    first = run(folder, "--steps", "30")
    assert [line["step"] for line in first] == [10, 20, 30]
    assert first[-1]["loss"] < 1 and set(first[-1]["metrics"]) == {"bias"}
    assert (folder / "home" / "checkpoint" / "checkpoint.pt").is_file()
    assert [line["step"] for line in run(folder, "--steps", "50")] == [40, 50]
    out, err = words(folder, "--steps", "50")
    assert out.startswith("step 50: bias ") and "nan" not in out
    assert "nothing to do: the model has made 50 steps already" in err
    out, err = words(folder, "--steps", "300")
    shown = [line.partition(":")[0] for line in out.splitlines()]
    assert (shown[0], shown[-1]) == ("step 60", "step 300")
    assert "going on from step 50" in err and f"saved in {folder / 'home' / 'checkpoint'}" in err
    assert [line["step"] for line in run(folder, "--steps", "10", "--fresh")] == [10]
    assert (folder / "home" / "checkpoint.set-aside" / "checkpoint.pt").is_file()


def test_ctrl_c_leaves_a_checkpoint_and_no_process(folder: Path) -> None:
    with start(folder) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("step 10: loss ")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "the same command goes on from there" in err and "Traceback" not in err
    assert (folder / "home" / "checkpoint" / "checkpoint.pt").is_file()


def test_an_entry_that_fails_names_itself(folder: Path) -> None:
    (folder / "train.py").write_text("def make_trainer():\n    raise OSError('no data')\n")
    with start(folder) as process:
        _, err = process.communicate(timeout=300)
    assert process.returncode == 3
    assert "train:make_trainer" in err and "OSError: no data" in err and "Traceback" not in err


def test_an_entry_must_return_a_trainer(folder: Path) -> None:
    (folder / "train.py").write_text("def make_trainer():\n    return 3\n")
    with start(folder) as process:
        _, err = process.communicate(timeout=300)
    assert process.returncode == 3
    assert "it returned int and not a learnae.TrainingLoop" in err


def test_a_run_writes_beside_its_file_only_its_home(folder: Path) -> None:
    run(folder, "--steps", "10")
    assert {path.name for path in folder.iterdir()} - {"__pycache__"} == {"train.py", "learnae.toml", "home"}
