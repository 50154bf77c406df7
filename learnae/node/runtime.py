"""What a node needs to run: clock, threads, memory, calls into strategies. All of it is passed in, so a node also runs in virtual time."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import attrs
import numpy as np
import trio

from learnae.errors import LearnaeError, PluginError
from learnae.link.memory import NO_CALL, PAGE_BYTES, Call, CallPage, shown
from learnae.link.messages import Quarantined
from learnae.plugins.calls import blame
from learnae.waiting import RunInThread

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger


class QuarantinedError(PluginError):
    """A strategy that hung earlier is not called yet. Neither a message of a peer nor the plugin has caused this error now."""


@attrs.define
class Quarantine:
    """The strategies that hung, and for how many rounds each is not called yet. It counts the rounds of this node."""

    _quarantined: dict[str, Quarantined]
    _rounds: int = 0

    @classmethod
    def of(cls, quarantined: Iterable[Quarantined]) -> Quarantine:
        return cls({one.label: one for one in quarantined})

    def round_began(self) -> None:
        self._rounds += 1
        for label in [label for label, one in self._quarantined.items() if one.rounds < self._rounds]:
            del self._quarantined[label]

    def check(self, label: str, plugin: str, action: str) -> None:
        """Raises QuarantinedError."""
        if self._quarantined and (one := self._quarantined.get(shown(label))):
            left = one.rounds - self._rounds
            raise QuarantinedError(plugin, action, f"{one.why}; not called in this round{f' and {left} more' if left else ''}")


class PluginCalls:
    """All calls into strategies of one node. Without a page, as under virtual time, no watchdog looks at them."""

    def __init__(self, page: CallPage | None = None, quarantined: Iterable[Quarantined] = (), *, interruptible: bool = True) -> None:
        self.interruptible = interruptible
        self.page, self.quarantine = page or CallPage(bytearray(PAGE_BYTES)), Quarantine.of(quarantined)
        # The call that a task or a thread works for; tasks and threads that it starts inherit it.
        self.innermost: ContextVar[int] = ContextVar("learnae_call", default=NO_CALL)

    def calling(
        self, label: str, plugin: str, action: str, within: float, ours: tuple[type[LearnaeError], ...] = (LearnaeError,)
    ) -> PluginCall:
        return PluginCall(self, label, plugin, action, within, ours)

    def round_began(self) -> None:
        self.page.begin_round()
        self.quarantine.round_began()

    async def beat(self, seconds: float) -> None:
        """Show that the loop runs, every so many seconds, until cancelled."""
        while True:
            self.page.beat()
            await trio.sleep(seconds)

    def steps(self) -> trio.abc.Instrument:
        """To be added to the run: shows in whose name the loop is running, so that a call that blocks it is known from those that wait."""
        return _Steps(self)


class PluginCall:
    """The context of one call into a strategy; see `ConfiguredStrategy.calling`."""

    __slots__ = ("_action", "_calls", "_label", "_number", "_ours", "_outer", "_plugin", "_row", "_within")

    def __init__(
        self, calls: PluginCalls, label: str, plugin: str, action: str, within: float, ours: tuple[type[LearnaeError], ...]
    ) -> None:
        self._calls, self._label, self._plugin, self._action, self._within = calls, label, plugin, action, within
        self._ours = ours
        self._row = self._number = self._outer = NO_CALL

    def __enter__(self) -> Self:
        calls = self._calls
        calls.quarantine.check(self._label, self._plugin, self._action)
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
        if (blamed := blame(self._plugin, self._action, error, self._ours, interruptible=self._calls.interruptible)) is not None:
            raise blamed from blamed.__cause__


class _Steps(trio.abc.Instrument):
    def __init__(self, calls: PluginCalls) -> None:
        self._page, self._innermost = calls.page, calls.innermost

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._page.step(task.context.get(self._innermost, NO_CALL))

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._page.step(NO_CALL)


R = TypeVar("R")


class SharedResources:
    """One instance of each type for all strategies that ask for it (a medium, a connection, a daemon)."""

    def __init__(self, *instances: Any) -> None:
        self._instances: dict[type, Any] = {type(instance): instance for instance in instances}

    def __call__(self, kind: type[R]) -> R:
        if kind not in self._instances:
            self._instances[kind] = kind()
        return self._instances[kind]  # type: ignore[no-any-return]


@attrs.define
class Outages:
    """The things that do not work now. Each is logged once when it begins, and once when it is over."""

    log: FilteringBoundLogger
    _broken: dict[str, str] = attrs.field(factory=dict)

    def failed(self, what: str, cause: str) -> None:
        if what not in self._broken:
            self.log.warning("outage", what=what, cause=cause)
        self._broken[what] = cause

    def plugin_failed(self, what: str, error: PluginError) -> None:
        """The same for a strategy that raised or returned nonsense; where it did so is told at the level "debug"."""
        if what not in self._broken:
            self.log.error("plugin.failed", plugin=error.plugin, error=str(error))
            self.log.debug("plugin.traceback", plugin=error.plugin, exc_info=error)
        self._broken[what] = str(error)

    def works(self, what: str) -> None:
        if self._broken.pop(what, None) is not None:
            self.log.warning("outage.over", what=what)

    @property
    def broken(self) -> dict[str, str]:
        """What does not work now, with the cause."""
        return dict(self._broken)


@attrs.frozen(kw_only=True)
class Runtime:
    """What the classes of one node take: clock, random streams, threads, log, outages, shared instances, folders and calls.

    `in_thread` is for the core alone. No call of a plugin runs there. `threads()` makes another one with a limit of its own. So a plugin
    whose threads all hang delays only itself. Without `threads` all share `in_thread`, as under virtual time. The threads for encoding,
    decoding and merging, where codecs, gates and merges are called, are made in this way.
    """

    home: Path
    meeting: Path
    clock: Callable[[], float]
    seed: int
    in_thread: RunInThread
    in_watcher_thread: RunInThread  # may be abandoned: for code whose result nobody needs
    share: SharedResources
    log: FilteringBoundLogger
    calls: PluginCalls = attrs.field(factory=PluginCalls)
    existing_only: bool = False  # as in a Context
    outages: Outages = attrs.field()
    threads: Callable[[], RunInThread] = attrs.field()
    in_encoding_thread: RunInThread = attrs.field(init=False)
    in_decoding_thread: RunInThread = attrs.field(init=False)
    in_merging_thread: RunInThread = attrs.field(init=False)

    @outages.default
    def _no_outages(self) -> Outages:
        return Outages(self.log)

    @threads.default
    def _shared_threads(self) -> Callable[[], RunInThread]:
        return lambda: self.in_thread

    @in_encoding_thread.default
    @in_decoding_thread.default
    @in_merging_thread.default
    def _own_threads(self) -> RunInThread:
        return self.threads()

    def rng(self, *purpose: str) -> np.random.Generator:
        """A stream of its own for each purpose, the same in each run with the same seed."""
        words = [self.seed, *(int.from_bytes(part.encode(), "big") for part in purpose)]
        return np.random.default_rng(np.random.SeedSequence(words))


def in_worker_threads(limit: int = 8, *, abandon: bool = False) -> RunInThread:
    """Makes a function that runs code in worker threads, at most `limit` at a time. A cancelled call waits for its thread.

    It does not wait if the thread may be abandoned.
    """
    limiter = trio.CapacityLimiter(limit)

    async def run(function: Callable[..., Any], /, *args: Any) -> Any:
        return await trio.to_thread.run_sync(_contained, function, args, limiter=limiter, abandon_on_cancel=abandon)

    return run


def _contained(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Turns what ends a program into a plain error. No thread can end the program: Ctrl-C reaches the main thread only."""
    try:
        return function(*args)
    except (Exception, trio.Cancelled):
        raise
    except BaseException as error:
        raise RuntimeError(f"{type(error).__name__} in a worker thread") from error


async def inline(function: Callable[..., Any], /, *args: Any) -> Any:
    """Runs the function at once. Under virtual time a real thread would seem to take seconds, because trio's mock clock jumps meanwhile."""
    await trio.lowlevel.checkpoint()
    return function(*args)


TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8  # as in malloc.h
LARGEST = 2**31 - 1


def keep_memory() -> None:
    """Let the C library keep freed memory. Call it before the first thread starts. It does nothing if the C library is not glibc.

    Without it each large array takes fresh pages, and gives them back when it is freed. Touching fresh pages took more than half of the
    time of decoding 37 MB (8 to 13 ms instead of 5).
    """
    if sys.platform == "linux":
        with suppress(AttributeError):
            for option, value in ((ARENA_MAX, 1), (MMAP_MAX, 0), (TRIM_THRESHOLD, LARGEST)):
                ctypes.CDLL(None).mallopt(option, value)
