"""Which home a command is about."""

from __future__ import annotations

import re
import shlex

import pytest

from learnae.config.folders import default_home


@pytest.mark.parametrize("name", ["home", "home/learnae.toml", "."])
def test_a_home_is_named_by_its_folder_its_file_or_the_folder_of_its_file(lived, learnae, tmp_path, name):
    lived("home")
    (tmp_path / "home" / "learnae.toml").write_text('[peer]\nhome = "."\n')
    (tmp_path / "learnae.toml").write_text('[peer]\nhome = "home"\n')
    assert learnae("status", name, "--json").json["home"] == str(tmp_path / "home")


def test_without_a_name_it_is_that_of_the_file_in_this_folder(lived, learnae, tmp_path):
    lived("mine")
    (tmp_path / "learnae.toml").write_text('[peer]\nhome = "mine"\n')
    assert learnae("status", "--json").json["home"] == str(tmp_path / "mine")


def test_without_a_file_it_is_the_only_one_under_the_state_folder(lived, learnae, state_home):
    home = lived(str(state_home / "learnae" / "homes" / "digits" / "peer-1"))
    assert learnae("status", "--json").json["home"] == str(home.path)


def test_a_file_without_a_home_means_those_of_its_swarm(lived, learnae, state_home, tmp_path):
    digits = lived(str(state_home / "learnae" / "homes" / "digits" / "peer-1"))
    lived(str(state_home / "learnae" / "homes" / "letters" / "peer-1"))
    (tmp_path / "learnae.toml").write_text('[swarm]\nname = "digits"\n')
    assert learnae("status", "--json").json["home"] == str(digits.path)


def test_several_are_listed_by_status_and_must_be_named_elsewhere(lived, learnae, state_home):
    homes = [str(lived(str(state_home / "learnae" / "homes" / "digits" / f"peer-{number}")).path) for number in (1, 2)]
    found = learnae("status", "--json").json["homes"]
    assert sorted(one["home"] for one in found) == homes and {one["rounds"] for one in found} == {41}
    assert all(home in learnae("status").out.replace("\n", "") for home in homes)
    refused = learnae("why")
    assert refused.code == 2 and all(home in refused.err for home in homes)


def test_what_a_command_advises_names_the_home_where_there_are_several(lived, learnae, state_home):
    one, two = (lived(str(state_home / "learnae" / "homes" / "digits" / f"peer-{number}")) for number in (1, 2))
    one.happened(splits=(one.other_lineage,), lost=2, round=42).heard(one.sighting(lineage=one.other_lineage))
    shown = learnae("status", "peer-1").words
    assert "`learnae rejoin digits/peer-1`" in shown and "`learnae why digits/peer-1`" in shown
    assert "`learnae rejoin digits/peer-1`" in learnae("why", "peer-1", "a11c").words
    assert f"`learnae allow digits/peer-1 {one.alice}`" in learnae("deny", "peer-1", "a11c").words
    assert "`learnae status digits/peer-1`" in learnae("rejoin", "peer-1").words
    two.path.rename(state_home / "elsewhere")
    assert "`learnae rejoin`" in learnae("status").words
    assert f"`learnae status {state_home / 'elsewhere'}`" in learnae("rejoin", state_home / "elsewhere").words


def test_one_of_several_is_named_by_its_last_word(lived, learnae, state_home):
    one, two = (lived(str(state_home / "learnae" / "homes" / "digits" / f"peer-{number}")) for number in (1, 2))
    assert learnae("status", "peer-2", "--json").json["home"] == str(two.path)
    assert learnae("why", "peer-1", "--json").json["peer"] is None
    assert learnae("why", "peer-1", "a11c", "--json").json["peer"] == one.alice
    assert learnae("status", "peer-3").code == 2


def test_a_name_that_two_swarms_use_must_be_told_apart(lived, learnae, state_home):
    homes = [str(lived(str(state_home / "learnae" / "homes" / swarm / "peer-1")).path) for swarm in ("digits", "letters")]
    refused = learnae("history", "peer-1")
    assert refused.code == 2 and all(home in refused.err for home in homes)


def test_a_home_under_the_state_folder_is_named_by_its_swarm_and_its_last_word_from_anywhere(lived, learnae, state_home, tmp_path):
    homes = {name: str(lived(str(state_home / "learnae" / "homes" / name)).path) for name in ("digits/peer-1", "letters/peer-1")}
    (tmp_path / "learnae.toml").write_text('[swarm]\nname = "digits"\n')
    for name, home in homes.items():
        assert learnae("status", name, "--json").json["home"] == home
        assert learnae("status", name.partition("/")[0], "--json").json["home"] == home
        assert learnae("why", name, "a11c").code == 0


