"""Two of twenty that lie about how far they have come, in each way that we could think of: nobody believes more than twice the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
import pytest

from learnae.node.claims import FASTEST, Claims, adopted_age, bounded, held, lower_median
from learnae.records import LocalModel, PeerId, Received
from tests.support.records import an_update
from tests.support.simulated import LINEAGE

MOST, OLD = np.iinfo(np.int64).max, 1 << 48
COUNTS = "bn.num_batches_tracked"

LIES: dict[str, Callable[[int, int], tuple[int, int]]] = {
    "the largest there is": lambda truth, round_: (MOST, OLD),
    "thrice the truth": lambda truth, round_: (3 * truth, 3 * truth),
    "a tenth more each round": lambda truth, round_: (min(MOST, int(1.1**round_)), min(OLD, int(1.1**round_))),
    "nothing at all": lambda truth, round_: (0, 0),
    "now this, now that": lambda truth, round_: (MOST, 0) if round_ % 2 else (-MOST, OLD),
    "a little more than the oldest": lambda truth, round_: (truth + 1, truth + 1),
}


def received(name: str, count: int, age: int) -> Received:
    update = an_update(lineage=LINEAGE, age=age, codec="fp32")
    return Received(peer=PeerId(name), update=update, tensors={COUNTS: np.array(count)})


@attrs.define
class Peer:
    """What a node does with ages and counters, and nothing else."""

    name: str
    pace: float = 1.0  # steps for each of its rounds
    count: int = 0
    age: int = 0
    rounds: int = 0
    claims: Claims = attrs.field(factory=lambda: Claims([COUNTS], LINEAGE))

    def publishes(self) -> Received:
        return received(self.name, self.count, self.age)

    def trains(self, steps: int) -> None:
        self.count, self.age, self.rounds = self.count + steps, self.age + steps, self.rounds + 1

    def merges(self, accepted: Sequence[Received], here: int) -> None:
        current = {COUNTS: np.array(self.count)}
        local = LocalModel(start=current, current=current, age=self.age)
        believed = self.claims.believe(local, accepted, LINEAGE, self.rounds, here=here, provisional=self.rounds <= 10)
        seen = bounded(accepted, believed.counters)
        self.count = max(self.count, *(int(item.tensors[COUNTS]) for item in seen))
        self.age = believed.age
        self.claims.merged(local, believed, {COUNTS: np.array(self.count)})

    def joins(self, obtained: Sequence[Received], announced: Sequence[Received]) -> None:
        """As settling and newcomers do it."""
        self.trains(1)
        items: Any = [_obtained(item) for item in obtained]
        age = adopted_age(items[0], items, [item.update.age for item in announced])
        count = held(lower_median([item.tensors[COUNTS] for item in obtained]), np.array(self.count), self.age, age)
        self.count, self.age = int(count), age


def _obtained(item: Received) -> Any:
    class Of:
        entry: Any = type("Entry", (), {"update": item.update})

    return Of


@attrs.define
class Swarm:
    """Everybody publishes, then fetches some. `pestered`: all liars are among the fetched in every second round."""

    honest: list[Peer]
    lie: Callable[[int, int], tuple[int, int]]
    fetched: int
    liars: int = 2
    pestered: bool = True
    rng: np.random.Generator = attrs.field(factory=lambda: np.random.default_rng(0))
    round: int = 0

    def live(self, rounds: int, newcomers: Sequence[int] = ()) -> list[Peer]:
        """Returns those that joined in these rounds; each of the obtained models is a liar's for as many as there are."""
        new = []
        for _ in range(rounds):
            self.round += 1
            for peer in self.honest:
                peer.trains(int(peer.pace * (self.round + 1)) - int(peer.pace * self.round))
            truth = max(peer.age for peer in self.honest)
            lies = [received(f"liar-{index}", *self.lie(truth, self.round)) for index in range(self.liars)]
            said = {peer.name: peer.publishes() for peer in self.honest}
            for peer in self.honest:
                peer.merges(self._fetched_by(peer, said, lies), here=len(said) + len(lies) - 1)
            if self.round in newcomers:
                new.append(Peer(f"new-{self.round}"))
                new[-1].joins([*lies, *said.values()][:3], [*said.values(), *lies])
                self.honest.append(new[-1])
        return new

    def _fetched_by(self, peer: Peer, said: dict[str, Received], lies: list[Received]) -> list[Received]:
        others = [item for name, item in said.items() if name != peer.name]
        if self.pestered and peer.rounds % 2:
            others = [others[place] for place in self.rng.permutation(len(others))[: max(0, self.fetched - len(lies))]]
            return [*lies, *others][: self.fetched]
        return [(others + lies)[place] for place in self.rng.permutation(len(others) + len(lies))[: self.fetched]]


