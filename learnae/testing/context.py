"""Makes contexts for strategies under test."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import structlog
import trio

from learnae.identity.keys import Identity
from learnae.node.runtime import Runtime, SharedResources, inline
from learnae.records import FirstLook, PeerId, Standing
from learnae.strategies import Context
from learnae.waiting import RunInThread

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

R = TypeVar("R")
__all__ = ["SharedResources", "identity_named", "make_context", "make_runtime", "peer_named", "run_in_thread"]

T = TypeVar("T")


def peer_named(name: str) -> PeerId:
    """A peer's public key (64 hexadecimal digits) for tests that call peers by a name."""
    return identity_named(name).peer


def identity_named(name: str) -> Identity:
    """The key of a peer of this name, always the same one, for tests of what signs."""
    return Identity.generate(hashlib.sha256(name.encode()).digest())


def all_are_members(message: bytes) -> FirstLook:
    """A first look at messages of tests, which are of any form."""
    return FirstLook(Standing.MEMBER)


def make_context(
    home: Path,
    *,
    peer: str = "a",
    swarm: str = "test",
    meeting: Path | None = None,
    shared: Callable[[type[Any]], Any] | None = None,
    clock: Callable[[], float] = trio.current_time,
    seed: int = 0,
    secret: Callable[[str], bytes | None] = lambda purpose: None,
    in_thread: RunInThread | None = None,
    channel: str = "c",
    first_look: Callable[[bytes], FirstLook] = all_are_members,
) -> Context:
    """Make the context that the core would hand to a strategy of this peer.

    Give peers that must meet the same `shared` and the same `meeting`. Without `meeting`, it is `home`.
    """
    return Context(
        home=home,
        meeting=meeting or home,
        swarm=swarm,
        peer=peer_named(peer),
        secret=secret,
        share=shared or SharedResources(),
        clock=clock,
        rng=np.random.default_rng(seed),
        log=structlog.get_logger().bind(own=peer),
        in_thread=in_thread or run_in_thread,
        channel=channel,
        sign=identity_named(peer).sign_for_plugin,
        first_look=first_look,
    )


def make_runtime(
    folder: Path = Path("nowhere"),
    *,
    clock: Callable[[], float] = lambda: 0.0,
    in_thread: RunInThread = inline,
    log: FilteringBoundLogger | None = None,
    seed: int = 0,
) -> Runtime:
    """Make the runtime that the classes of a node take. By default the clock stands still, and threads run inline."""
    return Runtime(
        home=folder,
        meeting=folder,
        clock=clock,
        seed=seed,
        in_thread=in_thread,
        in_watcher_thread=in_thread,
        share=SharedResources(),
        log=log or structlog.get_logger(),
    )


async def run_in_thread(function: Callable[..., T], /, *args: Any) -> T:
    """Run a function in a worker thread. It runs to its end even if it is cancelled."""
    return await trio.to_thread.run_sync(function, *args)