def test_a_swarm_is_named_as_its_file_names_it(lived, learnae, state_home):
    home = lived(str(default_home("My Swarm!") / "peer-1"))
    assert learnae("status", "My Swarm!", "--json").json["home"] == str(home.path)


def test_what_is_listed_can_be_pasted_behind_any_command(lived, learnae, tmp_path):
    for name in ("a b/one", "a b/two"):
        lived(name)
    listed = [line.strip() for line in learnae("status", "a b").out.splitlines() if "/a b/" in line]
    assert len(listed) == 2
    for line in listed:
        (word,) = shlex.split(line)
        assert learnae("history", word).code == 0


def test_whom_a_peer_hears_and_in_which_lineage_can_be_pasted_behind_the_orders(lived, learnae):
    home = lived("home")
    home.heard(home.sighting(), home.sighting(home.bob, lineage=home.other_lineage))
    shown = learnae("status", "home").out
    peers = re.findall(r"^([0-9a-f]{8}) ", shown, re.MULTILINE)
    assert peers
    for peer in peers:
        assert [learnae(command, "home", peer).code for command in ("why", "deny", "allow")] == [0, 0, 0]
    others = set(re.findall(r"in lineage ([0-9a-f]{16})\b", shown))
    assert others and {learnae("rejoin", "home", lineage).code for lineage in others} == {0}


def test_a_tilde_is_the_home_folder_also_where_no_shell_has_seen_to_it(lived, learnae, tmp_path, monkeypatch):
    lived("home")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert learnae("status", "~/home", "--json").json["home"] == str(tmp_path / "home")
    assert "no home folder" in learnae("status", "~nobody-of-this-name/home").err
    assert learnae("init", "~/new").code == 0 and (tmp_path / "new" / "train.py").exists()
    assert learnae("key", "--file=~/swarm.key").code == 0 and (tmp_path / "swarm.key").exists()
    assert learnae("check", "~/new/learnae.toml").code == learnae("check", "~/new").code == 0


def test_a_folder_where_no_peer_has_run_says_what_to_name(learnae, tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nowhere"):
        shown = learnae("status", name)
        assert shown.code == 2 and "HOME" in shown.err and "TOML file" in shown.err and "Traceback" not in shown.err
    assert list((tmp_path / "empty").iterdir()) == []


def test_where_no_peer_has_run_at_all_it_says_how_to_start_one(learnae, state_home):
    shown = learnae("status")
    assert shown.code == 2 and "no peer has run yet" in shown.err and "learnae run" in shown.err and str(state_home) in shown.err


def test_a_file_in_this_folder_never_stands_for_a_peer_of_another_swarm(lived, learnae, state_home, tmp_path):
    lived(str(state_home / "learnae" / "homes" / "letters" / "peer-1"))
    (tmp_path / "learnae.toml").write_text('[swarm]\nname = "digits"\n')
    for words in (("status",), ("rejoin",), ("deny", "a" * 64)):
        shown = learnae(*words)
        assert shown.code == 2 and f"no peer of {tmp_path / 'learnae.toml'} has run yet" in shown.err


def test_one_home_that_is_broken_hides_none_of_the_others(lived, learnae, state_home):
    good, bad = (lived(str(state_home / "learnae" / "homes" / "digits" / name)) for name in ("peer-1", "peer-2"))
    (bad.path / "history.sqlite").write_text("no database")
    found = {one["home"]: one for one in learnae("status", "--json").json["homes"]}
    assert (found[str(good.path)]["rounds"], found[str(good.path)]["error"]) == (41, None)
    assert "cannot be used" in found[str(bad.path)]["error"]
    shown = learnae("status")
    assert shown.code == 0 and "round 41" in shown.out and "cannot be used" in shown.words


def test_a_word_alone_is_a_home_only_if_it_is_a_path(lived, learnae, tmp_path):
    home = lived()
    (tmp_path / "learnae.toml").write_text('[peer]\nhome = "home"\n')
    assert learnae("why", "a11c", "--json").json["peer"] == home.alice
    assert learnae("why", "home", "--json").json["peer"] is None
    assert learnae("why", "home", "a11c", "--json").json["peer"] == home.alice


def test_a_file_without_an_end_that_lies_in_a_folder_is_refused_in_words(lived, learnae, tmp_path):
    lived("home")
    with (tmp_path / "learnae.toml").open("wb") as file:
        file.truncate(1 << 40)
    for words in (("status", "."), ("status",), ("status", "learnae.toml")):
        refused = learnae(*words)
        assert refused.code == 2 and "learnae.toml" in refused.err and "bug" not in refused.err
