"""All of it on a peer that runs: real processes, a home that is being written to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

TRAINER = """
import torch
from torch import nn

import learnae

model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with learnae.join(model, config="learnae.toml", optimizer=optimizer) as swarm:
    shown = False
    while True:
        optimizer.zero_grad()
        model(torch.ones(8, 4)).square().mean().backward()
        optimizer.step()
        swarm.step(8)
        if swarm.status.rounds >= 3 and not shown:
            shown = True
            print("running", flush=True)
"""
FILE = """
[swarm]
name = "one"
[peer]
home = "home"
[train]
local_steps = 200
[join]
wait_seconds = 0.0
[[storage]]
use = "directory"
path = "blocks"
"""
STRANGER = "5" * 64


def test_a_peer_that_runs_is_looked_at_exported_and_given_orders(tmp_path: Path, learnae: Any) -> None:
    (tmp_path / "learnae.toml").write_text(FILE)
    with subprocess.Popen([sys.executable, "-c", TRAINER], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as trainer:
        try:
            assert trainer.stdout is not None and trainer.stdout.readline() == "running\n"
            status = learnae("status", "--json").json
            assert (status["running"], status["trainer_pid"], status["swarm"]) == (True, trainer.pid, "one")
            assert status["node_pid"] not in (None, trainer.pid, os.getpid())
            assert status["rounds"] >= 3 and status["bytes"]["published"] > 0 and status["lineage"]
            assert learnae("history", "--json").json[-1]["round"] >= status["rounds"]
            assert "2 tensors" in learnae("export", "-o", "model.safetensors").out
            assert "from its next round on" in learnae("deny", STRANGER).out
            assert learnae("status", "--json").json["denied"] == [STRANGER]
        finally:
            trainer.send_signal(signal.SIGINT)
            trainer.wait(60)
    assert learnae("status", "--json").json["running"] is False
