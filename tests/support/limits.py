"""How long a part of a test may take."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

LIMIT_SECONDS = 60.0  # nothing takes so long: what hangs fails


def within(seconds: float, scenario: Callable[..., Awaitable[None]], *args: Any) -> Callable[[], Awaitable[None]]:
    """The scenario, for `trio.run`: it raises trio.TooSlowError where it takes longer."""

    async def bounded() -> None:
        with trio.fail_after(seconds):
            await scenario(*args)

    return bounded


def run(test: Callable[[], Awaitable[None]], limit_seconds: float = LIMIT_SECONDS) -> None:
    """Run it in real time. Raises trio.TooSlowError where it takes longer."""
    trio.run(within(limit_seconds, test))
