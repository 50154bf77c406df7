"""What a node would otherwise take from the machine: passed in, so that the same node runs in the field and under virtual time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import numpy as np
import trio

from learnae.node.calls import Calls
from learnae.strategies import RunInThread

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

R = TypeVar("R")


class Shared:
    """One instance of each type for all strategies that ask for it (a medium, a connection, a daemon)."""

    def __init__(self, *instances: Any) -> None:
        self._instances: dict[type, Any] = {type(instance): instance for instance in instances}

    def __call__(self, kind: type[R]) -> R:
        if kind not in self._instances:
            self._instances[kind] = kind()
        return self._instances[kind]  # type: ignore[no-any-return]


@attrs.frozen(kw_only=True)
class Surroundings:
    """Clock, chance, threads, shared instances, folders, log and calls of one node.

    `in_thread` is the core's own: no call of a plugin runs there. `threads` gives others, with a limit of their own each time, so that a
    plugin whose threads all hang holds up nothing but itself; without it all share `in_thread`, as under virtual time.
    """

    home: Path
    meeting: Path
    clock: Callable[[], float]
    seed: int
    in_thread: RunInThread
    in_watcher_thread: RunInThread  # may be abandoned: for code whose result nobody needs
    share: Shared
    log: FilteringBoundLogger
    calls: Calls = attrs.field(factory=Calls)
    existing_only: bool = False  # as in a Context
    threads: Callable[[], RunInThread] = attrs.field()

    @threads.default
    def _shared_threads(self) -> Callable[[], RunInThread]:
        return lambda: self.in_thread

    def rng(self, *purpose: str) -> np.random.Generator:
        """A stream of its own for each purpose, the same in each run with the same seed."""
        words = [self.seed, *(int.from_bytes(part.encode(), "big") for part in purpose)]
        return np.random.default_rng(np.random.SeedSequence(words))


def in_worker_threads(limit: int = 8, *, abandon: bool = False) -> RunInThread:
    """Worker threads, at most `limit` at a time; whoever is cancelled waits for its thread, unless it may be abandoned."""
    limiter = trio.CapacityLimiter(limit)

    async def run(function: Callable[..., Any], /, *args: Any) -> Any:
        return await trio.to_thread.run_sync(_contained, function, args, limiter=limiter, abandon_on_cancel=abandon)

    return run


def _contained(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """No thread can end the program, nor be taken for whoever typed Ctrl-C: that reaches the main thread alone."""
    try:
        return function(*args)
    except (Exception, trio.Cancelled):
        raise
    except BaseException as error:
        raise RuntimeError(f"{type(error).__name__} in a worker thread") from error


async def inline(function: Callable[..., Any], /, *args: Any) -> Any:
    """Runs at once: under virtual time a real thread's work would look like seconds (trio's mock clock jumps meanwhile)."""
    await trio.lowlevel.checkpoint()
    return function(*args)
