"""A log that cannot be written ends nothing."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from learnae.logs import make_logger
from learnae.outlets import print_message

TRAINER = """
import os, signal, sys, time, torch, learnae
torch.set_num_threads(1)
{before}
model = torch.nn.Linear(2, 1)
with learnae.join(model, "a", overrides=["train.local_steps=1"]) as swarm:
    def train(condition):
        while not condition():
            swarm.step(num_samples=1)
            time.sleep(0.01)
    train(lambda: swarm.status.rounds)
    os.kill(swarm._node.pid, signal.SIGKILL)
    train(lambda: swarm.status.node_starts == 2 and swarm.status.node == "running")
    print("two nodes", swarm._node.last_error, flush=True)
"""
CLOSED = "os.close(2)"
BREAKS = """
class Broken:
    def write(self, text):
        raise RuntimeError("the kernel is gone")
    def flush(self):
        pass
sys.stderr = Broken()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "stderr", "level"),
    [
        ("", "2>/dev/full", "info"),
        ("", "2>&-", ""),
        ("", "2> >(exec true)", "info"),
        (CLOSED, "", ""),
        ("sys.stderr.close()", "", ""),
        (BREAKS, "", ""),
    ],
)
def test_nodes_are_started_again_wherever_the_log_goes(tmp_path: Path, before: str, stderr: str, level: str) -> None:
    (tmp_path / "train.py").write_text(TRAINER.format(before=before))
    command = ["bash", "-c", f"exec {sys.executable} train.py {stderr}"]
    environment = {**os.environ, "LEARNAE_LOG": level or "warning"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True, timeout=110, check=False)
    assert (done.returncode, done.stdout) == (0, "two nodes ended by SIGKILL\n")


class Raises(io.StringIO):
    def write(self, text: str) -> int:
        raise RuntimeError("gone")


@pytest.mark.parametrize("stream", [None, Raises()])
def test_a_stream_that_is_not_there_or_raises_is_no_error(stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    make_logger("info").warning("event")
    print_message("words")


def test_a_value_that_cannot_be_shown_costs_its_line_only(capsys: pytest.CaptureFixture[str]) -> None:
    class Odd:
        def __repr__(self) -> str:
            raise ValueError

    make_logger(style="json").warning("event.odd", value=Odd())
    assert "event.odd" in capsys.readouterr().err


def test_a_character_that_the_stream_does_not_know_is_written_in_another_way(capfd: pytest.CaptureFixture[str]) -> None:
    code = "from learnae.outlets import print_message; print_message('caf\\xe9 \\ud800')"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONIOENCODING": "ascii:strict"})
    assert capfd.readouterr().err == "caf\\xe9 \\ud800\n"
