"""A selector may remember; the kit tests what it remembers as it does that of gates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from learnae.plugins.selector import fitting, within
from learnae.records import Selected, View
from learnae.strategies import NoOptions, Selector
from learnae.testing.context import make_context
from learnae.testing.kit import failing
from learnae.testing.selector_kit import SelectorConformance


class InTurn(Selector):
    """Remembers how often each peer was chosen, and in how many rounds; who was chosen least often comes first."""

    def select(self, view: View) -> Selected:
        counts = {name: int(value) for name, value in view.state.items() if name != "rounds"}
        chosen = within(view, sorted(fitting(view), key=lambda each: counts.get(each.peer, 0)))
        counts |= {each.peer: counts.get(each.peer, 0) + 1 for each in chosen}
        return Selected(chosen, self.state(view, counts))

    def state(self, view: View, counts: dict[str, int]) -> Any:
        return {**counts, "rounds": np.asarray(view.state.get("rounds", 0)) + 1}


class Unstorable(InTurn):
    def state(self, view: View, counts: dict[str, int]) -> Any:
        return {"counts": counts}


class InPlace(InTurn):
    """Writes into what it was given."""

    def state(self, view: View, counts: dict[str, int]) -> Any:
        rounds = view.state.get("rounds", np.zeros(1))
        rounds += 1
        return {"rounds": rounds}


class TestInTurn(SelectorConformance):
    @pytest.fixture
    def selector(self, learnae_context):
        return InTurn(NoOptions(), learnae_context)


@pytest.mark.parametrize("wrong", [Unstorable, InPlace])
def test_a_state_that_cannot_be_kept_is_caught(wrong: type[InTurn], tmp_path) -> None:
    assert set(failing(SelectorConformance(), lambda: wrong(NoOptions(), make_context(tmp_path)))) >= {
        "test_the_state_can_be_stored_and_given_back"
    }
