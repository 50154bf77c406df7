"""What a gate or a selector has learned of peers is kept: when all was refused, when no merge was adopted, and across restarts."""

from __future__ import annotations

import numpy as np
import pytest
import trio

from learnae.plugins.gate import Clip
from learnae.records import Judged, Selected, Verdict
from learnae.strategies import Gate, Merge, Selector
from tests.support.simulated import in_another_run, outcomes

WARM_UP = 3


class WarmingUp(Gate):
    """Refuses the first updates that it sees of each peer."""

    def judge(self, local, received, state):
        seen = {item.peer: int(state.get(item.peer, 0)) + 1 for item in received}
        verdicts = [Verdict() if seen[item.peer] > WARM_UP else Verdict(0.0, 1.0, "too new") for item in received]
        return Judged(verdicts, {**state, **seen})


class Counting(Gate):
    shown: list[int]

    def judge(self, local, received, state):
        Counting.shown.append(int(state.get("rounds", 0)))
        return Judged([Verdict()] * len(received), {"rounds": int(state.get("rounds", 0)) + 1})


class Noting(Clip):
    """Notes the norms that it was shown."""

    shown: list[list[float]]

    def judge(self, local, received, state):
        Noting.shown.append([float(norm) for norm in np.atleast_1d(state.get("norms", ()))])
        return super().judge(local, received, state)


class Torn(Merge):
    def merge(self, local, received, state):
        raise RuntimeError("torn")


class RefusesAll(Gate):
    def judge(self, local, received, state):
        return Judged([Verdict(0.0, 1.0, "no")] * len(received))


class Moody(Gate):
    """Merges what comes first, and refuses all else: it says that the peer did wrong, or that the two are too far apart."""

    blames = True

    def judge(self, local, received, state):
        verdicts = [Verdict(1.0 if "met" not in state else 0.0, 1.0, "no", blames=self.blames) for _ in received]
        return Judged(verdicts, {"met": 1})


class MildlyMoody(Moody):
    blames = False


class Remembering(Selector):
    shown: list[int]

    def select(self, view):
        Remembering.shown.append(int(view.state.get("rounds", 0)))
        return Selected(view.candidates[: view.count], {"rounds": int(view.state.get("rounds", 0)) + 1})


class OneRoundInTwo(Selector):
    """Answers in both forms: a plain sequence leaves the state as it was."""

    shown: list[int]

    def select(self, view):
        Remembering.shown.append(int(view.state.get("rounds", 0)))
        if view.round % 2:
            return view.candidates[: view.count]
        return Selected(view.candidates[: view.count], {"rounds": view.round})


GATES = {
    "warming-up": WarmingUp,
    "counting": Counting,
    "noting": Noting,
    "refuses-all": RefusesAll,
    "moody": Moody,
    "mildly-moody": MildlyMoody,
}
SELECTORS = {"remembering": Remembering, "one-in-two": OneRoundInTwo}
STRATEGIES = {"gate": GATES, "merge": {"torn": Torn}, "selector": SELECTORS}
COUNTING = {"gate": {"use": "counting"}}


@pytest.fixture
def run(run_world, monkeypatch):
    monkeypatch.setattr(Counting, "shown", [], raising=False)
    monkeypatch.setattr(Noting, "shown", [], raising=False)
    monkeypatch.setattr(Remembering, "shown", [], raising=False)
    return lambda main, **settings: run_world(main, strategies=STRATEGIES, node={"save_seconds": 0.5}, **settings)


def test_a_gate_with_a_warm_up_lets_a_peer_through_in_the_end(run):
    a, _ = run(lambda world: world.two_for(120, gate={"use": "warming-up"}))
    fates = [verdict.merged for report in a.trainer.reports for verdict in report.verdicts]
    assert fates[:WARM_UP] == [False] * WARM_UP
    assert all(fates[WARM_UP:]) and len(fates) > WARM_UP


def test_a_peer_that_is_too_far_away_keeps_its_turn_and_one_that_did_wrong_waits_longer_and_longer(run):
    judged = {}
    for gate in ("moody", "mildly-moody"):
        a, _ = run(lambda world, gate=gate: world.two_for(60, gate={"use": gate}))
        judged[gate] = sum(len(report.verdicts) for report in a.trainer.reports)
    assert judged["moody"] <= 8, "after 2, 4, 8, 16 and 32 rounds"
    assert judged["mildly-moody"] >= 40


def test_what_was_learned_counts_also_when_another_gate_refused_everything(run):
    run(lambda world: world.two_for(10.5, gate=[{"use": "counting"}, {"use": "refuses-all"}]))
    assert Counting.shown == list(range(len(Counting.shown)))
    assert len(Counting.shown) >= 2


def test_what_was_learned_counts_also_when_the_merge_failed(run):
    run(lambda world: world.two_for(10.5, merge={"use": "torn"}, **COUNTING))
    assert Counting.shown == list(range(len(Counting.shown)))
    assert len(Counting.shown) >= 2


def test_a_clip_keeps_its_norms_when_the_merge_failed(run):
    run(lambda world: world.two_for(10.5, merge={"use": "torn"}, gate={"use": "noting"}))
    assert [len(norms) for norms in Noting.shown] == list(range(len(Noting.shown)))


@pytest.mark.parametrize("other_run", [False, True], ids=["the same run", "another run"])
def test_what_was_learned_before_an_adoption_that_never_came_is_there_after_a_restart(run, other_run):
    async def main(world):
        a, _ = await world.two_for(5.5, **COUNTING)
        a.trainer.lag = lambda: 10**6
        await trio.sleep(5)
        learned = len(Counting.shown)
        a.kill_node()
        if other_run:
            a.kill()
            a.replace_trainer(in_another_run(a.trainer, lag=lambda: 0))
            a.start()
        else:
            a.trainer.lag = lambda: 0
            a.start_node()
        await trio.sleep(5.5)
        return learned

    learned = run(main)
    assert Counting.shown[:learned] == list(range(learned))
    assert Counting.shown[learned] >= learned - 1 > 0  # what was judged after the last save is lost


def test_what_was_learned_is_kept_by_a_peer_that_moves_to_another_lineage(run):
    async def main(world):
        a, b = await world.two_for(6.5, join={"on_split": "yield"}, **COUNTING)
        b.kill()
        world.peer("c", 4.0, lineage=b"lineage0").start()
        await trio.sleep(60)
        return a

    a = run(main)
    assert "yielded" in {*outcomes(a)}
    assert Counting.shown == list(range(len(Counting.shown)))


def test_what_a_selector_has_learned_counts_also_when_the_merge_failed(run):
    run(lambda world: world.two_for(10.5, merge={"use": "torn"}, selector={"use": "remembering"}))
    assert Remembering.shown == list(range(len(Remembering.shown)))
    assert len(Remembering.shown) >= 2


def test_a_plain_answer_of_a_selector_leaves_its_state_as_it_was(run):
    run(lambda world: world.two_for(10.5, selector={"use": "one-in-two"}))
    assert len(set(Remembering.shown)) > 2
    assert all(shown % 2 == 0 for shown in Remembering.shown)
    assert sorted(Remembering.shown) == Remembering.shown


def test_what_a_selector_has_learned_is_there_after_a_restart(run):
    async def main(world):
        a, _ = await world.two_for(10.5, selector={"use": "remembering"})
        learned = len(Remembering.shown)
        a.kill_node()
        a.start_node()
        await trio.sleep(5.5)
        return learned

    learned = run(main)
    assert Remembering.shown[:learned] == list(range(learned))
    assert Remembering.shown[learned] >= learned - 1 > 0  # what was chosen after the last save is lost
