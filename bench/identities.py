"""What a member with as many identities as there are others costs them: `python bench/identities.py [--rounds 150] [--quick]`.

Forty peers run the real node under virtual time, with the defaults of a peer's file and the codec `fp32`. Twenty are identities of one
member. They serve sound models until the twenty honest ones, whom we watch, have merged one of each, and then fail them (decision 0031).
Beside it stands the same swarm where all forty are honest. Nothing depends on the machine. Twenty minutes.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: these models are too small for threads

import attrs
import numpy as np
import trio
from machine import describe
from tables import show

import learnae
from learnae.plugins.codec import Fp32
from learnae.plugins.hooks import Plugin
from learnae.plugins.manager import PluginManager
from learnae.plugins.memory import MemoryStorage
from learnae.records import Block, Cid, Encoded, PeerId
from learnae.testing.swarm import Model, SimulatedPeer, SimulatedSwarm, run_in_virtual_time

HONEST, WINDOW = 20, 50
SHAPE = 33, 33  # as few values as a codec is asked for
UNTOUCHED, SILENT, BROKEN, FIRST = "none", "blocks never come", "not finite", "blocks never come, there first"
AHEAD = 30.0  # seconds by which the identities are there first


@attrs.define
class Member:
    """What its identities know: whose a root is, which one each of the watched was served, and who has merged whom."""

    attack: str = UNTOUCHED
    watched: Sequence[SimulatedPeer] = ()
    identities: set[PeerId] = attrs.field(factory=set)
    owners: dict[Cid, PeerId] = attrs.field(factory=dict)
    served: dict[tuple[PeerId, PeerId], Cid] = attrs.field(factory=dict)
    merged: dict[PeerId, set[PeerId]] = attrs.field(factory=dict)  # of each identity, who has merged it

    def serves(self, cid: Cid, victim: PeerId) -> bool:
        """The first update that this one asks for, and no other."""
        if self.attack not in (SILENT, FIRST) or victim in self.identities or (owner := self.owners.get(cid)) is None:
            return True
        return self.served.setdefault((victim, owner), cid) == cid

    def look(self) -> None:
        """At what the watched have reported: let the identities know who has merged them."""
        for peer in self.watched:
            for verdict in (verdict for report in peer.trainer.reports[-3:] for verdict in report.verdicts if verdict.merged):
                self.merged.setdefault(verdict.peer, set()).add(peer.peer)

    def is_broken(self, identity: PeerId) -> bool:
        return self.attack == BROKEN and len(self.merged.get(identity, ())) == len(self.watched)


class Choosy(MemoryStorage):
    """Memory in which the member's blocks are not found by whom they are kept from."""

    async def put(self, root: Cid, blocks: Any) -> None:
        member = self.context.share(Member)
        if self.context.peer in member.identities:
            member.owners[root] = self.context.peer
        await super().put(root, blocks)

    async def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        member = self.context.share(Member)
        if not all(member.serves(cid, self.context.peer) for cid in cids):
            await trio.sleep_forever()  # until the deadline
        await super().get(cids, deliver, hints=hints)


class Spoilt(Fp32):
    """What the member's identities write, once all have merged them: no node publishes that of a model, so the codec brings it in."""

    def encode(self, name: str, tensor: Any, base: Any, rng: np.random.Generator) -> Encoded:
        broken = self.context.share(Member).is_broken(self.context.peer)
        return super().encode(name, np.full_like(tensor, np.nan) if broken else tensor, base, rng)


class MemberPlugin:
    @learnae.hookimpl
    def learnae_register_storage(self) -> dict[str, type[MemoryStorage]]:
        return {"choosy": Choosy}

    @learnae.hookimpl
    def learnae_register_codec(self) -> dict[str, type[Fp32]]:
        return {"spoilt": Spoilt}


async def useful(attack: str, rounds: int, honest: int) -> list[tuple[float, float]]:
    """For each window: the updates that an honest peer merged in a round, and the seconds between its rounds; means of all of them."""
    manager = PluginManager.discover(only=())
    manager.register(MemberPlugin(), Plugin("member"))
    async with SimulatedSwarm(seed=0, settings={"storage": {"use": "choosy"}, "join": {"wait_seconds": 0.0}}, manager=manager) as swarm:
        member = swarm.shared(Member)
        identities = [_peer(swarm, index, "spoilt") for index in range(honest)]
        member.attack, member.identities = attack, {peer.peer for peer in identities}
        member.watched = [_peer(swarm, index, "fp32") for index in range(honest, 2 * honest)]
        for peer in identities:
            peer.start()
        if attack == FIRST:
            await trio.sleep(AHEAD)
        for peer in member.watched:
            peer.start()
        began, ends = trio.current_time(), []
        for end in range(WINDOW, rounds + 1, WINDOW):
            while not all(peer.trainer.reports and peer.trainer.reports[-1].round >= end for peer in member.watched):
                await trio.sleep(1.0)
                member.look()
            ends.append(trio.current_time())
        return [
            (_merged_in_a_round(member.watched, index * WINDOW), (end - before) / WINDOW)
            for index, (before, end) in enumerate(zip([began, *ends], ends, strict=False))
        ]


def _peer(swarm: SimulatedSwarm, index: int, codec: str) -> SimulatedPeer:
    rng = np.random.default_rng(index)

    def train(model: Model) -> int:
        model["w"] += rng.normal(0, 0.01, SHAPE).astype(np.float32)
        return 1

    model = {"w": np.zeros(SHAPE, np.float32)}
    peer = swarm.peer(f"peer-{index}", model, train, round_seconds=lambda: rng.uniform(0.9, 1.1), settings={"codec": {"use": codec}})
    peer.trainer.progress = attrs.evolve(peer.trainer.progress, lineage=b"together")
    return peer


def _merged_in_a_round(peers: Sequence[SimulatedPeer], after: int) -> float:
    reports = [report for peer in peers for report in peer.trainer.reports if after < report.round <= after + WINDOW]
    return sum(report.merged for report in reports) / len(reports)


def main(rounds: int, honest: int) -> None:
    print(describe(), flush=True)
    found = {attack: run_in_virtual_time(partial(useful, attack, rounds, honest)) for attack in (UNTOUCHED, SILENT, BROKEN, FIRST)}

    def cell(attack: str, index: int) -> str:
        merged, seconds = found[attack][index]
        before = found[UNTOUCHED][index][0]
        return f"{merged:.2f}, {seconds:.2f} s" + (f", lost {1 - merged / before:.0%}" if attack != UNTOUCHED else "")

    windows = range(len(found[UNTOUCHED]))
    show(
        f"Useful fetches in a round of {honest} honest peers beside {honest} identities of one member, and how long a round takes",
        ["then the identities", *(f"rounds {index * WINDOW + 1} to {(index + 1) * WINDOW}" for index in windows)],
        [[attack, *(cell(attack, index) for index in windows)] for attack in found],
    )


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=150, help=f"a multiple of {WINDOW}")
    options.add_argument("--quick", action="store_true", help="small and meaningless: whether it runs")
    chosen = options.parse_args()
    main(WINDOW, 4) if chosen.quick else main(chosen.rounds, HONEST)
