"""`learnae run` tells the mistakes of the user's own code as the user's. In this process; its node has one of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from learnae.cli.main import main


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test has a `train.py` of its own."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("train", None)


@pytest.mark.parametrize(
    ("fields", "more", "code", "said"),
    [
        ("'loss': lambda model, x: model(x) / nothing", "", 3, ["NameError", "train.py", "nothing"]),
        ("'loss': lambda model, x: model(x[:, :3]).mean()", "", 3, ["RuntimeError", "train.py", "x[:, :3]"]),
        ("", "def broken(:", 3, ["SyntaxError", "train.py", "def broken(:"]),
        ("", "import nothing_such", 3, ["ModuleNotFoundError", "train.py", "import nothing_such"]),
        ("'evaluate': lambda model: {'acc': torch.ones(3)}", "", 2, ["TrainingLoop.evaluate", "acc"]),
        ("'batches': [1]", "", 2, ["TrainingLoop.batches"]),
    ],
    ids=["loss", "within torch", "syntax", "import", "evaluate", "fields"],
)
def test_a_mistake_is_told_as_the_users(
    tmp_path: Path, write: Callable[..., None], capfd: pytest.CaptureFixture[str], fields: str, more: str, code: int, said: list[str]
) -> None:
    write(fields, more)
    found = main(["run", str(tmp_path / "learnae.toml"), "--steps", "40"])
    err = capfd.readouterr().err
    assert (found, [words for words in said if words not in err]) == (code, [])
    assert "bug of Learnae" not in err and "Traceback" not in err


def test_json_stays_json_whatever_is_measured(tmp_path: Path, write: Callable[..., None], capfd: pytest.CaptureFixture[str]) -> None:
    write("'evaluate': lambda model: {'a': torch.tensor(0.5), 'b': np.float32('nan'), 'c': True}")
    assert main(["run", str(tmp_path / "learnae.toml"), "--json", "--steps", "20"]) == 0
    assert json.loads(capfd.readouterr().out.splitlines()[0])["metrics"] == {"a": 0.5, "b": None, "c": 1.0}
