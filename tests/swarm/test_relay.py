"""Two groups with no medium in common, and a peer that uses the media of both and relays between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from learnae.identity.envelopes import decode_envelope
from learnae.identity.swarm_keys import SwarmKey
from learnae.identity.swarms import Swarm, swarm_id
from learnae.plugins.announcer.memory import MemoryAnnouncer, MemoryMedium
from learnae.plugins.storage.memory import MemoryStorage, MemoryStore
from learnae.records import Kind, PeerId, Present, Update
from learnae.testing.faults import Fault, FaultyStorage, Plan
from learnae.testing.swarm import SimulatedPeer

LINEAGE = b"together"
PUT_SECONDS = 0.15  # so long a peer that was told of an update too early would search for it in vain


class LeftStore(MemoryStore):
    pass


class RightStore(MemoryStore):
    pass


class LeftMedium(MemoryMedium):
    pass


class RightMedium(MemoryMedium):
    pass


@attrs.define
class Sent:
    """What was said on which medium by whom, as it was said; and what goes wrong with the right storage at whom."""

    by_medium: dict[type[MemoryMedium], list[tuple[PeerId, bytes, bytes]]] = attrs.field(factory=lambda: {LeftMedium: [], RightMedium: []})
    plans: dict[PeerId, Plan] = attrs.field(factory=dict)


def storage(kind: type[MemoryStore]) -> type[FaultyStorage]:
    class Apart(MemoryStorage):
        def __init__(self, options: Any, context: Any) -> None:
            super().__init__(options, context)
            self.store = context.share(kind)

        async def put(self, root: Any, blocks: Any) -> None:
            await trio.sleep(PUT_SECONDS)
            await super().put(root, blocks)

    class Planned(FaultyStorage):
        def __init__(self, options: Any, context: Any) -> None:
            plans = context.share(Sent).plans if kind is RightStore else {}
            super().__init__(Apart(options, context), lambda *call: plans.get(context.peer, lambda *call: None)(*call))

    return Planned


def announcer(kind: type[MemoryMedium]) -> type[MemoryAnnouncer]:
    class Apart(MemoryAnnouncer):
        def __init__(self, options: Any, context: Any) -> None:
            super().__init__(options, context)
            self.medium, self.sent = context.share(kind), context.share(Sent).by_medium[kind]

        async def announce(self, message: bytes, *, channel: str, replaces: bytes) -> None:
            self.sent.append((self.context.peer, replaces, message))
            await super().announce(message, channel=channel, replaces=replaces)

    return Apart


STRATEGIES = {
    "storage": {"left": storage(LeftStore), "right": storage(RightStore)},
    "announcer": {"left": announcer(LeftMedium), "right": announcer(RightMedium)},
}


def uses(storages: Iterable[str], announcers: Iterable[str], **peer: Any) -> dict[str, Any]:
    return {"storage": [{"use": name} for name in storages], "announcer": [{"use": name} for name in announcers], "peer": peer}


LEFT, RIGHT, BOTH = ("left",), ("right",), ("left", "right")
NOTHING_IN_COMMON = (uses(LEFT, LEFT), uses(RIGHT, RIGHT), uses(BOTH, BOTH, relay=True))
ONE_ANNOUNCER = (uses(LEFT, LEFT), uses(RIGHT, LEFT), uses(BOTH, LEFT, relay=True))
ONE_STORAGE = (uses(LEFT, LEFT), uses(LEFT, RIGHT), uses(LEFT, BOTH, relay=True))
EACH_SEPARATION = pytest.mark.parametrize(
    "separation", [NOTHING_IN_COMMON, ONE_ANNOUNCER, ONE_STORAGE], ids=["nothing in common", "one announcer", "one storage"]
)
Separation = Sequence[dict[str, Any]]


@attrs.frozen
class Groups:
    """Two of each side, and those in between."""

    left: list[SimulatedPeer]
    right: list[SimulatedPeer]
    relays: list[SimulatedPeer]

    @property
    def everybody(self) -> list[SimulatedPeer]:
        return [*self.left, *self.right, *self.relays]

    def merged_from_the_other_side(self) -> list[int]:
        """How many updates of each peer of the other side each peer has merged."""
        pairs = [*((a, b) for a in self.left for b in self.right), *((b, a) for a in self.left for b in self.right)]
        return [merged(peer)[other.peer] for peer, other in pairs]


def merged(peer: SimulatedPeer) -> Counter[PeerId]:
    return Counter(verdict.peer for report in peer.trainer.reports for verdict in report.verdicts if verdict.merged)


async def start(world: Any, separation: Separation, *, relays: int = 1, lineage: bytes = LINEAGE, phase: float = 0.17) -> Groups:
    """One after the other; all rounds take a second."""
    left, right, between = separation
    groups = Groups(
        [world.peer(f"left-{i}", 1.0, lineage=lineage, settings=left) for i in range(2)],
        [world.peer(f"right-{i}", 2.0, lineage=lineage, settings=right) for i in range(2)],
        [world.peer(f"relay-{i}", 3.0, lineage=lineage, settings=between) for i in range(relays)],
    )
    for peer in groups.everybody:
        peer.start()
        await trio.sleep(phase)
    return groups


def sent(world: Any, medium: type[MemoryMedium]) -> list[tuple[PeerId, bytes, bytes]]:
    return world.swarm.shared(Sent).by_medium[medium]


@pytest.fixture
def run(run_world: Callable[..., Any]) -> Callable[..., Any]:
    def run_it(main: Callable[[Any], Any], **settings: Any) -> Any:
        return run_world(main, strategies=STRATEGIES, **settings)

    return run_it


# -- one swarm -------------------------------------------------------------------------------------------------------------------


@EACH_SEPARATION
@pytest.mark.parametrize("phase", [0.17, 0.0], ids=["one after the other", "all at once"])
def test_all_peers_of_both_groups_merge_models_of_all_peers_of_the_other_group(run: Any, separation: Separation, phase: float) -> None:
    async def main(world: Any) -> Groups:
        groups = await start(world, separation, phase=phase)
        await trio.sleep(60)
        return groups

    counts = run(main).merged_from_the_other_side()
    assert min(counts) >= 12  # one in five rounds: the relay itself merges two of four in each


@EACH_SEPARATION
def test_without_the_relay_nothing_of_the_other_group_is_merged(run: Any, separation: Separation) -> None:
    *sides, between = separation

    async def main(world: Any) -> Groups:
        groups = await start(world, (*sides, between | {"peer": {"relay": False}}))
        await trio.sleep(40)
        return groups

    assert max(run(main).merged_from_the_other_side()) == 0


@EACH_SEPARATION
def test_groups_that_start_from_nothing_end_in_one_lineage(run: Any, separation: Separation) -> None:
    async def main(world: Any) -> Groups:
        groups = await start(world, separation, lineage=b"")
        await trio.sleep(60)
        return groups

    groups = run(main)
    assert len({peer.lineage for peer in groups.everybody}) == 1
    assert min(groups.merged_from_the_other_side()) > 0


def test_a_private_swarm_is_relayed_sealed_as_it_is(run: Any, tmp_path: Path) -> None:
    key = SwarmKey(bytes(32))
    (tmp_path / "key").write_text(key.text())
    (tmp_path / "key").chmod(0o600)

    async def main(world: Any) -> tuple[Groups, list[tuple[PeerId, bytes, bytes]]]:
        groups = await start(world, NOTHING_IN_COMMON)
        await trio.sleep(40)
        return groups, sent(world, RightMedium)

    groups, said = run(main, swarm={"name": "birds", "key_file": str(tmp_path / "key")})
    assert min(groups.merged_from_the_other_side()) >= 6
    swarm, left = Swarm("birds", key), groups.left[0].peer
    opened = [(replaces, decode_envelope(message, swarm.id, swarm.messages).announcement) for _, replaces, message in said]
    assert {replaces for replaces, announcement in opened if announcement.peer == left and isinstance(announcement.body, Update)} == {
        swarm.alias(f"{left}/{Kind.UPDATE.value}")
    }


# -- messages --------------------------------------------------------------------------------------------------------------------


@EACH_SEPARATION
def test_two_relays_say_each_message_once_on_each_medium_at_most(run: Any, separation: Separation) -> None:
    async def main(world: Any) -> tuple[Groups, list[Counter[tuple[PeerId, bytes]]]]:
        groups = await start(world, separation, relays=2)
        await trio.sleep(40)
        media = (LeftMedium, RightMedium)
        return groups, [Counter((sender, message) for sender, _, message in sent(world, medium)) for medium in media]

    groups, said = run(main)
    assert min(groups.merged_from_the_other_side()) > 0
    assert {times for counts in said for times in counts.values()} == {1}


def test_a_single_relay_sends_nothing_back_to_where_it_came_from(run: Any) -> None:
    async def main(world: Any) -> tuple[Groups, list[bytes]]:
        groups = await start(world, NOTHING_IN_COMMON)
        await trio.sleep(20)
        relay = groups.relays[0].peer
        return groups, [message for sender, _, message in sent(world, LeftMedium) if sender == relay]

    groups, said = run(main)
    left = {peer.peer for peer in groups.left}
    assert said
    assert not [message for message in said if decode_envelope(message, swarm_id("default")).announcement.peer in left]


def test_presence_and_goodbyes_are_passed_on(run: Any) -> None:
    async def main(world: Any) -> set[type]:
        groups = await start(world, NOTHING_IN_COMMON)
        await trio.sleep(35)
        groups.left[0].trainer.disconnect()
        await trio.sleep(3)
        heard = [decode_envelope(message, swarm_id("default")).announcement for *_, message in sent(world, RightMedium)]
        said = [announcement.body for announcement in heard if announcement.peer == groups.left[0].peer]
        assert not isinstance(said[-1], Update)
        return {type(body) for body in said}

    kinds = run(main)
    assert {kind.__name__ for kind in kinds} == {"Update", "Present", "Leaving"}


def test_neither_backlog_nor_garbage_nor_replays_are_passed_on(run: Any) -> None:
    async def main(world: Any) -> tuple[set[tuple[Kind, int]], list[bytes]]:
        left, _, between = NOTHING_IN_COMMON
        speaker = world.peer("left", 1.0, lineage=LINEAGE, settings=left)
        speaker.start()
        await trio.sleep(5.5)
        old = [(replaces, message) for _, replaces, message in sent(world, LeftMedium)]
        relay = world.peer("relay", 2.0, lineage=LINEAGE, settings=between)
        relay.start()
        await trio.sleep(5)
        speaker.kill()
        medium, channel = world.swarm.shared(LeftMedium), relay.node.channel
        for replaces, message in [*old, (b"noise", b"\0" * 200), *old]:
            medium.send(speaker.peer, (channel, replaces), message)
        await trio.sleep(5)
        said = [message for *_, message in sent(world, RightMedium)]
        passed = [decode_envelope(message, swarm_id("default")).announcement for message in said if message != b"\0" * 200]
        backlog = {(a.kind, a.number) for _, message in old if (a := decode_envelope(message, swarm_id("default")).announcement)}
        return backlog & {(a.kind, a.number) for a in passed if a.peer == speaker.peer}, said

    again, said = run(main)
    assert said
    assert again == set()
    assert b"\0" * 200 not in said


def test_a_denied_peer_is_not_passed_on(run: Any) -> None:
    async def main(world: Any) -> set[PeerId]:
        left, right, between = NOTHING_IN_COMMON
        unwanted = world.peer("unwanted", 1.0, lineage=LINEAGE, settings=left)
        groups = await start(world, (left, right, between | {"peer": {"relay": True, "deny": [unwanted.peer]}}))
        unwanted.start()
        await trio.sleep(15)
        passed = {decode_envelope(message, swarm_id("default")).announcement.peer for *_, message in sent(world, RightMedium)}
        return passed - {peer.peer for peer in groups.everybody}

    assert run(main) == set()


# -- blocks ----------------------------------------------------------------------------------------------------------------------


def carried(world: Any, relay: SimulatedPeer, store: type[MemoryStore]) -> set[Any]:
    """Roots that the relay has put there and that are none of its own."""
    own = {item.root for item in relay.history.published()}
    return {root for peer, root in world.swarm.shared(store).roots if peer == relay.peer} - own


def test_of_each_peer_the_newest_few_are_kept_and_no_more(run: Any) -> None:
    async def main(world: Any) -> tuple[int, int]:
        groups = await start(world, NOTHING_IN_COMMON)
        await trio.sleep(60)
        return len(carried(world, groups.relays[0], LeftStore)), len(carried(world, groups.relays[0], RightStore))

    left, right = run(main)
    assert 4 <= left <= 6
    assert 4 <= right <= 6


def test_the_quota_counts_own_and_carried_updates_together(run: Any) -> None:
    sizes: list[int] = []

    async def main(world: Any) -> None:
        left, right, between = NOTHING_IN_COMMON
        groups = await start(world, (left, right, between | {"peer": {"relay": True, "quota_bytes": 2000}}))
        for _ in range(40):
            await trio.sleep(1)
            stored = {**world.swarm.shared(LeftStore).roots, **world.swarm.shared(RightStore).roots}
            blocks = world.swarm.shared(LeftStore).blocks | world.swarm.shared(RightStore).blocks
            mine = [cids for (peer, _), cids in stored.items() if peer == groups.relays[0].peer]
            sizes.append(sum(len(blocks[cid]) for cids in mine for cid in cids))

    run(main)
    assert 1000 < max(sizes) <= 2000 + 500  # the newest own update, before older ones give way


def test_without_room_nothing_is_carried_and_that_is_told_once(run: Any) -> None:
    async def main(world: Any) -> tuple[set[Any], int]:
        left, right, between = NOTHING_IN_COMMON
        groups = await start(world, (left, right, between | {"peer": {"relay": True, "quota_bytes": 600}}))
        await trio.sleep(20)
        return carried(world, groups.relays[0], RightStore), len(groups.relays[0].trainer.reports)

    with capture_logs() as logs:
        roots, rounds = run(main)
    assert roots == set()
    assert rounds >= 18
    [line] = [line for line in logs if line["event"].startswith("outage")]
    assert (line["what"], "quota_bytes" in line["cause"]) == ("relaying", True)


def test_tidying_drops_what_an_earlier_run_has_carried_and_not_what_this_one_has(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learnae.node.tidying.AGAIN_SECONDS", 5.0)

    async def main(world: Any) -> tuple[set[Any], set[Any], set[Any]]:
        groups = await start(world, NOTHING_IN_COMMON)
        (relay,) = groups.relays
        await trio.sleep(20)
        before = carried(world, relay, RightStore)
        for peer in groups.left:
            peer.kill()
        await trio.sleep(12)  # tidied at least twice
        kept = carried(world, relay, RightStore)
        relay.kill_node()
        relay.start_node()
        await trio.sleep(3)
        return before, kept, carried(world, relay, RightStore)

    before, kept, after = run(main)
    assert before
    assert kept & before
    assert after == set()


# -- bad luck --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.HALFWAY])
def test_a_medium_that_fails_at_the_relay_is_one_outage_and_holds_no_round_up(run: Any, fault: Fault) -> None:
    async def main(world: Any) -> int:
        (relay,) = (await start(world, NOTHING_IN_COMMON)).relays
        await trio.sleep(10)
        own = relay.history.published()[0].number
        world.swarm.shared(Sent).plans[relay.peer] = lambda method, call: fault if method == "put" else None
        await trio.sleep(20)
        return relay.history.published()[0].number - own

    with capture_logs() as logs:
        rounds = run(main)
    lines = [line for line in logs if line["event"].startswith("outage") and line["peer"] == "relay-0"]
    assert [line["what"] for line in lines] == ["putting blocks by storage right"]
    assert rounds >= 18


def hangs_while_something_is_carried(method: str, call: int) -> Fault | None:
    return Fault.SILENCE if method == "put" and "carrying" in trio.lowlevel.current_task().name.lower() else None


def test_a_put_of_what_is_carried_that_hangs_holds_no_round_up(run: Any) -> None:
    async def main(world: Any) -> SimulatedPeer:
        (relay,) = (await start(world, NOTHING_IN_COMMON)).relays
        world.swarm.shared(Sent).plans[relay.peer] = hangs_while_something_is_carried
        await trio.sleep(90)
        return relay

    with capture_logs() as logs:
        relay = run(main)
    lines = [line for line in logs if line["event"].startswith("outage") and line["peer"] == "relay-0"]
    assert [line["what"] for line in lines] == ["putting blocks by storage right"]
    assert len(relay.trainer.reports) >= 88
    assert max(report.seconds for report in relay.trainer.reports[3:]) < 1


def test_after_an_outage_of_one_medium_the_groups_merge_again(run: Any) -> None:
    async def main(world: Any) -> tuple[list[int], list[int], list[int]]:
        groups = await start(world, NOTHING_IN_COMMON)
        plans, relay = world.swarm.shared(Sent).plans, groups.relays[0].peer
        await trio.sleep(15)
        plans[relay] = lambda method, call: Fault.BEFORE
        await trio.sleep(10)
        down = groups.merged_from_the_other_side()
        await trio.sleep(10)
        still = groups.merged_from_the_other_side()
        del plans[relay]
        await trio.sleep(40)
        return down, still, groups.merged_from_the_other_side()

    down, still, after = run(main)
    assert down == still
    assert min(b - a for a, b in zip(still, after, strict=True)) >= 4


def test_a_carried_update_is_not_announced_where_it_could_not_be_put(run: Any) -> None:
    async def main(world: Any) -> set[Any]:
        groups = await start(world, NOTHING_IN_COMMON)
        world.swarm.shared(Sent).plans[groups.relays[0].peer] = lambda method, call: Fault.BEFORE if method == "put" else None
        said = len(sent(world, RightMedium))
        await trio.sleep(20)
        heard = [decode_envelope(message, swarm_id("default")).announcement for *_, message in sent(world, RightMedium)[said:]]
        left = {peer.peer for peer in groups.left}
        return {type(announcement.body) for announcement in heard if announcement.peer in left}

    assert run(main) <= {Present}
