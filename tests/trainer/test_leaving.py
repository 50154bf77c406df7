"""Leaving may be cut short, told by a signal's handler, or told by the collector: in the end the node is gone and the home free."""

from __future__ import annotations

import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from torch import nn

import learnae
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


@pytest.fixture
def swarm(tmp_path: Path, zeros: nn.Module) -> Swarm:
    return learnae.join(zeros, "a", home=tmp_path, overrides=["train.local_steps=1", "train.patience=0"])


def nodes() -> int:
    return sum(str(NODE) in child.cmdline() for child in psutil.Process().children())


def cut(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, error: BaseException) -> None:
    """The first two calls raise, the next ones are as ever."""
    real, left = getattr(owner, name), [error] * 2

    def call(*args: Any) -> Any:
        if left:
            raise left.pop()
        return real(*args)

    monkeypatch.setattr(owner, name, call)


STAGES = [("_session", "finish"), ("_node", "stop")]


@pytest.mark.parametrize(("part", "stage"), STAGES)
def test_leaving_that_was_interrupted_twice_is_done_by_leaving_again(
    swarm: Swarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, stage: str
) -> None:
    cut(monkeypatch, getattr(swarm, part), stage, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        swarm.leave()
    with pytest.raises(RuntimeError, match="has left"):
        swarm.step()
    swarm.leave()
    assert nodes() == 0
    claim(tmp_path).close()


@pytest.mark.parametrize(("part", "stage"), STAGES)
@pytest.mark.parametrize("name", ["a", "b"])
def test_a_rerun_cell_ends_what_interrupts_kept_from_leaving(
    swarm: Swarm, zeros: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, stage: str, name: str
) -> None:
    cut(monkeypatch, getattr(swarm, part), stage, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt), swarm:
        pass
    with learnae.join(zeros, name, home=tmp_path) as later:
        later.step()
        assert nodes() == 1


def test_a_model_that_cannot_take_up_a_merged_one_keeps_nobody_from_leaving(
    swarm: Swarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    cut(monkeypatch, swarm._session, "finish", RuntimeError("out of memory"))
    swarm.leave()
    assert nodes() == 0 and "out of memory" in capfd.readouterr().err
    claim(tmp_path).close()


def test_a_handler_that_leaves_within_a_step_does_not_wait_and_the_node_ends_after_it(
    swarm: Swarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, snapshot, told = swarm._session, swarm._session._copier.snapshot, []

    def with_a_handler(*args: Any) -> None:
        swarm.leave()
        told.append(swarm._membership.ended)
        snapshot(*args)

    monkeypatch.setattr(session._copier, "snapshot", with_a_handler)
    with session.changed:
        assert session.changed.wait_for(lambda: session._session_state.wanted, 60)
    swarm.step()
    assert told == [False]
    with pytest.raises(RuntimeError, match="has left"):
        swarm.step()
    RESIDENTS.settle()
    assert swarm._membership.ended and nodes() == 0
    claim(tmp_path).close()


def test_a_handler_that_leaves_within_leaving_lets_it_go_on(swarm: Swarm, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = swarm._node.stop

    def with_a_handler() -> None:
        swarm.leave()
        stop()

    monkeypatch.setattr(swarm._node, "stop", with_a_handler)
    swarm.leave()
    assert swarm._membership.ended and nodes() == 0


def test_nothing_is_loaded_after_leaving(swarm: Swarm) -> None:
    state = {**swarm.state_dict(), "run": "another", "steps": 5}
    swarm.leave()
    with pytest.raises(RuntimeError, match="has left"):
        swarm.load_state_dict(state)
    with pytest.raises(RuntimeError, match="has left"):
        swarm.step()


def test_the_collector_waits_for_nothing_and_whoever_joins_next_does(swarm: Swarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread, timeout: float | None = None) -> None:
        raise AssertionError(f"waited for {thread.name}, in a callback of the collector")

    member = swarm._membership
    with swarm._session.changed:  # a lock that the thread needs which leaves
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "join", refuse)
            member.forgotten()
        assert member.left and not member.ended
    learnae.join(nn.Linear(2, 1), "a", home=tmp_path).leave()
    assert member.ended and nodes() == 0


def test_a_forked_child_waits_for_no_lock_that_a_thread_of_its_parent_held(swarm: Swarm) -> None:
    held, end = threading.Event(), threading.Event()

    def hold() -> None:
        with swarm._session.changed, swarm._node._guard:
            held.set()
            end.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(30)
        try:
            swarm.status, swarm.reports(), swarm.state_dict(), swarm.leave()
        finally:
            os._exit(0 if sys.exception() is None else 1)
    end.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    swarm.leave()
