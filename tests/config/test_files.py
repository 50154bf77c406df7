"""The file itself."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from learnae import ConfigError
from learnae.config.choices import OptionsOf
from learnae.config.load import load


def test_a_file_is_read_and_its_folder_is_where_paths_start(tmp_path: Path, options_of: OptionsOf) -> None:
    file = tmp_path / "learnae.toml"
    file.write_text('[swarm]\nname = "digits"\n[peer]\nhome = "home"')
    config = load(file, options_of=options_of)
    assert (config.swarm.name, config.peer.home, config.folder) == ("digits", tmp_path / "home", tmp_path)


def test_a_relative_path_to_the_file_still_gives_an_absolute_folder(
    tmp_path: Path, options_of: OptionsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "learnae.toml").touch()
    monkeypatch.chdir(tmp_path)
    assert load(Path("learnae.toml"), options_of=options_of).folder == tmp_path


def test_without_a_file_there_are_the_defaults(tmp_path: Path, options_of: OptionsOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load(None, name="digits", overrides=["train.local_steps=5"], options_of=options_of)
    assert (config.swarm.name, config.train.local_steps, config.folder) == ("digits", 5, tmp_path)


def test_a_mark_at_the_head_of_the_file_is_no_error(tmp_path: Path, options_of: OptionsOf) -> None:
    file = tmp_path / "learnae.toml"
    file.write_bytes(b"\xef\xbb\xbf[train]\nlocal_steps = 5")
    assert load(file, options_of=options_of).train.local_steps == 5


def refused(path: Path, options_of: OptionsOf) -> str:
    with pytest.raises(ConfigError, match=re.escape(str(path))) as caught:
        load(path, options_of=options_of)
    return str(caught.value)


def test_a_missing_file_says_what_to_do(tmp_path: Path, options_of: OptionsOf) -> None:
    assert "there is no such file (check the path" in refused(tmp_path / "x.toml", options_of)


def test_a_folder_says_which_file_is_meant(tmp_path: Path, options_of: OptionsOf) -> None:
    assert f"is a folder (name the file in it, such as {tmp_path / 'learnae.toml'})" in refused(tmp_path, options_of)


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path, options_of: OptionsOf, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)  # chmod does not stop root
    assert "may not be read by this user (chmod u+r" in refused(tmp_path / "x.toml", options_of)


def test_a_file_that_is_not_utf8_says_so(tmp_path: Path, options_of: OptionsOf) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(b'[swarm]\nname = "\xff"')
    assert "is not UTF-8 text (byte 16)" in refused(file, options_of)


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="needs a device file")
def test_an_empty_device_is_an_empty_file(options_of: OptionsOf) -> None:
    assert load(Path("/dev/null"), options_of=options_of).swarm.name == "default"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[swarm]\nname = digits", "line 2"),
        ("[swarm]\n[swarm]", "line 2"),
        (f"[train]\nlocal_steps = {'9' * 5000}", "is not valid TOML"),
        ("x = " + "[" * 100_000, "is nested too deeply"),
        (".".join("x" * 3000) + " = 1", "is nested too deeply"),
    ],
    ids=["syntax", "twice", "digits", "brackets", "dots"],
)
def test_a_file_that_is_not_toml_says_where(tmp_path: Path, options_of: OptionsOf, text: str, words: str) -> None:
    file = tmp_path / "x.toml"
    file.write_text(text)
    assert words in refused(file, options_of)
