"""`key_env` and `key_file`: found, or refused with the remedy, and never shown."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from learnae.config.folders import meeting_place
from learnae.config.load import load_document
from learnae.config.rules import swarm_of
from learnae.config.saved_config import dump
from learnae.config.tables import Config
from learnae.errors import ConfigError
from learnae.identity.swarms import SwarmIdentity, SwarmKey
from learnae.plugins.manager import PluginManager

KEY = SwarmKey(bytes(range(32)))
BODY = KEY.text()[14:]

Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    manager = PluginManager.discover(only=())

    def load_swarm(*overrides: str, **swarm: object) -> Config:
        return load_document({"swarm": swarm}, folder=tmp_path, overrides=overrides, options_of=manager.options_of(tmp_path))

    return load_swarm


@pytest.fixture
def problem(load: Load) -> Callable[..., str]:
    """The only thing that is wrong; in no case does it show the key."""

    def problem_of(*overrides: str, **swarm: object) -> str:
        with pytest.raises(ConfigError) as caught:
            load(*overrides, **swarm)
        (found,) = caught.value.problems
        chain = "".join(map(str, (caught.value, caught.value.__cause__, caught.value.__context__)))
        assert BODY not in chain.lower()
        return str(found)

    return problem_of


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_key_is_found_in_the_variable(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGITS_KEY", f" {KEY.text()}\n")
    swarm = swarm_of(load(name="digits", key_env="DIGITS_KEY").swarm)
    assert swarm.key is not None and swarm.key.secret() == bytes(range(32))


@pytest.mark.parametrize("prefix", ["", "\ufeff"], ids=["plain", "with the mark of some editors"])
def test_the_key_is_found_in_a_file_beside_the_toml(load: Load, tmp_path: Path, prefix: str) -> None:
    write(tmp_path / "digits.key", prefix + KEY.text() + "\r\n")
    swarm = swarm_of(load(name="digits", key_file="digits.key").swarm)
    assert swarm.key is not None and swarm.key.secret() == bytes(range(32))


def test_without_either_a_swarm_is_open(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGITS_KEY", KEY.text())
    assert swarm_of(load(name="digits").swarm).key is None


def test_what_goes_to_the_node_names_the_variable_and_not_the_key(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGITS_KEY", KEY.text())
    sent = dump(load(key_env="DIGITS_KEY"))
    assert sent["swarm"]["key_env"] == "DIGITS_KEY"
    assert BODY not in repr(sent)


def test_a_variable_that_is_not_set_is_named_with_the_remedy(problem: Callable[..., str]) -> None:
    said = problem(key_env="NO_SUCH_KEY")
    assert said.startswith("swarm.key_env: the variable NO_SUCH_KEY is not set (set it before the start")
    assert "`learnae key` makes one" in said


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty"),
        ("  \n", "is empty"),
        (bytes(range(32)).hex(), "is no key of a swarm"),
        (KEY.text()[:-1], "is mistyped or cut off"),
        (KEY.text()[:-1] + "z", "is mistyped or cut off"),
        (KEY.text() + KEY.text(), "is mistyped or cut off"),
    ],
)
def test_what_is_no_key_is_refused_wherever_it_lies(
    problem: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, complaint: str
) -> None:
    monkeypatch.setenv("DIGITS_KEY", text)
    assert f"the variable DIGITS_KEY {complaint}" in problem(key_env="DIGITS_KEY")
    path = write(tmp_path / "digits.key", text)
    assert f"{path} {complaint}" in problem(key_file="digits.key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_file_that_others_may_read_or_change_is_refused(problem: Callable[..., str], tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "digits.key", KEY.text(), mode)
    said = problem(key_file="digits.key")
    assert f"others on this machine may read {path} (mode {mode:o})" in said and f"chmod 600 {path}" in said


def test_a_file_that_is_not_there_or_no_file_is_refused_at_once(problem: Callable[..., str], tmp_path: Path) -> None:
    assert f"{tmp_path / 'none.key'} cannot be read: No such file" in problem(key_file="none.key")
    assert "is no file" in problem(key_file=".")
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "is no file" in problem(key_file="pipe")


def test_only_one_place_can_be_named(problem: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A", KEY.text())
    assert problem(key_env="A", key_file="b").startswith("swarm.key_file: there is swarm.key_env as well")


def test_a_swarm_with_a_key_cannot_be_open_too(problem: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGITS_KEY", KEY.text())
    assert problem(key_env="DIGITS_KEY", open=True).startswith("swarm.open: a swarm with a key is not open")


@pytest.mark.parametrize("name", ["key", "key_env", "key_file", "name"])
def test_the_key_itself_is_refused_under_any_name_in_the_file_and_on_the_command_line(problem: Callable[..., str], name: str) -> None:
    assert problem(**{name: KEY.text()}).startswith(f"swarm.{name}: a key never stands in this file")
    assert problem(f"swarm.{name}={KEY.text()}").startswith(f"--set swarm.{name}: a key never stands in this file")


@pytest.mark.parametrize("value", [[KEY.text()], {"text": KEY.text()}, f"digits {KEY.text()}"], ids=["list", "table", "behind a word"])
def test_a_key_wrapped_in_something_else_is_refused_as_well(problem: Callable[..., str], value: object) -> None:
    assert problem(name=value).startswith("swarm.name: a key never stands in this file")


@pytest.mark.parametrize("key", ["peer.seed", "join.lineage", "swarm", "nowhere"])
def test_a_key_that_stands_elsewhere_is_not_repeated_in_the_problem(problem: Callable[..., str], key: str) -> None:
    said = problem(f"{key}={KEY.text()}")
    assert BODY[:8] not in said and BODY[:8] not in problem(KEY.text())


def test_a_key_that_is_missing_is_told_with_all_other_problems(load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load("train.local_steps=0", key_env="NO_SUCH_KEY")
    assert sorted(problem.key for problem in caught.value.problems) == ["--set train.local_steps", "swarm.key_env"]


def test_where_peers_of_this_machine_meet_tells_the_name_of_an_open_swarm_only(state_home: Path) -> None:
    private, other = SwarmIdentity("digits", KEY), SwarmIdentity("digits", SwarmKey(bytes(32)))
    assert meeting_place(SwarmIdentity("digits")) == state_home / "learnae" / "meeting" / "digits"
    assert meeting_place(private) == state_home / "learnae" / "meeting" / private.channel != meeting_place(other)
