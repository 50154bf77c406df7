"""The trainer's side of one session with its node: when a snapshot goes over, and when an offer is adopted. Whoever calls holds a lock."""

from __future__ import annotations

import math
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from inspect import GEN_CLOSED, getgeneratorstate
from typing import Any

from learnae.link.messages import (
    GarbledError,
    Hello,
    MergeResult,
    Message,
    Release,
    Report,
    Start,
    Taken,
    ToNode,
    Want,
)
from learnae.observations import RoundReport
from learnae.trainer.copying import AdoptionInProgress, ModelCopier
from learnae.trainer.interrupts import held, refuse_in_the_middle, to_the_end, within
from learnae.trainer.loan import ModelLoan, merged_tensors
from learnae.trainer.model_progress import ModelProgress, SnapshotSchedule, WaitBudget
from learnae.trainer.session_state import SessionState
from learnae.trainer.shared import SharedModel, SharedTensor
from learnae.trainer.shared_memory import SharedMemory
from learnae.trainer.status import RoundCounts, SwarmSettings
from learnae.trainer.structure import ModelStructure
from learnae.trainer.watchdog import HangDetector, QuarantineHistory, Watchdog

NEVER = sys.maxsize
REPORTS = 1000
BY_ITSELF = ("alone", "founded")  # outcomes of a round in which nothing of others came into the model


