"""How much of its speed a trainer keeps: CPU seconds for 1,000 steps without Learnae, and those of trainer and node together with it."""

from __future__ import annotations

import statistics

from crew import crew, meet
from crew import peers as crew_of
from tables import show

ROWS = 50_000


def show_throughput(steps: int, repeats: int, peers: int) -> None:
    """Beside the other peers, and for comparison beside nobody; taking turns, since machines grow warm."""
    measured: dict[str, list[tuple[float, float]]] = {"alone": [], "beside the others": [], "with Learnae, beside the others": []}
    for _ in range(repeats):
        measured["alone"].append(cpu_of_1000("alone", 1, steps))
        measured["beside the others"].append(cpu_of_1000("alone", peers, steps))
        measured["with Learnae, beside the others"].append(cpu_of_1000("learnae", peers, steps))
    middle = {name: [statistics.median(column) for column in zip(*values, strict=True)] for name, values in measured.items()}
    base = sum(middle["beside the others"])
    rows = [(name, f"{own:.2f}", f"{node:.2f}", f"{base / (own + node):.3f}") for name, (own, node) in middle.items()]
    title = f"CPU s for 1,000 steps of each of {peers} peers (139,265 parameters, batch 256, a round every 50 steps)"
    show(title, ("", "trainer", "node", "throughput kept"), rows)


def cpu_of_1000(way: str, count: int, steps: int) -> tuple[float, float]:
    """Of a trainer and of its node, the mean of the peers."""
    spec = {"job": "train", "way": way, "seed": 0, "steps": steps, "rows": ROWS, "test_rows": 1, "shares": count, "local_steps": 50}
    with crew(crew_of(count, **spec)) as workers:
        meet(workers)
        ends = [worker.hear_until("trained")[-1]["end"] for worker in workers]
    own, node = (statistics.fmean(end[key] for end in ends) * 1000 / steps for key in ("trainer_cpu", "node_cpu"))
    return own, node
