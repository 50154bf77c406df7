"""What must be true across keys, and what is refused whatever it says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from learnae.config import rules, tables
from learnae.config.problems import Problems as Found
from learnae.config.rules import swarm_of, what_leaves
from learnae.config.tables import ROLES, Config, PeerTable
from learnae.data import about
from learnae.identity.swarms import swarm_id

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


GIVING = '[data]\nshare = "slices"\nlicence = "CC0-1.0"\n'


def test_without_a_word_about_data_no_row_is_given_and_none_is_taken(read: Read) -> None:
    data = read().data
    assert (data.share, data.share_rows, data.share_fraction, data.accept_bytes) == ("nothing", None, None, 0)


@pytest.mark.parametrize("limit", ["share_rows = 300", "share_fraction = 0.05", "share_rows = 300\nshare_fraction = 0.05"])
def test_rows_are_given_with_a_limit_and_a_licence(read: Read, limit: str) -> None:
    assert read(GIVING + limit).data.share == "slices"


def test_consent_without_a_limit_or_without_a_licence_is_none(problems: Problems) -> None:
    no_licence, no_limit = problems('[data]\nshare = "slices"')
    assert no_limit.startswith("data.share: does not say how many rows (share_rows = 300")
    assert no_licence.startswith("data.licence: rows are given only under a licence")


def test_a_limit_that_is_wrong_is_the_only_problem_of_a_consent(problems: Problems) -> None:
    (problem,) = problems(f"{GIVING}share_rows = -1")
    assert problem.startswith("data.share_rows: must be more than 0")


def test_in_a_swarm_of_weights_only_nobody_gives_or_takes_rows(problems: Problems, read: Read) -> None:
    found = problems(f"[swarm]\nweights_only = true\n{GIVING}share_rows = 300\naccept_bytes = 1_000_000")
    assert [problem.partition(":")[0] for problem in found] == ["data.share", "data.accept_bytes"]
    assert all("leave it out" in problem for problem in found)
    assert read("[swarm]\nweights_only = true").swarm.weights_only


def test_a_swarm_of_weights_only_is_another_one_than_that_of_the_same_name(read: Read) -> None:
    plain, weights_only = read(), read("[swarm]\nweights_only = true")
    assert swarm_of(plain.swarm).id == swarm_id("default") != swarm_of(weights_only.swarm).id


def test_ranges_are_pairs_of_which_the_first_is_not_above_the_second(problems: Problems, read: Read) -> None:
    assert read("[data.ranges]\nheat = [-90, 60.0]").data.ranges == {"heat": (-90.0, 60.0)}
    (problem,) = problems("[data.ranges]\nheat = [60, -90]")
    assert problem.startswith("data.ranges: must be a table of pairs")


def test_the_bounds_of_texts_about_rows_are_those_of_slices() -> None:
    assert (tables.LICENCE_CHARACTERS, tables.SOURCE_CHARACTERS) == (about.LICENCE_CHARACTERS, about.SOURCE_CHARACTERS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Weights leave this machine. No row of data does."),
        ("[swarm]\nweights_only = true", "Weights leave this machine. No row of data does. In this swarm no peer gives rows."),
        (f"{GIVING}share_rows = 300", "Weights leave this machine, and at most 300 rows, under CC0-1.0."),
        (f"{GIVING}share_fraction = 0.05", "Weights leave this machine, and at most 5 % of the rows, under CC0-1.0."),
        (
            '[data]\nshare = "slices"\naccept_bytes = 9\ngather = true',
            "Weights leave this machine, and readings that it gathers from sensors, under their licences.",
        ),
    ],
)
def test_one_sentence_says_what_leaves_the_machine(read: Read, text: str, said: str) -> None:
    assert what_leaves(read(text)).startswith(said)
    assert not what_leaves(read(text), folders_only=True).startswith("Weights leave")


SENSOR = '[peer]\nrole = "sensor"\n[sensor]\ncolumns = {heat = "float32"}\n[data]\nlicence = "CC0-1.0"\n'


def test_a_sensor_says_what_it_reads_and_under_which_licence(read: Read, problems: Problems) -> None:
    assert what_leaves(read(SENSOR)).startswith("Readings leave this machine: heat, under CC0-1.0.")
    assert [problem.partition(":")[0] for problem in problems('[peer]\nrole = "sensor"')] == ["sensor.columns", "data.licence"]


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ("accept_bytes = 3", "data.accept_bytes"),
        ("[swarm]\nweights_only = true", "peer.role"),
        ("[train]\nlocal_steps = 3", "train"),
        ('[[storage]]\nuse = "directory"\nwrite = false', "storage"),
        ('[sensor.more]\nheat = "float32"', "sensor.more"),
    ],
)
def test_what_a_sensor_has_no_use_for_is_a_problem(problems: Problems, more: str, key: str) -> None:
    (problem,) = problems(SENSOR + more)
    assert problem.startswith(f"{key}:")


def test_columns_that_no_message_holds_are_a_problem(problems: Problems) -> None:
    (problem,) = problems(SENSOR.replace("float32", "float32[500]"))
    assert problem.startswith("sensor.columns: a reading has 2,000 bytes")


def test_what_a_sensor_would_say_has_no_effect_for_others(problems: Problems) -> None:
    (problem,) = problems("[sensor]\nseconds = 3.0")
    assert problem.startswith("sensor: has no effect for a trainer")


def test_who_gathers_has_room_for_readings_and_takes_rows(problems: Problems) -> None:
    assert [problem.partition(":")[0] for problem in problems("[data]\ngather = true")] == ["data.gather"]
    found = problems("[data]\ngather = true\naccept_bytes = 1\n[swarm]\nweights_only = true")
    assert {problem.partition(":")[0] for problem in found} == {"data.gather", "data.accept_bytes"}


def test_a_peer_trains_unless_its_file_says_otherwise(read: Read) -> None:
    assert read().peer.role == "trainer"


def test_a_role_that_there_is_not_is_a_problem(problems: Problems) -> None:
    (problem,) = problems('[peer]\nrole = "keper"')
    assert problem.startswith("peer.role: must be one of") and "keeper" in problem


@pytest.mark.parametrize("role", sorted(set(ROLES) - set(rules.BUILT)))
def test_a_role_that_is_not_built_yet_is_the_only_problem_of_its_file(problems: Problems, role: str) -> None:
    (problem,) = problems(f'[peer]\nrole = "{role}"\n[train]\nlocal_steps = 5')
    assert problem.startswith(f'peer.role: "{role}" is not built yet (there')


def test_a_table_without_effect_for_a_role_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "BUILT", ROLES)
    found = Found()
    rules.played(PeerTable(role="keeper"), ("join", "merge", "train"), found)
    assert [problem.key for problem in found.found] == ["train", "merge"]


def test_an_observer_merges_and_joins_and_has_nothing_to_publish(read: Read, problems: Problems) -> None:
    used = '[train]\nround_seconds = 5\n[join]\nwait_seconds = 1\n[selector]\ncount = 4\n[merge]\nuse = "average"\n[[gate]]\nuse = "sane"\n'
    assert read(f'[peer]\nrole = "observer"\n{used}').peer.role == "observer"
    found = problems('[peer]\nrole = "observer"\n[outer]\nuse = "trim"\n[data]\naccept_bytes = 1000\n')
    assert [problem.partition(",")[0] for problem in found] == [
        "outer: has no effect for an observer",
        "data: has no effect for an observer",
    ]


def test_tables_that_say_only_the_defaults_have_no_role_against_them(
    read: Read, problems: Problems, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node is sent all of them."""
    monkeypatch.setattr(rules, "BUILT", ROLES)
    plain = '[train]\nlocal_steps = 20\n[merge]\nuse = "average"\n[outer]\nuse = "qgo"\n'
    for preset in ("", 'preset = "paranoid"\n'):
        assert read(f'{preset}[peer]\nrole = "keeper"\n{plain if not preset else ""}').peer.role == "keeper"
    (problem,) = problems(f'[peer]\nrole = "keeper"\n{plain}trim = 0.4')
    assert problem.startswith("outer: has no effect for a keeper")


