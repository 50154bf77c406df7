"""What other peers gave is added up, survives, and takes bounded room."""

from collections import Counter

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as some

from learnae.node import contributions
from learnae.node.contributions import Contribution, ServedRows, contributions_of
from learnae.node.history import History
from learnae.observations import UpdateVerdict
from learnae.records import Cid, PeerId
from tests.support.records import a_report

ALICE, BOB = PeerId("a" * 64), PeerId("b" * 64)


def a_verdict(peer=ALICE, *, merged=False, weight=0.0, stage="sane"):
    return UpdateVerdict(round=1, peer=peer, number=1, root=Cid("r"), merged=merged, weight=weight, scale=1.0, stage=stage, reason="")


def test_each_update_that_was_tried_counts_once_by_what_became_of_it():
    verdicts = [
        a_verdict(merged=True, weight=0.5, stage="clip"),
        a_verdict(merged=True, weight=1.0, stage="merge"),
        a_verdict(stage="fetch"),
        a_verdict(stage="decode"),
        a_verdict(BOB, stage="sane"),
    ]
    served = ServedRows(Counter({ALICE: 300}), Counter({BOB: 7}))
    assert contributions_of(verdicts, served) == {
        ALICE: Contribution(merged=2, weight=1.5, failed=1, refused=1, bytes=300),
        BOB: Contribution(refused=1, rows=7),
    }


@pytest.mark.parametrize("stage", ["plugin", "slice", "architecture"])
def test_nobody_is_blamed_for_what_failed_here_or_was_no_update_that_was_tried(stage):
    assert contributions_of([a_verdict(stage=stage)], ServedRows()) == {}


def test_they_are_added_up_over_runs_and_times_say_from_when_to_when(tmp_path, monkeypatch):
    path = tmp_path / "history.sqlite"
    for at in (1000.0, 2000.0):
        monkeypatch.setattr("time.time", lambda at=at: at)
        with History.open(path) as history:
            history.add_round(
                a_report(round=int(at)), {ALICE: Contribution(merged=1, weight=0.5, bytes=10, evaluated=1, loss_change=-0.25)}
            )
    (one,) = History.read(path).reader.contributions()
    assert (one.peer, one.first_at, one.last_at) == (ALICE, 1000.0, 2000.0)
    assert one.given == Contribution(merged=2, weight=1.0, bytes=20, evaluated=2, loss_change=-0.5)


def test_a_flood_of_peers_that_give_nothing_displaces_none_that_gave(tmp_path, monkeypatch):
    monkeypatch.setattr(contributions, "KEPT_CONTRIBUTIONS", 4)
    history = History.open(tmp_path / "history.sqlite")
    history.add_round(a_report(round=1), {ALICE: Contribution(merged=1), BOB: Contribution(rows=5)})
    for number in range(2, 50):
        history.add_round(a_report(round=number), {PeerId(f"{number:064}"): Contribution(failed=1)})
    kept = [one.peer for one in history.reader.contributions()]
    assert kept[:2] == [ALICE, BOB]
    assert set(kept[2:]) == {PeerId(f"{number:064}") for number in (48, 49)}


@drawn(some.lists(some.tuples(some.sampled_from([ALICE, BOB]), some.integers(0, 1 << 40)), max_size=20))
def test_what_two_parts_of_a_round_brought_is_the_sum_of_both(fetched):
    whole, parts = ServedRows(), [ServedRows(), ServedRows()]
    for place, (peer, size) in enumerate(fetched):
        whole.bytes[peer] += size
        parts[place % 2].bytes[peer] += size
    parts[0].add(parts[1])
    assert contributions_of([], parts[0]) == contributions_of([], whole)
