"""Lets all gates judge all fetched updates, one gate after the other. Each verdict is checked, multiplied in and kept."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from learnae.errors import PluginError
from learnae.node.decoding import LazyMasks
from learnae.node.runtime import Outages
from learnae.node.strategy_set import ConfiguredStrategy
from learnae.node.strategy_state import checked_state
from learnae.records import Judged, LocalModel, Received, State, Verdict
from learnae.strategies import Gate

PLUGIN = "plugin"
"""The stage of an update that was lost here, by a mistake of one of the own plugins: nobody has refused it."""


@attrs.frozen
class Judgement:
    """What all gates together decided about one update."""

    received: Received
    scale: float
    stage: str
    reason: str
    blames: bool = True  # whether the refusal, if it is one, says that the peer did wrong

    @property
    def accepted(self) -> bool:
        return self.received.weight > 0


@attrs.frozen
class GateChain:
    """The gates of the file. `judge` gives the judgements and each gate's new state."""

    gates: Sequence[ConfiguredStrategy[Gate]]
    outages: Outages

    def keyed(self) -> Iterator[tuple[str, ConfiguredStrategy[Gate]]]:
        """The keys under which the states of the gates are kept."""
        return ((f"gate[{index}] {gate.name}", gate) for index, gate in enumerate(self.gates))

    def judge(
        self, local: LocalModel, received: Sequence[Received], states: Mapping[str, State]
    ) -> tuple[list[Judgement], dict[str, State]]:
        judgements = [Judgement(item, 1.0, "merge", "") for item in received]
        changed: dict[str, State] = {}
        for key, gate in self.keyed():
            standing = [place for place, judgement in enumerate(judgements) if judgement.accepted]
            verdicts, state, stage = self._verdicts(gate, local, [judgements[place].received for place in standing], states.get(key, {}))
            for place, verdict in zip(standing, verdicts, strict=True):
                judgements[place] = _apply(judgements[place], verdict, stage)
            if state is not None:
                changed[key] = state
        return judgements, changed

    def _verdicts(
        self, gate: ConfiguredStrategy[Gate], local: LocalModel, received: Sequence[Received], state: State
    ) -> tuple[Sequence[Verdict], State | None, str]:
        """The verdicts of one gate, and their stage.

        A gate that fails lets no update through in this round, because it protects the model.
        """
        if not received:
            return (), None, gate.name
        try:
            with gate.calling(f"judging by gate {gate.name!r}"):
                judged: Any = gate.strategy.judge(local, received, state)
                if not isinstance(judged, Judged) or len(judged.verdicts) != len(received):
                    raise ValueError(f"judge() must return a Judged with {len(received)} verdicts")
                answer = [_plain(verdict) for verdict in judged.verdicts], checked_state(judged.state), gate.name
        except PluginError as error:
            self.outages.plugin_failed(gate.label, error)
            return [Verdict(0.0, 1.0, str(error))] * len(received), None, PLUGIN
        self.outages.works(gate.label)
        return answer


def _plain(verdict: Any) -> Verdict:
    """Of Python's own numbers and text, since it goes to the history and to the trainer."""
    if not (isinstance(verdict, Verdict) and 0.0 <= verdict.weight <= 1.0 and verdict.scale >= 0.0 and math.isfinite(verdict.scale)):
        raise ValueError(f"a verdict has a weight from 0 to 1 and a finite scale, not {verdict!r}")
    return Verdict(float(verdict.weight), float(verdict.scale), str(verdict.reason), blames=bool(verdict.blames))


def _apply(judgement: Judgement, verdict: Verdict, stage: str) -> Judgement:
    received = judgement.received
    if verdict.scale != 1.0:
        tensors = received.tensors.scaled(verdict.scale)  # type: ignore[attr-defined]
        received = attrs.evolve(received, tensors=tensors, masks=LazyMasks(tensors), sound=())
    received = attrs.evolve(received, weight=received.weight * verdict.weight)
    stage = stage if verdict.weight == 0 or verdict.reason else judgement.stage
    reason = "; ".join(filter(None, (judgement.reason, verdict.reason)))
    return Judgement(received, judgement.scale * verdict.scale, stage, reason, verdict.blames)
