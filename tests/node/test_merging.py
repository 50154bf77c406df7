"""Merges and outer steps that fail or return nonsense are named, and the own model stays as it was."""

from __future__ import annotations

import numpy as np
import pytest

from learnae.errors import PluginError
from learnae.node.assembly import Named
from learnae.node.merging import Merger
from learnae.records import Merged
from learnae.strategies import Merge, Outer
from learnae.testing.context import make_context
from learnae.testing.models import local_model, received

OWN = {"w": np.array([1.0, 2.0], np.float32), "n": np.array([3])}
NEW = {"w": np.array([5.0, 6.0], np.float32), "n": np.array([7])}


class Returns(Merge):
    def __init__(self, answer, context) -> None:
        super().__init__(None, context)
        self.answer = answer

    def merge(self, local, received, state):
        return self.answer(local, state) if callable(self.answer) else self.answer


class Steps(Outer):
    def __init__(self, answer, context) -> None:
        super().__init__(None, context)
        self.answer = answer

    def step(self, local, merged, masks, state):
        return self.answer(local, merged, masks, state)


@pytest.fixture
def merging(tmp_path):
    """Merges by strategies with these answers; returns the page and the new states."""

    def run(answer, outer=None, *, states=None, updates=(), whole=True):
        page = {name: np.full_like(array, 99) for name, array in OWN.items()}
        accepted = [*([received(NEW)] if whole else []), *updates]
        second = None if outer is None else Named("second", "outer-plugin", Steps(outer, make_context(tmp_path)))
        merger = Merger(Named("first", "merge-plugin", Returns(answer, make_context(tmp_path))), second)
        return page, merger.run(local_model(OWN), accepted, page, states or {})

    return run


def as_lists(page):
    return {name: array.tolist() for name, array in page.items()}


def test_what_the_merge_returns_fills_the_page(merging):
    page, changed = merging(Merged(NEW.items()))
    assert as_lists(page) == {"w": [5.0, 6.0], "n": [7]}
    assert changed == {}


def test_a_tensor_of_none_is_the_own_one(merging):
    page, _ = merging(Merged([("w", None), ("n", NEW["n"])]))
    assert as_lists(page) == {"w": [1.0, 2.0], "n": [7]}


def test_the_outer_step_takes_what_the_merge_made_and_both_keep_a_state(merging):
    def double(local, merged, masks, state):
        return Merged(((name, 2 * tensor) for name, tensor in merged), {"steps": state.get("steps", 0) + 1})

    page, changed = merging(Merged(iter(NEW.items()), {"merges": 1}), double, states={"outer": {"steps": 4}})
    assert as_lists(page) == {"w": [10.0, 12.0], "n": [14]}
    assert changed == {"merge": {"merges": 1}, "outer": {"steps": 5}}


def raising(local, state):
    raise RuntimeError("oops")


def breaking_off():
    yield "w", NEW["w"]
    raise RuntimeError("oops")


def w(value):
    return Merged([("w", value), ("n", NEW["n"])])


BROKEN = {
    "raises": raising,
    "breaks off": lambda local, state: Merged(breaking_off()),
    "nothing": None,
    "a mapping": NEW,
    "missing": Merged([("w", NEW["w"])]),
    "unknown name": Merged([*NEW.items(), ("v", NEW["w"])]),
    "twice": Merged([*NEW.items(), ("w", NEW["w"])]),
    "no pairs": Merged([1, 2]),  # type: ignore[list-item]
    "names only": Merged(["w", "n"]),  # type: ignore[list-item]
    "no name": Merged([([], NEW["w"])]),  # type: ignore[list-item]
    "float64": w(np.array([5.0, 6.0])),
    "another shape": w(np.array([[5.0, 6.0]], np.float32)),
    "broadcastable": w(np.array([5.0], np.float32)),
    "a list": w([5.0, 6.0]),
    "a number": w(5.0),
    "not a number": w(np.array([5.0, np.nan], np.float32)),
    "opposite infinities": w(np.array([np.inf, -np.inf], np.float32)),
    "a state without names": Merged(NEW.items(), [1]),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=list(BROKEN))
def test_a_merge_that_fails_or_returns_nonsense_is_named(merging, answer):
    with pytest.raises(PluginError, match="'merge-plugin' failed while merging by 'first'"):
        merging(answer)


@pytest.mark.parametrize("answer", BROKEN.values(), ids=list(BROKEN))
def test_an_outer_step_that_fails_or_returns_nonsense_is_named(merging, answer):
    def step(local, merged, masks, state):
        return answer(local, state) if callable(answer) else answer

    with pytest.raises(PluginError, match="'outer-plugin' failed while taking the outer step by 'second'"):
        merging(Merged(NEW.items()), step)


def test_a_merge_that_breaks_while_an_outer_step_reads_it_is_the_one_that_is_named(merging):
    with pytest.raises(PluginError, match="merge-plugin"):
        merging(Merged(breaking_off()), lambda local, merged, masks, state: Merged(list(merged)))


def test_the_own_model_and_its_start_cannot_be_written_by_a_strategy(merging):
    def greedy(local, state):
        local.start["w"][:] = 0
        return Merged(NEW.items())

    with pytest.raises(PluginError, match="read-only"):
        merging(greedy)


def test_the_outer_step_learns_which_coordinates_came_at_all(merging):
    seen = {}

    def look(local, merged, masks, state):
        seen.update({name: mask.tolist() for name, mask in masks.items()})
        return Merged(merged)

    first, second = np.array([True, False]), np.array([False, False])
    merging(Merged(NEW.items()), look, updates=[received(NEW, masks={"w": first}), received(NEW, masks={"w": second})], whole=False)
    assert seen == {"w": [True, False]}
    seen.clear()
    merging(Merged(NEW.items()), look, updates=[received(NEW, masks={"w": first})])
    assert seen == {}
