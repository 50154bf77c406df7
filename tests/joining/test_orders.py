"""Orders of a person to a running node: whom to hear no more, where to go."""

from types import SimpleNamespace

import pytest
import trio
from structlog.testing import capture_logs

from learnae.config.tables import JoinTable
from learnae.errors import UnavailableError
from learnae.identity.keys import Admission
from learnae.node.history import History, UserOrders
from learnae.node.lineage import LineageState, MinimumDuration
from learnae.node.moving import Orders
from learnae.records import PeerId
from learnae.testing.context import make_runtime

OWN, OTHER = b"lineage1", b"lineage0"
ALICE, BOB = PeerId("a" * 64), PeerId("b" * 64)


class Ear:
    """What hearing does about a peer that is denied."""

    def __init__(self, admission: Admission) -> None:
        self.admission, self.forgotten = admission, []

    def forget(self, peer: PeerId) -> None:
        self.forgotten.append(peer)


class Ways:
    """Moving, with the answers that the test wants: why not, or nothing."""

    def __init__(self, *answers: str, rules: JoinTable) -> None:
        self.lineage_state, self.answers, self.asked = LineageState(rules, lineage=OWN), list(answers), []

    def best_other(self, round_: int) -> bytes:
        return OTHER if self.lineage_state.lineage == OWN else OWN

    async def rejoin(self, target, snapshot, round_record) -> str:
        self.asked.append(target)
        answer = self.answers.pop(0)
        if not answer:
            self.lineage_state.lineage = target
        return answer


@pytest.fixture
def make():
    def make(*answers: str, rules: JoinTable | None = None, admission: Admission | None = None) -> Orders:
        ear, ways = Ear(admission or Admission()), Ways(*answers, rules=rules or JoinTable())
        return Orders(History.open(":memory:").orders, ear, ways, ear.admission, MinimumDuration(3, 0.0), make_runtime())

    return make


def rounds(orders: Orders, *numbers: int) -> list[bool]:
    """Whether each of these rounds led away."""

    async def main() -> list[bool]:
        led = []
        for number in numbers:
            await orders.read()
            led.append(await orders.carry_out(None, SimpleNamespace(round=number)))
        return led

    return trio.run(main)


def test_without_an_order_nothing_happens(make):
    orders = make()
    assert rounds(orders, 1, 2) == [False, False]
    assert orders.receiver.forgotten == []


def test_an_order_is_carried_out_once_and_its_outcome_kept(make):
    orders = make("")
    orders.user_orders.order_rejoin(OTHER)
    assert rounds(orders, 1, 2) == [True, False]
    assert orders.user_orders.last_rejoin().outcome == f"went over to lineage {OTHER.hex()}"
    assert orders.moving.asked == [OTHER]


def test_an_order_stays_until_it_can_be_carried_out(make):
    orders = make("not heard", "not heard", "")
    orders.user_orders.order_rejoin(None)
    assert rounds(orders, 1, 2, 3) == [False, False, True]


def test_an_order_that_cannot_be_carried_out_for_long_is_given_up_with_the_reason(make):
    orders = make(*["not heard"] * 4)
    orders.user_orders.order_rejoin(OTHER)
    with capture_logs() as logs:
        assert rounds(orders, 1, 2, 3, 4, 5) == [False] * 5
    assert len(orders.moving.asked) == 4
    assert [(line["log_level"], line["cause"]) for line in logs if line["event"] == "rejoin.given_up"] == [("warning", "not heard")]
    assert orders.user_orders.last_rejoin().outcome == "given up: not heard"


def test_another_order_waits_as_long_again(make):
    orders = make(*["not heard"] * 6)
    orders.user_orders.order_rejoin(OTHER)
    rounds(orders, 1, 2, 3)
    orders.user_orders.order_rejoin(None)
    rounds(orders, 4, 5, 6)
    assert orders.user_orders.take_rejoin() is not None


def test_an_order_to_be_where_one_is_is_done_at_once(make):
    orders = make()
    orders.user_orders.order_rejoin(OWN)
    assert rounds(orders, 1) == [False]
    assert orders.user_orders.take_rejoin() is None


def test_an_order_against_the_file_is_refused_and_says_what_to_change(make):
    orders = make(rules=JoinTable(lineage=OWN.hex()))
    orders.user_orders.order_rejoin(OTHER)
    rounds(orders, 1)
    assert "join.lineage" in orders.user_orders.last_rejoin().outcome
    assert orders.moving.asked == []


def test_an_order_that_a_crash_cut_off_after_the_adoption_does_not_lead_straight_back(make, monkeypatch):
    killed, started_again = make(""), make("")
    killed.user_orders.order_rejoin(None)
    monkeypatch.setattr(UserOrders, "end_rejoin", lambda *_: pytest.fail("the node was killed here"))
    with pytest.raises(pytest.fail.Exception):
        rounds(killed, 1)
    started_again.user_orders, started_again.moving.lineage_state.lineage = killed.user_orders, OTHER  # which the trainer has adopted
    monkeypatch.undo()
    assert rounds(started_again, 2, 3) == [False, False]
    assert (started_again.moving.asked, killed.user_orders.last_rejoin().outcome) == ([], "the model is of that lineage already")


def test_an_order_without_a_name_looks_for_the_best_lineage_in_each_round(make, monkeypatch):
    orders, best = make("gone", ""), [OTHER, b"lineage3"]
    monkeypatch.setattr(orders.moving, "best_other", lambda _: best.pop(0), raising=False)
    orders.user_orders.order_rejoin(None)
    assert rounds(orders, 1, 2) == [False, True]
    assert orders.moving.asked == [OTHER, b"lineage3"]


def test_an_order_whose_end_cannot_be_written_is_told_once_and_not_carried_out_twice(make, monkeypatch):
    """Without a name it would lead straight back."""
    orders, full = make(""), [True]
    orders.user_orders.order_rejoin(None)
    end = UserOrders.end_rejoin

    def end_rejoin(user_orders, order, outcome):
        if full:
            full.pop()
            raise UnavailableError("the disk is full")
        end(user_orders, order, outcome)

    monkeypatch.setattr(UserOrders, "end_rejoin", end_rejoin)
    with capture_logs() as logs:
        with pytest.raises(UnavailableError):
            rounds(orders, 1)
        assert rounds(orders, 2, 3) == [False, False]
    assert [line["event"] for line in logs] == ["rejoin.ordered"]
    assert orders.moving.asked == [OTHER]
    assert orders.user_orders.last_rejoin().outcome == f"went over to lineage {OTHER.hex()}"


def test_who_is_denied_is_forgotten_once_and_refused_from_then_on(make):
    orders = make()
    orders.user_orders.deny(ALICE)
    rounds(orders, 1, 2)
    assert orders.receiver.forgotten == [ALICE]
    assert orders.receiver.admission.refuses(ALICE) == "denied"
    assert orders.receiver.admission.refuses(BOB) is None


def test_who_is_allowed_again_is_heard_unless_the_file_denies_it(make):
    orders = make(admission=Admission(deny=[BOB]))
    for peer in (ALICE, BOB):
        orders.user_orders.deny(peer)
    rounds(orders, 1)
    for peer in (ALICE, BOB):
        orders.user_orders.allow_again(peer)
    rounds(orders, 2)
    assert orders.receiver.admission.refuses(ALICE) is None
    assert orders.receiver.admission.refuses(BOB) == "denied"