class Session:
    """Hands snapshots over and adopts offers. `due` says at which step: any thread sets it, the trainer reads it without the lock."""

    def __init__(self, shared: SharedModel, swarm_settings: SwarmSettings, *, copier: Callable[..., ModelCopier] = ModelCopier) -> None:
        self.shared_memory = SharedMemory(shared.specs, pinned=any(place.tensor().is_cuda for place in shared.places))
        self.watchdog = Watchdog(
            HangDetector(self.shared_memory.calls, swarm_settings.hang_seconds),
            QuarantineHistory(swarm_settings.bench_rounds),
            swarm_settings.logger,
        )
        self.model_progress, self.round_counts = ModelProgress(), RoundCounts()
        self.reports: deque[RoundReport] = deque(maxlen=REPORTS)
        self._make_lock()
        self.due = NEVER
        self.left = False
        self._shared, self._swarm_settings = shared, swarm_settings
        self._structure = ModelStructure(shared, swarm_settings.logger)
        self._copier = copier(shared.places, self.shared_memory.slots, self.shared_memory.pages)
        self._session_state = SessionState()
        self._send: Callable[[ToNode], None] = _to_nobody
        self._schedule = SnapshotSchedule(swarm_settings.local_steps, swarm_settings.round_seconds)
        self._paused = 0.0  # seconds, in this round
        self._lent_at = [0.0] * len(self.shared_memory.slots)
        self._wait_budget = WaitBudget(swarm_settings.patience)
        self._adopting: tuple[MergeResult, AdoptionInProgress] | None = None  # begun, and only after an interrupt still here
        self._taken: Taken | None = None  # the same for a snapshot that is whole and not handed over yet
        self._handed_over = 0
        self._merged_page: int | None = None  # adopted last, in the last round; the node leaves it alone until the next adoption
        self._loan: ModelLoan | None = None
        self._lending: Generator[bool] | None = None

    @property
    def lent(self) -> bool:
        """Whether the model holds the merged one, and not what it is trained to."""
        if self._loan is None or self._lending is None or self._loan.over:
            return False
        return getgeneratorstate(self._lending) != GEN_CLOSED  # an interrupt may come before the first instruction that takes it back

    @property
    def merged_page(self) -> int | None:
        """Where the last merged model is, if the last round has made one."""
        return self._merged_page

    @property
    def adoption(self) -> int:
        """How many offers this run has adopted."""
        return self._session_state.adoption

    @property
    def places(self) -> Sequence[SharedTensor]:
        """Where the shared tensors are."""
        return self._shared.places

    @property
    def inside(self) -> bool:
        """Whether this very thread holds the lock: then a signal's handler calls, or the collector, in the middle of another call."""
        return held(self._lock)

    def leave(self) -> None:
        """This run is over: from now on each step looks, and finds that out."""
        self.left, self.due = True, 0

    def forked(self) -> None:
        """In a forked child: another thread may have held the lock, and does not exist here. The pages are those of the parent's node."""
        self._merged_page = None
        if not self.inside:
            self._make_lock()

    # The thread that trains.

    def attend(self) -> None:
        """Adopt what waits; hand over a snapshot if one is due, and be patient."""
        refuse_in_the_middle("step()", within(self._lock, __file__))
        with self._lock:
            began = time.monotonic()
            self._follow()
            self._finish()
            self._adopt_what_waits()
            if self._session_state.wanted and self.model_progress.steps >= self._schedule.step:
                self._wait_budget.spend(self._hand_over_and_wait(lambda: self._wait_budget.seconds))
            self._paused += time.monotonic() - began
            self._reschedule()

    def flush(self, seconds: float) -> None:
        """Adopt, hand over a snapshot as soon as the node wants one, adopt what comes of it: within so many seconds."""
        deadline = time.monotonic() + seconds
        refuse_in_the_middle("flush()", within(self._lock, __file__))
        with self._lock:
            self._follow()
            self._finish()
            self._adopt_what_waits()
            while not (self._session_state.wanted or self.left) and self.changed.wait(deadline - time.monotonic()):
                self._adopt_what_waits()
            self._hand_over_and_wait(lambda: deadline - time.monotonic())
            self._reschedule()

    def observe(self, seconds: float) -> None:
        """Without training: hand over a snapshot when its time has come, until a model was adopted or so many seconds are over."""
        deadline = time.monotonic() + seconds
        refuse_in_the_middle("flush()", within(self._lock, __file__))
        with self._lock:
            before = self.adoption
            self._follow()
            self._finish()
            self._adopt_what_waits()
            while self.adoption == before and not self.left and (left := deadline - time.monotonic()) > 0:
                wait = self._schedule.seconds_left
                if wait <= 0 and self._session_state.wanted and self._session_state.free_slot() is not None:
                    self._hand_over_and_wait(lambda: deadline - time.monotonic())
                else:
                    self.changed.wait(min(left, wait or left))
                    self._adopt_what_waits()
            self._reschedule()

    def finish(self) -> None:
        """Adopt the rest of what was adopted in part: an interrupt left it so, or a handler calls in the middle of it."""
        with self._lock:
            self._finish()

    def merged(self) -> AbstractContextManager[bool]:
        """Lend the last merged model, if there is one of the last round. Nothing is adopted until it comes back."""
        refuse_in_the_middle("merged()", within(self._lock, __file__))
        self._lending = lending = self._lend()
        return contextmanager(lambda: lending)()

    def _lend(self) -> Generator[bool]:
        try:
            with self._lock:
                self._follow()
                self._finish()
                if self._merged_page is not None:
                    snapshots = self._copier.snapshots_of(self.model_progress.steps)
                    self._loan = ModelLoan.of(*self._copier.beside(self._merged_page), snapshots=snapshots)
                    self._loan.begin()
                    self._reschedule()
                lent = self.lent
            yield lent
        finally:
            to_the_end(self._take_back)

    def merged_tensors(self, state: Mapping[str, object]) -> dict[str, Any] | None:
        """What the last merged model has in place of tensors in a module's state; None if the last round has merged nothing."""
        with self._lock:
            if self._merged_page is None:
                return None
            return merged_tensors(state, *self._copier.beside(self._merged_page))

    def evaluated(self, metrics: Mapping[str, float]) -> None:
        """The model, as it is now, was measured. The next snapshot says so."""
        with self._lock:
            self.model_progress.evaluated(self._session_state.adoption, metrics)

    def state_dict(self) -> dict[str, Any]:
        with self._lock:
            self._finish()
            local = [one.name for one in self._shared.kept]
            return {**self.model_progress.state_dict(self.adoption), "residues": self._copier.copy_residues(), "local": local}

    def load_state_dict(self, state: Mapping[str, Any]) -> bool:
        """Whether this was news."""
        refuse_in_the_middle("load_state_dict()", within(self._lock, __file__))
        with self._lock:
            if self.model_progress.is_at(state):
                return False
            self._session_state.new_run()
            self._adopting = self._taken = self._merged_page = None
            self.model_progress.load_state_dict(state)
            self._copier.load_residues(state["residues"])
            self._reschedule()
        return True

    # The thread that listens.

    def begin(self, send: Callable[[ToNode], None]) -> Start:
        """Greet a new node. The first snapshot is due at once: it is where the session starts from."""
        with self.changed:
            self._session_state.begin(uuid.uuid4().hex)
            self._taken = self._merged_page = None
            self._send = send
            self._schedule.at_once(self.model_progress.steps)
            self._reschedule()
            self.watchdog.begin()
            return self._swarm_settings.start(self._hello(), self.shared_memory.fd, self.watchdog.quarantined, self.watchdog.pause)

    def hear(self, message: Message) -> None:
        """Take in a line of the node. Raises GarbledError."""
        with self.changed:
            match message:
                case Report(report, outages):
                    self.reports.append(report)
                    self.round_counts.add(report, outages)
                    if report.outcome in BY_ITSELF:
                        self._merged_page = None
                case Want() | Release() | MergeResult():
                    self._session_state.hear(message)
                    self._measure(message)
                case _:
                    raise GarbledError(f"a trainer hears no {type(message).__name__}")
            self._reschedule()

    def seconds_to_look(self) -> float:
        """Until a snapshot may be due by its time; for ever while none can be."""
        with self.changed:
            return self._schedule.seconds_left if 0 < self.due < NEVER else math.inf

    def look(self) -> None:
        """Let the trainer see in its next step what is due by now."""
        with self.changed:
            self._reschedule()

    def ended(self) -> None:
        """The node is gone, and with it what it offered."""
        with self.changed:
            self._session_state.begin("")
            self._taken = None
            self._send = _to_nobody
            self._reschedule()

    # Both, under the lock.

    def _follow(self) -> None:
        """Find the shared tensors where they are now. Raises ConfigError if the model has become another one."""
        self._shared = self._structure.follow()
        self._copier.follow(self._shared.places)

    def _adopt_what_waits(self) -> None:
        to_the_end(self._adopt)

    def _finish(self) -> None:
        """What two interrupts in a row left undone; a node that has ended meanwhile has written to no page since."""
        if self._loan is not None and not self.lent:
            to_the_end(self._take_back)
        if self._adopting is not None:
            self._adopt_what_waits()
        if self._taken is not None:
            to_the_end(self._deliver)

    def _adopt(self) -> None:
        """All steps of it may be taken twice, one after the other or one call within another."""
        adopting = self._adopting  # looked at first: a handler's call finishes what has begun, and begins nothing
        if adopting is None and (offer := self._session_state.offer) is not None:
            adopting = offer, self._copier.adoption(offer.page, offer.slot, self.model_progress.steps, whole=offer.whole)
            self._adopting = adopting
        if adopting is not None:
            begun, adoption = adopting
            adoption.finish(self._shared.places, self.model_progress.steps)
            self.model_progress.adopted(begun)
            if begun.session == self._session_state.session:
                self._merged_page = None if begun.outcome in BY_ITSELF else begun.page
                self._send(self._session_state.adopt(begun))
            self._adopting = None

    def _take_back(self) -> None:
        """The model is again what it is trained to."""
        with self._lock:
            if (loan := self._loan) is not None:
                loan.end()
                self._copier.has_not_moved(loan.snapshots, self.model_progress.steps)
                self._loan = None
                self._reschedule()

    def _hand_over_and_wait(self, patience: Callable[[], float]) -> float:
        """How many seconds it waited."""
        slot = self._session_state.free_slot()
        if slot is None or not self._session_state.wanted:
            return 0.0
        self._hand_over(slot)
        began, seconds = time.monotonic(), patience()
        if seconds <= 0:
            return 0.0
        self.changed.wait_for(lambda: self._session_state.offer is not None or not self._session_state.lent(slot), seconds)
        waited = time.monotonic() - began
        self._adopt_what_waits()
        return waited

    def _hand_over(self, slot: int) -> None:
        self.model_progress.round_ended(self._paused)
        self._wait_budget.earn(self.model_progress.round_seconds)
        self._paused = 0.0
        taken = Taken(slot, self.model_progress.progress(self.adoption), self._handed_over + 1)
        self._copier.snapshot(slot, self.model_progress.steps)
        self._taken = taken
        to_the_end(self._deliver)

    def _deliver(self) -> None:
        """It may be sent twice: the node goes by its number. All else comes before: the node may have answered when it is sent again."""
        if (taken := self._taken) is not None:
            if self._handed_over != taken.number:
                self._session_state.lend(taken.slot)
                self._lent_at[taken.slot] = time.monotonic()
                self._schedule.taken(self.model_progress.steps, joined=bool(self.model_progress.lineage))
                self._handed_over = taken.number
            self._send(taken)
            self._taken = None

    def _measure(self, message: Want | Release | MergeResult) -> None:
        if isinstance(message, MergeResult) and message is self._session_state.offer:
            self._wait_budget.latency = time.monotonic() - self._lent_at[message.slot]

    def _reschedule(self) -> None:
        self.due = self._next_due()  # written once: the trainer reads it without the lock
        if self.left:  # looked at last, since it is set without the lock
            self.due = 0
        self.changed.notify_all()

    def _next_due(self) -> int:
        if self.lent or self._session_state.offer is not None or self._adopting is not None or self._taken is not None:
            return 0
        if self._session_state.wanted and self._session_state.free_slot() is not None:
            return self._schedule.step
        return NEVER

    def _make_lock(self) -> None:
        self._lock = threading.RLock()  # entered as such by the thread that trains: a Condition may be interrupted while it enters
        self.changed = threading.Condition(self._lock)

    def _hello(self) -> Hello:
        model_progress = self.model_progress
        progress = model_progress.progress(self.adoption, told=False)
        model = (self._shared.specs, self._shared.frozen)
        return Hello(
            model_progress.run, self._session_state.session, progress, *model, model_progress.resumed, model_progress.resumed_adoption
        )


def _to_nobody(message: ToNode) -> None:
    """Between two nodes."""
