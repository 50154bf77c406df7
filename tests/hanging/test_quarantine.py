"""How long a strategy sits on the bench: on the trainer's side, which remembers, and in the node, which obeys."""

from __future__ import annotations

import math

import numpy as np
import pytest
import structlog
import trio

from learnae.errors import PluginError
from learnae.link.messages import Quarantined
from learnae.node.merging import Merger
from learnae.node.runtime import Outages, PluginCalls, QuarantinedError
from learnae.node.services import Services
from learnae.node.strategy_set import ConfiguredStrategy
from learnae.records import LocalModel, Merged
from learnae.strategies import Merge
from learnae.trainer.watchdog import MOST, QuarantineHistory


def left(quarantine: QuarantineHistory, now: int) -> dict[str, int]:
    return {one.label: one.rounds for one in quarantine.at(now)}


def test_it_is_called_again_after_so_many_rounds():
    quarantine = QuarantineHistory(10)
    quarantine.send("merge m", "it hung", 100)
    assert [left(quarantine, now) for now in (100, 109, 110)] == [{"merge m": 10}, {"merge m": 1}, {}]


def test_one_that_hangs_again_soon_sits_twice_as_long_up_to_a_limit():
    quarantine, now, sat = QuarantineHistory(10), 0, []
    for _ in range(10):
        sat.append(quarantine.send("merge m", "it hung", now).rounds)
        now += sat[-1] + 1
    assert sat == [10, 20, 40, 80, 160, 320, 640, 640, 640, 640]
    assert sat[-1] == 10 * MOST


def test_one_that_was_called_for_as_long_as_it_sat_is_forgiven():
    quarantine = QuarantineHistory(10)
    quarantine.send("merge m", "it hung", 0)
    assert quarantine.send("merge m", "it hung", 20).rounds == 10
    assert quarantine.send("merge m", "it hung", 39).rounds == 20


def test_others_are_not_quarantined_with_it():
    quarantine = QuarantineHistory(10)
    quarantine.send("merge m", "it hung", 0)
    quarantine.send("gate g", "it hung", 5)
    assert left(quarantine, 7) == {"merge m": 3, "gate g": 8}


def calls(label="merge m", rounds=2) -> PluginCalls:
    return PluginCalls(quarantined=[Quarantined(label, rounds, "it hung 30 s while merging")])


def test_a_quarantined_strategy_is_not_called_and_says_until_when():
    node = calls()
    said = []
    for _ in range(3):
        with pytest.raises(QuarantinedError) as caught, node.calling("merge m", "my-plugin", "merging", 0.0):
            raise AssertionError("it was called")
        said.append(str(caught.value))
        node.round_began()
    assert [words.rpartition("; ")[2] for words in said] == [
        "not called in this round and 2 more",
        "not called in this round and 1 more",
        "not called in this round",
    ]
    assert "'my-plugin' failed while merging: it hung 30 s while merging" in said[0]
    with node.calling("merge m", "my-plugin", "merging", 0.0):
        pass


def test_another_label_is_called_meanwhile():
    with calls().calling("merge m (2)", "my-plugin", "merging", 0.0):
        pass


def test_a_label_that_the_page_cuts_is_quarantined_all_the_same():
    label = "merge " + "m" * 200
    with pytest.raises(QuarantinedError), calls(label[:80]).calling(label, "p", "merging", 0.0):
        pass


def test_what_a_call_raises_is_blamed_and_its_row_is_freed():
    node = PluginCalls()
    with pytest.raises(PluginError, match="'p' failed while merging: ValueError: no"), node.calling("merge m", "p", "merging", 0.0):
        raise ValueError("no")
    assert node.page.read().calls == {}


def test_a_call_within_another_names_it():
    node = PluginCalls()
    with node.calling("merge m", "p", "merging", 0.0), node.calling("codec c", "p", "decoding", 0.0):
        outer, inner = node.page.read().calls.values()
    by_label = {call.label: call for call in (outer, inner)}
    assert by_label["codec c"].outer == by_label["merge m"].number


async def test_the_loop_shows_in_whose_name_it_runs_also_for_tasks_that_a_service_has_started():
    node, seen = PluginCalls(), {}

    async def look(who):
        await trio.lowlevel.checkpoint()
        seen[who] = node.page.read().stepping

    async def service():
        with node.calling("storage s", "p", "keeping it open", 1.0):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(look, "background task")
                await look("service")

    trio.lowlevel.add_instrument(node.steps())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(look, "node")
        await service()
    await look("afterwards")
    assert seen == {"background task": 1, "service": 1, "node": 0, "afterwards": 0}


class Fine:
    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc_info):
        return None


@pytest.mark.virtual_time
async def test_a_quarantined_service_is_no_failure_of_the_node_and_opens_after_its_rounds():
    node, services = calls("storage s", 1), Services(Outages(structlog.get_logger()))
    service = ConfiguredStrategy("s", "p", Fine(), label="storage s", calls=node)
    async with trio.open_nursery() as nursery:
        await services.open([service], nursery)
        assert (services.failure, services.is_open(service)) == (None, False)
        node.round_began()
        node.round_began()
        await services.opened(service)
        services.close()


class Gradual(Merge):
    """Shows which calls were running while it made each tensor."""

    def __init__(self) -> None:
        self.calls, self.seen = PluginCalls(), []

    def merge(self, local, received, state):
        def tensors():
            for name, tensor in local.current.items():
                self.seen.append(self.calls.page.read().calls)
                yield name, tensor

        return Merged(tensors())


def test_a_large_model_may_take_long_as_long_as_one_tensor_after_another_comes():
    merge = Gradual()
    model = {name: np.zeros(2, np.float32) for name in "abc"}
    page = {name: np.ones(2, np.float32) for name in "abc"}
    Merger(ConfiguredStrategy("gradual", "p", merge, calls=merge.calls), None, {}).run(LocalModel(start=model, current=model), [], page, {})
    drawn = [max(calls) for calls in merge.seen]
    assert len(set(drawn)) == 3  # calls of their own, and the whole may take for ever:
    assert [sorted(call.within for call in calls.values()) for calls in merge.seen] == [[0.0, math.inf]] * 3
    assert page["c"].tolist() == [0.0, 0.0]
