"""`use = "my_file:MyMerge"`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from learnae import ConfigError, PluginError
from learnae.plugins.manager import PluginManager, open_peer_file

MERGE = """
from __future__ import annotations
import attrs
from learnae import ElementwiseMerge
{imports}

@attrs.frozen
class Options:
    power: float = 2.0

class MyMerge(ElementwiseMerge):
    Options = Options
    answer = {answer}
    def combine(self, stacked, weights):
        return stacked[0]
"""


def merge(answer: str = "1", imports: str = "") -> str:
    return MERGE.replace("{answer}", answer).replace("{imports}", imports)


def write(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder


def test_a_class_beside_the_file_needs_no_package(tmp_path: Path) -> None:
    write(tmp_path, "my_file.py", merge("42"))
    (tmp_path / "learnae.toml").write_text('[merge]\nuse = "my_file:MyMerge"\npower = 3')
    config, manager = open_peer_file(tmp_path / "learnae.toml")
    assert config.merge.use == "my_file:MyMerge"
    assert config.merge.options.power == 3.0
    offer = manager.find("merge", config.merge.use, config.folder)
    assert (offer.plugin, offer.load().answer) == ("my_file.py", 42)  # type: ignore[attr-defined]


def test_files_of_one_name_in_two_folders_stay_apart(tmp_path: Path) -> None:
    manager = PluginManager()
    for answer in (1, 2):
        folder = write(tmp_path / str(answer), "my_file.py", merge("answer", "from helper import answer"))
        write(folder, "helper.py", f"answer = {answer}")
        assert manager.find("merge", "my_file:MyMerge", folder).load().answer == answer  # type: ignore[attr-defined]


def test_a_file_that_ends_the_program_when_it_is_imported_is_named(tmp_path: Path) -> None:
    write(tmp_path, "train.py", merge(imports="import sys; sys.exit(2)"))
    with pytest.raises(PluginError, match=r"'train.py' failed while importing it: SystemExit: 2"):
        PluginManager().find("merge", "train:MyMerge", tmp_path)


def test_options_that_cannot_be_read_are_told_under_the_name_of_the_file(tmp_path: Path) -> None:
    write(tmp_path, "my_file.py", merge().replace("power: float", "power: Undefined"))
    with pytest.raises(PluginError, match=r"'my_file.py' failed while loading the merge 'my_file:MyMerge'.*Undefined"):
        PluginManager().find("merge", "my_file:MyMerge", tmp_path).load()


def test_a_file_is_imported_once(tmp_path: Path) -> None:
    write(tmp_path, "my_file.py", merge())
    manager = PluginManager()
    one, other = (manager.find("merge", "my_file:MyMerge", tmp_path).load() for _ in range(2))
    assert one is other
    assert PluginManager().find("merge", "my_file:MyMerge", tmp_path).load() is not one


def test_a_file_may_lie_in_a_package_and_import_its_neighbours(tmp_path: Path) -> None:
    package = write(tmp_path / "rules", "mine.py", merge("answer", "from .helper import answer"))
    write(package, "helper.py", "answer = 7")
    assert PluginManager().find("merge", "rules.mine:MyMerge", tmp_path).load().answer == 7  # type: ignore[attr-defined]


def test_neither_the_path_nor_the_neighbours_stay_behind(tmp_path: Path) -> None:
    write(tmp_path, "my_file.py", merge(imports="import a_helper_of_mine"))
    write(tmp_path, "a_helper_of_mine.py", "import colorsys")
    path = list(sys.path)
    PluginManager().find("merge", "my_file:MyMerge", tmp_path)
    assert sys.path == path
    assert "my_file" not in sys.modules
    assert "a_helper_of_mine" not in sys.modules
    assert "colorsys" in sys.modules


def test_the_path_is_put_back_when_the_import_fails(tmp_path: Path) -> None:
    write(tmp_path, "my_file.py", "1 / 0")
    path = list(sys.path)
    with pytest.raises(PluginError, match=r"plugin 'my_file.py' failed while importing it: ZeroDivisionError"):
        PluginManager().find("merge", "my_file:MyMerge", tmp_path)
    assert sys.path == path


@pytest.mark.parametrize(
    ("use", "words"),
    [
        ("other:MyMerge", "there is no other.py in "),
        ("my_file:MyMerg", 'my_file.py has no MyMerg (did you mean "MyMerge"?)'),
        ("../my_file:MyMerge", 'is not of the form "file:Class"'),
        ("my_file:", 'is not of the form "file:Class"'),
        ("my_file:A:B", 'is not of the form "file:Class"'),
    ],
)
def test_what_is_not_there_is_for_the_user_to_mend(tmp_path: Path, use: str, words: str) -> None:
    write(tmp_path, "my_file.py", merge())
    with pytest.raises(ConfigError) as caught:
        PluginManager().find("merge", use, tmp_path)
    assert words in str(caught.value)


def test_a_class_of_another_kind_is_the_plugins_fault(tmp_path: Path) -> None:
    write(tmp_path, "my_file.py", merge())
    with pytest.raises(PluginError, match=r"'my_file.py' failed while loading the gate 'my_file:MyMerge': MyMerge does not derive"):
        PluginManager().find("gate", "my_file:MyMerge", tmp_path).load()
