"""Merge rules by their names on text, at equal loss: `python bench/rules_text.py [--rounds 24] [--seeds 1] [--quick]`.

Four peers train a small transformer (two layers, width 64) to predict the next character of Python's own documentation, which every
Python brings (`pydoc_data.topics`), each on a quarter of it: AdamW at 0.002, batches of 16 x 64, 20 steps a round, through the real node
under virtual time, by `int8`. The loss is that on text that nobody trained on, a mean over the peers after their merges. What each rule
has sent and fetched when it first has the loss that the worst of them ends with is the table: without announcements. Needs torch.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Sequence
from pydoc_data import topics
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import attrs
import numpy as np
import trio
from codecs_text import PEERS, TextTrainer, loss_of
from machine import describe
from tables import show

from learnae.testing.swarm import SimulatedPeer, SimulatedSwarm, run_in_virtual_time

RATE, STEPS, HELD_OUT = 2e-3, 20, 8_000  # characters of each part
LOOKED_AT = 96  # windows of 64 characters
QUICK_STEPS, QUICK_ROUNDS = 4, 3


@attrs.frozen
class Rule:
    """How a round merges; `fetched` updates of three."""

    name: str
    fetched: int
    outer: str = "none"


RULES = (
    Rule("average", 2),
    Rule("diloco", 3, "diloco"),
    Rule("qgo", 2, "qgo"),
    Rule("noloco", 1, "noloco"),
)


@attrs.frozen
class After:
    """Where the peers stand after a round: the mean loss and the worst, in nats a character, and MB that each has published and fetched."""

    loss: float
    worst: float
    up: float
    down: float


def run(rule: Rule, seed: int, rounds: int, *, small: bool) -> list[After]:
    return run_in_virtual_time(_run, rule, seed, rounds, small, seed=seed)


async def _run(rule: Rule, seed: int, rounds: int, small: bool) -> list[After]:
    import torch

    parts = torch.chunk(documentation(), PEERS)
    unseen = torch.cat([part[-HELD_OUT:] for part in parts])
    settings = {
        "join": {"wait_seconds": 0.0},
        "gate": [{"use": "sane"}],
        "selector": {"count": rule.fetched},
        "outer": {"use": rule.outer},
        "codec": {"use": "int8"},
    }
    async with SimulatedSwarm(seed=seed, settings=settings) as swarm:
        steps = QUICK_STEPS if small else STEPS
        trainers = [TextTrainer(part[:-HELD_OUT], 10 * seed + index, steps, small, RATE) for index, part in enumerate(parts)]
        peers = [swarm.peer(f"peer-{index}", one.tensors(), one.train) for index, one in enumerate(trainers)]
        for peer in peers:
            peer.trainer.progress = attrs.evolve(peer.trainer.progress, lineage=b"lineage1")
            peer.start()
        found = []
        await trio.sleep(0.99)
        for _ in range(rounds):
            await trio.sleep(1.0)
            found.append(_after(peers, trainers, unseen))
        return found


def documentation() -> Any:
    """All of it as characters below 128."""
    import torch

    text = "\n".join(topics.topics.values()).encode("ascii", "replace")
    return torch.frombuffer(bytearray(text), dtype=torch.uint8).long()


def _after(peers: Sequence[SimulatedPeer], trainers: Sequence[TextTrainer], unseen: Any) -> After:
    losses = [_loss(peer, trainer, unseen) for peer, trainer in zip(peers, trainers, strict=True)]
    reports = [report for peer in peers for report in peer.trainer.reports]
    up, down = (sum(getattr(one, name) for one in reports) / len(peers) / 1e6 for name in ("published_bytes", "fetched_bytes"))
    return After(statistics.fmean(losses), max(losses), up, down)


def _loss(peer: SimulatedPeer, trainer: TextTrainer, unseen: Any) -> float:
    import torch

    trainer.load(peer.trainer.model)
    with torch.no_grad():
        return float(loss_of(trainer.model, unseen, np.random.default_rng(9), LOOKED_AT))


def cells(rule: Rule, runs: Sequence[Sequence[After]], goals: Sequence[float]) -> list[str]:
    """`goals`: of each seed."""
    firsts = [next(index for index, one in enumerate(run) if one.loss <= goal) for run, goal in zip(runs, goals, strict=True)]
    there = [run[index] for run, index in zip(runs, firsts, strict=True)]
    ends = [statistics.fmean(getattr(run[-1], name) for run in runs) for name in ("loss", "worst")]
    bytes_ = [statistics.fmean(getattr(one, name) for one in there) for name in ("up", "down")]
    rounds = statistics.fmean(first + 1 for first in firsts)
    return [f"`{rule.name}`, {rule.fetched} fetched", *(f"{loss:.3f}" for loss in ends), f"{rounds:.1f}", *(f"{mb:.2f}" for mb in bytes_)]


def main(seeds: int, rounds: int, *, small: bool) -> None:
    print(describe(), flush=True)
    found = {}
    for rule in RULES:
        found[rule] = [run(rule, seed, rounds, small=small) for seed in range(seeds)]
        print(f"{rule.name}: " + ", ".join(f"{one.loss:.3f}" for one in found[rule][0]), flush=True)
    goals = [max(runs[seed][-1].loss for runs in found.values()) for seed in range(seeds)]
    header = ["rule", "loss in the end", "of the worst peer", "rounds to the goal", "MB up till then", "MB down till then"]
    goal, steps = statistics.fmean(goals), QUICK_STEPS if small else STEPS
    title = f"{PEERS} peers, {rounds} rounds of {steps} steps; the goal is a loss of {goal:.3f}; means of {seeds} seeds"
    show(title, header, [cells(rule, runs, goals) for rule, runs in found.items()])


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=1)
    options.add_argument("--rounds", type=int, default=24)
    options.add_argument("--quick", action="store_true", help="a smaller model, and three short rounds")
    chosen = options.parse_args()
    main(chosen.seeds, QUICK_ROUNDS if chosen.quick else chosen.rounds, small=chosen.quick)
