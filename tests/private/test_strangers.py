"""Who lacks the key and sits on the same folders: learns nothing, and makes nobody merge anything."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from learnae.content.encryption import NO_ENCRYPTION, AesSiv
from learnae.identity.envelopes import ENVELOPE_BYTES, encode_envelope
from learnae.identity.keys import Identity
from learnae.identity.swarms import SwarmIdentity, SwarmKey, swarm_id
from learnae.records import Announcement, Present

pytestmark = pytest.mark.virtual_time

NAME, TENSOR = "sparrows", "secret_layer.weight"
SHAPE = b"\x19\x02\x80\x19\x03\x84"  # 640, 900 in CBOR
GARBAGE = bytes(range(256)) * 4


async def until(done, *, seconds=300):
    """Of virtual time."""
    for _ in range(2 * seconds):
        if done():
            return
        await trio.sleep(0.5)
    raise AssertionError(f"not within {seconds} s")


def merges(peer) -> int:
    return sum(report.outcome == "merged" for report in peer.trainer.reports)


def merged_from(peer) -> set[str]:
    return {verdict.peer for report in peer.trainer.reports for verdict in report.verdicts if verdict.merged}


def value(peer) -> float:
    return float(peer.trainer.model[TENSOR].mean())


async def start_two(world, **options):
    a, b = world.member("a", 0.0, **options), world.member("b", 1.0, **options)
    a.start()
    b.start()
    await until(lambda: merges(a) >= 2 and merges(b) >= 2)
    return a, b


# -- what can be learned ---------------------------------------------------------------------------------------------------------


def traces(root: Path, peers: Iterable) -> set[str]:
    """What can be found by who looks through all names and bytes."""
    files = [path for path in root.rglob("*") if path.is_file()]
    everything = b"\0".join([*(path.read_bytes() for path in files), *(str(path.relative_to(root)).encode() for path in root.rglob("*"))])
    signs = {
        "the swarm": [NAME.encode(), swarm_id(NAME), swarm_id(NAME).hex().encode()],
        "a tensor": [b"secret_layer"],
        "a shape": [SHAPE],
        "a dtype": [b"float32"],
        "the codec": [b"int8"],
        "a peer": [sign for peer in peers for sign in (peer.peer.encode(), bytes.fromhex(peer.peer))],
        "the lineage": [peer.lineage for peer in peers],
    }
    return {what for what, forms in signs.items() if any(form in everything for form in forms)}


def squeezed(packs: Iterable[Path]) -> float:
    """How much smaller the usual compression makes the store."""
    data = b"".join(path.read_bytes() for path in packs)
    return len(zlib.compress(data)) / len(data)


async def test_a_stranger_finds_no_name_no_peer_no_shape_and_nothing_that_can_be_compressed(a_world):
    async with a_world() as world:
        a, b = await start_two(world, still=False)
        found, share = traces(world.folders.root, [a, b]), min(squeezed([pack]) for pack in world.folders.packs())
    assert found == set()
    assert share > 0.99


async def test_the_same_search_finds_all_of_it_in_an_open_swarm(a_world):
    async with a_world() as world:
        a, b = (world.peer(name, start, {"swarm": {"name": NAME}}, still=False) for name, start in (("a", 0.0), ("b", 1.0)))
        a.start()
        b.start()
        await until(lambda: merges(a) >= 2 and merges(b) >= 2)
        found, share = traces(world.folders.root, [a, b]), min(squeezed([pack]) for pack in world.folders.packs())
    assert found == {"the swarm", "a tensor", "a shape", "a dtype", "the codec", "a peer", "the lineage"}
    assert share < 0.5


async def test_a_peer_of_the_same_name_with_another_key_neither_hears_nor_is_heard(a_world):
    async with a_world() as world:
        c = world.stranger("c", 9.0)
        c.start()
        a, b = await start_two(world)
        await until(lambda: len(c.trainer.reports) >= 15)
    assert a.lineage == b.lineage != c.lineage
    assert merged_from(c) == set()
    assert value(a) <= 1.0 and value(b) <= 1.0 and value(c) == 9.0


# -- what can be done ------------------------------------------------------------------------------------------------------------


def noise(seen: list[bytes]) -> list[bytes]:
    """Whatever a stranger can make of nothing, and of the messages of others."""
    stranger = Identity.generate(b"s" * 32)
    forged = encode_envelope(stranger, Announcement(swarm=swarm_id(NAME), peer=stranger.peer, number=1, body=Present()))
    half, flipped = seen[0][: len(seen[0]) // 2], bytes([seen[0][0] ^ 1]) + seen[0][1:]
    return [b"", b"\1", GARBAGE[:700], forged, half, flipped, seen[0] + b"\0", bytes(ENVELOPE_BYTES + 1)]


async def test_noise_between_the_messages_is_counted_and_logged_without_a_flood_and_changes_nothing(a_world):
    with capture_logs() as logs:
        async with a_world() as world:
            a, b = await start_two(world)
            (channel,) = world.folders.board.iterdir()
            seen = [path.read_bytes() for path in world.folders.messages()]
            for turn in range(30):
                for number, message in enumerate(noise(seen)):
                    draft = world.folders.root / "draft"
                    draft.write_bytes(message)
                    draft.replace(channel / f"{turn:016x}{number:016x}")
                await trio.sleep(0.1)
            before = merges(a)
            await until(lambda: merges(a) >= before + 3)
            await until(lambda: a.history.counts().get("seal", 0) >= 210)
    assert a.history.counts()["seal"] == 210 and a.history.counts()["oversized"] == 30
    assert merged_from(a) == {b.peer} and merged_from(b) == {a.peer}
    told = [(line["reason"], line["count"]) for line in logs if line["event"] == "messages.refused" and line["own"] == "a"]
    assert sorted(told) == [("oversized", 1), ("oversized", 10), ("seal", 1), ("seal", 10), ("seal", 100)]


async def test_messages_of_members_that_are_shown_again_under_other_names_make_nobody_merge_twice(a_world):
    async with a_world() as world:
        a, b = await start_two(world)
        (channel,) = world.folders.board.iterdir()
        old = [path.read_bytes() for path in world.folders.messages()]
        await until(lambda: merges(a) >= 6)
        for number, message in enumerate(old * 20):
            (channel / f"{number:032x}").write_bytes(message)
        await until(lambda: merges(a) >= 9)
    counts = a.history.counts()
    assert counts["replay"] >= 20 and "seal" not in counts
    tried = [(verdict.peer, verdict.number) for report in a.trainer.reports for verdict in report.verdicts]
    assert len(tried) == len(set(tried))
    assert merged_from(a) == {b.peer}


async def test_blocks_that_are_cut_off_swapped_or_overwritten_cost_rounds_but_no_model(a_world):
    async with a_world() as world:
        a, b = await start_two(world)
        first, spoilt = world.folders.packs()[0].read_bytes(), set(world.folders.packs())
        with trio.move_on_after(8):
            while True:
                for pack in sorted(set(world.folders.packs()) - spoilt):
                    pack.write_bytes(spoil(pack.read_bytes(), len(spoilt), first))
                    spoilt.add(pack)
                await trio.sleep(0.002)  # members look a hundredth of a second after they have published
        before, failures = merges(a), sum(report.failed for report in a.trainer.reports)
        await until(lambda: merges(a) >= before + 2, seconds=2_000)  # a peer whose blocks are spoilt waits longer and longer
    assert failures >= 2
    assert merged_from(a) == {b.peer}
    assert 0.0 <= value(a) <= 1.0 and 0.0 <= value(b) <= 1.0


def spoil(pack: bytes, turn: int, other: bytes) -> bytes:
    """Cut off, swapped with another, with wrong bytes in the first block, no pack at all."""
    return (pack[: len(pack) // 2], other, GARBAGE[:100] + pack[100:], GARBAGE * 100)[turn % 4]


class Careless(SwarmIdentity):
    """Of a member that announces as it should, but does not seal its blocks."""

    blocks = NO_ENCRYPTION


class Mistaken(SwarmIdentity):
    """Of one that seals them with another key."""

    blocks = AesSiv(bytes(AesSiv.KEY_BYTES))


@pytest.mark.parametrize(("swarm", "reason"), [(Careless, "cid: "), (Mistaken, "seal: ")])
async def test_an_update_whose_blocks_do_not_open_is_refused_and_the_round_goes_on(a_world, swarm, reason):
    async with a_world() as world:
        a, b = await start_two(world)
        c = world.member("c", 5.0)
        c.trainer.progress = a.trainer.progress
        c.start()
        c.node.publisher.swarm = swarm(NAME, c.node.publisher.swarm.key)
        await until(lambda: any(verdict.peer == c.peer for report in a.trainer.reports for verdict in report.verdicts))
        before = merges(a)
        await until(lambda: merges(a) >= before + 2)
    verdicts = [verdict for report in a.trainer.reports for verdict in report.verdicts if verdict.peer == c.peer]
    assert not any(verdict.merged for verdict in verdicts)
    assert {verdict.stage for verdict in verdicts} == {"decode"}
    assert all(verdict.reason.startswith(reason) for verdict in verdicts)
    assert b.peer in merged_from(a)


async def test_a_new_key_in_an_old_home_is_a_new_swarm_whose_trainers_go_on_with_their_models(a_world):
    async with a_world() as world:
        a, b = await start_two(world)
        lineage = a.lineage
        for peer in (a, b):
            peer.kill()
        world.swarm.key_file.write_text(SwarmKey(bytes(32)).text())
        before = merges(a)
        a.start()
        b.start()
        await until(lambda: merges(a) >= before + 2)
        late = world.member("late", 7.0)
        late.start()
        await until(lambda: bool(late.lineage))
    assert a.lineage == b.lineage == late.lineage == lineage
    assert "seal" not in a.history.counts()  # the old messages lie where nobody looks any more


async def test_a_fresh_trainer_under_a_new_key_founds_although_its_home_knows_an_update_that_it_cannot_open(a_world):
    async with a_world() as world:
        a, _ = await start_two(world)
        lineage = a.lineage
        for peer in (a, _):
            peer.kill()
        world.swarm.key_file.write_text(SwarmKey(bytes(32)).text())
        again = attrs.evolve(world.member("a", 3.0), history=a.history)
        again.start()
        await until(lambda: bool(again.lineage))
    assert again.lineage != lineage and value(again) == 3.0
    assert again.trainer.adopted_outcomes == ["founded"]
