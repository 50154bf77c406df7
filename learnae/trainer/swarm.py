"""The swarm that a user holds."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

from torch import nn

from learnae.content.validators import MAX_INTEGER
from learnae.errors import ConfigError, renamed_argument
from learnae.identity.homes import Home
from learnae.identity.keys import Identity
from learnae.observations import RoundReport
from learnae.opening import look
from learnae.records import PeerId
from learnae.trainer.arguments import checked_metrics, loss_of, refuse_masters, seconds_of, shown, whole
from learnae.trainer.dataset import SwarmDataset, make_dataset
from learnae.trainer.memberships import RESIDENTS, Membership
from learnae.trainer.model_progress import checked
from learnae.trainer.session import Session
from learnae.trainer.shared import SharedModel
from learnae.trainer.status import Status, SwarmSettings
from learnae.trainer.supervisor import Supervisor

START_SECONDS = 20.0
LENT = "the model holds the merged one now: call this after `with swarm.merged()`, where the trained one is back"


class Swarm:
    """A swarm that this process takes part in. `learnae.join()` makes it.

    Call `step` after each optimiser step, always from the same thread. End it by `with` or by `leave()`.
    """

    def __init__(
        self, model: nn.Module, shared: SharedModel, swarm_settings: SwarmSettings, *, optimizer: Any = None, session: Session | None = None
    ) -> None:
        self._model, self._optimizer, self._swarm_settings = model, optimizer, swarm_settings
        self._session = Session(shared, swarm_settings) if session is None else session
        self._model_progress = self._session.model_progress
        fds = [fd for fd in (self._session.shared_memory.fd, swarm_settings.home_fd) if fd >= 0]
        self._node = Supervisor(
            self._session,
            fds,
            self._session.watchdog,
            command=swarm_settings.command,
            backoff=swarm_settings.backoff,
            log=swarm_settings.logger,
        )
        self._membership = Membership(self._session, self._node, swarm_settings)
        RESIDENTS.add(self._membership)
        self._forgotten = weakref.finalize(self, self._membership.forgotten)  # and at exit, where the user forgets to leave

    def start(self, timeout: float = START_SECONDS) -> None:
        """Start the node, and wait until it is up. Raises the ConfigError or PluginError with which the node ended.

        Any other fault only delays the node. Training goes on without it, and it is started again and again.
        """
        try:
            self._node.start(timeout)
        except BaseException:
            self.leave()
            raise

    def step(self, num_samples: int = 0, loss: Any = None, *, samples: int | None = None) -> None:
        """Count one optimiser step over so many samples. Hand over a snapshot, or adopt a merged model, if one is due.

        `num_samples` is a whole number. `loss` is a number or a tensor of one element. Raises ValueError or TypeError for anything else,
        ConfigError if the model became another one or if the optimizer keeps master weights, and RuntimeError after `leave()` or from
        another thread. `samples` is the old name of `num_samples`.
        """
        if samples is not None:
            both = type(num_samples) is not int or num_samples != 0
            num_samples = renamed_argument("swarm.step", "samples", "num_samples", samples, clash=both, gone_in="0.2")
        if type(num_samples) is not int or num_samples < 0:
            num_samples = whole(num_samples, "num_samples")
        if loss is not None and type(loss) is not float:
            loss = loss_of(loss)
        model_progress = self._model_progress
        steps, total = model_progress.steps + 1, model_progress.samples + num_samples
        if total > MAX_INTEGER:
            raise ValueError(f"num_samples is {shown(num_samples)}: with those before that is more than {MAX_INTEGER}")
        due = steps >= self._session.due
        if due:
            self._check()
        model_progress.steps, model_progress.samples = steps, total
        if loss is not None:
            model_progress.loss = loss
        if due:
            self._session.attend()

    def flush(self, timeout: float = 0.0, *, seconds: float | None = None) -> None:
        """Adopt a merged model that waits, and hand over a snapshot now if the node can take one.

        Call it before an evaluation, or at the end.

        Then waits at most `timeout` seconds for the model that is merged from this snapshot, and adopts it. Raises as `step` does.
        `seconds` is the old name of `timeout`.
        """
        if seconds is not None:
            timeout = renamed_argument("swarm.flush", "seconds", "timeout", seconds, clash=timeout != 0.0, gone_in="0.2")
        timeout = seconds_of(timeout, "timeout")
        self._check()
        self._session.flush(timeout)

    def merged(self) -> AbstractContextManager[bool]:
        """Lend the last merged model: in `with swarm.merged():` the model holds it. At the end the trained weights are back, bit for bit.

        Evaluate and save this one. Between two merges a peer trains on its own rows, and forgets what only others know. Gives true. Where
        the last round merged nothing of others it gives false, and leaves the model as it is. The optimizer and the rounds go on. Takes
        memory for one more copy of the model, on the CPU. Inside, `step`, `flush` and `state_dict` raise RuntimeError. Raises as `step`.
        """
        self._refuse_if_lent()
        self._refuse_other_threads()
        return self._session.merged()

    def merged_tensors(self, state: Mapping[str, Any]) -> dict[str, Any] | None:
        """Of a `state_dict()` of the model: the tensors that are others in the last merged model, as copies, by their names.

        None where the last round merged nothing of others. `learnae run` saves them beside the model, and `learnae export` writes them.
        """
        self._refuse_if_lent()
        return self._session.merged_tensors(state)

    def next_model(self, timeout: float) -> None:
        """For an observer: wait at most `timeout` seconds for the next model of the others, and adopt it. Else raises RuntimeError."""
        raise RuntimeError('this peer trains: step() and flush() adopt the models of others; next_model() is for [peer] role = "observer"')

    def log_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Tell what the model reaches on your own test data, such as `{"loss": 0.25, "accuracy": 0.9}`. Any thread may call it.

        The next round has it in its report. `learnae status` and watchers show it, and `learnae contributions` shares a change of "loss"
        among the peers that were merged. Raises ValueError, TypeError, and RuntimeError after `leave()`.
        """
        self._refuse_if_left()
        self._session.evaluated(checked_metrics(metrics))

    def leave(self) -> None:
        """Let the node say goodbye, and end it, within a few seconds. Idempotent. The model stays as it is.

        If a signal's handler calls it in the middle of a step, the node ends soon after that step.
        """
        self._membership.leave()
        if self._membership.ended:
            self._forgotten.detach()

    def __enter__(self) -> Self:
        self._membership.inside = True
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.leave()

    def __repr__(self) -> str:
        """One line. It never raises."""
        try:
            peer = self.peer[:8] if look(Home(self.home, lock_fd=-1).key_path) is not None else "without a key yet"
        except (ConfigError, OSError):
            peer = "whose key cannot be read"
        lineage = self._model_progress.lineage.hex() or "none yet"
        name, round_ = self._swarm_settings.name, self._session.round_counts.rounds
        return f"<Swarm {name!r}: peer {peer}, node {self._state}, round {round_}, lineage {lineage}>"

    @property
    def left(self) -> bool:
        """Whether this process has left the swarm: by `leave()`, since a later `learnae.join()` took its place, or in a forked child."""
        return self._membership.left

    @property
    def home(self) -> Path:
        """This peer's folder."""
        return Path(self._swarm_settings.home)

    @property
    def peer(self) -> PeerId:
        """This peer's public key.

        Other peers `allow` or `deny` it by this key. Raises ConfigError if the key in the home cannot be read.
        """
        return Identity.load_or_create(Home(self.home, lock_fd=-1).key_path).peer

    @property
    def status(self) -> Status:
        """Where this peer stands at this moment. Any thread may read it."""
        session, model_progress = self._session, self._model_progress
        with session.changed:
            round_counts = session.round_counts
            return Status(
                node=self._state,
                node_starts=self._node.starts,
                lineage=model_progress.lineage,
                age=model_progress.age,
                steps=model_progress.steps,
                samples=model_progress.samples,
                adoptions=session.adoption,
                rounds=round_counts.rounds,
                heard=round_counts.heard,
                merged=round_counts.merged,
                refused=round_counts.refused,
                lost=round_counts.lost,
                outages=round_counts.outages,
                last_error=self._node.last_error,
                quarantined={one.label: one.rounds for one in session.watchdog.quarantined},
            )

    def dataset(
        self, local: Any, *, transform: Callable[[Any], Any] | None = None, foreign: float = 0.5, label: str | None = None,
        labels: Collection[Any] | None = None, words: Mapping[str, Sequence[str]] | None = None,
    ) -> SwarmDataset:  # fmt: skip
        """Own rows to train on, and those that other peers give: one torch Dataset, which grows. Its `loader` makes the batches.

        `local` is a torch Dataset with a length, an array of all rows, the tuple (features, label), a list of samples, or a table of arrays
        by name. Samples have its form, as tensors, through `transform`. `foreign` is the share of others in a batch.
        `label` is the column to predict, `labels` those that others may have, `words` those of columns of text. By
        `[data] share = "slices"` this gives away rows of `local`; the last call counts. Raises ConfigError, OSError.
        """
        self._refuse_if_left()
        return make_dataset(
            local, self.home, self._swarm_settings.data, peer=self.peer,
            transform=transform, foreign=foreign, label=label, labels=labels, words=words,
        )  # fmt: skip

    def reports(self) -> tuple[RoundReport, ...]:
        """The rounds since the last call, at most the last thousand. Any thread may call it."""
        with self._session.changed:
            reports = tuple(self._session.reports)
            self._session.reports.clear()
        return reports

    def state_dict(self) -> dict[str, Any]:
        """What you save with the model. `torch.load(weights_only=True)` can read it. Raises RuntimeError inside of `merged()`."""
        self._refuse_if_lent()
        return self._session.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state that was saved with the model that you have just loaded. A running node is restarted, if this is news to it.

        Raises ConfigError for a state that `state_dict()` cannot have given, RuntimeError after `leave()`.
        """
        self._refuse_if_left()
        self._refuse_if_lent()
        if self._session.load_state_dict(checked(state)):
            self._node.restart()

    @property
    def _state(self) -> str:
        return "left" if self._membership.left else self._node.state

    def _check(self) -> None:
        self._refuse_if_left()
        self._refuse_if_lent()
        self._refuse_other_threads()
        if self._membership.thread is None:
            self._membership.thread = threading.get_ident()
            if self._optimizer is not None:  # again, since optimizers make their state in their first step
                refuse_masters(self._optimizer, self._model)

    def _refuse_other_threads(self) -> None:
        if self._membership.thread not in (None, threading.get_ident()):
            raise RuntimeError("step(), flush() and merged() are for the one thread that trains; another one called before")

    def _refuse_if_lent(self) -> None:
        if self._session.lent:
            raise RuntimeError(LENT)

    def _refuse_if_left(self) -> None:
        if self._membership.left:
            why = self._membership.why_left or "this process has left the swarm, or was forked from the one that is in it"
            raise RuntimeError(f"{why}: call learnae.join() again")
