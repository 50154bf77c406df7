"""What must be true across keys, and what is refused whatever it says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from learnae.config.tables import Config

Problems = Callable[..., list[str]]
Read = Callable[..., Config]


def test_the_key_of_a_swarm_does_not_stand_in_the_file(problems: Problems) -> None:
    (problem,) = problems('[swarm]\nkey = "swordfish"')
    assert problem.startswith("swarm.key: a key never stands in this file (name the variable that holds it: key_env = ")
    assert "swordfish" not in problem


def test_a_rule_across_several_keys_is_judged_also_where_another_key_is_wrong(problems: Problems) -> None:
    """Else a file is mended, run, and refused once more."""
    found = problems('[peer]\nrelay = true\n[train]\nlocal_steps = "20"\n[join]\nwait_seconds = 5.0\nsettle_seconds = 1.0\n')
    assert [problem.partition(":")[0] for problem in found] == ["peer.relay", "train.local_steps", "join.settle_seconds"]


@pytest.mark.parametrize(("wait", "settle"), [(0, 10.0), (2, 10.0), (3, 10.0), (4, 12.0), (10.5, 31.5)])
def test_without_settle_seconds_a_peer_settles_after_three_waits_but_not_before_ten_seconds(read: Read, wait: float, settle: float) -> None:
    assert read(f"[join]\nwait_seconds = {wait}").join.settle_seconds == settle


def test_settle_seconds_below_three_waits_are_a_problem_if_the_user_gave_them(problems: Problems) -> None:
    assert problems("[join]\nwait_seconds = 4\nsettle_seconds = 11") == [
        "join.settle_seconds: must be at least three times join.wait_seconds, 12.0, not 11.0"
    ]


def test_settle_seconds_of_three_waits_are_kept(read: Read) -> None:
    assert read("[join]\nwait_seconds = 4\nsettle_seconds = 12").join.settle_seconds == 12.0


STORAGE, READ_ONLY, ANNOUNCER = (
    '[[storage]]\nuse = "directory"\n',
    '[[storage]]\nuse = "directory"\nwrite = false\n',
    '[[announcer]]\nuse = "directory"\n',
)


@pytest.mark.parametrize(
    "media", ["", STORAGE, STORAGE + ANNOUNCER, 2 * READ_ONLY], ids=["defaults", "a storage", "one of each", "to read"]
)
def test_a_relay_with_nothing_to_relay_between_is_a_problem(problems: Problems, media: str) -> None:
    (problem,) = problems(f"[peer]\nrelay = true\n{media}")
    assert problem.startswith("peer.relay: there is nothing to relay between")
    assert "a second [[announcer]] or a second [[storage]]" in problem


@pytest.mark.parametrize("media", [2 * STORAGE, STORAGE + READ_ONLY, 2 * ANNOUNCER, 2 * READ_ONLY + 2 * ANNOUNCER])
def test_a_relay_needs_two_announcers_or_two_storages_of_which_it_writes_to_one(read: Read, media: str) -> None:
    assert read(f"[peer]\nrelay = true\n{media}").peer.relay


def test_a_table_that_is_wrong_is_the_only_problem_of_a_relay(problems: Problems) -> None:
    (problem,) = problems(f'[peer]\nrelay = true\n{STORAGE}[[storage]]\nuse = "nowhere"\n')
    assert problem.startswith("storage[1].use")


@pytest.mark.parametrize("high", ["", "high = 5.0"])
def test_what_a_validator_says_of_its_own_default_too_is_told_once(problems: Problems, high: str) -> None:
    """The default of `high` is 10: what is wrong with the file's own value is wrong with that as well."""
    found = problems(f'[merge]\nuse = "between"\nlow = 20.0\n{high}\n[train]\nlocal_steps = 0')
    assert [problem.partition(":")[0] for problem in found] == ["merge.high", "train.local_steps"]
