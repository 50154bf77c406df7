"""Whom a peer reaches in a large swarm without a DHT: `python bench/libp2p_large.py [--peers 200] [--quick]`. Some minutes.

Peers come one a second, each with the address of one that is there already, over a fake network under virtual time; the exchange of peers
and the redialling are real. Then the first and a quarter of the rest are killed at once. Looked at is the graph of connections: whether a
mesh of gossip (three random connections of each) reaches everybody, and whether somebody finds one of `k` peers that still have the
blocks of an author who has left, by asking those who are connected to him, or if these asked theirs.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import structlog
import trio
from machine import describe
from tables import show

from plugins.libp2p.tests.support.exchanging_peers import ExchangingSwarm, in_exchanging_swarm

ASKED = 16  # as `FetchJob` does it
MESH = 3
HOLDERS = (1, 2, 4, 8)
TRIES = 2000
MESHES = 20

Graph = Mapping[str, frozenset[str]]


async def grow(swarm: ExchangingSwarm, peers: int) -> list[tuple[str, Graph]]:
    """The connections at some moments."""
    chance, seen = random.Random(0), list[tuple[str, Graph]]()
    swarm.start("p0")
    for number in range(1, peers):
        swarm.start(f"p{number}", f"p{chance.randrange(number)}")
        await trio.sleep(1.0)
    await trio.sleep(60.0)
    seen.append(("a minute after the last has come", graph_of(swarm)))
    swarm.kill("p0")
    for name in chance.sample(sorted(swarm.peers), peers // 4):
        swarm.kill(name)
    seen.append(("when the first and a quarter were killed", graph_of(swarm)))
    await trio.sleep(60.0)
    seen.append(("a minute later", graph_of(swarm)))
    return seen


def graph_of(swarm: ExchangingSwarm) -> Graph:
    return {name: frozenset(peer.connected() & swarm.peers.keys()) for name, peer in swarm.peers.items()}


def steps_from(graph: Mapping[str, Iterable[str]], start: str) -> dict[str, int]:
    """How many connections lie between, for all who are reached."""
    steps, waiting = {start: 0}, deque([start])
    while waiting:
        one = waiting.popleft()
        for other in graph[one]:
            if other not in steps:
                steps[other] = steps[one] + 1
                waiting.append(other)
    return steps


def reached_by_gossip(graph: Graph, chance: random.Random) -> float:
    """The share of peers that a random mesh reaches."""
    mesh: dict[str, set[str]] = {name: set() for name in graph}
    for name, others in graph.items():
        for other in chance.sample(sorted(others), min(MESH, len(others))):
            mesh[name].add(other)
            mesh[other].add(name)
    return len(steps_from(mesh, min(graph))) / len(graph)


def found(graph: Graph, holders: int, chance: random.Random) -> tuple[float, float]:
    """The share of askers who find one of so many holders, by asking; and if those whom they ask asked theirs."""

    def asked_by(name: str) -> list[str]:
        return chance.sample(sorted(graph[name]), min(ASKED, len(graph[name])))

    one = two = 0
    for _ in range(TRIES):
        asker, *having = chance.sample(sorted(graph), holders + 1)
        asked = asked_by(asker)
        there = not set(having).isdisjoint(asked)
        one += there
        two += there or any(not set(having).isdisjoint(asked_by(other)) for other in asked)
    return one / TRIES, two / TRIES


def main(peers: int) -> None:
    print(describe(), flush=True)
    with tempfile.TemporaryDirectory(prefix="learnae-bench-") as folder:
        moments = in_exchanging_swarm(Path(folder), lambda swarm: grow(swarm, peers))
    chance, graphs, having = random.Random(0), list[tuple[str, ...]](), list[tuple[str, ...]]()
    for name, graph in moments:
        degrees = sorted(map(len, graph.values()))
        far = [steps_from(graph, start) for start in graph]
        gossip = [reached_by_gossip(graph, chance) for _ in range(MESHES)]
        graphs.append(
            (
                name,
                str(len(graph)),
                f"{statistics.median(degrees):.0f} ({degrees[0]} to {degrees[-1]})",
                f"{min(map(len, far)) / len(graph):.0%}",
                str(max(max(steps.values()) for steps in far)),
                f"{min(gossip):.0%}",
            )
        )
        shares = [found(graph, holders, chance) for holders in HOLDERS]
        having.append((name, *(f"{near:.0%} / {further:.0%}" for near, further in shares)))
    header = ("", "peers", "connections", "reached", "steps at most", f"reached by gossip, the worst of {MESHES}")
    show(f"{peers} peers", header, graphs)
    show("Who finds blocks of an author who has left, by asking / by one hop more", ("", *(f"{k} holders" for k in HOLDERS)), having)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--peers", type=int, default=200)
    options.add_argument("--quick", action="store_true", help="small and meaningless: whether it runs")
    chosen = options.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    main(20 if chosen.quick else chosen.peers)
