"""A swarm over libp2p under churn: `python bench/libp2p_churn.py [--peers 16] [--seconds 300] [--seed 0] [--quick]`.

Each peer is a process with a real node, a real host, gossipsub and the storage; its trainer moves some numbers. All but the first know the
address of the first alone. First it loses its first, its best connected and three random peers within a minute. Then, until the end, one
after the other is killed or frozen at random, and comes back a while later. A round counts if its peer had not started, frozen or lost its
own process since its last one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

import attrs
import psutil
import trio
from machine import describe
from tables import show

from plugins.libp2p.tests.support.member_swarm import MemberProcess, MemberSwarm, member_swarm

MIB = 2**20
GOAL_PSS = 180
RETURN_SECONDS = (5.0, 20.0)
FROZEN_SECONDS = (5.0, 40.0)  # some are longer away than a heartbeat waits
EVERY_SECONDS = 8.0  # between two strokes
SETTLED_ROUNDS = 3  # of a life, until others have heard of it and it of them
LIMIT_SECONDS = 300.0  # to meet, and to calm down again


@attrs.define
class Observed:
    """What was seen of all peers."""

    pss: list[tuple[float, float]] = attrs.field(factory=list)  # after so many seconds, the largest
    medians: list[float] = attrs.field(factory=list)
    shm: list[float] = attrs.field(factory=list)
    connections: list[float] = attrs.field(factory=list)
    strokes: Counter[str] = attrs.field(factory=Counter)
    disturbed: set[int] = attrs.field(factory=set)  # by the identity of their records: rounds that do not count


async def main(peers: int, seconds: float, seed: int, round_seconds: float) -> None:
    print(f"{describe()}, libp2p {version('libp2p')}", flush=True)
    seen, chance = Observed(), Random(seed)
    with tempfile.TemporaryDirectory(prefix="learnae-bench-") as folder:
        async with member_swarm(Path(folder), peers, round_seconds) as swarm:
            began = time.monotonic()
            with trio.fail_after(LIMIT_SECONDS):
                await swarm.start()
                await swarm.merge(rounds=2)
            print(f"\n{peers} peers met, and each merged in two rounds, after {time.monotonic() - began:.0f} s", flush=True)
            rows = [table_row("the first, the best connected and others are killed", await five_die(swarm, chance))]
            rows.append(table_row(f"{seconds:.0f} s of churn", await churn(swarm, seen, chance, seconds)))
            with trio.fail_after(LIMIT_SECONDS):
                calm = await swarm.merge(rounds=3)
            rows.append(table_row("then, without", [one for made in calm.values() for one in made]))
    title = f"Rounds of {peers} peers, one in {round_seconds:.0f} to {2 * round_seconds:.0f} s"
    show(title, ("", "rounds", "of them with a merge", "merges in one, on average", "failed fetches in one"), rows)
    show_observed(seen)


async def five_die(swarm: MemberSwarm, chance: Random) -> list[Mapping[str, Any]]:
    """The rounds of the others, until each has merged three times in a row."""
    begin = {member: len(member.rounds) for member in swarm.members}
    swarm.first.kill()
    swarm.best_connected.kill()
    for victim in chance.sample(swarm.alive, min(3, len(swarm.alive) - 2)):
        victim.kill()
    with trio.fail_after(LIMIT_SECONDS):
        await swarm.merge(rounds=3)
    return [one for member in swarm.alive for one in member.rounds[begin[member] :]]


async def churn(swarm: MemberSwarm, seen: Observed, chance: Random, seconds: float) -> list[Mapping[str, Any]]:
    """The dead return; then strokes until the end. Returns the rounds of those who were left alone, for as long as they were."""
    begin, undisturbed = time.monotonic(), list[Mapping[str, Any]]()
    counted = {member: len(member.rounds) for member in swarm.members}

    def count(member: MemberProcess, *, skip: int) -> None:
        """Whatever it has made since it was looked at last; the next ones from so many rounds on."""
        undisturbed.extend(member.rounds[counted[member] :])
        counted[member] = len(member.rounds) + skip

    async def comes_back(member: MemberProcess, after: float) -> None:
        await trio.sleep(after)
        await member.start(swarm.nursery)
        count(member, skip=SETTLED_ROUNDS)

    async def thaws(member: MemberProcess, after: float) -> None:
        await trio.sleep(after)
        member.thaw()
        frozen.discard(member)
        counted[member] = len(member.rounds) + SETTLED_ROUNDS

    frozen = set[MemberProcess]()
    async with trio.open_nursery() as nursery:
        for member in swarm.members:
            if not member.alive:
                nursery.start_soon(comes_back, member, chance.uniform(0.0, RETURN_SECONDS[1]))
        while time.monotonic() - begin < seconds:
            await trio.sleep(EVERY_SECONDS * chance.uniform(0.5, 1.5))
            await trio.to_thread.run_sync(look, swarm, seen, time.monotonic() - begin)
            victims = [member for member in swarm.alive if member not in frozen and ("ready", "") in member.told]
            if len(victims) <= len(swarm.members) // 2:
                continue
            victim = chance.choice(victims)
            count(victim, skip=0)
            if chance.random() < 0.5:
                seen.strokes["killed"] += 1
                victim.kill()
                nursery.start_soon(comes_back, victim, chance.uniform(*RETURN_SECONDS))
            else:
                seen.strokes["frozen"] += 1
                victim.freeze()
                frozen.add(victim)
                nursery.start_soon(thaws, victim, chance.uniform(*FROZEN_SECONDS))
    for member in swarm.members:
        count(member, skip=0)
    return undisturbed


def look(swarm: MemberSwarm, seen: Observed, after: float) -> None:
    """The memory of each, and what lies in shared memory. In a thread: the kernel counts pages for it."""
    sizes = []
    for member in swarm.alive:
        try:
            sizes.append(psutil.Process(member.running.pid).memory_full_info().pss / MIB)
        except (psutil.Error, AssertionError):  # it has just ended
            continue
    room = os.statvfs("/dev/shm")
    seen.pss.append((after, max(sizes)))
    seen.medians.append(statistics.median(sizes))
    seen.shm.append((room.f_blocks - room.f_bfree) * room.f_frsize / MIB)
    seen.connections.append(statistics.median(len(member.connected) for member in swarm.alive))


def table_row(name: str, made: list[Mapping[str, Any]]) -> tuple[str, ...]:
    merging = sum(one["merged"] > 0 for one in made) / len(made)
    merged, failed = (statistics.fmean(one[key] for one in made) for key in ("merged", "failed"))
    return (name, str(len(made)), f"{merging:.1%}", f"{merged:.2f}", f"{failed:.2f}")


def show_observed(seen: Observed) -> None:
    third = max(1, len(seen.pss) // 3)
    rows = [
        (name, f"{statistics.median(values[:third]):.1f}", f"{statistics.median(values[-third:]):.1f}", f"{max(values):.1f}")
        for name, values in (
            (f"PSS of a node, the median one, MiB (goal {GOAL_PSS})", seen.medians),
            ("PSS of a node, the largest one, MiB", [size for _, size in seen.pss]),
            ("in /dev/shm, MiB", seen.shm),
            ("connections of a peer, the median one", seen.connections),
        )
    ]
    show(f"{seen.strokes['killed']} were killed and {seen.strokes['frozen']} frozen", ("", "first third", "last third", "most"), rows)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--peers", type=int, default=16)
    options.add_argument("--seconds", type=float, default=300.0)
    options.add_argument("--round-seconds", type=float, default=4.0)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--quick", action="store_true", help="small and meaningless: whether it runs")
    chosen = options.parse_args()
    if chosen.quick:
        chosen.peers, chosen.seconds, chosen.round_seconds = 5, 10.0, 1.0
    trio.run(main, chosen.peers, chosen.seconds, chosen.seed, chosen.round_seconds)
