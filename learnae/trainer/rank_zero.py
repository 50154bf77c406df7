"""The swarm of rank 0 of a `torch.distributed` job, which is one peer: it has the node, and the other ranks do what it says."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import attrs
from torch import nn

from learnae.trainer.model_progress import JOINING_SECONDS, checked
from learnae.trainer.ranks import DONE, FLUSH, JOINED, LOADED, MERGED, STEP, Ranks
from learnae.trainer.session import Session
from learnae.trainer.shards import RankedCopier, Shards, gather_again
from learnae.trainer.shared import SharedModel
from learnae.trainer.status import Status, SwarmSettings
from learnae.trainer.swarm import Swarm


class RankZeroSession(Session):
    """Meets the other ranks at steps that all of them know. In between it does nothing, whatever the node wants."""

    _copier: RankedCopier

    def __init__(self, shared: SharedModel, swarm_settings: SwarmSettings, ranks: Ranks) -> None:
        self._ranks, self._boundary, self.counted = ranks, 0, 0
        self._met_at = (0, time.monotonic())  # steps
        self.counts: Mapping[str, Any] = {}  # of rounds, as all ranks know them
        super().__init__(shared, swarm_settings, copier=partial(RankedCopier, ranks=ranks, shards=Shards.of(shared.places, ranks)))

    def attend(self) -> None:
        with self.meeting(STEP):
            super().attend()

    def flush(self, seconds: float) -> None:
        with self.meeting(FLUSH):
            super().flush(seconds)

    @contextmanager
    def meeting(self, call: float) -> Iterator[None]:
        """All ranks are here, by the same call. Inside, rank 0 works, and they do what it says. At its end they hear where all stand."""
        progress = self.model_progress
        samples, loss, losses = self._ranks.meet(call, progress.steps, float(progress.samples - self.counted), *loss_told(progress.loss))
        with self._ranks.leading():
            progress.samples = self.counted = self.counted + int(samples)
            if losses:
                progress.loss = loss / losses
            gather_again(self._shared.model)
            yield
        self.part()

    def lend(self) -> None:
        """What this rank holds by `merged`, the other ranks hold too."""
        if self.merged_page is not None:
            self._copier.lend(self.merged_page)

    def part(self, word: str = DONE) -> None:
        """The other ranks go on, up to the next meeting."""
        with self.changed:
            counts = self.round_counts
            self.counts = {name: getattr(counts, name) for name in ("rounds", "heard", "merged", "refused", "lost")}
            self._boundary = self.model_progress.steps + self._steps_to_go()
            self._met_at = self.model_progress.steps, time.monotonic()
            self._reschedule()
            told = {**self.model_progress.state_dict(self.adoption), "local": [one.name for one in self._shared.kept]}
        self._ranks.say(word, boundary=self._boundary, state=told, counts=self.counts)

    def seconds_to_look(self) -> float:
        """Nothing is due by its time alone: which step all ranks meet at was agreed on when they met last."""
        return math.inf

    def load_state_dict(self, state: Any) -> bool:
        news = super().load_state_dict(state)
        self.counted = self.model_progress.samples
        return news

    def _next_due(self) -> int:
        return 0 if self.lent else self._boundary

    def _steps_to_go(self) -> int:
        """`local_steps`, or so many as fit into `round_seconds`."""
        settings, progress = self._swarm_settings, self.model_progress
        seconds = settings.round_seconds if progress.lineage else min(JOINING_SECONDS, settings.round_seconds)
        steps, then = self._met_at
        measured = (time.monotonic() - then) / (progress.steps - steps) if progress.steps > steps else 0.0
        step_seconds = progress.step_seconds or measured
        if not step_seconds:
            return 1
        return max(1, min(settings.local_steps, int(seconds / step_seconds)))


class RankZeroSwarm(Swarm):
    """What rank 0 holds. Each call that all ranks have to make says so in `learnae.join`."""

    _session: RankZeroSession

    def __init__(self, model: nn.Module, shared: SharedModel, swarm_settings: SwarmSettings, *, optimizer: Any, ranks: Ranks) -> None:
        super().__init__(model, shared, swarm_settings, optimizer=optimizer, session=RankZeroSession(shared, swarm_settings, ranks))

    def begin(self) -> None:
        """The node runs: the other ranks may train."""
        self._session.part(JOINED)

    @property
    def status(self) -> Status:
        """As on one process, but for samples and rounds: these are as all ranks know them since they met last, so that they do alike."""
        return attrs.evolve(super().status, samples=self._session.counted, **self._session.counts)

    @contextmanager
    def merged(self) -> Iterator[bool]:
        """As on one process. All ranks have to enter it."""
        self._check()  # before the other ranks are met
        with ExitStack() as until_the_end:
            with self._session.meeting(MERGED):
                lent = until_the_end.enter_context(super().merged())
                if lent:
                    self._session.lend()
            try:
                yield lent
            finally:
                gather_again(self._model)

    def load_state_dict(self, state: Any) -> None:
        """As on one process. All ranks have to call it."""
        self._check()
        checked(state)
        with self._session.meeting(LOADED):
            super().load_state_dict(state)

    def begin_from(self, state: Any) -> None:
        """Go on from there before the node runs: the other ranks hear of it when it does."""
        super().load_state_dict(state)


def loss_told(loss: Any) -> tuple[float, float]:
    """A loss, and how many these are: none or one."""
    if loss is None:
        return 0.0, 0.0
    return float(getattr(loss, "detach", lambda: loss)()), 1.0
