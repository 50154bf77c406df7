"""What the swarm is worth: each peer alone, with the weights of others, and with their rows too. `python compare.py`.

Real processes, the same files, the same steps, one after the other. Prints a table, and writes it with a picture into the folder.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from processes import Peer, ended

AIRPORTS = ("ewr", "jfk", "lga")
PEERS = ("workstation", *AIRPORTS)
WAYS: Mapping[str, Callable[[str], list[str]]] = {
    "alone": lambda name: [f"swarm.name=alone-{name}"],  # a swarm of its own, in which nobody else is
    "weights": lambda name: ["data.accept_bytes=0"] if name in AIRPORTS else [],
    "weights and rows": lambda name: [],
}

Curve = Sequence[tuple[int, float]]  # step, AUC


def measure(keys: Callable[[str], list[str]], folder: Path, steps: int) -> Mapping[str, Curve]:
    """The AUC of each peer by its steps, after all have made so many."""
    peers = list[Peer]()
    with ended(peers):
        peers += (Peer.start(name, folder, keys(name), ["--steps", str(steps)]) for name in PEERS)
        for peer in peers:
            if peer.process.wait() != 0:
                sys.exit(f"{peer.name} has failed:\n{peer.log}")
    return {peer.name: [(moment["step"], moment["metrics"]["auc"]) for moment in peer.said] for peer in peers}


def table(found: Mapping[str, Mapping[str, Curve]]) -> str:
    """The last AUC, and in brackets the best one that was seen on the way."""
    rows = [["peer", *found], ["---", *("---:" for _ in found)]]
    rows += ([name, *(_last_and_best(curves[name]) for curves in found.values())] for name in PEERS)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _last_and_best(curve: Curve) -> str:
    return f"{curve[-1][1]:.3f} ({max(auc for _, auc in curve):.3f})"


def draw(found: Mapping[str, Mapping[str, Curve]], path: Path) -> None:
    try:
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot
    except ImportError:
        print('No picture without matplotlib: pip install "learnae[demo]"', file=sys.stderr)
        return
    figure, axes = pyplot.subplots(1, len(found), figsize=(11, 3.6), sharey=True, layout="constrained")
    for place, (way, curves) in zip(axes, found.items(), strict=True):
        for name, curve in curves.items():
            place.plot(*zip(*curve, strict=True), label=name)
        place.set(title=way, xlabel="steps")
        place.grid(alpha=0.3)
    axes[0].set_ylabel("AUC on flights of days 25 to 31")
    axes[-1].legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=800, help="of each peer")
    options.add_argument("--out", type=Path, help="a new folder for homes, table and picture; without it a temporary one")
    chosen = options.parse_args()
    folder = chosen.out or Path(tempfile.mkdtemp(prefix="flights-"))
    found = dict[str, Mapping[str, Curve]]()
    for way, keys in WAYS.items():
        print(f"{way} ...", file=sys.stderr)
        found[way] = measure(keys, folder.absolute() / way.replace(" ", "-"), chosen.steps)
    print(table(found))
    (folder / "outcome.md").write_text(table(found) + "\n")
    draw(found, folder / "outcome.png")
    print(f"\n{folder}/outcome.png shows how it went.")


if __name__ == "__main__":
    main()
