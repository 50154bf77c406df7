"""The wheel, in an environment that has nothing but what it asks for: no torch, no checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parent

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    """What the command prints. Fails the test with all of it unless the exit status is 0."""
    result = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{result.args}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (made,) = folder.iterdir()
    return made


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with `python` and `learnae`."""
    folder = tmp_path_factory.mktemp("bare")
    run(TOOLS / "uv", "venv", "--quiet", "--python", sys.executable, folder / "venv", cwd=folder)
    programs = folder / "venv" / "bin"
    run(TOOLS / "uv", "pip", "install", "--quiet", "--python", programs / "python", "-c", ROOT / "constraints.txt", wheel, cwd=folder)
    return programs


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"learnae"}
    assert {"learnae/py.typed", "learnae/hookspecs.py"} <= set(names)
    assert [name for name in names if name.endswith("/licenses/LICENSE")] != []


def test_importing_learnae_takes_neither_torch_nor_numpy(bare: Path, tmp_path: Path) -> None:
    code = "import sys, learnae; print({'torch', 'numpy', 'trio', 'cryptography'} & set(sys.modules))"
    assert run(bare / "python", "-c", code, cwd=tmp_path) == "set()\n"


def test_torch_is_not_there(bare: Path, tmp_path: Path) -> None:
    assert run(bare / "python", "-c", "import importlib.util as u; print(u.find_spec('torch'))", cwd=tmp_path) == "None\n"


def test_the_plugins_are_listed_without_torch(bare: Path, tmp_path: Path) -> None:
    listed = run(bare / "learnae", "plugins", cwd=tmp_path)
    assert [name for name in ("average", "clip", "directory", "int8", "least-recently-tried", "sane") if name not in listed] == []


def test_a_file_is_checked_without_torch(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "learnae.toml").write_text('[swarm]\nname = "digits"\n\n[selector]\ncount = 3\n')
    run(bare / "learnae", "check", "learnae.toml", cwd=tmp_path)


def test_a_mistake_in_a_file_is_found_without_torch(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "learnae.toml").write_text('[swarm]\nnaem = "digits"\n')
    result = subprocess.run([bare / "learnae", "check", "learnae.toml"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "swarm.naem" in result.stderr and "name" in result.stderr


def test_a_keeper_runs_without_torch(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "learnae.toml").write_text('[peer]\nrole = "keeper"\nhome = "home"\n')
    run(bare / "learnae", "run", "learnae.toml", "--seconds", "3", cwd=tmp_path)
    assert "keeps         0 updates of 0 peers" in run(bare / "learnae", "status", "home", cwd=tmp_path)


def test_a_provider_runs_without_torch(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text("import numpy as np\n\n\ndef rows():\n    return np.zeros((40, 2), np.float32), np.arange(40) % 4\n")
    table = '[data]\nshare = "slices"\nshare_rows = 8\nlicence = "CC0-1.0"\nentry = "data:rows"\n'
    (tmp_path / "learnae.toml").write_text(f'[peer]\nrole = "provider"\nhome = "home"\n{table}')
    run(bare / "learnae", "check", "learnae.toml", cwd=tmp_path)
    run(bare / "learnae", "run", "learnae.toml", "--seconds", "3", cwd=tmp_path)
    assert "1 slice of rows" in run(bare / "learnae", "status", "home", cwd=tmp_path)
