"""Which moments of a run are shown."""

from __future__ import annotations

import pytest

from learnae.cli.progress import ProgressLine, in_words
from learnae.trainer.loop import TrainingProgress
from learnae.trainer.status import Status


def test_moments_are_shown_at_intervals_and_the_last_one_always_but_never_twice() -> None:
    shown: list[int] = []
    now = [0.0]
    progress = ProgressLine(lambda moment: shown.append(moment.step), 3.0, lambda: now[0])
    for now[0], step in ((0.0, 1), (1.0, 2), (2.9, 3), (3.0, 4), (4.0, 5)):
        progress(TrainingProgress(step, now[0], 0.5, {}))
    assert shown == [1, 4]
    for _ in range(2):
        progress(TrainingProgress(5, 4.0, 0.5, {}), last=True)
    assert shown == [1, 4, 5]


def status(lineage: bytes = b"l" * 8, node: str = "running", rounds: int = 12_345) -> Status:
    return Status(node, 1, lineage, 10**7, 10**6, 10**7, 100, rounds, 123, 23_456, 1_234, {}, {})


METRICS = {"accuracy": 0.98765, "perplexity": 1234.5678, "top_5_accuracy": 0.9999}


@pytest.mark.parametrize("width", [200, 80, 60, 40, 20, 12])
@pytest.mark.parametrize("metrics", [{}, {"accuracy": 0.98765}, METRICS, {f"metric_{number}": 1.0 for number in range(30)}])
def test_a_line_fits_its_terminal_and_begins_with_the_step(width: int, metrics: dict[str, float]) -> None:
    line = in_words(TrainingProgress(123_456, 3.0, 0.12345, metrics), status(), width)
    assert len(line) <= width and line.startswith("step 123,456")


def test_at_80_columns_the_loss_and_the_swarm_are_there_and_what_was_left_out_is_marked() -> None:
    line = in_words(TrainingProgress(123_456, 3.0, 0.12345, METRICS), status(), 80)
    assert "loss 0.1235, ..." in line and "merged 23,456" in line


def test_at_80_columns_a_loss_and_a_metric_are_whole() -> None:
    line = in_words(TrainingProgress(17_200, 3.0, 0.0042, {"accuracy": 0.8667}), status(rounds=111), 80)
    assert "accuracy 0.8667; round 111" in line and "merged" in line


def test_where_there_is_no_terminal_nothing_is_left_out() -> None:
    line = in_words(TrainingProgress(123_456, 3.0, 0.12345, METRICS), status())
    assert "top_5_accuracy 0.9999" in line and "refused 1,234" in line


def test_while_a_peer_has_no_lineage_it_says_that_it_looks_for_the_swarm() -> None:
    line = in_words(TrainingProgress(1, 0.1, 2.5, {}), status(lineage=b"", node="starting", rounds=0))
    assert "node starting" in line and "looking for the swarm" in line and "round" not in line
