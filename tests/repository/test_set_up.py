"""tools/set-up on machines that lack something, played by small programs in front of the real ones."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import attrs
import pytest

SET_UP = Path(__file__).parents[2] / "tools" / "set-up"

# Makes an environment whose `pip` and `uv` are the two programs beside it.
PYTHON = """
case "$*" in
  -V) echo "Python {version}" ;;
  *"sys.version_info < "*) {new_enough} ;;
  *ensurepip*) {has_venv} ;;
  *"%d.%d"*) echo 3.11 ;;
  "-m venv .venv") mkdir -p .venv/bin; cp "$MACHINE"/python3 .venv/bin/python; cp "$MACHINE"/{{pip,uv}} .venv/bin ;;
  *) echo "python $*" >> called ;;
esac
"""


@attrs.frozen
class Machine:
    """A checkout, and the programs that this machine has."""

    checkout: Path
    programs: Path

    def has(self, name: str, script: str) -> None:
        program = self.programs / name
        program.write_text(f"#!/bin/bash\n{script}\n")
        program.chmod(0o755)

    def has_python(self, version: str = "3.11.2", *, new_enough: str = "true", has_venv: str = "true") -> None:
        for name in ("python3", *(f"python3.{minor}" for minor in range(11, 15))):
            self.has(name, PYTHON.format(version=version, new_enough=new_enough, has_venv=has_venv))

    def set_up(self) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PATH": f"{self.programs}:/usr/bin:/bin", "MACHINE": str(self.programs)}
        command = [str(SET_UP), ".venv/ready-1"]
        return subprocess.run(command, cwd=self.checkout, env=environment, capture_output=True, text=True, check=False)

    @property
    def ready(self) -> bool:
        return (self.checkout / ".venv" / "ready-1").exists()

    def calls(self) -> str:
        return (self.checkout / "called").read_text()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path / "checkout", tmp_path / "programs")
    made.checkout.mkdir()
    made.programs.mkdir()
    made.has("apt-get", 'echo "apt-get $*" >> called')
    made.has("id", "echo 0")
    made.has("cc", "true")
    made.has("ip", "true")
    made.has("nft", "true")
    made.has("chromium", "true")
    made.has("uv", 'echo "uv $*" >> called')
    made.has("pip", 'echo "pip $*" >> called')
    made.has_python()
    return made


def test_a_machine_that_has_everything_is_set_up(machine: Machine) -> None:
    result = machine.set_up()
    assert result.returncode == 0, result.stderr
    assert machine.ready
    assert "uv pip install --python .venv/bin/python --quiet --constraint constraints.txt" in machine.calls()
    assert "apt-get" not in machine.calls()


def test_an_old_python_is_refused_by_its_version(machine: Machine) -> None:
    machine.has_python("3.9.2", new_enough="false")
    result = machine.set_up()
    assert result.returncode == 1
    assert "needs Python 3.11 or newer; this is Python 3.9.2" in result.stderr
    assert not (machine.checkout / ".venv").exists()


def test_root_gets_the_package_that_debian_keeps_apart(machine: Machine) -> None:
    machine.has_python(has_venv="false")
    assert machine.set_up().returncode == 0
    assert "apt-get install -y -qq --no-install-recommends python3.11-venv" in machine.calls()


def test_others_are_told_what_to_type(machine: Machine) -> None:
    machine.has("id", "echo 1000")
    machine.has_python(has_venv="false")
    result = machine.set_up()
    assert result.returncode == 1
    assert "    sudo apt-get update && sudo apt-get install -y python3.11-venv\n" in result.stderr
    assert not (machine.checkout / "called").exists()


def test_what_uv_cannot_pip_does(machine: Machine) -> None:
    machine.has("uv", "exit 2")
    assert machine.set_up().returncode == 0
    assert "pip install --quiet --constraint constraints.txt" in machine.calls()


def test_a_failed_set_up_starts_anew_the_next_time(machine: Machine) -> None:
    machine.has("uv", "exit 2")
    machine.has("pip", "exit 2")
    assert machine.set_up().returncode == 2
    assert not machine.ready
    (machine.checkout / ".venv" / "half-built").touch()
    machine.has("pip", "true")
    assert machine.set_up().returncode == 0
    assert not (machine.checkout / ".venv" / "half-built").exists()


def test_the_data_of_an_example_can_be_missing(machine: Machine) -> None:
    for program in ("uv", "pip"):
        machine.has(program, '[[ "$*" != *flights* ]]')
    result = machine.set_up()
    assert result.returncode == 0 and machine.ready
    assert "examples/flights" in result.stderr


def test_an_environment_that_was_ready_is_kept_and_brought_up_to_date(machine: Machine) -> None:
    machine.set_up()
    (machine.checkout / ".venv" / "kept").touch()
    assert machine.set_up().returncode == 0
    assert (machine.checkout / ".venv" / "kept").exists()
    assert machine.calls().count("--group dev") == 2


def test_an_environment_of_another_folder_is_made_anew(machine: Machine) -> None:
    machine.set_up()
    (machine.checkout / ".venv" / "ready-1").rename(machine.checkout / ".venv" / "ready-2")
    (machine.checkout / ".venv" / "kept").touch()
    assert machine.set_up().returncode == 0
    assert not (machine.checkout / ".venv" / "kept").exists()


def test_where_libp2p_can_be_compiled_it_is_installed(machine: Machine) -> None:
    assert "libp2p" not in machine.set_up().stderr
    (installed,) = [line for line in machine.calls().splitlines() if "plugins/libp2p" in line]
    assert "--no-deps" not in installed


def test_root_gets_the_compiler_and_the_headers_of_debian(machine: Machine) -> None:
    machine.has("cc", "[ -e called ] && grep -q build-essential called")
    result = machine.set_up()
    assert result.returncode == 0 and "libp2p" not in result.stderr
    calls = machine.calls()
    assert "apt-get install -y -qq --no-install-recommends build-essential python3-dev libgmp-dev" in calls
    assert "--no-deps --editable plugins/libp2p" not in calls and "--editable plugins/libp2p" in calls


def test_root_gets_what_networks_of_a_test_are_made_with(machine: Machine) -> None:
    machine.has("nft", "exit 127")
    assert machine.set_up().returncode == 0
    assert "apt-get install -y -qq --no-install-recommends iproute2 nftables" in machine.calls()


def test_root_gets_the_browser_in_which_pages_are_tested(machine: Machine) -> None:
    machine.has("chromium", "exit 127")
    assert machine.set_up().returncode == 0
    assert "apt-get install -y -qq --no-install-recommends chromium" in machine.calls()


@pytest.mark.parametrize("user", [0, 1000], ids=["root, without a network", "others"])
def test_where_nothing_compiles_the_rest_is_installed_and_the_last_lines_name_what_is_missing(machine: Machine, user: int) -> None:
    machine.has("cc", "exit 1")
    machine.has("id", f"echo {user}")
    machine.has("apt-get", "exit 100")
    result = machine.set_up()
    assert result.returncode == 0, result.stderr
    assert machine.ready
    assert "build-essential python3-dev libgmp-dev" in " ".join(result.stderr.splitlines()[-2:])
    assert "--no-deps --editable plugins/libp2p" in machine.calls()


def test_stubs_that_hide_the_types_of_trio_do_not_stay(machine: Machine) -> None:
    machine.set_up()
    packages = machine.checkout / ".venv" / "lib" / "python3.11" / "site-packages"
    (packages / "trio-stubs").mkdir(parents=True)
    (packages / "trio").mkdir()
    assert machine.set_up().returncode == 0
    assert [path.name for path in packages.iterdir()] == ["trio"]
