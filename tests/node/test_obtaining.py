"""Several updates at once, each until its own deadline; what each failure does to its peer, and to nobody else."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import structlog
import trio

from learnae.errors import UpdateRejectedError
from learnae.node.attempts import FetchAttempts, RepeatedUpdate
from learnae.node.fetching import Fetcher
from learnae.node.history import PeerRecord
from learnae.node.inbox import Inbox, InboxEntry
from learnae.node.obtaining import Obtainer, TransferPace
from learnae.node.peers import Peers
from learnae.node.reports import RoundRecord
from learnae.node.runtime import QuarantinedError
from learnae.node.strategy_set import ConfiguredStrategy
from learnae.plugins.codec import Fp32
from learnae.records import TensorSpec
from learnae.testing.context import make_context, make_runtime, peer_named
from learnae.testing.swarm import run_in_virtual_time

MODEL = {"w": np.arange(1000, dtype=np.float32)}
SPECS = {"w": TensorSpec(name="w", dtype="float32", shape=(1000,))}
FIRST_SECONDS = 10.0


async def inline(function, *args):
    return function(*args)


def attempts_at(peers: Peers, entries: list[InboxEntry]) -> FetchAttempts:
    inbox = Inbox(100, peers.trusts)
    for entry in entries:
        inbox.put(entry)
    return FetchAttempts(inbox, peers)


def stands_in(attempts: FetchAttempts, entry: InboxEntry) -> bool:
    """Whether a repeated update of this peer is tried in the place of its newest."""
    attempts.hear_once_more(entry, entry.medium)
    return attempts.to_try(entry, 1, lambda entry, round_: True) is not entry


async def all_of(obtainer, entries, round_record):
    """What has arrived, in the order of `entries`."""
    arrived = {}

    async def one(entry):
        arrived[entry.peer] = await obtainer.obtain_one(entry, round_record, trio.CancelScope())

    async with trio.open_nursery() as nursery:
        for entry in entries:
            nursery.start_soon(one, entry)
    return [arrived[entry.peer] for entry in entries if arrived[entry.peer] is not None]


@pytest.fixture
def obtaining(tmp_path, bench):
    """Obtains from a storage; tells which peers came, the verdicts, the records and how long it took."""

    def run(entries, storage, *, peers=None, pace=None, rounds=1, codec=Fp32, strangers=False, waited=math.inf, **told):
        records = peers or Peers(100)
        attempts = attempts_at(records, entries)
        pace, round_record = pace or TransferPace(FIRST_SECONDS), RoundRecord(1, 0.0)
        for entry in entries:
            record = records.note(entry.peer)
            record.ever_accepted, record.trust = not strangers, float(not strangers)

        def codec_named(name):
            if name != "fp32":
                raise UpdateRejectedError("unknown-codec", name)
            return ConfiguredStrategy("fp32", "codec-plugin", codec(None, make_context(tmp_path)))

        async def main():
            async with trio.open_nursery() as nursery:
                made = await bench(nursery, storage)
                fetcher = Fetcher(made.named, made.services, lambda peer, storage: (), structlog.get_logger())
                strategies, runtime = SimpleNamespace(codec_named=codec_named), make_runtime(clock=trio.current_time)
                obtainer = Obtainer(fetcher, strategies, SPECS, records, attempts, 10**6, pace, runtime, **told)
                came = []
                with trio.move_on_after(waited):
                    came = [await all_of(obtainer, entries, round_record) for _ in range(rounds)]
                made.services.close()
                return [[item.entry.peer for item in items] for items in came], trio.current_time()

        came, seconds = run_in_virtual_time(main)
        return SimpleNamespace(came=came, seconds=seconds, round_record=round_record, peers=records, pace=pace, attempts=attempts)

    return run


def verdicts(result) -> list[tuple[str, str]]:
    return [(verdict.stage, verdict.reason) for verdict in result.round_record.verdicts]


def record(result, name: str) -> PeerRecord:
    return result.peers.get(peer_named(name))


def test_what_arrives_is_remembered_as_fetched_and_its_speed_measured(obtaining, publication, shelf):
    update = publication(MODEL, number=7)

    class OneSecond(type(shelf())):
        async def get(self, cids, deliver, *, hints=()):
            await trio.sleep(1 / 3)  # the root, then meta and parts, then the data
            await super().get(cids, deliver, hints=hints)

    result = obtaining([update.entry], OneSecond(shelf().context, update.packed.blocks))
    assert result.came == [[update.announcement.peer]]
    assert record(result, "alice").fetched_number == 7
    assert record(result, "alice").last_tried == 1
    assert record(result, "alice").bytes_per_second == pytest.approx(update.packed.bytes)
    assert result.pace.slowest_seconds == pytest.approx(1.0)
    assert result.round_record.fetched_bytes == update.packed.bytes


def test_one_that_hangs_costs_the_others_nothing(obtaining, publication, shelf):
    good, hung = publication(MODEL, "alice"), publication(MODEL, "bob")

    class HangsForBob(type(shelf())):
        async def get(self, cids, deliver, *, hints=()):
            if any(cid not in self.blocks for cid in cids):
                await trio.sleep_forever()
            await super().get(cids, deliver, hints=hints)

    result = obtaining([hung.entry, good.entry], HangsForBob(shelf().context, good.packed.blocks))
    assert result.came == [[good.announcement.peer]]
    assert result.seconds <= FIRST_SECONDS
    [(stage, reason)] = verdicts(result)
    assert (stage, reason.startswith("nothing whole within")) == ("fetch", True)
    assert (record(result, "alice").failures, record(result, "bob").failures) == (0, 1)
    assert record(result, "bob").fetched_number == 0


def test_a_failure_counts_up_at_each_try(obtaining, publication, shelf):
    result = obtaining([publication(MODEL).entry], shelf(), rounds=3)
    assert record(result, "alice").failures == 3
    assert [stage for stage, _ in verdicts(result)] == ["fetch"] * 3


def test_a_fast_failure_says_nothing_about_the_line(obtaining, publication, shelf):
    update = publication(MODEL)

    class OneSecond(type(shelf())):
        async def get(self, cids, deliver, *, hints=()):
            await trio.sleep(1)
            await super().get(cids, deliver, hints=hints)

    result = obtaining([update.entry], OneSecond(shelf().context, update.packed.blocks[:-1]))
    assert result.round_record.fetched_bytes > 0
    assert record(result, "alice").bytes_per_second is None
    assert result.pace.deadline_seconds(10**6) == FIRST_SECONDS


def test_a_line_that_is_slower_than_all_before_is_given_the_time_at_the_second_try(obtaining, publication, shelf):
    update = publication(MODEL)
    pace = TransferPace(FIRST_SECONDS)
    for _ in range(20):
        pace.transfer_took(0.01, update.packed.bytes)

    class Slow(type(shelf())):
        async def get(self, cids, deliver, *, hints=()):
            for cid in cids:
                await trio.sleep(len(self.blocks[cid].data) / update.packed.bytes)
                deliver(self.blocks[cid])

    result = obtaining([update.entry], Slow(shelf().context, update.packed.blocks), pace=pace, rounds=2)
    assert [len(came) for came in result.came] == [0, 1]


def test_a_stranger_that_trickles_makes_nobody_elses_deadline_longer(obtaining, publication, shelf):
    update = publication(MODEL)

    class Trickling(type(shelf())):
        async def get(self, cids, deliver, *, hints=()):
            deliver(self.blocks[cids[0]])
            await trio.sleep_forever()

    result = obtaining([update.entry], Trickling(shelf().context, update.packed.blocks), rounds=5)
    assert result.pace.deadline_seconds(update.packed.bytes) == FIRST_SECONDS
    assert result.seconds <= 5 * 10 * FIRST_SECONDS


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"bytes": 10**7}, "too-large"), ({"signer": "mallory"}, "not-the-announced")],
    ids=["size", "peer"],
)
def test_what_must_not_be_is_the_peers_fault(obtaining, publication, shelf, changes, reason):
    update = publication(MODEL, **changes)
    result = obtaining([update.entry], shelf(*update.packed.blocks))
    [(stage, said)] = verdicts(result)
    assert (stage, said.startswith(reason)) == ("decode", True)
    assert result.came == [[]]


def test_an_update_in_a_codec_that_is_not_installed_here_is_lost_and_refused_by_nobody(obtaining, publication, shelf):
    update = publication(MODEL, codec="zip")
    result = obtaining([update.entry], shelf(*update.packed.blocks))
    [(stage, said)] = verdicts(result)
    assert (stage, said) == ("plugin", "unknown-codec: zip")
    assert result.came == [[]]


def test_another_model_under_the_own_signature_is_refused(obtaining, publication, shelf):
    update = publication({"w": np.zeros(10, np.float32)})
    result = obtaining([update.entry], shelf(*update.packed.blocks))
    assert verdicts(result)[0][1].startswith("architecture")


def test_a_codec_that_crashes_on_what_a_peer_sent_is_named_and_ends_nothing(obtaining, publication, shelf):
    class Crashing(Fp32):
        def check(self, encoded, like, base):
            raise MemoryError("a trap")

    update = publication(MODEL)
    result = obtaining([update.entry], shelf(*update.packed.blocks), codec=Crashing)
    assert "codec-plugin" in verdicts(result)[0][1]


def test_what_a_plugin_says_is_cut_to_a_bounded_length(obtaining, publication, shelf):
    class Talkative(Fp32):
        def check(self, encoded, like, base):
            raise ValueError("x" * 100_000)

    update = publication(MODEL)
    result = obtaining([update.entry], shelf(*update.packed.blocks), codec=Talkative)
    assert len(verdicts(result)[0][1]) <= 500


def test_a_quarantined_codec_is_not_the_fault_of_who_uses_it(obtaining, publication, shelf):
    class Benched(Fp32):
        def check(self, encoded, like, base):
            raise QuarantinedError("codec-plugin", "checking", "it hung 30 s")

    update = publication(MODEL)
    result = obtaining([update.entry], shelf(*update.packed.blocks), codec=Benched, rounds=3)
    assert record(result, "alice").failures == 0
    assert "it hung 30 s" in verdicts(result)[0][1]


def test_a_line_that_is_silent_until_its_end_is_given_more_time_but_no_more_than_at_first(obtaining, publication, shelf):
    """0.25 s are usual. Each time that nothing comes it is given twice as long, up to the first deadline, 10 s."""
    update = publication(MODEL)
    pace = TransferPace(FIRST_SECONDS)
    pace.transfer_took(0.01, update.packed.bytes)
    given = []

    class Silent(type(shelf())):
        async def get(self, cids, deliver, *, hints=()):
            given.append(trio.current_effective_deadline() - trio.current_time())
            await trio.sleep_forever()

    obtaining([update.entry], Silent(shelf().context), pace=pace, rounds=7)
    assert given == pytest.approx([0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0], rel=0.01)


def test_whether_something_was_to_be_had_is_told_of_each_and_another_failure_is_none_of_that(obtaining, publication, shelf):
    nowhere, broken, strange = publication(MODEL), publication(MODEL, "bob"), publication(MODEL, "carol", codec="odd")
    storage = shelf(*broken.packed.blocks[:1])
    entries = [item.entry for item in (nowhere, broken, strange)]
    attempts = obtaining(entries, storage).attempts
    assert [stands_in(attempts, entry) for entry in entries] == [True, False, False]


def test_what_has_come_whole_is_told_with_all_its_blocks_and_where_the_root_was(obtaining, publication, shelf):
    whole, broken, came = publication(MODEL), publication(MODEL, "bob"), []
    storage = shelf(*whole.packed.blocks, *broken.packed.blocks[:1])
    obtaining([whole.entry, broken.entry], storage, on_fetched=lambda entry, transfer: came.append((entry, transfer)))
    [(entry, transfer)] = came
    assert entry == whole.entry
    assert transfer.blocks == {block.cid: block.data for block in whole.packed.blocks}
    assert transfer.origin == "storage s0"


@pytest.mark.parametrize("whole", [True, False])
def test_trying_what_was_heard_again_is_written_down_apart(obtaining, publication, shelf, whole):
    update = publication(MODEL, number=7)
    peers = Peers(100)
    peers.note(peer_named("alice")).failures = 3
    entry = RepeatedUpdate.of(update.entry)
    storage = shelf(*update.packed.blocks) if whole else shelf()
    attempts = obtaining([entry], storage, peers=peers).attempts
    record, apart = attempts.record(update.entry), attempts.record(entry)
    assert (record.last_tried, record.failures, record.fetched_number) == (None, 3, 7 if whole else 0)
    assert (apart.last_tried, apart.failures) == (1, 0 if whole else 1)
    assert not stands_in(attempts, update.entry)


def test_of_whom_nobody_waited_for_nothing_is_noted(obtaining, publication, shelf):
    class Never(type(shelf())):
        async def get(self, cids, deliver, *, hints=()):
            await trio.sleep_forever()

    update = publication(MODEL)
    result = obtaining([update.entry], Never(shelf().context), waited=5.0)
    assert result.seconds < FIRST_SECONDS
    assert result.peers.get(update.entry.peer) == PeerRecord(ever_accepted=True, trust=1.0)
    assert verdicts(result) == []
