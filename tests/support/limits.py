"""How long a part of a test may take."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio


def within(seconds: float, scenario: Callable[..., Awaitable[None]], *args: Any) -> Callable[[], Awaitable[None]]:
    """The scenario, for `trio.run`: it raises trio.TooSlowError where it takes longer."""

    async def bounded() -> None:
        with trio.fail_after(seconds):
            await scenario(*args)

    return bounded
