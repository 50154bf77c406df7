"""A program that changes a pool until it is killed. Before and after each change it prints a line. Arguments: the home, a seed."""

from __future__ import annotations

import random
import sys
from pathlib import Path

from learnae.data.pool import Pool
from learnae.records import PeerId
from tests.support.slices import images, one_slice, root_of

QUOTA = 400_000
PEERS = [PeerId(digit * 64) for digit in "123"]


def main(home: Path, seed: int) -> None:
    rng = random.Random(seed)
    pool = Pool(home, QUOTA)
    for peer in PEERS:
        pool.allow(peer)  # the last one may have been killed before it did
    for number in range(100_000):
        made = one_slice(images(400, seed=seed * 1000 + number))
        root, peer = root_of(made), rng.choice(PEERS)
        say("adding", root, peer)
        say("added", root, peer, *pool.add(root, made, peer).evicted)
        if number % 7 == 6:
            say("forgetting", peer)
            say("forgot", peer, *pool.forget(peer))
            pool.allow(peer)


def say(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
