"""SIGKILL at any moment: the pool can be read, what was added is there, and the next run works."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import attrs
import numpy as np
import pytest

from learnae.data.pool import Pool
from learnae.data.pool_reader import PoolReader
from tests.support import fill_pool
from tests.support.fill_pool import QUOTA

ROOT = Path(__file__).parents[2]
KILLS = 4


@pytest.mark.slow
def test_a_node_that_is_killed_again_and_again_leaves_a_pool_that_can_be_read(tmp_path: Path) -> None:
    rng = random.Random(5)
    for seed in range(KILLS):
        before = {str(one.root): str(one.providers[0]) for one in Pool(tmp_path, QUOTA).entries()}
        expected = after(killed_after(tmp_path, seed, lines=rng.randrange(1, 60), more=rng.random() * 0.05), before)
        reader = PoolReader(tmp_path)
        reader.refresh()
        for one in reader.slices:  # before anybody has tidied up
            assert all(np.isfinite(column).all() for column in reader.columns(one.root).values())
        pool = Pool(tmp_path, QUOTA)
        assert pool.clean() == (), "the index named a file that is not there, or too many"
        found = {str(one.root) for one in pool.entries()}
        assert expected.allows(found), "neither as before the last change nor as after it"
        names = {path.name for path in (tmp_path / "data" / "pool").iterdir()}
        assert names == {f"{root}.safetensors" for root in found}, "a draft is left, or a file that nobody names"


def killed_after(home: Path, seed: int, lines: int, more: float) -> list[list[str]]:
    """What it said before it was killed at a random moment."""
    command = [sys.executable, fill_pool.__file__, str(home), str(seed)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        try:
            process.wait(timeout=more)  # a random moment of the next change; nothing is waited for
        except subprocess.TimeoutExpired:
            process.kill()
        said += process.stdout
    return [line.split() for line in said]


@attrs.frozen
class LastChange:
    """What lies in the pool after the last change of which the end was told, and what had begun behind it."""

    providers: dict[str, str]
    begun: list[str]

    def allows(self, found: set[str]) -> bool:
        before = set(self.providers)
        if found == before:
            return True
        match self.begun:
            case ["adding", root, _]:
                return root in found and found - {root} <= before
            case ["forgetting", peer]:
                return found == {one for one, provider in self.providers.items() if provider != peer}
        return False


def after(said: list[list[str]], before: dict[str, str]) -> LastChange:
    providers, begun = dict(before), list[str]()
    for words in said:
        begun = words
        match words:
            case ["added", root, peer, *evicted]:
                providers[root], begun = peer, []
                for gone in evicted:
                    del providers[gone]
            case ["forgot", _, *gone]:
                providers, begun = {root: peer for root, peer in providers.items() if root not in gone}, []
    return LastChange(providers, begun)
