"""What a round costs, by part and by size of the model, beside gloo's all-reduce: `python bench/round_cost.py [--quick] [--large]`.

Four peers begin a round at the same moment, and their trainers wait until they have adopted, so that the whole length of the round is seen;
in training they do not wait. Real trainers and nodes, storage and announcements in folders, int8, two fetched. The CPU of a part is that
of the threads in it. The length is the median over rounds of the slowest peer; all else is the mean over peers and rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import attrs
from crew import Worker, crew, meet, peers
from machine import describe
from tables import show

WARM_UP = 4
WIDTHS = {"0.14 M": (28, 256, 256, 256, 1), "18.9 M": (1024, 3072, 3072, 2048), "100.7 M": (4096, 8192, 8192)}


@attrs.frozen
class Cost:
    """Of one round of one peer; seconds."""

    lengths: list[float]  # of each round, from the snapshot until the slowest peer has adopted
    trainer_cpu: float
    node_cpu: float
    parts: dict[str, tuple[float, float]] = attrs.field(factory=dict)  # wall, CPU
    stages: dict[str, tuple[float, float]] = attrs.field(factory=dict)

    @property
    def length(self) -> float:
        return statistics.median(self.lengths)


def main(sizes: list[str], rounds: int, count: int) -> None:
    print(describe())
    costs = {name: {way: measure(way, WIDTHS[name], rounds, count) for way in ("gloo", "learnae")} for name in sizes}
    show_rounds(costs)
    ours = {name: cost["learnae"] for name, cost in costs.items()}
    header = ("ms", *(f"{name}, {what}" for name in sizes for what in ("wall", "CPU")))
    show("What a node does in a round, by part", header, [*_rows(ours, "parts"), _rest(ours)])
    show("How long a round's stages take, one after the other", ("ms", *sizes), [(row[0], *row[1::2]) for row in _rows(ours, "stages")])


def measure(way: str, widths: tuple[int, ...], rounds: int, count: int) -> Cost:
    spec = {"job": "rounds", "way": way, "seed": 0, "widths": widths, "rounds": WARM_UP + rounds, "local_steps": 1, "timed": True}
    with crew(peers(count, **spec, pause_seconds=0.1 if way == "gloo" else 0.5)) as workers:
        meet(workers)
        seen = [_one_round(workers) for _ in range(WARM_UP + rounds)][WARM_UP:]
        times = [_times(workers[0].folder / f"times-{rank}.jsonl", rounds) for rank in range(count)] if way == "learnae" else []
    return Cost(
        lengths=[max(line["wall"] for line in lines) for lines in seen],
        trainer_cpu=statistics.fmean(line["trainer_cpu"] for lines in seen for line in lines),
        node_cpu=statistics.fmean(line["node_cpu"] for lines in seen for line in lines),
        parts=_mean([parts for parts, _ in times]),
        stages=_mean([stages for _, stages in times]),
    )


def _one_round(workers: list[Worker]) -> list[dict[str, Any]]:
    for worker in workers:
        worker.hear_until("ready")
    for worker in workers:
        worker.say("go")
    return [worker.hear_until("round")[-1] for worker in workers]


Sums = dict[str, tuple[float, float]]


def _times(file: Path, rounds: int) -> tuple[Sums, Sums]:
    """The last so many rounds of a node, per round."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    first, last = lines[-1 - rounds], lines[-1]
    return _per_round(first["parts"], last["parts"], rounds), _per_round(first["stages"], last["stages"], rounds)


def _per_round(first: dict[str, list[float]], last: dict[str, list[float]], rounds: int) -> Sums:
    return {name: tuple((b - a) / rounds for a, b in zip(first.get(name, (0, 0)), now, strict=True)) for name, now in last.items()}  # type: ignore[misc]


def _mean(sums: list[Sums]) -> Sums:
    names = dict.fromkeys(name for one in sums for name in one)
    return {name: tuple(statistics.fmean(one.get(name, (0.0, 0.0))[i] for one in sums) for i in (0, 1)) for name in names}  # type: ignore[misc]


def show_rounds(costs: dict[str, dict[str, Cost]]) -> None:
    header = ("parameters", "gloo, ms", "Learnae, ms", "ratio", "CPU of gloo", "of the trainer", "of the node")
    show("A round, and its CPU ms per peer", header, [_round(name, **cost) for name, cost in costs.items()])


def _round(name: str, gloo: Cost, learnae: Cost) -> tuple[str, ...]:
    times = (gloo.trainer_cpu, learnae.trainer_cpu, learnae.node_cpu)
    return (name, _ms(gloo.length), _ms(learnae.length), f"{learnae.length / gloo.length:.2f}", *map(_ms, times))


def _rows(costs: dict[str, Cost], table: str) -> list[tuple[str, ...]]:
    names = dict.fromkeys(name for cost in costs.values() for name in getattr(cost, table))
    return [(name, *(_ms(value) for cost in costs.values() for value in getattr(cost, table).get(name, (0.0, 0.0)))) for name in names]


def _rest(costs: dict[str, Cost]) -> tuple[str, ...]:
    """What the process took and no part of it."""
    cells = [("", _ms(cost.node_cpu - sum(cpu for _, cpu in cost.parts.values()))) for cost in costs.values()]
    return ("all else", *(cell for pair in cells for cell in pair))


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f}"


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="the smallest model and few rounds: whether it runs")
    options.add_argument("--large", action="store_true", help="100.7 M parameters too: 12 GiB of memory, some minutes more")
    options.add_argument("--rounds", type=int, default=15)
    chosen = options.parse_args()
    if chosen.quick:
        main(["0.14 M"], rounds=3, count=2)
    else:
        main(list(WIDTHS)[: 3 if chosen.large else 2], chosen.rounds, count=4)
