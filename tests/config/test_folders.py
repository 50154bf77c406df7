"""Where things lie that the user did not name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae import ConfigError
from learnae.config.folders import default_home, folder_name, meeting_folder, state_folder


def test_everything_lies_under_the_state_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert state_folder() == Path("/state/learnae")
    assert meeting_folder() == Path("/state/learnae/meeting")
    assert default_home("digits") == Path("/state/learnae/homes/digits")


@pytest.mark.parametrize("value", ["", "relative"])
def test_a_state_home_that_is_no_absolute_path_counts_as_not_set(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", value)
    monkeypatch.setenv("HOME", "/h")
    assert state_folder() == Path("/h/.local/state/learnae")


def test_without_any_home_folder_the_variable_to_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(ConfigError, match="XDG_STATE_HOME"):
        state_folder()


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_swarms_get_safe_folders_and_different_ones_different_folders(one: str, other: str) -> None:
    names = {folder_name(one).casefold(), folder_name(other).casefold()}
    assert len(names) == len({one, other})
    assert all(len(name) <= 64 and set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-+") for name in names)


@pytest.mark.parametrize(("one", "other"), [("digits", "Digits"), ("a/b", "a-b"), ("..", "."), ("a b", "a  b")])
def test_names_that_look_alike_to_a_file_system_stay_apart(one: str, other: str) -> None:
    assert folder_name(one) != folder_name(other)
    assert not {folder_name(one), folder_name(other)} & {".", "..", ""}
