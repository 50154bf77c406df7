"""The two commands of README.md, in an environment that has nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from learnae_iota.pyota import INSTALL

ROOT = Path(__file__).parents[3]
UV = Path(sys.executable).with_name("uv")
CONSTRAINED = ("--quiet", "--constraint", str(ROOT / "constraints.txt"))

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("wheels")
    for source in (ROOT, ROOT / "plugins" / "iota"):
        subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=source, check=True)
    return sorted(map(str, folder.iterdir()))


def python(environment: Path, code: str, exits: int = 0) -> str:
    result = subprocess.run([environment / "bin" / "python", "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == exits, result.stderr
    return result.stdout + result.stderr


def test_two_commands_of_pip_install_it(wheels: list[str], tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    _install_in_two_commands(environment, [str(environment / "bin" / "pip"), "install", "--no-compile"], wheels)
    assert "--milestone-seconds" in python(environment, "from learnae.cli.main import main; main(['iota', 'devnet', '--help'])")


def test_two_commands_of_uv_install_it_and_the_kit_passes_with_nothing_else(hornet: str, wheels: list[str], tmp_path: Path) -> None:
    environment, tests = tmp_path / "venv", tmp_path / "tests"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    install = [str(UV), "pip", "install", "--python", str(environment)]
    _install_in_two_commands(environment, install, wheels)
    subprocess.run([*install, *CONSTRAINED, "pytest", "hypothesis"], check=True)
    shutil.copytree(ROOT / "tests" / "support" / "tangle", tests / "tests" / "support" / "tangle")
    for name in ("conftest.py", "test_iota_conforms.py"):
        shutil.copy(Path(__file__).with_name(name), tests)
    command = [environment / "bin" / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tests), str(tests)]
    kit = subprocess.run(command, env={**os.environ, "LEARNAE_HORNET": hornet}, cwd=tests, capture_output=True, text=True, check=False)
    assert kit.returncode == 0, kit.stdout + kit.stderr
    assert " passed" in kit.stdout


def _install_in_two_commands(environment: Path, install: list[str], wheels: list[str]) -> None:
    subprocess.run([*install, *CONSTRAINED, *wheels], check=True)
    needed = python(environment, "from learnae_iota.pyota import load_pyota; load_pyota()", exits=1)
    assert f"({INSTALL})" in needed
    subprocess.run([*install, *CONSTRAINED, *_packages(INSTALL)], check=True)
    code = "from learnae_iota.pyota import load_pow, load_pyota; print(load_pyota().__version__, load_pow().__name__)"
    assert python(environment, code) == "2.1.0 pow.ccurl_interface\n"
    assert "iota (learnae-iota 0.1.0)" in python(environment, "from learnae.cli.main import main; main(['plugins'])")


def _packages(command: str) -> list[str]:
    return command.replace('"', "").removeprefix("pip install ").split()
