"""`learnae run` with code of the user that makes mistakes, forks workers, or is told to end: real processes."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

POOL = """
def load(number):
    return [float(number)] * 4

def batches():
    with multiprocessing.Pool(2) as pool:
        rows = pool.map(load, range(8))
    return torch.tensor(rows).split(4)
"""
LOADER = """
class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 4000
    def __getitem__(self, number):
        time.sleep(0.001)
        return torch.ones(4)

loader = torch.utils.data.DataLoader(Data(), batch_size=8, num_workers=2, persistent_workers=True)
"""


def start(folder: Path, *arguments: str, **pipes: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "learnae", "run", "learnae.toml", *arguments]
    return subprocess.Popen(command, cwd=folder, text=True, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **pipes})


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    with start(folder, *arguments) as process:
        out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def test_a_pool_that_ends_its_workers_by_a_signal_does_not_hang(tmp_path: Path, write: Callable[..., None]) -> None:
    write("'batches': batches", POOL)
    code, _, err = run(tmp_path, "--steps", "4")
    assert code == 0, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_leaves_no_process_also_with_workers(tmp_path: Path, write: Callable[..., None], number: int) -> None:
    write("'batches': lambda: loader", LOADER)
    with start(tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("step 20")
        process.send_signal(number)
        _, err = process.communicate(timeout=300)
    assert process.returncode == 130 and "goes on from there" in err
    assert (tmp_path / "home" / "checkpoint" / "checkpoint.pt").is_file()


def test_a_terminal_that_is_closed_costs_nothing(tmp_path: Path, write: Callable[..., None]) -> None:
    write()
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execv(sys.executable, [sys.executable, "-m", "learnae", "run", "learnae.toml"])
    seen = b""
    while b"step 20:" not in seen:
        seen += os.read(terminal, 1000)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    assert (tmp_path / "home" / "checkpoint" / "checkpoint.pt").is_file()


def test_a_run_whose_results_and_log_nobody_can_read_trains_on(tmp_path: Path, write: Callable[..., None]) -> None:
    write()
    with Path("/dev/full").open("w") as full, start(tmp_path, "--steps", "60", "--json", stdout=full, stderr=full) as process:
        process.communicate(timeout=300)
    assert process.returncode == 0
    assert (tmp_path / "home" / "checkpoint" / "checkpoint.pt").is_file()


def test_what_was_saved_goes_on_although_the_rate_is_a_number_of_numpy(tmp_path: Path, write: Callable[..., None]) -> None:
    write()
    assert run(tmp_path, "--steps", "20")[0] == 0
    code, _, err = run(tmp_path, "--steps", "40")
    assert code == 0 and "going on from step 20" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_ends_a_run_whose_plugin_hangs_while_it_is_imported(tmp_path: Path, number: int) -> None:
    (tmp_path / "slow.py").write_text("import pathlib, time\npathlib.Path('begun').touch()\ntime.sleep(3600)\n")
    text = '[swarm]\nname = "one"\n[train]\nentry = "train:make_trainer"\n[merge]\nuse = "slow:Slow"\n'
    (tmp_path / "learnae.toml").write_text(text)
    with start(tmp_path) as process:
        while not (tmp_path / "begun").exists():
            assert process.poll() is None
        process.send_signal(number)
        process.communicate(timeout=300)
    assert process.returncode == 130
