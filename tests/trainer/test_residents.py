"""Several swarms in one process: what a rerun cell of a notebook left behind gives way, and what is used does not."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading
import weakref
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from torch import nn

import learnae
from learnae.errors import ConfigError
from learnae.identity.homes import claim
from learnae.trainer import join as joining
from learnae.trainer.memberships import RESIDENTS
from learnae.trainer.status import SwarmSettings
from learnae.trainer.swarm import Swarm

NODE = Path(__file__).with_name("scripted_node.py")


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "SwarmSettings", partial(SwarmSettings, command=(sys.executable, str(NODE))))
    monkeypatch.setattr(joining, "PREDECESSOR_SECONDS", 0.0)


def nodes() -> int:
    return sum(str(NODE) in child.cmdline() for child in psutil.Process().children())


def model() -> nn.Module:
    return nn.Linear(2, 1)


def test_whoever_asks_is_told_that_a_swarm_is_looked_for_and_in_which_home(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with learnae.join(model(), "a", home=tmp_path / "home", log={"level": "info", "style": "json"}):
        said = capfd.readouterr().err
    assert '"event": "swarm.looking"' in said and str(tmp_path / "home") in said


def test_a_swarm_that_nobody_holds_leaves(tmp_path: Path) -> None:
    swarm = learnae.join(model(), "a", home=tmp_path)
    swarm.step()
    assert nodes() == 1
    del swarm
    RESIDENTS.settle()
    assert nodes() == 0
    claim(tmp_path).close()


def test_a_swarm_in_a_cycle_leaves_when_that_is_collected(tmp_path: Path) -> None:
    holder: dict[str, Any] = {"swarm": learnae.join(model(), "a", home=tmp_path)}
    holder["self"] = holder
    del holder
    gc.collect()
    RESIDENTS.settle()
    assert nodes() == 0


@pytest.mark.parametrize("home", ["", "one"])
def test_a_rerun_cell_leaves_no_node_behind(tmp_path: Path, home: str, state_home: Path) -> None:
    for _ in range(3):
        swarm = learnae.join(model(), "a", home=tmp_path / home if home else None)
        swarm.step()
        RESIDENTS.settle()
        assert nodes() == 1
    swarm.leave()


def test_a_rerun_cell_takes_over_its_own_home_with_a_word(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    older = learnae.join(model(), "a", home=tmp_path)
    older.step()
    with learnae.join(model(), "a", home=tmp_path) as swarm:
        swarm.step()
        assert older.status.node == "left" and "swarm.replaced" in capfd.readouterr().err
        with pytest.raises(RuntimeError, match="took its place"):
            older.step()


def test_a_model_that_joins_again_leaves_first(zeros: nn.Module, state_home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    older = learnae.join(zeros, "a")
    with learnae.join(zeros, "a") as swarm:
        assert (older.status.node, swarm.home.name) == ("left", "peer-1")
    assert "swarm.replaced" in capfd.readouterr().err


@pytest.mark.parametrize("wrap", [torch.nn.DataParallel, lambda module: nn.Sequential(module, nn.Linear(1, 1))], ids=["wrapper", "part"])
def test_a_model_is_known_again_in_another_one(zeros: nn.Module, wrap: Any) -> None:
    older = learnae.join(zeros, "a")
    learnae.join(wrap(zeros), "a").leave()
    assert older.status.node == "left"


def test_a_model_in_two_swarms_is_refused(zeros: nn.Module) -> None:
    swarm = learnae.join(zeros, "a")
    with pytest.raises(ConfigError, match=r"weight are in the swarm 'a' already.*leave\(\)"):
        learnae.join(zeros, "b")
    assert swarm.status.node != "left"
    swarm.leave()
    learnae.join(zeros, "b").leave()


def test_what_is_in_a_with_block_does_not_give_way(zeros: nn.Module, tmp_path: Path) -> None:
    with learnae.join(zeros, "a", home=tmp_path) as swarm:
        with pytest.raises(ConfigError, match=r"weight are in the swarm 'a' already.*leave\(\)"):
            learnae.join(zeros, "a")
        with pytest.raises(ConfigError, match=r"this very process uses this home.*leave\(\)"):
            learnae.join(model(), "a", home=tmp_path / "." / "")
        swarm.step()


def test_what_another_thread_trains_does_not_give_way(tmp_path: Path) -> None:
    began, end = threading.Event(), threading.Event()

    def train() -> None:
        swarm = learnae.join(model(), "a", home=tmp_path)
        swarm.flush()
        began.set()
        end.wait(60)
        swarm.leave()

    thread = threading.Thread(target=train)
    thread.start()
    began.wait(60)
    try:
        with pytest.raises(ConfigError, match="this very process"):
            learnae.join(model(), "a", home=tmp_path)
    finally:
        end.set()
        thread.join()


def test_the_last_traceback_of_a_console_keeps_no_swarm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train() -> None:
        swarm = learnae.join(model(), "a", home=tmp_path)
        swarm.step()
        raise KeyboardInterrupt

    for _ in range(2):
        try:
            train()
        except KeyboardInterrupt as error:
            monkeypatch.setattr(sys, "last_value", error, raising=False)
    assert nodes() == 1
    learnae.join(model(), "b").leave()
    assert nodes() == 0


def test_what_a_notebook_has_shown_keeps_no_swarm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, Any] = {"_oh": {3: learnae.join(model(), "a", home=tmp_path), 4: 5}, "_4": 5}
    names["_"] = names["_3"] = names["_oh"][3]
    ipython = SimpleNamespace(get_ipython=lambda: SimpleNamespace(user_ns=names))
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    learnae.join(model(), "b").leave()
    assert nodes() == 0
    assert names == {"_oh": {4: 5}, "_4": 5}


def test_joins_leave_no_hooks_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    hooks: list[Any] = []
    monkeypatch.setattr(atexit, "register", hooks.append)
    monkeypatch.setattr(os, "register_at_fork", lambda **hook: hooks.append(hook))
    swarms = [weakref.ref(learnae.join(model(), "a")) for _ in range(3)]
    assert hooks == [] and [swarm() for swarm in swarms] == [None] * 3


def test_a_swarm_says_in_a_line_what_it_is(tmp_path: Path) -> None:
    with learnae.join(model(), "digits", home=tmp_path) as swarm:
        peer = swarm.peer[:8]
        said = repr(swarm)
    assert all(word in said for word in ("'digits'", peer, "running", "round 0", "lineage none")) and "\n" not in said
    assert "left" in repr(swarm)


def test_a_swarm_without_a_key_has_a_word_too(make_swarm: Any, zeros: nn.Module, tmp_path: Path) -> None:
    swarm: Swarm = make_swarm(zeros, start=False)
    assert "without a key" in repr(swarm) and not (tmp_path / "key").exists()
    (tmp_path / "key").write_text("spoiled")
    assert "cannot be read" in repr(swarm)
