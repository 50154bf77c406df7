"""The swarms that this process is in.

The only state of the library that is the process's own, since what it is for is too: a fork copies all of them, a model or a home is in
use by all of them, and hooks at fork cannot be taken back, so that there is one and not one for each join.
"""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Sequence
from pathlib import Path

from learnae.errors import ConfigError, Problem
from learnae.trainer.local import listed
from learnae.trainer.membership import Membership
from learnae.trainer.shared import Shared

LEAVE = "call leave() on that swarm first, or use it in `with`"


class Residents:
    """Memberships, as long as somebody holds them."""

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

    def make_way(self, name: str, shared: Shared, home: Path | None) -> None:
        """For a model that joins: what an earlier run of a notebook's cell left behind in this process leaves.

        Those that are leaving are waited for. Raises ConfigError for a model that is in another swarm, and for a model or a home that is
        still used in this process.
        """
        self.settle()
        for member in self._others():
            if names := member.in_common(shared):
                self._end(member, name, _in_it_already(member, names), member.terms.name == name)
            elif home is not None and member.lives_in(home):
                what = f"this very process uses this home already, in the swarm {member.terms.name!r}"
                self._end(member, name, Problem(f"peer.home {home}", what, f"{LEAVE}, or name another home"), True)

    def settle(self) -> None:
        """Wait until those that are leaving have left, a few seconds each; what cut one of them short has an end here."""
        for member in self._others():
            if member.left:
                member.leave()

    def _end(self, member: Membership, name: str, problem: Problem, may_end: bool) -> None:
        if member.is_used or not may_end:
            raise ConfigError(problem)
        member.terms.logger.warning(
            "swarm.replaced", swarm=member.terms.name, home=member.terms.home, by=f"a later learnae.join() of {name!r}"
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
    what = (
        f"{listed(names)} {'is' if len(names) == 1 else 'are'} in the swarm {member.terms.name!r} already, in this process: one at a time"
    )
    return Problem("model", what, f"{LEAVE}; of two models that have a part in common, one keeps it local: [model] keep_local")


RESIDENTS = Residents()
