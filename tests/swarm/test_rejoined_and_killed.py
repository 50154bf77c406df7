"""An order to rejoin, and a trainer that is killed after it before its next checkpoint."""

from __future__ import annotations

from functools import partial

import attrs
import numpy as np
import trio

from learnae.testing.swarm import MemoryTrainer, SimulatedPeer, SimulatedSwarm, run_in_virtual_time

OURS, THEIRS, OTHERS = b"lineage1", b"lineage2", b"lineage3"


def peer(swarm: SimulatedSwarm, name: str, value: float, lineage: bytes) -> SimulatedPeer:
    """It trains nothing, in rounds of a second."""
    made = swarm.peer(name, {"w": np.full(4, value, np.float32)}, lambda model: 1)
    made.trainer.progress = attrs.evolve(made.trainer.progress, lineage=lineage)
    made.start()
    return made


def checkpoint_of(trainer: MemoryTrainer) -> MemoryTrainer:
    """A trainer that goes on from here."""
    model = {"w": trainer.model["w"].copy()}
    return attrs.evolve(trainer, model=model, run="a-2", link=None, reports=[], adopted_outcomes=[])


async def rejoined_and_killed(*, left_since: bool) -> SimulatedPeer:
    """The checkpoint is of before the order."""
    async with SimulatedSwarm() as swarm:
        a, _ = peer(swarm, "a", 1.0, OURS), peer(swarm, "b", 5.0, THEIRS)
        await trio.sleep(5)
        checkpoint = checkpoint_of(a.trainer)
        a.history.orders.order_rejoin(THEIRS)
        await trio.sleep(20)
        assert a.lineage == THEIRS
        a.kill()
        if left_since:
            a.history.save_lineage_state(OTHERS, 100, 100.0)
        a.replace_trainer(checkpoint)
        a.start()
        await trio.sleep(20)
        return a


def test_an_order_whose_outcome_a_killed_trainer_has_lost_is_carried_out_once_more() -> None:
    a = run_in_virtual_time(partial(rejoined_and_killed, left_since=False))
    assert a.lineage == THEIRS
    assert a.trainer.adopted_outcomes.count("rejoined") == 1
    last = a.history.orders.last_rejoin()
    assert last is not None and last.outcome == f"went over to lineage {THEIRS.hex()}"


def test_an_older_checkpoint_is_not_led_by_an_order_whose_lineage_was_left_since() -> None:
    assert run_in_virtual_time(partial(rejoined_and_killed, left_since=True)).lineage == OURS
