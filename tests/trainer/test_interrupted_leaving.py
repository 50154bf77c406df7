"""A Ctrl-C while a swarm is left: nothing of it remains, and the home is free."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from torch import nn

import learnae
from learnae.trainer import join as joining
from learnae.trainer.session import Session
from learnae.trainer.status import SwarmSettings
from learnae.trainer.swarm import Swarm

NODE = Path(__file__).with_name("scripted_node.py")
PLACES = ("session.finish", "node.stop", "session.shared_memory.close", "swarm_settings.on_leave")


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "SwarmSettings", partial(SwarmSettings, command=(sys.executable, str(NODE))))
    monkeypatch.setattr(joining, "PREDECESSOR_SECONDS", 0.0)


def nodes() -> int:
    return sum(str(NODE) in child.cmdline() for child in psutil.Process().children())


def interrupting(work: Callable[[], None], times: int) -> Callable[[], None]:
    """It is interrupted so many times before it does anything."""
    left = [times]

    def interrupted() -> None:
        if left[0]:
            left[0] -= 1
            raise KeyboardInterrupt
        work()

    return interrupted


def interrupt(swarm: Swarm, place: str, times: int) -> None:
    *path, name = place.split(".")
    owner: Any = swarm._membership
    for part in path:
        owner = getattr(owner, part)
    object.__setattr__(owner, name, interrupting(getattr(owner, name), times))


@pytest.mark.parametrize("place", PLACES)
def test_leaving_that_is_interrupted_leaves_all_the_same(tmp_path: Path, place: str) -> None:
    swarm = learnae.join(nn.Linear(2, 1), "a", home=tmp_path)
    swarm.step()
    descriptor = swarm._session.shared_memory.fd
    interrupt(swarm, place, 1)
    with pytest.raises(KeyboardInterrupt):
        swarm.leave()
    assert nodes() == 0 and swarm.status.node == "left"
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(descriptor)
    learnae.join(nn.Linear(2, 1), "a", home=tmp_path).leave()


@pytest.mark.parametrize(
    ("place", "ending"),
    [("session.finish", "leave"), ("session.shared_memory.close", "leave"), ("node.stop", "join"), ("swarm_settings.on_leave", "forget")],
)
def test_what_two_interrupts_left_undone_is_done_by_whatever_comes_next(tmp_path: Path, place: str, ending: str) -> None:
    model = nn.Linear(2, 1)
    swarm = learnae.join(model, "a", home=tmp_path)
    swarm.step()
    interrupt(swarm, place, 2)
    with pytest.raises(KeyboardInterrupt), swarm:
        pass
    if ending == "leave":
        swarm.leave()
    elif ending == "forget":
        del swarm
    with learnae.join(model, "a", home=tmp_path) as later:
        later.step()
        assert nodes() == 1
    assert nodes() == 0


def test_a_handler_of_signals_that_leaves_while_the_swarm_is_left_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swarm = learnae.join(nn.Linear(2, 1), "a", home=tmp_path)
    finish = Session.finish

    def again(session: Session) -> None:
        monkeypatch.setattr(Session, "finish", finish)
        swarm.leave()
        finish(session)

    monkeypatch.setattr(Session, "finish", again)
    swarm.leave()
    assert nodes() == 0
