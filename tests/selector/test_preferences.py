"""`nearby` draws fast peers more often, `dissimilar` fetches what is the most different of those whose turn has come."""

from __future__ import annotations

from collections import Counter

import attrs
import numpy as np
import pytest

from learnae.plugins.preferences import Dissimilar, DissimilarOptions, Nearby, NearbyOptions
from learnae.records import Candidate, PeerId, TensorSpec, View
from learnae.sketches import Sketcher
from learnae.strategies import Context, Selector
from learnae.testing.context import peer_named
from learnae.testing.selector_kit import SelectorConformance, candidate, selected, view


class TestNearby(SelectorConformance):
    @pytest.fixture
    def selector(self, learnae_context: Context) -> Nearby:
        return Nearby(NearbyOptions(), learnae_context)


class TestDissimilar(SelectorConformance):
    @pytest.fixture
    def selector(self, learnae_context: Context) -> Dissimilar:
        return Dissimilar(DissimilarOptions(), learnae_context)


def drawn_first(selector: Selector, seen: View, draws: int = 4000) -> dict[PeerId, float]:
    """The share of the draws in which each peer came first."""
    counts = Counter(selected(selector, seen).candidates[0].peer for _ in range(draws))
    return {peer: counts[peer] / draws for peer in counts}


def test_who_is_four_times_as_fast_is_drawn_four_times_as_often_but_for_the_floor(learnae_context: Context) -> None:
    """By hand: 0.8 x 4 / 5 + 0.2 / 2 = 0.74."""
    fast, slow = candidate("fast", bytes_per_second=400.0), candidate("slow", bytes_per_second=100.0)
    found = drawn_first(Nearby(NearbyOptions(floor=0.2), learnae_context), view(fast, slow, count=1))
    assert found[fast.peer] == pytest.approx(0.74, abs=0.03)


def test_a_floor_of_one_looks_at_no_speed(learnae_context: Context) -> None:
    fast, slow = candidate("fast", bytes_per_second=1e9), candidate("slow", bytes_per_second=1.0)
    found = drawn_first(Nearby(NearbyOptions(floor=1.0), learnae_context), view(fast, slow, count=1))
    assert found[fast.peer] == pytest.approx(0.5, abs=0.03)


def test_who_was_never_fetched_from_counts_as_usual(learnae_context: Context) -> None:
    """By hand, without a floor: speeds of 100, 300 and, as the median, 200."""
    peers = [candidate("a", bytes_per_second=100.0), candidate("b", bytes_per_second=300.0), candidate("new")]
    found = drawn_first(Nearby(NearbyOptions(floor=0.0), learnae_context), view(*peers, count=1))
    assert found[peer_named("new")] == pytest.approx(1 / 3, abs=0.03)


def test_a_stale_update_is_drawn_less_often(learnae_context: Context) -> None:
    """By hand, without a floor: 1 for one of now, 1 / 4 for one of three rounds ago."""
    fresh, stale = candidate("fresh"), candidate("stale", staleness=3.0)
    found = drawn_first(Nearby(NearbyOptions(floor=0.0), learnae_context), view(fresh, stale, count=1))
    assert found[fresh.peer] == pytest.approx(0.8, abs=0.03)


def test_who_claims_to_be_tiny_gains_a_factor_of_two_at_most(learnae_context: Context) -> None:
    """By hand, without a floor: 2 / (2 + 1 + 1)."""
    honest, liar = [candidate(name, bytes=1000) for name in "ab"], candidate("liar", bytes=1)
    found = drawn_first(Nearby(NearbyOptions(floor=0.0), learnae_context), view(*honest, liar, count=1))
    assert found[liar.peer] == pytest.approx(0.5, abs=0.03)


@pytest.fixture
def sketched() -> Sketcher:
    return Sketcher.for_specs([TensorSpec(name="w", dtype="float32", shape=(1000,))])


def at(sketcher: Sketcher, distance: float) -> bytes:
    """Of a model so far from that of ones, by the fraction of each value."""
    return sketcher.sketch({"w": np.full(1000, 1.0 + distance, np.float32)})


def placed(sketcher: Sketcher, distances: dict[str, float], **facts: object) -> list[Candidate]:
    return [candidate(name, sketch=at(sketcher, distance), last_tried=900, **facts) for name, distance in distances.items()]


def names(selector: Selector, seen: View) -> list[PeerId]:
    return [one.peer for one in selected(selector, seen).candidates]


def test_the_most_different_models_are_fetched(sketched: Sketcher, learnae_context: Context) -> None:
    peers = placed(sketched, {"near": 0.1, "far": 1.0, "nearer": 0.05, "farther": 2.0})
    seen = attrs.evolve(view(*peers), sketch=at(sketched, 0.0))
    assert names(Dissimilar(DissimilarOptions(), learnae_context), seen) == [peer_named("farther"), peer_named("far")]


def test_only_peers_whose_turn_has_come_are_compared(sketched: Sketcher, learnae_context: Context) -> None:
    """Who says that it is far away is fetched no more often than others."""
    waited = placed(sketched, {"a": 0.1, "b": 0.2, "c": 0.3})
    liar = candidate("liar", sketch=at(sketched, 100.0), last_tried=999)
    seen = attrs.evolve(view(*waited, liar), sketch=at(sketched, 0.0))
    assert names(Dissimilar(DissimilarOptions(sample=3), learnae_context), seen) == [peer_named("c"), peer_named("b")]


def test_without_a_sketch_a_model_counts_as_usual(sketched: Sketcher, learnae_context: Context) -> None:
    peers = placed(sketched, {"near": 0.01, "far": 1.0, "between": 0.3})
    silent = candidate("silent", last_tried=900)
    seen = attrs.evolve(view(*peers, silent, count=4), sketch=at(sketched, 0.0))
    order = names(Dissimilar(DissimilarOptions(), learnae_context), seen)
    assert (order[0], order[-1]) == (peer_named("far"), peer_named("near"))
    assert set(order) == {one.peer for one in (*peers, silent)}
