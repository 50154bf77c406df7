"""What a peer that was killed has left in a daemon, and what its next start makes of it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import structlog
import trio

from learnae.node.retention import GarbageCollection
from learnae.node.runtime import Outages
from learnae.node.services import Services
from learnae.node.strategy_set import ConfiguredStrategy
from learnae.testing.context import run_in_thread
from learnae.testing.published import fetched, payloads, published, same
from learnae_ipfs.options import IpfsStorageOptions
from learnae_ipfs.storage import IpfsStorage

if TYPE_CHECKING:
    from learnae import Context

ANNOUNCED, ORPHAN = published("announced", *payloads(5)), published("orphan", *payloads(5, seed=1))
LIMIT = 60.0

PUTS_AND_IS_KILLED = """
import os, signal, sys, trio
from pathlib import Path
from learnae.testing.context import make_context
from learnae.testing.published import payloads, published
from learnae_ipfs.options import IpfsStorageOptions
from learnae_ipfs.storage import IpfsStorage

async def main():
    async with IpfsStorage(IpfsStorageOptions(address=sys.argv[1]), make_context(Path(sys.argv[2]))) as store:
        for update in (published("announced", *payloads(5)), published("orphan", *payloads(5, seed=1))):
            await store.put(update.root, update.blocks)
        os.kill(os.getpid(), signal.SIGKILL)

trio.run(main)
"""


def test_what_was_put_and_never_announced_is_gone_after_the_next_start(
    new_kubo: Any, learnae_contexts: Callable[[str], Context], tmp_path: Path
) -> None:
    kubo = new_kubo()
    killed = subprocess.run([sys.executable, "-c", PUTS_AND_IS_KILLED, kubo.address, str(tmp_path)], check=False, timeout=LIMIT)
    assert killed.returncode == -signal.SIGKILL
    storage = IpfsStorage(IpfsStorageOptions(address=kubo.address, search_seconds=1.0), learnae_contexts("a"))
    history: Any = SimpleNamespace(published=lambda: [SimpleNamespace(root=ANNOUNCED.root)])

    async def start() -> None:
        services, named = Services(Outages(structlog.get_logger())), ConfiguredStrategy("ipfs", "learnae-ipfs", storage)
        publisher: Any = SimpleNamespace(putting=())
        with trio.fail_after(LIMIT):
            async with trio.open_nursery() as nursery:
                await services.open([named], nursery)
                assert {*await storage.roots()} == {ANNOUNCED.root, ORPHAN.root}
                nursery.start_soon(GarbageCollection(services, publisher, history, run_in_thread).run, named)
                while {*await storage.roots()} != {ANNOUNCED.root}:
                    await trio.lowlevel.checkpoint()
                assert same(await fetched(storage, ANNOUNCED.cids), ANNOUNCED)
                nursery.cancel_scope.cancel()

    trio.run(start)
    kubo.ipfs("repo", "gc", "-q")
    left = {file.read_bytes() for file in (kubo.repo / "blocks").rglob("*.data")}
    assert left >= {block.data for block in ANNOUNCED.blocks}
    assert left.isdisjoint(block.data for block in ORPHAN.blocks)
