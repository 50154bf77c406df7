"""A keeper in a process of its own, started by `learnae run`, and trainers that come and go beside it, in a folder."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import learnae
from learnae.node.history import History
from learnae.node.kept import KeptTable, KeptUpdate
from learnae.plugins.directory.packs import parts
from learnae.records import Cid
from tests.support.random_walk import LIMIT_SECONDS, RandomWalker, train_until

pytestmark = pytest.mark.slow

ASLEEP_SECONDS = 3.0
MEDIA = {name: [{"use": "directory", "path": path}] for name, path in (("storage", "blocks"), ("announcer", "board"))}
FILE = """
[swarm]
name = "sleepers"
[peer]
role = "keeper"
home = "kept"
[[storage]]
use = "directory"
path = "blocks"
[[announcer]]
use = "directory"
path = "board"
"""


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "keeper.toml").write_text(FILE)
    command = [sys.executable, "-m", "learnae", "run", "keeper.toml"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def kept_in(home: Path) -> list[KeptUpdate]:
    if not (home / "history.sqlite").exists():
        return []
    with History.read(home / "history.sqlite") as history:
        return KeptTable(history.database).rows()


def published_in(home: Path) -> Cid:
    """The last update of a peer that has left."""
    with History.read(home / "history.sqlite") as history:
        return history.published()[0].root


def remove_blocks_of_others(folder: Path, kept: list[KeptUpdate]) -> int:
    """Of peers whose machines are off: all but what the keeper has stored. Returns how many packs went."""
    owners = {said[1]: said[0] for path in folder.iterdir() if (said := parts(path.name))}
    mine = {owner for owner in owners if all((folder / f"{item.root}.{owner}").exists() for item in kept)}
    assert len(mine) == 1
    gone = [path for path in folder.iterdir() if (said := parts(path.name)) and said[1] not in mine]
    for path in gone:
        path.unlink()
    return len(gone)


def walker(seed: int, tmp_path: Path, swarms: ExitStack) -> RandomWalker:
    settings = {"swarm": {"name": "sleepers"}, "peer": {"home": f"home-{seed}"}, **MEDIA}
    overrides = ["train.local_steps=5", "join.wait_seconds=0.5"]
    return RandomWalker(seed, lambda model: swarms.enter_context(learnae.join(model, config=settings, overrides=overrides)))


def test_all_trainers_stop_and_a_newcomer_goes_on_from_what_the_keeper_has(
    keeper: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "kept"
    wait_until(lambda: (home / "connections.json").exists() or (home / "history.sqlite").exists())
    with ExitStack() as first:
        founders = [walker(1, tmp_path, first), walker(2, tmp_path, first)]
        train_until(lambda: len(kept_in(home)) == 4 and founders[0].swarm.status.merged >= 2, *founders)  # two of each
        lineage, age = founders[0].swarm.status.lineage, founders[0].swarm.status.age
    last = {published_in(tmp_path / f"home-{seed}") for seed in (1, 2)}
    wait_until(lambda: last <= {item.root for item in kept_in(home)})
    time.sleep(ASLEEP_SECONDS)
    assert remove_blocks_of_others(tmp_path / "blocks", kept_in(home)) > 0
    with ExitStack() as second:
        late = walker(3, tmp_path, second)
        train_until(lambda: late.swarm.status.rounds >= 2, late)
        assert late.swarm.status.lineage == lineage
        assert late.swarm.status.age > age / 2
    keeper.send_signal(signal.SIGTERM)
    out, err = keeper.communicate(timeout=30)
    assert keeper.returncode == 130, err
    assert "keeps lineage" in out
    assert "interrupted" in err


def test_a_keeper_has_no_part_in_join(tmp_path: Path) -> None:
    import torch

    with pytest.raises(learnae.ConfigError, match="learnae run"):
        learnae.join(torch.nn.Linear(1, 1), config={"peer": {"role": "keeper", "home": str(tmp_path / "home")}})
