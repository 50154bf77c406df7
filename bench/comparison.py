"""Learnae beside gloo local SGD, on HEPMASS-like data: `python bench/comparison.py [--quick] [--kill | --skewed] [--libp2p] [--peers 4 8]`.

Gloo is the floor: it averages all models exactly and at once, and survives nothing. A goal is a share of the accuracy of one central run
that sees as many samples as the four peers together. Both are looked at directly after each merge (Learnae: after the adoption). They
reach a goal at the first moment at which the mean accuracy of the peers, each as of its last merge, is there; CPU, steps and bytes are
those of that moment, between two merges in proportion. The models are kept and examined when all is over, so that looking costs nothing.
Training begins when the peers have met; what came before is in a table of its own. With `--skewed` the peers have different rows, and
are looked at every few steps too, whether they have merged or not.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from typing import Any

import attrs
import numpy as np
from any_moment import Course, show_courses
from crew import Start, Worker, WorkerEnded, crew, meet, peers
from machine import describe
from tables import show

GOALS = (0.95, 0.98, 0.995)
LAST = 5  # points of the central run that make its accuracy


@attrs.frozen
class Size:
    steps: int
    rows: int
    test_rows: int
    seeds: int
    shares: int = 4  # peers
    local_steps: int = 50
    divided: bool = False  # the peers have different rows
    look_steps: int = 0  # every so many steps a peer is looked at, whatever it has merged
    config: dict[str, Any] = attrs.field(factory=dict)  # Learnae's file


FULL = Size(steps=800, rows=200_000, test_rows=20_000, seeds=5)
QUICK = Size(steps=60, rows=4_000, test_rows=1_000, seeds=1, shares=2, local_steps=10)
SKEWED_TEST_ROWS = 5_000  # looks are many


@attrs.frozen(eq=False)
class Peer:
    """One peer's way: rows of (moment, steps, CPU seconds of the trainer, of the node, MB received, accuracy), the first at the start."""

    course: Any
    looks: Course

    def at(self, moment: float) -> Any:
        """Steps, CPU and bytes in proportion."""
        return np.array([np.interp(moment, self.course[:, 0], column) for column in self.course.T[1:5]])

    def accuracy(self, moment: float) -> float:
        """As of its last merge."""
        return float(self.course[np.searchsorted(self.course[:, 0], moment, side="right") - 1, 5])


@attrs.frozen(eq=False)
class Run:
    start: Start
    peers: list[Peer]

    def moments(self) -> list[float]:
        return sorted({float(moment) for peer in self.peers for moment in peer.course[1:, 0]})

    def accuracy(self, moment: float) -> float:
        return statistics.fmean(peer.accuracy(moment) for peer in self.peers)

    def reach(self, accuracy: float) -> Any:
        """Steps of a peer, CPU seconds of all trainers and of all nodes, MB that a peer has sent; not a number where it was not reached."""
        moment = next((moment for moment in self.moments() if self.accuracy(moment) >= accuracy), None)
        return np.full(4, np.nan) if moment is None else self.spent(moment)

    def spent(self, moment: float) -> Any:
        there = np.array([peer.at(moment) for peer in self.peers])
        return np.array([there[:, 0].mean(), there[:, 1].sum(), there[:, 2].sum(), there[:, 3].mean() / 1e6])


def main(size: Size, crowds: list[int], *, kill: bool, libp2p: bool) -> None:
    print(describe())
    if kill:
        show_kill(size)
        return
    ways = ("gloo", "learnae", *(["learnae over libp2p"] if libp2p else []))
    if size.divided:
        for shares in crowds:
            compare_at_any_moment(attrs.evolve(size, shares=shares), ways)
        return
    cpu = {shares: compare(attrs.evolve(size, shares=shares), ways) for shares in crowds}
    if len(crowds) > 1:
        rows = [(way, *(f"{cpu[shares][way] / cpu[crowds[0]][way]:.2f}" for shares in crowds[1:])) for way in ways]
        show(
            f"CPU to {GOALS[-1]:.1%}, beside that of {crowds[0]} peers (medians)", ("", *(f"{shares} peers" for shares in crowds[1:])), rows
        )


