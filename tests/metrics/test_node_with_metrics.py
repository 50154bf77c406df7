"""A real node with both keys of [metrics]: what Prometheus and TensorBoard see of it, and that it ends with the node."""

from __future__ import annotations

import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import learnae
from learnae.trainer.swarm import Swarm

LIMIT_SECONDS = 60.0


@pytest.fixture
def address() -> str:
    """A free port of this machine, an instant ago."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"


def joined(address: str, folder: Path | None = None) -> Swarm:
    overrides = ["train.local_steps=5", "join.wait_seconds=0.2", f'metrics.prometheus="{address}"']
    if folder is not None:
        overrides.append(f'metrics.tensorboard="{folder}"')
    return learnae.join(torch.nn.Linear(4, 1), "watched", overrides=overrides)


def scraped(address: str) -> dict[str, float]:
    """Each sample with its labels, as written; nothing while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    except urllib.error.URLError:
        return {}
    return {name: float(value) for name, value in re.findall(r"^(learnae\S+) (\S+)$", text, re.MULTILINE)}


def train_until(swarm: Swarm, done: Callable[[], Any]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not done():
        assert time.monotonic() < deadline, swarm.status
        for _ in range(20):
            swarm.step(num_samples=1)
        time.sleep(0.01)  # leaves the node a core; nothing is waited for


def the_node() -> psutil.Process:
    (node,) = [child for child in psutil.Process().children() if "learnae.node" in child.cmdline()]
    return node


@pytest.mark.slow
def test_a_node_tells_both_programs_of_its_rounds_and_never_loads_torch(address: str, tmp_path: Path) -> None:
    with joined(address, tmp_path) as swarm:
        train_until(swarm, lambda: scraped(address).get('learnae_rounds_total{outcome="alone"}', 0) >= 3)
        seen, mapped = scraped(address), {Path(file.path).name for file in the_node().memory_maps()}
        peer = swarm.peer
    assert seen['learnae_rounds_total{outcome="founded"}'] == 1
    assert seen["learnae_round_seconds_count"] == sum(value for name, value in seen.items() if name.startswith("learnae_rounds_total"))
    assert seen["learnae_model_age_steps"] % 1 == 0 and seen["learnae_published_bytes_total"] > 0
    assert seen['learnae_peers{state="heard"}'] == 0
    assert not any("torch" in name for name in mapped)
    curves = EventAccumulator(str(tmp_path / peer[:8])).Reload()
    steps = [point.step for point in curves.Tensors("round/seconds")]
    assert len(steps) >= 3 and steps == sorted(steps)
    assert scraped(address) == {}  # the port is closed with the node


@pytest.mark.slow
def test_two_peers_count_each_other(address: str) -> None:
    with joined(address) as one, joined("127.0.0.1:0") as other:

        def met() -> bool:
            other.step(num_samples=1)
            return any(name.startswith('learnae_updates_total{fate="merged"') for name in scraped(address))

        train_until(one, met)
        seen = scraped(address)
    assert seen['learnae_peers{state="heard"}'] == 1
    assert seen['learnae_rounds_total{outcome="merged"}'] >= 1
    assert seen["learnae_fetched_bytes_total"] > 0


def test_a_port_that_is_taken_is_named_with_the_key_and_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with (
            pytest.raises(learnae.ConfigError, match=rf"metrics\.prometheus: cannot listen at {address}.*port 0"),
            joined(address) as swarm,
        ):
            train_until(swarm, lambda: False)
