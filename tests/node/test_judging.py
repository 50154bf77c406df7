"""Gates that break their word protect the model all the same, and their plugin is named."""

from __future__ import annotations

import numpy as np
import pytest
import structlog
from structlog.testing import capture_logs

from learnae.node.decoding import Decoder, LazyMasks, LazyTensors
from learnae.node.judging import GateChain
from learnae.node.runtime import Outages
from learnae.node.strategy_set import ConfiguredStrategy
from learnae.records import Decoded, Encoded, Judged, TensorSpec, Verdict
from learnae.strategies import Codec, Gate
from learnae.testing.context import make_context
from learnae.testing.models import local_model, received

OWN = {"w": np.zeros(2, np.float32)}


class Constant(Codec):
    """Decodes to the same everywhere; stands for a fetched update."""

    def __init__(self, value: float) -> None:
        self.value = value

    def encode(self, name, tensor, base, rng):
        raise NotImplementedError

    def decode(self, encoded, like, base):
        return Decoded(np.full(like.shape, self.value, np.float32))


class Anything:
    def encoded(self, name):
        return Encoded(b"")


def update(value: float):
    spec = TensorSpec(name="w", dtype="float32", shape=(2,))
    tensors = LazyTensors(Decoder(Anything(), ConfiguredStrategy("constant", "p", Constant(value)), {"w": spec}), OWN)  # type: ignore[arg-type]
    item = received({})
    object.__setattr__(item, "tensors", tensors)
    object.__setattr__(item, "masks", LazyMasks(tensors))
    return item


class Says(Gate):
    """Returns what it was told to, and notes what it was shown."""

    def __init__(self, answer, context) -> None:
        super().__init__(None, context)
        self.answer, self.shown = answer, []

    def judge(self, local, received, state):
        self.shown.append(([item.tensors["w"].tolist() for item in received], [item.weight for item in received], dict(state)))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer(received) if callable(self.answer) else self.answer


@pytest.fixture
def judged(tmp_path):
    """Judges these values by gates with these answers: the judgements, the new states, the gates, and what was logged."""

    def run(values, *answers, states=None):
        gates = [Says(answer, make_context(tmp_path)) for answer in answers]
        gate_chain = GateChain(
            [ConfiguredStrategy(f"g{index}", f"plugin-{index}", gate) for index, gate in enumerate(gates)], Outages(structlog.get_logger())
        )
        with capture_logs() as logs:
            judgements, changed = gate_chain.judge(local_model(OWN), [update(value) for value in values], states or {})
        return judgements, changed, gates, logs

    return run


def each(*verdicts: Verdict, state=None) -> Judged:
    return Judged(list(verdicts), state)


def test_weights_and_scales_of_all_gates_multiply_and_reasons_join(judged):
    judgements, _, _, _ = judged([8.0], each(Verdict(0.5, 0.5, "far")), each(Verdict(0.5, 0.5, "old")))
    [one] = judgements
    assert (one.received.weight, one.scale, one.reason, one.stage) == (0.25, 0.25, "far; old", "g1")
    assert one.received.tensors["w"].tolist() == [2.0, 2.0]


def test_the_next_gate_sees_what_the_one_before_left(judged):
    _, _, gates, _ = judged([8.0, 1.0], each(Verdict(0.5, 0.25), Verdict(0.0, 1.0, "no")), each(Verdict()))
    assert gates[1].shown == [([[2.0, 2.0]], [0.5], {})]


def test_one_that_is_refused_keeps_the_name_of_its_gate_and_the_reason(judged):
    judgements, _, gates, _ = judged([8.0], each(Verdict(0.0, 1.0, "no")), each())
    assert (judgements[0].accepted, judgements[0].stage, judgements[0].reason) == (False, "g0", "no")
    assert gates[1].shown == []


def test_a_refusal_blames_the_peer_unless_its_gate_says_otherwise(judged):
    judgements, _, _, _ = judged(
        [8.0, 1.0, 2.0], each(Verdict(0.0), Verdict(0.0, blames=False), Verdict()), each(Verdict(0.0, blames=False))
    )
    assert [(judgement.accepted, judgement.blames) for judgement in judgements] == [(False, True), (False, False), (False, False)]


def test_without_gates_everything_is_accepted(judged):
    judgements, changed, _, _ = judged([8.0, 1.0])
    assert [(j.accepted, j.stage) for j in judgements] == [(True, "merge")] * 2
    assert changed == {}


BROKEN = {
    "raises": RuntimeError("oops"),
    "nothing": None,
    "a list": [Verdict(), Verdict()],
    "too few": each(Verdict()),
    "too many": each(*[Verdict()] * 3),
    "no verdicts": each("yes", "yes"),  # type: ignore[arg-type]
    "weight above 1": each(Verdict(), Verdict(1.5)),
    "negative weight": each(Verdict(), Verdict(-0.5)),
    "weight of no value": each(Verdict(), Verdict(float("nan"))),
    "weight in words": each(Verdict(), Verdict("much")),  # type: ignore[arg-type]
    "negative scale": each(Verdict(), Verdict(1.0, -1.0)),
    "infinite scale": each(Verdict(), Verdict(1.0, float("inf"))),
    "scale of no value": each(Verdict(), Verdict(1.0, float("nan"))),
    "a state without names": Judged([Verdict(), Verdict()], [1, 2]),  # type: ignore[arg-type]
    "a state by numbers": Judged([Verdict(), Verdict()], {1: 2}),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=list(BROKEN))
def test_a_gate_that_breaks_its_word_refuses_all_of_this_round_and_is_named(judged, answer):
    judgements, changed, _, logs = judged([8.0, 1.0], answer, each(Verdict(), Verdict()))
    assert [judgement.accepted for judgement in judgements] == [False, False]
    assert {judgement.stage for judgement in judgements} == {"plugin"}
    assert all("'plugin-0' failed while judging" in judgement.reason for judgement in judgements)
    assert changed == {}
    assert [(line["event"], line["plugin"]) for line in logs if line["log_level"] != "debug"] == [("plugin.failed", "plugin-0")]


def test_numbers_of_other_libraries_become_plain_ones(judged):
    judgements, _, _, _ = judged([8.0], each(Verdict(np.float32(0.5), np.float32(0.5), None)))  # type: ignore[arg-type]
    [one] = judgements
    assert [type(value) for value in (one.received.weight, one.scale, one.reason)] == [float, float, str]


def test_each_gate_has_a_state_of_its_own_even_under_one_name(judged):
    states = {"gate[0] g0": {"seen": 1}, "gate[1] g1": {"seen": 2}}
    count = lambda items: Judged([Verdict()] * len(items), {"seen": 9})  # noqa: E731
    _, changed, gates, _ = judged([8.0], count, each(Verdict()), states=states)
    assert [gate.shown[0][2] for gate in gates] == [{"seen": 1}, {"seen": 2}]
    assert changed == {"gate[0] g0": {"seen": 9}}
