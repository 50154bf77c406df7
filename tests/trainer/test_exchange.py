"""The adoption protocol, without any process: rules one by one, and a whole swarm in which everything goes wrong."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learnae.link.messages import Adopted, GarbledError, MergeResult, Release, Taken, TrainerProgress, Want
from learnae.trainer.session_state import SessionState


def offer(number: int = 1, *, session: str = "s", slot: int = 0, page: int = 0) -> MergeResult:
    return MergeResult(session, number, page, slot, b"lineage8", 0, "merged")


@pytest.fixture
def lent() -> SessionState:
    exchange = SessionState()
    exchange.begin("s")
    exchange.hear(Want())
    exchange.lend(0)
    return exchange


def test_a_lent_slot_is_not_free_until_it_is_released(lent: SessionState) -> None:
    assert lent.free_slot() == 1
    lent.lend(1)
    assert lent.free_slot() is None
    lent.hear(Release(0))
    assert lent.free_slot() == 0


def test_lending_a_slot_answers_the_wish_for_it(lent: SessionState) -> None:
    assert not lent.wanted


def test_an_adoption_counts_one_more_and_is_named(lent: SessionState) -> None:
    lent.hear(made := offer())
    assert [lent.adopt(made) for _ in range(2)] == [Adopted(1)] * 2
    assert lent.offer is None and lent.adoption == 1 and lent.lent(0)


def test_an_offer_of_another_session_is_void(lent: SessionState) -> None:
    lent.hear(offer(session="before"))
    assert lent.offer is None


def test_a_new_session_takes_all_back_and_keeps_the_count(lent: SessionState) -> None:
    lent.hear(made := offer())
    lent.adopt(made)
    lent.lend(1)
    lent.hear(offer(2, slot=1))
    lent.begin("t")
    assert (lent.offer, lent.wanted, lent.free_slot(), lent.adoption) == (None, False, 0, 1)


def test_a_new_run_counts_from_nothing(lent: SessionState) -> None:
    lent.hear(made := offer())
    lent.adopt(made)
    lent.new_run()
    assert (lent.adoption, lent.session) == (0, "")


def test_an_offer_from_a_snapshot_without_the_last_adoption_ends_the_node(lent: SessionState) -> None:
    lent.lend(1)
    lent.hear(made := offer())
    lent.adopt(made)
    with pytest.raises(GarbledError, match="contains adoption 1"):
        lent.hear(offer(2, slot=1))


@pytest.mark.parametrize("bad", [offer(2), offer(0), offer(slot=1), offer(slot=7), offer(page=2), offer(page=-1)])
def test_an_offer_that_cannot_be_meant_ends_the_node(lent: SessionState, bad: MergeResult) -> None:
    with pytest.raises(GarbledError):
        lent.hear(bad)


def test_a_second_offer_beside_a_first_ends_the_node(lent: SessionState) -> None:
    lent.hear(offer())
    with pytest.raises(GarbledError, match="waits"):
        lent.hear(offer())


def test_releasing_the_slot_of_an_offer_that_waits_ends_the_node(lent: SessionState) -> None:
    lent.hear(offer())
    with pytest.raises(GarbledError, match="released"):
        lent.hear(Release(0))


class Peer:
    """A trainer whose model is one number, with the real SessionState, and a node that keeps to the contract."""

    def __init__(self, value: float, board: list[list[float]], me: int, eager: bool) -> None:
        self.value, self.board, self.me = value, board, me
        self.eager = eager  # whether the node asks for the next snapshot while it still holds one
        self.exchange, self.sessions, self.adopted, self.pause = SessionState(), 0, 0, 0
        self.slots, self.pages, self.saved = [0.0, 0.0], [0.0, 0.0], value
        self.to_trainer: deque[Want | Release | MergeResult] = deque()
        self.start_node()

    def start_node(self) -> None:
        """After a SIGKILL, or for the first time. What the dead one said last may still arrive."""
        self.sessions += 1
        self.session = f"{self.me}.{self.sessions}"
        self.exchange.begin(self.session)
        self.to_trainer = deque(message for message in self.to_trainer if isinstance(message, MergeResult))
        self.to_node: deque[Taken | Adopted] = deque()
        self.holds: Taken | None = None
        self.waiting: Taken | None = None
        self.coming: tuple[int, MergeResult] | None = None
        self.offered, self.asked = self.exchange.adoption, False

    def kill_trainer(self) -> None:
        self.value, self.exchange = self.saved, SessionState()
        self.start_node()

    def trainer_tick(self) -> None:
        while self.to_trainer:
            self.exchange.hear(self.to_trainer.popleft())
        if self.pause:
            self.pause -= 1
            return
        if (ready := self.exchange.offer) is not None:
            self.value += self.pages[ready.page] - self.slots[ready.slot]
            self.to_node.append(self.exchange.adopt(ready))
            self.adopted += 1
        slot = self.exchange.free_slot()
        if self.exchange.wanted and slot is not None:
            self.hand_over(slot)

    def hand_over(self, slot: int) -> None:
        in_use = [taken.slot for taken in (self.holds, self.waiting) if taken is not None]
        assert slot not in in_use, "the trainer writes where the node reads"
        self.slots[slot] = self.saved = self.value
        self.exchange.lend(slot)
        self.to_node.append(Taken(slot, TrainerProgress(self.exchange.adoption, b"", 0, 0, 0, 0.0)))

    def node_tick(self, lag: int) -> None:
        while self.to_node:
            match self.to_node.popleft():
                case Taken() as taken:
                    self.waiting, self.asked = taken, False
                case Adopted():
                    assert self.holds is not None
                    self.to_trainer.append(Release(self.holds.slot))
                    self.holds = None
        self.drop_if_stale()
        if self.holds is None and self.waiting is not None:
            self.holds, self.waiting = self.waiting, None
            self.merge(self.holds, lag)
        self.send_if_time()
        self.ask()

    def drop_if_stale(self) -> None:
        if self.waiting is not None and self.waiting.progress.adoption < self.offered:
            self.to_trainer.append(Release(self.waiting.slot))
            self.waiting = None

    def ask(self) -> None:
        if not self.asked and self.waiting is None and (self.eager or self.holds is None):
            self.asked = True
            self.to_trainer.append(Want())

    def merge(self, taken: Taken, lag: int) -> None:
        self.board[self.me].append(self.slots[taken.slot])
        others = [self.board[(self.me + distance) % len(self.board)] for distance in (1 + lag % 3, 1 + (lag + 1) % 3)]
        fetched = [values[max(0, len(values) - 1 - lag)] for values in others if values]
        page = taken.progress.adoption % 2
        self.pages[page] = (self.slots[taken.slot] + sum(fetched)) / (1 + len(fetched))
        self.coming = (lag, offer(taken.progress.adoption + 1, session=self.session, slot=taken.slot, page=page))

    def send_if_time(self) -> None:
        if self.coming is not None:
            ticks, ready = self.coming
            self.coming = (ticks - 1, ready) if ticks else None
            if not ticks:
                self.to_trainer.append(ready)
                self.offered = ready.number


WHEN = st.tuples(st.integers(0, 59), st.integers(0, 3))
FAULTS = st.dictionaries(WHEN, st.sampled_from(["kill node", "kill node", "kill node first", "kill trainer", "pause"]), max_size=60)


@settings(max_examples=100)
@given(FAULTS, st.lists(st.integers(0, 3), min_size=1, max_size=12), st.tuples(*[st.booleans()] * 4))
def test_four_peers_agree_whatever_was_late_lost_or_killed(
    faults: dict[tuple[int, int], str], lags: list[int], eager: tuple[bool, ...]
) -> None:
    board: list[list[float]] = [[] for _ in range(4)]
    peers = [Peer(float(10**i), board, i, eager[i]) for i in range(4)]
    before = [0] * 4
    for tick in range(5000):
        if tick == 60:
            before = [peer.adopted for peer in peers]
        for who, peer in enumerate(peers):
            lag, fault = lags[(tick + who) % len(lags)], faults.get((tick, who))
            live(peer, lag, fault)
        if tick % 200 == 199 and agree(peers):
            break
    assert all(peer.adopted > count + 10 for peer, count in zip(peers, before, strict=True)), "somebody stopped merging"
    assert agree(peers)
    assert all(1.0 <= peer.value <= 1000.0 for peer in peers)


def live(peer: Peer, lag: int, fault: str | None) -> None:
    """One tick of both processes, with a fault before, between or after."""
    if fault == "pause":
        peer.pause = 5 + lag
    peer.trainer_tick()
    if fault == "kill node first":
        peer.start_node()
    peer.node_tick(lag)
    if fault == "kill node":
        peer.start_node()
    elif fault == "kill trainer":
        peer.kill_trainer()


def agree(peers: list[Peer]) -> bool:
    values = [peer.value for peer in peers]
    return max(values) - min(values) < 1e-6 * max(values)
