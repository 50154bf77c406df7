"""The swarm that a user holds, and the memberships of this process: which swarms it is in, and when they end.

The list of memberships is the only global state of the library. It has to be global: a fork copies all memberships, two of them must not
use one model or one home, and Python cannot remove a hook at fork, so one hook serves all.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import attrs
from torch import nn

from learnae.content.validators import MAX_INTEGER
from learnae.errors import ConfigError, Problem, renamed_argument
from learnae.identity.homes import Home
from learnae.identity.keys import Identity
from learnae.observations import RoundReport
from learnae.opening import look
from learnae.records import PeerId
from learnae.trainer.arguments import loss_of, refuse_masters, seconds_of, shown, whole
from learnae.trainer.dataset import SwarmDataset, make_dataset
from learnae.trainer.model_progress import checked
from learnae.trainer.session import Session, within
from learnae.trainer.shared import SharedModel, listed
from learnae.trainer.status import Status, SwarmSettings
from learnae.trainer.supervisor import Supervisor


@attrs.define(eq=False)
class Membership:
    """One swarm that this process is in: the session and the node, which end together."""

    session: Session
    node: Supervisor
    swarm_settings: SwarmSettings
    thread: int | None = None  # the one that trains, once it has
    inside: bool = False  # a `with` block, which ends it
    ended: bool = False  # all of it: the node is gone, and the home is free
    why_left: str = ""
    _leaving: threading.RLock = attrs.field(factory=threading.RLock, init=False)  # a signal's handler may leave too

    @property
    def left(self) -> bool:
        """Whether this membership is ending, or has ended."""
        return self.session.left

    @property
    def is_used(self) -> bool:
        """Whether a `with` block or another thread still uses it, and so has to end it. The calling thread does not count."""
        others = {thread.ident for thread in threading.enumerate()} - {threading.get_ident(), None}
        return not self.left and (self.inside or self.thread in others)

    def in_common(self, shared: SharedModel) -> list[str]:
        """The names of those tensors that are in this swarm too."""
        own = {id(getattr(place.owner, place.attribute, None)) for place in self.session.places}
        return [place.name for place in shared.places if id(place.tensor()) in own]

    def lives_in(self, home: Path) -> bool:
        with contextlib.suppress(OSError):
            return bool(self.swarm_settings.home) and os.path.samefile(self.swarm_settings.home, home)
        return False

    def leave(self, why: str = "") -> None:
        """Let the node say goodbye, and end it, within a few seconds, even if interrupted. Idempotent.

        If several interrupts in a row cut it short, call it again: it does the rest. A signal's handler that runs in the middle of another
        call does not wait for the end, because that call has to go on first.
        """
        if self.ended:
            return
        if not self.left:
            self.why_left = why
        self.session.leave()
        if self.session.inside:
            self._finish_adoption()
            self.leave_elsewhere()
        elif not within(self._leaving, __file__):  # leaving goes on when a handler in the middle of it returns
            with self._leaving:
                try:
                    self._end()
                except BaseException:
                    self._end()
                    raise

    def leave_elsewhere(self) -> None:
        """Leave in a thread of its own, and do not wait for it, since the caller may hold any lock. `leave` waits."""
        if self.ended:
            return
        try:
            threading.Thread(target=self.leave, name="learnae-leaving", daemon=True).start()
        except RuntimeError:  # the interpreter is about to end
            if not self.session.inside:
                self.leave()

    def forgotten(self) -> None:
        """Nobody holds the handle any more. Python's garbage collector calls this anywhere, under any lock."""
        if not self.ended:
            self.session.leave()
            self.leave_elsewhere()

    def forked(self) -> None:
        """In a forked child, such as a worker of a DataLoader: the child counts as never having been in the swarm."""
        if not self.ended:
            self.ended = True
            self.session.leave()
            self.session.forked()
            self.node.abandon()
            self.swarm_settings.on_leave()

    def _end(self) -> None:
        """Do one stage after the other. A stage that is done already does nothing."""
        if not self.ended:
            self._finish_adoption()
            self.node.stop()
            self.session.shared_memory.close()
            self.swarm_settings.on_leave()
            self.ended = True

    def _finish_adoption(self) -> None:
        """Finish an adoption. If the model makes that fail, the peer leaves all the same."""
        try:
            self.session.finish()
        except Exception as error:
            self.swarm_settings.logger.warning("adoption.unfinished", cause=str(error), left="the model has a merged one in part")


