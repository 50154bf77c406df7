"""The acceptance table of the merge rules, ours beside the reference: `make reproduce`, or `python bench/reproduce.py [--rows TEXT]`.

Each row is setting D20 (twenty peers on the digits) through the real node under virtual time. The reference is a simulator of synchronous
rounds without a network, in which a row was the mean of three to five seeds. Several runs go on at once, and each is told as it ends. What
came of it is a table, `reproduce.csv` and `reproduce.png`. A run is 20 to 60 seconds of one core. Needs scikit-learn and matplotlib.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: these matrices are too small for threads

import attrs
from acceptance_rows import ROWS, Case, Row
from machine import describe
from tables import show

HEADER = ["row", "must be", "reference", "ours", "reached", "note"]


@attrs.frozen
class Outcome:
    """What came of one row."""

    row: Row
    ours: float

    @property
    def reached(self) -> bool:
        return self.ours <= self.row.bound if self.row.at_most else self.ours >= self.row.bound

    def cells(self) -> list[str]:
        must = f"{'at most' if self.row.at_most else 'at least'} {self.row.bound:g}"
        return [self.row.name, must, f"{self.row.reference:g}", f"{self.ours:.1f}", "yes" if self.reached else "no", self.row.note]


def run(case: Case) -> tuple[str, float]:
    """The key of the case, and the mean of the honest peers' accuracies after the last round, in %."""
    return case.key, 100 * statistics.mean(case.d20.accuracies())


def measure(rows: Sequence[Row], seeds: int, processes: int) -> list[Outcome]:
    """Run all cases of all rows; a case that several rows have runs once."""
    cases = {case.key: case for row in rows for each in row.cases for case in each.seeded(seeds)}
    found: dict[str, float] = {}
    with get_context("spawn").Pool(processes) as pool:
        for key, value in pool.imap_unordered(run, cases.values()):
            found[key] = value
            print(f"{len(found)} of {len(cases)}: {key}: {value:.1f} %", flush=True)
    means = {row.name: [statistics.mean(found[case.key] for case in each.seeded(seeds)) for each in row.cases] for row in rows}
    return [Outcome(row, row.come_to(means[row.name])) for row in rows]


def write(outcomes: Sequence[Outcome], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "reproduce.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(HEADER)
        table.writerows(outcome.cells() for outcome in outcomes)
    _draw(outcomes, folder / "reproduce.png")


def _draw(outcomes: Sequence[Outcome], file: Path) -> None:
    """Ours as bars, the reference as diamonds, and what must be reached as lines."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 1.2 + 0.34 * len(outcomes)), layout="constrained")
    axes = figure.subplots()
    places = range(len(outcomes))
    colours = ["#0072b2" if outcome.reached else "#d55e00" for outcome in outcomes]
    axes.barh(places, [outcome.ours for outcome in outcomes], color=colours, height=0.6, label="ours (orange: missed)")
    axes.plot([outcome.row.reference for outcome in outcomes], places, "D", color="#333333", markersize=5, label="reference")
    axes.plot([outcome.row.bound for outcome in outcomes], places, "|", color="#cc79a7", markersize=14, label="must be")
    axes.set_yticks(places, [outcome.row.name for outcome in outcomes])
    axes.invert_yaxis()
    axes.set(xlabel="accuracy in %, or points apart", xlim=(-1, 101))
    axes.legend(loc="lower left", frameon=True)
    figure.set_canvas(FigureCanvasAgg(figure))
    figure.savefig(file)


def main(rows: Sequence[Row], seeds: int, processes: int, folder: Path) -> bool:
    """Whether every row was reached."""
    print(describe(), flush=True)
    outcomes = measure(rows, seeds, processes)
    write(outcomes, folder)
    show(f"Ours beside the reference; {seeds} seeds", HEADER, [outcome.cells() for outcome in outcomes])
    print(
        f"\n{sum(outcome.reached for outcome in outcomes)} of {len(outcomes)} rows reached; {folder / 'reproduce.csv'} and .png", flush=True
    )
    return all(outcome.reached for outcome in outcomes)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", default="", help="those alone whose name holds this")
    options.add_argument("--seeds", type=int, default=1)
    options.add_argument("--processes", type=int, default=2, help="runs at a time")
    options.add_argument("--out", type=Path, default=Path("out"), help="the folder for table and picture")
    options.add_argument("--quick", action="store_true", help="six peers and four rounds: whether it runs, the figures mean nothing")
    chosen = options.parse_args()
    wanted = [row for row in ROWS if chosen.rows in row.name] or options.error("no row has this in its name")
    wanted = [row.shortened() for row in wanted] if chosen.quick else wanted
    main(wanted, chosen.seeds, chosen.processes, chosen.out)
