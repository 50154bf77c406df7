"""The real thing: a trainer here, a node in a process of its own, and what happens when one of them dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import nn

from learnae.errors import ConfigError, PluginError
from learnae.trainer import supervisor

SHM = Path("/dev/shm")


def weight(model: nn.Module) -> float:
    return float(next(model.parameters()).detach().flatten()[0])


def test_a_snapshot_comes_back_merged_and_is_adopted(make_swarm: Any, watch: Any, zeros: nn.Module) -> None:
    swarm = make_swarm(zeros, constant=1.0, gain=3)
    swarm.step(num_samples=8)
    watch.offer(swarm)
    swarm.step(num_samples=8)
    assert [p.unique().tolist() for p in zeros.parameters()] == [[0.5], [0.5]]
    status = swarm.status
    assert (status.adoptions, status.lineage, status.age, status.steps, status.samples) == (1, b"lineage8", 5, 2, 16)


def test_what_was_trained_meanwhile_is_kept(make_swarm: Any, watch: Any, zeros: nn.Module) -> None:
    swarm = make_swarm(zeros, constant=1.0)
    swarm.step()
    watch.offer(swarm)
    with torch.no_grad():
        zeros.weight.add_(0.25)
    swarm.step()
    assert zeros.weight.tolist() == [[0.75, 0.75]] and zeros.bias.tolist() == [0.5]


def test_rounds_follow_each_other_and_reports_arrive(make_swarm: Any, watch: Any, zeros: nn.Module) -> None:
    swarm = make_swarm(zeros)
    for _ in range(5):
        watch.want(swarm)
        swarm.step()
        watch.offer(swarm)
        swarm.step()
    watch.want(swarm)
    assert weight(zeros) == 1 - 0.5**5
    assert [report.round for report in swarm.reports()] == [1, 2, 3, 4, 5]
    assert swarm.reports() == ()
    status = swarm.status
    assert (status.rounds, status.heard, status.merged, status.refused, status.outages) == (5, 2, 5, 5, {"storage": "it is full"})


def test_flush_waits_for_the_merged_model_and_adopts_it(make_swarm: Any, watch: Any, zeros: nn.Module) -> None:
    swarm = make_swarm(zeros)
    swarm.step()
    watch.offer(swarm)
    swarm.step()
    watch.want(swarm)
    swarm.flush(30)
    assert swarm.status.adoptions == 2 and weight(zeros) == 0.75


def test_flush_does_not_wait_for_a_node_that_has_nothing_to_offer(make_swarm: Any, watch: Any, zeros: nn.Module) -> None:
    swarm = make_swarm(zeros, faults={0: "alone"})
    swarm.flush(1e6)
    assert swarm.status.adoptions == 0


@pytest.mark.parametrize("fault", ["die-with-snapshot", "die-after-offer", "wrong-number"])
def test_a_node_that_dies_is_replaced_and_its_offer_is_void(make_swarm: Any, watch: Any, zeros: nn.Module, fault: str) -> None:
    swarm = make_swarm(zeros, faults={0: fault})
    swarm.step()
    watch.until(swarm, lambda: swarm._node.starts == 2 and swarm._session._session_state.wanted)
    swarm.step()
    watch.offer(swarm)
    swarm.step()
    assert (swarm.status.adoptions, weight(zeros), swarm.status.node_starts) == (1, 0.5, 2)


def test_a_node_killed_in_a_long_pause_of_the_trainer_is_back_without_a_step(make_swarm: Any, watch: Any, zeros: nn.Module) -> None:
    swarm = make_swarm(zeros)
    swarm.step()
    watch.offer(swarm)
    swarm.step()
    watch.want(swarm)
    for starts in (2, 3):
        os.kill(swarm._node.pid, signal.SIGKILL)
        watch.until(swarm, lambda starts=starts: swarm._node.starts == starts and swarm._session._session_state.wanted)
    swarm.step()
    watch.offer(swarm)
    swarm.step()
    assert swarm.status.adoptions == 2 and weight(zeros) == 0.75


def test_a_node_killed_after_the_adoption_learns_the_number_from_the_next_hello(
    make_swarm: Any, watch: Any, zeros: nn.Module, tmp_path: Path
) -> None:
    swarm = make_swarm(zeros)
    swarm.step()
    watch.offer(swarm)
    os.kill(swarm._node.pid, signal.SIGSTOP)
    swarm.step()
    os.kill(swarm._node.pid, signal.SIGKILL)
    watch.until(swarm, lambda: swarm._node.starts == 2 and swarm._session._session_state.wanted)
    assert [line.split()[1] for line in (tmp_path / "hellos").read_text().splitlines()] == ["0", "1"]


@pytest.mark.parametrize(("fault", "error", "says"), [("config", ConfigError, "avrage"), ("plugin", PluginError, "it is broken")])
def test_what_the_user_must_mend_is_raised_at_once(make_swarm: Any, zeros: nn.Module, fault: str, error: type, says: str) -> None:
    with pytest.raises(error, match=says):
        make_swarm(zeros, faults={0: fault})


def test_any_other_failure_to_start_does_not_stop_training(make_swarm: Any, watch: Any, zeros: nn.Module) -> None:
    swarm = make_swarm(zeros, faults={0: "crash", 1: "config"})
    for _ in range(100):
        swarm.step()
    watch.until(swarm, lambda: swarm._node.starts == 3 and swarm._session._session_state.wanted)


def test_a_program_that_is_not_there_does_not_stop_training(make_swarm: Any, zeros: nn.Module, capfd: pytest.CaptureFixture[str]) -> None:
    swarm = make_swarm(zeros, start=False)
    swarm._node._command = ("/nowhere/python",)
    swarm.start()
    swarm.step()
    swarm.leave()
    assert "/nowhere/python" in capfd.readouterr().err


def test_a_node_that_refuses_after_all_patience_is_told_of_and_started_again(
    make_swarm: Any, watch: Any, zeros: nn.Module, capfd: pytest.CaptureFixture[str]
) -> None:
    swarm = make_swarm(zeros, faults={0: "config"}, start=False)
    swarm.start(timeout=0)
    watch.until(swarm, lambda: swarm._node.starts == 2 and swarm._session._session_state.wanted)
    assert "avrage" in capfd.readouterr().err
    assert "avrage" in swarm.status.last_error


def test_leaving_lets_the_node_say_goodbye(make_swarm: Any, zeros: nn.Module, tmp_path: Path) -> None:
    with make_swarm(zeros) as swarm:
        swarm.step()
        pid = swarm._node.pid
    assert (tmp_path / "goodbye").read_text() == "said"
    assert not psutil.pid_exists(pid)
    swarm.leave()
    assert swarm.status.node == "left"


def test_a_node_that_does_not_leave_is_ended(make_swarm: Any, zeros: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LEAVE_SECONDS", 0.1)
    monkeypatch.setattr(supervisor, "TERMINATE_SECONDS", 0.1)
    with make_swarm(zeros, faults={0: "stay"}) as swarm:
        pid = swarm._node.pid
    assert not psutil.pid_exists(pid)


def test_stepping_after_leaving_is_an_error(make_swarm: Any, zeros: nn.Module) -> None:
    with make_swarm(zeros) as swarm:
        swarm.step()
    with pytest.raises(RuntimeError, match="has left the swarm"):
        swarm.step()


def test_stepping_from_two_threads_is_an_error(make_swarm: Any, watch: Any, zeros: nn.Module) -> None:
    swarm = make_swarm(zeros)
    swarm.step()
    watch.offer(swarm)
    caught: list[BaseException] = []

    def other() -> None:
        try:
            swarm.step()
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert "the one thread that trains" in str(caught[0])


def test_load_state_dict_starts_another_run_that_names_the_old_one(make_swarm: Any, watch: Any, zeros: nn.Module, tmp_path: Path) -> None:
    swarm = make_swarm(zeros)
    swarm.step(num_samples=4)
    watch.offer(swarm)
    swarm.step(num_samples=4)
    state = swarm.state_dict()
    swarm.load_state_dict(state)
    watch.until(swarm, lambda: swarm._node.starts == 2 and swarm._session._session_state.wanted)
    first, second = (line.split(" ") for line in (tmp_path / "hellos").read_text().splitlines())
    assert second[0] != first[0] and second[1:] == ["0", first[0], "1"]
    status = swarm.status
    assert (status.lineage, status.age, status.steps, status.samples) == (b"lineage8", 2, 2, 8)
    swarm.load_state_dict(state)
    assert swarm._node.starts == 2


TRAINER = """
import sys, time, torch
from pathlib import Path
from torch import nn
from learnae.trainer.shared import find_shared
from learnae.trainer.swarm import Swarm
from learnae.trainer.status import SwarmSettings
model = nn.Linear(2, 1)
swarm = Swarm(model, find_shared(model), SwarmSettings(local_steps=1, home=sys.argv[1], command=(sys.executable, sys.argv[2])))
swarm.start()
swarm.step()
print(swarm._node.pid, flush=True)
if sys.argv[3] == "wait":
    time.sleep(60)
