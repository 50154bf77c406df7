"""What every selector must do, as tests to inherit.

class TestNearest(SelectorConformance):
    @pytest.fixture
    def selector(self, learnae_context):
        return Nearest(NearestOptions(), learnae_context)
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae.records import AnnouncementKind, Candidate, Cid, Selected, View
from learnae.strategies import Selector
from learnae.testing.context import peer_named
from learnae.testing.kit import Kit, inherited
from learnae.testing.models import read_only


def candidate(peer: str, **facts: Any) -> Candidate:
    """Make a candidate of 100 bytes. By default an update of it was accepted before, and its trust is 1."""
    known: dict[str, Any] = {"bytes": 100, "age": 100, "staleness": 0.0, "ever_accepted": True}
    known["trust"] = 1.0 if facts.get("ever_accepted", True) else 0.0
    return Candidate(peer=peer_named(peer), kind=AnnouncementKind.UPDATE, **(known | facts))


def slice_candidate(root: str, labels: Mapping[str, int], **facts: Any) -> Candidate:
    """Make a slice of rows with these labels, of 100 bytes, which a selector sees that says `slices = True`."""
    known: dict[str, Any] = {"bytes": 100, "age": 0, "staleness": 0.0, "rows": sum(labels.values()), "labels": labels, "root": Cid(root)}
    return Candidate(peer=peer_named(f"giver of {root}"), kind=AnnouncementKind.SLICE, **(known | facts))


def view(
    *candidates: Candidate, round: int = 1000, count: int = 2, budget_bytes: int = 1 << 30, state: Mapping[str, Any] | None = None
) -> View:
    """Make what a selector sees. The state is read-only, as the core gives it back."""
    shown = dict(state or {})
    shown |= read_only({name: value for name, value in shown.items() if isinstance(value, np.ndarray)})
    return View(round=round, age=100, count=count, budget_bytes=budget_bytes, candidates=candidates, state=MappingProxyType(shown))


def selected(selector: Selector, seen: View) -> Selected:
    """What it chooses, in either of the two forms."""
    answer = selector.select(seen)
    return answer if isinstance(answer, Selected) else Selected(list(answer))


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


@st.composite
def slices(draw: st.DrawFn) -> list[Candidate]:
    """Any number of slices with any claims."""
    counts = st.dictionaries(st.sampled_from("0123456789"), st.integers(0, 2**62), max_size=4)
    facts = st.fixed_dictionaries({"bytes": st.integers(0, 2**64), "rows": st.integers(0, 2**64), "failures": st.integers(0, 10**6)})
    each = draw(st.lists(st.tuples(counts, facts), max_size=8))
    return [slice_candidate(f"slice {index}", labels, **more) for index, (labels, more) in enumerate(each)]


class SelectorConformance(Kit):
    """Subclass it, and give the fixture `selector`."""

    @pytest.fixture
    def selector(self) -> Selector:
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `selector` that returns the selector under test")

    @inherited
    @given(seen=views(), rows=slices())
    def test_count_and_budget_are_kept_and_nothing_is_invented(self, selector: Selector, seen: View, rows: list[Candidate]) -> None:
        if selector.slices:
            seen = attrs.evolve(seen, candidates=[*seen.candidates, *rows], have={"1": 100})
        chosen = list(selected(selector, seen).candidates)
        assert len(chosen) <= seen.count
        assert sum(each.bytes for each in chosen) <= seen.budget_bytes
        assert len({id(each) for each in chosen}) == len(chosen), "one candidate was chosen twice"
        assert all(any(each is other for other in seen.candidates) for each in chosen), "a chosen one is not in the view"

    def test_without_candidates_nobody_is_chosen(self, selector: Selector) -> None:
        assert list(selected(selector, view()).candidates) == []

    def test_a_lone_candidate_is_chosen_sooner_or_later(self, selector: Selector) -> None:
        alone = candidate("a")
        assert any(list(selected(selector, view(alone, round=number)).candidates) == [alone] for number in range(200))

    def test_nobody_is_left_out_for_ever(self, selector: Selector) -> None:
        state: Mapping[str, Any] | None = None
        tried: dict[str, int] = {}
        peers = "abcde"
        for number in range(300):
            current = {candidate(peer, last_tried=tried.get(peer)): peer for peer in peers}
            answer = selected(selector, view(*current, round=number, state=state))
            tried |= {current[chosen]: number for chosen in answer.candidates}
            state = answer.state or state
        assert sorted(tried) == list(peers)

    def test_the_state_can_be_stored_and_given_back(self, selector: Selector) -> None:
        """In 30 rounds; what was given is left alone."""
        state: Mapping[str, Any] = {}
        for number in range(30):
            candidates = [candidate(peer, last_tried=number - 1) for peer in "abc"]
            state = selected(selector, view(*candidates, round=number, state=state)).state or state
            for name, value in state.items():
                assert isinstance(name, str)
                assert isinstance(value, np.ndarray | np.generic | int | float | str), f"state {name!r} is a {type(value).__name__}"
                assert np.asarray(value).dtype != object, f"state {name!r} holds Python objects"
