"""A project is a program, and may lie beside the key of a swarm: it is made in no folder that a neighbour may change."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from learnae.scaffold import write_plugin, write_project
from tests.support import users
from tests.support.users import ANNA, BERT, GROUP, folder_for_all, needs_root

pytestmark = needs_root


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that everybody may write to. What is imported on the way may lie where only root reads, so it is imported before."""
    with folder_for_all(0o1777) as folder, tempfile.TemporaryDirectory() as other:
        project(Path(other) / "project")
        plugin(Path(other) / "plugin")
        yield folder


def project(folder: Path) -> None:
    write_project(folder, private=True)


def plugin(folder: Path) -> None:
    write_plugin(folder, "gate", ())


def as_anna(work: Callable[[], object]) -> str:
    return users.as_user(ANNA, work, umask=0o002, group=GROUP)


@pytest.mark.parametrize("write", [project, plugin])
@pytest.mark.parametrize(("owner", "mode"), [(BERT, 0o777), (BERT, 0o1777), (ANNA, 0o777), (ANNA, 0o770), (0, 0o777)])
def test_nothing_is_written_into_a_folder_that_others_may_change(place: Path, owner: int, mode: int, write: Callable[[Path], None]) -> None:
    folder = place / "mine"
    folder.mkdir()
    os.chown(folder, owner, GROUP)
    folder.chmod(mode)
    assert "ConfigError" in as_anna(lambda: write(folder))
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("write", [project, plugin])
def test_no_umask_lets_others_write_into_what_is_made(place: Path, write: Callable[[Path], None]) -> None:
    folder = place / "mine"
    assert as_anna(lambda: write(folder)) == ""
    made = [folder, *folder.rglob("*")]
    assert len(made) > 4 and [path for path in made if path.stat().st_mode & 0o022] == []


def test_an_empty_folder_of_its_user_is_filled(place: Path) -> None:
    folder = place / "mine"
    folder.mkdir(0o755)
    os.chown(folder, ANNA, GROUP)
    assert as_anna(lambda: project(folder)) == ""


@pytest.mark.parametrize("write", [project, plugin])
@pytest.mark.parametrize("below", ["", "deep/mine"], ids=["in its place", "above"])
def test_no_link_of_a_neighbour_leads_a_project_elsewhere(place: Path, below: str, write: Callable[[Path], None]) -> None:
    own = place / "anna's"
    own.mkdir(0o755)
    os.chown(own, ANNA, GROUP)
    os.symlink(own, place / "mine")
    os.lchown(place / "mine", BERT, GROUP)
    assert "ConfigError" in as_anna(lambda: write(place / "mine" / below))
    assert list(own.iterdir()) == []
