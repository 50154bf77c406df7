"""How a change of the test loss is shared among those who were merged meanwhile: numbers worked out by hand."""

from __future__ import annotations

import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as some

from learnae.link.messages import Evaluation, TrainerProgress
from learnae.node import evaluations
from learnae.node.evaluations import LossLedger, LossShare
from learnae.records import PeerId

ALICE, BOB = PeerId("a" * 64), PeerId("b" * 64)


@attrs.define
class Measured:
    """A trainer whose loss is measured again and again."""

    ledger: LossLedger = attrs.field(factory=LossLedger)
    number: int = 0
    adoption: int = 0

    def adopt(self, **weights: float) -> None:
        self.adoption += 1
        names = {"alice": ALICE, "bob": BOB}
        self.ledger.adopted(self.adoption, {names[name]: weight for name, weight in weights.items()})

    def moves(self) -> None:
        self.adoption += 1
        self.ledger.adopted(self.adoption, None)

    def measure(self, adoption: int | None = None, **metrics: float) -> list[LossShare]:
        self.number += 1
        told = Evaluation(self.number, self.adoption if adoption is None else adoption, metrics)
        evaluation, shares = self.ledger.take(TrainerProgress(self.adoption, b"", 0, 0, 0, 0.0, evaluation=told))
        assert evaluation is told
        return list(shares)


def test_a_merge_with_one_peer_gives_it_half_and_the_own_model_half():
    trainer = Measured()
    trainer.measure(loss=1.0)
    trainer.adopt(alice=1.0)
    assert trainer.measure(loss=0.5) == [LossShare(ALICE, 1, -0.25)]


def test_all_merges_since_the_last_evaluation_share_by_their_weights():
    trainer = Measured()
    trainer.measure(loss=1.0)
    trainer.adopt(alice=1.0, bob=0.5)
    trainer.adopt(alice=0.5)
    assert trainer.measure(loss=2.0) == [LossShare(ALICE, 2, 1.5 / 4), LossShare(BOB, 1, 0.5 / 4)]


def test_of_a_peer_whose_own_model_counts_for_nothing_others_get_all():
    trainer = Measured(LossLedger(own_weight=0.0))
    trainer.measure(loss=1.0)
    trainer.adopt(alice=0.5, bob=1.0)
    assert trainer.measure(loss=0.25) == [LossShare(ALICE, 1, pytest.approx(-0.25)), LossShare(BOB, 1, pytest.approx(-0.5))]


def test_the_first_evaluation_is_nobodys():
    trainer = Measured()
    trainer.adopt(alice=1.0)
    assert trainer.measure(loss=1.0) == []
    assert trainer.measure(loss=0.5) == [], "nobody was merged since"


def test_a_merge_after_the_evaluation_counts_for_the_next_one():
    trainer = Measured()
    trainer.measure(loss=1.0)
    trainer.adopt(alice=1.0)
    assert trainer.measure(adoption=0, loss=0.5) == []
    assert trainer.measure(loss=0.25) == [LossShare(ALICE, 1, -0.125)]


def test_nobody_is_praised_for_a_whole_model_that_was_adopted():
    trainer = Measured()
    trainer.measure(loss=5.0)
    trainer.adopt(alice=1.0)
    trainer.moves()
    assert trainer.measure(loss=0.5) == []
    trainer.adopt(alice=1.0)
    assert trainer.measure(loss=0.25) == [LossShare(ALICE, 1, -0.125)]


def test_without_a_loss_there_is_nothing_to_share_and_nothing_to_go_on_from():
    trainer = Measured()
    trainer.measure(loss=1.0)
    trainer.adopt(alice=1.0)
    assert trainer.measure(accuracy=0.5) == []
    trainer.adopt(alice=1.0)
    assert trainer.measure(loss=0.5) == []


def test_an_evaluation_counts_once_though_each_snapshot_names_it():
    trainer = Measured()
    progress = TrainerProgress(0, b"", 0, 0, 0, 0.0, evaluation=Evaluation(1, 0, {"loss": 1.0}))
    assert trainer.ledger.take(progress)[0] is not None
    assert trainer.ledger.take(progress) == (None, ())


def test_merges_that_nobody_evaluates_take_no_room_without_end(monkeypatch):
    monkeypatch.setattr(evaluations, "MOST_ADOPTIONS", 3)
    trainer = Measured()
    trainer.measure(loss=1.0)
    for _ in range(10):
        trainer.adopt(alice=1.0)
    assert trainer.measure(loss=0.0) == [LossShare(ALICE, 3, -0.5)]


@given(some.lists(some.tuples(some.floats(-1e308, 1e308), some.floats(0.0, 1.0), some.floats(0.0, 1.0)), min_size=2, max_size=8))
def test_shares_are_finite_and_never_more_than_the_whole_change(rounds):
    trainer = Measured()
    before = rounds[0][0]
    trainer.measure(loss=before)
    for loss, alice, bob in rounds[1:]:
        trainer.adopt(alice=alice, bob=bob)
        shares = trainer.measure(loss=loss)
        whole = min(abs(loss - before), evaluations.LARGEST_CHANGE)
        assert all(math.isfinite(share.change) for share in shares)
        assert sum(abs(share.change) for share in shares) <= whole * (1 + 1e-9)
        before = loss
