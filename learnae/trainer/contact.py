"""Where the thread that trains and the thread that listens to the node meet, under one lock."""

from __future__ import annotations

import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from learnae.link.contract import Hello, Offer
from learnae.link.lines import Garbled
from learnae.link.messages import Message, Release, Report, Start, Taken, ToNode, Want
from learnae.records import RoundReport
from learnae.trainer.area import Area
from learnae.trainer.bench import Bench
from learnae.trainer.copying import Copier
from learnae.trainer.exchange import Exchange
from learnae.trainer.journey import Journey
from learnae.trainer.lookout import Lookout
from learnae.trainer.patience import Patience
from learnae.trainer.shared import Shared
from learnae.trainer.status import Tally
from learnae.trainer.structure import Structure
from learnae.trainer.terms import Terms
from learnae.trainer.watch import Watch

NEVER = sys.maxsize
REPORTS = 1000


class Contact:
    """Hands snapshots over and adopts offers. `due` says at which step: any thread sets it, the trainer reads it without the lock."""

    def __init__(self, shared: Shared, terms: Terms) -> None:
        self.area = Area(shared.specs, pinned=any(place.tensor().is_cuda for place in shared.places))
        self.lookout = Lookout(Watch(self.area.calls, terms.hang_seconds), Bench(terms.bench_rounds), terms.logger)
        self.journey, self.tally = Journey(), Tally()
        self.reports: deque[RoundReport] = deque(maxlen=REPORTS)
        self.changed = threading.Condition()
        self.due = NEVER
        self._shared, self._terms = shared, terms
        self._structure = Structure(shared, terms.logger)
        self._copier = Copier(shared.places, self.area.slots, self.area.pages)
        self._exchange = Exchange()
        self._send: Callable[[ToNode], None] = _to_nobody
        self._snapshot_at = 0
        self._paused = 0.0  # seconds, in this round
        self._lent_at = [0.0] * len(self.area.slots)
        self._patience = Patience(terms.patience)

    @property
    def adoption(self) -> int:
        """How many offers this run has adopted."""
        return self._exchange.adoption

    # The thread that trains.

    def attend(self) -> None:
        """Adopt what waits; hand over a snapshot if one is due, and be patient."""
        with self.changed:
            began = time.monotonic()
            self._follow()
            self._adopt_what_waits()
            if self._exchange.wanted and self.journey.steps >= self._snapshot_at:
                self._patience.spend(self._hand_over_and_wait(lambda: self._patience.seconds))
            self._paused += time.monotonic() - began
            self._reschedule()

    def flush(self, seconds: float) -> None:
        """Adopt, hand over a snapshot as soon as the node wants one, adopt what comes of it: within so many seconds."""
        deadline = time.monotonic() + seconds
        with self.changed:
            self._follow()
            self._adopt_what_waits()
            while not self._exchange.wanted and self.changed.wait(deadline - time.monotonic()):
                self._adopt_what_waits()
            self._hand_over_and_wait(lambda: deadline - time.monotonic())
            self._reschedule()

    def state_dict(self) -> dict[str, Any]:
        with self.changed:
            residues = {name: residue.clone() for name, residue in self._copier.residues.items()}
            return {**self.journey.state_dict(self.adoption), "residues": residues}

    def load_state_dict(self, state: Mapping[str, Any]) -> bool:
        """Whether this was news."""
        with self.changed:
            if self.journey.is_at(state):
                return False
            self._exchange.new_run()
            self.journey.load_state_dict(state)
            self._copier.load_residues(state["residues"])
            self._reschedule()
        return True

    # The thread that listens.

    def begin(self, send: Callable[[ToNode], None]) -> Start:
        """Greet a new node. The first snapshot is due at once: it is where the session starts from."""
        with self.changed:
            self._exchange.begin(uuid.uuid4().hex)
            self._send, self._snapshot_at = send, self.journey.steps
            self._reschedule()
            self.lookout.begin()
            return self._terms.start(self._hello(), self.area.fd, self.lookout.benched, self.lookout.pause)

    def hear(self, message: Message) -> None:
        """Take in a line of the node. Raises Garbled."""
        with self.changed:
            match message:
                case Report(report, facts):
                    self.reports.append(report)
                    self.tally.add(report, facts)
                case Want() | Release() | Offer():
                    self._exchange.hear(message)
                    self._measure(message)
                case _:
                    raise Garbled(f"a trainer hears no {type(message).__name__}")
            self._reschedule()

    def ended(self) -> None:
        """The node is gone, and with it what it offered."""
        with self.changed:
            self._exchange.begin("")
            self._send = _to_nobody
            self._reschedule()

    # Both, under the lock.

    def _follow(self) -> None:
        """Find the shared tensors where they are now. Raises ConfigError if the model has become another one."""
        self._shared = self._structure.follow()
        self._copier.follow(self._shared.places)

    def _adopt_what_waits(self) -> None:
        offer = self._exchange.offer
        if offer is not None:
            self._copier.adopt(offer.page, offer.slot, self.journey.steps)
            self.journey.adopted(offer)
            self._send(self._exchange.adopt())

    def _hand_over_and_wait(self, patience: Callable[[], float]) -> float:
        """How many seconds it waited."""
        slot = self._exchange.free_slot()
        if slot is None or not self._exchange.wanted:
            return 0.0
        self._hand_over(slot)
        began, seconds = time.monotonic(), patience()
        if seconds <= 0:
            return 0.0
        self.changed.wait_for(lambda: self._exchange.offer is not None or not self._exchange.lent(slot), seconds)
        waited = time.monotonic() - began
        self._adopt_what_waits()
        return waited

    def _hand_over(self, slot: int) -> None:
        self.journey.round_ended(self._paused)
        self._patience.earn(self.journey.round_seconds)
        self._paused = 0.0
        taken = Taken(slot, self.journey.progress(self.adoption))
        self._copier.snapshot(slot, self.journey.steps)
        self._exchange.lend(slot)
        self._lent_at[slot] = time.monotonic()
        self._snapshot_at = self.journey.steps + self._terms.local_steps
        self._send(taken)

    def _measure(self, message: Want | Release | Offer) -> None:
        if isinstance(message, Offer) and message is self._exchange.offer:
            self._patience.latency = time.monotonic() - self._lent_at[message.slot]

    def _reschedule(self) -> None:
        if self._exchange.offer is not None:
            self.due = 0
        elif self._exchange.wanted and self._exchange.free_slot() is not None:
            self.due = self._snapshot_at
        else:
            self.due = NEVER
        self.changed.notify_all()

    def _hello(self) -> Hello:
        journey = self.journey
        progress = journey.progress(self.adoption, told=False)
        model = (self._shared.specs, self._shared.frozen)
        return Hello(journey.run, self._exchange.session, progress, *model, journey.resumed, journey.resumed_adoption)


def _to_nobody(message: ToNode) -> None:
    """Between two nodes."""
