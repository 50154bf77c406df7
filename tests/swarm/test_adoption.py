"""The adoption protocol under lags, losses and kills: scalar consensus through the real node, always."""

import attrs
import numpy as np
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from learnae.testing.swarm import MemoryTrainer, SimulatedPeer, SimulatedSwarm, run_in_virtual_time

FAULTY_SECONDS, CALM_SECONDS = 20, 40
SANE_ONLY = {"gate": {"use": "sane"}}  # clipping would slow consensus down: it has tests of its own

faults = st.lists(
    st.tuples(
        st.sampled_from(["node", "node with an offer outstanding", "node during an evaluation", "trainer"]),
        st.integers(0, 3),  # whom
        st.floats(0.1, 3.0),  # seconds since the fault before
    ),
    max_size=8,
)


def idle(model) -> int:
    return 1


class Peer:
    """A peer with one number as its model, and what can befall it."""

    def __init__(self, swarm: SimulatedSwarm, index: int, lag: int) -> None:
        self.lag = lag
        self.simulated: SimulatedPeer = swarm.peer(f"p{index}", {"w": np.array(float(index), np.float32)}, idle, lag=lambda: self.lag)
        self.simulated.trainer.progress = attrs.evolve(self.simulated.trainer.progress, lineage=b"together")
        self.runs = 1

    @property
    def value(self) -> float:
        return float(self.simulated.trainer.model["w"])

    async def suffer(self, fault: str) -> None:
        match fault:
            case "node":
                self.simulated.kill_node()
                await trio.sleep(0.5)
                self.simulated.start_node()
            case "node with an offer outstanding":
                await self._with_lag(2, self.suffer, "node")
            case "node during an evaluation":
                self.simulated.trainer.round_seconds = lambda: 4.0
                await self._with_lag(1, self.suffer, "node")
                self.simulated.trainer.round_seconds = lambda: 1.0
            case "trainer":
                self.restart_from_checkpoint()

    async def _with_lag(self, lag: int, function, *args) -> None:
        usual, self.lag = self.lag, lag
        await trio.sleep(1.1)
        await function(*args)
        self.lag = usual

    def restart_from_checkpoint(self) -> None:
        """A new process: a new run that counts its adoptions from 0, with the model, lineage and age of its checkpoint."""
        self.simulated.kill()
        self.runs += 1
        old = self.simulated.trainer
        progress = attrs.evolve(old.progress, adoption=0)
        self.simulated.replace_trainer(
            MemoryTrainer(
                model=old.model, train=idle, round_seconds=lambda: 1.0, run=f"{old.run}+{self.runs}", lag=old.lag, progress=progress
            )
        )
        self.simulated.start()


async def reach_consensus(seed: int, lags: list[int], events: list[tuple[str, int, float]]) -> tuple[float, list[int]]:
    async with SimulatedSwarm(seed=seed, settings=SANE_ONLY) as swarm:
        peers = [Peer(swarm, index, lag) for index, lag in enumerate(lags)]
        for peer in peers:
            peer.simulated.start()
        with trio.move_on_after(FAULTY_SECONDS):
            for fault, whom, pause in events:
                await trio.sleep(pause)
                await peers[whom].suffer(fault)
            await trio.sleep_forever()
        for peer in peers:
            peer.lag = min(peer.lag, 3)
            if peer.simulated.trainer.link is None:
                peer.simulated.start_node()
            peer.simulated.trainer.round_seconds = lambda: 1.0
        before = [peer.simulated.trainer.progress.adoption for peer in peers]
        await trio.sleep(CALM_SECONDS)
        values = [peer.value for peer in peers]
        return max(values) - min(values), [p.simulated.trainer.progress.adoption - b for p, b in zip(peers, before, strict=True)]


@given(seed=st.integers(0, 2**32), lags=st.lists(st.integers(0, 3), min_size=4, max_size=4), events=faults)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_consensus_is_reached_and_nobody_stops_merging_whatever_dies(seed, lags, events):
    spread, merges_since = run_in_virtual_time(reach_consensus, seed, lags, events, seed=seed)
    assert spread < 0.03  # 1 % of what it was at first
    assert min(merges_since) >= 3
