"""When a peer counts as silent: not while this process is late itself, nor while other things come from it before what was asked for."""

from __future__ import annotations

from collections.abc import Callable

import trio

from learnae_libp2p.streams.transport import Transport

LOOK_SECONDS, LATE_SECONDS = 1.0, 0.5  # who sleeps so much longer than he wanted is late himself
MOST_TIMES = 3  # as long as without all that: who sends other things in place of an answer is waited for no longer


def arrived_from(transport: Transport, peer: str) -> int:
    """Bytes that have come over the connection to this peer, whatever they were."""
    connection = transport.connection(peer)
    return connection.bytes_in if connection is not None else 0


def own_lateness(since: float, now: float) -> float:
    """Seconds that a look came too late, when there is one at least each `LOOK_SECONDS`; 0.0 where it came in time."""
    late = now - since - LOOK_SECONDS
    return late if late > LATE_SECONDS else 0.0


async def silence(arrived: Callable[[], int], seconds: float) -> None:
    """Return when nothing has come for so many seconds in which this process ran in time; after three times as many in any case."""
    before, quiet, waited = arrived(), 0.0, 0.0
    while quiet < seconds and waited < MOST_TIMES * seconds:
        begin = trio.current_time()
        await trio.sleep(min(LOOK_SECONDS, seconds - quiet))
        took, came = trio.current_time() - begin, arrived()
        quiet = 0.0 if came != before or own_lateness(begin, begin + took) else quiet + took
        waited += min(took, LOOK_SECONDS)
        before = came
