"""The swarm of the other ranks of a `torch.distributed` job: they have no node, and do what rank 0 says where all ranks meet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from learnae.errors import ConfigError, Problem
from learnae.observations import RoundReport
from learnae.records import PeerId
from learnae.trainer.arguments import called_by, checked_metrics, loss_of, seconds_of, whole
from learnae.trainer.model_progress import checked
from learnae.trainer.rank_zero import loss_told
from learnae.trainer.ranks import ADOPT, BUILD, DONE, FIND, FLUSH, JOINED, LEND, LOAD, LOADED, MERGED, SNAPSHOT, STEP, Ranks
from learnae.trainer.shards import FollowingCopier, Shards, gather_again
from learnae.trainer.shared import SharedModel, find_shared
from learnae.trainer.status import Status
from learnae.trainer.swarm import LENT, Swarm

WHERE = "rank 0 of this job has the node, and knows: ask it"


class OtherRankSwarm(Swarm):
    """What any rank but rank 0 holds. `step` counts, and meets the others at the step that all of them know."""

    def __init__(self, model: nn.Module, shared: SharedModel, ranks: Ranks) -> None:
        self._model, self._ranks = model, ranks
        self._copier = FollowingCopier(shared.places, ranks, Shards.of(shared.places, ranks))
        self._steps = self._samples = self._boundary = 0
        self._loss: Any = None
        self._told: Mapping[str, Any] = {}
        self._left = self._lent = False

    def step(self, num_samples: int = 0, loss: Any = None, *, samples: int | None = None) -> None:
        self._refuse_if_unable()
        num_samples = whole(num_samples if samples is None else samples, "num_samples")
        self._loss = loss if loss is None else loss_of(loss)
        self._steps, self._samples = self._steps + 1, self._samples + num_samples
        if self._steps >= self._boundary:
            self._meet(STEP)

    def flush(self, timeout: float = 0.0, *, seconds: float | None = None) -> None:
        self._refuse_if_unable()
        seconds_of(timeout if seconds is None else seconds, "timeout")
        self._meet(FLUSH)

    @contextmanager
    def merged(self) -> Iterator[bool]:
        """As on one process. All ranks have to enter it."""
        self._refuse_if_unable()
        give_back = self._meet(MERGED)
        self._lent = give_back is not None
        try:
            yield self._lent
        finally:
            gather_again(self._model)
            if give_back is not None:
                give_back()
            self._lent = False

    def merged_tensors(self, state: Mapping[str, Any]) -> dict[str, Any] | None:
        """None: rank 0 saves them."""
        return None

    def log_metrics(self, metrics: Mapping[str, Any]) -> None:
        """What rank 0 tells counts. Raises ValueError and TypeError as there."""
        checked_metrics(metrics)

    def leave(self) -> None:
        """Step no more. Rank 0 ends the node. Idempotent."""
        self._left = True

    def __exit__(self, *exc_info: object) -> None:
        self.leave()

    def __enter__(self) -> OtherRankSwarm:
        return self

    def __repr__(self) -> str:
        return f"<Swarm, rank {self._ranks.rank} of {self._ranks.size}: rank 0 has the node>"

    @property
    def left(self) -> bool:
        return self._left

    @property
    def home(self) -> Path:
        raise RuntimeError(f"no home belongs to rank {self._ranks.rank}: {WHERE}")

    @property
    def peer(self) -> PeerId:
        raise RuntimeError(f"no key belongs to rank {self._ranks.rank}: {WHERE}")

    @property
    def status(self) -> Status:
        """As all ranks stood when they met last, with the steps since."""
        state = self.state_dict()
        return Status(
            node="left" if self._left else "with rank 0", node_starts=0, lineage=bytes.fromhex(state["lineage"]), age=state["age"],
            steps=self._steps, samples=state["samples"], adoptions=state["adoption"], outages={}, **self._told["counts"],
        )  # fmt: skip

    def dataset(self, *_: Any, **__: Any) -> Any:
        """Raises ConfigError."""
        raise ConfigError(Problem("swarm.dataset", "is for peers of one process", "share weights alone, or give rows by `learnae run`"))

    def reports(self) -> tuple[RoundReport, ...]:
        """None: rank 0 has them."""
        return ()

    def state_dict(self) -> dict[str, Any]:
        """The same as that of rank 0, where nothing was rounded away."""
        self._refuse_if_lent()
        state = self._told["state"]
        return {**state, "age": state["age"] + self._steps - state["steps"], "steps": self._steps, "residues": {}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """As on one process. All ranks have to call it."""
        self._refuse_if_unable()
        checked(state)
        self._meet(LOADED)

    def _meet(self, call: float) -> Callable[[], None] | None:
        """Do what rank 0 says, until it is done. What it lends, this rank holds until it calls what is returned."""
        self._ranks.meet(call, self._steps, float(self._samples), *loss_told(self._loss))
        self._samples, self._loss = 0, None
        gather_again(self._model)
        give_back = None
        while True:
            word, told = self._ranks.hear(SNAPSHOT, ADOPT, LEND, DONE)
            if word == SNAPSHOT:
                self._copier.snapshot()
            elif word == ADOPT:
                self._copier.adopt(moved=told["moved"])
            elif word == LEND:
                give_back = self._copier.lend()
            else:
                self.hear_where_all_stand(told)
                return give_back

    def hear_where_all_stand(self, told: Mapping[str, Any]) -> None:
        self._told, self._steps, self._boundary = told, told["state"]["steps"], told["boundary"]

    def _refuse_if_lent(self) -> None:
        if self._lent:
            raise RuntimeError(LENT)

    def _refuse_if_unable(self) -> None:
        self._refuse_if_lent()
        if self._left:
            raise RuntimeError("this rank has left the swarm: call learnae.join() again, in all ranks")


def join_behind(model: nn.Module, ranks: Ranks, resume: Any) -> OtherRankSwarm:
    """Join by rank 0, which says what all ranks do next. Raises RankFailed if it cannot, ConfigError for a model that cannot be shared."""
    shared, swarm = SharedModel((), b""), None
    while True:
        word, told = ranks.hear(FIND, LOAD, BUILD, JOINED)
        if word == FIND:
            shared = ranks.agree(partial(find_shared, model, told["keep_local"], told["local"]))
        elif word == LOAD:
            load_alike(ranks, resume, Path(told["home"]))
        elif word == BUILD:
            swarm = OtherRankSwarm(model, shared, ranks)
        elif swarm is not None:
            swarm.hear_where_all_stand(told)
            return swarm


def load_alike(ranks: Ranks, resume: Any, home: Path) -> dict[str, Any] | None:
    """What this rank resumes from. All ranks call it. Raises ConfigError if ranks whose `resume` is a function found different states."""

    def load() -> dict[str, Any] | None:
        found = called_by(resume, home) if callable(resume) else resume
        return None if found is None else checked(found)

    state = ranks.agree(load)
    mine = [None if state is None else [state["run"], state["steps"]]] if callable(resume) else []
    told = {str(one["found"]) for one in ranks.collect({"found": mine}) if one["found"]}

    def check() -> None:
        if len(told) > 1:
            what = "the ranks of this job found different checkpoints, or some found none"
            raise ConfigError(Problem("resume", what, "let all of them read the same one"))

    ranks.agree(check)
    return state
