"""An interrupt as the node is told something: it may have heard it or not, and either way the rounds go on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from torch import nn

from learnae.link.messages import Adopted, MergeResult, Release, Start, Taken, Want
from learnae.trainer.session import NEVER, Session
from learnae.trainer.shared import find_shared
from learnae.trainer.status import SwarmSettings


class Node:
    """It hears a message or not when the trainer is interrupted in sending it, so many times."""

    def __init__(self, session: Session, kind: type, interrupts: int, *, heard: bool) -> None:
        self.session, self.kind, self.interrupts, self.heard = session, kind, interrupts, heard
        self.sent: list[Any] = []
        self.start: Start = session.begin(self.hear)
        session.hear(Want())

    def hear(self, message: Any) -> None:
        cut = isinstance(message, self.kind) and self.interrupts > 0
        if not cut or self.heard:
            self.sent.append(message)
        if cut:
            self.interrupts -= 1
            raise KeyboardInterrupt


@pytest.fixture
def session(zeros: nn.Module) -> Iterator[Session]:
    session = Session(find_shared(zeros), SwarmSettings(local_steps=1, patience=0.0))
    yield session
    session.shared_memory.close()


def step(session: Session) -> None:
    session.model_progress.steps += 1
    if session.model_progress.steps >= session.due:
        session.attend()


@pytest.mark.parametrize("heard", [False, True])
@pytest.mark.parametrize("interrupts", [1, 2])
def test_a_snapshot_that_was_interrupted_as_it_was_sent_stops_nothing(session: Session, interrupts: int, heard: bool) -> None:
    node = Node(session, Taken, interrupts, heard=heard)
    with pytest.raises(KeyboardInterrupt):
        step(session)
    if heard:
        for answer in (Want(), Release(0)):
            session.hear(answer)
    for _ in range(3):
        step(session)
    numbers = [taken.number for taken in node.sent]
    assert numbers == sorted(numbers) and numbers[-1] == (2 if heard else 1)
    assert not session._session_state.wanted and session.due == NEVER


@pytest.mark.parametrize("heard", [False, True])
@pytest.mark.parametrize("interrupts", [1, 2])
def test_an_adoption_that_was_interrupted_as_it_was_told_is_told_and_counted(
    session: Session, zeros: nn.Module, interrupts: int, heard: bool
) -> None:
    node = Node(session, Adopted, interrupts, heard=heard)
    step(session)
    for page in session.shared_memory.pages[0].values():
        page.fill_(2.0)
    session.hear(MergeResult(node.start.hello.session, 1, 0, 0, b"lineage8", 100, "merged"))
    with pytest.raises(KeyboardInterrupt):
        step(session)
    if heard:
        session.hear(Release(0))
    step(session)
    assert Adopted(1) in node.sent and session.adoption == 1
    assert (session.model_progress.age, zeros.weight.tolist()) == (103, [[2.0, 2.0]])
