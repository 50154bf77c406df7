"""Two groups with real nodes, one on a folder and one on a real daemon, and a peer with a daemon of its own that relays between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import pytest

import learnae
from learnae import PeerId
from tests.support.random_walk import RandomWalker, train_until

MERGES = 3  # of each peer of the other group
LIMIT_SECONDS = 100.0


@attrs.define
class Member:
    """A peer that remembers whose updates it has merged."""

    walker: RandomWalker
    merged: Counter[PeerId] = attrs.field(factory=Counter)

    @property
    def swarm(self) -> Any:
        return self.walker.swarm

    def step(self) -> None:
        self.walker.step()
        self.merged.update(verdict.peer for report in self.swarm.reports() for verdict in report.verdicts if verdict.merged)


Join = Callable[..., Member]


@pytest.fixture
def join(tmp_path: Path) -> Iterator[Join]:
    """A peer with these tables in its file."""
    with ExitStack() as stack:
        seeds = iter(range(1, 100))

        def joined(**tables: Any) -> Member:
            seed = next(seeds)
            document = {"swarm": {"name": "two groups", "open": True}, "train": {"local_steps": 100}, "codec": {"use": "fp32"}, **tables}
            home, log = tmp_path / f"home-{seed}", {"level": "warning", "style": "json"}
            return Member(RandomWalker(seed, lambda model: stack.enter_context(learnae.join(model, config=document, home=home, log=log))))

        yield joined


def ipfs(kubo: Any) -> dict[str, Any]:
    return {"use": "ipfs", "address": kubo.address, "search_seconds": 1.0}


@pytest.mark.slow
def test_a_peer_with_a_folder_and_a_daemon_joins_two_groups_that_have_nothing_in_common(new_kubo: Any, join: Join, tmp_path: Path) -> None:
    """Other separations are tested under virtual time, in tests/relay."""
    theirs, ours = new_kubo(), new_kubo()
    folder = {"use": "directory", "path": str(tmp_path / "blocks")}
    one, other = ({"use": "directory", "path": str(tmp_path / board)} for board in ("left", "right"))
    left = [join(storage=[folder], announcer=[one]) for _ in range(2)]
    right = [join(storage=[ipfs(theirs)], announcer=[other]) for _ in range(2)]
    relay = join(storage=[folder, ipfs(ours)], announcer=[one, other], peer={"relay": True})

    def joined() -> bool:
        pairs = [(a, b) for here, there in ((left, right), (right, left)) for a in here for b in there]
        return all(member.merged[other.swarm.peer] >= MERGES for member, other in pairs)

    train_until(joined, *left, *right, relay, limit_seconds=LIMIT_SECONDS)
    assert len({member.swarm.status.lineage for member in [*left, *right, relay]}) == 1