"""


def run_trainer(tmp_path: Path, then: str) -> tuple[subprocess.Popen[str], psutil.Process]:
    node = Path(__file__).with_name("scripted_node.py")
    command = [sys.executable, "-c", TRAINER, str(tmp_path), str(node), then]
    trainer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert trainer.stdout is not None
    return trainer, psutil.Process(int(trainer.stdout.readline()))


def finish(trainer: subprocess.Popen[str]) -> int:
    with trainer:
        return trainer.wait(30)


def test_a_node_leaves_when_its_trainer_is_killed_and_nothing_remains(tmp_path: Path) -> None:
    before = set(SHM.iterdir()) if SHM.exists() else set()
    trainer, node = run_trainer(tmp_path, "wait")
    trainer.kill()
    finish(trainer)
    psutil.wait_procs([node], timeout=30)
    assert not node.is_running()
    assert (tmp_path / "goodbye").read_text() == "said"
    assert (set(SHM.iterdir()) if SHM.exists() else set()) <= before


def test_a_script_that_forgets_to_leave_ends_with_its_node(tmp_path: Path) -> None:
    trainer, node = run_trainer(tmp_path, "end")
    assert finish(trainer) == 0
    assert not node.is_running()
    assert (tmp_path / "goodbye").read_text() == "said"


def test_a_step_with_nothing_due_takes_no_lock(make_swarm: Any, zeros: nn.Module) -> None:
    swarm = make_swarm(zeros, start=False)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with swarm._session.changed:
            held.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    swarm.step(32)
    done.set()
    thread.join()
    assert swarm.status.steps == 1 and swarm.status.samples == 32
