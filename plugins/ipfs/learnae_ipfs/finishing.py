"""Calls that are not cut off at once: what a daemon does after we have left it could not be undone in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio


async def finished(call: Callable[[], Awaitable[None]], seconds: float) -> None:
    """When this is cancelled, the call still has so long to finish, and is then cut off. Raises what it raises, and in no group."""
    failed: list[Exception] = []
    calm = trio.CancelScope(shield=True)

    async def hurry() -> None:
        try:
            await trio.sleep_forever()
        finally:
            calm.deadline = trio.current_time() + seconds

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hurry)
        with calm:
            try:
                await call()
            except Exception as error:  # raised again outside of the nursery, which would wrap it
                failed.append(error)
        nursery.cancel_scope.cancel()
    await trio.lowlevel.checkpoint_if_cancelled()
    if failed:
        raise failed[0]