PROVIDING = '[peer]\nrole = "provider"\n' + GIVING + 'share_rows = 300\nentry = "data:rows"\n'


def test_a_provider_names_its_rows_and_consents(read: Read, problems: Problems) -> None:
    assert read(PROVIDING).data.entry == "data:rows"
    found = problems('[peer]\nrole = "provider"')
    assert [problem.partition(":")[0] for problem in found] == ["data.share", "data.entry"]


def test_a_provider_takes_no_rows(problems: Problems) -> None:
    (problem,) = problems(PROVIDING + "accept_bytes = 1000")
    assert problem.startswith("data.accept_bytes: has no effect for a provider")


def test_for_a_peer_that_trains_a_function_of_rows_has_no_effect(problems: Problems) -> None:
    (problem,) = problems('[data]\nentry = "data:rows"')
    assert problem.startswith("data.entry: has an effect for a provider alone") and "swarm.dataset" in problem


def test_what_leaves_the_machine_is_said_by_role(read: Read) -> None:
    assert what_leaves(read(PROVIDING)).startswith("No weights leave this machine. Rows do: at most 300 rows, under CC0-1.0")
    assert what_leaves(read('[peer]\nrole = "keeper"')).startswith("No model of this machine's own")
    assert what_leaves(read(KEEPING + 'licences = ["CC0-1.0"]')).endswith("rows that they give under CC0-1.0.")


