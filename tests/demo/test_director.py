"""The play itself, with actors in place of trainers: who is started, killed, brought back and sent home."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from learnae import PluginError
from learnae.demo.director import Baselines, Director
from learnae.demo.processes import Commands, Plan, Stage, State

ACTOR = str(Path(__file__).with_name("actor.py"))
COMPARED = 'import sys; print(\'{"steps": %s, "alone": [0.3, 0.3, 0.2, 0.2], "central": 0.97}\' % sys.stdin.readline().strip())'


def direct(folder: Path, mood: str = "calm", baselines: str = COMPARED, patience_seconds: float = 60.0) -> Director:
    plan = Plan(steps=20, away_seconds=0.0, patience_seconds=patience_seconds)
    commands = Commands((sys.executable, ACTOR, mood), (sys.executable, "-c", baselines))
    return Director(plan, Stage(folder), commands)


def test_one_peer_is_killed_and_comes_back_and_all_end_together(tmp_path: Path) -> None:
    director = direct(tmp_path)
    trio.run(director.play)
    assert (director.failure, director.interrupted) == ("", False)
    assert [peer.state for peer in director.peers] == [State.DONE] * 4
    assert [peer.accuracy for peer in director.peers] == [0.95] * 4
    assert [peer.killed_at is not None for peer in director.peers] == [False, True, False, False]
    assert director.peers[1].merged_since_return >= 3
    assert [event.partition(",")[0].split(" after ")[0] for _, event in director.events] == [
        "the peers start",
        "all peers train",
        "peer 2 was killed",
        "peer 2 is back with its old home",
        "all are done; to compare with",
    ]


def test_what_happens_half_way_is_told(tmp_path: Path) -> None:
    director = direct(tmp_path)
    director.half_way = [lambda: "the lights went out"]
    trio.run(director.play)
    assert [event for _, event in director.events][3] == "the lights went out"


def test_a_mistake_of_what_happens_half_way_ends_the_play_and_is_told(tmp_path: Path) -> None:
    def fall() -> str:
        raise PluginError("house", "falling", "it stands")

    director = direct(tmp_path)
    director.half_way = [fall]
    trio.run(director.play)
    assert "'house' failed while falling" in director.failure


def test_the_others_get_as_many_steps_as_the_busiest_peer(tmp_path: Path) -> None:
    director = direct(tmp_path)
    trio.run(director.play)
    assert director.baselines == Baselines(max(peer.steps for peer in director.peers), (0.3, 0.3, 0.2, 0.2), 0.97)


def test_a_peer_that_dies_by_itself_ends_the_play_with_the_end_of_its_log(tmp_path: Path) -> None:
    director = direct(tmp_path, "crash")
    trio.run(director.play)
    assert director.failure.startswith("peer 3 ended with exit code 1")
    assert director.failure.endswith("the actor has forgotten its lines")


def test_a_play_that_does_not_move_is_ended(tmp_path: Path) -> None:
    director = direct(tmp_path, "mute", patience_seconds=0.5)
    trio.run(director.play)
    assert "not over" in director.failure and "peer 1 is loading PyTorch at step 0" in director.failure


class Rehearsal(Director):
    """No processes: peers make a step from time to time, on a clock of their own. After `stop` steps they say the same again and again."""

    stop = 10**6

    async def _acts(self, nursery: trio.Nursery) -> None:
        for step in range(self.plan.steps):
            await trio.sleep(50.0)
            for peer in self.peers:
                counts = {"heard": 0, "merged": 0, "refused": 0, "bytes": 0, "fetched": 0, "rows": 0}
                self.hear(peer, {"event": "progress", "steps": min(step, self.stop), "accuracy": 0.5, "trained": 0.5, **counts})


@pytest.mark.parametrize(("stop", "over"), [(10**6, True), (15, False)])
def test_a_slow_play_goes_on_as_long_as_it_comes_nearer_to_its_end(tmp_path: Path, stop: int, over: bool) -> None:
    director = Rehearsal(Plan(steps=20, patience_seconds=120.0), Stage(tmp_path))
    director.stop = stop
    trio.run(director.play, clock=MockClock(autojump_threshold=0))
    assert (director.failure == "") is over


def test_models_that_cannot_be_compared_with_are_a_failure(tmp_path: Path) -> None:
    director = direct(tmp_path, baselines="raise SystemExit('no data')")
    trio.run(director.play)
    assert "baselines.log" in director.failure
    assert "no data" in (tmp_path / "baselines.log").read_text()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_everything(tmp_path: Path, name: str) -> None:
    director = direct(tmp_path, name)
    trio.run(director.play)
    assert (director.failure, director.interrupted) == ("", True)
