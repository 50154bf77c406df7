"""Strategies that break in the middle of a round: the plugin is named, the own model untouched, the round goes on."""

from __future__ import annotations

import numpy as np
import pytest
import trio
from structlog.testing import capture_logs

from learnae.plugins.codec import Fp32
from learnae.plugins.merge import Average
from learnae.records import Judged, Merged, Verdict
from learnae.strategies import Gate, Merge, NoOptions, Selector
from tests.support.simulated import LINEAGE, in_another_run, outcomes, start, value, verdicts

pytestmark = pytest.mark.virtual_time


def failures(logs, peer: str = "a") -> set[tuple[str, str]]:
    return {(line["plugin"], line["log_level"]) for line in logs if line["event"] == "plugin.failed" and line["own"] == peer}


class Lost(Selector):
    def select(self, view):
        raise LookupError("no idea")


class Panics(Gate):
    def judge(self, local, received, state):
        raise RuntimeError("panic")


class Torn(Merge):
    """Writes half of the model, and breaks."""

    def merge(self, local, received, state):
        def tensors():
            yield "w", np.full(4, 99.0, np.float32)
            raise RuntimeError("torn")

        return Merged(tensors(), {"merged": 1})


class LaxOnce(Fp32):
    """Lets everything pass, and cannot decode what came from others."""

    def check(self, encoded, like, base):
        pass

    def decode(self, encoded, like, base):
        raise ValueError("cannot")


BROKEN = {"selector": {"lost": Lost}, "gate": {"panics": Panics}, "merge": {"torn": Torn}, "codec": {"lax": LaxOnce}}


@pytest.mark.parametrize(
    "settings",
    [{"selector": {"use": "lost"}}, {"gate": [{"use": "panics"}, {"use": "sane"}]}, {"merge": {"use": "torn"}}],
    ids=["selector", "gate", "merge"],
)
def test_a_strategy_that_raises_is_named_and_the_model_stays_as_it_was(run_world, settings):
    with capture_logs() as logs:
        a, b = run_world(lambda world: world.two_for(10.5, **settings), strategies=BROKEN)
    assert value(a) == 0.0
    assert value(b) < 8.0
    assert len(a.trainer.reports) >= 8
    assert {*outcomes(a)} == {"alone"}
    assert failures(logs) == {("bad-luck", "error")}


def test_the_verdicts_say_what_kept_an_update_out(run_world):
    a, _ = run_world(lambda world: world.two_for(10.5, merge={"use": "torn"}), strategies=BROKEN)
    assert all("torn" in verdict.reason and not verdict.merged for verdict in verdicts(a))
    a, _ = run_world(lambda world: world.two_for(10.5, gate={"use": "panics"}), strategies=BROKEN)
    assert {(verdict.stage, verdict.merged) for verdict in verdicts(a)} == {("plugin", False)}


@pytest.mark.parametrize("settings", [{"merge": {"use": "torn"}}, {"gate": {"use": "panics"}}], ids=["merge", "gate"])
def test_what_a_plugin_of_ones_own_has_lost_is_counted_as_lost_and_not_as_refused_by_anybody(run_world, settings):
    a, _ = run_world(lambda world: world.two_for(10.5, **settings), strategies=BROKEN)
    reports = a.trainer.reports
    assert sum(report.lost for report in reports) == len(verdicts(a)) > 5
    assert all(report.refused == report.failed == report.merged == 0 for report in reports)
    assert a.history.reader.totals()["lost"] == len(verdicts(a))
    assert sum(one.lost for one in a.history.reader.past_rounds(100)) == len(verdicts(a))
    assert all(record.failures == 0 for record in a.history.peers().values())  # the other peer has done nothing wrong


@pytest.mark.parametrize("lineage", [LINEAGE, b""], ids=["merging", "joining"])
async def test_a_codec_that_breaks_on_access_ends_neither_the_node_nor_a_newcomers_search(a_world, lineage):
    with capture_logs() as logs:
        async with a_world(strategies=BROKEN) as world:
            lax = {"codec": {"use": "lax"}}
            b = world.peer("b", {"w": np.full((64, 64), 8.0, np.float32)}, lineage=LINEAGE, settings=lax)  # what is small needs no codec
            a = world.peer("a", {"w": np.zeros((64, 64), np.float32)}, lineage=lineage)
            start(b, a)
            await trio.sleep(15.5)
    assert value(a) == 0.0
    assert len(a.trainer.reports) >= 8
    if lineage:
        assert failures(logs) == {("bad-luck", "error")}
    else:
        assert a.lineage not in (b"", LINEAGE)