LEAVE = "call leave() on that swarm first, or use it in `with`"


class ProcessSwarms:
    """The memberships of this process, as long as somebody holds them."""

    def __init__(self) -> None:
        self._members: weakref.WeakSet[Membership] = weakref.WeakSet()
        os.register_at_fork(after_in_child=self._forked)
        atexit.register(self._at_exit)

    def add(self, member: Membership) -> None:
        self._members.add(member)

    def remove(self, member: Membership) -> None:
        self._members.discard(member)

    def __bool__(self) -> bool:
        return bool(self._others())

    def make_way(self, name: str, shared: SharedModel, home: Path | None) -> None:
        """Before a model joins: let memberships leave that an earlier run of a notebook's cell has left behind in this process.

        Waits for memberships that are ending. Raises ConfigError for a model that is in another swarm, and for a model or a home that
        this process still uses.
        """
        self.settle()
        for member in self._others():
            if names := member.in_common(shared):
                self._end(member, name, _in_it_already(member, names), member.swarm_settings.name == name)
            elif home is not None and member.lives_in(home):
                what = f"this very process uses this home already, in the swarm {member.swarm_settings.name!r}"
                self._end(member, name, Problem(f"peer.home {home}", what, f"{LEAVE}, or name another home"), True)

    def settle(self) -> None:
        """Wait until memberships that are ending have ended, a few seconds each. An end that was cut short is finished here."""
        for member in self._others():
            if member.left:
                member.leave()

    def _end(self, member: Membership, name: str, problem: Problem, may_end: bool) -> None:
        if member.is_used or not may_end:
            raise ConfigError(problem)
        member.swarm_settings.logger.warning(
            "swarm.replaced", swarm=member.swarm_settings.name, home=member.swarm_settings.home, by=f"a later learnae.join() of {name!r}"
        )
        member.leave("a later learnae.join() in this process took its place")

    def _others(self) -> list[Membership]:
        return [member for member in list(self._members) if not member.ended]

    def _at_exit(self) -> None:
        for member in self._others():
            member.leave()

    def _forked(self) -> None:
        for member in list(self._members):
            member.forked()


def _in_it_already(member: Membership, names: Sequence[str]) -> Problem:
    name = member.swarm_settings.name
    what = f"{listed(names)} {'is' if len(names) == 1 else 'are'} in the swarm {name!r} already, in this process: one at a time"
    return Problem("model", what, f"{LEAVE}; of two models that have a part in common, one keeps it local: [model] keep_local")


RESIDENTS = ProcessSwarms()


START_SECONDS = 20.0


class Swarm:
    """A swarm that this process takes part in. `learnae.join()` makes it.

    Call `step` after each optimiser step, always from the same thread. End it by `with` or by `leave()`.
    """

    def __init__(self, model: nn.Module, shared: SharedModel, swarm_settings: SwarmSettings, *, optimizer: Any = None) -> None:
        self._model, self._optimizer, self._swarm_settings = model, optimizer, swarm_settings
        self._session = Session(shared, swarm_settings)
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

        `local` is a torch Dataset with a length, arrays, or a table of arrays. Samples have its form, as tensors, through `transform`.
        `foreign` is the share of others in a batch. `label` is the column to predict, `labels` those that others may have, `words` those of
        columns of text. By `[data] share = "slices"` this gives away rows of `local`; the last call counts. Raises ConfigError, OSError.
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
        """What you save with the model. `torch.load(weights_only=True)` can read it."""
        return self._session.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state that was saved with the model that you have just loaded. A running node is restarted, if this is news to it.

        Raises ConfigError for a state that `state_dict()` cannot have given, RuntimeError after `leave()`.
        """
        self._refuse_if_left()
        if self._session.load_state_dict(checked(state)):
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
