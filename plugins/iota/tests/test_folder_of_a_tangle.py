"""A private tangle lies in a folder of its own: no neighbour leads it elsewhere, and what is something else is left alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from learnae.errors import ConfigError
from learnae_iota.devnet.tangle import _locked
from tests.support.users import as_user, folder_for_all, needs_root

VICTIM, STRANGER = 53_011, 53_012


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder such as /tmp."""
    with folder_for_all(0o1777) as folder:
        yield folder


def begin(folder: Path) -> None:
    with _locked(folder):
        assert (folder / "lock").is_file()


@needs_root
@pytest.mark.parametrize("victim", [VICTIM, 0], ids=["user", "root"])
@pytest.mark.parametrize("below", ["", "deep/tangle"], ids=["in its place", "above"])
def test_no_link_of_a_neighbour_is_followed(public: Path, victim: int, below: str) -> None:
    own = public / "own"
    own.mkdir(mode=0o700)
    os.chown(own, victim, victim)
    (public / "tangle").symlink_to(own)
    os.lchown(public / "tangle", STRANGER, STRANGER)
    assert as_user(victim, lambda: begin(public / "tangle" / below)).startswith("ConfigError")
    assert list(own.iterdir()) == []


@pytest.mark.parametrize("there", [["lock", "thesis.tex"], ["keys/id_ed25519"], ["lock", "keys/a.pem", "keys/config.json"], ["node-0/x"]])
def test_a_folder_with_something_else_is_left_alone_whatever_its_names_are(there: list[str], tmp_path: Path) -> None:
    for name in there:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match="something else"):
        begin(tmp_path)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()) == sorted(there)


@pytest.mark.parametrize(
    "there", [[], ["lock"], ["lock", "keys/config.json", "keys/keys.log"], ["keys/keys.json", "node-0/hornet.log", "notes"]]
)
def test_a_tangle_goes_on_and_one_that_was_begun_too(there: list[str], tmp_path: Path) -> None:
    for name in there:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"seed": "9", "address": "9", "depth": 3}' if name.endswith(".json") else "")
    begin(tmp_path)
    begin(tmp_path)
