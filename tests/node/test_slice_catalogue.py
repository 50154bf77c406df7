"""Which slices are known, within bounds, and which is worth most."""

from __future__ import annotations

import attrs
import pytest

from learnae.content.cids import dag_cid
from learnae.data.schema import schema_of
from learnae.data.slices import pack_slice
from learnae.data.worth import worth
from learnae.node import slice_catalogue
from learnae.node.inbox import InboxEntry
from learnae.node.slice_catalogue import KNOWN_FOR_SECONDS, SliceCatalogue
from learnae.records import Announcement, PeerId, Slice
from tests.support.clocks import Clock
from tests.support.slices import images, one_slice

SCHEMA = schema_of(images(), "y")
HONEST, FLOOD = PeerId("11" * 32), PeerId("22" * 32)
A_SLICE = pack_slice(one_slice(images())).announced


def heard(peer: PeerId, body: Slice, number: int = 1) -> InboxEntry:
    announcement = Announcement(swarm=bytes(16), peer=peer, number=number, body=body)
    return InboxEntry(announcement, b"", b"", 0.0, 1, backlog=False)


def another(number: int) -> Slice:
    return pack_slice(one_slice(images(seed=number))).announced


def peers_in(catalogue: SliceCatalogue) -> list[PeerId]:
    return [offer.peer for offer in catalogue.offers(SCHEMA)]


def test_a_flood_displaces_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slice_catalogue, "MOST_OFFERS", 8)
    catalogue = SliceCatalogue(lambda peer: False, Clock())
    for number in range(3):
        catalogue.hear(heard(HONEST, another(number)))
    for number in range(100, 120):
        catalogue.hear(heard(FLOOD, another(number)))
    assert len(catalogue) == 8
    assert peers_in(catalogue).count(HONEST) == 3


def test_strangers_displace_no_peer_that_was_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slice_catalogue, "MOST_OFFERS", 4)
    catalogue = SliceCatalogue(lambda peer: peer == HONEST, Clock())
    for number in range(4):
        catalogue.hear(heard(HONEST, another(number)))
    for number in range(8):
        catalogue.hear(heard(PeerId(f"{number:064x}"), another(50 + number)))
    assert peers_in(catalogue).count(HONEST) == 4


def test_an_offer_that_is_not_repeated_is_forgotten() -> None:
    clock = Clock()
    catalogue = SliceCatalogue(lambda peer: False, clock)
    catalogue.hear(heard(HONEST, A_SLICE))
    clock.now = KNOWN_FOR_SECONDS / 2
    catalogue.hear(heard(HONEST, another(1)))
    clock.now = KNOWN_FOR_SECONDS + 1
    assert [offer.slice for offer in catalogue.offers(SCHEMA)] == [another(1)]
    assert len(catalogue) == 1


@pytest.mark.parametrize(
    "changes", [{"rows": 0}, {"rows": 1 << 20}, {"bytes": 0}, {"bytes": 1 << 40}, {"labels": {"1": 5}}, {"bytes": 10}, {"schema": b"other"}]
)
def test_what_no_slice_of_this_schema_can_be_is_no_offer(changes: dict) -> None:
    catalogue = SliceCatalogue(lambda peer: False, Clock())
    catalogue.hear(heard(HONEST, attrs.evolve(A_SLICE, **changes)))
    assert not peers_in(catalogue)


def test_a_label_that_is_lacking_is_worth_more_than_one_that_is_there() -> None:
    have = {"1": 1000, "2": 10}
    by_label = {label: worth(10, {label: 10}, 1000, have) for label in ("1", "2", "3")}
    assert by_label["3"] > by_label["2"] > by_label["1"]


def test_the_same_rows_in_fewer_bytes_are_worth_more() -> None:
    assert worth(10, {"1": 10}, 500, {}) > worth(10, {"1": 10}, 1000, {})


def test_where_it_is_full_who_has_most_is_looked_for_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slice_catalogue, "MOST_OFFERS", 256)
    looked = 0

    def trusted(peer: PeerId) -> bool:
        nonlocal looked
        looked += 1
        return False

    catalogue = SliceCatalogue(trusted, Clock())
    for number in range(512):
        catalogue.hear(heard(PeerId(f"{number:064x}"), attrs.evolve(A_SLICE, root=dag_cid(f"{number}".encode()))))
    assert 250 <= len(catalogue) <= 256
    assert looked < 256 * 256 // 4
