"""What the peers of `learnae demo` reach, in the end and at any moment.

`python bench/demo.py [--runs 3] [--storage ipfs --announcer iota] [--quick]`
Of each run: the mean and the worst peer in the end, the worst moment of any peer in the last third, and the bytes of a peer. "merged" is
what `swarm.merged()` lends, as users evaluate it; "trained" is the model in training, looked at just before that.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean

import trio
from machine import describe
from tables import show

from learnae.cli.check import check_choice, offered
from learnae.demo.director import Director
from learnae.demo.processes import Peer, Plan, Stage
from learnae.demo.show import built, prepare_data
from learnae.logs import make_logger
from learnae.plugins.manager import PluginManager
from learnae.plugins.offers import StrategyOffer

HEADER = ("run", "mean", "worst", "worst moment, merged", "worst moment, trained", "steps", "merged", "refused", "kB of a peer", "seconds")
LAST_PART = 1 / 3
QUICK = Plan(classes=((0, 1, 2, 3, 4), (5, 6, 7, 8, 9)), steps=60, away_seconds=0.0)


def main(runs: int, services: Mapping[str, str], plan: Plan) -> None:
    print(describe(), flush=True)
    manager = PluginManager.discover(log=make_logger("error"))
    chosen = {kind: offered(manager, kind, name) for kind, name in services.items()}
    rows = [row(str(run), play(manager, chosen, plan)) for run in range(1, runs + 1)]
    show(f"{len(plan.classes)} peers over {services['storage']} and {services['announcer']}", HEADER, rows)


def play(manager: PluginManager, chosen: Mapping[str, StrategyOffer], plan: Plan) -> Director:
    """One performance. Raises SystemExit for one that could not be played to its end."""
    stage = Stage(Path(tempfile.mkdtemp(prefix="learnae-bench-")))
    try:
        with built(chosen, stage, partial(check_choice, manager), plan) as scene:
            prepare_data(stage)
            director = Director(scene.plan, stage, half_way=scene.half_way)
            trio.run(director.play)
    finally:
        shutil.rmtree(stage.folder, ignore_errors=True)
    if director.failure:
        raise SystemExit(director.failure)
    return director


def row(name: str, director: Director) -> Sequence[str]:
    peers = director.peers
    reached = [peer.accuracy or 0.0 for peer in peers]
    return (
        name,
        percent(fmean(reached)),
        percent(min(reached)),
        percent(min(worst_moment(peer, peer.curve) for peer in peers)),
        percent(min(worst_moment(peer, peer.trained) for peer in peers)),
        f"{fmean(peer.steps for peer in peers):.0f}",
        f"{fmean(peer.total.merged for peer in peers):.0f}",
        f"{fmean(peer.total.refused for peer in peers):.0f}",
        f"{fmean(peer.total.bytes for peer in peers) / 1000:.0f}",
        f"{director.seconds:.0f}",
    )


def worst_moment(peer: Peer, curve: Sequence[tuple[float, float]]) -> float:
    """The lowest accuracy in the last third of what it trained."""
    start, end = peer.curve[0][0], peer.curve[-1][0]
    return min(accuracy for seconds, accuracy in curve if seconds >= end - LAST_PART * (end - start))


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--storage", default="directory")
    parser.add_argument("--announcer", default="directory")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    both = {"storage": given.storage, "announcer": given.announcer}
    main(1 if given.quick else given.runs, both, QUICK if given.quick else Plan())
