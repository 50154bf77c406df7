"""Ctrl-C before training has begun."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LOOK_SECONDS = 0.01  # between two looks at a process
SLEEPER = """
import time

print("step 0: importing", flush=True)
time.sleep(100)
"""


def test_while_torch_is_imported(here: Any) -> None:
    here.run("learnae init x")
    peer = here.at("x").start("learnae run learnae.toml")
    while not any("libtorch_cpu" in place.path for place in psutil.Process(peer.process.pid).memory_maps()):
        assert peer.process.poll() is None
        time.sleep(LOOK_SECONDS)
    assert peer.ends() == 130
    assert peer.err == ["loading PyTorch", "interrupted"] and peer.out == []


def test_while_the_users_own_file_is_imported(here: Any, tmp_path: Path) -> None:
    here.run("learnae init x")
    (tmp_path / "x" / "train.py").write_text(SLEEPER)
    peer = here.at("x").start("learnae run learnae.toml")
    peer.shows(lambda line: "importing" in line)
    assert peer.ends() == 130
    assert peer.err == ["loading PyTorch", "interrupted"]


def test_while_the_node_starts(here: Any, tmp_path: Path) -> None:
    here.run("learnae init x")
    peer = here.at("x").start("learnae run learnae.toml")
    while not psutil.Process(peer.process.pid).children():
        assert peer.process.poll() is None
        time.sleep(LOOK_SECONDS)
    assert peer.ends() == 130
    assert "Traceback" not in "\n".join(peer.err)
    assert here.at("x").start("learnae run learnae.toml").counts("step", 200) >= 200
