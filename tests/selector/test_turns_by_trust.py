"""Who is fetched how often by the default selector, with what is remembered of peers; without a network (decision 0031)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping

import attrs
import numpy as np
import pytest

from learnae import NoOptions
from learnae.node.peers import Peers
from learnae.plugins.selector import LeastRecentlyTried
from learnae.records import PeerId, View
from learnae.testing.context import make_context
from learnae.testing.selector_kit import candidate

COUNT, SHOWN = 2, 16  # slots in a round, strangers in a view
Manners = Callable[[int], bool]
"""Whether the so many-th try of a peer by this one is a useful fetch, if the attack has begun."""


def good(tries: int) -> bool:
    return True


def failing(share: float, seed: int = 0) -> Manners:
    chance = np.random.default_rng(seed)
    return lambda tries: bool(chance.random() >= share)


@attrs.frozen
class Try:
    round: int
    peer: str
    useful: bool


def tried(tmp_path, manners: Mapping[str, Manners], rounds: int, *, turn: int = 0, seed: int = 0) -> list[Try]:
    """What one peer tries after round `turn`, until which everybody is good; its rounds count from there."""
    selector, chance = LeastRecentlyTried(NoOptions(), make_context(tmp_path, seed=seed)), np.random.default_rng(seed)
    peers, tries, fates = Peers(1000), defaultdict[str, int](int), list[Try]()
    for number in range(1 - turn, rounds + 1):
        strangers = [name for name in manners if not peers.get(PeerId(name)).ever_accepted]
        shown = set(chance.permutation(strangers)[:SHOWN])
        views = {name: seen(name, peers) for name in manners if name in shown or peers.get(PeerId(name)).ever_accepted}
        for chosen in selector.select(View(round=number + turn, age=0, count=COUNT, budget_bytes=10**6, candidates=list(views.values()))):
            name = next(name for name, each in views.items() if each is chosen)
            peers.note(PeerId(name)).last_tried = number + turn
            tries[name] += number > 0
            useful = number <= 0 or manners[name](tries[name])
            (peers.merged if useful else peers.failed)(PeerId(name))
            fates += [Try(number, name, useful)] if number > 0 else []
    return fates


def seen(name: str, peers: Peers):
    record = peers.get(PeerId(name))
    known = {"last_tried": record.last_tried, "failures": record.failures, "ever_accepted": record.ever_accepted, "trust": record.trust}
    return candidate(name, **known)


def swarm(honest: int, identities: int, attack: Manners) -> dict[str, Manners]:
    return {f"sybil {n}": attack for n in range(identities)} | {f"honest {n}": good for n in range(honest)}


def useful(fates: list[Try], after: int, until: int) -> float:
    """The share of all slots."""
    return sum(fate.useful for fate in fates if after < fate.round <= until) / (COUNT * (until - after))


def share(fates: list[Try], after: int, until: int) -> float:
    names = [fate.peer for fate in fates if after < fate.round <= until]
    return sum(name.startswith("sybil") for name in names) / len(names)


ATTACKS: dict[str, tuple[int, Manners]] = {
    "never": (0, lambda tries: False),
    "accepted once": (0, lambda tries: tries == 1),
    "all turn at once": (200, lambda tries: False),
    "every second time": (0, lambda tries: tries % 2 == 1),
    "every third time": (0, lambda tries: tries % 3 == 1),
    "two times of three": (0, lambda tries: tries % 3 != 0),
    "three times of four": (0, lambda tries: tries % 4 != 0),
    "two good, two bad": (0, lambda tries: tries % 4 in (1, 2)),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_twenty_identities_of_forty_cost_at_most_a_fifth_in_any_hundred_rounds(tmp_path, attack):
    turn, manners = ATTACKS[attack]
    fates = tried(tmp_path, swarm(19, 20, manners), 200, turn=turn)
    assert min(useful(fates, after, after + 100) for after in (0, 50, 100)) >= 0.8


@pytest.mark.parametrize("attack", ["every second time", "two good, two bad", "three times of four"])
def test_who_fails_now_and_then_has_fewer_turns_than_who_never_does(tmp_path, attack):
    fates = tried(tmp_path, swarm(19, 20, ATTACKS[attack][1]), 300)
    assert share(fates, 100, 300) <= 0.35


def test_sixty_identities_that_were_accepted_once_have_a_third_of_the_slots_at_most(tmp_path):
    fates = tried(tmp_path, swarm(19, 60, ATTACKS["accepted once"][1]), 300)
    assert share(fates, 100, 300) <= 1 / 3
    assert useful(fates, 100, 300) >= 0.75


def test_where_nobody_fails_everybody_is_fetched_equally_often(tmp_path):
    turns = Counter(fate.peer for fate in tried(tmp_path, swarm(19, 0, good), 300) if fate.round > 100)
    assert max(turns.values()) - min(turns.values()) <= 3
    assert len(turns) == 19


@pytest.mark.parametrize(("failures", "least"), [(0.02, 0.6), (0.1, 0.25), (0.3, 0.08), (1.0, 0.02)])
def test_a_slow_peer_that_fails_at_times_is_never_starved(tmp_path, failures, least):
    manners = swarm(19, 0, good) | {"honest 3": failing(failures)}
    turns = Counter(fate.peer for fate in tried(tmp_path, manners, 800) if fate.round > 100)
    assert turns["honest 3"] >= least * turns["honest 4"]


def test_where_everybody_fails_at_times_nobody_is_left_out(tmp_path):
    manners = {f"honest {n}": failing(0.1, seed=n) for n in range(19)}
    turns = Counter(fate.peer for fate in tried(tmp_path, manners, 400) if fate.round > 100)
    assert min(turns.values()) >= 300 * COUNT / 19 / 4


def test_a_peer_that_comes_back_after_an_outage_has_its_turns_again(tmp_path):
    manners = swarm(19, 0, good) | {"honest 3": lambda tries: tries > 6}
    turns = Counter(fate.peer for fate in tried(tmp_path, manners, 600, turn=100) if fate.round > 400)
    assert turns["honest 3"] >= 0.8 * turns["honest 4"]


def test_a_newcomer_gets_in_beside_sixty_spoiled_identities(tmp_path):
    late = {"honest late": good}
    fates = tried(tmp_path, swarm(19, 60, ATTACKS["accepted once"][1]) | late, 400)
    assert sum(fate.peer == "honest late" for fate in fates) >= 5
