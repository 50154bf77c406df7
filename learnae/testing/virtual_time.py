"""Repeatable runs under virtual time.

Trio shuffles runnable tasks on purpose and offers no public way to seed that: its private names stay in this file.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio
import trio.testing
from trio._core import _run as trio_internals

T = TypeVar("T")


def run_in_virtual_time(main: Callable[..., Awaitable[T]], *args: Any, seed: int = 0, limit_seconds: float = 1e6) -> T:
    """Run `main` with a clock that jumps to the next deadline whenever nothing can be done; the same seed, the same order of events."""

    async def bounded() -> T:
        with trio.fail_after(limit_seconds):
            return await main(*args)

    deterministic, chance = trio_internals._ALLOW_DETERMINISTIC_SCHEDULING, trio_internals._r
    trio_internals._ALLOW_DETERMINISTIC_SCHEDULING, trio_internals._r = True, random.Random(seed)  # type: ignore[misc]
    try:
        return trio.run(bounded, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        trio_internals._ALLOW_DETERMINISTIC_SCHEDULING, trio_internals._r = deterministic, chance  # type: ignore[misc]