# -- the state of strategies -----------------------------------------------------------------------------------------------------


class Counting(Average):
    """An average that counts its merges, and shows what it was given."""

    Options = NoOptions
    seen: list[int]

    def __init__(self, options, context) -> None:
        super().__init__(Average.Options(), context)

    def merge(self, local, received, state):
        merged = super().merge(local, received, state)
        Counting.seen.append(int(state.get("merges", 0)))
        return Merged(merged.tensors, {"merges": int(state.get("merges", 0)) + 1})


class CountingGate(Gate):
    seen: list[int]

    def judge(self, local, received, state):
        CountingGate.seen.append(int(state.get("rounds", 0)))
        return Judged([Verdict()] * len(received), {"rounds": int(state.get("rounds", 0)) + 1})


@pytest.fixture
def counting(run_world, monkeypatch):
    """Runs a peer that counts its merges; what it saw of its state is collected."""
    monkeypatch.setattr(Counting, "seen", [], raising=False)
    monkeypatch.setattr(CountingGate, "seen", [], raising=False)
    strategies = {"merge": {"counting": Counting, **BROKEN["merge"]}, "gate": {"counting": CountingGate}}
    return lambda main, **settings: run_world(main, strategies=strategies, node={"save_seconds": 0.5}, **settings)


COUNTING = {"merge": {"use": "counting"}, "gate": {"use": "counting"}}


def test_states_grow_from_merge_to_merge(counting):
    counting(lambda world: world.two_for(10.5, **COUNTING))
    assert Counting.seen == list(range(len(Counting.seen)))
    assert len(Counting.seen) >= 8


def test_a_state_counts_only_when_the_trainer_has_adopted(counting):
    async def main(world):
        a, _ = world.two(settings=COUNTING, lag=lambda: 10**6)
        await trio.sleep(5.5)
        a.kill_node()
        a.trainer.lag = lambda: 0
        a.start_node()
        await trio.sleep(3.5)

    counting(main)
    assert Counting.seen[:3] == [0, 0, 1]


async def restart_node(world, trainer=None):
    a, _ = await world.two_for(10.5, **COUNTING)
    merges = len(Counting.seen)
    a.kill_node()
    if trainer:
        a.kill()
        a.replace_trainer(trainer(a.trainer))
        a.start()
    else:
        a.start_node()
    await trio.sleep(3.5)
    return merges, Counting.seen[merges]


def test_a_state_survives_a_restart_of_the_node_under_the_same_run(counting):
    merges, first = counting(restart_node)
    assert first == merges


def test_another_run_of_the_trainer_starts_with_empty_states(counting):
    _, first = counting(lambda world: restart_node(world, in_another_run))
    assert first == 0


# -- watchers --------------------------------------------------------------------------------------------------------------------


async def test_watchers_are_told_of_rounds_verdicts_and_peers(a_world):
    seen: dict[str, list] = {"rounds": [], "verdicts": [], "peers": []}

    def rounds(report):
        seen["rounds"].append(report.round)

    def judged(verdict):
        seen["verdicts"].append(verdict.peer)

    def changed(peer, state):
        seen["peers"].append((peer, state))

    watchers = {"learnae_round_finished": rounds, "learnae_update_judged": judged, "learnae_peer_changed": changed}
    async with a_world(watchers=watchers) as world:
        a, b = world.two()
        await trio.sleep(5.5)
        b.trainer.disconnect()
        await trio.sleep(1)
    assert seen["rounds"].count(3) == 2
    assert {a.peer, b.peer} == set(seen["verdicts"])
    assert [state for peer, state in seen["peers"] if peer == b.peer] == ["new", "left"]


def test_a_watcher_that_raises_is_named_and_changes_nothing(run_world):
    def broken(report):
        raise RuntimeError("oops")

    with capture_logs() as logs:
        a, _ = run_world(lambda world: world.two_for(10.5), watchers={"learnae_round_finished": broken})
    assert len(a.trainer.reports) >= 8
    assert {line["plugin"] for line in logs if line["event"] == "watcher.failed"} == {"watcher-learnae_round_finished"}
