"""The memory (PSS, MiB) of a node and its trainer beside three others on the digits: `python bench/node_memory.py [SECONDS]`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from machine import describe

PEERS = 4
START_SECONDS = 120.0
TRAINER = """
import time, torch, learnae
from learnae.data.digits import load
torch.set_num_threads(1)
digits = load()
x, y = torch.from_numpy(digits.train_x), torch.from_numpy(digits.train_y)
model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with learnae.join(model, "memory", optimizer=optimizer) as swarm:
    while True:
        rows = torch.randint(len(x), (8,))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
        swarm.step(samples=8)
        time.sleep(0.002)
"""


def main(seconds: float) -> None:
    print(describe())
    with tempfile.TemporaryDirectory() as state:
        environment = os.environ | {"XDG_STATE_HOME": str(Path(state)), "OMP_NUM_THREADS": "1"}
        trainers = [subprocess.Popen([sys.executable, "-c", TRAINER], env=environment) for _ in range(PEERS)]
        try:
            processes = [psutil.Process(trainer.pid) for trainer in trainers]
            wait_for_nodes(processes)
            time.sleep(seconds)
            for process in processes:
                report(process)
        finally:
            for trainer in trainers:
                trainer.terminate()
                trainer.wait()


def wait_for_nodes(trainers: list[psutil.Process]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not all(trainer.children() for trainer in trainers):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not every trainer had a node after {START_SECONDS} s")
        time.sleep(0.1)


def report(trainer: psutil.Process) -> None:
    (node,) = trainer.children()
    maps = {Path(entry.path).name for entry in node.memory_maps(grouped=True)}
    torch_inside = any(name.startswith("libtorch") for name in maps)
    print(f"trainer {pss(trainer):6.1f} MiB   node {pss(node):6.1f} MiB   torch in the node: {'yes' if torch_inside else 'no'}")


def pss(process: psutil.Process) -> float:
    return float(process.memory_full_info().pss) / 2**20


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 30.0)
