"""What each codec takes in bytes, and costs in accuracy: `python bench/codecs.py [--seeds 1] [--jobs 2] [--text] [--quick]`.

Twenty peers learn the digits through the real node under virtual time (setting D20: Dirichlet 0.1, rate 0.3, two updates fetched a round,
`qgo`), each of any other, or each of four neighbours alone. All blocks are counted, not those of announcements. With `--text`, four peers
train a transformer on the source of Python's library, and one is fine-tuned in bfloat16. Needs scikit-learn, with `--text` torch.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: these matrices are too small for threads

import attrs
import numpy as np
import trio
from codecs_text import fine_tune, learned, train_text
from machine import describe
from tables import show

from learnae.demo.digits import load
from learnae.testing.swarm import SimulatedPeer, SimulatedSwarm, run_in_virtual_time
from tests.support.digits_swarm import SPLITS, Learner, accuracy, fresh_model

CODECS = ("fp32", "bf16", "int8", "int4-delta", "random-subset", "sparse", "patch")
SPLIT, RATE, OUTER = "dirichlet-0.1", 0.3, "qgo"


@attrs.frozen
class Case:
    """One run. `neighbours`: each peer hears the two on each side of it alone."""

    codec: str
    neighbours: bool
    seed: int
    peers: int
    rounds: int


@attrs.frozen
class Found:
    """`up` and `down` are bytes: of a published version, and of a merged update with what was fetched for it."""

    mean: float
    worst: float
    up: float
    down: float
    parameters: int


def run(case: Case) -> Found:
    return run_in_virtual_time(_run, case, seed=case.seed)


async def _run(case: Case) -> Found:
    digits = load()
    settings = {"join": {"wait_seconds": 0.0}, "codec": {"use": case.codec}, "outer": {"use": OUTER}}
    async with SimulatedSwarm(seed=case.seed, settings=settings) as swarm:
        crowd = []
        for index, rows in enumerate(SPLITS[SPLIT](digits.train_y, case.peers, case.seed)):
            learner = Learner(digits.train_x[rows], digits.train_y[rows], RATE, np.random.default_rng([case.seed, index]))
            crowd.append(swarm.peer(f"peer-{index}", fresh_model(case.seed), learner.train))
        for index, peer in enumerate(crowd):
            if case.neighbours:
                peer.settings = {"peer": {"allow": [crowd[(index + step) % len(crowd)].peer for step in (-2, -1, 1, 2)]}}
            peer.trainer.progress = attrs.evolve(peer.trainer.progress, lineage=b"d20-seed")
            peer.start()
        await trio.sleep(case.rounds + 0.99)
        return _found([accuracy(peer.trainer.model, digits) for peer in crowd], crowd)


def _found(accuracies: Sequence[float], crowd: Sequence[SimulatedPeer]) -> Found:
    reports = [report for peer in crowd for report in peer.trainer.reports]
    versions, merged = sum(report.published is not None for report in reports), sum(report.merged for report in reports)
    up, down = sum(report.published_bytes for report in reports), sum(report.fetched_bytes for report in reports)
    parameters = sum(array.size for array in crowd[0].trainer.model.values())
    return Found(100 * statistics.fmean(accuracies), 100 * min(accuracies), up / versions, down / merged, parameters)


def rows_of(found: Mapping[str, list[Found]]) -> list[list[str]]:
    """One for each codec; the shares are of what the first one takes."""
    first, rows = next(iter(found.values())), []
    whole = statistics.fmean(one.up for one in first)
    for codec, runs in found.items():
        up, down = (statistics.fmean(getattr(one, name) for one in runs) for name in ("up", "down"))
        accuracies = [f"{statistics.fmean(one.mean for one in runs):.1f}", f"{min(one.worst for one in runs):.1f}"]
        bytes_ = [text for size in (up, down) for text in (f"{size / runs[0].parameters:.2f}", f"{size / whole:.3f}")]
        rows.append([f"`{codec}`", *accuracies, *bytes_])
    return rows


def digits_tables(seeds: int, peers: int, rounds: int, jobs: int) -> None:
    header = ["codec", "mean, %", "worst peer, %", "bytes up a value", "of fp32", "bytes down a value", "of fp32 "]
    cases = [Case(codec, alone, seed, peers, rounds) for alone in (False, True) for codec in CODECS for seed in range(seeds)]
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        results = dict(zip(cases, pool.map(run, cases), strict=True))
    for alone in (False, True):
        found = {codec: [results[case] for case in cases if (case.codec, case.neighbours) == (codec, alone)] for codec in CODECS}
        whom = "each of its four neighbours" if alone else "each of all others"
        show(f"D20, {peers} peers, {rounds} rounds, {seeds} seeds, fetched from {whom}", header, rows_of(found))


def text_tables(quick: bool) -> None:
    steps, rounds = (4, 2) if quick else (125, 6)
    rows, first = [], None
    for codec in ("fp32", "int8", "int4-delta", "sparse"):
        loss, bytes_ = train_text(codec, steps, rounds, small=quick)
        first = first or loss
        rows.append([f"`{codec}`", f"{loss:.3f}", f"{100 * (loss / first - 1):+.1f}", f"{bytes_:.4f}"])
    header = ["codec", "loss, nats a character", "more than fp32, %", "bytes up a value and inner step"]
    show(f"A transformer on text, 4 peers, {steps} steps a round, {rounds} rounds", header, rows)
    header = [
        "learning rate",
        "changed in a version, %",
        "bytes a value",
        "smaller than bfloat16",
        "with the whole versions",
        "bit-identical",
    ]
    model = learned(small=quick)
    show(
        "`patch`: a transformer that is fine-tuned in bfloat16, 20 steps a version",
        header,
        [fine_tune(model, rate, 3 if quick else 30) for rate in (1e-6, 3e-6, 1e-5)],
    )


def arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="processes beside each other")
    parser.add_argument("--text", action="store_true", help="train on text too")
    parser.add_argument("--quick", action="store_true", help="small and meaningless: whether it runs")
    return parser.parse_args()


if __name__ == "__main__":
    options = arguments()
    print(describe(), flush=True)
    digits_tables(options.seeds, *((5, 6) if options.quick else (20, 100)), options.jobs)
    if options.text or options.quick:
        text_tables(options.quick)