def compare(size: Size, ways: tuple[str, ...]) -> dict[str, float]:
    """Show what each way needs to the goals. Returns the median CPU seconds to the last one."""
    central, runs = [], {way: list[Run]() for way in ways}
    for seed in range(size.seeds):
        central.append(central_accuracy(size, seed))
        for way, done in runs.items():
            done.append(train(way, size, seed))
            steps, trainers, nodes, sent = done[-1].reach(GOALS[-1] * central[-1])
            last = f"to {GOALS[-1]:.1%} {steps:.0f} steps, {trainers + nodes:.2f} CPU s, {nodes:.2f} of it nodes, {sent:.2f} MB"
            print(f"seed {seed}, {way}: {done[-1].accuracy(np.inf):.4f} in the end, central {central[-1]:.4f}; {last}", flush=True)
    show_starts(runs)
    return show_goals(central, runs, size)


def compare_at_any_moment(size: Size, ways: tuple[str, ...]) -> None:
    """Peers with different rows: no central run is the measure of it, since all rows in one heap are another task."""
    runs = {way: list[Run]() for way in ways}
    for seed in range(size.seeds):
        for way, done in runs.items():
            done.append(train(way, size, seed))
            print(f"seed {seed}, {way}: {done[-1].accuracy(np.inf):.4f} in the end", flush=True)
    show_courses({way: [[peer.looks for peer in run.peers] for run in done] for way, done in runs.items()}, size.look_steps)
    rows = [(way, *_spent(done)) for way, done in runs.items()]
    show(f"{size.steps} steps of {size.shares} peers, medians", ("", "CPU s, all processes", "of it nodes", "MB sent per peer"), rows)


def _spent(runs: list[Run]) -> tuple[str, ...]:
    trainers, nodes, sent = np.median([run.spent(np.inf)[1:] for run in runs], axis=0)
    return f"{trainers + nodes:.1f}", f"{nodes:.1f}", f"{sent:.2f}"


def train(way: str, size: Size, seed: int) -> Run:
    with crew(peers(size.shares, **spec(way, size, seed))) as workers:
        start = meet(workers)
        said = [worker.hear_until("trained") for worker in workers]
        return Run(start, [_peer(worker, lines) for worker, lines in zip(workers, said, strict=True)])


def spec(way: str, size: Size, seed: int) -> dict[str, Any]:
    return {"job": "train", "way": way, "seed": seed, **attrs.asdict(size)}


def _peer(worker: Worker, lines: list[dict[str, Any]]) -> Peer:
    points = [line for line in lines if line["is"] == "point"]
    worker.say("examine")
    finished = worker.hear_until("finished")[-1]
    rows = [[0.0] * 6, *_rows(points, finished)]
    rows[0][0] = finished["began"]
    return Peer(np.array(rows), Course(finished["accuracies"], finished["trained"], finished["merged"]))


def _rows(points: list[dict[str, Any]], finished: dict[str, Any]) -> list[list[float]]:
    examined = zip(points, finished["received"], finished["accuracies"], strict=True)
    return [[p["at"], p["step"], p["trainer_cpu"], p["node_cpu"], received, right] for p, received, right in examined]


def central_accuracy(size: Size, seed: int) -> float:
    """One model on all rows, with the samples of all peers together; the median of the last looks at it."""
    alone = attrs.evolve(size, shares=1, steps=size.steps * size.shares, local_steps=size.local_steps * size.shares)
    with crew(peers(1, **spec("alone", alone, seed))) as (worker,):
        meet([worker])
        worker.hear_until("trained")
        worker.say("examine")
        return statistics.median(worker.hear_until("finished")[-1]["accuracies"][-LAST:])


def show_goals(central: list[float], runs: dict[str, list[Run]], size: Size) -> dict[str, float]:
    """Returns the median CPU seconds to the last goal."""
    header = ("", "steps of a peer", "CPU s, all processes", "of it nodes", "MB sent per peer", "CPU against gloo")
    for goal in GOALS:
        reached = {way: np.array([run.reach(goal * top) for run, top in zip(done, central, strict=True)]) for way, done in runs.items()}
        cpu = {way: results[:, 1:3].sum(axis=1) for way, results in reached.items()}
        rows = [_row(way, results, cpu[way] / cpu["gloo"]) for way, results in reached.items()]
        show(f"{size.shares} peers, to {goal:.1%} of central accuracy, medians of {size.seeds} seeds (lowest to highest)", header, rows)
        if "learnae over libp2p" in cpu:
            print(f"\nCPU over libp2p / over folders: {_spread(cpu['learnae over libp2p'] / cpu['learnae'], 2)}")
    return {way: float(np.median(np.nan_to_num(seconds, nan=np.inf))) for way, seconds in cpu.items()}


