"""How a swarm fares under disruption: `python bench/disruption.py [--kind freeze] [--length 60] [--seeds 3] [--csv FILE] [--quick]`.

Twenty peers learn the digits through the real node under virtual time, each with two classes of them (setting D20, `shards`), a round each
ten seconds. In the middle of training something happens to half of them, or to all, for so many seconds. Then they have 150 seconds to get
over it. Each cell runs twice: weights alone travel; or each peer also gives 5 % of its rows (peer 0 half of them), and draws half of every
batch from its pool. Nothing depends on the machine. Needs scikit-learn.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: these matrices are too small for threads

import attrs
import trio
from disrupted_swarm import FOR_GOOD, KINDS, UNDISTURBED, DisruptedSwarm, simulated_swarm, start_swarm
from machine import describe
from tables import show

from learnae.demo.digits import load
from learnae.testing.swarm import run_in_virtual_time
from tests.support.digits_swarm import PEERS

ROUND_SECONDS = 10
LENGTHS = (10, 60, 300)  # seconds
WITHIN_SECONDS = 3  # so long after a round has begun the disruption begins, and ends
NEAR = 0.01
"""A swarm is back when its mean accuracy is at most so much below what the undisturbed one had when the disruption ended."""
WHAT = {False: "weights", True: "weights and data"}


@attrs.frozen(kw_only=True)
class Size:
    peers: int = PEERS
    before: int = 12  # rounds
    after: int = 15


QUICK = Size(peers=4, before=4, after=4)


@attrs.frozen(kw_only=True)
class Course:
    """How the peers that worked were at the end of each round, from the last one before the disruption on."""

    means: Sequence[float]  # accuracy, from 0 to 1
    worst: Sequence[float]
    merging_rounds: Sequence[int]  # of all peers, since the beginning
    lineages: int  # of all that work in the end
    rows: float  # of others, in the pool of one in the end


@attrs.frozen(kw_only=True)
class Cell:
    """One run: what happens, for how many rounds, and what travels."""

    kind: str
    rounds: int
    pooled: bool
    seed: int
    size: Size

    def run(self) -> Course:
        with tempfile.TemporaryDirectory(prefix="learnae-bench-") as folder:
            return run_in_virtual_time(self._run, Path(folder), seed=self.seed)

    async def _run(self, folder: Path) -> Course:
        means, worst, merging = list[float](), list[float](), list[int]()

        def look(swarm: DisruptedSwarm) -> None:
            found = swarm.accuracies()
            means.append(statistics.mean(found))
            worst.append(min(found))
            merging.append(sum(machine.merging_rounds for machine in swarm.machines))

        async with simulated_swarm(folder, self.seed) as simulated:
            swarm = start_swarm(simulated, load(), pooled=self.pooled, peers=self.size.peers, round_seconds=float(ROUND_SECONDS))
            await trio.sleep(ROUND_SECONDS * (self.size.before + 1) - 0.05)  # what a round has begun ends before the next one
            look(swarm)
            await trio.sleep(WITHIN_SECONDS)
            with KINDS[self.kind](swarm):
                for _ in range(self.rounds):
                    await trio.sleep(ROUND_SECONDS - WITHIN_SECONDS)
                    look(swarm)
                    await trio.sleep(WITHIN_SECONDS)
            for _ in range(self.size.after):
                await trio.sleep(ROUND_SECONDS - WITHIN_SECONDS)
                look(swarm)
                await trio.sleep(WITHIN_SECONDS)
            lineages = len({machine.peer.lineage for machine in swarm.working})
            return Course(means=means, worst=worst, merging_rounds=merging, lineages=lineages, rows=swarm.rows() if self.pooled else 0.0)


@attrs.frozen(kw_only=True)
class Outcome:
    """One run beside the undisturbed one of the same seed."""

    kind: str
    seconds: int
    travels: str
    seed: int
    then_mean: float  # accuracy in % when the disruption ended, of those that worked
    then_worst: float
    then_undisturbed: float
    end_mean: float
    end_worst: float
    end_undisturbed: float
    back_seconds: int | None  # since it ended; None: not within the time that was left
    rounds_lost: float  # in % of the rounds with a merge that the undisturbed swarm had since it began
    lineages: int
    rows: float


def compare(cell: Cell, course: Course, calm: Course) -> Outcome:
    ended, end = cell.rounds, cell.rounds + cell.size.after
    back = next((i for i in range(ended + 1, end + 1) if course.means[i] >= calm.means[ended] - NEAR), None)
    made, usual = (one.merging_rounds[end] - one.merging_rounds[0] for one in (course, calm))
    return Outcome(
        kind=cell.kind,
        seconds=cell.rounds * ROUND_SECONDS,
        travels=WHAT[cell.pooled],
        seed=cell.seed,
        then_mean=100 * course.means[ended],
        then_worst=100 * course.worst[ended],
        then_undisturbed=100 * calm.means[ended],
        end_mean=100 * course.means[end],
        end_worst=100 * course.worst[end],
        end_undisturbed=100 * calm.means[end],
        back_seconds=None if back is None else (back - ended) * ROUND_SECONDS - WITHIN_SECONDS,
        rounds_lost=100 * (1 - made / max(1, usual)),
        lineages=course.lineages,
        rows=course.rows,
    )


def cells(kinds: Sequence[str], lengths: Sequence[int], seeds: int, size: Size) -> Iterator[Cell]:
    """Of each seed the undisturbed ones first, as long as the longest of the others."""
    for seed in range(seeds):
        for kind in (UNDISTURBED, *kinds):
            for length in [max(lengths)] if kind in (UNDISTURBED, FOR_GOOD) else lengths:
                for pooled in WHAT:
                    yield Cell(kind=kind, rounds=length // ROUND_SECONDS, pooled=pooled, seed=seed, size=size)


def run_all(all_cells: Sequence[Cell], processes: int) -> Iterator[Mapping[Cell, Course]]:
    """All that were run so far, whenever there is one more."""
    found, began = dict[Cell, Course](), time.monotonic()
    with ProcessPoolExecutor(processes) as pool:
        under_way = {pool.submit(cell.run): cell for cell in all_cells}
        for done in as_completed(under_way):
            cell = under_way[done]
            found[cell] = done.result()
            where = f"{cell.kind}, {cell.rounds * ROUND_SECONDS} s, {WHAT[cell.pooled]}, seed {cell.seed}"
            print(f"{len(found)} of {len(under_way)} after {time.monotonic() - began:.0f} s: {where}", file=sys.stderr, flush=True)
            yield found


def compared(all_cells: Sequence[Cell], found: Mapping[Cell, Course]) -> list[Outcome]:
    """Those of which there is also the undisturbed run."""
    calm = {(cell.pooled, cell.seed): course for cell, course in found.items() if cell.kind == UNDISTURBED}
    return [
        compare(cell, found[cell], calm[cell.pooled, cell.seed])
        for cell in all_cells
        if cell in found and cell.kind != UNDISTURBED and (cell.pooled, cell.seed) in calm
    ]


def main(kinds: Sequence[str], lengths: Sequence[int], seeds: int, processes: int, file: Path | None, size: Size) -> None:
    print(describe(), flush=True)
    all_cells, outcomes = list(cells(kinds, lengths, seeds, size)), list[Outcome]()
    for found in run_all(all_cells, processes):
        outcomes = compared(all_cells, found)
        if file is not None:
            write_csv(file, outcomes)
    show_tables(outcomes, seeds, size)


def show_tables(outcomes: Sequence[Outcome], seeds: int, size: Size) -> None:
    for travels in WHAT.values():
        some = [one for one in outcomes if one.travels == travels]
        groups = [[one for one in some if (one.kind, one.seconds) == key] for key in dict.fromkeys((one.kind, one.seconds) for one in some)]
        show(
            f"What travels: {travels}. Accuracy in %, the mean of {size.peers} peers and the worst one; {seeds} seeds",
            ["what happens", "seconds", "then", "undisturbed", "in the end", "undisturbed", "back after, s", "rounds lost, %", "lineages"]
            + (["rows of others"] if travels == WHAT[True] else []),
            [table_row(group, rows=travels == WHAT[True]) for group in groups],
        )


def table_row(group: Sequence[Outcome], *, rows: bool) -> list[str]:
    def mean(name: str) -> float:
        return statistics.mean(getattr(one, name) for one in group)

    one, back = group[0], [one.back_seconds for one in group if one.back_seconds is not None]
    there = "not" if not back else f"{statistics.mean(back):.0f}"
    if len(set(back)) > 1:
        there += f" ({min(back)} to {max(back)})"
    return [
        one.kind,
        "for good" if one.kind == FOR_GOOD else str(one.seconds),
        f"{mean('then_mean'):.1f} ({mean('then_worst'):.0f})",
        f"{mean('then_undisturbed'):.1f}",
        f"{mean('end_mean'):.1f} ({mean('end_worst'):.0f})",
        f"{mean('end_undisturbed'):.1f}",
        there if len(back) in (0, len(group)) else f"{there}, {len(back)} of {len(group)}",
        f"{mean('rounds_lost'):.0f}",
        str(max(one.lineages for one in group)),
        *([f"{mean('rows'):.0f}"] if rows else []),
    ]


def write_csv(file: Path, outcomes: Sequence[Outcome]) -> None:
    with file.open("w", newline="") as text:
        writer = csv.DictWriter(text, [field.name for field in attrs.fields(Outcome)])
        writer.writeheader()
        writer.writerows(attrs.asdict(one) for one in outcomes)


def whole_rounds(text: str) -> int:
    seconds = int(text)
    if seconds <= 0 or seconds % ROUND_SECONDS:
        raise argparse.ArgumentTypeError(f"{text} is not a multiple of {ROUND_SECONDS}, the seconds of a round")
    return seconds


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--kind", action="append", choices=[kind for kind in KINDS if kind != UNDISTURBED], help="may be given more than once"
    )
    options.add_argument("--length", action="append", type=whole_rounds, help="seconds; may be given more than once")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--processes", type=int, default=2)
    options.add_argument("--csv", type=Path, help="a file for the outcome of each run")
    options.add_argument("--quick", action="store_true", help="small and meaningless: whether it runs")
    chosen = options.parse_args()
    kinds, lengths = chosen.kind or [kind for kind in KINDS if kind != UNDISTURBED], chosen.length or LENGTHS
    if chosen.quick:
        main(chosen.kind or ["kill", "partition"], [ROUND_SECONDS], 1, chosen.processes, chosen.csv, QUICK)
    else:
        main(kinds, lengths, chosen.seeds, chosen.processes, chosen.csv, Size())
