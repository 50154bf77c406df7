"""The file itself."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from learnae import ConfigError
from learnae.config.load import MOST_BYTES, load, read
from learnae.config.options import OptionsOf


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

    monkeypatch.setattr("os.open", refuse)  # chmod does not stop root
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


@pytest.mark.parametrize("named", [True, False])
def test_a_file_without_an_end_is_refused(named: bool, tmp_path: Path) -> None:
    file = tmp_path / "learnae.toml"
    with file.open("wb") as opened:
        opened.truncate(1 << 40)
    with pytest.raises(ConfigError, match=f"{MOST_BYTES:,}"):
        read(file, named=named)


def test_the_longest_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "learnae.toml"
    text = "[swarm]\nname = 'digits'\n#"
    file.write_text(text + "x" * (MOST_BYTES - len(text)))
    assert read(file) == {"swarm": {"name": "digits"}}


@pytest.mark.parametrize("through_a_link", [False, True])
def test_nothing_is_waited_for_where_a_file_was_only_found(through_a_link: bool, tmp_path: Path) -> None:
    file = tmp_path / "learnae.toml"
    os.mkfifo(tmp_path / "pipe" if through_a_link else file)
    if through_a_link:
        file.symlink_to("pipe")
    with pytest.raises(ConfigError, match=re.escape(str(file))):
        read(file, named=False)


def test_a_file_that_was_found_may_be_reached_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "learnae.toml").write_text("[swarm]\nname = 'digits'\n")
    (tmp_path / "learnae.toml").symlink_to("..data/learnae.toml")
    assert read(tmp_path / "learnae.toml", named=False) == {"swarm": {"name": "digits"}}


def test_a_pipe_that_was_named_is_read(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"[swarm]\nname = 'digits'\n")
    os.close(writing)
    try:
        assert read(Path(f"/dev/fd/{reading}")) == {"swarm": {"name": "digits"}}
    finally:
        os.close(reading)
