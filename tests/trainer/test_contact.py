"""When snapshots are due and offers adopted, seen in one thread."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from learnae.errors import ConfigError
from learnae.link.messages import Adopted, MergeResult, Release, Start, Taken, Want
from learnae.trainer.session import NEVER, Session
from learnae.trainer.shared import find_shared
from learnae.trainer.status import SwarmSettings


class Node:
    """What a node would say, said at once."""

    def __init__(self, session: Session) -> None:
        self.session, self.sent = session, []
        self.start: Start = session.begin(self.sent.append)

    def offer(self, slot: int, value: float, number: int = 1, **fields: Any) -> None:
        for array in self.session.shared_memory.pages[0].values():
            array.fill_(value)
        session = self.start.hello.session
        self.session.hear(MergeResult(session, number, 0, slot, b"lineage8", fields.get("gain", 0), "merged"))


@pytest.fixture
def session(zeros: nn.Module) -> Iterator[Session]:
    session = Session(find_shared(zeros), SwarmSettings(local_steps=3, patience=0.05))
    yield session
    session.shared_memory.close()


def step(session: Session, count: int = 1) -> None:
    for _ in range(count):
        session.model_progress.steps += 1
        if session.model_progress.steps >= session.due:
            session.attend()


def test_nothing_is_due_before_the_node_asks(session: Session) -> None:
    node = Node(session)
    assert session.due == NEVER
    step(session, 10)
    assert node.sent == []


def test_the_first_snapshot_of_a_session_is_due_at_once_and_the_next_after_local_steps(session: Session) -> None:
    node = Node(session)
    for _ in range(10):
        session.hear(Want())
        step(session)
        session.hear(Release(0))
    assert [taken.progress.steps for taken in node.sent] == [1, 4, 7, 10]


def later(session: Session, seconds: float) -> None:
    """Let so much time pass, and let the thread that listens look."""
    now = session._schedule.clock() + seconds
    session._schedule.clock = lambda: now
    session.look()


def test_with_slow_steps_a_snapshot_is_due_when_its_time_has_come(session: Session) -> None:
    state = {**session.state_dict(), "lineage": b"lineage8".hex()}
    session.load_state_dict(state)
    node = Node(session)
    session.hear(Want())
    step(session)
    session.hear(Release(0))
    session.hear(Want())
    assert 1.0 < session.seconds_to_look() <= 10.0
    later(session, 9.0)
    step(session)
    assert [taken.progress.steps for taken in node.sent] == [1]
    later(session, 1.1)
    assert session.seconds_to_look() == math.inf
    step(session)
    assert [taken.progress.steps for taken in node.sent] == [1, 3]


def test_a_trainer_without_a_lineage_offers_its_model_again_with_its_next_slow_step(session: Session) -> None:
    node = Node(session)
    for _ in range(3):
        session.hear(Want())
        step(session)
        session.hear(Release(0))
        later(session, 2.0)
    assert [taken.progress.steps for taken in node.sent] == [1, 2, 3]


def test_no_time_is_waited_for_while_no_snapshot_is_wanted(session: Session) -> None:
    assert session.seconds_to_look() == math.inf
    Node(session)
    later(session, 100.0)
    assert (session.seconds_to_look(), session.due) == (math.inf, NEVER)


def test_a_node_that_asks_late_is_answered_in_the_next_step(session: Session) -> None:
    node = Node(session)
    session.hear(Want())
    step(session, 20)
    session.hear(Release(0))
    session.hear(Want())
    step(session, 5)
    assert [taken.progress.steps for taken in node.sent] == [1, 21]


def test_an_offer_is_adopted_in_the_next_step_and_named(session: Session, zeros: nn.Module) -> None:
    node = Node(session)
    session.hear(Want())
    step(session)
    node.offer(0, 2.0, gain=100)
    assert session.due == 0
    step(session)
    assert node.sent[-1] == Adopted(1)
    assert zeros.weight.tolist() == [[2.0, 2.0]]
    assert (session.model_progress.age, session.model_progress.lineage) == (102, b"lineage8")


def test_a_snapshot_names_the_last_adoption_lineage_and_age(session: Session) -> None:
    node = Node(session)
    session.hear(Want())
    step(session)
    node.offer(0, 2.0, gain=100)
    session.hear(Want())
    session.model_progress.loss = torch.tensor(0.5, requires_grad=True)
    step(session, 3)
    taken = node.sent[-1]
    assert isinstance(taken, Taken)
    assert (taken.slot, taken.progress.adoption, taken.progress.lineage, taken.progress.age) == (1, 1, b"lineage8", 104)
    assert taken.progress.loss == 0.5


def test_an_offer_of_a_node_that_has_ended_is_never_adopted(session: Session, zeros: nn.Module) -> None:
    node = Node(session)
    session.hear(Want())
    step(session)
    node.offer(0, 2.0)
    session.ended()
    step(session, 5)
    assert zeros.weight.tolist() == [[0.0, 0.0]] and session.adoption == 0


def test_a_new_node_is_told_what_was_adopted_and_gets_a_snapshot_at_once(session: Session) -> None:
    first = Node(session)
    session.hear(Want())
    step(session)
    first.offer(0, 2.0)
    step(session)
    second = Node(session)
    assert second.start.hello.progress.adoption == 1
    assert second.start.hello.session != first.start.hello.session
    assert second.start.hello.run == first.start.hello.run
    session.hear(Want())
    step(session)
    assert second.sent[0].progress.steps == 3


def test_a_trainer_waits_for_what_it_has_saved_of_its_rounds(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(session.changed, "wait_for", lambda condition, seconds: waited.append(seconds))
    session.model_progress._last_time -= 2.0  # a round of two seconds, of which patience saves a twentieth
    Node(session)
    session.hear(Want())
    step(session)
    assert waited == [pytest.approx(0.1, rel=0.1)]
    assert session._wait_budget.saved == pytest.approx(waited[0], rel=0.1)  # the wait took no time here


def test_a_trainer_without_patience_does_not_even_let_go_of_the_lock(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    session._wait_budget.share = 0.0
    monkeypatch.setattr(session.changed, "wait", None)
    node = Node(session)
    session.hear(Want())
    step(session)
    assert isinstance(node.sent[-1], Taken)


def test_a_patient_trainer_adopts_in_the_step_of_the_snapshot_bit_for_bit(
    session: Session, zeros: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(session)
    waited = []

    def wait_for(condition: Callable[[], bool], seconds: float) -> None:
        waited.append(seconds)
        node.offer(0, 0.1)
        assert condition()

    monkeypatch.setattr(session.changed, "wait_for", wait_for)
    session._wait_budget.saved = 0.25
    session.hear(Want())
    step(session)
    assert waited == [pytest.approx(0.25, abs=0.05)] and session.adoption == 1
    assert torch.equal(zeros.weight, torch.full((1, 2), 0.1))


def test_a_model_that_was_rebuilt_is_an_error_and_the_others_keep_their_values(session: Session, zeros: nn.Module) -> None:
    node = Node(session)
    session.hear(Want())
    step(session)
    node.offer(0, 2.0)
    zeros.weight = nn.Parameter(torch.zeros(5, 1))
    with pytest.raises(ConfigError, match=r"weight has the shape \(5, 1\) now"):
        step(session)
    assert zeros.bias.tolist() == [0.0]


def test_a_module_that_was_replaced_by_its_like_takes_what_is_adopted(session: Session) -> None:
    node = Node(session)
    model = session._shared.model
    session.hear(Want())
    step(session)
    node.offer(0, 2.0)
    model.weight = nn.Parameter(torch.ones(1, 2))
    step(session)
    assert (model.weight.tolist(), session.adoption) == ([[3.0, 3.0]], 1)


@pytest.mark.parametrize("way", ["step", "flush"])
def test_what_does_not_reach_the_model_is_not_counted(session: Session, zeros: nn.Module, way: str) -> None:
    node = Node(session)
    session.hear(Want())
    step(session)
    node.offer(0, 2.0)
    zeros.register_parameter("more", nn.Parameter(torch.zeros(1)))
    for _ in range(2):
        with pytest.raises(ConfigError, match="more is new"):
            step(session) if way == "step" else session.flush(0)
    assert (session.adoption, zeros.bias.tolist()) == (0, [0.0])
    del zeros.more
    step(session)
    assert (session.adoption, zeros.bias.tolist()) == (1, [2.0])


def test_no_snapshot_is_taken_of_a_model_that_became_another_one(session: Session, zeros: nn.Module) -> None:
    node = Node(session)
    session.hear(Want())
    zeros.double()
    with pytest.raises(ConfigError, match="weight is float64 now"):
        step(session)
    assert node.sent == []
