"""A program that puts roots until it is killed: each one that it has put it prints. Arguments: the home."""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from learnae.testing.context import make_context
from learnae.testing.published import payloads, published
from plugins.libp2p.tests.support.local_storage import LocalStorage


async def main(home: Path) -> None:
    async with LocalStorage(None, make_context(home)) as storage:
        for number in range(100_000):
            update = published(f"update {number}", *payloads(3, seed=number, length=200_000))
            await storage.put(update.root, update.blocks)
            for block in update.blocks[:1]:
                await trio.to_thread.run_sync(storage.store.keep, block)
            sys.stdout.write(f"{number} {update.root}\n")
            sys.stdout.flush()
            if number % 3 == 2:
                await storage.drop(update.root)
                sys.stdout.write(f"dropped {update.root}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
