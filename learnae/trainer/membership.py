"""A process's part in a swarm, without the handle that its user holds: ends when told to, when nobody holds the handle, or at exit."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import attrs

from learnae.trainer.contact import Contact
from learnae.trainer.shared import Shared
from learnae.trainer.supervisor import Supervisor
from learnae.trainer.terms import Terms
from learnae.trainer.within import within


@attrs.define(eq=False)
class Membership:
    """What ends together."""

    contact: Contact
    node: Supervisor
    terms: Terms
    thread: int | None = None  # the one that trains, once it has
    inside: bool = False  # a `with` block, which ends it
    ended: bool = False  # all of it: the node is gone, and the home is free
    why_left: str = ""
    _leaving: threading.RLock = attrs.field(factory=threading.RLock, init=False)  # a signal's handler may leave too

    @property
    def left(self) -> bool:
        """From then on it is on its way out."""
        return self.contact.left

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
        """Let the node say goodbye, and end it: within a few seconds, also when interrupted. Idempotent.

        What several interrupts in a row leave undone it does when it is called again. A signal's handler that comes in the
        middle of another call does not wait for the end: that call has to go on first.
        """
        if self.ended:
            return
        if not self.left:
            self.why_left = why
        self.contact.leave()
        if self.contact.inside:
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
        """In a thread of its own, without waiting for it: whoever calls may hold any lock. `leave` waits."""
        if self.ended:
            return
        try:
            threading.Thread(target=self.leave, name="learnae-leaving", daemon=True).start()
        except RuntimeError:  # the interpreter is about to end
            if not self.contact.inside:
                self.leave()

    def forgotten(self) -> None:
        """Nobody holds the handle. The collector calls it anywhere, under any lock."""
        if not self.ended:
            self.contact.leave()
            self.leave_elsewhere()

    def forked(self) -> None:
        """In a forked child, such as a worker of a DataLoader: it has never been in the swarm."""
        if not self.ended:
            self.ended = True
            self.contact.leave()
            self.contact.forked()
            self.node.abandon()
            self.terms.on_leave()

    def _end(self) -> None:
        """One stage after the other; those that are done already do nothing."""
        if not self.ended:
            self._finish_adoption()
            self.node.stop()
            self.contact.area.close()
            self.terms.on_leave()
            self.ended = True

    def _finish_adoption(self) -> None:
        """Whatever is wrong with the model keeps nobody from leaving."""
        try:
            self.contact.finish()
        except Exception as error:
            self.terms.logger.warning("adoption.unfinished", cause=str(error), left="the model has a merged one in part")
