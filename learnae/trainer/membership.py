"""A process's part in a swarm, without the handle that its user holds: ends when told to, when nobody holds the handle, or at exit."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import attrs

from learnae.errors import LearnaeError
from learnae.trainer.contact import Contact
from learnae.trainer.shared import Shared
from learnae.trainer.supervisor import Supervisor
from learnae.trainer.terms import Terms

FORGOTTEN_SECONDS = 10.0


@attrs.define(eq=False)
class Membership:
    """What ends together."""

    contact: Contact
    node: Supervisor
    terms: Terms
    thread: int | None = None  # the one that trains, once it has
    inside: bool = False  # a `with` block, which ends it
    left: bool = False
    why_left: str = ""
    ended: bool = False  # all of it: leaving may be interrupted, and is finished by whoever asks next
    _leaving: threading.RLock = attrs.field(factory=threading.RLock, init=False)  # a signal's handler may leave too

    @property
    def is_used(self) -> bool:
        """Whether somebody else must end it: a `with` block, or another thread. What the calling thread trains it can train no more."""
        others = {thread.ident for thread in threading.enumerate()} - {threading.get_ident(), None}
        return not self.left and (self.inside or self.thread in others)

    def in_common(self, shared: Shared) -> list[str]:
        """The names of those tensors that are in this swarm too."""
        own = {id(getattr(place.owner, place.attribute, None)) for place in self.contact.places}
        return [place.name for place in shared.places if id(place.tensor()) in own]

    def lives_in(self, home: Path) -> bool:
        with contextlib.suppress(OSError):
            return bool(self.terms.home) and os.path.samefile(self.terms.home, home)
        return False

    def leave(self, why: str = "") -> None:
        """Let the node say goodbye, and end it: within a few seconds, also when interrupted. Idempotent."""
        if self.ended:
            return
        if not self.left:
            self.left, self.why_left = True, why
        with self._leaving:
            try:
                self._end()
            except BaseException:
                self._end()
                raise

    def _end(self) -> None:
        """All steps of it may be taken twice."""
        with contextlib.suppress(LearnaeError):
            self.contact.finish()
        self.node.stop()
        self.contact.due = 0
        self.contact.area.close()
        self.terms.on_leave()
        self.ended = True

    def forgotten(self) -> None:
        """Nobody holds the handle. The collector calls it anywhere, under any lock, and so it leaves in a thread of its own."""
        if self.ended:
            return
        leaving = threading.Thread(target=self.leave, name="learnae-leaving", daemon=True)
        try:
            leaving.start()
        except RuntimeError:  # the interpreter is about to end
            self.leave()
        else:
            if not threading.current_thread().name.startswith("learnae-"):  # which may be the one that is waited for
                leaving.join(FORGOTTEN_SECONDS)

    def forked(self) -> None:
        """In a forked child, such as a worker of a DataLoader: it has never been in the swarm."""
        if not self.ended:
            self.left = self.ended = True
            self.contact.due = 0
            self.node.abandon()
            self.terms.on_leave()
