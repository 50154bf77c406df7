"""Each call into a strategy: shown on the page that the trainer's side watches, refused while it is benched, blamed for what it raises."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from types import TracebackType
from typing import Self

import trio

from learnae.errors import LearnaeError
from learnae.link.callpage import NOBODY, PAGE_BYTES, Call, CallPage
from learnae.link.messages import Benched
from learnae.node.bench import Bench
from learnae.plugins.calls import blame


class Calls:
    """All calls of one node. Without a page, as under virtual time, nobody watches."""

    def __init__(self, page: CallPage | None = None, benched: Iterable[Benched] = ()) -> None:
        self.page, self.bench = page or CallPage(bytearray(PAGE_BYTES)), Bench.of(benched)
        # The call that a task or a thread works for; tasks and threads that it starts inherit it.
        self.innermost: ContextVar[int] = ContextVar("learnae_call", default=NOBODY)

    def calling(
        self, label: str, plugin: str, action: str, within: float, ours: tuple[type[LearnaeError], ...] = (LearnaeError,)
    ) -> Calling:
        return Calling(self, label, plugin, action, within, ours)

    def round_began(self) -> None:
        self.page.begin_round()
        self.bench.round_began()

    async def beat(self, seconds: float) -> None:
        """Show that the loop runs, every so many seconds, until cancelled."""
        while True:
            self.page.beat()
            await trio.sleep(seconds)

    def steps(self) -> trio.abc.Instrument:
        """To be added to the run: shows in whose name the loop is running, so that a call that blocks it is known from those that wait."""
        return _Steps(self)


class Calling:
    """Around one call; see `Named.calling`."""

    __slots__ = ("_action", "_calls", "_label", "_number", "_ours", "_outer", "_plugin", "_row", "_within")

    def __init__(self, calls: Calls, label: str, plugin: str, action: str, within: float, ours: tuple[type[LearnaeError], ...]) -> None:
        self._calls, self._label, self._plugin, self._action, self._within = calls, label, plugin, action, within
        self._ours = ours
        self._row = self._number = self._outer = NOBODY

    def __enter__(self) -> Self:
        calls = self._calls
        calls.bench.check(self._label, self._plugin, self._action)
        self._outer = calls.innermost.get()
        self._row, self._number = calls.page.enter(self._label, self._plugin, self._action, self._within, self._outer)
        calls.innermost.set(self._number)
        return self

    def may_take(self, seconds: float) -> None:
        """From now on, it must be back within so many seconds."""
        if self._row:
            self._calls.page.show(self._row, Call(self._number, seconds, self._outer, self._label, self._plugin, self._action))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # Set, not reset by its token: a generator may be closed in another context than the one that it was entered in.
        self._calls.innermost.set(self._outer)
        self._calls.page.leave(self._row)
        if (blamed := blame(self._plugin, self._action, error, self._ours)) is not None:
            raise blamed from blamed.__cause__


class _Steps(trio.abc.Instrument):
    def __init__(self, calls: Calls) -> None:
        self._page, self._innermost = calls.page, calls.innermost

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._page.step(task.context.get(self._innermost, NOBODY))

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._page.step(NOBODY)