KEEPING = '[peer]\nrole = "keeper"\n[data]\naccept_bytes = 1_000_000\n'


def test_a_keeper_may_keep_rows_of_others_and_has_none_of_its_own(read: Read, problems: Problems) -> None:
    assert read(KEEPING).data.accept_bytes == 1_000_000
    found = problems(KEEPING + 'share = "slices"\nshare_rows = 3\nlicence = "CC0-1.0"\ngather = true')
    assert {problem.partition(":")[0] for problem in found} == {"data.share", "data.share_rows", "data.licence", "data.gather"}
    assert all("has no effect for a keeper" in problem for problem in found)


def test_rows_leave_room_for_updates_at_a_keeper(problems: Problems) -> None:
    (problem,) = problems(KEEPING.replace("[data]", "quota_bytes = 1_000_000\n[data]"))
    assert problem.startswith("data.accept_bytes: leaves no room for updates")


def test_in_a_swarm_of_weights_only_no_keeper_keeps_rows(problems: Problems) -> None:
    (problem,) = problems(KEEPING + "[swarm]\nweights_only = true")
    assert problem.startswith("data.accept_bytes")


BY_ROLE = {
    "trainer": "[peer]\n",
    "observer": '[peer]\nrole = "observer"\n',
    "keeper": '[peer]\nrole = "keeper"\n',
    "provider": '[peer]\nrole = "provider"\n{peer}' + PROVIDING.partition("\n")[2].partition("\n")[2],
    "sensor": '[peer]\nrole = "sensor"\n{peer}' + SENSOR.partition("\n")[2].partition("\n")[2],
}


def of_role(role: str, peer: str = "") -> str:
    text = BY_ROLE[role]
    return text.replace("{peer}", peer) if "{peer}" in text else text + peer


@pytest.mark.parametrize("folders_only", [False, True])
@pytest.mark.parametrize("role", BY_ROLE)
def test_weights_are_said_to_leave_a_trainer_alone_and_a_view_only_who_signs_one(read: Read, role: str, folders_only: bool) -> None:
    said = what_leaves(read(of_role(role)), folders_only=folders_only)
    assert said.startswith("Weights ") == (role == "trainer") and "view" not in said
    if role in ("trainer", "observer"):
        shared = what_leaves(read(of_role(role, "share_contributions = true\n")), folders_only=folders_only)
        assert shared.startswith(said) and "signed view" in shared and "cannot be taken back" in shared


TWO_MEDIA = 2 * STORAGE + 2 * ANNOUNCER


@pytest.mark.parametrize("key", ["relay", "share_contributions"])
@pytest.mark.parametrize("role", BY_ROLE)
def test_a_key_of_the_peer_that_its_role_has_no_use_for_is_a_problem(read: Read, problems: Problems, role: str, key: str) -> None:
    media = 2 * ANNOUNCER if role == "sensor" else TWO_MEDIA
    text = of_role(role, f"{key} = true\n") + media
    if role in ("trainer", "observer"):
        assert getattr(read(text).peer, key)
    else:
        (problem,) = problems(text)
        assert problem.startswith(f"peer.{key}: has no effect for a {role}")
        (problem,) = problems(of_role(role, f"{key} = true\n"))
        assert problem.startswith(f"peer.{key}: has no effect for a {role}"), "and nothing of a second medium, which would not help"