def _row(way: str, results: Any, ratios: Any) -> tuple[str, ...]:
    steps, trainers, nodes, sent = results.T
    return (way, _spread(steps, 0), _spread(trainers + nodes, 2), _spread(nodes, 2), _spread(sent, 2), _spread(ratios, 2))


def _spread(values: Any, digits: int) -> str:
    """What was not reached counts as more than all else."""
    low, middle, high = (_number(f(np.nan_to_num(values, nan=np.inf)), digits) for f in (np.min, np.median, np.max))
    return middle if len(values) == 1 else f"{middle} ({low} to {high})"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else "not reached"


def show_starts(runs: dict[str, list[Run]]) -> None:
    rows = [
        (way, f"{statistics.median(r.start.wall_seconds for r in done):.1f}", f"{statistics.median(r.start.cpu_seconds for r in done):.1f}")
        for way, done in runs.items()
    ]
    show("Before the first step: imports, data, meeting the others (all peers together)", ("", "wall s", "CPU s"), rows)


def show_kill(size: Size) -> None:
    """One of four is ended half-way, by SIGKILL to all of its processes."""
    rows = [(way, *kill_one(way, size)) for way in ("gloo", "learnae")]
    title = f"A SIGKILL to one of {size.shares} peers after {size.steps // 2} of {size.steps} steps"
    show(title, ("", "steps of the others", "what they say", "their mean accuracy in the end"), rows)


def kill_one(way: str, size: Size) -> tuple[str, str, str]:
    with crew(peers(size.shares, **spec(way, size, 0))) as workers:
        meet(workers)
        *others, victim = workers
        while victim.hear().get("step", 0) < size.steps // 2:
            pass
        victim.kill()
        said = [_to_the_end(worker) for worker in others]
        steps = [step for step, _, _ in said]
        scores = [score for _, _, score in said if score is not None]
        words = " / ".join(sorted({word for _, word, _ in said}))
        return f"{min(steps)} to {max(steps)}", words, f"{statistics.fmean(scores):.4f}" if scores else "none"


def _to_the_end(worker: Worker) -> tuple[int, str, float | None]:
    """The last step that is known of, how it ended, and how good it was."""
    step = 0
    try:
        while (line := worker.hear())["is"] != "trained":
            step = line.get("step", step)
        worker.say("examine")
        return line["end"]["step"], "trained to the end", worker.hear_until("finished")[-1]["accuracies"][-1]
    except WorkerEnded as ended:
        return step, _last_line(str(ended)), None


def _last_line(said: str) -> str:
    """Without the addresses, and what would break a table."""
    return re.sub(r"\[.*?\]:?\d*|\|", "", said.splitlines()[-1]).split(". ")[0].strip()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="small and meaningless: whether it runs")
    options.add_argument("--kill", action="store_true", help="end one of four peers half-way instead")
    options.add_argument("--libp2p", action="store_true", help="also over gossipsub and the storage libp2p, in place of folders")
    options.add_argument("--seeds", type=int, help="other than 5")
    options.add_argument("--patience", type=float, help="other than the default")
    options.add_argument("--peers", type=int, nargs="+", help="other than 4; several, to see what more of them cost")
    options.add_argument("--skewed", action="store_true", help="peers with other shares of the labels, and shifted features")
    options.add_argument("--config", type=json.loads, default={}, help="tables of Learnae's file, in JSON")
    chosen = options.parse_args()
    size = QUICK if chosen.quick else FULL
    if chosen.skewed:
        look_steps = size.local_steps // 5
        size = attrs.evolve(size, divided=True, look_steps=look_steps, test_rows=min(size.test_rows, SKEWED_TEST_ROWS))
    if chosen.patience is not None:
        chosen.config["train"] = {**chosen.config.get("train", {}), "patience": chosen.patience}
    size = attrs.evolve(size, seeds=chosen.seeds or size.seeds, config=chosen.config)
    main(size, chosen.peers or [size.shares], kill=chosen.kill, libp2p=chosen.libp2p)
