"""What every selector must do, as tests to inherit.

class TestNearest(SelectorConformance):
    @pytest.fixture
    def selector(self, learnae_context):
        return Nearest(NearestOptions(), learnae_context)
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae.records import Candidate, Kind, View
from learnae.strategies import Selector
from learnae.testing.context import peer_named
from learnae.testing.kit import Kit, inherited


def candidate(peer: str, **facts: Any) -> Candidate:
    """A candidate of 100 bytes; accepted before unless `ever_accepted` says otherwise, and then with all trust unless `trust` does."""
    known: dict[str, Any] = {"bytes": 100, "age": 100, "staleness": 0.0, "ever_accepted": True}
    known["trust"] = 1.0 if facts.get("ever_accepted", True) else 0.0
    return Candidate(peer=peer_named(peer), kind=Kind.UPDATE, **(known | facts))


def view(*candidates: Candidate, round: int = 1000, count: int = 2, budget_bytes: int = 1 << 30) -> View:
    """What a selector sees."""
    return View(round=round, age=100, count=count, budget_bytes=budget_bytes, candidates=candidates)


@st.composite
def views(draw: st.DrawFn) -> View:
    """Any number of candidates with any claims."""
    facts = st.fixed_dictionaries(
        {
            "bytes": st.integers(0, 2**64),
            "age": st.integers(0, 2**64),
            "staleness": st.floats(0, 100),
            "bytes_per_second": st.none() | st.floats(0, 1e12),
            "last_tried": st.none() | st.integers(0, 2000),
            "failures": st.integers(0, 10**6),
            "ever_accepted": st.booleans(),
            "trust": st.floats(0, 1),
        }
    )
    candidates = [candidate(str(index), **each) for index, each in enumerate(draw(st.lists(facts, max_size=8)))]
    budget = draw(st.integers(0, 2**65))
    return view(*candidates, round=draw(st.integers(0, 2000)), count=draw(st.integers(0, 5)), budget_bytes=budget)


class SelectorConformance(Kit):
    """Give the fixture `selector`."""

    @pytest.fixture
    def selector(self) -> Selector:
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `selector` that returns the selector under test")

    @inherited
    @given(seen=views())
    def test_count_and_budget_are_kept_and_nothing_is_invented(self, selector: Selector, seen: View) -> None:
        chosen = list(selector.select(seen))
        assert len(chosen) <= seen.count
        assert sum(each.bytes for each in chosen) <= seen.budget_bytes
        assert len({id(each) for each in chosen}) == len(chosen), "one candidate was chosen twice"
        assert all(any(each is other for other in seen.candidates) for each in chosen), "a chosen one is not in the view"

    def test_without_candidates_nobody_is_chosen(self, selector: Selector) -> None:
        assert list(selector.select(view())) == []

    def test_a_lone_candidate_is_chosen_sooner_or_later(self, selector: Selector) -> None:
        alone = candidate("a")
        assert any(list(selector.select(view(alone, round=number))) == [alone] for number in range(200))

    def test_nobody_is_left_out_for_ever(self, selector: Selector) -> None:
        tried: dict[str, int] = {}
        peers = "abcde"
        for number in range(300):
            current = {candidate(peer, last_tried=tried.get(peer)): peer for peer in peers}
            tried |= {current[chosen]: number for chosen in selector.select(view(*current, round=number))}
        assert sorted(tried) == list(peers)
