"""SIGKILL at any moment: what was put is there, what was not is gone, and the next run works."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from learnae.testing.context import make_context
from learnae.testing.published import fetched, payloads, published, same
from plugins.libp2p.tests.support import put_for_ever
from plugins.libp2p.tests.support.local_storage import LocalStorage

ROOT = Path(__file__).parents[4]
KILLS = 4


@pytest.mark.slow
def test_a_peer_that_is_killed_again_and_again_keeps_what_it_has_put_and_nothing_else(tmp_path: Path) -> None:
    rng = random.Random(5)
    for _ in range(KILLS):
        put, dropped = killed_after(tmp_path, lines=rng.randrange(1, 12), more=rng.random() * 0.05)
        trio.run(look, tmp_path, put, dropped)


def killed_after(home: Path, lines: int, more: float) -> tuple[list[int], set[str]]:
    """The numbers that it said were put, and the roots that it said were dropped, before it was killed at a random moment."""
    command = [sys.executable, put_for_ever.__file__, str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment()) as process:
        assert process.stdout is not None
        said = [process.stdout.readline().split() for _ in range(lines)]
        try:
            process.wait(timeout=more)  # a random moment of the next put; nothing is waited for
        except subprocess.TimeoutExpired:
            process.kill()
        said += [line.split() for line in process.stdout]
    return [int(words[0]) for words in said if words[0] != "dropped"], {words[1] for words in said if words[0] == "dropped"}


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins" / "libp2p")])}


async def look(home: Path, put: list[int], dropped: set[str]) -> None:
    async with LocalStorage(None, make_context(home)) as storage:
        roots = set(await storage.roots())
        names = {path.name for path in (home / "blocks" / "roots").iterdir()}
        assert names == {f"root.{root}" for root in roots}, "a draft is left, or a root that is not whole"
        assert not any(path.name.startswith("new.") for path in (home / "blocks" / "cache").iterdir())
        for number in put:
            update = published(f"update {number}", *payloads(3, seed=number, length=200_000))
            if update.root in roots:
                assert same(await fetched(storage, update.cids), update)
            else:
                assert update.root in dropped or number % 3 == 2, "what was put is gone"
        assert not roots & dropped
        for root in roots:
            await storage.drop(root)  # so that the next run begins anew
