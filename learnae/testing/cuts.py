"""Cancelling a call at each place where it waits: no matter how fast the machine is, the same places are found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import trio


@attrs.define(eq=False)
class Cut(trio.abc.Instrument):
    """Cancels `scope` in the wait of this task that has this number, from 0: while it waits, or once it has what it waited for."""

    at: int
    afterwards: bool
    task: trio.lowlevel.Task = attrs.field(factory=trio.lowlevel.current_task)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    waits: int = 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            if self.waits == self.at and not self.afterwards:
                self.scope.cancel()
            self.waits += 1

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task and self.waits == self.at + 1 and self.afterwards:
            self.scope.cancel()


@contextmanager
def cut_at(at: int, *, afterwards: bool) -> Iterator[Cut]:
    """What runs inside is cancelled there; not at all when it waits less often."""
    cut = Cut(at, afterwards)
    trio.lowlevel.add_instrument(cut)
    try:
        with cut.scope:
            yield cut
    finally:
        trio.lowlevel.remove_instrument(cut)
