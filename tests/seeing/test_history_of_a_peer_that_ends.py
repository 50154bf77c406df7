"""A history that is read while its peer ends: nothing is left behind, and no half is taken for a whole."""

import pytest

from learnae.identity.home_folder import open_home
from learnae.node import history_file
from learnae.node.history import History
from tests.support.records import a_full_report


@pytest.fixture
def path(tmp_path):
    return tmp_path / "history.sqlite"


def files_of(path):
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


def test_a_peer_that_ends_just_before_the_look_leaves_its_home_as_it_was(path, monkeypatch):
    with History.open(path) as writer:
        writer.add_round(a_full_report(1))
    before, looks, has_journal = files_of(path), iter([True]), history_file._has_journal
    monkeypatch.setattr(history_file, "_has_journal", lambda file: next(looks, False) or has_journal(file))
    with History.read(path) as reader:
        assert reader.last_round() == 1
    assert files_of(path) == before


def test_a_look_never_takes_the_journal_of_a_writer_away(path):
    History.open(path).close()
    with History.open(path) as writer:
        with open_home(path.parent) as folder:
            history_file._put_journal_away(history_file._File(folder, path))
        writer.add_round(a_full_report(1))
        with History.read(path) as reader:
            assert reader.last_round() == 1


@pytest.mark.parametrize("change", ["written", "gone"])
def test_a_journal_is_not_copied_beside_a_file_to_which_it_does_not_belong(path, monkeypatch, change):
    writer = History.open(path)
    writer.add_round(a_full_report(1))

    def copied_while_the_peer_ends(source, target, size, copy=history_file.copy_most):
        copy(source, target, size)
        if target.name.endswith("sqlite"):
            path.write_bytes(path.read_bytes()) if change == "written" else path.with_name(f"{path.name}-wal").unlink()

    monkeypatch.setattr(history_file, "copy_most", copied_while_the_peer_ends)
    with open_home(path.parent) as folder:
        assert history_file._elsewhere(history_file._File(folder, path)) is None
    monkeypatch.undo()
    writer.close()
