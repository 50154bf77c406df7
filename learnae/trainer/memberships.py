"""The memberships of this process: which swarms it is in, and when they end.

The list of memberships is the only global state of the library. It has to be global: a fork copies all memberships, two of them must not
use one model or one home, and Python cannot remove a hook at fork, so one hook serves all.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path

import attrs

from learnae.errors import ConfigError, Problem
from learnae.trainer.interrupts import within
from learnae.trainer.session import Session
from learnae.trainer.shared import SharedModel, listed
from learnae.trainer.status import SwarmSettings
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
        return [place.name for place in shared.places if id(getattr(place.owner, place.attribute, None)) in own]

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
