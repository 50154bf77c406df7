"""Which of the strategies' states hold: those of the model that the trainer holds."""

from __future__ import annotations

import numpy as np
import pytest
import structlog
from structlog.testing import capture_logs

from learnae.link.messages import Hello, TrainerProgress
from learnae.node.history import History
from learnae.node.strategy_state import StrategyStates

MODEL, PEERS = ["merge"], ["gate[0] clip"]


def hello(run: str = "run-1", adoption: int = 0, resumed: str = "", resumed_adoption: int = 0) -> Hello:
    return Hello(run, "session", TrainerProgress(adoption, b"", 0, 0, 0, 0.0), (), resumed=resumed, resumed_adoption=resumed_adoption)


@pytest.fixture
def recalled(tmp_path):
    """The memory of a node that starts on this home, greeted so."""

    def start(greeting: Hello) -> StrategyStates:
        strategy_states = StrategyStates(History.open(tmp_path / "history.sqlite"), structlog.get_logger())
        strategy_states.recall(greeting, MODEL, PEERS)
        return strategy_states

    return start


@pytest.fixture
def saved(recalled):
    """A state of run-1, committed with adoption 5 and on disk."""
    strategy_states = recalled(hello())
    strategy_states.commit(5, {"merge": {"momentum": np.array([1.5, -2.0]), "steps": 3}})
    strategy_states.save(0.0, 30.0)
    return strategy_states


def test_a_node_that_starts_again_under_the_same_run_takes_its_state_up(saved, recalled):
    state = recalled(hello("run-1", adoption=5)).states["merge"]
    assert (state["momentum"].tolist(), state["steps"]) == ([1.5, -2.0], 3)
    assert "merge" in recalled(hello("run-1", adoption=6)).states


def test_another_run_starts_anew(saved, recalled):
    assert recalled(hello("run-2", adoption=5)).states == {}


def test_a_state_newer_than_what_the_trainer_has_adopted_does_not_hold(saved, recalled):
    assert recalled(hello("run-1", adoption=4)).states == {}


def test_a_checkpoint_that_names_the_run_brings_the_state_along(saved, recalled):
    assert "merge" in recalled(hello("run-2", resumed="run-1", resumed_adoption=5)).states
    assert recalled(hello("run-2", resumed="run-1", resumed_adoption=4)).states == {}


def test_a_state_that_was_brought_along_belongs_to_the_new_run_from_then_on(saved, recalled):
    strategy_states = recalled(hello("run-2", resumed="run-1", resumed_adoption=5))
    strategy_states.commit(1, {})
    strategy_states.save(0.0, 30.0)
    assert "merge" in recalled(hello("run-2", adoption=1)).states
    assert recalled(hello("run-1", adoption=5)).states == {}


def test_what_changes_is_kept_by_strategy(saved):
    saved.commit(6, {"outer": {"steps": 1}})
    saved.learn({"gate[0] clip": {"norms": np.array([1.0])}})
    assert set(saved.states) == {*MODEL, *PEERS, "outer"}


def test_a_model_that_was_taken_over_whole_begins_without_state_also_after_a_crash(saved, recalled):
    saved.commit(6, None)
    saved.save(1.0, 30.0)
    assert saved.states == {} and recalled(hello("run-1", adoption=6)).states == {}


def test_a_strategy_cannot_change_a_state_that_was_committed(saved):
    saved.learn({"gate[0] clip": {"norms": 1}})
    for name in (*MODEL, *PEERS):
        with pytest.raises(TypeError):
            saved.states[name]["steps"] = 4


LEARNED = {"gate[0] clip": {"norms": 2.5}}


@pytest.mark.parametrize(
    "greeting",
    [hello("run-1", adoption=0), hello("run-1", adoption=9), hello("run-2"), hello("run-3", resumed="run-1", resumed_adoption=1)],
    ids=["older than the last adoption", "same run", "another run", "an older checkpoint"],
)
def test_what_is_known_of_peers_holds_whatever_model_the_trainer_holds(saved, recalled, greeting):
    saved.learn(LEARNED)
    saved.save(30.0, 30.0)
    assert recalled(greeting).states["gate[0] clip"] == LEARNED["gate[0] clip"]


def test_what_is_known_of_peers_is_kept_when_a_model_is_taken_over_whole_also_after_a_crash(saved, recalled):
    saved.learn(LEARNED)
    saved.commit(6, None)
    assert set(saved.states) == set(PEERS)
    saved.save(1.0, 30.0)
    assert set(recalled(hello("run-1", adoption=6)).states) == set(PEERS)


def test_it_is_written_every_so_often_and_at_the_end(saved, recalled):
    saved.commit(6, {"merge": {"steps": 4}})
    saved.save(29.0, 30.0)
    assert recalled(hello(adoption=9)).states["merge"]["steps"] == 3
    saved.save(30.0, 30.0)
    assert recalled(hello(adoption=9)).states["merge"]["steps"] == 4
    saved.commit(7, {"merge": {"steps": 5}})
    saved.save(30.1, 30.0, force=True)
    assert recalled(hello(adoption=9)).states["merge"]["steps"] == 5


def test_a_state_that_cannot_be_written_is_told_and_the_others_are_written(saved, recalled):
    class Odd:
        __array__ = property(lambda self: 1 / 0)

    saved.learn({"gate[0] clip": {"model": Odd()}})
    with capture_logs() as logs:
        saved.save(0.0, 30.0, force=True)
    assert [(line["event"], line["strategy"]) for line in logs] == [("state.unsaved", "gate[0] clip")]
    assert set(recalled(hello(adoption=6)).states) == {"merge"}


@pytest.mark.parametrize("damage", [b"", b"no archive", b"PK\x03\x04 half an archive"])
def test_a_damaged_state_is_told_and_starts_anew(saved, recalled, damage):
    saved.history.save_states("run-1", 5, [("merge", damage)])
    with capture_logs() as logs:
        assert recalled(hello(adoption=5)).states == {}
    assert [(line["event"], line["strategy"]) for line in logs] == [("state.unreadable", "merge")]
