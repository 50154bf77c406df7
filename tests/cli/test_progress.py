"""Which moments of a run are shown."""

from __future__ import annotations

from learnae.cli.run.progress import Progress
from learnae.trainer.loop import Moment


def test_moments_are_shown_at_intervals_and_the_last_one_always_but_never_twice() -> None:
    shown: list[int] = []
    now = [0.0]
    progress = Progress(lambda moment: shown.append(moment.step), 3.0, lambda: now[0])
    for now[0], step in ((0.0, 1), (1.0, 2), (2.9, 3), (3.0, 4), (4.0, 5)):
        progress(Moment(step, now[0], 0.5, {}))
    assert shown == [1, 4]
    for _ in range(2):
        progress(Moment(5, 4.0, 0.5, {}), last=True)
    assert shown == [1, 4, 5]
