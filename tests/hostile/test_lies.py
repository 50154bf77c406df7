"""Messages that no honest peer sends, as a whole swarm hears them: counted by their reason, and nobody believes them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import cbor2
import numpy as np
import pytest
import trio

from learnae.content.cids import cid_bytes
from learnae.identity.envelopes import MAX_SEQUENCE_NUMBER
from learnae.records import Decoded, Encoded, Leaving, Sample, TensorSpec
from learnae.strategies import Codec
from tests.support.hostile.announcements import HEAD_BYTES

pytestmark = pytest.mark.virtual_time

NAN = float("nan")


def fields(stranger: Any, **changes: Any) -> bytes:
    """The payload of an honest update, by the numbers of its fields, with some of them changed."""
    message = stranger.say(stranger.update(stranger.store(stranger.pack()).root))
    numbers = cbor2.loads(message[HEAD_BYTES:])
    changed = {int(key[1:]): value for key, value in changes.items()}
    return cbor2.dumps({key: value for key, value in {**numbers, **changed}.items() if value is not None}, canonical=True)


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "another swarm": ({"_0": bytes(16)}, "foreign"),
    "a kind that is not known": ({"_1": 99}, "unknown-kind"),
    "a kind of 2^63": ({"_1": 2**63}, "unknown-kind"),
    "a negative kind": ({"_1": -1}, "malformed"),
    "a negative number": ({"_2": -1}, "malformed"),
    "a number of 2^63": ({"_2": 2**63}, "malformed"),
    "a number beyond which nobody could count": ({"_2": MAX_SEQUENCE_NUMBER + 1}, "malformed"),
    "a number that is a float": ({"_2": 2.0}, "malformed"),
    "a root that is no CID": ({"_8": bytes(36)}, "cid"),
    "a root as text": ({"_8": "bafkrei"}, "malformed"),
    "a negative size": ({"_9": -1}, "malformed"),
    "a lineage of 9 bytes": ({"_10": bytes(9)}, "malformed"),
    "no lineage": ({"_10": None}, "malformed"),
    "an age of 2^63": ({"_12": 2**63}, "malformed"),
    "an age of 2^64": ({"_12": 2**64}, "malformed"),
    "an age that is true": ({"_12": True}, "malformed"),
    "samples that are no number": ({"_15": NAN}, "malformed"),
    "negative samples": ({"_15": -5}, "malformed"),
    "seconds without end": ({"_16": math.inf}, "malformed"),
    "a codec of 65 characters": ({"_17": "x" * 65}, "malformed"),
    "a codec for the terminal": ({"_17": "\x1b[2J"}, "malformed"),
    "a loss that is no number": ({"_19": NAN}, "malformed"),
    "a sketch of 401 bytes": ({"_20": bytes(401)}, "malformed"),
    "more than fits": ({"_99": bytes(1000)}, "oversized"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_is_counted_by_its_reason_and_says_nothing(a_world, lie):
    changes, reason = LIES[lie]

    async with a_world() as world:
        [peer] = world.honest(1)
        await trio.sleep(0.5)
        payload, stranger = fields(world.stranger(), **changes), world.stranger()
        stranger.say_payload(payload)
        await trio.sleep(3)
        counts = peer.history.counts()
    assert counts == {reason: 1}
    assert stranger.peer not in peer.node.receiver.inbox.known


async def test_a_message_that_somebody_else_has_signed_is_counted(a_world):
    async with a_world() as world:
        [peer], alice, mallory = world.honest(1), world.stranger(), world.stranger()
        await trio.sleep(0.5)
        message = alice.say(Leaving())
        mallory.send(message[:1] + bytes.fromhex(mallory.peer) + message[33:])
        mallory.send(message[:-1] + bytes([message[-1] ^ 2]), "other")
        mallory.send(b"\x02" + message[1:], 3)
        await trio.sleep(3)
        counts = peer.history.counts()
    assert counts["signature"] + counts.get("malformed", 0) == 2 and counts["version"] == 1


async def test_two_payloads_under_one_number_are_kept_as_proof_and_refuse_the_peer_also_after_a_restart(a_world):
    async with a_world() as world:
        peers, stranger = world.honest(2), world.stranger()
        await trio.sleep(0.5)
        root = stranger.store(stranger.pack()).root
        messages = [stranger.say(stranger.update(root)), stranger.say(stranger.update(root, age=101))]
        await trio.sleep(5)
        proofs = peers[0].history.proofs()
        for peer in peers:
            peer.kill_node()
        await trio.sleep(1)
        for peer in peers:
            peer.start_node()
        await trio.sleep(5)
        stranger.say(stranger.update(stranger.store(stranger.pack(number=2)).root), 2)
        await trio.sleep(20)
        [proof] = proofs
    assert (proof.peer, proof.number, [proof.first, proof.second]) == (stranger.peer, 1, messages)
    for peer in peers:
        assert peer.history.peers()[stranger.peer].refused == "equivocation"
        assert peer.history.counts()["equivocation"] == 1
        assert peer.history.counts()["refused-peer"] >= 1
        assert stranger.peer not in peer.node.receiver.inbox.known
        assert not any(v.peer == stranger.peer and v.merged and v.number == 2 for report in peer.trainer.reports for v in report.verdicts)


def test_the_highest_age_number_and_samples_that_fit_move_nobody_further_than_an_honest_update(run_world):
    most = 2**63 - 1

    async def main(world, *, lying: bool):
        peers, stranger = world.honest(3), world.stranger()
        await trio.sleep(0.5)
        number = MAX_SEQUENCE_NUMBER if lying else 1
        root = stranger.store(stranger.pack(number=number)).root
        claims = {"age": most, "samples": most, "own_steps": most, "step_seconds": 1e300} if lying else {}
        stranger.say(stranger.update(root, **claims), number)
        await trio.sleep(60)
        return [(float(peer.trainer.model["w"][0]), peer.trainer.progress.age) for peer in peers]

    honest, lied_to = (run_world(lambda world, lying=lying: main(world, lying=lying)) for lying in (False, True))
    assert np.allclose([value for value, _ in lied_to], [value for value, _ in honest], atol=0.05)
    assert max(age for _, age in lied_to) <= 100 + 3 * 61


async def test_another_lineage_is_never_merged_and_reported_as_a_split(a_world):
    async with a_world() as world:
        [peer], stranger = world.honest(1), world.stranger()
        await trio.sleep(20)  # until it is established
        root = stranger.store(stranger.pack()).root
        stranger.say(stranger.update(root, lineage=b"lineage0"))
        await trio.sleep(5)
    assert b"lineage0" in {split for report in peer.trainer.reports for split in report.splits}
    assert not any(report.verdicts for report in peer.trainer.reports)


class Nothing(Codec):
    """Reads anything as a huge tensor of which nothing has come."""

    def encode(self, name: str, tensor: Any, base: Any, rng: Any) -> Encoded:
        return Encoded(b"")

    def decode(self, encoded: Encoded, like: TensorSpec, base: Any) -> Decoded:
        return Decoded(np.full(like.shape, np.inf, np.float32), np.zeros(like.shape, bool))


async def test_an_update_that_covers_nothing_is_accepted_and_moves_nobody(a_world):
    async with a_world(strategies={"codec": {"nothing": Nothing}}) as world:
        peers, stranger = world.honest(2), world.stranger()
        await trio.sleep(0.5)
        stranger.say(stranger.update(stranger.store(stranger.pack(codec="nothing")).root, codec="nothing"))
        await trio.sleep(40)
    for peer in peers:
        [verdict] = [v for report in peer.trainer.reports for v in report.verdicts if v.peer == stranger.peer]
        assert verdict.merged and verdict.reason.startswith("norm 0 ")
        assert np.isfinite(peer.trainer.model["w"]).all()
        assert 0 <= peer.trainer.model["w"][0] <= 1


async def test_samples_that_nobody_has_asked_for_fill_no_place_in_the_inbox(a_world):
    async with a_world() as world:
        [peer], stranger = world.honest(1), world.stranger()
        await trio.sleep(0.5)
        for number in range(1, 200):
            stranger.say(Sample(bytes(512)), number)
        await trio.sleep(1)
        known = set(peer.node.receiver.inbox.known)
    assert stranger.peer not in known


def rounds_tried(reports: Any, verdict: Callable[[Any], bool]) -> list[int]:
    return [report.round for report in reports if any(map(verdict, report.verdicts))]


async def test_a_peer_whose_blocks_never_come_is_tried_ever_less(a_world):
    async with a_world() as world:
        peers, stranger = world.honest(3), world.stranger()
        await trio.sleep(0.5)
        for number in range(1, 200):
            stranger.say(stranger.update(stranger.pack([], number=number).root), number)  # never stored
            await trio.sleep(1)
    for peer in peers:
        tried = rounds_tried(peer.trainer.reports, lambda verdict: verdict.peer == stranger.peer)
        gaps = np.diff(tried)
        assert 5 <= len(tried) <= 9
        assert all(gap >= 2 ** min(failures, 6) for failures, gap in enumerate(gaps, 1))
        assert peer.history.peers()[stranger.peer].failures == len(tried)
        assert {verdict.stage for report in peer.trainer.reports for verdict in report.verdicts if verdict.peer == stranger.peer} == {
            "fetch"
        }


async def test_a_fetch_that_hangs_ends_at_its_deadline_and_the_others_of_that_round_are_merged(a_world, monkeypatch):
    from learnae.plugins.memory import MemoryStorage

    get, black_hole = MemoryStorage.get, set[Any]()

    async def hanging(self: Any, cids: Any, deliver: Any, *, hints: Any = ()) -> None:
        if black_hole.intersection(cids):
            await trio.sleep_forever()
        await get(self, cids, deliver, hints=hints)

    monkeypatch.setattr(MemoryStorage, "get", hanging)

    async with a_world(node={"fetch_seconds": 2.0}, selector={"count": 3}) as world:
        peers, stranger = world.honest(3), world.stranger()
        await trio.sleep(0.5)
        for number in range(1, 100):
            root = stranger.pack([], number=number).root
            black_hole.add(root)
            stranger.say(stranger.update(root), number)
            await trio.sleep(1)
    for peer in peers:
        verdicts = [v for report in peer.trainer.reports for v in report.verdicts if v.peer == stranger.peer]
        assert {v.stage for v in verdicts} == {"fetch"} and all("nothing whole within" in v.reason for v in verdicts)
        slow = [report for report in peer.trainer.reports if any(v.peer == stranger.peer for v in report.verdicts)]
        assert all(report.seconds <= 2.0 * 10 + 1 for report in slow)
        assert any(report.merged for report in slow)
        assert cid_bytes(verdicts[0].root)
