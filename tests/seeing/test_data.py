"""What `learnae data` tells of rows, and what it does to them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from learnae.data.own import OwnSlices
from learnae.data.pool import Pool
from learnae.errors import UpdateRejectedError
from learnae.records import PeerId
from tests.support.slices import images, one_slice, root_of

QUOTA = 1 << 20


def pooled(home: Path, peer: PeerId, seed: int) -> None:
    rows = one_slice(images(seed=seed), licence="CC0-1.0")
    Pool(home, QUOTA).add(root_of(rows), rows, peer)


def test_a_home_without_rows_says_so(lived, learnae):
    told = learnae("data", "status", lived().path)
    assert told.code == 0
    assert "0 slices" in told.out
    assert "not told" in told.out


@pytest.mark.parametrize("role", ["provider", "keeper"])
def test_who_trains_on_nothing_is_not_asked_for_the_rows_that_it_trains_on(lived, learnae, role):
    home = lived().configured(peer={"role": role})
    told = learnae("data", "status", home.path).out
    assert "trains on nothing" in told
    assert "swarm.dataset" not in told and "Its pool" not in told
    assert json.loads(learnae("data", "status", home.path, "--json").out)["role"] == role


def test_own_slices_and_the_pool_are_told_by_provider(lived, learnae):
    home = lived()
    OwnSlices(home.path).replace([one_slice(images(seed=9))], most_rows=20)
    for seed, peer in ((1, home.alice), (2, home.alice), (3, home.bob)):
        pooled(home.path, peer, seed)
    found = json.loads(learnae("data", "status", home.path, "--json").out)
    assert (found["own_slices"], found["pool"]["rows"]) == (1, 60)
    assert [(one["peer"], one["rows"], one["licences"]) for one in found["providers"]] == [
        (home.alice, 40, ["CC0-1.0"]),
        (home.bob, 20, ["CC0-1.0"]),
    ]
    assert home.alice in learnae("data", "status", home.path).out


def test_a_forgotten_peer_loses_its_rows_is_refused_and_is_taken_again(lived, learnae):
    home = lived()
    pooled(home.path, home.alice, 1)
    pooled(home.path, home.bob, 2)
    assert learnae("data", "forget", home.path, "a11c").code == 0
    assert [one.providers for one in Pool(home.path, QUOTA).entries()] == [(home.bob,)]
    with pytest.raises(UpdateRejectedError, match="forgotten"):
        pooled(home.path, home.alice, 3)
    assert "refused" in learnae("data", "status", home.path).out
    assert learnae("data", "allow", home.path, home.alice).code == 0
    pooled(home.path, home.alice, 3)
    assert len(Pool(home.path, QUOTA).entries()) == 2


def test_a_peer_that_never_gave_rows_is_refused_by_its_whole_key(lived, learnae):
    home = lived()
    assert learnae("data", "forget", home.path, "5" * 40).code == 2
    assert learnae("data", "forget", home.path, "5" * 64).code == 0
    assert Pool(home.path, QUOTA).index().forgotten == ("5" * 64,)


def test_who_gives_rows_under_a_key_that_begins_like_that_of_another_is_not_taken_for_it(lived, learnae):
    """Keys cost nothing: whoever makes many has one that begins like that of a peer which `learnae why` shows."""
    home = lived()
    pooled(home.path, PeerId(home.alice[:8] + "9" * 56), 1)
    told = learnae("data", "forget", home.path, home.alice[:8])
    assert told.code == 2 and "several begin like this" in told.err
    assert Pool(home.path, QUOTA).index().forgotten == ()
    assert learnae("data", "forget", home.path, home.alice).code == 0
    assert Pool(home.path, QUOTA).index().forgotten == (home.alice,)


@pytest.mark.parametrize("word", ["forget", "allow"])
def test_it_must_be_said_who(lived, learnae, word):
    told = learnae("data", word, lived().path)
    assert told.code == 2
    assert "PEER" in told.err


def test_a_damaged_index_is_told_with_what_to_do(lived, learnae):
    home = lived()
    pooled(home.path, home.alice, 1)
    (home.path / "data" / "pool.json").write_text("{")
    told = learnae("data", "status", home.path)
    assert told.code == 2
    assert "damaged" in told.err
