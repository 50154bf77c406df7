"""What projects and plugins may be called."""

from __future__ import annotations

from pathlib import Path

import pytest

from learnae import ConfigError
from learnae.scaffold import PluginNames, plugin_names, swarm_name


def test_a_swarm_is_called_like_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert swarm_name(Path("deep/My digits-2.0")) == "My digits-2.0"
    monkeypatch.chdir(tmp_path)
    assert swarm_name(Path(".")) == tmp_path.name


@pytest.mark.parametrize("name", ['a"b', "a\nb", "a\\b", "-x", "x" * 65, "/"])
def test_a_name_that_would_need_quoting_is_no_name_of_a_swarm(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a swarm"):
        swarm_name(Path(name))


@pytest.mark.parametrize(
    ("distribution", "names"),
    [
        ("my-rule", PluginNames("my-rule", "my-rule", "my_rule", "MyRule")),
        ("learnae-near-2", PluginNames("learnae-near-2", "near-2", "learnae_near_2", "Near2")),
    ],
)
def test_all_names_of_a_plugin_follow_from_one(distribution: str, names: PluginNames) -> None:
    assert plugin_names(distribution, ["average"]) == names


@pytest.mark.parametrize("name", ["My-Rule", "my_rule", "my--rule", "-rule", "rule-", "3d", "learnae-3d", "a b", "ä", "learnae-", "x" * 65])
def test_what_no_package_should_be_called_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a plugin"):
        plugin_names(name, [])


@pytest.mark.parametrize("name", ["json", "import", "numpy", "learnae"])
def test_the_name_of_another_module_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f'"{name}" is the name of another module of Python'):
        plugin_names(name, [])


@pytest.mark.parametrize("name", ["average", "learnae-average"])
def test_the_name_of_a_strategy_that_there_is_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match='"average" is the name of a strategy of this kind already'):
        plugin_names(name, ["average"])
