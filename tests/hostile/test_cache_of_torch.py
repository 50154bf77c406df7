"""PyTorch keeps a cache in /tmp under a name that a neighbour can take first: what we start keeps it in a folder of the user's own."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from pathlib import Path

import pytest

from learnae.cli.run import TORCH_CACHE, keep_torch_to_own_folder
from tests.support.small_trainer import SMALL_TRAINER

FILE = '[swarm]\nname = "one"\n[train]\nentry = "train:make_trainer"\n[join]\nwait_seconds = 0.0\n'


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The state folder."""
    monkeypatch.setenv(TORCH_CACHE, "")  # so that it is put back
    monkeypatch.delenv(TORCH_CACHE)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "learnae"


def test_it_lies_under_the_state_folder(unset: Path) -> None:
    keep_torch_to_own_folder()
    assert os.environ[TORCH_CACHE] == str(unset / "torchinductor") and (unset / "torchinductor").is_dir()


def test_a_folder_that_its_user_has_named_stays(unset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TORCH_CACHE, "/elsewhere")
    keep_torch_to_own_folder()
    assert os.environ[TORCH_CACHE] == "/elsewhere" and not unset.exists()


@pytest.mark.parametrize("mode", [None, 0o777], ids=["a file is there", "others may write"])
def test_without_a_folder_of_its_own_a_new_one_is_taken_and_that_is_said(
    unset: Path, mode: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    unset.mkdir()
    if mode is None:
        (unset / "torchinductor").touch()
    else:
        (unset / "torchinductor").mkdir()
        (unset / "torchinductor").chmod(mode)
    keep_torch_to_own_folder()
    taken = Path(os.environ[TORCH_CACHE])
    assert taken.name.startswith("learnae-") and oct(taken.stat().st_mode)[-3:] == "700"
    assert "torchinductor" in capsys.readouterr().err


@pytest.mark.slow
def test_a_neighbour_s_link_in_its_place_keeps_nobody_from_training(tmp_path: Path) -> None:
    (tmp_path / "learnae.toml").write_text(FILE)
    (tmp_path / "train.py").write_text(SMALL_TRAINER)
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp" / f"torchinductor_{getpass.getuser()}").symlink_to(tmp_path / "nowhere" / "else")
    environment = {name: value for name, value in os.environ.items() if name != TORCH_CACHE}
    environment |= {"XDG_STATE_HOME": str(tmp_path / "state"), "TMPDIR": str(tmp_path / "tmp"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "learnae", "run", "learnae.toml", "--steps", "3"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=400)
    assert ended.returncode == 0, ended.stderr
    assert not (tmp_path / "nowhere").exists()
