"""A trainer's place in its swarm: what the user's loop holds in its hand."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from torch import nn

from learnae.content.expect import MAX_INTEGER
from learnae.errors import ConfigError
from learnae.identity.homes import Home
from learnae.identity.keys import Identity
from learnae.opening import look
from learnae.records import PeerId, RoundReport
from learnae.trainer.contact import Contact
from learnae.trainer.figures import loss_of, seconds_of, shown, whole
from learnae.trainer.membership import Membership
from learnae.trainer.optimizers import refuse_masters
from learnae.trainer.residents import RESIDENTS
from learnae.trainer.resuming import checked
from learnae.trainer.shared import Shared
from learnae.trainer.status import Status
from learnae.trainer.supervisor import Supervisor
from learnae.trainer.terms import Terms

START_SECONDS = 20.0


class Swarm:
    """Made by learnae.join(). Call `step` after each optimiser step, always from one thread; leave by `with` or `leave()`."""

    def __init__(self, model: nn.Module, shared: Shared, terms: Terms, *, optimizer: Any = None) -> None:
        self._model, self._optimizer, self._terms = model, optimizer, terms
        self._contact = Contact(shared, terms)
        self._journey = self._contact.journey
        fds = [fd for fd in (self._contact.area.fd, terms.home_fd) if fd >= 0]
        self._node = Supervisor(self._contact, fds, self._contact.lookout, command=terms.command, backoff=terms.backoff, log=terms.logger)
        self._membership = Membership(self._contact, self._node, terms)
        RESIDENTS.add(self._membership)
        self._forgotten = weakref.finalize(self, self._membership.forgotten)  # and at exit, where the user forgets to leave

    def start(self, timeout: float = START_SECONDS) -> None:
        """Start the node and wait until it is up. Raises the ConfigError or PluginError with which it ended.

        Any other fault only delays it: training goes on without a node, which is started again and again.
        """
        try:
            self._node.start(timeout)
        except BaseException:
            self.leave()
            raise

    def step(self, samples: int = 0, loss: Any = None) -> None:
        """Count one optimiser step over so many samples; hand over a snapshot or adopt a merged model if one is due.

        `samples` is a whole number, `loss` a number or a tensor of one element. Raises ValueError or TypeError for anything else,
        ConfigError if the model became another one or the optimizer turns out to keep master weights, RuntimeError after leave() or from
        another thread.
        """
        if type(samples) is not int or samples < 0:
            samples = whole(samples, "samples")
        if loss is not None and type(loss) is not float:
            loss = loss_of(loss)
        journey = self._journey
        steps, total = journey.steps + 1, journey.samples + samples
        if total > MAX_INTEGER:
            raise ValueError(f"samples is {shown(samples)}: with those before that is more than {MAX_INTEGER}")
        due = steps >= self._contact.due
        if due:
            self._check()
        journey.steps, journey.samples = steps, total
        if loss is not None:
            journey.loss = loss
        if due:
            self._contact.attend()

    def flush(self, seconds: float = 0.0) -> None:
        """Adopt what waits, and hand over a snapshot now if the node wants one: before an evaluation, or at the end.

        Then waits so many seconds, at most, for the model that is merged from it, and adopts that. Raises as `step` does.
        """
        seconds = seconds_of(seconds)
        self._check()
        self._contact.flush(seconds)

    def leave(self) -> None:
        """Let the node say goodbye, and end it: within a few seconds. Idempotent. The model stays as it is.

        Where a signal's handler calls it in the middle of a step, the node ends soon after that step.
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
        """In a line, and whatever is wrong."""
        try:
            peer = self.peer[:8] if look(Home(self.home, lock_fd=-1).key_path) is not None else "without a key yet"
        except (ConfigError, OSError):
            peer = "whose key cannot be read"
        lineage = self._journey.lineage.hex() or "none yet"
        return f"<Swarm {self._terms.name!r}: peer {peer}, node {self._state}, round {self._contact.tally.rounds}, lineage {lineage}>"

    @property
    def home(self) -> Path:
        """This peer's folder."""
        return Path(self._terms.home)

    @property
    def peer(self) -> PeerId:
        """This peer's public key, by which others may `allow` or `deny` it. Raises ConfigError if the home's key cannot be read."""
        return Identity.load_or_create(Home(self.home, lock_fd=-1).key_path).peer

    @property
    def status(self) -> Status:
        """A picture of this moment; from any thread."""
        contact, journey = self._contact, self._journey
        with contact.changed:
            tally = contact.tally
            return Status(
                node=self._state,
                node_starts=self._node.starts,
                lineage=journey.lineage,
                age=journey.age,
                steps=journey.steps,
                samples=journey.samples,
                adoptions=contact.adoption,
                rounds=tally.rounds,
                heard=tally.heard,
                merged=tally.merged,
                refused=tally.refused,
                lost=tally.lost,
                facts=tally.facts,
                last_words=self._node.last_words,
                benched={one.label: one.rounds for one in contact.lookout.benched},
            )

    def reports(self) -> tuple[RoundReport, ...]:
        """The rounds since the last call, the last thousand at most; from any thread."""
        with self._contact.changed:
            reports = tuple(self._contact.reports)
            self._contact.reports.clear()
        return reports

    def state_dict(self) -> dict[str, Any]:
        """What belongs into the model's checkpoint; `torch.load(weights_only=True)` reads it."""
        return self._contact.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what a checkpoint says of the model that was just loaded. A running node is started anew, if that is news to it.

        Raises ConfigError for what `state_dict()` never gave, RuntimeError after leave().
        """
        self._refuse_if_left()
        if self._contact.load_state_dict(checked(state)):
            self._node.restart()

    @property
    def _state(self) -> str:
        return "left" if self._membership.left else self._node.state

    def _check(self) -> None:
        self._refuse_if_left()
        me, member = threading.get_ident(), self._membership
        if member.thread is None:
            member.thread = me
            if self._optimizer is not None:  # again, since optimizers make their state in their first step
                refuse_masters(self._optimizer, self._model)
        elif member.thread != me:
            raise RuntimeError("step() and flush() are for the one thread that trains; another one called before")

    def _refuse_if_left(self) -> None:
        if self._membership.left:
            why = self._membership.why_left or "this process has left the swarm, or was forked from the one that is in it"
            raise RuntimeError(f"{why}: call learnae.join() again")
