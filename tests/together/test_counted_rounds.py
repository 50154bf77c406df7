"""A round has one number: the trainer, `learnae status` and `learnae history` name the same one, in each run of a peer."""

from __future__ import annotations

from pathlib import Path

import learnae
from learnae.node.history import History
from tests.support.random_walk import RandomWalker, train_until


def rounds_of_a_run(home: Path, count: int) -> tuple[list[int], int]:
    """The numbers of so many rounds at least, and what the trainer says it has had."""
    overrides = ["train.local_steps=5", "join.wait_seconds=0.5", f"peer.home={str(home)!r}"]
    walker = RandomWalker(1, lambda model: learnae.join(model, "counted", overrides=overrides))
    numbers: list[int] = []

    def enough() -> bool:
        numbers.extend(report.round for report in walker.swarm.reports())
        return len(numbers) >= count

    with walker.swarm:
        train_until(enough, walker)
    status = walker.swarm.status
    return [*numbers, *(report.round for report in walker.swarm.reports())], status.rounds


def test_the_trainer_counts_the_rounds_of_all_runs_as_the_history_does(tmp_path: Path) -> None:
    first, said = rounds_of_a_run(tmp_path / "home", 3)
    assert first == list(range(1, said + 1))
    second, said = rounds_of_a_run(tmp_path / "home", 2)
    with History.read(tmp_path / "home" / "history.sqlite") as past:
        kept = [past_round.round for past_round in past.reader.past_rounds(1000)][::-1]
        last = past.last_round()
    assert kept == list(range(1, last + 1))
    assert second == kept[second[0] - 1 : said]
    assert last - said in (0, 1)  # the node may end one more than its trainer hears of
