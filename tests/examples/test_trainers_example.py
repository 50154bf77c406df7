"""Scripts for other trainers: two peers with five digits each read all ten, and one alone does not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "trainers"

pytestmark = pytest.mark.slow


def start(script: str, state: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_STATE_HOME": str(state)}
    command = [sys.executable, script, *arguments]
    return subprocess.Popen(command, cwd=EXAMPLE, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def accuracy(process: subprocess.Popen[str]) -> float:
    said, _ = process.communicate(timeout=500)
    found = re.search(r"all ten digits: ([\d.]+)", said)
    assert process.returncode == 0 and found, said
    return float(found[1])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("script", ["lightning_digits.py", "transformers_digits.py", "accelerate_digits.py"])
def test_two_peers_with_five_digits_each_read_all_ten(script: str, tmp_path: Path) -> None:
    peers = [start(script, tmp_path, "--classes", classes) for classes in ("0,1,2,3,4", "5,6,7,8,9")]
    together = [accuracy(peer) for peer in peers]
    alone = accuracy(start(script, tmp_path, "--classes", "0,1,2,3,4", "--alone", "--steps", "1000"))
    assert alone < 0.55
    assert max(together) > alone + 0.2, "the one that ends last may have trained on alone for a while"


@pytest.mark.parametrize("script", ["lightning_digits.py", "transformers_digits.py", "accelerate_digits.py"])
def test_three_lines_are_all_that_is_added(script: str) -> None:
    marked = re.findall(r"  # (\d)", (EXAMPLE / script).read_text())
    assert marked == [str(number) for number in range(1, len(marked) + 1)] and len(marked) <= 3


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts torchrun with two processes. It gives them the time to end before it ends itself."""
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "torchrun_digits.py")
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        started.append(start(torchrun[0], tmp_path, *torchrun[1:], *arguments))
        return started[-1]

    yield begin
    for process in started:
        process.terminate()
        process.communicate(timeout=100)


@pytest.mark.timeout(900)
@pytest.mark.real_interpreters  # it looks for the processes of a job by their command lines, and ends one
def test_a_job_of_which_a_process_is_killed_ends_and_goes_on_from_its_checkpoint_beside_a_sharded_one(
    job: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    sharded = job("--fsdp", "--classes", "5,6,7,8,9", "--steps", "1500", "--home", str(tmp_path / "sharded"))
    checkpoint = tmp_path / "checkpoint.pt"
    replicas = ("--classes", "0,1,2,3,4", "--steps", "1500", "--home", str(tmp_path / "replicas"), "--checkpoint", str(checkpoint))
    first = job(*replicas)
    while not checkpoint.exists():
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.05)
    ranks = [child for child in psutil.Process(first.pid).children(recursive=True) if "torchrun_digits.py" in child.cmdline()]
    max(ranks, key=lambda child: int(child.environ().get("RANK", "0"))).kill()
    first.communicate(timeout=500)
    assert first.returncode, "torchrun ends the job whose process is gone"
    second = job(*replicas)
    said, _ = second.communicate(timeout=500)
    assert second.returncode == 0 and (resumed := re.search(r"going on from step (\d+)", said)), said
    assert int(resumed[1]) > 0
    assert (merged := re.search(r"after (\d+) merged", said)) and int(merged[1]) > 0, said
    assert accuracy(sharded) > 0.4
