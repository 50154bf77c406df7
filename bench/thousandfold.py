"""How far a model times 1,000 moves an honest one, beside an honest update: `python bench/thousandfold.py [--rounds 40]`.

Eight peers learn the digits through the real node under virtual time (setting D20, `shards`); one or four of them publish their model times
1,000 in each round. A gate that stands last notes how far each update that is let in lies away, and with which weight. What is told is the
largest such pull of a hostile update over the mean one of honest updates, with the default preset, with `clip` and with the mean alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: these matrices are too small for threads

import attrs
import trio
from machine import describe
from tables import show

from learnae.config import presets
from learnae.demo.digits import load
from learnae.plugins.gate import distance
from learnae.records import Judged, Verdict
from learnae.strategies import Gate
from learnae.testing.swarm import SimulatedSwarm, run_in_virtual_time
from tests.support.digits_swarm import D20

PEERS, ATTACK = 8, "times 1,000"


class Meter(Gate):
    """Lets everything through, and tells in the reason how far it would move the own model if it were merged alone."""

    def judge(self, local: Any, received: Sequence[Any], state: Any) -> Judged:
        pulls = [item.weight * distance(local.current, item.tensors, item.masks) for item in received]
        return Judged([Verdict(reason=f"pull={pull}") for pull in pulls])


METER = {"use": "thousandfold:Meter"}


@attrs.frozen(kw_only=True)
class Thousandfold(D20):
    """Returns the largest pull of a hostile update, the mean one of honest updates, and how many hostile ones were merged."""

    async def _run(self, digits: Any) -> Any:
        settings = {"join": {"wait_seconds": 0.0}, **self.settings}
        async with SimulatedSwarm(seed=self.seed, settings=settings, folder=Path(__file__).parent) as swarm:
            crowd = self.crowd(swarm, digits)
            for peer in crowd:
                peer.trainer.progress = attrs.evolve(peer.trainer.progress, lineage=b"d20-seed")
                peer.start()
            await trio.sleep(self.rounds + 0.99)
            liars = {peer.identity.peer for peer in crowd[: self.hostile]}
            merged = [one for peer in crowd[self.hostile :] for report in peer.trainer.reports for one in report.verdicts if one.merged]
            pulls = [(one.peer in liars, float(one.reason.rpartition("pull=")[2])) for one in merged]
            hostile = [pull for lied, pull in pulls if lied]
            return max(hostile, default=0.0), statistics.mean(pull for lied, pull in pulls if not lied), len(hostile)


WAYS: Mapping[str, Mapping[str, Any]] = {
    f"the preset {presets.DEFAULT}": {
        "preset": presets.DEFAULT,
        "gate": [*({"use": gate} for gate in presets.PRESETS[presets.DEFAULT].gates), METER],
    },
    "clip, and the mean": {"gate": [{"use": "sane"}, {"use": "clip"}, METER], "merge": {"use": "average"}, "outer": presets.NO_OUTER},
    "the mean alone": {"gate": [{"use": "sane"}, METER], "merge": {"use": "average"}, "outer": presets.NO_OUTER},
}


def main(rounds: int) -> None:
    print(describe(), flush=True)
    rows = []
    for name, settings in WAYS.items():
        row = [name]
        for hostile in (1, PEERS // 2):
            case = Thousandfold(split="shards", rate=0.3, peers=PEERS, rounds=rounds, settings=settings, attack=ATTACK, hostile=hostile)
            worst, honest, merged = run_in_virtual_time(case._run, load(), seed=case.seed)
            row.append(f"{worst / honest:.2f} ({merged} merged)")
        rows.append(row)
        print(*row, sep=", ", flush=True)
    show("The largest pull of a model times 1,000, in pulls of an honest update", ["", f"1 of {PEERS}", f"{PEERS // 2} of {PEERS}"], rows)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=40)
    options.add_argument("--quick", action="store_true", help="few rounds: whether it runs")
    chosen = options.parse_args()
    main(4 if chosen.quick else chosen.rounds)
