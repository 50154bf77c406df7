"""Merges and outer steps that fail or return nonsense are named, and the own model stays as it was."""

from __future__ import annotations

import numpy as np
import pytest

from learnae.errors import PluginError
from learnae.node.merging import Merger
from learnae.node.strategy_set import ConfiguredStrategy
from learnae.records import Merged, TensorSpec
from learnae.strategies import Merge, Outer
from learnae.testing.context import make_context
from learnae.testing.models import local_model, received

OWN = {"w": np.array([1.0, 2.0], np.float32), "n": np.array([3])}
SPECS = {
    "w": TensorSpec(name="w", dtype="float32", shape=(2,)),
    "n": TensorSpec(name="num_batches_tracked", dtype="int64", shape=(1,), buffer=True),
}
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
        second = None if outer is None else ConfiguredStrategy("second", "outer-plugin", Steps(outer, make_context(tmp_path)))
        merger = Merger(ConfiguredStrategy("first", "merge-plugin", Returns(answer, make_context(tmp_path))), second, SPECS)
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
    assert as_lists(page) == {"w": [10.0, 12.0], "n": [7]}, "an outer step is not shown what no gradient trains"
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


BROKEN_STEPS = {**BROKEN, "missing": Merged([])}


@pytest.mark.parametrize("answer", BROKEN_STEPS.values(), ids=list(BROKEN_STEPS))
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


# -- what is no parameter ----------------------------------------------------------------------------------------------------------

KINDS = {
    "w": TensorSpec(name="w", dtype="float32", shape=(2,)),
    "b": TensorSpec(name="b", dtype="float32", shape=(2,), buffer=True),
    "u": TensorSpec(name="u", dtype="float32", shape=(2,), buffer=True, apart=True),
    "bn.num_batches_tracked": TensorSpec(name="bn.num_batches_tracked", dtype="int64", shape=(2,), buffer=True),
    "table": TensorSpec(name="table", dtype="int64", shape=(2,), buffer=True),
}


def of(*values):
    return {name: np.array(values, np.float32 if spec.floating else np.int64) for name, spec in KINDS.items()}


@pytest.fixture
def merged(tmp_path):
    """Merges models of all kinds by these strategies; the page as lists."""

    def run(own, updates, answer, outer=None):
        page = {name: np.full_like(array, 99) for name, array in own.items()}
        second = None if outer is None else ConfiguredStrategy("second", "outer-plugin", Steps(outer, make_context(tmp_path)))
        merger = Merger(ConfiguredStrategy("first", "merge-plugin", Returns(answer, make_context(tmp_path))), second, KINDS)
        merger.run(local_model(own, buffers=[name for name in KINDS if name != "w"]), updates, page, {})
        return as_lists(page)

    return run


def test_an_outer_step_sees_parameters_alone_and_all_else_passes_by_as_it_was_merged(merged):
    seen = {}

    def double(local, given, masks, state):
        seen["local"], seen["masks"] = (set(local.start), set(local.current), local.buffers), set(masks)
        return Merged((name, 2 * tensor) for name, tensor in given)

    mask = {name: np.array([True, False]) for name in ("w", "b")}
    page = merged(of(1, 1), [received(of(3, 3), masks=mask)], Merged(of(2, 1).items()), double)
    assert seen == {"local": ({"w"}, {"w"}, ()), "masks": {"w"}}
    assert (page["w"], page["b"], page["bn.num_batches_tracked"]) == ([4.0, 2.0], [2.0, 1.0], [2, 1])


def test_an_outer_step_that_does_not_read_to_the_end_loses_no_buffer(merged):
    def first_only(local, given, masks, state):
        return Merged([next(given)])

    assert merged(of(1, 1), [received(of(3, 3))], Merged(of(2, 2).items()), first_only)["b"] == [2.0, 2.0]


def test_an_outer_step_that_speaks_of_a_buffer_is_named(merged):
    def greedy(local, given, masks, state):
        return Merged([*given, ("b", np.zeros(2, np.float32))])

    with pytest.raises(PluginError, match="outer-plugin"):
        merged(of(1, 1), [received(of(3, 3))], Merged(of(2, 2).items()), greedy)


def test_a_buffer_of_nonsense_before_an_outer_step_is_the_merges_fault(merged):
    wrong = Merged([*((name, array) for name, array in of(2, 2).items() if name != "b"), ("b", np.array([np.nan, 0], np.float32))])
    with pytest.raises(PluginError, match="merge-plugin"):
        merged(of(1, 1), [received(of(3, 3))], wrong, lambda local, given, masks, state: Merged(list(given)))


def test_what_cannot_be_mixed_stays_the_own_whatever_a_merge_makes_of_it(merged):
    page = merged(of(1, 2), [received(of(3, 3))], Merged(of(9, 9).items()))
    assert (page["table"], page["u"], page["w"]) == ([1, 2], [1.0, 2.0], [9.0, 9.0])


def test_a_buffer_lies_between_those_that_were_merged_whatever_a_merge_makes_of_it(merged):
    """A step beyond the models is for parameters; a value that did not come is no bound, and may be anything."""
    mask = {"b": np.array([False, True])}
    hidden = of(-5, 4) | {"b": np.array([np.nan, 4], np.float32)}
    assert merged(of(1, 2), [received(of(3, 3))], Merged(of(-7, 9).items()))["b"] == [1.0, 3.0]
    assert merged(of(1, 2), [received(hidden, masks=mask)], Merged(of(-7, 9).items()))["b"] == [1.0, 4.0]


@pytest.mark.parametrize(
    ("own", "theirs", "result"),
    [
        ((1, 2), (-9, -9), [1.0, 2.0]),
        ((0, 2), (-9, -9), [0.0, 2.0]),
        ((0, 1), (0.5, -3), [0.25, 1.0]),
        ((1, 1), (1, 0), [1.0, 0.5]),
        ((0, 0), (-9, -9), [-4.5, -4.5]),
        ((-1, 2), (-9, -9), [-5.0, -3.5]),
    ],
    ids=["variances", "of a dead channel", "and one that lives there", "which is dead there", "means that nobody has", "means"],
)
def test_what_is_below_zero_does_not_count_where_nothing_of_the_own_is(merged, own, theirs, result):
    average = [(a + b) / 2 for a, b in zip(own, theirs, strict=True)]
    assert merged(of(*own), [received(of(*theirs))], Merged(of(*average).items()))["b"] == result


def test_one_liar_does_not_keep_a_variance_from_those_of_the_others(merged):
    honest, liar = received(of(3, 3)), received(of(-9, 4))
    assert merged(of(1, 1), [honest, liar], Merged(of(2, 2).items()))["b"] == [2.0, 2.0]
    assert merged(of(1, 1), [honest, liar], Merged(of(-2, 9).items()))["b"] == [1.0, 4.0]