def far(peers: Sequence[Peer]) -> tuple[int, int]:
    return max(peer.count for peer in peers), max(peer.age for peer in peers)


@pytest.mark.parametrize("fetched", [2, 4])
@pytest.mark.parametrize("lie", LIES)
def test_two_liars_of_twenty_raise_nothing_beyond_twice_the_truth_in_200_rounds(lie: str, fetched: int) -> None:
    swarm = Swarm([Peer(f"h{index}") for index in range(18)], LIES[lie], fetched)
    new = swarm.live(200, newcomers=(50, 100, 150))
    for peers in (swarm.honest, new):
        for value in far(peers):
            assert value <= 2 * 200
    assert min(peer.age for peer in swarm.honest[:18]) >= 200
    assert min(peer.count for peer in new) >= 180  # whoever claims too little holds nobody back


@pytest.mark.parametrize("lie", ["the largest there is", "nothing at all"])
def test_peers_that_are_slower_than_most_come_up_with_them_and_no_further(lie: str) -> None:
    paces = [1.0] * 12 + [0.1] * 6
    swarm = Swarm([Peer(f"h{index}", pace) for index, pace in enumerate(paces)], LIES[lie], 2)
    swarm.live(200)
    slow = swarm.honest[12:]
    assert all(150 <= peer.age <= 210 and 150 <= peer.count <= 210 for peer in slow)


def test_a_liar_cannot_make_peers_pass_a_lie_on_to_each_other() -> None:
    """Those that it has raised would be its witnesses."""
    swarm = Swarm([Peer(f"h{index}") for index in range(18)], LIES["a little more than the oldest"], 2)
    swarm.live(200)
    assert max(far(swarm.honest)) <= 202


@pytest.mark.parametrize("fetched", [2, 4])
def test_where_all_others_lie_age_and_counters_still_grow_with_the_own_steps_alone(fetched: int) -> None:
    swarm = Swarm([Peer("h0")], LIES["the largest there is"], fetched, liars=12, pestered=False)
    swarm.live(200)
    assert max(far(swarm.honest)) <= 200 * (FASTEST + 1)


def test_a_small_swarm_heals_after_a_partition() -> None:
    """Of three peers one has lost a thousand steps: two others say so."""
    swarm = Swarm([Peer("h0", age=1000, count=1000), Peer("h1", age=1000, count=1000), Peer("h2")], LIES["nothing at all"], 2, liars=0)
    swarm.live(60)
    assert all(1060 <= value <= 1062 for value in far(swarm.honest[2:]))


def test_a_newcomer_that_heard_only_liars_is_put_right_when_it_has_heard_others() -> None:
    swarm = Swarm([Peer(f"h{index}") for index in range(18)], LIES["the largest there is"], 2)
    swarm.live(50)
    newcomer = Peer("new")
    lies = [received(f"liar-{index}", MOST, OLD) for index in range(2)]
    newcomer.joins(lies, lies)
    assert newcomer.age == OLD
    swarm.honest.append(newcomer)
    swarm.live(20)
    assert newcomer.age <= 140
